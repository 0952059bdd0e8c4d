-- Search compares the passages of the newest documents exactly; this finds them.
-- depends: 0010_questions

-- By an expression, so that no other statement takes it: without statistics the planner would rather walk a whole collection
-- for every passage than look a document up by its key.
CREATE INDEX document_by_load ON millrace.document ((tenant || ' ' || collection), loaded_at DESC NULLS LAST);
