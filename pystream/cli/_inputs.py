"""Opening what a command line calls an MP4."""

from __future__ import annotations

import os

import pystream
from pystream.errors import MalformedMedia, MediaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.packager import Input

# What the first box of an MP4, a fragment of one or a QuickTime file is (ISO/IEC 14496-12 4.3, 8.16;
# QuickTime File Format, "Movie atoms").
_FIRST = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"),
    *(b"sidx", b"meta", b"uuid", b"pdin", b"emsg", b"prft"),
}


def open_film(name: str) -> Input:
    """Opens an MP4; of a file that is none it says so, and not what its first bytes would mean."""
    try:
        return pystream.open(name)
    except MediaError:
        if not _looks_like_mp4(name):
            raise MalformedMedia(f"{name}: this is no MP4 file", 0) from None
        raise


def _looks_like_mp4(name: str) -> bool:
    try:
        with open(name, "rb") as file:
            return os.pread(file.fileno(), 4, 4) in _FIRST
    except OSError:
        return True
