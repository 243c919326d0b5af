"""The operator's page of the guard, /guard on the listener of /metrics: load, refusals, bans and incidents
of the last two hours, as pictures that need no script; and the latest incidents in words.

There is no address on it: it is made of counters, and of what an incident says without its sources.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final, NamedTuple

from pystream.acl.incidents import Incident, moment

STEP_S: Final = 10
KEPT_S: Final = 7200
SHOWN: Final = 20
"""Incidents in words."""
with open(os.path.join(os.path.dirname(__file__), "timeline.css"), encoding="utf-8") as _file:
    STYLE: Final = _file.read()
_WIDTH, _HEIGHT = 720, 100
_REFRESH_S = 10


class Counts(NamedTuple):
    """What is counted up, and what there is now. `refused` were told to come again, `unheard` came from who
    is banned."""

    requests: int
    refused: int
    unheard: int
    bans: int
    limited: int
    connections: int
    open: frozenset[str]


class Point(NamedTuple):
    """A step: a second's requests and refusals, bans in it, and what there was at its end."""

    at: int
    requests: float
    refused: float
    unheard: float
    bans: int
    connections: int
    open: frozenset[str]


class Timeline:
    """The last two hours, in memory."""

    def __init__(self) -> None:
        self._points = deque[Point](maxlen=KEPT_S // STEP_S)
        self._last: tuple[int, Counts] | None = None

    def add(self, now: int, counts: Counts) -> None:
        """To be called about every second, with Unix seconds."""
        if self._last is None:
            self._last = now, counts
            return
        at, before = self._last
        seconds = now - at
        if seconds < STEP_S:
            return
        self._last = now, counts
        self._points.append(
            Point(
                now,
                (counts.requests - before.requests) / seconds,
                (counts.refused - before.refused) / seconds,
                (counts.unheard - before.unheard) / seconds,
                counts.bans - before.bans + counts.limited - before.limited,
                counts.connections,
                counts.open,
            )
        )

    def page(self, incidents: Sequence[Incident], days: int, now: int) -> str:
        """HTML. Sources of incidents are kept for so many days."""
        points = [each for each in self._points if each.at > now - KEPT_S]
        kinds = sorted({kind for each in points for kind in each.open})
        opened = [str(each.kind) for each in incidents if each.closed_at is None]
        charts = [
            _chart("Requests a second", [("requests", _column(points, "requests"))], points, now),
            _chart("Open connections", [("open", _column(points, "connections"))], points, now),
            _chart(
                "Refusals a second",
                [
                    ("told to come again", _column(points, "refused")),
                    ("banned, not heard", _column(points, "unheard")),
                ],
                points,
                now,
            ),
            _chart(
                "Limits and bans",
                [("in ten seconds", [float(each.bans) for each in points])],
                points,
                now,
            ),
            _bands(kinds, points, now),
        ]
        return _PAGE.format(
            refresh=_REFRESH_S,
            style=STYLE,
            state="attacked" if opened else "calm",
            said=_said(opened),
            at=escape(moment(now)),
            charts="".join(charts),
            rows="".join(_row(each, days, now) for each in incidents[:SHOWN]) or _NONE,
        )


def _column(points: Iterable[Point], name: str) -> list[float]:
    return [float(getattr(each, name)) for each in points]


def _said(opened: Sequence[str]) -> str:
    if not opened:
        return "No incident is open"
    many = "1 incident is" if len(opened) == 1 else f"{len(opened)} incidents are"
    return escape(f"{many} open: {', '.join(sorted(set(opened)))}")


def _x(at: int, now: int) -> float:
    return round(_WIDTH * (1 - (now - at) / KEPT_S), 1)


def _chart(
    title: str, lines: Sequence[tuple[str, Sequence[float]]], points: Sequence[Point], now: int
) -> str:
    most = max((value for _, values in lines for value in values), default=0.0)
    top = _round(most)
    drawn, legend = [], []
    for number, (name, values) in enumerate(lines, 1):
        places = " ".join(
            f"{_x(point.at, now)},{round(_HEIGHT * (1 - value / top), 1)}"
            for point, value in zip(points, values, strict=True)
        )
        drawn.append(f'<polyline class="line{number}" points="{places}"/>')
        last = _number(values[-1]) if values else "0"
        legend.append(f'<span class="key key{number}">{escape(name)} <b>{last}</b></span>')
    return _CHART.format(
        title=escape(title),
        legend=" ".join(legend),
        top=_number(top),
        width=_WIDTH,
        height=_HEIGHT,
        drawn="".join(drawn),
    )


def _bands(kinds: Sequence[str], points: Sequence[Point], now: int) -> str:
    """When which kind of incident was open."""
    if not kinds:
        return _CALM
    step = _WIDTH * STEP_S / KEPT_S
    rows = []
    for kind in kinds:
        bars = "".join(
            _BAND.format(x=_x(first, now) - step, width=_x(last, now) - _x(first, now) + step)
            for first, last in _spans(kind, points)
        )
        rows.append(
            f'<span>{escape(kind)}</span><svg viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none"'
            f' role="img" aria-label="{escape(kind)}">{bars}</svg>'
        )
    drawn = f'<div class="bands">{"".join(rows)}{_AXIS}</div>'
    return f'<section class="wide"><h2>Incidents</h2>{drawn}</section>'


def _spans(kind: str, points: Sequence[Point]) -> Iterator[tuple[int, int]]:
    """The first and the last step of each time that one was open."""
    for is_open, group in groupby(points, lambda each: kind in each.open):
        if is_open:
            times = [each.at for each in group]
            yield times[0], times[-1]


def _row(incident: Incident, days: int, now: int) -> str:
    closed = "open" if incident.closed_at is None else moment(incident.closed_at)
    until, kept = incident.kept_until(days), "sealed"
    if incident.hold is not None and incident.hold.holds(now):
        kept = "held"
    if incident.shredded_at is not None:
        kept = f"destroyed {moment(incident.shredded_at)}"
    elif until is not None:
        kept += f" until {moment(until)}"
    kind = f"{incident.kind}{' (dry run)' if incident.dry_run else ''}"
    texts = (
        *(str(incident.id), kind, incident.rule, moment(incident.opened_at), closed),
        *(f"{incident.sources:,}", f"{incident.events:,}", kept),
    )
    names = ("Incident", "Kind", "Rule", "Opened", "Closed", "Sources", "Events", "Addresses")
    cells = "".join(
        f'<td data-name="{name}">{escape(text)}</td>'
        for name, text in zip(names, texts, strict=True)
    )
    return f"<tr>{cells}</tr>"


def _round(most: float) -> float:
    """The end of an axis: 1, 2 or 5 times a power of ten."""
    unit = 1.0
    while 5 * unit < most:
        unit *= 10
    return next((unit * step for step in (1, 2, 5) if unit * step >= most), unit)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def headers() -> Mapping[str, str]:
    """What the page may do: nothing but show itself."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


_BAND = '<rect class="band" x="{x:.1f}" y="0" width="{width:.1f}" height="10"/>'
_AXIS = '<div class="axis"><span>2 h ago</span><span>1 h</span><span>now</span></div>'
_CALM = f'<section class="wide"><h2>Incidents</h2><p class="none">None in two hours.</p>{_AXIS}</section>'
_NONE = '<tr><td class="none" colspan="8">None so far.</td></tr>'
_CHART = (
    '<section><h2>{title}</h2><p class="legend">{legend}</p><div class="plot"><span class="top">{top}</span>'
    '<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{title}">'
    '<path class="grid" d="M0 0.5H{width}M0 50H{width}M0 99.5H{width}"/>{drawn}</svg></div>'
    f"{_AXIS}</section>"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{refresh}">
<title>{said} - pystream</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>Guard</h1><p class="state {state}">{said}</p><p class="at">{at}</p></header>
<div class="charts">{charts}</div>
<section class="table"><h2>Latest incidents</h2>
<table><thead><tr><th>Incident</th><th>Kind</th><th>Rule</th><th>Opened</th><th>Closed</th><th>Sources</th>
<th>Events</th><th>Addresses</th></tr></thead><tbody>{rows}</tbody></table>
</section>
</main>
</body>
</html>
"""
