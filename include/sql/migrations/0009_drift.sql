-- What each look for drift found: one row a collection, source and window, written again when the window is looked at again.
-- depends: 0008_terms

CREATE TABLE millrace.drift_report (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    source          text NOT NULL DEFAULT '',             -- the only one looked at; empty: all of the collection
    since           timestamptz NOT NULL,
    until           timestamptz NOT NULL CHECK (until > since),
    space_id        integer NOT NULL REFERENCES millrace.space,  -- whose vectors were compared
    door            text NOT NULL CHECK (door IN ('airflow', 'cli')),
    external_id     text NOT NULL DEFAULT '',             -- Airflow's run id
    state           text NOT NULL CHECK (state IN ('drift', 'no drift', 'nothing new', 'cannot tell')),
    sentence        text NOT NULL,
    notes           text[] NOT NULL DEFAULT '{}',
    tests           jsonb NOT NULL DEFAULT '{}',          -- test -> {p, adjusted, effect, floor, alarm, units, reason}
    found           jsonb NOT NULL DEFAULT '{}',          -- where it comes from: shares, terms, examples, and its windows
    report          text NOT NULL DEFAULT '',             -- its page, below data-docs/ in the object store
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, collection, source, since, until)
);
