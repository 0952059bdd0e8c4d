-- name: drop_vectors
DELETE FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = ANY(%(shas)b)

-- name: confirmed_vectors
-- Those whose cached vector still equals the vector that this space serves: the damage was another space's.
SELECT v.text_sha FROM {table} v
JOIN embedding_cache e ON e.tenant = v.tenant AND e.embedder_fingerprint = {fingerprint} AND e.text_sha = v.text_sha
WHERE v.tenant = %(tenant)s AND v.text_sha = ANY(%(shas)b) AND CASE
    WHEN vector_dims(e.embedding) <> {dim} OR vector_norm(e.embedding) > 1.01 THEN false
    ELSE e.embedding::{type} = v.embedding END

-- name: drop_cached
DELETE FROM embedding_cache e
WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = ANY(%(shas)b)

-- name: drop_bad_cached
DELETE FROM embedding_cache e WHERE e.tenant = %(tenant)s AND vector_norm(e.embedding) NOT BETWEEN 0.99 AND 1.01

-- name: restore_vectors
-- What the cache still has need not be embedded, nor its documents read again.
INSERT INTO {table} (tenant, text_sha, embedding)
SELECT e.tenant, e.text_sha, e.embedding::{type}
FROM embedding_cache e
JOIN text t ON t.tenant = e.tenant AND t.text_sha = e.text_sha
WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = {fingerprint} AND vector_dims(e.embedding) = {dim}
  AND EXISTS (SELECT FROM chunk c WHERE c.tenant = e.tenant AND c.text_sha = e.text_sha AND c.chunk_set = {chunk_set})
  AND NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = e.tenant AND v.text_sha = e.text_sha)
ORDER BY e.text_sha
ON CONFLICT DO NOTHING

-- name: drop_unused_altered_texts
-- An altered text that no chunk uses can't be mended by loading a document, and nobody is served by it.
DELETE FROM text t
WHERE t.tenant = %(tenant)s AND t.text_sha IN ({altered})
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.tenant = t.tenant AND c.text_sha = t.text_sha)

-- name: analyse_again
INSERT INTO text_pending (tenant, text_sha) SELECT %(tenant)s, w.text_sha FROM ({wrong}) AS w

-- name: drop_terms
DELETE FROM lexical l
WHERE l.tenant = %(tenant)s AND NOT EXISTS (SELECT FROM text t WHERE t.tenant = l.tenant AND t.text_sha = l.text_sha)

-- name: stop_folds
SELECT pg_advisory_xact_lock(hashtext('millrace.lexicon'))

-- name: count_terms
-- The statistics of full text anew. One statement sees one moment: the changes that it drops are those that the terms show.
WITH known AS (
    DELETE FROM lexical_change WHERE tenant = %(tenant)s
), live AS MATERIALIZED (
    SELECT lexeme COLLATE "C" AS lexeme, count(*) AS texts
    FROM lexical l, unnest(tsvector_to_array(l.tsv)) AS lexeme
    WHERE l.tenant = %(tenant)s
    GROUP BY lexeme
), gone AS (
    DELETE FROM term k WHERE k.tenant = %(tenant)s AND NOT EXISTS (SELECT FROM live v WHERE v.lexeme = k.lexeme)
), whole AS (
    INSERT INTO lexicon (tenant, texts, words)
    SELECT %(tenant)s, count(*), coalesce(sum(words), 0) FROM lexical WHERE tenant = %(tenant)s
    ON CONFLICT (tenant) DO UPDATE SET texts = EXCLUDED.texts, words = EXCLUDED.words
)
INSERT INTO term (tenant, lexeme, texts) SELECT %(tenant)s, v.lexeme, v.texts FROM live v ORDER BY v.lexeme
ON CONFLICT (tenant, lexeme) DO UPDATE SET texts = EXCLUDED.texts

-- name: drop_standby
-- Passages beside the served ones that are not as they were written; the next catch-up writes them again.
WITH wrong AS (
    DELETE FROM standby b
    USING document d
    WHERE b.tenant = %(tenant)s AND d.tenant = b.tenant AND d.doc_id = b.doc_id AND (
        d.chunk_count = 0 OR d.chunk_set = b.chunk_set
        OR NOT EXISTS (
            SELECT FROM space k
            WHERE k.tenant = d.tenant AND k.collection = d.collection AND k.chunk_set = b.chunk_set AND k.state <> 'retired')
        OR b.chunk_digest IS DISTINCT FROM (
            SELECT sha256(string_agg(chunk_mark(c.ordinal, c.text_sha, c.char_start, c.char_end), ''::bytea ORDER BY c.ordinal))
            FROM chunk c WHERE c.tenant = b.tenant AND c.doc_id = b.doc_id AND c.chunk_set = b.chunk_set))
    RETURNING b.tenant, b.doc_id, b.chunk_set
)
DELETE FROM chunk c USING wrong w JOIN document d ON d.tenant = w.tenant AND d.doc_id = w.doc_id
WHERE c.tenant = w.tenant AND c.doc_id = w.doc_id AND c.chunk_set = w.chunk_set AND w.chunk_set IS DISTINCT FROM d.chunk_set

-- name: retire_unserved
-- Chunks that no reader may be given: of a document that is unknown or serves nothing, or of another chunk set than the
-- complete one that the document is served from, unless they stand by for a switch. Each is kept among the past ones.
WITH gone AS (
    DELETE FROM chunk c
    USING chunk k LEFT JOIN document d ON d.tenant = k.tenant AND d.doc_id = k.doc_id
    WHERE c.tenant = %(tenant)s AND k.tenant = c.tenant AND (k.chunk_set, k.doc_id, k.ordinal) = (c.chunk_set, c.doc_id, c.ordinal)
      AND NOT EXISTS (
        SELECT FROM standby b
        WHERE d.chunk_count > 0 AND (b.tenant, b.doc_id, b.chunk_set) = (k.tenant, k.doc_id, k.chunk_set))
      AND (d.doc_id IS NULL OR d.chunk_count = 0 OR (k.chunk_set <> d.chunk_set AND d.chunk_count = (
        SELECT count(*) FROM chunk s
        WHERE s.tenant = d.tenant AND s.chunk_set = d.chunk_set AND s.doc_id = d.doc_id)))
    RETURNING c.*
)
INSERT INTO chunk_past (tenant, chunk_set, doc_id, ordinal, text_sha, body, heading_path, char_start, char_end, tokens,
                        lang, kind, valid_from, valid_to, run_id)
SELECT g.tenant, g.chunk_set, g.doc_id, g.ordinal, g.text_sha, coalesce(t.body, ''), g.heading_path, g.char_start,
       g.char_end, g.tokens, g.lang, g.kind, g.valid_from, clock_timestamp(), %(run_id)s
FROM gone g LEFT JOIN text t USING (tenant, text_sha)

-- name: restore_objects
-- An attachment's object that is not in the ledger comes back as a deleted one: if it is listed it is loaded anew, if not
-- it is deleted again, and either takes the attachment along.
INSERT INTO document (tenant, doc_id, collection, source, uri, source_version, pipeline_fingerprint, state, fence,
                      commit_token, run_id)
SELECT DISTINCT ON (d.parent_doc_id) d.tenant, d.parent_doc_id, d.collection, d.source, d.uri, d.source_version,
       d.pipeline_fingerprint, 'deleted', 0, commit_token(0, d.parent_doc_id, 'deleted'), %(run_id)s
FROM document d
WHERE d.tenant = %(tenant)s AND d.source = %(source)s AND d.member <> '' AND d.state <> 'deleted'
  AND d.parent_doc_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM document p WHERE p.tenant = d.tenant AND p.doc_id = d.parent_doc_id)
ON CONFLICT DO NOTHING

-- name: enter_quarantine
INSERT INTO quarantine (tenant, doc_id, source, uri, member, source_version, stage, reason, detail, attempt, run_id)
SELECT d.tenant, d.doc_id, d.source, d.uri, d.member, d.source_version, 'audit', d.reason,
       'the entry of this quarantine was lost', d.attempts, %(run_id)s
FROM document d
WHERE d.tenant = %(tenant)s AND d.source = %(source)s AND d.state = 'quarantined' AND NOT EXISTS (
    SELECT FROM quarantine q
    WHERE q.tenant = d.tenant AND q.source = d.source AND q.doc_id = d.doc_id AND q.resolved_at IS NULL)

-- name: leave_quarantine
UPDATE quarantine q SET resolved_at = clock_timestamp(), replay_at = NULL
WHERE q.tenant = %(tenant)s AND q.source = %(source)s AND q.resolved_at IS NULL AND NOT EXISTS (
    SELECT FROM document d WHERE d.tenant = q.tenant AND d.doc_id = q.doc_id AND d.state = 'quarantined')

-- name: forget_attempts
UPDATE document SET attempts = 0
WHERE tenant = %(tenant)s AND source = %(source)s AND state <> 'quarantined' AND attempts <> 0

-- name: adopt_documents
-- Documents whose run is not in the ledger, or is another source's, become this run's; a row in a wrong collection stays
-- one until it is loaded again.
UPDATE document d SET run_id = %(run_id)s
WHERE d.tenant = %(tenant)s AND d.source = %(source)s AND NOT EXISTS (
    SELECT FROM run r WHERE r.id = d.run_id AND r.tenant = d.tenant AND r.source = d.source)

-- name: fail_runs
-- A run whose books do not balance did not succeed, whatever it said.
UPDATE run r SET state = 'failed', notes = r.notes || 'audit: its counts do not sum to its listing'::text
WHERE r.tenant = %(tenant)s AND r.source = %(source)s AND r.state = 'succeeded' AND r.listed IS DISTINCT FROM (
    SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(r.counts) WHERE key <> 'deleted')

-- name: withdraw_served
-- The damaged former version of a quarantined document: its bytes are gone, so no sync can rebuild it. Attachments of a
-- quarantined object share its fate.
SELECT d.doc_id, d.state = 'quarantined' AS quarantined FROM document d
LEFT JOIN document p ON p.tenant = d.tenant AND p.doc_id = d.parent_doc_id
WHERE d.tenant = %(tenant)s AND d.doc_id = ANY(%(doc_ids)b) AND (
    (d.state = 'quarantined' AND (d.chunk_count > 0 OR d.loaded_version IS NOT NULL))
    OR (d.state = 'loaded' AND d.member <> '' AND p.state = 'quarantined'))
ORDER BY d.doc_id
FOR NO KEY UPDATE OF d

-- name: withdraw
UPDATE document SET state = CASE state WHEN 'loaded' THEN 'deleted' ELSE state END, loaded_version = NULL,
    chunk_set = NULL, chunk_count = 0, chunk_digest = NULL
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b)

-- name: withdraw_standby
DELETE FROM standby WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b)

-- name: containers
-- Loaded objects, of every source, that have attachments or may have: chunks without a document name no address.
SELECT d.doc_id, d.fence FROM document d
WHERE d.tenant = %(tenant)s AND d.member = '' AND d.state = 'loaded'
  AND (d.media_type = 'message/rfc822' OR EXISTS (
    SELECT FROM document m WHERE m.tenant = d.tenant AND m.parent_doc_id = d.doc_id))

-- name: doubt
-- The next plan sees another version and reads the object again. Only the very row that was compared: what was written
-- since is the business of the next audit.
UPDATE document d SET source_version = '', loaded_version = '', content_sha = NULL, fence = %(fence)s,
    commit_token = commit_token(%(fence)s, d.doc_id, 'doubted')
FROM unnest(%(doc_ids)b::bytea[], %(fences)s::bigint[]) AS seen (doc_id, fence)
WHERE d.tenant = %(tenant)s AND d.doc_id = seen.doc_id AND d.fence = seen.fence AND d.state = 'loaded'
  AND d.fence < %(fence)s
