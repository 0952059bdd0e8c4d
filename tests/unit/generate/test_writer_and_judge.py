"""The builder `questions` and the judge with a server that misbehaves: what is said, and how often it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from pipelines.config import ChatServer
from pipelines.embed import http_retry
from pipelines.errors import FailRun, Retry
from pipelines.evaluate import answers, builders
from pipelines.evaluate.answers import Given
from pipelines.evaluate.builders import Passage
from pipelines.generate.chat import open_chat
from tests.unit.generate.chat_server import SILENT, Stub, saying, serving

PASSAGES = [
    Passage(f"file:///{number}", f"Manual {number}", (), 0, 40, f"Part {number} of the tug lies in shed {number}.", "en")
    for number in range(60)
]
GIVEN = Given("Where is it?", "In the shed.", False, ("In the shed.",), ("It is in the shed.",), ("file:///a",))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(http_retry, "FIRST_PAUSE", 0.0)
    with serving() as server:
        yield server


def asking(stub: Stub, **fields: object) -> Callable[[str, str], str]:
    server = ChatServer(url=stub.url, model="m", attempts=2)
    return open_chat(server.model_copy(update=fields), {})


def build(stub: Stub, limit: int, **fields: object) -> list[str]:
    found = builders.build(PASSAGES, "questions", share=1.0, limit=limit, seed=1, ask=asking(stub, **fields))
    return [entry.text for entry in found]


def test_a_writer_that_never_answers_in_json_is_asked_ten_times(stub: Stub) -> None:
    stub.usual = saying("Sure! Here are\nyour questions:")
    with pytest.raises(
        FailRun, match="never answers with a JSON list of questions, at last 'Sure! Here are your questions:'"
    ):
        build(stub, 100)
    assert len(stub.asked) == builders.UNREADABLE


def test_a_writer_that_finds_nothing_is_asked_about_thrice_as_many_passages_as_questions_are_wanted(stub: Stub) -> None:
    stub.usual = saying("[]")
    assert build(stub, 5) == []
    assert len(stub.asked) == 5 * builders.ASKED


def test_a_writer_that_stumbles_is_used_where_it_can_be_read(stub: Stub) -> None:
    stub.answers = [(200, saying("no")), (500, b"oops"), (200, saying('["Who moors the tug?"]')), (200, saying("[broken"))]
    stub.usual = saying('["Which shed is the part in?"]')
    assert len(build(stub, 2)) == 2
    assert len(stub.asked) == 5  # the 500 was asked again


@pytest.mark.parametrize(
    ("answer", "said"),
    [((500, b"out of memory"), "500: out of memory"), ((SILENT, b""), "timed out"), ((200, b"<html>"), "no answer")],
)
def test_a_server_that_stays_broken_ends_the_work_with_its_last_words(
    stub: Stub, answer: tuple[int, bytes], said: str
) -> None:
    stub.answers = [answer] * 8
    with pytest.raises(Retry, match=f"{stub.url}/v1/chat/completions failed 2 times, at last: .*{said}"):
        build(stub, 5, timeout_seconds=0.05)
    with pytest.raises(Retry, match=said):
        answers.judge(GIVEN, asking(stub, timeout_seconds=0.05))
    assert len(stub.asked) == 2 * 2  # attempts of both


def test_a_judge_is_asked_once_an_answer_and_read_where_it_can_be(stub: Stub) -> None:
    ask = asking(stub, max_tokens=7)
    for body, verdict in ((b"null", None), (b'{"supported": true, "reason": ["x"]}', True), (b"{" * 5000, None)):
        stub.answers = [(200, saying(body.decode()))]
        assert answers.judge(GIVEN, ask)[0] is verdict
    assert len(stub.asked) == 3
    sent = stub.asked[0][2]
    assert sent["max_tokens"] == 7
    assert json.loads(sent["messages"][1]["content"])["answer"] == "In the shed."
