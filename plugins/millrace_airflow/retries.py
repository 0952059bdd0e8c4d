"""Which errors a task repeats: the engine's error tree as Airflow's retry rules, by dotted name."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

RETRIES = 3
DELAY = timedelta(seconds=20)  # the adapters retry within seconds themselves; this outlasts a restart of a service

BY_ERROR_CLASS = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            "pipelines.errors.FixConfiguration",
            RetryAction.FAIL,
            reason="a file, connection or parameter is wrong: correct it, then clear the task",
        ),
        RetryRule("pipelines.errors.Held", RetryAction.FAIL, reason="a person has to decide about held deletions"),
        RetryRule("pipelines.errors.NothingLearned", RetryAction.FAIL, reason="there is nothing to learn"),
        RetryRule("pipelines.errors.FailRun", RetryAction.FAIL, reason="the run cannot be completed truthfully"),
        RetryRule("pipelines.errors.SkipDocument", RetryAction.FAIL, reason="a document's error left its stage: a defect"),
        RetryRule(
            ["pipelines.errors.Retry", "pipelines.errors.Switched", "builtins.ConnectionError", "builtins.TimeoutError"],
            RetryAction.RETRY,
            retry_delay=DELAY,
            reason="a dependency failed; the same call may succeed later",
        ),
    ]
)
