"""`@stage` and `@reported`: Airflow's `@task` with a link to the shard's Data Docs, or to the page that the task wrote.

Airflow 3 evaluates an extra link in the worker when a task ends, green or red, and stores the address as an XCom; the UI
shows what it finds there for that map index. So the link belongs to the operator class, and no plugin has to register it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk import BaseOperatorLink, conf
from airflow.sdk.bases.decorator import task_decorator_factory

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

ROUTE = "/millrace/data-docs/"


class DataDocsLink(BaseOperatorLink):
    """The great-expectations results of one shard; no button where a stage validated nothing."""

    @property
    def name(self) -> str:
        return "Data Docs"

    @property
    def xcom_key(self) -> str:
        return "data_docs_link"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return str(getattr(operator, "data_docs", ""))


class ValidatedStageOperator(_PythonDecoratedOperator):
    """A `@task` with the argument `ref` (a ShardRef as dict) that runs suites and returns a Summary as dict."""

    operator_extra_links = (DataDocsLink(),)
    data_docs = ""

    def execute(self, context: Context) -> Any:
        self.data_docs = shard_address(self.op_kwargs["ref"])  # before the work: a red stage has results to show too
        summary = super().execute(context)
        if not summary["notes"]:
            self.data_docs = ""
        return summary


class ReportLink(BaseOperatorLink):
    """The page that a task wrote; no button where it wrote none."""

    @property
    def name(self) -> str:
        return "Report"

    @property
    def xcom_key(self) -> str:
        return "report_link"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return str(getattr(operator, "report", ""))


class ReportedOperator(_PythonDecoratedOperator):
    """A `@task` that names its page by `show`, before it ends green or red."""

    operator_extra_links = (ReportLink(),)
    report = ""


def reported(**arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """`@task` with the link to its page; arguments are those of `@task`."""
    decorator: Callable[[Callable[..., Any]], Any] = task_decorator_factory(
        decorated_operator_class=ReportedOperator, multiple_outputs=False, **arguments
    )
    return decorator


def show(context: Mapping[str, Any], page: str) -> None:
    """Let the running task's link open a page, given by its path below data-docs/."""
    context["task"].report = address(page) if page else ""


def stage(*, data_docs: bool = False, **arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """`@task` for a stage of one shard; `data_docs` adds the link, further arguments are those of `@task`."""
    operator = ValidatedStageOperator if data_docs else _PythonDecoratedOperator
    # A dict annotation would make Airflow push each of its keys as an XCom of its own.
    decorator: Callable[[Callable[..., Any]], Any] = task_decorator_factory(
        decorated_operator_class=operator, multiple_outputs=False, **arguments
    )
    return decorator


def shard_address(ref: Mapping[str, Any]) -> str:
    """The page that lists a shard's Data Docs."""
    return address(f"{ref['source']}/{ref['run_id']}/{ref['shard']}/")


def address(page: str) -> str:
    """A page below data-docs/: on the UI's own origin, below the API server's own path."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return base + ROUTE + quote(page)
