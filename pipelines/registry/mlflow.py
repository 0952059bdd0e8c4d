"""Writes a model version into an MLflow registry: files, card, figures, aliases. Needs the extra `mlflow` of pyproject.toml.

What is there already of the same revision and arithmetic gets its tags and aliases renewed and no second version. MLflow has
one set of aliases a model, Millrace one a collection: `champion` of `knowledge` becomes `champion-knowledge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import FixConfiguration, Retry

if TYPE_CHECKING:
    from pipelines.store.registry import Measured, Version

REQUIREMENT = "mlflow-skinny==3.17.2"
EXPERIMENT = "millrace"
FILES = "model"  # below the run's artifacts
ALIASES = ("champion", "challenger", "shadow")
AGAIN = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
MAX_DESCRIPTION = 5_000  # characters; the whole card is among the files


@dataclass(frozen=True, slots=True)
class Exported:
    """Where a version is in MLflow; `new` is False when it was there."""

    uri: str
    name: str
    version: str
    run: str
    new: bool
    aliases: tuple[str, ...]

    def text(self) -> str:
        """One line for a person."""
        aliases = f", {', '.join(self.aliases)}" if self.aliases else ""
        return f"{self.name} version {self.version} of {self.uri} {'made' if self.new else 'was there'}{aliases}"


def export(uri: str, version: Version, measured: Sequence[Measured], folder: Path, card: str) -> Exported:
    """Write a version whose files and card are in `folder`. The version is made last: a torn export leaves a failed run.

    Raises FixConfiguration without the extra, and for what the server refuses; Retry when it cannot be reached.
    """
    with _translated(uri) as client_of:
        client = client_of(tracking_uri=uri, registry_uri=uri)
        tags = _tags(version)
        found = _found(client, version.model, tags)
        made = found or _made(client, version, measured, folder, card[:MAX_DESCRIPTION], tags)
        if found:
            for key, value in tags.items():
                client.set_model_version_tag(version.model, made.version, key, value)
            _log(client, made.run_id, measured)
        aliases = _aliased(client, version, str(made.version))
    return Exported(uri, version.model, str(made.version), str(made.run_id), found is None, aliases)


@contextmanager
def _translated(uri: str) -> Iterator[Any]:
    """The client's class; its errors become the project's."""
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - an optional extra
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
    except ImportError:
        raise FixConfiguration(
            f"exporting to MLflow needs its client, which is optional: run `.venv/bin/pip install {REQUIREMENT}`"
        ) from None
    try:
        yield MlflowClient
    except MlflowException as error:
        what = f"MLflow at {uri}: {' '.join(str(error).split())[:300]}"
        if getattr(error, "error_code", "") in AGAIN:
            raise Retry(f"{what}; try again later") from error
        raise FixConfiguration(f"{what}; look at --mlflow, the server and its credentials") from error


def _tags(version: Version) -> dict[str, str]:
    """What names the version; empty values are left out."""
    found = {
        "millrace.version": version.name,
        "millrace.kind": version.kind,
        "millrace.revision": version.revision,
        "millrace.dtype": version.dtype,
        "millrace.parent": version.parent,
        "millrace.artifact": version.artifact,
        **{f"millrace.run.{key}": str(value) for key, value in sorted(version.run.items())},
        **{f"millrace.sha256.{_key(str(file['path']))}": str(file["sha256"]) for file in version.files},
    }
    return {key: value for key, value in found.items() if value}


def _found(client: Any, model: str, tags: dict[str, str]) -> Any | None:
    """The version of the same revision and arithmetic, if MLflow has one."""
    for version in client.search_model_versions(_named(model)):
        if all(version.tags.get(key) == tags[key] for key in ("millrace.revision", "millrace.dtype")):
            return version
    return None


def _made(client: Any, version: Version, measured: Sequence[Measured], folder: Path, card: str, tags: dict[str, str]) -> Any:
    if not client.search_registered_models(_named(version.model)):
        client.create_registered_model(version.model)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment is not None else client.create_experiment(EXPERIMENT)
    run = client.create_run(number, run_name=version.name).info
    try:
        client.log_artifacts(run.run_id, str(folder), FILES)
        _log(client, run.run_id, measured)
        source = f"{run.artifact_uri}/{FILES}"
        made = client.create_model_version(version.model, source, run_id=run.run_id, tags=tags, description=card)
    except BaseException:
        client.set_terminated(run.run_id, "FAILED")
        raise
    client.set_terminated(run.run_id)
    return made


def _log(client: Any, run: str, measured: Sequence[Measured]) -> None:
    """Each figure of each slice, with its interval; logged again, the newest is what MLflow shows."""
    for one in measured:
        for name, value in (("", one.mean), (" low", one.low), (" high", one.high)):
            if value is not None:
                client.log_metric(run, _key(f"{one.slice} {one.measure}{name}"), value)


def _aliased(client: Any, version: Version, number: str) -> tuple[str, ...]:
    """Give this version the aliases that it has, and take those away that it has no more."""
    wanted = {re.sub(r"[^\w-]", "-", alias.replace(" of ", "-", 1)) for alias in version.aliases}
    for alias in client.get_model_version(version.model, number).aliases:
        if alias not in wanted and alias.startswith(tuple(f"{kind}-" for kind in ALIASES)):
            client.delete_registered_model_alias(version.model, alias)
    for alias in sorted(wanted):
        client.set_registered_model_alias(version.model, alias, number)
    return tuple(sorted(wanted))


def _named(model: str) -> str:
    """A filter; a quote in a name would end it early."""
    if "'" in model:
        raise FixConfiguration(f"{model!r}: MLflow finds no model with a quote in its name; import it under another --name")
    return f"name = '{model}'"


def _key(name: str) -> str:
    """As MLflow takes the names of metrics and tags."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)
