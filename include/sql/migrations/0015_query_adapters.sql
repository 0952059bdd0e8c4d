-- A query adapter's space reads the vectors of another space: only questions are embedded otherwise, no vector is written.
-- depends: 0014_promotion

ALTER TABLE millrace.space
    ADD COLUMN vectors_of integer REFERENCES millrace.space,
    ADD COLUMN holder integer GENERATED ALWAYS AS (coalesce(vectors_of, id)) STORED;
ALTER TABLE millrace.space DROP CONSTRAINT space_tenant_collection_chunk_set_embedder_fingerprint_key;
ALTER TABLE millrace.space ADD UNIQUE (tenant, collection, chunk_set, embedder_fingerprint, revision);
