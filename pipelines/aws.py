"""One way to make an S3 client from a connection, and one table of what its failures mean.

Shared by the S3 source and the S3 objects store. boto3 is imported when a client is made, never by importing this module.
Does not list, read or write anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pipelines.config import Connection
from pipelines.connections import s3_client_arguments
from pipelines.errors import FixConfiguration, MillraceError, Retry

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
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    arguments = s3_client_arguments(connection)
    settings = Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )
    session = botocore.session.Session()
    # botocore's parser tries several formats per date; a listing page holds a thousand.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    try:
        return boto3.session.Session(botocore_session=session).client("s3", config=settings, **arguments)
    except (BotoCoreError, ValueError) as error:
        raise FixConfiguration(
            f"connection {connection.conn_id!r}: {line(error)}; correct endpoint_url and region_name in its extra"
        ) from None


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
def translated(where: str) -> Iterator[None]:
    """Turns every botocore error inside into Retry or FixConfiguration."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise failure(error, where) from error


def line(error: Exception) -> str:
    """The error's message as one line."""
    return " ".join(str(error).split())
