"""What the parse child gives up before it sees a byte: memory, files, processes, network, signals to others.

Every fence the kernel offers is taken and reported; a missing one is not an error, because the others and the empty
environment remain. Linux only, through ctypes; elsewhere only the resource limits hold.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# The interpreter with numpy, spaCy and unstructured maps about 800 MB before it reads a document
INTERPRETER_MB = 1024
_FILE_BYTES = 2**20
_OPEN_FILES = 64

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446


def limit_resources(memory_mb: int) -> None:
    """Address space, core dumps, files. CPU time is set per document."""
    space = (memory_mb + INTERPRETER_MB) * 2**20
    for kind, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def isolate(readable: Sequence[Path]) -> list[str]:
    """Put up the kernel's fences; returns the names of those that stand: network, files, system_calls."""
    if not sys.platform.startswith("linux"):
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    standing = []
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWNET) == 0:
        standing.append("network")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return standing
    if _landlock(libc, readable):
        standing.append("files")
    if _seccomp(libc):
        standing.append("system_calls")
    return standing


# --- files: read what Python needs, write nothing, signal nobody ------------------------------------------------------

_WRITE_FILE, _READ_FILE, _READ_DIR = 2, 4, 8
_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def _landlock(libc: ctypes.CDLL, readable: Sequence[Path]) -> bool:
    abi = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    handled = _ACCESS_BY_ABI[min(abi, 5)]
    attributes = struct.pack(
        "=QQQ", handled, _BIND_AND_CONNECT_TCP if abi >= 4 else 0, _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    )[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        access = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
        if path == Path(os.devnull):
            access |= _WRITE_FILE
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", access, handle), 0)
    finally:
        os.close(handle)


# --- system calls: no sockets, no programs, no other processes --------------------------------------------------------

_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_CLONE_THREAD = 0x00010000
# (audit architecture, denied numbers, clone, clone3); denied: socket socketpair connect bind listen accept sendto execve
# execveat ptrace process_vm_readv process_vm_writev unshare setns mount bpf perf_event_open io_uring_setup userfaultfd
# keyctl, and fork and vfork where they exist
_CALLS = {
    "x86_64": (
        0xC000003E,
        (41, 53, 42, 49, 50, 43, 44, 59, 322, 101, 310, 311, 272, 308, 165, 321, 298, 425, 323, 250, 57, 58),
        56,
        435,
    ),
    "aarch64": (
        0xC00000B7,
        (198, 199, 203, 200, 201, 202, 206, 221, 281, 117, 270, 271, 97, 268, 40, 280, 241, 425, 282, 219),
        220,
        435,
    ),
}
_X32 = 0x40000000  # the second numbering of the same calls on x86_64


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _seccomp(libc: ctypes.CDLL) -> bool:
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    code = b"".join(struct.pack("=HBBI", *step) for step in _filter(*known))
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0)


def _filter(arch: int, denied: Sequence[int], clone: int, clone3: int) -> list[tuple[int, int, int, int]]:
    """A classic BPF program over (number, architecture, arguments): deny the list, let clone make threads only."""
    deny = [step for number in denied for step in ((_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM))]
    return [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_JUMP_SET, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        *deny,
        (_JUMP_EQUAL, 0, 1, clone3),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),  # its flags cannot be seen from here; the C library falls back to clone
        (_JUMP_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, 16),
        (_JUMP_SET, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
