"""Connections over real sockets: TLS, proxies, limits, and how connections end."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pystream import _core
from pystream.errors import SettingsError
from pystream.server import http as protocol
from pystream.server import log
from pystream.server.answers import Answer, Due
from pystream.server.connections import Connections, Handshakes, Limits
from pystream.server.edge import Edge, address_of, load_tls
from pystream.server.guard.limiter import Limiter
from pystream.server.http import Request
from pystream.server.settings import Certificate, Network
from tests.waiting import pause, until

LOOPBACK = (Network("127.0.0.0/8"),)
GET = b"GET / HTTP/1.1\r\nHost: film.example\r\n\r\n"
BIG = bytes(range(256)) * 40_000
FILM = Path(__file__).parent / "media" / "plain.mp4"
# As much as a socket takes at once, and more than a small one at the other end does.
SOME = bytes(16_000)
BIG_AT = FILM.stat().st_size + 8


def answer(request: Request) -> Answer | Awaitable[Answer]:
    """What the connection knows of a request; /later/... only after a while."""
    if request.path.startswith("/later/"):
        return later(Request(request.method, request.path[6:], request.query))
    if request.path == "/big":
        return Answer(200, [("Content-Length", str(len(BIG)))], BIG, len(BIG))
    if request.path == "/some":
        return Answer(200, [("Content-Length", str(len(SOME)))], SOME, len(SOME))
    if request.path == "/windows":
        return Answer(200, [("Content-Length", str(len(BIG)))], Windows(), len(BIG), (1, 0))  # type: ignore[arg-type]
    if request.path == "/short":
        length = FILM.stat().st_size
        return Answer(200, [("Content-Length", str(length))], Short(), length, (1, 0))  # type: ignore[arg-type]
    if request.path == "/bug":
        raise LookupError(request.query)
    if request.path == "/bad-head":
        return Answer(200, [("X", "\r\n")])
    if request.path == "/held":
        due = Due(hold, 30)
        return Answer(200, [("Content-Length", "4")], b"held", 4, due=due)
    known = {"peer": request.peer, "secure": request.secure, "path": request.path}
    body = json.dumps(known).encode()
    return Answer(200, [("Content-Length", str(len(body)))], body, len(body))


class Windows:
    """A body that is sent window by window."""

    def send(
        self,
        delivery: _core.Delivery,
        number: int,
        line: _core.Line,
        head: bytes,
        length: int,
        row: tuple[int, int] | None,
    ) -> None:
        delivery.download(number, line, head, big_file(), (BIG_AT, length), row, None)


@cache
def big_file() -> _core.Download:
    """A film with `BIG` in a box at its end that players leave out (ISO/IEC 14496-12 8.1.2)."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        free = struct.pack(">I4s", 8 + len(BIG), b"free")
        path.write_bytes(FILM.read_bytes() + free + BIG)
        return _core.Download(path, "film.mp4")


class Short(Windows):
    """One that lies in a file which somebody cuts."""

    def send(
        self,
        delivery: _core.Delivery,
        number: int,
        line: _core.Line,
        head: bytes,
        length: int,
        row: tuple[int, int] | None,
    ) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            shutil.copy(FILM, path)
            film = _core.Download(path, "film.mp4")
            os.truncate(path, 10_000)
            delivery.download(number, line, head, film, (0, length), row, None)


HELD: list[int] = []


def hold() -> float:
    """Not yet, twice; at once after that."""
    if len(HELD) < 3:
        HELD.append(1)
        return 0.01
    return 0


async def later(request: Request) -> Answer:
    await trio.sleep(0)
    found = answer(request)
    assert isinstance(found, Answer)
    return found


class Server:
    """Connections in a thread of their own: HTTP on `port`, HTTPS on `tls_port`, and a unix socket."""

    def __init__(
        self, folder: Path, limits: Limits, edge: Edge, limiter: Limiter | None = None
    ) -> None:
        self.meter = meter = _core.Meter(_core.Meter.create(64))
        self.delivery = delivery = _core.Delivery(64 * 1024, 30_000)
        self.ended: list[tuple[str | None, bool]] = []
        self.broken: list[tuple[str | None, str, str | None]] = []
        self.connections = Connections(
            *(answer, delivery, meter, limits, edge, self.end, self.break_off), limiter=limiter
        )
        self.clear = socket.create_server(("127.0.0.1", 0))
        self.tls = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.clear.getsockname()[1]
        self.tls_port: int = self.tls.getsockname()[1]
        self.path = str(folder / "http")
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.path)
        self.unix.listen()
        self.token: trio.lowlevel.TrioToken | None = None

    def end(self, request: Request | None, answer: Answer, whole: bool, _: float) -> None:
        self.ended.append((None if request is None else request.path, whole))

    def break_off(self, request: Request | None, end: str, why: str | None) -> None:
        self.broken.append((None if request is None else request.path, end, why))

    def in_loop(self, do: Callable[[], object]) -> None:
        """Has something done where the connections are, and waits for it."""
        trio.from_thread.run_sync(do, trio_token=self.token)

    def drain(self, patience: float) -> threading.Thread:
        """Returns once it has begun; the thread ends when it is over."""
        self.in_loop(lambda: None)
        thread = threading.Thread(
            target=trio.from_thread.run,
            args=(self.connections.drain, patience),
            kwargs={"trio_token": self.token},
        )
        thread.start()
        return thread

    def connect(self, port: int | None = None) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=30)

    def raw(self, data: bytes, port: int | None = None) -> bytes:
        """What comes back, up to the end of the connection."""
        with self.connect(port) as peer:
            with suppress(ConnectionError):
                peer.sendall(data)
            return rest(peer)


def rest(peer: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while piece := peer.recv(65536):
            data += piece
    return data


@contextmanager
def serving(
    folder: Path,
    limits: Limits | None = None,
    edge: Edge | None = None,
    limiter: Limiter | None = None,
) -> Iterator[Server]:
    server = Server(folder, limits or Limits(), edge or Edge(), limiter)
    started = threading.Event()
    failed: list[BaseException] = []
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            server.token = trio.lowlevel.current_trio_token()
            async with trio.open_nursery() as nursery:
                clear = [server.clear, server.unix]
                await nursery.start(server.connections.run, clear, [server.tls])
                started.set()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(30)
    try:
        yield server
    finally:
        with suppress(trio.RunFinishedError):
            server.in_loop(scope.cancel)
        thread.join(30)
        for listener in (server.clear, server.tls, server.unix):
            listener.close()
    if failed:
        raise failed[0]


def certificate(folder: Path, *names: str) -> Certificate:
    """A certificate that signs itself, as files."""
    stem = folder / (names[0].replace("*", "any") or "none")
    made = Certificate(certificate=f"{stem}.pem", key=f"{stem}.key")
    if not os.path.exists(made.key):
        alternatives = ",".join(f"DNS:{name}" for name in names)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={names[0]}"),
                *("-addext", f"subjectAltName={alternatives}"),
                *("-keyout", made.key, "-out", made.certificate),
            ],
            check=True,
            capture_output=True,
        )
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, ...]:
    folder = tmp_path_factory.mktemp("certificates")
    return certificate(folder, "a.example"), certificate(folder, "b.example", "*.b.example")


@pytest.fixture(scope="session")
def edge(certificates: tuple[Certificate, ...]) -> Edge:
    return Edge(load_tls(certificates, bytes(32)))


@pytest.fixture
def server(tmp_path: Path, edge: Edge) -> Iterator[Server]:
    with serving(tmp_path, edge=edge) as running:
        yield running


def trusting(*certificates: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for each in certificates:
        context.load_verify_locations(each.certificate)
    return context


def over_tls(port: int, context: ssl.SSLContext, name: str, **options: Any) -> ssl.SSLSocket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    return context.wrap_socket(peer, server_hostname=name, **options)


def known(answered: bytes) -> dict[str, Any]:
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    said: dict[str, Any] = json.loads(body)
    return said


def ask(peer: socket.socket, request: bytes = GET) -> bytes:
    """One answer, on a connection that lives on."""
    peer.sendall(request)
    answered = http.client.HTTPResponse(peer)
    answered.begin()
    return answered.read()


# TLS


pytestmark = pytest.mark.needs("openssl")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["a.example", "b.example", "x.b.example"])
def test_tls_shows_the_certificate_that_is_asked_for(
    server: Server, certificates: tuple[Certificate, ...], name: str, version: ssl.TLSVersion
) -> None:
    right = certificates[0 if name == "a.example" else 1]
    context = trusting(right)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with over_tls(server.tls_port, context, name) as peer:
        assert peer.selected_alpn_protocol() == "http/1.1"
        assert json.loads(ask(peer))["secure"] is True
        assert ask(peer, GET.replace(b"/ ", b"/big ")) == BIG


def test_who_speaks_http_1_0_alone_is_served(
    server: Server, certificates: tuple[Certificate, ...]
) -> None:
    context = trusting(*certificates)
    context.set_alpn_protocols(["http/1.0"])
    with over_tls(server.tls_port, context, "a.example") as peer:
        assert peer.selected_alpn_protocol() == "http/1.0"
        peer.sendall(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        assert known(rest(peer))["secure"]


def test_who_is_idle_for_too_long_is_told_the_end(
    tmp_path: Path, certificates: tuple[Certificate, ...], edge: Edge
) -> None:
    """RFC 8446 6.1: without a close_notify, an end may be an attacker's."""
    trust, strict = trusting(*certificates), {"suppress_ragged_eofs": False}
    with (
        serving(tmp_path, edge=edge, limits=Limits(idle=0.05)) as server,
        over_tls(server.tls_port, trust, "a.example", **strict) as peer,
    ):
        ask(peer)
        # Else it is an SSLEOFError.
        assert peer.recv(1) == b""


def test_old_versions_of_tls_are_refused(
    server: Server, certificates: tuple[Certificate, ...]
) -> None:
    # Python's own floor is above them.
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-tls1_1"]
    command += ["-cipher", "ALL@SECLEVEL=0"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert done.returncode != 0 and b" alert " in done.stderr


def test_openssl_finds_nothing_wrong(server: Server, certificates: tuple[Certificate, ...]) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-quiet"]
    command += ["-verify_return_error", "-CAfile", certificates[1].certificate]
    command += ["-servername", "b.example", "-verify_hostname", "b.example"]
    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    assert known(done.stdout)["secure"] is True


def test_a_session_is_resumed(server: Server, certificates: tuple[Certificate, ...]) -> None:
    context = trusting(*certificates)
    with over_tls(server.tls_port, context, "a.example") as peer:
        assert not peer.session_reused
        ask(peer)
        session = peer.session
    with over_tls(server.tls_port, context, "a.example", session=session) as peer:
        assert peer.session_reused
        ask(peer)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HELLO\n", bytes(300)])
def test_whoever_comes_to_the_tls_port_without_tls_is_told(server: Server, data: bytes) -> None:
    answered = server.raw(data, server.tls_port)
    assert answered.startswith(b"HTTP/1.1 400 ") and b"Strict-Transport" not in answered
    if data.startswith(b"GET"):
        assert b"this port speaks HTTPS" in answered and b"Connection: close" in answered


def test_a_handshake_that_goes_wrong_ends_with_an_alert(server: Server) -> None:
    # A record of a handshake with no handshake in it; RFC 8446 5.1: 21 is an alert.
    assert server.raw(b"\x16\x03\x01\x00\x04oops", server.tls_port)[:1] in (b"\x15", b"")
    with server.connect() as peer:
        ask(peer)


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_random_bytes_end_in_an_answer_or_an_end(data: bytes, tls: bool) -> None:
    server = test_random_bytes_end_in_an_answer_or_an_end.server  # type: ignore[attr-defined]
    with server.connect(server.tls_port if tls else server.port) as peer:
        with suppress(ConnectionError):
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        rest(peer)


@pytest.fixture(autouse=True, scope="module")
def _for_hypothesis(tmp_path_factory: pytest.TempPathFactory, edge: Edge) -> Iterator[None]:
    with serving(tmp_path_factory.mktemp("random"), edge=edge) as running:
        test_random_bytes_end_in_an_answer_or_an_end.server = running  # type: ignore[attr-defined]
        yield
        # Whatever they were sent, they serve on.
        assert running.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_a_handshake_has_to_come_in_time(tmp_path: Path, edge: Edge, said: bytes) -> None:
    with serving(tmp_path, Limits(head=0.05), edge) as server:
        assert server.raw(said, server.tls_port) == b""


def test_a_handshake_and_nothing_behind_it_has_to_end_in_time(
    tmp_path: Path, edge: Edge, certificates: tuple[Certificate, ...]
) -> None:
    with serving(tmp_path, Limits(head=0.5), edge) as server:
        context = trusting(*certificates)
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        with over_tls(server.tls_port, context, "a.example") as peer:
            assert rest(peer) == b""


def test_handshakes_leave_half_of_the_time_to_others() -> None:
    handshakes, turns = Handshakes(), dict[int, float]()

    async def come(number: int) -> None:
        await handshakes.turn()
        turns[number] = trio.current_time()

    async def flood() -> None:
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(2000):
                nursery.start_soon(come, number)
                await trio.testing.wait_all_tasks_blocked()
        # A millisecond each, until one was measured; a second's worth goes ahead.
        assert trio.current_time() - begun == pytest.approx(2000 * 0.002 - 1, abs=0.01)

    trio.run(flood, clock=trio.testing.MockClock(autojump_threshold=0))
    assert list(turns) == sorted(turns) and len(turns) == 2000


def test_what_handshakes_cost_is_measured() -> None:
    handshakes = Handshakes()
    for _ in range(64):
        with handshakes.measured():
            pass

    async def flood() -> None:
        for _ in range(2000):
            await handshakes.turn()
        assert trio.current_time() == begun

    clock = trio.testing.MockClock(autojump_threshold=0)
    begun = clock.current_time()
    trio.run(flood, clock=clock)


def test_hsts_is_said_over_tls_and_nowhere_else(
    tmp_path: Path, edge: Edge, certificates: tuple[Certificate, ...]
) -> None:
    with serving(tmp_path, edge=replace(edge, hsts_seconds=3600)) as server:
        line = b"\r\nStrict-Transport-Security: max-age=3600\r\n"
        close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        for port in (server.port, server.tls_port):
            assert line not in server.raw(close, port)
        for request in (close, b"GET / HTTP/1.1\r\n\r\n"):
            with over_tls(server.tls_port, trusting(*certificates), "a.example") as peer:
                peer.sendall(request)
                assert rest(peer).count(line) == 1


def test_certificates_are_replaced_for_those_who_come_later(
    tmp_path: Path, server: Server, certificates: tuple[Certificate, ...]
) -> None:
    context = trusting(*certificates)
    with over_tls(server.tls_port, context, "a.example") as before:
        ask(before)
        new = certificate(tmp_path, "c.example")
        changed = Edge(load_tls((new,), bytes(32)))
        server.in_loop(lambda: setattr(server.connections, "edge", changed))
        with over_tls(server.tls_port, trusting(new), "c.example") as after:
            ask(after)
        # Who was there goes on.
        ask(before)


def test_what_is_wrong_with_certificates_is_said(
    tmp_path: Path, certificates: tuple[Certificate, ...]
) -> None:
    first, second = certificates
    wrong = [
        (Certificate(certificate="/nowhere.pem", key=first.key), "/nowhere.pem: No such file"),
        (Certificate(certificate=first.certificate, key=second.key), "is not that of the first"),
        (Certificate(certificate=first.key, key=first.key), "there is no certificate in it"),
    ]
    for each, said in wrong:
        with pytest.raises(SettingsError) as caught:
            load_tls((each,), bytes(32))
        assert said in str(caught.value) and str(caught.value).startswith("tls.certificates: ")


# The way to HTTPS


def test_who_comes_by_http_is_sent_to_https(
    tmp_path: Path, edge: Edge, certificates: tuple[Certificate, ...]
) -> None:
    with serving(tmp_path, edge=replace(edge, https_port=443, trusted=LOOPBACK)) as server:
        close = b" HTTP/1.1\r\nHost: film.example:80\r\nConnection: close\r\n"
        for method in (b"GET", b"POST"):
            answered = server.raw(method + b" /acme/film/?a=1" + close + b"\r\n")
            assert answered.startswith(b"HTTP/1.1 308 ")
            assert b"\r\nLocation: https://film.example/acme/film/?a=1\r\n" in answered
        # Those whom a proxy has served by HTTPS are where they should be.
        assert known(server.raw(b"GET /" + close + b"X-Forwarded-Proto: https\r\n\r\n"))["secure"]
        token = b"GET /.well-known/acme-challenge/token"
        assert not known(server.raw(token + close + b"\r\n"))["secure"]
        with over_tls(server.tls_port, trusting(*certificates), "a.example") as peer:
            assert json.loads(ask(peer))["secure"]


# Proxies

PROXIED = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 443\r\n"


def test_the_peer_is_the_other_end(server: Server) -> None:
    close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
    assert known(server.raw(close)) == {"peer": "127.0.0.1", "secure": False, "path": "/"}
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(server.path)
        assert json.loads(ask(peer, close))["peer"] == "unix"


def test_the_peer_is_who_the_proxy_says(tmp_path: Path) -> None:
    with serving(tmp_path, edge=Edge(trusted=LOOPBACK)) as server, server.connect() as peer:
        for address in ("198.51.100.7", "2001:db8::7"):
            field = f"\r\nX-Forwarded-For: 1.1.1.1, {address}\r\n\r\n".encode()
            assert json.loads(ask(peer, GET.replace(b"\r\n\r\n", field)))["peer"] == address
        assert json.loads(ask(peer))["peer"] == "127.0.0.1"


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_proxy_protocol_comes_before_http(tmp_path: Path, byte_by_byte: bool) -> None:
    edge = Edge(trusted=LOOPBACK, proxy_protocol=True)
    with serving(tmp_path, edge=edge) as server, server.connect() as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if byte_by_byte:
            for n in range(len(PROXIED)):
                peer.sendall(PROXIED[n : n + 1])
        else:
            assert json.loads(ask(peer, PROXIED + GET))["peer"] == "198.51.100.7"
        assert json.loads(ask(peer))["peer"] == "198.51.100.7"


def test_proxy_protocol_comes_before_tls(
    tmp_path: Path, edge: Edge, certificates: tuple[Certificate, ...]
) -> None:
    with serving(tmp_path, edge=replace(edge, trusted=LOOPBACK, proxy_protocol=True)) as server:
        peer = server.connect(server.tls_port)
        peer.sendall(PROXIED)
        context = trusting(*certificates)
        with context.wrap_socket(peer, server_hostname="a.example") as sealed:
            said = json.loads(ask(sealed))
        assert (said["peer"], said["secure"]) == ("198.51.100.7", True)


@pytest.mark.parametrize("first", [GET, b"PROXY TCP4 1 2 3 4\r\n" + GET, bytes(20)])
def test_nobody_is_served_without_proxy_protocol(tmp_path: Path, first: bytes) -> None:
    with serving(tmp_path, edge=Edge(trusted=LOOPBACK, proxy_protocol=True)) as server:
        assert server.raw(first) == b""


def test_proxy_protocol_is_no_matter_for_those_who_are_not_trusted(tmp_path: Path) -> None:
    others = (Network("192.0.2.0/24"),)
    with serving(tmp_path, edge=Edge(trusted=others, proxy_protocol=True)) as server:
        assert server.raw(PROXIED + GET) == b""
    with serving(tmp_path / "..", edge=Edge(trusted=LOOPBACK)) as server:
        assert server.raw(PROXIED + GET).startswith(b"HTTP/1.1 400 ")


def test_proxy_protocol_has_to_come_in_time(tmp_path: Path) -> None:
    edge = Edge(trusted=LOOPBACK, proxy_protocol=True)
    with serving(tmp_path, Limits(head=0.05), edge) as server:
        assert server.raw(PROXIED[:-1]) == b""


# Limits


def test_what_the_kernel_holds_for_one_who_takes_nothing_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, Limits(stall=0.2)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        close = b"/some HTTP/1.1\r\nConnection: close\r\n"
        peer.sendall(GET.replace(b"/ HTTP/1.1\r\n", close))
        until(lambda: server.ended == [("/some", True)])
        ends = f":{server.port:04X} 0100007F:{peer.getsockname()[1]:04X} "
        assert ends in Path("/proc/net/tcp").read_text()
        until(lambda: ends not in Path("/proc/net/tcp").read_text(), 30)


def test_an_address_is_one_whatever_interface_it_is_reached_by() -> None:
    assert address_of(("fe80::1%eth0", 1, 0, 2)) == "fe80::1"
    assert address_of(("::ffff:192.0.2.7", 1, 0, 0)) == "192.0.2.7"


def test_limits_reach_the_protocol(tmp_path: Path) -> None:
    small = protocol.Limits(request_line=300, headers=400, header_count=3, body=5, pipelined=2)
    with serving(tmp_path, Limits(request=small)) as server:
        for request, status in (
            (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 400 + b"\r\n\r\n", b"431"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: a\r\nB: b\r\nC: c\r\n\r\n", b"431"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n", b"413"),
        ):
            assert server.raw(request).startswith(b"HTTP/1.1 " + status)
        close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert server.raw(GET * 5 + close).count(b"HTTP/1.1 200 ") == 6


def test_a_flood_beyond_the_limit_takes_its_turns_like_everybody(tmp_path: Path) -> None:
    with serving(tmp_path, Limits(connections=1)) as server, server.connect() as inside:
        ask(inside)
        with ExitStack() as flood:

            async def watch() -> list[int]:
                """How many of a flood are turned away from one turn of the loop to the next."""
                many = [flood.enter_context(server.connect()) for _ in range(100)]
                turns = []
                while many:
                    await trio.lowlevel.checkpoint()
                    ended = set(select.select(many, [], [], 0)[0])
                    turns.append(len(ended))
                    many = [peer for peer in many if peer not in ended]
                return turns

            turns = trio.from_thread.run(watch, trio_token=server.token)
        # Once after this task in a turn, and before it in the next.
        assert sum(turns) == 100 and max(turns) <= 2 * 16
        ask(inside)


@pytest.mark.parametrize("tls", [False, True])
def test_who_reads_nothing_of_an_answer_from_memory_has_no_copy_of_it(
    server: Server, certificates: tuple[Certificate, ...], tls: bool
) -> None:
    count = 20
    context = trusting(*certificates)
    with ExitStack() as stack:
        before = resident()
        for _ in range(count):
            peer = over_tls(server.tls_port, context, "a.example") if tls else server.connect()
            stack.enter_context(peer).sendall(GET.replace(b"/ ", b"/big "))
        until(lambda: server.delivery.counters()[0] == count)
        # Two windows, and what TLS has for a connection at both ends, which are in this process.
        assert resident() - before < count * 512 * 1024
        # Whoever goes on reading gets all of it.
        with peer.makefile("rb") as file:
            head = iter(file.readline, b"\r\n")
            assert len(list(head)) > 1 and file.read(len(BIG)) == BIG


def test_the_kernel_holds_less_for_each_where_many_are_there(tmp_path: Path) -> None:
    few, many, newcomer = 3 * 2**20, 256 * 1024, 48 * 1024
    long = GET.replace(b"/ ", b"/big ")
    with serving(tmp_path) as server, ExitStack() as stack:
        early = [stack.enter_context(narrow(server.port)) for _ in range(2)]
        # Who has read nothing yet may be one who never does; a head alone says no more.
        stranger = stack.enter_context(narrow(server.port))
        stranger.sendall(long.replace(b"GET", b"HEAD"))
        stranger.recv(1 << 16)
        assert 0 < held_for(server, stranger) < newcomer
        for peer in early:
            assert ask(peer, long) == BIG
        assert few / 4 < held_for(server, early[0]) < few
        for _ in range(256):
            ask(stack.enter_context(server.connect()))
        # Also whoever came when they were few.
        assert held_for(server, early[1]) < many
        late = stack.enter_context(narrow(server.port))
        assert ask(late, long) == BIG
        assert newcomer < held_for(server, late) < many


def narrow(port: int) -> socket.socket:
    """A peer that has little room for what it does not read."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    return peer


def held_for(server: Server, peer: socket.socket) -> int:
    """Bytes that the server's kernel holds for a peer that reads nothing of a long answer (tcp(7))."""
    peer.sendall(GET.replace(b"/ ", b"/big "))
    seen: list[int] = []

    def settled() -> bool:
        """It takes no more for a hundred looks."""
        seen.append(queue(server.port, peer.getsockname()[1]))
        return seen[-1] > 0 and len(seen) > 100 and len(set(seen[-100:])) == 1

    until(settled)
    return seen[-1]


def queue(local: int, remote: int) -> int:
    """Bytes that a socket of these ports has taken, and its peer has not acknowledged."""
    ends = re.compile(rf": \w+:{local:04X} \w+:{remote:04X} 01 (\w+):")
    tables = "".join(Path("/proc/net", name).read_text() for name in ("tcp", "tcp6"))
    # Others come and go meanwhile, so that the tables may show a line twice, or not.
    return max((int(found, 16) for found in ends.findall(tables)), default=0)


def resident() -> int:
    """Bytes of this process that are in memory and its own."""
    with open("/proc/self/status", "rb") as status:
        (found,) = (line for line in status if line.startswith(b"RssAnon:"))
    return int(found.split()[1]) * 1024


def test_it_is_told_why_an_answer_did_not_go_out_whole(server: Server) -> None:
    server.raw(GET.replace(b"/ ", b"/short "))
    with server.connect() as peer:
        peer.sendall(GET.replace(b"/ ", b"/windows "))
        assert peer.recv(1)
    until(lambda: len(server.broken) == 2)
    (first, second) = server.broken
    assert first[:2] == ("/short", "failed")
    assert first[2] is not None and "it shrank while it was read" in first[2]
    assert second == ("/windows", "gone", None)
    assert [whole for _, whole in server.ended[-2:]] == [False, False]


def test_no_more_connections_than_are_allowed(tmp_path: Path) -> None:
    with serving(tmp_path, Limits(connections=1)) as server, server.connect() as peer:
        ask(peer)
        assert server.raw(GET) == b""
        ask(peer)


def test_a_bug_costs_its_own_request_alone(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    log.setup("json")
    with server.connect() as peer, server.connect() as other:
        ask(other)
        said = ask(peer, GET.replace(b"/ ", b"/bug?grant=canary "))
        assert said == b"the server has a bug, which its log tells of\n"
        assert json.loads(ask(peer)) == json.loads(ask(other))
    (event,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (event["event"], event["error"]) == ("bug", "LookupError")
    assert event["at"][-1].startswith("test_connections.py:")
    assert "canary" not in str(event)


def test_an_answer_that_cannot_be_sent_costs_its_own_connection_alone(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    log.setup("json")
    with server.connect() as other:
        before = ask(other)
        assert server.raw(GET.replace(b"/ ", b"/bad-head ")) == b""
        assert ask(other) == before
    (event,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (event["event"], event["error"]) == ("bug", "ValueError")


# Whoever is no good costs nobody else anything


def test_a_reset_behind_the_last_request_costs_nobody_else(server: Server) -> None:
    last = GET.replace(b"/ ", b"/big ").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with server.connect() as other:
        before = ask(other)
        for taken in (0, 1, 10_000, 1_000_000, 5_000_000, len(BIG) - 1, len(BIG)):
            with server.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sendall(last + b"and what is never read")
                got = 0
                while got < taken:
                    got += len(peer.recv(65536))
            assert ask(other) == before


def test_who_asks_without_end_holds_up_nobody(server: Server) -> None:
    stop = threading.Event()

    def ask_on(peer: socket.socket) -> None:
        with suppress(OSError):
            while not stop.is_set():
                peer.sendall(GET * 400)

    def read_on(peer: socket.socket) -> None:
        with suppress(OSError):
            while peer.recv(1 << 20):
                pass

    with server.connect() as greedy:
        threads = [threading.Thread(target=each, args=(greedy,)) for each in (ask_on, read_on)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            with server.connect() as other:
                assert json.loads(ask(other))["path"] == "/"
        assert len(server.ended) > 1000
        stop.set()
        greedy.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(30)


def test_what_is_asked_for_meanwhile_is_answered_in_order(server: Server) -> None:
    HELD.clear()
    paths = ["/a", "/later/b", "/c", "/held", "/d", "/later/big", "/e"]
    asked = b"".join(GET.replace(b"/ ", f"{path} ".encode()) for path in paths)
    with server.connect() as peer, peer.makefile("rb") as file:
        peer.sendall(asked)
        answers = []
        for _ in paths:
            length = 0
            while (line := file.readline()) != b"\r\n":
                if line.startswith(b"Content-Length"):
                    length = int(line.split()[1])
            answers.append(file.read(length))
    said = [json.loads(each)["path"] if each[:1] == b"{" else len(each) for each in answers]
    assert said == ["/a", "/b", "/c", 4, "/d", len(BIG), "/e"]
    assert len(HELD) == 3
    assert server.ended == [(path, True) for path in paths]


def test_100_comes_once_and_before_the_body(server: Server) -> None:
    head = GET.replace(b"GET", b"POST").replace(
        b"\r\n\r\n", b"\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    )
    with server.connect() as peer:
        ask(peer)
        peer.sendall(GET + head)
        said = b""
        while not said.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            said += (piece := peer.recv(65536))
            assert piece
        peer.sendall(b"abc" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        said += rest(peer)
    assert said.count(b"HTTP/1.1 100") == 1 and said.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"\x16"])
def test_who_leaves_in_the_middle_of_a_record_is_gone_at_once(server: Server, sent: bytes) -> None:
    gate = threading.Event()
    # Both are there before the server looks.
    thread = threading.Thread(target=server.in_loop, args=(gate.wait,))
    thread.start()
    with server.connect(server.tls_port) as peer:
        peer.settimeout(5)
        peer.sendall(sent)
        peer.shutdown(socket.SHUT_WR)
        gate.set()
        thread.join()
        assert rest(peer) == b""


def test_what_a_socket_does_not_take_at_once_is_sent_over_tls(
    server: Server, certificates: tuple[Certificate, ...]
) -> None:
    with over_tls(server.tls_port, trusting(*certificates), "a.example") as peer:
        assert ask(peer, GET.replace(b"/ ", b"/big ")) == BIG
        assert ask(peer, GET.replace(b"/ ", b"/later/big ")) == BIG


def test_what_is_sealed_window_by_window_arrives_and_is_booked_as_it_is(
    server: Server, certificates: tuple[Certificate, ...]
) -> None:
    with over_tls(server.tls_port, trusting(*certificates), "a.example") as peer:
        for _ in range(3):
            assert ask(peer, GET.replace(b"/ ", b"/windows ")) == BIG
        ask(peer)
    ((_, _, requests, sent, _),) = _core.Reading().changes(server.meter)
    assert requests == 3
    assert 3 * len(BIG) < sent < 3 * (len(BIG) + 200)


# The end


def test_a_patient_end_lets_everybody_ask_once_more(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with server.connect() as peer:
            ask(peer)
            ended = server.drain(60)
            while not server.connections._draining:
                pause()
            peer.sendall(GET)
            assert b"\r\nConnection: close\r\n" in rest(peer)
            ended.join(30)
            assert not ended.is_alive()
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_an_end_lets_what_is_under_way_go_out(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as busy,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as idle,
    ):
        ask(idle)
        busy.sendall(GET.replace(b"/ ", b"/big "))
        first = busy.recv(1000)
        ended = server.drain(0)
        assert rest(idle) == b""
        got = first + rest(busy)
        assert got.partition(b"\r\n\r\n")[2] == BIG
        ended.join(30)
        assert not ended.is_alive()
