"""`attendance-v1` once more, as naively as it can be written down.

No intervals are merged, cut or sorted into structures here. Time is split at every instant at which anything
begins or ends, and each piece is asked whether it belongs to what is measured. Sessions keep all of their
segments, and every question is a walk through all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

Span = tuple[int, int]
Event = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """The options; times are ms."""

    mode: str = "live"
    td: int = 6000
    c: int | None = None
    b: int | None = None
    zone: str = "UTC"
    windows: tuple[Span, ...] = ()
    breaks: tuple[Span, ...] = ()
    verified: bool = False
    visible: bool = False
    live_only: int | None = None
    credit_outage: bool = False
    union: bool = False

    @property
    def ahead(self) -> int:
        return (self.td if self.mode == "live" else 60_000) if self.c is None else self.c

    def bridges(self, hole: int) -> bool:
        return 2 * hole <= self.td if self.b is None else hole <= self.b

    def is_programme(self, x: int) -> bool:
        return inside(x, self.windows) and not inside(x, self.breaks)


def inside(x: int, spans: Iterable[Span]) -> bool:
    return any(a <= x < b for a, b in spans)


def pieces(points: Iterable[int], holds: Callable[[int], bool]) -> list[Span]:
    """Where it holds, between points at which it may change."""
    found: list[list[int]] = []
    for a, b in pairwise(sorted(set(points))):
        if holds(a):
            if found and found[-1][1] == a:
                found[-1][1] = b
            else:
                found.append([a, b])
    return [(a, b) for a, b in found]


def ends(*lists: Iterable[Span]) -> list[int]:
    return [x for spans in lists for span in spans for x in span]


def union(*lists: Iterable[Span]) -> list[Span]:
    spans = [span for each in lists for span in each]
    return pieces(ends(spans), lambda x: inside(x, spans))


def both(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    return pieces(ends(one, other), lambda x: inside(x, one) and inside(x, other))


def length(spans: Iterable[Span]) -> int:
    return sum(b - a for a, b in spans)


def covered(spans: Iterable[Span]) -> int:
    """How long the union is, where there are too many to split them all."""
    total, reached = 0, -(10**18)
    for a, b in sorted(spans):
        total += max(0, b - max(a, reached))
        reached = max(reached, b)
    return total


def bridged(spans: Iterable[Span], closes: Callable[[int], bool]) -> list[Span]:
    spans = union(spans)
    holes = [(a[1], b[0]) for a, b in pairwise(spans) if closes(b[0] - a[1])]
    return union(spans, holes)


# Days


@cache
def zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file)


def local_date(x: int, name: str) -> date:
    seconds = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=x // 1000)
    return seconds.astimezone(zone(name)).date()


@cache
def beginning(day: date, name: str) -> int | None:
    """The first instant with that local date; zones change on whole minutes."""
    midnight = (day - date(1970, 1, 1)).days * 86_400_000
    for minute in range(-26 * 60, 26 * 60):
        if local_date(midnight + minute * 60_000, name) == day:
            return midnight + minute * 60_000
    return None


def day_cells(access: Sequence[Span], name: str) -> list[tuple[str, Span]]:
    if not access:
        return []
    first = local_date(access[0][0], name) - timedelta(days=2)
    last = local_date(access[-1][1], name) + timedelta(days=2)
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    begun = [(day, at) for day in dates if (at := beginning(day, name)) is not None]
    cells = [(day.isoformat(), (a, b)) for (day, a), (_, b) in pairwise(begun)]
    return [
        (day, cell) for day, cell in cells if any(a < cell[1] and b > cell[0] for a, b in access)
    ]


# Sessions


@dataclass
class Seg:
    t: int
    m0: int
    m1: int
    own: Span | None = None
    skipped: bool = False
    lost: int = 0

    @property
    def media(self) -> Span:
        return self.m0, self.m1


def cut(spans: Iterable[Span], t: int) -> list[Span]:
    return [(a, min(b, t)) for a, b in spans if a < t]


def playout(events: list[Event], o: Setting) -> tuple[list[Seg], list[Span]]:
    """The segments of a session, and its credit before bridging."""
    order = sorted({(e["t"], e["m0"], e["m1"], e["rendition"]) for e in events})
    segments: list[Seg] = []
    credit: list[Span] = []
    queue: list[tuple[int, Span]] = []
    end = -(10**15)
    for t, m0, m1, _ in order:
        d = m1 - m0
        seg = Seg(t, m0, m1)
        segments.append(seg)
        queue = [(until, media) for until, media in queue if until > t]
        if o.live_only is not None and t - m1 > o.live_only:
            seg.skipped = True
            continue
        if any(2 * (min(m1, q1) - max(m0, q0)) >= d for _, (q0, q1) in queue):
            seg.skipped = True
            continue
        away = all(max(m0 - q1, q0 - m1) > o.td for _, (q0, q1) in queue)
        if o.mode == "file" and t < end and away:
            credit = cut(credit, t)
            for other in segments:
                if other.own is not None:
                    other.own = next(iter(cut([other.own], t)), None)
            queue, end = [], t
        a = max(t, end)
        b = min(a + d, t + o.ahead)
        if b > a:
            credit = union(credit, [(a, b)])
            seg.own = (a, b)
            queue.append((b, (m0, m1)))
            end = b
        else:
            queue.append((max(t, end), (m0, m1)))
        seg.lost = d - max(0, b - a)
        if o.mode == "live" and seg.lost > 0 and len(credit) > 1:
            hole = credit[-2][1], credit[-1][0]
            if hole[1] - hole[0] <= 3 * o.td:
                credit = union(credit, [(max(hole[0], hole[1] - seg.lost), hole[1])])
    return segments, credit


def told(events: list[Event], o: Setting) -> tuple[list[Span], list[Span]]:
    """Playing and hidden of a session's beacons, before they are cut to its credit."""
    names = ("t", "state", "playhead_ms", "rate", "hidden")
    least: dict[int, tuple[Any, ...]] = {}
    for e in events:
        this = tuple(e[name] for name in names)
        least[e["sn"]] = min(this, least.get(e["sn"], this))
    counted: list[tuple[Any, ...]] = []
    highest = -1
    for sn, beacon in sorted(least.items(), key=lambda item: (item[1][0], item[0])):
        if sn > highest:
            highest = sn
            counted.append(beacon)
    playing: list[Span] = []
    hidden: list[Span] = []
    for i, (t, state, playhead, rate, is_hidden) in enumerate(counted):
        if state != "playing":
            continue
        x = 10_000
        if i + 1 < len(counted):
            dt, dp = counted[i + 1][0] - t, counted[i + 1][2] - playhead
            p = round(max(0.0, dp / rate))
            x = min(10_000, p) if dt > (75_000 if is_hidden else 25_000) else min(dt, p)
        if is_hidden:
            hidden.append((t, t + x))
        if not (is_hidden and o.visible):
            playing.append((t, t + x))
    return bridged(playing, lambda hole: hole <= 2000), union(hidden)


@dataclass
class Viewer:
    segments: list[Seg] = field(default_factory=list)
    credits: list[list[Span]] = field(default_factory=list)
    access: list[Span] = field(default_factory=list)
    playing: list[Span] = field(default_factory=list)
    hidden: list[Span] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)
    bracketed: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def viewer(events: list[Event], everything: list[Event], stream: str, o: Setting) -> Viewer:
    found = Viewer(events=events)
    for session in {e["session"] for e in events}:
        mine = [e for e in events if e["session"] == session]
        shown = [e for e in mine if e["kind"] == "segment" and e["primary"]]
        segments, credit = playout(shown, o)
        credit = bridged(credit, o.bridges)
        found.segments += segments
        found.credits.append(credit)
        playing, hidden = told([e for e in mine if e["kind"] == "beacon"], o)
        for spans, into in ((playing, found.playing), (hidden, found.hidden)):
            into += both(spans, credit)
    found.access = union(*found.credits)
    found.playing, found.hidden = union(found.playing), union(found.hidden)
    outages = union(
        (e["t0"], e["t1"])
        for e in everything
        if e["kind"] == "outage" and e.get("stream", stream) == stream
    )
    if found.access:
        hull = [(found.access[0][0], found.access[-1][1])]
        found.outages = both(outages, hull)
    if o.credit_outage:

        def meets(a: int, b: int) -> bool:
            return any(max(a, p) < min(b, q) for p, q in found.access)

        found.bracketed = [
            (a, b) for a, b in outages if meets(a - 2 * o.td, a) and meets(b, b + 60_000)
        ]
    return found


# Rows


def replay(events: list[Event], o: Setting) -> list[Row]:
    """The rows of an evidence file's events."""
    viewers: dict[tuple[str, str], Viewer] = {}
    seen = [e for e in events if e["kind"] not in ("outage", "restore", "clock")]
    for key, stream in {(e["key"], e["stream"]) for e in seen}:
        mine = [e for e in seen if (e["key"], e["stream"]) == (key, stream)]
        viewers[key, stream] = viewer(mine, events, stream, o)
    rows = []
    for (key, stream), v in viewers.items():
        for day, cell in cells(v.access, o):
            rows.append(row(key, stream, day, cell, v, events, o))
    if o.union:
        rows += [
            united(key, day, rows, viewers, o) for key, day in {(r["key"], r["day"]) for r in rows}
        ]

    def last(text: str | None) -> tuple[bool, str]:
        return text is None, text or ""

    return sorted(rows, key=lambda r: (r["key"], last(r["stream"]), last(r["day"])))


def cells(access: list[Span], o: Setting) -> list[tuple[str | None, list[Span]]]:
    found: list[tuple[str | None, list[Span]]]
    found = [(day, [cell]) for day, cell in day_cells(access, o.zone)]
    if access and o.windows:
        found.append((None, pieces(ends(o.windows, o.breaks), o.is_programme)))
    return found


def times(v: Viewer, cell: list[Span], o: Setting) -> Row:
    """What rows of one stream and of several have in common."""
    everything = (v.access, v.playing, v.hidden, v.outages, v.bracketed, *v.credits)
    points = ends(cell, o.windows, o.breaks, *everything)

    def of(holds: Callable[[int], bool]) -> list[Span]:
        return pieces(points, lambda x: inside(x, cell) and holds(x))

    def devices(x: int) -> int:
        return sum(inside(x, credit) for credit in v.credits)

    def is_lasting(k: int) -> bool:
        return any(b - a > o.ahead for a, b in of(lambda x: devices(x) >= k))

    def is_counted(x: int) -> bool:
        return o.is_programme(x) or not o.windows

    counted = length(of(lambda x: inside(x, v.access) and is_counted(x)))
    playing = length(of(lambda x: inside(x, v.playing) and is_counted(x)))
    access = of(lambda x: inside(x, v.access))
    return {
        "access_ms": length(access),
        "window_ms": counted if o.windows else None,
        "verified_ms": length(of(lambda x: inside(x, v.playing))) if o.verified else None,
        "hidden_ms": length(of(lambda x: inside(x, v.hidden))) if o.verified else None,
        "certifiable_ms": min(counted, playing) if o.verified else counted,
        "overlap_ms": length(of(lambda x: devices(x) >= 2)),
        "max_devices": max([1, *filter(is_lasting, range(2, len(v.credits) + 1))]),
        "outage_ms": length(of(lambda x: inside(x, v.outages))),
        "outage_credit_ms": length(
            of(lambda x: inside(x, v.bracketed) and not inside(x, v.access))
        ),
        "intervals": [list(span) for span in access],
    }


def row(
    key: str,
    stream: str,
    day: str | None,
    cell: list[Span],
    v: Viewer,
    events: list[Event],
    o: Setting,
) -> Row:
    def media(holds: Callable[[int], bool]) -> int:
        def belongs(seg: Seg) -> bool:
            if seg.own is None:
                return holds(seg.t)
            points = [x for x in ends(cell, o.windows, o.breaks) if seg.own[0] < x < seg.own[1]]
            return any(holds(x) for x in [seg.own[0], *points])

        return covered(seg.media for seg in v.segments if belongs(seg))

    def fetched(x: int) -> int:
        return covered(seg.media for seg in v.segments if seg.t <= x)

    def here(kind: str) -> list[Event]:
        return [e for e in v.events if e["kind"] == kind and inside(e["t"], cell)]

    found = times(v, cell, o)
    found["media_ms"] = media(lambda x: inside(x, cell))
    within = media(lambda x: inside(x, cell) and o.is_programme(x))
    found["window_media_ms"] = within if o.windows else None
    found["certifiable_ms"] = min(
        found["certifiable_ms"], within if o.windows else found["media_ms"]
    )
    there = [seg for seg in v.segments if inside(seg.t, cell)]
    is_deep = o.mode == "file"
    found["deep_buffer_ms"] = sum(seg.lost for seg in there if not seg.skipped) if is_deep else 0
    checks = {(e["session"], e["t"]) for e in here("check")}
    answered = {(e["session"], e["t"]) for e in here("check") if e["answered"] is not None}
    found["checks_shown"], found["checks_answered"] = len(checks), len(answered)
    grade = "delivered"
    if o.verified and here("beacon"):
        grade = "player+checks" if answered else "player"
    found["evidence_grade"] = grade
    access = found["intervals"]
    clocks = [e["t"] for e in events if e["kind"] == "clock"]
    restores = [(e["t0"], e["t1"]) for e in events if e["kind"] == "restore"]
    limit = o.ahead + 240_000
    flags = {
        "bulk_fetch": any(fetched(seg.t) - fetched(seg.t - 60_000) > limit for seg in there),
        "clock_step": any(access and access[0][0] <= t < access[-1][1] for t in clocks),
        "deep_buffer": found["deep_buffer_ms"] > 0,
        "downloaded": bool(here("download")),
        "outage": found["outage_ms"] > 0,
        "overlap": found["max_devices"] > 1,
        "restored": any(max(a, p) < min(b, q) for a, b in restores for p, q in cell),
    }
    found["flags"] = sorted(flag for flag, applies in flags.items() if applies)
    return {"key": key, "stream": stream, "day": day} | found


def united(
    key: str, day: str | None, rows: list[Row], viewers: dict[tuple[str, str], Viewer], o: Setting
) -> Row:
    theirs = [r for r in rows if (r["key"], r["day"]) == (key, day)]
    there = [viewers[key, r["stream"]] for r in theirs]
    together = Viewer(
        credits=[credit for v in there for credit in v.credits],
        access=union(*(v.access for v in there)),
        playing=union(*(v.playing for v in there)),
        hidden=union(*(v.hidden for v in there)),
        outages=union(*(v.outages for v in there)),
        bracketed=union(*(v.bracketed for v in there)),
    )
    cell = next(cell for v in there for name, cell in cells(v.access, o) if name == day)
    found = times(together, cell, o)
    for name in ("media_ms", "deep_buffer_ms", "checks_shown", "checks_answered"):
        found[name] = sum(r[name] for r in theirs)
    found["window_media_ms"] = sum(r["window_media_ms"] for r in theirs) if o.windows else None
    found["certifiable_ms"] = min(found["certifiable_ms"], sum(r["certifiable_ms"] for r in theirs))
    grades = ("delivered", "player", "player+checks")
    found["evidence_grade"] = min((r["evidence_grade"] for r in theirs), key=grades.index)
    flags = {flag for r in theirs for flag in r["flags"]} - {"overlap"}
    found["flags"] = sorted(flags | ({"overlap"} if found["max_devices"] > 1 else set()))
    return {"key": key, "stream": None, "day": day} | found


def lines(events: Iterable[Event]) -> bytes:
    """The events as an evidence file has them."""
    return "".join(json.dumps(event) + "\n" for event in events).encode()


# Which lines are events

_VIEWING = {"t": "instant", "key": "text", "stream": "text", "session": "text"}
_FIELDS: dict[str, dict[str, str]] = {
    "segment": _VIEWING | {"m0": "int", "m1": "int", "rendition": "text", "primary": "bool"},
    "beacon": _VIEWING
    | {"sn": "count", "state": "state", "playhead_ms": "int", "rate": "rate", "hidden": "bool"},
    "check": _VIEWING | {"answered": "count or null"},
    "download": _VIEWING,
    "playlist": _VIEWING,
    "key": _VIEWING,
    "outage": {"t0": "instant", "t1": "instant"},
    "restore": {"t0": "instant", "t1": "instant"},
    "clock": {"t": "instant", "step_ms": "int"},
}
_STATES = ("playing", "paused", "stalled", "seeking", "ended")


def _is(type_: str, value: Any) -> bool:
    if type_ == "text":
        return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)
    if type_ == "bool":
        return isinstance(value, bool)
    if type_ == "state":
        return value in _STATES
    if type_ == "rate":
        return type(value) in (int, float) and 0.25 <= value <= 4
    if type_ == "count or null" and value is None:
        return True
    if type(value) is not int or abs(value) >= 2**53:
        return False
    if type_ == "instant":
        return 0 <= value <= 4_102_444_800_000
    return value >= 0 or type_ == "int"


def is_specified(line: bytes) -> bool:
    """Whether a line that is not blank is an event, by the standard library's reader of JSON."""

    def constant(name: str) -> Any:
        raise ValueError(name)

    try:
        event = json.loads(line.decode(), parse_constant=constant)
    except (ValueError, RecursionError):
        return False
    if not isinstance(event, dict):
        return False
    kind = event.get("kind")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or not all(
        name in event and _is(type_, event[name]) for name, type_ in fields.items()
    ):
        return False
    if kind == "segment":
        return bool(0 < event["m1"] - event["m0"] <= 600_000)
    if kind == "outage" and not _is("text", event.get("stream", "")):
        return False
    return kind not in ("outage", "restore") or bool(event["t0"] < event["t1"])
