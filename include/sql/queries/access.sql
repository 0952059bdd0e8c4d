-- name: visible
-- Whether a reader who is one of `principals` may see the document {d}; null principals see everything. An attachment is never
-- more visible than its object.
(%(principals)s::text[] IS NULL OR (
    {allowed}
    AND ({d}.parent_doc_id IS NULL OR EXISTS (
        SELECT FROM document object
        WHERE object.tenant = {d}.tenant AND object.doc_id = {d}.parent_doc_id AND {object_allowed}))))

-- name: allowed
-- By the document's own list, in front matter "hr, board" or "[hr, board]". One that cannot be read is nobody's; a document
-- without one depends on its source.
CASE coalesce(jsonb_typeof({d}.metadata -> 'access'), 'null')
    WHEN 'array' THEN {d}.metadata -> 'access' ?| %(principals)s::text[]
    WHEN 'string' THEN regexp_split_to_array(btrim(translate({d}.metadata ->> 'access', '[]"''', '')), '\s*,\s*') && %(principals)s::text[]
    WHEN 'null' THEN {d}.source = ANY (%(open_sources)s::text[])
    ELSE false
END
