-- Every model is a version with its origin; every space names the one that made its vectors; aliases say which serves.
-- depends: 0012_past

CREATE TABLE millrace.model_version (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant          text NOT NULL DEFAULT 'public',
    model           text NOT NULL CHECK (model <> ''),
    version         integer NOT NULL CHECK (version > 0),
    kind            text NOT NULL CHECK (kind IN ('external', 'encoder')),
    revision        text NOT NULL,                        -- hash of its files, as spaces have it
    dtype           text NOT NULL,                        -- arithmetic tier
    parent_id       bigint REFERENCES millrace.model_version,
    artifact        text NOT NULL DEFAULT '',             -- its folder in the object store; empty: it is kept elsewhere
    files           jsonb NOT NULL DEFAULT '[]',          -- [{path, sha256, bytes}]
    run             jsonb NOT NULL DEFAULT '{}',          -- how it is run: engine, tier, storage
    created_by      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
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

ALTER TABLE millrace.space ADD COLUMN version_id bigint REFERENCES millrace.model_version;

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

-- Spaces made before there was a registry.
INSERT INTO millrace.model_version (tenant, model, version, kind, revision, dtype)
SELECT s.tenant, min(s.model), row_number() OVER (PARTITION BY s.tenant, min(s.model) ORDER BY min(s.id)), 'external',
       s.revision, s.dtype
FROM millrace.space s GROUP BY s.tenant, s.revision, s.dtype;
UPDATE millrace.space s SET version_id = v.id FROM millrace.model_version v
WHERE (v.tenant, v.revision, v.dtype) = (s.tenant, s.revision, s.dtype);
INSERT INTO millrace.model_alias (tenant, collection, alias, version_id, space_id, since)
SELECT tenant, collection, 'champion', version_id, id, changed_at FROM millrace.space WHERE state = 'active';
INSERT INTO millrace.model_alias (tenant, collection, alias, version_id, space_id, since)
SELECT DISTINCT ON (tenant, collection) tenant, collection, 'challenger', version_id, id, changed_at
FROM millrace.space WHERE state = 'shadow' ORDER BY tenant, collection, changed_at DESC;
ALTER TABLE millrace.space ALTER COLUMN version_id SET NOT NULL;
CREATE INDEX space_by_version ON millrace.space (version_id);
