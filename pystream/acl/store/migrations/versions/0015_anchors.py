"""A worker that dies after its anchor went back was out by the earlier one's instants, too."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    latest = sa.Column("latest", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("attendance_cursor", latest)


def downgrade() -> None:
    with op.batch_alter_table("attendance_cursor") as batch:
        batch.drop_column("latest")
