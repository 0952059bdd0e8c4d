-- name: lock_unused_texts
-- Locked first, deleted by a second statement: its newer snapshot sees every chunk committed before the lock was taken, and
-- no chunk can be added to a locked text.
SELECT t.text_sha FROM text t
WHERE t.tenant = %(tenant)s AND t.text_sha > %(after)s
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.tenant = t.tenant AND c.text_sha = t.text_sha)
ORDER BY t.text_sha LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: delete_texts
DELETE FROM text t
WHERE t.tenant = %(tenant)s AND t.text_sha = ANY(%(shas)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.tenant = t.tenant AND c.text_sha = t.text_sha)

-- name: expire_cache
DELETE FROM embedding_cache e
WHERE e.tenant = %(tenant)s AND e.created_at < clock_timestamp() - make_interval(days => %(days)s)
  AND NOT EXISTS (SELECT FROM text t WHERE t.tenant = e.tenant AND t.text_sha = e.text_sha)
