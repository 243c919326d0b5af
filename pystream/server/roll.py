"""Which workers are about to have something to tell of attendance: on a roll that outlives them.

A worker is known by its first word that is stored. One that dies before that, within milliseconds or while
there is no writer, would be missed by nobody. So it enters itself here before it hands over the first byte
that it will have to tell of, and the writer strikes it out when its word is stored, or when it is dead. The
roll lies in memory that the supervisor keeps.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

# A worker's number, 0 for nobody, and since when, in ms since 1970.
_ENTRY = struct.Struct("=Qq")
# So many that died while there was no writer; whoever comes then is on no roll.
_ENTRIES = 512
_SIZE = _ENTRY.size * _ENTRIES


class Roll:
    """One process's view of it. Raises `ValueError` for the descriptor of something else."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._read()

    @staticmethod
    def create() -> int:
        """The descriptor of an empty one."""
        fd = os.memfd_create("pystream-roll", os.MFD_CLOEXEC)
        os.write(fd, bytes(_SIZE))
        return fd

    def enter(self, worker: int, since: int) -> None:
        """From then on the worker may have something to tell."""
        with self._alone():
            place = self._find(worker)
            if place is None:
                place = self._find(0)
            if place is not None:
                os.pwrite(self._fd, _ENTRY.pack(worker, since), place * _ENTRY.size)

    def strike(self, worker: int) -> None:
        """Nothing of it is open any more."""
        with self._alone():
            place = self._find(worker)
            if place is not None:
                os.pwrite(self._fd, bytes(_ENTRY.size), place * _ENTRY.size)

    def entries(self) -> dict[int, int]:
        """Workers, and since when."""
        return {worker: since for worker, since in self._read() if worker}

    def _read(self) -> list[tuple[int, int]]:
        data = os.pread(self._fd, _SIZE + 1, 0)
        if len(data) != _SIZE:
            raise ValueError("this is no roll of workers")
        return list(_ENTRY.iter_unpack(data))

    def _find(self, worker: int) -> int | None:
        places = (place for place, each in enumerate(self._read()) if each[0] == worker)
        return next(places, None)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Who dies with it lets go of it (fcntl(2), F_SETLK).
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
