"""What a sentence-transformers folder says about its model, read from JSON files and hashes only.

Nothing of the model is executed, here or later: weights must be safetensors, and a folder that names code of its own is
refused. Imports the standard library only.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Model
from pipelines.embed.files import digest, read_json, refuse_code, require, require_safetensors
from pipelines.embed.modules import Dense, Module, dense_of, pooling_of, read_modules
from pipelines.errors import FixConfiguration
from pipelines.records import sha256

# Positions that these architectures reserve in front, so that they take fewer tokens than max_position_embeddings.
RESERVED_POSITIONS = {"roberta": 2, "xlm-roberta": 2, "camembert": 2, "mpnet": 2}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A local model, checked."""

    folder: Path  # of the sentence-transformers model
    weights: Path  # the folder of config.json, tokenizer.json and model.safetensors
    model: str  # the package's or the folder's name
    revision: str  # hex sha256 over every file that changes a vector
    dim: int
    max_tokens: int  # special tokens and prompt included
    pooling: str  # one of modules.POOLINGS
    dense: tuple[Dense, ...]  # projections after pooling
    normalised: bool  # the folder has a Normalize module; vectors are normalised in either case
    prompt_query: str
    prompt_passage: str
    tokenizer_sha: str  # hex sha256 of tokenizer.json
    pad_id: int

    def fingerprint(self, tier: str) -> str:
        """Hex identity of the vectors that this model gives in an arithmetic tier."""
        parts = (self.revision, self.pooling, self.prompt_query, self.prompt_passage, str(self.max_tokens), tier)
        return sha256("embedder", *parts).hex()


def card(model: Model) -> ModelCard:
    """The card of a models.yaml entry. Reads and hashes the weights (about 0.1 s per 100 MB).

    Raises FixConfiguration, in one line with the file and the remedy, for anything missing, unsupported or executable.
    """
    folder, name = locate(model.path, model.package)
    modules = read_modules(folder)
    weights = modules[0].folder
    for required in ("config.json", "tokenizer.json"):
        require(weights / required)
    require_safetensors(weights)
    config = read_json(weights / "config.json")
    tokenizer_config = read_json(weights / "tokenizer_config.json", optional=True)
    bert_config = read_json(weights / "sentence_bert_config.json", optional=True)
    refuse_code(weights / "config.json", config)
    refuse_code(weights / "tokenizer_config.json", tokenizer_config)
    _refuse_lowercasing(weights, bert_config)
    prompts = _prompts(read_json(folder / "config_sentence_transformers.json", optional=True))
    dense = tuple(dense_of(module.folder) for module in modules if module.kind == "Dense")
    return ModelCard(
        folder=folder,
        weights=weights,
        model=name,
        revision=_revision(folder, modules),
        dim=dense[-1].outputs if dense else _hidden_size(weights / "config.json", config),
        max_tokens=max_tokens(weights, config, tokenizer_config, bert_config),
        pooling=pooling_of(modules[1].folder / "config.json", any(prompts)),
        dense=dense,
        normalised=modules[-1].kind == "Normalize",
        prompt_query=prompts[0],
        prompt_passage=prompts[1],
        tokenizer_sha=digest(weights / "tokenizer.json"),
        pad_id=config.get("pad_token_id") or 0,
    )


def locate(given: str | None, package: str | None) -> tuple[Path, str]:
    """The folder and the name of a model named by path or by package. Raises FixConfiguration when there is none."""
    if given is not None:
        folder = Path(given)
        if not folder.is_dir():
            raise FixConfiguration(f"include/config/models.yaml: path {given!r}: no such folder; correct it")
        return folder, folder.name
    if package is None:
        raise FixConfiguration("include/config/models.yaml: a model needs a package or a path; add one")
    spec = importlib.util.find_spec(package)  # locates without importing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "model").is_dir():
            return Path(location) / "model", package
    what = "has no folder model/" if spec else "is not installed"
    raise FixConfiguration(f"include/config/models.yaml: package {package!r} {what}; install it or give a path")


def _refuse_lowercasing(weights: Path, bert_config: dict[str, Any]) -> None:
    if bert_config.get("do_lower_case"):
        raise FixConfiguration(
            f"{weights / 'sentence_bert_config.json'}: do_lower_case is not supported; let tokenizer.json lower it"
        )


def _hidden_size(path: Path, config: dict[str, Any]) -> int:
    size = next((config[key] for key in ("hidden_size", "dim", "d_model") if config.get(key)), None)
    if not isinstance(size, int) or size < 1:
        raise FixConfiguration(f"{path}: no hidden_size; choose an encoder model")
    return size


def max_tokens(weights: Path, config: dict[str, Any], tokenizer: dict[str, Any], bert: dict[str, Any]) -> int:
    """The least of the limits that the files state, special tokens included. Raises FixConfiguration without any."""
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        positions -= RESERVED_POSITIONS.get(str(config.get("model_type")), 0)
    known = (bert.get("max_seq_length"), tokenizer.get("model_max_length"), positions)
    limits = [limit for limit in known if isinstance(limit, int) and limit > 0]
    if not limits:
        raise FixConfiguration(f"{weights / 'sentence_bert_config.json'}: no max_seq_length; add it")
    return min(limits)


def _prompts(config: dict[str, Any]) -> tuple[str, str]:
    """(for queries, for passages), found as `encode_query` and `encode_document` find them."""
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), default)
    return prompts.get("query") or default, passage


def _revision(folder: Path, modules: list[Module]) -> str:
    """Over the files that change a vector, wherever the folder lies; a README does not count."""
    weights = modules[0].folder
    files = [folder / "modules.json", modules[1].folder / "config.json", folder / "config_sentence_transformers.json"]
    names = ("config.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    files += [weights / name for name in names]
    for module in modules:
        if module.kind == "Dense":
            files += [module.folder / "config.json", module.folder / "model.safetensors"]
    present = sorted((path.relative_to(folder).as_posix(), path) for path in files if path.is_file())
    return sha256("model", *(part for name, path in present for part in (name, digest(path)))).hex()
