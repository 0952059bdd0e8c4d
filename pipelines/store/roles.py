"""The rights of a shared database: the schema's owner migrates, `millrace_writer` syncs, `millrace_reader` searches.

Both are roles without login, which an administrator grants to logins; nothing here sees a password. No superuser is needed:
only the extension pgvector is, once, by an administrator.
"""

from __future__ import annotations

from psycopg import sql

from pipelines.errors import FixConfiguration
from pipelines.store.database import connect, translate
from pipelines.store.sql import load

MAINTAIN_VERSION = 170000  # of the server: the right to vacuum and reindex what one does not own


def grant(dsn: str) -> list[str]:
    """Make the two roles where they are missing and grant them their rights; returns the roles that were made.

    `dsn` is the schema's owner. Run it again after a migration or an upgrade of the server; it changes nothing twice. Raises
    FixConfiguration when the owner may not make roles and they are not there.
    """
    queries = load("roles")
    with translate(), connect(dsn) as conn, conn.transaction():
        missing = [name for (name,) in conn.execute(queries["missing"])]
        if missing and not conn.execute(queries["may_create"]).fetchall()[0][0]:
            made = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in missing)
            raise FixConfiguration(
                f"roles: {conn.info.user} may not make roles; have an administrator run: {made}; "
                f"GRANT millrace_writer TO {conn.info.user}"
            )
        for name in missing:
            conn.execute(sql.SQL(queries["create"]).format(role=sql.Identifier(name)))
        if not conn.execute(queries["is_member"]).fetchall()[0][0]:
            conn.execute(queries["join"])
        conn.execute(queries["grant"])
        if conn.info.server_version >= MAINTAIN_VERSION:
            conn.execute(queries["grant_maintenance"])
        for (table,) in conn.execute(queries["spaces_of_others"]).fetchall():
            conn.execute(sql.SQL(queries["hand_over"]).format(table=sql.Identifier("millrace", table)))
    return missing
