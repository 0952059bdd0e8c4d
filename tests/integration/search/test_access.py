"""Access lists: nobody sees what is not theirs, and nobody gets fewer hits because of what they may not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.search import neighbours
from pipelines.search.hybrid import search
from pipelines.search.query import Filters, Mode, Query
from pipelines.store import lexicon
from pipelines.store.database import Pool
from tests.integration.search.corpus import DIM, Corpus, Doc, unit

pytestmark = pytest.mark.integration
MODES: tuple[Mode, ...] = ("hybrid", "dense", "text")
LISTS: dict[str, dict[str, Any]] = {
    "open": {},
    "null": {"access": None},
    "one": {"access": ["finance"]},
    "two": {"access": ["legal", "board"]},
    "front matter": {"access": "finance,  Human Resources "},
    "nobody": {"access": []},
    "empty": {"access": ""},
    "broken": {"access": {"finance": True}},
}
SEEN = {
    (): {"open", "null"},
    ("finance",): {"open", "null", "one", "front matter"},
    ("board", "Human Resources"): {"open", "null", "two", "front matter"},
    ("Finance", "fin"): {"open", "null"},
}


@pytest.fixture
def space(corpus: Corpus) -> int:
    """Documents about one thing, with every kind of list."""
    rng = np.random.default_rng(1)
    made = corpus.space()
    for name, metadata in LISTS.items():
        corpus.add(made, Doc(name, ["harbour dues are due", f"harbour {name}"], unit(rng, 2, DIM), metadata=metadata))
    return made


@pytest.mark.parametrize("mode", MODES)
def test_readers_see_what_is_open_or_theirs(corpus: Corpus, pool: Pool, space: int, mode: Mode) -> None:
    vector = unit(np.random.default_rng(2), 1, DIM)[0]

    def seen(**filters: Any) -> set[str]:
        hits = search(pool, Query("harbour dues", "k", k=40, mode=mode, filters=Filters(**filters)), vector)
        return {uri for hit in hits for uri in (hit.uri, *(place.uri for place in hit.also))}

    assert seen() == set(LISTS)
    for principals, expected in SEEN.items():
        assert seen(principals=principals, open_sources=("s",)) == expected
        assert seen(principals=principals, open_sources=("t",)) == expected - {"open", "null"}
    corpus.conn.execute(
        "UPDATE document SET parent_doc_id = (SELECT doc_id FROM document WHERE uri = 'two') WHERE uri = 'one'"
    )
    assert seen(principals=("finance",)) == {"front matter"}
    assert seen(principals=("finance", "board")) == {"front matter", "one", "two"}


def test_a_result_is_never_short_and_neighbours_ask_again(corpus: Corpus, pool: Pool) -> None:
    rng = np.random.default_rng(3)
    made = corpus.space()
    vectors = unit(rng, 300, DIM)
    vectors = vectors[np.argsort(-vectors @ vectors[0])]
    for n, vector in enumerate(vectors):  # the nearest are all forbidden
        theirs = {"access": ["board"]} if n < 280 else {"access": ["crew"]}
        corpus.add(made, Doc(f"u{n:03}", [f"lock {n} opens", f"gate {n}"], np.stack([vector, vector]), metadata=theirs))
    lexicon.fold(pool)  # a search analyses only so many texts itself
    crew = Filters(principals=("crew",))
    for mode in MODES:
        hits = search(pool, Query("lock opens", "k", k=20, mode=mode, filters=crew), vectors[0])
        assert len(hits) == 20
        assert all(hit.uri >= "u280" for hit in hits)
    stretches = neighbours.around(pool, hits, tenant="public", filters=crew)
    assert [stretch.char_start for stretch in stretches] == [0] * 20
    assert sum("gate" in stretch.text for stretch in stretches) == 20
    refused = neighbours.around(pool, hits, tenant="public", filters=Filters(principals=("board",)))
    assert not any("gate" in stretch.text for stretch in refused)
