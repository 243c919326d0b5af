"""The OpenAPI 3.1 document, `/api/v1/openapi.json`, and the kinds of problems.

It is made of the route table and of what its operations are: the types that decode what is sent are the
schemas, the handlers' docstrings the descriptions. There is no second description to keep true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from pystream.acl import statements
from pystream.acl.people import Right
from pystream.acl.reports.files import SHAPES
from pystream.server.office import problems
from pystream.server.office.api import ALWAYS
from pystream.server.office.api.events import EventName
from pystream.server.office.api.operations import (
    JSON,
    Call,
    Document,
    Given,
    NoQuery,
    Operation,
    operation,
)
from pystream.server.office.api.passwords import Id
from pystream.server.office.api.streams import Name
from pystream.server.office.api.tokens import TokenName
from pystream.server.office.api.verifiers import VerifierName
from pystream.server.office.once import KEY_PATTERN
from pystream.server.office.problems import KINDS, Problem, Told

if TYPE_CHECKING:
    from pystream.server.office.routing import Route

VERSION = "1.0.0"
_ABOUT = """\
For programs of the customer's: a site that hands out passwords, for one.

**Who asks** shows a token: `Authorization: Bearer pst_...`. Tokens have scopes; each operation names the
one that it takes. Over plain HTTP, only the server's own machine is answered.

**Errors** are problem documents (RFC 9457). Go by the last element of `type`, which never changes: the
address has what to do. `errors` names each value that is at fault.

**Sent again.** Where a request has `Idempotency-Key` (a random text of your own; draft-ietf-httpapi-\
idempotency-key-header), you may send it again when no answer came: it is carried out once, and you get the
answer of the first time, for 24 hours.

**Pages.** `next` is the cursor of the next page, and the Link field has its address. It is null on the
last.

**How much.** RateLimit says how many requests the token may still send (draft-ietf-httpapi-ratelimit-\
headers); 429 comes with Retry-After.

**Forms.** Times are RFC 3339 with an offset from UTC. Ids are numbers as texts. Fields that nobody knows
are refused, so a mistyped one does not go unnoticed; answers may get new fields.
"""
_PLACES: dict[str, tuple[str, Any]] = {
    "stream": ("The name of a stream.", Name),
    "event": ("The name of an event.", EventName),
    "format": ("What kind of a file it is.", Literal[SHAPES]),
    "password": ("The id of a password.", Id),
    "name": ("The name of a token.", TokenName),
    "verifier": ("The name of a verifier that is active.", VerifierName),
    "problem": ("The last element of a problem's `type`.", Literal[tuple(KINDS)]),
    "paper": ("Which paper.", Literal[tuple(statements.KINDS)]),
}
_ALL = ("malformed", "unavailable", "bug")
_OF_TOKENS = ("unauthorized", "forbidden", "insufficient-scope", "too-many-requests")
_TAGS = {
    "streams": "Films, and who may watch them how.",
    "passwords": "What viewers type to come in. Only the customer knows who holds which.",
    "events": "What people attend: programmes over streams and days, and reports of them.",
    "attendance": "The log of attendance, and what proves it.",
    "verifiers": "How links and tokens of the customer's site are checked.",
    "tenant": "The customer, what was sent, and who did what.",
    "tokens": "What programs come in with.",
    "about": "What this is.",
}


@operation(gives=Document)
def openapi(call: Call[NoQuery, None]) -> Given:
    """Read this description.

    An OpenAPI 3.1 document. It is the same for all, and takes no token.
    """
    return Given(data=_encoded(call.request.root))


@operation(gives=Told, problems=("not-found",))
def problem(call: Call[NoQuery, None]) -> Given:
    """Read about a kind of problem.

    What the `type` of a problem document leads to: what it means, and what to do about it.
    """
    return Given(problems.told(call.request.root, call.place["problem"]))


@cache
def _encoded(root: str) -> bytes:
    # The table has this module in it.
    from pystream.server.office.routing import ROUTES

    return msgspec.json.encode(document(ROUTES, root))


def document(routes: Iterable[Route], root: str) -> dict[str, Any]:
    """The document of all routes that are operations."""
    there = [route for route in routes if isinstance(route.handler, Operation)]
    schemas, refs = _schemas([route.handler for route in there])
    paths: dict[str, dict[str, Any]] = {}
    for route in there:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.1",
        "info": {"title": "pystream", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": root or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the tenant's: `pystream token add` makes one.",
                }
            },
            "responses": {name: _problem(name, refs) for name in KINDS},
            "headers": _HEADERS,
        },
    }


def _schemas(operations: Iterable[Any]) -> tuple[dict[str, Any], dict[Any, Any]]:
    """All schemas by name, and what refers to each type."""
    types: dict[Any, None] = {Problem: None}
    for each in operations:
        types |= dict.fromkeys(type for type in each.bodies.values() if type is not None)
        if each.gives is not None and JSON in each.kinds and each.gives is not Document:
            types[each.gives] = None
    refs, schemas = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    return dict(schemas), dict(zip(types, refs, strict=True))


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    told: Operation = route.handler  # type: ignore[assignment]
    found: dict[str, Any] = {
        "operationId": _id(route),
        "tags": [_tag(route.path)],
        "summary": told.summary,
        "description": told.description,
        "parameters": [*_parameters(route, told)],
        "responses": {**_answer(route, told, refs), **_refusals(route, told)},
    }
    if isinstance(route.needs, Right):
        found["description"] += f"\n\nScope: `{route.needs}`."
        found["security"] = [{"token": [str(route.needs)]}]
    elif route.needs.value == "anybody":
        found["security"] = []
    if told.bodies:
        found["requestBody"] = {
            "required": True,
            "content": {kind: _body(type, told, refs) for kind, type in told.bodies.items()},
        }
    return found


def _id(route: Route) -> str:
    handler: Any = route.handler
    module = handler.handler.__module__.rpartition(".")[2]
    name = handler.handler.__name__
    return f"{module}-{_VERBS.get(name, name)}".replace("_", "-")


# Functions have other names where Python has these itself.
_VERBS = {"listed": "list", "shown": "read", "exported": "export", "bring": "import"}


def _tag(path: str) -> str:
    first = path.split("/")[3]
    return {"traffic": "tenant", "audit": "tenant", "privacy": "tenant"}.get(
        first, first if first in _TAGS else "about"
    )


def _body(type: type[Struct] | None, told: Operation, refs: dict[Any, Any]) -> dict[str, Any]:
    if type is None:
        return {"schema": {"type": "string", "description": "The lines of a CSV."}}
    found = {"schema": refs[type]}
    return found if told.example is None else {**found, "example": told.example}


def _parameters(route: Route, told: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", route.path):
        description, type = _PLACES[name]
        schema = msgspec.json.schema(type)
        schema.pop("description", None)
        place = {"name": name, "in": "path", "required": True, "schema": schema}
        yield {**place, "description": description}
    _, components = msgspec.json.schema_components([told.query], ref_template="{name}")
    fields = components[told.query.__name__]
    for name, schema in fields["properties"].items():
        # What is an enumeration of its own is told where it is used.
        schema = {**components.get(schema.get("$ref", ""), {}), **schema}
        schema.pop("$ref", None)
        schema.pop("title", None)
        where: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        where["description"] = schema.pop("description", "")
        if name in fields.get("required", ()):
            where["required"] = True
        if schema.get("type") == "array":
            where |= {"style": "form", "explode": False}
        yield where
    if told.once is not None:
        yield _KEY
    if told.conditional:
        yield _IF_MATCH


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": "A random text of your own, another one for each request: with it, a request may be sent"
    " again, and is carried out once.",
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The ETag of what was read: the change is refused where there was another one since.",
}


def _answer(route: Route, told: Operation, refs: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": HTTPStatus(told.status).phrase}
    headers = {"Cache-Control": {"$ref": "#/components/headers/Cache-Control"}}
    if route.needs is not None and not _is_anybodys(route):
        headers |= {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in ("RateLimit", "RateLimit-Policy")
        }
    if told.gives is not None:
        found["content"] = {
            kind: {"schema": _answers_schema(kind, told, refs)} for kind in told.kinds
        }
        if "cursor" in told.query.__struct_fields__:
            headers["Link"] = {"$ref": "#/components/headers/Link"}
    if links := _LINKS.get(_id(route)):
        found["links"] = {
            target: {"operationId": target, "parameters": {name: f"$response.body#{pointer}"}}
            for target, name, pointer in links
        }
    return {str(told.status): {**found, "headers": headers}}


# What is made by one operation, and where it stands in the answer, as others take it.
_LINKS: dict[str, list[tuple[str, str, str]]] = {
    "streams-add": [
        (f"streams-{name}", "stream", "/name")
        for name in ("read", "change", "embed", "end-sessions", "remove")
    ],
    "passwords-create": [
        (f"passwords-{name}", "password", "/items/0/id")
        for name in ("read", "rotate", "end-sessions")
    ],
    "events-add": [
        *((f"events-{name}", "event", "/name") for name in ("read", "change", "remove")),
        *(
            (f"reports-{name}", "event", "/name")
            for name in ("of-event", "file-of-event", "versions-of-event", "seal-event")
        ),
    ],
    "passwords-rotate": [("passwords-read", "password", "/id")],
    "tokens-create": [("tokens-revoke", "name", "/name")],
    "verifiers-add": [("verifiers-revoke", "verifier", "/name")],
    "streams-list": [("streams-read", "stream", "/items/0/name")],
}


def _answers_schema(kind: str, told: Operation, refs: dict[Any, Any]) -> Any:
    if kind != JSON:
        return {"type": "string"} if kind.startswith("text/") else {}
    return refs.get(told.gives, {"type": "object"})


_HEADERS: dict[str, Any] = {
    "Cache-Control": {"schema": {"const": dict(ALWAYS)["Cache-Control"]}},
    "RateLimit": {
        "description": "r: requests that may be sent at once; t: seconds until all may be.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "q: requests, in w seconds.",
        "schema": {"type": "string"},
    },
    "Link": {"description": 'rel="next": the next page.', "schema": {"type": "string"}},
}


def _refusals(route: Route, told: Operation) -> dict[str, Any]:
    """Kinds of problems by their status; those of one status share an answer."""
    kinds = [*_ALL, *told.problems]
    if not _is_anybodys(route):
        kinds += _OF_TOKENS
    if told.gives is not None:
        kinds.append("not-acceptable")
    if told.bodies:
        kinds += ["invalid", "media-type", "too-long"]
    if "cursor" in told.query.__struct_fields__:
        kinds.append("invalid")
    if told.once is not None:
        kinds += ["under-way", "answer-erased", "key-reused"]
    by_status: dict[int, list[str]] = {}
    for name in dict.fromkeys(kinds):
        by_status.setdefault(KINDS[name].status, []).append(name)
    return {str(status): _shared(names) for status, names in sorted(by_status.items())}


def _shared(names: list[str]) -> dict[str, Any]:
    if len(names) == 1:
        return {"$ref": f"#/components/responses/{names[0]}"}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": " ".join(f"`{name}`: {KINDS[name].title}." for name in names),
        "content": {problems.TYPE: {"schema": schema}},
    }


def _problem(name: str, refs: dict[Any, Any]) -> dict[str, Any]:
    kind = KINDS[name]
    content: dict[str, Any] = {problems.TYPE: {"schema": refs[Problem]}}
    if name == "malformed":
        # What is no HTTP is told before it is known what it asks for.
        content["text/plain"] = {"schema": {"type": "string"}}
    return {"description": f"`{name}`: {kind.title}. {kind.advice}", "content": content}


def _is_anybodys(route: Route) -> bool:
    return getattr(route.needs, "value", "") == "anybody"
