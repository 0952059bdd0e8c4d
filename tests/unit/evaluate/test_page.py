"""The page: everything said, nothing from outside taken as markup."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import SimpleNamespace

from pipelines.evaluate import gate, page, plots
from pipelines.evaluate.freshness import Freshness

EVIL = "<script>alert(1)</script>"
COMPARED = {
    "with": 6, "same_corpus": False, "questions": 40, "difference": -0.03, "low": -0.06, "high": 0.0, "p": 0.04,
    "holm": 0.08, "detectable": 0.05,
}  # fmt: skip


def content(**more: object) -> page.Content:
    told = SimpleNamespace(
        label=f"main/rolling v2 {EVIL}", system="served", questions=40, reason="", buckets={"from titles (40)": 0.5},
        measures={"nDCG@10": {"mean": 0.5, "low": 0.4, "high": 0.6}}, compared={"nDCG@10": COMPARED},
    )  # fmt: skip
    unknown = SimpleNamespace(**{**vars(told), "reason": f"it has no questions {EVIL}", "measures": {}, "compared": {}})
    fields: dict[str, object] = {
        "collection": "knowledge",
        "number": 7,
        "verdict": "cannot tell",
        "notes": [EVIL],
        "model": "space 1",
        "headline": "nDCG@10",
        "margin": 0.02,
        "results": [told, unknown],
        "history": [SimpleNamespace(name="main", slice="rolling", version=2, evaluation=7, at=datetime.now(UTC), mean=0.5)],
        "freshness": [
            Freshness("passages", 0.4, 0.05, 100, True, "above"),
            Freshness("questions", None, 0.05, 0, False, "none"),
        ],
        "answers": {"asked": 3, "supported": 1.0, "right": None, "examples": [EVIL]},
        "gates": {"space 2": gate.decide({}, margin=0.02)},
    }
    return page.Content(**{**fields, **more})  # type: ignore[arg-type]


def test_it_says_everything_and_escapes_what_comes_from_outside() -> None:
    text = page.render(content())
    assert "<script" not in text
    for said in (
        "cannot tell",
        "it has no questions",
        "-0.030",
        "another",
        "May space 2 serve?",
        "40% of 100",
        "not measured",
    ):
        assert said in text, said
    assert text.count("<svg") == 4
    assert not re.search(r'(?:src|href)="', text)


def test_an_evaluation_without_anything_still_makes_a_page() -> None:
    text = page.render(content(results=[], history=[], freshness=[], answers={}, gates={}, notes=[]))
    assert "No earlier evaluation" in text
    assert plots.lines({}) == plots.spans([], 0, 1) == ""
