"""The hand-off: the customer's site knows who somebody is, and says so by a JSON Web Token.

    {"alg": "ES256", "kid": "2026-10", "typ": "JWT"}
    {"aud": "acme/film", "sub": "4711", "iat": 1936699200, "exp": 1936699260, "jti": "0b6e..."}

The site signs it for one viewer and one visit, and posts it; nothing of it stays but the opaque name.

| claim         |        | what it has to be (RFC 7519 4.1)                                           |
| `aud`         | needed | `tenant` or `tenant/stream`; of several, one is enough                     |
| `sub`         | needed | an opaque name, up to 128 letters, digits and `._~|:/+=-`; no mail address |
| `iat`         | needed | when it was signed                                                         |
| `exp`         | needed | when it is over: at most `LONGEST_S` after `iat`                           |
| `jti`         | needed | a name of its own, up to 128 of the same characters: good for once         |
| `nbf`         |        | when it begins                                                             |
| `stream`      |        | the stream's name, where `aud` is the tenant only                          |
| `max_devices` |        | how many may play with it at a time: 1 to 999                              |

Other claims (names, mail addresses, roles) are not read and not kept.

Theory (RFC 8725). The header is a stranger's: it may name a key of the set that the caller has, and
nothing else. A key decides which algorithm it is for, by its type and curve, so that no public key is
ever taken for a shared secret (`alg` tricks), and `none` is no algorithm here. Headers that bring or fetch
a key (`jwk`, `jku`, `x5c`, `x5u`) or change what the others mean (`crit`, `b64`) are refused, for who sends
them expects them to be obeyed. A token has one spelling: bits that base64url leaves unused are zero, and
no member is there twice. (ECDSA's signatures have a twin that anybody can make; `jti` knows both.)

HS256 is for a secret that site and server share. It is off unless the caller asks for it, which has to be
for keys from its own store: a key set fetched from somewhere has no secrets to it.

An unknown `kid` is a reason of its own: the set may have been renewed, so the caller fetches it again,
and not more often than it would without a stranger's help.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import import_key
from joserfc.jws import JWSRegistry

from pystream.acl.entrances import Entry
from pystream.acl.entrances._reading import in_time, viewer
from pystream.errors import EntranceError

# Characters. The longest sound one, with a 4096-bit signature and many claims, has half of it.
LONGEST_TOKEN: Final = 8192
LONGEST_S: Final = 300
SHORTEST_SECRET: Final = 32
MOST_DEVICES: Final = 999

# RFC 9864 2 gave EdDSA with this curve the curve's name; both are in use.
ASYMMETRIC: Final = frozenset(("EdDSA", "Ed25519", "ES256", "RS256", "PS256"))
ALGORITHMS: Final = ASYMMETRIC | {"HS256"}

# Key type and curve (RFC 7518 6.1, RFC 8037 2), and the members of the public key.
_KEY_OF: Final = {
    "EdDSA": ("OKP", "Ed25519", ("x",)),
    "Ed25519": ("OKP", "Ed25519", ("x",)),
    "ES256": ("EC", "P-256", ("x", "y")),
    "RS256": ("RSA", None, ("n", "e")),
    "PS256": ("RSA", None, ("n", "e")),
    "HS256": ("oct", None, ("k",)),
}
_REFUSED_HEADERS: Final = frozenset(("b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"))
# RFC 7518 3.3 asks for 2048; above 8192, checking one signature takes milliseconds.
_RSA_BITS: Final = range(2048, 8193)
_LONGEST_EXPONENT: Final = 8
_LONGEST_KEY_NAME: Final = 256
_LATEST: Final = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff(Entry):
    """What the site said. `viewer` is its `sub`. `jti` has been checked for its form only: whoever
    lets in remembers it until `expires` and `SKEW_S` are over, and refuses it then as `replayed`.
    `stream`: what the token itself is bound to, or None where that is the tenant."""

    jti: str = field(repr=False)
    issued_at: int
    stream: str | None


def verify(
    token: str,
    jwks: Mapping[str, Any],
    *,
    tenant: str,
    stream: str,
    now: int,
    algorithms: Collection[str] = ASYMMETRIC,
    longest_s: int = LONGEST_S,
) -> Handoff:
    """The hand-off, if the token opens the stream now.

    `jwks` is a JWK set (RFC 7517 5) as JSON gives it. `algorithms`: some of `ALGORITHMS`. Raises
    `EntranceError`; `ValueError` for an algorithm that is none.
    """
    if not set(algorithms) <= ALGORITHMS:
        raise ValueError(f"the algorithms are some of {', '.join(sorted(ALGORITHMS))}")
    if len(token) > LONGEST_TOKEN:
        raise EntranceError("malformed")
    parts = token.split(".")
    if len(parts) != 3:
        raise EntranceError("malformed")
    header = _object(_bytes(parts[0]), "header")
    algorithm, name = _algorithm(header, algorithms), _key_name(header)
    claims, signature = _object(_bytes(parts[1]), "claims"), _bytes(parts[2])
    signed = f"{parts[0]}.{parts[1]}".encode()
    if not _is_signed(signed, signature, algorithm, _key(jwks, name, algorithm)):
        raise EntranceError("forged")
    return _handoff(claims, tenant, stream, now, longest_s)


def key_name(token: str) -> str:
    """The name of the key that a token claims to be signed with: nothing of it has been checked. Raises
    `EntranceError`."""
    return _key_name(_object(_bytes(token[:LONGEST_TOKEN].partition(".")[0]), "header"))


def _bytes(text: str) -> bytes:
    """Base64url without padding (RFC 7515 2), in its one spelling."""
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        raise EntranceError("malformed") from None
    if urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise EntranceError("malformed")
    return data


def _object(data: bytes, part: str) -> dict[str, Any]:
    try:
        # RFC 8259 8.1: UTF-8, which `json` would guess.
        value = json.loads(data.decode(), object_pairs_hook=_members, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise EntranceError("malformed", part) from None
    if not isinstance(value, dict):
        raise EntranceError("malformed", part)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _algorithm(header: Mapping[str, Any], algorithms: Collection[str]) -> str:
    if _REFUSED_HEADERS & set(header):
        raise EntranceError("malformed", "header")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise EntranceError("malformed", "typ")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise EntranceError("malformed", "alg")
    return algorithm


def _key_name(header: Mapping[str, Any]) -> str:
    name = header.get("kid")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_KEY_NAME:
        raise EntranceError("malformed", "kid")
    return name


def _key(jwks: Mapping[str, Any], name: str, algorithm: str) -> dict[str, Any]:
    """The one key of that name which is for the algorithm (RFC 7517 4)."""
    keys = jwks.get("keys")
    named = [
        key
        for key in (keys if isinstance(keys, list) else ())
        if isinstance(key, dict) and key.get("kid") == name
    ]
    if not named:
        raise EntranceError("unknown_key", "kid")
    # Keys of different types may have one name (RFC 7517 4.5).
    fitting = [key for key in named if _fits(key, algorithm)]
    if len(fitting) != 1:
        raise EntranceError("keys", "kid")
    return fitting[0]


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve, _ = _KEY_OF[algorithm]
    same = {"EdDSA", "Ed25519"} if kind == "OKP" else {algorithm}
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) in same
        and isinstance(operations, list)
        and ("verify" in operations or (kind == "oct" and "sign" in operations))
    )


def _is_signed(signed: bytes, signature: bytes, algorithm: str, key: Mapping[str, Any]) -> bool:
    kind, curve, members = _KEY_OF[algorithm]
    public: dict[str, Any] = {"kty": kind, **{name: key.get(name) for name in members}}
    if curve is not None:
        public["crv"] = curve
    _check_strength(public)
    model = JWSRegistry(algorithms=sorted(ALGORITHMS)).get_alg(
        "Ed25519" if algorithm == "EdDSA" else algorithm
    )
    try:
        imported = import_key(public)
        model.check_key(imported)
    except (JoseError, ValueError):
        raise EntranceError("keys", "kid") from None
    return model.verify(signed, signature, imported)


def _check_strength(key: Mapping[str, Any]) -> None:
    try:
        sizes = {name: _bytes(value) for name, value in key.items() if name not in ("kty", "crv")}
    except (EntranceError, AttributeError):
        raise EntranceError("keys", "kid") from None
    if "n" in sizes:
        bits = int.from_bytes(sizes["n"]).bit_length()
        sound = bits in _RSA_BITS and 0 < len(sizes["e"]) <= _LONGEST_EXPONENT
    elif "k" in sizes:
        # A key in PEM is somebody's public key.
        sound = len(sizes["k"]) >= SHORTEST_SECRET and b"-----BEGIN" not in sizes["k"]
    else:
        sound = all(len(size) == 32 for size in sizes.values())
    if not sound:
        raise EntranceError("keys", "kid")


def _handoff(
    claims: Mapping[str, Any], tenant: str, stream: str, now: int, longest_s: int
) -> Handoff:
    _check_audience(claims.get("aud"), tenant, stream)
    bound = claims.get("stream")
    if bound is not None and bound != stream:
        raise EntranceError("elsewhere" if isinstance(bound, str) else "malformed", "stream")
    issued, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    begin = _seconds(claims, "nbf") if "nbf" in claims else None
    if not 0 < expires - issued <= longest_s:
        raise EntranceError("malformed", "exp")
    in_time(now, max(issued, begin or issued), expires)
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    return Handoff(
        jti=_opaque(claims, "jti"),
        issued_at=issued,
        expires=expires,
        not_before=begin,
        viewer=_opaque(claims, "sub"),
        max_devices=_devices(claims.get("max_devices")),
        stream=stream if bound is not None or tenant not in audience else None,
    )


def _check_audience(audience: object, tenant: str, stream: str) -> None:
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise EntranceError("malformed", "aud")
    if tenant not in named and f"{tenant}/{stream}" not in named:
        raise EntranceError("elsewhere", "aud")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    """A NumericDate (RFC 7519 2), which may have a fraction."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LATEST:
        raise EntranceError("malformed", name)
    return math.floor(value)


def _opaque(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise EntranceError("malformed", name)
    return viewer(value, name)


def _devices(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_DEVICES:
        raise EntranceError("malformed", "max_devices")
    return value
