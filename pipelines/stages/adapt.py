"""Stage adapt: fit a query adapter to a collection's model, the rung that embeds nothing again, and register it.

The version's space reads the vectors that are served, so `reembed` completes it at once; gate and promotion follow as for
any model. An adapter that gains nothing on the questions that it was not fitted to is not registered.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.embed import adapter as adapters
from pipelines.errors import FailRun, NothingLearned
from pipelines.records import TrainingPair
from pipelines.registry import artifacts
from pipelines.registry.folder import inspect
from pipelines.search.lengths import fitting
from pipelines.stages import training_data
from pipelines.store import registry
from pipelines.train import adapter, code

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.stages.training_data import Corpus
    from pipelines.store.registry import Version
    from pipelines.train.adapter import Fitted, Passages, Point, Questions

DEFAULT = adapter.Settings()
REPLAYED = 500  # questions of earlier data sets, at most


@dataclass(frozen=True, slots=True)
class Outcome:
    """A version, what it was taught with, and what it gained."""

    version: Version
    dataset: str
    fitted: Fitted
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without the weights."""
        return {
            "version": self.version.name,
            "dataset": self.dataset,
            "ndcg_before": self.fitted.before,
            "ndcg_after": self.fitted.after,
            "share": self.fitted.share,
            "seconds": round(self.seconds, 2),
            "stopped": self.fitted.stopped,
            "curve": [asdict(point) for point in self.fitted.curve],
        }

    def text(self, collection: str) -> str:
        """Some lines for a person."""
        return (
            f"{self.version.name}: taught with {self.dataset} in {self.seconds:.1f} s; nDCG@10 on questions that it was not "
            f"fitted to {self.fitted.before:.3f} -> {self.fitted.after:.3f}\n"
            f"  next: millrace reembed {collection} --model {self.version.name}, then millrace models propose {collection}"
        )


def settings(seconds: float, seed: int) -> adapter.Settings:
    """How an adapter is fitted within so many seconds."""
    return adapter.Settings(seconds=seconds, seed=seed)


def run(
    ctx: Context,
    collection: str,
    *,
    data: str = "",
    name: str = "",
    settings: adapter.Settings = DEFAULT,
    by: str = "",
    report: Callable[[Point], None] = lambda _: None,
) -> Outcome:
    """Fit an adapter to the model that serves, with a data set (default: the collection's newest), and keep it.

    Raises FixConfiguration where there is no data set, FailRun for one of another collection or that leaks by now, and
    NothingLearned where a gain is not shown: then nothing is kept.
    """
    began = time.monotonic()
    corpus = training_data.gather(ctx, collection, settings.seed)
    version, found = training_data.read(ctx, data or collection)
    if version.collection != collection:
        raise FailRun(f"data set {version.name} is of collection {version.collection!r}, not {collection!r}; name one of it")
    training_data.require_apart(corpus, (*found.fitted, *found.validation))
    index = _Index(ctx, corpus)
    fitted = adapter.fit(
        index.passages,
        index.questions(found.fitted),
        index.questions(found.validation),
        _replay(ctx, collection, version.version, index),
        settings,
        report,
    )
    if fitted.bound <= 0:
        raise NothingLearned(
            f"nothing was learned from {version.name}: nDCG@10 on questions that were not fitted {fitted.before:.4f} -> "
            f"{fitted.after:.4f}, and a gain is not shown (lower 95 % bound {fitted.bound:+.4f}); no version was made; give "
            "more or better pairs"
        )
    training = registry.Training(version.id, code.digest(), {**asdict(settings), **_reached(fitted)})
    kept = _register(ctx, collection, corpus, fitted, training, name or f"{collection}-questions", by)
    return Outcome(kept, version.name, fitted, time.monotonic() - began)


class _Index:
    """Pairs as vectors and rows among the served passages."""

    def __init__(self, ctx: Context, corpus: Corpus) -> None:
        self._corpus = corpus
        self._tokenizer = ctx.tokenizer(corpus.space.collection)
        self._row = {text: row for row, text in reversed(list(enumerate(corpus.served.texts)))}
        numbers: dict[str, int] = {}
        documents = [
            numbers.setdefault(corpus.clusters.get(one.document, one.document), len(numbers))
            for one in corpus.served.passages
        ]
        self.passages: Passages = adapter.Passages(corpus.served.vectors, np.asarray(documents, np.int64))

    def questions(self, pairs: Sequence[TrainingPair]) -> Questions:
        """Those whose passage is served still."""
        alive = [pair for pair in pairs if pair.positive in self._row]
        texts = fitting([pair.question for pair in alive], self._tokenizer)
        vectors = self._corpus.base.embed(texts, query=True)
        rows = np.asarray([self._row[pair.positive] for pair in alive], np.int64)
        return adapter.Questions(vectors, rows, np.asarray([pair.weight for pair in alive], np.float32))


def _replay(ctx: Context, collection: str, before: int, index: _Index) -> Questions | None:
    """What earlier data sets asked that this one's evaluation may not lose; None where there is none."""
    earlier = [one for one in training_data.listed(ctx, collection) if one.version < before]
    if not earlier:
        return None
    _, found = training_data.read(ctx, earlier[0].name)
    questions = index.questions(found.validation[:REPLAYED])
    return questions if len(questions) else None


def _register(
    ctx: Context, collection: str, corpus: Corpus, fitted: Fitted, training: registry.Training, name: str, by: str
) -> Version:
    entry = ctx.models.entry(ctx.model_name(collection, corpus.space))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name
        adapters.write(adapters.Adapter(fitted.weight, fitted.bias, corpus.base.fingerprint), folder)
        files = inspect(folder)
        revision = adapters.revision(folder, corpus.base.revision)
        artifact = artifacts.keep(ctx.objects, folder, files)
    return registry.add(
        ctx.pool,
        model=name,
        revision=revision,
        dtype=corpus.base.dtype,
        artifact=artifact,
        files=[{"path": file.path, "sha256": file.sha256, "bytes": file.bytes} for file in files],
        run=entry.model_dump(mode="json", exclude_defaults=True, exclude={"adapter"}),
        parent=registry.of_space(ctx.pool, corpus.space, corpus.base.revision).id,
        kind="adapter",
        training=training,
        by=by,
    )


def _reached(fitted: Fitted) -> dict[str, Any]:
    return {"share": fitted.share, "ndcg_before": round(fitted.before, 4), "ndcg_after": round(fitted.after, 4)}
