"""Films as files: what `download.mp4` hands out where a stream's switch is on."""

from __future__ import annotations

import os
import re
from base64 import b32encode
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from urllib.parse import quote
from weakref import WeakValueDictionary

import trio

from pystream import _core
from pystream.errors import SourceError
from pystream.server.files import Files
from pystream.server.folders import held
from pystream.server.origin import TRIES, state_of

_FORMAT = 1
"""Counted up when the same file is handed out as other bytes than before."""
_LIMIT = 64 << 20
MOST = 64
_IDLE_SECONDS = 60


@dataclass(slots=True)
class Download:
    """A file as it was when it was opened. `modified`: Unix seconds; `idle`: seconds since it was
    asked for."""

    file: _core.Download
    etag: str
    modified: int
    idle: int = 0


class Downloads:
    """The files that one process hands out: at most `most` are kept open, and at most `limit` bytes of
    moved tables, the latest one aside. `tick` has to be called once a second, as that of `files`."""

    def __init__(self, limit: int = _LIMIT, most: int = MOST, files: Files | None = None) -> None:
        self._files = files or Files()
        self._limit = limit
        self._most = most
        self._open: OrderedDict[str, Download] = OrderedDict()
        # Held by those who open one, and those who wait for it.
        self._opening = WeakValueDictionary[str, trio.Lock]()

    async def find(self, path: str, films: str = "", tenant: str = "") -> Download:
        """The file as it is now; `films` and `tenant` as in `folders.held`. Raises `OSError`,
        `MediaError`."""
        async with self._opening.setdefault(path, trio.Lock()):
            known = self._open.get(path)
            try:
                found = await self._files.ask(
                    (path,),
                    ("download", path, tenant),
                    partial(_as_is, path, films, tenant, known),
                )
            except (OSError, SourceError):
                self._close(path)
                raise
            if found is not known:
                self._close(path)
            found.idle = 0
            self._open[path] = found
            self._open.move_to_end(path)
            self._make_room()
            return found

    def tick(self) -> None:
        """Closes what nobody has asked for in a while: what was deleted then takes no room any more."""
        for path, found in list(self._open.items()):
            found.idle += 1
            if found.idle > _IDLE_SECONDS:
                self._close(path)

    def _close(self, path: str) -> None:
        found = self._open.pop(path, None)
        if found is not None:
            self._files.leave((path,), found)

    def _make_room(self) -> None:
        while len(self._open) > 1 and (
            len(self._open) > self._most
            or sum(each.file.nbytes for each in self._open.values()) > self._limit
        ):
            self._close(next(iter(self._open)))


def _as_is(path: str, films: str, tenant: str, known: Download | None) -> Download:
    """The file as it is now, which may be as it was known."""
    for _ in range(TRIES):
        with held(path, films, tenant) as place:
            before = os.stat(place)
            if known is not None and known.etag == _etag(before):
                return known
            file = _core.Download(place, path)
            # The tables are those of the tag only if nothing happened from before to after.
            if state_of(os.stat(place)) == state_of(before):
                return Download(file, _etag(before), int(before.st_mtime))
    raise SourceError(f"{path} is being written to: it changed while it was opened")


def _etag(state: os.stat_result) -> str:
    identity = repr((_FORMAT, state.st_size, state.st_mtime_ns, state.st_ino)).encode()
    return f'"{b32encode(sha256(identity).digest()[:10]).decode().lower()}"'


def disposition(title: str) -> str:
    """Content-Disposition of a file that is to be kept under a title (RFC 6266, RFC 8187): once in
    ASCII for old clients, and once as it is."""
    # What no file system, or no shell, takes well.
    name = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "_", title).strip(" .")[:120] or "film"
    plain = re.sub(r"[^\x20-\x7e]|%", "_", name)
    # RFC 8187 3.2.1: attr-char.
    full = quote(name, safe="!#$&+-.^_`|~")
    return f"attachment; filename=\"{plain}.mp4\"; filename*=UTF-8''{full}.mp4"
