"""The fuzz target of HTTP: any bytes give requests or a declared fault, however a network cuts them.

The first byte chooses limits and how long the pieces are, the others are what a peer sends.
`python -m tests.fuzz http` draws the bytes; `tests/test_fuzz.py` replays those that were kept.
"""

from __future__ import annotations

from itertools import islice

from pystream.server import http
from pystream.server.answers import failure
from pystream.server.edge import Edge
from pystream.server.http import HttpError, Limits, Protocol, RangeNotSatisfiable, Request
from pystream.server.page.texts import TEXTS, language
from pystream.server.routes import route
from pystream.server.settings import Network
from tests.oracles.http import LIMITS, Outcome, by_h11, drain, in_bytes, read

TAIL = b"GET /tail HTTP/1.1\r\nHost: a\r\n\r\n"
FAULTS = {400, 413, 414, 417, 431, 501, 505}
# A proxy on the same machine, and HTTPS elsewhere.
EDGE = Edge(trusted=(Network("127.0.0.0/8"),), https_port=443)


def asked(data: bytes) -> None:
    """The target: raises where the protocol is wrong."""
    choice, stream = data[:1] or b"\0", data[1:]
    limits = Limits() if choice[0] & 1 else LIMITS
    length = (choice[0] >> 1) + 1
    whole = read([stream], limits)
    pieces = [stream[at : at + length] for at in range(0, len(stream), length)]
    for cut in (in_bytes(stream), pieces):
        assert read(cut, limits) == whole, "what was cut otherwise is read otherwise"
    with_a_tail(stream, limits, whole)
    as_h11(stream, limits)
    protocol = Protocol(limits)
    try:
        for request in drain(protocol, stream):
            has_a_meaning(request, limits)
    except HttpError as error:
        assert error.status in FAULTS, f"{error.status} is no fault of a head or a body"
        http.head(error.status, failure(error).headers)


def with_a_tail(stream: bytes, limits: Limits, whole: Outcome) -> None:
    """A request behind what is complete is the next one; behind a fault, or the end, it is nothing."""
    requests, fault = whole
    after = read([stream, TAIL], limits)
    assert read([stream + TAIL], limits) == after
    assert after[0][: len(requests)] == requests
    if fault or (requests and not requests[-1].get("keep_alive")):
        assert after == whole
        return
    protocol = Protocol(limits)
    for _ in drain(protocol, stream):
        pass
    if protocol.waiting == "idle":
        assert after == (requests + read([TAIL], limits)[0], None)
        protocol.eof()
        return
    try:
        protocol.eof()
    except HttpError as error:
        assert error.status == 400
    else:
        raise AssertionError("half a request is none")


def as_h11(stream: bytes, limits: Limits) -> None:
    """h11 takes more than we do. What we take, it takes, and it ends where we say."""
    ours = []
    try:
        for request in drain(Protocol(limits), stream):
            ours.append((request.method, request.path, request.query, request.body))
    except HttpError:
        pass
    theirs = []
    for method, target, body in islice(by_h11(stream), len(ours)):
        path, query = http._split_target(target)
        theirs.append((method, path, query, body))
    assert ours == theirs, f"h11 reads {stream!r} otherwise"


def has_a_meaning(request: Request, limits: Limits) -> None:
    """What is asked of a request that was accepted raises nothing but what it says."""
    fields = request.fields
    segments = request.path.split("/")
    assert segments[0] == "" and "" not in segments[1:-1] and {".", ".."}.isdisjoint(segments)
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in request.path)
    assert len(request.body) <= limits.body
    route(request.path)
    assert http.preconditions(request, '"tag"', 1_900_000_000) in (None, 304, 412)
    http.if_range(fields.if_range, '"tag"', 1_900_000_000)
    http.accepts_gzip(fields.accept_encoding)
    assert language(fields.accept_language) in TEXTS
    for size in (0, 1, 1000):
        try:
            span = http.ranges(fields.range, size)
        except RangeNotSatisfiable:
            continue
        assert span is None or 0 <= span[0] < span[1] <= size
    # What is said back has to be one field each.
    said = [("Access-Control-Allow-Origin", fields.origin or "null")]
    try:
        EDGE.locate(request, "127.0.0.1", False)
        if (place := EDGE.redirection(request)) is not None:
            said.append(("Location", place))
    except HttpError as error:
        assert error.status == 400
    http.head(308, said)
