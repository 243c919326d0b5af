"""What a process of the node hears from its supervisor, and tells it.

Standard input is the line to the supervisor. The first line on it says what the process is and has
inherited; each later one brings new settings. Its end means that the supervisor wants the process
no longer, or is gone: whoever serves then finishes what is under way and ends, and the writer after
all others. So nothing is left running of a node whose supervisor was killed, and all is counted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from pystream.errors import PystreamError
from pystream.server import log
from pystream.server.settings import Settings, from_json

CUT = signal.SIGUSR1
"""A worker that is finishing shall give up what is under way. Not a second SIGTERM: that may come from
whoever sends it to all processes of a node at once."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, CUT)
"""Those that a process of the node gets, blocked until it is ready for them."""

READY, RELOADED = b"1", b"2"


def run(serve: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """The whole of a process: `serve` is called with what the supervisor has said, where `settings`
    are `Settings`. Exits with 1, and one line, where the world or the settings are at fault."""
    node = json.loads(_first_line())
    node["settings"] = from_json(node["settings"])
    number = {"worker": node["index"]} if node["role"] == "worker" else {}
    told = node["settings"].log
    log.setup(told.format, told.level, role=node["role"], **number)
    try:
        trio.run(serve, node)
    except (PystreamError, OSError) as error:
        log.error("process-cannot-start", **log.fault(error))
        sys.exit(1)


def _first_line() -> bytes:
    line = b""
    # Byte by byte: what follows is for later. A few thousand, once.
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            sys.exit(1)
        line += piece
    return line


def accept_signals() -> None:
    """What came while the process was starting comes now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def tell(node: dict[str, Any], what: bytes) -> None:
    """A supervisor that has been replaced since does not listen any more."""
    with suppress(BrokenPipeError):
        os.write(node["ready"], what)


async def new_settings() -> AsyncIterator[Settings]:
    """Settings, each time they change, until the supervisor has nothing more to say."""
    rest = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield from_json(line.decode())
