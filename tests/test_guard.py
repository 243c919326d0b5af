"""Who asks too often: what is counted, what follows, and who never meets it."""

from __future__ import annotations

import http.client
import json
import os
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.streams import Stream, StreamSettings
from pystream.server import http as wire
from pystream.server.connections import Limits
from pystream.server.gauges import Board
from pystream.server.guard import limiter as limiting
from pystream.server.guard.limiter import TABLE_BYTES, Limiter, Refusal
from pystream.server.routes import Kind
from pystream.server.settings import Budget, Guard, Network, load
from tests.free_ports import free_port
from tests.test_connections import certificate, over_tls, serving, trusting
from tests.test_serve import SAMPLE, Node, fetch, node_in
from tests.waiting import PATIENCE, until

HOST = "192.0.2.7"
FILM = Stream(
    id=1,
    tenant_id=1,
    tenant="acme",
    name="film",
    settings=StreamSettings(sources=("film.mp4",)),
    created_at=0,
    removed_at=None,
    revision=1,
)
FEW = Guard(
    others=Budget("2 at once, 1 a minute"),
    errors=Budget("1 at once, 1 a minute"),
    grant_segments=Budget("2 at once, 1 a second"),
    slowed=Budget("1 at once, 1 a minute"),
    refused=Budget("1 at once, 1 a minute"),
)


class Clock:
    """Of a test, which moves it."""

    def __init__(self) -> None:
        # The last second of a day.
        self.now = 1_800_000_000 // 86_400 * 86_400 - 1.0

    def us(self) -> int:
        return int(self.now * 1_000_000)


class Shared:
    """A board with as many workers' limiters as are asked for, which share a table."""

    def __init__(
        self,
        settings: Guard,
        exempt: tuple[Network, ...] = (),
        workers: int = 1,
        table_bytes: int = TABLE_BYTES,
    ) -> None:
        self.clock = Clock()
        self.board = Board(Board.create(workers))
        self.settings, self.exempt = settings, exempt
        self._fd = _core.Gcra.create(table_bytes)

    def limiter(self) -> Limiter:
        seat = self.board.take(0)
        clock = self.clock
        return Limiter(
            self.settings,
            self.exempt,
            self._fd,
            bytes(32),
            self.board,
            seat,
            clock=clock.us,
            wall=lambda: clock.now,
        )


def asked(limiter: Limiter, times: int, kind: Kind | None = None, host: str = HOST) -> list[int]:
    """The statuses of refusals; 0 where there is none."""
    refusals = (limiter.arrive(host, kind) for _ in range(times))
    return [0 if refusal is None else refusal.status for refusal in refusals]


def test_a_ladder_over_all_workers() -> None:
    node = Shared(FEW)
    one, other = node.limiter(), node.limiter()
    assert asked(one, 1) + asked(other, 2) + asked(one, 3) == [0, 0, 503, 429, 429, 429]
    assert one.banned(HOST) and other.banned(HOST) and not other.banned("192.0.2.8")
    assert (one.news(), other.news(), other.news()) == (True, True, False)
    totals = node.board.totals()
    assert totals.bans == 1
    assert totals.guarded == {"slowed": 1, "refused": 1, "banned": 2}
    assert other.turned_away(HOST) and node.board.totals().guarded["banned"] == 3
    node.clock.now += 61
    assert not one.banned(HOST) and asked(one, 1) == [0]


def test_refusals_say_when_to_come_again_and_which_end_the_connection() -> None:
    limiter = Shared(FEW).limiter()
    asked(limiter, 2)
    refusals = [limiter.arrive(HOST, None) for _ in range(3)]
    told = [(each.status, each.closes, each.headers) for each in refusals if each]
    wait = (("Retry-After", "60"),)
    assert told == [(503, False, wait), (429, True, wait), (429, True, wait)]


def test_a_ban_and_a_count_outlast_the_day_whose_secret_hid_them() -> None:
    node = Shared(FEW)
    limiter = node.limiter()
    asked(limiter, 5)
    asked(limiter, 1, host="192.0.2.8")
    node.clock.now += 2
    before = limiter.banned(HOST)
    limiter.tick()
    assert before and limiter.banned(HOST)
    assert asked(limiter, 2, host="192.0.2.8") == [0, 503]
    assert node.limiter().banned(HOST)


def test_the_table_holds_no_address() -> None:
    node = Shared(FEW)
    limiter = node.limiter()
    asked(limiter, 5)
    asked(limiter, 5, host="2001:db8:7:7::1")
    table = os.pread(node._fd, 2 * TABLE_BYTES, 0)
    assert any(table[4096:])
    for mark in (bytes((192, 0, 2, 7)), b"192.0.2.7", b"\x20\x01\x0d\xb8\0\7\0\7", b"2001:db8"):
        assert mark not in table


@pytest.mark.parametrize(("http", "counted"), [("dry-run", 1), ("off", 0)])
def test_where_nobody_is_refused_it_may_be_counted_still(
    http: Any, counted: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Guard(
        http=http, others=FEW.others, slowed=FEW.slowed, refused=FEW.refused, errors=FEW.errors
    )
    node = Shared(settings)
    limiter = node.limiter()
    assert asked(limiter, 9) == [0] * 9
    assert limiter.erred(HOST) is None and limiter.connect(HOST) is not None
    assert limiter.shakes(HOST) and not limiter.banned(HOST)
    assert node.board.totals().bans == counted
    said = [vars(record) for record in caplog.records]
    assert [each["fields"]["dry_run"] for each in said] == [True] * 3 * counted


def test_what_is_said_names_nobody_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Shared(FEW).limiter()
    for host in (HOST, "192.0.2.8"):
        asked(limiter, 9, host=host)
    said = [(record.getMessage(), vars(record)["fields"]) for record in caplog.records]
    assert said == [
        ("source-slowed", {"requests": "others"}),
        ("source-refused", {"requests": "others"}),
        ("source-banned", {"requests": "others", "seconds": 60}),
    ]


def test_what_goes_on_is_said_again_a_minute_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = Shared(Guard(others=FEW.others)).limiter()
    for now in (1000.0, 1059.0, 1061.0, 1120.0, 1122.0):
        clock = SimpleNamespace(monotonic=lambda now=now: now, time=time.time)
        monkeypatch.setattr(limiting, "time", clock)
        limiter.tick()
        asked(limiter, 9)
    assert [each.getMessage() for each in caplog.records] == ["source-slowed"] * 3


def test_mistakes_and_connections_have_budgets_and_proxies_none() -> None:
    few = Budget("2 at once, 1 a minute")
    settings = Guard(errors=FEW.errors, connections=few, handshakes=few, open_connections=2)
    limiter = Shared(settings, (Network("198.51.100.0/24"), Network("unix"))).limiter()
    assert [limiter.connect(HOST) is None for _ in range(3)] == [False, False, True]
    assert [limiter.shakes(HOST) for _ in range(3)] == [True, True, False]
    assert [limiter.erred(HOST) is None for _ in range(2)] == [True, False]
    for exempt in ("127.0.0.1", "::1", "198.51.100.9", "::ffff:198.51.100.9", "unix"):
        assert all(limiter.connect(exempt) == () for _ in range(9))
        assert all(limiter.shakes(exempt) for _ in range(9))
        assert all(limiter.erred(exempt) is None for _ in range(9))


def test_the_machines_own_addresses_are_exempt_unless_the_environment_names_none() -> None:
    """So limits are tried on one machine, as README says."""
    none = load(None, {"PYSTREAM_GUARD_EXEMPT": ""}).guard
    for settings, wanted in ((Guard(), [True, True]), (none, [False, False])):
        limiter = Shared(Guard(exempt=settings.exempt, open_connections=1)).limiter()
        held = [[limiter.connect(host) for _ in range(2)] for host in ("127.0.0.5", "::1")]
        assert [other is not None for _, other in held] == wanted


def test_a_source_and_its_network_have_only_so_many_connections_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Shared(Guard(open_connections=2, network_times=2))
    limiter = node.limiter()
    held = [limiter.connect(HOST) for _ in range(3)]
    assert [each is None for each in held] == [False, False, True]
    # Its network has two left, whoever asks for them.
    others = [limiter.connect(f"192.0.2.{last}") for last in (8, 9, 10)]
    assert [each is None for each in others] == [False, False, True]
    assert limiter.connect("198.51.100.7") is not None
    for each in (held[0], others[0]):
        assert each
        limiter.give_back(each)
    assert [limiter.connect(HOST) is None for _ in range(2)] == [False, True]
    assert limiter.connect("192.0.2.10") is not None
    # An IPv6 source is a /64, and its network the /48.
    six = [limiter.connect(f"2001:db8:0:{net}::{at}") for net in range(3) for at in range(1, 4)]
    assert [each is None for each in six] == [False, False, True] * 2 + [True] * 3
    assert node.board.totals().guarded == {"slowed": 0, "refused": 8, "banned": 0}
    assert "192.0" not in caplog.text and "2001" not in caplog.text


def test_where_nobody_is_refused_connections_are_counted_still() -> None:
    node = Shared(Guard(http="dry-run", open_connections=1))
    limiter = node.limiter()
    held = [limiter.connect(HOST) for _ in range(3)]
    assert node.board.totals().guarded["refused"] == 2
    for each in held:
        assert each
        limiter.give_back(each)
    assert limiter.connect(HOST) and node.board.totals().guarded["refused"] == 2


def test_a_source_that_has_what_it_may_fits_the_shares_of_all_workers() -> None:
    limiters = [Shared(Guard(open_connections=400), workers=8).limiter() for _ in range(20)]
    for limiter, source in zip(limiters, range(20), strict=True):
        chance = random.Random(source)
        mine = sum(chance.randrange(8) == 0 for _ in range(400))
        assert all(limiter.connect(HOST) for _ in range(mine))
        assert any(limiter.connect(HOST) is None for _ in range(60))


def test_places_that_were_taken_from_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Shared(Guard(), table_bytes=64).limiter()
    for last in range(64):
        limiter.arrive(f"192.0.2.{last}", None)
        limiter.tick()
    (told,) = caplog.records
    assert told.getMessage() == "limits-displaced" and vars(told)["fields"]["count"] > 0
    assert "192.0" not in caplog.text


def test_a_grant_has_a_budget_of_its_own() -> None:
    limiter = Shared(FEW).limiter()

    def fetched(session: bytes, address: str = HOST) -> bool:
        try:
            limiter.granted(address, session, FILM, Kind.SEGMENT)
        except Refusal as refusal:
            assert refusal.status in (429, 503)
            return False
        return True

    assert [fetched(b"a" * 16) for _ in range(4)] == [True, True, False, False]
    assert fetched(b"b" * 16)
    assert not limiter.banned(HOST)
    # Whose address is never limited is not by his grant either.
    assert all(fetched(b"c" * 16, "127.0.0.1") for _ in range(100))


def test_the_longest_ban_comes_again_for_who_goes_on_at_once() -> None:
    node = Shared(Guard())
    limiter = node.limiter()

    def banned() -> int:
        """Attacks until there is a ban, and sits it out; its seconds."""
        done, seconds = limiter.offend(HOST) or ("", 0)
        if done == "limited":
            done, seconds = limiter.offend(HOST) or ("", 0)
        assert done == "banned" and limiter.banned(HOST)
        node.clock.now += seconds
        assert not limiter.banned(HOST)
        return seconds

    longest = 43_200
    doubled = [60 * 2**n for n in range(10)]
    assert [banned() for _ in range(13)] == [*doubled, longest, longest, longest]
    node.clock.now += 1.5 * longest
    assert banned() == longest / 2
    node.clock.now += 2 * longest
    assert banned() == 60


def test_other_settings_keep_what_was_counted() -> None:
    node = Shared(FEW)
    limiter = node.limiter()
    asked(limiter, 5)
    limiter.reload(Guard(), ())
    assert limiter.banned(HOST)
    limiter.reload(Guard(exempt=(Network("192.0.2.0/24"),)), ())
    assert not limiter.banned(HOST)


# A process, which says how often it was let go on, and how many bans it has begun.
PROCESS = """
import sys
from pystream import _core
never = 0, 0
limiter = _core.Limiter(
    int(sys.argv[1]), (bytes(16), bytes(16)), kinds=[[(500, 1_000_000), never, never, never]],
    offences=(50, 1_000_000), strikes=(50, 1_000_000), bans_us=(60_000_000, 60_000_000), exempt=[],
)
print(flush=True)
sys.stdin.read()
said = [limiter.arrive("192.0.2.7", 0, 5_000_000) & 7 for _ in range(1000)]
print(*(said.count(level) for level in (0, _core.Limiter.SOFT, _core.Limiter.HARD, _core.Limiter.BEGAN)))
"""


def test_processes_share_one_limit_and_one_ladder() -> None:
    fd = _core.Gcra.create(TABLE_BYTES)
    pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PROCESS, str(fd)]
    try:
        processes = [subprocess.Popen(command, pass_fds=[fd], **pipe) for _ in range(3)]
    finally:
        os.close(fd)
    for each in processes:
        assert each.stdout is not None and each.stdout.readline() == "\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.close()
    told = []
    for each in processes:
        with each:
            assert each.stdout is not None
            told.append([int(word) for word in each.stdout.read().split()])
    assert [sum(counts) for counts in zip(*told, strict=True)] == [500, 50, 50, 1]


# Those who never meet it.


def join(
    begin: float, seconds: float, source: random.Random
) -> Iterator[tuple[float, Kind | None]]:
    """What one viewer's browser asks for: six connections, page and files, a password typed twice, a
    playlist of each rendition, and a segment of picture and sound every two seconds."""
    at = begin
    for kind in (None,) * 10 + (Kind.SESSION,) * 2 + (Kind.MULTIVARIANT,) + (Kind.PLAYLIST,) * 3:
        yield at, kind
        at += source.random() * 0.1
    for kind in (Kind.INIT, Kind.KEY) * 2 + (Kind.SEGMENT,) * 30:
        yield at, kind
        at += source.random() * 0.05
    while at < begin + seconds:
        for kind in (Kind.SEGMENT, Kind.SEGMENT, Kind.KEY):
            yield at, kind
        at += 2


def zap(begin: float, seconds: float, source: random.Random) -> Iterator[tuple[float, Kind | None]]:
    """One who seeks, and changes the quality, twice a second."""
    at = begin
    while at < begin + seconds:
        yield at, Kind.PLAYLIST
        for kind in (Kind.INIT, Kind.KEY) + (Kind.SEGMENT,) * 6:
            yield at, kind
        at += 0.4 + 0.2 * source.random()


@pytest.mark.parametrize(
    ("viewers", "plays"), [(300, join), (6, zap)], ids=["lecture hall", "household that zaps"]
)
def test_a_crowd_behind_one_address_is_never_slowed(viewers: int, plays: Any) -> None:
    """All within five seconds, for two minutes; one in ten types a wrong password."""
    node = Shared(Guard())
    limiter = node.limiter()
    source = random.Random(7)
    begin = node.clock.now
    events: list[tuple[float, int, Kind | None]] = []
    for viewer in range(viewers):
        start = begin + 5 * source.random()
        for _ in range(6):
            events.append((start, viewer, Kind.OFFICE))
        events += [(at, viewer, kind) for at, kind in plays(start, 120, source)]
    events.sort(key=lambda each: each[0])
    for at, viewer, kind in events:
        node.clock.now = at
        if kind is Kind.OFFICE:
            assert limiter.connect(HOST) is not None and limiter.shakes(HOST)
            continue
        refusal = limiter.arrive(HOST, kind)
        assert refusal is None, (at - begin, kind)
        if kind is Kind.SESSION and viewer % 10 == 0:
            assert limiter.erred(HOST) is None
        if kind in (Kind.PLAYLIST, Kind.SEGMENT, Kind.KEY, Kind.INIT):
            limiter.granted(HOST, viewer.to_bytes(16, "big"), FILM, kind)
    assert node.board.totals().guarded == {"slowed": 0, "refused": 0, "banned": 0}


# Connections.


def test_that_there_is_no_room_for_a_body_is_no_mistake_of_who_brings_it(tmp_path: Path) -> None:
    few = Guard(exempt=(), errors=FEW.errors)
    room = wire.Limits(body=10, long_bodies=wire.LongBodies(lambda method, path: 1000, 0))
    long = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    limits, limiter = Limits(request=room), Shared(few).limiter()
    with serving(tmp_path, limits, limiter=limiter) as server:
        assert all(b"too many long bodies" in server.raw(long) for _ in range(3))
        said = [server.raw(b"GET\r\n\r\n")[9:12] for _ in range(3)]
    assert said == [b"400", b"503", b"503"]


# The real server.

GUARD = """[guard]
exempt = []
others = "3 at once, 1 a minute"
slowed = "2 at once, 1 a minute"
refused = "2 at once, 1 a minute"
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        made.add_film()
        yield made


def connect(node: Node, source: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(
        "127.0.0.1", node.port, timeout=PATIENCE, source_address=(source, 0)
    )


def start(node: Node, server: str, rest: str, **more: str) -> None:
    node.settings(server, rest)
    node.start(**more)
    node.hear("READY=1")


def statuses(
    node: Node, source: str, times: int, path: str = "/acme/film/"
) -> list[tuple[int, str]]:
    """Of requests on as few connections as there may be: the status, and what became of the
    connection; 0 where it was reset before an answer came."""
    found = []
    connection = connect(node, source)
    for _ in range(times):
        try:
            status, fields, _ = fetch(connection, path)
        except ConnectionResetError:
            found.append((0, "reset"))
            connection.close()
            continue
        ends = fields.get("connection") == "close"
        found.append((status, "close" if ends else "keep"))
    connection.close()
    return found


def test_a_source_climbs_the_ladder_and_its_neighbours_do_not(node: Node) -> None:
    metrics_port = free_port()
    start(node, "workers = 2\n", GUARD, PYSTREAM_SERVER_ADMIN=f"127.0.0.1:{metrics_port}")
    idle = [connect(node, "127.0.0.5") for _ in range(6)]
    for connection in idle:
        connection.connect()
    found = statuses(node, "127.0.0.5", 9)
    assert Counter(found) == Counter(
        {(200, "keep"): 3, (503, "keep"): 2, (429, "close"): 3, (0, "reset"): 1}
    )
    # Those that were open are ended by either worker.
    for connection in idle:
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
        connection.close()
    assert statuses(node, "127.0.0.6", 2) == [(200, "keep")] * 2
    assert statuses(node, "127.1.0.1", 1) == [(200, "keep")]
    (event,) = node.events("source-banned")
    assert event["seconds"] == 60 and "127.0" not in json.dumps(event)
    with closing(http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=PATIENCE)) as admin:
        _, _, text = fetch(admin, "/metrics")
    assert b'pystream_guarded_total{done="slowed"} 2\n' in text
    assert b"pystream_bans_total 1\n" in text


class Talk:
    """A connection from `source`, on which bytes are sent as they are given."""

    def __init__(self, node: Node, source: str) -> None:
        self.peer = socket.create_connection(("127.0.0.1", node.port), PATIENCE, (source, 0))
        self.answers = self.peer.makefile("rb")

    def asks(self, data: bytes, answers: int = 1, *, bodies: bool = True) -> list[bytes]:
        """The statuses of so many answers."""
        self.peer.sendall(data)
        return [self._status(bodies) for _ in range(answers)]

    def _status(self, has_body: bool) -> bytes:
        status = self.answers.readline()[9:12]
        fields = http.client.parse_headers(self.answers)
        length = int(fields["Content-Length"]) if has_body else 0
        assert len(self.answers.read(length)) == length
        return status

    def close(self) -> None:
        self.answers.close()
        self.peer.close()


def test_what_is_asked_again_word_for_word_is_refused_as_long_as_nothing_comes_between(
    node: Node,
) -> None:
    few = '[guard]\nexempt = []\nothers = "2 at once, 1 a minute"\n'
    start(node, "workers = 1\n", few)
    request = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
    other = b"GET /t/x/acme/film/master.m3u8 HTTP/1.1\r\nHost: a\r\n\r\n"
    with_body = b"GET /none HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    first, rest = request[:20], request[20:]
    with closing(Talk(node, "127.0.0.5")) as one, closing(Talk(node, "127.0.0.6")) as another:

        def asked(data: bytes, answers: int = 1, **how: bool) -> list[bytes]:
            """Each time after a refusal, so that what was refused is what is remembered."""
            assert one.asks(request) == [b"503"]
            return one.asks(data, answers, **how)

        assert [*one.asks(request), *one.asks(request)] == [b"404"] * 2
        assert asked(request) == [b"503"]
        # Of another kind, and of its own budget.
        assert asked(other) == [b"403"]
        # At once, or with a body behind it; and a head alone has none.
        assert asked(3 * request, 3) == [b"503"] * 3
        assert [*asked(with_body), *asked(with_body + request, 2)] == [b"503"] * 3
        head = request.replace(b"GET", b"HEAD")
        assert asked(head, bodies=False) == asked(2 * head, 2, bodies=False)[:1] == [b"503"]

        def begins() -> None:
            """With the first half, which is read by the time that somebody else is answered."""
            asked(first, 0)
            another.asks(request)

        # In two pieces it is the same.
        begins()
        assert one.asks(rest) == [b"503"]
        # Behind half a head it is something else.
        begins()
        assert one.asks(request) == [b"400"]
    with closing(Talk(node, "127.0.0.5")) as one:
        # As it is behind what would have been a body.
        assert one.asks(request) == one.asks(request + b"hello") == [b"503"]
        assert one.asks(request) == [b"501"]


@pytest.mark.slow
@pytest.mark.needs("openssl")
def test_who_is_only_sent_to_https_is_counted_too(node: Node) -> None:
    certificate(node.folder, "film.example")
    tls = f"[tls]\nlisten = ['127.0.0.1:{free_port()}']\nredirect = true\n"
    tls += "[[tls.certificates]]\ncertificate = 'film.example.pem'\nkey = 'film.example.key'\n"
    few = "[guard]\nexempt = []\nothers = '3 at once, 1 a minute'\n"
    start(node, "workers = 1\n", few + tls)
    statuses = []
    for _ in range(5):
        come = http.client.HTTPConnection(
            "127.0.0.1", node.port, timeout=PATIENCE, source_address=("127.0.0.6", 0)
        )
        with closing(come):
            statuses.append(fetch(come, "/acme/film/master.m3u8")[0])
    assert statuses == [308, 308, 308, 503, 503]


@pytest.mark.slow
@pytest.mark.needs("openssl")
def test_who_comes_by_the_wrong_way_makes_a_mistake(node: Node) -> None:
    certificate(node.folder, "film.example")
    tls = f"[tls]\nlisten = ['127.0.0.1:{free_port()}']\nredirect = true\n"
    tls += "[[tls.certificates]]\ncertificate = 'film.example.pem'\nkey = 'film.example.key'\n"
    few = (
        "[guard]\nexempt = []\nerrors = '2 at once, 1 a minute'\nslowed = '1 at once, 1 a minute'\n"
    )
    start(node, "workers = 1\ntrusted_proxies = ['127.0.0.9']\n", few + tls)
    # Nobody can say where it is to go.
    without_host = b"GET /acme/film/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with closing(Talk(node, "127.0.0.6")) as one:
        found = [one.asks(without_host)[0] for _ in range(4)]
        assert found == [b"400", b"400", b"503", b"429"]
        # With which the connection has ended.
        with suppress(ConnectionError):
            one.peer.sendall(without_host)
        assert not one.answers.read()
    # Of fields that contradict each other any may be made up: of neither address is it a mistake.
    both = b"GET /none HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.8\r\n\r\n"
    https = b"\r\nX-Forwarded-Proto: https\r\n\r\n"
    with closing(Talk(node, "127.0.0.9")) as proxy:
        assert {proxy.asks(both)[0] for _ in range(9)} == {b"400"}
        for client in (b"192.0.2.7", b"192.0.2.8"):
            only = b"GET /none HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + client + https
            assert proxy.asks(only) == [b"404"]


@pytest.mark.slow
def test_300_who_play_behind_one_address_get_all_that_they_ask_for(node: Node) -> None:
    """Each with a connection of his own, all at once from the first segment on, by the usual budgets."""
    metrics_port = free_port()
    admin = {"PYSTREAM_SERVER_ADMIN": f"127.0.0.1:{metrics_port}"}
    start(node, "workers = 2\n", "[guard]\nexempt = []\n", **admin)
    url = f"http://127.0.0.1:{node.port}/acme/film/master.m3u8"
    load = [sys.executable, "-m", "benchmarks.load", url, "--viewers", "300", "--together"]
    load += ["--seconds", "6", "--stall", "0", "--json"]
    done = subprocess.run(
        load, capture_output=True, check=True, cwd=Path(__file__).parent.parent, timeout=PATIENCE
    )
    found = json.loads(done.stdout)
    assert found["errors"] == {} and found["requests_by_kind"]["segment"] >= 300
    with closing(http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=PATIENCE)) as asked:
        text = fetch(asked, "/metrics")[2].decode()
    for done_to in ("slowed", "refused", "banned"):
        assert f'pystream_guarded_total{{done="{done_to}"}} 0\n' in text


def test_settings_change_while_it_serves(node: Node) -> None:
    start(node, "", GUARD)
    statuses(node, "127.0.0.5", 8)
    assert statuses(node, "127.0.0.5", 1) == [(0, "reset")]
    node.settings("", GUARD + 'http = "dry-run"\n')
    node.signal(signal.SIGHUP)
    node.hear("READY=1")
    assert statuses(node, "127.0.0.5", 9) == [(200, "keep")] * 9


def test_behind_a_proxy_its_client_is_who_counts(node: Node) -> None:
    start(node, 'trusted_proxies = ["127.0.0.9"]\n', GUARD)
    connection = connect(node, "127.0.0.9")

    def ask(client: str) -> tuple[int, str | None]:
        connection.request("GET", "/acme/film/", headers={"X-Forwarded-For": client})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("connection")

    with closing(connection):
        found = [ask("192.0.2.7") for _ in range(9)]
        # The connection is others' as well, and stays.
        assert found == [(200, None)] * 3 + [(503, None)] * 2 + [(429, None)] * 4
        assert [ask("192.0.2.8") for _ in range(3)] == [(200, None)] * 3


def test_as_many_connections_are_open_as_may_be(node: Node) -> None:
    start(node, "", "[guard]\nexempt = []\nopen_connections = 2\n")
    one, other = connect(node, "127.0.0.5"), connect(node, "127.0.0.5")
    with closing(one), closing(other):
        for connection in (one, other):
            assert fetch(connection, "/acme/film/")[0] == 200
        assert statuses(node, "127.0.0.5", 1) == [(0, "reset")]
        assert statuses(node, "127.0.0.6", 1) == [(200, "keep")]
        one.close()
        until(lambda: statuses(node, "127.0.0.5", 1) == [(200, "keep")])
        assert fetch(other, "/acme/film/")[0] == 200


def test_whom_a_proxy_speaks_for_has_the_connections_that_it_opens(node: Node) -> None:
    server = 'proxy_protocol = true\ntrusted_proxies = ["127.0.0.9"]\n'
    start(node, server, "[guard]\nexempt = []\nopen_connections = 1\n")

    def come(client: str) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", node.port), PATIENCE, ("127.0.0.9", 0))
        peer.sendall(f"PROXY TCP4 {client} 192.0.2.1 1 2\r\n".encode())
        peer.sendall(b"GET /acme/film/ HTTP/1.1\r\nHost: a\r\n\r\n")
        return peer

    def is_heard(client: str) -> bool:
        with come(client) as peer, suppress(ConnectionResetError):
            return peer.recv(12) == b"HTTP/1.1 200"
        return False

    with come(HOST) as held:
        assert held.recv(12) == b"HTTP/1.1 200"
        assert not is_heard(HOST) and is_heard("198.51.100.8")
    until(lambda: is_heard(HOST))


def test_handshakes_are_limited_before_they_begin(node: Node) -> None:
    shown, port = certificate(node.folder, "a.example"), free_port()
    tls = f'[tls]\nlisten = ["127.0.0.1:{port}"]\n[[tls.certificates]]\n'
    tls += f'certificate = "{shown.certificate}"\nkey = "{shown.key}"\n'
    start(node, "", tls + '[guard]\nexempt = []\nhandshakes = "2 at once, 1 a minute"\n')
    for _ in range(2):
        with over_tls(port, trusting(shown), "a.example") as peer:
            assert peer.version() == "TLSv1.3"
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        over_tls(port, trusting(shown), "a.example")
    # Who speaks no TLS is told so.
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as clear:
        clear.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert clear.recv(12) == b"HTTP/1.1 400"


def test_who_begins_requests_and_does_not_end_them_makes_mistakes(node: Node) -> None:
    limits = "[limits]\nheader_seconds = 0.05\n"
    start(node, "", limits + '[guard]\nexempt = []\nerrors = "1 at once, 1 a minute"\n')
    # Who says nothing, as browsers do that connect ahead, makes none.
    for source, said, then in (("127.0.0.5", b"", 404), ("127.0.0.6", b"GET / HT", 503)):
        with socket.create_connection(("127.0.0.1", node.port), PATIENCE, (source, 0)) as peer:
            peer.sendall(said)
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""
        assert statuses(node, source, 1, "/none")[0][0] == then


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /acme/film/ HTTP/1.1\r\nHost: a\r\nX-More: ",
        b"POST /acme/film/session HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n",
    ],
    ids=["head", "body"],
)
def test_a_request_has_its_time_however_it_trickles_in(node: Node, begun: bytes) -> None:
    """Each byte comes soon enough behind the one before, and all of them never."""
    start(node, "", "[limits]\nheader_seconds = 0.5\nbody_seconds = 0.5\nidle_seconds = 600\n")
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as peer:
        peer.sendall(begun)

        def is_over() -> bool:
            try:
                peer.sendall(b"x")
            except OSError:
                return True
            return bool(select.select([peer], [], [], 0)[0])

        until(is_over)
        with suppress(ConnectionResetError):
            assert peer.recv(12) in (b"", b"HTTP/1.1 408")


def test_who_takes_a_little_now_and_then_is_given_up(node: Node) -> None:
    """Some bytes at each turn, which any byte a second would do for, and far fewer than have to be taken."""
    with Store.open(str(node.folder / "pystream.db")) as store:
        whole = replace(FILM.settings, sources=(str(SAMPLE),), segment_duration_ms=3_600_000)
        store.add_stream("acme", "whole", whole, who="test", now=0)
    start(node, "", "[limits]\nsend_stall_seconds = 1\nsend_bytes_a_second = 1_000_000\n")
    path = node.film("whole")
    length = len(node.get(path)[2])
    taken = 0
    with socket.socket() as peer, closing(connect(node, "127.0.0.6")) as other:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(PATIENCE)
        peer.connect(("127.0.0.1", node.port))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with suppress(ConnectionResetError):
            while came := peer.recv(1024):
                taken += len(came)
                # As long as these take, a turn lasts.
                for _ in range(4):
                    assert fetch(other, "/acme/film/")[0] == 200
    assert 0 < taken < length


def test_mistakes_in_the_office_are_counted(node: Node) -> None:
    guard = '[guard]\nexempt = []\nerrors = "2 at once, 1 a minute"\n'
    start(node, "", guard + "[console]\nenabled = true\n")
    until(lambda: node.get("/api/v1/openapi.json")[0] == 200)
    found = [statuses(node, "127.0.0.5", 1, "/api/v1/streams")[0][0] for _ in range(3)]
    assert found == [401, 401, 503]


def test_mistakes_are_counted_whatever_they_are_about(node: Node) -> None:
    start(node, "", '[guard]\nexempt = []\nerrors = "3 at once, 1 a minute"\n')
    paths = ["/", "/acme/none/", "/t/forged/acme/film/master.m3u8"]
    found = [statuses(node, "127.0.0.5", 1, path)[0] for path in paths]
    assert [status for status, _ in found] == [404, 404, 403]
    assert statuses(node, "127.0.0.5", 1, "/other") == [(503, "keep")]
    assert statuses(node, "127.0.0.5", 1) == [(200, "keep")]


def test_a_forged_grant_takes_nothing_from_the_real_one(node: Node) -> None:
    """Who asks is counted before the grant is looked at, and the grant when it is right: who makes some up
    fills no table, and spends no budget but that of the own address."""
    guard = '[guard]\nexempt = []\ngrant_segments = "3 at once, 1 a minute"\n'
    start(
        node, "", guard + 'segments = "12 at once, 1 a minute"\nslowed = "99 at once, 1 a minute"\n'
    )
    path = node.film()
    grant = path.split("/")[2]
    forged = path.replace(grant, grant[:-4] + ("AAAA" if grant[-4:] != "AAAA" else "BBBB"))
    assert [node.get(forged)[0] for _ in range(8)] == [403] * 8
    assert [node.get(path)[0] for _ in range(4)] == [200] * 3 + [503]
    # The address has asked twelve times.
    assert node.get(forged)[0] == 503


def test_one_viewer_fetches_no_more_than_one_plays(node: Node) -> None:
    guard = '[guard]\nexempt = []\ngrant_segments = "3 at once, 1 a minute"\n'
    start(node, "", guard)
    one, other = node.film(), node.film()
    assert [node.get(one)[0] for _ in range(5)] == [200] * 3 + [503] * 2
    assert node.get(other)[0] == 200
