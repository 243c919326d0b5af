"""Gives a node's workers a playlist that slides, as that of a live stream does.

No packager of live streams is there yet. So a film stands in for what one would give: of the stream
`sliding` the media playlist has the last few segments up to a number, and no end. The number lies in a file,
and whoever moves it on moves the playlist on. All else is the node's own, from the request to what is
recorded of it.

Python imports this module when a process starts that has this folder in PYTHONPATH (site); processes other
than workers are as they always are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pystream.packager.presentation import Rendition
    from pystream.server.origin import Text

WINDOW = 3
PLACE = "SLIDING_UP_TO"
"""The variable of the environment that names the file."""


def slide(file: Path) -> None:
    """Has films of that stream slide."""
    from pystream.server import origin

    class Sliding(origin.Film):
        def playlist(self, rendition: Rendition) -> Text | None:
            if not self.source.name.endswith("/sliding"):
                return super().playlist(rendition)
            end = int(file.read_text()) + 1
            first = max(0, end - WINDOW)
            whole = self.presentation.media_playlist(rendition)
            window = whole.replace(
                segments=whole.segments[first:end],
                media_sequence=first,
                playlist_type=None,
                end=False,
            )
            return origin.Text(window.text())

    origin.Film = Sliding  # type: ignore[misc]


if PLACE in os.environ and sys.orig_argv[-2:] == ["pystream.server", "worker"]:
    slide(Path(os.environ[PLACE]))
