"""`pystream demo`: a whole server with the sample film, on loopback, until it is stopped."""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time

import pystream
from pystream.cli import _terminal
from pystream.cli._arguments import Parser, film
from pystream.cli._store import not_installed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Number = TypeVar("Number", int, float)

_SAMPLE = os.path.join(os.path.dirname(__file__), "sample.mp4")

_DESCRIPTION = """\
Serves a film on this machine alone, packaged and encrypted while it is sent,
and says where to watch it. Several inputs are one ladder, as of `pystream
package`.
"""

_EPILOG = """\
Everything it needs lies in a temporary folder, which is removed in the end.

exit codes:
  0  it has ended, by a signal or after --seconds
  1  the input or the world is at fault; a line on standard error says what
     and where
  2  the command line is wrong

examples:
  pystream demo
  pystream demo film.mp4 --port 8090
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "demo",
        usage="[INPUT...] [--port N] [--seconds S]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "source",
        nargs="*",
        default=[_SAMPLE],
        metavar="INPUT",
        type=film,
        help="the film (default: a sample film of 30 seconds)",
    )
    add("--port", metavar="N", type=_port, help="where to listen (default: $DEMO_PORT, or 8080)")
    add(
        "--seconds",
        metavar="S",
        type=_seconds,
        help="end after so long (default: $DEMO_SECONDS, or never)",
    )
    options = parser.parse(arguments)
    port = options.port or _of_environment(parser, "DEMO_PORT", _port) or 8080
    seconds = options.seconds or _of_environment(parser, "DEMO_SECONDS", _seconds)
    try:
        from pystream.acl.store import Store
        from pystream.acl.streams import StreamSettings, TenantSettings
        from pystream.errors import PystreamError, SettingsError
        from pystream.server.settings import load
        from pystream.server.workers import supervise
    except ModuleNotFoundError as error:
        raise not_installed(error) from None

    # What is wrong with the film is said here, and not to who wants to watch it.
    notices = pystream.plan([pystream.open(source) for source in options.source]).notices
    _terminal.warn(parser.prog, notices)
    with tempfile.TemporaryDirectory(prefix="pystream-demo-") as folder:
        os.environ.update(
            PYSTREAM_STORE_URL=f"sqlite:///{folder}/store.db",
            PYSTREAM_SERVER_LISTEN=f"127.0.0.1:{port}",
            PYSTREAM_SERVER_WORKERS="1",
            # Few watch a demo, and any machine has room for them.
            PYSTREAM_SERVER_MAX_CONNECTIONS="500",
            PYSTREAM_SERVER_ADMIN="",
            # A helper that is here is another server's.
            PYSTREAM_GUARD_SYN="off",
            # Nobody there keeps a log.
            PYSTREAM_LOG_LEVEL="warning",
            PYSTREAM_MASTER_KEY=secrets.token_hex(32),
        )
        now = int(time.time())
        with Store.open(os.environ["PYSTREAM_STORE_URL"]) as store:
            store.add_tenant("demo", TenantSettings(display="Demo"), who="demo", now=now)
            sources = tuple(os.path.abspath(path) for path in options.source)
            wanted = StreamSettings(sources=sources, title="Sample", encryption="aes-128")
            store.add_stream("demo", "film", wanted, who="demo", now=now)
        address = f"http://127.0.0.1:{port}/demo/film/"

        def announce() -> None:
            print(f"Open {address} in a browser. Ctrl-C ends the demo.")
            print(f"Other players (VLC, mpv, ffplay) open {address}master.m3u8", flush=True)

        try:
            return supervise(load(None, os.environ), None, seconds, announce=announce)
        except SettingsError as error:
            if error.key != "server.listen":
                raise
            # Nobody here has written any settings.
            advice = "choose another port with --port N, under make with DEMO_PORT=N"
            raise PystreamError(f"{error.message}; {advice}") from None


def _of_environment(parser: Parser, name: str, read: Callable[[str], Number]) -> Number | None:
    """What a variable says; where that is wrong, it is what was wrong, and no option."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        return read(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"{name}: {error}")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError("a port from 1 to 65535 is wanted")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError("a number of seconds above 0 is wanted")
    return value
