"""Where segments begin, in all renditions together.

Video cuts, audio follows. A grid of target times k x T lies on the presentation time line, and a
segment begins with the first key frame at or after each grid time, so renditions with the same key
frames get the same segments without talking to each other; where their key frames differ, the
common ones count. A new decoder configuration cuts as well. The loops are in `_segmenter`.
"""

from __future__ import annotations

from array import array

from pystream import _segmenter
from pystream.errors import LimitExceeded, PlanError, UnsupportedMedia
from pystream.model import Notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystream._core import Column, Track
    from pystream.packager.source import Input

_US = 1_000_000
# Renditions whose time scales cannot express each other's times differ by less than this.
_SAME_MOMENT_US = 1_000
# More ticks a second than this are no help to anybody, and their products no longer fit 64 bits.
_FINEST = 1_000_000_000


def column(values: Column) -> array[int]:
    """A column of the core as an array of 64-bit integers, copied."""
    return array("q", bytes(values))


def zeros(count: int) -> array[int]:
    """A column to be written to."""
    return array("q", bytes(8 * count))


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
        place = {index: position for position, index in enumerate(self.keys)}
        for first, _ in self.track.config_runs:
            if not self.first < first < self.end:
                continue
            if first not in place:
                raise UnsupportedMedia(
                    f"{self.source.name}: track {self.track.id} changes its decoder configuration at"
                    f" sample {first}, which is no key frame: no segment can begin there"
                )
            forced[place[first]] = 1
        return forced

    def keep(self, positions: Iterable[int]) -> None:
        """Leaves only the key frames at `positions`.

        Raises `PlanError` where a segment has to begin at one of the others.
        """
        positions = list(positions)
        lost = {i for i, forced in enumerate(self.forced) if forced}.difference(positions)
        if lost:
            raise PlanError(
                f"{self.source.name} changes its decoder configuration at"
                f" {self.key_pts[min(lost)] / self.track.timescale:.3f} s, where another rendition"
                " has no key frame: no segment can begin there in all of them"
            )
        self.keys = array("q", [self.keys[i] for i in positions])
        self.key_pts = array("q", [self.key_pts[i] for i in positions])
        self.forced = bytearray(self.forced[i] for i in positions)

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

    def longest(self, cuts: Sequence[int]) -> float:
        """Seconds of the longest segment between cuts."""
        times = [self.key_pts[i] for i in cuts] + [self.end_pts]
        return max(b - a for a, b in zip(times, times[1:], strict=False)) / self.track.timescale

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

    def check(self, cuts: Sequence[int]) -> bool:
        """Reads what the key frames at the cuts really are.

        Where one is no key frame, the file's word is worth nothing: then all are read, those that
        are none are dropped, and the answer is False.
        """
        kinds = [self.track.picture_kind(self.keys[i]) for i in cuts]
        if "other" in kinds:
            every = [self.track.picture_kind(index) for index in self.keys]
            real = [i for i, kind in enumerate(every) if kind != "other"]
            if not real or any(self.forced[i] for i in set(range(len(every))).difference(real)):
                raise UnsupportedMedia(
                    f"{self.source.name}: track {self.track.id} has no key frame where a segment has"
                    " to begin: what the index calls key frames are none"
                )
            self.keep(real)
            self.first = self.keys[0]
            # What the muxers mark as random access points follows from it.
            self.track = self.track.with_keys(list(self.keys))
            return False
        self.checked = True
        self.independent = "recovery" not in kinds
        return True


def _rising(keys: array[int], pts: array[int]) -> tuple[array[int], array[int]]:
    """Without key frames that are shown no later than one before them: no cut can be there."""
    if all(a < b for a, b in zip(pts, pts[1:], strict=False)):
        return keys, pts
    kept_keys, kept_pts = array("q"), array("q")
    for key, time in zip(keys, pts, strict=True):
        if not kept_pts or time > kept_pts[-1]:
            kept_keys.append(key)
            kept_pts.append(time)
    return kept_keys, kept_pts


def cut_together(
    videos: Sequence[Video], target_us: int, scan: bool, notices: list[Notice]
) -> list[array[int]]:
    """The samples at which each video's segments begin: as many in each, at the same moments.

    Raises `PlanError` with the times that differ where the key frames are too far from common.
    """
    longest_alone = max(video.longest(video.cuts(target_us)) for video in videos)
    before = [video.key_pts[:] for video in videos]
    while True:
        _keep_common(videos)
        forced = bytearray(map(any, zip(*(video.forced for video in videos), strict=True)))
        cuts = videos[0].cuts(target_us, forced)
        if not scan:
            break
        # Every rendition is read, not only those up to the first that fails.
        checked = [video.check(cuts) for video in videos]
        if all(checked):
            break
        # What the index called key frames is no measure of how far apart they are.
        longest_alone = max(video.longest(video.cuts(target_us)) for video in videos)
        before = [video.key_pts[:] for video in videos]
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
    return [array("q", [video.keys[i] for i in cuts]) for video in videos]


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
    """The first key-frame times of each rendition that not all have."""
    times = [
        [round(pts * 1000 / video.track.timescale) for pts in column]
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
    """An audio track and its frames."""

    def __init__(self, source: Input, track: Track) -> None:
        self.source = source
        self.track = track
        self.first, self.end = track.shown
        self.pts = column(track.pts(self.first, self.end))
        self.end_pts = max(track.end_pts(self.first, self.end), self.pts[-1])
        if any(self.first < first < self.end for first, _ in track.config_runs):
            raise UnsupportedMedia(
                f"{source.name}: audio track {track.id} changes its decoder configuration"
                f" {len(track.config_runs) - 1} times: re-encode it with one"
            )

    def begin_at(self, pts: int, timescale: int) -> None:
        """Leaves out frames before a time."""
        start = self._frame_at(pts, timescale)
        self.first += start
        self.pts = self.pts[start:]

    def _frame_at(self, pts: int, timescale: int) -> int:
        """The first frame at or after a time; their number if there is none."""
        found = zeros(2)
        _segmenter.follow(array("q", [pts]), timescale, self.pts, self.track.timescale, found)
        return found[0]

    def alone(self, target_us: int) -> array[int]:
        """Bounds of segments that follow the grid, where there is no video."""
        out = zeros(len(self.pts))
        count = _segmenter.grid(
            self.pts, self.track.timescale, target_us, max(self.end_pts, self.pts[-1]), out
        )
        return self._bounds(out[:count])

    def following(
        self, cut_pts: array[int], timescale: int, end_pts: int, target_us: int
    ) -> array[int]:
        """Bounds of segments that follow a video's cuts.

        Sound that lasts at least half a segment longer than the picture goes on in segments of its
        own. Sound before the first cut belongs to the first segment.
        """
        scale = self.track.timescale
        out = zeros(len(cut_pts) + 1)
        _segmenter.follow(cut_pts, timescale, self.pts, scale, out)
        firsts = out[: len(cut_pts)]
        firsts[0] = 0
        tail = -(-end_pts * scale // timescale)
        extra, line = [], tail
        while 2 * _US * (self.end_pts - line) >= target_us * scale:
            extra.append(line)
            # The next grid line, at least half a segment away; behind a hole of any length, the
            # first one after a frame, since there may be far more lines than frames.
            at = self._frame_at(line, scale)
            sounds = max(line, self.pts[at]) if at < len(self.pts) else self.end_pts
            k = (2 * _US * sounds + target_us * scale) // (2 * target_us * scale) + 1
            line = -(-k * target_us * scale // _US)
        if extra:
            more = zeros(len(extra) + 1)
            _segmenter.follow(array("q", extra), scale, self.pts, scale, more)
            firsts.extend(more[: len(extra)])
        return self._bounds(firsts)

    def _bounds(self, firsts: array[int]) -> array[int]:
        return array("q", [*(self.first + i for i in firsts), self.end])

    def time(self, bound: int) -> int:
        """When the frame at `bound` begins, or the last one ends; ticks."""
        return self.end_pts if bound >= self.end else self.pts[bound - self.first]


def durations_us(times: Sequence[tuple[int, int]]) -> array[int]:
    """EXTINF of the segments between `(ticks, timescale)` times, microseconds."""
    common = 1
    for scale in {scale for _, scale in times}:
        # The least common multiple. `math` is a library of its own to load, for this alone.
        common, rest = common * scale, common
        while scale:
            rest, scale = scale, rest % scale
        common //= rest
    common = min(common, _FINEST)
    out = zeros(len(times) - 1)
    try:
        ticks = array("q", [(2 * time * common + scale) // (2 * scale) for time, scale in times])
        _segmenter.extinf_us(ticks, common, out)
    except (OverflowError, ValueError) as error:
        raise LimitExceeded("times too far from the presentation's zero to be told") from error
    return out
