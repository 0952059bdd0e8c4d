"""The modules of a sentence-transformers folder: which classes, in which order, pooled and projected how.

Reads JSON only; a class that does not come from sentence-transformers itself is refused. Imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.embed.files import read_json, require_safetensors
from pipelines.errors import FixConfiguration

KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")
POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
# How versions before 6 name the modes in their flags, where it is not as now.
NAMES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "weightedmean_tokens": "weightedmean"}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
SENTENCE = "sentence_embedding"  # what a projection reads and writes
_ORDERS = "Transformer, Pooling, then any Dense, then at most one Normalize"


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of modules.json."""

    kind: str  # one of KNOWN
    folder: Path


@dataclass(frozen=True, slots=True)
class Dense:
    """A projection after pooling; its weights are `folder`/model.safetensors."""

    folder: Path
    inputs: int
    outputs: int
    activation: str  # one of ACTIVATIONS


def read_modules(folder: Path) -> list[Module]:
    """The modules in order, Transformer and Pooling first.

    Class paths moved between versions of sentence-transformers; only the package and the last part are fixed.
    """
    path = folder / "modules.json"
    found: list[Module] = []
    for entry in read_json(path, kind=list):
        package, _, kind = str(entry.get("type", "")).rpartition(".")
        if package.split(".")[0] != "sentence_transformers":
            raise FixConfiguration(
                f"{path}: module {entry.get('type')!r} is code of its own; choose a model without custom code"
            )
        if kind not in KNOWN:
            raise FixConfiguration(f"{path}: module {kind!r} is not supported; choose a model of {', '.join(KNOWN)}")
        where = str(entry.get("path", ""))
        if not (folder / where).resolve().is_relative_to(folder.resolve()):
            raise FixConfiguration(f"{path}: module path {where!r} leaves the model's folder; correct it")
        found.append(Module(kind, folder / where))
    _require_order(path, [module.kind for module in found])
    return found


def _require_order(path: Path, kinds: list[str]) -> None:
    rest = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or set(rest) - {"Dense"}:
        raise FixConfiguration(f"{path}: modules {', '.join(kinds) or 'none'}; a model needs {_ORDERS}")


def pooling_of(path: Path, prompts: bool) -> str:
    """The one pooling mode of a Pooling module's config.json; `prompts`: whether the model puts any before its texts."""
    config = read_json(path)
    prefix = "pooling_mode_"
    modes = config.get("pooling_mode")
    if modes is None:  # before version 6: one flag per mode
        names = [key.removeprefix(prefix) for key, on in config.items() if key.startswith(prefix) and on]
        modes = [NAMES.get(name, name) for name in names]
    chosen = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise FixConfiguration(
            f"{path}: pooling {' + '.join(map(str, chosen))} is not supported; choose a model with one of "
            f"{', '.join(POOLINGS)}"
        )
    if prompts and config.get("include_prompt") is False:
        raise FixConfiguration(f"{path}: include_prompt false is not supported; choose a model that pools its prompt too")
    return str(chosen[0])


def dense_of(folder: Path) -> Dense:
    """A Dense module, checked."""
    path = folder / "config.json"
    config = read_json(path)
    require_safetensors(folder)
    package, _, activation = str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")
    if not package.startswith("torch.nn") or activation not in ACTIVATIONS:
        raise FixConfiguration(
            f"{path}: activation {config.get('activation_function')!r} is not supported; choose a model with one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    between = {config.get("module_input_name") or SENTENCE, config.get("module_output_name") or SENTENCE}
    if config.get("use_residual") or between != {SENTENCE}:
        raise FixConfiguration(f"{path}: residual or token-wise projections are not supported; choose a model without them")
    return Dense(folder, _size(path, config, "in_features"), _size(path, config, "out_features"), activation)


def _size(path: Path, config: dict[str, Any], key: str) -> int:
    size = config.get(key)
    if not isinstance(size, int) or size < 1:
        raise FixConfiguration(f"{path}: no {key}; download the model again")
    return size
