-- The statistics that BM25 needs: in how many texts a term stands, how many texts there are and how long they are. Whoever
-- writes or removes terms appends to `lexical_change`, which has no keys, so that nobody waits; a fold sums it up.
-- depends: 0007_benchmarks

ALTER TABLE millrace.lexical ADD COLUMN words integer NOT NULL DEFAULT 0;
UPDATE millrace.lexical l SET words = w.words, mark = hashtextextended(l.tsv::text, w.words)
FROM (
    SELECT k.tenant, k.text_sha, coalesce(sum(cardinality(u.positions)), 0)::integer AS words
    FROM millrace.lexical k LEFT JOIN LATERAL unnest(k.tsv) AS u ON true
    GROUP BY k.tenant, k.text_sha
) AS w
WHERE (w.tenant, w.text_sha) = (l.tenant, l.text_sha);
ALTER TABLE millrace.lexical ALTER COLUMN words DROP DEFAULT;

CREATE TABLE millrace.term (
    tenant          text NOT NULL DEFAULT 'public',
    lexeme          text COLLATE "C" NOT NULL,
    texts           bigint NOT NULL,
    PRIMARY KEY (tenant, lexeme)
) WITH (fillfactor = 70);
CREATE TABLE millrace.lexicon (
    tenant          text PRIMARY KEY DEFAULT 'public',
    texts           bigint NOT NULL,
    words           bigint NOT NULL
);
CREATE TABLE millrace.lexical_change (
    tenant          text NOT NULL,
    terms           tsvector NOT NULL,                    -- of one text, without positions
    words           integer NOT NULL,
    texts           smallint NOT NULL CHECK (texts IN (-1, 1))
);

INSERT INTO millrace.lexicon (tenant, texts, words) SELECT tenant, count(*), sum(words) FROM millrace.lexical GROUP BY tenant;
INSERT INTO millrace.term (tenant, lexeme, texts)
SELECT l.tenant, u.lexeme, count(*) FROM millrace.lexical l, unnest(tsvector_to_array(l.tsv)) AS u (lexeme)
GROUP BY l.tenant, u.lexeme ORDER BY l.tenant, u.lexeme COLLATE "C";

-- A lexeme as a query; to_tsquery would analyse it again.
CREATE FUNCTION millrace.term_query(lexeme text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (chr(39) || replace(replace(lexeme, chr(92), repeat(chr(92), 2)), chr(39), repeat(chr(39), 2)) || chr(39))::tsquery
$$;

-- Triggers, so that no writer of terms can forget it, and texts that are deleted take theirs along.
CREATE FUNCTION millrace.note_written_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO millrace.lexical_change (tenant, terms, words, texts) SELECT tenant, strip(tsv), words, 1 FROM written;
    RETURN NULL;
END
$$;
CREATE FUNCTION millrace.note_removed_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO millrace.lexical_change (tenant, terms, words, texts) VALUES (OLD.tenant, strip(OLD.tsv), -OLD.words, -1);
    RETURN NULL;
END
$$;
CREATE TRIGGER lexical_inserted AFTER INSERT ON millrace.lexical
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION millrace.note_written_terms();
CREATE TRIGGER lexical_updated AFTER UPDATE ON millrace.lexical
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION millrace.note_written_terms();
CREATE TRIGGER lexical_removed AFTER DELETE OR UPDATE ON millrace.lexical
    FOR EACH ROW EXECUTE FUNCTION millrace.note_removed_terms();
