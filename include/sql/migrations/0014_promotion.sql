-- Challengers are proposed with every reason, decided by a person or a policy, and promoted with the space that serves.
-- depends: 0013_registry

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
