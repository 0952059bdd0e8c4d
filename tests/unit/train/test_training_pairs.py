"""Pairs from what a collection has, kept apart from what judges it, as files whose bytes follow from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import FailRun
from pipelines.evaluate import builders, controls
from pipelines.evaluate.builders import Passage
from pipelines.records import Hidden, Question, TrainingPair
from pipelines.train import code, dataset, leakage, mining

WORDS = ["amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty"]


def passages(documents: int = 40) -> list[Passage]:
    found = []
    for number in range(documents):
        title = f"{WORDS[number % 10]} of the {WORDS[(number // 10 + number) % 10]} number{number}"
        for part in range(2):
            text = f"Part{part} tells that rule{number} holds for all boats{number} which come by night in number{number}."
            found.append(
                Passage(
                    f"d{number}",
                    title,
                    (f"Chapter about item{number} and rule{part}",),
                    200 * part,
                    200 * part + 150,
                    text,
                    "en",
                )
            )
    return found


def served(found: list[Passage]) -> mining.Served:
    vectors = np.eye(len(found), dtype=np.float32)
    return mining.Served(vectors, tuple(f"{one.title}\n\n{one.text}" for one in found), tuple(found))


def flat(texts: Sequence[str]) -> np.ndarray:
    return np.ones((len(texts), 80), np.float32)


def test_no_question_is_made_of_a_document_that_the_benchmark_is_made_of() -> None:
    found = passages()
    asked = mining.from_structure(found, share=0.5, limit=100, seed=1, spans=lambda text, lang: [(0, len(text))])
    mine = {document for entry in asked for document in entry.documents}
    theirs = {
        document
        for builder in mining.STRUCTURE
        for entry in builders.build(found, builder, share=0.5, limit=100, seed=1)
        for document in entry.documents
    }
    assert mine
    assert theirs
    assert not mine & theirs
    assert {entry.origin for entry in asked} >= {"titles", "headings", "crops"}


def test_the_passage_that_a_question_was_cut_from_is_never_its_answer() -> None:
    found = passages(2)
    asked = [mining.Asked("of part 0", ("d0",), "crops", "", hidden=Hidden("d0", 0, 150))]
    pairs, left = mining.paired(asked, served(found), lambda texts: np.ones((1, len(found)), np.float32))
    assert ([pair.positive for pair in pairs], left) == ([served(found).texts[1]], {})


def test_the_nearest_passage_of_the_document_answers_and_the_lost_are_counted() -> None:
    found = passages(3)
    near = np.zeros((1, len(found)), np.float32)
    near[0, 3], near[0, 5] = 0.5, 1.0
    asked = [mining.Asked("q", ("d1",), "judged", "here"), mining.Asked("gone", ("d9",), "judged", "here")]
    pairs, left = mining.paired(asked, served(found), lambda texts: near)
    assert [(pair.document, pair.positive) for pair in pairs] == [("d1", served(found).texts[3])]
    assert left == {"no passage of its document is served": 1}
    assert mining.paired([], served(found), flat) == ([], {})


def test_judgments_without_an_answer_teach_nothing() -> None:
    questions = [Question("1", "asked", (("d0", 1), ("d1", 0))), Question("2", "unanswerable", ())]
    assert [(one.text, one.documents) for one in mining.from_judgments(questions, "file")] == [("asked", ("d0",))]


def pair(question: str, document: str = "d1") -> TrainingPair:
    return TrainingPair(question, "a passage", document, source="somewhere")


JUDGED = leakage.Judged.of(
    {"set/frozen v1": [Question("1", "How is the old harbour crane oiled?", (("d7", 1), ("d8", 0)))]},
    {"d7": "d3", "d3": "d3"},
)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (pair("how is the OLD harbour crane oiled"), "asked by set/frozen v1"),
        (pair("how is the old harbour crane"), "asked by set/frozen v1"),  # six of seven words
        (pair("another", "d7"), "answers a question of set/frozen v1"),
        (pair("another", "d3"), "answers a question of set/frozen v1"),  # a near-duplicate of d7
    ],
)
def test_what_judges_is_found_in_what_teaches(one: TrainingPair, why: str) -> None:
    clusters = {"d7": "d3", "d3": "d3"}
    assert why in (leakage.leaks(one, JUDGED, clusters) or "")
    kept, left = leakage.without([one, pair("unlike")], JUDGED, clusters)
    assert ([entry.question for entry in kept], sum(left.values())) == (["unlike"], 1)
    with pytest.raises(FailRun, match="1 of 1 training pairs leak"):
        leakage.require_none([one], JUDGED, clusters)


def test_what_is_judged_as_no_answer_may_teach() -> None:
    assert leakage.leaks(pair("how are boats painted", "d8"), JUDGED, {}) is None


words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


@settings(deadline=None)
@given(st.lists(words, max_size=15), st.lists(words, max_size=15))
def test_no_leaked_question_survives(asked: list[str], judged: list[str]) -> None:
    found = leakage.Judged.of({"s": [Question(str(n), text, ()) for n, text in enumerate(judged)]}, {})
    kept, _ = leakage.without([pair(text) for text in asked], found, {})
    leakage.require_none(kept, found, {})
    for entry in kept:
        own = set(controls.words(entry.question))
        for text in judged:
            other = set(controls.words(text))
            assert len(own & other) < leakage.NEAR * len(own | other)


@settings(deadline=None)
@given(st.permutations([pair(f"question {number}", f"d{number % 9}") for number in range(30)]))
def test_a_data_set_is_its_pairs_whatever_their_order(pairs: list[TrainingPair]) -> None:
    clusters = {f"d{number}": f"d{number - number % 2}" for number in range(9)}
    data = dataset.split(pairs, clusters, {"seed": 1})
    files = dataset.write(data)
    assert dataset.digest(files) == dataset.digest(
        dataset.write(dataset.split(sorted(pairs, key=lambda one: one.question), clusters, {"seed": 1}))
    )
    assert dataset.read(files, "here") == data
    sides = [{clusters[one.document] for one in part} for part in (data.fitted, data.validation)]
    assert not sides[0] & sides[1]


def test_a_pair_counts_once_and_other_lineage_is_another_data_set() -> None:
    twice = dataset.split([pair("q"), pair("q")], {}, {"seed": 1})
    assert len(twice.fitted) + len(twice.validation) == 1
    assert dataset.digest(dataset.write(twice)) != dataset.digest(dataset.write(dataset.split([pair("q")], {}, {"seed": 2})))


@pytest.mark.parametrize("files", [{}, {"pairs.parquet": b"no", "manifest.json": b"{}"}])
def test_files_that_are_no_data_set_are_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(FailRun, match="no data set"):
        dataset.read(files, "knowledge@1")


def test_the_code_has_a_hash_that_stays() -> None:
    assert code.digest() == code.digest()
    assert len(code.digest()) == 64
