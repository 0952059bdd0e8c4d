"""What a benchmark set is: questions, which documents answer each, and where both came from. Pure.

A set has slices. *Frozen* never changes and is what forgetting shows on; *rolling* is drawn anew from the present corpus;
*challenge* holds what went wrong. A slice's content is a version that is never altered: to refresh is to add the next
one, and every score names the version that it was measured on.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.records import Question, sha256

MAX_QUESTION = 4000  # characters; what search takes


def address(uri: str, member: str = "") -> str:
    """How judgments name a document: its uri, and for an attachment its path inside."""
    return f"{uri}#{member}" if member else uri


def content_sha(questions: Sequence[Question]) -> bytes:
    """Identity of a slice's content, whatever the order of its questions."""
    rows = sorted(
        (q.id, q.text, q.cluster, *(f"{document}\t{relevance}" for document, relevance in sorted(q.relevant)))
        for q in questions
    )
    return sha256(*(sha256(*row) for row in rows))
