"""Questions want kinds of things, and sentences have them or not, in two languages."""

from __future__ import annotations

import pytest

from pipelines.search.expected import Kind, satisfies, wanted


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How much does a berth cost?", Kind.MONEY),
        ("What is the fee for mooring overnight?", Kind.MONEY),
        ("Was kostet ein Liegeplatz?", Kind.MONEY),
        ("Wie viel Geld gibt es für Schuhe?", Kind.MONEY),
        ("What share of the crew is new?", Kind.SHARE),
        ("Wie viel Prozent sind es?", Kind.SHARE),
        ("Wie hoch ist der Zinssatz?", Kind.SHARE),
        ("How many boats are there?", Kind.COUNT),
        ("Wie viele Boote gibt es?", Kind.COUNT),
        ("How long may I park?", Kind.DURATION),
        ("How many working days do I have?", Kind.DURATION),
        ("Wie lange darf ich parken?", Kind.DURATION),
        ("Wie viele Urlaubstage habe ich?", Kind.DURATION),
        ("How soon must it be reported?", Kind.DURATION),
        ("At what time does the lock open?", Kind.CLOCK),
        ("Um wie viel Uhr öffnet die Schleuse?", Kind.CLOCK),
        ("When is the lock shut?", Kind.DATE),
        ("Bis wann muss ich mich melden?", Kind.DATE),
        ("How often is it checked?", Kind.FREQUENCY),
        ("Wie oft wird geprüft?", Kind.FREQUENCY),
        ("How fast may we go?", Kind.SPEED),
        ("Wie schnell darf man fahren?", Kind.SPEED),
        ("How deep is the canal?", Kind.LENGTH),
        ("Wie tief ist der Kanal?", Kind.LENGTH),
        ("How heavy is the anchor?", Kind.WEIGHT),
        ("Wie schwer ist der Anker?", Kind.WEIGHT),
        ("How cold may it get?", Kind.TEMPERATURE),
        ("What colour is the flag?", Kind.COLOUR),
        ("Welche Farbe hat die Flagge?", Kind.COLOUR),
        ("What is the phone number of the yard?", Kind.PHONE),
        ("Whom do I call at night?", Kind.PERSON),
        ("Wer unterschreibt den Vertrag?", Kind.PERSON),
    ],
)
def test_wanted(question: str, kind: Kind) -> None:
    assert kind in wanted(question)


@pytest.mark.parametrize(
    "question",
    [
        "Why is the lock shut?",
        "Does the crew that waits when boats meet need a permit?",
        "Where are the tugs?",
        "Gibt es eine Kantine?",
        "tow rope",
        "",
    ],
)
def test_nothing_is_wanted(question: str) -> None:
    assert wanted(question) == frozenset()
    assert satisfies(wanted(question), "It costs 3 euros.") is None


def test_the_first_interrogative_decides() -> None:
    assert wanted("Whom do I ring and what does a new one cost?") == {Kind.PERSON}
    assert Kind.MONEY in wanted("What does a new one cost, and whom do I ring?")


@pytest.mark.parametrize(
    ("kind", "has", "lacks"),
    [
        (Kind.MONEY, "It is €30 a night.", "It is 30 a night."),
        (Kind.MONEY, "Es sind 1.250,50 Euro.", "Es sind 1.250,50 Meter."),
        (Kind.MONEY, "Budget: EUR 40,000.", "Room EUR is small."),
        (Kind.SHARE, "A credit of 15 percent is given.", "A credit of 15 euros is given."),
        (Kind.SHARE, "Die Hälfte wird erstattet.", "Alles wird erstattet."),
        (Kind.COUNT, "Today 312 people work here.", "Since 3 May 2021 people work here at €30."),
        (Kind.COUNT, "Es sind sieben Boote.", "Es sind am 7. April Boote."),
        (Kind.DURATION, "It takes five full working days.", "It takes five boats."),
        (Kind.DURATION, "A 30-day limit applies.", "A 30 % limit applies."),
        (Kind.DURATION, "Sie wird zwei Jahre aufbewahrt.", "Sie wird im Schrank aufbewahrt."),
        (Kind.CLOCK, "Open from 07:00.", "Open on 3 days."),
        (Kind.CLOCK, "Geöffnet ab 7 Uhr.", "Geöffnet ab Montag."),
        (Kind.DATE, "It is the second Wednesday of a month.", "It is the second boat."),
        (Kind.DATE, "Sie verfallen am 31. März.", "Sie verfallen bald."),
        (Kind.DATE, "It shuts in May.", "It may shut."),
        (Kind.FREQUENCY, "It is checked twice.", "It is checked thoroughly."),
        (Kind.SPEED, "At most 6 km/h are allowed.", "At most 6 km are allowed."),
        (Kind.SPEED, "Höchstens 6 Knoten.", "Höchstens 6 Boote."),
        (Kind.LENGTH, "The ice is 18 cm thick.", "The ice is thick after 18 days."),
        (Kind.LENGTH, "At least 16 characters.", "At least 16 users."),
        (Kind.WEIGHT, "It carries 840 tonnes.", "It carries 840 metres."),
        (Kind.TEMPERATURE, "Above 34 degrees.", "Above 34 percent."),
        (Kind.VOLUME, "It holds 300 litres.", "It holds 300 people."),
        (Kind.COLOUR, "Die Flagge ist rot.", "Die Flagge ist groß."),
        (Kind.PHONE, "Call extension 4999.", "Call them."),
    ],
)
def test_satisfies(kind: Kind, has: str, lacks: str) -> None:
    assert satisfies(frozenset({kind}), has) is True
    assert satisfies(frozenset({kind}), lacks) is False


def test_one_of_the_kinds_will_do() -> None:
    assert satisfies(frozenset({Kind.MONEY, Kind.SHARE}), "It is 30 percent.") is True


@pytest.mark.parametrize("row", ["| tow rope | 80 |", "> | tow rope | 80 |", "vessel: Heron; length_m: 80; beam: 9; "])
def test_the_unit_of_a_row_may_stand_in_its_head_or_names(row: str) -> None:
    assert satisfies(frozenset({Kind.LENGTH}), row) is None
    assert satisfies(frozenset({Kind.COLOUR}), row) is False


@pytest.mark.parametrize(
    ("kind", "named"), [(Kind.DURATION, "Free hours: 8"), (Kind.MONEY, "budget_eur: 900"), (Kind.WEIGHT, "Gewicht: 20")]
)
def test_a_record_names_its_units(kind: Kind, named: str) -> None:
    assert satisfies(frozenset({kind}), f"vessel: Heron; {named}; built: 19") is None
    assert satisfies(frozenset({kind}), "vessel: Heron; number: 80; built: 19") is False


def test_a_person_can_have_any_name() -> None:
    people = frozenset({Kind.PERSON})
    assert satisfies(people, "The harbour master signs.") is True
    assert satisfies(people, "Write to ropes@example.org.") is True
    assert satisfies(people, "Ada signs.") is None
