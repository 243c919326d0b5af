"""The console, `/console/`: pages for a tenant's own people.

**Sessions** are a cookie with 256 random bits; the store has its hash. Over HTTPS it is called
`__Host-pystream`, Secure, HttpOnly, SameSite=Strict, for this host and no other (RFC 6265bis 4.1.3).
On the server's own machine, over plain HTTP, no browser takes a cookie of that name: there it is
`pystream`, the same without Secure. No other machine is served over plain HTTP.

**Other sites** can neither frame a page nor have a form sent: each POST has to name this site as its
origin (RFC 6454 7), and carries the session's own token (`sign_in.csrf`) but for signing in.

**Nothing is inline**, and nothing comes from elsewhere: styles and scripts are the console's own files,
under `/console/-/` by names with their hash.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any

from pystream.acl import sign_in
from pystream.acl.people import Actor, of_person
from pystream.errors import Said
from pystream.server.http import HttpError
from pystream.server.office.console import pages
from pystream.server.office.console.texts import TEXTS
from pystream.server.office.values import Office, Reply, Request


def tenant_of(office: Office, request: Request) -> int | None:
    """The number of the tenant of whoever is signed in."""
    actor = whose(office, request)
    return None if actor is None else actor.tenant_id


def whose(office: Office, request: Request) -> Actor | None:
    """Whoever is signed in."""
    secret = sign_in.from_text(request.cookie(_cookie_name(request)) or "")
    if secret is None:
        return None
    now = office.now()
    person = office.accounts.session(secret, now)
    if person is None:
        return None
    request.session = secret
    return of_person(person, now)


def check_own_site(request: Request) -> None:
    """Raises `HttpError` where another site may have sent a form."""
    scheme = "https" if request.asked.secure else "http"
    own = f"{scheme}://{request.fields.get('host', '')}"
    if request.fields.get("origin", "").lower() != own.lower():
        reason = "this form did not come from the console's own page: open that anew"
        raise HttpError(403, Said("other-site", reason))
    if request.session is not None and request.path != SIGN_IN:
        shown, wanted = request.form.get("csrf", ""), sign_in.csrf(request.session)
        if not hmac.compare_digest(shown.encode(), wanted.encode()):
            reason = "this form is of a session that is over: open the page anew"
            raise HttpError(403, Said("other-session", reason))


def begin_session(request: Request, secret: bytes) -> tuple[str, str]:
    """The header that gives a browser its session."""
    return "Set-Cookie", _cookie(request, sign_in.as_text(secret))


def end_session(request: Request) -> tuple[str, str]:
    """The header that takes it away."""
    return "Set-Cookie", f"{_cookie(request, '')}; Max-Age=0"


def _cookie_name(request: Request) -> str:
    return "__Host-pystream" if request.asked.secure else "pystream"


def _cookie(request: Request, value: str) -> str:
    secure = "; Secure" if request.asked.secure else ""
    return f"{_cookie_name(request)}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"


SIGN_IN = "/console/sign-in"


def to(request: Request, path: str, *headers: tuple[str, str]) -> Reply:
    """Sends a browser on to another page, which it asks for with GET (RFC 9110 15.4.4)."""
    location = ("Location", f"{request.root}{path}")
    return Reply(303, [location, ("Cache-Control", "no-store"), *headers])


def to_sign_in(request: Request) -> Reply:
    return to(request, SIGN_IN)


def to_password(request: Request) -> Reply:
    return to(request, "/console/password")


def refusal(request: Request, error: HttpError, reasons: Sequence[str]) -> Reply:
    """The page that says what is wrong: what that means, and below it what it was."""
    kind = f"refused_{error.status}"
    values: dict[str, Any] = {"number_of": error.status, "reasons": reasons, "kind": kind}
    actor = request.actor
    return pages.page(request, actor, "refusal.html", error.status, *error.headers, **values)


def speak(office: Office, actor: Actor, request: Request) -> Reply:
    """Keeps the language that was chosen, and goes back to where that was."""
    chosen, back = request.form.get("to", ""), request.form.get("back", "")
    if chosen not in TEXTS:
        raise HttpError(400, Said("malformed", "the console does not speak that language"))
    if not _PATH.fullmatch(back):
        back = "/console/"
    secure = "; Secure" if request.asked.secure else ""
    cookie = (
        f"{pages.LANGUAGE_COOKIE}={chosen}; Path={request.root}/console; Max-Age=31536000; HttpOnly;"
        f" SameSite=Strict{secure}"
    )
    return to(request, back, ("Set-Cookie", cookie))


# A page of the console's own, and no other site: one element after another.
_PATH = re.compile(r"/console(/[a-z0-9-]*)+")


def asset(office: Office, actor: Actor, request: Request) -> Reply:
    """One of the console's own files, which never changes under its name."""
    found = pages.assets().get(request.place["asset"])
    if found is None:
        raise HttpError(404, Said("nothing", "there is nothing here"))
    kind, data = found
    headers = [
        ("Content-Type", kind),
        ("Cache-Control", "public, max-age=31536000, immutable"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    return Reply(200, headers, data)
