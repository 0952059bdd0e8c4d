"""The demo object store: moto's S3 server as a detached process, filled from include/sample.

It keeps nothing over a restart, so `fill` makes it equal to the sample folders each time it was started, before any sync
runs: what a user uploaded to it is gone by then, and the next sync sees those objects as deleted. Real data belongs in a
real bucket.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipelines.config import Settings
from pipelines.embedded.environment import service_environment
from pipelines.embedded.files import read_json
from pipelines.embedded.process import Detached
from pipelines.errors import FixConfiguration, Retry

PORT = 9107
BUCKET = "millrace-sample"
REGION = "eu-central-1"
# The server accepts any. Airflow masks a password wherever it stands in a log, so it is no word of ours.
ACCESS_KEY = "demo-access-key"
SECRET_KEY = "demo-secret-key"
FOLDERS = ("knowledge", "tickets")
READY_SECONDS = 60


class Bucket:
    """The server process of one state folder. `port` is the preferred one; another is taken when somebody else has it."""

    def __init__(self, home: Path, port: int = PORT) -> None:
        self.preferred = port
        self.process = Detached(home, "bucket")
        self._ready = home / "run" / "bucket.port.json"

    @property
    def port(self) -> int:
        """The port in use; 0 before the first start."""
        return int(read_json(self._ready).get("port", 0))

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, say: Callable[[str], None] = lambda line: None, sample: Path | None = None) -> bool:
        """Make the server answer; False when it already did. Says so in one line when the preferred port is taken.

        With `sample` the server holds that folder's objects before it listens, so nobody ever lists it empty.
        """
        if self.running():
            return False
        self.process.stop()
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pipelines.embedded.bucket_server", "--ready", str(self._ready)]
        command += ["--port", str(self.preferred), *(("--sample", str(sample)) if sample else ())]
        self.process.start(command, service_environment())
        self.process.await_ready(self._ready.exists, READY_SECONDS)
        if self.preferred not in {0, self.port}:
            say(f"port {self.preferred} is taken; the sample bucket listens on {self.port}")
        return True

    def stop(self) -> bool:
        """End the server and forget what it held; False when it did not run."""
        return self.process.stop(3.0)

    def running(self) -> bool:
        """Whether our own server process answers."""
        return self.process.running() and self.port > 0 and _answers(self.port)


def client(endpoint: str) -> Any:
    """A boto3 S3 client of the demo server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"max_attempts": 5, "mode": "standard"}, s3={"addressing_style": "path"}, proxies={}),
    )


def make_bucket(s3: Any, name: str) -> None:
    """A versioned bucket, if it is not there yet."""
    if name not in {entry["Name"] for entry in s3.list_buckets().get("Buckets", [])}:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def fill(endpoint: str, settings: Settings) -> int:
    """Make s3://millrace-sample hold include/sample's knowledge/ and tickets/; returns how many objects were uploaded.

    An object whose ETag is the file's MD5 is left alone; objects without a file are left alone too. Raises Retry when the
    store does not answer, FixConfiguration when the sample is missing.
    """
    return upload(endpoint, settings.root / "include/sample")


def upload(endpoint: str, sample: Path) -> int:
    """What `fill` does, for any folder that has knowledge/ or tickets/ in it."""
    files = dict(_sample_files(sample))
    if not files:
        raise FixConfiguration(f"{sample}: no files in {' or '.join(FOLDERS)}; restore them from the repository")
    s3 = client(endpoint)
    try:
        make_bucket(s3, BUCKET)
        present = _etags(s3)
        return sum(_upload(s3, key, path, present.get(key)) for key, path in files.items())
    except (BotoCoreError, ClientError) as error:
        raise Retry(f"sample bucket at {endpoint}: {error}; run `make down`, then `make up`") from error


def _sample_files(sample: Path) -> Iterator[tuple[str, Path]]:
    for folder in FOLDERS:
        for path in sorted((sample / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(sample).as_posix(), path


def _etags(s3: Any) -> dict[str, str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {entry["Key"]: entry["ETag"].strip('"') for page in pages for entry in page.get("Contents", [])}


def _upload(s3: Any, key: str, path: Path, etag: str | None) -> bool:
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() == etag:
        return False
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()
