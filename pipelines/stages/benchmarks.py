"""Benchmark sets: import from files, build candidates from the corpus, review them, release versions.

Import takes judgments that people made elsewhere; what builders propose becomes part of a slice only after somebody accepted
it and `release` made the slice's next version of it. Every version remembers the corpus that it was made on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.errors import FixConfiguration
from pipelines.evaluate import beir, builders, sets
from pipelines.generate.chat import open_chat
from pipelines.records import Question
from pipelines.store import benchmarks, spaces
from pipelines.text.sentences import spans

if TYPE_CHECKING:
    from pipelines.context import Context

DOCUMENTS = 5_000  # that candidates are made from, drawn by the seed


@dataclass(frozen=True, slots=True)
class Released:
    """A version of a slice; `new` is False when the newest one has the same content already."""

    collection: str
    name: str
    slice: str
    version: int
    new: bool
    questions: int
    judged_documents: int
    missing_documents: int  # judged, but not served now

    def text(self) -> str:
        """One line for a person."""
        what = f"{self.name}/{self.slice} v{self.version} of {self.collection}"
        missing = f", {self.missing_documents} of them not served" if self.missing_documents else ""
        made = "released" if self.new else "unchanged"
        return f"{what} {made}: {self.questions} questions, {self.judged_documents} judged documents{missing}"


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder proposed."""

    collection: str
    name: str
    slice: str
    builder: str
    candidates: int
    new: int
    low_overlap: int  # candidates of which the answering passage has less than half the words

    def text(self) -> str:
        """One line for a person."""
        return (
            f"{self.builder}: {self.candidates} candidates, {self.new} new, {self.low_overlap} with few words of their "
            f"passage; next: millrace benchmark review {self.collection} --name {self.name}"
        )


def load(ctx: Context, collection: str, path: Path, name: str, slice_: str, by: str) -> Released:
    """Import a BEIR folder or a golden file as the next version of a slice.

    Raises FixConfiguration for files that cannot be read exactly, when no judged document is in the corpus, and when a
    document's name fits several.
    """
    read = beir.read(path)
    served = benchmarks.addresses(ctx.pool, collection)
    questions = resolved(read, served)
    judged = {document for question in questions for document, _ in question.relevant}
    known = judged & set(served)
    if judged and not known:
        raise FixConfiguration(
            f"{path}: none of {len(judged)} judged documents (such as {min(judged)!r}) is in collection {collection!r}; "
            "sync its source first, or give a corpus.jsonl with url"
        )
    origin = {"kind": "import", "path": str(path)}
    return _release(ctx, collection, name, slice_, questions, origin, by, judged, known)


class Names:
    """Finds a served document by its address, the end of one, or its file name without the ending."""

    def __init__(self, served: Sequence[str]) -> None:
        self._exact = set(served)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for document in served:
            last = PurePosixPath(unquote(document)).name
            for key in {last, last.rpartition(".")[0] or last}:
                self._by_name[key].append(document)

    def find(self, name: str) -> str | None:
        """The document's address, None when none fits. Raises FixConfiguration when several do."""
        if name in self._exact:
            return name
        near = self._by_name.get(PurePosixPath(name).name, [])
        found = [one for one in near if unquote(one).endswith(f"/{name}")] or ([] if "/" in name else near)
        if len(found) > 1:
            raise FixConfiguration(f"judged document {name!r} may be {found[0]} or {found[1]}; give whole addresses")
        return found[0] if found else None


def resolved(questions: Iterable[Question], served: Sequence[str]) -> list[Question]:
    """The questions with the addresses of served documents in place of their names. Raises what `Names.find` raises."""
    names = Names(served)
    return [replace(question, relevant=_resolved(question, names)) for question in questions]


def _resolved(question: Question, names: Names) -> tuple[tuple[str, int], ...]:
    return tuple((names.find(document) or document, relevance) for document, relevance in question.relevant)


def build(
    ctx: Context,
    collection: str,
    name: str,
    slice_: str,
    builder: builders.Builder,
    *,
    share: float = 0.5,
    limit: int = 100,
    seed: int = 1,
) -> Built:
    """Propose candidates made from the served passages of the held-out `share` of the documents.

    Raises FixConfiguration for a collection without a space, and for the builder `questions` without a writer.
    """
    space = spaces.active(ctx.pool, collection)
    if space is None:
        raise FixConfiguration(f"collection {collection!r} has nothing to build questions from; sync a source of it first")
    writer = ctx.settings.evaluation.writer
    if builder == "questions" and writer is None:
        raise FixConfiguration(
            "include/config/evaluation.yaml: writer: missing; name the language model that writes questions"
        )
    passages = [
        builders.Passage(row.document, row.title, tuple(row.headings), row.start, row.end, row.text, row.lang)
        for row in benchmarks.passages(ctx.pool, space, documents=DOCUMENTS, seed=seed)
    ]
    ask = open_chat(writer, ctx.connections) if builder == "questions" and writer is not None else None
    found = builders.build(passages, builder, share=share, limit=limit, seed=seed, spans=spans, ask=ask)
    new = benchmarks.propose(ctx.pool, collection, name, slice_, found)
    return Built(collection, name, slice_, builder, len(found), new, sum(entry.overlap < 0.5 for entry in found))


def proposed(ctx: Context, collection: str, name: str, state: str, limit: int) -> list[benchmarks.Proposed]:
    """The candidates of a set in a state."""
    return benchmarks.candidates(ctx.pool, collection, name, state, limit=limit)


def decide(ctx: Context, collection: str, name: str, ids: Sequence[int], state: str, reason: str, by: str) -> dict[str, Any]:
    """Accept or reject candidates; who and when is kept. Raises FixConfiguration for a rejection without a reason."""
    if state == "rejected" and not reason.strip():
        raise FixConfiguration("a rejection needs a reason; say it with --reason")
    decided = benchmarks.decide(ctx.pool, collection, name, ids, state, reason=reason.strip(), by=by)
    if decided != len(set(ids)):
        raise FixConfiguration(
            f"{len(set(ids)) - decided} of the ids are no candidates of {name} of {collection}; list them first"
        )
    return {"name": name, "state": state, "decided": decided, "by": by}


def release(ctx: Context, collection: str, name: str, slice_: str, by: str, quota: int | None = None) -> Released:
    """Make the next version of a slice from its accepted candidates whose documents are served, newest decisions first.

    Raises FixConfiguration when nothing is accepted and when a frozen slice would change.
    """
    accepted = benchmarks.candidates(ctx.pool, collection, name, "accepted", slice_=slice_)
    served = set(benchmarks.addresses(ctx.pool, collection))
    alive = [entry for entry in accepted if served & set(entry.documents)]
    if not alive:
        raise FixConfiguration(
            f"{name}/{slice_} of {collection} has {len(accepted)} accepted candidates, none with a served document; build "
            "and review some first"
        )
    chosen = sorted(alive, key=lambda entry: (entry.decided_at, entry.id), reverse=True)[:quota]
    questions = [entry.question() for entry in chosen]
    judged = {document for question in questions for document, _ in question.relevant}
    origin = {
        "kind": "release",
        "builders": sorted({entry.builder for entry in chosen}),
        "left_out": len(accepted) - len(alive),
    }
    return _release(ctx, collection, name, slice_, questions, origin, by, judged, judged & served)


def overview(ctx: Context, collection: str | None = None) -> dict[str, Any]:
    """The newest version of every slice, and how many candidates wait."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for owner, name, slice_, state, count in benchmarks.candidate_counts(ctx.pool, collection):
        counts[f"{owner} {name}/{slice_}"][state] = count
    return {"versions": benchmarks.current(ctx.pool, collection), "candidates": dict(counts)}


def _release(
    ctx: Context,
    collection: str,
    name: str,
    slice_: str,
    questions: Sequence[Question],
    origin: dict[str, Any],
    by: str,
    judged: Iterable[str],
    known: Iterable[str],
) -> Released:
    sha = sets.content_sha(questions)
    version, new = benchmarks.add_version(
        ctx.pool, collection, name, slice_, questions, content_sha=sha, origin=origin, by=by
    )
    documents = set(judged)
    return Released(collection, name, slice_, version, new, len(questions), len(documents), len(documents - set(known)))
