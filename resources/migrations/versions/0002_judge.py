"""What judges have said of pairs.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the memory of answers, and the place of a judgement beside its pair."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "judge.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Forget what judges said."""
    op.execute("ALTER TABLE catalog.scored_pairs DROP COLUMN judgement")
    op.execute("DROP TABLE catalog.judge_answers")
