"""boto3's client for one service: one per process, never repeating on its own, with its errors explained.

Repeating is left to `patience`, which looks first whether an unanswered write was done. Credentials are in no message.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from pydantic import SecretStr

from tsgb.errors import NoSpace, SettingsError
from tsgb.settings import Secrets, StorageSettings

TRANSIENT = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"}
CONCURRENT = {"ConditionalRequestConflict", "OperationAborted"}
"""409: another conditional write of the same key is under way; whose bytes are there is read before the next try."""
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403", "401"}


@dataclass(frozen=True)
class Access:
    """How a service is reached."""

    endpoint_url: str = ""
    key_id: SecretStr | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None
    region: str | None = None

    @classmethod
    def of(cls, settings: StorageSettings, secrets: Secrets | None) -> Self:
        """What settings and secrets say; what they do not is left to boto3's own chain."""
        if secrets is None or secrets.aws_access_key_id is None:
            return cls(settings.endpoint_url)
        region = secrets.aws_default_region
        return cls(
            settings.endpoint_url,
            secrets.aws_access_key_id,
            secrets.aws_secret_access_key,
            secrets.aws_session_token,
            region.get_secret_value() if region else None,
        )


class Clients:
    """A client for each process that asks: connections do not survive a fork."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.requests = 0
        self._made: tuple[int, Any] | None = None

    @property
    def client(self) -> Any:
        """The client of this process."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), self._make())
        return self._made[1]

    def _make(self) -> Any:
        access = self.access
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=access.endpoint_url or None,
            region_name=access.region,
            aws_access_key_id=_said(access.key_id),
            aws_secret_access_key=_said(access.secret),
            aws_session_token=_said(access.token),
            config=_config(access),
        )
        client.meta.events.register("before-send.s3", self._count)
        return client

    def _count(self, **_: object) -> None:
        self.requests += 1


def _config(access: Access) -> Config:
    """Signed headers, checksummed bodies: hashing a body twice would halve the speed."""
    style = {"addressing_style": "path"} if access.endpoint_url else {}
    options = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 16}
    return Config(retries={"total_max_attempts": 1}, s3={"payload_signing_enabled": False, **style}, **options)


def _said(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def code_of(error: Exception) -> str:
    """The service's own name for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_transient(error: Exception) -> bool:
    """Say whether the same request may be answered later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in TRANSIENT | CONCURRENT or status == 429 or status >= 500
    unanswered = (HTTPClientError, EndpointConnectionError, IncompleteReadError, ResponseStreamingError)
    return isinstance(error, unanswered) or (isinstance(error, Boto3Error) and _is_unanswered(error))


def _is_unanswered(error: Boto3Error) -> bool:
    """boto3 wraps what stopped an upload in parts; its text alone says what it was."""
    return any(word in str(error) for word in ("Could not connect", "Connection was closed", "timeout", *TRANSIENT))


@contextmanager
def explained(bucket: str, access: Access) -> Iterator[None]:
    """Turn what a person must change into one sentence that names no credential."""
    where = f" at {access.endpoint_url}" if access.endpoint_url else ""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        cure = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the environment or in .env"
        raise SettingsError(f"bucket «{bucket}»{where} needs credentials and there are none; {cure}.") from None
    except ClientError as error:
        raise _sentence(error, f"bucket «{bucket}»{where}") from None
    except BotoCoreError as error:
        raise SettingsError(f"bucket «{bucket}»{where} cannot be used: {error}.") from None


def _sentence(error: ClientError, bucket: str) -> Exception:
    code = code_of(error)
    if code == "NoSuchBucket":
        return SettingsError(f"{bucket} is not there; create it, or name another in storage.root.")
    if code in REFUSED:
        cure = "check the keys in the environment or .env, and what they may do"
        return SettingsError(f"{bucket} refuses these credentials ({code}); {cure}.")
    if code == "RequestTimeTooSkewed":
        return SettingsError(f"{bucket} refuses requests because this machine's clock is off; set it right.")
    if code in ("QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientCapacity"):
        return NoSpace(f"{bucket} is full ({code}); everything committed before is whole.")
    same: Exception = error
    return same
