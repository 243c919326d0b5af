"""Which reports the server has sealed by itself, and for how long tenants keep those of a day."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

DAYS = "attendance_daily_reports_days"


def upgrade() -> None:
    op.add_column("tenant", sa.Column(DAYS, sa.Integer))
    op.add_column(
        "attendance_report",
        sa.Column("by_itself", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    # Made anew, a table would lose its triggers, and SQLite drops none that others refer to.
    op.execute("ALTER TABLE attendance_report DROP COLUMN by_itself")
    op.execute(f"ALTER TABLE tenant DROP COLUMN {DAYS}")
