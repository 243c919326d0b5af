"""Checks packaged output from outside: decrypt, parse, compare with the source, byte for byte.

Nothing of the code under test is used but the playlist parser. The sources' sample tables, the
transport stream and the fragments are read here a second time, the sources without what the
packager knows about them. So one damaged byte, a wrong key, a missing or misplaced segment is
found, and a bug that the reader and the muxers share is not repeated.

Theory. Each elementary stream of each playlist is a sequence of access units. A source track is a
candidate for it as long as every unit equals the track's next sample; a stream without candidates
is wrong, and so is one whose candidates end too early. Times may differ from the source's by one
shift, the same for all streams. What muxing may add is listed in `elementary.same_nals`; what packaging may
leave out at either end of a track in `source.Track.bound`.

`lenient` is for the output of other packagers: decryption, parsing and equal samples, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from pystream.packager.verify.playlists import Check
from pystream.packager.verify.report import Report, VerifyError

__all__ = ["Report", "VerifyError", "verify"]


def verify(
    sources: Sequence[str | Path],
    playlist: str | Path,
    *,
    keys: str | Path | None = None,
    lenient: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Checks a multivariant or media playlist, and all it names, against the source files.

    `keys` is the folder of key files whose URIs lead elsewhere; a key is looked up there by the
    last part of its URI's path or query. `progress` is called after each segment with bytes checked
    and bytes in all. Raises VerifyError at the first fault, OSError where a source cannot be read.
    """
    with ExitStack() as files:
        check = Check(lenient, Path(keys) if keys is not None else None, progress)
        for source in map(Path, sources):
            check.source(source, files.enter_context(source.open("rb", buffering=0)))
        return check.run(Path(playlist))
