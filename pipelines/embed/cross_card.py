"""What a cross-encoder's folder says about it, read from JSON files and hashes only.

The folder is what sentence-transformers' CrossEncoder or transformers' AutoModelForSequenceClassification saves. As with
embedders nothing of the model is executed: weights are safetensors and a folder that names code of its own is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Reranker
from pipelines.embed.card import locate, max_tokens
from pipelines.embed.files import digest, read_json, refuse_code, require, require_safetensors
from pipelines.errors import FixConfiguration
from pipelines.records import sha256

ACTIVATIONS = ("Sigmoid", "Identity")
HEAD = "ForSequenceClassification"
# What these architectures assume when config.json leaves type_vocab_size out.
SEGMENTS = {"bert": 2, "electra": 2, "albert": 2}
FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True, slots=True)
class CrossCard:
    """A local cross-encoder with one label, checked."""

    folder: Path
    model: str  # the package's or the folder's name
    revision: str  # hex sha256 over every file that changes a score
    max_tokens: int  # of question, passage and special tokens together
    activation: str  # one of ACTIVATIONS
    segments: bool  # whether the model is told which tokens are the passage's
    pad_id: int


def cross_card(entry: Reranker) -> CrossCard:
    """The card of a `rerankers` entry. Reads and hashes the weights (about 0.1 s per 100 MB).

    Raises FixConfiguration, in one line with the file and the remedy, for anything missing, unsupported or executable.
    """
    folder, name = locate(entry.path, entry.package)
    for required in ("config.json", "tokenizer.json"):
        require(folder / required)
    require_safetensors(folder)
    config = read_json(folder / "config.json")
    tokenizer = read_json(folder / "tokenizer_config.json", optional=True)
    saved = read_json(folder / "config_sentence_transformers.json", optional=True)
    refuse_code(folder / "config.json", config)
    refuse_code(folder / "tokenizer_config.json", tokenizer)
    _require_one_label(folder / "config.json", config)
    _require_plain(folder, saved)
    bert_config = read_json(folder / "sentence_bert_config.json", optional=True)
    return CrossCard(
        folder=folder,
        model=name,
        revision=_revision(folder),
        max_tokens=max_tokens(folder, config, tokenizer, bert_config),
        activation=_activation(folder, config, saved),
        segments=_segments(config, tokenizer),
        pad_id=config.get("pad_token_id") or 0,
    )


def _require_one_label(path: Path, config: dict[str, Any]) -> None:
    head = str(next(iter(config.get("architectures") or ()), "none"))
    if not head.endswith(HEAD):
        raise FixConfiguration(f"{path}: architecture {head} scores no pairs; choose a cross-encoder saved as ...{HEAD}")
    labels = len(config.get("id2label") or {"0": "", "1": ""})  # two are transformers' default, which it leaves out
    if labels != 1:
        raise FixConfiguration(f"{path}: {labels} labels; a reranker has one, so choose a model with one label")


def _require_plain(folder: Path, saved: dict[str, Any]) -> None:
    """Nothing before the pairs and nothing after the classifier."""
    path = folder / "modules.json"
    modules = [str(entry.get("type", "")) for entry in read_json(path, optional=True, kind=list)]
    if any(not module.startswith("sentence_transformers.") for module in modules):
        raise FixConfiguration(f"{path}: a module is code of its own; choose a model without custom code")
    if modules and [module.rpartition(".")[2] for module in modules] != ["Transformer"]:
        raise FixConfiguration(f"{path}: modules after the classifier are not supported; choose a model with a Transformer")
    if saved.get("default_prompt_name"):
        raise FixConfiguration(
            f"{folder / 'config_sentence_transformers.json'}: a default prompt is not supported; choose a model without it"
        )


def _activation(folder: Path, config: dict[str, Any], saved: dict[str, Any]) -> str:
    """Found as the library finds it: in its own file first, then in config.json as its versions wrote it."""
    named = (
        saved.get("activation_fn")
        or (config.get("sentence_transformers") or {}).get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or "torch.nn.Sigmoid"
    )
    package, _, activation = str(named).rpartition(".")
    if not package.startswith("torch.nn") or activation not in ACTIVATIONS:
        raise FixConfiguration(
            f"{folder}: activation {named!r} is not supported; choose a model with one of {', '.join(ACTIVATIONS)}"
        )
    return activation


def _segments(config: dict[str, Any], tokenizer: dict[str, Any]) -> bool:
    kinds = config.get("type_vocab_size", SEGMENTS.get(str(config.get("model_type")), 0))
    return bool(kinds > 1 and "token_type_ids" in tokenizer.get("model_input_names", ["token_type_ids"]))


def _revision(folder: Path) -> str:
    present = [name for name in FILES if (folder / name).is_file()]
    return sha256("cross", *(part for name in present for part in (name, digest(folder / name)))).hex()
