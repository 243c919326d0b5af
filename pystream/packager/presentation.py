"""From opened inputs to a presentation: renditions whose segments can be made in any order."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import index as whole
from sys import getsizeof

from pystream import _core, _segmenter, playlist
from pystream.errors import LimitExceeded, MalformedMedia, PlanError, UnsupportedMedia
from pystream.model import Notice
from pystream.packager import language
from pystream.packager.encryption import Aes128, counted_iv, init_iv, sequence_iv
from pystream.packager.plan import (
    Audio,
    Cuts,
    Video,
    begun_anew,
    below,
    column,
    cut_together,
    durations_us,
    picked,
    place,
    zeros,
)
from pystream.packager.source import Input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterable, Sequence  # type: ignore[attr-defined]

    from pystream._core import Segment, Track

_US = 1_000_000
_NEGLIGIBLE = 0.1
"""Seconds by which sound may begin before the picture, or outlast it, without being counted in
EXTINF: frames of sound hardly ever begin and end with pictures."""
_START_SECONDS = 10
"""Where the presentation's zero lies on the output's clock, in every rendition and format, so that
times before zero (AAC priming, reordered pictures) stay above the clock's own zero: a first picture
that an edit list cuts into is carried from its key frame on, which may be longer ago than this."""
_LAST_START = (1 << 31) - 1

_END = "#EXT-X-ENDLIST\n"
_KEY_NBYTES = getsizeof(bytes(16))
_INT_NBYTES = 32
"""Bytes of a segment's number as an object of its own: 28, and what the allocator rounds up."""


class Rendition:
    """One media playlist and its segments.

    Any thread may ask for any segment at any time, and the same segment always has the same bytes.

    `name`: the folder it is meant for; `kind`: `video` (sound may be muxed in) or `audio`;
    `codecs`: RFC 6381; `resolution`: (width, height) or None; `frame_rate_milli`: frames in 1000 s
    where they come fastest, or None; `language`: RFC 5646 or None; `channels`: of audio, 0 for video;
    `durations_us`: EXTINF of each segment; `discontinuities`: `{segment: EXT-X-DISCONTINUITY tags
    before it}`; `discontinuity_sequence`: of the first segment; `scanned`: whether the sizes could
    not be told from the index and all samples were read; `holes`: (begin, end) in seconds of what
    the clock of `ts` jumps over.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        format: str,
        streams: Sequence[tuple[Track, array[int]]],
        durations: array[int],
        discontinuities: dict[int, int],
        discontinuity_sequence: int,
        begin: tuple[int, int],
        start_seconds: int,
        source: str,
    ) -> None:
        self.name = name
        self.kind = kind
        self.format = format
        self._suffix = ".ts" if format == "ts" else ".m4s"
        self.durations_us = durations
        self.discontinuities = discontinuities
        self.discontinuity_sequence = discontinuity_sequence
        self.tracks = tuple(track for track, _ in streams)
        self._bounds = streams[0][1]
        # Time 0 of the playlist, `(ticks, timescale)`.
        self._begin = begin
        self._made = _core.Rendition(format, [*streams], start_seconds, source)
        self._sizes = column(self._made.sizes())
        # Initialization sections, and the first segment of each.
        self._inits: list[bytes] = []
        self._init_firsts = array("q")
        if format == "fmp4":
            self._find_inits()
        self._describe(streams)
        self._encryption: Aes128 | None = None
        self._keys: list[bytes] = []
        self._first_iv: int | None = None

    def _describe(self, streams: Sequence[tuple[Track, array[int]]]) -> None:
        configs = [_configs(track, bounds[0], bounds[-1]) for track, bounds in streams]
        codecs = dict.fromkeys(config[0] for mine in configs for config in mine)
        if self.format == "ts":
            # An `avc3` entry is one whose parameter sets may lie in the stream (ISO/IEC 14496-15
            # 5.4.2.1). In MPEG-TS they always do, there are no entries, and players know `avc1`.
            codecs = dict.fromkeys(codec.replace("avc3.", "avc1.") for codec in codecs)
        self.codecs = tuple(codecs)
        # What does for all the pictures, and the most channels of any segment (RFC 8216 4.3.4.1, 2).
        # In pixels that there are: how wide they are shown is the bitstream's to say.
        size = max((config[1:3] for config in configs[0]), key=lambda size: size[0] * size[1])
        self.resolution = size if self.kind == "video" else None
        self.channels = max(config[4] for config in configs[0])
        self.frame_rate_milli = _frame_rate_milli(*streams[0]) if self.kind == "video" else None
        self.language = language.tag(self.tracks[-1].language)
        self.scanned = self._made.scanned
        # (begin, end) of holes that the clock of a transport stream jumps over, seconds.
        self.holes = tuple((a / 90_000, b / 90_000) for a, b in self._made.holes)

    def _find_inits(self) -> None:
        # Configurations may come back any number of times: each is held once.
        held: dict[bytes, bytes] = {}
        for n in (0, *sorted(self.discontinuities)):
            init = self._made.init(n)
            init = held.setdefault(init, init)
            if not self._inits or self._inits[-1] != init:
                self._inits.append(init)
                self._init_firsts.append(n)

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.durations_us)

    def __repr__(self) -> str:
        seconds = sum(self.durations_us) / _US
        codecs = ",".join(self.codecs)
        return (
            f"<pystream.Rendition {self.name!r}: {codecs}, {len(self)} segments, {seconds:.3f} s>"
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, the input's tables not counted."""
        columns = (self.durations_us, self._sizes, self._bounds, self._init_firsts)
        lists = sum(column.itemsize * len(column) for column in columns)
        keys = (8 + _KEY_NBYTES) * len(self._keys)
        inits = getsizeof(self._inits) + sum(map(getsizeof, {*self._inits}))
        steps = getsizeof(self.discontinuities) + _INT_NBYTES * len(self.discontinuities)
        return self._made.nbytes + lists + keys + inits + steps

    # Which key and IV. Resources are counted in the order in which a playlist names them.

    def _encrypt(self, encryption: Aes128, first_iv: int | None) -> None:
        self._encryption = encryption
        self._first_iv = first_iv
        if not encryption.on_demand:
            self._keys = [encryption.key(self.name, period) for period in range(self.periods)]

    @property
    def resources(self) -> int:
        """Number of segments and initialization sections."""
        return len(self) + len(self._inits)

    def _period(self, n: int) -> int:
        every = self._encryption.rotate_every if self._encryption else 0
        return n // every if every else 0

    @property
    def periods(self) -> int:
        """Number of periods, each with a key; 0 without encryption."""
        return 0 if self._encryption is None else self._period(len(self) - 1) + 1

    def key(self, period: int) -> bytes:
        """The key of a period, 16 bytes. Raises `IndexError`."""
        if self._encryption is None or not 0 <= period < self.periods:
            raise IndexError(f"period {period} of {self.periods}")
        return self._keys[period] if self._keys else self._encryption.key(self.name, period)

    def key_name(self, period: int) -> str:
        """The file name of a period's key, distinct over all renditions."""
        return f"{self.name}-{period}.key"

    def key_files(self) -> list[tuple[str, bytes]]:
        """`(file name, 16 bytes)` of each period's key; empty without encryption."""
        return [(self.key_name(period), self.key(period)) for period in range(self.periods)]

    def _iv(self, n: int) -> bytes:
        if self._first_iv is None:
            return sequence_iv(n)
        return counted_iv(self._first_iv, n + below(self._init_firsts, n + 1))

    def _init_iv(self, index: int) -> bytes:
        if self._first_iv is None:
            return init_iv(index)
        return counted_iv(self._first_iv, self._init_firsts[index] + index)

    def _secret(
        self, n: int, keys: Callable[[int], bytes] | None = None
    ) -> tuple[bytes, bytes] | None:
        if self._encryption is None:
            return None
        return self._key(self._period(n), keys), self._iv(n)

    def _key(self, period: int, keys: Callable[[int], bytes] | None) -> bytes:
        return keys(period) if keys else self.key(period)

    def _key_tag(self, base: str, n: int, iv: bytes | None) -> playlist.Key | None:
        if self._encryption is None:
            return None
        return playlist.Key(base + self._encryption.key_uri + self.key_name(self._period(n)), iv)

    # What a server or a packager asks for.

    def _at(self, n: int) -> int:
        """The number of a segment; negative ones do not count from the end."""
        n = whole(n)
        if not 0 <= n < len(self):
            raise IndexError(f"segment {n} of {len(self)}")
        return n

    def uri(self, n: int) -> str:
        """The URI of segment `n`, relative to the playlist. Raises `IndexError`."""
        return f"{self._at(n)}{self._suffix}"

    def init_uri(self, index: int) -> str:
        """The URI of initialization section `index`, relative to the playlist. Raises `IndexError`."""
        if not 0 <= index < len(self._inits):
            raise IndexError(f"initialization section {index} of {len(self._inits)}")
        return f"init-{index}.mp4" if index else "init.mp4"

    def inits(self, keys: Callable[[int], bytes] | None = None) -> list[bytes]:
        """The media initialization sections, encrypted as the playlist says; none for `ts`.

        `keys` gives a period's key where it is not the rendition's own: a viewer may have one.
        """
        if self._encryption is None:
            return [*self._inits]
        secrets = [
            (self._key(self._period(first), keys), self._init_iv(index))
            for index, first in enumerate(self._init_firsts)
        ]
        return [
            bytes(_core.encrypt(init, secret))
            for init, secret in zip(self._inits, secrets, strict=True)
        ]

    def length(self, n: int) -> int:
        """Bytes of segment `n`, padding included, before it is made. Raises `IndexError`."""
        size = self._sizes[self._at(n)]
        # PKCS#7 always adds, a whole block where nothing is left to fill (RFC 8216 4.3.2.4).
        return size if self._encryption is None else size // 16 * 16 + 16

    def lengths(self) -> array[int]:
        """Bytes of each segment, padding included."""
        if self._encryption is None:
            return self._sizes[:]
        out = zeros(len(self))
        _segmenter.padded(self._sizes, out)
        return out

    def segment(self, n: int) -> Segment:
        """Segment `n` as a read-only buffer of bytes.

        Raises `IndexError`; `MediaError` where the input's samples are damaged; `SourceError` or
        the source's own exception where it cannot be read; `MemoryError` where there is no room for
        a segment of that length. The interpreter is not held meanwhile.
        """
        return self.segments([n])[0]

    def segments(self, numbers: Iterable[int]) -> list[Segment]:
        """Several segments at once, encrypted side by side; raises as `segment` does."""
        return self._made.segments([(self._at(n), self._secret(n)) for n in numbers])

    def segment_into(self, n: int, buffer: Buffer) -> int:
        """Make segment `n` in a writable buffer of at least `length(n)` bytes; returns the length.

        Raises as `segments_into` does.
        """
        return self.segments_into([(n, buffer)])[0]

    def segments_into(self, wanted: Iterable[tuple[int, Buffer]]) -> list[int]:
        """Make each of `(n, buffer)` in its buffer, encrypted side by side; returns the lengths.

        Memory that is used again is faster than fresh memory, which the system has to clear first.
        Nobody else may touch the buffers during the call. Raises as `segment` does, and
        `BufferError` or `ValueError` for a buffer that is read-only or too small, or shares memory
        with another.
        """
        return self._made.segments_into(
            [(self._at(n), buffer, self._secret(n)) for n, buffer in wanted]
        )

    def frame(self, us: int) -> Segment:
        """The key frame that is shown nearest to `us`, microseconds from the playlist's begin.

        A whole MP4 (fragmented, ISO/IEC 14496-12 8.8) of one sample, as a read-only buffer: what
        plays the rendition draws it. It is clear, whatever the segments are.

        Raises `ValueError` for a rendition without pictures, and as `segment` does.
        """
        if self.kind != "video":
            raise ValueError(f"{self.name} has no pictures")
        track = self.tracks[0]
        ticks, timescale = self._begin
        wanted = ticks / timescale + us / _US
        nearest = sorted(
            (abs(pts / track.timescale - wanted), index) for index, pts in self._keys_around(us)
        )
        # Only at the cuts the file's word was verified; what is no key frame gives no picture.
        real = (index for _, index in nearest if track.picture_kinds([index]) != ["other"])
        return track.frame(next(real, nearest[0][1]))

    def _keys_around(self, us: int) -> Iterable[tuple[int, int]]:
        """`(index, pts)` of the key frames in the segment that `us` lies in, and of the one after it."""
        bounds = self._bounds
        n = bisect_right([*accumulate(self.durations_us)][:-1], us)
        # Sound may last for some segments more than the pictures.
        n = min(n, bisect_left(bounds, bounds[-1]) - 1)
        indexes, pts = self.tracks[0].keys(bounds[n], min(bounds[n + 1] + 1, bounds[-1]))
        return zip(column(indexes), column(pts), strict=True)

    def work(
        self, folder: str
    ) -> list[tuple[_core.Rendition, int, str, tuple[bytes, bytes] | None]]:
        """What `_core.Work` needs to write all segments into `folder`."""
        return [
            (self._made, n, f"{folder}/{self.uri(n)}", self._secret(n)) for n in range(len(self))
        ]

    def making(
        self, n: int, keys: Callable[[int], bytes] | None = None
    ) -> tuple[_core.Rendition, int, tuple[bytes, bytes] | None]:
        """What `_core.Delivery.segment` needs to send segment `n`; `keys` as for `inits`."""
        return self._made, n, self._secret(n, keys)

    def bit_rates(self, target_duration: int) -> tuple[int, int]:
        """Peak and average segment bit rate, bits a second (RFC 8216 4.1), padding included.

        By that definition, a short last segment behind a long one is in no set that counts for the
        peak, and may be what makes the average; the peak is no less than that.
        """
        lengths = self.lengths()
        average = _segmenter.average_bps(lengths, self.durations_us)
        peak = _segmenter.peak_bps(lengths, self.durations_us, target_duration)
        return max(peak, average), average

    def _maps(self, base: str, key_base: str) -> list[playlist.Map]:
        return [
            playlist.Map(
                base + self.init_uri(index), self._key_tag(key_base, first, self._init_iv(index))
            )
            for index, first in enumerate(self._init_firsts)
        ]

    def _playlist(
        self, count: int, target_duration: int, independent: bool, base: str, key_base: str | None
    ) -> playlist.MediaPlaylist:
        """Of the first segments, `count` of them."""
        explicit = self._first_iv is not None
        key_base = base if key_base is None else key_base
        maps = self._maps(base, key_base)
        current, key, period = -1, None, -1
        suffix = self._suffix
        segments = []
        for n, duration in enumerate(self.durations_us[:count]):
            while current + 1 < len(maps) and self._init_firsts[current + 1] <= n:
                current += 1
            if explicit or self._period(n) != period:
                period = self._period(n)
                key = self._key_tag(key_base, n, self._iv(n) if explicit else None)
            segments.append(
                playlist.Segment(
                    f"{base}{n}{suffix}",
                    duration,
                    key,
                    maps[current] if maps else None,
                    self.discontinuities.get(n, 0),
                )
            )
        return playlist.MediaPlaylist(
            target_duration,
            segments,
            discontinuity_sequence=self.discontinuity_sequence,
            playlist_type="VOD",
            end=True,
            independent_segments=independent,
        )

    def playlist(
        self, target_duration: int, independent: bool, base: str = "", key_base: str | None = None
    ) -> playlist.MediaPlaylist:
        """The media playlist as a value; its URIs are appended to `base`, keys' to `key_base`, if
        they lie elsewhere."""
        return self._playlist(len(self), target_duration, independent, base, key_base)

    def playlist_text(
        self, target_duration: int, independent: bool, base: str = "", key_base: str | None = None
    ) -> str:
        """What `playlist(...).text()` is, without the interpreter for all that grows with the number
        of segments: a server has better to do with it meanwhile."""
        if self._first_iv is not None:
            # Each segment has a key tag of its own.
            return self.playlist(target_duration, independent, base, key_base).text()
        # It is checked, and the URIs and tags of the others are like its own.
        first = self._playlist(1, target_duration, independent, base, key_base).text()
        before = {n: "#EXT-X-DISCONTINUITY\n" * tags for n, tags in self.discontinuities.items()}
        key_base = base if key_base is None else key_base
        maps = dict(zip(self._init_firsts, self._maps(base, key_base), strict=True))
        for n, map in maps.items():
            key = f"{map.key.tag()}\n" if map.key is not None else ""
            before[n] = f"{before.get(n, '')}{key}{map.tag()}\n"
        lines = _core.segment_lines(
            1,
            self.durations_us,
            base,
            self._suffix,
            [(n, before[n], n in maps) for n in sorted(before)],
            self._key_line(key_base),
        )
        return first.removesuffix(_END) + lines + _END

    def _key_line(self, key_base: str) -> tuple[str, str, int] | None:
        """A period's key tag up to the period's number, from there on, and segments a period."""
        if self._encryption is None or (key := self._key_tag(key_base, 0, None)) is None:
            return None
        end = '.key"'
        return key.tag().removesuffix(f"0{end}"), end, self._encryption.rotate_every


class Presentation:
    """Renditions that play together, and their playlists.

    `renditions`: video first; `notices`: what the user should know; `independent`: whether every
    segment begins with an IDR picture, verified; `target_duration`: seconds, the same in all media
    playlists (RFC 8216 6.2.4); `encryption`: as planned with, None where it is clear.
    """

    def __init__(
        self,
        renditions: Sequence[Rendition],
        groups: Sequence[tuple[int, ...]],
        notices: Iterable[Notice],
        independent: bool,
        encryption: Aes128 | None,
    ) -> None:
        self.renditions = tuple(renditions)
        # For each video rendition, the indexes of the audio renditions that go with it.
        self._groups = tuple(groups)
        self.notices = tuple(notices)
        self.independent = independent
        self.encryption = encryption
        longest = max(_segmenter.largest(rendition.durations_us) for rendition in renditions)
        self.target_duration = max(1, (longest + _US // 2) // _US)
        if encryption is not None:
            inits = sum(len(rendition.inits()) for rendition in renditions)
            first_iv = encryption.first_explicit_iv(inits, len(renditions))
            for rendition in renditions:
                rendition._encrypt(encryption, first_iv)
                if first_iv is not None:
                    first_iv += rendition.resources
            encryption.check_distinct(rendition._keys for rendition in renditions)

    def __repr__(self) -> str:
        names = ", ".join(rendition.name for rendition in self.renditions)
        return f"<pystream.Presentation: {names}, {self.duration:.3f} s>"

    @property
    def duration(self) -> float:
        """Seconds that the longest rendition lasts."""
        return max(sum(rendition.durations_us) for rendition in self.renditions) / _US

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, the inputs' tables not counted."""
        return sum(rendition.nbytes for rendition in self.renditions)

    def media_playlist(
        self, rendition: Rendition, base: str = "", key_base: str | None = None
    ) -> playlist.MediaPlaylist:
        """The media playlist of one of the renditions, as a value; `.text()` prints it.

        `base` is put before each URI in it: a server's segments lie elsewhere than its playlists.
        `key_base` is put before those of keys instead, where they lie elsewhere again.
        """
        return rendition.playlist(self.target_duration, self.independent, base, key_base)

    def media_playlist_text(
        self, rendition: Rendition, base: str = "", key_base: str | None = None
    ) -> str:
        """What `media_playlist(...).text()` is, sooner and mostly without the interpreter."""
        return rendition.playlist_text(self.target_duration, self.independent, base, key_base)

    def multivariant_playlist(self, base: str = "") -> playlist.MultivariantPlaylist:
        """The multivariant playlist as a value; `.text()` prints it. Media playlists are
        `{name}/index.m3u8`, below `base`."""
        rates = [rendition.bit_rates(self.target_duration) for rendition in self.renditions]
        variants, media = [], []
        names: dict[tuple[int, ...], str] = {}
        for index, rendition in enumerate(self.renditions[: len(self._groups)]):
            group = self._groups[index]
            if group and group not in names:
                names[group] = f"audio{len(names)}" if names else "audio"
                media += self._audio_group(names[group], group, base)
            codecs = dict.fromkeys(rendition.codecs)
            for member in group:
                codecs.update(dict.fromkeys(self.renditions[member].codecs))
            # One member plays at a time: beside the variant's own stream, or, where that is a member
            # too, in its place (RFC 8216 4.3.4.2: the largest sum of what plays together).
            own = (0, 0) if index in group else rates[index]
            beside = [rates[member] for member in group] or [(0, 0)]
            peak, average = (own[i] + max(rate[i] for rate in beside) for i in (0, 1))
            variants.append(
                playlist.Variant(
                    f"{base}{rendition.name}/index.m3u8",
                    peak,
                    average,
                    tuple(codecs),
                    rendition.resolution,
                    rendition.frame_rate_milli,
                    audio=names.get(group),
                )
            )
        return playlist.MultivariantPlaylist(variants, media, self.independent)

    def _audio_group(
        self, group_id: str, members: tuple[int, ...], base: str
    ) -> list[playlist.Rendition]:
        """The members of a group. Which number and language a member has decides all but its URI and
        CHANNELS, so groups agree where these do (RFC 8216 4.3.4.1.1)."""
        found: list[playlist.Rendition] = []
        languages: list[str | None] = []
        for member in members:
            rendition = self.renditions[member]
            earlier = languages.count(rendition.language)
            name = rendition.language or "audio"
            found.append(
                playlist.Rendition(
                    "AUDIO",
                    group_id,
                    f"{name} {earlier + 1}" if earlier else name,
                    f"{base}{rendition.name}/index.m3u8",
                    rendition.language,
                    default=not found,
                    # What may be selected by language has a language of its own (4.3.4.1.1).
                    autoselect=not earlier,
                    channels=str(rendition.channels),
                )
            )
            languages.append(rendition.language)
        return found


def plan(
    inputs: Iterable[Input],
    *,
    format: str = "ts",
    segment_duration: float = 6,
    encryption: Aes128 | None = None,
    scan: bool = True,
    start_seconds: int | None = None,
) -> Presentation:
    """Plan one presentation of all the inputs' tracks.

        film = pystream.open("film.mp4")
        presentation = pystream.plan([film], encryption=pystream.Aes128())
        for rendition in presentation.renditions:
            print(presentation.media_playlist(rendition).text())
            for name, key in rendition.key_files():
                ...  # 16 bytes for those who may watch; playlists name it `name`

    `format`: `ts` or `fmp4`. `segment_duration`: seconds from one grid time to the next; a segment
    begins with the first key frame at or after each (of audio alone: the first frame).
    `scan`: read the beginning of each key frame at a cut, and so verify it; without it
    INDEPENDENT-SEGMENTS is not claimed, and nothing is read but what nothing else tells: up to a
    thousand frames of sound of each of two inputs that seem to hold the same, and, for `ts`, all
    pictures of a track with NAL lengths of fewer than 4 bytes. What was read of pictures is kept
    with the input: planning it again reads none of it. `start_seconds`: the output's time stamp at the
    presentation's zero, whole seconds; without it 10, or as many as leave a second before the first
    sample that is carried.

    One video with one audio track is muxed in `ts`; otherwise audio tracks are renditions of their
    own, each written once, however many inputs hold the same one. The first that the file enables is
    the default. Pictures of several inputs are offered with the same sound (RFC 8216 4.3.4.1.1): what
    an input does not hold in a language that another one has, it gets from that; a notice says so.

    Playlists agree about time: in each, a first segment lasts from the presentation's begin on. Where
    sound begins before the pictures, players take the first picture for that begin, unless both are
    in one segment. So sound begins at most one `segment_duration` before the pictures, and a notice
    says what is left out; where it is apart from them, its first segment is as much longer.

    Raises `PlanError` where the inputs do not make one presentation; `MediaError` for what an input
    holds; `ValueError` for arguments.
    """
    if format not in ("ts", "fmp4"):
        raise ValueError(f"format {format!r} is neither ts nor fmp4")
    if not 0.1 <= segment_duration <= 3600:
        raise ValueError(f"a segment duration of {segment_duration} s is not within 0.1 and 3600")
    target_us = round(segment_duration * _US)
    if start_seconds is not None and not 1 <= start_seconds <= _LAST_START:
        raise ValueError(f"start_seconds is {start_seconds}, not in 1..2^31 - 1")
    if encryption is not None and not isinstance(encryption, Aes128):
        raise TypeError(f"encryption is a pystream.Aes128, not {encryption!r}")
    opened = _inputs(inputs)
    notices = [notice for source in opened for notice in source.notices]
    videos, audios, belongs = _choose(opened, target_us, notices)
    if videos:
        cuts = cut_together(videos, audios, target_us, scan, notices)
        audios, belongs = _audible(audios, belongs, notices)
        belongs = _alike(videos, audios, belongs, notices)
        # RFC 8216 6.2.4: what only some of the playlists have is no longer than a segment.
        notices += [
            Notice(
                "late-sound",
                f"track {audio.track.id} (audio) begins {late:.3f} s after the pictures, and their"
                " first segments have no sound: some players begin with it, or do not begin at all",
                audio.source.name,
            )
            for audio in audios
            if (late := audio.late(cuts))
        ]
        if start_seconds is None:
            firsts = [(video, mine[0]) for video, mine in zip(videos, cuts.firsts, strict=True)]
            start_seconds = _start([*firsts, *((audio, audio.first) for audio in audios)])
        layout = _with_video(videos, cuts, audios, belongs, format, target_us, start_seconds)
        independent = all(video.independent for video in videos)
    elif audios:
        # The variant stream is the default's.
        audios = sorted(audios, key=_disabled)
        if start_seconds is None:
            start_seconds = _start([(audio, audio.first) for audio in audios])
        layout = _audio_only(audios, format, target_us, start_seconds)
        independent = True
    else:
        raise UnsupportedMedia(_nothing_left(opened))
    renditions, groups = layout
    for rendition in renditions:
        if rendition.format == "ts" and rendition.tracks[0].rotation:
            notices.append(
                Notice(
                    "rotation",
                    f"the picture of {rendition.name} is to be turned by"
                    f" {rendition.tracks[0].rotation} degrees, which MPEG-TS cannot say: fmp4 can",
                )
            )
        if rendition.holes:
            (begin, end), *others = rendition.holes
            more = ", and more such holes follow" if others else ""
            notices.append(
                Notice(
                    "clock-gap",
                    f"{rendition.name} has nothing from {begin:.3f} s on for {end - begin:.3f} s{more}: the"
                    " clock of MPEG-TS jumps there, and players may stall",
                )
            )
        if rendition.scanned:
            notices.append(
                Notice(
                    "scanned",
                    "NAL lengths of fewer than 4 bytes: sizes cannot be told from the index, so all"
                    f" samples of {rendition.name} were read once",
                )
            )
    return Presentation(renditions, groups, notices, independent, encryption)


def _start(firsts: Iterable[tuple[Video | Audio, int]]) -> int:
    """Where the presentation's zero lies on the output's clock, seconds, at which a second is left
    before the first of each track's samples: program clock references lie a little before it."""
    start = _START_SECONDS
    for source, first in firsts:
        scale = source.track.timescale
        (begins,) = column(source.track.dts(first, first + 1))
        needed = -((begins - scale) // scale)
        if needed > _LAST_START:
            raise LimitExceeded(
                f"{source.source.name}: track {source.track.id} begins {-begins / scale:.3f} s before"
                " the presentation's zero, more than a clock can count",
                place(source.track, first),
            )
        start = max(start, needed)
    return start


def _inputs(inputs: Iterable[Input]) -> list[Input]:
    if isinstance(inputs, (Input, str, bytes)):
        raise TypeError("inputs is a list of what pystream.open gives, of one as well: [film]")
    opened = list(inputs)
    for source in opened:
        if not isinstance(source, Input):
            raise TypeError(f"an input is what pystream.open gives, not {source!r:.80}")
    return opened


def _nothing_left(opened: Sequence[Input]) -> str:
    if not opened:
        return "no input"
    reasons = [str(notice) for source in opened for notice in source.notices]
    names = ", ".join(source.name for source in opened)
    return f"{names}: no track can be packaged" + (f" ({'; '.join(reasons)})" if reasons else "")


def _choose(
    opened: Sequence[Input], target_us: int, notices: list[Notice]
) -> tuple[list[Video], list[Audio], list[tuple[int, ...]]]:
    """Videos, distinct audios, and for each video the audios that go with it: those of its input and
    of inputs without pictures."""
    videos: list[Video] = []
    audios: list[Audio] = []
    belongs: list[list[int]] = []
    free: list[int] = []
    firsts = _first_alike(
        track for source in opened for track in source.tracks if track.kind == "audio"
    )
    place: dict[Track, int] = {}
    for source in opened:
        sounds: dict[int, None] = {}
        for track in source.tracks:
            if track.kind != "audio":
                continue
            first = firsts[track]
            if first not in place:
                place[first] = len(audios)
                audios.append(Audio(source, first))
            sounds[place[first]] = None
        own = list(sounds)
        found = [Video(source, track) for track in source.tracks if track.kind == "video"]
        if len(found) > 1 and not _together(found, target_us):
            for video in found[1:]:
                notices.append(
                    Notice(
                        "track-left-out",
                        f"track {video.track.id} (video) is left out: its key frames or its duration are"
                        f" not those of track {found[0].track.id}, so they are no renditions of one film",
                        source.name,
                    )
                )
            found = found[:1]
        if len(found) > 1:
            # Planning narrows key frames down; what was tried is thrown away.
            found = [Video(source, video.track) for video in found]
        videos += found
        belongs += [own for _ in found]
        if not found:
            free += own
    return videos, audios, [tuple(dict.fromkeys(own + free)) for own in belongs]


def _first_alike(tracks: Iterable[Track]) -> dict[Track, Track]:
    """For each track the first one that holds the same samples, which may be itself.

    Samples are read only of those whose tables are the same, and once of each.
    """
    distinct = list(dict.fromkeys(tracks))
    if len(distinct) == 1:
        return {distinct[0]: distinct[0]}
    outlined: dict[bytes, list[Track]] = {}
    for track in distinct:
        outlined.setdefault(track.outline(), []).append(track)
    firsts: dict[Track, Track] = {}
    for group in outlined.values():
        contents: dict[bytes, Track] = {}
        for track in group:
            content = track.content() if len(group) > 1 else b""
            firsts[track] = contents.setdefault(content, track)
    return firsts


def _audible(
    audios: list[Audio], belongs: list[tuple[int, ...]], notices: list[Notice]
) -> tuple[list[Audio], list[tuple[int, ...]]]:
    """Without tracks of which no frame remains beside the pictures."""
    kept = [i for i, audio in enumerate(audios) if audio.pts]
    for i, audio in enumerate(audios):
        if i not in kept:
            notices.append(
                Notice(
                    "track-left-out",
                    f"track {audio.track.id} (audio) is left out: it ends before the first key frame",
                    audio.source.name,
                )
            )
    place = {old: new for new, old in enumerate(kept)}
    own = [tuple(place[i] for i in group if i in place) for group in belongs]
    return [audios[i] for i in kept], own


def _disabled(audio: Audio) -> bool:
    """Whether its file has it not play unless a user chooses it (ISO/IEC 14496-12 8.3.2.3)."""
    return not audio.track.enabled


def _alike(
    videos: Sequence[Video],
    audios: Sequence[Audio],
    belongs: Sequence[tuple[int, ...]],
    notices: list[Notice],
) -> list[tuple[int, ...]]:
    """Groups of sound with the same members in the same order (RFC 8216 4.3.4.1.1).

    A member is the first, second, ... sound in a language, which each group may have in an encoding
    of its own. A group that lacks a member gets it from the first one that has it. What a file
    enables comes first, in its group as among all members, of which the first is the default. Where
    inputs share sound in such a way that it would be two members at once, all groups are one.
    """
    members: dict[int, tuple[str | None, int]] = {}
    for group in belongs:
        for i in sorted(group, key=lambda i: _disabled(audios[i])):
            if i not in members:
                taken = {members[other] for other in group if other in members}
                tag = language.tag(audios[i].track.language)
                members[i] = next((tag, n) for n in range(len(group)) if (tag, n) not in taken)
    if any(len({members[i] for i in group}) < len(group) for group in belongs):
        members = {i: (None, i) for i in members}
    offered: dict[tuple[str | None, int], int] = {}
    for i in sorted(members, key=lambda i: _disabled(audios[i])):
        offered.setdefault(members[i], i)
    groups = [tuple({**offered, **{members[i]: i for i in group}}.values()) for group in belongs]
    # Pictures without any sound of their own have always had that of the others.
    if any(0 < len(own) < len(group) for own, group in zip(belongs, groups, strict=True)):
        notices.append(Notice("uneven-sound", _uneven(videos, audios, belongs)))
    return groups


def _uneven(
    videos: Sequence[Video], audios: Sequence[Audio], belongs: Sequence[tuple[int, ...]]
) -> str:
    held = []
    for video, group in zip(videos, belongs, strict=True):
        tags = [language.tag(audios[i].track.language) or "no language" for i in group]
        held.append(f"{video.source.name} has sound in {' and '.join(tags) or 'none'}")
    return (
        f"{'; '.join(dict.fromkeys(held))}: each is offered with all of it, as players look for the"
        " same sound in every rendition"
    )


def _together(videos: Sequence[Video], target_us: int) -> bool:
    try:
        cut_together(videos, (), target_us, scan=False, notices=[])
    except PlanError:
        return False
    return True


def _with_video(
    videos: Sequence[Video],
    cuts: Cuts,
    audios: Sequence[Audio],
    belongs: Sequence[tuple[int, ...]],
    format: str,
    target_us: int,
    start_seconds: int,
) -> tuple[list[Rendition], list[tuple[int, ...]]]:
    following = [
        audio.following(cuts, frames, target_us)
        for audio, frames in zip(audios, begun_anew(audios), strict=True)
    ]
    muxed = format == "ts" and len(videos) == 1 and len(audios) == 1
    renditions = []
    for index, (video, firsts) in enumerate(zip(videos, cuts.firsts, strict=True)):
        scale = video.track.timescale
        begins = [(cuts.begins[index], scale)]
        end = (video.end_pts, scale)
        bounds = array("q", [*firsts, video.end])
        streams = [(video.track, bounds)]
        changes = cuts.changes
        if muxed:
            audio = audios[0]
            sound, anew = following[0]
            changes = changes + anew
            extra = len(sound) - len(bounds)
            bounds.extend([video.end] * extra)
            streams.append((audio.track, sound))
            audible = audio.track.timescale
            if audio.pts[0] / audible < cuts.begins[index][0] / scale - _NEGLIGIBLE:
                begins = [_moment(audio.pts[0], audible), (cuts.begins[index][1:], scale)]
            later = audio.times(sound[len(firsts) :])
            begins.append((later[:-1], audible))
            if extra or later[-1] / audible > video.end_pts / scale + _NEGLIGIBLE:
                end = (later[-1], audible)
        renditions.append(
            _rendition(
                f"v{index}",
                "video",
                format,
                streams,
                [*begins, _moment(*end)],
                changes,
                start_seconds,
                _names([video, *(audios if muxed else ())]),
            )
        )
    if muxed:
        return renditions, [()]
    for index, (audio, (bounds, anew)) in enumerate(zip(audios, following, strict=True)):
        changes = cuts.changes + anew
        begin = (cuts.times[0], cuts.timescale)
        renditions.append(_sound(index, audio, format, bounds, changes, begin, start_seconds))
    groups = [tuple(len(videos) + i for i in own) for own in belongs]
    return renditions, groups


def _moment(ticks: int, timescale: int) -> tuple[array[int], int]:
    """One time as a run of times, see `durations_us`."""
    return array("q", [ticks]), timescale


def _names(tracks: Iterable[Video | Audio]) -> str:
    """What messages call the inputs of some tracks."""
    return ", ".join(dict.fromkeys(track.source.name for track in tracks))


def _sound(
    index: int,
    audio: Audio,
    format: str,
    bounds: array[int],
    changes: Sequence[int],
    begin: tuple[int, int],
    start_seconds: int,
) -> Rendition:
    """`begin`: `(ticks, timescale)` of the presentation's time 0, from which late sound counts.

    What plays before it counts as well: players take time 0 from the first picture and leave that
    out, and EXTINF is the duration of what the segment holds (RFC 8216 4.3.2.1).
    """
    heard, scale = audio.times(bounds), audio.track.timescale
    times = [(heard, scale)]
    if heard[0] / scale > begin[0] / begin[1] + _NEGLIGIBLE:
        times = [_moment(*begin), (heard[1:], scale)]
    return _rendition(
        f"a{index}",
        "audio",
        format,
        [(audio.track, bounds)],
        times,
        changes,
        start_seconds,
        audio.source.name,
    )


def _rendition(
    name: str,
    kind: str,
    format: str,
    streams: Sequence[tuple[Track, array[int]]],
    times: Sequence[tuple[array[int], int]],
    changes: Sequence[int],
    start_seconds: int,
    source: str,
) -> Rendition:
    """A rendition without the segments that no sample is in: sound may begin late and end early.

    `times`: when segments begin, and the last one ends, see `durations_us`. `changes`: the segments
    before which something changes, rising.

    A segment's Discontinuity Sequence Number is EXT-X-DISCONTINUITY-SEQUENCE and a tag
    EXT-X-DISCONTINUITY for each one more (RFC 8216 6.2.1), and has to be that of matching segments
    in other playlists (6.2.4). So the changes before segments that are left out count as well.
    """
    marks = bytearray(len(streams[0][1]) - 1)
    for _, bounds in streams:
        _segmenter.filled(bounds, marks)
    kept = None
    if 0 in marks:
        kept = zeros(len(marks))
        kept = kept[: _segmenter.marked(marks, kept)]
        streams = [(track, picked(bounds, kept) + bounds[-1:]) for track, bounds in streams]
    steps: dict[int, int] = {}
    for change in changes:
        n = change if kept is None else below(kept, change)
        steps[n] = steps.get(n, 0) + 1
    # Those behind the last segment are before none.
    steps.pop(len(streams[0][1]) - 1, None)
    discontinuity_sequence = steps.pop(0, 0)
    # The first segment lasts from the presentation's begin on, whatever is left out before it.
    durations = durations_us(times, kept)
    if not any(durations):
        ids = " and ".join(str(track.id) for track, _ in streams)
        raise MalformedMedia(
            f"{source}: track {ids} lasts no time: all its samples have duration 0",
            place(streams[0][0], streams[0][1][0]),
        )
    return Rendition(
        name,
        kind,
        format,
        streams,
        durations,
        steps,
        discontinuity_sequence,
        (times[0][0][0], times[0][1]),
        start_seconds,
        source,
    )


def _audio_only(
    audios: Sequence[Audio], format: str, target_us: int, start_seconds: int
) -> tuple[list[Rendition], list[tuple[int, ...]]]:
    renditions = []
    first = min(audios, key=lambda audio: audio.pts[0] / audio.track.timescale)
    begin = (first.pts[0], first.track.timescale)
    for index, (audio, frames) in enumerate(zip(audios, begun_anew(audios), strict=True)):
        bounds, anew = audio.alone(frames, target_us)
        renditions.append(_sound(index, audio, format, bounds, anew, begin, start_seconds))
    # Several languages are alternatives of one variant stream, not variant streams of their own.
    several = len({rendition.language for rendition in renditions}) > 1
    if several:
        return renditions, [tuple(range(len(renditions)))]
    return renditions, [() for _ in renditions]


def _configs(track: Track, first: int, end: int) -> list[tuple[str, int, int, int, int]]:
    """The decoder configurations of samples `first..end`, in that order."""
    ends = [start for start, _ in track.config_runs[1:]] + [track.sample_count]
    runs = zip(track.config_runs, ends, strict=True)
    return [track.configs[index] for (start, index), stop in runs if start < end and stop > first]


def _frame_rate_milli(track: Track, bounds: array[int]) -> int | None:
    """Pictures in 1000 s, rounded; None where that is none.

    FRAME-RATE is the maximum for all the pictures (RFC 8216 4.3.4.2). The shortest distance of two
    of them would be the largest number, and the wrong one: where stamps are whole milliseconds, 29.97
    pictures a second are 33 ms apart as often as 34, and one stray stamp would make 1000. So it is
    the largest average over a segment, and the average over all of them where no segment's is
    larger by more than a millisecond, or a tick, at either end makes it.
    """
    scale, found = track.timescale, zeros(2)
    rounding = 2 * max(1, scale // 1000)
    # What lasts for less than half a second tells how its stamps were rounded.
    decoded = track.dts(bounds[0], bounds[-1])
    _segmenter.fastest(bounds, decoded, (scale + 1) // 2, rounding, found)
    pictures, ticks = found
    return round(pictures * scale / ticks * 1000) or None if ticks else None
