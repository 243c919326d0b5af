"""Connections: accepted, read, answered in order, ended in time.

A connection is one task: it reads, has the protocol parse, and answers request after request. What
is small goes out at once; bodies that are made, or do not fit the socket, are handed to the thread
of `_core.Delivery`, and the task sleeps until it hears how that ended. Time-outs of all connections
are watched by one sweeper, so that a read costs no timer.

What comes before the first request is read from the socket itself: PROXY protocol, and the byte by
which TLS is told from everything else (RFC 8446 5.1). All of that, the handshake and the first head
have to come within one time limit.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count

import outcome
import trio

from pystream import _core
from pystream.server import http, log
from pystream.server.answers import Answer, Due, failure, overdue
from pystream.server.edge import Edge, address_of
from pystream.server.http import HttpError, Request
from pystream.server.proxy_protocol import ProxyHeader, ProxyProtocolError

_SWEEP_SECONDS = 1.0
_LINGER_SECONDS = 2.0
# Accepted in a row: those who are here already shall not wait for all who come.
_ACCEPTED_AT_ONCE = 64
_CLOSE = (("Connection", "close"),)
# RFC 8446 5.1: the content type of a record that begins a handshake.
_HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless a name says otherwise. `request` has those of what is read."""

    head: float = 10
    body: float = 10
    idle: float = 60
    connections: int = 20_000
    request: http.Limits = field(default_factory=http.Limits)


class Connections:
    """One process's connections. What goes wrong is an answer of `answer`'s, too; what it raises is
    a bug, and answered with 500.

    `limits` and `edge` may be replaced at any time, for connections that come afterwards.
    `ended` is told each request (None where it could not be read), its answer, whether that went
    out whole, and after how many seconds. `handshakes` counts those of TLS that went well.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        delivery: _core.Delivery,
        meter: _core.Meter,
        limits: Limits = Limits(),
        edge: Edge | None = None,
        ended: Callable[[Request | None, Answer, bool, float], None] = lambda *_: None,
    ) -> None:
        self.limits = limits
        self.edge = edge or Edge()
        self._answer = answer
        self._delivery = delivery
        self._meter = meter
        self._ended = ended
        self.handshakes = 0
        self._ids = count()
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._connections: set[_Connection] = set()
        self._date = b""
        self._draining = False
        self._idle_until = float("inf")
        self._accepting = trio.CancelScope()
        self._emptied = trio.Event()

    async def run(
        self,
        listeners: Sequence[socket.socket],
        tls_listeners: Sequence[socket.socket] = (),
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled."""
        self._tick()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dispatch)
            nursery.start_soon(self._sweep)
            task_status.started()
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener, False, nursery)
                    for listener in tls_listeners:
                        accepting.start_soon(self._accept, listener, True, nursery)
            if not self._connections:
                self._emptied.set()

    @property
    def count(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    async def drain(self, patience: float = 0) -> None:
        """Accepts nobody more, lets answers that are under way go out whole, and returns when all
        connections are closed.

        For `patience` seconds, connections on which nothing is under way may bring one more request,
        whose answer then says that it is the last: a viewer notices nothing of it.
        """
        self._draining = True
        self._accepting.cancel()
        self._idle_until = trio.current_time() + patience
        for connection in list(self._connections):
            if connection.waiting == "idle":
                connection.deadline = min(connection.deadline, self._idle_until)
                if patience <= 0:
                    connection.scope.cancel()
        await self._emptied.wait()

    async def _accept(self, listener: socket.socket, tls: bool, nursery: trio.Nursery) -> None:
        listener.setblocking(False)
        accepted = 0
        with listener:
            while True:
                try:
                    peer, address = listener.accept()
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(listener)
                    continue
                except OSError as error:
                    # Out of descriptors, for one: those who are here go on; the others wait in the
                    # kernel.
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        await trio.sleep(0.1)
                    continue
                if len(self._connections) >= self.limits.connections:
                    peer.close()
                    continue
                peer.setblocking(False)
                if peer.family != socket.AF_UNIX:
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 128 * 1024)
                connection = _Connection(peer, address_of(address), self.edge, self.limits)
                self._connections.add(connection)
                nursery.start_soon(self._serve, connection, tls)
                accepted += 1
                if accepted % _ACCEPTED_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()

    async def _sweep(self) -> None:
        """Ends connections that keep one waiting for too long, and keeps the date."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            self._tick()
            now = trio.current_time()
            for connection in list(self._connections):
                if connection.deadline < now:
                    connection.scope.cancel()
                if connection.line is not None:
                    self._settle(connection, connection.line)

    def _settle(self, connection: _Connection, line: _core.Line) -> None:
        """Books what the peer has acknowledged: whoever is killed has only a second unbooked."""
        if not connection.waiting:
            line.settle()
        elif not connection.settled:
            connection.settled = line.settle()

    def _tick(self) -> None:
        self._date = f"Date: {formatdate(usegmt=True)}\r\n\r\n".encode()

    # Bodies.

    async def _dispatch(self) -> None:
        """Wakes the tasks whose answers have ended."""
        while True:
            await trio.lowlevel.wait_readable(self._delivery)
            for number, end, reason in self._delivery.outcomes():
                task = self._waiting.pop(number, None)
                if task is not None:
                    trio.lowlevel.reschedule(task, outcome.Value((end, reason)))

    async def _delivered(self, number: int) -> tuple[str, str | None]:
        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[number]
            self._delivery.cancel(number)
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting[number] = trio.lowlevel.current_task()
        ended: tuple[str, str | None] = await trio.lowlevel.wait_task_rescheduled(abort)
        return ended

    # Connections.

    async def _serve(self, connection: _Connection, tls: bool) -> None:
        whole = True
        try:
            with connection.scope, contextlib.suppress(OSError, ProxyProtocolError):
                connection.deadline = trio.current_time() + connection.limits.head
                connection.line = await self._welcome(connection, tls)
                whole = await self._converse(connection, connection.line)
        finally:
            self._connections.discard(connection)
            if self._draining and not self._connections:
                self._emptied.set()
            connection.close(not whole)

    async def _welcome(self, connection: _Connection, tls: bool) -> _core.Line:
        """Reads what comes before HTTP. Raises `OSError` and `ProxyProtocolError`."""
        edge, peer = connection.edge, connection.socket
        if edge.proxy_protocol:
            if not edge.trusts(connection.address):
                raise ProxyProtocolError("nobody but a proxy is served here")
            header = ProxyHeader()
            while not header.complete:
                # The bytes behind the header are left to whoever they are for.
                peer.recv(header.feed(await _peek(peer, 4096)))
            connection.address = header.source or connection.address
        if not tls or edge.tls is None:
            return _core.Line(peer.detach(), self._meter)
        connection.secure = await _peek(peer, 1) == _HANDSHAKE
        # Whoever comes without TLS is told so, in words.
        connection.lost = not connection.secure
        if edge.hsts_seconds and connection.secure:
            # RFC 6797 7.2: never without TLS.
            connection.hsts = f"Strict-Transport-Security: max-age={edge.hsts_seconds}\r\n".encode()
        return _core.Line(peer.detach(), self._meter, edge.tls if connection.secure else None)

    async def _converse(self, connection: _Connection, line: _core.Line) -> bool:
        """Answers requests until one side has enough; whether the last answer went out whole."""
        protocol = http.Protocol(connection.limits.request)
        while True:
            data = b"" if protocol.more else line.receive()
            if data is None:
                await trio.lowlevel.wait_readable(line)
                continue
            if not data and not protocol.more:
                return True
            if connection.secure and not connection.greeted:
                connection.greeted = True
                self.handshakes += 1
            try:
                requests = protocol.feed(data)
            except HttpError as error:
                await self._respond(connection, line, None, failure(error), False)
                await self._linger(connection, line)
                return True
            for request in requests:
                connection.deadline = float("inf")
                connection.waiting = ""
                begun = time.perf_counter()
                answer = self._turned_away(connection, request) or await self._asked(request)
                if answer.due is not None:
                    held = await self._when_due(line, answer, answer.due)
                    if held is None:
                        return True
                    answer = held
                keep_alive = request.keep_alive and not (self._draining or connection.lost)
                if not await self._respond(connection, line, request, answer, keep_alive, begun):
                    return False
                if not keep_alive:
                    await self._linger(connection, line)
                    return True
            if protocol.expects_continue:
                line.respond(http.CONTINUE, b"", None)
            self._set_deadline(connection, protocol.waiting)

    async def _asked(self, request: Request) -> Answer:
        """What went wrong unforeseen costs this request, and no other viewer."""
        try:
            return await self._answer(request)
        except (trio.Cancelled, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # Not Exception: a panic of the core is none (PyO3's PanicException).
            log.error("bug", kind=request.kind, **log.fault(error))
            return failure(HttpError(500, "the server has a bug, which its log tells of"))

    def _turned_away(self, connection: _Connection, request: Request) -> Answer | None:
        """The answer to a request that has come by the wrong way; None where it is right, and
        knows then who sent it."""
        edge = connection.edge
        try:
            edge.locate(request, connection.address, connection.secure)
            if connection.lost:
                raise HttpError(
                    400, "this port speaks HTTPS: the address has to begin with https://"
                )
            if (place := edge.redirection(request)) is not None:
                raise HttpError(308, "this is served by HTTPS", (("Location", place),))
        except HttpError as error:
            return failure(error)
        return None

    async def _when_due(self, line: _core.Line, answer: Answer, due: Due) -> Answer | None:
        """The answer when its time has come, or another one where that is too far away; None where
        the peer does not wait for it."""
        end = trio.current_time() + due.patience
        while wait := due.ask():
            now = trio.current_time()
            if now >= end:
                return overdue(wait)
            if await self._is_gone_within(line, min(wait, end - now)):
                return None
        return answer

    async def _is_gone_within(self, line: _core.Line, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            while True:
                await trio.lowlevel.wait_readable(line)
                if line.is_gone():
                    return True
                # It has sent its next request, which has to wait.
                await trio.sleep(_SWEEP_SECONDS)
        return False

    def _set_deadline(self, connection: _Connection, waiting: str) -> None:
        """A head or a body has to be whole in time, however its bytes trickle in."""
        if waiting != connection.waiting or waiting == "idle":
            connection.waiting = waiting
            limits = connection.limits
            seconds = {"idle": limits.idle, "head": limits.head, "body": limits.body}[waiting]
            connection.deadline = trio.current_time() + seconds
            if waiting == "idle":
                connection.deadline = min(connection.deadline, self._idle_until)

    async def _linger(self, connection: _Connection, line: _core.Line) -> None:
        """Waits until the peer has what was sent: closing at once could take it away (RFC 9112 9.6)."""
        line.shut()
        connection.deadline = trio.current_time() + _LINGER_SECONDS
        while True:
            data = line.receive(True)
            if data is None:
                await trio.lowlevel.wait_readable(line)
            elif not data:
                return

    async def _respond(
        self,
        connection: _Connection,
        line: _core.Line,
        request: Request | None,
        answer: Answer,
        keep_alive: bool,
        begun: float | None = None,
    ) -> bool:
        """Sends an answer and tells of it; whether it went out whole."""
        whole = False
        try:
            method = "GET" if request is None else request.method
            whole = await self._send(connection, line, answer, method, keep_alive)
        finally:
            now = time.perf_counter()
            self._ended(request, answer, whole, now - (begun or now))
            connection.settled = False
        return whole

    async def _send(
        self,
        connection: _Connection,
        line: _core.Line,
        answer: Answer,
        method: str,
        keep_alive: bool,
    ) -> bool:
        """Sends an answer; whether it went out whole."""
        status, headers, body, length, _, row, _ = answer
        head = http.head(status, [*headers, *(() if keep_alive else _CLOSE)])
        head = head[:-2] + connection.hsts + self._date
        number = next(self._ids)
        connection.deadline = float("inf")
        if method == "HEAD" or not length:
            rest = line.respond(head, b"", row)
        elif isinstance(body, bytes):
            rest = line.respond(head, body, row)
        else:
            body.send(self._delivery, number, line, head, length, row)
            return (await self._delivered(number))[0] == "handed"
        if rest is None:
            return True
        self._delivery.rest(number, line, rest)
        return (await self._delivered(number))[0] == "handed"


class _Connection:
    """`address`: who is at the other end. `secure`: TLS is spoken. `lost`: it is not, and should be.
    `line` takes the socket over once it is known what is spoken."""

    __slots__ = (
        *("address", "deadline", "edge", "greeted", "hsts", "limits", "line", "lost", "scope"),
        *("secure", "settled", "socket", "waiting"),
    )

    def __init__(self, peer: socket.socket, address: str, edge: Edge, limits: Limits) -> None:
        self.socket = peer
        self.address = address
        self.edge = edge
        self.limits = limits
        self.line: _core.Line | None = None
        self.scope = trio.CancelScope()
        self.deadline = float("inf")
        self.waiting = ""
        self.secure = False
        self.greeted = False
        self.settled = True
        self.lost = False
        self.hsts = b""

    def close(self, reset: bool) -> None:
        if self.line is None:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        else:
            trio.lowlevel.notify_closing(self.line)
            self.line.close(reset)


async def _peek(peer: socket.socket, most: int) -> bytes:
    """What a socket has, and keeps. Raises `OSError`, also where the peer has gone."""
    while True:
        with contextlib.suppress(BlockingIOError):
            data = peer.recv(most, socket.MSG_PEEK)
            if not data:
                raise ConnectionResetError("the peer left before it said anything")
            return data
        await trio.lowlevel.wait_readable(peer)
