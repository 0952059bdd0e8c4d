"""What a reader may and may not see, in which order, and in which language."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from pipelines.errors import FixConfiguration
from pipelines.search.explain import Watch, explanation
from pipelines.search.hybrid import search
from pipelines.search.query import Filters, Mode, Query
from pipelines.store import lexicon
from pipelines.store.database import Pool
from tests.integration.search.corpus import DIM, Corpus, Doc, unit

pytestmark = pytest.mark.integration
MODES: tuple[Mode, ...] = ("hybrid", "dense", "text")


def docs(rng: np.random.Generator, count: int) -> list[Doc]:
    return [
        Doc(f"u{n}", [f"lock number {n} opens at dawn", f"berth {n} is closed in winter"], unit(rng, 2, DIM))
        for n in range(count)
    ]


@pytest.mark.parametrize("mode", MODES)
def test_finds_the_passage_and_says_where_it_stands(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    rng = np.random.default_rng(1)
    space = corpus.space()
    for doc in docs(rng, 20):
        corpus.add(space, doc)
    wanted = Doc(
        "wanted",
        ["first part", "Ärger: the weir gauge is read twice a day"],
        unit(rng, 2, DIM),
        title="Gauges",
        heading="Weir > Gauge",
    )
    corpus.add(space, wanted)
    best = search(pool, Query("who reads the weir gauge?", "k", mode=mode), wanted.vectors[1])[0]
    assert (best.uri, best.ordinal, best.title, best.heading_path) == ("wanted", 1, "Gauges", ("Weir > Gauge",))
    assert best.passage == wanted.passages[1]
    assert "\n".join(wanted.passages)[best.char_start : best.char_end] == best.passage
    assert (best.dense_rank, best.text_rank) == {"hybrid": (1, 1), "dense": (1, None), "text": (None, 1)}[mode]
    if mode != "text":
        assert best.similarity == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_the_order_is_the_same_every_time_folded_or_not(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    rng = np.random.default_rng(2)
    space = corpus.space()
    same = unit(rng, 1, DIM)
    for n in range(30):  # equal vectors and equal words: only the tie-break orders them
        corpus.add(space, Doc(f"u{n}", [f"lock {n} opens"], same))
    results = []
    for number in range(4):
        results.append([hit.uri for hit in search(pool, Query("lock opens", "k", k=20, mode=mode), same[0])])
        if number == 1:
            assert lexicon.fold(pool) == 30
    assert len(results[0]) == 20
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("mode", MODES)
def test_other_tenants_collections_and_spaces_are_never_seen(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    rng = np.random.default_rng(3)
    vector = unit(rng, 1, DIM)
    mine, old = corpus.space(), corpus.space(state="previous", model="old")
    theirs, elsewhere = corpus.space(tenant="other"), corpus.space(collection="elsewhere")
    corpus.add(mine, Doc("mine", ["harbour dues are paid monthly"], unit(rng, 1, DIM)))
    corpus.add(theirs, Doc("theirs", ["harbour dues secret"], vector, tenant="other"))
    corpus.add(elsewhere, Doc("elsewhere", ["harbour dues abroad"], vector, collection="elsewhere"))
    # The very same vector table can hold a row that belongs to another tenant: it is still not ours.
    corpus.add(mine, Doc("stray", ["harbour dues stray"], vector, tenant="other", source="s2"))
    corpus.add(old, Doc("old", ["harbour dues in the old space"], vector))
    uris = {hit.uri for hit in search(pool, Query("harbour dues", "k", mode=mode), vector[0])}
    assert uris == ({"mine"} if mode == "dense" else {"mine", "old"})  # its words are served; its old vector is not
    assert {hit.uri for hit in search(pool, Query("harbour dues", "k", tenant="other", mode=mode), vector[0])} == (
        {"theirs"} if mode == "dense" else {"theirs", "stray"}
    )


@pytest.mark.parametrize("mode", MODES)
def test_quarantined_documents_serve_their_last_good_version_and_deleted_ones_nothing(
    corpus: Corpus, pool: Pool, mode: Mode
) -> None:
    rng = np.random.default_rng(4)
    vector = unit(rng, 1, DIM)
    space = corpus.space()
    corpus.add(space, Doc("held", ["the ferry sails hourly"], vector, state="quarantined"))
    corpus.add(space, Doc("gone", ["the ferry sails daily"], vector, state="deleted"))
    hits = search(pool, Query("when does the ferry sail", "k", mode=mode), vector[0])
    assert [(hit.uri, hit.source_version) for hit in hits] == [("held", "1")]


def test_the_same_passage_appears_once_and_lists_its_documents(corpus: Corpus, pool: Pool) -> None:
    rng = np.random.default_rng(5)
    space = corpus.space()
    shared = unit(rng, 1, DIM)
    for n in range(80):  # more copies than candidates: they must not crowd the others out
        corpus.add(
            space,
            Doc(f"copy{n:02}", ["Visitors sign in at the gate."], shared, modified=datetime(2026, 1, 1, n % 24, tzinfo=UTC)),
        )
    corpus.add(space, Doc("prefixed", ["visitors  sign in at the gate."], shared, heading="Safety"))
    for doc in docs(rng, 8):
        corpus.add(space, doc)
    hits = search(pool, Query("where do visitors sign in?", "k", k=10), shared[0])
    assert len(hits) == 10
    assert sum("sign in" in hit.passage for hit in hits) == 1
    assert len(hits[0].also) >= 9
    assert hits[0].uri not in {place.uri for place in hits[0].also}


def test_each_text_is_found_in_its_own_language(corpus: Corpus, pool: Pool) -> None:
    rng = np.random.default_rng(6)
    space = corpus.space()
    corpus.add(space, Doc("de", ["Die Schleusen werden nachts geschlossen."], unit(rng, 1, DIM), lang="de"))
    corpus.add(space, Doc("en", ["The inspectors inspected the hulls."], unit(rng, 1, DIM)))
    corpus.add(space, Doc("xx", ["Slussarna stängs om natten."], unit(rng, 1, DIM), lang="sv"))
    corpus.add(space, Doc("unknown", ["what is the and of to when a"], unit(rng, 1, DIM), lang=""))

    def found(text: str) -> list[str]:
        return [hit.uri for hit in search(pool, Query(text, "k", mode="text"), None)]

    assert found("Wann schließt die Schleuse?") == ["de"]  # another inflection
    assert found("what is the inspection of a hull") == ["en"]  # the unknown text is full of function words only
    assert found("slussarna") == ["xx"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(sources=("wiki",)), {"a"}),
        (Filters(sources=()), set()),
        (Filters(uri_prefix="s3://b/x_"), {"a"}),  # neither % nor _ is a wildcard
        (Filters(uri_prefix="s3://b/" + "y" * 700), {"c"}),
        (Filters(lang="de"), {"b"}),
        (Filters(since=datetime(2026, 2, 1, tzinfo=UTC)), {"b"}),
        (Filters(until=datetime(2026, 2, 1, tzinfo=UTC)), {"a"}),
        (Filters(media_types=("text/html", "application/pdf")), {"b"}),
        (Filters(metadata={"owner": {"team": "quay"}}), {"a"}),
        (Filters(metadata={"tags": ["x"]}), {"b"}),
        (Filters(metadata={"owner": "'; DROP TABLE document; --"}), set()),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_filters(corpus: Corpus, pool: Pool, mode: Mode, filters: Filters, expected: set[str]) -> None:
    rng = np.random.default_rng(7)
    space = corpus.space()
    vectors = unit(rng, 3, DIM)
    a = {"owner": {"team": "quay", "floor": 2}}
    corpus.add(
        space,
        Doc(
            "s3://b/x_1",
            ["crane a1"],
            vectors[:1],
            source="wiki",
            title="a",
            metadata=a,
            modified=datetime(2026, 1, 1, tzinfo=UTC),
        ),
    )
    b = {"tags": ["x", "y"]}
    corpus.add(
        space,
        Doc(
            "s3://b/xy1",
            ["crane b1"],
            vectors[1:2],
            title="b",
            lang="de",
            media_type="text/html",
            metadata=b,
            modified=datetime(2026, 2, 1, tzinfo=UTC),
        ),
    )
    corpus.add(space, Doc("s3://b/" + "y" * 900, ["crane c1"], vectors[2:], title="c"))
    assert {hit.title for hit in search(pool, Query("crane", "k", mode=mode, filters=filters), vectors[0])} == expected


@pytest.mark.parametrize(
    "text", ["the of and", "?!…", "'\\ | & :* ()", "\x00weir\x00", "\ud800 weir", "🚢" * 100, "x" * 4000, "a:b <-> c"]
)
def test_odd_questions_are_answered_by_the_vectors(corpus: Corpus, pool: Pool, text: str) -> None:
    rng = np.random.default_rng(8)
    space = corpus.space()
    vectors = unit(rng, 1, DIM)
    corpus.add(space, Doc("u", ["weir"], vectors))
    assert [hit.uri for hit in search(pool, Query(text, "k"), vectors[0])] == ["u"]


def test_a_collection_or_vector_that_does_not_fit_is_explained(corpus: Corpus, pool: Pool) -> None:
    corpus.space()
    vector = np.ones(DIM, np.float32)
    with pytest.raises(FixConfiguration, match=r"'nowhere' has nothing to search \(searchable: k\)"):
        search(pool, Query("x", "nowhere"), vector)
    with pytest.raises(FixConfiguration, match=r"3 dimensions, space \d+ has 32"):
        search(pool, Query("x", "k"), vector[:3])
    for bad in (vector * 0, vector * np.nan, None):
        with pytest.raises(FixConfiguration, match="vector"):
            search(pool, Query("x", "k"), bad)


def test_a_superseded_document_says_so(corpus: Corpus, pool: Pool) -> None:
    rng = np.random.default_rng(9)
    space = corpus.space()
    for uri, opening in (("old", "Status: superseded on 1 May 2026."), ("new", "This policy supersedes the one of 2023.")):
        corpus.add(space, Doc(uri, [opening, f"{uri}: a pilot is paid by the hour"], unit(rng, 2, DIM)))
    hits = search(pool, Query("how is a pilot paid", "k", mode="text"), None)
    assert {hit.uri: hit.superseded for hit in hits} == {"old": True, "new": False}


@pytest.mark.parametrize("mode", MODES)
def test_an_explanation_adds_up_to_the_scores_folded_or_not(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    rng = np.random.default_rng(16)
    space = corpus.space()
    for n in range(12):
        text = f"lock {n} opens, and the lock's keeper opens lock o'clock" if n % 2 else f"berth {n} opens"
        corpus.add(space, Doc(f"u{n}", [text], unit(rng, 1, DIM), heading="Lock" if n == 3 else ""))
    query = Query("which lock opens o'clock?", "k", mode=mode, filters=Filters(sources=("s",)))
    vector = unit(rng, 1, DIM)[0]
    for pending in (12, 0):
        watch = Watch(wanted=True)
        hits = search(pool, query, vector, watch=watch)
        assert hits == search(pool, query, vector)
        why = explanation(query, hits, watch, "none")
        assert (why.pending_texts, why.filtering) == (pending, "exact: all 12 passages that the filters keep were compared")
        assert why.found_by_words is None if mode == "dense" else why.found_by_words
        for hit in why.hits:
            assert hit.from_vector + hit.from_words == pytest.approx(hit.score)
            assert sum(use.adds for use in hit.terms) == pytest.approx(hit.relevance)
        assert {"dense"} & {mode} or max(len(hit.terms) for hit in why.hits) >= 3
        assert set(why.seconds) >= {"passages"}
        lexicon.fold(pool)


@pytest.mark.parametrize("mode", ["hybrid", "text"])
def test_words_around_a_passage_count_and_only_those_a_reader_may_see(corpus: Corpus, pool: Pool, mode: Mode) -> None:
    space = corpus.space()
    same = unit(np.random.default_rng(18), 1, DIM)

    def add(uri: str, passages: list[str], modified: datetime | None = None, **metadata: list[str]) -> None:
        vectors = np.repeat(same, len(passages), axis=0)
        corpus.add(space, Doc(uri, passages, vectors, metadata=dict(metadata), modified=modified))

    add("beside", ["the sluice is painted green", "opened by hand in frost"])
    add("far", ["the sluice is painted red", *(f"part {n}" for n in range(5)), "opened by hand in frost"])
    add("copy", ["the sluice is painted blue"])
    newest = datetime(2026, 1, 1, tzinfo=UTC)
    add("minutes", ["the sluice is painted blue", "opened by hand in frost"], newest, access=["board"])
    lexicon.fold(pool)

    def worth(principal: str) -> dict[str, float]:
        """What surrounds each sluice, by its colour."""
        filters = Filters(principals=(principal,), open_sources=("s",))
        watch = Watch(wanted=True)
        query = Query("painted sluice opened in frost", "k", mode=mode, filters=filters)
        hits = search(pool, query, same[0], watch=watch)
        passages = {(hit.uri, hit.ordinal): hit.passage for hit in hits}
        why = explanation(query, hits, watch, "none").hits
        for hit in why:
            assert hit.from_vector + hit.from_words == pytest.approx(hit.score)
        return {passages[hit.uri, hit.ordinal].rpartition(" ")[2]: hit.surroundings for hit in why if hit.ordinal == 0}

    crew, board_member = worth("crew"), worth("board")
    assert crew["green"] > max(crew["red"], crew["blue"])  # red's frost is too far away, blue's not for this reader
    assert board_member["blue"] == board_member["green"] > board_member["red"]
