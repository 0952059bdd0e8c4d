-- name: lock_documents
SELECT doc_id, fence, fence = %(fence)s AND commit_token = commit_token(fence, doc_id, 'quarantined') AS mine
FROM document
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b)
ORDER BY doc_id
FOR NO KEY UPDATE

-- name: mark_quarantined
-- What was served before is still served. Attempts are counted per version and settings, one a run: a stage that is repeated
-- because the database failed finds the same again. An attachment whose container has no row yet stands alone until that is
-- published.
INSERT INTO document AS d (
    tenant, doc_id, collection, source, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha,
    state, reason, attempts, fence, commit_token, run_id, bytes, media_type)
SELECT %(tenant)s, q.doc_id, %(collection)s, %(source)s, q.uri, q.member, p.doc_id, q.source_version,
       q.pipeline_fingerprint, q.content_sha, 'quarantined', q.reason, q.charge, %(fence)s::bigint,
       commit_token(%(fence)s::bigint, q.doc_id, 'quarantined'), %(run_id)s, q.bytes, q.media_type
FROM unnest(%(doc_ids)b::bytea[], %(uris)s::text[], %(members)s::text[], %(parents)s::bytea[], %(versions)s::text[],
            %(pipelines)s::text[], %(contents)s::bytea[], %(reasons)s::text[], %(charges)s::integer[], %(bytes)s::bigint[],
            %(media_types)s::text[])
     AS q (doc_id, uri, member, parent_doc_id, source_version, pipeline_fingerprint, content_sha, reason, charge, bytes,
           media_type)
LEFT JOIN document p ON p.tenant = %(tenant)s AND p.doc_id = q.parent_doc_id
ORDER BY q.doc_id
ON CONFLICT (tenant, doc_id) DO UPDATE SET
    collection = EXCLUDED.collection, source_version = EXCLUDED.source_version,
    parent_doc_id = coalesce(EXCLUDED.parent_doc_id, d.parent_doc_id),
    pipeline_fingerprint = EXCLUDED.pipeline_fingerprint, content_sha = EXCLUDED.content_sha,
    state = EXCLUDED.state, reason = EXCLUDED.reason, fence = EXCLUDED.fence, commit_token = EXCLUDED.commit_token,
    run_id = EXCLUDED.run_id,
    attempts = CASE
        WHEN (d.source_version, d.pipeline_fingerprint) <> (EXCLUDED.source_version, EXCLUDED.pipeline_fingerprint)
        THEN EXCLUDED.attempts
        WHEN d.run_id = EXCLUDED.run_id AND d.state = 'quarantined' AND d.reason <> ALL(%(uncharged)s::text[])
        THEN d.attempts
        ELSE d.attempts + EXCLUDED.attempts END
WHERE d.fence < EXCLUDED.fence
RETURNING doc_id, attempts

-- name: forget_replay
UPDATE quarantine SET replay_at = NULL
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b) AND resolved_at IS NULL AND replay_at IS NOT NULL

-- name: insert_entries
INSERT INTO quarantine (tenant, doc_id, source, uri, member, source_version, stage, reason, detail, attempt, run_id)
SELECT %(tenant)s, q.doc_id, %(source)s, q.uri, q.member, q.source_version, q.stage, q.reason, q.detail, d.attempts,
       %(run_id)s
FROM unnest(%(doc_ids)b::bytea[], %(uris)s::text[], %(members)s::text[], %(versions)s::text[], %(stages)s::text[],
            %(reasons)s::text[], %(details)s::text[])
     AS q (doc_id, uri, member, source_version, stage, reason, detail)
JOIN document d ON d.tenant = %(tenant)s AND d.doc_id = q.doc_id
WHERE q.doc_id = ANY(%(written)s::bytea[])
  AND NOT EXISTS (
    SELECT FROM quarantine known
    WHERE known.tenant = %(tenant)s AND known.source = %(source)s AND known.doc_id = q.doc_id AND known.resolved_at IS NULL
      AND known.run_id = %(run_id)s AND (known.source_version, known.stage, known.reason, known.attempt)
        = (q.source_version, q.stage, q.reason, d.attempts))

-- name: open_items
-- The newest entry of each document that is still in quarantine.
SELECT id, doc_id, source, uri, member, source_version, stage, reason, detail, attempt, run_id, at, replay_at
FROM (
    SELECT DISTINCT ON (doc_id) * FROM quarantine
    WHERE tenant = %(tenant)s AND (%(source)s::text IS NULL OR source = %(source)s) AND resolved_at IS NULL
    ORDER BY doc_id, id DESC
) newest
WHERE %(reason)s::text IS NULL OR reason = %(reason)s
ORDER BY at DESC, id DESC
LIMIT %(limit)s

-- name: request_replay
WITH newest AS (
    SELECT DISTINCT ON (doc_id) id, reason FROM quarantine
    WHERE tenant = %(tenant)s AND (%(source)s::text IS NULL OR source = %(source)s) AND resolved_at IS NULL
    ORDER BY doc_id, id DESC
)
UPDATE quarantine q SET replay_at = clock_timestamp()
FROM newest n
WHERE q.id = n.id AND (%(ids)s::bigint[] IS NULL OR n.id = ANY(%(ids)s::bigint[]))
  AND (%(reason)s::text IS NULL OR n.reason = %(reason)s)

-- name: replayable
SELECT DISTINCT uri FROM quarantine
WHERE tenant = %(tenant)s AND source = %(source)s AND resolved_at IS NULL AND replay_at IS NOT NULL
