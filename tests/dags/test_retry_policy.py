"""Which errors Airflow repeats."""

from __future__ import annotations

import pytest

from pipelines import errors
from pipelines.records import Reason


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (errors.FixConfiguration("no bucket"), "fail"),
        (errors.FailRun("unaccounted"), "fail"),
        (errors.Held("40 deletions"), "fail"),
        (errors.SkipDocument(Reason.MALFORMED), "fail"),
        (errors.Retry("store is away"), "retry"),
        (ConnectionResetError("peer"), "retry"),
        (TimeoutError("late"), "retry"),
        (ValueError("a defect"), "default"),
        (MemoryError(), "default"),
    ],
)
def test_the_error_tree_decides(error, action):
    from millrace_airflow.retries import BY_ERROR_CLASS, DELAY

    decision = BY_ERROR_CLASS.evaluate(error, try_number=1, max_tries=3)
    assert decision.action.value == action
    assert (decision.retry_delay == DELAY) is (action == "retry")
    assert bool(decision.reason) is (action != "default")


def test_every_class_of_the_tree_has_a_rule():
    from millrace_airflow.retries import BY_ERROR_CLASS

    named = {name for rule in BY_ERROR_CLASS.rules for name in rule.exception_path.split(",")}
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MillraceError)]
    assert {f"pipelines.errors.{kind.__name__}" for kind in tree if kind is not errors.MillraceError} <= named
