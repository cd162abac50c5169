"""A process that writes to Qdrant's embedded engine and kills itself at a given moment.

Run as `python killed_writer.py FOLDER MOMENT`. Belongs here: as little as a child process must import.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from assets.embeddings.ports import HalfVectors, IndexedProduct
from resources import qdrant_embedded
from resources.qdrant_embedded import QdrantEmbeddedIndex, QdrantEmbeddedRules

MOMENTS = ("before the first write", "after a write", "inside a write")
#: Products that were acknowledged before the process dies inside or after a write.
ACKNOWLEDGED = 200


def rows() -> tuple[list[IndexedProduct], HalfVectors]:
    """The products the writer would have written, had it lived."""
    count = 2 * ACKNOWLEDGED
    raw = np.random.default_rng(7).normal(size=(count, 384))
    products = [
        IndexedProduct(product_id=f"abt:{i}", fingerprint=str(i), source="abt", title=f"Kettle {i}")
        for i in range(count)
    ]
    return products, (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die(folder: Path, moment: str) -> None:
    index = QdrantEmbeddedIndex(folder, rules=QdrantEmbeddedRules(write_points=50))
    products, vectors = rows()
    with index.held():
        if moment == "before the first write":
            die()
        index.upsert(products[:ACKNOWLEDGED], vectors[:ACKNOWLEDGED])
        if moment == "after a write":
            die()
        parts = qdrant_embedded._parts

        def two_parts_then_death(items: Iterator[Any], rules: QdrantEmbeddedRules) -> Iterator[list[Any]]:
            whole = parts(items, rules)
            yield next(whole)
            yield next(whole)
            die()

        qdrant_embedded._parts = two_parts_then_death
        index.upsert(products[ACKNOWLEDGED:], vectors[ACKNOWLEDGED:])


if __name__ == "__main__":
    write_and_die(Path(sys.argv[1]), sys.argv[2])
