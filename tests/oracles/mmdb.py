"""Writes small MaxMind databases (MaxMind DB File Format Specification 2.0), naively.

The tree is a trie of bits with 24-bit records; the data section has maps, texts, booleans and numbers
only, and nothing in it is shared.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def database(records: Mapping[str, Any], ip_version: int = 6) -> bytes:
    """The file: what each network's record is. IPv4 lies at ::/96 in an IPv6 tree."""
    data, offsets = b"", []
    nodes: list[list[Any]] = [[None, None]]
    for network, record in records.items():
        offsets.append(len(data))
        data += encoded(record)
        _insert(nodes, _bits(ip_network(network), ip_version), len(offsets) - 1)

    def pointer(record: Any) -> int:
        if record is None:
            return len(nodes)
        kind: str
        number: int
        kind, number = record
        return number if kind == "node" else len(nodes) + 16 + offsets[number]

    tree = b"".join(pointer(record).to_bytes(3) for node in nodes for record in node)
    metadata = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_936_699_200,
        "database_type": "Test-Country",
        "description": {"en": "written by a test"},
        "ip_version": ip_version,
        "languages": [],
        "node_count": len(nodes),
        "record_size": 24,
    }
    return tree + bytes(16) + data + MARKER + encoded(metadata)


def _bits(network: IPv4Network | IPv6Network, ip_version: int) -> list[int]:
    length = network.prefixlen
    packed = network.network_address.packed
    if network.version == 4 and ip_version == 6:
        length, packed = length + 96, bytes(12) + packed
    return [packed[place // 8] >> (7 - place % 8) & 1 for place in range(length)]


def _insert(nodes: list[list[Any]], bits: list[int], number: int) -> None:
    at = 0
    for bit in bits[:-1]:
        if nodes[at][bit] is None:
            nodes.append([None, None])
            nodes[at][bit] = ("node", len(nodes) - 1)
        at = nodes[at][bit][1]
    nodes[at][bits[-1]] = ("data", number)


def encoded(value: Any) -> bytes:
    """A field: its type and size, then itself. Types above 7 have a byte of their own."""
    if isinstance(value, bool):
        return _head(14, int(value))
    if isinstance(value, int):
        data = value.to_bytes((value.bit_length() + 7) // 8)
        return _head(9, len(data)) + data
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _head(3, 8) + struct.pack(">d", value)
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(map(encoded, value))
    return _head(7, len(value)) + b"".join(
        encoded(name) + encoded(inner) for name, inner in value.items()
    )


def _head(kind: int, size: int) -> bytes:
    assert size < 29 + 256
    more = b"" if size < 29 else bytes([size - 29])
    control = (kind << 5 if kind < 8 else 0) | min(size, 29)
    return bytes([control]) + (b"" if kind < 8 else bytes([kind - 7])) + more
