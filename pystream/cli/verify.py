"""`pystream verify`: packaged HLS against the files it was made from."""

from __future__ import annotations

import sys
from dataclasses import asdict

from pystream.cli import _terminal
from pystream.cli._arguments import Parser
from pystream.packager.verify import Report, VerifyError, verify

_USAGE = "SOURCE... PLAYLIST [--key-dir DIR] [--lenient] [--json]"

_DESCRIPTION = """\
Checks HLS on disk against the MP4 files it was made from: decrypts every
segment, takes it apart, and compares each picture and each frame of sound with
the source's, byte for byte and time for time. PLAYLIST is a multivariant or a
media playlist; all that it names is checked, until the first fault.

The check shares no code with the packager but the playlists' parser.
"""

_EPILOG = """\
exit codes:
  0  the output is what its sources ask for
  1  it is not, or cannot be read; a line on standard error says where and what
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream verify film.mp4 hls/index.m3u8
  pystream verify 360p.mp4 720p.mp4 sound.m4a hls/index.m3u8 --key-dir keys
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser("verify", usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("source", nargs="+", metavar="SOURCE", help="an MP4 file that was packaged")
    add("playlist", metavar="PLAYLIST", help="the playlist to check, with all it names")
    add("--key-dir", metavar="DIR", help="where the key files lie whose URIs lead elsewhere")
    add(
        "--lenient",
        action="store_true",
        help="for other packagers' output: samples have to be the source's, times and tags are not"
        " looked at",
    )
    add("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(arguments)
    try:
        report = verify(
            options.source, options.playlist, keys=options.key_dir, lenient=options.lenient
        )
    except VerifyError as error:
        if options.json:
            _print_json({"ok": False, "where": error.where, "what": error.what})
        raise
    if options.json:
        _print_json({"ok": True, "playlist": options.playlist, **asdict(report)})
    elif _terminal.is_terminal(sys.stdout):
        from pystream.cli._rich import show_verdict

        show_verdict(options.playlist, report)
    else:
        print(f"{options.playlist}: {_in_a_line(report)}")
    return 0


def _in_a_line(report: Report) -> str:
    return "; ".join(str(report).splitlines())


def _print_json(value: dict[str, object]) -> None:
    import json

    print(json.dumps(value))
