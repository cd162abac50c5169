"""The catalogue's first tables.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: In the order in which they refer to one another.
PARTS = ("deliveries", "listings", "products", "embeddings", "clusters", "summaries")
TABLES = (
    "cluster_summaries", "golden_records", "cluster_events", "cluster_members", "clusters", "scored_pairs",
    "product_vectors", "embeddings", "product_history", "products", "listing_history", "listings", "batches",
    "deliveries",
)  # fmt: skip


def upgrade() -> None:
    """Create the extensions and the tables."""
    # As written, without looking for parameters: the scripts hold many statements, colons and percent signs.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector; CREATE EXTENSION IF NOT EXISTS pg_trgm")
    folder = Path(__file__).with_suffix("")
    for part in PARTS:
        connection.exec_driver_sql((folder / f"{part}.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop the tables; the extensions stay, for others may use them."""
    for table in TABLES:
        op.execute(f"DROP TABLE catalog.{table}")
