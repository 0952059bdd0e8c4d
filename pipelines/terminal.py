"""What the command line prints: values as text or JSON, live progress, one-line errors. No decisions here."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.config import Settings
    from pipelines.context import Progress
    from pipelines.records import Accounting
    from pipelines.search.answer import Answer
    from pipelines.search.hybrid import Hit
    from pipelines.stages.reembed import Outcome as Reembedded
    from pipelines.stages.switch import Entry
    from pipelines.store.audit import Finding
    from pipelines.store.benchmarks import Proposed
    from pipelines.store.deletions import Hold
    from pipelines.store.ledger import SourceStatus
    from pipelines.store.quarantine import QuarantineItem
    from pipelines.store.questions import Listed
    from pipelines.store.registry import Version
    from pipelines.store.space_states import Switch


def say(line: str) -> None:
    """One line for a person."""
    click.echo(line)


def complain(line: str) -> None:
    """One line of error on standard error."""
    click.echo(f"millrace: {line}", err=True)


def person() -> str:
    """Who sits at the terminal, for the record of decisions."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "cli"


def show(value: Any, text: str, as_json: bool) -> None:
    """The value as JSON for a machine, or its text for a person."""
    click.echo(json.dumps(plain(value), ensure_ascii=False) if as_json else text)


def console() -> Console:
    """The terminal as rich sees it."""
    from rich.console import Console

    return Console(highlight=False)


def plain(value: Any) -> Any:
    """A dataclass or container as JSON values: bytes in hex, times in ISO form."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return round(value, 6)
    return value


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Live progress of a run's stages on a terminal; nothing when quiet or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def report(step: Any) -> None:
            key = (step.stage, step.shard)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{step.stage} {step.shard}".strip(), total=step.total or None)
            bars.update(tasks[key], completed=step.done, total=step.total or None)

        yield report


def accounting(done: Accounting) -> str:
    """The accounting of a run: every listed object in exactly one state, with reasons."""
    stats = done.stats
    counts = " / ".join(f"{state} {done.counts.get(state, 0)}" for state in STATES)
    lines = [
        f"run {done.run_id} of {done.source}: {done.state} in {stats.get('seconds', 0):.1f} s",
        f"  {done.listed} listed: {counts}",
    ]
    lines += [f"    {reason}: {count}" for reason, count in sorted(done.reasons.items())]
    lines.append(f"  {stats.get('chunks', 0)} chunks, {_embeddings(stats)}")
    return "\n".join(lines + [f"  note: {note}" for note in done.notes])


def _embeddings(stats: Mapping[str, Any]) -> str:
    found = f"{stats.get('embedded', 0)} embeddings computed, {stats.get('reused', 0)} reused"
    if not stats.get("reused"):
        return found
    saved = f", about {stats['saved_seconds']:.1f} s saved" if "saved_seconds" in stats else ""
    return f"{found} ({stats.get('reuse_rate', 0):.0%}{saved})"


STATES = ("loaded", "unchanged", "quarantined", "deleted", "excluded")


def status(found: Sequence[SourceStatus]) -> str:
    """One paragraph a source."""
    lines = []
    for entry in found:
        last = f"run {entry.last_run} {entry.last_state}" if entry.last_run else "never synced"
        success = f"{entry.last_success:%Y-%m-%d %H:%M:%S %Z}" if entry.last_success else "never"
        lines.append(f"{entry.source}: {last}; last success {success}")
        lines.append(
            f"  loaded {entry.loaded}, quarantined {entry.quarantined}, deleted {entry.deleted};"
            f" serving {entry.served} documents in {entry.chunks} chunks"
        )
        if not entry.configured:
            lines.append("  not in sources.yaml any more: what is served of it stays and is not updated (docs/runbook.md)")
        if entry.held_deletions:
            lines.append(f"  {entry.held_deletions} deletions wait for a person: `millrace held {entry.source}`")
        if entry.kept_deletions:
            lines.append(f"  {entry.kept_deletions} documents are kept that the source no longer has, as decided")
        if entry.open_quarantine:
            lines.append(f"  {entry.open_quarantine} in quarantine: `millrace replay {entry.source} --list`")
    return "\n".join(lines) or "no sources are configured in include/config/sources.yaml"


def sources(settings: Settings) -> str:
    """One line a source."""
    lines = []
    for name, source in settings.sources.items():
        when = source.schedule or "on demand"
        dated = " · dated" if source.dated else ""
        lines.append(f"{name:<16} {source.kind:<7} {when:<12} -> {source.collection}{dated}  {source.description}")
    return "\n".join(lines) or "none; add one to include/config/sources.yaml"


def hits(found: Sequence[Hit]) -> str:
    """Each passage with its place."""
    lines = []
    for rank, hit in enumerate(found, start=1):
        place = " > ".join(dict.fromkeys(part for part in (hit.title, *hit.heading_path) if part))
        member = f"!{hit.member}" if hit.member else ""
        lines += [
            f"{rank}. {place}  ({hit.score:.4f})",
            f"   {hit.uri}{member} [{hit.char_start}:{hit.char_end}]",
            f"   {_shorten(hit.passage)}",
        ]
    return "\n".join(lines) or "nothing found"


def answer(given: Answer) -> str:
    """The answer with its citations."""
    lines = [given.text]
    for number, citation in enumerate(given.citations, start=1):
        member = f"!{citation.member}" if citation.member else ""
        lines.append(f"  [{number}] {citation.uri}{member} [{citation.char_start}:{citation.char_end}] {citation.title}")
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> str:
    """One line a finding."""
    lines = [f"{finding.check}: {finding.uri or finding.doc_id} {finding.detail}".rstrip() for finding in found]
    return "\n".join(lines) or "the audit found nothing"


def held(found: Sequence[Hold]) -> str:
    """One paragraph a run: why, how to decide or who decided, and the documents."""
    lines = []
    for (source, run_id, decision), group in groupby(found, lambda hold: (hold.source, hold.run_id, hold.decision)):
        holds = list(group)
        since, why = holds[0].since, holds[0].why or "an unfinished run held them"
        lines.append(f"run {run_id} of {source}, {since:%Y-%m-%d %H:%M:%S %Z}: {len(holds)} deletions held because {why}")
        if decision is None:
            command = f"millrace sync {source}"
            lines.append(f"  waiting: `{command} --approve {run_id}` deletes them, `{command} --reject {run_id}` keeps them")
        else:
            lines.append(f"  {decision} by {holds[0].decided_by}, {holds[0].decided_at:%Y-%m-%d %H:%M:%S %Z}")
        lines += [f"  {hold.uri}" for hold in holds]
    return "\n".join(lines) or "no deletions are held"


def quarantine(items: Sequence[QuarantineItem]) -> str:
    """One line a document."""
    lines = [
        f"{item.reason}: {item.uri}{'!' + item.member if item.member else ''} "
        f"(attempt {item.attempt}, {item.stage}) {item.detail}".rstrip()
        for item in items
    ]
    return "\n".join(lines) or "the quarantine is empty"


def spaces(found: Sequence[Entry]) -> str:
    """One paragraph a space."""
    lines = []
    for entry in found:
        space = entry.space
        lines.append(
            f"{space.collection} {space.id}: {space.state} since {space.changed_at:%Y-%m-%d %H:%M:%S %Z}, {space.model}"
            f" {space.revision[:12]} ({space.dtype}, {space.dim} dimensions as {space.storage}), chunk set {space.chunk_set}"
        )
        if entry.missing_documents or entry.missing_texts:
            lines.append(f"  missing: {entry.missing_documents} documents' passages, {entry.missing_texts} texts' vectors")
        if space.report:
            lines.append(f"  verified: {_measured(space.report)}")
    return "\n".join(lines) or "no space yet; the first sync of a collection makes one"


def versions(found: Sequence[Version]) -> str:
    """One line a model version."""
    lines = [
        f"{version.name}: {version.kind}, {version.revision[:12]} ({version.dtype}), "
        + (f"{sum(file['bytes'] for file in version.files)} bytes kept, " if version.artifact else "")
        + (", ".join(version.aliases) or "serves nowhere")
        for version in found
    ]
    return "\n".join(lines) or "no model version yet; the first sync registers one, `millrace models import` adds one"


def reembedded(done: Reembedded) -> str:
    """How a re-embedding ended."""
    counts = ", ".join(f"{name} {count}" for name, count in done.counts.items() if count) or "nothing to do"
    lines = [f"run {done.run_id}: space {done.space} of {done.collection} is {done.state}: {counts}"]
    if done.report:
        lines.append(f"  verified: {_measured(done.report)}")
    lines += [f"  retired space {number}" for number in done.retired]
    return "\n".join(lines + [f"  note: {note}" for note in done.notes])


def switched(done: Switch) -> str:
    """Which space serves now, and the way back."""
    return (
        f"{done.collection} is served by space {done.serves}, space {done.left} is kept; "
        f"back with `millrace rollback {done.collection}`"
    )


def _measured(report: Mapping[str, Any]) -> str:
    parts = [f"{report['texts']} texts"]
    if report["recall_at_10"] is not None:
        parts.append(f"recall@10 {report['recall_at_10']:.3f}")
    if report["ndcg_at_10"] is not None:
        parts.append(f"nDCG@10 {report['ndcg_at_10']:.3f} (served then: {report['ndcg_at_10_serving']:.3f})")
    return ", ".join([*parts, *report["failures"]])


def _shorten(text: str, width: int = 300) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def candidates(listed: Sequence[Proposed]) -> str:
    """Candidates for review: number, question, the document that answers, and why it was decided so."""
    lines = []
    for entry in listed:
        words = "" if entry.overlap is None else f", {entry.overlap:.0%} of its words in the passage"
        lines.append(f"{entry.id}  {entry.body}")
        lines.append(f"    {entry.slice}, {entry.builder}{words}: {entry.documents[0]}")
        lines += [f"    {entry.evidence[:200]}"] if entry.evidence else []
        lines += [f"    {entry.state} by {entry.decided_by}: {entry.reason or 'no reason'}"] if entry.decided_by else []
    return "\n".join(lines) or "no candidates"


def questions(listed: Sequence[Listed]) -> str:
    """Questions with the cosine of their nearest passage, how often and when last they were asked."""
    lines = [
        f"{'     ' if entry.similarity is None else f'{entry.similarity:5.2f}'}  {entry.times:>4} x  {entry.last:%Y-%m-%d}  "
        f"{entry.question[:200]}"
        for entry in listed
    ]
    return "\n".join(["near   asked   last        question", *lines]) if lines else "no questions"


def benchmarks(found: Mapping[str, Any]) -> str:
    """The newest version of every slice and the candidates by state."""
    lines = [
        f"{entry.collection} {entry.label}: {entry.questions} questions, made {entry.created_at:%Y-%m-%d} by "
        f"{entry.created_by or 'nobody'} on {entry.documents} documents"
        for entry in found["versions"]
    ]
    lines += [
        f"{where}: " + ", ".join(f"{count} {state}" for state, count in counts.items())
        for where, counts in found["candidates"].items()
    ]
    return "\n".join(lines) or "no benchmark; `millrace benchmark import` or `millrace benchmark build` makes one"
