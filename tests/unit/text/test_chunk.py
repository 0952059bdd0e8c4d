"""Chunks cover the text, point at it and fit the embedder, whatever the text, the tokenizer and the settings."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config import Chunking
from pipelines.ports import Tokenizer
from pipelines.records import Chunk, Document, Section
from pipelines.text.chunk import chunks
from tests.unit.text.tokenizers_for_tests import Characters, Greedy, Words, word_piece

TOKENIZERS: dict[str, Tokenizer] = {
    "words": Words(),
    "characters": Characters(40),
    "greedy": Greedy(50),
    "wordpiece": word_piece(),
}
_WORDS = st.sampled_from(
    [
        "pay",
        "the",
        "rent",
        "z.B.",
        "Überweisung",
        "3.",
        "Oktober",
        "a" * 130,
        "x" * 700,
        "日本語" * 9,
        "e\u0301" * 30,
        "👩‍👩‍👧",
        "10,5",
        "|",
        "…",
    ]
)
_PARAGRAPH = st.lists(_WORDS, min_size=1, max_size=60).map(" ".join)
_TEXT = st.one_of(_PARAGRAPH, st.text(min_size=1, max_size=400).filter(lambda text: bool(text.strip())))
_PATH = st.lists(st.sampled_from(["Leave", "Sick pay", "A very long heading " * 8, "§ 3"]), max_size=3).map(tuple)
_PART = st.tuples(_PATH, _TEXT, st.sampled_from(["prose", "table", "list", "code", "record"]), st.booleans())


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text, sections = "", []
    for path, part, kind, listed in draw(st.lists(_PART, min_size=1, max_size=6)):
        start = len(text)
        text += part
        if listed:  # else the text belongs to no section
            sections.append(Section(path, start, len(text), kind))
        text += draw(st.sampled_from(["\n\n", "\n", " "]))
    return Document(
        "file:///a", text, tuple(sections), title=draw(st.sampled_from(["", "Leave", "Handbook " * 30])), lang="de"
    )


@given(
    documents(),
    st.sampled_from(sorted(TOKENIZERS)),
    st.integers(16, 200),
    st.integers(32, 254),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_character_is_in_a_chunk_and_every_chunk_fits(document, name, target, limit, overlap, prefix):
    tokenizer = TOKENIZERS[name]
    chosen = Chunking(target_tokens=min(target, limit), max_tokens=limit, overlap_sentences=overlap, heading_prefix=prefix)
    made = chunks(document, tokenizer, chosen)
    assert [chunk.ordinal for chunk in made] == list(range(len(made)))
    covered: set[int] = set()
    for chunk in made:
        passage = document.text[chunk.char_start : chunk.char_end]
        covered.update(range(chunk.char_start, chunk.char_end))
        assert passage.strip() == passage != ""
        assert chunk.text == passage if not prefix else chunk.text.endswith(passage)
        assert chunk.tokens == tokenizer.count([chunk.text])[0] <= min(limit, tokenizer.max_tokens)
        assert chunk.lang == "de"
    assert all(i in covered for i, character in enumerate(document.text) if not character.isspace())


def _document(*parts: tuple[tuple[str, ...], str, str], title: str = "") -> Document:
    text, sections = "", []
    for path, part, kind in parts:
        sections.append(Section(path, len(text), len(text) + len(part), kind))
        text += part + "\n\n"
    return Document("file:///a", text.strip(), tuple(sections), title=title, lang="en")


def _make(document: Document, **more: object) -> list[Chunk]:
    return chunks(document, Words(200), Chunking(**{"target_tokens": 20, "max_tokens": 60, **more}))  # type: ignore[arg-type]


def _sentences(count: int, words: int) -> str:
    return " ".join(f"Sentence {i} has {'word ' * (words - 4)}end." for i in range(count))


def test_the_prefix_is_title_and_headings_and_the_title_is_not_repeated():
    parts = [(("Leave", "Sick pay"), "You get six weeks.", "prose")]
    assert _make(_document(*parts, title="Handbook"))[0].text == "Handbook > Leave > Sick pay\n\nYou get six weeks."
    assert _make(_document(*parts, title="Leave"))[0].text == "Leave > Sick pay\n\nYou get six weeks."
    assert _make(_document(*parts), heading_prefix=False)[0].text == "You get six weeks."
    assert _make(_document(((), "You get six weeks.", "prose")))[0].text == "You get six weeks."


def test_a_long_prefix_is_cut_at_words_to_a_quarter_of_the_limit():
    (chunk,) = _make(_document((("alpha beta gamma " * 10,), "Text.", "prose")))
    prefix, _, passage = chunk.text.partition("\n\n")
    assert passage == "Text."
    assert 1 <= len(prefix.split()) <= 60 // 4
    assert set(prefix.split()) == {"alpha", "beta", "gamma"}


def test_sentences_are_packed_up_to_the_target_and_never_torn():
    made = _make(_document(((), _sentences(12, 8), "prose")))
    assert len(made) > 3
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("end.") for chunk in made)
    assert all(10 <= chunk.tokens <= 60 for chunk in made)


def test_the_last_two_share_alike_and_no_cut_before_them_moves_when_text_is_appended():
    short, long = (_make(_document(((), _sentences(count, 4), "prose"))) for count in (40, 41))
    for made in (short, long):
        assert abs(made[-1].tokens - made[-2].tokens) <= 6
        assert max(chunk.tokens for chunk in made) <= 27
    assert [chunk.text for chunk in short[:-2]] == [chunk.text for chunk in long[: len(short) - 2]]


def test_a_chunk_never_holds_text_of_two_headings():
    made = _make(_document((("A",), "First.", "prose"), (("B",), "Second.", "prose"), (("B",), "- item", "list")))
    assert [(chunk.heading_path, chunk.kind) for chunk in made] == [(("A",), "prose"), (("B",), "prose")]
    assert made[1].text == "B\n\nSecond.\n\n- item"


def test_rows_and_records_stay_whole_while_they_fit():
    rows = "\n".join(f"Plan: number {i}; Price: {i} euros. Or more; Seats: {i}" for i in range(20))
    made = _make(_document((("Prices",), rows, "table")))
    assert all(line in rows.split("\n") for chunk in made for line in chunk.text.removeprefix("Prices\n\n").split("\n"))
    assert {chunk.kind for chunk in made} == {"table"}
    records = [((), f"name: n{i}\ncity: c{i}\nnote: {'word ' * 8}", "record") for i in range(9)]
    assert all(chunk.text.count("name:") == chunk.text.count("note:") for chunk in _make(_document(*records)))


def test_overlap_repeats_whole_sentences():
    text = _sentences(12, 8)
    made = _make(_document(((), text, "prose")), overlap_sentences=1)
    for before, after in zip(made, made[1:], strict=False):
        assert before.char_start < after.char_start < before.char_end < after.char_end
        assert text[after.char_start : before.char_end].count("end.") == 1


def test_a_sentence_over_the_limit_is_cut_between_words():
    text = "word " * 500 + "end."
    made = _make(_document(((), text, "prose")))
    assert len(made) > 8
    assert {word for chunk in made for word in chunk.text.split()} == {"word", "end."}


def test_a_cut_prefers_not_to_tear_a_character_apart():
    text = "e\u0301" * 300
    tokenizer = Characters(40)
    made = chunks(_document(((), text, "prose")), tokenizer, Chunking(target_tokens=16, max_tokens=33))
    assert len(made) > 10
    assert all(chunk.text[0] == "e" for chunk in made)


def test_an_unknown_endless_word_is_not_one_chunk():
    made = chunks(_document(((), "q" * 20000, "prose")), word_piece(), Chunking())
    assert max(len(chunk.text) for chunk in made) <= 254 * 12


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_chunking_a_long_line_takes_time_in_proportion(size):
    document = _document(((), _sentences(size // 40, 8), "prose"))
    began = time.perf_counter()
    made = chunks(document, Words(200), Chunking(target_tokens=100, max_tokens=150))
    assert time.perf_counter() - began < size / 50_000
    assert made[-1].char_end == len(document.text)
