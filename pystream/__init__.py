"""Packages MP4 into encrypted HLS (MPEG-TS and fMP4).

import pystream

film = pystream.open("film.mp4")
presentation = pystream.plan([film], format="ts", encryption=pystream.Aes128())
print(presentation.multivariant_playlist().text())
for rendition in presentation.renditions:
    print(presentation.media_playlist(rendition).text())
    for n in range(len(rendition)):
        assert len(rendition.segment(n)) == rendition.length(n)
"""

import warnings

from pystream import _core
from pystream._core import Segment, Track
from pystream.errors import (
    LimitExceeded,
    MalformedMedia,
    MediaError,
    OutputError,
    PlanError,
    PystreamError,
    SourceError,
    UnsupportedMedia,
)
from pystream.model import Notice
from pystream.packager import Aes128, Input, Presentation, Rendition, open, plan

__all__ = [
    "Aes128",
    "Input",
    "LimitExceeded",
    "MalformedMedia",
    "MediaError",
    "Notice",
    "OutputError",
    "PlanError",
    "Presentation",
    "PystreamError",
    "Rendition",
    "Segment",
    "SourceError",
    "Track",
    "UnsupportedMedia",
    "__version__",
    "open",
    "plan",
]

__version__ = _core.VERSION

if _core.DEBUG:
    warnings.warn(
        "pystream._core is a debug build and many times slower: install a release build",
        RuntimeWarning,
        stacklevel=2,
    )
