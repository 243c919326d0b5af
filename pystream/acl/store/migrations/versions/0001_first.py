"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def counters() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger, nullable=False) for name in ("requests", "bytes", "aborted")
    ]


def upgrade() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("display", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("max_rate_bps", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenant"),
        sa.UniqueConstraint("name", name="uq_tenant_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stream",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("sources", sa.JSON, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("segment_duration_ms", sa.Integer, nullable=False),
        sa.Column("access", sa.Text, nullable=False),
        sa.Column("encryption", sa.Text, nullable=False),
        sa.Column("rotate_every", sa.BigInteger),
        sa.Column("cache", sa.Text, nullable=False),
        sa.Column("pace", sa.Float),
        sa.Column("download", sa.Boolean, nullable=False),
        sa.Column("download_source", sa.Text),
        sa.Column("download_rate_bps", sa.BigInteger),
        sa.Column("origins", sa.JSON, nullable=False),
        sa.Column("embed_origins", sa.JSON, nullable=False),
        sa.Column("max_viewers", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stream"),
        sa.CheckConstraint("id BETWEEN 1 AND 4294967295", name=op.f("ck_stream_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_stream_tenant_id"),
        sqlite_autoincrement=True,
    )
    there = sa.text("removed_at IS NULL")
    op.create_index(
        "uq_stream_name",
        "stream",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=there,
        postgresql_where=there,
    )
    op.create_table(
        "change",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("what", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_change_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_change_stream_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_change_tenant_id", "change", ["tenant_id", "stream_id"])
    op.create_table(
        "revision",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_single")),
    )
    op.execute("INSERT INTO revision (id, value) VALUES (1, 0)")
    op.create_table(
        "traffic",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        *counters(),
        sa.PrimaryKeyConstraint("tenant_id", "stream_id", "hour", "kind", name="pk_traffic"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_traffic_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_traffic_stream_id"),
    )
    op.create_table(
        "meter_cursor",
        sa.Column("incarnation", sa.BigInteger, autoincrement=False, nullable=False),
        *counters(),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("incarnation", name="pk_meter_cursor"),
    )


def downgrade() -> None:
    for name in ("meter_cursor", "traffic", "revision", "change", "stream", "tenant"):
        op.drop_table(name)
