"""Transport stream segments, taken apart by the strict demuxer in tests/oracles/ts.py."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

import pystream
from pystream.cli import main
from pystream.packager.verify import verify
from tests.media.make import load
from tests.oracles import boxes, mp4, ts
from tests.oracles.hls import (
    AUD,
    CLIPS,
    IDR,
    MEDIA,
    PPS,
    SPS,
    START,
    carried,
    nals,
    opened,
    parameter_sets,
    planned,
    sample_bytes,
    segments,
    ticks_90k,
    track,
    transport,
)
from tests.oracles.synthetic import movie, pictures

PCR_CLOCK = 27_000_000
WRAP = 1 << 33
# The three tracks of sound of this clip are renditions of their own.
MUXED = [name for name in CLIPS if name != "languages.mp4"]


def has(name: str, kind: str) -> bool:
    return any(t.kind == {"vide": "video", "soun": "audio"}[kind] for t in opened(name).tracks)


WITH_VIDEO = [name for name in CLIPS if has(name, "vide")]
WITH_SOUND = [name for name in MUXED if has(name, "soun")]
WITH_BOTH = [name for name in WITH_VIDEO if name in WITH_SOUND]


def unrolled(times: list[int]) -> list[int]:
    """33-bit times as they would be without the wrap, each near the one before."""
    found = times[:1]
    for time in times[1:]:
        step = (time - found[-1] + WRAP // 2) % WRAP - WRAP // 2
        found.append(found[-1] + step)
    return found


@pytest.mark.parametrize("name", CLIPS)
def test_segments_are_whole_transport_streams_in_one_run(name: str) -> None:
    # The demuxer raises where PAT and PMT are not first, a PES is cut, or a counter jumps.
    for rendition in planned(name).renditions:
        stream = transport(rendition)
        assert stream.packets * ts.PACKET == sum(rendition.lengths())
        assert stream.pcr_pid in stream.kinds


@pytest.mark.parametrize("name", CLIPS)
def test_each_segment_stands_alone(name: str) -> None:
    for rendition in planned(name).renditions:
        for segment in segments(rendition):
            alone = ts.Stream()
            alone.add(segment)
            assert alone.pes
            assert alone.pcrs[0][0] <= min(pes.packet for pes in alone.pes)


@pytest.mark.parametrize("name", CLIPS)
def test_pain_30_continuity_counters_run_on_and_tables_count_too(name: str) -> None:
    for rendition in planned(name).renditions:
        expected: dict[int, int] = {}
        for n, segment in enumerate(segments(rendition)):
            pids = []
            for at in range(0, len(segment), ts.PACKET):
                pid = int.from_bytes(segment[at + 1 : at + 3], "big") & 0x1FFF
                carries = segment[at + 3] >> 4 & 1
                counter = segment[at + 3] & 15
                assert counter == (expected.get(pid, -1) + carries) % 16, (n, at)
                expected[pid] = counter
                pids.append(pid)
            assert pids[0] == 0
            assert pids.count(0) == 1
            assert pids.count(pids[1]) == 1


@pytest.mark.parametrize("name", CLIPS)
def test_pain_31_the_clock_comes_each_100_ms_and_never_backwards(name: str) -> None:
    for rendition in planned(name).renditions:
        stream = transport(rendition)
        clocks = [clock for _, clock in stream.pcrs]
        for before, after in pairwise(clocks):
            assert 0 < after - before <= PCR_CLOCK // 10
        # A unit has to be there when its time comes (ISO/IEC 13818-1 2.4.2.6: within a second).
        at = 0
        for pes in sorted(stream.pes, key=lambda pes: pes.packet):
            while at + 1 < len(stream.pcrs) and stream.pcrs[at + 1][0] <= pes.packet:
                at += 1
            assert 0 <= pes.dts * 300 - stream.pcrs[at][1] <= PCR_CLOCK


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_access_units_are_the_sources_with_delimiter_and_parameter_sets(name: str) -> None:
    source = opened(name)
    presentation = planned(name)
    stream = transport(presentation.renditions[0])
    configs = [parameter_sets(config) for config in track(name, "vide").configs]
    length_size = (track(name, "vide").configs[0][4] & 3) + 1
    samples = carried(source, name, "vide")
    pictures = stream.of(ts.H264)
    assert len(pictures) == len(samples)
    for pes, sample in zip(pictures, samples, strict=True):
        units = ts.access_unit(pes.data)
        assert units[0][0] & 31 == AUD
        assert [unit[0] & 31 for unit in units].count(AUD) == 1
        own = [u for u in nals(sample_bytes(name, sample), length_size) if u[0] & 31 != AUD]
        sets = [s.rstrip(b"\0") for s in configs[sample.entry]] if sample.sync else []
        assert units[1:] == sets + own
        assert pes.random_access == sample.sync
        types = [unit[0] & 31 for unit in units]
        if IDR in types:
            assert types.index(SPS) < types.index(PPS) < types.index(IDR)


@pytest.mark.parametrize("name", WITH_SOUND)
def test_frames_of_sound_are_the_sources_with_a_true_adts_header(name: str) -> None:
    source = opened(name)
    stream = transport(planned(name).renditions[0])
    frames = [frame for pes in stream.of(ts.AAC) for frame in ts.adts_frames(pes.data)]
    samples = carried(source, name, "soun")
    assert [frame.data for frame in frames] == [sample_bytes(name, s) for s in samples]
    expected = []
    for config in track(name, "soun").configs:
        bits = int.from_bytes(config[:2], "big")
        # Object type 5 (SBR) is carried as its core, AAC-LC; the rate is the core's (14496-3
        # 1.6.2.1).
        object_type = bits >> 11
        profile = 1 if object_type == 5 else object_type - 1
        expected.append((profile, ts.RATES[bits >> 7 & 15], bits >> 3 & 15))
    for frame, sample in zip(frames, samples, strict=True):
        assert (frame.profile, frame.rate, frame.channels) == expected[sample.entry]


@pytest.mark.parametrize("start", [START, 95_440])
@pytest.mark.parametrize("name", MUXED)
def test_pain_19_time_stamps_are_the_sources_to_the_tick(name: str, start: int) -> None:
    source = opened(name)
    stream = transport(planned(name, start_seconds=start).renditions[0])
    if has(name, "vide"):
        samples = carried(source, name, "vide")
        for pes, sample in zip(stream.of(ts.H264), samples, strict=True):
            assert pes.pts == ticks_90k(sample.pts, start) % WRAP
            assert pes.dts == ticks_90k(sample.dts, start) % WRAP
    if has(name, "soun"):
        frames = iter(carried(source, name, "soun"))
        for pes in stream.of(ts.AAC):
            group = [next(frames) for _ in ts.adts_frames(pes.data)]
            assert pes.pts == pes.dts == ticks_90k(group[0].pts, start) % WRAP
            # A decoder counts the rest of the group on from there.
            for i, frame in enumerate(group):
                told = group[0].pts + i * group[0].duration
                assert abs(told - frame.pts) <= Fraction(1, 1000)
        assert next(frames, None) is None


@pytest.mark.parametrize("name", ["plain.mp4", "ntsc.mp4", "audio_48k.m4a", "fps_8.mp4"])
def test_pain_16_the_33_bit_wrap_is_an_ordinary_moment(name: str) -> None:
    # 2^33 ticks are 95,443.7 s: the wrap lies in the middle of the clip, for PCR, PTS and DTS.
    around = transport(planned(name, start_seconds=95_440).renditions[0])
    plain = transport(planned(name).renditions[0])
    shift = (95_440 - START) * 90_000
    pids = dict(enumerate(around.kinds))
    for pid in pids.values():
        for field in ("pts", "dts"):
            there = [getattr(pes, field) for pes in around.pes if pes.pid == pid]
            here = [getattr(pes, field) for pes in plain.pes if pes.pid == pid]
            assert max(there) > WRAP - 900_000 and min(there) < 900_000
            assert unrolled(there) == [time + shift for time in here]
    clocks = [clock // 300 for _, clock in around.pcrs]
    assert max(clocks) < WRAP
    assert [(c - clocks[0]) % WRAP for c in clocks] == [
        (c - plain.pcrs[0][1]) // 300 for _, c in plain.pcrs
    ]


def test_pain_17_decoding_and_presentation_wrap_apart_from_each_other() -> None:
    stream = transport(planned("plain.mp4", start_seconds=95_440).renditions[0])
    pictures = stream.of(ts.H264)
    apart = [pes for pes in pictures if pes.pts < pes.dts]
    assert apart, "no picture was decoded before the wrap and shown after it"
    for pes in pictures:
        assert 0 <= (pes.pts - pes.dts) % WRAP < 90_000


@pytest.mark.parametrize("name", ["audio_48k.m4a", "audio_8k.m4a", "ladder_90.mp4"])
def test_pain_36_only_what_exists_is_in_the_program(name: str) -> None:
    presentation = planned(name)
    (rendition,) = presentation.renditions
    kind = ts.AAC if rendition.kind == "audio" else ts.H264
    assert set(transport(rendition).kinds.values()) == {kind}
    assert len(rendition.codecs) == 1
    (variant,) = presentation.multivariant_playlist().variants
    assert variant.codecs == rendition.codecs
    assert variant.audio is None


def test_delimiters_that_the_source_has_are_not_doubled() -> None:
    for name, share in (("aud_all.mp4", 1), ("aud_some.mp4", 3), ("plain.mp4", 0)):
        own = [
            any(u[0] & 31 == AUD for u in nals(sample_bytes(name, s)))
            for s in track(name, "vide").samples
        ]
        assert sum(own) == (len(own) / share if share else 0)
        for pes in transport(planned(name).renditions[0]).of(ts.H264):
            assert [u[0] & 31 for u in ts.access_unit(pes.data)].count(AUD) == 1


def test_the_second_configurations_parameter_sets_come_with_it() -> None:
    presentation = planned("two_entries.mp4")
    (rendition,) = presentation.renditions
    first, second = (parameter_sets(c) for c in track("two_entries.mp4", "vide").configs)
    assert first != second
    (switch,) = rendition.discontinuities
    for n, segment in enumerate(segments(rendition)):
        stream = ts.Stream()
        stream.add(segment)
        units = ts.access_unit(stream.of(ts.H264)[0].data)
        assert [u for u in units if u[0] & 31 in (SPS, PPS)] == (first if n < switch else second)


@pytest.mark.parametrize("name", WITH_BOTH)
def test_pain_7_segments_begin_with_a_key_frame_of_the_video(name: str) -> None:
    for segment in segments(planned(name).renditions[0]):
        stream = ts.Stream()
        stream.add(segment)
        pictures = stream.of(ts.H264)
        if not pictures:
            assert name == "audio_longer.mp4"
            continue
        first = pictures[0]
        assert first.random_access
        assert all(pes.pts >= first.pts for pes in pictures) or name == "open_gop.mp4"
        types = {unit[0] & 31 for unit in ts.access_unit(first.data)}
        assert IDR in types or name == "open_gop.mp4"


def gapless(name: str) -> bool:
    """Whether each frame of the source begins where the one before it ends."""
    samples = carried(opened(name), name, "soun")
    return all(a.pts + a.duration == b.pts for a, b in pairwise(samples)) and all(
        a.duration == samples[0].duration for a in samples[:-1]
    )


@pytest.mark.parametrize("name", [name for name in WITH_SOUND if gapless(name)])
def test_pain_29_sound_goes_on_over_cuts_without_gap_or_overlap(name: str) -> None:
    stream = transport(planned(name).renditions[0])
    rate = ts.RATES[int.from_bytes(track(name, "soun").configs[0][:2], "big") >> 7 & 15]
    frames = 0
    first = stream.of(ts.AAC)[0].pts
    for pes in stream.of(ts.AAC):
        assert abs(pes.pts - first - Fraction(frames * 1024 * 90_000, rate)) <= 1
        frames += len(list(ts.adts_frames(pes.data)))


def bits(text: str) -> bytes:
    """Bits as bytes, filled up with zero bits, and an empty comment after them."""
    joined = text.replace(" ", "")
    joined += "0" * (-len(joined) % 8)
    return int(joined, 2).to_bytes(len(joined) // 8, "big") + b"\0"


def with_sound(config: bytes, rate: int, channels: int) -> pystream.Input:
    tracks = load(MEDIA / "audio_48k.m4a")
    tracks[0].entries = [boxes.aac_entry(config, rate, channels)]
    return pystream.open(bytes(boxes.Movie(tracks)))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        # Object type 2; then index 15 and 24 bits of rate; then 2 channels.
        ((2 << 35 | 15 << 31 | 37_800 << 7 | 2 << 3).to_bytes(5, "big"), "37800"),
        # Channel configuration 0, and a program config element (4.4.1.1) with one pair in front.
        (bits("00010 0011 0000 000 0000 01 0011 0001 0000 0000 00 000 0000 000 1 0000"), "program"),
        # frameLengthFlag: 960 samples.
        (bytes.fromhex("1194"), "960"),
        # ADTS has three bits for the channel configuration.
        (bits("00010 0011 1011 000"), "channel configuration 11"),
        (bits("00010 0011 1100 000"), "channel configuration 12"),
        (bits("00010 0011 1110 000"), "channel configuration 14"),
    ],
)
def test_what_adts_cannot_say_is_refused_by_name(config: bytes, reason: str) -> None:
    try:
        source = with_sound(config, 48_000, 2)
        pystream.plan([source])
    except pystream.UnsupportedMedia as error:
        assert reason in str(error)
    else:
        pytest.fail("it was packaged")


@pytest.mark.parametrize("index", range(13))
def test_a_rate_written_out_is_the_tables_where_it_is_in_it(index: int) -> None:
    config = (2 << 35 | 15 << 31 | ts.RATES[index] << 7 | 2 << 3).to_bytes(5, "big")
    (rendition,) = pystream.plan([with_sound(config, 48_000, 2)]).renditions
    stream = ts.Stream()
    stream.add(bytes(rendition.segment(0)))
    frames = [frame for pes in stream.of(ts.AAC) for frame in ts.adts_frames(pes.data)]
    assert {frame.rate for frame in frames} == {ts.RATES[index]}


def test_a_group_of_large_frames_stays_within_the_length_of_a_pes() -> None:
    # PES_packet_length has 16 bits (ISO/IEC 13818-1 2.4.3.7); frames end where ADTS does.
    tracks = load(MEDIA / "audio_48k.m4a")
    tracks[0].timescale = 96_000
    tracks[0].samples = [boxes.Sample(bytes(8184), 1024) for _ in range(64)]
    tracks[0].entries = [boxes.aac_entry(bytes.fromhex("1010"), 48_000, 2)]
    (rendition,) = pystream.plan([pystream.open(bytes(boxes.Movie(tracks)))]).renditions
    stream = transport(rendition)
    assert sum(len(list(ts.adts_frames(pes.data))) for pes in stream.of(ts.AAC)) == 64


@pytest.mark.parametrize(("seconds", "jumps"), [(29, False), (30, False), (31, True)])
def test_pain_31_a_clock_that_jumps_over_a_hole_is_told(seconds: int, jumps: bool) -> None:
    tracks = load(MEDIA / "ladder_90.mp4")
    samples = tracks[0].samples
    tracks[0].edits = []
    longer = seconds * tracks[0].timescale
    tracks[0].samples[60] = boxes.Sample(samples[60].data, longer, samples[60].offset, False)
    source = pystream.open(bytes(boxes.Movie(tracks)), "film")
    presentation = pystream.plan([source], segment_duration=2)
    told = [notice.message for notice in presentation.notices if notice.code == "clock-gap"]
    assert len(told) == jumps
    if jumps:
        assert re.match(r"v0 has nothing from 2\.\d+ s on for 31\.\d+ s", told[0])
    clocks = [clock for _, clock in transport(presentation.renditions[0]).pcrs]
    assert (max(b - a for a, b in pairwise(clocks)) > PCR_CLOCK // 10) == jumps
    fmp4 = pystream.plan([source], format="fmp4", segment_duration=2)
    assert "clock-gap" not in [notice.code for notice in fmp4.notices]


def test_pain_31_still_pictures_keep_the_clock_going() -> None:
    # Each is shown for 29 s.
    film = pystream.open(movie(pictures([10, 10], Fraction(1, 29))), "film")
    presentation = pystream.plan([film])
    stream = transport(presentation.renditions[0])
    clocks = [clock for _, clock in stream.pcrs]
    assert max(b - a for a, b in pairwise(clocks)) <= PCR_CLOCK // 10
    assert sum(presentation.renditions[0].lengths()) == stream.packets * ts.PACKET
    # As few as that takes: a clock each 90 ms.
    assert len(clocks) <= 20 * 29 / 0.09 + 40
    assert "clock-gap" not in [notice.code for notice in presentation.notices]


def test_pain_31_clocks_that_jump_again_and_again_are_told_once() -> None:
    film = pystream.open(movie(pictures([10], Fraction(1, 31))), "film")
    notices = pystream.plan([film]).notices
    told = [notice.message for notice in notices if notice.code == "clock-gap"]
    assert len(told) == 1
    assert "on for 31.000 s, and more such holes follow" in told[0]


def test_a_frame_too_long_for_adts_is_refused() -> None:
    tracks = load(MEDIA / "audio_48k.m4a")
    for size, fits in ((8191 - 7, True), (8192 - 7, False)):
        tracks[0].samples[5] = boxes.Sample(bytes(size), 1024)
        source = pystream.open(bytes(boxes.Movie(tracks)))
        if fits:
            (rendition,) = pystream.plan([source]).renditions
            assert len(rendition.segment(0)) == rendition.length(0)
        else:
            with pytest.raises(pystream.UnsupportedMedia, match="ADTS"):
                pystream.plan([source])
        assert pystream.plan([source], format="fmp4").renditions


@pytest.mark.parametrize("size", [1, 2, 4])
def test_lengths_of_nal_units_may_have_one_two_or_four_bytes(size: int) -> None:
    tracks = load(MEDIA / "plain.mp4")
    video = tracks[0]
    avcc = video.entries[0].get("avcC")
    avcc.head = avcc.head[:4] + bytes([avcc.head[4] & 0xFC | (size - 1)]) + avcc.head[5:]
    limit = (1 << 8 * size) - 1
    samples = []
    for sample in video.samples:
        units = [unit[:limit] for unit in nals(sample.data)]
        content = b"".join(len(u).to_bytes(size, "big") + u for u in units)
        samples.append(boxes.Sample(content, sample.duration, sample.offset, sample.sync))
    video.samples = samples
    presentation = pystream.plan([pystream.open(bytes(boxes.Movie(tracks)))], segment_duration=2)
    (rendition,) = presentation.renditions
    assert rendition.scanned == (size < 4)
    assert [n.code for n in presentation.notices] == (["scanned"] if size < 4 else [])
    for pes, sample in zip(transport(rendition).of(ts.H264), samples, strict=True):
        own = [unit for unit in nals(sample.data, size) if unit[0] & 31 != AUD]
        assert ts.access_unit(pes.data)[-len(own) :] == own


@pytest.mark.parametrize(("size", "more"), [(4, b"\1"), (4, b"\0\0\1"), (2, b"\7")])
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_bytes_too_few_for_another_length_may_end_a_sample(
    tmp_path: Path, size: int, more: bytes, format: str
) -> None:
    tracks = load(MEDIA / "plain.mp4")
    video = tracks[0]
    avcc = video.entries[0].get("avcC")
    avcc.head = avcc.head[:4] + bytes([avcc.head[4] & 0xFC | (size - 1)]) + avcc.head[5:]
    for i, sample in enumerate(video.samples):
        units = nals(sample.data)
        content = b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)
        video.samples[i] = replace(sample, data=content + more)
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(boxes.Movie(tracks)))
    assert main(["package", str(path), "-o", str(tmp_path / "hls"), "--format", format]) == 0
    verify([path], tmp_path / "hls" / "index.m3u8")
    if format == "ts":
        (rendition,) = pystream.plan([pystream.open(path)]).renditions
        for pes, sample in zip(transport(rendition).of(ts.H264), video.samples, strict=True):
            # Zeros may follow a NAL unit (ISO/IEC 14496-10 B.1).
            assert pes.data.endswith(nals(sample.data[: -len(more)], size)[-1] + bytes(len(more)))


def test_nal_lengths_that_do_not_fit_their_sample_are_malformed() -> None:
    tracks = load(MEDIA / "plain.mp4")
    video = tracks[0]
    broken = (1 << 20).to_bytes(4, "big") + video.samples[60].data[4:]
    old = video.samples[60]
    video.samples[60] = boxes.Sample(broken, old.duration, old.offset, old.sync)
    presentation = pystream.plan([pystream.open(bytes(boxes.Movie(tracks)))], segment_duration=2)
    (rendition,) = presentation.renditions
    assert len(rendition.segment(0)) == rendition.length(0)
    with pytest.raises(pystream.MalformedMedia) as caught:
        rendition.segment(1)
    assert caught.value.offset is not None


def test_times_before_the_clocks_zero_are_refused_and_say_what_to_do() -> None:
    tracks = load(MEDIA / "plain.mp4")
    assert pystream.plan([pystream.open(bytes(boxes.Movie(tracks)))], start_seconds=1).renditions
    # Pictures from 2 s on have to be decoded for an edit that begins at 3.9 s.
    for t in tracks:
        t.edits = [(2000, t.timescale * 39 // 10)]
    source = pystream.open(bytes(boxes.Movie(tracks)))
    with pytest.raises(pystream.LimitExceeded, match="start the output later"):
        pystream.plan([source], start_seconds=1)
    assert pystream.plan([source], start_seconds=3).renditions


def test_mp4_oracle_and_transport_agree_on_the_number_of_samples() -> None:
    # The whole film is there: nothing is lost at the ends.
    stream = transport(planned("moov_last.mp4").renditions[0])
    movie = mp4.read(MEDIA / "moov_last.mp4")
    frames = sum(len(list(ts.adts_frames(pes.data))) for pes in stream.of(ts.AAC))
    assert [len(stream.of(ts.H264)), frames] == [len(t.samples) for t in movie.tracks]
