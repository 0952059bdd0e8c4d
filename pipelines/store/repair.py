"""What must be undone before a sync can repair what the audit found. docs/data-model.md says, per finding, who repairs it.

Loading a document again replaces its row and its chunks, but not a vector or a text that is stored already: wrong ones are
removed here, and what can be set right without the source is set right at once. A document keeps what readers can still be
served correctly; only what is damaged leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from pipelines.records import PUBLIC_TENANT
from pipelines.store import audit, ledger
from pipelines.store.audit import Finding, StoredSpace
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import create_table
from pipelines.store.sql import load

Connection = psycopg.Connection[Any]

# finding -> statements that set it right in place
IN_PLACE: Mapping[str, Sequence[str]] = {
    "orphan_chunks": ("retire_unserved",),
    "unserved_chunks": ("retire_unserved",),
    "standby_chunks": ("drop_standby",),
    "orphan_attachment": ("restore_objects",),
    "quarantine_without_entry": ("enter_quarantine",),
    "entry_without_quarantine": ("leave_quarantine",),
    "attempts": ("forget_attempts",),
    "run_missing": ("adopt_documents",),
    "wrong_run": ("adopt_documents",),
    "accounting": ("fail_runs",),
    "terms_without_text": ("drop_terms",),
    "term_statistics": ("stop_folds", "count_terms"),
}
VECTORS = frozenset(
    {"bad_vector", "altered_vector", "vector_without_text", "bad_cached_vector", "missing_vectors", "space_without_table"}
)
# Damage to what a document serves, which only loading it again can undo.
SERVED = frozenset(
    {"orphan_chunks", "chunk_count", "chunk_digest", "no_chunks", "mixed_chunk_sets", "missing_vectors", "altered_text"}
)


@dataclass(frozen=True, slots=True)
class Repaired:
    """`broken`: addresses of the documents that the sync has to load again; `changed`: rows changed, by kind of change."""

    broken: frozenset[str] = frozenset()
    changed: Mapping[str, int] = field(default_factory=dict)


def prepare_repair(
    pool: Pool, findings: Sequence[Finding], *, source: str, run_id: int, tenant: str = PUBLIC_TENANT
) -> Repaired:
    """Undo and mend what `findings` of this source allow; repeating it changes nothing, without findings it does nothing.

    Call it in run `run_id`, before its listing is compared with the ledger: it changes what is known of documents.
    """
    if not findings:
        return Repaired()
    checks = {finding.check for finding in findings}
    values = {"tenant": tenant, "source": source, "run_id": run_id}
    with connection(pool) as conn:
        suspects = _containers(conn, findings, values)
        changed = _in_place(conn, checks, values)
        if checks & VECTORS:
            changed |= _vectors(conn, tenant)
    changed["doubted"] = doubt(pool, suspects, tenant=tenant)
    left = audit.audit(pool, source, tenant=tenant)
    withdrawn = _withdraw(pool, left, values)
    changed["withdrawn"] = len(withdrawn)
    # What was withdrawn serves nothing any more, so loading it again would only use up its attempts.
    over = {finding for finding in left if finding.doc_id in withdrawn and finding.check in SERVED}
    broken = frozenset(finding.uri for finding in left if finding.uri and finding not in over)
    return Repaired(broken, {name: rows for name, rows in changed.items() if rows})


def doubt(pool: Pool, documents: Mapping[bytes, int], *, tenant: str = PUBLIC_TENANT) -> int:
    """Make the next sync read loaded objects again although their version is the same: {doc_id: fence of the row seen}.

    A row that was written since is left alone. Readers are served as before. Returns how many are marked.
    """
    if not documents:
        return 0
    values = {
        "tenant": tenant,
        "fence": ledger.next_fence(pool),
        "doc_ids": list(documents),
        "fences": list(documents.values()),
    }
    with connection(pool) as conn:
        return conn.execute(load("repair")["doubt"], values).rowcount


def _in_place(conn: Connection, checks: set[str], values: Mapping[str, Any]) -> dict[str, int]:
    queries = load("repair")
    names = dict.fromkeys(name for check, statements in IN_PLACE.items() if check in checks for name in statements)
    changed = {name: conn.execute(queries[name], values).rowcount for name in names}
    if "altered_text" in checks:
        altered = sql.SQL(load("audit")["altered_texts"])
        statement = sql.SQL(queries["drop_unused_altered_texts"]).format(altered=altered)
        changed["drop_unused_altered_texts"] = conn.execute(statement, values).rowcount
    if "wrong_terms" in checks:
        wrong = sql.SQL(load("audit")["wrong_terms"])
        changed["analyse_again"] = conn.execute(sql.SQL(queries["analyse_again"]).format(wrong=wrong), values).rowcount
    return changed


def _containers(conn: Connection, findings: Iterable[Finding], values: Mapping[str, Any]) -> dict[bytes, int]:
    """{doc_id: fence} of the objects that chunks of an unknown document may come from."""
    if not any(finding.check == "orphan_chunks" and not finding.uri for finding in findings):
        return {}
    return dict(conn.execute(load("repair")["containers"], values).fetchall())


def _vectors(conn: Connection, tenant: str) -> dict[str, int]:
    """Remove vectors that are no embedding of their text; bring back those that the cache still has."""
    queries, values = load("repair"), {"tenant": tenant}
    spaces = audit.stored_spaces(conn, tenant)
    wrong: dict[str, set[bytes]] = {}
    changed = {"tables": 0, "vectors": 0, "restored": 0}
    for space in spaces:
        if not space.stored:
            create_table(conn, space)
            changed["tables"] += 1
        shas = [sha for sha, _ in conn.execute(audit.wrong_vectors(space), values)]
        changed["vectors"] += conn.execute(space.fill(queries["drop_vectors"]), {**values, "shas": shas}).rowcount
        wrong.setdefault(space.embedder_fingerprint, set()).update(shas)
    changed["cached"] = _drop_cached(conn, spaces, wrong, tenant)
    for space in spaces:
        changed["restored"] += conn.execute(space.fill(queries["restore_vectors"]), values).rowcount
    return changed


def _drop_cached(conn: Connection, spaces: Sequence[StoredSpace], wrong: Mapping[str, set[bytes]], tenant: str) -> int:
    """Remove the cached vectors of wrong ones, unless another space of the same embedder serves the very same."""
    queries = load("repair")
    dropped = conn.execute(queries["drop_bad_cached"], {"tenant": tenant}).rowcount
    for fingerprint, shas in wrong.items():
        suspects = set(shas)
        for space in spaces:
            if suspects and space.embedder_fingerprint == fingerprint:
                values = {"tenant": tenant, "shas": list(suspects)}
                suspects -= {sha for (sha,) in conn.execute(space.fill(queries["confirmed_vectors"]), values)}
        values = {"tenant": tenant, "fingerprint": fingerprint, "shas": list(suspects)}
        dropped += conn.execute(queries["drop_cached"], values).rowcount
    return dropped


def _withdraw(pool: Pool, left: Sequence[Finding], values: Mapping[str, Any]) -> set[str]:
    """Stop serving what is damaged and cannot be rebuilt; returns the doc_ids, in hex."""
    doc_ids = [bytes.fromhex(finding.doc_id) for finding in left if finding.doc_id and finding.check in SERVED]
    if not doc_ids:
        return set()
    queries = load("repair")
    with connection(pool) as conn:
        rows = conn.execute(queries["withdraw_served"], {**values, "doc_ids": doc_ids}).fetchall()
        for name in ("withdraw", "withdraw_standby"):
            conn.execute(queries[name], {**values, "doc_ids": [doc_id for doc_id, _ in rows]})
        conn.execute(queries["retire_unserved"], values)
    return {doc_id.hex() for doc_id, _ in rows}
