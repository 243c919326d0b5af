"""Events, what people attend: `/api/v1/events`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.attendance.policies import ROUNDINGS
from pystream.attendance.programmes import SEAL_AFTER_S, Event, EventSettings, programme_ms, zone
from pystream.server.office.api.operations import (
    JSON,
    MERGE_PATCH,
    Call,
    Given,
    Moment,
    NoQuery,
    Paging,
    as_cursor,
    at,
    cursor_of,
    given_only,
    next_link,
    operation,
)
from pystream.server.office.api.streams import Name
from pystream.server.office.problems import Error, invalid

EventName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="1 to 63 small letters, digits and hyphens, with no hyphen first.",
        examples=["heart-2031"],
    ),
]
Title = Annotated[str, Meta(min_length=1, max_length=200, description="Its name for people.")]
Vnr = Annotated[str, Meta(max_length=40, description="The chamber's number of the event.")]
Streams = Annotated[
    list[Name],
    Meta(
        min_length=1,
        max_length=100,
        description="The streams that are attended: reports are united over them.",
    ),
]


class Span(Struct, kw_only=True, forbid_unknown_fields=True):
    """From one time to before another, to the millisecond."""

    begin: Moment
    end: Moment


Windows = Annotated[
    list[Span], Meta(min_length=1, max_length=200, description="The parts of the programme.")
]
Breaks = Annotated[list[Span], Meta(max_length=200, description="What is no part of it.")]
Rounding = Annotated[
    str,
    Meta(
        description="What time is worth. `floor45`: a point for each full 45 minutes. `ama_quarter`: credits"
        " of 60 minutes, to the nearest quarter of an hour. `threshold_pct`: no points; certified or not, at"
        " the threshold of that name.",
        extra_json_schema={"enum": list(ROUNDINGS)},
    ),
]
ThresholdPct = Annotated[
    int,
    Meta(
        ge=1,
        le=100,
        description="The least part of the programme, in percent, below which nothing is certified; null:"
        " any.",
    ),
]
LeastMinutes = Annotated[
    int, Meta(ge=1, le=10_080, description="The same, in minutes; null: any time.")
]
SealAfter = Annotated[
    int,
    Meta(
        ge=0,
        le=1_209_600,
        description="Seconds behind the end of the last day before which no report is sealed: evidence may"
        " come late.",
    ),
]
LookaheadS = Annotated[
    int,
    Meta(
        ge=1,
        le=600,
        description="So many seconds ahead of its delivery film counts; null: 60. Players that buffer more"
        " have it in their `flags` (`deep_buffer`).",
    ),
]
BridgeMs = Annotated[
    int,
    Meta(
        ge=0,
        le=5000,
        description="Holes of so many milliseconds are none; null: of half as long as segments last.",
    ),
]
CreditOutage = Annotated[
    bool,
    Meta(
        description="Whether reports say how much of an outage of the server lay within somebody's"
        " attendance (`outage_credit_ms`). It is part of no other number."
    ),
]


class EventView(Struct, kw_only=True):
    """An event. Times are told in its time zone, the one that the tenant had when it was added: days of its
    reports are days there. `programme_s` is how long the windows without the breaks are."""

    name: EventName
    title: Title
    vnr: Vnr
    streams: list[str]
    timezone: str
    windows: list[Span]
    breaks: list[Span]
    programme_s: int
    rounding: Rounding
    threshold_pct: ThresholdPct | None
    least_minutes: LeastMinutes | None
    seal_after_s: SealAfter
    lookahead_s: LookaheadS | None
    bridge_ms: BridgeMs | None
    credit_outage: CreditOutage
    created_at: Moment


class EventPage(Struct, kw_only=True):
    """A page of events, by name. `next` is the cursor of the next page; null: this is the last."""

    items: list[EventView]
    next: str | None


class NewEvent(Struct, kw_only=True, forbid_unknown_fields=True):
    """An event to be added."""

    name: EventName
    title: Title
    streams: Streams
    windows: Windows
    breaks: Breaks = []
    vnr: Vnr = ""
    rounding: Rounding = ROUNDINGS[0]
    threshold_pct: ThresholdPct | None = None
    least_minutes: LeastMinutes | None = None
    seal_after_s: SealAfter = SEAL_AFTER_S
    lookahead_s: LookaheadS | None = None
    bridge_ms: BridgeMs | None = None
    credit_outage: CreditOutage = False


class EventChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Changes of an event (a JSON Merge Patch, RFC 7396): what is left out stays as it is, a list replaces
    the whole list, and null takes a threshold away, or has it counted as films are."""

    title: Title | UnsetType = UNSET
    streams: Streams | UnsetType = UNSET
    windows: Windows | UnsetType = UNSET
    breaks: Breaks | UnsetType = UNSET
    vnr: Vnr | UnsetType = UNSET
    rounding: Rounding | UnsetType = UNSET
    threshold_pct: ThresholdPct | UnsetType | None = UNSET
    least_minutes: LeastMinutes | UnsetType | None = UNSET
    seal_after_s: SealAfter | UnsetType = UNSET
    lookahead_s: LookaheadS | UnsetType | None = UNSET
    bridge_ms: BridgeMs | UnsetType | None = UNSET
    credit_outage: CreditOutage | UnsetType = UNSET


_EXAMPLE = {
    "name": "heart-2031",
    "title": "Heart 2031",
    "vnr": "2760909012345678902",
    "streams": ["course"],
    "windows": [{"begin": "2031-05-16T18:00:00+02:00", "end": "2031-05-16T19:30:00+02:00"}],
    "breaks": [{"begin": "2031-05-16T18:45:00+02:00", "end": "2031-05-16T19:00:00+02:00"}],
    "rounding": "floor45",
}


@operation(query=Paging, gives=EventPage)
def listed(call: Call[Paging, None]) -> Given:
    """List events.

    The tenant's events, by name.
    """
    after, most = cursor_of(call.query.cursor), call.query.limit
    events = [each for each in call.office.store.events.listed(call.tenant_id) if each.name > after]
    following = as_cursor(events[most - 1].name) if len(events) > most else None
    page = EventPage(items=list(map(_view, events[:most])), next=following)
    return Given(page, headers=list(next_link(call, following)))


@operation(gives=EventView, problems=("not-found",))
def shown(call: Call[NoQuery, None]) -> Given:
    """Read an event.

    What is attended, when, and what a time of it is worth. Who has attended it is in its report.
    """
    return Given(_view(call.office.store.events.event(call.tenant_id, call.place["event"])))


@operation(
    body=NewEvent,
    gives=EventView,
    status=201,
    once="whole",
    problems=("exists",),
    example=_EXAMPLE,
)
def add(call: Call[NoQuery, NewEvent]) -> Given:
    """Add an event.

    A programme of windows and breaks over streams that are there. Its days are those of the time zone that
    the tenant has now. The name cannot be changed later.
    """
    values = _values(call.body)
    name = values.pop("name")
    timezone = call.office.store.tenant(call.actor.tenant).settings.timezone
    settings = EventSettings(timezone=timezone, **values)
    _check_streams(call, settings.streams)
    events = call.office.store.events
    made = events.add(call.tenant_id, name, settings, who=call.who, now=call.now)
    return Given(_view(made), 201, [("Location", f"{call.request.root}/api/v1/events/{name}")])


@operation(
    bodies={MERGE_PATCH: EventChange, JSON: EventChange},
    gives=EventView,
    once="whole",
    problems=("not-found",),
    example={"title": "Heart 2031, second day", "threshold_pct": None},
)
def change(call: Call[NoQuery, EventChange]) -> Given:
    """Change an event.

    What is left out stays as it is. Reports that were sealed stay as they are, too: what changes here is in
    the next version, which says why it is another one.
    """
    events, name = call.office.store.events, call.place["event"]
    before, changes = events.event(call.tenant_id, name), _values(call.body)
    _check_streams(call, changes.get("streams", ()), before)
    made = events.set(call.tenant_id, name, changes, who=call.who, now=call.now)
    return Given(_view(made))


@operation(status=204, problems=("not-found", "in-use"))
def remove(call: Call[NoQuery, None]) -> Given:
    """Remove an event.

    One that has a sealed report stays (409). Evidence of who has watched its streams is not touched.
    """
    events, name = call.office.store.events, call.place["event"]
    events.remove(call.tenant_id, name, who=call.who, now=call.now)
    return Given(status=204)


def _values(body: NewEvent | EventChange) -> dict[str, Any]:
    values = given_only(body)
    for name in ("windows", "breaks"):
        if name in values:
            values[name] = tuple((_ms(each.begin), _ms(each.end)) for each in values[name])
    return values


def _check_streams(call: Call[Any, Any], names: Sequence[str], before: Event | None = None) -> None:
    """Raises `Refusal`. What an event has already it keeps, though it was removed since."""
    there = {each.name for each in call.office.store.streams(call.actor.tenant)}
    there |= set(() if before is None else before.settings.streams)
    errors = [
        Error(detail=f"there is no stream {name!r}", pointer=f"#/streams/{place}")
        for place, name in enumerate(names)
        if name not in there
    ]
    if errors:
        raise invalid(*errors)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _view(event: Event) -> EventView:
    settings = event.settings
    return EventView(
        name=event.name,
        title=settings.title,
        vnr=settings.vnr,
        streams=list(settings.streams),
        timezone=settings.timezone,
        windows=spans(settings.windows, settings.timezone),
        breaks=spans(settings.breaks, settings.timezone),
        programme_s=programme_ms(settings.windows, settings.breaks) // 1000,
        rounding=settings.rounding,
        threshold_pct=settings.threshold_pct,
        least_minutes=settings.least_minutes,
        seal_after_s=settings.seal_after_s,
        lookahead_s=settings.lookahead_s,
        bridge_ms=settings.bridge_ms,
        credit_outage=settings.credit_outage,
        created_at=at(event.created_at),
    )


def spans(of: Iterable[Sequence[int]], timezone: str) -> list[Span]:
    """Of instants in ms, ascending, in a time zone."""
    return [
        Span(begin=instant(begin, timezone), end=instant(end, timezone))
        for begin, end in sorted(map(tuple, of))
    ]


def instant(ms: int, timezone: str) -> datetime:
    # By way of whole seconds: what a double has of ms would be cut off otherwise.
    found = datetime.fromtimestamp(ms // 1000, zone(timezone))
    return found.replace(microsecond=ms % 1000 * 1000)
