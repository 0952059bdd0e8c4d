-- How many attachments an object has, so that one whose row is lost is missed. Null: loaded before they were counted.
-- depends: 0001_corpus

ALTER TABLE millrace.document ADD COLUMN members integer CHECK (members >= 0);
