-- name: load
SELECT text_sha, vector_send(embedding) FROM canary
WHERE tenant = %(tenant)s AND embedder_fingerprint = %(fingerprint)s AND text_sha = ANY (%(shas)b)

-- name: remember
-- The first writer's vectors stay: concurrent tasks of a first run compare with the same ones afterwards.
INSERT INTO canary (tenant, embedder_fingerprint, text_sha, embedding)
SELECT %(tenant)s, %(fingerprint)s, w.text_sha, w.embedding::vector
FROM unnest(%(shas)b::bytea[], %(vectors)s::text[]) AS w (text_sha, embedding)
ON CONFLICT DO NOTHING
