"""One way to make an S3 client from a connection, and one table of what its failures mean.

Shared by the S3 source and the S3 objects store. boto3 is imported when a client is made, never by importing this module.
Does not list, read or write anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any

from pipelines.config import Connection
from pipelines.connections import s3_client_arguments
from pipelines.errors import FixConfiguration, MillraceError, Retry

CONNECT_SECONDS, READ_SECONDS = 10, 30  # without an answer, or without a byte of it
CONNECTIONS = 32  # sockets kept open; more reading threads than this would wait for each other

_CREDENTIALS = "correct login, password and aws_session_token of the connection"
_BUCKET = "create the bucket or correct its name in the configuration"
_ACCESS = "allow its credentials s3:ListBucket on the bucket and s3:GetObject (s3:PutObject to store) on its keys"
_REGION = "set the bucket's region as region_name in the connection's extra"
_REMEDIES = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "NoCredentialsError": _CREDENTIALS,
    "PartialCredentialsError": _CREDENTIALS,
    "ProfileNotFound": _CREDENTIALS,
    "AccessDenied": _ACCESS,
    "403": _ACCESS,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "NoRegionError": _REGION,
    "RequestTimeTooSkewed": "correct this machine's clock",
    "ParamValidationError": _BUCKET,
    "InvalidRegionError": _REGION,
    "UnsupportedSignatureVersionError": _CREDENTIALS,
}


def client(connection: Connection) -> Any:
    """A thread-safe S3 client with bounded retries and timeouts. Raises FixConfiguration for an unusable connection."""
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError

    arguments = s3_client_arguments(connection)
    settings = _settings(connection)
    session = botocore.session.Session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    # botocore's parser tries several formats per date; a listing page holds a thousand.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    try:
        return boto3.session.Session(botocore_session=session).client("s3", config=settings, **arguments)
    except (BotoCoreError, ValueError) as error:
        raise FixConfiguration(
            f"connection {connection.conn_id!r}: {line(error)}; correct endpoint_url and region_name in its extra"
        ) from None


@cache
def _loader(data_path: str | None) -> Any:
    """botocore's descriptions of its services, which take most of the time a client costs: read once."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _settings(connection: Connection) -> Any:
    """Timeouts and retries, overridden by `config_kwargs` of the connection's extra, as Airflow's aws connection has it."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # Not the adaptive mode: one storm of 503 lowers its request rate for long after, to one in two seconds.
    settings = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )
    try:
        return settings.merge(Config(**(connection.extra.get("config_kwargs") or {})))
    except (TypeError, ValueError, BotoCoreError) as error:
        raise FixConfiguration(
            f"connection {connection.conn_id!r}: config_kwargs of its extra: {line(error)}; see botocore.config.Config"
        ) from None


def errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What a call of the client can raise when the service fails, an answer that is no XML included.

    `more` is for ValueError, which botocore lets through for a number or date that is none.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError, *more)


def _timestamp(value: Any) -> datetime:
    from botocore.utils import parse_timestamp

    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = parse_timestamp(value)
    return moment


def code(error: Exception) -> str:
    """S3's error code such as NoSuchKey or 404, else the class name of a failure before any answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__name__
    return str(response.get("Error", {}).get("Code") or status(error))


def status(error: Exception) -> int:
    """The HTTP status of the answer, 0 when there was none."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def failure(error: Exception, where: str) -> MillraceError:
    """What a botocore error means to the caller; `where` names connection and bucket."""
    name = code(error)
    if name in _REMEDIES:
        return FixConfiguration(f"{where}: {name}; {_REMEDIES[name]}")
    if status(error) == 403:
        return FixConfiguration(f"{where}: {name}; {_ACCESS}")
    if not status(error):
        return Retry(f"{where}: {line(error)}; check that the service runs and that endpoint_url of the connection is right")
    return Retry(f"{where}: {line(error)}; the service refused or throttled, try again later")


@contextmanager
def translated(where: str, *more: type[Exception]) -> Iterator[None]:
    """Turns every error of the client's calls inside, and of the classes in `more`, into Retry or FixConfiguration."""
    try:
        yield
    except errors(*more) as error:
        raise failure(error, where) from error


def line(error: Exception) -> str:
    """The error's message as one line."""
    return " ".join(str(error).split())
