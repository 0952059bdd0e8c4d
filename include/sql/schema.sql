-- The declared schema: what all migrations together make. A test compares the two; change both. docs/data-model.md explains.

CREATE SCHEMA IF NOT EXISTS millrace;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

-- Orders writers: taken before a source is read, compared when a document is written.
CREATE SEQUENCE millrace.fence AS bigint START 1;

-- Names one write of one document: a retry that finds its own token knows that the write was committed.
CREATE FUNCTION millrace.commit_token(fence bigint, doc_id bytea, action text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(substr(sha256(int8send(fence) || doc_id || convert_to(action, 'UTF8')), 1, 16), 'hex')::uuid
$$;

-- What a document's chunk_digest is made of; (ordinal, text, place) of each chunk, joined in order.
CREATE FUNCTION millrace.chunk_mark(ordinal integer, text_sha bytea, char_start integer, char_end integer) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int4send(ordinal) || text_sha || int4send(char_start) || int4send(char_end)
$$;

CREATE TABLE millrace.run (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    source          text NOT NULL,
    collection      text NOT NULL,
    door            text NOT NULL CHECK (door IN ('airflow', 'cli')),
    external_id     text NOT NULL DEFAULT '',             -- Airflow's run id
    scope           text NOT NULL,                        -- uri prefix that the run was responsible for
    request         jsonb NOT NULL DEFAULT '{}',
    fence           bigint NOT NULL,
    state           text NOT NULL DEFAULT 'running'
                    CHECK (state IN ('running', 'succeeded', 'failed', 'held', 'abandoned')),
    listed          bigint,
    counts          jsonb NOT NULL DEFAULT '{}',          -- loaded, unchanged, quarantined, deleted, excluded
    reasons         jsonb NOT NULL DEFAULT '{}',          -- reason code -> objects
    stats           jsonb NOT NULL DEFAULT '{}',          -- chunks, tokens, embedded, reused, bytes and seconds by format
    notes           text[] NOT NULL DEFAULT '{}',
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz
);
CREATE INDEX run_by_source ON millrace.run (tenant, source, id DESC);

-- Live progress, one row per stage and shard of a run.
CREATE TABLE millrace.run_stage (
    run_id          bigint NOT NULL REFERENCES millrace.run ON DELETE CASCADE,
    stage           text NOT NULL,
    shard           text NOT NULL DEFAULT '',
    state           text NOT NULL CHECK (state IN ('running', 'succeeded', 'failed')),
    done            bigint NOT NULL DEFAULT 0,
    total           bigint NOT NULL DEFAULT 0,
    counts          jsonb NOT NULL DEFAULT '{}',
    error           text,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, stage, shard)
);

-- One row per object or attachment ever listed. Rows are never removed: a deletion is a fenced state.
CREATE TABLE millrace.document (
    tenant               text NOT NULL DEFAULT 'public',
    doc_id               bytea NOT NULL CHECK (octet_length(doc_id) = 32),
    collection           text NOT NULL,
    source               text NOT NULL,
    uri                  text NOT NULL,
    member               text NOT NULL DEFAULT '',
    parent_doc_id        bytea,
    source_version       text NOT NULL,                   -- the version last decided on, loaded or quarantined
    pipeline_fingerprint text NOT NULL,                   -- parser, cleaner and chunk settings of that decision
    content_sha          bytea,                           -- sha256 of the bytes last decided on
    state                text NOT NULL CHECK (state IN ('loaded', 'quarantined', 'deleted')),
    reason               text,
    attempts             integer NOT NULL DEFAULT 0,      -- failed tries at this very version that count against it
    fence                bigint NOT NULL,
    commit_token         uuid NOT NULL,
    run_id               bigint NOT NULL REFERENCES millrace.run,
    loaded_version       text,                            -- the version whose chunks are served; null when none are
    chunk_set            integer,
    chunk_count          integer NOT NULL DEFAULT 0,      -- chunks served
    chunk_digest         bytea,                           -- sha256 over the served chunks in order
    title                text NOT NULL DEFAULT '',
    media_type           text NOT NULL DEFAULT '',
    lang                 text NOT NULL DEFAULT '',
    metadata             jsonb NOT NULL DEFAULT '{}',
    warnings             text[] NOT NULL DEFAULT '{}',
    bytes                bigint NOT NULL DEFAULT 0,
    source_modified      timestamptz,
    loaded_at            timestamptz,
    members              integer CHECK (members >= 0),    -- attachments of the version served; null: not counted then
    PRIMARY KEY (tenant, doc_id),
    FOREIGN KEY (tenant, parent_doc_id) REFERENCES millrace.document (tenant, doc_id),
    CHECK ((state = 'quarantined') = (reason IS NOT NULL)),
    CHECK (state <> 'loaded' OR (loaded_version = source_version AND chunk_count > 0)),
    CHECK (state <> 'deleted' OR (loaded_version IS NULL AND chunk_count = 0))
);
-- Addresses may be longer than an index row (2.7 kB), so their first 600 characters are indexed.
CREATE INDEX document_by_uri ON millrace.document (source, left(uri, 600) text_pattern_ops, tenant);
CREATE INDEX document_by_load ON millrace.document ((tenant || ' ' || collection), loaded_at DESC NULLS LAST);
CREATE INDEX document_by_parent ON millrace.document (tenant, parent_doc_id) WHERE parent_doc_id IS NOT NULL;

CREATE TABLE millrace.chunk_set (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint     text NOT NULL UNIQUE,
    settings        jsonb NOT NULL,
    tokenizer_sha   text NOT NULL,
    max_tokens      integer NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The text search configuration of a language; `simple` where PostgreSQL has no stemmer for it.
CREATE FUNCTION millrace.text_config(lang text) RETURNS regconfig
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE lang
        WHEN 'en' THEN 'pg_catalog.english'::regconfig
        WHEN 'de' THEN 'pg_catalog.german'::regconfig
        WHEN 'fr' THEN 'pg_catalog.french'::regconfig
        WHEN 'es' THEN 'pg_catalog.spanish'::regconfig
        WHEN 'it' THEN 'pg_catalog.italian'::regconfig
        WHEN 'nl' THEN 'pg_catalog.dutch'::regconfig
        WHEN 'pt' THEN 'pg_catalog.portuguese'::regconfig
        ELSE 'pg_catalog.simple'::regconfig
    END
$$;

-- Each distinct embedder input once; the foreign-key parent of chunks and of every space's vectors.
CREATE TABLE millrace.text (
    tenant          text NOT NULL DEFAULT 'public',
    text_sha        bytea NOT NULL CHECK (octet_length(text_sha) = 32),
    body            text NOT NULL,
    lang            text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, text_sha)
);

-- What full-text search reads of a text: filled by a fold after the text was published.
CREATE TABLE millrace.lexical (
    tenant          text NOT NULL DEFAULT 'public',
    text_sha        bytea NOT NULL,
    tsv             tsvector NOT NULL,                    -- in the configuration of the text's language
    mark            bigint NOT NULL,                      -- of tsv and words as they were written
    words           integer NOT NULL,                     -- of the text, without stop words
    PRIMARY KEY (tenant, text_sha),
    FOREIGN KEY (tenant, text_sha) REFERENCES millrace.text (tenant, text_sha) ON DELETE CASCADE
);
CREATE INDEX lexical_tsv ON millrace.lexical USING gin (tsv);

-- What BM25 weighs words with, summed up by a fold from `lexical_change`, which writers append to and which has no keys.
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

-- Texts that were written or changed since the last fold; without keys, because publishing waits for nothing here.
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

CREATE TABLE millrace.chunk (
    tenant          text NOT NULL DEFAULT 'public',
    chunk_set       integer NOT NULL REFERENCES millrace.chunk_set,
    doc_id          bytea NOT NULL,
    ordinal         integer NOT NULL CHECK (ordinal >= 0),
    text_sha        bytea NOT NULL,
    heading_path    text[] NOT NULL DEFAULT '{}',
    char_start      integer NOT NULL,
    char_end        integer NOT NULL CHECK (char_end > char_start),
    tokens          integer NOT NULL CHECK (tokens > 0),
    lang            text NOT NULL DEFAULT '',
    kind            text NOT NULL DEFAULT 'prose',
    valid_from      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, chunk_set, doc_id, ordinal),
    FOREIGN KEY (tenant, doc_id) REFERENCES millrace.document (tenant, doc_id),
    FOREIGN KEY (tenant, text_sha) REFERENCES millrace.text (tenant, text_sha)
);
CREATE INDEX chunk_by_text ON millrace.chunk (text_sha, tenant);

-- Replaced chunks with their own copy of the text, for as-of queries and drift over history.
CREATE TABLE millrace.chunk_past (
    tenant          text NOT NULL,
    chunk_set       integer NOT NULL,
    doc_id          bytea NOT NULL,
    ordinal         integer NOT NULL,
    text_sha        bytea NOT NULL,
    body            text NOT NULL,
    heading_path    text[] NOT NULL,
    char_start      integer NOT NULL,
    char_end        integer NOT NULL,
    tokens          integer NOT NULL,
    lang            text NOT NULL,
    kind            text NOT NULL,
    valid_from      timestamptz NOT NULL,
    valid_to        timestamptz NOT NULL,
    run_id          bigint NOT NULL                       -- the run that replaced it
);
CREATE INDEX chunk_past_by_document ON millrace.chunk_past (tenant, doc_id, valid_to);
CREATE INDEX chunk_past_by_end ON millrace.chunk_past (tenant, valid_to);

-- Replaced chunks are forgotten after a time; since when a collection's past is whole.
CREATE TABLE millrace.past_forgotten (
    tenant          text NOT NULL,
    collection      text NOT NULL,
    before          timestamptz NOT NULL,                 -- of what ended earlier, some is gone
    PRIMARY KEY (tenant, collection)
);

-- What models were taught, under the hash of the files.
CREATE TABLE millrace.dataset_version (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    version         integer NOT NULL CHECK (version > 0),
    sha             text NOT NULL,                        -- hash of its files
    artifact        text NOT NULL CHECK (artifact <> ''), -- its folder in the object store
    files           jsonb NOT NULL,                       -- [{path, sha256, bytes}]
    pairs           integer NOT NULL CHECK (pairs >= 0),
    lineage         jsonb NOT NULL,                       -- origins, what was left out by reason, slices kept apart, seed
    created_by      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, collection, version),
    UNIQUE (tenant, collection, sha)
);

-- Every model there ever was, imported or only used; which of them serves is in model_alias.
CREATE TABLE millrace.model_version (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    model           text NOT NULL CHECK (model <> ''),
    version         integer NOT NULL CHECK (version > 0),
    kind            text NOT NULL CHECK (kind IN ('external', 'encoder', 'adapter')),
    revision        text NOT NULL,                        -- hash of its files, as spaces have it
    dtype           text NOT NULL,                        -- arithmetic tier
    parent_id       bigint REFERENCES millrace.model_version,
    artifact        text NOT NULL DEFAULT '',             -- its folder in the object store; empty: it is kept elsewhere
    files           jsonb NOT NULL DEFAULT '[]',          -- [{path, sha256, bytes}]
    run             jsonb NOT NULL DEFAULT '{}',          -- how it is run: engine, tier, storage
    created_by      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    dataset_id      bigint REFERENCES millrace.dataset_version,  -- what it was taught; null: not here
    code_sha        text NOT NULL DEFAULT '',             -- hash of the code that taught it
    configuration   jsonb NOT NULL DEFAULT '{}',          -- settings, and what came of them
    UNIQUE (tenant, model, version),
    UNIQUE (tenant, revision, dtype),
    CHECK ((kind = 'external') = (artifact = ''))
);

-- The number of a model's next version; concurrent callers wait for each other.
CREATE FUNCTION millrace.next_version(of_tenant text, of_model text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('millrace.model'), hashtext(of_tenant || '/' || of_model));
    RETURN (SELECT coalesce(max(version), 0) + 1 FROM millrace.model_version WHERE tenant = of_tenant AND model = of_model);
END
$$;

-- One row per model version and collection; its vectors live in the table millrace.space_<id>.
CREATE TABLE millrace.space (
    id                    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant                text NOT NULL DEFAULT 'public',
    collection            text NOT NULL,
    chunk_set             integer NOT NULL REFERENCES millrace.chunk_set,
    model                 text NOT NULL,
    revision              text NOT NULL,
    embedder_fingerprint  text NOT NULL,
    dim                   integer NOT NULL,
    dtype                 text NOT NULL,                  -- arithmetic tier of the embedder
    storage               text NOT NULL CHECK (storage IN ('vector', 'halfvec')),
    pooling               text NOT NULL DEFAULT 'mean',
    normalised            boolean NOT NULL DEFAULT true,
    prompt                text NOT NULL DEFAULT '',
    max_length            integer NOT NULL,
    state                 text NOT NULL CHECK (state IN ('building', 'shadow', 'active', 'previous', 'retired')),
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    built_at              timestamptz,                    -- when its index was finished
    verified_at           timestamptz,
    report                jsonb NOT NULL DEFAULT '{}',    -- what the verification measured
    changed_at            timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when `state` began
    version_id            bigint NOT NULL REFERENCES millrace.model_version,  -- whose vectors these are
    vectors_of            integer REFERENCES millrace.space,  -- the space that it reads the vectors of; null: its own
    holder                integer GENERATED ALWAYS AS (coalesce(vectors_of, id)) STORED,  -- whose table that is
    UNIQUE (tenant, collection, chunk_set, embedder_fingerprint, revision)
);
CREATE UNIQUE INDEX space_one_active ON millrace.space (tenant, collection) WHERE state = 'active';
CREATE INDEX space_by_version ON millrace.space (version_id);

-- Triggers, so that no space can be made without its version, and none can serve without being the champion.
CREATE FUNCTION millrace.version_of_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT v.id INTO NEW.version_id FROM millrace.model_version v
    WHERE (v.tenant, v.revision, v.dtype) = (NEW.tenant, NEW.revision, NEW.dtype);
    IF NEW.version_id IS NULL THEN
        INSERT INTO millrace.model_version AS v (tenant, model, version, kind, revision, dtype)
        VALUES (NEW.tenant, NEW.model, millrace.next_version(NEW.tenant, NEW.model), 'external', NEW.revision, NEW.dtype)
        ON CONFLICT (tenant, revision, dtype) DO UPDATE SET revision = EXCLUDED.revision
        RETURNING v.id INTO NEW.version_id;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER space_version BEFORE INSERT ON millrace.space
    FOR EACH ROW EXECUTE FUNCTION millrace.version_of_space();

CREATE TABLE millrace.model_alias (
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    alias           text NOT NULL CHECK (alias IN ('champion', 'challenger')),
    version_id      bigint NOT NULL REFERENCES millrace.model_version,
    space_id        integer NOT NULL REFERENCES millrace.space,  -- whose vectors it answers from
    set_by          text NOT NULL DEFAULT '',
    since           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, collection, alias)
);

CREATE TABLE millrace.model_alias_history (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL,
    collection      text NOT NULL,
    alias           text NOT NULL,
    version_id      bigint REFERENCES millrace.model_version,  -- null: the alias was taken away
    space_id        integer REFERENCES millrace.space,
    set_by          text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_alias_history_by_alias ON millrace.model_alias_history (tenant, collection, alias, id);

-- Who does it is said by the setting millrace.person of the transaction.
CREATE FUNCTION millrace.remember_alias() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO millrace.model_alias_history (tenant, collection, alias, set_by)
        VALUES (OLD.tenant, OLD.collection, OLD.alias, coalesce(current_setting('millrace.person', true), ''));
    ELSE
        INSERT INTO millrace.model_alias_history (tenant, collection, alias, version_id, space_id, set_by)
        VALUES (NEW.tenant, NEW.collection, NEW.alias, NEW.version_id, NEW.space_id, NEW.set_by);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER model_alias_remembered AFTER INSERT OR UPDATE OR DELETE ON millrace.model_alias
    FOR EACH ROW EXECUTE FUNCTION millrace.remember_alias();

-- The space that serves is of the champion, the newest verified one that waits of the challenger.
CREATE FUNCTION millrace.alias_of_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state IN ('active', 'shadow') THEN
        INSERT INTO millrace.model_alias AS a (tenant, collection, alias, version_id, space_id, set_by)
        VALUES (NEW.tenant, NEW.collection, CASE NEW.state WHEN 'active' THEN 'champion' ELSE 'challenger' END,
                NEW.version_id, NEW.id, coalesce(current_setting('millrace.person', true), ''))
        ON CONFLICT (tenant, collection, alias) DO UPDATE
        SET version_id = EXCLUDED.version_id, space_id = EXCLUDED.space_id, set_by = EXCLUDED.set_by,
            since = clock_timestamp()
        WHERE a.space_id <> EXCLUDED.space_id;
    END IF;
    IF NEW.state <> 'shadow' THEN
        DELETE FROM millrace.model_alias
        WHERE (tenant, collection, alias, space_id) = (NEW.tenant, NEW.collection, 'challenger', NEW.id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER space_alias AFTER INSERT OR UPDATE OF state ON millrace.space
    FOR EACH ROW EXECUTE FUNCTION millrace.alias_of_space();

-- Every state that a space was in; the newest row is the present one.
CREATE TABLE millrace.space_history (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id        integer NOT NULL REFERENCES millrace.space,
    state           text NOT NULL,
    by              text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX space_history_by_space ON millrace.space_history (space_id, id);

-- What a served document has in a chunk set that it is not served from: a complete set of passages, ready for a switch.
CREATE TABLE millrace.standby (
    tenant          text NOT NULL DEFAULT 'public',
    doc_id          bytea NOT NULL,
    chunk_set       integer NOT NULL REFERENCES millrace.chunk_set,
    chunk_count     integer NOT NULL CHECK (chunk_count > 0),
    chunk_digest    bytea NOT NULL,
    PRIMARY KEY (tenant, doc_id, chunk_set),
    FOREIGN KEY (tenant, doc_id) REFERENCES millrace.document (tenant, doc_id)
);

-- Every vector ever computed, until it expires: retries, renamed files and re-added texts cost nothing.
CREATE TABLE millrace.embedding_cache (
    tenant                text NOT NULL DEFAULT 'public',
    embedder_fingerprint  text NOT NULL,
    text_sha              bytea NOT NULL CHECK (octet_length(text_sha) = 32),
    embedding             vector NOT NULL CHECK (vector_norm(embedding) > 0),
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, embedder_fingerprint, text_sha)
);

-- The vectors that each embedder gave a fixed set of texts first; every run that embeds compares its own with them.
CREATE TABLE millrace.canary (
    tenant                text NOT NULL DEFAULT 'public',
    embedder_fingerprint  text NOT NULL,
    text_sha              bytea NOT NULL CHECK (octet_length(text_sha) = 32),
    embedding             vector NOT NULL CHECK (vector_norm(embedding) > 0),
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, embedder_fingerprint, text_sha)
);

CREATE TABLE millrace.quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    doc_id          bytea NOT NULL,
    source          text NOT NULL,
    uri             text NOT NULL,
    member          text NOT NULL DEFAULT '',
    source_version  text NOT NULL,
    stage           text NOT NULL,
    reason          text NOT NULL,
    detail          text NOT NULL DEFAULT '',
    attempt         integer NOT NULL,
    run_id          bigint NOT NULL REFERENCES millrace.run,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at     timestamptz,                          -- when a later run loaded or deleted the document
    replay_at       timestamptz                           -- when a person asked for another try; cleared by the next try
);
CREATE INDEX quarantine_open ON millrace.quarantine (tenant, source, doc_id) WHERE resolved_at IS NULL;

-- Results of the great-expectations suites; publish refuses a shard without both.
CREATE TABLE millrace.validation (
    run_id          bigint NOT NULL REFERENCES millrace.run ON DELETE CASCADE,
    shard           text NOT NULL,
    suite           text NOT NULL CHECK (suite IN ('documents', 'chunks', 'vectors')),
    success         boolean NOT NULL,
    rows            bigint NOT NULL,
    failed          jsonb NOT NULL DEFAULT '[]',          -- [{expectation, column, unexpected, documents}]
    docs_uri        text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, shard, suite)
);

-- Deletions that wait for a person, exactly as listed.
CREATE TABLE millrace.held_deletion (
    run_id          bigint NOT NULL REFERENCES millrace.run ON DELETE CASCADE,
    tenant          text NOT NULL DEFAULT 'public',
    source          text NOT NULL,
    doc_id          bytea NOT NULL,
    uri             text NOT NULL,
    decision        text CHECK (decision IN ('approved', 'rejected', 'superseded')),
    decided_at      timestamptz,
    decided_by      text,
    PRIMARY KEY (run_id, doc_id)
);
CREATE INDEX held_deletion_open ON millrace.held_deletion (tenant, source) WHERE decision IS NULL;

-- What maintenance found and did, one row a table and run.
CREATE TABLE millrace.maintenance (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation        text NOT NULL,                        -- the table's name
    rows            bigint NOT NULL,
    bytes           bigint NOT NULL,                      -- with its indexes
    index_bytes     bigint NOT NULL,                      -- of the index that wears out: HNSW or full text
    changes         bigint NOT NULL,                      -- rows updated or deleted, by the server's statistics
    churn           real NOT NULL,                        -- those since that index was built, as a share of the rows
    recall          real,                                 -- recall@10 of a space's index
    rebuilt         boolean NOT NULL,
    seconds         real NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX maintenance_by_relation ON millrace.maintenance (relation, id);

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

-- What each look for drift found: one row a collection, source and window, written again when it is looked at again.
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

-- What users ask of a collection that keeps its questions: for drift, and for whether the benchmark still represents them.
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

-- A challenger that was proposed for a collection: what was checked, what was decided, and what became of it.
CREATE TABLE millrace.promotion (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    collection      text NOT NULL,
    version_id      bigint NOT NULL REFERENCES millrace.model_version,
    space_id        integer NOT NULL REFERENCES millrace.space,   -- that would serve
    beside_space    integer NOT NULL REFERENCES millrace.space,   -- that served when it was compared
    evaluation_id   bigint REFERENCES millrace.evaluation,
    verdict         text NOT NULL CHECK (verdict IN ('promote', 'refuse', 'cannot tell')),
    reasons         text[] NOT NULL DEFAULT '{}',         -- against promotion
    checks          jsonb NOT NULL DEFAULT '[]',          -- [{name, verdict, reason, value, bound, limit}]
    state           text NOT NULL
        CHECK (state IN ('proposed', 'approved', 'rejected', 'promoted', 'refused', 'expired', 'overtaken')),
    decided_by      text NOT NULL DEFAULT '',
    reason          text NOT NULL DEFAULT '',             -- of the state: why rejected, what overtook it
    report          text NOT NULL DEFAULT '',             -- its page, below data-docs/ in the object store
    proposed_by     text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((verdict = 'promote') = (state <> 'refused'))
);
CREATE INDEX promotion_by_collection ON millrace.promotion (tenant, collection, id DESC);
CREATE UNIQUE INDEX promotion_open ON millrace.promotion (space_id) WHERE state IN ('proposed', 'approved');

CREATE TABLE millrace.promotion_history (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    promotion_id    bigint NOT NULL REFERENCES millrace.promotion,
    state           text NOT NULL,
    by              text NOT NULL DEFAULT '',
    reason          text NOT NULL DEFAULT '',
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX promotion_history_by_promotion ON millrace.promotion_history (promotion_id, id);

CREATE FUNCTION millrace.remember_promotion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO millrace.promotion_history (promotion_id, state, by, reason)
    VALUES (NEW.id, NEW.state, CASE TG_OP WHEN 'INSERT' THEN NEW.proposed_by ELSE NEW.decided_by END, NEW.reason);
    RETURN NULL;
END
$$;
CREATE TRIGGER promotion_remembered AFTER INSERT OR UPDATE OF state ON millrace.promotion
    FOR EACH ROW EXECUTE FUNCTION millrace.remember_promotion();

-- In the transaction that lets a space serve, its approved proposal is promoted and every other open one of the collection is
-- overtaken: it was compared with a champion that serves no more. So is that of a space that no longer waits verified.
CREATE FUNCTION millrace.promotion_of_space() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    person text := coalesce(current_setting('millrace.person', true), '');
BEGIN
    IF NEW.state = 'active' THEN
        UPDATE millrace.promotion SET state = 'promoted', decided_by = person WHERE space_id = NEW.id AND state = 'approved';
        UPDATE millrace.promotion
        SET state = 'overtaken', decided_by = person, reason = format('space %s serves by now', NEW.id)
        WHERE (tenant, collection) = (NEW.tenant, NEW.collection) AND state IN ('proposed', 'approved');
    ELSIF OLD.state = 'shadow' THEN
        UPDATE millrace.promotion
        SET state = 'overtaken', decided_by = person, reason = format('space %s is %s by now', NEW.id, NEW.state)
        WHERE space_id = NEW.id AND state IN ('proposed', 'approved');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER space_promotion AFTER UPDATE OF state ON millrace.space
    FOR EACH ROW EXECUTE FUNCTION millrace.promotion_of_space();
