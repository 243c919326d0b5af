"""`python -m benchmarks.access`: what it costs to ask who may watch, and how fast viewers get in.

Theory. What a viewer pays for being asked is measured where nothing else is: one node, one film, the
same playlist of an open stream and of one with passwords and all conditions, in turns (A B A B); the
ratio of processor time is taken pair by pair, as in `benchmarks.origin`. Of that, the check of a grant
and the look-up of its session are measured once more by themselves, in this process.

A sign-in is a POST on a connection that is open, from its first byte sent to its answer's last byte
read: what the network adds is the loopback's. It ends on the disk, so how long that takes to sync
(fsync(2)) is measured beside it, and part of it. PostgreSQL is started in a folder of its own, with
its own settings as they come.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urljoin, urlsplit

from benchmarks import inputs, launch, servers
from benchmarks.origin import Bench, Line, Rows, compared, measure, parser
from benchmarks.peers import note
from benchmarks.servers import Server, Unavailable, addresses, entrance
from pystream import _core
from pystream.acl.grants import Grants
from pystream.acl.passwords import generate
from pystream.acl.streams import StreamSettings

_STREAM = "personal"
_PLACE = f"{servers.TENANT}/{_STREAM}"
_IMPORTED = 10_000
_CARDS = 300
_SESSIONS = 10_000
_CHECKS = 200_000
_SYNCS = 200
_HEAD = ["", "pystream", "beside", "ratio", "wanted", "met", ""]
# All that can be asked of who comes in, and all true of who comes from here.
_CONDITIONS: Mapping[str, Any] = {
    "access": "personal",
    "opens_at": 1,
    "closes_at": 4_000_000_000,
    "networks": ("127.0.0.0/8",),
    "countries": ("DE",),
    "embed_lock": True,
    "max_devices": 2,
}
_HERE = '[geo]\ntest = ["127.0.0.0/8 = DE"]\n'


@contextmanager
def node(
    bench: Bench, database: str, source: Path, **open_beside: StreamSettings
) -> Iterator[Server]:
    """A node with a stream of all conditions, and others beside it; `database` is one of `DATABASES`."""
    streams = {_STREAM: bench.stream(source, **_CONDITIONS), **open_beside}
    with ExitStack() as stack:
        url = stack.enter_context(DATABASES[database](bench.folder))
        cores = bench.options.server_core
        yield stack.enter_context(
            servers.pystream(streams, bench.folder, cores=cores, store=url, more=_HERE)
        )


@contextmanager
def _sqlite(_: Path) -> Iterator[str]:
    yield ""


@contextmanager
def _postgresql(_: Path) -> Iterator[str]:
    from tests import postgresql

    try:
        postgresql.program("postgres")
    except ValueError:
        raise Unavailable("PostgreSQL is not installed") from None
    with postgresql.folder() as place:
        postgresql.initialise(f"{place}/data")
        with postgresql.serving(f"{place}/data", place, "fsync=on"):
            yield postgresql.url(place)


DATABASES = {"SQLite": _sqlite, "PostgreSQL": _postgresql}


def command(server: Server, *words: str, typed: str = "") -> str:
    """What `pystream password` says about the node's store."""
    done = subprocess.run(
        [*_command(server, *words)], input=typed, capture_output=True, text=True, cwd=inputs.ROOT
    )
    if done.returncode:
        raise Unavailable(f"pystream password {words[0]}: {done.stderr.strip()[-200:]}")
    return done.stdout


def _command(server: Server, *words: str) -> list[str]:
    program = [sys.executable, "-m", "pystream", "password"]
    return [*program, *words, "--config", server.settings]


def timed(server: Server, *words: str) -> dict[str, float]:
    """The same, and what it took: seconds, and bytes of memory at its peak."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, *_command(server, *words)],
        capture_output=True,
        text=True,
        cwd=inputs.ROOT,
    )
    try:
        found: dict[str, float] = json.loads(done.stdout)
    except ValueError:
        found = {"code": 1}
    if found["code"]:
        raise Unavailable(f"pystream password {words[0]}: {done.stderr.strip()[-200:]}")
    return found


def listed(folder: Path, count: int) -> tuple[Path, list[str]]:
    """A list of so many new passwords as a customer has it, and some of them."""
    made = [generate() for _ in range(count)]
    path = folder / f"{secrets.token_hex(4)}.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("password", "label"), *((text, "Saal 3") for text in made)])
    return path, made[:: max(1, count // 10_000)]


# Coming in.


class Visitor:
    """A connection that is kept, for sign-ins to one stream."""

    def __init__(self, server: Server, place: str = _PLACE) -> None:
        self._place = place
        parts = urlsplit(server.clear)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sign_in(self, text: str) -> dict[str, Any]:
        """Raises `Unavailable` where the password lets nobody in."""
        body = json.dumps({"password": text}).encode()
        head = (
            f"POST /{self._place}/session HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        top, _, body = data.partition(b"\r\n\r\n")
        length = int(top.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._received()
        if not top.startswith(b"HTTP/1.1 200 "):
            raise Unavailable(f"a sign-in failed: {top[:20]!r}, {body!r}")
        found: dict[str, Any] = json.loads(body)
        return found

    def _received(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise Unavailable("a sign-in failed: the connection was closed")
        return piece

    def close(self) -> None:
        self._socket.close()


def sign_ins(server: Server, texts: Sequence[str], count: int) -> list[float]:
    """Seconds that each of so many sign-ins took, one after the other; some before are not counted."""
    visitor = Visitor(server)
    took = []
    try:
        for n in range(-(count // 10), count):
            begun = time.perf_counter()
            visitor.sign_in(texts[n % len(texts)])
            if n >= 0:
                took.append(time.perf_counter() - begun)
    finally:
        visitor.close()
    return took


def syncs(folder: str) -> list[float]:
    """Seconds that the disk takes to keep a page, each time."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return took


def p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[-1]


# Rows.


def grant(bench: Bench) -> Iterator[Line]:
    """As browsers ask for it; then what of it is the grant and the session."""
    source = inputs.feature(bench.options.small)
    with node(bench, "SQLite", source, open=bench.stream(source)) as server:
        text = command(server, "add", _PLACE).strip()
        visitor = Visitor(server)
        master = visitor.sign_in(text)["master"]
        visitor.close()
        asked = addresses(urljoin(server.clear, master)).playlist
        beside = addresses(entrance(server, "open")).playlist
        turns = bench.pairs((server, [asked]), (server, [beside]), "--connections", "50")
    line = compared(
        "playlist of a 90-minute film, with a session (conditions were asked at entry), 50 connections",
        turns,
        unit="us a request",
        value=lambda turn: turn.per_request * 1e6,
        limit=1.1,
        peer="an open stream",
    )
    yield line
    whole = sorted(turn.per_request for turn in turns[1])[len(turns[1]) // 2]
    for what, remembered in (("that was seen before", 2 * _SESSIONS), ("that is new", 2)):
        took = checks(remembered)
        line = Line(f"grant {what}, and its session, of {_SESSIONS:,}", f"{took * 1e6:.2f} us")
        line.theirs, line.ratio = f"{whole * 1e6:.0f} us a request", f"{took / whole:.3f}"
        if remembered > _SESSIONS:
            line.wanted, line.met = "<= 0.1 x the request", took <= 0.1 * whole
        yield line


def recorded(bench: Bench) -> Iterator[Line]:
    """What is evidence of attendance, segments and playlists, beside a stream that has sessions as well."""
    source = inputs.feature(bench.options.small)
    beside = bench.stream(source, 3, access="personal")
    attended = bench.stream(source, 3, access="personal", attendance=True)
    more = "[attendance]\nallow_unsynced = true\n"
    streams = {"recorded": attended, "beside": beside}
    with servers.pystream(
        streams, bench.folder, cores=bench.options.server_core, more=more
    ) as server:
        found = []
        for name in streams:
            place = f"{servers.TENANT}/{name}"
            visitor = Visitor(server, place)
            master = visitor.sign_in(command(server, "add", place).strip())["master"]
            visitor.close()
            found.append(addresses(urljoin(server.clear, master)))
        for what, urls in (
            ("segments", [each.segments[:100] for each in found]),
            ("playlists", [[each.playlist] for each in found]),
        ):
            turns = bench.pairs((server, urls[0]), (server, urls[1]), "--connections", "50")
            size = median(turn.load["bytes"] / turn.load["requests"] for turn in turns[0]) / 1000
            yield compared(
                f"{what} of {size:,.0f} KB that are evidence of attendance, 50 connections",
                turns,
                unit="us a request",
                value=lambda turn: turn.per_request * 1e6,
                limit=1.1,
                peer="none recorded",
            )


def checks(remembered: int) -> float:
    """Seconds that the check of a grant and the look-up of its session take."""
    table = _core.Sessions(_core.Sessions.create(2 * _SESSIONS))
    grants = Grants({0: bytes(32)}, 0, remembered=remembered)
    now = 1_800_000_000
    issued = []
    for _ in range(_SESSIONS):
        session = os.urandom(16)
        table.open(session, 7, now, expires=now + 60, idle_s=60, holder=1)
        issued.append(grants.issue(7, session, now, 60))
    for token in issued:
        grants.check(token, 7, now)
    begun = time.perf_counter()
    for n in range(_CHECKS):
        found = grants.check(issued[n % _SESSIONS], 7, now)
        if table.check(found.session, 7, now) != _core.Sessions.OPEN:
            raise Unavailable("a session is not open")
    return (time.perf_counter() - begun) / _CHECKS


def imported(bench: Bench) -> Iterator[Line]:
    """The command, from its start to its end."""
    for database in DATABASES:
        with node(bench, database, inputs.film(small=True)) as server:
            took = []
            for _ in range(bench.options.turns):
                path, _ = listed(bench.folder, _IMPORTED)
                took.append(timed(server, "import", _PLACE, "--list", str(path)))
            wall = sorted(each["wall"] for each in took)[len(took) // 2]
        line = Line(f"{_IMPORTED:,} passwords imported, {database}", f"{wall:.2f} s")
        line.wanted, line.met = "<= 5 s", wall <= 5
        line.remark = f"{took[-1]['cpu']:.2f} s of processor; {took[-1]['peak'] / 1e6:.0f} MB"
        yield line


def signing_in(bench: Bench) -> Iterator[Line]:
    """A tenant with a million passwords, of whom some thousand viewers come in one by one."""
    count = bench.options.passwords
    for database in DATABASES:
        with node(bench, database, inputs.film(small=True)) as server:
            path, texts = listed(bench.folder, count)
            note(f"{count:,} passwords into {database}")
            made = timed(server, "import", _PLACE, "--list", str(path))
            line = Line(f"{count:,} passwords imported, {database}", f"{made['wall']:.1f} s")
            line.remark = f"{made['cpu']:.1f} s of processor; {made['peak'] / 1e6:.0f} MB"
            yield line
            took = sign_ins(server, texts, bench.options.sign_ins)
        worst = p99(took)
        line = Line(f"sign-in among these, {database}, p50/p99", _ms(took))
        line.wanted, line.met = "p99 <= 5 ms", worst <= 0.005
        line.theirs = f"fsync {_ms(syncs(bench.options.output))}"
        line.remark = f"{len(took):,} one by one"
        yield line


def _ms(seconds: Sequence[float]) -> str:
    middle = sorted(seconds)[len(seconds) // 2]
    return f"{middle * 1e3:.2f}/{p99(seconds) * 1e3:.2f} ms"


def cards(bench: Bench) -> Iterator[Line]:
    """The command, from its start to its end."""
    with node(bench, "SQLite", inputs.film(small=True)) as server:
        command(server, "add", _PLACE, "--count", str(_CARDS))
        path = bench.folder / "cards.pdf"
        url = f"https://video.example.org/{_PLACE}/"
        words = ("cards", _PLACE, "--url", url, "-o", str(path))
        took = timed(server, *words)
        line = Line(f"{_CARDS} cards printed", f"{took['wall']:.2f} s")
        line.remark = f"{path.stat().st_size / 1e6:.1f} MB; {took['peak'] / 1e6:.0f} MB of memory"
        yield line


ROWS: Rows = {
    "grant": grant,
    "attendance": recorded,
    "import": imported,
    "sign-in": signing_in,
    "cards": cards,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where a row could not be measured."""
    return measure(ROWS, _parser().parse_args(arguments), _HEAD)


def _parser() -> argparse.ArgumentParser:
    asked = parser("benchmarks.access", __doc__, _EPILOG)
    add = asked.add_argument
    add(
        "--passwords",
        type=int,
        default=1_000_000,
        metavar="N",
        help="of the tenant whose viewers sign in (default: 1000000)",
    )
    add("--sign-ins", type=int, default=5000, metavar="N", help="how many (default: 5000)")
    return asked


_EPILOG = f"""\
rows:
  {" ".join(ROWS)}

columns:
  us a request count the processor time of all processes of the server; medians over the turns, the
  ratio pair by pair. busy: how much of a processor each side used meanwhile; where that is little, the
  load was too weak to say much. MB of memory are the peak of the command's resident bytes.

environment:
  PYSTREAM_BENCH_CACHE    where the film is kept (default: pystream-bench in $TMPDIR)

The film is made once, by an ffmpeg with libx264.
"""


if __name__ == "__main__":
    sys.exit(main())
