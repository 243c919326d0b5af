"""A thousand HTTP clients in one thread: generators on one epoll, and connections for them.

Theory. What measures a server must cost much less than the server does, so this is no general
client. A task is a generator: it yields a number to sleep until that time, or `READY` to sleep until
something happened at its connection. Each socket is registered once and edge-triggered (epoll(7)),
so a request costs one `send`, one `recv` and a share of an `epoll_wait`. As edges that nobody waits
for are forgotten, a task reads or writes until the kernel says EAGAIN, and only then yields.

Bodies that nobody looks at are thrown away in the kernel: with MSG_TRUNC a TCP socket counts bytes
and copies none (tcp(7)). Over TLS they have to be decrypted, by the `ssl` module.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import resource
import select
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

READY: Final = -1.0
"""What a task yields to wait for its connection."""

T = TypeVar("T")
Task: TypeAlias = Generator[float, None, T]

clock = time.monotonic

_HEAD_BYTES = 32 * 1024
_DISCARD_BYTES = 1024 * 1024
_LEAST_PACE_SECONDS = 0.05
_MOST_CREDIT = 4
# TCP_ESTABLISHED (net/tcp_states.h), with which struct tcp_info begins.
_ESTABLISHED = b"\x01"
_MASK = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
# Nothing here survives the next receive, so all connections use the same two.
_head = bytearray(_HEAD_BYTES)
_discarded = bytearray(_DISCARD_BYTES)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n")
_LOCATION = re.compile(rb"\r\nlocation: *([^\r\n]*)\r\n", re.IGNORECASE)


class Broken(Exception):
    """A connection ended, or what came is no HTTP; the text is a kind of error to be counted."""


class Loop:
    """Runs tasks until all have ended, or some seconds after `ending` became true."""

    def __init__(self) -> None:
        self.ending = False
        self._epoll = select.epoll()
        self._waiting: dict[int, Task[None]] = {}
        self._asleep: list[tuple[float, int, Task[None]]] = []
        self._tasks = 0
        self._numbers = iter(range(2**62))
        self._current = -1

    def start(self, task: Task[None]) -> None:
        self._tasks += 1
        heapq.heappush(self._asleep, (clock(), next(self._numbers), task))

    def register(self, connection: Connection) -> None:
        self._epoll.register(connection.fileno(), _MASK)

    def wait_for(self, connection: Connection) -> Iterator[float]:
        """`yield from` it to sleep until something happens there."""
        self._current = connection.fileno()
        yield READY

    def run(self, seconds: float, grace: float) -> int:
        """For so long, then until tasks have ended as `ending` asks them to, `grace` at most.
        Returns how many had not."""
        end = clock() + seconds
        while self._tasks:
            now = clock()
            if now >= end:
                if self.ending:
                    break
                self.ending = True
                end = now + grace
                # Nobody waits for a time that would come after the end.
                self._asleep = [(now, number, task) for _, number, task in self._asleep]
                heapq.heapify(self._asleep)
            until = min(end, self._asleep[0][0]) if self._asleep else end
            # epoll_wait(2) takes milliseconds: rounded up, or it would spin through the last one.
            for fd, _ in self._epoll.poll(max(0.0, until - now + 0.0005), 1024):
                task = self._waiting.pop(fd, None)
                if task is not None:
                    self._step(task)
            now = clock()
            while self._asleep and self._asleep[0][0] <= now:
                self._step(heapq.heappop(self._asleep)[2])
        left = self._tasks
        for _, _, task in self._asleep:
            task.close()
        for task in self._waiting.values():
            task.close()
        self._epoll.close()
        return left

    def _step(self, task: Task[None]) -> None:
        try:
            wanted = next(task)
        except StopIteration:
            self._tasks -= 1
            return
        if wanted == READY:
            self._waiting[self._current] = task
        else:
            heapq.heappush(self._asleep, (wanted, next(self._numbers), task))


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and what to call that in Host and SNI."""

    host: str
    port: int
    secure: bool

    @staticmethod
    def of(parts: SplitResult) -> Target:
        secure = parts.scheme == "https"
        return Target(parts.hostname or "", parts.port or (443 if secure else 80), secure)


@dataclass(slots=True)
class Response:
    """What came. `size`: bytes, head and all; `sent`, `first`, `whole`: when the request went out,
    and the response's first and last byte came. `body` is None where it was not kept."""

    status: int
    size: int
    length: int
    sent: float
    first: float
    whole: float
    body: bytes | None
    location: str | None


class Connection:
    """One connection of a viewer, opened when it is first used, and anew where it was ended.

    `buffer` is SO_RCVBUF, the kernel's default where it is 0. `source`: the address that it comes from,
    which has to be this machine's; empty: whichever the kernel chooses. `received` counts bytes of responses.
    """

    __slots__ = ("_buffer", "_loop", "_socket", "_source", "_target", "_tls", "received", "session")

    def __init__(
        self,
        loop: Loop,
        target: Target,
        tls: ssl.SSLContext | None,
        buffer: int = 0,
        source: str = "",
    ) -> None:
        self._loop = loop
        self._target = target
        self._tls = tls
        self._buffer = buffer
        self._source = source
        self._socket: socket.socket | None = None
        self.session: ssl.SSLSession | None = None
        self.received = 0

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def reopen_if_ended(self) -> None:
        """To be called before a request that comes after a pause: servers end idle connections."""
        one = self._socket
        if one is None:
            return
        try:
            # SSLSocket's own method does not peek.
            ended = not socket.socket.recv(one, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self.close()

    @property
    def stands(self) -> bool:
        """Whether neither end has ended it, whatever is left to be read."""
        one = self._socket
        return (
            one is not None
            and one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED
        )

    @property
    def cipher(self) -> str:
        """TLS version and cipher suite, or "" without TLS."""
        one = self._socket
        if not isinstance(one, ssl.SSLSocket):
            return ""
        suite = one.cipher()
        return f"{one.version()} {suite[0] if suite else ''}"

    @property
    def resumed(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and bool(self._socket.session_reused)

    def keep_session(self) -> None:
        """Takes the ticket that came with what was read, for the next connection (RFC 8446 2.2)."""
        if isinstance(self._socket, ssl.SSLSocket):
            self.session = self._socket.session

    def open(self) -> Task[None]:
        """Connects and shakes hands; raises `Broken`."""
        target = self._target
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket = made
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        try:
            if self._source:
                made.bind((self._source, 0))
            with contextlib.suppress(BlockingIOError):
                made.connect((target.host, target.port))
            self._loop.register(self)
            yield from self._loop.wait_for(self)
            failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise Broken("not connected")
            if target.secure:
                yield from self._shake_hands(made)
        except OSError:
            self.close()
            raise Broken("not connected") from None
        except Broken:
            self.close()
            raise

    def _shake_hands(self, plain: socket.socket) -> Task[None]:
        assert self._tls is not None
        sealed = self._tls.wrap_socket(
            plain,
            do_handshake_on_connect=False,
            server_hostname=self._target.host,
            session=self.session,
        )
        # The same descriptor, so epoll knows it.
        self._socket = sealed
        while True:
            try:
                sealed.do_handshake()
                return
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                yield from self._loop.wait_for(self)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fetch(
        self,
        request: bytes,
        *,
        keep: bool = False,
        takes: float = 0.0,
        stall_at: int | None = None,
    ) -> Task[Response]:
        """Sends a request and takes the response, which has to have a Content-Length.

        `keep` the body, or throw it away, so that it `takes` so many seconds. `stall_at`: bytes
        of the body after which nothing more is read until the loop is ending. Raises `Broken`.
        """
        try:
            if self._socket is None:
                yield from self.open()
            return (yield from self._exchange(request, keep, takes, stall_at))
        except OSError:
            self.close()
            raise Broken("reset") from None
        except Broken:
            self.close()
            raise

    def _exchange(
        self, request: bytes, keep: bool, takes: float, stall_at: int | None
    ) -> Task[Response]:
        one = self._socket
        assert one is not None
        sent = clock()
        yield from self._send(one, request)
        head, have, first = yield from self._receive_head(one)
        status, length, location = _read_head(head)
        body = None
        taken = have - len(head)
        if taken > length:
            raise Broken("longer than its Content-Length")
        if keep:
            body = bytes(_head[len(head) : have])
            while len(body) < length:
                count = yield from self._receive(one, _head, min(length - len(body), _HEAD_BYTES))
                body += _head[:count]
        elif taken < length:
            yield from self._discard(one, length - taken, length, takes, stall_at)
        return Response(status, len(head) + length, length, sent, first, clock(), body, location)

    def send(self, data: bytes) -> Task[None]:
        """Sends it, and waits for no answer. Raises `Broken`."""
        try:
            if self._socket is None:
                yield from self.open()
            assert self._socket is not None
            yield from self._send(self._socket, data)
        except OSError:
            self.close()
            raise Broken("reset") from None

    def _send(self, one: socket.socket, data: bytes) -> Task[None]:
        at = 0
        while at < len(data):
            try:
                at += one.send(data[at:] if at else data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                yield from self._loop.wait_for(self)

    def _receive_head(self, one: socket.socket) -> Generator[float, None, tuple[bytes, int, float]]:
        """A head, bytes in `_head`, and when the first one came."""
        yield from self._loop.wait_for(self)
        have = yield from self._receive(one, _head, _HEAD_BYTES)
        first = clock()
        while True:
            end = _head.find(b"\r\n\r\n", 0, have)
            if end >= 0:
                return bytes(_head[: end + 4]), have, first
            # Another connection may use the buffer meanwhile.
            begun = bytes(_head[:have])
            if have == _HEAD_BYTES:
                raise Broken("no end of the head")
            rest = bytearray(_HEAD_BYTES - have)
            count = yield from self._receive(one, rest, len(rest))
            _head[: have + count] = begun + rest[:count]
            have += count

    def _receive(self, one: socket.socket, into: bytearray, most: int) -> Task[int]:
        while True:
            try:
                count = one.recv_into(into, most)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield from self._loop.wait_for(self)
                continue
            if not count:
                raise Broken("cut off")
            self.received += count
            return count

    def _take(self, one: socket.socket, most: int) -> int:
        """Throws away what is there, `most` bytes at most; 0 where nothing is."""
        flags = 0 if self._target.secure else socket.MSG_TRUNC
        taken = 0
        while taken < most:
            try:
                count = one.recv_into(_discarded, min(most - taken, _DISCARD_BYTES), flags)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            if not count:
                raise Broken("cut off")
            taken += count
        self.received += taken
        return taken

    def _discard(
        self, one: socket.socket, left: int, length: int, takes: float, stall_at: int | None
    ) -> Task[None]:
        """Throws a body away at its pace.

        Capacity that a slow server leaves unused is lost, as on a viewer's line: of the time since
        the last read no more counts than a few steps.
        """
        loop = self._loop
        rate = length / takes if takes else 0.0
        step = _LEAST_PACE_SECONDS
        if rate and self._buffer:
            # Half a buffer a step, or the window would close before.
            step = min(step, self._buffer / 2 / rate)
        last = clock() - step
        while left:
            if stall_at is not None and length - left >= stall_at:
                while not loop.ending:
                    yield float("inf")
            if not rate or loop.ending:
                taken = self._take(one, left)
                left -= taken
                if left and not taken:
                    yield from loop.wait_for(self)
                continue
            now = clock()
            left -= self._take(one, min(left, int(rate * min(now - last, _MOST_CREDIT * step)) + 1))
            last = now
            if left:
                yield now + min(step, left / rate)


def _read_head(head: bytes) -> tuple[int, int, str | None]:
    """Status, Content-Length and Location."""
    if not head.startswith(b"HTTP/1.1 "):
        raise Broken("no HTTP")
    status = int(head[9:12])
    found = _LENGTH.search(head.lower())
    length = int(found[1]) if found else 0
    if found is None and status == 200:
        raise Broken("no Content-Length")
    location = _LOCATION.search(head)
    return status, length, location[1].decode("ascii") if location else None


def trusting() -> ssl.SSLContext:
    """TLS without a look at who is at the other end: the measured server is our own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def request(url: str, fields: bytes, body: bytes | None = None) -> bytes:
    """A GET, or with a body, which is JSON, a POST."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if body is not None:
        fields += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n%b" % (
        b"GET" if body is None else b"POST",
        target.encode("ascii"),
        parts.netloc.encode("ascii"),
        fields,
        body or b"",
    )


def raise_descriptor_limit() -> None:
    """As many connections as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
