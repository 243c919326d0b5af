"""Evidence of attendance: how it is kept exactly once, sealed, read and erased.

**The way of an event.** A worker tells what was delivered in batches, numbered from 1 on, and keeps each
until the writer has said that it is stored. `keep` is one transaction: events and salts go to the journal,
the hashes of their leaves to `attendance_leaf`, and how far this worker has told to `attendance_cursor`. So
a batch that comes again, since its answer was lost, adds nothing. When an hour is over, `seal` moves what the
journal has of it to `attendance_sealed`, one row for each password and stream, under a record key of its
own; the leaves stay. Incidents (an outage, a step of the clock) name no viewer, and are not sealed. While
thousands watch, what an event costs is pages that are written for it: so the journal is kept in shards, each
of which has some of the passwords in the order of their events.

**What may be lost.** With a worker: what it had not told yet, of half a second, and what its peers had not
acknowledged. With the writer: nothing, as its workers tell again. With all at once: as with a worker. A
worker's cursor stays behind when it dies, and that it has told nothing since is an outage, which begins where
its last word was not whole yet.

Erasing a password takes its events out of the journal and destroys the keys of what is sealed.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from pystream._core import leaf_hashes
from pystream.acl.sealing import Place, seal
from pystream.acl.store import parts, tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.folds import Folds
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.opened import opened
from pystream.acl.store.prepared import Prepared, among, for_both, numbers
from pystream.acl.store.restricting import is_restricted
from pystream.attendance import evidence
from pystream.attendance.documents import FIRST, LAST
from pystream.attendance.evidence import SALT_LENGTH, Delivered, Part, Pieces
from pystream.attendance.nodes import Node
from pystream.attendance.options import Options

HOUR_MS = tables.HOUR_MS
DAY_MS = 24 * HOUR_MS
# A delivery is known when the peer has acknowledged it, at the connection's next request or after five
# seconds at most.
_UNKNOWN_MS = 5000
# Variables of a statement, groups that are sealed in one transaction, and names of sessions and of segments
# that are remembered.
_AT_ONCE = 500
_SEALED_AT_ONCE = 100
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker tells at once: `number` counts its batches; `records` is what was delivered, with
    instants that are `offset` behind ms since 1970. With it, all is told that was acknowledged from `since`
    until `until`. `last`: nothing more is to be expected for now."""

    worker: int
    number: int
    since: int
    until: int
    offset: int
    records: bytes
    last: bool = False


class Kept(NamedTuple):
    """How many events of viewers were new, and how many records cannot be read."""

    events: int
    unreadable: int


class _Viewer(NamedTuple):
    tenant_id: int
    stream_id: int
    password_id: int
    head: str
    tail: str
    stream: str
    # Of its key, where the password is revoked, and may be erased.
    reference: bytes | None


class _Row(NamedTuple):
    viewer: _Viewer
    t: int
    event: str


class _Group(NamedTuple):
    """What is sealed together."""

    log_id: int
    stream_id: int
    password_id: int
    hour: int


def _new_cursor() -> Any:
    names = ("worker", "batch", "until", "over")
    return insert(tables.attendance_cursor).values({name: bindparam(name) for name in names})


def _further() -> Any:
    new: dict[str, Any] = {n: bindparam(f"new_{n}") for n in ("batch", "until", "over")}
    this = tables.attendance_cursor.c.worker == bindparam("this")
    return update(tables.attendance_cursor).where(this).values(new)


def _newest_log() -> Any:
    log = tables.attendance_log.c
    newest = select(func.max(log.id)).where(log.tenant_id == bindparam("tenant_id"))
    return select(log.id, log.size).where(log.id == newest.scalar_subquery())


def _grown() -> Any:
    this = tables.attendance_log.c.id == bindparam("this")
    return update(tables.attendance_log).where(this).values(size=bindparam("new_size"))


def _told_by(dialect: str) -> Any:
    cursor = tables.attendance_cursor.c
    wanted = select(cursor.worker, cursor.batch, cursor.until)
    return wanted.where(among(dialect, cursor.worker, "workers"))


def _of_hour(dialect: str) -> ColumnElement[bool]:
    """Of the journal: events of some passwords of one shard, stream and hour."""
    column = tables.attendance_journal.c
    names = ("shard", "stream_id", "log_id")
    return and_(
        *(column[name] == bindparam(f"this_{name}") for name in names),
        column.t >= bindparam("begin"),
        column.t < bindparam("end"),
        among(dialect, column.password_id, "password_ids"),
    )


def _read_hour(dialect: str) -> Any:
    column = tables.attendance_journal.c
    wanted = select(column.password_id, column.number, column.salt, column.event)
    return wanted.where(_of_hour(dialect)).order_by(column.number)


# What each commit asks and writes.
_CHANGES = for_both(
    select(tables.revision.c.value, select(func.max(tables.ending.c.id)).scalar_subquery())
)
_TOLD_BY = Prepared(_told_by)
_NEW_CURSOR = for_both(_new_cursor())
_FURTHER = for_both(_further())
_NEWEST_LOG = for_both(_newest_log())
_GROWN = for_both(_grown())
_INTO_JOURNAL = for_both(insert(tables.attendance_journal))
_INTO_LEAVES = for_both(insert(tables.attendance_leaf))
# And sealing.
_READ_HOUR = Prepared(_read_hour)
_CLEAR_HOUR = Prepared(lambda dialect: delete(tables.attendance_journal).where(_of_hour(dialect)))


class AttendanceStore:
    """The part of an opened store that is about attendance. Methods raise `StoreError` as the store's
    own do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes: tuple[Any, ...] = ()
        self._viewers: dict[bytes, _Viewer | None] = {}
        self._places: dict[bytes, str] = {}

    # The writer's

    def keep(
        self,
        keys: KeyStore,
        batches: Sequence[Batch],
        incidents: Sequence[tuple[int, str]],
        now: int,
        *,
        begun: Mapping[int, int] | None = None,
        jump: int = 0,
        came_to: int = 0,
    ) -> Kept:
        """Stores what workers tell, each batch once, and incidents, by their instants, for all tenants
        who have attendance recorded. A batch of which something cannot be read is one of these, and the rest
        of it is stored. `begun`: since when workers have had something to tell of whom nothing is stored yet.
        `jump`: by how many ms the instants of what workers tell from here on are others, and `came_to` what
        they had come to."""
        with self._database.writing() as connection:
            take_turn(connection)
            self._forget_changed(connection)
            fresh, gaps = _unread(connection, batches, begun or {})
            delivered, broken = self._read(fresh)
            gaps += [(batch.since, max(batch.until, batch.since + 1)) for batch in broken]
            rows = self._rows(connection, keys, delivered)
            by_tenant = defaultdict[int, list[_Row]](list)
            for row in rows:
                by_tenant[row.viewer.tenant_id].append(row)
            told = [*incidents, *((t0, evidence.outage(t0, t1)) for t0, t1 in gaps)]
            owners = _attending(connection) if told else set()
            for tenant_id in sorted(owners | set(by_tenant)):
                log = Log.of(connection, tenant_id, now)
                log.add_events(by_tenant[tenant_id])
                if tenant_id in owners:
                    log.add_incidents(told)
                log.finish()
            _note(connection, fresh)
            if jump < 0:
                # Where instants jump ahead, one that is too early makes an outage longer, and hides nothing.
                cursor = tables.attendance_cursor.c
                moved = update(tables.attendance_cursor).where(~cursor.over)
                latest = case((cursor.latest > came_to, cursor.latest), else_=came_to)
                connection.execute(moved.values(until=cursor.until + jump, latest=latest))
            return Kept(len(rows), len(broken))

    def _forget_changed(self, connection: Connection) -> None:
        """Who is gone, and whose password was revoked, is looked up again."""
        (changes,) = _CHANGES.rows(connection, {})
        if changes != self._changes:
            self._viewers.clear()
            self._changes = changes

    def _read(self, batches: Iterable[Batch]) -> tuple[list[tuple[int, Delivered]], list[Batch]]:
        """What was delivered, each with its batch's offset; and batches that are not all readable. What
        cannot be read now cannot be read later, and others wait."""
        delivered, broken = [], []
        for batch in batches:
            try:
                for each in evidence.records(batch.records):
                    if each.place not in self._places:
                        part = Part.unpack(each.place)
                        if evidence.said(each.place, "", each.session, "", each.t) is None:
                            self._piece(each.place if part is None else part.place)
                    delivered.append((batch.offset, each))
            except ValueError:
                broken.append(batch)
        return delivered, broken

    def _rows(
        self, connection: Connection, keys: KeyStore, delivered: Sequence[tuple[int, Delivered]]
    ) -> list[_Row]:
        """The events, of those sessions that are of one password which was not erased."""
        self._learn(connection, {each.session for _, each in delivered})
        erased = self._erased_viewers(keys, {each.session for _, each in delivered})
        rows, some = [], []
        for offset, (t, session, place) in delivered:
            viewer = self._viewers[session]
            if viewer is None or session in erased:
                continue
            if (piece := self._places.get(place)) is not None:
                # Nearly all of them.
                at = t + offset
                rows.append(_Row(viewer, at, f"{viewer.head}{piece}{viewer.tail}{at}}}"))
            elif (part := Part.unpack(place)) is None:
                rows.append(self._row(viewer, session, t + offset, place))
            else:
                told = parts.Told(viewer.tenant_id, viewer.password_id, session, t + offset, part)
                some.append(told)
        for whole in parts.completed(connection, some):
            viewer = self._viewers[whole.session]
            assert viewer is not None
            rows.append(self._row(viewer, whole.session, whole.t, whole.part.place))
        return rows

    def _row(self, viewer: _Viewer, session: bytes, t: int, place: bytes) -> _Row:
        said = evidence.said(place, str(viewer.password_id), session, viewer.stream, t)
        return _Row(viewer, t, said or f"{viewer.head}{self._piece(place)}{viewer.tail}{t}}}")

    def _erased_viewers(self, keys: KeyStore, sessions: Collection[bytes]) -> set[bytes]:
        """Of passwords that were erased while something of theirs was on its way. Whoever erases one revokes
        it, destroys its key and then deletes what there is: it is before that or after all of it."""
        revoked = defaultdict[int, dict[bytes, bytes]](dict)
        for session in sessions:
            viewer = self._viewers[session]
            if viewer is not None and viewer.reference is not None:
                revoked[viewer.tenant_id][session] = viewer.reference
        erased = set[bytes]()
        for tenant_id, some in revoked.items():
            there = keys.record_keys(tenant_id, some.values())
            erased |= {session for session, reference in some.items() if reference not in there}
        return erased

    def _learn(self, connection: Connection, sessions: set[bytes]) -> None:
        if len(self._viewers) > _REMEMBERED:
            self._viewers.clear()
        new = sorted(sessions.difference(self._viewers))
        session, password, stream = tables.session.c, tables.password.c, tables.stream.c
        wanted = (
            select(
                session.id,
                session.tenant_id,
                session.stream_id,
                session.password_id,
                stream.name,
                password.revoked_at,
                password.reference,
            )
            .join(tables.password, password.id == session.password_id)
            .join(tables.stream, stream.id == session.stream_id)
            # One that many share is nobody's attendance.
            .where(password.shared.is_(False))
        )
        self._viewers |= dict.fromkeys(new)
        for begin in range(0, len(new), _AT_ONCE):
            these = wanted.where(session.id.in_(new[begin : begin + _AT_ONCE]))
            for row in connection.execute(these):
                self._viewers[row.id] = _Viewer(
                    row.tenant_id,
                    row.stream_id,
                    row.password_id,
                    Pieces.of_key(str(row.password_id)),
                    Pieces.of_session(row.id, row.name),
                    row.name,
                    None if row.revoked_at is None else row.reference,
                )

    def _piece(self, place: bytes) -> str:
        """What an event has of it. Raises `ValueError`."""
        found = self._places.get(place)
        if found is None:
            found = Pieces.of_place(place)
            if len(self._places) > _REMEMBERED:
                self._places.clear()
            self._places[place] = found
        return found

    def cursors(self) -> dict[int, int]:
        """The last batch of each worker that may have something more to tell."""
        cursor = tables.attendance_cursor.c
        wanted = select(cursor.worker, cursor.batch).where(~cursor.over)
        with self._database.reading() as connection:
            return {row.worker: row.batch for row in connection.execute(wanted)}

    def told_until(self, workers: Collection[int]) -> dict[int, int]:
        """Up to which instant what each of these has told is stored; without those of which nothing is."""
        cursor = tables.attendance_cursor.c
        wanted = select(cursor.worker, cursor.until).where(cursor.worker.in_(sorted(workers)))
        with self._database.reading() as connection:
            return {row.worker: row.until for row in connection.execute(wanted)}

    def stepped_back_from(self) -> int:
        """The greatest instant that an anchor had come to before it went back, as far as is known; else 0."""
        with self._database.reading() as connection:
            found = connection.scalar(select(func.max(tables.attendance_cursor.c.latest)))
        return found or 0

    def give_up(self, ends: Mapping[int, int], now: int) -> int:
        """Workers that tell nothing more, each with the instant when that was known: up to that it was an
        outage, from what may not have been acknowledged yet at their last word. Returns how many of them had
        anything to tell."""
        cursor = tables.attendance_cursor.c
        with self._database.writing() as connection:
            take_turn(connection)
            these = cursor.worker.in_(sorted(ends)), ~cursor.over
            wanted = select(cursor.worker, cursor.until, cursor.latest).where(*these)
            rows = connection.execute(wanted).all()
            told = []
            for row in rows:
                begin = max(0, row.until - _UNKNOWN_MS)
                end = max(ends[row.worker], row.until + 1, row.latest)
                told.append((begin, evidence.outage(begin, end)))
            for tenant_id in sorted(_attending(connection)) if told else ():
                log = Log.of(connection, tenant_id, now)
                log.add_incidents(told)
                log.finish()
            connection.execute(update(tables.attendance_cursor).where(*these).values(over=True))
            return len(rows)

    def forget_cursors(self, before: int) -> None:
        """Deletes those of workers that have told nothing since an instant in ms, and will not."""
        cursor = tables.attendance_cursor.c
        with self._database.writing() as connection:
            old = delete(tables.attendance_cursor).where(cursor.over, cursor.until < before)
            connection.execute(old)

    def forget_parts(self, before: int) -> None:
        """Deletes those of segments of which no other has come since an instant in ms."""
        with self._database.writing() as connection:
            old = delete(tables.attendance_part).where(tables.attendance_part.c.t < before)
            connection.execute(old)

    # Nodes

    def note_node(self, name: bytes, node: Node, now: int) -> None:
        """Says how a node records now, in Unix seconds; of its day the worst stays."""
        table = tables.attendance_node
        this = table.c.node == name, table.c.day == now * 1000 // DAY_MS
        with self._database.writing() as connection:
            take_turn(connection)
            row = connection.execute(select(table).where(*this)).one_or_none()
            worst = node if row is None else node.with_worst_of(_node(row))
            values = {
                "proxy": worst.proxy,
                "is_synchronised": worst.is_synchronised,
                "clock_error_ms": worst.clock_error_ms,
            }
            if row is None:
                key = {"node": name, "day": now * 1000 // DAY_MS}
                connection.execute(insert(table).values(key | values))
            elif worst != _node(row):
                connection.execute(update(table).where(*this).values(values))

    def nodes(self, begin: int, end: int) -> tuple[Node, ...]:
        """How the nodes have recorded that did so from an instant to before another, in ms, one each: what
        is the worst of those days (UTC)."""
        table = tables.attendance_node
        days = table.c.day.between(begin // DAY_MS, (end - 1) // DAY_MS)
        found = dict[bytes, Node]()
        with self._database.reading() as connection:
            for row in connection.execute(select(table).where(days)):
                node = _node(row)
                known = found.get(row.node)
                found[row.node] = node if known is None else known.with_worst_of(node)
        return tuple(sorted(found.values(), key=lambda each: sorted(each.told().items())))

    # Sealing

    def seal(self, keys: KeyStore, before: int, now: int) -> int:
        """Seals what the journal has from before an instant in ms; returns how many events these were.
        Those of passwords that were erased meanwhile are deleted."""
        return sum(
            self._seal(keys, tenant_id, groups[begin : begin + _SEALED_AT_ONCE], now)
            for tenant_id, groups in self._unsealed(before).items()
            for begin in range(0, len(groups), _SEALED_AT_ONCE)
        )

    def _unsealed(self, before: int) -> dict[int, list[_Group]]:
        """What is to be sealed, by tenant, as it lies in the journal."""
        column = tables.attendance_journal.c
        hour = column.t // HOUR_MS
        wanted = select(
            column.tenant_id, column.log_id, column.stream_id, column.password_id, hour
        ).where(column.t < before)
        found = defaultdict[int, list[_Group]](list)
        with self._database.reading() as connection:
            for tenant_id, *group in connection.execute(wanted.distinct()):
                found[tenant_id].append(_Group(*map(int, group)))
        return {id: sorted(groups, key=_lies_in) for id, groups in found.items()}

    def _seal(self, keys: KeyStore, tenant_id: int, groups: list[_Group], now: int) -> int:
        erased = self._erased(keys, tenant_id, {group.password_id for group in groups})
        made = keys.add_record_keys(tenant_id, len(groups), now)
        # By the numbers of what is sealed under them.
        kept: dict[int, bytes] = {}
        every, stored = {key.reference for key in made}, partial(self._there, tenant_id, kept)
        with keys.storing(self._database, tenant_id, every, stored, now) as connection:
            found = _open_events(connection, groups)
            for (group, events), key in zip(found.items(), made, strict=False):
                if group.password_id in erased:
                    continue
                id = secrets.randbelow(2**63 - 1) + 1
                place = Place(tenant_id, "attendance_sealed", id, "events")
                row = {
                    **group._asdict(),
                    "id": id,
                    "tenant_id": tenant_id,
                    "reference": key.reference,
                    "first": events[0][0],
                    "last": events[-1][0],
                    "sealed_events": seal(key.key, place, evidence.packed(events)),
                }
                connection.execute(insert(tables.attendance_sealed).values(row))
                kept[id] = key.reference
            _clear(connection, groups)
        if useless := every.difference(kept.values()):
            keys.erase(tenant_id, useless, now)
        return sum(map(len, found.values()))

    def _there(self, tenant_id: int, ids: Collection[int]) -> set[bytes]:
        """The references of those that are stored."""
        sealed = tables.attendance_sealed.c
        wanted = select(sealed.reference).where(
            sealed.tenant_id == tenant_id, sealed.id.in_(sorted(ids))
        )
        with self._database.reading() as connection:
            return set(connection.scalars(wanted))

    def _erased(self, keys: KeyStore, tenant_id: int, ids: Collection[int]) -> set[int]:
        """The passwords among these whose key was destroyed."""
        column = tables.password.c
        found: dict[int, bytes] = {}
        listed = sorted(ids)
        with self._database.reading() as connection:
            for begin in range(0, len(listed), _AT_ONCE):
                wanted = select(column.id, column.reference).where(
                    column.tenant_id == tenant_id, column.id.in_(listed[begin : begin + _AT_ONCE])
                )
                found |= {row.id: row.reference for row in connection.execute(wanted)}
        there = keys.record_keys(tenant_id, found.values())
        return {id for id, reference in found.items() if reference not in there}

    # Reading

    def events(
        self, keys: KeyStore, tenant_id: int, stream_id: int, since: int = FIRST, until: int = LAST
    ) -> Iterator[str]:
        """All that is known of a tenant's stream from one instant to another, as lines of an evidence
        file, incidents included; what was erased is none of it, nor what is restricted."""
        journal, sealed, incident = (
            tables.attendance_journal.c,
            tables.attendance_sealed.c,
            tables.attendance_incident.c,
        )
        hours = sealed.hour.between(since // HOUR_MS, until // HOUR_MS)
        with self._database.reading() as connection:
            open_ = connection.execute(
                select(journal.event)
                .where(journal.tenant_id == tenant_id, tables.in_shards())
                .where(journal.stream_id == stream_id)
                .where(journal.t >= since, journal.t < until, ~is_restricted(journal.password_id))
            ).all()
            closed = connection.execute(
                select(sealed.id, sealed.reference, sealed.sealed_events)
                .where(sealed.tenant_id == tenant_id, sealed.stream_id == stream_id, hours)
                .where(~is_restricted(sealed.password_id))
                .order_by(sealed.id)
            ).all()
            # An outage is known by its beginning, and may reach into what is asked for.
            befell = connection.execute(
                select(incident.event)
                .where(incident.tenant_id == tenant_id, incident.t < until)
                .order_by(incident.log_id, incident.number)
            ).all()
        yield from (row.event for row in befell)
        yield from (row.event for row in open_)
        for _, text in opened(keys, tenant_id, closed):
            yield from _within(text, since, until)

    def first_sealed(
        self, tenant_id: int, stream_ids: Collection[int], since: int, until: int
    ) -> int | None:
        """The beginning of the first hour of which something of these streams is sealed, of those from the
        one of an instant to that of another, in ms."""
        sealed, found = tables.attendance_sealed.c, set[int]()
        hours = sealed.hour.between(since // HOUR_MS, until // HOUR_MS)
        with self._database.reading() as connection:
            for id in sorted(stream_ids):
                # One by one, so that an index has the first.
                of = sealed.tenant_id == tenant_id, sealed.stream_id == id, hours
                wanted = select(sealed.hour).where(*of).order_by(sealed.hour).limit(1)
                found |= set(connection.scalars(wanted))
        return min(found) * HOUR_MS if found else None

    def rows(
        self,
        keys: KeyStore,
        tenant_id: int,
        stream_ids: Collection[int],
        options: Options,
        password_ids: Collection[int] | None = None,
        *,
        since: int = FIRST,
        until: int = LAST,
    ) -> list[dict[str, Any]]:
        """What `replay` computes of the events of a tenant's streams from one instant to another, of some
        passwords, or of all whose data is not restricted. It costs what is new since the last call."""
        folds = Folds(self._database, keys, tenant_id, stream_ids, options, (since, until))
        return folds.rows(password_ids)

    def outages(self, tenant_id: int, since: int) -> list[tuple[int, int]]:
        """Those of which a tenant's log knows and that began then or later."""
        incident = tables.attendance_incident.c
        wanted = select(incident.event).where(incident.tenant_id == tenant_id, incident.t >= since)
        with self._database.reading() as connection:
            found = [json.loads(event) for event in connection.scalars(wanted)]
        return sorted((each["t0"], each["t1"]) for each in found if each["kind"] == "outage")

    # Erasing

    def references(self, tenant_id: int, password_ids: Collection[int]) -> tuple[bytes, ...]:
        """Of the keys under which a tenant's passwords have sealed events."""
        sealed = tables.attendance_sealed.c
        found: list[bytes] = []
        listed = sorted(password_ids)
        with self._database.reading() as connection:
            for begin in range(0, len(listed), _AT_ONCE):
                these = sealed.password_id.in_(listed[begin : begin + _AT_ONCE])
                wanted = select(sealed.reference).where(sealed.tenant_id == tenant_id, these)
                found.extend(connection.scalars(wanted))
        return tuple(found)

    def forget_open(self, tenant_id: int, password_ids: Collection[int]) -> None:
        """Deletes events of a tenant's passwords that are not sealed yet, and what was computed of them.
        Their leaves stay."""
        listed = sorted(password_ids)
        with self._database.writing() as connection:
            # Who seals meanwhile has done so, or finds nothing.
            take_turn(connection)
            for begin in range(0, len(listed), _AT_ONCE):
                some = listed[begin : begin + _AT_ONCE]
                for table in (
                    tables.attendance_journal,
                    tables.attendance_part,
                    tables.attendance_fold,
                ):
                    these = table.c.tenant_id == tenant_id, table.c.password_id.in_(some)
                    connection.execute(delete(table).where(*these))

    def old(self, which: ColumnElement[bool]) -> dict[int, list[bytes]]:
        """Some keys of sealed events of which that is true, by tenant."""
        sealed = tables.attendance_sealed.c
        wanted = select(sealed.tenant_id, sealed.reference).where(which)
        found = defaultdict[int, list[bytes]](list)
        with self._database.reading() as connection:
            for row in connection.execute(wanted.limit(_AT_ONCE)):
                found[row.tenant_id].append(row.reference)
        return found

    def forget_sealed(self, tenant_id: int, references: Collection[bytes]) -> None:
        """Deletes what was sealed under keys that are destroyed, and what was computed of it. Its leaves
        stay."""
        sealed, fold = tables.attendance_sealed.c, tables.attendance_fold.c
        listed = sorted(references)
        with self._database.writing() as connection:
            take_turn(connection)
            for begin in range(0, len(listed), _AT_ONCE):
                some = sealed.reference.in_(listed[begin : begin + _AT_ONCE])
                these = sealed.tenant_id == tenant_id, some
                for id in connection.scalars(
                    select(sealed.password_id).where(*these).distinct()
                ).all():
                    made = fold.tenant_id == tenant_id, fold.password_id == id
                    connection.execute(delete(tables.attendance_fold).where(*made))
                connection.execute(delete(tables.attendance_sealed).where(*these))


# The journal


def _lies_in(group: _Group) -> tuple[int, ...]:
    return (*_place_of(group), group.password_id)


def _place_of(group: _Group) -> tuple[int, int, int, int]:
    return group.log_id, group.stream_id, group.hour, tables.shard(group.password_id)


def _hours(
    connection: Connection, groups: Iterable[_Group]
) -> Iterator[tuple[dict[int, _Group], dict[str, Any]]]:
    """By passwords, those that lie together, and what `_of_hour` is told of them."""
    for (log_id, stream_id, hour, shard), some in groupby(groups, _place_of):
        of = {group.password_id: group for group in some}
        yield (
            of,
            {
                "this_log_id": log_id,
                "this_stream_id": stream_id,
                "this_shard": shard,
                "begin": hour * HOUR_MS,
                "end": (hour + 1) * HOUR_MS,
                "password_ids": numbers(connection, list(of)),
            },
        )


def _open_events(
    connection: Connection, groups: Sequence[_Group]
) -> dict[_Group, list[tuple[int, bytes, str]]]:
    """Those that are not sealed yet, with their numbers and salts, of groups of which there are any."""
    found = defaultdict[_Group, list[tuple[int, bytes, str]]](list)
    for of, hour in _hours(connection, groups):
        for id, number, salt, event in _READ_HOUR.rows(connection, hour):
            found[of[id]].append((number, salt, event))
    return found


def _clear(connection: Connection, groups: Sequence[_Group]) -> None:
    """Deletes what the journal has of them."""
    for _, hour in _hours(connection, groups):
        _CLEAR_HOUR.run(connection, [hour])


class Log:
    """A tenant's log, in a transaction that writes."""

    def __init__(self, connection: Connection, tenant_id: int, id: int, size: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._id = id
        self._first = self._size = size
        self._leaves: list[bytes] = []

    @classmethod
    def of(cls, connection: Connection, tenant_id: int, now: int) -> Log:
        """The one that is written to; the first event begins it."""
        found = _NEWEST_LOG.rows(connection, {"tenant_id": tenant_id})
        if not found:
            row = {"tenant_id": tenant_id, "size": 0, "begun_at": now}
            connection.execute(insert(tables.attendance_log).values(row))
            found = _NEWEST_LOG.rows(connection, {"tenant_id": tenant_id})
        ((id, size),) = found
        return cls(connection, tenant_id, id, size)

    def add_events(self, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        salts = secrets.token_bytes(SALT_LENGTH * len(rows))
        values = [
            {
                "shard": tables.shard(viewer.password_id),
                "log_id": self._id,
                "number": self._size + n,
                "tenant_id": self._tenant_id,
                "stream_id": viewer.stream_id,
                "password_id": viewer.password_id,
                "t": t,
                "salt": salts[n * SALT_LENGTH : (n + 1) * SALT_LENGTH],
                "event": event,
            }
            for n, (viewer, t, event) in enumerate(rows)
        ]
        self._leaves.append(leaf_hashes(salts, [row.event.encode() for row in rows]))
        self._size += len(rows)
        _INTO_JOURNAL.run(self._connection, values)

    def add_incidents(self, told: Sequence[tuple[int, str]]) -> None:
        for t, event in told:
            salt = secrets.token_bytes(SALT_LENGTH)
            row = {
                "log_id": self._id,
                "number": self._size,
                "tenant_id": self._tenant_id,
                "t": t,
                "salt": salt,
                "event": event,
            }
            self._connection.execute(insert(tables.attendance_incident).values(row))
            self._leaves.append(leaf_hashes(salt, [event.encode()]))
            self._size += 1

    def finish(self) -> None:
        if not self._leaves:
            return
        row = {
            "log_id": self._id,
            "first": self._first,
            "tenant_id": self._tenant_id,
            "hashes": b"".join(self._leaves),
        }
        _INTO_LEAVES.run(self._connection, [row])
        _GROWN.run(self._connection, [{"this": self._id, "new_size": self._size}])


def _unread(
    connection: Connection, batches: Sequence[Batch], begun: Mapping[int, int]
) -> tuple[list[Batch], list[tuple[int, int]]]:
    """Those that were not stored before, and spans of which a worker had to give up what it knew."""
    workers = sorted({batch.worker for batch in batches})
    found = _TOLD_BY.rows(connection, {"workers": numbers(connection, workers)})
    last = {worker: (batch, until) for worker, batch, until in found}
    fresh, gaps = [], []
    for batch in sorted(batches, key=lambda each: (each.worker, each.number)):
        if batch.worker in last:
            number, until = last[batch.worker]
            if batch.number <= number:
                continue
            if batch.number > number + 1 and batch.since > until:
                gaps.append((until, batch.since))
        elif batch.number > 1 and begun.get(batch.worker, batch.since + 1) <= batch.since:
            # One that is back after a day has begun later than that.
            since = begun[batch.worker]
            gaps.append((since, max(batch.since, since + 1)))
        last[batch.worker] = batch.number, batch.until
        fresh.append(batch)
    return fresh, gaps


def _note(connection: Connection, batches: Iterable[Batch]) -> None:
    """How far workers have told."""
    for worker, batch in {batch.worker: batch for batch in batches}.items():
        told = {"batch": batch.number, "until": batch.until, "over": batch.last}
        further = {"this": worker, **{f"new_{name}": value for name, value in told.items()}}
        if not _FURTHER.run(connection, [further]):
            _NEW_CURSOR.run(connection, [{"worker": worker, **told}])


def _attending(connection: Connection) -> set[int]:
    """Tenants who have attendance recorded."""
    stream, tenant = tables.stream.c, tables.tenant.c
    wanted = (
        select(stream.tenant_id)
        .join(tables.tenant, tenant.id == stream.tenant_id)
        .where(stream.attendance, stream.removed_at.is_(None), tenant.attendance_purpose != "")
    )
    return set(connection.scalars(wanted.distinct()))


def _within(text: bytes, since: int, until: int) -> Iterator[str]:
    for _, _, event in evidence.unpacked(text):
        if since <= evidence.instant(event) < until:
            yield event


def _node(row: Row[Any]) -> Node:
    return Node(row.proxy, row.is_synchronised, row.clock_error_ms)
