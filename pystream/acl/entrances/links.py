r"""The signed link: a customer's site lets a viewer in by a query behind the page's address.

This is the specification; whatever language a site is written in, it needs HMAC-SHA256 and no more.

    https://video.example.org/acme/film/?expires=1936702800&key=7f&viewer=4711&signature=pZ1...

**Parameters.** `expires`, `key` and `signature` have to be there, the others need not. None may be
there twice, and none but these. Values are percent-encoded once, as `http_build_query` and
`URLSearchParams` do, or not at all where they need not be (RFC 3986 3.4). The order is free.

| name         | value                                                                                |
| `countries`  | those that may, as in `AT,DE` (ISO 3166-1), in ascending order                       |
| `devices`    | how many may play with this link at a time: 1 to 999                                 |
| `expires`    | Unix seconds: the last moment to come in; who is in stays in                         |
| `key`        | which of the tenant's keys signs: its name, 1 to 16 letters, digits, `-` and `_`     |
| `networks`   | as in `192.0.2.0/24,2001:db8::/32`, in ascending order                               |
| `not_before` | Unix seconds: the first moment to come in                                            |
| `origins`    | sites that may embed the page, as in `https://www.example.org`, in ascending order   |
| `scope`      | `tenant`: the link opens all the tenant's streams                                    |
| `viewer`     | an opaque name, up to 128 letters, digits and `._~|:/+=-`; no e-mail address         |
| `signature`  | see below                                                                            |

Ascending order is that of the ASCII codes. Numbers have no sign and no leading zero.

**What is signed** is text of lines, each but the last one with a line feed (0x0A) at its end:

    pystream-link-1
    /acme/film/
    expires=1936702800
    key=7f
    viewer=4711

The first line is this format's name. The second is the path, decoded, with both slashes: tenant and
stream, or the tenant alone (`/acme/`) with `scope=tenant`. Then follow all parameters but the
signature, sorted by name, decoded.

**The signature** is HMAC-SHA256 (RFC 2104) of that text, as base64url without padding (RFC 4648 5): 43
characters. The HMAC's key is the 32 bytes that the tenant's key stands for: it is shown as 64
hexadecimal digits. In PHP:

    $text = "pystream-link-1\n/acme/film/\nexpires=$expires\nkey=7f\nviewer=$viewer";
    $mac = hash_hmac('sha256', $text, hex2bin($key), true);
    $signature = rtrim(strtr(base64_encode($mac), '+/', '-_'), '=');

and in JavaScript, on the server, never in a page:

    createHmac("sha256", Buffer.from(key, "hex")).update(text).digest("base64url")

A link for another stream has another path, so it is refused as one that nobody has signed.

**Keys.** A tenant has two active keys at most: sign with the new one, and drop the old one when the
last link that it signed is over. Links are no secret from those who get them: a link that is passed
on opens for others too, unless `devices`, `networks` or a short time keep them out.

**Test vector.** Key `7f`: 000102...1f in hexadecimal (32 bytes), the text above: signature
`Y9Gt-2viLK5r7O8M2Y0VRUeVsKxOjLbYX7vfeiaItiM`.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pystream.acl.entrances import Entry
from pystream.acl.entrances._reading import devices, in_time, parameters, seconds, viewer
from pystream.acl.entrances.conditions import Conditions, problems
from pystream.errors import EntranceError

KEY_LENGTH: Final = 32

_LABEL = "pystream-link-1"
_PATH = re.compile(r"/([a-z0-9][a-z0-9-]{0,62})/([a-z0-9][a-z0-9-]{0,62})/")
# All but what no program between signer and door has ever another meaning for.
_RESERVED = re.compile(r"[^A-Za-z0-9._~:/,*-]")
_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,16}")
_NEEDED = frozenset(("expires", "key", "signature"))
# What is wanted where a value has a form that no link has.
_WANTED = {
    "viewer": "a viewer's name of up to 128 letters, digits and ._~|:/+=- is wanted, no e-mail address",
    "devices": "1 to 999 devices are wanted",
}
_KNOWN = _NEEDED | {"countries", "devices", "networks", "not_before", "origins", "scope", "viewer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Entry):
    """A signed link. `tenant` and `stream`: what it opens; `stream` is None where that is all of the
    tenant's. `key`: the name of the key that signs. Of the conditions, `origins`, `networks` and
    `countries` can be signed; each of them then refuses what it cannot decide."""

    tenant: str
    stream: str | None
    key: str


def sign(link: Link, key: bytes) -> str:
    """The query, without a question mark. `key`: 32 bytes, those that `link.key` names. Raises
    `ValueError` for what no link can say."""
    _check_key(key)
    values = _values(link)
    path = f"/{link.tenant}/" if link.stream is None else f"/{link.tenant}/{link.stream}/"
    query = "&".join(f"{name}={_encoded(value)}" for name, value in sorted(values.items()))
    query = f"{query}&signature={_signature(path, values, key)}"
    try:
        read = _read(f"/{link.tenant}/{link.stream or 'any'}/", parameters(query))
    except EntranceError as error:
        part = error.part or "path"
        raise ValueError(f"no link can say that: {_WANTED.get(part, part)}") from None
    if read != link:
        raise ValueError(
            "a link says origins, networks and countries in ascending order, and no more"
        )
    return query


def verify(path: str, query: str, keys: Mapping[str, bytes], *, now: int) -> Link:
    """The link, if it opens the page at `path` now. Its conditions remain to be asked.

    `path` is `/tenant/stream/`, decoded; `query` is all that stands behind the question mark, as it
    came; `keys` are the tenant's, 32 bytes each by their names. Raises `EntranceError`.
    """
    for key in keys.values():
        _check_key(key)
    values = parameters(query)
    link = _read(path, values)
    signature = values.pop("signature")
    signed_path = path if link.stream is not None else f"/{link.tenant}/"
    # The same work for a name that nobody has; the zeros sign nothing, for they are not asked.
    wanted = _signature(signed_path, values, keys.get(link.key, bytes(KEY_LENGTH)))
    if link.key not in keys:
        raise EntranceError("unknown_key", "key")
    if not hmac.compare_digest(wanted.encode(), signature.encode()):
        raise EntranceError("forged", "signature")
    in_time(now, link.not_before, link.expires)
    return replace(link, mark=signature)


def _check_key(key: bytes) -> None:
    if len(key) != KEY_LENGTH:
        raise ValueError(f"a link's key has {KEY_LENGTH} bytes")


def _values(link: Link) -> dict[str, str]:
    several = {
        "countries": link.conditions.countries,
        "networks": link.conditions.networks,
        "origins": link.conditions.origins,
    }
    values: dict[str, object] = {
        "expires": link.expires,
        "key": link.key,
        "not_before": link.not_before,
        "viewer": link.viewer,
        "devices": link.max_devices,
        "scope": "tenant" if link.stream is None else None,
        **{name: ",".join(listed) or None for name, listed in several.items()},
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _encoded(value: str) -> str:
    return _RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", value)


def _signature(path: str, values: Mapping[str, str], key: bytes) -> str:
    lines = [_LABEL, path, *(f"{name}={value}" for name, value in sorted(values.items()))]
    mac = hmac.digest(key, "\n".join(lines).encode(), "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


def _read(path: str, values: Mapping[str, str]) -> Link:
    """What a query says, be it signed or not."""
    named = _PATH.fullmatch(path)
    if named is None:
        raise EntranceError("malformed", "path")
    if not set(values) <= _KNOWN or not set(values) >= _NEEDED:
        raise EntranceError("malformed", "query")
    if values.get("scope", "tenant") != "tenant":
        raise EntranceError("malformed", "scope")
    if not _KEY_NAME.fullmatch(values["key"]):
        raise EntranceError("malformed", "key")
    return Link(
        tenant=named[1],
        stream=None if "scope" in values else named[2],
        key=values["key"],
        expires=seconds(values["expires"], "expires"),
        not_before=seconds(values["not_before"], "not_before") if "not_before" in values else None,
        viewer=viewer(values["viewer"], "viewer") if "viewer" in values else None,
        max_devices=devices(values["devices"], "devices") if "devices" in values else None,
        conditions=_conditions(values),
    )


def _conditions(values: Mapping[str, str]) -> Conditions:
    conditions = Conditions(
        origins=_listed(values, "origins"),
        networks=_listed(values, "networks"),
        countries=_listed(values, "countries"),
    )
    for problem in problems(conditions):
        raise EntranceError("malformed", problem.partition(":")[0])
    return conditions


def _listed(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    if name not in values:
        return ()
    listed = tuple(values[name].split(","))
    if list(listed) != sorted(set(listed)):
        raise EntranceError("malformed", name)
    return listed
