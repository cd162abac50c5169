"""What the embeddings stage needs from outside: a model, and an index that searches vectors.

Belongs here: protocols and the values they exchange. Not here: any implementation (see `resources`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Shape (rows, dimensions), unit rows.
HalfVectors = NDArray[np.float16]


class TextEmbedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def model_version(self) -> str:
        """Name and version of the model; part of every fingerprint."""
        ...

    @property
    def model_files(self) -> Mapping[str, Path]:
        """The files that decide what a vector is, by their path inside the model."""
        ...

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> HalfVectors:
        """Return one unit vector per text, in the order given, shape (len(texts), dimensions).

        `progress` is called with the number of texts finished since it was last called.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedProduct:
    """What an index keeps beside a vector, to filter by and to compare stores with."""

    product_id: str
    fingerprint: str
    source: str
    title: str
    brand: str | None = None
    price: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFilter:
    """Conditions a hit must meet; an absent one is not checked. Brands compare without regard to case."""

    brand: str | None = None
    source: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A hit: the product and its cosine similarity to the query (between -1 and 1)."""

    product: IndexedProduct
    similarity: float


class VectorIndex(Protocol):
    """A store of product vectors that answers nearest-neighbour queries. Every adapter passes one contract test."""

    @property
    def name(self) -> str:
        """Short name for messages and metadata, e.g. `pgvector`."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """Keep the store open for several calls, where opening it takes time."""
        ...

    def fingerprints(self) -> Mapping[str, str]:
        """Return `product_id -> fingerprint` of everything stored; what is no product of ours has a key of its own."""
        ...

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        """Yield everything stored, piece by piece, each product beside its vector; to be read to the end."""
        ...

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        """Store or replace products with their vectors, row by row; all or nothing where the store allows."""
        ...

    def delete(self, product_ids: Sequence[str]) -> None:
        """Remove products; ids that are not stored are ignored."""
        ...

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        """Return the `limit` most similar stored products that meet `where`, most similar first."""
        ...
