"""The hostile proxy does what it is told, and nothing else; the S3 source survives a body that trickles."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from bench.faults import s3_listing as listing
from bench.faults.s3_proxy import Exchange, Fault, S3Proxy
from pipelines.config import Connection, S3Source
from pipelines.errors import Retry, SkipDocument
from pipelines.records import Reason
from pipelines.sources import open_source
from pipelines.sources.s3 import S3

pytestmark = pytest.mark.integration
KEYS = [f"k/{number}.txt" for number in range(7)]


@pytest.fixture
def proxy(bucket: tuple[str, str]) -> Iterator[S3Proxy]:
    with S3Proxy(bucket[0], page_keys=3) as running:
        yield running


@pytest.fixture
def source(proxy: S3Proxy, bucket: tuple[str, str]) -> Any:
    config = {"read_timeout": 0.3, "retries": {"total_max_attempts": 2, "mode": "standard"}}
    extra = {"endpoint_url": proxy.endpoint, "region_name": "eu-central-1", "config_kwargs": config}
    connections = {"c": Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra)}
    made = open_source("docs", S3Source(kind="s3", connection="c", bucket=bucket[1], prefix="k/"), connections)
    assert isinstance(made, S3)
    for key in KEYS:
        made._client.put_object(Bucket=bucket[1], Key=key, Body=b"these are the bytes of " + key.encode())
    return made


def test_an_unarmed_proxy_is_the_store_in_small_pages(proxy: S3Proxy, source: Any) -> None:
    found = list(source.list())
    assert [one.uri.rpartition("/")[2] for one in found] == [key.rpartition("/")[2] for key in KEYS]
    assert source.read(found[0], 100).data == b"these are the bytes of k/0.txt"
    assert proxy.counts["list"] == 3
    assert proxy.fired == 0


def test_a_fault_repeats_by_its_seed_and_ends_when_disarmed(proxy: S3Proxy, source: Any) -> None:
    def sometimes(exchange: Exchange) -> None:
        if exchange.rng.random() < 0.5:
            drawn.append(exchange.key)
            exchange.error(403, "AccessDenied")

    runs: list[list[str]] = []
    found = list(source.list())
    for seed in (1, 1, 2):
        drawn: list[str] = []
        proxy.arm(Fault(sometimes, kinds=frozenset({"get"})), seed)
        for one in found:
            with suppress(SkipDocument):
                source.read(one, 100)
        assert proxy.fired == len(drawn)
        runs.append(drawn)
    assert runs[0] == runs[1] != runs[2]
    proxy.disarm()
    assert len([source.read(one, 100) for one in found]) == len(KEYS)


def test_a_page_can_be_rewritten(proxy: S3Proxy, source: Any) -> None:
    proxy.arm(Fault(lambda page: listing.drop(page, {KEYS[1]}), kinds=frozenset({"list"})), 1)
    assert len(list(source.list())) == len(KEYS) - 1
    proxy.arm(Fault(lambda page: listing.element(page, "KeyCount", "9"), kinds=frozenset({"list"})), 1)
    with pytest.raises(Retry, match="declares 9 keys"):
        list(source.list())


@pytest.mark.parametrize("ending", ["close", "reset", "stall", "trickle"])
def test_a_body_that_does_not_come_is_given_up(proxy: S3Proxy, source: Any, ending: Any) -> None:
    found = next(iter(source.list()))

    def half(exchange: Exchange) -> None:
        exchange.announced, exchange.sent, exchange.ending = len(exchange.body), 3, ending

    proxy.arm(Fault(half, kinds=frozenset({"get"})), 1)
    began = time.monotonic()
    with pytest.raises(SkipDocument) as caught:
        source.read(found, 100)
    assert caught.value.reason in {Reason.CHECKSUM_MISMATCH, Reason.DEPENDENCY_DOWN}
    assert time.monotonic() - began < 30
    proxy.disarm()
    assert source.read(found, 100).data
