"""Passwords that are being erased, and tenants that are being deleted: nobody keeps them from it any more."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("password", sa.Column("erased_at", sa.BigInteger))
    op.add_column("tenant", sa.Column("deleted_at", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("tenant", "deleted_at")
    op.drop_column("password", "erased_at")
