-- name: chunk_set
SELECT id FROM chunk_set WHERE fingerprint = %(fingerprint)s

-- name: insert_chunk_set
INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens)
VALUES (%(fingerprint)s, %(settings)s, %(tokenizer_sha)s, %(max_tokens)s)
ON CONFLICT (fingerprint) DO NOTHING

-- name: lock_creation
SELECT pg_advisory_xact_lock(hashtext('millrace.space'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: active
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state
FROM space WHERE tenant = %(tenant)s AND collection = %(collection)s AND state = 'active'

-- name: insert_space
INSERT INTO space (tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length,
                   state)
VALUES (%(tenant)s, %(collection)s, %(chunk_set)s, %(model)s, %(revision)s, %(embedder_fingerprint)s, %(dim)s, %(dtype)s,
        %(storage)s, %(max_length)s, 'active')
RETURNING id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state

-- name: create_table
-- Inline storage: a vector moved out of line costs a second read at every re-rank.
CREATE TABLE {table} (
    tenant      text NOT NULL DEFAULT 'public',
    text_sha    bytea NOT NULL,
    embedding   {type}({dim}) STORAGE MAIN NOT NULL CHECK ({norm}(embedding) > 0),
    PRIMARY KEY (tenant, text_sha),
    FOREIGN KEY (tenant, text_sha) REFERENCES millrace.text (tenant, text_sha) ON DELETE CASCADE
)

-- name: create_index
CREATE INDEX ON {table} USING hnsw (embedding {ops}) WITH (m = 16, ef_construction = 64)
