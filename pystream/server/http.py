"""HTTP/1.1 as a state machine: bytes in, requests out (RFC 9110, RFC 9112).

No socket, no task, no clock. `Protocol` takes what a peer sent, however it was cut, and gives the
requests in order; the functions below it answer what a request asks for: ranges, preconditions,
codings, the head of a response.

How a connection is read, and why two parsers never disagree about it:

1.  Where a message ends is decided here and nowhere else. A head is cut at its first empty line and
    must match one grammar, `_REQUEST_LINE` and `_FIELD_LINES`, which is narrower than RFC 9112
    wherever servers and proxies are known to differ: a bare CR or LF, a folded line, a space before
    a colon, a control byte, a fragment or a scheme in the target.
2.  A head that passed is split into its fields by llhttp (httptools), which has to accept it as
    well. Each head gets a new parser, and only the head: nothing of one message reaches the next.
    llhttp alone is not enough. It takes a bare LF after a request line without a version, and where
    a request asks for an `Upgrade` it skips the body that Content-Length announces, so that the
    body would be the next request. A head that differs from the one before it in its target alone,
    as a player's do, is not read a second time: what it says is known.
3.  A body is counted out by Content-Length or by chunks. Both at once are refused (RFC 9112 6.3),
    as is every other coding.
4.  Every fault is told at a byte, and of several the first counts. So the answer depends on the
    bytes alone, not on how a network cut them, and nothing waits for more than it needs.
5.  After a fault, and after a request that ends the connection, nothing more is read.
"""

from __future__ import annotations

import math
import re
import time
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import httptools

from pystream._core import plain_path
from pystream.errors import PystreamError


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a request is read before it is refused.

    request_line: bytes, without the line's end.
    headers: bytes of all fields, the empty line included. Chunk extensions and trailer fields
        together have as many again.
    header_count: fields.
    body: bytes of content, decoded.
    pipelined: requests that one `Protocol.feed` gives at most.
    long_bodies: which requests may have longer bodies.
    """

    request_line: int = 8192
    headers: int = 16384
    header_count: int = 100
    body: int = 65536
    pipelined: int = 16
    long_bodies: LongBodies | None = None

    def body_of(self, method: str, path: str) -> int:
        """Bytes that the body of a request may have."""
        longer = self.long_bodies
        return self.body if longer is None else max(self.body, longer.most(method, path))


class LongBodies:
    """Bodies beyond the limit of all others: `most` says how long that of a method and a path may be, 0
    for no more than others. At most `at_once` are read at a time, all connections of a process
    together: nobody who sends one has shown yet who that is.

    Where there is no place left, the slowest one gives way to who comes, unless it comes with `least` bytes
    a second or began within `_BEGIN_SECONDS`: so whoever is to keep others out has to send as much as they
    would. `clock` gives seconds.
    """

    def __init__(
        self,
        most: Callable[[str, str], int],
        at_once: int,
        least: int = 65_536,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._at_once = at_once
        self._least = least
        self._clock = clock
        # When each began. A body that nobody reads any more is out of it by itself.
        self._under_way = WeakKeyDictionary[_Body, float]()

    def begin(self, body: _Body) -> None:
        """Raises `HttpError` where too many are read."""
        now = self._clock()
        if len(self._under_way) >= self._at_once:
            slowest = self._slowest(now)
            if slowest is None:
                after = ("Retry-After", "5")
                raise HttpError(503, "too many long bodies are on their way", (after,))
            slowest.gives_way = True
            del self._under_way[slowest]
        self._under_way[body] = now

    def _slowest(self, now: float) -> _Body | None:
        """The one that gives way, if one has to."""
        # Not where it is raised: who keeps the error would keep all of them.
        slow = [
            (each.received / (now - began), each)
            for each, began in self._under_way.items()
            if now - began >= _BEGIN_SECONDS
        ]
        rate, slowest = min(slow, key=lambda each: each[0], default=(math.inf, None))
        return slowest if rate < self._least else None


_BEGIN_SECONDS = 2.0


class HttpError(PystreamError):
    """A request is answered with `status`, and these `headers` among others.

    `reason` is for whoever debugs a client. It never quotes the request, which may hold a grant.
    `kind` is for pages, where they tell viewers more than the status does, and `facts` what goes with it,
    as JSON values.
    """

    kind: str | None = None
    facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers


class MethodNotAllowed(HttpError):
    """RFC 9110 15.5.6: only the `allowed` methods mean anything here."""

    def __init__(self, *allowed: str) -> None:
        told = " or ".join(method for method in allowed if method != "OPTIONS")
        super().__init__(405, f"this takes {told}", (("Allow", ", ".join(allowed)),))


class RangeNotSatisfiable(HttpError):
    """RFC 9110 15.5.17: no byte of the range exists."""

    def __init__(self, size: int) -> None:
        content_range = ("Content-Range", f"bytes */{size}")
        super().__init__(416, f"the range lies outside the {size} bytes", (content_range,))


class Fields:
    """What a request's header fields say, of those that somebody here looks at. None where a field is
    absent; joined by ", " where it was sent several times (RFC 9110 5.3). Requests in a row that say the
    same share one, so nobody changes it.

    conditional: there are preconditions (RFC 9110 13.1), Range's own aside.
    """

    __slots__ = (
        "accept",
        "accept_encoding",
        "accept_language",
        "access_control_request_headers",
        "access_control_request_method",
        "authorization",
        "conditional",
        "content_type",
        "cookie",
        "forwarded",
        "hdnts",
        "host",
        "idempotency_key",
        "if_match",
        "if_modified_since",
        "if_none_match",
        "if_range",
        "if_unmodified_since",
        "origin",
        "range",
        "referer",
        "sec_fetch_dest",
        "x_forwarded_for",
        "x_forwarded_proto",
    )

    def __init__(self, found: Mapping[bytes, str]) -> None:
        field = found.get
        self.accept = field(b"accept")
        self.accept_encoding = field(b"accept-encoding")
        self.accept_language = field(b"accept-language")
        self.access_control_request_headers = field(b"access-control-request-headers")
        self.access_control_request_method = field(b"access-control-request-method")
        self.authorization = field(b"authorization")
        self.content_type = field(b"content-type")
        self.cookie = field(b"cookie")
        self.forwarded = field(b"forwarded")
        self.hdnts = field(b"hdnts")
        self.host = field(b"host")
        self.idempotency_key = field(b"idempotency-key")
        self.if_match = field(b"if-match")
        self.if_modified_since = field(b"if-modified-since")
        self.if_none_match = field(b"if-none-match")
        self.if_range = field(b"if-range")
        self.if_unmodified_since = field(b"if-unmodified-since")
        self.origin = field(b"origin")
        self.range = field(b"range")
        self.referer = field(b"referer")
        self.sec_fetch_dest = field(b"sec-fetch-dest")
        self.x_forwarded_for = field(b"x-forwarded-for")
        self.x_forwarded_proto = field(b"x-forwarded-proto")
        conditions = (
            *(self.if_match, self.if_none_match),
            *(self.if_modified_since, self.if_unmodified_since),
        )
        self.conditional = conditions != (None, None, None, None)


_NO_FIELDS = Fields({})


class Request:
    """A complete request.

    path: percent-decoded once; begins with "/", holds no empty segment but the last, no "." and
        "..", no control character. A first segment that is a token of bunny.net's (`bcdn_token=...`)
        is as it was sent.
    query: as it was sent, without "?"; "" where there is none.
    keep_alive: the connection may serve another request (RFC 9112 9.3).
    kind, place: for who counts: what it asks for, as routes name it, and tenant and stream, once
        they are known to exist.
    peer, secure: the address of whoever sent it, and whether by HTTPS; known to the connection, not
        to the bytes, and "" and False until it says so.
    means: its path, taken apart by whoever has counted it; None until then.
    """

    __slots__ = (
        *("body", "fields", "http_1_0", "keep_alive", "kind", "means", "method", "path", "peer"),
        *("place", "query", "secure"),
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: str = "",
        fields: Fields = _NO_FIELDS,
        *,
        http_1_0: bool = False,
        keep_alive: bool = True,
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.fields = fields
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive
        self.body = body
        self.kind: str | None = None
        self.place: tuple[str, str] | None = None
        self.means: Any = None
        self.peer = ""
        self.secure = False

    def __repr__(self) -> str:
        # Paths hold grants, queries and fields hold what viewers would not see in a log.
        return f"<Request {self.method}>"


# What routes and answers look at, and what this module needs. All else is forgotten at once.
_KEPT = {
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"authorization",
    b"connection",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"hdnts",
    b"host",
    b"idempotency-key",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"origin",
    b"range",
    b"referer",
    b"sec-fetch-dest",
    b"transfer-encoding",
    b"x-forwarded-for",
    b"x-forwarded-proto",
}


class Protocol:
    """One connection's requests.

    `feed` gives the requests that are complete. It raises HttpError where the peer is at fault:
    answer with that and close. Requests complete before the fault are given first; while `more` is
    true, answer those and call `feed(b"")` for what follows, be it requests or the fault, before
    you read from the peer again.

    more: `feed(b"")` goes on with bytes that are here already.
    expects_continue: the peer waits for 100 (Continue) before it sends the body (RFC 9110 10.1.1).
    """

    __slots__ = (
        "_at",
        "_data",
        "_ended",
        "_error",
        "_last",
        "_limits",
        "_searched",
        "_unfinished",
        "expects_continue",
        "more",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self.more = False
        self.expects_continue = False
        self._limits = _DEFAULT_LIMITS if limits is None else limits
        # From `_at` on, what belongs to no request yet, and how far that was searched for strays.
        self._data = b""
        self._at = 0
        self._searched = 0
        # A request whose body is on its way, and what reads that.
        self._unfinished: tuple[Request, _Body] | None = None
        self._last: _Head | None = None
        self._error: HttpError | None = None
        self._ended = False

    @property
    def waiting(self) -> Literal["idle", "head", "body"]:
        """What the peer is expected to send next. A request that has not begun is "idle"."""
        if self._unfinished is not None:
            return "body"
        # RFC 9112 2.2: the empty line that some clients send after a body begins no request.
        return "idle" if not self._data or self._data[self._at :] in (b"", b"\r\n") else "head"

    def feed(self, data: bytes) -> list[Request]:
        requests: list[Request] = []
        self.more = False
        if self._error is not None:
            raise self._error
        if self._ended:
            return requests
        if data:
            self.expects_continue = False
            if self._last is not None and not self._data:
                path = _same_but_path(data, self._last, self._limits)
                if path is not None:
                    return [Request(self._last.method, path, "", self._last.fields)]
            if self._at < len(self._data):
                data = self._data[self._at :] + data
            self._data, self._at = data, 0
        try:
            while len(requests) < self._limits.pipelined:
                request = self._next()
                if request is None:
                    break
                requests.append(request)
                if not request.keep_alive:
                    # RFC 9112 9.6: what follows "close" is not processed.
                    self._ended = True
                    self._forget()
                    break
            else:
                self.more = self._at < len(self._data)
        except HttpError as error:
            self._error = error
            self._forget()
            if not requests:
                raise
            self.more = True
        if self._at == len(self._data):
            # Thousands of connections are idle; none keeps what it has read.
            self._data, self._at = b"", 0
        return requests

    def bytes_of(self, request: Request) -> bytes | None:
        """The bytes that are this request, the last one that was read, whenever they come next and nothing
        before them; None where something else is on its way, or it was not read from a path alone."""
        last = self._last
        if last is None or last.fields is not request.fields or self.more or self._data:
            return None
        if request.query:
            return None
        data = last.begin + request.path.encode() + last.text
        is_it = (
            len(data) <= _REMEMBERED and _same_but_path(data, last, self._limits) == request.path
        )
        return data if is_it else None

    def eof(self) -> None:
        """The peer will send no more. Raises HttpError if it stopped within a request."""
        if self._error is None and self.waiting != "idle":
            where = self.waiting
            self._error = HttpError(400, f"the connection ended within a request's {where}")
            self._forget()
            raise self._error

    def _forget(self) -> None:
        self._data, self._at = b"", 0
        self._unfinished = self._last = None
        self.expects_continue = False

    def _next(self) -> Request | None:
        if self._unfinished is None:
            cut = self._cut_head()
            if cut is None:
                return None
            head, path, query = _parse_head(cut, self._limits, self._last)
            self._last = head if len(head.text) <= _REMEMBERED else None
            request = Request(
                head.method,
                path,
                query,
                head.fields,
                http_1_0=head.http_1_0,
                keep_alive=head.keep_alive,
            )
            if head.length == 0:
                return request
            self._unfinished = request, head.body(self._limits, path)
            self.expects_continue = head.expects_continue and self._at == len(self._data)
        request, body = self._unfinished
        self._at, content = body.take(self._data, self._at)
        if content is None:
            return None
        request.body = content
        self._unfinished = None
        return request

    def _cut_head(self) -> bytes | None:
        """The bytes up to the empty line; None as long as that has not come."""
        data, start = self._data, self._at
        # RFC 9112 2.2: one empty line before a request is ignored.
        if data.startswith(b"\r\n", start):
            start += 2
        too_long = _LINE_TOO_LONG
        bound = start + self._limits.request_line + 2
        end = -1
        line = data.find(b"\r\n", start, bound)
        if line >= 0:
            too_long = _HEADERS_TOO_LONG
            bound = line + 2 + self._limits.headers
            end = data.find(b"\r\n\r\n", line, bound)
        if end >= 0:
            self._at = end + 4
            self._searched = 0
            return data[start : end + 4]
        # A peer that speaks no HTTP, or ends its lines with LF, would wait for an answer for ever.
        # What is before a head, a body's last byte, is none of it.
        stray = data.startswith(b"\n", self._at)
        if stray or _STRAY.search(data, self._at + self._searched, bound):
            raise HttpError(400, _STRAY_REASON)
        if len(data) >= bound:
            raise HttpError(*too_long)
        # The last byte may be the CR of a CR LF.
        self._searched = max(0, len(data) - self._at - 1)
        return None


_DEFAULT_LIMITS = Limits()
# Bytes of the last head that an idle connection keeps, at most. Browsers send 500 to 1,000.
_REMEMBERED = 2048

_LINE_TOO_LONG = 414, "the request line is too long"
_HEADERS_TOO_LONG = 431, "the header fields are too long"

# RFC 9112 2.2, RFC 9110 5.5. A CR that ends the bytes at hand may yet be followed by its LF.
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
_STRAY_REASON = "a control byte, or a CR or LF alone, stands in the head (RFC 9112 2.2)"

# RFC 9110 5.6.2 and 5.5. No quantifier gives anything back, so that a match takes linear time. Of groups,
# (?>(?:...)*) and not (?:...)*+, which Python before 3.11.5 takes for more than it is.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD = _TOKEN + rb":[\t -~\x80-\xff]*+"
# RFC 9112 3 and 5. One space is one space, and no field is folded.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]++) HTTP/([0-9]\.[0-9])\r\n")
_FIELD_LINE = re.compile(_FIELD + rb"\r\n")
_FIELD_LINES = re.compile(rb"(?>(?:" + _FIELD + rb"\r\n)*)\r\n")

# RFC 3986 3.3: pchar.
_PCHARS = rb"[A-Za-z0-9\-._~!$&'()*+,;=:@]++"
_PATH = re.compile(rb"(?>(?:/(?>(?:" + _PCHARS + rb"|%[0-9A-Fa-f]{2})+))*)/?+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_ESCAPED_SEPARATOR = re.compile(rb"%(?:2[Ff]|5[Cc])")
# Cut off in front of the path, and with nothing else in it than what a query may have.
_TOKEN_SEGMENT = re.compile(r"/bcdn_token=[^/]*(?=/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# RFC 9110 7.2. The host of an http URI is not empty (RFC 9110 4.2.1).
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_OTHER_CODING = re.compile(rb"\r\n(?i:transfer-encoding:[ \t]*+(?!chunked[ \t]*+\r\n))")


class _Head:
    """What a head says apart from its target. Requests in a row often say the same.

    begin, text: the bytes before and behind the target.
    length: of the body; None where it comes in chunks.
    """

    __slots__ = (
        "begin",
        "expects_continue",
        "fields",
        "http_1_0",
        "keep_alive",
        "length",
        "method",
        "text",
    )

    def __init__(self, method: str, text: bytes, fields: dict[bytes, str], limits: Limits) -> None:
        self.method = method
        self.begin = f"{method} ".encode("ascii")
        self.text = text
        self.fields = Fields(fields)
        self.http_1_0 = text.startswith(b" HTTP/1.0")
        self.length = _length(fields, self.http_1_0)
        self.keep_alive = _keep_alive(fields.get(b"connection"), self.http_1_0)
        # RFC 9112 3.2: one Host, and a valid one. Two were joined by a comma.
        host = fields.get(b"host")
        if host is None:
            if not self.http_1_0:
                raise HttpError(400, "the Host field is missing (RFC 9112 3.2)")
        elif _HOST.fullmatch(host) is None:
            raise HttpError(400, "there is not one Host field with one host in it (RFC 9112 3.2)")
        expectation = fields.get(b"expect")
        if expectation is not None and expectation.lower() != "100-continue":
            raise HttpError(417, "the only expectation met is 100-continue (RFC 9110 10.1.1)")
        # RFC 9110 10.1.1: HTTP/1.0 knows no 100 (Continue).
        self.expects_continue = expectation is not None and not self.http_1_0

    def body(self, limits: Limits, path: str) -> _Body:
        """What reads the body of a request. Raises `HttpError` where it is too long."""
        most = limits.body_of(self.method, path)
        if self.length is not None and self.length > most:
            raise HttpError(*_BODY_TOO_LONG)
        body = _Chunked(limits, most) if self.length is None else _Counted(self.length)
        is_long = most > limits.body and (self.length is None or self.length > limits.body)
        if is_long and limits.long_bodies is not None:
            limits.long_bodies.begin(body)
        return body


def _parse_head(head: bytes, limits: Limits, last: _Head | None) -> tuple[_Head, str, str]:
    """What a head says, its path and its query. `last`: what the head before it said."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise HttpError(400, _what_is_malformed(head))
    method = line[1].decode("ascii")
    text = head[line.end(2) :]
    said = last if last is not None and last.text == text and last.method == method else None
    if said is None:
        if _FIELD_LINES.fullmatch(head, line.end()) is None:
            raise HttpError(400, _what_is_malformed(head))
        if not line[3].startswith(b"1."):
            raise HttpError(505, "the version is not HTTP/1")
        if head.count(b"\r\n") - 2 > limits.header_count:
            raise HttpError(431, f"there are more than {limits.header_count} header fields")
    path, query = _split_target(line[2])
    if said is None:
        if line[3] > b"1.1":
            # RFC 9110 2.5: a higher minor version is taken for the highest one known, also by llhttp.
            head = head[: line.start(3)] + b"1.1" + head[line.end(3) :]
        said = _Head(method, text, _fields(head), limits)
    return said, path, query


def _same_but_path(data: bytes, last: _Head, limits: Limits) -> str | None:
    """The path, where `data` is a whole request without a body and differs from the last one in
    that alone, as most of a player's requests do.

    Only what cannot be read in another way is read here: the path has no character but those of a
    path, so the head ends where the last one's did. All else, faults among it, is None.
    """
    # Where a body is on its way, the last head is that of the body, so its length is not 0.
    if last.length != 0 or last.http_1_0:
        return None
    most = limits.request_line - len(last.begin) - _VERSION_BYTES
    return plain_path(data, last.begin, last.text, most) if most > 0 else None


_VERSION_BYTES = len(" HTTP/1.1")


def _what_is_malformed(head: bytes) -> str:
    if _STRAY.search(head):
        return _STRAY_REASON
    if _REQUEST_LINE.match(head) is None:
        return "the first line is no request line (RFC 9112 3)"
    for number, line in enumerate(head.splitlines(keepends=True)):
        if line.startswith((b" ", b"\t")):
            return f"header field {number} begins with white space (RFC 9112 2.2, 5.2)"
        if number and _FIELD_LINE.fullmatch(line) is None:
            break
    return f"header field {number} is no name with a colon right behind it (RFC 9112 5.1)"


class _Sink:
    """What llhttp calls: keeps the fields that are needed."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: dict[bytes, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _KEPT:
            text = value.decode("latin-1").strip(" \t")
            earlier = self.fields.get(name)
            self.fields[name] = text if earlier is None else f"{earlier}, {text}"


def _fields(head: bytes) -> dict[bytes, str]:
    sink = _Sink()
    try:
        httptools.HttpRequestParser(sink).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # RFC 9110 7.8: a server may ignore Upgrade.
    except httptools.HttpParserInvalidMethodError:
        raise HttpError(501, "the method is unknown (RFC 9110 9.1)") from None
    except httptools.HttpParserError as error:
        if _OTHER_CODING.search(head):
            raise HttpError(*_CODING_REFUSED) from None
        raise HttpError(400, f"llhttp refuses the head: {error}") from None
    return sink.fields


_CODING_REFUSED = 501, "the only transfer coding understood is chunked (RFC 9112 6.1)"


def _split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a target in origin-form (RFC 9112 3.2.1), the only one that is served.

    RFC 9112 3.2.2 wants absolute-form accepted too. No client sends it to an origin, and it would
    bring a second host that might differ from the Host field.
    """
    raw, mark, query = target.partition(b"?")
    if not raw.startswith(b"/"):
        raise HttpError(400, "the target does not begin with a slash (RFC 9112 3.2.1)")
    if _PATH.fullmatch(raw) is None:
        raise HttpError(400, "the path has an empty segment or a character that is not allowed")
    # Browsers leave more characters in a query than RFC 3986 3.4 allows.
    if mark and b"#" in query:
        raise HttpError(400, "a target has no fragment (RFC 9112 3.2.1)")
    path = _decoded(raw) if b"%" in raw else raw.decode("ascii")
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise HttpError(400, "the path has a dot segment (RFC 3986 3.3)")
    return path, query.decode("ascii")


def _decoded(raw: bytes) -> str:
    """Decoded once, and never again by whoever gets it: "%252e" is the text "%2e"."""
    as_sent, rest = split_token(raw.decode("ascii"))
    raw = rest.encode("ascii")
    if _ESCAPED_SEPARATOR.search(raw):
        raise HttpError(400, "the path has an encoded slash or backslash")
    try:
        path = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), raw).decode()
    except UnicodeDecodeError:
        raise HttpError(400, "the decoded path is not UTF-8") from None
    if _CONTROL.search(path):
        raise HttpError(400, "the path has an encoded control character")
    return as_sent + path


def split_token(path: str) -> tuple[str, str]:
    """The first segment of a path where that is a token of bunny.net's, which holds an encoded path of its
    own and so is as it was sent, and what is behind it."""
    token = _TOKEN_SEGMENT.match(path)
    length = token.end() if token else 0
    return path[:length], path[length:]


def _length(fields: dict[bytes, str], http_1_0: bool) -> int | None:
    """The length of the body; None where it comes in chunks (RFC 9112 6.3).

    llhttp has refused several Content-Length fields, one that is no number below 2^64, and one
    beside Transfer-Encoding.
    """
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise HttpError(*_CODING_REFUSED)
        if http_1_0:
            # RFC 9112 6.1: the framing of such a message is faulty.
            raise HttpError(400, "HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)")
        return None
    digits = fields.get(b"content-length", "0")
    if len(digits) > _LENGTH_DIGITS:
        # Others take no more, and zeros in front are only ever sent to confuse.
        raise HttpError(400, f"Content-Length has more than {_LENGTH_DIGITS} digits")
    return int(digits)


# RFC 9110 15.5.9
_GAVE_WAY = 408, "the body came so slowly that it gave way to others"
_BODY_TOO_LONG = 413, "the body is too long"
# Of the largest number of 64 bits.
_LENGTH_DIGITS = 20


def _keep_alive(connection: str | None, http_1_0: bool) -> bool:
    """RFC 9112 9.3."""
    if connection is None:
        return not http_1_0
    options = [option.strip(" \t") for option in connection.lower().split(",")]
    return "close" not in options and (not http_1_0 or "keep-alive" in options)


class _Body(typing.Protocol):
    """`received`: bytes of content that are here. `gives_way`: no more of it is taken."""

    gives_way: bool

    @property
    def received(self) -> int: ...

    def take(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """Takes what belongs to the body from `at` on: where it stopped, and the whole body once
        that is complete."""


class _Counted:
    """A body with a Content-Length (RFC 9112 6.2)."""

    __slots__ = ("__weakref__", "_content", "_left", "gives_way")

    def __init__(self, length: int) -> None:
        self.gives_way = False
        self._content = bytearray()
        self._left = length

    @property
    def received(self) -> int:
        return len(self._content)

    def take(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        if self.gives_way:
            raise HttpError(*_GAVE_WAY)
        piece = data[at : at + self._left]
        self._content += piece
        self._left -= len(piece)
        return at + len(piece), None if self._left else bytes(self._content)


# RFC 9112 7.1. White space around extensions is only ever sent to confuse (7.1.1), and a size of
# more digits is beyond any limit.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8}+)((?>(?:;[\t -~\x80-\xff]*+)?))")
_SIZE_DIGITS = 8
# Whoever believed these there would find another end.
_FRAMING = re.compile(rb"(?i:content-length|transfer-encoding):")


class _Chunked:
    """A body in chunks (RFC 9112 7.1). Extensions and trailer fields are read over."""

    __slots__ = (
        *("__weakref__", "_at_end", "_content", "_in_trailer", "_left", "_most", "_spare"),
        "gives_way",
    )

    def __init__(self, limits: Limits, most: int) -> None:
        self.gives_way = False
        self._most = most
        self._content = bytearray()
        # Bytes of the chunk that has begun; all are here, but the line's end behind them.
        self._left = 0
        self._at_end = False
        self._in_trailer = False
        # Bytes that extensions and trailer fields may still have (RFC 9112 7.1.1).
        self._spare = limits.headers

    @property
    def received(self) -> int:
        return len(self._content)

    def take(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        if self.gives_way:
            raise HttpError(*_GAVE_WAY)
        while True:
            if self._left:
                piece = data[at : at + self._left]
                self._content += piece
                self._left -= len(piece)
                at += len(piece)
                self._at_end = self._left == 0
            if self._at_end and len(data) - at >= 2:
                # What follows would be data to some and a chunk to others.
                if not data.startswith(b"\r\n", at):
                    raise HttpError(400, "a chunk is longer than its size says (RFC 9112 7.1)")
                self._at_end = False
                at += 2
            if self._left or self._at_end:
                return at, None
            end = self._line_end(data, at)
            if end is None:
                return at, None
            if self._in_trailer:
                if end == at:
                    return at + 2, bytes(self._content)
                self._pass_over(data[at : end + 2])
            else:
                self._begin_chunk(data[at:end])
            at = end + 2

    def _line_end(self, data: bytes, at: int) -> int | None:
        bound = at + _SIZE_DIGITS + self._spare + 2
        end = data.find(b"\r\n", at, bound)
        if end < 0 and len(data) >= bound:
            raise HttpError(*_EXTRAS_TOO_LONG)
        return end if end >= 0 else None

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise HttpError(400, "a chunk does not begin with its size (RFC 9112 7.1)")
        self._spend(len(match[2]))
        self._left = int(match[1], 16)
        self._in_trailer = self._left == 0
        if len(self._content) + self._left > self._most:
            raise HttpError(*_BODY_TOO_LONG)

    def _pass_over(self, line: bytes) -> None:
        if _FIELD_LINE.fullmatch(line) is None:
            raise HttpError(400, "the trailer section has a line that is no field (RFC 9112 7.1.2)")
        if _FRAMING.match(line):
            raise HttpError(400, "a trailer field frames what is over (RFC 9110 6.5.1)")
        self._spend(len(line))

    def _spend(self, count: int) -> None:
        self._spare -= count
        if self._spare < 0:
            raise HttpError(*_EXTRAS_TOO_LONG)


_EXTRAS_TOO_LONG = 431, "chunk extensions and trailer fields are too long"


# RFC 9110 14.1.2; units are named without regard to case (14.1). No file needs more digits.
_RANGE = re.compile(r"(?i:bytes)=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*")


def ranges(value: str | None, size: int) -> tuple[int, int] | None:
    """The bytes [first, end) that `Range: value` asks for, of `size`; None means all of them.

    A server may ignore the field (RFC 9110 14.2), and does so for what is malformed, another unit,
    and several ranges, which no player needs and which multiply the work. Raises
    RangeNotSatisfiable.
    """
    match = None if value is None else _RANGE.fullmatch(value)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        if int(last) == 0:
            raise RangeNotSatisfiable(size)
        # The last bytes of nothing do exist, but no Content-Range can say so (14.1.2, 14.4).
        return (max(0, size - int(last)), size) if size else None
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise RangeNotSatisfiable(size)
    return int(first), min(int(last) + 1, size) if last else size


def content_range(first: int, end: int, size: int) -> str:
    """The value of Content-Range (RFC 9110 14.4)."""
    return f"bytes {first}-{end - 1}/{size}"


_ETAG = r'(?:W/)?"[!#-~\x80-\xff]*+"'
_ONE_ETAG = re.compile(_ETAG)
# RFC 9110 5.6.1: empty elements of a list are passed over.
_ETAGS = re.compile(rf"[ \t,]*+(?>(?:{_ETAG}[ \t]*+(?:,[ \t,]*+|\Z))+)")


def etag(opaque: str, weak: bool = False) -> str:
    """An entity tag, quoted (RFC 9110 8.8.3). ValueError for characters that it cannot hold."""
    tag = f'W/"{opaque}"' if weak else f'"{opaque}"'
    if _ONE_ETAG.fullmatch(tag) is None:
        raise ValueError("an entity tag cannot hold white space, quotes or control characters")
    return tag


def preconditions(
    request: Request, etag: str | None, modified: int | None
) -> Literal[304, 412] | None:
    """What the request's conditions make of it (RFC 9110 13.2.2); None means go on.

    etag: the representation's entity tag, as `etag` makes it.
    modified: Last-Modified, in seconds of the epoch.
    A condition on what the representation lacks, or one that is malformed, counts as absent, except
    that a malformed If-Match holds for nothing.
    """
    fields = request.fields
    if not fields.conditional:
        return None
    safe = request.method in ("GET", "HEAD")
    if fields.if_match is not None:
        if not matches(fields.if_match, etag, strongly=True):
            return 412
    elif fields.if_unmodified_since is not None and modified is not None:
        since = timestamp(fields.if_unmodified_since)
        if since is not None and modified > since:
            return 412
    if fields.if_none_match is not None:
        if matches(fields.if_none_match, etag, strongly=False):
            return 304 if safe else 412
    elif fields.if_modified_since is not None and modified is not None and safe:
        since = timestamp(fields.if_modified_since)
        if since is not None and modified <= since:
            return 304
    return None


def if_range(value: str | None, etag: str | None, modified: int | None) -> bool:
    """Whether Range may be honoured, given `If-Range: value` (RFC 9110 13.1.5).

    Tags are compared strongly, dates exactly. A date is a strong validator only for what cannot
    change twice in a second (8.8.2.2); pass None as `modified` for all else.
    """
    if value is None:
        return True
    if _ONE_ETAG.fullmatch(value):
        return matches(value, etag, strongly=True)
    return modified is not None and timestamp(value) == modified


def matches(value: str, etag: str | None, strongly: bool) -> bool:
    """Whether the list of If-Match or If-None-Match names `etag` (RFC 9110 8.8.3.2)."""
    if value == "*":
        return True
    if etag is None or _ETAGS.fullmatch(value) is None:
        return False
    tags = _ONE_ETAG.findall(value)
    if strongly:
        return not etag.startswith("W/") and etag in tags
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHORT_DAY = f"(?:{'|'.join(day[:3] for day in _DAYS)})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_EPOCH = date(1970, 1, 1).toordinal()

# RFC 9110 5.6.7: the form of today, and the two that recipients still have to read.
_DATE_FORMS = (
    re.compile(rf"{_SHORT_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(
        rf"(?P<weekday>{'|'.join(_DAYS)}), "
        rf"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
    ),
    re.compile(rf"{_SHORT_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def http_date(seconds: int) -> str:
    """Seconds of the epoch as an IMF-fixdate (RFC 9110 5.6.7)."""
    at = time.gmtime(seconds)
    day, month = _DAYS[at.tm_wday][:3], _MONTHS[at.tm_mon - 1]
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year:04} {clock} GMT"


def timestamp(value: str) -> int | None:
    """An HTTP date in seconds of the epoch; None if it is none (RFC 9110 5.6.7)."""
    for form in _DATE_FORMS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    part = match.groupdict()
    year, month, day = int(part["year"]), _MONTHS.index(part["month"]) + 1, int(part["day"])
    try:
        if "weekday" in part:
            # Of a year in two digits, the century is the one in which the weekday is right: within
            # two centuries it is so in one only, and no clock is needed.
            weekday = _DAYS.index(part["weekday"])
            centuries = [date(century + year, month, day) for century in (1900, 2000)]
            (at,) = [at for at in centuries if at.weekday() == weekday]
        else:
            at = date(year, month, day)
    except ValueError:
        return None
    hour, minute, second = int(part["hour"]), int(part["minute"]), int(part["second"])
    return (((at.toordinal() - _EPOCH) * 24 + hour) * 60 + minute) * 60 + second


# RFC 9110 12.4.2.
_WEIGHT = re.compile(r"[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*")


def accepts_gzip(value: str | None) -> bool:
    """Whether `Accept-Encoding: value` likes gzip at least as well as no coding (RFC 9110 12.5.3).

    Without the field any coding would do, and none is the one that everybody reads.
    """
    if value is None:
        return False
    return _known_gzip(value) if len(value) <= _SHORT else _gzip(value)


def _gzip(value: str) -> bool:
    weights: dict[str, float] = {}
    for element in value.lower().split(","):
        coding, mark, parameter = element.partition(";")
        weight = 1.0
        if mark:
            match = _WEIGHT.fullmatch(parameter)
            weight = 0.0 if match is None else float(match[1])
        weights[coding.strip(" \t")] = weight
    # RFC 9110 8.4.1.3: x-gzip is the same.
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


_known_gzip = lru_cache(64)(_gzip)


def asks_for_html(value: str | None) -> bool:
    """Whether `Accept: value` names HTML (RFC 9110 12.5.1), as a browser does for what it shows in a
    window, and for nothing that a player or a script fetches."""
    for element in (value or "").lower().split(","):
        media, _, parameters = element.partition(";")
        if media.strip(" \t") == "text/html":
            weights = filter(None, map(_WEIGHT.fullmatch, parameters.split(";")))
            return all(float(weight[1]) > 0 for weight in weights)
    return False


# RFC 9110 15 names some otherwise than older Pythons do.
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii") for status, phrase in PHRASES.items()
}


def head(status: int, headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """The head of a response. ValueError for a field that would not be one field (RFC 9110 5.5)."""
    lines = [
        (_known_line if len(value) <= _SHORT else _field_line)(name, value)
        for name, value in headers
    ]
    return b"".join((_STATUS_LINES[status], *lines, b"\r\n"))


# Characters of a value whose line is remembered. Longer ones are rare, unless a peer chooses them.
_SHORT = 200


def _field_line(name: str | bytes, value: str | bytes) -> bytes:
    line = b"%b: %b\r\n" % (_octets(name), _octets(value))
    if _FIELD_LINE.fullmatch(line) is None:
        raise ValueError("a header field has no proper name, or a control byte in its value")
    return line


# Most of what a server says it says again and again.
_known_line = lru_cache(1024)(_field_line)


def _octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


CONTINUE = head(100, ())
