"""What a viewer is told of the own attendance while watching: how much counts so far, and why no more does.

It is the report's own number, of the same rows: nothing is promised that the list will not have. Credit is
given ahead of the clock, for what a player has fetched and not played yet; what still runs of that says that
it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pystream.attendance.policies import least_s
from pystream.attendance.programmes import EventSettings, programme, programme_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# Deliveries are told a second later, and known once a peer has acknowledged them, after five at most.
LATE_MS: Final = 10_000
# Of an event that is not today's, nobody waits for minutes.
_AROUND_MS: Final = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached. `programme`: when it counts, ascending; empty: always. `needed_ms`: from when on
    it is worth anything, None where nobody has said."""

    programme: tuple[tuple[int, int], ...] = ()
    needed_ms: int | None = None

    @classmethod
    def of(cls, event: EventSettings) -> Goal:
        spans = programme(event.windows, event.breaks)
        return cls(spans, least_s(event.policy, programme_ms(event.windows, event.breaks)) * 1000)

    def distance(self, now: int) -> int:
        """How far its programme is away, in ms; 0 while it lasts, breaks too."""
        begin, end = self.programme[0][0], self.programme[-1][1]
        return max(begin - now, now - end, 0)

    def is_near(self, now: int) -> bool:
        """Whether it is what is watched now."""
        return self.distance(now) <= _AROUND_MS


def told(
    row: Mapping[str, Any] | None, goal: Goal, outages: Sequence[tuple[int, int]], now: int
) -> dict[str, Any]:
    """As JSON has it; instants are ms since 1970.

    `row`: of the programme, or of the day; None where nothing is recorded. `counted_ms`, `needed_ms`;
    `stopped_at`: up to when it has counted, None while it goes on, and where nothing has; `why` it does not:
    `outside` of the programme, which goes on at `next` if at all, `outage` of the server, or `silent`,
    nothing was delivered; `several`: more than one device was there at a time; `outage`: the last one while
    it was watched.
    """
    intervals = row["intervals"] if row else []
    last = max((end for _, end in intervals), default=None)
    known = [
        (begin, min(end, now))
        for begin, end in outages
        if last is not None and intervals[0][0] < end
    ]
    why = None
    if goal.programme and not any(begin <= now < end for begin, end in goal.programme):
        why = "outside"
    elif last is None or last <= now - LATE_MS:
        is_out = last is not None and any(end >= last for _, end in known)
        why = "outage" if is_out else "silent"
    return {
        "counted_ms": row["certifiable_ms"] if row else 0,
        "needed_ms": goal.needed_ms,
        "stopped_at": None if why is None else last,
        "why": why,
        "next": min((begin for begin, _ in goal.programme if begin > now), default=None),
        "several": row is not None and "overlap" in row["flags"],
        "outage": list(known[-1]) if known else None,
    }
