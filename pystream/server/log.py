"""What a node says about itself: events, one a line on standard error.

An event has a name, which stays the same so that machines find it, and fields. A person at a
terminal gets words, everything else gets a JSON object a line: `time` (RFC 3339), `level`, `event`,
`role`, `worker` where there are several, and the fields.

Nothing that a peer has sent is ever a field: no address, path, query, header, grant or password.
What can be said of a request is its kind, its tenant and stream once they are known to exist, and
numbers. An error that nobody expected is told by its type and place, since its message may quote
what a peer has sent. So is what a library complains of: by the library's name and the error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TypeAlias

from pystream.errors import PystreamError

Field: TypeAlias = str | int | float | bool | list[str] | None

_LOGGER = logging.getLogger("pystream")


def info(event: str, **fields: Field) -> None:
    """Something went its usual way."""
    _say(logging.INFO, event, fields)


def warning(event: str, **fields: Field) -> None:
    """Something is wrong, and the node goes on without it."""
    _say(logging.WARNING, event, fields)


def error(event: str, **fields: Field) -> None:
    """Something is wrong that somebody has to look after."""
    _say(logging.ERROR, event, fields)


_STILL_SECONDS = 60.0
_told: dict[str, float] = {}


def lasting(
    event: str,
    exception: BaseException,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[..., None] = warning,
) -> None:
    """Something that is asked for over and over is away: said once, and once a minute as long as it is,
    however many ask. `clock` gives seconds; `say` is of those above."""
    now = clock()
    if now - _told.get(event, -_STILL_SECONDS) >= _STILL_SECONDS:
        _told[event] = now
        say(event, **fault(exception))


def fault(exception: BaseException) -> dict[str, Field]:
    """Fields that tell an error: the message of one whose messages are ours or the system's, else
    its type and where it was raised."""
    if isinstance(exception, (PystreamError, OSError)):
        return {"error": str(exception)}
    frames = traceback.extract_tb(exception.__traceback__)
    places = [f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames]
    return {"error": type(exception).__name__, "at": places}


# The begin of a line that `_Json` or `_Text` has made.
_EVENT = re.compile(r"\{|\d\d:\d\d:\d\d ")


def relay(said: str) -> str:
    """Repeats the events among what another process has said. Returns the rest of it, its last 2,000
    letters at most."""
    lines = said.splitlines(keepends=True)
    # As with events of its own: where nobody hears them, the process goes on.
    with suppress(OSError):
        sys.stderr.write("".join(line for line in lines if _EVENT.match(line)))
        sys.stderr.flush()
    return "".join(line for line in lines if not _EVENT.match(line)).strip()[-2000:]


def setup(style: str = "auto", level: str = "info", **always: Field) -> None:
    """Has this process say its events, `always` among the fields of each. `style` is `json`,
    `text`, or `auto`: text where standard error is a terminal. Events below `level` are not said."""
    handler = logging.StreamHandler()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    words = style == "text" or (style == "auto" and terminal)
    handler.setFormatter(_Text(always) if words else _Json(always))
    for logger in (_LOGGER, logging.getLogger()):
        logger.handlers[:] = [handler]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False
    sys.excepthook = _crashed


def _crashed(
    kind: type[BaseException], exception: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    # A nursery wraps what ended it, once a level.
    while isinstance(exception, BaseExceptionGroup):
        exception = exception.exceptions[0]
    error("process-crashed", **fault(exception))


def _say(level: int, event: str, fields: dict[str, Field]) -> None:
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, event, extra={"fields": fields})


class _Format(logging.Formatter):
    def __init__(self, always: dict[str, Field]) -> None:
        super().__init__()
        self._always = always

    def event(self, record: logging.LogRecord) -> str:
        return record.msg if record.name == _LOGGER.name else "library-complains"

    def fields(self, record: logging.LogRecord) -> dict[str, Field]:
        said: dict[str, Field] = getattr(record, "fields", {})
        if record.name != _LOGGER.name:
            exception = record.exc_info and record.exc_info[1]
            said = {"library": record.name, **(fault(exception) if exception else {})}
        return {**self._always, **said}


class _Json(_Format):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "event": self.event(record),
        }
        return json.dumps(head | self.fields(record))


class _Text(_Format):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        said = " ".join(
            f"{name}={_word(value)}"
            for name, value in self.fields(record).items()
            if value is not None
        )
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{moment} {level}{self.event(record)} {said}".rstrip()


def _word(value: Field) -> str:
    text = " ".join(value) if isinstance(value, list) else str(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
