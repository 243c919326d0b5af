"""The HTTP API, `/api/v1`: bearer tokens (RFC 6750), JSON, problem documents (RFC 9457), pages by cursor.

What an operation takes and gives are msgspec Structs (`operations`). They decode what is sent, and the
OpenAPI document is made of them and of the handlers' docstrings (`document`), which are for whoever uses
the API: it cannot say anything else than what is done.

**To add an operation:** write the handler with `@operation(...)` in a module here, its docstring as a help
page with an example; add its line to `ROUTES` in `routing` and its case to `tests/test_office_routes.py`.
"""

from __future__ import annotations

import msgspec

from pystream.acl.people import Actor, Right, of_token
from pystream.server.http import HttpError
from pystream.server.office import problems, quotas
from pystream.server.office.problems import KINDS, MOST_ERRORS, Problem, Refusal
from pystream.server.office.values import Office, Reply, Request

ALWAYS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    # What a browser shows of it runs nothing.
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


def tenant_of(office: Office, request: Request) -> int | None:
    """The number of whose token is shown; None where none is that is valid."""
    shown = _shown(request)
    token = None if shown is None else office.accounts.token(shown, office.now())
    return None if token is None else token.tenant_id


def _shown(request: Request) -> str | None:
    scheme, _, text = (request.fields.get("authorization") or "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def whose(office: Office, request: Request) -> Actor:
    """Whoever shows a token, which has requests left. Raises `Refusal`."""
    shown = _shown(request)
    if shown is None:
        raise _unauthorized("a bearer token is wanted", "")
    token = office.accounts.token(shown, office.now())
    if token is None:
        raise _unauthorized("this token is not valid, or no longer", ', error="invalid_token"')
    left = office.quotas.take(token.id, office.monotonic())
    request.said += quotas.fields(office.quotas, left)
    if left.wait_s:
        detail = f"this token may send {office.quotas.most} requests a minute"
        wait = (("Retry-After", str(left.wait_s)),)
        raise Refusal("too-many-requests", detail, headers=wait)
    return of_token(token)


def _unauthorized(reason: str, error: str) -> Refusal:
    # RFC 6750 3
    field = ("WWW-Authenticate", f'Bearer realm="pystream"{error}')
    return Refusal("unauthorized", reason, headers=(field,))


def lacking(right: Right) -> Refusal:
    """The token has not that scope."""
    # RFC 6750 3.1
    challenge = f'Bearer realm="pystream", error="insufficient_scope", scope="{right}"'
    return Refusal(
        "insufficient-scope",
        f"this takes a token with the scope {right}",
        headers=(("WWW-Authenticate", challenge),),
    )


def refusal(request: Request, error: HttpError) -> Reply:
    """A problem document."""
    name = problems.kind_of(error)
    said = Problem(
        type=f"{request.root}/api/v1/problems/{name}",
        title=KINDS[name].title,
        status=error.status,
        detail=error.reason,
        errors=error.errors[:MOST_ERRORS] if isinstance(error, Refusal) else [],
    )
    headers = [("Content-Type", problems.TYPE), *ALWAYS, *error.headers]
    # Sentences that could be said in other languages are still texts.
    return Reply(error.status, headers, msgspec.json.encode(said, enc_hook=str))
