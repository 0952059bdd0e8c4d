"""The catalogue of what a hostile object store does: each kind is one fault, and how a sync may end under it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.faults import s3_listing as listing
from bench.faults.s3_bucket import LabBucket, letter, odd_names
from bench.faults.s3_proxy import Act, Exchange, Fault

EVERY = {"list", "get", "head"}
FALSE_TAG = '"0123456789abcdef0123456789abcdef"'
GREEN = frozenset({"succeeded"})
RETRY = frozenset({"Retry"})
FIX = frozenset({"FixConfiguration"})
RED = frozenset({"FailRun"})  # a shard failed, or documents turned out alive: settle says so
HELD = frozenset({"Held"})


@dataclass(frozen=True, slots=True)
class Kind:
    """`play` makes the fault for a bucket; `ends` are the allowed ends of the sync under it, `succeeded` or an error class.

    rescan: the sync reads every object, not only what changed. blind: the listing hides changes in a way that nobody can
    see, so a green run may miss them until the fault is lifted. more: keys that the source adds besides the usual changes.
    """

    name: str
    play: Callable[[LabBucket], Fault]
    ends: frozenset[str] = GREEN
    rescan: bool = True
    blind: bool = False
    more: tuple[str, ...] = field(default=())


def _still(kinds: set[str], act: Act) -> Callable[[LabBucket], Fault]:
    return lambda _: Fault(act, kinds=frozenset(kinds))


def _mixed(act: Act, always: float = 0.1, often: float = 0.2) -> Act:
    """A share of the keys at every read, the others now and then."""

    def maybe(exchange: Exchange) -> None:
        if random.Random(exchange.key).random() < always or exchange.rng.random() < often:
            act(exchange)

    return maybe


def _few(act: Act) -> Act:
    """About three keys in a hundred, at every read."""
    return _mixed(act, 0.03, 0.0)


def _from(count: int, act: Act) -> Act:
    """Only from the n-th exchange of its kind on."""
    return lambda exchange: act(exchange) if exchange.count >= count else None


def _error(status: int, code: str) -> Act:
    return lambda exchange: exchange.error(status, code)


def _header(name: str, value: str | None) -> Act:
    def change(exchange: Exchange) -> None:
        exchange.headers = {key: kept for key, kept in exchange.headers.items() if key.lower() != name.lower()}
        if value is not None:
            exchange.headers[name] = value

    return change


def _element(name: str, value: str | None) -> Act:
    return lambda page: listing.element(page, name, value)


def _sent(ending: str) -> Act:
    """Half the body, then this ending; for an empty one before the first byte."""

    def cut(exchange: Exchange) -> None:
        exchange.announced, exchange.sent = len(exchange.body), len(exchange.body) // 2
        exchange.ending = ending  # type: ignore[assignment]

    return cut


def _silence(exchange: Exchange) -> None:
    exchange.ending, exchange.sent = "stall", 0


def _flip(exchange: Exchange) -> None:
    at = exchange.rng.randrange(len(exchange.body))
    exchange.body = exchange.body[:at] + bytes([exchange.body[at] ^ 1]) + exchange.body[at + 1 :]


def _unchecked(exchange: Exchange) -> None:
    exchange.headers = {key: value for key, value in exchange.headers.items() if "checksum" not in key.lower()}


def _longer(exchange: Exchange) -> None:
    exchange.body += b"and more that is not the object's\n"


def _overlong(exchange: Exchange) -> None:
    exchange.announced = len(exchange.body)
    _longer(exchange)


def _short(exchange: Exchange) -> None:
    exchange.body = exchange.body[: len(exchange.body) // 2]
    _unchecked(exchange)


def _huge(exchange: Exchange) -> None:
    exchange.announced, exchange.ending, exchange.sent = 10**12, "close", len(exchange.body)


def _both(*acts: Act) -> Act:
    def act(exchange: Exchange) -> None:
        for one in acts:
            one(exchange)

    return act


BODIES = [
    Kind("truncated body", _still({"get"}, _mixed(_sent("close")))),
    Kind("body longer than announced", _still({"get"}, _mixed(_overlong))),
    Kind("body and length too long", _still({"get"}, _mixed(_both(_longer, _unchecked)))),
    Kind("body and length too short", _still({"get"}, _mixed(_short))),
    Kind("length of a terabyte", _still({"get"}, _mixed(_huge))),
    Kind("flipped byte", _still({"get"}, _mixed(_flip))),
    Kind("flipped byte, no checksum", _still({"get"}, _mixed(_both(_flip, _unchecked)))),
    Kind("wrong checksum", _still({"get"}, _mixed(_header("x-amz-checksum-crc32", "AAAAAA==")))),
    Kind("no checksum", _still({"get"}, _unchecked)),
    Kind("wrong ETag", _still({"get"}, _mixed(_header("ETag", FALSE_TAG)))),
    Kind("no ETag", _still({"get", "head"}, _mixed(_header("ETag", None))), GREEN | RETRY),
    Kind("200 with an error body on GET", _still({"get"}, _mixed(_error(200, "InternalError")))),
    Kind("reset mid-body", _still({"get"}, _mixed(_sent("reset"), 0.03))),
    Kind("stall mid-body", _still({"get"}, _few(_sent("stall")))),
    Kind("stall before the headers", _still({"get"}, _few(_silence))),
    Kind("a byte now and then", _still({"get"}, _few(_sent("trickle")))),
]

SERVICE = [
    Kind(
        "503 SlowDown, one in five",
        _still(EVERY, _mixed(_error(503, "SlowDown"), 0.0)),
        GREEN | RETRY | RED,
    ),
    Kind("503 SlowDown for all", _still(EVERY, _error(503, "SlowDown")), RETRY),
    Kind("503 SlowDown for all reads", _still({"get"}, _error(503, "SlowDown")), RED),
    Kind("500 for some objects", _still({"get"}, _few(_error(500, "InternalError")))),
    Kind("500 for all reads", _still({"get"}, _error(500, "InternalError")), RED),
    Kind("412 for all reads", _still({"get"}, _error(412, "PreconditionFailed"))),
    Kind("403 for one object in thirty", _still({"get", "head"}, _few(_error(403, "AccessDenied"))), GREEN | FIX),
    Kind("403 for half of the objects", _still({"get"}, _mixed(_error(403, "AccessDenied"), 0.5, 0.0))),
    Kind("403 for the listing", _still({"list"}, _error(403, "AccessDenied")), FIX),
    Kind("expired credentials mid-list", _still({"list"}, _from(3, _error(400, "ExpiredToken"))), FIX),
    Kind("expired credentials mid-read", _still({"get", "head"}, _from(10, _error(400, "ExpiredToken"))), RED | FIX),
    Kind("403 RequestTimeTooSkewed", _still(EVERY, _error(403, "RequestTimeTooSkewed")), FIX),
    Kind("clock 25 h ahead", _still(EVERY, _header("Date", "Tue, 24 Nov 2099 01:00:00 GMT"))),
    Kind("clock 25 h behind", _still(EVERY, _header("Date", "Sun, 22 Nov 1998 01:00:00 GMT"))),
    Kind("301 without a region", _still({"list"}, _error(301, "PermanentRedirect")), FIX),
    Kind(
        "307 to another host",
        _still({"get"}, _both(_error(307, "TemporaryRedirect"), _header("Location", "http://127.0.0.1:9/"))),
        RED,
    ),
    Kind("404 for a page of the listing", _still({"list"}, _from(2, _error(404, "404"))), RETRY),
    Kind("404 NoSuchBucket mid-list", _still({"list"}, _from(2, _error(404, "NoSuchBucket"))), FIX),
    Kind("reset while listing", _still({"list"}, _sent("reset")), RETRY),
    Kind("stall while listing", _still({"list"}, _from(2, _sent("stall"))), RETRY),
    Kind("503 for all HEADs", _still({"head"}, _error(503, "SlowDown")), RETRY, rescan=False),
    Kind("200 without headers on HEAD", _still({"head"}, _error(200, "")), RETRY, rescan=False),
]


def _hidden(bucket: LabBucket) -> set[str]:
    """So few that no delete guard holds them: only asking for each one protects them."""
    count = max(1, len(bucket.first) // 60)
    return set(sorted(bucket.first)[4 * count + 1 : 5 * count + 1])


def _hiding(head: Act) -> Callable[[LabBucket], Fault]:
    """A few living objects are left out of the listing, and HEAD answers for them as `head` says."""

    def play(bucket: LabBucket) -> Fault:
        gone = _hidden(bucket)

        def act(exchange: Exchange) -> None:
            if exchange.kind == "head" and exchange.key in gone:
                head(exchange)
            elif exchange.kind == "list" and exchange.query.get("prefix") not in gone:
                listing.drop(exchange, gone)

        return Fault(act, kinds=frozenset({"list", "head"}))

    return play


def _missing_page(bucket: LabBucket) -> Fault:
    """The first page's token leads to the third."""

    def act(page: Exchange) -> None:
        if page.count == 1:
            token = page.body.partition(b"<NextContinuationToken>")[2].partition(b"<")[0].decode()
            listing.element(page, "NextContinuationToken", bucket.token_after(token, int(page.query["max-keys"])))

    return Fault(act, kinds=frozenset({"list"}))


def _twice(bucket: LabBucket) -> Fault:
    """The first page's objects come again in the place of the second page's."""
    first: list[bytes] = []

    def act(page: Exchange) -> None:
        if page.count == 1:
            first.extend(listing.entries(page))
        elif page.count == 2:
            listing.keep(page, first)

    return Fault(act, kinds=frozenset({"list"}))


def _round_and_round(bucket: LabBucket) -> Fault:
    """Always the first page, each time with a fresh token."""

    def ask(page: Exchange) -> None:
        page.query.pop("continuation-token", None)

    return Fault(
        lambda page: listing.element(page, "NextContinuationToken", f"fresh-{page.count}"), ask, frozenset({"list"})
    )


def _own_token(page: Exchange) -> None:
    if page.key:
        listing.element(page, "NextContinuationToken", page.key)


def _reversed(page: Exchange) -> None:
    listing.keep(page, listing.entries(page)[::-1])


def _doubled(page: Exchange) -> None:
    listing.keep(page, [entry for entry in listing.entries(page) for _ in range(2)])


def _empty(page: Exchange) -> None:
    listing.keep(page, [])
    _end(page)


def _end(page: Exchange) -> None:
    listing.element(page, "IsTruncated", "false")
    listing.element(page, "NextContinuationToken", None)


def _body(data: bytes, content_type: str = "application/xml") -> Act:
    def act(exchange: Exchange) -> None:
        exchange.body, exchange.headers = data, {"Content-Type": content_type}

    return act


def _half(page: Exchange) -> None:
    page.body = page.body[: len(page.body) // 2]


def _without_new(bucket: LabBucket) -> Fault:
    """Listings lack every object that is new."""

    def act(page: Exchange) -> None:
        listing.drop(page, {key for key in listing.keys(page) if key not in bucket.first})

    return Fault(act, kinds=frozenset({"list"}))


LISTINGS = [
    Kind("missing page", _missing_page, HELD),
    Kind("living objects left out", _hiding(lambda _: None), RED, rescan=False),
    Kind("left out, and HEAD says 403", _hiding(_error(403, "AccessDenied")), FIX | RED, rescan=False),
    Kind("left out, and HEAD says 404", _hiding(_error(404, "404")), RETRY | RED, rescan=False),
    Kind("left out, and HEAD says 500", _hiding(_error(500, "InternalError")), RETRY | RED, rescan=False),
    Kind("left out, and HEAD says 405", _hiding(_error(405, "MethodNotAllowed")), RETRY | RED, rescan=False),
    Kind("listing without what is new", _without_new, blind=True),
    Kind("duplicated page", _twice, RETRY),
    Kind("duplicated keys", _still({"list"}, _doubled)),
    Kind("out of order", _still({"list"}, _reversed)),
    Kind("the same token for ever", _still({"list"}, _own_token), RETRY),
    Kind("round and round with fresh tokens", _round_and_round, RETRY),
    Kind("bad continuation token", _still({"list"}, _from(2, _error(400, "InvalidArgument"))), RETRY),
    Kind("truncated without a token", _still({"list"}, _from(2, _element("NextContinuationToken", None))), RETRY),
    Kind("a token but not truncated", _still({"list"}, _element("IsTruncated", "false")), RETRY),
    Kind("ends too early", _still({"list"}, _from(3, _end)), HELD),
    Kind("no IsTruncated", _still({"list"}, _element("IsTruncated", None)), RETRY),
    Kind("KeyCount too high", _still({"list"}, _element("KeyCount", "41")), RETRY),
    Kind("no KeyCount", _still({"list"}, _element("KeyCount", None)), RETRY),
    Kind("no Name", _still({"list"}, _element("Name", None)), RETRY),
    Kind("keys outside the prefix", _still({"list"}, _element("Key", "elsewhere/x.txt")), RETRY),
    Kind("empty listing of a full bucket", _still({"list"}, _empty), HELD),
    Kind("200 with an error body on LIST", _still({"list"}, _error(200, "InternalError")), RETRY),
    Kind("garbage instead of XML", _still({"list"}, _from(2, _body(b"\x00\xff<<<"))), RETRY),
    Kind("a web page instead of XML", _still({"list"}, _body(b"<html><body>Log in</body></html>", "text/html")), RETRY),
    Kind("nothing instead of XML", _still({"list"}, _body(b"")), RETRY),
    Kind("half a page", _still({"list"}, _half), RETRY),
    Kind("a size that is no number", _still({"list"}, _element("Size", "many")), RETRY),
    Kind("a date that is no date", _still({"list"}, _element("LastModified", "yesterday")), RETRY),
    Kind("LastModified in the future", _still({"list"}, _element("LastModified", "2999-01-01T00:00:00.000Z"))),
    Kind("LastModified long ago", _still({"list"}, _element("LastModified", "1970-01-01T00:00:00.000Z")), rescan=False),
    Kind("wrong ETags in the listing", _still({"list"}, _element("ETag", FALSE_TAG)), rescan=False),
    Kind("wrong sizes in the listing", _still({"list"}, _element("Size", "7")), rescan=False),
    Kind("listing without EncodingType", lambda _: Fault(ask=_plain, kinds=frozenset({"list"}))),
    Kind("odd keys", lambda _: Fault(), more=tuple(odd_names())),
]


def _plain(page: Exchange) -> None:
    page.query.pop("encoding-type", None)


def _at_first_read(change: Callable[[LabBucket], None]) -> Callable[[LabBucket], Fault]:
    """The bucket changes after it was listed and before anything is read."""

    def play(bucket: LabBucket) -> Fault:
        def ask(exchange: Exchange) -> None:
            if exchange.count == 1:
                change(bucket)
                exchange.acted = True

        return Fault(ask=ask, kinds=frozenset({"get"}))

    return play


def _overwrite(bucket: LabBucket) -> None:
    rng = random.Random(7)
    for key in sorted(bucket.now)[::6]:
        bucket.put(key, letter(rng, key))


def _vanish(bucket: LabBucket) -> None:
    for key in sorted(bucket.now)[::60]:
        bucket.remove(key)


def _restless(bucket: LabBucket) -> Fault:
    """Some objects are overwritten before each of their reads."""

    def ask(exchange: Exchange) -> None:
        if exchange.key in bucket.now and random.Random(exchange.key).random() < 0.05:
            bucket.put(exchange.key, letter(exchange.rng, exchange.key))
            exchange.acted = True

    return Fault(ask=ask, kinds=frozenset({"get"}))


MOVING = [
    Kind("overwritten between LIST and GET", _at_first_read(_overwrite)),
    Kind("vanished between LIST and GET", _at_first_read(_vanish)),
    Kind("changed before every read", _restless),
]

KINDS = (*BODIES, *SERVICE, *LISTINGS, *MOVING)
