"""`python -m benchmarks.guard`: what it costs to look at who asks, and to turn somebody away.

Theory. What all others pay is measured as the ratio of one node with its guard on and one with it off, the
same playlist in turns (A B A B), pair by pair. The check itself is measured where nothing else is, in this
process, with few sources and with many: what a budget more costs one request, less the same without it,
so that the call from Python is in neither.

What an attacker costs is the processor time of the node, of all its processes, for as many refusals as
answers: on connections that stay, some requests at a time, and on connections that are new each
time and come some together, of which a banned source's are closed before a byte of them is read. The
loads are made here, from addresses of the loopback.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from statistics import median
from urllib.parse import urlsplit

from benchmarks import servers
from benchmarks.origin import Bench, Line, Rows, compared, measure, parser
from benchmarks.servers import Server, Unavailable, addresses, entrance
from pystream import _core
from pystream.server.guard.limiter import TABLE_BYTES

_STREAM = "film"
_CHECKS = 200_000
_AT_ONCE = 16
_BANNED = "127.0.0.66"
_SLOWED = "127.0.0.67"
_HEAD = ["", "guard", "beside", "ratio", "wanted", "met", ""]
_MUCH = "900000 at once, 100000 a second"
# The loopback is exempt else, and one connection after the other would soon be over the usual budgets.
_ON = f"""[guard]
exempt = []
connections = "off"
playlists = "{_MUCH}"
grant_playlists = "{_MUCH}"
"""
_OFF = '[guard]\nhttp = "off"\n'
_SLOWS = f'{_ON}others = "40 at once, 1 a minute"\nslowed = "{_MUCH}"\n'
_BANS = f"""{_ON}others = "40 at once, 1 a minute"
slowed = "1 at once, 1 a minute"
refused = "1 at once, 1 a minute"
ban_seconds = 3600
"""
# There is none.
_NOTHING = "/none"


def on_and_off(bench: Bench) -> Iterator[Line]:
    """A playlist of a node with the guard, beside one without."""
    streams = {_STREAM: bench.film(6)}
    cores = bench.options.server_core
    with (
        servers.pystream(streams, bench.folder, cores=cores, more=_ON) as guarded,
        servers.pystream(streams, bench.folder, cores=cores, more=_OFF) as bare,
    ):
        sides = [(each, [_playlist(each)]) for each in (guarded, bare)]
        turns = bench.pairs(sides[0], sides[1], "--connections", "8")
        yield compared(
            "playlists a CPU-second, guard on beside guard off",
            turns,
            unit="/s",
            value=lambda turn: 1 / turn.per_request,
            limit=0.95,
            at_least=True,
            peer="off",
        )


def checks(bench: Bench) -> Iterator[Line]:
    """One check by itself, and all of them that a request meets."""
    for sources, most_ns in ((1_000, 100), (100_000, 200)):
        call, ban, budget, whole = check_ns(sources)
        line = Line(f"a check, of {sources:,} sources", f"{budget - ban:.0f} ns")
        line.theirs, line.ratio = f"{call:.0f} ns the call", f"{whole:.0f} ns in all"
        line.wanted, line.met = f"<= {most_ns} ns", budget - ban <= most_ns
        line.remark = "in all: is it banned, its budget, its network's, and the call"
        yield line


# Who is exempt; budgets of a source, and of its network. Of nobody; the ban alone; that and one; all.
_WIDE, _NONE = (1_000_000, 1000), (0, 0)
_CHECKED: tuple[tuple[list[tuple[str, int]], list[tuple[int, int]]], ...] = (
    ([("0.0.0.0", 0)], [_NONE, _NONE]),
    ([], [_NONE, _NONE]),
    ([], [_WIDE, _NONE]),
    ([], [_WIDE, _WIDE]),
)


def check_ns(sources: int) -> list[float]:
    """Of one request after the other, each of another source, as each of `_CHECKED` has it."""
    hosts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(sources)]
    limiters = [
        _core.Limiter(
            _core.Gcra.create(TABLE_BYTES),
            (os.urandom(16), os.urandom(16)),
            kinds=[[*budgets, _NONE, _NONE]],
            offences=_NONE,
            strikes=_NONE,
            bans_us=(60_000_000, 60_000_000),
            exempt=exempt,
        )
        for exempt, budgets in _CHECKED
    ]
    found: list[list[float]] = [[] for _ in limiters]
    for _ in range(7):
        # In turns, so that what else the machine does meets all of them.
        for limiter, times in zip(limiters, found, strict=True):
            now = time.monotonic_ns() // 1000
            begun = time.thread_time()
            for n in range(_CHECKS):
                limiter.arrive(hosts[n % sources], 0, now)
            times.append((time.thread_time() - begun) / _CHECKS * 1e9)
    return list(map(min, found))


def refusals(bench: Bench) -> Iterator[Line]:
    """On connections that stay: 503, beside the playlist."""
    with _node(bench, _SLOWS) as server:
        ours = partial(_on_some, server, bench.options.seconds, _SLOWED, _NOTHING, b"503")
        path = urlsplit(_playlist(server)).path
        theirs = partial(_on_some, server, bench.options.seconds, "127.0.0.1", path, b"200")
        while b"503" not in _ask_at_once(server, _SLOWED, _NOTHING):
            pass
        yield _beside(bench, "a refusal on connections that stay", ours, "an answer", theirs, 0.5)


def bans(bench: Bench) -> Iterator[Line]:
    """A banned source that comes again and again, beside viewers who come for a playlist."""
    with _node(bench, _BANS) as server:
        while any(_ask_at_once(server, _BANNED, _NOTHING)):
            pass
        path = urlsplit(_playlist(server)).path
        ours = partial(_on_new, server, bench.options.seconds, _BANNED, path, b"")
        theirs = partial(_on_new, server, bench.options.seconds, "127.0.0.1", path, b"200")
        beside = "a new one with a playlist"
        yield _beside(bench, "a connection of who is banned", ours, beside, theirs, 0.25)


def _beside(
    bench: Bench,
    what: str,
    ours: Callable[[], float],
    peer: str,
    theirs: Callable[[], float],
    limit: float,
) -> Line:
    """A line of processor seconds each, in turns."""
    pairs = [(ours(), theirs()) for _ in range(bench.options.turns)]
    ratio = median(one / other for one, other in pairs)
    line = Line(what, f"{median(one for one, _ in pairs) * 1e6:.0f} us")
    line.theirs = f"{median(other for _, other in pairs) * 1e6:.0f} us {peer}"
    line.ratio, line.wanted, line.met = f"{ratio:.2f}", f"<= {limit:g}", ratio <= limit
    line.turns = [{"ours": one, "theirs": other} for one, other in pairs]
    return line


@contextmanager
def _node(bench: Bench, guard: str) -> Iterator[Server]:
    cores = bench.options.server_core
    with servers.pystream(
        {_STREAM: bench.film(6)}, bench.folder, cores=cores, more=guard
    ) as server:
        yield server


def _playlist(server: Server) -> str:
    return addresses(entrance(server, _STREAM)).playlist


# The seconds of the node's processors that each request has cost.


def _on_some(server: Server, seconds: float, source: str, path: str, status: bytes) -> float:
    """As many that stay as those of a flood do: asked one by one, most of the time would be the node's waking
    up."""
    with ExitStack() as stack:
        there = [stack.enter_context(closing(_connection(server, source))) for _ in range(_AT_ONCE)]

        def ask() -> list[bytes]:
            for one in there:
                _ask(one, path)
            return [_answer(one) for one in there]

        return _repeated(server, seconds, ask, status)


def _on_new(server: Server, seconds: float, source: str, path: str, status: bytes) -> float:
    return _repeated(server, seconds, lambda: _ask_at_once(server, source, path), status)


def _repeated(
    server: Server, seconds: float, ask: Callable[[], Sequence[bytes]], status: bytes
) -> float:
    count, before, end = 0, server.cpu(), time.monotonic() + seconds
    while time.monotonic() < end:
        got = ask()
        if {*got} != {status}:
            raise Unavailable(f"the answers were {got}")
        count += len(got)
    return (server.cpu() - before) / max(1, count)


def _ask_at_once(server: Server, source: str, path: str) -> list[bytes]:
    """On connections that come together, as those of a flood do; nothing where one is reset."""
    found = []
    with ExitStack() as stack:
        there: list[socket.socket | None] = []
        for _ in range(_AT_ONCE):
            with suppress(ConnectionError):
                there.append(stack.enter_context(closing(_connection(server, source))))
                continue
            there.append(None)
        for one in there:
            got = b""
            with suppress(ConnectionError):
                if one is not None:
                    _ask(one, path)
                    got = _answer(one)
            found.append(got)
    return found


def _connection(server: Server, source: str) -> socket.socket:
    parts = urlsplit(server.clear)
    return socket.create_connection((parts.hostname, parts.port), 60, (source, 0))


def _ask(one: socket.socket, path: str) -> None:
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


def _answer(one: socket.socket) -> bytes:
    """Its status, when all of it is here."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += _received(one)
    head, _, body = got.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left = int(found[1]) - len(body) if found else 0
    while left > 0:
        left -= len(_received(one))
    return head[9:12]


def _received(one: socket.socket) -> bytes:
    data = one.recv(1 << 18)
    if not data:
        raise ConnectionResetError("the connection has ended")
    return data


ROWS: Rows = {"off": on_and_off, "check": checks, "refusal": refusals, "ban": bans}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where a row could not be measured."""
    return measure(ROWS, parser("benchmarks.guard", __doc__, _EPILOG).parse_args(arguments), _HEAD)


_EPILOG = f"""\
rows:
  {" ".join(ROWS)}

columns:
  us count the processor time of all processes of the server; medians over the turns, the ratio pair by
  pair. ns are of the shortest of seven runs.
"""


if __name__ == "__main__":
    sys.exit(main())
