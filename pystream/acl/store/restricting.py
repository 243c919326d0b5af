"""Passwords whose data is restricted (Art. 18 GDPR): it is kept, and nobody uses it until that is lifted.

**Kept**: retention passes it by, and nobody can erase it, since who wants it restricted may need it.

**Not used**: what is recorded is in no report, no list and no export of attendance, in which its leaves are
hashes alone; a sealed version from before is shown without it; no receipt is made of it. Its holder goes on
watching, sees the own count, and is recorded: that is stored, and no more. Art. 15 is answered as ever.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, true

from pystream.acl.store import audit, tables
from pystream.acl.store.database import Database, take_turn
from pystream.errors import InvalidValue, NotFound, Said

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """Since when, in Unix seconds, and why."""

    reason: str
    made_at: int


class RestrictionStore:
    """The part of an opened store that is about it. Methods raise `StoreError` as the store's own do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def restrict(
        self, tenant_id: int, password_id: int, reason: str, *, who: str, now: int
    ) -> Restriction:
        """Restricts a password's data; where it is restricted already, the reason is another then. Raises
        `InvalidValue` for no reason, or where it was erased, and `NotFound` for a password that the tenant
        has not."""
        if not reason.strip() or len(reason) > 500 or not reason.isprintable():
            text = "1 to 500 characters are wanted, and no line ends"
            raise InvalidValue(Said("text-wanted", text, of="reason", most=500))
        table, password = tables.restriction, tables.password.c
        with self._database.writing() as connection:
            # Whoever deletes what is old has claimed it (`retaining`), or passes it by.
            take_turn(connection)
            check_stays(connection, tenant_id)
            wanted = select(password.erased_at).where(
                password.tenant_id == tenant_id,
                password.id == password_id,
                or_(password.revoked_at.is_(None), password.revoked_at > 0),
            )
            there = connection.execute(wanted).one_or_none()
            if there is None:
                raise NotFound(Said("no-password", "there is no such password"))
            if there.erased_at is not None:
                text = "the password was erased, and there is nothing of it to keep"
                raise InvalidValue(Said("nothing-kept", text))
            made = Restriction(reason=reason, made_at=now)
            before = select(table.c.made_at).where(table.c.password_id == password_id)
            since = connection.scalar(before)
            if since is not None:
                made = Restriction(reason=reason, made_at=since)
                connection.execute(delete(table).where(table.c.password_id == password_id))
            row = {"password_id": password_id, "tenant_id": tenant_id, "reason": reason}
            connection.execute(insert(table).values(row | {"made_at": made.made_at}))
            what = {"passwords_restricted": (None, 1), "restriction_reason": (None, reason)}
            audit.record(connection, tenant_id, who, now, what)
        return made

    def lift(self, tenant_id: int, password_id: int, *, who: str, now: int) -> None:
        """Ends it. Raises `NotFound` where there is none."""
        table = tables.restriction
        these = table.c.tenant_id == tenant_id, table.c.password_id == password_id
        with self._database.writing() as connection:
            take_turn(connection)
            if not connection.execute(delete(table).where(*these)).rowcount:
                text = "the data of this password is not restricted"
                raise NotFound(Said("not-restricted", text))
            what = {"restrictions_lifted": (None, 1)}
            audit.record(connection, tenant_id, who, now, what)

    def listed(self, tenant_id: int) -> dict[int, Restriction]:
        """A tenant's, by the passwords' ids, the latest first."""
        table = tables.restriction
        wanted = select(table).where(table.c.tenant_id == tenant_id)
        with self._database.reading() as connection:
            rows = connection.execute(
                wanted.order_by(table.c.made_at.desc(), table.c.password_id)
            ).all()
        return {
            row.password_id: Restriction(reason=row.reason, made_at=row.made_at) for row in rows
        }

    def check_none(self, tenant_id: int, ids: Collection[int]) -> None:
        """Raises `InvalidValue` where the data of one of these passwords is restricted."""
        column, listed = tables.restriction.c, sorted(set(ids))
        with self._database.reading() as connection:
            for begin in range(0, len(listed), _AT_ONCE):
                some = column.password_id.in_(listed[begin : begin + _AT_ONCE])
                wanted = select(column.password_id).where(column.tenant_id == tenant_id, some)
                if connection.scalar(wanted.limit(1)) is not None:
                    text = (
                        "the data of one of these passwords is restricted: it is kept, and not used, until"
                        " that is lifted"
                    )
                    raise InvalidValue(Said("restricted", text))

    def recorded(
        self, tenant_id: int, stream_ids: Collection[int], begin: int, end: int
    ) -> frozenset[int]:
        """Of which passwords whose data is restricted there are events of these streams in the hours from one
        instant to another, in ms."""
        found = set[int]()
        with self._database.reading() as connection:
            for table, column, unit in (
                (tables.attendance_sealed, "hour", tables.HOUR_MS),
                (tables.attendance_journal, "t", 1),
            ):
                wanted = select(table.c.password_id).where(
                    table.c.tenant_id == tenant_id,
                    table.c.stream_id.in_(sorted(stream_ids)),
                    table.c[column].between(begin // unit, end // unit),
                    is_restricted(table.c.password_id),
                )
                if table is tables.attendance_journal:
                    wanted = wanted.where(tables.in_shards())
                found |= set(connection.scalars(wanted.distinct()))
        return frozenset(found)


def check_stays(connection: Connection, tenant_id: int) -> None:
    """Raises `NotFound` where the tenant is being deleted: who keeps something of it comes too late."""
    tenant = tables.tenant.c
    stays = select(tenant.id).where(tenant.id == tenant_id, tenant.deleted_at.is_(None))
    if connection.scalar(stays) is None:
        raise NotFound(Said("tenant-deleted", "the tenant is being deleted"))


def is_restricted(column: ColumnElement[int]) -> ColumnElement[bool]:
    """Of rows that are of a password by this column."""
    table = tables.restriction
    return select(true()).where(table.c.password_id == column).correlate_except(table).exists()
