"""A source in memory whose objects grow, shrink, disappear and return; every sentence says its object and version."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from urllib.parse import unquote

from bench.faults.direct import body, read_marks, version_name
from bench.faults.readers import Target
from pipelines.records import Content, RawObject
from pipelines.sources.memory import Memory

LETTERS, TEXTS = 4, 10  # objects with attachments, objects without
ROOT = "memory://mailbox/"


class Mailbox(Memory):
    """Plain texts and letters with attachments; the change token of an object is the version that its text says.

    The odd ones are deleted and come back, the even ones are always there.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(root=ROOT)
        self._rng = rng
        self._version = 0
        for name in self._names():
            self._write(name)

    def renew(self) -> None:
        """A new version of some objects; one of the odd ones goes or comes back."""
        names = self._names()
        for name in self._rng.sample(names, self._rng.randint(2, len(names))):
            if name in self.objects:
                self._write(name)
        name = self._rng.choice([name for name in names if not _lasting(name)])
        if self.objects.pop(name, None) is None:
            self._write(name)

    def targets(self) -> list[Target]:
        """What a reader may ask for."""
        return [
            Target(self.uri(name), name.partition(".")[0], lasting=_lasting(name), counted=False) for name in self._names()
        ]

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """As Memory lists, with versions as tokens."""
        for listed in super().list(prefix):
            yield replace(listed, version=self._token(listed.uri))

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """As Memory reads, with the version as token."""
        return replace(super().read(listed, max_bytes), version=self._token(listed.uri))

    def current_version(self, uri: str) -> str | None:
        """The version as of now, None when the object is gone."""
        return None if super().current_version(uri) is None else self._token(uri)

    def _token(self, uri: str) -> str:
        text = self.objects[unquote(uri.removeprefix(ROOT))].decode()
        return next(iter(read_marks(text.replace("\n", " ")))).version

    def _names(self) -> tuple[str, ...]:
        return (*(f"letter{n:02d}.eml" for n in range(LETTERS)), *(f"text{n:02d}.txt" for n in range(TEXTS)))

    def _write(self, name: str) -> None:
        self._version += 1
        version, title = version_name(self._version), name.partition(".")[0]
        if name.endswith(".txt"):
            self.objects[name] = self._text(title, version).encode()
            return
        letter = EmailMessage()
        letter["Subject"] = f"Letter {title}"
        letter.set_content(self._text(title, version))
        for number in range(self._rng.randint(0, 3)):
            letter.add_attachment(self._text(title, version), filename=f"a{number}.txt")
        self.objects[name] = letter.as_bytes()

    def _text(self, title: str, version: str) -> str:
        parts = self._rng.randint(1, 8)
        sentences = [body(title, version, part, parts, f"Filler {self._rng.randrange(99)}.") for part in range(1, parts + 1)]
        return "\n\n".join(f"{sentence} {sentence}" for sentence in sentences)


def _lasting(name: str) -> bool:
    return int(name.partition(".")[0][-2:]) % 2 == 0
