-- What users ask of a collection that keeps its questions: for drift, and for whether the benchmark still represents them.
-- depends: 0009_drift

CREATE TABLE millrace.question_asked (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    asked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    question        text NOT NULL,                        -- cleaned; who asked is not kept
    space_id        integer,                              -- that answered; no reference, it may be dropped
    similarity      real,                                 -- cosine of the nearest passage found; NULL for words alone
    hits            integer NOT NULL CHECK (hits >= 0)
);
CREATE INDEX question_asked_by_time ON millrace.question_asked (tenant, collection, asked_at);
