"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket
from collections.abc import Iterable

NEIGHBOURS = 20


def free_port(preferred: int) -> int:
    """`preferred` when nobody listens on it, else the next free one of its neighbours, else any."""
    candidates: Iterable[int] = (*range(preferred, preferred + NEIGHBOURS), 0)
    return next(port for port in map(_bindable, candidates) if port)


def _bindable(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
