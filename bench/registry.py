"""Promotions that race and promotions that are killed: one champion, one space, every vector's model known, a way back.

A collection with a champion and challengers, each with a verified space of its own; the gate has said `promote` of half of
them and `refuse` of the others, and each is proposed. Everything goes through `pipelines.stages.promotion`.

* Race: processes that all promote at once, each a random challenger; whoever comes after the first has a verdict beside a
  champion that is none any more. Meanwhile and at the end, in one snapshot, the champion
  must be exactly one, of the space that serves, of that space's model, and never one that the gate refused.
* Kills: a promotion to a space of other passages, the longest kind, is killed with SIGKILL before one of its messages to the
  server or after an answer, evenly chosen, the commit's among them. Then the same must hold, documents must have the
  passages of the space that serves, the promotion must succeed when it is repeated, and a rollback must take at most a
  second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.faults.kills import Countdown
from bench.faults.lab import COLLECTION, Lab, in_child
from bench.faults.tally import Tally
from bench.harness import Limit, Options, Result
from bench.torn_reads import fork
from pipelines.config import Chunking, Collection, DeleteGuard, Gates, Model
from pipelines.errors import FixConfiguration, MillraceError
from pipelines.records import ReembedRequest
from pipelines.search.hybrid import Query
from pipelines.sources.memory import Memory
from pipelines.stages import models, promotion, reembed, search
from pipelines.store.database import Patient

LONG, SHORT = Chunking(target_tokens=120, heading_prefix=False), Chunking(target_tokens=40, heading_prefix=False)
DOCUMENTS, SENTENCES = 40, 60
PREPARED = "prepared"
GATES = Gates(latency_ratio=None, size_ratio=None, cost_ratio=None)  # only the verdicts count here
TRUTH = """
SELECT (SELECT count(*) FROM model_alias WHERE alias = 'champion') = 1
   AND (SELECT count(*) FROM space WHERE state = 'active') = 1
   AND EXISTS (SELECT FROM model_alias a JOIN space s ON s.id = a.space_id
               WHERE a.alias = 'champion' AND s.state = 'active' AND s.version_id = a.version_id)
   AND NOT EXISTS (SELECT FROM promotion p JOIN space s ON s.id = p.space_id
                   WHERE (p.state = 'promoted') <> (s.state IN ('active', 'previous')) AND p.state <> 'overtaken'),
       (SELECT version_id FROM model_alias WHERE alias = 'champion'),
       (SELECT count(*) FROM document d JOIN space s ON s.state = 'active'
        WHERE d.state = 'loaded' AND d.chunk_set <> s.chunk_set)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is raced and killed."""

    challengers: int
    promoters: int
    at_once: int
    kills: int


FULL, QUICK = Size(12, 100, 25, 50), Size(4, 20, 10, 8)


def run(options: Options) -> Result:
    """100 promoters and 50 kills; `--quick` has 20 and 8."""
    size = QUICK if options.quick else FULL
    with Lab(guard=DeleteGuard(max_share=1.0)) as lab:
        _prepare(lab, size, options.seed)
        lab.keep(PREPARED)
        figures = _race(lab, size, options.seed)
        lab.reset(PREPARED)
        figures |= _vectors(lab)
        figures |= _killed(lab, size)
    return Result(
        "registry",
        {**figures, "seed": options.seed},
        floors=(
            Limit("promoters", at_least=FULL.promoters),
            Limit("promoted", at_least=1),
            Limit("promoted_on_an_old_verdict", at_most=0),
            Limit("snapshots", at_least=size.at_once),
            Limit("snapshots_wrong", at_most=0),
            Limit("refused_that_served", at_most=0),
            Limit("promoters_crashed", at_most=0),
            Limit("kills", at_least=FULL.kills),
            Limit("kills_before_the_end", at_least=size.kills // 2),
            Limit("promoted_before_the_kill", at_least=1),
            Limit("mixed_after_kill", at_most=0),
            Limit("champions_lost", at_most=0),
            Limit("answers_missing_after_kill", at_most=0),
            Limit("promotions_not_repeatable", at_most=0),
            Limit("rollback_seconds_max", at_most=1.0),
            Limit("vectors_without_version", at_most=0),
        ),
        left_out=("promoters", "kills") if options.quick else (),
    )


def _name(number: int) -> str:
    return f"challenger{number}"


def _good(number: int) -> bool:
    return number % 2 == 0


def _prepare(lab: Lab, size: Size, seed: int) -> None:
    """The champion's space, a verified one of each challenger, and the gate's verdicts."""
    entries = {"first": Model(tier="hash", seed=0)}
    entries |= {_name(number): Model(tier="hash", seed=number + 1) for number in range(size.challengers)}
    update = {"models": entries, "collections": {COLLECTION: Collection(model="first")}, "chunking": LONG, "gates": GATES}
    lab.settings = lab.settings.model_copy(update=update)
    for table in ("model_alias", "model_alias_history", "space_history", "space", "model_version"):
        lab.query(f"DELETE FROM {table}")
    lab.query("DROP TABLE space_1")
    rng = random.Random(seed)
    lines = [
        " ".join(f"Harbour{number:02d} sentence {place} tells of w{rng.randrange(500)}." for place in range(SENTENCES))
        for number in range(DOCUMENTS)
    ]
    source = Memory({f"harbour{number:02d}.txt": text.encode() for number, text in enumerate(lines)})
    lab.sync(source)
    with lab.context(source) as ctx:
        for number in range(size.challengers):
            # The first one's passages are others, so that documents trade places too when it is promoted.
            ctx.settings = ctx.settings.model_copy(update={"chunking": LONG if number else SHORT})
            done = reembed.run(ctx, ReembedRequest(COLLECTION, model=_name(number)))
            said = "promote" if _good(number) else "refuse"
            decision = {"verdict": said, "reason": "said the bench", "margin": 0.02, "alpha": 0.05, "slices": []}
            lab.query(
                "INSERT INTO evaluation (collection, space_id, door, corpus_sha, documents, verdict, gates) "
                "SELECT collection, id, 'cli', '', 1, 'good', %s FROM space WHERE collection = %s AND state = 'active'",
                json.dumps({f"space {done.space}": decision}),
                COLLECTION,
            )
            promotion.propose(ctx, COLLECTION, by="bench")


def _versions(lab: Lab) -> dict[str, str]:
    """The version's name of each entry of models.yaml."""
    with lab.context({}) as ctx:
        revisions = {ctx.models.embedder(name).revision: name for name in lab.settings.models}
        return {revisions[version.revision]: version.name for version in models.listed(ctx)}


def _race(lab: Lab, size: Size, seed: int) -> dict[str, Any]:
    tally, versions = Tally(lab.folder / "race"), _versions(lab)
    start = lab.folder / "start"

    def promote(number: int) -> None:
        challenger = random.Random(seed * 1000 + number).randrange(size.challengers)
        with lab.context({}) as ctx:
            ctx.pool  # noqa: B018  open before the start
            _until(start.exists)
            try:
                promotion.promote_version(ctx, COLLECTION, versions[_name(challenger)], f"promoter {number}")
                tally.add({"promoted": 1, "refused_that_served": not _good(challenger)})
            except FixConfiguration:
                tally.add({"too_late": 1})
            except MillraceError as error:
                tally.add({"refused": 1}, example=str(error)[:200])

    seen: Counter[str] = Counter()
    for round_ in range(size.promoters // size.at_once):
        start.unlink(missing_ok=True)
        pids = [fork(lambda n=n: promote(n), tally) for n in range(round_ * size.at_once, (round_ + 1) * size.at_once)]  # type: ignore[misc]
        time.sleep(1.0)
        start.touch()
        while pids:
            seen["snapshots"] += 1
            seen["wrong"] += not lab.query(TRUTH)[0][0]
            ended = {pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0]}
            pids = [pid for pid in pids if pid not in ended]
    crashed = sum("Traceback" in line for line in tally.lines("example"))
    totals = tally.totals()
    right, _, other = lab.query(TRUTH)[0]
    return {
        "promoters": size.promoters,
        "promoted": totals["promoted"],
        "promoted_on_an_old_verdict": max(0, totals["promoted"] - 1),
        "refused_by_the_gate_or_the_lock": totals["refused"],
        "too_late": totals["too_late"],
        "promoters_crashed": crashed,
        "refused_that_served": totals["refused_that_served"],
        "snapshots": seen["snapshots"] + 1,
        "snapshots_wrong": seen["wrong"] + (not right) + (other != 0),
    }


def _until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.002)


def _vectors(lab: Lab) -> dict[str, Any]:
    """How many vectors there are, and how many no version can be named for."""
    total = unknown = 0
    for number, version, model in lab.query(
        "SELECT s.id, v.id, v.revision = s.revision FROM space s LEFT JOIN model_version v ON v.id = s.version_id"
    ):
        count = int(lab.query(f"SELECT count(*) FROM space_{int(number)}")[0][0])
        total += count
        unknown += 0 if version and model else count
    return {"vectors": total, "vectors_without_version": unknown}


def _killed(lab: Lab, size: Size) -> dict[str, Any]:
    version = _versions(lab)[_name(0)]
    note = lab.folder / "killed-at"

    def promote(nth: int) -> Callable[[], None]:
        def work() -> None:
            with lab.context({}) as ctx:
                ctx.pool  # noqa: B018  what opens it is no part of the promotion
                countdown = Countdown(nth, note)
                _at_messages(countdown)
                promotion.promote_version(ctx, COLLECTION, version, "bench")
                note.write_text(str(countdown.ticks))

        return work

    if in_child(promote(0)):
        raise RuntimeError("a promotion that nobody killed failed; nothing can be measured")
    points = int(note.read_text())
    seen: Counter[str] = Counter()
    rollbacks: list[float] = []
    for number in range(size.kills):
        lab.reset(PREPARED)
        before = lab.query(TRUTH)[0][1]
        seen["before_the_end"] += in_child(promote(1 + number * (points - 1) // (size.kills - 1))) == -signal.SIGKILL
        seen.update(_after(lab, before))
        seen["not_repeatable"] += not _promoted(lab, version)
        began = time.monotonic()
        with lab.context({}) as ctx:
            models.rollback(ctx, COLLECTION)
        rollbacks.append(time.monotonic() - began)
        seen["lost"] += lab.query(TRUTH)[0][1] != before
    return {
        "kills": size.kills,
        "points_of_a_promotion": points,
        "kills_before_the_end": seen["before_the_end"],
        "promoted_before_the_kill": seen["promoted"],
        "mixed_after_kill": seen["mixed"],
        "champions_lost": seen["lost"],
        "answers_missing_after_kill": seen["unanswered"],
        "promotions_not_repeatable": seen["not_repeatable"],
        "rollback_seconds_max": round(max(rollbacks), 3),
    }


def _after(lab: Lab, before: int) -> Counter[str]:
    """What is wrong once the server has let go of the killed promotion."""
    pending = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    _until(lambda: lab.query(pending)[0][0] == 0)
    right, champion, other = lab.query(TRUTH)[0]
    with lab.context({}) as ctx:
        hits = search.run(ctx, Query("harbour07 tells of w1", COLLECTION, k=5))
    return Counter(
        lost=champion is None,
        mixed=not right or other != 0,
        promoted=champion != before,
        unanswered=not any(hit.uri.endswith("harbour07.txt") for hit in hits),
    )


def _promoted(lab: Lab, version: str) -> bool:
    with lab.context({}) as ctx:
        try:
            promotion.promote_version(ctx, COLLECTION, version, "bench")
        except FixConfiguration:  # it serves already
            pass
        except MillraceError:
            return False
        return f"champion of {COLLECTION}" in models.show(ctx, version).version.aliases


def _at_messages(countdown: Countdown) -> None:
    """Tick before each message of this process to the server, a commit among them, and after its answer."""
    wait = Patient.wait

    def ticking(self: Any, *arguments: Any, **options: Any) -> Any:
        countdown.tick("before a message")
        answer = wait(self, *arguments, **options)
        countdown.tick("after an answer")
        return answer

    Patient.wait = ticking  # type: ignore[method-assign]
