"""What can go wrong with the object store, told apart by whether trying again helps.

Belongs here: the errors, and which of them an answer or a lost connection is. Not here: requests, trying again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from assets.failures import PermanentFailure, RateLimited, TransientFailure
from resources.patience import asked_wait

_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchObject", "ResourceNotFound"})
_DENIED = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "ExpiredToken"}
)
_BUSY = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite"})
_PASSING = frozenset({"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})
_PASSING |= {"XMinioServerNotInitialized", "ServerNotInitialized"}
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
PRECONDITION_FAILED = 412


class ObjectStoreError(RuntimeError):
    """A request failed; the message names bucket and key."""


class ObjectStoreRejected(ObjectStoreError, PermanentFailure):
    """A request cannot succeed as it is."""


class ObjectNotFound(ObjectStoreRejected):
    """There is no such object or bucket."""


class ObjectExists(ObjectStoreRejected):
    """An object was to be written only if absent, and is there."""


class ObjectChanged(ObjectStoreRejected):
    """The object is no longer the version that was asked for."""


class ObjectStoreDenied(ObjectStoreRejected):
    """The store knows these keys or this request, and refuses."""


class ObjectStoreUnavailable(ObjectStoreError, TransientFailure):
    """The store could not be reached or could not answer, however patiently it was asked."""


class ObjectStoreBusy(ObjectStoreUnavailable, RateLimited):
    """The store asks us to wait."""


class Connections(urllib3.PoolManager):
    """The SDK's connections, which tell a refusal that is not in S3's words, such as a proxy's page.

    The SDK would forget how long such an answer asks us to wait, and fail over a page that is not in UTF-8.
    """

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        """Return the answer, or raise the `ObjectStoreError` that it is."""
        answer = super().urlopen(method, url, *args, **options)
        asked = asked_wait(answer.headers.get("Retry-After"))
        if method == "HEAD":  # has no words at all, and the SDK knows what other statuses mean then
            told_by_sdk = not _is_outage(answer.status)
        else:
            told_by_sdk = answer.status < 400 or answer.status == PRECONDITION_FAILED or _is_xml(answer)
        if told_by_sdk:
            return answer
        message = f"HTTP status {answer.status}: {answer.data[:300].decode(errors='replace')}"
        answer.release_conn()
        raise failure_of_status(answer.status, unquote(urlsplit(url).path.strip("/")), message, asked)


def _is_outage(status: int) -> bool:
    return status == _TOO_MANY_REQUESTS or status >= 500


def _is_xml(answer: urllib3.BaseHTTPResponse) -> bool:
    return "application/xml" in answer.headers.get("content-type", "").split(";") and bool(answer.data)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what the SDK and its connections raise into our errors; `place` (bucket and key) begins the message."""
    from minio import error as sdk

    try:
        yield
    except sdk.S3Error as error:
        asked = asked_wait(error.response.headers.get("Retry-After"))
        raise _failure(error.code or "", error.response.status, place, error.message or "", asked) from error
    except sdk.ServerError as error:
        raise failure_of_status(error.status_code, place, str(error)) from error
    except sdk.InvalidResponseError as error:
        raise failure_of_status(error._code, place, str(error)) from error
    except ValueError as error:  # a name that S3 does not allow
        raise ObjectStoreRejected(f"{place}: {error}") from error
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise ObjectStoreUnavailable(f"{place}: the object store does not answer: {error}") from error


def _failure(code: str, status: int, place: str, message: str, asked: float | None) -> ObjectStoreError:
    if code in _MISSING:
        return ObjectNotFound(f"{place}: {message or code}")
    if code in _DENIED:
        return ObjectStoreDenied(f"{place}: {message or code}")
    if code in _BUSY:
        status = _TOO_MANY_REQUESTS
    elif code in _PASSING:
        status = _UNAVAILABLE
    return failure_of_status(status, place, f"{code}: {message}", asked)


def failure_of_status(status: int, place: str, message: str, asked: float | None = None) -> ObjectStoreError:
    """The error that an HTTP status means; `asked`: the seconds that the answer asks us to wait, if it does."""
    if status == _TOO_MANY_REQUESTS or (status >= 500 and asked is not None):
        return ObjectStoreBusy(f"{place}: {message}", asked)
    if status >= 500:
        return ObjectStoreUnavailable(f"{place}: {message}")
    if status == PRECONDITION_FAILED:
        return ObjectChanged(f"{place} is no longer the version that was listed")
    if status in (401, 403):
        return ObjectStoreDenied(f"{place}: {message}")
    if status == 404:
        return ObjectNotFound(f"{place}: {message}")
    return ObjectStoreRejected(f"{place}: {message}")
