"""Whether hidden pages count, whether viewers see their own count, folds over several streams, and which
event of the log is the first of what is sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("require_visible", "own_count"):
        switch = sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column("stream", switch)
    # Of what is sealed already nobody knows it without a key.
    first = sa.Column("first", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("attendance_sealed", first)
    # What is in it is made anew from the events.
    op.drop_table("attendance_fold")
    op.create_table(
        "attendance_fold",
        sa.Column("password_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("options", sa.LargeBinary(16), nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("password_id", "options", name="pk_attendance_fold"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_attendance_fold_tenant_id"),
    )


def downgrade() -> None:
    with op.batch_alter_table("attendance_sealed") as table:
        table.drop_column("first")
    op.drop_table("attendance_fold")
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
    with op.batch_alter_table("stream") as table:
        for name in ("own_count", "require_visible"):
            table.drop_column(name)
