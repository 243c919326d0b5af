"""The store's tables, as the newest migration leaves them.

Times are Unix seconds, hours whole hours since 1970 in UTC. Names of constraints are spelled out,
so that a migration can name them on every database.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# The migration that makes these tables: of a store that has it, nothing else needs to be known.
HEAD = "0001"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite counts up by itself only in an INTEGER PRIMARY KEY; its integers have 64 bits all the same.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")

tenant = Table(
    "tenant",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("name", String(63), nullable=False),
    Column("display", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("max_rate_bps", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

# Rows stay when a stream is removed: traffic and changes name them, and no id ever comes again.
stream = Table(
    "stream",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("title", Text, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("format", Text, nullable=False),
    Column("segment_duration_ms", Integer, nullable=False),
    Column("access", Text, nullable=False),
    Column("encryption", Text, nullable=False),
    Column("rotate_every", BigInteger),
    Column("cache", Text, nullable=False),
    Column("pace", Float),
    Column("download", Boolean, nullable=False),
    Column("download_source", Text),
    Column("download_rate_bps", BigInteger),
    Column("origins", JSON, nullable=False),
    Column("embed_origins", JSON, nullable=False),
    Column("max_viewers", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    Column("revision", BigInteger, nullable=False),
    # A grant holds the id in 32 bits.
    CheckConstraint("id BETWEEN 1 AND 4294967295", name="id"),
    # Among those that are there, a name is one stream's.
    Index(
        "uq_stream_name",
        "tenant_id",
        "name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

change = Table(
    "change",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    # {setting: [before, after]}
    Column("what", JSON, nullable=False),
    Index("ix_change_tenant_id", "tenant_id", "stream_id"),
    sqlite_autoincrement=True,
)

# One row. Whoever writes takes it first, so that no two do at a time.
revision = Table(
    "revision",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("value", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

traffic = Table(
    "traffic",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), primary_key=True),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("aborted", BigInteger, nullable=False),
)

# What has been added to `traffic` out of each row of a meter, all in all, and when it last grew.
meter_cursor = Table(
    "meter_cursor",
    metadata,
    Column("incarnation", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("aborted", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)
