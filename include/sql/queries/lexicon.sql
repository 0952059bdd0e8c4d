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
)
INSERT INTO lexical (tenant, text_sha, tsv, mark)
SELECT %(tenant)s, a.text_sha, a.tsv, hashtextextended(a.tsv::text, 0) FROM analysed a
ON CONFLICT (tenant, text_sha) DO UPDATE SET tsv = EXCLUDED.tsv, mark = EXCLUDED.mark

-- name: unanalysed
SELECT s.sha FROM unnest(%(shas)b::bytea[]) AS s (sha)
WHERE NOT EXISTS (SELECT FROM lexical l WHERE l.tenant = %(tenant)s AND l.text_sha = s.sha)

-- name: forget
-- Only what this transaction noted: nobody else sees those rows, so nobody waits for another.
DELETE FROM text_pending p
WHERE p.tenant = %(tenant)s AND p.xmin = pg_current_xact_id()::xid AND p.text_sha = ANY(%(shas)b)

-- name: pending
SELECT count(*) FROM text_pending WHERE tenant = %(tenant)s
