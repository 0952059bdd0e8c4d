"""Stage training_data: pairs to teach a model with, from the structure of the served documents and from judgments at hand.

What any evaluation slice of the collection asks or judges is left out, counted by reason. The data set is written under its
hash, read back, and only then numbered.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import FixConfiguration, NothingLearned
from pipelines.evaluate import beir
from pipelines.evaluate.builders import Passage
from pipelines.records import TrainingPair
from pipelines.registry import artifacts
from pipelines.registry.folder import File
from pipelines.search.lengths import fitting
from pipelines.stages.benchmarks import resolved
from pipelines.store import benchmarks, datasets, spaces
from pipelines.text.sentences import spans
from pipelines.train import dataset, leakage, mining

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Embedder
    from pipelines.store.datasets import DatasetVersion
    from pipelines.store.spaces import Space
    from pipelines.train.dataset import Dataset

ROOT = "datasets"  # in the object store
DOCUMENTS = 20_000  # that pairs are mined from, drawn by the seed
BENCHMARK_SHARE = 0.5  # of the documents: what `millrace benchmark build` makes questions from is not mined
LEAST = 30  # pairs; fewer teach nothing


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a collection serves, with vectors by the model that is to be taught, and what must not be taught."""

    space: Space
    base: Embedder  # without an adapter
    served: mining.Served
    clusters: Mapping[str, str]
    judged: leakage.Judged
    slices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A data set, and how many pairs were left out by reason."""

    version: DatasetVersion
    counts: dict[str, int]  # pairs by origin
    validation: int
    left: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "dataset": self.version.name,
            "sha": self.version.sha,
            "pairs": self.version.pairs,
            "validation": self.validation,
            "origins": self.counts,
            "left": self.left,
        }

    def text(self) -> str:
        """Some lines for a person."""
        origins = ", ".join(f"{count} from {origin}" for origin, count in self.counts.items())
        lines = [f"{self.version.name}: {self.version.pairs} pairs, {self.validation} of them to validate ({origins})"]
        return "\n".join([*lines, *(f"  left out {count}: {reason}" for reason, count in self.left.items())])


def build(
    ctx: Context, collection: str, *, judgments: Path | None = None, limit: int = 1000, seed: int = 1, by: str = ""
) -> Built:
    """Mine at most `limit` pairs a builder, add those of `judgments` (a BEIR folder or golden file), check, keep.

    Raises FixConfiguration for a collection that serves nothing and a file that cannot be read, NothingLearned where
    fewer than LEAST pairs are left, with what they were left out for.
    """
    corpus = gather(ctx, collection, seed)
    asked = mining.from_structure(
        corpus.served.passages, share=BENCHMARK_SHARE, limit=limit, seed=seed, spans=spans
    ) + _judged(corpus, judgments)
    tokenizer = ctx.tokenizer(collection)
    pairs, unpaired = mining.paired(
        asked, corpus.served, lambda texts: corpus.base.embed(fitting(list(texts), tokenizer), query=True)
    )
    kept, leaked = leakage.without(pairs, corpus.judged, corpus.clusters)
    left = {**unpaired, **leaked}
    if len(kept) < LEAST:
        why = (
            "; ".join(f"{count}: {reason}" for reason, count in left.items()) or "the documents have few titles and headings"
        )
        raise NothingLearned(
            f"{len(kept)} pairs to teach {collection!r} with, at least {LEAST} are needed ({why}); give --judgments"
        )
    leakage.require_none(kept, corpus.judged, corpus.clusters)
    lineage = {
        "collection": collection,
        "corpus": benchmarks.corpus(ctx.pool, collection).sha.hex(),
        "space": corpus.space.id,
        "revision": corpus.base.revision,
        "seed": seed,
        "limit": limit,
        "judgments": str(judgments) if judgments else "",
        "kept apart from": list(corpus.slices),
        "left out": left,
    }
    data = dataset.split(kept, corpus.clusters, lineage)
    return Built(_kept(ctx, collection, data, by), data.counts(), len(data.validation), left)


def gather(ctx: Context, collection: str, seed: int = 1) -> Corpus:
    """The served passages with their vectors. Raises FixConfiguration for a collection that serves nothing."""
    ctx.settings.require_collection(collection)
    space = spaces.active(ctx.pool, collection)
    if space is None:
        raise FixConfiguration(f"collection {collection!r} serves nothing to learn from; sync a source of it first")
    rows, vectors = datasets.passages(ctx.pool, space, documents=DOCUMENTS, seed=seed)
    passages = [
        Passage(row.document, row.title, tuple(row.headings), row.start, row.end, row.text, row.lang) for row in rows
    ]
    clusters = mining.clusters(passages)
    slices = {one.label: benchmarks.questions(ctx.pool, one.id) for one in benchmarks.current(ctx.pool, collection)}
    golden = ctx.settings.collections[collection].golden
    if golden is not None:  # which `verify` judges a new space by
        names = benchmarks.addresses(ctx.pool, collection)
        slices["golden"] = resolved(beir.read(ctx.settings.root / golden), names)
    served = mining.Served(vectors, tuple(row.body for row in rows), tuple(passages))
    base = ctx.models.base(ctx.model_name(collection, space))
    return Corpus(space, base, served, clusters, leakage.Judged.of(slices, clusters), tuple(sorted(slices)))


def require_apart(corpus: Corpus, pairs: Sequence[TrainingPair]) -> None:
    """Raise FailRun, naming a pair and the slice, where a pair leaks into what evaluates now."""
    leakage.require_none(pairs, corpus.judged, corpus.clusters)


def read(ctx: Context, name: str) -> tuple[DatasetVersion, Dataset]:
    """A data set by name, compared by its hashes. Raises FixConfiguration, FailRun and Retry."""
    version = datasets.get(ctx.pool, name)
    files = [File(**file) for file in version.files]
    folder = artifacts.fetch(ctx.objects, version.artifact, files, ctx.cache, "dataset")
    return version, dataset.read({file.path: (folder / file.path).read_bytes() for file in files}, version.name)


def listed(ctx: Context, collection: str | None = None) -> list[DatasetVersion]:
    """Data sets of one collection or of all, the newest first."""
    return datasets.versions(ctx.pool, collection)


def _judged(corpus: Corpus, path: Path | None) -> list[mining.Asked]:
    if path is None:
        return []
    names = sorted({passage.document for passage in corpus.served.passages})
    return mining.from_judgments(resolved(beir.read(path, training=True), names), path.name)


def _kept(ctx: Context, collection: str, data: Dataset, by: str) -> DatasetVersion:
    files = dataset.write(data)
    with tempfile.TemporaryDirectory() as place:
        folder, entries = Path(place), []
        for name, content in sorted(files.items()):
            (folder / name).write_bytes(content)
            entries.append(File(name, hashlib.sha256(content).hexdigest(), len(content)))
        artifact = artifacts.keep(ctx.objects, folder, entries, ROOT)
    return datasets.add(
        ctx.pool,
        collection,
        sha=dataset.digest(files),
        artifact=artifact,
        files=[{"path": one.path, "sha256": one.sha256, "bytes": one.bytes} for one in entries],
        pairs=len(data.fitted) + len(data.validation),
        lineage={**data.lineage, "origins": data.counts(), "validation": len(data.validation)},
        by=by,
    )
