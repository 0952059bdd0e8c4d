"""Benchmark files: what is read, and mistakes named by file, line and remedy."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from pipelines.errors import FixConfiguration
from pipelines.evaluate import beir, sets
from pipelines.records import Question

QUERIES = [{"_id": "1", "text": "how fast"}, {"_id": "2", "text": "never judged"}]
QRELS = "query-id\tcorpus-id\tscore\n1\td1\t2\n1\td2\t0\n1\td3\t-1\n"


def lines(entries: list[dict[str, object]]) -> bytes:
    return "\n".join(map(json.dumps, entries)).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queries.jsonl").write_bytes(lines(QUERIES))  # type: ignore[arg-type]
    (tmp_path / "qrels.tsv").write_text(QRELS)
    return tmp_path


def test_a_beir_folder_gives_its_judged_questions(folder: Path) -> None:
    assert beir.read(folder) == [Question("1", "how fast", (("d1", 2), ("d2", 0), ("d3", 0)))]


def test_packed_files_other_places_and_addresses_are_read(folder: Path) -> None:
    (folder / "queries.jsonl").unlink()
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(lines(QUERIES)))  # type: ignore[arg-type]
    (folder / "qrels.tsv").rename(folder / "x")
    (folder / "qrels").mkdir()
    (folder / "qrels/dev.tsv").write_text("1 0 d1 1\n1 0 d2 1\n")  # TREC's form
    corpus = [{"_id": "d1", "metadata": {"url": "s3://b/d1"}}, {"_id": "d2", "url": "s3://b/d2"}, {"_id": "d3"}]
    (folder / "corpus.jsonl.xz").write_bytes(lzma.compress(lines(corpus)))  # type: ignore[arg-type]
    (question,) = beir.read(folder)
    assert question.relevant == (("s3://b/d1", 1), ("s3://b/d2", 1))


@pytest.mark.parametrize("place", ["qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv"])
def test_judgments_may_be_packed(folder: Path, place: str) -> None:
    (folder / "qrels.tsv").unlink()
    (folder / "qrels").mkdir()
    (folder / f"{place}.xz").write_bytes(lzma.compress(QRELS.encode()))
    assert [question.id for question in beir.read(folder)] == ["1"]


def test_golden_questions_keep_those_without_an_answer() -> None:
    found = beir.read(Path(__file__).resolve().parents[3] / "include/sample/golden.jsonl")
    assert (len(found), sum(not question.relevant for question in found)) == (40, 5)
    assert found[0].relevant == (("knowledge/policies/travel-policy-2026.md", 1),)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("qrels.tsv", "1\td1\thigh\n", r"qrels.tsv:1: relevance 'high' is no whole number"),
        ("qrels.tsv", "1\td1\n", "2 columns; write query-id"),
        ("qrels.tsv", "1\td1\t1\n1\td1\t2\n", "is judged 1 and 2; keep one"),
        ("qrels.tsv", "9\td1\t1\n", "judged query '9' is missing"),
        ("qrels.tsv", "", "no judged query"),
        ("queries.jsonl", "{", r"queries.jsonl:1: not JSON"),
        ("queries.jsonl", "[]", "not a JSON object"),
        ("queries.jsonl", '{"_id": "1"}', "a query needs _id and text"),
        ("queries.jsonl", json.dumps({"_id": "1", "text": "x" * 2**20}), "1,048,576 characters, search takes 1 to 4,000"),
        ("queries.jsonl", '{"_id": "1", "text": " "}', "the question has 1 characters"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(folder: Path, file: str, content: str, said: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(FixConfiguration, match=said) as caught:
        beir.read(folder)
    assert "\n" not in str(caught.value)


def test_missing_files_and_a_bad_golden_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match=r"no queries.jsonl"):
        beir.read(tmp_path)
    (tmp_path / "golden.jsonl").write_text('{"question": "x"}\n')
    with pytest.raises(FixConfiguration, match=r"golden.jsonl:1: needs question, answerable"):
        beir.read(tmp_path / "golden.jsonl")
    (tmp_path / "bad.jsonl.xz").write_bytes(b"no archive")
    with pytest.raises(FixConfiguration, match="cannot be read"):
        beir.read(tmp_path / "bad.jsonl.xz")


def test_identity_is_that_of_the_content_not_of_its_order() -> None:
    one, two = Question("1", "a", (("d", 1), ("e", 1))), Question("2", "b", (("d", 1),))
    turned = Question("1", "a", (("e", 1), ("d", 1)))
    assert sets.content_sha([one, two]) == sets.content_sha([two, turned])
    assert sets.content_sha([one]) != sets.content_sha([Question("1", "a", (("d", 2), ("e", 1)))])
    assert sets.address("s3://b/m.eml", "a.pdf") == "s3://b/m.eml#a.pdf"
