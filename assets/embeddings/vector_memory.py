"""The vectors that the catalogue keeps by text, so that none is embedded twice.

Belongs here: reading and writing them. Not here: which texts need a vector (see `incremental`), connections.
"""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from assets.catalogue import Catalogue
from assets.catalogue import sql as read_sql
from assets.embeddings.incremental import KnownVectors
from assets.embeddings.schema import EMBEDDED_TEXTS

sql = partial(read_sql, "assets.embeddings")

#: Name of the store in reports.
EMBEDDINGS = "PostgreSQL embeddings"


def known_vectors(catalogue: Catalogue, model_version: str) -> KnownVectors:
    """Return what a model has embedded of the products that are current."""
    found = catalogue.read(sql("known_vectors"), EMBEDDED_TEXTS, model_version=model_version)
    return KnownVectors.of(found, model_version)


def held_vectors(catalogue: Catalogue, embeddings: pa.Table) -> KnownVectors:
    """Return what is kept of the texts in `PRODUCT_EMBEDDINGS`, which are of one model."""
    if not embeddings.num_rows:
        return KnownVectors.none()
    model_version = embeddings.column("model_version")[0].as_py()
    hashes = pc.unique(embeddings.column("text_hash")).to_pylist()
    found = catalogue.read(sql("held_vectors"), EMBEDDED_TEXTS, model_version=model_version, hashes=hashes)
    return KnownVectors.of(found, model_version)


def keep_vectors(catalogue: Catalogue, texts: pa.Table) -> None:
    """Keep vectors by text; one that is there and differs is replaced.

    Args:
        catalogue: The catalogue.
        texts: Columns `text_hash`, `model_version` and `vector`, each text once.
    """
    with catalogue.transaction() as transaction:
        transaction.stage("vectors_to_keep", texts, schema=EMBEDDED_TEXTS)
        transaction.execute(sql("keep_vectors"))
