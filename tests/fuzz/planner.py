"""The planner's fuzz target: any columns and any film give what naive code gives, or a declared error.

The first byte chooses what is looked at, the others are its numbers: a loop of `pystream._segmenter`
each, or a film that is written, opened and planned. `python -m tests.fuzz planner` draws the bytes;
`tests/test_fuzz.py` replays those that were kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor, lcm
from pathlib import Path
from typing import TypeVar

import pystream
from pystream import _segmenter, playlist
from pystream.packager.plan import Audio, Cuts, Video, begun_anew, cut_together, durations_us
from tests.media.make import load
from tests.oracles import boxes, planner

T = TypeVar("T")

US = 1_000_000
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
TIMESCALE_MAX = 2**32 - 1

MEDIA = Path(__file__).parents[1] / "media"
# Two configurations that differ, so that a change from one to the other is one.
AVC = [load(MEDIA / name)[0].entries[0] for name in ("ladder_90.mp4", "ladder_180.mp4")]
AAC = [load(MEDIA / name)[0].entries[0] for name in ("ladder_audio.m4a", "audio_48k.m4a")]

EDGES = [
    *(INT64_MIN, INT64_MIN + 1, -(2**32), -1, 0, 1, 2**32 - 1, 2**32),
    *(2**53, 2**62, INT64_MAX - 1, INT64_MAX, 1_000_000, 10**9, 90_000, 1001),
]


def planned(data: bytes) -> None:
    """The target: raises where the planner is wrong."""
    draw = Draw(data)
    LOOKS[draw.byte() % len(LOOKS)](draw)


class Draw:
    """Numbers out of bytes, each byte worth changing; after the last one all are 0."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def int64(self) -> int:
        """One byte that says how many follow, or that it is an edge."""
        head = self.byte()
        if head & 15 > 8:
            return EDGES[head >> 4]
        content = bytes(self.byte() for _ in range(head & 15))
        return int.from_bytes(content, "little", signed=True)

    def one_of(self, *choices: T) -> T:
        return choices[self.byte() % len(choices)]

    def timescale(self) -> int:
        """Nearly always one that is allowed."""
        usual = self.one_of(0, 1, 1000, 12_800, 24_000, 30_000, 44_100, 48_000, 90_000, 10**7)
        return usual or self.int64()

    def target_us(self) -> int:
        usual = self.one_of(0, 1, 333_333, 2 * US, 6 * US)
        return usual or self.int64()

    def column(self, least_step: int, most: int = 40) -> list[int]:
        """Mostly numbers that rise by at least `least_step`; sometimes any."""
        head, count = self.byte(), self.byte() % (most + 1)
        if head % 8 == 7:
            return [self.int64() for _ in range(count)]
        found = [self.int64()][:count]
        while 0 < len(found) < count:
            step = max(abs(self.int64()), least_step)
            found.append(min(found[-1] + step, INT64_MAX))
        return found

    def room(self, enough: int) -> array[int]:
        """Enough room, or a little more or less."""
        return array("q", [-7]) * max(0, enough + self.one_of(0, 0, 0, 1, -1, -2))


# The loops, one by one: a ValueError is due exactly where the docstring says so.


def refused(wrong: bool, call: Callable[[], T]) -> T | None:
    """None where the arguments are wrong and the call says so."""
    try:
        given = call()
    except ValueError:
        assert wrong, "right arguments are refused"
        return None
    assert not wrong, f"wrong arguments give {given}"
    return given


def rises(values: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(values))


def never_falls(values: Sequence[int]) -> bool:
    return all(a <= b for a, b in pairwise(values))


def bad_scale(*timescales: int) -> bool:
    return not all(1 <= timescale <= TIMESCALE_MAX for timescale in timescales)


def fits(value: int) -> bool:
    return INT64_MIN <= value <= INT64_MAX


def cuts(draw: Draw) -> None:
    scale, target = draw.timescale(), draw.target_us()
    times = draw.column(1)
    marks = [draw.byte() & 1 for _ in times] + [0] * draw.one_of(0, 0, 0, 1)
    end = draw.one_of(times[-1] if times else 0, INT64_MAX, draw.int64())
    out = draw.room(len(times))
    late = bool(times) and end < times[-1]
    wrong = bad_scale(scale) or target < 1 or not rises(times) or late or len(marks) != len(times)
    # Before the tail is joined, and that far the room has to reach.
    begun = [] if wrong else planner.cuts(times, marks, scale, target, far(times, scale, target))
    column, flags = array("q", times), array("B", marks)
    count = refused(
        wrong or len(begun) > len(out),
        lambda: _segmenter.cuts(column, flags, scale, target, end, out),
    )
    if count is not None:
        assert list(out[:count]) == planner.cuts(times, marks, scale, target, end)


def far(times: Sequence[int], scale: int, target: int) -> int:
    """An end that leaves no short tail."""
    return times[-1] + scale * target if times else 0


def grid(draw: Draw) -> None:
    scale, target = draw.timescale(), draw.target_us()
    times = draw.column(0)
    end = draw.one_of(times[-1] if times else 0, INT64_MAX, draw.int64())
    out = draw.room(len(times))
    late = bool(times) and end < times[-1]
    wrong = bad_scale(scale) or target < 1 or not never_falls(times) or late
    begun = [] if wrong else planner.grid(times, scale, target, far(times, scale, target))
    column = array("q", times)
    count = refused(
        wrong or len(begun) > len(out), lambda: _segmenter.grid(column, scale, target, end, out)
    )
    if count is not None:
        assert list(out[:count]) == planner.grid(times, scale, target, end)


def follow(draw: Draw) -> None:
    scale, other_scale = draw.timescale(), draw.timescale()
    begins, frames = draw.column(1, 20), draw.column(0)
    out = draw.room(len(begins) + 1)
    wrong = bad_scale(scale, other_scale) or not rises(begins) or not never_falls(frames)
    one, other = array("q", begins), array("q", frames)
    refused(
        wrong or len(out) != len(begins) + 1,
        lambda: _segmenter.follow(one, scale, other, other_scale, out),
    )
    if not wrong and len(out) == len(begins) + 1:
        assert list(out) == planner.follow(begins, scale, frames, other_scale)


def common(draw: Draw) -> None:
    scale, other_scale = draw.timescale(), draw.timescale()
    tolerance = draw.one_of(1000, 0, 1, US, 2**62, draw.int64())
    a = draw.column(1, 20)
    # Times of their own, or the same ones in other ticks.
    b = draw.column(1, 20) if draw.byte() & 1 else moments(a, scale, other_scale, draw)
    size = min(len(a), len(b))
    out_a, out_b = draw.room(size), draw.room(size)
    wrong = bad_scale(scale, other_scale) or not rises(a) or not rises(b)
    wrong = wrong or not 0 <= tolerance <= 2**62 or len(out_a) != len(out_b)
    pairs = [] if wrong else planner.common(a, scale, b, other_scale, tolerance)
    one, other = array("q", a), array("q", b)
    count = refused(
        wrong or len(pairs) > len(out_a),
        lambda: _segmenter.common(one, scale, other, other_scale, tolerance, out_a, out_b),
    )
    if count is not None:
        assert list(zip(out_a[:count], out_b[:count], strict=True)) == pairs


def moments(times: Sequence[int], scale: int, other_scale: int, draw: Draw) -> list[int]:
    near = (pts * other_scale // max(scale, 1) + draw.byte() % 3 - 1 for pts in times)
    return [pts for pts in near if fits(pts)]


def extinf(draw: Draw) -> None:
    scale, boundaries = draw.timescale(), draw.column(0)
    out = draw.room(len(boundaries) - 1)
    wrong = bad_scale(scale) or not never_falls(boundaries) or len(out) != len(boundaries) - 1
    expected = [] if wrong else planner.extinf_us(boundaries, scale)
    column = array("q", boundaries)
    too_long = sum(expected) > INT64_MAX
    refused(wrong or too_long, lambda: _segmenter.extinf_us(column, scale, out))
    assert wrong or too_long or list(out) == expected


def bit_rates(draw: Draw) -> None:
    sizes = [draw.int64() for _ in range(draw.byte() % 16)]
    durations = [draw.int64() for _ in sizes] + [1] * draw.one_of(0, 0, 0, 1)
    if draw.byte() & 3:
        sizes = [abs(size) % 2**59 for size in sizes]
        durations = [abs(duration) % 2**59 for duration in durations]
    target = draw.one_of(1, 6, 10, draw.int64())
    wrong = len(sizes) != len(durations) or min([*sizes, *durations], default=0) < 0
    wrong = wrong or max(sum(sizes), sum(durations)) > INT64_MAX or sum(durations) == 0
    columns = array("q", sizes), array("q", durations)

    average = 0 if wrong else planner.average_bps(sizes, durations)
    given = refused(wrong or not fits(average), lambda: _segmenter.average_bps(*columns))
    assert given in (None, average)

    wrong = wrong or not 1 <= target <= 2**32 - 1
    peak = 0 if wrong else planner.peak_bps(sizes, durations, target)
    given = refused(wrong or not fits(peak), lambda: _segmenter.peak_bps(*columns, target))
    assert given in (None, peak)


# Films: written, opened, planned.


def film(draw: Draw) -> None:
    target = draw.one_of(2 * US, 6 * US, 100_000, 3600 * US, 100_000 + abs(draw.int64()) % 10**7)
    scan, format = draw.one_of(True, False), draw.one_of("fmp4", "ts")
    pictures = [] if draw.byte() & 7 == 7 else ladder(draw)
    sound = [] if draw.byte() & 3 == 3 else [frames(draw)]
    together = draw.byte() & 1
    tracks = [*pictures, *sound]
    movies = [tracks] if together else [[track] for track in tracks]
    try:
        sources = [
            pystream.open(bytes(boxes.Movie(movie)), f"film {number}")
            for number, movie in enumerate(movies)
            if movie
        ]
        opened = [(source, track) for source in sources for track in source.tracks]
        videos = [Video(*each) for each in opened if each[1].kind == "video"]
        audios = [Audio(*each) for each in opened if each[1].kind == "audio"]
    except pystream.MediaError:
        return
    for audio, anew in zip(audios, begun_anew(audios), strict=True):
        alone(audio, anew, target)
    # What the plan should say is told from the index alone only where all tracks were taken.
    if videos and len(videos) == len(pictures):
        before = [list(audio.pts) for audio in audios]
        cuts = cut(videos, audios, pictures, target, scan)
        for audio, pts in zip(audios, before, strict=True):
            if cuts is not None:
                led(audio, pts, videos, cuts, target)
        if cuts is not None:
            heard = [audio for audio in audios if audio.pts]
            for audio, anew in zip(heard, begun_anew(heard), strict=True):
                changes(audio, anew, cuts)
                beside(audio, anew, cuts, target)
    presentation(sources, format, target, scan)


def ladder(draw: Draw) -> list[boxes.Track]:
    """Up to three renditions of one film, more or less alike."""
    scale = max(1, min(abs(draw.timescale()), TIMESCALE_MAX))
    usual = draw.one_of(max(1, scale // 25), 1001, scale, 1, 2**31)
    samples, entry = [], 0
    for number in range(1 + draw.byte() % 40):
        flags = draw.byte()
        entry ^= flags & 0x0F == 0x0F
        shift = abs(draw.int64()) % 2**31 if flags & 0x10 else 0
        length = abs(draw.int64()) % 2**32 if flags & 0x20 else usual
        sync = number == 0 or flags & 3 == 3
        # The index may call a picture a key frame that is none.
        idr = sync and not flags & 0x40
        content = b"\0\0\0\2" + (b"\x65" if idr else b"\x41") + bytes([number + 1])
        samples.append(boxes.Sample(content, length, shift, sync, entry))
    first = boxes.Track("vide", scale, AVC, samples, width=160, height=90, edits=edits(draw))
    renditions = [first]
    for _ in range(draw.one_of(0, 0, 1, 2)):
        times = draw.one_of(1, 1, 2, 3)
        if scale * times > TIMESCALE_MAX:
            continue
        other = []
        for sample in samples:
            flags = draw.byte()
            sync = sample.sync != (flags & 0x0F == 0x0F)
            length, shift = sample.duration * times, sample.offset * times
            # One may end later than the first.
            length <<= flags & 0xF0 == 0xF0
            if length < 2**32 and shift < 2**31:
                other.append(replace(sample, duration=length, offset=shift, sync=sync))
        if other:
            renditions.append(replace(first, timescale=scale * times, samples=other))
    return renditions


def frames(draw: Draw) -> boxes.Track:
    scale = draw.one_of(48_000, 44_100, 1000, max(1, abs(draw.int64()) % 2**32))
    usual = draw.one_of(1024, 1, scale, 2**31)
    samples = []
    entry = 0
    for number in range(1 + draw.byte() % 60):
        flags = draw.byte()
        entry ^= flags & 0xF0 == 0xF0
        length = abs(draw.int64()) % 2**32 if flags & 0x0F == 0x0F else usual
        samples.append(boxes.Sample(bytes([0x21, number]), length, entry=entry))
    return boxes.Track("soun", scale, AAC, samples, edits=edits(draw))


def edits(draw: Draw) -> list[tuple[int, int]]:
    """None, an empty one, one that begins later, or both."""
    kind = draw.byte() & 7
    empty = [(abs(draw.int64()) % 2**40, -1)] if kind & 5 == 5 else []
    begin = abs(draw.int64()) % 2**40 if kind & 6 == 6 else 0
    return [*empty, (10**9, begin)] if kind & 4 else []


def keys(video: Video) -> tuple[list[int], list[int]]:
    """Indexes and times of the key frames that are later than each before."""
    found = video.track.keys(*video.track.shown)
    pairs: list[tuple[int, int]] = []
    for index, pts in zip(*(array("q", bytes(column)) for column in found), strict=True):
        if not pairs or pts > pairs[-1][1]:
            pairs.append((index, pts))
    return [index for index, _ in pairs], [pts for _, pts in pairs]


def cut(
    videos: list[Video],
    audios: list[Audio],
    pictures: list[boxes.Track],
    target: int,
    scan: bool,
) -> Cuts | None:
    """Where the segments of the pictures begin, checked; None where there is no plan."""
    tables = [keys(video) for video in videos]
    real = [
        {number for number, sample in enumerate(track.samples) if sample.data[4] == 0x65}
        for track in pictures
    ]
    honest = all(set(indexes) <= true for (indexes, _), true in zip(tables, real, strict=True))
    ends = [seconds(video.end_pts, video.track.timescale) for video in videos]
    apart = max(ends) - min(ends)
    # Ends are compared in floating point.
    slack = max(map(abs, ends)) / 2**50
    notices: list[pystream.Notice] = []
    try:
        cuts = cut_together(videos, audios, target, scan, notices)
    except pystream.PlanError:
        alike = apart == 0 and all(
            [seconds(pts, video.track.timescale) for pts in column]
            == [seconds(pts, videos[0].track.timescale) for pts in tables[0][1]]
            for video, (_, column) in zip(videos, tables, strict=True)
        )
        changing = any(audio.changes for audio in audios)
        assert changing or not alike or (scan and not honest), "nothing differs"
        assert changing or len(videos) > 1, "a film alone has no other to differ from"
        return None
    except pystream.UnsupportedMedia:
        assert scan, "nobody has looked at the pictures"
        assert not honest
        return None
    assert 2 * US * (apart - slack) <= target, "renditions that do not end together"
    said = {(notice.code, notice.source) for notice in notices}
    for video, column, true in zip(videos, cuts.firsts, real, strict=True):
        assert not scan or set(column) <= true, "a segment begins with what is no key frame"
        assert column[0] == video.first, "pictures that are in no segment"
        left_out = ("before-first-key-frame", video.source.name) in said
        assert left_out or video.first == video.track.shown[0]
    moments = [
        [Fraction(dict(zip(*table, strict=True))[index], video.track.timescale) for index in column]
        for table, column, video in zip(tables, cuts.firsts, videos, strict=True)
    ]
    for own in moments:
        assert all(a < b for a, b in pairwise(own))
        assert len(own) == len(moments[0])
        assert all(abs(a - b) <= Fraction(1, 1000) for a, b in zip(own, moments[0], strict=True))
    assert [seconds(pts, cuts.timescale) for pts in cuts.times] == moments[0]
    end = seconds(cuts.end_pts, cuts.timescale)
    assert 0 <= max(ends) - end + slack <= Fraction(1, cuts.timescale) + 2 * slack
    if not scan or honest:
        # The pictures are cut as well where the sound begins anew with them.
        sounds = {cuts.firsts[0][number] for audio in audios for number in audio.begins}
        assert (cuts.firsts, cuts.changes) == naive(videos, tables, sounds, target)
    times = [*moments[0], ends[0]]
    lasts([(time.numerator, time.denominator) for time in times])
    return cuts


def seconds(pts: int, timescale: int) -> Fraction:
    return Fraction(pts, timescale)


def naive(
    videos: list[Video],
    tables: list[tuple[list[int], list[int]]],
    sounds: set[int],
    target: int,
) -> tuple[list[array[int]], list[int]]:
    """Where the naive planner begins segments: at common key frames; and before which it changes.

    `sounds`: the first video's samples at which the sound's configuration changes.
    """
    changes = [{first for first, _ in video.track.config_runs} for video in videos]
    changes[0] |= sounds
    scales = [video.track.timescale for video in videos]
    shared: list[tuple[int, ...]] = [(i,) for i in range(len(tables[0][0]))]
    for number in range(1, len(videos)):
        times = [tables[0][1][group[0]] for group in shared]
        pairs = planner.common(times, scales[0], tables[number][1], scales[number], 1000)
        shared = [(*shared[i], j) for i, j in pairs]
    times = [tables[0][1][group[0]] for group in shared]
    forced = [
        int(any(t[0][i] in c for t, c, i in zip(tables, changes, group, strict=True)))
        for group in shared
    ]
    forced[0] = 0
    begins = planner.cuts(times, forced, scales[0], target, max(videos[0].end_pts, times[-1]))
    firsts = [
        array("q", [column[0][shared[i][n]] for i in begins]) for n, column in enumerate(tables)
    ]
    return firsts, [number for number, i in enumerate(begins) if forced[i]]


def led(audio: Audio, before: list[int], videos: list[Video], cuts: Cuts, lead: int) -> None:
    """Of sound before the pictures remains what is heard from `lead` microseconds before them on."""
    scale = audio.track.timescale
    # In whole microseconds, and then in whole ticks.
    slack = Fraction(2, US) + Fraction(1, scale)
    shown = seconds(cuts.times[0], cuts.timescale)
    line = shown - Fraction(lead, US)
    gone = len(before) - len(audio.pts)
    assert list(audio.pts) == before[gone:]
    assert audio.end - audio.first == len(audio.pts)
    cleared = [video for video in videos if video.first != video.track.shown[0]]
    for video in cleared:
        begin = seconds(video.key_pts[0], video.track.timescale)
        assert all(seconds(pts, scale) >= begin for pts in audio.pts)
    begins, *later = [seconds(pts, scale) for pts in [*audio.pts, audio.end_pts]]
    if gone and not cleared:
        assert begins <= line + slack, "sound is left out that is heard with the pictures"
    if cleared:
        # By as much may key frames of renditions be apart.
        assert all(seconds(pts, scale) < shown + Fraction(1, 1000) for pts in before[:gone])
    if audio.pts:
        near = begins >= shown - max(Fraction(lead, US), Fraction(1, 10)) - slack
        assert near or later[0] >= line - slack, "sound is over before the pictures begin"


def changes(audio: Audio, anew: list[int], cuts: Cuts) -> None:
    """Where the sound's configuration changes, a segment begins: of the pictures too, if there are any."""
    scale = audio.track.timescale
    beside = Fraction(140, 1000)
    assert rises([number for number, _ in sorted(audio.begins.items())])
    assert sorted(audio.begins.values()) == [frame for _, frame in sorted(audio.begins.items())]
    assert [*sorted(audio.begins.values()), *anew] == audio.changes
    for number, frame in audio.begins.items():
        assert number in cuts.changes
        shown = seconds(cuts.times[number], cuts.timescale)
        assert seconds(audio.pts[frame - 1], scale) - beside <= shown
        assert shown <= seconds(audio.pts[frame], scale) + beside
    end = seconds(cuts.end_pts, cuts.timescale)
    for frame in anew:
        begins = seconds(audio.pts[frame], scale)
        assert begins >= end - beside, "a change beside pictures that no segment begins at"
        assert begins > seconds(cuts.times[-1], cuts.timescale)


def alone(audio: Audio, anew: list[int], target: int) -> None:
    """Sound without pictures begins anew by the grid at each change."""
    assert anew == audio.changes
    bounds, numbers = audio.alone(anew, target)
    parts = [by_grid(audio, *stretch, target) for stretch in pairwise([0, *anew, len(audio.pts)])]
    continued(audio, bounds, numbers, parts)


def beside(audio: Audio, anew: list[int], cuts: Cuts, target: int) -> None:
    """Sound follows the pictures' cuts; what outlasts them goes on in segments of its own."""
    other = audio.track.timescale
    bounds, numbers = audio.following(cuts, anew, target)
    expected = planner.follow(cuts.times, cuts.timescale, audio.pts, other)[:-1]
    # Sound before the first cut is in the first segment; cuts that a change passes give way to it.
    expected[0] = 0
    for number, frame in audio.begins.items():
        expected[:number] = [min(first, frame) for first in expected[:number]]
        expected[number:] = [frame, *(max(first, frame) for first in expected[number + 1 :])]
    stop = anew[0] if anew else len(audio.pts)
    own = numbers[0] if numbers else len(bounds) - 1
    further = [bound - audio.first for bound in bounds[len(expected) : own]]
    tail = -(-cuts.end_pts * other // cuts.timescale)
    (stops,) = audio.times(array("q", [audio.first + stop]))
    longer = Fraction(stops - tail, other)
    assert bool(further) == (2 * US * longer >= target)
    if further:
        outlasts = next((i for i, pts in enumerate(audio.pts) if pts >= tail), len(audio.pts))
        assert further[0] == max(outlasts, expected[-1])
    # However long a hole is, each further segment has a frame, the first and the last aside.
    assert len(further) <= len(audio.pts) + 2
    rest = [by_grid(audio, *stretch, target) for stretch in pairwise([*anew, len(audio.pts)])]
    continued(audio, bounds, numbers, [[*expected, *further], *rest])


def by_grid(audio: Audio, begin: int, stop: int, target: int) -> list[int]:
    """First frames of the naive planner's segments between two frames."""
    end = audio.times(array("q", [audio.first + stop]))[0]
    found = planner.grid(audio.pts[begin:stop], audio.track.timescale, target, end)
    return [begin + i for i in found]


def continued(
    audio: Audio, bounds: Sequence[int], numbers: Sequence[int], parts: list[list[int]]
) -> None:
    """Segments are those of the parts, all but the first of which begin at `numbers`."""
    firsts = [audio.first + i for part in parts for i in part]
    assert list(bounds) == [*firsts, audio.end]
    assert bounds[0] == audio.first
    assert never_falls(bounds)
    assert list(numbers) == list(accumulate(map(len, parts)))[:-1]
    lasts([(time, audio.track.timescale) for time in audio.times(array("q", bounds))])


def lasts(times: list[tuple[int, int]]) -> None:
    """Printed durations sum to the whole: each cumulative time is rounded by itself."""
    exact = [Fraction(time, scale) for time, scale in times]
    finest = min(lcm(*(scale for _, scale in times)), 10**9)
    try:
        printed = durations_us([(array("q", [time]), scale) for time, scale in times])
    except pystream.LimitExceeded:
        far_off = max(abs(time) * max(finest, US) for time in exact) >= 2**62
        # EXT-X-TARGETDURATION is 32 bits here.
        too_long = max(end - begin for begin, end in pairwise(exact)) > 2**32 - 1
        assert far_off or too_long, "times that can be told"
        return
    # Ticks of a nanosecond, where no common one is as coarse, are off by half of one.
    slack = 0 if all((time * finest).denominator == 1 for time in exact) else 1
    for end, until in zip(exact[1:], accumulate(printed), strict=True):
        wanted = floor((end - exact[0]) * US + Fraction(1, 2))
        assert abs(until - wanted) <= slack, f"{until} for {wanted}"
    assert min(printed) >= 0


def presentation(sources: list[pystream.Input], format: str, target: int, scan: bool) -> None:
    """The whole plan: playlists that say what the renditions do."""
    try:
        whole = pystream.plan(sources, format=format, segment_duration=target / US, scan=scan)
    except pystream.PystreamError:
        return
    assert not (whole.independent and not scan and any(r.kind == "video" for r in whole.renditions))
    for rendition in whole.renditions:
        durations = list(rendition.durations_us)
        assert len(rendition) == len(durations) == len(rendition.lengths()) > 0
        assert min(durations) >= 0
        assert whole.target_duration >= max((us + US // 2) // US for us in durations)
        text = whole.media_playlist(rendition).text()
        again = playlist.parse(text)
        assert isinstance(again, playlist.MediaPlaylist)
        assert [segment.duration_us for segment in again.segments] == durations
    if all(sum(rendition.durations_us) for rendition in whole.renditions):
        assert playlist.parse(whole.multivariant_playlist().text())


LOOKS: list[Callable[[Draw], None]] = [
    cuts, grid, follow, common, extinf, bit_rates, film, film, film, film,
]  # fmt: skip
