"""What a worker tells of itself: its gauges, how late its loop is, and, if wanted, each request."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import trio

from pystream.server import log
from pystream.server.answers import Answer
from pystream.server.gauges import Seat
from pystream.server.http import Request

_LAG_SECONDS = 0.01
_TELL_SECONDS = 1.0
# So long nothing more is said of a film whose bytes cannot be had: everybody asks again and again.
_QUIET_SECONDS = 60.0
# Samples of the last ten seconds, and of the last one.
_KEPT = 1000
_RECENT = 100


class Observer:
    """`gauges` gives those of the seat's gauges that others know: connections, answers and so on;
    `access` switches the access log on."""

    def __init__(
        self,
        seat: Seat,
        gauges: Callable[[], Mapping[str, int]],
        *,
        access: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seat = seat
        self._gauges = gauges
        self.access = access
        self._lags = deque[float](maxlen=_KEPT)
        self._clock = clock
        # When something was last said of a film.
        self._said: dict[tuple[str, str], float] = {}

    def ended(self, request: Request | None, answer: Answer, whole: bool, seconds: float) -> None:
        """A request was answered, `whole` or not; None is what could not be read as one."""
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
                ms=round(seconds * 1000, 1),
            )

    def broke_off(self, request: Request | None, end: str, why: str | None) -> None:
        """An answer under way has ended before all of it was out. `why` names the operator's files, and
        nothing that a viewer sent."""
        self._seat.break_off(end)
        if end != "failed" or request is None or request.place is None:
            return
        now = self._clock()
        film = "/".join(request.place), request.kind or "answer"
        if now - self._said.get(film, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._said = {each: at for each, at in self._said.items() if now - at < _QUIET_SECONDS}
        self._said[film] = now
        log.error(f"{film[1]}-failed", stream=film[0], reason=why)

    async def run(self, each_second: Callable[[], None] = lambda: None) -> None:
        """Keeps the gauges true, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feel_lag)
            while True:
                self._tell()
                each_second()
                await trio.sleep(_TELL_SECONDS)

    async def _feel_lag(self) -> None:
        """How late a task wakes that sleeps for 10 ms. A loop that stands still for long makes
        everybody late who would have woken meanwhile: those samples are added, or a second's
        standstill would count as little as one late wake-up in a hundred."""
        while True:
            due = trio.current_time() + _LAG_SECONDS
            await trio.sleep_until(due)
            lag = max(0.0, trio.current_time() - due)
            while lag >= 0:
                self._seat.lag(lag)
                self._lags.append(lag)
                lag -= _LAG_SECONDS

    def _tell(self) -> None:
        for name, value in self._gauges().items():
            self._seat.set(name, value)
        lags = sorted(self._lags) or [0.0]
        recent = sorted(list(self._lags)[-_RECENT:]) or [0.0]
        # Of the last second, what nine of ten samples stay below: one pause of the garbage
        # collector is no overload.
        self._lag("lag_recent_us", recent, 0.9)
        self._lag("lag_p50_us", lags, 0.5)
        self._lag("lag_p99_us", lags, 0.99)
        self._lag("lag_max_us", lags, 1)

    def _lag(self, gauge: str, ordered: list[float], share: float) -> None:
        at = min(len(ordered) - 1, int(share * len(ordered)))
        self._seat.set(gauge, int(ordered[at] * 1e6))
