"""include/config/placement.yaml as arguments of the embed tasks, for each executor."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from millrace_airflow import placement

from pipelines.config import Placement, validate

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "include/config/placement.yaml"
POD = """
gpu:
  executor: KubernetesExecutor
  pod:
    image: registry.example.org/millrace-worker-gpu:0.1.0
    gpus: 2
    cpus: 500m
    memory: 24Gi
    shm: 4Gi
    node_selector: {nvidia.com/gpu.present: "true"}
    tolerations: [{key: dedicated, operator: Equal, value: gpu, effect: NoExecute}]
"""


def read(text: str) -> Placement:
    return validate(yaml.safe_load(text), Placement, "placement.yaml")


def test_as_shipped_it_is_queue_and_pool_and_kubernetes_is_not_imported() -> None:
    code = (
        "import sys, yaml; from millrace_airflow import placement; from pipelines import config;"
        "print(placement.gpu(config.load().placement), 'kubernetes' in sys.modules)"
    )
    done = python(code)
    assert done.stdout.strip() == "{'queue': 'gpu', 'pool': 'gpu'} False", done.stderr


def test_the_examples_in_the_file_are_valid() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    commented = [
        line.replace("  # ", "  ", 1) for line in lines if line.startswith("  # ") and not line.endswith((",", ":"))
    ]
    keys = [line for line in commented if line.lstrip().split(":")[0] in {"executor", "pod", "image", "gpus", "memory"}]
    text = "gpu:\n" + "\n".join([*keys[:1], "  pod:", *keys[1:]])
    assert read(text).gpu.pod is not None


def test_a_pod_asks_for_its_gpus_memory_shm_and_node() -> None:
    arguments = placement.gpu(read(POD))
    assert (arguments["queue"], arguments["pool"], arguments["executor"]) == ("gpu", "gpu", "KubernetesExecutor")
    pod = plain(arguments["executor_config"]["pod_override"])
    wanted = {"cpu": "500m", "memory": "24Gi", "nvidia.com/gpu": "2"}
    assert pod["spec"] == {
        "containers": [
            {
                "name": "base",
                "image": "registry.example.org/millrace-worker-gpu:0.1.0",
                "resources": {"requests": wanted, "limits": wanted},
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}}],
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoExecute"}],
    }


def test_a_pod_without_gpu_asks_for_none() -> None:
    pod = plain(placement.gpu(read("gpu: {pod: {gpus: 0}}"))["executor_config"]["pod_override"])
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "16Gi"}


def test_the_executor_lays_the_pod_over_its_template_and_keeps_the_rest() -> None:
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import models as k8s

    variable = k8s.V1EnvVar(name="AIRFLOW_HOME", value="/opt/airflow")
    base = k8s.V1Container(name="base", image="registry.example.org/millrace-worker:0.1.0", env=[variable])
    template = k8s.V1Pod(metadata=k8s.V1ObjectMeta(labels={"tier": "airflow"}), spec=k8s.V1PodSpec(containers=[base]))
    merged = PodGenerator.reconcile_pods(template, placement.gpu(read(POD))["executor_config"]["pod_override"])
    [container] = merged.spec.containers
    assert container.image == "registry.example.org/millrace-worker-gpu:0.1.0"
    assert container.env == [variable]
    assert merged.metadata.labels == {"tier": "airflow"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: {pod: {memory: 16 GB}}", "gpu.pod.memory"),
        ("gpu: {que: gpu}", "did you mean 'queue'?"),
        ("gpu: {pod: {gpus: '1'}}", "gpu.pod.gpus"),
        ("gpu: {queue: 'gpu,default'}", "gpu.queue"),
    ],
)
def test_a_mistake_is_one_line(text: str, said: str) -> None:
    from pipelines.errors import FixConfiguration

    with pytest.raises(FixConfiguration) as caught:
        read(text)
    assert str(caught.value).startswith("placement.yaml: ")
    assert said in str(caught.value)


def test_under_two_executors_every_dag_parses_and_keeps_its_pod(tmp_path: Path) -> None:
    found = parsed(tmp_path, "CeleryExecutor,KubernetesExecutor")
    assert found["errors"] == []
    assert found["executor"] == "KubernetesExecutor"
    assert found["pod"] == "registry.example.org/millrace-worker-gpu:0.1.0"


def test_an_executor_that_airflow_does_not_run_is_an_import_error_that_names_it(tmp_path: Path) -> None:
    found = parsed(tmp_path, "LocalExecutor")
    [error] = found["errors"]
    assert "KubernetesExecutor" in error


def test_every_queue_and_pool_of_a_task_is_served_by_the_compose_file(bag: Any) -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))["services"]
    commands = [service["command"] for service in services.values() if "--queues" in service.get("command", [])]
    served = {command[command.index("--queues") + 1] for command in commands}
    made = {"default_pool", *re.findall(r"pools set (\S+)", services["airflow-init"]["command"][-1])}
    tasks = [task for dag in bag.dags.values() for task in dag.tasks]
    assert {task.queue for task in tasks} <= served
    assert {task.pool for task in tasks} <= made


def plain(pod: Any) -> dict[str, Any]:
    """A pod as the JSON that the API server gets."""
    from kubernetes.client import ApiClient

    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found


def parsed(tmp_path: Path, executors: str) -> dict[str, Any]:
    """Parse, serialise and read back dags/sync.py in a project with POD as its placement."""
    folder = tmp_path / "include/config"
    folder.mkdir(parents=True)
    for file in (ROOT / "include/config").glob("*.yaml"):
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "placement.yaml").write_text(POD, encoding="utf-8")
    code = f"""
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(dag_folder={str(ROOT / "dags/sync.py")!r})
found = {{"errors": list(bag.import_errors.values())}}
if bag.dags:
    dag = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(bag.dags["sync_sample"]))))
    task = dag.get_task("shard.embed")
    config = task.executor_config if not task.is_mapped else task.partial_kwargs["executor_config"]
    found |= {{"executor": task.executor, "pod": config["pod_override"].spec.containers[0].image}}
print(json.dumps(found))
"""
    done = python(code, MILLRACE_PROJECT=str(tmp_path), AIRFLOW__CORE__EXECUTOR=executors)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own: Airflow reads its executors once a process."""
    paths = os.pathsep.join([str(ROOT / "dags"), str(ROOT / "plugins"), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": paths, "MILLRACE_PROJECT": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120, check=False
    )
