"""How links and tokens of the customer's site are checked: the keys, listed, added, replaced, revoked.

A secret that is made here is shown once, so it is in the answer to the form itself; one that the site has
already is shown never. Which fields there are depends on the kind, so that is chosen first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pystream.acl.entrances.verifiers import (
    EXTERNAL,
    KINDS,
    SIGNED,
    Configured,
    Verifier,
    access_of,
    new_name,
    new_secret,
    settings_of,
)
from pystream.acl.people import Actor
from pystream.errors import Exists, InvalidValue, NotFound, Said
from pystream.server.http import HttpError
from pystream.server.office import console
from pystream.server.office.api.verifiers import check_url
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_SWITCHES = ("escape_early", "with_address", "bearer")


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    return _listed(office, actor, request, done=request.query.get("done"))


def _listed(
    office: Office, actor: Actor, request: Request, status: int = 200, **values: Any
) -> Reply:
    there = office.store.verifiers(office.keys).listed(actor.tenant_id)
    streams = {each.id: each for each in office.store.streams(actor.tenant)}
    values |= {
        # Those that let in come first.
        "verifiers": sorted(
            there, key=lambda each: (each.revoked_at is not None, -each.created_at)
        ),
        "streams": streams,
        "groups": (("signed", SIGNED), ("external", EXTERNAL)),
        "access_of": access_of,
        "zone": office.store.tenant(actor.tenant).settings.timezone,
    }
    return pages.page(request, actor, "verifiers.html", status, **values)


# Adding


def new(office: Office, actor: Actor, request: Request) -> Reply:
    return _new(office, actor, request, request.query)


def add(office: Office, actor: Actor, request: Request) -> Reply:
    form = request.form
    try:
        verifier, is_made = _verifier(office, form)
        made = _added(office, actor, form.get("stream", ""), form.get("name", ""), verifier)
    except (InvalidValue, Exists) as error:
        return _new(office, actor, request, form, 422, said=pages.sentences_of(error))
    if not is_made:
        return console.to(request, "/console/verifiers?done=done_add_verifier")
    return _shown_once(request, actor, made, verifier)


def _verifier(office: Office, form: Mapping[str, str]) -> tuple[Verifier, bool]:
    """What the form says, and whether its secret was made here. Raises `InvalidValue`."""
    kind = form.get("kind", "")
    values: dict[str, Any] = {}
    for name in settings_of(kind):
        text = form.get(name, "").strip()
        if name in _SWITCHES:
            values[name] = name in form
        elif text:
            values[name] = _value(name, text)
    is_made = "secret" not in values and bool(new_secret(kind))
    if is_made:
        values["secret"] = new_secret(kind)
    if "url" in values:
        check_url(office, values["url"])
    return Verifier(kind=kind, **values), is_made


def _value(name: str, text: str) -> Any:
    """Raises `InvalidValue`."""
    if name not in ("seconds", "kept_s"):
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidValue(Said("number", "a whole number is wanted", of=name))
    return int(text)


def _added(office: Office, actor: Actor, stream: str, name: str, verifier: Verifier) -> Configured:
    """Raises `InvalidValue`, `Exists`, and `NotFound` for a stream that is not there."""
    store = office.store
    return store.verifiers(office.keys).add(
        actor.tenant_id,
        store.stream(actor.tenant, stream).id if stream else None,
        name.strip() or new_name(),
        verifier,
        who=actor.who,
        now=office.now(),
    )


def _new(
    office: Office,
    actor: Actor,
    request: Request,
    form: Mapping[str, str],
    status: int = 200,
    **values: Any,
) -> Reply:
    kind = form.get("kind", "")
    if kind not in KINDS:
        raise HttpError(404, Said("nothing", "there is nothing here"))
    usual = Verifier(kind=kind)
    names = [name for name in settings_of(kind) if name != "secret"]
    given = {
        name: form.get(name, str(getattr(usual, name) or ""))
        for name in names
        if name not in _SWITCHES
    }
    values |= {
        "kind": kind,
        "names": names,
        "switches": _SWITCHES,
        "has_secret": "secret" in settings_of(kind),
        "form": {"stream": "", "name": "", **given}
        | {name: form[name] for name in ("stream", "name", *_SWITCHES) if name in form},
        "streams": [
            each
            for each in office.store.streams(actor.tenant)
            if each.settings.access == access_of(kind) or each.name == form.get("stream")
        ],
    }
    return pages.page(request, actor, "new_verifier.html", status, **values)


def _shown_once(request: Request, actor: Actor, made: Configured, verifier: Verifier) -> Reply:
    values: dict[str, Any] = {"made": made, "secret": verifier.secret}
    return pages.page(request, actor, "verifier.html", **values)


# Replacing and revoking


def change(office: Office, actor: Actor, request: Request) -> Reply:
    """Revokes a key, once that was asked, or makes one more that is to take its place."""
    form, name = request.form, request.place["name"]
    verifiers = office.store.verifiers(office.keys)
    found = [
        each
        for each in verifiers.listed(actor.tenant_id)
        if each.name == name and each.revoked_at is None
    ]
    if not found or found[0].verifier is None:
        raise NotFound(Said("no-verifier", "there is no active key of that name", name=name))
    old, before = found[0], found[0].verifier
    action = form.get("action")
    if action == "revoke" and not form.get("sure"):
        return pages.page(request, actor, "sure_verifier.html", old=old)
    if action == "revoke":
        verifiers.revoke(actor.tenant_id, name, who=actor.who, now=office.now())
        return console.to(request, "/console/verifiers?done=done_revoke")
    if action != "replace" or not before.secret:
        raise HttpError(400, Said("malformed", "the form says not what to do"))
    verifier = replace(before, secret=new_secret(before.kind))
    try:
        made = verifiers.add(
            actor.tenant_id, old.stream_id, new_name(), verifier, who=actor.who, now=office.now()
        )
    except InvalidValue as error:
        return _listed(office, actor, request, 422, said=error.problems)
    return _shown_once(request, actor, made, verifier)
