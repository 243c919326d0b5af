"""`python -m benchmarks.load`: viewers who play, and connections that ask without a pause.

Viewers each have a connection of their own. They fetch the multivariant playlist, the first media
playlist in it, keys, and segments in time: the next one as long as less than --ahead seconds are
there. A segment is read in its duration divided by the viewer's own speed, between --slow and
--fast; a few viewers stop reading in the middle of their second segment. Nothing is decrypted, but
all lengths are checked.

Playback begins --start-buffer seconds after the first segment is asked for. A segment that is not
there to its last byte when it is to be shown is late, and the viewer waits for it: so one that was
late does not make all that follow it late as well.

With --connections there are no viewers. Each connection asks for the next one of the addresses as
soon as it has the last, which is how many requests, or bytes, a server can do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import quantiles
from typing import Any
from urllib.parse import urljoin, urlsplit

from benchmarks.wire import (
    Broken,
    Connection,
    Loop,
    Response,
    Target,
    Task,
    clock,
    raise_descriptor_limit,
    request,
    trusting,
)

# What Chrome 140 sends when hls.js fetches from another origin.
BROWSER = (
    b"Connection: keep-alive\r\n"
    b'sec-ch-ua-platform: "Windows"\r\n'
    b"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/140.0.0.0 Safari/537.36\r\n"
    b'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b"Accept: */*\r\n"
    b"Origin: https://www.example.com\r\n"
    b"Sec-Fetch-Site: cross-site\r\n"
    b"Sec-Fetch-Mode: cors\r\n"
    b"Sec-Fetch-Dest: empty\r\n"
    b"Referer: https://www.example.com/\r\n"
    b"Accept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7\r\n"
)
GZIP = b"Accept-Encoding: gzip, deflate, br, zstd\r\n"

_GRACE_SECONDS = 20.0
_OPENING_SECONDS = 300.0
_KEY_BYTES = 16
_STALL_AT = 100_000
_REDIRECTS = 3


@dataclass(slots=True)
class Tally:
    """What all viewers, or connections, met together. Seconds and bytes."""

    requests: Counter[str] = field(default_factory=Counter)
    nbytes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_bytes: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    stalled: int = 0
    cut_off: int = 0
    resumed: int = 0
    handshakes: int = 0
    ciphers: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, response: Response) -> None:
        self.requests[kind] += 1
        self.nbytes[kind] += response.size
        self.first_bytes.append(response.first - response.sent)
        self.wholes.append(response.whole - response.sent)


# Playing.


@dataclass(frozen=True, slots=True)
class Segment:
    """Of a media playlist: `key` is the address of its key, None where it is clear."""

    uri: str
    seconds: float
    key: str | None
    init: str | None


@lru_cache(64)
def media_playlist(text: bytes) -> list[Segment]:
    """Segments of a media playlist, with addresses as they stand there."""
    found = []
    seconds, key, init = 0.0, None, None
    for line in text.decode().splitlines():
        if line.startswith("#EXTINF:"):
            seconds = float(line[8:].split(",", 1)[0])
        elif line.startswith("#EXT-X-KEY:"):
            key = None if "METHOD=NONE" in line else _uri(line)
        elif line.startswith("#EXT-X-MAP:"):
            init = _uri(line)
        elif line and not line.startswith("#"):
            found.append(Segment(line, seconds, key, init))
    return found


def first_variant(text: bytes) -> str | None:
    """The address behind the first EXT-X-STREAM-INF."""
    lines = iter(text.decode().splitlines())
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF"):
            return next(lines, None)
    return None


def _uri(line: str) -> str | None:
    found = re.search(r'[:,]URI="([^"]*)"', line)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Playing:
    """How viewers behave: seconds, but for `slow` and `fast`, which are times the bit rate, and
    `stall`, a share. `together`: all begin with the first segment, at once; else within `ramp`."""

    viewers: int
    seconds: float
    together: bool = False
    slow: float = 1.2
    fast: float = 3.0
    stall: float = 0.05
    start_buffer: float = 6.0
    ahead: float = 30.0
    ramp: float = 6.0
    buffer: int = 128 * 1024
    seed: int = 1


class Viewer:
    """One who watches, from `position` (a share of the film) on, at `speed` times the bit rate."""

    def __init__(
        self,
        loop: Loop,
        tally: Tally,
        playing: Playing,
        tls: ssl.SSLContext | None,
        lengths: dict[str, int],
        *,
        position: float,
        speed: float,
        stalls: bool,
    ) -> None:
        self._loop = loop
        self._tally = tally
        self._playing = playing
        self._tls = tls
        self._lengths = lengths
        self._position = position
        self._speed = speed
        self._stalls = stalls
        self._connection: Connection | None = None
        self._key: str | None = None
        self._init: str | None = None

    def watch(self, url: str, begin: float) -> Task[None]:
        """From playlist to playlist, and then segments until the loop is ending."""
        yield begin
        try:
            yield from self._watch(url)
        except Broken as broken:
            self._tally.errors[str(broken)] += 1
        finally:
            if self._connection is not None:
                self._connection.close()

    def _watch(self, url: str) -> Task[None]:
        url, text = yield from self._playlist(url)
        variant = first_variant(text)
        if variant is not None:
            url, text = yield from self._playlist(urljoin(url, variant))
        segments = media_playlist(text)
        if not segments:
            raise Broken("playlist without segments")
        at = int(len(segments) * self._position)
        # When what has been fetched so far has been shown to its end.
        shown = clock() + self._playing.start_buffer
        number = 0
        while not self._loop.ending:
            segment = segments[at % len(segments)]
            yield from self._prepare(url, segment)
            whole = yield from self._segment(url, segment, number)
            if number == 0:
                self._tally.starts.append(whole)
            late = clock() - shown
            if late > 0 and not (self._stalls and number >= 1):
                self._tally.late.append(late)
                shown += late
            shown += segment.seconds
            wait = shown - self._playing.ahead
            if wait > clock():
                yield wait
            at, number = at + 1, number + 1

    def _prepare(self, url: str, segment: Segment) -> Task[None]:
        """Fetches the key and the initialization section, where they are others than before."""
        if segment.key != self._key and segment.key is not None:
            response = yield from self._get("key", urljoin(url, segment.key), keep=True)
            if response.length != _KEY_BYTES:
                raise Broken("key of a wrong length")
        if segment.init != self._init and segment.init is not None:
            yield from self._get("init", urljoin(url, segment.init), keep=True)
        self._key, self._init = segment.key, segment.init

    def _segment(self, url: str, segment: Segment, number: int) -> Task[float]:
        """Fetches one; returns the seconds that took."""
        address = urljoin(url, segment.uri)
        stall = _STALL_AT if self._stalls and number == 1 else None
        self._tally.stalled += stall is not None
        try:
            response = yield from self._get(
                "segment", address, takes=segment.seconds / self._speed, stall_at=stall
            )
        except Broken:
            if stall is None:
                raise
            # The server has lost patience, which is its right.
            self._tally.cut_off += 1
            return 0.0
        # Encrypted, it is whole blocks (RFC 8216 4.3.2.4); clear, whole packets (ISO/IEC 13818-1).
        unit = 16 if segment.key else 188 if ".ts" in segment.uri else 1
        if response.length % unit or not response.length:
            raise Broken("segment of an impossible length")
        name = address.rpartition("/t/")[2].partition("/")[2] or address
        if self._lengths.setdefault(name, response.length) != response.length:
            raise Broken("segment of another length than before")
        return response.whole - response.sent

    def _playlist(self, url: str) -> Generator[float, None, tuple[str, bytes]]:
        for _ in range(_REDIRECTS):
            response = yield from self._get("playlist", url, keep=True)
            if response.location is None:
                return url, response.body or b""
            url = urljoin(url, response.location)
        raise Broken("too many redirects")

    def _get(
        self,
        kind: str,
        url: str,
        *,
        keep: bool = False,
        takes: float = 0.0,
        stall_at: int | None = None,
    ) -> Task[Response]:
        parts = urlsplit(url)
        connection = self._connection
        if connection is None:
            target = Target.of(parts)
            connection = Connection(self._loop, target, self._tls, self._playing.buffer)
            self._connection = connection
        connection.reopen_if_ended()
        response = yield from connection.fetch(
            request(url, BROWSER), keep=keep, takes=takes, stall_at=stall_at
        )
        if response.status in (301, 302, 307, 308):
            kind = "redirect"
        elif response.status != 200:
            raise Broken(f"status {response.status}")
        self._tally.add(kind, response)
        return response


def play(url: str, playing: Playing) -> Tally:
    """All viewers from beginning to end, in this thread."""
    loop, tally, lengths = Loop(), Tally(), dict[str, int]()
    chance = random.Random(playing.seed)
    tls = trusting() if urlsplit(url).scheme == "https" else None
    count = playing.viewers
    speeds = [
        playing.slow + (playing.fast - playing.slow) * n / max(1, count - 1) for n in range(count)
    ]
    chance.shuffle(speeds)
    stalling = set(chance.sample(range(count), round(playing.stall * count)))
    begin = clock()
    for n, speed in enumerate(speeds):
        together = playing.together
        viewer = Viewer(
            loop,
            tally,
            playing,
            tls,
            lengths,
            position=0.0 if together else n / count,
            speed=speed,
            stalls=n in stalling,
        )
        pause = 0.0 if together else chance.random() * playing.ramp
        loop.start(viewer.watch(url, begin + pause))
    left = loop.run(playing.seconds, _GRACE_SECONDS)
    if left:
        tally.errors["unanswered at the end"] += left
    return tally


# Asking without a pause.


@dataclass(frozen=True, slots=True)
class Asking:
    """How connections behave. `fresh`: each request has a connection of its own; `resume`: whose
    handshake is short, with the ticket that the one before it was given."""

    connections: int
    seconds: float
    fields: bytes = BROWSER
    fresh: bool = False
    resume: bool = False
    requests: int | None = None


def ask(urls: Sequence[str], asking: Asking) -> Tally:
    """All connections, in this thread. Each begins at another one of the addresses."""
    loop, tally = Loop(), Tally()
    target = Target.of(urlsplit(urls[0]))
    tls = trusting() if target.secure else None
    requests = [request(url, asking.fields) for url in urls]
    for n in range(asking.connections):
        shift = n * len(requests) // asking.connections
        mine = requests[shift:] + requests[:shift]
        loop.start(_ask(Connection(loop, target, tls), mine, asking, tally, loop))
    left = loop.run(asking.seconds, _GRACE_SECONDS)
    if left:
        tally.errors["unanswered at the end"] += left
    return tally


def _ask(
    connection: Connection, requests: list[bytes], asking: Asking, tally: Tally, loop: Loop
) -> Task[None]:
    number = 0
    try:
        while not loop.ending and number != asking.requests:
            if connection.fileno() < 0:
                yield from connection.open()
                tally.handshakes += 1
                tally.resumed += connection.resumed
                tally.ciphers[connection.cipher] += 1
            response = yield from connection.fetch(requests[number % len(requests)])
            number += 1
            if response.status != 200:
                tally.errors[f"status {response.status}"] += 1
            tally.add("request", response)
            if asking.fresh:
                if asking.resume:
                    connection.keep_session()
                connection.close()
    except Broken as broken:
        tally.errors[str(broken)] += 1
    finally:
        connection.close()


@contextlib.contextmanager
def holding(url: str, count: int) -> Iterator[int]:
    """`count` connections that have asked once and are silent now; how many of them are open."""
    raise_descriptor_limit()
    loop = Loop()
    target = Target.of(urlsplit(url))
    tls = trusting() if target.secure else None
    connections = [Connection(loop, target, tls) for _ in range(count)]
    line = request(url, BROWSER)

    def some(mine: list[Connection]) -> Task[None]:
        for connection in mine:
            with contextlib.suppress(Broken):
                yield from connection.fetch(line)

    for n in range(50):
        loop.start(some(connections[n::50]))
    loop.run(_OPENING_SECONDS, 0.0)
    try:
        yield sum(connection.fileno() >= 0 for connection in connections)
    finally:
        for connection in connections:
            connection.close()


# What it was like.


def summary(tally: Tally, seconds: float, cpu: float) -> dict[str, Any]:
    """Plain values: counts, bytes, and times in seconds."""
    requests = sum(tally.requests.values())
    return {
        "seconds": seconds,
        "own_cpu": cpu,
        "requests": requests,
        "requests_by_kind": dict(tally.requests),
        "bytes": sum(tally.nbytes.values()),
        "bytes_by_kind": dict(tally.nbytes),
        "errors": dict(tally.errors),
        "first_byte": distribution(tally.first_bytes),
        "whole": distribution(tally.wholes),
        "start": distribution(tally.starts),
        "late": len(tally.late),
        "late_seconds": distribution(tally.late),
        "rebuffering": sum(tally.late),
        "stalled": tally.stalled,
        "cut_off": tally.cut_off,
        "handshakes": tally.handshakes,
        "resumed": tally.resumed,
        "ciphers": dict(tally.ciphers),
    }


def distribution(values: list[float]) -> dict[str, float] | None:
    """Median, 99th percentile, most."""
    if not values:
        return None
    if len(values) == 1:
        values = values * 2
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}


def show(found: dict[str, Any]) -> None:
    """For people."""
    seconds = found["seconds"]
    print(f"{found['requests']:,} requests, {found['requests'] / seconds:,.0f} a second")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found["bytes_by_kind"].items())
    print(f"{found['bytes']:,} bytes ({kinds}), {found['bytes'] / seconds / 1e9:.3f} GB a second")
    for name in ("first_byte", "whole", "start"):
        if times := found[name]:
            cells = ", ".join(f"{key} {value * 1e3:.2f} ms" for key, value in times.items())
            print(f"{name.replace('_', ' ')}: {cells}")
    if found["start"]:
        print(f"late: {found['late']}, waited for {found['rebuffering']:.2f} s together")
        print(f"stalled: {found['stalled']}, of which cut off {found['cut_off']}")
    if found["ciphers"]:
        shaken = f"handshakes: {found['handshakes']}, of which resumed {found['resumed']}"
        print(shaken, "; ".join(name for name in found["ciphers"] if name))
    for kind, count in found["errors"].items():
        print(f"error: {kind}: {count}")
    print(f"this program: {found['own_cpu'] / seconds:.0%} of a processor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where something was wrong: an error, or a late segment."""
    options = _parser().parse_args(arguments)
    raise_descriptor_limit()
    begun, cpu = clock(), time.process_time()
    if options.connections:
        fields = BROWSER + (GZIP if options.gzip else b"")
        asking = Asking(options.connections, options.seconds, fields, options.fresh, options.resume)
        tally = ask(options.url, asking)
    else:
        playing = Playing(
            options.viewers,
            options.seconds,
            options.together,
            options.slow,
            options.fast,
            options.stall / 100,
            options.start_buffer,
            options.ahead,
            options.ramp,
            options.receive_buffer,
            options.seed,
        )
        tally = play(options.url[0], playing)
    found = summary(tally, clock() - begun, time.process_time() - cpu)
    if options.json:
        print(json.dumps(found))
    else:
        show(found)
    return int(bool(found["errors"] or found["late"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__.split("\n", 1)[1] if __doc__ else None,
        epilog="@FILE takes arguments from a file, one a line.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    add = parser.add_argument
    usual = Playing(100, 60.0)
    add("url", nargs="+", metavar="URL", help="of a playlist; with --connections of anything")
    add("--seconds", type=float, default=60.0, metavar="S", help="how long (default: 60)")
    add("--json", action="store_true", help="print one JSON object")
    viewers = parser.add_argument_group("viewers")
    add = viewers.add_argument
    add("--viewers", type=int, default=usual.viewers, metavar="N", help="how many (default: 100)")
    add(
        "--together",
        action="store_true",
        help="all begin with the first segment, at once (default: spread over the film)",
    )
    add("--ramp", type=float, default=usual.ramp, metavar="S", help="within which they begin (6)")
    add("--slow", type=float, default=usual.slow, metavar="X", help="times the bit rate (1.2)")
    add("--fast", type=float, default=usual.fast, metavar="X", help="times the bit rate (3)")
    add("--stall", type=float, default=5.0, metavar="PERCENT", help="who stop reading (5)")
    add(
        "--start-buffer",
        type=float,
        default=usual.start_buffer,
        metavar="S",
        help="between asking for the first segment and showing it (6)",
    )
    add("--ahead", type=float, default=usual.ahead, metavar="S", help="fetched at most (30)")
    add(
        "--receive-buffer",
        type=int,
        default=usual.buffer,
        metavar="BYTES",
        help="of each socket, so that what is not read stays with the server (131072)",
    )
    add("--seed", type=int, default=usual.seed, help="of whatever is by chance (1)")
    asking = parser.add_argument_group("without a pause")
    add = asking.add_argument
    add("--connections", type=int, default=0, metavar="N", help="how many")
    add("--gzip", action="store_true", help="accept what is compressed")
    add("--fresh", action="store_true", help="a new connection for each request")
    add("--resume", action="store_true", help="with --fresh: by the ticket of the last one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
