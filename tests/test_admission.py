"""Coming in with a password: a real node, its workers and its writer, as viewers meet them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import sqlalchemy
from pypdfium2 import PdfDocument

from pystream import _core
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.leaving import Leaving
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.traffic import Kind
from pystream.acl.viewers import notice_version
from pystream.attendance import purpose
from pystream.server.gauges import Board
from pystream.server.http import PHRASES
from pystream.server.keys import open_key_store
from pystream.server.office import embedding
from pystream.server.settings import load
from tests import program
from tests.browser.chromium import Chromium, Page
from tests.databases import with_tables
from tests.test_mp4 import sparse
from tests.test_page import Site, accessible, site
from tests.test_serve import BUSY, SAMPLE, Node, node_in
from tests.waiting import PATIENCE, everywhere, open_files, state, until

pytestmark = pytest.mark.slow

__all__ = ["site"]

JSON = "application/json"


class House:
    """A node with streams of each kind, and what an operator can do to it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.settings = load(str(node.folder / "pystream.toml"), {})
        self._times = count(1)
        self.furnish()

    def furnish(self) -> None:
        with self.store() as store:
            for tenant in ("acme", "other"):
                store.add_tenant(tenant, TenantSettings(), who="test", now=0)
            for name, more in (
                ("course", {"access": "personal"}),
                ("one", {"access": "personal", "max_devices": 1}),
                ("kick", {"access": "personal", "max_devices": 1, "device_mode": "kick_oldest"}),
                ("shared", {"access": "shared"}),
                ("open", {}),
            ):
                self.add_stream(store, "acme", name, **more)
            self.add_stream(store, "other", "course", access="personal")

    def renew(self) -> None:
        """As it was at first, for the next test: tenants and streams of these names have other numbers, under
        which nothing is known of them, and the log is empty."""
        if self.node.process.poll() is not None:
            self.node.start()
            self.node.hear("READY=1")
        with self.store() as store, self.keys() as keys:
            for tenant in store.tenants():
                by: Any = {"who": "test", "now": int(time.time())}
                Leaving(store, keys).delete(tenant.name, force=True, **by)
        self.furnish()
        name = f"time-{next(self._times)}"
        with self.store() as store:
            store.add_tenant(name, TenantSettings(), who="test", now=0)
            self.add_stream(store, name, "last")
        # Who knows of the last one knows of all.
        last = f"/{name}/last/master.m3u8"
        until(lambda: everywhere(lambda: self.ask(last)[0] == 302))
        os.truncate(self.node.log, 0)

    @staticmethod
    def add_stream(store: Store, tenant: str, name: str, **more: Any) -> None:
        film = StreamSettings(
            sources=(str(SAMPLE),), encryption="aes-128", segment_duration_ms=1000, pace=None
        )
        settings = StreamSettings(**{**{n: getattr(film, n) for n in film.__slots__}, **more})
        store.add_stream(tenant, name, settings, who="test", now=0)

    @contextmanager
    def store(self) -> Iterator[Store]:
        with Store.open(with_tables(self.settings.store.url)) as store:
            yield store

    def issue(self, *places: str, text: str = "", shared: bool = False, **settings: Any) -> str:
        text = text or generate()
        self.issue_all([text], *places, shared=shared, **settings)
        return text

    def issue_all(
        self, texts: Sequence[str], *places: str, shared: bool = False, **settings: Any
    ) -> None:
        with self.store() as store, self.keys() as keys:
            streams = [store.stream(*place.split("/")) for place in places]
            Issuer(store.viewers, keys).add(
                streams[0].tenant_id,
                [stream.id for stream in streams],
                [(text, PasswordSettings(**settings)) for text in texts],
                who="test",
                now=int(time.time()),
                shared=shared,
            )

    def keys(self) -> Any:
        return open_key_store(self.settings.keys, {}, migrate=False)

    def revoke(self, tenant: str, text: str) -> None:
        with self.store() as store, self.keys() as keys:
            id = store.tenant(tenant).id
            found = Issuer(store.viewers, keys).find(id, text)
            assert found is not None
            store.viewers.revoke(id, [found.id], who="test", now=int(time.time()))

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, kind: str = JSON, **more: str
    ) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=60)) as one:
            fields = {"Content-Type": kind} if body is not None else {}
            one.request(method, path, body, fields | more)
            answer = one.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()

    def sign_in(self, place: str, text: str, **more: str) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"password": text, **more})
        status, headers, data = self.ask(f"/{place}/session", "POST", body)
        if status != 200:
            assert headers["content-type"] == "application/problem+json"
        return status, json.loads(data)

    def let_in(self, place: str, text: str, **more: str) -> dict[str, Any]:
        status, visit = self.sign_in(place, text, **more)
        assert status == 200, visit
        return visit

    def refused(self, place: str, text: str) -> str:
        status, problem = self.sign_in(place, text)
        assert status != 200 and problem["status"] == status
        # RFC 9457 4.2.1: without a type of its own, the title is the status's phrase.
        assert problem["title"] == PHRASES[status] and problem["detail"]
        return str(problem["kind"])

    def standing(self, visit: dict[str, Any]) -> str:
        """`open`, or what the viewer is told."""
        status, headers, data = self.ask(visit["master"])
        if status == 200:
            return "open"
        assert status == 403 and headers["content-type"] == "application/problem+json", data
        return str(json.loads(data)["kind"])


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from house_of(tmp_path_factory.mktemp("house"), BUSY)


@pytest.fixture
def house(standing: House) -> House:
    standing.renew()
    return standing


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """For one test alone, that leaves it as no other finds it."""
    yield from house_of(tmp_path, BUSY)


@pytest.fixture
def either(tmp_path: Path, url: str) -> Iterator[House]:
    """On each of the databases, which order what happens at a time in ways of their own."""
    yield from house_of(tmp_path, f'{BUSY}[store]\nurl = "{url}"\n')


def house_of(folder: Path, settings: str) -> Iterator[House]:
    with node_in(folder) as node:
        node.settings("workers = 2", settings)
        made = House(node)
        node.start()
        node.hear("READY=1")
        yield made


def test_who_types_a_password_watches(house: House) -> None:
    text = house.issue("acme/course", "acme/shared")
    for typed in (text, text.lower().replace("-", ""), f"  {text.replace('-', ' ')}"):
        visit = house.let_in("acme/course", typed)
        folder = visit["master"].rpartition("/")[0]
        assert folder == f"/t/{visit['grant']}/acme/course"
        lines = house.ask(visit["master"])[2].decode().splitlines()
        playlist = f"{folder}/{lines[-1]}"
        lines = house.ask(playlist)[2].decode().splitlines()
        key = next(line for line in lines if line.startswith("#EXT-X-KEY")).split('"')[1]
        beside = playlist.rpartition("/")[0]
        assert len(house.ask(f"{beside}/{key}")[2]) == 16
        assert house.ask(f"{beside}/{lines[-2]}")[0] == 200
    status, _, data = house.ask(
        "/acme/course/session", "POST", f"password={text}", "application/x-www-form-urlencoded"
    )
    assert status == 200 and json.loads(data)["grant"]


def test_a_player_without_the_page_comes_in_as_the_readme_says(house: House) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    text, _, rest = readme.partition("A player of one's own")[2].partition("\n```\n\n")
    told, _ = rest.partition("\n\n")[::2]
    found = re.search(
        r'curl -H "Content-Type: (\S+)" -d \'(.+)\' \\\n +https://[a-z.]+(/\S+)\n(\{.+), \.\.\.\}',
        text,
    )
    assert found, text
    kind, body, path, answer = found.groups()
    (example,) = json.loads(body).values()
    with house.store() as store:
        film: dict[str, Any] = {"access": "personal", "max_devices": 1}
        film["origins"] = ("https://www.example.org",)
        house.add_stream(store, *path.split("/")[1:3], **film)
    until(lambda: everywhere(lambda: house.ask(path.replace("session", ""))[0] == 200))
    place = path[1:].removesuffix("/session")
    mine, other = house.issue(place), house.issue(place)

    def ask(text: str, more: str = "") -> tuple[int, dict[str, str], dict[str, Any]]:
        said = body.replace(example, text).replace("}", f"{more}}}")
        status, headers, data = house.ask(
            path, "POST", said, kind, Origin="https://www.example.org"
        )
        assert headers["access-control-allow-origin"] == "https://www.example.org"
        # It has a grant in it.
        assert headers["cache-control"] == "private, no-store"
        return status, headers, json.loads(data)

    # What it types may be typed, and is none of anybody's: its check characters are right.
    assert ask(example)[2]["kind"] == "password"
    status, _, visit = ask(mine)
    assert status == 200 and set(re.findall(r'"(\w+)": ["1]', answer)) <= set(visit)
    until(lambda: house.standing(visit) == "open")
    (replaces,) = re.findall(r'`("replaces": )GRANT`', told)
    status, _, again = ask(mine, f', {replaces}"{visit["grant"]}"')
    assert status == 200
    kinds = set(re.findall(r"`(password|mistyped|devices|tries|later|revoked|kicked|over)`", told))
    assert len(kinds) == 8 and house.standing(visit) == "over"
    refused = {each: ask(each) for each in (mine, mine[:-1] + ("A" if mine[-1] != "A" else "B"))}
    assert [each[2]["kind"] for each in refused.values()] == ["devices", "mistyped"]
    assert int(refused[mine][1]["retry-after"]) > 0
    assert house.ask(again["leave"], "POST")[0] == 204
    until(lambda: ask(mine)[0] == 200, patience=10)
    assert house.standing(again) == "kicked"
    visit = ask(other)[2]
    house.revoke("acme", other)
    until(lambda: house.standing(visit) == "revoked")


def test_who_has_none_gets_nothing(house: House) -> None:
    text = house.issue("acme/course")
    over = house.issue("acme/course", valid_until=1)
    early = house.issue("acme/course", valid_from=4_000_000_000)
    revoked = house.issue("acme/course")
    house.revoke("acme", revoked)
    answers = set()
    for wrong in (generate(), "0815", over, early, revoked, house.issue("other/course")):
        body = json.dumps({"password": wrong})
        status, headers, data = house.ask("/acme/course/session", "POST", body)
        headers.pop("date")
        assert headers["cache-control"] == "private, no-store"
        answers.add((status, json.dumps(headers), data))
    # Nobody learns which it was.
    assert [status for status, _, _ in answers] == [403]
    assert house.refused("acme/one", text) == "password"
    assert house.refused("other/course", text) == "password"
    assert house.refused("acme/shared", text) == "password"
    assert house.refused("acme/course", text[:-1] + ("A" if text[-1] != "A" else "B")) == "mistyped"
    for body in ("", "{}", '{"password": 7}', "[" * 1000, '"x"', '{"password": ["x"]}', "\xff"):
        assert house.ask("/acme/course/session", "POST", body)[0] == 400
    assert house.ask("/acme/course/session", "POST", json.dumps({"password": "\0"}))[0] == 403
    assert house.ask("/acme/course/session")[0] == 405
    # There is no way round the page, and no grant of an open stream opens another one.
    assert house.ask("/acme/course/master.m3u8")[0] == 403
    status, headers, _ = house.ask("/acme/open/master.m3u8")
    assert status == 302
    there = headers["location"]
    assert house.ask(there)[0] == 200
    assert house.ask(there.replace("/open/", "/course/"))[0] == 403
    with house.store() as store:
        store.set_stream("acme", "open", {"access": "personal"}, who="test", now=1)
    until(lambda: house.ask(there)[0] == 403)


def test_the_first_ids_of_a_new_tenant_are_typed_as_forgivingly_as_is_said(house: House) -> None:
    """`pystream.acl.passwords`: case, blanks, hyphens, O and 0, I, L and 1, accents; all else counts."""
    ids = {
        "RA-778-XO1l": ("ra778x011", "Ra 778 x0il", "RA\u2013778\u2013XOlI"),
        "0012345": ("oo12345", " 0 0 1 2 3 4 5 ", "00-l2-345"),
        "Zo\u00eb_7/k": ("zoe\u0308_7/K", "ZO\u00cb_7/K", "z0\u00eb_7/k"),
    }
    with house.store() as store:
        store.add_tenant("fresh", TenantSettings(), who="test", now=1)
        house.add_stream(store, "fresh", "film", access="personal")
    house.issue_all(list(ids), "fresh/film")
    until(lambda: everywhere(lambda: house.ask("/fresh/film/")[0] == 200))
    for text, typed in ids.items():
        for each in (text, *typed):
            assert house.sign_in("fresh/film", each)[0] == 200, (text, each)
    for wrong in ("12345", "RA-778-X01", "Zoe_7/k", "Zo\u00eb7k", "0012346"):
        assert house.refused("fresh/film", wrong) == "password"


def test_pain_54_revoked_stops_at_the_next_request(either: House) -> None:
    text, other = either.issue("acme/course"), either.issue("acme/course")
    visits = [either.let_in("acme/course", text) for _ in range(3)]
    goes_on = either.let_in("acme/course", other)
    either.revoke("acme", text)
    for visit in visits:
        until(lambda visit=visit: either.standing(visit) == "revoked")  # type: ignore[misc]
    assert either.standing(goes_on) == "open"
    assert either.refused("acme/course", text) == "password"


@pytest.mark.parametrize(
    ("encryption", "format"),
    [("aes-128", "ts"), ("aes-128-per-viewer", "fmp4"), ("none", "fmp4")],
)
def test_pain_54_what_was_revoked_opens_no_address_that_was_given_out(
    house: House, encryption: str, format: str
) -> None:
    """Neither the next segment nor any key, whoever's it is, nor anything else of the film."""
    told = {"attendance": True, "beacons": True, "own_count": True}
    film = {"encryption": encryption, "format": format, "download": True, **told}
    with house.store() as store:
        accepted = {"attendance_purpose": purpose.VERSION}
        store.set_tenant("acme", accepted, who="test", now=0)
        house.add_stream(store, "acme", "all", access="personal", **film)
    until(lambda: everywhere(lambda: house.ask("/acme/all/")[0] == 200))
    text, other = house.issue("acme/all"), house.issue("acme/all")

    def given_out(visit: dict[str, Any]) -> list[str]:
        beside = visit["master"].rpartition("/")[0]
        first = house.ask(visit["master"])[2].decode().splitlines()
        found = [visit["master"], visit["download"], f"{beside}/count", f"{beside}/frame.mp4"]
        found += [f"{each}0.mp4" for each in visit["frames"].values()]
        named = [line for line in first if line[:1] not in ("", "#")]
        named += [line.split('URI="')[1].split('"')[0] for line in first if "#EXT-X-MEDIA:" in line]
        for playlist in [urljoin(visit["master"], each) for each in named]:
            lines = house.ask(playlist)[2].decode().splitlines()
            uris = [line for line in lines if line[:1] not in ("", "#")]
            uris += [line.split('URI="')[1].split('"')[0] for line in lines if 'URI="' in line]
            found += [playlist, *(urljoin(playlist, uri) for uri in uris)]
        return list(dict.fromkeys(found))

    visit, goes_on = house.let_in("acme/all", text), house.let_in("acme/all", other)
    theirs = given_out(visit)
    kinds = {each.rpartition("/")[2].rpartition(".")[2] for each in theirs}
    assert {"m3u8", "mp4", "ts" if format == "ts" else "m4s"} <= kinds
    assert any("/key/" in each for each in theirs) is (encryption != "none")
    assert any("/init" in each for each in theirs) is (format == "fmp4")
    assert {house.ask(each)[0] for each in theirs} == {200}
    beacon = json.dumps({"sn": 0, "state": "playing", "playhead_ms": 0, "rate": 1, "hidden": False})
    assert house.ask(visit["beacon"], "POST", beacon)[0] == 204
    house.revoke("acme", text)
    until(lambda: house.standing(visit) == "revoked")
    refused = [house.ask(each) for each in theirs]
    refused.append(house.ask(visit["beacon"], "POST", beacon))
    for status, _, data in refused:
        assert (status, json.loads(data)["kind"]) == (403, "revoked")
    assert {house.ask(each)[0] for each in given_out(goes_on)} == {200}


def worker_of(node: Node, connection: http.client.HTTPConnection) -> int:
    """The process that has accepted a connection, by the kernel's table."""
    ours = connection.sock.getsockname()[1]
    wanted = (f":{node.port:04X}", f":{ours:04X}")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = (row[9] for row in rows if row[1][-5:] == wanted[0] and row[2][-5:] == wanted[1])
    for pid in node.processes()["worker"]:
        if f"socket:[{inode}]" in dict(open_files(pid)).values():
            return pid
    raise LookupError(inode)


def test_where_one_worker_knows_that_a_password_was_revoked_all_do(house: House) -> None:
    """One connection to each, kept open. Where one refuses, so does the other, on its next request: they
    share a table."""

    def status(connection: http.client.HTTPConnection, path: str) -> int:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    with ExitStack() as opened:
        to: dict[int, http.client.HTTPConnection] = {}
        while to.keys() != house.node.processes()["worker"]:
            one = http.client.HTTPConnection("127.0.0.1", house.node.port, timeout=60)
            opened.enter_context(closing(one))
            assert status(one, "/acme/course/") == 200
            to.setdefault(worker_of(house.node, one), one)
        one, other = to.values()
        for _ in range(3):
            text = house.issue("acme/course")
            master = house.let_in("acme/course", text)["master"]
            assert status(one, master) == status(other, master) == 200
            house.revoke("acme", text)
            until(lambda: status(one, master) == 403)  # noqa: B023
            assert status(other, master) == 403
            one, other = other, one


def test_a_film_of_two_hours_goes_on_after_half_an_hour_and_stops_where_it_is_revoked(
    house: House,
) -> None:
    film = house.node.folder / "film.mp4"
    sparse(film, 7200)
    more = {"sources": (str(film),), "format": "fmp4", "segment_duration_ms": 6000}
    with house.store() as store:
        house.add_stream(store, "acme", "long", access="personal", session_s=3600, **more)
    until(lambda: everywhere(lambda: house.ask("/acme/long/")[0] == 200))
    text = house.issue("acme/long")
    begun = int(time.time())
    visit = house.let_in("acme/long", text)
    # Fetched once, they hold for the film and for pauses.
    assert visit["expires"] >= begun + 7200 + 3600
    playlist = urljoin(visit["master"], house.ask(visit["master"])[2].decode().splitlines()[-1])
    lines = house.ask(playlist)[2].decode().splitlines()
    segments = [urljoin(playlist, line) for line in lines if line[:1] not in ("", "#")]
    keys = [line.split('"')[1] for line in lines if line.startswith("#EXT-X-KEY")]
    assert len(segments) == 1200
    assert house.ask(segments[0])[0] == 200
    # The player asks for nothing for half an hour: the node's own table has it so.
    session = urlsafe_b64decode(visit["grant"] + "==")[14:30]
    table = table_with(house, session)
    found = table.get(session)
    assert found is not None and table.forget(session)
    since = int(time.time()) - 1800
    about = {"expires": found.expires, "idle_s": found.idle_s, "holder": found.holder}
    table.open(session, found.stream, since, **about)
    assert house.ask(segments[1])[0] == 200
    seen = table.get(session)
    assert seen is not None and seen.last_seen >= since + 1800
    house.revoke("acme", text)
    until(lambda: house.standing(visit) == "revoked")
    for path in (segments[2], segments[-1], urljoin(playlist, keys[0]), playlist):
        status, _, data = house.ask(path)
        assert (status, json.loads(data)["kind"]) == (403, "revoked")


def table_with(house: House, session: bytes) -> _core.Sessions:
    """The node's table of sessions: memory that the supervisor keeps (proc(5), fd)."""
    for link, what in open_files(house.node.process.pid):
        if what.startswith("/memfd:"):
            with suppress(ValueError, PermissionError):
                table = _core.Sessions(os.open(link, os.O_RDWR))
                if table.get(session) is not None:
                    return table
    raise AssertionError("there is no such table")


def test_a_test_is_no_viewer_and_its_bytes_are_traffic(either: House) -> None:
    tester = either.let_in("acme/course", either.issue("acme/course", is_test=True))
    lines = either.ask(tester["master"])[2].decode().splitlines()
    playlist = urljoin(tester["master"], lines[-1])
    last = urljoin(playlist, either.ask(playlist)[2].decode().splitlines()[-2])
    # Over a connection of its own each: some go to either worker.
    sent = sum(len(either.ask(last)[2]) for _ in range(8))
    board = gauges_of(either)
    assert (board.places().total(), board.viewers().total()) == (1, 0)
    assert board.totals().admitted == 0
    viewer = either.let_in("acme/course", either.issue("acme/course"))
    assert either.standing(viewer) == either.standing(tester) == "open"
    assert (board.places().total(), board.viewers().total()) == (2, 1)
    assert board.totals().admitted == 1
    month = time.strftime("%Y-%m", time.gmtime())

    def counted() -> int:
        with either.store() as store:
            rows = store.traffic("acme", month)
        return sum(row.bytes for row in rows if row.kind is Kind.SEGMENT)

    until(lambda: counted() >= sent)


def gauges_of(house: House) -> Board:
    """The node's gauges: memory that the supervisor keeps (proc(5), fd)."""
    for link, what in open_files(house.node.process.pid):
        if what.startswith("/memfd:pystream-gauges"):
            return Board(os.open(link, os.O_RDWR))
    raise AssertionError("there are no gauges")


def test_devices(either: House) -> None:
    text = either.issue("acme/one")
    first = either.let_in("acme/one", text)
    status, problem = either.sign_in("acme/one", text)
    assert (status, problem["kind"]) == (409, "devices")
    # A page that was loaded again says whose place it takes.
    second = either.let_in("acme/one", text, replaces=first["grant"])
    assert either.standing(first) == "over"
    assert either.standing(second) == "open"
    for wrong in ("nonsense", first["grant"][:-4] + "AAAA", first["grant"]):
        status, _ = either.sign_in("acme/one", text, replaces=wrong)
        assert status == 409
    # Whoever goes on with another film in the same tab is one device, too.
    both = either.issue("acme/one", "acme/kick")
    third = either.let_in("acme/one", both)
    fourth = either.let_in("acme/kick", both, replaces=third["grant"])
    assert (either.standing(third), either.standing(fourth)) == ("over", "open")
    # Somebody else's session is nobody's to replace.
    stranger = either.issue("acme/one")
    either.let_in("acme/one", stranger, replaces=second["grant"])
    assert either.standing(second) == "open"


def test_whoever_leaves_makes_room(house: House) -> None:
    text, stranger = house.issue("acme/one"), house.issue("acme/one")
    first, other = house.let_in("acme/one", text), house.let_in("acme/one", stranger)
    assert house.ask(first["leave"])[0] == 405
    forged = first["leave"].replace(first["grant"], first["grant"][:-4] + "AAAA")
    for nobodys in (forged, first["leave"].replace("/one/", "/kick/")):
        assert house.ask(nobodys, "POST")[0] == 403
    assert house.ask(other["leave"], "POST")[0] == 204
    assert house.refused("acme/one", text) == "devices"
    assert (house.standing(first), house.standing(other)) == ("open", "open")
    status, headers, _ = house.ask(first["leave"], "POST", Cookie="a=b")
    assert status == 204 and "set-cookie" not in headers
    # The other worker may be asked before the writer has heard it of this one.
    until(lambda: house.sign_in("acme/one", text)[0] == 200, patience=10)
    assert house.standing(first) == "kicked"
    # Where nobody waits for a place, nothing is told.
    assert "leave" not in house.let_in("acme/course", house.issue("acme/course"))
    assert "leave" in house.let_in("acme/course", house.issue("acme/course", max_devices=3))
    assert house.ask(first["leave"], "POST")[0] == 204


def test_pain_53_the_newest_device_may_come_before_the_oldest(either: House) -> None:
    text = either.issue("acme/kick", max_devices=2)
    visits = [either.let_in("acme/kick", text) for _ in range(4)]
    assert [either.standing(visit) for visit in visits] == ["kicked", "kicked", "open", "open"]


def test_one_password_for_all(house: House) -> None:
    text = house.issue("acme/shared", shared=True, max_devices=1)
    visits = [house.let_in("acme/shared", text) for _ in range(5)]
    assert [house.standing(visit) for visit in visits] == ["open"] * 5
    with house.store() as store:
        stream = store.stream("acme", "shared")
        now = int(time.time())
        store.viewers.end_sessions(stream.tenant_id, stream.id, who="test", now=now)
    for visit in visits:
        until(lambda visit=visit: house.standing(visit) == "over")  # type: ignore[misc]


def test_of_many_at_once_as_many_come_in_as_may(either: House) -> None:
    """The two workers ask one writer."""
    text = either.issue("acme/one", max_devices=3)
    connections = [
        http.client.HTTPConnection("127.0.0.1", either.node.port, timeout=60) for _ in range(20)
    ]
    for one in connections:
        one.request("POST", "/acme/one/session", json.dumps({"password": text}))
    statuses = sorted(one.getresponse().status for one in connections)
    for one in connections:
        one.close()
    assert statuses == [200] * 3 + [409] * 17


def test_of_a_crowd_at_the_door_no_more_come_in_than_may_watch(tmp_path: Path, url: str) -> None:
    """All who have been let past wait for the store, and count before they are in."""
    settings = f'[store]\nurl = "{url}"\n[overload]\nmax_viewers = 3\nloop_lag_ms = 60_000\n'
    texts = [generate() for _ in range(8)]
    with (
        contextmanager(house_of)(tmp_path, settings) as house,
        house.store() as store,
        ThreadPoolExecutor(8) as pool,
    ):
        house.issue_all(texts, "acme/course")
        with store.database.writing() as connection:
            if url.startswith("postgresql"):
                connection.execute(sqlalchemy.text("LOCK TABLE session IN EXCLUSIVE MODE"))
            asking = [pool.submit(house.sign_in, "acme/course", each) for each in texts]
            until(lambda: sum(each.done() for each in asking) == 5)
        assert sorted(each.result()[0] for each in asking) == [200] * 3 + [503] * 5


def test_who_comes_in_beside_a_revocation_does_not_stay(either: House) -> None:
    """Whatever comes first of them, each of twenty: a worker's look-up, the session, the revocation."""
    text = either.issue("acme/course")
    with ThreadPoolExecutor(20) as pool:
        tries = [pool.submit(either.sign_in, "acme/course", text) for _ in range(20)]
        until(lambda: any(each.done() for each in tries))
        tries += [pool.submit(either.sign_in, "acme/course", text) for _ in range(20)]
        either.revoke("acme", text)
        came = [each.result() for each in tries]
    assert {status for status, _ in came} <= {200, 403}
    visits = [visit for status, visit in came if status == 200]
    assert visits
    for visit in visits:
        until(lambda visit=visit: either.standing(visit) == "revoked")  # type: ignore[misc]
    with either.store() as store:
        until(lambda: not store.viewers.sessions(int(time.time())))
    assert either.refused("acme/course", text) == "password"


def test_sessions_outlive_the_writer_and_nothing_that_ended_comes_back(house: House) -> None:
    text, other = house.issue("acme/course"), house.issue("acme/one")
    visit = house.let_in("acme/course", text)
    held = house.let_in("acme/one", other)
    for _ in range(3):
        (writer,) = house.node.processes()["writer"]
        os.kill(writer, signal.SIGKILL)
        # It waits for the successor, and is let in.
        house.let_in("acme/course", text)
        # On a busy machine that may take as long as a device may be silent: this one is not.
        assert house.standing(held) == "open"
        assert house.sign_in("acme/one", other)[0] == 409
        assert house.standing(visit) == "open"
    (writer,) = house.node.processes()["writer"]
    with closing(sqlite3.connect(house.node.folder / "pystream.db", PATIENCE)) as turn:
        turn.execute("BEGIN IMMEDIATE")
        # Stopped in a transaction of its own, it would keep everybody from writing.
        os.kill(writer, signal.SIGSTOP)
        until(lambda: state(writer) == "T")
    house.revoke("acme", text)
    os.kill(writer, signal.SIGKILL)
    until(lambda: house.standing(visit) == "revoked")
    assert house.standing(held) == "open"


def test_nothing_that_comes_to_the_desk_ends_it(house: House) -> None:
    (writer,) = house.node.processes()["writer"]
    held = {what for _, what in open_files(house.node.process.pid)}
    # proc_net(5): the inode, and the name.
    rows = [line.split()[-2:] for line in Path("/proc/net/unix").read_text().splitlines()]
    desks = [name for inode, name in rows if f"socket:[{inode}]" in held and "desk" in name]
    (name,) = set(desks)
    for sent in (b"\xff" * 8, (5).to_bytes(4) + b"wrong", (9).to_bytes(4), b""):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("\0" + name[1:])
            peer.sendall(sent)
    until(lambda: len(house.node.events("desk-line-broken")) >= 2)
    house.let_in("acme/course", house.issue("acme/course"))
    assert house.node.processes()["writer"] == {writer}


def test_sessions_outlive_the_node(own: House) -> None:
    texts = [own.issue("acme/course") for _ in range(3)]
    visits = [own.let_in("acme/course", text) for text in texts]
    kicked = own.issue("acme/kick")
    first = own.let_in("acme/kick", kicked)
    own.let_in("acme/kick", kicked)
    own.revoke("acme", texts[1])
    until(lambda: own.standing(visits[1]) == "revoked")
    own.node.signal(signal.SIGKILL)
    own.node.process.wait()
    own.revoke("acme", texts[2])
    own.node.start()
    own.node.hear("READY=1")
    assert own.standing(visits[0]) == "open"
    for visit in (*visits[1:], first):
        assert own.standing(visit) == "over"


def test_pain_56_guesses_are_throttled_and_whoever_is_right_comes_in(house: House) -> None:
    """Three hundred people behind one address, each with a password, and one in ten with slips: all get
    in, whoever made the passwords. Then somebody guesses, and those that were made here still do."""
    made = [generate() for _ in range(150)]
    owned = [f"SecureID 4711 Q{n}" for n in range(150)]
    house.issue_all([*made, *owned], "acme/course")

    def come_in(people: Sequence[tuple[int, str]]) -> list[str]:
        wrong = []
        for n, text in people:
            if n % 10 == 0:
                # With a letter too few, and with one too many: tries, both of them.
                wrong += [house.refused("acme/course", slip) for slip in (text[:-5], f"{text}x")]
            house.let_in("acme/course", text)
        return wrong

    people = list(enumerate([*made, *owned]))
    with ThreadPoolExecutor(8) as pool:
        slips = [
            kind for some in pool.map(come_in, (people[n::8] for n in range(8))) for kind in some
        ]
    assert slips == ["password"] * 60
    made, own = made[:10], owned[0]
    kinds = [house.refused("acme/course", f"guess {n}") for n in range(150)]
    assert kinds[-1] == "tries" and kinds.count("password") >= 55
    status, headers, _ = house.ask(
        "/acme/course/session", "POST", json.dumps({"password": "one more"})
    )
    assert status == 429 and int(headers["retry-after"]) >= 1
    # Of a customer's own ids it is not known whether they can be guessed.
    assert house.refused("acme/course", own) == "tries"
    for text in made:
        house.let_in("acme/course", text)
    # Elsewhere nobody has tried.
    assert house.refused("acme/one", "guess") == "password"


def test_the_pepper_is_rotated_while_viewers_come_in(own: House) -> None:
    texts = [own.issue("acme/course") for _ in range(5)]
    command = subprocess.Popen(
        [sys.executable, "-m", "pystream", "keyring", "rotate", "pepper", "--json"],
        cwd=own.node.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    rounds = 0
    while command.poll() is None:
        own.let_in("acme/course", texts[rounds % len(texts)])
        rounds += 1
    assert rounds > 0 and command.returncode == 0
    assert command.stdout is not None and json.loads(command.stdout.read()) == {
        "indexed": 5,
        "doubles": [],
    }
    command.stdout.close()
    for text in texts:
        own.let_in("acme/course", text)


def test_viewers_come_in_whichever_store_is_brought_back_over_a_rotation(own: House) -> None:
    text, node = own.issue("acme/course"), own.node
    main, copy = node.folder / "pystream.db", node.folder / "copy.db"

    def keyring(*words: str) -> dict[str, Any]:
        done = program.run("keyring", *words, "--json", cwd=node.folder)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    backup = keyring("backup", ".")["backup"]
    assert keyring("rotate", "pepper")["indexed"] == 1
    done = keyring("restore", backup)
    assert (done["lost"], done["indexed"]) == (0, 1)
    until(lambda: own.sign_in("acme/course", text)[0] == 200)
    node.stop()
    with own.store() as store:
        copy.touch()
        store.database.copy_to(str(copy))
    assert keyring("rotate", "pepper")["indexed"] == 1
    for name in ("pystream.db-wal", "pystream.db-shm"):
        (node.folder / name).unlink(missing_ok=True)
    copy.replace(main)
    node.start()
    node.hear("READY=1")
    own.let_in("acme/course", text)
    (said,) = node.events("passwords-indexed")
    assert said["passwords"] == 1


def test_passwords_by_the_command_line(house: House) -> None:
    """From making to erasing; what a command says is what a viewer meets."""

    def told(*words: str, typed: str = "") -> str:
        done = program.run("password", *words, cwd=house.node.folder, input=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = told("add", "acme/course", "--count", "3", "--label", "Saal 1").split()
    for text in made:
        house.let_in("acme/course", text)
    listed = json.loads(told("list", "acme/course", "--json"))["passwords"]
    assert {each["password"] for each in listed} == set(made)
    assert {each["label"] for each in listed} == {"Saal 1"}
    assert told("list", "acme").count("Saal 1") == 3
    with house.store() as store:
        house.add_stream(store, "acme", "later", access="personal")
    exported = told("list", "acme/course", "--csv")
    assert exported.splitlines()[0].endswith(
        "password,label,valid from,valid until,max devices,test"
    )
    ids = "password,label\n0012345,first\nRA-778-XY,second\n"
    assert told("import", "acme/later", "--list", "-", typed=ids) == "2 passwords added\n"
    until(lambda: everywhere(lambda: house.ask("/acme/later/")[0] == 200))
    # Leading zeros count.
    assert house.refused("acme/later", "12345") == "password"
    visit = house.let_in("acme/later", "0012345")
    told("cards", "acme/later", "--url", "https://tv.example.org/acme/later/", "-o", "cards.pdf")
    assert (house.node.folder / "cards.pdf").read_bytes().startswith(b"%PDF")
    told("add", "acme/later", "--test")
    told("cards", "acme/later", "--url", "https://tv.example.org/acme/later/", "-o", "more.pdf")
    (page,) = PdfDocument(house.node.folder / "more.pdf")
    assert page.get_textpage().get_text_range().count("Testzugang") == 1
    assert told("revoke", "acme", "--list", "-", typed="0012345\n") == "1 password revoked\n"
    until(lambda: house.standing(visit) == "revoked")
    assert told("erase", "acme", "--list", "-", typed=f"{made[0]}\n") == "1 password erased\n"
    assert told("list", "acme/course").count("(erased)") == 1
    shared = told("add", "acme/shared", "--shared").strip()
    house.let_in("acme/shared", shared)


# The page


SHOWN = "document.getElementById('entry-problem').textContent"
FIELD = "document.getElementById('password')"
ASKS = "!document.getElementById('entry').hidden"
PLAYS = "document.getElementById('video').currentTime > 0.5"
# With the mouse: browsers now and then give a frame of another site no focus that nobody has clicked for,
# and then keys are of the page around.
SENT = "await page.frames()[1].click('#entry button');"
IN_FRAME = f"""
const frame = page.frames()[1];
await frame.fill("#password", values.password);
{SENT}
await frame.click("#start");
await until(frame, values.plays);
return (await context.cookies()).length;
"""


def address(house: House, place: str) -> str:
    return f"http://127.0.0.1:{house.node.port}/{place}/"


def test_the_page_asks_and_tells_and_plays(house: House, chromium: Chromium) -> None:
    notice = "Your <presence> is recorded.\n\nNobody but ACME knows who you are."
    with house.store() as store:
        store.set_tenant("acme", {"notice": notice}, who="test", now=1)
    text, other = house.issue("acme/kick"), house.issue("acme/course")
    until(lambda: everywhere(lambda: b"&lt;presence&gt;" in house.ask("/acme/kick/")[2]))
    page = chromium.page(viewport={"width": 390, "height": 844}, locale="en-US")
    page.goto(f"{address(house, 'acme/kick')}#{text.lower()}")
    page.until(ASKS)
    assert "<presence>" in page.js("document.querySelector('.entry').textContent")
    accessible(page)
    # A card's code has filled it in, and left nothing in the address.
    assert page.js("document.getElementById('password').value") == text.lower()
    assert page.js("location.href") == address(house, "acme/kick")
    page.js(f"document.getElementById('password').value = '{other}'")
    page.click("#entry button")
    page.until(f"{SHOWN}.includes('does not open this film')")
    page.js(f"document.getElementById('password').value = '{text[:-1]}!'")
    page.press("Enter")
    page.until(f"{SHOWN}.includes('does not open this film')")
    # All of it is to be seen beside the card, also where letters are large.
    assert page.js(f"{FIELD}.scrollWidth <= {FIELD}.clientWidth")
    slip = text[:-1] + ("A" if text[-1] != "A" else "B")
    page.js(f"{FIELD}.value = '{slip}'")
    page.js(f"{FIELD}.style.fontSize = '30px'")
    page.press("Enter")
    page.until(f"{SHOWN}.includes('slip') && {SHOWN}.endsWith('{slip}')")
    page.js(f"{FIELD}.style.fontSize = ''")
    accessible(page)
    page.js(f"document.getElementById('password').value = '{text}'")
    page.press("Enter")
    page.until(f"!({ASKS})")
    with house.store() as store:
        assert [each.notice for each in store.viewers.sessions(0)] == [notice_version(notice)]
    page.click("#start")
    page.until(PLAYS)
    # Loaded again, it goes on without a question.
    page.run("await page.reload()")
    page.until("Number(document.getElementById('seek').max) > 1")
    assert page.js(ASKS) is False
    page.click("#start")
    page.until(PLAYS)
    # Another device takes over, and the film that stood is not to be had any more.
    house.let_in("acme/kick", text)
    page.run("await page.reload()")
    page.until(f"{ASKS} && {SHOWN}.includes('another device')")
    assert page.run("return (await context.cookies()).length") == 0
    assert page.seen("refused") == []
    requests = json.dumps(page.seen("requests"))
    assert text.lower() not in requests.lower()
    page.close()


NOTED = "globalThis.stood = document.getElementById('video').currentTime"
VIDEO = "document.getElementById('video')"
BY_ITSELF = (
    "delete window.MediaSource; delete window.ManagedMediaSource; delete window.WebKitMediaSource"
)


@pytest.mark.parametrize("script", ["", BY_ITSELF], ids=["hls.js", "native"])
def test_what_is_taken_back_is_not_shown_on_from_a_buffer(
    house: House, chromium: Chromium, script: str
) -> None:
    text = house.issue("acme/course")
    page = chromium.page(locale="en-US")
    page.run("await page.addInitScript(values.script)", script=script)
    page.goto(f"{address(house, 'acme/course')}#{text}")
    page.until(ASKS)
    page.press("Enter")
    page.until(f"!({ASKS})")
    page.click("#start")
    # All of it: no player has anything to ask for any more.
    page.until(f"{PLAYS} && {VIDEO}.buffered.length && {VIDEO}.buffered.end(0) > 29.5")
    visit = page.js("JSON.parse(sessionStorage.getItem('pystream-visit'))")
    page.js(f"{VIDEO}.addEventListener('timeupdate', () => {VIDEO}.paused || ({NOTED}))")
    house.revoke("acme", text)
    until(lambda: house.standing(visit) == "revoked")
    before = page.js(f"{VIDEO}.currentTime")
    page.until(f"{ASKS} && {SHOWN}.includes('not valid any more')")
    # Segments are of one second; a busy machine's turn of the page is in the sum.
    assert page.js("globalThis.stood") - before < 5
    assert page.js(f"{VIDEO}.paused && {VIDEO}.buffered.length === 0")
    assert page.js("document.getElementById('trouble').hidden")
    # Whoever is let in again goes on from there.
    page.js(f"document.getElementById('password').value = '{house.issue('acme/course')}'")
    page.press("Enter")
    page.until(f"!({ASKS}) && !{VIDEO}.paused && {VIDEO}.currentTime >= globalThis.stood")
    page.close()


def test_the_page_asks_in_a_frame_on_another_site(
    house: House, chromium: Chromium, site: Site
) -> None:
    with house.store() as store:
        store.set_stream("acme", "course", {"embed_origins": [site.origin]}, who="test", now=1)
    text = house.issue("acme/course")
    until(
        lambda: everywhere(
            lambda: site.origin in house.ask("/acme/course/")[1]["content-security-policy"]
        )
    )
    site.framed = address(house, "acme/course")
    page = chromium.page()
    page.goto(site.origin)
    assert page.run(IN_FRAME, password=text, plays=PLAYS) == 0
    page.close()


DENIED = "(() => { try { sessionStorage; return false; } catch { return true; } })()"


@contextmanager
def framed(house: House, chromium: Chromium, site: Site, stream: str, size: str) -> Iterator[Page]:
    """A page of another site with a stream in a frame, which may keep nothing."""
    with house.store() as store:
        store.set_stream("acme", stream, {"embed_origins": [site.origin]}, who="test", now=1)
    path = f"/acme/{stream}/"
    until(lambda: everywhere(lambda: site.origin in house.ask(path)[1]["content-security-policy"]))
    site.code = f'<iframe src="{address(house, f"acme/{stream}")}" {size}></iframe>'
    page = chromium.page(locale="en-US")
    page.goto(f"{site.origin}/code")
    assert page.run(f"return await page.frames()[1].evaluate({json.dumps(DENIED)})")
    yield page
    page.close()


def in_frame(page: Page, expression: str) -> None:
    page.run("await until(page.frames()[1], values.expression)", expression=expression)


@pytest.mark.parametrize(("stream", "why"), [("course", "not valid any more"), ("kick", "another")])
def test_in_a_frame_that_keeps_nothing_it_is_said_why_the_film_stops(
    house: House, chromium: Chromium, site: Site, stream: str, why: str
) -> None:
    text = house.issue(f"acme/{stream}")
    with framed(house, chromium, site, stream, 'width="800" height="450"') as page:
        page.run(IN_FRAME, password=text, plays=PLAYS)
        if stream == "kick":
            house.let_in("acme/kick", text)
        else:
            house.revoke("acme", text)
        in_frame(page, f"{ASKS} && {SHOWN}.includes({json.dumps(why)})")


def test_in_a_frame_of_a_site_that_may_not_show_it_it_is_said_why(
    house: House, chromium: Chromium, site: Site
) -> None:
    site.code = f'<iframe src="{address(house, "acme/course")}" width="800" height="450"></iframe>'
    page = chromium.page(locale="en-US")
    page.goto(f"{site.origin}/code")
    why = "This film is shown on the site that offers it only. Please open it there."
    in_frame(page, f"document.body?.innerText.includes({json.dumps(why)})")
    page.close()


def test_whose_visit_was_ended_is_told_and_comes_in_again(house: House, chromium: Chromium) -> None:
    text = house.issue("acme/course")
    page = chromium.page(locale="en-US")
    page.goto(f"{address(house, 'acme/course')}#{text}")
    page.until(ASKS)
    page.press("Enter")
    page.until(f"!({ASKS})")
    visit = page.js("JSON.parse(sessionStorage.getItem('pystream-visit'))")
    with house.store() as store:
        tenant, stream = store.tenant("acme"), store.stream("acme", "course")
        store.viewers.end_sessions(tenant.id, stream.id, who="test", now=int(time.time()))
    until(lambda: house.standing(visit) == "over")
    page.run("await page.reload()")
    page.until(f"{ASKS} && {SHOWN}.includes('Your visit has ended')")
    accessible(page)
    # What no server of this house has given, as after its keys were lost.
    page.js(f"document.getElementById('password').value = '{text}'")
    page.press("Enter")
    page.until(f"!({ASKS})")
    page.js(
        "sessionStorage.setItem('pystream-visit', JSON.stringify({...JSON.parse("
        "sessionStorage.getItem('pystream-visit')), master: '/t/x/acme/course/master.m3u8'}))"
    )
    page.run("await page.reload()")
    page.until(f"{ASKS} && {SHOWN}.includes('Your visit has ended')")
    page.close()


AGAIN = """
const frame = page.frames()[1];
await frame.fill("#password", values.password);
// It takes a moment until the server has heard it, and much longer until it would find out by itself.
const end = Date.now() + 10_000;
while (await frame.evaluate(values.asks)) {
  if (Date.now() > end) throw new Error(await frame.evaluate(values.shown));
  await frame.press("#password", "Enter");
  await until(frame, "!document.getElementById('entry').classList.contains('busy')");
}
"""


def test_whoever_leaves_a_frame_that_keeps_nothing_comes_in_again(
    house: House, chromium: Chromium, site: Site
) -> None:
    text = house.issue("acme/one")
    with framed(house, chromium, site, "one", 'width="800" height="450"') as page:
        for there_again in (
            "await page.goto('about:blank'); await page.goBack()",
            "await page.reload()",
        ):
            page.run(IN_FRAME, password=text, plays=PLAYS)
            page.run(there_again)
            in_frame(page, ASKS)
            page.run(AGAIN, password=text, asks=ASKS, shown=SHOWN)
            page.run(there_again)
            in_frame(page, ASKS)
        assert page.run("return (await context.cookies()).length") == 0


def test_who_has_to_wait_sees_the_time_go_by(house: House, chromium: Chromium) -> None:
    text = house.issue("acme/one")
    house.let_in("acme/one", text)
    page = chromium.page(locale="en-US")
    page.run("await page.clock.install()")
    page.goto(f"{address(house, 'acme/one')}#{text}")
    page.until(ASKS)
    page.press("Enter")
    page.until(f"/please wait \\d+ s/.test({SHOWN})")
    seconds = f"Number(/(\\d+) s/.exec({SHOWN})[1])"
    first = page.js(seconds)
    assert 1 < first <= 16
    page.run("await page.clock.runFor(1000)")
    page.until(f"{seconds} < {first}")
    page.run("await page.clock.runFor(20_000)")
    page.until(f"{SHOWN} === 'Please try again now.'")
    accessible(page)
    page.close()


# Before the next picture, with which browsers take the focus from what is not seen any more.
FOCUS_AS_IT_GOES = """(() => {
    const entry = document.getElementById("entry");
    const told = () => { globalThis.hasFocus = document.activeElement.tagName; };
    new MutationObserver(() => entry.hidden && told()).observe(entry, { attributeFilter: ["hidden"] });
})()"""


def test_a_password_is_typed_from_paper(house: House, chromium: Chromium) -> None:
    """With letters and digits that are keys of the player elsewhere on the page."""
    text = house.issue("acme/course")
    page = chromium.page(locale="en-US")
    page.goto(address(house, "acme/course"))
    page.until(ASKS)
    page.click("#password")
    for typed in ("0123456789 fjklmc<>? FJKLMC", text):
        page.js(f"{FIELD}.value = ''")
        page.type(typed)
        assert page.js(f"{FIELD}.value") == typed
    assert page.js("document.querySelector('dialog[open]')") is None
    page.js(FOCUS_AS_IT_GOES)
    page.press("Enter")
    page.until(f"!({ASKS})")
    # There, they are the player's, from the first one on.
    assert page.js("globalThis.hasFocus") == "BODY"
    page.press("?")
    page.until("document.querySelector('dialog[open]') !== null")
    page.close()


def test_in_a_low_frame_it_is_seen_what_is_wrong(
    house: House, chromium: Chromium, site: Site
) -> None:
    within = (
        "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)"
        "(document.getElementById(ID).getBoundingClientRect())"
    )
    with framed(house, chromium, site, "course", 'width="374" height="210"') as page:
        page.run("await page.frames()[1].fill('#password', 'wrong')")
        page.run(SENT)
        in_frame(page, f"{SHOWN}.includes('does not open this film')")
        for seen in ("entry-problem", "password"):
            in_frame(page, within.replace("ID", json.dumps(seen)))


# What is loaded anew, or moves, knows nothing for a moment.
FILLED = """
const known = { evaluate: (expression) => frame().evaluate(expression).catch(() => false) };
await until(known, "document.getElementById('entry')?.hidden === false");
await until(known, `document.getElementById('password').value === ${JSON.stringify(values.text)}`);
return await frame().evaluate("location.hash");
"""
CARRIED = f"const frame = () => page.frames()[1]; {FILLED}"
ATTACHED = """
const late = () => page.waitForTimeout(500).then(() => false);
const asks = "document.getElementById('entry') !== null";
const there = () => page.frames()[1]?.evaluate(asks).catch(() => false);
for (let n = 0; n < 40; n++) {
  if (await Promise.race([there() ?? false, late()])) return true;
  await page.waitForTimeout(25);
}
return false;
"""


WATCHES_FRAMES = """<script>
globalThis.sentElsewhere = 0;
new MutationObserver((seen) => { globalThis.sentElsewhere += seen.length; })
  .observe(document, { subtree: true, attributeFilter: ["src"] });
</script>"""


def embedded(chromium: Chromium, address: str) -> Page:
    """A page with a frame. Of one whose address changes while it moves to a process of its own, Playwright
    loses sight now and then, though it is there: then another page is opened."""
    for _ in range(5):
        page = chromium.page()
        page.goto(address)
        if page.run(ATTACHED):
            return page
        assert page.js("document.querySelectorAll('iframe').length") == 1
        page.close()
    raise AssertionError(address)


def test_a_card_opens_a_page_that_embeds_the_film_and_its_code_goes_to_no_server(
    house: House, chromium: Chromium, site: Site
) -> None:
    with house.store() as store:
        store.set_stream("acme", "course", {"embed_origins": [site.origin]}, who="test", now=1)
        stream = store.stream("acme", "course")
    text = house.issue("acme/course")
    until(lambda: site.origin in house.ask("/acme/course/")[1]["content-security-policy"])
    site.code = WATCHES_FRAMES + embedding.code(address(house, "acme/course"), stream)
    printed = f"{site.origin}/code"
    page = embedded(chromium, f"{printed}?row=3#{quote(text, safe='')}")
    assert page.run(CARRIED, text=text) == ""
    # Now and then, a frame that is sent elsewhere while it is under way goes to where it went first.
    assert page.js("globalThis.sentElsewhere") == 0
    assert page.js("document.querySelectorAll('iframe').length") == 1
    assert page.js("location.href") == f"{printed}?row=3"
    said = page.run("return await page.frames()[1].evaluate('document.fullscreenEnabled')")
    assert said is True and page.seen("warnings") == []
    page.run(SENT)
    page.run("await until(page.frames()[1], \"document.getElementById('entry').hidden\")")
    page.close()
    # What names a place of the page, or is its own in some other way, is left as it is.
    for own in ("#top", "#/film/3", "#a=b"):
        page = embedded(chromium, printed + own)
        assert page.run(CARRIED, text="") == ""
        assert page.js("location.hash") == own
        page.close()
    # As where the page around is slow to hand it on.
    page = chromium.page()
    page.goto(address(house, "acme/course"))
    page.until(ASKS)
    page.js(f"location.hash = '{text}'")
    assert page.run(f"const frame = () => page.mainFrame(); {FILLED}", text=text) == ""
    page.close()
    assert not any(text in path or "#" in path for path in site.asked)
    assert text not in house.node.said()


def test_nothing_of_a_visit_is_in_the_log(house: House) -> None:
    text = house.issue("acme/course")
    visit = house.let_in("acme/course", text)
    house.refused("acme/course", "canary-password")
    house.revoke("acme", text)
    until(lambda: house.standing(visit) == "revoked")
    (writer,) = house.node.processes()["writer"]
    os.kill(writer, signal.SIGKILL)
    until(lambda: house.node.events("process-ended"))
    said = house.node.said()
    for secret in (text, text.lower(), visit["grant"], "canary-password"):
        assert secret not in said
