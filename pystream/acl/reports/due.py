"""What is to be sealed by the server itself: reports whose time has come, and that nobody has sealed.

**Of what.** Of each event; and of each civil day of a stream, in its tenant's zone, of which something is
recorded, unless an event has the stream on that whole day: then its report says the same. A stream that was
removed is its tenant's no more, except in an event.

**When.** An hour after the moment from which on anybody may seal it, for what comes late. What of its days
is gone by then would be in no report, and nobody could tell: so no run of retention may have taken any of
it, nor does it come back where days are kept for longer from then on. An event that is longer than its
evidence is kept is not sealed without somebody who knows that; the days of its streams are, each by itself.
What would be too old by now to be kept is not sealed: so nothing comes back that retention has deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from pystream.acl.reports.making import Wanted
from pystream.acl.retention import DAY_S, DataClass, Rules
from pystream.acl.store import Store
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.notary import Notary
from pystream.acl.store.retaining import Cut, ProofLog
from pystream.acl.store.sealed_reports import SealedReports, Subject
from pystream.acl.streams import Stream, Tenant, rules_of
from pystream.attendance.programmes import days, midnights, united, zone

WHO = "pystream"
"""Who has sealed them, on record."""

# So long workers keep what no writer takes from them; and minutes, in which it is stored.
_LATE_S = 3600 + 300
# A day can be sealed so long after it has begun, on the longest one.
_LONGEST_S = 3 * DAY_S


@dataclass(frozen=True, slots=True)
class _Attended:
    """An event, the instants of its civil days (ms), and when its last version was made, in Unix seconds."""

    wanted: Wanted
    spans: list[tuple[int, int]]
    sealed_at: int | None

    def has(self, begin: int, end: int, left_from: int, kept_s: int) -> bool:
        """Whether its report says what there is to say of these instants, or will, where from an instant on
        all events are there."""
        if not any(first <= begin and end <= last for first, last in self.spans):
            return False
        if self.sealed_at is not None:
            return self.sealed_at * 1000 >= end
        first = self.spans[0][0]
        # Before the first of what it rests on goes.
        return left_from <= first and self.wanted.sealable_from + DAY_S <= first // 1000 + kept_s


class Finder:
    """Methods raise `StoreError` as the two stores do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self.store = store
        self.sealed = SealedReports(store.database, keys)
        self._notary = Notary(store.database, keys)
        self._proofs = ProofLog(store.database)
        self._cuts: list[Cut] = []

    def due(self, rules: Rules, now: int, since: int = 0) -> Iterator[Wanted]:
        """Of all tenants, what can be sealed since that moment or a later one; events first."""
        self._learn_cuts()
        recorded = self._notary.heads()
        for tenant in self.store.tenants():
            if tenant.id in recorded:
                yield from _OfTenant(self, tenant, rules, now, since).due()

    def left_from(self, tenant_id: int) -> int:
        """From when on a tenant's events are all there, in Unix seconds."""
        return max((cut.of(tenant_id) for cut in self._cuts), default=0)

    def _learn_cuts(self) -> None:
        last = self._cuts[-1].proof_id if self._cuts else 0
        for cut in self._proofs.cuts(last):
            # Mostly each run has taken what those before it have, and more.
            self._cuts = [each for each in self._cuts if not cut.covers(each)] + [cut]


class _OfTenant:
    """What is due of one of them."""

    def __init__(self, of: Finder, tenant: Tenant, rules: Rules, now: int, since: int) -> None:
        self._of = of
        self._tenant = tenant
        self._rules = rules_of(rules, tenant.settings)
        self._since = since
        self._now = now
        self._left_from = of.left_from(tenant.id) * 1000
        self._events = self._attended()
        self._streams_of = cache(of.store.events.stream_ids)

    def due(self) -> Iterator[Wanted]:
        for each in self._events:
            first, last = each.spans[0][0], each.spans[-1][1]
            if (
                each.sealed_at is None
                and self._is_due(each.wanted)
                and first >= self._left_from
                and self._recorded(self._streams(each), first, last) is not None
            ):
                yield each.wanted
        for stream in self._of.store.streams(self._tenant.name):
            yield from self._days(stream)

    def _days(self, stream: Stream) -> Iterator[Wanted]:
        found, timezone = [], self._tenant.settings.timezone
        begin = max(0, self._left_from, (self._since - _LONGEST_S) * 1000)
        while (at := self._recorded([stream.id], begin, self._now * 1000)) is not None:
            # An hour may be of two days.
            at = max(at, begin)
            day = datetime.fromtimestamp(at / 1000, zone(timezone)).date().isoformat()
            first, begin = midnights(day, day, timezone)
            wanted = Wanted(self._tenant, stream, day)
            if (
                first >= self._left_from
                and self._is_due(wanted)
                and not self._is_in_an_event(stream, first, begin)
            ):
                found.append(wanted)
        sealed = self._of.sealed.sealed_at(self._tenant.id, [each.subject for each in found])
        yield from (each for each in found if each.subject not in sealed)

    def _is_due(self, wanted: Wanted) -> bool:
        is_daily = wanted.stream_id is not None
        data = DataClass.ATTENDANCE_DAILY_REPORTS if is_daily else DataClass.ATTENDANCE_REPORTS
        from_, kept_s = wanted.sealable_from, self._kept_s(data)
        return self._since <= from_ <= self._now - _LATE_S and self._now < from_ + kept_s

    def _is_in_an_event(self, stream: Stream, begin: int, end: int) -> bool:
        kept_s = self._kept_s(DataClass.ATTENDANCE)
        return any(
            each.has(begin, end, self._left_from, kept_s) and stream.id in self._streams(each)
            for each in self._events
        )

    def _streams(self, each: _Attended) -> tuple[int, ...]:
        return self._streams_of(self._tenant.id, each.wanted.of.name)

    def _recorded(self, stream_ids: Collection[int], begin: int, end: int) -> int | None:
        """The first hour of which something is sealed, from one instant to another, in ms."""
        attendance = self._of.store.viewers.attendance
        return attendance.first_sealed(self._tenant.id, stream_ids, begin, end)

    def _kept_s(self, data: DataClass) -> int:
        return (self._rules.days(data) or 0) * DAY_S

    def _attended(self) -> list[_Attended]:
        events = self._of.store.events.listed(self._tenant.id)
        subjects = {event.id: Subject(event_id=event.id) for event in events}
        sealed = self._of.sealed.sealed_at(self._tenant.id, subjects.values())
        found = []
        for event in events:
            timezone = event.settings.timezone
            touched = days(event.settings.windows, timezone)
            spans = united([midnights(day, day, timezone) for day in touched])
            wanted = Wanted(self._tenant, event)
            found.append(_Attended(wanted, spans, sealed.get(subjects[event.id])))
        return found
