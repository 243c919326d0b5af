"""What a worker sees of attacks: counts by address, of the last second alone, in its memory and nowhere else.

Once a second it tells the node's writer of those who did something that attacks consist of; the writer
judges (`detector`), since a source may have connections to several workers. Who did nothing of the kind is
not told of, and forgotten.

Some of it is seen of one viewer only, over a minute or two: keys that are fetched without the segments that
they open, and a film that is fetched far faster than it plays. Players read ahead, and whoever zaps fetches
a lot; but a player has a buffer of some minutes, and who zaps does not go on in order. So what counts is a
run of segments, each behind the one before, beyond fifteen minutes and ten times the time that has passed.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec
import trio

from pystream.server import log
from pystream.server.desk import framed, is_ours

TELL_SECONDS: Final = 1.0
# Addresses that are counted in a second, and told of: whoever comes after these was not the first.
_MOST_COUNTED, _MOST_TOLD = 50_000, 5_000
LONGEST_MESSAGE: Final = 4 << 20
# Viewers who are remembered for one of these and up to twice as long.
_REMEMBERED_SECONDS = 60.0
_MOST_VIEWERS = 20_000
# Keys a minute that are never too many, and how many for each segment.
_KEYS_FREE, _KEYS_A_SEGMENT = 120, 2
# Seconds of film that a player may have read ahead, and how many times faster than it plays somebody may go
# on.
_AHEAD_SECONDS, _SPEED = 900.0, 10.0
# A few at a time come in another order than they were asked for.
_NEAR = 16
_SEEN = (1 << _NEAR) - 1
A_BAN: Final = 20
"""Strikes that a ban counts for."""


class Sign(IntEnum):
    """What is counted. The first ones say nothing by themselves."""

    REQUESTS = 0
    RIGHT = 1
    GUESSES = 2
    KEYS = 3
    FETCHED = 4
    PROBES = 5
    SLOW = 6
    STRIKES = 7
    TURNED_AWAY = 8

    @property
    def word(self) -> str:
        """As it stands in what is kept."""
        return self.name.lower()


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What a worker tells: counts by address, in the order of `Sign`, and whom it has banned for how many
    seconds."""

    sources: list[tuple[str, list[int]]]
    bans: list[tuple[str, int]]


class _Viewer:
    """What is known of one viewer's last minute or two."""

    __slots__ = ("ahead", "at", "front", "keys", "rendition", "seen", "segments", "since")

    def __init__(self, now: float) -> None:
        self.keys = self.segments = 0
        self.since = self.at = now
        self.rendition: object = None
        # The last segment of the run, and which ones before it were there: a bit each, from the lowest on.
        self.front = self.seen = 0
        self.ahead = 0.0


class Signs:
    """One worker's. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, list[int]] = {}
        self._bans: list[tuple[str, int]] = []
        self._young: dict[bytes, _Viewer] = {}
        self._old: dict[bytes, _Viewer] = {}
        self._turn = clock() + _REMEMBERED_SECONDS

    def arrive(self, address: str) -> None:
        """Counts a request."""
        try:
            self._counts[address][0] += 1
        except KeyError:
            self.note(address, Sign.REQUESTS)

    def note(self, address: str, sign: Sign, count: int = 1) -> None:
        counts = self._counts.get(address)
        if counts is None:
            if len(self._counts) >= _MOST_COUNTED:
                return
            counts = self._counts[address] = [0] * len(Sign)
        counts[sign] += count

    def banned(self, address: str, seconds: int) -> None:
        """A source was banned, since it did not listen to refusals."""
        self.note(address, Sign.STRIKES, A_BAN)
        self._bans.append((address, seconds))

    def key(self, address: str, session: bytes) -> None:
        """A viewer has got a key."""
        viewer = self._viewer(session, self._clock())
        viewer.keys += 1
        if viewer.keys > _KEYS_FREE + _KEYS_A_SEGMENT * viewer.segments:
            self.note(address, Sign.KEYS)

    def segment(
        self, address: str, session: bytes, rendition: object, number: int, seconds: float
    ) -> None:
        """A viewer fetches a segment that lasts so long."""
        now = self._clock()
        viewer = self._viewer(session, now)
        viewer.segments += 1
        on = number - viewer.front
        if rendition != viewer.rendition or not -_NEAR < on < _NEAR:
            viewer.rendition, viewer.front, viewer.seen = rendition, number, 1
            ahead = 0.0
        else:
            if on > 0:
                viewer.front = number
                viewer.seen = viewer.seen << on & _SEEN
            bit = 1 << viewer.front - number
            if viewer.seen & bit:
                return
            viewer.seen |= bit
            ahead = viewer.ahead - (now - viewer.at) * _SPEED
        viewer.at = now
        viewer.ahead = max(0.0, ahead) + seconds
        if viewer.ahead > _AHEAD_SECONDS:
            self.note(address, Sign.FETCHED, max(1, round(viewer.ahead - _AHEAD_SECONDS)))
            viewer.ahead = _AHEAD_SECONDS

    def _viewer(self, session: bytes, now: float) -> _Viewer:
        if now >= self._turn:
            self._turn = now + _REMEMBERED_SECONDS
            self._old, self._young = self._young, {}
        viewer = self._young.get(session)
        if viewer is None:
            viewer = self._old.pop(session, None) or _Viewer(now)
            if len(self._young) < _MOST_VIEWERS:
                self._young[session] = viewer
        if now - viewer.since >= _REMEMBERED_SECONDS:
            viewer.since = now
            viewer.keys = viewer.segments = 0
        return viewer

    def take(self) -> Told | None:
        """What there is to tell; it is forgotten here."""
        counts, self._counts = self._counts, {}
        bans, self._bans = self._bans, []
        sources = [each for each in counts.items() if any(each[1][Sign.RIGHT :])]
        if len(sources) > _MOST_TOLD:
            sources = sorted(sources, key=lambda each: -sum(each[1][Sign.GUESSES :]))[:_MOST_TOLD]
        return Told(sources, bans) if sources or bans else None


async def tell(signs: Signs, listener: int) -> None:
    """Tells the writer until it is cancelled. What it does not hear is lost: it was of a second."""
    with socket.socket(fileno=socket.dup(listener)) as named:
        name = named.getsockname()
    encoder = msgspec.msgpack.Encoder()
    stream: trio.SocketStream | None = None
    try:
        while True:
            await trio.sleep(TELL_SECONDS)
            told = signs.take()
            if told is None:
                continue
            try:
                with trio.fail_after(TELL_SECONDS):
                    stream = stream or await _line(name)
                    await stream.send_all(framed(encoder.encode(told)))
            except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                log.lasting("signs-not-told", error)
                if stream is not None:
                    await trio.aclose_forcefully(stream)
                stream = None
    finally:
        if stream is not None:
            stream.socket.close()


async def _line(name: bytes) -> trio.SocketStream:
    peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await peer.connect(name)
    if not is_ours(peer._sock):  # type: ignore[attr-defined]
        peer.close()
        raise OSError("the socket is another user's")
    return trio.SocketStream(peer)
