-- name: missing_families
-- Objects of a span with at least one served document that lacks passages in the chunk set; each with all its served
-- documents, because they are read from the same bytes.
WITH lacking AS (
    SELECT DISTINCT coalesce(d.parent_doc_id, d.doc_id) AS root
    FROM document d
    WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.loaded_version IS NOT NULL
      AND d.chunk_set IS DISTINCT FROM %(chunk_set)s
      AND coalesce(d.parent_doc_id, d.doc_id) > %(after)s AND coalesce(d.parent_doc_id, d.doc_id) <= %(last)s
      AND (%(run_id)s::bigint IS NULL OR d.run_id = %(run_id)s)
      AND NOT EXISTS (
        SELECT FROM standby s WHERE (s.tenant, s.doc_id, s.chunk_set) = (d.tenant, d.doc_id, %(chunk_set)s))
    ORDER BY root
    LIMIT %(limit)s
)
SELECT l.root, d.doc_id, d.source, d.uri, d.member, d.state, d.loaded_version, d.content_sha, d.bytes, d.source_modified,
       d.fence, coalesce(o.state, d.state) = 'quarantined' AS stuck
FROM lacking l
JOIN document d ON d.tenant = %(tenant)s AND (d.doc_id = l.root OR d.parent_doc_id = l.root)
LEFT JOIN document o ON o.tenant = d.tenant AND o.doc_id = l.root
WHERE d.loaded_version IS NOT NULL
ORDER BY l.root, d.member

-- name: passages
-- The served passages of documents, with their texts.
SELECT c.doc_id, c.ordinal, c.text_sha, t.body, c.heading_path, c.char_start, c.char_end, c.tokens, c.lang, c.kind
FROM document d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = d.chunk_set AND c.doc_id = d.doc_id
JOIN text t ON t.tenant = c.tenant AND t.text_sha = c.text_sha
WHERE d.tenant = %(tenant)s AND d.doc_id = ANY(%(doc_ids)b)
ORDER BY c.doc_id, c.ordinal

-- name: lock_documents
SELECT d.doc_id, d.fence, d.loaded_version IS NOT NULL AND d.chunk_set IS DISTINCT FROM %(chunk_set)s AS wanted
FROM document d
WHERE d.tenant = %(tenant)s AND d.doc_id = ANY(%(doc_ids)b)
ORDER BY d.doc_id
FOR NO KEY UPDATE

-- name: stage
CREATE TEMP TABLE rechunked ON COMMIT DROP AS
SELECT c.doc_id, c.ordinal, c.text_sha, t.body, c.heading_path, c.char_start, c.char_end, c.tokens, c.lang, c.kind
FROM chunk c JOIN text t USING (tenant, text_sha) WITH NO DATA

-- name: copy
COPY rechunked FROM STDIN (FORMAT binary)

-- name: write_texts
INSERT INTO text (tenant, text_sha, body, lang)
SELECT DISTINCT ON (r.text_sha) %(tenant)s, r.text_sha, r.body, r.lang
FROM rechunked r
WHERE NOT EXISTS (SELECT FROM text t WHERE t.tenant = %(tenant)s AND t.text_sha = r.text_sha)
ORDER BY r.text_sha, r.lang
ON CONFLICT DO NOTHING

-- name: clear
DELETE FROM chunk c
WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND c.doc_id = ANY(%(doc_ids)b)

-- name: write_chunks
-- Valid since the document was loaded: the same words were served then, cut otherwise.
INSERT INTO chunk (tenant, chunk_set, doc_id, ordinal, text_sha, heading_path, char_start, char_end, tokens, lang, kind,
                   valid_from)
SELECT %(tenant)s, %(chunk_set)s, r.doc_id, r.ordinal, r.text_sha, r.heading_path, r.char_start, r.char_end, r.tokens,
       r.lang, r.kind, coalesce(d.loaded_at, clock_timestamp())
FROM rechunked r JOIN document d ON d.tenant = %(tenant)s AND d.doc_id = r.doc_id
ORDER BY r.text_sha

-- name: note
INSERT INTO standby (tenant, doc_id, chunk_set, chunk_count, chunk_digest)
SELECT %(tenant)s, r.doc_id, %(chunk_set)s, count(*),
       sha256(string_agg(chunk_mark(r.ordinal, r.text_sha, r.char_start, r.char_end), ''::bytea ORDER BY r.ordinal))
FROM rechunked r GROUP BY r.doc_id
ON CONFLICT (tenant, doc_id, chunk_set) DO UPDATE
    SET chunk_count = EXCLUDED.chunk_count, chunk_digest = EXCLUDED.chunk_digest
