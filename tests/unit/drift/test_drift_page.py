"""The page of a look for drift: every verdict, escaped, and nothing that has to be loaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.drift.page import Content, Point, render
from pipelines.drift.plots import Mark, bars, timeline

SINCE = datetime(2026, 11, 20, tzinfo=UTC)


def told(**fields: Any) -> dict[str, Any]:
    return {
        "p": 0.0004,
        "adjusted": 0.002,
        "effect": 3.2,
        "floor": 0.8,
        "alarm": True,
        "units": [812, 64],
        "reason": "",
    } | fields


def content(**fields: Any) -> Content:
    values: dict[str, Any] = {
        "collection": "knowledge",
        "source": "",
        "since": SINCE,
        "until": SINCE + timedelta(days=1),
        "state": "drift",
        "sentence": "Drift in passages (p 0.002), at level 0.0056.",
        "notes": ("a <note>",),
        "tests": {
            "length": told(p=None, adjusted=None, effect=None, floor=None, alarm=False, reason="too <few>"),
            "passages": told(),
        },
        "found": {
            "documents": [812, 64],
            "passages": [1800, 240],
            "test": "passages",
            "sources": [["docs", 0.9], ["tickets", -0.1]],
            "days": [["2026-11-20", 1.0]],
            "terms": [["<b>oven</b>", 4.0]],
            "examples": [{"address": "docs/a&b.md", "title": "<i>Soup</i>", "source": "docs", "text": "<script>boil()"}],
        },
        "history": (),
        "level": 1 / 180,
        "model": "space 1, m",
    }
    return Content(**{**values, **fields})


def test_it_says_what_drifted_where_it_comes_from_and_escapes_all_of_it() -> None:
    page = render(content())
    assert '<p class="state drift">Drift</p>' in page
    assert "64 documents with 240 new passages, compared with 812 documents" in page
    assert "&lt;b&gt;oven" in page
    assert "&lt;script&gt;boil()" in page
    assert "a &lt;note&gt;" in page
    assert "docs/a&amp;b.md" in page
    assert not [word for word in ("<script", "<b>", "<i>", "<note>", "http:", "https:") if word in page]
    assert page.index("all passages</td>") < page.index("length of passages</td>")  # alarms first
    assert "cannot tell: too &lt;few&gt;" in page
    assert "By day" not in page  # of one day there is nothing to compare


def test_days_without_a_comparison_have_a_page_too() -> None:
    page = render(
        content(state="nothing new", sentence="Nothing new.", tests={}, found={"documents": [3, 0], "passages": [9, 0]})
    )
    assert '<p class="state nothing">Nothing new</p>' in page
    assert "All tests" not in page
    assert "<svg" not in page


def test_the_timeline_is_that_of_the_test_that_alarms() -> None:
    history = [Point(SINCE + timedelta(days=day), {"passages": told(effect=0.1 * day, alarm=day == 4)}) for day in range(5)]
    page = render(content(history=history))
    assert page.count("<circle") == 5
    assert page.count('r="5"') == 1
    assert "2026-11-19" in page
    assert "2026-11-23" in page


def test_drawings_of_little_are_small() -> None:
    assert timeline([]) == timeline([Mark(SINCE, None, None, alarm=False)]) == bars([]) == ""
    assert timeline([Mark(SINCE, 0.3, None, alarm=False)]).count("<circle") == 1
    assert 'width="0.0"' in bars([("docs", -0.2)])


def test_what_users_asked_is_a_table_and_typical_ones_where_they_drift() -> None:
    asked = {
        "asked": [1520, 96],
        "different": [812, 64],
        "nearness": [0.612, 0.48],
        "far": [0.05, 0.31],
        "gap": [0.21, 0.29],
        "examples": ["How is <b>onion</b> cooked?"],
    }
    page = render(content(tests={"questions": told()}, found={"questions": asked}))
    assert '<td class="n">1,520</td><td class="n">96</td>' in page
    assert '<td class="n">5%</td><td class="n">31%</td>' in page
    assert "How is &lt;b&gt;onion&lt;/b&gt; cooked?" in page
    quiet = render(
        content(tests={"questions": told(alarm=False)}, found={"questions": {"asked": [0, 3], "different": [0, 3]}})
    )
    assert '<td class="n">0</td><td class="n">3</td>' in quiet
    assert "Typical new questions" not in quiet
