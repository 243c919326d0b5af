"""Where segments begin and what playlists say of them: whole films against the naive planner."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, cycle, islice, pairwise, permutations
from math import ceil, lcm
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pystream
from pystream import playlist
from pystream.cli import main
from pystream.packager import language
from pystream.packager.verify import VerifyError, verify
from tests.media.make import load
from tests.oracles import boxes, mp4, planner, synthetic, ts
from tests.oracles.hls import (
    CLIPS,
    IDR,
    LADDER,
    MEDIA,
    carried,
    fragments,
    nals,
    opened,
    oracle,
    planned,
    sample_bytes,
    segments,
    timescale,
    track,
    transport,
)

US = 1_000_000
FORMATS = ("ts", "fmp4")
CODES = ("deu", "eng", "fra")
WITH_VIDEO = [name for name in CLIPS if any(t.kind == "video" for t in opened(name).tracks)]


def ticks(times: list[Fraction]) -> tuple[list[int], int]:
    """Exact times as ticks of one time scale."""
    scale = lcm(*(time.denominator for time in times))
    return [int(time * scale) for time in times], scale


def naive_cuts(keys: list[Fraction], forced: list[int], end: Fraction, target: float) -> list[int]:
    numbers, scale = ticks([*keys, end])
    return planner.cuts(numbers[:-1], forced, scale, round(target * US), numbers[-1])


def begins(rendition: pystream.Rendition) -> list[Fraction]:
    """When the first sample of each fMP4 segment is shown, from the bytes."""
    return [Fraction(f.times[0][1], timescale(init)) - 10 for init, f in fragments(rendition)]


def real_keys(name: str) -> list[tuple[Fraction, bool]]:
    """(time, whether the configuration changes) of each true key frame of a clip."""
    size = (track(name, "vide").configs[0][4] & 3) + 1
    found, entry = [], None
    for sample in carried(opened(name), name, "vide"):
        kinds = {unit[0] & 31 for unit in nals(sample_bytes(name, sample), size)}
        if sample.sync and (IDR in kinds or (name == "open_gop.mp4" and 6 in kinds)):
            found.append((sample.pts, entry is not None and sample.entry != entry))
            entry = sample.entry
    return found


def heard(name: str, target: float) -> list[mp4.Sample]:
    """Frames of sound that a plan keeps: at most a segment's worth of them before the pictures."""
    frames = carried(opened(name), name, "soun")
    line = min(s.pts for s in carried(opened(name), name, "vide")) - Fraction(target)
    return [frame for frame in frames if frame.pts + frame.duration > line]


@pytest.mark.parametrize("target", [0.5, 2, 3, 6])
@pytest.mark.parametrize("name", WITH_VIDEO)
def test_cuts_are_those_of_the_naive_planner(name: str, target: float) -> None:
    keys = real_keys(name)
    samples = carried(opened(name), name, "vide")
    end = max(s.pts + s.duration for s in samples)
    times = [time for time, _ in keys]
    cuts = naive_cuts(times, [int(change) for _, change in keys], end, target)
    rendition = planned(name, format="fmp4", seconds=target).renditions[0]
    assert begins(rendition) == [times[i] for i in cuts]
    numbers, scale = ticks([*(times[i] for i in cuts), end])
    assert list(rendition.durations_us) == planner.extinf_us(numbers, scale)


@pytest.mark.parametrize("target", [0.5, 2, 6])
@pytest.mark.parametrize(
    "name",
    [name for name in WITH_VIDEO if [t.kind for t in opened(name).tracks] == ["video", "audio"]],
)
def test_pain_11_audio_follows_the_video_to_within_one_frame(name: str, target: float) -> None:
    presentation = planned(name, format="fmp4", seconds=target)
    video, sound = map(begins, presentation.renditions)
    frames = heard(name, target)
    cuts, scale = ticks([*video, *(frame.pts for frame in frames)])
    firsts = planner.follow(cuts[: len(video)], scale, cuts[len(video) :], scale)
    firsts[0] = 0
    # Another configuration begins the segment whose cut is beside it.
    changes = [i for i, (a, b) in enumerate(pairwise(frames), 1) if a.entry != b.entry]
    for i in changes:
        firsts[min(range(len(video)), key=lambda n: abs(video[n] - frames[i].pts))] = i
    # Segments without sound are left out, and sound that goes on has further ones.
    expected = [frames[i].pts for i in dict.fromkeys(firsts) if i < len(frames)]
    assert sound[: len(expected)] == expected
    longest = max(frame.duration for frame in frames)
    for cut, begin in zip(video[1:], sound[1:], strict=False):
        if name not in ("audio_late.mp4",) and cut < frames[-1].pts:
            assert -longest < begin - cut < longest
            assert begin >= cut or begin in [frames[i].pts for i in changes]


def film(gops: list[int], fps: Fraction, scale: int) -> bytes:
    """A video of tiny pictures alone, with key frames at the begins of `gops`."""
    return synthetic.movie(synthetic.pictures(gops, fps, scale))


@settings(max_examples=60)
@given(
    gops=st.lists(st.integers(1, 120), min_size=1, max_size=25),
    rate=st.sampled_from([Fraction(25), Fraction(30_000, 1001), Fraction(24), Fraction(8)]),
    scale=st.sampled_from([90_000, 30_000, 1000, 12_800]),
    target=st.sampled_from([0.5, 1, 2, 6, 3.5]),
)
def test_synthetic_films_are_cut_as_the_naive_planner_cuts(
    gops: list[int], rate: Fraction, scale: int, target: float
) -> None:
    keys = [Fraction(round(n / rate * scale), scale) for n in accumulate(gops, initial=0)]
    cuts = naive_cuts(keys[:-1], [0] * len(gops), keys[-1], target)
    wanted = [keys[i] for i in cuts]
    presentation = pystream.plan(
        [pystream.open(film(gops, rate, scale))], format="fmp4", segment_duration=target
    )
    (rendition,) = presentation.renditions
    assert begins(rendition) == wanted
    assert abs(sum(rendition.durations_us) - keys[-1] * US) <= Fraction(1, 2)
    longest = max(b - a for a, b in pairwise([*wanted, keys[-1]]))
    assert ("long-segment" in [n.code for n in presentation.notices]) == (longest > 2 * target)


@settings(max_examples=30)
@given(
    a=st.lists(st.integers(10, 60), min_size=3, max_size=12),
    b=st.lists(st.integers(10, 60), min_size=3, max_size=12),
    target=st.sampled_from([1, 2, 4]),
)
def test_pain_10_any_two_renditions_are_cut_alike_or_refused(
    a: list[int], b: list[int], target: int
) -> None:
    short = min(sum(a), sum(b))
    films = [film([*gops, 5], Fraction(25), 90_000) for gops in (a, b)]
    sources = [pystream.open(content, name) for content, name in zip(films, "ab", strict=True)]
    shared = {*accumulate(a, initial=0)} & {*accumulate(b, initial=0)}
    try:
        presentation = pystream.plan(sources, format="fmp4", segment_duration=target)
    except pystream.PlanError as error:
        uneven = abs(sum(a) - sum(b)) * 2 > 25 * target
        assert uneven == ("a ends at" in str(error) or "b ends at" in str(error))
        assert uneven or len(shared) == 1 or "only" in str(error)
        return
    assert abs(sum(a) - sum(b)) * 2 <= 25 * target
    one, two = map(begins, presentation.renditions)
    assert one == two
    assert {int(time * 25) for time in one} <= shared
    assert max(one) * 25 <= short + 5


@pytest.mark.parametrize("format", FORMATS)
def test_pain_10_a_ladder_is_cut_at_the_same_moments(format: str) -> None:
    presentation = planned(*LADDER, format=format)
    durations = [list(r.durations_us) for r in presentation.renditions[:3]]
    assert durations[0] == durations[1] == durations[2] == [2 * US] * 4
    assert [r.resolution for r in presentation.renditions[:3]] == [
        (480, 270),
        (320, 180),
        (160, 90),
    ]
    assert presentation.notices == ()
    assert presentation.independent


def test_pain_10_a_misaligned_ladder_is_refused_with_the_times() -> None:
    with pytest.raises(pystream.PlanError) as caught:
        planned("ladder_270.mp4", "misaligned.mp4")
    message = str(caught.value)
    assert f"only {MEDIA / 'ladder_270.mp4'} has key frames at 2.000, 4.000, 6.000 s" in message
    assert f"only {MEDIA / 'misaligned.mp4'} has key frames at 1.480, 2.960" in message


def test_an_uneven_ladder_is_cut_at_common_key_frames_and_told() -> None:
    even = film([50] * 8, Fraction(25), 90_000)
    uneven = film([50, 50, 25, 50, 25, 50, 50, 50, 50], Fraction(25), 12_800)
    sources = [pystream.open(even, "even"), pystream.open(uneven, "uneven")]
    presentation = pystream.plan(sources, format="fmp4", segment_duration=2)
    assert [list(r.durations_us) for r in presentation.renditions] == [
        [2 * US, 2 * US, 4 * US, 2 * US, 2 * US, 2 * US, 2 * US]
    ] * 2
    (notice,) = presentation.notices
    assert notice.code == "uneven-ladder"
    assert "only even has key frames at 6.000 s" in notice.message
    assert "only uneven has key frames at 5.000, 7.000 s" in notice.message


def test_a_film_whose_index_calls_every_picture_a_key_frame_is_cut_at_the_true_ones() -> None:
    for target in (0.5, 1, 2):
        presentation = planned("no_stss.mp4", format="fmp4", seconds=target)
        assert begins(presentation.renditions[0]) == [0, 2, 4]
        assert presentation.independent


# Playlists


@pytest.mark.parametrize("format", FORMATS)
def test_pain_1_one_target_duration_for_pictures_and_sound(format: str) -> None:
    # The sound of the first one goes on for 3 s in one segment of its own; pictures have 2 s.
    for names in (("audio_longer.mp4",), ("long_gop.mp4",), LADDER, ("languages.mp4",)):
        presentation = planned(*names, format=format)
        texts = [presentation.media_playlist(r).text() for r in presentation.renditions]
        targets = {line for text in texts for line in text.splitlines() if "TARGETDURATION" in line}
        assert targets == {f"#EXT-X-TARGETDURATION:{presentation.target_duration}"}


@pytest.mark.parametrize("name", CLIPS)
def test_pain_3_target_duration_is_at_least_every_rounded_duration(name: str) -> None:
    for format in FORMATS:
        for seconds in (0.5, 1.5, 2, 6):
            presentation = planned(name, format=format, seconds=seconds)
            durations = [us for r in presentation.renditions for us in r.durations_us]
            rounded = [(us + US // 2) // US for us in durations]
            assert presentation.target_duration == max(1, *rounded)
            text = presentation.media_playlist(presentation.renditions[0]).text()
            assert f"\n#EXT-X-TARGETDURATION:{presentation.target_duration}\n" in text


@pytest.mark.parametrize("format", FORMATS)
def test_pain_4_key_frames_twice_a_target_apart_raise_it_from_the_start(format: str) -> None:
    presentation = planned("long_gop.mp4", format=format)
    assert presentation.target_duration == 4
    assert list(presentation.renditions[0].durations_us)[:2] == [4 * US, 4 * US]


def test_pain_9_a_film_with_few_key_frames_is_warned_of() -> None:
    presentation = planned("long_gop.mp4", seconds=1)
    (notice,) = presentation.notices
    assert notice.code == "long-segment"
    assert "4.000 s" in notice.message
    assert "1 s" in notice.message
    lonely = pystream.plan([pystream.open(film([1500], Fraction(25), 90_000))], segment_duration=6)
    assert "60.000 s" in lonely.notices[0].message


@pytest.mark.parametrize("format", FORMATS)
def test_pain_5_a_short_tail_joins_the_segment_before_it(format: str) -> None:
    for tail, wanted in ((24, 3), (25, 4), (26, 4), (1, 3)):
        content = film([50, 50, 50, tail], Fraction(25), 90_000)
        presentation = pystream.plan([pystream.open(content)], format=format, segment_duration=2)
        (rendition,) = presentation.renditions
        assert len(rendition) == wanted
        assert min(rendition.durations_us) >= US
        assert sum(rendition.durations_us) == (150 + tail) * US // 25


@pytest.mark.parametrize("name", CLIPS)
def test_pain_6_durations_sum_to_the_whole(name: str) -> None:
    moment = Fraction(1, 10)
    for seconds in (0.5, 2, 6):
        presentation = planned(name, format="fmp4", seconds=seconds)
        spans: list[tuple[Fraction, Fraction]] = []
        for rendition in presentation.renditions:
            (mine,) = rendition.tracks
            theirs = next(t for t in oracle(name).tracks if t.id == mine.id)
            samples = theirs.samples[slice(*mine.shown)]
            first = min(s.pts for s in samples)
            if name == "no_stss.mp4" and rendition.kind == "video":
                assert first == 0
            if rendition.kind == "audio" and spans and spans[0][0] - first > Fraction(seconds):
                # More sound before the pictures than lasts a segment is left out.
                line = spans[0][0] - Fraction(seconds)
                first = min(s.pts for s in samples if s.pts + s.duration > line)
            spans.append((first, max(s.pts + s.duration for s in samples)))
        # Late sound counts from the pictures' begin on.
        begin = spans[0][0]
        for rendition, (first, end) in zip(presentation.renditions, spans, strict=True):
            own = begin if first > begin + moment else first
            assert abs(sum(rendition.durations_us) - (end - own) * US) <= Fraction(1, 2)


@pytest.mark.slow
def test_pain_6_ten_hours_of_ntsc_sum_to_their_duration(tmp_path: Path) -> None:
    count = 36_000 * 30_000 // 1001 // 4 * 4
    video = load(MEDIA / "ladder_90.mp4")[0]
    video.timescale = 30_000
    boxes.write_sparse(tmp_path / "film.mp4", video, count, 60, [700, 20, 30, 20], 1001)
    presentation = pystream.plan([pystream.open(tmp_path / "film.mp4")])
    (rendition,) = presentation.renditions
    text = presentation.media_playlist(rendition).text()
    printed = [
        line.split(":")[1].rstrip(",") for line in text.splitlines() if line.startswith("#EXTINF")
    ]
    total = sum((Fraction(value) for value in printed), Fraction(0))
    shown = Fraction(count * 1001, 30_000)
    # The last picture shown is the one that is shown latest after its decoding.
    assert abs(total - shown) <= Fraction(4 * 1001, 30_000)
    assert sum(rendition.durations_us) == total * US
    begin = Fraction(2 * 1001, 30_000)
    for number, time in enumerate(accumulate((Fraction(v) for v in printed), initial=begin)):
        # Cuts stay within a GOP of their grid line after ten hours.
        if number < len(printed):
            assert 0 <= time - 6 * number <= 2 + Fraction(1, 1000)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "aes"])
def test_pain_13_bandwidth_is_measured_on_the_segments(encrypted: bool, format: str) -> None:
    for names in (("irregular_gop.mp4",), LADDER, ("audio_48k.m4a",), ("languages.mp4",)):
        encryption = pystream.Aes128() if encrypted else None
        presentation = planned(*names, format=format, encryption=encryption)
        sizes = {r.name: [len(s) for s in segments(r)] for r in presentation.renditions}
        rates = {
            r.name: (
                planner.peak_bps(sizes[r.name], list(r.durations_us), presentation.target_duration),
                planner.average_bps(sizes[r.name], list(r.durations_us)),
            )
            for r in presentation.renditions
        }
        multivariant = playlist.parse(presentation.multivariant_playlist().text())
        assert isinstance(multivariant, playlist.MultivariantPlaylist)
        for variant in multivariant.variants:
            name = variant.uri.split("/")[0]
            others = [
                rendition.uri.split("/")[0]
                for rendition in multivariant.renditions
                if rendition.group_id == variant.audio and rendition.uri
            ]
            assert name not in others
            peak, average = rates[name]
            assert variant.bandwidth == peak + max((rates[o][0] for o in others), default=0)
            assert variant.average_bandwidth == average + max(
                (rates[o][1] for o in others), default=0
            )
            assert variant.bandwidth >= 8 * max(sizes[name]) // ceil(
                presentation.target_duration * 1.5
            )


@pytest.mark.parametrize("format", FORMATS)
def test_pain_13_the_peak_is_no_less_than_the_average(format: str, tmp_path: Path) -> None:
    # A short tail, alone too short to count, and together with what is before it too long.
    pictures = synthetic.pictures([135, 55])
    busy = pictures.samples[135:]
    grown = [s.data[:-1] + bytes([1]) * 30_000 for s in busy]
    grown = [struct.pack(">I", len(data) - 4) + data[4:] for data in grown]
    pictures.samples[135:] = [replace(s, data=d) for s, d in zip(busy, grown, strict=True)]
    path = tmp_path / "film.mp4"
    path.write_bytes(synthetic.movie(pictures))
    presentation = pystream.plan([pystream.open(path)], format=format, segment_duration=4)
    (rendition,) = presentation.renditions
    durations = list(rendition.durations_us)
    sizes = [len(segment) for segment in segments(rendition)]
    average = planner.average_bps(sizes, durations)
    assert planner.peak_bps(sizes, durations, presentation.target_duration) < average / 40
    (variant,) = presentation.multivariant_playlist().variants
    assert variant.bandwidth == variant.average_bandwidth == average
    arguments = ["package", str(path), "-o", str(tmp_path / "out"), "--format", format]
    assert main([*arguments, "--segment-duration", "4"]) == 0
    verify([path], tmp_path / "out" / "index.m3u8")


@pytest.mark.parametrize("format", FORMATS)
def test_pain_13_languages_alone_play_one_at_a_time(format: str) -> None:
    # The variant stream is the first language, and each other one plays in its place.
    tracks = [synthetic.sound((0, 400), language=code, seed=i) for i, code in enumerate(CODES)]
    tracks[1].samples = [replace(s, data=s.data * 2) for s in tracks[1].samples]
    for order in permutations(tracks):
        presentation = pystream.plan([pystream.open(synthetic.movie(*order))], format=format)
        rates = [
            (
                planner.peak_bps(sizes, list(r.durations_us), presentation.target_duration),
                planner.average_bps(sizes, list(r.durations_us)),
            )
            for r in presentation.renditions
            if (sizes := [len(s) for s in segments(r)])
        ]
        (variant,) = presentation.multivariant_playlist().variants
        assert variant.uri == "a0/index.m3u8"
        assert variant.bandwidth == max(peak for peak, _ in rates)
        assert variant.average_bandwidth == max(average for _, average in rates)


def test_pain_8_independence_is_claimed_only_where_it_was_seen() -> None:
    for format in FORMATS:
        for name, true in (("plain.mp4", True), ("open_gop.mp4", False), ("intra.mp4", True)):
            presentation = planned(name, format=format)
            texts = [presentation.multivariant_playlist().text()]
            texts += [presentation.media_playlist(r).text() for r in presentation.renditions]
            assert {"EXT-X-INDEPENDENT-SEGMENTS" in text for text in texts} == {true}
            assert ("open-gop" in [n.code for n in presentation.notices]) == (not true)
        # One rendition of a ladder that is not, and the claim falls for all.
        sources = [opened("plain.mp4"), opened("open_gop.mp4")]
        mixed = pystream.plan(sources, format=format, segment_duration=2)
        assert not mixed.independent
    unseen = pystream.plan([opened("plain.mp4")], scan=False)
    assert not unseen.independent


# Sound


@pytest.mark.parametrize("format", FORMATS)
def test_sound_that_outlasts_the_pictures_has_segments_of_its_own(format: str) -> None:
    presentation = planned("audio_longer.mp4", format=format)
    sound = presentation.renditions[-1]
    assert len(sound) == 5
    assert abs(sum(sound.durations_us) - 9 * US) < US // 20
    if format == "fmp4":
        assert len(presentation.renditions[0]) == 3
        assert begins(sound)[3:] == sorted(begins(sound)[3:])
        assert 0 <= begins(sound)[3] - 6 < Fraction(1024, 48_000)


@pytest.mark.parametrize("format", FORMATS)
def test_a_hole_before_late_sound_is_not_filled_with_segments(format: str) -> None:
    # An empty edit of hours: as an encoder's mistake or a lie, it must not cost a segment a line.
    tracks = load(MEDIA / "plain.mp4")
    tracks[1].edits = [(10_000_000, -1), (6000, 0)]
    source = pystream.open(bytes(boxes.Movie(tracks)))
    presentation = pystream.plan([source], format=format, segment_duration=0.5)
    assert sum(len(rendition) for rendition in presentation.renditions) < 40


@pytest.mark.parametrize("format", FORMATS)
def test_sound_that_ends_early_does_not_shorten_the_pictures(format: str) -> None:
    presentation = planned("audio_shorter.mp4", format=format)
    assert list(presentation.renditions[0].durations_us) == [2 * US] * 3
    assert len(presentation.renditions[-1]) == (3 if format == "ts" else 2)


def test_sound_alone_is_cut_on_frames_at_the_grid() -> None:
    for name in ("audio_48k.m4a", "audio_8k.m4a", "ladder_audio.m4a", "he_aac.m4a"):
        frames = carried(opened(name), name, "soun")
        times = [frame.pts for frame in frames]
        numbers, scale = ticks([*times, times[-1] + frames[-1].duration])
        for target in (1, 2, 6):
            wanted = planner.grid(numbers[:-1], scale, target * US, numbers[-1])
            (rendition,) = planned(name, format="fmp4", seconds=target).renditions
            assert begins(rendition) == [times[i] for i in wanted]


def test_pain_22_sound_begins_with_the_pictures_that_are_shown() -> None:
    presentation = planned("late_key.mp4", format="fmp4")
    codes = [notice.code for notice in presentation.notices]
    assert codes == ["before-key-frame", "audio-before-video"]
    video, sound = (begins(rendition)[0] for rendition in presentation.renditions)
    assert -Fraction(1024, 48_000) < sound - video <= 0
    assert "34 pictures" in presentation.notices[0].message
    assert "ms" in presentation.notices[0].message


def test_pain_28_pieces_follow_each_other_without_a_rounding_error() -> None:
    for name in ("ntsc.mp4", "ladder_audio.m4a"):
        for rendition in planned(name, format="fmp4").renditions:
            starts = begins(rendition)
            printed = accumulate(rendition.durations_us, initial=0)
            for begin, told in zip(starts, printed, strict=False):
                assert abs((begin - starts[0]) * US - told) <= Fraction(1, 2)


@pytest.mark.parametrize("format", FORMATS)
def test_several_languages_are_renditions_of_one_group(format: str) -> None:
    presentation = planned("languages.mp4", format=format)
    multivariant = presentation.multivariant_playlist()
    assert [r.language for r in multivariant.renditions] == ["de", "en", None]
    assert len({r.name for r in multivariant.renditions}) == 3
    assert [r.default for r in multivariant.renditions] == [True, False, False]
    assert {r.group_id for r in multivariant.renditions} == {multivariant.variants[0].audio}
    ids = [t.id for t in opened("languages.mp4").tracks if t.kind == "audio"]
    theirs = {t.id: t for t in mp4.read(MEDIA / "languages.mp4").tracks}
    for rendition, number in zip(
        planned("languages.mp4", format="fmp4").renditions[1:], ids, strict=True
    ):
        made = [content for _, f in fragments(rendition) for content in f.content]
        assert made == [
            sample_bytes("languages.mp4", s) for s in theirs[number].samples[: len(made)]
        ]
        assert len(made) == len(theirs[number].samples)


@pytest.mark.parametrize("format", FORMATS)
def test_a_ladder_and_one_file_of_sound_make_variants_and_one_audio_rendition(format: str) -> None:
    presentation = planned(*LADDER, format=format)
    assert [r.name for r in presentation.renditions] == ["v0", "v1", "v2", "a0"]
    multivariant = presentation.multivariant_playlist()
    assert [v.uri for v in multivariant.variants] == [f"v{i}/index.m3u8" for i in range(3)]
    (sound,) = multivariant.renditions
    assert sound.uri == "a0/index.m3u8"
    for variant in multivariant.variants:
        assert variant.audio == sound.group_id
        assert variant.codecs[-1] == "mp4a.40.2"
        assert len(variant.codecs) == 2


@pytest.mark.parametrize("format", FORMATS)
def test_sound_that_is_the_same_in_all_inputs_is_written_once(format: str) -> None:
    twins = [opened("plain.mp4"), opened("moov_last.mp4"), opened("co64.mp4")]
    presentation = pystream.plan(twins, format=format, segment_duration=2)
    assert [r.name for r in presentation.renditions] == ["v0", "v1", "v2", "a0"]
    tracks = load(MEDIA / "plain.mp4")
    again = pystream.open(bytes(boxes.Movie(tracks)), "again")
    dice = random.Random(1)
    tracks[1].samples = [
        boxes.Sample(dice.randbytes(len(s.data)), s.duration) for s in tracks[1].samples
    ]
    other = pystream.open(bytes(boxes.Movie(tracks)), "other")
    # Equal in all but the bytes.
    for source, names in ((again, ["a0"]), (other, ["a0", "a1"])):
        rewritten = pystream.open(bytes(boxes.Movie(load(MEDIA / "plain.mp4"))), "first")
        presentation = pystream.plan([rewritten, source], format=format, segment_duration=2)
        assert [r.name for r in presentation.renditions][2:] == names


def spoken(*languages: str, seed: int = 0, gops: int = 3) -> bytes:
    """Pictures, and sound in each language, no two of which have the same bytes."""
    tracks = [synthetic.pictures([50] * gops)]
    tracks += [
        synthetic.sound((0, 94 * gops), language=language, seed=seed + i)
        for i, language in enumerate(languages)
    ]
    return synthetic.movie(*tracks)


def offered(
    *films: bytes, format: str = "ts"
) -> tuple[list[list[tuple[str, str | None]]], list[str]]:
    """(NAME, URI) of what each variant offers, and the codes of the notices. Printing alone shows
    that the groups are alike."""
    sources = [pystream.open(film, f"{n}.mp4") for n, film in enumerate(films)]
    presentation = pystream.plan(sources, format=format, segment_duration=2)
    multivariant = playlist.parse(presentation.multivariant_playlist().text())
    assert isinstance(multivariant, playlist.MultivariantPlaylist)
    names = [r.name for r in presentation.renditions]
    uris = {f"{name}/index.m3u8": name for name in names}
    groups = [
        [(r.name, r.uri and uris[r.uri]) for r in multivariant.renditions if r.group_id == v.audio]
        for v in multivariant.variants
    ]
    return groups, [notice.code for notice in presentation.notices]


@pytest.mark.parametrize("format", FORMATS)
def test_every_rendition_is_offered_with_the_same_sound(format: str, tmp_path: Path) -> None:
    paths = [tmp_path / "360p.mp4", tmp_path / "720p.mp4"]
    paths[0].write_bytes(spoken("eng"))
    paths[1].write_bytes(spoken("deu", "fra", seed=1))
    everything = [("en", "a0"), ("de", "a1"), ("fr", "a2")]
    groups, codes = offered(*(path.read_bytes() for path in paths), format=format)
    assert groups == [everything, everything]
    assert codes == ["uneven-sound"]
    out = tmp_path / "out"
    assert main(["package", *map(str, paths), "-o", str(out), "--format", format]) == 0
    verify(paths, out / "index.m3u8")
    sources = [pystream.open(path) for path in paths]
    (notice,) = pystream.plan(sources, format=format).notices
    assert f"{paths[0]} has sound in en; {paths[1]} has sound in de and fr: each" in notice.message


@pytest.mark.parametrize("format", FORMATS)
def test_a_rendition_keeps_its_own_encoding_of_a_language(format: str) -> None:
    # The same languages, in any order: nothing is added.
    low, high = spoken("eng", "deu"), spoken("deu", "eng", seed=5)
    groups, codes = offered(low, high, format=format)
    assert groups == [[("en", "a0"), ("de", "a1")], [("en", "a3"), ("de", "a2")]]
    assert codes == []
    # One of them has a language more, and the other one gets that.
    groups, codes = offered(spoken("eng"), high, format=format)
    assert groups == [[("en", "a0"), ("de", "a1")], [("en", "a2"), ("de", "a1")]]
    assert codes == ["uneven-sound"]
    # Pictures without sound always get all of it.
    groups, codes = offered(low, film([50] * 3, Fraction(25), 90_000), high, format=format)
    own = [("en", "a0"), ("de", "a1")]
    assert groups == [own, own, [("en", "a3"), ("de", "a2")]]
    assert codes == []


@pytest.mark.parametrize("format", FORMATS)
def test_sound_that_inputs_share_is_one_member_in_all_of_them(format: str) -> None:
    one, two, both = spoken("eng"), spoken("eng", seed=1), spoken("eng", "eng")
    pair = [("en", "a0"), ("en 2", "a1")]
    for films in ((both, one), (one, both), (one, two, both), (both, two, one)):
        groups, codes = offered(*films, format=format)
        assert groups == [pair] * len(films)
        assert codes == ["uneven-sound"]
    groups, codes = offered(both, two, format=format)
    assert groups == [pair, pair]


@pytest.mark.parametrize("format", FORMATS)
def test_one_sound_of_a_language_is_selected_by_it(format: str) -> None:
    for content in (spoken("deu", "eng", "deu", "und", "und"), spoken("eng", "deu", "eng")):
        multivariant = pystream.plan(
            [pystream.open(content)], format=format
        ).multivariant_playlist()
        chosen = [r.language for r in multivariant.renditions if r.autoselect]
        assert sorted(map(str, chosen)) == sorted(
            {str(r.language) for r in multivariant.renditions}
        )
        first = {r.language: r for r in reversed(multivariant.renditions)}
        assert all(first[r.language] is r for r in multivariant.renditions if r.autoselect)
    names = [r.name for r in multivariant.renditions]
    assert names == ["en", "de", "en 2"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("pictures", [True, False], ids=["film", "sound"])
def test_the_default_is_the_first_sound_that_is_enabled(pictures: bool, format: str) -> None:
    for enabled, default in (
        ((True, True, True), "de"),
        ((False, True, False), "en"),
        ((False, False, True), "fr"),
        ((False, False, False), "de"),
    ):
        tracks = [synthetic.pictures([50] * 3)] * pictures
        tracks += [
            synthetic.sound((0, 280), language=code, seed=i, enabled=on)
            for i, (code, on) in enumerate(zip(CODES, enabled, strict=True))
        ]
        presentation = pystream.plan([pystream.open(synthetic.movie(*tracks))], format=format)
        multivariant = presentation.multivariant_playlist()
        assert {r.language for r in multivariant.renditions} == {"de", "en", "fr"}
        (chosen,) = (r for r in multivariant.renditions if r.default)
        assert chosen is multivariant.renditions[0]
        assert (chosen.language, chosen.autoselect) == (default, True)
        if not pictures:
            assert multivariant.variants[0].uri == chosen.uri


def test_what_one_input_enables_comes_before_what_another_one_does_not() -> None:
    def film(*sounds: tuple[str, bool, int]) -> bytes:
        tracks = [
            synthetic.sound((0, 280), language=code, enabled=on, seed=seed)
            for code, on, seed in sounds
        ]
        return synthetic.movie(synthetic.pictures([50] * 3), *tracks)

    groups, _ = offered(film(("eng", False, 0)), film(("deu", True, 1)))
    assert groups == [[("de", "a1"), ("en", "a0")]] * 2
    # The first that is enabled stands for the same in both.
    groups, _ = offered(film(("eng", False, 0), ("eng", True, 1)), film(("eng", True, 2)))
    assert groups == [[("en", "a1"), ("en 2", "a0")], [("en", "a2"), ("en 2", "a0")]]


def paced(*paces: tuple[int, int], scale: int = 90_000) -> bytes:
    """Pictures at (ticks of each, how many), each pace from a key frame on."""
    made = synthetic.pictures([count for _, count in paces], scale=scale)
    lasting = iter([ticks for ticks, count in paces for _ in range(count)])
    made.samples = [replace(sample, duration=next(lasting)) for sample in made.samples]
    return synthetic.movie(made)


def frame_rate(content: bytes, format: str = "ts") -> str:
    presentation = pystream.plan([pystream.open(content)], format=format, segment_duration=2)
    found = re.search(r"FRAME-RATE=([0-9.]+)", presentation.multivariant_playlist().text())
    assert found
    return found[1]


def test_the_frame_rate_is_that_of_the_fastest_segment() -> None:
    # RFC 8216 4.3.4.2: the maximum for all the pictures.
    assert frame_rate(paced((3600, 100), (1800, 200), (3600, 100))) == "50.000"
    assert frame_rate(paced((3600, 100), (1800, 100))) == "50.000"
    # Time stamps in whole ticks of any size are no faster pictures.
    for fps in (Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(60_000, 1001)):
        for scale in (600, 1000, 12_800, 90_000):
            content = film([50] * 12, fps, scale)
            assert abs(float(frame_rate(content)) - fps) < 0.002, (fps, scale)
    # Nor are pictures that come together for a moment, or a segment of one.
    assert frame_rate(paced((3600, 100), (90, 2), (3600, 100))) == f"{101 / 3.962:.3f}"
    alone = synthetic.pictures([50, 1, 50], entries=[0, 1, 0])
    alone.samples[50] = replace(alone.samples[50], duration=90)
    assert frame_rate(synthetic.movie(alone)) == f"{100 / 3.961:.3f}"
    # Each seventh of 25 is dropped, and for most of a second all are: 18.456 on average.
    assert frame_rate((MEDIA / "vfr.mp4").read_bytes()) == "21.552"
    lonely = pystream.plan([pystream.open(film([1], Fraction(25), 90_000))])
    assert lonely.renditions[0].frame_rate_milli is None


def test_what_codecs_says_of_parameter_sets_in_the_stream() -> None:
    content = (MEDIA / "plain.mp4").read_bytes().replace(b"avc1", b"avc3")
    for format, family in (("ts", "avc1"), ("fmp4", "avc3")):
        presentation = pystream.plan([pystream.open(content)], format=format)
        (variant,) = presentation.multivariant_playlist().variants
        kinds = [codec.split(".")[0] for codec in variant.codecs]
        assert kinds == [family, "mp4a"]


def test_frame_rates_and_resolutions_are_told() -> None:
    for name, rate, size in (
        ("plain.mp4", "25.000", "256x144"),
        ("ntsc.mp4", "29.970", "256x144"),
        ("fps_12_5.mp4", "12.500", "256x144"),
        ("ladder_90.mp4", "25.000", "160x90"),
        # The pixels that there are, however wide they are shown.
        ("anamorphic.mp4", "25.000", "144x144"),
    ):
        text = planned(name).multivariant_playlist().text()
        assert f"FRAME-RATE={rate}" in text
        assert f"RESOLUTION={size}" in text


@pytest.mark.parametrize("format", FORMATS)
def test_pain_32_a_configuration_that_changes_where_another_rendition_has_no_key_is_refused(
    format: str,
) -> None:
    # One film changes its configuration at 4 s; the other one has key frames at 0, 2 and 6 s.
    other = pystream.open(film([50, 100, 50], Fraction(25), 90_000), "other")
    with pytest.raises(pystream.PlanError, match=r"two_entries.* at 4\.000 s"):
        pystream.plan([opened("two_entries.mp4"), other], format=format, segment_duration=2)


# When a presentation begins


def shifted(video_s: Fraction, sound_s: Fraction = Fraction(0)) -> bytes:
    """The plain clip, six seconds with key frames each two, its tracks delayed by empty edits; its
    sound goes on for as long as the pictures do."""
    video, sound = load(MEDIA / "plain.mp4")
    frames = int(video_s * 48_000 / 1024) + len(sound.samples)
    sound.samples = list(islice(cycle(sound.samples), frames))
    for made, delay in ((video, video_s), (sound, sound_s)):
        made.edits = [(int(delay * 1000), -1), (0, made.samples[0].offset)]
    return bytes(boxes.Movie([video, sound]))


def sums(rendition: pystream.Rendition) -> list[Fraction]:
    """When each segment begins, and the last one ends, by EXTINF alone."""
    return [Fraction(us, US) for us in accumulate(rendition.durations_us, initial=0)]


FRAME = Fraction(1024, 48_000)


@pytest.mark.parametrize("delay", [Fraction(3, 10), Fraction(7, 10), Fraction(19, 10)])
def test_muxed_sound_that_begins_before_the_pictures_is_in_the_first_extinf(
    delay: Fraction, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(shifted(delay))
    presentation = pystream.plan([pystream.open(path)], segment_duration=2)
    assert not presentation.notices
    (rendition,) = presentation.renditions
    stream = transport(rendition)
    zero = min(pes.pts for pes in stream.pes)
    firsts = []
    for segment in segments(rendition):
        alone = ts.Stream()
        alone.add(segment)
        firsts.append(min(pes.pts for pes in alone.of(ts.H264)))
    for first, begins in zip(firsts[1:], sums(rendition)[1:], strict=False):
        assert abs(Fraction(first - zero, 90_000) - begins) < Fraction(1, 1000)
    assert firsts[0] - zero == round(delay * 90_000)
    assert presentation.target_duration >= rendition.durations_us[0] / US - 0.5
    assert main(["package", str(path), "-o", str(tmp_path / "out"), "--segment-duration", "2"]) == 0
    verify([path], tmp_path / "out" / "index.m3u8")


def test_muxed_sound_far_before_the_pictures_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(shifted(Fraction(20)))
    presentation = pystream.plan([pystream.open(path, "film")], segment_duration=2)
    (notice,) = presentation.notices
    assert notice.code == "audio-before-video"
    told = re.search(
        r"\((17\.9\d\d) s\) of sound before the first picture are left out", notice.message
    )
    assert told
    (rendition,) = presentation.renditions
    assert [round(us / US, 1) for us in rendition.durations_us] == [4.0, 2.0, 2.0]
    sound = transport(rendition).of(ts.AAC)
    assert 0 <= 28 * 90_000 - sound[0].pts < FRAME * 90_000


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("delay", [Fraction(7, 10), Fraction(3), Fraction(20)])
def test_sound_apart_before_the_pictures_counts_in_its_own_playlist_only(
    delay: Fraction, format: str, tmp_path: Path
) -> None:
    # In `ts` sound is apart where there are two of it.
    content = shifted(delay)
    paths = [tmp_path / "film.mp4", tmp_path / "sound.m4a"]
    paths[0].write_bytes(content)
    paths[1].write_bytes(synthetic.movie(synthetic.sound((0, 1500), language="deu")))
    presentation = pystream.plan(
        [pystream.open(path) for path in paths], format=format, segment_duration=2
    )
    video, sound, *_ = presentation.renditions
    kept = min(delay, Fraction(2))
    assert list(video.durations_us) == [2 * US] * 3
    assert abs(sound.durations_us[0] - (2 + kept) * US) < 2 * FRAME * US
    told = [n for n in presentation.notices if n.source == str(paths[0])]
    assert [n.code for n in told] == ["audio-before-video"] * (delay > kept)
    if told:
        lost = re.search(r"\((\d+\.\d+) s\) of sound", told[0].message)
        assert lost and abs(Fraction(lost[1]) - (delay - kept)) < 2 * FRAME
    if format == "fmp4":
        starts = begins(sound)
        assert 0 <= delay - kept - starts[0] < FRAME
        for start, sum_before in zip(starts, sums(sound), strict=False):
            assert abs(start - starts[0] - sum_before) <= FRAME
    out = tmp_path / "out"
    arguments = ["package", str(paths[0]), "-o", str(out), "--format", format]
    assert main([*arguments, "--segment-duration", "2"]) == 0
    if format == "fmp4":
        verify(paths[:1], out / "index.m3u8")


@pytest.mark.parametrize("delay", [Fraction(7, 10), Fraction(3), Fraction(5)])
def test_the_first_extinf_of_late_sound_counts_from_the_pictures_begin(
    delay: Fraction, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(shifted(Fraction(0), delay))
    presentation = pystream.plan([pystream.open(path)], format="fmp4", segment_duration=2)
    _, sound = presentation.renditions
    starts = begins(sound)
    assert abs(starts[0] - delay) <= FRAME
    for start, told in zip(starts[1:], sums(sound)[1:], strict=False):
        assert abs(start - told) <= Fraction(1, 1_000_000)
    out = tmp_path / "out"
    arguments = ["package", str(path), "-o", str(out), "--format", "fmp4"]
    assert main([*arguments, "--segment-duration", "2"]) == 0
    verify([path], out / "index.m3u8")
    # Were its first EXTINF only as long as the sound in it, positions would not agree.
    playlist = out / "a0" / "index.m3u8"
    first = sound.durations_us[0] / US
    text = playlist.read_text()
    playlist.write_text(text.replace(f"{first:.6f}", f"{first - float(starts[0]):.6f}", 1))
    assert playlist.read_text() != text
    with pytest.raises(VerifyError, match="first EXTINF begins"):
        verify([path], out / "index.m3u8")


def trimmed(gop_s: int, into_s: int) -> tuple[bytes, bytes]:
    """Pictures and sound of two groups of pictures, of which an edit list shows ten seconds; the
    pictures of one film, and the sound of another one without any."""
    video = synthetic.pictures([25 * gop_s] * 2, scale=90_000)
    video.edits = [(10_000, into_s * 90_000)]
    sound = synthetic.sound((0, 2 * gop_s * 47))
    sound.edits = [(10_000, into_s * 48_000)]
    return synthetic.movie(video, sound), synthetic.movie(sound)


@pytest.mark.parametrize("format", FORMATS)
def test_a_film_that_is_trimmed_far_into_its_first_group_of_pictures_starts_later(
    format: str, tmp_path: Path
) -> None:
    film, _ = trimmed(12, 11)
    (tmp_path / "film.mp4").write_bytes(film)
    source = pystream.open(tmp_path / "film.mp4")
    with pytest.raises(pystream.LimitExceeded, match="before the clock's zero"):
        pystream.plan([source], format=format, start_seconds=10)
    presentation = pystream.plan([source], format=format)
    told = pystream.plan([source], format=format, start_seconds=12)
    for mine, theirs in zip(presentation.renditions, told.renditions, strict=True):
        assert segments(mine) == segments(theirs)
    if format == "ts":
        # The key frame that is a second of film away.
        (rendition,) = presentation.renditions
        assert 13 * 90_000 in [pes.pts for pes in transport(rendition).of(ts.H264)]
    else:
        for rendition in presentation.renditions:
            (init, first), *_ = fragments(rendition)
            assert first.begins >= timescale(init) * (1 if rendition.kind == "video" else 0)
    out = tmp_path / "out"
    command = ["package", str(tmp_path / "film.mp4"), "-o", str(out), "--format", format]
    assert main(command) == 0
    verify([tmp_path / "film.mp4"], out / "index.m3u8")


def test_all_renditions_and_formats_start_together() -> None:
    # The sound alone would start at ten seconds.
    long, sound = (pystream.open(content) for content in trimmed(12, 11))
    coarse = synthetic.pictures([300, 300], scale=12_800)
    coarse.edits = [(10_000, 11 * 12_800)]
    other = pystream.open(synthetic.movie(coarse))
    short, _ = trimmed(2, 1)
    for inputs in ([long, sound, other], [other, sound, long]):
        for format in FORMATS:
            presentation = pystream.plan(inputs, format=format)
            told = pystream.plan(inputs, format=format, start_seconds=12)
            for mine, theirs in zip(presentation.renditions, told.renditions, strict=True):
                assert bytes(mine.segment(0)) == bytes(theirs.segment(0))
    # What begins at most nine seconds before its time 0 starts at ten, as everything always did.
    for content in (short, trimmed(12, 9)[0]):
        source = pystream.open(content)
        for format in FORMATS:
            mine = pystream.plan([source], format=format).renditions[0]
            theirs = pystream.plan([source], format=format, start_seconds=10).renditions[0]
            assert bytes(mine.segment(0)) == bytes(theirs.segment(0))


@pytest.mark.parametrize("format", FORMATS)
def test_what_lasts_a_moment_is_not_counted_at_either_end(format: str) -> None:
    # Sound 0.09 s before the pictures, and 0.09 s after them.
    for early, counted in ((90, False), (110, True)):
        video = synthetic.pictures([50, 50])
        video.edits = [(early, -1), (4000, 0)]
        sound = synthetic.sound((0, round((4 + 2 * early / 1000) * 48_000 / 1024)))
        source = pystream.open(synthetic.movie(video, sound))
        presentation = pystream.plan([source], format=format, segment_duration=2)
        durations = list(presentation.renditions[0].durations_us)
        if format == "ts":
            assert (durations[0] > 2 * US, durations[1] > 2 * US) == (counted, counted)
        assert not presentation.notices


@pytest.mark.parametrize("format", FORMATS)
def test_priming_before_zero_is_no_segment_of_its_own(format: str) -> None:
    (sound,) = load(MEDIA / "audio_48k.m4a")
    for edit in (0, 1024, 2048):
        sound.edits = [(4000, edit)]
        presentation = pystream.plan(
            [pystream.open(bytes(boxes.Movie([sound])))], format=format, segment_duration=2
        )
        (rendition,) = presentation.renditions
        assert min(rendition.durations_us) >= US


@pytest.mark.parametrize("format", FORMATS)
def test_a_track_that_lasts_no_time_is_refused_by_name(format: str) -> None:
    still = synthetic.pictures([1])
    still.samples = [boxes.Sample(still.samples[0].data, 0)]
    many = synthetic.pictures([1] * 5)
    many.samples = [boxes.Sample(sample.data, 0) for sample in many.samples]
    for pictures in (still, many):
        source = pystream.open(synthetic.movie(pictures), "film")
        with pytest.raises(
            pystream.MalformedMedia, match=r"^film: track 1 lasts no time"
        ) as caught:
            pystream.plan([source], format=format)
        assert caught.value.offset == memoryview(source.tracks[0].offsets(0, 1))[0]


def test_what_is_no_key_frame_is_refused_where_it_lies() -> None:
    pictures = synthetic.pictures([50, 50])
    lies = [replace(s, data=b"\0\0\0\2\x41\1") for s in pictures.samples]
    pictures.samples = lies
    source = pystream.open(synthetic.movie(pictures), "film")
    with pytest.raises(
        pystream.UnsupportedMedia, match=r"^film: track 1 has no key frame"
    ) as caught:
        pystream.plan([source])
    assert caught.value.offset == memoryview(source.tracks[0].offsets(0, 1))[0]
    # Another decoder configuration, at a picture that is none.
    pictures = synthetic.pictures([5, 5], entries=[0, 1])
    pictures.samples[5] = replace(pictures.samples[5], sync=False)
    source = pystream.open(synthetic.movie(pictures), "film")
    with pytest.raises(
        pystream.UnsupportedMedia, match="decoder configuration at sample 5"
    ) as caught:
        pystream.plan([source])
    assert caught.value.offset == memoryview(source.tracks[0].offsets(5, 6))[0]


# Ladders that are not quite one


@pytest.mark.parametrize("format", FORMATS)
def test_pain_10_a_rendition_that_ends_early_is_refused_with_both_ends(format: str) -> None:
    whole = pystream.open(film([50] * 15, Fraction(25), 90_000), "film.mp4")
    for gops, fits in (([50] * 10, False), ([50] * 14, False), ([50] * 14 + [26], True)):
        short = pystream.open(film(gops, Fraction(25), 12_800), "360p.mp4")
        if fits:
            presentation = pystream.plan([whole, short], format=format, segment_duration=2)
            (notice,) = presentation.notices
            assert notice.code == "uneven-end"
            assert notice.message == "360p.mp4 ends at 29.040 s, film.mp4 at 30.000 s"
        else:
            with pytest.raises(pystream.PlanError) as caught:
                pystream.plan([short, whole], format=format, segment_duration=2)
            end = sum(gops) / 25
            told = f"360p.mp4 ends at {end:.3f} s, film.mp4 at 30.000 s"
            assert str(caught.value).startswith(told)


@pytest.mark.parametrize("format", FORMATS)
def test_pain_10_three_renditions_are_narrowed_down_to_what_all_share(format: str) -> None:
    ladder = [[50] * 8, [25] * 16, [50, 50, 100, 50, 50, 50, 50]]
    for order in permutations(ladder):
        sources = [pystream.open(film(gops, Fraction(25), 90_000)) for gops in order]
        presentation = pystream.plan(sources, format=format, segment_duration=2)
        durations = [list(rendition.durations_us) for rendition in presentation.renditions]
        assert durations == [[2 * US, 2 * US, 4 * US, *[2 * US] * 4]] * 3
        if format == "fmp4":
            assert [begins(r) for r in presentation.renditions] == [[0, 2, 4, 8, 10, 12, 14]] * 3


@pytest.mark.parametrize("format", FORMATS)
def test_a_rendition_without_sound_gets_that_of_the_others(format: str) -> None:
    pictures = synthetic.pictures([50, 50])
    spoken = pystream.open(synthetic.movie(pictures, synthetic.sound((0, 187))))
    mute = pystream.open(synthetic.movie(synthetic.pictures([50, 50], scale=12_800)))
    multivariant = pystream.plan([spoken, mute], format=format).multivariant_playlist()
    assert [variant.audio for variant in multivariant.variants] == ["audio", "audio"]


@pytest.mark.parametrize("format", FORMATS)
def test_two_languages_of_the_same_sound_are_two(format: str) -> None:
    tracks = [synthetic.pictures([50, 50])]
    tracks += [synthetic.sound((0, 187), language=code) for code in ("deu", "eng", "eng")]
    presentation = pystream.plan([pystream.open(synthetic.movie(*tracks))], format=format)
    languages = [
        rendition.language for rendition in presentation.renditions if rendition.kind == "audio"
    ]
    assert languages == ["de", "en"]


@pytest.mark.parametrize("format", FORMATS)
def test_what_another_writer_says_of_its_bit_rate_makes_no_other_sound(format: str) -> None:
    def spoken(buffer: int, largest: int, average: int, config: str = "1190") -> pystream.Input:
        sound = synthetic.sound((0, 187))
        entry = boxes.aac_entry(bytes.fromhex(config), 48_000, 2)
        (esds,) = entry.children
        # bufferSizeDB, maxBitrate and avgBitrate (ISO/IEC 14496-1 7.2.6.6) after the stream type.
        at = esds.head.index(b"\x40\x15") + 2
        rates = buffer.to_bytes(3, "big") + struct.pack(">2I", largest, average)
        esds.head = esds.head[:at] + rates + esds.head[at + 11 :]
        sound.entries = [entry]
        return pystream.open(synthetic.movie(synthetic.pictures([50, 50]), sound))

    def sounds(*inputs: pystream.Input) -> int:
        renditions = pystream.plan(inputs, format=format).renditions
        return sum(rendition.kind == "audio" for rendition in renditions)

    assert sounds(spoken(0, 0, 0), spoken(6144, 160_000, 0), spoken(0, 0, 64_001)) == 1
    # The sync extension says that there is replication; then that there is none.
    assert sounds(spoken(0, 0, 0), spoken(0, 0, 0, "119056e580")) == 2


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("cat", "ca"), ("ger", "de"), ("deu", "de"), ("fre", "fr"), ("isl", "is"), ("ice", "is"),
        ("fas", "fa"), ("per", "fa"), ("ben", "bn"), ("slo", "sk"), ("zul", "zu"), ("chi", "zh"),
        ("qaa", "qaa"), ("gsw", "gsw"), ("zxx", "zxx"), ("und", None),
    ],
)  # fmt: skip
def test_languages_have_the_shortest_code_there_is(code: str, tag: str | None) -> None:
    sound = synthetic.sound((0, 90), language=code)
    presentation = pystream.plan([pystream.open(synthetic.movie(sound))])
    assert presentation.renditions[0].language == tag


def test_the_table_of_languages_is_whole() -> None:
    # ISO 639-1 has 184 codes beside those of ISO 639-2, and 20 of the latter are of two kinds.
    assert len(set(language._SHORT.values())) == len(language._SHORT) == 184
    assert len(language._TERMINOLOGICAL) == 20
    assert {*language._TERMINOLOGICAL.values()} <= {*language._SHORT}


# What a plan costs

PEAK = """
import sys
import pystream

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

before = peak()
source = pystream.open(sys.argv[1])
try:
    pystream.plan([source])
except pystream.UnsupportedMedia:
    print("refused", end=" ")
print(1024 * (peak() - before))
"""


@pytest.mark.slow
def test_a_plan_takes_few_bytes_a_key_frame(tmp_path: Path) -> None:
    """Ten hours of which each picture is a key frame, or each seventh of those that are called so,
    and a megabyte whose word is all that it has.

    Index and time are 8 bytes each, held twice for a moment, and so much again to find cuts in.
    """
    path = tmp_path / "film.mp4"
    key, other = b"\0\0\0\2\x65\1", b"\0\0\0\2\x41\1"
    for count, contents, ticks, refused in (
        (900_000, (key,), 3600, []),
        (900_000, (key, *[other] * 6), 3600, []),
        (1_000_000, (b"\0",), 1, ["refused"]),
    ):
        path.write_bytes(synthetic.alike(count, *contents, ticks=ticks))
        command = [sys.executable, "-c", PEAK, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        *said, peak = done.stdout.split()
        assert said == refused
        assert int(peak) < 56 * count


def test_a_playlist_takes_as_many_steps_as_it_has_segments() -> None:
    """Where each segment has another decoder configuration, and IVs count over all resources."""

    def steps(count: int) -> int:
        content = synthetic.movie(synthetic.pictures([1] * count, entries=[0, 1] * (count // 2)))
        key = pystream.Aes128(key=bytes(16))
        presentation = pystream.plan([pystream.open(content)], format="fmp4", encryption=key)
        (rendition,) = presentation.renditions
        assert len(rendition.inits()) == count
        taken = 0

        def step(*_: object) -> None:
            nonlocal taken
            taken += 1

        sys.setprofile(step)
        try:
            presentation.media_playlist(rendition)
        finally:
            sys.setprofile(None)
        return taken

    assert steps(400) < 2.5 * steps(200)
