"""Those who attack while viewers play: a program in a namespace of its own, which no packet leaves.

It takes no destination: it knows the address of the rehearsal's node alone.

* `http`, a flood from sixteen addresses: each connection asks for what costs a server something as soon as it
  has the last answer, and comes again at once where it is ended: playlists with a forged grant, the page,
  passwords that are guessed, and paths that mean nothing.
* `guessing`: passwords, a few from each of thousands of addresses in 32 networks.
* `slow-headers`: connections that say a field of a request now and then, and never its end.
* `slow-reading`: connections that ask for a file and take nothing of it.
* `churn`: a connection for each request.
* `addresses`: the same, and each comes from another of four million addresses.
* `syn`, a flood from addresses that are made up: nobody answers there.
"""

from __future__ import annotations

import json
import random
import re
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import urljoin, urlsplit

from pystream.rehearsal.players import BROWSER
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

NODE: Final = {4: "198.18.0.1", 6: "2001:db8::1"}
"""The only address that anything is sent to (RFC 2544, RFC 3849)."""
ANYWHERE: Final = ("100.64.0.0", 10)
"""Where those come from who never come twice (RFC 6598: no address of the world)."""
CABLE: Final = "cable"
"""The device that leads there (veth(4)), and the address of its other end, so that nobody is asked for it."""
MAC: Final = bytes.fromhex("02000000aa01")
_SYNS_A_SECOND = 5000
_GRACE_SECONDS = 5.0
# Before one that was ended comes again: a program that attacks is as fast as its machine, and viewers share
# this one.
_AGAIN_SECONDS = 0.01
_FLOODING, _SLOW = 64, 1000
_GUESSES = 5
_FIELD_SECONDS = 2.0
_SMALLEST_BUFFER = 2048
_SCRIPT = re.compile(rb'src="([^"]*hls[^"]*\.js)"')


class _Attack:
    """What all connections of one share. `met`: how often something came of it: `answered` and `refused` by
    status, `ended` without an answer, and `held` where none is waited for."""

    def __init__(self, plan: dict[str, float | str]) -> None:
        self.url = str(plan["url"])
        self.loop = Loop()
        self.met = Counter[str]()
        self._target = Target.of(urlsplit(self.url))
        assert self._target.host == NODE[4]
        self._tls = trusting() if self._target.secure else None

    def connection(self, source: str, buffer: int = 0) -> Connection:
        return Connection(self.loop, self._target, self._tls, buffer, source)

    def ask(self, connection: Connection, wanted: bytes) -> Task[Response | None]:
        try:
            response = yield from connection.fetch(wanted, keep=True)
        except Broken:
            self.met["ended"] += 1
            yield clock() + _AGAIN_SECONDS
            return None
        self.met["refused" if response.status in (429, 503) else "answered"] += 1
        return response

    def page(self) -> bytes:
        return request(urljoin(self.url, "."), BROWSER)

    def guess(self) -> bytes:
        body = json.dumps({"password": f"let me in {random.random()}"}).encode()
        return request(urljoin(self.url, "session"), BROWSER, body)


_Connection: TypeAlias = Callable[[_Attack, int], Task[None]]


def _floods(attack: _Attack, number: int) -> Task[None]:
    forged = (
        urlsplit(attack.url)._replace(path=f"/t/{'A' * 64}{urlsplit(attack.url).path}").geturl()
    )
    wanted = [
        request(attack.url, BROWSER),
        attack.page(),
        attack.guess(),
        request(forged, BROWSER),
        request(urljoin(attack.url, "/nothing/here"), BROWSER),
    ]
    connection = attack.connection(_one_of_sixteen(number))
    while not attack.loop.ending:
        yield from attack.ask(connection, random.choice(wanted))
    connection.close()


def _guesses(attack: _Attack, _: int) -> Task[None]:
    while not attack.loop.ending:
        connection = attack.connection(
            f"198.18.{random.randrange(64, 96)}.{random.randrange(1, 255)}"
        )
        for _ in range(_GUESSES):
            if attack.loop.ending or (yield from attack.ask(connection, attack.guess())) is None:
                break
        connection.close()


def _says_little(attack: _Attack, number: int) -> Task[None]:
    connection = attack.connection(_one_of_sixteen(number))
    begun = attack.page()[:-2]
    while not attack.loop.ending:
        try:
            yield from connection.send(begun)
            attack.met["held"] += 1
            while not attack.loop.ending:
                yield clock() + _FIELD_SECONDS
                yield from connection.send(b"X-More: and more\r\n")
                if not connection.stands:
                    raise Broken
        except Broken:
            connection.close()
            attack.met["ended"] += 1
            yield clock() + _AGAIN_SECONDS
    connection.close()


def _reads_nothing(attack: _Attack, number: int) -> Task[None]:
    source = _one_of_sixteen(number)
    while not attack.loop.ending:
        connection = attack.connection(source)
        response = yield from attack.ask(connection, attack.page())
        connection.close()
        found = _SCRIPT.search(response.body or b"") if response is not None else None
        if found is None:
            # A page without a player, or a refusal: both come at once.
            yield clock() + _AGAIN_SECONDS
            continue
        connection = attack.connection(source, _SMALLEST_BUFFER)
        try:
            yield from connection.send(request(urljoin(attack.url, found[1].decode()), BROWSER))
            attack.met["held"] += 1
            while connection.stands and not attack.loop.ending:
                yield clock() + _FIELD_SECONDS
        except Broken:
            pass
        connection.close()
        attack.met["ended"] += not attack.loop.ending


def _comes_anew(attack: _Attack, number: int) -> Task[None]:
    while not attack.loop.ending:
        connection = attack.connection(_one_of_sixteen(number))
        yield from attack.ask(connection, attack.page())
        connection.close()


def _comes_from_anywhere(attack: _Attack, _: int) -> Task[None]:
    first, bits = ANYWHERE
    while not attack.loop.ending:
        source = ip_address(int(ip_address(first)) + random.randrange(1, 2 ** (32 - bits) - 1))
        connection = attack.connection(str(source))
        yield from attack.ask(connection, attack.page())
        connection.close()


def _one_of_sixteen(number: int) -> str:
    return f"198.18.64.{1 + number % 16}"


def _crowd(
    connections: int, connection: _Connection
) -> Callable[[dict[str, float | str]], Counter[str]]:
    def run(plan: dict[str, float | str]) -> Counter[str]:
        attack = _Attack(plan)
        raise_descriptor_limit()
        for number in range(connections):
            attack.loop.start(connection(attack, number))
        attack.loop.run(float(plan["seconds"]), _GRACE_SECONDS)
        return attack.met

    return run


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
    "syn": syns,
    "http": _crowd(_FLOODING, _floods),
    "guessing": _crowd(_FLOODING, _guesses),
    "slow-headers": _crowd(_SLOW, _says_little),
    "slow-reading": _crowd(_SLOW, _reads_nothing),
    "churn": _crowd(_FLOODING, _comes_anew),
    "addresses": _crowd(_FLOODING, _comes_from_anywhere),
}


def main(kind: str) -> int:
    """Attacks as the plan on standard input says, and tells what came of it."""
    json.dump(KINDS[kind](json.load(sys.stdin)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
