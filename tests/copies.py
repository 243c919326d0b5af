"""`pystream serve` that loads Python's modules once, and not once for each process of each node.

What a node's processes load takes each of them longer than most tests let it live, and the tests start
hundreds of nodes. So one process loads all of it, once for each process of tests, and makes a copy of itself
(clone) of whatever somebody wants who holds the other end of a socket: a supervisor where it is the tests,
which is their child; and any process of a node where it is the supervisor, that has such a copy for itself.
Each has the descriptors, environment, folder, blocked signals and words that it would have been started with,
and runs the same `main`. All else is the node's own.

What it does not show is a start, nor what a process alone would have loaded: `test_serve.py` starts Python
itself. And so does this where the system is another one, or variables are another start's.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

SERVE = [sys.executable, "-P", __file__, "serve"]
PROCESS = [sys.executable, "-m", "pystream.server"]

# linux/sched.h, linux/prctl.h
_CLONE = {"x86_64": 56}.get(os.uname().machine)
_CLONE_PARENT = 0x8000
_CLONE_CHILD_SETTID = 0x0100_0000
_PR_GET_TID_ADDRESS = 40
# With the lock of the interpreter, as a fork has.
_libc = ctypes.PyDLL(None, use_errno=True)


class Popen(subprocess.Popen[bytes]):
    """As `subprocess.Popen`; a copy makes what one can."""

    copying: Copying | None = None
    """A supervisor's."""

    def _execute_child(self, args: list[str], *more: Any) -> None:
        _, _, _, inherited, folder, environment, _, _, _, *pipes = more
        environment = dict(os.environ if environment is None else environment)
        copying = None
        if args[: len(PROCESS)] == PROCESS:
            copying = self.copying
        elif args[: len(SERVE)] == SERVE and _at_start(environment) == _at_start(os.environ):
            copying = loaded()
        if copying is None:
            super()._execute_child(args, *more)  # type: ignore[misc]
            return
        streams = [
            n if given == -1 else given for n, given in enumerate(pipes[i] for i in (0, 3, 5))
        ]
        self.pid = copying.make(args, environment, folder or ".", streams, sorted(inherited))
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])  # type: ignore[attr-defined]


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    # What the copies are made of knows nothing of the tests.
    from tests.program import AT_START

    return {name: value for name, value in environment.items() if AT_START.match(name)}


class Copying:
    """At the other end of the socket of whoever makes copies."""

    def __init__(self, asking: socket.socket) -> None:
        self._asking = asking
        self._lock = Lock()

    def make(
        self,
        words: list[str],
        environment: dict[str, str],
        folder: str | Path,
        streams: list[int],
        kept: list[int],
    ) -> int:
        """Gives the number of a process that is a child of who asks."""
        blocked = [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        kept = [number for number in kept if number > 2]
        asked = [words, environment, os.path.abspath(folder), [0, 1, 2, *kept], blocked]
        text = json.dumps(asked).encode()
        with self._lock:
            socket.send_fds(self._asking, [len(text).to_bytes(8)], [*streams, *kept])
            self._asking.sendall(text)
            return int.from_bytes(self._asking.recv(8, socket.MSG_WAITALL))


@cache
def loaded() -> Copying | None:
    """Of the tests' own; none where the system is another one."""
    if tid_address() is None:
        return None
    ours, theirs = socket.socketpair()
    with theirs:
        number = str(theirs.fileno())
        # Its copies' words have to fit where its own are.
        words = [*SERVE[:-1], f"{number:>64}"]
        process = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/"
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return Copying(ours)


# In the process that has loaded everything


def tid_address() -> int | None:
    """Where the system's library notes the number of a process's first thread; a copy has to, too."""
    address = ctypes.c_void_p()
    if _CLONE is None or _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0):
        return None
    return address.value


def copy(asking: socket.socket, tid: int) -> None:
    """Returns in each of the processes that are made, as what it shall be."""
    flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | signal.SIGCHLD
    while True:
        head, given, _, _ = socket.recv_fds(asking, 8, 250)
        if not head:
            os._exit(0)
        asked = json.loads(asking.recv(int.from_bytes(head), socket.MSG_WAITALL))
        ctypes.pythonapi.PyOS_BeforeFork()
        made = _libc.syscall(_CLONE, ctypes.c_long(flags), None, None, ctypes.c_void_p(tid), None)
        if made == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            asking.close()
            become(given, *asked)
            return
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        for descriptor in given:
            os.close(descriptor)
        asking.sendall(made.to_bytes(8))


def become(
    given: list[int],
    words: list[str],
    environment: dict[str, str],
    folder: str,
    kept: list[int],
    blocked: list[int],
) -> None:
    """What a start would have made of these."""
    # Out of the way of those that come where others lie now.
    beyond = max(*kept, *given) + 1
    for number, descriptor in zip(kept, given, strict=True):
        os.dup2(descriptor, beyond + number)
    for number in kept:
        os.dup2(beyond + number, number)
        os.set_inheritable(number, True)
    close_all_but(kept)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    sys.orig_argv = words
    sys.argv = words[2:]
    # proc_pid_cmdline(5): the words lie one behind the other, and their place has a length.
    begin, end = _place_of_words()
    last = b"".join(os.fsencode(each) + b"\0" for each in words[1:])
    first = os.fsencode(words[0]).rjust(end - begin - len(last) - 1, b"/")
    ctypes.memmove(begin, first[-(end - begin - len(last) - 1) :] + b"\0" + last, end - begin)


def close_all_but(kept: Collection[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            # The one by which they were listed is closed already.
            with suppress(OSError):
                os.close(int(name))


def _place_of_words() -> tuple[int, int]:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[45]), int(fields[46])


def main() -> None:
    from pystream.cli import main as command
    from pystream.server.__main__ import _MODULES
    from pystream.server.__main__ import main as process

    tid = tid_address()
    if tid is not None:
        gc.disable()
        for name in (*_MODULES.values(), "pystream.cli.serve", "pystream.server.workers"):
            import_module(name)
        gc.freeze()
        if sys.argv[1] != SERVE[-1]:
            copy(socket.socket(fileno=int(sys.argv[1])), tid)
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            # A program that is replaced leaves all that it has open.
            close_all_but((0, 1, 2, theirs.fileno()))
            copy(theirs, tid)
            process(sys.argv[-1])
            return
        theirs.close()
        gc.enable()
        Popen.copying = Copying(ours)
        subprocess.Popen = Popen  # type: ignore[assignment,misc]
    sys.exit(command())


if __name__ == "__main__":
    main()
