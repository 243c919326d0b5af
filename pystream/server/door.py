"""Who comes in: a worker's door, where `overload` is asked for a verdict.

What all workers hold and have let in is read from shared memory for each newcomer, what was sent once a
second. Viewers are counted anew four times a second, less often where that takes long; those let in since
are added, and those who are on their way in. So bounds of the node hold at any moment; a stream's is passed
by no more than who came to other workers since the last count, or is on the way in there. Who comes in for
a test takes a place as others do, or a tenant would pass the operator's bounds by it, and is in no sum that
is shown.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from pystream import _core
from pystream.acl.grants import TEST, Grant
from pystream.acl.streams import Stream
from pystream.server import log
from pystream.server.gauges import Board, Seat, Viewers
from pystream.server.http import HttpError
from pystream.server.overload import NEWCOMER_SECONDS, Bounds, Load, Reason, retry_after, verdict
from pystream.server.settings import Overload

_COUNT_SECONDS = 0.25
_COUNT_SHARE = 0.02
_JUST_ISSUED_S = 10
_QUIET_SECONDS = 60.0
_FULL = "there is no room for one more viewer at present"


class Full(HttpError):
    """As many as may watch do so."""

    kind = "full"


def _no_room(reason: Reason) -> HttpError:
    counted = reason in (Reason.VIEWERS, Reason.STREAM_VIEWERS)
    wait = retry_after(random.random())
    return (Full if counted else HttpError)(503, _FULL, (("Retry-After", str(wait)),))


class _Step(NamedTuple):
    """What one sample has found: bytes acknowledged since the last one, by tenant, and viewers let
    in ever."""

    at: float
    sent: Counter[str]
    admitted: int


class Door:
    """One worker's. `tenant_of` gives the tenant of a stream's number, and `tenant_bps` the bound of
    a tenant's rate. `clock` is monotonic."""

    def __init__(
        self,
        overload: Overload,
        board: Board,
        seat: Seat,
        meter: _core.Meter,
        tenant_of: Callable[[int], str | None] = lambda _: None,
        tenant_bps: Callable[[str], int | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.overload = overload
        self._board = board
        self._seat = seat
        self._meter = meter
        self._tenant_of = tenant_of
        self._tenant_bps = tenant_bps
        self._clock = clock
        now = clock()
        self._viewers = Viewers(seat, board.secret, now)
        self._next_count = now
        self._count = Counter[int]()
        self._admitted = 0
        # Of this worker alone, since the count.
        self._fresh = Counter[int]()
        self._newcomers = deque[tuple[float, str]]()
        self._newcomers_of = Counter[str]()
        # Who has been let past, and is not in yet: by stream and tenant.
        self._coming = Counter[int]()
        self._coming_of = Counter[str]()
        self._reading = _core.Reading()
        # What was sent before this worker came is no rate.
        self._sent()
        self._steps = deque([_Step(now, Counter(), board.admitted())])
        self._rates = Counter[str]()
        self._egress = 0.0
        # When the log was last told of each reason.
        self._told: dict[Reason, float] = {}

    def sample(self) -> None:
        """Looks what was sent, and forgets viewers who are gone. To be called about every second."""
        now = self._clock()
        self._viewers.turn(now)
        steps = self._steps
        steps.append(_Step(now, self._sent(), self._board.admitted()))
        while len(steps) > 2 and steps[1].at <= now - NEWCOMER_SECONDS:
            steps.popleft()
        seconds = max(1e-3, now - steps[0].at)
        sums = Counter[str]()
        for step in islice(steps, 1, None):
            sums.update(step.sent)
        self._egress = 8 * sums.total() / seconds
        self._rates = Counter({tenant: round(8 * sent / seconds) for tenant, sent in sums.items()})

    def _sent(self) -> Counter[str]:
        sent = Counter[str]()
        for stream, _, _, more, _ in self._reading.changes(self._meter):
            sent[self._tenant_of(stream) or ""] += more
        return sent

    def admit(self, stream: Stream, session: bytes, *, is_test: bool = False) -> None:
        """Lets a viewer in. Raises `HttpError` where nobody more has room."""
        self.check(stream)
        self.count(stream, session, is_test=is_test)

    @contextmanager
    def coming(self, stream: Stream) -> Iterator[None]:
        """Has a place for somebody whose coming in takes a while; whoever is in at the end of the block has
        to be counted by then. Raises `HttpError` where nobody more has room."""
        self.check(stream)
        self._expect(stream, 1)
        try:
            yield
        finally:
            self._expect(stream, -1)

    def _expect(self, stream: Stream, more: int) -> None:
        self._coming[stream.id] += more
        self._coming_of[stream.tenant] += more
        self._seat.set("coming", self._coming.total())

    def check(self, stream: Stream) -> None:
        """Raises `HttpError` where nobody more has room."""
        bounds = self._bounds(stream)
        load = self._load(stream, bounds)
        reason = verdict(load, bounds)
        if reason is not None:
            self._seat.refuse(reason)
            self._tell(reason, load, stream)
            raise _no_room(reason)

    def count(self, stream: Stream, session: bytes, *, is_test: bool = False) -> None:
        """Counts a viewer who was let in."""
        self._seat.admit(is_test=is_test)
        self._fresh[stream.id] += 1
        self._newcomers.append((self._clock(), stream.tenant))
        self._newcomers_of[stream.tenant] += 1
        self._viewers.note(stream.id, session, is_test=is_test)

    def _tell(self, reason: Reason, load: Load, stream: Stream) -> None:
        now = self._clock()
        if now - self._told.get(reason, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._told[reason] = now
        log.warning(
            "newcomers-refused",
            reason=reason.value,
            stream=f"{stream.tenant}/{stream.name}",
            egress_bps=round(load.egress_bps),
            bytes_in_flight=load.bytes_in_flight,
            loop_lag_ms=round(load.loop_lag_ms),
            answers=load.answers,
        )

    def enter(self, stream: Stream, grant: Grant, first: bool) -> None:
        """A viewer who has a grant asks for something; `first` where that is what a player asks for
        first. Who is inside goes on. Raises as `admit` does."""
        session, is_test = grant.session, bool(grant.flags & TEST)
        if first and session not in self._viewers and not self._is_inside(stream, grant):
            self.admit(stream, session, is_test=is_test)
        else:
            self._viewers.note(stream.id, session, is_test=is_test)

    def _is_inside(self, stream: Stream, grant: Grant) -> bool:
        """Whether another worker knows the viewer, or has let him in a moment ago."""
        if time.time() - grant.not_before < _JUST_ISSUED_S:
            return True
        is_test = bool(grant.flags & TEST)
        return self._board.knows(self._viewers.entry(stream.id, grant.session, is_test=is_test))

    def _bounds(self, stream: Stream) -> Bounds:
        overload = self.overload
        return Bounds(
            overload.egress_bps,
            overload.bytes_in_flight,
            overload.loop_lag_ms,
            overload.max_viewers,
            stream.settings.max_viewers,
            self._tenant_bps(stream.tenant),
        )

    def _load(self, stream: Stream, bounds: Bounds) -> Load:
        now = self._clock()
        board = self._board
        admitted = board.admitted()
        if now >= self._next_count and bounds.ask_for_viewers:
            begin = time.perf_counter()
            self._count, self._admitted = board.places(), admitted
            self._fresh.clear()
            took = time.perf_counter() - begin
            self._next_count = now + max(_COUNT_SECONDS, took / _COUNT_SHARE)
        newcomers = self._newcomers
        while newcomers and newcomers[0][0] < now - NEWCOMER_SECONDS:
            _, tenant = newcomers.popleft()
            self._newcomers_of[tenant] -= 1
        coming = board.sum("coming")
        return Load(
            self._egress,
            board.sum("window_bytes"),
            board.most("lag_recent_us") / 1000,
            self._count.total() + admitted - self._admitted + coming,
            admitted - self._steps[0].admitted + coming,
            self._count[stream.id] + self._fresh[stream.id] + self._coming[stream.id],
            self._rates[stream.tenant],
            self._newcomers_of[stream.tenant] + self._coming_of[stream.tenant],
            board.sum("answers"),
        )
