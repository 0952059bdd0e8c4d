-- name: chunk_set
SELECT id FROM chunk_set WHERE fingerprint = %(fingerprint)s

-- name: chunk_set_of
SELECT id, fingerprint, settings, tokenizer_sha, max_tokens FROM chunk_set WHERE id = %(chunk_set)s

-- name: insert_chunk_set
INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens)
VALUES (%(fingerprint)s, %(settings)s, %(tokenizer_sha)s, %(max_tokens)s)
ON CONFLICT (fingerprint) DO NOTHING

-- name: lock_creation
SELECT pg_advisory_xact_lock(hashtext('millrace.space'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: active
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder
FROM space WHERE tenant = %(tenant)s AND collection = %(collection)s AND state = 'active'

-- name: get
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder
FROM space WHERE id = %(space_id)s

-- name: kept
-- Those with a table, the one that serves first, then those that served or were made last.
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder
FROM space WHERE tenant = %(tenant)s AND collection = %(collection)s AND state <> 'retired'
ORDER BY state <> 'active', changed_at DESC, id DESC

-- name: insert_space
-- A retired space of the same model and chunk set is begun anew; one that is kept is left alone.
INSERT INTO space AS s (tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage,
                        max_length, state, vectors_of, built_at)
VALUES (%(tenant)s, %(collection)s, %(chunk_set)s, %(model)s, %(revision)s, %(embedder_fingerprint)s, %(dim)s, %(dtype)s,
        %(storage)s, %(max_length)s, %(state)s, %(vectors_of)s,
        (SELECT built_at FROM space WHERE id = %(vectors_of)s))
ON CONFLICT (tenant, collection, chunk_set, embedder_fingerprint, revision) DO UPDATE SET
    storage = EXCLUDED.storage, vectors_of = EXCLUDED.vectors_of, state = EXCLUDED.state, built_at = EXCLUDED.built_at,
    verified_at = NULL, report = '{}', changed_at = clock_timestamp()
WHERE s.state = 'retired'
RETURNING id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder

-- name: twin
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder
FROM space
WHERE tenant = %(tenant)s AND collection = %(collection)s AND chunk_set = %(chunk_set)s
  AND (embedder_fingerprint, revision) = (%(embedder_fingerprint)s, %(revision)s) AND state <> 'retired'

-- name: holder
-- A kept space whose vectors the embedder's are equal to: one that differs in how questions are embedded can read them.
SELECT holder FROM space
WHERE tenant = %(tenant)s AND collection = %(collection)s AND chunk_set = %(chunk_set)s
  AND embedder_fingerprint = %(embedder_fingerprint)s AND storage = %(storage)s AND state <> 'retired'
ORDER BY id LIMIT 1

-- name: name_person
-- For the triggers that write down who changed an alias.
SELECT set_config('millrace.person', %(by)s, true)

-- name: remember_state
INSERT INTO space_history (space_id, state, by) VALUES (%(space_id)s, %(state)s, %(by)s)

-- name: create_table
-- Without an index: whoever finishes a load builds it. Inline storage: a vector moved out of line costs a second read at
-- every re-rank. A retired space that is begun anew finds its table where another one reads it still.
CREATE TABLE IF NOT EXISTS {table} (
    tenant      text NOT NULL DEFAULT 'public',
    text_sha    bytea NOT NULL,
    embedding   {type}({dim}) STORAGE MAIN NOT NULL CHECK ({norm}(embedding) > 0),
    PRIMARY KEY (tenant, text_sha),
    FOREIGN KEY (tenant, text_sha) REFERENCES millrace.text (tenant, text_sha) ON DELETE CASCADE
)
