"""The page of a proposal shows every reason, both pictures, and how often each slice has judged."""

from __future__ import annotations

from pipelines.evaluate import promotion_page
from pipelines.evaluate.promotion import Check, Judgement
from pipelines.evaluate.promotion_page import Content, Tries

CHECKS = (
    Check("not worse on <main>/frozen v1", "promote", "the loss is below 0.0100", 0.001, -0.01, -0.02),
    Check("better on new/challenge v1", "refuse", "there is no gain", -0.01, -0.03, 0.0),
    Check("latency", "refuse", "90 ms a question, the champion 30: 3.00 times", 3.0, None, 1.5),
    Check("cost of embedding", "cannot tell", "it could not be measured", limit=2.0),
)


def content(checks: tuple[Check, ...] = CHECKS, tries: tuple[Tries, ...] = ()) -> Content:
    judgement = Judgement("refuse", ("latency: 3.00 times <b>", "better on new: there is no gain"), checks)
    return Content("knowledge", 7, "hand<book@2", "minilm@1", 12, judgement, tries)


def test_it_shows_everything_and_escapes_it() -> None:
    page = promotion_page.render(content(tries=(Tries("<main>/frozen v1", 9, 8, 14),)))
    assert '<p class="verdict worse">refuse</p>' in page
    assert page.count("<svg") == 2
    assert "latency: 3.00 times &lt;b&gt;" in page
    assert "hand&lt;book@2" in page
    assert "instead of minilm@1; evaluation 12" in page
    assert "<main>" not in page
    assert '<td class="n">9</td><td class="n">8</td><td class="n">14</td>' in page


def test_without_any_figure_it_says_so() -> None:
    page = promotion_page.render(content(checks=CHECKS[3:]))
    assert "Not measured." in page
    assert "No limit is set, or nothing was measured." in page
    assert "How often" not in page
