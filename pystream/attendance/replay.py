"""An evidence file, read whole and computed.

Reading is what takes the time, so files of more than one part are read by several threads: each takes
the next part, of whole lines, and keeps its own evidence until all are through.
"""

from __future__ import annotations

import os
from threading import Lock, Thread

from pystream._core import Evidence
from pystream.errors import MalformedEvidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedReader
    from typing import Any

    from pystream.attendance.options import Options

_PART = 1 << 20
_MOST_THREADS = 4


def replay(path: str | os.PathLike[str], options: Options) -> list[dict[str, Any]]:
    """The rows of an evidence file. Raises `MalformedEvidence` for its first malformed line, `OSError`
    where it cannot be read."""
    ledger = options.ledger()
    # Parts are far longer than any buffer.
    with open(path, "rb") as file:
        ledger.take(_Reading(file).evidence())
    return ledger.rows()


def computed(events: Iterable[str], options: Options) -> list[dict[str, Any]]:
    """The rows of events that are at hand, each as in a line of an evidence file. Raises
    `MalformedEvidence`."""
    evidence, ledger = Evidence(), options.ledger()
    evidence.read("\n".join(events).encode())
    ledger.take(evidence)
    return ledger.rows()


class _Reading:
    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._lock = Lock()
        # The lines before the next part.
        self._lines = 0
        self._is_over = False
        self._faults: list[MalformedEvidence] = []
        self._errors: list[BaseException] = []

    def evidence(self) -> Evidence:
        """All of the file."""
        first, *others = (Evidence() for _ in range(self._threads()))
        threads = [Thread(target=self._read, args=(other,)) for other in others]
        for thread in threads:
            thread.start()
        try:
            self._read(first)
        finally:
            self._is_over = True
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        # All parts before a fault were taken before it was found, and are read by now.
        if self._faults:
            raise min(self._faults, key=lambda fault: fault.line)
        for other in others:
            first.append(other)
        return first

    def _threads(self) -> int:
        parts = -(-os.fstat(self._file.fileno()).st_size // _PART)
        return max(1, min(parts, len(os.sched_getaffinity(0)), _MOST_THREADS))

    def _read(self, evidence: Evidence) -> None:
        try:
            while part := self._next():
                before, text = part
                try:
                    evidence.read(text)
                except MalformedEvidence as fault:
                    self._faults.append(MalformedEvidence(before + fault.line, fault.what))
                    self._is_over = True
        except BaseException as error:
            self._is_over = True
            self._errors.append(error)

    def _next(self) -> tuple[int, bytes] | None:
        """The next part, and how many lines are before it."""
        with self._lock:
            if self._is_over:
                return None
            text = self._file.read(_PART)
            if text and not text.endswith(b"\n"):
                text += self._file.readline()
            if not text:
                return None
            before = self._lines
            self._lines += text.count(b"\n")
            return before, text
