"""A guard for statements that may take hours: whether the server still answers anybody.

Building an index has no deadline, so a server that is stuck would be waited for without end. While such a statement runs,
its server is asked for another connection now and then; when it has not answered several times in a row, the waiting
connection is cut, and its statement ends with the driver's error for a lost one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

import psycopg

EVERY_SECONDS = 30.0
MISSES = 3  # in a row; each takes the link's connect_timeout


@contextmanager
def watched(conn: psycopg.Connection[Any], conninfo: str) -> Iterator[None]:
    """Cut `conn` when a server at `conninfo` has stopped answering."""
    link = socket.socket(fileno=os.dup(conn.fileno()))
    done, lock = Event(), Lock()
    Thread(target=_watch, args=(link, conninfo, done, lock), name="watch", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            done.set()


def _watch(link: socket.socket, conninfo: str, done: Event, lock: Lock) -> None:
    missed = 0
    with link:
        while missed < MISSES:
            if done.wait(EVERY_SECONDS):
                return
            missed = 0 if _answers(conninfo) else missed + 1
        with lock:
            if not done.is_set():
                link.shutdown(socket.SHUT_RDWR)


def _answers(conninfo: str) -> bool:
    """Whether the server takes a connection, or refuses one in words: one that is full or starting up is not stuck."""
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError as error:
        return "FATAL" in str(error)
    return True
