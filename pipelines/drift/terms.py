"""Which words the current texts use more than the reference's: log-odds with a Dirichlet prior. Pure.

Monroe, Colaresi and Quinn, "Fightin' Words" (Political Analysis, 2008): the prior is the pooled counts, so that rare words
need more evidence; z is the log-odds over its standard deviation. A text counts a word once, so one long list of a word
does not make it typical.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"[^\W\d_][\w'-]{2,39}")
PRIOR = 500.0  # imagined mentions, spread as the pool's are
LEAST = 3  # current texts with the word


def distinctive(reference: Iterable[str], current: Iterable[str], n: int) -> tuple[tuple[str, float], ...]:
    """The `n` words with the largest z, above zero, largest first; words of three letters or more, in lower case."""
    before, now = _counts(reference), _counts(current)
    pool = before + now
    if len(pool) < 2:  # one word is all there is to say: no odds
        return ()
    size, was, total = sum(now.values()), sum(before.values()), sum(pool.values())
    found = []
    for word, count in now.items():
        if count >= LEAST:
            prior = PRIOR * pool[word] / total
            z = _z(count, size, before[word], was, prior)
            if z > 0:
                found.append((word, z))
    return tuple(sorted(found, key=lambda entry: (-entry[1], entry[0]))[:n])


def _z(count: int, size: int, before: int, was: int, prior: float) -> float:
    here, there = count + prior, before + prior
    odds = math.log(here / (size + PRIOR - here)) - math.log(there / (was + PRIOR - there))
    return odds / math.sqrt(1 / here + 1 / there)


def _counts(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(WORD.findall(text.lower())))
    return counts
