"""The audience of each stream over time, as SVG: sums, and no word of who it was.

A bar is how many passwords were watching at some time of an interval. Fewer than five are not told: their
bar is striped and of one height, whether it was one or four. Accesses for tests are in no sum.
"""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any, Final, NamedTuple

from pystream.acl.reports import Report
from pystream.acl.reports.words import WORDS, civil
from pystream.attendance.programmes import days, midnights, zone

LEAST: Final = 5

_MINUTE_MS = 60_000
_STEPS = (1, 2, 5, 10, 15, 30, 60)
_MOST_BARS = 120
_WIDTH, _LEFT, _RIGHT = 760, 48, 26
_TOP, _HEIGHT, _BELOW = 40, 150, 44
_STYLE = (
    "svg{color-scheme:light dark;--ink:#1a1d21;--quiet:#5b6470;--line:#d5dae0;--bar:#1f6feb;--back:#fff}"
    "@media(prefers-color-scheme:dark){svg{--ink:#eceff3;--quiet:#a3adb8;--line:#3a424c;--bar:#6cb0ff;"
    "--back:#14171a}}"
    "text{font:12px system-ui,sans-serif;fill:var(--quiet)}"
    ".head{font-size:14px;font-weight:600;fill:var(--ink)}"
    ".back{fill:var(--back)}.line{stroke:var(--line);fill:none}.bar{fill:var(--bar)}"
    ".few{fill:url(#few)}.stripe{stroke:var(--bar);stroke-width:1.5}"
)


class Bar(NamedTuple):
    """`many` is None where there are some, and fewer than are told."""

    begin: int
    many: int | None


class Curve(NamedTuple):
    """The audience of a stream on a day. `step` is in ms."""

    stream: str
    day: str
    begin: int
    end: int
    step: int
    bars: list[Bar]


def curves(report: Report) -> list[Curve]:
    """One for each stream and day that has an audience, or a programme."""
    passwords, windows = report.about["passwords"], report.options.windows
    tests = {key for key, known in passwords.items() if known["test"]}
    timezone = report.options.timezone
    found: dict[tuple[str, str], dict[str, list[Any]]] = {}
    if windows:
        for name in report.about["streams"]:
            for day in days(windows, timezone):
                found[name, day] = {}
    for row in report.rows:
        if row["stream"] is not None and row["day"] is not None and row["key"] not in tests:
            found.setdefault((row["stream"], row["day"]), {})[row["key"]] = row["intervals"]
    return [_curve(report, name, day, found[name, day]) for name, day in sorted(found)]


def _curve(report: Report, name: str, day: str, watched: dict[str, list[Any]]) -> Curve:
    midnight, over = midnights(day, day, report.options.timezone)
    edges = [
        min(max(instant, midnight), over)
        for begin, end in report.options.windows
        if begin < over and end > midnight
        for instant in (begin, end)
    ]
    edges += [instant for spans in watched.values() for span in spans for instant in span]
    begin, end = min(edges, default=midnight), max(edges, default=over)
    fits = [each for each in _STEPS if (end - begin) // (each * _MINUTE_MS) < _MOST_BARS]
    step = (fits or _STEPS[-1:])[0] * _MINUTE_MS
    begin -= (begin - midnight) % step
    end += -(end - begin) % step
    bars = []
    for at in range(begin, end, step):
        count = sum(
            any(first < at + step and last > at for first, last in spans)
            for spans in watched.values()
        )
        if count:
            bars.append(Bar(at, count if count >= LEAST else None))
    return Curve(name, day, begin, end, step, bars)


def svg(report: Report, locale: str, *, inline: bool = False) -> bytes:
    """A picture of all curves, one below the other; `inline`: for a page, which has a style for it."""
    words, drawn = WORDS[locale], curves(report)
    height = max(1, len(drawn)) * (_TOP + _HEIGHT + _BELOW)
    title = escape(f"{words['curve']}: {report.about['title']}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{title}</title>{'' if inline else f'<style>{_STYLE}</style>'}",
        '<defs><pattern id="few" width="6" height="6" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)"><path class="stripe" d="M0 0V6"/></pattern></defs>',
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
    ]
    for number, curve in enumerate(drawn):
        above = number * (_TOP + _HEIGHT + _BELOW)
        parts.append(f'<g transform="translate(0 {above})">')
        parts += _panel(report, curve, locale)
        parts.append("</g>")
    if not drawn:
        parts.append(f'<text x="{_LEFT}" y="{_TOP}">{words["curve_none"]}</text>')
    return "".join([*parts, "</svg>\n"]).encode()


def _panel(report: Report, curve: Curve, locale: str) -> list[str]:
    words, there = WORDS[locale], zone(report.options.timezone)
    base, length = _TOP + _HEIGHT, curve.end - curve.begin
    name = report.about["streams"].get(curve.stream, curve.stream)
    day = civil(datetime.fromisoformat(curve.day).date(), locale)
    most = max([LEAST, *(bar.many or 0 for bar in curve.bars)])
    top = _nice(most)
    room = _WIDTH - _LEFT - _RIGHT

    def x(at: int) -> float:
        return round(_LEFT + (at - curve.begin) / length * room, 1)

    def y(count: float) -> float:
        return round(base - count / top * _HEIGHT, 1)

    said = words["curve_means"].format(minutes=curve.step // _MINUTE_MS, least=LEAST)
    parts = [
        f'<text class="head" x="{_LEFT}" y="18">{escape(name)}, {day}</text>',
        f'<text x="{_LEFT}" y="33">{said}</text>',
    ]
    for count in range(0, top + 1, top // 5 if top % 5 == 0 else top):
        at = y(count)
        parts.append(f'<path class="line" d="M{_LEFT} {at}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{count}</text>')
    for bar in curve.bars:
        left, right = x(bar.begin), x(bar.begin + curve.step)
        kind, upper = ("few", y(LEAST)) if bar.many is None else ("bar", y(bar.many))
        width, tall = max(0.5, round(right - left - 0.6, 1)), round(base - upper, 1)
        hour = f"{datetime.fromtimestamp(bar.begin / 1000, there):%H:%M}"
        told = f"&lt; {LEAST}" if bar.many is None else str(bar.many)
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{upper}" width="{width}" height="{tall}">'
            f"<title>{hour}: {told}</title></rect>"
        )
    for at in _ticks(curve):
        hour = f"{datetime.fromtimestamp(at / 1000, there):%H:%M}"
        parts.append(f'<path class="line" d="M{x(at)} {base}v5"/>')
        parts.append(f'<text x="{x(at)}" y="{base + 19}" text-anchor="middle">{hour}</text>')
    return parts


def _nice(most: int) -> int:
    """The end of an axis, in five steps."""
    scale = 5
    while True:
        for factor in (1, 2, 4, 6):
            if most <= scale * factor:
                return scale * factor
        scale *= 10


def _ticks(curve: Curve) -> list[int]:
    length = curve.end - curve.begin
    for minutes in (5, 10, 15, 30, 60, 120, 180, 240):
        step = minutes * _MINUTE_MS
        if length // step <= 10:
            break
    first = curve.begin + -curve.begin % step
    return list(range(first, curve.end + 1, step))
