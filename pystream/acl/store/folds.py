"""Rows of attendance as they are now, at the cost of what is new since somebody last looked.

Of each password the state of `attendance-v1`'s fold is kept, with the number in the log up to
which events were taken. Who looks takes what has a greater number. Workers tell at their own times, so events
are taken only when another is `HORIZON_MS` newer; those that wait lie beside the state. What comes later
still, with an instant before others that were taken, has the fold made anew from all events: so the rows are
always those that `replay` computes of an export.

The state says what the events say. It is sealed with the password's own key, so it is gone with the password;
and it is deleted with the first events whose time is over, and made anew from what is left. Other streams,
another span of time, or other options, are another fold beside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, or_, select, tuple_

from pystream._core import Evidence, Ledger
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.opened import opened
from pystream.acl.store.restricting import is_restricted
from pystream.attendance.documents import FIRST, LAST
from pystream.attendance.evidence import instant, unpacked
from pystream.attendance.options import Options

HORIZON_MS: Final = 10_000
# Passwords that are looked at together: no more of them is in memory.
_AT_ONCE = 500

# Of an event: which log, and its number there.
_At = tuple[int, int]


class _Events(NamedTuple):
    """Of viewers, by their passwords and places in the log; and those of none. All up to `end`."""

    of: dict[int, dict[_At, str]]
    incidents: dict[_At, str]
    end: _At


@dataclass(slots=True)
class _Fold:
    """Events before `end` are taken, or are `waiting`, with their instants; `t` is the newest's."""

    ledger: Ledger
    span: tuple[int, int]
    end: _At = (0, 0)
    t: int = 0
    waiting: list[tuple[int, str]] = field(default_factory=list)

    def take(self, password_id: int, events: _Events) -> bool:
        """Takes what is new of it; whether anything is. Raises `ValueError` where something lies before
        others that were taken."""
        of = events.of.get(password_id, {})
        news = [event for at, event in of.items() if at >= self.end]
        befell = [event for at, event in events.incidents.items() if at >= self.end]
        self.waiting += [(instant(event), event) for event in news]
        self.t = max((t for t, _ in self.waiting), default=self.t)
        ready = [event for t, event in self.waiting if t < self.t - HORIZON_MS]
        self.waiting = [(t, event) for t, event in self.waiting if t >= self.t - HORIZON_MS]
        _take(self.ledger, [*ready, *befell], self.span)
        self.end = events.end
        return bool(news or befell)

    def rows(self) -> list[dict[str, Any]]:
        whole = Ledger.load(self.ledger.store())
        _take(whole, [event for _, event in self.waiting], self.span)
        return whole.rows()

    def pack(self) -> bytes:
        head = json.dumps([self.t, self.waiting]).encode()
        return len(head).to_bytes(4) + head + self.ledger.store()

    @classmethod
    def unpack(cls, data: bytes, span: tuple[int, int], end: _At) -> _Fold:
        begin = 4 + int.from_bytes(data[:4])
        t, waiting = json.loads(data[4:begin])
        told = [(at, event) for at, event in waiting]
        return cls(Ledger.load(data[begin:]), span, end, t, told)


def _take(ledger: Ledger, events: Sequence[str], span: tuple[int, int]) -> None:
    evidence = Evidence()
    evidence.select("\n".join(events).encode(), None, None, *span)
    ledger.take(evidence)


class Folds:
    """Those of one tenant's streams together, with a ledger's options, of events from one instant to
    another."""

    def __init__(
        self,
        database: Database,
        keys: KeyStore,
        tenant_id: int,
        stream_ids: Collection[int],
        options: Options,
        span: tuple[int, int] = (FIRST, LAST),
    ) -> None:
        self._database = database
        self._keys = keys
        self._tenant_id = tenant_id
        self._stream_ids = sorted(set(stream_ids))
        self._span = span
        self._empty = options.ledger().store()
        # With other options, or another time zone database, it is another fold.
        ids = b"".join(id.to_bytes(8) for id in [*self._stream_ids, *span])
        self._options = blake2b(ids + self._empty, digest_size=16).digest()

    def rows(self, password_ids: Collection[int] | None = None) -> list[dict[str, Any]]:
        """By key, stream and day, None last, of some passwords, or of all whose data is not restricted."""
        wanted, found = self._ids() if password_ids is None else sorted(password_ids), []
        for begin in range(0, len(wanted), _AT_ONCE):
            found += self._rows(wanted[begin : begin + _AT_ONCE])
        return sorted(found, key=_place_of)

    def _ids(self) -> list[int]:
        """Of whom something is recorded, and may be used."""
        found = set[int]()
        with self._database.reading() as connection:
            for table in (tables.attendance_journal, tables.attendance_sealed):
                column = table.c.password_id
                wanted = select(column).where(self._of(table), ~is_restricted(column))
                if table is tables.attendance_journal:
                    wanted = wanted.where(tables.in_shards())
                found |= set(connection.scalars(wanted.distinct()))
        return sorted(found)

    def _rows(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        with self._database.reading() as connection:
            kept, lost = self._kept(connection, wanted)
            ends = {id: fold.end for id, fold in kept.items()}
            news = self._events(connection, wanted, ends)
        folds, changed = kept | {id: self._new() for id in news.of if id not in kept}, set[int]()
        again = lost
        for id, fold in folds.items():
            try:
                if id not in again and fold.take(id, news):
                    changed.add(id)
            except ValueError:
                again.add(id)
        if again:
            with self._database.reading() as connection:
                every = self._events(connection, sorted(again))
            for id in again:
                folds[id] = self._new()
                folds[id].take(id, every)
        self._keep({id: folds[id] for id in changed | again})
        return [row for fold in folds.values() for row in fold.rows()]

    def _new(self) -> _Fold:
        return _Fold(Ledger.load(self._empty), self._span)

    def _kept(
        self, connection: Connection, wanted: Sequence[int]
    ) -> tuple[dict[int, _Fold], set[int]]:
        """The folds that are stored, and of which passwords there is one that cannot be read."""
        table = tables.attendance_fold
        password = tables.password.c
        these = select(table, password.reference).outerjoin(
            tables.password,
            and_(password.id == table.c.password_id, password.tenant_id == self._tenant_id),
        )
        rows = connection.execute(these.where(self._these(wanted))).all()
        references = [row.reference for row in rows if row.reference is not None]
        there = self._keys.record_keys(self._tenant_id, references)
        kept, lost = {}, set[int]()
        for row in rows:
            key = there.get(row.reference)
            if key is None:
                lost.add(row.password_id)
            else:
                state = unseal(key, self._place(row.password_id), row.state)
                kept[row.password_id] = _Fold.unpack(state, self._span, (row.log_id, row.number))
        return kept, lost

    def _events(
        self, connection: Connection, wanted: Sequence[int], ends: Mapping[int, _At] | None = None
    ) -> _Events:
        """Those of passwords; with `ends`, those of the folds that are stored, only what these have not."""
        log, incident = tables.attendance_log.c, tables.attendance_incident.c
        newest = select(log.id, log.size).where(log.tenant_id == self._tenant_id)
        row = connection.execute(newest.order_by(log.id.desc()).limit(1)).one_or_none()
        # What is committed from here on is for the next look.
        end = (0, 0) if row is None else (row.id, row.size)
        of = defaultdict[int, dict[_At, str]](dict)
        # What is sealed meanwhile is seen twice, and never not.
        for id, at, event in self._open(connection, wanted, ends):
            of[id][at] = event
        for id, at, event in self._sealed(connection, wanted, is_kept=ends is not None):
            of[id][at] = event
        befell = connection.execute(
            select(incident.log_id, incident.number, incident.event).where(
                incident.tenant_id == self._tenant_id
            )
        )
        incidents = {(row.log_id, row.number): row.event for row in befell}
        before = {id: {at: e for at, e in some.items() if at < end} for id, some in of.items()}
        return _Events(before, {at: e for at, e in incidents.items() if at < end}, end)

    def _open(
        self, connection: Connection, wanted: Sequence[int], ends: Mapping[int, _At] | None
    ) -> Iterable[tuple[int, _At, str]]:
        column = tables.attendance_journal.c
        these = select(column.password_id, column.log_id, column.number, column.event)
        these = these.where(self._of(tables.attendance_journal))
        shards = defaultdict[int, list[int]](list)
        for id in wanted:
            shards[tables.shard(id)].append(id)
        for some in shards.values():
            first = min((ends or {}).get(id, (0, 0)) for id in some)
            lies = tables.in_shards(some), tuple_(column.log_id, column.number) >= tuple_(*first)
            for row in connection.execute(these.where(*lies, column.password_id.in_(some))):
                at = row.log_id, row.number
                if ends is None or at >= ends.get(row.password_id, (0, 0)):
                    yield row.password_id, at, row.event

    def _sealed(
        self, connection: Connection, wanted: Sequence[int], *, is_kept: bool
    ) -> Iterable[tuple[int, _At, str]]:
        table = tables.attendance_sealed
        these = select(table).where(self._of(table), table.c.password_id.in_(wanted))
        rows = connection.execute(self._new_to(these, is_kept=is_kept)).all()
        for row, text in opened(self._keys, self._tenant_id, rows):
            for number, _, event in unpacked(text):
                yield row.password_id, (row.log_id, number), event

    def _new_to(self, wanted: Any, *, is_kept: bool) -> Any:
        """Of what is selected of sealed events, that which is behind the end of its fold."""
        if not is_kept:
            return wanted
        fold, column = tables.attendance_fold.c, tables.attendance_sealed.c
        same = and_(fold.password_id == column.password_id, fold.options == self._options)
        is_new = or_(
            fold.password_id.is_(None),
            column.log_id > fold.log_id,
            and_(column.log_id == fold.log_id, column.last >= fold.number),
        )
        return wanted.outerjoin(tables.attendance_fold, same).where(is_new)

    def _of(self, table: Table) -> ColumnElement[bool]:
        """Which events are meant, and others of the hours that the span begins and ends in."""
        streams = table.c.stream_id.in_(self._stream_ids)
        at, unit = (table.c.t, 1) if "t" in table.c else (table.c.hour, tables.HOUR_MS)
        begin, end = self._span
        inside = at.between(begin // unit, (end - 1) // unit)
        return and_(table.c.tenant_id == self._tenant_id, streams, inside)

    def _these(self, wanted: Sequence[int]) -> ColumnElement[bool]:
        """The folds of some passwords."""
        fold = tables.attendance_fold.c
        ours = fold.tenant_id == self._tenant_id, fold.options == self._options
        return and_(*ours, fold.password_id.in_(wanted))

    def _keep(self, folds: dict[int, _Fold]) -> None:
        """Stores them, but of those whose password is revoked: it may be about to be erased."""
        table, password = tables.attendance_fold, tables.password.c
        if not folds:
            return
        ids = sorted(folds)
        with self._database.writing() as connection:
            take_turn(connection)
            valid = connection.execute(
                select(password.id, password.reference).where(
                    password.tenant_id == self._tenant_id,
                    password.id.in_(ids),
                    password.revoked_at.is_(None),
                )
            ).all()
            there = self._keys.record_keys(self._tenant_id, [row.reference for row in valid])
            connection.execute(delete(table).where(self._these(ids)))
            rows = [
                {
                    "password_id": row.id,
                    "tenant_id": self._tenant_id,
                    "options": self._options,
                    "log_id": folds[row.id].end[0],
                    "number": folds[row.id].end[1],
                    "t": folds[row.id].t,
                    "state": seal(there[row.reference], self._place(row.id), folds[row.id].pack()),
                }
                for row in valid
                if row.reference in there
            ]
            if rows:
                connection.execute(insert(table), rows)

    def _place(self, password_id: int) -> Place:
        return Place(
            self._tenant_id, "attendance_fold", password_id, f"state by {self._options.hex()}"
        )


def _place_of(row: dict[str, Any]) -> tuple[Any, ...]:
    stream, day = row["stream"], row["day"]
    return row["key"], stream is None, stream, day is None, day
