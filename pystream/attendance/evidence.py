"""What was delivered, on its way from the worker that sent it to the line of an evidence file.

A worker names what it sends by a tag, bytes that are put together of two parts, the session, 16 bytes, and
what of its stream it was, the first byte of which is its kind:

    segment:  0 | stream, 4 | m0, 8 | m1, 8 | primary, 1 | rendition, UTF-8
    part:     1 | mark, 8 | size, 8 | first, 8 | end, 8 | the segment that it is of, as above
    key, playlist, download:  2, 3, 4

all numbers big-endian. A part is [first, end) of a segment of `size` bytes; `mark` tells apart what the
same segment may be made of. What its peers have acknowledged comes out as records, as
`_core.Meter.delivered` has them: the instant, in ms of the clock that counts on while the machine sleeps,
then the tag. Places are made once a segment, so that a request costs no more than the joining of the two.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple

from pystream.attendance.canonical import encode

SESSION_LENGTH: Final = 16
SALT_LENGTH: Final = 16
"""Of what hides an event behind the hash of its leaf."""
LONGEST_MS: Final = 600_000
"""No event has more media (attendance-v1)."""

_SEGMENT, _PART = 0, 1
KEY: Final = b"\2"
PLAYLIST: Final = b"\3"
DOWNLOAD: Final = b"\4"
_NAMES = {KEY: "key", PLAYLIST: "playlist", DOWNLOAD: "download"}
_PLACE = struct.Struct(">BIqq?")
_RANGE = struct.Struct(">B8sQQQ")
_RECORD = struct.Struct(">qH")


class Delivered(NamedTuple):
    """Something that was delivered. `t` is in ms of the clock that its worker has."""

    t: int
    session: bytes
    place: bytes


class Part(NamedTuple):
    """Bytes [first, end) of a segment that has `size`. Those of equal `of` are of the same bytes, whose
    place is `place`."""

    of: bytes
    size: int
    first: int
    end: int
    place: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Part | None:
        """None for what is no part. Raises `ValueError` for what is none of what it says."""
        if data[0] != _PART:
            return None
        try:
            _, mark, size, first, end = _RANGE.unpack_from(data)
        except struct.error as error:
            raise ValueError("this is no part of a segment") from error
        if not first < end <= size:
            raise ValueError("this is no part of a segment")
        place = data[_RANGE.size :]
        of = blake2b(mark + size.to_bytes(8) + place, digest_size=16).digest()
        return cls(of, size, first, end, place)


def part(tag: bytes, etag: str, size: int, first: int, end: int) -> bytes:
    """The tag of [first, end) of what a segment's tag names, of the representation that has that `etag`."""
    mark = blake2b(etag.encode(), digest_size=8).digest()
    head = _RANGE.pack(_PART, mark, size, first, end)
    return tag[:SESSION_LENGTH] + head + tag[SESSION_LENGTH:]


class Place(NamedTuple):
    """Which media a segment has: ms of the film, and of which rendition. `primary`: that counts."""

    stream_id: int
    m0: int
    m1: int
    primary: bool
    rendition: str

    def pack(self) -> bytes:
        """As it stands in a tag."""
        numbers = _PLACE.pack(_SEGMENT, self.stream_id, self.m0, self.m1, self.primary)
        return numbers + self.rendition.encode()

    @classmethod
    def unpack(cls, data: bytes) -> Place:
        """Raises `ValueError` for what is none."""
        try:
            kind, stream_id, m0, m1, primary = _PLACE.unpack_from(data)
        except struct.error as error:
            raise ValueError("this is no segment's place") from error
        if kind != _SEGMENT:
            raise ValueError("this is no segment's place")
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
        if length <= SESSION_LENGTH or at > end:
            raise ValueError("this is no record")
        place = begin + SESSION_LENGTH
        yield Delivered(t, data[begin:place], data[place:at])


def record(t: int, tag: bytes) -> bytes:
    """One more of them."""
    return _RECORD.pack(t, len(tag)) + tag


def packed(rows: Iterable[tuple[int, bytes, str]]) -> bytes:
    """What is sealed of an hour: numbers in the log, salts and events, each the text that was hashed."""
    # Six million of a day: what json.dumps does for a list, by hand.
    lines = (
        f'[{number}, "{salt.hex()}", {encode_basestring_ascii(event)}]'
        for number, salt, event in rows
    )
    return "\n".join(lines).encode()


def unpacked(text: bytes) -> Iterator[tuple[int, bytes, str]]:
    """The same again."""
    for line in text.splitlines():
        number, salt, event = json.loads(line)
        yield number, bytes.fromhex(salt), event


class Pieces:
    """The parts of events' RFC 8785 JSON that come again and again: its members stand in the order of
    their names, so what is of the key, of what was delivered and of the session is three pieces."""

    @staticmethod
    def of_key(key: str) -> str:
        return f'{{"key":{_spelt(key)},"kind":'

    @staticmethod
    def of_place(data: bytes) -> str:
        """Raises `ValueError` for what a worker does not tell."""
        if data in _NAMES:
            return f'"{_NAMES[data]}",'
        place = Place.unpack(data)
        primary, rendition = _spelt(place.primary), _spelt(place.rendition)
        media = f'"m0":{place.m0},"m1":{place.m1}'
        return f'"segment",{media},"primary":{primary},"rendition":{rendition},'

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


def instant(event: str) -> int:
    """When an event that has a `t` was, of its one spelling: the last member, by its name."""
    return int(event.rpartition(":")[2][:-1])


def outage(t0: int, t1: int) -> str:
    """The event that nothing is known of [t0, t1)."""
    return _spelt({"kind": "outage", "t0": t0, "t1": t1})


def clock_step(t: int, step_ms: int) -> str:
    """The event that the machine's clock was set."""
    return _spelt({"kind": "clock", "step_ms": step_ms, "t": t})


def restore(t0: int, t1: int) -> str:
    """The event that an earlier log was brought back, so that what was known of [t0, t1) may be missing."""
    return _spelt({"kind": "restore", "t0": t0, "t1": t1})
