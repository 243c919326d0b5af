"""What a path means: the server's URLs, as plain values.

/{tenant}/{stream}/                                       page; without its last slash: unslashed
/{tenant}/{stream}/session                                session (POST)
/{tenant}/{stream}/master.m3u8, download.mp4              entrance: to a fresh grant, without a page
/t/{grant}/{tenant}/{stream}/master.m3u8                  multivariant
/t/{grant}/{tenant}/{stream}/frame.mp4                    frame: the one that stands for the film
/t/{grant}/{tenant}/{stream}/leave                        leave (POST): nobody watches there any more
/t/{grant}/{tenant}/{stream}/beacon                       beacon (POST): what a player says of itself
/t/{grant}/{tenant}/{stream}/count                       count: what of the own attendance counts so far
/t/{grant}/{tenant}/{stream}/{version}/{rendition}/...    index.m3u8 (media playlist), init.mp4,
                                                          {n}.ts, {n}.m4s, key/{id}, frame/{ms}.mp4
/t/{grant}/{tenant}/{stream}/download.mp4                 download
/s/{tenant}/{stream}/{version}/{rendition}/...            segments without a grant, for caches
/s/-/{name}, /favicon.ico                                 the page's own files
/console/..., /api/v1/...                                 the office's, for a tenant's own people
/.well-known/pystream-privacy.json                        privacy: what the node keeps

Media playlists have a version as well: so a player that goes on with another rendition of a film that
was replaced meanwhile gets no mixture of the two, and each line of a playlist is as short as `899.ts`.

All of it may lie below a prefix, which is taken off before.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

PRIVACY: Final = "/.well-known/pystream-privacy.json"

_NUMBER_DIGITS = 9
_SUFFIXES = {"ts": "ts", "m4s": "fmp4"}


class Kind(StrEnum):
    """What is asked for."""

    PAGE = "page"
    UNSLASHED = "unslashed"
    SESSION = "session"
    LEAVE = "leave"
    BEACON = "beacon"
    COUNT = "count"
    ENTRANCE = "entrance"
    MULTIVARIANT = "multivariant"
    PLAYLIST = "playlist"
    INIT = "init"
    SEGMENT = "segment"
    KEY = "key"
    FRAME = "frame"
    DOWNLOAD = "download"
    ASSET = "asset"
    OFFICE = "office"
    PRIVACY = "privacy"


class Route(NamedTuple):
    """A path, taken apart, but for its grant. `number` is a segment's, an initialization section's or
    milliseconds; `name` is what is left: a key's, an asset's, the suffix of a segment, what an entrance
    leads to."""

    kind: Kind
    tenant: str = ""
    stream: str = ""
    version: str = ""
    rendition: str = ""
    number: int = 0
    name: str = ""


def route(path: str) -> tuple[Route | None, str | None]:
    """What a decoded path without its prefix asks for, None where it means nothing, and the grant in it."""
    if path.startswith(_GRANTED):
        # What is behind the grant, viewers of one film have in common.
        end = path.find("/", len(_GRANTED))
        rest = path[end:]
        known = _known_granted if len(rest) <= _SHORT else _granted
        return (known(rest), path[len(_GRANTED) : end]) if end > len(_GRANTED) else (None, None)
    return _open(path), None


_GRANTED = "/t/"
# Characters of what is remembered: nobody fills the memory with paths that he makes up.
_SHORT = 128


def _open(path: str) -> Route | None:
    """What asks for something without a grant."""
    parts = path.split("/")
    # Every path begins with "/".
    first = parts[1]
    if first == "t":
        return None
    if first == "s":
        if len(parts) == 4 and parts[2] == "-" and parts[3]:
            return Route(Kind.ASSET, name=parts[3])
        return _media(parts[4:], parts[2], parts[3]) if len(parts) == 7 else None
    if first in _OFFICE:
        return Route(Kind.OFFICE)
    if len(parts) == 4 and first and parts[2]:
        if parts[3] in _WHOLE:
            return Route(Kind.ENTRANCE, first, parts[2], name=parts[3])
        kind = _OF_A_STREAM.get(parts[3])
        return Route(kind, first, parts[2]) if kind else None
    if path == PRIVACY:
        return Route(Kind.PRIVACY)
    if path == "/favicon.ico":
        # Without a name: what browsers ask for when nothing names them an icon.
        return Route(Kind.ASSET)
    if len(parts) == 3 and first and parts[2]:
        return Route(Kind.UNSLASHED, first, parts[2])
    return None


# No tenant has these names (`pystream.acl.streams.RESERVED_TENANTS`).
_OFFICE = frozenset(("console", "api"))
_OF_A_STREAM = {"": Kind.PAGE, "session": Kind.SESSION}


def _granted(path: str) -> Route | None:
    """What is asked for behind a grant."""
    parts = path.split("/")
    if len(parts) < 4:
        return None
    _, tenant, stream, *rest = parts
    if rest == ["frame.mp4"]:
        return Route(Kind.FRAME, tenant, stream)
    if len(rest) == 1:
        kind = _OF_A_GRANT.get(rest[0])
        return Route(kind, tenant, stream) if kind else None
    if len(rest) == 3 and rest[2] == "index.m3u8":
        return Route(Kind.PLAYLIST, tenant, stream, rest[0], rest[1])
    return _media(rest, tenant, stream)


_known_granted = lru_cache(2048)(_granted)
_WHOLE = {"master.m3u8": Kind.MULTIVARIANT, "download.mp4": Kind.DOWNLOAD}
_OF_A_GRANT = {**_WHOLE, "leave": Kind.LEAVE, "beacon": Kind.BEACON, "count": Kind.COUNT}


def _media(rest: list[str], tenant: str, stream: str) -> Route | None:
    """`{version}/{rendition}/...`"""
    if len(rest) == 3:
        version, rendition, name = rest
        stem, _, suffix = name.rpartition(".")
        if suffix in _SUFFIXES:
            n = _number(stem)
            if n is not None:
                return Route(Kind.SEGMENT, tenant, stream, version, rendition, n, suffix)
        elif suffix == "mp4" and stem.startswith("init"):
            n = 0 if stem == "init" else _number(stem[5:]) if stem[4:5] == "-" else None
            if n is not None and (n > 0) == (stem != "init"):
                return Route(Kind.INIT, tenant, stream, version, rendition, n)
    elif len(rest) == 4:
        version, rendition, folder, name = rest
        if folder == "key" and name:
            return Route(Kind.KEY, tenant, stream, version, rendition, name=name)
        if folder == "frame" and name.endswith(".mp4"):
            n = _number(name[:-4])
            if n is not None:
                return Route(Kind.FRAME, tenant, stream, version, rendition, n)
    return None


def _number(text: str) -> int | None:
    """A number as this server writes it: no sign, no leading zero, ASCII digits."""
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_DIGITS:
        return None
    return int(text) if text == "0" or text[0] != "0" else None
