"""Text signals: one number a text, compared between windows unit by unit. Pure; numpy.

They see what vectors hide: a parser that cuts texts short, a tokenizer that knows none of a new script, a page that is
loaded again and again. Measure the texts of both windows in one call: a repetition counts wherever the other text is, which
must not depend on the window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.drift.engine import Outcome, tested
from pipelines.drift.pool import Floats, Pool, Rows, pooled, unfit_values

LENGTH = "length"
TOKENS = "tokens_per_character"
UNKNOWN = "unknown_share"
REPEATED = "near_duplicate_share"
LANGUAGE = "language"
SIGNALS = (LENGTH, TOKENS, UNKNOWN, REPEATED, LANGUAGE)
SHINGLE = 8  # words; fewer are alike by chance
BINS = 10
CODE = 27  # letters of a language code as digits


def measure(
    texts: Sequence[str], langs: Sequence[str], tokens: Sequence[int] | None, unknown: Sequence[int] | None
) -> dict[str, npt.NDArray[np.float64]]:
    """One array of len(texts) a signal: characters; tokens a character; share of tokens that the tokenizer does not know;
    share of a text's runs of SHINGLE words that another text has too; the language code as a number.

    A signal whose input is None is left out. Raises ValueError for inputs of different lengths.
    """
    given = {"langs": langs, "tokens": tokens, "unknown": unknown}
    for name, values in given.items():
        if values is not None and len(values) != len(texts):
            raise ValueError(f"{name} has {len(values)} entries for {len(texts)} texts; give one for each")
    length = np.array([len(text) for text in texts], dtype=np.float64)
    found = {LENGTH: length, REPEATED: _repeated(texts), LANGUAGE: np.array([_code(lang) for lang in langs])}
    if tokens is not None:
        count = np.asarray(tokens, dtype=np.float64)
        found[TOKENS] = count / np.maximum(length, 1)
        if unknown is not None:
            found[UNKNOWN] = np.asarray(unknown, dtype=np.float64) / np.maximum(count, 1)
    return {name: found[name] for name in SIGNALS if name in found}


def compare_signal(
    reference: tuple[npt.NDArray[np.float64], Sequence[str]],
    current: tuple[npt.NDArray[np.float64], Sequence[str]],
    *,
    permutations: int = 1999,
    seed: int = 1,
) -> Outcome:
    """As `engine.compare`, for (n,) values: their means, and their shares in the bins of the pooled values."""
    sides = [(np.asarray(values, dtype=np.float64), units) for values, units in (reference, current)]
    for name, (values, units) in zip(("reference", "current"), sides, strict=True):
        if reason := unfit_values(name, values, units):
            return Outcome(None, units=(len(set(sides[0][1])), len(set(sides[1][1]))), reason=reason)
    pool = pooled([(values[:, None], units) for values, units in sides], seed)
    return tested(pool, _kernels(pool), permutations, seed)


def _kernels(pool: Pool) -> dict[str, Floats]:
    """The mean of the ranks, which one wild value cannot carry, and the chi-square of the bins."""
    values = pool.vectors[:, 0]
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = pool.averaged((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    bins = _binned(values, inverse, len(counts))
    shares = pool.averaged(np.eye(int(bins.max()) + 1)[bins])
    total = shares.mean(axis=0)
    scaled = shares[:, total > 0] / np.sqrt(total[total > 0])
    centred = rank - rank.mean()
    return {"mean": np.outer(centred, centred), "bins": scaled @ scaled.T}


def _binned(values: Rows, inverse: npt.NDArray[np.intp], different: int) -> npt.NDArray[np.intp]:
    """Few different values are bins of their own, as languages are; many are cut at their quantiles."""
    if different <= BINS:
        return inverse
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _repeated(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    sets = [_shingles(text) for text in texts]
    seen = Counter(shingle for one in sets for shingle in one)
    return np.array([sum(seen[shingle] > 1 for shingle in one) / len(one) if one else 0.0 for one in sets])


def _shingles(text: str) -> set[int]:
    """Hashes of runs of words; a text shorter than a run is one."""
    words = text.lower().split()
    return {hash(tuple(words[start : start + SHINGLE])) for start in range(max(len(words) - SHINGLE + 1, bool(words)))}


def _code(lang: str) -> float:
    """A number of a language code, the same everywhere: its letters as digits."""
    number = 0
    for letter in lang.lower()[:5]:
        number = number * CODE + (ord(letter) - 96 if "a" <= letter <= "z" else 0)
    return float(number)
