"""What kind of thing answers a question, and whether a sentence has it. Pure; English and German, by rules.

"How much is the fee" wants an amount, "wann" a moment, "how thin" a length: a sentence without one is about the subject and
no answer. A question can want several kinds (a fee is an amount or a percentage); one of them will do. Questions without
such a word, and those in other languages, want nothing. The first interrogative of a question decides.

Looks at words only: whether the figure belongs to what was asked for is for the cosines of `rerank.py` to say.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """What an answer can have to contain."""

    MONEY = "an amount of money"
    SHARE = "a percentage or fraction"
    COUNT = "a number"
    DURATION = "a length of time"
    CLOCK = "a time of day"
    DATE = "a day, month or year"
    FREQUENCY = "how often"
    SPEED = "a speed"
    LENGTH = "a length"
    WEIGHT = "a weight"
    TEMPERATURE = "a temperature"
    VOLUME = "a volume"
    COLOUR = "a colour"
    PHONE = "a number to call"
    PERSON = "a person, role or contact"


_FIGURES = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|ninety|hundred"
    "|thousand|half|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|fünfzehn|zwanzig|dreißig|hundert|tausend"
)
_N = rf"(?<![\w.,§-])(?:\d+(?:[.,]\d+)*|(?:{_FIGURES})\b)"
_UNITED = r"[\s-]*"  # what stands between a figure and its unit
_TIME = (
    r"(?:seconds?|minutes?|min|hours?|days?|nights?|weeks?|fortnights?|months?|quarters?|years?|decades?|sekunden?|minuten?"
    r"|stunden?|\w*tage?[ns]?|nächten?|wochen?|monat(?:e[ns]?|s)?|quartale?n?|jahr(?:e[ns]?|s)?)\b"
)
_MONTHS = (
    "january|february|march|april|june|july|august|september|october|november|december"
    "|januar|februar|märz|mai|juni|juli|oktober|dezember"
)
_DAYS = (
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?|(?:mon|diens|donners|frei|sams|sonn)tags?|mittwochs?|sonnabends?"
    r"|weekdays?|weekends?|werktags|wochenende"
)
_ORDINAL = (
    r"(?:\d+(?:st|nd|rd|th|\.)|first|second|third|fourth|fifth|sixth|tenth|last|ersten?|zweiten?|dritten?|vierten?|fünften?"
    r"|letzten?)"
)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_HAS = {
    Kind.MONEY: _pattern(
        rf"(?:[€$£]|\b(?:EUR|USD|GBP|CHF))\s?\d[\d.,]*|{_N}{_UNITED}(?:€|\$|£|(?:EUR|USD|GBP|CHF|euros?|dollars?|pounds?|cents?)\b)"
        r"|\bfree of charge\b|\bkostenlos|\bkostenfrei"
    ),
    Kind.SHARE: _pattern(
        rf"{_N}{_UNITED}(?:%|percent\b|per cent\b|prozent)|\b(?:one|two|three|a)[ -](?:third|quarter)s?\b"
        r"|\b(?:half|hälfte|drittel|viertel)\b"
    ),
    Kind.DURATION: _pattern(
        rf"(?:{_N}|\b(?:an?|eine[rnms]?|einem|every|jede[rnms]?)\b){_UNITED}(?:[^\W\d]+[\s-]+){{0,2}}?{_TIME}"
        r"|\b(?:at once|immediately|the same day|sofort|unverzüglich|am selben tag)\b"
    ),
    Kind.CLOCK: _pattern(
        r"\b\d{1,2}:\d\d\b|\b\d{1,2}(?:\.\d\d)?\s*(?:uhr\b|[ap]\.?m\b|o.clock)|\b(?:noon|midnight|midday|mitternacht"
        r"|sunrise|sunset|round the clock)\b"
    ),
    Kind.DATE: _pattern(
        rf"\b(?:{_DAYS}|(?:\d{{1,2}}\.?\s+)?(?:{_MONTHS}))\b|\b\d{{1,2}}\s+may\b"
        r"|\b(?:in|of|until|by|since|every|from) may\b|\bmay \d"
        r"|\b\d{1,2}\.\s?\d{1,2}\.|\b(?:19|20)\d\d\b|\b(?:spring|summer|autumn|winter|frühjahr|frühling|sommer|herbst)\b"
        rf"|\b{_ORDINAL}\s+(?:[^\W\d]+\s+)?{_TIME}|\b(?:end|start|beginning|middle) of|\b(?:ende|anfang|mitte) (?:der|des)\b"
    ),
    Kind.FREQUENCY: _pattern(
        r"\b(?:every|each|daily|weekly|monthly|quarterly|yearly|annual(?:ly)?|hourly|nightly|once|twice|times|always"
        r"|alle|jede[rnms]?|täglich|wöchentlich|monatlich|jährlich|\w*mal)\b|\b(?:per|pro|an?)\s(?:day|week|month|year|"
        r"tag|woche|monat|jahr)\b"
    ),
    Kind.SPEED: _pattern(
        rf"{_N}{_UNITED}(?:km/h|kmh|knots?|kn|knoten|m/s|mph)\b|\bwalking pace\b|schritttempo|schrittgeschwindigkeit"
        rf"|{_N}\s(?:kilomet|met|mil)\w+ (?:per|an|pro|in der) (?:hour|stunde)"
    ),
    Kind.LENGTH: _pattern(
        rf"{_N}{_UNITED}(?:[mcdk]?m|ft|(?:milli|centi|zenti|kilo)?met(?:re|er)[sn]?|feet|foot|inch(?:es)?|miles?|meilen?"
        r"|pages?|seiten?|characters?|zeichen|words|lines)\b(?![/²³])"
    ),
    Kind.WEIGHT: _pattern(rf"{_N}{_UNITED}(?:kg|g|t|tonnes?|tons?|kilo(?:gram|gramm)?s?|grams?|tonnen|gramm)\b"),
    Kind.TEMPERATURE: _pattern(rf"{_N}{_UNITED}(?:°|degrees?\b|grad\b|celsius\b)"),
    Kind.VOLUME: _pattern(rf"{_N}{_UNITED}(?:l|litres?|liters?|liter|m³|cubic|kubik\w+)\b"),
    Kind.COLOUR: _pattern(
        r"\b(?:black|white|red|green|blue|yellow|orange|brown|gr[ae]y|purple|pink|silver"
        r"|(?:schwarz|weiß|rot|grün|blau|gelb|orange|braun|grau|lila|silber)(?:e[nmrs]?)?)\b"
    ),
    Kind.PHONE: _pattern(
        r"\b(?:extension|ext\.|telephone|phone|tel\.|telefon|durchwahl|line|number|nummer)\W+(?:\w+\W+){0,2}\+?\d{2}"
        r"|\+\d[\d ]{6}"
    ),
    Kind.PERSON: _pattern(
        r"\S@\S|\b(?:extension|ext\.|telephone|phone|tel\.|telefon|durchwahl)|\+\d[\d ]{6}|\b(?:\w*manager\w*|\w*director"
        r"|\w*officer|head|chief|\w*master|captain|skipper|supervisor|team|desk|department|office|board|council|controller"
        r"|dispatcher|clerk|engineer|accountant|lawyer|doctor|\w*leiter(?:in)?|\w*leitung|abteilung|\w*stelle|\w*büro"
        r"|vorstand|betriebsrat|\w*beauftragte[rn]?|kapitän|chef(?:in)?)\b"
    ),
}
_NUMBER = _pattern(_N)
_ROW = _pattern(r"^[\s>]*\|")  # its head is elsewhere
_FIELD = _pattern(r"([\w ]{1,40}): ~?\d")  # a pair of a record, whose name can hold the unit
_NAMES = {
    Kind.MONEY: _pattern(r"eur|usd|gbp|chf|price|cost|fee|preis|kosten|gebühr|betrag"),
    Kind.SHARE: _pattern(r"percent|pct|rate|share|prozent|anteil|satz"),
    Kind.DURATION: _pattern(r"second|minute|hour|day|week|month|year|sekunde|stunde|tage|woche|monat|jahr|dauer"),
    Kind.SPEED: _pattern(r"speed|km_?h|knots|geschwindigkeit|tempo"),
    Kind.LENGTH: _pattern(r"_[mck]?m$|met(?:re|er)|length|height|depth|width|draught|länge|höhe|tiefe|breite|tiefgang"),
    Kind.WEIGHT: _pattern(r"_kg$|_t$|tonne|weight|gewicht"),
    Kind.TEMPERATURE: _pattern(r"temp|degree|grad"),
    Kind.VOLUME: _pattern(r"lit(?:re|er)|volume|volumen"),
}

_PRICE = frozenset({Kind.MONEY, Kind.SHARE})
_WHEN = frozenset({Kind.CLOCK, Kind.DATE, Kind.DURATION, Kind.FREQUENCY})
_SPAN = frozenset({Kind.DURATION, Kind.CLOCK, Kind.DATE})
_QUANTITY = frozenset(
    {Kind.MONEY, Kind.SHARE, Kind.COUNT, Kind.DURATION, Kind.LENGTH, Kind.WEIGHT, Kind.TEMPERATURE, Kind.VOLUME, Kind.SPEED}
)
_MANY = r"\b(?:how many|wie ?viele?) (?:\w+ )?"
_PAID = (
    r"(?:cost|pa(?:y|id)|price|charge|fee|fine|penalt|budget|money|earn|salar|wage|spen[dt]|refund|reimburs|owe|deposit|fare"
    r"|supplement|surcharge|discount|allowance|subsid|rent|kost|preis|gebühr|zahl|geld|gehalt|lohn|zuschuss|zuschlag|rabatt"
    r"|prämie|beitrag|miete|strafe|erstatt|verdien)"
)
# The earliest match in the question decides, among equals the first of the table
_WANTS = (
    (_pattern(rf"{_MANY}(?:percent|prozent)"), frozenset({Kind.SHARE})),
    (_pattern(rf"{_MANY}(?:euro|dollar|pound)"), frozenset({Kind.MONEY})),
    (
        _pattern(rf"{_MANY}(?:kilo|milli|centi|zenti)?(?:met(?:re|er)|mile|meile|feet|pages|seiten)"),
        frozenset({Kind.LENGTH}),
    ),
    (_pattern(rf"{_MANY}(?:tonne|tons|kilogram|kilos)"), frozenset({Kind.WEIGHT})),
    (_pattern(rf"{_MANY}(?:litre|liter)"), frozenset({Kind.VOLUME})),
    (_pattern(r"\b(?:um )?wie ?viel uhr"), frozenset({Kind.CLOCK})),
    (_pattern(rf"{_MANY}\w*?{_TIME}"), frozenset({Kind.DURATION})),
    (
        _pattern(r"\bhow many times|\bhow (?:often|frequently)|\bwie (?:oft|häufig)"),
        frozenset({Kind.FREQUENCY, Kind.DURATION}),
    ),
    (_pattern(r"\bhow many|\bwie ?viele"), frozenset({Kind.COUNT})),
    (_pattern(r"\bhow much (?:\w+ )?(?:notice|time|leave|holiday)|\bwie ?viel (?:zeit|urlaub)"), _SPAN),
    (_pattern(rf"\b(?:how much|wie ?viel|wie hoch)\b.*\b\w*{_PAID}"), _PRICE),
    (_pattern(r"\bhow much|\bwie ?viel\b|\bwie hoch"), _QUANTITY),
    (
        _pattern(
            r"\b(?:what|which|welche[rnms]?) (?:\w+ )?(?:share|percent|proportion|anteil|prozent|zinssatz)|\w*zinssatz"
        ),
        frozenset({Kind.SHARE}),
    ),
    (
        _pattern(r"\b(?:what|which) (?:is |are |was )?(?:the |our )?(?:\w+ )?rate\b"),
        frozenset({Kind.SHARE, Kind.MONEY, Kind.SPEED}),
    ),
    (
        _pattern(r"\b(?:at|from|until) (?:what|which) (?:time|hour)|\b(?:what|which) (?:time|hours?)\b"),
        frozenset({Kind.CLOCK}),
    ),
    (_pattern(r"\b(?:what|which) (?:day|date|month|year|weekday)|\bwelche[rnms]? (?:\w*tag|datum|monat|jahr)\b"), _WHEN),
    (
        _pattern(r"\b(?:what|which|welche[rnms]?)\b(?: \w+){0,3} (?:speed|geschwindigkeit|tempo)\b"),
        frozenset({Kind.SPEED}),
    ),
    (_pattern(r"\b(?:what|which|welche[rnms]?)\b(?: \w+){0,2} temperatur"), frozenset({Kind.TEMPERATURE})),
    (_pattern(r"\b(?:what|which|welche)\b(?: \w+){0,4} (?:period|deadline|\w*frist)\b"), _SPAN),
    (_pattern(rf"\b(?:what|was)\b(?! \w+ who\b).*\b\w*{_PAID}|\b(?:which|welche[rnms]?) \w*{_PAID}"), _PRICE),
    (_pattern(r"\b(?:what|which|welche[rnms]?)\b(?: [\w-]+){0,3} (?:weight|gewicht)\b"), frozenset({Kind.WEIGHT})),
    (
        _pattern(
            r"\b(?:what|which|welche[rnms]?)\b(?: [\w-]+){0,3} (?:length|height|depth|width|distance|draught|tiefgang)\b"
        ),
        frozenset({Kind.LENGTH}),
    ),
    (_pattern(r"\b(?:what|which) colou?r\b|\bwelche farbe"), frozenset({Kind.COLOUR})),
    (
        _pattern(r"\b(?:what|which)\b(?: \w+){0,2} (?:phone|telephone|extension)\b|\bwelche (?:telefonnummer|durchwahl)"),
        frozenset({Kind.PHONE}),
    ),
    (_pattern(r"\bhow (?:long|far)\b|\bwie (?:lange?|weit)\b"), frozenset({Kind.DURATION, Kind.LENGTH})),
    (_pattern(r"\bhow (?:soon|quickly|early|late|old)\b|\bwie (?:bald|rasch|früh|spät|alt)\b"), _SPAN),
    (_pattern(r"\bhow (?:fast|slow(?:ly)?)\b|\bwie (?:schnell|langsam)\b"), frozenset({Kind.SPEED, Kind.DURATION})),
    (_pattern(r"\bhow (?:heavy|heavily)\b|\bwie schwer\b"), frozenset({Kind.WEIGHT})),
    (_pattern(r"\bhow (?:hot|warm|cold)\b|\bwie (?:heiß|warm|kalt)\b"), frozenset({Kind.TEMPERATURE})),
    (
        _pattern(
            r"\bhow (?:high|deep|thick|thin|wide|tall|low|broad|close|near)\b|\bwie (?:tief|dick|dünn|breit|niedrig|nah)\b"
        ),
        frozenset({Kind.LENGTH}),
    ),
    (
        _pattern(
            r"^(?:(?:and|until|till|since|by|from) )?when\b|\bwhen (?:is|are|was|were|do|does|did|can|will)\b|\bwann\b"
        ),
        _WHEN,
    ),
    (_pattern(r"(?:^|[,;] |^to |\band )(?:whom?|whose)\b|(?:^|[,;] |\bund )(?:we[rnm]|wessen)\b"), frozenset({Kind.PERSON})),
)


def wanted(question: str) -> frozenset[Kind]:
    """The kinds of which an answer must contain one; empty when the question's words ask for none of them."""
    found = [(match.start(), place) for place, (asks, _) in enumerate(_WANTS) if (match := asks.search(question))]
    return _WANTS[min(found)[1]][1] if found else frozenset()


def satisfies(kinds: frozenset[Kind], sentence: str) -> bool | None:
    """Whether the sentence has one of the kinds; None where nothing can be said.

    That is when none is wanted, when a row has a figure whose unit may stand in the table's head or stands in the figure's
    own name ("length_m: 67"), and when only a person is missing, whose name no rule knows.
    """
    if not kinds:
        return None
    if any(_contains(kind, sentence) for kind in kinds):
        return True
    return None if kinds <= {Kind.PERSON} or _unit_elsewhere(kinds, sentence) else False


def _unit_elsewhere(kinds: frozenset[Kind], sentence: str) -> bool:
    if _ROW.search(sentence):
        return bool(kinds & _QUANTITY) and any(character.isdigit() for character in sentence)
    names = _FIELD.findall(sentence)
    return any(_NAMES[kind].search(name) for kind in kinds & _NAMES.keys() for name in names)


def _contains(kind: Kind, sentence: str) -> bool:
    if kind is Kind.COUNT:
        return _counts(sentence)
    return bool(_HAS[kind].search(sentence))


def _counts(sentence: str) -> bool:
    """A number that is not the figure of an amount, a share, a time or a date."""
    for kind in (Kind.MONEY, Kind.SHARE, Kind.CLOCK, Kind.DATE):
        sentence = _HAS[kind].sub(" ", sentence)
    return bool(_NUMBER.search(sentence))
