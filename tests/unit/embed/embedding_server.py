"""An OpenAI-compatible embedding server on this machine that can be told to fail: each fault answers one request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIM = 16
Body = dict[str, Any]


@dataclass
class Fault:
    """An answer other than the right one; `change` alters the right body instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    change: Callable[[Body], Body] | None = None


@dataclass
class Server:
    """`requests` holds what was asked, `faults` what comes next; `poison` is refused with 400 wherever it stands."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    poison: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, headers: dict[str, str], asked: Body) -> Fault:
        """What to send; a Fault of status 200 without a change is the right answer."""
        with self.lock:
            self.requests.append(asked)
            self.headers.append(headers)
            fault = self.faults.pop(0) if self.faults else Fault()
        if path != "/v1/embeddings":
            return Fault(404, body=b"no such path")
        if self.poison in asked["input"]:
            return Fault(400, body=b'{"error": "cannot embed this"}')
        if fault.body is None and fault.status == 200:
            data = [{"index": row, "embedding": vector(text)} for row, text in enumerate(asked["input"])]
            right: Body = {"object": "list", "data": data, "model": asked["model"]}
            fault.body = json.dumps(fault.change(right) if fault.change else right).encode()
        return fault


def vector(text: str) -> list[float]:
    """Depends on the text only; not of length 1."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [float(value) for value in np.random.default_rng(seed).normal(size=DIM)]


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a port of its own."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fault = server.answer(self.path, {name.lower(): value for name, value in self.headers.items()}, asked)
            body = fault.body or b"fault"
            self.send_response(fault.status)
            for name, value in {**fault.headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
