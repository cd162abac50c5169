"""What the catalogue is made of, as one view, and batches that come in again as they were.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Define what the catalogue is made of once, and tell replaying nothing from reading everything."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "current_batches.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Go back to counting repeats by their batch, and to one word for nothing and everything."""
    op.execute("UPDATE catalog.deliveries SET run_id = NULL WHERE state = 'repeated'")
    # With the views that dbt makes of it, which its next run makes anew.
    op.execute("DROP VIEW catalog.current_batches CASCADE")
    op.execute("UPDATE catalog.batches SET replayed = '{}' WHERE replayed IS NULL")
    op.execute("ALTER TABLE catalog.batches ALTER COLUMN replayed SET DEFAULT '{}', ALTER COLUMN replayed SET NOT NULL")
