"""A parser that dies of some documents, or never ends: the real one, but for bytes that say so. Runs in the parse child."""

from __future__ import annotations

import os
import signal

from pipelines.records import Content
from pipelines.text import parse as real

PARSER = "bench.faults.dying:parse"
SEGFAULT, EXIT, HANG = b"die by a segmentation fault", b"die by leaving", b"never come back"

prepare = real.prepare


def parse(content: Content, fmt: str) -> real.Results:
    """What the real parser finds, or the end of the process."""
    if SEGFAULT in content.data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if EXIT in content.data:
        os._exit(3)
    while HANG in content.data:
        pass
    return real.parse(content, fmt)
