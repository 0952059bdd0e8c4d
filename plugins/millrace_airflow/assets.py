"""The assets that Millrace's DAGs announce and listen to.

A DAG that wants to run after every change of a source has `schedule=[assets.corpus("sample")]`. The syncs emit through an
alias, because a plain outlet would emit an event on every green run, changed or not.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetAlias

from pipelines.records import Accounting


def corpus(source: str) -> Asset:
    """The searchable text of one source."""
    return Asset(name=f"corpus_{source}", uri=f"millrace://corpus/{source}")


def changes(source: str) -> AssetAlias:
    """The outlet of a source's settle task."""
    return AssetAlias(name=f"corpus_{source}_changes")


def space(collection: str) -> Asset:
    """The spaces of a collection, one of which was built or changed places."""
    return Asset(name=f"space_{collection}", uri=f"millrace://space/{collection}")


def space_changes() -> AssetAlias:
    """The outlet of a re-embedding's settle task, whose collection is known when it runs."""
    return AssetAlias(name="space_changes")


def announce_space(outlet_events: Any, collection: str, number: int, state: str) -> None:
    """Emit one event on the collection's spaces; it carries {"collection", "space", "state"}."""
    extra = {"collection": collection, "space": number, "state": state}
    outlet_events[space_changes()].add(space(collection), extra=extra)


def drift(kind: str, collection: str) -> Asset:
    """A drift of one kind, `corpus`, `questions` or `pipeline`, found in a collection."""
    return Asset(name=f"{kind}_drift_{collection}", uri=f"millrace://drift/{kind}/{collection}")


def drift_alarms() -> AssetAlias:
    """The outlet of the task that looks for drift, which finds it or not when it runs."""
    return AssetAlias(name="drift_alarms")


def announce_drift(outlet_events: Any, kind: str, collection: str, sentence: str) -> None:
    """Emit one event on a kind of drift; it carries {"collection", "kind", "sentence"}."""
    extra = {"collection": collection, "kind": kind, "sentence": sentence}
    outlet_events[drift_alarms()].add(drift(kind, collection), extra=extra)


def announce(outlet_events: Any, accounting: Accounting) -> bool:
    """Emit one event on the source's corpus when readers see another corpus than before; returns whether it did.

    `outlet_events` is the task context's. The event carries {"run_id", "source", "counts"}: a listener takes its work from
    the ledger, not from the event.
    """
    if not accounting.changed:
        return False
    extra = {"run_id": accounting.run_id, "source": accounting.source, "counts": dict(accounting.counts)}
    outlet_events[changes(accounting.source)].add(corpus(accounting.source), extra=extra)
    return True
