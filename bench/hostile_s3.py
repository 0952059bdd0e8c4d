"""A sync against an object store that misbehaves: nothing lost, nothing wrong, nothing unaccounted for.

For each kind of fault: a corpus loaded from 200 objects, some changes in the bucket, one sync under the fault, one after it.
Under the fault each object ends with an outcome, or the run is red with the right class of error; no living object is
deleted, no wrong byte is served, no attempt is charged. Afterwards the corpus is what a fault-free run makes of the bucket.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.faults.lab import COLLECTION, SOURCE, Lab
from bench.faults.s3_bucket import LabBucket, letter, names
from bench.faults.s3_kinds import KINDS, Kind
from bench.faults.s3_oracle import Ledger, Verdict, after, during
from bench.faults.s3_proxy import S3Proxy
from bench.harness import Limit, Options, Result
from pipelines.config import Connection, S3Source
from pipelines.embedded.bucket import ACCESS_KEY, REGION, SECRET_KEY, Bucket
from pipelines.errors import MillraceError
from pipelines.stages import sync

OBJECTS, QUICK_OBJECTS, QUICK_KINDS = 200, 40, 8
PAGE_KEYS = 40  # of 200 objects
LOADED = "lab_loaded"
STORE, PREFIX = "hostile", "docs/"
ROOT = f"s3://{STORE}/"
# Set where anybody can set them, in the connection; with the defaults (10 s, 30 s, 5 attempts) the bench only waits longer.
FAST = {"connect_timeout": 2, "read_timeout": 1, "retries": {"mode": "standard", "total_max_attempts": 3}}
PAUSES = (0.1, 0.2, 0.4)  # instead of the seconds between a stage's tries, in both modes
FLOORS = (
    Limit("unaccounted", at_most=0),
    Limit("wrong_deletions", at_most=0),
    Limit("wrong_bytes", at_most=0),
    Limit("silent_kinds", at_most=0),
    Limit("kinds", at_least=24),
)


def run(options: Options) -> Result:
    """All kinds, or a seeded draw of them."""
    count = QUICK_OBJECTS if options.quick else OBJECTS
    kinds: Sequence[Kind] = KINDS
    if options.quick:
        kinds = random.Random(options.seed).sample(KINDS, QUICK_KINDS)
    verdicts: list[Verdict] = []
    with _stage(count, options.seed) as play:
        for number, kind in enumerate(kinds, start=1):
            began = time.monotonic()
            verdict = play.kind(kind)
            verdicts.append(verdict)
            state = f"{verdict.end}, {verdict.fired} faults, {verdict.unaccounted} unaccounted"
            print(
                f"{number}/{len(kinds)} {kind.name}: {state}, {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True
            )
    return _result(options, count, verdicts)


class Play:
    """The corpus, the bucket and the proxy between them."""

    def __init__(self, lab: Lab, bucket: LabBucket, proxy: S3Proxy, seed: int) -> None:
        self.lab = lab
        self.bucket = bucket
        self.proxy = proxy
        self.seed = seed
        self._expected: dict[frozenset[tuple[str, bytes]], str] = {}

    def kind(self, kind: Kind) -> Verdict:
        """One kind: changes, a sync under the fault, a sync without."""
        self.bucket.restore()
        self.change(kind)
        self.lab.reset(LOADED)
        self.proxy.arm(kind.play(self.bucket), self.seed)
        before = frozenset(self.bucket.now.items())
        end, accounting = self._sync(kind.rescan)
        self.proxy.disarm()
        verdict = Verdict(kind.name, end, self.proxy.fired)
        for mistake in self.proxy.mistakes:
            verdict.run(f"the fault itself failed: {mistake}")
        self.proxy.mistakes.clear()
        during(verdict, kind, before, Ledger(self.lab, ROOT), self.bucket, accounting)
        end, _ = self._sync(False)
        after(verdict, end, Ledger(self.lab, ROOT), self.bucket, self.lab.fingerprint() == self.expected())
        return verdict

    def load(self) -> None:
        """The fault-free corpus of the bucket's first state, kept as a template."""
        self.lab.sync({})
        self.lab.keep(LOADED)

    def change(self, kind: Kind) -> None:
        """What happens at the source meanwhile: the same for every kind, besides the keys that one adds."""
        rng = random.Random(self.seed)
        keys = sorted(self.bucket.now)
        for key in keys[::7]:
            self.bucket.put(key, letter(rng, key))
        for number in range(len(keys) // 25):
            self.bucket.put(f"{PREFIX}new {number}.txt", letter(rng, str(number)))
        for key in keys[3 :: len(keys) // 2]:
            self.bucket.remove(key)
        for key in kind.more:
            self.bucket.put(PREFIX + key, letter(rng, key))

    def expected(self) -> str:
        """The fingerprint that a fault-free run from the loaded corpus gives for what the bucket holds now."""
        state = frozenset(self.bucket.now.items())
        if state not in self._expected:
            self.lab.reset(LOADED)
            self.lab.sync({})
            self._expected[state] = self.lab.fingerprint()
        return self._expected[state]

    def _sync(self, rescan: bool) -> tuple[str, dict[str, int] | None]:
        """`succeeded` or the class of the error, and the counts of a run that ended green."""
        try:
            accounting = self.lab.sync({}, full_rescan=rescan)
        except MillraceError as error:
            return type(error).__name__, None
        except Exception as error:
            return f"crashed: {error!r}", None
        return accounting.state, {**accounting.counts, "listed": accounting.listed}


@contextmanager
def _stage(count: int, seed: int) -> Iterator[Play]:
    with tempfile.TemporaryDirectory(prefix="millrace-hostile-") as home:
        store = Bucket(Path(home), port=0)
        store.start()
        pauses, sync.PAUSES = sync.PAUSES, PAUSES
        try:
            bucket = LabBucket(store.endpoint, STORE, PREFIX)
            rng = random.Random(seed)
            bucket.fill({key: letter(rng, key) for key in names(count)})
            pages = PAGE_KEYS * count // OBJECTS
            with S3Proxy(store.endpoint, pages) as proxy, _lab(proxy.endpoint) as lab:
                play = Play(lab, bucket, proxy, seed)
                play.load()
                yield play
        finally:
            sync.PAUSES = pauses
            store.stop()


def _lab(endpoint: str) -> Lab:
    entry = S3Source(kind="s3", connection="store", bucket=STORE, prefix=PREFIX, collection=COLLECTION)
    extra = {"endpoint_url": endpoint, "region_name": REGION, "config_kwargs": FAST}
    connection = Connection(conn_id="store", conn_type="aws", login=ACCESS_KEY, password=SECRET_KEY, extra=extra)
    return Lab(entries={SOURCE: entry}, connections={"store": connection})


def _result(options: Options, count: int, verdicts: list[Verdict]) -> Result:
    wrong = [verdict for verdict in verdicts if verdict.problems]
    silent = [verdict.kind for verdict in verdicts if not verdict.fired and verdict.kind != "odd keys"]
    figures = {
        "unaccounted": sum(verdict.unaccounted for verdict in verdicts),
        "objects_checked": sum(verdict.objects for verdict in verdicts),
        "kinds": len(verdicts),
        "objects_loaded_before": count,
        "wrong_deletions": sum(verdict.wrong_deletions for verdict in verdicts),
        "wrong_bytes": sum(verdict.wrong_bytes for verdict in verdicts),
        "attempts_charged": sum(verdict.charged for verdict in verdicts),
        "faults_fired": sum(verdict.fired for verdict in verdicts),
        "silent_kinds": len(silent),
        "green_under_fault": sum(verdict.end == "succeeded" for verdict in verdicts),
        "skipped": 0,
        "seed": options.seed,
    }
    rows: list[tuple[str, ...]] = [("kind", "end under the fault", "faults", "quarantined", "unaccounted")]
    rows += [(v.kind, v.end, str(v.fired), str(v.quarantined), str(v.unaccounted)) for v in verdicts]
    notes = [f"{verdict.kind}: {problem}" for verdict in wrong for problem in verdict.problems]
    notes += [f"{name}: the fault never fired" for name in silent]
    left_out = ("kinds",) if options.quick else ()
    return Result("hostile_s3", figures, FLOORS, left_out=left_out, notes=notes, rows=rows)
