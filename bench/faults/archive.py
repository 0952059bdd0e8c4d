"""A small archive in states that follow each other, as a source in memory and as files, with a count of every read.

Texts of several chunks, a duplicate, a letter with a good and an empty attachment, a poison document. `CHANGED` heals and
poisons, updates, deletes and brings back, and gives an object a new version of the same bytes; `SHRUNKEN` lacks half.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote

from bench.faults.tally import Tally
from pipelines.records import Content, RawObject, sha256
from pipelines.sources.memory import Memory

Objects = Mapping[str, tuple[bytes, str]]  # name -> bytes and a stamp that is part of the version


def _text(*topics: str) -> bytes:
    """A paragraph of about 80 tokens, thus a chunk, for each topic."""
    parts = (
        " ".join(f"Sentence {n} on {topic} says that {topic} is number {n} here." for n in range(7)) for topic in topics
    )
    return "\n\n".join(parts).encode()


def _letter(words: str, **attachments: str) -> bytes:
    letter = EmailMessage()
    letter["Subject"] = f"Letter about {words}"
    letter.set_content(f"This letter is about {words}.\n")
    for name, text in attachments.items():
        letter.add_attachment(text, filename=f"{name}.txt")
    letter.set_boundary("=-=-=")
    return letter.as_bytes()


FIRST: Objects = {
    "a01.txt": (_text("ash", "birch", "cedar", "date", "elm"), ""),
    "a02.txt": (_text("fir"), ""),
    "a03.txt": (_text("fir"), ""),
    "a04.txt": (_text("gum", "hazel", "ivy"), ""),
    "b05.json": (b"{broken", ""),
    "b06.eml": (_letter("jade", good="An attachment about jade.", empty=""), ""),
    "b07.txt": (_text("kelp"), ""),
    "b08.txt": (_text("larch"), ""),
    "c09.txt": (_text("maple", "nettle"), ""),
    "c10.txt": (_text("oak", "pine"), ""),
    "c11.txt": (_text("quince", "rowan", "sage"), ""),
    "c12.json": (b'{"topic": "thyme", "text": "A record about thyme."}', ""),
}
WITHOUT: Objects = {name: entry for name, entry in FIRST.items() if name != "c10.txt"}
CHANGED: Objects = {
    **{name: entry for name, entry in FIRST.items() if name != "c09.txt"},
    "a01.txt": (_text("ash", "vine", "willow", "date", "elm", "yew"), ""),
    "a03.txt": (_text("ulex"), ""),
    "b05.json": (b'{"topic": "healed", "text": "A record that was broken."}', ""),
    "b06.eml": (_letter("jade", other="Another attachment about opal.", empty=""), ""),
    "b08.txt": (_text("larch"), "moved"),
    "c12.json": (b"{poisoned", ""),
}
SHRUNKEN: Objects = {name: CHANGED[name] for name in ("a01.txt", "a02.txt", "a03.txt", "a04.txt", "b05.json")}


class Archive(Memory):
    """A state as a source; every read is told to the tally."""

    def __init__(self, objects: Objects, tally: Tally | None = None) -> None:
        super().__init__({name: data for name, (data, _) in objects.items()}, root="memory://archive/")
        self._stamps = {name: stamp for name, (_, stamp) in objects.items()}
        self._tally = tally

    def versions(self) -> dict[str, str]:
        """uri -> version of everything that is listed."""
        return {listed.uri: listed.version for listed in self.list()}

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """As Memory lists, with stamped versions."""
        for listed in super().list(prefix):
            yield replace(listed, version=self._version(listed.uri))

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """As Memory reads, with a stamped version."""
        if self._tally:
            self._tally.add({"reads": 1}, read=listed.uri)
        return replace(super().read(listed, max_bytes), version=self._version(listed.uri))

    def current_version(self, uri: str) -> str | None:
        """The stamped version, None when the object is gone."""
        return None if super().current_version(uri) is None else self._version(uri)

    def _version(self, uri: str) -> str:
        name = unquote(uri.removeprefix(self.root()))
        return f"{sha256(self.objects[name]).hex()[:12]}{self._stamps[name]}"


def write(folder: Path, objects: Objects) -> None:
    """Make the files of a folder this state; those of equal bytes and stamp are left as they are."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in objects:
            path.unlink()
    for name, (data, stamp) in objects.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        elif stamp:
            os.utime(path)
