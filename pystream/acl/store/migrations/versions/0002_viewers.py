"""Passwords, the sessions that are made with them, and what a stream says of both."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for column in (
        sa.Column("session_s", sa.Integer, nullable=False, server_default="21600"),
        sa.Column("idle_s", sa.Integer, server_default="14400"),
        sa.Column("max_devices", sa.Integer),
        sa.Column("device_mode", sa.Text, nullable=False, server_default="reject_new"),
    ):
        op.add_column("stream", column)
    op.add_column(
        "tenant", sa.Column("notice", sa.Text, nullable=False, server_default=sa.text("''"))
    )
    op.create_table(
        "password",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("pepper", sa.Integer, nullable=False),
        sa.Column("lookup", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed_text", sa.LargeBinary, nullable=False),
        sa.Column("sealed_label", sa.LargeBinary),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("is_test", sa.Boolean, nullable=False),
        sa.Column("valid_from", sa.BigInteger),
        sa.Column("valid_until", sa.BigInteger),
        sa.Column("max_devices", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_password"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_password_tenant_id"),
        sa.UniqueConstraint("tenant_id", "lookup", name="uq_password_tenant_id"),
    )
    op.create_index("ix_password_pepper", "password", ["pepper"])
    op.create_table(
        "admission",
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "password_id", name="pk_admission"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_admission_stream_id"),
        sa.ForeignKeyConstraint(["password_id"], ["password.id"], name="fk_admission_password_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_admission_tenant_id"),
    )
    op.create_index("ix_admission_password_id", "admission", ["password_id"])
    op.create_table(
        "session",
        sa.Column("id", sa.LargeBinary(16), nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("idle_s", sa.Integer),
        sa.Column("notice", sa.String(16)),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("end_reason", sa.SmallInteger),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_session_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_session_stream_id"),
        sa.ForeignKeyConstraint(["password_id"], ["password.id"], name="fk_session_password_id"),
    )
    op.create_index("ix_session_expires", "session", ["expires"])
    op.create_index("ix_session_password_id", "session", ["password_id"])
    op.create_table(
        "ending",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("reason", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ending"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_ending_tenant_id"),
        sa.ForeignKeyConstraint(["password_id"], ["password.id"], name="fk_ending_password_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_ending_stream_id"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for name in ("ending", "session", "admission", "password"):
        op.drop_table(name)
    for name in ("device_mode", "max_devices", "idle_s", "session_s"):
        op.drop_column("stream", name)
    op.drop_column("tenant", "notice")
