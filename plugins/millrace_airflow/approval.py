"""`Approval`: Airflow's ApprovalOperator where gates.yaml asks for a person, skipped where it does not; what was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from pipelines import config

if TYPE_CHECKING:
    from airflow.sdk import Context

ANSWER = "answer"  # the XCom key


class Approval(ApprovalOperator):
    """Waits for Approve or Reject as long as a proposal holds; nobody's answer is Reject, which skips the next task."""

    def __init__(self, *, hours: float, **arguments: Any) -> None:
        super().__init__(defaults=self.REJECT, response_timeout=timedelta(hours=hours), **arguments)

    def execute(self, context: Context) -> Any:
        if config.load().gates.approval == "automatic":
            raise AirflowSkipException("include/config/gates.yaml lets what passes every check serve at once")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        if "error" not in event:  # kept here: Reject ends the task by an exception, which loses its return value
            person = event["responded_by_user"]
            answer = {"approved": event["chosen_options"] == [self.APPROVE], "by": person["name"] if person else ""}
            context["ti"].xcom_push(key=ANSWER, value=answer)
        return super().execute_complete(context, event)


@dataclass(frozen=True, slots=True)
class Said:
    """What an Approval ended with; `by` is empty when nobody answered."""

    approved: bool
    by: str


def said(context: Mapping[str, Any], task_id: str) -> Said | None:
    """The answer, None where none was asked for."""
    answer = context["ti"].xcom_pull(task_ids=task_id, key=ANSWER)
    return None if answer is None else Said(**answer)
