"""A real PostgreSQL for tests, at a unix socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text


def program(name: str) -> Path:
    """One of those of the newest PostgreSQL that is installed."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda path: int(path.parent.name)) / name


def run(name: str, *words: object) -> bytes:
    """Runs a program to its end, as the user that its server may run as; returns what it prints."""
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [program(name), *map(str, words)],
        stdout=subprocess.PIPE,
        check=True,
        cwd="/",
        **_user(),
    )
    return done.stdout


@contextmanager
def folder() -> Iterator[str]:
    """A new folder, which the server can get to: it may not run as root. It is under /tmp itself."""
    path = tempfile.mkdtemp(prefix="pystream-postgres-", dir="/tmp")
    try:
        give(path)
        yield path
    finally:
        shutil.rmtree(path)


def give(path: str) -> None:
    """To the user that the server may run as."""
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")


def initialise(data: str) -> None:
    run("initdb", "-D", data, "-A", "trust", "-U", "pystream", "--no-sync")


class Server:
    """A server on the folder `data`, at a unix socket in the folder `socket`, which takes changes."""

    def __init__(self, data: str, socket: str, *settings: str) -> None:
        quiet = ("listen_addresses=", "fsync=off", "timezone=UTC", *settings)
        self._command = [
            *(str(program("postgres")), "-D", data, "-k", socket),
            *(word for each in quiet for word in ("-c", each)),
        ]

    def start(self) -> None:
        """Returns when it takes connections. Raises `AssertionError` with what it said where it ends."""
        self.process = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, text=True, cwd="/", **_user()
        )
        assert self.process.stderr is not None
        log = []
        for line in self.process.stderr:
            log.append(line)
            if "ready to accept connections" in line:
                return
        self.end()
        raise AssertionError("".join(log))

    def processes(self) -> dict[str, list[int]]:
        """Its processes by what they call themselves, as "checkpointer"; the first one is "postgres"."""
        pid = self.process.pid
        found = {"postgres": [pid]}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split()
                # Of one that has just begun, it is nothing.
                found.setdefault(" ".join(words[1:2]), []).append(int(child))
        return found

    def end(self, number: int = signal.SIGQUIT) -> None:
        self.process.send_signal(number)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process.wait()


@contextmanager
def serving(data: str, socket: str, *settings: str) -> Iterator[None]:
    """A server that ends with the block, at once."""
    server = Server(data, socket, *settings)
    server.start()
    try:
        yield
    finally:
        server.end()


def url(socket: str, name: str = "postgres") -> str:
    return f"postgresql://pystream@/{name}?host={socket}"


def execute(url: str, *statements: str) -> None:
    """What somebody does to a database by hand, each statement a transaction."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def _user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}
