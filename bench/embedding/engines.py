"""Engines as processes of their own, each with the same threads, asked one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench/peers"
THREADS = len(os.sched_getaffinity(0))
LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "BENCH_THREADS")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True)
class Kind:
    """An engine to be measured."""

    name: str
    tier: str  # the tier whose engines it is compared with
    command: Sequence[str]
    peer: bool = True


class Engine:
    """A running engine; `ask` sends one request and waits for its answer."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the engine
        environment = {**os.environ, **OFFLINE, **dict.fromkeys(LIMITS, str(THREADS)), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            kind.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def ready(self) -> None:
        """Wait until it is loaded. Raises RuntimeError with its last words when it is not going to be."""
        self._read()

    def ask(self, **request: Any) -> Mapping[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise RuntimeError(f"{self.kind.name} ended: {last[0] if last else 'no message'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()


def ours(cache: Path, engine: str, tier: str) -> Kind:
    """This project's engine."""
    command = (sys.executable, "-m", "bench.embedding.ours", str(cache), engine, tier)
    return Kind(f"millrace {tier}", tier, command, peer=False)


def peer(name: str, tier: str, environment: str, script: str, *arguments: object) -> Kind:
    """An engine in an environment of `make bench-peers`."""
    return Kind(name, tier, (str(ROOT / environment / "bin/python"), str(PEERS / script), *map(str, arguments)))
