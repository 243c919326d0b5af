"""What the kernel tells anybody about the connections that it is asked for: counters, and half-open sockets.

A SYN that it answers waits half open until the peer answers, too. Where as many wait as a listener has room
for, the kernel answers with SYN cookies (`tcp_syncookies`, ip-sysctl): it keeps nothing, and knows those who
come back by what they bring. Without cookies it answers no more, and newcomers are out.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from pystream.server.guard import netlink

NETSTAT: Final = "/proc/self/net/netstat"
_SETTINGS: Final = "/proc/sys/"


class Counters(NamedTuple):
    """Of the machine's network since its start, as `netstat -s` has them (TcpExt)."""

    cookies_sent: int = 0
    cookies_returned: int = 0
    queue_full_drops: int = 0
    accept_overflows: int = 0


_NAMES: Final = ("SyncookiesSent", "SyncookiesRecv", "TCPReqQFullDrop", "ListenOverflows")


def counters(text: str) -> Counters:
    """Out of two lines, one of names and one of numbers; what a kernel does not count is 0."""
    lines = [line.split() for line in text.splitlines() if line.startswith("TcpExt:")]
    found = dict(zip(*lines, strict=True)) if len(lines) == 2 else {}
    return Counters(*(int(found.get(name, 0)) for name in _NAMES))


def read_counters() -> Counters:
    """Raises `OSError`."""
    with open(NETSTAT, encoding="ascii") as file:
        return counters(file.read())


def setting(name: str) -> int | None:
    """One of sysctl(8)'s, with dots; None where it cannot be seen, as by a service that is confined."""
    try:
        with open(_SETTINGS + name.replace(".", "/"), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


# sock_diag(7); linux/inet_diag.h: struct inet_diag_req_v2, which names no socket, and struct inet_diag_msg.
_BY_FAMILY = 20
_SYN_RECV = 1 << 3
_ALL_STATES = 0xFFFFFFFF
_REQUEST = struct.Struct("=BBBBI48x")
_OWN_PORT = struct.Struct(">4xH")
_SOCKET_BYTES = 72
_SKMEMINFO = 7
# The peer's address lies behind our own, both in 16 bytes.
_PEER_AT, _ADDRESS_LENGTH = 24, {socket.AF_INET: 4, socket.AF_INET6: 16}


def half_open(ports: Collection[int]) -> int:
    """How many connections to these ports wait for their peer. Raises `OSError`."""
    return sum(_OWN_PORT.unpack_from(each)[0] in ports for each in _sockets(_SYN_RECV))


def half_open_peers(ports: Collection[int], most: int) -> list[str]:
    """Who has asked for these, as far as a SYN says it: anybody can write any address into one. Raises
    `OSError`."""
    found = dict[str, None]()
    for each in _sockets(_SYN_RECV):
        if _OWN_PORT.unpack_from(each)[0] in ports and len(found) < most:
            family = socket.AddressFamily(each[0])
            address = each[_PEER_AT : _PEER_AT + _ADDRESS_LENGTH[family]]
            found[_unmapped(socket.inet_ntop(family, address))] = None
    return list(found)


def _unmapped(address: str) -> str:
    # RFC 4291 2.5.5.2: as a listener of both families sees it.
    is_mapped = address.startswith("::ffff:") and "." in address
    return address.removeprefix("::ffff:") if is_mapped else address


def memory(port: int) -> int:
    """Bytes that the kernel holds for TCP sockets of a port: what waits to be sent and to be read, and what
    they have in hand for more. Raises `OSError`."""
    found = 0
    for each in _sockets(_ALL_STATES, 1 << _SKMEMINFO - 1):
        if _OWN_PORT.unpack_from(each)[0] == port:
            told = netlink.attributes(each[_SOCKET_BYTES:]).get(_SKMEMINFO, bytes(24))
            read, _, _, _, ahead, queued = struct.unpack_from("=6I", told)
            found += read + ahead + queued
    return found


def _sockets(states: int, wanted: int = 0) -> Iterator[bytes]:
    """All of this namespace in one of these states, with what is wanted of each."""
    for family in (socket.AF_INET, socket.AF_INET6):
        asked = _REQUEST.pack(family, socket.IPPROTO_TCP, wanted, 0, states)
        yield from netlink.dump(netlink.SOCK_DIAG, _BY_FAMILY, asked)
