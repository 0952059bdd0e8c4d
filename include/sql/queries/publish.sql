-- name: begin
-- Rows are found by their keys, in an index. While a table is small or was never analysed, the planner would rather read all
-- of it, once a batch, and keep the plan by which the session checks a foreign key.
SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '60s', true),
       set_config('enable_seqscan', 'off', true)

-- name: now
SELECT clock_timestamp()

-- name: lock_collection
SELECT pg_advisory_xact_lock_shared(hashtext('millrace.collection'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: lock_documents
-- Existing rows in one order for every writer; `mine` says that this very attempt has already written the row, `refused` that
-- it was refused and put into quarantine.
SELECT doc_id, fence, fence = %(fence)s AND commit_token = commit_token(fence, doc_id, 'loaded') AS mine,
       fence = %(fence)s AND commit_token = commit_token(fence, doc_id, 'quarantined') AS refused
FROM document
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b)
ORDER BY doc_id
FOR NO KEY UPDATE

-- name: copy_documents
COPY document (
    tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha,
    state, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, chunk_digest, title, media_type, lang,
    metadata, warnings, bytes, source_modified, members, loaded_at)
FROM STDIN (FORMAT binary)

-- name: stage_documents
CREATE TEMP TABLE staged_document ON COMMIT DROP AS
SELECT tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha,
       state, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, chunk_digest, title, media_type, lang,
       metadata, warnings, bytes, source_modified, members, loaded_at
FROM document WITH NO DATA

-- name: copy_staged_documents
COPY staged_document FROM STDIN (FORMAT binary)

-- name: write_documents
-- A row that appeared since the others were locked is left alone; the caller counts the rows and starts over.
INSERT INTO document AS d (
    tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha,
    state, fence, commit_token, run_id, loaded_version, chunk_set, chunk_count, chunk_digest, title, media_type, lang,
    metadata, warnings, bytes, source_modified, members, loaded_at)
SELECT * FROM staged_document s
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
WHERE d.fence < EXCLUDED.fence AND d.doc_id = ANY(%(seen)b)

-- name: known_texts
-- Which are there, and whether they are what their hash says (records.sha256).
SELECT t.text_sha, t.text_sha = sha256(int8send(octet_length(t.body)) || convert_to(t.body, 'UTF8'))
FROM text t WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)b)

-- name: mend_text
UPDATE text SET body = %(body)s WHERE tenant = %(tenant)s AND text_sha = %(sha)s

-- name: copy_texts
COPY text (tenant, text_sha, body, lang) FROM STDIN (FORMAT binary)

-- name: stage_texts
CREATE TEMP TABLE staged_text ON COMMIT DROP AS SELECT tenant, text_sha, body, lang FROM text WITH NO DATA

-- name: copy_staged_texts
COPY staged_text FROM STDIN (FORMAT binary)

-- name: write_texts
-- In the order of staging. One that another writer adds at this moment is left to that one.
INSERT INTO text (tenant, text_sha, body, lang) SELECT * FROM staged_text
ON CONFLICT DO NOTHING

-- name: held_chunks
SELECT c.ctid::text, c.chunk_set, c.doc_id, c.ordinal, c.text_sha, c.heading_path, c.char_start, c.char_end, c.tokens,
       c.lang, c.kind
FROM chunk c
WHERE c.tenant = %(tenant)s AND c.chunk_set = ANY(ARRAY(SELECT id FROM chunk_set)) AND c.doc_id = ANY(%(doc_ids)b)

-- name: drop_standby
-- What stood by for a switch was of the version that is replaced.
DELETE FROM standby b WHERE b.tenant = %(tenant)s AND b.doc_id = ANY(%(doc_ids)b)

-- name: retire_chunks
-- Chunks of the served chunk set go into the past. Their documents are locked, so they are still where they were seen.
WITH gone AS (
    DELETE FROM chunk c
    WHERE c.ctid = ANY(%(tids)s::tid[]) AND c.doc_id = ANY(%(doc_ids)b) AND c.text_sha = ANY(%(shas)b)
    RETURNING c.*
)
INSERT INTO chunk_past (tenant, chunk_set, doc_id, ordinal, text_sha, body, heading_path, char_start, char_end, tokens,
                        lang, kind, valid_from, valid_to, run_id)
SELECT g.tenant, g.chunk_set, g.doc_id, g.ordinal, g.text_sha,
       coalesce((SELECT t.body FROM text t WHERE t.tenant = g.tenant AND t.text_sha = g.text_sha), ''),
       g.heading_path, g.char_start, g.char_end, g.tokens, g.lang, g.kind, g.valid_from, clock_timestamp(), %(run_id)s
FROM gone g
WHERE g.chunk_set = %(chunk_set)s

-- name: copy_chunks
COPY chunk (tenant, chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens, lang, kind)
FROM STDIN (FORMAT binary)

-- name: known_vectors
SELECT v.text_sha FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = ANY(%(shas)b)

-- name: write_vectors
INSERT INTO {table} (tenant, text_sha, embedding)
SELECT e.tenant, e.text_sha, e.embedding::{type}
FROM embedding_cache e
WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = ANY(%(shas)b)
ORDER BY e.text_sha
ON CONFLICT DO NOTHING

-- name: without_vector
SELECT cardinality(%(shas)b::bytea[]) - count(*) FROM {table} v
WHERE v.tenant = %(tenant)s AND v.text_sha = ANY(%(shas)b)

-- name: vanished_members
-- Attachments of the written objects that this version of the object no longer has. The tenant is compared so that no index
-- that begins with it looks good enough.
SELECT m.doc_id FROM document m
WHERE m.source = ANY(%(sources)s)
  AND left(m.uri, 600) = ANY(ARRAY(SELECT left(w.uri, 600) FROM unnest(%(uris)s::text[]) AS w (uri)))
  AND m.uri = ANY(%(uris)s) AND m.tenant IS NOT DISTINCT FROM %(tenant)s
  AND m.member <> '' AND m.state <> 'deleted' AND m.fence < %(fence)s AND m.doc_id <> ALL(%(present)b)
ORDER BY m.doc_id
FOR NO KEY UPDATE OF m

-- name: resolve_quarantine
UPDATE quarantine SET resolved_at = clock_timestamp(), replay_at = NULL
WHERE tenant = %(tenant)s AND source = ANY(%(sources)s) AND doc_id = ANY(%(doc_ids)b) AND resolved_at IS NULL

-- name: supersede_holds
UPDATE held_deletion SET decision = 'superseded', decided_at = clock_timestamp()
WHERE tenant = %(tenant)s AND source = ANY(%(sources)s) AND doc_id = ANY(%(doc_ids)b) AND decision IS NULL
