"""The parse child: started as a file by `pipelines.text.process`, it fences itself in, then answers requests on its pipes.

Arguments: package root, parser as `module:function`, memory in MB. Parsers are imported after the fences stand.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pipelines.records import Content, Document, Rejected

_ORPHANED = 20  # times a document's processor seconds: longer than any parent waits
_OUT_OF_MEMORY = 71  # exit status that the parent reads as parse_oom
_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/proc/self")


def main(root: str, parser: str, memory_mb: str) -> None:
    """Fence in, say which fences stand, then serve until the parent closes the pipe."""
    # The root goes last: a file of the project must never shadow the standard library or an installed package.
    sys.path.append(root)
    requests, replies = _private_pipes()
    # spaCy, which comes with unstructured, imports torch where it is installed: seconds and gigabytes that no parser uses
    sys.modules["torch"] = None  # type: ignore[assignment]
    tempfile.tempdir = (
        os.getcwd()
    )  # libraries ask for it on import and would try to write to find out; nothing can be written
    from pipelines.text import isolation, wire  # noqa: PLC0415 -- importable only now

    isolation.limit_resources(int(memory_mb))
    standing = isolation.isolate([Path(path) for path in _readable(root, parser)])
    hello = json.dumps(standing).encode()
    replies.write(wire.LENGTH.pack(len(hello)) + hello)
    replies.flush()
    try:
        _serve(requests, replies, parser)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes under new numbers; standard streams lead nowhere, so a parser's print cannot break the protocol."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    return requests, replies


def _readable(root: str, parser: str) -> list[str]:
    """Where code is read from; nothing else of this machine, in particular not the project's own files."""
    packages = {"pipelines", parser.partition(":")[0].partition(".")[0]}
    installed = [path for path in sys.path if path and path != root]
    return [sys.prefix, sys.base_prefix, *installed, *(f"{root}/{package}" for package in packages), *_SYSTEM]


def _serve(requests: BinaryIO, replies: BinaryIO, parser: str) -> None:
    from pipelines.text import wire  # noqa: PLC0415

    module = importlib.import_module(parser.partition(":")[0])
    function: Callable[[Content, str], list[Document | Rejected]] = getattr(module, parser.partition(":")[2])
    prepare: Callable[[Content, str], Any] = getattr(module, "prepare", lambda content, fmt: None)
    while (request := wire.read_request(requests)) is not None:
        content, fmt, seconds = request
        prepare(content, fmt)
        replies.write(wire.ready())
        replies.flush()
        _limit_time(seconds)
        answer = wire.reply(function(content, fmt))
        _lift_limit()
        replies.write(wire.LENGTH.pack(len(answer)))
        replies.write(answer)
        replies.flush()


def _limit_time(seconds: float) -> None:
    """So many seconds of processor time for the next document; the alarm is for a child whose parent is gone."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))
    signal.alarm(int(_ORPHANED * seconds) + 5)


def _lift_limit() -> None:
    """A document's limit ends with it: the next one's parser may take long to import."""
    signal.alarm(0)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


if __name__ == "__main__":
    main(*sys.argv[1:4])
