"""The key store's tables, as the newest migration leaves them.

What is `wrapped` was wrapped under the master key that `master` names, except record keys: they are
wrapped under their tenant's key of the same generation. A `reference` is 16 random bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
)

from pystream.acl.store import tables

HEAD = "k0001"

metadata = MetaData(naming_convention=tables.metadata.naming_convention)


def _wrapped() -> tuple[Column[bytes], Column[str], Column[int]]:
    return (
        Column("wrapped", LargeBinary, nullable=False),
        Column("master", String(16), nullable=False),
        Column("made_at", BigInteger, nullable=False),
    )


# One row, and it never changes but for its wrapping.
root = Table(
    "root",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    *_wrapped(),
    CheckConstraint("id = 1", name="single"),
)

# One row, or two while passwords are indexed anew. A generation is the second in which it was made,
# so that the number of a pepper that was lost with a key store is not given to another one.
pepper = Table(
    "pepper",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    *_wrapped(),
)

# One row a tenant, or two while it is rotated. The reference is the same in all generations: it is
# what the erasure list names where a tenant is erased.
tenant_key = Table(
    "tenant_key",
    metadata,
    Column("tenant_id", BigInteger, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("reference", LargeBinary, nullable=False),
    *_wrapped(),
)

record_key = Table(
    "record_key",
    metadata,
    Column("reference", LargeBinary, primary_key=True),
    Column("tenant_id", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "generation"], ["tenant_key.tenant_id", "tenant_key.generation"]
    ),
    Index("ix_record_key_tenant_id", "tenant_id", "generation"),
)

# The erasure list. `day` counts from 1970, in UTC.
erasure = Table(
    "erasure",
    metadata,
    Column("reference", LargeBinary, primary_key=True),
    Column("day", Integer, nullable=False),
)

# One row, which grows whenever root, peppers or tenants' keys change. Whoever writes takes it first.
revision = Table(
    "revision",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("value", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)
