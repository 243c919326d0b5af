"""Token authentication as bunny.net has it, so that a customer's generator goes on working.

    /acme/film/?token=HS256-o10J...&expires=1936702800&token_path=%2Facme%2Ffilm%2F
    /bcdn_token=HS256-o10J...&expires=1936702800&token_path=%2Facme%2Ffilm%2F/acme/film/

Theory. Signed are path, time, address and parameters, one behind the other, with nothing in between. The
path is `token_path` where it is given, and then good for all below it; otherwise it is the page's own.
The parameters are all others in the query, decoded, as `name=value`, sorted by name, with `&` between
them. Three generators are in use, and the token shows which made it:

| token               | made of                                                                         |
| 43 characters       | SHA-256 of key, path, expires, address as text, parameters (until April 2026)   |
| `HS256-` and 43     | HMAC-SHA256 by the key of path, expires, parameters, address as text            |
| `HS256-1-` and 43   | HMAC-SHA256 of path, expires, address, parameters (from May 2026). The address  |
|                     | has 4 bytes, or 16 of which the last 8 are zero: a line's whole /64             |

Each in base64url without padding. Followed is the code of github.com/BunnyWay/BunnyCDN.TokenAuthentication
and not its README, which describes the second kind only. Before April 2026 its generators disagreed
where the address stands: PHP, JavaScript and the manual as above, Python after the parameters, C# before
the time. All three are taken. The oldest kind, MD5, is not.

What is not separated can be read in two ways: a token for `/film1` until 1598024587 is one for `/film`
until 11598024587. Here it has one reading, since a time has ten digits, a signed path ends in none, and
a parameter's name does not begin with one. And SHA-256 of a secret and a text tells that of a longer
text; what makes it longer is no printable ASCII, and that is refused.

`token_countries` and `token_countries_blocked` are the entry's conditions. `limit`, a download speed, is
signed and not obeyed: the stream's own pace is. `token_referer`, which one generator wrote, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from pystream.acl.entrances import Entry
from pystream.acl.entrances._reading import in_time, parameters, seconds
from pystream.acl.entrances.conditions import NONE, Conditions, problems
from pystream.acl.entrances.conditions import address as parsed_address
from pystream.errors import EntranceError

_TOKEN = re.compile(r"(HS256-(?:1-)?)?[A-Za-z0-9_-]{43}")
_BY_PATH = re.compile(r"/(bcdn_token=[^/?]*)(/[^?]*)")
# No digit at the end, or the time behind it could begin earlier.
_PATH = re.compile(r"/(?:[!-%'-~]*[!-%'-/:-~])?")
_IGNORE = "token_ignore_params"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """As in the customer's pull zone. `keys`: its token authentication keys, all of which are good.
    `with_address`: `Token IP validation`; a token that says so is bound to its address anyway."""

    keys: tuple[str, ...] = field(repr=False)
    with_address: bool = False

    def __post_init__(self) -> None:
        if not self.keys or not all(self.keys):
            raise ValueError("a token authentication key is needed, and an empty one is none")


def split(target: str) -> tuple[str, str]:
    """The path, and the token with its parameters, of a request's target (RFC 9112 3.2.1) as it came."""
    by_path = _BY_PATH.fullmatch(target.partition("?")[0])
    if by_path:
        return by_path[2], by_path[1]
    path, _, query = target.partition("?")
    return path, query


def verify(query: str, rules: Rules, *, path: str, now: int, address: str | None) -> Entry:
    """The entry, if the token opens `path` now for who is at `address`. `query` as `split` gives it;
    its conditions remain to be asked. Raises `EntranceError`."""
    values = parameters(query)
    token = values.pop("bcdn_token", None) or values.pop("token", "")
    if not _TOKEN.fullmatch(token):
        raise EntranceError("malformed", "token")
    expires = seconds(values.pop("expires", ""), "expires")
    if len(str(expires)) != 10:
        raise EntranceError("malformed", "expires")
    signed_path = values.get("token_path", path)
    if not _PATH.fullmatch(signed_path):
        raise EntranceError("malformed", "token_path")
    signed = _signed(values)
    _check_token(token, rules, signed_path, str(expires), signed, address)
    in_time(now, None, expires)
    below = signed_path if signed_path.endswith("/") else f"{signed_path}/"
    if path != signed_path and not ("token_path" in values and path.startswith(below)):
        raise EntranceError("elsewhere", "token_path")
    return Entry(expires=expires, conditions=_conditions(signed), mark=token)


def _signed(values: Mapping[str, str]) -> dict[str, str]:
    """The parameters that count. With `token_ignore_params`, the generators sign no others either."""
    if values.get(_IGNORE) != "true":
        return dict(values)
    return {name: value for name, value in values.items() if name in (_IGNORE, "token_path")}


def _check_token(
    token: str,
    rules: Rules,
    path: str,
    expires: str,
    values: Mapping[str, str],
    address: str | None,
) -> None:
    text = "&".join(f"{name}={value}" for name, value in sorted(values.items()))
    right = False
    for key in rules.keys:
        for wanted in _tokens(token, rules, key, path, expires, text, address):
            right |= hmac.compare_digest(wanted.encode(), token.encode())
    if not right:
        raise EntranceError("forged", "token")


def _tokens(
    token: str, rules: Rules, key: str, path: str, expires: str, text: str, address: str | None
) -> Iterator[str]:
    """What the generators that write such tokens would have written."""
    client = parsed_address(address)
    if token.startswith("HS256-1-"):
        if client is not None:
            packed = client.packed
            if isinstance(client, IPv6Address):
                packed = packed[:8] + bytes(8)
            signed = path.encode() + expires.encode() + packed + text.encode()
            yield "HS256-1-" + _base64(hmac.digest(key.encode(), signed, "sha256"))
        return
    if rules.with_address and client is None:
        return
    by_text = str(client) if rules.with_address else ""
    if token.startswith("HS256-"):
        signed = (path + expires + text + by_text).encode()
        yield "HS256-" + _base64(hmac.digest(key.encode(), signed, "sha256"))
        return
    for order in (
        (path, expires, by_text, text),
        (path, expires, text, by_text),
        (path, by_text, expires, text),
    ):
        yield _base64(hashlib.sha256((key + "".join(order)).encode()).digest())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _conditions(values: Mapping[str, str]) -> Conditions:
    if "token_referer" in values:
        raise EntranceError("malformed", "token_referer")
    conditions = Conditions(
        countries=_listed(values, "token_countries"),
        countries_denied=_listed(values, "token_countries_blocked"),
    )
    if problems(conditions):
        raise EntranceError("malformed", "token_countries")
    return conditions if conditions.countries or conditions.countries_denied else NONE


def _listed(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(values[name].upper().split(",")) if name in values else ()
