"""The trigger forms of the DAGs, and the requests made of them.

Airflow checks each value against its schema before the run exists. What a schema cannot say (unknown keys, a day where
there is an interval) is checked when the plan task starts, before anything is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from airflow.sdk import Param

from pipelines.config import SourceConfig
from pipelines.errors import FixConfiguration
from pipelines.records import Budget, ReembedRequest, SyncRequest

# Relative, one line, no parent folder, no template: what may follow a source's root.
PREFIX = r"^(?!/)(?!.*\{\{)(?!(.*/)?\.\.(/|$))[^\x00-\x1f\x7f]+$"
VERSION = r"^[^@/]+(@[1-9][0-9]*)?$"
WITH_INTERVAL = frozenset({"scheduled", "backfill"})


def sync_params(source: SourceConfig) -> dict[str, Param]:
    """The form of one source's DAG; a dated source has a field for the day."""
    params = {
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            section="What to do",
            description="Only log the plan: what would be added, updated, deleted and held. Nothing changes.",
        ),
        "full_rescan": Param(
            False,
            type="boolean",
            title="Full rescan",
            section="What to do",
            description="Read and compare every listed object, whatever its version says.",
        ),
        "prefix": Param(
            None,
            type=["null", "string"],
            pattern=PREFIX,
            maxLength=512,
            title="Prefix",
            section="Scope",
            description="Only what starts with this below the source's root, such as `policies/`. "
            "Deletions stay inside it too.",
        ),
        "approve_held": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Approve held deletions of run",
            section="Decisions",
            description="The number of a Millrace run whose held deletions may proceed; its settle task names it.",
        ),
        "reject_held": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Reject held deletions of run",
            section="Decisions",
            description="The number of a Millrace run whose held documents stay served; they are not held again until the "
            "source lists them.",
        ),
    }
    if source.dated:
        params["day"] = Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            section="Scope",
            description="The day to sync, such as 2026-10-05. A manual run needs it; other runs have their own.",
        )
    return params


def sync_request(name: str, source: SourceConfig, context: Mapping[str, Any]) -> SyncRequest:
    """What one run asks of the engine. Raises FixConfiguration for an unknown key and for a day missing or not wanted."""
    run, params = context["dag_run"], context["params"]
    _known_keys(run.conf or {}, sync_params(source))
    return SyncRequest(
        source=name,
        door="airflow",
        external_id=run.run_id,
        day=_day(name, run, params.get("day")) if source.dated else None,
        prefix=params["prefix"] or "",
        full_rescan=params["full_rescan"],
        approve=params["approve_held"],
        reject=params["reject_held"],
        decided_by=run.triggering_user_name or "" if params["approve_held"] or params["reject_held"] else "",
    )


def reembed_params(collections: Collection[str], models: Collection[str]) -> dict[str, Param]:
    """The form of a re-embedding."""
    amount: dict[str, Any] = {"section": "Budget", "minimum": 0}
    return {
        "collection": Param(
            next(iter(collections)), type="string", enum=sorted(collections), title="Collection", section="What to do"
        ),
        "model": Param(
            None,
            type=["null", "string"],
            enum=[None, *sorted(models)],
            title="Model",
            section="What to do",
            description="The entry of models.yaml to go over to; empty: the one configured for the collection.",
        ),
        "switch": Param(
            False,
            type="boolean",
            title="Switch",
            section="What to do",
            description="Let the new space serve once it is verified. Otherwise `millrace switch` does, by hand.",
        ),
        "keep_days": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Keep for days",
            section="What to do",
            description="Retire spaces that stopped serving more days ago; empty: keep them all.",
        ),
        "max_texts": Param(
            None,
            type=["null", "integer"],
            title="Texts",
            description="Embed at most so many; a later run goes on.",
            **amount,
        ),
        "max_tokens": Param(None, type=["null", "integer"], title="Tokens", description="Embed at most so many.", **amount),
        "max_minutes": Param(
            None, type=["null", "number"], title="Minutes", description="Stop embedding so long after the plan.", **amount
        ),
        "max_cost": Param(
            None, type=["null", "number"], title="Cost", description="Stop at this cost by prices.yaml.", **amount
        ),
    }


def evaluate_params(collections: Collection[str]) -> dict[str, Param]:
    """The form of an evaluation."""
    return {
        "collection": Param(
            None,
            type=["null", "string"],
            enum=[None, *sorted(collections)],
            title="Collection",
            description="Empty: those whose change woke the run, or all.",
        )
    }


def promote_params(collections: Collection[str]) -> dict[str, Param]:
    """The form of a promotion."""
    return {
        "collection": Param(next(iter(collections)), type="string", enum=sorted(collections), title="Collection"),
        "version": Param(
            None,
            type=["null", "string"],
            pattern=VERSION,
            title="Version",
            description="Such as handbook@3, or handbook for its newest; empty: the challenger that waits.",
        ),
    }


def promote_request(context: Mapping[str, Any], known: Mapping[str, Param]) -> tuple[str, str]:
    """The collection and the version, "" for the challenger. Raises FixConfiguration for an unknown key."""
    run, params = context["dag_run"], context["params"]
    _known_keys(run.conf or {}, known)
    return params["collection"], params["version"] or ""


def reembed_for(context: Mapping[str, Any], chosen: Mapping[str, Any]) -> ReembedRequest:
    """Of a version that is to be judged: a space beside the one that serves."""
    run = context["dag_run"]
    return ReembedRequest(
        collection=chosen["collection"],
        model=chosen["version"],
        door="airflow",
        external_id=run.run_id,
        decided_by=run.triggering_user_name or "",
    )


def drift_params(collections: Collection[str]) -> dict[str, Param]:
    """The form of a look for drift."""
    return {
        "collection": Param(
            None,
            type=["null", "string"],
            enum=[None, *sorted(collections)],
            title="Collection",
            description="Empty: all.",
        ),
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="The day to look at in a manual run, such as 2026-10-05; empty: yesterday.",
        ),
    }


def reembed_request(context: Mapping[str, Any], known: Mapping[str, Param]) -> ReembedRequest:
    """What one run asks of the engine. Raises FixConfiguration for an unknown key."""
    run, params = context["dag_run"], context["params"]
    _known_keys(run.conf or {}, known)
    seconds = None if params["max_minutes"] is None else 60.0 * params["max_minutes"]
    return ReembedRequest(
        collection=params["collection"],
        model=params["model"] or "",
        budget=Budget(params["max_texts"], params["max_tokens"], seconds, params["max_cost"]),
        switch=params["switch"],
        keep_days=params["keep_days"],
        door="airflow",
        external_id=run.run_id,
        decided_by=run.triggering_user_name or "",
    )


def _known_keys(conf: Mapping[str, Any], known: Mapping[str, Param]) -> None:
    for key in conf:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise FixConfiguration(f"run configuration: unknown key {key!r}; {hint}")


def _day(name: str, run: Any, asked: str | None) -> date:
    if str(getattr(run.run_type, "value", run.run_type)) in WITH_INTERVAL:
        if asked:
            raise FixConfiguration(
                f"sync_{name}: param day={asked!r} in a run that has its own interval; leave it out or trigger by hand"
            )
        day: date = run.data_interval_start.date()
        return day
    if not asked:
        # A manual run's logical date is the moment it was triggered, so no day may be derived from it.
        raise FixConfiguration(f'sync_{name}: a manual run needs the day to sync; trigger it with {{"day": "YYYY-MM-DD"}}')
    return date.fromisoformat(asked)
