"""Asking the source, one by one, whether the documents that its listing lacks are gone. Reads only.

A listing can miss pages without saying so; only an object that the source denies when asked for it by name, or that the
configuration leaves out, is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import SkipDocument
from pipelines.stages import plan

if TYPE_CHECKING:
    from pipelines.context import Context

Answer = Literal["gone", "missed", "unknown"]
THREADS = 16
REMEDY = {
    "missed": "are in the source, but its listing left them out: it was incomplete, or they came back; they stay, run again",
    "unknown": "are missing from the listing and the source would not say whether they are gone; they stay, run again",
}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """`gone`: the documents to delete; `missed` and `unknown`, by uri, stay: changes to them would not be seen either."""

    gone: tuple[bytes, ...]
    missed: tuple[str, ...]
    unknown: tuple[str, ...]

    def gaps(self) -> Iterator[str]:
        """What a run must not be green about."""
        for uris, remedy in ((self.missed, REMEDY["missed"]), (self.unknown, REMEDY["unknown"])):
            if uris:
                yield f"{len(uris)} documents, such as {uris[0]}, {remedy}"


def confirm(ctx: Context, run_plan: dict[str, Any]) -> Confirmed:
    """The answers for the deletions of a plan. Raises Retry or FixConfiguration when the source cannot be asked at all."""
    name: str = run_plan["source"]
    source = ctx.source(name, date.fromisoformat(run_plan["day"]) if run_plan["day"] else None)
    # Configuration that changed since the plan says nothing about documents that the plan's listing answered for.
    moved = not run_plan["scope"].startswith(source.root())

    def ask(entry: list[str]) -> Answer:
        _, uri = entry
        if moved:
            return "unknown"
        if plan.left_out(ctx, source, name, uri):
            return "gone"
        try:
            return "gone" if source.current_version(uri) is None else "missed"
        except SkipDocument:
            return "unknown"

    asked: list[list[str]] = run_plan["delete"]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="confirm") as threads:
        answers = list(zip(asked, threads.map(ask, asked), strict=True))
    return Confirmed(
        tuple(bytes.fromhex(doc_id) for (doc_id, _), answer in answers if answer == "gone"),
        tuple(uri for (_, uri), answer in answers if answer == "missed"),
        tuple(uri for (_, uri), answer in answers if answer == "unknown"),
    )
