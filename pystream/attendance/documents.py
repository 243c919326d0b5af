"""What leaves the house as proof: reports, receipts and exports, made and read.

A report is what an organiser has: rows, what they were computed with, and the checkpoint of the log behind
them, all signed. A receipt is the same for one key, and has its events, each as a leaf of that log, and what
proves that they are in it. Both are JSON, and signed in its one spelling (RFC 8785): they may be written
otherwise.

An export is the log itself, leaf by leaf: JSON lines, each exactly in the one spelling, since there may be
millions. The first names the checkpoint; each other one is an event with its salt, or only a hash where these
are erased or expired.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from pystream._core import canonical_events, leaf_hashes
from pystream.attendance import notes
from pystream.attendance.canonical import LARGEST, decode, encode
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.evidence import SALT_LENGTH
from pystream.attendance.options import Options, zones_version
from pystream.errors import InvalidValue, MalformedDocument, MalformedEvidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from pystream.attendance.notes import SigningKey

    class Proving(Protocol):
        """A log's leaves, of which proofs are made, as `LeafHashes` and `Tiles` do."""

        def inclusion(self, size: int, places: Sequence[int]) -> bytes: ...


REPORT = "pystream attendance report 1"
RECEIPT = "pystream attendance receipt 1"
EXPORT = "pystream attendance export 1"
PROVISIONAL = "pystream attendance provisional report 1"
# Of a report or a receipt; a report of 10,000 keys with 100 intervals each has half of it.
LONGEST = 64 << 20
# The instants of events.
FIRST, LAST = 0, 4_102_444_800_001


class Leaf(NamedTuple):
    """A leaf of the log. Salt and event, as the log spells it, are None where they are erased or expired."""

    hash: bytes
    salt: bytes | None
    event: bytes | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of the log's events a report is computed from, and which of the rows it has.

    Events are those of the streams, None for all, from `begin` to before `end`, in ms; what is of no viewer
    where it touches that. Rows are those of the days, None for all, and of the programme, and of no key that
    it is `without`: of which there are events, and nobody may use them.
    """

    streams: tuple[str, ...] | None = None
    begin: int = FIRST
    end: int = LAST
    days: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is one of the report's."""
        is_of_days = self.days is None or row["day"] is None or row["day"] in self.days
        return is_of_days and row["key"] not in self.without


class Unsigned(NamedTuple):
    """What a report says, signed or not."""

    rows: list[dict[str, Any]]
    options: Options
    scope: Scope
    tzdata: str
    about: dict[str, Any]


class Proven(NamedTuple):
    """What a receipt has beyond a report: its key, its events by their places in the log, and the proof."""

    key: str
    places: list[int]
    salts: bytes
    events: list[bytes]
    proof: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """A report, or a receipt. Nothing of it is checked but its form."""

    rows: list[dict[str, Any]]
    options: Options
    scope: Scope
    tzdata: str
    checkpoint: str
    about: dict[str, Any]
    signed: bytes = field(repr=False)
    signer: tuple[str, str]
    signature: bytes
    receipt: Proven | None


# Making them


def report(
    rows: Sequence[Mapping[str, Any]],
    options: Options,
    scope: Scope,
    checkpoint: str,
    key: SigningKey,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """A sealed report.

    `rows` are what the ledger gives for the events and days of `scope`, `checkpoint` is the note of the log
    that has these events, `about` what else is to be signed.
    """
    return _signed(_fields(REPORT, rows, options, scope, checkpoint, about), key)


def receipt(
    of: str,
    leaves: Iterable[tuple[int, Leaf]],
    log: Proving,
    rows: Sequence[Mapping[str, Any]],
    options: Options,
    scope: Scope,
    checkpoint: str,
    key: SigningKey,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """The receipt of one key.

    `leaves` are its events in `scope` and those of no key there, each with its place in the log, whose leaves
    are `log`. `ValueError` where one of them is gone, or lies behind the checkpoint.
    """
    size = Checkpoint.parse(notes.parse(checkpoint)[0]).size
    held = sorted(leaves)
    events = []
    for place, leaf in held:
        if leaf.salt is None or leaf.event is None:
            raise ValueError(f"the event at {place} is gone")
        events.append({"at": place, "event": decode(leaf.event), "salt": leaf.salt.hex()})
    proof = log.inclusion(size, [place for place, _ in held]) if held else b""
    more = {"events": events, "key": of, "proof": _base64(proof)}
    return _signed(_fields(RECEIPT, rows, options, scope, checkpoint, about) | more, key)


def export(checkpoint: str, leaves: Iterable[Leaf]) -> Iterator[bytes]:
    """The lines of an export, of all leaves that the checkpoint is over."""
    yield encode({"checkpoint": checkpoint, "format": EXPORT}) + b"\n"
    for leaf in leaves:
        if leaf.salt is None or leaf.event is None:
            yield b'{"leaf":"%s"}\n' % leaf.hash.hex().encode()
        else:
            yield b'{"event":%s,"salt":"%s"}\n' % (leaf.event, leaf.salt.hex().encode())


def _fields(
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    options: Options,
    scope: Scope,
    checkpoint: str,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return _unsigned(rows, options, scope, about) | {"checkpoint": checkpoint, "format": kind}


def provisional(
    rows: Sequence[Mapping[str, Any]],
    options: Options,
    scope: Scope,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """What is no report yet: it says the same, and nobody has signed it."""
    said = _unsigned(rows, options, scope, about)
    return encode(said | {"format": PROVISIONAL}) + b"\n"


def _unsigned(
    rows: Sequence[Mapping[str, Any]],
    options: Options,
    scope: Scope,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    said = options.resolved()
    return {
        "about": dict(about or {}),
        "options": {
            each.name: getattr(said, each.name) for each in fields(said) if each.name != "timezone"
        },
        "rows": [dict(row) for row in rows],
        "scope": _scoped(scope),
        "tzdata": zones_version(),
        "zone": options.timezone,
    }


def _scoped(scope: Scope) -> dict[str, Any]:
    said = {each.name: getattr(scope, each.name) for each in fields(scope)}
    if not scope.without:
        del said["without"]
    return said


def _signed(made: dict[str, Any], key: SigningKey) -> bytes:
    verifier = key.verifier
    signature = {
        "key": f"{verifier.name}+{verifier.id.hex()}",
        "value": _base64(key.sign(encode(made))),
    }
    return encode(made | {"signature": signature}) + b"\n"


# Reading them


def parse(text: bytes) -> Document:
    """A report or a receipt. Raises `MalformedDocument`."""
    if len(text) > LONGEST:
        raise MalformedDocument(f"this has more than {LONGEST >> 20} MB")
    value = decode(text)
    kind = value.get("format") if isinstance(value, dict) else None
    if kind == PROVISIONAL:
        raise MalformedDocument("this report is provisional: nobody has signed it")
    if kind not in (REPORT, RECEIPT):
        raise MalformedDocument("this is neither a report nor a receipt of attendance")
    members = _object(value, "the document", _DOCUMENT | (_PROVEN if kind == RECEIPT else {}))
    signature = _object(members["signature"], "signature", {"key": _text, "value": _text})
    name, _, key_id = signature["key"].rpartition("+")
    unsigned = {name: value for name, value in members.items() if name != "signature"}
    said = _said(members)
    return Document(
        said.rows,
        said.options,
        said.scope,
        said.tzdata,
        members["checkpoint"],
        said.about,
        _spelt(unsigned),
        (name, key_id),
        _bytes(signature["value"], "signature"),
        _proven(members) if kind == RECEIPT else None,
    )


def is_provisional(text: bytes) -> bool:
    """Whether it says of itself that nobody has signed it. Raises `MalformedDocument`."""
    if len(text) > LONGEST:
        raise MalformedDocument(f"this has more than {LONGEST >> 20} MB")
    value = decode(text)
    return isinstance(value, dict) and value.get("format") == PROVISIONAL


def parse_provisional(text: bytes) -> Unsigned:
    """A provisional report. Raises `MalformedDocument`."""
    form = {name: check for name, check in _DOCUMENT.items() if name not in _OF_SIGNED}
    return _said(_object(decode(text), "the document", form))


def _said(members: dict[str, Any]) -> Unsigned:
    rows = [_object(row, f"row {n}", _ROW) for n, row in enumerate(members["rows"], 1)]
    for number, row in enumerate(rows, 1):
        if not all(map(_pair, row["intervals"])) or not all(map(_text, row["flags"])):
            raise MalformedDocument(f"row {number}: intervals or flags are not as specified")
    return Unsigned(
        rows,
        _options(members),
        _scope(members["scope"]),
        members["tzdata"],
        members["about"],
    )


def _options(members: dict[str, Any]) -> Options:
    said = _object(members["options"], "options", _OPTIONS)
    for name in ("windows", "breaks"):
        if not all(map(_pair, said[name])):
            raise MalformedDocument(f"options: {name} are not as specified")
        said[name] = tuple(map(tuple, said[name]))
    try:
        options = Options(**said, timezone=members["zone"])
        options.ledger()
    except (InvalidValue, ValueError) as error:
        raise MalformedDocument(f"options: {error}") from None
    return options


def _scope(value: Any) -> Scope:
    form = _SCOPE | ({"without": _list} if isinstance(value, dict) and "without" in value else {})
    said = _object(value, "scope", form)
    for name in ("streams", "days", "without"):
        if said.get(name) is not None:
            if not all(map(_text, said[name])):
                raise MalformedDocument(f"scope: {name} are not as specified")
            said[name] = tuple(said[name])
    return Scope(**said)


def _proven(members: dict[str, Any]) -> Proven:
    events = [_object(each, f"event {n}", _EVENT) for n, each in enumerate(members["events"], 1)]
    for number, each in enumerate(events, 1):
        if not _SALT.fullmatch(each["salt"]):
            raise MalformedDocument(f"event {number}: salt is not as specified")
    spelt = [_spelt(each["event"]) for each in events]
    try:
        if canonical_events(b"\n".join(spelt)) != spelt:
            raise MalformedDocument("an event has a field that the log has not")
    except MalformedEvidence as error:
        raise MalformedDocument(f"event {error.line}: {error.what}") from None
    return Proven(
        members["key"],
        [each["at"] for each in events],
        bytes.fromhex("".join(each["salt"] for each in events)),
        spelt,
        _bytes(members["proof"], "proof"),
    )


class Lines(NamedTuple):
    """A part of an export: the hashes of its leaves, one behind the other, and the events that are there,
    each with its place within the part."""

    leaves: bytes
    places: list[int]
    events: list[bytes]


_HASH_LINE = re.compile(rb'\{"leaf":"([0-9a-f]{64})"\}')
_EVENT_LINE = re.compile(rb'\{"event":(.+),"salt":"([0-9a-f]{32})"\}')
_RELEASE = re.compile("[0-9a-z.]{1,20}")
_SALT = re.compile(f"[0-9a-f]{{{2 * SALT_LENGTH}}}")


def head(line: bytes) -> str:
    """The checkpoint's note in an export's first line. Raises `MalformedDocument`."""
    try:
        members = _object(decode(line), "", {"checkpoint": _text, "format": _text})
        if members["format"] != EXPORT or encode(members) + b"\n" != line:
            raise MalformedDocument("")
    except MalformedDocument:
        raise MalformedDocument("line 1: this is no export of attendance") from None
    return str(members["checkpoint"])


def lines(part: bytes, before: int) -> Lines:
    """Whole lines of an export, behind `before` others. Raises `MalformedDocument`, with a line's number."""
    bare: dict[int, bytes] = {}
    places: list[int] = []
    salts: list[bytes] = []
    events: list[bytes] = []
    *whole, rest = part.split(b"\n")
    if rest:
        raise MalformedDocument(f"line {before + len(whole) + 1}: the line has no end")
    for place, line in enumerate(whole):
        if found := _EVENT_LINE.fullmatch(line):
            places.append(place)
            events.append(found[1])
            salts.append(found[2])
        elif found := _HASH_LINE.fullmatch(line):
            bare[place] = bytes.fromhex(found[1].decode())
        else:
            raise MalformedDocument(f"line {before + place + 1}: this is no leaf")
    try:
        spelt = canonical_events(b"\n".join(events))
    except MalformedEvidence as error:
        number = before + places[error.line - 1] + 1
        raise MalformedDocument(f"line {number}: {error.what}") from None
    if spelt != events:
        wrong = next(n for n, event in enumerate(events) if event not in spelt[n : n + 1])
        raise MalformedDocument(
            f"line {before + places[wrong] + 1}: the event is not spelt as the log has it"
        )
    hashed = leaf_hashes(bytes.fromhex(b"".join(salts).decode()), events)
    if not bare:
        return Lines(hashed, places, events)
    made = bytearray(32 * len(whole))
    for n, place in enumerate(places):
        made[32 * place : 32 * place + 32] = hashed[32 * n : 32 * n + 32]
    for place, leaf in bare.items():
        made[32 * place : 32 * place + 32] = leaf
    return Lines(bytes(made), places, events)


# Forms


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(each) is int for each in value)
        and value[0] < value[1]
    )


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _dict(value: Any) -> bool:
    return isinstance(value, dict)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_Form = dict[str, "Callable[[Any], bool]"]
_DOCUMENT: _Form = {
    "about": _dict,
    "checkpoint": _text,
    "format": _text,
    "options": _dict,
    "rows": _list,
    "scope": _dict,
    "signature": _dict,
    "tzdata": lambda value: _text(value) and _RELEASE.fullmatch(value) is not None,
    "zone": _text,
}
_OF_SIGNED = ("checkpoint", "signature")
_PROVEN: _Form = {"events": _list, "key": _text, "proof": _text}
_EVENT: _Form = {"at": _count, "event": _dict, "salt": _text}
_SCOPE: _Form = {
    "begin": _count,
    "days": _or_null(_list),
    "end": _count,
    "streams": _or_null(_list),
}
_OPTIONS: _Form = {
    "breaks": _list,
    "bridge": _count,
    "credit_outage": _truth,
    "live_only": _or_null(_count),
    "lookahead": _count,
    "mode": lambda value: value in ("live", "file"),
    "require_visible": _truth,
    "target_duration": _count,
    "union": _truth,
    "verified": _truth,
    "windows": _list,
}
_ROW: _Form = {
    "key": _text,
    "stream": _or_null(_text),
    "day": _or_null(_text),
    "evidence_grade": lambda value: value in ("delivered", "player", "player+checks"),
    "intervals": _list,
    "flags": _list,
}
_ROW |= dict.fromkeys(
    "access_ms media_ms certifiable_ms overlap_ms max_devices outage_ms outage_credit_ms deep_buffer_ms"
    " checks_shown checks_answered".split(),
    _count,
)
_ROW |= dict.fromkeys("window_ms window_media_ms verified_ms hidden_ms".split(), _or_null(_count))


def _object(value: Any, where: str, form: _Form) -> dict[str, Any]:
    """An object with just these members, each of its form. Raises `MalformedDocument`."""
    if not isinstance(value, dict):
        raise MalformedDocument(f"{where}: an object is wanted")
    for name, check in form.items():
        if name not in value:
            raise MalformedDocument(f"{where}: {name} is missing")
        if not check(value[name]):
            raise MalformedDocument(f"{where}: {name} is not as specified")
    if len(value) > len(form):
        raise MalformedDocument(f"{where}: there is a field that is none of it")
    return dict(value)


def _spelt(value: Any) -> bytes:
    try:
        return encode(value)
    except ValueError as error:
        raise MalformedDocument(str(error)) from None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise MalformedDocument(f"{where}: this is not base64") from None
