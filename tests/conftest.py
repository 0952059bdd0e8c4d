"""Fixtures that start real services: one throw-away Postgres and one object store a session, a database or bucket a test."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.embedded.bucket import Bucket, client, make_bucket
from pipelines.embedded.postgres import Postgres
from pipelines.store.database import migrate

PREFIX = "millrace-test-"


@pytest.fixture(scope="session")
def service_folder() -> Iterator[Path]:
    """A short folder that other accounts can traverse: as root, the server runs as one of them."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)
    with (folder / "owner").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(service_folder: Path) -> Iterator[Postgres]:
    """A running throw-away cluster (fsync off)."""
    server = Postgres(service_folder / "pg", durable=False)
    server.start()
    yield server
    server.discard()


@pytest.fixture(scope="session")
def template(postgres_server: Postgres) -> str:
    """The name of a migrated database that others are copied from."""
    postgres_server.ensure_database("template_corpus")
    migrate(postgres_server.dsn("template_corpus"))
    return "template_corpus"


@pytest.fixture
def dsn(postgres_server: Postgres, template: str) -> Iterator[str]:
    """A libpq URI of a fresh migrated database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres_server.ensure_database(name, template)
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def s3_endpoint(service_folder: Path) -> Iterator[str]:
    """The URL of a running object store; any credentials do."""
    server = Bucket(service_folder, port=0)
    server.start()
    yield server.endpoint
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str) -> tuple[str, str]:
    """(endpoint, name) of a fresh, empty, versioned bucket in eu-central-1."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(client(s3_endpoint)) as s3:
        make_bucket(s3, name)
    return s3_endpoint, name


def _sweep() -> None:
    """Remove services of earlier sessions that were killed: nobody holds the lock on their owner file."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not (folder / "owner").exists():
            continue
        with (folder / "owner").open("a") as owner:
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            Bucket(folder, port=0).stop()
            Postgres(folder / "pg", durable=False).discard()
        shutil.rmtree(folder, ignore_errors=True)
