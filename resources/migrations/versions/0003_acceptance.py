"""Batches that somebody has accepted although they delist too much.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for when a held batch was accepted."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "acceptance.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Forget who was accepted."""
    op.execute("ALTER TABLE catalog.batches DROP COLUMN accepted_at")
