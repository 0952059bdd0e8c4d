"""The composition root: opens the pool, the stage files, sources, models and the validator, each when first needed.

A stage receives one Context and touches nothing global. Airflow's door fills it from Airflow's connections, the CLI's from
`pipelines.connections.LocalConnections`; both close it with `with`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipelines import aws, sources
from pipelines.config import Model, Settings
from pipelines.connections import Connections, postgres_dsn
from pipelines.errors import MillraceError
from pipelines.objects import Folder, S3Objects
from pipelines.records import ShardRef
from pipelines.stages.files import StageFiles
from pipelines.store import database, ledger, spaces

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from pipelines.embed.models import Models
    from pipelines.ports import Embedder, Objects, Reranker, Source, Tokenizer
    from pipelines.quality.validator import Validator
    from pipelines.store.spaces import Space
    from pipelines.text.sandbox import ParsePool

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stage of one shard is."""

    run_id: int
    stage: str
    shard: str
    done: int
    total: int
    state: str = "running"


@dataclass
class Step:
    """One stage at work; `advance` tells the ledger and the door, at most every half second."""

    context: Context
    run_id: int
    stage: str
    shard: str
    total: int
    done: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    _told: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time since the stage began."""
        return round(time.monotonic() - self._began, 3)

    def advance(self, by: int = 1) -> None:
        """`by` more documents or texts are done."""
        self.done += by
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self.tell("running")

    def tell(self, state: ledger.StageState, error: str | None = None) -> None:
        """Record the state now."""
        self._told = time.monotonic()
        ledger.record_stage(
            self.context.pool,
            self.run_id,
            self.stage,
            self.shard,
            state=state,
            done=self.done,
            total=self.total,
            counts=self.counts,
            error=error,
        )
        self.context.report(Progress(self.run_id, self.stage, self.shard, self.done, self.total, state))


class Context:
    """What a stage may use. Every member opens on first use; `close` ends what was opened."""

    def __init__(
        self, settings: Settings, connections: Connections, report: Callable[[Progress], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.connections = connections
        self.report = report

    @cached_property
    def pool(self) -> ConnectionPool:
        """The corpus database, its schema checked. Raises FixConfiguration or Retry."""
        return database.open_pool(postgres_dsn(self.connections[self.settings.database]))

    @cached_property
    def objects(self) -> Objects:
        """Stage files, Data Docs and reports."""
        bucket = self.settings.objects
        if bucket is None:
            return Folder(self.settings.home / "objects")
        return S3Objects(aws.client(self.connections[bucket.connection]), bucket.bucket, bucket.prefix)

    @cached_property
    def validator(self) -> Validator:
        """The great-expectations worker of this machine, started: it imports while the caller goes on."""
        from pipelines.quality.validator import Validator

        validator = Validator(self.settings.root / "include/expectations", self.settings.home / "validator")
        validator.start()
        return validator

    @cached_property
    def parsers(self) -> ParsePool:
        """The sandboxed parse children of this process; they stay warm from one shard to the next."""
        from pipelines.text.sandbox import ParsePool

        return ParsePool(self.settings.limits)

    @property
    def cache(self) -> Path:
        """Converted models and other things that can be made again."""
        return self.settings.home / "cache"

    def source(self, name: str, day: date | None = None) -> Source:
        """The adapter of a configured source."""
        return sources.open_source(name, self.settings.source(name), self.connections, day)

    @cached_property
    def models(self) -> Models:
        """The embedders and tokenizers of models.yaml and of the registry by name, each opened once."""
        from pipelines.embed.models import Models
        from pipelines.registry.versions import Versions

        versions = Versions(lambda: self.pool, lambda: self.objects, self.cache)
        return Models(self.settings.models, self.cache, self.connections, self.settings.rerankers, versions)

    def model_name(self, collection: str, space: Space | None = None) -> str:
        """The models.yaml entry of a collection's space: of the active one, the configured one where none serves yet.

        Raises FixConfiguration when no entry computes the vectors that are stored.
        """
        configured = self.settings.collections[collection].model if collection in self.settings.collections else ""
        space = space or spaces.active(self.pool, collection)
        if space is not None:
            return self.models.of_space(space, configured)
        self.settings.require_collection(collection)
        return configured

    def model(self, collection: str) -> Model:
        """The model that embeds a collection now."""
        return self.models.entry(self.model_name(collection))

    def reranker(self, collection: str) -> Reranker | None:
        """The collection's cross-encoder; None where its passages are ordered by their sentences."""
        entry = self.settings.collections.get(collection)
        return self.models.reranker(entry.reranker) if entry is not None and entry.reranker is not None else None

    def tokenizer(self, collection: str) -> Tokenizer:
        """The tokenizer of the model that embeds a collection now."""
        return self.models.tokenizer(self.model_name(collection))

    def embedder(self, collection: str) -> Embedder:
        """The embedder of a collection's active space; the database says which, not the configuration."""
        return self.models.embedder(self.model_name(collection))

    @contextmanager
    def alive(self, fence: int) -> Iterator[None]:
        """Let the database see that the run of this fence has a living process; a killed one lets go by itself."""
        sign = ledger.sign_of_life(postgres_dsn(self.connections[self.settings.database]), fence)
        try:
            yield
        finally:
            sign.close()

    def files(self, shard: ShardRef) -> StageFiles:
        """The stage files of a shard."""
        return StageFiles(self.objects, shard.source, shard.run_id, shard.shard)

    @contextmanager
    def step(self, run_id: int, stage: str, shard: str = "", total: int = 0) -> Iterator[Step]:
        """Record a stage's begin, progress and end; an error is recorded and goes on upwards."""
        step = Step(self, run_id, stage, shard, total)
        step.tell("running")
        try:
            yield step
        except BaseException as error:
            # The database may be what failed; the first error is the one to show.
            with suppress(MillraceError):
                step.tell("failed", " ".join(str(error).split())[:2000] or type(error).__name__)
            raise
        step.tell("succeeded")

    def close(self) -> None:
        """Close connections and parse children, if opened. The validation worker stays warm and ends by itself."""
        if "parsers" in self.__dict__:
            self.parsers.close()
        if "pool" in self.__dict__:
            self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_context(
    settings: Settings, connections: Connections, report: Callable[[Progress], None] = lambda _: None
) -> Context:
    """A Context for one door; use it in a `with`."""
    return Context(settings, connections, report)
