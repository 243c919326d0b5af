"""The HTTP API, `/api/v1`: bearer tokens (RFC 6750), JSON, problem documents (RFC 9457), pages by cursor.

A page is `{"items": [...], "next": CURSOR or null}`; `?limit=` asks for 1 to 1000 (100), `?after=CURSOR`
for what comes behind a page. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pystream.acl.people import Actor, of_token
from pystream.server.http import HttpError
from pystream.server.office.values import Office, Reply, Request

_MOST = 1000
_USUAL = 100
_ALWAYS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    # What a browser shows of it runs nothing.
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


def whose(office: Office, request: Request) -> Actor:
    """Whoever shows a token. Raises `HttpError`."""
    scheme, _, text = (request.fields.get("authorization") or "").partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("a bearer token is wanted", "")
    token = office.accounts.token(text.strip(), office.now())
    if token is None:
        raise _unauthorized("this token is not valid, or no longer", ', error="invalid_token"')
    return of_token(token)


def _unauthorized(reason: str, error: str) -> HttpError:
    # RFC 6750 3
    return HttpError(401, reason, (("WWW-Authenticate", f'Bearer realm="pystream"{error}'),))


def refusal(request: Request, error: HttpError) -> Reply:
    """A problem document: `title` for people, `kind` for programs where there is one."""
    problem: dict[str, Any] = {"title": error.reason, "status": error.status}
    if error.kind is not None:
        problem["kind"] = error.kind
    body = json.dumps(problem).encode()
    headers = [("Content-Type", "application/problem+json"), *_ALWAYS, *error.headers]
    return Reply(error.status, headers, body)


def reply(value: Mapping[str, Any], status: int = 200, *headers: tuple[str, str]) -> Reply:
    """An answer with a value in JSON."""
    kind = ("Content-Type", "application/json")
    return Reply(status, [kind, *_ALWAYS, *headers], json.dumps(value).encode())


def paging(request: Request) -> tuple[str, int]:
    """The cursor behind which a page begins, "" for the first one, and how many it has. Raises
    `HttpError` for other fields as well: a mistyped filter is no filter."""
    fields = dict(request.query)
    after, limit = fields.pop("after", ""), fields.pop("limit", str(_USUAL))
    if fields:
        raise HttpError(400, "the query may have limit and after")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
        raise HttpError(400, f"limit: a number from 1 to {_MOST} is wanted")
    return after, int(limit)


def page(items: Sequence[Mapping[str, Any]], following: str | None) -> Reply:
    """One page; `following` is the cursor of the next one, None where there is none."""
    return reply({"items": list(items), "next": following})


def moment(seconds: int | None) -> str | None:
    """Unix seconds as RFC 3339 has a time."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
