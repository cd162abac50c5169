"""What was removed where.

Belongs here: one line of a receipt. Not here: removing (see `eraser`), printing (see `orchestration.tables`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """One line of a receipt.

    Attributes:
        store: Which store.
        place: Where in it: a table, an object, a file.
        count: How many rows, points or files.
        what: What was counted.
    """

    store: str
    place: str
    count: int
    what: str
