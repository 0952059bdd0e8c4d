"""Switches and rollbacks under readers and writers: every answer is of one space, whole, and none fails.

Three spaces of one collection: two models on the same passages, and the second model on passages of another length. A
writer syncs a changing source all the while, whose catch-up keeps the spaces complete that do not serve; a switcher goes
from one to another at random, or back. Readers ask through the product's own search, dense and hybrid, for one document.
Each hit says which space it came from: its cosine is that of one model (a question of one model in the other's space gives
about 0), its length that of one chunk set. An answer whose hits do not agree on a space is mixed; one without the document
is empty.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.faults.lab import COLLECTION, Lab, LabContext
from bench.faults.tally import Tally
from bench.harness import Limit, Options, Result
from bench.torn_reads import Board, fork
from pipelines.config import Chunking, Collection, DeleteGuard, Model
from pipelines.embed.hashing import Hashing
from pipelines.errors import FailRun, MillraceError, Retry
from pipelines.records import ReembedRequest
from pipelines.search.hybrid import Hit, Query
from pipelines.sources.memory import Memory
from pipelines.stages import reembed, search, switch
from pipelines.store import audit, spaces

WANTED, QUICK_WANTED = 100, 10
ANSWERS, QUICK_ANSWERS = 1000, 100
SECONDS, QUICK_SECONDS = 900.0, 28.0  # at most
READERS = 3
DOCUMENTS, SENTENCES = 12, 72
SEEDS = {"first": 0, "second": 7}
LONG, SHORT = Chunking(target_tokens=120, heading_prefix=False), Chunking(target_tokens=40, heading_prefix=False)
NEAR = 0.001  # halfvec keeps a cosine to 0.0001; those of two models differ by a few hundredths
SENTENCE = re.compile(r"sentence \d+")
KINDS = ("failed", "empty", "mixed")


def run(options: Options) -> Result:
    """Switch until enough switches were made and questions answered meanwhile, or until time is up."""
    wanted, seconds = (QUICK_WANTED, QUICK_SECONDS) if options.quick else (WANTED, SECONDS)
    answers = QUICK_ANSWERS if options.quick else ANSWERS
    with Lab(guard=DeleteGuard(max_share=1.0)) as lab:
        source = Changing(random.Random(options.seed))
        prints = _prepare(lab, source)
        board, tally = Board(), Tally(lab.folder / "tally")
        children = [fork(lambda: _sync_forever(lab, board, tally, source), tally)]
        for number in range(READERS):
            children.append(fork(lambda n=number: _read_forever(lab, board, tally, prints, options.seed + n), tally))  # type: ignore[misc]
        try:
            took = _switch(lab, board, tally, random.Random(options.seed), wanted, answers, seconds)
        finally:
            board.stop()
        crashed = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in children)
        lab.sync(source)
        return _result(options, lab, tally, took, crashed, answers)


def _prepare(lab: Lab, source: Changing) -> Prints:
    """Fill and verify the three spaces; the first serves."""
    entries = {name: Model(tier="hash", seed=seed) for name, seed in SEEDS.items()}
    configured = {"models": entries, "collections": {COLLECTION: Collection(model="first")}}
    # The lab's template has a space of its own configuration; this collection is begun anew.
    lab.settings = lab.settings.model_copy(update={**configured, "chunking": LONG})
    for table in ("model_alias", "model_alias_history", "space_history", "space"):
        lab.query(f"DELETE FROM {table}")
    lab.query("DROP TABLE space_1")
    lab.sync(source)
    with lab.context(source) as ctx:
        reembed.run(ctx, ReembedRequest(COLLECTION, model="second"))
        ctx.settings = ctx.settings.model_copy(update={"chunking": SHORT})
        reembed.run(ctx, ReembedRequest(COLLECTION, model="second"))
        kept = sorted(spaces.kept(ctx.pool, COLLECTION), key=lambda space: space.id)
        rows = lab.query("SELECT chunk_set, body FROM chunk JOIN text USING (tenant, text_sha)")
    lengths: dict[int, set[int]] = {}
    for chunk_set, body in rows:
        lengths.setdefault(chunk_set, set()).add(len(SENTENCE.findall(body)))
    long, short = lengths[kept[0].chunk_set], lengths[kept[2].chunk_set]
    if long & short:
        raise RuntimeError(f"passages of both chunk sets have as many sentences: {long} and {short}")
    models = zip(kept, ("first", "second", "second"), strict=True)
    return Prints({place: (model, frozenset(lengths[space.chunk_set])) for place, (space, model) in enumerate(models, 1)})


class Changing(Memory):
    """Documents of equal length, each sentence with the document's name; `renew` gives some of them a new version."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(root="memory://switch/")
        self._rng = rng
        self._version = 0
        for number in range(DOCUMENTS):
            self._write(number)

    def renew(self) -> None:
        """One to three documents change."""
        for number in self._rng.sample(range(DOCUMENTS), self._rng.randint(1, 3)):
            self._write(number)

    def _write(self, number: int) -> None:
        self._version += 1
        lines = (
            f"Harbour{number:02d} version{self._version} sentence {place} tells of w{self._rng.randrange(500)}."
            for place in range(SENTENCES)
        )
        self.objects[f"harbour{number:02d}.txt"] = " ".join(lines).encode()


@dataclass(frozen=True)
class Prints:
    """What hits of each space look like, by its place: {1 to 3: (model, sentences that a passage can have)}."""

    spaces: dict[int, tuple[str, frozenset[int]]]
    models: dict[str, Hashing] = field(default_factory=lambda: {name: Hashing(seed=seed) for name, seed in SEEDS.items()})

    def of(self, question: str, hits: list[Hit]) -> set[int]:
        """The spaces that every hit can have come from."""
        found = set(self.spaces)
        texts = [question, *(hit.passage for hit in hits)]
        cosines = {name: (matrix := model.embed(texts))[1:] @ matrix[0] for name, model in self.models.items()}
        for place, hit in enumerate(hits):
            sentences = len(SENTENCE.findall(hit.passage))
            found &= {
                space
                for space, (model, lengths) in self.spaces.items()
                if sentences in lengths and hit.similarity is not None and abs(cosines[model][place] - hit.similarity) < NEAR
            }
        return found


def _read_forever(lab: Lab, board: Board, tally: Tally, prints: Prints, seed: int) -> None:
    rng = random.Random(seed)
    with lab.context({}) as ctx:
        while not board.stopped:
            before, number = board.turns(), rng.randrange(DOCUMENTS)
            question = f"harbour{number:02d} tells of w{rng.randrange(500)}"
            seen: Counter[str] = Counter({"answers": 1})
            for kind, example in _judge(ctx, prints, question, rng, number):
                seen[kind] += 1
                if example:
                    tally.add({}, example=example)
            after = board.turns()
            seen["during"] += before[0] != after[0] or before[0] % 2
            tally.add(seen)


def _judge(ctx: LabContext, prints: Prints, question: str, rng: random.Random, number: int) -> Iterator[tuple[str, str]]:
    mode = rng.choice(("dense", "hybrid"))
    yield mode, ""
    try:
        hits = search.run(ctx, Query(question, COLLECTION, k=5, mode="dense" if mode == "dense" else "hybrid"))
    except MillraceError as error:
        yield "failed", f"{mode}: {type(error).__name__}: {error}"[:300]
        return
    if not any(hit.uri.endswith(f"harbour{number:02d}.txt") for hit in hits):
        yield "empty", f"{mode}: {question}: {[hit.uri for hit in hits]}"
        return
    came_from = prints.of(question, hits)
    if came_from:
        yield "ambiguous" if len(came_from) > 1 else f"space_{min(came_from)}", ""
    else:
        yield "mixed", f"{mode}: {[(hit.similarity, len(SENTENCE.findall(hit.passage))) for hit in hits]}"


def _sync_forever(lab: Lab, board: Board, tally: Tally, source: Changing) -> None:
    while not board.stopped:
        source.renew()
        done = lab.sync(source)
        tally.add({"syncs": 1, "replaced": done.counts["loaded"], "caught_up": done.stats.get("caught_up", 0)})
        if told := [note for note in done.notes if "could not be caught up" in note]:
            tally.add({"catch_ups_left": len(told)}, example=told[0][:300])
        time.sleep(0.5)


def _switch(
    lab: Lab, board: Board, tally: Tally, rng: random.Random, wanted: int, answers: int, seconds: float
) -> list[float]:
    """Switch or roll back at least `wanted` times and until there are `answers`; how many seconds each took.

    Refusals are counted, not switches.
    """
    took: list[float] = []
    ends = told = time.monotonic()
    ends += seconds
    with lab.context({}) as ctx:
        while (len(took) < wanted or tally.totals()["answers"] < answers) and time.monotonic() < ends:
            time.sleep(rng.uniform(0.02, 0.3))
            began = time.monotonic()
            try:
                board.replacing(0, _one)(ctx, rng, tally)
                took.append(time.monotonic() - began)
            except FailRun:
                tally.add({"refused": 1})
            except Retry as error:
                tally.add({"switch_retries": 1}, example=f"switch: {error}"[:300])
            if time.monotonic() - told >= 10:
                told = time.monotonic()
                print(f"switch: {len(took)} switches, {tally.totals()['answers']} answers", file=sys.stderr)
    return took


def _one(ctx: LabContext, rng: random.Random, tally: Tally) -> None:
    """A rollback where there is something to go back to, or a switch to any space that does not serve."""
    others = [space for space in spaces.kept(ctx.pool, COLLECTION) if space.state != "active"]
    if rng.random() < 0.4 and any(space.state == "previous" for space in others):
        switch.rollback(ctx, COLLECTION)
        tally.add({"rollbacks": 1})
    else:
        switch.switch(ctx, COLLECTION, rng.choice(others).id)
        tally.add({"switches_forward": 1})


def _result(options: Options, lab: Lab, tally: Tally, took: list[float], crashed: int, answers: int) -> Result:
    totals = tally.totals()
    with lab.context({}) as ctx:
        findings = len(audit.audit(ctx.pool))
        incomplete = sum(bool(entry.missing_documents or entry.missing_texts) for entry in switch.overview(ctx))
    figures = {
        "switches": len(took),
        "rollbacks": totals["rollbacks"],
        "refused_while_incomplete": totals["refused"],
        "switch_retries": totals["switch_retries"],
        "switch_seconds_median": round(statistics.median(took), 3) if took else None,
        "switch_seconds_max": round(max(took), 3) if took else None,
        "answers": totals["answers"],
        "answers_dense": totals["dense"],
        "answers_hybrid": totals["hybrid"],
        "answers_during_switch": totals["during"],
        **{f"answers_space_{number}": totals[f"space_{number}"] for number in (1, 2, 3)},
        "answers_ambiguous": totals["ambiguous"],
        **{f"{kind}_answers": totals[kind] for kind in KINDS},
        "syncs": totals["syncs"],
        "documents_replaced": totals["replaced"],
        "texts_caught_up": totals["caught_up"],
        "catch_ups_left": totals["catch_ups_left"],
        "spaces_incomplete_at_the_end": incomplete,
        "audit_findings": findings,
        "crashed_processes": crashed,
        "seed": options.seed,
    }
    return Result(
        "switch",
        figures,
        floors=(
            Limit("switches", at_least=WANTED),
            Limit("rollbacks", at_least=1),
            *(Limit(f"{kind}_answers", at_most=0) for kind in KINDS),
            Limit("answers", at_least=answers),
            Limit("answers_during_switch", at_least=1),
            *(Limit(f"answers_space_{number}", at_least=1) for number in (1, 2, 3)),
            Limit("syncs", at_least=1),
            Limit("documents_replaced", at_least=1),
            Limit("spaces_incomplete_at_the_end", at_most=0),
            Limit("audit_findings", at_most=0),
            Limit("crashed_processes", at_most=0),
        ),
        left_out=("switches",) if options.quick else (),
        notes=tuple(tally.lines("example")[:10]),
    )
