-- name: forget
-- Some of what ended before the days that are kept; from then on the past is whole only since that moment.
WITH cut AS MATERIALIZED (
    SELECT clock_timestamp() - make_interval(days => %(days)s) AS before
), old AS MATERIALIZED (
    SELECT p.ctid
    FROM chunk_past p JOIN document d ON d.tenant = p.tenant AND d.doc_id = p.doc_id
    WHERE p.tenant = %(tenant)s AND p.valid_to < (SELECT before FROM cut) AND d.collection = %(collection)s
    LIMIT %(limit)s
), gone AS (
    DELETE FROM chunk_past p USING old WHERE p.ctid = old.ctid RETURNING 1
), noted AS (
    INSERT INTO past_forgotten AS f (tenant, collection, before)
    SELECT %(tenant)s, %(collection)s, before FROM cut WHERE EXISTS (SELECT FROM old)
    ON CONFLICT (tenant, collection) DO UPDATE SET before = greatest(f.before, EXCLUDED.before)
)
SELECT count(*) FROM gone

-- name: forgotten
SELECT before FROM past_forgotten WHERE tenant = %(tenant)s AND collection = %(collection)s
