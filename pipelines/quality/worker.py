"""The process behind `validator.Validator`: `python -m pipelines.quality.worker BASE FOLDER IDLE_SECONDS`.

Listens on BASE.sock before it imports great_expectations, so that a client's request waits in the queue meanwhile; answers
one JSON line per connection, one at a time; ends after IDLE_SECONDS without a client. BASE.lock is held while it lives, so
there is one; its working folder is FOLDER. Holds no credentials, writes nothing but the asked Data Docs folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import LazyLoader, find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, Any

Request = dict[str, Any]
Reply = dict[str, Any]


def main() -> None:
    """Serve until nobody asks for a while; leave at once when another worker holds the lock."""
    base, idle = Path(sys.argv[1]), float(sys.argv[3])
    os.chdir(sys.argv[2])
    lock = _claim(base.with_suffix(".lock"))
    if lock is None:
        return
    address = base.with_suffix(".sock")
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        try:
            serve = _service()
            listener.settimeout(idle)
            _serve(listener, serve)
        finally:
            # Before the lock goes: a successor must not lose its socket to us.
            address.unlink(missing_ok=True)


def _claim(path: Path) -> IO[str] | None:
    """The lock file, held, with our pid in it; None when another worker lives."""
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _serve(listener: socket.socket, serve: Callable[[Request], Reply]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            return
        with client, client.makefile("rb") as requests:
            line = requests.readline()
            if line.endswith(b"\n"):  # a probe sends nothing
                _reply(client, _answer(serve, json.loads(line)))


def _reply(client: socket.socket, reply: Reply) -> None:
    try:
        client.sendall(json.dumps(reply).encode() + b"\n")
    except OSError as error:  # the client was killed; the next one must not suffer
        sys.stderr.write(f"a client left before its answer: {error}\n")


def _answer(serve: Callable[[Request], Reply], request: Request) -> Reply:
    try:
        return serve(request)
    except Exception as error:  # the boundary of the process: everything becomes one line for the caller
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


class _Lazily(MetaPathFinder):
    """Defers what great_expectations imports for charts and distributions, which no suite uses: a second of the start."""

    modules = frozenset({"altair", "scipy.stats"})

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec with a loader that runs it on first use."""
        if fullname not in self.modules:
            return None
        sys.meta_path.remove(self)
        try:
            spec = find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def _service() -> Callable[[Request], Reply]:
    sys.meta_path.insert(0, _Lazily())
    from pipelines.quality.expectations import Runner  # noqa: PLC0415 - the slow import, once clients can queue

    runner = Runner()

    def serve(request: Request) -> Reply:
        start = time.perf_counter()
        table, docs = Path(request["table"]), request["docs"]
        outcome = runner.run(request["suite"], table, request["label"], request["parameters"])
        page = runner.document(Path(docs), Path(request["styles"])) if docs else ""
        return outcome | {"page": page, "seconds": round(time.perf_counter() - start, 4)}

    return serve


if __name__ == "__main__":
    main()
