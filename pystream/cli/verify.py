"""`pystream verify`: packaged HLS against the files it was made from."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

from pystream.cli import _arguments, _terminal
from pystream.cli._arguments import Parser, path
from pystream.errors import PystreamError
from pystream.packager.folder import PLAYLIST
from pystream.packager.verify import Report, VerifyError, verify

_USAGE = "SOURCE... PLAYLIST [--key-dir DIR] [--lenient] [--json]"

_DESCRIPTION = """\
Checks HLS on disk against the MP4 files it was made from: decrypts every
segment, takes it apart, and compares each picture and each frame of sound with
the source's, byte for byte and time for time. PLAYLIST is a multivariant or a
media playlist, or a folder with index.m3u8 in it; all that it names is checked,
until the first fault. A media playlist may be one of several: what it lacks of
the sources is told, and no fault.

The check shares no code with the packager but the playlists' parser.
"""

_EPILOG = """\
Times in messages are those of the film, not the output's time stamps.

--json prints one object: ok, playlist, and what was compared. After 1 ok is
false and error is what standard error says; where and what are its two halves
where the output is at fault.

exit codes:
  0  the output is what its sources ask for
  1  it is not, or cannot be read; a line on standard error says where and what
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream verify film.mp4 hls/index.m3u8
  pystream verify 360p.mp4 720p.mp4 1080p.mp4 sound.m4a ladder
  pystream verify film.mp4 film/index.m3u8 --key-dir keys/film
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser("verify", usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add(
        "source", nargs="+", type=_arguments.film, metavar="SOURCE", help="an MP4 that was packaged"
    )
    add("playlist", type=path, metavar="PLAYLIST", help="the playlist to check, with all it names")
    add(
        "--key-dir",
        type=path,
        metavar="DIR",
        help="where the key files lie whose URIs lead elsewhere",
    )
    add(
        "--lenient",
        action="store_true",
        help="for other packagers' output: samples have to be the source's, times and tags are not"
        " looked at",
    )
    add("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(arguments)
    parser.all_different("SOURCE", options.source)
    playlist = options.playlist
    if os.path.isdir(playlist):
        playlist = os.path.join(playlist, PLAYLIST)
    try:
        with _terminal.progress("verifying", options.json) as progress:
            report = verify(
                options.source,
                playlist,
                keys=options.key_dir,
                lenient=options.lenient,
                progress=progress,
            )
    except (PystreamError, OSError) as error:
        _complain(parser.prog, error, options.json)
        return 1
    with _terminal.output(f"nothing wrong was found in {playlist}, but "):
        _show(report, playlist, options.json)
    return 0


def _complain(program: str, error: PystreamError | OSError, as_json: bool) -> None:
    text = _terminal.sentence(error)
    _terminal.complain(program, text)
    if as_json:
        halves = (
            {"where": error.where, "what": error.what} if isinstance(error, VerifyError) else {}
        )
        with _terminal.output():
            _terminal.print_json({"ok": False, "error": text, **halves})


def _show(report: Report, playlist: str, as_json: bool) -> None:
    if as_json:
        _terminal.print_json({"ok": True, "playlist": playlist, **asdict(report)})
    elif _terminal.is_terminal(sys.stdout):
        from pystream.cli._rich import show_verdict

        show_verdict(playlist, report)
    else:
        print(f"{playlist}: {'; '.join(str(report).splitlines())}")
