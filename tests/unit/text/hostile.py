"""Parsers that a pool under test runs in place of the real one: each does what a hostile document would."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.records import Content, Document, Rejected


def parse(content: Content, fmt: str) -> list[Document | Rejected]:
    """Do what the format names; the result is the document's text."""
    text = ACTIONS[fmt](content)
    return [Document(content.uri, text, ())] if text else []


def prepare(content: Content, fmt: str) -> None:
    """Only "slow_import" takes long to import: more processor time than a first document may use."""
    start = time.process_time()
    while fmt == "slow_import" and time.process_time() - start < 4:
        pass


def _loop(content: Content) -> str:
    while True:
        pass


def _sleep(content: Content) -> str:
    time.sleep(1000)
    return "awake"


def _hog(content: Content) -> str:
    return "x" * len([bytes(2**24) for _ in range(10**6)])


def _signal(number: int) -> Callable[[Content], str]:
    def act(content: Content) -> str:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return "survived"

    return act


def _environment(content: Content) -> str:
    return "\n".join(f"{key}={value}" for key, value in sorted(os.environ.items()))


def _attempt(action: Callable[[], object]) -> str:
    try:
        return f"done {action()}"
    except BaseException as error:
        return f"refused {type(error).__name__}"


def _connect(content: Content) -> str:
    host, port = content.data.decode().split()
    return _attempt(lambda: socket.create_connection((host, int(port)), timeout=2).sendall(b"hello"))


def _unix(content: Content) -> str:
    return _attempt(lambda: socket.socket(socket.AF_UNIX).connect(content.data.decode()))


def _parents_environment(content: Content) -> str:
    return _attempt(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes())


def _read(content: Content) -> str:
    return _attempt(lambda: Path(content.data.decode()).read_text())


def _write(content: Content) -> str:
    return _attempt(lambda: Path(content.data.decode()).write_text("x"))


def _fork(content: Content) -> str:
    return _attempt(os.fork)


def _execute(content: Content) -> str:
    return _attempt(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))


def _kill_parent(content: Content) -> str:
    return _attempt(lambda: os.kill(os.getppid(), signal.SIGUSR1))


def _print(content: Content) -> str:
    os.write(1, b"\xff" * 100_000)
    sys.stdout.write("noise" * 1000)
    return "quiet"


def _leak(content: Content) -> str:
    """Works, but leaves the child with no memory for the next document."""
    _LEAKED.append(ctypes.create_string_buffer(700 * 2**20))
    return "ok"


def _need(content: Content) -> str:
    return f"{len(bytearray(700 * 2**20))} bytes"


_LEAKED: list[object] = []

ACTIONS: dict[str, Callable[[Content], str]] = {
    "echo": lambda content: content.data.decode(),
    "slow_import": lambda content: content.data.decode(),
    "size": lambda content: f"{len(content.data)} bytes",
    "loop": _loop,
    "sleep": _sleep,
    "hog": _hog,
    "exit": lambda content: os._exit(3),
    "killed": _signal(signal.SIGKILL),
    "segv": _signal(signal.SIGSEGV),
    "xcpu": _signal(signal.SIGXCPU),
    "environment": _environment,
    "connect": _connect,
    "unix": _unix,
    "parents_environment": _parents_environment,
    "read": _read,
    "write": _write,
    "fork": _fork,
    "execute": _execute,
    "kill_parent": _kill_parent,
    "print": _print,
    "huge": lambda content: "x" * 3_000_000,
    "nothing": lambda content: "",
    "raise": lambda content: str(1 // 0),
    "leak": _leak,
    "need": _need,
}
