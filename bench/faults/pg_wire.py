"""The inside of the PostgreSQL proxy: reads the client's protocol messages, counts them and acts on the armed fault.

One asyncio process serves all connections; orders come as JSON lines on its standard input. See `pg_proxy`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

CANCEL, ENCRYPTION = 80877102, {80877103, 80877104}  # CancelRequest; SSLRequest and GSSENCRequest
REPLY_ENDS = b"ZG"  # ReadyForQuery; CopyInResponse, after which the client goes on without one
MUTE_SECONDS = 0.1  # between a dropped reply and the end of its connection
STARTUP = b"\0"  # stands for the first message, which has no type byte

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Fault:
    """At the `nth` client message of `kind`: act instead of forwarding it (`before`) or instead of its reply (`after`).

    Kinds: `startup`; `query` (Query, Parse or Execute); `statement` (Query or Execute: each statement once); `copy`
    (CopyData); `commit` (COMMIT, simple or extended); `any`.
    Actions: `kill` SIGKILLs the client; `reset` closes both sides; `drop_reply` forwards, swallows the reply, then closes;
    `hang` stops every connection, new ones too, until disarm. `bytes_into` replaces `nth`: cut after so many bytes of
    CopyData, all copies together. `within` counts only in transactions that had a statement with this text; `times` fires at
    that many matches in a row.
    """

    nth: int = 1
    kind: Literal["any", "startup", "query", "statement", "copy", "commit"] = "any"
    side: Literal["before", "after"] = "before"
    action: Literal["kill", "reset", "hang", "drop_reply"] = "reset"
    bytes_into: int | None = None
    within: str = ""
    times: int = 1


class _Control:
    """The armed fault and the counts, shared by all connections."""

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.order({"disarm": True})
        self.messages = self.copied = self.fired = self.matches = 0

    def order(self, order: dict[str, Any]) -> dict[str, int]:
        if order:
            self.fault = Fault(**order["arm"]) if "arm" in order else None
            self.flowing.set()
        if "arm" in order:
            self.messages = self.copied = self.fired = self.matches = 0
        counts = ("messages", "matches", "copied", "fired")
        return {} if order else {name: getattr(self, name) for name in counts}

    def due(self, kinds: set[str], seen: str, size: int) -> tuple[Fault, int] | None:
        """The fault, if this message is its turn, and how many bytes of the body still go through."""
        self.messages += 1
        fault = self.fault
        inside = fault is None or fault.within in seen
        before = self.copied
        self.copied += size if inside and "copy" in kinds else 0
        if fault is None or not inside or self.fired >= fault.times:
            return None
        if fault.bytes_into is not None:
            due, into = before <= fault.bytes_into < self.copied, fault.bytes_into - before
        else:
            self.matches += fault.kind in kinds
            due, into = fault.kind in kinds and self.matches >= fault.nth, 0
        self.fired += due
        return (fault, into) if due else None


class _Link:
    """One client connection and its server connection."""

    def __init__(self, control: _Control, reader: Reader, writer: Writer, up_reader: Reader, up_writer: Writer) -> None:
        self.control, self.reader, self.writer = control, reader, writer
        self.up_reader, self.up_writer = up_reader, up_writer
        self.pid = _peer(writer)
        self.statements: dict[bytes, str] = {}  # prepared, by name
        self.portals: dict[bytes, str] = {}
        self.seen = ""  # the transaction's statements so far
        self.ended = False  # the transaction has got its COMMIT or ROLLBACK
        self.awaiting: tuple[Fault, bytes] | None = None  # the fault that takes the coming reply, and the message replied to

    async def from_client(self, startup: bytes) -> None:
        kind, message = STARTUP, startup
        while True:
            await self.control.flowing.wait()
            due = self.control.due(self._kinds(kind, message[5:]), self.seen, len(message) - 5)
            if due is None:
                await _send(self.up_writer, message)
            elif not await self._fire(kind, message, *due):
                return
            kind, message = await _message(self.reader)

    async def from_server(self) -> None:
        held = b""
        while True:
            kind, message = await _message(self.up_reader)
            await self.control.flowing.wait()
            if self.awaiting is None:
                await _send(self.writer, message)
                continue
            held += message
            fault, cause = self.awaiting
            if cause != STARTUP and kind not in REPLY_ENDS:
                continue
            if fault.action != "hang":
                return await self._end(fault)
            await self._stall()
            self.awaiting, held = None, await _send(self.writer, held)

    async def _fire(self, kind: bytes, message: bytes, fault: Fault, into: int) -> bool:
        """Act; whether the connection goes on."""
        replied = kind not in (b"d", b"X")  # CopyData and Terminate have no reply
        if fault.bytes_into is None and (fault.side == "after" or fault.action == "drop_reply"):
            self.awaiting = (fault, kind) if replied else None
            await _send(self.up_writer, message)
            if replied:
                return True
        elif fault.action == "hang":
            await self._stall()
            await _send(self.up_writer, message)
            return True
        elif into:
            await _send(self.up_writer, message[: 5 + into])
        await self._end(fault)
        return False

    async def _stall(self) -> None:
        self.control.flowing.clear()
        await self.control.flowing.wait()

    async def _end(self, fault: Fault) -> None:
        if fault.action == "kill" and self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        if fault.action == "drop_reply":
            await asyncio.sleep(MUTE_SECONDS)

    def _kinds(self, kind: bytes, body: bytes) -> set[str]:
        """What the message counts as; remembers which statement a name stands for and what the transaction has done."""
        kinds = {"any"} | ({"startup"} if kind == STARTUP else {"copy"} if kind == b"d" else set())
        text = self._statement(kind, body)
        if text is None:
            return kinds
        self.seen, self.ended = ("" if self.ended else self.seen) + text + "\n", False
        if kind in b"QPE":
            kinds |= {"query"} if kind == b"P" else {"query", "statement"}
        word = text.split(None, 1)[0].upper().rstrip(";") if text.strip() else ""
        if kind in b"QE" and word in ("COMMIT", "ROLLBACK", "END", "ABORT"):
            self.ended = True
            kinds |= {"commit"} if word in ("COMMIT", "END") else set()
        return kinds

    def _statement(self, kind: bytes, body: bytes) -> str | None:
        """The SQL that a message carries or names; None for one that names none."""
        if kind not in b"QPBE":
            return None
        first, _, rest = body.partition(b"\0")
        second = rest.partition(b"\0")[0]
        if kind == b"Q":
            return first.decode(errors="replace")
        if kind == b"P":
            self.statements[first] = second.decode(errors="replace")
            return self.statements[first]
        if kind == b"B":
            self.portals[first] = self.statements.get(second, "")
        return self.portals.get(first, "")


async def _message(reader: Reader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


async def _send(writer: Writer, data: bytes) -> bytes:
    writer.write(data)
    await writer.drain()
    return b""


def _peer(writer: Writer) -> int:
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[0])


async def _startup(reader: Reader, writer: Writer) -> tuple[int, bytes]:
    """The first message and its code; encryption is declined."""
    while True:
        head = await reader.readexactly(8)
        size, code = struct.unpack("!ii", head)
        if code not in ENCRYPTION:
            return code, head + await reader.readexactly(size - 8)
        await _send(writer, b"N")


async def _connection(control: _Control, target: str, reader: Reader, writer: Writer) -> None:
    up_writer: Writer | None = None
    try:
        code, first = await _startup(reader, writer)
        await control.flowing.wait()
        up_reader, up_writer = await asyncio.open_unix_connection(target)
        if code == CANCEL:
            await _send(up_writer, first)
            await up_reader.read()
            return
        link = _Link(control, reader, writer, up_reader, up_writer)
        await _first(link.from_client(first), link.from_server())
    except (OSError, EOFError):
        pass  # one side has gone: so does the other
    finally:
        if up_writer is not None:
            up_writer.close()  # what was forwarded arrives
        writer.transport.abort()


async def _first(*pumps: Awaitable[None]) -> None:
    """Until one ends or raises; the others are ended."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def serve(folder: str, target: str, port: str) -> None:
    """Listen in `folder` and forward to the server whose socket is in `target`, until standard input ends."""
    control, name = _Control(), f".s.PGSQL.{port}"
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await asyncio.start_unix_server(
        lambda reader, writer: _connection(control, f"{target}/{name}", reader, writer), f"{folder}/{name}", backlog=200
    )
    print("{}", flush=True)
    while line := await orders.readline():  # no line: the parent has gone
        print(json.dumps(control.order(json.loads(line))), flush=True)
