-- name: lock_objects
-- The wanted documents and, for whole objects, their attachments; one order for every writer.
SELECT d.doc_id, d.source, d.uri, d.fence, d.doc_id = ANY(%(doc_ids)b) AS asked,
       d.fence = %(fence)s AND d.commit_token = commit_token(d.fence, d.doc_id, 'deleted') AS mine
FROM document d
WHERE d.tenant = %(tenant)s AND d.doc_id = ANY(ARRAY(  -- found once, whatever the planner thinks of a table never analysed
    SELECT unnest(%(doc_ids)b::bytea[])
    UNION ALL
    SELECT m.doc_id FROM document o JOIN document m
      ON m.tenant = o.tenant AND m.source = o.source AND left(m.uri, 600) = left(o.uri, 600) AND m.uri = o.uri
    WHERE o.tenant = %(tenant)s AND o.doc_id = ANY(%(doc_ids)b) AND o.member = '' AND m.member <> ''))
ORDER BY d.doc_id
FOR NO KEY UPDATE OF d

-- name: mark_deleted
UPDATE document SET state = 'deleted', reason = NULL, attempts = 0, fence = %(fence)s,
    commit_token = commit_token(%(fence)s, doc_id, 'deleted'), run_id = %(run_id)s, loaded_version = NULL,
    chunk_set = NULL, chunk_count = 0, chunk_digest = NULL
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b) AND fence < %(fence)s

-- name: retire_chunks
-- Only what was served becomes history; passages that stood by for a switch just go.
WITH stood_by AS (
    DELETE FROM standby b WHERE b.tenant = %(tenant)s AND b.doc_id = ANY(%(doc_ids)b)
), gone AS (
    DELETE FROM chunk c
    WHERE c.tenant = %(tenant)s AND c.chunk_set = ANY(ARRAY(SELECT id FROM chunk_set)) AND c.doc_id = ANY(%(doc_ids)b)
    RETURNING c.*
)
INSERT INTO chunk_past (tenant, chunk_set, doc_id, ordinal, text_sha, body, heading_path, char_start, char_end, tokens,
                        lang, kind, valid_from, valid_to, run_id)
SELECT g.tenant, g.chunk_set, g.doc_id, g.ordinal, g.text_sha, t.body, g.heading_path, g.char_start, g.char_end, g.tokens,
       g.lang, g.kind, g.valid_from, clock_timestamp(), %(run_id)s
FROM gone g JOIN text t USING (tenant, text_sha)
WHERE g.chunk_set IN (
    SELECT s.chunk_set FROM document d JOIN space s ON s.tenant = d.tenant AND s.collection = d.collection AND s.state = 'active'
    WHERE d.tenant = g.tenant AND d.doc_id = g.doc_id)

-- name: resolve_quarantine
UPDATE quarantine SET resolved_at = clock_timestamp(), replay_at = NULL
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b) AND resolved_at IS NULL

-- name: close_holds
-- Nothing is left to decide about a document that is deleted.
UPDATE held_deletion SET decision = 'superseded', decided_at = clock_timestamp()
WHERE tenant = %(tenant)s AND doc_id = ANY(%(doc_ids)b) AND decision IS NULL

-- name: supersede_stale
-- The document was written since it was held: that hold was about another version, and this run holds it anew.
UPDATE held_deletion h SET decision = 'superseded', decided_at = clock_timestamp()
FROM document d, run r
WHERE h.tenant = %(tenant)s AND h.source = %(source)s AND h.doc_id = ANY(%(doc_ids)b) AND h.decision IS NULL
  AND h.run_id <> %(run_id)s AND d.tenant = h.tenant AND d.doc_id = h.doc_id AND r.id = h.run_id AND d.fence > r.fence

-- name: hold
-- A document that already waits keeps its first entry, so the run a person was told about stays the one to approve.
INSERT INTO held_deletion (run_id, tenant, source, doc_id, uri)
SELECT %(run_id)s, %(tenant)s, %(source)s, w.doc_id, w.uri
FROM unnest(%(doc_ids)b::bytea[], %(uris)s::text[]) AS w (doc_id, uri)
WHERE NOT EXISTS (
    SELECT FROM held_deletion h
    WHERE h.tenant = %(tenant)s AND h.source = %(source)s AND h.doc_id = w.doc_id AND h.decision IS NULL)
ON CONFLICT DO NOTHING

-- name: standing
-- A hold and what was said about it count only while the document is there and nobody has written it since.
SELECT h.run_id, h.source, h.doc_id, h.uri, r.started_at AS since, coalesce(r.stats ->> 'held_because', '') AS why,
       h.decision, h.decided_by, h.decided_at
FROM held_deletion h
JOIN run r ON r.id = h.run_id
JOIN document d ON d.tenant = h.tenant AND d.doc_id = h.doc_id
WHERE h.tenant = %(tenant)s AND (%(source)s::text IS NULL OR h.source = %(source)s)
  AND h.decision IS DISTINCT FROM 'superseded' AND d.state <> 'deleted' AND d.fence <= r.fence
ORDER BY h.source, h.run_id, h.decision, h.uri

-- name: decide
-- The same decision a second time keeps who took it first.
UPDATE held_deletion h SET decision = %(decision)s, decided_at = clock_timestamp(), decided_by = %(by)s
FROM document d, run r
WHERE h.run_id = %(run_id)s AND h.decision IS DISTINCT FROM 'superseded' AND h.decision IS DISTINCT FROM %(decision)s
  AND d.tenant = h.tenant AND d.doc_id = h.doc_id AND d.state <> 'deleted' AND r.id = h.run_id AND d.fence <= r.fence

-- name: was_approved
SELECT EXISTS (
    SELECT FROM held_deletion
    WHERE tenant = %(tenant)s AND source = %(source)s AND run_id = %(run_id)s AND decision = 'approved')

-- name: reappeared
-- The object is listed again: no open hold and no decision that has had no effect on the row stands any longer.
UPDATE held_deletion h SET decision = 'superseded', decided_at = clock_timestamp()
FROM document d, run r
WHERE h.tenant = %(tenant)s AND h.source = %(source)s AND h.doc_id = ANY(%(doc_ids)b)
  AND h.decision IS DISTINCT FROM 'superseded'
  AND d.tenant = h.tenant AND d.doc_id = h.doc_id AND d.state <> 'deleted' AND r.id = h.run_id AND d.fence <= r.fence
