"""What a request gets: parsed request in, answer out; and the connections that carry both.

A connection is one task: it reads, has the protocol parse, and answers request after request. What
is small goes out at once; bodies that are made, or do not fit the socket, are handed to the thread
of `_core.Delivery`, and the task sleeps until it hears how that ended. Time-outs of all connections
are watched by one sweeper, so that a read costs no timer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from typing import NamedTuple

import outcome
import trio

from pystream import _core
from pystream.acl.grants import Grants
from pystream.acl.streams import Stream
from pystream.acl.traffic import Kind as Booked
from pystream.errors import GrantError, PystreamError
from pystream.packager.presentation import Rendition
from pystream.server import http
from pystream.server.http import HttpError, Request
from pystream.server.origin import Film, Origin, Source, Text
from pystream.server.routes import Kind, Route, route

_SWEEP_SECONDS = 1.0
_LINGER_SECONDS = 2.0
_NO_STORE = ("Cache-Control", "private, no-store")
_FOREVER = ("Cache-Control", "public, max-age=31536000, immutable")
_TYPES = {
    "m3u8": ("Content-Type", "application/vnd.apple.mpegurl"),
    "ts": ("Content-Type", "video/mp2t"),
    "fmp4": ("Content-Type", "video/mp4"),
    "audio": ("Content-Type", "audio/mp4"),
    "key": ("Content-Type", "application/octet-stream"),
    "json": ("Content-Type", "application/json"),
    "text": ("Content-Type", "text/plain; charset=utf-8"),
}

Headers = list[tuple[str, str]]
Row = tuple[int, int]


class Made(NamedTuple):
    """A body that is made while it is sent."""

    rendition: Rendition
    number: int


class Answer(NamedTuple):
    """What a request gets. `length` is the body's, `etag` and the like are among the headers."""

    status: int
    headers: Headers
    body: bytes | Made = b""
    length: int = 0
    etag: str | None = None
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless a name says otherwise."""

    head: float = 10
    body: float = 10
    idle: float = 60
    connections: int = 20_000


class App:
    """One process's server: streams, films, connections.

    `streams` finds a stream by (tenant, name); `content_key` derives the key of (stream, version,
    rendition, period).
    """

    def __init__(
        self,
        streams: Callable[[str, str], Stream | None],
        grants: Grants,
        content_key: Callable[[int, str, str, int], bytes],
        origin: Origin,
        delivery: _core.Delivery,
        meter: _core.Meter,
        *,
        prefix: str = "",
        limits: Limits = Limits(),
        assets: Mapping[str, tuple[str, bytes]] = {},
        grant_seconds: int = 6 * 3600,
    ) -> None:
        self._streams = streams
        self.grants = grants
        self._content_key = content_key
        self._origin = origin
        self._delivery = delivery
        self._meter = meter
        self._prefix = prefix
        self._limits = limits
        self._assets = assets
        self._grant_seconds = grant_seconds
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
                        await self._send(connection, _failure(error), "GET", False)
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
            rendition, n = body
            skip = 0
            for name, value in headers:
                if name == "Content-Range":
                    skip = int(value[6 : value.index("-")])
            making = rendition.making(n)
            self._delivery.segment(number, line, head, *making, (skip, length), row)
            return (await self._delivered(number))[0] == "handed"
        if rest is None:
            return True
        self._delivery.rest(number, line, rest)
        return (await self._delivered(number))[0] == "handed"

    # Answers.

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._answer_route(request)
        except HttpError as error:
            return _failure(error)
        except GrantError:
            return _failure(HttpError(403, "this link is not valid, or no longer"))
        except (PystreamError, OSError) as error:
            # What is wrong with a film is the operator's to know, not the viewer's.
            print(f"pystream: {error}", flush=True)
            return _failure(HttpError(503, "this film cannot be shown at present"))

    async def _answer_route(self, request: Request) -> Answer:
        path = request.path
        prefix = self._prefix
        if prefix:
            if not path.startswith(prefix + "/"):
                raise HttpError(404, "there is nothing here")
            path = path[len(prefix) :]
        asked = route(path)
        if asked is None:
            raise HttpError(404, "there is nothing here")
        kind = asked.kind
        if kind is Kind.ASSET:
            return self._asset(asked, request)
        stream = self._streams(asked.tenant, asked.stream)
        if stream is None:
            raise HttpError(404, "there is no such stream")
        cors = _cors(stream, request)
        if request.method == "OPTIONS":
            return Answer(204, [*cors, *_PREFLIGHT])
        if request.method not in ("GET", "HEAD") and kind is not Kind.SESSION:
            raise HttpError(405, "GET or HEAD", (("Allow", "GET, HEAD, OPTIONS"),))
        if asked.grant is not None:
            self.grants.check(asked.grant, stream.id, int(time.time()))
        elif kind in (Kind.SEGMENT, Kind.INIT) and stream.settings.cache != "shared":
            raise HttpError(404, "there is nothing here")
        if kind is Kind.ENTRANCE or kind is Kind.SESSION:
            return self._session(asked, request, stream, cors)
        if kind in (Kind.MULTIVARIANT, Kind.PLAYLIST):
            film = await self._origin.film(self._source(stream))
            text = (
                film.multivariant
                if kind is Kind.MULTIVARIANT
                else film.playlist(_rendition(film, asked))
            )
            return _text(text, request, stream, cors)
        old = self._origin.version(stream.id, asked.version)
        film = old or await self._origin.film(self._source(stream))
        if film.version != asked.version:
            raise HttpError(404, "this version of the film is gone")
        if kind is Kind.KEY:
            key = film.keys.get(asked.name)
            if key is None:
                raise HttpError(404, "there is no such key")
            headers = [_TYPES["key"], ("Cache-Control", "private, max-age=300"), *cors]
            return _whole(key, headers, (stream.id, Booked.KEY))
        rendition = _rendition(film, asked)
        if kind is Kind.INIT:
            inits = rendition.inits()
            if asked.number >= len(inits):
                raise HttpError(404, "there is no such initialization section")
            headers = [_type(rendition), _NO_STORE, *cors]
            return _ranged(
                inits[asked.number], len(inits[asked.number]), headers, request, film, asked, stream
            )
        if kind is Kind.SEGMENT:
            if asked.number >= len(rendition) or asked.name != _suffix(rendition):
                raise HttpError(404, "there is no such segment")
            headers = [_type(rendition), _NO_STORE, *cors]
            body = Made(rendition, asked.number)
            return _ranged(
                body, rendition.length(asked.number), headers, request, film, asked, stream
            )
        raise HttpError(404, "there is nothing here")

    def _source(self, stream: Stream) -> Source:
        settings, keys = stream.settings, None
        if settings.encryption != "none":

            def keys(version: str, rendition: str, period: int) -> bytes:
                return self._content_key(stream.id, version, rendition, period)

        return Source(
            stream.id,
            settings.sources,
            settings.format,
            settings.segment_duration_ms / 1000,
            settings.rotate_every or 0,
            keys,
        )

    def _asset(self, asked: Route, request: Request) -> Answer:
        if asked.name not in self._assets:
            raise HttpError(404, "there is nothing here")
        kind, data = self._assets[asked.name]
        return _whole(data, [("Content-Type", kind), _FOREVER], None)

    def _session(self, asked: Route, request: Request, stream: Stream, cors: Headers) -> Answer:
        now = int(time.time())
        grant = self.grants.issue(stream.id, os.urandom(8), now, self._grant_seconds)
        master = f"{self._prefix}/t/{grant}/{asked.tenant}/{asked.stream}/master.m3u8"
        if asked.kind is Kind.ENTRANCE:
            headers = [("Location", master), _NO_STORE, ("Content-Length", "0"), *cors]
            return Answer(302, headers)
        if request.method != "POST":
            raise HttpError(405, "POST", (("Allow", "POST, OPTIONS"),))
        body = json.dumps({"master": master, "expires": now + self._grant_seconds}).encode()
        return _whole(body, [_TYPES["json"], _NO_STORE, *cors], None)


class _Connection:
    __slots__ = ("deadline", "line", "scope", "waiting")

    def __init__(self, line: _core.Line) -> None:
        self.line = line
        self.scope = trio.CancelScope()
        self.deadline = float("inf")
        self.waiting = ""


_CLOSE = (("Connection", "close"),)
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Range, Content-Type"),
    ("Access-Control-Max-Age", "86400"),
)


def _failure(error: HttpError) -> Answer:
    body = f"{error.reason}\n".encode()
    headers = [_TYPES["text"], _NO_STORE, *error.headers]
    answer = _whole(body, headers, None)
    return answer._replace(status=error.status)


def _whole(body: bytes, headers: Headers, row: Row | None) -> Answer:
    return Answer(200, [*headers, ("Content-Length", str(len(body)))], body, len(body), None, row)


def _text(text: Text, request: Request, stream: Stream, cors: Headers) -> Answer:
    headers = [_TYPES["m3u8"], _NO_STORE, ("ETag", text.etag), ("Vary", "Accept-Encoding"), *cors]
    body = text.plain
    if text.gzipped is not None and http.accepts_gzip(request.accept_encoding):
        body = text.gzipped
        headers.append(("Content-Encoding", "gzip"))
    if status := http.preconditions(request, text.etag, None):
        return Answer(status, headers, row=(stream.id, Booked.PLAYLIST))
    return _whole(body, headers, (stream.id, Booked.PLAYLIST))


def _ranged(
    body: bytes | Made,
    size: int,
    headers: Headers,
    request: Request,
    film: Film,
    asked: Route,
    stream: Stream,
) -> Answer:
    etag = f'"{film.version}-{asked.rendition}-{asked.kind.value[0]}{asked.number}"'
    headers += [("ETag", etag), ("Accept-Ranges", "bytes")]
    row = (stream.id, Booked.SEGMENT)
    if status := http.preconditions(request, etag, None):
        return Answer(status, headers, row=row)
    span = None
    if request.range is not None and http.if_range(request.if_range, etag, None):
        span = http.ranges(request.range, size)
    if span is None:
        headers.append(("Content-Length", str(size)))
        return Answer(200, headers, body, size, etag, row)
    first, end = span
    headers += [
        ("Content-Length", str(end - first)),
        ("Content-Range", http.content_range(first, end, size)),
    ]
    if isinstance(body, bytes):
        body = body[first:end]
    return Answer(206, headers, body, end - first, etag, row)


def _cors(stream: Stream, request: Request) -> Headers:
    origin = request.origin
    if origin is None:
        return [("Vary", "Origin")] if stream.settings.origins else []
    if origin in stream.settings.origins or "*" in stream.settings.origins:
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date"),
            ("Vary", "Origin"),
        ]
    return [("Vary", "Origin")]


def _rendition(film: Film, asked: Route) -> Rendition:
    rendition = film.renditions.get(asked.rendition)
    if rendition is None:
        raise HttpError(404, "there is no such rendition")
    return rendition


def _suffix(rendition: Rendition) -> str:
    return "ts" if rendition.format == "ts" else "m4s"


def _type(rendition: Rendition) -> tuple[str, str]:
    if rendition.format == "ts":
        return _TYPES["ts"]
    return _TYPES["audio" if rendition.kind == "audio" else "fmp4"]
