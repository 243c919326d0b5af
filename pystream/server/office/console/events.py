"""Events, what people attend: listed, added, changed, removed.

Windows and breaks are typed a line each, as the clock of the event's time zone has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pystream.acl.people import Actor
from pystream.acl.streams import Stream
from pystream.attendance.policies import ROUNDINGS
from pystream.attendance.programmes import Event, EventSettings, programme_ms, span, written
from pystream.errors import Exists, InUse, InvalidValue, NotFound, Said
from pystream.server.office import console
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_SPANS = ("windows", "breaks")
_NUMBERS = ("threshold_pct", "least_minutes", "lookahead_s", "bridge_ms")
_HOUR_S = 3600
_MOST_HOURS = 14 * 24
_DATE = r"(?:\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4})"
_CLOCK = r"\d\d?:\d\d(?::\d\d)?"
_LINE = re.compile(
    rf"({_DATE})[T ,]+({_CLOCK})\s*(?:[-–—/]|bis|to)\s*(?:({_DATE})[T ,]+)?({_CLOCK})", re.ASCII
)


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    values: dict[str, Any] = {
        "events": office.store.events.listed(actor.tenant_id),
        "shown": _shown_spans,
        "spoken": pages.spoken_to(request),
        "done": request.query.get("done"),
    }
    return pages.page(request, actor, "events.html", **values)


def new(office: Office, actor: Actor, request: Request) -> Reply:
    return _form(office, actor, request, None, _EMPTY)


_EMPTY = {
    **dict.fromkeys(("name", "title", "vnr", "windows", "breaks", *_NUMBERS), ""),
    "rounding": ROUNDINGS[0],
    "seal_after": "24",
}


def add(office: Office, actor: Actor, request: Request) -> Reply:
    form = request.form
    zone = office.store.tenant(actor.tenant).settings.timezone
    name = form.get("name", "").strip().lower()
    try:
        settings = EventSettings(timezone=zone, **_values(form, zone))
        by: dict[str, Any] = {"who": actor.who, "now": office.now()}
        office.store.events.add(actor.tenant_id, name, settings, **by)
    except (InvalidValue, Exists, NotFound) as error:
        return _form(office, actor, request, None, form, 422, said=pages.sentences_of(error))
    return console.to(request, f"/console/events/{name}?done=saved")


def page(office: Office, actor: Actor, request: Request) -> Reply:
    event = office.store.events.event(actor.tenant_id, request.place["event"])
    shown = _shown(event, pages.spoken_to(request))
    return _form(office, actor, request, event, shown, done=request.query.get("done"))


def change(office: Office, actor: Actor, request: Request) -> Reply:
    event = office.store.events.event(actor.tenant_id, request.place["event"])
    form = request.form
    try:
        changes = _values(form, event.settings.timezone)
        by: dict[str, Any] = {"who": actor.who, "now": office.now()}
        office.store.events.set(actor.tenant_id, event.name, changes, **by)
    except (InvalidValue, NotFound) as error:
        return _form(office, actor, request, event, form, 422, said=pages.sentences_of(error))
    return console.to(request, f"/console/events/{event.name}?done=saved")


def remove(office: Office, actor: Actor, request: Request) -> Reply:
    """Removes an event, once that was asked."""
    event = office.store.events.event(actor.tenant_id, request.place["event"])
    if not request.form.get("sure"):
        return pages.page(request, actor, "sure_event.html", event=event)
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    try:
        office.store.events.remove(actor.tenant_id, event.name, **by)
    except InUse as error:
        shown = _shown(event, pages.spoken_to(request))
        return _form(office, actor, request, event, shown, 409, said=pages.sentences_of(error))
    return console.to(request, "/console/events?done=done_remove_event")


# Forms


def _form(
    office: Office,
    actor: Actor,
    request: Request,
    event: Event | None,
    form: Mapping[str, str],
    status: int = 200,
    **values: Any,
) -> Reply:
    zone = office.store.tenant(actor.tenant).settings.timezone
    values |= {
        "event": event,
        "form": _EMPTY | dict(form),
        "streams": _streams(office, actor, event),
        "roundings": ROUNDINGS,
        "zone": zone if event is None else event.settings.timezone,
        "programme_s": 0 if event is None else _programme_s(event),
    }
    return pages.page(request, actor, "event.html", status, **values)


def _streams(office: Office, actor: Actor, event: Event | None) -> list[tuple[str, str, bool]]:
    """Name, title, and whether its attendance is recorded; of what the event has, also those that were
    removed."""
    there: dict[str, Stream] = {each.name: each for each in office.store.streams(actor.tenant)}
    found = [
        (name, each.settings.title or name, each.settings.attendance)
        for name, each in there.items()
    ]
    gone = [] if event is None else [n for n in event.settings.streams if n not in there]
    return found + [(name, name, True) for name in gone]


def _programme_s(event: Event) -> int:
    return programme_ms(event.settings.windows, event.settings.breaks) // 1000


def _values(form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """The settings that a form has. Raises `InvalidValue` with all that cannot be read."""
    values: dict[str, Any] = {
        "title": form.get("title", "").strip(),
        "vnr": form.get("vnr", "").strip(),
        "streams": tuple(name[7:] for name in form if name.startswith("stream.")),
        "rounding": form.get("rounding", ""),
        "credit_outage": "credit_outage" in form,
    }
    wrong: list[str] = []
    for name in _SPANS:
        lines = [line.strip() for line in form.get(name, "").splitlines()]
        try:
            values[name] = tuple(_span(line, zone) for line in lines if line)
        except InvalidValue as error:
            wrong += [pages.about(name, each) for each in error.problems]
    for name in _NUMBERS:
        text = form.get(name, "").strip()
        values[name] = None
        if text:
            try:
                values[name] = _number(name, text)
            except InvalidValue as error:
                wrong += error.problems
    try:
        values["seal_after_s"] = _hours(form.get("seal_after", "")) * _HOUR_S
    except InvalidValue as error:
        wrong += error.problems
    if wrong:
        raise InvalidValue(*wrong)
    return values


def _span(line: str, zone: str) -> tuple[int, int]:
    found = _LINE.fullmatch(line)
    if found is None:
        text = "a day and times are wanted, as in 2031-05-16 18:00-19:30"
        raise InvalidValue(Said("span", text))
    day, begin, other, end = found.groups()
    to = f"{_date(other)}T{_clock(end)}" if other else _clock(end)
    return span(f"{_date(day)}T{_clock(begin)}/{to}", zone)


def _date(text: str) -> str:
    if "." not in text:
        return text
    day, month, year = text.split(".")
    return f"{year}-{month:0>2}-{day:0>2}"


def _clock(text: str) -> str:
    return text if text[1] != ":" else f"0{text}"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidValue(Said("number", "a whole number is wanted", of=name))
    return int(text)


def _hours(text: str) -> int:
    hours = _number("seal_after_s", text.strip())
    if hours > _MOST_HOURS:
        said = f"from 0 to {_MOST_HOURS} are wanted"
        raise InvalidValue(Said("range", said, of="seal_after_s", least=0, most=_MOST_HOURS))
    return hours


def _shown(event: Event, spoken: str) -> dict[str, str]:
    settings = event.settings
    shown = {
        "name": event.name,
        "title": settings.title,
        "vnr": settings.vnr,
        "rounding": settings.rounding,
        # Commands and programs may have set it to the second.
        "seal_after": str(-(-settings.seal_after_s // _HOUR_S)),
    }
    for name in _SPANS:
        shown[name] = "\n".join(_shown_spans(getattr(settings, name), settings.timezone, spoken))
    for name in _NUMBERS:
        value = getattr(settings, name)
        shown[name] = "" if value is None else str(value)
    switches = [f"stream.{name}" for name in settings.streams]
    if settings.credit_outage:
        switches.append("credit_outage")
    return shown | dict.fromkeys(switches, "on")


def _shown_spans(of: tuple[tuple[int, int], ...], timezone: str, spoken: str) -> list[str]:
    """As `_span` reads them."""
    found = []
    for each in sorted(of):
        begin, _, end = written(each, timezone).replace("T", " ").partition("/")
        said = f"{begin}–{end}" if len(end) < 10 else f"{begin} – {end}"
        if spoken == "de":
            said = re.sub(r"(\d{4})-(\d\d)-(\d\d)", r"\3.\2.\1", said)
        found.append(said)
    return found
