"""The words of a question that carry its content, and whether a text has them. Pure.

Light on purpose: a word matches its inflections by their common beginning, which serves English and German (compounds
included) without a stemmer in Python. Function words are known for those two languages; in another, they count as content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import log

_WORD = re.compile(r"[^\W_]+(?:[.,:][0-9]+)*")
_SHORT = 4  # words up to this length must match whole

_ENGLISH = (
    "a about after again all also am an and any are as at be because been before being between both but by can "
    "could did do does doing done down during each else ever every few for from further get gets had has have "
    "having he her here hers him his how i if in into is it its itself just let like many may me might more most "
    "much must my need no nor not now of off often on once one only onto or other our out over own per please same "
    "shall she should since so some somebody someone something soon still such than that the their them then there "
    "these they this those through till to too under until up upon us use used using very via was way we were what "
    "when where whether which while who whom whose why will with within without would yet you your"
)
_GERMAN = (
    "ab aber alle allem allen aller alles als also am an ander andere anderen auch auf aus bei beim bin bis bist da "
    "damit dann darf das dass dein dem den denn der des dessen die dies diese diesem diesen dieser dieses doch dort "
    "du durch dürfen ein eine einem einen einer eines er es etwas euer für gegen gibt hab habe haben hat hatte hier "
    "hin hinter ich ihm ihn ihr ihre ihrem ihren ihrer im in indem ins ist ja jede jedem jeden jeder jedes jetzt "
    "kann kein keine können könnte man mehr mein mich mir mit muss müssen nach nicht noch nun nur ob oder ohne pro "
    "sehr sein seine seinem seinen seiner selbst sich sie sind so soll sollen sollte sondern sonst um und uns unser "
    "unsere unter viel viele vom von vor wann warum was weil welche welchem welchen welcher welches wenn wer werden "
    "wie wieder wieviel will wir wird wo wohin wollen worden wurde wurden würde zu zum zur zwischen über"
)
FUNCTION_WORDS = frozenset(f"{_ENGLISH} {_GERMAN}".split())


def words(text: str) -> list[str]:
    """Every word and number, case-folded, in order."""
    return [match.group().casefold() for match in _WORD.finditer(text)]


def content_words(text: str) -> list[str]:
    """The distinct words that are not function words, in order; all words when nothing else is left."""
    found = list(dict.fromkeys(words(text)))
    return [word for word in found if word not in FUNCTION_WORDS and (len(word) > 1 or word.isdigit())] or found


def has(word: str, vocabulary: Iterable[str]) -> bool:
    """Whether the word or an inflection of it is among the case-folded words of a text."""
    if len(word) <= _SHORT or any(character.isdigit() for character in word):
        return any(word == other or other == word + "s" for other in vocabulary)
    root = word[: max(_SHORT, round(0.7 * len(word)))]
    if len(root) > 5:  # long enough to be looked for inside compounds
        return any(root in other for other in vocabulary)
    return any(other.startswith(root) and len(other) <= len(word) + 4 for other in vocabulary)


def rarities(terms: Sequence[str], texts: Sequence[frozenset[str]]) -> dict[str, float]:
    """The inverse frequency of each term among the texts, at least a little for one that all have."""
    count = len(texts)
    return {term: log(1 + (count + 1) / (1 + sum(has(term, text) for text in texts))) for term in terms}


def coverage(weights: dict[str, float], vocabulary: frozenset[str]) -> float:
    """The weighted share of the terms that a text has, 0 to 1."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if has(term, vocabulary)) / total if total else 0.0
