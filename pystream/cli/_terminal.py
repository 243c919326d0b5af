"""What the commands share: sentences to standard error, the ends of pipes, signals."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from pystream.model import Notice


def on_signals() -> None:
    """Makes SIGTERM and SIGHUP end a command as Ctrl-C does: by an exception, so that it cleans up.

    Once: a second one must not interrupt the cleaning up. What is ignored (`nohup`, a background
    job of a script) stays ignored.
    """

    def interrupt(signum: int, frame: object) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    caught = [each for each in wanted if signal.getsignal(each) is not signal.SIG_IGN]
    for each in caught:
        signal.signal(each, interrupt)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is there and somebody looks at it."""
    return stream is not None and stream.isatty()


def flush() -> None:
    """Writes out what was printed, so that a closed pipe or a full disk is an error now."""
    if sys.stdout is not None:
        sys.stdout.flush()


def end_output() -> None:
    """Writes out what is left, or forgets it: the interpreter's own last flush must not fail."""
    try:
        flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def complain(program: str, text: str) -> None:
    """Says something to standard error, in one line."""
    # print() takes standard output where there is no standard error.
    if sys.stderr is not None:
        with suppress(OSError):  # nobody listens
            print(f"{program}: {' '.join(text.split())}", file=sys.stderr, flush=True)


def warn(program: str, notices: Iterable[Notice]) -> None:
    """Says notices to standard error, each in a line of its own."""
    for notice in notices:
        complain(program, f"warning: {notice}")


def sentence(error: BaseException) -> str:
    """Whose fault an error is, where, and what it was about."""
    from pystream.errors import PystreamError

    if isinstance(error, OSError) and error.strerror:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
        return ": ".join([*names, error.strerror])
    if isinstance(error, MemoryError):
        return "memory is exhausted"
    if isinstance(error, (PystreamError, OSError)):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        name = os.path.basename(trace.tb_frame.f_code.co_filename)
        place = f" at {name}:{trace.tb_lineno}"
    return f"a bug in pystream, please report it: {type(error).__name__}: {error}{place}"
