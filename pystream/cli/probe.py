"""`pystream probe`: what MP4 files hold, and what packaging would make of them."""

from __future__ import annotations

import sys

import pystream
from pystream.cli import _arguments, _terminal
from pystream.cli._arguments import Parser, seconds
from pystream.cli._terminal import counted
from pystream.errors import PystreamError
from pystream.packager.plan import column
from pystream.packager.source import left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, TypeAlias

    from pystream._core import Track
    from pystream.packager import Input, Presentation

    Facts: TypeAlias = dict[str, Any]

_USAGE = "INPUT... [--segment-duration SECONDS] [--json]"

_DESCRIPTION = """\
Says what MP4 files hold: container, tracks, times, key frames, edit lists; what
`pystream package` would make of each, and what it would leave out. For several
INPUTs it also says whether they make one ladder.

Nothing is written. Of the media only the beginning of each key frame is read,
or all of it where sizes of segments cannot be told from the index.
"""

_EPILOG = """\
Times are seconds on the presentation's time line: edit lists are applied. A
file of which nothing can be packaged is told as such, and is no error.

--json prints one object: inputs, and together where they are several. After 1
it has error, too, with what standard error says, and so has each INPUT that
cannot be read.

exit codes:
  0  done, also where a reader closed the pipe before it had all of the output
  1  an INPUT cannot be read; a line on standard error says what and where, and
     the other ones are shown
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream probe film.mp4
  pystream probe 360p.mp4 720p.mp4 1080p.mp4 sound.m4a --segment-duration 4
  pystream probe --json film.mp4 | jq '.inputs[0].tracks[0].key_frames'
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser("probe", usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("input", nargs="+", type=_arguments.film, metavar="INPUT", help="an MP4 file")
    add(
        "--segment-duration",
        type=seconds,
        default=6.0,
        metavar="SECONDS",
        help="what to plan segments of (default: 6)",
    )
    add("--json", action="store_true", help="print all of it as one JSON object")
    options = parser.parse(arguments)
    parser.all_different("INPUT", options.input)
    opened: list[Input] = []
    files: list[Facts] = []
    for path in options.input:
        try:
            source = pystream.open(path)
            facts = _input(source, options.segment_duration)
        except (PystreamError, OSError) as error:
            text = _terminal.sentence(error)
            _terminal.complain("pystream probe", text)
            files.append({"input": path, "error": text})
            continue
        opened.append(source)
        files.append(facts)
    together = None
    if len(options.input) > 1 and len(opened) == len(options.input):
        together = _planned(opened, options.segment_duration)
    errors = [facts["error"] for facts in files if "error" in facts]
    with _terminal.output():
        if options.json:
            found = {"inputs": files, "together": together}
            _terminal.print_json({"error": "; ".join(errors)} | found if errors else found)
        else:
            _show([facts for facts in files if "error" not in facts], together)
    return 1 if errors else 0


# What is known, as JSON has it.


def _input(source: Input, segment_duration: float) -> Facts:
    movie = source.movie
    edits = {
        track_id: [
            {
                "duration": duration / movie.timescale if movie.timescale else None,
                "media_time": None if media_time is None else media_time / (timescale or 1),
                "rate": rate,
            }
            for duration, media_time, rate in listed
        ]
        for track_id, timescale, listed in movie.edits
    }
    tracks = [_track(track, edits.get(track.id, [])) for track in source.tracks]
    begins = [track["first_presentation"] for track in tracks]
    ends = [track["first_presentation"] + track["duration"] for track in tracks]
    return {
        "input": source.name,
        "container": "fragmented MP4" if movie.fragmented else "progressive MP4",
        "truncated": movie.truncated,
        "size": movie.size,
        "duration": max(ends) - min(begins) if tracks else 0.0,
        "tracks": tracks,
        "left_out": [
            {"id": track_id, "handler": handler, "codec": codec or None, "reason": reason}
            for track_id, handler, codec, reason in movie.skipped
        ],
        "warnings": [{"code": code, "message": message} for code, message in movie.warnings],
        "package": _planned([source], segment_duration),
    }


def _track(track: Track, edits: list[Facts]) -> Facts:
    first, end = track.shown
    scale = track.timescale
    times = column(track.pts(first, end))
    begin = min(times)
    lasting = (track.end_pts(first, end) - begin) / scale
    size = sum(column(track.sizes(first, end)))
    _, width, height, rate, channels = track.configs[0]
    facts: Facts = {
        "id": track.id,
        "kind": track.kind,
        "codecs": [config[0] for config in track.configs],
        "language": None if track.language == "und" else track.language,
        "timescale": scale,
        "samples": track.sample_count,
        "shown": [first, end],
        "first_presentation": begin / scale,
        "duration": lasting,
        "bytes": size,
        "bit_rate": round(8 * size / lasting) if lasting > 0 else None,
        "edits": edits,
    }
    if track.kind == "video":
        dts = column(track.dts(first, end))
        span = dts[-1] - dts[0]
        facts |= {
            "resolution": [width, height],
            "resolutions": [[config[1], config[2]] for config in track.configs],
            "rotation": track.rotation,
            "frame_rate": round((end - first - 1) * scale / span, 3) if span > 0 else None,
            "key_frames": _key_frames(track),
        }
    else:
        facts |= {"sampling_rate": rate, "channels": channels}
    return facts


def _key_frames(track: Track) -> Facts:
    """How far key frames are from each other, and what they are by their own bytes."""
    first, end = track.shown
    indexes, times = track.keys(first, end)
    stamps = sorted(column(times))
    gaps = sorted((b - a) / track.timescale for a, b in zip(stamps, stamps[1:], strict=False))
    kinds = track.picture_kinds(column(indexes))
    return {
        "count": len(stamps),
        "least_distance": gaps[0] if gaps else None,
        "typical_distance": gaps[len(gaps) // 2] if gaps else None,
        "most_distance": gaps[-1] if gaps else None,
        "idr": kinds.count("idr"),
        "recovery_points": kinds.count("recovery"),
        "no_key_frames": kinds.count("other"),
        "every_picture": len(stamps) == end - first,
    }


def _planned(inputs: Sequence[Input], segment_duration: float) -> Facts:
    """What `package` would make, or why it would not."""
    try:
        presentation = pystream.plan(inputs, segment_duration=segment_duration)
    except PystreamError as error:
        return {"segment_duration": segment_duration, "error": str(error)}
    # What opening had to say is said of the input.
    known = sum(len(source.notices) for source in inputs)
    return {
        "segment_duration": segment_duration,
        "target_duration": presentation.target_duration,
        "independent_segments": presentation.independent,
        "scanned": any(rendition.scanned for rendition in presentation.renditions),
        "renditions": _renditions(presentation),
        "warnings": [
            {"code": notice.code, "message": str(notice)} for notice in presentation.notices[known:]
        ],
    }


def _renditions(presentation: Presentation) -> list[Facts]:
    return [
        {
            "name": rendition.name,
            "kind": rendition.kind,
            "codecs": list(rendition.codecs),
            "resolution": rendition.resolution,
            "segments": len(rendition),
            "longest_segment": max(rendition.durations_us) / 1_000_000,
        }
        for rendition in presentation.renditions
    ]


# The same for people: lines, each at a depth, and a word on how it is meant.


def _show(files: Sequence[Facts], together: Facts | None) -> None:
    trees = [list(_lines(facts)) for facts in files]
    if together is not None:
        trees.append([(0, "head", "all inputs together"), *_plan_lines(together, 1)])
    if _terminal.is_terminal(sys.stdout):
        from pystream.cli._rich import show_trees

        show_trees(trees)
        return
    for tree in trees:
        for depth, manner, text in tree:
            mark = "warning: " if manner == "warning" else ""
            print(f"{'  ' * depth}{mark}{text}")


def _lines(facts: Facts) -> Iterator[tuple[int, str, str]]:
    cut = ", cut off" if facts["truncated"] else ""
    yield (
        0,
        "head",
        f"{facts['input']}: {facts['container']}{cut}, {facts['size']:,} bytes,"
        f" {facts['duration']:.3f} s",
    )
    for track in facts["tracks"]:
        yield 1, "track", f"track {track['id']}: {', '.join(_what(track))}"
        yield 2, "", ", ".join(_when(track))
        if "key_frames" in track:
            yield 2, "", f"key frames: {', '.join(_distances(track['key_frames']))}"
        if track["edits"]:
            yield 2, "", f"edit list: {', '.join(_edits(track))}"
        yield from ((2, "warning", text) for text in _unusual(track))
    for track in facts["left_out"]:
        yield (
            1,
            "warning",
            left_out(track["id"], track["handler"], track["codec"], track["reason"]),
        )
    yield from ((1, "warning", warning["message"]) for warning in facts["warnings"])
    yield from _plan_lines(facts["package"], 1)


def _what(track: Facts) -> Iterator[str]:
    yield f"{track['kind']} {' '.join(track['codecs'])}"
    if track["kind"] == "video":
        yield " and ".join(f"{width}x{height}" for width, height in track["resolutions"])
        if track["frame_rate"]:
            yield f"{track['frame_rate']:g} pictures/s"
        if track["rotation"]:
            yield f"turned by {track['rotation']} degrees"
    else:
        yield f"{track['sampling_rate']} Hz"
        yield counted(track["channels"], "channel")
    yield track["language"] or "no language"


def _when(track: Facts) -> Iterator[str]:
    yield counted(track["samples"], "picture" if track["kind"] == "video" else "frame")
    yield f"{track['duration']:.3f} s from {track['first_presentation']:.3f} s"
    if track["bit_rate"]:
        yield f"{track['bit_rate'] / 1000:,.0f} kbit/s"


def _distances(keys: Facts) -> Iterator[str]:
    if keys["every_picture"]:
        yield "every picture"
    else:
        yield f"{keys['count']:,}"
        least, typical, most = (keys[f"{n}_distance"] for n in ("least", "typical", "most"))
        if least is not None and most - least < 0.001:
            yield f"{typical:.3f} s apart"
        elif least is not None:
            yield f"typically {typical:.3f} s apart, from {least:.3f} s to {most:.3f} s"
    if keys["count"] == keys["idr"]:
        yield "all IDR"
    elif keys["recovery_points"]:
        recovery = counted(keys["recovery_points"], "recovery point")
        yield f"{keys['idr']:,} IDR and {recovery} (open GOP)"


def _unusual(track: Facts) -> Iterator[str]:
    first, end = track["shown"]
    before, after = first, track["samples"] - end
    if before or after:
        parts = [f"the first {before:,}"] * bool(before) + [f"the last {after:,}"] * bool(after)
        yield f"{' and '.join(parts)} of {counted(track['samples'], 'sample')} are left out"
    keys = track.get("key_frames")
    if keys and keys["no_key_frames"]:
        yield f"pictures that the index calls key frames and are none: {keys['no_key_frames']:,}"
    slow = [
        edit["rate"]
        for edit in track["edits"]
        if edit["rate"] != 1 and edit["media_time"] is not None
    ]
    if slow:
        yield f"its edit list asks for a speed of {slow[0]:g}, which is not applied"


def _edits(track: Facts) -> Iterator[str]:
    """What an edit list does, in its own order (ISO/IEC 14496-12 8.6.6)."""
    for edit in track["edits"][:4]:
        lasting = "for good" if not edit["duration"] else f"{edit['duration']:.3f} s"
        if edit["media_time"] is None:
            yield f"nothing, {lasting}"
        else:
            yield f"media from {edit['media_time']:.3f} s on, {lasting}"
    if len(track["edits"]) > 4:
        yield counted(len(track["edits"]) - 4, "more edit")


def _plan_lines(plan: Facts, depth: int) -> Iterator[tuple[int, str, str]]:
    if "error" in plan:
        yield depth, "error", f"cannot be packaged: {plan['error']}"
        return
    count = counted(len(plan["renditions"]), "rendition")
    independent = "" if plan["independent_segments"] else "not all "
    yield (
        depth,
        "plan",
        f"package --segment-duration {plan['segment_duration']:g} makes {count}"
        f" of segments that are {independent}independent",
    )
    for rendition in plan["renditions"]:
        size = ""
        if rendition["resolution"]:
            size = " {}x{}".format(*rendition["resolution"])
        segments = counted(rendition["segments"], "segment")
        yield (
            depth + 1,
            "",
            f"{rendition['name']}{size}: {segments}, the longest {rendition['longest_segment']:.3f} s",
        )
    for warning in plan["warnings"]:
        yield depth + 1, "warning", warning["message"]
