"""What a check says: a report where all is well, an error at the first fault.

`MALFORMED` is what reading bytes that are not what they should be raises in this package. Whoever
knows the file turns it into a VerifyError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pystream.errors import PystreamError

MALFORMED = (ValueError, IndexError, KeyError, StopIteration, struct.error)


class VerifyError(PystreamError):
    """Output that is not what its sources ask for. `where`: the file or playlist; `what`: why."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


@dataclass
class Report:
    """What was checked. `seconds` is the media's length; `left_out` names source tracks that are
    in no playlist."""

    playlists: int = 0
    segments: int = 0
    bytes: int = 0
    samples: int = 0
    seconds: float = 0.0
    encrypted: bool = False
    left_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        how = "AES-128" if self.encrypted else "not encrypted"
        text = (
            f"{_counted(self.segments, 'segment')} in {_counted(self.playlists, 'playlist')} "
            f"({self.bytes:,} bytes, {how}, {self.seconds:.3f} s): "
            f"all {self.samples:,} samples equal the source's"
        )
        if self.left_out:
            text += f"\nnot in the output: {', '.join(self.left_out)}"
        return text


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
