-- name: deadline
SELECT set_config('statement_timeout', %(timeout)s, true)

-- name: bounds
-- When the collection's first run began, before which nothing was served, what time it is, and since when its past is whole.
SELECT min(started_at), clock_timestamp(),
       (SELECT before FROM past_forgotten WHERE tenant = %(tenant)s AND collection = %(collection)s)
FROM run WHERE tenant = %(tenant)s AND collection = %(collection)s

-- name: run
SELECT collection, state, finished_at FROM run WHERE tenant = %(tenant)s AND id = %(run_id)s

-- name: chunk_set
-- The chunk set that served then, and whether its passages are kept.
SELECT s.chunk_set, EXISTS (
    SELECT FROM space o
    WHERE (o.tenant, o.collection, o.chunk_set) = (s.tenant, s.collection, s.chunk_set) AND o.state <> 'retired')
FROM space_history h JOIN space s ON s.id = h.space_id
WHERE s.tenant = %(tenant)s AND s.collection = %(collection)s AND h.state = 'active' AND h.at <= %(moment)s
ORDER BY h.at DESC, h.id DESC
LIMIT 1

-- name: passages_then
-- What a reader would have been given at the moment; begins every statement below. Who may see a document, and what else is
-- asked of it, is by its labels now: those of then are not kept. Each document's passages are of one chunk set, that which
-- served then where it has any.
WITH allowed AS NOT MATERIALIZED (
    SELECT d.*
    FROM document d
    WHERE d.tenant = %(tenant)s
      AND d.collection = %(collection)s
      AND (%(among)b::bytea[] IS NULL OR d.doc_id = ANY (%(among)b::bytea[]))
      AND (%(sources)s::text[] IS NULL OR d.source = ANY (%(sources)s::text[]))
      AND (%(uri_prefix)s::text IS NULL OR starts_with(d.uri, %(uri_prefix)s::text))
      AND (%(since)s::timestamptz IS NULL OR d.source_modified >= %(since)s::timestamptz)
      AND (%(until)s::timestamptz IS NULL OR d.source_modified < %(until)s::timestamptz)
      AND (%(media_types)s::text[] IS NULL OR d.media_type = ANY (%(media_types)s::text[]))
      AND (%(metadata)s::jsonb IS NULL OR d.metadata @> %(metadata)s::jsonb)
      AND {visible}
), cut AS NOT MATERIALIZED (
    SELECT c.chunk_set, c.doc_id, c.ordinal, c.text_sha, c.heading_path, c.char_start, c.char_end, c.lang, NULL AS body
    FROM allowed d JOIN chunk c ON c.tenant = d.tenant AND c.doc_id = d.doc_id
    WHERE c.valid_from <= %(moment)s AND c.chunk_set = ANY (ARRAY(SELECT id FROM chunk_set))
    UNION ALL
    SELECT p.chunk_set, p.doc_id, p.ordinal, p.text_sha, p.heading_path, p.char_start, p.char_end, p.lang, p.body
    FROM allowed d JOIN chunk_past p ON p.tenant = d.tenant AND p.doc_id = d.doc_id
    WHERE p.valid_from <= %(moment)s AND p.valid_to > %(moment)s
), chosen AS (
    SELECT doc_id, coalesce(max(chunk_set) FILTER (WHERE chunk_set = %(chunk_set_then)s),
                            max(chunk_set) FILTER (WHERE chunk_set = %(chunk_set)s), max(chunk_set)) AS chunk_set
    FROM cut GROUP BY doc_id
), served AS MATERIALIZED (
    SELECT c.doc_id, c.ordinal, c.text_sha, c.heading_path, c.char_start, c.char_end, c.body,
           coalesce(nullif(c.lang, ''), d.lang) AS lang,
           -- A version is known where the passages served now are those of then.
           CASE WHEN c.body IS NULL AND d.loaded_at <= %(moment)s THEN coalesce(d.loaded_version, '') ELSE '' END AS version,
           d.source, d.uri, d.member, d.title, d.media_type, d.source_modified, d.metadata
    FROM chosen JOIN cut c USING (doc_id, chunk_set) JOIN allowed d USING (doc_id)
    WHERE %(lang)s::text IS NULL OR coalesce(nullif(c.lang, ''), d.lang) = %(lang)s::text
)

-- name: texts_then
-- Every text of those passages once, analysed: replaced ones have their words beside them, and no row in `lexical` any more.
texts AS MATERIALIZED (
    SELECT text_sha, max(body) AS body, max(lang) AS lang FROM served GROUP BY text_sha
), analysed AS MATERIALIZED (
    SELECT x.text_sha, l.tsv, l.words
    FROM texts x JOIN lexical l ON l.tenant = %(tenant)s AND l.text_sha = x.text_sha
    UNION ALL
    SELECT a.text_sha, a.tsv, (SELECT coalesce(sum(cardinality(u.positions)), 0) FROM unnest(a.tsv) AS u)
    FROM (
        SELECT x.text_sha, to_tsvector(text_config(coalesce(t.lang, x.lang)), coalesce(t.body, x.body)) AS tsv
        FROM texts x LEFT JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = x.text_sha
        WHERE NOT EXISTS (SELECT FROM lexical l WHERE l.tenant = %(tenant)s AND l.text_sha = x.text_sha)
    ) AS a
)

-- name: statistics
-- How many texts with how many words were served, how many of them have no vector, and in how many each term is.
{passages}, {texts}, whole AS (
    SELECT count(*) AS texts, coalesce(sum(words), 0)::bigint AS words FROM analysed
), lacking AS (
    SELECT count(*) AS texts
    FROM texts x
    WHERE NOT EXISTS (SELECT FROM {table} v WHERE v.tenant = %(tenant)s AND v.text_sha = x.text_sha)
      AND NOT EXISTS (
        SELECT FROM embedding_cache e
        WHERE (e.tenant, e.embedder_fingerprint, e.text_sha) = (%(tenant)s, %(fingerprint)s, x.text_sha))
), counted AS (
    SELECT q.lexeme, term_query(q.lexeme) AS term,
           (SELECT count(*) FROM analysed a WHERE a.tsv @@ term_query(q.lexeme)) AS texts
    FROM unnest(%(lexemes)s::text[]) AS q (lexeme)
)
SELECT w.texts, w.words, l.texts, c.lexeme, c.term::text, c.texts
FROM whole w CROSS JOIN lacking l LEFT JOIN counted c ON c.texts > 0
ORDER BY c.term::text

-- name: scores
-- The best of each leg, all texts compared; each with both scores.
{passages}, {texts}, scored AS (
    SELECT t.text_sha, -(coalesce(v.embedding, e.embedding::{type}) <#> %(vector)s::{type}) AS similarity,
           CASE WHEN t.tsv @@ %(match)s::tsquery THEN {relevance} END AS relevance
    FROM analysed t
    LEFT JOIN {table} v ON v.tenant = %(tenant)s AND v.text_sha = t.text_sha
    LEFT JOIN embedding_cache e
      ON (e.tenant, e.embedder_fingerprint, e.text_sha) = (%(tenant)s, %(fingerprint)s, t.text_sha)
), placed AS (
    SELECT text_sha, similarity, relevance,
           row_number() OVER (ORDER BY similarity DESC NULLS LAST, text_sha) AS near,
           row_number() OVER (ORDER BY relevance DESC NULLS LAST, text_sha) AS worded
    FROM scored
)
SELECT text_sha, similarity, relevance, near <= %(candidates)s AND similarity IS NOT NULL,
       worded <= %(candidates)s AND relevance IS NOT NULL
FROM placed
WHERE (near <= %(candidates)s AND similarity IS NOT NULL) OR (worded <= %(candidates)s AND relevance IS NOT NULL)

-- name: surroundings
-- As search.sql's statement of the same name.
{passages}, {texts}, placed AS MATERIALIZED (
    SELECT DISTINCT ON (e.text_sha) e.text_sha, e.doc_id, e.ordinal
    FROM served e
    WHERE e.text_sha = ANY (%(middles)b::bytea[])
    ORDER BY e.text_sha, e.source_modified DESC NULLS LAST, e.source, e.uri, e.member, e.ordinal
), around AS MATERIALIZED (
    SELECT p.text_sha AS middle, c.text_sha
    FROM placed p JOIN served c ON c.doc_id = p.doc_id AND c.ordinal BETWEEN p.ordinal - %(width)s AND p.ordinal + %(width)s
), counted AS MATERIALIZED (
    SELECT t.text_sha, w.number, f.tf
    FROM (SELECT * FROM analysed WHERE text_sha IN (SELECT text_sha FROM around)) AS t,
         unnest(%(terms)s::text[]::tsquery[]) WITH ORDINALITY AS w (term, number), {frequency}
    WHERE t.tsv @@ w.term
)
SELECT a.middle, 0, sum(t.words) FROM around a JOIN analysed t USING (text_sha) GROUP BY a.middle
UNION ALL
SELECT a.middle, c.number, sum(c.tf) FROM around a JOIN counted c USING (text_sha) GROUP BY a.middle, c.number

-- name: passages
-- As search.sql's statement of the same name.
{passages}
SELECT f.text_sha, p.doc_id, p.ordinal, p.source, p.uri, p.member, p.title, p.heading_path, p.char_start, p.char_end,
       right(coalesce(t.body, p.body), p.char_end - p.char_start) AS passage,
       p.lang, p.media_type, p.version AS source_version, p.source_modified AS modified, p.metadata,
       left(coalesce(head.body, opening.body), 1000) ~* %(superseded)s AS superseded
FROM unnest(%(chosen)s::bytea[]) WITH ORDINALITY AS f (text_sha, place)
CROSS JOIN LATERAL (
    SELECT s.*
    FROM served s
    WHERE s.text_sha = f.text_sha
    ORDER BY s.source_modified DESC NULLS LAST, s.source, s.uri, s.member, s.ordinal
    LIMIT %(places)s
) AS p
LEFT JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = f.text_sha
LEFT JOIN served opening ON opening.doc_id = p.doc_id AND opening.ordinal = 0
LEFT JOIN text head ON head.tenant = %(tenant)s AND head.text_sha = opening.text_sha
ORDER BY f.place, p.source_modified DESC NULLS LAST, p.source, p.uri, p.member, p.ordinal

-- name: around
-- As neighbours.sql's statement of the same name.
{passages}
SELECT s.doc_id, s.ordinal, s.heading_path, s.char_start, s.char_end,
       right(coalesce(s.body, t.body), s.char_end - s.char_start) AS passage
FROM served s LEFT JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = s.text_sha
WHERE EXISTS (
    SELECT FROM unnest(%(doc_ids)b::bytea[], %(ordinals)s::integer[]) AS f (doc_id, ordinal)
    WHERE f.doc_id = s.doc_id AND s.ordinal BETWEEN f.ordinal - %(width)s::integer AND f.ordinal + %(width)s::integer)
ORDER BY s.doc_id, s.ordinal
