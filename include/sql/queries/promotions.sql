-- name: wait_for_space
-- Whoever proposes or switches the same space waits; what it is now.
SELECT set_config('lock_timeout', '20s', true), s.state FROM space s WHERE s.id = %(space)s FOR NO KEY UPDATE

-- name: approved
SELECT id FROM promotion WHERE space_id = %(space)s AND state = 'approved'

-- name: overtake
UPDATE promotion SET state = 'overtaken', decided_by = %(by)s, reason = 'proposed anew'
WHERE space_id = %(space)s AND state = 'proposed'

-- name: insert
INSERT INTO promotion (tenant, collection, version_id, space_id, beside_space, evaluation_id, verdict, reasons, checks, state,
                       proposed_by)
VALUES (%(tenant)s, %(collection)s, %(version)s, %(space)s, %(beside)s, %(evaluation)s, %(verdict)s, %(reasons)s, %(checks)s,
        CASE %(verdict)s WHEN 'promote' THEN 'proposed' ELSE 'refused' END, %(by)s)
RETURNING id

-- name: report
UPDATE promotion SET report = %(report)s WHERE id = %(id)s

-- name: decide
-- Of those who decide at once one finds it still proposed.
UPDATE promotion SET state = %(state)s, decided_by = %(by)s, reason = %(reason)s WHERE id = %(id)s AND state = 'proposed'

-- name: proposals
-- The newest first: one, those of a collection, or all.
SELECT p.id, p.collection, v.model || '@' || v.version AS version, p.space_id AS space, p.beside_space AS beside,
       p.evaluation_id AS evaluation, p.verdict, p.reasons, p.checks, p.state, p.decided_by, p.reason, p.report, p.proposed_by,
       p.at, extract(epoch FROM clock_timestamp() - p.at)::float8 AS age
FROM promotion p JOIN model_version v ON v.id = p.version_id
WHERE p.tenant = %(tenant)s
  AND (%(id)s::bigint IS NULL OR p.id = %(id)s)
  AND (%(collection)s::text IS NULL OR p.collection = %(collection)s)
  AND (%(space)s::int IS NULL OR p.space_id = %(space)s AND p.state IN ('proposed', 'approved'))
ORDER BY p.id DESC
LIMIT %(limit)s

-- name: decision
SELECT gates -> format('space %%s', %(space)s::int) FROM evaluation WHERE id = %(evaluation)s

-- name: tries
-- By slice version: challengers that it judged, those of them that it did not let pass, evaluations.
SELECT j ->> 'slice' AS slice, count(DISTINCT g.space) AS challengers,
       count(DISTINCT g.space) FILTER (WHERE j ->> 'verdict' <> 'promote') AS failed, count(DISTINCT e.id) AS evaluations
FROM evaluation e, jsonb_each(e.gates) AS g (space, decision), jsonb_array_elements(g.decision -> 'slices') AS j
WHERE (e.tenant, e.collection) = (%(tenant)s, %(collection)s)
GROUP BY 1 ORDER BY 1

-- name: passages
-- Some passages of a space, always the same ones.
SELECT t.body FROM (
    SELECT DISTINCT c.text_sha
    FROM chunk c JOIN document d ON d.tenant = c.tenant AND d.doc_id = c.doc_id
    WHERE c.tenant = %(tenant)s AND c.chunk_set = %(chunk_set)s AND d.collection = %(collection)s
    ORDER BY c.text_sha LIMIT %(count)s) AS m
JOIN text t ON t.tenant = %(tenant)s AND t.text_sha = m.text_sha
ORDER BY m.text_sha
