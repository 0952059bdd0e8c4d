"""Golden questions: what is read, and how a ranking is scored."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipelines.errors import FixConfiguration
from pipelines.search import golden

SAMPLE = Path(__file__).resolve().parents[3] / "include/sample/golden.jsonl"


def test_the_samples_answerable_questions_are_read() -> None:
    found = golden.read(SAMPLE)
    assert len(found) >= 30
    assert all(entry.paths for entry in found)


@pytest.mark.parametrize(
    "text", ["", "no json", '{"question": "x"}', '{"question": "x", "answerable": false, "answers": []}']
)
def test_an_unusable_file_is_one_line_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(text)
    for each in (path, tmp_path / "absent.jsonl"):
        with pytest.raises(FixConfiguration, match=r"golden.*models\.yaml"):
            golden.read(each)


def test_a_document_counts_where_it_stands_first_and_by_the_end_of_its_address() -> None:
    uris = ["s3://b/x/other.md", "s3://b/x/a.md", "s3://b/x/a.md", "s3://b/x/xa.md"]
    assert golden.ndcg(uris, ["x/a.md"]) == pytest.approx(1 / math.log2(3))
    assert golden.ndcg(["file:///x/a.md", "file:///x/b.md"], ["x/a.md", "x/b.md"]) == 1.0
    assert golden.ndcg(uris[3:], ["a.md"]) == 0.0
