"""What was tried to get in without being let in, and what came back: a table, played against a node."""

from __future__ import annotations

import json
import os
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt as jose
from joserfc.jwk import OKPKey, RSAKey

from pystream.acl import sign_in
from pystream.acl.passwords import generate
from pystream.acl.people import SCOPES, Right
from pystream.acl.store.accounts import Accounts
from pystream.server.entrance import SIGN_INS
from tests.test_variants import HOUR, Doors, Portal, _base64, link, running, signed, token
from tests.waiting import until

pytestmark = pytest.mark.slow

HASH = "A" * 43


@dataclass(frozen=True)
class World:
    """A node, and what an attacker may have: a viewer's own grants, links and tokens, other tenants'
    keys, and what is public."""

    doors: Doors
    secret: str
    foreign: str
    shared: str
    grant: str
    open_grant: str
    visit: dict[str, Any]
    key: OKPKey
    rsa: RSAKey

    def folder(self) -> str:
        return str(self.visit["master"]).rpartition("/")[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    portal = Portal()
    key = OKPKey.generate_key("Ed25519", {"kid": "site"})
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    portal.keys = [key.as_dict(private=False), rsa.as_dict(private=False)]
    folder: Path = tmp_path_factory.mktemp("security")
    with running(folder, portal, workers=1) as doors:
        with doors.store() as store:
            doors.add_stream(store, "acme", "sets", access="external")
        secret = doors.verifier("acme", kind="link")
        shared = doors.verifier("acme", "hs", kind="jwt")
        doors.verifier("acme/sets", "set", kind="jwks", url=portal.url("/keys"), secret="")
        foreign = doors.verifier("other", kind="link")
        # What is new is known to workers within a second.
        until(lambda: doors.ask("/acme/sets/", "GET", None)[0] == 200)
        status, visit = doors.enter("acme/signed", link=link(secret))
        assert status == 200
        _, opened = doors.enter("acme/open")
        yield World(
            doors, secret, foreign, shared, visit["grant"], opened["grant"], visit, key, rsa
        )
    portal.shutdown()
    portal.server_close()


Tried = tuple[str, Any]
"""A target to get, or with a body, one to post to."""
Attack = Callable[[World], Tried]


def page_of(place: str, **shown: Any) -> Tried:
    return f"/{place}/session", shown


def master(grant: str, place: str = "acme/signed") -> Tried:
    return f"/t/{grant}/{place}/master.m3u8", None


def flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def in_set(world: World, header: dict[str, Any], key: Any = None, **more: Any) -> Tried:
    """A token for the stream whose site has a key set; `header` and claims as an attacker likes."""
    now = int(time.time())
    claims = {"aud": "acme/sets", "sub": "4711", "iat": now, "exp": now + 60, **more}
    claims.setdefault("jti", os.urandom(8).hex())
    header = {"alg": "Ed25519", "kid": "site", **header}
    if isinstance(key, bytes):
        return page_of("acme/sets", token=signed(header, claims, key))
    if key is None:
        parts = [_base64(json.dumps(part).encode()) for part in (header, claims)]
        return page_of("acme/sets", token=".".join([*parts, ""]))
    return page_of(
        "acme/sets", token=jose.encode(header, claims, key, algorithms=["Ed25519", "RS256"])
    )


def shared_token(world: World, place: str = "acme/external", **more: Any) -> str:
    return token(world.shared, place, "hs", **more)


def spent(world: World) -> Tried:
    shown = shared_token(world)
    assert world.doors.enter("acme/external", token=shown)[0] == 200
    return page_of("acme/external", token=shown)


def spent_elsewhere(world: World) -> Tried:
    """`aud` is the tenant, so the token is good for each of its streams, and for once all the same."""
    shown = shared_token(world, "acme")
    assert world.doors.enter("acme/external", token=shown)[0] == 200
    return page_of("acme/external", token=shown)


def flood(world: World) -> Tried:
    """Somebody is right, again and again, with a password for one device, until that is too often."""
    text, last = world.doors.issue("acme/course", max_devices=1), ""
    times, status = 0, 200
    while status == 200 and times < 500:
        shown = {"password": text, "replaces": last}
        status, visit = world.doors.post("acme/course", shown)
        last, times = visit.get("grant", last), times + 1
    assert times > SIGN_INS
    return page_of("acme/course", **shown)


def after_a_flood(world: World, place: str) -> Tried:
    flood(world)
    return page_of(place, password=world.doors.issue(place))


def public_bytes(key: OKPKey) -> bytes:
    return urlsafe_b64decode(str(key.as_dict(private=False)["x"]) + "=")


def bearer_of(secret: str) -> bytes:
    return urlsafe_b64decode(secret + "=")


TABLE: dict[str, tuple[int, Attack]] = {
    # What is meant to be
    "a grant of one's own": (200, lambda w: master(w.grant)),
    "a link": (200, lambda w: page_of("acme/signed", link=link(w.secret))),
    "a token": (200, lambda w: page_of("acme/external", token=shared_token(w))),
    "a token of the set": (200, lambda w: in_set(w, {}, w.key)),
    "a token of the set's other key": (
        200,
        lambda w: in_set(w, {"alg": "RS256", "kid": "rsa"}, w.rsa),
    ),
    # Grants
    "no grant": (400, lambda w: ("/t//acme/signed/master.m3u8", None)),
    "a grant made up": (403, lambda w: master("A" * 62)),
    "a grant with another first byte": (403, lambda w: master(flipped(w.grant, 0))),
    "a grant with a later end": (403, lambda w: master(flipped(w.grant, 4))),
    "a grant with another session": (403, lambda w: master(flipped(w.grant, 30))),
    "a grant with another signature": (403, lambda w: master(flipped(w.grant, 50))),
    "a grant without its last character": (403, lambda w: master(w.grant[:-1])),
    "a grant with one character more": (403, lambda w: master(f"{w.grant}A")),
    "a grant with padding": (403, lambda w: master(f"{w.grant}=")),
    "a grant with an encoded blank": (403, lambda w: master(f"{w.grant}%20")),
    "a grant on another stream": (403, lambda w: master(w.grant, "acme/alone")),
    "a grant on another tenant's": (403, lambda w: master(w.grant, "other/signed")),
    "a grant on a stream with a password": (403, lambda w: master(w.grant, "acme/course")),
    "an open stream's grant on a closed one": (403, lambda w: master(w.open_grant)),
    "media without a grant": (
        404,
        lambda w: (w.folder().replace(f"/t/{w.grant}", "/s") + "/v/v0/0.ts", None),
    ),
    "a playlist without a link": (403, lambda w: ("/acme/signed/master.m3u8", None)),
    "a download that is off": (
        404,
        lambda w: (f"/t/{w.grant}/acme/signed/download.mp4", None),
    ),
    # Passwords
    "a password again and again": (429, flood),
    "a neighbour's password after that": (200, lambda w: after_a_flood(w, "acme/course")),
    "another tenant's password after that": (200, lambda w: after_a_flood(w, "other/course")),
    # Links
    "no link": (403, lambda w: page_of("acme/signed")),
    "a link made up": (
        403,
        lambda w: page_of("acme/signed", link=f"expires=4000000000&key=7f&signature={HASH}"),
    ),
    "a link with another signature": (
        403,
        lambda w: page_of("acme/signed", link=link(w.secret)[:-5] + "AAAAA"),
    ),
    "a link cut off": (403, lambda w: page_of("acme/signed", link=link(w.secret)[:-1])),
    "a link with a later end": (
        403,
        lambda w: page_of("acme/signed", link=link(w.secret).replace("expires=1", "expires=2")),
    ),
    "a link with another viewer": (
        403,
        lambda w: page_of(
            "acme/signed", link=link(w.secret, viewer="4711").replace("4711", "4712")
        ),
    ),
    "a link without its viewer": (
        403,
        lambda w: page_of(
            "acme/signed", link=link(w.secret, viewer="4711").replace("&viewer=4711", "")
        ),
    ),
    "a link with a parameter more": (
        403,
        lambda w: page_of("acme/signed", link=f"{link(w.secret)}&devices=9"),
    ),
    "a link with a parameter twice": (
        403,
        lambda w: page_of("acme/signed", link=f"expires=4000000000&{link(w.secret)}"),
    ),
    "a link made wider": (
        403,
        lambda w: page_of("acme/signed", link=f"{link(w.secret)}&scope=tenant"),
    ),
    "a link that is over": (
        403,
        lambda w: page_of("acme/signed", link=link(w.secret, seconds=-HOUR)),
    ),
    "a link on another stream": (
        403,
        lambda w: page_of("acme/alone", link=link(w.secret)),
    ),
    "a link on another tenant's": (
        403,
        lambda w: page_of("other/signed", link=link(w.secret)),
    ),
    "a link by another tenant's key": (
        403,
        lambda w: page_of("acme/signed", link=link(w.foreign)),
    ),
    "a link by the secret of tokens": (
        403,
        lambda w: page_of("acme/signed", link=link(bearer_of(w.shared).hex(), key="hs")),
    ),
    "a link that names no key": (
        403,
        lambda w: page_of("acme/signed", link=link(w.secret, key="none")),
    ),
    "a link on a stream of tokens": (
        403,
        lambda w: page_of("acme/external", link=link(w.secret, "acme/external")),
    ),
    "a link on a stream with a password": (
        400,
        lambda w: page_of("acme/course", link=link(w.secret, "acme/course")),
    ),
    "a link encoded twice": (
        403,
        lambda w: page_of("acme/signed", link=link(w.secret).replace("=", "%3D")),
    ),
    "a link of the length of a film": (
        403,
        lambda w: page_of("acme/signed", link="a=b&" * 10_000),
    ),
    # Tokens
    "no token": (403, lambda w: page_of("acme/external")),
    "a token shown again": (403, spent),
    "a token for all streams shown again": (403, spent_elsewhere),
    "a token for another stream": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w, "acme/sets")),
    ),
    "a token for another tenant": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w, "other/external")),
    ),
    "a token on another tenant's": (
        403,
        lambda w: page_of("other/external", token=shared_token(w, "other/external")),
    ),
    "a token that is over": (
        403,
        lambda w: page_of(
            "acme/external",
            token=shared_token(w, iat=int(time.time()) - 900, exp=int(time.time()) - 700),
        ),
    ),
    "a token that never ends": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w, exp=4_000_000_000)),
    ),
    "a token that names a mail address": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w, sub="eva@example.org")),
    ),
    "a token without an id": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w, jti=None)),
    ),
    "a token cut off": (
        403,
        lambda w: page_of("acme/external", token=shared_token(w)[:-1]),
    ),
    "a token with a part more": (
        403,
        lambda w: page_of("acme/external", token=f"{shared_token(w)}.e30"),
    ),
    "a token with padding": (
        403,
        lambda w: page_of("acme/external", token=f"{shared_token(w)}="),
    ),
    "a token by the secret of links": (
        403,
        lambda w: page_of(
            "acme/external",
            token=token(_base64(bytes.fromhex(w.secret)), kid="7f"),
        ),
    ),
    "alg none": (403, lambda w: in_set(w, {"alg": "none"})),
    "alg NONE": (403, lambda w: in_set(w, {"alg": "NoNe"})),
    "no signature": (403, lambda w: in_set(w, {})),
    "HS256 with the public key": (
        403,
        lambda w: in_set(w, {"alg": "HS256"}, public_bytes(w.key)),
    ),
    "HS256 with the public key in PEM": (
        403,
        lambda w: in_set(w, {"alg": "HS256", "kid": "rsa"}, w.rsa.as_pem(private=False)),
    ),
    "HS256 with the public key as JSON": (
        403,
        lambda w: in_set(w, {"alg": "HS256"}, json.dumps(w.key.as_dict(private=False)).encode()),
    ),
    "HS256 with no key": (403, lambda w: in_set(w, {"alg": "HS256"}, b"\0")),
    "HS256 with the tenant's shared secret": (
        403,
        lambda w: in_set(w, {"alg": "HS256", "kid": "hs"}, bearer_of(w.shared)),
    ),
    "another key under a known name": (
        403,
        lambda w: in_set(w, {}, OKPKey.generate_key("Ed25519")),
    ),
    "a name of a key of another type": (403, lambda w: in_set(w, {"kid": "rsa"}, w.key)),
    "a name that no key has": (403, lambda w: in_set(w, {"kid": "x"}, w.key)),
    "a name like a path": (403, lambda w: in_set(w, {"kid": "../../etc/passwd"}, w.key)),
    "a key in the token": (
        403,
        lambda w: in_set(
            w, {"alg": "HS256", "jwk": {"kty": "oct", "k": _base64(b"k" * 32)}}, b"k" * 32
        ),
    ),
    "an address of keys in the token": (
        403,
        lambda w: in_set(w, {"alg": "HS256", "jku": "http://127.0.0.1:1/"}, b"k" * 32),
    ),
    "an extension that is critical": (
        403,
        lambda w: in_set(w, {"alg": "HS256", "crit": ["b64"], "b64": False}, b"k" * 32),
    ),
    "a token of the set on a stream of secrets": (
        403,
        lambda w: ("/acme/external/session", in_set(w, {}, w.key, aud="acme")[1]),
    ),
    # Paths
    "a dot segment": (400, lambda w: ("/acme/../other/signed/", None)),
    "an encoded dot segment": (400, lambda w: ("/acme/%2e%2e/other/signed/", None)),
    "a dot segment encoded twice": (404, lambda w: ("/acme/%252e%252e/", None)),
    "an encoded slash": (400, lambda w: ("/acme/..%2fother%2fsigned/", None)),
    "an encoded backslash": (400, lambda w: ("/acme/..%5csigned/", None)),
    "two slashes": (400, lambda w: ("//acme/signed/", None)),
    "an encoded zero": (400, lambda w: ("/acme/signed%00/", None)),
    "an overlong slash": (400, lambda w: ("/acme/%c0%af/", None)),
    "a tenant of the server's own": (404, lambda w: ("/t/signed/session", None)),
    "a file below the page's": (404, lambda w: ("/s/-/page.py", None)),
    "a file above the page's": (400, lambda w: ("/s/-/..%2f..%2fsettings.py", None)),
    "a path in a token's place": (
        400,
        lambda w: ("/bcdn_token=x/../acme/signed/", None),
    ),
    "a token's place further on": (400, lambda w: ("/acme/bcdn_token=%2f/", None)),
    "many tokens' places": (
        404,
        lambda w: ("/bcdn_token=x" * 600 + "%20/", None),
    ),
    "a path in a grant's place": (400, lambda w: ("/t/../../etc/passwd", None)),
    "a path in a version's place": (
        400,
        lambda w: (f"/t/{w.grant}/acme/signed/../alone/master.m3u8", None),
    ),
    "a path in a key's place": (
        404,
        lambda w: (f"/t/{w.grant}/acme/signed/v/v0/key/%2e%2e.key", None),
    ),
    # Bodies
    "a body that is none": (403, lambda w: ("/acme/signed/session", b"\xff\x00")),
    "a list in place of a link": (403, lambda w: page_of("acme/signed", link=["x"])),
    "an object in place of a token": (403, lambda w: page_of("acme/external", token={"a": 1})),
    "a deep body": (403, lambda w: ("/acme/signed/session", b"[" * 30_000)),
    "a password in place of a link": (403, lambda w: page_of("acme/signed", password=generate())),
    "half a surrogate pair": (403, lambda w: page_of("acme/external", token="\ud800.a.b")),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_was_tried(world: World, name: str) -> None:
    status, attack = TABLE[name]
    target, shown = attack(world)
    body = shown if isinstance(shown, bytes | None) else json.dumps(shown).encode()
    sent: Any = body
    found, headers, data = world.doors.ask(target, "GET" if body is None else "POST", sent)
    assert found == status, data
    if status != 200:
        # Nothing of it is said back, and none is a clue.
        assert len(data) < 300 and b"Traceback" not in data
        assert "location" not in headers


# The API


@dataclass(frozen=True)
class Programs:
    """Tokens, and something that is acme's: what an attacker may have of other tenants, of a program that
    may little, of one whose time is over."""

    world: World
    full: str
    reader: str
    foreign: str
    revoked: str
    over: str
    password: str

    def ask(
        self, token: str | None, path: str, method: str = "GET", body: Any = None, **more: str
    ) -> tuple[int, dict[str, str], Any]:
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        doors: Any = self.world.doors
        status, headers, data = doors.ask(
            f"/api/v1{path}", method, sent, "application/json", **fields
        )
        is_json = "json" in headers.get("content-type", "")
        return status, headers, json.loads(data) if is_json else data.decode()


@pytest.fixture(scope="module")
def programs(world: World) -> Programs:
    now = int(time.time())
    with world.doors.store() as store:
        accounts = Accounts(store.people)
        ids = {name: store.tenant(name).id for name in ("acme", "other")}

        def made(tenant: str, name: str, scopes: Any = SCOPES, **more: Any) -> str:
            given = {"expires": None, "who": "test", "now": now, **more}
            return accounts.add_token(ids[tenant], name, frozenset(scopes), **given)[1]

        full, foreign = made("acme", "full"), made("other", "foreign")
        reader = made("acme", "reader", [Right.STREAMS_READ])
        over = made("acme", "over", expires=1000, now=1)
        revoked = made("acme", "revoked")
        store.people.revoke_token(ids["acme"], "revoked", who="test", now=now)
    found = Programs(world, full, reader, foreign, revoked, over, "")
    status, _, said = found.ask(full, "/passwords", "POST", {"streams": ["course"]})
    assert status == 201
    return replace(found, password=said["items"][0]["id"])


Asked = tuple[Any, ...]
NEW = {"streams": ["course"], "count": 1}


def forged() -> str:
    """With a secret of one's own, and a check that fits it."""
    return sign_in.new_token()


API: dict[str, tuple[int, str | None, Callable[[Programs], Asked]]] = {
    # What is meant to be
    "a token": (200, None, lambda p: (p.full, "/streams")),
    "a token that may read": (200, None, lambda p: (p.reader, "/streams")),
    # Tokens
    "no token": (401, "unauthorized", lambda p: (None, "/streams")),
    "an empty token": (401, "unauthorized", lambda p: ("", "/streams")),
    "a forged token": (401, "unauthorized", lambda p: (forged(), "/streams")),
    "a token with another character": (
        401,
        "unauthorized",
        lambda p: (flipped(p.full, 20), "/streams"),
    ),
    "a token cut off": (401, "unauthorized", lambda p: (p.full[:-1], "/streams")),
    "a token with one character more": (401, "unauthorized", lambda p: (f"{p.full}0", "/streams")),
    "a token in small letters": (401, "unauthorized", lambda p: (p.full.lower(), "/streams")),
    "two tokens": (401, "unauthorized", lambda p: (f"{p.reader}, {p.full}", "/streams")),
    "a token that was revoked": (401, "unauthorized", lambda p: (p.revoked, "/streams")),
    "a token that is over": (401, "unauthorized", lambda p: (p.over, "/streams")),
    "a token in the query": (401, "unauthorized", lambda p: (None, f"/streams?token={p.full}")),
    "a token in a cookie": (
        401,
        "unauthorized",
        lambda p: (None, "/streams", "GET", None, {"Cookie": f"token={p.full}; pystream={p.full}"}),
    ),
    "a token as a password": (
        401,
        "unauthorized",
        lambda p: (None, "/streams", "GET", None, {"Authorization": f"Basic {p.full}"}),
    ),
    "a viewer's grant as a token": (
        401,
        "unauthorized",
        lambda p: (p.world.grant, "/streams"),
    ),
    "a secret of links as a token": (401, "unauthorized", lambda p: (p.world.secret, "/streams")),
    # Scopes
    "a change by who may read": (
        403,
        "insufficient-scope",
        lambda p: (p.reader, "/streams/open", "PATCH", {"download": True}),
    ),
    "passwords for who may not see them": (
        403,
        "insufficient-scope",
        lambda p: (p.reader, "/passwords"),
    ),
    "a token by who may make none": (
        403,
        "insufficient-scope",
        lambda p: (p.reader, "/tokens", "POST", {"name": "x", "scopes": ["streams:read"]}),
    ),
    "a token that makes tokens": (
        422,
        "invalid",
        lambda p: (p.full, "/tokens", "POST", {"name": "x", "scopes": ["tokens:change"]}),
    ),
    "a token that may change people": (
        422,
        "invalid",
        lambda p: (p.full, "/tokens", "POST", {"name": "x", "scopes": ["people:change"]}),
    ),
    "a verifier by who may read": (
        403,
        "insufficient-scope",
        lambda p: (p.reader, "/verifiers", "POST", {"kind": "link"}),
    ),
    "another method in a field": (
        405,
        "method-not-allowed",
        lambda p: (p.full, "/traffic", "POST", None, {"X_HTTP_Method_Override": "GET"}),
    ),
    # Other tenants
    "another tenant's stream": (404, "not-found", lambda p: (p.foreign, "/streams/alone")),
    "a change of another tenant's stream": (
        404,
        "not-found",
        lambda p: (p.foreign, "/streams/alone", "PATCH", {"access": "open"}),
    ),
    "another tenant's password": (
        404,
        "not-found",
        lambda p: (p.foreign, f"/passwords/{p.password}"),
    ),
    "another tenant's token taken back": (
        404,
        "not-found",
        lambda p: (p.foreign, "/tokens/full", "DELETE"),
    ),
    "another tenant's verifier taken back": (
        404,
        "not-found",
        lambda p: (p.foreign, "/verifiers/hs", "DELETE"),
    ),
    "a verifier for another tenant's stream": (
        404,
        "not-found",
        lambda p: (p.foreign, "/verifiers", "POST", {"kind": "link", "stream": "alone"}),
    ),
    "passwords for another tenant's stream": (
        422,
        "invalid",
        lambda p: (p.foreign, "/passwords", "POST", {"streams": ["alone"]}),
    ),
    "a tenant in the body": (
        422,
        "invalid",
        lambda p: (p.foreign, "/passwords", "POST", {**NEW, "tenant": "acme"}),
    ),
    "a tenant in the query": (400, "malformed", lambda p: (p.foreign, "/streams?tenant=acme")),
    "a tenant in the path": (404, "not-found", lambda p: (p.foreign, "/acme/streams")),
    # Paths and bodies
    "a path in a stream's place": (
        400,
        None,
        lambda p: (p.foreign, "/streams/..%2f..%2facme%2fcourse"),
    ),
    "a film of another tenant's folder": (
        403,
        "forbidden",
        lambda p: (
            p.foreign,
            "/streams",
            "POST",
            {"name": "x", "sources": ["../acme/film.mp4"]},
        ),
    ),
    "SQL in a cursor": (422, "invalid", lambda p: (p.full, "/audit?cursor=JyBPUiAxPTE")),
    "a name twice in a body": (
        400,
        "malformed",
        lambda p: (p.full, "/passwords", "POST", b'{"streams":["course"],"streams":["open"]}'),
    ),
    "a deep body": (400, "malformed", lambda p: (p.full, "/passwords", "POST", b"[" * 60_000)),
    "a number that is none": (
        400,
        "malformed",
        lambda p: (p.full, "/passwords", "POST", b'{"streams":["course"],"count":NaN}'),
    ),
    "from elsewhere without TLS": (
        403,
        "forbidden",
        lambda p: (p.full, "/streams", "GET", None, {"X_Forwarded_For": "192.0.2.7"}),
    ),
}


@pytest.mark.parametrize("name", API)
def test_what_programs_tried(programs: Programs, name: str) -> None:
    status, kind, attack = API[name]
    token, path, *more = attack(programs)
    usual: Asked = ("GET", None, {})
    method, body, fields = (*more, *usual[len(more) :])
    found, headers, said = programs.ask(token, path, method, body, **fields)
    assert found == status, said
    assert "access-control-allow-origin" not in headers
    if kind is not None:
        assert said["type"].rpartition("/")[2] == kind
        assert len(json.dumps(said)) < 1000 and programs.password not in str(said)


def test_what_was_answered_is_of_one_token_alone(programs: Programs) -> None:
    """Whoever sends a request again has to be who has sent it, and has to be let in still."""
    once = {"Idempotency_Key": "the-same-everywhere"}
    _, _, first = programs.ask(programs.full, "/passwords", "POST", NEW, **once)
    status, headers, again = programs.ask(programs.full, "/passwords", "POST", NEW, **once)
    assert (status, again) == (201, first) and headers["idempotent-replayed"] == "true"
    # Another tenant's program with the same key and the same request gets its own answer.
    status, headers, said = programs.ask(programs.foreign, "/passwords", "POST", NEW, **once)
    assert status == 201 and "idempotent-replayed" not in headers
    text = first["items"][0]["password"]
    assert text not in str(said)
    # So does another one of the same tenant's, and who may not do it gets no answer at all.
    for shown, wanted in (
        (programs.reader, 403),
        (programs.revoked, 401),
        (programs.over, 401),
        (None, 401),
    ):
        status, headers, said = programs.ask(shown, "/passwords", "POST", NEW, **once)
        assert status == wanted and text not in str(said)
        assert "idempotent-replayed" not in headers
    new = {"name": "second", "scopes": ["passwords:change"]}
    second = programs.ask(programs.full, "/tokens", "POST", new)[2]["token"]
    status, headers, own = programs.ask(second, "/passwords", "POST", NEW, **once)
    assert status == 201 and own["items"][0]["password"] != text
    # The key with another request is no way to an answer either, nor on another path.
    other = programs.ask(programs.full, "/passwords", "POST", {**NEW, "count": 2}, **once)
    assert other[0] == 422 and other[2]["type"].endswith("key-reused")
    moved = programs.ask(programs.full, "/tokens", "POST", {**new, "name": "third"}, **once)
    assert moved[0] == 422 and moved[2]["type"].endswith("key-reused")
    # Whoever was taken back gets not even its own answer again.
    assert programs.ask(programs.full, "/tokens/second", "DELETE")[0] == 204
    status, _, said = programs.ask(second, "/passwords", "POST", NEW, **once)
    assert status == 401 and own["items"][0]["password"] not in str(said)


def test_nobody_chooses_the_session_of_another(world: World) -> None:
    """Session fixation: whoever brings a session, a grant or an id gets a fresh one all the same."""
    ours = world.visit["grant"]
    session = urlsafe_b64decode(ours + "==")[14:30]
    shown = {"link": link(world.secret)}
    seen = {ours}
    for more in (
        {"grant": ours},
        {"session": session.hex(), "id": session.hex()},
        {"replaces": ours},
        {"holder": "1", "devices": "99", "expires": "4000000000"},
    ):
        status, visit = world.doors.post("acme/signed", shown | more, Cookie=f"session={ours}")
        assert status == 200 and visit["grant"] not in seen
        assert urlsafe_b64decode(visit["grant"] + "==")[14:30] != session
        assert visit["expires"] < time.time() + 8 * HOUR
        seen.add(visit["grant"])
    # And what somebody else watches goes on.
    assert world.doors.standing(world.visit) == "open"


def test_nothing_of_it_is_in_the_log(world: World, programs: Programs) -> None:
    said = world.doors.node.said()
    tokens = (programs.full, programs.reader, programs.foreign, programs.revoked, programs.over)
    for secret in (
        *(world.secret, world.shared, world.grant, "eva@example.org", "etc/passwd"),
        *tokens,
        "the-same-everywhere",
    ):
        assert secret not in said
    assert "process-ended" not in said and "Traceback" not in said
