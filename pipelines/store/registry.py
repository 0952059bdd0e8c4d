"""Model versions: what every vector was made by, which version serves, and what each was measured to do.

A version is a revision (the hash of its files) in an arithmetic tier. Spaces register theirs by a trigger; `add` brings the
files of one. Aliases follow the states of spaces by triggers too, so nothing here sets them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pipelines.errors import FixConfiguration
from pipelines.records import PUBLIC_TENANT
from pipelines.store.database import Pool, connection
from pipelines.store.spaces import Space
from pipelines.store.sql import load

Kind = Literal["encoder", "adapter"]


@dataclass(frozen=True, slots=True)
class Training:
    """What made a version: the number of its data set, the hash of the code, the settings with what came of them."""

    dataset: int
    code_sha: str
    configuration: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One model version; `files` are `{path, sha256, bytes}`, empty as `artifact` for one that is kept elsewhere."""

    id: int
    model: str
    version: int
    kind: str
    revision: str
    dtype: str
    parent: str  # its name, or ""
    artifact: str
    files: list[dict[str, Any]]
    run: dict[str, Any]
    created_by: str
    created_at: datetime
    code_sha: str  # hex hash of the code that trained it; "" for one that was imported
    configuration: dict[str, Any]  # settings of its training, and what came of them
    dataset: str  # what it was taught, such as knowledge@2, or ""
    dataset_sha: str
    aliases: list[str]  # such as "champion of knowledge"
    spaces: list[int]  # those that have a table

    @property
    def name(self) -> str:
        """Such as `handbook@3`."""
        return f"{self.model}@{self.version}"


class Measured(NamedTuple):
    """A mean of a slice with its interval, and the evaluation that it is of."""

    slice: str
    measure: str
    mean: float
    low: float | None
    high: float | None
    questions: int
    evaluation: int


class Change(NamedTuple):
    """An alias was given to a version; `version` is empty where it was taken away."""

    collection: str
    alias: str
    version: str
    space: int | None
    by: str
    at: datetime


class Waiting(NamedTuple):
    """A verified space that does not serve, and the gate's decision about it; None where none was made since."""

    space: int
    evaluation: int | None
    beside: int | None  # the space that served then
    verdict: str | None
    reason: str | None


class Kept(NamedTuple):
    """A version whose files are in the object store."""

    name: str
    model: str
    artifact: str
    files: list[dict[str, Any]]
    run: dict[str, Any]


def parse(name: str) -> tuple[str, int | None]:
    """`handbook@3` -> ("handbook", 3); a name alone has no number. Raises FixConfiguration."""
    model, at, number = name.rpartition("@")
    if not at:
        return name, None
    if not model or not number.isascii() or not number.isdigit() or not 0 < int(number) < 2**31:
        raise FixConfiguration(
            f"{name!r} is no model version; give one such as handbook@3, `millrace models list` shows them"
        )
    return model, int(number)


def versions(pool: Pool, model: str | None = None, *, tenant: str = PUBLIC_TENANT) -> list[Version]:
    """All versions, or those of one model, the newest first."""
    return _versions(pool, model, None, tenant)


def get(pool: Pool, name: str, *, tenant: str = PUBLIC_TENANT) -> Version:
    """The version of this name; without a number the newest. Raises FixConfiguration naming those there are."""
    model, number = parse(name)
    found = _versions(pool, model, number, tenant)
    if not found:
        known = ", ".join(version.name for version in versions(pool, tenant=tenant)[:20]) or "none"
        raise FixConfiguration(f"no model version {name!r}; known: {known}; `millrace models import FOLDER` adds one")
    return found[0]


def of_vectors(pool: Pool, revision: str, dtype: str, *, tenant: str = PUBLIC_TENANT) -> Kept | None:
    """The version of this revision and tier, if its files are kept."""
    values = {"tenant": tenant, "revision": revision, "dtype": dtype}
    with connection(pool) as conn:
        found = conn.execute(load("registry")["of_vectors"], values).fetchone()
    if found is None or not found[2]:
        return None
    model, number, artifact, files, run = found
    return Kept(f"{model}@{number}", model, artifact, files, run)


def of_space(pool: Pool, space: Space, revision: str) -> Version:
    """The version of this revision in the tier of a space: the space's own, or the parent of the adapter that it has."""
    found = [one for one in versions(pool, tenant=space.tenant) if (one.revision, one.dtype) == (revision, space.dtype)]
    if not found:
        raise FixConfiguration(
            f"space {space.id} of {space.collection!r} was made by a model that the registry does not know; evaluate or "
            "sync the collection first"
        )
    return found[0]


def add(
    pool: Pool,
    *,
    model: str,
    revision: str,
    dtype: str,
    artifact: str,
    files: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
    parent: int | None = None,
    kind: Kind = "encoder",
    training: Training | None = None,
    by: str = "",
    tenant: str = PUBLIC_TENANT,
) -> Version:
    """Name files that are in the object store a version. The same revision and tier are the version that they were."""
    values = {
        "tenant": tenant,
        "model": model,
        "revision": revision,
        "dtype": dtype,
        "parent": parent,
        "kind": kind,
        "dataset": training.dataset if training else None,
        "code_sha": training.code_sha if training else "",
        "configuration": Jsonb(dict(training.configuration) if training else {}),
        "artifact": artifact,
        "files": Jsonb([dict(file) for file in files]),
        "run": Jsonb(dict(run)),
        "by": by,
    }
    with connection(pool) as conn:
        conn.execute(load("registry")["add"], values)
    kept = of_vectors(pool, revision, dtype, tenant=tenant)
    if kept is None:
        raise RuntimeError(f"version {revision[:12]} of {model} was neither found nor made")
    return get(pool, kept.name, tenant=tenant)


def measured(pool: Pool, version: Version) -> list[Measured]:
    """The newest figures of a version by slice and measure, of whatever collections it was evaluated in."""
    with connection(pool) as conn:
        return [Measured(*row) for row in conn.execute(load("registry")["measured"], {"id": version.id})]


def history(pool: Pool, version: Version | None = None, limit: int = 100, *, tenant: str = PUBLIC_TENANT) -> list[Change]:
    """Who gave which alias when, the newest first."""
    values = {"tenant": tenant, "id": None if version is None else version.id, "limit": limit}
    with connection(pool) as conn:
        return [Change(*row) for row in conn.execute(load("registry")["history"], values)]


def waiting(pool: Pool, version: Version, collection: str) -> Waiting | None:
    """The space of a version that may be promoted in a collection, if there is one."""
    values = {"id": version.id, "collection": collection}
    with connection(pool) as conn:
        found = conn.execute(load("registry")["waiting"], values).fetchone()
    return Waiting(*found) if found else None


def artifacts(pool: Pool) -> set[str]:
    """The folders in the object store that versions name."""
    with connection(pool) as conn:
        return {str(path) for (path,) in conn.execute(load("registry")["artifacts"])}


def _versions(pool: Pool, model: str | None, number: int | None, tenant: str) -> list[Version]:
    values = {"tenant": tenant, "model": model, "version": number}
    with connection(pool) as conn, conn.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(load("registry")["versions"], values).fetchall()
