"""Passwords are listed in the order in which they were made."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, column in (
        ("tenant", "passwords_made"),
        ("password", "number"),
        ("admission", "number"),
    ):
        number = sa.Column(column, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        op.add_column(table, number)
    # Of those of one second, what was stored first is where the table begins.
    place = "rowid" if op.get_bind().dialect.name == "sqlite" else "ctid"
    op.execute(
        "UPDATE password SET number = made.place FROM (SELECT id, row_number()"
        f" OVER (PARTITION BY tenant_id ORDER BY created_at, {place}) AS place FROM password)"
        " AS made WHERE made.id = password.id"
    )
    op.execute(
        "UPDATE admission SET number ="
        " (SELECT number FROM password WHERE password.id = admission.password_id)"
    )
    op.execute(
        "UPDATE tenant SET passwords_made = (SELECT coalesce(max(number), 0)"
        " FROM password WHERE password.tenant_id = tenant.id)"
    )
    op.create_index("ix_password_number", "password", ["tenant_id", "named", "number"])
    op.create_index("ix_password_created_at", "password", ["tenant_id", "created_at", "number"])
    op.create_index("ix_admission_number", "admission", ["stream_id", "number"])


def downgrade() -> None:
    op.drop_index("ix_admission_number", "admission")
    op.drop_index("ix_password_created_at", "password")
    op.drop_index("ix_password_number", "password")
    for table, column in (
        ("admission", "number"),
        ("password", "number"),
        ("tenant", "passwords_made"),
    ):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)
