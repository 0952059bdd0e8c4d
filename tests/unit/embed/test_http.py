"""A server's embeddings: batches, order, retries by kind of failure, the run's budget, and answers that are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines.config import Connection, HttpServer, Model, validate
from pipelines.embed import open_embedder, open_tokenizer, tolerant
from pipelines.embed.checks import check_vectors
from pipelines.embed.http import Http
from pipelines.errors import FailRun, FixConfiguration, Retry, SkipDocument
from pipelines.ports import Metered
from pipelines.records import Reason
from tests.unit.embed.embedding_server import DIM, Fault, Server, serving, vector

TEXTS = [f"text number {number}" for number in range(50)]  # three tokens each


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.fixture
def opened(server: Server, tmp_path: Path, pauses: list[float]) -> Callable[..., Http]:
    """`opened(key=value, …)`: the embedder of an entry, one request at a time unless it says otherwise."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    def build(**fields: Any) -> Http:
        entry = {"model": "tiny", "dim": DIM, "max_tokens": 64, "tokenizer": str(tmp_path), "concurrency": 1} | fields
        if "connection" not in entry:
            entry = {"url": server.url} | entry
        connection = Connection(conn_id="tei", conn_type="http", host="127.0.0.1", port=_port(server), password="secret")
        made = open_embedder(_model(entry), tmp_path / "cache", connections={"tei": connection})
        assert isinstance(made, Http)
        return made

    return build


def _model(entry: dict[str, Any]) -> Model:
    return validate({"http": entry}, Model, "models.yaml")


def _port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def expected(texts: list[str]) -> Any:
    matrix = np.array([vector(text) for text in texts])
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_every_text_gets_its_own_unit_vector(opened, server, concurrency):
    embedder = opened(batch_texts=4, concurrency=concurrency)
    assert np.allclose(embedder.embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert len(server.requests) == 13
    assert embedder.embed([]).shape == (0, DIM)


def test_batches_keep_to_texts_and_tokens(opened, server):
    opened(batch_texts=7, batch_tokens=12).embed(TEXTS)
    assert {len(asked["input"]) for asked in server.requests} == {4, 2}  # three tokens a text
    server.requests.clear()
    opened(batch_texts=7).embed(TEXTS)
    assert [len(asked["input"]) for asked in server.requests] == [7] * 7 + [1]


def test_an_answer_out_of_order_is_put_in_order(opened, server):
    server.faults = [Fault(change=lambda body: body | {"data": body["data"][::-1]})]
    assert np.allclose(opened().embed(TEXTS[:9]), expected(TEXTS[:9]), atol=1e-6)


def test_prompts_are_sent_counted_and_part_of_the_identity(opened, server):
    plain, prompted = opened(), opened(prompt_query="query : ", prompt_passage="p ")
    prompted.embed(["a b"])
    prompted.embed(["a b"], query=True)
    assert [asked["input"] for asked in server.requests] == [["p a b"], ["query : a b"]]
    assert plain.fingerprint != prompted.fingerprint
    assert prompted.spent == {"requests": 2, "tokens": 7}
    entry = {"url": server.url, "model": "tiny", "dim": DIM, "max_tokens": 64, "prompt_query": "query : "}
    counted = open_tokenizer(_model(entry | {"tokenizer": prompted._server.tokenizer}))
    assert counted.count(["a b"]) == [4]
    with pytest.raises(FailRun, match="text of 66 tokens exceeds"):
        prompted.embed(["a " * 64], query=True)


@pytest.mark.parametrize("field", [{"dim": DIM + 1}, {"model": "other"}, {"revision": "2"}, {"max_tokens": 32}])
def test_what_changes_the_vectors_changes_the_fingerprint(opened, field):
    assert opened(**field).fingerprint != opened().fingerprint
    assert opened(concurrency=3, batch_texts=2).fingerprint == opened().fingerprint


def test_a_connection_gives_the_place_and_the_token(opened, server):
    opened(connection="tei").embed(["a"])
    assert server.headers[0]["authorization"] == "Bearer secret"
    opened(url=f"{server.url}/v1/").embed(["a"])
    assert "authorization" not in server.headers[1]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(opened, server, pauses, status):
    server.faults = [Fault(status), Fault(status)]
    assert np.allclose(opened().embed(["a"]), expected(["a"]), atol=1e-6)
    assert len(pauses) == 2
    assert pauses[0] < pauses[1] < 2


@pytest.mark.parametrize(("header", "least", "most"), [("7", 7, 7), ("9999", 60, 60), ("date", 20, 30), ("soon", 0.4, 0.6)])
def test_retry_after_is_obeyed_within_reason(opened, server, pauses, header, least, most):
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=30)) if header == "date" else header
    server.faults = [Fault(429, {"retry-after": value})]
    opened().embed(["a"])
    assert least <= pauses[0] <= most


@pytest.mark.parametrize(
    "fault",
    [
        lambda: Fault(503, body=b"overloaded\nmodel"),
        lambda: Fault(body=b"<html>welcome</html>"),
        lambda: Fault(body=b'{"data": [{"index": 0}]}'),
        lambda: Fault(change=lambda body: body | {"data": []}),
    ],
)
def test_a_server_that_stays_away_is_a_retry_with_its_last_words(opened, server, fault):
    server.faults = [fault() for _ in range(3)]
    with pytest.raises(Retry, match="failed 3 times, at last: ") as raised:
        opened(attempts=3).embed(["a"])
    assert "\n" not in str(raised.value)
    assert len(server.requests) == 3


def test_no_server_at_all_is_a_retry(opened, server, pauses):
    with pytest.raises(Retry, match="failed 2 times"):
        opened(url="http://127.0.0.1:9", attempts=2).embed(["a"])
    assert len(pauses) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_what_only_a_person_can_change_is_said_at_once(opened, server, pauses, status):
    server.faults = [Fault(status, {"location": "http://127.0.0.1:9/"})]
    with pytest.raises(FixConfiguration, match=rf"\({status}\): .*correct the url or the connection"):
        opened().embed(["a"])
    assert not pauses


def test_another_dimension_is_a_wrong_entry(opened):
    with pytest.raises(FixConfiguration, match=f"vectors of \\[{DIM}\\] dimensions.* http.dim says 99"):
        opened(dim=99).embed(["a"])


def test_a_refused_text_is_found_and_the_others_keep_their_vectors(opened, server):
    server.poison = TEXTS[11]
    with pytest.raises(SkipDocument):
        opened().embed(TEXTS)
    found = tolerant.embed(opened(), TEXTS)
    assert {row: reason for row, (reason, _) in found.refused.items()} == {11: Reason.EMBED_FAILED}
    rest = [row for row in range(len(TEXTS)) if row != 11]
    assert np.allclose(found.matrix[rest], expected(TEXTS)[rest], atol=1e-6)


@pytest.mark.parametrize("value", [None, float("nan"), 0.0])
def test_a_broken_vector_is_seen(opened, server, value):
    def spoil(body: dict[str, Any]) -> dict[str, Any]:
        body["data"][1]["embedding"] = [value] * DIM
        return body

    server.faults = [Fault(change=spoil)]
    assert check_vectors(opened().embed(TEXTS[:3]), DIM) == [(1, Reason.EMBED_NAN)]


@pytest.mark.parametrize(("limit", "elsewhere", "sent"), [({"run_requests": 5}, 2, 3), ({"run_tokens": 60}, 0, 5)])
def test_a_run_beyond_its_budget_fails_before_it_asks(opened, server, limit, elsewhere, sent):
    embedder = opened(batch_texts=4, **limit)
    embedder.embed(TEXTS)  # outside a run no budget holds
    server.requests.clear()
    embedder.spent = dict.fromkeys(embedder.spent, 0)
    embedder.elsewhere = {"requests": elsewhere, "tokens": 0}
    with pytest.raises(FailRun, match=r"needs more than its \d+ (requests|tokens) \(\d+\).*raise http\.run_"):
        embedder.embed(TEXTS)
    assert len(server.requests) == sent


def test_the_stage_can_tell_that_it_has_a_budget(opened):
    assert isinstance(opened(), Metered)


def test_every_try_is_paid_for(opened, server):
    embedder = opened()
    server.faults = [Fault(503), Fault(503)]
    embedder.embed(["a b c"])
    assert embedder.spent == {"requests": 3, "tokens": 9}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "give either url or connection"),
        ({"url": "http://a", "connection": "b"}, "give either url or connection"),
        ({"url": "ftp://a"}, "url"),
        ({"url": "http://a", "concurrency": 0}, "concurrency"),
    ],
)
def test_entries_that_cannot_be_meant(fields, says):
    entry = {"model": "m", "dim": 4, "max_tokens": 64, "tokenizer": "/t"} | fields
    with pytest.raises(FixConfiguration, match=says):
        validate(entry, HttpServer, "models.yaml")


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    entry = {"url": "http://127.0.0.1:9", "model": "m", "dim": 4, "max_tokens": 64, "tokenizer": str(tmp_path)}
    with pytest.raises(FixConfiguration, match=r"tokenizer\.json is missing"):
        open_embedder(_model(entry), tmp_path)
