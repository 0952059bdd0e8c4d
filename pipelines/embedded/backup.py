"""Back the embedded database up and bring it back: base backups and archived WAL, by PostgreSQL's own tools.

    <folder>/base-20261122T235400/   verified base backups, the newest KEPT
    <folder>/wal/                    every WAL segment since the oldest of them

The first backup switches WAL archiving on, at least once a minute while there are writes: that is how much a lost disk
loses. A restored database has forgotten the numbers it gave out after the backup; they are leapt over, so that nothing an
earlier life left behind (a zombie's fence, a run's stage files) can pass for new. Not for an external database: its operator
has better tools (docs/runbook.md).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pipelines.embedded.files import locked
from pipelines.embedded.postgres import START_SECONDS, Postgres
from pipelines.errors import FixConfiguration, Retry
from pipelines.store import ledger

KEPT = 3
STAMP = "%Y%m%dT%H%M%S"
SEGMENT = re.compile(r"^[0-9A-F]{24}$")
PLAIN_PATH = re.compile(r"^[\w./ +@=,~-]+$")  # it stands in a shell command inside a settings file


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup and what it took."""

    folder: Path
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Restored:
    """What is served now: the database as of `until`, its last transaction; `replaced` is the former data folder, if any."""

    base: Path
    until: datetime | None
    replaced: Path | None
    seconds: float


def backup(server: Postgres, folder: Path) -> Backup:
    """Take and verify a base backup of the running server, keep WAL from now on, forget what is older than KEPT backups.

    Raises FixConfiguration for a folder that cannot be used, Retry when the server or the disk fails.
    """
    folder = _usable(server, folder)
    if not server.running():
        raise FixConfiguration(f"{server.data}: the embedded database does not run; start it with `millrace up`")
    began = time.monotonic()
    with locked(folder / "lock"):
        base = _take(server, folder)
        _forget(folder)
    size = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
    return Backup(base, size, round(time.monotonic() - began, 1))


def restore(server: Postgres, database: str, folder: Path, until: datetime | None = None) -> Restored:
    """Bring back the newest state in `folder`, or that of `until`; the present data folder is moved aside, not removed.

    WAL that the server had not archived yet is taken from there, so a damaged corpus on a healthy disk loses nothing.
    Raises FixConfiguration when there is no fitting backup, Retry when the server does not come back.
    """
    began = time.monotonic()
    folder = _usable(server, folder)
    base = _base_for(folder, until)
    server.stop()
    replaced = _move_aside(server)
    server.data.mkdir(mode=0o700)
    server.placement.give(server.data)
    server.run("/bin/cp", "-a", f"{base}/.", str(server.data))
    (server.data / "recovery.signal").touch()
    server.placement.give(server.data / "recovery.signal")
    server.start(**_recovery(folder / "wal", replaced, until))
    _await_end(server)
    last = _last_transaction(server)
    server.stop()
    server.start()
    _leap(server, database)
    return Restored(base, last, replaced, round(time.monotonic() - began, 1))


def _take(server: Postgres, folder: Path) -> Path:
    for interrupted in folder.glob("base-*.partial"):
        shutil.rmtree(interrupted)
    server.archive_to(folder / "wal")
    base = folder / f"base-{datetime.now(UTC).strftime(STAMP)}"
    partial = base.with_name(f"{base.name}.partial")
    where = ("-h", str(server.sockets), "-p", str(server.port), "-U", "postgres")
    server.run("pg_basebackup", "-D", str(partial), *where, "-X", "stream", "-c", "fast", "--manifest-checksums=SHA256")
    _verify(partial)
    return partial.rename(base)


def _usable(server: Postgres, folder: Path) -> Path:
    folder = folder.absolute()
    if not PLAIN_PATH.match(str(folder)):
        raise FixConfiguration(f"{folder}: has a character that a shell would read; name a folder of letters, digits, . _ -")
    try:
        (folder / "wal").mkdir(parents=True, exist_ok=True)
        for path in (folder, folder / "wal"):
            server.placement.give(path)
        server.run("/usr/bin/test", "-w", str(folder / "wal"))
    except (OSError, Retry) as error:
        raise FixConfiguration(f"{folder}: cannot be written by the database's account ({error}); name another") from None
    return folder


def _verify(base: Path) -> None:
    """Compare every file with the manifest that the server made; the wheel's own pg_verifybackup does not run."""
    manifest = json.loads((base / "backup_manifest").read_text(encoding="utf-8"))
    for entry in manifest["Files"]:
        name = entry.get("Path") or bytes.fromhex(entry["Encoded-Path"]).decode()
        with (base / name).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest != entry["Checksum"]:
            raise Retry(f"{base / name}: differs from the backup's manifest; check the disk and take another backup")


def _bases(folder: Path) -> list[Path]:
    """The complete base backups, oldest first."""
    return sorted(path for path in folder.glob("base-*") if path.is_dir() and not path.name.endswith(".partial"))


def _taken(base: Path) -> datetime:
    return datetime.strptime(base.name.removeprefix("base-"), STAMP).replace(tzinfo=UTC)


def _base_for(folder: Path, until: datetime | None) -> Path:
    fitting = [base for base in _bases(folder) if until is None or _taken(base) <= until]
    if not fitting:
        found = ", ".join(base.name for base in _bases(folder)) or "none"
        raise FixConfiguration(f"{folder}: no base backup{f' before {until}' if until else ''}; found: {found}")
    return fitting[-1]


def _forget(folder: Path) -> None:
    """Drop the oldest base backups and the WAL that only they need."""
    kept = _bases(folder)[-KEPT:]
    for base in _bases(folder)[:-KEPT]:
        shutil.rmtree(base)
    label = (kept[0] / "backup_label").read_text(encoding="utf-8")
    found = re.search(r"START WAL LOCATION: .* \(file ([0-9A-F]{24})\)", label)
    if found is None:
        raise Retry(f"{kept[0]}/backup_label: names no WAL file; take another backup")
    for path in (folder / "wal").iterdir():
        if SEGMENT.match(path.name) and path.name[8:] < found[1][8:]:  # the first 8 digits are the timeline
            path.unlink()


def _move_aside(server: Postgres) -> Path | None:
    if not server.data.exists():
        return None
    aside = server.data.with_name(f"{server.data.name}.replaced-{datetime.now(UTC).strftime(STAMP)}")
    return server.data.rename(aside)


def _recovery(wal: Path, replaced: Path | None, until: datetime | None) -> dict[str, str]:
    copy = f'cp "{wal}/%f" "%p"'
    if replaced is not None:
        copy += f' || cp "{replaced}/pg_wal/%f" "%p"'
    target = {"recovery_target_time": f"'{until.isoformat()}'"} if until else {}
    return {"restore_command": f"'{copy}'", "recovery_target_action": "'promote'", **target}


def _await_end(server: Postgres) -> None:
    deadline = time.monotonic() + 60 * START_SECONDS
    with closing(psycopg.connect(server.dsn("postgres"), autocommit=True)) as conn:
        while (row := conn.execute("SELECT pg_is_in_recovery()").fetchone()) and row[0]:
            if time.monotonic() > deadline:
                raise Retry(f"{server.data}: WAL is still being replayed; see {server.log}")
            time.sleep(0.2)


def _last_transaction(server: Postgres) -> datetime | None:
    with closing(psycopg.connect(server.dsn("postgres"))) as conn:
        row = conn.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
    return row[0] if row else None


def _leap(server: Postgres, database: str) -> None:
    with closing(psycopg.connect(server.dsn(database), options="-c search_path=millrace,public")) as conn, conn:
        ledger.leap(conn)
