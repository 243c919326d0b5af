"""The customer's JSON Web Token: what it has to say, and all that is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import DSS, eddsa, pkcs1_15, pss
from hypothesis import assume, given
from hypothesis import strategies as st
from joserfc import jwk, jws

from pystream.acl.entrances import SKEW_S
from pystream.acl.entrances.jwt import (
    ALGORITHMS,
    LONGEST_S,
    LONGEST_TOKEN,
    Handoff,
    verify,
)
from pystream.errors import EntranceError

NOW = 1_936_699_200
CLAIMS = {"aud": "acme/film", "sub": "4711", "iat": NOW, "exp": NOW + 60, "jti": "0b6e-1"}
SECRET = bytes(range(32))

PRIVATE: dict[str, Any] = {
    "EdDSA": jwk.OKPKey.generate_key("Ed25519"),
    "ES256": jwk.ECKey.generate_key("P-256"),
    "RS256": jwk.RSAKey.generate_key(2048),
    "HS256": jwk.OctKey.import_key(SECRET),
}
PRIVATE |= {"Ed25519": PRIVATE["EdDSA"], "PS256": PRIVATE["RS256"]}


def public(algorithm: str, **members: object) -> dict[str, Any]:
    private = algorithm == "HS256"
    return {**PRIVATE[algorithm].as_dict(private=private), "kid": algorithm, **members}


JWKS = {"keys": [public(algorithm) for algorithm in sorted(PRIVATE)]}


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).decode().rstrip("=")


def signed(
    claims: object = CLAIMS, algorithm: str = "ES256", header: Mapping[str, Any] | None = None
) -> str:
    """Signs what it is given, be it sound or not: joserfc would not."""
    head = {"alg": algorithm, "kid": algorithm, "typ": "JWT"} if header is None else header
    text = f"{part(head)}.{part(claims)}"
    with warnings.catch_warnings(action="ignore"):
        model = jws.JWSRegistry(algorithms=sorted(ALGORITHMS)).get_alg(algorithm)
    return f"{text}.{part(model.sign(text.encode(), PRIVATE[algorithm]))}"


def handoff(token: str, jwks: Mapping[str, Any] = JWKS, **words: Any) -> Handoff:
    where: dict[str, Any] = {"tenant": "acme", "stream": "film", "now": NOW}
    return verify(token, jwks, **(where | words))


def refused(token: str, jwks: Mapping[str, Any] = JWKS, **words: Any) -> tuple[str, str]:
    with pytest.raises(EntranceError) as caught:
        handoff(token, jwks, **words)
    assert caught.value.__cause__ is None
    return caught.value.reason, caught.value.part


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_each_algorithm(algorithm: str) -> None:
    token = signed(algorithm=algorithm)
    assert handoff(token, algorithms={algorithm}) == Handoff(
        expires=NOW + 60,
        not_before=None,
        viewer="4711",
        max_devices=None,
        jti="0b6e-1",
        issued_at=NOW,
        stream="film",
    )
    others = ALGORITHMS - {algorithm}
    assert refused(token, algorithms=others) == ("malformed", "alg")
    if algorithm == "HS256":
        assert refused(token) == ("malformed", "alg")
    for cut in (token[:-4], f"{token}AAAA", f"{token.rpartition('.')[0]}."):
        assert refused(cut, algorithms={algorithm})[0] in ("malformed", "forged")
    head, claims, _ = token.split(".")
    for length in (0, 1, 31, 32, 63, 64, 65, 256, 512):
        assert (
            refused(f"{head}.{claims}.{part(bytes(length))}", algorithms={algorithm})[0] == "forged"
        )


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_tokens_that_another_library_signed(algorithm: str) -> None:
    """By pycryptodome, which shares no code with joserfc."""
    head = {"alg": algorithm, "kid": algorithm}
    text = f"{part(head)}.{part(CLAIMS)}"
    data = text.encode()
    if algorithm == "HS256":
        signature = hmac.digest(SECRET, data, "sha256")
    else:
        key = PRIVATE[algorithm].as_pem(private=True)
        signature = {
            "EdDSA": lambda: eddsa.new(ECC.import_key(key), "rfc8032").sign(data),
            "Ed25519": lambda: eddsa.new(ECC.import_key(key), "rfc8032").sign(data),
            "ES256": lambda: DSS.new(ECC.import_key(key), "fips-186-3").sign(SHA256.new(data)),
            "RS256": lambda: pkcs1_15.new(RSA.import_key(key)).sign(SHA256.new(data)),
            "PS256": lambda: pss.new(RSA.import_key(key)).sign(SHA256.new(data)),
        }[algorithm]()
    assert handoff(f"{text}.{part(signature)}", algorithms={algorithm}).viewer == "4711"


def test_optional_claims() -> None:
    claims = {**CLAIMS, "aud": ["other", "acme"], "nbf": NOW, "stream": "film", "max_devices": 2}
    found = handoff(signed({**claims, "name": "Dr. Anna", "email": "anna@example.org"}))
    assert (found.not_before, found.stream, found.max_devices) == (NOW, "film", 2)
    assert "anna" not in repr(found).lower()
    assert "4711" not in repr(found) and "0b6e" not in repr(found)
    # The tenant's audience alone is for all its streams.
    assert handoff(signed({**CLAIMS, "aud": "acme"}), stream="other-film").stream is None
    # RFC 7519 2: a NumericDate may have a fraction.
    assert handoff(signed({**CLAIMS, "iat": NOW + 0.5, "exp": NOW + 60.9})).expires == NOW + 60


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "acme/film2"}, "elsewhere"),
        ({"aud": "other/film"}, "elsewhere"),
        ({"aud": "acm"}, "elsewhere"),
        ({"aud": "acme/"}, "elsewhere"),
        ({"aud": "*"}, "elsewhere"),
        ({"aud": []}, "elsewhere"),
        ({"aud": None}, "malformed"),
        ({"aud": ["acme", 1]}, "malformed"),
        ({"aud": {"acme": 1}}, "malformed"),
        ({"aud": "acme", "stream": "film2"}, "elsewhere"),
        ({"stream": ["film"]}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sub": 4711}, "malformed"),
        ({"sub": "anna@example.org"}, "malformed"),
        ({"sub": "Dr. Anna"}, "malformed"),
        ({"sub": "x" * 129}, "malformed"),
        ({"sub": "\ud800"}, "malformed"),
        ({"jti": None}, "malformed"),
        ({"jti": ""}, "malformed"),
        ({"jti": "x" * 129}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": str(NOW + 60)}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": NOW}, "malformed"),
        ({"exp": NOW + LONGEST_S + 1}, "malformed"),
        ({"exp": 2**63}, "malformed"),
        ({"exp": -1}, "malformed"),
        ({"nbf": "now"}, "malformed"),
        ({"nbf": True}, "malformed"),
        ({"other": float("nan")}, "malformed"),
        ({"nbf": NOW + SKEW_S + 1}, "early"),
        ({"iat": NOW + SKEW_S + 1, "exp": NOW + SKEW_S + 2}, "early"),
        ({"iat": NOW - LONGEST_S, "exp": NOW - SKEW_S}, "expired"),
        ({"max_devices": 0}, "malformed"),
        ({"max_devices": True}, "malformed"),
        ({"max_devices": 1000}, "malformed"),
        ({"max_devices": "2"}, "malformed"),
    ],
)
def test_claims_that_let_nobody_in(claims: dict[str, object], reason: str) -> None:
    found = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    assert refused(signed(found))[0] == reason


def test_a_token_has_its_time() -> None:
    token = signed()
    for now in (NOW - SKEW_S, NOW, NOW + 60 + SKEW_S - 1):
        handoff(token, now=now)
    assert refused(token, now=NOW - SKEW_S - 1)[0] == "early"
    assert refused(token, now=NOW + 60 + SKEW_S)[0] == "expired"
    longer = signed({**CLAIMS, "exp": NOW + 600})
    assert refused(longer) == ("malformed", "exp")
    assert handoff(longer, longest_s=600).expires == NOW + 600


def test_a_token_of_another_stream_or_tenant() -> None:
    token = signed()
    assert refused(token, stream="film2") == ("elsewhere", "aud")
    assert refused(token, tenant="other") == ("elsewhere", "aud")
    other = {"keys": [{**jwk.ECKey.generate_key("P-256").as_dict(private=False), "kid": "ES256"}]}
    assert refused(token, other) == ("forged", "")


def test_alg_tricks() -> None:
    everything: dict[str, Any] = {"algorithms": ALGORITHMS}
    text = f"{part({'alg': 'none', 'kid': 'ES256'})}.{part(CLAIMS)}"
    for none in (f"{text}.", f"{text}.AAAA"):
        assert refused(none, **everything) == ("malformed", "alg")
    for alg in (
        "None",
        "NONE",
        "nOnE",
        "",
        "HS512",
        "ES384",
        "RSA1_5",
        "es256",
        None,
        1,
        ["ES256"],
    ):
        token = signed(header={"alg": alg, "kid": "ES256"})
        assert refused(token, **everything) == ("malformed", "alg")
    # A public key taken for a shared secret, in each form that it may have.
    for kid in ("RS256", "ES256", "EdDSA"):
        head = {"alg": "HS256", "kid": kid}
        for secret in (
            PRIVATE[kid].as_pem(private=False),
            PRIVATE[kid].as_der(private=False),
            json.dumps(public(kid)).encode(),
            b"",
        ):
            text = f"{part(head)}.{part(CLAIMS)}"
            mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
            assert refused(f"{text}.{part(mac)}", **everything) == ("keys", "kid")
    # A key of another type, or of the same one for another algorithm.
    for algorithm, kid in (("ES256", "RS256"), ("RS256", "ES256"), ("EdDSA", "ES256")):
        assert refused(signed(algorithm=algorithm, header={"alg": algorithm, "kid": kid})) == (
            "keys",
            "kid",
        )
    only = {"keys": [public("RS256", alg="RS256", kid="1")]}
    handoff(signed(algorithm="RS256", header={"alg": "RS256", "kid": "1"}), only)
    assert refused(signed(algorithm="PS256", header={"alg": "PS256", "kid": "1"}), only) == (
        "keys",
        "kid",
    )
    # Signed by one, said to be by another.
    for algorithm, said in (("RS256", "PS256"), ("PS256", "RS256")):
        assert refused(signed(algorithm=algorithm, header={"alg": said, "kid": "RS256"}))[0] == (
            "forged"
        )
    with pytest.raises(ValueError, match="algorithms"):
        handoff(signed(), algorithms={"none"})


def test_headers_that_want_to_be_obeyed() -> None:
    stranger = jwk.ECKey.generate_key("P-256")
    headers: tuple[dict[str, Any], ...] = (
        {"jwk": stranger.as_dict(private=False)},
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/cert"},
        {"x5c": ["MII="]},
        {"crit": ["exp"], "exp": NOW},
        {"crit": []},
        {"b64": False},
        {"zip": "DEF"},
    )
    for more in headers:
        token = signed(header={"alg": "ES256", "kid": "ES256", **more})
        assert refused(token) == ("malformed", "header")
    for kind in ("dpop+jwt", "JWE", 1, None, ""):
        token = signed(header={"alg": "ES256", "kid": "ES256", "typ": kind})
        assert refused(token) == ("malformed", "typ")
    for head in ({"typ": "jwt"}, {}, {"x5t": "abc"}):
        handoff(signed(header={"alg": "ES256", "kid": "ES256", **head}))


def test_the_key_is_known_by_its_name() -> None:
    token = signed()
    assert refused(token, {"keys": []}) == ("unknown_key", "kid")
    for unfit in ({}, {"keys": None}, {"keys": "ES256"}, {"keys": [None, 1, "ES256"]}):
        assert refused(token, unfit) == ("unknown_key", "kid")
    renamed = {"keys": [public("ES256", kid="2026-11")]}
    assert refused(token, renamed) == ("unknown_key", "kid")
    for kid in (None, "", 1, "x" * 257, ["ES256"]):
        assert refused(signed(header={"alg": "ES256", "kid": kid})) == ("malformed", "kid")
    assert refused(signed(header={"alg": "ES256"})) == ("malformed", "kid")
    # Two of one name are one too many, unless their types differ (RFC 7517 4.5).
    twice = {"keys": [public("ES256"), public("ES256")]}
    assert refused(token, twice) == ("keys", "kid")
    handoff(token, {"keys": [public("RS256", kid="ES256"), public("ES256")]})


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"crv": "P-384"},
        {"crv": None},
        {"kty": "oct"},
        {"x": None},
        {"x": ""},
        {"x": "A" * 43},
        {"x": "A" * 44},
        {"x": "!"},
        {"x": 1},
        {"y": "AAAA"},
    ],
)
def test_keys_that_are_not_fit(members: dict[str, object]) -> None:
    assert refused(signed(), {"keys": [public("ES256", **members)]}) == ("keys", "kid")


def test_keys_that_are_too_weak() -> None:
    def number(value: int) -> str:
        return part(value.to_bytes((value.bit_length() + 7) // 8))

    token = signed(algorithm="RS256")
    good = public("RS256")
    for members in (
        {"n": number(2**1023 + 1)},
        {"n": number(2**16384 + 1)},
        {"n": ""},
        {"e": number(2**64 + 1)},
        {"e": ""},
        {"e": "AQ"},
        {"e": number(2)},
    ):
        assert refused(token, {"keys": [{**good, **members}]})[0] == "keys"
    token = signed(algorithm="HS256")
    for secret in (b"", SECRET[:31], b"-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEF"):
        weak = {"keys": [{"kty": "oct", "kid": "HS256", "k": part(secret)}]}
        assert refused(token, weak, algorithms={"HS256"}) == ("keys", "kid")
    # A key set with private keys in it is used for its public ones.
    whole = {"keys": [{**PRIVATE["ES256"].as_dict(private=True), "kid": "ES256"}]}
    handoff(signed(), whole)


def test_what_is_no_token() -> None:
    head, claims, signature = signed().split(".")
    for token in (
        "",
        ".",
        "..",
        f"{head}.{claims}",
        f"{head}.{claims}.{signature}.{signature}",
        f"{head}..{signature}",
        f".{claims}.{signature}",
        f"{head}.{claims}.{signature}=",
        f" {head}.{claims}.{signature}",
        f"{head}.{claims}.{signature}\n",
        f"{head}.{claims}\u200b.{signature}",
        f"Bearer {head}.{claims}.{signature}",
        part(b"null") + f".{claims}.{signature}",
        part(b"[]") + f".{claims}.{signature}",
        part(b"\xff\xfe{}") + f".{claims}.{signature}",
        part('{"alg":"ES256","kid":"ES256"}'.encode("utf-16")) + f".{claims}.{signature}",
        "A" * (LONGEST_TOKEN + 1),
        f"{head}.{part({**CLAIMS, 'more': 'x' * LONGEST_TOKEN})}.{signature}",
        f"{head}.{part(b'[' * 6000)}.",
        f"{head}." + part(b'{"a":' * 1200) + ".",
    ):
        assert refused(token)[0] == "malformed", token[:100]
    for text in (
        b'{"aud":"acme","aud":"acme/film"}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"exp":1e999}',
        b'{"exp":' + b"9" * 5000 + b"}",
        b'"text"',
    ):
        assert refused(signed(text))[0] == "malformed"
    twice = b'{"alg":"none","alg":"ES256","kid":"ES256"}'
    assert refused(f"{part(twice)}.{claims}.{signature}") == ("malformed", "header")


def test_a_token_has_one_spelling() -> None:
    """64 bytes leave four bits of their last character unused."""
    token = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = alphabet.index(token[-1])
    assert place % 16 == 0
    for more in range(1, 16):
        assert refused(token[:-1] + alphabet[place + more]) == ("malformed", "")


TOKENS = [(signed(algorithm=name), name) for name in ("EdDSA", "ES256", "RS256", "PS256", "HS256")]


@pytest.mark.slow
@given(st.sampled_from(TOKENS), st.data())
def test_any_change_is_refused(sound: tuple[str, str], data: st.DataObject) -> None:
    token, algorithm = sound
    place = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.characters() | st.sampled_from(".-_=A"))
    changed = data.draw(
        st.sampled_from(
            [
                token[:place] + put + token[place:],
                token[:place] + token[place + 1 :],
                token[:place] + put + token[place + 1 :],
                token[:place] + chr(ord(token[place]) ^ 1 << place % 7) + token[place + 1 :],
                token[:place],
                token + token[place:],
                token[place:] + token[:place],
            ]
        )
    )
    assume(changed != token)
    reason, _ = refused(changed, algorithms={algorithm})
    assert reason in ("malformed", "forged", "unknown_key", "keys")


@pytest.mark.slow
@given(st.text(max_size=60) | st.text("eyJhbGciOi.-_", max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    assert refused(text)[0] == "malformed"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "stream", "max_devices"]), JSON))
def test_any_claims_give_a_handoff_or_a_reason(claims: dict[str, Any]) -> None:
    token = signed(CLAIMS | claims, "EdDSA")
    try:
        found = handoff(token)
    except EntranceError as error:
        assert error.reason in ("malformed", "elsewhere", "early", "expired")
    else:
        assert found.viewer and found.jti and found.expires <= found.issued_at + LONGEST_S


@pytest.mark.slow
@given(JSON)
def test_any_key_set_is_not_the_right_one(key: object) -> None:
    named = {**key, "kid": "ES256"} if isinstance(key, dict) else key
    assert refused(TOKENS[1][0], {"keys": [named, key]})[0] in ("unknown_key", "keys")
    assert refused(TOKENS[1][0], {"keys": key})[0] == "unknown_key"
