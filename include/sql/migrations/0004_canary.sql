-- The vectors that each embedder gave a fixed set of texts first; every run that embeds compares its own with them.
-- depends: 0003_spaces

CREATE TABLE millrace.canary (
    tenant                text NOT NULL DEFAULT 'public',
    embedder_fingerprint  text NOT NULL,
    text_sha              bytea NOT NULL CHECK (octet_length(text_sha) = 32),
    embedding             vector NOT NULL CHECK (vector_norm(embedding) > 0),
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, embedder_fingerprint, text_sha)
);
