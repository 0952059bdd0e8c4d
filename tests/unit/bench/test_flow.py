"""The corpora, feeds and judge that `e2e` and `replay` stand on."""

from __future__ import annotations

import io
import json
import lzma
import random
import tarfile
from pathlib import Path

import pytest

from bench.flow import corpus, feed
from bench.flow.feed import Feed
from bench.flow.judge import Judge, Turn


def test_the_same_seed_writes_the_same_files_of_every_kind(tmp_path: Path) -> None:
    first, second = corpus.write(tmp_path / "a", 20, 3), corpus.write(tmp_path / "b", 20, 3)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert {path.suffix for path in first} == {".html", ".md", ".txt"}


def test_an_edit_adds_one_sentence_and_keeps_the_rest(tmp_path: Path) -> None:
    for path in corpus.write(tmp_path, 6, 1):
        before = path.read_text()
        corpus.edit(path, "7")
        assert path.read_text().replace("Amended by notice 7. ", "") == before


def test_a_draw_ends_at_the_size_asked_for(tmp_path: Path) -> None:
    corpus.write(tmp_path / "all", 10, 1)
    drawn = corpus.draw(tmp_path / "all", tmp_path / "some", 8000, seed=2)
    assert 0 < sum(path.stat().st_size for path in drawn) <= 8000


def test_a_feed_is_read_with_its_renames(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "base.tar.xz", "w:xz") as archive:
        for name in ("d/a.rst", "d/b.rst", "d/c.py"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"old"))
    changes = [
        {"op": "M", "path": "d/a.rst", "text": "new"},
        {"op": "R", "from": "d/b.rst", "path": "d/e.rst", "text": "moved"},
    ]
    with lzma.open(tmp_path / "changes.jsonl.xz", "wt") as lines:
        lines.write(json.dumps({"commit": "1", "changes": changes}) + "\n")
        lines.write(json.dumps({"commit": "2", "changes": [{"op": "M", "path": "d/c.py", "text": "x"}]}) + "\n")
    found = feed.read(tmp_path)
    assert found.base == {"d-a.rst": "old", "d-b.rst": "old"}
    assert found.commits == [{"d-a.rst": "new", "d-b.rst": None, "d-e.rst": "moved"}]


def test_the_states_delete_and_restore_by_the_seed() -> None:
    made = feed.made(1, documents=10, commits=80)
    found = feed.states(made, 5)
    assert found == feed.states(made, 5)
    assert len(feed.states(made, 5, 2)) == 3
    steps = [feed.delta(before, after) for before, after in zip(found, found[1:], strict=False)]
    assert any(text is None for step in steps for text in step.values())
    now = dict(found[0])
    for step, state in zip(steps, found[1:], strict=True):
        now = {name: text for name, text in (now | step).items() if text is not None}
        assert now == state


STATES = [
    {"a": "One two. Three four.", "b": "Five six."},
    {"a": "One two. Three five.", "c.html": "<p>Seven &amp; eight</p>"},
]


@pytest.mark.parametrize(
    ("name", "passages", "before", "after", "wrong"),
    [
        ("a", ["One two.", "Three four."], 0, 0, None),
        ("a", ["One  two.\n\nThree five."], 1, 1, None),
        ("a", ["Three five."], 0, 0, "stale"),
        ("a", ["Three four.", "Three five."], 1, 1, "stale"),
        ("a", ["Three four."], 2, 2, "stale"),
        ("a", [], 1, 1, "gap"),
        ("b", [], 1, 1, None),
        ("b", ["Five six."], 0, 1, None),
        ("b", ["Five six."], 2, 2, "gone"),
        ("c.html", ["Seven & eight"], 2, 2, None),
        ("d", ["Nine"], 2, 2, "gone"),
    ],
)
def test_the_judge_knows_which_versions_were_current(
    name: str, passages: list[str], before: int, after: int, wrong: str | None
) -> None:
    assert Judge(STATES).wrong(name, passages, before, after) == wrong


def test_the_judge_asks_for_words_of_the_document() -> None:
    assert "Five six" in Judge(STATES).words("b", random.Random(1)) or "six" in Judge(STATES).words("b", random.Random(2))


def test_a_turn_is_shown() -> None:
    turn = Turn()
    turn.set(7)
    assert turn.get() == 7


def test_a_made_feed_edits_its_own_documents() -> None:
    made = feed.made(2, documents=5, commits=4)
    assert isinstance(made, Feed)
    assert len(made.commits) == 4
    assert all(text != made.base.get(name) for commit in made.commits for name, text in commit.items())
