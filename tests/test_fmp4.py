"""Fragmented MP4 segments, read again by the naive demuxer."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

import pystream
from pystream import playlist
from tests.media.make import load
from tests.oracles import boxes, mp4
from tests.oracles.hls import (
    CLIPS,
    MEDIA,
    START,
    carried,
    fourcc_paths,
    fragments,
    init_uris,
    opened,
    planned,
    sample_bytes,
    timescale,
    track,
)

KINDS = {"video": "vide", "audio": "soun"}
SYNC, NO_SYNC = 0x0200_0000, 0x0101_0000
# With one track of sound: the second and third of this clip have tests of their own.
SINGLE = [name for name in CLIPS if name != "languages.mp4"]


@pytest.mark.parametrize("name", SINGLE)
def test_samples_and_times_are_the_sources(name: str) -> None:
    source = opened(name)
    for rendition in planned(name, format="fmp4").renditions:
        kind = KINDS[rendition.kind]
        wanted = carried(source, name, kind)
        samples = iter(wanted)
        # The first picture is shown when it is decoded; the others keep their distance from it.
        reorder = wanted[0].pts - wanted[0].dts
        for init, fragment in fragments(rendition):
            scale = timescale(init)
            for (dts, pts), content, raw in zip(
                fragment.times, fragment.content, fragment.samples, strict=True
            ):
                sample = next(samples)
                assert content == sample_bytes(name, sample)
                assert Fraction(dts, scale) == sample.dts + START + reorder
                assert Fraction(pts, scale) == sample.pts + START
                if kind == "vide":
                    assert raw.sync == sample.sync
        assert next(samples, None) is None


@pytest.mark.parametrize("name", SINGLE)
def test_decoding_times_run_on_from_segment_to_segment(name: str) -> None:
    for rendition in planned(name, format="fmp4").renditions:
        made = [fragment for _, fragment in fragments(rendition)]
        assert [fragment.sequence for fragment in made] == [*range(1, len(made) + 1)]
        for before, after in pairwise(made):
            assert before.ends == after.begins


@pytest.mark.parametrize("name", CLIPS)
def test_segments_are_styp_moof_mdat(name: str) -> None:
    for rendition in planned(name, format="fmp4").renditions:
        for n, (_, fragment) in enumerate(fragments(rendition)):
            styp, moof, mdat = fragment.top
            assert (styp.kind, moof.kind, mdat.kind) == (b"styp", b"moof", b"mdat")
            brands = [styp.head[i : i + 4] for i in range(0, len(styp.head), 4) if i != 4]
            assert brands[0] == b"msdh"
            assert b"cmfs" in brands
            trafs = list(moof.all("traf"))
            assert len(trafs) == 1
            assert mp4.u32s(trafs[0].get("tfhd").head)[0] & 0xFFFFFF & ~0x38 == 0x020000
            assert trafs[0].get("tfdt").head[0] == 1
            assert fragment.samples[0].sync, n
            # 8.8.8: the first byte of mdat's contents, and no byte between samples.
            start = len(bytes(styp)) + len(bytes(moof)) + 8
            for raw in fragment.samples:
                assert raw.offset == start
                start += raw.size
            assert start == rendition.length(n)
            # CMAF 7.5.17: a segment's first picture is shown at tfdt, so that players see no hole.
            assert fragment.times[0][1] == fragment.begins or name in ("vfr.mp4", "open_gop.mp4")


@pytest.mark.parametrize("name", CLIPS)
def test_the_init_section_has_no_edit_list_and_no_samples(name: str) -> None:
    for rendition in planned(name, format="fmp4").renditions:
        for init in rendition.inits():
            tree = boxes.parse(init)
            assert [box.kind for box in tree] == [b"ftyp", b"moov"]
            paths = list(fourcc_paths(tree))
            assert not any("elst" in path or "edts" in path for path in paths)
            assert paths.count("moov/trak") == 1
            assert paths.count("moov/mvex/trex") == 1
            assert paths.count("moov/trak/mdia/minf/stbl/stsd") == 1
            moov = tree[1]
            for table in ("stts", "stsc", "stco"):
                assert mp4.u32s(moov.get(f"trak/mdia/minf/stbl/{table}").head) == (0, 0)
            assert mp4.u32s(moov.get("trak/mdia/minf/stbl/stsz").head) == (0, 0, 0)
            (entry,) = moov.get("trak/mdia/minf/stbl/stsd").children
            assert entry.kind == (b"avc1" if rendition.kind == "video" else b"mp4a")
            configs = {
                config
                for t in mp4.read(MEDIA / name).tracks
                if t.handler == KINDS[rendition.kind]
                for config in t.configs
            }
            assert mp4.config(entry) in configs


def test_pain_19_the_offset_of_picture_and_sound_needs_no_edit_list() -> None:
    for name in ("plain.mp4", "audio_late.mp4", "video_late.mp4", "ntsc.mp4", "fragmented.mp4"):
        first = {}
        for rendition in planned(name, format="fmp4").renditions:
            init, fragment = next(fragments(rendition))
            pts = min(pts for _, pts in fragment.times)
            first[KINDS[rendition.kind]] = Fraction(pts, timescale(init))
        wanted = {
            kind: min(sample.pts for sample in carried(opened(name), name, kind)) for kind in first
        }
        moved = (first["soun"] - first["vide"]) - (wanted["soun"] - wanted["vide"])
        assert abs(moved) <= Fraction(1, 1000)


def test_pain_21_the_first_frame_is_where_the_source_shows_it_in_all_renditions() -> None:
    names = ("ladder_270.mp4", "ladder_180.mp4", "ladder_90.mp4")
    for start in (1, START, 1000):
        firsts = set()
        for rendition in planned(*names, format="fmp4", start_seconds=start).renditions:
            init, fragment = next(fragments(rendition))
            firsts.add(Fraction(min(pts for _, pts in fragment.times), timescale(init)))
        assert firsts == {Fraction(start)}


def test_pain_32_a_second_configuration_has_a_map_and_a_discontinuity_everywhere() -> None:
    presentation = planned("two_entries.mp4", format="fmp4")
    video, sound = presentation.renditions
    assert len(video.inits()) == 2
    sizes = []
    for init in video.inits():
        entry = next(iter(boxes.parse(init)[1].get("trak/mdia/minf/stbl/stsd").children))
        sizes.append(
            (int.from_bytes(entry.head[24:26], "big"), int.from_bytes(entry.head[26:28], "big"))
        )
    assert sizes == [(256, 144), (192, 108)]
    texts = [presentation.media_playlist(r).text() for r in (video, sound)]
    places = []
    for text in texts:
        media = playlist.parse(text)
        assert isinstance(media, playlist.MediaPlaylist)
        (place,) = [n for n, entry in enumerate(media.segments) if entry.discontinuity]
        places.append(sum(entry.duration_us for entry in media.segments[:place]))
    assert abs(places[0] - places[1]) <= 1024 * 1_000_000 / 48_000
    lines = texts[0].splitlines()
    at = lines.index("#EXT-X-DISCONTINUITY")
    assert lines[at + 1] == '#EXT-X-MAP:URI="init-1.mp4"'
    assert [line for line in lines if "EXT-X-MAP" in line] == [
        '#EXT-X-MAP:URI="init.mp4"',
        '#EXT-X-MAP:URI="init-1.mp4"',
    ]
    switch = next(iter(video.discontinuities))
    configs = track("two_entries.mp4", "vide").configs
    for n, (init, _) in enumerate(fragments(video)):
        entry = next(iter(boxes.parse(init)[1].get("trak/mdia/minf/stbl/stsd").children))
        assert mp4.config(entry) == configs[n >= switch]


def test_pain_33_a_new_init_section_only_for_a_real_change() -> None:
    # Sound does not change with the picture, and two equal sample entries are one configuration.
    presentation = planned("two_entries.mp4", format="fmp4")
    assert len(presentation.renditions[1].inits()) == 1
    assert init_uris(presentation.renditions[1]) == ["init.mp4"]
    tracks = load(MEDIA / "plain.mp4")
    video = tracks[0]
    video.entries = video.entries * 2
    video.samples = [
        boxes.Sample(s.data, s.duration, s.offset, s.sync, int(i >= 50))
        for i, s in enumerate(video.samples)
    ]
    for format in ("ts", "fmp4"):
        presentation = pystream.plan(
            [pystream.open(bytes(boxes.Movie(tracks)))], format=format, segment_duration=2
        )
        for rendition in presentation.renditions:
            assert not rendition.discontinuities
            assert len(rendition.inits()) == (format == "fmp4")
            text = presentation.media_playlist(rendition).text()
            assert "DISCONTINUITY" not in text
            assert text.count("EXT-X-MAP") == (format == "fmp4")


@pytest.mark.parametrize(
    "name", ["plain.mp4", "vfr.mp4", "audio_48k.m4a", "ntsc.mp4", "aud_some.mp4"]
)
def test_init_and_segments_together_are_a_file_that_the_reader_reads(
    name: str, tmp_path: Path
) -> None:
    for rendition in planned(name, format="fmp4").renditions:
        content = b"".join(
            [*rendition.inits(), *(bytes(rendition.segment(n)) for n in range(len(rendition)))]
        )
        path = tmp_path / f"{rendition.name}.mp4"
        path.write_bytes(content)
        (theirs,) = mp4.read(path).tracks
        wanted = carried(opened(name), name, KINDS[rendition.kind])
        reorder = wanted[0].pts - wanted[0].dts
        assert [(s.dts, s.pts, s.size) for s in theirs.samples] == [
            (s.dts + START + reorder, s.pts + START, s.size) for s in wanted
        ]
        (again,) = pystream.open(path).tracks
        assert again.sample_count == len(wanted)
        assert again.configs == next(
            t.configs for t in opened(name).tracks if t.kind == rendition.kind
        )


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("he_aac.m4a", "mp4a.40.5"),
        ("he_aac_sync.m4a", "mp4a.40.5"),
        ("audio_48k.m4a", "mp4a.40.2"),
        ("plain.mp4", "avc1.64000c"),
    ],
)
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_codecs_say_what_the_bitstream_says(name: str, codecs: str, format: str) -> None:
    text = planned(name, format=format).multivariant_playlist().text()
    assert f'CODECS="{codecs}' in text


def bits(text: str) -> bytes:
    joined = text.replace(" ", "")
    joined += "0" * (-len(joined) % 8)
    return int(joined, 2).to_bytes(len(joined) // 8, "big")


@pytest.mark.parametrize(
    ("config", "codecs", "rate"),
    [
        # ISO/IEC 14496-3 1.6.2.1. Object type, rate index, channels, GASpecificConfig.
        ("00010 0011 0010 000", "mp4a.40.2", 48_000),
        ("00001 0100 0010 000", "mp4a.40.1", 44_100),
        # Explicit and hierarchical: 5, the core's rate, channels, the rate with SBR, 2.
        ("00101 0110 0010 0011 00010 000", "mp4a.40.5", 48_000),
        # The same with PS: 29.
        ("11101 0110 0001 0011 00010 000", "mp4a.40.29", 48_000),
        # Explicit and compatible: 2 ..., then 0x2b7, 5, present, rate.
        ("00010 0110 0010 000 01010110111 00101 1 0011", "mp4a.40.5", 48_000),
        # The same and 0x548, PS present.
        ("00010 0110 0001 000 01010110111 00101 1 0011 10101001000 1", "mp4a.40.29", 48_000),
        # 0x2b7 that says there is no SBR.
        ("00010 0011 0010 000 01010110111 00101 0", "mp4a.40.2", 48_000),
    ],
)
def test_codecs_of_each_way_to_signal_sbr_and_ps(config: str, codecs: str, rate: int) -> None:
    tracks = load(MEDIA / "audio_48k.m4a")
    tracks[0].entries = [boxes.aac_entry(bits(config), rate, 2)]
    source = pystream.open(bytes(boxes.Movie(tracks)))
    for format in ("ts", "fmp4"):
        (rendition,) = pystream.plan([source], format=format).renditions
        assert rendition.codecs == (codecs,)
    (init,) = pystream.plan([source], format="fmp4").renditions[0].inits()
    entry = next(iter(boxes.parse(init)[1].get("trak/mdia/minf/stbl/stsd").children))
    assert mp4.config(entry) == bits(config)


def test_a_trun_lists_only_what_differs() -> None:
    # Frames of sound all last as long and are all sync samples: the sizes are all there is to say.
    for _, fragment in fragments(planned("audio_48k.m4a", format="fmp4").renditions[0]):
        trun = next(iter(fragment.top[1].all("traf/trun"))).head
        flags = mp4.u32s(trun)[0] & 0xFFFFFF
        assert flags & 0x200
        assert not flags & 0x800
        assert not flags & 0x400
    lasts = [f for _, f in fragments(planned("audio_48k.m4a", format="fmp4").renditions[0])][:-1]
    assert all(not mp4.u32s(next(iter(f.top[1].all("traf/trun"))).head)[0] & 0x100 for f in lasts)


def unanamorphic(tracks: list[boxes.Track], keep: str) -> bytes:
    """The clip with 16:11 in its sample entry only, or in its parameter set only."""
    (entry,) = tracks[0].entries
    if keep == "sps":
        entry.drop(b"pasp")
    else:
        other = load(MEDIA / "plain.mp4")[0].entries[0].get("avcC")
        entry.get("avcC").head = other.head
    return bytes(boxes.Movie(tracks))


@pytest.mark.parametrize("keep", ["both", "pasp", "sps"])
def test_the_track_header_says_how_wide_the_picture_is_shown(keep: str) -> None:
    # ISO/IEC 14496-12 8.3.2.3: tkhd has the visual presentation size, and what is no pixel count.
    tracks = load(MEDIA / "anamorphic.mp4")
    content = (MEDIA / "anamorphic.mp4").read_bytes()
    presentation = pystream.plan(
        [pystream.open(content if keep == "both" else unanamorphic(tracks, keep))],
        format="fmp4",
        scan=False,
    )
    init = presentation.renditions[0].inits()[0]
    trak = boxes.parse(init)[1].get("trak")
    (entry,) = trak.get("mdia/minf/stbl/stsd").children
    width, height = (int.from_bytes(entry.head[at : at + 2], "big") for at in (24, 26))
    assert (width, height) == ((256, 144) if keep == "pasp" else (144, 144))
    shown = mp4.u32s(trak.get("tkhd").head)[-2:]
    assert shown == (round(Fraction(width * 16, 11) * 0x10000), height << 16)
    assert [box.kind for box in entry.children] == (
        [b"avcC"] if keep == "sps" else [b"avcC", b"pasp"]
    )


def test_a_rotated_picture_stays_rotated() -> None:
    content = bytearray((MEDIA / "plain.mp4").read_bytes())
    tkhd = content.index(b"tkhd") + 4 + 40
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0x900000, 0, 0x40000000]
    content[tkhd : tkhd + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in turned)
    source = pystream.open(bytes(content))
    assert source.tracks[0].rotation == 90
    init = pystream.plan([source], format="fmp4").renditions[0].inits()[0]
    assert boxes.parse(init)[1].get("trak/tkhd").head[40:76] == content[tkhd : tkhd + 36]


def test_a_sample_entry_keeps_the_shape_of_pixels_and_the_meaning_of_colours() -> None:
    tracks = load(MEDIA / "plain.mp4")
    (entry,) = tracks[0].entries
    pasp = boxes.Box(b"pasp", (4).to_bytes(4, "big") + (3).to_bytes(4, "big"))
    colr = boxes.Box(b"colr", b"nclx" + bytes.fromhex("0009 0010 0009 80"))
    profile = boxes.Box(b"colr", b"prof" + bytes(500))
    other = boxes.Box(b"btrt", bytes(12))
    entry.drop(b"pasp")
    entry.drop(b"colr")
    entry.children += [pasp, profile, colr, other]
    source = pystream.open(bytes(boxes.Movie(tracks)))
    for format in ("fmp4", "ts"):
        rendition = pystream.plan([source], format=format, scan=False).renditions[0]
        for init in rendition.inits()[:1]:
            (made,) = boxes.parse(init)[1].get("trak/mdia/minf/stbl/stsd").children
            kept = [bytes(child) for child in made.children if child.kind != b"avcC"]
            assert sorted(kept) == sorted([bytes(pasp), bytes(colr)])
