"""What S3 and its imitations can do wrong, played by a stub: listings are whole or fail, reads whole or explained."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from pipelines import aws
from pipelines.config import Connection
from pipelines.errors import FixConfiguration, MillraceError, Retry, SkipDocument
from pipelines.records import RawObject, Reason
from pipelines.sources import relative
from pipelines.sources.s3 import PATIENCE, S3

Page = dict[str, Any]
LISTED = RawObject("s3://bucket/k/a.txt", "tag1:5", 5)


def refused(name: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": name, "Message": "said\nso"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op"
    )


def entry(key: str, size: int = 5) -> Page:
    return {"Key": key, "ETag": f'"tag-{key}"', "Size": size}


def page(*keys: str, token: str | None = None, **changed: Any) -> Page:
    made: Page = {"Name": "bucket", "IsTruncated": token is not None, "KeyCount": len(keys)}
    made["Contents"] = [entry(key) for key in keys]
    if token:
        made["NextContinuationToken"] = token
    return made | changed


class Stub:
    """Plays the answers of each operation in order; an exception among them is raised."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {name: iter(several) for name, several in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def answer(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            given = next(self.answers[operation])
            if isinstance(given, Exception):
                raise given
            return given

        return answer


def source(stub: Any, prefix: str = "k/") -> S3:
    return S3("docs", stub, "bucket", prefix, "conn")


def listed_names(stub: Stub) -> list[str]:
    return [relative("s3://bucket/", one.uri) for one in source(stub).list()]


def one_line(error: MillraceError) -> str:
    assert "\n" not in str(error)
    return str(error)


def body(data: bytes, etag: str = "tag1", **more: Any) -> Page:
    return {"Body": io.BytesIO(data), "ContentLength": len(data), "ETag": f'"{etag}"'} | more


class Breaking:
    """A body that yields some bytes and then fails."""

    def __init__(self, failure: Exception) -> None:
        self.parts: Iterator[Any] = iter([b"par", failure])

    def read(self, _: int) -> bytes:
        part = next(self.parts)
        if isinstance(part, Exception):
            raise part
        return bytes(part)

    def close(self) -> None: ...


def test_pages_are_joined_without_markers_and_duplicates() -> None:
    marker = page("k/b", "k/c", KeyCount=3, Contents=[entry("k/b"), entry("k/sub/", 0), entry("k/c")])
    stub = Stub(list_objects_v2=[page("k/a", "k/b", token="1"), marker])
    assert listed_names(stub) == ["k/a", "k/b", "k/c"]
    assert stub.calls[1][1]["ContinuationToken"] == "1"


def test_an_empty_page_that_goes_on_is_not_the_end() -> None:
    assert listed_names(Stub(list_objects_v2=[page(token="1"), page("k/a", token="2"), page("k/b")])) == ["k/a", "k/b"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (page("k/b", IsTruncated=True), "next token is None"),
        (page("k/b", NextContinuationToken="x"), "IsTruncated is False"),
        ({key: value for key, value in page("k/b").items() if key != "IsTruncated"}, "whether it is the last"),
        (page("k/b", KeyCount=2), "declares 2 keys and holds 1"),
        (page("k/b", KeyCount=0), "declares 0 keys and holds 1"),
        (page("other/b"), "'other/b' is outside prefix 'k/'"),
        (page("k/b", token="1"), "'1' came twice"),
        (page("k/b", Contents=[{"Key": "k/b", "Size": 1}]), "has no name, ETag or size"),
        (page("k/b", Contents=[{"ETag": "t", "Size": 1}]), "has no name, ETag or size"),
        ({key: value for key, value in page("k/b").items() if key != "Name"}, "does not name its bucket"),
        ({key: value for key, value in page("k/b").items() if key != "KeyCount"}, "does not count its keys"),
        ({}, "whether it is the last"),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_page_that_cannot_be_complete_fails_the_listing(bad: Page, said: str, first: int) -> None:
    pages = [page("k/a", token="1")] * first + [bad] * 2
    with pytest.raises(Retry, match="incomplete listing") as caught:
        list(source(Stub(list_objects_v2=pages)).list())
    assert said in one_line(caught.value)


def test_a_page_that_repeats_an_earlier_ones_keys_may_stand_for_another() -> None:
    pages = [page("k/a", "k/b", token="1"), page("k/a", "k/b", token="2"), page("k/c")]
    with pytest.raises(Retry, match="'k/a' as an earlier one did"):
        listed_names(Stub(list_objects_v2=pages))


def test_a_failure_after_the_first_page_fails_the_listing() -> None:
    stub = Stub(list_objects_v2=[page("k/a", token="1"), refused("SlowDown", 503)])
    with pytest.raises(Retry, match="connection 'conn', bucket 'bucket': .*SlowDown"):
        list(source(stub).list())


def test_the_next_page_is_fetched_while_this_one_is_used() -> None:
    stub = Stub(list_objects_v2=[page("k/a", token="1"), page("k/b", token="2"), page("k/c")])
    names = source(stub).list()
    next(names)
    deadline = time.monotonic() + 5
    while len(stub.calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(stub.calls) == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), unique=True, max_size=30))
def test_any_key_survives_its_address(keys: list[str]) -> None:
    asked: list[str] = []

    class Store:
        def list_objects_v2(self, **_: Any) -> Page:
            return page(*("k/" + key for key in keys))

        def get_object(self, Key: str, **_: Any) -> Page:
            asked.append(Key)
            return body(b"5byte", etag="tag-k/" + Key[2:])

    bucket = source(Store())
    found = list(bucket.list())
    assert [relative(bucket.root(), one.uri) for one in found] == keys
    assert len({one.uri for one in found}) == len(keys)
    assert not any(ord(character) < 32 for one in found for character in one.uri)
    for one in found:
        bucket.read(one, 10)
    assert asked == ["k/" + key for key in keys]


FIX = [
    (refused("NoSuchBucket", 404), "create the bucket"),
    (refused("AccessDenied", 403), "s3:ListBucket"),
    (refused("SomethingNew", 403), "s3:ListBucket"),
    (refused("InvalidAccessKeyId", 403), "correct login"),
    (refused("SignatureDoesNotMatch", 403), "correct login"),
    (refused("ExpiredToken", 400), "aws_session_token"),
    (refused("PermanentRedirect", 301), "region_name"),
    (refused("RequestTimeTooSkewed", 403), "clock"),
    (NoCredentialsError(), "correct login"),
    (ParamValidationError(report="Invalid bucket name\nx"), "create the bucket"),
]
AGAIN = [
    (refused("InternalError", 500), "try again"),
    (refused("SlowDown", 503), "try again"),
    (refused("RequestTimeout", 400), "try again"),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), "endpoint_url of the connection"),
    (ConnectTimeoutError(endpoint_url="http://127.0.0.1:1"), "check that the service runs"),
]


@pytest.mark.parametrize(
    ("failure", "said", "expected"), [(*one, FixConfiguration) for one in FIX] + [(*one, Retry) for one in AGAIN], ids=str
)
def test_failures_name_connection_bucket_and_remedy(failure: Exception, said: str, expected: type[MillraceError]) -> None:
    dead = Stub(list_objects_v2=[failure] * 2, get_object=[failure], head_object=[failure])
    calls: list[Callable[[], object]] = [
        lambda: list(source(dead).list()),
        lambda: source(dead).current_version(LISTED.uri),
    ]
    if expected is Retry:
        calls.append(lambda: source(dead).read(LISTED, 10))
    for call in calls:
        with pytest.raises(expected) as caught:
            call()
        message = one_line(caught.value)
        assert "connection 'conn', bucket 'bucket'" in message
        assert said in message


def reason(stub: Stub, max_bytes: int = 100) -> Reason:
    with pytest.raises(SkipDocument) as caught:
        source(stub).read(LISTED, max_bytes)
    one_line(caught.value)
    return caught.value.reason


def test_a_read_asks_for_the_listed_version_and_its_checksum_and_records_the_pin() -> None:
    stub = Stub(get_object=[body(b"hello", VersionId="v7")])
    content = source(stub).read(LISTED, 100)
    assert (content.data, content.version, content.version_id) == (b"hello", "tag1:5", "v7")
    arguments = stub.calls[0][1]
    assert (arguments["Key"], arguments["IfMatch"], arguments["ChecksumMode"]) == ("k/a.txt", '"tag1"', "ENABLED")


def test_a_changed_object_is_read_at_its_newest_version() -> None:
    head = {"ETag": '"tag2"', "ContentLength": 3}
    stub = Stub(get_object=[refused("PreconditionFailed", 412), body(b"new", "tag2")], head_object=[head])
    assert source(stub).read(LISTED, 100).version == "tag2:3"
    assert stub.calls[2][1]["IfMatch"] == '"tag2"'


def test_an_object_that_changes_at_every_try_is_skipped() -> None:
    heads = [{"ETag": f'"{number}"', "ContentLength": 3} for number in range(5)]
    stub = Stub(get_object=[refused("PreconditionFailed", 412)] * 5, head_object=heads)
    assert reason(stub) is Reason.SOURCE_CHANGED
    assert [name for name, _ in stub.calls].count("get_object") == 3


def test_an_object_that_changed_and_went_is_vanished() -> None:
    stub = Stub(get_object=[refused("PreconditionFailed", 412)], head_object=[refused("404", 404)], list_objects_v2=[page()])
    assert reason(stub) is Reason.SOURCE_VANISHED


@pytest.mark.parametrize("name", ["AccessDenied", "InvalidObjectState"])
def test_one_object_that_may_not_be_read_holds_up_no_other(name: str) -> None:
    assert reason(Stub(get_object=[refused(name, 403)])) is Reason.DEPENDENCY_DOWN


def test_wrong_credentials_or_a_missing_bucket_at_read_stop_the_run() -> None:
    for name, status in (("InvalidAccessKeyId", 403), ("NoSuchBucket", 404)):
        with pytest.raises(FixConfiguration, match=name):
            source(Stub(get_object=[refused(name, status)])).read(LISTED, 100)


@pytest.mark.parametrize(
    "failure", [IncompleteReadError(actual_bytes=3, expected_bytes=5), FlexibleChecksumError(error_msg="crc32 differs")]
)
def test_a_broken_body_is_read_again_then_skipped(failure: BotoCoreError) -> None:
    def broken() -> Page:
        return {"Body": Breaking(failure), "ContentLength": 5, "ETag": '"tag1"'}

    assert source(Stub(get_object=[broken(), broken(), body(b"whole")])).read(LISTED, 100).data == b"whole"
    assert reason(Stub(get_object=[broken(), broken(), broken()])) is Reason.CHECKSUM_MISMATCH


def test_a_body_that_stops_coming_is_the_services_fault() -> None:
    stalled = [
        {"Body": Breaking(ReadTimeoutError(endpoint_url="x")), "ContentLength": 5, "ETag": '"tag1"'} for _ in range(3)
    ]
    with pytest.raises(Retry, match="SlowDown"):
        source(Stub(get_object=stalled, list_objects_v2=[refused("SlowDown", 503)])).read(LISTED, 100)


def test_an_object_that_the_service_cannot_deliver_holds_up_no_other_until_there_are_many() -> None:
    failing = refused("InternalError", 500)
    bucket = source(Stub(get_object=[failing] * 20, list_objects_v2=[page()] * 20))
    for _ in range(PATIENCE):
        with pytest.raises(SkipDocument) as caught:
            bucket.read(LISTED, 100)
        assert caught.value.reason is Reason.DEPENDENCY_DOWN
    with pytest.raises(Retry, match="InternalError"):
        bucket.read(LISTED, 100)


def test_too_large_is_told_from_the_listing_and_not_from_one_answers_header() -> None:
    assert reason(Stub(), 4) is Reason.TOO_LARGE
    lying = [body(b"hello", ContentLength=10**12) for _ in range(3)]
    assert source(Stub(get_object=lying)).read(LISTED, 100).data == b"hello"


@pytest.mark.parametrize("data", [b"", b"hell", b"hello!", b"x" * 2000])
def test_a_body_of_another_length_than_listed_is_never_believed(data: bytes) -> None:
    assert reason(Stub(get_object=[body(data) for _ in range(3)])) is Reason.CHECKSUM_MISMATCH


def test_an_answer_without_etag_or_with_another_is_never_believed() -> None:
    assert reason(Stub(get_object=[{"Body": io.BytesIO(b"hello")} for _ in range(3)])) is Reason.CHECKSUM_MISMATCH
    others = [body(b"hello", "tag2") for _ in range(3)]
    heads = [{"ETag": '"tag1"', "ContentLength": 5}] * 3
    assert reason(Stub(get_object=others, head_object=heads)) is Reason.SOURCE_CHANGED


def test_an_etag_that_is_an_md5_is_compared_unless_another_key_encrypts_the_object() -> None:
    etag = hashlib.md5(b"hello").hexdigest()
    listed = RawObject(LISTED.uri, f"{etag}:5", 5)
    wrong = [body(b"jello", etag) for _ in range(3)]
    with pytest.raises(SkipDocument) as caught:
        source(Stub(get_object=wrong)).read(listed, 100)
    assert caught.value.reason is Reason.CHECKSUM_MISMATCH
    for answer in (body(b"hello", etag), body(b"jello", etag, ServerSideEncryption="aws:kms")):
        assert len(source(Stub(get_object=[answer])).read(listed, 100).data) == 5


def test_an_object_counts_as_gone_only_while_its_bucket_answers_and_does_not_list_it() -> None:
    gone = refused("404", 404)
    with pytest.raises(Retry, match="the listing holds it"):
        source(Stub(head_object=[gone], list_objects_v2=[page("k/a.txt")])).current_version(LISTED.uri)
    with pytest.raises(Retry, match="without ETag"):
        source(Stub(head_object=[{}])).current_version(LISTED.uri)
    for refusal in (refused("403", 403), refused("405", 405), refused("404", 500)):
        with pytest.raises(MillraceError):
            source(Stub(head_object=[refusal])).current_version(LISTED.uri)
    assert source(Stub(head_object=[gone], list_objects_v2=[page()])).current_version(LISTED.uri) is None
    with pytest.raises(FixConfiguration, match="NoSuchBucket"):
        source(Stub(head_object=[gone], list_objects_v2=[refused("NoSuchBucket", 404)])).current_version(LISTED.uri)


@pytest.mark.parametrize("failure", [ValueError("invalid literal for int()"), ResponseParserError("invalid XML\nreceived")])
def test_garbage_in_place_of_an_answer_is_the_services_fault(failure: Exception) -> None:
    with pytest.raises(Retry, match="bucket 'bucket'") as caught:
        list(source(Stub(list_objects_v2=[failure])).list())
    one_line(caught.value)


def test_the_connections_config_kwargs_override_timeouts_and_are_checked() -> None:
    extra = {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-central-1", "config_kwargs": {"read_timeout": 7}}
    connection = Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra)
    config = aws.client(connection).meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 7)
    wrong = connection.model_copy(update={"extra": {**extra, "config_kwargs": {"read_timeut": 7}}})
    with pytest.raises(FixConfiguration, match="connection 'c': config_kwargs.*read_timeut"):
        aws.client(wrong)


def test_an_unusable_endpoint_is_named() -> None:
    with pytest.raises(FixConfiguration, match="connection 'c': .*endpoint_url"):
        aws.client(Connection(conn_id="c", conn_type="aws", extra={"endpoint_url": "no url"}))


def test_an_unreachable_endpoint_is_one_line_after_bounded_retries() -> None:
    extra = {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-central-1"}
    client = aws.client(Connection(conn_id="c", conn_type="aws", login="x", password="y", extra=extra))
    started = time.monotonic()
    with pytest.raises(Retry, match="127.0.0.1:9.*endpoint_url") as caught:
        list(source(client).list())
    one_line(caught.value)
    assert time.monotonic() - started < 60
