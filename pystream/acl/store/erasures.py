"""The erasure list outside of the database: a text file.

Each line is the random reference of an erased key, and the day: `32 hexadecimal digits 2031-05-15`.
It names nobody. An entry is on the disk before its key is deleted, so whatever comes to be of the
database in between, the next one who opens it finds the entry and deletes the key.

It must not go back in time with the database. Keep it out of what a restore brings back, and of two
copies keep the lines of both. It grows by lines at its end. Those that are so old that no backup has
their keys are taken out of it, once a day, by writing it anew: whoever has waited for the old file to
add a line opens the new one.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import cache

from pystream.errors import StoreError

_LINE = re.compile(rb"([0-9a-f]{32}) (\d{4}-\d\d-\d\d)")
_EPOCH = date(1970, 1, 1)


class ErasureList:
    """The file. It is made with the first entry, for its owner only."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> dict[bytes, int]:
        """Days since 1970, by reference. Raises `StoreError` where the file holds anything else."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        # What follows the last line's end was being written when a machine stopped: no key had been
        # deleted for it yet.
        *lines, _ = data.split(b"\n")
        return dict(self._entry(number, line) for number, line in enumerate(lines, 1))

    def add(self, entries: Mapping[bytes, int]) -> None:
        """Append entries; they are on the disk then. Raises `StoreError`."""
        if not entries:
            return
        lines = itertools.starmap(_written, entries.items())
        try:
            with self._locked() as fd:
                _append(fd, "".join(lines).encode())
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}: nothing was erased") from error

    def forget(self, before: int) -> None:
        """Take out what was erased before a day, counted from 1970. Raises `StoreError`."""
        if not any(day < before for day in self.read().values()):
            return
        unfinished = f"{self.path}.unfinished"
        try:
            with self._locked() as fd:
                # As it is now that nobody adds to it.
                kept = [(key, day) for key, day in self.read().items() if day >= before]
                state = os.fstat(fd)
                flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
                with open(os.open(unfinished, flags, 0o600), "wb") as file:
                    os.fchmod(file.fileno(), stat.S_IMODE(state.st_mode))
                    if os.geteuid() == 0:
                        os.fchown(file.fileno(), state.st_uid, state.st_gid)
                    file.write("".join(itertools.starmap(_written, kept)).encode())
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(unfinished, self.path)
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        folder = os.open(
            os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
        try:
            fd = self._open_locked(folder)
            try:
                yield fd
            finally:
                os.close(fd)
            os.fsync(folder)
        finally:
            os.close(folder)

    def _open_locked(self, folder: int) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        while True:
            try:
                fd = os.open(self.path, flags)
            except FileNotFoundError:
                fd = os.open(self.path, flags | os.O_CREAT, 0o600)
                if os.geteuid() == 0:
                    # An administrator's command must not keep the server out of its folder's file.
                    owner = os.fstat(folder)
                    os.fchown(fd, owner.st_uid, owner.st_gid)
                os.fsync(folder)
            fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                    return fd
            # It was written anew meanwhile.
            os.close(fd)

    def _entry(self, number: int, line: bytes) -> tuple[bytes, int]:
        found = _LINE.fullmatch(line)
        try:
            if found is not None:
                return bytes.fromhex(found[1].decode()), _day(found[2].decode())
        except ValueError:
            pass
        raise StoreError(
            f"{self.path}:{number}: this is no entry of the erasure list (a reference of 32"
            " hexadecimal digits, a blank, a date). What was erased would come back without it:"
            " mend the line"
        )


@cache
def _day(text: str) -> int:
    # There are few of them in a list, however long it is.
    return (date.fromisoformat(text) - _EPOCH).days


def _written(reference: bytes, day: int) -> str:
    return f"{reference.hex()} {_EPOCH + timedelta(day)}\n"


def _append(fd: int, data: bytes) -> None:
    """All of it, or nothing."""
    size = _end_with_a_line(fd)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size)
        raise


def _end_with_a_line(fd: int) -> int:
    """Cuts off the beginning of a line that was never finished; returns the size then."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, 64, max(0, size - 64))
    if not tail.endswith(b"\n"):
        size += tail.rfind(b"\n") + 1 - len(tail)
        os.ftruncate(fd, size)
    return size
