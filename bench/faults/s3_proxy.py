"""A proxy before the object store that does what stores, gateways and networks do wrong: one armed fault at a time.

A fault sees each exchange twice: `ask` before it is forwarded (it may change the question, act on the bucket or answer
itself), `answer` after the store has answered (it may change the answer, or how it is sent). Chance is drawn from the seed
and the exchange's own key and count, so a run repeats whatever the threads' order. Listings come in pages of `page_keys`.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

HOP = {"connection", "transfer-encoding", "content-length"}
TRICKLE_SECONDS = 0.2  # between the bytes of a trickled answer

Kind = Literal["list", "get", "head", "other"]
Ending = Literal["whole", "close", "reset", "stall", "trickle"]


@dataclass(slots=True)
class Exchange:
    """One question and its answer, both open to change until sent."""

    kind: Kind
    key: str  # of an object, or a listing's continuation token
    count: int  # exchanges of this kind since the fault was armed, from 1; of this key in `turn`
    turn: int
    rng: random.Random
    path: str
    query: dict[str, str]
    status: int = 0  # 0 until answered; set it in `ask` to answer without the store
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    announced: int | None = None  # Content-Length; None: what the body has
    ending: Ending = "whole"  # `close`, `reset`, `stall` and `trickle` come after `sent` bytes of the body
    sent: int = 0
    acted: bool = False  # the fault did something to the bucket

    def error(self, status: int, code: str) -> None:
        """Answer with S3's error document (HEAD has no body)."""
        self.status, self.headers, self.announced = status, {"Content-Type": "application/xml"}, None
        text = f"<Error><Code>{code}</Code><Message>as told to</Message><RequestId>f</RequestId></Error>"
        self.body = b"" if self.kind == "head" else f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


Act = Callable[[Exchange], None]


def _nothing(exchange: Exchange) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the exchanges of some kinds."""

    answer: Act = _nothing
    ask: Act = _nothing
    kinds: frozenset[str] = frozenset({"list", "get", "head"})


class S3Proxy:
    """`with S3Proxy(endpoint) as proxy: proxy.arm(fault, seed)`; `fired` counts the exchanges that a fault changed."""

    def __init__(self, endpoint: str, page_keys: int) -> None:
        self.target = urlsplit(endpoint).netloc
        self.fired = 0
        self.mistakes: list[str] = []  # errors of faults themselves: a bench that has one measured nothing
        self.counts: Counter[str] = Counter()
        self._page_keys = page_keys
        self._lock = threading.Lock()
        self._turns: Counter[tuple[str, str]] = Counter()
        self._fault: Fault | None = None
        self._seed = 0
        self.lifted = threading.Event()  # ends stalls
        self._server = _Server(("127.0.0.1", 0), type("Play", (_Play,), {"proxy": self}))
        self._server.proxy = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.disarm()
        self._server.shutdown()
        self._server.server_close()

    def arm(self, fault: Fault, seed: int) -> None:
        """From now on, for every exchange; counts start at zero."""
        with self._lock:
            self._fault, self._seed, self.fired = fault, seed, 0
            self.counts.clear()
            self._turns.clear()
            self.lifted.clear()

    def disarm(self) -> None:
        """Forward faithfully again; what hangs is let go."""
        with self._lock:
            self._fault = None
            self.lifted.set()

    def exchange(self, method: str, target: str) -> tuple[Exchange, Fault | None]:
        """The open exchange of a request line, and the fault that may touch it."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        kind = _kind(method, url.path, query)
        key = (
            query.get("continuation-token", "") if kind == "list" else unquote(url.path.partition("/")[2].partition("/")[2])
        )
        if kind == "list":
            query["max-keys"] = str(min(self._page_keys, int(query.get("max-keys", 1000))))
        with self._lock:
            self.counts[kind] += 1
            self._turns[kind, key] += 1
            count, turn, fault = self.counts[kind], self._turns[kind, key], self._fault
        rng = random.Random(f"{self._seed}/{kind}/{key}/{turn}")
        return Exchange(kind, key, count, turn, rng, url.path, query), fault if fault and kind in fault.kinds else None

    def apply(self, act: Act, exchange: Exchange) -> None:
        """Let the fault act, and count whether it did."""
        before = _looks(exchange)
        act(exchange)
        with self._lock:
            self.fired += _looks(exchange) != before

    def forward(self, method: str, exchange: Exchange, headers: dict[str, str], body: bytes) -> None:
        """The store's own answer."""
        upstream = http.client.HTTPConnection(self.target, timeout=60)
        target = exchange.path + (f"?{urlencode(exchange.query)}" if exchange.query else "")
        upstream.request(method, target, body or None, headers)
        answer = upstream.getresponse()
        exchange.body = answer.read()
        exchange.status = answer.status
        exchange.headers = {key: value for key, value in answer.getheaders() if key.lower() not in HOP}
        exchange.announced = int(answer.getheader("Content-Length") or 0) if method == "HEAD" else None
        upstream.close()


class _Server(ThreadingHTTPServer):
    proxy: S3Proxy
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the play; any other error is the proxy's own."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.proxy.mistakes.append(f"{error!r}")


class _Play(BaseHTTPRequestHandler):
    proxy: S3Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def play(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        exchange, fault = self.proxy.exchange(self.command, self.path)
        if fault:
            self.proxy.apply(fault.ask, exchange)
        if not exchange.status:
            headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
            self.proxy.forward(self.command, exchange, headers, body)
            if fault:
                self.proxy.apply(fault.answer, exchange)
        self._send(exchange)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = play

    def _send(self, exchange: Exchange) -> None:
        self.send_response_only(exchange.status)
        for name, value in exchange.headers.items():
            self.send_header(name, value)
        length = len(exchange.body) if exchange.announced is None else exchange.announced
        if exchange.status not in {204, 304}:
            self.send_header("Content-Length", str(length))
        if exchange.ending == "stall" and not exchange.sent:
            self.proxy.lifted.wait()
        self.end_headers()
        body = b"" if self.command == "HEAD" else exchange.body
        self.wfile.write(body if exchange.ending == "whole" else body[: exchange.sent])
        self.wfile.flush()
        if exchange.ending != "whole":
            self._end(exchange.ending, body[exchange.sent :])

    def _end(self, ending: Ending, rest: bytes) -> None:
        self.close_connection = True
        if ending == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif ending == "stall":
            self.proxy.lifted.wait()
        elif ending == "trickle":
            for byte in rest:
                if self.proxy.lifted.is_set():
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(TRICKLE_SECONDS)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line per request would drown the table."""


def _kind(method: str, path: str, query: dict[str, str]) -> Kind:
    key = path.strip("/").partition("/")[2]
    if method == "GET":
        return "list" if "list-type" in query else "get" if key else "other"
    return "head" if method == "HEAD" and key else "other"


def _looks(exchange: Exchange) -> tuple[object, ...]:
    headers = tuple(sorted(exchange.headers.items()))
    query = tuple(sorted(exchange.query.items()))
    sending = (exchange.announced, exchange.ending, exchange.sent)
    return (exchange.acted, exchange.status, headers, query, exchange.body, sending)
