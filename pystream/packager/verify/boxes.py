"""Boxes of ISO/IEC 14496-12 as a tree read on demand: a kind, a place, and the bytes within.

Bytes that fit no box are an error, zero bytes behind the last one are not: QuickTime ends lists so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(slots=True)
class Box:
    kind: bytes
    at: int
    data: bytes

    def boxes(self, skip: int = 0) -> list[Box]:
        return read_boxes(self.data[skip:], self.at + 8 + skip)

    def get(self, path: str, skip: int = 0) -> Box:
        found = self.all(path, skip)
        if not found:
            raise ValueError(f"no {path} in {self.kind.decode('latin-1')}")
        return found[0]

    def all(self, path: str, skip: int = 0) -> list[Box]:
        first, _, rest = path.partition("/")
        mine = [box for box in self.boxes(skip) if box.kind == first.encode()]
        return [inner for box in mine for inner in box.all(rest)] if rest else mine

    @property
    def numbers(self) -> tuple[int, ...]:
        """The fields as 32-bit integers, version and flags first."""
        return struct.unpack(f">{len(self.data) // 4}I", self.data[: len(self.data) // 4 * 4])


def read_boxes(data: bytes, base: int = 0) -> list[Box]:
    found = []
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        size = size or len(data) - at
        if size < head or at + size > len(data):
            raise ValueError(f"box {kind!r} at byte {base + at} runs out of its parent")
        found.append(Box(kind, base + at + head - 8, data[at + head : at + size]))
        at += size
    if data[at:].strip(b"\0"):
        raise ValueError(f"{len(data) - at} bytes after the last box, at byte {base + at}")
    return found


def to_signed(value: int) -> int:
    return value - (value >> 31 << 32)
