"""What a worker tells of itself: its gauges, how late its loop is, and, if wanted, each request."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Mapping

import trio

from pystream.server import log
from pystream.server.answers import Answer
from pystream.server.gauges import Seat
from pystream.server.http import Request

_LAG_SECONDS = 0.01
# Where nobody is there who could be kept waiting.
_IDLE_LAG_SECONDS = 0.1
_TELL_SECONDS = 1.0
_REMEDIES = {
    "limit": "raise server.max_connections",
    "descriptors": "raise the limit of open files: LimitNOFILE= of systemd, --ulimit nofile= of a container",
    "memory": "give the machine more memory, or serve fewer",
}
# So long nothing more is said of a film whose bytes cannot be had: everybody asks again and again.
_QUIET_SECONDS = 60.0
_KEPT_SECONDS = 10.0
_RECENT_SECONDS = 1.0
# What a second's standstill adds is a hundred samples; what hours of it add is not kept.
_MOST_KEPT = 1000


class Observer:
    """`gauges` gives those of the seat's gauges that others know: connections, answers and so on;
    `access` switches the access log on; `busy` says whether anybody is connected."""

    def __init__(
        self,
        seat: Seat,
        gauges: Callable[[], Mapping[str, int]],
        *,
        access: bool = False,
        busy: Callable[[], object] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seat = seat
        self._gauges = gauges
        self.access = access
        self._clock = clock
        # When something was last said of a film.
        self._said: dict[tuple[str, str], float] = {}
        self._busy = busy
        # When something was last said of connections that were not accepted.
        self._unaccepted: dict[str, float] = {}
        self._told_at = float("inf")
        # When, and how late.
        self._lags = deque[tuple[float, float]](maxlen=_MOST_KEPT)

    def ended(self, request: Request | None, answer: Answer, whole: bool, begun: float) -> None:
        """A request that came at `begun` was answered, `whole` or not; None is what could not be read as
        one."""
        kind = "none" if request is None else request.kind or "none"
        self._seat.request(kind, answer.status)
        if self.access:
            place = None if request is None else request.place
            log.info(
                "request",
                kind=kind,
                stream=place and "/".join(place),
                status=answer.status,
                bytes=answer.length,
                whole=whole,
                ms=round((self._clock() - begun) * 1000, 1),
            )

    def broke_off(self, request: Request | None, end: str, why: str | None) -> None:
        """An answer under way has ended before all of it was out. `why` names the operator's files, and
        nothing that a viewer sent."""
        self._seat.break_off(end)
        if end not in ("failed", "silent") or request is None or request.place is None:
            return
        now = self._clock()
        film = "/".join(request.place), request.kind or "answer"
        if now - self._said.get(film, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._said = {each: at for each, at in self._said.items() if now - at < _QUIET_SECONDS}
        self._said[film] = now
        log.error(f"{film[1]}-failed", stream=film[0], reason=why)

    def not_accepted(self, error: OSError | None) -> None:
        """A connection was not accepted: the system had nothing left for it, or there are as many as may
        be."""
        reason = "limit"
        if error is not None:
            descriptors = error.errno in (errno.EMFILE, errno.ENFILE)
            reason = "descriptors" if descriptors else "memory"
        self._seat.not_accept(reason)
        now = self._clock()
        if now - self._unaccepted.get(reason, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._unaccepted[reason] = now
        said = {} if error is None else log.fault(error)
        log.error("connections-not-accepted", reason=reason, remedy=_REMEDIES[reason], **said)

    async def run(self, each_second: Callable[[], None] = lambda: None) -> None:
        """Keeps the gauges true, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feel_lag)
            while True:
                self._tell()
                each_second()
                await trio.sleep(_TELL_SECONDS)

    async def _feel_lag(self) -> None:
        """How late a task wakes that sleeps for 10 ms, or for 100 ms where nobody is connected: waking
        a hundred times a second is most of what an idle worker does. A loop that stands still for long makes
        everybody late who would have woken meanwhile: those samples are added, or a second's
        standstill would count as little as one late wake-up in a hundred."""
        while True:
            due = trio.current_time() + (_LAG_SECONDS if self._busy() else _IDLE_LAG_SECONDS)
            await trio.sleep_until(due)
            now = trio.current_time()
            lag = max(0.0, now - due)
            while lag >= 0:
                self._seat.lag(lag)
                self._lags.append((now, lag))
                lag -= _LAG_SECONDS

    def _tell(self) -> None:
        for name, value in self._gauges().items():
            self._seat.set(name, value)
        now = trio.current_time()
        while self._lags and self._lags[0][0] <= now - _KEPT_SECONDS:
            self._lags.popleft()
        lags = sorted(lag for _, lag in self._lags) or [0.0]
        # And all since that was last told: or a standstill, from which both tasks wake, might be in none.
        begin, self._told_at = min(now - _RECENT_SECONDS, self._told_at), now
        recent = sorted(lag for at, lag in self._lags if at >= begin) or [0.0]
        # Of the last second, what nine of ten samples stay below: one pause of the garbage
        # collector is no overload.
        self._lag("lag_recent_us", recent, 0.9)
        self._lag("lag_p50_us", lags, 0.5)
        self._lag("lag_p99_us", lags, 0.99)
        self._lag("lag_max_us", lags, 1)

    def _lag(self, gauge: str, ordered: list[float], share: float) -> None:
        at = min(len(ordered) - 1, int(share * len(ordered)))
        self._seat.set(gauge, int(ordered[at] * 1e6))
