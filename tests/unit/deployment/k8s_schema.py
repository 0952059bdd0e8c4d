"""Whether a manifest says only what Kubernetes knows, by the models of the pinned package `kubernetes`."""

from __future__ import annotations

import re
from typing import Any

from kubernetes.client import models


def mistakes(value: Any, kind: str, path: str = "") -> list[str]:
    """Unknown keys, missing ones and wrong types below `value`, which should be a `kind` such as V1Deployment."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [found for index, item in enumerate(value) for found in mistakes(item, listed[1], f"{path}[{index}]")]
    if mapped := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{path}: not a mapping"]
        return [found for key, item in value.items() for found in mistakes(item, mapped[1], f"{path}.{key}")]
    model = getattr(models, kind, None)
    if model is None:
        return _plain(value, kind, path)
    if not isinstance(value, dict):
        return [f"{path}: not a {kind}"]
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    found = [f"{path}.{key}: unknown in {kind}" for key in value if key not in names]
    for key in value.keys() & names.keys():
        found += mistakes(value[key], model.openapi_types[names[key]], f"{path}.{key}")
    return found + _missing(value, model, names, path)


def _missing(value: dict[str, Any], model: Any, names: dict[str, str], path: str) -> list[str]:
    """The model itself refuses what is required and absent."""
    try:
        model(**{names[key]: item for key, item in value.items() if key in names})
    except ValueError as error:
        return [f"{path}: {error}"]
    return []


def _plain(value: Any, kind: str, path: str) -> list[str]:
    """`object` is what Kubernetes takes in several forms, such as a port by name or number."""
    wanted: tuple[type, ...] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float), "object": (object,)}[
        kind
    ]
    # A quantity or a value in quotes is text; YAML makes a bare 1 a number, which the API server refuses.
    return [] if isinstance(value, wanted) else [f"{path}: {value!r} is not {kind}"]
