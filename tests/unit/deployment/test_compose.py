"""docker/compose.yaml: valid by the Compose schema; files, images, options and queues exist, secrets are asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines import config
from tests.unit.deployment.airflow_options import unknown

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docker"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = sorted(name for name in SERVICES if name not in {"postgres", "redis"})
PLACED = config.load(ROOT).placement.gpu


def queues(command: list[str]) -> set[str]:
    """What a worker listens to."""
    return set(command[command.index("--queues") + 1].split(",")) if "--queues" in command else set()


def test_it_is_valid_by_the_schema_of_compose() -> None:
    schema = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_the_schema_notices_mistakes() -> None:
    schema = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError, match="pots"):
        jsonschema.Draft201909Validator(schema).validate({"services": {"a": {"image": "b", "pots": []}}})


@pytest.mark.parametrize("name", AIRFLOW)
def test_every_airflow_option_exists(name: str) -> None:
    assert unknown(SERVICES[name]["environment"]) == []


def test_every_variable_is_explained_and_every_secret_is_empty() -> None:
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", example, flags=re.M))
    required = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+):\?\}", TEXT))
    assert required == {name for name, value in given.items() if not value}
    assert "docker/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_images_are_pinned_and_built_from_stages_that_exist() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), flags=re.M))
    built = {service["image"]: service["build"] for service in SERVICES.values() if "build" in service}
    for service in SERVICES.values():
        image, _, tag = service["image"].partition(":")
        assert re.match(r"\d+\.\d+", tag), service["image"]
        if image.startswith("millrace-"):
            assert built[service["image"]] == {
                "context": "..",
                "dockerfile": "docker/Dockerfile",
                "target": image.removeprefix("millrace-"),
            }
            assert image.removeprefix("millrace-") in stages


def test_every_mounted_file_and_volume_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (FOLDER / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"], volume


def test_every_dependency_is_a_service_that_can_become_what_is_waited_for() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name], name
            else:
                assert SERVICES[name]["restart"] == "no", name


def test_every_lasting_service_restarts_and_is_watched() -> None:
    for name, service in SERVICES.items():
        if name != "airflow-init":
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name


def test_only_the_api_server_is_reachable_and_only_from_this_host() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "api-server": ["127.0.0.1:8080:8080"]
    }
    assert not any(service.get("privileged") for service in SERVICES.values())


def test_every_queue_has_a_consumer_and_the_gpu_queue_one_for_each_kind_of_host() -> None:
    served = {name: queues(service["command"]) for name, service in SERVICES.items() if "command" in service}
    assert set().union(*served.values()) == {"default", PLACED.queue}
    workers = [name for name, found in served.items() if PLACED.queue in found]
    assert {name: SERVICES[name]["profiles"] for name in workers} == {"worker-gpu": ["gpu"], "worker-gpu-on-cpu": ["cpu"]}
    for name in workers:
        assert SERVICES[name]["image"].startswith("millrace-worker-gpu:")
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_init_makes_schema_and_pool() -> None:
    script = SERVICES["airflow-init"]["command"][-1]
    assert "airflow db migrate" in script
    assert f"airflow pools set {PLACED.pool} " in script
    assert "pipelines.cli migrate" in script
