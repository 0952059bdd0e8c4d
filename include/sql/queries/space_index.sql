-- name: try_lock
-- One builder a space. Not a lock that waits: the statement's snapshot would hold up the very build it waits for.
SELECT pg_try_advisory_lock(hashtext('millrace.index'), %(space_id)s)

-- name: unlock
SELECT pg_advisory_unlock(hashtext('millrace.index'), %(space_id)s)

-- name: indexes
-- The HNSW indexes of a space's table; an interrupted build leaves an invalid one.
SELECT i.relname AS name, x.indisvalid AS valid
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_am a ON a.oid = i.relam
WHERE x.indrelid = to_regclass(format('millrace.space_%%s', %(space_id)s::int)) AND a.amname = 'hnsw'
ORDER BY i.relname

-- name: rows
SELECT count(*) FROM {table}

-- name: server
SELECT (pg_size_bytes(current_setting('maintenance_work_mem')) / 1048576)::int AS memory_mb,
       current_setting('max_parallel_workers')::int AS workers

-- name: settings
-- For the session, because a concurrent build runs in no transaction; reset afterwards.
SELECT set_config('maintenance_work_mem', %(memory)s, false),
       set_config('max_parallel_maintenance_workers', %(workers)s, false),
       set_config('statement_timeout', '0', false),
       set_config('lock_timeout', '60s', false)

-- name: create
CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw (embedding {ops}) WITH (m = 16, ef_construction = 64)

-- name: drop
DROP INDEX CONCURRENTLY IF EXISTS {name}

-- name: built
UPDATE space SET built_at = clock_timestamp() WHERE holder = %(space_id)s
