"""Playlists as values: one table of cases prints, parses and round-trips."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pystream.playlist import (
    Key,
    Map,
    MediaPlaylist,
    MultivariantPlaylist,
    PlaylistError,
    Rendition,
    Segment,
    Variant,
    parse,
    target_duration,
)

IV = bytes(range(16))
IV_HEX = "0x000102030405060708090a0b0c0d0e0f"
NEXT_IV = bytes([*range(15), 16])
NEXT_IV_HEX = "0x000102030405060708090a0b0c0d0e10"
KEY = Key("0.key")
INIT = Map("init.mp4")
SECOND_US = 1_000_000

CASES: dict[str, tuple[MediaPlaylist | MultivariantPlaylist, str]] = {
    "nothing yet": (
        MediaPlaylist(6, []),
        """\
#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:0
""",
    ),
    "clear TS": (
        MediaPlaylist(
            6,
            [Segment("0.ts", 6_006_000), Segment("1.ts", 1, title="a, b")],
            playlist_type="VOD",
            end=True,
            independent_segments=True,
        ),
        """\
#EXTM3U
#EXT-X-VERSION:3
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:6
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-MEDIA-SEQUENCE:0
#EXTINF:6.006000,
0.ts
#EXTINF:0.000001,a, b
1.ts
#EXT-X-ENDLIST
""",
    ),
    "a key, then the next, then none": (
        MediaPlaylist(
            6,
            [
                Segment("7.ts", 6 * SECOND_US, KEY),
                Segment("8.ts", 6 * SECOND_US, KEY),
                Segment("9.ts", 6 * SECOND_US, Key("1.key", IV)),
                Segment("10.ts", 6 * SECOND_US),
            ],
            media_sequence=7,
        ),
        f"""\
#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-KEY:METHOD=AES-128,URI="0.key"
#EXTINF:6.000000,
7.ts
#EXTINF:6.000000,
8.ts
#EXT-X-KEY:METHOD=AES-128,URI="1.key",IV={IV_HEX}
#EXTINF:6.000000,
9.ts
#EXT-X-KEY:METHOD=NONE
#EXTINF:6.000000,
10.ts
""",
    ),
    "an encrypted init section under its own IV": (
        MediaPlaylist(
            6,
            [
                Segment("0.m4s", 6 * SECOND_US, KEY, Map("init.mp4", Key("0.key", IV))),
                Segment("1.m4s", 6 * SECOND_US, KEY, Map("init.mp4", Key("0.key", IV))),
            ],
        ),
        f"""\
#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-KEY:METHOD=AES-128,URI="0.key",IV={IV_HEX}
#EXT-X-MAP:URI="init.mp4"
#EXT-X-KEY:METHOD=AES-128,URI="0.key"
#EXTINF:6.000000,
0.m4s
#EXTINF:6.000000,
1.m4s
""",
    ),
    "a change of configuration under one key": (
        MediaPlaylist(
            6,
            [
                Segment("0.m4s", 6 * SECOND_US, Key("k", IV), Map("a.mp4", Key("k", NEXT_IV))),
                Segment(
                    "1.m4s",
                    6 * SECOND_US,
                    Key("k", IV),
                    Map("b.mp4", Key("k", IV)),
                    discontinuity=1,
                ),
            ],
            discontinuity_sequence=3,
        ),
        f"""\
#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-KEY:METHOD=AES-128,URI="k",IV={NEXT_IV_HEX}
#EXT-X-MAP:URI="a.mp4"
#EXT-X-KEY:METHOD=AES-128,URI="k",IV={IV_HEX}
#EXTINF:6.000000,
0.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="b.mp4"
#EXTINF:6.000000,
1.m4s
""",
    ),
    "changes that other playlists have segments between": (
        MediaPlaylist(
            6,
            [
                Segment("0.ts", 6 * SECOND_US, discontinuity=1),
                Segment("1.ts", 6 * SECOND_US, discontinuity=2),
            ],
            discontinuity_sequence=4,
        ),
        """\
#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:4
#EXT-X-DISCONTINUITY
#EXTINF:6.000000,
0.ts
#EXT-X-DISCONTINUITY
#EXT-X-DISCONTINUITY
#EXTINF:6.000000,
1.ts
""",
    ),
    "a clear init section before encrypted segments": (
        MediaPlaylist(6, [Segment("0.m4s", 1, KEY, INIT)], playlist_type="EVENT"),
        """\
#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:6
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-MAP:URI="init.mp4"
#EXT-X-KEY:METHOD=AES-128,URI="0.key"
#EXTINF:0.000001,
0.m4s
""",
    ),
    "ranges of one resource, and a gap": (
        MediaPlaylist(
            6,
            [
                Segment("all.ts", SECOND_US, byterange=(188, 0)),
                Segment("all.ts", SECOND_US, byterange=(376, 188), gap=True),
            ],
        ),
        """\
#EXTM3U
#EXT-X-VERSION:4
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-BYTERANGE:188@0
#EXTINF:1.000000,
all.ts
#EXT-X-GAP
#EXT-X-BYTERANGE:376@188
#EXTINF:1.000000,
all.ts
""",
    ),
    "I-frames only": (
        MediaPlaylist(
            2,
            [Segment("0.m4s", SECOND_US, map=Map("0.m4s", byterange=(700, 0)))],
            i_frames_only=True,
        ),
        """\
#EXTM3U
#EXT-X-VERSION:5
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-I-FRAMES-ONLY
#EXT-X-MAP:URI="0.m4s",BYTERANGE="700@0"
#EXTINF:1.000000,
0.m4s
""",
    ),
    "a ladder with one audio rendition": (
        MultivariantPlaylist(
            [
                Variant(
                    "video-360/index.m3u8",
                    1_000_000,
                    900_000,
                    ("avc1.64001e", "mp4a.40.2"),
                    (640, 360),
                    29_970,
                    "audio",
                ),
                Variant("video-720/index.m3u8", 3_000_000, audio="audio"),
            ],
            [
                Rendition(
                    "AUDIO",
                    "audio",
                    "English",
                    "audio/index.m3u8",
                    "en",
                    default=True,
                    autoselect=True,
                    channels="2",
                )
            ],
            independent_segments=True,
        ),
        """\
#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="en",DEFAULT=YES,\
AUTOSELECT=YES,CHANNELS="2",URI="audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1000000,AVERAGE-BANDWIDTH=900000,CODECS="avc1.64001e,mp4a.40.2",\
RESOLUTION=640x360,FRAME-RATE=29.970,AUDIO="audio"
video-360/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000000,AUDIO="audio"
video-720/index.m3u8
""",
    ),
    "subtitles, and audio inside the variant stream": (
        MultivariantPlaylist(
            [Variant("a.m3u8", 1, audio="a", subtitles="s")],
            [
                Rendition("SUBTITLES", "s", "Deutsch", "de.m3u8", autoselect=True),
                Rendition("AUDIO", "a", "main"),
            ],
        ),
        """\
#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="Deutsch",DEFAULT=NO,AUTOSELECT=YES,URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="main",DEFAULT=NO,AUTOSELECT=NO
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a",SUBTITLES="s"
a.m3u8
""",
    ),
}


each_case = pytest.mark.parametrize(("value", "text"), CASES.values(), ids=list(CASES))


@each_case
def test_prints(value: MediaPlaylist | MultivariantPlaylist, text: str) -> None:
    assert value.text() == text
    assert str(value) == text


@each_case
def test_parses(value: MediaPlaylist | MultivariantPlaylist, text: str) -> None:
    assert parse(text) == value


@each_case
def test_parses_with_other_line_ends_comments_and_unknown_tags(
    value: MediaPlaylist | MultivariantPlaylist, text: str
) -> None:
    noisy = text.replace("\n", "\n\n# comment\n#EXT-X-OF-TOMORROW:A,,=\n")
    assert parse(noisy.replace("\n", "\r\n")) == value
    assert parse(text.rstrip("\n")) == value


@each_case
def test_a_text_cut_anywhere_is_a_value_or_an_error(
    value: MediaPlaylist | MultivariantPlaylist, text: str
) -> None:
    for end in range(len(text)):
        value_or_error(text[:end])


def value_or_error(text: str) -> None:
    """What parses also prints, and parses again as the same."""
    try:
        value = parse(text)
    except PlaylistError as error:
        assert 1 <= error.line <= text.count("\n") + 1
    else:
        assert parse(value.text()) == value


# Values under hypothesis. Characters are what a line may hold, and some that it may not.

characters = st.sampled_from(" ,=.-#:/@'a0ZÄ") | st.integers(0xA0, 0xD7FF).map(chr)
any_characters = st.integers(0, 0x10FFFF).map(chr) | st.sampled_from('\r\n\t"#,:=')
texts = st.text(characters | st.just('"'), max_size=12)
quotable = st.text(characters, max_size=12)
uris = st.one_of(
    st.sampled_from(["0.ts", "../a/b?c=d#e", "https://example.org/x,y=z", "ü.ts"]),
    quotable.filter(lambda text: text.split() == [text] and not text.startswith("#")),
)
wholes = st.integers(0, 2**64 - 1)
positives = st.integers(1, 2**64 - 1)
ranges = st.none() | st.tuples(st.integers(1, 2**32), st.integers(0, 2**48))
keys = st.builds(Key, uris, st.none() | st.binary(min_size=16, max_size=16))
map_keys = st.builds(Key, uris, st.binary(min_size=16, max_size=16))
maps = st.builds(Map, uris, st.none() | map_keys, ranges)


@st.composite
def media_playlists(draw: st.DrawFn) -> MediaPlaylist:
    some_keys = st.sampled_from([None, *draw(st.lists(keys, max_size=2))])
    drawn_maps = draw(st.lists(maps, max_size=2))
    some_maps = st.sampled_from(drawn_maps) if drawn_maps else st.none()
    segments = draw(
        st.lists(
            st.builds(
                Segment,
                uris,
                st.integers(0, 20 * SECOND_US),
                some_keys,
                some_maps,
                st.integers(0, 3),
                texts,
                ranges,
                st.booleans(),
            ),
            max_size=6,
        )
    )
    return MediaPlaylist(
        target_duration(segments) + draw(st.integers(0, 3)),
        segments,
        draw(wholes),
        draw(wholes),
        draw(st.sampled_from([None, "VOD", "EVENT"])),
        *draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )


@st.composite
def multivariant_playlists(draw: st.DrawFn) -> MultivariantPlaylist:
    renditions = [
        Rendition(
            kind,
            group,
            name,
            draw(uris if kind == "SUBTITLES" else st.none() | uris),
            draw(st.none() | quotable),
            False,
            draw(st.booleans()),
            draw(st.none() | quotable),
        )
        for kind, group, name in draw(
            st.lists(
                st.tuples(st.sampled_from(["AUDIO", "VIDEO", "SUBTITLES"]), quotable, quotable),
                unique=True,
                max_size=3,
            )
        )
    ]
    # Groups of a type have the same members.
    first = {rendition.type: rendition.group_id for rendition in reversed(renditions)}
    renditions = [r for r in renditions if r.group_id == first[r.type]]
    if draw(st.booleans()):
        renditions += [r.replace(group_id=f"{r.group_id} too") for r in renditions]
    audio = [rendition.group_id for rendition in renditions if rendition.type == "AUDIO"]
    subtitles = [rendition.group_id for rendition in renditions if rendition.type == "SUBTITLES"]
    codecs = quotable.filter(lambda codec: codec.split() == [codec] and "," not in codec)
    variants = st.builds(
        Variant,
        uris,
        positives,
        st.none() | positives,
        st.lists(codecs, max_size=3),
        st.none() | st.tuples(positives, positives),
        st.none() | positives,
        st.sampled_from([None, *audio]),
        st.sampled_from([None, *subtitles]),
    )
    return MultivariantPlaylist(
        draw(st.lists(variants, min_size=1, max_size=3)), renditions, draw(st.booleans())
    )


@pytest.mark.slow
@given(st.one_of(media_playlists(), multivariant_playlists()))
def test_what_is_printed_parses_as_the_same(
    value: MediaPlaylist | MultivariantPlaylist,
) -> None:
    assert parse(value.text()) == value


LINES = sorted({line for _, text in CASES.values() for line in text.splitlines()})
FRAGMENTS = [*LINES, "#EXT-X-KEY:", "#EXTINF:", "#EXT-X-MEDIA:", "URI=", ",", '"', "=", "@", "0x"]


@given(st.text(any_characters))
@example("")
@example("#EXTM3U")
@example("\ufeff#EXTM3U\n")
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    value_or_error(text)
    value_or_error("#EXTM3U\n#EXT-X-TARGETDURATION:9\n" + text)


@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from('\n,"= 9@.')), max_size=20))
def test_any_shuffle_of_lines_is_a_value_or_an_error(pieces: list[str]) -> None:
    value_or_error("#EXTM3U\n" + "\n".join(pieces))
    value_or_error("#EXTM3U\n#EXT-X-TARGETDURATION:9\n" + "".join(pieces))


def media(*lines: str) -> str:
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:6", *lines])


def multivariant(*lines: str) -> str:
    return "\n".join(["#EXTM3U", *lines])


NOT_PLAYLISTS: list[tuple[int, str, str]] = [
    (1, "begins with #EXTM3U", ""),
    (1, "begins with #EXTM3U", "#EXTINF:1,\na.ts"),
    (1, "byte order mark", "\ufeff#EXTM3U\n"),
    (1, "begins with #EXTM3U", "#EXTM3U8\n"),
    (1, "needs #EXT-X-TARGETDURATION", "#EXTM3U"),
    (3, "needs #EXT-X-TARGETDURATION", "#EXTM3U\n#EXTINF:1,\na.ts"),
    (2, "'6.0' is no decimal integer", "#EXTM3U\n#EXT-X-TARGETDURATION:6.0"),
    (2, "' 6' is no decimal integer", "#EXTM3U\n#EXT-X-TARGETDURATION: 6"),
    (2, "is no decimal integer", "#EXTM3U\n#EXT-X-TARGETDURATION:18446744073709551616"),
    (2, "is no decimal integer", "#EXTM3U\n#EXT-X-TARGETDURATION:" + "9" * 5000),
    (2, "is no decimal integer", "#EXTM3U\n#EXT-X-TARGETDURATION:\u0663"),
    (2, "'x' is no decimal integer", "#EXTM3U\n#EXT-X-VERSION:x"),
    (4, "a second time", "#EXTM3U\n#EXT-X-VERSION:3\n\n#EXT-X-VERSION:3"),
    (3, "#EXT-X-TARGETDURATION a second time", media("#EXT-X-TARGETDURATION:6")),
    (4, "too long for a target duration of 6 s", media("#EXTINF:6.5,", "a.ts")),
    (3, "a URI without #EXTINF", media("a.ts")),
    (3, "#EXTINF without a URI", media("#EXTINF:1,")),
    (4, "#EXTINF a second time", media("#EXTINF:1,", "#EXTINF:1,", "a.ts")),
    (3, "no comma after the duration", media("#EXTINF:1", "a.ts")),
    (3, "is no decimal number", media("#EXTINF:-1,", "a.ts")),
    (3, "is no decimal number", media("#EXTINF:.,", "a.ts")),
    (3, "is no decimal number", media("#EXTINF:1e3,", "a.ts")),
    (4, "the character '\\t'", media("#EXTINF:1,", "a\t.ts")),
    (3, "the character '\\x85'", media("# \x85")),
    (3, "the character '\\ud800'", media("# \ud800")),
    (3, "the character '\\r'", media("a\rb")),
    (4, "no URI", media("#EXTINF:1,", "a b.ts")),
    (5, "after the first segment", media("#EXTINF:1,", "a.ts", "#EXT-X-MEDIA-SEQUENCE:1")),
    (
        4,
        "after the first segment or discontinuity",
        media("#EXT-X-DISCONTINUITY", "#EXT-X-DISCONTINUITY-SEQUENCE:1"),
    ),
    (3, "neither VOD nor EVENT", media("#EXT-X-PLAYLIST-TYPE:LIVE")),
    (3, "has no value", media("#EXT-X-ENDLIST:1")),
    (3, "changes what the other lines mean", media('#EXT-X-DEFINE:NAME="a",VALUE="b"')),
    (3, "changes what the other lines mean", media("#EXT-X-SKIP:SKIPPED-SEGMENTS=3")),
    (3, "no attribute at ''", media("#EXT-X-KEY")),
    (3, "no attribute at ''", media("#EXT-X-KEY:METHOD=NONE,")),
    (3, "no attribute at ' URI", media('#EXT-X-KEY:METHOD=AES-128, URI="k"')),
    (3, "no attribute at 'method", media("#EXT-X-KEY:method=NONE")),
    (3, "attribute METHOD a second time", media("#EXT-X-KEY:METHOD=NONE,METHOD=NONE")),
    (3, "attribute METHOD is missing", media('#EXT-X-KEY:URI="k"')),
    (3, "attribute URI is missing", media("#EXT-X-KEY:METHOD=AES-128")),
    (3, "URI must be in quotation marks", media("#EXT-X-KEY:METHOD=AES-128,URI=k")),
    (3, "no closing quotation mark", media('#EXT-X-KEY:METHOD=AES-128,URI="k')),
    (3, "no comma after attribute URI", media('#EXT-X-KEY:METHOD=AES-128,URI="k"x')),
    (3, "METHOD is empty", media("#EXT-X-KEY:METHOD=")),
    (3, "METHOD is empty, or has", media("#EXT-X-KEY:METHOD=A B")),
    (3, "'' is no URI", media('#EXT-X-KEY:METHOD=AES-128,URI=""')),
    (3, "METHOD=NONE with further", media('#EXT-X-KEY:METHOD=NONE,URI="k"')),
    (3, "only keys understood", media('#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"')),
    (3, "only keys understood", media('#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="x"')),
    (3, "hexadecimal digits", media('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=1')),
    (3, "hexadecimal digits", media('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x')),
    (3, "hexadecimal digits", media('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x1_1')),
    (3, "hexadecimal digits", media('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x' + "0" * 33)),
    (
        4,
        "the key of an EXT-X-MAP needs an IV",
        media('#EXT-X-KEY:METHOD=AES-128,URI="k"', '#EXT-X-MAP:URI="m"'),
    ),
    (3, "attribute URI is missing", media("#EXT-X-MAP:A=b")),
    (3, "length is 0", media('#EXT-X-MAP:URI="m",BYTERANGE="0@0"')),
    (5, "without offset", media("#EXTINF:1,", "#EXT-X-BYTERANGE:5", "a.ts")),
    (
        8,
        "without offset",
        media("#EXT-X-BYTERANGE:5@0", "#EXTINF:1,", "a", "#EXTINF:1,", "#EXT-X-BYTERANGE:5", "b"),
    ),
    (5, "byte range's end", media("#EXTINF:1,", f"#EXT-X-BYTERANGE:2@{2**64 - 2}", "a.ts")),
    (
        3,
        "#EXT-X-STREAM-INF in a media playlist",
        media("#EXT-X-STREAM-INF:BANDWIDTH=1", "a.m3u8"),
    ),
    (
        4,
        "#EXTINF in a multivariant playlist",
        multivariant("#EXT-X-STREAM-INF:BANDWIDTH=1", "a.m3u8", "#EXTINF:1,"),
    ),
    (2, "BANDWIDTH is missing", multivariant("#EXT-X-STREAM-INF:A=b", "a.m3u8")),
    (3, "the bandwidth is 0", multivariant("#EXT-X-STREAM-INF:BANDWIDTH=0", "a.m3u8")),
    (2, "without a URI after it", multivariant("#EXT-X-STREAM-INF:BANDWIDTH=1")),
    (
        3,
        "without its URI on the next line",
        multivariant("#EXT-X-STREAM-INF:BANDWIDTH=1", "#EXT-X-STREAM-INF:BANDWIDTH=1", "a"),
    ),
    (3, "a URI without #EXT-X-STREAM-INF", multivariant("#EXT-X-SESSION-DATA:A=b", "a.m3u8")),
    (2, "at least one variant", multivariant("#EXT-X-SESSION-DATA:A=b")),
    (
        2,
        "'640X360' is no",
        multivariant("#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=640X360", "a"),
    ),
    (2, "attribute NAME is missing", multivariant('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a"')),
    (
        2,
        "DEFAULT is neither YES nor NO",
        multivariant('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=1'),
    ),
    (
        3,
        "names AUDIO group 'x'",
        multivariant('#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="x"', "a.m3u8"),
    ),
]


@pytest.mark.parametrize(
    ("line", "says", "text"), NOT_PLAYLISTS, ids=[str(i) for i in range(len(NOT_PLAYLISTS))]
)
def test_not_a_playlist(line: int, says: str, text: str) -> None:
    with pytest.raises(PlaylistError) as error:
        parse(text)
    assert says in str(error.value)
    assert error.value.line == line
    assert str(error.value).startswith(f"line {line}: ")


def segments(*lines: str) -> tuple[Segment, ...]:
    playlist = parse(media(*lines))
    assert isinstance(playlist, MediaPlaylist)
    return playlist.segments


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("6", 6 * SECOND_US),
        ("6.", 6 * SECOND_US),
        (".5", 500_000),
        ("6.0000005", 6 * SECOND_US + 1),
        ("6.00000049", 6 * SECOND_US),
        ("5.9999999", 6 * SECOND_US),
    ],
)
def test_durations_of_others_are_rounded_to_the_microsecond(text: str, duration_us: int) -> None:
    assert segments(f"#EXTINF:{text},", "a.ts")[0].duration_us == duration_us


def test_a_byte_range_without_offset_follows_the_one_before() -> None:
    found = segments(
        "#EXTINF:1,", "#EXT-X-BYTERANGE:5@7", "a", "#EXT-X-BYTERANGE:3", "#EXTINF:1,", "a"
    )
    assert [segment.byterange for segment in found] == [(5, 7), (3, 12)]


def test_a_short_iv_is_a_number() -> None:
    found = segments(
        '#EXT-X-KEY:METHOD=AES-128,IV=0XaB,URI="k",KEYFORMAT="identity"', "#EXTINF:1,", "a"
    )
    assert found[0].key == Key("k", bytes(15) + b"\xab")


def test_a_map_range_without_offset_begins_at_0() -> None:
    found = segments('#EXT-X-MAP:BYTERANGE="7",URI="m"', "#EXTINF:1,", "a")
    assert found[0].map == Map("m", byterange=(7, 0))


def test_what_is_no_resource_of_its_own_is_passed_over() -> None:
    text = multivariant(
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="n",INSTREAM-ID="CC1"',
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"',
        '#EXT-X-STREAM-INF:CODECS="a.1, b.2",BANDWIDTH=1,CLOSED-CAPTIONS="c"',
        "a.m3u8",
    )
    assert parse(text) == MultivariantPlaylist([Variant("a.m3u8", 1, codecs=("a.1", "b.2"))])


def test_a_default_rendition_is_autoselected_where_nothing_is_said() -> None:
    playlist = parse(
        multivariant(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=YES',
            "#EXT-X-STREAM-INF:BANDWIDTH=1",
            "a.m3u8",
        )
    )
    assert isinstance(playlist, MultivariantPlaylist)
    assert playlist.renditions[0].autoselect


SIX = Segment("a", 6 * SECOND_US)
VARIANT = Variant("a", 1)
AUDIO = Rendition("AUDIO", "a", "n", default=True, autoselect=True)
MAIN = Rendition("AUDIO", "a", "m")

UNSPEAKABLE: dict[str, Callable[[], object]] = {
    "an IV has 16 bytes": lambda: Key("k", b"short"),
    "quotation mark": lambda: Key('k"'),
    "is no URI: it is empty": lambda: Segment("", 1),
    "'#a' is no URI": lambda: Segment("#a", 1),
    "'a\\nb' is no URI": lambda: Segment("a\nb", 1),
    "'a b' is no URI": lambda: Map("a b"),
    "the key of an EXT-X-MAP needs an IV": lambda: Map("m", KEY),
    "the character '\\n'": lambda: Segment("a", 1, title="\n"),
    "the character '\\r'": lambda: Rendition("AUDIO", "a", "\r"),
    "'\"' has a quotation mark": lambda: Rendition("AUDIO", "a", '"'),
    "duration is -1": lambda: Segment("a", -1),
    "number of discontinuities is -1": lambda: Segment("a", 1, discontinuity=-1),
    "length is 0": lambda: Segment("a", 1, byterange=(0, 0)),
    "offset is -1": lambda: Map("a", byterange=(1, -1)),
    "segment 1 lasts 5.500000 s": lambda: MediaPlaylist(
        5, [Segment("a", 1), SIX.replace(duration_us=5_500_000)]
    ),
    "segment 1 has no map": lambda: MediaPlaylist(6, [SIX.replace(map=INIT), SIX]),
    "playlist type 'LIVE'": lambda: MediaPlaylist(6, [], playlist_type="LIVE"),
    "media sequence is -1": lambda: MediaPlaylist(6, [], -1),
    "at least one variant": lambda: MultivariantPlaylist([]),
    "the bandwidth is 0": lambda: Variant("a", 0),
    "the average bandwidth is 0": lambda: Variant("a", 1, 0),
    "codec 'a,b'": lambda: Variant("a", 1, codecs=["a,b"]),
    "codec ''": lambda: Variant("a", 1, codecs=[""]),
    "the height is 0": lambda: Variant("a", 1, resolution=(1, 0)),
    "the frame rate is 0": lambda: Variant("a", 1, frame_rate_milli=0),
    "rendition type 'AUDIOS'": lambda: Rendition("AUDIOS", "a", "n"),
    "a SUBTITLES rendition needs a URI": lambda: Rendition("SUBTITLES", "a", "n"),
    "must be autoselect": lambda: Rendition("AUDIO", "a", "n", default=True),
    "has 'n' twice": lambda: MultivariantPlaylist([VARIANT], [AUDIO, AUDIO]),
    "has two defaults": lambda: MultivariantPlaylist([VARIANT], [AUDIO, AUDIO.replace(name="m")]),
    "AUDIO groups 'a' and 'b' differ in 'm'": lambda: MultivariantPlaylist(
        [VARIANT], [AUDIO, AUDIO.replace(group_id="b"), MAIN.replace(group_id="b")]
    ),
    "AUDIO groups 'a' and 'c' differ in 'm'": lambda: MultivariantPlaylist(
        [VARIANT], [AUDIO, MAIN, AUDIO.replace(group_id="c")]
    ),
    "AUDIO groups 'a' and 'd' differ in 'n'": lambda: MultivariantPlaylist(
        [VARIANT], [AUDIO, AUDIO.replace(group_id="d", language="de")]
    ),
    "AUDIO groups 'a' and 'e' differ in 'n'": lambda: MultivariantPlaylist(
        [VARIANT], [AUDIO, AUDIO.replace(group_id="e", default=False)]
    ),
    "AUDIO groups 'a' and 'f' differ in 'm'": lambda: MultivariantPlaylist(
        [VARIANT], [MAIN, MAIN.replace(group_id="f", autoselect=True)]
    ),
    "names SUBTITLES group 'a'": lambda: MultivariantPlaylist(
        [VARIANT.replace(subtitles="a")], [AUDIO]
    ),
}


@pytest.mark.parametrize(("says", "build"), UNSPEAKABLE.items(), ids=UNSPEAKABLE)
def test_cannot_be_built(says: str, build: Callable[[], object]) -> None:
    with pytest.raises(ValueError) as error:
        build()
    assert says in str(error.value)


def test_groups_of_a_type_may_differ_in_uri_and_channels_alone() -> None:
    # RFC 8216 4.3.4.1.1; groups of different types have nothing to do with each other.
    other = AUDIO.replace(group_id="b", uri="b.m3u8", channels="6")
    text = Rendition("SUBTITLES", "s", "t", "s.m3u8")
    value = MultivariantPlaylist([VARIANT.replace(audio="b")], [AUDIO, other, text])
    assert parse(value.text()) == value


def test_values_are_values() -> None:
    again = Segment("a", 6 * SECOND_US)
    assert again == SIX
    assert hash(again) == hash(SIX)
    assert SIX.replace(title="other") == Segment("a", 6 * SECOND_US, title="other") != SIX
    assert Key("k") != Rendition("AUDIO", "k", "k")
    assert repr(KEY) == "Key(uri='0.key', iv=None)"
    assert pickle.loads(pickle.dumps(SIX)) == copy.deepcopy(SIX) == SIX
    with pytest.raises(AttributeError, match=r"Key\.uri cannot be changed"):
        KEY.uri = "other"
    with pytest.raises(AttributeError, match=r"Key\.uri cannot be deleted"):
        del KEY.uri
    with pytest.raises(AttributeError):
        KEY.other = 1


# The pains.


def test_pain_1_one_target_duration_for_audio_and_video() -> None:
    video = [Segment("v0.ts", 6_006_000), Segment("v1.ts", 7_500_000)]
    audio = [Segment("a0.ts", 6_016_000), Segment("a1.ts", 7_489_000)]
    common = target_duration(chain(video, audio))
    assert common == 8
    for segments in (video, audio):
        assert "#EXT-X-TARGETDURATION:8\n" in MediaPlaylist(common, segments).text()


@pytest.mark.parametrize(
    ("duration_us", "seconds"),
    [(6_499_999, 6), (6_500_000, 7), (6_000_000, 6), (6_000_001, 6), (1, 1), (0, 1)],
)
def test_pain_3_target_duration_is_the_rounded_extinf(duration_us: int, seconds: int) -> None:
    segment = Segment("a.ts", duration_us)
    assert target_duration([segment]) == seconds
    text = MediaPlaylist(seconds, [segment]).text()
    assert f"\n#EXT-X-TARGETDURATION:{seconds}\n" in text
    assert parse(text) == MediaPlaylist(seconds, [segment])


def test_pain_3_no_segments_have_the_least_target_duration() -> None:
    assert target_duration([]) == 1


def test_pain_4_a_segment_beyond_the_target_duration_cannot_be_printed() -> None:
    long_gop = [Segment("0.ts", 8_138_000), Segment("1.ts", 12 * SECOND_US)]
    with pytest.raises(ValueError, match=r"segment 0 lasts 8\.138000 s, too long for .* 6 s"):
        MediaPlaylist(6, long_gop)
    assert target_duration(long_gop) == 12


def test_pain_36_codecs_list_only_what_exists() -> None:
    video_only = Variant("v.m3u8", 1, codecs=["avc1.64001e"]).tag()
    audio_only = Variant("a.m3u8", 1, codecs=["mp4a.40.2"]).tag()
    assert video_only == '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1.64001e"'
    assert audio_only == '#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="mp4a.40.2"'
    assert "CODECS" not in Variant("a.m3u8", 1).tag()


def test_pain_41_a_key_tag_stands_exactly_at_its_boundary() -> None:
    keys = [Key(f"{period}.key", bytes([period] * 16)) for period in range(3)]
    playlist = MediaPlaylist(
        6, [Segment(f"{n}.ts", 6 * SECOND_US, keys[n // 4]) for n in range(12)]
    )
    lines = playlist.text().splitlines()
    tags = [at for at, line in enumerate(lines) if line.startswith("#EXT-X-KEY")]
    assert [lines[at + 2] for at in tags] == ["0.ts", "4.ts", "8.ts"]
    assert [lines[at] for at in tags] == [key.tag() for key in keys]


def test_pain_41_each_map_is_under_its_own_key() -> None:
    init = Map("init.mp4", Key("0.key", IV))
    later = Map("init.mp4", Key("1.key", IV))
    playlist = MediaPlaylist(
        6,
        [
            Segment("0.m4s", 6 * SECOND_US, Key("0.key"), init),
            Segment("1.m4s", 6 * SECOND_US, Key("1.key"), later),
        ],
    )
    wanted = [
        init.key.tag() if init.key else "",
        init.tag(),
        Key("0.key").tag(),
        "0.m4s",
        later.key.tag() if later.key else "",
        later.tag(),
        Key("1.key").tag(),
        "1.m4s",
    ]
    lines = playlist.text().splitlines()[4:]
    assert [line for line in lines if not line.startswith("#EXTINF")] == wanted


def test_pain_43_one_key_tag_a_period() -> None:
    playlist = MediaPlaylist(6, [Segment(f"{n}.ts", 6 * SECOND_US, Key("k")) for n in range(100)])
    assert playlist.text().count("#EXT-X-KEY") == 1


@pytest.mark.parametrize("uri", ["0.ts", "../keys/0.key", "video/index.m3u8?a=b", "./0.ts"])
def test_pain_73_relative_uris_stay_as_they_are(uri: str) -> None:
    assert MediaPlaylist(6, [Segment(uri, 1, Key(uri), Map(uri))]).text().count(uri) == 3
    assert segments("#EXTINF:1,", uri)[0].uri == uri
    playlist = parse(multivariant("#EXT-X-STREAM-INF:BANDWIDTH=1", uri))
    assert isinstance(playlist, MultivariantPlaylist)
    assert playlist.variants[0].uri == uri


def test_seven_thousand_segments_round_trip() -> None:
    playlist = MediaPlaylist(6, [Segment(f"{n}.ts", 6 * SECOND_US, Key("k")) for n in range(7000)])
    assert parse(playlist.text()) == playlist
