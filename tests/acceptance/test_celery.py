"""A whole sync through Celery on one host: broker, scheduler, workers of queues `default` and `gpu`, one worker killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
import yaml

from tests.acceptance.celery_rig import CeleryRig, shelf
from tests.acceptance.rig import ROOT, Rig

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]

DAG = "sync_shelf"
GATE = 7_411  # an advisory lock that a computed batch waits for before it is kept
CLOSE_GATE = f"""
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
CREATE TRIGGER gate BEFORE INSERT ON embedding_cache FOR EACH ROW EXECUTE FUNCTION gate()
"""


@pytest.fixture(scope="module")
def celery(rig: Rig) -> Iterator[CeleryRig]:
    """The rig's Airflow under CeleryExecutor, with one worker of queue `default`, which has no embedding engine."""
    made = CeleryRig(rig)
    try:
        made.start()
        made.worker("default", models=False)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def documents(rig: Rig) -> int:
    return shelf(rig.root)


def test_a_gpu_worker_without_the_models_extra_refuses_at_once(rig: Rig, celery: CeleryRig, documents: int) -> None:
    celery.worker("gpu", models=False, name="bare")
    celery.await_workers()
    run_id, state = rig.run(DAG)
    celery.end("bare")
    assert state == "failed"
    with closing(rig.client()) as client:
        [embed] = [task for task in client.task_instances(DAG, run_id) if task["task_id"] == "shard.embed"]
    assert (embed["state"], embed["try_number"], embed["queue"]) == ("failed", 1, "gpu")
    [said] = errors(rig, run_id)
    assert said.startswith("this worker has no openvino, so it cannot embed: ")
    assert "queue 'gpu'" in said
    assert "requirements-worker-gpu.txt" in said


def test_a_sync_survives_the_kill_of_its_gpu_worker(rig: Rig, celery: CeleryRig, documents: int) -> None:
    celery.worker("gpu", models=True)
    celery.await_workers()
    with closed_gate(rig), closing(rig.client()) as client:
        client.unpause(DAG)
        run_id = client.trigger(DAG)
        rig.until(lambda: waiting(rig))
        assert task(rig, run_id, "shard.embed") == ("running", 1, "gpu")
        assert wanted(rig) == {"gpu": 1, "default": 0}
        celery.kill("gpu")
    celery.worker("gpu", models=True)
    with closing(rig.client()) as client:
        rig.until(lambda: client.dag_run(DAG, run_id)["state"] in {"success", "failed"})
        assert client.dag_run(DAG, run_id)["state"] == "success"
    assert task(rig, run_id, "shard.embed") == ("success", 2, "gpu")
    for name in ("plan", "shard.prepare", "shard.validate", "shard.publish", "settle"):
        assert task(rig, run_id, name) == ("success", 1, "default"), name
    assert "shard.embed" not in celery.log("default")
    assert wanted(rig) == {"gpu": 0, "default": 0}
    [(listed, state, counts)] = rig.corpus("SELECT listed, state, counts FROM run WHERE external_id = %s", run_id)
    assert (listed, state, counts["loaded"]) == (documents, "succeeded", documents)
    audited = rig.millrace("audit", "shelf", "--json")
    assert (audited.returncode, json.loads(audited.stdout)) == (0, [])


def task(rig: Rig, run_id: str, name: str) -> tuple[str, int, str]:
    """State, attempt and queue of a task."""
    with closing(rig.client()) as client:
        [found] = [entry for entry in client.task_instances(DAG, run_id) if entry["task_id"] == name]
    return str(found["state"]), int(found["try_number"]), str(found["queue"])


def wanted(rig: Rig) -> dict[str, int]:
    """How many workers of each queue KEDA would run now, by the queries of docker/kubernetes."""
    folder = ROOT / "docker/kubernetes"
    [_, scaled] = yaml.safe_load_all((folder / "gpu-worker.yaml").read_text())
    values = yaml.safe_load((folder / "values.yaml").read_text())
    queries = {
        "gpu": scaled["spec"]["triggers"][0]["metadata"]["query"],
        "default": values["workers"]["celery"]["keda"]["query"],
    }
    return {queue: int(rig.metadata(query)[0][0]) for queue, query in queries.items()}


@contextmanager
def closed_gate(rig: Rig) -> Iterator[None]:
    """While open, a computed batch of vectors waits before it is kept."""
    with psycopg.connect(rig.services.dsn, options="-c search_path=millrace,public", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        connection.execute(CLOSE_GATE.encode())
        try:
            yield
        finally:  # first the gate: who waits at it holds the table
            connection.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
            connection.execute("DROP FUNCTION gate CASCADE")


def waiting(rig: Rig) -> bool:
    """Whether a batch waits at the gate."""
    [(count,)] = rig.corpus("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", GATE)
    return bool(count)


def errors(rig: Rig, run_id: str) -> list[str]:
    """The last exception of the only shard's embed task."""
    folder = rig.settings.home / "airflow/logs" / f"dag_id={DAG}" / f"run_id={run_id}" / "task_id=shard.embed"
    lines = [json.loads(line) for line in (folder / "map_index=0/attempt=1.log").read_text().splitlines() if line[:1] == "{"]
    return [line["error_detail"][-1]["exc_value"] for line in lines if line.get("error_detail")]
