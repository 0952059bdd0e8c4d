-- Benchmark sets by slice and version, candidates under review, and what evaluations measured, question by question.
-- depends: 0006_lexical

-- One row per version of a slice. A version is never altered; the frozen slice has one only.
CREATE TABLE millrace.benchmark (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    name            text NOT NULL,
    slice           text NOT NULL CHECK (slice IN ('frozen', 'rolling', 'challenge')),
    version         integer NOT NULL CHECK (version > 0),
    origin          jsonb NOT NULL DEFAULT '{}',          -- the imported files, or the builders and their settings
    content_sha     bytea NOT NULL,                       -- over questions and judgments
    corpus_sha      bytea NOT NULL,                       -- over the documents served when it was made
    documents       bigint NOT NULL,                      -- how many those were
    created_by      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, collection, name, slice, version),
    CHECK (slice <> 'frozen' OR version = 1)
);

CREATE TABLE millrace.benchmark_query (
    benchmark_id    bigint NOT NULL REFERENCES millrace.benchmark,
    query_id        text NOT NULL,
    body            text NOT NULL,
    cluster         text NOT NULL DEFAULT '',             -- the document or topic that it shares with others
    origin          text NOT NULL DEFAULT 'import',       -- or the builder
    overlap         real,                                 -- share of its words in the answering passage, where known
    hidden          jsonb,                                -- {document, start, end} that it was made from
    PRIMARY KEY (benchmark_id, query_id)
);

-- Which documents answer; a question without any asks for what the corpus does not hold.
CREATE TABLE millrace.benchmark_judgment (
    benchmark_id    bigint NOT NULL,
    query_id        text NOT NULL,
    document        text NOT NULL,                        -- its uri, an attachment's path after #
    relevance       integer NOT NULL CHECK (relevance >= 0),
    PRIMARY KEY (benchmark_id, query_id, document),
    FOREIGN KEY (benchmark_id, query_id) REFERENCES millrace.benchmark_query (benchmark_id, query_id)
);

-- What builders proposed, and what a person said to it.
CREATE TABLE millrace.benchmark_candidate (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    name            text NOT NULL,                        -- of the set
    slice           text NOT NULL CHECK (slice IN ('frozen', 'rolling', 'challenge')),
    candidate_sha   bytea NOT NULL,                       -- question and documents
    body            text NOT NULL,
    documents       text[] NOT NULL CHECK (cardinality(documents) > 0),
    cluster         text NOT NULL DEFAULT '',
    builder         text NOT NULL,
    evidence        text NOT NULL DEFAULT '',             -- the answering passage, without title and headings
    overlap         real,
    hidden          jsonb,
    state           text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'accepted', 'rejected')),
    reason          text NOT NULL DEFAULT '',
    decided_by      text,
    decided_at      timestamptz,
    proposed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, collection, name, slice, candidate_sha),
    CHECK ((state = 'proposed') = (decided_at IS NULL))
);

-- One evaluation of a collection: when, on which corpus, and what it concluded.
CREATE TABLE millrace.evaluation (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    space_id        integer REFERENCES millrace.space,    -- that serves
    door            text NOT NULL CHECK (door IN ('airflow', 'cli')),
    external_id     text NOT NULL DEFAULT '',             -- Airflow's run id
    corpus_sha      bytea NOT NULL,
    documents       bigint NOT NULL,
    verdict         text NOT NULL CHECK (verdict IN ('good', 'worse', 'stale', 'cannot tell')),
    notes           text[] NOT NULL DEFAULT '{}',         -- why
    freshness       jsonb NOT NULL DEFAULT '[]',
    answers         jsonb NOT NULL DEFAULT '{}',
    gates           jsonb NOT NULL DEFAULT '{}',          -- space -> decision
    report          text NOT NULL DEFAULT '',             -- its page, below data-docs/ in the object store
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX evaluation_by_collection ON millrace.evaluation (tenant, collection, id DESC);

-- What one system reached on one version of a slice.
CREATE TABLE millrace.evaluation_result (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    evaluation_id   bigint NOT NULL REFERENCES millrace.evaluation ON DELETE CASCADE,
    benchmark_id    bigint NOT NULL REFERENCES millrace.benchmark,
    system          text NOT NULL,                        -- served, text, or space <number>
    space_id        integer REFERENCES millrace.space,
    questions       integer NOT NULL,                     -- scored
    reason          text NOT NULL DEFAULT '',             -- why it cannot be told; empty where it can
    measures        jsonb NOT NULL DEFAULT '{}',          -- measure -> {mean, low, high, detectable}
    compared        jsonb NOT NULL DEFAULT '{}',          -- measure -> {with, difference, low, high, p, holm}
    UNIQUE (evaluation_id, benchmark_id, system)
);
CREATE INDEX evaluation_result_by_benchmark ON millrace.evaluation_result (benchmark_id, system, id DESC);

CREATE TABLE millrace.evaluation_score (
    result_id       bigint NOT NULL REFERENCES millrace.evaluation_result ON DELETE CASCADE,
    measure         text NOT NULL,
    query_id        text NOT NULL,
    value           double precision NOT NULL CHECK (value >= 0 AND value <= 1),  -- NaN is greater than every number
    PRIMARY KEY (result_id, measure, query_id)
);
