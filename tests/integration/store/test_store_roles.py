"""Least privilege: a writer that syncs, a reader that only searches, an owner that is no superuser."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pipelines.errors import FixConfiguration
from pipelines.search.hybrid import Query, search
from pipelines.store import audit, collect, database, ledger, maintenance, roles, space_index, spaces
from tests.integration.store.corpus import SOURCE, Corpus, Identity, unit_vectors

pytestmark = pytest.mark.integration
AsRole = Callable[[str], str]
ROLES = ("millrace_writer", "millrace_reader")


@pytest.fixture
def superuser(dsn: str) -> Iterator[psycopg.Connection]:
    """On a database without a schema of ours; roles are the server's, so they are taken away again."""
    name = f"shared_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(make_conninfo(dsn, dbname=name), autocommit=True) as inside:
            yield inside
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        made = conn.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^(millrace_|its_)'").fetchall()
        for (role,) in sorted(made, reverse=True):
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def login(superuser: psycopg.Connection) -> AsRole:
    """`login(name)`: the DSN of an ordinary role, made when it is new; "its_writer" acts as millrace_writer, and so on."""

    def made(name: str) -> str:
        if not superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
            group = name.replace("its_", "millrace_")
            if group in ROLES:
                superuser.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
                superuser.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(sql.Identifier(name), sql.Literal(group)))
        return make_conninfo("", **{**superuser.info.get_parameters(), "user": name})

    return made


@pytest.fixture
def owner(superuser: psycopg.Connection, login: AsRole) -> str:
    """The DSN of a migrated schema's owner, who may make roles."""
    dsn = login("its_owner")
    superuser.execute("CREATE EXTENSION vector")
    superuser.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO its_owner").format(sql.Identifier(superuser.info.dbname)))
    superuser.execute("ALTER ROLE its_owner CREATEROLE")
    database.migrate(dsn)
    return dsn


@pytest.fixture
def granted(owner: str) -> str:
    assert roles.grant(owner) == list(reversed(ROLES))
    assert roles.grant(owner) == [], "a second time it finds everything in place"
    return owner


def corpus(pool: database.Pool) -> Corpus:
    chunk_set = spaces.ensure_chunk_set(pool, fingerprint="s", settings={}, tokenizer_sha="t", max_tokens=256)
    space = spaces.ensure_space(pool, Identity(), collection="knowledge", chunk_set=chunk_set, storage="halfvec")
    fence = ledger.next_fence(pool)
    run = ledger.start_run(pool, source=SOURCE, collection="knowledge", door="cli", scope="mem://", fence=fence)
    return Corpus(pool, space, run)


def test_only_the_extension_needs_an_administrator_and_the_message_says_so(
    superuser: psycopg.Connection, login: AsRole
) -> None:
    dsn = login("its_owner")
    superuser.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO its_owner").format(sql.Identifier(superuser.info.dbname)))
    with pytest.raises(FixConfiguration, match="have an administrator run CREATE EXTENSION vector in this database once"):
        database.migrate(dsn)
    superuser.execute("CREATE EXTENSION vector")
    assert database.migrate(dsn)


def test_an_owner_that_may_not_make_roles_is_told_what_to_ask_for(superuser: psycopg.Connection, owner: str) -> None:
    superuser.execute("ALTER ROLE its_owner NOCREATEROLE")
    with pytest.raises(FixConfiguration, match="CREATE ROLE millrace_reader NOLOGIN; CREATE ROLE millrace_writer NOLOGIN"):
        roles.grant(owner)
    for role in ROLES:
        superuser.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    superuser.execute("GRANT millrace_writer TO its_owner")
    assert roles.grant(owner) == []


def test_a_writer_syncs_indexes_and_maintains_and_a_reader_searches_only(granted: str, login: AsRole) -> None:
    with database.open_pool(login("its_writer")) as pool:
        database.require_schema(pool)
        written = corpus(pool)
        written.load({f"mem://{i}": [f"text {i}", "shared"] for i in range(5)})
        written.load({"mem://0": ["text 0", "another"]}, version="v2")
        collect.collect(pool, cache_days=2)
        assert space_index.ensure_index(pool, written.space)
        assert audit.audit(pool) == []
        with maintenance.at_work(pool) as conn:
            for table in maintenance.tables(conn):
                maintenance.vacuum(conn, table.name)
            maintenance.rebuild(conn, "lexical_tsv")
    with database.open_pool(login("its_reader")) as pool:
        database.require_schema(pool)
        vector = unit_vectors([b"x" * 32])[0]
        assert len(search(pool, Query("another text", "knowledge", k=3), vector)) == 3
        for statement in (
            "DELETE FROM chunk",
            "UPDATE text SET body = ''",
            "INSERT INTO chunk_set (fingerprint, settings, tokenizer_sha, max_tokens) VALUES ('x', '{}', '', 1)",
            "TRUNCATE space_1",
            "CREATE TABLE millrace.mine (x int)",
            "SELECT nextval('fence')",
        ):
            with pytest.raises(FixConfiguration, match="permission denied"), database.connection(pool) as conn:
                conn.execute(statement)
        with pytest.raises(FixConfiguration, match="may not maintain"), maintenance.at_work(pool) as conn:
            maintenance.tables(conn)


def test_a_writer_may_not_change_the_schema(granted: str, login: AsRole) -> None:
    with database.open_pool(login("its_writer")) as pool:
        for statement in ("ALTER TABLE document ADD COLUMN x int", "DROP TABLE run CASCADE", "DROP INDEX lexical_tsv"):
            with pytest.raises(FixConfiguration, match="must be owner"), database.connection(pool) as conn:
                conn.execute(statement)


def test_spaces_made_before_the_roles_are_handed_to_the_writer(owner: str, login: AsRole) -> None:
    with database.open_pool(owner) as pool:
        corpus(pool).load({"mem://a": ["one"]})
    roles.grant(owner)
    with database.open_pool(login("its_writer")) as pool:
        written = corpus(pool)
        written.load({"mem://a": ["two"]}, version="v2")
        assert space_index.ensure_index(pool, written.space)
        assert audit.audit(pool) == []
