"""A language model behind an OpenAI-compatible /v1/chat/completions server: one instruction, one text, one answer."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pipelines.config import ChatServer
from pipelines.connections import Connections, http_server
from pipelines.embed import http_retry
from pipelines.errors import FixConfiguration

FILE = "evaluation.yaml"


def open_chat(server: ChatServer, connections: Connections) -> Callable[[str, str], str]:
    """`ask(instructions, text)`: the model's answer at temperature 0.

    Asking raises Retry when the server stays away and FixConfiguration when it refuses the caller or the request.
    """
    url, token = http_server(server.url, server.connection, connections)
    endpoint = f"{url.rstrip('/').removesuffix('/chat/completions').removesuffix('/v1')}/v1/chat/completions"
    headers = {"authorization": f"Bearer {token}"} if token else {}

    def ask(instructions: str, text: str) -> str:
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
        body = {"model": server.model, "messages": messages, "temperature": 0, "max_tokens": server.max_tokens}
        return http_retry.persist(lambda: _send(endpoint, headers, body, server.timeout_seconds), server.attempts, endpoint)

    return ask


def _send(endpoint: str, headers: dict[str, str], body: dict[str, object], timeout: int) -> str:
    response = httpx.post(endpoint, json=body, headers=headers, timeout=timeout)
    http_retry.judge(response, endpoint, FILE)
    if response.status_code >= 400:
        raise FixConfiguration(
            f"{endpoint} says {response.status_code}: {http_retry.said(response)}; correct model or max_tokens in {FILE}"
        )
    try:
        answer = response.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise http_retry.Garbled(f"no answer ({type(error).__name__}: {error})") from None
    if not isinstance(answer, str):
        raise http_retry.Garbled("an answer without text")
    return answer
