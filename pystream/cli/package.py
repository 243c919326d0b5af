"""`pystream package`: MP4 files to a folder of HLS."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time

import pystream
from pystream.cli import _arguments, _terminal
from pystream.cli._arguments import Parser, count, path, seconds
from pystream.cli._terminal import counted
from pystream.errors import OutputError, PystreamError
from pystream.packager import folder
from pystream.packager.encryption import check_key_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.packager import Presentation

_USAGE = """INPUT... -o DIR [--format ts|fmp4]
         [--segment-duration SECONDS] [--jobs N] [--overwrite] [--strict]
         [--json] [--encrypt aes-128 [--key HEX | --key-file FILE] [--iv HEX]
         [--rotate-every N] [--key-uri BASE --key-dir DIR]]"""

_DESCRIPTION = """\
Packages MP4 files, progressive or fragmented, as HLS in the folder DIR:
DIR/index.m3u8 is the multivariant playlist, and each rendition has a folder
with its media playlist and its segments.

Several INPUTs are one presentation: a ladder of video renditions, cut at the
key frames that all of them share, and audio, which is written once however
many inputs hold it, and offered with each of them. Renditions have to end
within half a segment duration of each other. One video with one audio
track is muxed in `ts`; otherwise audio is a rendition of its own, the first
that its file enables being the default.

A segment begins at the first key frame at or after each multiple of the segment
duration; a tail shorter than half of it joins the segment before.

H.264 and AAC are packaged; tracks in other codecs are left out with a warning.
"""

_EPILOG = """\
encryption:
  With --encrypt aes-128 every segment, and the initialization section of fmp4,
  is encrypted whole with AES-128-CBC. Each rendition gets a fresh key, and with
  --rotate-every each N segments of it do. Key files have mode 0600 and lie
  beside their playlists: a server must hand them out to those who may watch,
  and to nobody else. With --key-uri playlists name BASE followed by the key
  file's name; key files then go to --key-dir, never into the output folder.
  BASE ends in "/" as a rule, or as in "?name=". Key files are named by
  rendition and period, so each film needs a BASE and a DIR of its own:
  --overwrite replaces key files of the same names, too, and removes from this
  DIR those that only the playlists of the earlier output name, unless they hold
  a key that is in use, as a --key-file of this DIR does.

  No pair of key and IV is used twice: a segment's IV is its media sequence
  number, except where --key or --key-file gives several resources one key, or
  --iv the first IV: then IVs count up over all resources of all renditions,
  and the playlists name them. A key of your own serves one film: under it,
  another film's segments would have the same pairs.

output:
  The folder appears whole, by one rename, or not at all. One that is not empty
  is refused without --overwrite, and with it as well unless it holds an earlier
  output and nothing else; that stays visible until the new one takes its place,
  and nothing of it is left then. It is looked at before the work and after it:
  what somebody puts there meanwhile stays. A mount point cannot be renamed, and
  the current folder and those above it are not: there, files are replaced one
  by one, playlists last.

  Until then the new output is a hidden folder beside DIR, .pystream.*.partial,
  or in DIR where that is not renamed. What a killed run leaves of it, the same
  user's next run that writes to DIR removes.

  Warnings go to standard error, one a line, when all is written. --json prints
  one object: playlist, format, encryption, key_files, bytes, duration,
  target_duration, independent_segments, seconds, renditions, warnings; after 1
  its one member is error, what standard error says.

exit codes:
  0  done, also where a reader closed the pipe before it had all of the summary
  1  the input or the world is at fault; a line on standard error says what
     and where
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM
  After 1 and 2 the output folder is as it was before, unless the line says that
  it is written and something after that failed, as printing the summary to a
  full disk; after 130 as well, unless the interrupt came when all was in place.

examples:
  pystream package film.mp4 -o hls --encrypt aes-128
  pystream package 360p.mp4 720p.mp4 1080p.mp4 sound.m4a -o ladder --format fmp4
  pystream package film.mp4 -o film --encrypt aes-128 --rotate-every 10 \\
      --key-uri https://keys.example.org/film/ --key-dir keys/film
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse(arguments)
    parser.all_different("INPUT", options.input)
    encryption = _encryption(parser, options)
    _spare_what_is_needed(options)
    begun = time.perf_counter()
    inputs = [pystream.open(name) for name in options.input]
    presentation = pystream.plan(
        inputs,
        format=options.format,
        segment_duration=options.segment_duration,
        encryption=encryption,
    )
    if options.strict and presentation.notices:
        first, *others = presentation.notices
        more = f" (and {len(others)} more)" if others else ""
        raise PystreamError(f"--strict: {first}{more}")
    with _terminal.progress("packaging", options.json) as progress:
        total = folder.write(
            presentation,
            options.output,
            overwrite=options.overwrite,
            key_dir=options.key_dir,
            jobs=options.jobs,
            progress=progress,
        )
    elapsed = time.perf_counter() - begun
    _terminal.warn("pystream package", presentation.notices)
    written = os.path.join(options.output, folder.PLAYLIST)
    with _terminal.output(f"{written} is written, but "):
        _report(options, presentation, written, total, elapsed)
    return 0


def _parser() -> Parser:
    parser = Parser("package", usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("input", nargs="+", type=_arguments.film, metavar="INPUT", help="an MP4 file")
    add(
        "-o",
        "--output",
        required=True,
        type=_arguments.folder,
        metavar="DIR",
        help="the folder to write",
    )
    add(
        "--format",
        choices=("ts", "fmp4"),
        default="ts",
        metavar="ts|fmp4",
        help="of the segments: MPEG-TS or fragmented MP4 (default: ts)",
    )
    add(
        "--segment-duration",
        type=seconds,
        default=6.0,
        metavar="SECONDS",
        help="how long segments are to be, from key frame to key frame (default: 6)",
    )
    add("--jobs", type=count, metavar="N", help="threads (default: one a processor)")
    add("--overwrite", action="store_true", help="replace an earlier output")
    add(
        "--strict",
        action="store_true",
        help="a warning is an error, before anything is written",
    )
    add("--json", action="store_true", help="print the summary as one JSON object")
    add = parser.add_argument_group("encryption options").add_argument
    add(
        "--encrypt",
        choices=("aes-128",),
        metavar="aes-128",
        help="encrypt; the default is not to",
    )
    add(
        "--key",
        type=_hex16,
        metavar="HEX",
        help="one key for all: 32 hexadecimal digits. Other users see it in `ps`",
    )
    add("--key-file", type=path, metavar="FILE", help="one key for all, from a file of 16 bytes")
    add(
        "--iv", type=_hex16, metavar="HEX", help="IV of the first resource; each further one adds 1"
    )
    add("--rotate-every", type=count, metavar="N", help="a fresh key each N segments")
    add("--key-uri", type=_base, metavar="BASE", help="what playlists put before key files' names")
    add("--key-dir", type=path, metavar="DIR", help="where key files go, outside the output folder")
    return parser


def _base(text: str) -> str:
    """What file names are appended to, to make URIs."""
    if not text:
        raise argparse.ArgumentTypeError("a URI to begin with is wanted, and this one is empty")
    # RFC 3986 3.2: without a slash behind it, the name would be part of the host's.
    if re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*", text):
        raise argparse.ArgumentTypeError(
            'a key file\'s name behind it would become part of the host: end it in "/"'
        )
    try:
        check_key_uri(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "a URI has no white space, quotation mark or control character, nor a # in front"
        ) from None
    return text


def _hex16(text: str) -> bytes:
    digits = text.removeprefix("0x").removeprefix("0X")
    # bytes.fromhex alone would let blanks pass.
    if len(digits) != 32 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise argparse.ArgumentTypeError("32 hexadecimal digits are wanted")
    return bytes.fromhex(digits)


def _encryption(parser: Parser, options: argparse.Namespace) -> pystream.Aes128 | None:
    names = ("key", "key_file", "iv", "rotate_every", "key_uri", "key_dir")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) is not None]
    if options.encrypt is None:
        if given:
            parser.error(f"{given[0]} needs --encrypt aes-128")
        return None
    if "--key" in given and "--key-file" in given:
        parser.error("--key and --key-file exclude each other")
    if "--rotate-every" in given and (fixed := {"--key", "--key-file", "--iv"}.intersection(given)):
        parser.error(f"--rotate-every makes fresh keys: it excludes {min(fixed)}")
    if ("--key-uri" in given) != ("--key-dir" in given):
        parser.error(
            "--key-uri and --key-dir go together: a key that is served elsewhere lies elsewhere"
        )
    key = options.key if options.key_file is None else _read_key(options.key_file)
    return pystream.Aes128(
        key=key,
        iv=options.iv,
        rotate_every=options.rotate_every or 0,
        key_uri=options.key_uri or "",
    )


def _read_key(name: str) -> bytes:
    with open(name, "rb") as file:
        key = file.read(17)
    if len(key) != 16:
        held = "more than 16" if len(key) > 16 else len(key)
        raise PystreamError(f"{name}: an AES-128 key has 16 bytes, and this file {held}")
    return key


def _spare_what_is_needed(options: argparse.Namespace) -> None:
    """Refuses to replace a folder that holds what nobody wants to lose by it."""
    if not options.overwrite:
        return
    target = folder.real_path(options.output)
    kept = [*options.input, options.key_file, os.path.expanduser("~")]
    for name in filter(None, kept):
        if os.path.commonpath([folder.real_path(name), target]) == target:
            raise OutputError(
                f"{name} lies in the output folder {options.output}, all of which is replaced:"
                " choose another one"
            )


def _report(
    options: argparse.Namespace,
    presentation: Presentation,
    written: str,
    total: int,
    elapsed: float,
) -> None:
    if options.json:
        _terminal.print_json(_summary(options, presentation, written, total, elapsed))
    elif _terminal.is_terminal(sys.stdout):
        from pystream.cli._rich import show_presentation

        show_presentation(presentation, written, total, elapsed, options.key_dir, options.key_uri)
    else:
        segments = sum(len(rendition) for rendition in presentation.renditions)
        print(
            f"{written}: {counted(len(presentation.renditions), 'rendition')},"
            f" {counted(segments, 'segment')}, {presentation.duration:.3f} s,"
            f" {total:,} bytes in {elapsed:.3f} s"
        )


def _summary(
    options: argparse.Namespace,
    presentation: Presentation,
    written: str,
    total: int,
    elapsed: float,
) -> dict[str, object]:
    def key_folder(name: str) -> str:
        return options.key_dir or os.path.join(options.output, name)

    rates = [r.bit_rates(presentation.target_duration) for r in presentation.renditions]
    return {
        "playlist": written,
        "format": options.format,
        "encryption": options.encrypt,
        "key_files": [
            os.path.join(key_folder(rendition.name), name)
            for rendition in presentation.renditions
            for name, _ in rendition.key_files()
        ],
        "bytes": total,
        "duration": presentation.duration,
        "target_duration": presentation.target_duration,
        "independent_segments": presentation.independent,
        "seconds": round(elapsed, 3),
        "renditions": [
            {
                "name": rendition.name,
                "playlist": os.path.join(options.output, rendition.name, folder.PLAYLIST),
                "kind": rendition.kind,
                "codecs": list(rendition.codecs),
                "resolution": rendition.resolution,
                "frame_rate": rendition.frame_rate_milli and rendition.frame_rate_milli / 1000,
                "channels": rendition.channels or None,
                "language": rendition.language,
                "segments": len(rendition),
                "duration": sum(rendition.durations_us) / 1_000_000,
                "bytes": sum(rendition.lengths()),
                "bandwidth": peak,
                "average_bandwidth": average,
            }
            for rendition, (peak, average) in zip(presentation.renditions, rates, strict=True)
        ],
        "warnings": [
            {"code": notice.code, "input": notice.source or None, "message": notice.message}
            for notice in presentation.notices
        ],
    }
