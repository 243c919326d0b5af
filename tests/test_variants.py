"""Coming in by a link or a token, and what a stream asks besides: a real node, as sites and viewers meet
it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import signal
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from joserfc import jwt as jose
from joserfc.jwk import OKPKey

from pystream.acl.entrances.conditions import Conditions
from pystream.acl.entrances.links import Link, sign
from pystream.acl.entrances.verifiers import Verifier, new_secret
from pystream.acl.streams import Stream
from pystream.acl.viewers import notice_version
from tests import program
from tests.browser.chromium import Chromium
from tests.test_admission import ASKS, PLAYS, House, address
from tests.test_page import accessible
from tests.test_serve import BUSY, node_in
from tests.waiting import everywhere, until

pytestmark = pytest.mark.slow

HOUR = 3600


class Portal(ThreadingHTTPServer):
    """A customer's site: its key set, and its answer to questions. Tokens of strangers get a status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.begin()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def begin(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.verdict: dict[str, Any] | None = {"allow": True}
        self.strangers = 403
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Answering(BaseHTTPRequestHandler):
    server: Portal

    def do_GET(self) -> None:
        self._answer({"keys": self.server.keys})

    def do_POST(self) -> None:
        self._answer(self.server.verdict)

    def _answer(self, body: dict[str, Any] | None) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers, sent))
        data = json.dumps(body).encode()
        status = self.server.strangers if b"stranger" in sent else 200
        self.send_response(500 if body is None else status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Doors(House):
    """A node with streams that open by links and tokens."""

    def furnish(self) -> None:
        super().furnish()
        with self.store() as store:
            for name, more in (
                ("signed", {"access": "signed"}),
                ("alone", {"access": "signed", "max_devices": 1}),
                ("kicks", {"access": "signed", "max_devices": 1, "device_mode": "kick_oldest"}),
                ("external", {"access": "external"}),
            ):
                self.add_stream(store, "acme", name, **more)
            self.add_stream(store, "other", "signed", access="signed")
            self.add_stream(store, "other", "external", access="external")

    def stream(self, place: str) -> Stream:
        with self.store() as store:
            return store.stream(*place.split("/"))

    def verifier(self, place: str, name: str = "7f", **given: Any) -> str:
        """Adds a verifier and returns its secret. `place`: a tenant, or a stream of its."""
        tenant, _, stream = place.partition("/")
        given.setdefault("secret", new_secret(given["kind"]))
        with self.store() as store, self.keys() as keys:
            store.verifiers(keys).add(
                store.tenant(tenant).id,
                store.stream(tenant, stream).id if stream else None,
                name,
                Verifier(**given),
                who="test",
                now=int(time.time()),
            )
        return str(given["secret"])

    def drop(self, tenant: str, name: str = "7f") -> None:
        with self.store() as store, self.keys() as keys:
            id = store.tenant(tenant).id
            store.verifiers(keys).revoke(id, name, who="test", now=int(time.time()))

    def enter(self, place: str, **shown: Any) -> tuple[int, dict[str, Any]]:
        return self.post(place, shown)

    def post(self, place: str, shown: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        status, _, data = self.ask(f"/{place}/session", "POST", json.dumps(shown), **headers)
        return status, json.loads(data)

    def kind(self, place: str, headers: dict[str, str] | None = None, **shown: Any) -> str:
        """`open`, or why nobody is let in."""
        status, said = self.post(place, shown, **(headers or {}))
        return "open" if status == 200 else str(said["kind"])

    def set(self, place: str, **changes: Any) -> None:
        """Changes a stream; workers learn it within a second."""
        with self.store() as store:
            tenant, _, name = place.partition("/")
            store.set_stream(tenant, name, changes, who="test", now=int(time.time()))


def link(secret: str, place: str = "acme/signed", seconds: int = HOUR, **more: Any) -> str:
    tenant, _, stream = place.partition("/")
    said = {"key": "7f", "expires": int(time.time()) + seconds, **more}
    return sign(Link(tenant=tenant, stream=stream or None, **said), bytes.fromhex(secret))


def token(secret: str, place: str = "acme/external", kid: str = "7f", **more: Any) -> str:
    now = int(time.time())
    claims = {"aud": place, "sub": "4711", "iat": now, "exp": now + 60, "jti": os.urandom(8).hex()}
    key = urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    return signed({"alg": "HS256", "kid": kid}, {**claims, **more}, key)


def signed(header: Any, claims: Any, key: bytes) -> str:
    """A token by RFC 7515 5.1, with HMAC: none of the code under test."""
    text = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_base64(hmac.digest(key, text.encode(), 'sha256'))}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def site() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def portal(site: Portal) -> Portal:
    site.begin()
    return site


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, site: Portal) -> Iterator[Doors]:
    with running(tmp_path_factory.mktemp("two"), site, workers=2) as made:
        yield made


@pytest.fixture
def doors(two: Doors, portal: Portal) -> Doors:
    two.renew()
    return two


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, site: Portal) -> Iterator[Doors]:
    with running(tmp_path_factory.mktemp("one"), site, workers=1) as made:
        yield made


@pytest.fixture
def door(one: Doors, portal: Portal) -> Doors:
    """With one worker: what it has learned, all have."""
    one.renew()
    return one


@contextmanager
def running(folder: Path, portal: Portal, workers: int) -> Iterator[Doors]:
    with node_in(folder) as node:
        rest = f"""{BUSY}
[outgoing]
allow = ["127.0.0.0/8"]
ports = [{portal.server_port}]
answer_seconds = 10

[geo]
test = ["192.0.2.0/24 = DE", "198.51.100.0/24 = AT"]
"""
        node.settings(f'workers = {workers}\ntrusted_proxies = ["127.0.0.1"]', rest)
        made = Doors(node)
        node.start()
        node.hear("READY=1")
        yield made


# Links


def test_who_has_a_link_watches(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="link")
    query = link(secret)
    status, visit = doors.enter("acme/signed", link=f"?{query}")
    assert status == 200 and doors.standing(visit) == "open"
    # A player without a page has the link behind the playlist's address.
    status, headers, _ = doors.ask(f"/acme/signed/master.m3u8?{query}")
    assert status == 302 and headers["location"].startswith("/t/")
    assert doors.ask(headers["location"])[0] == 200
    assert doors.ask("/acme/signed/master.m3u8")[0] == 403
    status, headers, data = doors.ask(f"/acme/signed/?{query}")
    assert status == 200 and headers["cache-control"] == "private, no-store"
    assert f"master.m3u8?{query}".replace("&", "&amp;").encode() in data
    assert doors.kind("acme/signed") == "link_missing"
    assert doors.kind("acme/signed", link=link(secret, "acme/alone")) == "link"
    assert doors.kind("acme/signed", link=link(secret, seconds=-HOUR)) == "link_over"
    later = int(time.time()) + HOUR
    early = link(secret, seconds=2 * HOUR, not_before=later)
    assert doors.kind("acme/signed", link=early) == "link_early"
    everywhere = link(secret, "acme")
    assert {doors.kind(f"acme/{name}", link=everywhere) for name in ("signed", "alone")} == {"open"}
    assert doors.kind("other/signed", link=everywhere) == "link"
    # In a window, each is said for people.
    said = doors.ask(f"/acme/signed/master.m3u8?{link(secret, seconds=-HOUR)}", Accept="text/html")
    assert said[0] == 403 and b"This link is too old" in said[2]
    # Of a stream that nobody has said how to open, the operator is told, and not each time.
    assert {doors.kind("other/signed", link=query) for _ in range(5)} == {"link"}
    assert 1 <= len(doors.node.events("stream-without-verifier")) <= 2
    for canary in (query, secret, visit["grant"]):
        assert canary not in doors.node.said()


def test_pain_52_the_end_of_a_link_ends_the_entry_and_not_the_film(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="link")
    query, visit = "", dict[str, Any]()

    def enter() -> bool:
        nonlocal query, visit
        # The clocks of signer and server may differ by a minute; this one is over in a second or two.
        query = link(secret, seconds=-58)
        status, visit = doors.enter("acme/signed", link=query)
        return status == 200

    # However long that takes here.
    until(enter)
    until(lambda: doors.kind("acme/signed", link=query) == "link_over")
    assert doors.standing(visit) == "open"
    assert visit["expires"] > time.time() + HOUR


def test_keys_are_replaced_and_revoked(doors: Doors) -> None:
    old = doors.verifier("acme", kind="link")
    new = doors.verifier("acme", "new", kind="link")
    first, second = link(old), link(new, key="new")
    assert doors.kind("acme/signed", link=first) == doors.kind("acme/signed", link=second) == "open"
    _, visit = doors.enter("acme/signed", link=first)
    doors.drop("acme")
    # At once, in all workers.
    assert {doors.kind("acme/signed", link=first) for _ in range(8)} == {"link"}
    assert doors.kind("acme/signed", link=second) == "open"
    assert doors.standing(visit) == "open"
    # A stream's own key takes the place of the tenant's, and is for nothing else.
    own = doors.verifier("acme/alone", "own", kind="link")
    assert doors.kind("acme/alone", link=link(new, "acme/alone", key="new")) == "link"
    assert doors.kind("acme/alone", link=link(own, "acme/alone", key="own")) == "open"
    assert doors.kind("acme/signed", link=link(own, key="own")) == "link"


def test_devices_are_counted_for_whom_a_link_names(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="link")
    ours, theirs = (link(secret, "acme/alone", viewer=name) for name in ("4711", "4712"))
    _, visit = doors.enter("acme/alone", link=ours)
    # Another link of the same viewer is the same viewer, after the writer's end, too.
    (writer,) = doors.node.processes()["writer"]
    os.kill(writer, signal.SIGKILL)
    again = link(secret, "acme/alone", viewer="4711", seconds=2 * HOUR)
    assert doors.kind("acme/alone", link=again) == "devices"
    assert doors.kind("acme/alone", link=theirs) == "open"
    status, next_one = doors.enter("acme/alone", link=again, replaces=visit["grant"])
    assert status == 200 and doors.standing(visit) == "over"
    assert doors.standing(next_one) == "open"
    two = link(secret, "acme/alone", viewer="4713", max_devices=2)
    assert [doors.kind("acme/alone", link=two) for _ in range(3)] == ["open", "open", "devices"]
    # Without a name, the link itself is the holder, however it is written.
    nobody = link(secret, "acme/kicks")
    _, first = doors.enter("acme/kicks", link=nobody)
    mixed = "&".join(reversed(nobody.replace("expires", "%65xpires").split("&")))
    _, second = doors.enter("acme/kicks", link=mixed)
    assert (doors.standing(first), doors.standing(second)) == ("kicked", "open")
    _, other = doors.enter("acme/kicks", link=link(secret, "acme/kicks", seconds=2 * HOUR))
    assert (doors.standing(second), doors.standing(other)) == ("open", "open")


def test_a_viewer_of_links_can_be_sent_away(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="link")
    ours, theirs = (link(secret, viewer=name) for name in ("4711", "auth0|4712"))
    _, visit = doors.enter("acme/signed", link=ours)
    _, beside = doors.enter("acme/signed", link=theirs)
    listed = json.loads(told(doors, "password", "list", "acme", "--viewers", "--json"))
    assert {each["password"] for each in listed["passwords"]} == {"4711", "auth0|4712"}
    assert json.loads(told(doors, "password", "list", "acme", "--json"))["passwords"] == []
    words = ("password", "revoke", "acme", "--viewers", "--list", "-")
    assert told(doors, *words, typed="4711\n") == "1 password revoked\n"
    until(lambda: doors.standing(visit) == "revoked")
    assert doors.kind("acme/signed", link=ours) == "revoked"
    assert doors.standing(beside) == "open"
    # Nobody gets in by typing such a name, and in the database it is nowhere to be read.
    assert doors.kind("acme/course", password="auth0|4712") == "password"
    for file in doors.node.folder.glob("*.db*"):
        assert b"auth0|4712" not in file.read_bytes()


def told(doors: Doors, *words: str, typed: str = "") -> str:
    done = program.run(*words, cwd=doors.node.folder, input=typed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(doors: Doors, code: int, *words: str) -> str:
    done = program.run(*words, cwd=doors.node.folder)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def test_links_by_the_command_line(doors: Doors) -> None:
    made = json.loads(told(doors, "verifier", "add", "acme", "--kind", "link", "--json"))
    name, secret = made["name"], made["secret"]
    made = told(doors, "link", "acme/signed", "--expires", "1h", "--viewer", "4711").strip()
    path, _, query = made.partition("?")
    assert path == "/acme/signed/" and f"key={name}" in query
    assert doors.kind("acme/signed", link=query) == "open"
    assert doors.kind("acme/signed", link=link(secret, key=name)) == "open"
    words = ("verifier", "add", "acme/alone", "--kind", "wowza", "--secret-file", "-", "--json")
    said = told(doors, *words, typed="mySharedSecret\n")
    added = json.loads(said)
    assert (added["kind"], added["secret"]) == ("wowza", None) and "mySharedSecret" not in said
    listed = told(doors, "verifier", "list", "acme")
    assert "mySharedSecret" not in listed and secret not in listed
    assert listed.count("active") == 2
    assert "checked by wowza" in refused(doors, 1, "link", "acme/alone", "--expires", "1h")
    assert "TENANT alone" in refused(doors, 2, "verifier", "revoke", "acme/signed", name)
    said = told(doors, "verifier", "revoke", "acme", name)
    assert said == f"link {name} is revoked\n"
    assert doors.kind("acme/signed", link=query) == "link"
    assert told(doors, "verifier", "list", "acme").count("revoked") == 1


# Tokens of others


def akamai(secret: str, acl: str, seconds: int = HOUR, **more: str) -> str:
    fields = {"exp": str(int(time.time()) + seconds), "acl": acl, **more}
    body = "~".join(f"{name}={value}" for name, value in fields.items())
    return f"{body}~hmac={hmac.digest(bytes.fromhex(secret), body.encode(), 'sha256').hex()}"


def test_akamai_by_query_cookie_and_header(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="akamai")
    made = akamai(secret, "/acme/signed/*")
    assert doors.kind("acme/signed", link=f"hdnts={made}") == "open"
    assert doors.kind("acme/signed", {"Cookie": f"a=b; hdnts={made}"}) == "open"
    assert doors.kind("acme/signed", {"hdnts": made}) == "open"
    assert doors.kind("acme/signed", {"Cookie": f"hdnts={made}; hdnts={made}"}) == "link_missing"
    assert doors.kind("acme/signed") == "link_missing"
    assert doors.kind("acme/alone", {"Cookie": f"hdnts={made}"}) == "link"
    assert doors.ask("/acme/signed/master.m3u8", Cookie=f"hdnts={made}")[0] == 302
    named = akamai(secret, "/acme/*", id="4711")
    assert doors.kind("acme/alone", link=f"hdnts={named}") == "open"
    assert doors.kind("acme/alone", link=f"hdnts={named}") == "devices"
    assert made not in doors.node.said()


def test_bunny_by_query_and_path(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="bunny")
    expires = str(int(time.time()) + HOUR)
    text = f"/acme/signed/{expires}token_path=/acme/signed/"
    mac = _base64(hmac.digest(secret.encode(), text.encode(), "sha256"))
    said = f"HS256-{mac}&expires={expires}&token_path={quote('/acme/signed/', safe='')}"
    assert doors.kind("acme/signed", link=f"token={said}") == "open"
    assert doors.kind("acme/alone", link=f"token={said}") == "link"
    for name in ("", "master.m3u8"):
        status, headers, _ = doors.ask(f"/bcdn_token={said}/acme/signed/{name}")
        assert status == 302
        assert headers["location"] == f"/acme/signed/{name}?bcdn_token={said}"
        status, headers, _ = doors.ask(headers["location"])
        assert status == (302 if name else 200)
    assert doors.kind("acme/signed", link=f"?bcdn_token={said}") == "open"
    for path in ("/acme/open/", "/acme/signed/session", "/acme/none/", "/s/-/x", "/"):
        assert doors.ask(f"/bcdn_token={said}{path}")[0] == 404
    assert mac not in doors.node.said()


def test_wowza_by_query(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="wowza")
    end = f"wowzatokenendtime={int(time.time()) + HOUR}"
    text = f"acme/signed?{'&'.join(sorted((secret, end)))}"
    mac = urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
    made = f"{end}&wowzatokenhash={mac}"
    assert doors.kind("acme/signed", link=made) == "open"
    assert doors.kind("acme/alone", link=made) == "link"
    assert doors.ask(f"/acme/signed/master.m3u8?{made}")[0] == 302


# The customer's site


def test_a_token_is_good_for_once(doors: Doors) -> None:
    """Two hundred races, each of four who show the same token at the same moment."""
    secret = doors.verifier("acme", kind="jwt")
    lines = [http.client.HTTPConnection("127.0.0.1", doors.node.port, timeout=60) for _ in range(4)]
    winners = []
    for _ in range(200):
        body = json.dumps({"token": token(secret)})
        for line in lines:
            line.request("POST", "/acme/external/session", body)
        answers = [(answer.status, answer.read()) for answer in (x.getresponse() for x in lines)]
        assert {status for status, _ in answers} <= {200, 403}
        winners.append(sum(status == 200 for status, _ in answers))
    for line in lines:
        line.close()
    assert winners == [1] * 200


def test_a_spent_token_stays_spent(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="jwt")
    shown = token(secret, "acme")
    _, visit = doors.enter("acme/external", token=shown)
    for _ in range(2):
        (writer,) = doors.node.processes()["writer"]
        os.kill(writer, signal.SIGKILL)
        assert doors.kind("acme/external", token=shown) == "link_used"
    assert doors.standing(visit) == "open"
    doors.node.signal(signal.SIGKILL)
    doors.node.process.wait()
    doors.node.start()
    doors.node.hear("READY=1")
    assert doors.kind("acme/external", token=shown) == "link_used"
    # One that was refused for another reason is not spent.
    _, visit = doors.enter("acme/external", token=token(secret, sub="4712"))
    next_one = token(secret, sub="4712", max_devices=1)
    assert doors.kind("acme/external", token=next_one) == "devices"
    status, _ = doors.enter("acme/external", token=next_one, replaces=visit["grant"])
    assert status == 200
    assert doors.kind("acme/external") == "link_missing"
    status, _, said = doors.ask("/acme/external/master.m3u8")
    assert status == 403 and b"by a link of the site that offers it" in said


def test_tokens_by_a_key_set(doors: Doors, portal: Portal) -> None:
    keys = {name: OKPKey.generate_key("Ed25519", {"kid": name}) for name in ("one", "two")}

    def made(name: str, **more: Any) -> str:
        now = int(time.time())
        claims = {"aud": "acme/external", "sub": "4711", "iat": now, "exp": now + 60, **more}
        claims.setdefault("jti", os.urandom(8).hex())
        header = {"alg": "Ed25519", "kid": name}
        return jose.encode(header, claims, keys[name], algorithms=["Ed25519"])

    doors.verifier("acme", kind="jwks", url=portal.url("/keys"), secret="")
    # A site that has no such key lets nobody in, and neither does one that is not there.
    assert doors.kind("acme/external", token=made("one")) == "link"
    portal.keys = [keys["one"].as_dict(private=False)]
    doors.drop("acme")
    doors.verifier("acme", "next", kind="jwks", url=portal.url("/others"), secret="")
    assert {doors.kind("acme/external", token=made("one")) for _ in range(8)} == {"open"}
    assert doors.kind("acme/external", token=made("two")) == "link"
    asked = [path for path, _, _ in portal.asked if path == "/others"]
    # Once for each worker, and not more often for a name that a stranger makes up.
    assert 1 <= len(asked) <= 2
    doors.drop("acme", "next")
    gone = Portal()
    gone.shutdown()
    gone.server_close()
    doors.verifier("acme", "gone", kind="jwks", url=portal.url("/x").replace("http:", "https:"))
    assert doors.kind("acme/external", token=made("one")) == "later"


def test_the_site_is_asked(doors: Doors, portal: Portal) -> None:
    secret = doors.verifier("acme", kind="question", url=portal.url("/may?from=pystream"))
    portal.verdict = {"allow": True, "viewer": "4711", "expires_in": 900, "max_devices": 1}
    status, visit = doors.enter("acme/external", token="of the site's own")
    assert status == 200 and doors.standing(visit) == "open"
    assert abs(visit["expires"] - time.time() - 900) < 60
    path, headers, body = portal.asked[0]
    assert path == "/may?from=pystream"
    assert json.loads(body) == {
        "tenant": "acme",
        "stream": "external",
        "token": "of the site's own",
    }
    assert headers["webhook-signature"].startswith("v1,")
    # The same viewer with another token is one device too many.
    assert doors.kind("acme/external", token="another") == "devices"
    portal.verdict = {"allow": False}
    assert doors.kind("acme/external", token="unknown") == "link"
    portal.verdict = {"allow": True, "viewer": "somebody@example.org"}
    assert doors.kind("acme/external", token="a mail address") == "later"
    portal.verdict = None
    assert doors.kind("acme/external", token="while it fails") == "later"
    assert secret not in doors.node.said() and "of the site's own" not in doors.node.said()
    bearer = "a-token-of-ours"
    doors.drop("acme")
    doors.verifier("acme", kind="question", url=portal.url("/b"), secret=bearer, bearer=True)
    portal.verdict = {"allow": True}
    assert doors.kind("acme/external", token="x") == "open"
    assert portal.asked[-1][1]["authorization"] == f"Bearer {bearer}"
    assert "webhook-signature" not in portal.asked[-1][1]


def test_strangers_shut_nobody_out(doors: Doors, portal: Portal) -> None:
    """Without any credential: tokens that nobody gave out, and links that nobody signed."""
    doors.verifier("acme", kind="question", url=portal.url("/may"))

    def kinds(place: str, network: str, shown: list[dict[str, str]]) -> Counter[str]:
        come = partial(doors.kind, place, {"X-Forwarded-For": f"{network}.7"})
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(lambda each: come(**each), shown))

    for status in (401, 403, 404):
        portal.strangers = status
        theirs = [{"token": f"stranger {status} {n}"} for n in range(8)]
        assert kinds("acme/external", "192.0.2", theirs) == {"link": 8}
    ours = [{"token": f"ours {n}"} for n in range(8)]
    assert kinds("acme/external", "198.51.100", ours) == {"open": 8}
    # One network asks the site so often, and is not heard then; what is right costs no try.
    portal.asked.clear()
    theirs = [{"token": f"stranger {n}"} for n in range(120)]
    found = kinds("acme/external", "192.0.2", theirs)
    assert found.keys() == {"link", "tries"} and found["tries"] > 10
    assert len(portal.asked) == found["link"]
    ours = [{"token": f"ours as well {n}"} for n in range(130)]
    assert kinds("acme/external", "198.51.100", ours) == {"open": 130}
    # Whoever makes up links is told so, and beside them those that are signed are good.
    secret = doors.verifier("acme/signed", "own", kind="link")
    forged = [{"link": link("00" * 32, key="own", seconds=HOUR + n)} for n in range(130)]
    assert kinds("acme/signed", "192.0.2", forged)["tries"] > 5
    signed = [{"link": link(secret, key="own", seconds=HOUR + n)} for n in range(8)]
    over = [{"link": link(secret, key="own", seconds=-HOUR)}]
    assert kinds("acme/signed", "192.0.2", signed + over) == {"open": 8, "link_over": 1}


def test_a_private_address_is_not_asked(tmp_path: Path, portal: Portal) -> None:
    with node_in(tmp_path) as node:
        node.settings("workers = 1", f"{BUSY}\n[outgoing]\nports = [{portal.server_port}]\n")
        doors = Doors(node)
        node.start()
        node.hear("READY=1")
        doors.verifier("acme", kind="question", url=portal.url("/may"))
        assert doors.kind("acme/external", token="x") == "later"
        assert portal.asked == []
        (event,) = node.events("site-unavailable")
        assert event["stream"] == "acme/external" and "no public address" in str(event)


# Conditions


def test_conditions_are_asked_of_everybody(door: Doors) -> None:
    """Of an open stream as of one with a password, before anything else is."""
    password = door.issue("acme/course")
    now = int(time.time())
    for place, shown in (("acme/open", {}), ("acme/course", {"password": password})):

        def kind(place: str = place, shown: Any = shown, **headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return door.kind(place, named, **shown)

        assert kind() == "open"
        door.set(place, opens_at=now + HOUR)
        until(lambda kind=kind: kind() == "early")  # type: ignore[misc]
        status, said = door.post(place, shown)
        assert status == 403 and said["opens_at"] == now + HOUR
        door.set(place, opens_at=None, closes_at=now - 1)
        until(lambda kind=kind: kind() == "late")  # type: ignore[misc]
        door.set(place, closes_at=None, networks=("192.0.2.0/24", "2001:db8::/32"))
        until(lambda kind=kind: kind() == "network")  # type: ignore[misc]
        assert kind(X_Forwarded_For="192.0.2.7") == "open"
        assert kind(X_Forwarded_For="2001:db8::7") == "open"
        assert kind(X_Forwarded_For="192.0.3.7") == "network"
        door.set(place, networks=(), countries=("DE",))
        until(lambda kind=kind: kind() == "country")  # type: ignore[misc]
        assert kind(X_Forwarded_For="192.0.2.7") == "open"
        assert kind(X_Forwarded_For="198.51.100.7") == "country"
        door.set(place, countries=(), countries_denied=("AT",), allow_unknown_country=True)
        until(lambda kind=kind: kind() == "open")  # type: ignore[misc]
        assert kind(X_Forwarded_For="198.51.100.7") == "country"
        said_to_window = door.ask(
            "/acme/open/master.m3u8", Accept="text/html", **{"Accept-Language": "de"}
        )
        assert said_to_window[0] == 302


def test_a_grant_ends_when_its_stream_closes(door: Doors) -> None:
    password = door.issue("acme/course")
    closes = int(time.time()) + 1800
    for place in ("acme/open", "acme/course"):
        door.set(place, closes_at=closes)
    for place, shown in (("acme/open", {}), ("acme/course", {"password": password})):

        def ends(place: str = place, shown: Any = shown) -> int:
            return int(door.post(place, shown)[1]["expires"])

        until(lambda ends=ends: ends() <= closes)  # type: ignore[misc]
    # A closing that is set, or moved forward, ends what plays.
    _, visit = door.post("acme/course", {"password": password})
    _, freely = door.post("acme/open", {})
    assert (door.standing(visit), door.standing(freely)) == ("open", "open")
    for place in ("acme/open", "acme/course"):
        door.set(place, closes_at=int(time.time()) - 1)
    until(lambda: door.standing(visit) == "late" and door.standing(freely) == "late")
    door.set("acme/course", closes_at=None)
    until(lambda: door.standing(visit) == "open")


def test_a_locked_stream_is_shown_on_its_sites_only(door: Doors) -> None:
    site, player = "https://www.example.org", "https://player.example.org"
    door.set("acme/open", embed_lock=True, embed_origins=(site,), origins=(player,))
    until(lambda: door.kind("acme/open") == "site")
    ours = f"http://127.0.0.1:{door.node.port}"
    # Our page in a frame of the site says so; a player of the site's own has an origin.
    assert door.kind("acme/open", {"Origin": ours}, site=site) == "open"
    assert door.kind("acme/open", {"Origin": player}) == "open"
    assert door.kind("acme/open", {"Referer": f"{site}/page?x"}) == "open"
    for wrong in ("https://example.org", "https://www.example.org.evil.example", "null", ""):
        assert door.kind("acme/open", {"Origin": ours}, site=wrong) == "site"
        assert door.kind("acme/open", {"Origin": wrong or "x"}) == "site"
    assert door.kind("acme/open", {"Origin": "https://evil.example"}, site=site) == "site"
    # With no site named: on its own page, in no frame.
    door.set("acme/open", embed_origins=(), origins=())
    until(lambda: {door.kind("acme/open", {"Origin": ours}) for _ in range(8)} == {"open"})
    assert door.kind("acme/open", {"Origin": ours}, site=site) == "site"
    assert door.kind("acme/open", {"Origin": site}) == "site"
    assert door.kind("acme/open", {"Origin": "null"}) == "site"


def test_a_page_that_lets_in_nobody_asks_for_no_password(door: Doors) -> None:
    def page(**fields: str) -> tuple[int, bytes]:
        status, _, body = door.ask("/acme/course/", Accept="text/html", **fields)
        assert (b'id="entry"' in body) is (status == 200)
        return status, body

    alone, framed = {"Sec-Fetch-Dest": "document"}, {"Sec-Fetch-Dest": "iframe"}
    assert page(**alone)[0] == 200
    door.set("acme/course", embed_lock=True, embed_origins=("https://www.example.org",))
    until(lambda: page(**alone)[0] == 403)
    assert b"on the site that offers it only" in page(**alone)[1]
    # In a frame, its policy keeps other sites from showing it; some browsers say nothing.
    assert page(**framed)[0] == page()[0] == 200
    assert page(**framed, Referer="https://www.example.org/")[0] == 200
    # The browser would show nothing of it, and say nothing of why.
    for wrong in ("https://evil.example/", "http://www.example.org/"):
        status, fields, body = door.ask(
            "/acme/course/", Accept="text/html", Referer=wrong, **framed
        )
        assert status == 403 and b"on the site that offers it only" in body
        assert fields["content-security-policy"].endswith("frame-ancestors *")
        assert b"<a " not in body and b"<form" not in body
    # With no site named, the page is where it is shown.
    door.set("acme/course", embed_origins=())
    until(lambda: page(**alone)[0] == 200)
    door.set("acme/course", closes_at=int(time.time()) - 1)
    until(lambda: page(**framed)[0] == 403)
    assert b"cannot be watched any more" in page()[1]


def test_a_page_finds_out_that_it_lets_in_nobody(door: Doors, chromium: Chromium) -> None:
    """Before a film opens, and where a browser does not say that the page is in no frame."""
    place = "acme/course"
    page = chromium.page(locale="en-US")
    unsaid = """
        await page.route(values.address, async (route) => {
          const headers = { ...route.request().headers() };
          delete headers["sec-fetch-dest"];
          await route.fulfill({ response: await route.fetch({ headers }) });
        });
    """
    page.run(unsaid, address=address(door, place))

    def shown(html: bytes) -> bool:
        return html in door.ask(f"/{place}/", Accept="text/html")[2]

    def says(text: str) -> None:
        page.until(f"document.getElementById('trouble-text').textContent.includes('{text}')")
        assert page.js(ASKS) is False

    door.set(place, embed_lock=True, embed_origins=("https://www.example.org",))
    until(lambda: {shown(b" data-framed") for _ in range(8)} == {True})
    page.goto(address(door, place))
    says("on the site that offers it only")
    door.set(place, embed_lock=False, opens_at=int(time.time()) + 3600)
    until(lambda: {shown(b" data-opens=") for _ in range(8)} == {True})
    page.goto(address(door, place))
    says("This film opens on")
    page.click("#again")
    says("This film opens on")
    door.set(place, opens_at=None)
    until(lambda: {shown(b" data-opens=") for _ in range(8)} == {False})
    page.click("#again")
    page.until(ASKS)
    assert page.seen("refused") == []
    page.close()


def test_conditions_of_a_link_come_on_top(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="link")
    conditions = Conditions(networks=("192.0.2.0/24",), countries=("AT", "DE"))
    made = link(secret, conditions=conditions)
    assert doors.kind("acme/signed", link=made) == "network"
    assert doors.kind("acme/signed", {"X-Forwarded-For": "192.0.2.7"}, link=made) == "open"
    at = link(secret, conditions=Conditions(countries=("AT",)))
    assert doors.kind("acme/signed", {"X-Forwarded-For": "192.0.2.7"}, link=at) == "country"
    assert doors.kind("acme/signed", {"X-Forwarded-For": "198.51.100.7"}, link=at) == "open"


# The page


def test_the_page_opens_with_a_link(doors: Doors, chromium: Chromium) -> None:
    secret = doors.verifier("acme", kind="link")
    page = chromium.page(locale="en-US")
    query = link(secret, viewer="4711")
    page.goto(f"{address(doors, 'acme/signed')}?{query}")
    page.until("Number(document.getElementById('seek').max) > 1")
    page.click("#start")
    page.until(PLAYS)
    page.run("await page.reload()")
    page.click("#start")
    page.until(PLAYS)
    # Nobody has anything to tell, so nobody is asked.
    assert page.js(ASKS) is False
    page.goto(f"{address(doors, 'acme/signed')}?{link(secret, seconds=-HOUR)}")
    page.until("document.getElementById('trouble-text').textContent.includes('too old')")
    assert page.seen("refused") == []
    page.close()


def test_the_page_opens_with_a_token_and_forgets_it(doors: Doors, chromium: Chromium) -> None:
    secret = doors.verifier("acme", kind="jwt")
    page = chromium.page(locale="de-DE")
    page.goto(f"{address(doors, 'acme/external')}#token={token(secret)}")
    page.until("Number(document.getElementById('seek').max) > 1")
    assert page.js("location.href") == address(doors, "acme/external")
    # Loaded again, it goes on, though the token was good for once.
    page.run("await page.reload()")
    page.click("#start")
    page.until(PLAYS)
    page.js("sessionStorage.clear()")
    page.run("await page.reload()")
    page.until("document.getElementById('trouble-text').textContent.includes('die ihn anbietet')")
    page.close()


NOTICES = ("Your <visit> is recorded.\n\nNobody knows who you are.", "Another text.")


def telling(doors: Doors, notice: str) -> None:
    """All workers know the notice then."""
    with doors.store() as store:
        store.set_tenant("acme", {"notice": notice}, who="test", now=int(time.time()))
    mark = f'data-notice="{notice_version(notice) or ""}"'
    until(lambda: everywhere(lambda: mark in doors.ask("/acme/signed/")[2].decode()))


def kept(doors: Doors) -> list[str | None]:
    """The version of the notice of each session, in the order in which they were opened."""
    with doors.store() as store:
        opened = sorted(store.viewers.sessions(0), key=lambda each: each.opened_at)
        return [each.notice for each in opened]


@pytest.mark.parametrize("way", ["signed", "external"])
def test_the_notice_comes_before_anything_is_recorded(
    doors: Doors, chromium: Chromium, way: str
) -> None:
    secret = doors.verifier("acme", kind="link" if way == "signed" else "jwt")
    telling(doors, NOTICES[0])
    page = chromium.page(viewport={"width": 390, "height": 844}, locale="en-US")
    shown = f"?{link(secret)}" if way == "signed" else f"#token={token(secret)}"
    page.goto(f"{address(doors, f'acme/{way}')}{shown}")
    page.until(ASKS)
    assert "Your <visit> is recorded." in page.js("document.querySelector('.entry').textContent")
    accessible(page)
    assert kept(doors) == [] and not any("session" in each for each in page.seen("requests"))
    # Meanwhile it is another one, which is shown before it counts; the token is not spent on that.
    telling(doors, NOTICES[1])
    page.click("#entry button")
    page.until(f"{ASKS} && document.querySelector('.notice').textContent === 'Another text.'")
    page.until("document.getElementById('entry-problem').textContent.includes('has changed')")
    accessible(page)
    assert kept(doors) == []
    page.click("#entry button")
    page.until(f"!({ASKS})")
    page.click("#start")
    page.until(PLAYS)
    assert kept(doors) == [notice_version(NOTICES[1])]
    # Once is enough: it is kept with the visit.
    page.run("await page.reload()")
    page.until("Number(document.getElementById('seek').max) > 1")
    assert page.js(ASKS) is False
    page.close()


def test_without_scripts_the_notice_stands_above_the_film(doors: Doors) -> None:
    telling(doors, NOTICES[0])
    text = doors.ask("/acme/signed/")[2].decode()
    plain = text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert plain.index("<p>Your &lt;visit&gt; is recorded.</p>") < plain.index("<video")
    # Of who comes to an open stream, nothing is recorded.
    assert "is recorded" not in doors.ask("/acme/open/")[2].decode()


def test_the_notice_that_was_shown_is_kept_and_no_other(doors: Doors) -> None:
    secret = doors.verifier("acme", kind="jwt")
    telling(doors, NOTICES[0])
    once = token(secret)
    for wrong in ("0" * 16, "", "x"):
        status, said = doors.enter("acme/external", token=once, notice=wrong)
        assert (status, said["kind"]) == (409, "notice")
        assert (said["notice"], said["notice_version"]) == (NOTICES[0], notice_version(NOTICES[0]))
    assert doors.kind("acme/external", token=once, notice=notice_version(NOTICES[0])) == "open"
    # Of who says nothing, nothing is said: a player of the site's own, that has shown what it will.
    assert doors.kind("acme/external", token=token(secret)) == "open"
    telling(doors, "")
    assert doors.kind("acme/external", token=token(secret), notice="") == "open"
    refused = doors.enter("acme/external", token=token(secret), notice="0" * 16)
    assert refused[1]["notice_version"] is None
    assert sorted(map(str, kept(doors))) == sorted(
        [str(notice_version(NOTICES[0])), "None", "None"]
    )


def test_the_page_says_when_a_film_opens(door: Doors, chromium: Chromium) -> None:
    door.set("acme/open", opens_at=2_000_000_000)
    until(lambda: door.kind("acme/open") == "early")
    page = chromium.page(locale="de-DE", timezoneId="Europe/Berlin")
    page.goto(address(door, "acme/open"))
    page.until("document.getElementById('trouble-text').textContent.includes('18. Mai 2033')")
    page.close()
