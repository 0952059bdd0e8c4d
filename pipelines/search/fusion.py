"""One order from two: what vectors find near and what words find relevant, weighed together.

Every candidate has both scores, whichever leg found it. They are put on one scale by what each is worth at most: a cosine by
itself, relevance as its share of the question's information, which a text of mean length with every word of the question
once has. Measured, nDCG@10 of documents, fusion alone:

    weight of the words               0.1    0.2    0.3    0.4    0.5    0.6    0.8    1      reciprocal ranks
    PEPs, half of their titles        0.855  0.863  0.867  0.864  0.863  0.863  0.854  0.849  0.831
    sample, 35 questions              0.862  0.870  0.856  0.842  0.841  0.812  0.808  0.806  0.778
    Cranfield, whole abstracts        0.537  0.553  0.561  0.562  0.561  0.560  0.557  0.554  0.553

The weight is that of the PEPs, which are the most questions; Cranfield had no say.

Pure; where the scores come from is in `hybrid.py` and `fulltext.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT_WEIGHT = 0.3
MOST = 1 + TEXT_WEIGHT  # what a passage scores that is near and has all the words


def fuse(similarity: Mapping[bytes, float], relevance: Mapping[bytes, float], information: float) -> dict[bytes, float]:
    """Score of every candidate, best first, equal ones by hash.

    `similarity` is the cosine to the question, `relevance` BM25; who lacks one has 0 in it.
    """
    scores = {
        sha: similarity.get(sha, 0.0) + share(relevance.get(sha, 0.0), information)
        for sha in similarity.keys() | relevance.keys()
    }
    return dict(sorted(scores.items(), key=lambda entry: (-entry[1], entry[0])))


def share(relevance: float, information: float) -> float:
    """What relevance adds to a score."""
    return TEXT_WEIGHT / information * relevance if information > 0 else 0.0
