-- name: reach
-- Passages that the filters keep; counting stops past `exact_chunks`.
{corpus}
SELECT chunks FROM reach

-- name: frequencies
-- How often each term is in each text, as BM25 reads it: texts that no fold has analysed are analysed here.
WITH asked AS (
    SELECT a.text_sha, p.text_sha IS NOT NULL AS pending
    FROM unnest(%(shas)b::bytea[]) AS a (text_sha)
    LEFT JOIN (SELECT DISTINCT text_sha FROM text_pending WHERE tenant = %(tenant)s) AS p USING (text_sha)
), analysed AS (
    SELECT l.text_sha, l.tsv, l.words
    FROM asked a JOIN lexical l ON l.tenant = %(tenant)s AND l.text_sha = a.text_sha
    WHERE NOT a.pending
    UNION ALL
    SELECT f.text_sha, f.tsv, (SELECT coalesce(sum(cardinality(u.positions)), 0) FROM unnest(f.tsv) AS u)
    FROM (
        SELECT t.text_sha, to_tsvector(text_config(t.lang), t.body) AS tsv
        FROM asked a JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = a.text_sha
        WHERE a.pending
    ) AS f
)
SELECT a.text_sha, a.words, w.number, cardinality(u.positions) AS frequency
FROM analysed a, unnest(%(terms)s::text[]) WITH ORDINALITY AS w (term, number), LATERAL unnest(a.tsv) AS u
WHERE a.tsv @@ w.term::tsquery AND term_query(u.lexeme)::text = w.term
ORDER BY a.text_sha, w.number
