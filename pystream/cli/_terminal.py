"""What the commands share: sentences to standard error, and what a terminal gets."""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pystream.model import Notice


def on_sigterm() -> None:
    """Makes SIGTERM end a command as Ctrl-C does: by an exception, so that it cleans up."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def complain(command: str, error: BaseException) -> None:
    """One line that says whose fault an error is, where, and what it was about."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    print(f"pystream {command}: {' '.join(text.split())}", file=sys.stderr)


def warn(command: str, notices: Iterable[Notice]) -> None:
    """Prints notices to standard error, each on a line of its own."""
    for notice in notices:
        print(f"pystream {command}: warning: {notice}", file=sys.stderr)
