"""Deliveries that can take their place late, be taken out again or be replayed, and listings that are erased.

Belongs here: one step of the schema, never changed once it was released; its SQL lies in the folder of its name.
Not here: data of any installation.
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tell repeats from what was overwritten, remember what a batch was made from, and what was erased."""
    # As written, without looking for parameters: the script holds several statements.
    connection = op.get_bind().execution_options(no_parameters=True)
    connection.exec_driver_sql((Path(__file__).with_suffix("") / "timeline.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Go back to one state for all that is void."""
    op.execute("UPDATE catalog.deliveries SET state = 'superseded' WHERE state IN ('repeated', 'rolled_back')")
    op.execute("ALTER TABLE catalog.deliveries DROP CONSTRAINT deliveries_state_check")
    op.execute(
        "ALTER TABLE catalog.deliveries ADD CONSTRAINT deliveries_state_check CHECK "
        "(state IN ('pending', 'requested', 'ingested', 'failed', 'ignored', 'superseded'))"
    )
    op.execute("DROP INDEX catalog.deliveries_source")
    op.execute("ALTER TABLE catalog.batches DROP COLUMN artifacts, DROP COLUMN replayed")
    op.execute("DROP TABLE catalog.erasures")
