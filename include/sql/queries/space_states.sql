-- name: lock_collection
-- Publishers, re-chunkers and fillers hold it shared for one transaction each.
SELECT set_config('lock_timeout', '20s', true),
       pg_advisory_xact_lock(hashtext('millrace.collection'), hashtext(%(tenant)s || '/' || %(collection)s))

-- name: locked
SELECT id, tenant, collection, chunk_set, model, revision, embedder_fingerprint, dim, dtype, storage, max_length, state,
       holder
FROM space WHERE id = %(space_id)s FOR UPDATE

-- name: set_state
UPDATE space SET state = %(state)s, changed_at = clock_timestamp() WHERE id = %(space_id)s AND state = %(was)s

-- name: set_report
UPDATE space SET report = %(report)s, verified_at = clock_timestamp() WHERE id = %(space_id)s

-- name: last_previous
-- The space that served before the present one.
SELECT id FROM space
WHERE tenant = %(tenant)s AND collection = %(collection)s AND state = 'previous'
ORDER BY changed_at DESC, id DESC LIMIT 1

-- name: old_previous
SELECT id FROM space
WHERE tenant = %(tenant)s AND collection = %(collection)s AND state = 'previous'
  AND changed_at < clock_timestamp() - make_interval(days => %(days)s)
ORDER BY id

-- name: overview
SELECT s.id, s.collection, s.chunk_set, s.model, s.revision, s.dtype, s.dim, s.storage, s.state, s.created_at, s.built_at,
       s.verified_at, s.changed_at, s.report
FROM space s
WHERE s.tenant = %(tenant)s AND (%(collection)s::text IS NULL OR s.collection = %(collection)s)
ORDER BY s.collection, s.state = 'retired', s.id

-- name: lock_documents
-- In the order of every writer. Deletions hold no lock on the collection.
SELECT count(*) FROM (
    SELECT FROM document d
    WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.loaded_version IS NOT NULL
    ORDER BY d.doc_id
    FOR NO KEY UPDATE) AS locked

-- name: stand_by
-- The passages served until now stay, ready for the way back.
INSERT INTO standby (tenant, doc_id, chunk_set, chunk_count, chunk_digest)
SELECT d.tenant, d.doc_id, d.chunk_set, d.chunk_count, d.chunk_digest
FROM document d
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.chunk_set = %(old)s AND d.chunk_count > 0
ON CONFLICT (tenant, doc_id, chunk_set) DO UPDATE
    SET chunk_count = EXCLUDED.chunk_count, chunk_digest = EXCLUDED.chunk_digest

-- name: serve
-- Documents change their passages and the settings they were made with, so that the next sync finds them unchanged. Fences
-- stay: nothing was decided about any document.
UPDATE document d SET chunk_set = s.chunk_set, chunk_count = s.chunk_count, chunk_digest = s.chunk_digest,
    pipeline_fingerprint = CASE d.pipeline_fingerprint WHEN %(old_fingerprint)s THEN %(new_fingerprint)s
                           ELSE d.pipeline_fingerprint END
FROM standby s
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.loaded_version IS NOT NULL
  AND (s.tenant, s.doc_id, s.chunk_set) = (d.tenant, d.doc_id, %(new)s)

-- name: keep_quarantined
-- What was refused whatever the passages is refused still; what a passage or its vector was to blame for is tried again.
UPDATE document d SET pipeline_fingerprint = %(new_fingerprint)s
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.state = 'quarantined'
  AND d.pipeline_fingerprint = %(old_fingerprint)s
  AND d.reason NOT IN ('validation_failed', 'embed_nan', 'embed_dim', 'embed_failed', 'empty_text')

-- name: served
DELETE FROM standby s USING document d
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
  AND (s.tenant, s.doc_id, s.chunk_set) = (d.tenant, d.doc_id, d.chunk_set)

-- name: table_kept
SELECT EXISTS (SELECT FROM space WHERE holder = %(holder)s AND state <> 'retired')

-- name: drop_table
DROP TABLE IF EXISTS {table}

-- name: chunk_set_kept
SELECT EXISTS (
    SELECT FROM space
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND chunk_set = %(chunk_set)s AND state <> 'retired')

-- name: drop_chunks
-- Passages that nobody was served from at the end are no history: the documents' versions are those of the served ones.
DELETE FROM chunk c USING document d
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s AND d.chunk_set IS DISTINCT FROM %(chunk_set)s
  AND (c.tenant, c.doc_id, c.chunk_set) = (d.tenant, d.doc_id, %(chunk_set)s)

-- name: drop_standby
DELETE FROM standby s USING document d
WHERE d.tenant = %(tenant)s AND d.collection = %(collection)s
  AND (s.tenant, s.doc_id, s.chunk_set) = (d.tenant, d.doc_id, %(chunk_set)s)
