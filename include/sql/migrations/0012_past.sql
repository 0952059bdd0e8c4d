-- Replaced passages are forgotten after a time; since when a collection's past is whole.
-- depends: 0011_newest_documents

CREATE TABLE millrace.past_forgotten (
    tenant          text NOT NULL,
    collection      text NOT NULL,
    before          timestamptz NOT NULL,                 -- of what ended earlier, some is gone
    PRIMARY KEY (tenant, collection)
);
CREATE INDEX chunk_past_by_end ON millrace.chunk_past (tenant, valid_to);
