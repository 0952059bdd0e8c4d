"""Queue, pool, executor and pod of the tasks that compute vectors: include/config/placement.yaml as arguments of a task.

LocalExecutor takes the pool and ignores the rest, CeleryExecutor takes the queue, KubernetesExecutor takes the pod.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.config import Placement, Pod

if TYPE_CHECKING:
    from kubernetes.client import models as k8s

CONTAINER = "base"  # KubernetesExecutor merges the override into the container of this name
SHM = "shm"


def gpu(placement: Placement) -> dict[str, Any]:
    """Arguments of a task that computes vectors: `queue`, `pool`; `executor` and `executor_config` where configured."""
    slot = placement.gpu
    arguments: dict[str, Any] = {"queue": slot.queue, "pool": slot.pool}
    if slot.executor is not None:
        arguments["executor"] = slot.executor
    if slot.pod is not None:
        arguments["executor_config"] = {"pod_override": pod_override(slot.pod)}
    return arguments


def pod_override(pod: Pod) -> k8s.V1Pod:
    """What is laid over the pod template. Importing the client takes longer than parsing a DAG file: only a pod pays it."""
    from kubernetes.client import models as k8s  # noqa: PLC0415

    resources = {"cpu": pod.cpus, "memory": pod.memory}
    if pod.gpus:  # an extended resource cannot be overcommitted: request and limit are the same
        resources[pod.gpu_resource] = str(pod.gpus)
    container = k8s.V1Container(
        name=CONTAINER,
        image=pod.image,
        resources=k8s.V1ResourceRequirements(requests=resources, limits=resources),
        # torch's loaders hand tensors over in /dev/shm, which a container otherwise has 64 MB of.
        volume_mounts=[k8s.V1VolumeMount(name=SHM, mount_path="/dev/shm")],
    )
    shm = k8s.V1Volume(name=SHM, empty_dir=k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=pod.shm))
    return k8s.V1Pod(
        spec=k8s.V1PodSpec(
            containers=[container],
            volumes=[shm],
            node_selector=dict(pod.node_selector) or None,
            tolerations=[k8s.V1Toleration(**tolerated.model_dump(exclude_none=True)) for tolerated in pod.tolerations],
        )
    )
