"""Lists of passwords that commands read, and what they say of their lines."""

from __future__ import annotations

import sys

from pystream.cli import _terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pystream.acl.password_csv import Problem
    from pystream.cli._arguments import Parser


def read(path: str) -> bytes:
    from pystream.acl.password_csv import MOST_BYTES

    # One byte too many is told as that.
    if path == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with open(path, "rb") as file:
        return file.read(MOST_BYTES + 1)


def named(path: str) -> str:
    return "standard input" if path == "-" else path


def complain(parser: Parser, path: str, problems: Sequence[Problem], severity: str = "") -> None:
    for text in in_runs(problems):
        _terminal.complain(parser.prog, f"{severity}{named(path)}: {text}")


def in_runs(problems: Sequence[Problem]) -> Iterator[str]:
    """Sentences, one for lines behind each other that have the same to say."""
    first = last = None
    for problem in problems:
        if first is not None and last is not None:
            if problem.text == first.text and problem.line == last.line + 1:
                last = problem
                continue
            yield _run_of(first, last)
        first = last = problem
    if first is not None and last is not None:
        yield _run_of(first, last)


def _run_of(first: Problem, last: Problem) -> str:
    return str(first) if first == last else f"lines {first.line} to {last.line}: {first.text}"
