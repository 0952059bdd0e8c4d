-- name: insert
INSERT INTO evaluation (tenant, collection, space_id, door, external_id, corpus_sha, documents, verdict, notes, freshness,
                        answers, gates)
VALUES (%(tenant)s, %(collection)s, %(space)s, %(door)s, %(external_id)s, %(corpus_sha)s, %(documents)s, %(verdict)s,
        %(notes)s, %(freshness)s, %(answers)s, %(gates)s)
RETURNING id

-- name: report
UPDATE evaluation SET report = %(report)s WHERE id = %(evaluation)s

-- name: insert_result
INSERT INTO evaluation_result (evaluation_id, benchmark_id, system, space_id, questions, reason, measures, compared)
VALUES (%(evaluation)s, %(benchmark)s, %(system)s, %(space)s, %(questions)s, %(reason)s, %(measures)s, %(compared)s)
RETURNING id

-- name: insert_score
INSERT INTO evaluation_score (result_id, measure, query_id, value) VALUES (%(result)s, %(measure)s, %(query)s, %(value)s)

-- name: former
-- The newest earlier result of the same system on the very same version of the slice.
SELECT r.id, r.evaluation_id, e.corpus_sha, e.space_id, e.at
FROM evaluation_result r JOIN evaluation e ON e.id = r.evaluation_id
WHERE r.benchmark_id = %(benchmark)s AND r.system = %(system)s AND r.questions > 0 AND r.reason = ''
ORDER BY r.id DESC
LIMIT 1

-- name: scores
SELECT measure, query_id, value FROM evaluation_score WHERE result_id = %(result)s

-- name: history
-- The means of one measure over time, for the plots: at most the newest hundred of each slice version.
SELECT * FROM (
    SELECT b.name, b.slice, b.version, e.id, e.at, (r.measures -> %(measure)s ->> 'mean')::float8 AS mean,
           row_number() OVER (PARTITION BY b.id ORDER BY e.id DESC) AS place
    FROM evaluation_result r
    JOIN evaluation e ON e.id = r.evaluation_id
    JOIN benchmark b ON b.id = r.benchmark_id
    WHERE e.tenant = %(tenant)s AND e.collection = %(collection)s AND r.system = %(system)s
      AND r.measures ? %(measure)s) AS kept
WHERE place <= 100
ORDER BY name, slice, version, id
