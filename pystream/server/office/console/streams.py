"""A tenant's streams: all of them with a picture and who watches, and one with what can be changed.

What takes a film away from those who watch, or opens it for others than now, asks first, on a page that a
form leads to (`ASKED_FIRST`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pystream.acl import password_csv
from pystream.acl.entrances.verifiers import access_of
from pystream.acl.grants import PICTURES, SESSION_LENGTH, Grants
from pystream.acl.keys import Keyring
from pystream.acl.people import Actor, Right
from pystream.acl.streams import (
    ACCESS,
    ENCRYPTIONS,
    MAXIMUM,
    Stream,
    StreamSettings,
    changed,
    check,
    check_countries,
    check_stream_name,
)
from pystream.acl.viewers import DEVICE_MODES
from pystream.errors import Exists, InUse, InvalidValue, Outdated, Said
from pystream.server.http import HttpError
from pystream.server.office import console, embedding, films
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

ASKED_FIRST = ("maximum", "end", "remove")
_PICTURE_S = 600
_TEXTS = ("title", "access", "device_mode", "encryption")
_NUMBERS = ("max_devices", "max_viewers", "check_minutes")
_LISTS = ("embed_origins", "networks", "countries", "countries_denied")
_TIMES = {"opens_at": False, "closes_at": True}
_SWITCHES = (
    *("embed_lock", "allow_no_referrer", "download", "allow_unknown_country", "attendance"),
    *("no_skip", "beacons", "require_visible", "own_count"),
)


def unslashed(office: Office, actor: Actor, request: Request) -> Reply:
    return console.to(request, "/console/")


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    """The start page. Whoever may not read streams is shown none."""
    streams: tuple[Stream, ...] = ()
    if Right.STREAMS_READ in actor.rights:
        streams = office.store.streams(actor.tenant)
    viewers = office.viewers()
    values: dict[str, Any] = {
        "streams": streams,
        "viewers": {each.id: viewers.get(each.id, 0) for each in streams},
        "pictures": _pictures(office, request, streams),
        "has_folder": office.films is not None,
        "done": request.query.get("done"),
    }
    return pages.page(request, actor, "streams.html", **values)


# Adding


def new(office: Office, actor: Actor, request: Request) -> Reply:
    return _new(office, actor, request, {})


def add(office: Office, actor: Actor, request: Request) -> Reply:
    """Makes a stream of films in the tenant's folder, once they are known to make one."""
    form = request.form
    called = [name.removeprefix("film.") for name in form if name.startswith("film.")]
    name = form.get("name", "").strip().lower()
    try:
        check_stream_name(name)
        settings = StreamSettings(
            sources=_sources(office, actor, called),
            title=form.get("title", "").strip(),
            access=form.get("access", ""),
        )
        check(settings)
        if (why := films.unpackable(office, actor.tenant, settings, called)) is not None:
            raise InvalidValue(Said("unpackable", why, of="sources", why=why))
        by: dict[str, Any] = {"who": actor.who, "now": office.now()}
        office.store.add_stream(actor.tenant, name, settings, **by)
    except (InvalidValue, Exists) as error:
        return _new(office, actor, request, form, 422, said=pages.sentences_of(error))
    return console.to(request, f"/console/streams/{name}")


def _sources(office: Office, actor: Actor, called: list[str]) -> tuple[str, ...]:
    """Raises `InvalidValue`."""
    if not called:
        raise InvalidValue(Said("no-films", "one at least is wanted", of="sources"))
    found = []
    for name in called:
        path = films.path(office, actor.tenant, name)
        if path is None:
            text = f"{name!r} is not in your folder of films"
            raise InvalidValue(Said("no-film", text, of="sources", name=name))
        found.append(path)
    return tuple(found)


def _new(
    office: Office,
    actor: Actor,
    request: Request,
    form: Mapping[str, str],
    status: int = 200,
    **values: Any,
) -> Reply:
    values |= {
        "form": {"name": "", "title": "", "access": "personal", **form},
        "films": films.listed(office, actor.tenant),
        "has_folder": office.films is not None,
        "accesses": ACCESS,
    }
    return pages.page(request, actor, "new_stream.html", status, **values)


# One stream


def page(office: Office, actor: Actor, request: Request) -> Reply:
    stream = office.store.stream(actor.tenant, request.place["stream"])
    return _page(office, actor, request, stream, done=request.query.get("done"))


def change(office: Office, actor: Actor, request: Request) -> Reply:
    """Takes the settings of the form, unless somebody else has changed the stream meanwhile."""
    stream = office.store.stream(actor.tenant, request.place["stream"])
    zone = office.store.tenant(actor.tenant).settings.timezone
    form = request.form
    try:
        return _set(office, actor, request, stream, _changes(stream, form, zone))
    except InvalidValue as error:
        return _page(office, actor, request, stream, 422, said=error.problems, form=form)


def act(office: Office, actor: Actor, request: Request) -> Reply:
    """Does one thing with a stream, once that was asked."""
    stream = office.store.stream(actor.tenant, request.place["stream"])
    action, form = request.place["action"], request.form
    if action not in ASKED_FIRST:
        raise HttpError(404, Said("nothing", "there is nothing here"))
    if not form.get("sure"):
        values: dict[str, Any] = {
            "stream": stream,
            "action": action,
            "changes": list(_maximum(stream)),
        }
        return pages.page(request, actor, "sure_stream.html", **values)
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    if action == "remove":
        try:
            office.store.remove_stream(actor.tenant, stream.name, **by)
        except InUse as error:
            said = pages.sentences_of(error)
            return _page(office, actor, request, stream, 409, said=said)
        return console.to(request, "/console/?done=done_remove_stream")
    if action == "end":
        office.store.viewers.end_sessions(actor.tenant_id, stream.id, **by)
        return console.to(request, f"/console/streams/{stream.name}?done=done_end")
    try:
        return _set(office, actor, request, stream, MAXIMUM)
    except InvalidValue as error:
        return _page(office, actor, request, stream, 422, said=error.problems)


def _maximum(stream: Stream) -> Iterator[tuple[str, Any, Any]]:
    """What all that protects a film changes of this one."""
    for name, value in MAXIMUM.items():
        before = getattr(stream.settings, name)
        if before != value:
            yield name, before, value


def _set(
    office: Office, actor: Actor, request: Request, stream: Stream, changes: Mapping[str, Any]
) -> Reply:
    """Raises `InvalidValue`."""
    wanted = changed(stream.settings, changes)
    check(wanted)
    if not office.knows_countries():
        check_countries(stream.settings, wanted)
    seen = _number("revision", request.form.get("revision", ""))
    try:
        office.store.set_stream(
            actor.tenant, stream.name, changes, who=actor.who, now=office.now(), seen=seen
        )
    except Outdated:
        now = office.store.stream(actor.tenant, stream.name)
        return _page(office, actor, request, now, 409, problem="changed_meanwhile")
    return console.to(request, f"/console/streams/{stream.name}?done=saved")


def _changes(stream: Stream, form: Mapping[str, str], zone: str) -> dict[str, Any]:
    """Raises `InvalidValue`."""
    settings = stream.settings
    changes: dict[str, Any] = {
        name: form.get(name, getattr(settings, name)).strip() for name in _TEXTS
    }
    for name in _NUMBERS:
        text = form.get(name, "").strip()
        changes[name] = _number(name, text) if text else None
    for name in _LISTS:
        words = re.split(r"[\s,;]+", form.get(name, "").strip())
        changes[name] = tuple(
            each.upper() if name.startswith("countries") else each for each in words if each
        )
    for name, end in _TIMES.items():
        changes[name] = _moment(name, form.get(name, "").strip(), zone, end=end)
    for name in _SWITCHES:
        changes[name] = name in form
    if changes["download"] and settings.download_source is None and len(settings.sources) > 1:
        # The best one is first, as whoever added the stream has it.
        changes["download_source"] = settings.sources[0]
    return changes


def _moment(name: str, text: str, zone: str, *, end: bool) -> int | None:
    if not text:
        return None
    try:
        return password_csv.moment(text, zone, end=end)
    except InvalidValue as error:
        raise InvalidValue(*(pages.about(name, each) for each in error.problems)) from None


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidValue(Said("number", "a whole number is wanted", of=name))
    return int(text)


def _page(
    office: Office,
    actor: Actor,
    request: Request,
    stream: Stream,
    status: int = 200,
    *,
    form: Mapping[str, str] | None = None,
    **values: Any,
) -> Reply:
    tenant = office.store.tenant(actor.tenant).settings
    shown = _shown(stream, tenant.timezone)
    empty = {name: "" for name in shown if name not in _SWITCHES}
    url = embedding.page_url(request, stream.tenant, stream.name)
    values |= {
        "stream": stream,
        "form": shown if form is None else empty | dict(form),
        "notice": tenant.notice,
        "watching": office.viewers().get(stream.id, 0),
        "pictures": _pictures(office, request, (stream,)),
        "url": url,
        "code": embedding.code(url, stream),
        "accesses": ACCESS,
        "modes": DEVICE_MODES,
        "encryptions": ENCRYPTIONS,
        "keys": _keys(office, actor, stream),
        "zone": tenant.timezone,
        "purpose_accepted": tenant.attendance_purpose != "",
        "is_maximum": not any(_maximum(stream)),
    }
    return pages.page(request, actor, "stream.html", status, **values)


def _shown(stream: Stream, zone: str) -> dict[str, str]:
    """The settings as the form has them; of switches, those that are on."""
    settings = stream.settings
    shown: dict[str, str] = {name: getattr(settings, name) for name in _TEXTS}
    for name in _NUMBERS:
        value = getattr(settings, name)
        shown[name] = "" if value is None else str(value)
    for name in _LISTS:
        separator = ", " if name.startswith("countries") else "\n"
        shown[name] = separator.join(getattr(settings, name))
    for name, end in _TIMES.items():
        shown[name] = password_csv.written(getattr(settings, name), zone, end=end)
    shown |= {name: "on" for name in _SWITCHES if getattr(settings, name)}
    return shown | {"revision": str(stream.revision)}


def _keys(office: Office, actor: Actor, stream: Stream) -> int | None:
    """How many keys check its links or tokens; None where it has none of these."""
    access = stream.settings.access
    if access not in ("signed", "external") or Right.PASSWORDS_READ not in actor.rights:
        return None
    configured = office.store.verifiers(office.keys)
    found = configured.active(actor.tenant_id, stream.id, access)
    return sum(access_of(each.kind) == access for each in found)


def _pictures(office: Office, request: Request, streams: tuple[Stream, ...]) -> dict[int, str]:
    """The address of a picture of each stream, under a grant that opens pictures alone: whoever looks
    after a stream is no viewer of it."""
    if not streams:
        return {}
    now = office.now()
    grants = Grants(*Keyring(office.keys.root()).grant_keys(now))
    found = {}
    for stream in streams:
        session = os.urandom(SESSION_LENGTH)
        grant = grants.issue(stream.id, session, now, _PICTURE_S, flags=PICTURES)
        found[stream.id] = f"{request.root}/t/{grant}/{stream.tenant}/{stream.name}/frame.mp4"
    return found
