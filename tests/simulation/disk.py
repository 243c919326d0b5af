"""A disk that fails as disks do, below the real SQLite and the files that are written beside it.

**SQLite.** Its own layer below (the `unix` VFS) stays as it is; of its methods of a file those that write,
cut and sync are replaced by others, which ask here first. So what reads, locks and maps is SQLite's at full
speed, and each byte that would reach the disk is seen. Files outside of the folder are left alone.

**What is on the disk.** What was written is in the system's memory, which a killed process leaves as it is.
When power fails, a file is what it was at its last sync, and of what was written since any part: each write
is there, is not, or has its first bytes only (`torn`), in any order. The name of a file that was made or
renamed is as before, or as after, until its folder was synced.

**Faults.** `crash_in` counts operations down, then everything fails until `revive` or `lose_power`: code that
runs on meanwhile reaches nothing. `full`: no write succeeds. `failing`: no sync does, and what it was for may
never reach the disk, whatever later ones say. `lying`: syncs of the store's log say that they have done so,
and have not.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_longlong, c_void_p
from pathlib import Path
from typing import Any

# https://www.sqlite.org/c3ref/c_abort.html
_OK, _FULL = 0, 13
_WRITE_FAILED, _SYNC_FAILED, _CUT_FAILED, _DELETE_FAILED = 778, 1034, 1546, 2570


class _Methods(Structure):
    """https://www.sqlite.org/c3ref/io_methods.html"""

    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("others", c_void_p * 13),
    )


class _Vfs(Structure):
    """https://www.sqlite.org/c3ref/vfs.html"""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("others", c_void_p * 14),
    )


# Names are pointers: SQLite keeps them, and reads what stands behind them.
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_longlong)
_CUT = CFUNCTYPE(c_int, c_void_p, c_longlong)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)

# Of this one alone syncs may lie: a key store that loses what it was said to have loses events for good.
_STORES_LOG = "acl.db-wal"

# A write has bytes, a cut has none.
_Change = tuple[int, bytes | None]


class Disk:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._within = f"{folder}/".encode()
        self._paths: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self.begin({}, random.Random())

    def begin(self, files: dict[str, bytes], chance: random.Random) -> None:
        """A disk that has these files and no others, and no faults."""
        self._chance = chance
        self._put(files)
        # What was written and not synced, and names that the folder may not have.
        self._changes: dict[str, list[_Change]] = {}
        self._named: dict[str, bytes | None] = {}
        self._synced: dict[str, bytes] = {}
        self.operations = 0
        self.crash_in: int | None = None
        self.is_crashed = self.full = self.failing = self.lying = False
        self.lies = 0
        # Whether the store's log has what the disk could not sync, and nothing was written in its place yet.
        self.has_refused = self.has_dropped = False

    def _put(self, files: dict[str, bytes]) -> None:
        for name in os.listdir(self.folder):
            if not name.startswith("."):
                os.unlink(self.folder / name)
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        self._durable = {name: bytearray(data) for name, data in files.items()}

    def read(self) -> dict[str, bytes]:
        """What a running system sees."""
        names = sorted(os.listdir(self.folder))
        return {
            name: (self.folder / name).read_bytes()
            for name in names
            if not name.startswith(".") and not name.endswith("-shm")
        }

    def bring_back(self, files: dict[str, bytes]) -> None:
        """These files, and as before all others; nothing may have them open."""
        for name in (*files, *(f"{name}-wal" for name in files)):
            self._changes.pop(name, None)
            self._durable.pop(name, None)
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / f"{name}-shm").unlink(missing_ok=True)
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
            self._durable[name] = bytearray(data)

    # Faults

    def revive(self) -> None:
        """After a process was killed, or a fault has passed."""
        self.crash_in, self.is_crashed = None, False

    def lose_power(self) -> None:
        """All files are as one finds them after that."""
        files = {name: bytes(data) for name, data in self._durable.items()}
        for name, changes in self._changes.items():
            files[name] = bytes(self._torn(bytearray(files.get(name, b"")), changes))
        now = self.read()
        for name, before in self._named.items():
            found = self._chance.choice((before, self._left(name, now)))
            files.pop(name, None)
            if found is not None:
                files[name] = found
        self._put(files)
        self._changes.clear()
        self._named.clear()
        self._synced = {name: files[name] for name in self._synced if name in files}
        self.revive()

    def _left(self, name: str, now: dict[str, bytes]) -> bytes | None:
        """Of a file that was not SQLite's: as it was synced, or some of it."""
        found = now.get(name)
        if found is None or self._synced.get(name) == found:
            return found
        return found[: self._chance.randrange(len(found) + 1)]

    def _torn(self, data: bytearray, changes: list[_Change]) -> bytearray:
        for at, piece in changes:
            fate = self._chance.random()
            if fate < 0.4:
                continue
            if piece is not None and fate < 0.6:
                piece = piece[: self._chance.randrange(len(piece) + 1)]
            _change(data, at, piece)
        return data

    def _counts(self) -> bool:
        """Whether an operation may begin."""
        self.operations += 1
        if self.crash_in is not None and not self.is_crashed:
            self.crash_in -= 1
            self.is_crashed = self.crash_in < 0
        return not self.is_crashed

    # SQLite's files

    @contextmanager
    def below_sqlite(self) -> Iterator[None]:
        """Whoever opens a file of the folder from here on opens it on this disk."""
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        real = library.sqlite3_vfs_find(None)
        mine = _Vfs.from_buffer_copy(real.contents)
        mine.name, mine.next = b"pystream-simulation", None
        really_open, really_delete = _OPEN(mine.open), _DELETE(mine.delete)

        def open_(vfs: Any, name: Any, file: int, flags: int, out: Any) -> int:
            code: int = really_open(vfs, name, file, flags, out)
            if code == _OK and (known := self._known(name)) is not None:
                self._paths[file] = known
                methods = ctypes.cast(file, POINTER(c_void_p))
                methods[0] = ctypes.addressof(self._replaced(methods[0]))
            return code

        def delete(vfs: Any, name: int, sync: int) -> int:
            if (known := self._known(name)) is not None:
                if not self._counts():
                    return _DELETE_FAILED
                self._changes.pop(known, None)
                self._durable.pop(known, None)
            return int(really_delete(vfs, name, sync))

        kept = _OPEN(open_), _DELETE(delete)
        mine.open, mine.delete = (ctypes.cast(each, c_void_p).value for each in kept)
        library.sqlite3_vfs_register(ctypes.byref(mine), 1)
        try:
            yield
        finally:
            library.sqlite3_vfs_unregister(ctypes.byref(mine))
            library.sqlite3_vfs_register(real, 1)

    def _known(self, name: int | None) -> str | None:
        """Of a file of the folder."""
        path = b"" if name is None else ctypes.string_at(name)
        return os.path.basename(path).decode() if path.startswith(self._within) else None

    def _replaced(self, address: int | None) -> _Methods:
        assert address is not None
        if address not in self._methods:
            methods = _Methods.from_buffer_copy(_Methods.from_address(address))
            really_write, really_cut = _WRITE(methods.write), _CUT(methods.truncate)

            def write(file: int, data: int, length: int, at: int) -> int:
                name, piece = self._paths[file], ctypes.string_at(data, length)
                if not self._counts():
                    return _WRITE_FAILED
                if self.full:
                    return _FULL
                self._changes.setdefault(name, []).append((at, piece))
                return int(really_write(file, data, length, at))

            def cut(file: int, size: int) -> int:
                if not self._counts():
                    return _CUT_FAILED
                self._changes.setdefault(self._paths[file], []).append((size, None))
                return int(really_cut(file, size))

            def sync(file: int, _: int) -> int:
                return self._sync(self._paths[file])

            kept = _WRITE(write), _CUT(cut), _SYNC(sync)
            methods.write, methods.truncate, methods.sync = (
                ctypes.cast(each, c_void_p).value for each in kept
            )
            methods.kept = kept
            self._methods[address] = methods
        return self._methods[address]

    def _sync(self, name: str) -> int:
        if not self._counts():
            return _SYNC_FAILED
        changes = self._changes.get(name, [])
        if self.failing:
            self.has_refused |= name == _STORES_LOG
            # The system takes the pages for clean from here on.
            self._changes[name] = [each for each in changes if self._chance.random() < 0.5]
            self.has_dropped |= name == _STORES_LOG and self._changes[name] != changes
            return _SYNC_FAILED
        if self.lying and name == _STORES_LOG:
            self.lies += bool(changes)
            return _OK
        data = self._durable.setdefault(name, bytearray())
        for at, piece in changes:
            _change(data, at, piece)
        self._changes.pop(name, None)
        self.has_refused &= name != _STORES_LOG
        return _OK

    # Files beside them

    def system(self) -> Any:
        """What stands for the module `os` where such files are written."""
        return _System(self)

    def synced(self, path: str) -> None:
        """A file, or the names in the folder."""
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if os.path.isdir(path):
            for name in self._named:
                self._durable.pop(name, None)
                file = self.folder / name
                if file.exists():
                    # What was not synced itself is there, or its beginning.
                    self._durable[name] = bytearray(
                        self._left(name, {name: file.read_bytes()}) or b""
                    )
            self._named.clear()
            return
        name = os.path.basename(path)
        self._synced[name] = Path(path).read_bytes()
        if name not in self._named:
            self._durable[name] = bytearray(self._synced[name])

    def named(self, path: str) -> None:
        """A name is about to be made, or to stand for another file."""
        name = os.path.basename(path)
        if name not in self._named:
            known = self._durable.get(name)
            self._named[name] = None if known is None else bytes(known)

    def renamed(self, old: str, new: str) -> None:
        self.named(old)
        self.named(new)
        of = self._synced.pop(os.path.basename(old), None)
        self._synced.pop(os.path.basename(new), None)
        if of is not None:
            self._synced[os.path.basename(new)] = of

    def check(self) -> None:
        """Raises `OSError` where nothing can be written."""
        if not self._counts():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _System:
    """`os`, with what concerns the disk's folder going through the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._disk.check()
            self._disk.named(path)
        return os.open(path, flags, mode)

    def write(self, fd: int, data: bytes) -> int:
        self._disk.check()
        return os.write(fd, data)

    def rename(self, old: str, new: str) -> None:
        self._disk.check()
        self._disk.renamed(old, new)
        os.rename(old, new)

    def fsync(self, fd: int) -> None:
        self._disk.check()
        self._disk.synced(os.readlink(f"/proc/self/fd/{fd}"))


def _change(data: bytearray, at: int, piece: bytes | None) -> None:
    if piece is None:
        del data[at:]
        return
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at : at + len(piece)] = piece
