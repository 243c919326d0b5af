"""What a request gets: parsed request in, answer out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from hashlib import blake2b
from math import ceil
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

import trio

from pystream import _core
from pystream.acl.entrances import bunny
from pystream.acl.grants import (
    ADMITTED,
    DOWNLOAD,
    LONGEST_S,
    PICTURES,
    SESSION_LENGTH,
    TEST,
    Grant,
    Grants,
)
from pystream.acl.reach import Piece
from pystream.acl.streams import Stream, is_elsewhere_alone
from pystream.acl.traffic import Kind as Booked
from pystream.acl.viewers import End
from pystream.attendance import evidence
from pystream.attendance.evidence import KEY, PLAYLIST, Place, part
from pystream.errors import GrantError, PystreamError
from pystream.packager.presentation import Rendition
from pystream.server import http, log, page
from pystream.server.beacons import Beacons
from pystream.server.door import Door
from pystream.server.downloads import Downloads, disposition
from pystream.server.entrance import Admission, Entrance, Refused, said
from pystream.server.files import NoAnswer
from pystream.server.gate import Closed, Gate
from pystream.server.guard.limiter import Limiter, Refusal
from pystream.server.guard.signs import Sign, Signs
from pystream.server.http import HttpError, MethodNotAllowed, Request
from pystream.server.origin import Film, Origin, Source, Text
from pystream.server.own_count import POLL_SECONDS, Counts
from pystream.server.pace import Claim, Pace, in_order
from pystream.server.page import Page
from pystream.server.page.texts import language
from pystream.server.reaching import Earnings
from pystream.server.routes import PRIVACY, Kind, Route, route

_HEADS_KEPT = 16
_SOURCES_KEPT = 10_000
_TOKEN_PATH = "/bcdn_token="
_PAUSES_SECONDS = 3600
"""What a grant outlasts its film by, at least."""
_HOLD_SECONDS = 8.0
"""Players wait some ten seconds for a first byte; told to come again, they do."""
_SILENT_SECONDS = 60.0
_NO_STORE = ("Cache-Control", "private, no-store")
# What a proxy has taken, nobody has seen.
_UNBUFFERED = ("X-Accel-Buffering", "no")
_SNIFF = ("X-Content-Type-Options", "nosniff")
_FOREVER = ("Cache-Control", "public, max-age=31536000, immutable")
_A_DAY = ("Cache-Control", "public, max-age=86400")
_TYPES = {
    "m3u8": ("Content-Type", "application/vnd.apple.mpegurl"),
    "ts": ("Content-Type", "video/mp2t"),
    "fmp4": ("Content-Type", "video/mp4"),
    "audio": ("Content-Type", "audio/mp4"),
    "key": ("Content-Type", "application/octet-stream"),
    "html": ("Content-Type", "text/html; charset=utf-8"),
    "json": ("Content-Type", "application/json"),
    "problem": ("Content-Type", "application/problem+json"),
    "text": ("Content-Type", "text/plain; charset=utf-8"),
}

_POSTED = frozenset((Kind.SESSION, Kind.LEAVE, Kind.BEACON))
_OF_THE_NODE = frozenset((Kind.ASSET, Kind.OFFICE, Kind.PRIVACY))
_TO_DOWNLOADS = frozenset((Kind.ENTRANCE, Kind.DOWNLOAD))
_OF_A_FILM = frozenset(
    (Kind.MULTIVARIANT, Kind.PLAYLIST, Kind.INIT, Kind.SEGMENT, Kind.KEY, Kind.FRAME)
)

Headers = list[tuple[str, str]]
Row = tuple[int, int]


class Made(NamedTuple):
    """A body that is made while it is sent: a segment, from its byte `skip` on. All that have the
    same `key` are the same bytes; without one nobody else may get these. `tag` is what its delivery is
    told by, where that is evidence."""

    making: tuple[_core.Rendition, int, tuple[bytes, bytes] | None]
    key: bytes | None
    skip: int = 0
    tag: bytes | None = None

    def send(
        self,
        delivery: _core.Delivery,
        number: int,
        line: _core.Line,
        head: bytes,
        length: int,
        row: Row | None,
    ) -> None:
        """Hands `length` bytes to the thread that sends them, as its order `number`."""
        delivery.segment(
            number, line, head, *self.making, (self.skip, length), row, self.key, self.tag
        )


class Filed(NamedTuple):
    """A body that lies in a file, from its byte `skip` on, sent with `rate` bytes a second. `tag` is what
    its beginning is told by, where that is evidence."""

    file: _core.Download
    rate: int | None
    skip: int = 0
    tag: bytes | None = None

    def send(
        self,
        delivery: _core.Delivery,
        number: int,
        line: _core.Line,
        head: bytes,
        length: int,
        row: Row | None,
    ) -> None:
        """Hands `length` bytes to the thread that sends them, as its order `number`."""
        delivery.download(
            number, line, head, self.file, (self.skip, length), row, self.rate, self.tag
        )


class Due(NamedTuple):
    """When an answer goes. `ask` gives 0 where it may, which counts it, else the seconds after which
    it might; nobody waits longer than `patience` seconds, but is told to come again. `cors` is for
    that answer."""

    ask: Callable[[], float]
    patience: float
    cors: tuple[tuple[str, str], ...] = ()

    def late(self, wait: float) -> Answer:
        """The answer to who asks for what is not due for `wait` seconds."""
        return failure(_late(_PART, wait), self.cors)


class Answer(NamedTuple):
    """What a request gets. `length` is the body's, `row` what it is booked under; `head` is status and
    headers as `http.head` writes them, where they were written before. `tag` is what the delivery of a body
    that is at hand is told by, where that is evidence. `closes`: the connection ends with it."""

    status: int
    headers: Headers
    body: bytes | Made | Filed = b""
    length: int = 0
    row: Row | None = None
    due: Due | None = None
    head: bytes | None = None
    tag: bytes | None = None
    closes: bool = False


class Ended(HttpError):
    """The session was ended, or its time is over. `kind` is for the page, as in `Refused`."""

    kind: str

    def __init__(self, standing: int) -> None:
        self.kind = _KINDS.get(standing, "over")
        super().__init__(403, _ENDED[self.kind])


_GUESSED = frozenset(("password", "tries", "link"))
"""Kinds of `Refused` that who guesses is told."""
_KINDS: dict[int, str] = {End.KICKED: "kicked", End.REVOKED: "revoked"}
_ENDED = {
    "kicked": "this film goes on on another device",
    "revoked": "this password is not valid any more",
    "over": "this visit is over: come in anew",
}


class ContentKey(Protocol):
    """Derives the key of (stream, version, rendition, period), one session's own with a session."""

    def __call__(
        self,
        stream_id: int,
        version: str,
        rendition: str,
        period: int,
        session: bytes | None = None,
        /,
    ) -> bytes: ...


class Answers:
    """One process's streams and films, and what may be had of them.

    `streams` finds a stream by (tenant, name); `pace` is None where all streams leave as fast as
    they can. `gate` says where and when streams may be watched; `sessions` and `entrance` let in who
    has a password, a link or a token; `notice` is what viewers of a stream are told first. `office` answers a
    request for a path below a prefix. `privacy` gives what is kept, of the node or of a tenant's name, as
    JSON. `attends`: whether it is recorded who watches a stream; `earnings` says how far viewers have come
    where they cannot skip ahead, `beacons` hears what players say of themselves, and `counts` says what
    of a viewer's attendance counts. `limiter` says who asks too often, and `signs` counts what attacks
    consist of.
    """

    def __init__(
        self,
        streams: Callable[[str, str], Stream | None],
        grants: Grants,
        content_key: ContentKey,
        origin: Origin,
        *,
        prefix: str = "",
        page: Page | None = None,
        door: Door | None = None,
        pace: Pace | None = None,
        sessions: _core.Sessions | None = None,
        entrance: Entrance | None = None,
        notice: Callable[[Stream], str] = lambda stream: "",
        office: Callable[[Request, str, str], Awaitable[Answer]] | None = None,
        privacy: Callable[[str | None], bytes | None] = lambda tenant: None,
        gate: Gate | None = None,
        earnings: Earnings | None = None,
        beacons: Beacons | None = None,
        counts: Counts | None = None,
        films: str = "",
        attends: Callable[[Stream], bool] = lambda stream: False,
        limiter: Limiter | None = None,
        signs: Signs | None = None,
    ) -> None:
        self._streams = streams
        self.grants = grants
        self._content_key = content_key
        self._origin = origin
        self._prefix = prefix
        self._page = page
        self._door = door
        self._pace = pace
        self._sessions = sessions
        self._entrance = entrance
        self._notice = notice
        self._office = office
        self.privacy = privacy
        self._gate = gate or Gate()
        self._earnings = earnings
        self._beacons = beacons
        self._counts = counts
        self._films = films
        self._attends = attends
        self._limiter = limiter
        self._signs = signs or Signs()
        self._downloads = Downloads(files=origin.files)
        self._silent_until: dict[tuple[str | None, bool], float] = {}
        # As long as a stream is the same object, so is its source.
        self._sources: dict[int, tuple[Stream, Source]] = {}

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer, or what gives it once more is known than is at hand: of a film, a picture, a
        download."""
        try:
            answer = self._answer_route(request)
        except (PystreamError, OSError) as error:
            return self._refusal(request, error)
        return answer if isinstance(answer, Answer) else self._awaited(request, answer)

    async def _awaited(self, request: Request, answer: Awaitable[Answer]) -> Answer:
        try:
            return await answer
        except (PystreamError, OSError) as error:
            return self._refusal(request, error)

    def _refusal(self, request: Request, error: PystreamError | OSError) -> Answer:
        if isinstance(error, GrantError):
            error = HttpError(403, "this link is not valid, or no longer")
        elif not isinstance(error, HttpError):
            # What is wrong with a film is the operator's to know, not the viewer's.
            self._warn(request, error)
            after: tuple[tuple[str, str], ...] = ()
            if isinstance(error, NoAnswer):
                after = (("Retry-After", str(error.retry_after)),)
            error = HttpError(503, "this film cannot be shown at present", after)
        if isinstance(error, Refused) and error.kind in _GUESSED:
            self._signs.note(request.peer, Sign.GUESSES)
        is_mistake = 400 <= error.status < 500 and not isinstance(error, Refusal)
        if is_mistake and self._limiter is not None:
            error = self._limiter.erred(request.peer) or error
        closes = isinstance(error, Refusal) and error.closes
        stream = self._streams(*request.place) if request.place else None
        is_read = request.method in ("GET", "HEAD")
        if self._page is not None and is_read and http.asks_for_html(request.fields.accept):
            return self._shown_refusal(self._page, request, error, stream)._replace(closes=closes)
        # A player on another site has to learn why, too.
        return failure(error, _cors(stream, request) if stream else ())._replace(closes=closes)

    def _warn(self, request: Request, error: PystreamError | OSError) -> None:
        """Says what is wrong with a film or its download, once a minute: any visitor can ask for it,
        again and again."""
        what = _named(request), request.kind == Kind.DOWNLOAD
        now = trio.current_time()
        if now >= self._silent_until.get(what, now):
            left = {each: until for each, until in self._silent_until.items() if until > now}
            self._silent_until = left | {what: now + _SILENT_SECONDS}
            log.warning("film-unavailable", stream=what[0], **log.fault(error))

    def _shown_refusal(
        self, page_: Page, request: Request, error: HttpError, stream: Stream | None
    ) -> Answer:
        """For a person at a window, in place of a line of text."""
        # Relative, and so below whatever prefix a proxy has put before.
        root = "../" * (request.path.count("/") - 1) + f"{self._prefix}/".removeprefix("/")
        film = (
            f"{stream.tenant}/{stream.name}/"
            if stream and self._has_page(stream, request)
            else None
        )
        spoken = language(request.fields.accept_language)
        body = page_.refusal(error, spoken, root, film)
        around: Sequence[str] = stream.settings.embed_origins if stream else ()
        if isinstance(error, Closed) and error.kind == "site":
            # Whoever looks at the frame is to see why; there is nothing in it to be lured into.
            around = ("*",)
        framing = page.headers(around, refusal=True)
        answer = _whole(body, [_TYPES["html"], _NO_STORE, *error.headers, *framing], None)
        return answer._replace(status=error.status)

    def _has_page(self, stream: Stream, request: Request) -> bool:
        """Whether whoever goes to the page of a film from here sees it."""
        try:
            self._gate.admits_page(stream, request)
        except Closed:
            return False
        return True

    async def _when_known(self, request: Request, known: Awaitable[object]) -> Answer:
        """The answer once the film is there, or is known to be as it was."""
        await known
        answer = self._answer_route(request)
        return answer if isinstance(answer, Answer) else await answer

    async def watch(self) -> None:
        """Looks after what is open, until cancelled."""
        while True:
            await trio.sleep(1)
            self._origin.tick()
            self._downloads.tick()

    def too_often(self, request: Request) -> Answer | None:
        """Counts a request by where it comes from: the answer where that is one too many."""
        if request.means is None:
            path = request.path
            token = ""
            if path.startswith(_TOKEN_PATH):
                path, token = bunny.split(path)
            prefix = self._prefix
            is_ours = True
            # A well-known address belongs to the whole site (RFC 8615 3).
            if prefix and path != PRIVACY:
                is_ours = path.startswith(prefix + "/")
                path = path[len(prefix) :]
            asked, written = route(path) if is_ours else (None, None)
            request.means = asked, written, path, token
        else:
            asked = request.means[0]
        self._signs.arrive(request.peer)
        if self._limiter is not None:
            kind = None if asked is None else asked.kind
            refusal = self._limiter.arrive(request.peer, kind)
            if refusal is not None:
                request.kind = kind
                return _slowed(refusal)
        return None

    def _answer_route(self, request: Request) -> Answer | Awaitable[Answer]:
        if request.means is None and (refused := self.too_often(request)) is not None:
            return refused
        asked, written, path, token = request.means
        # What has to wait for a film comes here again.
        limiter = self._limiter if request.kind is None else None
        if asked is None:
            self._signs.note(request.peer, Sign.PROBES)
            raise HttpError(404, "there is nothing here")
        kind = asked.kind
        request.kind = kind
        if token:
            return self._with_token(asked, request, token)
        if kind in _OF_THE_NODE:
            return self._answer_of_node(asked, request, path)
        stream = self._streams(asked.tenant, asked.stream)
        if stream is None:
            self._signs.note(request.peer, Sign.PROBES)
            raise HttpError(404, "there is no such stream")
        if kind in _TO_DOWNLOADS and asked.name != "master.m3u8" and not stream.settings.download:
            # As of a path that means nothing: no grant is looked at, no method, no origin.
            raise HttpError(404, "there is nothing here")
        request.place = stream.tenant, stream.name
        cors = _cors(stream, request)
        if request.method == "OPTIONS":
            # Of a preflight nothing is read but what may be asked (fetch.spec.whatwg.org, 3.3.3).
            asks = [each for each in cors if each[0] != _EXPOSED]
            return Answer(204, [*asks, *_PREFLIGHT])
        if request.method not in ("GET", "HEAD") and kind not in _POSTED:
            raise MethodNotAllowed("GET", "HEAD", "OPTIONS")
        grant = None
        if written is not None:
            now = int(time.time())
            grant = self.grants.check(written, stream.id, now)
            if limiter is not None:
                limiter.granted(request.peer, grant.session, stream, kind)
            if not _is_for(grant, kind):
                raise GrantError("stream")
            if kind is Kind.LEAVE:
                return self._left(request, grant, cors)
            if not grant.flags & PICTURES:
                closes = stream.settings.closes_at
                # What was given out before this was set may say a later end.
                if closes is not None and closes <= now:
                    raise Closed("late")
                if stream.settings.access != "open":
                    self._look_up(grant, now)
                if self._door is not None:
                    self._door.enter(stream, grant, kind is Kind.MULTIVARIANT)
        elif kind in (Kind.SEGMENT, Kind.INIT) and not _is_bare(stream):
            raise HttpError(404, "there is nothing here")
        if kind not in _OF_A_FILM:
            return self._answer_without_film(asked, request, stream, grant, cors)
        film = self._origin.version(stream.id, asked.version) if asked.version else None
        if film is not None and film.under is not stream and not self._takes_along(stream, film):
            film = None
        if film is None:
            source, version = self._source(stream), asked.version
            if version and self._origin.may_be_on_shelf(stream.id, version):
                return self._when_known(request, self._origin.recall(source, version))
            film = self._origin.fresh(source)
            if film is None:
                return self._when_known(request, self._origin.film(source))
        elif not self._origin.is_sound(film):
            return self._when_known(request, self._origin.look(film))
        if not asked.version:
            if kind is Kind.MULTIVARIANT:
                return _text(film.multivariant, request, stream, cors)
            asked = _poster(asked, film)
        if film.version != asked.version:
            raise HttpError(404, "this version of the film is gone")
        if kind is Kind.PLAYLIST:
            rendition = _rendition(film, asked)
            text = film.playlist(rendition)
            tag = self._tag(stream, grant, PLAYLIST)
            if text is None:
                return self._written(film, rendition, request, stream, cors, tag)
            return _text(text, request, stream, cors, tag)
        return self._answer_with_film(asked, request, stream, film, grant, cors)

    def _answer_of_node(
        self, asked: Route, request: Request, path: str
    ) -> Answer | Awaitable[Answer]:
        """What is no stream's."""
        if asked.kind is Kind.ASSET:
            return self._asset(asked, request)
        if asked.kind is Kind.PRIVACY:
            return self._disclosed(request)
        if self._office is None:
            raise HttpError(404, "there is nothing here")
        return self._in_office(self._office(request, path, self._prefix), request)

    async def _in_office(self, reply: Awaitable[Answer], request: Request) -> Answer:
        """What the office answers people and programs, whose mistakes count as viewers' do."""
        answer = await reply
        if answer.status == 401 or (answer.status == 403 and request.method == "POST"):
            # Of people and programs: a password, a code, a token.
            self._signs.note(request.peer, Sign.GUESSES)
        if 400 <= answer.status < 500 and self._limiter is not None:
            refusal = self._limiter.erred(request.peer)
            if refusal is not None:
                raise refusal
        return answer

    def _with_token(self, asked: Route, request: Request, token: str) -> Answer:
        """A token of bunny.net's in front of the path is one behind it. What is relative to the page
        would have it in front as well, so the browser is sent there."""
        stream = self._streams(asked.tenant, asked.stream)
        if stream is None or stream.settings.access != "signed":
            raise HttpError(404, "there is nothing here")
        if asked.kind not in (Kind.PAGE, Kind.ENTRANCE) or request.method not in ("GET", "HEAD"):
            raise HttpError(404, "there is nothing here")
        place = f"{self._prefix}/{asked.tenant}/{asked.stream}/{asked.name}?{token}"
        return Answer(302, [("Location", place), _NO_STORE, ("Content-Length", "0")])

    def _answer_without_film(
        self, asked: Route, request: Request, stream: Stream, grant: Grant | None, cors: Headers
    ) -> Answer | Awaitable[Answer]:
        kind = asked.kind
        if grant is not None and kind is Kind.BEACON:
            return self._heard(request, stream, grant, cors)
        if grant is not None and kind is Kind.COUNT:
            return self._counted(stream, grant, cors)
        if kind is Kind.PAGE:
            return self._shown(request, stream)
        if kind is Kind.UNSLASHED:
            # Relative to its last element, and so below whatever prefix a proxy has put before.
            query = f"?{request.query}" if request.query else ""
            # A link's signature stands there, where one does.
            kept = [_NO_STORE] if query else []
            headers = [("Location", f"{asked.stream}/{query}"), *kept, ("Content-Length", "0")]
            return Answer(308, headers)
        if kind is Kind.ENTRANCE:
            if stream.settings.access not in ("open", "signed"):
                how = "by a link of the site that offers it"
                if stream.settings.access in ("shared", "personal"):
                    how = "with a password"
                raise HttpError(403, f"this film opens on its page, {how}")
            return self._let_through(asked, request, stream, cors)
        if kind is Kind.SESSION:
            return self._session(asked, request, stream, cors)
        return self._download(request, stream, grant, cors)

    def _tag(self, stream: Stream, grant: Grant | None, place: bytes = b"") -> bytes | None:
        """What a delivery is told by; None where it is nobody's evidence."""
        return grant.session + place if grant is not None and self._attends(stream) else None

    def _answer_with_film(
        self,
        asked: Route,
        request: Request,
        stream: Stream,
        film: Film,
        grant: Grant | None,
        cors: Headers,
    ) -> Answer | Awaitable[Answer]:
        kind = asked.kind
        if kind is Kind.KEY:
            if grant is not None:
                self._signs.key(request.peer, grant.session)
            return self._key(asked, stream, film, grant, cors)
        rendition = _rendition(film, asked)
        kept = _FOREVER if grant is None else _NO_STORE
        keys = self._viewer_keys(stream, film, rendition, grant)
        if kind is Kind.INIT:
            inits = rendition.inits(keys)
            if asked.number >= len(inits):
                raise HttpError(404, "there is no such initialization section")
            init = inits[asked.number]
            headers = [_type(rendition), kept, *cors]
            return _ranged(
                init, len(init), headers, request, _etag(film, asked), None, _row(stream)
            )
        if kind is Kind.SEGMENT:
            if asked.number >= len(rendition) or asked.name != _suffix(rendition):
                raise HttpError(404, "there is no such segment")
            headers = [_type(rendition), kept, *cors]
            making = rendition.making(asked.number, keys)
            # A viewer's own bytes are worth no place in a cache.
            key = None if keys else _cache_key(film, asked, making[2])
            size = rendition.length(asked.number)
            tag = self._tag(stream, grant)
            if tag is not None:
                tag += film.places(rendition)[asked.number]
                headers.append(_UNBUFFERED)
            made = Made(making, key, tag=tag)
            answer = _ranged(made, size, headers, request, _etag(film, asked), None, _row(stream))
            answer = self._paced(answer, request, asked, stream, rendition, grant, cors)
            if grant is not None:
                seconds = rendition.durations_us[asked.number] / 1_000_000
                fetched = request.peer, grant.session, rendition.name, asked.number, seconds
                self._signs.segment(*fetched)
                self._note(request, stream, grant)
            if grant is not None and stream.settings.no_skip:
                place = Place.unpack(film.places(rendition)[asked.number])
                counts = place.primary and request.method == "GET" and _has_end(answer, size)
                piece = Piece(place.m0, place.m1, film.longest_ms, counts)
                return self._when_earned(answer, grant, piece, stream)
            return answer
        if not page.shows(film.presentation, rendition, asked.number):
            raise HttpError(404, "there is no such picture")
        if grant is not None:
            self._count_picture(stream, grant)
        # What a tenant's own people look at is nothing that was sent to viewers.
        row = None if grant is not None and grant.flags & PICTURES else _row(stream)
        make = partial(self._frame, asked, request, film, rendition, row, cors)
        if grant is not None and not grant.flags & PICTURES and stream.settings.no_skip:
            piece = Piece(asked.number, asked.number, film.longest_ms, counts=False)
            return self._once_earned(make, grant, piece)
        return make()

    def _note(self, request: Request, stream: Stream, grant: Grant) -> None:
        """Takes what a request says of its player, where that is wanted."""
        is_wanted = stream.settings.beacons and request.query and request.method == "GET"
        if self._beacons is not None and is_wanted and self._attends(stream):
            self._beacons.note(grant.session, request.query)

    async def _when_earned(
        self, answer: Answer, grant: Grant, piece: Piece, stream: Stream
    ) -> Answer:
        """The answer when the viewer has come so far, where that is soon. Raises `HttpError`."""
        longest = max(piece.m1 - piece.m0, stream.settings.segment_duration_ms) / 1000
        end = trio.current_time() + _patience(longest)
        while wait := await self._wait_for(grant, piece):
            now = trio.current_time()
            if now >= end:
                raise _late(_PART, wait)
            await trio.sleep(min(wait, end - now))
        return answer

    async def _once_earned(
        self, make: Callable[[], Awaitable[Answer]], grant: Grant, piece: Piece
    ) -> Answer:
        """The picture, where the viewer has come so far. Raises `HttpError`."""
        if wait := await self._wait_for(grant, piece):
            raise _late("this picture", wait)
        return await make()

    async def _wait_for(self, grant: Grant, piece: Piece) -> float:
        if self._earnings is None:
            raise HttpError(503, "it is not known here how far this film was watched")
        return await self._earnings.ask(grant.session, piece)

    async def _written(
        self,
        film: Film,
        rendition: Rendition,
        request: Request,
        stream: Stream,
        cors: Headers,
        tag: bytes | None,
    ) -> Answer:
        text = await self._origin.written(film, rendition)
        return _text(text, request, stream, cors, tag)

    def _count_picture(self, stream: Stream, grant: Grant) -> None:
        """Raises `HttpError` where too many are asked for: before it is made, and nobody is held."""
        rate = stream.settings.pace
        if self._pace is None or rate is None:
            return
        wait = self._pace.picture(_viewer(grant), rate)
        if wait:
            raise _late("this picture", wait)

    async def _frame(
        self,
        asked: Route,
        request: Request,
        film: Film,
        rendition: Rendition,
        row: Row | None,
        cors: Headers,
    ) -> Answer:
        ms = asked.number * 1000
        made = await self._origin.read(film, (rendition.name, ms), partial(rendition.frame, ms))
        frame = bytes(made)
        headers = [_TYPES["fmp4"], _NO_STORE, *cors]
        return _ranged(frame, len(frame), headers, request, _etag(film, asked), None, row)

    def _key(
        self, asked: Route, stream: Stream, film: Film, grant: Grant | None, cors: Headers
    ) -> Answer:
        place = film.period(asked.name)
        if place is None:
            raise HttpError(404, "there is no such key")
        rendition, period = place
        keys = self._viewer_keys(stream, film, rendition, grant)
        key = keys(period) if keys else rendition.key(period)
        headers = [_TYPES["key"], ("Cache-Control", f"private, max-age={film.key_seconds}"), *cors]
        tag = self._tag(stream, grant, KEY)
        if tag is not None:
            headers.append(_UNBUFFERED)
        return _whole(key, headers, (stream.id, Booked.KEY))._replace(tag=tag)

    def _viewer_keys(
        self, stream: Stream, film: Film, rendition: Rendition, grant: Grant | None
    ) -> Callable[[int], bytes] | None:
        """What gives a grant's own keys by their periods, where it has such."""
        if film.source.encryption != "aes-128-per-viewer":
            return None
        if grant is None:
            raise HttpError(404, "there is nothing here")
        content_key, session = self._content_key, grant.session
        return lambda period: content_key(stream.id, film.version, rendition.name, period, session)

    def _paced(
        self,
        answer: Answer,
        request: Request,
        asked: Route,
        stream: Stream,
        rendition: Rendition,
        grant: Grant | None,
        cors: Headers,
    ) -> Answer:
        pace, rate = self._pace, stream.settings.pace
        if pace is None or rate is None or grant is None:
            return answer
        if request.method == "HEAD" or not answer.length:
            return answer
        number = asked.number
        duration = rendition.durations_us[number] / 1_000_000
        # What lies before a range has to be made, too: each block is encrypted with the one before.
        skipped = answer.body.skip if isinstance(answer.body, Made) else 0
        share = (skipped + answer.length) / rendition.length(number)
        claim = Claim(_viewer(grant), rendition.kind, rendition.name, number, duration, share, rate)
        longest = max(duration, stream.settings.segment_duration_ms / 1000)
        due = Due(lambda: pace.ask(claim), _patience(longest), tuple(cors))
        return answer._replace(due=due)

    async def _download(
        self, request: Request, stream: Stream, grant: Grant | None, cors: Headers
    ) -> Answer:
        settings = stream.settings
        source = settings.download_source or settings.sources[0]
        found = await self._downloads.find(source, self._films, stream.tenant)
        headers = [
            _TYPES["fmp4"],
            _NO_STORE,
            ("Content-Disposition", disposition(settings.title or stream.name)),
            ("Last-Modified", http.http_date(found.modified)),
            *cors,
        ]
        rate = settings.download_rate_bps
        tag = self._tag(stream, grant, evidence.DOWNLOAD)
        if tag is not None:
            headers.append(_UNBUFFERED)
        body = Filed(found.file, None if rate is None else max(1, rate // 8), tag=tag)
        row = (stream.id, Booked.DOWNLOAD)
        return _ranged(body, found.file.size, headers, request, found.etag, found.modified, row)

    def _source(self, stream: Stream) -> Source:
        known = self._sources.get(stream.id)
        if known is None or known[0] is not stream:
            if len(self._sources) >= _SOURCES_KEPT:
                # Those of streams that were removed are among them.
                self._sources.clear()
            known = self._sources[stream.id] = stream, self._source_of(stream)
        return known[1]

    def _takes_along(self, stream: Stream, film: Film) -> bool:
        """Whether a film goes on under its stream's present settings. One that was made for another
        encryption, or another place of media, is gone when these are: that is why they were changed."""
        source = self._source(stream)
        if (film.source.encryption, film.source.place) != (source.encryption, source.place):
            self._origin.drop(film)
            return False
        film.under = stream
        return True

    def _source_of(self, stream: Stream) -> Source:
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
            settings.encryption,
            f"{stream.tenant}/{stream.name}" if _is_bare(stream) else "",
            self._films,
            stream.tenant,
            keys,
            f"{stream.tenant}/{stream.name}",
        )

    def _asset(self, asked: Route, request: Request) -> Answer:
        kept, asset = _FOREVER, None
        if not asked.name:
            if self._page is None:
                return Answer(204, [_A_DAY])
            kept, asset = _A_DAY, self._page.icon
        elif self._page is not None:
            asset = self._page.assets.get(asked.name)
        if asset is None:
            raise HttpError(404, "there is nothing here")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET", "HEAD")
        headers = [("Content-Type", asset.type), kept, _SNIFF, ("Vary", "Accept-Encoding")]
        if http.accepts_gzip(request.fields.accept_encoding):
            headers.append(("Content-Encoding", "gzip"))
            return _whole(asset.gzipped, headers, None)
        return _whole(asset.data, headers, None)

    def _disclosed(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET", "HEAD")
        try:
            asked = parse_qs(request.query, max_num_fields=8).get("tenant")
        except ValueError:
            raise HttpError(400, "?tenant=NAME is wanted, or nothing") from None
        body = self.privacy(asked[0] if asked else None)
        if body is None:
            raise HttpError(404, "there is no such tenant")
        anybody = ("Access-Control-Allow-Origin", "*")
        # Players show a tenant's notice, and say which one: what is a day old is refused.
        kept = ("Cache-Control", "no-cache") if asked else _A_DAY
        return _whole(body, [_TYPES["json"], kept, _SNIFF, anybody], None)

    def _shown(self, request: Request, stream: Stream) -> Answer:
        if self._page is None:
            raise HttpError(404, "there is no page here, only the film")
        self._gate.admits_page(stream, request)
        settings = stream.settings
        is_signed = settings.access == "signed"
        body = self._page.html(
            settings.title or stream.name,
            language(request.fields.accept_language),
            # Of who comes to an open stream, nothing is recorded.
            "" if settings.access == "open" else self._notice(stream),
            way=settings.access,
            query=request.query if is_signed else "",
            framed=is_elsewhere_alone(settings),
            opens_at=self._gate.opens_at(stream),
        )
        # A page that is opened with a link has it in it.
        kept = _NO_STORE if is_signed else ("Cache-Control", "no-cache")
        headers = [_TYPES["html"], kept, ("Vary", "Accept-Language")]
        return _whole(body, [*headers, *page.headers(settings.embed_origins)], None)

    def _look_up(self, grant: Grant, now: int) -> None:
        """Raises `GrantError` or `HttpError` where the session of a stream that is not open is not
        open either."""
        if not grant.flags & ADMITTED or self._sessions is None:
            # Issued when the stream was open to all.
            raise GrantError("stream")
        standing = self._sessions.check(grant.session, grant.stream_id, now)
        if standing != _core.Sessions.OPEN:
            raise Ended(standing)

    async def _let_in(
        self, stream: Stream, film: Film | None, request: Request, name: str = ""
    ) -> Admission:
        """`name`: what was asked for beside the page. Raises `HttpError` for who may not come in, or where
        there is no room."""
        with nullcontext() if self._door is None else self._door.coming(stream):
            admitted = await self._admitted(stream, film, request, name)
            if self._door is not None:
                self._door.count(stream, admitted.session, is_test=admitted.is_test)
        return admitted._replace(expires=max(int(time.time()) + 1, admitted.expires))

    def _grant(self, stream: Stream, admitted: Admission, flags: int = 0) -> str:
        """A grant of a session, for as long as it is open."""
        if stream.settings.access != "open":
            flags |= ADMITTED | TEST if admitted.is_test else ADMITTED
        now = int(time.time())
        lifetime = max(1, admitted.expires - now)
        return self.grants.issue(stream.id, admitted.session, now, lifetime, flags=flags)

    async def _admitted(
        self, stream: Stream, film: Film | None, request: Request, name: str
    ) -> Admission:
        """Who comes in."""
        self._gate.check(stream, request, said(request).get("site"))
        now = int(time.time())
        lifetime = _lifetime(stream, film, now)
        if stream.settings.access == "open":
            return Admission(os.urandom(SESSION_LENGTH), now + lifetime, counted=False)
        if self._entrance is None:
            raise HttpError(503, "nobody can be let in at present")
        admitted = await self._entrance.let_in(
            stream,
            request,
            f"{self._prefix}/{stream.tenant}/{stream.name}/{name}",
            self._notice(stream),
            lifetime,
            self._replaced(request),
        )
        self._signs.note(request.peer, Sign.RIGHT)
        return admitted

    def _replaced(self, request: Request) -> bytes:
        """The session that the new one takes the place of: who shows its grant, has it."""
        try:
            return self.grants.session_of(said(request).get("replaces", ""))
        except GrantError:
            return b""

    def _under(self, grant: str, asked: Route) -> str:
        return f"{self._prefix}/t/{grant}/{asked.tenant}/{asked.stream}"

    async def _let_through(
        self, asked: Route, request: Request, stream: Stream, cors: Headers
    ) -> Answer:
        try:
            film = await self._origin.film(self._source(stream))
        except (PystreamError, OSError):
            # Who asks for it is told. There may be a download all the same.
            film = None
        admitted = await self._let_in(stream, film, request, asked.name)
        grant = self._grant(stream, admitted, 0 if asked.name == "master.m3u8" else DOWNLOAD)
        headers = [("Location", self._under(grant, asked) + f"/{asked.name}"), _NO_STORE, *cors]
        return Answer(302, [*headers, ("Content-Length", "0")])

    async def _session(
        self, asked: Route, request: Request, stream: Stream, cors: Headers
    ) -> Answer:
        if request.method != "POST":
            raise MethodNotAllowed("POST", "OPTIONS")
        film = await self._origin.film(self._source(stream))
        admitted = await self._let_in(stream, film, request)
        grant = self._grant(stream, admitted)
        under = self._under(grant, asked)
        stills = page.stills(film.presentation)
        session = {
            "master": f"{under}/master.m3u8",
            "grant": grant,
            "expires": admitted.expires,
            "duration": film.presentation.duration,
            "frame_ms": page.STILL_MS,
            "frames": {
                use: f"{under}/{film.version}/{rendition.name}/frame/"
                for use, rendition in stills.items()
            },
        }
        if stream.settings.pace is not None:
            session["pace"] = in_order(stream.settings.pace)
        if stream.settings.no_skip and self._earnings is not None:
            session["reached"] = await self._earnings.earned(admitted.session)
        if stream.settings.access != "open":
            # Who was let in may be put out: within a segment, however much a player has buffered.
            session["check_ms"] = stream.settings.segment_duration_ms
        if admitted.counted:
            session["leave"] = f"{under}/leave"
        if stream.settings.beacons:
            session["beacon"] = f"{under}/beacon"
        if stream.settings.own_count and self._attends(stream):
            session["count"] = f"{under}/count"
            session["count_ms"] = POLL_SECONDS * 1000
            session["visible"] = stream.settings.require_visible
        if stream.settings.download:
            alone = self._grant(stream, admitted, DOWNLOAD)
            session["download"] = f"{self._under(alone, asked)}/download.mp4"
        return _whole(json.dumps(session).encode(), [_TYPES["json"], _NO_STORE, *cors], None)

    def _heard(self, request: Request, stream: Stream, grant: Grant, cors: Headers) -> Answer:
        """A player says what it does."""
        if self._beacons is None or not stream.settings.beacons:
            raise HttpError(404, "there is nothing here")
        if request.method != "POST":
            raise MethodNotAllowed("POST", "OPTIONS")
        if not self._attends(stream):
            return Answer(204, [_NO_STORE, *cors])
        asked = self._beacons.hear(stream, grant.session, request.body)
        if asked is None:
            return Answer(204, [_NO_STORE, *cors])
        return _whole(json.dumps(asked).encode(), [_TYPES["json"], _NO_STORE, *cors], None)

    async def _counted(self, stream: Stream, grant: Grant, cors: Headers) -> Answer:
        """What counts so far of whoever has the grant."""
        if self._counts is None or not stream.settings.own_count:
            raise HttpError(404, "there is nothing here")
        told = await self._counts.ask(stream, grant.session)
        return _whole(json.dumps(told).encode(), [_TYPES["json"], _NO_STORE, *cors], None)

    def _left(self, request: Request, grant: Grant, cors: Headers) -> Answer:
        """A page says that it is left. Who shows the grant, has the session."""
        if request.method != "POST":
            raise MethodNotAllowed("POST", "OPTIONS")
        if grant.flags & ADMITTED and self._entrance is not None:
            self._entrance.leave(grant.session)
        return Answer(204, [_NO_STORE, *cors])


def _is_for(grant: Grant, kind: Kind) -> bool:
    """Whether it opens what is asked for, of its stream."""
    if grant.flags & PICTURES:
        return kind is Kind.FRAME
    return bool(grant.flags & DOWNLOAD) == (kind is Kind.DOWNLOAD)


def _lifetime(stream: Stream, film: Film | None, now: int) -> int:
    """Seconds for which a grant holds. Not every player asks for another one: who begins now shall see
    the end, unless the stream closes before."""
    settings = stream.settings
    least = 0 if film is None else ceil(film.presentation.duration) + _PAUSES_SECONDS
    lifetime = min(max(settings.session_s, least), LONGEST_S)
    return (
        lifetime if settings.closes_at is None else max(1, min(lifetime, settings.closes_at - now))
    )


def _poster(asked: Route, film: Film) -> Route:
    """The picture that stands for a film: early, and not the black before the first scene."""
    large = page.stills(film.presentation).get("poster")
    if large is None:
        raise HttpError(404, "this film has no pictures")
    return asked._replace(
        version=film.version, rendition=large.name, number=page.poster_ms(film.presentation)
    )


_PART = "this part of the film"


def _patience(longest: float) -> float:
    """Seconds for which who asks too early is held, of segments that last so long."""
    return min(2 * longest, _HOLD_SECONDS)


def _has_end(answer: Answer, size: int) -> bool:
    """Whether the last byte of a segment is in it."""
    body = answer.body
    return isinstance(body, Made) and body.skip + answer.length == size


def _late(what: str, wait: float) -> HttpError:
    after = ("Retry-After", str(max(1, ceil(wait))))
    return HttpError(503, f"{what} is not due yet", (after,))


def _viewer(grant: Grant) -> bytes:
    """Whose pace it is."""
    return grant.stream_id.to_bytes(4) + grant.session


def _named(request: Request) -> str | None:
    return request.place and "/".join(request.place)


_EXPOSED = "Access-Control-Expose-Headers"
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        # What players say of themselves (CTA-5004) is not read here; without leave they would not play.
        "Range, Content-Type, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status",
    ),
    ("Access-Control-Max-Age", "86400"),
)


# Players on other sites have to learn that it was a refusal, and no broken network.
_TO_ALL = (("Access-Control-Allow-Origin", "*"),)


@lru_cache(4096)
def _slowed(refusal: Refusal) -> Answer:
    """The answer to who asks too often, before it is known for what; made once of each refusal."""
    answer = failure(refusal, _TO_ALL)
    head = http.head(answer.status, answer.headers)
    return answer._replace(head=head, closes=refusal.closes)


def failure(error: HttpError, cors: Iterable[tuple[str, str]] = ()) -> Answer:
    """The answer to what went wrong: a line of text, or a problem document (RFC 9457) where a page has
    to tell kinds apart. It has no `type` but the usual one, of which the title is the status's phrase
    (4.2.1) and stays the same from one to the next (3.1.3); `detail` says what it was this time."""
    body, type = f"{error.reason}\n".encode(), _TYPES["text"]
    if error.kind is not None:
        problem = {
            "title": http.PHRASES[error.status],
            "status": error.status,
            "detail": error.reason,
            "kind": error.kind,
            **error.facts,
        }
        body, type = json.dumps(problem).encode(), _TYPES["problem"]
    headers = [type, _NO_STORE, *error.headers, *cors]
    answer = _whole(body, headers, None)
    return answer._replace(status=error.status)


def _whole(body: bytes, headers: Headers, row: Row | None) -> Answer:
    return Answer(200, [*headers, ("Content-Length", str(len(body)))], body, len(body), row)


def _text(
    text: Text, request: Request, stream: Stream, cors: Headers, tag: bytes | None = None
) -> Answer:
    if tag is not None:
        cors = [*cors, _UNBUFFERED]
    gzipped = text.gzipped if http.accepts_gzip(request.fields.accept_encoding) else None
    body, etag = (text.plain, text.etag) if gzipped is None else (gzipped, text.gzipped_etag)
    variant = gzipped is not None, *cors
    written = text.heads.get(variant)
    if written is None:
        vary = ("Vary", "Accept-Encoding")
        headers = [_TYPES["m3u8"], _NO_STORE, ("ETag", etag), vary, *cors]
        if gzipped is not None:
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        if len(text.heads) >= _HEADS_KEPT:
            # Origins are without number where all are allowed.
            text.heads.clear()
        written = text.heads[variant] = headers, http.head(200, headers)
    headers, head = written
    row = stream.id, Booked.PLAYLIST
    if status := http.preconditions(request, etag, None):
        return _conditional(status, headers[:-1], row)
    return Answer(200, headers, body, len(body), row, None, head, tag)


def _conditional(status: int, headers: Headers, row: Row | None) -> Answer:
    # RFC 9112 6.3: 304 has no body whatever is said, 412 has one until the end of the connection.
    return Answer(
        status, headers if status == 304 else [*headers, ("Content-Length", "0")], row=row
    )


def _is_bare(stream: Stream) -> bool:
    """Whether media lies outside the grants, for caches: what is of use to nobody without a key, or
    open to all anyway."""
    settings = stream.settings
    if settings.cache != "shared":
        return False
    return settings.encryption == "aes-128" or (
        settings.encryption == "none" and settings.access == "open"
    )


def _cache_key(film: Film, asked: Route, secret: tuple[bytes, bytes] | None) -> bytes:
    """What a segment's bytes depend on, in 16 bytes. The version stands for source and settings, the
    mark for what may have happened to the source since."""
    place = f"{film.source.stream} {film.version} {film.mark} {asked.rendition} {asked.number}"
    return blake2b(place.encode(), digest_size=16, key=secret[0] if secret else b"").digest()


def _etag(film: Film, asked: Route) -> str:
    return f'"{film.version}-{asked.rendition}-{asked.kind[0]}{asked.number}"'


def _row(stream: Stream) -> Row:
    return stream.id, Booked.SEGMENT


def _ranged(
    body: bytes | Made | Filed,
    size: int,
    headers: Headers,
    request: Request,
    etag: str,
    modified: int | None,
    row: Row | None,
) -> Answer:
    headers += [("ETag", etag), ("Accept-Ranges", "bytes")]
    if status := http.preconditions(request, etag, modified):
        return _conditional(status, headers, row)
    span = None
    asked = request.fields.range
    # RFC 9110 14.2: GET is the only method that knows ranges.
    ranged = asked is not None and request.method == "GET"
    # A file can change twice in a second, so its date is no strong validator (RFC 9110 13.1.5).
    if ranged and http.if_range(request.fields.if_range, etag, None):
        span = http.ranges(asked, size)
    if span is None:
        headers.append(("Content-Length", str(size)))
        return Answer(200, headers, body, size, row)
    first, end = span
    headers += [
        ("Content-Length", str(end - first)),
        ("Content-Range", http.content_range(first, end, size)),
    ]
    if isinstance(body, Made):
        tag = body.tag
        if tag is not None and end - first < size:
            tag = part(tag, etag, size, first, end)
        body = body._replace(skip=first, tag=tag)
    else:
        body = body[first:end] if isinstance(body, bytes) else body._replace(skip=first)
    return Answer(206, headers, body, end - first, row)


# RFC 6454 7.1: a scheme, a host of 253 characters at most (RFC 1035 2.3.4) and a port. What is longer
# names nobody, and is not said back.
_LONGEST_ORIGIN = 300


def _cors(stream: Stream, request: Request) -> Headers:
    origin = request.fields.origin
    if origin is None or len(origin) > _LONGEST_ORIGIN:
        return [("Vary", "Origin")] if stream.settings.origins else []
    if origin in stream.settings.origins or "*" in stream.settings.origins:
        return [
            ("Access-Control-Allow-Origin", origin),
            (_EXPOSED, "Content-Length, Content-Range, Date, Retry-After"),
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
