"""Two folder sources on disk that several processes read while one changes them: `docs`, and the dated `days`.

Texts share their sentences, so that documents share passages and the collector has something to race for.
"""

from __future__ import annotations

import os
import random
import shutil
from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from pipelines.config import DAY, DeleteGuard, FolderSource, SourceConfig

DAYS = (date(2026, 3, 1), date(2026, 3, 2))
PREFIXES = ("a/", "b/", "")
SENTENCES = 40
BROKEN = b"%PDF-1.4 \0broken"
LAX = DeleteGuard(max_documents=10_000, max_share=1.0)  # the guard has a bench of its own


class Shelf:
    """Files below one folder; every change replaces a file as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pieces = folder / "pieces"

    def sources(self) -> dict[str, SourceConfig]:
        """The entries of sources.yaml."""
        return {
            "docs": FolderSource(kind="folder", path=str(self.folder / "docs"), delete_guard=LAX),
            "days": FolderSource(kind="folder", path=str(self.folder / "days" / DAY), delete_guard=LAX),
        }

    def fill(self, rng: random.Random) -> None:
        """A fresh state: every file but a few."""
        for name in ("docs", "days"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._pieces.mkdir(parents=True, exist_ok=True)
        for name in self._names():
            if _always(name) or rng.random() < 0.8:
                self._write(name, rng)

    def change(self, rng: random.Random) -> None:
        """One file changes, breaks, disappears or returns; each folder keeps at least one."""
        name = rng.choice(self._names())
        if not _always(name) and rng.random() < 0.35:
            (self.folder / name).unlink(missing_ok=True)
        else:
            self._write(name, rng, broken=rng.random() < 0.15)

    def heal(self, rng: random.Random) -> None:
        """Make every broken file and every letter with a blank attachment a good one, so that the final state follows from
        the files alone: of what is in quarantine, the last good version is served, and that depends on who saw it."""
        for name in self._names():
            path = self.folder / name
            if path.exists() and _refused(path.read_bytes()):
                self._write(name, rng, whole=True)

    def _names(self) -> list[str]:
        plain = [f"docs/{place}{number}.txt" for place in PREFIXES for number in range(3)]
        letters = [f"docs/{place}letter{number}.eml" for place in PREFIXES[:2] for number in range(2)]
        dated = [f"days/{day.isoformat()}/{number}.txt" for day in DAYS for number in range(3)]
        return plain + letters + dated

    def _write(self, name: str, rng: random.Random, *, broken: bool = False, whole: bool = False) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        piece = self._pieces / f"{os.getpid()}"
        piece.write_bytes(BROKEN if broken else _content(name, rng, whole))
        piece.replace(path)


def _content(name: str, rng: random.Random, whole: bool) -> bytes:
    """A text or a letter; the attachments of one that is not `whole` may be blank."""
    if not name.endswith(".eml"):
        return _text(rng).encode()
    letter = EmailMessage()
    letter["Subject"] = "Letter"
    letter.set_content(_text(rng))
    for number in range(3):
        if rng.random() < 0.5:
            letter.add_attachment(_text(rng) if rng.random() < 0.7 or whole else " ", filename=f"a{number}.txt")
    return letter.as_bytes()


def _refused(data: bytes) -> bool:
    """Whether a sync puts the file, or an attachment of it, into quarantine."""
    if data == BROKEN:
        return True
    letter = message_from_bytes(data, policy=policy.default)
    return any(not part.get_content().strip() for part in letter.iter_attachments())


def _always(name: str) -> bool:
    return name.endswith("/0.txt")


def _text(rng: random.Random) -> str:
    numbers = rng.sample(range(SENTENCES), rng.randint(1, 6))
    return "\n\n".join(
        " ".join(f"Sentence {number} says that word{number} is known here." for _ in range(8)) for number in numbers
    )
