"""Sealed reports that are held: which there are, and what holds each.

Who answers for the data of others holds a report and need not read it: these pages name events, days and
versions, and nobody who watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pystream.acl import password_csv
from pystream.acl.people import Actor
from pystream.acl.reports.making import Wanted
from pystream.attendance.programmes import Event
from pystream.errors import InvalidValue, NotFound, Said
from pystream.server.http import HttpError
from pystream.server.office import console, reporting
from pystream.server.office.console import pages
from pystream.server.office.console.reports import asked_of_stream, civil_day, path_of, whole
from pystream.server.office.values import Office, Reply, Request

_PAGE = 100


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    """Of what there are sealed versions, the latest first."""
    after, spoken = whole(request.query.get("after", "0")), pages.spoken_to(request)
    found = reporting.sealed(office, actor, skip=after, most=_PAGE + 1)
    rows = [
        {
            "name": each.name,
            "day": each.subject.day and civil_day(each.subject.day, spoken),
            "versions": each.versions,
            "sealed_at": each.sealed_at,
            "hold": each.hold,
            "path": _path(
                request, each.subject.event_id is not None, each.name, "hold", each.subject.day
            ),
        }
        for each in found[:_PAGE]
    ]
    values: dict[str, Any] = {
        "rows": rows,
        "next": after + _PAGE if len(found) > _PAGE else None,
        "zone": office.store.tenant(actor.tenant).settings.timezone,
    }
    return pages.page(request, actor, "holds.html", **values)


def of_event(office: Office, actor: Actor, request: Request) -> Reply:
    wanted = reporting.of_event(office, actor, request.place["event"])
    return _page(office, actor, request, wanted, done=request.query.get("done"))


def of_stream(office: Office, actor: Actor, request: Request) -> Reply:
    return _page(
        office,
        actor,
        request,
        _of_a_day(office, actor, request, request.query),
        done=request.query.get("done"),
    )


def change_event(office: Office, actor: Actor, request: Request) -> Reply:
    return _change(
        office, actor, request, reporting.of_event(office, actor, request.place["event"])
    )


def change_stream(office: Office, actor: Actor, request: Request) -> Reply:
    return _change(office, actor, request, _of_a_day(office, actor, request, request.form))


def _of_a_day(office: Office, actor: Actor, request: Request, given: Mapping[str, str]) -> Wanted:
    """Of a stream, days alone are sealed."""
    if not given.get("day"):
        raise HttpError(400, Said("malformed", "there is a day wanted in the address"))
    return asked_of_stream(office, actor, request, given)


def _page(
    office: Office,
    actor: Actor,
    request: Request,
    wanted: Wanted,
    status: int = 200,
    template: str = "hold.html",
    form: Mapping[str, str] | None = None,
    **values: Any,
) -> Reply:
    """Raises `NotFound` where nothing is sealed."""
    versions, hold = reporting.versions(office, wanted), reporting.held(office, wanted)
    if not versions:
        text = "no version of this report is sealed: there is nothing to hold"
        raise NotFound(Said("not-sealed", text))
    zone, is_event = wanted.tenant.settings.timezone, isinstance(wanted.of, Event)
    if form is None:
        until = None if hold is None else hold.until
        shown = "" if until is None else password_csv.written(until, zone, end=True)
        form = {"until": shown, "reason": "" if hold is None else hold.reason}
    values |= {
        "of": wanted.of,
        "of_day": wanted.day,
        "civil": wanted.day and civil_day(wanted.day, pages.spoken_to(request)),
        "versions": versions,
        "hold": hold,
        "form": form,
        "zone": zone,
        "report": _path(request, is_event, wanted.of.name, "report", wanted.day),
        "to": _path(request, is_event, wanted.of.name, "hold", None),
        "back_to": _path(request, is_event, wanted.of.name, "hold", wanted.day),
    }
    return pages.page(request, actor, template, status, **values)


def _change(office: Office, actor: Actor, request: Request, wanted: Wanted) -> Reply:
    """Holds a report, or releases it once that was asked."""
    form = request.form
    if "release" in form:
        if not form.get("sure"):
            return _page(office, actor, request, wanted, template="sure_release.html")
        reporting.release(office, actor, wanted)
        done = "done_release"
    else:
        given = {name: form.get(name, "").strip() for name in ("until", "reason")}
        zone = wanted.tenant.settings.timezone
        try:
            until = _until(given["until"], zone)
            reporting.hold(office, actor, wanted, until, given["reason"])
        except InvalidValue as error:
            said = error.problems
            return _page(office, actor, request, wanted, 422, form=given, said=said)
        done = "done_hold"
    is_event = isinstance(wanted.of, Event)
    to = _path(request, is_event, wanted.of.name, "hold", wanted.day, done=done)
    return console.to(request, to.removeprefix(request.root))


def _until(text: str, zone: str) -> int:
    try:
        return password_csv.moment(text, zone, end=True)
    except InvalidValue as error:
        raise InvalidValue(*(pages.about("until", each) for each in error.problems)) from None


def _path(
    request: Request, is_event: bool, name: str, below: str, day: str | None, **query: str
) -> str:
    place = f"{'events' if is_event else 'streams'}/{name}/{below}"
    return path_of(request, place, {"day": day, **query})
