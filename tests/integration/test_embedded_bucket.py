"""The demo bucket holds the sample, uploads only what changed and gives way on a port that is taken."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines import config
from pipelines.embedded.bucket import BUCKET, Bucket, client, fill
from pipelines.errors import FixConfiguration, Retry

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = {"knowledge/a b.md": "one", "knowledge/deep/ü.txt": "two", "tickets/raw/dt=2026-10-01/1.json": "{}"}


@pytest.fixture
def settings(tmp_path: Path) -> config.Settings:
    """The project's settings with a sample folder of its own."""
    for key, text in {
        "knowledge/a b.md": "one",
        "knowledge/deep/ü.txt": "two",
        "tickets/raw/dt=2026-10-01/1.json": "{}",
    }.items():
        path = tmp_path / "include/sample" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "include/sample/golden.jsonl").write_text("")
    return config.load(ROOT).model_copy(update={"root": tmp_path, "home": tmp_path / ".millrace"})


@pytest.fixture
def server(settings: config.Settings) -> Iterator[Bucket]:
    made = Bucket(settings.home, port=0)
    made.start(sample=settings.root / "include/sample")
    yield made
    made.stop()


def objects(server: Bucket) -> dict[str, str]:
    """Key -> version id of the newest version."""
    with closing(client(server.endpoint)) as s3:
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        return {entry["Key"]: entry["VersionId"] for page in pages for entry in page["Versions"] if entry["IsLatest"]}


def test_server_listens_with_the_sample_in_it(server: Bucket) -> None:
    assert set(objects(server)) == set(SAMPLE)


def test_fill_uploads_only_what_changed(server: Bucket, settings: config.Settings) -> None:
    before = objects(server)
    assert fill(server.endpoint, settings) == 0
    assert objects(server) == before
    (settings.root / "include/sample/knowledge/a b.md").write_text("changed")
    assert fill(server.endpoint, settings) == 1
    changed = {key for key, version in objects(server).items() if version != before[key]}
    assert changed == {"knowledge/a b.md"}


def test_fill_leaves_other_objects_alone(server: Bucket, settings: config.Settings) -> None:
    with closing(client(server.endpoint)) as s3:
        s3.put_object(Bucket=BUCKET, Key="knowledge/uploaded.md", Body=b"by a user")
    fill(server.endpoint, settings)
    assert "knowledge/uploaded.md" in objects(server)


def test_second_start_keeps_the_running_server(server: Bucket, settings: config.Settings) -> None:
    pid, port = server.process.pid(), server.port
    assert not Bucket(settings.home, port=0).start()
    assert (server.process.pid(), server.port) == (pid, port)


def test_taken_port_is_left_to_its_owner(settings: config.Settings) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        server = Bucket(settings.home, port=taken)
        try:
            server.start(said.append)
            assert server.port not in {0, taken}
            assert server.running()
        finally:
            server.stop()
    assert len(said) == 1
    assert str(taken) in said[0]
    assert str(server.port) in said[0]


def test_stopped_server_is_gone(server: Bucket, settings: config.Settings) -> None:
    assert server.stop()
    assert not server.running()
    with pytest.raises(Retry, match="sample bucket"):
        fill(server.endpoint, settings)
    assert not server.stop()


def test_killed_server_is_started_again(server: Bucket, settings: config.Settings) -> None:
    pid = server.process.pid()
    assert pid is not None
    os.kill(pid, 9)
    assert server.start(sample=settings.root / "include/sample")
    assert len(objects(server)) == 3


def test_missing_sample_is_one_line(server: Bucket, settings: config.Settings, tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match="restore") as caught:
        fill(server.endpoint, settings.model_copy(update={"root": tmp_path / "nowhere"}))
    assert "\n" not in str(caught.value)
