"""Who works for a tenant and what works for it: people, tokens, and the organisation's own settings.

A first password and a token's text are shown once, so they are in the answer to the form itself. Who has
that sent again gets no second one: there is a person or a token of that name by then.
"""

from __future__ import annotations

from typing import Any

from pystream.acl.people import SCOPES, Actor, Person, Role, role_of, scopes_of
from pystream.acl.retention import OF_TENANTS
from pystream.acl.statements import KINDS, statement
from pystream.attendance import purpose
from pystream.errors import Exists, InvalidValue, NotFound, Said
from pystream.server.http import HttpError
from pystream.server.office import console
from pystream.server.office.api.tenant import paper_facts
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_DAY_S = 86_400
LIFETIMES = (30, 90, 365)
ASKED_FIRST = ("remove", "reset", "totp")
_DAYS = tuple(f"{data}_days" for data in OF_TENANTS)


# People


def people(office: Office, actor: Actor, request: Request) -> Reply:
    return _people(office, actor, request, done=request.query.get("done"))


def add_person(office: Office, actor: Actor, request: Request) -> Reply:
    name = request.form.get("name", "").strip().lower()
    try:
        role = role_of(request.form.get("role", ""))
        person, password = office.accounts.add(
            actor.tenant_id, name, role, who=actor.who, now=office.now()
        )
    except (InvalidValue, Exists) as error:
        return _people(office, actor, request, 422, said=pages.sentences_of(error), name=name)
    return _first_password(request, actor, person, password)


def change_person(office: Office, actor: Actor, request: Request) -> Reply:
    """Does one thing with one person, as `action` of the form says; some of them are asked first."""
    name, action = request.place["name"], request.form.get("action", "")
    # Raises `NotFound`.
    person = office.store.people.account(actor.tenant_id, name).person
    if action in ASKED_FIRST and not request.form.get("sure"):
        return pages.page(request, actor, "sure_person.html", person=person, action=action)
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    try:
        if action == "reset":
            return _first_password(
                request, actor, *office.accounts.reset(actor.tenant_id, name, **by)
            )
        _change(office, actor, name, action, request.form.get("role", ""), by)
    except InvalidValue as error:
        return _people(office, actor, request, 422, said=error.problems)
    return console.to(request, "/console/people?done=saved")


def _change(
    office: Office, actor: Actor, name: str, action: str, role: str, by: dict[str, Any]
) -> None:
    id, store = actor.tenant_id, office.store.people
    if action == "role":
        store.set_role(id, name, role_of(role), **by)
    elif action == "let-in":
        store.let_in(id, name, _DAY_S, **by)
    elif action == "let-out":
        store.let_in(id, name, 0, **by)
    elif action == "totp":
        office.accounts.remove_totp(id, name, **by)
    elif action == "remove":
        office.accounts.remove(id, name, **by)
    else:
        raise HttpError(400, Said("malformed", "the form says not what to do"))


def _people(
    office: Office, actor: Actor, request: Request, status: int = 200, **values: Any
) -> Reply:
    values |= {
        "people": office.store.people.listed(actor.tenant_id),
        "roles": list(Role),
        "now": office.now(),
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "people.html", status, **({"name": ""} | values))


def _first_password(request: Request, actor: Actor, person: Person, password: str) -> Reply:
    values: dict[str, Any] = {"person": person, "secret": password}
    return pages.page(request, actor, "first_password.html", **values)


# Tokens


def tokens(office: Office, actor: Actor, request: Request) -> Reply:
    return _tokens(office, actor, request, done=request.query.get("done"))


def add_token(office: Office, actor: Actor, request: Request) -> Reply:
    form, now = request.form, office.now()
    name = form.get("name", "").strip().lower()
    days = form.get("days", "")
    try:
        # Nobody gives away what they may not do themselves.
        wanted = [scope for scope in SCOPES & actor.rights if f"scope.{scope}" in form]
        if days not in {"", *map(str, LIFETIMES)}:
            text = "this is none of the lifetimes"
            raise InvalidValue(Said("one-of", text, of="expires", value=days))
        expires = now + int(days) * _DAY_S if days else None
        token, text = office.accounts.add_token(
            actor.tenant_id, name, scopes_of(wanted), expires, who=actor.who, now=now
        )
    except (InvalidValue, Exists) as error:
        return _tokens(office, actor, request, 422, said=pages.sentences_of(error), name=name)
    return pages.page(request, actor, "token.html", token=token, secret=text)


def revoke_token(office: Office, actor: Actor, request: Request) -> Reply:
    name = request.place["name"]
    if not request.form.get("sure"):
        if name not in {each.name for each in office.store.people.tokens(actor.tenant_id)}:
            raise HttpError(404, Said("no-token", "there is no such token", name=name))
        return pages.page(request, actor, "sure_token.html", name=name)
    office.store.people.revoke_token(actor.tenant_id, name, who=actor.who, now=office.now())
    return console.to(request, "/console/tokens?done=saved")


def _tokens(
    office: Office, actor: Actor, request: Request, status: int = 200, **values: Any
) -> Reply:
    values |= {
        "tokens": office.store.people.tokens(actor.tenant_id),
        "scopes": sorted(SCOPES & actor.rights),
        "lifetimes": LIFETIMES,
        "zone": _zone(office, actor),
    }
    return pages.page(request, actor, "tokens.html", status, **({"name": ""} | values))


# The organisation


def organisation(office: Office, actor: Actor, request: Request) -> Reply:
    return _organisation(office, actor, request, done=request.query.get("done"))


def change_organisation(office: Office, actor: Actor, request: Request) -> Reply:
    form = request.form
    changes: dict[str, Any] = {
        "display": form.get("display", "").strip(),
        "timezone": form.get("timezone", "").strip(),
        # HTML has forms send CR LF.
        "notice": form.get("notice", "").replace("\r\n", "\n").strip(),
        "attendance_purpose": purpose.VERSION if "attendance_purpose" in form else "",
    }
    try:
        for name in _DAYS:
            # Who has an old form open sends none of them.
            if name in form:
                changes[name] = _days(name, form[name].strip())
        office.store.set_tenant(actor.tenant, changes, who=actor.who, now=office.now())
    except InvalidValue as error:
        shown = changes | {name: form.get(name, "") for name in _DAYS}
        return _organisation(office, actor, request, 422, said=error.problems, form=shown)
    return console.to(request, "/console/organisation?done=saved")


def _days(name: str, text: str) -> int | None:
    """Raises `InvalidValue`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidValue(Said("number", "a whole number is wanted", of=name))
    return int(text)


def _organisation(
    office: Office, actor: Actor, request: Request, status: int = 200, **values: Any
) -> Reply:
    settings = office.store.tenant(actor.tenant).settings
    names = ("display", "timezone", "notice", "attendance_purpose", *_DAYS)
    form = {name: getattr(settings, name) for name in names}
    form |= {name: "" if form[name] is None else form[name] for name in _DAYS}
    shown = {"form": form, "usual": office.practice().rules}
    text = purpose.TEXTS[pages.spoken_to(request)]
    shown |= {"purpose": text, "papers": KINDS}
    return pages.page(request, actor, "organisation.html", status, **(shown | values))


def paper(office: Office, actor: Actor, request: Request) -> Reply:
    """One of the papers that data protection law asks for, as a page to be saved or copied."""
    kind, language = request.place["paper"], pages.spoken_to(request)
    if kind not in KINDS:
        raise NotFound(Said("nothing", "there is nothing here"))
    said = statement(kind, paper_facts(office, actor), language, "html")
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Disposition", f'attachment; filename="{actor.tenant}-{kind}-{language}.html"'),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Reply(200, headers, said.encode())


def _zone(office: Office, actor: Actor) -> str:
    return office.store.tenant(actor.tenant).settings.timezone
