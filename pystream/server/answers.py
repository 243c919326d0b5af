"""What a request gets: parsed request in, answer out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import trio

from pystream.acl.grants import SESSION_LENGTH, Grants
from pystream.acl.streams import Stream
from pystream.acl.traffic import Kind as Booked
from pystream.errors import GrantError, PystreamError
from pystream.packager.presentation import Rendition
from pystream.server import http, log, page
from pystream.server.door import Door
from pystream.server.http import HttpError, Request
from pystream.server.origin import Film, Origin, Source, Text
from pystream.server.page import Page
from pystream.server.page.texts import language
from pystream.server.routes import Kind, Route, route

_NO_STORE = ("Cache-Control", "private, no-store")
_SNIFF = ("X-Content-Type-Options", "nosniff")
_FOREVER = ("Cache-Control", "public, max-age=31536000, immutable")
_TYPES = {
    "m3u8": ("Content-Type", "application/vnd.apple.mpegurl"),
    "ts": ("Content-Type", "video/mp2t"),
    "fmp4": ("Content-Type", "video/mp4"),
    "audio": ("Content-Type", "audio/mp4"),
    "key": ("Content-Type", "application/octet-stream"),
    "html": ("Content-Type", "text/html; charset=utf-8"),
    "json": ("Content-Type", "application/json"),
    "text": ("Content-Type", "text/plain; charset=utf-8"),
}

Headers = list[tuple[str, str]]
Row = tuple[int, int]


class Made(NamedTuple):
    """A body that is made while it is sent: a segment, from its byte `skip` on."""

    rendition: Rendition
    number: int
    skip: int = 0


class Answer(NamedTuple):
    """What a request gets. `length` is the body's, `etag` and the like are among the headers."""

    status: int
    headers: Headers
    body: bytes | Made = b""
    length: int = 0
    etag: str | None = None
    row: Row | None = None


class Answers:
    """One process's streams and films, and what may be had of them.

    `streams` finds a stream by (tenant, name); `content_key` derives the key of (stream, version,
    rendition, period).
    """

    def __init__(
        self,
        streams: Callable[[str, str], Stream | None],
        grants: Grants,
        content_key: Callable[[int, str, str, int], bytes],
        origin: Origin,
        *,
        prefix: str = "",
        page: Page | None = None,
        grant_seconds: int = 6 * 3600,
        door: Door | None = None,
    ) -> None:
        self._streams = streams
        self.grants = grants
        self._content_key = content_key
        self._origin = origin
        self._prefix = prefix
        self._page = page
        self._grant_seconds = grant_seconds
        self._door = door

    async def answer(self, request: Request) -> Answer:
        try:
            return await self._answer_route(request)
        except HttpError as error:
            return failure(error)
        except GrantError:
            return failure(HttpError(403, "this link is not valid, or no longer"))
        except (PystreamError, OSError) as error:
            # What is wrong with a film is the operator's to know, not the viewer's.
            log.warning("film-unavailable", stream=_named(request), **log.fault(error))
            return failure(HttpError(503, "this film cannot be shown at present"))

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
        request.kind = kind.value
        if kind is Kind.ASSET:
            return self._asset(asked, request)
        stream = self._streams(asked.tenant, asked.stream)
        if stream is None:
            raise HttpError(404, "there is no such stream")
        request.place = stream.tenant, stream.name
        cors = _cors(stream, request)
        if request.method == "OPTIONS":
            return Answer(204, [*cors, *_PREFLIGHT])
        if request.method not in ("GET", "HEAD") and kind is not Kind.SESSION:
            raise HttpError(405, "GET or HEAD", (("Allow", "GET, HEAD, OPTIONS"),))
        if asked.grant is not None:
            grant = self.grants.check(asked.grant, stream.id, int(time.time()))
            if self._door is not None:
                self._door.enter(stream, grant, kind is Kind.MULTIVARIANT)
        elif kind in (Kind.SEGMENT, Kind.INIT) and stream.settings.cache != "shared":
            raise HttpError(404, "there is nothing here")
        if kind is Kind.PAGE:
            return self._shown(request, stream)
        if kind is Kind.UNSLASHED:
            # Relative to its last element, and so below whatever prefix a proxy has put before.
            headers = [("Location", f"{asked.stream}/"), ("Content-Length", "0")]
            return Answer(308, headers)
        if kind is Kind.ENTRANCE:
            headers = [("Location", self._master(asked, stream)), _NO_STORE, *cors]
            return Answer(302, [*headers, ("Content-Length", "0")])
        if kind is Kind.SESSION:
            return await self._session(asked, request, stream, cors)
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
        if kind is Kind.FRAME:
            if rendition.kind != "video":
                raise HttpError(404, "there are no pictures")
            frame = bytes(await trio.to_thread.run_sync(rendition.frame, asked.number * 1000))
            headers = [_TYPES["fmp4"], _NO_STORE, *cors]
            return _ranged(frame, len(frame), headers, request, film, asked, stream)
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
        asset = self._page.assets.get(asked.name) if self._page is not None else None
        if asset is None:
            raise HttpError(404, "there is nothing here")
        headers = [("Content-Type", asset.type), _FOREVER, _SNIFF, ("Vary", "Accept-Encoding")]
        if http.accepts_gzip(request.accept_encoding):
            headers.append(("Content-Encoding", "gzip"))
            return _whole(asset.gzipped, headers, None)
        return _whole(asset.data, headers, None)

    def _shown(self, request: Request, stream: Stream) -> Answer:
        if self._page is None:
            raise HttpError(404, "there is no page here, only the film")
        settings = stream.settings
        body = self._page.html(settings.title or stream.name, language(request.accept_language))
        headers = [_TYPES["html"], ("Cache-Control", "no-cache"), ("Vary", "Accept-Language")]
        return _whole(body, [*headers, *page.headers(settings.embed_origins)], None)

    def _grant(self, stream: Stream, now: int) -> str:
        """Lets a viewer in. Raises `HttpError` where there is no room."""
        session = os.urandom(SESSION_LENGTH)
        if self._door is not None:
            self._door.admit(stream, session)
        return self.grants.issue(stream.id, session, now, self._grant_seconds)

    def _under(self, grant: str, asked: Route) -> str:
        return f"{self._prefix}/t/{grant}/{asked.tenant}/{asked.stream}"

    def _master(self, asked: Route, stream: Stream) -> str:
        return self._under(self._grant(stream, int(time.time())), asked) + "/master.m3u8"

    async def _session(
        self, asked: Route, request: Request, stream: Stream, cors: Headers
    ) -> Answer:
        if request.method != "POST":
            raise HttpError(405, "POST", (("Allow", "POST, OPTIONS"),))
        film = await self._origin.film(self._source(stream))
        now = int(time.time())
        under = self._under(self._grant(stream, now), asked)
        stills = page.stills(film.presentation)
        session = {
            "master": f"{under}/master.m3u8",
            "expires": now + self._grant_seconds,
            "duration": film.presentation.duration,
            "frames": {
                use: f"{under}/{film.version}/{rendition.name}/frame/"
                for use, rendition in stills.items()
            },
        }
        return _whole(json.dumps(session).encode(), [_TYPES["json"], _NO_STORE, *cors], None)


def _named(request: Request) -> str | None:
    return request.place and "/".join(request.place)


_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Range, Content-Type"),
    ("Access-Control-Max-Age", "86400"),
)


def failure(error: HttpError) -> Answer:
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
    body = body[first:end] if isinstance(body, bytes) else body._replace(skip=first)
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
