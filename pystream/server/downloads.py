"""Films as files: what `download.mp4` hands out where a stream's switch is on."""

from __future__ import annotations

import os
import re
from base64 import b32encode
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

import trio

from pystream import _core

_FORMAT = 1
"""Counted up when the same file is handed out as other bytes than before."""
_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Download:
    """A file as it was when it was opened. `modified`: Unix seconds."""

    file: _core.Download
    etag: str
    modified: int


class Downloads:
    """The files that one process hands out, at most `limit` bytes of moved tables, the latest one
    aside."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._open: OrderedDict[str, Download] = OrderedDict()

    async def find(self, path: str) -> Download:
        """The file as it is now. Raises `OSError`, `MediaError`."""
        found = self._open.get(path)
        state = os.stat(path)
        etag = _etag(state)
        if found is None or found.etag != etag:
            file = await trio.to_thread.run_sync(_core.Download, path, path)
            found = self._open[path] = Download(file, etag, int(state.st_mtime))
        self._open.move_to_end(path)
        while len(self._open) > 1 and sum(d.file.nbytes for d in self._open.values()) > self._limit:
            self._open.popitem(last=False)
        return found


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
