"""Packaged units against the sources' samples, and the time they take against EXTINF.

A source track is a candidate for a stream as long as every unit equals its next sample; a stream
without candidates is wrong, and so is one whose candidates end too early. Times may differ from
the source's by one shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pystream.packager.verify.elementary import same_nals, split_nals
from pystream.packager.verify.report import VerifyError
from pystream.packager.verify.source import Entry, Track

TICK = 1 / 90_000
# A time stamp is rounded to a tick once in the stream's first unit and once in this one.
TIME_TOLERANCE = 1.01 * TICK
# Two streams, each rounded so.
SHIFT_TOLERANCE = 2.02 * TICK
# What sums of EXTINF, in microseconds, may miss by where a segment begins with a picture.
EXTINF_TOLERANCE = 1.1 * TICK + 0.000_001
# How far from the pictures' cut another decoder configuration of the sound may begin, where it is
# what cuts: only a key frame can begin a segment of pictures.
CHANGE_TOLERANCE = 0.14
# By how much streams may begin apart without the first EXTINF counting it.
LEAD_TOLERANCE = 0.1


@dataclass(slots=True)
class Unit:
    """An access unit, or an AAC frame. `nals` for pictures, `data` for what a source sample holds
    as it is; `config` is the fragment's decoder configuration or the frame's ADTS header."""

    stream: int
    kind: str
    pts: float
    dts: float
    data: bytes
    nals: list[bytes]
    config: bytes
    key: bool | None
    nal_size: int = 4
    # How far its time may be off because no time stamp says it.
    slack: float = 0.0

    @property
    def idr(self) -> bool:
        return any(nal[0] & 31 == 5 for nal in self.nals if nal)


@dataclass(slots=True)
class _Candidate:
    """`shift`: of presentation times; `decoded`: of decoding times, which may lie earlier."""

    track: Track
    next: int
    shift: float = 0.0
    decoded: float = 0.0


class Stream:
    """One elementary stream of one playlist, and the source tracks that it may be."""

    def __init__(self, kind: str, tracks: list[Track], lenient: bool) -> None:
        self.kind = kind
        self.lenient = lenient
        self.count = 0
        self.end = 0.0
        self.last_dts = float("-inf")
        self.config: tuple[str, bytes] | None = None
        self._used: list[Entry] = []
        self.number = 0
        self.candidates = [
            _Candidate(track, start)
            for track in tracks
            if track.kind == kind
            for start in track.starts
        ]

    def feed(self, where: str, unit: Unit, number: int) -> None:
        """Takes the next unit and its discontinuity sequence number."""
        name = f"{self.kind} sample {self.count}"
        if not self.candidates:
            raise VerifyError(where, f"{name}: no source has such a track")
        # Sound may share a time stamp, where two frames of the source do.
        if unit.dts < self.last_dts or (unit.dts == self.last_dts and self.kind == "avc"):
            raise VerifyError(where, f"{name}: decoding times do not rise")
        self.last_dts = unit.dts
        left = []
        why = ""
        for candidate in self.candidates:
            why = self.fault(candidate, unit)
            if not why:
                candidate.next += 1
                left.append(candidate)
        if not left:
            # On the film's line: what a candidate's output is shifted by is known since its first unit.
            time = unit.pts - self.candidates[0].shift
            raise VerifyError(where, f"{name} (at {time:.6f} s of the film) {why}")
        self.candidates = left
        track = left[0].track
        self.end = max(self.end, unit.pts + track.duration(left[0].next - 1))
        self.count += 1
        entry = track.entries[track.entry[left[0].next - 1]]
        before, self.config = self.config, (entry.code, entry.config)
        changes = before is not None and before != self.config
        if before != self.config:
            self._used.append(entry)
        # RFC 8216 4.3.2.3
        if changes and number == self.number and not self.lenient:
            raise VerifyError(
                where,
                f"{name}: another decoder configuration, and no EXT-X-DISCONTINUITY before it",
            )
        self.number = number

    def fault(self, candidate: _Candidate, unit: Unit) -> str:
        """Why the unit is not the candidate's next sample, or an empty string."""
        track, index = candidate.track, candidate.next
        if index >= track.count:
            return f"comes after the last sample of {track.path.name}"
        shift = unit.pts - track.seconds(track.pts[index])
        decoded = unit.dts - track.seconds(track.dts[index])
        if self.count == 0:
            candidate.shift, candidate.decoded = shift, decoded
        elif not self.lenient and abs(decoded - candidate.decoded) > TIME_TOLERANCE + unit.slack:
            off = 1000 * (decoded - candidate.decoded)
            return f"is decoded {off:.3f} ms off (sample {index} of the source)"
        elif not self.lenient and abs(shift - candidate.shift) > TIME_TOLERANCE + unit.slack:
            return (
                f"is {1000 * (shift - candidate.shift):.3f} ms off (sample {index} of the source)"
            )
        entry = track.entries[track.entry[index]]
        sample = track.sample(index)
        if self.kind == "aac":
            same = sample == unit.data
        else:
            same = (sample == unit.data and unit.nal_size == entry.nal_size) or same_nals(
                unit.nals, split_nals(sample, entry.nal_size), entry.parameter_sets
            )
        if not same:
            return f"differs from sample {index} of {track.path.name}"
        if self.lenient:
            return ""
        if unit.config and not entry.agrees(unit.config):
            return "stands under another decoder configuration than the source's"
        if unit.key is not None and unit.key not in (bool(track.sync[index]), unit.idr):
            return "is marked as a key frame and is none, or the other way round"
        return ""

    def finish(self, where: str) -> None:
        done = [c for c in self.candidates if c.next in c.track.ends]
        if not done:
            first = self.candidates[0]
            raise VerifyError(
                where,
                f"the {self.kind} stream ends {first.track.count - first.next} samples before "
                f"{first.track.path.name} does",
            )
        self.candidates = done

    def entries(self) -> list[Entry]:
        """The sample entries of its units, in the order in which they came first."""
        return list({(entry.code, entry.config): entry for entry in self._used}.values())

    def may_shift(self, shift: float) -> bool:
        return any(abs(c.shift - shift) <= SHIFT_TOLERANCE for c in self.candidates)


class Timeline:
    """EXTINF against the time stamps: segments begin where the sums say.

    The first segment may last from before its own first picture or frame on, where another stream
    begins earlier: `begin` is when it says it begins, `earliest` when its first sample does. `spans`
    are the segments' discontinuity sequence numbers, files, first and last times.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.begin: float | None = None
        self.length = 0.0
        self.faults: list[tuple[str, str]] = []
        self.frame = 0.0
        self.late_sound: tuple[str, str, float] | None = None
        self.spans: list[tuple[int, str, float, float]] = []
        self.earliest = inf
        self.first_picture: float | None = None

    def segment(self, where: str, duration: float, number: int, units: list[Unit]) -> None:
        if not units:
            raise VerifyError(where, "holds no samples")
        pictures = [unit.pts for unit in units if unit.kind == "avc"]
        sounds = [unit.pts for unit in units if unit.kind == "aac"]
        if len(sounds) > 1:
            self.frame = max(self.frame, sounds[1] - sounds[0])
        starts = [pictures[0], min(pictures)] if pictures else [sounds[0]]
        tolerance = EXTINF_TOLERANCE + (0 if pictures else self.frame)
        first_end = (self.begin or 0.0) + self.length
        if self.begin is None:
            self.first_picture = min(pictures, default=None)
            # A video's first segment may hold pictures of before the edit that starts it.
            self.begin = starts[-1]
        elif len(self.spans) == 1:
            self._lead(min(starts, key=lambda start: abs(start - first_end)))
        off = min((start - self.begin - self.length for start in starts), key=abs)
        if abs(off) > tolerance:
            text = f"begins {1000 * off:.3f} ms off the sum of the EXTINFs before it"
            self.faults.append((where, text))
        early = self.begin + self.length - sounds[0] if sounds and self.length else 0.0
        near = self.frame + EXTINF_TOLERANCE
        if self.spans and self.spans[-1][0] < number:
            near += CHANGE_TOLERANCE
        if early > near:
            self.faults.append((where, f"sound begins {1000 * early:.3f} ms before the segment"))
        self.length += duration
        if self.late_sound and self.late_sound[2] > near:
            self.faults.append(self.late_sound[:2])
        self.late_sound = None
        over = sounds[-1] - self.begin - self.length if sounds else 0.0
        if over > self.frame + EXTINF_TOLERANCE:
            # Sound may outlast the last segment's pictures; what that means, `finish` judges.
            text = f"sound runs {1000 * over:.3f} ms past the segment's end"
            self.late_sound = (where, text, over)
        times = [unit.pts for unit in units]
        self.spans.append((number, where, times[0], max(times)))
        self.earliest = min(self.earliest, *times)

    def _lead(self, ends: float) -> None:
        """Takes when the first segment really ends: what it lasts longer, it begins earlier."""
        assert self.begin is not None
        lead = self.begin + self.length - ends
        if lead > LEAD_TOLERANCE:
            self.begin -= lead

    def finish(self, ends: list[float]) -> None:
        if len(self.spans) == 1:
            self._lead(max(ends))
        if self.faults:
            raise VerifyError(*self.faults[0])
        assert self.begin is not None
        end = self.begin + self.length
        slack = EXTINF_TOLERANCE + self.frame
        if not min(ends) - slack <= end <= max(ends) + slack:
            span = max(ends) - self.begin
            raise VerifyError(
                self.where, f"EXTINFs sum to {self.length:.6f} s, the media is {span:.6f} s long"
            )
