"""Plain text: encodings, titles, headings, wrapped lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import Reason
from pipelines.text.decode import decode
from tests.unit.text.files_for_tests import document, outline, rejected

_LANGUAGES = {
    "de": (
        "Die Größe der Straße überrascht jeden, der über die schöne Brücke fährt. ",
        ["cp1252", "iso8859_15", "utf-16-le"],
    ),
    "fr": ("L'été dernier, nous avons visité la forêt près du château où l'hôte était né. ", ["cp1252", "utf-16-be"]),
    "pl": ("Zażółć gęślą jaźń, powiedział król, a żołnierze śmiali się całą noc. ", ["cp1250", "utf-16"]),
    "ru": ("Съешь же ещё этих мягких французских булок, да выпей чаю в тишине. ", ["cp1251", "koi8-r", "utf-16-le"]),
    "el": ("Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί κάθε πρωί. ", ["cp1253", "utf-8-sig"]),
    "he": ("דג סקרן שט בים מאוכזב ולפתע מצא חברה נחמדה בין הסלעים. ", ["cp1255", "utf-16-be"]),
    "ja": ("いろはにほへと散りぬるを、我が世たれぞ常ならむ。今日は良い天気ですね。", ["shift_jis", "euc_jp", "utf-32"]),
    "ko": ("키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. ", ["euc_kr", "utf-16"]),
}


@pytest.mark.parametrize(("lang", "encoding"), [(lang, name) for lang, (_, names) in _LANGUAGES.items() for name in names])
def test_no_character_is_lost_unless_it_is_flagged(lang, encoding):
    text = _LANGUAGES[lang][0] * 20
    found, warnings = decode(text.encode(encoding))
    assert found == text or "encoding_guess" in warnings
    if encoding.startswith("utf"):
        assert found == text


@pytest.mark.parametrize(
    ("lang", "encoding"), [("de", "cp1252"), ("fr", "cp1252"), ("ru", "cp1251"), ("ja", "shift_jis"), ("pl", "cp1250")]
)
def test_common_code_pages_are_recognised(lang, encoding):
    text = _LANGUAGES[lang][0] * 20
    assert decode(text.encode(encoding)) == (text, ("encoding_guess",))


@given(st.text(max_size=300))
def test_utf8_is_exact(text):
    if not text.startswith("\ufeff") and "\0" not in text:
        assert decode(text.encode()) == (text, ())


def test_a_few_broken_bytes_are_flagged_and_many_refused():
    good = "Grüße aus Köln, schöne Straßen. " * 40
    text, warnings = decode(good.encode() + b"\xff")
    assert text == good + "\ufffd"
    assert warnings == ("encoding_guess",)
    assert rejected(b"\xfe\xff" + b"\xd8\x00" * 50, "text").reason is Reason.ENCODING_LOSS


@pytest.mark.parametrize("data", [b"", b" \n\t ", "\u200b\u00a0\ufeff\n".encode(), b"\0\0\0\0"])
def test_empty(data):
    assert rejected(data, "text").reason is Reason.EMPTY_TEXT


def test_a_title_line_and_underlined_headings():
    text = "Office rules\n\nIntro words.\n\nKitchen\n=======\nClean it.\n\nFridge\n------\nLabel it.\n"
    found = document(text, "text")
    assert found.title == "Office rules"
    assert [(path, words) for path, _, words in outline(found)] == [
        ("Office rules", "Intro words."),
        ("Kitchen", "Clean it."),
        ("Kitchen > Fridge", "Label it."),
    ]


def test_wrapped_lines_are_joined_and_short_ones_are_not():
    wrapped = (
        "This paragraph was wrapped by an editor at about sixty cha-\nracters, so its lines belong together and the\n"
        "sentence goes on. Ein- und Ausgang bleiben getrennt, Vor-\nund Nachteile auch.\n"
    )
    text = document(wrapped + "\nName: Ada\nCity: Bern\n", "text").text
    assert "sixty characters, so its lines belong together and the sentence goes on." in text
    assert "Vor- und Nachteile" in text
    assert text.endswith("Name: Ada\nCity: Bern")


def test_language_is_detected_only_when_sure():
    assert document("The committee meets every month to discuss the budget of the next year.", "text").lang == "en"
    assert document("Der Ausschuss trifft sich jeden Monat und berät über den Haushalt.", "text").lang == "de"
    assert document("Ok, budget.", "text").lang == ""
    assert document("12345 67890 " * 50, "text").lang == ""


@given(st.lists(st.text(alphabet="abc äß.-=\n", max_size=80), max_size=20))
def test_no_word_is_lost(lines):
    text = "\n".join(lines)
    if not text.strip() or "-" in text or "=" in text:
        return
    found = document(text, "text")
    words = (" ".join(found.sections[0].heading_path) + " " + found.text).split()
    assert sorted(words) == sorted(text.split())
