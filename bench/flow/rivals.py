"""The peers of the bench `replay`: their own incremental modes, turn by turn, while a reader looks on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench.faults.lab import ROOT, Lab
from bench.flow.feed import State, delta
from bench.flow.judge import Judge, Turn

PYTHON = ROOT / ".venv-peers/bin/python"
ROWS = {  # (path of the file, text) of every row
    "langchain": "SELECT langchain_metadata ->> 'source', content FROM replay",
    "llamaindex": "SELECT metadata_ ->> 'file_path', text FROM data_replay",
    "cocoindex": "SELECT filename, text FROM replay",
}


@dataclass(slots=True)
class Replayed:
    """What one system did with the feed; the lists have one entry a sync, the base first."""

    seconds: list[float] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    embedded: list[int] = field(default_factory=list)
    bytes_read: list[int] = field(default_factory=list)
    reads: Counter[str] = field(default_factory=Counter)  # "reads", and each kind of wrong one
    wrong_at_end: int = 0  # documents that are missing, left over or not of the last version

    def figures(self, name: str) -> dict[str, Any]:
        """Without the base: what keeping up with the edits cost."""
        changed, embedded = sum(self.changed[1:]), sum(self.embedded[1:])
        return {
            f"{name}_embeds_per_changed_chunk": round(embedded / max(changed, 1), 3),
            f"{name}_bytes_read": sum(self.bytes_read[1:]),
            f"{name}_base_seconds": round(self.seconds[0], 1),
            f"{name}_seconds": round(sum(self.seconds[1:]), 1),
            f"{name}_reads": self.reads["reads"],
            f"{name}_wrong_version_reads": sum(count for kind, count in self.reads.items() if kind != "reads"),
            f"{name}_wrong_documents_at_end": self.wrong_at_end,
        }


def replay(lab: Lab, name: str, states: Sequence[State]) -> Replayed:
    """Feed a peer. Raises RuntimeError with what it said when it fails."""
    database = f"replay_{name}"
    lab.postgres.ensure_database(database)
    dsn = lab.postgres.dsn(database)
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    work = lab.folder / database
    (work / "source").mkdir(parents=True)
    (work / "steps.json").write_text(json.dumps([delta(a, b) for a, b in zip([{}, *states], states, strict=False)]))
    command = [str(PYTHON), "-W", "ignore", str(ROOT / f"bench/peers/replay_{name}.py"), dsn]
    said = (work / "said").open("w+")
    offline = {"COCOINDEX_DISABLE_USAGE_TRACKING": "1", "HF_HUB_OFFLINE": "1"}
    child = subprocess.Popen(
        [*command, str(work / "steps.json"), str(work / "source")],
        env={**os.environ, **offline},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
    )
    try:
        return _turns(child, dsn, name, states, str(work / "source"))
    except (BrokenPipeError, json.JSONDecodeError) as error:
        said.seek(0)
        raise RuntimeError(f"replay_{name}.py ended: {said.read()[-1500:]}") from error
    finally:
        child.kill()
        child.wait()
        said.close()


def _turns(child: subprocess.Popen[str], dsn: str, name: str, states: Sequence[State], source: str) -> Replayed:
    assert child.stdin
    assert child.stdout
    found, turn, judge = Replayed(), Turn(), Judge(states)
    looking = threading.Event()
    reader = threading.Thread(target=_read, args=(dsn, name, states, source, turn, judge, found.reads, looking))
    before: set[str] = set()
    with psycopg.connect(dsn, autocommit=True) as conn:
        try:
            for number in range(len(states)):
                turn.set(2 * number - 1 if number else 0)
                child.stdin.write("go\n")
                child.stdin.flush()
                told = json.loads(child.stdout.readline())
                turn.set(2 * number)
                after = {text for _, text in conn.execute(ROWS[name].encode())}
                found.seconds.append(told["seconds"])
                found.embedded.append(told["embedded"])
                found.bytes_read.append(told["bytes_read"])
                found.changed.append(len(after - before))
                before = after
                if number == 0:
                    reader.start()
        finally:
            looking.set()
            if reader.ident:
                reader.join()
        last = 2 * judge.last
        everything = {entry for state in states for entry in state}
        found.wrong_at_end = sum(
            judge.wrong(entry, _passages(conn, name, f"{source}/{entry}"), last, last) is not None for entry in everything
        )
    return found


def _read(
    dsn: str,
    name: str,
    states: Sequence[State],
    source: str,
    turn: Turn,
    judge: Judge,
    reads: Counter[str],
    stop: threading.Event,
) -> None:
    rng, names = random.Random(name), sorted({entry for state in states for entry in state})
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.wait(0.005):
            entry, before = rng.choice(names), turn.get()
            with suppress(psycopg.errors.UndefinedTable):
                passages = _passages(conn, name, f"{source}/{entry}")
                reads["reads"] += 1
                if wrong := judge.wrong(entry, passages, before, turn.get()):
                    reads[wrong] += 1


def _passages(conn: psycopg.Connection[Any], name: str, path: str) -> list[str]:
    statement = f"SELECT text FROM ({ROWS[name]}) AS r (path, text) WHERE path = %s"
    return [text for (text,) in conn.execute(statement.encode(), (path,))]


def available() -> list[str]:
    """The peers that can run here."""
    return list(ROWS) if Path(PYTHON).exists() else []
