"""What each operation of the API takes and gives, and all that is done with it before and after.

An `Operation` is a handler of the route table. It reads what was sent into the types that it names,
and says all that is wrong with it at once; looks at Accept; carries out what has an Idempotency-Key once;
and tells the errors of the rooms below as kinds of problems.

**JSON is read narrowly.** No field that is not there, no name twice (whoever reads the first one and
whoever reads the last one would see two requests), no number for a text; a time has its offset from UTC.
msgspec refuses what is no UTF-8, halves of surrogates, numbers that are none, and what is nested too
deeply; types and bounds, the rest.
"""

from __future__ import annotations

import inspect
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, Struct

from pystream.acl.people import Actor
from pystream.errors import (
    Exists,
    Incomplete,
    InUse,
    InvalidValue,
    NotFound,
    Outdated,
    TooEarly,
)
from pystream.server.http import HttpError
from pystream.server.office.api import ALWAYS
from pystream.server.office.problems import Error, Refusal, invalid
from pystream.server.office.values import Office, Reply, Request, is_id

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
CSV = "text/csv"
PDF = "application/pdf"
ZIP = "application/zip"
MARKDOWN = "text/markdown"
JSON_LINES = "application/jsonl"

Query = TypeVar("Query")
Body = TypeVar("Body")
Item = TypeVar("Item")
Sent = TypeVar("Sent", bound=Struct)

Moment = Annotated[
    datetime,
    Meta(
        tz=True,
        description="A time (RFC 3339) with its offset from UTC.",
        examples=["2031-06-01T00:00:00Z"],
    ),
]


class NoQuery(Struct, forbid_unknown_fields=True):
    """No parameters."""


class Paging(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="How many items a page has.")] = 100
    cursor: Annotated[
        str,
        Meta(
            max_length=200,
            pattern=r"^[A-Za-z0-9_-]*$",
            description="`next` of the page before. What is in it is the server's affair.",
        ),
    ] = ""


class Document(Struct):
    """An object of JSON whose form is described elsewhere."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Query, Body]):
    """One request, read. `now` is in Unix seconds."""

    office: Office
    actor: Actor
    request: Request
    query: Query
    body: Body
    now: int

    @property
    def place(self) -> Mapping[str, str]:
        return self.request.place

    @property
    def tenant_id(self) -> int:
        return self.actor.tenant_id

    @property
    def who(self) -> str:
        return self.actor.who


@dataclass(frozen=True, slots=True)
class Given:
    """What an operation gives: a value that becomes JSON, or the bytes of a file, or neither. `kind` is which
    one of the operation's media types it is, if that is not the first one."""

    value: Struct | None = None
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    data: bytes = b""
    kind: str = ""


Handler = Callable[[Call[Any, Any]], Given]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`bodies`: the type of each media type that may be sent; None: the bytes as they are. `gives`: what the
    answer is, of one of the media types `kinds`. `once`: what an Idempotency-Key does: `whole` where all is
    one transaction of the store, `parts` where it may be carried out twice. `problems`: kinds that it has
    beside those of all. `conditional`: whether If-Match is looked at."""

    handler: Handler
    query: type[Struct]
    bodies: Mapping[str, type[Struct] | None]
    gives: type[Struct] | None
    kinds: tuple[str, ...]
    status: int
    once: Literal["whole", "parts"] | None
    problems: tuple[str, ...]
    conditional: bool
    example: Any = field(repr=False)

    @property
    def summary(self) -> str:
        return self._told[0]

    @property
    def description(self) -> str:
        return self._told[1]

    @property
    def _told(self) -> tuple[str, str]:
        first, _, rest = inspect.cleandoc(self.handler.__doc__ or "").partition("\n")
        return first.rstrip("."), rest.strip()

    def __call__(self, office: Office, actor: Actor, request: Request) -> Reply:
        if self.gives is not None:
            check_accepted(request, *self.kinds)
        call = Call(office, actor, request, self._query(request), self._body(request), office.now())
        key = request.fields.get("idempotency_key")
        if key is None or self.once is None:
            return self._carried_out(call)
        return self._once(call, key)

    def _once(self, call: Call[Any, Any], field: str) -> Reply:
        from pystream.server.office.once import key_of

        token, asked = call.actor.token, call.request.asked
        assert token is not None
        kind = call.request.fields.get("content_type", "")
        parts = [each.encode() for each in (asked.method, asked.path, asked.query, kind)]
        made, again = call.office.once.answer(
            call.tenant_id,
            token.id,
            key_of(field),
            b"\0".join([*parts, asked.body]),
            lambda: msgspec.msgpack.encode(self._carried_out(call)),
            whole=self.once == "whole",
            now=call.now,
        )
        reply = msgspec.msgpack.decode(made, type=Reply)
        if again:
            reply.headers.append(("Idempotent-Replayed", "true"))
        return reply

    def _carried_out(self, call: Call[Any, Any]) -> Reply:
        with told(self):
            given = self.handler(call)
        data = given.data if given.value is None else msgspec.json.encode(given.value)
        kind = given.kind or self.kinds[0]
        text = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        said = [("Content-Type", text)] if self.gives is not None else []
        return Reply(given.status, [*said, *ALWAYS, *given.headers], data)

    def _query(self, request: Request) -> Any:
        try:
            fields = request.query
        except HttpError as error:
            raise Refusal("malformed", error.reason) from None
        wanted = {each.name: each for each in msgspec.structs.fields(self.query)}
        values = {
            name: _elements(text) if name in wanted and _is_list(wanted[name].type) else text
            for name, text in fields.items()
        }
        return _read(self.query, values, lambda name, _: {"parameter": name}, "malformed", False)

    def _body(self, request: Request) -> Any:
        if not self.bodies:
            return None
        kind = (request.fields.get("content_type") or "").partition(";")[0].strip().lower()
        if kind not in self.bodies:
            wanted = " or ".join(self.bodies)
            # RFC 9110 15.5.16, where there is no field of the method's own.
            own = {"PATCH": "Accept-Patch", "POST": "Accept-Post"}
            accepted = ((own.get(request.method, "Accept"), ", ".join(self.bodies)),)
            raise Refusal("media-type", f"a body of the type {wanted} is wanted", headers=accepted)
        type = self.bodies[kind]
        if type is None:
            return request.asked.body
        value = parsed(request.asked.body)
        if not isinstance(value, dict):
            raise invalid(Error(detail="an object is wanted", pointer="#"))
        return _read(
            type, value, lambda name, rest: {"pointer": _pointer(name) + rest}, "invalid", True
        )


def operation(
    *,
    query: type[Struct] = NoQuery,
    body: type[Struct] | None = None,
    bodies: Mapping[str, type[Struct] | None] | None = None,
    gives: type[Struct] | None = None,
    kind: str | tuple[str, ...] = JSON,
    status: int = 200,
    once: Literal["whole", "parts"] | None = None,
    problems: tuple[str, ...] = (),
    conditional: bool = False,
    example: Any = None,
) -> Callable[[Handler], Operation]:
    """Makes an operation of a handler; its docstring is what the OpenAPI document says of it. `example`
    is one of a body."""
    taken = {JSON: body} if body is not None else {}
    return lambda handler: Operation(
        handler=handler,
        query=query,
        bodies=taken if bodies is None else bodies,
        gives=gives,
        kinds=(kind,) if isinstance(kind, str) else kind,
        status=status,
        once=once,
        problems=problems,
        conditional=conditional,
        example=example,
    )


# Reading


def parsed(data: bytes) -> Any:
    """JSON (RFC 8259), each name once. Raises `Refusal`."""
    # For this alone, which msgspec does not tell; all else that is wrong it does.
    with suppress(ValueError, RecursionError):
        json.loads(data, object_pairs_hook=_each_once)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = (
            str(error) if isinstance(error, msgspec.DecodeError) else "it is no UTF-8, or too deep"
        )
        raise Refusal("malformed", f"the body is no JSON: {why}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refusal("malformed", "an object of the body has a name twice")


def _read(
    type: type[Sent],
    values: Mapping[str, Any],
    where: Callable[[str, str], dict[str, Any]],
    kind: str,
    strict: bool,
) -> Sent:
    """A Struct of values; each that cannot be is told, and those that are missing or too many."""
    errors: list[Error] = []
    found: dict[str, Any] = {}
    known = {each.name: each for each in msgspec.structs.fields(type)}
    for name in sorted(set(values) - set(known)):
        said = f"there is no {name[:40]!r} here; there is {', '.join(known) or 'nothing'}"
        errors.append(Error(detail=said, **where(name, "")))
    for name, each in known.items():
        if name in values:
            try:
                found[name] = msgspec.convert(values[name], each.type, strict=strict)
            except msgspec.ValidationError as error:
                detail, rest = _plain(str(error))
                errors.append(Error(detail=f"{name}: {detail}", **where(name, rest)))
        elif each.required:
            errors.append(Error(detail=f"{name} is missing", **where(name, "")))
    if errors:
        raise Refusal(kind, "; ".join(each.detail for each in errors[:3]), errors)
    return type(**found)


_FAULT = re.compile(r"(?s)(.*?)(?: - at `\$(.*)`)?")
_STEP = re.compile(r"\[(\d+)\]|\.([^.\[\]]+)|\[\.\.\.\]")
_WORDS = {
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "float": "a number",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _plain(message: str) -> tuple[str, str]:
    """What msgspec says, for people, and where below the field, as a JSON Pointer."""
    found = _FAULT.fullmatch(message)
    assert found is not None
    steps = (step[1] or step[2] for step in _STEP.finditer(found[2] or ""))
    rest = "".join(_pointer(step, "/") for step in steps if step)
    if "datetime" in found[1]:
        return "a time is wanted with its offset from UTC, as 2031-06-30T23:59:59+02:00", rest
    text = re.sub(r"`(\w+)`", lambda word: _WORDS.get(word[1], word[1]), found[1])
    return text[:1].lower() + text[1:].replace("`", ""), rest


def _pointer(name: str, begin: str = "#/") -> str:
    # RFC 6901 3
    return begin + name.replace("~", "~0").replace("/", "~1")


def _elements(text: str) -> list[str]:
    return text.split(",") if text else []


def _is_list(type: Any) -> bool:
    """Whether it is a list, or may be one."""
    origin = get_origin(type)
    return origin is list or (origin is not None and any(map(_is_list, get_args(type))))


def check_accepted(request: Request, *kinds: str) -> None:
    """Raises `Refusal` where whoever asks takes none of these media types."""
    field = request.fields.get("accept")
    if not any(_is_accepted(field, kind) for kind in kinds):
        raise Refusal("not-acceptable", f"the answer is {' or '.join(kinds)}")


def _is_accepted(field: str | None, kind: str) -> bool:
    """Whether Accept lets through a media type (RFC 9110 12.5.1): the most specific range decides."""
    if not field:
        return True
    best, quality = -1, 0.0
    ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    for part in field.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        if name in ranges and 2 - ranges.index(name) >= best:
            best, quality = 2 - ranges.index(name), _quality(parameters)
    return quality > 0


def _quality(parameters: Sequence[str]) -> float:
    for each in parameters:
        if each.startswith("q="):
            try:
                return float(each[2:])
            except ValueError:
                return 1.0
    return 1.0


# Errors of the rooms below


class told:
    """Tells the errors of the rooms below as what they are to whoever has sent a request."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, InvalidValue):
            raise invalid(*map(self._error, error.problems)) from None
        if isinstance(error, Outdated):
            raise Refusal("outdated", str(error)) from None
        if isinstance(error, Exists):
            raise Refusal("exists", str(error)) from None
        if isinstance(error, NotFound):
            raise Refusal("not-found", str(error)) from None
        if isinstance(error, InUse):
            raise Refusal("in-use", str(error)) from None
        if isinstance(error, TooEarly):
            raise Refusal("too-early", str(error)) from None
        if isinstance(error, Incomplete):
            raise Refusal("erased", str(error)) from None

    def _error(self, problem: str) -> Error:
        """Problems begin with the name of what is wrong, where it has one."""
        name, colon, _ = problem.partition(":")
        if not colon:
            return Error(detail=problem)
        types = [type for type in self._operation.bodies.values() if type is not None]
        if any(name == each.name for type in types for each in msgspec.structs.fields(type)):
            return Error(detail=problem, pointer=_pointer(name))
        if name in self._operation.query.__struct_fields__:
            return Error(detail=problem, parameter=name)
        return Error(detail=problem)


# Values


def seconds(moment: datetime | None) -> int | None:
    """A time in Unix seconds."""
    return None if moment is None else int(moment.timestamp())


def moment(seconds: int | None) -> datetime | None:
    """Unix seconds as a time."""
    return None if seconds is None else at(seconds)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def number(text: str) -> int:
    """A thing's id. No number of JavaScript is as large: in JSON they are texts. Raises `Refusal` for what is
    none."""
    if not is_id(text):
        raise Refusal("not-found", "there is nothing of this id")
    return int(text)


def given_only(values: Struct) -> dict[str, Any]:
    """What was given of a Struct whose fields may be missing, as settings have it."""
    found = {each: getattr(values, each) for each in values.__struct_fields__}
    return {name: _setting(value) for name, value in found.items() if value is not UNSET}


def _setting(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return seconds(value) if isinstance(value, datetime) else value


def as_file(name: str) -> tuple[str, str]:
    """The field that has a browser save the answer under a name (RFC 6266)."""
    return "Content-Disposition", f'attachment; filename="{name}"'


# Pages


def cursor_of(text: str) -> str:
    """What stands in a cursor; "" for none. Raises `Refusal`."""
    if not text:
        return ""
    try:
        found = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        found = ""
    if not found or as_cursor(found) != text:
        raise _no_cursor()
    return found


def as_cursor(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def number_of_cursor(text: str) -> int:
    """The number in a cursor; 0 for none. Raises `Refusal`."""
    found = cursor_of(text)
    try:
        return number(found) if found else 0
    except Refusal:
        raise _no_cursor() from None


def _no_cursor() -> Refusal:
    detail = "cursor: this is none of this server's; begin with the first page"
    return invalid(Error(detail=detail, parameter="cursor"))


def next_link(call: Call[Any, Any], cursor: str | None) -> Iterator[tuple[str, str]]:
    """The field that leads to the next page (RFC 8288), if there is one."""
    if cursor is None:
        return
    fields = {**call.request.query, "cursor": cursor}
    target = f"{call.request.root}{call.request.path}?{urlencode(fields)}"
    yield "Link", f'<{target}>; rel="next"'
