"""The command `pystream` in a process of its own that need not load it: the copy of one that has.

Starting Python and loading what a command needs costs more than most commands do, and the tests run
thousands. So one process loads it all, once for each process of tests, and has a copy of itself (fork)
become the command: with arguments, environment, folder, umask and standard streams of the test's, and by
`pystream.cli.main`, as the script does. What a run leaves behind ends with it.

What it does not show is a start. Tests of that (`test_cli.py`: what is loaded, signals, terminals, closed
pipes) start Python itself, and so does `run` with options and variables that only a start knows.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

# -P: the package that is under test, not a folder that happens to be the current one.
COMMAND = [
    *(sys.executable, "-P", "-c"),
    "import sys; from pystream.cli import main; sys.exit(main())",
]
# What Python and its loader read when they start.
AT_START = re.compile("PYTHON|LANG|LC_|LD_|MALLOC_")
# Which of the options of `subprocess.run` a copy knows.
OPTIONS = {"input", "stdin", "env", "cwd"}
# What commands load, some of it when they come to it.
PACKAGES = ("pystream.cli", "pystream.acl", "pystream.attendance", "pystream.packager")
OTHERS = (
    *("alembic.command", "alembic.config", "alembic.runtime.migration", "argon2", "rich.table"),
    *("psycopg", "pystream.server.keys", "pystream.server.settings"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite"),
)


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` runs the command, with its options; output is text, and captured."""
    if not options.keys() <= OPTIONS:
        given: dict[str, Any] = {"capture_output": True, "text": True} | options
        return subprocess.run([*COMMAND, *map(str, arguments)], check=False, **given)
    if options.get("input") is not None:
        options["input"] = options["input"].encode()
    done = run_bytes(*arguments, **options)
    said = (io.TextIOWrapper(io.BytesIO(each)).read() for each in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


def run_bytes(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """With `OPTIONS` alone; what goes in and what comes out are bytes."""
    words = [*map(str, arguments)]
    environment = dict(options.get("env") or os.environ)
    start = {k: v for k, v in environment.items() if AT_START.match(k)}
    # One that has nothing to do: a command may wait for what another thread's command does.
    try:
        loaded = next(each for each in list(_idle) if each.start == start)
        _idle.remove(loaded)
    except StopIteration:
        loaded = Loaded(start)
    done = loaded.run(words, environment, **{k: v for k, v in options.items() if k != "env"})
    _idle.append(loaded)
    return done


class Loaded:
    """The process that has loaded everything, at the other end of a socket."""

    def __init__(self, start: dict[str, str]) -> None:
        self.start = start
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={k: v for k, v in os.environ.items() if not AT_START.match(k)} | start,
            )

    def run(
        self,
        words: list[str],
        environment: dict[str, str],
        *,
        input: bytes | None = None,
        stdin: int | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        umask = os.umask(0o077)
        os.umask(umask)
        asked = json.dumps([words, environment, os.path.abspath(cwd or "."), umask]).encode()
        with ExitStack() as held, ThreadPoolExecutor(3) as threads:
            if input is None:
                nothing = stdin == subprocess.DEVNULL
                theirs = [os.open(os.devnull, os.O_RDONLY) if nothing else os.dup(stdin or 0)]
            else:
                read, write = os.pipe()
                theirs = [read]
                threads.submit(_write, write, input)
            ours = []
            for _ in ("stdout", "stderr"):
                read, write = os.pipe()
                ours.append(held.enter_context(open(read, "rb")))
                theirs.append(write)
            try:
                socket.send_fds(self._socket, [len(asked).to_bytes(8)], theirs)
            finally:
                for descriptor in theirs:
                    os.close(descriptor)
            self._socket.sendall(asked)
            said = threads.map(lambda file: file.read(), ours)
            code = int.from_bytes(self._socket.recv(8, socket.MSG_WAITALL), signed=True)
            return subprocess.CompletedProcess([*COMMAND, *words], code, *said)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_idle: list[Loaded] = []


@atexit.register
def _close() -> None:
    for loaded in _idle:
        loaded.close()


def _write(pipe: int, data: bytes) -> None:
    # The command may have enough before all of it is read.
    with suppress(BrokenPipeError), open(pipe, "wb") as file:
        file.write(data)


# In the process that has loaded everything


def serve(asking: socket.socket) -> None:
    """Becomes the command in a copy, as often as somebody asks; returns there, and at last here."""
    gc.collect()
    gc.freeze()
    while True:
        head, streams, _, _ = socket.recv_fds(asking, 8, 3)
        if not head:
            sys.exit()
        asked = asking.recv(int.from_bytes(head), socket.MSG_WAITALL)
        copy = os.fork()
        if copy == 0:
            asking.close()
            become(streams, *json.loads(asked))
            return
        for descriptor in streams:
            os.close(descriptor)
        _, status = os.waitpid(copy, 0)
        asking.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, signed=True))


def become(
    streams: list[int], words: list[str], environment: dict[str, str], folder: str, umask: int
) -> None:
    """What a start would have made of these."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    os.umask(umask)
    sys.argv = ["-c", *words]
    errors = sys.stdout.errors
    # Left open for as long as the process lasts, as those of a start are.
    sys.stdin = open(0, errors=errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", errors=errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def load() -> None:
    for package in PACKAGES:
        path = import_module(package).__path__
        for module in walk_packages(path, f"{package}."):
            # Those are Alembic's to load, when it migrates.
            if "migrations" not in module.name:
                import_module(module.name)
    for name in OTHERS:
        import_module(name)


if __name__ == "__main__":
    from pystream.cli import main

    load()
    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(main())
