"""The validator's child process over real tables: who fails, what a page shows, and what happens when the child dies."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import FailRun, FixConfiguration, Retry
from pipelines.quality import link
from pipelines.quality.validator import Validator

EXPECTATIONS = Path(__file__).resolve().parents[2] / "include/expectations"
PARAMETERS = {"documents": {}, "chunks": {"max_tokens": 256}, "vectors": {"dim": 384}}

pytestmark = pytest.mark.integration


def digest(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()


def rows(suite: str, count: int = 12) -> list[dict[str, Any]]:
    return [{"documents": document, "chunks": chunk, "vectors": vector}[suite](index) for index in range(count)]


def document(index: int) -> dict[str, Any]:
    return {
        "doc_id": digest(index),
        "uri": f"s3://bucket/{index}.md",
        "member": "",
        "title": "" if index % 2 else "A title",
        "lang": ("en", "de", "")[index % 3],
        "chars": 1 + index,
        "warnings": index % 3,
        "media_type": "text/markdown",
    }


def chunk(index: int) -> dict[str, Any]:
    return {
        "doc_id": digest(index // 3),
        "ordinal": index % 3,
        "text": f"\n  Heading\n\nPassage {index}\tof a text, naïve ☂",
        "text_sha": digest(f"text {index}"),
        "tokens": (1, 128, 256)[index % 3],
        "char_start": index,
        "char_end": index + 1,
    }


def vector(index: int) -> dict[str, Any]:
    return {"text_sha": digest(index), "doc_id": digest(index // 3), "dim": 384, "norm": 1.0 + index / 5000, "finite": True}


def table(path: Path, entries: list[dict[str, Any]], like: dict[str, Any]) -> Path:
    schema = pa.Table.from_pylist([like]).schema
    pq.write_table(pa.Table.from_pylist(entries, schema=schema), path)
    return path


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    opened = Validator(EXPECTATIONS, tmp_path_factory.mktemp("worker"))
    yield opened
    opened.stop()


@pytest.fixture
def check(validator, tmp_path):
    def run(suite: str, entries: list[dict[str, Any]], **options):
        path = table(tmp_path / f"{suite}.parquet", entries, rows(suite, 1)[0])
        return validator.validate(suite, path, parameters=PARAMETERS[suite], **options)

    return run


@pytest.mark.parametrize("suite", ["documents", "chunks", "vectors"])
def test_good_tables_pass(check, suite):
    result = check(suite, rows(suite))
    assert (result.success, result.failures, result.failed_documents, result.rows) == (True, (), {}, 12)


@pytest.mark.parametrize("suite", ["documents", "chunks", "vectors"])
def test_zero_rows_never_pass(check, suite):
    result = check(suite, [])
    assert not result.success
    assert result.rows == 0
    assert "expect_table_row_count_to_be_between" in {failure.expectation for failure in result.failures}


@pytest.mark.parametrize(
    ("suite", "column", "bad"),
    [
        ("documents", "uri", None),
        ("documents", "uri", ""),
        ("documents", "title", "x" * 1001),
        ("documents", "title", None),
        ("documents", "lang", "english"),
        ("documents", "chars", 0),
        ("documents", "warnings", 21),
        ("documents", "warnings", -1),
        ("documents", "media_type", "markdown"),
        ("chunks", "ordinal", -1),
        ("chunks", "text", " \n\t "),
        ("chunks", "text", ""),
        ("chunks", "text", None),
        ("chunks", "text", "line one\nline two\x00"),
        ("chunks", "text", "\x1b[31mred"),
        ("chunks", "text_sha", "abc"),
        ("chunks", "text_sha", None),
        ("chunks", "tokens", 0),
        ("chunks", "tokens", 257),
        ("chunks", "tokens", None),
        ("chunks", "char_start", -2),
        ("chunks", "char_end", 4),
        ("vectors", "dim", 383),
        ("vectors", "dim", None),
        ("vectors", "norm", 0.0),
        ("vectors", "norm", 1.02),
        ("vectors", "norm", float("nan")),
        ("vectors", "norm", float("inf")),
        ("vectors", "finite", False),
        ("vectors", "finite", None),
    ],
)
def test_a_bad_row_fails_its_document_alone(check, suite, column, bad):
    entries = rows(suite)
    entries[4][column] = bad
    result = check(suite, entries)
    assert result.success, result.failures
    assert set(result.failed_documents) == {entries[4]["doc_id"]}
    assert {failure.level for failure in result.failures} == {"row"}
    assert any(column in failure.column for failure in result.failures)
    reasons = result.failed_documents[entries[4]["doc_id"]]
    assert all(column in reason or "char_end" in reason for reason in reasons)


def test_each_document_is_told_its_own_value(check):
    entries = rows("chunks")
    entries[4]["tokens"], entries[10]["tokens"] = 300, 999
    failed = check("chunks", entries).failed_documents
    assert failed == {
        entries[4]["doc_id"]: ("tokens: column_values_to_be_between min_value 1.0, max_value 256.0, got 300",),
        entries[10]["doc_id"]: ("tokens: column_values_to_be_between min_value 1.0, max_value 256.0, got 999",),
    }


def test_a_repeated_ordinal_fails_its_document(check):
    entries = rows("chunks")
    entries[4]["ordinal"] = entries[5]["ordinal"]
    result = check("chunks", entries)
    assert result.success
    assert set(result.failed_documents) == {entries[4]["doc_id"]}


@pytest.mark.parametrize(
    ("suite", "column", "bad"),
    [
        ("documents", "doc_id", None),
        ("documents", "doc_id", "not hex"),
        ("documents", "doc_id", digest(0)),
        ("chunks", "doc_id", None),
        ("vectors", "text_sha", None),
        ("vectors", "text_sha", digest(0)),
        ("vectors", "doc_id", None),
    ],
)
def test_a_broken_identity_fails_the_batch(check, suite, column, bad):
    entries = rows(suite)
    entries[4][column] = bad
    result = check(suite, entries)
    assert not result.success
    assert any(failure.level == "batch" and failure.column == column for failure in result.failures)


def test_a_missing_column_fails_the_batch(validator, tmp_path):
    entries = [{key: value for key, value in entry.items() if key != "tokens"} for entry in rows("chunks")]
    path = table(tmp_path / "chunks.parquet", entries, entries[0])
    result = validator.validate("chunks", path, parameters=PARAMETERS["chunks"])
    assert not result.success
    assert any("could not be evaluated" in failure.detail and "tokens" in failure.detail for failure in result.failures)


def test_the_limit_is_the_parameter(validator, tmp_path):
    path = table(tmp_path / "c.parquet", rows("chunks"), chunk(0))
    assert not validator.validate("chunks", path, parameters={"max_tokens": 256}).failures
    assert validator.validate("chunks", path, parameters={"max_tokens": 255}).failures[0].unexpected == 4


def test_results_do_not_leak_between_equal_labels(check):
    entries = rows("vectors")
    entries[0]["norm"] = 0.5
    assert check("vectors", entries, label="0001").failed_documents
    assert not check("vectors", rows("vectors"), label="0001").failed_documents


def test_data_docs_are_static_pages_and_corpus_text_is_never_markup(check, tmp_path):
    docs = tmp_path / "docs"
    entries = rows("documents")
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    entries[3]["lang"] = attack
    entries[5]["media_type"] = attack * 300
    first = check("documents", entries, docs=docs, label="17 · 0001 <b>")
    second = check("chunks", rows("chunks"), docs=docs, label="17 · 0001 <b>")
    page = (docs / first.page).read_text()
    index = (docs / "index.html").read_text()
    for text in (page, index, (docs / second.page).read_text()):
        assert "Great Expectations" in text
        assert not any(mark in text for mark in ("<script", "<img", "<link", "onerror=alert(2)>", "url('http", "0001 <b>"))
    assert "alert(1)" in page
    assert f'href="{first.page}"' in index
    assert f'href="{second.page}"' in index
    assert len(page) < 100_000


def test_unreadable_table_and_bad_suite_leave_the_worker_alive(validator, check, tmp_path):
    with pytest.raises(FailRun, match="absent.parquet"):
        validator.validate("vectors", tmp_path / "absent.parquet", parameters=PARAMETERS["vectors"])
    with pytest.raises(FixConfiguration, match="max_tokens"):
        validator.validate("chunks", tmp_path / "absent.parquet")
    assert check("vectors", rows("vectors")).success


def pid(validator: Validator) -> int:
    found = validator._link._pid()
    assert found is not None
    return found


def test_start_returns_at_once_and_a_dead_worker_is_a_retry_then_a_fresh_one(tmp_path):
    path = table(tmp_path / "v.parquet", rows("vectors"), vector(0))
    validator = Validator(EXPECTATIONS, tmp_path / "worker")
    began = time.perf_counter()
    validator.start()
    assert time.perf_counter() - began < 0.1
    killer = threading.Timer(1, lambda: os.kill(pid(validator), signal.SIGKILL))
    killer.start()

    def until_killed() -> None:
        while killer.is_alive():  # killed while importing or while answering: a Retry in either case
            validator.validate("vectors", path, parameters=PARAMETERS["vectors"])

    with pytest.raises(Retry, match="stopped"):
        until_killed()
    killer.join()
    assert validator.validate("vectors", path, parameters=PARAMETERS["vectors"]).success
    assert validator.stop()
    assert not validator.stop()


def test_processes_of_one_folder_share_one_worker(tmp_path):
    path = table(tmp_path / "v.parquet", rows("vectors"), vector(0))
    validators = [Validator(EXPECTATIONS, tmp_path / "worker") for _ in range(6)]
    with ThreadPoolExecutor() as threads:
        run = lambda one: one.validate("vectors", path, parameters=PARAMETERS["vectors"]).success  # noqa: E731
        assert all(threads.map(run, validators))
    assert len({pid(one) for one in validators}) == 1
    assert validators[0].stop()


def test_an_idle_worker_ends_and_the_next_request_has_a_new_one(monkeypatch, tmp_path):
    monkeypatch.setattr(link, "IDLE_SECONDS", 0.2)
    path = table(tmp_path / "v.parquet", rows("vectors"), vector(0))
    validator = Validator(EXPECTATIONS, tmp_path / "worker")
    assert validator.validate("vectors", path, parameters=PARAMETERS["vectors"]).success
    deadline = time.monotonic() + 20
    while validator._link._pid() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert validator._link._pid() is None
    assert validator.validate("vectors", path, parameters=PARAMETERS["vectors"]).success


def test_a_crashing_worker_hands_over_its_last_words(monkeypatch, tmp_path):
    path = table(tmp_path / "v.parquet", rows("vectors"), vector(0))
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: libfoo.so is missing' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(Retry, match=r"exit 3.*libfoo.so is missing"):
        Validator(EXPECTATIONS, tmp_path / "worker").validate("vectors", path, parameters=PARAMETERS["vectors"])


def test_the_caller_never_imports_great_expectations(tmp_path):
    path = table(tmp_path / "v.parquet", rows("vectors"), vector(0))
    program = (
        "import sys; from pathlib import Path; from pipelines.quality.validator import Validator\n"
        f"v = Validator(Path({str(EXPECTATIONS)!r}), Path({str(tmp_path / 'worker')!r}))\n"
        f"assert v.validate('vectors', Path({str(path)!r}), parameters={{'dim': 384}}).success\n"
        "v.stop()\n"
        "print([m for m in ('great_expectations', 'pandas', 'numpy', 'pyarrow') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
