"""What the clusters stage needs from outside, beside the catalogue and the tracker: truth files to score against.

Belongs here: the protocol. Not here: any implementation (see `resources`).
"""

from collections.abc import Iterator
from typing import Protocol


class TruthShelf(Protocol):
    """Where truth files lie that somebody delivered beside the feeds."""

    def truths(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every truth file."""
        ...
