"""Segments of which parts were delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attendance_part",
        sa.Column("session", sa.LargeBinary(16), nullable=False),
        sa.Column("of", sa.LargeBinary(16), nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("spans", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("session", "of", name="pk_attendance_part"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_attendance_part_tenant_id"),
    )
    op.create_index("ix_attendance_part_password_id", "attendance_part", ["password_id"])


def downgrade() -> None:
    op.drop_table("attendance_part")
