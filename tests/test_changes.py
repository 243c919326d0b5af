"""Decoder configurations that change on the way, in pictures and in sound, and what playlists say.

Segments are taken apart by the oracles, and what the command writes is checked by `verify`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pystream
from pystream import playlist
from pystream.cli import main
from pystream.packager.verify import verify
from tests.oracles import boxes, mp4, synthetic, ts
from tests.oracles.hls import (
    MEDIA,
    START,
    fragments,
    planned,
    segments,
    timescale,
    track,
    transport,
)
from tests.oracles.synthetic import LASTS, SOUND_SCALE, movie, pictures, sound

US = 1_000_000
FORMATS = ("ts", "fmp4")
FRAME = Fraction(1024, SOUND_SCALE)
# What an ADTS header says of entries 0 and 1: profile, rate, channels.
HEADERS = [(1, 48_000, 2), (1, 24_000, 1)]
# Key frames at 0, 2, 4 and 6 s; the film ends at 8 s.
GOPS = [50, 50, 50, 50]


def plan(
    *films: bytes, format: str = "ts", seconds: float = 2, encryption: pystream.Aes128 | None = None
) -> pystream.Presentation:
    return pystream.plan(
        [pystream.open(content, f"film{i}") for i, content in enumerate(films)],
        format=format,
        segment_duration=seconds,
        encryption=encryption,
    )


def verified(folder: Path, *films: bytes, format: str, seconds: float = 2) -> None:
    """The command packages the films, and the verifier finds nothing wrong with it."""
    paths = []
    for number, content in enumerate(films):
        paths.append(folder / f"film{number}.mp4")
        paths[-1].write_bytes(content)
    out = folder / format
    options = ["-o", str(out), "--format", format, "--segment-duration", str(seconds)]
    assert main(["package", *map(str, paths), *options]) == 0
    verify(paths, out / "index.m3u8")


@dataclass
class Part:
    """A segment of one playlist: its discontinuity sequence number, when it begins by EXTINF, and
    the name of its map."""

    number: int
    begins: Fraction
    map: str | None


def parts(presentation: pystream.Presentation, rendition: pystream.Rendition) -> list[Part]:
    """What the text of a media playlist says of its segments, the first one beginning at 0."""
    media = playlist.parse(presentation.media_playlist(rendition).text())
    assert isinstance(media, playlist.MediaPlaylist)
    steps = [entry.discontinuity for entry in media.segments]
    numbers = accumulate(steps, initial=media.discontinuity_sequence)
    begins = accumulate((entry.duration_us for entry in media.segments), initial=0)
    maps = [entry.map.uri if entry.map else None for entry in media.segments]
    return [
        Part(number, Fraction(begin, US), uri)
        for number, begin, uri in zip([*numbers][1:], begins, maps, strict=False)
    ]


def numbers(presentation: pystream.Presentation) -> list[list[int]]:
    """The discontinuity sequence numbers of the segments of each playlist."""
    return [
        [part.number for part in parts(presentation, rendition)]
        for rendition in presentation.renditions
    ]


def headers(rendition: pystream.Rendition) -> list[list[tuple[int, int, int]]]:
    """What the ADTS headers of each segment say."""
    found = []
    for segment in segments(rendition):
        stream = ts.Stream()
        stream.add(segment)
        frames = [frame for pes in stream.of(ts.AAC) for frame in ts.adts_frames(pes.data)]
        found.append([(frame.profile, frame.rate, frame.channels) for frame in frames])
    return found


def configs(rendition: pystream.Rendition) -> list[tuple[Fraction, bytes, int]]:
    """When each fMP4 segment of sound begins, the AudioSpecificConfig of the init section that the
    playlist puts before it, and how many frames it has."""
    found = []
    for init, fragment in fragments(rendition):
        entry = boxes.parse(init)[1].get("trak/mdia/minf/stbl/stsd").children[0]
        begins = Fraction(fragment.times[0][1], timescale(init)) - START
        found.append((begins, mp4.config(entry), len(fragment.samples)))
    return found


ASC = [mp4.config(synthetic.STEREO), mp4.config(synthetic.MONO)]


# Beside pictures


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_films_joined_as_they_are_change_picture_and_sound_at_once(
    format: str, tmp_path: Path
) -> None:
    presentation = planned("two_sounds.mp4", format=format)
    for rendition in presentation.renditions:
        found = parts(presentation, rendition)
        assert [part.number for part in found] == [0, 0, 1, 1]
        # The sound begins a frame before the picture, and the second part's half a frame.
        late = FRAME / 2 if rendition.kind == "audio" else 0
        assert found[2].begins == pytest.approx(float(4 + late), abs=1e-6)
        if format == "fmp4":
            assert [part.map for part in found] == ["init.mp4"] * 2 + ["init-1.mp4"] * 2
    if format == "ts":
        assert [set(mine) for mine in headers(presentation.renditions[0])] == [
            {HEADERS[0]}, {HEADERS[0]}, {HEADERS[1]}, {HEADERS[1]},
        ]  # fmt: skip
    else:
        one, other = track("two_sounds.mp4", "soun").configs
        told = [asc for _, asc, _ in configs(presentation.renditions[1])]
        assert told == [one, one, other, other]
    verified(tmp_path, (MEDIA / "two_sounds.mp4").read_bytes(), format=format)


# The key frame at 4 s and the frames of 1/46.875 s before the change: 188 begin before or at it.
@pytest.mark.parametrize("before", [181, 185, 187, 188, 189, 194])
@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_the_sounds_segment_begins_with_the_change_beside_a_key_frame(
    before: int, format: str, tmp_path: Path
) -> None:
    content = movie(pictures(GOPS), sound((0, before), (1, 90)))
    presentation = plan(content, format=format, seconds=4)
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 1)}
    if format == "ts":
        first, second = headers(presentation.renditions[0])
        assert first == [HEADERS[0]] * before
        assert second == [HEADERS[1]] * 90
    else:
        assert list(presentation.renditions[0].durations_us) == [4 * US, 4 * US]
        assert configs(presentation.renditions[1]) == [
            (0, ASC[0], before), (before * FRAME, ASC[1], 90),
        ]  # fmt: skip
    verified(tmp_path, content, format=format, seconds=4)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_a_change_of_sound_cuts_where_the_grid_does_not(format: str) -> None:
    presentation = plan(movie(pictures(GOPS), sound((0, 94), (1, 140))), format=format, seconds=4)
    video, *_ = presentation.renditions
    assert list(video.durations_us) == [2 * US, 2 * US, 4 * US]
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 1, 1)}


@pytest.mark.parametrize(
    ("before", "near"),
    [(180, "2.000 and 4.000"), (196, "4.000 and 6.000"), (50, "0.000 and 2.000")],
)
@pytest.mark.parametrize("format", FORMATS)
def test_pain_7_a_change_of_sound_without_a_key_frame_beside_it_is_refused_with_the_times(
    before: int, near: str, format: str
) -> None:
    with pytest.raises(pystream.PlanError) as caught:
        plan(movie(pictures(GOPS), sound((0, before), (1, 100))), format=format)
    assert f"at {float(before * FRAME):.3f} s" in str(caught.value)
    assert f"at {near} s" in str(caught.value)
    assert str(caught.value).startswith("film0: audio track 2 ")


def test_pain_7_a_change_before_the_first_picture_is_refused() -> None:
    video = pictures(GOPS)
    video.edits = [(700, -1), (8000, 0)]
    with pytest.raises(pystream.PlanError, match=r"at 0\.213 s.* at 0\.700 s"):
        plan(movie(video, sound((0, 10), (1, 150))))
    # The first segment has nothing before it: the two frames would be lost.
    with pytest.raises(pystream.PlanError, match=r"at 0\.043 s.* at 0\.000 and 2\.000 s"):
        plan(movie(pictures(GOPS), sound((0, 2), (1, 150))))


@pytest.mark.parametrize(
    ("gops", "runs", "at"),
    [
        (GOPS, [(0, 187), (1, 1), (0, 100)], "4.032"),
        # The key frame is the last one, and the pictures are nearly over.
        ([50, 1], [(0, 91), (1, 1), (0, 100)], "1.984"),
    ],
)
def test_pain_7_two_changes_beside_one_key_frame_are_refused(
    gops: list[int], runs: list[tuple[int, int]], at: str
) -> None:
    with pytest.raises(pystream.PlanError, match=f"at {at} s, where no segment can begin"):
        plan(movie(pictures(gops), sound(*runs)))


@pytest.mark.parametrize("format", FORMATS)
def test_pain_7_no_picture_but_a_key_frame_begins_a_segment_at_a_change_of_sound(
    format: str,
) -> None:
    presentation = plan(movie(pictures(GOPS), sound((0, 187), (1, 90))), format=format, seconds=4)
    video = presentation.renditions[0]
    if format == "ts":
        firsts = [ts_pictures(segment)[0] for segment in segments(video)]
        assert all(pes.random_access for pes in firsts)
        assert [pes.pts for pes in firsts] == [(START + at) * 90_000 for at in (0, 4)]
    else:
        assert all(fragment.samples[0].sync for _, fragment in fragments(video))


def ts_pictures(segment: bytes) -> list[ts.Pes]:
    stream = ts.Stream()
    stream.add(segment)
    return stream.of(ts.H264)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_of_many_key_frames_the_one_that_changes_the_picture_is_taken(format: str) -> None:
    # Every picture is a key frame. The one at 3.96 s is nearer to the change of sound at 3.968 s.
    video = pictures([1] * 200, entries=[0] * 100 + [1] * 100)
    presentation = plan(movie(video, sound((0, 186), (1, 90))), format=format)
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 0, 1, 1)}
    assert list(presentation.renditions[0].durations_us) == [2 * US] * 4


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_the_next_change_of_sound_takes_the_next_key_frame(
    format: str, tmp_path: Path
) -> None:
    # The first one, at 3.904 s, belongs to the change of the picture at 4 s, which is later than
    # the second one, at 3.947 s.
    video = pictures([1] * 200, entries=[0] * 100 + [1] * 100)
    content = movie(video, sound((0, 183), (1, 1), (0, 150)))
    presentation = plan(content, format=format)
    assert list(presentation.renditions[0].durations_us) == [
        2 * US, 2 * US, 40_000, 1_960_000, 2 * US,
    ]  # fmt: skip
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 0, 1, 2, 2)}
    verified(tmp_path, content, format=format)


def test_pain_32_of_two_key_frames_the_one_with_the_same_sound_beside_it_is_taken() -> None:
    # The change at 4.181 s lies between 4.16 s and 4.2 s, which is nearer, but then a frame of the
    # other configuration would be heard under the pictures before it.
    made = movie(pictures([1] * 200), sound((1, 98), (0, 100)))
    durations = plan(made).renditions[0].durations_us
    assert list(durations) == [2 * US, 2 * US, 160_000, 1_840_000, 2 * US]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("before", "seconds"), [(183, 0.98), (193, 1.35)])
def test_pain_32_a_cut_that_the_change_passes_gives_way(
    before: int, seconds: float, format: str, tmp_path: Path
) -> None:
    # Pictures and sound change at 4 s, but for some frames; the grid has a line between. What is
    # heard there belongs to the segment that the change begins or ends.
    video = pictures([1] * 200, entries=[0] * 100 + [1] * 100)
    content = movie(video, sound((0, before), (1, 90)))
    found = numbers(plan(content, format=format, seconds=seconds))
    assert all(set(mine) == {0, 1} for mine in found)
    verified(tmp_path, content, format=format, seconds=seconds)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_a_change_of_picture_and_one_of_sound_apart_are_two(
    format: str, tmp_path: Path
) -> None:
    video = pictures(GOPS, entries=[0, 1, 1, 1])
    content = movie(video, sound((0, 188), (1, 90)))
    presentation = plan(content, format=format)
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 1, 2, 2)}
    assert [len(r.inits()) for r in presentation.renditions] == ([0] if format == "ts" else [2, 2])
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_a_configuration_that_comes_back_is_another_change(
    format: str, tmp_path: Path
) -> None:
    content = movie(pictures(GOPS), sound((0, 94), (1, 47), (0, 100)))
    presentation = plan(content, format=format)
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 1, 2, 2)}
    if format == "ts":
        told = [set(mine) for mine in headers(presentation.renditions[0])]
        assert told == [{HEADERS[entry]} for entry in (0, 1, 0, 0)]
    else:
        found = parts(presentation, presentation.renditions[1])
        assert [part.map for part in found] == [
            "init.mp4",
            "init-1.mp4",
            "init-2.mp4",
            "init-2.mp4",
        ]
        assert [asc for _, asc, _ in configs(presentation.renditions[1])] == [
            ASC[0], ASC[1], ASC[0], ASC[0],
        ]  # fmt: skip
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_33_sample_entries_of_equal_content_are_no_change_of_sound(format: str) -> None:
    made = sound((0, 140), (1, 100))
    made.entries = [synthetic.STEREO, synthetic.STEREO]
    for content in (movie(pictures(GOPS), made), movie(made)):
        presentation = plan(content, format=format)
        for rendition in presentation.renditions:
            assert len(rendition.inits()) == (format == "fmp4")
            assert "DISCONTINUITY" not in presentation.media_playlist(rendition).text()


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_a_ladder_and_the_sound_in_a_file_of_its_own_change_together(
    format: str, tmp_path: Path
) -> None:
    other = pictures(GOPS, entries=[1] * 4, scale=12_800)
    films = [movie(pictures(GOPS)), movie(other), movie(sound((0, 187), (1, 90)))]
    presentation = plan(*films, format=format)
    assert numbers(presentation) == [[0, 0, 1, 1]] * 3
    verified(tmp_path, *films, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_sound_that_does_not_change_has_the_discontinuity_too(
    format: str, tmp_path: Path
) -> None:
    content = movie(
        pictures(GOPS),
        sound((0, 187), (1, 90), language="deu"),
        sound((0, 375), language="eng", seed=5),
    )
    presentation = plan(content, format=format)
    assert numbers(presentation) == [[0, 0, 1, 1]] * 3
    if format == "fmp4":
        assert [len(r.inits()) for r in presentation.renditions] == [1, 2, 1]
    verified(tmp_path, content, format=format)


def test_pain_41_keys_and_maps_of_a_change_of_sound_stand_at_the_change() -> None:
    encryption = pystream.Aes128(rotate_every=1)
    presentation = plan(
        movie(pictures(GOPS), sound((0, 188), (1, 90))), format="fmp4", encryption=encryption
    )
    lines = presentation.media_playlist(presentation.renditions[1]).text().splitlines()
    at = lines.index("#EXT-X-DISCONTINUITY")
    assert lines[at + 1].startswith('#EXT-X-KEY:METHOD=AES-128,URI="a0-2.key",IV=0x')
    assert lines[at + 2] == '#EXT-X-MAP:URI="init-1.mp4"'
    assert lines[at + 3] == '#EXT-X-KEY:METHOD=AES-128,URI="a0-2.key"'


# Sound that begins late, has holes, ends early or goes on


def test_pain_26_sound_that_begins_after_a_change_has_the_pictures_numbers(tmp_path: Path) -> None:
    video = pictures(GOPS, entries=[0, 1, 0, 0])
    for late, wanted in (
        (Fraction(3), [1, 2, 2]),
        (Fraction(9, 2), [2, 2]),
        (Fraction(1), [0, 1, 2, 2]),
    ):
        content = movie(video, sound((0, 150), late=late))
        presentation = plan(content, format="fmp4")
        pictures_numbers, sound_numbers = numbers(presentation)
        assert pictures_numbers == [0, 1, 2, 2]
        assert sound_numbers == wanted[: len(sound_numbers)]
        told = [notice.message for notice in presentation.notices if notice.code == "late-sound"]
        begins = f"track 2 (audio) begins {float(late):.3f} s after the pictures"
        assert [message.startswith(begins) for message in told] == [True] * (late > 2)
        text = presentation.media_playlist(presentation.renditions[1]).text()
        assert (f"#EXT-X-DISCONTINUITY-SEQUENCE:{wanted[0]}\n" in text) == (wanted[0] > 0)
        folder = tmp_path / str(late).replace("/", "_")
        folder.mkdir()
        verified(folder, content, format="fmp4")


def test_pain_26_changes_in_a_hole_of_the_sound_are_counted(tmp_path: Path) -> None:
    # Sound up to 1.5 s and from 4.5 s on; the picture changes at 2 s and at 4 s.
    made = sound((0, 71 + 160), holes={70: 3 * SOUND_SCALE - 1024})
    content = movie(pictures(GOPS, entries=[0, 1, 0, 0]), made)
    presentation = plan(content, format="fmp4")
    assert numbers(presentation) == [[0, 1, 2, 2], [0, 2, 2]]
    text = presentation.media_playlist(presentation.renditions[1]).text()
    assert "#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY\n#EXTINF" in text
    verified(tmp_path, content, format="fmp4")


@pytest.mark.parametrize("format", FORMATS)
def test_a_change_in_a_hole_of_the_sound_needs_no_key_frame_beside_it(
    format: str, tmp_path: Path
) -> None:
    # Nothing is heard from 1.5 s to 2.9 s, where the other configuration begins: the key frame at
    # 2 s has the same sound before and after it.
    made = sound((0, 71), (1, 110), holes={70: int(1.4 * SOUND_SCALE)})
    content = movie(pictures(GOPS), made)
    presentation = plan(content, format=format)
    assert {tuple(mine) for mine in numbers(presentation)} == {(0, 1, 1, 1)}
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("before", [374, 385, 410])
def test_pain_32_sound_may_change_when_the_pictures_are_over(
    before: int, format: str, tmp_path: Path
) -> None:
    content = movie(pictures(GOPS), sound((0, before), (1, 100)))
    presentation = plan(content, format=format)
    *others, rendition = presentation.renditions
    found = parts(presentation, rendition)
    changed = [part for part in found if part.number == 1]
    assert changed[0].begins == pytest.approx(before * FRAME, abs=1e-6)
    assert [part.number for part in found] == [0] * (len(found) - len(changed)) + [1] * len(changed)
    assert numbers(presentation)[:-1] == [[0] * 4] * len(others)
    told = headers(rendition) if format == "ts" else None
    if told is not None:
        for part, mine in zip(found, told, strict=True):
            assert set(mine) == {HEADERS[part.number]}
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_sound_that_changes_just_after_the_last_picture_needs_no_key_frame(
    format: str, tmp_path: Path
) -> None:
    # The last key frame, at 2 s, stands beside the change at 2.048 s; the pictures end between.
    content = movie(pictures([50, 1]), sound((0, 96), (1, 60)))
    presentation = plan(content, format=format)
    assert numbers(presentation) == ([[0, 1]] if format == "ts" else [[0], [0, 1]])
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("fps", [25, 60])
def test_pain_31_sound_that_changes_twice_under_the_last_pictures_has_its_clock(
    fps: int, tmp_path: Path
) -> None:
    # Segments of one frame each, both earlier than the last picture, which has no key frame beside.
    content = movie(pictures([2 * fps], Fraction(fps)), sound((0, 90), (1, 1), (0, 1), (1, 1)))
    presentation = plan(content)
    assert numbers(presentation) == [[0, 1, 2, 3]]
    for segment in segments(presentation.renditions[0]):
        alone = ts.Stream()
        alone.add(segment)
        assert alone.pcrs[0][0] <= min(pes.packet for pes in alone.pes)
    verified(tmp_path, content, format="ts")


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_tracks_that_change_about_the_last_key_frame_stay_together(
    format: str, tmp_path: Path
) -> None:
    content = movie(
        pictures([50, 1]),
        sound((0, 90), (1, 2), (0, 100), language="deu"),
        sound((0, 95), (1, 60), language="eng", seed=5),
    )
    assert [{*mine} for mine in numbers(plan(content, format=format))] == [
        {0, 1},
        {0, 1, 2},
        {0, 2},
    ]
    verified(tmp_path, content, format=format)


def test_pain_26_sound_that_ends_before_a_change_ends_before_it() -> None:
    video = pictures(GOPS, entries=[0, 0, 0, 1])
    presentation = plan(movie(video, sound((0, 200))), format="fmp4")
    assert numbers(presentation) == [[0, 0, 0, 1], [0, 0, 0]]


def test_an_edit_that_begins_with_the_change_leaves_nothing_of_what_was_before() -> None:
    # The decoder needs a frame before the one that is heard first, but not one that it cannot read.
    made = sound((0, 47), (1, 100))
    made.edits = [(3000, 47 * 1024)]
    for format in FORMATS:
        (rendition,) = plan(movie(made), format=format).renditions
        assert not rendition.discontinuities
        assert rendition.channels == 1
        if format == "ts":
            assert {header for mine in headers(rendition) for header in mine} == {HEADERS[1]}


# Sound alone


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("before", [47, 100, 189])
def test_pain_32_sound_alone_is_cut_at_the_frame_of_the_change(
    before: int, format: str, tmp_path: Path
) -> None:
    content = movie(sound((0, before), (1, 90)))
    presentation = plan(content, format=format)
    (rendition,) = presentation.renditions
    found = parts(presentation, rendition)
    (change,) = [b.begins for a, b in pairwise(found) if a.number != b.number]
    assert change == pytest.approx(before * FRAME, abs=1e-6)
    # The grid goes on where it was.
    for part in found:
        assert part.begins % 2 < LASTS[part.number] / SOUND_SCALE or part.begins == change
    if format == "ts":
        for part, mine in zip(found, headers(rendition), strict=True):
            assert set(mine) == {HEADERS[part.number]}
        transport(rendition)
    else:
        assert [asc for _, asc, _ in configs(rendition)] == [ASC[part.number] for part in found]
        assert len(rendition.inits()) == 2
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_tracks_of_sound_alone_have_their_discontinuities_together(
    format: str, tmp_path: Path
) -> None:
    content = movie(
        sound((0, 140), (1, 100), language="deu"),
        sound((0, 360), language="eng", seed=3),
        sound((0, 142), (1, 100), language="fra", seed=7),
        sound((0, 200), language="ita", late=Fraction(7, 2), seed=9),
    )
    presentation = plan(content, format=format)
    found = numbers(presentation)
    for rendition, mine in zip(presentation.renditions[:3], found[:3], strict=True):
        assert mine == sorted(mine) and set(mine) == {0, 1}
        (begins,) = [
            b.begins for a, b in pairwise(parts(presentation, rendition)) if a.number != b.number
        ]
        assert abs(begins - 140 * FRAME) <= 2 * FRAME
    assert set(found[3]) == {1}
    verified(tmp_path, content, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_sound_that_changes_at_another_frame_is_not_the_same_sound(format: str) -> None:
    def made(before: int) -> bytes:
        track = sound((0, 200))
        track.samples = [replace(s, entry=int(i >= before)) for i, s in enumerate(track.samples)]
        return movie(track)

    assert len(plan(made(100), made(100), format=format).renditions) == 1
    assert len(plan(made(100), made(120), format=format).renditions) == 2


def test_configurations_that_come_back_are_held_once() -> None:
    presentation = plan(movie(sound(*[(i % 2, 1) for i in range(200)])), format="fmp4")
    (rendition,) = presentation.renditions
    inits = rendition.inits()
    assert len(inits) == len(rendition) == 200
    assert len(set(inits)) == 2
    assert rendition.nbytes < sum(map(len, inits)) / 4


# What playlists say of several configurations


def test_only_what_is_in_the_segments_is_described() -> None:
    small_first = movie(pictures(GOPS, entries=[0, 0, 1, 1]), sound((1, 94), (0, 188)))
    presentation = plan(small_first, format="fmp4")
    video, audio = presentation.renditions
    # What does for all the pictures, and the most channels in any segment.
    assert video.resolution == (320, 180)
    assert len(video.codecs) == 2
    assert audio.channels == 2
    made = pictures(GOPS, entries=[0, 0, 1, 1])
    made.edits = [(4000, 0)]
    (rendition,) = plan(movie(made)).renditions
    assert rendition.resolution == (160, 90)
    assert len(rendition.codecs) == 1


@dataclass
class Hidden:
    """A film whose edit list hides the first part, under `entry`."""

    track: boxes.Track
    entry: boxes.Box

    def content(self, seconds: int) -> bytes:
        self.track.entries[0] = self.entry
        self.track.edits = [(4000, seconds * self.track.timescale)]
        return movie(self.track)


def test_what_no_segment_holds_need_not_be_expressible_in_ts() -> None:
    # Frames of 960 samples: no ADTS header can say it.
    unspeakable = boxes.aac_entry(bytes.fromhex("1194"), 48_000, 2)
    content = Hidden(sound((0, 94), (1, 100)), unspeakable).content(3)
    (rendition,) = plan(content).renditions
    assert {header for mine in headers(rendition) for header in mine} == {HEADERS[1]}
    shown = Hidden(sound((0, 94), (1, 100)), unspeakable).content(1)
    with pytest.raises(pystream.UnsupportedMedia, match="960"):
        plan(shown)


def test_what_no_segment_holds_is_not_scanned() -> None:
    def short_lengths(seconds: int, entries: list[int]) -> bytes:
        made = pictures(GOPS, entries=entries)
        (entry,) = boxes.parse(bytes(made.entries[0]))
        avcc = entry.get("avcC")
        avcc.head = avcc.head[:4] + bytes([avcc.head[4] & 0xFC | 1]) + avcc.head[5:]
        made.samples = [
            boxes.Sample(s.data[2:] if s.entry == 0 else s.data, s.duration, 0, s.sync, s.entry)
            for s in made.samples
        ]
        return Hidden(made, entry).content(seconds)

    (rendition,) = plan(short_lengths(2, [0, 1, 1, 1])).renditions
    assert not rendition.scanned
    assert not rendition.discontinuities
    for seconds, entries in ((0, [0, 1, 1, 1]), (2, [1, 0, 0, 0]), (2, [1, 1, 0, 1])):
        (rendition,) = plan(short_lengths(seconds, entries)).renditions
        assert rendition.scanned
        assert [len(segment) for segment in segments(rendition)] == list(rendition.lengths())


# Any film


@dataclass
class Joined:
    """A part of a film that was joined of several: its GOPs, the sample entries of its pictures and
    its sound (None: silent), and by how many frames the sound begins before or after the picture."""

    gops: list[int]
    entry: int
    kind: int | None
    off: int


joined = st.lists(
    st.builds(
        Joined,
        st.lists(st.sampled_from([25, 40, 50, 75]), min_size=1, max_size=3),
        st.integers(0, 1),
        st.sampled_from([0, 0, 1, 1, None]),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=5,
)


def joined_sound(film: list[Joined], language: str, seed: int) -> boxes.Track | None:
    """The sound of the parts one after the other; what is silent is a hole."""
    runs: list[tuple[int, int]] = []
    holes: dict[int, int] = {}
    late, at, ends, count = Fraction(0), Fraction(0), Fraction(0), 0
    for part in film:
        ends += Fraction(sum(part.gops), 25)
        if part.kind is None:
            continue
        begins = ends - Fraction(sum(part.gops), 25)
        if not runs:
            late = at = begins
        elif begins - at > FRAME:
            holes[count - 1] = int((begins - at) * SOUND_SCALE)
            at += Fraction(holes[count - 1], SOUND_SCALE)
        lasts = Fraction(LASTS[part.kind], SOUND_SCALE)
        frames = max(1, round((ends - at) / lasts) + part.off)
        runs.append((part.kind, frames))
        count += frames
        at += frames * lasts
    return sound(*runs, late=late, holes=holes, language=language, seed=seed) if runs else None


@pytest.mark.slow
@settings(max_examples=30)
@given(
    film=joined,
    seconds=st.sampled_from([1, 2, 6]),
    format=st.sampled_from(FORMATS),
    second=st.booleans(),
)
def test_pain_32_any_films_joined_are_packaged(
    film: list[Joined], seconds: float, format: str, second: bool
) -> None:
    gops = [gop for part in film for gop in part.gops]
    entries = [part.entry for part in film for _ in part.gops]
    tracks = [pictures(gops, entries=entries), joined_sound(film, "deu", 0)]
    if second:
        others = [replace(part, kind=part.kind and 0) for part in film]
        tracks.append(joined_sound(others, "eng", 7))
    content = movie(*(track for track in tracks if track))
    with TemporaryDirectory() as folder:
        verified(Path(folder), content, format=format, seconds=seconds)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    gops=st.lists(st.sampled_from([1, 2, 25, 50]), min_size=1, max_size=8),
    entries=st.lists(st.integers(0, 1), min_size=8, max_size=8),
    counts=st.lists(st.integers(1, 120), min_size=1, max_size=5),
    late=st.sampled_from([Fraction(0), Fraction(7, 10), Fraction(3)]),
    hole=st.tuples(st.integers(0, 100), st.sampled_from([0, 2000, 100_000])),
    format=st.sampled_from(FORMATS),
)
def test_pain_32_any_film_is_packaged_right_or_refused(
    gops: list[int],
    entries: list[int],
    counts: list[int],
    late: Fraction,
    hole: tuple[int, int],
    format: str,
) -> None:
    runs = [(i % 2, count) for i, count in enumerate(counts)]
    spoken = sound(*runs, late=late, holes=dict([hole]))
    content = movie(pictures(gops, entries=entries[: len(gops)]), spoken)
    try:
        plan(content, format=format, seconds=1)
    except pystream.PlanError as error:
        assert len(runs) > 1 and "where no segment can begin" in str(error)
        return
    with TemporaryDirectory() as folder:
        verified(Path(folder), content, format=format, seconds=1)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    tracks=st.lists(
        st.tuples(
            st.lists(st.integers(1, 120), min_size=1, max_size=4),
            st.sampled_from([Fraction(0), Fraction(7, 10), Fraction(3)]),
        ),
        min_size=1,
        max_size=3,
    ),
    seconds=st.sampled_from([0.5, 1, 6]),
    format=st.sampled_from(FORMATS),
)
def test_pain_32_any_sound_alone_is_packaged(
    tracks: list[tuple[list[int], Fraction]], seconds: float, format: str
) -> None:
    made = [
        sound(*((i % 2, n) for i, n in enumerate(counts)), late=late, language=code, seed=9 * i)
        for i, ((counts, late), code) in enumerate(zip(tracks, ("deu", "eng", "fra"), strict=False))
    ]
    with TemporaryDirectory() as folder:
        verified(Path(folder), movie(*made), format=format, seconds=seconds)


# The clock


@pytest.mark.parametrize("fps", [25, 60])
@pytest.mark.parametrize("before", [181, 185, 187, 194])
def test_pain_31_the_clock_comes_first_in_a_segment_that_sound_begins(
    before: int, fps: int
) -> None:
    # No picture is reordered, so the sound of the change comes before the segment's first picture,
    # and before the last pictures of the segment before.
    video = pictures([2 * fps] * 4, Fraction(fps))
    (rendition,) = plan(movie(video, sound((0, before), (1, 90)))).renditions
    stream = transport(rendition)
    for (_, one), (_, other) in pairwise(stream.pcrs):
        assert 0 < other - one <= 27_000_000 // 10
    for segment in segments(rendition):
        alone = ts.Stream()
        alone.add(segment)
        assert alone.pcrs[0][0] <= min(pes.packet for pes in alone.pes)
        for pes in alone.pes:
            clock = max(clock for packet, clock in alone.pcrs if packet <= pes.packet)
            assert 0 <= pes.dts * 300 - clock <= 27_000_000


@pytest.mark.parametrize("format", FORMATS)
def test_no_sample_is_lost_or_doubled_at_a_change(format: str) -> None:
    tracks = (pictures(GOPS), sound((0, 185), (1, 90)))
    presentation = plan(movie(*tracks), format=format)
    if format == "ts":
        stream = transport(presentation.renditions[0])
        frames = [f.data for pes in stream.of(ts.AAC) for f in ts.adts_frames(pes.data)]
        count = len(stream.of(ts.H264)) + len(frames)
    else:
        made = [f for r in presentation.renditions for _, f in fragments(r)]
        count = sum(len(f.samples) for f in made)
        sounds = [f for _, f in fragments(presentation.renditions[1])]
        frames = [content for f in sounds for content in f.content]
        for one, other in pairwise(sounds):
            assert one.ends == other.begins
    assert count == sum(len(track.samples) for track in tracks)
    assert frames == [sample.data for sample in tracks[1].samples]
