"""Checkpoints by mail, how each node has recorded, and how events are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COUNTED = ("lookahead_s", "bridge_ms")


def upgrade() -> None:
    mail = sa.Column("checkpoint_mail", sa.Text, nullable=False, server_default="")
    op.add_column("tenant", mail)
    op.create_table(
        "attendance_mailed",
        sa.Column("checkpoint_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_attendance_mailed"),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["attendance_checkpoint.id"],
            name="fk_attendance_mailed_checkpoint_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name="fk_attendance_mailed_tenant_id"
        ),
    )
    op.create_table(
        "attendance_node",
        sa.Column("node", sa.LargeBinary(16), nullable=False),
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("proxy", sa.String(16), nullable=False),
        sa.Column("is_synchronised", sa.Boolean, nullable=False),
        sa.Column("clock_error_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node", "day", name="pk_attendance_node"),
    )
    for name in COUNTED:
        op.add_column("attendance_event", sa.Column(name, sa.Integer))
    credit = sa.Column("credit_outage", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("attendance_event", credit)


def downgrade() -> None:
    with op.batch_alter_table("attendance_event") as table:
        for name in ("credit_outage", *COUNTED):
            table.drop_column(name)
    op.drop_table("attendance_node")
    op.drop_table("attendance_mailed")
    with op.batch_alter_table("tenant") as table:
        table.drop_column("checkpoint_mail")
