"""Pace: only the part of a film that is being played leaves the server.

Theory. Each grant has a bucket of media seconds, for pictures and for sound apart: 60 s ahead, which
refills at a multiple of real time. What a segment lasts is taken out of it when the segment is
asked for; for a range of its bytes, what it lasts up to the range's end, since all of that has to be
made. An empty bucket lets nothing go until it is due.

A player takes all that it is given, so its bucket is empty most of the time. Who then seeks, or changes
the quality, needs two segments at once, and no more: what comes behind them is due before they are
played. So there is a second bucket, the slack, which pays where the first one cannot, for

* a segment that does not follow the one fetched last: somebody begins here;
* the next one after such a beginning, since beginnings lie anywhere in a segment.

It holds 20 segments, or 120 s where those are shorter: ten seeks in a row. Its refill is a quarter of
what the pace is above real time, and the first bucket's refill is less by as much. So whatever is
asked for, in whatever order and on however many connections, in any T seconds a grant gets

    60 s (or its longest segment) + slack + pace * T

of media at most, and in the long run no more than the pace. At a pace of 1 there is no slack.

Pictures of the film by themselves (`frame/`) have a third bucket: 60 at once, and then as many a second
as the pace is. So they are no way round the other two.

The buckets, and what was fetched last, lie in the table of the node (`core_rs/shm`, GCRA), so all
workers agree, and memory is bounded. A bucket of `b` media seconds that refills at `r` is a GCRA with
a burst of b / r seconds, of which m media seconds use up m / r.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from pystream import _core

AHEAD_SECONDS: Final = 60.0
SLACK_SECONDS: Final = 120.0
SLACK_SEGMENTS: Final = 20
PICTURES: Final = 60
# Of what the pace is above real time.
_SLACK_SHARE = 0.25
# Below this refill, a bucket would need days.
_LEAST_REFILL = 0.01
# For how many segments' time the last one is remembered, and seconds at least.
_REMEMBERED_SEGMENTS = 4.0
_REMEMBERED_SECONDS = 10.0
_US = 1_000_000


class Claim(NamedTuple):
    """A segment that somebody wants.

    `viewer`: the grant's own bytes; `line`: what is counted apart, `video` or `audio`; `duration`:
    the segment's, seconds; `share`: how much of it has to be made, up to 1; `pace`: media seconds a
    second.
    """

    viewer: bytes
    line: str
    rendition: str
    number: int
    duration: float
    share: float
    pace: float


def in_order(pace: float) -> float:
    """Media seconds a second for who takes one segment after the other: the rest of the pace is for those who
    seek."""
    return pace - _for_seeks(pace)


def _for_seeks(pace: float) -> float:
    share = (pace - 1) * _SLACK_SHARE
    return share if share >= _LEAST_REFILL else 0.0


class Pace:
    """Decides when segments go. `clock` gives microseconds, the same in all processes."""

    def __init__(
        self,
        table: _core.Gcra,
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000,
    ) -> None:
        self._table = table
        self._clock = clock

    def ask(self, claim: Claim) -> float:
        """0 where the segment may go, and is counted; else the seconds after which it might."""
        now = self._clock()
        before = self._noted(b"fetched", claim, claim.number - 1, now)
        # Both were noted at the same moment.
        begins = not before or before != self._noted(b"last", claim, None, now)
        second = self._noted(b"second", claim, claim.number, now) > 0
        extra = _for_seeks(claim.pace)
        ahead = max(AHEAD_SECONDS, claim.duration)
        wait = self._take(b"ahead", claim, now, claim.pace - extra, ahead)
        if wait and extra and (begins or second):
            slack = max(SLACK_SECONDS, SLACK_SEGMENTS * claim.duration)
            if not self._take(b"slack", claim, now, extra, slack):
                wait = 0
        if wait:
            return wait / _US
        self._note(b"last", claim, None, now)
        self._note(b"fetched", claim, claim.number, now)
        if begins and not second:
            self._note(b"second", claim, claim.number + 1, now)
        return 0.0

    def picture(self, viewer: bytes, pace: float) -> float:
        """0 where a picture may go, and is counted; else the seconds after which it might."""
        cost = round(_US / pace)
        key = b"\0".join((b"picture", viewer))
        return self._table.check(key, self._clock(), cost, PICTURES * cost) / _US

    def _take(self, bucket: bytes, claim: Claim, now: int, refill: float, holds: float) -> int:
        key = b"\0".join((bucket, claim.viewer, claim.line.encode()))
        cost = int(claim.duration * claim.share / refill * _US)
        # A segment that fills the bucket passes, whichever way both were rounded.
        return self._table.check(key, now, cost, max(cost, round(holds / refill * _US)))

    # A note is a bucket that one drop fills; how full it is tells when it was made.

    def _note(self, what: bytes, claim: Claim, number: int | None, now: int) -> None:
        key, lasts = _named(what, claim, number)
        left = self._table.peek(key, now, 0, 0)
        self._table.check(key, now, max(0, lasts - left), lasts)

    def _noted(self, what: bytes, claim: Claim, number: int | None, now: int) -> int:
        """Microseconds for which a note still stands."""
        return self._table.peek(_named(what, claim, number)[0], now, 0, 0)


def _named(what: bytes, claim: Claim, number: int | None) -> tuple[bytes, int]:
    """A note's key, and how long it stands: of a segment of a rendition, or of all of a line."""
    place = claim.line if number is None else f"{claim.rendition} {number}"
    lasts = max(_REMEMBERED_SECONDS, _REMEMBERED_SEGMENTS * claim.duration)
    return b"\0".join((what, claim.viewer, place.encode())), round(lasts * _US)
