-- Several spaces in a collection: what each was measured to be, every state it was in, and passages beside the served ones.
-- depends: 0002_document_members

ALTER TABLE millrace.space
    ADD COLUMN built_at timestamptz,
    ADD COLUMN verified_at timestamptz,
    ADD COLUMN report jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
UPDATE millrace.space SET built_at = created_at, changed_at = created_at;

CREATE TABLE millrace.space_history (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id        integer NOT NULL REFERENCES millrace.space,
    state           text NOT NULL,
    by              text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX space_history_by_space ON millrace.space_history (space_id, id);
INSERT INTO millrace.space_history (space_id, state, at) SELECT id, state, created_at FROM millrace.space ORDER BY id;

CREATE TABLE millrace.standby (
    tenant          text NOT NULL DEFAULT 'public',
    doc_id          bytea NOT NULL,
    chunk_set       integer NOT NULL REFERENCES millrace.chunk_set,
    chunk_count     integer NOT NULL CHECK (chunk_count > 0),
    chunk_digest    bytea NOT NULL,
    PRIMARY KEY (tenant, doc_id, chunk_set),
    FOREIGN KEY (tenant, doc_id) REFERENCES millrace.document (tenant, doc_id)
);
