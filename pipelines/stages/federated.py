"""Stage federated: a site's part in fitting one query adapter with others, and the coordinator's.

Every site is a project with its own database. Files go between them, as `pipelines.train.federated_files` writes them; how
they are carried is nobody's business here. A coordinator needs no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embed import adapter as adapters
from pipelines.embed import open_embedder
from pipelines.errors import FailRun, FixConfiguration
from pipelines.evaluate import builders, controls
from pipelines.search.lengths import fitting
from pipelines.search.query import clean_text
from pipelines.store import benchmarks, spaces, vectors
from pipelines.train import federated
from pipelines.train.adapter import Numbers, Passages, Questions, moved, ndcg
from pipelines.train.federated import LeftOut, Round, Terms
from pipelines.train.federated_files import read_round, read_update, write_round, write_update

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.ports import Embedder
    from pipelines.records import Candidate
    from pipelines.store.spaces import Space

DOCUMENTS = 5_000  # of a site, drawn by a fixed seed
HELD_OUT = 0.5  # of them by identity, as for benchmarks: questions about these are never learned from
DELTA = 1e-5


@dataclass(frozen=True, slots=True)
class Site:
    """What a site has: its passages, the pairs to learn from, and questions that are only asked."""

    passages: Passages
    fitted: Questions
    held_out: Questions

    def ndcg(self, current: Round) -> float:
        """nDCG@10 of the held-out questions through the round's map."""
        return ndcg(moved(self.held_out.vectors, current.weight, current.bias), self.held_out, self.passages)


@dataclass(frozen=True, slots=True)
class Contributed:
    """What a site gave away, and what it alone knows: how good the round's map is for its own held-out questions."""

    round: int
    site: str
    pairs: int
    norm: float
    epsilon: float | None  # of all rounds so far, for DELTA; None without noise
    held_out: int
    without: float  # nDCG@10 without an adapter
    with_it: float  # and with the map that the round started from
    file: str

    def text(self) -> str:
        """What a person wants to know."""
        privacy = "no noise" if self.epsilon is None else f"epsilon {self.epsilon:.3g} at delta {DELTA:g} so far"
        return (
            f"round {self.round}: {self.pairs} pairs of site {self.site}, length {self.norm:.3f}, {privacy}: {self.file}\n"
            f"  {self.held_out} held-out questions of this site: nDCG@10 {self.without:.3f} without an adapter, "
            f"{self.with_it:.3f} with the one of this round"
        )


@dataclass(frozen=True, slots=True)
class Averaged:
    """What became of a round."""

    round: int
    shares: dict[str, float]
    left_out: tuple[LeftOut, ...]
    moved: float
    file: str

    def text(self) -> str:
        """A line for the round, and one for each update that was left out."""
        shares = ", ".join(f"{site} {share:.0%}" for site, share in self.shares.items())
        lines = [f"round {self.round}: {shares}; moved by {self.moved:.3f}: {self.file}"]
        return "\n".join([*lines, *(f"  left out {entry.name}: {entry.reason}" for entry in self.left_out)])


def start(ctx: Context, collection: str, out: Path, terms: Terms) -> Round:
    """Write the first round's file, for the embedder that serves a collection. Raises FixConfiguration."""
    space = _space(ctx, collection)
    first = federated.start(space.embedder_fingerprint, space.dim, terms)
    write_round(first, out)
    return first


def contribute(ctx: Context, collection: str, source: Path, out: Path, site: str) -> Contributed:
    """Fit the round's map to this site's pairs for its epochs, and write the update.

    Raises FixConfiguration when the round is of another embedder than the one that serves the collection, FailRun for too
    few pairs.
    """
    current = read_round(source)
    space = _space(ctx, collection)
    if (space.embedder_fingerprint, space.dim) != (current.of, len(current.bias)):
        raise FixConfiguration(
            f"{source}: a round of embedder {current.of[:12]}… with {len(current.bias)} dimensions; {collection!r} has "
            f"{space.model} {space.embedder_fingerprint[:12]}… with {space.dim}; all sites need the same model and tier"
        )
    found = pairs(ctx, space)
    # The order of the pairs is no secret, the noise is: it comes from the operating system.
    update = federated.contribute(current, site, found.passages, found.fitted, np.random.default_rng(), seed=current.number)
    write_update(update, out)
    spent = federated.epsilon(current.terms.noise, current.number, DELTA) if current.terms.noise else None
    before = federated.start(current.of, space.dim, current.terms)
    return Contributed(
        current.number,
        site,
        update.pairs,
        round(update.norm, 4),
        spent,
        len(found.held_out),
        round(found.ndcg(before), 4),
        round(found.ndcg(current), 4),
        str(out),
    )


def average(source: Path, out: Path, files: Sequence[Path]) -> Averaged:
    """Write the next round's file from the updates of a round. Raises FixConfiguration; FailRun when too few are sound."""
    current = read_round(source)
    updates, left_out = [], []
    for file in files:
        try:
            updates.append(read_update(file))
        except FixConfiguration as error:
            # What is said goes into the next round's file, to all sites: the file's name, not where it lies here.
            left_out.append(LeftOut(ascii(file.name)[1:-1][:64], str(error).removeprefix(f"{file}: ")[:128]))
    following = federated.average(current, updates, left_out)
    write_round(following, out)
    done = following.history[-1]
    return Averaged(done.round, done.shares, done.left_out, done.moved, str(out))


def adapter(source: Path, folder: Path) -> list[Path]:
    """Write the map of a round as a query adapter's new folder; returns its files."""
    current = read_round(source)
    if folder.exists():
        raise FixConfiguration(f"{folder} is there already; name a new folder")
    adapters.write(adapters.Adapter(current.weight, current.bias, current.of), folder)
    return sorted(folder.iterdir())


def pairs(ctx: Context, space: Space) -> Site:
    """The titles of served documents with their first passages; the held-out half of the documents is only asked about."""
    rows = benchmarks.passages(ctx.pool, space, documents=DOCUMENTS, seed=1)
    passages = [
        builders.Passage(row.document, row.title, tuple(row.headings), row.start, row.end, row.text, row.lang)
        for row in rows
    ]
    found = builders.build(passages, "titles", share=1.0, limit=DOCUMENTS, seed=1)
    if not found:
        raise FailRun(
            f"no document of collection {space.collection!r} has a title of its own to learn from; sync some that have"
        )
    tokenizer = ctx.models.tokenizer(ctx.model_name(space.collection, space))
    asked = _embedder(ctx, space).embed(fitting([clean_text(entry.text) for entry in found], tokenizer), query=True)
    first = {row.document: number for number, row in reversed(list(enumerate(rows)))}
    answers = np.array([first[entry.documents[0]] for entry in found], np.int64)
    held = np.array([controls.held_out(entry.cluster, HELD_OUT) for entry in found])
    weights = np.ones(len(found), np.float32)
    fitted, held_out = (Questions(asked[kept], answers[kept], weights[kept]) for kept in (~held, held))
    stored = vectors.load_vectors(ctx.pool, space, [row.text_sha for row in rows])
    return Site(Passages(stored, _documents(rows, found)), fitted, held_out)


def _documents(rows: Sequence[benchmarks.Served], found: Sequence[Candidate]) -> Numbers:
    """The number of each passage's document; near-duplicates are one, so that none is pushed away from the other's title."""
    cluster = {document: entry.cluster for entry in found for document in entry.documents}
    names = [cluster.get(row.document, row.document) for row in rows]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] for name in names], np.int64)


def _space(ctx: Context, collection: str) -> Space:
    ctx.settings.require_collection(collection)
    space = spaces.active(ctx.pool, collection)
    if space is None:
        raise FixConfiguration(f"collection {collection!r} has nothing to learn from; sync a source of it first")
    return space


def _embedder(ctx: Context, space: Space) -> Embedder:
    """The embedder below whatever adapter serves: a federation starts from the model itself."""
    entry = ctx.models.entry(ctx.model_name(space.collection, space))
    return open_embedder(entry.model_copy(update={"adapter": None}), ctx.cache, connections=ctx.connections)
