"""Overload: the verdict on given numbers, the door that asks for it, and real load."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urljoin

import pytest

from pystream import _core
from pystream.acl.grants import ADMITTED, TEST, Grant, Grants
from pystream.acl.keys import Keyring
from pystream.acl.streams import Stream, StreamSettings
from pystream.server.overload import Bounds, Load, Reason, retry_after, verdict

trio = pytest.importorskip("trio")

from pystream.server.answers import Answers  # noqa: E402
from pystream.server.connections import Connections  # noqa: E402
from pystream.server.door import Door  # noqa: E402
from pystream.server.gauges import VIEWER_SECONDS, Board  # noqa: E402
from pystream.server.http import HttpError  # noqa: E402
from pystream.server.origin import Origin  # noqa: E402
from pystream.server.settings import Overload  # noqa: E402
from tests.test_server import NOW, serving, settings  # noqa: E402

SAMPLE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "pystream/cli/sample.mp4")
ROOMY = Load(egress_bps=10e6, bytes_in_flight=1000, loop_lag_ms=2, viewers=20)
ALL = Bounds(
    egress_bps=100_000_000,
    bytes_in_flight=1_000_000,
    loop_lag_ms=50,
    max_viewers=1000,
    stream_viewers=100,
    tenant_bps=50_000_000,
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"egress_bps": 99_999_999}, None),
        ({"egress_bps": 100_000_000}, Reason.EGRESS),
        ({"bytes_in_flight": 999_999}, None),
        ({"bytes_in_flight": 1_000_000}, Reason.IN_FLIGHT),
        ({"loop_lag_ms": 49.9}, None),
        # Who is late with next to nothing to do, is it because of others.
        ({"loop_lag_ms": 5000, "egress_bps": 39.9e6, "answers": 9}, None),
        ({"loop_lag_ms": 50, "egress_bps": 40e6}, Reason.LAG),
        ({"loop_lag_ms": 49.9, "egress_bps": 40e6, "answers": 99}, None),
        ({"loop_lag_ms": 50, "answers": 10}, Reason.LAG),
        ({"loop_lag_ms": 50, "egress_bps": 0, "viewers": 9, "newcomers": 9}, None),
        ({"loop_lag_ms": 50, "egress_bps": 0, "viewers": 10, "newcomers": 10}, Reason.LAG),
        ({"viewers": 999}, None),
        ({"viewers": 1000}, Reason.VIEWERS),
        ({"stream_viewers": 99}, None),
        ({"stream_viewers": 100}, Reason.STREAM_VIEWERS),
        ({"tenant_bps": 49_999_999}, None),
        ({"tenant_bps": 50_000_000}, Reason.TENANT_RATE),
        # Newcomers count as what others get: 100 Mbit/s by 20 others are 5 Mbit/s for each.
        ({"egress_bps": 80e6, "viewers": 23, "newcomers": 3}, None),
        ({"egress_bps": 80e6, "viewers": 25, "newcomers": 5}, Reason.EGRESS),
        # Nobody has got anything yet, and 25 have just come: at 4 Mbit/s each that will be too much.
        ({"egress_bps": 0, "viewers": 24, "newcomers": 24}, None),
        ({"egress_bps": 0, "viewers": 25, "newcomers": 25}, Reason.EGRESS),
        (
            {"egress_bps": 0, "viewers": 13, "newcomers": 13, "tenant_newcomers": 13},
            Reason.TENANT_RATE,
        ),
        ({"egress_bps": 0, "viewers": 13, "newcomers": 13, "tenant_newcomers": 12}, None),
    ],
)
def test_the_verdict_on_given_numbers(changes: dict[str, Any], reason: Reason | None) -> None:
    assert verdict(replace(ROOMY, **changes), ALL) is reason


def test_what_has_no_bound_is_never_full() -> None:
    everything = Load(1e15, 10**15, 10**6, 10**6, 10**6, 10**6, 10**12, 10**6, 10**6)
    assert verdict(everything, Bounds()) is None


def test_who_is_turned_away_comes_again_at_some_time_of_ten_seconds() -> None:
    chances = [n / 1000 for n in range(1000)]
    assert set(map(retry_after, chances)) == set(range(5, 16))


# The door


class Rooms:
    """A board, its workers' doors, and a clock that stands still until told."""

    def __init__(self, workers: int = 1, **overload: Any) -> None:
        self.now = 1000.0
        fd = Board.create(workers)
        self.board = Board(fd)
        meter = _core.Meter(_core.Meter.create(1024))
        os.close(fd)
        limits = Overload(loop_lag_ms=100, **overload)
        self.tenants: dict[str, int] = {}
        self.doors = [
            Door(
                limits,
                self.board,
                self.board.take(n),
                meter,
                lambda _: "acme",
                self.tenants.get,
                lambda: self.now,
            )
            for n in range(workers)
        ]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for door in self.doors:
            door.sample()


def stream(number: int = 1, **changes: Any) -> Stream:
    return Stream(
        id=number,
        tenant_id=1,
        tenant="acme",
        name=f"film{number}",
        settings=StreamSettings(sources=("/film.mp4",), **changes),
        created_at=NOW,
        removed_at=None,
        revision=1,
    )


def grant(session: bytes, *, age: float = 3600, stream_id: int = 1) -> Grant:
    now = int(time.time())
    return Grant(stream_id, session, now - int(age), now + 3600, 0)


def session(number: int) -> bytes:
    return number.to_bytes(8)


def refused(door: Door, number: int, of: Stream) -> HttpError:
    with pytest.raises(HttpError) as caught:
        door.admit(of, session(number))
    assert caught.value.status == 503
    ((name, value),) = caught.value.headers
    assert name == "Retry-After" and 5 <= int(value) <= 15
    return caught.value


def test_a_stream_has_as_many_viewers_as_it_may() -> None:
    rooms = Rooms()
    (door,) = rooms.doors
    small = stream(1, max_viewers=2)
    door.admit(small, session(1))
    door.admit(small, session(2))
    refused(door, 3, small)
    # Beside it there is room.
    door.admit(stream(2), session(4))
    assert rooms.board.totals().refused[Reason.STREAM_VIEWERS] == 1
    assert rooms.board.totals().admitted == 3


def test_a_test_takes_a_place_and_is_in_no_sum() -> None:
    rooms = Rooms(workers=2)
    one, other = rooms.doors
    small = stream(1, max_viewers=2)
    one.admit(small, session(1), is_test=True)
    one.admit(small, session(2))
    refused(one, 3, small)
    rooms.pass_time(1)
    refused(other, 3, small)
    # To whichever worker it goes on.
    tester = replace(grant(session(1)), flags=ADMITTED | TEST)
    for first in (True, False):
        other.enter(small, tester, first)
        one.enter(small, tester, first)
    assert rooms.board.viewers() == {1: 1} and rooms.board.places() == {1: 2}
    assert rooms.board.totals().admitted == 1 and rooms.board.admitted() == 2
    # Who comes back long after is let in anew, and is what it was.
    for _ in range(2):
        rooms.pass_time(VIEWER_SECONDS + 1)
    other.enter(small, tester, True)
    assert rooms.board.viewers() == {} and rooms.board.places() == {1: 1}
    assert rooms.board.totals().admitted == 1 and rooms.board.admitted() == 3


def test_who_is_inside_goes_on_and_whoever_leaves_makes_room() -> None:
    rooms = Rooms()
    (door,) = rooms.doors
    small = stream(1, max_viewers=1)
    door.admit(small, session(1))
    for _ in range(4):
        rooms.pass_time(VIEWER_SECONDS - 1)
        door.enter(small, grant(session(1)), True)
        refused(door, 2, small)
    rooms.pass_time(VIEWER_SECONDS + 1)
    rooms.pass_time(VIEWER_SECONDS + 1)
    door.admit(small, session(2))
    # The first one comes back with his old grant, and is a newcomer.
    with pytest.raises(HttpError):
        door.enter(small, grant(session(1)), True)
    # But what he asks for in the midst of the film he gets: he was paused.
    door.enter(small, grant(session(1)), False)
    door.enter(small, grant(session(1)), True)


def test_workers_know_each_others_viewers() -> None:
    rooms = Rooms(workers=2)
    one, other = rooms.doors
    small = stream(1, max_viewers=2)
    one.admit(small, session(1))
    rooms.pass_time(1)
    # Known there, however old the grant is; still one viewer.
    other.enter(small, grant(session(1)), True)
    assert rooms.board.viewers() == {1: 1}
    other.admit(small, session(2))
    rooms.pass_time(1)
    refused(one, 3, small)
    # Let in by another worker a moment ago, and not yet seen by anybody.
    one.enter(small, grant(session(4), age=1), True)
    with pytest.raises(HttpError):
        one.enter(small, grant(session(5), age=60), True)


def test_all_streams_together() -> None:
    rooms = Rooms(workers=2, max_viewers=3)
    one, other = rooms.doors
    one.admit(stream(1), session(1))
    other.admit(stream(2), session(2))
    one.admit(stream(3), session(3))
    refused(other, 4, stream(4))
    assert rooms.board.totals().refused[Reason.VIEWERS] == 1


def test_a_late_worker_and_full_windows_close_the_door_of_all() -> None:
    rooms = Rooms(workers=2, bytes_in_flight=2**20)
    one, other = rooms.board.taken()
    other.set("answers", 10)
    for gauge, half, whole, reason in (
        ("lag_recent_us", 99_000, 100_000, Reason.LAG),
        ("window_bytes", 2**19, 2**20, Reason.IN_FLIGHT),
    ):
        one.set(gauge, half)
        rooms.doors[1].admit(stream(), session(1))
        one.set(gauge, whole)
        refused(rooms.doors[1], 2, stream())
        assert rooms.board.totals().refused[reason] == 1
        one.set(gauge, 0)
    # Windows add up.
    one.set("window_bytes", 2**19)
    other.set("window_bytes", 2**19)
    refused(rooms.doors[0], 3, stream())


def test_the_log_says_why_nobody_is_let_in_and_says_it_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rooms = Rooms(max_viewers=1)
    (door,) = rooms.doors
    (seat,) = rooms.board.taken()
    door.admit(stream(), session(1))

    def told() -> list[Any]:
        lines = [each for each in caplog.records if each.msg == "newcomers-refused"]
        caplog.clear()
        return [vars(each)["fields"]["reason"] for each in lines]

    for n in range(2, 9):
        refused(door, n, stream())
    assert told() == ["viewers"]
    seat.set("answers", 10)
    seat.set("lag_recent_us", 100_000)
    refused(door, 9, stream())
    assert told() == ["loop_lag"]
    rooms.pass_time(59)
    refused(door, 10, stream())
    assert told() == []
    rooms.pass_time(1)
    refused(door, 11, stream())
    (line,) = [vars(each)["fields"] for each in caplog.records]
    assert line == {
        "reason": "loop_lag",
        "stream": "acme/film1",
        "loop_lag_ms": 100,
        "answers": 10,
        "egress_bps": 0,
        "bytes_in_flight": 0,
    }


def test_newcomers_are_reckoned_with_before_they_have_got_anything() -> None:
    rooms = Rooms(workers=2, egress_bps=12_000_000)
    for n in range(3):
        rooms.doors[n % 2].admit(stream(), session(n))
    refused(rooms.doors[1], 9, stream())
    # They have taken nothing, as it turns out.
    for _ in range(6):
        rooms.pass_time(1)
    rooms.doors[1].admit(stream(), session(9))


def test_a_tenants_rate() -> None:
    rooms = Rooms()
    rooms.tenants["acme"] = 8_000_000
    (door,) = rooms.doors
    door.admit(stream(), session(1))
    door.admit(stream(2), session(2))
    refused(door, 3, stream(3))
    assert rooms.board.totals().refused[Reason.TENANT_RATE] == 1


# The server


def test_newcomers_are_asked_to_come_again_and_viewers_go_on() -> None:
    rooms = Rooms()
    site = "https://clinic.example"
    limited = {
        "film": settings("plain.mp4", segment_duration_ms=1000, max_viewers=1, origins=(site,))
    }
    with serving(limited, door=rooms.doors[0]) as server:
        (path,) = server.media("film")
        for newcomer, method in (("/acme/film/master.m3u8", "GET"), ("/acme/film/session", "POST")):
            status, headers, body = server.get(newcomer, method, Origin=site)
            assert status == 503 and 5 <= int(headers["retry-after"]) <= 15
            assert headers["access-control-allow-origin"] == site
            assert "Retry-After" in headers["access-control-expose-headers"]
            assert headers["content-type"] == "application/problem+json"
            assert json.loads(body) == {
                "title": "Service Unavailable",
                "status": 503,
                "detail": "there is no room for one more viewer at present",
                "kind": "full",
            }
        mine = path.split("/")[2]
        theirs = server.answers.grants.issue(1, b"a stranger's own", int(time.time()) - 100, 3600)
        master = path.rsplit("/", 3)[0] + "/master.m3u8"
        assert server.get(path)[0] == server.get(master)[0] == 200
        # With a link from elsewhere one is a newcomer, but not in the midst of the film.
        assert server.get(master.replace(mine, theirs))[0] == 503
        assert server.get(path.replace(mine, theirs))[0] == 200
        # A node that has too much to do is not full.
        server.streams["film"] = replace(
            server.streams["film"], settings=replace(limited["film"], max_viewers=None)
        )
        rooms.board.taken()[0].set("window_bytes", 2**40)
        status, headers, body = server.get("/acme/film/session", "POST")
        assert (status, headers["content-type"]) == (503, "text/plain; charset=utf-8")
        assert body == b"there is no room for one more viewer at present\n"


# Real load

CAPACITY_BPS = 40e6
SPEED = 4
"""A film of 30 s is played in 7.5, so that few viewers are a load."""
SEGMENT_SECONDS = 2 / SPEED


class Network:
    """What all viewers share: so many bits a second, first come, first served."""

    def __init__(self) -> None:
        self._free = 0.0

    async def carry(self, count: int) -> None:
        self._free = max(trio.current_time(), self._free) + count * 8 / CAPACITY_BPS
        await trio.sleep_until(self._free)


class Player:
    """Has two segments before it plays, and fetches one whenever one was played."""

    def __init__(self, port: int, network: Network) -> None:
        self._port = port
        self._network = network
        self.late = 0
        self.segments = 0

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        await self._peer.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        while len(body) < int(fields["Content-Length"]):
            body += await self._receive()
        return int(status.split()[1]), fields, body

    async def _receive(self) -> bytes:
        data = cast(bytes, await self._peer.receive_some(16_384))
        assert data
        await self._network.carry(len(data))
        return data

    async def play(self) -> int:
        """Plays to the end, or is turned away; returns the status at the door."""
        self._peer = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with self._peer:
            status, fields, _ = await self.get("/acme/film/master.m3u8")
            if status != 302:
                assert 5 <= int(fields["Retry-After"]) <= 15
                return status
            master = (await self.get(fields["Location"]))[2].decode()
            playlist = urljoin(fields["Location"], master.splitlines()[-1])
            listed = (await self.get(playlist))[2].decode()
            uris = [line for line in listed.splitlines() if line and line[0] != "#"]
            begin = 0.0
            for n, uri in enumerate(uris):
                if n > 1:
                    await trio.sleep_until(begin + (n - 2) * SEGMENT_SECONDS)
                status, _, _ = await self.get(urljoin(playlist, uri))
                assert status == 200
                self.segments += 1
                if n == 1:
                    begin = trio.current_time()
                elif n > 1:
                    self.late += trio.current_time() > begin + n * SEGMENT_SECONDS
            return 200


async def play_all(bounded: bool) -> tuple[list[int], list[Player]]:
    """Statuses and players of twice as many as there is room for, who come within three seconds."""
    film = {
        "film": Stream(
            id=1,
            tenant_id=1,
            tenant="acme",
            name="film",
            settings=StreamSettings(sources=(SAMPLE,), segment_duration_ms=2000),
            created_at=NOW,
            removed_at=None,
            revision=1,
        )
    }
    meter = _core.Meter(_core.Meter.create(1024))
    board = Board(Board.create(1))
    egress = round(0.8 * CAPACITY_BPS) if bounded else 0
    door = Door(Overload(egress_bps=egress, loop_lag_ms=10_000), board, board.take(0), meter)
    keyring = Keyring(bytes(32))
    answers = Answers(
        lambda _, name: film.get(name),
        Grants(*keyring.grant_keys(NOW)),
        keyring.content_key,
        Origin(1 << 24),
        door=door,
    )
    connections = Connections(answers.answer, _core.Delivery(64 * 1024, 30_000), meter)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    network = Network()
    count = round(2 * CAPACITY_BPS / (440e3 * SPEED))
    players = [Player(listener.getsockname()[1], network) for _ in range(count)]
    statuses: list[int] = []

    async def play(player: Player, after: float) -> None:
        await trio.sleep(after)
        statuses.append(await player.play())

    async def watch() -> None:
        while True:
            await trio.sleep(1)
            door.sample()

    with listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(connections.run, [listener])
            nursery.start_soon(watch)
            async with trio.open_nursery() as viewers:
                for n, player in enumerate(players):
                    viewers.start_soon(play, player, 3 * n / len(players))
            nursery.cancel_scope.cancel()
    return statuses, players


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False])
def test_at_twice_the_capacity_nobody_inside_is_late(bounded: bool) -> None:
    statuses, players = trio.run(play_all, bounded)
    late = sum(player.late for player in players)
    if bounded:
        assert late == 0
        inside = statuses.count(200)
        assert 5 <= inside < len(players) and statuses.count(503) == len(players) - inside
    else:
        # The load is one that would make viewers wait.
        assert statuses.count(200) == len(players) and late > len(players)
