"""Proofs of deletion, and which key store belongs to the store."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "proof",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_proof"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "key_store",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("root", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_store"),
        sa.CheckConstraint("id = 1", name=op.f("ck_key_store_single")),
    )
    op.create_index("ix_ending_password_id", "ending", ["password_id"])


def downgrade() -> None:
    op.drop_index("ix_ending_password_id", "ending")
    for name in ("key_store", "proof"):
        op.drop_table(name)
