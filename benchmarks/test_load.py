"""That the load counts what it says: against a server of a few lines, whose faults are known."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks import load, servers
from benchmarks.load import Asking
from pystream.rehearsal import players, wire
from pystream.rehearsal.players import Playing

SEGMENT_BYTES = 64_000
SEGMENTS = 50
SECONDS = 0.05

MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv0/index.m3u8\n"
MEDIA = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + "".join(
    f'#EXT-X-KEY:METHOD=AES-128,URI="key/{n // 10}"\n#EXTINF:{SECONDS},\n{n}.ts\n'
    for n in range(SEGMENTS)
)


class Film(ThreadingHTTPServer):
    """A film; `fault` may answer a request in another way, by its path, and then returns true."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.fault: Callable[[Handler], bool] = lambda _: False
        self.sent = 0
        self.lock = threading.Lock()
        scheme = "http" if context is None else "https"
        self.root = f"{scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that leaves is none."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Film

    def do_GET(self) -> None:
        if not self.server.fault(self):
            self.answer(*self.found())

    def found(self) -> tuple[int, bytes, dict[str, str]]:
        path = self.path
        if path == "/film":
            return 302, b"", {"Location": "/t/grant/film/master.m3u8"}
        if path.endswith("master.m3u8"):
            return 200, MASTER.encode(), {}
        if path.endswith("index.m3u8"):
            return 200, MEDIA.encode(), {}
        if "/key/" in path:
            return 200, bytes(16), {}
        return 200, bytes(SEGMENT_BYTES), {}

    def answer(self, status: int, body: bytes, fields: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} A phrase", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        data = "\r\n".join([*lines, "", ""]).encode() + body
        with self.server.lock:
            self.server.sent += len(data)
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def film() -> Iterator[Film]:
    yield from serving(Film())


@pytest.fixture
def secure_film(tmp_path: Path) -> Iterator[Film]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        chain, key = servers.certificate(tmp_path)
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    context.load_cert_chain(chain, key)
    yield from serving(Film(context))


def serving(film: Film) -> Iterator[Film]:
    thread = threading.Thread(target=film.serve_forever, args=(0.01,))
    thread.start()
    yield film
    film.shutdown()
    film.server_close()
    thread.join()


def playing(viewers: int = 3, **changes: Any) -> Playing:
    """A short time, in which nobody stalls and a start may take what it takes on a busy machine."""
    usual = {"seconds": 0.5, "stall": 0.0, "start_buffer": 20.0, "ahead": 20.1, "ramp": 0.0}
    return Playing(viewers, **{**usual, **changes})


def test_viewers_play(film: Film) -> None:
    tally = players.play(f"{film.root}/film", playing())
    assert tally.requests["redirect"] == 3
    assert tally.requests["playlist"] == 6
    assert tally.requests["segment"] >= 3
    assert tally.requests["key"] >= 3
    assert len(tally.starts) == 3
    assert not tally.errors and not tally.late
    # To the byte, heads and all.
    assert sum(tally.nbytes.values()) == film.sent


def test_positions_are_spread(film: Film) -> None:
    asked = set()

    def note(handler: Handler) -> bool:
        asked.add(handler.path.rpartition("/")[2])
        return False

    film.fault = note
    players.play(f"{film.root}/film", playing(5, seconds=0.0, start_buffer=0.001))
    spread = {f"{n}.ts" for n in range(0, SEGMENTS, SEGMENTS // 5)}
    players.play(f"{film.root}/film", playing(5, seconds=0.3, ahead=0.0, start_buffer=0.001))
    assert spread <= asked


class Clock:
    """The time of day, and what is added to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.added = 0.0
        for module in (players, wire):
            monkeypatch.setattr(module, "clock", lambda: time.monotonic() + self.added)


def test_a_late_segment_is_late_once(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """One takes longer than all that was there to be shown. Those after it come in time again."""
    clock = Clock(monkeypatch)

    def slow(handler: Handler) -> bool:
        if handler.path.endswith("/3.ts"):
            clock.added = 100
        return False

    film.fault = slow
    tally = players.play(f"{film.root}/film", playing(1, seconds=101, together=True))
    assert tally.requests["segment"] > 4
    assert len(tally.late) == 1
    assert 60 < tally.late[0] < 100
    assert not tally.errors


def test_who_stalls_is_not_late(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a film later they read on, and all is counted."""
    clock = Clock(monkeypatch)

    def long(handler: Handler) -> bool:
        if handler.path.endswith("/1.ts"):
            clock.added = 100
        return answered_largely(handler)

    film.fault = long
    how = playing(1, seconds=100, stall=1.0, together=True)
    tally = players.play(f"{film.root}/film", how)
    assert (tally.stalled, tally.cut_off) == (1, 0)
    assert not tally.errors and not tally.late
    assert sum(tally.nbytes.values()) == film.sent


def answered_largely(handler: Handler) -> bool:
    if handler.path.endswith(".ts"):
        handler.answer(200, bytes(50 * SEGMENT_BYTES), {})
        return True
    return False


def cut(handler: Handler) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 A phrase\r\nContent-Length: 64000\r\n\r\n" + bytes(1000))
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def odd(handler: Handler) -> bool:
    handler.answer(200, bytes(SEGMENT_BYTES + 1), {})
    return True


def missing(handler: Handler) -> bool:
    handler.answer(404, b"none", {})
    return True


def endless(handler: Handler) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 A phrase\r\n\r\n")
    return True


def foreign(handler: Handler) -> bool:
    handler.wfile.write(b"SSH-2.0-server\r\n\r\n")
    return True


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (cut, "cut off"),
        (odd, "segment of an impossible length"),
        (missing, "status 404"),
        (endless, "no Content-Length"),
        (foreign, "no HTTP"),
    ],
)
def test_faults_are_told_apart(film: Film, fault: Callable[[Handler], bool], error: str) -> None:
    film.fault = lambda handler: handler.path.endswith(".ts") and fault(handler)
    assert players.play(f"{film.root}/film", playing(2)).errors == {error: 2}


def test_a_segment_has_one_length(film: Film) -> None:
    """For all viewers, and each time."""
    sizes = iter([SEGMENT_BYTES, SEGMENT_BYTES + 16])

    def other(handler: Handler) -> bool:
        if handler.path.endswith("/0.ts"):
            handler.answer(200, bytes(next(sizes)), {})
            return True
        return False

    film.fault = other
    tally = players.play(f"{film.root}/film", playing(2, together=True))
    assert tally.errors == {"segment of another length than before": 1}


def test_nobody_listens() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}/"
        assert players.play(url, playing(2)).errors == {"not connected": 2}
        assert load.ask([url], Asking(2, 0.5)).errors == {"not connected": 2}


def fetched(film: Film, path: str, seconds: float = 60, **how: Any) -> wire.Response:
    """One response, by a loop that begins to end after some seconds."""
    loop = wire.Loop()
    url = film.root + path
    tls = wire.trusting() if url.startswith("https") else None
    connection = wire.Connection(loop, wire.Target.of(urlsplit(url)), tls, 64 * 1024)
    found = []

    def task() -> wire.Task[None]:
        found.append((yield from connection.fetch(wire.request(url, b""), **how)))
        connection.close()

    loop.start(task())
    assert loop.run(seconds, 60) == 0
    return found[0]


@pytest.mark.parametrize("secure", [False, True])
def test_a_body_is_read_at_its_pace(secure: bool, request: pytest.FixtureRequest) -> None:
    film = request.getfixturevalue("secure_film" if secure else "film")
    film.fault = answered_largely
    response = fetched(film, "/0.ts", takes=0.3)
    # Never faster; how much slower depends on the machine.
    assert response.whole - response.first > 0.25
    assert response.length == 50 * SEGMENT_BYTES
    assert response.size == film.sent


def test_who_stalls_reads_nothing_until_the_end(film: Film) -> None:
    film.fault = answered_largely
    response = fetched(film, "/0.ts", 0.3, stall_at=1000)
    assert response.whole - response.sent > 0.25
    assert response.size == film.sent


def test_heads_in_pieces_and_bodies_that_are_kept(film: Film) -> None:
    def dripping(handler: Handler) -> bool:
        for byte in b"HTTP/1.1 200 A phrase\r\ncontent-length:  3\r\n\r\nabc":
            handler.wfile.write(bytes([byte]))
        return True

    film.fault = dripping
    assert fetched(film, "/", keep=True).body == b"abc"


def test_asking(film: Film) -> None:
    urls = [f"{film.root}/{n}.ts" for n in range(10)]
    tally = load.ask(urls, Asking(4, 60.0, requests=25))
    assert tally.requests == {"request": 100}
    assert sum(tally.nbytes.values()) == film.sent
    assert not tally.errors
    assert tally.handshakes == 4


def test_asking_over_tls(secure_film: Film) -> None:
    tally = load.ask([f"{secure_film.root}/0.ts"], Asking(2, 60.0, requests=5))
    assert sum(tally.nbytes.values()) == secure_film.sent
    assert [name.split()[0] for name in tally.ciphers] == ["TLSv1.3"]


@pytest.mark.parametrize("resume", [False, True])
def test_fresh_connections(secure_film: Film, resume: bool) -> None:
    url = f"{secure_film.root}/v0/key/0"
    tally = load.ask([url], Asking(2, 60.0, fresh=True, resume=resume, requests=5))
    assert not tally.errors
    assert (tally.handshakes, tally.resumed) == (10, 8 if resume else 0)


def test_holding(film: Film) -> None:
    with load.holding(f"{film.root}/v0/key/0", 60) as opened:
        assert opened == 60


def test_the_report(film: Film, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"{film.root}/film", "--viewers", "2", "--seconds", "0.3", "--ramp", "0"]
    arguments += ["--start-buffer", "20"]
    assert load.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == film.sent
    assert found["late"] == 0
    assert set(found["first_byte"]) == {"p50", "p99", "max"}
    assert load.main(arguments) == 0
    assert "late: 0" in capsys.readouterr().out


def test_a_fault_is_the_exit_code(film: Film) -> None:
    film.fault = missing
    assert load.main([f"{film.root}/film", "--viewers", "1", "--seconds", "1", "--ramp", "0"]) == 1


def test_distribution() -> None:
    assert load.distribution([]) is None
    assert load.distribution([2.0]) == {"p50": 2.0, "p99": 2.0, "max": 2.0}
    found = load.distribution([float(n) for n in range(101)])
    assert found == {"p50": 50.0, "p99": 99.0, "max": 100.0}
