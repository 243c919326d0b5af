"""One's own account: the authenticator, and where one is signed in. (The password is `doors`' affair.)"""

from __future__ import annotations

from base64 import b32encode, b64encode
from math import ceil
from typing import Any

from pystream.acl import sign_in
from pystream.acl.people import Actor, Person
from pystream.errors import Said, SignInError
from pystream.server.http import HttpError
from pystream.server.office import console
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request


def page(office: Office, actor: Actor, request: Request) -> Reply:
    return _page(office, actor, request)


def _page(office: Office, actor: Actor, request: Request, status: int = 200, **more: Any) -> Reply:
    person, secret = _whose(actor, request)
    values = {
        "sessions": office.accounts.sessions(person, secret, office.now()),
        "zone": office.store.tenant(actor.tenant).settings.timezone,
    }
    headers = more.pop("headers", ())
    return pages.page(request, actor, "account.html", status, *headers, **values, **more)


def sign_out_everywhere(office: Office, actor: Actor, request: Request) -> Reply:
    person, _ = _whose(actor, request)
    office.accounts.sign_out_everywhere(person, office.now())
    return console.to(request, console.SIGN_IN, console.end_session(request))


# The authenticator


def begin(office: Office, actor: Actor, request: Request) -> Reply:
    """Makes a secret, which is shown until its first code is."""
    person, _ = _whose(actor, request)
    office.accounts.begin_totp(person, office.now())
    return console.to(request, "/console/account/authenticator")


def authenticator(office: Office, actor: Actor, request: Request) -> Reply:
    return _authenticator(office, actor, request, 200)


def finish(office: Office, actor: Actor, request: Request) -> Reply:
    """Has codes asked for from now on, and shows those for recovery, which are in this answer alone. Six
    digits are guessed soon: tries are counted as those of a password are."""
    person, _ = _whose(actor, request)
    key, now = (person.tenant, person.name, request.asked.network), office.monotonic()
    if wait := office.tries.take(key, now):
        after = (("Retry-After", str(ceil(wait))),)
        return _authenticator(office, actor, request, 429, problem="sign_in_wait", headers=after)
    try:
        codes = office.accounts.finish_totp(person, request.form.get("code", ""), office.now())
    except SignInError:
        return _authenticator(office, actor, request, 403, problem="totp_wrong")
    office.tries.give_back(key)
    return pages.page(request, actor, "recovery.html", codes=codes)


def give_up(office: Office, actor: Actor, request: Request) -> Reply:
    """Whoever finds a session open may guess the password no faster than anybody else."""
    person, _ = _whose(actor, request)
    key, now = (person.tenant, person.name, request.asked.network), office.monotonic()
    if wait := office.tries.take(key, now):
        after = (("Retry-After", str(ceil(wait))),)
        return _page(office, actor, request, 429, problem="sign_in_wait", headers=after)
    try:
        office.accounts.give_up_totp(person, request.form.get("password", ""), office.now())
    except SignInError:
        return _page(office, actor, request, 403, problem="old_wrong")
    office.tries.give_back(key)
    return console.to(request, "/console/account")


def _authenticator(
    office: Office,
    actor: Actor,
    request: Request,
    status: int,
    problem: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    person, _ = _whose(actor, request)
    secret = office.accounts.begun_totp(person)
    if secret is None:
        return console.to(request, "/console/account")
    key = b32encode(secret).decode()
    values = {
        "picture": _picture(sign_in.totp_uri(secret, person.tenant, person.name)),
        "key": " ".join(key[at : at + 4] for at in range(0, len(key), 4)),
        "problem": problem,
    }
    return pages.page(request, actor, "authenticator.html", status, *headers, **values)


def _picture(text: str) -> str:
    """A QR code as the address of an image: what it says is in no other request."""
    from pystream.acl.cards import qr_svg

    return f"data:image/svg+xml;base64,{b64encode(qr_svg(text)).decode()}"


def _whose(actor: Actor, request: Request) -> tuple[Person, bytes]:
    if actor.person is None or request.session is None:
        raise HttpError(403, Said("people-alone", "this is for people alone"))
    return actor.person, request.session
