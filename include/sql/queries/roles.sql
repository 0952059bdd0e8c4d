-- name: missing
SELECT w.name FROM unnest(ARRAY['millrace_writer', 'millrace_reader']) AS w (name)
WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = w.name)
ORDER BY w.name

-- name: may_create
SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user

-- name: create
CREATE ROLE {role} NOLOGIN

-- name: join
-- So that the owner may do with the writer's own tables, those of spaces, what it may do with its others.
GRANT millrace_writer TO CURRENT_USER

-- name: is_member
SELECT pg_has_role('millrace_writer', 'USAGE')

-- name: grant
-- Spaces come and go at run time, so the writer makes their tables and owns them; everything else belongs to who migrates.
GRANT USAGE ON SCHEMA millrace, millrace_migrations TO millrace_writer, millrace_reader;
GRANT SELECT ON millrace_migrations._yoyo_migration TO millrace_writer, millrace_reader;
GRANT CREATE ON SCHEMA millrace TO millrace_writer;
GRANT REFERENCES ON millrace.text TO millrace_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA millrace TO millrace_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA millrace TO millrace_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA millrace TO millrace_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA millrace GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO millrace_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA millrace GRANT USAGE ON SEQUENCES TO millrace_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA millrace GRANT SELECT ON TABLES TO millrace_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE millrace_writer IN SCHEMA millrace GRANT SELECT ON TABLES TO millrace_reader

-- name: grant_maintenance
-- PostgreSQL 17 and later: the writer's connection serves the weekly maintenance too.
GRANT MAINTAIN ON ALL TABLES IN SCHEMA millrace TO millrace_writer;
ALTER DEFAULT PRIVILEGES IN SCHEMA millrace GRANT MAINTAIN ON TABLES TO millrace_writer

-- name: spaces_of_others
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'millrace'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^space_[0-9]+$'
  AND c.relowner <> 'millrace_writer'::regrole
ORDER BY c.relname

-- name: hand_over
ALTER TABLE {table} OWNER TO millrace_writer
