"""Two network namespaces joined by a cable (veth(4)): a server's machine, and a field from which it is met.

Everything in them is the test's own: user_namespaces(7) need no root, no packet leaves, and addresses are
those of RFC 2544 and RFC 3849. What floods takes no destination: it knows the lab's one alone, by its place
on the cable, and sends a bounded number.

    198.18.0.1, 2001:db8::1              the server
    198.18.64.0/18, 2001:db8:bad::/64    attackers: nobody answers there
    198.19.0.0/16, 2001:db8:1::/48       newcomers, each from an address (and /64) of his own
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio

from pystream.rehearsal.attackers import CABLE, MAC, NODE, syn

ROOT = Path(__file__).resolve().parent.parent
_GATEWAY = {4: "198.18.0.2", 6: "2001:db8::2"}
_NEWCOMERS = {4: ip_address("198.19.0.1"), 6: ip_address("2001:db8:1::1")}
_MOST_PACKETS = 20_000
_MOST_SECONDS = 10
# Capabilities that a helper may have: bounding, inherited by what runs as root of the namespace.
_ONLY_NET_ADMIN = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin")


@dataclass
class Lab:
    """`server` and `field`: the commands that run another one there."""

    server: tuple[str, ...]
    field: tuple[str, ...]

    @property
    def helper(self) -> tuple[str, ...]:
        """As `server`, with nothing but CAP_NET_ADMIN."""
        return (*self.server, *_ONLY_NET_ADMIN)

    def run(self, where: tuple[str, ...], *words: str, text: str = "") -> str:
        done = subprocess.run([*where, *words], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, where: tuple[str, ...], code: str) -> Any:
        """What a piece of Python prints as JSON."""
        return json.loads(self.run(where, sys.executable, "-c", code))

    def set(self, name: str, value: int) -> None:
        """A setting of the server's network, as sysctl(8) has it."""
        path = f"/proc/sys/{name.replace('.', '/')}"
        self.run(self.server, "tee", path, text=str(value))

    def syn_acks(self) -> int:
        """How many the server has sent to attackers."""
        listed = json.loads(self.run(self.field, "nft", "-j", "list", "counters"))["nftables"]
        return int(next(each["counter"]["packets"] for each in listed if "counter" in each))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """This module's program, in the field."""
        command = [*self.field, sys.executable, "-m", "tests.lab", *words]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


_COUNTER = """\
table inet field {
  counter answers { }
  chain arriving {
    type filter hook prerouting priority raw;
    tcp flags & (syn | ack) == syn | ack ip daddr 198.18.64.0/18 counter name answers
    tcp flags & (syn | ack) == syn | ack ip6 daddr 2001:db8:bad::/64 counter name answers
  }
}
"""


@contextmanager
def lab() -> Iterator[Lab]:
    with _keeper(("unshare", "--user", "--map-root-user", "--net")) as server:
        inside = _entering(server.pid)
        with _keeper((*inside, "unshare", "--net")) as field:
            made = Lab(inside, _entering(field.pid))
            _join(made, field.pid)
            yield made


@contextmanager
def _keeper(command: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """What keeps a namespace, for as long as the test lives."""
    with subprocess.Popen(
        [*command, "sh", "-c", "echo there; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "there\n"
        yield keeper


def _entering(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--target={pid}", "--user", "--preserve-credentials", "--net")


def _join(made: Lab, field: int) -> None:
    mac = MAC.hex(":")
    for command in (
        f"link add {CABLE} address {mac} type veth peer name {CABLE} netns {field}",
        f"address add {NODE[4]}/30 dev {CABLE}",
        f"address add {NODE[6]}/64 dev {CABLE} nodad",
        "link set lo up",
        f"link set {CABLE} up",
        f"route add 198.18.0.0/15 via {_GATEWAY[4]}",
        f"-6 route add 2001:db8::/32 via {_GATEWAY[6]}",
    ):
        made.run(made.server, "ip", *command.split())
    for command in (
        f"address add {_GATEWAY[4]}/30 dev {CABLE}",
        f"address add {_GATEWAY[6]}/64 dev {CABLE} nodad",
        "link set lo up",
        f"link set {CABLE} up",
        "route add local 198.19.0.0/16 dev lo",
        "-6 route add local 2001:db8:1::/48 dev lo",
    ):
        made.run(made.field, "ip", *command.split())
    made.run(made.field, "tee", "/proc/sys/net/ipv6/ip_nonlocal_bind", text="1")
    made.run(made.field, "nft", "-f", "-", text=_COUNTER)


# What runs in the field


def _one() -> str:
    return "198.18.64.1"


def _sixteen() -> str:
    return f"198.18.64.{random.randrange(1, 17)}"


def _spoofed() -> str:
    return f"198.18.{random.randrange(64, 128)}.{random.randrange(256)}"


def _one_64() -> str:
    return str(ip_address("2001:db8:bad::") + random.getrandbits(64))


SOURCES: dict[str, Callable[[], str]] = {
    "one": _one,
    "sixteen": _sixteen,
    "spoofed": _spoofed,
    "one-64": _one_64,
}


def flood(kind: str, port: int, packets: int, rate: int) -> None:
    """Sends that many SYNs, so many a second."""
    assert packets <= _MOST_PACKETS and packets <= rate * _MOST_SECONDS
    made = [syn(SOURCES[kind](), port) for _ in range(packets)]
    protocol = 0x86DD if kind == "one-64" else 0x0800
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as cable:
        place = (CABLE, protocol, 0, 0, MAC)
        print("floods", flush=True)
        begin = time.monotonic()
        for n, packet in enumerate(made):
            due = begin + n / rate
            # No bursts: they would let newcomers pass between them.
            if (wait := due - time.monotonic()) > 0.001:
                time.sleep(wait)
            cable.sendto(packet, place)


async def newcomers(version: int, port: int, count: int, rate: int) -> list[float | None]:
    """How long each of them took to be answered; None for who was not within three seconds."""
    took: list[float | None] = [None] * count

    async def come(n: int) -> None:
        await trio.sleep(n / rate)
        step = 1 if version == 4 else 1 << 64
        address = str(_NEWCOMERS[version] + n * step)
        begin = trio.current_time()
        with trio.move_on_after(3):
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            with trio.socket.socket(family, socket.SOCK_STREAM) as one:
                await one.bind((address, 0))
                await one.connect((NODE[version], port))
                await one.send(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
                if (await one.recv(12)).startswith(b"HTTP/1.1"):
                    took[n] = trio.current_time() - begin

    async with trio.open_nursery() as nursery:
        for n in range(count):
            nursery.start_soon(come, n)
    return took


def main(what: str, *words: str) -> None:
    if what == "flood":
        port, packets, rate = map(int, words[1:])
        flood(words[0], port, packets, rate)
    else:
        version, port, count, rate = map(int, words)
        print(json.dumps(trio.run(newcomers, version, port, count, rate)))


if __name__ == "__main__":
    main(*sys.argv[1:])
