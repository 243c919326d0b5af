"""Where segments begin, in all renditions together.

Video cuts, audio follows. A grid of target times k x T lies on the presentation time line, and a
segment begins with the first key frame at or after each grid time, so renditions with the same key
frames get the same segments without talking to each other; where their key frames differ, the
common ones count. A new decoder configuration cuts as well. The loops are in `_segmenter`.

A decoder configuration that changes, in whichever track, is a discontinuity in every playlist, and
matching content has to have matching Discontinuity Sequence Numbers (RFC 8216 4.3.2.3, 6.2.4). So
where the sound's changes, the pictures are cut too, and since only a key frame can begin a segment
of pictures, one has to stand beside the change. The sound's segment begins with the first frame
under the new configuration, which in files put together of others often lies a little before the
key frame: what an encoder puts before the sound proper is decoded and not heard. Where there are no
pictures, any frame may begin a segment, and the other tracks of sound are cut at the same moment.
"""

from __future__ import annotations

from array import array

from pystream import _segmenter
from pystream.errors import LimitExceeded, PlanError, UnsupportedMedia
from pystream.model import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pystream._core import Column, Track
    from pystream.packager.source import Input

_US = 1_000_000
# Renditions whose time scales cannot express each other's times differ by less than this.
_SAME_MOMENT_US = 1_000
# No EXT-X-TARGETDURATION is larger.
_LONGEST_US = 0xFFFF_FFFF * _US
# How far a change of the sound's decoder configuration may be from a key frame: by a frame of the
# lowest rate there is (1024 samples at 7350 Hz), or by what encoders put before the sound proper
# (2112 samples and more, 48 ms at 44.1 kHz).
_BESIDE_US = 140_000
# By how much sound may begin before the pictures and still begin with them.
_TOGETHER_US = 100_000
# More ticks a second than this are no help to anybody, and their products no longer fit 64 bits.
_FINEST = 1_000_000_000


def column(values: Column) -> array[int]:
    """A column of the core as an array of 64-bit integers, copied once."""
    copy = array("q")
    copy.frombytes(memoryview(values).cast("B"))
    return copy


def place(track: Track, index: int) -> int:
    """Where sample `index` lies in the source."""
    (offset,) = column(track.offsets(index, index + 1))
    return offset


def zeros(count: int) -> array[int]:
    """A column to be written to."""
    return array("q", [0]) * count


def picked(
    values: array[int] | memoryview, indexes: array[int], first: int = 0, beyond: int = 0
) -> array[int]:
    """The values of a column at indexes that never fall, of which `first` is that of its first value;
    `beyond` at those behind its last."""
    out = zeros(len(indexes))
    _segmenter.pick(values, indexes, first, beyond, out)
    return out


class Video:
    """A video track and its key frames."""

    def __init__(self, source: Input, track: Track) -> None:
        self.source = source
        self.track = track
        self.first, self.end = track.shown
        indexes, times = track.keys(self.first, self.end)
        self.keys, self.key_pts = _rising(column(indexes), column(times))
        # Composition offsets that lie may end the track before its last key frame.
        self.end_pts = max(track.end_pts(self.first, self.end), self.key_pts[-1])
        self.forced = self._forced()
        self.checked = False
        self.independent = False

    def _forced(self) -> bytearray:
        """Marks the key frames at which the decoder configuration changes."""
        forced = bytearray(len(self.keys))
        for first, _ in self.track.config_runs:
            if not self.first < first < self.end:
                continue
            position = below(self.keys, first)
            if self.keys[position : position + 1] != array("q", [first]):
                raise UnsupportedMedia(
                    f"{self.source.name}: track {self.track.id} changes its decoder configuration at"
                    f" sample {first}, which is no key frame: no segment can begin there",
                    place(self.track, first),
                )
            forced[position] = 1
        return forced

    def lost(self, positions: array[int]) -> int | None:
        """The first key frame that a segment has to begin with and that is not among `positions`."""
        for i in _marked(self.forced):
            at = below(positions, i)
            if at == len(positions) or positions[at] != i:
                return i
        return None

    def keep(self, positions: array[int]) -> None:
        """Leaves only the key frames at `positions`, which rise.

        Raises `PlanError` where a segment has to begin at one of the others.
        """
        if len(positions) == len(self.keys):
            return
        lost = self.lost(positions)
        if lost is not None:
            raise PlanError(
                f"{self.source.name} changes its decoder configuration at"
                f" {self.key_pts[lost] / self.track.timescale:.3f} s, where another rendition"
                " has no key frame: no segment can begin there in all of them"
            )
        self.keys = picked(self.keys, positions)
        self.key_pts = picked(self.key_pts, positions)
        forced = bytearray(len(positions))
        for i in _marked(self.forced):
            forced[below(positions, i)] = 1
        self.forced = forced

    def cuts(self, target_us: int, forced: bytearray | None = None) -> array[int]:
        """Positions in `keys` at which segments begin."""
        out = zeros(len(self.keys))
        count = _segmenter.cuts(
            self.key_pts,
            forced or self.forced,
            self.track.timescale,
            target_us,
            max(self.end_pts, self.key_pts[-1]),
            out,
        )
        return out[:count]

    def longest(self, cuts: array[int]) -> float:
        """Seconds of the longest segment between cuts."""
        times = picked(self.key_pts, cuts)
        return _segmenter.longest(times, self.end_pts) / self.track.timescale

    def left_out(self) -> Notice:
        """Says what lies before the first real key frame, and cannot be shown."""
        count = self.first - self.track.shown[0]
        begins = self.key_pts[0] / self.track.timescale
        return Notice(
            "before-first-key-frame",
            f"{count} pictures of track {self.track.id} before its first key frame, at {begins:.3f} s,"
            " are left out, and the sound beside them",
            self.source.name,
        )

    def check(self, cuts: array[int]) -> bool:
        """Reads what the key frames at the cuts really are.

        Where one is no key frame, the file's word is worth nothing: then all are read, those that
        are none are dropped, and the answer is False.
        """
        kinds = self.track.picture_kinds(picked(self.keys, cuts))
        if "other" in kinds:
            real = self._real()
            if not real or self.lost(real) is not None:
                raise UnsupportedMedia(
                    f"{self.source.name}: track {self.track.id} has no key frame where a segment has"
                    " to begin: what the index calls key frames are none",
                    place(self.track, self.keys[cuts[kinds.index("other")]]),
                )
            self.keep(real)
            self.first = self.keys[0]
            # What the muxers mark as random access points follows from it.
            self.track = self.track.with_keys(self.keys)
            return False
        self.checked = True
        self.independent = "recovery" not in kinds
        return True

    def _real(self) -> array[int]:
        """Positions of the key frames that are some."""
        bits = self.track.check_keys(self.first, self.end)
        first = self.first
        return array(
            "q",
            (
                i
                for i, key in enumerate(self.keys)
                if bits[(key - first) >> 3] >> (key - first & 7) & 1
            ),
        )


def _rising(keys: array[int], pts: array[int]) -> tuple[array[int], array[int]]:
    """Without key frames that are shown no later than one before them: no cut can be there."""
    count = _segmenter.rising(keys, pts, keys, pts)
    del keys[count:], pts[count:]
    return keys, pts


class Cuts:
    """Where the segments of all videos begin: as many in each, at the same moments.

    `firsts`: for each video, the first sample of each segment; `begins`: when they are shown, in
    ticks of each video's own; `times`: the same of the first video, in ticks of `timescale`;
    `end_pts`: when the last of the videos ends, likewise; `changes`: the segments before which a
    decoder configuration changes, in whichever track.
    """

    def __init__(self, videos: Sequence[Video], positions: array[int], forced: bytearray) -> None:
        self.firsts = [picked(video.keys, positions) for video in videos]
        self.begins = [picked(video.key_pts, positions) for video in videos]
        self.times = self.begins[0]
        self.timescale = videos[0].track.timescale
        self.end_pts = _end_of_all(videos)
        self.changes = [below(positions, i) for i in _marked(forced) if i > positions[0]]


def _end_of_all(videos: Sequence[Video]) -> int:
    """When the last of the videos ends, ticks of the first one's time scale."""
    last = max(videos, key=lambda video: video.end_pts / video.track.timescale)
    return last.end_pts * videos[0].track.timescale // last.track.timescale


def cut_together(
    videos: Sequence[Video],
    audios: Sequence[Audio],
    target_us: int,
    scan: bool,
    notices: list[Notice],
) -> Cuts:
    """Cuts that all videos have in common, with one wherever a configuration changes.

    Sound beside pictures that cannot be shown is left out, and so is what comes more than `target_us`
    before the first picture. Raises `PlanError` with the times that differ where renditions do not
    end together, or key frames are too far from common, or from a change of the sound's
    configuration.
    """
    _check_ends(videos, target_us, notices)
    longest_alone = max(video.longest(video.cuts(target_us)) for video in videos)
    before = [video.key_pts for video in videos]
    while True:
        for video in videos:
            if video.first != video.track.shown[0]:
                for audio in audios:
                    audio.begin_at(video.key_pts[0], video.track.timescale)
        _keep_common(videos)
        for audio in audios:
            audio.lead(videos[0].key_pts[0], videos[0].track.timescale, target_us)
        forced = videos[0].forced[:]
        for position in (i for video in videos[1:] for i in _marked(video.forced)):
            forced[position] = 1
        places = []
        for audio in audios:
            places.append(audio.places(videos, forced))
            for position in places[-1]:
                forced[position] = 1
        cuts = videos[0].cuts(target_us, forced)
        if not scan:
            break
        # Every rendition is read, not only those up to the first that fails.
        checked = [video.check(cuts) for video in videos]
        if all(checked):
            break
        # What the index called key frames is no measure of how far apart they are.
        longest_alone = max(video.longest(video.cuts(target_us)) for video in videos)
        before = [video.key_pts for video in videos]
    longest = videos[0].longest(cuts)
    if longest > longest_alone + _SAME_MOMENT_US / _US:
        differ = _differences(videos, before)
        if longest * _US > 2 * target_us:
            raise PlanError(
                f"the renditions have too few key frames in common: a segment would last {longest:.3f} s."
                f" {differ}. Encode all renditions with the same key-frame times (a fixed, closed GOP)."
            )
        notices.append(Notice("uneven-ladder", f"segments up to {longest:.3f} s: {differ}"))
    if longest * _US > 2 * target_us:
        notices.append(
            Notice(
                "long-segment",
                f"key frames are far apart: the longest segment lasts {longest:.3f} s,"
                f" the target was {target_us / _US:g} s",
                videos[0].source.name,
            )
        )
    for video in videos:
        if video.first != video.track.shown[0]:
            notices.append(video.left_out())
        if video.checked and not video.independent:
            notices.append(
                Notice(
                    "open-gop",
                    "some segments begin with a recovery point instead of an IDR picture (open GOP):"
                    " switching renditions there shows a few damaged pictures,"
                    " and INDEPENDENT-SEGMENTS is not claimed",
                    video.source.name,
                )
            )
    notices += [audio.left_out() for audio in audios if audio.led and audio.pts]
    for audio, mine in zip(audios, places, strict=True):
        audio.begins = {below(cuts, position): frame for position, frame in mine.items()}
    return Cuts(videos, cuts, forced)


def _check_ends(videos: Sequence[Video], target_us: int, notices: list[Notice]) -> None:
    """Raises `PlanError` where renditions do not show the same stretch of film."""
    ends = [video.end_pts / video.track.timescale for video in videos]
    short, long = (videos[ends.index(end)].source.name for end in (min(ends), max(ends)))
    differ = f"{short} ends at {min(ends):.3f} s, {long} at {max(ends):.3f} s"
    apart_us = (max(ends) - min(ends)) * _US
    if 2 * apart_us > target_us:
        raise PlanError(
            f"{differ}: renditions have to show the whole film. Encode all of them from the same"
            " beginning to the same end."
        )
    if apart_us > _TOGETHER_US:
        notices.append(Notice("uneven-end", differ))


def _keep_common(videos: Sequence[Video]) -> None:
    first, *others = videos
    for other in others:
        size = min(len(first.keys), len(other.keys))
        mine, its = zeros(size), zeros(size)
        count = _segmenter.common(
            first.key_pts,
            first.track.timescale,
            other.key_pts,
            other.track.timescale,
            _SAME_MOMENT_US,
            mine,
            its,
        )
        if count == 0:
            raise PlanError(
                "two renditions have no key frame in common: "
                + _differences([first, other], [first.key_pts, other.key_pts])
            )
        first.keep(mine[:count])
        # Those before must go on to agree with the first.
        for video in videos[1 : videos.index(other)]:
            video.keep(mine[:count])
        other.keep(its[:count])
    # A rendition that begins with key frames of its own would leave them out.
    for video in videos:
        if video.keys[0] != video.first and any(other is not video for other in videos):
            raise PlanError(
                f"{video.source.name} begins before its first key frame that all renditions share, at"
                f" {video.key_pts[0] / video.track.timescale:.3f} s: renditions have to begin together"
            )


def _differences(videos: Sequence[Video], before: Sequence[array[int]]) -> str:
    """The first key-frame times of each rendition that not all have, though none has ended."""
    end = min(video.end_pts * 1000 / video.track.timescale for video in videos)
    times = [
        [ms for pts in column if (ms := round(pts * 1000 / video.track.timescale)) < end]
        for video, column in zip(videos, before, strict=True)
    ]
    shared = set(times[0]).intersection(*times[1:])
    parts = []
    for video, own in zip(videos, times, strict=True):
        alone = [f"{time / 1000:.3f}" for time in own if time not in shared][:4]
        if alone:
            parts.append(f"only {video.source.name} has key frames at {', '.join(alone)} s")
    return "; ".join(parts) or "key frames differ"


class Audio:
    """An audio track and its frames.

    `pts`: of the frames that are carried; everything else counts frames from the first of them.
    `changes`: the frames with which another decoder configuration begins; `begins`: `{segment:
    frame}` for those at which the pictures are cut too.
    """

    def __init__(self, source: Input, track: Track) -> None:
        self.source = source
        self.track = track
        self.first, self.end = track.shown
        self.pts = memoryview(track.pts(self.first, self.end))
        self.end_pts = max(track.end_pts(self.first, self.end), self.pts[-1])
        self.begins: dict[int, int] = {}
        # Frames that come too long before the pictures, and the seconds they last.
        self.led = 0
        self.led_seconds = 0.0
        runs = [first - self.first for first, _ in track.config_runs]
        self.changes = [frame for frame in runs if 0 < frame < len(self.pts)]
        # A frame that is over at zero is there for the decoder to begin with, but not for one that
        # is set up anew after it.
        self._drop(max((frame for frame in self.changes if self.pts[frame] <= 0), default=0))

    def begin_at(self, pts: int, timescale: int) -> None:
        """Leaves out frames before a time."""
        self._drop(self._frame_at(pts, timescale))

    def lead(self, pts: int, timescale: int, most_us: int) -> None:
        """Leaves out frames that are over by `most_us` before the first picture's time.

        What lasts a moment is as good as together: encoders begin with a frame or two.
        """
        picture_us = pts * _US // timescale
        begin_us = picture_us - max(most_us, _TOGETHER_US)
        if not self.pts or self.pts[0] * _US // self.track.timescale >= begin_us:
            return
        # The frame that is heard at that time stays.
        line = (picture_us - most_us) * self.track.timescale // _US
        kept = below(self.pts, line + 1) - 1 if line < self.end_pts else len(self.pts)
        begins = self._time(kept)
        self.led_seconds += (begins - self.pts[0]) / self.track.timescale
        self.led += kept
        self._drop(kept)

    def left_out(self) -> Notice:
        """Says what of the sound came before the pictures, and is not there any more."""
        return Notice(
            "audio-before-video",
            f"track {self.track.id}: {self.led} frames ({self.led_seconds:.3f} s) of sound before the"
            " first picture are left out: players would not keep them together",
            self.source.name,
        )

    def _drop(self, count: int) -> None:
        if count == 0:
            return
        self.first += count
        self.pts = self.pts[count:]
        self.changes = [frame - count for frame in self.changes if frame > count]

    def _frame_at(self, pts: int, timescale: int) -> int:
        """The first frame at or after a time; their number if there is none."""
        return below(self.pts, -(-pts * self.track.timescale // timescale))

    def _time(self, frame: int) -> int:
        return self.pts[frame] if frame < len(self.pts) else self.end_pts

    def times(self, bounds: array[int]) -> array[int]:
        """When the samples at bounds that never fall begin, or the last one ends; ticks."""
        return picked(self.pts, bounds, self.first, self.end_pts)

    def late(self, cuts: Cuts) -> float:
        """Seconds from the first picture to the first frame, where the first segment has none."""
        if len(cuts.times) == 1 or self._frame_at(cuts.times[1], cuts.timescale):
            return 0.0
        return self.pts[0] / self.track.timescale - cuts.times[0] / cuts.timescale

    def places(self, videos: Sequence[Video], forced: bytearray) -> dict[int, int]:
        """`{position in the videos' common keys: frame}`: where changes cut the pictures.

        A key frame serves if what is heard under either configuration is no farther than
        `_BESIDE_US` on the wrong side of it; in a hole of the sound, any does. Best is one that is
        `forced` already, then one with nothing on the wrong side, then the nearest. Changes that
        are left come when the pictures are over.

        Raises `PlanError` where no key frame serves.
        """
        keys, timescale, scale = videos[0].key_pts, videos[0].track.timescale, self.track.timescale
        beside = _BESIDE_US * timescale * scale // _US
        end = _end_of_all(videos) * scale
        over = max(end - beside, keys[-1] * scale + 1)
        marks = [*_marked(forced)]
        found: dict[int, int] = {}
        taken = 0
        for frame in self.changes:
            ends, begins = self.pts[frame - 1] * timescale, self.pts[frame] * timescale
            if begins >= end:
                break
            first = max(below(keys, -((beside - ends) // scale)), taken + 1)
            serving = range(first, below(keys, (begins + beside) // scale + 1))
            after = below(keys, begins // scale + 1)
            if serving:
                # The nearest ones on either side: a file that lies may have any number of both.
                at = below(marks, max(first, after))
                nearest = (first, after - 1, after, *marks[max(at - 1, 0) : at + 1])
                taken = min(
                    (i for i in nearest if i in serving),
                    key=lambda i: (
                        not forced[i],
                        not ends < keys[i] * scale <= begins,
                        abs(keys[i] * scale - begins),
                    ),
                )
                found[taken] = frame
            elif begins >= over:
                break
            else:
                times = [f"{pts / timescale:.3f}" for pts in keys[max(after - 1, 0) : after + 1]]
                raise PlanError(
                    f"{self.source.name}: audio track {self.track.id} changes its decoder"
                    f" configuration at {self.pts[frame] / scale:.3f} s, where no segment can begin:"
                    f" the key frames beside it are at {' and '.join(times)} s. Encode the sound with"
                    " one configuration, or the pictures with a key frame there."
                )
        return found

    def following(
        self, cuts: Cuts, anew: Sequence[int], target_us: int
    ) -> tuple[array[int], list[int]]:
        """Bounds of segments that follow a video's cuts, and which of them begin at `anew`.

        Sound that lasts at least half a segment longer than the picture goes on in segments of its
        own. Sound before the first cut belongs to the first segment.
        """
        scale = self.track.timescale
        out = zeros(len(cuts.times) + 1)
        _segmenter.follow(cuts.times, cuts.timescale, self.pts, scale, out)
        firsts = out[: len(cuts.times)]
        firsts[0] = 0
        # Where a change passes a cut, the cut gives way.
        least, most = 0, len(self.pts)
        for number in range(len(firsts) if self.begins else 0):
            least = self.begins.get(number, least)
            firsts[number] = least if number in self.begins else max(least, firsts[number])
        for number in range(len(firsts) - 1 if self.begins else 0, 0, -1):
            most = self.begins.get(number, most)
            firsts[number] = min(most, firsts[number])
        stop = anew[0] if anew else len(self.pts)
        line = -(-cuts.end_pts * scale // cuts.timescale)
        while 2 * _US * (self._time(stop) - line) >= target_us * scale:
            at = self._frame_at(line, scale)
            firsts.append(at)
            # The next grid line, at least half a segment away; behind a hole of any length, the
            # first one after a frame, since there may be far more lines than frames.
            sounds = max(line, self._time(min(at, stop)))
            k = (2 * _US * sounds + target_us * scale) // (2 * target_us * scale) + 1
            line = -(-k * target_us * scale // _US)
        return self._anew(firsts, anew, target_us)

    def alone(self, anew: Sequence[int], target_us: int) -> tuple[array[int], list[int]]:
        """Bounds of segments that follow the grid, and which of them begin at `anew`."""
        stop = anew[0] if anew else len(self.pts)
        return self._anew(self._grid(0, stop, target_us), anew, target_us)

    def _anew(
        self, firsts: array[int], anew: Sequence[int], target_us: int
    ) -> tuple[array[int], list[int]]:
        """Goes on by the grid from each frame of `anew`. Without a frame there is no segment."""
        numbers = []
        for frame, stop in zip(anew, [*anew[1:], len(self.pts)], strict=False):
            numbers.append(len(firsts))
            firsts += self._grid(frame, stop, target_us)
        _segmenter.shift(firsts, self.first)
        firsts.append(self.end)
        return firsts, numbers

    def _grid(self, begin: int, stop: int, target_us: int) -> array[int]:
        """First frames of segments between two frames, the first one and those on grid lines."""
        if begin == stop:
            return array("q")
        span, scale = self.pts[stop - 1] - self.pts[begin], self.track.timescale
        # No more than there are lines, at either end another one, and the first.
        out = zeros(min(stop - begin, max(span, 0) * _US // (target_us * scale) + 3))
        end_pts = max(self._time(stop), self.pts[stop - 1])
        firsts = out[: _segmenter.grid(self.pts[begin:stop], scale, target_us, end_pts, out)]
        _segmenter.shift(firsts, begin)
        return firsts


def begun_anew(audios: Sequence[Audio]) -> list[list[int]]:
    """For each audio, its first frame at each moment at which any of them changes without pictures.

    Changes of different tracks within `_BESIDE_US` are one moment.
    """
    found: list[tuple[int, int, dict[int, int]]] = []
    order = sorted(
        (audio.pts[frame] * _US // audio.track.timescale, index, frame)
        for index, audio in enumerate(audios)
        for frame in {*audio.changes}.difference(audio.begins.values())
    )
    for time_us, index, frame in order:
        if found and time_us - found[-1][0] <= _BESIDE_US and index not in found[-1][2]:
            found[-1][2][index] = frame
        else:
            found.append((time_us, index, {index: frame}))
    moments: list[list[int]] = []
    for index, audio in enumerate(audios):
        last = max(audio.begins.values(), default=0)
        moments.append([])
        for _, leader, own in found:
            begin = audios[leader].pts[own[leader]]
            frame = own.get(index, audio._frame_at(begin, audios[leader].track.timescale))
            last = max(last, frame)
            moments[-1].append(last)
    return moments


def _marked(marks: bytearray) -> Iterator[int]:
    """Positions of the ones."""
    at = -1
    while (at := marks.find(1, at + 1)) >= 0:
        yield at


def below(column: Sequence[int], value: int) -> int:
    """How many values of a column that never falls are below one. (`bisect` takes time to load.)"""
    low, high = 0, len(column)
    while low < high:
        middle = (low + high) // 2
        if column[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


def durations_us(
    times: Sequence[tuple[array[int], int]], kept: array[int] | None = None
) -> array[int]:
    """EXTINF of the segments between times, microseconds.

    `times`: one after the other, runs of ticks and their timescale; `kept`: the segments that there
    are, of which each lasts to the next one's begin, and the first from the first time on.
    """
    common = 1
    for scale in {scale for run, scale in times if run}:
        # The least common multiple. `math` is a library of its own to load, for this alone.
        common, rest = common * scale, common
        while scale:
            rest, scale = scale, rest % scale
        common //= rest
    common = min(common, _FINEST)
    bounds = array("q")
    try:
        for run, scale in times:
            ticks = zeros(len(run))
            _segmenter.ticks(run, scale, common, ticks)
            bounds += ticks
        if kept is not None:
            bounds = picked(bounds, array("q", [0]) + kept[1:] + array("q", [len(bounds) - 1]))
        out = zeros(len(bounds) - 1)
        _segmenter.extinf_us(bounds, common, out)
    except ValueError as error:
        raise LimitExceeded("times too far from the presentation's zero to be told") from error
    longest = _segmenter.largest(out)
    if longest > _LONGEST_US:
        raise LimitExceeded(
            f"a segment would last {longest // _US} s, more than a playlist can say"
        )
    return out
