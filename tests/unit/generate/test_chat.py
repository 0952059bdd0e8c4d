"""The language model behind a server on this machine: what is sent, what is read, what is tried again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.config import ChatServer, Connection
from pipelines.embed import http_retry
from pipelines.errors import FixConfiguration, Retry
from pipelines.generate.chat import open_chat
from tests.unit.generate.chat_server import Stub, serving


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(http_retry, "FIRST_PAUSE", 0.0)
    with serving() as server:
        yield server


def test_it_asks_by_a_connection_with_its_password_and_reads_the_answer(stub: Stub) -> None:
    host, port = str(stub.server_address[0]), stub.server_port
    connection = Connection(conn_id="llm", conn_type="http", host=host, port=port, password="secret")
    ask = open_chat(ChatServer(connection="llm", model="m", max_tokens=9), {"llm": connection})
    assert ask("instructions", "text") == "yes"
    path, token, body = stub.asked[0]
    assert (path, token) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 9)
    assert [message["content"] for message in body["messages"]] == ["instructions", "text"]


def test_a_busy_or_garbled_server_is_asked_again_and_then_given_up(stub: Stub) -> None:
    ask = open_chat(ChatServer(url=f"http://127.0.0.1:{stub.server_port}/v1", model="m", attempts=3), {})
    stub.answers = [(503, b"busy"), (200, b"<html>")]
    assert ask("", "") == "yes"
    stub.answers = [(200, b'{"choices": [{"message": {"content": null}}]}')] * 3
    with pytest.raises(Retry, match="failed 3 times, at last: an answer without text"):
        ask("", "")


@pytest.mark.parametrize(("status", "said"), [(401, "refuses the credentials"), (400, "says 400: no such model")])
def test_a_refusal_names_the_file_to_correct(stub: Stub, status: int, said: str) -> None:
    stub.answers = [(status, b"no such model")]
    with pytest.raises(FixConfiguration, match=rf"{said}.*evaluation\.yaml"):
        open_chat(ChatServer(url=f"http://127.0.0.1:{stub.server_port}", model="m"), {})("", "")


def test_a_server_has_one_place() -> None:
    with pytest.raises(ValueError, match="give either url or connection"):
        ChatServer(model="m")
