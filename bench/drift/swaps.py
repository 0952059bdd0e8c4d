"""Copies of a model folder with one thing changed: the model, its tokenizer or the precision of its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[Any]]
LAYER = "encoder.layer."


@dataclass(frozen=True, slots=True)
class Swap:
    """What is there instead of the model that made the stored vectors."""

    name: str
    kind: str  # model, tokenizer or quantisation
    folder: Path
    tier: str = "f32"
    cut: int | None = None  # tokens after which a server stops reading


def swaps(original: Path, into: Path, rng: np.random.Generator) -> list[Swap]:
    """The catalogue; magnitudes are drawn by `rng`."""
    made = [Swap(name, kind, _copied(original, into, name)) for name, kind in _KINDS]
    for swap in made:
        _CHANGES[swap.name](swap.folder, rng)
    made.append(Swap("cut at 128 tokens", "tokenizer", original, cut=128))
    made.append(Swap("int8 arithmetic", "quantisation", original, tier="int8"))
    return made


def _copied(original: Path, into: Path, name: str) -> Path:
    folder = into / name.replace(" ", "-")
    shutil.copytree(original, folder)
    return folder


def _weights(change: Callable[[Weights, np.random.Generator], None]) -> Callable[[Path, np.random.Generator], None]:
    def apply(folder: Path, rng: np.random.Generator) -> None:
        from safetensors.numpy import load_file, save_file

        weights: Weights = load_file(folder / "model.safetensors")
        change(weights, rng)
        save_file(weights, folder / "model.safetensors")

    return apply


def _tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, np.random.Generator], None]:
    return lambda folder, rng: _json(folder / "tokenizer.json", change)


def _json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _matrices(weights: Weights) -> list[str]:
    return [name for name, values in weights.items() if values.ndim == 2 and LAYER in name]


def _child(weights: Weights, rng: np.random.Generator) -> None:
    """A fine-tuned child: every matrix moved by one to three per cent."""
    share = rng.uniform(0.01, 0.03)
    for name in _matrices(weights):
        noise = rng.normal(size=weights[name].shape)
        weights[name] = (weights[name] + share * weights[name].std() * noise).astype(np.float32)


def _other_layer(weights: Weights, rng: np.random.Generator) -> None:
    """One layer stands where another did."""
    to, taken = rng.permutation(6)[:2]
    for name in [name for name in weights if f"{LAYER}{to}." in name]:
        weights[name] = weights[name.replace(f"{LAYER}{to}.", f"{LAYER}{taken}.")].copy()


def _fewer_layers(folder: Path, rng: np.random.Generator) -> None:
    _json(folder / "config.json", lambda config: config.update(num_hidden_layers=config["num_hidden_layers"] - 1))


def _pooling(folder: Path, rng: np.random.Generator) -> None:
    _json(
        folder / "1_Pooling/config.json",
        lambda config: config.update(pooling_mode_cls_token=True, pooling_mode_mean_tokens=False),
    )


def _levels(bits: int, axis: int | None) -> Callable[[Weights, np.random.Generator], None]:
    """Matrices at so many bits, with a scale each or a scale along an axis."""

    def change(weights: Weights, rng: np.random.Generator) -> None:
        top = 2 ** (bits - 1) - 1
        for name in _matrices(weights):
            scale = np.abs(weights[name]).max(axis=axis, keepdims=True) / top
            weights[name] = (np.rint(weights[name] / scale) * scale).astype(np.float32)

    return change


def _bf16(weights: Weights, rng: np.random.Generator) -> None:
    """The lower half of every number's bits is rounded away."""
    for name in [name for name, values in weights.items() if values.dtype == np.float32]:
        bits = np.ascontiguousarray(weights[name]).view(np.uint32)
        weights[name] = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _fp16(weights: Weights, rng: np.random.Generator) -> None:
    for name in [name for name, values in weights.items() if values.dtype == np.float32]:
        weights[name] = weights[name].astype(np.float16).astype(np.float32)


def _shifted(content: dict[str, Any]) -> None:
    """Another vocabulary of the same size: every word has its neighbour's number."""
    vocabulary: Mapping[str, int] = content["model"]["vocab"]
    content["model"]["vocab"] = {
        word: number if number < 1000 else 1000 + (number - 999) % (len(vocabulary) - 1000)
        for word, number in vocabulary.items()
    }


_CHANGES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "a fine-tuned child": _weights(_child),
    "a layer for another": _weights(_other_layer),
    "a layer fewer": _fewer_layers,
    "CLS pooling": _pooling,
    "case kept": _tokenizer(lambda content: content["normalizer"].update(lowercase=False)),
    "accents kept": _tokenizer(lambda content: content["normalizer"].update(strip_accents=False)),
    "ideographs not split": _tokenizer(lambda content: content["normalizer"].update(handle_chinese_chars=False)),
    "another vocabulary": _tokenizer(_shifted),
    "words not continued": _tokenizer(lambda content: content["model"].update(continuing_subword_prefix="@@")),
    "no special tokens": _tokenizer(lambda content: content.update(post_processor=None)),
    "int8 weights, a scale a row": _weights(_levels(8, 1)),
    "int8 weights, a scale a matrix": _weights(_levels(8, None)),
    "int4 weights": _weights(_levels(4, 1)),
    "bf16 weights": _weights(_bf16),
    "fp16 weights": _weights(_fp16),
}
_MODEL = ("a fine-tuned child", "a layer for another", "a layer fewer", "CLS pooling")
_KINDS = tuple(
    (name, "model" if name in _MODEL else "quantisation" if "weights" in name else "tokenizer") for name in _CHANGES
)
