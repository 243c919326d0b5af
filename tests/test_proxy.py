"""Who a request comes from, as proxies say it: PROXY protocol, Forwarded, X-Forwarded-For."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("msgspec")

from pystream.server.edge import Edge
from pystream.server.http import Fields, HttpError, Request
from pystream.server.proxy_protocol import ProxyHeader, ProxyProtocolError
from pystream.server.settings import Network

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(rest)) + rest


def v4(source: str, rest: bytes = b"") -> bytes:
    packed = ipaddress.IPv4Address(source).packed + bytes([192, 0, 2, 1])
    return binary(0x21, 0x11, packed + struct.pack(">HH", 40000, 443) + rest)


def v6(source: str, rest: bytes = b"") -> bytes:
    packed = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address("2001:db8::1").packed
    return binary(0x21, 0x21, packed + struct.pack(">HH", 40000, 443) + rest)


# PP2_TYPE_NOOP of no bytes, PP2_TYPE_ALPN, PP2_TYPE_CRC32C (2.2.1 to 2.2.3)
FIELDS = b"\x04\x00\x00" + b"\x01\x00\x02h2" + b"\x03\x00\x04\xde\xad\xbe\xef"

HEADERS = [
    (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", "203.0.113.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 2001:DB8:0:0::7 ::1 0 0\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:ffff::1 ffff::2 65535 65535\r\n", None),
    (v4("203.0.113.7"), "203.0.113.7"),
    (v4("203.0.113.7", FIELDS), "203.0.113.7"),
    (v6("2001:db8::7"), "2001:db8::7"),
    (v6("2001:db8::7", FIELDS), "2001:db8::7"),
    (v6("::ffff:203.0.113.7"), "203.0.113.7"),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, v4("203.0.113.7")[16:]), None),
    (binary(0x20, 0x99, b"anything"), None),
    (binary(0x21, 0x00, FIELDS), None),
    (binary(0x21, 0x31, bytes(216)), None),
    (binary(0x21, 0x31, b"/run/here".ljust(108, b"\0") + bytes(108) + FIELDS), None),
    (v4("203.0.113.7", bytes(4096 - 12)), "203.0.113.7"),
]

WRONG = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 1\r\n",
    b"PROXY TCP4 203.0.113.7  192.0.2.1 56324 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
    b"PROXY TCP6 203.0.113.7 192.0.2.1 56324 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 056324 443\r\n",
    b"PROXY TCP4 203.0.113.07 192.0.2.1 1 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2 1 443\r\n",
    b"PROXY UDP4 203.0.113.7 192.0.2.1 1 443\r\n",
    b"proxy TCP4 203.0.113.7 192.0.2.1 1 443\r\n",
    b"PROXY UNKNOWN" + b" " * 107,
    b"PROXY " + b"x" * 200,
    binary(0x11, 0x11, bytes(12)),
    binary(0x22, 0x11, bytes(12)),
    binary(0x2F, 0x11, bytes(12)),
    binary(0x21, 0x41, bytes(216)),
    binary(0x21, 0x13, bytes(12)),
    binary(0x21, 0x11, bytes(11)),
    binary(0x21, 0x21, bytes(35)),
    binary(0x21, 0x31, bytes(215)),
    SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 4097),
    SIGNATURE + struct.pack(">BBH", 0x20, 0x00, 65535),
    SIGNATURE[:11] + b"\r",
]

TAILS = [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\r\n", SIGNATURE]


@pytest.mark.parametrize(("header", "source"), HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize("tail", TAILS)
def test_a_header_ends_where_it_ends(header: bytes, source: str | None, tail: bytes) -> None:
    read = ProxyHeader()
    assert read.feed(header + tail) == len(header)
    assert read.complete and read.source == source
    assert read.feed(tail) == 0


@pytest.mark.parametrize(("header", "source"), HEADERS, ids=range(len(HEADERS)))
def test_a_header_may_come_in_any_two_pieces(header: bytes, source: str | None) -> None:
    for cut in range(1, len(header)):
        read = ProxyHeader()
        assert (read.feed(header[:cut]), read.complete) == (cut, False)
        assert (read.feed(header[cut:] + b"GET"), read.complete) == (len(header) - cut, True)
        assert read.source == source


@pytest.mark.parametrize(("header", "source"), HEADERS, ids=range(len(HEADERS)))
def test_a_header_may_come_byte_by_byte(header: bytes, source: str | None) -> None:
    read = ProxyHeader()
    for n in range(len(header)):
        assert not read.complete and read.feed(header[n : n + 1]) == 1
    assert read.complete and read.source == source


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_what_is_no_header_is_refused_however_it_is_cut(wrong: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        ProxyHeader().feed(wrong)
    with pytest.raises(ProxyProtocolError):
        read = ProxyHeader()
        for n in range(len(wrong)):
            assert read.feed(wrong[n : n + 1]) == 1


def test_nobody_makes_it_hold_more_than_a_little() -> None:
    longest = SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 4096)
    read = ProxyHeader()
    assert read.feed(longest + bytes(4095)) == len(longest) + 4095
    assert not read.complete
    assert read.feed(bytes(70000)) == 1 and read.complete


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"]))
@example(b"TCP4 1.1.1.1 1.1.1.1 1 1\r\n", b"PROXY ")
def test_any_bytes_give_a_header_or_the_declared_error(data: bytes, start: bytes) -> None:
    def read(pieces: list[bytes]) -> tuple[bool, str | None, int] | None:
        header, taken = ProxyHeader(), 0
        try:
            for piece in pieces:
                taken += header.feed(piece)
        except ProxyProtocolError:
            return None
        return header.complete, header.source, taken

    whole = start + data
    assert read([whole]) == read([whole[n : n + 1] for n in range(len(whole))])


# Forwarded and X-Forwarded-For

NETWORKS = ("10.0.0.0/8", "2001:db8:1::/48", "unix")


def located(
    address: str,
    fields: dict[str, str],
    trusted: tuple[str, ...] = NETWORKS,
    secure: bool = False,
) -> tuple[str, bool]:
    edge = Edge(trusted=tuple(map(Network, trusted)))
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    request = Request("GET", "/", fields=Fields(named))
    edge.locate(request, address, secure)
    return request.peer, request.secure


FOUND = [
    # Nobody is believed who is not trusted.
    ("203.0.113.9", {"x_forwarded_for": "198.51.100.1"}, "203.0.113.9"),
    ("203.0.113.9", {"forwarded": "for=198.51.100.1;proto=https"}, "203.0.113.9"),
    ("10.0.0.1", {}, "10.0.0.1"),
    ("10.0.0.1", {"x_forwarded_for": "198.51.100.1"}, "198.51.100.1"),
    ("unix", {"x_forwarded_for": "198.51.100.1"}, "198.51.100.1"),
    # From the right, up to the first who is not trusted: what is left of it, anybody can write.
    ("10.0.0.1", {"x_forwarded_for": "1.1.1.1, 198.51.100.1, 10.2.3.4"}, "198.51.100.1"),
    ("10.0.0.1", {"x_forwarded_for": "10.9.9.9, 198.51.100.1"}, "198.51.100.1"),
    ("10.0.0.1", {"x_forwarded_for": "10.0.0.3,10.0.0.2"}, "10.0.0.3"),
    ("10.0.0.1", {"x_forwarded_for": "garbage, 198.51.100.1"}, "198.51.100.1"),
    ("10.0.0.1", {"x_forwarded_for": "198.51.100.1, garbage"}, "10.0.0.1"),
    ("10.0.0.1", {"x_forwarded_for": "198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"),
    ("10.0.0.1", {"x_forwarded_for": "198.51.100.1:4711"}, "198.51.100.1"),
    ("10.0.0.1", {"x_forwarded_for": "2001:db8:2::1"}, "2001:db8:2::1"),
    ("10.0.0.1", {"x_forwarded_for": "[2001:db8:2::1]:80, [2001:db8:1::5]"}, "2001:db8:2::1"),
    ("2001:db8:1::9", {"x_forwarded_for": "::ffff:10.0.0.9"}, "10.0.0.9"),
    ("10.0.0.1", {"x_forwarded_for": ""}, "10.0.0.1"),
    # RFC 7239 4 and 6
    ("10.0.0.1", {"forwarded": "for=198.51.100.1"}, "198.51.100.1"),
    ("10.0.0.1", {"forwarded": 'For="[2001:db8:2::17]:4711"'}, "2001:db8:2::17"),
    ("10.0.0.1", {"forwarded": "for=1.1.1.1;by=x , for=198.51.100.1;host=h"}, "198.51.100.1"),
    ("10.0.0.1", {"forwarded": 'for="198.51.100.1, 10.0.0.2", for=10.0.0.3'}, "10.0.0.3"),
    ("10.0.0.1", {"forwarded": "for=_hidden, for=10.0.0.3"}, "10.0.0.3"),
    ("10.0.0.1", {"forwarded": 'for="198.51.1\\00.1"'}, "198.51.100.1"),
    ("10.0.0.1", {"forwarded": "proto=https"}, "10.0.0.1"),
    # A proxy that writes both says the same twice.
    (
        "10.0.0.1",
        {"forwarded": "for=198.51.100.1", "x_forwarded_for": "198.51.100.1"},
        "198.51.100.1",
    ),
]


@pytest.mark.parametrize(("address", "fields", "found"), FOUND, ids=range(len(FOUND)))
def test_who_a_request_comes_from(address: str, fields: dict[str, str], found: str) -> None:
    assert located(address, fields)[0] == found
    # Without networks nobody is asked.
    assert located(address, fields, ())[0] == address


@pytest.mark.parametrize(
    ("fields", "secure"),
    [
        ({"x_forwarded_proto": "https"}, True),
        ({"x_forwarded_proto": "http"}, False),
        ({"x_forwarded_for": "198.51.100.1", "x_forwarded_proto": "HTTPS"}, True),
        ({"x_forwarded_for": "198.51.100.1, 10.0.0.2", "x_forwarded_proto": "https, http"}, True),
        ({"x_forwarded_for": "1.1.1.1, 198.51.100.1", "x_forwarded_proto": "https, http"}, False),
        ({"x_forwarded_for": "198.51.100.1, 10.0.0.2", "x_forwarded_proto": "https"}, True),
        ({"forwarded": "for=198.51.100.1;proto=https"}, True),
        ({"forwarded": "for=1.1.1.1;proto=https, for=198.51.100.1;proto=http"}, False),
    ],
)
def test_whether_a_request_came_by_https(fields: dict[str, str], secure: bool) -> None:
    assert located("10.0.0.1", fields)[1] is secure
    assert located("203.0.113.9", fields)[1] is False
    assert located("203.0.113.9", fields, secure=True)[1] is True
    assert located("10.0.0.1", fields, secure=True)[1] is True


@pytest.mark.parametrize(
    "fields",
    [
        {"forwarded": "for=198.51.100.1", "x_forwarded_for": "198.51.100.2"},
        {"forwarded": "for=1.1.1.1, for=10.0.0.2", "x_forwarded_for": "198.51.100.2"},
        {"forwarded": 'for="'},
        {"forwarded": 'for=", for=198.51.100.1'},
        {"forwarded": "for=a b"},
        {"forwarded": "for=[2001:db8::1]"},
        {"forwarded": "for=198.51.100.1;for=198.51.100.2"},
        {"forwarded": "for"},
    ],
)
def test_a_viewer_cannot_hide_behind_a_field_that_the_proxy_lets_pass(
    fields: dict[str, str],
) -> None:
    with pytest.raises(HttpError) as caught:
        located("10.0.0.1", fields)
    assert caught.value.status == 400
    assert "198.51" not in str(caught.value)
    assert located("203.0.113.9", fields)[0] == "203.0.113.9"


@given(st.text(st.characters(max_codepoint=255), max_size=80))
@example("\n")
@example("for=203.0.113.9\n")
def test_any_fields_give_an_address_or_the_declared_error(text: str) -> None:
    for name in ("forwarded", "x_forwarded_for", "x_forwarded_proto"):
        try:
            peer, _ = located("10.0.0.1", {name: text})
        except HttpError as error:
            assert error.status == 400
        else:
            ipaddress.ip_address(peer)


# The way to HTTPS

TOKEN = "/bcdn_token=HS256-x&token_path=%2Facme%2F%C3%BC%2F"


@pytest.mark.parametrize(
    ("port", "host", "path", "query", "place"),
    [
        (443, "film.example", "/a/b", "", "https://film.example/a/b"),
        (443, "film.example:80", "/", "x=1&y=%20", "https://film.example/?x=1&y=%20"),
        (8443, "film.example:8080", "/", "", "https://film.example:8443/"),
        (443, "[2001:db8::1]:80", "/a", "", "https://[2001:db8::1]/a"),
        (443, "a.example", "/a b/%2e/ü", "", "https://a.example/a%20b/%252e/%C3%BC"),
        # What is signed goes on as it was sent.
        (443, "a.example", f"{TOKEN}/acme/ü/", "", f"https://a.example{TOKEN}/acme/%C3%BC/"),
        (443, "a.example", "/.well-known/acme-challenge/x", "", None),
        (None, "a.example", "/a", "", None),
    ],
)
def test_the_way_to_https(
    port: int | None, host: str, path: str, query: str, place: str | None
) -> None:
    edge = Edge(https_port=port)
    request = Request("GET", path, query, Fields({b"host": host}))
    assert edge.redirection(request) == place
    request.secure = True
    assert edge.redirection(request) is None


def test_without_a_host_nobody_can_be_sent_anywhere() -> None:
    with pytest.raises(HttpError) as caught:
        Edge(https_port=443).redirection(Request("GET", "/", http_1_0=True))
    assert caught.value.status == 400
