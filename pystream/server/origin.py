"""File streams: films that are opened once, and answered from.

A film is a stream's source as it was when it was opened, planned, with its playlists. It is known by
its version, a hash of what its bytes depend on; the version stands in every media path, so that a
replaced file or a changed encryption never meets what a cache still has. Films are kept by the bytes
they hold in memory; one that was replaced by a rename serves those who still play it until its room
is needed or nobody has asked for an hour: its files are open, and as they were.

One whose files were written to is none any more. Of those, its own descriptors tell, once a second:
the path may lead to another file by then. Until that second is over, what was made may be of the one
or the other, so what is kept of it under its version is kept under what nobody can set back as well.
"""

from __future__ import annotations

import gzip
import os
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from weakref import WeakValueDictionary

import trio

import pystream
from pystream.errors import PystreamError, SourceError
from pystream.packager.presentation import Presentation, Rendition
from pystream.packager.source import Input

_FORMAT = 1
"""Counted up when the same source and settings give other bytes than before."""
_IDLE_SECONDS = 3600
TRIES = 3
"""Times that files are opened that change meanwhile."""
_KEY_SECONDS = 300
_SMALL = 1000
"""Bytes below which compressing a playlist is not worth it."""


@dataclass(frozen=True, slots=True)
class Source:
    """What of a stream decides about its bytes.

    `paths`: its files, a ladder's all; `segment_duration`: seconds; `rotate_every`: segments a key,
    0 keeps one; `encryption`: as in the stream's settings; `place`: where media lies outside the
    grants, `tenant/stream`, or nothing; `keys`: gives the key of (version, rendition, period), or None
    for clear media. Per-viewer keys are none of a film's: whoever serves it puts them in.
    """

    stream: int
    paths: tuple[str, ...]
    format: str
    segment_duration: float
    rotate_every: int
    encryption: str = "none"
    place: str = ""
    keys: Callable[[str, str, int], bytes] | None = field(default=None, compare=False)


class Text:
    """A playlist. `etag` and `gzipped_etag` tell its two representations apart (RFC 9110 8.8.3.3).
    `heads` is for whoever hands it out: the headers that were written with it before, and how they
    were written."""

    __slots__ = ("_gzipped", "etag", "gzipped_etag", "heads", "plain")

    def __init__(self, text: str) -> None:
        self.plain = text.encode()
        digest = sha256(self.plain).hexdigest()[:20]
        self.etag, self.gzipped_etag = f'"{digest}"', f'"{digest}-gzip"'
        self.heads: dict[tuple[object, ...], tuple[list[tuple[str, str]], bytes]] = {}
        self._gzipped: bytes | None = None

    def gzipped(self) -> bytes | None:
        """It compressed, which is done once; None where that is no gain."""
        if self._gzipped is None and len(self.plain) >= _SMALL:
            self._gzipped = gzip.compress(self.plain, 6, mtime=0)
        return self._gzipped

    @property
    def nbytes(self) -> int:
        return len(self.plain) + len(self._gzipped or b"")


State = tuple[int, int, int, int]
"""What of a file changes with its bytes: size, time of the last change, and which file it is."""


def state_of(stats: os.stat_result) -> State:
    return stats.st_size, stats.st_mtime_ns, stats.st_ino, stats.st_dev


def _states(paths: tuple[str, ...]) -> list[State]:
    """Of what the paths lead to now. Raises `OSError`."""
    return [state_of(os.stat(path)) for path in paths]


class Film:
    """A stream's source, opened and planned. Frozen, but for playlists made when first asked for.

    `states`: of its files, as they were when it was opened; `mark`: differs where anything was done to
    a file before this opened it. `sound`: its files are known to be as they were; `current`: its paths
    are known to lead to them; either is forgotten each second. `idle`: seconds since it was asked for.
    `under`: is for whoever serves it: what it was last served under.
    """

    def __init__(
        self,
        source: Source,
        version: str,
        presentation: Presentation,
        inputs: list[Input],
        states: list[State],
    ) -> None:
        self.source = source
        self.version = version
        self.states = states
        self.presentation = presentation
        self.renditions: dict[str, Rendition] = {r.name: r for r in presentation.renditions}
        self.multivariant = Text(presentation.multivariant_playlist(f"{version}/").text())
        self.keys = {name: key for r in presentation.renditions for name, key in r.key_files()}
        self.periods = {
            r.key_name(period): (r, period)
            for r in presentation.renditions
            for period, _ in enumerate(r.key_files())
        }
        self.sound = False
        self.current = False
        self.idle = 0
        self.under: object = None
        changed = repr([stats.st_ctime_ns for stats in _of_descriptors(inputs)])
        self.mark = sha256(changed.encode()).hexdigest()[:16]
        self._playlists: dict[str, Text] = {}
        self._writing = trio.Lock()
        self._inputs = inputs
        self._held = sum(opened.nbytes for opened in inputs)

    def is_intact(self) -> bool:
        """Whether the files that were opened are as they were, wherever their paths lead by now."""
        try:
            return [state_of(stats) for stats in _of_descriptors(self._inputs)] == self.states
        except OSError:
            # A network file system's file may go although it is open (ESTALE).
            return False

    @property
    def nbytes(self) -> int:
        texts = sum(text.nbytes for text in self._playlists.values())
        return self._held + self.presentation.nbytes + self.multivariant.nbytes + texts

    @property
    def key_seconds(self) -> int:
        """For how long a player may keep a key: as long as one is in use, five minutes at most."""
        period = self.source.rotate_every * self.source.segment_duration
        return min(_KEY_SECONDS, int(period)) if period else _KEY_SECONDS

    def playlist(self, rendition: Rendition) -> Text | None:
        """A media playlist; None where it is yet to be written."""
        return self._playlists.get(rendition.name)

    async def written(self, rendition: Rendition, packed: bool) -> Text:
        """A media playlist, which is written first, and compressed where it is wanted so: of a long
        film, that takes some time."""
        # One writes it. The others wait, and go on one by one: in between, others are heard.
        async with self._writing:
            text = self.playlist(rendition)
            if text is None:
                text = await trio.to_thread.run_sync(self._write, rendition, packed)
            return text

    def _write(self, rendition: Rendition, packed: bool) -> Text:
        place, media = self.source.place, ""
        if place:
            # From /t/{grant}/{tenant}/{stream}/{version}/{rendition}/ up to where both begin.
            media = f"{6 * '../'}s/{place}/{self.version}/{rendition.name}/"
        text = Text(self.presentation.media_playlist(rendition, media, "").text())
        if packed:
            text.gzipped()
        self._playlists[rendition.name] = text
        return text


def _of_descriptors(inputs: list[Input]) -> list[os.stat_result]:
    descriptors = (opened.movie.fileno() for opened in inputs)
    return [os.fstat(descriptor) for descriptor in descriptors if descriptor is not None]


def _version(source: Source, states: list[State]) -> str:
    identity = [
        _FORMAT,
        source.stream,
        source.format,
        source.segment_duration,
        source.rotate_every,
        source.encryption,
        source.place,
        # Not the device: its number may change when the machine starts, or the network's mount.
        *(state[:3] for state in states),
    ]
    return b32encode(sha256(repr(identity).encode()).digest()[:10]).decode().lower()


def _open(source: Source) -> Film:
    """Reads the sources' tables and plans; raises `MediaError`, `PlanError` or `OSError`."""
    for _ in range(TRIES):
        before = _states(source.paths)
        inputs = [pystream.open(path) for path in source.paths]
        # The tables are those of the version only if nothing happened from before to after.
        if [state_of(stats) for stats in _of_descriptors(inputs)] == before:
            return _planned(source, inputs, before)
    raise SourceError("the sources are being written to: they changed while they were opened")


def _planned(source: Source, inputs: list[Input], states: list[State]) -> Film:
    version = _version(source, states)
    keys = source.keys
    encryption = None
    if keys is not None:
        encryption = pystream.Aes128(
            key_for=lambda rendition, period: keys(version, rendition, period),
            rotate_every=source.rotate_every,
            key_uri="key/",
        )
    presentation = pystream.plan(
        inputs,
        format=source.format,
        segment_duration=source.segment_duration,
        encryption=encryption,
    )
    return Film(source, version, presentation, inputs, states)


@dataclass(slots=True)
class _Failure:
    """Why a source could not be opened. `states`: of its files just before, where that could be told;
    `known`: it is known to stand, which is forgotten each second."""

    source: Source
    states: list[State] | None
    error: PystreamError | OSError
    known: bool = True

    def stands(self, source: Source) -> bool:
        if source != self.source:
            return False
        if not self.known:
            self.known = self._lasts()
        return self.known

    def _lasts(self) -> bool:
        """Whether it is the fault of the files' bytes, and they are as they were."""
        if isinstance(self.error, OSError | SourceError):
            return False
        try:
            return _states(self.source.paths) == self.states
        except OSError:
            return False


class Origin:
    """The films of one process, at most `limit` bytes of tables, the latest one aside.

    `tick` has to be called once a second: what is known of files holds for so long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._films: OrderedDict[tuple[int, str], Film] = OrderedDict()
        self._current: dict[int, tuple[Source, Film]] = {}
        self._failures: dict[int, _Failure] = {}
        # Held by those who open one, and those who wait for it.
        self._opening = WeakValueDictionary[int, trio.Lock]()

    @property
    def nbytes(self) -> int:
        return sum(film.nbytes for film in self._films.values())

    async def film(self, source: Source) -> Film:
        """The film of a stream as its files are now. Raises as `_open` does."""
        # As with playlists, which are written by one.
        async with self._opening.setdefault(source.stream, trio.Lock()):
            film = self.fresh(source)
            if film is None:
                film = await self._opened(source)
                self._current[source.stream] = (source, film)
                self._films[source.stream, film.version] = film
                self._make_room()
            return film

    async def _opened(self, source: Source) -> Film:
        states = None
        try:
            states = _states(source.paths)
            return await trio.to_thread.run_sync(_open, source)
        except (PystreamError, OSError) as error:
            # A traceback would keep what was opened.
            failure = _Failure(source, states, error.with_traceback(None))
            self._failures[source.stream] = failure
            raise

    def version(self, stream: int, version: str) -> Film | None:
        """A film that was opened before, though it may have been replaced since; none whose files
        were written to."""
        film = self._films.get((stream, version))
        if film is not None:
            if not film.sound:
                if not film.is_intact():
                    self.drop(film)
                    return None
                film.sound = True
            self._films.move_to_end((stream, version))
        return film

    def fresh(self, source: Source) -> Film | None:
        """The film of a stream, if it is open and its files are as they were. Raises as `_open` does
        where it is known that they cannot be opened."""
        failure = self._failures.get(source.stream)
        if failure is not None:
            if failure.stands(source):
                raise failure.error.with_traceback(None)
            del self._failures[source.stream]
        current = self._current.get(source.stream)
        if current is None or current[0] != source:
            return None
        film = current[1]
        if not film.current:
            try:
                film.current = _states(source.paths) == film.states
            except OSError:
                # Whoever opens it anew is told so.
                return None
            if not film.current:
                return None
        return self.version(source.stream, film.version)

    def tick(self) -> None:
        """Has the files looked at again by whoever asks for them, and closes films that nobody asks
        for: what was deleted then takes no room any more."""
        for film in list(self._films.values()):
            film.idle = 0 if film.sound else film.idle + 1
            film.sound = film.current = False
            if film.idle > _IDLE_SECONDS:
                self.drop(film)
        for failure in self._failures.values():
            failure.known = False

    def _make_room(self) -> None:
        while len(self._films) > 1 and self.nbytes > self._limit:
            self.drop(next(iter(self._films.values())))

    def drop(self, film: Film) -> None:
        """Serves a film that is open no more."""
        stream = film.source.stream
        del self._films[stream, film.version]
        current = self._current.get(stream)
        if current is not None and current[1] is film:
            del self._current[stream]
