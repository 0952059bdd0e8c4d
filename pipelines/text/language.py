"""The language of a text, as ISO 639-1, or "" when it is not sure enough to choose a stemmer by."""

from __future__ import annotations

import itertools

MIN_LETTERS = 40
MIN_PROBABILITY = 0.85
_SAMPLE = 2000  # characters from the beginning, and as many from the middle


def language(text: str) -> str:
    """Deterministic; needs at least 40 letters."""
    sample = text[:_SAMPLE]
    if len(text) > 2 * _SAMPLE:
        middle = len(text) // 2
        sample += "\n" + text[middle : middle + _SAMPLE]
    letters = itertools.islice(filter(str.isalpha, sample), MIN_LETTERS)
    if sum(1 for _ in letters) < MIN_LETTERS:
        return ""
    return _detect(sample)


def load() -> None:
    """Load the detector's profiles, if they are not: 0.25 s and 60 MB."""
    from langdetect.detector_factory import init_factory  # noqa: PLC0415 -- heavy

    init_factory()


def _detect(sample: str) -> str:
    from langdetect import DetectorFactory, LangDetectException, detect_langs  # noqa: PLC0415 -- 0.25 s for its profiles

    DetectorFactory.seed = 0
    try:
        best = detect_langs(sample)[0]
    except (LangDetectException, IndexError):
        return ""
    return str(best.lang).partition("-")[0] if best.prob >= MIN_PROBABILITY else ""
