"""What can go wrong with the object store, told apart by whether trying again helps.

Belongs here: the errors, and which of them an answer or a lost connection is. Not here: requests, retries.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchObject", "ResourceNotFound"})
_DENIED = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "ExpiredToken"}
)
_PASSING = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable"})
_PASSING |= {"RequestTimeout", "OperationAborted", "XMinioServerNotInitialized", "ServerNotInitialized"}
_TOO_MANY_REQUESTS = 429
PRECONDITION_FAILED = 412


class ObjectStoreError(RuntimeError):
    """A request cannot succeed as it is; the message names bucket and key."""


class ObjectNotFound(ObjectStoreError):
    """There is no such object or bucket."""


class ObjectExists(ObjectStoreError):
    """An object was to be written only if absent, and is there."""


class ObjectChanged(ObjectStoreError):
    """The object is no longer the version that was asked for."""


class ObjectStoreDenied(ObjectStoreError):
    """The store knows these keys or this request, and refuses."""


class ObjectStoreUnavailable(ObjectStoreError):
    """The store could not be reached or could not answer, however patiently it was asked."""


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what the SDK and its connections raise into our errors; `place` (bucket and key) begins the message."""
    import urllib3.exceptions
    from minio import error as sdk

    try:
        yield
    except sdk.S3Error as error:
        raise _failure(error.code or "", error.response.status, place, error.message or "") from error
    except sdk.ServerError as error:
        raise failure_of_status(error.status_code, place, str(error)) from error
    except sdk.InvalidResponseError as error:
        raise failure_of_status(error._code, place, str(error)) from error
    except ValueError as error:  # a name that S3 does not allow
        raise ObjectStoreError(f"{place}: {error}") from error
    except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise ObjectStoreUnavailable(f"{place}: the object store does not answer: {error}") from error


def _failure(code: str, status: int, place: str, message: str) -> ObjectStoreError:
    if code in _MISSING:
        return ObjectNotFound(f"{place}: {message or code}")
    if code in _DENIED:
        return ObjectStoreDenied(f"{place}: {message or code}")
    if code in _PASSING:
        return ObjectStoreUnavailable(f"{place}: {code}: {message}")
    return failure_of_status(status, place, f"{code}: {message}")


def failure_of_status(status: int, place: str, message: str) -> ObjectStoreError:
    """The error that an HTTP status without a code of S3 means."""
    if status >= 500 or status == _TOO_MANY_REQUESTS:
        return ObjectStoreUnavailable(f"{place}: {message}")
    if status == PRECONDITION_FAILED:
        return ObjectChanged(f"{place} is no longer the version that was listed")
    if status in (401, 403):
        return ObjectStoreDenied(f"{place}: {message}")
    if status == 404:
        return ObjectNotFound(f"{place}: {message}")
    return ObjectStoreError(f"{place}: {message}")
