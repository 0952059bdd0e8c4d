"""Damage done behind the ledger: every kind that the audit names, planted by SQL with foreign keys and triggers off.

A lie about one document names it by `{doc}` and its texts by `{texts}`, another one by `{other}`; the others concern the
whole corpus. `{space}` is the table of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from bench.faults.lab import Lab

ATTACHED = "attached"  # the document is an object with an attachment
ATTACHMENT = "attachment"
LOADED = "loaded"
QUARANTINED = "quarantined"
CORPUS = "corpus"

COPY = (
    "INSERT INTO chunk (chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens) "
    "SELECT {what}, ordinal, text_sha, heading_path, char_start, char_end, tokens FROM chunk WHERE doc_id = {{{whose}}}"
)


@dataclass(frozen=True, slots=True)
class Lie:
    """One kind of damage; the audit must report `check`."""

    name: str
    check: str
    victim: str
    statements: Sequence[str]
    names_document: bool = True  # whether the damage leaves enough to say which document it was


LIES = (
    # ledger rows
    Lie("document row deleted", "orphan_chunks", LOADED, ["DELETE FROM document WHERE doc_id = {doc}"]),
    Lie("attachment row deleted", "orphan_chunks", ATTACHMENT, ["DELETE FROM document WHERE doc_id = {doc}"]),
    Lie(
        "object row of an attachment deleted",
        "orphan_attachment",
        ATTACHED,
        ["DELETE FROM document WHERE doc_id = {doc}", "DELETE FROM chunk WHERE doc_id = {doc}"],
    ),
    Lie(
        "object deleted, attachment kept",
        "orphan_attachment",
        ATTACHED,
        [
            "UPDATE document SET state = 'deleted', loaded_version = NULL, chunk_count = 0 WHERE doc_id = {doc}",
            "DELETE FROM chunk WHERE doc_id = {doc}",
        ],
    ),
    Lie(
        "document and chunks deleted",
        "documents_missing",
        LOADED,
        ["DELETE FROM chunk WHERE doc_id = {doc}", "DELETE FROM document WHERE doc_id = {doc}"],
        names_document=False,
    ),
    Lie("address changed", "wrong_identity", LOADED, ["UPDATE document SET uri = uri || '.old' WHERE doc_id = {doc}"]),
    Lie("collection changed", "mixed_chunk_sets", LOADED, ["UPDATE document SET collection = 'x' WHERE doc_id = {doc}"]),
    Lie("count changed", "chunk_count", LOADED, ["UPDATE document SET chunk_count = chunk_count + 4 WHERE doc_id = {doc}"]),
    Lie("digest changed", "chunk_digest", LOADED, ["UPDATE document SET chunk_digest = sha256('x') WHERE doc_id = {doc}"]),
    Lie("attempts counted", "attempts", LOADED, ["UPDATE document SET attempts = 9 WHERE doc_id = {doc}"]),
    Lie("run unknown", "run_missing", LOADED, ["UPDATE document SET run_id = 999999 WHERE doc_id = {doc}"]),
    Lie(
        "run of another source",
        "wrong_run",
        LOADED,
        [
            "INSERT INTO run (source, collection, door, scope, fence, state)"
            " VALUES ('other', 'knowledge', 'cli', 'x', 0, 'failed')",
            "UPDATE document SET run_id = (SELECT max(id) FROM run) WHERE doc_id = {doc}",
        ],
    ),
    # chunks
    Lie("chunk deleted", "chunk_count", LOADED, ["DELETE FROM chunk WHERE doc_id = {doc} AND ordinal = 1"]),
    Lie("all chunks of a document deleted", "no_chunks", LOADED, ["DELETE FROM chunk WHERE doc_id = {doc}"]),
    Lie(
        "ordinals changed",
        "chunk_count",
        LOADED,
        ["UPDATE chunk SET ordinal = ordinal + 7 WHERE doc_id = {doc} AND ordinal > 0"],
    ),
    Lie("place changed", "chunk_digest", LOADED, ["UPDATE chunk SET char_end = char_end + 1 WHERE doc_id = {doc}"]),
    Lie(
        "text exchanged",
        "chunk_digest",
        LOADED,
        ["UPDATE chunk SET text_sha = (SELECT text_sha FROM chunk WHERE doc_id = {other} LIMIT 1) WHERE doc_id = {doc}"],
    ),
    Lie(
        "moved to another chunk set",
        "mixed_chunk_sets",
        LOADED,
        [
            "INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens) VALUES ('x', '{{}}', 't', 9)",
            "UPDATE chunk SET chunk_set = (SELECT max(id) FROM chunk_set) WHERE doc_id = {doc}",
            "UPDATE document SET chunk_set = (SELECT max(id) FROM chunk_set) WHERE doc_id = {doc}",
        ],
    ),
    Lie(
        "chunks in two chunk sets",
        "unserved_chunks",
        LOADED,
        [
            "INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens) VALUES ('y', '{{}}', 't', 9)",
            COPY.format(what="(SELECT max(id) FROM chunk_set), doc_id", whose="doc"),
        ],
    ),
    Lie(
        "deletion claimed, chunks kept",
        "unserved_chunks",
        LOADED,
        ["UPDATE document SET state = 'deleted', loaded_version = NULL, chunk_count = 0 WHERE doc_id = {doc}"],
    ),
    Lie("quarantined but served", "unserved_chunks", QUARANTINED, [COPY.format(what="chunk_set, {doc}", whose="other")]),
    Lie("chunk table truncated", "no_chunks", CORPUS, ["TRUNCATE chunk"]),
    # texts
    Lie("text deleted", "orphan_chunks", LOADED, ["DELETE FROM {space} WHERE {texts}", "DELETE FROM text WHERE {texts}"]),
    Lie("text altered", "altered_text", LOADED, ["UPDATE text SET body = body || ' and a lie' WHERE {texts}"]),
    Lie(
        "unused text altered",
        "altered_text",
        CORPUS,
        ["INSERT INTO text (text_sha, body) VALUES (sha256('x'), 'not x')"],
        names_document=False,
    ),
    # vectors
    Lie("terms deleted", "wrong_terms", LOADED, ["DELETE FROM lexical WHERE {texts}"]),
    Lie("terms altered", "wrong_terms", LOADED, ["UPDATE lexical SET tsv = 'lie'::tsvector WHERE {texts}"]),
    Lie(
        "terms of no text",
        "terms_without_text",
        CORPUS,
        ["INSERT INTO lexical (text_sha, tsv, mark, words) VALUES (sha256('x'), 'lie'::tsvector, 0, 1)"],
        names_document=False,
    ),
    Lie("term counts altered", "term_statistics", CORPUS, ["UPDATE term SET texts = texts + 1"], names_document=False),
    Lie("vector deleted", "missing_vectors", LOADED, ["DELETE FROM {space} WHERE {texts}"]),
    Lie(
        "vector deleted, not cached",
        "missing_vectors",
        LOADED,
        ["DELETE FROM {space} WHERE {texts}", "DELETE FROM embedding_cache WHERE {texts}"],
    ),
    Lie("vectors truncated", "missing_vectors", CORPUS, ["TRUNCATE {space}"]),
    Lie("vectors and cache truncated", "missing_vectors", CORPUS, ["TRUNCATE {space}", "TRUNCATE embedding_cache"]),
    Lie("table of vectors dropped", "space_without_table", CORPUS, ["DROP TABLE {space}"], names_document=False),
    Lie(
        "vector doubled",
        "bad_vector",
        LOADED,
        ["UPDATE {space} SET embedding = embedding + embedding WHERE {texts}"],
    ),
    Lie(
        "vector zeroed",
        "bad_vector",
        LOADED,
        [
            "ALTER TABLE {space} DROP CONSTRAINT IF EXISTS {space}_embedding_check",
            "UPDATE {space} SET embedding = embedding - embedding WHERE {texts}",
        ],
    ),
    Lie(
        "vector exchanged",
        "altered_vector",
        LOADED,
        ["UPDATE {space} SET embedding = (SELECT embedding FROM {space} WHERE NOT {texts} LIMIT 1) WHERE {texts}"],
    ),
    Lie(
        "cached vector exchanged",
        "altered_vector",
        LOADED,
        [
            "UPDATE embedding_cache SET embedding ="
            " (SELECT embedding FROM embedding_cache WHERE NOT {texts} LIMIT 1) WHERE {texts}"
        ],
    ),
    Lie(
        "vector of another text",
        "vector_without_text",
        LOADED,
        ["UPDATE {space} SET text_sha = sha256('x') WHERE text_sha = (SELECT max(text_sha) FROM {space} WHERE {texts})"],
    ),
    Lie(
        "bad vector cached",
        "bad_cached_vector",
        CORPUS,
        ["INSERT INTO embedding_cache (embedder_fingerprint, text_sha, embedding) VALUES ('f', sha256('x'), '[3,4]')"],
        names_document=False,
    ),
    # quarantine and runs
    Lie("entry deleted", "quarantine_without_entry", QUARANTINED, ["DELETE FROM quarantine WHERE doc_id = {doc}"]),
    Lie(
        "entry invented",
        "entry_without_quarantine",
        LOADED,
        [
            "INSERT INTO quarantine (doc_id, source, uri, source_version, stage, reason, attempt, run_id)"
            " SELECT doc_id, source, uri, source_version, 'prepare', 'malformed', 1, run_id"
            " FROM document WHERE doc_id = {doc}"
        ],
    ),
    Lie("books cooked", "accounting", CORPUS, ["UPDATE run SET listed = listed + 1"], names_document=False),
)


def plant(lab: Lab, lie: Lie, doc_id: bytes, other: bytes) -> None:
    """Damage `doc_id` (or the corpus); `other` is a loaded document that is left alone."""
    ((space,),) = lab.query("SELECT 'space_' || id FROM space")
    doc, another = (f"'\\x{key.hex()}'::bytea" for key in (doc_id, other))
    shas = [sha.hex() for (sha,) in lab.query("SELECT text_sha FROM chunk WHERE doc_id = %s", doc_id)]
    quoted = ",".join(f'"\\\\x{sha}"' for sha in shas)
    texts = f"text_sha = ANY('{{{quoted}}}'::bytea[])"
    names = {"doc": doc, "other": another, "texts": texts, "space": space}
    with psycopg.connect(lab.dsn, options="-c search_path=millrace,public -c session_replication_role=replica") as conn:
        for statement in lie.statements:
            conn.execute(statement.format(**names).encode())
