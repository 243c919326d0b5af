"""Coming in and going: sign in, sign out, change one's password."""

from __future__ import annotations

from math import ceil

from pystream.acl.people import Actor, Person
from pystream.errors import InvalidValue, Said, SignInError
from pystream.server.http import HttpError
from pystream.server.office import console
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request


def sign_in_page(office: Office, actor: Actor, request: Request) -> Reply:
    if actor.person is not None:
        return console.to(request, "/console/")
    tenant = request.query.get("tenant", "")
    return _sign_in(request, 200, tenant=tenant)


def sign_in(office: Office, actor: Actor, request: Request) -> Reply:
    """Opens a session, a new one in any case. Tries are counted before it is known how they end."""
    form = request.form
    tenant = form.get("tenant", "").strip().lower()
    name = form.get("name", "").strip().lower()
    network = request.asked.network
    now, by_name = office.monotonic(), (tenant, name, network)
    wait = office.tries_of_network.take(network, now) or office.tries.take(by_name, now)
    if wait:
        after = ("Retry-After", str(ceil(wait)))
        return _sign_in(request, 429, after, problem="sign_in_wait", tenant=tenant, name=name)
    password, code = form.get("password", ""), form.get("code", "")

    def may_try_code(person: Person) -> bool:
        return not office.tries_of_code.take(person.id, office.monotonic())

    try:
        opened = office.accounts.sign_in(tenant, name, password, code, office.now(), may_try_code)
    except SignInError:
        # Also where there were too many codes: to tell would say that the password is right.
        return _sign_in(request, 403, problem="sign_in_wrong", tenant=tenant, name=name)
    if opened.person.has_totp:
        office.tries_of_code.give_back(opened.person.id)
    office.tries.give_back(by_name)
    office.tries_of_network.give_back(network)
    if request.session is not None:
        office.accounts.sign_out(request.session, office.now())
    return console.to(request, "/console/", console.begin_session(request, opened.secret))


def _sign_in(
    request: Request,
    status: int,
    *headers: tuple[str, str],
    problem: str | None = None,
    tenant: str = "",
    name: str = "",
) -> Reply:
    values = {"problem": problem, "tenant": tenant, "name": name}
    return pages.page(request, None, "sign_in.html", status, *headers, **values)


def sign_out(office: Office, actor: Actor, request: Request) -> Reply:
    if request.session is not None:
        office.accounts.sign_out(request.session, office.now())
    return console.to(request, console.SIGN_IN, console.end_session(request))


def password_page(office: Office, actor: Actor, request: Request) -> Reply:
    return _password(request, actor, 200)


def change_password(office: Office, actor: Actor, request: Request) -> Reply:
    """Ends all sessions but the present one. Who has this session may guess the password no faster than
    anybody else."""
    form, person = request.form, actor.person
    if person is None or request.session is None:
        raise HttpError(403, Said("people-alone", "this is for people alone"))
    if form.get("new") != form.get("again"):
        return _password(request, actor, 422, problem="differ")
    key, now = (person.tenant, person.name, request.asked.network), office.monotonic()
    if wait := office.tries.take(key, now):
        after = ("Retry-After", str(ceil(wait)))
        return _password(request, actor, 429, after, problem="sign_in_wait")
    old, new = form.get("old", ""), form.get("new", "")
    try:
        office.accounts.change_password(person, old, new, request.session, office.now())
    except SignInError:
        return _password(request, actor, 403, problem="old_wrong")
    except InvalidValue as error:
        office.tries.give_back(key)
        return _password(request, actor, 422, said=error.problems)
    office.tries.give_back(key)
    return console.to(request, "/console/")


def _password(
    request: Request,
    actor: Actor,
    status: int,
    *headers: tuple[str, str],
    problem: str | None = None,
    said: tuple[str, ...] = (),
) -> Reply:
    values = {"problem": problem, "said": said}
    return pages.page(request, actor, "password.html", status, *headers, **values)
