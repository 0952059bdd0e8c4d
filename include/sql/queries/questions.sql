-- name: keep
INSERT INTO question_asked (tenant, collection, question, space_id, similarity, hits)
VALUES (%(tenant)s, %(collection)s, %(question)s, %(space)s, %(similarity)s, %(hits)s)

-- name: soon
-- A question more or less after a crash is no harm; waiting for the disk would be, for whoever asks.
SET LOCAL synchronous_commit = off

-- name: asked
-- Each different question of a span once, drawn by its hash so that every run draws the same; similarities of one space only.
WITH different AS (
    SELECT question, count(*) AS times,
           avg(similarity) FILTER (WHERE space_id = %(space)s) AS similarity
    FROM question_asked
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND asked_at >= %(since)s AND asked_at < %(until)s
    GROUP BY question
)
SELECT question, times, similarity, (sum(times) OVER ())::bigint AS asked, count(*) OVER () AS different
FROM different
ORDER BY sha256(int4send(%(seed)s) || convert_to(question, 'UTF8'))
LIMIT %(limit)s

-- name: listed
-- Each different question since a moment, the ones whose nearest passage was farthest first, or else those asked most often;
-- similarities of one space only.
SELECT q.*
FROM (
    SELECT question, count(*) AS times, max(asked_at) AS last,
           avg(similarity) FILTER (WHERE space_id = %(space)s)::float8 AS similarity
    FROM question_asked
    WHERE tenant = %(tenant)s AND collection = %(collection)s AND asked_at >= %(since)s
    GROUP BY question
) AS q
ORDER BY CASE WHEN %(farthest)s THEN similarity END NULLS LAST, times DESC, last DESC, question
LIMIT %(limit)s

-- name: forget
DELETE FROM question_asked WHERE tenant = %(tenant)s AND collection = %(collection)s AND question = %(question)s

-- name: expire
DELETE FROM question_asked
WHERE tenant = %(tenant)s AND collection = %(collection)s
  AND asked_at < clock_timestamp() - make_interval(days => %(days)s)
