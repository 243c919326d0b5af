"""PROXY protocol, versions 1 and 2: for whom a proxy has opened a connection.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, whose sections are cited. The header
comes before all else, TLS included, and nothing in it is protected: whoever may speak it is believed.
So a listener either wants it of every peer, or of none (5), and only of peers that are known.
"""

from __future__ import annotations

import ipaddress
import re

from pystream.errors import PystreamError

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_START = b"PROXY "
# 2.1: the longest line, with its end.
_LONGEST_LINE = 107
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([^ ]+) ([^ ]+) ([0-9]+) ([0-9]+))\r\n"
)
_FIXED = 16
# Addresses take 216 bytes at most; what type-length-value fields proxies add takes a few hundred.
_LONGEST_REST = 4096
# 2.2: bytes of the addresses and ports, by address family.
_ADDRESS_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}
_LOCAL, _PROXY = 0x20, 0x21


class ProxyProtocolError(PystreamError):
    """What the peer sent is no header. The connection can only be closed."""


class ProxyHeader:
    """One connection's header, fed with the bytes that come first, however they were cut.

    complete: the header has been read.
    source: then, the address of the client; None where the proxy speaks for itself (a health check)
        or for somebody without an IP address.
    """

    __slots__ = ("_data", "complete", "source")

    def __init__(self) -> None:
        self._data = b""
        self.complete = False
        self.source: str | None = None

    def feed(self, data: bytes) -> int:
        """Takes what belongs to the header: how many of the bytes that is. Until the header is
        complete, that is all of them. Raises `ProxyProtocolError`."""
        if self.complete:
            return 0
        before = len(self._data)
        self._data += data
        if self._data.startswith(_SIGNATURE[: len(self._data)]):
            end = self._read_binary()
        elif self._data.startswith(_START[: len(self._data)]):
            end = self._read_line()
        else:
            raise ProxyProtocolError("the connection does not begin with PROXY protocol")
        if end is None:
            return len(data)
        self.complete = True
        self._data = b""
        return end - before

    def _read_line(self) -> int | None:
        """2.1, the version for people."""
        end = self._data.find(b"\r\n", 0, _LONGEST_LINE) + 2
        if end == 1:
            if len(self._data) >= _LONGEST_LINE:
                raise ProxyProtocolError("the line of PROXY protocol is too long (2.1)")
            return None
        match = _LINE.fullmatch(self._data[:end])
        if match is None:
            raise ProxyProtocolError("the line of PROXY protocol is malformed (2.1)")
        family, source, target, *ports = match.groups()
        if family is not None:
            kind = ipaddress.IPv4Address if family == b"4" else ipaddress.IPv6Address
            try:
                self.source = as_text(kind(source.decode()))
                kind(target.decode())
            except ValueError:
                raise ProxyProtocolError("an address of PROXY protocol is none (2.1)") from None
            if any(len(port) > 5 or int(port) > 65535 for port in ports):
                raise ProxyProtocolError("a port of PROXY protocol is none (2.1)")
        return end

    def _read_binary(self) -> int | None:
        """2.2, the version for programs."""
        if len(self._data) < _FIXED:
            return None
        command, family = self._data[12], self._data[13] >> 4
        length = int.from_bytes(self._data[14:_FIXED])
        if command not in (_LOCAL, _PROXY):
            raise ProxyProtocolError(
                "the version or the command of PROXY protocol is unknown (2.2)"
            )
        if length > _LONGEST_REST:
            raise ProxyProtocolError("the header of PROXY protocol is too long")
        if command == _PROXY:
            if family not in _ADDRESS_BYTES or self._data[13] & 15 > 2:
                raise ProxyProtocolError("the address family of PROXY protocol is unknown (2.2)")
            if length < _ADDRESS_BYTES[family]:
                raise ProxyProtocolError("the header of PROXY protocol has no room for addresses")
        end = _FIXED + length
        if len(self._data) < end:
            return None
        # The length covers the fields behind the addresses, which are passed over (2.2.1).
        if command == _PROXY and family == 1:
            self.source = as_text(ipaddress.IPv4Address(self._data[16:20]))
        elif command == _PROXY and family == 2:
            self.source = as_text(ipaddress.IPv6Address(self._data[16:32]))
        return end


def as_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address as it is compared: an IPv4 address has one form (RFC 4291 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
