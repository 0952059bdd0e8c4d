"""A base snapshot and a stream of edits, cut into what each sync finds.

`read(DIR)` takes `base.tar.xz` and `changes.jsonl.xz` (one commit a line: `changes`, each
`{"op": "A|M|D|R", "path", "from"?, "text"?}`); `made(seed)` makes a small one. Real streams delete next to nothing, so
`states` adds deletions and restores.
"""

from __future__ import annotations

import json
import lzma
import random
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.flow import corpus

KINDS = {".html", ".md", ".rst", ".txt"}  # what every engine reads
COMMITS = (1, 20)  # between two syncs, drawn evenly
DELETE, RESTORE = 0.5, 0.5  # how often a sync finds a deletion, and a restore of one

State = dict[str, str]  # name -> text


@dataclass(frozen=True, slots=True)
class Feed:
    """`commits` holds, in order, what each commit did: name -> text, None for a deletion."""

    base: State
    commits: list[dict[str, str | None]]


def read(folder: Path) -> Feed:
    """The feed below `folder`."""
    base: State = {}
    with tarfile.open(folder / "base.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file and _wanted(member.name):
                base[_name(member.name)] = file.read().decode("utf-8", "replace")
    with lzma.open(folder / "changes.jsonl.xz", "rt", encoding="utf-8") as lines:
        commits = [_commit(json.loads(line)["changes"]) for line in lines]
    return Feed(base, [commit for commit in commits if commit])


def made(seed: int, documents: int = 40, commits: int = 60) -> Feed:
    """A synthetic feed: one to three documents edited, added or deleted a commit."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = corpus.write(Path(folder), documents + commits, seed)
        texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
        names = list(texts)
        now = {name: texts[name] for name in names[:documents]}
        feed = Feed(dict(now), [])
        for number in range(commits):
            changes: dict[str, str | None] = {}
            for name in rng.sample(sorted(now), rng.randint(1, 3)):
                path = Path(folder) / name
                corpus.edit(path, f"{number}-{path.stem}")
                changes[name] = path.read_text(encoding="utf-8")
            if rng.random() < 0.1:
                changes[names[documents + number]] = texts[names[documents + number]]
            now |= {name: text for name, text in changes.items() if text is not None}
            feed.commits.append(changes)
    return feed


def states(feed: Feed, seed: int, syncs: int | None = None) -> list[State]:
    """What each sync finds, the base first; at most `syncs` after it."""
    rng = random.Random(seed)
    now, gone = dict(feed.base), dict[str, str]()
    found, place = [dict(now)], 0
    while place < len(feed.commits) and (syncs is None or len(found) <= syncs):
        step = rng.randint(*COMMITS)
        for commit in feed.commits[place : place + step]:
            for name, text in commit.items():
                gone.pop(name, None)
                if text is None:
                    now.pop(name, None)
                else:
                    now[name] = text
        place += step
        if gone and rng.random() < RESTORE:
            name = rng.choice(sorted(gone))
            now[name] = gone.pop(name)
        if rng.random() < DELETE:
            name = rng.choice(sorted(now))
            gone[name] = now.pop(name)
        found.append(dict(now))
    return found


def delta(before: State, after: State) -> dict[str, str | None]:
    """What must be written and, with None, deleted to get from one state to the next."""
    written: dict[str, str | None] = {name: text for name, text in after.items() if before.get(name) != text}
    return written | dict.fromkeys(before.keys() - after.keys())


def _commit(changes: list[dict[str, Any]]) -> dict[str, str | None]:
    return dict(_changes(changes))


def _changes(changes: list[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    for change in changes:
        if change["op"] == "R" and _wanted(change["from"]):
            yield _name(change["from"]), None
        if _wanted(change["path"]):
            yield _name(change["path"]), None if change["op"] == "D" else change["text"]


def _wanted(path: str) -> bool:
    return PurePosixPath(path).suffix in KINDS


def _name(path: str) -> str:
    return path.replace("/", "-")
