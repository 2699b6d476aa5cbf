"""boto3's client for one bucket: one per process, never repeating on its own, its errors told apart.

Repeating is left to `patience`, which looks first whether an unanswered write was done. Credentials are in no message.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from pydantic import SecretStr

from tsgb.settings import Secrets, StorageSettings
from tsgb.storage.s3_errors import explained

TIMEOUT_S = 60.0
"""Seconds without a byte after which a request counts as unanswered, if patience is not shorter."""


@dataclass(frozen=True)
class Access:
    """How a service is reached."""

    endpoint_url: str = ""
    timeout_s: float = TIMEOUT_S
    key_id: SecretStr | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None
    region: SecretStr | None = None

    @classmethod
    def of(cls, settings: StorageSettings, secrets: Secrets | None) -> Self:
        """What settings and secrets say; what they do not is left to boto3's own chain."""
        access = cls(settings.endpoint_url, min(TIMEOUT_S, settings.patience_s))
        if secrets is None:
            return access
        access = replace(access, region=secrets.aws_default_region)
        if secrets.aws_access_key_id is None:
            return access
        return replace(
            access,
            key_id=secrets.aws_access_key_id,
            secret=secrets.aws_secret_access_key,
            token=secrets.aws_session_token,
        )


class Bucket:
    """A bucket, and the requests that were sent to it by this process."""

    def __init__(self, name: str, access: Access) -> None:
        self.name, self.access, self.requests = name, access, 0
        at = f" at {access.endpoint_url}" if access.endpoint_url else ""
        self.place = f"bucket «{name}»{at}"

    def ask(self, operation: str, **request: object) -> Any:
        """Return the reply to one request; raises as `explained` does."""
        with self.explained():
            self.requests += 1
            return getattr(self._client, operation)(Bucket=self.name, **request)

    def pages(self, operation: str, field: str, prefix: str) -> list[Any]:
        """Everything that a listing names, page by page."""
        found: list[Any] = []
        with self.explained():
            for page in self._client.get_paginator(operation).paginate(Bucket=self.name, Prefix=prefix):
                self.requests += 1
                found += page.get(field, ())
        return found

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Tell errors apart while a reply's body is read."""
        with explained(self.place):
            yield

    @property
    def _client(self) -> Any:
        return _client(os.getpid(), self.name, self.access)


@lru_cache(maxsize=8)
def _client(process: int, bucket: str, access: Access) -> Any:
    """One client for each process, for connections do not survive a fork; it takes a while to make."""
    endpoint_url, style = addressed(access.endpoint_url, bucket)
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=_said(access.region),
        aws_access_key_id=_said(access.key_id),
        aws_secret_access_key=_said(access.secret),
        aws_session_token=_said(access.token),
        config=_config(access.timeout_s, style),
    )


def _config(timeout_s: float, style: str) -> Config:
    """No repetitions, and no checksum but the MD5 that each write brings along: not every service knows the newer."""
    return Config(
        retries={"total_max_attempts": 1},
        connect_timeout=min(10.0, timeout_s),
        read_timeout=timeout_s,
        max_pool_connections=16,
        request_checksum_calculation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": style},
    )


def addressed(endpoint_url: str, bucket: str) -> tuple[str | None, str]:
    """Where requests go, and whether they name the bucket in the path: they do unless the address begins with it."""
    if not endpoint_url:
        return None, "auto"
    url = urlsplit(endpoint_url)
    if url.netloc.startswith(f"{bucket}."):
        return url._replace(netloc=url.netloc.removeprefix(f"{bucket}.")).geturl(), "virtual"
    return endpoint_url, "path"


def _said(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
