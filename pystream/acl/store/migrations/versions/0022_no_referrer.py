"""Streams that are locked to sites may let in players that name none."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "stream",
        sa.Column("allow_no_referrer", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    with op.batch_alter_table("stream") as table:
        table.drop_column("allow_no_referrer")
