"""For how long tenants keep what is recorded of attendance, and sealed reports that are held."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DAYS = ("attendance_days", "attendance_reports_days")
INDEX = "ix_attendance_report_name_password_id"


def upgrade() -> None:
    for name in DAYS:
        op.add_column("tenant", sa.Column(name, sa.Integer))
    op.create_index(INDEX, "attendance_report_name", ["password_id"])
    op.create_table(
        "attendance_hold",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_attendance_hold"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_attendance_hold_tenant_id"),
    )


def downgrade() -> None:
    op.drop_table("attendance_hold")
    op.drop_index(INDEX, "attendance_report_name")
    with op.batch_alter_table("tenant") as table:
        for name in DAYS:
            table.drop_column(name)
