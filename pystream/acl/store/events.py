"""Events of tenants: what is attended, over several streams and days (`pystream.attendance.programmes`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update

from pystream.acl.store import audit, tables
from pystream.acl.store.database import Database, take_turn
from pystream.attendance.programmes import Event, EventSettings, check, check_name, written
from pystream.errors import Exists, InUse, InvalidValue, NotFound, Said

_SPANS = ("windows", "breaks")


class EventStore:
    """The part of an opened store that has events. Each method is one transaction; all raise `StoreError`
    as the store's own do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self, tenant_id: int) -> tuple[Event, ...]:
        """A tenant's events, by name."""
        with self._database.reading() as connection:
            return _events(connection, tables.attendance_event.c.tenant_id == tenant_id)

    def event(self, tenant_id: int, name: str) -> Event:
        """Raises `NotFound`."""
        with self._database.reading() as connection:
            return _event(connection, tenant_id, name)

    def stream_ids(self, tenant_id: int, name: str) -> tuple[int, ...]:
        """Of an event's streams, those that were removed meanwhile among them. Raises `NotFound`."""
        with self._database.reading() as connection:
            return _stream_ids(connection, _event(connection, tenant_id, name))

    def add(
        self, tenant_id: int, name: str, settings: EventSettings, *, who: str, now: int
    ) -> Event:
        """Raises `InvalidValue`, `Exists`, and `NotFound` for a stream that the tenant has not."""
        check_name(name)
        check(settings)
        event = tables.attendance_event
        with self._database.writing() as connection:
            take_turn(connection)
            if _find(connection, tenant_id, name) is not None:
                text = f"there is an event {name!r} already"
                raise Exists(Said("event-there", text, name=name))
            streams = _streams(connection, tenant_id, settings.streams)
            row = {"tenant_id": tenant_id, "name": name, "created_at": now, **_columns(settings)}
            (id,) = connection.execute(insert(event).values(row)).inserted_primary_key or (0,)
            _attend(connection, tenant_id, id, streams)
            new = {each: (None, value) for each, value in _told(settings).items()}
            audit.record(connection, tenant_id, who, now, {"event_added": (None, name)} | new)
            return _event(connection, tenant_id, name)

    def set(
        self, tenant_id: int, name: str, changes: Mapping[str, Any], *, who: str, now: int
    ) -> Event:
        """Changes settings by name. What is so already is no change. Raises `InvalidValue`, and `NotFound`
        for the event, or for a stream that is new in it and that the tenant has not."""
        known = {each.name for each in fields(EventSettings)}
        if unknown := sorted(set(changes) - known):
            raise InvalidValue(
                *(
                    Said("no-setting", f"there is no setting {name!r}", name=name)
                    for name in unknown
                )
            )
        with self._database.writing() as connection:
            take_turn(connection)
            before = _event(connection, tenant_id, name)
            after = replace(before.settings, **changes)
            check(after)
            old, new = _told(before.settings), _told(after)
            differing = {each: (old[each], new[each]) for each in new if old[each] != new[each]}
            if not differing:
                return before
            event, attended = tables.attendance_event, tables.attendance_event_stream
            if "streams" in differing:
                streams = _streams(connection, tenant_id, after.streams, before)
                connection.execute(delete(attended).where(attended.c.event_id == before.id))
                _attend(connection, tenant_id, before.id, streams)
            this = update(event).where(event.c.id == before.id)
            connection.execute(this.values(_columns(after)))
            said = {"event_changed": (None, name)} | differing
            audit.record(connection, tenant_id, who, now, said)
            return _event(connection, tenant_id, name)

    def remove(self, tenant_id: int, name: str, *, who: str, now: int) -> None:
        """Raises `NotFound`, and `InUse` where a report of it was sealed: that stays, and so does what it is
        about."""
        event, attended = tables.attendance_event, tables.attendance_event_stream
        report = tables.attendance_report.c
        with self._database.writing() as connection:
            take_turn(connection)
            found = _event(connection, tenant_id, name)
            sealed = select(report.id).where(report.event_id == found.id).limit(1)
            if connection.scalar(sealed) is not None:
                text = f"event {name!r} stays: there are sealed reports of it"
                raise InUse(Said("event-sealed", text, name=name))
            connection.execute(delete(attended).where(attended.c.event_id == found.id))
            connection.execute(delete(event).where(event.c.id == found.id))
            audit.record(connection, tenant_id, who, now, {"event_removed": (None, name)})


def _events(connection: Connection, *where: ColumnElement[bool]) -> tuple[Event, ...]:
    event, stream = tables.attendance_event, tables.stream.c
    attended = tables.attendance_event_stream
    rows = connection.execute(select(event).where(*where).order_by(event.c.name)).mappings().all()
    ids = [row["id"] for row in rows]
    names: dict[int, list[str]] = {id: [] for id in ids}
    wanted = (
        select(attended.c.event_id, stream.name)
        .join(tables.stream, stream.id == attended.c.stream_id)
        .where(attended.c.event_id.in_(ids))
        .order_by(stream.name, stream.id)
    )
    for event_id, name in connection.execute(wanted):
        names[event_id].append(name)
    return tuple(_as_event(row, names[row["id"]]) for row in rows)


def _as_event(row: RowMapping, streams: list[str]) -> Event:
    settings: dict[str, Any] = {
        each.name: row[each.name] for each in fields(EventSettings) if each.name != "streams"
    }
    for name in _SPANS:
        settings[name] = tuple(map(tuple, settings[name]))
    return Event(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        settings=EventSettings(streams=tuple(dict.fromkeys(streams)), **settings),
        created_at=row["created_at"],
    )


def _find(connection: Connection, tenant_id: int, name: str) -> Event | None:
    event = tables.attendance_event.c
    found = _events(connection, event.tenant_id == tenant_id, event.name == name)
    return found[0] if found else None


def _event(connection: Connection, tenant_id: int, name: str) -> Event:
    found = _find(connection, tenant_id, name)
    if found is None:
        raise NotFound(Said("no-event", f"there is no event {name!r}", name=name))
    return found


def _stream_ids(connection: Connection, event: Event) -> tuple[int, ...]:
    attended = tables.attendance_event_stream.c
    wanted = select(attended.stream_id).where(attended.event_id == event.id)
    return tuple(connection.scalars(wanted.order_by(attended.stream_id)))


def _streams(
    connection: Connection, tenant_id: int, names: Sequence[str], before: Event | None = None
) -> list[int]:
    """The ids of a tenant's streams. What an event has already it keeps, though it was removed since."""
    stream = tables.stream.c
    kept = () if before is None else _stream_ids(connection, before)
    wanted = select(stream.name, stream.id).where(
        stream.tenant_id == tenant_id,
        stream.name.in_(names),
        stream.removed_at.is_(None) | stream.id.in_(kept),
    )
    found = connection.execute(wanted).all()
    there = {row.name for row in found}
    if missing := [name for name in names if name not in there]:
        text = f"there is no stream {missing[0]!r}"
        raise NotFound(Said("no-stream", text, name=missing[0]))
    return [row.id for row in found]


def _attend(connection: Connection, tenant_id: int, event_id: int, streams: Sequence[int]) -> None:
    rows = [
        {"event_id": event_id, "stream_id": stream_id, "tenant_id": tenant_id}
        for stream_id in streams
    ]
    connection.execute(insert(tables.attendance_event_stream), rows)


def _columns(settings: EventSettings) -> dict[str, Any]:
    values = asdict(settings)
    del values["streams"]
    return values | {name: list(map(list, values[name])) for name in _SPANS}


def _told(settings: EventSettings) -> dict[str, Any]:
    """As it stands in the audit log: spans as people write them."""
    values = asdict(settings)
    spans = {name: [written(span, settings.timezone) for span in values[name]] for name in _SPANS}
    return values | spans | {"streams": sorted(settings.streams)}
