"""What a delivered segment is on its way: from the worker that sent it to the line of an evidence file.

A worker names each segment that it sends by a tag, bytes that are put together of two parts:

    session, 16 bytes | place: stream, 4 | m0, 8 | m1, 8 | primary, 1 | rendition, UTF-8

all numbers big-endian. What its peers have acknowledged comes out as records, as `_core.Meter.delivered`
has them: the instant, in ms of the clock that counts on while the machine sleeps, then the tag. Places are
made once a segment, so that a request costs no more than the joining of the two.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pystream.attendance.canonical import encode

SESSION_LENGTH: Final = 16
LONGEST_MS: Final = 600_000
"""No event has more media (attendance-v1)."""

_PLACE = struct.Struct(">Iqq?")
_RECORD = struct.Struct(">qH")


class Delivered(NamedTuple):
    """A segment that was delivered. `t` is in ms of the clock that its worker has."""

    t: int
    session: bytes
    place: bytes


class Place(NamedTuple):
    """Which media a segment has: ms of the film, and of which rendition. `primary`: that counts."""

    stream_id: int
    m0: int
    m1: int
    primary: bool
    rendition: str

    def pack(self) -> bytes:
        """As it stands in a tag."""
        numbers = _PLACE.pack(self.stream_id, self.m0, self.m1, self.primary)
        return numbers + self.rendition.encode()

    @classmethod
    def unpack(cls, data: bytes) -> Place:
        """Raises `ValueError` for what is none."""
        try:
            stream_id, m0, m1, primary = _PLACE.unpack_from(data)
        except struct.error as error:
            raise ValueError("this is no segment's place") from error
        return cls(stream_id, m0, m1, primary, data[_PLACE.size :].decode())


def places(
    stream_id: int, rendition: str, durations_us: Sequence[int], *, primary: bool
) -> list[bytes]:
    """Those of all segments of a rendition, packed. Each begins where the one before it ends."""
    found, begin_us = [], 0
    for duration in durations_us:
        m0, end_us = begin_us // 1000, begin_us + duration
        m1 = min(max(end_us // 1000, m0 + 1), m0 + LONGEST_MS)
        found.append(Place(stream_id, m0, m1, primary, rendition).pack())
        begin_us = end_us
    return found


def records(data: bytes) -> Iterator[Delivered]:
    """What a worker has told. Raises `ValueError` for other bytes."""
    at, end = 0, len(data)
    while at < end:
        try:
            t, length = _RECORD.unpack_from(data, at)
        except struct.error as error:
            raise ValueError("this is no record") from error
        begin = at + _RECORD.size
        at = begin + length
        if length < SESSION_LENGTH or at > end:
            raise ValueError("this is no record")
        place = begin + SESSION_LENGTH
        yield Delivered(t, data[begin:place], data[place:at])


def record(t: int, tag: bytes) -> bytes:
    """One more of them."""
    return _RECORD.pack(t, len(tag)) + tag


class Pieces:
    """The parts of events' RFC 8785 JSON that come again and again: its members stand in the order of
    their names, so what is of the key, of the segment and of the session is three pieces."""

    @staticmethod
    def of_key(key: str) -> str:
        return f'{{"key":{_spelt(key)},"kind":"segment",'

    @staticmethod
    def of_place(place: Place) -> str:
        primary, rendition = _spelt(place.primary), _spelt(place.rendition)
        return f'"m0":{place.m0},"m1":{place.m1},"primary":{primary},"rendition":{rendition},'

    @staticmethod
    def of_session(session: bytes, stream: str) -> str:
        return f'"session":"{session.hex()}","stream":{_spelt(stream)},"t":'


# No place of a segment begins so.
_SAID: Final = b"\5"


def beacon(values: Mapping[str, object]) -> bytes:
    """What a tag has in the place of a segment's, of what a player says."""
    return _SAID + encode({"kind": "beacon", **values})


def check(answered: int | None) -> bytes:
    """The same of a presence check: after how many ms it was answered, None for not yet."""
    return _SAID + encode({"answered": answered, "kind": "check"})


def said(place: bytes, key: str, session: bytes, stream: str, t: int) -> str | None:
    """The event of what was said; None for what is none of it. Raises `ValueError` for other bytes."""
    if place[:1] != _SAID:
        return None
    values = json.loads(place[1:])
    if not isinstance(values, dict):
        raise ValueError("this is nothing that a player says")
    return _spelt({**values, "key": key, "session": session.hex(), "stream": stream, "t": t})


def _spelt(value: object) -> str:
    return encode(value).decode()


def outage(t0: int, t1: int) -> str:
    """The event that nothing is known of [t0, t1)."""
    return _spelt({"kind": "outage", "t0": t0, "t1": t1})


def clock_step(t: int, step_ms: int) -> str:
    """The event that the machine's clock was set."""
    return _spelt({"kind": "clock", "step_ms": step_ms, "t": t})


def restore(t0: int, t1: int) -> str:
    """The event that an earlier log was brought back, so that what was known of [t0, t1) may be missing."""
    return _spelt({"kind": "restore", "t0": t0, "t1": t1})
