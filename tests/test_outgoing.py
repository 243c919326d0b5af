"""Outgoing calls, to real servers on loopback sockets: what they may reach, and what they make of
whatever comes back."""

from __future__ import annotations

import base64
import gc
import hmac
import ipaddress
import itertools
import json
import logging
import math
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as jose
from joserfc.jwk import OKPKey
from trio.testing import MockClock, wait_all_tasks_blocked

pytest.importorskip("httpcore2")

from pystream.acl.entrances.verifiers import Configured, Verifier
from pystream.acl.streams import Stream, StreamSettings
from pystream.errors import OutgoingError
from pystream.server.handoffs import Handoffs, Unavailable
from pystream.server.outgoing import (
    Client,
    Keysets,
    Question,
    Questions,
    Reply,
    Verdict,
    is_public,
    parse_url,
    sign,
)
from pystream.server.settings import Network, Outgoing
from tests.free_ports import free_port

Addresses: TypeAlias = Sequence[str]
Handler: TypeAlias = Callable[["Request", trio.abc.Stream], Awaitable[None]]
LOOPBACK = (Network("127.0.0.0/8"), Network("::1/128"))
KEY = b"0123456789abcdef01234567"
# To load the machine's authorities takes longer than most tests.
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


# Sites


class Request:
    """A request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode().split("\r\n")
        self.line, self.body = lines[0], body
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }


class Site:
    """A customer's web server, on 127.0.0.1 or elsewhere. `answer` is what it sends to whatever
    comes, or does that itself; it may be replaced."""

    def __init__(self, answer: bytes | Handler, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.tls = tls
        self.port = 0
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.requests: list[Request] = []
        self.names: list[str | None] = []

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://login.example:{self.port}/jwks"

    async def run(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        if self.tls is not None:
            self.tls.sni_callback = lambda _, name, __: self.names.append(name)
        (listener,) = await trio.open_tcp_listeners(port, host=host)
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._serve, [listener], task_status=task_status)

    async def _serve(self, plain: trio.SocketStream) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        stream: trio.abc.Stream = plain
        if self.tls is not None:
            stream = trio.SSLStream(plain, self.tls, server_side=True, https_compatible=True)
        try:
            with suppress(trio.BrokenResourceError):
                request = await read_request(stream)
                self.requests.append(request)
                if isinstance(self.answer, bytes):
                    await stream.send_all(self.answer)
                else:
                    await self.answer(request, stream)
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)


async def read_request(stream: trio.abc.Stream) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        if not piece:
            raise trio.BrokenResourceError
        data += bytes(piece)
    head, _, body = data.partition(b"\r\n\r\n")
    request = Request(head, body)
    while len(request.body) < int(request.headers.get("content-length", 0)):
        request.body += bytes(await stream.receive_some())
    return request


def ok(body: bytes | str | dict[str, Any], *fields: str) -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(data)}", *fields, "", ""]
    return "\r\n".join(head).encode() + data


class Names:
    """A name server: each question gets the next of the answers, and the last one for ever."""

    def __init__(self, *answers: Addresses) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Addresses:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def client_of(
    *sites: Site,
    ports: tuple[int, ...] = (443,),
    allow: tuple[Network, ...] = LOOPBACK,
    **more: Any,
) -> Client:
    ports = tuple(site.port for site in sites) or ports
    more = {"resolve": Names(["127.0.0.1"]), "tls": TRUSTING_NOBODY, **more}
    return Client(Outgoing(allow=allow, ports=ports), **more)


async def get(client: Client, url: str, **more: Any) -> Reply:
    return await client.call("acme", url, **{"seconds": 5.0, "most": 10_000, **more})


async def refusal(call: Awaitable[object]) -> OutgoingError:
    with pytest.raises(OutgoingError) as caught:
        await call
    return caught.value


@asynccontextmanager
async def running(*sites: Site) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        for site in sites:
            await nursery.start(site.run)
        yield nursery
        nursery.cancel_scope.cancel()


def run(main: Callable[[], Awaitable[None]], clock: MockClock | None = None) -> None:
    """Time stands still unless a clock says otherwise."""
    trio.run(main, clock=clock or MockClock())


def jumping() -> MockClock:
    """Goes on by itself to the next deadline, once nothing else can happen."""
    return MockClock(autojump_threshold=0.01)


# Which addresses are public

V4 = st.ip_addresses(v=4).map(ipaddress.IPv4Address)
INSIDE_4 = st.sampled_from(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24"
    " 192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4".split()
).flatmap(lambda network: st.ip_addresses(network=network))
INSIDE_6 = st.sampled_from(
    "::/128 ::1/128 fc00::/7 fe80::/10 fec0::/10 ff00::/8 64:ff9b:1::/48 100::/64 2001::/23"
    " 2001:db8::/32 2002::/16 3fff::/20 5f00::/16".split()
).flatmap(lambda network: st.ip_addresses(network=network))
# RFC 4291 2.5.5, RFC 6052 2.1, RFC 8215, RFC 2765 2.1, RFC 3056 2; Teredo has the bits inverted.
CARRIERS: tuple[Callable[[int], int], ...] = (
    lambda v4: v4,
    lambda v4: 0xFFFF << 32 | v4,
    lambda v4: 0x64FF9B << 96 | v4,
    lambda v4: 0x64FF9B0001 << 80 | v4,
    lambda v4: 0xFFFF0000 << 32 | v4,
    lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    lambda v4: 0x20010000 << 96 | v4 ^ 0xFFFFFFFF,
)
CARRIED = st.builds(
    lambda carry, v4: ipaddress.IPv6Address(carry(int(v4))), st.sampled_from(CARRIERS), INSIDE_4
)
INSIDE = st.one_of(INSIDE_4, INSIDE_6, CARRIED).map(str)


@pytest.mark.slow
@given(st.one_of(st.ip_addresses(), INSIDE_4, INSIDE_6, CARRIED))
def test_what_the_standard_library_calls_inside_is_not_public(address: Any) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_multicast or plain.is_reserved or not plain.is_global:
        # Python counts IPv4 addresses behind NAT64 among its reserved ones.
        if plain.version == 6 and plain in ipaddress.ip_network("64:ff9b::/96"):
            plain = ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
            assert is_public(str(address)) == is_public(str(plain))
        else:
            assert not is_public(str(address))


@pytest.mark.slow
@given(INSIDE)
def test_no_dress_makes_an_inner_address_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    "8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0"
    " 192.167.255.255 223.255.255.255 2606:4700::1111 2a00:1450::8 ::ffff:8.8.8.8"
    " 64:ff9b::8.8.8.8".split(),
)
def test_an_outer_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address", "168.63.129.16 169.254.169.254 100.100.100.200 192.0.0.192 fd00:ec2::254".split()
)
def test_metadata_services_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.slow
@given(st.lists(st.sampled_from(["8.8.8.8", "2606:4700::1111"]), max_size=3), INSIDE, st.data())
@settings(max_examples=50)
def test_no_name_leads_inside(others: list[str], inside: str, data: st.DataObject) -> None:
    """Nor does one that has good addresses besides."""
    found = data.draw(st.permutations([*others, inside]))

    async def main() -> None:
        client = client_of(allow=(), resolve=Names(found))
        error = await refusal(get(client, "https://login.example/"))
        assert (error.kind, error.fault) == ("forbidden", "tenant")
        assert inside not in str(error) and "outgoing.allow" in str(error)

    run(main)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1"),
        *("0177.0.0.1", "017700000001", "0", "0x0", "0.0.0.0", "127.0.0.01", "0X7F.0.0.1"),
        *("１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.１"),
        *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
        *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[fe80::1]"),
        *("localhost", "LOCALHOST", "localhost.", "ｌocalhost", "%6cocalhost", "a@localhost"),
    ],
)
def test_no_spelling_leads_inside(host: str) -> None:
    """The machine's own name server is asked, which knows all of inet_aton(3)'s spellings."""

    async def main() -> None:
        site = Site(ok("inside"))
        async with running(site):
            for scheme in ("http", "https"):
                client = client_of(site, allow=(), resolve=None)
                error = await refusal(get(client, f"{scheme}://{host}:{site.port}/"))
                assert error.kind in ("url", "forbidden", "unresolved")
            assert site.connections == 0

    run(main)


def test_a_name_without_an_address() -> None:
    async def failing(host: str, port: int) -> Addresses:
        raise OSError(5, "the name server has fallen over")

    async def main() -> None:
        for resolve in (failing, Names([])):
            client = client_of(resolve=resolve)
            error = await refusal(get(client, "https://login.example/"))
            assert (error.kind, error.fault) == ("unresolved", "site")

    run(main)


# Pinned


def test_a_name_that_changes_its_mind_changes_nothing() -> None:
    """Rebinding: good when it is judged, bad a moment later."""

    async def main() -> None:
        good, bad = Site(ok("good")), Site(ok("bad"))
        async with running(good) as nursery:
            await nursery.start(partial(bad.run, "127.0.0.2", good.port))
            names = Names(["127.0.0.1"], ["127.0.0.2"])
            client = client_of(good, resolve=names, allow=(Network("127.0.0.1/32"),))
            reply = await get(client, good.url)
            assert (reply.body, good.connections, bad.connections) == (b"good", 1, 0)
            assert names.asked == [("login.example", good.port)]
            # The next call judges anew, and nothing is left of the first one to go on with.
            assert (await refusal(get(client, good.url))).kind == "forbidden"
            assert (good.connections, bad.connections) == (1, 0)

    run(main)


def test_an_address_that_does_not_answer_has_others_after_it() -> None:
    async def main() -> None:
        site = Site(ok("here"))
        async with running(site):
            names = Names(["127.0.0.9", "127.0.0.8", "127.0.0.1"])
            reply = await get(client_of(site, resolve=names), site.url)
            assert reply.body == b"here"
            names = Names(["127.0.0.9"])
            error = await refusal(get(client_of(site, resolve=names), site.url))
            assert (error.kind, error.fault) == ("unreachable", "site")
            assert "127.0.0" not in str(error)

    run(main)


@pytest.mark.parametrize("form", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_what_is_allowed_is_so_in_each_of_its_forms(form: str) -> None:
    async def main() -> None:
        site = Site(ok("here"))
        async with running(site):
            assert (await get(client_of(site, resolve=Names([form])), site.url)).body == b"here"

    run(main)


def test_plain_http_goes_to_allowed_private_networks_only() -> None:
    async def main() -> None:
        forms = ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8")
        networks = ((), (Network("8.8.8.0/24"),), LOOPBACK)
        for form, allow in itertools.product(forms, networks):
            client = client_of(allow=allow, ports=(80,), resolve=Names([form]))
            error = await refusal(get(client, "http://login.example/"))
            assert error.kind == "forbidden" and "https://" in str(error)

    run(main)


def test_ports_that_are_not_named_are_not_called() -> None:
    async def main() -> None:
        site = Site(ok("here"))
        async with running(site):
            names = Names(["127.0.0.1"])
            client = client_of(ports=(443, 8443), resolve=names)
            error = await refusal(get(client, site.url))
            assert (error.kind, error.fault) == ("url", "tenant")
            assert "outgoing.ports" in str(error) and names.asked == []
            client.settings = Outgoing(allow=LOOPBACK, ports=(site.port,))
            assert (await get(client, site.url)).body == b"here"

    run(main)


# URLs


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://login.example", "login.example", "/"),
        ("HTTPS://Login.Example:443/a?b=c", "login.example", "/a?b=c"),
        ("https://login.example?b", "login.example", "/?b"),
        ("https://login.example.:8443/", "login.example:8443", "/"),
        ("http://login.example:443/", "login.example:443", "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", "/"),
        ("https://BÜCHER。example/", "xn--bcher-kva.example", "/"),
        ("https://faß.example/", "xn--fa-hia.example", "/"),
        ("https://r3---sn.example/", "r3---sn.example", "/"),
        ("https://10.0.0.1/", "10.0.0.1", "/"),
        ("https://[FD00::0:1]:444/", "[fd00::1]:444", "/"),
    ],
)
def test_what_a_url_says(url: str, authority: str, path: str) -> None:
    target = parse_url(url)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    "url",
    [
        *("", "https:", "https://", "https:///a", "//login.example/", "login.example", "/a"),
        *("ftp://login.example/", "file:///etc/passwd", "javascript:alert(1)", "https:/a/b"),
        *("https://user@login.example/", "https://a:b@login.example/", "https://@login.example/"),
        *("https://login.example#a", "https://login.example/#", "https://login.example\\@b/"),
        *("https://login.example:/", "https://login.example:0/", "https://login.example:65536/"),
        *("https://login.example:４４３/", "https://login.example:443:1/", "https://a:-1/"),
        *("https://login example/", "https://login.example/a b", "https://login.example/ä"),
        *("https://login.example/\r\nX: y", "https://login.example\n", " https://login.example"),
        *("https://login..example/", "https://.example/", "https://-a.example/", "https://a_b.c/"),
        *(
            "https://login.example/a\tb",
            "https://login.exa\tmple/",
            "https://[::1/",
            "https://::1/",
        ),
        *("https://[::g]/", "https://[1.2.3.4]/", "https://256.1.1.1/", "https://1.2.3.4.5/"),
        *("https://xn--\x80.example/", "https://a／b.example/", "https://\u200d.example/"),
        f"https://login.example/{'a' * 2048}",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 130}example/",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(OutgoingError) as caught:
        parse_url(url)
    assert (caught.value.kind, caught.value.fault) == ("url", "tenant")


HOSTS = st.text("aZ0.-:[]%@\\/#?_ xé。１\u00ad\u200d\r\n\t", max_size=40) | st.text(max_size=40)


@pytest.mark.slow
@given(st.sampled_from(["https://", "http://", "", "//"]), HOSTS, st.text(max_size=20))
def test_any_text_is_a_url_or_an_error(scheme: str, host: str, rest: str) -> None:
    with suppress(OutgoingError):
        target = parse_url(f"{scheme}{host}{rest}")
        sent = f"{target.authority}{target.path}"
        assert sent.isascii() and not set(" \r\n\t@#\\") & set(target.authority)
        assert not set(" \r\n\t#\\") & set(sent)
        assert target.path.startswith("/") and 0 < target.port < 65536
        assert parse_url(f"{target.scheme}://{sent}") == target


# TLS


class Authority:
    """Signs certificates, for tests alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.openssl(
            *("req", "-x509", *self.fresh("ca"), "-out", "ca.pem", "-subj", "/CN=Authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def fresh(self, stem: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        return (*curve, "-days", "30", "-keyout", f"{stem}.key")

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.folder)

    def site(self, *names: str) -> ssl.SSLContext:
        """What a server shows that has a certificate for these names: `DNS:...` or `IP:...`."""
        stem = names[0].replace(":", "-")
        self.openssl(
            *("req", "-x509", *self.fresh(stem), "-out", f"{stem}.pem", "-subj", "/CN=Site"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"),
            *("-addext", f"subjectAltName={','.join(names)}"),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return context

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.pem")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.needs("openssl")
def test_tls_asks_for_the_name_at_the_address_that_was_checked(authority: Authority) -> None:
    async def main() -> None:
        site = Site(ok("here"), authority.site("DNS:login.example"))
        async with running(site):
            client = client_of(site, tls=authority.trusted())
            assert (await get(client, site.url)).body == b"here"
            assert site.names == ["login.example"]
            assert site.requests[0].headers["host"] == f"login.example:{site.port}"

    run(main)


@pytest.mark.needs("openssl")
def test_a_certificate_has_to_be_the_names(authority: Authority) -> None:
    async def main() -> None:
        site = Site(ok("here"), authority.site("DNS:other.example", "IP:127.0.0.1"))
        async with running(site):
            client = client_of(site, tls=authority.trusted())
            error = await refusal(get(client, site.url))
            assert (error.kind, error.fault) == ("tls", "site")
            assert "login.example" in str(error) and "127.0.0" not in str(error)
            assert site.requests == []
            # An address in a URL is a name as well, if the certificate has it.
            assert (await get(client, f"https://127.0.0.1:{site.port}/")).body == b"here"
            assert site.names == ["login.example", None]

    run(main)


@pytest.mark.needs("openssl")
def test_a_certificate_of_an_unknown_authority_proves_nothing(authority: Authority) -> None:
    async def main() -> None:
        site = Site(ok("here"), authority.site("DNS:login.example"))
        async with running(site):
            # By default those of the machine are known.
            for tls in (None, TRUSTING_NOBODY):
                assert (await refusal(get(client_of(site, tls=tls), site.url))).kind == "tls"
            assert site.requests == []

    run(main)


@pytest.mark.needs("openssl")
def test_old_versions_of_tls_are_not_spoken(authority: Authority) -> None:
    async def main() -> None:
        old = authority.site("DNS:login.example")
        old.set_ciphers("ALL:@SECLEVEL=0")
        # Setting it is what the warning is about.
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        site = Site(ok("here"), old)
        async with running(site):
            error = await refusal(get(client_of(site, tls=authority.trusted()), site.url))
            assert error.kind == "tls"

    run(main)


def test_whoever_speaks_no_tls_is_not_believed() -> None:
    async def chatty(request: Request, stream: trio.abc.Stream) -> None:
        raise AssertionError("there was a request")

    async def main() -> None:
        site = Site(chatty)
        async with running(site) as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]

            async def plain(stream: trio.SocketStream) -> None:
                await stream.send_all(ok("here"))
                await stream.aclose()

            nursery.start_soon(trio.serve_listeners, plain, [listener])
            client = client_of(ports=(port,))
            assert (await refusal(get(client, f"https://login.example:{port}/"))).kind == "tls"

    run(main)


# What comes back


def test_what_is_sent_and_what_comes_back() -> None:
    async def main() -> None:
        site = Site(ok("here", "Cache-Control: a", "cache-control: b", "Set-Cookie: a=b"))
        async with running(site):
            client = client_of(site)
            for _ in range(2):
                reply = await get(client, f"http://bücher.example:{site.port}/a?b=%20")
                assert reply.header("cache-control") == "a, b"
                assert "here" not in repr(reply)
            first, second = site.requests
            assert first.line == "GET /a?b=%20 HTTP/1.1"
            assert first.headers == second.headers
            assert first.headers == {
                "host": f"xn--bcher-kva.example:{site.port}",
                "user-agent": "pystream",
                "accept": "application/json",
                "accept-encoding": "identity",
                "connection": "close",
            }
            await get(client, site.url, body=b"\0asked", headers=(("X-A", "b"),))
            asked = site.requests[2]
            assert (asked.line, asked.body) == ("POST /jwks HTTP/1.1", b"\0asked")
            assert asked.headers["x-a"] == "b" and "cookie" not in asked.headers

    run(main)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    async def main() -> None:
        other = Site(ok("inside"))
        site = Site(b"")
        async with running(site, other):
            to = f"http://login.example:{other.port}/"
            head = f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            site.answer = head.encode()
            error = await refusal(get(client_of(site, other), site.url))
            assert (error.kind, error.fault) == ("answer", "site")
            assert "not followed" in str(error) and other.connections == 0

    run(main)


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        site, proxy = Site(ok("here")), Site(ok("proxied"))
        async with running(site, proxy):
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                for each in (name, name.upper()):
                    monkeypatch.setenv(each, f"http://127.0.0.1:{proxy.port}")
            assert (await get(client_of(site), site.url)).body == b"here"
            assert proxy.connections == 0

    run(main)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def endless(request: Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(CHUNKED)
    while True:
        await stream.send_all(b"1000\r\n" + b"x" * 4096 + b"\r\n")


async def endless_head(request: Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send_all(b"X: " + b"x" * 4096 + b"\r\n")


async def breaking_off(request: Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ok(b"x" * 10_001), "more than 10000 bytes"),
        (endless, "more than 10000 bytes"),
        (endless_head, "HTTP/1.1"),
        (breaking_off, "broke off"),
        (b"", "broke off"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\na", "206"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1",
        ),
        (b"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1"),
        (b"ICY 200 OK\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1"),
        (ok(b"\x1f\x8b", "Content-Encoding: gzip"), "compressed"),
    ],
)
def test_what_is_no_answer(answer: bytes | Handler, said: str) -> None:
    async def main() -> None:
        site = Site(answer)
        async with running(site):
            error = await refusal(get(client_of(site), site.url))
            kind = "refused" if said == "404" else "answer"
            assert (error.kind, error.fault) == (kind, "site")
            assert said in str(error) and "login.example" in str(error)

    run(main)


def test_the_largest_answer_there_may_be() -> None:
    async def main() -> None:
        site = Site(ok(b"x" * 10_000))
        async with running(site):
            assert len((await get(client_of(site), site.url)).body) == 10_000

    run(main)


HEADS = st.sampled_from(
    [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, ok("abc"), b"HTTP/1.1 100 A\r\n\r\n"]
)


@pytest.mark.slow
@given(st.lists(st.one_of(HEADS, st.binary(max_size=40)), max_size=4).map(b"".join))
@settings(max_examples=60)
def test_any_bytes_are_an_answer_or_an_error(answer: bytes) -> None:
    async def main() -> None:
        site = Site(answer)
        async with running(site):
            with suppress(OutgoingError):
                reply = await get(client_of(site), site.url)
                assert len(reply.body) <= 10_000
                reply.header("cache-control")

    run(main)


# Time


async def silent(request: Request, stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def dripping(request: Request, stream: trio.abc.Stream) -> None:
    await stream.send_all(CHUNKED)
    while True:
        await trio.sleep(0.5)
        await stream.send_all(b"1\r\nx\r\n")


async def dripping_head(request: Request, stream: trio.abc.Stream) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
        await trio.sleep(0.5)
        await stream.send_all(bytes([byte]))


async def not_yet(request: Request, stream: trio.abc.Stream) -> None:
    while True:
        await trio.sleep(0.5)
        await stream.send_all(b"HTTP/1.1 102 Processing\r\n\r\n")


@pytest.mark.parametrize("answer", [silent, dripping, dripping_head, not_yet])
def test_the_deadline_is_for_the_whole_call(answer: Handler) -> None:
    async def main() -> None:
        site = Site(answer)
        async with running(site):
            error = await refusal(get(client_of(site), site.url, seconds=5.0))
            assert (error.kind, error.fault) == ("slow", "site")
            assert "within 5 s" in str(error)
            assert trio.current_time() == pytest.approx(began + 5.0, abs=1e-3)

    clock = jumping()
    began = clock.current_time()
    run(main, clock)


def test_a_handshake_that_does_not_go_on_leaves_nothing_behind() -> None:
    """The socket is closed, not left to the garbage collector, which would warn."""

    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        ended = trio.Event()

        async def mute(stream: trio.SocketStream) -> None:
            while await stream.receive_some():
                pass
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, mute, [listener])
            client = client_of(ports=(port,))
            with trio.move_on_after(1) as scope:
                await get(client, f"https://login.example:{port}/", seconds=5.0)
            assert scope.cancelled_caught
            with trio.fail_after(60):
                await ended.wait()
            error = await refusal(get(client, f"https://login.example:{port}/", seconds=5.0))
            assert error.kind in ("slow", "unreachable")
            nursery.cancel_scope.cancel()

    run(main, jumping())


def test_a_name_server_that_is_silent_holds_nobody() -> None:
    async def never(host: str, port: int) -> Addresses:
        await trio.sleep_forever()
        raise AssertionError

    async def main() -> None:
        client = client_of(resolve=never)
        assert (await refusal(get(client, "https://login.example/"))).kind == "slow"

    run(main, jumping())


# At a time


def test_a_tenant_has_so_many_calls_at_a_time_and_the_node_too() -> None:
    async def main() -> None:
        site = Site(silent)
        kinds = Counter[str]()

        async def one(tenant: str) -> None:
            error = await refusal(client.call(tenant, site.url, seconds=5.0, most=100))
            kinds[f"{tenant} {error.kind} {error.fault}"] += 1

        async with running(site):
            client = client_of(site, calls=5, tenant_calls=3)
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(one, "acme")
                await wait_all_tasks_blocked(0.01)
                assert site.most_open == 3
                for _ in range(10):
                    nursery.start_soon(one, "globex")
            assert site.most_open == 5
            assert kinds == {
                "acme slow site": 3,
                "acme busy node": 7,
                "globex slow site": 2,
                "globex busy node": 8,
            }
            site.answer = ok("here")
            for tenant in ("acme", "globex"):
                await client.call(tenant, site.url, seconds=5.0, most=100)

    run(main, jumping())


def test_tenants_who_call_nobody_are_forgotten() -> None:
    def limiters() -> int:
        # Those of other tests may be garbage already.
        gc.collect()
        return sum(isinstance(each, trio.CapacityLimiter) for each in gc.get_objects())

    async def main() -> None:
        site = Site(ok("here"))
        async with running(site):
            client = client_of(site)
            before = limiters()
            for number in range(10):
                await client.call(f"tenant {number}", site.url, seconds=5.0, most=100)
            assert limiters() == before

    run(main)


# Secrecy


def test_nothing_of_a_call_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cret"

    async def main() -> None:
        site = Site(silent)
        async with running(site):
            url = f"http://login.example:{site.port}/{secret}?{secret}"
            question = Question("acme", "film", token=secret, address="203.0.113.7")
            said = [repr(question), repr(parse_url(url)), repr(Verdict(True, viewer=secret))]
            client = client_of(site)
            async with trio.open_nursery() as nursery:
                questions = Questions(client, nursery)
                error = await refusal(questions.ask(url, [KEY], question))
                said += [str(error), repr(error)]
            site.answer = ok(secret, f"X: {secret}")
            await get(client, url)
            said += [caplog.text]
            for each in said:
                assert secret not in each and "203.0.113.7" not in each and "127.0.0.1" not in each

    run(main, jumping())


# Key sets

JWKS = {"keys": [{"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}]}
LATER = {"keys": [*JWKS["keys"], {"kty": "EC", "kid": "b"}]}


def with_keysets(
    test: Callable[[Site, Keysets, MockClock], Awaitable[None]], answer: bytes | Handler
) -> None:
    clock = MockClock()

    async def main() -> None:
        site = Site(answer)
        async with running(site) as nursery:
            await test(site, Keysets(client_of(site), nursery), clock)

    run(main, clock)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 3600),
        (["Cache-Control: max-age=600"], 600),
        (['Cache-Control: public, MAX-AGE="600"'], 600),
        (["Cache-Control: public", "Cache-Control: max-age=600", "Age: 100"], 500),
        (["Cache-Control: max-age=600", "Age: soon"], 600),
        (["Cache-Control: s-maxage=600"], 3600),
        (["Cache-Control: max-age=0"], 60),
        (["Cache-Control: max-age=99999999999999999999"], 86400),
        (["Cache-Control: max-age=-1"], 3600),
        (["Cache-Control: max-age=600, no-store"], 60),
        (["Cache-Control: no-cache"], 60),
    ],
)
def test_a_key_set_is_kept_as_long_as_it_says(fields: list[str], seconds: int) -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        assert await keysets.get("acme", site.url) == JWKS
        site.answer = ok(LATER)
        clock.jump(seconds * 0.8 - 1)
        assert await keysets.get("acme", site.url) == JWKS
        await wait_all_tasks_blocked(0.01)
        assert len(site.requests) == 1
        clock.jump(seconds * 0.2 + 1)
        # It is over, and nobody has asked in the meantime.
        assert await keysets.get("acme", site.url) == LATER
        assert len(site.requests) == 2

    with_keysets(test, ok(JWKS, *fields))


def test_a_key_set_is_renewed_before_it_ends_and_nobody_waits() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        await keysets.get("acme", site.url)
        site.answer = silent
        clock.jump(481)
        assert await keysets.get("acme", site.url) == JWKS
        await wait_all_tasks_blocked(0.01)
        assert await keysets.get("acme", site.url) == JWKS
        await wait_all_tasks_blocked(0.01)
        assert len(site.requests) == 2
        # That was in vain; the next attempt is not.
        clock.jump(5.1)
        await wait_all_tasks_blocked(0.01)
        site.answer = ok(LATER)
        clock.jump(5.1)
        assert await keysets.get("acme", site.url) == JWKS
        await wait_all_tasks_blocked(0.01)
        assert await keysets.get("acme", site.url) == LATER
        assert len(site.requests) == 3

    with_keysets(test, ok(JWKS, "Cache-Control: max-age=600"))


def test_an_old_key_set_serves_while_the_site_is_down_but_not_for_ever() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        await keysets.get("acme", site.url)
        site.answer = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
        clock.jump(601)
        for _ in range(10):
            assert await keysets.get("acme", site.url) == JWKS
        assert len(site.requests) == 2
        clock.jump(6 * 3600 - 2)
        assert await keysets.get("acme", site.url) == JWKS
        clock.jump(2)
        error = await refusal(keysets.get("acme", site.url))
        assert (error.kind, error.fault) == ("answer", "site")
        site.answer = ok(LATER)
        clock.jump(60)
        assert await keysets.get("acme", site.url) == LATER

    with_keysets(test, ok(JWKS, "Cache-Control: max-age=600"))


def test_a_site_that_fails_is_asked_less_and_less() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        asked = []
        for _ in range(300):
            assert (await refusal(keysets.get("acme", site.url))).kind == "answer"
            asked.append(len(site.requests))
            clock.jump(1)
        times = [asked.index(n) for n in range(1, asked[-1] + 1)]
        assert times == [0, 5, 15, 35, 75, 135, 195, 255]

    with_keysets(test, b"garbage")


def test_an_unknown_key_is_looked_for_once_a_minute() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        assert await keysets.get("acme", site.url, "a") == JWKS
        site.answer = ok(LATER)
        clock.jump(59)
        assert await keysets.get("acme", site.url, "b") == JWKS
        assert len(site.requests) == 1
        clock.jump(1)
        assert await keysets.get("acme", site.url, "b") == LATER
        for number in range(100):
            assert await keysets.get("acme", site.url, f"made up {number}") == LATER
        assert len(site.requests) == 2
        # Nor does a site that fails take anybody's keys away.
        site.answer = b""
        clock.jump(60)
        assert await keysets.get("acme", site.url, "c") == LATER
        assert len(site.requests) == 3

    with_keysets(test, ok(JWKS))


def test_many_who_wait_for_a_key_set_are_one_call() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        gate = trio.Event()

        async def gated(request: Request, stream: trio.abc.Stream) -> None:
            await gate.wait()
            await stream.send_all(ok(JWKS))

        site.answer = gated
        got: list[Any] = []

        async def one(patience: float) -> None:
            with trio.move_on_after(patience):
                got.append(await keysets.get("acme", site.url, "a"))

        async with trio.open_nursery() as nursery:
            # Who came first, and began it, leaves first.
            nursery.start_soon(one, 1)
            await wait_all_tasks_blocked(0.01)
            for _ in range(500):
                nursery.start_soon(one, math.inf)
            await wait_all_tasks_blocked(0.01)
            clock.jump(2)
            await wait_all_tasks_blocked(0.01)
            gate.set()
        assert got == [JWKS] * 500 and len(site.requests) == 1

    with_keysets(test, b"")


def test_tenants_have_key_sets_of_their_own() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        await keysets.get("acme", site.url)
        await keysets.get("globex", site.url)
        assert len(site.requests) == 2

    with_keysets(test, ok(JWKS))


def test_key_sets_take_a_bounded_space() -> None:
    """Five of some 20,000 bytes; the one not used for longest goes."""

    async def main() -> None:
        site = Site(ok({"keys": [{"kty": "RSA", "x": "x" * 19_000}]}))
        async with running(site) as nursery:
            keysets = Keysets(client_of(site), nursery, kept_bytes=110_000)
            urls = [f"{site.url}/{number}" for number in range(6)]
            for url in [*urls[:5], urls[0], urls[5], urls[0], urls[2], urls[5]]:
                await keysets.get("acme", url)
            assert len(site.requests) == 6
            await keysets.get("acme", urls[1])
            assert len(site.requests) == 7

    run(main)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b"null", b'{"keys": {}}', b'{"keys": [1]}', b"\xff", b'{"keys":[]'),
        b"[" * 100_000,
        b'{"keys": [{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
        json.dumps({"keys": [{"kty": "RSA"}] * 101}).encode(),
        json.dumps({"keys": [{"kty": "RSA", "n": "x" * 300_000}]}).encode(),
    ],
)
def test_what_is_no_key_set(body: bytes) -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        error = await refusal(keysets.get("acme", site.url))
        assert (error.kind, error.fault) == ("answer", "site")

    with_keysets(test, ok(body))


def test_a_secret_that_anybody_can_read_is_no_key() -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        assert await keysets.get("acme", site.url) == JWKS

    with_keysets(test, ok({"keys": [{"kty": "oct", "kid": "o", "k": "AQAB"}, *JWKS["keys"]]}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["keys", "kty", "kid", "allow", "viewer", "x"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=30), st.text(max_size=30))
@settings(max_examples=60)
def test_any_answer_is_a_key_set_or_an_error(body: bytes, field: str) -> None:
    async def test(site: Site, keysets: Keysets, clock: MockClock) -> None:
        with suppress(OutgoingError):
            found = await keysets.get("acme", site.url, "a")
            assert set(found) == {"keys"} and all(isinstance(key, dict) for key in found["keys"])

    value = field.encode().replace(b"\r", b"").replace(b"\n", b"")
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=%b\r\nContent-Length: %d\r\n\r\n"
    with_keysets(test, head % (value, len(body)) + body)


# Questions

FILM = Question("acme", "film", token="t0ken")


def with_questions(
    test: Callable[[Site, Questions, MockClock], Awaitable[None]],
    answer: bytes | Handler,
    **more: Any,
) -> None:
    clock = MockClock()

    async def main() -> None:
        site = Site(answer)
        async with running(site) as nursery:
            client = client_of(site)
            client.settings = Outgoing(allow=LOOPBACK, ports=(site.port,), **more)
            await test(site, Questions(client, nursery, clock=lambda: 1_700_000_000.9), clock)

    run(main, clock)


def test_a_signature_is_what_the_standard_says() -> None:
    """The vector of the Standard Webhooks libraries' tests (standard-webhooks, `sign function works`)."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert dict(said) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_a_site_is_asked() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        old = b"the key before that one."
        verdict = await questions.ask(site.url, [KEY, old], FILM)
        assert verdict == Verdict(True, "v-1", 3600, 2)
        await questions.ask(site.url, [KEY], Question("acme", "film", viewer="v", address="::7"))
        first, second = site.requests
        assert first.line == "POST /jwks HTTP/1.1"
        assert first.headers["content-type"] == "application/json"
        assert json.loads(first.body) == {"tenant": "acme", "stream": "film", "token": "t0ken"}
        assert json.loads(second.body) == {"tenant": "acme", "stream": "film", "viewer": "v"}
        assert first.headers["webhook-timestamp"] == "1700000000"
        ident = first.headers["webhook-id"]
        assert ident != second.headers["webhook-id"]
        signed = f"{ident}.1700000000.".encode() + first.body
        wanted = [
            "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
            for key in (KEY, old)
        ]
        assert first.headers["webhook-signature"] == " ".join(wanted)

    said = {"allow": True, "viewer": "v-1", "expires_in": 3600, "max_devices": 2, "name": "Eva"}
    with_questions(test, ok(said))


def test_the_viewers_address_is_told_where_the_operator_wants_it() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        question = Question("acme", "film", token="t", address="203.0.113.7")
        await questions.ask(site.url, [KEY], question)
        assert json.loads(site.requests[0].body)["address"] == "203.0.113.7"

    with_questions(test, ok({"allow": True}), viewer_address=True)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("203.0.113.7", "203.0.113.0"),
        ("::ffff:203.0.113.7", "203.0.113.0"),
        ("2001:db8:1:f203:4:5:6:7", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        # Whoever comes by a unix socket.
        ("unix", None),
    ],
)
def test_the_first_part_of_the_viewers_address_is_told_where_the_operator_wants_that(
    address: str, told: str | None
) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        await questions.ask(site.url, [KEY], Question("acme", "film", token="t", address=address))
        assert json.loads(site.requests[0].body).get("address") == told

    with_questions(test, ok({"allow": True}), viewer_address="truncated")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"allow": True}, 60),
        ({"allow": True, "expires_in": 7200}, 60),
        ({"allow": True, "expires_in": 10}, 10),
        ({"allow": False}, 5),
        ({"allow": False, "expires_in": 3600}, 5),
    ],
)
def test_an_answer_is_kept_for_a_while(answer: dict[str, Any], seconds: int) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        first = await questions.ask(site.url, [KEY], FILM)
        assert first.allow is answer["allow"]
        clock.jump(seconds - 1)
        again = await questions.ask(site.url, [KEY], FILM)
        assert again.allow is first.allow and len(site.requests) == 1
        if first.expires_in is not None:
            assert again.expires_in == first.expires_in - (seconds - 1)
        clock.jump(1)
        assert await questions.ask(site.url, [KEY], FILM) == first
        assert len(site.requests) == 2

    with_questions(test, ok(answer))


def test_an_answer_is_for_its_own_question() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        asked = [
            Question(tenant, stream, token=token, viewer=viewer)
            for tenant in ("acme", "globex")
            for stream in ("film", "other")
            for token, viewer in (("a", ""), ("", "a"), ("b", ""))
        ]
        for _ in range(2):
            for each in asked:
                await questions.ask(site.url, [KEY], each)
                await questions.ask(f"{site.url}?other", [KEY], each)
        assert len(site.requests) == 2 * len(asked)

    with_questions(test, ok({"allow": True}))


def test_many_who_ask_the_same_are_one_question() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        gate = trio.Event()

        async def gated(request: Request, stream: trio.abc.Stream) -> None:
            await gate.wait()
            await stream.send_all(ok({"allow": True}))

        site.answer = gated
        got: list[Verdict] = []

        async def one() -> None:
            got.append(await questions.ask(site.url, [KEY], FILM))

        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one)
            await wait_all_tasks_blocked(0.01)
            gate.set()
        assert got == [Verdict(True)] * 500 and len(site.requests) == 1

    with_questions(test, b"")


def test_answers_take_a_bounded_space() -> None:
    """Five with a long viewer's id; the one not used for longest goes."""

    async def main() -> None:
        site = Site(ok({"allow": True, "viewer": "v" * 128}))
        async with running(site) as nursery:
            questions = Questions(client_of(site), nursery, kept_bytes=8000)
            for token in "abcdeafacf":
                await questions.ask(site.url, [KEY], Question("acme", "film", token=token))
            assert len(site.requests) == 6
            await questions.ask(site.url, [KEY], Question("acme", "film", token="b"))
            assert len(site.requests) == 7

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        *(ok(""), ok("yes"), ok("true"), ok("[]"), ok("{}"), ok('{"allow": 1}')),
        *(ok('{"allow": "true"}'), ok('{"allow": null}'), ok('{"Allow": true}'), ok(b"\xff")),
        *(ok('{"allow": true, "viewer": ""}'), ok('{"allow": true, "viewer": 7}')),
        ok({"allow": True, "viewer": "v" * 129}),
        ok({"allow": True, "viewer": "a\nb"}),
        ok({"allow": True, "viewer": "a\n"}),
        ok({"allow": True, "expires_in": 0}),
        ok({"allow": True, "expires_in": "1"}),
        ok({"allow": True, "max_devices": 0}),
        ok({"allow": True, "max_devices": 10**30}),
        ok(b'{"allow": true, "x": ' + b"[" * 15_000),
        ok({"allow": True, "x": "x" * 20_000}),
        b"HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 15\r\n\r\n" + b'{"allow": true}',
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 15\r\n\r\n" + b'{"allow": true}',
        b"garbage",
    ],
)
def test_what_is_no_answer_lets_nobody_in(answer: bytes) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        error = await refusal(questions.ask(site.url, [KEY], FILM))
        assert (error.kind, error.fault) == ("answer", "site")
        # That was no answer, so it is not kept as one.
        site.answer = ok({"allow": True})
        assert (await questions.ask(site.url, [KEY], FILM)).allow

    with_questions(test, answer)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_site_may_say_no_by_its_status(status: int) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        # As often as anybody likes: that is no failure of the site.
        for number in range(8):
            question = Question("acme", "film", token=str(number))
            assert not (await questions.ask(site.url, [KEY], question)).allow
        assert len(site.requests) == 8
        # Kept as any no is, and then asked again.
        site.answer = ok({"allow": True})
        assert not (await questions.ask(site.url, [KEY], question)).allow
        clock.jump(5)
        assert (await questions.ask(site.url, [KEY], question)).allow
        assert (await questions.ask(site.url, [KEY], FILM)).allow

    with_questions(test, b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)


@pytest.mark.parametrize("status", [400, 405, 422])
def test_what_a_site_finds_fault_with_is_neither_a_no_nor_a_failure(status: int) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        for number in range(8):
            question = Question("acme", "film", token=str(number))
            assert (await refusal(questions.ask(site.url, [KEY], question))).kind == "rejected"
        site.answer = ok({"allow": True})
        assert (await questions.ask(site.url, [KEY], question)).allow

    with_questions(test, b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)


@pytest.mark.slow
@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=30))
@settings(max_examples=60)
def test_any_answer_is_a_verdict_or_an_error(body: bytes) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        with suppress(OutgoingError):
            verdict = await questions.ask(site.url, [KEY], FILM)
            assert verdict.allow is json.loads(body)["allow"]

    with_questions(test, ok(body))


@pytest.mark.slow
@given(st.text(min_size=1, max_size=20))
@settings(max_examples=40)
def test_any_token_can_be_asked_about(token: str) -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        assert (await questions.ask(site.url, [KEY], Question("acme", "f", token=token))).allow
        assert json.loads(site.requests[0].body)["token"] == token

    with_questions(test, ok({"allow": True}))


def test_a_token_that_is_no_text_is_nobodys() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        verdict = await questions.ask(site.url, [KEY], Question("acme", "film", token="\ud800"))
        assert verdict == Verdict(False) and site.connections == 0

    with_questions(test, ok({"allow": True}))
    with pytest.raises(ValueError, match="names the viewer"):
        Question("acme", "film")


def test_a_site_that_is_slow_has_not_answered() -> None:
    async def main() -> None:
        site = Site(silent)
        async with running(site) as nursery:
            began = trio.current_time()
            questions = Questions(client_of(site), nursery)
            error = await refusal(questions.ask(site.url, [KEY], FILM))
            assert error.kind == "slow"
            assert trio.current_time() - began == pytest.approx(2, abs=1e-3)

    run(main, jumping())


@pytest.mark.slow
def test_a_dead_endpoint_holds_no_crowd() -> None:
    """A thousand come at once: all are told within two seconds, and those after them at once."""

    async def main() -> None:
        site = Site(silent)
        kinds = Counter[str]()

        async def one(number: int) -> None:
            question = Question("acme", "film", token=str(number))
            kinds[(await refusal(questions.ask(site.url, [KEY], question))).kind] += 1

        async with running(site) as outside:
            questions = Questions(client_of(site), outside)
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(1000):
                    nursery.start_soon(one, number)
            assert trio.current_time() - began == pytest.approx(2, abs=1e-3)
            assert site.most_open == 32 and kinds == {"slow": 32, "busy": 968}
            for number in range(1000, 1100):
                await one(number)
            assert trio.current_time() - began == pytest.approx(2, abs=1e-3)
            assert kinds["paused"] == 100 and site.connections == 32
            # However many failed together, this is the first pause.
            site.answer = ok({"allow": True})
            await trio.sleep(5)
            assert (await questions.ask(site.url, [KEY], FILM)).allow

    run(main, jumping())


@pytest.mark.slow
def test_a_crowd_does_not_make_an_endpoint_a_dead_one() -> None:
    """Two rounds are answered, the second one after 3.8 s; those for whom there was no room are not
    the endpoint's failures."""

    async def late(request: Request, stream: trio.abc.Stream) -> None:
        await trio.sleep(1.9)
        await stream.send_all(ok({"allow": True}))

    async def main() -> None:
        site = Site(late)
        kinds = Counter[str]()

        async def one(number: int) -> None:
            question = Question("acme", "film", token=str(number))
            try:
                await questions.ask(site.url, [KEY], question)
                kinds["yes"] += 1
            except OutgoingError as error:
                kinds[error.kind] += 1

        async with running(site) as outside:
            questions = Questions(client_of(site), outside)
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(one, number)
                await trio.sleep(2.5)
                assert kinds == {"yes": 32, "busy": 136}
                assert (await questions.ask(site.url, [KEY], FILM)).allow
            assert kinds == {"yes": 64, "busy": 136}

    run(main, jumping())


def test_an_endpoint_that_fails_is_left_alone_and_found_again() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        async def kind(number: int) -> str:
            question = Question("acme", "film", token=str(number))
            return (await refusal(questions.ask(site.url, [KEY], question))).kind

        assert [await kind(number) for number in range(8)] == ["answer"] * 5 + ["paused"] * 3
        assert len(site.requests) == 5
        # Others' endpoints are their own affair, and so are what others' tenants have entered.
        other = Question("globex", "film", token="t")
        assert (await refusal(questions.ask(site.url, [KEY], other))).kind == "answer"
        # One after the pause, and a longer pause.
        clock.jump(5)
        assert [await kind(number) for number in range(3)] == ["answer", "paused", "paused"]
        clock.jump(9)
        assert await kind(0) == "paused"
        clock.jump(1)
        site.answer = ok({"allow": True})
        assert (await questions.ask(site.url, [KEY], FILM)).allow
        site.answer = b"garbage"
        assert [await kind(number) for number in range(6)] == ["answer"] * 5 + ["paused"]
        # What is kept is still good.
        assert (await questions.ask(site.url, [KEY], FILM)).allow

    with_questions(test, b"garbage")


def test_one_finds_out_and_the_others_do_not_wait_for_it() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        kinds = Counter[str]()

        async def one(number: int) -> None:
            question = Question("acme", "film", token=str(number))
            kinds[(await refusal(questions.ask(site.url, [KEY], question))).kind] += 1

        for number in range(5):
            await one(number)
        clock.jump(5)
        site.answer = silent
        kinds.clear()
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
            await wait_all_tasks_blocked(0.01)
            assert kinds == {"paused": 99} and site.open == 1
            clock.jump(2.1)

        assert kinds == {"paused": 99, "slow": 1}

    with_questions(test, b"garbage")


@pytest.mark.slow
def test_a_queue_for_an_endpoint_that_fails_at_once_is_not_let_loose_on_it() -> None:
    async def test(site: Site, questions: Questions, clock: MockClock) -> None:
        kinds = Counter[str]()

        async def one(number: int) -> None:
            question = Question("acme", "film", token=str(number))
            kinds[(await refusal(questions.ask(site.url, [KEY], question))).kind] += 1

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(one, number)
        assert kinds["answer"] == site.connections <= 64
        assert kinds["paused"] == 1000 - site.connections

    with_questions(test, b"garbage")


def test_of_two_key_sets_either_is_enough() -> None:
    """One of them may be gone, and the older one may have been renewed since it was fetched."""
    keys = {name: OKPKey.generate_key("Ed25519", {"kid": name}) for name in ("old", "renewed")}
    stream = Stream(
        id=1,
        tenant_id=1,
        tenant="acme",
        name="film",
        settings=StreamSettings(sources=("/a.mp4",), access="external"),
        created_at=0,
        removed_at=None,
        revision=1,
    )

    def configured(port: int) -> Configured:
        verifier = Verifier(kind="jwks", url=f"http://127.0.0.1:{port}/keys")
        return Configured(
            id=port,
            tenant_id=1,
            stream_id=None,
            name="k",
            kind="jwks",
            created_at=0,
            revoked_at=None,
            verifier=verifier,
        )

    def jwks(kid: str) -> bytes:
        return ok({"keys": [keys[kid].as_dict(private=False)]})

    def token(kid: str) -> str:
        claims = {"aud": "acme", "sub": "4711", "iat": 9000, "exp": 9060, "jti": kid}
        return jose.encode(
            {"alg": "Ed25519", "kid": kid}, claims, keys[kid], algorithms=["Ed25519"]
        )

    async def main() -> None:
        site = Site(jwks("old"))
        async with running(site) as nursery:
            gone, older = configured(free_port()), configured(site.port)
            settings = Outgoing(allow=LOOPBACK, ports=(gone.id, older.id))
            handoffs = Handoffs(settings, nursery, clock=lambda: 9000.0)
            for found in ([gone, older], [older, gone]):
                named = await handoffs.ask(stream, found, token("old"), "192.0.2.1")
                assert named.viewer == "4711"
            site.answer = jwks("renewed")
            with pytest.raises(Unavailable):
                await handoffs.ask(stream, [gone, older], token("renewed"), "192.0.2.1")
            clock.jump(61)
            await handoffs.ask(stream, [gone, older], token("renewed"), "192.0.2.1")

    clock = MockClock()
    run(main, clock)


def test_of_streams_whose_site_failed_nothing_is_kept_but_for_a_minute() -> None:
    """However many come and go: each is said once a minute, and forgotten after that."""
    clock = MockClock()
    verifier = Verifier(kind="question", url="https://127.0.0.1/", secret="A" * 32, bearer=True)
    found = Configured(
        id=1,
        tenant_id=1,
        stream_id=None,
        name="k",
        kind="question",
        created_at=0,
        revoked_at=None,
        verifier=verifier,
    )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            handoffs = Handoffs(Outgoing(), nursery)
            for number in range(1, 9):
                stream = Stream(
                    id=number,
                    tenant_id=1,
                    tenant="acme",
                    name=f"film-{number}",
                    settings=StreamSettings(sources=("/a.mp4",), access="external"),
                    created_at=0,
                    removed_at=None,
                    revision=1,
                )
                for _ in range(2):
                    with pytest.raises(Unavailable):
                        await handoffs.ask(stream, [found], "token", "192.0.2.1")
                clock.jump(31)
            assert len(handoffs._silent_until) == 2
            nursery.cancel_scope.cancel()

    run(main, clock)
