"""The documents of the poison bench: real text in the common formats, and the catalogue's poison between them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.faults import poison
from bench.faults.poison import Kind

PARAGRAPHS = 30  # of a healthy document: about 5 kB, a dozen passages
CORPUS_FILES = 400
# Every tenth healthy document is one of these as it is
WHOLE = (
    *("engineering/sensor-calibration.docx", "policies/environmental-policy.pdf", "operations/fleet-register.csv"),
    *("hr/performance-review-guide.docx", "support/claims-guide.pdf", "support/mail-demurrage-reminder.eml"),
)


@dataclass(frozen=True, slots=True)
class World:
    """Names to bytes. `kinds` says what is expected of each document that is not plain."""

    healthy: Mapping[str, bytes]
    poison: Mapping[str, bytes]
    kinds: Mapping[str, Kind]
    cured: Mapping[str, bytes]  # other bytes for every poisonous name, which load

    @property
    def mixed(self) -> dict[str, bytes]:
        """Healthy and poisonous documents in the order of their names, which is random."""
        return dict(sorted({**self.healthy, **self.poison}.items()))


def world(rng: random.Random, documents: int, share: float, corpus: Path | None) -> World:
    """`documents` of which `share` are poison, made from the paragraphs of `corpus` or of the sample."""
    texts = _paragraphs(corpus or poison.SAMPLE)
    odd = poison.odd(rng, texts)
    bad = poison.poison(rng, round(documents * share), texts)
    healthy = {name: data for name, data, _ in odd}
    for number in range(documents - len(bad) - len(odd)):
        healthy |= _healthy(rng, number, texts)
    return World(
        dict(sorted(healthy.items())),
        {name: data for name, data, _ in bad},
        {name: kind for name, _, kind in (*odd, *bad)},
        {name: _cure(rng, kind, texts) for name, _, kind in bad},
    )


def _paragraphs(folder: Path) -> list[str]:
    """The paragraphs of the readable text files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".md", ".txt", ".rst"})[:CORPUS_FILES]
    found: dict[str, None] = {}
    for path in files:
        text = path.read_bytes().decode("utf-8", "ignore")
        if not any(character in text for character in "\0\ufffd"):
            found |= dict.fromkeys(part.strip() for part in text.split("\n\n") if 80 < len(part) < 1500)
    return list(found)


def _healthy(rng: random.Random, number: int, texts: Sequence[str]) -> dict[str, bytes]:
    name = f"{rng.randrange(10**6):06d}-{number}-healthy"
    if number % 10 == 9:
        path = poison.SAMPLE / WHOLE[number // 10 % len(WHOLE)]
        return {name + path.suffix: path.read_bytes()}
    parts = rng.sample(texts, min(PARAGRAPHS, len(texts)))
    if number % 3:
        return {name + ".md": f"# Note {number}\n\n{(chr(10) * 2).join(parts)}".encode()}
    return {name + ".html": (f"<title>Note {number}</title>" + "".join(f"<p>{part}</p>" for part in parts)).encode()}


def _cure(rng: random.Random, kind: Kind, texts: Sequence[str]) -> bytes:
    """What its author saves instead: a small document of the same format."""
    text = rng.choice(texts)
    whole = {"docx": poison.WORD, "pdf": poison.SAMPLE / "support/claims-guide.pdf"}.get(kind.extension)
    if whole is not None:
        return whole.read_bytes()
    written = {"json": poison.as_json, "jsonl": poison.as_json, "eml": poison.mail}.get(kind.extension)
    return written(text) if written else text.encode()
