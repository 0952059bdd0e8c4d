"""The command line against a real database: output, JSON, exit codes, one-line errors for a user's mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from pipelines.cli import main
from pipelines.quality.validator import Validator

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.integration


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Millrace = Callable[..., Done]


def database(dsn: str, **fields: Any) -> str:
    parts = conninfo_to_dict(dsn)
    values = {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(str(parts.get("port") or 5432)),
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    return json.dumps({**values, **fields})


@pytest.fixture
def project(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own on the deterministic embedder, with the folder source `docs`."""
    shutil.copytree(ROOT / "include/config", tmp_path / "include/config")
    shutil.copytree(ROOT / "include/expectations", tmp_path / "include/expectations")
    (tmp_path / "docs").mkdir()
    config = tmp_path / "include/config"
    config.joinpath("models.yaml").write_text("models: {h: {tier: hash}}\ncollections: {knowledge: {model: h}}\n")
    source = {"kind": "folder", "path": str(tmp_path / "docs"), "description": "Test documents"}
    config.joinpath("sources.yaml").write_text(yaml.safe_dump({"sources": {"docs": source}}))
    monkeypatch.setenv("MILLRACE_PROJECT", str(tmp_path))
    monkeypatch.delenv("MILLRACE_HOME", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_MILLRACE_POSTGRES", database(dsn))
    return tmp_path


@pytest.fixture
def millrace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Millrace:
    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["millrace", *arguments])
        code = 0
        try:
            main()
        except SystemExit as done:
            code = int(done.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def fill(project: Path, count: int = 12) -> None:
    for index in range(count):
        (project / f"docs/{index:02d}.md").write_text(f"# Lock {index}\n\nLock number {index} opens at {index} o'clock.\n")


def test_a_first_session(project: Path, millrace: Millrace) -> None:
    fill(project)
    (project / "docs/bad.json").write_text("{")
    assert "docs" in millrace("sources").out
    planned = millrace("plan", "docs", "--json").json
    assert (planned["add"], planned["unchanged"], planned["run_id"]) == (13, 0, None)
    done = millrace("sync", "docs")
    assert done.code == 0
    assert "13 listed: loaded 12 / unchanged 0 / quarantined 1 / deleted 0 / excluded 0" in done.out
    assert "malformed: 1" in done.out
    [status] = millrace("status", "--json").json
    assert (status["loaded"], status["quarantined"], status["last_state"]) == (12, 1, "succeeded")
    hits = millrace("search", "when does lock number 7 open", "-k", "3", "--json").json
    assert len(hits) == 3
    assert "number 7" in hits[0]["passage"]
    found = millrace("search", "when does lock number 7 open", "--explain", "--json").json
    best = found["explanation"]["hits"][0]
    assert best["score"] == pytest.approx(best["from_vector"] + best["from_words"])
    assert best["relevance"] == pytest.approx(sum(term["adds"] for term in best["terms"]))
    assert "not analysed yet: 0 texts" in millrace("search", "lock 7", "--explain").out
    prompt = millrace("context", "when does lock number 7 open", "--prompt").out
    assert "Lock number 7 opens at 7 o'clock." in prompt
    assert millrace("ask", "When does lock number 7 open?").code == 0
    assert millrace("audit").out.strip() == "the audit found nothing"
    assert "bad.json" in millrace("replay", "--list").out
    assert "1 documents are tried again" in millrace("replay", "docs").out


def test_questions_are_kept_listed_and_forgotten_where_the_collection_says_so(project: Path, millrace: Millrace) -> None:
    (project / "docs/ropes.md").write_text("# Tow ropes\n\nTow ropes are replaced every ten months.\n")
    assert millrace("sync", "docs").code == 0
    millrace("search", "who replaces the ropes?")
    refused = millrace("questions")
    assert (refused.code, "keeps no questions" in refused.err) == (2, True), refused
    models = project / "include/config/models.yaml"
    models.write_text(models.read_text().replace("model: h}", "model: h, keep_questions_days: 9}"))
    millrace("search", "who replaces the ropes?")
    listed = millrace("questions")
    assert listed.out.splitlines()[1].endswith("who replaces the ropes?")
    (entry,) = millrace("questions", "--json").json["questions"]
    assert (entry["times"], entry["similarity"] is not None) == (1, True)
    assert millrace("questions", "--forget", "who replaces the ropes?").out == "forgotten; it was kept 1 x\n"
    assert millrace("questions").out == "no questions\n"


def test_held_deletions_exit_with_three_and_name_the_command(project: Path, millrace: Millrace) -> None:
    fill(project, 12)
    millrace("sync", "docs")
    for index in range(8):
        (project / f"docs/{index:02d}.md").unlink()
    planned = millrace("plan", "docs").out
    assert "held 8" in planned
    assert planned.count("held file://") == 8
    held = millrace("sync", "docs")
    assert (held.code, held.err.count("\n")) == (3, 1)
    approve, reject = (text.split()[1:] for text in held.err.split("`")[1::2])
    assert (approve[:3], reject[:3]) == (["sync", "docs", "--approve"], ["sync", "docs", "--reject"])
    assert f"run {approve[3]} of docs" in millrace("held").out
    assert millrace(*reject).code == 0
    assert "rejected by cli:" in millrace("held", "docs").out
    assert "8 documents are kept" in millrace("status").out
    assert "deleted 8" in millrace(*approve).out
    assert millrace("held", "--json").json == []


def test_the_audit_exits_with_one_on_findings(project: Path, millrace: Millrace, dsn: str) -> None:
    import psycopg

    fill(project, 2)
    millrace("sync", "docs")
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM millrace.chunk")
    found = millrace("audit", "--json")
    assert found.code == 1
    assert {finding["uri"].rsplit("/", 1)[1] for finding in found.json} == {"00.md", "01.md"}


def test_readers_see_what_their_groups_may_and_what_was_served_then(project: Path, millrace: Millrace) -> None:
    fill(project, 3)
    secret = project / "docs/pay.md"
    secret.write_text("---\naccess: [hr, board]\n---\n# Pay\n\nSalary band seven of the lock keepers is 4100 crowns.\n")
    first = millrace("sync", "docs", "--json").json["run_id"]
    question = "salary band seven of the lock keepers"

    def seen(*arguments: str) -> bool:
        return "4100" in millrace(*arguments, "--json").out

    for command in ("search", "ask", "context"):
        assert seen(command, question)
        assert seen(command, question, "--principal", "crew", "--principal", "hr")
        assert not seen(command, question, "--principal", "crew")
    secret.unlink()
    second = millrace("sync", "docs", "--json").json["run_id"]
    secret.write_text("---\naccess: hr\n---\n# Pay\n\nSalary band seven of the lock keepers is 4900 crowns.\n")
    millrace("sync", "docs")
    assert not seen("search", question)
    assert seen("search", question, "--as-of", str(first))
    assert seen("context", question, "--as-of", str(first), "--principal", "hr")
    assert not seen("search", question, "--as-of", str(first), "--principal", "crew")
    assert not seen("search", question, "--as-of", str(second))
    config = project / "include/config/sources.yaml"
    sources = yaml.safe_load(config.read_text())
    sources["sources"]["docs"]["access"] = "listed"
    config.write_text(yaml.safe_dump(sources))
    found = millrace("search", question, "--principal", "hr", "--json").json
    assert [hit["uri"].rsplit("/", 1)[1] for hit in found] == ["pay.md"], "what has no list is nobody's now"
    assert len(millrace("search", question, "--json").json) > 1


MISTAKES = [
    (("sync", "dogs"), 2, "did you mean 'docs'"),
    (("sync",), 2, "SOURCE"),
    (("plan", "docs", "--day", "tomorrow"), 2, "is not a day"),
    (("sync", "docs", "--prefix", "../etc"), 2, "prefix"),
    (("sync", "docs", "--approve", "99"), 2, "holds no deletions"),
    (("sync", "docs", "--reject", "99"), 2, "holds no deletions"),
    (("held", "dogs"), 2, "did you mean 'docs'"),
    (("search", "x", "-k", "0"), 2, "k"),
    (("search", ""), 2, "empty"),
    (("search", "x", "--collection", "nowhere"), 2, "nowhere"),
    (("search", "x", "--as-of", "\u00b2"), 2, "neither a run's number nor a time"),
    (("search", "x", "--as-of", "9" * 5000), 2, "neither a run's number nor a time"),
    (("search", "x", "--as-of", "2026-10-01"), 2, "time zone"),
    (("search", "x", "--principal", "a,b"), 2, "one group each"),
    (("search", "x" * 2**20), 2, "1,048,576 characters"),
    (("context", "x", "--tokens", "0"), 2, "the budget is 0 tokens"),
    (("replay", "docs", "--reason", "bored"), 2, "bored"),
    (("replay",), 2, "SOURCE"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), MISTAKES, ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else ""
)
def test_a_mistake_is_explained_without_a_traceback(
    project: Path, millrace: Millrace, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = millrace(*arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: {docs: {kind: folder, pth: /x}}", "pth"),
        ("sources: {docs: {kind: folder, path: 7}}", "path"),
        ("sources: {docs: {kind: folder, path: /x, collection: nowhere}}", "nowhere"),
        ("sources: {docs: {kind: s3, connection: no_such, bucket: b}}", "no_such"),
        ("sources: [", "YAML"),
    ],
)
def test_a_wrong_sources_file_is_one_line_with_file_and_key(
    project: Path, millrace: Millrace, text: str, words: str
) -> None:
    (project / "include/config/sources.yaml").write_text(text)
    done = millrace("sync", "docs")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert words in done.err
    assert ".yaml" in done.err


DATABASES = [
    ({"schema": "no_such_database"}, 2, "no_such_database"),
    ({"login": "nobody_here"}, 2, "nobody_here"),
    ({"host": "127.0.0.1", "port": 1}, 4, "database"),
    ({"host": "/no/such/folder"}, 4, "database"),
]


@pytest.mark.parametrize(
    ("fields", "code", "words"), DATABASES, ids=lambda value: "" if isinstance(value, int) else str(value)
)
def test_a_database_that_cannot_be_reached(
    project: Path,
    millrace: Millrace,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MILLRACE_POSTGRES", database(dsn, **fields))
    done = millrace("sync", "docs")
    assert (done.code, done.err.count("\n")) == (code, 1), done.err
    assert words in done.err


def test_a_missing_bucket_and_a_store_that_is_away(
    project: Path, millrace: Millrace, bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"kind": "s3", "connection": "store", "bucket": "no-such-bucket"}
    (project / "include/config/sources.yaml").write_text(yaml.safe_dump({"sources": {"docs": source}}))
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"region_name": "eu-central-1"}}
    for endpoint, code, words in ((bucket[0], 2, "no-such-bucket"), ("http://127.0.0.1:1", 4, "127.0.0.1:1")):
        connection["extra"] = {"region_name": "eu-central-1", "endpoint_url": endpoint}
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
        done = millrace("sync", "docs")
        assert (done.code, done.err.count("\n")) == (code, 1), done.err
        assert words in done.err


def test_a_full_disk_is_red_and_the_next_run_goes_on(project: Path, millrace: Millrace) -> None:
    home = project / ".millrace"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and the right to mount a small tmpfs")
    try:
        for index in range(300):
            (project / f"docs/{index:03d}.txt").write_text(" ".join(f"word{index * 100 + n}" for n in range(100)))
        full = millrace("sync", "docs")
        assert (full.code, full.err.count("\n")) == (1, 1), full.err
        assert "disk_full" in full.err
    finally:
        Validator(project / "include/expectations", home / "validator").stop()  # its working folder is there
        subprocess.run(["umount", str(home)], check=True)
    assert "loaded 300" in millrace("sync", "docs").out


def test_a_cold_process_imports_only_what_it_needs(project: Path, millrace: Millrace) -> None:
    fill(project, 2)
    millrace("sync", "docs")
    probe = (
        "import sys; sys.argv = ['millrace', 'sync', 'docs']\n"
        "from pipelines.cli import main\nmain()\n"
        "heavy = {'torch', 'great_expectations', 'unstructured', 'transformers', 'pandas', 'airflow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unchanged 2" in done.stdout
