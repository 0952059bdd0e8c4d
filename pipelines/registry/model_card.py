"""A version's model card: what it is, where it comes from, what it was measured to do. Markdown, made from the registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.store.registry import Change, Measured, Version


def text(version: Version, measured: Sequence[Measured], history: Sequence[Change]) -> str:
    """The card; figures are those of the newest evaluations, with their 95 % intervals."""
    return "\n".join([*_what(version), *_figures(measured), *_served(history), *_files(version)]) + "\n"


def _what(version: Version) -> Iterator[str]:
    yield f"# {version.name}"
    yield ""
    by = f" by {version.created_by}" if version.created_by else ""
    yield f"Registered {version.created_at:%Y-%m-%d %H:%M %Z}{by}; {', '.join(version.aliases) or 'serves nowhere'}."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| kind | {version.kind} |"
    yield f"| revision | `{version.revision}` |"
    yield f"| arithmetic | {version.dtype} |"
    yield f"| made from | {version.parent or 'not known'} |"
    run = ", ".join(f"{key} {value}" for key, value in sorted(version.run.items()))
    yield f"| run with | {run or 'as models.yaml says'} |"
    if version.dataset:
        yield f"| taught with | data set {version.dataset}, `{version.dataset_sha}` |"
        yield f"| by code | `{version.code_sha}` |"
        told = ", ".join(f"{key} {value}" for key, value in sorted(version.configuration.items()))
        yield f"| configuration | {told} |"
    yield f"| spaces | {', '.join(map(str, version.spaces)) or 'none'} |"


def _figures(measured: Sequence[Measured]) -> Iterator[str]:
    yield ""
    yield "## Figures"
    yield ""
    if not measured:
        yield "Not evaluated yet."
        return
    yield "| slice | measure | mean | 95 % interval | questions | evaluation |"
    yield "|---|---|---|---|---|---|"
    for one in measured:
        interval = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
        yield f"| {one.slice} | {one.measure} | {one.mean:.4f} | {interval} | {one.questions} | {one.evaluation} |"


def _served(history: Sequence[Change]) -> Iterator[str]:
    if history:
        yield ""
        yield "## Where it served"
        yield ""
    for change in history:
        by = f", by {change.by}" if change.by else ""
        yield f"- {change.at:%Y-%m-%d %H:%M:%S %Z}: {change.alias} of {change.collection}, space {change.space}{by}"


def _files(version: Version) -> Iterator[str]:
    if version.files:
        yield ""
        yield "## Files"
        yield ""
        yield "| file | bytes | SHA-256 |"
        yield "|---|---|---|"
    for file in version.files:
        yield f"| {file['path']} | {file['bytes']} | `{file['sha256']}` |"
