-- name: try_lock
SELECT pg_try_advisory_lock(hashtext('millrace.maintain'))

-- name: unlock
SELECT pg_advisory_unlock(hashtext('millrace.maintain'))

-- name: settings
SELECT set_config('maintenance_work_mem', %(memory)s, false), set_config('lock_timeout', '60s', false)

-- name: tables
-- Every table with the index that wears out, if it has one: a replaced or deleted row stays in an HNSW graph and in the lists
-- of a full-text index. Changes count from where that index was last built, or from the server's own zero.
SELECT c.relname AS name, greatest(s.n_live_tup, c.reltuples::bigint) AS rows, pg_total_relation_size(c.oid) AS bytes, i.relname AS worn,
       coalesce(pg_relation_size(i.oid), 0) AS index_bytes, s.n_tup_upd + s.n_tup_del AS changes,
       (s.n_tup_upd + s.n_tup_del
        - CASE WHEN b.changes <= s.n_tup_upd + s.n_tup_del THEN b.changes ELSE 0 END)::float8 / greatest(s.n_live_tup, c.reltuples, 1)
       AS churn,
       pg_has_role(c.relowner, 'USAGE')
       OR CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')
               ELSE false END AS allowed
FROM pg_class c
JOIN pg_stat_user_tables s ON s.relid = c.oid
LEFT JOIN LATERAL (
    SELECT i.oid, i.relname
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am a ON a.oid = i.relam
    WHERE x.indrelid = c.oid AND x.indisvalid AND a.amname IN ('hnsw', 'gin')
    ORDER BY i.relname LIMIT 1) i ON true
LEFT JOIN LATERAL (
    SELECT m.changes FROM maintenance m WHERE m.relation = c.relname AND m.rebuilt ORDER BY m.id DESC LIMIT 1) b ON true
WHERE c.relnamespace = 'millrace'::regnamespace AND c.relkind = 'r'
ORDER BY c.relname

-- name: flush
-- The statistics of this session, and of what it reads, as they are now.
SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()

-- name: leftovers
-- What a rebuild that was cut off left behind. Only maintenance rebuilds, and it runs once at a time.
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE i.relnamespace = 'millrace'::regnamespace AND NOT x.indisvalid AND i.relname ~ '_cc(new|old)[0-9]*$'
ORDER BY i.relname

-- name: drop
DROP INDEX CONCURRENTLY IF EXISTS {index}

-- name: rebuild
REINDEX INDEX CONCURRENTLY {index}

-- name: vacuum
VACUUM (ANALYZE) {table}

-- name: space_ids
SELECT DISTINCT holder FROM space WHERE state <> 'retired' AND to_regclass('millrace.space_' || holder) IS NOT NULL ORDER BY holder

-- name: record
INSERT INTO maintenance (relation, rows, bytes, index_bytes, changes, churn, recall, rebuilt, seconds)
VALUES (%(relation)s, %(rows)s, %(bytes)s, %(index_bytes)s, %(changes)s, %(churn)s, %(recall)s, %(rebuilt)s, %(seconds)s)

-- name: unknown
-- The tables that searches join, as far as the planner knows nothing of them, or of less than half of what they hold.
SELECT c.relname
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relnamespace = 'millrace'::regnamespace AND c.relname IN ('document', 'chunk', 'text', 'lexical')
  AND (c.reltuples < 0 OR s.n_mod_since_analyze > greatest(1000, c.reltuples))
ORDER BY c.relname

-- name: analyse
-- A role that may not is warned only; who vacuums the table meanwhile analyses it.
ANALYZE (SKIP_LOCKED) {table}
