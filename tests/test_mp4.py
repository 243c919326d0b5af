"""Reading MP4: the columns against a naive demuxer, what is held, sources of all kinds, and lies."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import random
import re
import struct
import subprocess
import sys
from array import array
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pystream
from pystream import _core
from tests.media.make import load
from tests.oracles import boxes, mp4, synthetic
from tests.oracles.hls import CLIPS, MEDIA, data, opened, oracle
from tests.waiting import open_files

if TYPE_CHECKING:
    from pystream._core import Track


def numbers(column: _core.Column) -> list[int]:
    return memoryview(column).tolist()


def pairs(name: str) -> Iterator[tuple[Track, mp4.Track]]:
    """Tracks as both demuxers see them."""
    theirs = {track.id: track for track in oracle(name).tracks}
    for mine in opened(name).tracks:
        yield mine, theirs[mine.id]


# Columns


@pytest.mark.parametrize("name", CLIPS)
def test_columns_are_what_the_naive_demuxer_reads(name: str) -> None:
    movie = opened(name).movie
    assert (movie.fragmented, movie.truncated) == (oracle(name).fragmented, oracle(name).truncated)
    for mine, theirs in pairs(name):
        count = mine.sample_count
        scale = mine.timescale
        assert count == len(theirs.samples)
        assert scale % theirs.timescale == 0
        assert numbers(mine.offsets(0, count)) == [s.offset for s in theirs.samples]
        assert numbers(mine.sizes(0, count)) == [s.size for s in theirs.samples]
        dts, pts = numbers(mine.dts(0, count)), numbers(mine.pts(0, count))
        assert [Fraction(t, scale) for t in dts] == [s.dts for s in theirs.samples]
        assert [Fraction(t, scale) for t in pts] == [s.pts for s in theirs.samples]
        keys, key_pts = map(numbers, mine.keys(0, count))
        assert keys == [i for i, s in enumerate(theirs.samples) if s.sync]
        assert key_pts == [pts[i] for i in keys]
        end = max(s.pts + s.duration for s in theirs.samples)
        assert Fraction(mine.end_pts(0, count), scale) == end
        assert mine.language == (theirs.language if theirs.language.isalpha() else "und")
        assert mine.kind == {"vide": "video", "soun": "audio"}[theirs.handler]


@pytest.mark.parametrize("name", CLIPS)
def test_columns_of_a_range_are_the_middle_of_the_whole(name: str) -> None:
    for mine, _ in pairs(name):
        count = mine.sample_count
        for column in (mine.offsets, mine.sizes, mine.dts, mine.pts):
            whole = numbers(column(0, count))
            for first, end in ((0, 0), (count, count), (1, 2), (count // 3, count - 1)):
                assert numbers(column(first, end)) == whole[first:end]
            for first, end in ((0, count + 1), (2, 1), (count + 1, count + 1)):
                with pytest.raises(IndexError):
                    column(first, end)
        with pytest.raises(IndexError):
            mine.picture_kinds([0, count])


@pytest.mark.parametrize("name", CLIPS)
def test_configurations_are_those_that_samples_use(name: str) -> None:
    for mine, theirs in pairs(name):
        runs: list[tuple[int, int]] = []
        used: list[int] = []
        for index, sample in enumerate(theirs.samples):
            if sample.entry not in used:
                used.append(sample.entry)
            if not runs or runs[-1][1] != used.index(sample.entry):
                runs.append((index, used.index(sample.entry)))
        assert mine.config_runs == runs
        for (codecs, *_), entry in zip(mine.configs, used, strict=True):
            config = theirs.configs[entry]
            if theirs.handler == "vide":
                # RFC 6381 3.3: profile_idc, constraint flags and level_idc in hexadecimal.
                assert codecs == f"avc1.{config[1:4].hex()}"
            else:
                # ISO/IEC 14496-3 1.6.2.1: object type 5, or the sync extension 0x2b7, object type 5,
                # and the bit that says SBR is present.
                object_type = config[0] >> 3
                _, extended, rest = config.partition(b"\x56\xe5")
                has_sbr = object_type == 5 or bool(extended and rest[0] & 0x80)
                assert codecs == f"mp4a.40.{5 if has_sbr else object_type}"


def naive_shown(track: mp4.Track, movie_scale: int, has_edits: bool) -> tuple[int, int]:
    """The samples to be carried, by the rules in the reader's documentation, one sample at a time."""
    samples = track.samples
    begin, finish = track.shown
    first, end = 0, len(samples)
    if finish is not None:
        last = samples[-1].pts + samples[-1].duration
        while end and samples[end - 1].pts >= finish:
            end -= 1
        hidden = [s.pts for s in samples[end:]]
        # An edit that ends less than a tick of the movie before the media does was rounded.
        if hidden and max(hidden) + samples[-1].duration - finish < Fraction(1, movie_scale):
            end = len(samples)
        assert last >= 0
    if track.handler == "vide":
        sync = [i for i, s in enumerate(samples) if s.sync]
        first = max([i for i in sync if has_edits and samples[i].pts <= begin], default=sync[0])
    elif has_edits:
        after = next((i for i, s in enumerate(samples) if s.pts > begin), len(samples))
        first = max(0, after - 2)
    return first, end


@pytest.mark.parametrize("name", CLIPS)
def test_edit_lists_say_which_samples_are_shown(name: str) -> None:
    moov = next(box for box in boxes.parse(whole_boxes(name)) if box.kind == b"moov")
    movie_scale = mp4.u32s(moov.get("mvhd").head)[3]
    traks = {mp4.track_id(trak): trak for trak in moov.all("trak")}
    begins = []
    late = False
    for mine, theirs in pairs(name):
        has_edits = any(traks[mine.id].all("edts/elst"))
        first, end = naive_shown(theirs, movie_scale, has_edits)
        if mine.kind == "video":
            assert mine.shown == (first, end)
            late |= first > 0
            begins.append(theirs.samples[first].pts)
        elif late:
            # Sound that is over before the first picture goes with the pictures that went.
            over = [i for i, s in enumerate(theirs.samples) if s.pts + s.duration > begins[0]]
            assert mine.shown == (max(first, over[0]), end)
        else:
            assert mine.shown == (first, end)


def whole_boxes(name: str) -> bytes:
    """A clip up to the last box that is whole."""
    content, at = data(name), 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(content[at + 8 : at + 16], "big")
        if at + size > len(content):
            break
        at += size
    return content[:at]


@pytest.mark.parametrize("begin_ms", [0, 40, 1000, 2000, 2520, 5999])
@pytest.mark.parametrize("length_ms", [80, 1000, 6000])
def test_any_edit_is_honoured(begin_ms: int, length_ms: int) -> None:
    tracks = load(MEDIA / "plain.mp4")
    for track in tracks:
        (_, offset) = track.edits[0] if track.edits else (0, 0)
        track.edits = [(length_ms, offset + begin_ms * track.timescale // 1000)]
    film = bytes(boxes.Movie(tracks))
    source = pystream.open(film)
    for mine, written in zip(source.tracks, tracks, strict=True):
        scale = Fraction(1, written.timescale)
        dts, samples = Fraction(0), []
        for sample in written.samples:
            pts = dts + sample.offset * scale - written.edits[0][1] * scale
            length = sample.duration * scale
            samples.append(mp4.Sample(0, 0, dts, pts, length, sample.sync, 0))
            dts += sample.duration * scale
        shown = (Fraction(0), Fraction(length_ms, 1000))
        theirs = mp4.Track(1, written.handler, written.timescale, "", [], [], samples, shown)
        assert mine.shown == naive_shown(theirs, 1000, True)
        pts_column = numbers(mine.pts(0, mine.sample_count))
        assert [Fraction(t, mine.timescale) for t in pts_column] == [s.pts for s in samples]


def test_pain_20_edit_lists_and_negative_composition_offsets() -> None:
    # An empty edit, a media time, and a version-1 ctts below zero, in one track.
    tracks = load(MEDIA / "plain.mp4")
    video = tracks[0]
    video.signed_offsets = True
    shift = min(sample.offset for sample in video.samples) + 512
    video.samples = [
        boxes.Sample(s.data, s.duration, s.offset - shift, s.sync) for s in video.samples
    ]
    video.edits = [(300, -1), (5000, 0)]
    source = pystream.open(bytes(boxes.Movie(tracks)))
    mine = source.tracks[0]
    dts, pts = numbers(mine.dts(0, 10)), numbers(mine.pts(0, 10))
    want = Fraction(3, 10)
    for i, sample in enumerate(video.samples[:10]):
        assert Fraction(pts[i], mine.timescale) == want + Fraction(sample.offset, video.timescale)
        assert dts[i] <= pts[i]
        want += Fraction(sample.duration, video.timescale)
    for format in ("ts", "fmp4"):
        presentation = pystream.plan([source], format=format, segment_duration=2)
        for rendition in presentation.renditions:
            assert [len(rendition.segment(n)) for n in range(len(rendition))] == list(
                rendition.lengths()
            )


# Key frames


def film_of(*tracks: boxes.Track) -> pystream.Input:
    return pystream.open(bytes(boxes.Movie(list(tracks))), "film")


@pytest.mark.parametrize("name", ["plain.mp4", "no_stss.mp4", "open_gop.mp4", "nal_2.mp4"])
def test_key_frames_are_checked_in_one_pass(name: str) -> None:
    mine = next(t for t in opened(name).tracks if t.kind == "video")
    count = mine.sample_count
    keys = numbers(mine.keys(0, count)[0])
    kinds = mine.picture_kinds(keys)
    # Another one, that reads each by itself.
    alone = next(t for t in pystream.open(MEDIA / name).tracks if t.kind == "video")
    assert kinds == [kind for key in keys for kind in alone.picture_kinds([key])]
    real = [index for index, kind in zip(keys, kinds, strict=True) if kind != "other"]
    for first, end in ((0, count), (3, count - 1), (count, count)):
        # A fresh one, that has looked at none of them yet.
        fresh = next(t for t in pystream.open(MEDIA / name).tracks if t.kind == "video")
        bits = fresh.check_keys(first, end)
        assert len(bits) == (end - first + 7) // 8
        found = [first + n for n in range(end - first) if bits[n // 8] >> n % 8 & 1]
        assert found == [index for index in real if first <= index < end]
    for first, end in ((0, count + 1), (2, 1)):
        with pytest.raises(IndexError):
            mine.check_keys(first, end)


def test_a_check_of_key_frames_gives_up_on_a_file_of_lies() -> None:
    def lies(count: int) -> Track:
        slices = [boxes.Sample(b"\0\0\0\1\x41", 3600) for _ in range(count)]
        slices[:1] = [boxes.Sample(b"\0\0\0\1\x65", 3600)]
        entries = load(MEDIA / "ladder_90.mp4")[0].entries
        return film_of(boxes.Track("vide", 90_000, entries, slices)).tracks[0]

    assert lies(65_537).check_keys(0, 65_537)[:2] == b"\1\0"
    with pytest.raises(pystream.UnsupportedMedia, match=r"film.*65537 samples in a row are called"):
        lies(65_538).check_keys(0, 65_538)


def test_a_track_with_other_key_frames_is_the_same_otherwise() -> None:
    mine = opened("plain.mp4").tracks[0]
    count = mine.sample_count
    other = mine.with_keys([1, 7])
    assert numbers(other.keys(0, count)[0]) == [1, 7]
    assert numbers(other.pts(0, count)) == numbers(mine.pts(0, count))
    assert (other.outline(), other.content()) == (mine.outline(), mine.content())
    with pytest.raises(IndexError):
        mine.with_keys([count])


# What is not as it should be


def test_media_in_another_file_is_left_out() -> None:
    def refer(index: int, kind: str, flags: int) -> pystream.Input:
        moov, *rest = boxes.parse(bytes(boxes.Movie(load(MEDIA / "plain.mp4"), moov_first=False)))[
            ::-1
        ]
        minf = list(moov.all("trak/mdia/minf"))[1]
        minf.get("dinf/dref").children.append(boxes.full(kind, b"elsewhere\0", flags=flags))
        minf.get("dinf/dref").head = struct.pack(">II", 0, 2)
        entry = minf.get("stbl/stsd").children[0]
        entry.head = entry.head[:6] + struct.pack(">H", index) + entry.head[8:]
        # Places in another file mean nothing in this one.
        chunks = minf.get("stbl/stco")
        if flags == 0 and index == 2:
            chunks.head = chunks.head[:8] + b"\xff" * (len(chunks.head) - 8)
        return pystream.open(b"".join(bytes(box) for box in [*rest[::-1], moov]), "film.mov")

    for kind in ("url ", "urn ", "alis"):
        source = refer(2, kind, 0)
        assert [t.kind for t in source.tracks] == ["video"]
        assert [str(notice) for notice in source.notices] == [
            f"film.mov: track 2 (audio, mp4a) is left out: its media lies in another file"
            f" (data reference of type {kind})"
        ]
    # QuickTime's alias to the file itself; an entry that nothing refers to; an index of nothing.
    for index, kind, flags in ((2, "alis", 1), (1, "url ", 0), (0, "url ", 0), (3, "url ", 0)):
        assert refer(index, kind, flags).notices == ()


def without_fragment(name: str, dropped: int) -> bytes:
    top = boxes.parse(data(name))
    moofs = [i for i, box in enumerate(top) if box.kind == b"moof"]
    at = moofs[dropped]
    return b"".join(bytes(box) for i, box in enumerate(top) if i not in (at, at + 1))


def test_a_fragment_that_is_missing_in_the_middle_is_told() -> None:
    whole = pystream.open(data("fragmented.mp4"), "film")
    assert whole.notices == ()
    source = pystream.open(without_fragment("fragmented.mp4", 1), "film")
    assert [notice.code for notice in source.notices] == ["fragment-gap"] * len(source.tracks)
    for track, notice in zip(source.tracks, source.notices, strict=True):
        count = track.sample_count
        dts = numbers(track.dts(0, count))
        steps = [b - a for a, b in pairwise(dts)]
        missing = (max(steps) - min(steps)) / track.timescale
        told = re.search(r"track (\d+): gaps .*: 1, of ([\d.]+) s together", notice.message)
        assert told
        assert int(told[1]) == track.id
        assert abs(float(told[2]) - missing) < 0.002
    # At the ends nothing is known to be missing.
    last = sum(box.kind == b"moof" for box in boxes.parse(data("fragmented.mp4"))) - 1
    for dropped in (0, last):
        assert pystream.open(without_fragment("fragmented.mp4", dropped)).notices == ()


def test_a_step_of_a_sample_or_two_is_no_gap() -> None:
    for late, told in ((0, False), (1024, False), (1025, True)):
        top = boxes.parse(data("fragmented.mp4"))
        # Pictures of 512 ticks.
        tfdt = [box for box in top if box.kind == b"moof"][1].get("traf/tfdt")
        time = int.from_bytes(tfdt.head[4:], "big")
        tfdt.head = tfdt.head[:4] + (time + late).to_bytes(8, "big")
        source = pystream.open(b"".join(map(bytes, top)))
        assert ("fragment-gap" in [notice.code for notice in source.notices]) == told


# Sound whose configuration does not say what it is


def replicated(frame: bytes, header: bool) -> bytes:
    """A frame with spectral band replication behind it (ISO/IEC 14496-3 tables 4.11, 4.57, 4.63)."""
    bits = "".join(f"{byte:08b}" for byte in frame).rstrip("0")
    assert bits.endswith("111")
    data = "1101" + ("1" + "1" + "0101" + "1001" + "000" + "00" + "00" if header else "0")
    data = data.ljust(8 * 20, "1")
    bits = bits[:-3] + "110" + "1111" + f"{20 - 14:08b}" + data + "111"
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


# 24 kHz, two channels: AAC-LC alone; replication that is downsampled, in both ways to say it;
# replication that is said not to be there.
PLAIN, HIERARCHICAL, BACKWARD, NONE = (
    bytes.fromhex(text) for text in ("1310", "2b130800", "131056e5b0", "131056e500")
)


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_replication_that_nothing_announces_is_found(format: str) -> None:
    def described(config: bytes, sbr: bool, late: int = 0) -> tuple[str, int]:
        (clip,) = load(MEDIA / "ladder_audio.m4a")
        frames = [sample.data for sample in clip.samples]
        if sbr:
            frames = [replicated(frame, i % 10 == late) for i, frame in enumerate(frames)]
        samples = [boxes.Sample(frame, 1024) for frame in frames]
        entry = boxes.aac_entry(config, 24_000, 2)
        source = film_of(boxes.Track("soun", 24_000, [entry], samples))
        (codecs, _, _, rate, _), *others = source.tracks[0].configs
        assert others == []
        presentation = pystream.plan([source], format=format, scan=False)
        (variant,) = presentation.multivariant_playlist().variants
        assert variant.codecs == (codecs,)
        return codecs, rate

    assert described(PLAIN, sbr=False) == ("mp4a.40.2", 24_000)
    assert described(PLAIN, sbr=True) == ("mp4a.40.5", 48_000)
    assert described(PLAIN, sbr=True, late=9) == ("mp4a.40.5", 48_000)
    # What is said counts, and so does the rate that is said.
    assert described(NONE, sbr=True) == ("mp4a.40.2", 24_000)
    assert described(HIERARCHICAL, sbr=True) == ("mp4a.40.5", 24_000)
    assert described(BACKWARD, sbr=True) == ("mp4a.40.5", 24_000)


def test_tracks_say_whether_they_are_enabled() -> None:
    made = boxes.parse(bytes(boxes.Movie(load(MEDIA / "languages.mp4"))))
    moov = next(box for box in made if box.kind == b"moov")
    header = list(moov.all("trak/tkhd"))[1]
    header.head = header.head[:3] + b"\2" + header.head[4:]
    tracks = pystream.open(b"".join(map(bytes, made))).tracks
    assert [track.enabled for track in tracks] == [i != 1 for i in range(len(tracks))]


# Views


def test_numpy_views_of_columns_copy_nothing() -> None:
    column = opened("plain.mp4").tracks[0].offsets(0, 150)
    first, second = np.asarray(column), np.asarray(column)
    assert first.dtype == np.int64
    assert first.shape == (150,)
    assert first.strides == (8,)
    assert not first.flags.writeable
    assert not first.flags.owndata
    assert first.ctypes.data == second.ctypes.data
    assert first.tolist() == numbers(column)
    del column
    assert second.tolist() == first.tolist()


def test_segments_are_lent_and_read_only() -> None:
    rendition = pystream.plan([opened("plain.mp4")], segment_duration=2).renditions[0]
    segment = rendition.segment(0)
    view = memoryview(segment)
    assert (view.readonly, view.format, view.ndim, view.nbytes) == (True, "B", 1, len(segment))
    arrays = [np.frombuffer(memoryview(segment), np.uint8) for _ in range(2)]
    assert arrays[0].ctypes.data == arrays[1].ctypes.data
    with pytest.raises((BufferError, TypeError)):
        (ctypes.c_char * len(segment)).from_buffer(segment)


def test_the_library_imports_neither_numpy_nor_rich() -> None:
    code = f"""
import sys, pystream
film = pystream.open({str(MEDIA / "plain.mp4")!r})
for format in ("ts", "fmp4"):
    made = pystream.plan([film], format=format, encryption=pystream.Aes128())
    made.multivariant_playlist().text()
    for rendition in made.renditions:
        made.media_playlist(rendition).text()
        rendition.segments(range(len(rendition)))
print(sorted({{"numpy", "rich", "Crypto", "trio"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_package_in_a_pipe_imports_neither_numpy_nor_rich(tmp_path: Path) -> None:
    arguments = ["package", str(MEDIA / "plain.mp4"), "-o", str(tmp_path / "out")]
    code = f"""
import sys
from pystream.cli import main
code = main({arguments!r})
print(code, sorted({{"numpy", "rich"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


# Memory


def sparse(path: Path, seconds: int) -> int:
    """A film of 25 pictures a second with B-frames; returns how many pictures it has."""
    track = load(MEDIA / "ladder_90.mp4")[0]
    sizes = random.Random(5).choices(range(200, 20_000), k=997)
    boxes.write_sparse(path, track, seconds * 25, 48, sizes, track.timescale // 25)
    return seconds * 25


def test_no_more_than_ten_bytes_a_sample(tmp_path: Path) -> None:
    count = sparse(tmp_path / "film.mp4", 3600)
    source = pystream.open(tmp_path / "film.mp4")
    assert source.tracks[0].sample_count == count
    assert source.nbytes <= 10 * count
    # Bytes of sizes that differ cannot be told in less than two.
    assert source.nbytes >= 2 * count


def test_nbytes_is_what_the_allocator_gave(tmp_path: Path) -> None:
    sparse(tmp_path / "film.mp4", 3600)
    code = f"""
import ctypes, gc, pystream

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info

def used():
    gc.collect()
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd

# What is imported, cached or left free in between is paid for by the first rounds.
kept = []
def cost(make):
    costs = []
    for _ in range(6):
        before = used()
        kept.append(make())
        costs.append(used() - before)
    return sorted(costs)[2]

opened = cost(lambda: pystream.open({str(tmp_path / "film.mp4")!r}))
# What was read of the pictures is kept with the input, once.
before, unread = used(), kept[0].nbytes
first = pystream.plan([kept[0]])
read, seen = used() - before - first.nbytes, kept[0].nbytes - unread
planned = cost(lambda: pystream.plan([kept[0]]))
keyed = cost(lambda: kept[0].tracks[0].with_keys([0, 9]))
print(opened, unread, planned, kept[6].nbytes, read, seen, keyed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    opened_bytes, nbytes, planned_bytes, made_nbytes, read, seen, keyed = map(
        int, done.stdout.split()
    )
    # Objects of the interpreter and the allocator's own headers are not counted, nor is the rest of
    # the last page of a large column.
    assert abs(opened_bytes - nbytes) <= nbytes // 100 + 4 * 4096
    assert made_nbytes <= planned_bytes <= made_nbytes + 16384
    # Two bits a sample, whichever were looked at.
    assert 3600 * 25 / 4 <= seen <= 3600 * 25 / 4 + 64
    assert seen <= read <= seen + 1_000_000
    # A track with other key frames shares the columns.
    assert keyed <= 4096


def test_nbytes_counts_keys_and_copies_of_tracks() -> None:
    def nbytes(rotate_every: int) -> int:
        encryption = pystream.Aes128(rotate_every=rotate_every)
        source = opened("plain.mp4")
        return pystream.plan([source], segment_duration=0.1, encryption=encryption).nbytes

    periods = len(pystream.plan([opened("plain.mp4")], segment_duration=0.1).renditions[0])
    assert nbytes(1) - nbytes(0) == (periods - 1) * (sys.getsizeof(bytes(16)) + 8)
    mine = opened("no_stss.mp4").tracks[0]
    bounds = [0, mine.sample_count]
    own, copied = (
        _core.Rendition("ts", [(track, array("q", bounds))], 10, "film").nbytes
        for track in (mine, mine.with_keys(range(0, mine.sample_count, 50)))
    )
    # A bit a sample, and what describes the track.
    assert mine.sample_count // 8 <= copied - own <= 4096


@pytest.mark.parametrize("name", CLIPS)
def test_nbytes_is_the_sum_of_its_parts_and_alike_for_like_files(name: str) -> None:
    # What planning has read is kept as well, so one that nobody has planned.
    source = pystream.open(MEDIA / name)
    parts = sum(track.nbytes for track in source.tracks)
    assert parts < source.nbytes < parts + 1024 * (1 + len(source.tracks))
    assert pystream.open(MEDIA / name).nbytes == source.nbytes
    # Bytes that were handed over are kept.
    assert pystream.open(data(name), name).nbytes == source.nbytes + len(data(name))
    # A handful of samples still pays for what every track has.
    count = sum(track.sample_count for track in source.tracks)
    assert source.nbytes <= 10 * count + 4096 * (1 + len(source.tracks))


@pytest.mark.slow
def test_pain_64_a_twelve_hour_film_is_opened_and_any_segment_made(tmp_path: Path) -> None:
    count = sparse(tmp_path / "film.mp4", 12 * 3600)
    source = pystream.open(tmp_path / "film.mp4")
    assert source.tracks[0].sample_count == count
    assert source.nbytes <= 10 * count
    assert source.movie.size > 1 << 32
    presentation = pystream.plan([source], format="fmp4")
    (rendition,) = presentation.renditions
    assert abs(presentation.duration - 12 * 3600) < 0.1
    assert presentation.notices == ()
    for n in (0, len(rendition) // 2, len(rendition) - 1):
        assert len(rendition.segment(n)) == rendition.length(n)


# Fragmented recordings


def test_times_that_pass_64_bits_are_an_error() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    # A run of one sample of no bytes that lasts a tick, at the last one there is.
    head = struct.pack(">IIII", 0x02_0018, 1, 1, 0)
    run = struct.pack(">II", 0, 1)
    time = struct.pack(">IQ", 1 << 24, (1 << 64) - 1)
    traf = box(b"traf", box(b"tfhd", head) + box(b"tfdt", time) + box(b"trun", run))
    more = box(b"moof", box(b"mfhd", struct.pack(">II", 0, 9)) + traf)
    whole = data("fragmented.mp4")
    with pytest.raises(pystream.MalformedMedia, match=r"pass 2\^64 ticks") as caught:
        pystream.open(whole + more)
    assert (caught.value.path, caught.value.offset) == ("moof/traf/trun", len(whole))


def test_a_recording_that_was_cut_off_ends_with_its_last_whole_fragment() -> None:
    source = opened("fragmented_cut.mp4")
    assert source.truncated
    assert [notice.code for notice in source.notices] == ["truncated"]
    for mine, theirs in pairs("fragmented_cut.mp4"):
        end = max(sample.offset + sample.size for sample in theirs.samples)
        assert end <= source.movie.size
        assert mine.sample_count == len(theirs.samples)
    assert not opened("fragmented.mp4").truncated
    assert opened("fragmented.mp4").notices == ()


def test_a_recording_cut_off_anywhere_opens_or_says_why() -> None:
    content = data("fragmented.mp4")
    ends = []
    at = 0
    for box in boxes.parse(content):
        at += len(bytes(box))
        ends.append((at, box.kind))
    whole = [end for end, kind in ends if kind == b"mdat"]
    first_moof = next(end for end, kind in ends if kind == b"moov")
    for cut in range(first_moof + 1, len(content), 997):
        expected = sum(end <= cut for end in whole)
        if expected == 0:
            with pytest.raises(pystream.MediaError):
                pystream.plan([pystream.open(content[:cut])])
            continue
        source = pystream.open(content[:cut])
        assert source.truncated == (cut not in [end for end, _ in ends])
        samples = sum(len(track.samples) for track in oracle("fragmented.mp4").tracks)
        found = sum(track.sample_count for track in source.tracks)
        assert found == samples if expected == len(whole) else found < samples


# Sources


class Fetched(Exception):
    """An object store's own exception."""


class Store:
    """An object with `size` and `read_at`, which fails from the n-th read on where asked to."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.left = 1 << 62
        self.short = False

    def read_at(self, offset: int, n: int) -> bytes:
        if self.left == 0:
            raise Fetched(f"{n} bytes at {offset}")
        self.left -= 1
        return self.content[offset : offset + n - self.short]


def of_every_kind(name: str) -> Iterator[pystream.Input]:
    yield pystream.open(str(MEDIA / name))
    yield pystream.open(MEDIA / name)
    yield pystream.open(data(name))
    yield pystream.open(io.BytesIO(data(name)))
    yield pystream.open(Store(data(name)))


@pytest.mark.parametrize("name", ["plain.mp4", "fragmented.mp4", "moov_last.mp4", "nal_2.mp4"])
def test_all_kinds_of_sources_give_the_same(name: str) -> None:
    made = []
    for source in of_every_kind(name):
        presentation = pystream.plan([source], segment_duration=2)
        (rendition,) = presentation.renditions
        made.append([bytes(segment) for segment in rendition.segments(range(len(rendition)))])
    with (MEDIA / name).open("rb", buffering=0) as file:
        presentation = pystream.plan([pystream.open(file)], segment_duration=2)
        (rendition,) = presentation.renditions
        made.append([bytes(segment) for segment in rendition.segments(range(len(rendition)))])
    assert all(segments == made[0] for segments in made)


SHORT = """
import resource, sys
import pystream

source = pystream.open(sys.argv[1])
renditions = [pystream.plan([source], format=f).renditions[0] for f in ("ts", "fmp4")]
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 100_000_000,) * 2)
for rendition in renditions:
    for ask in (lambda: rendition.segment(0), lambda: rendition.frame(0)):
        try:
            ask()
        except (MemoryError, pystream.LimitExceeded) as error:
            print(type(error).__name__, error)
"""


def test_memory_that_is_not_there_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    track = load(MEDIA / "ladder_90.mp4")[0]
    sizes = [300_000_000, *[20] * 99]
    boxes.write_sparse(tmp_path / "film.mp4", track, 100, 100, sizes, track.timescale // 25)
    command = [sys.executable, "-c", SHORT, str(tmp_path / "film.mp4")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-400:]
    told = ran.stdout.splitlines()
    assert [line.split(maxsplit=1)[0] for line in told] == ["MemoryError", "LimitExceeded"] * 2
    assert all(re.search(r"no memory for segment 0, 3\d{8} bytes$", line) for line in told[::2])
    assert all("no memory for a picture of 3" in line for line in told[1::2])


def test_what_is_no_source_is_refused() -> None:
    for thing in (7.5, None, bytearray(b"x"), object()):
        with pytest.raises(TypeError, match="read_at"):
            pystream.open(thing)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        pystream.open(MEDIA / "nothing.mp4")


def test_a_path_to_no_regular_file_is_refused_as_python_would(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory") as caught:
        pystream.open(MEDIA)
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(MEDIA))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file; an MP4 has to be read at any") as piped:
        pystream.open(tmp_path / "pipe")
    assert (piped.value.errno, piped.value.filename) == (errno.ESPIPE, str(tmp_path / "pipe"))
    for path in ("film\0.mp4", Path("film\0.mp4")):
        with pytest.raises(ValueError, match=r"^embedded null byte$"):
            pystream.open(path)


def test_a_sources_own_exception_keeps_its_type_everywhere() -> None:
    store = Store(data("plain.mp4"))
    store.left = 0
    with pytest.raises(Fetched, match="bytes at 0"):
        pystream.open(store)
    for reads in range(1, 4):
        store.left = reads
        try:
            pystream.open(store)
        except Fetched:
            continue
        break
    store.left = 1 << 62
    source, other = pystream.open(store), pystream.open(store)
    rendition = pystream.plan([source], segment_duration=2).renditions[0]
    store.left = 0
    with pytest.raises(Fetched):
        pystream.plan([other], segment_duration=2)
    for ask in (
        lambda: rendition.segment(1),
        lambda: rendition.segments([0, 1, 2]),
        lambda: rendition.segment_into(1, bytearray(rendition.length(1))),
    ):
        with pytest.raises(Fetched):
            ask()
    store.left = 1 << 62
    assert len(rendition.segment(1)) == rendition.length(1)


def test_a_source_that_gives_too_little_is_at_fault() -> None:
    store = Store(data("plain.mp4"))
    source = pystream.open(store)
    rendition = pystream.plan([source], segment_duration=2).renditions[0]
    store.short = True
    with pytest.raises(pystream.SourceError) as caught:
        rendition.segment(0)
    assert caught.value.offset is not None
    with pytest.raises(pystream.SourceError):
        pystream.open(store)


def test_a_file_that_shrinks_is_an_error_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(data("plain.mp4"))
    source, other = pystream.open(path), pystream.open(path)
    rendition = pystream.plan([source], segment_duration=2).renditions[0]
    assert len(rendition.segment(2)) == rendition.length(2)
    with path.open("r+b") as file:
        file.truncate(len(data("plain.mp4")) // 2)
    assert len(rendition.segment(0)) == rendition.length(0)
    with pytest.raises(pystream.SourceError, match="shrank") as caught:
        rendition.segment(2)
    assert caught.value.offset is not None
    with pytest.raises(pystream.SourceError):
        rendition.segments([0, 1, 2])
    with pytest.raises(pystream.SourceError, match=re.escape(f"{path}: ")):
        pystream.plan([other], segment_duration=2)


def test_a_read_that_the_system_refuses_names_the_file_and_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(data("nal_2.mp4"))
    source, twin = pystream.open(path), pystream.open(path)
    rendition = pystream.plan([source], segment_duration=2).renditions[0]
    # A folder in the place of the file that is open: it can be read no more.
    folder = os.open(tmp_path, os.O_RDONLY)
    for link, what in open_files(os.getpid()):
        if what == str(path.resolve()):
            os.dup2(folder, int(link.name))
    os.close(folder)
    for ask in (
        lambda: rendition.segment(0),
        lambda: pystream.plan([twin], segment_duration=2),
        lambda: twin.tracks[0].picture_kinds([0]),
        lambda: twin.tracks[1].content(),
    ):
        with pytest.raises(IsADirectoryError) as caught:
            ask()
        assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(path))


class Own(pystream.MediaError):
    """A source's own kind of media error, made in its own way."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"{bucket}/{key}")
        self.key = key


def test_a_sources_own_exception_is_the_very_one_that_was_raised() -> None:
    raised = Own("films", "lecture")

    class Failing(Store):
        def read_at(self, offset: int, n: int) -> bytes:
            raise raised

    with pytest.raises(Own) as caught:
        pystream.open(Failing(data("plain.mp4")))
    assert caught.value is raised


def test_a_source_that_gives_another_number_of_bytes_is_told_both() -> None:
    class Generous(Store):
        def read_at(self, offset: int, n: int) -> bytes:
            return self.content[offset : offset + n] + b"x"

    with pytest.raises(
        pystream.SourceError, match=r"^film: read_at gave 4097 bytes where 4096 were"
    ):
        pystream.open(Generous(data("plain.mp4")), "film")


@pytest.mark.parametrize("size", [-1, 1 << 63, 1 << 70])
def test_a_size_that_no_source_has_is_refused(size: int) -> None:
    store = Store(data("plain.mp4"))
    store.size = size
    with pytest.raises(ValueError, match=f"^film says that its size is {size}"):
        pystream.open(store, "film")


def test_a_file_opened_in_text_mode_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(data("plain.mp4"))
    with (tmp_path / "film.mp4").open(encoding="latin-1") as file:
        for source in (file, io.StringIO("abc")):
            with pytest.raises(TypeError, match="opened in text mode; open it in binary"):
                pystream.open(source)  # type: ignore[arg-type]


def test_a_name_that_is_no_utf_8_is_escaped_and_the_film_packaged(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/f\xff.mp4"
    with open(path, "wb") as file:
        file.write(data("plain.mp4"))
    source = pystream.open(os.fsdecode(path))
    assert source.name == f"{tmp_path}/f\\xff.mp4"
    rendition = pystream.plan([source]).renditions[0]
    assert len(rendition.segment(0)) == rendition.length(0)
    with open(path, "wb") as file:
        file.write(b"hello")
    with pytest.raises(pystream.MediaError, match=r"f\\xff\.mp4: "):
        pystream.open(os.fsdecode(path))


@pytest.mark.parametrize(
    ("name", "formats"), [("plain.mp4", ["ts", "fmp4"]), ("nal_2.mp4", ["ts", "fmp4", "ts"])]
)
def test_what_planning_reads_it_reads_once(name: str, formats: list[str]) -> None:
    store = Store(data(name))
    source = pystream.open(store)
    before = store.left
    pystream.plan([source], format=formats[0], segment_duration=2)
    assert store.left < before
    store.left = 0
    for format in formats:
        assert pystream.plan([source], format=format, segment_duration=2).independent
    # The same input twice holds the same sound: nothing has to be read to see that.
    assert len(pystream.plan([source, source], segment_duration=2).renditions) == 3


@pytest.mark.parametrize("differ", ["first", "last", "size"])
def test_to_tell_many_sounds_apart_each_is_read_once(differ: str) -> None:
    def reads(count: int) -> int:
        tracks = []
        for number in range(count):
            frames = [bytes([0x21, *[0x5A] * 62, 0])] * 40
            at = 0 if differ == "first" else -1
            frames[at] = frames[at] + bytes(number) if differ == "size" else bytes([number]) * 64
            samples = [boxes.Sample(frame, 1024) for frame in frames]
            tracks.append(boxes.Track("soun", 48_000, [synthetic.STEREO], samples))
        store = Store(synthetic.movie(*tracks))
        source = pystream.open(store)
        before = store.left
        assert len(pystream.plan([source]).renditions) == count
        return before - store.left

    assert reads(24) - reads(16) == reads(16) - reads(8) <= 8 * (0 if differ == "size" else 40)


def test_messages_name_the_input() -> None:
    with pytest.raises(pystream.MediaError, match=r"^lecture: "):
        pystream.open(b"nothing of the kind", "lecture")
    assert pystream.open(data("plain.mp4"), "lecture").name == "lecture"
    notice = pystream.open(data("hevc.mp4"), "lecture").notices[0]
    assert str(notice).startswith("lecture: track 1 (video, hvc1) is left out")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("mp3_beside.mp4", "mp4a"), ("opus_beside.mp4", "Opus"), ("hevc.mp4", "hvc1")],
)
def test_a_track_in_another_codec_is_left_out_and_named(name: str, codec: str) -> None:
    (notice,) = opened(name).notices
    assert notice.code == "track-left-out"
    assert codec in notice.message
    assert notice.source == str(MEDIA / name)


def test_a_film_of_nothing_that_can_be_carried_is_refused() -> None:
    tracks = [track for track in load(MEDIA / "hevc.mp4") if track.handler == "vide"]
    with pytest.raises(pystream.UnsupportedMedia, match="hvc1"):
        pystream.plan([pystream.open(bytes(boxes.Movie(tracks)))])


# Lies


def declared(content: bytes) -> pystream.MediaError | None:
    """Opens, plans and makes everything; returns the error that was declared, if one was."""
    try:
        source = pystream.open(content)
        for format in ("ts", "fmp4"):
            presentation = pystream.plan([source], format=format, segment_duration=2)
            for rendition in presentation.renditions:
                for n, segment in enumerate(rendition.segments(range(len(rendition)))):
                    assert len(segment) == rendition.length(n)
    except pystream.MediaError as error:
        return error
    except pystream.PlanError:
        return None
    return None


def test_a_file_cut_at_any_place_gives_a_value_or_a_declared_error() -> None:
    content = data("plain.mp4")
    moov_end = content.index(b"mdat") - 4
    for cut in [*range(0, moov_end, 61), *range(moov_end, len(content), 4999)]:
        error = declared(content[:cut])
        assert error is not None, cut


def test_any_byte_of_the_index_changed_gives_a_value_or_a_declared_error() -> None:
    for name in ("plain.mp4", "fragmented_tails.mp4", "two_entries.mp4", "stz2.mp4"):
        content = bytearray(data(name))
        dice = random.Random(name)
        begin = content.index(b"moov")
        for _ in range(250):
            at = dice.randrange(begin, min(len(content), begin + 4000))
            before = content[at]
            content[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, before ^ 1])
            declared(bytes(content))
            content[at] = before


@pytest.mark.parametrize("size", [0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF])
def test_pain_66_a_box_that_lies_about_its_size_ends_the_reading(size: int) -> None:
    content = data("plain.mp4")
    places = []
    at = content.index(b"moov") - 4
    end = at + int.from_bytes(content[at : at + 4], "big")
    for kind in ("moov", "trak", "mdia", "minf", "stbl", "stsd", "stts", "stsc", "stsz", "mdat"):
        place = content.find(kind.encode(), 0, end + 8)
        places.append((kind, place - 4))
    for kind, place in places:
        broken = content[:place] + struct.pack(">I", size) + content[place + 4 :]
        error = declared(broken)
        # Size 0 is to the end of what is around (4.2); samples are where chunk offsets say, in mdat
        # or not.
        assert error is not None or size == 0 or kind == "mdat", kind


@pytest.mark.parametrize("kind", ["stts", "ctts", "stss", "stsc", "stsz", "stco", "elst"])
def test_a_count_is_believed_only_up_to_the_bytes_that_are_there(kind: str) -> None:
    content = data("plain.mp4")
    place = content.index(kind.encode()) + (12 if kind == "stsz" else 8)
    broken = content[:place] + b"\xff\xff\xff\xf0" + content[place + 4 :]
    with pytest.raises(pystream.MediaError) as caught:
        pystream.open(broken)
    assert caught.value.path.split("/")[-1] == kind
    assert caught.value.path.startswith("moov/trak/")
    assert caught.value.offset is not None
    assert place - 16 <= caught.value.offset <= place + 8
    assert str(caught.value.offset) in str(caught.value)


def test_what_is_no_mp4_is_refused() -> None:
    for content in (b"", b"\0", b"RIFF....AVI LIST", bytes(4096), b"\0\0\0\x08moov"):
        with pytest.raises(pystream.MediaError):
            pystream.plan([pystream.open(content)])


def test_a_file_whose_first_bytes_are_no_box_is_no_mp4() -> None:
    for content in (
        b"hello world, this is a text of some length",
        bytes(4096),
        b"\0",
        b"\x89PNG\r\n\x1a\n" * 9,
    ):
        with pytest.raises(pystream.MalformedMedia, match=r"^x: this is no MP4 file"):
            pystream.open(content, "x")
    # One that was cut off is something else.
    with pytest.raises(pystream.MalformedMedia, match="cut off") as caught:
        pystream.open(data("moov_last.mp4")[:200], "x")
    assert "this is no MP4 file" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "told"), [((2, 0), "2"), ((0, 0x8000), "0.5"), ((0, 0), "0"), ((-1, 0), "-1")]
)
def test_pain_20_an_edit_that_plays_at_another_speed_is_told(
    rate: tuple[int, int], told: str
) -> None:
    tracks = load(MEDIA / "plain.mp4")[:1]
    tracks[0].edits = [(3000, 0)]
    row = struct.pack(">QqhH", 3000, 0, 1, 0)
    content = bytes(boxes.Movie(tracks))
    assert content.count(row) == 1
    notices = pystream.open(content.replace(row, struct.pack(">QqhH", 3000, 0, *rate))).notices
    (message,) = [notice.message for notice in notices if notice.code == "edit-rate"]
    assert message.startswith(f"track 1: its edit list plays the media at {told} times its speed")
    assert "edit-rate" not in [notice.code for notice in pystream.open(content).notices]


def test_samples_that_last_no_time_are_told() -> None:
    for every, count in ((2, 74), (3, 50)):
        tracks = load(MEDIA / "plain.mp4")[:1]
        tracks[0].samples = [
            boxes.Sample(s.data, 0 if i % every == 1 else s.duration, s.offset, s.sync)
            for i, s in enumerate(tracks[0].samples)
        ]
        (notice,) = pystream.open(bytes(boxes.Movie(tracks))).notices
        assert notice.code == "repeated-time"
        assert notice.message.startswith(f"track 1: {count} samples have the decoding time")
