-- name: begin
-- One process folds; texts are found by their keys, whatever the planner believes of a table that was never analysed.
SELECT pg_try_advisory_xact_lock(hashtext('millrace.lexicon')), set_config('enable_seqscan', 'off', true)

-- name: take
DELETE FROM text_pending p
WHERE p.ctid = ANY(ARRAY(SELECT ctid FROM text_pending WHERE tenant = %(tenant)s LIMIT %(rows)s))
RETURNING p.text_sha

-- name: write
-- A text that the collector takes at this moment is locked or gone, and then left out.
WITH held AS MATERIALIZED (
    SELECT t.text_sha, t.lang, t.body FROM text t
    WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)b)
    ORDER BY t.text_sha
    FOR KEY SHARE
), analysed AS MATERIALIZED (
    SELECT h.text_sha, to_tsvector(text_config(h.lang), h.body) AS tsv FROM held h
), counted AS MATERIALIZED (
    SELECT a.text_sha, a.tsv, (SELECT coalesce(sum(cardinality(u.positions)), 0)::integer FROM unnest(a.tsv) AS u) AS words
    FROM analysed a
)
INSERT INTO lexical (tenant, text_sha, tsv, mark, words)
SELECT %(tenant)s, c.text_sha, c.tsv, hashtextextended(c.tsv::text, c.words), c.words FROM counted c
ON CONFLICT (tenant, text_sha) DO UPDATE SET tsv = EXCLUDED.tsv, mark = EXCLUDED.mark, words = EXCLUDED.words

-- name: sum
-- Changes into the kept statistics; a term that no text has any more goes. Returns how many changes there were.
WITH taken AS MATERIALIZED (
    DELETE FROM lexical_change c
    WHERE c.ctid = ANY(ARRAY(SELECT ctid FROM lexical_change WHERE tenant = %(tenant)s LIMIT %(rows)s))
    RETURNING c.terms, c.words, c.texts
), change AS MATERIALIZED (
    SELECT lexeme COLLATE "C" AS lexeme, sum(t.texts) AS texts
    FROM taken t, unnest(tsvector_to_array(t.terms)) AS lexeme
    GROUP BY lexeme
    HAVING sum(t.texts) <> 0
), gone AS (
    DELETE FROM term k USING change c
    WHERE k.tenant = %(tenant)s AND k.lexeme = c.lexeme AND k.texts + c.texts = 0
), kept AS (
    INSERT INTO term AS k (tenant, lexeme, texts)
    SELECT %(tenant)s, c.lexeme, c.texts FROM change c
    WHERE NOT EXISTS (SELECT FROM term o WHERE o.tenant = %(tenant)s AND o.lexeme = c.lexeme AND o.texts + c.texts = 0)
    ORDER BY c.lexeme
    ON CONFLICT (tenant, lexeme) DO UPDATE SET texts = k.texts + EXCLUDED.texts
), whole AS (
    INSERT INTO lexicon AS n (tenant, texts, words)
    SELECT %(tenant)s, sum(texts), sum(words) FROM taken HAVING count(*) > 0
    ON CONFLICT (tenant) DO UPDATE SET texts = n.texts + EXCLUDED.texts, words = n.words + EXCLUDED.words
)
SELECT count(*) FROM taken

-- name: lag
SELECT (SELECT count(*) FROM text_pending WHERE tenant = %(tenant)s),
       (SELECT count(*) FROM lexical_change WHERE tenant = %(tenant)s)

-- name: unanalysed
SELECT s.sha FROM unnest(%(shas)b::bytea[]) AS s (sha)
WHERE NOT EXISTS (SELECT FROM lexical l WHERE l.tenant = %(tenant)s AND l.text_sha = s.sha)

-- name: forget
-- Only what this transaction noted: nobody else sees those rows, so nobody waits for another.
DELETE FROM text_pending p
WHERE p.tenant = %(tenant)s AND p.xmin = pg_current_xact_id()::xid AND p.text_sha = ANY(%(shas)b)
