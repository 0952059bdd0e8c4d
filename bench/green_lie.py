"""Rows deleted or corrupted behind the ledger: detected, named and repaired by the next run?

Each kind of damage (`bench/faults/lies.py`) is planted alone on a copy of one healthy corpus; then the audit is asked and
the source, which did not change, is synced until the truth is restored. The peers run their own incremental mode on
the same objects in an environment of their own (`make bench-peers`).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.faults.lab import SOURCE, Lab
from bench.faults.lies import ATTACHED, ATTACHMENT, CORPUS, LIES, LOADED, QUARANTINED, Lie, plant
from bench.harness import Limit, Options, Result
from pipelines.errors import MillraceError
from pipelines.records import document_id
from pipelines.sources.memory import Memory

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-peers/bin/python"
PEERS = {"langchain": "langchain_index.py", "llamaindex": "llama_ingestion.py"}
RUNS = 5  # that each system gets to restore the truth
SEEDS = 5  # times that each kind is planted, each time on other documents
QUICK = 16  # kinds that --quick plants
ATTACHMENT_NAME = "form.txt"
MAIL = """From: a@example.org
Subject: Request {number}
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: text/plain

Request {number} is below, please sign it before Friday.
--x
Content-Type: text/plain; name="form.txt"
Content-Disposition: attachment; filename="form.txt"

Form {number} grants five days of holiday in August.
--x--
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one lie."""

    lie: Lie
    detected: bool
    named: bool
    runs: int | None  # until audit and fingerprint agree with the healthy corpus; None: not within RUNS


def run(options: Options) -> Result:
    """Every kind of lie several times; `--quick` draws some kinds, plants each once and leaves the peers out."""
    rng = random.Random(options.seed)
    lies = rng.sample(LIES, QUICK) if options.quick else [lie for lie in LIES for _ in range(SEEDS)]
    with Lab() as lab:
        told = _told(lab, rng, lies)
        peers = {} if options.quick or not PYTHON.exists() else _peers(lab)
    nameable = [entry for entry in told if entry.lie.names_document]
    figures: dict[str, Any] = {
        "seed": options.seed,
        "kinds": len({entry.lie.name for entry in told}),
        "lies": len(told),
        "detected": sum(entry.detected for entry in told),
        "undetected": sum(not entry.detected for entry in told),
        "not_named": sum(not entry.named for entry in nameable),
        "nameable": len(nameable),
        "repaired_in_next_run": sum(entry.runs == 1 for entry in told),
        "worst_runs_until_truth": max(entry.runs or RUNS + 1 for entry in told),
        "skipped": 0,
    }
    wrong = [f"{entry.lie.name}: {entry}" for entry in told if entry.runs != 1 or not entry.detected]
    absent = [f"{peer}_repaired" for peer in PEERS if peer not in peers]
    for peer, found in peers.items():
        figures |= _peer_figures(peer, found)
    return Result(
        "green_lie",
        figures,
        floors=(
            Limit("undetected", at_most=0),
            Limit("not_named", at_most=0),
            Limit("worst_runs_until_truth", at_most=1),
            Limit("kinds", at_least=12),
        ),
        left_out=absent,
        notes=(
            *wrong,
            *(["peers not measured: `make bench-peers` builds their environment"] if not PYTHON.exists() else []),
            f"a run that restores nothing within {RUNS} runs counts as {RUNS + 1}; the peers' damages are those that their "
            "tables can hold",
        ),
        rows=_rows(told, peers),
    )


def corpus(loaded: int, mails: int, broken: int) -> dict[str, bytes]:
    """Texts of two chunks, mails with an attachment, and objects that end in quarantine; no text is in two documents."""
    objects = {f"{number:04}.md": _text(number).encode() for number in range(loaded)}
    objects |= {f"{number:04}.eml": MAIL.format(number=number).encode() for number in range(mails)}
    return objects | {f"{number:04}.json": b"{" * (number + 1) for number in range(broken)}


def _text(number: int) -> str:
    parts = (f"Rule {number}.{part} says that nobody does thing {7 * number + part} before noon." for part in range(3))
    return "\n\n".join(f"# Rule {number}, part {place}\n\n{text}" for place, text in enumerate(parts))


def _told(lab: Lab, rng: random.Random, lies: list[Lie]) -> list[Told]:
    objects = corpus(loaded=24, mails=3, broken=2)
    lab.sync(Memory(objects))
    if lab.findings():
        raise RuntimeError("the healthy corpus has findings: there is nothing to measure")
    truth = lab.fingerprint()
    lab.keep("healthy")
    told, last = [], time.monotonic()
    for lie in lies:
        told.append(_tell(lab, lie, objects, truth, rng))
        if time.monotonic() - last > 3:
            print(f"green_lie: {len(told)} of {len(lies)} lies", file=sys.stderr)
            last = time.monotonic()
    return told


def _tell(lab: Lab, lie: Lie, objects: dict[str, bytes], truth: str, rng: random.Random) -> Told:
    lab.reset("healthy")
    doc_id, other, uri = _victims(lie, objects, rng)
    plant(lab, lie, doc_id, other)
    found = lab.findings()
    named = any(finding.doc_id == doc_id.hex() or finding.uri == uri for finding in found)
    if lie.victim == CORPUS:  # then every document that is served
        named = {finding.uri for finding in found} >= {Memory().uri(name) for name in objects if not name.endswith(".json")}
    for turn in range(1, RUNS + 1):
        try:
            state: str = lab.sync(Memory(objects)).state
        except MillraceError as error:
            state = f"{type(error).__name__}: {error}"
        if state == "succeeded" and not lab.findings() and lab.fingerprint() == truth:
            return Told(lie, lie.check in {finding.check for finding in found}, named, turn)
        print(f"green_lie: {lie.name}: run {turn} ended {state}; {lab.findings()[:3]}", file=sys.stderr)
    return Told(lie, lie.check in {finding.check for finding in found}, named, None)


def _victims(lie: Lie, objects: dict[str, bytes], rng: random.Random) -> tuple[bytes, bytes, str]:
    kind = {LOADED: ".md", CORPUS: ".md", ATTACHED: ".eml", ATTACHMENT: ".eml", QUARANTINED: ".json"}[lie.victim]
    name = rng.choice([name for name in objects if name.endswith(kind)])
    other = rng.choice([entry for entry in objects if entry.endswith(".md") and entry != name])
    member = ATTACHMENT_NAME if lie.victim == ATTACHMENT else ""
    uri = Memory().uri
    return document_id(SOURCE, uri(name), member), document_id(SOURCE, uri(other)), uri(name)


def _peers(lab: Lab) -> dict[str, dict[str, Any]]:
    """{peer: {lie: {changed, runs, told}}}, each measured by its own script in its own environment."""
    objects = {name: data.decode() for name, data in corpus(loaded=24, mails=0, broken=0).items()}
    found = {}
    for peer, script in PEERS.items():
        print(f"green_lie: {peer}", file=sys.stderr)
        lab.postgres.ensure_database(f"peer_{peer}")
        dsn = lab.postgres.dsn(f"peer_{peer}")
        with psycopg.connect(dsn) as conn:
            conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        command = [str(PYTHON), str(ROOT / "bench/peers" / script), dsn]
        done = subprocess.run(command, input=json.dumps({"objects": objects}), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-1000:]}")
        found[peer] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peer_figures(peer: str, found: dict[str, Any]) -> dict[str, Any]:
    counts = Counter({"lies": 0, "told": 0, "repaired": 0})
    for entry in found.values():
        if not entry["changed"]:
            raise RuntimeError(f"{peer}: a damage changed nothing: there is nothing to measure")
        counts.update(lies=1, told=entry["told"], repaired=entry["runs"] is not None)
    return {f"{peer}_{name}": value for name, value in counts.items()}


def _rows(told: list[Told], peers: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("lie", "system", "planted", "detected", "worst runs until truth")]
    for lie in LIES:
        mine = [entry for entry in told if entry.lie is lie]
        if not mine:
            continue
        worst = max(entry.runs or RUNS + 1 for entry in mine)
        rows.append((lie.name, "millrace", str(len(mine)), str(sum(entry.detected for entry in mine)), _runs(worst)))
    for peer, found in peers.items():
        rows += [(name, peer, "1", str(int(entry["told"])), _runs(entry["runs"])) for name, entry in found.items()]
    return rows


def _runs(turns: int | None) -> str:
    return f"not in {RUNS}" if turns is None or turns > RUNS else str(turns)
