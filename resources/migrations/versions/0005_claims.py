"""Who has taken on a batch.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember which process took on a batch."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "claims.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE catalog.deliveries DROP COLUMN claimed_by")
