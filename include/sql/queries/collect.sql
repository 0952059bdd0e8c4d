-- name: unused_texts
-- Candidates only, nothing is locked: one pass over texts and chunks, however many are removed afterwards.
SELECT t.text_sha FROM text t
WHERE t.tenant = %(tenant)s
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.tenant = t.tenant AND c.text_sha = t.text_sha)
LIMIT %(limit)s

-- name: lock_texts
-- Locked first, deleted by a second statement: its newer snapshot sees every chunk committed before the lock was taken, and
-- no chunk can be added to a locked text. What a publisher is using at this moment is skipped, so nobody waits.
SELECT t.text_sha FROM text t
WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)b)
ORDER BY t.text_sha
FOR UPDATE SKIP LOCKED

-- name: delete_texts
DELETE FROM text t
WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)b)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.tenant = t.tenant AND c.text_sha = t.text_sha)

-- name: expire_cache
-- Skips what a run renews at this moment; a row that was renewed before it is locked is young and stays.
WITH old AS (
    SELECT e.embedder_fingerprint, e.text_sha FROM embedding_cache e
    WHERE e.tenant = %(tenant)s AND e.created_at < clock_timestamp() - make_interval(days => %(days)s)
      AND NOT EXISTS (SELECT FROM text t WHERE t.tenant = e.tenant AND t.text_sha = e.text_sha)
    LIMIT %(limit)s
    FOR UPDATE OF e SKIP LOCKED
)
DELETE FROM embedding_cache e USING old
WHERE e.tenant = %(tenant)s AND (e.embedder_fingerprint, e.text_sha) = (old.embedder_fingerprint, old.text_sha)
