-- name: missing_documents
-- Served documents without passages in a chunk set that they are not served from.
SELECT count(*), coalesce(sum(d.bytes), 0)::bigint
FROM document d
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.loaded_version IS NOT NULL
  AND d.chunk_set IS DISTINCT FROM %(chunk_set)s
  AND NOT EXISTS (
    SELECT FROM standby s WHERE (s.tenant, s.doc_id, s.chunk_set) = (d.tenant, d.doc_id, %(chunk_set)s))

-- name: missing_texts
SELECT count(*), coalesce(sum(m.tokens), 0)::bigint
FROM (
    SELECT max(c.tokens) AS tokens
    FROM chunk c JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
    WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND d.collection = %(collection)s
      AND NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = c.tenant AND v.text_sha = c.text_sha)
    GROUP BY c.text_sha) AS m

-- name: all_texts
SELECT count(DISTINCT c.text_sha)
FROM chunk c JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND d.collection = %(collection)s

-- name: next_texts
-- One page of the texts of a span that have no vector, in the order of their hashes.
SELECT m.text_sha, t.body, m.tokens
FROM (
    SELECT c.text_sha, max(c.tokens) AS tokens
    FROM chunk c JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
    WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND d.collection = %(collection)s
      AND c.text_sha > %(after)s AND c.text_sha <= %(last)s
      AND (%(run_id)s::bigint IS NULL OR d.run_id = %(run_id)s)
      AND NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = c.tenant AND v.text_sha = c.text_sha)
    GROUP BY c.text_sha
    ORDER BY c.text_sha
    LIMIT %(limit)s) AS m
JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = m.text_sha
ORDER BY m.text_sha

-- name: share_collection
SELECT set_config('lock_timeout', '20s', true),
       pg_advisory_xact_lock_shared(hashtext('millrace.collection'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: state
SELECT state FROM space WHERE id = %(space_id)s

-- name: fill_vectors
-- A text that the collector takes at this moment is locked or gone, and then left out.
WITH held AS MATERIALIZED (
    SELECT t.text_sha FROM text t
    WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)b)
    ORDER BY t.text_sha
    FOR KEY SHARE
)
INSERT INTO {table} (tenant, text_sha, embedding)
SELECT e.tenant, e.text_sha, e.embedding::{type}
FROM held h
JOIN embedding_cache e ON e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = h.text_sha
ORDER BY e.text_sha
ON CONFLICT DO NOTHING

-- name: sample
-- Stored vectors of texts that are searched, in an order that only the seed decides.
SELECT v.text_sha, vector_send(v.embedding::vector)
FROM {table} v
WHERE v.tenant = %(tenant)s AND EXISTS (
    SELECT FROM chunk c JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
    WHERE c.tenant = v.tenant AND c.text_sha = v.text_sha AND c.chunk_set = %(chunk_set)s AND d.collection = %(collection)s)
ORDER BY sha256(v.text_sha || int8send(%(seed)s::bigint)) LIMIT %(count)s

-- name: probe_settings
-- The index's answer as the search asks for it, whatever the planner thinks of a small table; then the exact one.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
       set_config('hnsw.ef_search', %(ef_search)s, true),
       set_config('enable_seqscan', %(seqscan)s, true),
       set_config('enable_sort', %(sort)s, true)

-- name: nearest
SELECT v.embedding <#> %(vector)s::{type} FROM {table} v
WHERE v.tenant = %(tenant)s ORDER BY v.embedding <#> %(vector)s::{type} LIMIT %(k)s

-- name: nearest_exactly
SELECT v.embedding <#> %(vector)s::{type} FROM {table} v
WHERE v.tenant = %(tenant)s ORDER BY (v.embedding <#> %(vector)s::{type}) + 0 LIMIT %(k)s
