"""A seeded corpus of HTML, Markdown and text files, or a draw from a folder of real ones.

The sentences are those of the sample corpus with a number of their own in each, so that no passage repeats; lengths are
log-normal. Pages of HTML carry the navigation and footer that real ones do.
"""

from __future__ import annotations

import html
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "include/sample/knowledge"
KINDS = (("html", 0.4), ("md", 0.35), ("txt", 0.25))
MEDIAN_SENTENCES, SPREAD = 22, 0.7  # of the log-normal length
NAVIGATION = '<nav><a href="/">Home</a> <a href="/rules">Rules</a> <a href="/contact">Contact</a></nav>'
FOOTER = "<footer>Last reviewed by the office. Printed copies are not controlled.</footer>"

Sections = list[tuple[str, list[str]]]  # (heading, paragraphs)


def write(folder: Path, count: int, seed: int) -> list[Path]:
    """`count` files below `folder`, the same for the same seed."""
    rng, sentences = random.Random(seed), _sentences()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        kind = rng.choices([name for name, _ in KINDS], [share for _, share in KINDS])[0]
        path = folder / f"{number:05d}.{kind}"
        path.write_text(FORMATS[kind](f"Guideline {number}", _sections(rng, sentences)), encoding="utf-8")
        paths.append(path)
    return paths


def draw(source: Path, folder: Path, max_chars: int, seed: int) -> list[Path]:
    """Copies of files of `source`, drawn by the seed until they hold `max_chars` bytes."""
    files = sorted(path for path in source.rglob("*") if path.suffix in {".html", ".md", ".txt", ".rst", ".py"})
    random.Random(seed).shuffle(files)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    total = 0
    for number, path in enumerate(files):
        size = path.stat().st_size
        if total + size > max_chars:
            continue
        paths.append(Path(shutil.copy(path, folder / f"{number:05d}-{path.name}")))
        total += size
    return paths


def edit(path: Path, mark: str) -> None:
    """Change one sentence in the middle of a file, the rest staying as it is."""
    text = path.read_text(encoding="utf-8")
    ends = [found.end() for found in re.finditer(r"\w{4,}\. ", text)] or [len(text) // 2]
    place = ends[len(ends) // 2]
    path.write_text(f"{text[:place]}Amended by notice {mark}. {text[place:]}", encoding="utf-8")


def _sentences() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.rglob("*.md"))]
    lines = [line for text in texts for line in text.splitlines() if line and line[0].isalpha()]
    found = {part.strip() for line in lines for part in re.split(r"(?<=[.!?]) ", line)}
    return sorted(part for part in found if 40 <= len(part) <= 240 and part.isascii() and part.endswith("."))


def _sections(rng: random.Random, sentences: Sequence[str]) -> Sections:
    left = max(4, round(rng.lognormvariate(0, SPREAD) * MEDIAN_SENTENCES))
    sections: Sections = []
    while left > 0:
        paragraphs = []
        for _ in range(rng.randint(1, 4)):
            size = min(left, rng.randint(2, 6))
            left -= size
            if size:
                paragraphs.append(" ".join(_numbered(rng, sentence) for sentence in rng.choices(sentences, k=size)))
        if paragraphs:
            sections.append((f"Part {len(sections) + 1}", paragraphs))
    return sections


def _numbered(rng: random.Random, sentence: str) -> str:
    return f"{sentence.removesuffix('.')} (rule {rng.randrange(100_000)})."


def _html(title: str, sections: Sections) -> str:
    body = "".join(
        f"<h2>{heading}</h2>" + "".join(f"<p>{html.escape(text)}</p>\n" for text in paragraphs)
        for heading, paragraphs in sections
    )
    head = f"<head><title>{title}</title><style>p {{margin: 1em}}</style></head>"
    return f"<!doctype html><html>{head}<body>{NAVIGATION}<main><h1>{title}</h1>{body}</main>{FOOTER}</body></html>"


def _markdown(title: str, sections: Sections) -> str:
    return f"# {title}\n\n" + "\n\n".join(f"## {heading}\n\n" + "\n\n".join(parts) for heading, parts in sections) + "\n"


def _plain(title: str, sections: Sections) -> str:
    return f"{title}\n\n" + "\n\n".join("\n\n".join(paragraphs) for _, paragraphs in sections) + "\n"


FORMATS: dict[str, Callable[[str, Sections], str]] = {"html": _html, "md": _markdown, "txt": _plain}
