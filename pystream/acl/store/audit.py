"""The audit log in the store: it only grows.

Triggers of the database refuse to change or delete an entry, whoever asks: a slip of a program or of
an SQL prompt costs no evidence. (Who owns the database can take the triggers away; that takes intent.)

**The one way around** is `forget`, for what has outlived its purpose and for tenants whose contract is
over: within its transaction, `audit_release` says what may be deleted, the triggers let that pass, and
an entry says how many there were. Nothing else writes `audit_release`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from pystream.acl.audit import ALL_KINDS, Entry, Kind, check_who
from pystream.acl.store import tables
from pystream.acl.store.database import Database

# Later than any time.
_NEVER = 2**62


class AuditStore:
    """The part of an opened store that is its log. Each method is one transaction; all raise
    `StoreError` as the store's own do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(
        self,
        tenant_id: int,
        *,
        stream: str | None = None,
        kinds: Collection[Kind] = ALL_KINDS,
        before: int | None = None,
        most: int = 100,
    ) -> tuple[Entry, ...]:
        """A page of a tenant's entries, the newest first, older than the entry of number `before`; of
        all streams that ever had the name, if one is given."""
        audit = tables.audit.c
        where = [audit.tenant_id == tenant_id, audit.kind.in_([each.value for each in kinds])]
        if before is not None:
            where.append(audit.id < before)
        if stream is not None:
            where.append(tables.stream.c.name == stream)
        wanted = _SELECT.where(*where).order_by(audit.id.desc()).limit(most)
        with self._database.reading() as connection:
            return tuple(map(_entry, connection.execute(wanted).mappings()))

    def record_view(
        self,
        tenant_id: int,
        stream_id: int | None,
        what: Mapping[str, int],
        *,
        who: str,
        now: int,
    ) -> None:
        """Puts on record that somebody has seen so many of something, as in {"passwords_shown": 300}.

        Raises `InvalidValue` for who is nobody.
        """
        check_who(who)
        values = {name: (None, count) for name, count in what.items()}
        with self._database.writing() as connection:
            record(connection, tenant_id, who, now, values, stream_id, Kind.VIEW)

    def forget(self, tenant_id: int | None, older_than: int, *, who: str, now: int) -> int:
        """Deletes entries from before a time, of a tenant or of all, and puts on each tenant's record
        how many; returns that of all."""
        check_who(who)
        audit = tables.audit.c
        where = [audit.at < older_than]
        if tenant_id is not None:
            where.append(audit.tenant_id == tenant_id)
        with self._database.writing() as connection:
            count = func.count()
            counted = select(audit.tenant_id, count).where(*where).group_by(audit.tenant_id)
            owners = {row[0]: row[1] for row in connection.execute(counted)}
            erase(connection, tenant_id, older_than)
            for owner, number in sorted(owners.items()):
                what = {"audit_entries_deleted": (None, number)}
                record(connection, owner, who, now, what)
            return sum(owners.values())


def record(
    connection: Connection,
    tenant_id: int,
    who: str,
    now: int,
    what: Mapping[str, tuple[Any, Any]],
    stream_id: int | None = None,
    kind: Kind = Kind.CHANGE,
) -> None:
    """Notes in a transaction what it does. Raises `InvalidValue` for who is nobody, so it is not done."""
    check_who(who)
    about = {"tenant_id": tenant_id, "stream_id": stream_id, "what": dict(what)}
    row = {"at": now, "who": who, "kind": kind.value, **about}
    connection.execute(insert(tables.audit).values(row))


def erase(connection: Connection, tenant_id: int | None, older_than: int = _NEVER) -> None:
    """Deletes entries and leaves no word of it: for `forget`, and for a tenant that goes as a whole."""
    released, audit = tables.audit_release, tables.audit.c
    row = {"id": 1, "tenant_id": tenant_id, "older_than": older_than}
    connection.execute(insert(released).values(row))
    where = [audit.at < older_than]
    if tenant_id is not None:
        where.append(audit.tenant_id == tenant_id)
    connection.execute(delete(tables.audit).where(*where))
    connection.execute(delete(released))


def changes(connection: Connection, tenant_id: int, stream: str | None) -> tuple[Entry, ...]:
    """All that was changed, the oldest first."""
    where = [tables.audit.c.tenant_id == tenant_id, tables.audit.c.kind == Kind.CHANGE.value]
    if stream is not None:
        where.append(tables.stream.c.name == stream)
    wanted = _SELECT.where(*where).order_by(tables.audit.c.id)
    return tuple(map(_entry, connection.execute(wanted).mappings()))


_SELECT = (
    select(
        tables.audit,
        tables.tenant.c.name.label("tenant"),
        tables.stream.c.name.label("stream"),
    )
    .join(tables.tenant, tables.tenant.c.id == tables.audit.c.tenant_id)
    .outerjoin(tables.stream, tables.stream.c.id == tables.audit.c.stream_id)
)


def _entry(row: RowMapping) -> Entry:
    values = {
        name: (_frozen(before), _frozen(after)) for name, (before, after) in row["what"].items()
    }
    return Entry(
        id=row["id"],
        at=row["at"],
        who=row["who"],
        kind=Kind(row["kind"]),
        tenant=row["tenant"],
        stream=row["stream"],
        values=values,
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
