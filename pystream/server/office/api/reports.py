"""Reports of attendance: of an event, `/api/v1/events/{event}/report`, and of a stream and its days."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pystream.acl.reports import Line, Report
from pystream.acl.reports.curve import Curve, curves
from pystream.acl.reports.making import Wanted
from pystream.acl.store.sealed_reports import Hold, Version
from pystream.server.office import reporting
from pystream.server.office.api.events import Span, instant, spans
from pystream.server.office.api.operations import (
    CSV,
    JSON,
    PDF,
    Call,
    Document,
    Given,
    Moment,
    NoQuery,
    as_file,
    at,
    check_accepted,
    number,
    operation,
)
from pystream.server.office.api.passwords import Id, Label, Test, Text
from pystream.server.office.problems import Refusal

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SVG = "image/svg+xml"
KINDS = {"csv": CSV, "json": JSON, "xlsx": XLSX, "pdf": PDF, "svg": SVG}

Day = Annotated[
    date,
    Meta(description="A civil day of the tenant's time zone.", examples=["2031-05-16"]),
]
Number = Annotated[
    int,
    Meta(
        ge=1,
        le=10**9,
        description="A version that was sealed; if left out, the report is provisional, of now.",
    ),
]
Locale = Annotated[Literal["de", "en"], Meta(description="The language of its words.")]
Reason = Annotated[
    str,
    Meta(
        max_length=500,
        description="Why there is another version than the first one, which has none: for a correction it is"
        " wanted.",
    ),
]


class OfEvent(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which report of an event."""

    version: Number | UnsetType = UNSET


class OfStream(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which report of a stream. Without a day, of all days of which there is evidence."""

    day: Day | UnsetType = UNSET
    version: Number | UnsetType = UNSET


class FileOfEvent(OfEvent, kw_only=True, forbid_unknown_fields=True):
    """Which report of an event, and in which language."""

    locale: Locale = "de"


class FileOfStream(OfStream, kw_only=True, forbid_unknown_fields=True):
    """Which report of a stream, and in which language."""

    locale: Locale = "de"


class DayQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which day of a stream."""

    day: Day


class SomeDay(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which day of a stream; if left out, all of which there is evidence."""

    day: Day | UnsetType = UNSET


class LineView(Struct, kw_only=True):
    """What a report says of a password: of an event one line, of a stream one for each day. `password` is
    null where it was erased. `online_ms` is the time in which film was delivered and could be playing, also
    outside of the programme; `certifiable_ms` what of it counts. `points` and `certified` are null where the
    report says nothing about that. `online` is when it was."""

    id: Id
    password: Text | None
    label: Label
    test: Test
    day: date | None
    online_ms: int
    certifiable_ms: int
    points: float | None
    certified: bool | None
    max_devices: int
    evidence: Annotated[
        str, Meta(extra_json_schema={"enum": ["delivered", "player", "player+checks"]})
    ]
    flags: list[str]
    online: list[Span]


class BarView(Struct, kw_only=True):
    """How many passwords were watching at some time from `at` on, for a step; null: some, but fewer than
    five."""

    at: Moment
    passwords: int | None


class CurveView(Struct, kw_only=True):
    """The audience of a stream on a day: bars of `step_s` seconds, where there was any. Tests are in no
    sum."""

    stream: str
    day: date
    step_s: int
    bars: list[BarView]


class Totals(Struct, kw_only=True):
    """How many passwords there are, and how many of them are certified, without tests; `erased` are those
    that may have been valid in this time and are erased since, and `restricted` those whose data nobody may
    use: what was watched with them is in no line."""

    passwords: int
    certified: int | None
    erased: int
    restricted: int


class ReportView(Struct, kw_only=True):
    """A report. `version` is null where it is provisional: of the moment at which it was made, and signed by
    nobody. `definition` names the rule that times are computed by. There are no pages: the next one would be
    of another moment."""

    kind: Annotated[str, Meta(extra_json_schema={"enum": ["event", "stream"]})]
    name: str
    title: str
    vnr: str
    organiser: str
    version: int | None
    reason: str
    made_at: Moment
    timezone: str
    definition: str
    days: list[date] | None
    programme: list[Span]
    programme_s: int | None
    totals: Totals
    lines: list[LineView]
    curves: list[CurveView]


class VersionView(Struct, kw_only=True):
    """A sealed version. `sha256` is that of its document, which is the report as JSON."""

    version: int
    sealed_at: Moment
    reason: str
    sha256: str


class HoldView(Struct, kw_only=True):
    """Until when all sealed versions of a report are kept as they are, and why."""

    until: Moment
    reason: str
    since: Moment


class VersionList(Struct, kw_only=True):
    """All sealed versions, the first one first. There are few: this has no pages. `held` is null where they
    are not held."""

    items: list[VersionView]
    held: HoldView | None


class Sealing(Struct, kw_only=True, forbid_unknown_fields=True):
    """A version to be sealed."""

    reason: Reason = ""


class SealingOfDay(Sealing, kw_only=True, forbid_unknown_fields=True):
    """A version to be sealed of a day."""

    day: Day


class Holding(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to hold a report."""

    until: Annotated[Moment, Meta(description="The first moment at which it is over.")]
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=500,
            description="Which law or whose wish it is. Who is refused an erasure is told it.",
        ),
    ]


_HOLDING = {"until": "2032-01-01T00:00:00Z", "reason": "the chamber looks into it"}


# Of an event


@operation(query=OfEvent, gives=ReportView, problems=("not-found",))
def of_event(call: Call[OfEvent, None]) -> Given:
    """Read the report of an event.

    Who has attended it, over its streams: what runs at once counts once. It is provisional, by what is
    recorded so far, unless a sealed version is asked for. That it was shown, and how many lines, is on
    record.
    """
    return Given(_view(_report(call, _event(call))))


@operation(
    query=FileOfEvent,
    gives=Document,
    kind=tuple(KINDS.values()),
    problems=("not-found", "erased"),
)
def file_of_event(call: Call[FileOfEvent, None]) -> Given:
    """Download the report of an event.

    As `csv`, which a German Excel opens right and in which nothing is run as a formula; as `xlsx`; as `pdf`,
    the list for the chamber with a bar of time for each password; as `svg`, the audience of each stream over
    time, in which fewer than five are not counted; as `json`, which is what was signed, for `pystream
    attendance verify` and `join`. Of a sealed version of which passwords were erased since, there is no
    `json` any more (410). That it was shown is on record.
    """
    return _file(call, _event(call))


@operation(gives=VersionList, problems=("not-found",))
def versions_of_event(call: Call[NoQuery, None]) -> Given:
    """List sealed versions of an event's report.

    They never change: a correction is another one, and says why.
    """
    return _versions(call, _event(call))


@operation(
    body=Sealing,
    gives=VersionView,
    status=201,
    once="parts",
    problems=("not-found", "too-early"),
    example={"reason": "the VNR was wrong"},
)
def seal_event(call: Call[NoQuery, Sealing]) -> Given:
    """Seal the report of an event.

    Signs it as it is now, with a checkpoint of the log behind it, as the next version: at the earliest
    `seal_after_s` seconds after the event's last day is over (409 until then). An hour later the server
    does so by itself, if nobody has. No version is ever changed or removed, and an event that has one stays.
    """
    return _sealed(call, _event(call), call.body.reason)


@operation(gives=HoldView, problems=("not-found",))
def hold_of_event(call: Call[NoQuery, None]) -> Given:
    """Read what holds an event's report.

    404 where nothing does.
    """
    return _held(call, _event(call))


@operation(body=Holding, gives=HoldView, problems=("not-found",), example=_HOLDING)
def hold_event(call: Call[NoQuery, Holding]) -> Given:
    """Hold the report of an event.

    All its sealed versions are kept as they are, until then: none gets too old, no password that they name
    can be erased, and the tenant is not deleted. A hold that is there is replaced.
    """
    return _hold(call, _event(call))


@operation(status=204, problems=("not-found",))
def release_event(call: Call[NoQuery, None]) -> Given:
    """Hold the report of an event no more.

    What is too old by then is deleted soon.
    """
    return _release(call, _event(call))


# Of a stream


@operation(query=OfStream, gives=ReportView, problems=("not-found", "invalid"))
def of_stream(call: Call[OfStream, None]) -> Given:
    """Read the report of a stream.

    Who has watched it, by day. It is provisional, unless a sealed version of a day is asked for. That it was
    shown, and how many lines, is on record.
    """
    return Given(_view(_report(call, _stream(call, call.query.day))))


@operation(
    query=FileOfStream,
    gives=Document,
    kind=tuple(KINDS.values()),
    problems=("not-found", "invalid", "erased"),
)
def file_of_stream(call: Call[FileOfStream, None]) -> Given:
    """Download the report of a stream.

    In the same formats as that of an event, by day. That it was shown is on record.
    """
    return _file(call, _stream(call, call.query.day))


@operation(query=DayQuery, gives=VersionList, problems=("not-found", "invalid"))
def versions_of_stream(call: Call[DayQuery, None]) -> Given:
    """List sealed versions of a stream's report of a day.

    They never change: a correction is another one, and says why.
    """
    return _versions(call, _stream(call, call.query.day))


@operation(
    body=SealingOfDay,
    gives=VersionView,
    status=201,
    once="parts",
    problems=("not-found", "too-early"),
    example={"day": "2031-05-16"},
)
def seal_stream(call: Call[NoQuery, SealingOfDay]) -> Given:
    """Seal the report of a stream's day.

    Signs it as it is now, as the next version: at the earliest a day after that day is over.
    """
    return _sealed(call, _stream(call, call.body.day), call.body.reason)


@operation(query=DayQuery, gives=HoldView, problems=("not-found", "invalid"))
def hold_of_stream(call: Call[DayQuery, None]) -> Given:
    """Read what holds the report of a stream's day.

    404 where nothing does.
    """
    return _held(call, _stream(call, call.query.day))


@operation(query=DayQuery, body=Holding, gives=HoldView, problems=("not-found",), example=_HOLDING)
def hold_stream(call: Call[DayQuery, Holding]) -> Given:
    """Hold the report of a stream's day.

    As that of an event; the stream is not removed until then, either.
    """
    return _hold(call, _stream(call, call.query.day))


@operation(query=DayQuery, status=204, problems=("not-found", "invalid"))
def release_stream(call: Call[DayQuery, None]) -> Given:
    """Hold the report of a stream's day no more.

    What is too old by then is deleted soon.
    """
    return _release(call, _stream(call, call.query.day))


@operation(query=SomeDay, gives=Document, problems=("not-found", "invalid"))
def receipt(call: Call[SomeDay, None]) -> Given:
    """Download a password's receipt.

    What it has watched of a stream, with its events and the proof that they are in the tenant's log, all
    signed: anybody who has the log's public key can verify it, without a server (`pystream attendance
    verify`). That it was made is on record.
    """
    id = number(call.place["password"])
    name, day = call.place["stream"], day_of(call.query.day)
    data = reporting.receipt(call.office, call.actor, name, day, id)
    return Given(data=data, headers=[as_file(f"receipt-{name}-{id}.json")])


# What lies below


def _event(call: Call[Any, Any]) -> Wanted:
    return reporting.of_event(call.office, call.actor, call.place["event"])


def _stream(call: Call[Any, Any], day: date | UnsetType) -> Wanted:
    return reporting.of_stream(call.office, call.actor, call.place["stream"], day_of(day))


def day_of(day: date | UnsetType) -> str | None:
    return None if day is UNSET else day.isoformat()


def _report(call: Call[Any, Any], wanted: Wanted) -> Report:
    version = None if call.query.version is UNSET else call.query.version
    return reporting.report(call.office, call.actor, wanted, version)


def _file(call: Call[Any, Any], wanted: Wanted) -> Given:
    shape = call.place["format"]
    if shape not in KINDS:
        raise Refusal("not-found", f"there is no such format; there is {', '.join(KINDS)}")
    check_accepted(call.request, KINDS[shape])
    report = _report(call, wanted)
    data = reporting.file(report, shape, call.query.locale)
    headers = [as_file(reporting.file_name(report, shape))]
    return Given(data=data, headers=headers, kind=KINDS[shape])


def _versions(call: Call[Any, Any], wanted: Wanted) -> Given:
    found, held = reporting.versions(call.office, wanted), reporting.held(call.office, wanted)
    view = None if held is None else _hold_view(held)
    return Given(VersionList(items=list(map(_version, found)), held=view))


def _held(call: Call[Any, Any], wanted: Wanted) -> Given:
    held = reporting.held(call.office, wanted)
    if held is None:
        raise Refusal("not-found", "this report is not held")
    return Given(_hold_view(held))


def _hold(call: Call[Any, Holding], wanted: Wanted) -> Given:
    until = int(call.body.until.timestamp())
    return Given(
        _hold_view(reporting.hold(call.office, call.actor, wanted, until, call.body.reason))
    )


def _release(call: Call[Any, Any], wanted: Wanted) -> Given:
    reporting.release(call.office, call.actor, wanted)
    return Given(status=204)


def _hold_view(held: Hold) -> HoldView:
    return HoldView(until=at(held.until), reason=held.reason, since=at(held.made_at))


def _sealed(call: Call[Any, Any], wanted: Wanted, reason: str) -> Given:
    return Given(_version(reporting.seal(call.office, call.actor, wanted, reason)), 201)


def _version(version: Version) -> VersionView:
    return VersionView(
        version=version.number,
        sealed_at=at(version.made_at),
        reason=version.reason,
        sha256=version.digest,
    )


def _view(report: Report) -> ReportView:
    about, options = report.about, report.options
    lines = report.lines()
    counted = [line for line in lines if not line.is_test]
    certified = sum(line.certified is True for line in counted)
    days = report.scope.days
    return ReportView(
        kind=about["kind"],
        name=about["name"],
        title=about["title"],
        vnr=about["vnr"],
        organiser=about["organiser"],
        version=report.version,
        reason=about["reason"],
        made_at=datetime.fromisoformat(about["made_at"]),
        timezone=options.timezone,
        definition=about["definition"],
        days=None if days is None else list(map(date.fromisoformat, days)),
        programme=spans(options.windows, options.timezone),
        programme_s=about["programme_ms"] and about["programme_ms"] // 1000,
        totals=Totals(
            passwords=len({line.key for line in counted}),
            certified=None if about["policy"] is None else certified,
            erased=about.get("erased", 0),
            restricted=about.get("restricted", 0),
        ),
        lines=[_line(line, options.timezone) for line in lines],
        curves=[_curve(each, options.timezone) for each in curves(report)],
    )


def _line(line: Line, timezone: str) -> LineView:
    row = line.row
    return LineView(
        id=line.key,
        password=line.password,
        label=line.label,
        test=line.is_test,
        day=None if row["day"] is None else date.fromisoformat(row["day"]),
        online_ms=line.online_ms,
        certifiable_ms=row["certifiable_ms"],
        points=None if line.points is None else float(line.points),
        certified=line.certified,
        max_devices=row["max_devices"],
        evidence=row["evidence_grade"],
        flags=list(row["flags"]),
        online=spans(line.spans, timezone),
    )


def _curve(curve: Curve, timezone: str) -> CurveView:
    return CurveView(
        stream=curve.stream,
        day=date.fromisoformat(curve.day),
        step_s=curve.step // 1000,
        bars=[BarView(at=instant(bar.begin, timezone), passwords=bar.many) for bar in curve.bars],
    )
