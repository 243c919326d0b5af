"""Key frames as films of one picture: the right one, by itself, the same as in the film."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

import pystream
from tests.oracles import boxes, mp4
from tests.oracles.hls import IDR, LADDER, MEDIA, carried, fragment, nals, opened, planned
from tests.oracles.hls import sample_bytes as sample_of

FORMATS = ("ts", "fmp4")
# Key frames at and between cuts, few of them, ones that the index invents; edit lists; fragments.
CLIPS = [
    "plain.mp4",
    "intra.mp4",
    "irregular_gop.mp4",
    "long_gop.mp4",
    "late_key.mp4",
    "no_stss.mp4",
    "ntsc.mp4",
    "fragmented.mp4",
    "two_entries.mp4",
]


def keys(name: str) -> list[mp4.Sample]:
    """The key frames that are some, by their own NAL units."""
    samples = carried(opened(name), name, "vide")
    return [
        each
        for each in samples
        if each.sync and any(nal[0] & 31 == IDR for nal in nals(sample_of(name, each)))
    ]


def us(seconds: Fraction) -> int:
    return round(seconds * 1_000_000)


def content(frame: bytes) -> bytes:
    (mdat,) = (box for box in boxes.parse(frame) if box.kind == b"mdat")
    return mdat.head


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CLIPS)
def test_the_nearest_key_frame_is_given(name: str, format: str) -> None:
    rendition = planned(name, format=format).renditions[0]
    found = keys(name)
    begin = found[0].pts
    for each in found:
        assert content(bytes(rendition.frame(us(each.pts - begin)))) == sample_of(name, each)
    for one, other in pairwise(found):
        third = (other.pts - one.pts) / 3
        for place, wanted in ((one.pts + third, one), (other.pts - third, other)):
            assert content(bytes(rendition.frame(us(place - begin)))) == sample_of(name, wanted)
    for outside, wanted in ((-5_000_000, found[0]), (3_600_000_000, found[-1])):
        assert content(bytes(rendition.frame(outside))) == sample_of(name, wanted)


def test_times_are_the_playlists() -> None:
    """Where sound begins before the pictures in one segment with them, so does the playlist."""
    name = "video_late.mp4"
    pictures, sound = keys(name), carried(opened(name), name, "soun")
    early = pictures[0].pts - sound[0].pts
    assert early > Fraction(1, 10)
    muxed, apart = (planned(name, format=format).renditions[0] for format in FORMATS)
    step = pictures[1].pts - pictures[0].pts
    for rendition, begin in ((muxed, sound[0].pts), (apart, pictures[0].pts)):
        just_past = pictures[0].pts - begin + step / 2 + Fraction(1, 100)
        assert content(bytes(rendition.frame(us(just_past)))) == sample_of(name, pictures[1])
        just_before = just_past - Fraction(2, 100)
        assert content(bytes(rendition.frame(us(just_before)))) == sample_of(name, pictures[0])


def test_after_the_pictures_end_the_last_one_stays() -> None:
    rendition = planned("audio_longer.mp4", seconds=0.5).renditions[0]
    last = keys("audio_longer.mp4")[-1]
    end = sum(rendition.durations_us)
    assert content(bytes(rendition.frame(end))) == sample_of("audio_longer.mp4", last)


@pytest.mark.parametrize("name", CLIPS)
def test_it_is_a_film_of_one_picture_from_zero_on(name: str) -> None:
    frame = bytes(planned(name).renditions[0].frame(1_500_000))
    top = boxes.parse(frame)
    assert [box.kind for box in top] == [b"ftyp", b"moov", b"moof", b"mdat"]
    init = b"".join(bytes(box) for box in top[:2])
    part = fragment(init, b"".join(bytes(box) for box in top[2:]))
    assert part.times == [(0, 0)]
    assert part.samples[0].sync and part.samples[0].duration > 0


def test_it_is_clear_whatever_the_segments_are() -> None:
    sealed = planned("plain.mp4", encryption=pystream.Aes128(key=bytes(16)))
    clear = planned("plain.mp4")
    assert bytes(sealed.renditions[0].frame(0)) == bytes(clear.renditions[0].frame(0))


def test_a_rendition_of_sound_has_none() -> None:
    sound = planned(*LADDER).renditions[-1]
    assert sound.kind == "audio"
    with pytest.raises(ValueError, match="has no pictures"):
        sound.frame(0)


def test_a_source_that_was_cut_is_an_error(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes((MEDIA / "plain.mp4").read_bytes())
    rendition = pystream.plan([pystream.open(film)]).renditions[0]
    with film.open("r+b") as file:
        file.truncate(film.stat().st_size // 2)
    with pytest.raises(pystream.SourceError):
        rendition.frame(3_600_000_000)


@pytest.mark.needs("ffmpeg")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain.mp4", "open_gop.mp4", "ntsc.mp4", "anamorphic.mp4"])
def test_ffmpeg_decodes_the_picture_that_the_film_has_there(name: str, tmp_path: Path) -> None:
    rendition = planned(name).renditions[0]
    samples = carried(opened(name), name, "vide")
    shown = sorted(samples, key=lambda each: each.pts)
    pictures = digests(MEDIA / name)
    synced = [each for each in samples if each.sync]
    for each in synced:
        still = tmp_path / "still.mp4"
        still.write_bytes(bytes(rendition.frame(us(each.pts - synced[0].pts))))
        assert digests(still) == [pictures[shown.index(each)]]


def digests(film: Path) -> list[str]:
    """Of all decoded pictures; fails on any message."""
    command = ["ffmpeg", "-v", "warning", "-i", str(film), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.split(",")[5] for line in done.stdout.splitlines() if line[:1] != "#"]
