"""What a connection gives, as values to compare; and how h11 reads the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import h11

from pystream.server import http
from pystream.server.http import HttpError, Limits, Protocol, Request

# Small enough that cases which reach them can be read.
LIMITS = Limits(request_line=64, headers=256, header_count=8, body=32, pipelined=3)

Outcome = tuple[list[dict[str, Any]], tuple[int, str] | None]


def seen(request: Request) -> dict[str, Any]:
    """A request's values, without those that are absent, empty or false."""
    values = {name: getattr(request, name) for name in Request.__slots__ if name != "fields"}
    names = set(http.Fields.__slots__) - {"conditional"}
    values |= {name: getattr(request.fields, name) for name in names}
    return {name: value for name, value in values.items() if value}


def drain(protocol: Protocol, data: bytes) -> Iterable[Request]:
    requests = protocol.feed(data)
    yield from requests
    while protocol.more:
        assert requests, "nothing was given, and yet there is more"
        requests = protocol.feed(b"")
        yield from requests


def read(pieces: Iterable[bytes], limits: Limits = LIMITS) -> Outcome:
    """What a connection gives: its requests, and the fault that ended it."""
    protocol = Protocol(limits)
    requests = []
    try:
        for piece in pieces:
            for request in drain(protocol, piece):
                requests.append(seen(request))
    except HttpError as error:
        return requests, (error.status, error.reason)
    return requests, None


def in_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def by_h11(data: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Method, target and body of each request as h11 reads them, until it refuses one."""
    while True:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        # RFC 9112 2.2, which h11 leaves out.
        connection.receive_data(data.removeprefix(b"\r\n"))
        body = b""
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            return
        if not isinstance(event, h11.EndOfMessage):
            return
        yield request.method.decode(), request.target, body
        data = connection.trailing_data[0]
