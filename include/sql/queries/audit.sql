-- name: vectors_of_space
SELECT {id} AS space_id, tenant, text_sha, {norm}(embedding) AS norm FROM {table}

-- name: vectors_of_none
SELECT 0 AS space_id, ''::text AS tenant, ''::bytea AS text_sha, 0::float8 AS norm WHERE false

-- name: spaces
SELECT id, storage FROM space WHERE state <> 'retired' ORDER BY id

-- name: audit
-- Every row is a damage; no row means that ledger, chunks, texts, vectors and runs agree.
WITH
vector AS MATERIALIZED ({vectors}),
served AS MATERIALIZED (
    SELECT tenant, doc_id, chunk_set, count(*) AS chunks, min(ordinal) AS low, max(ordinal) AS high,
           sha256(string_agg(chunk_mark(ordinal, text_sha, char_start, char_end), ''::bytea ORDER BY ordinal)) AS digest
    FROM chunk WHERE tenant = %(tenant)s GROUP BY tenant, doc_id, chunk_set
),
doc AS (
    SELECT * FROM document
    WHERE tenant = %(tenant)s AND (%(source)s::text IS NULL OR source = %(source)s)
),
active AS (
    SELECT * FROM space WHERE tenant = %(tenant)s AND state = 'active'
)

SELECT 'orphan_chunks' AS check_name, c.doc_id, coalesce(d.uri, '') AS uri, count(*) || ' chunks without '
       || CASE WHEN d.doc_id IS NULL THEN 'document' ELSE 'text' END AS detail
FROM chunk c
LEFT JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
LEFT JOIN text t ON t.tenant = c.tenant AND t.text_sha = c.text_sha
WHERE c.tenant = %(tenant)s AND (d.doc_id IS NULL OR t.text_sha IS NULL)
  AND (d.source IS NULL OR %(source)s::text IS NULL OR d.source = %(source)s)
GROUP BY c.doc_id, d.doc_id, d.uri

UNION ALL
SELECT 'chunk_count', d.doc_id, d.uri,
       'ledger says ' || d.chunk_count || ', found ' || s.chunks || ' with ordinals ' || s.low || ' to ' || s.high
FROM doc d JOIN served s USING (tenant, doc_id, chunk_set)
WHERE s.chunks <> d.chunk_count OR s.low <> 0 OR s.high <> s.chunks - 1

UNION ALL
SELECT 'chunk_digest', d.doc_id, d.uri, 'the chunks are not those that were published'
FROM doc d JOIN served s USING (tenant, doc_id, chunk_set)
WHERE s.chunks = d.chunk_count AND s.digest IS DISTINCT FROM d.chunk_digest

UNION ALL
SELECT 'mixed_chunk_sets', d.doc_id, d.uri,
       'served from chunk set ' || d.chunk_set || ', its collection from ' || a.chunk_set
FROM doc d JOIN active a USING (tenant, collection)
WHERE d.chunk_count > 0 AND d.chunk_set <> a.chunk_set

UNION ALL
SELECT 'missing_vectors', d.doc_id, d.uri, count(*) || ' chunks without a vector in space ' || a.id
FROM doc d
JOIN active a USING (tenant, collection)
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = a.chunk_set AND c.doc_id = d.doc_id
LEFT JOIN vector v ON v.space_id = a.id AND v.tenant = c.tenant AND v.text_sha = c.text_sha
WHERE v.text_sha IS NULL
GROUP BY d.doc_id, d.uri, a.id

UNION ALL
SELECT 'vector_without_text', NULL, '', count(*) || ' vectors of space ' || v.space_id || ' without text'
FROM vector v LEFT JOIN text t ON t.tenant = v.tenant AND t.text_sha = v.text_sha
WHERE v.tenant = %(tenant)s AND t.text_sha IS NULL
GROUP BY v.space_id

UNION ALL
SELECT 'bad_vector', NULL, '', 'text ' || encode(v.text_sha, 'hex') || ' in space ' || v.space_id || ' has length ' || v.norm
FROM vector v JOIN space s ON s.id = v.space_id
WHERE v.tenant = %(tenant)s AND NOT coalesce(CASE
    WHEN s.normalised THEN v.norm BETWEEN 0.99 AND 1.01 ELSE v.norm > 0 AND v.norm < 'Infinity'::float8 END, false)

UNION ALL
SELECT 'no_chunks', d.doc_id, d.uri, d.state || ', ledger says ' || d.chunk_count || ' chunks, none found'
FROM doc d LEFT JOIN served s USING (tenant, doc_id, chunk_set)
WHERE d.chunk_count > 0 AND s.doc_id IS NULL

UNION ALL
SELECT 'unserved_chunks', d.doc_id, d.uri, d.state || ' and not served, but has ' || s.chunks || ' chunks'
FROM doc d JOIN served s USING (tenant, doc_id)
WHERE d.chunk_count = 0

UNION ALL
SELECT 'quarantine_without_entry', d.doc_id, d.uri, 'in quarantine as ' || d.reason || ' without an open entry'
FROM doc d
WHERE d.state = 'quarantined' AND NOT EXISTS (
    SELECT FROM quarantine q
    WHERE q.tenant = d.tenant AND q.source = d.source AND q.doc_id = d.doc_id AND q.resolved_at IS NULL)

UNION ALL
SELECT 'run_missing', d.doc_id, d.uri, 'written by run ' || d.run_id || ', which is not in the ledger'
FROM doc d LEFT JOIN run r ON r.id = d.run_id
WHERE r.id IS NULL

UNION ALL
-- Deleted objects are known, not listed.
SELECT 'accounting', NULL, r.source, 'run ' || r.id || ' listed ' || coalesce(r.listed::text, 'nothing') || ', accounts for ' || t.total
FROM run r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(value::bigint), 0) AS total FROM jsonb_each_text(r.counts) WHERE key <> 'deleted'
) t
WHERE r.tenant = %(tenant)s AND (%(source)s::text IS NULL OR r.source = %(source)s)
  AND r.state = 'succeeded' AND r.listed IS DISTINCT FROM t.total

ORDER BY 1, 3, 2

-- name: final_state
SELECT d.uri, d.member, c.ordinal, c.text_sha, vector_send(v.embedding::vector)
FROM document d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = d.chunk_set AND c.doc_id = d.doc_id
LEFT JOIN {table} v ON v.tenant = c.tenant AND v.text_sha = c.text_sha
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
ORDER BY d.uri COLLATE "C", d.member COLLATE "C", c.ordinal
