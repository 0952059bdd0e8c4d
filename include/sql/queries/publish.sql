-- name: begin
SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '10s', true)

-- name: lock_collection
SELECT pg_advisory_xact_lock_shared(hashtext('millrace.collection'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: lock_documents
-- Existing rows in one order for every writer; `mine` says that this very attempt has already written the row, `refused` that
-- it was refused and put into quarantine.
SELECT doc_id, fence, fence = %(fence)s AND commit_token = commit_token(fence, doc_id, 'loaded') AS mine,
       fence = %(fence)s AND commit_token = commit_token(fence, doc_id, 'quarantined') AS refused
FROM document
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)s)
ORDER BY doc_id
FOR NO KEY UPDATE

-- name: stage_documents
CREATE TEMP TABLE staged_document ON COMMIT DROP AS
SELECT doc_id, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha, title, media_type,
       lang, metadata, warnings, bytes, source_modified, members, chunk_count, chunk_digest, fence AS seen
FROM document WITH NO DATA

-- name: stage_chunks
CREATE TEMP TABLE staged_chunk ON COMMIT DROP AS
SELECT c.doc_id, c.ordinal, c.text_sha, t.body, c.heading_path, c.char_start, c.char_end, c.tokens, c.lang, c.kind
FROM chunk c JOIN text t USING (tenant, text_sha) WITH NO DATA

-- name: copy_documents
COPY staged_document FROM STDIN (FORMAT binary)

-- name: copy_chunks
COPY staged_chunk FROM STDIN (FORMAT binary)

-- name: analyze_staged
ANALYZE staged_document, staged_chunk

-- name: write_documents
-- A row that appeared or moved since it was locked is left alone; the caller counts the rows and starts over.
INSERT INTO document AS d (
    tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha,
    state, reason, attempts, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, chunk_digest,
    title, media_type, lang, metadata, warnings, bytes, source_modified, members, loaded_at)
SELECT %(tenant)s, s.doc_id, %(collection)s, s.source, s.uri, s.member, s.parent_doc_id, s.source_version,
       s.pipeline_fingerprint, s.content_sha, 'loaded', NULL, 0, %(fence)s::bigint,
       commit_token(%(fence)s::bigint, s.doc_id, 'loaded'), %(run_id)s, s.source_version, %(chunk_set)s::integer,
       s.chunk_count, s.chunk_digest, s.title, s.media_type, s.lang, s.metadata, s.warnings, s.bytes, s.source_modified,
       s.members, clock_timestamp()
FROM staged_document s
ORDER BY s.doc_id
ON CONFLICT (tenant, doc_id) DO UPDATE SET
    collection = EXCLUDED.collection, source = EXCLUDED.source, uri = EXCLUDED.uri, member = EXCLUDED.member,
    parent_doc_id = EXCLUDED.parent_doc_id, source_version = EXCLUDED.source_version,
    pipeline_fingerprint = EXCLUDED.pipeline_fingerprint, content_sha = EXCLUDED.content_sha, state = EXCLUDED.state,
    reason = EXCLUDED.reason, attempts = EXCLUDED.attempts, fence = EXCLUDED.fence, commit_token = EXCLUDED.commit_token,
    run_id = EXCLUDED.run_id, loaded_version = EXCLUDED.loaded_version, chunk_set = EXCLUDED.chunk_set,
    chunk_count = EXCLUDED.chunk_count, chunk_digest = EXCLUDED.chunk_digest, title = EXCLUDED.title,
    media_type = EXCLUDED.media_type, lang = EXCLUDED.lang, metadata = EXCLUDED.metadata, warnings = EXCLUDED.warnings,
    bytes = EXCLUDED.bytes, source_modified = EXCLUDED.source_modified, members = EXCLUDED.members,
    loaded_at = EXCLUDED.loaded_at
WHERE d.fence < EXCLUDED.fence
  AND d.fence = (SELECT s.seen FROM staged_document s WHERE s.doc_id = EXCLUDED.doc_id)

-- name: write_texts
-- Known texts are left out first: their tsvector would be computed before the conflict is noticed.
INSERT INTO text (tenant, text_sha, body, lang)
SELECT DISTINCT ON (s.text_sha) %(tenant)s, s.text_sha, s.body, s.lang
FROM staged_chunk s
WHERE NOT EXISTS (SELECT FROM text t WHERE t.tenant = %(tenant)s AND t.text_sha = s.text_sha)
ORDER BY s.text_sha, s.lang
ON CONFLICT DO NOTHING

-- name: mend_texts
-- A stored body that is not the text of its hash was altered behind the ledger; whoever publishes the text again restores it.
UPDATE text t SET body = s.body
FROM (SELECT DISTINCT text_sha, body FROM staged_chunk) s
WHERE t.tenant = %(tenant)s AND t.text_sha = s.text_sha AND t.body <> s.body

-- name: retire_chunks
-- Chunks of any chunk set that are not staged exactly so go to the past; the others are not touched.
WITH gone AS (
    DELETE FROM chunk c USING staged_document d
    WHERE c.tenant = %(tenant)s AND c.chunk_set = ANY(ARRAY(SELECT id FROM chunk_set)) AND c.doc_id = d.doc_id
      AND NOT EXISTS (
        SELECT FROM staged_chunk s
        WHERE s.doc_id = c.doc_id AND s.ordinal = c.ordinal AND c.chunk_set = %(chunk_set)s
          AND (s.text_sha, s.heading_path, s.char_start, s.char_end, s.tokens, s.lang, s.kind)
            = (c.text_sha, c.heading_path, c.char_start, c.char_end, c.tokens, c.lang, c.kind))
    RETURNING c.*
)
INSERT INTO chunk_past (tenant, chunk_set, doc_id, ordinal, text_sha, body, heading_path, char_start, char_end, tokens,
                        lang, kind, valid_from, valid_to, run_id)
SELECT g.tenant, g.chunk_set, g.doc_id, g.ordinal, g.text_sha, t.body, g.heading_path, g.char_start, g.char_end, g.tokens,
       g.lang, g.kind, g.valid_from, clock_timestamp(), %(run_id)s
FROM gone g JOIN text t USING (tenant, text_sha)

-- name: write_chunks
INSERT INTO chunk (tenant, chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens, lang, kind)
SELECT %(tenant)s, %(chunk_set)s, s.doc_id, s.ordinal, s.text_sha, s.heading_path, s.char_start, s.char_end, s.tokens,
       s.lang, s.kind
FROM staged_chunk s
WHERE NOT EXISTS (
    SELECT FROM chunk c
    WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND c.doc_id = s.doc_id AND c.ordinal = s.ordinal)
ORDER BY s.text_sha

-- name: write_vectors
INSERT INTO {table} (tenant, text_sha, embedding)
SELECT %(tenant)s, e.text_sha, e.embedding::{type}
FROM embedding_cache e
WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s
  AND e.text_sha IN (SELECT s.text_sha FROM staged_chunk s)
  AND NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = e.text_sha)
ORDER BY e.text_sha
ON CONFLICT DO NOTHING

-- name: without_vector
SELECT count(DISTINCT s.text_sha) FROM staged_chunk s
WHERE NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = s.text_sha)

-- name: vanished_members
-- Attachments of the staged objects that this version of the object no longer has.
SELECT m.doc_id FROM document m
JOIN (SELECT DISTINCT source, uri FROM staged_document) o
  ON m.source = o.source AND left(m.uri, 600) = left(o.uri, 600) AND m.uri = o.uri
WHERE m.tenant = %(tenant)s AND m.member <> '' AND m.state <> 'deleted' AND m.fence < %(fence)s
  AND m.doc_id <> ALL(%(present)s)
ORDER BY m.doc_id
FOR NO KEY UPDATE OF m

-- name: resolve_quarantine
UPDATE quarantine q SET resolved_at = clock_timestamp(), replay_at = NULL
FROM staged_document s
WHERE q.tenant = %(tenant)s AND q.source = s.source AND q.doc_id = s.doc_id AND q.resolved_at IS NULL

-- name: supersede_holds
UPDATE held_deletion h SET decision = 'superseded', decided_at = clock_timestamp()
FROM staged_document s
WHERE h.tenant = %(tenant)s AND h.source = s.source AND h.doc_id = s.doc_id AND h.decision IS NULL
