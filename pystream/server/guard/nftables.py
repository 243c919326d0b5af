"""The guard's table in the kernel, `inet pystream` (nft(8)): as text, and by whom it gets there.

Theory. The table sees a packet before anything else does (prerouting, raw), and only those to the server's
ports. Who is exempt passes; who is banned is dropped, whatever he sends; and of the rest the SYNs are metered
by source, an IPv4 address or an IPv6 /64. A SYN's source may be somebody else's address, so a meter limits
and never bans, and there is no ceiling for all sources together: under a flood that would shut out
newcomers, whom SYN cookies let in.

All is bounded: the meters have room for so many sources, and forget each after ten seconds; where they are
full, SYNs of further sources pass, to the cookies. Bans end by themselves, also where nobody is left who
would end them. A table is put in place of an earlier one in one transaction, so no packet meets half of it.

The text goes to libnftables, or to the program nft where that library is missing.
"""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any, Final, Protocol, TypeAlias

from pystream.errors import GuardError
from pystream.server.guard import netlink

Prefix: TypeAlias = IPv4Network | IPv6Network
TABLE: Final = "inet pystream"
COUNTERS: Final = ("passed", "limited", "banned")
"""SYNs that passed the meters, those that did not, and packets of banned sources."""
MODES: Final = {"normal": (100, 2400), "tight": (20, 40)}
"""SYNs that a source may send: a second, and at once. Normally 300 viewers behind one address may all come at
once, each with eight connections, as `guard.open_connections` has it."""

_METERED = 65_536
_METERED_SECONDS = 10
MOST_BANS: Final = 16_384
# What has ended stays until the kernel tidies up.
_BAN_ROOM = 4 * MOST_BANS
_BANS: Final = {(4, 32): "ban4", (4, 24): "ban4_around", (6, 64): "ban6", (6, 48): "ban6_around"}
_SOURCE6 = "ip6 saddr & ffff:ffff:ffff:ffff::"


@dataclass(frozen=True, slots=True)
class Protected:
    """The server's ports, and networks that nothing limits, of which none is in another."""

    ports: tuple[int, ...] = ()
    exempt: tuple[Prefix, ...] = ()

    @classmethod
    def of(cls, ports: Iterable[int], exempt: Iterable[Prefix]) -> Protected:
        networks = list(exempt)
        return cls(
            tuple(sorted(set(ports))),
            (
                *collapse_addresses(each for each in networks if isinstance(each, IPv4Network)),
                *collapse_addresses(each for each in networks if isinstance(each, IPv6Network)),
            ),
        )

    def __str__(self) -> str:
        """As it is told to the helper."""
        return " ".join(map(str, (*self.ports, "but", *self.exempt)))


def may_be_banned(prefix: Prefix) -> bool:
    """What one ban can be of: a source, or the network around it."""
    return (prefix.version, prefix.prefixlen) in _BANS


def installed(protected: Protected, mode: str, bans: Mapping[Prefix, float]) -> str:
    """The whole table, in place of whichever there is. `bans` have so many seconds to go."""
    return f"""\
table {TABLE} {{ }}
delete table {TABLE}
table {TABLE} {{
{_sets(protected)}
{"".join(f"  counter {name} {{ }}{chr(10)}" for name in COUNTERS)}
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    tcp dport != @ports accept
    meta l4proto != tcp accept
    ip saddr @exempt4 accept
    ip6 saddr @exempt6 accept
    ip saddr @ban4 counter name banned drop
    ip saddr & 255.255.255.0 @ban4_around counter name banned drop
    {_SOURCE6} @ban6 counter name banned drop
    ip6 saddr & ffff:ffff:ffff:: @ban6_around counter name banned drop
    tcp flags & (fin | syn | rst | ack) == syn jump syns
  }}
  chain syns {{
  }}
}}
{_meters(mode)}{"".join(_added(bans))}"""


RULES: Final = 12
"""That the table has."""


def _sets(protected: Protected) -> str:
    exempt = {
        version: [str(each) for each in protected.exempt if each.version == version]
        for version in (4, 6)
    }
    return "\n".join(
        (
            _set("ports", "inet_service", "", map(str, protected.ports)),
            _set("exempt4", "ipv4_addr", "flags interval;", exempt[4]),
            _set("exempt6", "ipv6_addr", "flags interval;", exempt[6]),
            *(
                _set(name, f"ipv{version}_addr", f"flags timeout; size {_BAN_ROOM};")
                for (version, _), name in _BANS.items()
            ),
            *(
                _set(
                    f"{mode}{version}",
                    f"ipv{version}_addr",
                    f"flags dynamic,timeout; timeout {_METERED_SECONDS}s; size {_METERED};",
                )
                for mode in MODES
                for version in (4, 6)
            ),
        )
    )


def _set(name: str, type: str, flags: str, elements: Iterable[str] = ()) -> str:
    listed = ", ".join(elements)
    return (
        f"  set {name} {{ type {type}; {flags} {f'elements = {{ {listed} }}' if listed else ''} }}"
    )


def _meters(mode: str) -> str:
    """A meter goes on with the limit that it was made with, and packets make some while a transaction is
    under way. So each mode has its own."""
    rate, burst = MODES[mode]
    over = f"limit rate over {rate}/second burst {burst} packets"
    return f"""\
flush chain {TABLE} syns
add rule {TABLE} syns update @{mode}4 {{ ip saddr {over} }} counter name limited drop
add rule {TABLE} syns update @{mode}6 {{ {_SOURCE6} {over} }} counter name limited drop
add rule {TABLE} syns counter name passed
"""


def switched(mode: str) -> str:
    """Other limits in the table that is there; bans stay."""
    return _meters(mode)


def banned(prefix: Prefix, seconds: float) -> str:
    """A ban, or another end of one: older kernels do not change the time of an element that is there, so it
    is added for it to be there, deleted, and added."""
    return f"{_element('add', prefix)}{unbanned(prefix)}{''.join(_added({prefix: seconds}))}"


def unbanned(prefix: Prefix) -> str:
    return _element("delete", prefix)


def freed() -> str:
    """No bans any more."""
    return "".join(f"flush set {TABLE} {name}\n" for name in _BANS.values())


def removed() -> str:
    """No table any more, whether or not there is one."""
    return f"table {TABLE} {{ }}\ndelete table {TABLE}\n"


def _element(verb: str, prefix: Prefix) -> str:
    name = _BANS[prefix.version, prefix.prefixlen]
    return f"{verb} element {TABLE} {name} {{ {prefix.network_address} }}\n"


def _added(bans: Mapping[Prefix, float]) -> Iterator[str]:
    by_set: dict[str, list[str]] = {}
    for prefix, seconds in bans.items():
        elements = by_set.setdefault(_BANS[prefix.version, prefix.prefixlen], [])
        elements.append(f"{prefix.network_address} timeout {max(1, math.ceil(seconds))}s")
    for name, elements in by_set.items():
        yield f"add element {TABLE} {name} {{ {', '.join(elements)} }}\n"


# What an earlier helper has left


class Kernel(Protocol):
    """Who takes a table's text."""

    def run(self, text: str) -> None:
        """All of it, or nothing. Raises `GuardError`."""

    def listed(self, what: str) -> Any:
        """A part of the tables, as JSON has it. Raises `GuardError`."""


def found(kernel: Kernel) -> tuple[Protected, str, dict[Prefix, float]]:
    """What the table in the kernel says, if there is one: what it protects, its mode, and bans with the
    seconds that they have to go. What cannot be understood is left out: another program's or version's."""
    bans = {
        ip_network(f"{element['val']}/{length}"): float(element["expires"])
        for (_, length), name in _BANS.items()
        for element in _elements(kernel, name)
        if isinstance(element, dict) and "expires" in element
    }
    exempt = [
        network
        for name in ("exempt4", "exempt6")
        for each in _elements(kernel, name)
        for network in _networks(each)
    ]
    ports = [each for each in _elements(kernel, "ports") if isinstance(each, int)]
    mode = "normal"
    with suppress(GuardError):
        if "@tight4" in json.dumps(kernel.listed(f"chain {TABLE} syns")):
            mode = "tight"
    return Protected.of(ports, exempt), mode, bans


def _elements(kernel: Kernel, name: str) -> Iterator[Any]:
    with suppress(GuardError):
        for each in kernel.listed(f"set {TABLE} {name}")["nftables"]:
            for element in each.get("set", {}).get("elem", ()):
                yield (
                    element["elem"] if isinstance(element, dict) and "elem" in element else element
                )


def _networks(element: Any) -> Iterator[Prefix]:
    with suppress(ValueError, TypeError, KeyError):
        if isinstance(element, str):
            yield ip_network(element)
        else:
            yield ip_network(f"{element['prefix']['addr']}/{element['prefix']['len']}")


# libnftables(3), and the program


class Library:
    """libnftables.so.1, which Debian has with nft. Raises `OSError` where it is missing."""

    # libnftables.h: nft_ctx_output_set_flags(3)
    _JSON = 1 << 4

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, text: str) -> None:
        self._do(text)

    def listed(self, what: str) -> Any:
        self._library.nft_ctx_output_set_flags(self._context, ctypes.c_uint(self._JSON))
        try:
            return json.loads(self._do(f"list {what}"))
        finally:
            self._library.nft_ctx_output_set_flags(self._context, ctypes.c_uint(0))

    def _do(self, text: str) -> bytes:
        wrong = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
        said: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if wrong:
            raise GuardError(_complaint(complaint))
        return said


class Program:
    """nft(8). Raises `OSError` where it is missing."""

    def __init__(self) -> None:
        path = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if path is None:
            raise FileNotFoundError(2, "neither libnftables.so.1 nor the program nft is installed")
        self._path = path

    def run(self, text: str) -> None:
        self._do(["-f", "-"], text)

    def listed(self, what: str) -> Any:
        return json.loads(self._do(["-j", "list", *what.split()]))

    def _do(self, words: list[str], text: str = "") -> bytes:
        done = subprocess.run([self._path, *words], input=text.encode(), capture_output=True)
        if done.returncode:
            raise GuardError(_complaint(done.stderr))
        return done.stdout


def _complaint(said: bytes) -> str:
    """What is wrong, without the line that it is about, which may hold an address."""
    first = said.decode(errors="replace").partition("\n")[0]
    return f"nftables: {first.rpartition('Error: ')[2] or 'it did not work'}"


def kernel() -> Kernel:
    """Raises `GuardError` where there is nothing that takes a table, or not from this process."""
    try:
        rules()
    except PermissionError:
        raise GuardError("this process lacks the capability CAP_NET_ADMIN") from None
    except FileNotFoundError:
        pass  # there is no table yet
    except OSError as error:
        raise GuardError(f"this kernel has no nftables: {error.strerror}") from None
    try:
        return Library()
    except OSError:
        try:
            return Program()
        except OSError as error:
            raise GuardError(f"{error.strerror} (Debian: apt-get install nftables)") from None


# Numbers of the table, past libnftables: that would read all meters to tell a counter.

# linux/netfilter/nf_tables.h
_INET = struct.pack("=BBH", 1, 0, 0)
_SUBSYSTEM = 10 << 8
_GET_RULE, _GET_OBJECT = _SUBSYSTEM | 7, _SUBSYSTEM | 19
_RULE_TABLE = _OBJECT_TABLE = 1
_OBJECT_NAME, _OBJECT_TYPE, _OBJECT_DATA = 2, 3, 4
_COUNTER = struct.pack(">I", 1)
_COUNTER_PACKETS = 2
_NAME = TABLE.partition(" ")[2].encode() + b"\0"


def rules() -> int:
    """How many the table has. Raises `OSError`."""
    body = _INET + netlink.attribute(_RULE_TABLE, _NAME)
    return sum(1 for _ in netlink.dump(netlink.NETFILTER, _GET_RULE, body))


def counters() -> dict[str, int]:
    """Packets that were counted since the table was installed. Raises `OSError`."""
    body = _INET + netlink.attribute(_OBJECT_TABLE, _NAME)
    body += netlink.attribute(_OBJECT_TYPE, _COUNTER)
    counted = dict.fromkeys(COUNTERS, 0)
    for said in netlink.dump(netlink.NETFILTER, _GET_OBJECT, body):
        told = netlink.attributes(said[len(_INET) :])
        data = netlink.attributes(told[_OBJECT_DATA])
        name = told[_OBJECT_NAME].rstrip(b"\0").decode()
        counted[name] = int.from_bytes(data[_COUNTER_PACKETS], "big")
    return counted
