"""Akamai Auth Token 2.0, so that a customer's generator goes on working.

    st=1616545627~exp=1616545657~acl=/acme/film/*~hmac=ba0d66...

Theory. A token is fields `name=value` with `~` between them, and HMAC over all that stands before
`~hmac=`, in lower-case hexadecimal. The key is hexadecimal, too. There are two kinds. One has an `acl`,
patterns with `!` between them, in which `*` is any text (slashes, too) and `?` is one character. The
other has none, and then the path is signed as if `~url=/path` stood at the end. After either, a salt may
be signed as `~salt=...`, which the token does not show.

Followed is what Akamai's generators write (github.com/akamai: EdgeAuth-Token-Python, -Node, -Java), and
Cloudinary's (github.com/cloudinary: pycloudinary), which escapes the patterns as well. With `Escape token
input` the generators write `ip`, `id`, `data` and `url` percent-encoded in lower case, and sign them so.
Where README and code differ on `id` ("single use"), nothing here makes it so: it names the viewer.

A token comes by query, cookie or header. What came by query is asked for as it came. Only where the
site encoded the token as a whole, so that no `=` is left in it, is it decoded, once.

Stricter than the model: `exp` has to be there, fields that no generator writes are refused, and so are
those that are there twice.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pystream.acl.entrances import Entry
from pystream.acl.entrances._reading import LONGEST, decoded, in_time, seconds, viewer
from pystream.acl.entrances.conditions import address as parsed_address
from pystream.errors import EntranceError

# SHA-1 and MD5 are what old configurations have; they are used only where one says so.
ALGORITHMS: Final = ("sha256", "sha1", "md5")

_KEY = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_TOKEN = re.compile(r"[!-~]+")
_FIELDS = frozenset(("ip", "st", "exp", "acl", "id", "data"))
# What `quote_plus` leaves alone: unreserved characters (RFC 3986 2.3).
_ESCAPED = re.compile(rb"[^A-Za-z0-9_.~-]")
_MOST_WILDCARDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """As in the customer's configuration. `keys`: hexadecimal, the current one and the one in
    transition. `escape_early`: `Escape token input`. Raises `ValueError` for what is no key."""

    keys: tuple[str, ...] = field(repr=False)
    algorithm: str = "sha256"
    salt: str = field(default="", repr=False)
    escape_early: bool = False

    def __post_init__(self) -> None:
        if not self.keys or not all(_KEY.fullmatch(key) for key in self.keys):
            raise ValueError(
                "an Akamai key is an even number of hexadecimal digits, and one is needed"
            )
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"the algorithm is one of {', '.join(ALGORITHMS)}")


def carried(query: str, name: str) -> str | None:
    """The token in a query, as it came; None where the parameter `name` (`hdnts`, say) is not there.
    Raises `EntranceError` where it is there twice."""
    found = [pair.partition("=")[2] for pair in query.split("&") if pair.startswith(f"{name}=")]
    if len(found) > 1:
        raise EntranceError("malformed", "query")
    return found[0] if found else None


def verify(token: str, rules: Rules, *, path: str, now: int, address: str | None) -> Entry:
    """The entry, if the token opens `path` now for who is at `address`. `path` is decoded. Raises
    `EntranceError`."""
    body, mac = _split(token)
    values = _fields(body)
    _check_mac(body, mac, values, rules, path)
    in_time(now, _optional_seconds(values, "st"), seconds(values["exp"], "exp"))
    if "acl" in values and not _allowed(_plain(values["acl"], rules), path):
        raise EntranceError("elsewhere", "acl")
    if "ip" in values:
        signed = parsed_address(_plain(values["ip"], rules))
        if signed is None or signed != parsed_address(address):
            raise EntranceError("elsewhere", "ip")
    return Entry(
        not_before=_optional_seconds(values, "st"),
        expires=seconds(values["exp"], "exp"),
        viewer=viewer(_plain(values["id"], rules), "id") if "id" in values else None,
        mark=mac,
    )


def _split(token: str) -> tuple[str, str]:
    if "=" not in token:
        token = decoded(token)
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        raise EntranceError("malformed")
    body, found, mac = token.rpartition("~hmac=")
    if not found:
        raise EntranceError("malformed", "hmac")
    return body, mac


def _fields(body: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for written in body.split("~"):
        name, equals, value = written.partition("=")
        if not equals or name in values or name not in _FIELDS:
            raise EntranceError("malformed")
        values[name] = value
    if "exp" not in values:
        raise EntranceError("malformed", "exp")
    return values


def _check_mac(body: str, mac: str, values: Mapping[str, str], rules: Rules, path: str) -> None:
    signed = body
    if "acl" not in values:
        signed += f"~url={_escape(path) if rules.escape_early else path}"
    if rules.salt:
        signed += f"~salt={rules.salt}"
    right = False
    for key in rules.keys:
        wanted = hmac.digest(bytes.fromhex(key), signed.encode(), rules.algorithm).hex()
        right |= hmac.compare_digest(wanted.encode(), mac.encode())
    if not right:
        raise EntranceError("forged", "hmac")


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: b"%%%02x" % found[0][0], text.encode()).decode()


def _plain(value: str, rules: Rules) -> str:
    return decoded(value) if rules.escape_early else value


def _optional_seconds(values: Mapping[str, str], name: str) -> int | None:
    return seconds(values[name], name) if name in values else None


def _allowed(acl: str, path: str) -> bool:
    if sum(map(acl.count, "*?")) > _MOST_WILDCARDS:
        raise EntranceError("malformed", "acl")
    return any(_matches(pattern, path) for pattern in acl.split("!"))


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern is all of the text. Takes the product of both lengths, never more: after a
    mismatch, only the last asterisk takes one character more."""
    at = place = 0
    star, taken = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, taken = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            taken += 1
            at, place = star + 1, taken
        else:
            return False
    return not pattern[at:].strip("*")
