"""Versions whose files are in the object store as entries of models.yaml: `name@3` may stand wherever a model is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines import config
from pipelines.config import Model
from pipelines.errors import FixConfiguration
from pipelines.ports import Objects
from pipelines.registry import artifacts
from pipelines.registry.folder import File
from pipelines.store import registry
from pipelines.store.database import Pool


class Versions:
    """Opens database and store when a version is asked for, so that who needs none of them opens neither."""

    def __init__(self, pool: Callable[[], Pool], objects: Callable[[], Objects], cache: Path) -> None:
        self._pool = pool
        self._objects = objects
        self._cache = cache

    def entry(self, name: str) -> Model:
        """How a version is run, its files fetched and compared. Raises FixConfiguration, FailRun and Retry."""
        version = registry.get(self._pool(), name)
        if not version.artifact:
            raise FixConfiguration(
                f"the files of {version.name} are not kept, only that it was used; give it an entry in "
                "include/config/models.yaml, or keep them with `millrace models import FOLDER`"
            )
        if version.kind == "adapter":
            return self._adapted(version)
        return self._entry(version.name, version.model, version.artifact, version.files, version.run)

    def name_of(self, revision: str, dtype: str) -> str | None:
        """The name of the version that makes such vectors, if its files are kept."""
        kept = registry.of_vectors(self._pool(), revision, dtype)
        return kept.name if kept else None

    def _adapted(self, version: registry.Version) -> Model:
        """The model that an adapter was fitted to, with it; `run` says how that is run, where its files are not kept."""
        parent = registry.get(self._pool(), version.parent)
        base = (
            self._entry(parent.name, parent.model, parent.artifact, parent.files, parent.run)
            if parent.artifact
            else config.validate(version.run, Model, f"model version {version.name}")
        )
        files = [File(**file) for file in version.files]
        folder = artifacts.fetch(self._objects(), version.artifact, files, self._cache, version.model)
        return base.model_copy(update={"adapter": str(folder)})

    def _entry(self, name: str, model: str, artifact: str, files: Sequence[dict[str, Any]], run: dict[str, Any]) -> Model:
        folder = artifacts.fetch(self._objects(), artifact, [File(**file) for file in files], self._cache, model)
        return config.validate({**run, "path": str(folder)}, Model, f"model version {name}")
