"""What boto3 raises, told apart: ask again, the condition does not hold, not there, full, or a person must act.

Sentences hold the service's code for what went wrong, never its text, which may repeat a credential.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)

from tsgb.errors import Missing, NoSpace, SettingsError
from tsgb.storage.answers import PastEnd, Refused, Unanswered
from tsgb.storage.tls import why_untrusted

TRANSIENT = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "BadDigest", "NoSuchUpload"}
"""Asked again: the service is busy, a body was damaged on its way, an upload in parts has to begin anew."""
FORBIDDEN = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "EntityTooLarge", "507"}
UNANSWERED = (ConnectionError, HTTPClientError, IncompleteReadError, FlexibleChecksumError)


@contextmanager
def explained(bucket: str) -> Iterator[None]:
    """Turn errors into one of `answers`, Missing, NoSpace, or SettingsError that names `bucket` and the cure."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        cure = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the environment or in .env"
        raise SettingsError(f"{bucket} needs credentials and there are none; {cure}.") from None
    except ClientError as error:
        raise _told(_code_of(error), _status_of(error), bucket) from None
    except UNANSWERED as error:
        if isinstance(error, SSLError) and (why := why_untrusted(error)):
            raise SettingsError(f"{bucket} {why}, or set AWS_CA_BUNDLE to the file of its authority.") from None
        raise Unanswered(type(error).__name__) from None
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(f"{bucket} cannot be used: {error}; check [storage] and the AWS settings.") from None


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _told(code: str, status: int, bucket: str) -> Exception:
    """409 is no refusal: another conditional write is under way, and whose bytes are there is read before the next."""
    if code in TRANSIENT or status in (409, 429) or (status >= 500 and status != 501 and code not in FULL):
        return Unanswered(f"{status} {code}")
    if status == 412:
        return Refused(code)
    if status == 416:
        return PastEnd(code)
    if code == "NoSuchBucket":
        return SettingsError(f"{bucket} is not there; create it, or name another in storage.root.")
    if status == 404:
        return Missing(f"there is no such object in {bucket}.")
    if code in FORBIDDEN or status in (401, 403):
        cure = "check the keys in the environment or .env, and what they may do"
        return SettingsError(f"{bucket} refuses these credentials ({code}); {cure}.")
    if code in FULL:
        return NoSpace(f"{bucket} is full ({code}); everything committed before is whole.")
    if code == "RequestTimeTooSkewed":
        return SettingsError(f"{bucket} refuses requests because this machine's clock is off; set it right.")
    cure = "check storage.root, storage.endpoint_url and AWS_DEFAULT_REGION"
    return SettingsError(f"{bucket} refuses the request ({status} {code}); {cure}.")
