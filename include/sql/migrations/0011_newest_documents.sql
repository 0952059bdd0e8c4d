-- Search compares the passages of the newest documents exactly; this finds them.
-- depends: 0010_questions

CREATE INDEX document_by_load ON millrace.document (tenant, collection, loaded_at DESC NULLS LAST);
