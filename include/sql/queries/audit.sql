-- name: snapshot
-- Every statement of one audit sees the same instant, so what is being published meanwhile is no damage.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: memory
-- Vectors are joined with their cached ones: 100,000 of 384 dimensions fit into this, twice. Whole tables are compared, and
-- after a first load nobody has counted their rows yet: what the planner takes for a few rows would be a quadratic loop.
SELECT set_config('work_mem', '128MB', true), set_config('enable_nestloop', 'off', true)

-- name: spaces
-- Of spaces that share a table the one that serves.
SELECT DISTINCT ON (holder) id, chunk_set, embedder_fingerprint, dim, storage, state,
       to_regclass(format('millrace.space_%%s', holder)) IS NOT NULL AS stored, holder
FROM space WHERE tenant = %(tenant)s AND state <> 'retired' ORDER BY holder, state <> 'active', id

-- name: ledger
-- Every row is a damage; no row means that documents, chunks, quarantine and runs agree.
WITH
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
SELECT 'mixed_chunk_sets', d.doc_id, d.uri, coalesce('served from chunk set ' || d.chunk_set || ', its collection '
       || d.collection || ' from ' || a.chunk_set, 'its collection ' || d.collection || ' has no active space')
FROM doc d LEFT JOIN active a USING (tenant, collection)
WHERE d.chunk_count > 0 AND d.chunk_set IS DISTINCT FROM a.chunk_set

UNION ALL
SELECT 'no_chunks', d.doc_id, d.uri, d.state || ', ledger says ' || d.chunk_count || ' chunks, none found'
FROM doc d LEFT JOIN served s USING (tenant, doc_id, chunk_set)
WHERE (d.chunk_count > 0 OR d.loaded_version IS NOT NULL) AND s.doc_id IS NULL

UNION ALL
SELECT 'unserved_chunks', d.doc_id, d.uri,
       d.state || ', has ' || s.chunks || ' chunks in chunk set ' || s.chunk_set || ', which it is not served from'
FROM doc d
JOIN served s USING (tenant, doc_id)
LEFT JOIN standby b ON b.tenant = s.tenant AND b.doc_id = s.doc_id AND b.chunk_set = s.chunk_set
WHERE d.chunk_count = 0 OR (s.chunk_set IS DISTINCT FROM d.chunk_set AND b.doc_id IS NULL)

UNION ALL
-- Passages beside the served ones: complete as they were written, of a served document, for a space that is kept.
SELECT 'standby_chunks', d.doc_id, d.uri, 'in chunk set ' || b.chunk_set || ', which it is not served from: '
       || CASE WHEN d.chunk_count = 0 THEN 'the document serves nothing'
          WHEN d.chunk_set = b.chunk_set THEN 'it is served from it'
          WHEN k.chunk_set IS NULL THEN 'no space of ' || d.collection || ' uses it'
          ELSE 'noted ' || b.chunk_count || ' chunks, found ' || coalesce(s.chunks, 0) || CASE
               WHEN s.chunks = b.chunk_count THEN ', not those that were written' ELSE '' END END
FROM doc d
JOIN standby b USING (tenant, doc_id)
LEFT JOIN served s ON s.tenant = b.tenant AND s.doc_id = b.doc_id AND s.chunk_set = b.chunk_set
LEFT JOIN (SELECT DISTINCT tenant, collection, chunk_set FROM space WHERE state <> 'retired') k
  ON k.tenant = d.tenant AND k.collection = d.collection AND k.chunk_set = b.chunk_set
WHERE d.chunk_count = 0 OR d.chunk_set = b.chunk_set OR k.chunk_set IS NULL OR s.chunks IS DISTINCT FROM b.chunk_count::bigint
   OR s.digest IS DISTINCT FROM b.chunk_digest

UNION ALL
SELECT 'orphan_attachment', d.doc_id, d.uri, 'attachment ' || d.member || ' is ' || d.state || ', its object is '
       || coalesce(p.state, 'not in the ledger')
FROM doc d LEFT JOIN document p ON p.tenant = d.tenant AND p.doc_id = d.parent_doc_id
WHERE d.member <> '' AND d.state <> 'deleted' AND coalesce(p.state, 'deleted') = 'deleted'
  AND NOT (d.state = 'quarantined' AND d.parent_doc_id IS NULL)

UNION ALL
SELECT 'attachments', d.doc_id, d.uri, 'ledger says ' || d.members || ' attachments, found ' || m.found
FROM doc d
CROSS JOIN LATERAL (
    SELECT count(*) AS found FROM document m
    WHERE m.tenant = d.tenant AND m.parent_doc_id = d.doc_id AND m.state <> 'deleted') m
WHERE d.loaded_version IS NOT NULL AND d.member = '' AND d.members <> m.found

UNION ALL
SELECT 'wrong_identity', d.doc_id, d.uri, 'the row''s key is not that of its source, address and attachment'
FROM doc d
WHERE d.state <> 'deleted' AND d.doc_id <> sha256(
    int8send(octet_length(d.source)) || convert_to(d.source, 'UTF8') || int8send(octet_length(d.uri))
    || convert_to(d.uri, 'UTF8') || int8send(octet_length(d.member)) || convert_to(d.member, 'UTF8'))

UNION ALL
SELECT 'quarantine_without_entry', d.doc_id, d.uri, 'in quarantine as ' || d.reason || ' without an open entry'
FROM doc d
WHERE d.state = 'quarantined' AND NOT EXISTS (
    SELECT FROM quarantine q
    WHERE q.tenant = d.tenant AND q.source = d.source AND q.doc_id = d.doc_id AND q.resolved_at IS NULL)

UNION ALL
SELECT 'entry_without_quarantine', q.doc_id, q.uri, count(*) || ' open entries, the ledger says '
       || coalesce(d.state, 'nothing')
FROM quarantine q LEFT JOIN document d ON d.tenant = q.tenant AND d.doc_id = q.doc_id
WHERE q.tenant = %(tenant)s AND (%(source)s::text IS NULL OR q.source = %(source)s) AND q.resolved_at IS NULL
  AND d.state IS DISTINCT FROM 'quarantined'
GROUP BY q.doc_id, q.uri, d.state

UNION ALL
SELECT 'attempts', d.doc_id, d.uri, d.attempts || ' failed tries of a document that is ' || d.state
FROM doc d
WHERE d.state <> 'quarantined' AND d.attempts <> 0

UNION ALL
SELECT 'run_missing', d.doc_id, d.uri, 'written by run ' || d.run_id || ', which is not in the ledger'
FROM doc d LEFT JOIN run r ON r.id = d.run_id
WHERE r.id IS NULL

UNION ALL
SELECT 'wrong_run', d.doc_id, d.uri, 'of ' || d.source || ' in ' || d.collection || ', written by run ' || r.id || ' of '
       || r.source || ' in ' || r.collection
FROM doc d JOIN run r ON r.id = d.run_id
WHERE d.state <> 'deleted' AND (d.tenant, d.source, d.collection) IS DISTINCT FROM (r.tenant, r.source, r.collection)

UNION ALL
-- Deleted objects are known, not listed.
SELECT 'accounting', NULL, r.source, 'run ' || r.id || ' listed ' || coalesce(r.listed::text, 'nothing') || ', accounts for ' || t.total
FROM run r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(value::bigint), 0) AS total FROM jsonb_each_text(r.counts) WHERE key <> 'deleted'
) t
WHERE r.tenant = %(tenant)s AND (%(source)s::text IS NULL OR r.source = %(source)s)
  AND r.state = 'succeeded' AND r.listed IS DISTINCT FROM t.total

UNION ALL
-- The other direction: what the source's newest run listed is in the ledger. Judged only while nobody else has written.
SELECT 'documents_missing', NULL, r.source,
       'run ' || r.id || ' left ' || r.wanted || ' documents under ' || r.scope || ', the ledger has ' || p.present
FROM (
    SELECT DISTINCT ON (source) *, listed - coalesce((counts ->> 'excluded')::bigint, 0) AS wanted
    FROM run
    WHERE tenant = %(tenant)s AND (%(source)s::text IS NULL OR source = %(source)s)
    ORDER BY source, id DESC
) r
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.state <> 'deleted') AS present,
           count(*) FILTER (WHERE d.run_id <> r.id AND d.fence > r.fence) AS later
    FROM document d
    WHERE d.tenant = r.tenant AND d.source = r.source AND d.member = '' AND d.uri ^@ r.scope
) p
WHERE r.state = 'succeeded' AND p.present < r.wanted AND p.later = 0

-- name: wrong_vectors
-- The vectors of one space that are not what the embedder gave for a stored text. The space was filled from the cache, so
-- the two are equal; a cached vector beyond the storage type's range is told before it is converted.
SELECT v.text_sha, CASE
    WHEN t.text_sha IS NULL THEN 'vector_without_text'
    WHEN {norm}(v.embedding) NOT BETWEEN 0.99 AND 1.01 THEN 'bad_vector'
    ELSE 'altered_vector' END AS check_name
FROM {table} v
LEFT JOIN text t ON t.tenant = v.tenant AND t.text_sha = v.text_sha
LEFT JOIN embedding_cache e
  ON e.tenant = v.tenant AND e.embedder_fingerprint = {fingerprint} AND e.text_sha = v.text_sha
WHERE v.tenant = %(tenant)s AND (t.text_sha IS NULL OR {norm}(v.embedding) NOT BETWEEN 0.99 AND 1.01 OR CASE
    WHEN e.text_sha IS NULL THEN false
    WHEN vector_dims(e.embedding) <> {dim} OR vector_norm(e.embedding) > 1.01 THEN true
    ELSE e.embedding::{type} <> v.embedding END)

-- name: vectors
-- The wrong vectors of a space with every document that is served by them, and those of no document.
WITH wrong AS ({wrong})
SELECT w.check_name, d.doc_id, coalesce(d.uri, ''), count(*) || ' vectors of space ' || {id}
       || CASE w.check_name WHEN 'vector_without_text' THEN ' belong to no text'
          WHEN 'bad_vector' THEN ' are not of length 1' ELSE ' are not what the embedder gave' END
FROM wrong w
LEFT JOIN chunk c ON c.tenant = %(tenant)s AND c.chunk_set = {chunk_set} AND c.text_sha = w.text_sha
LEFT JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
WHERE %(source)s::text IS NULL OR d.source IS NULL OR d.source = %(source)s
GROUP BY w.check_name, d.doc_id, d.uri

-- name: missing_vectors
SELECT 'missing_vectors', d.doc_id, d.uri, count(*) || ' chunks without a vector in space ' || {id}
FROM document d
JOIN space a ON a.tenant = d.tenant AND a.collection = d.collection AND a.id = {id}
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = a.chunk_set AND c.doc_id = d.doc_id
WHERE d.tenant = %(tenant)s AND (%(source)s::text IS NULL OR d.source = %(source)s)
  AND NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = c.tenant AND v.text_sha = c.text_sha)
GROUP BY d.doc_id, d.uri

-- name: space_without_table
SELECT 'space_without_table', NULL::bytea, '', 'the table of space ' || {id} || ' is gone'

-- name: cached_vectors
SELECT 'bad_cached_vector', NULL::bytea, '', count(*) || ' cached vectors of ' || embedder_fingerprint || ' are not of length 1'
FROM embedding_cache
WHERE tenant = %(tenant)s AND vector_norm(embedding) NOT BETWEEN 0.99 AND 1.01
GROUP BY embedder_fingerprint

-- name: altered_texts
-- A text is stored by the digest of its length and its bytes (records.sha256).
SELECT t.text_sha FROM text t
WHERE t.tenant = %(tenant)s
  AND t.text_sha <> sha256(int8send(octet_length(t.body)) || convert_to(t.body, 'UTF8'))

-- name: texts
WITH altered AS ({altered})
SELECT 'altered_text', d.doc_id, coalesce(d.uri, ''), count(*) || ' texts are not those of their digest'
FROM altered a
LEFT JOIN chunk c ON c.tenant = %(tenant)s AND c.text_sha = a.text_sha
LEFT JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
WHERE %(source)s::text IS NULL OR d.source IS NULL OR d.source = %(source)s
GROUP BY d.doc_id, d.uri

-- name: wrong_terms
-- Texts whose terms no search finds, or that are not those that were written; what is pending is on its way.
SELECT t.text_sha FROM text t
LEFT JOIN lexical l ON l.tenant = t.tenant AND l.text_sha = t.text_sha
WHERE t.tenant = %(tenant)s AND (l.text_sha IS NULL OR l.mark <> hashtextextended(l.tsv::text, l.words))
  AND NOT EXISTS (SELECT FROM text_pending p WHERE p.tenant = t.tenant AND p.text_sha = t.text_sha)

-- name: terms
SELECT 'wrong_terms', d.doc_id, coalesce(d.uri, ''), count(*) || ' texts are not in full-text search as they should be'
FROM ({wrong}) AS w
LEFT JOIN chunk c ON c.tenant = %(tenant)s AND c.text_sha = w.text_sha
LEFT JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
WHERE %(source)s::text IS NULL OR d.source IS NULL OR d.source = %(source)s
GROUP BY d.doc_id, d.uri

-- name: terms_without_text
SELECT 'terms_without_text', NULL::bytea, '', count(*) || ' rows of full-text search have no text'
FROM lexical l
WHERE l.tenant = %(tenant)s AND NOT EXISTS (SELECT FROM text t WHERE t.tenant = l.tenant AND t.text_sha = l.text_sha)
HAVING count(*) > 0

-- name: term_statistics
-- What is kept, with the changes that no fold has summed up yet, against the terms themselves: all texts and words, and how
-- many texts have each of some terms, of some texts that the moment picks and of the kept ones.
WITH change AS MATERIALIZED (
    SELECT terms, words, texts FROM lexical_change WHERE tenant = %(tenant)s
), whole AS (
    SELECT (SELECT coalesce(sum(texts), 0) FROM lexicon WHERE tenant = %(tenant)s) + coalesce(sum(texts), 0) AS texts,
           (SELECT coalesce(sum(words), 0) FROM lexicon WHERE tenant = %(tenant)s) + coalesce(sum(words), 0) AS words
    FROM change
), live AS (
    SELECT count(*) AS texts, coalesce(sum(words), 0) AS words FROM lexical WHERE tenant = %(tenant)s
), drawn AS MATERIALIZED (
    SELECT u.lexeme COLLATE "C" AS lexeme
    FROM (SELECT sha256(convert_to(now()::text, 'UTF8')) AS sha) AS point,
         LATERAL ((SELECT l.tsv FROM lexical l WHERE l.tenant = %(tenant)s AND l.text_sha >= point.sha
                   ORDER BY l.text_sha LIMIT 3)
                  UNION ALL
                  (SELECT l.tsv FROM lexical l WHERE l.tenant = %(tenant)s AND l.text_sha < point.sha
                   ORDER BY l.text_sha DESC LIMIT 3)) AS t,
         LATERAL (SELECT lexeme FROM unnest(tsvector_to_array(t.tsv)) AS lexeme ORDER BY hashtext(lexeme) LIMIT 10) AS u
    UNION
    (SELECT lexeme FROM term WHERE tenant = %(tenant)s
     ORDER BY hashtextextended(lexeme, extract(epoch FROM now())::bigint) LIMIT 20)
), counted AS (
    SELECT d.lexeme, coalesce((SELECT k.texts FROM term k WHERE k.tenant = %(tenant)s AND k.lexeme = d.lexeme), 0)
           + (SELECT coalesce(sum(c.texts), 0) FROM change c WHERE c.terms @@ q.term) AS kept,
           (SELECT count(*) FROM lexical l WHERE l.tenant = %(tenant)s AND l.tsv @@ q.term) AS live
    FROM drawn d, LATERAL (SELECT term_query(d.lexeme) AS term) AS q
)
SELECT 'term_statistics', NULL::bytea, '', 'kept for full-text search: ' || w.texts || ' texts of ' || w.words || ' words, found '
       || l.texts || ' of ' || l.words || '; wrong counts of ' || c.wrong || ' of ' || c.drawn || ' terms'
FROM whole w, live l, (SELECT count(*) AS drawn, count(*) FILTER (WHERE kept <> live) AS wrong FROM counted) AS c
WHERE (w.texts, w.words) <> (l.texts, l.words) OR c.wrong > 0

-- name: final_state
SELECT d.uri, d.member, c.ordinal, c.text_sha, vector_send(v.embedding::vector)
FROM document d
JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = d.chunk_set AND c.doc_id = d.doc_id
LEFT JOIN {table} v ON v.tenant = c.tenant AND v.text_sha = c.text_sha
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
ORDER BY d.uri COLLATE "C", d.member COLLATE "C", c.ordinal

-- name: sample
-- Whole objects whose loaded bytes the ledger claims to know, in an order that only the seed decides.
SELECT d.doc_id, d.uri, d.source_version, d.bytes, d.content_sha, d.fence
FROM document d
WHERE d.tenant = %(tenant)s AND d.source = %(source)s AND d.member = '' AND d.state = 'loaded'
ORDER BY sha256(d.doc_id || int8send(%(seed)s::bigint)) LIMIT %(count)s
