-- Full text beside the texts, filled after they are published: analysing a text cost more than everything else that
-- publishing it does. A text is pending until it is folded; search analyses the newest pending ones itself.
-- depends: 0005_publish_and_maintain

CREATE TABLE millrace.lexical (
    tenant          text NOT NULL DEFAULT 'public',
    text_sha        bytea NOT NULL,
    tsv             tsvector NOT NULL,
    mark            bigint NOT NULL,                      -- of the tsv as it was written
    PRIMARY KEY (tenant, text_sha),
    FOREIGN KEY (tenant, text_sha) REFERENCES millrace.text (tenant, text_sha) ON DELETE CASCADE
);
CREATE TABLE millrace.text_pending (
    tenant          text NOT NULL,
    text_sha        bytea NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A trigger, so that no writer of texts can forget it.
CREATE FUNCTION millrace.note_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO millrace.text_pending (tenant, text_sha) SELECT tenant, text_sha FROM written;
    RETURN NULL;
END
$$;
CREATE TRIGGER text_inserted AFTER INSERT ON millrace.text
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION millrace.note_pending();
CREATE TRIGGER text_updated AFTER UPDATE ON millrace.text
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION millrace.note_pending();

INSERT INTO millrace.lexical (tenant, text_sha, tsv, mark)
SELECT tenant, text_sha, tsv, hashtextextended(tsv::text, 0) FROM millrace.text;
CREATE INDEX lexical_tsv ON millrace.lexical USING gin (tsv);
ALTER TABLE millrace.text DROP COLUMN tsv;
