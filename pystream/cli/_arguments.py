"""What the commands' arguments share: how help looks, and how a wrong command line is told."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# What a man page has, however wide the terminal is: long lines are hard to read.
_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, and where to read on.

    No value of an argument is repeated in them: it may be a key.
    """

    def __init__(self, command: str, *, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=f"pystream {command}",
            usage=f"pystream {command} {usage}",
            description=description,
            epilog=epilog,
            formatter_class=_formatter,
            allow_abbrev=False,
        )

    def print_help(self, file: object = None) -> None:
        # argparse's own says nothing where it cannot be written.
        print(self.format_help(), end="", flush=True)

    def error(self, message: str) -> NoReturn:
        line = f"{self.prog}: {message} ({self.prog} --help)"
        if sys.stderr is not None:
            print(line, file=sys.stderr)
        raise SystemExit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments as a namespace; exits with 2 where they are wrong."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            self.error(f"there is no option {names[0]}" if names else "too many arguments")
        return options


def _formatter(prog: str) -> argparse.HelpFormatter:
    # argparse keeps two columns free.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=_WIDTH)


def seconds(text: str) -> float:
    """A segment duration."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("a number of seconds from 0.1 to 3600 is wanted")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    # Longer ones are no count of anything, and int() takes its time with them.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise argparse.ArgumentTypeError("a whole number above 0 is wanted")
    return int(text)
