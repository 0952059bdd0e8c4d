-- name: add
-- Numbered within the collection, one at a time; the same pairs are the data set that they were.
WITH locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('millrace.dataset'), hashtext(%(tenant)s || '/' || %(collection)s))
)
INSERT INTO dataset_version (tenant, collection, version, sha, artifact, files, pairs, lineage, created_by)
SELECT %(tenant)s, %(collection)s,
       (SELECT coalesce(max(version), 0) + 1 FROM dataset_version WHERE (tenant, collection) = (%(tenant)s, %(collection)s)),
       %(sha)s, %(artifact)s, %(files)s, %(pairs)s, %(lineage)s, %(by)s
FROM locked
ON CONFLICT (tenant, collection, sha) DO NOTHING

-- name: versions
SELECT id, collection, version, sha, artifact, files, pairs, lineage, created_by, created_at
FROM dataset_version
WHERE tenant = %(tenant)s AND (%(collection)s::text IS NULL OR collection = %(collection)s)
ORDER BY collection, version DESC

-- name: artifacts
SELECT DISTINCT artifact FROM dataset_version

-- name: passages
-- A sample of served documents, whole: of each its passages in order, as the embedder read them, with their vectors.
SELECT d.uri || CASE WHEN d.member = '' THEN '' ELSE '#' || d.member END AS document, d.title, c.heading_path,
       c.char_start, c.char_end, right(t.body, c.char_end - c.char_start) AS passage,
       coalesce(nullif(c.lang, ''), d.lang) AS lang, t.body, vector_send(v.embedding::vector)
FROM (
    SELECT * FROM document
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND loaded_version IS NOT NULL
    ORDER BY sha256(int4send(%(seed)s) || doc_id)
    LIMIT %(documents)s) AS d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = %(chunk_set)s AND c.doc_id = d.doc_id
JOIN text t ON t.tenant = c.tenant AND t.text_sha = c.text_sha
JOIN {table} v ON v.tenant = c.tenant AND v.text_sha = c.text_sha
ORDER BY document, c.ordinal
