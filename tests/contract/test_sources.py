"""What every source promises, asked of every adapter over its real service."""

from __future__ import annotations

import os
import random
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines import aws
from pipelines.config import Connection, S3Source, SqlSource
from pipelines.errors import FixConfiguration, SkipDocument
from pipelines.ports import Source
from pipelines.records import RawObject, Reason
from pipelines.sources import open_source, relative
from pipelines.sources.folder import Folder
from pipelines.sources.memory import Memory
from pipelines.sources.s3 import S3
from pipelines.sources.sql import Sql
from pipelines.sources.sql_table import open_engine

ROOMY = 10**6
ODD_NAMES = [
    "plain.txt",
    "with space.md",
    " leading and trailing ",
    "ünï/日本語 🙂.txt",
    "100%.txt",
    "%41.txt",
    "%2e%2e/%2Fetc",
    "a+b=c&d?e#f.txt",
    "new\nline\tand\rreturn.txt",
    "a..b/c../d...txt",
    "back\\slash 'single' \"double\" ;--.txt",
    "deep/" * 20 + "leaf",
    "x" * 250,
]
UNFILED_NAMES = ["../up.txt", "a//b.txt", "/absolute", "./dot", "y" * 1000]  # names that no file can have


@dataclass
class Place:
    """A source and the means to change what it reads."""

    source: Source
    put: Callable[[str, bytes], None]
    remove: Callable[[str], None]
    names: list[str]  # odd names that this place can hold


def memory(request: pytest.FixtureRequest) -> Place:
    source = Memory()
    return Place(source, source.objects.__setitem__, source.objects.__delitem__, ODD_NAMES + UNFILED_NAMES)


def folder(request: pytest.FixtureRequest) -> Place:
    root: Path = request.getfixturevalue("tmp_path") / "some folder"
    root.mkdir()

    def put(name: str, data: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return Place(
        Folder("docs", root), put, lambda name: (root / name).unlink(), [*ODD_NAMES, os.fsdecode(b"latin-\xfc.txt")]
    )


def s3_client(endpoint: str) -> Any:
    extra = {"endpoint_url": endpoint, "region_name": "eu-central-1"}
    return aws.client(Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra))


def s3(request: pytest.FixtureRequest) -> Place:
    endpoint, bucket = request.getfixturevalue("bucket")
    client = s3_client(endpoint)
    client.put_object(Bucket=bucket, Key="outside.txt", Body=b"not below the prefix")
    return Place(
        S3("docs", client, bucket, "some docs/", "c"),
        lambda name, data: client.put_object(Bucket=bucket, Key="some docs/" + name, Body=data),
        lambda name: client.delete_object(Bucket=bucket, Key="some docs/" + name),
        [
            name for name in [*ODD_NAMES, *UNFILED_NAMES, "ends in slash/", "\x01control"] if "\n" not in name
        ],  # moto has no newlines
    )


def table(url: str, cursor: bool) -> Place:
    engine = open_engine(url, "c")
    columns = (sa.Column("id", sa.Text, primary_key=True), sa.Column("body", sa.Text), sa.Column("rev", sa.Integer))
    rows = sa.Table("Odd Rows", sa.MetaData(), *columns)
    rows.metadata.create_all(engine)

    def remove(name: str) -> None:
        with engine.begin() as connection:
            connection.execute(rows.delete().where(rows.c.id == name))

    revisions = iter(range(10**6))

    def put(name: str, data: bytes) -> None:
        remove(name)
        with engine.begin() as connection:
            connection.execute(rows.insert().values(id=name, body=data.decode(), rev=next(revisions)))

    settings: dict[str, Any] = {"connection": "c", "table": "Odd Rows", "key": "id", "text": "{body}"}
    config = SqlSource(kind="sql", cursor="rev" if cursor else None, **settings)
    return Place(Sql("docs", config, engine), put, remove, ODD_NAMES + UNFILED_NAMES)


def sqlite(request: pytest.FixtureRequest, cursor: bool = False) -> Place:
    file: Path = request.getfixturevalue("tmp_path") / "rows.db"
    file.touch()
    return table(f"sqlite:///{file}", cursor)


def sqlite_with_cursor(request: pytest.FixtureRequest) -> Place:
    return sqlite(request, cursor=True)


def postgres(request: pytest.FixtureRequest) -> Place:
    dsn: str = request.getfixturevalue("dsn")
    return table(dsn.replace("postgresql://", "postgresql+psycopg://", 1), cursor=False)


def postgres_with_cursor(request: pytest.FixtureRequest) -> Place:
    dsn: str = request.getfixturevalue("dsn")
    return table(dsn.replace("postgresql://", "postgresql+psycopg://", 1), cursor=True)


REAL = [pytest.param(make, marks=pytest.mark.integration) for make in (s3, postgres, postgres_with_cursor)]


@pytest.fixture(params=[memory, folder, sqlite, sqlite_with_cursor, *REAL])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.param(request)
    return made


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


def some_bytes(rng: random.Random, size: int) -> bytes:
    return "".join(rng.choices(string.ascii_letters + " \n", k=size)).encode()


def listing(source: Source, prefix: str = "") -> dict[str, RawObject]:
    found = list(source.list(prefix))
    by_name = {relative(source.root(), listed.uri): listed for listed in found}
    assert len(by_name) == len(found), "an address came twice"
    return by_name


def reason(source: Source, listed: RawObject, max_bytes: int = ROOMY) -> Reason:
    with pytest.raises(SkipDocument) as caught:
        source.read(listed, max_bytes)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_an_empty_source_lists_nothing(place: Place) -> None:
    assert listing(place.source) == {}


def test_lists_every_name_once_and_reads_back_exactly_its_bytes(place: Place, rng: random.Random) -> None:
    written = {name: some_bytes(rng, rng.randrange(1, 5000)) for name in place.names}
    for name, data in written.items():
        place.put(name, data)

    found = listing(place.source)

    assert set(found) == set(written)
    for name, listed in found.items():
        content = place.source.read(listed, ROOMY)
        assert content.data == written[name]
        assert (content.uri, content.version) == (listed.uri, listed.version)
        assert listed.size in {0, len(written[name])}
        assert place.source.current_version(listed.uri) == listed.version


def test_addresses_are_plain_text_below_the_root(place: Place) -> None:
    for name in place.names:
        place.put(name, b"x")
    for listed in place.source.list():
        assert listed.uri.startswith(place.source.root())
        listed.uri.encode()  # no unpaired surrogate: Postgres would refuse it
        assert listed.uri.isprintable()


def test_a_prefix_selects_names_by_their_start_and_scopes_them(place: Place) -> None:
    for name in ("ab/1 ü.txt", "ab/2.txt", "abc.txt", "b%/ab.txt"):
        place.put(name, b"x")
    expected = {"": 4, "a": 3, "ab": 3, "ab/": 2, "ab/1 ü": 1, "b%": 1, "b%25": 0, "c": 0, "ab/1 ü.txt/": 0}
    for prefix, count in expected.items():
        found = listing(place.source, prefix)
        assert len(found) == count, prefix
        scope = place.source.root(prefix)
        assert {one.uri for one in found.values()} == {one.uri for one in place.source.list() if one.uri.startswith(scope)}


def test_versions_stay_until_the_bytes_change(place: Place, rng: random.Random) -> None:
    size = rng.randrange(10, 1000)
    for name in ("kept.txt", "changed.txt"):
        place.put(name, some_bytes(rng, size))
    before, again = listing(place.source), listing(place.source)
    place.put("changed.txt", some_bytes(rng, size))
    after = listing(place.source)

    assert before == again
    assert before["kept.txt"].version == after["kept.txt"].version
    assert before["changed.txt"].version != after["changed.txt"].version


def test_a_version_never_names_two_contents_even_in_quick_succession(place: Place, rng: random.Random) -> None:
    contents: dict[str, bytes] = {}
    for _ in range(25):
        data = some_bytes(rng, 40)
        place.put("busy.txt", data)
        content = place.source.read(listing(place.source)["busy.txt"], ROOMY)
        assert content.data == data
        assert contents.setdefault(content.version, data) == data


def test_a_deleted_object_leaves_the_listing(place: Place) -> None:
    for name in ("a.txt", "b.txt"):
        place.put(name, b"x")
    gone = listing(place.source)["a.txt"]
    place.remove("a.txt")

    assert set(listing(place.source)) == {"b.txt"}
    assert place.source.current_version(gone.uri) is None
    assert reason(place.source, gone) is Reason.SOURCE_VANISHED


def test_an_object_changed_since_its_listing_is_read_as_it_is_now(place: Place, rng: random.Random) -> None:
    place.put("a.txt", b"old")
    listed = listing(place.source)["a.txt"]
    newest = some_bytes(rng, 300)
    place.put("a.txt", newest)

    content = place.source.read(listed, ROOMY)

    assert content.data == newest
    assert content.version == place.source.current_version(listed.uri) != listed.version


@pytest.mark.parametrize("excess", [1, 5000])
def test_an_object_beyond_the_limit_is_refused_and_one_at_the_limit_is_read(place: Place, excess: int) -> None:
    place.put("fits.txt", b"x" * 1000)
    place.put("exceeds.txt", b"x" * (1000 + excess))
    found = listing(place.source)

    assert reason(place.source, found["exceeds.txt"], 1000) is Reason.TOO_LARGE
    assert len(place.source.read(found["fits.txt"], 1000).data) == 1000


def test_an_object_grown_beyond_the_limit_since_its_listing_is_refused(place: Place) -> None:
    place.put("a.txt", b"x")
    listed = listing(place.source)["a.txt"]
    place.put("a.txt", b"x" * 2000)
    assert reason(place.source, listed, 1000) is Reason.TOO_LARGE


def test_an_empty_object_is_an_object(place: Place) -> None:
    place.put("empty.txt", b"")
    assert place.source.read(listing(place.source)["empty.txt"], 0).data == b""


def test_many_threads_may_read_one_adapter(place: Place, rng: random.Random) -> None:
    written = {f"{number}.txt": some_bytes(rng, 2000) for number in range(60)}
    for name, data in written.items():
        place.put(name, data)
    found = listing(place.source)
    with ThreadPoolExecutor(16) as threads:
        contents = threads.map(lambda name: place.source.read(found[name], ROOMY).data, written)
        assert dict(zip(written, contents, strict=True)) == written


@pytest.mark.integration
class TestS3:
    def test_a_missing_bucket_is_a_configuration_error_for_every_call(self, s3_endpoint: str) -> None:
        extra = {"endpoint_url": s3_endpoint, "region_name": "eu-central-1"}
        connections = {"c": Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra)}
        source = open_source("docs", S3Source(kind="s3", connection="c", bucket="no-such-bucket"), connections)
        listed = RawObject(source.root("a.txt"), "tag:1", 1)
        for call in (
            lambda: list(source.list()),
            lambda: source.read(listed, 9),
            lambda: source.current_version(listed.uri),
        ):
            with pytest.raises(FixConfiguration, match="connection 'c', bucket 'no-such-bucket': NoSuchBucket; create"):
                call()

    def test_a_listing_of_several_pages_is_whole_and_dated(
        self, bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = s3_client(bucket[0])
        for number in range(25):
            client.put_object(Bucket=bucket[1], Key=f"k/{number}", Body=b"x" * number)
        client.put_object(Bucket=bucket[1], Key="k/folder marker/", Body=b"")
        pages = client.list_objects_v2
        monkeypatch.setattr(client, "list_objects_v2", lambda **arguments: pages(MaxKeys=4, **arguments))
        found = list(S3("docs", client, bucket[1], "k/", "c").list())
        assert {one.uri: one.size for one in found} == {f"s3://{bucket[1]}/k/{number}": number for number in range(25)}
        assert all(one.modified and one.modified.tzinfo for one in found)

    def test_a_read_records_the_version_id(self, bucket: tuple[str, str]) -> None:
        client = s3_client(bucket[0])
        put = client.put_object(Bucket=bucket[1], Key="a", Body=b"x")
        (listed,) = (source := S3("docs", client, bucket[1])).list()
        assert source.read(listed, 10).version_id == put["VersionId"]


POSTGRES_ROWS = """
CREATE SCHEMA "Crm";
CREATE TABLE "Crm".note (
    id uuid PRIMARY KEY, body text, price numeric, tags jsonb, due date, raw bytea, local timestamp, changed timestamptz
);
INSERT INTO "Crm".note VALUES
    ('00000000-0000-0000-0000-000000000001', 'one', 'NaN', '{"b": 1, "a": [null]}', '2026-01-02', '\\xff',
     '2026-01-02 03:04', '2026-10-01 12:00+02'),
    ('00000000-0000-0000-0000-000000000002', 'two', 12.50, NULL, 'infinity', 'text', NULL, '2026-10-02 12:00+02');
"""


@pytest.mark.integration
class TestPostgres:
    @pytest.fixture
    def url(self, dsn: str) -> str:
        url = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
        self.execute(url, *POSTGRES_ROWS.strip().split(";\n"))
        return url

    def execute(self, url: str, *statements: str) -> None:
        engine = open_engine(url, "c")
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def source(self, url: str, **changed: Any) -> Sql:
        settings: dict[str, Any] = {"table": "Crm.note", "key": "id", "text": "{body}", "cursor": "changed"} | changed
        return Sql("notes", SqlSource(kind="sql", connection="c", **settings), open_engine(url, "c"))

    def test_every_type_is_rendered_and_a_uuid_finds_its_row(self, url: str) -> None:
        source = self.source(url, metadata=("price", "tags", "raw", "local", "due"))
        first = listing(source)["00000000-0000-0000-0000-000000000001"]
        content = source.read(first, ROOMY)
        assert content.data == b"one"
        assert content.metadata == {
            "price": "NaN",
            "tags": {"a": [None], "b": 1},
            "raw": "\\xff",
            "local": "2026-01-02T03:04:00",
            "due": "2026-01-02",
        }
        assert first.modified == datetime(2026, 10, 1, 10, tzinfo=UTC)
        assert content.version == first.version == source.current_version(first.uri)

    def test_a_value_no_driver_type_holds_skips_its_row_only(self, url: str) -> None:
        source = self.source(url, metadata=("due",))
        found = listing(source)
        assert reason(source, found["00000000-0000-0000-0000-000000000002"]) is Reason.MALFORMED
        assert source.read(found["00000000-0000-0000-0000-000000000001"], ROOMY).data == b"one"

    def test_a_large_row_is_never_fetched(self, url: str) -> None:
        self.execute(url, "UPDATE \"Crm\".note SET body = repeat('x', 20000000)")
        source = self.source(url)
        for listed in source.list():
            assert reason(source, listed, 1000) is Reason.TOO_LARGE

    def test_an_unknown_database_or_login_is_a_configuration_error(self, url: str) -> None:
        parsed = sa.make_url(url)
        for wrong in (parsed.set(database="no_such_database"), parsed.set(username="no_such_role")):
            with pytest.raises(FixConfiguration, match="connection 'c'.*correct the connection") as caught:
                list(self.source(wrong.render_as_string(hide_password=False)).list())
            assert "\n" not in str(caught.value)
