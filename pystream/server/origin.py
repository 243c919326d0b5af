"""File streams: films that are opened once, and answered from.

A film is a stream's source as it was when it was opened, planned, with its playlists. It is known by
its version, a hash of what its bytes depend on; the version stands in every media path, so that a
replaced file or a changed encryption never meets what a cache still has. Films are kept by the bytes
they hold in memory and the files they hold open; one that was replaced by a rename serves those who
still play it until nobody has asked for an hour: its files are open, and as they were. Where this
process does not have it, or has it no more, it is on the node's shelf (`shelf.py`).

One whose files were written to is none any more. Of those, its own descriptors tell, once a second:
the path may lead to another file by then. Until that second is over, what was made may be of the one
or the other, so what is kept of it under its version is kept under what nobody can set back as well.
"""

from __future__ import annotations

import gzip
import os
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from typing import NamedTuple, Self, TypeVar
from weakref import WeakValueDictionary

import msgspec
import trio

import pystream
from pystream import _core
from pystream.attendance.evidence import places
from pystream.errors import PystreamError, SourceError
from pystream.packager.presentation import Presentation, Rendition
from pystream.packager.source import Input
from pystream.server.files import Files
from pystream.server.folders import held
from pystream.server.shelf import Descriptor, Loans, Put

T = TypeVar("T")

MOST_FILES = 1000
"""A film has one open, or one a file of its ladder."""
_FORMAT = 1
"""Counted up when the same source and settings give other bytes than before."""
_IDLE_SECONDS = 3600
_SHELVED_TICKS = 600
"""Between times that a film is put on the shelf that somebody asks for."""
TRIES = 3
"""Times that files are opened that change meanwhile."""
_KEY_SECONDS = 300
_KEYS_KEPT = 8
"""Of a film, the last that were asked for: of what most are watching, in each of its renditions."""
_DIGITS = 20
_SMALL = 1000
"""Bytes below which compressing a playlist is not worth it."""


@dataclass(frozen=True, slots=True)
class Source:
    """What of a stream decides about its bytes.

    `paths`: its files, a ladder's all; `segment_duration`: seconds; `rotate_every`: segments a key,
    0 keeps one; `encryption`: as in the stream's settings; `place`: where media lies outside the
    grants, `tenant/stream`, or nothing; `films`, `tenant`: whose folder of films no path leads out of
    that lies in it, as in `folders.held`; `keys`: gives the key of (version, rendition, period), or None
    for clear media. Per-viewer keys are none of a film's: whoever serves it puts them in.
    `name`: what events call the stream.
    """

    stream: int
    paths: tuple[str, ...]
    format: str
    segment_duration: float
    rotate_every: int
    encryption: str = "none"
    place: str = ""
    films: str = ""
    tenant: str = ""
    keys: Callable[[str, str, int], bytes] | None = field(default=None, compare=False)
    name: str = field(default="", compare=False)


class Text:
    """A playlist. `etag` and `gzipped_etag` tell its two representations apart (RFC 9110 8.8.3.3);
    `gzipped` is None where compressing is no gain. `heads` is for whoever hands it out: the headers
    that were written with it before, and how they were written."""

    __slots__ = ("etag", "gzipped", "gzipped_etag", "heads", "plain")

    def __init__(self, text: str) -> None:
        self.plain = text.encode()
        digest = sha256(self.plain).hexdigest()[:20]
        self.etag, self.gzipped_etag = f'"{digest}"', f'"{digest}-gzip"'
        self.heads: dict[tuple[object, ...], tuple[list[tuple[str, str]], bytes]] = {}
        self.gzipped: bytes | None = None
        if len(self.plain) >= _SMALL:
            self.gzipped = gzip.compress(self.plain, 6, mtime=0)

    @property
    def nbytes(self) -> int:
        return len(self.plain) + len(self.gzipped or b"")


State = tuple[int, int, int, int]
"""What of a file changes with its bytes: size, time of the last change, and which file it is."""


def state_of(stats: os.stat_result) -> State:
    return stats.st_size, stats.st_mtime_ns, stats.st_ino, stats.st_dev


class Film:
    """A stream's source, opened and planned. Frozen, but for playlists made when first asked for.

    `states`: of its files, as they were when it was opened; `mark`: differs where anything was done to
    a file before this opened it. `sound`: at which tick its files were last known to be as they were;
    `current`: at which one its paths led to them; `asked`: at which one it was last asked for. `nbytes`
    is what it holds in memory, of which its `Origin` has `counted` so many. `under` is for whoever serves
    it: what it was last served under.
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
        self.sound = self.current = self.asked = -1
        self.under: object = None
        self.counted = 0
        changed = repr([stats.st_ctime_ns for stats in _of_descriptors(inputs)])
        self.mark = sha256(changed.encode()).hexdigest()[:16]
        self._playlists: dict[str, Text] = {}
        self._places: dict[str, list[bytes]] = {}
        self._writing = trio.Lock()
        self._inputs = inputs
        self.nbytes = presentation.nbytes + self.multivariant.nbytes
        self.nbytes += sum(opened.nbytes for opened in inputs)

    def is_intact(self) -> bool:
        """Whether the files that were opened are as they were, wherever their paths lead by now. This
        asks the file system."""
        try:
            return [state_of(stats) for stats in _of_descriptors(self._inputs)] == self.states
        except OSError:
            # A network file system's file may go although it is open (ESTALE).
            return False

    @property
    def files(self) -> list[_core.Movie]:
        """What keeps its files open."""
        return [opened.movie for opened in self._inputs]

    @property
    def key_seconds(self) -> int:
        """For how long a player may keep a key: as long as one is in use, five minutes at most."""
        period = self.source.rotate_every * self.source.segment_duration
        return min(_KEY_SECONDS, int(period)) if period else _KEY_SECONDS

    def period(self, key_name: str) -> tuple[Rendition, int] | None:
        """Whose key has that file name, and which of its periods'; None where there is no such key."""
        name, _, number = key_name.removesuffix(".key").rpartition("-")
        rendition = self.renditions.get(name)
        if rendition is None or not (number.isdecimal() and len(number) < _DIGITS):
            return None
        period = int(number)
        named = period < rendition.periods and rendition.key_name(period) == key_name
        return (rendition, period) if named else None

    def places(self, rendition: Rendition) -> list[bytes]:
        """What evidence calls each of its segments: video counts, or sound where there is none else."""
        found = self._places.get(rendition.name)
        if found is None:
            kinds = {each.kind for each in self.renditions.values()}
            primary = rendition.kind != "audio" or kinds == {"audio"}
            stream, durations = self.source.stream, rendition.durations_us
            found = self._places[rendition.name] = places(
                stream, rendition.name, durations, primary=primary
            )
            self.nbytes += sum(map(len, found))
        return found

    @cached_property
    def longest_ms(self) -> int:
        """What its longest segment lasts."""
        return (
            max(max(each.durations_us, default=0) for each in self.renditions.values()) // 1000 + 1
        )

    def playlist(self, rendition: Rendition) -> Text | None:
        """A media playlist; None where it is yet to be written."""
        return self._playlists.get(rendition.name)

    async def written(self, rendition: Rendition, limiter: trio.CapacityLimiter) -> Text:
        """A media playlist, which is written first: of a long film, that takes some time."""
        # One writes it. The others wait, and go on one by one: in between, others are heard.
        async with self._writing:
            text = self.playlist(rendition)
            if text is None:
                text = await trio.to_thread.run_sync(self._write, rendition, limiter=limiter)
                self._playlists[rendition.name] = text
                self.nbytes += text.nbytes
            return text

    def _write(self, rendition: Rendition) -> Text:
        place, media = self.source.place, ""
        if place:
            # From /t/{grant}/{tenant}/{stream}/{version}/{rendition}/ up to where both begin.
            media = f"{6 * '../'}s/{place}/{self.version}/{rendition.name}/"
        return Text(self.presentation.media_playlist_text(rendition, media, ""))


def _of_descriptors(inputs: list[Input]) -> list[os.stat_result]:
    descriptors = (opened.movie.fileno() for opened in inputs)
    return [os.fstat(descriptor) for descriptor in descriptors if descriptor is not None]


def _version(source: Source, states: list[State]) -> str:
    # Media that was encrypted with other keys is other media. No film has this version.
    mark = None if source.keys is None else sha256(source.keys("", "", 0)).digest()
    identity = [
        _FORMAT,
        source.stream,
        source.format,
        source.segment_duration,
        source.rotate_every,
        source.encryption,
        source.place,
        mark,
        # Not the device: its number may change when the machine starts, or the network's mount.
        *(state[:3] for state in states),
    ]
    return b32encode(sha256(repr(identity).encode()).digest()[:10]).decode().lower()


class _About(msgspec.Struct, frozen=True, array_like=True):
    """What of its source a film's version depends on, its files and stream aside."""

    paths: tuple[str, ...]
    format: str
    segment_duration: float
    rotate_every: int
    encryption: str
    place: str

    @classmethod
    def of(cls, source: Source) -> Self:
        return cls(*(getattr(source, name) for name in cls.__struct_fields__))

    def under(self, source: Source) -> Source | None:
        """The source of a film that was opened before a stream had this one; None where it is protected
        otherwise now."""
        if (self.encryption, self.place) != (source.encryption, source.place):
            return None
        return replace(source, **msgspec.structs.asdict(self))


class _Opened(NamedTuple):
    """Files that were opened, or why they could not be. `states`: of them, just before."""

    states: list[State]
    inputs: list[Input]
    error: PystreamError | OSError | None = None


def _open(source: Source, known: Film | None, failure: _Failure | None) -> Film | _Opened:
    """Reads the sources' tables, where what is known of them does not hold any more. This asks the file
    system. Raises `OSError`, `SourceError`."""
    for _ in range(TRIES):
        with ExitStack() as stack:
            places = [
                stack.enter_context(held(path, source.films, source.tenant))
                for path in source.paths
            ]
            before = [state_of(os.stat(place)) for place in places]
            if known is not None and known.states == before and known.is_intact():
                return known
            if failure is not None and failure.stands(before):
                return _Opened(before, [], failure.error)
            try:
                inputs = list(map(pystream.open, places, source.paths))
            except SourceError:
                raise
            except PystreamError as error:
                return _Opened(before, [], error.with_traceback(None))
        # The tables are those of the version only if nothing happened from before to after.
        if [state_of(stats) for stats in _of_descriptors(inputs)] == before:
            return _Opened(before, inputs)
    raise SourceError("the sources are being written to: they changed while they were opened")


def _reopen(source: Source, version: str, files: list[Descriptor]) -> _Opened:
    """Reads the tables of files that another process has opened. This asks the file system. Raises
    `PystreamError`, `OSError`."""
    inputs = [
        pystream.open(file.take_over(), path)
        for file, path in zip(files, source.paths, strict=True)
    ]
    states = [state_of(stats) for stats in _of_descriptors(inputs)]
    if _version(source, states) != version:
        raise SourceError(f"{source.paths[0]} was written to since it was opened")
    return _Opened(states, inputs)


def _planned(source: Source, inputs: list[Input], states: list[State]) -> Film:
    """Raises `PystreamError`."""
    version = _version(source, states)
    keys = source.keys
    encryption = None
    if keys is not None:
        encryption = pystream.Aes128(
            # To derive one costs more than all else about a segment that is shared. They go with the film.
            key_for=lru_cache(_KEYS_KEPT)(partial(keys, version)),
            rotate_every=source.rotate_every,
            key_uri="key/",
            on_demand=True,
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
    `known`: at which tick."""

    source: Source
    states: list[State] | None
    error: PystreamError | OSError
    known: int

    def stands(self, states: list[State]) -> bool:
        """Whether it is the fault of the files' bytes, and they are as they were."""
        return not isinstance(self.error, OSError | SourceError) and self.states == states


class Origin:
    """The films of one process: at most `limit` bytes of tables and playlists and `most` open files,
    the latest film aside.

    `tick` has to be called once a second: what is known of files holds for so long. It is found out by
    threads of `files`, so that nothing here waits for a file system but who asked for its film. `loans`
    are from the node's shelf.
    """

    def __init__(
        self,
        limit: int,
        most: int = MOST_FILES,
        files: Files | None = None,
        loans: Loans | None = None,
    ) -> None:
        self.files = files or Files()
        self._loans = loans
        # Which versions of a stream were on the shelf, and at which tick.
        self._on_shelf: dict[int, tuple[int, set[str]]] = {}
        self._limit = limit
        self._most = most
        # Those that were asked for last are at the end.
        self._films: OrderedDict[tuple[int, str], Film] = OrderedDict()
        self._nbytes = 0
        self._open_files = 0
        self._current: dict[int, tuple[Source, Film]] = {}
        self._failures: dict[int, _Failure] = {}
        # The version that a stream's source had when it was last opened here.
        self._opened: dict[int, tuple[Source, str]] = {}
        self._tick = 0
        # Held by those who open one, and those who wait for it.
        self._opening = WeakValueDictionary[int, trio.Lock]()
        # More at once would only keep the processors from who sends.
        self._writers = trio.CapacityLimiter(2)

    @property
    def nbytes(self) -> int:
        return self._nbytes

    async def film(self, source: Source) -> Film:
        """The film of a stream as its files are now. Raises `PystreamError`, `OSError`."""
        # As with playlists, which are written by one.
        async with self._opening.setdefault(source.stream, trio.Lock()):
            return self.fresh(source) or await self._renewed(source)

    async def _renewed(self, source: Source) -> Film:
        stream, states = source.stream, None
        try:
            opened = await self._asked(source)
            if isinstance(opened, Film):
                opened.sound = opened.current = self._tick
                return opened
            states = opened.states
            film = await self._planned(source, opened)
        except (PystreamError, OSError) as error:
            failure = _Failure(source, states, error.with_traceback(None), self._tick)
            self._failures[stream] = failure
            raise
        self._failures.pop(stream, None)
        self._keep(film)
        # What was the same source, and is another film now, others have put in its place.
        before, self._opened[stream] = self._opened.get(stream), (source, film.version)
        replaced = before is not None and before[0] == source and before[1] != film.version
        self._put_on_shelf(film, source.name if replaced else "")
        self._current[stream] = source, film
        return film

    async def _asked(self, source: Source) -> Film | _Opened:
        stream = source.stream
        current, failure = self._current.get(stream), self._failures.get(stream)
        known = current[1] if current is not None and current[0] == source else None
        if failure is not None and failure.source != source:
            failure = None
        open_ = partial(_open, source, known, failure)
        return await self.files.ask(source.paths, (stream, source), open_, busy=True)

    async def _planned(self, source: Source, opened: _Opened) -> Film:
        if opened.error is not None:
            raise opened.error
        try:
            # To plan is to read what stands at the cuts, and takes next to nothing of the interpreter.
            plan = partial(_planned, source, opened.inputs, opened.states)
            return await self.files.ask(
                source.paths, (source.stream, source, "plan"), plan, busy=True
            )
        except BaseException:
            self.files.leave(source.paths, opened)
            raise

    def may_be_on_shelf(self, stream: int, version: str) -> bool:
        """Whether a film might be recalled that is not open here. That there is none is known for a
        second, so that who makes versions up has nobody asked for each."""
        if self._loans is None:
            return False
        tick, versions = self._on_shelf.get(stream, (-1, set()))
        return tick != self._tick or version in versions

    async def recall(self, source: Source, version: str) -> None:
        """Opens a film anew that is on the shelf, and may have been replaced since it was opened first.
        Where that cannot be, it is known not to be there."""
        stream, versions = source.stream, set[str]()
        async with self._opening.setdefault(stream, trio.Lock()):
            if self._loans is None or (stream, version) in self._films:
                return
            for film, files in await self._loans.take(stream):
                versions.add(film.version)
                if film.version != version:
                    self.files.leave(source.paths, files)
                elif not await self._reopened(source, film, files):
                    versions.discard(version)
            self._on_shelf[stream] = self._tick, versions

    async def _reopened(self, source: Source, film: Put, files: list[Descriptor]) -> bool:
        try:
            before = msgspec.msgpack.decode(film.about, type=_About).under(source)
            if before is None or len(before.paths) != len(files):
                return False
            reopen = partial(_reopen, before, film.version, files)
            asked = source.stream, film.version
            opened = await self.files.ask(before.paths, asked, reopen, busy=True)
            found = await self._planned(before, opened)
        except (PystreamError, OSError, msgspec.DecodeError):
            # Who asks for the stream as it is now is told what is wrong with it.
            return False
        finally:
            self.files.leave(source.paths, files)
        self._keep(found)
        # Where its paths lead by now, nobody has looked.
        found.current = -1
        if before == source:
            self._current.setdefault(source.stream, (source, found))
        return True

    def _put_on_shelf(self, film: Film, replaced: str = "") -> None:
        if self._loans is not None:
            source = film.source
            about = msgspec.msgpack.encode(_About.of(source))
            self._loans.put(Put(source.stream, film.version, about, replaced), film.files)

    async def written(self, film: Film, rendition: Rendition) -> Text:
        """A media playlist of a film, which is written first."""
        text = await film.written(rendition, self._writers)
        if self._has(film):
            self._count(film)
        return text

    async def read(self, film: Film, what: Hashable, read: Callable[[], T]) -> T:
        """What `read` gives, which reads a film's files; who asks for the same `what` meanwhile gets the
        same. Raises what it does, and `NoAnswer`."""
        return await self.files.ask(film.source.paths, (film, what), read)

    def version(self, stream: int, version: str) -> Film | None:
        """A film that was opened before, though it may have been replaced since. Whether its files are
        as they were is known only where it `is_sound`."""
        film = self._films.get((stream, version))
        if film is not None:
            film.asked = self._tick
            self._films.move_to_end((stream, version))
        return film

    def is_sound(self, film: Film) -> bool:
        """Whether a film's files are known to be as they were."""
        return film.sound == self._tick

    async def look(self, film: Film) -> None:
        """Finds out whether a film's files are as they were; one whose files were written to is none
        any more. Raises `NoAnswer`."""
        if await self.read(film, "state", film.is_intact):
            film.sound = self._tick
        else:
            self.drop(film)

    def fresh(self, source: Source) -> Film | None:
        """The film of a stream, where its files are known to be as they were. Raises as `film` does
        where it is known that they cannot be opened."""
        failure = self._failures.get(source.stream)
        if failure is not None and failure.known == self._tick and failure.source == source:
            raise failure.error.with_traceback(None)
        current = self._current.get(source.stream)
        if current is None or current[0] != source:
            return None
        film = current[1]
        if not film.sound == film.current == self._tick:
            return None
        return self.version(source.stream, film.version)

    def tick(self) -> None:
        """Has the files looked at again when somebody asks for them, and closes films that nobody asks
        for: what was deleted then takes no room any more."""
        self._tick += 1
        self.files.tick()
        while self._films:
            oldest = next(iter(self._films.values()))
            if self._tick - oldest.asked <= _IDLE_SECONDS:
                break
            self.drop(oldest)
        if self._tick % _SHELVED_TICKS == 0:
            self._on_shelf.clear()
            for film in self._films.values():
                if self._tick - film.asked < _SHELVED_TICKS:
                    self._put_on_shelf(film)

    def _keep(self, film: Film) -> None:
        key = film.source.stream, film.version
        if (same := self._films.get(key)) is not None:
            self.drop(same)
        film.sound = film.current = film.asked = self._tick
        self._films[key] = film
        self._open_files += len(film.source.paths)
        self._count(film)

    def _has(self, film: Film) -> bool:
        return self._films.get((film.source.stream, film.version)) is film

    def _count(self, film: Film) -> None:
        """Counts what a film holds by now, and makes room for it."""
        self._nbytes += film.nbytes - film.counted
        film.counted = film.nbytes
        self._make_room()

    def _make_room(self) -> None:
        while len(self._films) > 1 and (
            self._nbytes > self._limit or self._open_files > self._most
        ):
            self.drop(next(iter(self._films.values())))

    def drop(self, film: Film) -> None:
        """Serves a film no more, that may be open no more already."""
        stream = film.source.stream
        if not self._has(film):
            return
        del self._films[stream, film.version]
        self._nbytes -= film.counted
        self._open_files -= len(film.source.paths)
        current = self._current.get(stream)
        if current is not None and current[1] is film:
            del self._current[stream]
        self.files.leave(film.source.paths, film)
