"""Pairs without evidence to tell have none, instead of an empty one.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let evidence be null, as the contract of the pairs has it."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "untold_pairs.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Give those without evidence an empty one again."""
    op.execute("UPDATE catalog.scored_pairs SET evidence = '{}' WHERE evidence IS NULL")
    op.execute("ALTER TABLE catalog.scored_pairs ALTER COLUMN evidence SET NOT NULL")
