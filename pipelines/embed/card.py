"""What a sentence-transformers folder says about its model, read from JSON files and hashes only.

Nothing of the model is executed, here or later: weights must be safetensors, and a folder that names code of its own is
refused. Imports the standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Model
from pipelines.errors import FixConfiguration
from pipelines.records import sha256

MODULES = ("Transformer", "Pooling", "Normalize")
POOLINGS = ("mean", "cls")
# Positions that these architectures reserve in front, so that they take fewer tokens than max_position_embeddings.
RESERVED_POSITIONS = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}
CODE_KEYS = ("auto_map", "_attn_implementation_internal", "custom_pipelines")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A local model, checked."""

    folder: Path  # of the sentence-transformers model
    weights: Path  # the folder of config.json, tokenizer.json and model.safetensors
    model: str  # the package's or the folder's name
    revision: str  # hex sha256 over every file that changes a vector
    dim: int
    max_tokens: int  # special tokens included
    pooling: str  # mean | cls
    normalised: bool  # the folder has a Normalize module; vectors are normalised in either case
    prompt_query: str
    prompt_passage: str
    tokenizer_sha: str  # hex sha256 of tokenizer.json

    def fingerprint(self, tier: str) -> str:
        """Hex identity of the vectors that this model gives in an arithmetic tier."""
        parts = (self.revision, self.pooling, self.prompt_query, self.prompt_passage, str(self.max_tokens), tier)
        return sha256("embedder", *parts).hex()


def card(model: Model) -> ModelCard:
    """The card of a models.yaml entry. Reads and hashes the weights (about 0.1 s per 100 MB).

    Raises FixConfiguration, in one line with the file and the remedy, for anything missing, unsupported or executable.
    """
    folder, name = _locate(model)
    modules = _modules(folder)
    weights = folder / modules["Transformer"]
    for required in ("config.json", "tokenizer.json"):
        _require(weights / required)
    _require_safetensors(weights)
    config = _json(weights / "config.json")
    tokenizer_config = _json(weights / "tokenizer_config.json", optional=True)
    bert_config = _json(weights / "sentence_bert_config.json", optional=True)
    _refuse_code(weights / "config.json", config)
    _refuse_code(weights / "tokenizer_config.json", tokenizer_config)
    _refuse_lowercasing(weights, bert_config)
    pooling = folder / modules["Pooling"] / "config.json"
    prompts = _prompts(_json(folder / "config_sentence_transformers.json", optional=True))
    return ModelCard(
        folder=folder,
        weights=weights,
        model=name,
        revision=_revision(folder, weights, pooling),
        dim=_dim(weights / "config.json", config),
        max_tokens=_max_tokens(weights, config, tokenizer_config, bert_config),
        pooling=_pooling(pooling),
        normalised="Normalize" in modules,
        prompt_query=prompts[0],
        prompt_passage=prompts[1],
        tokenizer_sha=_digest(weights / "tokenizer.json"),
    )


def _locate(model: Model) -> tuple[Path, str]:
    if model.path is not None:
        folder = Path(model.path)
        if not folder.is_dir():
            raise FixConfiguration(f"include/config/models.yaml: path {model.path!r}: no such folder; correct it")
        return folder, folder.name
    if model.package is None:
        raise FixConfiguration("include/config/models.yaml: a model needs a package or a path; add one")
    spec = importlib.util.find_spec(model.package)  # locates without importing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "model").is_dir():
            return Path(location) / "model", model.package
    what = "has no folder model/" if spec else "is not installed"
    raise FixConfiguration(f"include/config/models.yaml: package {model.package!r} {what}; install it or give a path")


def _modules(folder: Path) -> dict[str, str]:
    """Class name -> sub-folder. Class paths moved between versions; only the package and the last part are fixed."""
    path = folder / "modules.json"
    found: dict[str, str] = {}
    for entry in _json(path, kind=list):
        package, _, name = str(entry.get("type", "")).rpartition(".")
        if package.split(".")[0] != "sentence_transformers":
            raise FixConfiguration(
                f"{path}: module {entry.get('type')!r} is code of its own; choose a model without custom code"
            )
        if name not in MODULES or name in found:
            raise FixConfiguration(f"{path}: module {name!r} is not supported; choose a model of {', '.join(MODULES)}")
        where = str(entry.get("path", ""))
        if not (folder / where).resolve().is_relative_to(folder.resolve()):
            raise FixConfiguration(f"{path}: module path {where!r} leaves the model's folder; correct it")
        found[name] = where
    if tuple(found) not in {MODULES, MODULES[:2]}:
        raise FixConfiguration(f"{path}: modules {', '.join(found) or 'none'}; a model needs Transformer, then Pooling")
    return found


def _require(path: Path) -> None:
    if not path.is_file():
        raise FixConfiguration(f"{path}: missing; the model's folder is incomplete, download it again")


def _require_safetensors(weights: Path) -> None:
    if (weights / "model.safetensors").is_file():
        return
    pickled = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in weights.glob(kind))
    if pickled:
        raise FixConfiguration(
            f"{weights}: only pickled weights ({pickled[0]}), which can run code when loaded; "
            "use a revision of the model with model.safetensors"
        )
    _require(weights / "model.safetensors")


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    for key in CODE_KEYS:
        if config.get(key):
            raise FixConfiguration(f"{path}: {key} asks to run code that comes with the model; choose a model without it")


def _refuse_lowercasing(weights: Path, bert_config: dict[str, Any]) -> None:
    if bert_config.get("do_lower_case"):
        raise FixConfiguration(
            f"{weights / 'sentence_bert_config.json'}: do_lower_case is not supported; let tokenizer.json lower it"
        )


def _pooling(path: Path) -> str:
    config = _json(path)
    prefix = "pooling_mode_"
    modes = config.get("pooling_mode")
    if modes is None:  # before version 6: one flag per mode
        modes = [
            key.removeprefix(prefix).removesuffix("_tokens") for key, on in config.items() if key.startswith(prefix) and on
        ]
        modes = [mode.removesuffix("_token") for mode in modes] or ["mean"]
    chosen = [modes] if isinstance(modes, str) else list(modes)
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise FixConfiguration(f"{path}: pooling {' + '.join(chosen)} is not supported; choose a model with mean or cls")
    return str(chosen[0])


def _dim(path: Path, config: dict[str, Any]) -> int:
    dim = config.get("hidden_size", config.get("dim"))
    if not isinstance(dim, int) or dim < 1:
        raise FixConfiguration(f"{path}: no hidden_size; choose an encoder model")
    return dim


def _max_tokens(weights: Path, config: dict[str, Any], tokenizer: dict[str, Any], bert: dict[str, Any]) -> int:
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        positions -= RESERVED_POSITIONS.get(str(config.get("model_type")), 0)
    known = (bert.get("max_seq_length"), tokenizer.get("model_max_length"), positions)
    limits = [limit for limit in known if isinstance(limit, int) and limit > 0]
    if not limits:
        raise FixConfiguration(f"{weights / 'sentence_bert_config.json'}: no max_seq_length; add it")
    return min(limits)


def _prompts(config: dict[str, Any]) -> tuple[str, str]:
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    return prompts.get("query") or default, prompts.get("document") or prompts.get("passage") or default


def _revision(folder: Path, weights: Path, pooling: Path) -> str:
    """Over the files that change a vector, wherever the folder lies; a README does not count."""
    files = [folder / "modules.json", pooling, folder / "config_sentence_transformers.json"]
    names = ("config.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    files += [weights / name for name in names]
    present = sorted((path.relative_to(folder).as_posix(), path) for path in files if path.is_file())
    return sha256("model", *(part for name, path in present for part in (name, _digest(path)))).hex()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _json(path: Path, *, optional: bool = False, kind: type = dict) -> Any:
    if optional and not path.is_file():
        return kind()
    _require(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FixConfiguration(f"{path}: not valid JSON ({error}); download the model again") from None
    if not isinstance(value, kind):
        raise FixConfiguration(f"{path}: not a JSON {kind.__name__}; download the model again")
    return value
