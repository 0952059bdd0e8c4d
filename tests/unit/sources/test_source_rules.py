"""Rules for every source: opening, days, excluded and relative addresses, the fake's faults."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pipelines.config import Connection, FolderSource, S3Source, SourceConfig, SqlSource
from pipelines.errors import FixConfiguration, Retry, SkipDocument
from pipelines.records import RawObject, Reason
from pipelines.sources import excluded, open_source, relative
from pipelines.sources.memory import Memory

DAY = date(2026, 10, 3)
AWS = {"c": Connection(conn_id="c", conn_type="aws", login="x", password="y", extra={"region_name": "eu-central-1"})}


def dated_s3(prefix: str) -> S3Source:
    return S3Source(kind="s3", connection="c", bucket="some-bucket", prefix=prefix)


def test_opens_each_kind(tmp_path: Path) -> None:
    file = tmp_path / "rows.db"
    file.touch()
    connections = AWS | {"db": Connection(conn_id="db", conn_type="sqlite", host=str(file))}
    kinds: dict[str, SourceConfig] = {
        "s3://some-bucket/x/": dated_s3("x/"),
        f"file://{tmp_path}/": FolderSource(kind="folder", path=str(tmp_path)),
        "sql://db/rows/": SqlSource(kind="sql", connection="db", table="rows", key="id", text="{body}"),
    }
    for root, entry in kinds.items():
        source = open_source("docs", entry, connections)
        assert (source.name, source.root()) == ("docs", root)
        assert source.format == ("text" if entry.kind == "sql" else None)


def test_a_dated_source_gets_its_day(tmp_path: Path) -> None:
    assert open_source("t", dated_s3("raw/dt={{ ds }}/"), AWS, DAY).root() == "s3://some-bucket/raw/dt=2026-10-03/"
    folder = FolderSource(kind="folder", path=f"{tmp_path}/{{{{ ds }}}}/{{{{ ds }}}}-x")
    assert open_source("t", folder, {}, DAY).root() == f"file://{tmp_path}/2026-10-03/2026-10-03-x/"


def test_a_dated_source_without_a_day_asks_for_it() -> None:
    with pytest.raises(FixConfiguration, match="'t' is dated .* asks for the day: give it as YYYY-MM-DD"):
        open_source("t", dated_s3("raw/dt={{ ds }}/"), AWS)


@pytest.mark.parametrize("prefix", ["raw/dt={{ds}}/", "raw/{{ ts }}/", "raw/{{ ds }}/{{ hour }}"])
def test_another_placeholder_is_refused_rather_than_searched_for(prefix: str) -> None:
    with pytest.raises(FixConfiguration, match=r"unknown placeholder .*write the day as \{\{ ds \}\}"):
        open_source("t", dated_s3(prefix), AWS, DAY)


def test_a_relative_folder_is_relative_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_PROJECT", str(tmp_path))
    source = open_source("t", FolderSource(kind="folder", path="docs/here"), {})
    assert source.root() == f"file://{tmp_path}/docs/here/"


@pytest.mark.parametrize(
    ("patterns", "address", "expected"),
    [
        (["drafts/*"], "drafts/a.md", True),
        (["drafts/*"], "drafts/deep/er/a.md", True),
        (["drafts/*"], "final/drafts/a.md", False),
        (["drafts/*"], "drafts", False),
        (["*.tmp"], "a/b/c.tmp", True),
        (["*.tmp"], "a.TMP", False),
        (["*/old/*"], "a/old/b", True),
        (["a?.md", "[xy].md"], "y.md", True),
        (["a?.md"], "ab/.md", False),
        ([], "anything", False),
        (["new*line"], "new\nline", True),
        (["100%*"], "100% sure.txt", True),
    ],
)
def test_exclude_patterns(patterns: list[str], address: str, expected: bool) -> None:
    entry = FolderSource(kind="folder", path="x", exclude=tuple(patterns))
    assert excluded(entry, address) is expected


def test_a_relative_address_is_decoded() -> None:
    assert relative("s3://b/knowledge/", "s3://b/knowledge/100%25 a%0Ab.txt") == "100% a\nb.txt"
    with pytest.raises(ValueError, match="not below"):
        relative("s3://b/knowledge/", "s3://b/other/x")


def test_importing_the_package_loads_no_driver() -> None:
    script = (
        "import sys, pipelines.sources, pipelines.objects; print(sys.modules.keys() & {'boto3', 'botocore', 'sqlalchemy'})"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


class TestMemory:
    def test_a_listing_told_to_fail_raises_after_that_many(self) -> None:
        source = Memory({"a": b"1", "b": b"2", "c": b"3"})
        for count in range(4):
            source.fail_after = count
            seen: list[RawObject] = []
            with pytest.raises(Retry):
                seen.extend(source.list())
            assert len(seen) == count

    def test_an_emptied_listing_still_reads(self) -> None:
        source = Memory({"a": b"1"})
        (listed,) = source.list()
        source.empty = True
        assert list(source.list()) == []
        assert source.read(listed, 10).data == b"1"

    def test_objects_vanish_change_or_stay_unsteady_between_listing_and_read(self) -> None:
        source = Memory({"gone": b"1", "new": b"1", "busy": b"1", "broken": b"1"})
        listed = {relative(source.root(), one.uri): one for one in source.list()}
        source.vanish, source.change, source.unsteady = {"gone"}, {"new": b"2"}, {"busy"}
        source.errors["broken"] = SkipDocument(Reason.CHECKSUM_MISMATCH)

        assert source.read(listed["new"], 10).data == b"2"
        expected = {"gone": Reason.SOURCE_VANISHED, "busy": Reason.SOURCE_CHANGED, "broken": Reason.CHECKSUM_MISMATCH}
        for name, reason in expected.items():
            with pytest.raises(SkipDocument) as caught:
                source.read(listed[name], 10)
            assert caught.value.reason is reason
        assert source.reads == ["new", *expected]
