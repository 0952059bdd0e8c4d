"""What a federation exchanges: one safetensors file a round and one an update, a small card in its header.

A file holds a map's numbers and the fields of its card, nothing else, so it cannot carry a text or a vector of a document
by accident. It may come from anywhere: it is read as data, and refused in one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pipelines.errors import FixConfiguration
from pipelines.train.adapter import Matrix
from pipelines.train.federated import SITE, LeftOut, Merged, Round, Terms, Update

KEY = "millrace"
MAX_BYTES = 2**28  # a map of 8,000 dimensions
MAX_NAME = 200


def write_round(current: Round, path: Path) -> None:
    """Write a round into a new file."""
    card = {
        "kind": "federated round",
        "round": current.number,
        "of": current.of,
        "terms": asdict(current.terms),
        "history": [asdict(merged) for merged in current.history],
    }
    _write(path, card, current.weight, current.bias)


def write_update(update: Update, path: Path) -> None:
    """Write an update into a new file."""
    card = {
        "kind": "federated update",
        "round": update.round,
        "base": update.base,
        "of": update.of,
        "site": update.site,
        "pairs": update.pairs,
        "norm": update.norm,
    }
    _write(path, card, update.weight, update.bias)


def read_round(path: Path) -> Round:
    """The round of a file. Raises FixConfiguration for anything else than one with a square, finite map."""
    found: Round = _read(path, "federated round", _round)
    dim = len(found.bias)
    if found.weight.shape != (dim, dim) or not (np.isfinite(found.weight).all() and np.isfinite(found.bias).all()):
        raise FixConfiguration(f"{path}: a round's map is square and of finite numbers; ask its sender for it again")
    found.terms.check()
    return found


def read_update(path: Path) -> Update:
    """The update of a file. Raises FixConfiguration for another file; whether it fits its round is `average`'s to judge."""
    found: Update = _read(path, "federated update", _update)
    return found


def _write(path: Path, card: Mapping[str, Any], weight: Matrix, bias: Matrix) -> None:
    if path.exists():
        raise FixConfiguration(f"{path} is there already; name a new file")
    tensors = {"weight": np.ascontiguousarray(weight, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors, {KEY: json.dumps(card, sort_keys=True)}))


def _read(path: Path, kind: str, make: Callable[[dict[str, Any], Matrix, Matrix], Any]) -> Any:
    if not path.is_file():
        raise FixConfiguration(f"{path}: no such file; name a {kind}'s")
    if path.stat().st_size > MAX_BYTES:
        raise FixConfiguration(f"{path}: {path.stat().st_size} bytes; a {kind} has at most {MAX_BYTES}")
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})[KEY])
            if card.pop("kind") != kind or set(file.keys()) != {"weight", "bias"}:
                raise ValueError("another kind of file")
            weight, bias = (file.get_tensor(name) for name in ("weight", "bias"))
        if weight.dtype != np.float32 or bias.dtype != np.float32 or weight.ndim != 2 or bias.ndim != 1:
            raise ValueError("weight (dim, dim) and bias (dim,) are float32")
        return make(card, weight, bias)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:MAX_NAME]
        raise FixConfiguration(f"{path}: no {kind} ({reason}); ask its sender for it again") from None


def _round(card: dict[str, Any], weight: Matrix, bias: Matrix) -> Round:
    _only(card, {"round", "of", "terms", "history"})
    terms = Terms(**card["terms"])
    numbers = (terms.clip, terms.noise, terms.rate)
    if not all(isinstance(number, int | float) for number in numbers) or type(terms.epochs) is not int:
        raise ValueError("its terms are no numbers")
    history = tuple(_merged(one) for one in card["history"])
    return Round(_count(card["round"]), weight, bias, _text(card["of"]), terms, history)


def _merged(told: dict[str, Any]) -> Merged:
    shares = {_text(name): float(share) for name, share in told["shares"].items()}
    left_out = tuple(LeftOut(_text(entry["name"]), _text(entry["reason"])) for entry in told["left_out"])
    return Merged(_count(told["round"]), shares, left_out, float(told["moved"]))


def _update(card: dict[str, Any], weight: Matrix, bias: Matrix) -> Update:
    _only(card, {"round", "base", "of", "site", "pairs", "norm"})
    if not SITE.fullmatch(_text(card["site"])):
        raise ValueError("no name of a site")
    return Update(
        _count(card["round"]), _text(card["base"]), _text(card["of"]), card["site"], _count(card["pairs"]), weight, bias
    )


def _only(card: dict[str, Any], names: set[str]) -> None:
    if card.keys() != names:
        raise ValueError(f"its card has {', '.join(sorted(map(str, card)))}")


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a count that is none")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
        raise ValueError("a name that is none")
    return value
