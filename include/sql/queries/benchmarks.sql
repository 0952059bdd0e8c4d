-- name: corpus
-- Identity and size of what is served: any document that comes, goes or changes makes another one.
SELECT sha256(coalesce(string_agg(doc_id || coalesce(chunk_digest, ''), NULL ORDER BY doc_id), '')), count(*)
FROM document
WHERE tenant = %(tenant)s AND collection = %(collection)s AND loaded_version IS NOT NULL

-- name: addresses
-- Every document that is served; an attachment's path stands after #.
SELECT uri || CASE WHEN member = '' THEN '' ELSE '#' || member END
FROM document
WHERE tenant = %(tenant)s AND collection = %(collection)s AND loaded_version IS NOT NULL
ORDER BY 1

-- name: lock
SELECT pg_advisory_xact_lock(hashtext('millrace.benchmark'), hashtext(%(tenant)s || '/' || %(collection)s || '/' || %(name)s))

-- name: newest
SELECT id, version, content_sha FROM benchmark
WHERE tenant = %(tenant)s AND collection = %(collection)s AND name = %(name)s AND slice = %(slice)s
ORDER BY version DESC
LIMIT 1

-- name: insert
INSERT INTO benchmark (tenant, collection, name, slice, version, origin, content_sha, corpus_sha, documents, created_by)
VALUES (%(tenant)s, %(collection)s, %(name)s, %(slice)s, %(version)s, %(origin)s, %(content_sha)s, %(corpus_sha)s,
        %(documents)s, %(by)s)
RETURNING id

-- name: insert_query
INSERT INTO benchmark_query (benchmark_id, query_id, body, cluster, origin, overlap, hidden)
VALUES (%(benchmark)s, %(query)s, %(body)s, %(cluster)s, %(origin)s, %(overlap)s, %(hidden)s)

-- name: insert_judgment
INSERT INTO benchmark_judgment (benchmark_id, query_id, document, relevance)
VALUES (%(benchmark)s, %(query)s, %(document)s, %(relevance)s)

-- name: current
-- The newest version of every slice, with the questions and candidates that it has.
SELECT b.id, b.collection, b.name, b.slice, b.version, b.corpus_sha, b.documents, b.created_by, b.created_at,
       (SELECT count(*) FROM benchmark_query q WHERE q.benchmark_id = b.id) AS questions
FROM benchmark b
WHERE b.tenant = %(tenant)s AND (%(collection)s::text IS NULL OR b.collection = %(collection)s)
  AND NOT EXISTS (SELECT FROM benchmark n
                  WHERE (n.tenant, n.collection, n.name, n.slice) = (b.tenant, b.collection, b.name, b.slice)
                    AND n.version > b.version)
ORDER BY b.collection, b.name, b.slice

-- name: questions
SELECT q.query_id, q.body, q.cluster, q.origin, q.overlap, q.hidden,
       coalesce(array_agg(j.document ORDER BY j.document) FILTER (WHERE j.document IS NOT NULL), '{}') AS documents,
       coalesce(array_agg(j.relevance ORDER BY j.document) FILTER (WHERE j.document IS NOT NULL), '{}') AS relevances
FROM benchmark_query q
LEFT JOIN benchmark_judgment j ON j.benchmark_id = q.benchmark_id AND j.query_id = q.query_id
WHERE q.benchmark_id = %(benchmark)s
GROUP BY q.benchmark_id, q.query_id
ORDER BY q.query_id

-- name: propose
INSERT INTO benchmark_candidate (tenant, collection, name, slice, candidate_sha, body, documents, cluster, builder, evidence,
                                 overlap, hidden)
VALUES (%(tenant)s, %(collection)s, %(name)s, %(slice)s, %(sha)s, %(body)s, %(documents)s, %(cluster)s, %(builder)s,
        %(evidence)s, %(overlap)s, %(hidden)s)
ON CONFLICT DO NOTHING

-- name: candidates
SELECT id, slice, body, documents, cluster, builder, evidence, overlap, hidden, state, reason, decided_by, decided_at
FROM benchmark_candidate
WHERE tenant = %(tenant)s AND collection = %(collection)s AND name = %(name)s AND state = %(state)s
  AND (%(slice)s::text IS NULL OR slice = %(slice)s)
ORDER BY id
LIMIT %(limit)s

-- name: counts
SELECT collection, name, slice, state, count(*)
FROM benchmark_candidate
WHERE tenant = %(tenant)s AND (%(collection)s::text IS NULL OR collection = %(collection)s)
GROUP BY collection, name, slice, state
ORDER BY collection, name, slice, state

-- name: decide
-- A decision may be changed; who and when follow it.
UPDATE benchmark_candidate
SET state = %(state)s, reason = %(reason)s, decided_by = %(by)s, decided_at = clock_timestamp()
WHERE tenant = %(tenant)s AND collection = %(collection)s AND name = %(name)s AND id = ANY (%(ids)s)

-- name: passages
-- A sample of served documents, whole: of each its passages in order.
SELECT d.uri || CASE WHEN d.member = '' THEN '' ELSE '#' || d.member END AS document, d.title, c.heading_path,
       c.char_start, c.char_end, right(t.body, c.char_end - c.char_start) AS passage,
       coalesce(nullif(c.lang, ''), d.lang) AS lang, c.text_sha
FROM (
    SELECT * FROM document
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND loaded_version IS NOT NULL
    ORDER BY sha256(int4send(%(seed)s) || doc_id)
    LIMIT %(documents)s) AS d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = %(chunk_set)s AND c.doc_id = d.doc_id
JOIN text t ON t.tenant = c.tenant AND t.text_sha = c.text_sha
ORDER BY document, c.ordinal

-- name: texts_of
-- The passages of named documents, their texts' hashes only.
SELECT d.uri || CASE WHEN d.member = '' THEN '' ELSE '#' || d.member END AS document, c.text_sha
FROM document d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = %(chunk_set)s AND c.doc_id = d.doc_id
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.loaded_version IS NOT NULL
  AND d.uri || CASE WHEN d.member = '' THEN '' ELSE '#' || d.member END = ANY (%(documents)s)
ORDER BY document, c.ordinal
