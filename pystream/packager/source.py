"""Opening inputs."""

from __future__ import annotations

import os
import threading

from pystream._core import Movie, Track
from pystream.errors import MediaError
from pystream.model import Notice

# `typing` would cost a command's start more than all of this; type checkers take the name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeAlias, TypeGuard

    class ReadAt(Protocol):
        """Any object with these two is an input, an object store for one.

        `read_at` may be called from several threads at once; it returns exactly `n` bytes. What it
        raises reaches the caller as it is.
        """

        @property
        def size(self) -> int: ...

        def read_at(self, offset: int, n: int, /) -> bytes: ...

    class Seekable(Protocol):
        """A binary file object."""

        def seek(self, offset: int, whence: int = ..., /) -> int: ...

        def read(self, n: int = ..., /) -> bytes: ...

    Source: TypeAlias = str | os.PathLike[str] | bytes | ReadAt | Seekable


class Input:
    """An opened MP4, progressive or fragmented (ISO/IEC 14496-12).

    Frozen, and usable from any number of threads. It holds the sample tables, packed, and none of
    the media; the source must stay as it is as long as the input is used.
    """

    __slots__ = ("movie", "name", "notices", "tracks")

    name: str
    movie: Movie
    tracks: tuple[Track, ...]
    notices: tuple[Notice, ...]

    def __init__(self, movie: Movie, name: str) -> None:
        self.movie = movie
        self.name = name
        self.tracks = tuple(movie.tracks)
        skipped = [
            Notice(
                "track-left-out",
                f"track {track_id} ({kind}, {codec}) is left out: {reason}",
                name,
            )
            for track_id, kind, codec, reason in movie.skipped
        ]
        warnings = [Notice(code, message, name) for code, message in movie.warnings]
        self.notices = (*warnings, *skipped)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held: what a cache of inputs should count."""
        return self.movie.nbytes

    @property
    def truncated(self) -> bool:
        """Whether a fragmented recording was cut off; its last whole fragment is the end."""
        return self.movie.truncated

    def __repr__(self) -> str:
        return f"<pystream.Input {self.name!r}: {len(self.tracks)} tracks>"


def open(source: Source, name: str | None = None) -> Input:
    """Open an MP4.

    `source` is a path, bytes, a seekable binary file object, or any object with `size` and
    `read_at(offset, n)`. `name` is what messages call it.

    Raises `MalformedMedia`, `UnsupportedMedia` or `LimitExceeded` with byte offset and box path;
    `OSError` where a path cannot be opened; whatever a source of your own raises.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
    elif name is None:
        name = "<bytes>" if isinstance(source, bytes) else "<object>"
    try:
        return Input(_movie(source), name)
    except MediaError as error:
        # Say which input, where there may be several.
        raise type(error)(f"{name}: {error}", error.offset, error.path) from None


def _movie(source: Source) -> Movie:
    if isinstance(source, (str, os.PathLike)):
        return Movie.open_path(os.fspath(source))
    if isinstance(source, bytes):
        return Movie.open_bytes(source)
    if _is_read_at(source):
        return Movie.open_object(source, source.size)
    if _is_seekable(source):
        file = _FileObject(source)
        return Movie.open_object(file, file.size)
    raise TypeError(
        "an input is a path, bytes, a seekable file object, or has size and read_at,"
        f" not {type(source).__name__}"
    )


def _is_read_at(source: object) -> TypeGuard[ReadAt]:
    return hasattr(source, "size") and hasattr(source, "read_at")


def _is_seekable(source: object) -> TypeGuard[Seekable]:
    return hasattr(source, "seek") and hasattr(source, "read")


class _FileObject:
    """A seekable file object as a `ReadAt`: one reader at a time."""

    def __init__(self, file: Seekable) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read_at(self, offset: int, n: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            parts = []
            while n > 0 and (part := self._file.read(n)):
                parts.append(part)
                n -= len(part)
            return b"".join(parts)
