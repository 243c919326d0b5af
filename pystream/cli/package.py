"""`pystream package`: MP4 files to a folder of HLS."""

from __future__ import annotations

import argparse
import sys
import time

import pystream
from pystream.cli import _terminal
from pystream.errors import PystreamError
from pystream.packager import folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pystream.packager import Presentation

_DESCRIPTION = """\
Packages MP4 files, progressive or fragmented, as HLS in the folder DIR: DIR/index.m3u8 is the
multivariant playlist, and each rendition has a folder with its media playlist and segments.

Several INPUTs are one presentation: a ladder of video renditions, cut at the key frames that all of
them share, and audio, which is written once however many inputs hold it. One video with one audio
track is muxed in `ts`; otherwise audio is a rendition of its own.

H.264 and AAC are packaged; tracks in other codecs are left out with a warning.
"""

_EPILOG = """\
encryption:
  With --encrypt aes-128 every segment, and the initialization section of fmp4, is encrypted whole
  with AES-128-CBC. Each rendition gets a fresh key, and with --rotate-every N each N segments of it
  do. Key files have mode 0600 and lie beside their playlists; a server must hand them out to those
  who may watch, and to nobody else.
  --key-uri BASE makes playlists name BASE followed by the key file's name; key files then go to
  --key-dir, and never into the output folder.
  No pair of key and IV is used twice: without --key and --iv a segment's IV is its media sequence
  number; with either of them IVs count up over all resources and stand in the playlists.

output:
  The folder appears whole, by one rename, or not at all. A folder that is not empty is refused
  without --overwrite; with it, the old output stays visible until the new one takes its place.

exit codes:
  0 done; 1 the input or the world is at fault, and one line on standard error says what and where;
  2 the command line is; 130 interrupted. After 1 and 130 the output folder is as it was before.

examples:
  pystream package film.mp4 -o hls --encrypt aes-128
  pystream package 360p.mp4 720p.mp4 1080p.mp4 sound.m4a -o hls --format fmp4
  pystream package film.mp4 -o hls --encrypt aes-128 --rotate-every 10 \\
      --key-uri https://keys.example.org/film/ --key-dir /srv/keys/film
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    encryption = _encryption(parser, options)
    begun = time.perf_counter()
    inputs = [pystream.open(path) for path in options.input]
    presentation = pystream.plan(
        inputs,
        format=options.format,
        segment_duration=options.segment_duration,
        encryption=encryption,
    )
    if options.strict and presentation.notices:
        raise PystreamError(f"--strict: {presentation.notices[0]}")
    with _progress(options) as progress:
        total = folder.write(
            presentation,
            options.output,
            overwrite=options.overwrite,
            key_dir=options.key_dir,
            jobs=options.jobs,
            progress=progress,
        )
    seconds = time.perf_counter() - begun
    _terminal.warn("package", presentation.notices)
    _report(options, presentation, total, seconds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pystream package",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("input", nargs="+", metavar="INPUT", help="an MP4 file")
    add("-o", "--output", required=True, metavar="DIR", help="the folder to write")
    add("--format", choices=("ts", "fmp4"), default="ts", help="of segments (default: ts)")
    add(
        "--segment-duration",
        type=_seconds,
        default=6.0,
        metavar="SECONDS",
        help="segments begin at the first key frame at or after each multiple of it (default: 6)",
    )
    add("--encrypt", choices=("aes-128",), help="encrypt segments; the default is not to")
    add("--key", type=_hex16, metavar="HEX", help="the key, 32 hexadecimal digits; `ps` shows it")
    add("--key-file", metavar="FILE", help="a file of 16 bytes with the key")
    add("--iv", type=_hex16, metavar="HEX", help="IV of the first resource; each next adds 1")
    add("--key-uri", default="", metavar="BASE", help="what playlists put before key files' names")
    add("--key-dir", metavar="DIR", help="where key files go, outside the output folder")
    add(
        "--rotate-every",
        type=_count,
        default=0,
        metavar="N",
        help="a fresh key each N segments",
    )
    add("--jobs", type=_count, metavar="N", help="threads (default: one a processor)")
    add("--overwrite", action="store_true", help="replace a folder that is not empty")
    add("--strict", action="store_true", help="treat warnings as errors, before anything is written")
    add("--json", action="store_true", help="print the summary as one JSON object")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not within 0.1 and 3600")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _hex16(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x").removeprefix("0X"))
    except ValueError:
        value = b""
    if len(value) != 16:
        # Not the text itself: it may be a key with one digit too few.
        raise argparse.ArgumentTypeError("32 hexadecimal digits are wanted")
    return value


def _encryption(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> pystream.Aes128 | None:
    given = [
        name
        for name in ("key", "key_file", "iv", "key_uri", "key_dir", "rotate_every")
        if getattr(options, name)
    ]
    if options.encrypt is None:
        if given:
            parser.error(f"--{given[0].replace('_', '-')} needs --encrypt aes-128")
        return None
    if options.key and options.key_file:
        parser.error("--key and --key-file exclude each other")
    if options.rotate_every and (options.key or options.key_file or options.iv):
        parser.error("--rotate-every needs fresh keys: it excludes --key, --key-file and --iv")
    if bool(options.key_uri) != bool(options.key_dir):
        parser.error("--key-uri and --key-dir go together: keys that are served elsewhere must lie elsewhere")
    key = options.key
    if options.key_file:
        with open(options.key_file, "rb") as file:
            key = file.read(17)
        if len(key) != 16:
            raise PystreamError(f"{options.key_file}: a key has 16 bytes")
    return pystream.Aes128(
        key=key, iv=options.iv, rotate_every=options.rotate_every, key_uri=options.key_uri
    )


def _progress(
    options: argparse.Namespace,
) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if sys.stderr.isatty() and not options.json:
        from pystream.cli._rich import progress

        return progress("packaging")
    from contextlib import nullcontext

    return nullcontext()


def _report(
    options: argparse.Namespace, presentation: Presentation, total: int, seconds: float
) -> None:
    playlist = f"{options.output.rstrip('/') or '/'}/{folder.PLAYLIST}"
    if options.json:
        import json

        print(json.dumps(_summary(options, presentation, playlist, total, seconds)))
    elif sys.stdout.isatty():
        from pystream.cli._rich import show_presentation

        show_presentation(presentation, playlist, total, seconds)
    else:
        count = sum(len(rendition) for rendition in presentation.renditions)
        print(
            f"{playlist}: {len(presentation.renditions)} renditions, {count} segments,"
            f" {presentation.duration:.3f} s, {total} bytes in {seconds:.3f} s"
        )


def _summary(
    options: argparse.Namespace,
    presentation: Presentation,
    playlist: str,
    total: int,
    seconds: float,
) -> dict[str, object]:
    return {
        "playlist": playlist,
        "format": options.format,
        "encryption": options.encrypt,
        "bytes": total,
        "duration": presentation.duration,
        "target_duration": presentation.target_duration,
        "independent_segments": presentation.independent,
        "seconds": round(seconds, 3),
        "renditions": [
            {
                "playlist": f"{rendition.name}/{folder.PLAYLIST}",
                "kind": rendition.kind,
                "codecs": list(rendition.codecs),
                "resolution": rendition.resolution,
                "language": rendition.language,
                "segments": len(rendition),
                "bytes": sum(rendition.lengths()),
            }
            for rendition in presentation.renditions
        ],
        "warnings": [
            {"code": notice.code, "input": notice.source or None, "message": notice.message}
            for notice in presentation.notices
        ],
    }
