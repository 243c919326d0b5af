"""Reports of attendance: of an event, of a stream's days, and what is downloaded of them.

Each view is on record, downloads as well (`reporting`). The bars of time and the audience's curve are SVG
without a style of their own, since nothing is inline here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from pystream.acl.people import Actor
from pystream.acl.reports import Line, Report
from pystream.acl.reports.curve import svg
from pystream.acl.reports.files import SHAPES
from pystream.acl.reports.grid import Kind as Cell
from pystream.acl.reports.grid import facts, printed, share, totals
from pystream.acl.reports.making import Wanted
from pystream.acl.reports.timeline import Timeline, timeline
from pystream.acl.reports.words import WORDS, civil, clock, definitions, left_out, notes
from pystream.attendance.programmes import Event, zone
from pystream.errors import InvalidValue, Said, TooEarly
from pystream.server.http import HttpError
from pystream.server.office import console, reporting
from pystream.server.office.api.reports import KINDS
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request, is_id

_PAGE = 100
_WIDTH, _GAP = 1000.0, 10.0
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def of_event(office: Office, actor: Actor, request: Request) -> Reply:
    wanted = reporting.of_event(office, actor, request.place["event"])
    return _page(office, actor, request, wanted, done=request.query.get("done"))


def of_stream(office: Office, actor: Actor, request: Request) -> Reply:
    """Without a day, which days there are."""
    wanted = asked_of_stream(office, actor, request, request.query)
    if wanted.day is not None:
        return _page(office, actor, request, wanted, done=request.query.get("done"))
    report = reporting.report(office, actor, wanted)
    values = _usual(request, wanted, report) | {"days": _days(report, pages.spoken_to(request))}
    return pages.page(request, actor, "days.html", **values)


def file_of_event(office: Office, actor: Actor, request: Request) -> Reply:
    return _file(office, actor, request, reporting.of_event(office, actor, request.place["event"]))


def file_of_stream(office: Office, actor: Actor, request: Request) -> Reply:
    return _file(office, actor, request, asked_of_stream(office, actor, request, request.query))


def seal_event(office: Office, actor: Actor, request: Request) -> Reply:
    return _seal(office, actor, request, reporting.of_event(office, actor, request.place["event"]))


def seal_stream(office: Office, actor: Actor, request: Request) -> Reply:
    return _seal(office, actor, request, asked_of_stream(office, actor, request, request.form))


def receipt(office: Office, actor: Actor, request: Request) -> Reply:
    """What a password has watched of a stream, with proof."""
    id, name = request.place["password"], request.place["stream"]
    if not is_id(id):
        raise HttpError(404, Said("nothing", "there is nothing here"))
    data = reporting.receipt(office, actor, name, request.query.get("day") or None, int(id))
    return pages.file(f"receipt-{name}-{id}.json", "application/json", data)


# One report


def _page(
    office: Office,
    actor: Actor,
    request: Request,
    wanted: Wanted,
    status: int = 200,
    **values: Any,
) -> Reply:
    query = request.query
    version = whole(query["version"]) if query.get("version") else None
    after = whole(query.get("after", "0"))
    report = reporting.report(office, actor, wanted, version)
    lines, spoken = report.lines(), pages.spoken_to(request)
    some = lines[after : after + _PAGE]
    line = timeline(report, lines)
    rows = list(_rows(report, some, line, spoken))
    usual = _usual(request, wanted, report) | {
        "versions": reporting.versions(office, wanted),
        "hold": reporting.held(office, wanted),
        "rows": rows,
        "has_receipts": any(row["receipts"] for row in rows),
        "axis": _axis(line, report.options.timezone, spoken),
        "curve": _curve(report, spoken),
        "columns": _columns(report),
        "after": after,
        "next": after + _PAGE if after + _PAGE < len(lines) else None,
        "count": len(lines),
        "sealable_from": wanted.sealable_from,
        "is_over": office.now() >= wanted.sealable_from,
    }
    return pages.page(request, actor, "report.html", status, **usual | values)


def _usual(request: Request, wanted: Wanted, report: Report) -> dict[str, Any]:
    spoken = pages.spoken_to(request)
    place = f"{'events' if report.is_of_event else 'streams'}/{wanted.of.name}"
    about, timezone = report.about, report.options.timezone

    def path(below: str, version: int | None, after: int | None = None) -> str:
        query = {"day": wanted.day, "version": version, "after": after}
        return path_of(request, f"{place}/{below}", query)

    return {
        "report": report,
        "of": wanted.of,
        "is_event": isinstance(wanted.of, Event),
        "of_day": wanted.day,
        "place": f"/console/{place}",
        "to": partial(path, "report"),
        "hold_path": path("hold", None),
        "file": lambda shape: path(f"report/{shape}", report.version),
        "w": WORDS[spoken],
        # The first one is the title.
        "facts": facts(report, spoken)[1:],
        "said_of_all": [totals(report, spoken), *left_out(about, spoken)],
        "meanings": definitions(about, report.options, spoken),
        "made_at": int(datetime.fromisoformat(about["made_at"]).timestamp()),
        "zone": timezone,
    }


def _columns(report: Report) -> tuple[str, ...]:
    """Those that say what time is worth, by their names in `WORDS`."""
    worth = report.about["policy"]
    if worth is None:
        return ()
    return ("share", "certified") if worth["rounding"] == "threshold_pct" else ("share", "points")


def _rows(
    report: Report, lines: Sequence[Line], line: Timeline, spoken: str
) -> Iterator[dict[str, Any]]:
    words, point = WORDS[spoken], "," if spoken == "de" else "."
    watched: dict[str, set[str]] = {}
    for row in report.rows:
        if row["stream"] is not None and row["access_ms"]:
            watched.setdefault(row["key"], set()).add(row["stream"])
    titles = report.about["streams"]
    for each in lines:
        worth = {}
        if report.about["policy"] is not None:
            part = share(each.row["certifiable_ms"], report.about["programme_ms"])
            worth["share"] = printed(part, Cell.DECIMAL, point)
            worth["certified"] = words["yes" if each.certified else "no"]
            worth["points"] = (each.points or "").replace(".", point)
        yield {
            "key": each.key,
            "text": each.password,
            "label": each.label,
            "is_test": each.is_test,
            "online": clock(each.online_ms),
            "certifiable": clock(each.row["certifiable_ms"]),
            "worth": worth,
            "is_certified": each.certified,
            "notes": notes(each.row, spoken),
            "evidence": each.row["evidence_grade"],
            "parts": _parts(line, each.spans),
            "when": _when(each.spans, report.options.timezone),
            "receipts": [
                (name, titles.get(name, name)) for name in sorted(watched.get(each.key, ()))
            ],
        }


def _parts(line: Timeline, spans: Sequence[Sequence[int]]) -> list[tuple[str, float, float]]:
    """What is drawn of a bar, from left to right and one above the other: class, where, how wide."""
    watched = [(begin, end) for begin, end in spans]
    found = []
    for kind, these in (
        ("planned", list(line.programme)),
        ("between", watched if line.programme else []),
        ("online", line.inside(watched)),
    ):
        for begin, end in these:
            for left, right in _on_axis(line, begin, end):
                found.append((kind, round(left, 1), round(max(right - left, 1.5), 1)))
    return found


def _on_axis(line: Timeline, begin: int, end: int) -> Iterator[tuple[float, float]]:
    room = _WIDTH - _GAP * max(0, len(line.spans) - 1)
    left, scale = 0.0, room / line.length
    for first, last in line.spans:
        if begin < last and end > first:
            yield (
                left + (max(begin, first) - first) * scale,
                left + (min(end, last) - first) * scale,
            )
        left += (last - first) * scale + _GAP


def _axis(line: Timeline, timezone: str, spoken: str) -> list[str]:
    """What each part of a bar spans."""
    there, found = zone(timezone), []
    for begin, end in line.spans:
        first, last = (datetime.fromtimestamp(ms / 1000, there) for ms in (begin, end))
        day = f"{first:%d.%m.}" if spoken == "de" else f"{first:%m-%d}"
        found.append(f"{day} {first:%H:%M}–{last:%H:%M}")
    return found


def _when(spans: Sequence[Sequence[int]], timezone: str) -> str:
    """The times of a bar in words, the first ones of very many."""
    there = zone(timezone)
    said = [
        "–".join(f"{datetime.fromtimestamp(ms / 1000, there):%H:%M}" for ms in span)
        for span in spans[:20]
    ]
    return ", ".join(said) + (" …" if len(spans) > 20 else "")


def _curve(report: Report, spoken: str) -> Any:
    from markupsafe import Markup

    return Markup(svg(report, spoken, inline=True).decode())


def _days(report: Report, spoken: str) -> list[tuple[str, str, int, str]]:
    """Each day that there is evidence of, the newest first: as addresses and as people have it, how many
    passwords, without tests, and how long they were online together."""
    found: dict[str, list[Line]] = {}
    for line in report.lines():
        if not line.is_test:
            found.setdefault(line.row["day"], []).append(line)
    return [
        (day, civil_day(day, spoken), len(lines), clock(sum(line.online_ms for line in lines)))
        for day, lines in sorted(found.items(), reverse=True)
    ]


def civil_day(day: str, spoken: str) -> str:
    return civil(date.fromisoformat(day), spoken)


# Files, and sealing


def _file(office: Office, actor: Actor, request: Request, wanted: Wanted) -> Reply:
    shape, query = request.place["format"], request.query
    if shape not in SHAPES:
        raise HttpError(404, Said("nothing", "there is nothing here"))
    version = whole(query["version"]) if query.get("version") else None
    report = reporting.report(office, actor, wanted, version)
    data = reporting.file(report, shape, pages.spoken_to(request))
    return pages.file(reporting.file_name(report, shape), KINDS[shape], data)


def _seal(office: Office, actor: Actor, request: Request, wanted: Wanted) -> Reply:
    """Seals another version, once that was asked."""
    form, there = request.form, reporting.versions(office, wanted)
    place = f"{'events' if isinstance(wanted.of, Event) else 'streams'}/{wanted.of.name}"
    values: dict[str, Any] = {
        "of": wanted.of,
        "of_day": wanted.day,
        "civil": wanted.day and civil_day(wanted.day, pages.spoken_to(request)),
        "place": f"/console/{place}",
        "version": len(there) + 1,
        "reason": form.get("reason", ""),
    }
    if not form.get("sure"):
        return pages.page(request, actor, "sure_seal.html", **values)
    try:
        made = reporting.seal(office, actor, wanted, form.get("reason", "").strip())
    except InvalidValue as error:
        return pages.page(request, actor, "sure_seal.html", 422, said=error.problems, **values)
    except TooEarly:
        return pages.page(request, actor, "sure_seal.html", 409, problem="seal_early", **values)
    query = {"day": wanted.day, "version": made.number, "done": "done_seal"}
    return console.to(
        request, path_of(request, f"{place}/report", query).removeprefix(request.root)
    )


# What lies below


def asked_of_stream(
    office: Office, actor: Actor, request: Request, given: Mapping[str, str]
) -> Wanted:
    day = given.get("day") or None
    if day is not None and not _DAY.fullmatch(day):
        raise HttpError(400, Said("malformed", "there is a day wanted in the address"))
    return reporting.of_stream(office, actor, request.place["stream"], day)


def path_of(request: Request, place: str, query: Mapping[str, Any]) -> str:
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{request.root}/console/{place}{f'?{given}' if given else ''}"


def whole(text: str) -> int:
    """A number of an address. Raises `HttpError`."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HttpError(400, Said("malformed", "there is a number wanted in the address"))
    return int(text)
