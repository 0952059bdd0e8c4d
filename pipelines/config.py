"""Configuration, read once at the edge into small frozen objects.

`include/config/*.yaml` says what to sync and how; connections come from the door (Airflow's connections in a DAG; the
environment, the running embedded services or `airflow_settings.yaml` on the CLI). A mistake is one line that names the
file, the key and the remedy. Light enough for a DAG file: pydantic and yaml only.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pipelines.errors import FixConfiguration

DAY = "{{ ds }}"
NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kKMGTPE]i?)?$"  # of Kubernetes: 500m, 4, 16Gi
WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DeleteGuard(Strict):
    """Deletions beyond either limit are held for approval; those of an empty or ten times smaller listing always are."""

    max_documents: int = Field(default=1000, ge=0)
    max_share: float = Field(default=0.10, ge=0, le=1)
    always_allowed: int = Field(default=3, ge=0, description="this many deletions pass whatever their share")


class SourceBase(Strict):
    """What every kind of source has."""

    description: str = ""
    collection: str = "knowledge"
    schedule: str | None = None
    start_date: Annotated[date, Field(strict=False)] = date(2026, 1, 1)
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    delete_guard: DeleteGuard = DeleteGuard()
    access: Literal["open", "listed"] = Field(default="open", description="who sees documents without an access list")
    max_active_shards: int = Field(default=4, ge=1)


class S3Source(SourceBase):
    """Objects of a bucket; a prefix with `{{ ds }}` makes the source dated."""

    kind: Literal["s3"]
    connection: str
    bucket: str
    prefix: str = ""

    @property
    def dated(self) -> bool:
        return DAY in self.prefix


class FolderSource(SourceBase):
    """Files below a folder; a path with `{{ ds }}` makes the source dated."""

    kind: Literal["folder"]
    path: str

    @property
    def dated(self) -> bool:
        return DAY in self.path


class SqlSource(SourceBase):
    """Rows of a table or view; the text comes from a template over its columns, such as `{title}\\n\\n{body}`."""

    kind: Literal["sql"]
    connection: str
    table: str
    key: str = Field(description="column that identifies a row")
    text: str = Field(description="template over column names")
    cursor: str | None = Field(default=None, description="column that grows when a row changes, such as updated_at")
    title: str | None = Field(default=None, description="column with the title")
    metadata: tuple[str, ...] = Field(default=(), strict=False)

    @property
    def dated(self) -> bool:
        return False


Source = Annotated[S3Source | FolderSource | SqlSource, Field(discriminator="kind")]
SourceConfig = S3Source | FolderSource | SqlSource


class ObjectsBucket(Strict):
    """Where stage files, artifacts and reports live in production; without it they live in the home folder."""

    connection: str
    bucket: str
    prefix: str = "millrace/"


class Prices(Strict):
    """What a machine costs, for the cost column of a plan."""

    currency: str = "EUR"
    cpu_hour: float = Field(default=0.05, ge=0)


class Toleration(Strict):
    """A taint that a pod accepts, as Kubernetes writes it."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = "NoSchedule"


class Pod(Strict):
    """What one task's pod asks of Kubernetes, over the chart's pod template. Quantities as Kubernetes writes them: 16Gi."""

    image: str | None = Field(default=None, min_length=1)
    gpus: int = Field(default=1, ge=0)
    gpu_resource: str = "nvidia.com/gpu"
    cpus: str = Field(default="4", pattern=QUANTITY)
    memory: str = Field(default="16Gi", pattern=QUANTITY)
    shm: str = Field(default="2Gi", pattern=QUANTITY, description="size of /dev/shm, part of `memory`")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = Field(default=(Toleration(key="nvidia.com/gpu"),), strict=False)


class Slot(Strict):
    """Where one kind of task runs."""

    queue: str = Field(default="gpu", pattern=WORD)
    pool: str = Field(default="gpu", min_length=1)
    executor: str | None = Field(default=None, min_length=1, description="a name or alias in [core] executor")
    pod: Pod | None = None


class Placement(Strict):
    """Where the tasks run that compute vectors."""

    gpu: Slot = Slot()


class SourcesFile(Strict):
    database: str = "millrace_postgres"
    objects: ObjectsBucket | None = None
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _names(self) -> SourcesFile:
        for name in self.sources:
            if not NAME.match(name):
                raise ValueError(f"source name {name!r} must match {NAME.pattern}: lower case, digits, underscores")
        return self


class Chunking(Strict):
    """Chunk sizes in tokens of the embedder."""

    target_tokens: int = Field(default=80, ge=16)
    max_tokens: int = Field(default=254, ge=32)
    overlap_sentences: int = Field(default=0, ge=0, le=5)
    heading_prefix: bool = True

    @model_validator(mode="after")
    def _order(self) -> Chunking:
        if self.target_tokens > self.max_tokens:
            raise ValueError(f"target_tokens {self.target_tokens} exceeds max_tokens {self.max_tokens}: lower the target")
        return self


class HttpServer(Strict):
    """An OpenAI-compatible /v1/embeddings server, such as TEI or vLLM, and what a run may ask of it."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="with or without /v1")
    connection: str | None = Field(default=None, description="host, port, schema; password as bearer token")
    model: str = Field(description="the name that the server knows it by")
    revision: str = Field(default="", description="part of the identity of the vectors; change it with the server's model")
    dim: int = Field(ge=1)
    max_tokens: int = Field(ge=8)
    tokenizer: str = Field(description="a folder with the model's tokenizer.json")
    prompt_query: str = ""
    prompt_passage: str = ""
    batch_texts: int = Field(default=32, ge=1)
    batch_tokens: int = Field(default=16_384, ge=8)
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_seconds: int = Field(default=60, ge=1)
    attempts: int = Field(default=5, ge=1)
    run_requests: int = Field(default=100_000, ge=1, description="a run that needs more fails")
    run_tokens: int = Field(default=1_000_000_000, ge=1, description="a run that needs more fails")

    @model_validator(mode="after")
    def _place(self) -> HttpServer:
        if (self.url is None) == (self.connection is None):
            raise ValueError("give either url or connection")
        return self


TIERS = {"openvino": ("f32", "bf16", "int8"), "torch": ("f32", "bf16", "fp16")}


class Model(Strict):
    """A sentence-transformers folder, by path or inside a Python package, or a server."""

    package: str | None = None
    path: str | None = None
    http: HttpServer | None = None
    engine: Literal["openvino", "torch"] = "openvino"
    tier: Literal["f32", "bf16", "fp16", "int8", "hash"] = "f32"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda|cuda:\d+)$", description="of the engine torch")
    storage: Literal["vector", "halfvec"] = "halfvec"
    seed: int = Field(default=0, ge=0, description="of tier hash: another seed is another model")
    adapter: str | None = Field(default=None, description="a folder with a query adapter that was fitted to this model")

    @model_validator(mode="after")
    def _one(self) -> Model:
        if self.tier == "hash":
            return self
        if sum(place is not None for place in (self.package, self.path, self.http)) != 1:
            raise ValueError("give either package or path, or http")
        if self.tier not in TIERS[self.engine]:
            raise ValueError(f"engine {self.engine} has the tiers {', '.join(TIERS[self.engine])}, not {self.tier}")
        if self.engine == "openvino" and self.device not in {"auto", "cpu"}:
            raise ValueError(f"device {self.device} needs engine: torch")
        return self


class Reranker(Strict):
    """A cross-encoder's folder, by path or inside a Python package."""

    package: str | None = None
    path: str | None = None
    engine: Literal["openvino", "torch", "words"] = "openvino"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda|cuda:\d+)$", description="of the engine torch")

    @model_validator(mode="after")
    def _one(self) -> Reranker:
        if self.engine != "words" and (self.package is None) == (self.path is None):
            raise ValueError("give either package or path")
        if self.engine != "torch" and self.device not in {"auto", "cpu"}:
            raise ValueError(f"device {self.device} needs engine: torch")
        return self


class ChatServer(Strict):
    """A language model behind an OpenAI-compatible /v1/chat/completions server."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="with or without /v1")
    connection: str | None = Field(default=None, description="host, port, schema; password as bearer token")
    model: str = Field(description="the name that the server knows it by")
    max_tokens: int = Field(default=600, ge=1, description="of one answer")
    timeout_seconds: int = Field(default=120, ge=1)
    attempts: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _place(self) -> ChatServer:
        if (self.url is None) == (self.connection is None):
            raise ValueError("give either url or connection")
        return self


class Evaluation(Strict):
    """What an evaluation measures, and from when it is worth an alarm."""

    measures: tuple[str, ...] = Field(
        default=("nDCG@10", "R@100", "R@10", "RR@10", "Judged@10"),
        min_length=1,
        strict=False,
        description="names of ir-measures; the first decides",
    )
    margin: float = Field(default=0.02, gt=0, lt=1, description="a loss of the first measure that is not accepted")
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    questions: int = Field(default=200, ge=1, description="of a slice, at most; the same ones every time")
    answers: int = Field(default=40, ge=0, description="questions that are also answered, 0 for none")
    lost_share: float = Field(default=0.20, ge=0, le=1, description="more lost questions than this: cannot tell")
    stale_share: float = Field(default=0.30, ge=0, le=1, description="more passages unrepresented than this: an alarm")
    present_questions: str | None = Field(default=None, description="a file of questions that users ask now, one a line")
    writer: ChatServer | None = Field(default=None, description="writes questions for `millrace benchmark build`")
    judge: ChatServer | None = Field(default=None, description="judges answers beside the checks without a model")


class Gates(Strict):
    """What a challenger has to keep to before it may serve, beside the margin of the evaluation; who decides then."""

    superior: tuple[str, ...] = Field(
        default=(), strict=False, description="patterns of NAME/SLICE: better there, not equal"
    )
    latency_ratio: float | None = Field(default=1.5, gt=0, description="p95 of embedding a question, times the champion's")
    latency_free_ms: float = Field(default=20.0, ge=0, description="a p95 up to this passes whatever the ratio")
    size_ratio: float | None = Field(default=2.0, gt=0, description="bytes of vectors and of files, times the champion's")
    cost_ratio: float | None = Field(default=2.0, gt=0, description="of embedding all passages, times the champion's")
    approval: Literal["person", "automatic"] = "person"
    approval_hours: float = Field(default=72.0, gt=0, le=8760, description="then a proposal that waits is not accepted")


class Drift(Strict):
    """What a look for drift compares, and how often it may be wrong."""

    unit: Literal["document", "source"] = Field(default="document", description="what comes together, so counts once")
    window_days: int = Field(default=1, ge=1, le=366, description="new passages of so many days are one window")
    reference_days: int = Field(default=28, ge=1, description="compared with what was served so many days before it")
    run_length_days: int = Field(default=180, ge=1, le=3650, description="one false alarm in so many days is accepted")
    history: int = Field(default=60, ge=20, description="earlier windows, at most, that say which effect is usual")


class Collection(Strict):
    model: str
    golden: str | None = Field(default=None, description="JSON lines of questions that a new space is judged by")
    reranker: str | None = Field(default=None, description="orders what search found; by sentences without one")
    keep_past_days: int | None = Field(
        default=365, ge=0, le=36_500, description="replaced and deleted passages are kept so long; null: for ever"
    )
    keep_questions_days: int = Field(default=0, ge=0, le=3650, description="what users ask is kept so long; 0: not at all")


class ModelsFile(Strict):
    models: dict[str, Model]
    rerankers: dict[str, Reranker] = Field(default_factory=dict)
    collections: dict[str, Collection]

    @model_validator(mode="after")
    def _known(self) -> ModelsFile:
        for name, collection in self.collections.items():
            if collection.model not in self.models and "@" not in collection.model:  # name@3 is in the registry
                raise ValueError(f"collection {name} names model {collection.model!r}; known: {', '.join(self.models)}")
            if collection.reranker is not None and collection.reranker not in self.rerankers:
                known = ", ".join(self.rerankers) or "none"
                raise ValueError(f"collection {name} names reranker {collection.reranker!r}; known: {known}")
        return self


class Limits(Strict):
    """What one object, one parse and one shard may cost."""

    max_object_bytes: int = Field(default=100 * 2**20, gt=0)
    parse_seconds: int = Field(default=60, gt=0)
    parse_memory_mb: int = Field(default=1024, ge=256)
    max_text_chars: int = Field(default=20_000_000, gt=0)
    shard_bytes: int = Field(default=4 * 2**20, gt=0)
    shard_documents: int = Field(default=2000, gt=0)
    publish_batch_documents: int = Field(default=500, gt=0)
    embed_batch_texts: int = Field(default=128, gt=0)


class Connection(Strict):
    """Where a service is and how to enter it: the fields of an Airflow connection."""

    conn_id: str
    conn_type: str = ""
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = Field(default=None, repr=False)
    schema_: str | None = Field(default=None, alias="schema")
    extra: dict[str, Any] = Field(default_factory=dict, repr=False)


class Settings(Strict):
    """Everything the YAML files say, and where the project lives."""

    root: Path
    home: Path  # state of the embedded services, caches, stage files: .millrace
    database: str
    sources: dict[str, SourceConfig]
    chunking: Chunking
    models: dict[str, Model]
    collections: dict[str, Collection]
    limits: Limits
    objects: ObjectsBucket | None = None
    prices: Prices = Prices()
    placement: Placement = Placement()
    evaluation: Evaluation = Evaluation()
    gates: Gates = Gates()
    drift: Drift = Drift()
    rerankers: dict[str, Reranker] = Field(default_factory=dict)

    def source(self, name: str) -> SourceConfig:
        """The source's entry, or FixConfiguration naming the nearest one."""
        if name in self.sources:
            return self.sources[name]
        near = difflib.get_close_matches(name, self.sources, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.sources) or 'none'}"
        raise FixConfiguration(f"include/config/sources.yaml: no source {name!r}; {hint}")

    def require_collection(self, collection: str) -> None:
        """Raise FixConfiguration unless the collection is configured."""
        if collection not in self.collections:
            raise FixConfiguration(
                f"include/config/models.yaml: no collection {collection!r}; add it under collections with its model"
            )


def project_root() -> Path:
    """MILLRACE_PROJECT, else the nearest folder upwards with include/config/sources.yaml, else this checkout."""
    named = os.environ.get("MILLRACE_PROJECT")
    if named:
        return Path(named)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "include/config/sources.yaml").is_file():
            return folder
    return Path(__file__).resolve().parent.parent


def load(root: Path | None = None) -> Settings:
    """Read and check `include/config`. Raises FixConfiguration with file, key and remedy."""
    root = root or project_root()
    folder = root / "include/config"
    sources = _read(folder / "sources.yaml", SourcesFile)
    models = _read(folder / "models.yaml", ModelsFile)
    settings = Settings(
        root=root,
        home=Path(os.environ.get("MILLRACE_HOME", root / ".millrace")),
        database=sources.database,
        sources=dict(sources.sources),
        chunking=_read(folder / "chunking.yaml", Chunking),
        models=models.models,
        rerankers=models.rerankers,
        collections=models.collections,
        limits=_read(folder / "limits.yaml", Limits),
        objects=sources.objects,
        prices=_read(folder / "prices.yaml", Prices),
        placement=_read(folder / "placement.yaml", Placement),
        evaluation=_read(folder / "evaluation.yaml", Evaluation),
        gates=_read(folder / "gates.yaml", Gates),
        drift=_read(folder / "drift.yaml", Drift),
    )
    for name, source in settings.sources.items():
        if source.collection not in settings.collections:
            raise FixConfiguration(
                f"include/config/sources.yaml: sources.{name}.collection: {source.collection!r} is not in models.yaml; "
                f"known: {', '.join(settings.collections)}"
            )
    return settings


T = TypeVar("T", bound=BaseModel)


def _read(path: Path, model: type[T]) -> T:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise FixConfiguration(f"{path}: missing; restore it from the repository") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FixConfiguration(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return validate(raw, model, str(path))


def validate(raw: object, model: type[T], where: str) -> T:
    """`raw` as `model`, or FixConfiguration with one line: where, key, what is wrong, what to write."""
    try:
        return TypeAdapter(model).validate_python(raw)
    except ValidationError as error:
        # A misspelt key shows up as a missing and as an unknown one; the unknown one tells more.
        first = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
        raise FixConfiguration(f"{where}: {_explain(first, model)}") from None


def _explain(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = [str(part) for part in error["loc"]]
    if path[:1] == ["sources"] and path[2:3] and path[2] in {"s3", "folder", "sql"}:
        del path[2]  # pydantic puts the entry's kind into the location
    key = ".".join(path) or "the file"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], sorted(_all_keys(model)), n=1)
        return f"{key}: unknown key; " + (f"did you mean {near[0]!r}?" if near else "remove it (docs/configuration.md)")
    if error["type"] == "missing":
        return f"{key}: missing; add it (docs/configuration.md)"
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return (
            f"{key}.kind: must be s3, folder or sql, got {error['input'].get('kind')!r}; correct it (docs/configuration.md)"
        )
    message = str(error["msg"]).removeprefix("Value error, ").replace("tuple", "list")
    message = message.partition(" or ")[0] if "valid dictionary or" in message else message
    got = "" if error["type"] == "value_error" else f", got {error['input']!r}"
    return f"{key}: {message[0].lower()}{message[1:]}{got}; correct it (docs/configuration.md)"


def _all_keys(model: type[BaseModel]) -> set[str]:
    models: list[type[BaseModel]] = [model, S3Source, FolderSource, SqlSource, DeleteGuard, Model, Reranker, Collection]
    models += [ObjectsBucket, HttpServer, ChatServer, Slot, Pod, Toleration]
    return {name for entry in models for name in entry.model_fields}
