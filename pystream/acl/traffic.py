"""What was sent, and how it is counted: by tenant, stream, hour and kind.

Hours are whole hours since 1970 in UTC, of which every node means the same. A month is a tenant's
own, by its time zone; an hour counts to the month in which it begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from zoneinfo import ZoneInfo

from pystream.errors import InvalidValue, Said

_MONTH = re.compile(r"(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])")


class Kind(IntEnum):
    """What was asked for. The numbers are those of the meter and of the store: they never change."""

    PLAYLIST = 1
    SEGMENT = 2
    KEY = 3
    DOWNLOAD = 4


@dataclass(frozen=True, slots=True)
class Metered:
    """A row of a meter: what it has counted since it began, not since it was last read.

    `incarnation` names this use of the row, below 2^63: no other row of any meter ever has it, and
    under it, counts only grow.
    """

    incarnation: int
    stream_id: int
    hour: int
    kind: int
    requests: int
    bytes: int
    aborted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a stream sent in a month, of one kind. A stream that was removed is still in it."""

    stream: str
    stream_id: int
    kind: Kind
    requests: int
    bytes: int
    aborted: int


def hours_of(month: str, timezone: str) -> range:
    """The hours that begin in a month, `YYYY-MM`. Raises `InvalidValue` where that is none."""
    found = _MONTH.fullmatch(month)
    if not found:
        text = f"{month!r} is no month; one is written as 2031-05"
        raise InvalidValue(Said("month", text, value=month))
    zone = ZoneInfo(timezone)
    year, number = int(found[1]), int(found[2])
    after = (year + 1, 1) if number == 12 else (year, number + 1)
    begin, end = (
        round(datetime(*first, 1, tzinfo=zone).timestamp()) for first in ((year, number), after)
    )
    # Where a month does not begin with an hour of UTC (India), the first one to begin in it.
    return range(-(-begin // 3600), -(-end // 3600))


def month_of(now: int, timezone: str) -> str:
    """The month that `now`, in Unix seconds, lies in."""
    return datetime.fromtimestamp(now, ZoneInfo(timezone)).strftime("%Y-%m")
