"""Trials on fresh processes of the real command line, with a folder as source: killed at a moment or at a system call."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import yaml
from psycopg.conninfo import conninfo_to_dict

from bench.faults import aftermath, archive, kills
from bench.faults.aftermath import Snapshot
from bench.faults.lab import ROOT, SOURCE, Lab, in_child
from bench.faults.trials import CHILD_SECONDS, LIMITS, Trial
from bench.rig import cool
from pipelines import cli

COMMAND = [sys.executable, "-m", "pipelines.cli", "sync", SOURCE, "--json"]
LAST_RUN = "SELECT state, counts FROM run ORDER BY id DESC LIMIT 1"
FEWEST_CALLS = 500  # a sync of this archive makes more than that many


@dataclass(frozen=True, slots=True)
class Reference:
    """A fault-free cold run: the corpus before and after it and its seconds."""

    before: Snapshot
    after: Snapshot
    fingerprint: str
    seconds: float


class Cold:
    """A project folder on the lab's database. `scene` prepares; then any number of `run`; `close` ends the worker."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder, self.temporary = lab.folder / "project", lab.folder / "cold"
        self.home, self.documents = self.folder / "home", self.folder / "docs"
        shutil.copytree(ROOT / "include/config", self.folder / "include/config")
        shutil.copytree(ROOT / "include/expectations", self.folder / "include/expectations")
        self.home.mkdir()
        self.temporary.mkdir()
        for path in (self.folder, self.home):
            path.chmod(0o711)
        config = self.folder / "include/config"
        limits = yaml.safe_load((config / "limits.yaml").read_text()) | LIMITS
        entry = {"kind": "folder", "path": str(self.documents)}
        models = {"models": {"hash": {"tier": "hash"}}, "collections": {"knowledge": {"model": "hash"}}}
        for name, content in (("limits", limits), ("sources", {"sources": {SOURCE: entry}}), ("models", models)):
            (config / f"{name}.yaml").write_text(yaml.safe_dump(content))
        parts = conninfo_to_dict(lab.dsn)
        fields = {"conn_type": "postgres", "host": parts["host"], "login": parts["user"], "schema": parts["dbname"]}
        (self.home / "connections.json").write_text(json.dumps({"millrace_postgres": fields}))
        self._environment = {
            "MILLRACE_PROJECT": str(self.folder),
            "MILLRACE_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
        }

    def scene(self, name: str) -> None:
        """Prepare the loading or the change of the archive and time its fault-free run."""
        self.lab.reset()
        archive.write(self.documents, archive.FIRST)
        if name == "change":
            self._sync()
            archive.write(self.documents, archive.WITHOUT)
            self._sync()
            archive.write(self.documents, archive.CHANGED)
        self.name, self._base = name, "cold"
        self.lab.keep(self._base)
        before = aftermath.take(self.lab)
        began = time.monotonic()
        if self._start(COMMAND).wait():
            raise RuntimeError(f"the fault-free cold {name} failed")
        seconds = time.monotonic() - began
        self.reference = Reference(before, aftermath.take(self.lab), self.lab.fingerprint(), seconds)

    def run(self, rng: random.Random, traced: bool) -> Trial | None:
        """One trial, killed at a random moment, or by strace at a random call; None where strace cannot do it."""
        began = time.monotonic()
        self._clear()
        nth = rng.randint(1, FEWEST_CALLS)
        moment = rng.uniform(0, self.reference.seconds)
        command = kills.at_call(nth, COMMAND) if traced else COMMAND
        if not command:
            return None
        process = self._start(command)
        if traced:
            killed = process.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL)
        else:
            killed = kills.after_seconds(process, moment)
        kind = "cold call" if traced else "cold moment"
        trial = Trial(self.name, kind, nth if traced else 0, killed, "" if traced else f"{moment:.3f} s")
        if killed:
            self._judge(trial)
        trial.seconds = round(time.monotonic() - began, 2)
        return trial

    def close(self) -> None:
        """End the project's validation worker."""

        def work() -> None:
            self._enter()
            cool(self.home)

        in_child(work)

    def _judge(self, trial: Trial) -> None:
        after_kill, litter = aftermath.take(self.lab), self._litter()
        codes = [self._sync()]
        [(first, _)] = self.lab.query(LAST_RUN)
        codes.append(self._sync())
        [(_, counts)] = self.lab.query(LAST_RUN)
        found, findings = aftermath.take(self.lab), self.lab.findings()
        trial.counts = {
            "not_recovered": int(first != "succeeded" or any(codes)),
            **aftermath.differences(found, self.reference.after),
            "mixed_after_kill": len(aftermath.mixed(after_kill, self.reference.before, self.reference.after)),
            "different_fingerprints": int(self.lab.fingerprint() != self.reference.fingerprint),
            "findings": len(findings),
            "not_idle": int(counts["loaded"] + counts["deleted"]),
            "runs_left_running": found.running,
            "processes_left": len(kills.processes_in(self.temporary, CHILD_SECONDS)),
            "recovery_litter": self._litter() - litter,
            "unused_texts": found.unused_texts,
            "litter": litter,
        }
        trial.trouble = "; ".join(str(finding) for finding in findings)[:500]

    def _sync(self) -> int:
        """The real command in a forked child, where its imports are warm; its exit code."""

        def work() -> None:
            self._enter()
            cli.main()

        return in_child(work)

    def _enter(self) -> None:
        os.environ.update(self._environment)
        tempfile.tempdir = str(self.temporary)
        sys.argv = ["millrace", *COMMAND[3:]]
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (1, 2):
            os.dup2(nowhere, number)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self._environment}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _clear(self) -> None:
        self.lab.reset(self._base)
        shutil.rmtree(self.home / "objects", ignore_errors=True)
        for path in self._left():
            shutil.rmtree(path, ignore_errors=True)

    def _left(self) -> list[os.PathLike[str]]:
        return [path for path in self.temporary.iterdir() if path.name != f"millrace-{os.getuid()}"]

    def _litter(self) -> int:
        halves = self.home / "objects/.tmp"
        return len(self._left()) + (len(list(halves.iterdir())) if halves.is_dir() else 0)
