"""Evidence for tests: events as an evidence file has them, and the rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pystream._core import Evidence
from pystream.attendance.options import Options
from tests.oracles.attendance import Event, Row, lines

BERLIN = "Europe/Berlin"
VIEWER = {"key": "A", "stream": "Y", "session": "s1"}


def at(clock: str, day: str = "2026-03-10", zone: str = BERLIN, fold: int = 0) -> int:
    """The instant of a clock time."""
    local = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1000)


def segment(t: int, m0: int, d: int = 6000, /, **others: Any) -> Event:
    fields = {"rendition": "v1", "primary": True} | VIEWER
    return {"kind": "segment", "t": t, "m0": m0, "m1": m0 + d} | fields | others


def live(
    begin: int, end: int, /, *, d: int = 6000, lag: int = 18_000, **others: Any
) -> list[Event]:
    """A segment completed every `d` ms from `begin` on and before `end`."""
    return [segment(t, t - lag, d, **others) for t in range(begin, end, d)]


def film(
    begin: int, length: int = 600_000, /, *, first: int = 0, every: int = 6000, **others: Any
) -> list[Event]:
    """Five segments at once, then one at a time."""
    return [
        segment(begin + max(0, n - 4) * every, first + n * 6000, **others)
        for n in range(length // 6000)
    ]


def beacons(
    begin: int,
    end: int,
    /,
    *,
    every: int = 10_000,
    pace: float = 1.0,
    sn: int = 0,
    playhead: int = 0,
    **others: Any,
) -> list[Event]:
    """A beacon every so often from `begin` on and before `end`; `pace` is what its playhead does."""
    fields = VIEWER | {"state": "playing", "rate": 1.0, "hidden": False} | others
    return [
        {
            "kind": "beacon",
            "t": t,
            "sn": sn + n,
            "playhead_ms": playhead + round((t - begin) * pace),
        }
        | fields
        for n, t in enumerate(range(begin, end, every))
    ]


def other(kind: str, t: int, /, **others: Any) -> Event:
    return {"kind": kind, "t": t} | VIEWER | others


def pause(
    told: Iterable[Event], begin: int, end: int, change: Callable[[Event], Event]
) -> list[Event]:
    """The same with each of [begin, end) changed."""
    return [change(event) if begin <= event["t"] < end else event for event in told]


def replayed(events: Iterable[Event], options: Options) -> list[Row]:
    """The core's rows."""
    evidence, ledger = Evidence(), options.ledger()
    evidence.read(lines(events))
    ledger.take(evidence)
    rows = ledger.rows()
    for row in rows:
        row["intervals"] = [list(span) for span in row["intervals"]]
    return rows
