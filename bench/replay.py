"""A base snapshot and a stream of edits, synced: does work follow change, and is every answer of a current version?

`python -m bench replay [DIR]`: DIR holds `base.tar.xz` and `changes.jsonl.xz` (`bench/flow/feed.py`); without it a small
feed is made. A seeded schedule decides how many commits each sync finds, and deletes and restores documents. Readers search
and read whole documents all the while. Peers get the same syncs. Every engine has a deterministic embedder: the seconds are
those of everything but the model, whose cost is the number of embeddings. Bytes read include what settle samples.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args
from urllib.parse import unquote

import psycopg

from bench.faults.lab import COLLECTION, Lab
from bench.faults.tally import Tally
from bench.flow import feed, rivals
from bench.flow.counted import Cost, counted_sync
from bench.flow.feed import State
from bench.flow.judge import Judge, Turn
from bench.flow.rivals import Replayed
from bench.harness import Limit, Options, Result
from pipelines.config import Chunking, DeleteGuard
from pipelines.embed.hashing import Hashing
from pipelines.search.hybrid import Query, search
from pipelines.search.query import Mode
from pipelines.sources.memory import Memory
from pipelines.store.database import open_pool, session_conninfo

READERS = 2
QUICK_SYNCS = 3
QUICK_DOCUMENTS = 60  # of a given feed
SEARCHES = 0.5  # share of searches among the reads; the others read a whole document
STOP = -1
PASSAGES = """
SELECT right(t.body, c.char_end - c.char_start)
FROM document d JOIN chunk c USING (tenant, chunk_set, doc_id) JOIN text t USING (tenant, text_sha)
JOIN space_1 v USING (tenant, text_sha) WHERE d.uri = %s ORDER BY c.ordinal
"""


def run(options: Options) -> Result:
    """Replay; `--quick`: the first syncs of a smaller base, and no peers."""
    taken = feed.read(options.corpus) if options.corpus else feed.made(options.seed)
    if options.quick:
        taken = _smaller(taken, options.seed)
    states = feed.states(taken, options.seed, QUICK_SYNCS if options.quick else None)
    lab = Lab(guard=DeleteGuard(max_share=1.0))
    lab.settings = lab.settings.model_copy(update={"chunking": Chunking(target_tokens=150)})
    with lab:
        costs, tally = _replayed(lab, states)
        totals, wrongs = tally.totals(), tally.lines("example")[:5]
        served, findings = lab.fingerprint(), len(lab.findings())
        lab.reset()
        lab.sync(_source(states[-1]))
        fresh = lab.fingerprint()
        peers = {} if options.quick else {name: _peer(lab, name, states) for name in rivals.available()}
    figures = _own_figures(options, states, costs, totals)
    figures |= {"fingerprints_differ": int(served != fresh), "findings": findings}
    return _result(options, figures, wrongs, peers)


def _smaller(taken: feed.Feed, seed: int) -> feed.Feed:
    """The documents that the first commits touch, and some others."""
    commits = taken.commits[: QUICK_SYNCS * feed.COMMITS[1]]
    touched = {name for commit in commits for name in commit}
    others = sorted(taken.base.keys() - touched)
    kept = touched | set(random.Random(seed).sample(others, min(QUICK_DOCUMENTS, len(others))))
    return feed.Feed({name: text for name, text in taken.base.items() if name in kept}, commits)


def _source(state: State) -> Memory:
    return Memory({name: text.encode() for name, text in state.items()})


def _peer(lab: Lab, name: str, states: Sequence[State]) -> Replayed:
    print(f"replay: {name}", file=sys.stderr)
    return rivals.replay(lab, name, states)


def _replayed(lab: Lab, states: Sequence[State]) -> tuple[list[Cost], Tally]:
    """The cost of each sync, the base first, and what the readers saw meanwhile."""
    turn, judge, tally = Turn(), Judge(states), Tally(lab.folder / "tally")
    source = _source(states[0])
    costs = [counted_sync(lab, source)]
    readers = [_fork(lab, judge, turn, tally, number) for number in range(READERS)]
    try:
        for number, state in enumerate(states[1:], start=1):
            turn.set(2 * number - 1)
            source.objects = {name: text.encode() for name, text in state.items()}
            costs.append(counted_sync(lab, source))
            turn.set(2 * number)
            print(f"replay: sync {number} of {judge.last}: {costs[-1].seconds:.1f} s", file=sys.stderr)
    finally:
        turn.set(STOP)
        crashed = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in readers)
    tally.add({"crashed": crashed})
    return costs, tally


def _fork(lab: Lab, judge: Judge, turn: Turn, tally: Tally, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _read_forever(lab, judge, turn, tally, random.Random(number))
        status = 0
    except BaseException:
        tally.add({}, example=traceback.format_exc()[-1500:])
    finally:
        os._exit(status)


def _read_forever(lab: Lab, judge: Judge, turn: Turn, tally: Tally, rng: random.Random) -> None:
    """Ask until told to stop: words of a document in a random mode, or a whole document."""
    names, seen = sorted(judge.names), Counter[str]()
    embedder, uri = Hashing(), Memory().uri
    with open_pool(lab.dsn, 1) as pool, psycopg.connect(session_conninfo(lab.dsn), autocommit=True) as plain:
        while (before := turn.get()) != STOP:
            name = rng.choice(names)
            answers: dict[str, list[str]] = {}
            if rng.random() < SEARCHES:
                mode: Mode = rng.choice(get_args(Mode))
                words = judge.words(name, rng)
                vector = None if mode == "text" else embedder.embed([words], query=True)[0]
                for hit in search(pool, Query(words, COLLECTION, mode=mode), vector):
                    answers.setdefault(hit.uri, []).append(hit.passage)
                seen["searches"] += 1
            else:
                answers[uri(name)] = [text for (text,) in plain.execute(PASSAGES, (uri(name),))]
                seen["documents_read"] += 1
            if (after := turn.get()) == STOP:
                after = 2 * judge.last
            for address, passages in answers.items():
                entry = unquote(address.removeprefix(uri("")))
                wrong = judge.wrong(entry, passages, before, after)
                seen[wrong or "right"] += 1
                if wrong:
                    tally.add({}, example=f"{wrong}: {entry}, turns {before} to {after}")
    tally.add(seen)


def _own_figures(options: Options, states: Sequence[State], costs: list[Cost], totals: Counter[str]) -> dict[str, Any]:
    edits = costs[1:]
    changed, embedded = sum(cost.changed_chunks for cost in edits), sum(cost.embedded for cost in edits)
    written = [feed.delta(before, after) for before, after in zip(states, states[1:], strict=False)]
    return {
        "seed": options.seed,
        "documents": len(states[0]),
        "syncs": len(edits),
        "changed_chunks": changed,
        "embeds_per_changed_chunk": round(embedded / max(changed, 1), 4),
        "embeddings_off": sum(cost.off for cost in costs),
        "bytes_read": sum(cost.bytes_read for cost in edits),
        "bytes_changed": sum(len(text.encode()) for step in written for text in step.values() if text is not None),
        "base_seconds": round(costs[0].seconds, 1),
        "seconds": round(sum(cost.seconds for cost in edits), 1),
        "searches": totals["searches"],
        "documents_read": totals["documents_read"],
        "wrong_version_reads": totals["gap"] + totals["gone"] + totals["stale"],
        "crashed_readers": totals["crashed"],
    }


def _result(options: Options, figures: dict[str, Any], wrongs: Sequence[str], peers: dict[str, Replayed]) -> Result:
    for name, found in peers.items():
        figures |= found.figures(name)
    absent = [] if options.quick or peers else ["peers not measured: `make bench-peers` builds their environment"]
    return Result(
        "replay",
        figures,
        floors=(
            Limit("wrong_version_reads", at_most=0),
            Limit("searches", at_least=1),
            Limit("documents_read", at_least=1),
            Limit("fingerprints_differ", at_most=0),
            Limit("findings", at_most=0),
            Limit("embeddings_off", at_most=0),
            Limit("changed_chunks", at_least=1),
            Limit("crashed_readers", at_most=0),
        ),
        notes=(*absent, *wrongs),
    )
