"""Opening inputs."""

from __future__ import annotations

import os
import threading

from pystream._core import Movie, Track
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

    Source: TypeAlias = str | os.PathLike[str] | int | bytes | ReadAt | Seekable


class Input:
    """An opened MP4, progressive or fragmented (ISO/IEC 14496-12).

    Any number of threads may use it. It holds the sample tables, packed, and none of the media; the
    source must stay as it is as long as the input is used.

    `name`: what messages call it; `tracks`: those that can be packaged, in the file's order;
    `notices`: what the user should know, such as tracks that are left out; `movie`: the core's own
    view of the file.
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
            Notice("track-left-out", left_out(track_id, handler, codec, reason), name)
            for track_id, handler, codec, reason in movie.skipped
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

    `source` is a path, bytes, a seekable binary file object, any object with `size` and
    `read_at(offset, n)`, or the descriptor of a file that is open for reading, which is closed with
    the input, and where this raises. `name` is what messages call it.

    Raises `MalformedMedia`, `UnsupportedMedia` or `LimitExceeded` with byte offset and box path;
    `OSError` where a path cannot be opened or read, with errno and filename; `ValueError` for a path
    with a null byte, or a size that no source has; what a source of your own raises, as it is. In
    messages stands `name`; `TypeError` for a file opened in text mode.
    """
    name = _printable(_name(source) if name is None else name)
    return Input(_movie(source, name), name)


def left_out(track_id: int, handler: str, codec: str | None, reason: str) -> str:
    """Says why a track is not carried. One without a sample entry has no codec."""
    what = f"{kind_of(handler)}, {codec}" if codec else kind_of(handler)
    return f"track {track_id} ({what}) is left out: {reason}"


def kind_of(handler: str) -> str:
    """What a track holds, in words where its handler has one (ISO/IEC 14496-12 12)."""
    words = {"vide": "video", "soun": "audio", "text": "text", "sbtl": "subtitles"}
    words |= {"subt": "subtitles", "clcp": "captions", "hint": "hints", "meta": "metadata"}
    return words.get(handler, handler)


def _name(source: Source) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, int):
        return f"<descriptor {source}>"
    return "<bytes>" if isinstance(source, bytes) else "<object>"


def _printable(name: str) -> str:
    """A name as text. The bytes of a file's name need be none: those that are not are escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _movie(source: Source, name: str) -> Movie:
    if isinstance(source, (str, os.PathLike)):
        return Movie.open_path(os.fspath(source), name)
    if isinstance(source, int):
        return Movie.open_descriptor(source, name)
    if isinstance(source, bytes):
        return Movie.open_bytes(source, name)
    if _is_read_at(source):
        size = source.size
        if not 0 <= size < 1 << 63:
            raise ValueError(
                f"{name} says that its size is {size}, not within 0 and 2^63 - 1 bytes"
            )
        return Movie.open_object(source, size, name)
    if _is_seekable(source):
        if isinstance(source.read(0), str):
            raise TypeError(f"{name} is opened in text mode; open it in binary: open(path, 'rb')")
        file = _FileObject(source)
        return Movie.open_object(file, file.size, name)
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
