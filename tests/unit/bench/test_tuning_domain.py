"""The made-up domain of the bench `finetune`: words of its own, the same for the same seed, and a null without any sense."""

from __future__ import annotations

from pathlib import Path

from bench.finetune import FROZEN, NEW, PLAIN, _sets
from bench.tuning import corpus, domain
from pipelines.evaluate.builders import Passage

THINGS = ["harbour", "anchor", "vessel", "tariff", "engine", "ladder", "bridge", "signal", "cargo", "winch"]


def _passages() -> list[Passage]:
    found = []
    for number in range(30):
        kept = [THINGS[(number + step) % len(THINGS)] for step in range(3)]
        for part in range(2):
            text = f"Keeper{number} watches the {kept[0]} and the {kept[1]}. Nobody else may touch the {kept[2]} {part}."
            found.append(Passage(f"d{number}", f"Title {number}", (), 100 * part, 100 * part + len(text), text, "en"))
    return found


def test_questions_say_invented_words_for_those_of_the_lexicon() -> None:
    passages = _passages()
    words = domain.lexicon(passages, 6, 1)
    assert words == domain.lexicon(passages, 6, 1) != domain.lexicon(passages, 6, 2)
    assert set(words) <= set(THINGS) | {"watches", "nobody", "touch"}
    asked = domain.questions(passages, words, 40, 1)
    assert asked
    assert asked == domain.questions(passages, words, 40, 1)
    for text, passage in asked:
        coded = [word for word in text.split() if word in words.values()]
        assert len(coded) == domain.CODED
        meant = {invented: word for word, invented in words.items()}
        assert all(meant[word] in passage.text.lower() for word in coded)


def test_the_same_questions_in_everybodys_words_have_no_invented_one() -> None:
    words = domain.lexicon(_passages(), 6, 1)
    sets = _sets(_passages(), words, 20, 1)
    assert set(sets) == {NEW, PLAIN, *FROZEN}
    assert [entry.documents for entry in sets[NEW]] == [entry.documents for entry in sets[PLAIN]]
    for name in (PLAIN, "short questions"):
        assert not {word for entry in sets[name] for word in entry.text.split()} & set(words.values())


def test_the_null_has_the_same_texts_put_together_otherwise() -> None:
    pairs = domain.pairs(domain.questions(_passages(), domain.lexicon(_passages(), 6, 1), 20, 1))
    null = domain.shuffled(pairs, 1)
    assert sorted(pair.positive for pair in null) == sorted(pair.positive for pair in pairs)
    assert [pair.question for pair in null] == [pair.question for pair in pairs]
    assert sum(one.positive == other.positive for one, other in zip(null, pairs, strict=True)) < len(pairs) / 2


def test_no_document_is_in_two_parts(tmp_path: Path) -> None:
    for number in range(12):
        said = [f"The {THINGS[number * step % 10]} of quay {step * number} is watched by the keeper." for step in range(30)]
        body = " ".join(f"{line} Nobody may be on it before he has signed the book." for line in said)
        (tmp_path / f"{number}.txt").write_text(f"Note {number}\n\n{body}")
    parts = corpus.parts(tmp_path, 1)
    names = [{passage.document for passage in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, names)) == len(set.union(*names)) > 6
    assert corpus.parts(tmp_path, 1) == parts
