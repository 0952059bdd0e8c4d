"""A language model's server on this machine that says what it is told to; "yes" when it is told nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SILENT = 0


def saying(text: str) -> bytes:
    """The body of a right answer."""
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Stub(ThreadingHTTPServer):
    """`answers` are (status, body) of the next requests, `asked` what came: path, authorization, body.

    Status SILENT is answered when the server ends.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.usual = saying("yes")
        self.ended = threading.Event()
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                stub.asked.append((self.path, self.headers["authorization"], body))
                status, data = stub.answers.pop(0) if stub.answers else (200, stub.usual)
                if status == SILENT:
                    stub.ended.wait()
                    return
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[Stub]:
    """A server on a port of its own."""
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
