"""Wowza SecureToken version 2, so that a customer's generator goes on working.

    /acme/film/?wowzatokenstarttime=1395230400&wowzatokenendtime=1500000000&wowzatokenhash=TgJf...

Theory. Hashed is the content path, a question mark, and then with `&` between them, in ascending order:
all parameters whose names begin with the prefix, but the hash itself, as `name=value`; the secret; and
the address, if the application wants it. The hash is SHA-256, -384 or -512 in base64 with `-` and `_` for
`+` and `/`, padding kept. The content path has no slash at its ends: it is what the generator of the
site takes for it, `vod/_definst_/mp4:sample.mp4` say, or simply `acme/film`. Other parameters are none of
the token's.

Followed is Wowza's manual (Protect streaming using SecureToken in Wowza Streaming Engine). The hashes in
its examples are not those of the texts beside them; those that others publish for the same texts are
(MyCoRe, the Ruby gem wowza-secure_token). Ascending is by the ASCII codes of the whole `name=value`.

The secret stands in the middle, and SHA-256 and -512 of a text tell that of a longer text; what makes it
longer is no printable ASCII, and that is refused. Stricter than the model: an end has to be there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pystream.acl.entrances import Entry
from pystream.acl.entrances._reading import in_time, parameters, seconds
from pystream.acl.entrances.conditions import address as parsed_address
from pystream.errors import EntranceError

ALGORITHMS: Final = ("sha256", "sha384", "sha512")

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# What the manual allows; a shorter one is guessed from one link.
_SECRET = re.compile(r"[A-Za-z0-9]{8,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """As in the customer's application. `secrets`: shared secrets, all of which are good. `prefix`: the
    hash query parameter prefix. `with_address`: `Include client IP address in hash generation`."""

    secrets: tuple[str, ...] = field(repr=False)
    prefix: str = "wowzatoken"
    algorithm: str = "sha256"
    with_address: bool = False

    def __post_init__(self) -> None:
        if not self.secrets or not all(_SECRET.fullmatch(secret) for secret in self.secrets):
            raise ValueError("a shared secret is 8 letters and digits or more, and one is needed")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                "a prefix begins with a letter, and has letters, digits, `_`, `.` and `-`"
            )
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"the algorithm is one of {', '.join(ALGORITHMS)}")


def verify(query: str, rules: Rules, *, content: str, now: int, address: str | None) -> Entry:
    """The entry, if the token opens the content path `content` now for who is at `address`. `query` is
    as it came. Raises `EntranceError`."""
    prefix = rules.prefix
    found = {name: value for name, value in parameters(query).items() if name.startswith(prefix)}
    token = found.pop(f"{prefix}hash", "")
    end = seconds(found.get(f"{prefix}endtime", ""), "endtime")
    start = found.get(f"{prefix}starttime")
    begin = None if start is None else seconds(start, "starttime")
    _check_hash(token, rules, content, found, address)
    in_time(now, begin, end)
    return Entry(not_before=begin, expires=end, mark=token)


def _check_hash(
    token: str, rules: Rules, content: str, found: Mapping[str, str], address: str | None
) -> None:
    items = [f"{name}={value}" for name, value in found.items()]
    if rules.with_address:
        client = parsed_address(address)
        if client is None:
            raise EntranceError("elsewhere", "address")
        items.append(str(client))
    right = False
    for secret in rules.secrets:
        text = f"{content}?{'&'.join(sorted([*items, secret]))}"
        digest = hashlib.new(rules.algorithm, text.encode()).digest()
        right |= hmac.compare_digest(urlsafe_b64encode(digest), token.encode())
    if not right:
        raise EntranceError("forged", "hash")
