-- name: migrations_known
SELECT to_regclass('millrace_migrations._yoyo_migration') IS NOT NULL

-- name: migrations_applied
SELECT migration_id FROM millrace_migrations._yoyo_migration

-- name: migration_lock
SELECT pg_advisory_lock(hashtext('millrace.migrate'))

-- name: migration_schema
CREATE SCHEMA IF NOT EXISTS millrace_migrations

-- name: statement_seconds
-- How long the server lets a statement run; 0: for ever.
SELECT extract(epoch FROM current_setting('statement_timeout')::interval)::float8

-- name: no_timeout
SELECT set_config('statement_timeout', '0', false)

-- name: reset
RESET ALL
