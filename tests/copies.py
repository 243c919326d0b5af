"""`pystream serve` that loads Python's modules once, and not once for each process of the node.

What a node's processes load takes each of them longer than most tests let it live, and the tests start
hundreds of nodes. So the supervisor loads all of it, and has a copy of itself (fork) before it does
anything else. Whenever it wants a process, that copy makes one (clone) that is a child of the supervisor's,
has the descriptors, environment, blocked signals and words that it would have been started with, and runs
the same `main`. All else is the node's own.

What it does not show is a start, nor what a process alone would have loaded: `test_serve.py` starts Python
itself. And so does this where the system is another one.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

SERVE = [sys.executable, "-P", __file__, "serve"]
PROGRAM = ["-m", "pystream.server"]

# linux/sched.h, linux/prctl.h
_CLONE = {"x86_64": 56}.get(os.uname().machine)
_CLONE_PARENT = 0x8000
_CLONE_CHILD_SETTID = 0x0100_0000
_PR_GET_TID_ADDRESS = 40
# With the lock of the interpreter, as a fork has.
_libc = ctypes.PyDLL(None, use_errno=True)


class Process(subprocess.Popen[bytes]):
    """In the supervisor: one of its node's is made by the copy."""

    asking: socket.socket

    def _execute_child(self, args: list[str], *more: Any) -> None:
        if [*args[1:3]] != PROGRAM:
            super()._execute_child(args, *more)  # type: ignore[misc]
            return
        _, _, _, inherited, _, environment, _, _, _, stdin, *_ = more
        kept = sorted({*inherited, 1, 2})
        blocked = [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        asked = json.dumps([args, dict(environment), kept, blocked]).encode()
        socket.send_fds(self.asking, [len(asked).to_bytes(8)], [stdin, *kept])
        self.asking.sendall(asked)
        self.pid = int.from_bytes(self.asking.recv(8, socket.MSG_WAITALL))
        self._child_created = True


def serve(asking: socket.socket, tid: ctypes.c_void_p) -> str:
    """Returns in each of the processes that are made: their role."""
    while True:
        head, given, _, _ = socket.recv_fds(asking, 8, 250)
        if not head:
            os._exit(0)
        words, environment, kept, blocked = json.loads(
            asking.recv(int.from_bytes(head), socket.MSG_WAITALL)
        )
        flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | signal.SIGCHLD
        ctypes.pythonapi.PyOS_BeforeFork()
        made = _libc.syscall(_CLONE, ctypes.c_long(flags), None, None, tid, None)
        if made == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            asking.close()
            become(given, words, environment, kept, blocked)
            return str(words[-1])
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        for descriptor in given:
            os.close(descriptor)
        asking.sendall(made.to_bytes(8))


def become(
    given: list[int],
    words: list[str],
    environment: dict[str, str],
    kept: list[int],
    blocked: list[int],
) -> None:
    """What a start would have made of these."""
    # Out of the way of those that come where others lie now.
    beyond = max(*kept, *given) + 1
    for number, descriptor in zip([0, *kept], given, strict=True):
        os.dup2(descriptor, beyond + number)
    for number in [0, *kept]:
        os.dup2(beyond + number, number)
    for number in {int(each) for each in os.listdir("/proc/self/fd")} - {0, *kept}:
        try:
            os.close(number)
        except OSError:
            continue  # the one by which they were listed
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    sys.argv = words[2:]
    # proc_pid_cmdline(5): the words lie one behind the other, and their place has a length.
    begin, end = arguments()
    last = b"".join(os.fsencode(each) + b"\0" for each in words[1:])
    first = os.fsencode(words[0]).rjust(end - begin - len(last) - 1, b"/")
    ctypes.memmove(begin, first[-(end - begin - len(last) - 1) :] + b"\0" + last, end - begin)


def arguments() -> tuple[int, int]:
    """Where in memory the words lie with which this was started."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[45]), int(fields[46])


def main() -> None:
    from pystream.cli import main as command
    from pystream.server.__main__ import _MODULES
    from pystream.server.__main__ import main as process

    tid = ctypes.c_void_p()
    if _CLONE and _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid), 0, 0, 0) == 0:
        gc.disable()
        for name in (*_MODULES.values(), "pystream.cli.serve", "pystream.server.workers"):
            import_module(name)
        gc.freeze()
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            process(serve(theirs, tid))
            return
        theirs.close()
        gc.enable()
        Process.asking = ours
        subprocess.Popen = Process  # type: ignore[assignment,misc]
    sys.exit(command())


if __name__ == "__main__":
    main()
