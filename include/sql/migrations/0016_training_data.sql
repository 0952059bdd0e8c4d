-- What models were taught: data sets under their hash, and which of them, with what code and settings, made a version.
-- depends: 0015_query_adapters

CREATE TABLE millrace.dataset_version (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    version         integer NOT NULL CHECK (version > 0),
    sha             text NOT NULL,                        -- hash of its files
    artifact        text NOT NULL CHECK (artifact <> ''), -- its folder in the object store
    files           jsonb NOT NULL,                       -- [{path, sha256, bytes}]
    pairs           integer NOT NULL CHECK (pairs >= 0),
    lineage         jsonb NOT NULL,                       -- origins, what was left out by reason, slices kept apart, seed
    created_by      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, collection, version),
    UNIQUE (tenant, collection, sha)
);

ALTER TABLE millrace.model_version
    DROP CONSTRAINT model_version_kind_check,
    ADD CHECK (kind IN ('external', 'encoder', 'adapter')),
    ADD COLUMN dataset_id bigint REFERENCES millrace.dataset_version,
    ADD COLUMN code_sha text NOT NULL DEFAULT '',
    ADD COLUMN configuration jsonb NOT NULL DEFAULT '{}';
