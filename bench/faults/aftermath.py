"""What a corpus holds, taken apart by document, and how it differs from what it should hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.faults.lab import Lab

Rows = Counter[tuple[Any, ...]]

SERVED = """
SELECT d.uri, d.member, c.ordinal, encode(c.text_sha, 'hex'), c.char_start, c.char_end, d.loaded_version, d.chunk_count
FROM chunk c JOIN document d USING (tenant, doc_id)
"""
LEDGER = """
SELECT uri, member, state, coalesce(reason, ''), source_version, coalesce(loaded_version, ''), chunk_count FROM document
"""
PAST = """
SELECT d.uri, d.member, c.ordinal, encode(c.text_sha, 'hex'), count(*)
FROM chunk_past c JOIN document d USING (tenant, doc_id)
GROUP BY 1, 2, 3, 4
"""
HOLDS = "SELECT source, uri, count(*) FROM held_deletion WHERE decision IS NULL GROUP BY 1, 2"
ENTRIES = "SELECT uri, member, source_version, count(*), max(attempt) FROM quarantine GROUP BY 1, 2, 3"
ORPHANS = """
SELECT (SELECT count(*) FROM chunk c LEFT JOIN document d USING (tenant, doc_id)
        WHERE d.loaded_version IS NULL OR d.chunk_set IS DISTINCT FROM c.chunk_set)
     + (SELECT count(*) FROM chunk c WHERE NOT EXISTS (SELECT FROM text t WHERE t.text_sha = c.text_sha)
        OR NOT EXISTS (SELECT FROM space_1 v WHERE v.text_sha = c.text_sha))
     + (SELECT count(*) FROM space_1 v WHERE NOT EXISTS (SELECT FROM text t WHERE t.text_sha = v.text_sha))
     + (SELECT count(*) FROM document m LEFT JOIN document o ON o.tenant = m.tenant AND o.doc_id = m.parent_doc_id
        WHERE m.member <> '' AND m.state <> 'deleted' AND o.state IS DISTINCT FROM 'loaded' AND m.loaded_version IS NOT NULL)
"""
UNUSED_TEXTS = "SELECT count(*) FROM text t WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.text_sha = t.text_sha)"

RUNNING = "SELECT count(*) FROM run WHERE state = 'running'"


@dataclass(frozen=True)
class Snapshot:
    """All rows that a reader or the next run sees; quarantine entries as {(uri, member, version): (entries, attempts)}."""

    served: Rows
    ledger: Rows
    past: Rows
    holds: Rows
    entries: dict[tuple[str, str, str], tuple[int, int]]
    orphans: int
    unused_texts: int
    running: int

    def document(self, name: tuple[str, str]) -> Rows:
        """The served rows of (uri, member)."""
        return Counter({row: count for row, count in self.served.items() if row[:2] == name})

    def names(self) -> set[tuple[str, str]]:
        """(uri, member) of all that is known."""
        return {row[:2] for row in self.ledger} | {row[:2] for row in self.served}


def take(lab: Lab) -> Snapshot:
    """The corpus as it is now."""
    with psycopg.connect(lab.dsn, options="-c search_path=millrace,public") as conn:

        def rows(statement: str) -> list[tuple[Any, ...]]:
            return conn.execute(statement.encode()).fetchall()

        return Snapshot(
            served=Counter(rows(SERVED)),
            ledger=Counter(rows(LEDGER)),
            past=Counter(rows(PAST)),
            holds=Counter(rows(HOLDS)),
            entries={row[:3]: (row[3], row[4]) for row in rows(ENTRIES)},
            orphans=rows(ORPHANS)[0][0],
            unused_texts=rows(UNUSED_TEXTS)[0][0],
            running=rows(RUNNING)[0][0],
        )


def mixed(found: Snapshot, *wholes: Snapshot) -> list[tuple[str, str]]:
    """The documents whose served rows are not exactly those of one of these states."""
    return [name for name in sorted(found.names()) if all(found.document(name) != whole.document(name) for whole in wholes)]


def differences(found: Snapshot, wanted: Snapshot) -> dict[str, int]:
    """Rows lost, too many (served or in the history), orphaned; documents mixed or otherwise decided; holds that differ."""
    return {
        "lost_rows": (wanted.served - found.served).total() + (wanted.past - found.past).total(),
        "duplicate_rows": (found.served - wanted.served).total() + (found.past - wanted.past).total(),
        "orphan_rows": found.orphans,
        "mixed_documents": len(mixed(found, wanted)),
        "ledger_differences": (wanted.ledger - found.ledger).total() + (found.ledger - wanted.ledger).total(),
        "hold_differences": (wanted.holds - found.holds).total() + (found.holds - wanted.holds).total(),
    }


def inflated(found: Snapshot, before: Snapshot, tries: Counter[str]) -> int:
    """How many documents have more quarantine entries or attempts at a version than tries were made."""
    count = 0
    for (uri, member, version), (entries, attempts) in found.entries.items():
        past_entries, past_attempts = before.entries.get((uri, member, version), (0, 0))
        count += entries - past_entries > tries[uri] or attempts - past_attempts > tries[uri]
    return count
