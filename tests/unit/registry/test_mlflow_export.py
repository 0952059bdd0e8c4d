"""Exporting a version to MLflow: once, with all that is known of it, and again without a second version of it.

Against a client in memory, and against the real one where it is installed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from pipelines.errors import FixConfiguration, Retry
from pipelines.registry import mlflow as exporter
from pipelines.store.registry import Measured, Version

VERSION = Version(
    id=7,
    model="handbook",
    version=3,
    kind="encoder",
    revision="a" * 64,
    dtype="f32",
    parent="handbook@2",
    artifact="models/beef",
    files=[{"path": "1_Pooling/config.json", "sha256": "c" * 64, "bytes": 2}],
    run={"engine": "openvino"},
    created_by="maria",
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
    code_sha="",
    configuration={},
    dataset="",
    dataset_sha="",
    aliases=["champion of knowledge", "challenger of tickets & more"],
    spaces=[4],
)
MEASURED = [
    Measured("knowledge main/frozen", "nDCG@10", 0.5, 0.4, 0.6, 90, 1),
    Measured("k m/new", "R@100", 0.9, None, None, 9, 1),
]


class Refused(Exception):
    """As the client's own exception."""

    def __init__(self, message: str, error_code: str = "INVALID_PARAMETER_VALUE") -> None:
        super().__init__(message)
        self.error_code = error_code


@dataclass
class Fake:
    """The part of MlflowClient that is used; one registry a uri."""

    tracking_uri: str
    registry_uri: str
    stores: ClassVar[dict[str, dict[str, Any]]] = {}
    failing: ClassVar[dict[str, Exception]] = {}

    def __post_init__(self) -> None:
        self.store = self.stores.setdefault(
            self.registry_uri, {"models": set(), "versions": [], "runs": {}, "experiments": {}}
        )

    def __getattribute__(self, name: str) -> Any:
        if error := Fake.failing.get(name):
            raise error
        return super().__getattribute__(name)

    def search_registered_models(self, named: str) -> list[str]:
        return [name for name in self.store["models"] if named == f"name = '{name}'"]

    def create_registered_model(self, name: str) -> None:
        if name in self.store["models"]:
            raise Refused("there already", "RESOURCE_ALREADY_EXISTS")
        self.store["models"].add(name)

    def get_experiment_by_name(self, name: str) -> Any:
        return self.store["experiments"].get(name)

    def create_experiment(self, name: str) -> str:
        self.store["experiments"][name] = SimpleNamespace(experiment_id="1")
        return "1"

    def create_run(self, experiment: str, run_name: str) -> Any:
        number = f"run{len(self.store['runs']) + 1}"
        info = SimpleNamespace(run_id=number, artifact_uri=f"memory:/{number}", status="RUNNING")
        self.store["runs"][number] = SimpleNamespace(info=info, data=SimpleNamespace(metrics={}), files=[])
        return self.store["runs"][number]

    def log_artifacts(self, run: str, folder: str, below: str) -> None:
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        self.store["runs"][run].files = [f"{below}/{path.relative_to(folder).as_posix()}" for path in files]

    def list_artifacts(self, run: str, below: str) -> list[Any]:
        depth = below.count("/") + 2
        found = {"/".join(path.split("/")[:depth]) for path in self.store["runs"][run].files if path.startswith(f"{below}/")}
        return [SimpleNamespace(path=path) for path in found]

    def log_metric(self, run: str, key: str, value: float) -> None:
        self.store["runs"][run].data.metrics[key] = value

    def get_run(self, run: str) -> Any:
        return self.store["runs"][run]

    def set_terminated(self, run: str, status: str = "FINISHED") -> None:
        self.store["runs"][run].info.status = status

    def create_model_version(self, name: str, source: str, run_id: str, tags: dict[str, str], description: str) -> Any:
        number = str(1 + sum(one.name == name for one in self.store["versions"]))
        made = SimpleNamespace(
            name=name, version=number, source=source, run_id=run_id, tags=dict(tags), description=description, aliases=[]
        )
        self.store["versions"].append(made)
        return made

    def search_model_versions(self, named: str) -> list[Any]:
        return [one for one in self.store["versions"] if named == f"name = '{one.name}'"]

    def get_model_version(self, name: str, number: str) -> Any:
        return next(one for one in self.store["versions"] if (one.name, one.version) == (name, str(number)))

    def set_model_version_tag(self, name: str, number: str, key: str, value: str) -> None:
        self.get_model_version(name, number).tags[key] = value

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        for one in self.search_model_versions(f"name = '{name}'"):
            one.aliases = [other for other in one.aliases if other != alias] + [alias] * (one.version == str(number))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        for one in self.search_model_versions(f"name = '{name}'"):
            one.aliases = [other for other in one.aliases if other != alias]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> str:
    module, exceptions = ModuleType("mlflow"), ModuleType("mlflow.exceptions")
    module.MlflowClient, exceptions.MlflowException = Fake, Refused  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", exceptions)
    monkeypatch.setattr(Fake, "stores", {})
    monkeypatch.setattr(Fake, "failing", {})
    return "memory://registry"


@pytest.fixture(params=["fake", "real"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The uri of an empty registry."""
    if request.param == "fake":
        return str(request.getfixturevalue("fake"))
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file:{tmp_path}/registry"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "handbook"
    (made / "1_Pooling").mkdir(parents=True)
    (made / "1_Pooling/config.json").write_text("{}")
    (made / "MODEL_CARD.md").write_text("# handbook@3\n")
    return made


def opened(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.mark.filterwarnings("default")
def test_files_card_figures_tags_and_aliases_arrive_once(place: str, folder: Path) -> None:
    done = exporter.export(place, VERSION, MEASURED, folder, "# handbook@3\n")
    assert (done.name, done.version, done.new) == ("handbook", "1", True)
    assert done.aliases == ("challenger-tickets---more", "champion-knowledge")
    client = opened(place)
    there = client.get_model_version("handbook", "1")
    assert there.description == "# handbook@3\n"
    assert there.tags["millrace.revision"] == VERSION.revision
    assert there.tags["millrace.parent"] == "handbook@2"
    assert there.tags["millrace.sha256.1_Pooling/config.json"] == "c" * 64
    assert sorted(there.aliases) == list(done.aliases)
    run = client.get_run(there.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {
        "knowledge main/frozen nDCG_10": 0.5,
        "knowledge main/frozen nDCG_10 low": 0.4,
        "knowledge main/frozen nDCG_10 high": 0.6,
        "k m/new R_100": 0.9,
    }
    assert {one.path for one in client.list_artifacts(there.run_id, "model")} == {"model/1_Pooling", "model/MODEL_CARD.md"}
    assert {one.path for one in client.list_artifacts(there.run_id, "model/1_Pooling")} == {"model/1_Pooling/config.json"}

    later = replace(VERSION, aliases=["champion of tickets"])
    again = exporter.export(place, later, [MEASURED[0]._replace(mean=0.7)], folder, "# handbook@3\n")
    assert (again.version, again.new, again.aliases) == ("1", False, ("champion-tickets",))
    assert opened(place).get_model_version("handbook", "1").aliases == ["champion-tickets"]
    assert opened(place).get_run(there.run_id).data.metrics["knowledge main/frozen nDCG_10"] == 0.7

    other = exporter.export(place, replace(later, version=4, dtype="int8"), [], folder, "# handbook@4\n")
    assert (other.version, other.new) == ("2", True)
    assert opened(place).get_model_version("handbook", "1").aliases == []


def test_an_alias_that_others_gave_is_left_alone(fake: str, folder: Path) -> None:
    exporter.export(fake, VERSION, [], folder, "")
    opened(fake).set_registered_model_alias("handbook", "blessed", "1")
    exporter.export(fake, replace(VERSION, aliases=[]), [], folder, "")
    assert opened(fake).get_model_version("handbook", "1").aliases == ["blessed"]


def test_a_torn_export_leaves_a_failed_run_and_no_version(fake: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "failing", {"log_artifacts": OSError("the disk is full")})
    with pytest.raises(OSError, match="full"):
        exporter.export(fake, VERSION, MEASURED, folder, "")
    monkeypatch.setattr(Fake, "failing", {})
    assert opened(fake).search_model_versions("name = 'handbook'") == []
    assert [run.info.status for run in Fake.stores[fake]["runs"].values()] == ["FAILED"]
    assert exporter.export(fake, VERSION, MEASURED, folder, "").version == "1"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refused("no such\nserver", "INTERNAL_ERROR"), Retry),
        (Refused("busy", "TEMPORARILY_UNAVAILABLE"), Retry),
        (Refused("who are you?", "PERMISSION_DENIED"), FixConfiguration),
    ],
)
def test_what_the_server_says_is_one_line_by_how_to_recover(
    fake: str, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Refused, kind: type[Exception]
) -> None:
    monkeypatch.setattr(Fake, "failing", {"search_model_versions": error})
    with pytest.raises(kind, match="MLflow at memory://registry: ") as raised:
        exporter.export(fake, VERSION, [], folder, "")
    assert "\n" not in str(raised.value)


def test_without_the_extra_the_command_to_get_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(FixConfiguration, match=f"pip install {exporter.REQUIREMENT}"):
        exporter.export("http://mlflow:5000", VERSION, [], folder, "")


def test_the_extra_is_the_one_that_is_named() -> None:
    root = Path(__file__).resolve().parents[3]
    assert f'mlflow = ["{exporter.REQUIREMENT}"]' in (root / "pyproject.toml").read_text()
    assert exporter.REQUIREMENT in (root / "docs/models.md").read_text()


def test_a_quote_in_a_name_is_refused_before_anything_is_written(fake: str, folder: Path) -> None:
    with pytest.raises(FixConfiguration, match="quote"):
        exporter.export(fake, replace(VERSION, model="o'neil"), [], folder, "")
    assert not Fake.stores[fake]["runs"]
