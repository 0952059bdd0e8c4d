"""`millrace train`: a collection whose users have words of their own is taught them, and no passage is embedded again."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import psycopg
import pytest

from tests.integration.test_cli import Millrace, millrace, project
from tests.integration.test_cli_models import judged

__all__ = ["millrace", "project"]  # fixtures
pytestmark = pytest.mark.integration

THINGS = [f"valve{number}" for number in range(14)]
PLACES = [f"harbour{number}" for number in range(12)]


def said(text: str) -> str:
    """In the users' words: each is another one, always the same."""
    return text.replace("valve", "gizmo").replace("harbour", "nook")


def question(thing: str, place: str) -> dict[str, object]:
    answers = [{"path": f"{thing}-{place}.txt", "passage": ""}]
    return {"question": said(f"{thing} at {place}"), "answerable": True, "answers": answers}


@pytest.fixture
def corpus(project: Path, millrace: Millrace) -> list[tuple[str, str]]:
    pairs = [(thing, place) for thing in THINGS for place in PLACES]
    for thing, place in pairs:
        (project / f"docs/{thing}-{place}.txt").write_text(f"The {thing} stands at {place} and is {thing}{place} indeed.")
    done = millrace("sync", "docs")
    assert done.code == 0, done.err
    return pairs


def write(path: Path, questions: list[dict[str, object]]) -> Path:
    path.write_text("".join(f"{json.dumps({**one, 'id': str(number)})}\n" for number, one in enumerate(questions)))
    return path


def test_a_collection_is_taught_its_users_words(
    project: Path, millrace: Millrace, corpus: list[tuple[str, str]], tmp_path: Path, dsn: str
) -> None:
    held = {(thing, place) for number, (thing, place) in enumerate(corpus) if number % 7 == 0}
    judgments = write(tmp_path / "said.jsonl", [question(*pair) for pair in corpus if pair not in held])
    exam = write(tmp_path / "exam.jsonl", [question(*pair) for pair in sorted(held)])
    assert millrace("benchmark", "import", "knowledge", str(exam), "--slice", "frozen").code == 0

    built = millrace("train", "data", "knowledge", "--judgments", str(judgments), "--json")
    assert built.code == 0, built.err
    assert (built.json["dataset"], built.json["origins"]["judged"]) == ("knowledge@1", len(corpus) - len(held))
    assert 0 < built.json["validation"] < built.json["pairs"]
    again = millrace("train", "data", "knowledge", "--judgments", str(judgments), "--json").json
    assert (again["dataset"], again["sha"]) == ("knowledge@1", built.json["sha"])
    assert "knowledge@1" in millrace("train", "sets").out

    fitted = millrace("train", "adapter", "knowledge", "--json")
    assert fitted.code == 0, fitted.err
    done = fitted.json
    assert done["version"] == "knowledge-questions@1"
    assert done["ndcg_after"] > done["ndcg_before"] + 0.2
    card = millrace("models", "show", "knowledge-questions@1").out
    assert "data set knowledge@1" in card
    assert "| made from | hashing@1 |" in card

    with psycopg.connect(dsn) as conn:
        before = conn.execute("SELECT ctid, xmin FROM millrace.space_1 ORDER BY 1").fetchall()
    embedded = millrace("reembed", "knowledge", "--model", "knowledge-questions@1", "--json")
    assert embedded.code == 0, embedded.err
    assert (embedded.json["state"], embedded.json["counts"]["embedded"]) == ("shadow", 0)
    report = millrace("evaluate", "knowledge", "--json").json
    scores = {result["system"]: result["measures"]["nDCG@10"]["mean"] for result in report["results"]}
    assert scores[f"space {embedded.json['space']}"] > scores["served"] + 0.2
    judged(dsn, embedded.json["space"], "promote")
    assert millrace("switch", "knowledge", str(embedded.json["space"])).code == 0
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT ctid, xmin FROM millrace.space_1 ORDER BY 1").fetchall() == before
        assert conn.execute("SELECT to_regclass('millrace.space_2')").fetchone() == (None,)
    (project / "docs/new.txt").write_text("The valve99 stands at harbour99.")
    assert millrace("sync", "docs").code == 0
    assert millrace("audit").code == 0
    assert millrace("models", "rollback", "knowledge", "--json").json["left"] == embedded.json["space"]

    # What was taught once must not become what judges it.
    assert millrace("benchmark", "import", "knowledge", str(judgments), "--slice", "rolling").code == 0
    leaked = millrace("train", "adapter", "knowledge", "--data", "knowledge@1")
    assert (leaked.code, "leak into an evaluation" in leaked.err) == (1, True)
    nothing = millrace("train", "data", "knowledge", "--judgments", str(judgments))
    assert (nothing.code, "at least 30 are needed" in nothing.err) == (1, True)


def test_pairs_that_teach_nothing_make_no_version(
    project: Path, millrace: Millrace, corpus: list[tuple[str, str]], tmp_path: Path
) -> None:
    others = Random(3).sample(corpus, len(corpus))
    wrong = [question(*pair) | {"answers": question(*other)["answers"]} for pair, other in zip(corpus, others, strict=True)]
    judgments = write(tmp_path / "wrong.jsonl", wrong)
    assert millrace("train", "data", "knowledge", "--judgments", str(judgments)).code == 0
    refused = millrace("train", "adapter", "knowledge")
    assert (refused.code, "nothing was learned" in refused.err) == (1, True)
    assert "knowledge-questions" not in millrace("models", "list").out


def test_a_users_mistakes_are_one_line(project: Path, millrace: Millrace, tmp_path: Path) -> None:
    for arguments, words in (
        (("train", "data", "nowhere"), "no collection"),
        (("train", "data", "knowledge"), "serves nothing to learn from"),
        (("train", "adapter", "knowledge"), "serves nothing to learn from"),
    ):
        done = millrace(*arguments)
        assert (done.code, words in done.err, "Traceback" in done.err) == (2, True, False), done.err
    (project / "docs/a.txt").write_text("The word is on the one you have.")
    assert millrace("sync", "docs").code == 0
    few = millrace("train", "data", "knowledge")
    assert (few.code, "at least 30 are needed" in few.err) == (1, True)
    none = millrace("train", "adapter", "knowledge")
    assert (none.code, "no data set 'knowledge'" in none.err) == (2, True)
    assert "no data set yet" in millrace("train", "sets").out
