-- name: versions
-- Newest first within a model; one of them by number, or all.
SELECT v.id, v.model, v.version, v.kind, v.revision, v.dtype, coalesce(p.model || '@' || p.version, '') AS parent,
       v.artifact, v.files, v.run, v.created_by, v.created_at, v.code_sha, v.configuration,
       coalesce(d.collection || '@' || d.version, '') AS dataset, coalesce(d.sha, '') AS dataset_sha,
       ARRAY(SELECT a.alias || ' of ' || a.collection FROM model_alias a
             WHERE (a.tenant, a.version_id) = (v.tenant, v.id) ORDER BY a.collection, a.alias) AS aliases,
       ARRAY(SELECT s.id FROM space s WHERE s.version_id = v.id AND s.state <> 'retired' ORDER BY s.id) AS spaces
FROM model_version v
LEFT JOIN model_version p ON p.id = v.parent_id
LEFT JOIN dataset_version d ON d.id = v.dataset_id
WHERE v.tenant = %(tenant)s
  AND (%(model)s::text IS NULL OR v.model = %(model)s)
  AND (%(version)s::int IS NULL OR v.version = %(version)s)
ORDER BY v.model, v.version DESC

-- name: of_vectors
SELECT model, version, artifact, files, run FROM model_version
WHERE (tenant, revision, dtype) = (%(tenant)s, %(revision)s, %(dtype)s)

-- name: add
-- What a space has used already gets its files; what is kept already is left alone.
INSERT INTO model_version AS v (tenant, model, version, kind, revision, dtype, parent_id, artifact, files, run, created_by,
                                dataset_id, code_sha, configuration)
VALUES (%(tenant)s, %(model)s, next_version(%(tenant)s, %(model)s), %(kind)s, %(revision)s, %(dtype)s, %(parent)s,
        %(artifact)s, %(files)s, %(run)s, %(by)s, %(dataset)s, %(code_sha)s, %(configuration)s)
ON CONFLICT (tenant, revision, dtype) DO UPDATE SET
    kind = EXCLUDED.kind, artifact = EXCLUDED.artifact, files = EXCLUDED.files, run = EXCLUDED.run,
    parent_id = coalesce(v.parent_id, EXCLUDED.parent_id), created_by = EXCLUDED.created_by,
    dataset_id = EXCLUDED.dataset_id, code_sha = EXCLUDED.code_sha, configuration = EXCLUDED.configuration
WHERE v.artifact = ''

-- name: measured
-- The newest mean of each slice and measure that a version reached in any collection.
SELECT DISTINCT ON (b.collection, b.name, b.slice, m.measure)
       b.collection || ' ' || b.name || '/' || b.slice AS slice, m.measure, (m.value ->> 'mean')::float8 AS mean,
       (m.value ->> 'low')::float8 AS low, (m.value ->> 'high')::float8 AS high, r.questions, r.evaluation_id AS evaluation
FROM evaluation_result r
JOIN space s ON s.id = r.space_id
JOIN benchmark b ON b.id = r.benchmark_id,
     jsonb_each(r.measures) AS m (measure, value)
WHERE s.version_id = %(id)s AND r.system <> 'text' AND r.reason = ''
ORDER BY b.collection, b.name, b.slice, m.measure, r.evaluation_id DESC

-- name: history
SELECT h.collection, h.alias, coalesce(v.model || '@' || v.version, '') AS version, h.space_id, h.set_by, h.at
FROM model_alias_history h LEFT JOIN model_version v ON v.id = h.version_id
WHERE h.tenant = %(tenant)s AND (%(id)s::bigint IS NULL OR h.version_id = %(id)s)
ORDER BY h.id DESC
LIMIT %(limit)s

-- name: waiting
-- The verified space of a version that waits in a collection, and what the newest evaluation since decided about it, beside
-- which space.
SELECT s.id, d.evaluation, d.beside, d.decision ->> 'verdict' AS verdict, d.decision ->> 'reason' AS reason
FROM space s
LEFT JOIN LATERAL (
    SELECT e.id AS evaluation, e.space_id AS beside, e.gates -> format('space %%s', s.id) AS decision
    FROM evaluation e
    WHERE (e.tenant, e.collection) = (s.tenant, s.collection) AND e.at >= s.changed_at AND e.space_id IS NOT NULL
      AND e.gates ? format('space %%s', s.id)
    ORDER BY e.id DESC LIMIT 1) AS d ON true
WHERE s.version_id = %(id)s AND s.collection = %(collection)s AND s.state = 'shadow'
ORDER BY s.changed_at DESC LIMIT 1

-- name: artifacts
SELECT artifact FROM model_version WHERE artifact <> ''
