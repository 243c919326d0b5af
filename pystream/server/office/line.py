"""The line between a worker and the office: one connection a request, over a unix socket.

The socket listens in the abstract namespace under a random name, as that of the desk does, and both
ends look at the other's user (SO_PEERCRED). The supervisor holds it: whoever asks while the office is
being replaced waits in its queue.

The office greets with one byte when it takes a connection. So a worker tells an office that is away, for
which it waits `_GREETING_SECONDS`, from one that has much to do. Each side then says one thing: its
length in four bytes, big-endian, and MessagePack of that length (`Asked`, `Reply`).

What crosses is what handlers may look at, and no more: of the sender's address, the network alone.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from pystream.server import log
from pystream.server.answers import Answer
from pystream.server.desk import is_ours
from pystream.server.entrance import network_of
from pystream.server.http import HttpError, Request
from pystream.server.office.values import FIELDS, Asked, Reply

_BODY = 65_536
_LONG_BODIES: Final = {
    ("POST", "/api/v1/passwords/import"): 8 << 20,
    ("POST", "/api/v1/passwords/revoke"): 1 << 20,
    ("POST", "/api/v1/passwords/erase"): 1 << 20,
    ("POST", "/console/passwords/import"): 8 << 20,
}
LONGEST_BODY: Final = max(_LONG_BODIES.values())
"""Bytes of the longest request that any route takes."""
_AREAS = ("/api/v1/", "/console/")


def longest_body(method: str, path: str) -> int:
    """Bytes that the body of a request may have; 0 where it is none for the office. Workers ask that of all
    that comes, and have nothing else of the office's in them."""
    return _LONG_BODIES.get((method, path), _BODY) if path.startswith(_AREAS) else 0


_LENGTH = struct.Struct(">I")
_LONGEST_ASKED = LONGEST_BODY + (1 << 20)
# Sheets of thousands of cards.
_LONGEST_REPLY = 256 << 20
_PIECE = 1 << 18
_GREETING = b"\x01"
_GREETING_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_READ_SECONDS = 10.0
# Requests that one worker has at the office at a time, and that wait for it.
_AT_ONCE = 64
_ASKED = msgspec.msgpack.Decoder(Asked)
_REPLY = msgspec.msgpack.Decoder(Reply)
_ENCODER = msgspec.msgpack.Encoder()


class Window:
    """A worker's side. `hosts` are the names under which the office is found, in small letters; without
    any, it is found under all."""

    def __init__(self, listener: int, hosts: tuple[str, ...] = ()) -> None:
        with socket.socket(fileno=os.dup(listener)) as named:
            self._name = named.getsockname()
        self._hosts = frozenset(hosts)
        self._asking = 0

    async def ask(self, request: Request, path: str, root: str) -> Answer:
        """The office's answer to a request for `path`, which lies below `root`."""
        host = _host(request)
        if self._hosts and host not in self._hosts:
            return _refused(request, path, HttpError(404, "there is nothing here"))
        if self._asking >= _AT_ONCE:
            return _refused(request, path, _away("there is much to do"))
        fields = {name: getattr(request.fields, name) for name in FIELDS}
        asked = Asked(
            request.method,
            path,
            request.query,
            {name: value for name, value in fields.items() if value is not None},
            request.body,
            request.secure,
            _is_loopback(request.peer) and (host == "localhost" or _is_loopback(host)),
            network_of(request.peer),
            str(root),
        )
        self._asking += 1
        try:
            reply = await self._replied(asked)
        except (OSError, trio.BrokenResourceError, msgspec.DecodeError) as error:
            log.warning("office-not-reached", **log.fault(error))
            reply = None
        finally:
            self._asking -= 1
        if reply is None:
            return _refused(request, path, _away("the office does not answer at present"))
        headers = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        return Answer(reply.status, headers, reply.body, len(reply.body))

    async def _replied(self, asked: Asked) -> Reply | None:
        """None where the office is away, or ended before it had answered."""
        peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        async with trio.SocketStream(peer) as stream:
            with trio.move_on_after(_GREETING_SECONDS) as greeting:
                await peer.connect(self._name)
                if not is_ours(peer._sock):  # type: ignore[attr-defined]
                    raise OSError("the office is another user's")
                if await stream.receive_some(1) != _GREETING:
                    return None
            if greeting.cancelled_caught:
                return None
            with trio.move_on_after(_ANSWER_SECONDS):
                await stream.send_all(_framed(asked))
                message = await _read(stream, _LONGEST_REPLY)
                return None if message is None else _REPLY.decode(message)
            return None


async def take(stream: trio.SocketStream, answer: Callable[[Asked], Awaitable[Reply]]) -> None:
    """The office's side: answers what one connection asks."""
    if not is_ours(stream.socket._sock):  # type: ignore[attr-defined]
        return
    try:
        await stream.send_all(_GREETING)
        message = None
        with trio.move_on_after(_READ_SECONDS):
            message = await _read(stream, _LONGEST_ASKED)
        if message is not None:
            await stream.send_all(_framed(await answer(_ASKED.decode(message))))
    except trio.BrokenResourceError:
        # Whoever asked has gone.
        return
    except msgspec.DecodeError as error:
        log.warning("office-line-broken", **log.fault(error))


async def _read(stream: trio.SocketStream, longest: int) -> bytearray | None:
    """One message; None where the line ends before. Raises `trio.BrokenResourceError`."""
    data = bytearray()
    wanted = _LENGTH.size
    while len(data) < wanted:
        piece = await stream.receive_some(min(wanted - len(data), _PIECE))
        if not piece:
            return None
        data += piece
        if wanted == _LENGTH.size == len(data):
            wanted += _LENGTH.unpack(data)[0]
            if wanted > longest:
                raise trio.BrokenResourceError("a message is too long")
    del data[: _LENGTH.size]
    return data


def _framed(message: msgspec.Struct) -> bytes:
    encoded = _ENCODER.encode(message)
    return _LENGTH.pack(len(encoded)) + encoded


def _host(request: Request) -> str:
    """The Host field without its port, in small letters (RFC 9110 7.2)."""
    text = (request.fields.host or "").lower()
    name, colon, port = text.rpartition(":")
    return name if colon and (port.isdigit() or not port) else text


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.strip("[]")).is_loopback
    except ValueError:
        return False


def _away(reason: str) -> HttpError:
    return HttpError(503, reason, (("Retry-After", "2"),))


def _refused(request: Request, path: str, error: HttpError) -> Answer:
    """What is said of it here: a problem document to programs, a line to people."""
    if path.startswith("/api/"):
        problem = {"title": error.reason, "status": error.status}
        kind, body = "application/problem+json", json.dumps(problem).encode()
    else:
        kind, body = "text/plain; charset=utf-8", f"{error.reason}\n".encode()
    headers = [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        *error.headers,
        ("Content-Length", str(len(body))),
    ]
    return Answer(error.status, headers, body, len(body))
