"""What the listings stage needs from outside: the delivered file.

Belongs here: the protocol and its one failure. Not here: any implementation (see `resources`).
"""

from pathlib import Path
from typing import Protocol

from assets.failures import PermanentFailure


class DeliveryGone(PermanentFailure):
    """The delivered version of an object is not there any more: it was deleted or replaced since it was listed."""


class LandingZone(Protocol):
    """Where sources deliver their feeds."""

    def fetch(self, object_key: str, etag: str, into: Path) -> Path:
        """Download exactly that version of the object into the folder `into` and return its path.

        Raises:
            DeliveryGone: it is not there any more; asking again cannot help.
        """
        ...
