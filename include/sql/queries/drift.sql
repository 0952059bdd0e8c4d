-- name: window
-- A sample of what became current in a window (`new`), or of what was served at some time in the days before it. A passage
-- that its document had before, elsewhere, is not new. Documents are drawn by their hash, so that every run draws the same.
WITH passage AS (
    SELECT c.doc_id, c.text_sha, c.tokens, c.lang, c.valid_from, c.char_end - c.char_start AS length,
           'infinity'::timestamptz AS valid_to
    FROM document d JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = %(chunk_set)s AND c.doc_id = d.doc_id
    WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
      AND (%(source)s = '' OR d.source = %(source)s)
      AND c.valid_from < %(until)s AND (NOT %(new)s OR c.valid_from >= %(since)s)
    UNION ALL
    SELECT p.doc_id, p.text_sha, p.tokens, p.lang, p.valid_from, p.char_end - p.char_start, p.valid_to
    FROM document d JOIN chunk_past p ON p.tenant = d.tenant AND p.doc_id = d.doc_id AND p.chunk_set = %(chunk_set)s
    WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
      AND (%(source)s = '' OR d.source = %(source)s)
      AND p.valid_from < %(until)s AND (NOT %(new)s OR p.valid_from >= %(since)s)
), meant AS MATERIALIZED (
    SELECT DISTINCT ON (p.doc_id, p.text_sha) p.*
    FROM passage p
    WHERE CASE WHEN %(new)s THEN NOT EXISTS (
                   SELECT FROM chunk_past f
                   WHERE f.tenant = %(tenant)s AND f.doc_id = p.doc_id AND f.chunk_set = %(chunk_set)s
                     AND f.text_sha = p.text_sha AND f.valid_from < %(since)s AND f.valid_to <= p.valid_from)
               ELSE p.valid_to > %(since)s END
    ORDER BY p.doc_id, p.text_sha, p.valid_from
), drawn AS (
    SELECT doc_id, count(*) OVER () AS documents, sum(count(*)) OVER () AS passages
    FROM meant GROUP BY doc_id
    ORDER BY sha256(int4send(%(seed)s) || doc_id)
    LIMIT %(documents)s
), ranked AS (
    SELECT m.*, w.documents, w.passages,
           row_number() OVER (PARTITION BY m.doc_id ORDER BY sha256(int4send(%(seed)s) || m.text_sha)) AS place
    FROM drawn w JOIN meant m USING (doc_id)
)
SELECT r.doc_id, d.source, d.uri || CASE WHEN d.member = '' THEN '' ELSE '#' || d.member END AS address, d.title,
       coalesce(nullif(r.lang, ''), d.lang) AS lang, r.tokens, r.valid_from,
       right(b.body, r.length) AS passage, r.text_sha, b.body,
       vector_send(coalesce(v.embedding::vector, e.embedding)) AS vector, r.documents, r.passages::bigint
FROM ranked r
JOIN document d ON d.tenant = %(tenant)s AND d.doc_id = r.doc_id
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT t.body FROM text t WHERE t.tenant = %(tenant)s AND t.text_sha = r.text_sha),
        (SELECT max(p.body) FROM chunk_past p
         WHERE p.tenant = %(tenant)s AND p.doc_id = r.doc_id AND p.text_sha = r.text_sha), '') AS body) AS b
LEFT JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = r.text_sha
LEFT JOIN embedding_cache e
  ON (e.tenant, e.embedder_fingerprint, e.text_sha) = (%(tenant)s, %(fingerprint)s, r.text_sha)
WHERE r.place <= %(passages)s
ORDER BY r.doc_id, r.text_sha

-- name: history
-- The tests of earlier windows of the same length, newest first.
SELECT since, until, state, tests
FROM drift_report
WHERE tenant = %(tenant)s AND collection = %(collection)s AND source = %(source)s AND space_id = %(space)s
  AND until <= %(since)s AND until - since = %(until)s - %(since)s AND state <> 'nothing new'
ORDER BY until DESC
LIMIT %(limit)s

-- name: write
INSERT INTO drift_report (tenant, collection, source, since, until, space_id, door, external_id, state, sentence, notes, tests,
                          found)
VALUES (%(tenant)s, %(collection)s, %(source)s, %(since)s, %(until)s, %(space)s, %(door)s, %(external_id)s, %(state)s,
        %(sentence)s, %(notes)s, %(tests)s, %(found)s)
ON CONFLICT (tenant, collection, source, since, until) DO UPDATE
    SET space_id = EXCLUDED.space_id, door = EXCLUDED.door, external_id = EXCLUDED.external_id, state = EXCLUDED.state,
        sentence = EXCLUDED.sentence, notes = EXCLUDED.notes, tests = EXCLUDED.tests, found = EXCLUDED.found,
        at = clock_timestamp()
RETURNING id

-- name: report
UPDATE drift_report SET report = %(report)s WHERE id = %(number)s
