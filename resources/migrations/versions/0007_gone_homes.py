"""Where a product was before its cluster was gone.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Find the events by which clusters went, by their members."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "gone_homes.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX catalog.cluster_events_gone")
