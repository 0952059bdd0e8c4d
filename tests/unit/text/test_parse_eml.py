"""Mail and its attachments: each a document or a reason, under names that cannot collide or climb."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from pipelines.records import Document, Reason, Rejected
from tests.unit.text.files_for_tests import document, parsed, pdf, rejected


def _mail(text: str = "Hello Bo,\n\n> How are you?\n\nFine.\n", subject: str = "Réunion") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = "Ada <ada@example.com>"
    mail["To"] = "bo@example.com"
    mail["Date"] = "Tue, 06 Oct 2026 10:00:00 +0200"
    mail.set_content(text)
    return mail


def test_headers_and_body():
    found = document(_mail().as_bytes(), "eml")
    assert found.title == "Réunion"
    assert found.text == "Hello Bo,\n\n> How are you?\n\nFine."
    assert found.metadata == {
        "subject": "Réunion",
        "from": "Ada <ada@example.com>",
        "to": "bo@example.com",
        "date": "2026-10-06T10:00:00+02:00",
    }


def test_plain_is_preferred_and_html_is_read_without_it():
    mail = _mail("Plain words.")
    mail.add_alternative("<p>Rich words.</p>", subtype="html")
    assert document(mail.as_bytes(), "eml").text == "Plain words."
    only = EmailMessage()
    only["Subject"] = "x"
    only.set_content("<h1>Offer</h1><p>Rich words.</p>", subtype="html")
    assert document(only.as_bytes(), "eml").text == "Rich words."


def test_attachments():
    mail = _mail()
    mail.add_attachment("name,city\nAda,Bern\n", subtype="csv", filename="list.csv")
    mail.add_attachment("name,city\nBo,Basel\n", subtype="csv", filename="list.csv")
    mail.add_attachment(b"\x89PNG\r\n\x1a\n", maintype="image", subtype="png", filename="logo.png")
    mail.add_attachment(b"not a pdf", maintype="application", subtype="pdf", filename="bad.pdf")
    mail.add_attachment(
        pdf([[(11, "Text of the offer.")]]), maintype="application", subtype="pdf", filename="../../etc/offer.pdf"
    )
    mail.add_attachment("Deep note.", filename="")
    found = {item.member: item for item in parsed(mail.as_bytes(), "eml", "s3://b/mail.eml")}
    assert [item.text for item in found.values() if isinstance(item, Document)] == [
        "Hello Bo,\n\n> How are you?\n\nFine.",
        "name: Ada; city: Bern",
        "name: Bo; city: Basel",
        "Text of the offer.",
        "Deep note.",
    ]
    reasons = {name: item.reason for name, item in found.items() if isinstance(item, Rejected)}
    assert reasons == {"logo.png": Reason.TYPE_UNSUPPORTED, "bad.pdf": Reason.TYPE_MISMATCH}
    assert {"", "list.csv", "list.csv (2)", ".._.._etc_offer.pdf"} < set(found)
    assert {item.uri for item in found.values()} == {"s3://b/mail.eml"}


def test_mails_inside_mails_stop_at_two():
    mail = _mail("level 0")
    for level in range(1, 5):
        outer = _mail(f"level {level}")
        outer.add_attachment(mail)
        mail = outer
    found = parsed(mail.as_bytes(), "eml")
    assert [item.text for item in found if isinstance(item, Document)] == ["level 4", "level 3", "level 2"]
    assert [(item.reason, item.member.count("/")) for item in found if isinstance(item, Rejected)] == [
        (Reason.CONTAINER_DEPTH, 2)
    ]


def test_a_mail_of_attachments_only_keeps_its_subject():
    mail = EmailMessage()
    mail["Subject"] = "Invoice 7"
    mail.add_attachment("Total: 9", filename="a.txt")
    found = parsed(mail.as_bytes(), "eml")
    assert [item.text for item in found if isinstance(item, Document)] == ["Invoice 7", "Total: 9"]


@pytest.mark.parametrize("charset", ["iso-8859-1", "no-such-charset"])
def test_declared_charsets(charset):
    data = f"Subject: x\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n".encode()
    assert "Grüße" in document(data + "Grüße aus der schönen Stadt Köln".encode("latin-1"), "eml").text


def test_not_a_mail():
    assert rejected("just words\n", "eml").reason is Reason.MALFORMED
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (i, i) for i in range(3000))
    assert parsed(b"Subject: x\n" + deep, "eml")
