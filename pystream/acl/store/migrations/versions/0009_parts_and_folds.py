"""Segments of which parts were delivered, and what has been watched by the events so far."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
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
    op.create_table(
        "attendance_fold",
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("options", sa.LargeBinary(16), nullable=False),
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "password_id", name="pk_attendance_fold"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_attendance_fold_stream_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_attendance_fold_tenant_id"),
    )
    op.create_index("ix_attendance_fold_password_id", "attendance_fold", ["password_id"])
    # Of what is sealed already nobody knows it without a key: it comes after all that a fold has taken.
    last = sa.Column(
        "last", sa.BigInteger, nullable=False, server_default=sa.text("9007199254740992")
    )
    op.add_column("attendance_sealed", last)


def downgrade() -> None:
    with op.batch_alter_table("attendance_sealed") as table:
        table.drop_column("last")
    op.drop_table("attendance_fold")
    op.drop_table("attendance_part")
