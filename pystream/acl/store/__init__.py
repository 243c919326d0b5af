"""The store: tenants, streams, who changed them, and what was sent.

It is SQLite by default and PostgreSQL by URL. Commands and the server's processes open it at the
same time; each method is one transaction, and all or nothing of it is kept. Values go in and come
out frozen, and times are arguments.

Settings have a revision, which grows with each change of anything that a worker has to know: who
asks for it once a second has the news.

**How traffic is added exactly once.** A meter counts up in memory for as long as its node lives,
and the writer reads absolute values. With what is added to `traffic`, the same transaction notes
how far each row of the meter was read, by its incarnation. Whatever dies in between, the next
reading adds what is missing and nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pystream.acl.audit import Entry, check_who
from pystream.acl.store import audit, tables
from pystream.acl.store.audit import AuditStore
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.dialects import inserting
from pystream.acl.store.events import EventStore
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.people import PeopleStore
from pystream.acl.store.prepared import for_both
from pystream.acl.store.verifiers import Verifiers
from pystream.acl.store.viewers import ViewerStore
from pystream.acl.streams import (
    Stream,
    StreamSettings,
    Tenant,
    TenantSettings,
    changed,
    check,
    check_stream_name,
    check_tenant_name,
)
from pystream.acl.traffic import Kind, Metered, Traffic, hours_of
from pystream.errors import Exists, InUse, InvalidValue, NotFound, Outdated, Said, StoreError

__all__ = ["Snapshot", "Store"]

# A row that no writer has shown for so long is gone with its node's memory.
_CURSOR_LIVES_S = 30 * 86400
_COUNTERS = ("requests", "bytes", "aborted")
# Of so many streams each is asked for by its number; of more, all there are.
_NAMED_AT_ONCE = 500
_KINDS = frozenset(map(int, Kind))
_REVISION = for_both(select(tables.revision.c.value))
# Null in streams that were there before these settings.
_LATER_LISTS = ("networks", "countries", "countries_denied")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All settings, or some, of one moment."""

    revision: int
    tenants: tuple[Tenant, ...]
    streams: tuple[Stream, ...]


class Store:
    """An opened store. Usable from several threads; a process that forks opens its own. `viewers` is
    what is about passwords and sessions, `people` about who works for a tenant, `events` about what is
    attended, `audit` its log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.viewers = ViewerStore(database)
        self.people = PeopleStore(database)
        self.events = EventStore(database)
        self.audit = AuditStore(database)

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, create: bool = True) -> Self:
        """Open a store, and make or renew its tables unless `migrate` is False; without `create`, none
        is made that is not there.

        `url` is `sqlite:////path`, `postgresql://user@host/name`, or the path of an SQLite file. A
        new file can be read by its owner only.

        Raises `InvalidValue` for another URL, `NoStore`, and `StoreError` where the store cannot be
        opened, is a newer program's, or would have to be migrated. So does every method, where it
        cannot be read or written.
        """
        return cls(Database(url, migrate=migrate, create=create))

    def verifiers(self, keys: KeyStore) -> Verifiers:
        """How links and tokens are checked: it is sealed under keys of a key store."""
        return Verifiers(self._database, keys)

    @property
    def made(self) -> str | None:
        """The database's name, where opening it has made the store."""
        return self._database.name if self._database.made else None

    @property
    def database(self) -> Database:
        """For what is about the whole store: retention, and the end of a contract."""
        return self._database

    def close(self) -> None:
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Its key store

    def claim(self, root: str) -> None:
        """Note which key store belongs to this store, where none does yet: `root` is the name of its
        root. Raises `StoreError` where another one does."""
        with self._database.writing() as connection:
            take_turn(connection)
            if connection.scalar(select(tables.key_store.c.root)) is None:
                connection.execute(insert(tables.key_store).values(id=1, root=root))
        self.check_key_store(root)

    def adopt(self, root: str) -> None:
        """Have another key store belong to this store. What was sealed with the one before cannot be
        read with it."""
        with self._database.writing() as connection:
            take_turn(connection)
            connection.execute(delete(tables.key_store))
            connection.execute(insert(tables.key_store).values(id=1, root=root))

    def check_key_store(self, root: str) -> None:
        """Raises `StoreError` where another key store belongs to this store."""
        with self._database.reading() as connection:
            found = connection.scalar(select(tables.key_store.c.root))
        if found not in (None, root):
            raise StoreError(
                f"{self._database.name}: this store belongs to the key store whose root is {found},"
                f" and the one that keys.store names has the root {root}. Name the right one, or"
                " bring a backup of it back (pystream keyring restore). Where it is lost for good,"
                " `pystream keyring adopt` takes the other one: passwords that were sealed cannot"
                " be read then"
            )

    def together(self) -> AbstractContextManager[None]:
        """All that this thread's methods write in the block is one transaction. An error that leaves one
        of them has to leave the block as well."""
        return self._database.together()

    # Settings, as they are

    def revision(self) -> int:
        """A number that grows whenever tenants or streams change in any way."""
        with self._database.asking() as connection:
            return _revision(connection)

    def snapshot(self) -> Snapshot:
        """Everything that a worker has to know."""
        with self._database.reading() as connection:
            return Snapshot(_revision(connection), _tenants(connection), _streams(connection))

    def changed_since(self, revision: int) -> Snapshot:
        """What a worker has to know that knows all of a revision: all tenants, and those streams
        alone that were added, changed or removed (`removed_at`) since."""
        later = tables.stream.c.revision > revision
        with self._database.reading() as connection:
            found = connection.execute(_select_streams().where(later)).mappings()
            streams = tuple(map(_as_stream, found))
            return Snapshot(_revision(connection), _tenants(connection), streams)

    def tenants(self) -> tuple[Tenant, ...]:
        """All tenants, by name."""
        with self._database.reading() as connection:
            return _tenants(connection)

    def tenant(self, name: str) -> Tenant:
        """Raises `NotFound`."""
        with self._database.reading() as connection:
            return _tenant(connection, name)

    def streams(self, tenant: str | None = None) -> tuple[Stream, ...]:
        """All streams that are there, or those of a tenant, by name. Raises `NotFound` where there
        is no such tenant."""
        with self._database.reading() as connection:
            if tenant is None:
                return _streams(connection)
            return _streams(connection, tables.stream.c.tenant_id == _tenant(connection, tenant).id)

    def streams_of(self, tenant_id: int, ids: Collection[int]) -> tuple[Stream, ...]:
        """A tenant's streams of these numbers, by name, those that were removed among them."""
        stream = tables.stream.c
        wanted = _select_streams().where(stream.tenant_id == tenant_id, stream.id.in_(sorted(ids)))
        with self._database.reading() as connection:
            return tuple(map(_as_stream, connection.execute(wanted).mappings()))

    def stream(self, tenant: str, name: str) -> Stream:
        """Raises `NotFound`."""
        with self._database.reading() as connection:
            return _stream(connection, _tenant(connection, tenant), name)

    def changes(self, tenant: str, stream: str | None = None) -> tuple[Entry, ...]:
        """Who changed what, the oldest first: of a tenant and all its streams, or of all streams
        that ever had one name. Raises `NotFound` where there is no such tenant."""
        with self._database.reading() as connection:
            return audit.changes(connection, _tenant(connection, tenant).id, stream)

    # Settings, changed

    def add_tenant(self, name: str, settings: TenantSettings, *, who: str, now: int) -> Tenant:
        """Raises `InvalidValue` and `Exists`."""
        check_tenant_name(name)
        check(settings)
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            if _find_tenant(connection, name) is not None:
                raise Exists(f"there is a tenant {name!r} already")
            row = {"name": name, "created_at": now, **_columns(settings)}
            connection.execute(insert(tables.tenant).values(row))
            made = _tenant(connection, name)
            _record(connection, who, now, made.id, None, _all_new(settings))
            return made

    def set_tenant(self, name: str, changes: Mapping[str, Any], *, who: str, now: int) -> Tenant:
        """Change settings by name. What is so already is no change. Raises `InvalidValue` and
        `NotFound`."""
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            before = _tenant(connection, name)
            after = changed(before.settings, changes)
            check(after)
            differing = _differing(before.settings, after)
            if not differing:
                return before
            connection.execute(
                update(tables.tenant).where(tables.tenant.c.id == before.id).values(_columns(after))
            )
            _record(connection, who, now, before.id, None, differing)
            return _tenant(connection, name)

    def remove_tenant(self, name: str) -> None:
        """Only one that nothing is on record of; its name is free then. Raises `NotFound`, and
        `StoreError` where it stays."""
        with self._database.writing() as connection:
            take_turn(connection)
            owner = _tenant(connection, name)
            tenant = tables.tenant
            try:
                audit.erase(connection, owner.id)
                connection.execute(delete(tenant).where(tenant.c.id == owner.id))
                _count_up(connection)
            except IntegrityError as error:
                # Whatever names it, streams that were removed among it, does so for good.
                raise StoreError(
                    f"tenant {name!r} stays: it has or had streams, and what was sent of them and who"
                    " changed them stays on record; or it has people or tokens"
                ) from error

    def add_stream(
        self, tenant: str, name: str, settings: StreamSettings, *, who: str, now: int
    ) -> Stream:
        """Raises `InvalidValue`, `NotFound` for the tenant, and `Exists`."""
        check_stream_name(name)
        check(settings)
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            owner = _tenant(connection, tenant)
            if _find_stream(connection, owner, name) is not None:
                text = f"there is a stream {tenant}/{name} already"
                raise Exists(Said("stream-there", text, name=name))
            _check_purpose(owner, None, settings)
            row = {
                "tenant_id": owner.id,
                "name": name,
                "created_at": now,
                "revision": _revision(connection) + 1,
                **_columns(settings),
            }
            connection.execute(insert(tables.stream).values(row))
            made = _stream(connection, owner, name)
            _record(connection, who, now, owner.id, made.id, _all_new(settings))
            return made

    def set_stream(
        self,
        tenant: str,
        name: str,
        changes: Mapping[str, Any],
        *,
        who: str,
        now: int,
        seen: int | None = None,
    ) -> Stream:
        """Change settings by name. What is so already is no change. `seen`: the stream's revision that
        the changes were made for. Raises `InvalidValue`, `NotFound`, and `Outdated` where the stream has
        another revision by now."""
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            owner = _tenant(connection, tenant)
            before = _stream(connection, owner, name)
            _check_seen(before, seen)
            after = changed(before.settings, changes)
            check(after)
            _check_purpose(owner, before.settings, after)
            differing = _differing(before.settings, after)
            if not differing:
                return before
            _set_stream(connection, before.id, _columns(after))
            _record(connection, who, now, owner.id, before.id, differing)
            return _stream(connection, owner, name)

    def remove_stream(
        self, tenant: str, name: str, *, who: str, now: int, seen: int | None = None
    ) -> None:
        """The name is free then; traffic and changes stay. Raises `NotFound`, `Outdated` as `set_stream`
        does, and `InUse` as long as a sealed report of one of its days is held: who wants to end that has
        to find it by the stream's name."""
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            owner = _tenant(connection, tenant)
            stream = _stream(connection, owner, name)
            _check_seen(stream, seen)
            _check_not_held(connection, stream, now)
            _set_stream(connection, stream.id, {"removed_at": now})
            _record(connection, who, now, owner.id, stream.id, {"removed_at": (None, now)})

    # Traffic

    def add_traffic(self, rows: Iterable[Metered], now: int) -> tuple[Metered, ...]:
        """Add what rows of a meter have counted since they were read last.

        Returns the rows that were left out: of no stream, of an unknown kind, or with counts below
        those that they had before.
        """
        metered = list(rows)
        with self._database.writing() as connection:
            # A second writer of the same meter waits here, before it reads how far the first came.
            take_turn(connection)
            cursors = _cursors(connection)
            owners = _owners(connection, {row.stream_id for row in metered})
            added, read, left_out = [], [], []
            for row in metered:
                counts = (row.requests, row.bytes, row.aborted)
                *before, at = cursors.get(row.incarnation, (0, 0, 0, now))
                more = [count - least for count, least in zip(counts, before, strict=True)]
                if row.stream_id not in owners or row.kind not in _KINDS or min(more) < 0:
                    left_out.append(row)
                    continue
                if any(more):
                    place = {"stream_id": row.stream_id, "hour": row.hour, "kind": row.kind}
                    owner = {"tenant_id": owners[row.stream_id]}
                    added.append({**owner, **place, **_counted(more)})
                elif at >= now - _CURSOR_LIVES_S // 2:
                    continue
                cursors[row.incarnation] = (*counts, now)
                read.append({"incarnation": row.incarnation, **_counted(counts), "at": now})
            if added:
                traffic = tables.traffic
                _upsert(connection, traffic, added, {name: traffic.c[name] for name in _COUNTERS})
            if read:
                _upsert(connection, tables.meter_cursor, read, dict.fromkeys((*_COUNTERS, "at")))
            return tuple(left_out)

    def forget(self, rows: Collection[Metered], now: int) -> None:
        """Call this with the rows that a meter has let go: they will not be read again."""
        cursor = tables.meter_cursor.c
        with self._database.writing() as connection:
            gone = delete(tables.meter_cursor).where(cursor.incarnation == bindparam("gone"))
            if rows:
                connection.execute(gone, [{"gone": row.incarnation} for row in rows])
            # Those of nodes that are switched off, and of writers that died before they came here.
            stale = cursor.at < now - _CURSOR_LIVES_S
            connection.execute(delete(tables.meter_cursor).where(stale))

    def traffic(self, tenant: str, month: str) -> tuple[Traffic, ...]:
        """What a tenant's streams sent in a month (`YYYY-MM`, of the tenant's time zone), by stream
        and kind. Raises `InvalidValue` and `NotFound`."""
        counts, stream = tables.traffic.c, tables.stream.c
        with self._database.reading() as connection:
            owner = _tenant(connection, tenant)
            hours = hours_of(month, owner.settings.timezone)
            rows = connection.execute(
                select(
                    stream.name,
                    counts.stream_id,
                    counts.kind,
                    *(func.sum(counts[name]).label(name) for name in _COUNTERS),
                )
                .select_from(tables.traffic.join(tables.stream, stream.id == counts.stream_id))
                .where(
                    counts.tenant_id == owner.id,
                    counts.hour >= hours.start,
                    counts.hour < hours.stop,
                )
                .group_by(stream.name, counts.stream_id, counts.kind)
                .order_by(stream.name, counts.stream_id, counts.kind)
            ).mappings()
            return tuple(
                Traffic(
                    stream=row["name"],
                    stream_id=row["stream_id"],
                    kind=Kind(row["kind"]),
                    # PostgreSQL adds integers up to a decimal.
                    **{name: int(row[name]) for name in _COUNTERS},
                )
                for row in rows
            )


# Reading


def _revision(connection: Connection) -> int:
    ((found,),) = _REVISION.rows(connection, {})
    return int(found)


def _tenants(connection: Connection) -> tuple[Tenant, ...]:
    rows = connection.execute(select(tables.tenant).order_by(tables.tenant.c.name))
    return tuple(map(_as_tenant, rows.mappings()))


def _tenant(connection: Connection, name: str) -> Tenant:
    found = _find_tenant(connection, name)
    if found is None:
        raise NotFound(f"there is no tenant {name!r}")
    return found


def _find_tenant(connection: Connection, name: str) -> Tenant | None:
    rows = connection.execute(select(tables.tenant).where(tables.tenant.c.name == name))
    row = rows.mappings().one_or_none()
    return None if row is None else _as_tenant(row)


def _as_tenant(row: RowMapping) -> Tenant:
    settings = {field.name: row[field.name] for field in fields(TenantSettings)}
    return Tenant(
        id=row["id"],
        name=row["name"],
        settings=TenantSettings(**settings),
        created_at=row["created_at"],
    )


def _streams(connection: Connection, *where: Any) -> tuple[Stream, ...]:
    there = tables.stream.c.removed_at.is_(None)
    rows = connection.execute(_select_streams().where(there, *where))
    return tuple(map(_as_stream, rows.mappings()))


def _select_streams() -> Select[Any]:
    return (
        select(tables.stream, tables.tenant.c.name.label("tenant"))
        .join(tables.tenant, tables.tenant.c.id == tables.stream.c.tenant_id)
        # One that was removed comes before the one that has its name by now.
        .order_by(tables.tenant.c.name, tables.stream.c.name, tables.stream.c.id)
    )


def _stream(connection: Connection, tenant: Tenant, name: str) -> Stream:
    found = _find_stream(connection, tenant, name)
    if found is None:
        text = f"there is no stream {tenant.name}/{name}"
        raise NotFound(Said("no-stream", text, name=name))
    return found


def _find_stream(connection: Connection, tenant: Tenant, name: str) -> Stream | None:
    stream = tables.stream.c
    found = _streams(connection, stream.tenant_id == tenant.id, stream.name == name)
    return found[0] if found else None


def _check_not_held(connection: Connection, stream: Stream, now: int) -> None:
    hold, report = tables.attendance_hold.c, tables.attendance_report.c
    wanted = (
        select(hold.until, hold.reason, hold.subject)
        .join_from(tables.attendance_hold, tables.attendance_report, report.subject == hold.subject)
        .where(report.stream_id == stream.id, hold.until > now)
        .order_by(hold.until.desc())
        .limit(1)
    )
    held = connection.execute(wanted).one_or_none()
    if held is not None:
        day = held.subject.rpartition(" ")[2]
        until = f"{datetime.fromtimestamp(held.until, UTC):%Y-%m-%d %H:%M} UTC"
        text = (
            f"stream {stream.name!r} stays: its report of {day} is held until {until}: {held.reason}. When"
            " nobody wants that any more, release it first (pystream report --release)"
        )
        name, reason = stream.name, held.reason
        raise InUse(Said("stream-held", text, name=name, day=day, until=until, reason=reason))


def _as_stream(row: RowMapping) -> Stream:
    settings: dict[str, Any] = {
        field.name: _frozen(row[field.name]) for field in fields(StreamSettings)
    }
    for name in _LATER_LISTS:
        settings[name] = settings[name] or ()
    return Stream(
        id=row["id"],
        tenant_id=row["tenant_id"],
        tenant=row["tenant"],
        name=row["name"],
        settings=StreamSettings(**settings),
        created_at=row["created_at"],
        removed_at=row["removed_at"],
        revision=row["revision"],
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# Writing


def _check_seen(stream: Stream, seen: int | None) -> None:
    if seen is not None and seen != stream.revision:
        raise Outdated(f"{stream.tenant}/{stream.name} was changed in the meantime")


def _check_purpose(owner: Tenant, before: StreamSettings | None, after: StreamSettings) -> None:
    """Raises `InvalidValue` where attendance is newly recorded and its purpose was not accepted."""
    is_new = after.attendance and (before is None or not before.attendance)
    if is_new and not owner.settings.attendance_purpose:
        text = (
            "the tenant has not accepted yet what attendance is recorded for (`pystream attendance"
            " purpose` prints the text)"
        )
        raise InvalidValue(Said("no-purpose", text, of="attendance"))


def _columns(settings: TenantSettings | StreamSettings) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(settings).items()}


def _all_new(settings: TenantSettings | StreamSettings) -> dict[str, tuple[Any, Any]]:
    return {name: (None, value) for name, value in asdict(settings).items()}


def _differing(
    before: TenantSettings | StreamSettings, after: TenantSettings | StreamSettings
) -> dict[str, tuple[Any, Any]]:
    old = asdict(before)
    return {n: (old[n], value) for n, value in asdict(after).items() if old[n] != value}


def _set_stream(connection: Connection, stream_id: int, values: dict[str, Any]) -> None:
    connection.execute(
        update(tables.stream)
        .where(tables.stream.c.id == stream_id)
        .values(**values, revision=_revision(connection) + 1)
    )


def _record(
    connection: Connection,
    who: str,
    now: int,
    tenant_id: int,
    stream_id: int | None,
    values: Mapping[str, tuple[Any, Any]],
) -> None:
    """Notes a change, and that there was one."""
    audit.record(connection, tenant_id, who, now, values, stream_id)
    _count_up(connection)


def _count_up(connection: Connection) -> None:
    connection.execute(update(tables.revision).values(value=tables.revision.c.value + 1))


def _cursors(connection: Connection) -> dict[int, tuple[int, int, int, int]]:
    cursor = tables.meter_cursor.c
    rows = connection.execute(
        select(cursor.incarnation, *(cursor[name] for name in _COUNTERS), cursor.at)
    )
    return {row.incarnation: (row.requests, row.bytes, row.aborted, row.at) for row in rows}


def _counted(counts: Iterable[int]) -> dict[str, int]:
    return dict(zip(_COUNTERS, counts, strict=True))


def _owners(connection: Connection, ids: Collection[int]) -> dict[int, int]:
    """Of streams, and of others as well where these are many: one statement takes only so many values."""
    stream = tables.stream.c
    wanted = select(stream.id, stream.tenant_id)
    if len(ids) <= _NAMED_AT_ONCE:
        wanted = wanted.where(stream.id.in_(ids))
    return {row.id: row.tenant_id for row in connection.execute(wanted)}


def _upsert(
    connection: Connection, table: Table, rows: list[dict[str, Any]], columns: Mapping[str, Any]
) -> None:
    """Inserts rows; of those that are there already, columns are added to, or replaced where the
    mapping has None."""
    statement = inserting(connection.dialect.name, table)
    news = {
        name: statement.excluded[name] if there is None else there + statement.excluded[name]
        for name, there in columns.items()
    }
    keys = list(table.primary_key.columns)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=news), rows)
