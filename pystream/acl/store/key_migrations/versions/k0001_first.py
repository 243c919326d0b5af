"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "k0001"
down_revision = None
branch_labels = None
depends_on = None


def wrapped() -> list[sa.Column[object]]:
    return [
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("master", sa.String(16), nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "root",
        sa.Column("id", sa.SmallInteger, nullable=False),
        *wrapped(),
        sa.PrimaryKeyConstraint("id", name="pk_root"),
        sa.CheckConstraint("id = 1", name=op.f("ck_root_single")),
    )
    op.create_table(
        "pepper",
        sa.Column("generation", sa.BigInteger, autoincrement=False, nullable=False),
        *wrapped(),
        sa.PrimaryKeyConstraint("generation", name="pk_pepper"),
    )
    op.create_table(
        "tenant_key",
        sa.Column("tenant_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("reference", sa.LargeBinary, nullable=False),
        *wrapped(),
        sa.PrimaryKeyConstraint("tenant_id", "generation", name="pk_tenant_key"),
    )
    op.create_table(
        "record_key",
        sa.Column("reference", sa.LargeBinary, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("reference", name="pk_record_key"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "generation"],
            ["tenant_key.tenant_id", "tenant_key.generation"],
            name="fk_record_key_tenant_id",
        ),
    )
    op.create_index("ix_record_key_tenant_id", "record_key", ["tenant_id", "generation"])
    op.create_table(
        "erasure",
        sa.Column("reference", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("reference", name="pk_erasure"),
    )
    op.create_table(
        "revision",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_single")),
    )
    op.execute("INSERT INTO revision (id, value) VALUES (1, 0)")


def downgrade() -> None:
    for name in ("revision", "erasure", "record_key", "tenant_key", "pepper", "root"):
        op.drop_table(name)
