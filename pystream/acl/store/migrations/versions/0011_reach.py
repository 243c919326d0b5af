"""How far passwords have come in films that cannot be skipped ahead, and what players say."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("no_skip", "beacons"):
        switch = sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column("stream", switch)
    op.add_column("stream", sa.Column("check_minutes", sa.Integer))
    op.create_table(
        "attendance_reach",
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("media_ms", sa.BigInteger, nullable=False),
        sa.Column("played_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("stream_id", "password_id", name="pk_attendance_reach"),
        *(
            sa.ForeignKeyConstraint(
                [f"{name}_id"], [f"{name}.id"], name=f"fk_attendance_reach_{name}_id"
            )
            for name in ("stream", "password", "tenant")
        ),
    )
    op.create_index("ix_attendance_reach_password_id", "attendance_reach", ["password_id"])
    op.create_index("ix_attendance_reach_played_at", "attendance_reach", ["played_at"])


def downgrade() -> None:
    op.drop_table("attendance_reach")
    with op.batch_alter_table("stream") as table:
        for name in ("check_minutes", "beacons", "no_skip"):
            table.drop_column(name)
