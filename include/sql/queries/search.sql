-- name: snapshot
-- The space, its vectors and its documents as of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: settings
-- Iterative scans, so that a filter never leaves the index scan short; custom plans, so that absent filters and legs are
-- planned away; a deadline, so that no query holds a connection for long.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
       set_config('hnsw.ef_search', %(ef_search)s, true),
       set_config('hnsw.max_scan_tuples', %(max_scan_tuples)s, true),
       set_config('hnsw.scan_mem_multiplier', %(scan_mem_multiplier)s, true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('jit', 'off', true),
       set_config('statement_timeout', %(timeout)s, true);

-- name: collections
SELECT collection FROM space WHERE tenant = %(tenant)s AND state = 'active' ORDER BY collection;

-- name: terms
-- The question's first words as one OR query over the stems of every language that texts are indexed in, so that a text is
-- found in its own language, and over the plain words, for texts in other languages. The language that stops most of the
-- words is the question's own: what it stops is no term at all.
WITH words AS (
    SELECT lexeme AS word
    FROM unnest(to_tsvector('simple', %(text)s))
    ORDER BY positions[1], lexeme
    LIMIT %(words)s
), stems AS (
    SELECT lang, word, to_tsvector(text_config(lang), word) AS stem
    FROM words, unnest(ARRAY['en', 'de', 'fr', 'es', 'it', 'nl', 'pt']) AS lang
), stops AS (
    SELECT array_agg(word) AS words, rank() OVER (ORDER BY count(*) DESC) AS place
    FROM stems
    WHERE stem = ''::tsvector
    GROUP BY lang
), kept AS (
    SELECT s.word, s.stem
    FROM stems s
    WHERE NOT EXISTS (SELECT FROM stops WHERE place = 1 AND s.word = ANY (stops.words))
), lexemes AS (
    SELECT unnest(tsvector_to_array(stem)) AS lexeme FROM kept
    UNION
    SELECT word FROM kept
)
SELECT lexeme, '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''' AS term
FROM lexemes
ORDER BY lexeme;

-- name: frequencies
-- In how many texts each term is, counted up to a limit beyond which it is simply common; and of how many.
WITH fresh AS MATERIALIZED (  -- of texts that no fold has analysed yet
    SELECT to_tsvector(text_config(t.lang), t.body) AS tsv
    FROM (SELECT text_sha FROM text_pending WHERE tenant = %(tenant)s LIMIT %(pending)s) AS p
    JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = p.text_sha
)
SELECT w.lexeme, w.term,
       (SELECT count(*)
        FROM (SELECT FROM lexical l WHERE l.tenant = %(tenant)s AND l.tsv @@ w.term::tsquery LIMIT %(common)s) AS f)
       + (SELECT count(*) FROM fresh WHERE tsv @@ w.term::tsquery) AS texts,
       (SELECT count(*) FROM (SELECT FROM text t WHERE t.tenant = %(tenant)s LIMIT %(many)s) AS n) AS total
FROM unnest(%(lexemes)s::text[], %(terms)s::text[]) AS w (lexeme, term)
ORDER BY w.lexeme;

-- name: search
-- Every mode in one statement, so that tenant, space and filters are written once and each document is seen in one version.
-- A leg that the mode leaves out, and a filter that is null, fold away when the statement is planned.
WITH served AS NOT MATERIALIZED (
    SELECT d.*
    FROM document d
    WHERE d.tenant = %(tenant)s
      AND d.collection = %(collection)s
      AND d.state IN ('loaded', 'quarantined')
      AND d.loaded_version IS NOT NULL
      AND (%(sources)s::text[] IS NULL OR d.source = ANY (%(sources)s::text[]))
      AND (%(uri_prefix)s::text IS NULL  -- the first line is what the index on addresses can answer
           OR (starts_with(left(d.uri, 600), left(%(uri_prefix)s::text, 600))
               AND starts_with(d.uri, %(uri_prefix)s::text)))
      AND (%(since)s::timestamptz IS NULL OR d.source_modified >= %(since)s::timestamptz)
      AND (%(until)s::timestamptz IS NULL OR d.source_modified < %(until)s::timestamptz)
      AND (%(media_types)s::text[] IS NULL OR d.media_type = ANY (%(media_types)s::text[]))
      AND (%(metadata)s::jsonb IS NULL OR d.metadata @> %(metadata)s::jsonb)
), eligible AS NOT MATERIALIZED (
    SELECT c.text_sha, c.doc_id, c.ordinal, c.heading_path, c.char_start, c.char_end,
           coalesce(nullif(c.lang, ''), d.lang) AS lang,
           d.source, d.uri, d.member, d.title, d.media_type, d.loaded_version, d.source_modified, d.metadata
    FROM served d
    JOIN chunk c ON c.tenant = d.tenant AND c.chunk_set = %(chunk_set)s AND c.doc_id = d.doc_id
    WHERE %(lang)s::text IS NULL OR coalesce(nullif(c.lang, ''), d.lang) = %(lang)s::text
), reach AS MATERIALIZED (  -- stops counting once the answer is "many"
    SELECT coalesce(sum(chunk_count), 0) AS chunks
    FROM (SELECT chunk_count FROM served LIMIT %(exact_chunks)s + 1) AS counted
), near AS MATERIALIZED (
    SELECT v.text_sha, v.embedding <#> %(vector)s::{type} AS distance
    FROM {table} v
    WHERE %(dense)s
      AND (NOT %(filtered)s OR (SELECT chunks FROM reach) > %(exact_chunks)s)
      AND v.tenant = %(tenant)s
      AND EXISTS (SELECT FROM eligible e WHERE e.text_sha = v.text_sha)
    ORDER BY v.embedding <#> %(vector)s::{type}
    LIMIT %(candidates)s
), exact AS MATERIALIZED (  -- few rows match, or the index scan gave up early: compare them all ("+ 0" keeps the index out)
    SELECT v.text_sha, v.embedding <#> %(vector)s::{type} AS distance
    FROM (SELECT DISTINCT text_sha FROM eligible) AS e
    JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = e.text_sha
    WHERE %(dense)s
      AND (SELECT count(*) FROM near) < %(candidates)s
    ORDER BY (v.embedding <#> %(vector)s::{type}) + 0, v.text_sha
    LIMIT %(candidates)s
), dense AS (
    SELECT text_sha, row_number() OVER (ORDER BY distance, text_sha) AS rank
    FROM (SELECT * FROM near UNION SELECT * FROM exact) AS found
    ORDER BY rank
    LIMIT %(candidates)s
), pending AS MATERIALIZED (  -- texts that no fold has analysed yet
    SELECT DISTINCT p.text_sha FROM (SELECT text_sha FROM text_pending WHERE tenant = %(tenant)s LIMIT %(pending)s) AS p
    WHERE %(lexical)s
), worded AS NOT MATERIALIZED (
    SELECT l.text_sha, l.tsv FROM lexical l
    WHERE l.tenant = %(tenant)s AND l.tsv @@ %(terms)s::tsquery AND NOT EXISTS (SELECT FROM pending p WHERE p.text_sha = l.text_sha)
    UNION ALL
    SELECT t.text_sha, to_tsvector(text_config(t.lang), t.body)
    FROM pending p JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = p.text_sha
), matching AS MATERIALIZED (  -- a first look at every match, with what Postgres ranks by itself
    SELECT t.text_sha, t.tsv, ts_rank(t.tsv, %(terms)s::tsquery, 1) AS relevance
    FROM worded t
    WHERE %(lexical)s
      AND t.tsv @@ %(terms)s::tsquery
      AND EXISTS (SELECT FROM eligible e WHERE e.text_sha = t.text_sha)
    ORDER BY relevance DESC, t.text_sha
    LIMIT %(scored)s
), weighed AS (  -- BM25 of the promising ones: rare words count more than common ones, which ts_rank cannot know
    SELECT m.text_sha, sum(w.idf * u.tf * 2.2 / (u.tf + 1.2 * (0.25 + 0.75 * m.size / m.mean))) AS relevance,
           sum(w.idf) / %(idf_total)s::float8 AS share
    FROM (SELECT text_sha, tsv, length(tsv)::float8 AS size, avg(length(tsv)) OVER ()::float8 AS mean FROM matching) AS m
    CROSS JOIN LATERAL (SELECT lexeme, cardinality(positions)::float8 AS tf FROM unnest(m.tsv)) AS u
    JOIN unnest(%(lexemes)s::text[], %(idf)s::float8[]) AS w (lexeme, idf) ON w.lexeme = u.lexeme
    GROUP BY m.text_sha
), lexical AS (
    SELECT text_sha, share, row_number() OVER (ORDER BY relevance DESC, text_sha) AS rank
    FROM weighed
    ORDER BY rank
    LIMIT %(candidates)s
), fused AS (
    SELECT text_sha, d.rank AS dense_rank, l.rank AS text_rank,
           coalesce(%(dense_weight)s::float8 / (%(rrf_k)s + d.rank), 0)
           + coalesce(%(text_weight)s::float8 * l.share / (%(rrf_k)s + l.rank), 0) AS score
    FROM dense d FULL JOIN lexical l USING (text_sha)
    ORDER BY score DESC, text_sha
    LIMIT %(rows)s
)
SELECT f.text_sha, p.doc_id, p.ordinal, p.source, p.uri, p.member, p.title, p.heading_path, p.char_start, p.char_end,
       right(t.body, p.char_end - p.char_start) AS passage,  -- the body ends with it, after any heading prefix
       p.lang, p.media_type, p.loaded_version AS source_version, p.source_modified AS modified, p.metadata,
       f.score, f.dense_rank, f.text_rank, -(v.embedding <#> %(vector)s::{type}) AS similarity,
       left(head.body, 1000) ~* %(superseded)s AS superseded
FROM fused f
JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = f.text_sha
LEFT JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = f.text_sha
CROSS JOIN LATERAL (
    SELECT e.*
    FROM eligible e
    WHERE e.text_sha = f.text_sha
    ORDER BY e.source_modified DESC NULLS LAST, e.source, e.uri, e.member, e.ordinal
    LIMIT %(places)s
) AS p
LEFT JOIN chunk c0 ON c0.tenant = %(tenant)s AND c0.chunk_set = %(chunk_set)s AND c0.doc_id = p.doc_id AND c0.ordinal = 0
LEFT JOIN text head ON head.tenant = c0.tenant AND head.text_sha = c0.text_sha
ORDER BY f.score DESC, f.text_sha, p.source_modified DESC NULLS LAST, p.source, p.uri, p.member, p.ordinal;
