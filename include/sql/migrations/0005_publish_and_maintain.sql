-- Indexes that begin with what tells rows apart. Beginning with the tenant, they looked as good as the primary key to the
-- planner while the tables were small or never analysed, and it kept to them: a foreign-key check then read the whole index.
-- And what maintenance found and did, table by table: how much changed since an index was built is told by the former rows.
-- depends: 0004_canary

DROP INDEX millrace.document_by_uri;
CREATE INDEX document_by_uri ON millrace.document (source, left(uri, 600) text_pattern_ops, tenant);
DROP INDEX millrace.chunk_by_text;
CREATE INDEX chunk_by_text ON millrace.chunk (text_sha, tenant);

CREATE TABLE millrace.maintenance (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation        text NOT NULL,
    rows            bigint NOT NULL,
    bytes           bigint NOT NULL,
    index_bytes     bigint NOT NULL,
    changes         bigint NOT NULL,
    churn           real NOT NULL,
    recall          real,
    rebuilt         boolean NOT NULL,
    seconds         real NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX maintenance_by_relation ON millrace.maintenance (relation, id);
