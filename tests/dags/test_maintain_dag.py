"""The maintenance DAG: house policy, and a red task when an index finds too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import FailRun

ROOT = Path(__file__).resolve().parents[2]


def test_it_runs_weekly_alone_and_tells_what_to_do(bag):
    dag = bag.dags["maintain"]
    assert dag.schedule == "0 3 * * 0"
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert "section *maintain*" in dag.doc_md
    assert "## maintain" in (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    (task,) = dag.tasks
    assert f"| `{task.task_id}` |" in dag.doc_md
    assert (task.owner, type(task.retry_policy).__name__) == ("millrace", "ExceptionRetryPolicy")
    assert task.execution_timeout.total_seconds() > 0


def test_a_report_with_failures_is_logged_and_turns_the_task_red(caplog):
    from millrace_airflow import runtime

    from pipelines.stages import maintain

    kept = maintain.Kept("space_1", 10, 100, 90, 0.5, "50% of the rows changed", 0.5, 1.0)
    report = maintain.Report((kept,), (), tuple(maintain._failures([kept])))
    with caplog.at_level("INFO", "millrace"), pytest.raises(FailRun, match=r"space_1: recall@10 of its index is 0\.500"):
        runtime.maintained(report, maintain.require)
    assert "space_1: 10 rows, 0.0 -> 0.0 MB, 50% changed, recall@10 0.500, index rebuilt" in caplog.text
