"""Incidents in the store: what was attacked, what is sealed of its sources, and who has had it in hand.

They are the node's, and no tenant's. Each has a key of its own in the key store (under the number 0, which no
tenant has), so shredding is destroying a key. Triggers of the database refuse to change a batch of events or
an entry of custody.

Several nodes may share a store: of each kind one incident is open at a time, and whoever is attacked in the
same way joins it.

**A hold** wants two persons: one asks for it, with a reason and an end, another one confirms it. Until then,
events go when their time comes. It has an end within a year, and is asked for anew where that is not enough.
That it ends before is the two persons' as well: else one alone could have evidence destroyed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from pystream.acl.audit import check_who
from pystream.acl.incidents import (
    LONGEST_S,
    Contents,
    Custody,
    Event,
    Hold,
    Incident,
    Kind,
    Scope,
    batch,
    custody_digest,
    events_of,
    moment,
)
from pystream.acl.passwords import problems_of_moment
from pystream.acl.retention import DAY_S
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.errors import InUse, InvalidValue, NotFound

NODE: Final = 0
"""Whose keys they are: of no tenant."""
MOST_EVENTS: Final = 200_000
"""Of one incident: what is beyond is counted alone."""
LONGEST_HOLD_DAYS: Final = 366
SERVER: Final = "pystream"
"""Who did what no person has."""
_TABLE, _COLUMN = "incident_event", "events"


class IncidentList:
    """What of a store tells of incidents without their sources, and takes no key. Methods raise `StoreError`
    as the store does, and `NotFound` for an incident that is none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self, most: int = 100, *, open_only: bool = False) -> tuple[Incident, ...]:
        """The newest first."""
        incident = tables.incident
        wanted = select(incident).order_by(incident.c.id.desc()).limit(most)
        if open_only:
            wanted = wanted.where(incident.c.closed_at.is_(None))
        with self._database.reading() as connection:
            return tuple(map(_incident, connection.execute(wanted).mappings()))

    def incident(self, id: int) -> Incident:
        with self._database.reading() as connection:
            return _incident(_row(connection, id))

    def custody(self, id: int) -> tuple[Custody, ...]:
        """Who has had it in hand, the first one first."""
        with self._database.reading() as connection:
            _row(connection, id)
            return _custody(connection, id)


class IncidentStore(IncidentList):
    """The part of two opened stores that has incidents. Methods raise `SealError` and `MasterKeyError` as the
    key store does, too."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        super().__init__(database)
        self._keys = keys

    # The node's

    def open(self, kind: Kind, rule: str, scope: Scope, *, dry_run: bool, now: int) -> Incident:
        """Opens an incident, or joins the one of its kind that is open."""
        with self._database.reading() as connection:
            found = _open_one(connection, kind)
        if found is not None:
            return _incident(found)
        (key,) = self._keys.add_record_keys(NODE, 1, now)
        is_used = False
        try:
            with self._database.writing() as connection:
                take_turn(connection)
                found = _open_one(connection, kind)
                if found is None:
                    row = {
                        "kind": str(kind),
                        "rule": rule,
                        "scope": str(scope),
                        "dry_run": dry_run,
                        "opened_at": now,
                        "last_at": now,
                        "reference": key.reference,
                        **dict.fromkeys(("sources", "events", "left_out"), 0),
                    }
                    made = connection.execute(insert(tables.incident).values(row))
                    assert made.inserted_primary_key is not None
                    id = made.inserted_primary_key[0]
                    _note(connection, id, SERVER, "opened", rule, now)
                    found = _row(connection, id)
                    is_used = True
        finally:
            if not is_used:
                self._keys.erase(NODE, [key.reference], now, missing_ok=True)
        return _incident(found)

    def add(self, id: int, events: Sequence[Event], *, sources: int, now: int) -> Incident:
        """Seals what some sources have done; `sources` is how many there were in all. Nothing is kept of an
        incident that is closed."""
        with self._database.reading() as connection:
            reference = _row(connection, id)["reference"]
        key = self._keys.record_key(NODE, reference)
        with self._database.writing() as connection:
            take_turn(connection)
            row = _row(connection, id)
            if row["closed_at"] is not None:
                return _incident(row)
            kept = events[: max(0, MOST_EVENTS - row["events"])]
            event, incident = tables.incident_event, tables.incident
            if kept:
                last = (
                    select(event.c.number, event.c.digest)
                    .where(event.c.incident_id == id)
                    .order_by(event.c.number.desc())
                    .limit(1)
                )
                before, previous = connection.execute(last).one_or_none() or (0, "")
                text, digest = batch(kept, previous)
                sealed = seal(key, _place(id, before + 1), text)
                about = {"incident_id": id, "number": before + 1, "at": now, "digest": digest}
                connection.execute(insert(event).values(about | {"sealed_events": sealed}))
            counts = {
                "last_at": max(row["last_at"], now),
                "sources": max(row["sources"], sources),
                "events": row["events"] + len(kept),
                "left_out": row["left_out"] + len(events) - len(kept),
            }
            connection.execute(update(incident).where(incident.c.id == id).values(counts))
            return _incident(_row(connection, id))

    def note(self, id: int, action: str, detail: str, *, who: str = SERVER, now: int) -> None:
        """Puts on the incident's record what was done, without any address."""
        check_who(who)
        with self._database.writing() as connection:
            take_turn(connection)
            _row(connection, id)
            _note(connection, id, who, action, detail, now)

    def close(self, id: int, detail: str = "", *, who: str = SERVER, now: int) -> Incident:
        """Closes an incident; one that is closed stays as it is."""
        check_who(who)
        incident = tables.incident
        with self._database.writing() as connection:
            take_turn(connection)
            if _row(connection, id)["closed_at"] is None:
                these = incident.c.id == id
                connection.execute(update(incident).where(these).values(closed_at=now))
                _note(connection, id, who, "closed", detail, now)
            return _incident(_row(connection, id))

    def close_quiet(self, quiet_s: int, now: int) -> tuple[Incident, ...]:
        """Closes those of which nothing was heard for so long, and those that have lasted for a day."""
        incident = tables.incident.c
        over = or_(incident.last_at <= now - quiet_s, incident.opened_at <= now - LONGEST_S)
        wanted = select(incident.id).where(incident.closed_at.is_(None), over)
        with self._database.reading() as connection:
            ids = list(connection.scalars(wanted))
        return tuple(self.close(id, "nothing more was heard of it", now=now) for id in ids)

    # Anybody's of the operator

    def events(self, id: int, *, who: str, now: int) -> list[Event]:
        """The sources and what they did, which is put on record. Raises `NotFound` where they are
        shredded."""
        check_who(who)
        batches = self._batches(id)
        self.note(id, "shown", "", who=who, now=now)
        return [event for text in batches for event in events_of(text)]

    def contents(self, id: int, *, who: str, now: int) -> Contents:
        """All that a package tells; that it is made is the last entry of its custody. Raises `NotFound` where
        the events are shredded."""
        check_who(who)
        batches = self._batches(id)
        with self._database.writing() as connection:
            take_turn(connection)
            incident = _incident(_row(connection, id))
            _note(connection, id, who, "exported", f"{len(batches)} batches", now)
            return Contents(incident, batches, _custody(connection, id))

    def _batches(self, id: int) -> list[bytes]:
        event = tables.incident_event
        wanted = select(event).where(event.c.incident_id == id).order_by(event.c.number)
        with self._database.reading() as connection:
            row = _row(connection, id)
            batches = connection.execute(wanted).mappings().all()
        if row["shredded_at"] is not None:
            raise NotFound(f"the sources of incident {id} are shredded")
        key = self._keys.record_key(NODE, row["reference"])
        return [unseal(key, _place(id, each["number"]), each["sealed_events"]) for each in batches]

    # Holds

    def ask_to_hold(self, id: int, until: int, reason: str, *, who: str, now: int) -> Incident:
        """Asks that events be kept, which another person has to confirm; a hold that is there stands until
        then. Raises `InvalidValue`."""
        check_who(who)
        _check_hold(until, reason, now)
        held = {"asked_until": until, "asked_reason": reason, "asked_by": who}
        detail = f"{reason} (until {moment(until)})"
        return self._set_hold(id, held, who, "hold asked for", detail, now)

    def ask_to_release(self, id: int, reason: str, *, who: str, now: int) -> Incident:
        """Asks that a hold end at once, which another person has to confirm. Raises `InvalidValue`."""
        check_who(who)
        if wrong := list(_problems_of_reason(reason)):
            raise InvalidValue(*wrong)
        with self._database.reading() as connection:
            row = _row(connection, id)
        if row["hold_by"] is None or row["hold_until"] <= now:
            raise InvalidValue(f"incident {id} is not held")
        asked = {"asked_until": None, "asked_reason": reason, "asked_by": who}
        return self._set_hold(id, asked, who, "end asked for", reason, now, row)

    def confirm(self, id: int, *, who: str, now: int) -> Incident:
        """The second person's. Raises `InvalidValue` where it is the first one, or nothing was asked for."""
        check_who(who)
        with self._database.reading() as connection:
            row = _row(connection, id)
        until = row["asked_until"]
        if row["asked_by"] is None or (until is not None and until <= now):
            raise InvalidValue(f"nobody has asked to hold incident {id}, or to end that")
        if row["asked_by"] == who:
            raise InvalidValue(f"another person than {who} has to confirm it")
        none = dict.fromkeys(_ASKED)
        if until is None:
            ended = none | dict.fromkeys(_HOLD)
            return self._set_hold(id, ended, who, "hold ended", "", now, row)
        held = {name.replace("asked", "hold"): row[name] for name in _ASKED}
        held |= {"hold_second": who} | none
        return self._set_hold(id, held, who, "hold confirmed", "", now, row)

    def withdraw(self, id: int, *, who: str, now: int) -> Incident:
        """Takes back what was asked for. Raises `InvalidValue` where nothing was."""
        check_who(who)
        with self._database.reading() as connection:
            row = _row(connection, id)
        if row["asked_by"] is None:
            raise InvalidValue(f"nobody has asked to hold incident {id}, or to end that")
        action = "end not asked for" if row["asked_until"] is None else "hold not asked for"
        return self._set_hold(id, dict.fromkeys(_ASKED), who, action, "", now, row)

    def _set_hold(
        self,
        id: int,
        values: dict[str, Any],
        who: str,
        action: str,
        detail: str,
        now: int,
        seen: RowMapping | None = None,
    ) -> Incident:
        incident = tables.incident
        with self._database.writing() as connection:
            take_turn(connection)
            row = _row(connection, id)
            if row["shredded_at"] is not None:
                raise NotFound(f"the sources of incident {id} are shredded")
            if seen is not None and any(row[name] != seen[name] for name in (*_HOLD, *_ASKED)):
                raise InUse(f"the hold of incident {id} was changed meanwhile; look at it again")
            connection.execute(update(incident).where(incident.c.id == id).values(values))
            _note(connection, id, who, action, detail, now)
            return _incident(_row(connection, id))

    # Retention

    def old(self, before: int, now: int) -> list[int]:
        """Those opened before a time whose events are still there, and that nobody holds."""
        with self._database.reading() as connection:
            return list(connection.scalars(_old(before, now)))

    def shred(self, before: int, now: int) -> int:
        """Destroys the keys of those that are `old`, and deletes their events; returns how many incidents
        these were. What else is known of them stays."""
        return sum(self._shred(id, before, now) for id in self.old(before, now))

    def _shred(self, id: int, before: int, now: int) -> bool:
        event, incident = tables.incident_event, tables.incident
        with self._database.writing() as connection:
            take_turn(connection)
            if not list(connection.scalars(_old(before, now).where(incident.c.id == id))):
                # A hold was confirmed meanwhile. From here on, none is.
                return False
            row = _row(connection, id)
            done: dict[str, Any] = {"shredded_at": now}
            if row["closed_at"] is None:
                done["closed_at"] = now
            connection.execute(update(incident).where(incident.c.id == id).values(done))
        self._keys.erase(NODE, [row["reference"]], now, missing_ok=True)
        # Who is killed before this does all of it again.
        with self._database.writing() as connection:
            take_turn(connection)
            connection.execute(delete(event).where(event.c.incident_id == id))
            _note(connection, id, SERVER, "shredded", f"{row['events']} events", now)
        return True

    def forgotten(self, before: int) -> list[int]:
        """Those that are shredded and were opened before a time."""
        incident = tables.incident.c
        wanted = select(incident.id).where(
            incident.opened_at < before, incident.shredded_at.is_not(None)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(wanted))

    def forget(self, ids: Collection[int]) -> None:
        """Deletes all that is left of incidents that are shredded."""
        custody, incident = tables.incident_custody, tables.incident
        with self._database.writing() as connection:
            connection.execute(delete(custody).where(custody.c.incident_id.in_(ids)))
            connection.execute(delete(incident).where(incident.c.id.in_(ids)))


def _old(before: int, now: int) -> Select[tuple[int]]:
    incident, event = tables.incident.c, tables.incident_event.c
    held = and_(incident.hold_second.is_not(None), incident.hold_until > now)
    there = or_(incident.shredded_at.is_(None), exists().where(event.incident_id == incident.id))
    wanted = select(incident.id).where(
        incident.opened_at < before, there, ~func.coalesce(held, False)
    )
    return wanted.order_by(incident.id)


_HOLD = ("hold_until", "hold_reason", "hold_by", "hold_second")
_ASKED = ("asked_until", "asked_reason", "asked_by")


def _check_hold(until: int, reason: str, now: int) -> None:
    wrong: list[str] = list(problems_of_moment("until", until))
    if until <= now:
        wrong = ["until: this is not in the future"]
    elif until > now + LONGEST_HOLD_DAYS * DAY_S:
        wrong = [
            f"until: this is more than {LONGEST_HOLD_DAYS} days ahead; ask again before a hold ends"
        ]
    wrong += _problems_of_reason(reason)
    if wrong:
        raise InvalidValue(*wrong)


def _problems_of_reason(reason: str) -> Iterator[str]:
    if not reason.strip() or len(reason) > 500 or not reason.isprintable():
        yield "reason: 1 to 500 characters are wanted, and no line ends"


def _open_one(connection: Connection, kind: Kind) -> RowMapping | None:
    incident = tables.incident
    wanted = select(incident).where(incident.c.kind == str(kind), incident.c.closed_at.is_(None))
    return connection.execute(wanted.order_by(incident.c.id.desc()).limit(1)).mappings().first()


def _row(connection: Connection, id: int) -> RowMapping:
    wanted = select(tables.incident).where(tables.incident.c.id == id)
    found = connection.execute(wanted).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no incident {id}")
    return found


def _incident(row: RowMapping) -> Incident:
    hold = asked = None
    if row["hold_by"] is not None:
        hold = _hold(row, "hold", row["hold_second"])
    if row["asked_by"] is not None:
        asked = _hold(row, "asked", None)
    same = ("id", "rule", "dry_run", "opened_at", "last_at", "closed_at", "shredded_at")
    counts = ("sources", "events", "left_out")
    return Incident(
        kind=Kind(row["kind"]),
        scope=Scope(row["scope"]),
        hold=hold,
        asked=asked,
        **{name: row[name] for name in (*same, *counts)},
    )


def _hold(row: RowMapping, which: str, confirmed_by: str | None) -> Hold:
    until, reason, by = (row[f"{which}_{name}"] for name in ("until", "reason", "by"))
    return Hold(until=until, reason=reason, by=by, confirmed_by=confirmed_by)


def _place(id: int, number: int) -> Place:
    return Place(NODE, _TABLE, id.to_bytes(8) + number.to_bytes(8), _COLUMN)


def _custody(connection: Connection, id: int) -> tuple[Custody, ...]:
    custody = tables.incident_custody
    wanted = select(custody).where(custody.c.incident_id == id).order_by(custody.c.number)
    return tuple(
        Custody(*(row[name] for name in ("number", "at", "who", "action", "detail", "digest")))
        for row in connection.execute(wanted).mappings()
    )


def _note(connection: Connection, id: int, who: str, action: str, detail: str, now: int) -> None:
    """Within a turn."""
    custody = tables.incident_custody
    last = select(custody.c.number, custody.c.digest).where(custody.c.incident_id == id)
    last = last.order_by(custody.c.number.desc()).limit(1)
    before, previous = connection.execute(last).one_or_none() or (0, "")
    entry = {"number": before + 1, "at": now, "who": who, "action": action, "detail": detail}
    row = {"incident_id": id, **entry, "digest": custody_digest(entry, previous)}
    connection.execute(insert(custody).values(row))
