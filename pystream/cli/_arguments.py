"""What the commands' arguments share: how help looks, and how a wrong command line is told."""

from __future__ import annotations

import argparse
import os
import re
import sys

from pystream.cli import _terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

# What a man page has, however wide the terminal is: long lines are hard to read.
_WIDTH = 80
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
        with _terminal.output():
            print(self.format_help(), end="")

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
            if not names:
                self.error(
                    "too many arguments; an option that may have several values is given once for each"
                )
            known = [word for word in self._option_string_actions if word.startswith("--")]
            self.error(f"there is no option {names[0]}{guess(names[0], known)}")
        return options

    def in_options(self, sentence: str) -> str:
        """A sentence of the rooms below, in which values are called as they are typed here."""
        typed = {
            each.dest: next(
                (word for word in each.option_strings if word[:2] == "--"), each.metavar
            )
            for each in reversed(self._actions)
        }

        def option(name: re.Match[str]) -> str:
            return str(typed.get(name[0]) or typed.get(f"{name[0]}_file") or name[0])

        return re.sub(r"^[a-z_]+(?=: )|\b[a-z]+(?:_[a-z]+)+\b", option, sentence)

    def all_different(self, name: str, paths: Sequence[str]) -> None:
        """Exits with 2 where two of the arguments called `name` are one file."""
        seen: dict[tuple[int, int], str] = {}
        for path in paths:
            try:
                found = os.stat(path)
            except OSError:
                continue  # whoever opens it says what is wrong with it
            first = seen.get((found.st_dev, found.st_ino))
            if first is not None:
                self.error(f"argument {name}: {first} and {path} are the same file")
            seen[found.st_dev, found.st_ino] = path


def _formatter(prog: str) -> argparse.HelpFormatter:
    # argparse keeps two columns free.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=_WIDTH)


def guess(typed: str, known: Iterable[str]) -> str:
    """ ", did you mean …?" where a word is nearly a known one, or the last of a known phrase's."""
    from difflib import get_close_matches

    meant = {each.rpartition(" ")[2]: each for each in known}
    near = get_close_matches(typed, meant, 1)
    return f", did you mean {meant[near[0]]}?" if near else ""


def add_locale(parser: argparse.ArgumentParser) -> None:
    """The option of all that write words for people to read, which has one default everywhere."""
    parser.add_argument(
        "--locale",
        choices=("de", "en"),
        default="de",
        metavar="de|en",
        help="the language: German, as of all that is handed on, unless it says en",
    )


def path(text: str) -> str:
    """A file or a folder."""
    if not text:
        raise argparse.ArgumentTypeError("a name is wanted, and this one is empty")
    return text


def film(text: str) -> str:
    """An MP4 file."""
    if text == "-":
        raise argparse.ArgumentTypeError(
            "- (standard input) is not possible: an MP4 has to be read at any place"
        )
    return path(text)


def folder(text: str) -> str:
    """A folder to write."""
    if text == "-":
        raise argparse.ArgumentTypeError(
            "- (standard output) is not possible: the output is a folder of files"
        )
    return path(text)


def seconds(text: str) -> float:
    """A segment duration."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("a number of seconds from 0.1 to 3600 is wanted")
    return value


def address(text: str) -> str:
    """Of a page, on the web."""
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("an address with https:// before it is wanted")
    return text


def check_page(
    parser: Parser, url: str, place: tuple[str, str], *below: str, query: bool = True
) -> None:
    """Has the parser complain of an address that is not that of a stream's page, or of one of the names
    `below` it; with `query`, there may be one behind it."""
    from urllib.parse import urlsplit

    given, page = urlsplit(url), "/{}/{}/".format(*place)
    ends = given.path.endswith((page, *(page + name for name in below)))
    if not given.netloc or not ends or (not query and (given.query or given.fragment)):
        shown = f"{given.scheme}://{given.netloc or 'video.example.org'}{page}"
        parser.error(f"argument --url: the address of the stream's page is wanted, as in {shown}")


def count(text: str) -> int:
    """A whole number above 0."""
    # Longer ones are no count of anything, and int() takes its time with them.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise argparse.ArgumentTypeError("a whole number above 0 is wanted")
    return int(text)


def duration(text: str) -> int:
    """Seconds, with the unit behind the number."""
    digits, unit = text[:-1], text[-1:]
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 7
    if not is_number or unit not in _UNITS:
        raise argparse.ArgumentTypeError("a time like 90s, 10m, 2h or 7d is wanted")
    if int(digits) == 0:
        raise argparse.ArgumentTypeError("a time of 1s or more is wanted")
    return int(digits) * _UNITS[unit]
