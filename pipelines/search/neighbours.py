"""What stands around passages in their documents: the passages before and after, and the section under the same heading.

One statement for all hits (`include/sql/queries/neighbours.sql`), which asks again who may see them. A document keeps no
text of its own, so a stretch of it is put together from passages by their offsets: what two of them share is there once, and
the white space between two is made up, in its length, so that offsets into a stretch are offsets into the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import sql

from pipelines.search import access
from pipelines.search.query import Filters, Hit
from pipelines.store.database import Pool, connection
from pipelines.store.sql import load

SECTION = 40  # passages to each side that a section is looked for in


class Passage(NamedTuple):
    """One passage of a document: its text is the slice [char_start, char_end) of the document's cleaned text."""

    doc_id: bytes
    ordinal: int
    heading_path: tuple[str, ...]
    char_start: int
    char_end: int
    text: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text without a hole under one heading: `text` is the document's [char_start, char_end), but for its white space.

    `starts` and `ends` say whether the heading's text begins and ends here, or goes on in passages that were not fetched.
    """

    doc_id: bytes
    heading_path: tuple[str, ...]
    char_start: int
    char_end: int
    text: str
    starts: bool
    ends: bool

    def cut(self, start: int, end: int) -> str:
        """The text at [start, end) of the document."""
        return self.text[start - self.char_start : end - self.char_start]


def around(pool: Pool, hits: Sequence[Hit], *, tenant: str, filters: Filters, width: int = 1) -> list[Stretch]:
    """The stretches that hold the hits, `width` passages to each side as far as their headings go, in no document twice.

    A hit whose document has changed since it was found stands alone. Raises Retry when the database fails.
    """
    values = {
        "tenant": tenant,
        "doc_ids": [hit.doc_id for hit in hits],
        "ordinals": [hit.ordinal for hit in hits],
        "starts": [hit.char_start for hit in hits],
        "ends": [hit.char_end for hit in hits],
        "versions": [hit.source_version for hit in hits],
        # One more shows whether the heading's text goes on.
        "width": width + 1,
        **access.arguments(filters),
    }
    statement = sql.SQL(load("neighbours")["around"]).format(visible=access.visible())
    with connection(pool) as conn:
        rows = conn.execute(statement, values).fetchall()
    return stretches(hits, map(to_passage, rows), width)


def stretches(hits: Sequence[Hit], passages: Iterable[Passage], width: int) -> list[Stretch]:
    """The passages within `width` of a hit and under its heading, joined where they follow each other. Pure."""
    known = {(passage.doc_id, passage.ordinal): passage for passage in passages}
    changed = {key for hit in hits if (key := (hit.doc_id, hit.ordinal)) not in known}
    known |= {(hit.doc_id, hit.ordinal): _alone(hit) for hit in hits if (hit.doc_id, hit.ordinal) in changed}
    wanted = {key for hit in hits for key in _near(hit, known, width)}
    runs: list[list[Passage]] = []
    for key in sorted(wanted):
        passage = known[key]
        if runs and _follows(runs[-1][-1], passage):
            runs[-1].append(passage)
        else:
            runs.append([passage])
    return [_joined(run, known, known.keys() - changed) for run in runs]


def _near(hit: Hit, known: dict[tuple[bytes, int], Passage], width: int) -> Iterable[tuple[bytes, int]]:
    """The hit's own key and those of its neighbours, outwards until another heading begins."""
    yield hit.doc_id, hit.ordinal
    for step in (-1, 1):
        for distance in range(1, width + 1):
            key = (hit.doc_id, hit.ordinal + step * distance)
            if key not in known or known[key].heading_path != hit.heading_path:
                break
            yield key


def _follows(before: Passage, after: Passage) -> bool:
    return (before.doc_id, before.ordinal + 1, before.heading_path) == (after.doc_id, after.ordinal, after.heading_path)


def _joined(run: Sequence[Passage], known: dict[tuple[bytes, int], Passage], fetched: Set[tuple[bytes, int]]) -> Stretch:
    first, last = run[0], run[-1]
    text, end = "", first.char_start
    for passage in run:
        gap = passage.char_start - end
        text += " " if gap == 1 else "\n" * max(0, gap)
        text += passage.text[max(0, -gap) :]
        end = max(end, passage.char_end)
    edges = []
    for inner, step in ((first, -1), (last, 1)):
        # One passage more than can be used was asked for, so where none came, the document is over.
        beyond = known.get((inner.doc_id, inner.ordinal + step))
        over = beyond is None or beyond.heading_path != inner.heading_path
        edges.append(over and (inner.doc_id, inner.ordinal) in fetched)
    return Stretch(first.doc_id, first.heading_path, first.char_start, end, text, starts=edges[0], ends=edges[1])


def _alone(hit: Hit) -> Passage:
    return Passage(hit.doc_id, hit.ordinal, hit.heading_path, hit.char_start, hit.char_end, hit.passage)


def to_passage(row: Sequence[Any]) -> Passage:
    """A row of a statement `around`."""
    doc_id, ordinal, heading_path, char_start, char_end, text = row
    return Passage(bytes(doc_id), ordinal, tuple(heading_path), char_start, char_end, text)
