"""docker/kubernetes: manifests valid by Kubernetes' and KEDA's schemas, values that the chart knows, options that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines import config
from tests.unit.deployment.airflow_options import options, unknown
from tests.unit.deployment.k8s_schema import mistakes

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docker/kubernetes"
PLACED = config.load(ROOT).placement.gpu
[DEPLOYMENT, SCALED] = yaml.safe_load_all((FOLDER / "gpu-worker.yaml").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
PODS: dict[str, Any] = yaml.safe_load((FOLDER / "values-pods.yaml").read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
[WORKER] = POD["containers"]
ENVIRONMENT = {entry["name"]: entry.get("value") for entry in WORKER["env"]}
SCHEMA = json.loads((Path(__file__).parent / "schemas/keda-scaledobject.json").read_text(encoding="utf-8"))

# What values.yaml may say: a type, a Kubernetes kind, or a mapping of these. Written after the documentation of the chart's
# release 1.20; the chart's own schema is not at hand, so `helm lint` has the last word.
CHART: dict[str, Any] = {
    "executor": str,
    "airflowVersion": str,
    "airflowHome": str,
    "images": {"airflow": {"repository": str, "tag": str, "pullPolicy": str}},
    "dags": {"persistence": {"enabled": bool}, "gitSync": {"enabled": bool}},
    "postgresql": {"enabled": bool},
    "pgbouncer": {"enabled": bool},
    "redis": {"enabled": bool},
    "data": {"metadataSecretName": str, "brokerUrlSecretName": str},
    "fernetKeySecretName": str,
    "jwtSecretName": str,
    "apiSecretKeySecretName": str,
    "extraEnv": "list[V1EnvVar] as text",
    "extraEnvFrom": "list[V1EnvFromSource] as text",
    "config": "options",
    "migrateDatabaseJob": {"enabled": bool, "command": "list[str]", "args": "list[str]"},
    "workers": {
        "celery": {
            "enableDefault": bool,
            "queue": str,
            "terminationGracePeriodSeconds": int,
            "persistence": {"enabled": bool},
            "resources": "V1ResourceRequirements",
            "keda": {
                "enabled": bool,
                "pollingInterval": int,
                "cooldownPeriod": int,
                "minReplicaCount": int,
                "maxReplicaCount": int,
                "query": str,
            },
        }
    },
}


def chart_mistakes(value: Any, wanted: Any, path: str) -> list[str]:
    """What in `value` the list above does not allow."""
    if wanted == "options":
        named = {(section, option) for section, entries in value.items() for option in entries}
        return [f"{path}: no option {entry}" for entry in sorted(named - options())]
    if isinstance(wanted, type):
        return [] if type(value) is wanted else [f"{path}: {value!r} is not {wanted.__name__}"]
    if isinstance(wanted, str):
        kind, _, text = wanted.partition(" as ")
        return mistakes(yaml.safe_load(value) if text else value, kind, path)
    found = [f"{path}.{key}: unknown to the chart" for key in value if key not in wanted]
    for key in value.keys() & wanted.keys():
        found += chart_mistakes(value[key], wanted[key], f"{path}.{key}")
    return found


def test_the_deployment_is_valid_by_kubernetes_models() -> None:
    assert mistakes(DEPLOYMENT, "V1Deployment") == []


def test_the_models_notice_mistakes() -> None:
    wrong = {"spec": {"selector": {}, "template": {"spec": {"containers": [{"nam": "x", "args": [1]}]}}}}
    found = mistakes(wrong, "V1Deployment")
    assert any("unknown in V1Container" in line for line in found)
    assert any("1 is not str" in line for line in found)
    assert any("`name` is required" in line or "name" in line and "None" in line for line in found)


def test_the_scaled_object_is_valid_by_kedas_schema() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(SCALED)
    with pytest.raises(jsonschema.ValidationError, match="minReplicas"):
        jsonschema.Draft202012Validator(SCHEMA).validate(SCALED | {"spec": SCALED["spec"] | {"minReplicas": 0}})


def test_the_gpu_workers_scale_to_zero_by_what_their_queue_holds() -> None:
    spec = SCALED["spec"]
    assert spec["scaleTargetRef"] == {"name": DEPLOYMENT["metadata"]["name"]}
    assert (spec["minReplicaCount"], "replicas" in DEPLOYMENT["spec"]) == (0, False)
    [trigger] = spec["triggers"]
    assert trigger["metadata"]["connectionFromEnv"] in ENVIRONMENT
    assert f"queue = '{PLACED.queue}'" in trigger["metadata"]["query"]
    assert WORKER["args"][WORKER["args"].index("--queues") + 1] == PLACED.queue
    assert f"airflow pools set {PLACED.pool} {spec['maxReplicaCount']} " in VALUES["migrateDatabaseJob"]["args"][0]


def test_the_gpu_worker_gets_one_gpu_and_no_privileges() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()
    resources = WORKER["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert WORKER["securityContext"] == {"allowPrivilegeEscalation": False}
    assert {mount["name"] for mount in WORKER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}


def test_every_airflow_option_of_the_gpu_worker_exists() -> None:
    assert unknown(ENVIRONMENT) == []


@pytest.mark.parametrize("values", [VALUES, PODS], ids=["values", "values-pods"])
def test_the_values_say_only_what_the_chart_and_airflow_know(values: dict[str, Any]) -> None:
    assert chart_mistakes(values, CHART, "") == []


def test_default_workers_scale_by_their_own_queue_and_slots() -> None:
    celery = VALUES["workers"]["celery"]
    assert f"queue = '{celery['queue']}'" in celery["keda"]["query"]
    assert f"/ {VALUES['config']['celery']['worker_concurrency']})" in celery["keda"]["query"]
    assert celery["keda"]["minReplicaCount"] >= 1


def test_pods_need_an_executor_that_starts_them() -> None:
    assert "KubernetesExecutor" in PODS["executor"].split(",")


def test_every_secret_is_listed_for_who_installs_it() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml"))
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:SecretName: |name: )(millrace-(?:metadata|broker|fernet|jwt|api|connections))\b", text))
    assert len(named) == 6
    assert not {name for name in named if f"`{name}`" not in page}
