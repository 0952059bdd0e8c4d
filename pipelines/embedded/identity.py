"""Who a process is: its pid together with the moment it started, so that a recycled pid is never mistaken for ours.

On Linux the moment is the boot id and the start tick of /proc (a clock that is set does not move it); elsewhere it is
psutil's creation time in whole seconds. A zombie counts as gone.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]

PROC = Path("/proc")
BOOT_ID = PROC / "sys/kernel/random/boot_id"
STATE, SESSION, START_TICK = 0, 3, 19  # fields of /proc/<pid>/stat behind the name


def identity(pid: int) -> str | None:
    """An opaque token of the running process `pid`, or None when there is none. Equal tokens mean the same process."""
    if BOOT_ID.exists():
        fields = _stat(pid)
        return None if fields is None else f"{BOOT_ID.read_text().strip()}:{fields[START_TICK]}"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None


def session_members(session: int, since: str) -> list[int]:
    """Pids that still belong to a session whose leader was `since` (an identity), which may itself be gone.

    Empty when the number was recycled, when the machine was booted since, or where the system cannot tell (no /proc).
    """
    boot, _, tick = since.rpartition(":")
    if not boot or not BOOT_ID.exists() or BOOT_ID.read_text().strip() != boot:
        return []
    leader = identity(session)
    if leader is not None and leader != since:
        return []
    everyone = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    members = ((pid, _stat(pid)) for pid in everyone)
    return [
        pid for pid, fields in members if fields and int(fields[SESSION]) == session and int(fields[START_TICK]) >= int(tick)
    ]


def working_folder(pid: int) -> Path | None:
    """The current folder of a process, or None when it is gone or not ours to see."""
    try:
        if PROC.joinpath(str(pid)).exists():
            return Path(os.readlink(PROC / str(pid) / "cwd"))
        return Path(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return None


def processes_in(folder: Path, name: str = "") -> list[int]:
    """Pids of our processes whose current folder is this one, deleted since or not; with this program name, if given."""
    wanted = {str(folder.resolve()), f"{folder.resolve()} (deleted)"}
    candidates = (process.pid for process in psutil.process_iter(["name"]) if name in {"", process.info["name"]})
    return [pid for pid in candidates if pid != os.getpid() and identity(pid) and str(working_folder(pid)) in wanted]


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[STATE] in {"Z", "X"} else fields
