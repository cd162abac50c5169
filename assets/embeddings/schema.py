"""The table of the embeddings stage.

Belongs here: its columns and the vectors' width. Not here: models, indexes.
"""

import pyarrow as pa

from assets.contract import Column, TableContract

TEXT = pa.string()
#: Components of a vector (all-MiniLM-L6-v2).
DIMENSIONS = 384

PRODUCT_EMBEDDINGS = TableContract(
    stage="embeddings",
    name="product_embeddings",
    description="One vector per product of the current catalogue. Vectors have unit length and are kept in half "
    "precision everywhere, so that every store holds the same bits.",
    key=("product_id",),
    columns=(
        Column(name="product_id", type=TEXT, nullable=False, description="The product."),
        Column(name="text_hash", type=TEXT, nullable=False, pattern=r"^[0-9a-f]{32}$", description="Hash of the text that was embedded."),
        Column(name="model_version", type=TEXT, nullable=False, description="Name and version of the model that embedded it."),
        Column(name="vector", type=pa.list_(pa.float16(), DIMENSIONS), nullable=False, description="Unit vector of 384 half-precision components."),
    ),
)  # fmt: skip

#: What is kept of an embedded text, so that none is embedded twice.
EMBEDDED_TEXTS = pa.schema(
    [("text_hash", TEXT), ("model_version", TEXT), ("vector", pa.list_(pa.float16(), DIMENSIONS))]
)
