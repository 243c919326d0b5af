"""Questions that the kernel answers with many messages: dumps of netlink(7)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NETFILTER, SOCK_DIAG = 12, 4
"""Families of netlink (linux/netlink.h)."""

_HEADER = struct.Struct("=IHHII")
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
# What the kernel puts into one answer of a dump is at most 32 KiB.
_MOST_BYTES = 65_536


def dump(family: int, kind: int, body: bytes) -> Iterator[bytes]:
    """What each message of the answer holds. Raises `OSError`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as asked:
        asked.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body)
        while True:
            answer = asked.recv(_MOST_BYTES)
            at = 0
            while at < len(answer):
                length, type, _, _, _ = _HEADER.unpack_from(answer, at)
                said = answer[at + _HEADER.size : at + length]
                at += _aligned(length)
                if type == _DONE:
                    return
                if type == _ERROR:
                    number = -struct.unpack_from("=i", said)[0]
                    raise OSError(number, os.strerror(number))
                yield said


def attribute(type: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, type) + value.ljust(_aligned(len(value)), b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """By their types, of which none is there twice."""
    found, at = {}, 0
    while at < len(data):
        length, type = _ATTRIBUTE.unpack_from(data, at)
        found[type & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return -(-length // 4) * 4
