"""Embeds only the texts that were never embedded, and puts every product's vector together.

Belongs here: what is known, what is missing, and the stage's table. Not here: models, stores, Dagster, bringing an
index up to date (see `index_sync`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.embeddings.ports import HalfVectors, TextEmbedder
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS


class VectorsMissing(ValueError):
    """A product's text has no vector; the message counts them and names one."""


@dataclass(frozen=True, slots=True)
class KnownVectors:
    """Vectors of one model by the hash of their text, each hash once.

    Attributes:
        hashes: Text hashes, shape (rows,).
        vectors: Unit vectors, shape (rows, dimensions).
    """

    hashes: pa.Array
    vectors: HalfVectors

    @classmethod
    def none(cls) -> "KnownVectors":
        """Nothing known yet."""
        return cls(pa.array([], pa.string()), np.empty((0, DIMENSIONS), np.float16))

    @classmethod
    def of(cls, table: pa.Table, model_version: str) -> "KnownVectors":
        """Read what a model embedded before.

        Args:
            table: Columns `text_hash`, `model_version` and `vector`, in any order and with repeats, such as an
                earlier `product_embeddings`.
            model_version: Only this model's vectors are taken.
        """
        table = table.filter(pc.equal(table["model_version"], model_version)).combine_chunks()
        if not len(table):
            return cls.none()
        hashes = table["text_hash"].combine_chunks()
        distinct = hashes.unique()
        first = pc.index_in(distinct, value_set=hashes).to_numpy()
        return cls(distinct, _as_matrix(table["vector"])[first])

    def with_more(self, hashes: pa.Array, vectors: HalfVectors) -> "KnownVectors":
        """Return these and more; the hashes must be new."""
        return KnownVectors(pa.concat_arrays([self.hashes, hashes]), np.concatenate([self.vectors, vectors], axis=0))

    def __len__(self) -> int:
        """How many texts are known."""
        return len(self.hashes)


@dataclass(frozen=True, slots=True)
class EmbeddedCatalogue:
    """The outcome of one run.

    Attributes:
        table: `PRODUCT_EMBEDDINGS`, one row per product in the order of their ids.
        fresh: Columns `text_hash`, `model_version`, `vector` of the texts that were embedded now.
        reused: Distinct texts whose vector was known.
    """

    table: pa.Table
    fresh: pa.Table
    reused: int


def missing_texts(products: pa.Table, known: KnownVectors) -> pa.Table:
    """Return the texts that need a vector, each once, in the order of their hashes.

    Args:
        products: Columns `text_hash` and `embedding_text`.
        known: What has a vector.

    Returns:
        Columns `text_hash` and `embedding_text`.
    """
    unknown = pc.invert(pc.is_in(products["text_hash"], value_set=known.hashes))
    texts = products.select(["text_hash", "embedding_text"]).filter(unknown)
    distinct = texts.group_by("text_hash", use_threads=False).aggregate([("embedding_text", "first")])
    return distinct.rename_columns(["text_hash", "embedding_text"]).sort_by("text_hash").combine_chunks()


def assemble(products: pa.Table, known: KnownVectors, model_version: str) -> pa.Table:
    """Give every product its text's vector.

    Args:
        products: Columns `product_id` and `text_hash`.
        known: A vector of every text hash in `products`.
        model_version: The model they are of.

    Returns:
        `PRODUCT_EMBEDDINGS` in the order of the product ids.

    Raises:
        VectorsMissing: a text has no vector.
    """
    products = products.select(["product_id", "text_hash"]).sort_by("product_id").combine_chunks()
    hashes = products["text_hash"]
    places = pc.index_in(hashes, value_set=known.hashes)
    if places.null_count:
        example = hashes.filter(pc.is_null(places))[0].as_py()
        raise VectorsMissing(f"{places.null_count} products' texts have no vector, such as text_hash {example}")
    vectors = known.vectors[places.to_numpy()]
    return PRODUCT_EMBEDDINGS.conform(
        products.append_column("model_version", _repeated(model_version, len(products))).append_column(
            "vector", _as_column(vectors)
        )
    )


def embed_catalogue(
    products: pa.Table,
    known: KnownVectors,
    embedder: TextEmbedder,
    *,
    progress: Callable[[int], None] | None = None,
) -> EmbeddedCatalogue:
    """Embed the texts that have no vector yet and give every product its own.

    The model is not even asked when there is none: again is free.

    Args:
        products: The current catalogue: columns `product_id`, `text_hash` and `embedding_text`.
        known: What this embedder's `model_version` embedded before.
        embedder: The model.
        progress: See `TextEmbedder.embed`.
    """
    missing = missing_texts(products, known)
    model_version = embedder.model_version
    fresh = np.empty((0, DIMENSIONS), np.float16)
    if len(missing):
        fresh = embedder.embed(missing["embedding_text"].to_pylist(), progress=progress)
    hashes = missing["text_hash"].combine_chunks()
    distinct = pc.count_distinct(products["text_hash"]).as_py()
    return EmbeddedCatalogue(
        table=assemble(products, known.with_more(hashes, fresh), model_version),
        fresh=pa.table(
            {
                "text_hash": hashes,
                "model_version": _repeated(model_version, len(missing)),
                "vector": _as_column(fresh),
            }
        ),
        reused=distinct - len(missing),
    )


def vectors_of(table: pa.Table) -> HalfVectors:
    """Return the `vector` column of a table as a matrix, shape (rows, dimensions)."""
    return _as_matrix(table["vector"])


def _repeated(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _as_column(vectors: HalfVectors) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors, np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)


def _as_matrix(column: pa.ChunkedArray) -> HalfVectors:
    flat = column.combine_chunks().flatten()
    matrix: HalfVectors = flat.to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
    return matrix.reshape(-1, DIMENSIONS)
