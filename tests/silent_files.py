"""A read-only file system of one folder whose files are not read while it is silent.

`python -P silent_files.py FOLDER MOUNT CONTROL COMMAND...` mounts it and becomes the command, and ends
with it. While there is a file CONTROL/silent, nobody who reads is answered; for each, a byte is
added to CONTROL/asked. Nothing is kept in the kernel's cache (fuse(4), and FUSE_KERNEL_VERSION 7 of
linux/fuse.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH = 1, 2, 3, 14, 15, 18, 25
_INIT, _OPENDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 26, 27, 29, 36, 42
_ROOT = 1
_FOPEN_DIRECT_IO = 1
_PR_SET_PDEATHSIG = 1
_MOST_WRITTEN = 1 << 17
_LARGEST = 1 << 20
_HEADER = struct.Struct("<IIQQ")

Request = tuple[int, int, int, bytes]
"""What is asked, its number, of which node, and the rest."""


class Files:
    def __init__(self, device: int, folder: Path, control: Path) -> None:
        self._device = device
        self._control = control
        paths = [folder, *sorted(folder.iterdir())]
        self._paths = dict(enumerate(paths, _ROOT))
        self._nodes = {path.name: node for node, path in self._paths.items() if node != _ROOT}
        self._held: list[Request] = []

    def run(self) -> None:
        while True:
            # Looked at often, since nobody says when the file goes.
            readable, _, _ = select.select([self._device], [], [], 0.02)
            if not (self._control / "silent").exists():
                for request in self._held:
                    self._answer(*request)
                self._held.clear()
            if readable:
                self._take(os.read(self._device, _LARGEST))

    def _take(self, message: bytes) -> None:
        _, asked, number, node = _HEADER.unpack_from(message)
        request = asked, number, node, message[40:]
        if asked == _READ and (self._control / "silent").exists():
            self._held.append(request)
            with open(self._control / "asked", "ab") as file:
                file.write(b".")
        elif asked not in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            self._answer(*request)

    def _answer(self, asked: int, number: int, node: int, rest: bytes) -> None:
        data, error = b"", 0
        if asked == _INIT:
            data = struct.pack(
                "<4I2H2I2HI7I", 7, 31, 0, 0, 12, 9, _MOST_WRITTEN, 1, 32, 0, *[0] * 8
            )
        elif asked == _LOOKUP:
            found = self._nodes.get(os.fsdecode(rest.rstrip(b"\0")))
            if found is None:
                error = -errno.ENOENT
            else:
                data = struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + self._state(found)
        elif asked == _GETATTR:
            data = struct.pack("<Q2I", 0, 0, 0) + self._state(node)
        elif asked in (_OPEN, _OPENDIR):
            data = struct.pack("<Q2I", node, _FOPEN_DIRECT_IO, 0)
        elif asked == _READ:
            _, offset, size = struct.unpack_from("<QQI", rest)
            with open(self._paths[node], "rb") as file:
                data = os.pread(file.fileno(), size, offset)
        elif asked not in (_RELEASE, _RELEASEDIR, _FLUSH):
            error = -errno.ENOSYS
        # Somebody may have gone who waited for it.
        with suppress(FileNotFoundError):
            os.write(self._device, struct.pack("<IiQ", 16 + len(data), error, number) + data)

    def _state(self, node: int) -> bytes:
        found = self._paths[node].stat()
        seconds, part = divmod(found.st_mtime_ns, 10**9)
        times = seconds, seconds, seconds, part, part, part
        places = node, found.st_size, found.st_blocks
        return struct.pack("<6Q10I", *places, *times, found.st_mode, 1, 0, 0, 0, 4096, 0)


def main(folder: str, mount: str, control: str, *command: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"silent", os.fsencode(mount), b"fuse", 1, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    parent = os.getpid()
    if os.fork():
        os.close(device)
        os.execvp(command[0], command)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        Files(device, Path(folder), Path(control)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
