"""Offers and stand-ins for embeddings, for the tests of the matcher."""

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

#: Folders of real offers; not everybody has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def vectors(table: pa.Table) -> np.ndarray:
    """Hashed character 3-grams: a stand-in for embeddings, a function of the title alone."""
    result = np.zeros((table.num_rows, 64), dtype=np.float32)
    for row, title in enumerate(table.column("title").to_pylist()):
        padded = f"  {title.lower()} "
        for i in range(len(padded) - 2):
            result[row, zlib.crc32(padded[i : i + 3].encode()) % 64] += 1
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float16)
