"""`python -m pipelines.embedded.bucket_server --ready FILE [--port N] [--sample FOLDER]`: moto's S3 server on 127.0.0.1.

Uploads the sample folder to itself on a private port first. Then binds the port, or another free one when it is taken, and
writes `{"port": …}` to FILE. Everything it holds is in memory.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from pipelines.embedded.bucket import upload
from pipelines.embedded.files import write_json


class Quiet(MotoRequestHandler):
    """Writes no line per request, which would fill the disk."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> None:
    """Serve until ended by a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--ready", type=Path, required=True)
    arguments = parser.parse_args()
    application = DomainDispatcherApplication(create_backend_app)
    if arguments.sample:
        _fill(application, arguments.sample)
    try:
        server = _server(application, arguments.port)
    except SystemExit:  # werkzeug's answer to a port that is taken
        server = _server(application, 0)
    write_json(arguments.ready, {"port": server.server_port})
    server.serve_forever()


def _fill(application: DomainDispatcherApplication, sample: Path) -> None:
    private = _server(application, 0)
    thread = threading.Thread(target=private.serve_forever, daemon=True)
    thread.start()
    upload(f"http://127.0.0.1:{private.server_port}", sample)
    private.shutdown()
    private.server_close()
    thread.join()


def _server(application: DomainDispatcherApplication, port: int) -> BaseWSGIServer:
    return make_server("127.0.0.1", port, application, threaded=True, request_handler=Quiet)


if __name__ == "__main__":
    main()
