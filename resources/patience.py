"""Trying again what may pass, in one way for every adapter.

Belongs here: how often and how long. Not here: which error is of which kind (each adapter says so in its own errors,
see `assets.failures`), trying a whole step again (see `orchestration.step_retries`).
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from assets.failures import RateLimited, TransientFailure

T = TypeVar("T")
_FIRST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a request is tried again while its failure is transient; any other failure is raised at once.

    Attributes:
        tries: How often it is tried in all.
        longest_pause_seconds: Longest pause between two tries; they grow exponentially, with jitter.
        longest_wait_seconds: Longest pause that a server may ask for. It is never cut short; one that asks for more is
            not tried again.
        sleep: How to wait.
    """

    tries: int = 10
    longest_pause_seconds: float = 5.0
    longest_wait_seconds: float = 120.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def __call__(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns, or raise what the last one raised."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientFailure),
            wait=self._pause,
            stop=self._gives_up,
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _pause(self, state: RetryCallState) -> float:
        grown = wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=self.longest_pause_seconds)
        # Whose clock is ahead of ours asks for a moment that is past, which must not mean all tries at once.
        return max(grown(state), _asked(state) or 0)

    def _gives_up(self, state: RetryCallState) -> bool:
        return state.attempt_number >= self.tries or (_asked(state) or 0) > self.longest_wait_seconds


def asked_wait(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or as a date; None where it says nothing."""
    if not header:
        return None
    try:
        return float(Retry(retry_after_max=sys.maxsize).parse_retry_after(header))
    except (InvalidHeader, ValueError, OverflowError):  # no number, no date, or one that Python cannot hold
        return None


def _asked(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, RateLimited) else None
