"""Media and multivariant playlists as values: parse and print.

RFC 8216, and rfc8216bis where it says more; section numbers are the former's.

A value holds what the playlist means, not how it was written. A key is in force for a segment or it
is not, so METHOD=NONE is `key=None`; a byte range always has its offset; attributes that are not
understood are gone. Printing finds the fewest tags that say it: EXT-X-KEY and EXT-X-MAP appear
where they change, and EXT-X-VERSION is the lowest that the features allow. What cannot be printed
cannot be built: constructors raise ValueError.

Numbers are whole: EXTINF in microseconds, FRAME-RATE in thousandths. Who rounds them does it once,
and knows how.

EXT-X-DEFINE and EXT-X-SKIP change what other lines mean, so they are refused. Tags and attributes
that merely add something (I-frame renditions, captions, session data, dates) are passed over.
"""

from __future__ import annotations

from pystream.errors import PystreamError

# Importing typing or dataclasses would cost a command's start more than everything else here
# together: 6 and 11 ms (dataclasses brings inspect along), and 5 ms more for making the classes.
# Type checkers take this name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn, Self

SECOND_US = 1_000_000

_WHOLE_END = 1 << 64  # a decimal-integer is below this, 4.2
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_set = object.__setattr__


class PlaylistError(PystreamError, ValueError):
    """A text is no playlist. `line` counts from 1."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


class _Value:
    """A record that never changes. `__match_args__` names its fields in the constructor's order."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def _fields(self) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        fields = dict(zip(self.__match_args__, self._fields(), strict=True))
        return type(self)(**{**fields, **changes})

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.__match_args__]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._fields()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")


class Key(_Value):
    """EXT-X-KEY with METHOD=AES-128 (4.3.2.4).

    iv: 16 bytes; None where the media sequence number is the IV (5.2).
    """

    __match_args__ = ("uri", "iv")
    __slots__ = __match_args__
    uri: str
    iv: bytes | None

    def __init__(self, uri: str, iv: bytes | None = None) -> None:
        if iv is not None and len(iv) != 16:
            raise ValueError(f"an IV has 16 bytes, not {len(iv)}")
        _set(self, "uri", _uri(uri))
        _set(self, "iv", iv)

    def tag(self) -> str:
        iv = "" if self.iv is None else f",IV=0x{self.iv.hex()}"
        return f'#EXT-X-KEY:METHOD=AES-128,URI="{self.uri}"{iv}'


class Map(_Value):
    """EXT-X-MAP, a media initialization section (4.3.2.5).

    key: the key it is encrypted under. Its IV must be explicit, since the section has no media
    sequence number.
    byterange: (length, offset) within the resource.
    """

    __match_args__ = ("uri", "key", "byterange")
    __slots__ = __match_args__
    uri: str
    key: Key | None
    byterange: tuple[int, int] | None

    def __init__(
        self, uri: str, key: Key | None = None, byterange: tuple[int, int] | None = None
    ) -> None:
        if key is not None and key.iv is None:
            raise ValueError("the key of an EXT-X-MAP needs an IV (4.3.2.5)")
        _set(self, "uri", _uri(uri))
        _set(self, "key", key)
        _set(self, "byterange", _byterange(byterange))

    def tag(self) -> str:
        extent = ""
        if self.byterange is not None:
            extent = f',BYTERANGE="{self.byterange[0]}@{self.byterange[1]}"'
        return f'#EXT-X-MAP:URI="{self.uri}"{extent}'


class Segment(_Value):
    """A media segment, and all that is in force for it (4.3.2).

    duration_us: EXTINF in microseconds.
    discontinuity: EXT-X-DISCONTINUITY tags before it. More than one where other playlists have
    segments between that this one has not: numbers of matching content have to match (6.2.4), and
    each tag counts (6.2.1).
    byterange: (length, offset) within the resource.
    gap: the segment is missing (rfc8216bis 4.4.4.7).
    """

    __match_args__ = (
        "uri",
        "duration_us",
        "key",
        "map",
        "discontinuity",
        "title",
        "byterange",
        "gap",
    )
    __slots__ = __match_args__
    uri: str
    duration_us: int
    key: Key | None
    map: Map | None
    discontinuity: int
    title: str
    byterange: tuple[int, int] | None
    gap: bool

    def __init__(
        self,
        uri: str,
        duration_us: int,
        key: Key | None = None,
        map: Map | None = None,
        discontinuity: int = 0,
        title: str = "",
        byterange: tuple[int, int] | None = None,
        gap: bool = False,
    ) -> None:
        _set(self, "uri", _uri(uri))
        _set(self, "duration_us", _whole("the duration", duration_us))
        _set(self, "key", key)
        _set(self, "map", map)
        _set(self, "discontinuity", _whole("the number of discontinuities", discontinuity))
        _set(self, "title", title and _text(title))
        _set(self, "byterange", byterange and _byterange(byterange))
        _set(self, "gap", gap)


class MediaPlaylist(_Value):
    """A media playlist (4.3.3).

    target_duration: EXT-X-TARGETDURATION in seconds, see the function of that name.
    discontinuity_sequence: of the first segment, its own tags not counted (4.3.3.3).
    playlist_type: "VOD", "EVENT" or None.
    end: nothing will be added (EXT-X-ENDLIST).
    i_frames_only: each segment is a single I-frame (4.3.3.6).
    """

    __match_args__ = (
        "target_duration",
        "segments",
        "media_sequence",
        "discontinuity_sequence",
        "playlist_type",
        "end",
        "independent_segments",
        "i_frames_only",
    )
    __slots__ = __match_args__
    target_duration: int
    segments: tuple[Segment, ...]
    media_sequence: int
    discontinuity_sequence: int
    playlist_type: str | None
    end: bool
    independent_segments: bool
    i_frames_only: bool

    def __init__(
        self,
        target_duration: int,
        segments: Iterable[Segment],
        media_sequence: int = 0,
        discontinuity_sequence: int = 0,
        playlist_type: str | None = None,
        end: bool = False,
        independent_segments: bool = False,
        i_frames_only: bool = False,
    ) -> None:
        segments = tuple(segments)
        if playlist_type not in (None, "VOD", "EVENT"):
            raise ValueError(f"playlist type {playlist_type!r} is neither VOD nor EVENT")
        _whole("the target duration", target_duration)
        # 4.3.3.1: the EXTINF of each segment, rounded to the nearest integer, is at most the target
        # duration.
        beyond = target_duration * SECOND_US + SECOND_US // 2
        mapped = False
        for number, segment in enumerate(segments):
            if segment.duration_us >= beyond:
                raise ValueError(
                    f"segment {number} lasts {_fixed(segment.duration_us, 6)} s,"
                    f" too long for a target duration of {target_duration} s"
                )
            if segment.map is None and mapped:
                raise ValueError(
                    f"segment {number} has no map after one that has; EXT-X-MAP stays in force"
                )
            mapped = segment.map is not None
        _set(self, "target_duration", target_duration)
        _set(self, "segments", segments)
        _set(self, "media_sequence", _whole("the media sequence", media_sequence))
        _set(
            self,
            "discontinuity_sequence",
            _whole("the discontinuity sequence", discontinuity_sequence),
        )
        _set(self, "playlist_type", playlist_type)
        _set(self, "end", end)
        _set(self, "independent_segments", independent_segments)
        _set(self, "i_frames_only", i_frames_only)

    @property
    def version(self) -> int:
        """The lowest EXT-X-VERSION that the features allow (7)."""
        if any(segment.map for segment in self.segments):
            return 5 if self.i_frames_only else 6
        if self.i_frames_only or any(segment.byterange for segment in self.segments):
            return 4
        # EXTINF is always printed with decimals, which asks for 3, so the IV attribute, which asks
        # for 2, never decides.
        return 3 if self.segments else 1

    def text(self) -> str:
        """The playlist as it is served; time grows with the number of segments."""
        lines = _head(self.version, self.independent_segments)
        lines.append(f"#EXT-X-TARGETDURATION:{self.target_duration}")
        if self.playlist_type is not None:
            lines.append(f"#EXT-X-PLAYLIST-TYPE:{self.playlist_type}")
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{self.media_sequence}")
        if self.discontinuity_sequence:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.discontinuity_sequence}")
        if self.i_frames_only:
            lines.append("#EXT-X-I-FRAMES-ONLY")
        key: Key | None = None
        map: Map | None = None
        for segment in self.segments:
            if segment.discontinuity:
                lines += ["#EXT-X-DISCONTINUITY"] * segment.discontinuity
            # The key that is in force where EXT-X-MAP stands is the map's, the one after it the
            # segment's.
            if segment.map is not map and segment.map is not None and segment.map != map:
                map = segment.map
                _change_key(lines, key, map.key)
                key = map.key
                lines.append(map.tag())
            if segment.key is not key:
                _change_key(lines, key, segment.key)
                key = segment.key
            if segment.gap:
                lines.append("#EXT-X-GAP")
            if segment.byterange is not None:
                lines.append(f"#EXT-X-BYTERANGE:{segment.byterange[0]}@{segment.byterange[1]}")
            seconds, micros = divmod(segment.duration_us, SECOND_US)
            lines.append(f"#EXTINF:{seconds}.{micros:06},{segment.title}\n{segment.uri}")
        if self.end:
            lines.append("#EXT-X-ENDLIST")
        lines.append("")
        return "\n".join(lines)

    __str__ = text


class Rendition(_Value):
    """EXT-X-MEDIA (4.3.4.1).

    type: "AUDIO", "VIDEO" or "SUBTITLES".
    language: RFC 5646.
    default, autoselect: default requires autoselect.
    channels: the CHANNELS attribute, as "2" or "6".
    uri: None where the rendition is inside the variant stream's own segments.
    """

    __match_args__ = (
        "type",
        "group_id",
        "name",
        "uri",
        "language",
        "default",
        "autoselect",
        "channels",
    )
    __slots__ = __match_args__
    type: str
    group_id: str
    name: str
    uri: str | None
    language: str | None
    default: bool
    autoselect: bool
    channels: str | None

    def __init__(
        self,
        type: str,
        group_id: str,
        name: str,
        uri: str | None = None,
        language: str | None = None,
        default: bool = False,
        autoselect: bool = False,
        channels: str | None = None,
    ) -> None:
        if type not in ("AUDIO", "VIDEO", "SUBTITLES"):
            raise ValueError(f"rendition type {type!r} is none of AUDIO, VIDEO, SUBTITLES")
        if type == "SUBTITLES" and uri is None:
            raise ValueError("a SUBTITLES rendition needs a URI (4.3.4.1)")
        if default and not autoselect:
            raise ValueError("a default rendition must be autoselect too (4.3.4.1)")
        _set(self, "type", type)
        _set(self, "group_id", _quotable(group_id))
        _set(self, "name", _quotable(name))
        _set(self, "uri", uri if uri is None else _uri(uri))
        _set(self, "language", language if language is None else _quotable(language))
        _set(self, "default", default)
        _set(self, "autoselect", autoselect)
        _set(self, "channels", channels if channels is None else _quotable(channels))

    def tag(self) -> str:
        attributes = [
            f'TYPE={self.type},GROUP-ID="{self.group_id}",NAME="{self.name}"',
            f"DEFAULT={_yes_no(self.default)},AUTOSELECT={_yes_no(self.autoselect)}",
        ]
        if self.language is not None:
            attributes.insert(1, f'LANGUAGE="{self.language}"')
        if self.channels is not None:
            attributes.append(f'CHANNELS="{self.channels}"')
        if self.uri is not None:
            attributes.append(f'URI="{self.uri}"')
        return "#EXT-X-MEDIA:" + ",".join(attributes)


class Variant(_Value):
    """EXT-X-STREAM-INF and its URI (4.3.4.2).

    bandwidth, average_bandwidth: bits a second, as `peak_bps` and `average_bps` of the segments
    say. They are never 0.
    codecs: RFC 6381, one for each codec that occurs in the variant stream and its renditions.
    resolution: (width, height).
    frame_rate_milli: frames in a thousand seconds.
    audio, subtitles: the GROUP-ID of renditions.
    """

    __match_args__ = (
        "uri",
        "bandwidth",
        "average_bandwidth",
        "codecs",
        "resolution",
        "frame_rate_milli",
        "audio",
        "subtitles",
    )
    __slots__ = __match_args__
    uri: str
    bandwidth: int
    average_bandwidth: int | None
    codecs: tuple[str, ...]
    resolution: tuple[int, int] | None
    frame_rate_milli: int | None
    audio: str | None
    subtitles: str | None

    def __init__(
        self,
        uri: str,
        bandwidth: int,
        average_bandwidth: int | None = None,
        codecs: Sequence[str] = (),
        resolution: tuple[int, int] | None = None,
        frame_rate_milli: int | None = None,
        audio: str | None = None,
        subtitles: str | None = None,
    ) -> None:
        codecs = tuple(codecs)
        for codec in codecs:
            if "," in _quotable(codec) or codec.split() != [codec]:
                raise ValueError(f"codec {codec!r} is empty, or has a comma or white space")
        if average_bandwidth is not None:
            _whole("the average bandwidth", average_bandwidth, 1)
        if resolution is not None:
            resolution = (
                _whole("the width", resolution[0], 1),
                _whole("the height", resolution[1], 1),
            )
        if frame_rate_milli is not None:
            _whole("the frame rate", frame_rate_milli, 1)
        _set(self, "uri", _uri(uri))
        _set(self, "bandwidth", _whole("the bandwidth", bandwidth, 1))
        _set(self, "average_bandwidth", average_bandwidth)
        _set(self, "codecs", codecs)
        _set(self, "resolution", resolution)
        _set(self, "frame_rate_milli", frame_rate_milli)
        _set(self, "audio", audio if audio is None else _quotable(audio))
        _set(self, "subtitles", subtitles if subtitles is None else _quotable(subtitles))

    def tag(self) -> str:
        attributes = [f"BANDWIDTH={self.bandwidth}"]
        if self.average_bandwidth is not None:
            attributes.append(f"AVERAGE-BANDWIDTH={self.average_bandwidth}")
        if self.codecs:
            attributes.append(f'CODECS="{",".join(self.codecs)}"')
        if self.resolution is not None:
            attributes.append(f"RESOLUTION={self.resolution[0]}x{self.resolution[1]}")
        if self.frame_rate_milli is not None:
            attributes.append(f"FRAME-RATE={_fixed(self.frame_rate_milli, 3)}")
        if self.audio is not None:
            attributes.append(f'AUDIO="{self.audio}"')
        if self.subtitles is not None:
            attributes.append(f'SUBTITLES="{self.subtitles}"')
        return "#EXT-X-STREAM-INF:" + ",".join(attributes)


class MultivariantPlaylist(_Value):
    """A multivariant playlist (4.3.4; RFC 8216 calls it a master playlist)."""

    __match_args__ = ("variants", "renditions", "independent_segments")
    __slots__ = __match_args__
    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...]
    independent_segments: bool

    def __init__(
        self,
        variants: Iterable[Variant],
        renditions: Iterable[Rendition] = (),
        independent_segments: bool = False,
    ) -> None:
        variants, renditions = tuple(variants), tuple(renditions)
        if not variants:
            raise ValueError("a multivariant playlist has at least one variant stream")
        _check_groups(variants, renditions)
        _set(self, "variants", variants)
        _set(self, "renditions", renditions)
        _set(self, "independent_segments", independent_segments)

    @property
    def version(self) -> int:
        """The lowest EXT-X-VERSION that the features allow (7): none asks for more than 1."""
        return 1

    def text(self) -> str:
        """The playlist as it is served."""
        lines = _head(self.version, self.independent_segments)
        lines += [rendition.tag() for rendition in self.renditions]
        lines += [f"{variant.tag()}\n{variant.uri}" for variant in self.variants]
        lines.append("")
        return "\n".join(lines)

    __str__ = text


def target_duration(segments: Iterable[Segment]) -> int:
    """The least EXT-X-TARGETDURATION: the longest EXTINF, half a second rounded up (4.3.3.1).

    Of all playlists of a presentation, one value (6.2.4): chain their segments. At least 1, since
    players divide by it.
    """
    longest_us = max([segment.duration_us for segment in segments], default=0)
    return max(1, (longest_us + SECOND_US // 2) // SECOND_US)


def _check_groups(variants: tuple[Variant, ...], renditions: tuple[Rendition, ...]) -> None:
    """Names are unique in a group, one member is the default, groups of a type have the same members,
    each group exists (4.3.4)."""
    # The members of each group by name: what of their attributes must be the same in all groups.
    groups: dict[tuple[str, str], dict[str, tuple[str | None, bool, bool]]] = {}
    defaults: set[tuple[str, str]] = set()
    for rendition in renditions:
        group = (rendition.type, rendition.group_id)
        members = groups.setdefault(group, {})
        if rendition.name in members:
            raise ValueError(
                f"{rendition.type} group {rendition.group_id!r} has {rendition.name!r} twice"
            )
        members[rendition.name] = (rendition.language, rendition.default, rendition.autoselect)
        if rendition.default and group in defaults:
            raise ValueError(f"{rendition.type} group {rendition.group_id!r} has two defaults")
        if rendition.default:
            defaults.add(group)
    first: dict[str, tuple[str, str]] = {}
    for group, members in groups.items():
        other = first.setdefault(group[0], group)
        if differ := dict(members.items() ^ groups[other].items()):
            raise ValueError(
                f"{group[0]} groups {other[1]!r} and {group[1]!r} differ in {min(differ)!r}: each"
                " needs the same members, alike in all but URI and CHANNELS (4.3.4.1.1)"
            )
    for variant in variants:
        for wanted in (("AUDIO", variant.audio), ("SUBTITLES", variant.subtitles)):
            if wanted[1] is not None and wanted not in groups:
                raise ValueError(
                    f"{variant.uri} names {wanted[0]} group {wanted[1]!r}, which has no rendition"
                )


# Printing.


def _head(version: int, independent_segments: bool) -> list[str]:
    lines = ["#EXTM3U"]
    if version > 1:
        lines.append(f"#EXT-X-VERSION:{version}")
    if independent_segments:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    return lines


def _change_key(lines: list[str], before: Key | None, now: Key | None) -> None:
    if now != before:
        lines.append("#EXT-X-KEY:METHOD=NONE" if now is None else now.tag())


def _fixed(value: int, places: int) -> str:
    whole, rest = divmod(value, 10**places)
    return f"{whole}.{rest:0{places}}"


def _yes_no(value: bool) -> str:
    return "YES" if value else "NO"


# What values may hold.


def _text(value: str) -> str:
    """No control characters (4.1), and nothing that UTF-8 cannot encode."""
    if not value.isprintable():
        for character in value:
            if (
                character < " "
                or "\x7f" <= character <= "\x9f"
                or "\ud800" <= character <= "\udfff"
            ):
                raise ValueError(
                    f"{value!r} has the character {character!r}, which no playlist may have"
                )
    return value


def _quotable(value: str) -> str:
    if '"' in value:
        raise ValueError(f"{value!r} has a quotation mark, which a quoted-string cannot have (4.2)")
    return _text(value)


def _uri(value: str) -> str:
    """Kept as it is, relative or not. White space or a leading # would make another line of it."""
    # A long playlist has thousands: most of them are seen to be fine without another call.
    if value.isprintable() and " " not in value and '"' not in value and value[:1] not in ("", "#"):
        return value
    if value.split() != [value] or value.startswith("#"):
        raise ValueError(f"{value!r} is no URI: it is empty, has white space or begins with #")
    return _quotable(value)


def _whole(what: str, value: int, least: int = 0) -> int:
    if not least <= value < _WHOLE_END:
        raise ValueError(f"{what} is {value}, not in {least}..2^64 - 1")
    return value


def _byterange(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is not None:
        length, offset = value
        _whole("the byte range's length", length, 1)
        _whole("the byte range's offset", offset)
        _whole("the byte range's end", offset + length)
    return value


# Parsing.

_EITHER = frozenset({"#EXT-X-VERSION", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START"})
_OF_SEGMENT = frozenset(
    {
        "#EXTINF",
        "#EXT-X-BYTERANGE",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-KEY",
        "#EXT-X-MAP",
        "#EXT-X-PROGRAM-DATE-TIME",
        "#EXT-X-DATERANGE",
        "#EXT-X-GAP",
        "#EXT-X-BITRATE",
        "#EXT-X-PART",
    }
)
# 4.3.3: at most one of each.
_OF_MEDIA = frozenset(
    {
        "#EXT-X-TARGETDURATION",
        "#EXT-X-MEDIA-SEQUENCE",
        "#EXT-X-DISCONTINUITY-SEQUENCE",
        "#EXT-X-ENDLIST",
        "#EXT-X-PLAYLIST-TYPE",
        "#EXT-X-I-FRAMES-ONLY",
        "#EXT-X-PART-INF",
        "#EXT-X-SERVER-CONTROL",
    }
)
_OF_MULTIVARIANT = frozenset(
    {
        "#EXT-X-MEDIA",
        "#EXT-X-STREAM-INF",
        "#EXT-X-I-FRAME-STREAM-INF",
        "#EXT-X-SESSION-DATA",
        "#EXT-X-SESSION-KEY",
        "#EXT-X-CONTENT-STEERING",
    }
)
_ONCE = _EITHER | _OF_MEDIA
_BARE = frozenset(
    {
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-GAP",
        "#EXT-X-ENDLIST",
        "#EXT-X-I-FRAMES-ONLY",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    }
)
_HEX = "0123456789ABCDEFabcdef"
_REFUSED = frozenset({"#EXT-X-DEFINE", "#EXT-X-SKIP"})


def parse(text: str) -> MediaPlaylist | MultivariantPlaylist:
    """Read a playlist; PlaylistError with the line where it is none (4.1, 4.2)."""
    entries: list[tuple[int, str, str]] = []
    kind = ""
    number = 1
    try:
        lines = text.split("\n")
        if lines[0].removesuffix("\r") != "#EXTM3U":
            raise ValueError("a playlist begins with #EXTM3U, and no byte order mark before it")
        for number, line in enumerate(lines[1:], 2):
            line = _text(line.removesuffix("\r"))
            if line.startswith("#EXT"):
                name, _, value = line.partition(":")
                known = _kind(name)
                if kind and known and kind != known:
                    raise ValueError(f"{name} in a {kind} playlist")
                kind = kind or known
                if known or name in _EITHER:
                    entries.append((number, name, value))
            elif line and line[0] != "#":
                entries.append((number, "", line))
        reader = _MultivariantReader() if kind == "multivariant" else _MediaReader()
        once = set(_ONCE)
        for entry in entries:
            number, name, value = entry
            if name in _ONCE:
                if name not in once:
                    raise ValueError(f"{name} a second time")
                once.remove(name)
            if value and name in _BARE:
                raise ValueError(f"{name} has no value")
            if name == "#EXT-X-VERSION":
                _decimal(value)
            reader.take(name, value)
        return reader.done()
    except ValueError as error:
        raise PlaylistError(str(error), number) from None


def _kind(name: str) -> str:
    if name in _REFUSED:
        raise ValueError(f"{name} is not understood, and changes what the other lines mean")
    if name in _OF_SEGMENT or name in _OF_MEDIA:
        return "media"
    return "multivariant" if name in _OF_MULTIVARIANT else ""


class _MediaReader:
    """Collects what is in force until a URI makes a segment of it (4.3.2)."""

    def __init__(self) -> None:
        self.target_duration: int | None = None
        self.rest: dict[str, Any] = {}
        self.segments: list[Segment] = []
        self.key: Key | None = None
        self.map: Map | None = None
        self.extent: tuple[str, int] | None = None  # resource and end of the last byte range
        self.clear()

    def clear(self) -> None:
        """Forget what holds for one segment only."""
        self.duration_us: int | None = None
        self.title = ""
        self.byterange: tuple[int, int | None] | None = None
        self.discontinuity = 0
        self.gap = False

    def take(self, name: str, value: str) -> None:
        if not name:
            self.segment(value)
        elif name == "#EXTINF":
            if self.duration_us is not None:
                raise ValueError("#EXTINF a second time before the URI")
            duration, comma, self.title = value.partition(",")
            if not comma:
                raise ValueError("#EXTINF has no comma after the duration")
            self.duration_us = _scaled(duration, 6)
        elif name == "#EXT-X-KEY":
            self.key = _read_key(_attributes(value))
        elif name == "#EXT-X-MAP":
            self.map = _read_map(_attributes(value), self.key)
        elif name == "#EXT-X-BYTERANGE":
            self.byterange = _read_byterange(value)
        elif name == "#EXT-X-DISCONTINUITY":
            self.discontinuity += 1
        elif name == "#EXT-X-GAP":
            self.gap = True
        else:
            self.take_header(name, value)

    def take_header(self, name: str, value: str) -> None:
        if name == "#EXT-X-TARGETDURATION":
            self.target_duration = _decimal(value)
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            if self.segments:
                raise ValueError(f"{name} after the first segment (4.3.3.2)")
            self.rest["media_sequence"] = _decimal(value)
        elif name == "#EXT-X-DISCONTINUITY-SEQUENCE":
            if self.segments or self.discontinuity:
                raise ValueError(f"{name} after the first segment or discontinuity (4.3.3.3)")
            self.rest["discontinuity_sequence"] = _decimal(value)
        elif name == "#EXT-X-PLAYLIST-TYPE":
            if value not in ("VOD", "EVENT"):
                raise ValueError(f"{name} is neither VOD nor EVENT")
            self.rest["playlist_type"] = value
        elif name == "#EXT-X-ENDLIST":
            self.rest["end"] = True
        elif name == "#EXT-X-I-FRAMES-ONLY":
            self.rest["i_frames_only"] = True
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            self.rest["independent_segments"] = True

    def segment(self, uri: str) -> None:
        if self.duration_us is None:
            raise ValueError("a URI without #EXTINF before it")
        byterange = None
        if self.byterange is not None:
            length, offset = self.byterange
            if offset is None:
                if self.extent is None or self.extent[0] != uri:
                    raise ValueError(
                        "a byte range without offset, and none before it in this resource (4.3.2.2)"
                    )
                offset = self.extent[1]
            byterange = (length, offset)
        self.extent = None if byterange is None else (uri, sum(byterange))
        self.segments.append(
            Segment(
                uri,
                self.duration_us,
                self.key,
                self.map,
                self.discontinuity,
                self.title,
                byterange,
                self.gap,
            )
        )
        self.clear()

    def done(self) -> MediaPlaylist:
        if self.duration_us is not None:
            raise ValueError("#EXTINF without a URI after it")
        if self.target_duration is None:
            raise ValueError("a media playlist needs #EXT-X-TARGETDURATION (4.3.3.1)")
        return MediaPlaylist(self.target_duration, self.segments, **self.rest)


class _MultivariantReader:
    def __init__(self) -> None:
        self.variants: list[Variant] = []
        self.renditions: list[Rendition] = []
        self.independent_segments = False
        self.pending: dict[str, Any] | None = None

    def take(self, name: str, value: str) -> None:
        if not name:
            if self.pending is None:
                raise ValueError("a URI without #EXT-X-STREAM-INF before it")
            self.variants.append(Variant(value, **self.pending))
            self.pending = None
        elif self.pending is not None:
            raise ValueError("#EXT-X-STREAM-INF without its URI on the next line (4.3.4.2)")
        elif name == "#EXT-X-STREAM-INF":
            self.pending = _read_variant(_attributes(value))
        elif name == "#EXT-X-MEDIA":
            attributes = _attributes(value)
            # Closed captions lie inside the video; they are no resource of their own.
            if attributes.get("TYPE") != "CLOSED-CAPTIONS":
                self.renditions.append(_read_rendition(attributes))
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            self.independent_segments = True

    def done(self) -> MultivariantPlaylist:
        if self.pending is not None:
            raise ValueError("#EXT-X-STREAM-INF without a URI after it")
        return MultivariantPlaylist(self.variants, self.renditions, self.independent_segments)


def _read_key(attributes: dict[str, str]) -> Key | None:
    method = _needed(attributes, "METHOD")
    if method == "NONE":
        if len(attributes) > 1:
            raise ValueError("METHOD=NONE with further attributes (4.3.2.4)")
        return None
    if method != "AES-128" or _string(attributes, "KEYFORMAT") not in (None, "identity"):
        raise ValueError("the only keys understood are METHOD=AES-128 with KEYFORMAT identity")
    _needed(attributes, "URI")
    iv = attributes.get("IV")
    return Key(_string(attributes, "URI") or "", None if iv is None else _read_iv(iv))


def _read_iv(value: str) -> bytes:
    digits = value[2:]
    if value[:2] not in ("0x", "0X") or not 1 <= len(digits) <= 32 or digits.strip(_HEX):
        raise ValueError(f"IV={value} is not 0x and up to 32 hexadecimal digits")
    return bytes.fromhex(digits.zfill(32))


def _read_map(attributes: dict[str, str], key: Key | None) -> Map:
    _needed(attributes, "URI")
    byterange = _string(attributes, "BYTERANGE")
    extent = None
    if byterange is not None:
        length, offset = _read_byterange(byterange)
        extent = (length, offset or 0)
    return Map(_string(attributes, "URI") or "", key, extent)


def _read_byterange(value: str) -> tuple[int, int | None]:
    length, at, offset = value.partition("@")
    return _decimal(length), _decimal(offset) if at else None


def _read_variant(attributes: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "bandwidth": _decimal(_needed(attributes, "BANDWIDTH")),
        "audio": _string(attributes, "AUDIO"),
        "subtitles": _string(attributes, "SUBTITLES"),
    }
    if "AVERAGE-BANDWIDTH" in attributes:
        fields["average_bandwidth"] = _decimal(attributes["AVERAGE-BANDWIDTH"])
    codecs = _string(attributes, "CODECS")
    if codecs:
        fields["codecs"] = [codec.strip(" ") for codec in codecs.split(",")]
    if "RESOLUTION" in attributes:
        width, _, height = attributes["RESOLUTION"].partition("x")
        fields["resolution"] = (_decimal(width), _decimal(height))
    if "FRAME-RATE" in attributes:
        fields["frame_rate_milli"] = _scaled(attributes["FRAME-RATE"], 3)
    return fields


def _read_rendition(attributes: dict[str, str]) -> Rendition:
    for name in ("GROUP-ID", "NAME"):
        _needed(attributes, name)
    default = _read_yes_no(attributes, "DEFAULT")
    return Rendition(
        _needed(attributes, "TYPE"),
        _string(attributes, "GROUP-ID") or "",
        _string(attributes, "NAME") or "",
        _string(attributes, "URI"),
        _string(attributes, "LANGUAGE"),
        default,
        # A default rendition is selected automatically where nothing is said, 4.3.4.1.
        _read_yes_no(attributes, "AUTOSELECT", default),
        _string(attributes, "CHANNELS"),
    )


def _read_yes_no(attributes: dict[str, str], name: str, absent: bool = False) -> bool:
    value = attributes.get(name)
    if value not in (None, "YES", "NO"):
        raise ValueError(f"{name} is neither YES nor NO")
    return absent if value is None else value == "YES"


def _attributes(text: str) -> dict[str, str]:
    """An attribute list (4.2), quoted-strings still in their quotes."""
    attributes: dict[str, str] = {}
    at = 0
    while True:
        equals = text.find("=", at)
        name = text[at:equals]
        if equals <= at or not _NAME.issuperset(name):
            raise ValueError(f"no attribute at {text[at : at + 20]!r}")
        if name in attributes:
            raise ValueError(f"attribute {name} a second time (4.2)")
        start = equals + 1
        if text[start : start + 1] == '"':
            end = text.find('"', start + 1) + 1
            if end == 0:
                raise ValueError(f"attribute {name} has no closing quotation mark")
        else:
            end = text.find(",", start)
            end = len(text) if end < 0 else end
            if '"' in text[start:end] or text[start:end].split() != [text[start:end]]:
                raise ValueError(
                    f"attribute {name} is empty, or has white space or quotation marks"
                )
        attributes[name] = text[start:end]
        if end == len(text):
            return attributes
        if text[end] != ",":
            raise ValueError(f"no comma after attribute {name}")
        at = end + 1


def _needed(attributes: dict[str, str], name: str) -> str:
    if name not in attributes:
        raise ValueError(f"attribute {name} is missing")
    return attributes[name]


def _string(attributes: dict[str, str], name: str) -> str | None:
    value = attributes.get(name)
    if value is not None:
        if value[0] != '"':
            raise ValueError(f"attribute {name} must be in quotation marks")
        value = value[1:-1]
    return value


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _decimal(text: str) -> int:
    """A decimal-integer: 1 to 20 digits (4.2)."""
    if not _digits(text) or len(text) > 20 or int(text) >= _WHOLE_END:
        raise ValueError(f"{text[:30]!r} is no decimal integer below 2^64")
    return int(text)


def _scaled(text: str, places: int) -> int:
    """A decimal-floating-point (4.2) times 10^places, half rounded up."""
    whole, _, fraction = text.partition(".")
    if not _digits(whole + fraction) or len(text) > 40:
        raise ValueError(f"{text[:50]!r} is no decimal number")
    scaled = int(whole + fraction[:places].ljust(places, "0"))
    return scaled + (fraction[places : places + 1] >= "5")
