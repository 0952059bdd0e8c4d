"""A forwarding proxy before the object store that counts what passes: the referee of "no object was read"."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

HOP = {"connection", "transfer-encoding", "content-length", "host"}


class CountingProxy:
    """`proxy.endpoint` forwards to the store; `proxy.counts` counts "list", "read", "head" and "write"."""

    def __init__(self, endpoint: str) -> None:
        self.counts: Counter[str] = Counter()
        self._target = urlsplit(endpoint).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        counts, target = self.counts, self._target

        class Forward(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                counts[_kind(self.command, self.path)] += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
                upstream = http.client.HTTPConnection(target, timeout=60)
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in HOP:
                        self.send_header(key, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(data)
                upstream.close()

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a line per request would drown the table."""

        return Forward


def _kind(method: str, path: str) -> str:
    url = urlsplit(path)
    if method == "GET":
        key = url.path.strip("/").partition("/")[2]
        return "list" if not key or "list-type" in parse_qs(url.query) else "read"
    return {"HEAD": "head", "PUT": "write"}.get(method, method.lower())
