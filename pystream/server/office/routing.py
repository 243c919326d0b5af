"""The one table of what the office answers, and all that comes before a handler.

In this order, for every route: is there one; may a request come this way (a bearer token or a cookie in
the clear is anybody's: HTTPS, or this machine alone); is its body as long as the route has it; who asks;
has no other site sent it; may they. `ANYBODY` is for what is shown to whoever comes, `SIGNED_IN` for what
everybody may who is somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from pystream.acl.people import Actor, Right
from pystream.errors import (
    Exists,
    Incomplete,
    InUse,
    InvalidValue,
    NotFound,
    PystreamError,
    Said,
    SignInError,
    TooEarly,
)
from pystream.server import log
from pystream.server.http import HttpError
from pystream.server.office import api, console
from pystream.server.office.api import (
    attendance,
    document,
    passwords,
    reports,
    restrictions,
    tenant,
    tokens,
    verifiers,
)
from pystream.server.office.api import events as api_events
from pystream.server.office.api import streams as api_streams
from pystream.server.office.console import (
    account,
    doors,
    events,
    evidence,
    holds,
    records,
    staff,
    streams,
)
from pystream.server.office.console import passwords as viewers
from pystream.server.office.console import reports as report_pages
from pystream.server.office.console import restrictions as restriction_pages
from pystream.server.office.console import verifiers as keys
from pystream.server.office.line import longest_body
from pystream.server.office.values import Asked, Office, Reply, Request


class Needs(Enum):
    """What a route needs of whoever asks, where that is no right."""

    ANYBODY = "anybody"
    SIGNED_IN = "signed in"


ANYBODY, SIGNED_IN = Needs.ANYBODY, Needs.SIGNED_IN

Handler = Callable[[Office, Actor, Request], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` has names in braces, which stand for one element each. `heavy`: it takes much of a processor
    or of memory, so that few run at a time. `first`: it is open to those who have to change their password
    first."""

    method: str
    path: str
    needs: Right | Needs
    handler: Handler
    heavy: bool = False
    first: bool = False


_STREAM = "/api/v1/streams/{stream}"
_EVENT = "/api/v1/events/{event}"
_LOG = "/api/v1/attendance"
_FILM = "/console/streams/{stream}"
_DAY = "/console/events/{event}"
_VIEWERS = "/console/passwords"
_RESTRICTION = f"{_VIEWERS}/{{password}}/restriction"
_KEYS = "/console/verifiers"
_TOTP = "/console/account/authenticator"
_PASSWORD = "/api/v1/passwords/{password}"

ROUTES: Final = (
    # The API
    Route("GET", "/api/v1/openapi.json", ANYBODY, document.openapi),
    Route("GET", "/api/v1/problems/{problem}", ANYBODY, document.problem),
    Route("GET", "/api/v1/streams", Right.STREAMS_READ, api_streams.listed),
    Route("POST", "/api/v1/streams", Right.STREAMS_CHANGE, api_streams.add, heavy=True),
    Route("GET", _STREAM, Right.STREAMS_READ, api_streams.shown),
    Route("PATCH", _STREAM, Right.STREAMS_CHANGE, api_streams.change, heavy=True),
    Route("DELETE", _STREAM, Right.STREAMS_CHANGE, api_streams.remove),
    Route("GET", f"{_STREAM}/embed", Right.STREAMS_READ, api_streams.embed),
    Route("POST", f"{_STREAM}/end-sessions", Right.STREAMS_CHANGE, api_streams.end_sessions),
    Route("GET", f"{_STREAM}/report", Right.REPORTS_READ, reports.of_stream, heavy=True),
    Route(
        *("GET", f"{_STREAM}/report/{{format}}", Right.REPORTS_READ, reports.file_of_stream),
        heavy=True,
    ),
    Route("GET", f"{_STREAM}/versions", Right.REPORTS_READ, reports.versions_of_stream),
    Route("POST", f"{_STREAM}/versions", Right.REPORTS_SEAL, reports.seal_stream, heavy=True),
    # Whoever answers for the data of others need not read it.
    Route("GET", f"{_STREAM}/hold", Right.REPORTS_HOLD, reports.hold_of_stream),
    Route("PUT", f"{_STREAM}/hold", Right.REPORTS_HOLD, reports.hold_stream),
    Route("DELETE", f"{_STREAM}/hold", Right.REPORTS_HOLD, reports.release_stream),
    Route(
        *("GET", f"{_STREAM}/receipts/{{password}}", Right.REPORTS_READ, reports.receipt),
        heavy=True,
    ),
    Route("GET", f"{_STREAM}/evidence", Right.EVIDENCE_READ, attendance.evidence, heavy=True),
    Route("GET", "/api/v1/events", Right.EVENTS_READ, api_events.listed),
    Route("POST", "/api/v1/events", Right.EVENTS_CHANGE, api_events.add),
    Route("GET", _EVENT, Right.EVENTS_READ, api_events.shown),
    Route("PATCH", _EVENT, Right.EVENTS_CHANGE, api_events.change),
    Route("DELETE", _EVENT, Right.EVENTS_CHANGE, api_events.remove),
    Route("GET", f"{_EVENT}/report", Right.REPORTS_READ, reports.of_event, heavy=True),
    Route(
        *("GET", f"{_EVENT}/report/{{format}}", Right.REPORTS_READ, reports.file_of_event),
        heavy=True,
    ),
    Route("GET", f"{_EVENT}/versions", Right.REPORTS_READ, reports.versions_of_event),
    Route("POST", f"{_EVENT}/versions", Right.REPORTS_SEAL, reports.seal_event, heavy=True),
    Route("GET", f"{_EVENT}/hold", Right.REPORTS_HOLD, reports.hold_of_event),
    Route("PUT", f"{_EVENT}/hold", Right.REPORTS_HOLD, reports.hold_event),
    Route("DELETE", f"{_EVENT}/hold", Right.REPORTS_HOLD, reports.release_event),
    Route("GET", f"{_LOG}/key", Right.EVIDENCE_READ, attendance.key),
    Route("GET", f"{_LOG}/checkpoints", Right.EVIDENCE_READ, attendance.listed),
    Route("POST", f"{_LOG}/checkpoints", Right.REPORTS_SEAL, attendance.sign),
    Route("POST", f"{_LOG}/cosignatures", Right.TENANT_CHANGE, attendance.cosign),
    Route("GET", f"{_LOG}/timestamp", Right.EVIDENCE_READ, attendance.stamp),
    Route("GET", f"{_LOG}/log", Right.EVIDENCE_READ, attendance.log, heavy=True),
    Route("GET", "/api/v1/passwords", Right.PASSWORDS_READ, passwords.listed),
    Route("POST", "/api/v1/passwords", Right.PASSWORDS_CHANGE, passwords.create, heavy=True),
    Route("GET", "/api/v1/passwords/export", Right.PASSWORDS_READ, passwords.exported, heavy=True),
    Route(
        *("POST", "/api/v1/passwords/import", Right.PASSWORDS_CHANGE, passwords.bring), heavy=True
    ),
    Route(*("POST", "/api/v1/passwords/cards", Right.PASSWORDS_READ, passwords.cards), heavy=True),
    Route("POST", "/api/v1/passwords/revoke", Right.PASSWORDS_CHANGE, passwords.revoke),
    Route(*("POST", "/api/v1/passwords/erase", Right.PASSWORDS_ERASE, passwords.erase), heavy=True),
    Route("GET", _PASSWORD, Right.PASSWORDS_READ, passwords.shown),
    # Whoever may erase what is known of somebody has to be able to tell it first.
    Route("GET", f"{_PASSWORD}/data", Right.PASSWORDS_ERASE, passwords.data, heavy=True),
    # Who answers for the data of others uses none of it.
    Route("GET", "/api/v1/passwords/restricted", Right.PASSWORDS_ERASE, restrictions.listed),
    Route("GET", f"{_PASSWORD}/restriction", Right.PASSWORDS_ERASE, restrictions.shown),
    Route("PUT", f"{_PASSWORD}/restriction", Right.PASSWORDS_ERASE, restrictions.restrict),
    Route("DELETE", f"{_PASSWORD}/restriction", Right.PASSWORDS_ERASE, restrictions.lift),
    Route("PATCH", _PASSWORD, Right.PASSWORDS_CHANGE, passwords.change),
    Route("POST", f"{_PASSWORD}/rotate", Right.PASSWORDS_CHANGE, passwords.rotate),
    Route("POST", f"{_PASSWORD}/end-sessions", Right.PASSWORDS_CHANGE, passwords.end_sessions),
    Route("GET", "/api/v1/tenant", SIGNED_IN, tenant.shown),
    Route("PATCH", "/api/v1/tenant", Right.TENANT_CHANGE, tenant.change),
    Route("GET", "/api/v1/privacy", SIGNED_IN, tenant.privacy),
    Route("GET", "/api/v1/privacy/papers/{paper}", SIGNED_IN, tenant.paper),
    Route("GET", "/api/v1/traffic", Right.TRAFFIC_READ, tenant.traffic),
    Route("GET", "/api/v1/audit", Right.AUDIT_READ, tenant.audit),
    Route("GET", "/api/v1/tokens", Right.TOKENS_CHANGE, tokens.listed),
    Route("POST", "/api/v1/tokens", Right.TOKENS_CHANGE, tokens.create),
    Route("DELETE", "/api/v1/tokens/{name}", Right.TOKENS_CHANGE, tokens.revoke),
    # Whoever has a secret makes viewers, as whoever hands out passwords does.
    Route("GET", "/api/v1/verifiers", Right.PASSWORDS_READ, verifiers.listed),
    Route("POST", "/api/v1/verifiers", Right.PASSWORDS_CHANGE, verifiers.add),
    Route("DELETE", "/api/v1/verifiers/{verifier}", Right.PASSWORDS_CHANGE, verifiers.revoke),
    # The console
    Route("GET", "/console/-/{asset}", ANYBODY, console.asset, first=True),
    Route("GET", "/console/sign-in", ANYBODY, doors.sign_in_page, first=True),
    Route("POST", "/console/sign-in", ANYBODY, doors.sign_in, heavy=True, first=True),
    Route("POST", "/console/sign-out", SIGNED_IN, doors.sign_out, first=True),
    Route("GET", "/console/password", SIGNED_IN, doors.password_page, first=True),
    Route("POST", "/console/password", SIGNED_IN, doors.change_password, heavy=True, first=True),
    Route("POST", "/console/language", ANYBODY, console.speak, first=True),
    Route("GET", "/console", SIGNED_IN, streams.unslashed),
    Route("GET", "/console/", SIGNED_IN, streams.listed),
    Route("GET", "/console/streams", Right.STREAMS_CHANGE, streams.new),
    Route("POST", "/console/streams", Right.STREAMS_CHANGE, streams.add, heavy=True),
    Route("GET", "/console/streams/{stream}", Right.STREAMS_READ, streams.page),
    Route("POST", "/console/streams/{stream}", Right.STREAMS_CHANGE, streams.change),
    Route("POST", "/console/streams/{stream}/{action}", Right.STREAMS_CHANGE, streams.act),
    Route(
        *("GET", f"{_FILM}/report", Right.REPORTS_READ, report_pages.of_stream),
        heavy=True,
    ),
    Route(
        *("GET", f"{_FILM}/report/{{format}}", Right.REPORTS_READ, report_pages.file_of_stream),
        heavy=True,
    ),
    Route("POST", f"{_FILM}/seal", Right.REPORTS_SEAL, report_pages.seal_stream, heavy=True),
    Route("GET", f"{_FILM}/hold", Right.REPORTS_HOLD, holds.of_stream),
    Route("POST", f"{_FILM}/hold", Right.REPORTS_HOLD, holds.change_stream),
    Route(
        *("GET", f"{_FILM}/receipts/{{password}}", Right.REPORTS_READ, report_pages.receipt),
        heavy=True,
    ),
    Route("GET", "/console/events", Right.EVENTS_READ, events.listed),
    Route("GET", "/console/events/-/new", Right.EVENTS_CHANGE, events.new),
    Route("POST", "/console/events/-/new", Right.EVENTS_CHANGE, events.add),
    Route("GET", _DAY, Right.EVENTS_READ, events.page),
    Route("POST", _DAY, Right.EVENTS_CHANGE, events.change),
    Route("POST", f"{_DAY}/remove", Right.EVENTS_CHANGE, events.remove),
    Route("GET", f"{_DAY}/report", Right.REPORTS_READ, report_pages.of_event, heavy=True),
    Route(
        *("GET", f"{_DAY}/report/{{format}}", Right.REPORTS_READ, report_pages.file_of_event),
        heavy=True,
    ),
    Route("POST", f"{_DAY}/seal", Right.REPORTS_SEAL, report_pages.seal_event, heavy=True),
    Route("GET", f"{_DAY}/hold", Right.REPORTS_HOLD, holds.of_event),
    Route("POST", f"{_DAY}/hold", Right.REPORTS_HOLD, holds.change_event),
    Route("GET", "/console/holds", Right.REPORTS_HOLD, holds.listed),
    Route("GET", "/console/evidence", Right.EVIDENCE_READ, evidence.page),
    Route("POST", "/console/evidence", Right.REPORTS_SEAL, evidence.sign),
    Route("GET", "/console/evidence/log", Right.EVIDENCE_READ, evidence.log, heavy=True),
    # Whoever has a secret makes viewers, as whoever hands out passwords does.
    Route("GET", _KEYS, Right.PASSWORDS_READ, keys.listed),
    Route("GET", f"{_KEYS}/-/new", Right.PASSWORDS_CHANGE, keys.new),
    Route("POST", f"{_KEYS}/-/new", Right.PASSWORDS_CHANGE, keys.add),
    Route("POST", f"{_KEYS}/{{name}}", Right.PASSWORDS_CHANGE, keys.change),
    Route("GET", _VIEWERS, Right.PASSWORDS_READ, viewers.listed, heavy=True),
    Route("POST", _VIEWERS, Right.PASSWORDS_READ, viewers.search, heavy=True),
    Route("GET", f"{_VIEWERS}/new", Right.PASSWORDS_CHANGE, viewers.new),
    Route("POST", f"{_VIEWERS}/new", Right.PASSWORDS_CHANGE, viewers.create, heavy=True),
    Route("GET", f"{_VIEWERS}/sheet", Right.PASSWORDS_READ, viewers.sheet, heavy=True),
    Route("POST", f"{_VIEWERS}/cards", Right.PASSWORDS_READ, viewers.cards, heavy=True),
    Route("GET", f"{_VIEWERS}/export", Right.PASSWORDS_READ, viewers.exported, heavy=True),
    Route("GET", f"{_VIEWERS}/import", Right.PASSWORDS_CHANGE, viewers.import_page),
    Route("POST", f"{_VIEWERS}/import", Right.PASSWORDS_CHANGE, viewers.bring, heavy=True),
    Route("POST", f"{_VIEWERS}/revoke", Right.PASSWORDS_CHANGE, viewers.revoke),
    Route("POST", f"{_VIEWERS}/rotate", Right.PASSWORDS_CHANGE, viewers.rotate, heavy=True),
    Route("POST", f"{_VIEWERS}/erase", Right.PASSWORDS_ERASE, viewers.erase, heavy=True),
    Route("GET", f"{_VIEWERS}/{{password}}/data", Right.PASSWORDS_ERASE, viewers.data, heavy=True),
    Route("GET", _RESTRICTION, Right.PASSWORDS_ERASE, restriction_pages.page),
    Route("POST", _RESTRICTION, Right.PASSWORDS_ERASE, restriction_pages.change),
    Route("GET", f"{_VIEWERS}/{{password}}", Right.PASSWORDS_CHANGE, viewers.page),
    Route("POST", f"{_VIEWERS}/{{password}}", Right.PASSWORDS_CHANGE, viewers.change),
    Route("GET", "/console/traffic", Right.TRAFFIC_READ, records.traffic),
    Route("GET", "/console/audit", Right.AUDIT_READ, records.audit),
    Route("GET", "/console/people", Right.PEOPLE_CHANGE, staff.people),
    Route("POST", "/console/people", Right.PEOPLE_CHANGE, staff.add_person, heavy=True),
    Route(
        *("POST", "/console/people/{name}", Right.PEOPLE_CHANGE, staff.change_person), heavy=True
    ),
    Route("GET", "/console/tokens", Right.TOKENS_CHANGE, staff.tokens),
    Route("POST", "/console/tokens", Right.TOKENS_CHANGE, staff.add_token),
    Route("POST", "/console/tokens/{name}", Right.TOKENS_CHANGE, staff.revoke_token),
    Route("GET", "/console/organisation", Right.TENANT_CHANGE, staff.organisation),
    Route("POST", "/console/organisation", Right.TENANT_CHANGE, staff.change_organisation),
    Route("GET", "/console/organisation/papers/{paper}", Right.TENANT_CHANGE, staff.paper),
    Route("GET", "/console/account", SIGNED_IN, account.page),
    Route("POST", "/console/account/sign-out", SIGNED_IN, account.sign_out_everywhere),
    Route("GET", _TOTP, SIGNED_IN, account.authenticator, heavy=True),
    Route("POST", _TOTP, SIGNED_IN, account.finish),
    Route("POST", f"{_TOTP}/begin", SIGNED_IN, account.begin),
    Route("POST", f"{_TOTP}/remove", SIGNED_IN, account.give_up, heavy=True),
)


class Found(NamedTuple):
    """A route, and what stands in the path for its names in braces."""

    route: Route
    place: Mapping[str, str]


def find(method: str, path: str) -> Found:
    """Raises `HttpError`."""
    there = _there(path)
    wanted = "GET" if method == "HEAD" else method
    for found in there:
        if found.route.method == wanted:
            return found
    if not there:
        raise HttpError(404, Said("nothing", "there is nothing here"))
    allowed = {found.route.method for found in there}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    reason = Said("method", "not with this method")
    raise HttpError(405, reason, (("Allow", ", ".join(sorted(allowed))),))


def _there(path: str) -> list[Found]:
    """The routes of a path, by all methods."""
    parts = path.split("/")
    there = [
        Found(route, place)
        for route in _BY_LENGTH.get(len(parts), ())
        if (place := _place(route, parts)) is not None
    ]
    # What is spelled out goes before what is in braces, and is another resource.
    least = min((len(found.place) for found in there), default=0)
    return [found for found in there if len(found.place) == least]


_BY_LENGTH: Final[dict[int, list[Route]]] = {}
for _route in ROUTES:
    _BY_LENGTH.setdefault(_route.path.count("/") + 1, []).append(_route)


def _place(route: Route, parts: list[str]) -> dict[str, str] | None:
    place = {}
    for wanted, part in zip(route.path.split("/"), parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            place[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return place


def answer(office: Office, asked: Asked) -> Reply:
    """The reply to a request, whatever goes wrong. It may wait for the store, and for Argon2."""
    request = Request(asked, {})
    try:
        reply = _answered(office, request)
    except HttpError as error:
        reply = _refusal(request, error)
    except PystreamError as error:
        reply = _refusal(request, *_told(error))
    except Exception as error:
        log.error("bug", kind="office", **log.fault(error))
        reason = Said("bug", "the server has a bug, which its log tells of")
        reply = _refusal(request, HttpError(500, reason))
    reply.headers.extend(request.said)
    return reply


def whose_share(office: Office, asked: Asked) -> Hashable:
    """Whose places a request takes, for as long as it is answered: its tenant's, by number, or those of the
    network from which somebody comes who is nobody yet. `answer` asks anew who that is, at its turn. It
    may wait for the store."""
    try:
        if find(asked.method, asked.path).route.needs is not ANYBODY:
            is_api = asked.path.startswith("/api/")
            found = (api if is_api else console).tenant_of(office, Request(asked, {}))
            return asked.network if found is None else found
    except PystreamError:
        pass  # The answer says so.
    return asked.network


def busy(asked: Asked) -> Reply:
    """The reply where there is too much to do."""
    reason = Said("busy", "there is too much to do at present")
    error = HttpError(503, reason, (("Retry-After", "5"),))
    return _refusal(Request(asked, {}), error)


def _answered(office: Office, request: Request) -> Reply:
    asked = request.asked
    route, request.place = find(asked.method, asked.path)
    if not (asked.secure or asked.local):
        reason = "this is served by HTTPS only, save on the server's own machine"
        raise HttpError(403, Said("in-the-clear", reason))
    if len(asked.body) > longest_body(asked.method, asked.path):
        raise HttpError(413, Said("long", "the body is too long"))
    is_api = asked.path.startswith("/api/")
    actor: Actor | None = None
    if is_api:
        if route.needs is not ANYBODY:
            actor = api.whose(office, request)
    else:
        actor = console.whose(office, request)
        if actor is None and route.needs is not ANYBODY:
            return console.to_sign_in(request)
        request.actor = actor
        if asked.method == "POST":
            console.check_own_site(request)
        if actor is not None and _has_to_change(actor) and not route.first:
            return console.to_password(request)
    if actor is None:
        actor = NOBODY
    elif isinstance(route.needs, Right) and route.needs not in actor.rights:
        if is_api:
            raise api.lacking(route.needs)
        reason = f"this takes the right {route.needs}, which you do not have"
        raise HttpError(403, Said("right", reason, right=str(route.needs)))
    return route.handler(office, actor, request)


def _refusal(request: Request, error: HttpError, said: Sequence[str] = ()) -> Reply:
    """`said`: what is wrong, a sentence each, where that is more than the error's reason."""
    if request.path.startswith("/api/"):
        return api.refusal(request, error)
    return console.refusal(request, error, said or (error.reason,))


NOBODY: Final = Actor(tenant_id=0, tenant="", who="nobody", rights=frozenset())


def _has_to_change(actor: Actor) -> bool:
    return actor.person is not None and actor.person.must_change


def _told(error: PystreamError) -> tuple[HttpError, Sequence[str]]:
    """What the world is told of an error of ours, as a whole and a sentence each. The rest is the
    operator's to know: it names the store, and quotes what the database says."""
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            said = error.problems if isinstance(error, InvalidValue) else error.args[:1]
            return HttpError(status, str(error)), said
    log.error("office-cannot", **log.fault(error))
    text = "something that the server needs is not at hand, as its log tells its operator: try again soon"
    reason = Said("cannot", text)
    return HttpError(503, reason, (("Retry-After", "5"),)), ()


_STATUS: Final[dict[type[PystreamError], int]] = {
    NotFound: 404,
    Exists: 409,
    InUse: 409,
    TooEarly: 409,
    Incomplete: 410,
    InvalidValue: 422,
    SignInError: 403,
}
