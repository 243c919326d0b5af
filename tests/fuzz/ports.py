"""The fuzz run of a node's ports: `python -m tests.fuzz ports [--seconds 180] [--seed N] [--threads 4]`.

Whatever comes to a port costs its own connection at most. So, on the port of HTTP and then on that of
HTTPS, threads send what no player sends: any bytes, real ClientHellos, records and requests with some
bytes changed, halves of them that stay open, resets at any moment. Meanwhile a viewer is served. In
the end

* each answer was one of HTTP, and none a 500;
* the viewer has got each segment whole;
* the node's processes are those from before, and have said nothing but that they serve;
* none of them holds 5 MB more than it did after a first round. Of what a process holds, the memory of
  its own counts; the tables that all share are of a fixed size.

The same seed draws the same attacks, thread by thread; what meets what at the same time is chance.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.free_ports import free_port
from tests.test_connections import certificate, trusting
from tests.test_http import FRAGMENTS
from tests.test_serve import BUSY, Busy, Node, fetch, held, node_in
from tests.waiting import PATIENCE, until

NAME = "film.example"
# In every request's query; whatever is logged may not quote it.
MARK = "mark-of-the-fuzzer"
HELD = 40
MOST = 60_000
ROOM = 5_000_000


class Port(NamedTuple):
    """A port under attack: plain, or with what opens TLS on it, and what may be asked for there."""

    number: int
    context: ssl.SSLContext | None
    paths: list[str]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.number), PATIENCE)

    def viewers_connection(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection("127.0.0.1", self.number, timeout=PATIENCE)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.number, timeout=PATIENCE, context=self.context
        )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("tests.fuzz ports")
    parser.add_argument("--seconds", type=float, default=180, help="for each of both ports")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    for tls in (False, True):
        with running(tls) as (node, port):
            attacks = Attacks(port, options.seed, options.threads)
            print("HTTPS" if tls else "HTTP", survived(node, attacks, sys.maxsize, options.seconds))


@contextmanager
def running(tls: bool) -> Iterator[tuple[Node, Port]]:
    """A node of two workers with one film, in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="pystream-fuzz-") as folder,
        node_in(Path(folder)) as node,
    ):
        certified = certificate(node.folder, NAME)
        number = free_port()
        shown = f'certificate = "{certified.certificate}"\nkey = "{certified.key}"'
        listen = f'listen = ["127.0.0.1:{number}"]\nredirect = false'
        node.settings("workers = 2\n", f"{BUSY}[tls]\n{listen}\n[[tls.certificates]]\n{shown}\n")
        node.add_film()
        node.start()
        node.hear("READY=1")
        segment = node.film()
        folder_of = segment.rpartition("/")[0]
        paths = [
            *(segment, f"{folder_of}/index.m3u8", f"{folder_of}/key/v0-0.key"),
            *(f"{folder_of}/frame/0.mp4", f"{folder_of}/init.mp4", f"{folder_of}/999.ts"),
            *("/acme/film/", "/acme/film/session", "/acme/film/master.m3u8", "/acme/film", "/"),
            segment.replace("/t/", "/t/x"),
        ]
        context = None
        if tls:
            context = trusting(certified)
            context.check_hostname = False
        yield node, Port(number if tls else node.port, context, paths)
        assert node.stop() == 0


def survived(
    node: Node, attacks: Attacks, rounds: int, seconds: float = float("inf")
) -> dict[str, object]:
    """What so many attacks of each thread came to, or those of so many seconds. Raises
    `AssertionError` where they did more harm than they may."""
    processes = node.processes()
    with Viewer(attacks.port) as viewer:
        # What is read, compiled and remembered once is there after a first round.
        attacks.run(rounds // 4, seconds / 10)
        until(lambda: connected(attacks.port) <= 1)
        before = held_by(node)
        viewer.go_on()
        attacks.run(rounds, seconds)
        viewer.go_on()
        until(lambda: connected(attacks.port) <= 1)
    assert attacks.wrong == []
    assert viewer.failures == []
    said = [json.loads(line) for line in node.said().splitlines()]
    assert {each["event"] for each in said} <= {"syns-observed", "starting", "serving"}, node.said()
    assert MARK not in node.said()
    assert node.processes() == processes
    grown = {pid: now - before[pid] for pid, now in held_by(node).items()}
    assert max(grown.values()) < ROOM, grown
    return {
        "attacks": dict(attacks.done),
        "answers": dict(attacks.answers),
        "viewer": viewer.done,
        "grown": max(grown.values()),
    }


def held_by(node: Node) -> dict[int, int]:
    """Bytes of their own that the node's processes hold, by process."""
    pids = {node.process.pid}.union(*node.processes().values())
    return {pid: held(pid) for pid in pids}


def connected(port: Port) -> int:
    """Connections that the node has not closed yet (proc(5): ESTABLISHED and CLOSE_WAIT)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = f":{port.number:04X}"
    return sum(row[1].endswith(ours) and row[3] in ("01", "08") for row in rows)


class Viewer(Busy):
    """Somebody who watches, on a connection that is kept."""

    def __init__(self, port: Port) -> None:
        super().__init__(1)
        self.port = port
        self.done = 0
        self.failures: list[str] = []

    def work(self, number: int) -> None:
        path, whole = self.port.paths[0], None
        with closing(self.port.viewers_connection()) as connection:
            while not self.stop.is_set() and not self.failures:
                try:
                    status, _, body = fetch(connection, path)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                    return
                whole = whole or body
                if status != 200 or body != whole:
                    self.failures.append(f"{status}, {len(body)} bytes")
                self.done += 1

    def go_on(self) -> None:
        wanted = self.done + 3
        until(lambda: self.done >= wanted or self.failures)


class Attacks:
    """Threads that attack a port, each with dice of its own.

    `done` counts attacks by their kind, `answers` by their status; `wrong` is what should not be.
    """

    def __init__(self, port: Port, seed: int, threads: int) -> None:
        self.port = port
        self.done = Counter[str]()
        self.answers = Counter[str]()
        self.wrong: list[str] = []
        self._dice = [random.Random(f"{seed} {number}") for number in range(threads)]
        self._held: list[deque[socket.socket]] = [deque() for _ in range(threads)]
        self._lock = threading.Lock()

    def run(self, rounds: int, seconds: float) -> None:
        """So many attacks of each, or as many as so many seconds are enough for."""
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._attack, args=(number, rounds, until))
            for number in range(len(self._dice))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for peers in self._held:
            while peers:
                peers.pop().close()

    def _attack(self, number: int, rounds: int, until: float) -> None:
        while rounds and time.monotonic() < until and not self.wrong:
            self._once(number)
            rounds -= 1

    def _once(self, number: int) -> None:
        dice, peers = self._dice[number], self._held[number]
        attack = dice.choice(TLS_KINDS if self.port.context else KINDS)
        peer = self.port.connect()
        try:
            answer: bytes | None = attack(self.port, peer, dice)
        except TimeoutError:
            answer = None
        except (ConnectionError, ssl.SSLError):
            # To close is the node's right; to keep one waiting is not.
            answer = b""
        with self._lock:
            self.done[attack.__name__] += 1
            if answer is None:
                self.wrong.append(f"{attack.__name__}: the connection did not end")
            elif answer:
                self.answers[answer[9:12].decode("latin-1")] += 1
                if not answer.startswith(b"HTTP/1.1 ") or answer[9:12] == b"500":
                    self.wrong.append(f"{attack.__name__}: {answer[:100]!r}")
        if attack is stays_half_open:
            peers.append(peer)
            peer = peers.popleft() if len(peers) > HELD else socket.socket()
        if attack is resets or dice.random() < 0.5:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


# What comes to a port. Each gives the beginning of what came back.


def sends_any_bytes(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    data = dice.randbytes(dice.choice((1, 5, 50, 500, 5_000, MOST)))
    in_pieces(peer, dice.choice((b"", b"\x16\x03\x01", b"GET /", b"\x80\x2e")) + data, dice)
    return in_words(port, end(peer))


def sends_changed_requests(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    in_pieces(peer, changed(requests(port, dice), dice), dice)
    return in_words(port, end(peer))


def sends_fragments(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    in_pieces(peer, b"".join(dice.choices(FRAGMENTS, k=dice.randint(1, 12))), dice)
    return in_words(port, end(peer))


def resets(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    """In the middle of an answer, or before it."""
    data = hello(port) if port.context else requests(port, dice)
    peer.sendall(data[: dice.choice((1, len(data) // 2, len(data)))])
    if dice.random() < 0.5 and data.endswith(b"\r\n\r\n"):
        peer.settimeout(0)
        with suppress(BlockingIOError):
            peer.recv(dice.choice((1, 1_000, 100_000)))
    return b""


def stays_half_open(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    data = hello(port) if port.context else requests(port, dice)
    peer.sendall(data[: dice.randrange(len(data))])
    return b""


def changes_a_hello(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    in_pieces(peer, changed(hello(port), dice), dice)
    end(peer)
    return b""


def changes_a_flight(port: Port, peer: socket.socket, dice: random.Random) -> bytes:
    """A real handshake, of which the client's second part or what follows is changed, or nothing."""
    spoiled = dice.randrange(3)
    client, incoming, outgoing = tls_client(port)
    flight = 0
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            peer.sendall(outgoing.read())
            incoming.write(peer.recv(65536))
            flight += 1
    client.write(requests(port, dice))
    data = outgoing.read()
    if spoiled:
        in_pieces(peer, changed(data, dice), dice)
        end(peer)
        return b""
    peer.sendall(data)
    with suppress(ssl.SSLError):
        while True:
            try:
                return client.read(4096)
            except ssl.SSLWantReadError:
                data = peer.recv(65536)
                if not data:
                    break
                incoming.write(data)
    return b""


KINDS = (sends_any_bytes, sends_changed_requests, sends_fragments, resets, stays_half_open)
TLS_KINDS = (*KINDS, changes_a_hello, changes_a_flight, changes_a_flight)


# How it is sent.


def requests(port: Port, dice: random.Random) -> bytes:
    """One to twenty requests in a row, as they should be."""
    found = []
    for _ in range(dice.choice((1, 1, 2, 20))):
        method = dice.choice(("GET", "GET", "HEAD", "POST", "OPTIONS"))
        fields = dice.sample(FIELDS, dice.randrange(4))
        line = f"{method} {dice.choice(port.paths)}?{MARK} HTTP/1.1"
        found.append("\r\n".join((line, f"Host: {NAME}", *fields, dice.choice(BODIES))))
    return "".join(found).encode()


FIELDS = [
    *("Range: bytes=0-1", "Range: bytes=100-", "Range: bytes=-5", "If-Range: x"),
    *("Accept-Encoding: gzip", "Origin: https://b.example", "Connection: close"),
    *("If-None-Match: *", "Expect: 100-continue", "X-Forwarded-For: 127.0.0.1"),
    *("Upgrade: h2c", "Accept-Language: de, en;q=0.5", "Forwarded: for=10.0.0.1"),
]
BODIES = [
    *("\r\n", "\r\n", "\r\n", "Content-Length: 3\r\n\r\nabc"),
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
]


def tls_client(port: Port) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    assert port.context is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return (
        port.context.wrap_bio(incoming, outgoing, server_hostname=NAME),
        incoming,
        outgoing,
    )


def hello(port: Port) -> bytes:
    """What a client sends first."""
    client, _, outgoing = tls_client(port)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def changed(data: bytes, dice: random.Random) -> bytes:
    """Some places of it, in one of the ways that parsers stumble over."""
    for _ in range(dice.randint(1, 4)):
        first = dice.randrange(len(data) + 1)
        last = min(len(data), first + dice.choice((0, 1, 1, 2, 4, 40)))
        new = dice.choice(
            (
                *(b"", b"\0", b"\xff", b"\r\n", b"\n", b"\xff\xff", b"\0\0"),
                dice.randbytes(dice.randint(1, 8)),
                data[first:last] * 2,
                data[: dice.randrange(len(data) + 1)],
            )
        )
        data = (data[:first] + new + data[last:])[:MOST]
    return data


def in_pieces(peer: socket.socket, data: bytes, dice: random.Random) -> None:
    ends = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 5))))
    for first, last in zip([0, *ends], [*ends, len(data)], strict=True):
        peer.sendall(data[first:last])


def end(peer: socket.socket) -> bytes:
    """Says that no more will come, and reads until the node has ended, too: the first bytes."""
    with suppress(OSError):
        peer.shutdown(socket.SHUT_WR)
    found = b""
    with suppress(ConnectionError):
        while piece := peer.recv(65536):
            found = (found + piece)[:MOST]
    return found


def in_words(port: Port, answer: bytes) -> bytes:
    """The answer, unless the port of HTTPS has said in an alert what it thinks of that record."""
    return b"" if port.context and answer[:1] == b"\x15" else answer
