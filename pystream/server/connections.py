"""Connections: accepted, read, answered in order, ended in time.

Theory. Most of what a server is asked for is known at once and fits the socket. So a connection is no
task but a value, `_Connection`, and one task hears all sockets: it waits for one `epoll` in which each
socket stands from its first byte to its last, edge-triggered (epoll(7)), and answers whoever has said
something, one after the other. So an idle connection costs no task and a request no system call to wait
for the next one, and where many ask at once, one turn of Trio's loop serves them all.

Who has more to say than fits a turn gets the next one when the others had theirs.

What takes longer has a place of its own, and the connection reads nothing until it is over: a body
that is made, or does not fit the socket, is handed to the thread of `_core.Delivery`, whose outcomes
are heard in the same `epoll`; an answer that has to wait, for a film to be opened or its time to come,
gets a task. Time-outs of all connections are watched by one sweeper, so that a read costs no timer.

What comes before the first request is read from the socket itself, in a task: PROXY protocol, and the
byte by which TLS is told from everything else (RFC 8446 5.1). All of that, the handshake and the first
head have to come within one time limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from itertools import count

import trio

from pystream import _core
from pystream.server import http, log
from pystream.server.answers import Answer, Due, failure
from pystream.server.edge import Edge, address_of
from pystream.server.guard.limiter import Held, Limiter
from pystream.server.http import HttpError, Request
from pystream.server.proxy_protocol import ProxyHeader, ProxyProtocolError

_SWEEP_SECONDS = 1.0
_LINGER_SECONDS = 2.0
# After so long, and then after twice as long each time, it is seen whether the peer has it all.
_SETTLE_SECONDS = 0.001
# Accepted in a row: those who are here already shall not wait for all who come.
_ACCEPTED_AT_ONCE = 16
# Heard in a row, and for so long, before other tasks get their turn.
_HEARD_AT_ONCE = 16
_HEARD_SECONDS = 0.002
# Read from one connection in a row, before others get their turn.
_READS_A_TURN = 4
# Bytes that a socket takes before they can be sent: enough to be asked for more in good time. The kernel
# holds them for each connection, so of many it is half as much. Few may have a whole segment there: what
# goes to a socket in one piece leaves in fewer, fuller packets.
_UNSENT = 128 * 1024
_MANY = 256
_UNSENT_OF_FEW = 1024 * 1024
_FEW = 64
# Of those who have not yet taken an answer so long that they must have read it: thousands of connections
# that read nothing shall not hold more than viewers do.
_UNSENT_AT_FIRST = 16 * 1024
_READ_BYTES = 64 * 1024
_SOMETHING = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_CLOSE = (("Connection", "close"),)
# RFC 9112 9.3: whoever speaks HTTP/1.0 takes every connection for closed that does not say otherwise.
_KEEP_ALIVE = (("Connection", "keep-alive"),)
# RFC 8446 5.1: the content type of a record that begins a handshake.
_HANDSHAKE = b"\x16"
# What new handshakes may take of a worker's time in the long run, and how many seconds of it may be used up
# ahead: a flood of them, from however many sources, leaves the rest to those who are here.
_SHARE_OF_HANDSHAKES = 0.5
_HANDSHAKES_AHEAD_SECONDS = 1.0
# What one costs until some were seen, and how many of them the mean is of.
_HANDSHAKE_SECONDS = 0.001
_HANDSHAKES_OF_MEAN = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless a name says otherwise. `request` has those of what is read."""

    head: float = 10
    body: float = 10
    idle: float = 60
    stall: float = 30
    connections: int = 20_000
    request: http.Limits = field(default_factory=http.Limits)


class Connections:
    """One process's connections. What goes wrong is an answer of `answer`'s, too; what it raises is
    a bug, and answered with 500.

    `answer` gives an answer, or what has to be awaited for one. `limits` and `edge` may be replaced at
    any time, for connections that come afterwards.
    `not_accepted` is told why a connection was not accepted: the system's error, or None where there are
    as many as may be.
    `ended` is told each request (None where it could not be read), its answer, whether that went out
    whole, and when, by the monotonic clock, it was asked for. `broke_off` is told, before that, how an
    answer under way ended that did not go out whole (`gone`, `stalled` or `failed`), and, of the last one,
    why.
    `limiter` says who is shut out, and `too_often` answers a request that is one too many, before `answer`
    is asked.
    `handshakes` counts those of TLS that went well.
    """

    def __init__(
        self,
        answer: Callable[[Request], Answer | Awaitable[Answer]],
        delivery: _core.Delivery,
        meter: _core.Meter,
        limits: Limits = Limits(),
        edge: Edge | None = None,
        ended: Callable[[Request | None, Answer, bool, float], None] = lambda *_: None,
        broke_off: Callable[[Request | None, str, str | None], None] = lambda *_: None,
        not_accepted: Callable[[OSError | None], None] = lambda _: None,
        limiter: Limiter | None = None,
        too_often: Callable[[Request], Answer | None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self.edge = edge or Edge()
        self._answer = answer
        self._delivery = delivery
        self._meter = meter
        self._ended = ended
        self._broke_off = broke_off
        self._not_accepted = not_accepted
        self._limiter = limiter
        self._too_often = too_often
        self.handshakes = 0
        self._handshaking = Handshakes()
        self._ids = count()
        self._connections: set[_Connection] = set()
        # Those of few, which give back what they have more than others when many are there.
        self._roomy: set[_Connection] = set()
        # Those whose bodies are under way, by the numbers of their orders.
        self._sending: dict[int, _Connection] = {}
        # Those who are heard, by the descriptors of their lines.
        self._heard: dict[int, _Connection] = {}
        # Those who have more to say than fits one turn.
        self._next = deque[_Connection]()
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
        with select.epoll() as self._epoll:
            self._epoll.register(self._delivery, select.EPOLLIN)
            try:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._hear)
                    self._nursery.start_soon(self._sweep)
                    task_status.started()
                    with self._accepting:
                        async with trio.open_nursery() as accepting:
                            for listener in listeners:
                                accepting.start_soon(self._accept, listener, False)
                            for listener in tls_listeners:
                                accepting.start_soon(self._accept, listener, True)
                    if not self._connections:
                        self._emptied.set()
            finally:
                for connection in list(self._connections):
                    self._end(connection)

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
        self._idle_until = time.monotonic() + patience
        for connection in list(self._connections):
            if connection.waiting == "idle":
                connection.deadline = min(connection.deadline, self._idle_until)
                if patience <= 0:
                    self._end(connection)
        await self._emptied.wait()

    def cut(self) -> None:
        """Ends all connections, whatever is under way on them, and says so of each answer."""
        for connection in list(self._connections):
            if connection.answering is not None:
                self._tell_why(connection, "cut", None)
            self._end(connection)

    async def _accept(self, listener: socket.socket, tls: bool) -> None:
        listener.setblocking(False)
        with listener:
            # Those who are turned away count as well: a flood of them is no reason for others to wait.
            for turn in count(1):
                if turn % _ACCEPTED_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
                try:
                    peer, address = listener.accept()
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(listener)
                    continue
                except OSError as error:
                    # Out of descriptors, for one: those who are here go on; the others wait in the
                    # kernel.
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        self._not_accepted(error)
                        await trio.sleep(0.1)
                    continue
                if len(self._connections) >= self.limits.connections:
                    self._not_accepted(None)
                    peer.close()
                    continue
                source = address_of(address)
                held = self._let_in(source)
                if held is None:
                    _reset(peer)
                    continue
                peer.setblocking(False)
                connection = _Connection(peer, source, self.edge, self.limits)
                connection.held = held
                if peer.family != socket.AF_UNIX:
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    # RFC 5482: also of what the kernel still holds for one who is closed here already.
                    stall_ms = round(self.limits.stall * 1000)
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
                    connection.hold_at_most(_UNSENT_AT_FIRST)
                connection.deadline = time.monotonic() + connection.limits.head
                self._connections.add(connection)
                if len(self._connections) >= _MANY:
                    while self._roomy:
                        self._roomy.pop().hold_at_most(_UNSENT // 2)
                if connection.edge.proxy_protocol or (tls and connection.edge.tls is not None):
                    self._nursery.start_soon(self._welcome, connection, tls)
                else:
                    self._begin(connection)

    def _let_in(self, address: str) -> Held | None:
        """What a connection holds that is heard; None where not a byte of it is read."""
        limiter = self._limiter
        if limiter is None:
            return ()
        return None if limiter.turned_away(address) else limiter.connect(address)

    def _let_go(self, connection: _Connection) -> None:
        if self._limiter is not None:
            self._limiter.give_back(connection.held)
        connection.held = ()

    def _shut_out(self) -> None:
        """Ends the connections of those who were banned meanwhile, whichever worker has done it."""
        if self._limiter is not None and self._limiter.news():
            for connection in list(self._connections):
                if self._limiter.banned(connection.address):
                    self._end(connection)

    def _give_room(self, connection: _Connection) -> None:
        """Has the kernel hold more for a connection that takes what it asks for."""
        connection.reads = True
        there = len(self._connections)
        if there <= _FEW:
            self._roomy.add(connection)
        unsent = _UNSENT_OF_FEW if there <= _FEW else _UNSENT if there < _MANY else _UNSENT // 2
        connection.hold_at_most(unsent)

    async def _sweep(self) -> None:
        """Ends connections that keep one waiting for too long, and keeps the date."""
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            self._tick()
            self._shut_out()
            now = time.monotonic()
            for connection in list(self._connections):
                if connection.deadline < now or self._has_left(connection):
                    self._blame(connection)
                    self._end(connection)
                elif connection.line is not None:
                    self._settle(connection, connection.line)
                    if connection.lingering and connection.settled:
                        self._let_leave(connection, connection.line)

    def _blame(self, connection: _Connection) -> None:
        """A request that was begun and did not come to its end in time is a mistake as well."""
        awaited = "" if connection.lingering or connection.busy else connection.protocol.waiting
        if self._limiter is not None and awaited in ("head", "body"):
            self._limiter.dawdled(connection.address)

    @staticmethod
    def _has_left(connection: _Connection) -> bool:
        """Whether nobody waits any more for an answer that is not there yet. Who has only said that no
        more requests will come looks the same, and is given a second or two."""
        if connection.leaving and connection.busy and connection.number is None:
            connection.missed += 1
        return connection.missed > 1

    def _settle(self, connection: _Connection, line: _core.Line) -> None:
        """Books what the peer has acknowledged: whoever is killed has only a second unbooked."""
        if connection.busy:
            line.settle()
        elif not connection.settled:
            connection.settled = line.settle()

    def _tick(self) -> None:
        self._date = f"Date: {formatdate(usegmt=True)}\r\n\r\n".encode()

    # How connections begin and end.

    async def _welcome(self, connection: _Connection, tls: bool) -> None:
        """Reads what comes before HTTP."""
        edge, peer = connection.edge, connection.socket
        with trio.CancelScope() as connection.scope:
            try:
                if edge.proxy_protocol:
                    if not edge.trusts(connection.address):
                        raise ProxyProtocolError("nobody but a proxy is served here")
                    header = ProxyHeader()
                    while not header.complete:
                        # The bytes behind the header are left to whoever they are for.
                        peer.recv(header.feed(await _peek(peer, 4096)))
                    if header.source is not None:
                        self._let_go(connection)
                        connection.address = header.source
                        held = self._let_in(header.source)
                        if held is None:
                            raise ProxyProtocolError("whom the proxy speaks for is shut out")
                        connection.held = held
                if tls and edge.tls is not None:
                    connection.secure = await _peek(peer, 1) == _HANDSHAKE
                    if connection.secure:
                        if self._limiter and not self._limiter.shakes(connection.address):
                            raise ConnectionRefusedError("too many handshakes come from there")
                        await self._handshaking.turn()
                    # Whoever comes without TLS is told so, in words.
                    connection.lost = not connection.secure
                    if edge.hsts_seconds and connection.secure:
                        # RFC 6797 7.2: never without TLS.
                        seconds = edge.hsts_seconds
                        connection.hsts = (
                            f"Strict-Transport-Security: max-age={seconds}\r\n".encode()
                        )
            except (OSError, ProxyProtocolError):
                self._end(connection)
            else:
                self._begin(connection)

    def _begin(self, connection: _Connection) -> None:
        """From here on a connection is heard. What it has said already is heard at once."""
        tls = connection.edge.tls if connection.secure else None
        line = _core.Line(connection.socket.detach(), self._meter, tls)
        connection.line = line
        self._heard[line.fileno()] = connection
        try:
            self._epoll.register(line, _SOMETHING)
        except OSError:
            # As many are watched as the system allows.
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        """Closes a connection, whatever is under way on it. Half an answer ends in a reset, so that
        nobody takes it for a whole one."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._roomy.discard(connection)
        self._let_go(connection)
        if connection.scope is not None:
            connection.scope.cancel()
        line = connection.line
        if line is None:
            trio.lowlevel.notify_closing(connection.socket)
            connection.socket.close()
        else:
            del self._heard[line.fileno()]
            half = connection.answering is not None
            if connection.answering is not None:
                if connection.number is not None:
                    del self._sending[connection.number]
                    self._delivery.cancel(connection.number)
                self._tell(connection, connection.answering, False)
            talks = connection.secure and connection.greeted and not connection.lingering
            if talks and not half and line.settle():
                # RFC 8446 6.1. Nothing is lost by it where the peer has its answers.
                line.shut()
            line.close(half)
        if self._draining and not self._connections:
            self._emptied.set()

    # What is heard.

    async def _hear(self) -> None:
        """Hears sockets and bodies, as many at a time as have something to say."""
        poll, heard, bodies = self._epoll.poll, self._heard, self._delivery.fileno()
        while True:
            begun = time.monotonic()
            while events := poll(0, _HEARD_AT_ONCE):
                for number, event in events:
                    connection = heard.get(number)
                    if connection is not None:
                        connection.unread = True
                        if event & _GONE:
                            connection.leaving = True
                        if connection.queued:
                            continue
                        if not connection.busy:
                            self._go_on(connection)
                        elif connection.leaving and connection.holding:
                            # Nobody waits for what would be due later.
                            self._end(connection)
                    elif number == bodies:
                        self._take_outcomes()
                if time.monotonic() - begun > _HEARD_SECONDS:
                    break
            begun = time.monotonic()
            while self._next and time.monotonic() - begun < _HEARD_SECONDS:
                connection = self._next.popleft()
                connection.queued = False
                if not connection.busy:
                    self._go_on(connection)
            if self._next:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll)

    def _take_outcomes(self) -> None:
        """Goes on with those whose bodies have ended."""
        for number, end, why in self._delivery.outcomes():
            connection = self._sending.pop(number, None)
            if connection is None:
                continue
            connection.number = None
            if end == "handed":
                self._go_on(connection, self._answered)
            else:
                self._tell_why(connection, end, why)
                self._end(connection)

    def _go_on(
        self,
        connection: _Connection,
        first: Callable[[_Connection, _core.Line], bool] | None = None,
    ) -> None:
        """Reads and answers, until nothing more is there, an answer takes its time or the turn is over.
        Before that does what is to be done `first`, which says whether to go on."""
        line = connection.line
        if line is None or connection not in self._connections:
            return
        try:
            if first is not None and not first(connection, line):
                return
            if connection.lingering:
                self._drop_what_comes(connection, line)
            elif connection.secure and not connection.greeted:
                with self._handshaking.measured():
                    self._converse(connection, line)
            else:
                self._converse(connection, line)
        except OSError:
            self._end(connection)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # It costs this connection, and no other viewer.
            log.error("bug", **log.fault(error))
            self._end(connection)

    def _converse(self, connection: _Connection, line: _core.Line) -> None:
        """Answers requests until one side has enough."""
        protocol, requests = connection.protocol, connection.requests
        for _ in range(_READS_A_TURN):
            while requests:
                if not self._take(connection, line, requests.pop(0)):
                    return
            if protocol.expects_continue:
                protocol.expects_continue = False
                if line.respond(http.CONTINUE, b"", None) is not None:
                    # Nobody reads what was sent before.
                    self._end(connection)
                    return
            data = b""
            if not protocol.more:
                received = line.receive() if connection.unread else None
                if received is None:
                    connection.unread = False
                    self._await(connection)
                    return
                data = received
                if not data:
                    self._part(connection, line)
                    return
                # epoll(7): what is less than was asked for is all there is, unless the end is behind it.
                connection.unread = line.full or connection.leaving
                if not connection.greeted:
                    connection.greeted = True
                    self.handshakes += connection.secure
                if connection.refused is not None:
                    sent, request = connection.refused
                    if sent == data:
                        request.kind = None
                        if not self._take(connection, line, request):
                            return
                        continue
                    connection.refused = None
            try:
                requests.extend(protocol.feed(data))
            except HttpError as error:
                connection.keep_alive = False
                # That there is no room for a body is no mistake of who brings it.
                if self._limiter is not None and error.status != 503:
                    error = self._limiter.erred(connection.address) or error
                self._respond(connection, line, None, failure(error), time.monotonic())
                return
        self._await(connection)
        self._queue(connection)

    def _queue(self, connection: _Connection) -> None:
        """Its turn is over, and it has more to say."""
        if not connection.queued:
            connection.queued = True
            self._next.append(connection)

    def _drop_what_comes(self, connection: _Connection, line: _core.Line) -> None:
        for _ in range(_READS_A_TURN):
            data = line.receive(True)
            if data is None:
                return
            if not data:
                self._part(connection, line)
                return
        self._queue(connection)

    def _part(self, connection: _Connection, line: _core.Line) -> None:
        """The peer has said its last word. What it has asked for it still takes, and as long as it does,
        that counts."""
        if line.settle():
            self._end(connection)
            return
        if not connection.lingering:
            connection.deadline = time.monotonic() + connection.limits.stall
            connection.waiting = ""
        connection.lingering = connection.parted = True
        connection.unread = connection.settled = False

    def _let_leave(self, connection: _Connection, line: _core.Line) -> None:
        """It has all that was sent."""
        if connection.parted:
            line.shut()
            self._end(connection)
        else:
            soon = time.monotonic() + _LINGER_SECONDS
            connection.deadline = min(connection.deadline, soon)

    def _await(self, connection: _Connection) -> None:
        """Sets the time until which more has to come. A head or a body has to be whole in time, however its
        bytes trickle in."""
        waiting = connection.protocol.waiting
        if connection.waiting == _WELCOME and waiting != "body":
            return
        if waiting == "idle":
            idle = time.monotonic() + connection.limits.idle
            connection.deadline = idle if idle < self._idle_until else self._idle_until
        elif waiting != connection.waiting:
            limits = connection.limits
            seconds = limits.head if waiting == "head" else limits.body
            connection.deadline = time.monotonic() + seconds
        connection.waiting = waiting

    def _linger(self, connection: _Connection, line: _core.Line) -> None:
        """Waits until the peer has what was sent: closing at once could take it away (RFC 9112 9.6)."""
        connection.lingering = connection.unread = True
        connection.waiting = ""
        connection.settled = line.settle()
        patience = _LINGER_SECONDS if connection.settled else connection.limits.stall
        connection.deadline = time.monotonic() + patience
        if connection.secure and not connection.settled:
            self._nursery.start_soon(self._shut_when_settled, connection, line)
        else:
            line.shut()
        self._drop_what_comes(connection, line)

    async def _shut_when_settled(self, connection: _Connection, line: _core.Line) -> None:
        """TLS has a last word. A peer that has its answer and is gone sends a reset for it, with which the
        acknowledgment of the answer is lost."""
        pause = _SETTLE_SECONDS
        while not line.settle() and pause < _LINGER_SECONDS:
            await trio.sleep(pause)
            pause *= 2
        if connection in self._connections:
            line.shut()

    # Answers.

    def _take(self, connection: _Connection, line: _core.Line, request: Request) -> bool:
        """Answers a request; whether the next one may follow at once. Raises `OSError`."""
        connection.deadline = _NEVER
        connection.waiting = ""
        begun = time.monotonic()
        known, wrong = connection.sender, None
        if known is not None and known[0] is request.fields:
            _, request.peer, request.secure = known
        else:
            wrong = self._turned_away(connection, request)
        refused = self._too_often(request)
        if refused is None:
            answer = self._asked(request) if wrong is None else self._wrong(request, wrong)
        elif (
            request.method == "GET"
            and request.keep_alive
            and not (refused.closes or request.http_1_0 or self._draining or connection.lost)
        ):
            return self._refuse(connection, line, request, refused, begun)
        else:
            answer = refused
        if isinstance(answer, Answer):
            if answer.due is None or not answer.due.ask():
                return self._respond(connection, line, request, answer, begun)
            connection.holding = True
        connection.busy = True
        self._nursery.start_soon(self._later, connection, line, request, answer, begun)
        return False

    def _refuse(
        self,
        connection: _Connection,
        line: _core.Line,
        request: Request,
        refusal: Answer,
        begun: float,
    ) -> bool:
        """Sends a refusal after which the connection stays, as `_respond` would, and does no more than that
        takes: who goes on asking shall cost less than who is answered. Raises `OSError`."""
        connection.answering = answering = request, refusal, begun
        assert refusal.head is not None and isinstance(refusal.body, bytes)
        head = refusal.head[:-2] + connection.hsts + self._date
        rest = line.respond(head, refusal.body, None)
        if rest is not None:
            self._delivery.rest(self._send(connection), line, rest)
            return False
        self._tell(connection, answering, True)
        if connection.refused is None:
            sent = connection.protocol.bytes_of(request)
            connection.refused = None if sent is None else (sent, request)
        return True

    def _asked(self, request: Request) -> Answer | Awaitable[Answer]:
        """What went wrong unforeseen costs this request, and no other viewer."""
        try:
            return self._answer(request)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._bug(request, error)

    @staticmethod
    def _bug(request: Request, error: BaseException) -> Answer:
        # Not Exception: a panic of the core is none (PyO3's PanicException). No mistake of the source's: what
        # it has asked for was counted as every request is.
        log.error("bug", kind=request.kind, **log.fault(error))
        return failure(HttpError(500, "the server has a bug, which its log tells of"))

    async def _later(
        self,
        connection: _Connection,
        line: _core.Line,
        request: Request,
        answer: Answer | Awaitable[Answer],
        begun: float,
    ) -> None:
        """Answers when all that is needed is there and the time has come."""
        with trio.CancelScope() as connection.scope:
            try:
                if not isinstance(answer, Answer):
                    answer = await answer
                if answer.due is not None:
                    # What was said of the peer's leaving before this may be all that ever is.
                    if line.is_gone():
                        self._end(connection)
                        return
                    connection.holding = True
                    answer = await self._when_due(answer, answer.due)
            except (trio.Cancelled, KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                answer = self._bug(request, error)
            connection.holding = connection.busy = False
            connection.missed = 0
            connection.scope = None
            respond = partial(self._respond, request=request, answer=answer, begun=begun)
            self._go_on(connection, respond)

    @staticmethod
    async def _when_due(answer: Answer, due: Due) -> Answer:
        """The answer when its time has come, or another one where that is too far away."""
        end = trio.current_time() + due.patience
        while wait := due.ask():
            now = trio.current_time()
            if now >= end:
                return due.late(wait)
            await trio.sleep(min(wait, end - now))
        return answer

    def _turned_away(self, connection: _Connection, request: Request) -> HttpError | None:
        """What is wrong with the way by which a request has come; None where it is right, and knows then who
        sent it. Who that is where a proxy's fields cannot be read, nobody knows: each may be the viewer's own
        work, and name somebody else. So then it is the proxy, which is never limited."""
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
            return error
        if edge.https_port is None or request.secure:
            # All that may turn the next one away is in its fields.
            connection.sender = request.fields, request.peer, request.secure
        return None

    def _wrong(self, request: Request, error: HttpError) -> Answer:
        """The answer to a request that has come by the wrong way."""
        refusal = None
        if error.status >= 400 and self._limiter is not None:
            refusal = self._limiter.erred(request.peer)
        if refusal is None:
            return failure(error)
        return failure(refusal)._replace(closes=refusal.closes)

    def _respond(
        self,
        connection: _Connection,
        line: _core.Line,
        request: Request | None,
        answer: Answer,
        begun: float,
    ) -> bool:
        """Sends an answer; whether all of it is out and the connection goes on. Raises `OSError`."""
        if request is not None:
            ends = self._draining or connection.lost
            # A proxy's connection is others' as well.
            ends |= answer.closes and request.peer == connection.address
            connection.keep_alive = request.keep_alive and not ends
        connection.answering = request, answer, begun
        status, headers, body, length, row, _, head, tag, _ = answer
        options: tuple[tuple[str, str], ...] = ()
        if not connection.keep_alive:
            options = _CLOSE
        elif request is not None and request.http_1_0:
            options = _KEEP_ALIVE
        if head is None or options:
            head = http.head(status, [*headers, *options])
        head = head[:-2] + connection.hsts + self._date
        connection.deadline = _NEVER
        if not length or (request is not None and request.method == "HEAD"):
            rest = line.respond(head, b"", row)
        elif isinstance(body, bytes):
            rest = line.respond(head, body, row, tag)
        else:
            number = self._send(connection)
            body.send(self._delivery, number, line, head, length, row)
            return False
        if rest is not None:
            self._delivery.rest(self._send(connection), line, rest)
            return False
        return self._answered(connection, line)

    def _send(self, connection: _Connection) -> int:
        """The number by which the thread that sends will know what is under way."""
        connection.number = number = next(self._ids)
        connection.busy = True
        self._sending[number] = connection
        return number

    def _answered(self, connection: _Connection, line: _core.Line) -> bool:
        """Tells of an answer that is out; whether the connection goes on. Raises `OSError`."""
        connection.busy = connection.settled = False
        if connection.answering is not None:
            if not connection.reads and _was_read(*connection.answering):
                self._give_room(connection)
            self._tell(connection, connection.answering, True)
        if not connection.keep_alive:
            self._linger(connection, line)
        return connection.keep_alive

    def _tell(self, connection: _Connection, answering: _Answering, whole: bool) -> None:
        request, answer, begun = answering
        connection.answering = None
        try:
            self._ended(request, answer, whole, begun)
        except Exception as error:
            # Whoever counts costs nobody an answer.
            log.error("bug", **log.fault(error))

    def _tell_why(self, connection: _Connection, end: str, why: str | None) -> None:
        request = connection.answering[0] if connection.answering is not None else None
        if end == "stalled" and self._limiter is not None:
            self._limiter.stalled(request.peer if request is not None else connection.address)
        try:
            self._broke_off(request, end, why)
        except Exception as error:
            log.error("bug", **log.fault(error))


def _was_read(request: Request | None, answer: Answer, _: float) -> bool:
    """Of an answer that the kernel has: whether most of it has reached the peer."""
    return answer.length >= _READ_BYTES and request is not None and request.method != "HEAD"


_Answering = tuple[Request | None, Answer, float]
_NEVER = float("inf")
# l_onoff, l_linger
_AT_ONCE = struct.pack("ii", 1, 0)
# Before the first request is whole. Nothing is idle then.
_WELCOME = "welcome"


class _Connection:
    """A connection, and where it stands.

    address: who is at the other end.
    sender: the address that requests with such fields come from, and whether by HTTPS, where that depends on
        these alone.
    secure: TLS is spoken. lost: it is not, and should be.
    line: takes the socket over once it is known what is spoken.
    requests: read, and not yet answered.
    refused: a request that was one too many, and its bytes, as long as nothing else has come.
    waiting: for what, as `Protocol.waiting` has it; "" for nothing that the peer has to send.
    held: what the limiter counts it under.
    deadline: when it is ended.
    greeted: something was heard.
    unread, leaving: the socket has something that was not read; the peer will send no more.
    queued: it waits for its next turn.
    busy: an answer is not yet ready (holding: not yet due), or is under way as an order of this
        number. answering: whose answer is under way.
    missed: by how many sweeps in a row the peer, who waits for an answer, was found to be leaving.
    lingering: nothing more is read but the end. parted: that has come, and the peer still takes what it has
        asked for.
    settled: all that was sent is booked. reads: it has taken an answer that is no short one.
    scope: what of it is a task.
    """

    __slots__ = (
        *("address", "answering", "busy", "deadline", "edge", "greeted", "held", "holding", "hsts"),
        *("keep_alive", "leaving", "limits", "line", "lingering", "lost", "missed", "number"),
        *(
            "parted",
            "protocol",
            "queued",
            "reads",
            "refused",
            "requests",
            "scope",
            "secure",
            "sender",
            "settled",
            "socket",
            "unread",
            "waiting",
        ),
    )

    def __init__(self, peer: socket.socket, address: str, edge: Edge, limits: Limits) -> None:
        self.socket = peer
        self.address = address
        self.edge = edge
        self.limits = limits
        self.held: Held = ()
        self.line: _core.Line | None = None
        self.protocol = http.Protocol(limits.request)
        self.requests: list[Request] = []
        self.refused: tuple[bytes, Request] | None = None
        self.sender: tuple[http.Fields, str, bool] | None = None
        self.scope: trio.CancelScope | None = None
        self.deadline = _NEVER
        self.waiting = _WELCOME
        self.answering: _Answering | None = None
        self.number: int | None = None
        self.keep_alive = True
        self.secure = False
        self.lost = False
        self.hsts = b""
        self.settled = True
        self.busy = False
        self.holding = False
        self.missed = 0
        self.lingering = False
        self.parted = False
        self.leaving = False
        self.queued = False
        self.greeted = False
        self.unread = False
        self.reads = False

    def hold_at_most(self, unsent: int) -> None:
        """Has the kernel take no more than so many bytes that it cannot send yet (tcp(7))."""
        option = socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent
        if self.line is None:
            self.socket.setsockopt(*option)
            return
        # Where there is no descriptor left for this, it stays as it is.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.line.fileno())) as its:
            its.setsockopt(*option)


class Handshakes:
    """When the next TLS handshake may begin: in the long run they take their share of a worker's time, by
    the mean of what they have cost lately. Who has to wait does so in order."""

    def __init__(self) -> None:
        self._queue = trio.Lock()
        self._mean = _HANDSHAKE_SECONDS
        self._due = 0.0

    async def turn(self) -> None:
        if self._queue.locked() or self._wait() > 0:
            async with self._queue:
                while (wait := self._wait()) > 0:
                    await trio.sleep(wait)
        self._due = max(self._due, trio.current_time()) + self._mean / _SHARE_OF_HANDSHAKES

    def _wait(self) -> float:
        """Seconds until the next one may begin."""
        return self._due - trio.current_time() - _HANDSHAKES_AHEAD_SECONDS

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """What is done meanwhile is one."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._mean += (time.perf_counter() - begun - self._mean) / _HANDSHAKES_OF_MEAN


def _reset(peer: socket.socket) -> None:
    """Ends a connection at once, and leaves nothing of it in the kernel (SO_LINGER of socket(7))."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    peer.close()


async def _peek(peer: socket.socket, most: int) -> bytes:
    """What a socket has, and keeps. Raises `OSError`, also where the peer has gone."""
    while True:
        with contextlib.suppress(BlockingIOError):
            data = peer.recv(most, socket.MSG_PEEK)
            if not data:
                raise ConnectionResetError("the peer left before it said anything")
            return data
        await trio.lowlevel.wait_readable(peer)
