"""One trial: a sync is killed, one sync recovers, one more must find nothing to do; what is wrong afterwards.

Victim and recovery are children forked from here, where everything is imported. Each has its own folder for temporary files,
so that what a killed run leaves behind can be told; one tally counts the reads and embedded texts of both. Victims of the
kind `boundary` use parse children and the validation worker; the others parse and evaluate the suites in process.
"""

from __future__ import annotations

import importlib
import json
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.faults import aftermath, kills
from bench.faults.aftermath import Snapshot
from bench.faults.archive import CHANGED, FIRST, SHRUNKEN, WITHOUT, Archive, Objects
from bench.faults.lab import COLLECTION, ROOT, SOURCE, TEMPLATE, Lab, LabContext, in_child
from bench.faults.pg_proxy import Fault, PgProxy
from bench.faults.suites import Quick
from bench.faults.tally import Tally
from pipelines.embed.hashing import Hashing
from pipelines.errors import Held
from pipelines.records import Content, SyncRequest
from pipelines.stages import sync
from pipelines.store import audit, ledger
from pipelines.text import parse
from pipelines.text.sandbox import Parsed

BATCH = 4
LIMITS = {"shard_documents": 4, "publish_batch_documents": 2, "embed_batch_texts": BATCH}
SCENES: dict[str, tuple[str, Objects]] = {  # name -> the kept corpus that it starts from and the state to sync
    "load": (TEMPLATE, FIRST),
    "change": ("loaded", CHANGED),
    "held": ("loaded", SHRUNKEN),
}
FORMATS = ("text", "json", "eml")
CHILD_SECONDS = 5.0  # that the parse children of a killed run may need to notice it
Act = Callable[[LabContext], None]


@dataclass(frozen=True, slots=True)
class Reference:
    """A fault-free run of a scene: the corpus before and after, the texts it embedded, how many points it passed."""

    before: Snapshot
    after: Snapshot
    fingerprint: str
    state: str
    embedded: int
    points: dict[str, int]


@dataclass(slots=True)
class Trial:
    """What came of one kill; `counts` are all to be 0 but resume cost and leftovers."""

    scene: str
    kind: str
    nth: int
    killed: bool
    point: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: str = ""


class Counting(Hashing):
    """The deterministic embedder, which tells the tally before it answers."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """As Hashing."""
        matrix = super().embed(texts)
        self._tally.add({"embedded": len(texts)})
        return matrix


class InProcess:
    """In the place of a ParsePool: parses here, without the start of a sandboxed child."""

    def parse(self, items: Iterable[tuple[Content, str]], tried: Collection[str] = ()) -> Iterator[Parsed]:
        """As ParsePool."""
        for content, fmt in items:
            yield content, parse.parse(content, fmt)

    def close(self) -> None:
        """Nothing to end."""


class Trials:
    """Trials on one lab; its references come from fault-free runs."""

    def __init__(self, lab: Lab, proxy: PgProxy) -> None:
        self.lab, self.proxy = lab, proxy
        self._quick = Quick(ROOT / "include/expectations", lab.validator)
        self._note = lab.folder / "note"
        self._tally = Tally(lab.folder / "tally")
        for fmt in FORMATS:
            importlib.import_module(f"pipelines.text.parse_{fmt}")
        lab.sync(Archive(FIRST))
        lab.sync(Archive(WITHOUT))
        lab.keep("loaded")
        self.references = {scene: self._reference(scene) for scene in SCENES}

    def run(self, scene: str, kind: str, nth: int) -> Trial:
        """Kill at the `nth` point of this kind; a trial without a kill passed fewer points."""
        began = time.monotonic()
        trial = Trial(scene, kind, nth, False)
        self._reset(scene)
        status = self._victim(scene, kind, nth)
        trial.killed = status == -signal.SIGKILL
        trial.point = self._note.read_text()
        if status not in (0, -signal.SIGKILL):
            trial.trouble = f"the victim raised: {trial.point[-500:]}"
        after_kill = aftermath.take(self.lab)
        litter = _litter(self.lab)
        recovered = self._recover(scene)
        self._judge(trial, after_kill, recovered, litter)
        trial.seconds = round(time.monotonic() - began, 2)
        return trial

    def _reference(self, scene: str) -> Reference:
        """The fault-free run, which also counts what there is to kill at."""
        self._reset(scene)
        before = aftermath.take(self.lab)
        if self._victim(scene, "statement before", 0):
            raise RuntimeError(f"the fault-free run of {scene} failed: {self._note.read_text()}")
        boundaries, renames = json.loads(self._note.read_text())
        points = {"boundary": boundaries, "rename": renames, "statement": self.proxy.matches}
        after = aftermath.take(self.lab)
        [(state,)] = self.lab.query("SELECT state FROM run ORDER BY id DESC LIMIT 1")
        return Reference(before, after, self.lab.fingerprint(), state, self._tally.totals()["embedded"], points)

    def _reset(self, scene: str) -> None:
        self.lab.reset(SCENES[scene][0])
        self._note.write_text("")
        self._tally.path.write_bytes(b"")
        for name in ("killed", "recovery"):
            shutil.rmtree(self.lab.folder / name, ignore_errors=True)
            (self.lab.folder / name).mkdir()

    def _victim(self, scene: str, kind: str, nth: int) -> int:
        name, _, side = kind.partition(" ")
        through = ""
        if name in ("statement", "commit"):
            self.proxy.arm(Fault(nth or 10**9, name, side, "kill"))  # type: ignore[arg-type]
            through = self.proxy.dsn("lab")

        def act(ctx: LabContext) -> None:
            steps = kills.Countdown(nth if name == "boundary" else 0, self._note)
            renames = kills.Countdown(nth if name == "rename" else 0, self._note)
            kills.at_boundaries(ctx, steps)
            kills.at_renames(renames)
            with suppress(Held):
                sync.run(ctx, SyncRequest(SOURCE))
            self._note.write_text(json.dumps([steps.ticks, renames.ticks]))

        status = self._child(scene, act, "killed", real=name == "boundary", dsn=through)
        self.proxy.disarm()
        return status

    def _recover(self, scene: str) -> dict[str, Any]:
        """One sync, then another; what they did, the findings and the fingerprint."""
        told = self.lab.folder / "told"
        told.write_text("{}")

        def act(ctx: LabContext) -> None:
            said: dict[str, Any] = {"runs": []}
            for _ in range(2):
                with suppress(Held):
                    sync.run(ctx, SyncRequest(SOURCE))
                last = ledger.runs(ctx.pool, SOURCE)[0]
                said["runs"].append({"state": last.state, "counts": last.counts, "tally": self._tally.totals()})
            said["findings"] = [str(finding) for finding in audit.audit(ctx.pool)]
            said["fingerprint"] = audit.fingerprint(ctx.pool, COLLECTION)
            told.write_text(json.dumps(said))

        self._note.write_text("")
        status = self._child(scene, act, "recovery", real=False)
        found: dict[str, Any] = json.loads(told.read_text())
        return found if status == 0 else {"error": self._note.read_text()[-500:]}

    def _child(self, scene: str, act: Act, folder: str, *, real: bool, dsn: str = "") -> int:
        def work() -> None:
            tempfile.tempdir = str(self.lab.folder / folder)
            try:
                with self.lab.context(Archive(SCENES[scene][1], self._tally), dsn) as ctx:
                    ctx.models.use("hash", Counting(self._tally))
                    if not real:
                        ctx.__dict__["validator"] = self._quick
                        ctx.__dict__["parsers"] = InProcess()
                    act(ctx)
            except BaseException:
                self._note.write_text(traceback.format_exc())
                raise

        return in_child(work)

    def _judge(self, trial: Trial, after_kill: Snapshot, said: dict[str, Any], litter: int) -> None:
        if "error" in said:
            trial.trouble = trial.trouble or f"the recovery raised: {said['error']}"
            trial.counts = {"not_recovered": 1}
            return
        reference, found = self.references[trial.scene], aftermath.take(self.lab)
        first, second = said["runs"]
        tries = Counter(self._tally.lines("read"))
        listed = set(Archive(SCENES[trial.scene][1]).versions().items())
        outcome = {(row[0], row[4]) for row in found.ledger if row[1] == "" and row[2] != "deleted"}
        trial.counts = {
            "not_recovered": int(first["state"] != reference.state),
            **aftermath.differences(found, reference.after),
            "mixed_after_kill": len(aftermath.mixed(after_kill, reference.before, reference.after)),
            "different_fingerprints": int(said["fingerprint"] != reference.fingerprint),
            "findings": len(said["findings"]),
            "unaccounted": len(listed - outcome),
            "not_idle": _work(first, second),
            "inflated_attempts": aftermath.inflated(found, reference.before, tries),
            "runs_left_running": found.running,
            "processes_left": len(kills.processes_in(self.lab.folder / "killed", CHILD_SECONDS)),
            "recovery_litter": len(list((self.lab.folder / "recovery").iterdir())),
            "extra_texts": first["tally"].get("embedded", 0) - reference.embedded,
            "unused_texts": found.unused_texts,
            "litter": litter,
        }
        trial.trouble = trial.trouble or "; ".join(said["findings"])[:500]


def _work(first: dict[str, Any], second: dict[str, Any]) -> int:
    """What the second sync did although nothing had changed: documents written, objects read, texts embedded."""
    counts, tally = second["counts"], Counter(second["tally"])
    tally.subtract(first["tally"])
    return int(counts["loaded"] + counts["deleted"] + tally["reads"] + tally["embedded"])


def _litter(lab: Lab) -> int:
    """Temporary files and folders that the killed run left: homes of parse children, tables being validated, half files."""
    halves = lab.home / "objects/.tmp"
    return len(list((lab.folder / "killed").iterdir())) + (len(list(halves.iterdir())) if halves.is_dir() else 0)
