"""What can go wrong outside, told apart by whether trying again helps.

Belongs here: the three kinds, from which the errors of every port and adapter derive. Not here: trying again (see
`resources.patience` for a request, `orchestration.step_retries` for a step), the errors themselves.
"""


class TransientFailure(RuntimeError):
    """It passes: the same request may succeed later, as it is."""


class RateLimited(TransientFailure):
    """The server asks us to wait.

    Attributes:
        retry_after: How long, in seconds; None where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentFailure(RuntimeError):
    """It stays: the same request fails again until somebody changes something."""
