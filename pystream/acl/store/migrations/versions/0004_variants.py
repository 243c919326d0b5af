"""Links and tokens that let viewers in, and the conditions of a stream."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("opens_at", sa.BigInteger),
        sa.Column("closes_at", sa.BigInteger),
        sa.Column("networks", sa.JSON),
        sa.Column("countries", sa.JSON),
        sa.Column("countries_denied", sa.JSON),
        sa.Column("allow_unknown_country", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("embed_lock", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("stream", column)
    named = sa.Column("named", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("password", named)
    op.add_column("session", sa.Column("holder", sa.BigInteger))
    op.create_table(
        "verifier",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_verifier"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_verifier_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_verifier_stream_id"),
    )
    op.create_index("ix_verifier_tenant_id", "verifier", ["tenant_id", "stream_id"])
    op.create_table(
        "spent",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("token", sa.LargeBinary(16), nullable=False),
        sa.Column("session", sa.LargeBinary(16), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "token", name="pk_spent"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_spent_tenant_id"),
    )
    op.create_index("ix_spent_expires", "spent", ["expires"])


def downgrade() -> None:
    for name in ("spent", "verifier"):
        op.drop_table(name)
    op.drop_column("session", "holder")
    op.drop_column("password", "named")
    for name in ("embed_lock", "allow_unknown_country", "countries_denied", "countries"):
        op.drop_column("stream", name)
    for name in ("networks", "closes_at", "opens_at"):
        op.drop_column("stream", name)
