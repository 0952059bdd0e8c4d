"""Backups of the embedded database, and what comes back from them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pipelines.embedded import backup
from pipelines.embedded.postgres import Postgres
from pipelines.errors import FixConfiguration, Retry
from pipelines.store.database import migrate

pytestmark = pytest.mark.integration
DATABASE = "millrace"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="millrace-backup-"))
    folder.chmod(0o711)
    made = Postgres(folder / "data", durable=False)
    made.start()
    made.ensure_database(DATABASE)
    migrate(made.dsn(DATABASE))
    with psycopg.connect(made.dsn(DATABASE)) as conn:
        conn.execute("CREATE TABLE note (text text)")
    yield made
    made.discard()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(server: Postgres) -> Path:
    return Path(tempfile.mkdtemp(prefix="backups-", dir=server.data.parent))


def write(server: Postgres, text: str) -> datetime:
    with psycopg.connect(server.dsn(DATABASE)) as conn:
        conn.execute("INSERT INTO note VALUES (%s)", (text,))
    return datetime.now(UTC)


def notes(server: Postgres) -> list[str]:
    with psycopg.connect(server.dsn(DATABASE)) as conn:
        return [text for (text,) in conn.execute("SELECT text FROM note ORDER BY text")]


def number(server: Postgres) -> int:
    with psycopg.connect(server.dsn(DATABASE)) as conn:
        row = conn.execute("SELECT nextval('millrace.fence')").fetchone()
        return int(row[0]) if row else 0


def test_a_lost_disk_comes_back_from_base_and_archived_wal(server: Postgres, folder: Path) -> None:
    write(server, "1 before")
    taken = backup.backup(server, folder)
    assert taken.bytes > 1e6
    after = write(server, "2 after")
    with psycopg.connect(server.dsn(DATABASE), autocommit=True) as conn:
        row = conn.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()  # as archive_timeout does once a minute
    assert row is not None
    until = time.monotonic() + 20
    while time.monotonic() < until and not (folder / "wal" / row[0]).exists():
        time.sleep(0.1)
    given_out = number(server)
    server.stop("immediate")
    shutil.rmtree(server.data)
    restored = backup.restore(server, DATABASE, folder)
    assert notes(server) == ["1 before", "2 after"]
    assert (restored.base, restored.replaced) == (taken.folder, None)
    assert restored.until is not None
    assert abs(restored.until - after).total_seconds() < 5
    assert number(server) > given_out + 1000, "a fence of the lost future may not be given out again"


def test_a_mistake_is_undone_to_the_moment_before_it(server: Postgres, folder: Path) -> None:
    backup.backup(server, folder)
    good = write(server, "3 good")
    time.sleep(0.05)
    with psycopg.connect(server.dsn(DATABASE)) as conn:
        conn.execute("DELETE FROM note")
    restored = backup.restore(server, DATABASE, folder, good)
    assert "3 good" in notes(server)
    assert restored.replaced is not None
    assert (restored.replaced / "PG_VERSION").exists(), "what was replaced is kept"


def test_only_the_newest_backups_and_the_wal_they_need_are_kept(
    server: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "KEPT", 1)
    (folder / "base-20200101T000000.partial").mkdir()
    first = backup.backup(server, folder)
    monkeypatch.setattr(backup, "STAMP", "%Y%m%dT%H%M%S%f")
    second = backup.backup(server, folder)
    assert [path.name for path in folder.glob("base-*")] == [second.folder.name]
    label = (second.folder / "backup_label").read_text()
    assert first.folder.name not in label
    assert min(path.name[8:24] for path in (folder / "wal").glob("0*") if len(path.name) == 24) in label.replace("/", "")


def test_a_damaged_backup_is_found_when_it_is_taken(server: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = server.run

    def damaging(program: str, *arguments: str) -> None:
        run(program, *arguments)
        if program == "pg_basebackup":
            (Path(arguments[1]) / "PG_VERSION").write_text("17\n")

    monkeypatch.setattr(server, "run", damaging)
    with pytest.raises(Retry, match=r"PG_VERSION: differs"):
        backup.backup(server, folder)


@pytest.mark.parametrize("name", ["with'quote", "with$(touch x)", 'with"double'])
def test_a_folder_that_a_shell_would_misread_is_refused(server: Postgres, folder: Path, name: str) -> None:
    with pytest.raises(FixConfiguration, match="shell"):
        backup.backup(server, folder / name)


def test_there_must_be_a_backup_to_restore(server: Postgres, folder: Path) -> None:
    before = notes(server)
    with pytest.raises(FixConfiguration, match="no base backup"):
        backup.restore(server, DATABASE, folder)
    assert notes(server) == before
