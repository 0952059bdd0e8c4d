"""The verdict of an evaluation, what of a slice can be scored, how answers are summed up: without a database."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import config
from pipelines.errors import FailRun, FixConfiguration
from pipelines.evaluate import metrics
from pipelines.evaluate.answers import Checked
from pipelines.evaluate.freshness import Freshness
from pipelines.records import Hidden, Question
from pipelines.search.query import Hit, Place
from pipelines.stages import answering, evaluate, representation, scoring
from pipelines.stages.benchmarks import Names
from pipelines.store.benchmarks import Benchmark
from pipelines.store.evaluations import Former, Result

BENCHMARK = Benchmark(1, "knowledge", "main", "frozen", 1, b"c", 10, "ana", datetime.now(UTC), 3)
LIMITS = scoring.Limits(questions=200, lost_share=0.2)
FRESH = Freshness("passages", 0.05, 0.05, 100, False)


def question(name: str, *documents: str, text: str = "how fast") -> Question:
    return Question(name, text, tuple((document, 1) for document in documents))


def part(*questions: Question, served: set[str] | None = None, limits: scoring.Limits = LIMITS) -> scoring.Slice:
    return scoring.sort_out(BENCHMARK, questions, {"a", "b"} if served is None else served, limits)


def test_only_what_is_served_is_judged_and_what_is_lost_is_counted() -> None:
    found = part(
        question("1", "a", "gone"), *(question(f"x{n}", "b") for n in range(5)), question("2", "gone"), question("3")
    )
    assert (len(found.scored), found.lost, len(found.unanswerable), found.reason) == (6, 1, 1, "")
    assert found.qrels["1"] == {"a": 1}


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ([], "has no questions"),
        ([question("1", "gone"), question("2", "a")], "1 of 2 questions have lost all their documents, more than 20%"),
        ([question("1", "a", text="x" * 2**20)], "search takes none of its 1 questions"),
        ([question("1", "a", text="\x00")], "search takes none of its 1 questions"),
        ([question("1", "a", text=" "), question("2", "a")], "1 of 2 questions are empty or longer than 4000"),
        ([question("1")], "none of its 1 questions has a judged document"),
    ],
)
def test_what_cannot_be_scored_is_said(questions: list[Question], said: str) -> None:
    assert said in part(*questions).reason


def test_more_questions_than_configured_are_drawn_always_the_same_ones() -> None:
    many = [question(str(number), "a") for number in range(50)]
    drawn = part(*many, limits=replace(LIMITS, questions=10))
    assert (len(drawn.scored), drawn.left_out) == (10, 40)
    assert drawn.scored == part(*reversed(many), limits=replace(LIMITS, questions=10)).scored


def hit(uri: str, start: int, also: tuple[Place, ...] = ()) -> Hit:
    found = Hit(b"", 0, "s", uri, "", "", (), start, start + 10, "x", "en", "", "1", None, {}, False, 1.0, None, None, None)
    return replace(found, also=also)


def test_documents_stand_where_their_best_passage_does_and_the_hidden_one_does_not_count() -> None:
    hits = [hit("a", 0), hit("b", 0, (Place("c", ""), Place("d", "x.pdf"))), hit("a", 50)]
    assert scoring.documents(hits, question("1", "a")) == ["a", "b", "c", "d#x.pdf"]
    assert scoring.documents(hits, replace(question("1", "a"), hidden=Hidden("a", 5, 8))) == ["b", "c", "d#x.pdf", "a"]
    assert "c" not in scoring.documents(hits, replace(question("1", "c"), hidden=Hidden("c", 5, 8)))


def ranking(documents: dict[str, list[str]]) -> scoring.System:
    return scoring.System("served", 1, lambda asked: documents[asked.id])


def test_a_slice_is_scored_with_intervals_and_kinds() -> None:
    low = replace(question("1", "a"), origin="titles", overlap=0.2)
    result = scoring.measure(part(low, question("2", "b")), ranking({"1": ["a"], "2": ["x", "b"]}), ["nDCG@10", "R@10"])
    assert result.measures["R@10"]["mean"] == 1.0
    assert result.scores["nDCG@10"] == {"1": 1.0, "2": pytest.approx(1 / math.log2(3))}
    assert result.buckets["low lexical overlap (1)"] == result.buckets["from titles (1)"] == 1.0
    assert scoring.measure(part(), ranking({}), ["nDCG@10"]).reason


def test_a_value_that_is_no_number_is_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ranked", lambda documents: dict.fromkeys(documents, math.nan))
    result = scoring.measure(part(question("1", "a")), ranking({"1": ["a"]}), ["nDCG@10"])
    assert (result.questions, result.measures) == (0, {})
    assert "not a finite number" in result.reason


def test_a_search_that_breaks_on_a_score_is_cannot_tell() -> None:
    def broken(asked: Question) -> list[str]:
        raise FailRun("reranker tiny: 30 of 30 scores are not finite numbers")

    result = scoring.measure(part(question("1", "a")), scoring.System("served", 1, broken), ["nDCG@10"])
    assert (result.questions, result.reason) == (0, "question '1': reranker tiny: 30 of 30 scores are not finite numbers")


def scored(values: list[float]) -> Result:
    names = {f"q{place}": value for place, value in enumerate(values)}
    return Result(1, "main/frozen v1", "frozen", "served", 1, len(values), scores={"nDCG@10": names})


def changed(now: list[float], then: list[float], corpus: bytes = b"c") -> Result:
    former = Former(3, 6, b"c", 1, datetime.now(UTC))
    return evaluate.adjusted([scoring.compared(scored(now), former, scored(then).scores, {}, corpus)])[0]


def verdict(*results: Result, fresh: Freshness = FRESH) -> tuple[Any, tuple[str, ...]]:
    return evaluate.judge(results, [part(question("1", "a"))], [fresh], margin=0.02, alpha=0.05)


def test_a_significant_loss_beyond_the_margin_is_worse_and_says_since_when() -> None:
    found, notes = verdict(changed([0.4] * 30, [0.5] * 30, b"other"))
    assert found == "worse"
    assert "nDCG@10 fell by 0.100 since evaluation 6 on another corpus" in notes[0]


def test_noise_a_small_loss_and_a_gain_are_good() -> None:
    noisy = changed([0.2, 0.9] * 10, [0.9, 0.3] * 10)
    for result in (noisy, changed([0.49] * 30, [0.5] * 30), changed([0.9] * 30, [0.5] * 30), scored([0.5])):
        assert verdict(result) == ("good", ())


def test_anything_that_cannot_be_told_is_never_good() -> None:
    unknown = replace(scored([]), reason="it has no questions")
    assert verdict(scored([0.5]), unknown)[0] == "cannot tell"
    assert verdict(scored([0.5]), fresh=replace(FRESH, share=None, reason="too few"))[0] == "cannot tell"
    assert verdict(scored([0.5]), fresh=replace(FRESH, share=0.6, alarm=True))[0] == "stale"
    assert verdict(changed([0.1] * 30, [0.9] * 30), unknown)[0] == "worse"


def test_only_good_passes() -> None:
    evaluate.require(evaluate.Report("knowledge", 1, "good", ()))
    with pytest.raises(FailRun, match="evaluation of knowledge: stale: old; page: s3://x"):
        evaluate.require(evaluate.Report("knowledge", 1, "stale", ("old",), uri="s3://x"))


def test_answers_are_summed_up_over_what_was_asked() -> None:
    checked = [
        Checked("1", "supported", True, True, judged=True, opinion="x"),
        Checked("2", "unsupported", True, False, ("Pigs fly.",), judged=None, opinion="not JSON"),
        Checked("3", "refused", True, False),
        Checked("4", "refused", False, None),
    ]
    found = answering.summary(checked, [True, False], "m")
    assert (found.asked, found.supported, found.right, found.refused_unanswerable) == (4, 0.5, 0.5, 1.0)
    assert (found.judged, found.judged_supported, found.unreadable) == (1, 1.0, 1)
    assert found.examples == ("2: Pigs fly.",)
    nothing = answering.summary([], [], "")
    assert (nothing.supported, nothing.judge[:7]) == (None, "not run")


def test_judged_names_find_their_documents() -> None:
    names = Names(["s3://b/x/a%20b.md", "s3://b/y/12.txt", "s3://b/z/12.md", "s3://b/z/q.md"])
    assert names.find("x/a b.md") == "s3://b/x/a%20b.md"
    assert names.find("q") == "s3://b/z/q.md"
    assert names.find("none") is None
    with pytest.raises(FixConfiguration, match="may be s3://b/y/12.txt or s3://b/z/12.md"):
        names.find("12")


def test_the_file_of_present_questions_is_read_or_named(tmp_path: Path) -> None:
    settings = config.load().model_copy(update={"root": tmp_path})
    assert representation.present_questions(settings) is None
    settings = settings.model_copy(update={"evaluation": config.Evaluation(present_questions="asked.txt")})
    with pytest.raises(FixConfiguration, match=r"present_questions: .*asked\.txt cannot be read"):
        representation.present_questions(settings)
    (tmp_path / "asked.txt").write_text("how  fast\n\nhow fast\nwhy\n")
    assert representation.present_questions(settings) == ["how fast", "why"]
    (tmp_path / "asked.txt").write_text("how fast\n" + "x" * 2**20)
    with pytest.raises(FixConfiguration, match=r"asked\.txt:2: the question has 1,048,576 characters, search takes 4,000"):
        representation.present_questions(settings)
