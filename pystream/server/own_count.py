"""What viewers see of their own attendance: asked for by their pages, computed for many at a time.

A page asks twice a minute. What was computed lately is the answer; whose was not waits for the next batch,
which takes all that wait together, so each row is read once, however often somebody asks. After a batch
there is a rest of nine times as long as it took: it takes a tenth of one processor at most, whatever is
asked, and where that does not suffice, answers come later, or whoever asks is told to come again.

A session says whose count it is, and there is no other way to name anybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import trio

from pystream import _core
from pystream.acl import counting
from pystream.acl.store import Store
from pystream.acl.store.keystore import KeyStore
from pystream.acl.streams import Stream, Tenant
from pystream.attendance.options import Options
from pystream.attendance.own_count import Goal, told
from pystream.attendance.programmes import Event, zone
from pystream.server import log
from pystream.server.http import HttpError

POLL_SECONDS = 30
_FRESH_SECONDS = 10.0
_GATHER_SECONDS = 0.5
_PATIENCE_SECONDS = 8.0
_REST = 9
_AT_ONCE = 500
_DAY_MS = 86_400_000


class Whose(NamedTuple):
    """A stream's id and a password's."""

    stream_id: int
    password_id: int


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is counted together, and towards what. `stream`, `day`: which row it is, None for the union of all
    streams, and the programme."""

    stream_ids: tuple[int, ...]
    options: Options
    goal: Goal
    stream: str | None
    day: str | None


class Counting:
    """Computes them from two opened stores. Methods raise `StoreError` as these do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._keys = keys

    def counts(self, wanted: Mapping[Whose, Stream], now: int) -> dict[Whose, dict[str, Any]]:
        """Of passwords on streams, at an instant in ms."""
        streams = {stream.id: stream for stream in wanted.values()}
        tenants = {each.id: each for each in self._store.tenants()}
        events = dict[int, tuple[Event, ...]]()
        found = dict[Whose, dict[str, Any]]()
        for stream in streams.values():
            tenant = tenants.get(stream.tenant_id)
            if tenant is None:
                continue
            if tenant.id not in events:
                events[tenant.id] = self._store.events.listed(tenant.id)
            ids = sorted(each.password_id for each in wanted if each.stream_id == stream.id)
            subject = self._subject(stream, tenant, events[tenant.id], now)
            rows = self._rows(tenant.id, subject, ids)
            outages = self._store.viewers.attendance.outages(tenant.id, now - _DAY_MS)
            for id in ids:
                row = rows.get(str(id))
                found[Whose(stream.id, id)] = told(row, subject.goal, outages, now)
        return found

    async def compute(
        self, wanted: Mapping[Whose, Stream], now: int
    ) -> dict[Whose, dict[str, Any]]:
        """The same, in a thread."""
        return await trio.to_thread.run_sync(self.counts, wanted, now)

    def _subject(
        self, stream: Stream, tenant: Tenant, events: Iterable[Event], now: int
    ) -> _Subject:
        """The event that goes on, or the nearest one of these hours; else the day of the stream."""
        mine = [each for each in events if stream.name in each.settings.streams]
        goals = [(each, Goal.of(each.settings)) for each in mine]
        near = [each for each in goals if each[1].is_near(now)]
        if not near:
            options = counting.of_stream(stream, tenant)
            day = datetime.fromtimestamp(now / 1000, zone(options.timezone)).date()
            return _Subject((stream.id,), options, Goal(), stream.name, day.isoformat())
        event, goal = min(near, key=lambda each: (each[1].distance(now), each[0].id))
        ids = self._store.events.stream_ids(tenant.id, event.name)
        options = counting.of_event(event.settings, self._store.streams_of(tenant.id, ids))
        return _Subject(ids, options, goal, None, None)

    def _rows(
        self, tenant_id: int, subject: _Subject, ids: Sequence[int]
    ) -> dict[str, dict[str, Any]]:
        rows = self._store.viewers.attendance.rows(
            self._keys, tenant_id, subject.stream_ids, subject.options, ids
        )
        wanted = subject.stream, subject.day
        return {row["key"]: row for row in rows if (row["stream"], row["day"]) == wanted}


class Counts:
    """A worker's. `compute` is `Counting.compute`; `clock` gives ms since 1970, by the anchor."""

    def __init__(
        self,
        sessions: _core.Sessions,
        compute: Callable[[Mapping[Whose, Stream], int], Awaitable[Mapping[Whose, dict[str, Any]]]],
        clock: Callable[[], int],
    ) -> None:
        self._sessions = sessions
        self._compute = compute
        self._clock = clock
        self._known: dict[Whose, tuple[float, dict[str, Any]]] = {}
        self._wanted: dict[Whose, Stream] = {}
        self._work = trio.Event()
        self._done = trio.Event()

    async def ask(self, stream: Stream, session: bytes) -> dict[str, Any]:
        """Of whoever has the session. Raises `HttpError` where it is not known in time."""
        found = self._sessions.get(session)
        if found is None:
            raise HttpError(403, "this visit is over: come in anew")
        whose = Whose(stream.id, found.holder)
        with trio.move_on_after(_PATIENCE_SECONDS):
            while (known := self._fresh(whose)) is None:
                self._wanted[whose] = stream
                self._work.set()
                await self._done.wait()
            return known
        after = ("Retry-After", str(POLL_SECONDS))
        raise HttpError(503, "what counts is not known just now", (after,))

    def _fresh(self, whose: Whose) -> dict[str, Any] | None:
        at, known = self._known.get(whose, (float("-inf"), None))
        return known if trio.current_time() - at < _FRESH_SECONDS else None

    async def run(self) -> None:
        """Computes batches until it is cancelled."""
        while True:
            await self._work.wait()
            await trio.sleep(_GATHER_SECONDS)
            self._work = trio.Event()
            some = dict(islice(self._wanted.items(), _AT_ONCE))
            begun = trio.current_time()
            try:
                counts = await self._compute(some, self._clock())
            except Exception as error:
                # Whatever it is, the film goes on, and pages ask again.
                log.lasting("attendance-not-counted", error)
                counts = {}
            now = trio.current_time()
            self._known = {
                whose: known
                for whose, known in self._known.items()
                if now - known[0] < _FRESH_SECONDS
            } | {whose: (now, count) for whose, count in counts.items()}
            for whose in some:
                del self._wanted[whose]
            self._done.set()
            self._done = trio.Event()
            if self._wanted:
                self._work.set()
            await trio.sleep(_REST * (now - begun))
