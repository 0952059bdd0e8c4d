-- name: missing
SELECT w.text_sha FROM unnest(%(shas)b::bytea[]) AS w (text_sha)
WHERE NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = w.text_sha)
  AND NOT EXISTS (
    SELECT FROM embedding_cache e
    WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = w.text_sha)

-- name: keep
-- Every vector that a run counts on gets a cache row that cannot expire before the run publishes: from the space where the
-- cache has none, made young again where it is older than a day. A row that expires at this moment is written back.
INSERT INTO embedding_cache AS e (tenant, embedder_fingerprint, text_sha, embedding)
SELECT %(tenant)s, %(fingerprint)s, w.text_sha, coalesce(c.embedding, v.embedding::vector)
FROM unnest(%(shas)b::bytea[]) AS w (text_sha)
LEFT JOIN embedding_cache c
  ON c.tenant = %(tenant)s AND c.embedder_fingerprint = %(fingerprint)s AND c.text_sha = w.text_sha
LEFT JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = w.text_sha
WHERE c.created_at < clock_timestamp() - interval '1 day' OR (c.text_sha IS NULL AND v.text_sha IS NOT NULL)
ORDER BY w.text_sha
ON CONFLICT (tenant, embedder_fingerprint, text_sha) DO UPDATE SET created_at = clock_timestamp()

-- name: not_cached
SELECT w.text_sha FROM unnest(%(shas)b::bytea[]) AS w (text_sha)
WHERE NOT EXISTS (
    SELECT FROM embedding_cache e
    WHERE e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = w.text_sha)

-- name: copy
COPY embedding_cache (tenant, embedder_fingerprint, text_sha, embedding) FROM STDIN (FORMAT binary)

-- name: stage
CREATE TEMP TABLE staged_vector (text_sha bytea, embedding vector) ON COMMIT DROP

-- name: copy_staged
COPY staged_vector FROM STDIN (FORMAT binary)

-- name: remember
INSERT INTO embedding_cache (tenant, embedder_fingerprint, text_sha, embedding)
SELECT DISTINCT ON (s.text_sha) %(tenant)s, %(fingerprint)s, s.text_sha, s.embedding
FROM staged_vector s ORDER BY s.text_sha
ON CONFLICT DO NOTHING

-- name: load
SELECT w.text_sha, vector_send(coalesce(v.embedding::vector, e.embedding))
FROM unnest(%(shas)b::bytea[]) AS w (text_sha)
LEFT JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = w.text_sha
LEFT JOIN embedding_cache e
  ON e.tenant = %(tenant)s AND e.embedder_fingerprint = %(fingerprint)s AND e.text_sha = w.text_sha
