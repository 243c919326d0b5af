"""A tenant's streams: all of them with a picture and who watches, and one with what can be changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pystream.acl.grants import PICTURES, SESSION_LENGTH, Grants
from pystream.acl.keys import Keyring
from pystream.acl.people import Actor, Right
from pystream.acl.streams import ACCESS, Stream
from pystream.acl.viewers import DEVICE_MODES
from pystream.errors import InvalidValue, Outdated
from pystream.server.office import console, embedding
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_PICTURE_S = 600


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
    }
    return pages.page(request, actor, "streams.html", **values)


def page(office: Office, actor: Actor, request: Request) -> Reply:
    stream = office.store.stream(actor.tenant, request.place["stream"])
    return _page(office, actor, request, stream, done=request.query.get("done"))


def change(office: Office, actor: Actor, request: Request) -> Reply:
    """Takes the settings of the form, unless somebody else has changed the stream meanwhile."""
    name = request.place["stream"]
    stream = office.store.stream(actor.tenant, name)
    form = request.form
    try:
        office.store.set_stream(
            actor.tenant,
            name,
            _changes(stream, form),
            who=actor.who,
            now=office.now(),
            seen=_number("revision", form.get("revision", "")),
        )
    except Outdated:
        return _page(office, actor, request, stream, 409, problem="changed_meanwhile")
    except InvalidValue as error:
        return _page(office, actor, request, stream, 422, said=error.problems, form=form)
    return console.to(request, f"/console/streams/{name}?done=saved")


def _changes(stream: Stream, form: Mapping[str, str]) -> dict[str, Any]:
    """Raises `InvalidValue`."""
    settings = stream.settings
    devices = form.get("max_devices", "").strip()
    changes: dict[str, Any] = {
        "title": form.get("title", "").strip(),
        "access": form.get("access", settings.access),
        "max_devices": _number("max_devices", devices) if devices else None,
        "device_mode": form.get("device_mode", settings.device_mode),
        "embed_origins": tuple(form.get("embed_origins", "").split()),
        "embed_lock": "embed_lock" in form,
        "download": "download" in form,
    }
    if changes["download"] and settings.download_source is None and len(settings.sources) > 1:
        # The best one is first, as whoever added the stream has it.
        changes["download_source"] = settings.sources[0]
    return changes


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidValue(f"{name}: a whole number is wanted")
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
    settings = stream.settings
    shown = {
        "title": settings.title,
        "access": settings.access,
        "max_devices": "" if settings.max_devices is None else str(settings.max_devices),
        "device_mode": settings.device_mode,
        "embed_origins": "\n".join(settings.embed_origins),
        "revision": str(stream.revision),
    }
    empty = dict.fromkeys(shown, "")
    shown |= {name: "on" for name in ("embed_lock", "download") if getattr(settings, name)}
    url = embedding.page_url(request, stream.tenant, stream.name)
    values |= {
        "stream": stream,
        "form": shown if form is None else empty | dict(form),
        "notice": office.store.tenant(actor.tenant).settings.notice,
        "watching": office.viewers().get(stream.id, 0),
        "pictures": _pictures(office, request, (stream,)),
        "url": url,
        "code": embedding.code(url, settings.title or stream.name),
        "accesses": ACCESS,
        "modes": DEVICE_MODES,
    }
    return pages.page(request, actor, "stream.html", status, **values)


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
