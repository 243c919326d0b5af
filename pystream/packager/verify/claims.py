"""What a multivariant playlist says of the streams behind it, worked out once more from them.

RFC 8216 4.3.4 defines each attribute by the media: bit rates by segment sizes and durations, codecs,
resolution and channels by the decoder configurations that are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pystream.packager import language
from pystream.packager.verify.compare import Stream
from pystream.packager.verify.elementary import sound_claims
from pystream.packager.verify.report import VerifyError
from pystream.packager.verify.source import Entry, Track

_US = 1_000_000
# Times in a transport stream are whole ticks.
_RATE_TOLERANCE = 0.0025


@dataclass
class Facts:
    """Of one media playlist: bytes and microseconds of each segment, and its streams.

    `decoded`: for each segment, when its pictures are decoded first and last, seconds, and how many
    there are.
    """

    fragments: bool
    sizes: list[int] = field(default_factory=list)
    durations_us: list[int] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    decoded: list[tuple[float, float, int]] = field(default_factory=list)

    def bit_rates(self, target: int) -> tuple[int, int]:
        """Peak and average segment bit rate (4.1), rounded up; the peak is no less than the average."""
        best = (0, 1)
        for first in range(len(self.sizes)):
            size = time = 0
            for n in range(first, len(self.sizes)):
                size, time = size + self.sizes[n], time + self.durations_us[n]
                if 2 * time > 3 * target * _US:
                    break
                if 2 * time >= target * _US and size * best[1] > best[0] * time:
                    best = (size, time)
        if not best[0]:
            pairs = zip(self.sizes, self.durations_us, strict=True)
            best = max((pair for pair in pairs if pair[1]), key=lambda pair: pair[0] / pair[1])
        average = _bps(sum(self.sizes), sum(self.durations_us))
        return max(_bps(*best), average), average

    def frame_rates(self) -> list[float]:
        """Pictures a second, on average over all and over each segment."""
        if sum(count for _, _, count in self.decoded) < 2:
            return []
        ends = [first for first, _, _ in self.decoded[1:]] + [self.decoded[-1][1]]
        spans = [
            (end - first, count - (end == last))
            for (first, last, count), end in zip(self.decoded, ends, strict=True)
        ]
        spans.append((sum(span for span, _ in spans), sum(count for _, count in spans)))
        return [count / span for span, count in spans if span > 0 and count]

    def of(self, kind: str) -> list[Stream]:
        return [stream for stream in self.streams if stream.kind == kind]

    def entries(self, kind: str) -> list[Entry]:
        """The decoder configurations in use, in order."""
        return [entry for stream in self.of(kind) for entry in stream.entries()]

    def codecs(self) -> list[set[str]]:
        """What each of its decoder configurations may be called, in order."""
        found = []
        for entry in self.entries("avc"):
            name = entry.code if self.fragments else "avc1"
            found.append({f"{name}.{entry.config[1:4].hex()}"})
        return found + [sound_claims(entry.config)[0] for entry in self.entries("aac")]

    def tracks(self, kind: str) -> list[Track]:
        return [candidate.track for stream in self.of(kind) for candidate in stream.candidates]


def _pixels(size: tuple[int, int] | None) -> str | None:
    return size and f"{size[0]}x{size[1]}"


def _bps(size: int, time_us: int) -> int:
    return -(-size * 8 * _US // time_us)


class Claims:
    """`facts`: by media playlist's URI."""

    def __init__(self, where: str, playlist: Any, facts: dict[str, Facts], target: int) -> None:
        self._where = where
        self._playlist = playlist
        self._facts = facts
        self._rates = {uri: mine.bit_rates(target) for uri, mine in facts.items()}

    def check(self) -> None:
        """Raises VerifyError at the first attribute that its media do not bear out."""
        groups: dict[str, list[Any]] = {}
        for rendition in self._playlist.renditions:
            groups.setdefault(rendition.group_id, []).append(rendition)
        named = {variant.audio for variant in self._playlist.variants}
        for name, members in groups.items():
            if name not in named:
                raise VerifyError(self._where, f"no variant names the group {name}")
            told = [variant.codecs for variant in self._playlist.variants if variant.audio == name]
            self._group(members, {codec for codecs in told for codec in codecs})
        for variant in self._playlist.variants:
            self._variant(variant, [rendition.uri for rendition in groups.get(variant.audio, [])])

    def _variant(self, variant: Any, group: Sequence[str]) -> None:
        mine = self._facts[variant.uri]
        # What is chosen from the group plays beside the variant's own stream, or is that.
        own = [] if variant.uri in group else [variant.uri]
        for name, told, which in (
            ("BANDWIDTH", variant.bandwidth, 0),
            ("AVERAGE-BANDWIDTH", variant.average_bandwidth, 1),
        ):
            chosen = max((self._rates[uri][which] for uri in group), default=0)
            self._same(variant.uri, name, told, sum(self._rates[u][which] for u in own) + chosen)
        together = dict.fromkeys((variant.uri, *group))
        wanted = [names for uri in together for names in self._facts[uri].codecs()]
        told = list(variant.codecs)
        if not all(names & set(told) for names in wanted) or set(told) - set().union(*wanted):
            named = ",".join("|".join(sorted(names)) for names in wanted)
            self._fail(variant.uri, "CODECS", ",".join(told), named)
        sizes = [entry.size() for entry in mine.entries("avc")]
        largest = max(sizes, key=lambda size: size[0] * size[1], default=None)
        self._same(variant.uri, "RESOLUTION", _pixels(variant.resolution), _pixels(largest))
        rates = mine.frame_rates()
        # 4.3.4.2 asks for the maximum, and leaves open over which time.
        told = (variant.frame_rate_milli or 0) / 1000
        if not any(abs(rate - told) < _RATE_TOLERANCE for rate in rates or [0.0]):
            self._fail(variant.uri, "FRAME-RATE", told, f"{max(rates, default=0.0):.3f}")

    def _group(self, members: Sequence[Any], told: set[str]) -> None:
        if sum(member.default for member in members) > 1:
            self._fail(members[0].group_id, "DEFAULT", "YES more than once", "once at most")
        for member in members:
            mine = self._facts[member.uri]
            # Parametric stereo makes two channels of one.
            stereo = told & {"mp4a.40.29"}
            counts = [
                2 if stereo & names else channels
                for names, channels in (sound_claims(entry.config) for entry in mine.entries("aac"))
            ]
            self._same(member.uri, "CHANNELS", member.channels, str(max(counts)))
            languages = {language.tag(track.language_code()) for track in mine.tracks("aac")}
            if member.language not in languages:
                self._fail(member.uri, "LANGUAGE", member.language, languages)
            stem, _, number = member.name.partition(" ")
            if stem != (member.language or "audio") or not (number.isdigit() or not number):
                self._fail(member.uri, "NAME", member.name, member.language or "audio")

    def _same(self, uri: str, name: str, told: object, wanted: object) -> None:
        if told != wanted:
            self._fail(uri, name, told, wanted)

    def _fail(self, uri: str, name: str, told: object, wanted: object) -> None:
        raise VerifyError(self._where, f"{uri}: {name} is {told}, by the media it is {wanted}")
