-- name: next_fence
SELECT nextval('fence')

-- name: leap
-- After a restore: beyond every fence and run number that the lost future can have given out.
SELECT setval('fence', nextval('fence') + 1000000),
       setval(pg_get_serial_sequence('millrace.run', 'id'), nextval(pg_get_serial_sequence('millrace.run', 'id')) + 1000000)

-- name: sign_of_life
-- Held by the session of a command for as long as its process lives; the server lets go of it when the process is killed.
SELECT pg_advisory_lock(hashtextextended('millrace.run', %(fence)s))

-- name: abandon_runs
-- Runs of the source that nobody works on any more: the same Airflow run planned again, a command whose session is gone, an
-- Airflow run that has said nothing for a day.
UPDATE run r SET state = 'abandoned', finished_at = clock_timestamp()
WHERE r.tenant = %(tenant)s AND r.source = %(source)s AND r.state = 'running'
  AND CASE
      WHEN r.door = 'cli' THEN pg_try_advisory_xact_lock(hashtextextended('millrace.run', r.fence))
      ELSE (r.external_id <> '' AND r.external_id = %(external_id)s) OR clock_timestamp() - interval '1 day' > ALL (
          SELECT r.started_at UNION ALL SELECT s.updated_at FROM run_stage s WHERE s.run_id = r.id)
  END

-- name: start_run
INSERT INTO run (tenant, source, collection, door, external_id, scope, request, fence)
VALUES (%(tenant)s, %(source)s, %(collection)s, %(door)s, %(external_id)s, %(scope)s, %(request)s, %(fence)s)
RETURNING *

-- name: finish_run
UPDATE run SET state = %(state)s, listed = %(listed)s, counts = %(counts)s, reasons = %(reasons)s, stats = %(stats)s,
    notes = %(notes)s, finished_at = clock_timestamp()
WHERE id = %(run_id)s
RETURNING *

-- name: run
SELECT * FROM run WHERE id = %(run_id)s

-- name: runs
SELECT * FROM run
WHERE tenant = %(tenant)s AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: history
SELECT * FROM run
WHERE tenant = %(tenant)s AND source = %(source)s AND state IN ('succeeded', 'held') AND stats <> '{}'
ORDER BY id DESC LIMIT %(limit)s

-- name: sampled_today
SELECT EXISTS (
    SELECT FROM run
    WHERE tenant = %(tenant)s AND source = %(source)s AND finished_at > clock_timestamp() - interval '1 day'
      AND stats ? 'sampled')

-- name: known
SELECT doc_id, uri, source_version, pipeline_fingerprint, state, reason, attempts, fence, loaded_version, chunk_count,
       content_sha
FROM document
WHERE tenant = %(tenant)s AND source = %(source)s AND member = ''
  AND left(uri, 600) ^@ left(%(scope)s::text, 600) AND uri ^@ %(scope)s::text

-- name: refresh
-- Only a row that holds the very bytes: another run may have loaded different ones since they were compared, and naming
-- those by this version would hide them from every later run.
UPDATE document d
SET source_version = same.version, loaded_version = same.version, fence = %(fence)s, run_id = %(run_id)s,
    commit_token = commit_token(%(fence)s, d.doc_id, 'loaded')
FROM unnest(%(doc_ids)b::bytea[], %(versions)s::text[], %(contents)s::bytea[]) AS same (doc_id, version, content_sha)
WHERE d.tenant = %(tenant)s AND d.doc_id = same.doc_id AND d.state = 'loaded' AND d.fence < %(fence)s
  AND d.content_sha = same.content_sha

-- name: record_stage
INSERT INTO run_stage (run_id, stage, shard, state, done, total, counts, error)
VALUES (%(run_id)s, %(stage)s, %(shard)s, %(state)s, %(done)s, %(total)s, %(counts)s, %(error)s)
ON CONFLICT (run_id, stage, shard) DO UPDATE SET
    state = EXCLUDED.state, done = EXCLUDED.done, total = EXCLUDED.total, counts = EXCLUDED.counts,
    error = EXCLUDED.error, updated_at = clock_timestamp(),
    started_at = CASE WHEN run_stage.state <> 'running' AND EXCLUDED.state = 'running'
                      THEN clock_timestamp() ELSE run_stage.started_at END

-- name: progress
SELECT stage, shard, state, done, total, counts, error, started_at, updated_at
FROM run_stage WHERE run_id = %(run_id)s ORDER BY started_at, stage, shard

-- name: record_validation
INSERT INTO validation (run_id, shard, suite, success, rows, failed, docs_uri)
VALUES (%(run_id)s, %(shard)s, %(suite)s, %(success)s, %(rows)s, %(failed)s, %(docs_uri)s)
ON CONFLICT (run_id, shard, suite) DO UPDATE SET
    success = EXCLUDED.success, rows = EXCLUDED.rows, failed = EXCLUDED.failed, docs_uri = EXCLUDED.docs_uri,
    at = clock_timestamp()

-- name: passed_suites
SELECT suite FROM validation WHERE run_id = %(run_id)s AND shard = %(shard)s AND success AND rows > 0

-- name: source_status
WITH sources AS (
    SELECT source FROM document WHERE tenant = %(tenant)s UNION SELECT source FROM run WHERE tenant = %(tenant)s
), documents AS (
    SELECT source,
           count(*) FILTER (WHERE state = 'loaded') AS loaded,
           count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
           count(*) FILTER (WHERE state = 'deleted') AS deleted,
           count(*) FILTER (WHERE chunk_count > 0) AS served,
           sum(chunk_count) AS chunks
    FROM document WHERE tenant = %(tenant)s GROUP BY source
)
SELECT s.source, coalesce(d.loaded, 0) AS loaded, coalesce(d.quarantined, 0) AS quarantined,
       coalesce(d.deleted, 0) AS deleted, coalesce(d.served, 0) AS served, coalesce(d.chunks, 0)::bigint AS chunks,
       (SELECT count(DISTINCT q.doc_id) FROM quarantine q
        WHERE q.tenant = %(tenant)s AND q.source = s.source AND q.resolved_at IS NULL) AS open_quarantine,
       (SELECT count(*) FROM held_deletion h
        WHERE h.tenant = %(tenant)s AND h.source = s.source AND h.decision IS NULL) AS held_deletions,
       (SELECT count(*) FROM held_deletion h
        JOIN run r ON r.id = h.run_id
        JOIN document k ON k.tenant = h.tenant AND k.doc_id = h.doc_id
        WHERE h.tenant = %(tenant)s AND h.source = s.source AND h.decision = 'rejected' AND k.state <> 'deleted'
          AND k.fence <= r.fence) AS kept_deletions,
       (SELECT count(*) FROM run r
        WHERE r.tenant = %(tenant)s AND r.source = s.source AND r.state = 'running') AS running,
       last.id AS last_run, last.state AS last_state,
       (SELECT max(r.finished_at) FROM run r
        WHERE r.tenant = %(tenant)s AND r.source = s.source AND r.state = 'succeeded') AS last_success
FROM sources s
LEFT JOIN documents d USING (source)
LEFT JOIN LATERAL (
    SELECT r.id, r.state FROM run r WHERE r.tenant = %(tenant)s AND r.source = s.source ORDER BY r.id DESC LIMIT 1
) last ON true
WHERE %(source)s::text IS NULL OR s.source = %(source)s
ORDER BY s.source
