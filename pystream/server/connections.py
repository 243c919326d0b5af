"""Connections: accepted, read, answered in order, ended in time.

A connection is one task: it reads, has the protocol parse, and answers request after request. What
is small goes out at once; bodies that are made, or do not fit the socket, are handed to the thread
of `_core.Delivery`, and the task sleeps until it hears how that ended. Time-outs of all connections
are watched by one sweeper, so that a read costs no timer.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count

import outcome
import trio

from pystream import _core
from pystream.server import http
from pystream.server.answers import Answer, failure
from pystream.server.http import HttpError, Request

_SWEEP_SECONDS = 1.0
_LINGER_SECONDS = 2.0
_CLOSE = (("Connection", "close"),)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless a name says otherwise."""

    head: float = 10
    body: float = 10
    idle: float = 60
    connections: int = 20_000


class Connections:
    """One process's connections. `answer` never raises: what goes wrong is an answer, too."""

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        delivery: _core.Delivery,
        meter: _core.Meter,
        limits: Limits = Limits(),
    ) -> None:
        self._answer = answer
        self._delivery = delivery
        self._meter = meter
        self._limits = limits
        self._ids = count()
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._connections: set[_Connection] = set()
        self._date = b""
        self._draining = False
        self._accepting = trio.CancelScope()
        self._emptied = trio.Event()

    async def run(
        self,
        listeners: list[socket.socket],
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
                        accepting.start_soon(self._accept, listener, nursery)
            if not self._connections:
                self._emptied.set()

    async def drain(self) -> None:
        """Accepts nobody more, lets answers that are under way go out whole, and returns when all
        connections are closed."""
        self._draining = True
        self._accepting.cancel()
        for connection in list(self._connections):
            if connection.waiting == "idle":
                connection.scope.cancel()
        await self._emptied.wait()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        listener.setblocking(False)
        while True:
            try:
                peer, _ = listener.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(listener)
                continue
            except OSError as error:
                # Out of descriptors, for one: those who are here go on; the others wait in the kernel.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await trio.sleep(0.1)
                continue
            if len(self._connections) >= self._limits.connections:
                peer.close()
                continue
            peer.setblocking(False)
            if peer.family != socket.AF_UNIX:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 128 * 1024)
            connection = _Connection(_core.Line(peer.detach(), self._meter))
            nursery.start_soon(self._serve, connection)

    async def _sweep(self) -> None:
        """Ends connections that keep one waiting for too long, and keeps the date."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            self._tick()
            now = trio.current_time()
            for connection in list(self._connections):
                if connection.deadline < now:
                    connection.scope.cancel()

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

    async def _serve(self, connection: _Connection) -> None:
        self._connections.add(connection)
        limits = self._limits
        line, protocol = connection.line, http.Protocol()
        whole = True
        try:
            with connection.scope, contextlib.suppress(OSError):
                connection.deadline = trio.current_time() + limits.head
                while True:
                    data = b"" if protocol.more else line.receive()
                    if data is None:
                        await trio.lowlevel.wait_readable(line)
                        continue
                    if not data and not protocol.more:
                        break
                    try:
                        requests = protocol.feed(data)
                    except HttpError as error:
                        await self._send(connection, failure(error), "GET", False)
                        await self._linger(connection)
                        break
                    for request in requests:
                        connection.deadline = float("inf")
                        connection.waiting = ""
                        answer = await self._answer(request)
                        keep_alive = request.keep_alive and not self._draining
                        whole = await self._send(connection, answer, request.method, keep_alive)
                        if not whole:
                            return
                        if not keep_alive:
                            await self._linger(connection)
                            return
                    if protocol.expects_continue:
                        line.respond(http.CONTINUE, b"", None)
                    self._set_deadline(connection, protocol.waiting)
        finally:
            trio.lowlevel.notify_closing(line)
            self._connections.discard(connection)
            if self._draining and not self._connections:
                self._emptied.set()
            line.close(not whole)

    def _set_deadline(self, connection: _Connection, waiting: str) -> None:
        """A head or a body has to be whole in time, however its bytes trickle in."""
        if waiting != connection.waiting or waiting == "idle":
            connection.waiting = waiting
            limits = self._limits
            seconds = {"idle": limits.idle, "head": limits.head, "body": limits.body}[waiting]
            connection.deadline = trio.current_time() + seconds

    async def _linger(self, connection: _Connection) -> None:
        """Waits until the peer has what was sent: closing at once could take it away (RFC 9112 9.6)."""
        line = connection.line
        line.shut()
        connection.deadline = trio.current_time() + _LINGER_SECONDS
        while True:
            data = line.receive(True)
            if data is None:
                await trio.lowlevel.wait_readable(line)
            elif not data:
                return

    async def _send(
        self, connection: _Connection, answer: Answer, method: str, keep_alive: bool
    ) -> bool:
        """Sends an answer; whether it went out whole."""
        status, headers, body, length, _, row = answer
        head = http.head(status, [*headers, *(() if keep_alive else _CLOSE)])
        head = head[:-2] + self._date
        line = connection.line
        number = next(self._ids)
        connection.deadline = float("inf")
        if method == "HEAD" or not length:
            rest = line.respond(head, b"", row)
        elif isinstance(body, bytes):
            rest = line.respond(head, body, row)
        else:
            rendition, n, skip = body
            making = rendition.making(n)
            self._delivery.segment(number, line, head, *making, (skip, length), row)
            return (await self._delivered(number))[0] == "handed"
        if rest is None:
            return True
        self._delivery.rest(number, line, rest)
        return (await self._delivered(number))[0] == "handed"


class _Connection:
    __slots__ = ("deadline", "line", "scope", "waiting")

    def __init__(self, line: _core.Line) -> None:
        self.line = line
        self.scope = trio.CancelScope()
        self.deadline = float("inf")
        self.waiting = ""
