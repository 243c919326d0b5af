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
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# The migration that makes these tables: of a store that has it, nothing else needs to be known.
HEAD = "0002"

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
    Column("notice", Text, nullable=False, server_default=text("''")),
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
    # Of streams that were there before.
    Column("session_s", Integer, nullable=False, server_default="21600"),
    Column("idle_s", Integer, server_default="14400"),
    Column("max_devices", Integer),
    Column("device_mode", Text, nullable=False, server_default="reject_new"),
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

# Its text and label are sealed under a key of its own, which lies in the key store. `lookup` is an
# HMAC of its canonical form under the pepper of a generation.
password = Table(
    "password",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    # Of its key in the key store.
    Column("reference", LargeBinary(16), nullable=False),
    Column("pepper", Integer, nullable=False),
    Column("lookup", LargeBinary(32), nullable=False),
    Column("sealed_text", LargeBinary, nullable=False),
    Column("sealed_label", LargeBinary),
    Column("shared", Boolean, nullable=False),
    Column("is_test", Boolean, nullable=False),
    Column("valid_from", BigInteger),
    Column("valid_until", BigInteger),
    Column("max_devices", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    UniqueConstraint("tenant_id", "lookup"),
    Index("ix_password_pepper", "pepper"),
)

# Which streams a password opens.
admission = Table(
    "admission",
    metadata,
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("password_id", BigInteger, ForeignKey("password.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Index("ix_admission_password_id", "password_id"),
)

# The ids are random, and gone when the session is. What happened in it is not here.
session = Table(
    "session",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), nullable=False),
    Column("password_id", BigInteger, ForeignKey("password.id")),
    Column("opened_at", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("idle_s", Integer),
    # Of the notice that was shown before; null where there was none.
    Column("notice", String(16)),
    Column("ended_at", BigInteger),
    Column("end_reason", SmallInteger),
    Index("ix_session_expires", "expires"),
    Index("ix_session_password_id", "password_id"),
)

# Sessions of a password or of a stream that are to end. The writer of each node follows.
ending = Table(
    "ending",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("password_id", BigInteger, ForeignKey("password.id")),
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    Column("reason", SmallInteger, nullable=False),
    sqlite_autoincrement=True,
)
