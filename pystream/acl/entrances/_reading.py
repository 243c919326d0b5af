"""How what strangers send is read: once, strictly, and in ASCII.

Several of the formats in this package sign fields that are written one behind the other with nothing
in between, or with a sign between them that a field may have itself. There, two readings of the same
bytes can both be signed, and a stranger chooses the one he likes. So a value is only taken where one
reading is left: a time has ten digits at most and no leading zero, a name begins with a letter, and a
value has no `&`. What a hash can be lengthened with (padding: 0x80 and zeros) is no printable ASCII
either.
"""

from __future__ import annotations

import re
from typing import Final

from pystream.acl.entrances import SKEW_S
from pystream.errors import EntranceError

LONGEST: Final = 4096
LONGEST_VIEWER: Final = 128

_QUERY = re.compile(r"[!-~]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# Printable ASCII without blank and ampersand.
_VALUE = re.compile(r"[!-%'-~]*")
_SECONDS = re.compile(r"[1-9][0-9]{0,9}")
_DEVICES = re.compile(r"[1-9][0-9]{0,2}")
# What identifiers are made of in the wild (`auth0|5f7c8e`, `urn:uuid:...`). No `@`: that is a mail
# address, and nobody here wants to know it.
_VIEWER = re.compile(rf"[A-Za-z0-9._~|:/+=-]{{1,{LONGEST_VIEWER}}}")


def parameters(query: str) -> dict[str, str]:
    """The parameters of a query, decoded once (RFC 3986 2.4). A plus is a plus. Raises
    `EntranceError` where one is there twice, or anything is not as it should be."""
    if len(query) > LONGEST or not _QUERY.fullmatch(query):
        raise EntranceError("malformed", "query")
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        written_name, equals, written = pair.partition("=")
        name, value = decoded(written_name), decoded(written)
        if not equals or name in found or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise EntranceError("malformed", "query")
        found[name] = value
    return found


def decoded(text: str) -> str:
    """The text, percent-decoded once. An octet is one character, so what is no ASCII stays visible."""
    if _BROKEN_ESCAPE.search(text):
        raise EntranceError("malformed", "query")
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def seconds(text: str, part: str) -> int:
    """A time in whole Unix seconds, in the one way to write it."""
    if not _SECONDS.fullmatch(text):
        raise EntranceError("malformed", part)
    return int(text)


def devices(text: str, part: str) -> int:
    """1 to 999."""
    if not _DEVICES.fullmatch(text):
        raise EntranceError("malformed", part)
    return int(text)


def viewer(text: str, part: str) -> str:
    """An opaque name of a viewer."""
    if not _VIEWER.fullmatch(text):
        raise EntranceError("malformed", part)
    return text


def in_time(now: int, not_before: int | None, expires: int) -> None:
    """Raises `EntranceError` before the one and after the other, give or take `SKEW_S`."""
    if now >= expires + SKEW_S:
        raise EntranceError("expired")
    if not_before is not None and now < not_before - SKEW_S:
        raise EntranceError("early")
