"""Markdown and HTML: structure is kept, invisible parts go, no text is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records import Reason
from tests.unit.text.files_for_tests import document, outline, rejected

_MARKDOWN = """---
title: "Leave policy"
owner: HR
tags:
  - people
  - time
---
# Leave

Everyone has *thirty* days
a year, see [the law](https://example.com/x).

## Sick leave

| Days | Paid |
|------|------|
| 1-42 | full |
| 43+  | none |

1. Call
2. Write
   - today
   - or tomorrow

   with a reason

> Quoted advice.

```sh
leave --now
```

<div><p>Raw <b>HTML</b> words</p><script>evil()</script></div>

# Empty end
"""


def test_markdown():
    found = document(_MARKDOWN, "markdown")
    assert found.title == "Leave policy"
    assert found.metadata == {"owner": "HR", "tags": "people, time"}
    assert outline(found) == [
        ("Leave", "prose", "Everyone has thirty days a year, see the law."),
        ("Leave > Sick leave", "table", "Days: 1-42; Paid: full\nDays: 43+; Paid: none"),
        ("Leave > Sick leave", "list", "1. Call\n2. Write\n- today\n- or tomorrow\nwith a reason"),
        ("Leave > Sick leave", "prose", "Quoted advice."),
        ("Leave > Sick leave", "code", "leave --now"),
        ("Leave > Sick leave", "prose", "Raw HTML words"),
        ("", "prose", "Empty end"),
    ]


def test_markdown_depth():
    assert rejected("> " * 400 + "deep", "markdown").reason is Reason.TOO_DEEP
    assert document("> " * 50 + "deep", "markdown").text == "deep"


@given(st.lists(st.text(alphabet="abc*_`[]()#>-|<>&!~ \n\t1.", max_size=60), max_size=15))
@settings(max_examples=200, deadline=None)
def test_markdown_keeps_every_letter_run(lines):
    text = "\n".join(lines)
    if "<" in text or "[" in text or "&" in text or "`" in text or "~" in text:
        return  # tags, link targets and info strings are markup
    if not any(character in "abc" for character in text):
        return
    found = document(text, "markdown")
    everything = found.title + found.text + "".join("".join(part.heading_path) for part in found.sections)
    assert {"a", "b", "c"} & set(text) <= set(everything)
    assert sum(character in "abc" for character in everything) >= sum(character in "abc" for character in text)


_HTML = """<!DOCTYPE html><html lang="en-GB"><head><title>Canteen &amp; bar</title><style>p{}</style></head><body>
<nav>Home | About</nav>tail of nav
<h1>Canteen</h1><p>Open <b>daily</b><br>from nine</p>after p <span hidden>secret</span>visible tail
<div style="display: none">hidden div</div>tail of hidden<script>x()</script>tail of script<!-- note -->tail of comment
<h2>Prices</h2><table><caption>All prices</caption><tr><th>Dish</th><th>Price</th></tr>
<tr><td>Soup</td><td>4&nbsp;€</td></tr><tr><td colspan="2">Closed on Sunday</td></tr></table>tail of table
<ul><li>Fish<ul><li>Trout</li></ul>fresh</li><li>Bread</li>stray</ul><ol><li>Pay</li><li>Eat</li></ol>
<pre>code
  block</pre><img alt="A plate"><template>no</template></body></html>"""


def test_html():
    found = document(_HTML, "html")
    assert found.title == "Canteen & bar"
    parts = outline(found)
    assert parts[0] == ("", "prose", "tail of nav")
    assert parts[1][:2] == ("Canteen", "prose")
    for words in ("Open daily\nfrom nine", "after p visible tail", "tail of hidden", "tail of script", "tail of comment"):
        assert words in parts[1][2]
    assert ("Canteen > Prices", "table", "Dish: Soup; Price: 4 €\nDish: Closed on Sunday") in parts
    assert ("Canteen > Prices", "list", "- Fish\n- Trout\nfresh\n- Bread\nstray") in parts
    assert ("Canteen > Prices", "list", "1. Pay\n2. Eat") in parts
    assert ("Canteen > Prices", "code", "code\nblock") in parts
    for words in ("tail of table", "All prices", "A plate"):
        assert words in found.text
    for words in ("Home", "secret", "hidden div", "x()", "note", "p{}"):
        assert words not in found.text


def test_names_of_empty_columns_are_kept():
    page = "<table><tr><th>Name<th>Signature<tr><td>Ada<td> </table>"
    assert document(page, "html").text == "Signature\nName: Ada"
    assert document("| Name | Signature |\n|---|---|\n", "markdown").text == "Name | Signature"


def test_html_layout_tables_are_read_as_text():
    page = "<table><tr><td><h1>Rules</h1><p>One.</p></td><td><p>Two.</p></td></tr></table>"
    assert outline(document(page, "html")) == [("Rules", "prose", "One.\n\nTwo.")]


def test_html_declared_charset_and_language():
    page = '<html lang="fr"><meta charset="iso-8859-15"><p>Prix : 5 ¤</p>'.encode("latin-1")
    found = document(page, "html")
    assert found.text == "Prix : 5 €"
    assert found.lang == "fr"
    assert found.warnings == ()


def test_html_entities_are_not_fetched_or_expanded():
    page = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "&a;&a;">]><p>safe &a; &b;</p>'
    text = document(page, "html").text
    assert "safe" in text
    assert "root:" not in text


@pytest.mark.parametrize("depth", [300, 100_000])
def test_html_depth(depth):
    began = time.perf_counter()
    assert rejected("<div>" * depth + "x", "html").reason is Reason.TOO_DEEP
    assert time.perf_counter() - began < 10


_TAGS = st.sampled_from(
    ["p", "div", "b", "i", "li", "ul", "td", "tr", "table", "th", "h2", "pre", "dl", "dd", "section", "caption"]
)


@given(st.lists(st.tuples(_TAGS, st.booleans()), max_size=40))
@settings(max_examples=300, deadline=None)
def test_html_never_loses_text_between_any_tags(tags):
    page, words = "<body>w0 ", {"w0"}
    for number, (tag, closing) in enumerate(tags, 1):
        page += f"<{'/' * closing}{tag}>w{number} "
        words.add(f"w{number}")
    found = document(page, "html")
    everything = found.text + " " + " ".join(" ".join(part.heading_path) for part in found.sections)
    assert words <= set(everything.replace(":", " ").replace(";", " ").replace("|", " ").split())
