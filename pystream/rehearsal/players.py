"""Viewers who play: what a crowd asks a server for, and whether it comes in time.

Viewers each have a connection of their own. They fetch the multivariant playlist, the first media
playlist in it, keys, and segments in time: the next one as long as less than `ahead` seconds are
there. A segment is read in its duration divided by the viewer's own speed, between `slow` and
`fast`; a few viewers stop reading in the middle of their second segment. Nothing is decrypted, but
all lengths are checked.

Playback begins `start_buffer` seconds after the first segment is asked for. A segment that is not
there to its last byte when it is to be shown is late, and the viewer waits for it: so one that was
late does not make all that follow it late as well.
"""

from __future__ import annotations

import json
import os
import random
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from pystream.rehearsal.wire import (
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

RUSH_SECONDS = 20.0
_GRACE_SECONDS = 20.0
_KEY_BYTES = 16
_STALL_AT = 100_000
_REDIRECTS = 3


@dataclass(slots=True)
class Tally:
    """What all viewers, or connections, met together. Seconds and bytes; `media`: of film that came whole;
    `rush`: what of it was asked for in the first `RUSH_SECONDS`."""

    requests: Counter[str] = field(default_factory=Counter)
    nbytes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_bytes: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    media: float = 0.0
    rush: float = 0.0
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
    """One who watches, from `position` (a share of the film) on, at `speed` times the bit rate. `password`:
    what opens the film, empty where nothing has to; `source`: the address that he comes from."""

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
        password: str = "",
        source: str = "",
    ) -> None:
        self._loop = loop
        self._tally = tally
        self._playing = playing
        self._tls = tls
        self._lengths = lengths
        self._position = position
        self._speed = speed
        self._stalls = stalls
        self._password = password
        self._source = source
        self._connection: Connection | None = None
        self._key: str | None = None
        self._init: str | None = None
        self._begun = 0.0

    def watch(self, url: str, begin: float) -> Task[None]:
        """From playlist to playlist, and then segments until the loop is ending."""
        self._begun = clock()
        yield begin
        try:
            yield from self._watch(url)
        except Broken as broken:
            self._tally.errors[str(broken)] += 1
        finally:
            if self._connection is not None:
                self._connection.close()

    def _watch(self, url: str) -> Task[None]:
        if self._password:
            url = yield from self._let_in(url)
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
        # Whoever came has one at least.
        while not (self._loop.ending and number):
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

    def _let_in(self, url: str) -> Task[str]:
        """What the page does with a password: the multivariant playlist under the grant that it opens."""
        body = json.dumps({"password": self._password}).encode()
        response = yield from self._get("session", urljoin(url, "session"), keep=True, body=body)
        master: str = json.loads(response.body or b"{}")["master"]
        return urljoin(url, master)

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
        if stall is None:
            self._tally.media += segment.seconds
            if response.sent < self._begun + RUSH_SECONDS:
                self._tally.rush += segment.seconds
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
        body: bytes | None = None,
    ) -> Task[Response]:
        parts = urlsplit(url)
        connection = self._connection
        if connection is None:
            target = Target.of(parts)
            buffer = self._playing.buffer
            connection = Connection(self._loop, target, self._tls, buffer, self._source)
            self._connection = connection
        connection.reopen_if_ended()
        response = yield from connection.fetch(
            request(url, BROWSER, body), keep=keep, takes=takes, stall_at=stall_at
        )
        if response.status in (301, 302, 307, 308):
            kind = "redirect"
        elif response.status != 200:
            raise Broken(f"status {response.status}")
        self._tally.add(kind, response)
        return response


class Visitor(NamedTuple):
    """Who comes, with what, and from where."""

    password: str = ""
    source: str = ""


def play(url: str, playing: Playing, visitors: Sequence[Visitor] = ()) -> Tally:
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
        visitor = visitors[n] if visitors else Visitor()
        viewer = Viewer(
            loop,
            tally,
            playing,
            tls,
            lengths,
            position=0.0 if together else n / count,
            speed=speed,
            stalls=n in stalling,
            password=visitor.password,
            source=visitor.source,
        )
        pause = 0.0 if together else chance.random() * playing.ramp
        loop.start(viewer.watch(url, begin + pause))
    left = loop.run(playing.seconds, _GRACE_SECONDS)
    if left:
        tally.errors["unanswered at the end"] += left
    return tally


def main() -> int:
    """A process of viewers: what they are to do comes in as JSON, and what they met goes out."""
    plan = json.load(sys.stdin)
    if plan["processors"]:
        os.sched_setaffinity(0, plan["processors"])
    raise_descriptor_limit()
    visitors = [Visitor(*visitor) for visitor in plan["visitors"]]
    begun, busy = clock(), time.thread_time()
    tally = play(plan["url"], Playing(**plan["playing"]), visitors)
    told = {name: getattr(tally, name) for name in tally.__slots__}
    told |= {"cpu": time.thread_time() - busy, "elapsed": clock() - begun}
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
