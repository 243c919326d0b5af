"""The instant of evidence: one anchor for all processes of a node, whatever becomes of the machine's clock.

The anchor is the distance of the wall clock from the clock that counts on while the machine sleeps
(clock_gettime(2), `CLOCK_BOOTTIME`), taken once, when the kernel says that its clock is synchronised
(adjtimex(2)). It lies in memory that the supervisor keeps, so that workers, restarts and the next program
have the same.

Whoever keeps the machine's clock right mostly has it go faster or slower, and the other one with it: the two
drift apart by steps alone, as when somebody sets the clock, a time service corrects it at once, or a leap
second is inserted. Steps that come to more than `STEP_MS` together are told (`step`), and change no duration;
what is less is told to nobody. The anchor is made anew when nobody watches after a step, and with each day
(`due`), so that evidence is wrong by `STEP_MS` for a day at most, or by what was told.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pystream.attendance.checkpoint import Clock
from pystream.server import log

# The offset, 0 for none yet, how much of the wall clock's deviation from it was told, both ms, and the day,
# counted from 1970, on which it was taken.
_ANCHOR = struct.Struct("=qqq")
_DAY_MS = 86_400_000
_TIMEX_BYTES = 256
# adjtimex(2): modes, offset, frequency, and the maximum error in us.
_MAXERROR = struct.Struct("@Illl")
# adjtimex(2): the clock is not synchronised; in <sys/timex.h>.
_TIME_ERROR: Final = 5
STEP_MS: Final = 1000
"""What the wall clock may deviate by: above it, somebody has set it."""


def kernel() -> Clock:
    """What the kernel says of its clock: whether it is synchronised, and by how much it may be wrong. Of one
    that it says nothing of, as where a unit's filter forbids the question, the log tells."""
    # `modes` 0: nothing is set, so whatever the struct's length on this machine, it is only filled.
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    found = int(ctypes.CDLL(None, use_errno=True).adjtimex(timex))
    if found == -1:
        number = ctypes.get_errno()
        log.lasting("clock-says-nothing", OSError(number, f"adjtimex: {os.strerror(number)}"))
    error_us: int = _MAXERROR.unpack_from(timex)[-1]
    return Clock(found not in (-1, _TIME_ERROR), -(-max(error_us, 0) // 1000))


def synchronised() -> bool:
    """Whether the kernel says that its clock is synchronised."""
    return kernel().is_synchronised


def wall_ms() -> int:
    """Ms since 1970, as the machine's clock has it."""
    return time.time_ns() // 1_000_000


def boottime_ms() -> int:
    """Ms of the clock that counts on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Anchor:
    """One process's view of it."""

    def __init__(
        self,
        fd: int,
        wall: Callable[[], int] = wall_ms,
        boottime: Callable[[], int] = boottime_ms,
        kernel: Callable[[], Clock] = kernel,
    ) -> None:
        self._fd = fd
        self._wall = wall
        self._boottime = boottime
        self._kernel = kernel

    @staticmethod
    def create() -> int:
        """The descriptor of one that is yet to be made."""
        fd = os.memfd_create("pystream-anchor", os.MFD_CLOEXEC)
        os.write(fd, _ANCHOR.pack(0, 0, 0))
        return fd

    def _read(self) -> tuple[int, int, int]:
        """Raises `ValueError` for the descriptor of something else."""
        data = os.pread(self._fd, _ANCHOR.size + 1, 0)
        if len(data) != _ANCHOR.size:
            raise ValueError("this is no anchor")
        offset, told, day = _ANCHOR.unpack(data)
        return offset, told, day

    @property
    def offset(self) -> int:
        """What to add to ms of `CLOCK_BOOTTIME`; 0 where there is no anchor yet. Raises `ValueError` for the
        descriptor of something else."""
        return self._read()[0]

    def make(self) -> None:
        """Takes it, from the wall clock as it is now."""
        wall = self._wall()
        self._write(wall - self._boottime(), 0, wall // _DAY_MS)

    def _write(self, offset: int, told: int, day: int) -> None:
        os.pwrite(self._fd, _ANCHOR.pack(offset, told, day), 0)

    def now(self) -> int:
        """Ms since 1970, by the anchor."""
        return self._boottime() + self.offset

    def state(self) -> Clock:
        """How well evidence knows its instants: what the kernel says, and by how much the wall clock has
        moved away from the anchor."""
        clock = self._kernel()
        if not self.offset:
            return clock
        return replace(clock, error_ms=clock.error_ms + abs(self._wall() - self.now()))

    def step(self) -> int:
        """By how many ms somebody has set the wall clock since that was last told, 0 for not at all."""
        offset, told, _ = self._read()
        step = self._wall() - self._boottime() - offset - told
        return step if offset and abs(step) > STEP_MS else 0

    def tell(self, step: int) -> None:
        """A step is on record."""
        offset, told, day = self._read()
        self._write(offset, told + step, day)

    def due(self, *, watched: bool) -> int | None:
        """By how many ms evidence's time will jump when it is made anew; None where it need not be: on the
        day (UTC) on which it was taken, unless the clock was set and nobody watches."""
        offset, told, day = self._read()
        if not offset or (self.now() // _DAY_MS == day and (watched or not told)):
            return None
        return self._wall() - self._boottime() - offset
