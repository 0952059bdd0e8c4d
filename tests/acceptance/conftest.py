"""One real stack for all acceptance tests, started once.

The one start is the hard one on purpose: the usual ports are taken, and a first `millrace up` was killed in the middle.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from pipelines.embedded import stack
from pipelines.embedded.airflow_home import PORT
from pipelines.embedded.bucket import PORT as BUCKET_PORT
from tests.acceptance.rig import Rig, project


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """The started stack."""
    with ExitStack() as held:
        root = Path(tempfile.mkdtemp(prefix="millrace-acceptance-"))
        held.callback(shutil.rmtree, root, ignore_errors=True)
        project(root)
        for port in (PORT, BUCKET_PORT):
            with suppress(OSError):  # somebody has it: just what we want
                held.enter_context(closing(socket.create_server(("127.0.0.1", port))))
        made = Rig(root)
        held.callback(stack.down, made.settings, lambda line: None)
        made.start()
        yield made
