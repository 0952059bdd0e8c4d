"""The embedded Postgres recovers from whatever an interrupted run left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipelines.embedded import placement
from pipelines.embedded.identity import identity
from pipelines.embedded.postgres import Postgres
from pipelines.errors import FixConfiguration, Retry

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="millrace-pg-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    made = Postgres(folder / "data", durable=False)
    yield made
    made.discard()


def rows(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_data_survives_stop_and_start(server: Postgres) -> None:
    assert server.start()
    rows(server, "CREATE TABLE kept AS SELECT 42 AS value")
    server.stop()
    assert not server.running()
    assert server.start()
    assert rows(server, "SELECT value FROM kept") == [(42,)]


def test_second_start_reuses_the_running_server(server: Postgres) -> None:
    server.start()
    pid = server.pid()
    assert not Postgres(server.data, durable=False).start()
    assert server.pid() == pid


def test_two_starts_at_once_make_one_server(server: Postgres) -> None:
    others = [Postgres(server.data, durable=False) for _ in range(3)]
    started: list[bool] = []
    threads = [threading.Thread(target=lambda other=other: started.append(other.start())) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False, False, True]


def test_killed_server_is_started_again(server: Postgres) -> None:
    server.start()
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while identity(pid):
        time.sleep(0.02)
    assert (server.data / "postmaster.pid").exists()
    assert not server.running()
    assert server.start()
    assert rows(server, "SELECT 1") == [(1,)]


def test_pid_file_naming_another_living_process_is_not_believed(server: Postgres) -> None:
    """As after a reboot: the number now belongs to somebody else, who must survive."""
    server.start()
    server.stop()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{server.data}\n0\n5432\n\n\n0 0\nready\n")
        assert not server.running()
        assert server.start()
        server.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_interrupted_initdb_is_repeated(server: Postgres) -> None:
    partial = server.data.with_name(f"{server.data.name}.partial")
    (partial / "base").mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    assert server.start()
    assert not partial.exists()


def test_empty_data_folder_is_used(server: Postgres) -> None:
    server.data.mkdir()
    assert server.start()


def test_leftover_socket_is_replaced(server: Postgres) -> None:
    server.sockets.mkdir()
    (server.sockets / ".s.PGSQL.5432").touch()
    assert server.start()


def test_running_server_without_its_socket_is_restarted(server: Postgres) -> None:
    server.start()
    shutil.rmtree(server.sockets)
    assert not server.running()
    assert server.start()
    assert rows(server, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("name", "content", "says"), [("notes.txt", "mine", "not empty"), ("PG_VERSION", "16\n", "PostgreSQL 16")]
)
def test_foreign_folder_is_refused_untouched(server: Postgres, name: str, content: str, says: str) -> None:
    server.data.mkdir()
    (server.data / name).write_text(content)
    with pytest.raises(FixConfiguration, match=says):
        server.start()
    assert (server.data / name).read_text() == content


def test_failing_start_names_the_reason_and_the_log(server: Postgres) -> None:
    server.start()
    server.stop()
    with (server.data / "postgresql.auto.conf").open("a") as handle:
        handle.write("shared_preload_libraries = 'absent_library'\n")
    with pytest.raises(Retry, match=r"absent_library.*\.log"):
        server.start()


def test_socket_path_stays_short_below_a_deep_folder(folder: Path) -> None:
    deep = folder / "/".join(["a-rather-long-folder-name"] * 5)
    server = Postgres(deep / "data", durable=False)
    try:
        server.start()
        assert rows(server, "SELECT 1") == [(1,)]
    finally:
        server.discard()


def test_durable_cluster_keeps_its_promises(folder: Path) -> None:
    server = Postgres(folder / "data")
    try:
        server.start()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert rows(server, f"SHOW {setting}") == [("on",)]
        assert rows(server, "SHOW listen_addresses") == [("",)]
    finally:
        server.discard()


def test_copy_of_a_template_has_its_tables(server: Postgres) -> None:
    server.start()
    server.ensure_database("first")
    with psycopg.connect(server.dsn("first")) as connection:
        connection.execute("CREATE TABLE there AS SELECT 7 AS value")
    server.ensure_database("second", "first")
    server.ensure_database("second", "first")
    with psycopg.connect(server.dsn("second")) as connection:
        assert connection.execute("SELECT value FROM there").fetchone() == (7,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
def test_root_finds_another_place_when_the_account_cannot_reach_the_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "system"
    elsewhere.mkdir(mode=0o755)
    monkeypatch.setattr(placement, "SYSTEM_FOLDER", elsewhere)
    private = folder / "private"
    private.mkdir(mode=0o700)
    server = Postgres(private / "data", durable=False)
    try:
        assert str(elsewhere) in server.placement.note
        assert "\n" not in server.placement.note
        server.start()
        assert rows(server, "SELECT 1") == [(1,)]
    finally:
        server.discard()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
def test_root_copies_programs_that_the_account_cannot_reach(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "system"
    elsewhere.mkdir(mode=0o755)
    monkeypatch.setattr(placement, "SYSTEM_FOLDER", elsewhere)
    package = placement.installed_programs().parent.parent
    private = folder / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(package / placement.INSTALLED, private / placement.WHEEL / placement.INSTALLED, symlinks=True)
    shutil.copytree(package.with_name(f"{placement.WHEEL}.libs"), private / f"{placement.WHEEL}.libs")
    hidden = private / placement.WHEEL / placement.INSTALLED / "bin"
    monkeypatch.setattr(placement, "installed_programs", lambda: hidden)
    server = Postgres(folder / "data", durable=False)
    try:
        assert server.placement.programs.is_relative_to(elsewhere)
        server.start()
        assert rows(server, "CREATE EXTENSION vector") == []
    finally:
        server.discard()
