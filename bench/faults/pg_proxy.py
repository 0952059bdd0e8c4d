"""A faulting proxy before PostgreSQL: cuts, kills, hangs or mutes a connection at the chosen client message.

It runs as a process of its own without threads, so that a bench which forks holds no threads and a killed client is not the
proxy. It listens on a unix socket in a folder of its own and knows its peers' pids by SO_PEERCRED. One fault is armed at a
time, for all connections together.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from bench.faults.pg_wire import Fault, serve

__all__ = ["Fault", "PgProxy"]

ROOT = Path(__file__).resolve().parents[2]


class PgProxy:
    """`with PgProxy(postgres.sockets, postgres.port) as proxy: proxy.dsn("lab"); proxy.arm(Fault(...))`."""

    def __init__(self, sockets: Path, port: int = 5432) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-proxy-"))
        self.port = port
        command = [sys.executable, "-m", "bench.faults.pg_proxy", str(self.folder), str(sockets), str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def dsn(self, database: str) -> str:
        """A libpq URI of one database, through the proxy."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.folder), safe='')}&port={self.port}"

    def arm(self, fault: Fault) -> None:
        """Count from zero and act on this fault instead of the one before; a hang ends."""
        self._ask({"arm": asdict(fault)})

    def disarm(self) -> None:
        """No fault any more; a hang ends. The counts stay."""
        self._ask({"disarm": True})

    @property
    def messages(self) -> int:
        """Client messages since `arm` (or the start), all connections."""
        return int(self._ask({})["messages"])

    @property
    def copied(self) -> int:
        """Bytes of CopyData since `arm` (or the start) that counted for its `within`."""
        return int(self._ask({})["copied"])

    @property
    def matches(self) -> int:
        """Messages that the armed fault's kind and `within` fitted, up to its last firing; without a fault 0."""
        return int(self._ask({})["matches"])

    @property
    def fired(self) -> int:
        """Faults fired since `arm`."""
        return int(self._ask({})["fired"])

    def close(self) -> None:
        """End the process and its connections."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "the proxy has ended"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
