"""What viewers got, as evidence of attendance."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    purpose = sa.Column("attendance_purpose", sa.String(16), nullable=False, server_default="")
    op.add_column("tenant", purpose)
    switch = sa.Column("attendance", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("stream", switch)
    op.create_table(
        "attendance_log",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_log"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_attendance_log_tenant_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attendance_log_tenant_id", "attendance_log", ["tenant_id"])
    op.create_table(
        "attendance_leaf",
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "first", name="pk_attendance_leaf"),
        *_owned("attendance_leaf"),
    )
    op.create_table(
        "attendance_journal",
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "number", name="pk_attendance_journal"),
        *_owned("attendance_journal", stream=True),
    )
    columns = ["stream_id", "password_id", "t"]
    op.create_index("ix_attendance_journal_stream_id", "attendance_journal", columns)
    op.create_table(
        "attendance_sealed",
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed_events", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_sealed"),
        *_owned("attendance_sealed", stream=True),
    )
    columns = ["stream_id", "hour"]
    op.create_index("ix_attendance_sealed_stream_id", "attendance_sealed", columns)
    op.create_index("ix_attendance_sealed_password_id", "attendance_sealed", ["password_id"])
    op.create_table(
        "attendance_incident",
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("log_id", "number", name="pk_attendance_incident"),
        *_owned("attendance_incident"),
    )
    op.create_table(
        "attendance_cursor",
        sa.Column("worker", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("over", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_attendance_cursor"),
    )


def _owned(table: str, *, stream: bool = False) -> list[sa.ForeignKeyConstraint]:
    names = ["tenant", "stream"] if stream else ["tenant"]
    keys = [
        sa.ForeignKeyConstraint([f"{name}_id"], [f"{name}.id"], name=f"fk_{table}_{name}_id")
        for name in names
    ]
    log = ["attendance_log.id"]
    return [*keys, sa.ForeignKeyConstraint(["log_id"], log, name=f"fk_{table}_log_id")]


def downgrade() -> None:
    for name in ("cursor", "incident", "sealed", "journal", "leaf", "log"):
        op.drop_table(f"attendance_{name}")
    with op.batch_alter_table("stream") as table:
        table.drop_column("attendance")
    with op.batch_alter_table("tenant") as table:
        table.drop_column("attendance_purpose")
