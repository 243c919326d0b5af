"""Cards and reports, printed in a process of their own.

Hundreds of cards, and reports of thousands of lines, take some seconds of an interpreter. In the office's
own, whatever else it is asked would get its turn, at each step, only some milliseconds later
(`sys.getswitchinterval`). Passwords go through pipes, so that nobody else sees them.
"""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pystream.errors import InvalidValue, Said
from pystream.server import service

if TYPE_CHECKING:
    from pystream.acl.cards import Card
    from pystream.acl.reports import Report

_WRONG = 3


def printed(sheet: Sequence[Card], *, locale: str, timezone: str) -> bytes:
    """What `pystream.acl.cards.cards` makes of these, and raises; `OSError` where no process starts, and
    `RuntimeError` where one dies."""
    asked = {"sheet": [asdict(card) for card in sheet], "locale": locale, "timezone": timezone}
    return _asked("cards", json.dumps(asked).encode())


def reported(report: Report, shape: str, locale: str) -> bytes:
    """What `pystream.acl.reports.files.made` makes of a report; raises as `printed` does."""
    # Nobody but this process writes into the pipe.
    return _asked("report", pickle.dumps((report, shape, locale)))


def _asked(what: str, asked: bytes) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", __name__, what],
        input=asked,
        stdout=subprocess.PIPE,
        env=_environment(),
    )
    if done.returncode == _WRONG:
        raise InvalidValue(*map(_said, json.loads(done.stdout)))
    if done.returncode:
        raise RuntimeError(f"the process that prints ended with {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what may be a secret: it needs no settings."""
    found = service.environment()
    return {name: value for name, value in found.items() if not name.startswith("PYSTREAM_")}


def _said(problem: dict[str, Any]) -> str:
    text: str = problem["text"]
    if not problem["key"]:
        return text
    of = problem["of"]
    return Said(problem["key"], text.removeprefix(f"{of}: "), of=of, **problem["values"])


def _problems(error: InvalidValue) -> Iterator[dict[str, Any]]:
    for each in error.problems:
        problem: dict[str, Any] = {"text": str(each), "key": ""}
        if isinstance(each, Said):
            problem |= {"key": each.key, "of": each.of, "values": dict(each.values)}
        yield problem


def _main() -> int:
    # What a terminal sends is the supervisor's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each reads typefaces of its own, or none.
    make = {"cards": _cards, "report": _report}[sys.argv[1]]
    try:
        sys.stdout.buffer.write(make(sys.stdin.buffer.read()))
    except InvalidValue as error:
        sys.stdout.write(json.dumps([*_problems(error)]))
        return _WRONG
    return 0


def _cards(asked: bytes) -> bytes:
    from pystream.acl.cards import Card, cards

    about = json.loads(asked)
    return cards([Card(**card) for card in about.pop("sheet")], **about)


def _report(asked: bytes) -> bytes:
    from pystream.acl.reports.files import made

    return made(*pickle.loads(asked))


if __name__ == "__main__":
    sys.exit(_main())
