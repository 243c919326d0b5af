"""`pystream attendance`: who has watched for how long, computed from the evidence."""

from __future__ import annotations

import argparse
import json

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, path
from pystream.errors import InvalidValue, MalformedEvidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_HELP = """\
usage: pystream attendance replay EVENTS.jsonl --mode live|file [OPTION...]
       pystream attendance ACTION --help

Says how long each key (a password, by its name in the evidence) has watched
each stream, on each day and in a programme, by a published rule:
`attendance-v1`.

actions:
  replay   compute the rows of an evidence file

exit codes:
  0  done
  1  the evidence is malformed; a line on standard error says which line
  2  the command line is wrong, or a file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream attendance replay day.jsonl --mode live --timezone Europe/Berlin
"""

_REPLAY = """\
Computes who has watched for how long, from an evidence file: one JSON object a
line, in any order, each an event: a segment that was delivered, a beacon of a
player, a presence check, a download, an outage of the server. Needs no server
and no store. The same evidence and options give the same rows, anywhere.

A segment earns its length from when the one before it is over, up to C ahead of
its delivery. In a film, a seek takes back what was not played yet.
"""

_EPILOG = """\
SECONDS are one to nine digits, with up to three behind a point. FROM and TO are
written as in 2026-03-10T18:00:00+01:00 or 2026-03-10T17:00:00.5Z. Of an option
that is given twice the last counts, save for --window and --break.

The table has a row for each key, stream and day, and with --window one for the
whole programme (day -); with --union also one for all streams of a key
(stream -). Times are hours:minutes:seconds, seconds cut off.

With --json each row is an object in a line of its own, sorted by key, stream
and day, null last, with milliseconds:
  access_ms         could have been watched: the credit of all sessions, united
  media_ms          media that was delivered, each part once
  window_ms, window_media_ms   the same two within the programme
  verified_ms, hidden_ms       playing, and in a hidden page (--verified)
  certifiable_ms    the least of what counts of these
  overlap_ms        two or more sessions at once
  max_devices       sessions at once for longer than C
  outage_ms, outage_credit_ms  outages meanwhile; those with access around
  deep_buffer_ms    media of a film that was fetched beyond C
  checks_shown, checks_answered   presence checks
  evidence_grade    delivered, player or player+checks
  intervals         access, as [from, to] in ms since 1970, UTC
  flags             bulk_fetch, clock_step, deep_buffer, downloaded, outage,
                    overlap, restored

exit codes:
  0  done, also where a reader closed the pipe before it had all of the output
  1  the evidence is malformed; a line on standard error says which line, and
     nothing is printed
  2  the command line is wrong, or the file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream attendance replay day.jsonl --mode live --timezone Europe/Berlin
  pystream attendance replay day.jsonl --mode live --timezone Europe/Berlin \\
      --window 2026-03-10T18:00:00+01:00/2026-03-10T19:30:00+01:00 \\
      --break 2026-03-10T18:45:00+01:00/2026-03-10T19:00:00+01:00
  pystream attendance replay film.jsonl --mode file --verified --json
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    return _store.dispatch("attendance", _HELP, {"replay": _replay}, arguments)


def _replay(words: list[str]) -> int:
    from pystream.attendance import options as written

    parser = Parser(
        "attendance replay",
        usage="EVENTS.jsonl --mode live|file\n         [OPTION...] [--json]",
        description=_REPLAY,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    seconds = _argument(written.milliseconds)
    span = _argument(written.span)
    add("events", metavar="EVENTS.jsonl", type=path, help="the evidence file")
    add("--mode", type=_mode, metavar="MODE", required=True, help="live or file (a film)")
    add(
        "--target-duration",
        type=_argument(_target),
        default=6000,
        metavar="SECONDS",
        help="of the streams' segments (default: 6)",
    )
    add(
        "--lookahead",
        type=seconds,
        metavar="SECONDS",
        help="C, what a player buffers at most (default: of films 60, else the target duration)",
    )
    add(
        "--bridge",
        type=seconds,
        metavar="SECONDS",
        help="holes of credit that are closed (default: half of the target duration)",
    )
    add(
        "--timezone",
        type=_argument(_zone),
        default="UTC",
        metavar="ZONE",
        help="whose days are meant, as in Europe/Berlin (default: UTC)",
    )
    several: dict[str, Any] = {
        "type": span,
        "action": "append",
        "default": [],
        "metavar": "FROM/TO",
    }
    add("--window", help="a part of the programme; may be repeated", **several)
    add("--break", dest="breaks", help="no part of it; may be repeated", **several)
    add("--verified", action="store_true", help="certify only what a player says was playing")
    add("--require-visible", action="store_true", help="and in no hidden page")
    add(
        "--live-only",
        type=seconds,
        metavar="SECONDS",
        help="segments earn only so long after their media's end",
    )
    add("--credit-outage", action="store_true", help="tell outages with access around them")
    add("--union", action="store_true", help="add rows over all streams of a key")
    add("--json", action="store_true", help="print each row as one JSON object")
    # An option's value is the next argument, and no other way to write it is a second one.
    joined = [word.partition("=")[0] for word in words if word.startswith("--") and "=" in word]
    if joined:
        parser.error(f"{joined[0]} and its value are two arguments")
    given = parser.parse(words)
    try:
        options = written.Options(
            mode=given.mode,
            target_duration=given.target_duration,
            lookahead=given.lookahead,
            bridge=given.bridge,
            timezone=given.timezone,
            windows=tuple(given.window),
            breaks=tuple(given.breaks),
            verified=given.verified,
            require_visible=given.require_visible,
            live_only=given.live_only,
            credit_outage=given.credit_outage,
            union=given.union,
        )
    except InvalidValue as error:
        parser.error(str(error))
    from pystream.attendance.replay import replay

    try:
        rows = replay(given.events, options)
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    except MalformedEvidence as error:
        # Nothing on standard output, in JSON either: what stands there is rows.
        _terminal.complain(parser.prog, f"{given.events}: {error}")
        return 1
    with _terminal.output():
        if given.json:
            for row in rows:
                print(json.dumps(row))
        else:
            _show(rows)
    return 0


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """As argparse has it: what is wrong with a value is its own kind of error."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except InvalidValue as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _mode(text: str) -> str:
    if text not in ("live", "file"):
        raise argparse.ArgumentTypeError("live or file is wanted")
    return text


def _target(text: str) -> int:
    from pystream.attendance.options import milliseconds

    value = milliseconds(text)
    if value == 0:
        raise InvalidValue("seconds above 0 are wanted")
    return value


def _zone(text: str) -> str:
    from pystream.attendance.options import zone_file

    zone_file(text)
    return text


# The same for people

_TIMES = {
    "access": "access_ms",
    "media": "media_ms",
    "window": "window_ms",
    "verified": "verified_ms",
    "certifiable": "certifiable_ms",
}


def _show(rows: list[dict[str, Any]]) -> None:
    # What nobody asked for is null in all rows.
    times = {
        title: name for title, name in _TIMES.items() if any(row[name] is not None for row in rows)
    }
    columns = [(title, "left") for title in ("key", "stream", "day")]
    columns += [(title, "right") for title in (*times, "devices")]
    columns += [("evidence", "left"), ("flags", "left")]
    _store.show_table(
        columns,
        [
            [
                *(_text(row[name]) for name in ("key", "stream", "day")),
                *(_clock(row[name]) for name in times.values()),
                str(row["max_devices"]),
                row["evidence_grade"],
                " ".join(row["flags"]),
            ]
            for row in rows
        ],
    )


def _text(text: str | None) -> str:
    """What an evidence file calls it, which may be anything: nothing that steers a terminal."""
    if text is None:
        return "-"
    return text if text.isprintable() else json.dumps(text)


def _clock(ms: int) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
