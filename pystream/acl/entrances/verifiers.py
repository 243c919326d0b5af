"""What a customer has configured at the door, and the one way to ask it.

A stream whose access is `signed` has a link verifier, one whose access is `external` a way to its
customer's site; either is the stream's own, or else the tenant's. Each is of one kind, with up to two
active keys, so that a key can be replaced while links of the old one are under way:

| access     | kind       | secret                           | made of                                      |
| `signed`   | `link`     | 64 hexadecimal digits            | our own signed link                          |
|            | `akamai`   | hexadecimal, and a salt          | Akamai Auth Token 2.0                        |
|            | `bunny`    | text                             | bunny.net token authentication               |
|            | `wowza`    | letters and digits               | Wowza SecureToken version 2                  |
| `external` | `jwt`      | base64url of 32 bytes or more    | a token signed with it (HS256)               |
|            | `jwks`     | none                             | a token signed by a key of a set at `url`    |
|            | `question` | `whsec_...`, or a bearer token   | what the customer's endpoint at `url` says   |

All of a configuration is sealed where it is stored: a URL is often as secret as a key.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from pystream.acl.entrances import Entry, akamai, bunny, links, wowza
from pystream.acl.entrances._reading import viewer as checked_viewer
from pystream.errors import EntranceError, InvalidValue, Said

SIGNED: Final = ("link", "akamai", "bunny", "wowza")
EXTERNAL: Final = ("jwt", "jwks", "question")
KINDS: Final = (*SIGNED, *EXTERNAL)
MOST_ACTIVE: Final = 2

_NAME = re.compile(r"[A-Za-z0-9_-]{1,16}")
_LINK_SECRET = re.compile(r"[0-9a-fA-F]{64}")
_TEXT = re.compile(r"[!-~]{1,512}")
_TOKEN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_URL = re.compile(r"https?://[!-~]{1,2040}")
_WEBHOOK = "whsec_"
# Standard Webhooks 1.0.0, "Signature scheme".
_WEBHOOK_BYTES = range(24, 65)
_SHORTEST_SHARED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A configuration. What its kind has no use for is as it is here.

    `salt`, `algorithm`, `escape_early`: of `akamai`, as its `Rules` say; `token_name`: its query
    parameter and cookie. `with_address`: of `bunny` and `wowza`; `prefix` and `content`, the content
    path of one stream where that is not tenant and stream: of `wowza`. `url`: of `jwks` and `question`.
    `bearer`: the secret is sent as a bearer token (RFC 6750), and nothing is signed; `seconds`: within
    which the endpoint has to answer, None for the node's own; `kept_s`: for how long a yes is kept.
    """

    kind: str
    secret: str = field(default="", repr=False)
    salt: str = field(default="", repr=False)
    algorithm: str = "sha256"
    escape_early: bool = False
    token_name: str = "hdnts"
    with_address: bool = False
    prefix: str = "wowzatoken"
    content: str = ""
    url: str = field(default="", repr=False)
    bearer: bool = False
    seconds: float | None = None
    kept_s: int = 60


_OF_KIND: Mapping[str, frozenset[str]] = {
    "link": frozenset(("secret",)),
    "akamai": frozenset(("secret", "salt", "algorithm", "escape_early", "token_name")),
    "bunny": frozenset(("secret", "with_address")),
    "wowza": frozenset(("secret", "algorithm", "with_address", "prefix", "content")),
    "jwt": frozenset(("secret",)),
    "jwks": frozenset(("url",)),
    "question": frozenset(("secret", "url", "bearer", "seconds", "kept_s")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A verifier that is stored. `stream_id`: None for all streams of the tenant that have none of
    their own. `name`: of the key, as `key=` of a link says it."""

    id: int
    tenant_id: int
    stream_id: int | None
    name: str
    kind: str
    created_at: int
    revoked_at: int | None
    verifier: Verifier | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What somebody brings who wants to see a stream: the path that was asked for, decoded, the query
    as it came, what the cookie and the header of that name say, and the address."""

    path: str = field(repr=False)
    query: str = field(repr=False)
    cookies: str = field(default="", repr=False)
    header: str | None = field(default=None, repr=False)
    address: str | None = field(default=None, repr=False)


def access_of(kind: str) -> str:
    """The access of streams that a kind is for."""
    return "signed" if kind in SIGNED else "external"


def settings_of(kind: str) -> tuple[str, ...]:
    """What a verifier of a kind has beside it, in the order of `Verifier`; nothing of what is no kind."""
    return tuple(each.name for each in fields(Verifier) if each.name in _OF_KIND.get(kind, ()))


def new_secret(kind: str) -> str:
    """A fresh secret of a kind; empty where it has none."""
    data = secrets.token_bytes(32)
    made: Mapping[str, Callable[[], str]] = {
        "link": data.hex,
        "akamai": data.hex,
        "bunny": data.hex,
        "wowza": data.hex,
        "jwt": lambda: urlsafe_b64encode(data).rstrip(b"=").decode(),
        "question": lambda: _WEBHOOK + b64encode(data).decode(),
    }
    return made[kind]() if kind in made else ""


def new_name() -> str:
    """A name for a key that was given none."""
    return secrets.token_hex(2)


def check(name: str, verifier: Verifier) -> None:
    """Raises `InvalidValue` with all that is wrong; no problem repeats a secret or a URL."""
    wrong = tuple(_problems(name, verifier))
    if wrong:
        raise InvalidValue(*wrong)


def _problems(name: str, verifier: Verifier) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield Said("key-name", "1 to 16 letters, digits, `-` and `_` are wanted", of="name")
    kind = verifier.kind
    if kind not in KINDS:
        yield Said("one-of", f"{kind!r} is none of {', '.join(KINDS)}", of="kind", value=kind)
        return
    usual = Verifier(kind=kind)
    for each in fields(Verifier):
        given = getattr(verifier, each.name) != getattr(usual, each.name)
        if given and each.name not in ("kind", *_OF_KIND[kind]):
            yield Said("no-use", f"{kind} has no use for it", of=each.name, kind=kind)
    if "url" in _OF_KIND[kind] and not _URL.fullmatch(verifier.url):
        yield Said("url", "one like https://login.example.org/keys is wanted", of="url")
    if verifier.seconds is not None and not 0 < verifier.seconds <= 10:
        yield Said("seconds", "more than 0 and at most 10 are wanted", of="seconds")
    if not 0 <= verifier.kept_s <= 3600:
        yield Said("range", "from 0 to 3600 are wanted", of="kept_s", least=0, most=3600)
    try:
        _make(verifier)
    except ValueError as error:
        yield Said(f"secret-{kind}", str(error), of="secret")


def _make(verifier: Verifier) -> None:
    """Raises `ValueError` where the secret or what goes with it cannot be used."""
    match verifier.kind:
        case "link":
            _link_key(verifier)
        case "akamai":
            _akamai(verifier)
            if not _TOKEN_NAME.fullmatch(verifier.token_name):
                raise ValueError("the token's name begins with a letter")
        case "bunny":
            if not _TEXT.fullmatch(verifier.secret):
                raise ValueError("a token authentication key is wanted, in printable ASCII")
        case "wowza":
            _wowza(verifier)
        case "jwt":
            shared_key(verifier)
        case "question":
            signing_keys([verifier])
            if verifier.bearer and not _TEXT.fullmatch(verifier.secret):
                raise ValueError("a bearer token is wanted, in printable ASCII")


def _link_key(verifier: Verifier) -> bytes:
    if not _LINK_SECRET.fullmatch(verifier.secret):
        raise ValueError("64 hexadecimal digits are wanted")
    return bytes.fromhex(verifier.secret)


def _akamai(verifier: Verifier) -> akamai.Rules:
    return akamai.Rules(
        keys=(verifier.secret,),
        algorithm=verifier.algorithm,
        salt=verifier.salt,
        escape_early=verifier.escape_early,
    )


def _wowza(verifier: Verifier) -> wowza.Rules:
    return wowza.Rules(
        secrets=(verifier.secret,),
        prefix=verifier.prefix,
        algorithm=verifier.algorithm,
        with_address=verifier.with_address,
    )


# Signed


def verify(
    configured: Sequence[Configured], brought: Brought, *, tenant: str, stream: str, now: int
) -> Entry:
    """The entry, if one of the configured keys has signed it for this stream. Raises `EntranceError`;
    `missing` where there is nothing that could be signed."""
    found: list[tuple[str, Verifier]] = [
        (each.name, each.verifier)
        for each in configured
        if each.verifier is not None and each.kind in SIGNED
    ]
    if not found:
        raise EntranceError("unknown_key")
    if found[0][1].kind == "link":
        if not brought.query:
            raise EntranceError("missing")
        keys = {name: _link_key(verifier) for name, verifier in found}
        return links.verify(f"/{tenant}/{stream}/", brought.query, keys, now=now)
    wrong = EntranceError("forged")
    for _, verifier in found:
        try:
            return _VERIFIED[verifier.kind](verifier, brought, f"{tenant}/{stream}", now)
        except EntranceError as error:
            if error.reason != "forged":
                raise
            wrong = error
    raise wrong


def _of_akamai(verifier: Verifier, brought: Brought, content: str, now: int) -> Entry:
    name = verifier.token_name
    token = akamai.carried(brought.query, name) or cookie(brought.cookies, name) or brought.header
    if not token:
        raise EntranceError("missing")
    rules = _akamai(verifier)
    return akamai.verify(token, rules, path=brought.path, now=now, address=brought.address)


def _of_bunny(verifier: Verifier, brought: Brought, content: str, now: int) -> Entry:
    if not brought.query:
        raise EntranceError("missing")
    rules = bunny.Rules(keys=(verifier.secret,), with_address=verifier.with_address)
    query, path = brought.query, brought.path
    return bunny.verify(query, rules, path=path, now=now, address=brought.address)


def _of_wowza(verifier: Verifier, brought: Brought, content: str, now: int) -> Entry:
    if not brought.query:
        raise EntranceError("missing")
    named = verifier.content or content
    rules = _wowza(verifier)
    return wowza.verify(brought.query, rules, content=named, now=now, address=brought.address)


_VERIFIED: Mapping[str, Callable[[Verifier, Brought, str, int], Entry]] = {
    "akamai": _of_akamai,
    "bunny": _of_bunny,
    "wowza": _of_wowza,
}


def cookie(cookies: str, name: str) -> str | None:
    """The value of a cookie in a Cookie field (RFC 6265 5.4): pairs with a semicolon and a blank between
    them. What the others look like is nobody's affair. Of several with the name, none is believed."""
    found = [
        value.strip()
        for pair in cookies.split(";")
        for key, equals, value in (pair.partition("="),)
        if equals and key.strip() == name
    ]
    return found[0] if len(found) == 1 else None


# External


def opaque(viewer: str) -> bool:
    """Whether that can be a viewer's name: no e-mail address is, say."""
    try:
        return bool(checked_viewer(viewer, "viewer"))
    except EntranceError:
        return False


def shared_key(verifier: Verifier) -> bytes:
    """The bytes of a `jwt` secret. Raises `ValueError`."""
    text = verifier.secret
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if len(data) < _SHORTEST_SHARED:
        raise ValueError(f"base64url of {_SHORTEST_SHARED} bytes or more is wanted (RFC 7518 3.2)")
    return data


def shared_keys(configured: Sequence[Configured]) -> dict[str, Any]:
    """Shared secrets as a JWK set (RFC 7517 5), each under its key's name."""
    return {
        "keys": [
            {
                "kty": "oct",
                "kid": each.name,
                "k": urlsafe_b64encode(shared_key(each.verifier)).rstrip(b"=").decode(),
            }
            for each in configured
            if each.verifier is not None and each.kind == "jwt"
        ]
    }


def signing_keys(verifiers: Sequence[Verifier]) -> tuple[bytes, ...]:
    """What signs questions, the newest first; none where a bearer token is sent. Raises `ValueError`."""
    found = []
    for verifier in verifiers:
        if verifier.bearer:
            continue
        text = verifier.secret.removeprefix(_WEBHOOK)
        try:
            data = b64decode(text, validate=True)
        except ValueError:
            data = b""
        if text == verifier.secret or len(data) not in _WEBHOOK_BYTES:
            raise ValueError(f"{_WEBHOOK} and base64 of 24 to 64 bytes are wanted")
        found.append(data)
    return tuple(found)
