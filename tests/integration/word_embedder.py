"""A stand-in for the sentence model, where what a vector means does not matter.

Belongs here: hashed words as vectors. Not here: the model (see `test_embedder`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash

from assets.embeddings.ports import HalfVectors
from assets.embeddings.schema import DIMENSIONS


class WordEmbedder:
    """Hashed words of a text."""

    model_version = "words@1"
    model_files: Mapping[str, Path] = {}

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> HalfVectors:
        result = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                result[row, xxhash.xxh3_64_intdigest(word.encode()) % DIMENSIONS] += 1
        return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float16)
