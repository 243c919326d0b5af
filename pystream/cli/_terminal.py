"""What the commands share: sentences to standard error, the ends of pipes, signals."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, nullcontext, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
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


def progress(title: str, json: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """A bar on standard error where somebody looks at it: what to call with bytes done and in all."""
    if is_terminal(sys.stderr) and not json:
        from pystream.cli import _rich

        return _rich.progress(title)
    return nullcontext()


@contextmanager
def output(done: str = "") -> Iterator[None]:
    """Within it results are printed, to standard output and as the last thing a command does.

    A reader that closes the pipe has seen enough: no error, and no word about it. Anything else
    that keeps results from being written is one; `done` says what is done all the same.
    """
    try:
        yield
        _flush()
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        from pystream.errors import OutputError

        _forget_output()
        reason = error.strerror or str(error)
        raise OutputError(f"{done}standard output cannot be written: {reason}") from None


def flush() -> None:
    """Writes out what was printed without `output`, so that a full disk is an error now."""
    with output():
        pass


def print_json(value: object) -> None:
    """The result of a command as one JSON object."""
    import json

    print(json.dumps(value))


program = "pystream"
"""What every complaint begins with: of the command that runs, and of its action where it has one."""


def fail(arguments: Sequence[str], error: BaseException) -> None:
    """Says what ended a command: to standard error, and where --json asks for it as an object."""
    text = sentence(error)
    # Some errors say several things, each of them a line.
    for line in getattr(error, "problems", None) or (text,):
        complain(program, line)
    # Behind -- are names of files.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" in options:
        with suppress(OSError):
            print_json({"error": text})


def end_output() -> None:
    """Writes out what is left, or forgets it: the interpreter's own last flush must not fail."""
    try:
        _flush()
    except OSError:
        _forget_output()


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _forget_output() -> None:
    """What is printed, and what is still to be written out, goes nowhere from now on."""
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


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number of things, "1 segment" and "1,024 segments"; `nouns` where these are no noun with an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


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
