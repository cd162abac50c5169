"""Trying a whole step again after an outage that outlasted an adapter's patience.

Belongs here: which failures of a step that is for, and how often. Not here: single requests (see `resources.patience`).

Every step may be run again: it writes its artifact under a name of its own, and to the stores in transactions that
change nothing the second time.
"""

import sys

import dagster as dg

from assets.failures import PermanentFailure, RateLimited, TransientFailure

#: A step that waits keeps its run's place, and others out; a server that asks for more is for another run.
LONGEST_WAIT_SECONDS = 15 * 60


class RetryTransient(dg.RetryPolicy):
    """A retry policy for transient failures alone: a wrong password or a mistake in code fails its step at once.

    Dagster asks a policy for the delay while it handles the exception; that is where this one looks at it.
    """

    def calculate_delay(self, attempt_num: int) -> float:
        """Return the seconds to wait, or raise the failure that ends the step."""
        error = sys.exception()
        if isinstance(error, RateLimited) and error.retry_after is not None:
            if error.retry_after > LONGEST_WAIT_SECONDS:
                asked = f"the server asks to be left alone for {error.retry_after / 60:.0f} minutes"
                raise dg.Failure(f"{asked}: {error}", allow_retries=False) from error
            return error.retry_after
        if isinstance(error, TransientFailure):
            return super().calculate_delay(attempt_num)
        if error is None or isinstance(error, dg.Failure) or not isinstance(error, Exception):
            raise error or RuntimeError("asked for the delay after no failure")
        helps = "trying again cannot help: " if isinstance(error, PermanentFailure) else ""
        raise dg.Failure(f"{helps}{error or type(error).__name__}", allow_retries=False) from error


#: Two more tries, after about 10 and 30 seconds.
STEP_RETRIES = RetryTransient(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
