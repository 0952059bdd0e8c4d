"""Stage models: the registry at work. Import, compare, roll back, export; promotion is in promotion.py."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.config import Model
from pipelines.embed import open_embedder
from pipelines.errors import FixConfiguration
from pipelines.registry import artifacts, mlflow, model_card
from pipelines.registry.folder import File, inspect
from pipelines.stages import switch as switching
from pipelines.store import registry

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.store.registry import Change, Measured, Version
    from pipelines.store.space_states import Switch

CARD = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Shown:
    """A version with what it reached and which aliases it had."""

    version: Version
    measured: tuple[Measured, ...]
    history: tuple[Change, ...]

    def card(self) -> str:
        """The model card, Markdown."""
        return model_card.text(self.version, self.measured, self.history)


@dataclass(frozen=True, slots=True)
class Difference:
    """What two versions do not share: by name of the field, of the file or of the figure, what each has."""

    old: str
    new: str
    fields: dict[str, tuple[Any, Any]]
    files: dict[str, tuple[str, str]]  # hashes, "" where there is no such file
    figures: dict[str, tuple[float, float]]  # of those that both were measured by

    def text(self) -> str:
        """A line for each difference."""
        lines = [f"{self.old} -> {self.new}"]
        lines += [f"  {name}: {old or '-'} -> {new or '-'}" for name, (old, new) in self.fields.items()]
        lines += [f"  {name}: {_short(old)} -> {_short(new)}" for name, (old, new) in self.files.items()]
        lines += [f"  {name}: {old:.4f} -> {new:.4f} ({new - old:+.4f})" for name, (old, new) in self.figures.items()]
        return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}: no difference"


def add(
    ctx: Context,
    folder: Path,
    *,
    name: str = "",
    engine: Literal["openvino", "torch"] = "openvino",
    tier: str = "f32",
    storage: Literal["vector", "halfvec"] = "halfvec",
    parent: str = "",
    by: str = "",
) -> Version:
    """Check a sentence-transformers folder and keep its files; the same files and tier are the version that they were.

    Raises FixConfiguration for anything in the folder that is no data, Retry when the object store is unreachable.
    """
    folder = folder.resolve()
    model = name or folder.name
    if "@" in model or "/" in model or model in {"", ".", ".."}:
        raise FixConfiguration(f"{model!r} is no name for a model; give one without '@' and '/' by --name")
    of = registry.get(ctx.pool, parent).id if parent else None
    files = inspect(folder)
    run = {"engine": engine, "tier": tier, "storage": storage}
    opened = open_embedder(Model.model_validate({**run, "path": str(folder)}), ctx.cache)
    return registry.add(
        ctx.pool,
        model=model,
        revision=opened.revision,
        dtype=opened.dtype,
        artifact=artifacts.keep(ctx.objects, folder, files),
        files=[{"path": file.path, "sha256": file.sha256, "bytes": file.bytes} for file in files],
        run=run,
        parent=of,
        by=by,
    )


def listed(ctx: Context, model: str | None = None) -> list[Version]:
    """All versions, or those of one model, the newest first."""
    return registry.versions(ctx.pool, model)


def show(ctx: Context, name: str) -> Shown:
    """One version; without a number the newest."""
    version = registry.get(ctx.pool, name)
    measured, history = registry.measured(ctx.pool, version), registry.history(ctx.pool, version)
    return Shown(version, tuple(measured), tuple(history))


def diff(ctx: Context, old: str, new: str) -> Difference:
    """What two versions do not share."""
    first, second = registry.get(ctx.pool, old), registry.get(ctx.pool, new)
    figures = [{_figure(one): one.mean for one in registry.measured(ctx.pool, version)} for version in (first, second)]
    return Difference(
        first.name,
        second.name,
        dict(_unlike(_fields(first), _fields(second))),
        dict(_unlike(_hashes(first), _hashes(second), "")),
        {name: (figures[0][name], figures[1][name]) for name in sorted(figures[0].keys() & figures[1].keys())},
    )


def rollback(ctx: Context, collection: str, by: str = "") -> Switch:
    """Let the champion before this one serve again. Raises what a switch raises."""
    ctx.settings.require_collection(collection)
    return switching.rollback(ctx, collection, by)


def export(ctx: Context, name: str, folder: Path) -> list[Path]:
    """Write a version's files, compared by their hashes, and its model card into a new folder; returns what was written."""
    shown = show(ctx, name)
    source = _kept(ctx, shown.version)
    if folder.exists():
        raise FixConfiguration(f"{folder} is there already; name a new folder")
    shutil.copytree(source, folder)
    (folder / CARD).write_text(shown.card(), encoding="utf-8")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def export_mlflow(ctx: Context, name: str, uri: str) -> mlflow.Exported:
    """Write a version with its files, card, figures and aliases into an MLflow registry.

    Raises FixConfiguration where the optional client is missing or the server refuses, Retry when it cannot be reached.
    """
    shown = show(ctx, name)
    with tempfile.TemporaryDirectory() as beside:
        folder = Path(beside) / shown.version.model
        export(ctx, shown.version.name, folder)
        return mlflow.export(uri, shown.version, shown.measured, folder, shown.card())


def _kept(ctx: Context, version: Version) -> Path:
    """The version's files. Raises FixConfiguration where they are not kept."""
    if not version.artifact:
        raise FixConfiguration(
            f"the files of {version.name} are not kept; they are wherever include/config/models.yaml says"
        )
    return artifacts.fetch(ctx.objects, version.artifact, [File(**file) for file in version.files], ctx.cache, version.model)


def _fields(version: Version) -> dict[str, Any]:
    found = {"kind": version.kind, "revision": version.revision[:12], "dtype": version.dtype, "parent": version.parent}
    found |= {"dataset": version.dataset, "code": version.code_sha[:12], **version.configuration}
    return {**found, **version.run}


def _hashes(version: Version) -> dict[str, str]:
    return {str(file["path"]): str(file["sha256"]) for file in version.files}


def _figure(measured: Measured) -> str:
    return f"{measured.slice} {measured.measure}"


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any], missing: Any = None) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in sorted(old.keys() | new.keys()):
        pair = old.get(name, missing), new.get(name, missing)
        if pair[0] != pair[1]:
            yield name, pair


def _short(digest: str) -> str:
    return f"{digest[:12]}…" if digest else "-"
