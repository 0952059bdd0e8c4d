-- name: around
-- The served passages around each of some: once each, however many of those are near. A passage that is not where it was found,
-- because its document was replaced or cut anew meanwhile, has none.
WITH found AS (
    SELECT f.doc_id, f.ordinal, f.char_start, f.char_end, f.version
    FROM unnest(%(doc_ids)b::bytea[], %(ordinals)s::integer[], %(starts)s::integer[], %(ends)s::integer[],
                %(versions)s::text[]) AS f (doc_id, ordinal, char_start, char_end, version)
), wanted AS (
    SELECT DISTINCT d.tenant, d.chunk_set, d.doc_id, n.ordinal
    FROM found f
    JOIN document d ON d.tenant = %(tenant)s AND d.doc_id = f.doc_id AND d.loaded_version = f.version AND {visible}
    JOIN chunk c ON (c.tenant, c.chunk_set, c.doc_id, c.ordinal) = (d.tenant, d.chunk_set, d.doc_id, f.ordinal)
                AND (c.char_start, c.char_end) = (f.char_start, f.char_end),
         LATERAL generate_series(f.ordinal - %(width)s::integer, f.ordinal + %(width)s::integer) AS n (ordinal)
)
SELECT c.doc_id, c.ordinal, c.heading_path, c.char_start, c.char_end, right(t.body, c.char_end - c.char_start) AS passage
FROM wanted w
JOIN chunk c ON (c.tenant, c.chunk_set, c.doc_id, c.ordinal) = (w.tenant, w.chunk_set, w.doc_id, w.ordinal)
JOIN text t ON (t.tenant, t.text_sha) = (c.tenant, c.text_sha)
ORDER BY c.doc_id, c.ordinal
