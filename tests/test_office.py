"""The office of a real node: signed in by the console, asked by the API, killed, replaced, flooded."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pystream import _core
from pystream.acl.people import Right, Role
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.server import http as wire
from pystream.server.http import HttpError
from pystream.server.office import console, line
from pystream.server.office.console.texts import ENGLISH, TEXTS
from pystream.server.office.forms import multipart
from pystream.server.office.line import longest_body
from pystream.server.office.routing import ROUTES, find
from pystream.server.office.tries import Tries
from pystream.server.office.values import Asked, Request
from tests.browser.chromium import Chromium
from tests.databases import with_tables
from tests.test_page import accessible
from tests.test_serve import SAMPLE, Node, node_in
from tests.waiting import until

FORM = "application/x-www-form-urlencoded"
PASSWORD = "correct horse of acme"


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class House:
    """A node with a tenant, its person and its token, and a browser's cookies."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.host = f"127.0.0.1:{node.port}"
        self.cookies = SimpleCookie()
        with Store.open(with_tables(str(node.folder / "pystream.db"))) as store:
            id = store.add_tenant("acme", TenantSettings(), who="test", now=0).id
            for name in ("course", "film", "talk"):
                film = StreamSettings(sources=(str(SAMPLE),), title=f"<{name}>", pace=None)
                store.add_stream("acme", name, film, who="test", now=0)
            accounts, now = Accounts(store.people), int(time.time())
            _, self.first = accounts.add(id, "eva", Role.ADMIN, who="test", now=now)
            scopes = [Right.STREAMS_READ]
            _, self.token = accounts.add_token(id, "site", scopes, None, who="test", now=now)

    def ask(self, method: str, path: str, body: bytes | str | None = None, **fields: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.cookies and path.startswith("/console"):
            pairs = (f"{name}={morsel.value}" for name, morsel in self.cookies.items())
            named["Cookie"] = "; ".join(pairs)
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=120)
        with closing(connection):
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            if "set-cookie" in headers:
                self.cookies.load(headers["set-cookie"])
            return Got(answer.status, headers, answer.read())

    def api(self, path: str, method: str = "GET", **fields: str) -> Got:
        fields.setdefault("Authorization", f"Bearer {self.token}")
        return self.ask(method, f"/api/v1{path}", **fields)

    def send(self, path: str, page: str = "", **values: str) -> Got:
        """Sends a form as a browser does, with what the page has hidden in it."""
        text = self.ask("GET", page or path).body.decode()
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text)
        body = urlencode(dict(hidden) | values)
        return self.ask("POST", path, body, Content_Type=FORM, Origin=f"http://{self.host}")

    def sign_in(self, password: str, name: str = "eva") -> Got:
        return self.send("/console/sign-in", tenant="acme", name=name, password=password, code="")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with node_in(tmp_path) as node:
        rest = "[console]\nrequests_per_minute = 1_000_000\n[limits]\nbody_seconds = 600\n"
        node.settings(rest=rest)
        made = House(node)
        node.start()
        node.hear("READY=1")
        yield made


@pytest.mark.slow
def test_what_customers_are_told_of_privacy_follows_the_settings(house: House) -> None:
    """As what viewers are told does."""

    def told() -> Any:
        return house.api("/privacy").json["document"]

    before = told()
    more = "[retention]\nsessions_days = 13\n[log]\naccess = true"
    house.node.settings(rest=f"{more}\n[outgoing]\nviewer_address = true")
    house.node.signal(signal.SIGHUP)
    house.node.hear("READY=1")
    served = json.loads(house.ask("GET", "/.well-known/pystream-privacy.json?tenant=acme").body)
    assert told() == served != before
    assert house.node.stop() == 0


@pytest.mark.slow
def test_a_person_signs_in_changes_the_password_and_signs_out(house: House) -> None:
    assert house.ask("GET", "/console/").headers["location"] == "/console/sign-in"
    wrong = house.sign_in("wrong")
    assert wrong.status == 403 and ENGLISH["sign_in_wrong"].encode() in wrong.body
    done = house.sign_in(house.first)
    assert (done.status, done.headers["location"]) == (303, "/console/")
    said = done.headers["set-cookie"]
    assert re.fullmatch(r"pystream=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", said)
    before = house.cookies["pystream"].value
    assert house.ask("GET", "/console/").headers["location"] == "/console/password"
    assert b"Somebody else has seen" in house.ask("GET", "/console/password").body
    path = "/console/password"
    for old, new, again in (
        (house.first, PASSWORD, "another"),
        ("wrong", PASSWORD, PASSWORD),
        (house.first, "short", "short"),
    ):
        refused = house.send(path, old=old, new=new, again=again)
        assert refused.status in (403, 422) and b'role="alert"' in refused.body
    done = house.send(path, old=house.first, new=PASSWORD, again=PASSWORD)
    assert done.status == 303
    start = house.ask("GET", "/console/", Accept_Language="de")
    assert start.status == 200 and b'<html lang="de">' in start.body
    assert b"&lt;course&gt;" in start.body and b"<course>" not in start.body
    failed = b"fehlgeschlagene Anmeldungen: 1"
    until(lambda: failed in house.ask("GET", "/console/audit", Accept_Language="de").body)
    out = house.send("/console/sign-out", page="/console/")
    assert (
        out.headers["location"] == "/console/sign-in" and "Max-Age=0" in out.headers["set-cookie"]
    )
    house.cookies.load(f"pystream={before}")
    assert house.ask("GET", "/console/").headers["location"] == "/console/sign-in"
    # Whatever was said of it, no password and no name was.
    log = house.node.said()
    assert house.first not in log and PASSWORD not in log and "eva" not in log


@pytest.mark.slow
def test_a_session_is_a_new_one_whoever_had_one_before(house: House) -> None:
    house.cookies.load("pystream=" + "A" * 43)
    house.sign_in(house.first)
    one = house.cookies["pystream"].value
    assert one != "A" * 43
    # Signing in anew ends what there was. The form is shown to who is signed in no more.
    body = urlencode({"tenant": "acme", "name": "eva", "password": house.first})
    house.ask("POST", "/console/sign-in", body, Content_Type=FORM, Origin=f"http://{house.host}")
    two = house.cookies["pystream"].value
    assert two != one
    house.cookies.load(f"pystream={one}")
    assert house.ask("GET", "/console/").headers["location"] == "/console/sign-in"


@pytest.mark.slow
def test_who_guesses_is_slowed_down(house: House) -> None:
    body = urlencode({"tenant": "acme", "name": "eva", "password": "wrong"})
    fields = {"Content_Type": FORM, "Origin": f"http://{house.host}"}
    seen = [house.ask("POST", "/console/sign-in", body, **fields).status for _ in range(12)]
    assert seen == [403] * 10 + [429] * 2
    late = house.sign_in(house.first)
    assert late.status == 429 and 0 < int(late.headers["retry-after"]) <= 60
    # Another name is not kept waiting.
    assert house.sign_in("wrong", "max").status == 403
    # It is one limit for all workers, and whoever has the office die gets no fresh tries.
    (before,) = house.node.processes()["office"]
    os.kill(before, signal.SIGKILL)
    until(lambda: before not in house.node.processes().get("office", {before}) and _is_back(house))
    assert house.sign_in(house.first).status == 429
    assert house.sign_in("wrong", "max").status == 403


def _is_back(house: House) -> bool:
    return house.ask("GET", "/console/sign-in").status == 200


class Clock:
    now = 1_936_699_200.0

    def __call__(self) -> float:
        return self.now


def limited(most: int, seconds: float, size: int = 4096) -> tuple[Tries, Clock]:
    clock = Clock()
    table = _core.Gcra(_core.Gcra.create(size), bytes(range(16)))
    return Tries(table, "name", most, seconds, clock), clock


def test_tries_are_limited_and_come_back() -> None:
    tries, clock = limited(3, 10.0)
    begin = clock.now
    assert [tries.take("a", begin) for _ in range(3)] == [0, 0, 0]
    assert tries.take("a", begin) == 10 and tries.take(("b", b"\n"), begin) == 0
    assert tries.take("a", begin + 9) == 1
    clock.now = begin + 10
    assert tries.take("a", clock.now) == 0 and tries.take("a", clock.now) == 10
    tries.give_back("a")
    assert tries.take("a", clock.now) == 0
    tries.give_back("nobody")


def test_tries_of_two_kinds_and_of_two_offices() -> None:
    """What is of another kind has another account; what is of another office has the same."""
    fd = _core.Gcra.create(4096)
    other = os.dup(fd)
    secret, clock = bytes(16), Clock()
    one, two = (Tries(_core.Gcra(each, secret), "name", 1, 60.0, clock) for each in (fd, other))
    assert one.take("a", clock.now) == 0 and two.take("a", clock.now) == 60
    again = os.dup(fd)
    assert Tries(_core.Gcra(again, secret), "network", 1, 60.0, clock).take("a", clock.now) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_never_more_tries_than_there_are(steps: list[tuple[int, bool]]) -> None:
    """Of tries that failed, in any stretch of time there are at most those at once, and one more for
    each interval."""
    tries, clock = limited(4, 10.0)
    taken = list[float]()
    for wait, right in steps:
        clock.now += wait
        if not tries.take("a", clock.now):
            if right:
                tries.give_back("a")
            else:
                taken.append(clock.now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[last] - taken[first]
            assert last - first + 1 <= 4 + span / 10.0 + 1e-6


@pytest.mark.slow
def test_the_api_lists_streams_page_by_page(house: House) -> None:
    first = house.api("/streams?limit=2")
    assert first.status == 200 and first.headers["content-type"] == "application/json"
    assert [each["name"] for each in first.json["items"]] == ["course", "film"]
    rest = house.api(f"/streams?limit=2&cursor={first.json['next']}")
    assert [each["name"] for each in rest.json["items"]] == ["talk"] and rest.json["next"] is None
    one = house.api("/streams/film")
    assert one.json == first.json["items"][1] and one.json["title"] == "<film>"
    assert str(SAMPLE) not in str(one.json)
    head = house.api("/streams/film", "HEAD")
    assert head.status == 200 and head.body == b""
    assert head.headers["content-length"] == str(len(one.body))
    for path, method, status, fields in (
        ("/streams/none", "GET", 404, {}),
        ("/none", "GET", 404, {}),
        ("/streams?limit=0", "GET", 400, {}),
        ("/streams?limit=1001", "GET", 400, {}),
        ("/streams?limit=x", "GET", 400, {}),
        ("/streams?filter=a", "GET", 400, {}),
        ("/streams?cursor=a&cursor=b", "GET", 400, {}),
        ("/streams", "DELETE", 405, {}),
        ("/streams", "GET", 401, {"Authorization": ""}),
        ("/streams", "GET", 401, {"Authorization": f"Basic {house.token}"}),
        ("/streams", "GET", 401, {"Authorization": f"Bearer {house.token}x"}),
        ("/streams", "GET", 403, {"Host": "video.example.org"}),
    ):
        problem = house.api(path, method, **fields)
        assert problem.status == status, path
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.json["status"] == status and problem.json["title"]
        assert ("www-authenticate" in problem.headers) == (status == 401)
    with Store.open(str(house.node.folder / "pystream.db")) as store:
        tenant = store.tenant("acme").id
        store.people.revoke_token(tenant, "site", who="test", now=0)
    assert house.api("/streams").status == 401


@pytest.mark.slow
def test_films_go_on_while_the_office_is_away_and_it_comes_back(house: House) -> None:
    assert house.api("/streams").status == 200
    (before,) = house.node.processes()["office"]
    os.kill(before, signal.SIGSTOP)
    asked: list[Got] = []
    waiting = threading.Thread(target=lambda: asked.append(house.api("/streams")))
    waiting.start()
    # Nobody has greeted the one that waits; films are served meanwhile.
    assert house.node.get("/acme/film/master.m3u8")[0] == 302
    os.kill(before, signal.SIGKILL)
    waiting.join()
    # It was asked when nobody was there, so the successor answers; else it is told to come again.
    assert asked[0].status == 200 or asked[0].headers["retry-after"] == "2"
    until(lambda: house.node.processes().get("office", set()) - {before})
    until(lambda: house.api("/streams").status == 200)
    assert house.node.events("process-ended")[0]["process"] == "office"


@pytest.mark.slow
def test_an_office_that_does_not_come_is_told(house: House) -> None:
    (before,) = house.node.processes()["office"]
    os.kill(before, signal.SIGSTOP)
    try:
        away = house.api("/streams")
    finally:
        os.kill(before, signal.SIGCONT)
    assert away.status == 503 and away.headers["retry-after"] == "2"
    assert away.headers["content-type"] == "application/problem+json"
    until(lambda: house.api("/streams").status == 200)


@pytest.mark.slow
def test_a_reload_and_a_new_program_lose_no_request(house: House) -> None:
    house.node.signal(signal.SIGHUP)
    house.node.hear("READY=1")
    stop, seen = threading.Event(), list[int]()

    def ask() -> None:
        while not stop.is_set():
            seen.append(house.api("/streams").status)

    asking = threading.Thread(target=ask)
    asking.start()
    (before,) = house.node.processes()["office"]
    house.node.signal(signal.SIGUSR2)
    house.node.hear("READY=1")
    until(lambda: before not in house.node.processes().get("office", set()))
    stop.set()
    asking.join()
    assert set(seen) == {200}
    assert house.node.stop() == 0


@pytest.mark.slow
def test_the_settings_say_whether_and_under_which_names(tmp_path: Path) -> None:
    with node_in(tmp_path) as node:
        house = House(node)
        node.settings(rest='[console]\nhosts = ["Localhost"]\n')
        node.start()
        node.hear("READY=1")
        for host, status in (
            (f"localhost:{node.port}", 200),
            ("127.0.0.1", 404),
            ("evil.org", 404),
        ):
            assert house.api("/streams", Host=host).status == status
            assert house.ask("GET", "/console/sign-in", Host=host).status == status
        assert node.stop() == 0
        node.settings("path_prefix = '/video'\n", "[console]\nhosts = []\n")
        node.start()
        node.hear("READY=1")
        assert house.ask("GET", "/video/console/").headers["location"] == "/video/console/sign-in"
        assert b'action="/video/console/sign-in"' in house.ask("GET", "/video/console/sign-in").body
        assert node.stop() == 0
        node.settings(rest="[console]\nenabled = false\n")
        node.start()
        node.hear("READY=1")
        assert "office" not in node.processes()
        assert house.api("/streams").status == 404
        assert house.ask("GET", "/console/").status == 404
        assert node.stop() == 0


@pytest.mark.slow
def test_a_foreign_user_is_not_listened_to(house: House) -> None:
    """Anybody finds the socket's name; who says nothing, or nonsense, costs the office nothing."""
    names = re.findall(r"@(pystream-office-\w+)", Path("/proc/net/unix").read_text())
    for name in set(names):
        for said in (b"", b"\xff" * 64, b"\0\0\0\x03\xc0\xc0\xc0"):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(f"\0{name}")
                one.sendall(said)
    assert house.api("/streams").status == 200


# What may be long


def test_bodies_are_as_long_as_their_route_has_it() -> None:
    there = {(route.method, route.path) for route in ROUTES}
    assert line._LONG_BODIES.keys() <= there and line.LONGEST_BODY == 8 << 20
    assert longest_body("POST", "/console/sign-in") == 65_536
    assert longest_body("POST", "/console/passwords/import") == 8 << 20
    assert longest_body("POST", "/acme/film/session") == 0
    # What is spelled out is another resource than what is in braces, by whatever method.
    assert longest_body("DELETE", "/api/v1/passwords/import") == 65_536


def test_a_worker_has_nothing_of_the_office_but_its_line() -> None:
    """Or each would start later, and be larger."""
    code = "import sys, pystream.server.worker; print(*(name for name in sys.modules if '.office.' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert loaded == {"line", "values", "forms", "once", "problems", "quotas", "tries"}


def test_a_worker_loads_nothing_for_another_database_for_countries_and_for_signatures() -> None:
    """On SQLite, without a database of countries: each would take some hundredths of its start."""
    code = "import sys, pystream.server.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unwanted = {"sqlalchemy.dialects.postgresql", "maxminddb", "Crypto.PublicKey.ECC"}
    assert not unwanted & set(done.stdout.split())


def post(path: str, length: int, body: bytes = b"") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def test_a_long_body_is_for_its_path_alone_and_few_at_a_time() -> None:
    def most(method: str, path: str) -> int:
        return 1000 if (method, path) == ("POST", "/long") else 0

    limits = wire.Limits(body=10, long_bodies=wire.LongBodies(most, 2))
    for path, length, status in (
        ("/long", 1000, None),
        ("/long", 1001, 413),
        ("/short", 10, None),
        ("/short", 11, 413),
    ):
        protocol = wire.Protocol(limits)
        if status is None:
            (request,) = protocol.feed(post(path, length, b"x" * length))
            assert request.body == b"x" * length
        else:
            with pytest.raises(HttpError) as refused:
                protocol.feed(post(path, length))
            assert refused.value.status == status
    # On one connection, too: what is allowed is not the last request's.
    protocol = wire.Protocol(limits)
    protocol.feed(post("/long", 11, b"x" * 11))
    with pytest.raises(HttpError):
        protocol.feed(post("/short", 11, b"x" * 11))
    chunked = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    (request,) = wire.Protocol(limits).feed(
        chunked % b"/long" + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"
    )
    assert len(request.body) == 1000
    for where, size in ((b"/long", b"3e9"), (b"/short", b"b")):
        with pytest.raises(HttpError, match="413"):
            wire.Protocol(limits).feed(chunked % where + size + b"\r\n")


def test_few_long_bodies_are_read_at_a_time() -> None:
    limits = wire.Limits(body=10, long_bodies=wire.LongBodies(lambda method, path: 1000, 2))
    one, two, three = (wire.Protocol(limits) for _ in range(3))
    assert one.feed(post("/long", 500, b"x")) == two.feed(post("/long", 500, b"x")) == []
    with pytest.raises(HttpError, match="503: too many long bodies"):
        three.feed(post("/long", 500))
    # Short ones are not among them.
    assert len(wire.Protocol(limits).feed(post("/long", 5, b"x" * 5))) == 1
    # One is read, and of one the connection has ended.
    assert len(one.feed(b"x" * 499)) == 1
    del two
    fresh = [wire.Protocol(limits) for _ in range(2)]
    assert [each.feed(post("/long", 500)) for each in fresh] == [[], []]


def test_the_slowest_body_gives_way() -> None:
    """Who trickles keeps nobody out, who sends as fast as others does."""
    clock = Clock()
    longer = wire.LongBodies(lambda method, path: 10_000, 2, least=100, clock=clock)
    limits = wire.Limits(body=10, long_bodies=longer)
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf00\r\n"

    def begun(head: bytes = b"") -> wire.Protocol:
        made = wire.Protocol(limits)
        assert made.feed(head or post("/", 9000)) == []
        return made

    slow, slower = begun(), begun(chunked)
    clock.now += 1
    # They have only begun.
    with pytest.raises(HttpError, match="503: too many"):
        begun()
    slow.feed(b"x" * 20)
    slower.feed(b"x" * 19)
    clock.now += 1
    third = begun()
    with pytest.raises(HttpError, match="408"):
        slower.feed(b"x")
    fast = b"x" * 500
    slow.feed(fast)
    third.feed(fast)
    clock.now += 2
    # Both have a hundred bytes a second.
    with pytest.raises(HttpError, match="503: too many"):
        begun()
    clock.now += 2
    (request,) = slow.feed(b"x" * 8480)
    assert len(request.body) == 9000
    fourth = begun()
    clock.now += 5
    fourth.feed(fast)
    fifth = begun()
    with pytest.raises(HttpError, match="408"):
        third.feed(fast)
    assert fourth.feed(fast) == fifth.feed(fast) == []


@pytest.mark.slow
def test_who_trickles_blocks_no_import(house: House) -> None:
    """Of a real worker: as many as there are places, and then somebody with a list."""
    path = "/api/v1/passwords/import?streams=course"
    head = f"POST {path} HTTP/1.1\r\nHost: {house.host}\r\nContent-Length: 1000000\r\n\r\n"
    peers = [socket.create_connection(("127.0.0.1", house.node.port), 60) for _ in range(32)]
    try:
        for peer in peers:
            peer.sendall(head.encode())
        body = b"password\r\n" + b"".join(b"x%07d-Q2M9-XD4R\r\n" % n for n in range(10_000))

        def taken() -> bool:
            fields = {"Authorization": f"Bearer {house.token}", "Content_Type": "text/csv"}
            with suppress(OSError):
                # The token may not do that: so says the office, and no worker.
                return house.ask("POST", path, body, **fields).status == 403
            return False

        until(taken)
    finally:
        for peer in peers:
            peer.close()


# Forms

BOUNDARY = "----a1"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n%'), min_size=1, max_size=20)
DATA = st.binary(max_size=200).filter(lambda data: BOUNDARY.encode() not in data)


def written(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    """As a browser writes a form."""
    out = b""
    for name, file, data in parts:
        named = "" if file is None else f'; filename="{file}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'
        kind = "" if file is None else "Content-Type: text/csv\r\n"
        out += head.encode() + kind.encode() + b"\r\n" + data + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


@given(st.lists(st.tuples(NAMES, NAMES, DATA), max_size=5, unique_by=lambda part: part[0]))
def test_a_form_comes_out_as_it_went_in(parts: list[tuple[str, str, bytes]]) -> None:
    fields, files = multipart(KIND, written([*parts, ("plain", None, "ä".encode())]))
    assert fields["plain"] == "ä"
    assert {name: tuple(file) for name, file in files.items()} == {
        name: (file, data) for name, file, data in parts
    }


@given(st.binary(max_size=300) | st.builds(bytes.__add__, st.binary(), st.just(written([]))))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    for kind in (KIND, "multipart/form-data", "multipart/form-data; boundary="):
        try:
            multipart(kind, body)
        except HttpError as error:
            assert error.status == 400


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_a_form_that_was_cut_is_refused(cut: int) -> None:
    whole = written([("list", "a.csv", b"one\r\ntwo\r\n"), ("csrf", None, b"x")])
    with pytest.raises(HttpError):
        multipart(KIND, whole[:cut])


def test_a_field_that_comes_twice_is_refused() -> None:
    with pytest.raises(HttpError, match="twice"):
        multipart(KIND, written([("a", None, b"1"), ("a", "f", b"2")]))
    for query in ("a=1&a=2", "a=1&a=1"):
        with pytest.raises(HttpError, match="twice"):
            asked("GET", "/", query).query  # noqa: B018


# Values


def asked(method: str, path: str, query: str = "", **fields: str) -> Request:
    made = Asked(method, path, query, fields, b"", True, False, b"", "")
    return Request(made, {})


@given(st.text())
def test_any_cookie_is_read_or_none(text: str) -> None:
    found = asked("GET", "/", cookie=text).cookie("pystream")
    assert found is None or isinstance(found, str)


@given(st.lists(st.text().filter(lambda text: ";" not in text and "pystream" not in text)))
@example(['prefs={"a":1,"b":[2]}'])
@example(["x=a b", "novalue", "a[b]=1", "x=\u00fc", "="])
def test_cookies_of_others_hide_no_session(others: list[str]) -> None:
    for at in range(len(others) + 1):
        sent = "; ".join([*others[:at], "__Host-pystream=abc_-9", *others[at:]])
        assert asked("GET", "/", cookie=sent).cookie("__Host-pystream") == "abc_-9"


@given(st.text(alphabet="/abc-{}.%"), st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]))
def test_any_path_is_a_routes_or_refused(path: str, method: str) -> None:
    try:
        route, place = find(method, path)
    except HttpError as error:
        assert error.status in (404, 405)
    else:
        assert route.method == ("GET" if method == "HEAD" else method) and all(place.values())


def test_a_cookie_over_https_is_this_hosts_alone() -> None:
    request = asked("GET", "/console/", host="video.example.org")
    name, value = console.begin_session(request, bytes(32))
    assert name == "Set-Cookie"
    assert re.fullmatch(r"__Host-pystream=A{43}; Path=/; HttpOnly; SameSite=Strict; Secure", value)


def test_all_languages_have_the_same_sentences() -> None:
    keys = [list(texts) for texts in TEXTS.values()]
    assert all(each == keys[0] for each in keys)
    assert all(value for texts in TEXTS.values() for value in texts.values())


# A browser


SIGN_IN = """
await page.fill("#tenant", "acme");
await page.fill("#name", "eva");
await page.fill("#password", values.password);
await page.click("main button");
await page.waitForURL(values.then);
"""
CHANGE = """
await page.fill("#old", values.old);
await page.fill("#new", values.password);
await page.fill("#again", values.password);
await page.click("main button");
await page.waitForURL(values.then);
"""


@pytest.mark.slow
def test_a_browser_signs_in_and_finds_it_accessible(house: House, chromium: Chromium) -> None:
    """Light and dark, English and German; the policy refuses nothing, and nothing is an error."""
    root, password = f"http://{house.host}/console/", house.first
    contexts: tuple[dict[str, Any], ...] = ({}, {"colorScheme": "dark", "locale": "de-DE"})
    for context in contexts:
        page = chromium.page(viewport={"width": 390, "height": 844}, **context)
        page.goto(root)
        accessible(page)
        then = f"{root}password" if password == house.first else root
        page.run(SIGN_IN, password=password, then=then)
        if then != root:
            accessible(page)
            page.run(CHANGE, old=password, password=PASSWORD, then=root)
            password = PASSWORD
        accessible(page)
        assert page.js("document.querySelectorAll('main .films > li').length") == 3
        assert page.js("document.documentElement.lang") == ("de" if context else "en")
        # No script reads the cookie.
        assert page.js("document.cookie") == ""
        page.run(
            'await page.click("form[action$=sign-out] button"); await page.waitForURL(values.then)',
            then=f"{root}sign-in",
        )
        assert page.seen("refused") == [] and page.seen("errors") == []
        page.close()
