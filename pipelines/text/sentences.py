"""Sentence spans by rules, good for English and German, linear in the text.

A newline always ends a sentence: parsers join hard-wrapped lines, so one that is left ends an item, row or paragraph.
"""

from __future__ import annotations

import re

_CANDIDATE = re.compile(r"\n+|(?P<mark>[.!?…]++|[。！？]++)(?P<close>[\"'”’»«“‘)\]]*+)")
_WORD_BEFORE = 24  # characters looked back for an abbreviation


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MONTHS = _words("januar jänner februar märz april mai juni juli august september oktober november dezember")
# Never end a sentence
_ABBREVIATIONS = _words(
    """dr prof mr mrs ms st hr fr frl nr no art abs bzw ca vgl evtl ggf inkl exkl bspw sog gem lt max min mind zzgl abzgl
    vs fig figs eq sec ch vol ed eds pp tel str dipl ing mag rer nat phil jan feb mär apr jun jul aug sep sept okt oct
    nov dez dec kap ziff bd rd ff approx dept est gen gov sen rep rev hon capt col sgt univ msg ref cf al bzgl einschl
    z.b d.h u.a i.d.r o.ä u.u v.a z.t s.o s.u e.g i.e b.a m.a ph.d"""
)
# Often end one: they do when the next word begins in upper case
_MAYBE = _words("etc usw inc ltd co corp jr sr gmbh u.s u.k a.m p.m usf")
_ORDINAL_DIGITS = 2


def spans(text: str, lang: str = "") -> list[tuple[int, int]]:
    """(start, end) code point spans in order, without outer whitespace; together they hold every non-space character."""
    found: list[tuple[int, int]] = []
    start = 0
    for candidate in _CANDIDATE.finditer(text):
        if candidate.group("mark") is None or _ends(text, start, candidate, lang):
            _append(found, text, start, candidate.end())
            start = candidate.end()
    _append(found, text, start, len(text))
    return found


def _append(found: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        found.append((start, end))


def _ends(text: str, start: int, candidate: re.Match[str], lang: str) -> bool:
    mark, after = candidate.group("mark"), candidate.end()
    if mark[0] in "。！？" or after >= len(text):
        return True
    if not text[after].isspace():
        return False
    if candidate.start() > start and text[candidate.start() - 1].isspace():
        return True  # a mark set apart, as tokenised corpora have it, belongs to no word; case says nothing there
    following = text[after + 1 : after + 1 + _WORD_BEFORE].lstrip(" \t\"'“„‚‘»«([")
    if following[:1].islower():
        return False
    if mark != "." or candidate.group("close"):
        return True
    return not _abbreviated(text, start, candidate.start(), following, lang)


def _abbreviated(text: str, start: int, dot: int, following: str, lang: str) -> bool:
    """Whether the dot belongs to the word before it and the sentence goes on."""
    begin = max(start, dot - _WORD_BEFORE)
    before = text[begin:dot].split()
    if not before or text[dot - 1].isspace():
        return False
    word = before[-1].lstrip("([\"'“„‚‘»«").lower()
    if word.isdigit():
        alone = len(before) == 1 and begin == start  # "1. Open the door"
        return alone or _ordinal(word, following, lang)
    if word in _MAYBE:
        return False
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or _initials(word)


def _ordinal(word: str, following: str, lang: str) -> bool:
    """`3. Oktober` in any text; `im 2. Quartal` in German."""
    if len(word) > _ORDINAL_DIGITS:
        return False
    return lang == "de" or following.split(maxsplit=1)[:1] != [] and _month(following)


def _month(following: str) -> bool:
    return following.split(maxsplit=1)[0].strip(".,;:").lower() in _MONTHS


def _initials(word: str) -> bool:
    parts = word.split(".")
    return len(parts) > 1 and all(len(part) <= 1 for part in parts)
