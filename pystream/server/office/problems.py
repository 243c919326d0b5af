"""What goes wrong, as RFC 9457 has it: one table of kinds, and documents of them.

A document's `type` is `/api/v1/problems/{kind}` of this server, which tells of that kind to whoever
asks; its last element never changes, and programs go by it. `title` is that of the kind, `detail` says
what it was this time, and `errors` names each part of the request that is at fault: by `pointer`, a JSON
Pointer into the body in its URI form (RFC 6901 6), by `parameter` of the query, by `header`, or by `line`
of a CSV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from pystream.server.http import HttpError

TYPE: Final = "application/problem+json"
MOST_ERRORS: Final = 100


class Kind(NamedTuple):
    """`advice` is what to do about it, in a sentence or two."""

    status: int
    title: str
    advice: str


KINDS: Final = {
    "malformed": Kind(
        400,
        "The request cannot be read",
        "The query, a header field or the body's JSON is not what its standard has. Mend the program"
        " that sends it: it will fail in the same way however often it is sent.",
    ),
    "unauthorized": Kind(
        401,
        "A valid token is wanted",
        "Send `Authorization: Bearer pst_...` with a token that is neither revoked nor over."
        " `pystream token add`, or somebody with the right tokens:change, makes one.",
    ),
    "forbidden": Kind(
        403,
        "This is not allowed",
        "`detail` says why. Over plain HTTP, only the server's own machine is answered.",
    ),
    "insufficient-scope": Kind(
        403,
        "The token lacks a scope",
        "Use a token with the scope that `detail` and WWW-Authenticate name.",
    ),
    "not-found": Kind(
        404,
        "There is no such thing",
        "The path names nothing that this tenant has; what others have is not told apart from it.",
    ),
    "method-not-allowed": Kind(
        405, "Not with this method", "The Allow field names the methods that this path has."
    ),
    "not-acceptable": Kind(
        406, "Not in this media type", "Leave Accept out, or name the type that `detail` names."
    ),
    "exists": Kind(409, "It is there already", "Choose another name, or change what is there."),
    "in-use": Kind(
        409,
        "It stays, as something rests on it",
        "`detail` says what: a sealed report keeps what it is about.",
    ),
    "too-early": Kind(
        409,
        "It is too early for that",
        "`detail` says from when on it can be: evidence may still come in until then.",
    ),
    "under-way": Kind(
        409,
        "The same request is under way",
        "Another request with this Idempotency-Key has not been answered yet. Send it again after"
        " the time that Retry-After names: it gets the same answer.",
    ),
    "answer-erased": Kind(
        409,
        "The answer was erased",
        "This request was carried out before, and its answer was erased with a password since. Look"
        " at what is there; for something new, send another Idempotency-Key.",
    ),
    "erased": Kind(
        410,
        "Something of it was erased",
        "Passwords were erased since it was signed, so it cannot be put together as it was. Other formats"
        " show what is left; a file that was fetched before can be verified as ever.",
    ),
    "outdated": Kind(
        412,
        "It was changed in the meantime",
        "Read it again, decide anew, and send the change with the new ETag in If-Match.",
    ),
    "too-long": Kind(413, "The body is too long", "Send it in several requests."),
    "media-type": Kind(
        415, "A body of another type is wanted", "Set Content-Type to what `detail` names."
    ),
    "invalid": Kind(
        422,
        "A value is not one that can be",
        "`errors` names each value and what would do. Nothing was changed.",
    ),
    "key-reused": Kind(
        422,
        "The Idempotency-Key is another request's",
        "This key came with another request in the last 24 hours. A new request wants a new key.",
    ),
    "too-many-requests": Kind(
        429,
        "Too many requests",
        "Wait for as long as Retry-After says; RateLimit tells what is left.",
    ),
    "bug": Kind(
        500,
        "The server has a bug",
        "It is not your fault. The server's log tells its operator more.",
    ),
    "unavailable": Kind(
        503,
        "This cannot be done at present",
        "It is not your fault. Send it again after the time that Retry-After names.",
    ),
}
_BY_STATUS: Final = {kind.status: name for name, kind in reversed(KINDS.items())}


def kind_of(error: HttpError) -> str:
    """The name of an error's kind."""
    return error.kind if error.kind in KINDS else _BY_STATUS.get(error.status, "bug")


class Error(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One part of a request that is at fault."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    line: int | None = None


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What has gone wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Error] = []


class Refusal(HttpError):
    """A request is refused: what kind of problem it is, what it was this time, and where."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[Error] = (),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(KINDS[kind].status, detail, headers)
        self.kind = kind
        self.errors = list(errors)


def invalid(*errors: Error) -> Refusal:
    """Values that cannot be."""
    return Refusal("invalid", "; ".join(each.detail for each in errors[:3]), errors)


class Told(msgspec.Struct, kw_only=True):
    """A kind of problem."""

    type: str
    title: str
    status: int
    advice: str


def told(root: str, name: str) -> Told:
    """Raises `Refusal` where there is no such kind."""
    kind = KINDS.get(name)
    if kind is None:
        raise Refusal("not-found", "there is no problem of this name")
    type = f"{root}/api/v1/problems/{name}"
    return Told(type=type, title=kind.title, status=kind.status, advice=kind.advice)
