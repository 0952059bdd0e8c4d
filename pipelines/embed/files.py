"""Reads the files of a model folder, each mistake one line with file and remedy. Imports the standard library only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration

CODE_KEYS = ("auto_map", "_attn_implementation_internal", "custom_pipelines")


def require(path: Path) -> None:
    """FixConfiguration when the file is missing."""
    if not path.is_file():
        raise FixConfiguration(f"{path}: missing; the model's folder is incomplete, download it again")


def require_safetensors(folder: Path) -> None:
    """FixConfiguration when the folder's weights are missing, or pickled: those can run code when they are loaded."""
    if (folder / "model.safetensors").is_file():
        return
    pickled = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in folder.glob(kind))
    if pickled:
        raise FixConfiguration(
            f"{folder}: only pickled weights ({pickled[0]}), which can run code when loaded; "
            "use a revision of the model with model.safetensors"
        )
    require(folder / "model.safetensors")


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """FixConfiguration when a configuration asks to run code that comes with the model."""
    for key in CODE_KEYS:
        if config.get(key):
            raise FixConfiguration(f"{path}: {key} asks to run code that comes with the model; choose a model without it")


def read_json(path: Path, *, optional: bool = False, kind: type = dict) -> Any:
    """The file's JSON, of the given kind; empty when it is optional and absent."""
    if optional and not path.is_file():
        return kind()
    require(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FixConfiguration(f"{path}: not valid JSON ({error}); download the model again") from None
    if not isinstance(value, kind):
        raise FixConfiguration(f"{path}: not a JSON {kind.__name__}; download the model again")
    return value


def digest(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
