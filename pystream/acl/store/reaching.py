"""How far passwords have come in films that cannot be skipped ahead, kept over restarts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_, update

from pystream.acl.reach import Reach
from pystream.acl.store import tables
from pystream.acl.store.database import Database, take_turn

Place = tuple[int, int]
"""A stream's id and a password's."""

# Variables of a statement.
_AT_ONCE = 200


class ReachStore:
    """The part of an opened store that is about it. Methods raise `StoreError` as the store's own do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, stream_id: int, password_id: int) -> Reach:
        """The beginning of the film, where nothing is known."""
        reach = tables.attendance_reach.c
        wanted = select(reach.media_ms, reach.played_at).where(
            reach.stream_id == stream_id, reach.password_id == password_id
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return Reach() if row is None else Reach(row.media_ms, row.played_at)

    def keep(self, reaches: Mapping[Place, Reach]) -> None:
        """Stores them, of passwords that are there and were not revoked."""
        places = sorted(reaches)
        with self._database.writing() as connection:
            take_turn(connection)
            for begin in range(0, len(places), _AT_ONCE):
                some = places[begin : begin + _AT_ONCE]
                _keep(connection, {place: reaches[place] for place in some})

    def forget(self, tenant_id: int, password_ids: Collection[int]) -> None:
        """Deletes those of a tenant's passwords."""
        reach = tables.attendance_reach.c
        listed = sorted(password_ids)
        with self._database.writing() as connection:
            # Whoever stores meanwhile has done so, or sees that they are revoked.
            take_turn(connection)
            for begin in range(0, len(listed), _AT_ONCE):
                these = reach.password_id.in_(listed[begin : begin + _AT_ONCE])
                gone = delete(tables.attendance_reach).where(reach.tenant_id == tenant_id, these)
                connection.execute(gone)


def _keep(connection: Connection, reaches: Mapping[Place, Reach]) -> None:
    table, password = tables.attendance_reach, tables.password.c
    reach = table.c
    ids = {password_id for _, password_id in reaches}
    wanted = select(password.id, password.tenant_id).where(
        password.id.in_(ids), password.revoked_at.is_(None)
    )
    owners: dict[int, int] = {row.id: row.tenant_id for row in connection.execute(wanted)}
    place = tuple_(reach.stream_id, reach.password_id)
    there = {
        (row.stream_id, row.password_id)
        for row in connection.execute(
            select(reach.stream_id, reach.password_id).where(place.in_(list(reaches)))
        )
    }
    new: list[dict[str, Any]] = []
    for (stream_id, password_id), value in reaches.items():
        if password_id not in owners:
            continue
        values = {"media_ms": value.media_ms, "played_at": value.played_at}
        if (stream_id, password_id) in there:
            # Another node may know of more.
            this = (
                *(reach.stream_id == stream_id, reach.password_id == password_id),
                reach.media_ms <= value.media_ms,
            )
            connection.execute(update(table).where(*this).values(values))
        else:
            row = {"stream_id": stream_id, "password_id": password_id, **values}
            new.append({**row, "tenant_id": owners[password_id]})
    if new:
        connection.execute(insert(table), new)
