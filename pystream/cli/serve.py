"""`pystream serve`: the origin server, until a signal ends it."""

from __future__ import annotations

import argparse
import os
import sys

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, count
from pystream.errors import PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.server.settings import Settings

_DESCRIPTION = """\
Serves the streams of the store over HTTP and HTTPS: each film is packaged, and
encrypted where the stream says so, while it is sent. What `pystream tenant` and
`pystream stream` change, a running server follows within a second or two.

The settings are those of --config, else of the file that PYSTREAM_CONFIG names,
else of ./pystream.toml or /etc/pystream/pystream.toml, else the defaults. The
environment overrides them: PYSTREAM_SERVER_WORKERS=4 is workers in [server].
"""

_EPILOG = """\
signals:
  TERM, INT  end: nobody more is let in, answers under way go out whole within
             server.grace_seconds; a second one ends at once
  HUP        read settings and certificates again; what only a new process can
             change is said. Settings that are wrong change nothing
  USR2       replace the program by the one installed now: it is tried, then it
             takes the sockets over, and the old processes finish what they have
             begun. A program or settings that do not start change nothing; but
             the store stays as the trial has brought it up to date

HTTPS:
  [tls] in the settings names where to listen and certificates, each of which is
  two PEM files: the chain, its own first, and the key. After a renewal, HUP.
  Behind a proxy that speaks HTTPS: HTTP at a unix socket or on loopback, with
  server.trusted_proxies; an example for nginx is
  {nginx}

systemd:
  The server says when it is ready, reloading or stopping, and feeds a watchdog.
  It takes listening sockets that are called http, https or admin
  (FileDescriptorName=); the settings' places of that kind are not opened then.
  Units to start from are in
  {units}

Where it listens, and what happens to it, it says on standard error; `pystream
top` shows what it does. A store and a master key that are missing are made. All
settings, with their defaults, are in
{example}

exit codes:
  0  it has ended, by TERM or INT, or --check found nothing that keeps it from
     serving; films that cannot be shown it only counts (unshown, in JSON)
  1  the settings, the store or the world is at fault; lines on standard error
     say what and where
  2  the command line is wrong

examples:
  pystream serve --config /etc/pystream/pystream.toml --check
  pystream serve --workers 4
"""

# As in the settings.
_MOST_WORKERS = 1024


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "serve",
        usage="[--config FILE] [--workers N] [--check [--json]]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(
            units=_beside("systemd"),
            nginx=_beside("nginx.example.conf"),
            example=_beside("pystream.example.toml"),
        ),
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="the settings, pystream.toml")
    add(
        "--workers",
        metavar="N",
        type=_workers,
        help="processes that serve; 0: one a processor (default: as the settings say)",
    )
    add(
        "--check",
        action="store_true",
        help="say what would keep it from serving, and which films cannot be shown; serve nothing",
    )
    add("--json", action="store_true", help="with --check, print the result as one JSON object")
    options = parser.parse(arguments)
    if options.json and not options.check:
        parser.error("--json goes with --check")
    if options.workers is not None:
        # The settings are read again by whoever comes after this process.
        os.environ["PYSTREAM_SERVER_WORKERS"] = str(options.workers)
    try:
        from pystream.server import settings
        from pystream.server.workers import supervise
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None

    path = options.config or settings.find(os.environ)
    try:
        loaded = settings.load(path, os.environ)
    except (PystreamError, OSError) as error:
        if not options.json:
            raise
        wrong = getattr(error, "problems", (_terminal.sentence(error),))
        _terminal.print_json({"wrong": wrong, "notes": [], "unshown": 0})
        return 1
    if options.check:
        return _check(parser, loaded, options.json)
    return supervise(loaded, path, command=[sys.executable, *sys.orig_argv[1:]])


def _workers(text: str) -> int:
    number = 0 if text == "0" else count(text)
    if number > _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"a whole number up to {_MOST_WORKERS:,} is wanted")
    return number


def _check(parser: Parser, settings: Settings, json: bool) -> int:
    from pystream.server.check import check

    findings = check(settings, os.environ)
    if json:
        facts = {"wrong": findings.wrong, "notes": findings.notes, "unshown": findings.unshown}
        _terminal.print_json(facts)
    else:
        for wrong in findings.wrong:
            _terminal.complain(parser.prog, wrong)
        for note in findings.notes:
            print(f"note: {note}")
        if not findings.wrong:
            films = _terminal.counted(findings.unshown, "film")
            but = f", but {films} cannot be shown" if findings.unshown else ""
            print(f"Nothing speaks against serving{but}.")
    return 1 if findings.wrong else 0


def _beside(name: str) -> str:
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "server", name)
