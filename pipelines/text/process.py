"""One parse child seen from the parent: start it, talk to it before a deadline, say how it died."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from pipelines.errors import FixConfiguration, Retry, SkipDocument
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.text import wire

ENVIRONMENT = {"DO_NOT_TRACK": "1", "SCARF_NO_ANALYTICS": "1", "UNSTRUCTURED_DISABLE_NOTICE": "1", "LC_ALL": "C.UTF-8"}
START_SECONDS = 120.0  # to start Python and import a parser; never counted against a document
_OUT_OF_MEMORY = 71
_HELLO_BYTES = 4096
_ROOT = Path(__file__).resolve().parents[2]
_BLOCK = 1 << 18
# A reply is JSON: text of up to four bytes a character, and sections with their heading paths
_REPLY_BYTES_PER_CHAR, _REPLY_EXTRA = 8, 4 * 2**20


class Child:
    """A started parse child. Not thread-safe: one conversation at a time."""

    def __init__(self, parser: str, memory_mb: int, home: Path, *, heavy: bool = False) -> None:
        self.heavy = heavy  # reads only formats with a heavy parser
        self.served: set[str] = set()  # formats whose parsers it has imported
        self._fresh_mb = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(Path(__file__).with_name("child.py")), str(_ROOT), parser, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env={**ENVIRONMENT, "HOME": str(home)},
            start_new_session=True,
            close_fds=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise Retry("the parse child has no pipes")
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._buffer = bytearray()
        self._fences: frozenset[str] | None = None

    def fences(self) -> frozenset[str]:
        """What the kernel keeps from it: network, files, system_calls. Raises Retry when the child does not start."""
        if self._fences is None:
            deadline = time.monotonic() + START_SECONDS
            try:
                self._fences = frozenset(json.loads(self._frame(deadline, _HELLO_BYTES)))
            except (_Dead, _Late, SkipDocument):
                self.kill()
                raise Retry(f"the parse child did not start ({self._ending()}); check memory and the installation") from None
        return self._fences

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.returncode is None

    def grown_mb(self) -> int:
        """Address space beyond what it had with its first parser, before its first document."""
        return self._size_mb() - self._fresh_mb

    def parse(
        self, content: Content, fmt: str, processor_seconds: float, seconds: float, max_chars: int
    ) -> list[Document | Rejected]:
        """Ask about one document, which may take so much processor time, and so long altogether.

        Raises SkipDocument(PARSE_TIMEOUT | PARSE_OOM | PARSE_CRASH | OUTPUT_LIMIT); see `alive` after it.
        """
        self.fences()
        try:
            self._send(wire.request(content, fmt, processor_seconds), time.monotonic() + START_SECONDS)
            size_mb = self._await_ready(fmt)
            if not self.served:
                self._fresh_mb = size_mb
            reply = self._frame(time.monotonic() + seconds, max_chars * _REPLY_BYTES_PER_CHAR + _REPLY_EXTRA)
            results = wire.read_reply(reply, content)
        except SkipDocument:
            self.kill()
            raise
        except _Late:
            self.kill()
            raise SkipDocument(Reason.PARSE_TIMEOUT, f"not parsed within {seconds:g} s; split the document") from None
        except _Dead:
            self._process.wait()
            raise self._obituary(processor_seconds) from None
        except ValueError as error:
            self.kill()
            raise SkipDocument(Reason.PARSE_CRASH, str(error)) from None
        self.served.add(fmt)
        return _within(results, max_chars)

    def end(self) -> None:
        """Kill the child and everything in its session; safe from another thread than the one that talks to it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the child, reap it and close its pipes."""
        self.end()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def _await_ready(self, fmt: str) -> int:
        """Until the parser is imported; returns the child's address space then, in MB, as it says."""
        try:
            self._receive(wire.LENGTH.size, time.monotonic() + START_SECONDS)
        except _Late:
            self.kill()
            raise Retry(f"the {fmt} parser did not start within {START_SECONDS:g} s; check the load") from None
        except _Dead:
            if self._process.wait() == 1:  # Python's status after a traceback
                raise FixConfiguration(f"the {fmt} parser cannot be imported; run `make setup`") from None
            raise Retry(f"the {fmt} parser did not start ({self._ending()}); check memory and load") from None
        (size_mb,) = wire.LENGTH.unpack_from(self._buffer)
        del self._buffer[: wire.LENGTH.size]
        return int(size_mb)

    def _send(self, parts: list[bytes], deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            for part in parts:
                view = memoryview(part)
                while view:
                    if not selector.select(max(0.0, deadline - time.monotonic())):
                        raise _Late
                    try:
                        view = view[os.write(self._stdin.fileno(), view[:_BLOCK]) :]
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        raise _Dead from None

    def _frame(self, deadline: float, limit: int) -> bytes:
        self._receive(wire.LENGTH.size, deadline)
        (size,) = wire.LENGTH.unpack_from(self._buffer)
        if size > limit:
            raise SkipDocument(Reason.OUTPUT_LIMIT, f"parser output of {size} bytes, limit {limit}; split the document")
        self._receive(wire.LENGTH.size + size, deadline)
        frame = bytes(self._buffer[wire.LENGTH.size : wire.LENGTH.size + size])
        del self._buffer[: wire.LENGTH.size + size]
        return frame

    def _receive(self, size: int, deadline: float) -> None:
        """Fill the buffer up to `size` bytes."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while len(self._buffer) < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise _Late
                block = os.read(self._stdout.fileno(), _BLOCK)
                if not block:
                    raise _Dead
                self._buffer += block

    def _ending(self) -> str:
        status = self._process.poll()
        if status is None:
            return "still running"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _size_mb(self) -> int:
        with contextlib.suppress(OSError):
            return wire.size_mb(self._process.pid)
        return 0

    def _obituary(self, seconds: float) -> SkipDocument:
        status = self._process.returncode
        if status in (_OUT_OF_MEMORY, -signal.SIGKILL):
            return SkipDocument(Reason.PARSE_OOM, "the parser ran out of memory (parse_memory_mb); split the document")
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            detail = f"the parser used up {seconds:.1f} s of processor time; split the document"
            return SkipDocument(Reason.PARSE_TIMEOUT, detail)
        return SkipDocument(Reason.PARSE_CRASH, f"the parser died: {self._ending()}")


class _Dead(Exception):
    """The child closed its pipe."""


class _Late(Exception):
    """The deadline passed."""


def _within(results: list[Document | Rejected], max_chars: int) -> list[Document | Rejected]:
    total = sum(len(item.text) for item in results if isinstance(item, Document))
    if total > max_chars:
        raise SkipDocument(Reason.OUTPUT_LIMIT, f"{total} characters of text, limit {max_chars}; split the document")
    return results
