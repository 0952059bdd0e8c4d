"""The page of one look for drift: what a person sees in a minute. One HTML file with drawings in it, nothing to load, no
script. Whatever comes from the corpus is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any, NamedTuple

from pipelines.drift import plots

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:56rem;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.4rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:1.8rem 0 .4rem}
p.state{font-size:1.5rem;font-weight:700;margin:.6rem 0 0}p.sentence{font-size:1.1rem;margin:.2rem 0 .6rem}
.drift{color:#b3261e}.no{color:#17693a}.nothing,.cannot{color:#8a5a00}small,figcaption{color:#5a6472;font-size:.85rem}
div.wide{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #d9dee6;white-space:nowrap}
td.why{white-space:normal;min-width:9rem}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr.alarm td{color:#b3261e;font-weight:600}
svg{width:100%;height:auto;display:block}svg text{font-size:14px;fill:#1c2430}figure{margin:0}
span.term{display:inline-block;background:#eef2f7;border-radius:.3rem;padding:.05rem .5rem;margin:.15rem .2rem .15rem 0}
blockquote{margin:.6rem 0;padding:.1rem .8rem;border-left:3px solid #d9dee6;overflow-wrap:anywhere}
@media(max-width:40rem){svg text{font-size:22px}}
@media print{body{margin:0;max-width:none}h2,figure,blockquote,tr{break-inside:avoid}}
"""
QUOTED = 240  # characters of a question
QUESTIONS = ("questions", "question_nearness", "question_corpus_gap")
NAMES = {
    "passages": "all passages",
    "pipeline": "the embedder",
    "length": "length of passages",
    "tokens_per_character": "tokens per character",
    "unknown_share": "unknown tokens",
    "near_duplicate_share": "repeated text",
    "language": "language",
    "questions": "subjects of the questions",
    "question_nearness": "cosine of the questions' nearest passage",
    "question_corpus_gap": "density of the corpus at the questions",
}


class Point(NamedTuple):
    """The tests of one window that ended at `at`, a midnight."""

    at: datetime
    tests: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Content:
    """Everything on the page; `tests` and `found` as they are stored in drift_report."""

    collection: str
    source: str
    since: datetime
    until: datetime
    state: str
    sentence: str
    notes: Sequence[str]
    tests: Mapping[str, Mapping[str, Any]]
    found: Mapping[str, Any]
    history: Sequence[Point]
    level: float
    model: str


def render(content: Content) -> str:
    """The whole page."""
    scope = f"{content.collection}, source {content.source}" if content.source else content.collection
    title = f"Drift in {escape(scope)}, {_days(content)}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="state {content.state.split()[0]}">{escape(content.state.capitalize())}</p>',
        f'<p class="sentence">{escape(content.sentence)}</p>',
        *_sizes(content),
        *_notes(content),
        *_carried(content),
        *_questions(content),
        *_timeline(content),
        *_tests(content),
        f"<p><small>{escape(content.model)}. An alarm needs an adjusted p of at most {content.level:.2g} and an effect "
        "above the floor, which 95 % of the earlier windows stay below. An effect of 1 is what chance exceeds once in a "
        "hundred.</small></p>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html><html lang="en">{head}<title>{title}</title><style>{STYLE}</style>\n{body}</html>\n'


def _days(content: Content) -> str:
    last = (content.until - timedelta(days=1)).date()
    first = content.since.date()
    return f"{last}" if first == last else f"{first} to {last}"


def _sizes(content: Content) -> Iterator[str]:
    if "documents" in content.found:
        (before, now), (were, are) = content.found["documents"], content.found["passages"]
        yield (
            f"<p>{now:,} documents with {are:,} new passages, compared with {before:,} documents and {were:,} passages "
            "served before.</p>"
        )


def _notes(content: Content) -> Iterator[str]:
    if content.notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in content.notes)}</ul>"


def _carried(content: Content) -> Iterator[str]:
    found = content.found
    if "test" not in found:
        return
    yield f"<h2>Where it comes from ({escape(_name(found['test']))})</h2>"
    for heading, key in (("By source", "sources"), ("By day", "days")):
        if len(found[key]) > 1 or key == "sources":
            yield f"<figure><figcaption>{heading}, shares of the difference</figcaption>{plots.bars(found[key])}</figure>"
    if found["terms"]:
        words = "".join(f'<span class="term">{escape(word)}</span>' for word, _ in found["terms"])
        yield f"<h2>Words that it uses more</h2><p>{words}</p>"
    if found["examples"]:
        yield "<h2>Typical new passages</h2>"
    for entry in found["examples"]:
        named = f"{escape(entry['title'])}, " if entry["title"] else ""
        yield f"<blockquote>{escape(entry['text'])}<br><small>{named}{escape(entry['address'])}</small></blockquote>"


def _questions(content: Content) -> Iterator[str]:
    found = content.found.get("questions")
    if not found:
        return
    yield "<h2>What users asked</h2>"
    yield '<div class="wide"><table><tr><th></th><th class="n">before</th><th class="n">in the window</th></tr>'
    for label, key in (
        ("questions", "asked"),
        ("different ones", "different"),
        ("cosine of the nearest passage, median", "nearness"),
        ("farther from any passage than 95 % were before", "far"),
        ("distance to the corpus, squared MMD", "gap"),
    ):
        if key in found:
            cells = "".join(f'<td class="n">{_share(key, value)}</td>' for value in found[key])
            yield f"<tr><td>{label}</td>{cells}</tr>"
    yield "</table></div>"
    if any(content.tests[name]["alarm"] for name in QUESTIONS if name in content.tests) and found.get("examples"):
        yield "<h2>Typical new questions</h2>"
        for text in found["examples"]:
            yield f"<blockquote>{escape(text if len(text) <= QUOTED else text[:QUOTED] + '…')}</blockquote>"


def _share(key: str, value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.0%}" if key == "far" else f"{value:.3f}"


def _timeline(content: Content) -> Iterator[str]:
    shown = content.found.get("test", "passages")
    marks = [
        plots.Mark(point.at - timedelta(days=1), test["effect"], test["floor"], test["alarm"])
        for point in content.history
        if (test := point.tests.get(shown))
    ]
    if drawing := plots.timeline(marks):
        yield f"<h2>Effect by window ({escape(_name(shown))})</h2><figure>{drawing}"
        yield "<figcaption>Dashed: the floor, known after 20 windows. Red: alarms.</figcaption></figure>"


def _tests(content: Content) -> Iterator[str]:
    if not content.tests:
        return
    heads = ("p", "adjusted p", "effect", "floor", "compared")
    yield '<h2>All tests</h2><div class="wide"><table><tr><th>test</th>'
    yield "".join(f'<th class="n">{head}</th>' for head in heads) + "<th></th></tr>"
    ranked = sorted(content.tests.items(), key=lambda item: (not item[1]["alarm"], item[1]["p"] is None, item[1]["p"]))
    for name, test in ranked:
        figures = [_figure(test[key]) for key in ("p", "adjusted", "effect", "floor")]
        figures.append(" / ".join(f"{count:,}" for count in test["units"]))
        cells = "".join(f'<td class="n">{figure}</td>' for figure in figures)
        told = "alarm" if test["alarm"] else "cannot tell" if test["p"] is None else ""
        why = ": ".join(filter(None, (told, test["reason"])))
        row = ' class="alarm"' if test["alarm"] else ""
        yield f'<tr{row}><td>{escape(_name(name))}</td>{cells}<td class="why">{escape(why)}</td></tr>'
    yield "</table></div>"


def _name(test: str) -> str:
    return NAMES.get(test, test)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"
