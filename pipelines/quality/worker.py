"""The child process behind `validator.Validator`: `python -m pipelines.quality.worker`.

Imports great_expectations at once, then answers one JSON line per JSON line until stdin ends. Whatever libraries print goes
to stderr: the protocol owns the original stdout. Holds no credentials, writes nothing but the asked Data Docs folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

Request = dict[str, Any]
Reply = dict[str, Any]


def main() -> None:
    """Serve until stdin ends; each reply is a result or `{"error": one line}`."""
    replies = _private_stdout()
    serve = _service()
    for line in sys.stdin:
        replies.write(json.dumps(_answer(serve, json.loads(line))) + "\n")
        replies.flush()


def _private_stdout() -> IO[str]:
    """The original stdout under another descriptor; descriptor 1, which stray prints use, becomes stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _answer(serve: Callable[[Request], Reply], request: Request) -> Reply:
    try:
        return serve(request)
    except Exception as error:  # the boundary of the process: everything becomes one line for the caller
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def _service() -> Callable[[Request], Reply]:
    from pipelines.quality.expectations import Runner  # noqa: PLC0415 - the slow import, after stdout is safe

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
