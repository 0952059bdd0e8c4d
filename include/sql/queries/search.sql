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
-- words is the question's own: what it stops is no term at all. With each, the question's word that it is a form of.
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
    SELECT unnest(tsvector_to_array(stem)) AS lexeme, word FROM kept
    UNION
    SELECT word, word FROM kept
)
SELECT lexeme, min(word) FROM lexemes GROUP BY lexeme ORDER BY lexeme;

-- name: statistics
-- In how many texts each term is, and of how many texts with how many words: as the last fold left it, with what the search
-- itself analyses. Terms that no text has are left out, unless a fold was cut short before it counted.
WITH fresh AS MATERIALIZED (
    SELECT to_tsvector(text_config(t.lang), t.body) AS tsv
    FROM (SELECT DISTINCT text_sha FROM (SELECT text_sha FROM text_pending WHERE tenant = %(tenant)s LIMIT %(pending)s) AS p) AS d
    JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = d.text_sha
), whole AS (
    SELECT coalesce(sum(texts), 0)::bigint AS texts, coalesce(sum(words), 0)::bigint AS words
    FROM (
        SELECT texts, words FROM lexicon WHERE tenant = %(tenant)s
        UNION ALL
        SELECT 1, (SELECT coalesce(sum(cardinality(u.positions)), 0) FROM unnest(tsv) AS u) FROM fresh
    ) AS parts
), asked AS (
    SELECT lexeme, term_query(lexeme) AS term FROM unnest(%(lexemes)s::text[]) AS lexeme
), counted AS (
    SELECT a.lexeme, a.term, greatest(0, coalesce(k.texts, 0)) + (SELECT count(*) FROM fresh f WHERE f.tsv @@ a.term) AS texts
    FROM asked a LEFT JOIN term k ON k.tenant = %(tenant)s AND k.lexeme = a.lexeme
)
SELECT c.lexeme, c.term::text, c.texts, w.texts, w.words
FROM counted c, whole w
WHERE c.texts > 0 OR EXISTS (SELECT FROM lexical_change WHERE tenant = %(tenant)s)
ORDER BY c.lexeme;

-- name: corpus
-- What a reader may be given, and how much of it there is; begins every statement below. A filter that is null folds away when
-- the statement is planned.
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
      AND {visible}
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
)

-- name: frequency
-- How often the text t has the term w. ts_rank of one term, without regard to length, is the sum of 1 / i^2 for i = 1 … tf over
-- that for i = 1 … infinity: tf is read back from it, without unfolding the vector.
LATERAL (SELECT ts_rank('{{1,1,1,1}}', t.tsv, w.term)::float8 AS rank) AS r,
LATERAL (SELECT round(6 / (pi() * pi() * (1 - r.rank)) - 0.5) AS tf) AS f

-- name: relevance
-- BM25 of the text t over all terms.
(
    SELECT sum(w.idf * (1 + %(k1)s::float8) * f.tf
               / (f.tf + %(k1)s::float8 * (1 - %(b)s::float8 + %(b)s::float8 * t.words / %(mean)s::float8)))
    FROM unnest(%(terms)s::text[]::tsquery[], %(idf)s::float8[]) AS w (term, idf), {frequency}
)

-- name: weigh
-- The best of the texts that match `match`. They are looked up in the corpus one after the other, until there are enough.
{corpus}, pending AS MATERIALIZED (  -- texts that no fold has analysed yet
    SELECT DISTINCT p.text_sha FROM (SELECT text_sha FROM text_pending WHERE tenant = %(tenant)s LIMIT %(pending)s) AS p
), few AS MATERIALIZED (
    SELECT DISTINCT e.text_sha FROM eligible e WHERE %(filtered)s AND (SELECT chunks FROM reach) <= %(exact_chunks)s
), worded AS (
    SELECT l.text_sha, l.tsv, l.words FROM lexical l
    WHERE l.tenant = %(tenant)s AND l.tsv @@ %(match)s::tsquery
      AND (NOT %(filtered)s OR (SELECT chunks FROM reach) > %(exact_chunks)s)
      AND (%(among)b::bytea[] IS NULL OR l.text_sha = ANY (%(among)b::bytea[]))
      AND NOT EXISTS (SELECT FROM pending p WHERE p.text_sha = l.text_sha)
    UNION ALL
    SELECT l.text_sha, l.tsv, l.words FROM few f JOIN lexical l ON l.tenant = %(tenant)s AND l.text_sha = f.text_sha
    WHERE l.tsv @@ %(match)s::tsquery
      AND (%(among)b::bytea[] IS NULL OR l.text_sha = ANY (%(among)b::bytea[]))
      AND NOT EXISTS (SELECT FROM pending p WHERE p.text_sha = l.text_sha)
    UNION ALL
    SELECT a.text_sha, a.tsv, (SELECT sum(cardinality(u.positions)) FROM unnest(a.tsv) AS u)
    FROM (
        SELECT t.text_sha, to_tsvector(text_config(t.lang), t.body) AS tsv
        FROM pending p JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = p.text_sha
        WHERE %(among)b::bytea[] IS NULL OR t.text_sha = ANY (%(among)b::bytea[])
    ) AS a
    WHERE a.tsv @@ %(match)s::tsquery
), weighed AS MATERIALIZED (
    SELECT t.text_sha, {relevance} AS relevance
    FROM worded t
), ordered AS MATERIALIZED (
    SELECT text_sha, relevance FROM weighed ORDER BY relevance DESC, text_sha
)
SELECT o.text_sha, o.relevance
FROM ordered o
WHERE EXISTS (SELECT FROM eligible e WHERE e.text_sha = o.text_sha)
ORDER BY o.relevance DESC, o.text_sha
LIMIT %(candidates)s;

-- name: surroundings
-- How often each term is in the passages around each of the texts, itself included, where it is shown first; with number 0, how
-- many words they have.
{corpus}, pending AS MATERIALIZED (  -- texts that no fold has analysed yet
    SELECT DISTINCT p.text_sha FROM (SELECT text_sha FROM text_pending WHERE tenant = %(tenant)s LIMIT %(pending)s) AS p
), placed AS MATERIALIZED (
    SELECT DISTINCT ON (e.text_sha) e.text_sha, e.doc_id, e.ordinal
    FROM eligible e
    WHERE e.text_sha = ANY (%(among)b::bytea[])
    ORDER BY e.text_sha, e.source_modified DESC NULLS LAST, e.source, e.uri, e.member, e.ordinal
), around AS MATERIALIZED (
    SELECT p.text_sha AS middle, c.text_sha
    FROM placed p
    CROSS JOIN LATERAL (  -- with the limit always by the index, a stretch at a time
        SELECT c.text_sha
        FROM chunk c
        WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND c.doc_id = p.doc_id
          AND c.ordinal BETWEEN p.ordinal - %(width)s AND p.ordinal + %(width)s
        ORDER BY c.ordinal
        LIMIT 2 * %(width)s + 1
    ) AS c
), analysed AS MATERIALIZED (
    SELECT l.text_sha, l.tsv, l.words
    FROM (SELECT DISTINCT text_sha FROM around) AS a
    JOIN lexical l ON l.tenant = %(tenant)s AND l.text_sha = a.text_sha
    WHERE NOT EXISTS (SELECT FROM pending p WHERE p.text_sha = l.text_sha)
    UNION ALL
    SELECT a.text_sha, a.tsv, (SELECT coalesce(sum(cardinality(u.positions)), 0) FROM unnest(a.tsv) AS u)
    FROM (
        SELECT t.text_sha, to_tsvector(text_config(t.lang), t.body) AS tsv
        FROM pending p JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = p.text_sha
        WHERE p.text_sha IN (SELECT text_sha FROM around)
    ) AS a
), counted AS MATERIALIZED (
    SELECT t.text_sha, w.number, f.tf
    FROM analysed t, unnest(%(terms)s::text[]::tsquery[]) WITH ORDINALITY AS w (term, number), {frequency}
    WHERE t.tsv @@ w.term
)
SELECT a.middle, 0, sum(t.words) FROM around a JOIN analysed t USING (text_sha) GROUP BY a.middle
UNION ALL
SELECT a.middle, c.number, sum(c.tf) FROM around a JOIN counted c USING (text_sha) GROUP BY a.middle, c.number;

-- name: nearest
-- The best by vector, with their cosine. Documents that are replaced often leave so many dead entries around their passages in
-- the index's graph that the living ones may not be reached before the next vacuum; so those of the newest documents are
-- compared one by one.
{corpus}, newest AS (
    SELECT d.doc_id, d.lang, d.loaded_at
    FROM served d
    WHERE d.tenant || ' ' || d.collection = %(tenant)s || ' ' || %(collection)s  -- as the index has it
      AND (NOT %(filtered)s OR (SELECT chunks FROM reach) > %(exact_chunks)s)
    ORDER BY d.loaded_at DESC NULLS LAST
    LIMIT %(newest_documents)s
), fresh AS MATERIALIZED (
    SELECT v.text_sha, v.embedding <#> %(vector)s::{type} AS distance
    FROM (
        SELECT c.text_sha
        FROM newest n
        JOIN chunk c ON c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND c.doc_id = n.doc_id
        WHERE %(lang)s::text IS NULL OR coalesce(nullif(c.lang, ''), n.lang) = %(lang)s::text
        ORDER BY n.loaded_at DESC NULLS LAST
        LIMIT %(newest_chunks)s
    ) AS c
    JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = c.text_sha
    ORDER BY (v.embedding <#> %(vector)s::{type}) + 0
    LIMIT %(candidates)s
), near AS MATERIALIZED (
    SELECT v.text_sha, v.embedding <#> %(vector)s::{type} AS distance
    FROM {table} v
    WHERE (NOT %(filtered)s OR (SELECT chunks FROM reach) > %(exact_chunks)s)
      AND v.tenant = %(tenant)s
      AND EXISTS (SELECT FROM eligible e WHERE e.text_sha = v.text_sha)
    ORDER BY v.embedding <#> %(vector)s::{type}
    LIMIT %(candidates)s
), exact AS MATERIALIZED (  -- few rows match, or the index scan gave up early: compare them all ("+ 0" keeps the index out)
    SELECT v.text_sha, v.embedding <#> %(vector)s::{type} AS distance
    FROM (SELECT DISTINCT text_sha FROM eligible) AS e
    JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = e.text_sha
    WHERE (SELECT count(*) FROM near) < %(candidates)s
    ORDER BY (v.embedding <#> %(vector)s::{type}) + 0, v.text_sha
    LIMIT %(candidates)s
)
SELECT text_sha, -distance AS similarity
FROM (SELECT * FROM near UNION SELECT * FROM exact UNION SELECT * FROM fresh) AS best
ORDER BY distance, text_sha
LIMIT %(candidates)s;

-- name: similarities
SELECT v.text_sha, -(v.embedding <#> %(vector)s::{type}) AS similarity
FROM {table} v
WHERE v.tenant = %(tenant)s AND v.text_sha = ANY (%(among)b::bytea[]);

-- name: passages
-- What there is to say of the chosen texts, in their order; one row for each document, as far as PLACES go.
{corpus}
SELECT f.text_sha, p.doc_id, p.ordinal, p.source, p.uri, p.member, p.title, p.heading_path, p.char_start, p.char_end,
       right(t.body, p.char_end - p.char_start) AS passage,  -- the body ends with it, after any heading prefix
       p.lang, p.media_type, p.loaded_version AS source_version, p.source_modified AS modified, p.metadata,
       left(head.body, 1000) ~* %(superseded)s AS superseded
FROM unnest(%(chosen)s::bytea[]) WITH ORDINALITY AS f (text_sha, place)
JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = f.text_sha
CROSS JOIN LATERAL (
    SELECT e.*
    FROM eligible e
    WHERE e.text_sha = f.text_sha
    ORDER BY e.source_modified DESC NULLS LAST, e.source, e.uri, e.member, e.ordinal
    LIMIT %(places)s
) AS p
LEFT JOIN chunk c0 ON c0.tenant = %(tenant)s AND c0.chunk_set = %(chunk_set)s AND c0.doc_id = p.doc_id AND c0.ordinal = 0
LEFT JOIN text head ON head.tenant = c0.tenant AND head.text_sha = c0.text_sha
ORDER BY f.place, p.source_modified DESC NULLS LAST, p.source, p.uri, p.member, p.ordinal;
