"""The verifier, on output that small muxers in this file make, so that it is checked without the
packager; and the oracles that other tests lean on, against ffprobe and against each other."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from Crypto.Cipher import AES

from pystream import playlist as playlists
from pystream.cli import main
from pystream.packager.verify import VerifyError, verify
from pystream.packager.verify.source import read_source
from tests.oracles import boxes, mp4, planner, synthetic, ts

MEDIA = Path(__file__).parent / "media"
SAMPLE = Path(__file__).parents[1] / "pystream/cli/sample.mp4"
CLIPS = sorted([*MEDIA.glob("*.mp4"), *MEDIA.glob("*.m4a"), SAMPLE])
KEY = bytes(range(16))


# A packager of a few lines. Segments begin at key frames; what it writes is by the book.


@dataclass(frozen=True)
class Unit:
    """A sample on its way into a segment; times in seconds."""

    track: mp4.Track
    index: int
    data: bytes

    @property
    def sample(self) -> mp4.Sample:
        return self.track.samples[self.index]


def segments_of(clip: Path, every: Fraction) -> list[list[Unit]]:
    """The units of each segment, in order of decoding: cut at key frames `every` seconds apart."""
    data = clip.read_bytes()
    movie = mp4.read(clip)
    units = [
        Unit(track, i, data[s.offset : s.offset + s.size])
        for track in movie.tracks
        for i, s in enumerate(track.samples)
    ]
    leader = movie.tracks[0]
    cuts = [leader.samples[0].pts]
    for sample in leader.samples:
        if sample.sync and sample.pts - cuts[-1] >= every:
            cuts.append(sample.pts)
    # A picture belongs to its key frame's segment, sound to the segment that its time is in.
    found: list[list[Unit]] = [[] for _ in cuts]
    for track in movie.tracks:
        at = 0
        for unit in (unit for unit in units if unit.track is track):
            if track.handler == "vide":
                at += at + 1 < len(cuts) and unit.sample.pts == cuts[at + 1]
            else:
                while at + 1 < len(cuts) and unit.sample.pts >= cuts[at + 1]:
                    at += 1
            found[at].append(unit)
    return [sorted(part, key=lambda unit: unit.sample.dts) for part in found]


def durations_us(parts: list[list[Unit]]) -> list[int]:
    """EXTINF in microseconds: from one segment's first picture to the next one's."""
    leader = parts[0][0].track
    for unit in parts[0]:
        leader = unit.track if unit.track.handler == "vide" else leader
    mine = [[u.sample for u in part if u.track is leader] for part in parts]
    edges = [part[0].pts for part in mine]
    edges.append(max(sample.pts + sample.duration for sample in mine[-1]))
    rounded = [round((edge - edges[0]) * 1_000_000) for edge in edges]
    return [b - a for a, b in zip(rounded, rounded[1:], strict=False)]


class TsWriter:
    """MPEG-TS by the book: PAT, PMT, a PES packet for each sample, a PCR in each."""

    def __init__(self, lead: int = 1800) -> None:
        self.counters: dict[int, int] = {}
        # How long before its decoding time a unit arrives, in ticks.
        self.lead = lead

    def packet(self, pid: int, start: bool, field: bytes | None, payload: bytes) -> bytes:
        counter = self.counters[pid] = (self.counters.get(pid, -1) + 1) % 16
        room = 184 - len(payload)
        if field is None and room:
            field = b"" if room == 1 else b"\0"
        if field is not None:
            field += b"\xff" * (room - 1 - len(field))
            payload = bytes([len(field)]) + field + payload
        head = struct.pack(">BHB", 0x47, start << 14 | pid, (field is not None) << 5 | 16 | counter)
        assert len(head + payload) == 188
        return head + payload

    def section(self, pid: int, table: int, body: bytes) -> bytes:
        section = struct.pack(">BHHBBB", table, 0xB000 | len(body) + 9, 1, 0xC1, 0, 0) + body
        section += struct.pack(">I", ts.crc_32(section))
        return self.packet(pid, True, None, b"\0" + section.ljust(183, b"\xff"))

    def segment(self, units: list[Unit]) -> bytes:
        pids = {unit.track.id: 0x100 + (unit.track.handler == "soun") for unit in units}
        clock_pid = min(pids.values())
        streams = b"".join(
            struct.pack(">BHH", 0x0F if pid & 1 else 0x1B, 0xE000 | pid, 0xF000)
            for pid in sorted(pids.values())
        )
        out = self.section(0, 0, struct.pack(">HH", 1, 0xF000))
        out += self.section(0x1000, 2, struct.pack(">HH", 0xE000 | clock_pid, 0xF000) + streams)
        for unit in units:
            pid = pids[unit.track.id]
            pts, dts = (round((t + 10) * 90_000) for t in (unit.sample.pts, unit.sample.dts))
            body = self.annex_b(unit) if pid == 0x100 else self.adts(unit)
            times = struct.pack(">BB", 0xC0 if pts != dts else 0x80, 10 if pts != dts else 5)
            times += stamp(3 if pts != dts else 2, pts) + (stamp(1, dts) if pts != dts else b"")
            length = 0 if pid == 0x100 else len(times) + 1 + len(body)
            pes = struct.pack(">IHB", 0x1E0 if pid == 0x100 else 0x1C0, length, 0x84) + times + body
            field = None
            if pid == clock_pid:
                access = 0x40 if unit.sample.sync and pid == 0x100 else 0
                clock = (dts - self.lead) << 15 | 0x7E00
                field = bytes([0x10 | access]) + clock.to_bytes(6, "big")
            room = 184 if field is None else 176
            out += self.packet(pid, True, field, pes[:room])
            for at in range(room, len(pes), 184):
                out += self.packet(pid, False, None, pes[at : at + 184])
        return out

    def annex_b(self, unit: Unit) -> bytes:
        config = unit.track.configs[unit.sample.entry]
        nals, at = [], 0
        while at < len(unit.data):
            size = int.from_bytes(unit.data[at : at + 4], "big")
            nals.append(unit.data[at + 4 : at + 4 + size])
            at += 4 + size
        sets = []
        if unit.sample.sync:
            at, counts = 6, [config[5] & 31]
            while counts:
                for _ in range(counts.pop()):
                    size = int.from_bytes(config[at : at + 2], "big")
                    sets.append(config[at + 2 : at + 2 + size])
                    at += 2 + size
                if len(sets) == config[5] & 31:
                    counts.append(config[at])
                    at += 1
        nals = [nal for nal in nals if nal[0] & 31 != 9]
        return b"".join(b"\0\0\0\1" + nal for nal in [b"\x09\xf0", *sets, *nals])

    def adts(self, unit: Unit) -> bytes:
        a, b = unit.track.configs[0][:2]
        kind, rate, channels = a >> 3, (a & 7) << 1 | b >> 7, b >> 3 & 15
        bits = 0xFFF1 << 40 | (kind - 1) << 38 | rate << 34 | channels << 30
        bits |= (len(unit.data) + 7) << 13 | 0x7FF << 2
        return bits.to_bytes(7, "big") + unit.data


def stamp(prefix: int, time: int) -> bytes:
    bits = prefix << 36 | time >> 30 << 33 | 1 << 32 | (time >> 15 & 0x7FFF) << 17 | 1 << 16
    return (bits | (time & 0x7FFF) << 1 | 1).to_bytes(5, "big")


def init_section(track: mp4.Track) -> bytes:
    """ftyp and moov for one track."""
    sound = track.handler == "soun"
    shape = boxes.Track(track.handler, track.timescale, [], [], track.language)
    if sound:
        shape.entries = [boxes.aac_entry(track.configs[0], 0, 2)]
    else:
        head = struct.pack(">6xH16xHHIIIH32xHh", 1, 256, 144, 0x480000, 0x480000, 0, 1, 0x18, -1)
        shape.entries = [boxes.Box(b"avc1", head, [boxes.Box(b"avcC", track.configs[0])])]
        shape.width, shape.height = 256, 144
    stbl = boxes.Box(b"stbl", b"", [boxes.stsd(shape.entries)])
    stbl.children += [boxes.table(kind, [], "") for kind in ("stts", "stsc", "stco")]
    stbl.children.append(boxes.full("stsz", bytes(8)))
    trex = boxes.full("trex", struct.pack(">5I", 1, 1, 0, 0, 0))
    moov = [
        boxes.mvhd(track.timescale, 0, 2),
        boxes.trak(1, shape, 1000, stbl),
        boxes.Box(b"mvex", b"", [trex]),
    ]
    # Names, flags and brands as pystream has them.
    trak = moov[1]
    trak.get("tkhd").head = b"\0\0\0\7" + trak.get("tkhd").head[4:]
    handler = trak.get("mdia/hdlr")
    handler.head = handler.head[:-1] + (b"audio\0" if sound else b"video\0")
    ftyp = boxes.Box(b"ftyp", b"iso6\0\0\0\0iso6cmfcmp41")
    return bytes(ftyp) + bytes(boxes.Box(b"moov", b"", moov))


def fragment(units: list[Unit], number: int) -> bytes:
    """styp, moof, mdat for one track's samples."""
    scale = units[0].track.timescale

    def ticks(seconds: Fraction) -> int:
        return round(seconds * scale)

    rows = b"".join(
        struct.pack(
            ">IIIi",
            ticks(unit.sample.duration),
            len(unit.data),
            0x2000000 if unit.sample.sync else 0x1010000,
            ticks(unit.sample.pts - unit.sample.dts),
        )
        for unit in units
    )

    def moof(offset: int) -> bytes:
        start = ticks(units[0].sample.dts) + 10 * scale
        run = struct.pack(">Ii", len(units), offset) + rows
        parts = [
            boxes.full("tfhd", struct.pack(">I", 1), flags=0x20000),
            boxes.full("tfdt", struct.pack(">Q", start), version=1),
            boxes.full("trun", run, version=1, flags=0xF01),
        ]
        head = boxes.full("mfhd", struct.pack(">I", number))
        return bytes(boxes.Box(b"moof", b"", [head, boxes.Box(b"traf", b"", parts)]))

    styp = bytes(boxes.Box(b"styp", b"msdh\0\0\0\0msdhcmfs"))
    data = b"".join(unit.data for unit in units)
    return styp + moof(len(moof(0)) + 8) + bytes(boxes.Box(b"mdat", data))


def encrypt(data: bytes, iv: int) -> bytes:
    pad = 16 - len(data) % 16
    cipher = AES.new(KEY, AES.MODE_CBC, iv.to_bytes(16, "big"))
    return cipher.encrypt(data + bytes([pad]) * pad)


def package(
    clip: Path, out: Path, *, fmp4: bool = False, key: bool = True, every: Fraction = Fraction(2)
) -> Path:
    """Packages a clip, in fMP4 only its first track; returns the media playlist."""
    out.mkdir(parents=True, exist_ok=True)
    parts = segments_of(clip, every)
    if fmp4:
        parts = [[unit for unit in part if unit.track is parts[0][0].track] for part in parts]
    lengths = durations_us(parts)
    longest = max((length + 500_000) // 1_000_000 for length in lengths)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{longest}"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS"]
    writer = TsWriter()
    if key:
        (out / "0.key").write_bytes(KEY)
    if fmp4:
        init = init_section(parts[0][0].track)
        if key:
            lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="0.key",IV=0x{1000:032x}')
        (out / "init.mp4").write_bytes(encrypt(init, 1000) if key else init)
        lines.append('#EXT-X-MAP:URI="init.mp4"')
    if key:
        lines.append('#EXT-X-KEY:METHOD=AES-128,URI="0.key"')
    for n, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        data = fragment(part, n + 1) if fmp4 else writer.segment(part)
        name = f"{n}.{'m4s' if fmp4 else 'ts'}"
        (out / name).write_bytes(encrypt(data, n) if key else data)
        lines += [f"#EXTINF:{length / 1e6:.6f},", name]
    write(out / "index.m3u8", [*lines, "#EXT-X-ENDLIST"])
    return out / "index.m3u8"


def write(path: Path, lines: Sequence[str]) -> None:
    """Writes a playlist with the version that it needs, and its tags where they belong."""
    path.write_text(playlists.parse("\n".join([*lines, ""])).text())


FORMS = pytest.mark.parametrize("fmp4", [False, True], ids=["ts", "fmp4"])


# What is right passes


@FORMS
@pytest.mark.parametrize("key", [False, True], ids=["clear", "aes"])
@pytest.mark.parametrize("name", ["plain.mp4", "ntsc.mp4", "audio_late.mp4", "audio_48k.m4a"])
def test_good_output_passes(tmp_path: Path, name: str, fmp4: bool, key: bool) -> None:
    playlist = package(MEDIA / name, tmp_path, fmp4=fmp4, key=key)
    report = verify([MEDIA / name], playlist)
    tracks = mp4.read(MEDIA / name).tracks
    if fmp4 and name in ("plain.mp4", "ntsc.mp4", "audio_late.mp4"):
        # The sound is in no playlist, and the verifier says so: of a multivariant one, it is wrong.
        assert report.left_out == [f"{name} track 2 (aac)"]
        tracks = tracks[:1]
        whole = playlist.with_name("whole.m3u8")
        variant = playlists.Variant(playlist.name, 9_000_000, 9_000_000, ("avc1.42c00a",))
        whole.write_text(playlists.MultivariantPlaylist([variant], [], False).text())
        with pytest.raises(VerifyError, match=r"nothing of .*, track 2"):
            verify([MEDIA / name], whole)
        report.left_out.clear()
    assert report.samples == sum(len(track.samples) for track in tracks)
    assert report.encrypted == key
    assert report.playlists == 1
    assert not report.left_out
    assert f"{report.samples:,} samples" in str(report)


def test_the_hand_made_stream_is_sound(tmp_path: Path) -> None:
    package(MEDIA / "plain.mp4", tmp_path, key=False)
    stream = ts.Stream()
    for n in range(3):
        stream.add((tmp_path / f"{n}.ts").read_bytes())
    video, audio = mp4.read(MEDIA / "plain.mp4").tracks
    assert [pes.pts for pes in stream.of(ts.H264)] == [
        round((sample.pts + 10) * 90_000) for sample in video.samples
    ]
    frames = [frame for pes in stream.of(ts.AAC) for frame in ts.adts_frames(pes.data)]
    data = (MEDIA / "plain.mp4").read_bytes()
    assert [f.data for f in frames] == [data[s.offset :][: s.size] for s in audio.samples]
    assert {(f.rate, f.channels) for f in frames} == {(48000, 2)}
    pictures = [ts.access_unit(pes.data) for pes in stream.of(ts.H264)]
    assert all(unit[0] == b"\x09\xf0" for unit in pictures)


# What is wrong is found


def spoil(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.slow
@FORMS
def test_a_damaged_byte_in_an_encrypted_segment_fails(tmp_path: Path, fmp4: bool) -> None:
    clip = MEDIA / ("audio_8k.m4a" if fmp4 else "intra.mp4")
    playlist = package(clip, tmp_path, fmp4=fmp4)
    segment = tmp_path / ("1.m4s" if fmp4 else "1.ts")
    good = segment.read_bytes()
    chance = random.Random(9)
    places = [*range(64), *range(len(good) - 64, len(good))]
    for at in [*places, *chance.sample(range(len(good)), 60)]:
        spoil(segment, at, chance.randrange(8))
        with pytest.raises(VerifyError):
            verify([clip], playlist)
        segment.write_bytes(good)
    verify([clip], playlist)


@pytest.mark.slow
@pytest.mark.parametrize("key", [False, True], ids=["clear", "aes"])
@pytest.mark.parametrize("name", ["ladder_90.mp4", "audio_8k.m4a"])
def test_any_damaged_byte_in_an_init_section_fails(tmp_path: Path, name: str, key: bool) -> None:
    clip = MEDIA / name
    playlist = package(clip, tmp_path, fmp4=True, key=key, every=Fraction(100))
    init = tmp_path / "init.mp4"
    good = init.read_bytes()
    chance = random.Random(9)
    for at in range(0, len(good), 7 if key else 1):
        spoil(init, at, chance.randrange(8))
        with pytest.raises(VerifyError):
            verify([clip], playlist)
        init.write_bytes(good)
    verify([clip], playlist)


@pytest.mark.slow
@FORMS
def test_clear_damage_fails_or_harms_nothing(tmp_path: Path, fmp4: bool) -> None:
    """Any bytes are right or a VerifyError; what a flip may leave right is a tick of a time."""
    clip = MEDIA / ("ladder_90.mp4" if fmp4 else "intra.mp4")
    playlist = package(clip, tmp_path, fmp4=fmp4, key=False)
    segment = tmp_path / ("1.m4s" if fmp4 else "1.ts")
    good = segment.read_bytes()
    chance = random.Random(9)
    passed = 0
    for at in [*range(0, 400, 3), *chance.sample(range(len(good)), 80)]:
        spoil(segment, at, chance.randrange(8))
        try:
            verify([clip], playlist)
            passed += 1
        except VerifyError as error:
            assert str(tmp_path) in error.where
        segment.write_bytes(good)
    assert passed <= 2


def wrong_key(out: Path) -> None:
    spoil(out / "0.key", 7)


def short_key(out: Path) -> None:
    (out / "0.key").write_bytes(KEY[:15])


def no_key(out: Path) -> None:
    (out / "0.key").unlink()


def missing(out: Path) -> None:
    (out / "1.ts").unlink()


def swapped(out: Path) -> None:
    one, two = ((out / name).read_bytes() for name in ("1.ts", "2.ts"))
    (out / "1.ts").write_bytes(two)
    (out / "2.ts").write_bytes(one)


def edit(out: Path, old: str, new: str) -> None:
    text = (out / "index.m3u8").read_text()
    assert old in text
    (out / "index.m3u8").write_text(text.replace(old, new, 1))


def dropped(out: Path) -> None:
    edit(out, "#EXTINF:2.000000,\n1.ts\n", "")
    (out / "1.ts").unlink()


def dropped_last(out: Path) -> None:
    edit(out, "#EXTINF:2.000000,\n2.ts\n", "")
    (out / "2.ts").unlink()


def repeated(out: Path) -> None:
    edit(out, "#EXTINF:2.000000,\n2.ts\n", "#EXTINF:2.000000,\n2.ts\n" * 2)


def stale(out: Path) -> None:
    (out / "3.ts").write_bytes(b"left over")


def cut(out: Path) -> None:
    (out / "2.ts").write_bytes((out / "2.ts").read_bytes()[:-16])


def half_padded(out: Path) -> None:
    """Only the last byte says how many bytes of padding there are."""
    data = (out / "2.ts").read_bytes()
    iv = (2).to_bytes(16, "big")
    plain = AES.new(KEY, AES.MODE_CBC, iv).decrypt(data)
    pad = plain[-1]
    assert pad > 1
    plain = plain[:-pad] + bytes(pad - 1) + bytes([pad])
    (out / "2.ts").write_bytes(AES.new(KEY, AES.MODE_CBC, iv).encrypt(plain))


def odd(out: Path) -> None:
    (out / "2.ts").write_bytes((out / "2.ts").read_bytes()[:-1])


def empty(out: Path) -> None:
    (out / "2.ts").write_bytes(b"")


def wrong_extinf(out: Path) -> None:
    edit(out, "#EXTINF:2.000000,\n0.ts", "#EXTINF:2.002000,\n0.ts")


def wrong_last_extinf(out: Path) -> None:
    edit(out, "#EXTINF:2.000000,\n2.ts", "#EXTINF:1.900000,\n2.ts")


def low_target(out: Path) -> None:
    edit(out, "TARGETDURATION:2", "TARGETDURATION:1")


def no_end(out: Path) -> None:
    edit(out, "#EXT-X-ENDLIST\n", "")


def wrong_sequence(out: Path) -> None:
    edit(out, "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-MEDIA-SEQUENCE:1")


def no_playlist(out: Path) -> None:
    (out / "index.m3u8").write_text("404")


def absolute(out: Path) -> None:
    edit(out, "1.ts", f"{out}/1.ts")


# A wrong IV changes the first block only: the PAT.
GARBLED = "wrong CRC|sync byte|table 0"
DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (wrong_key, "PKCS#7"),
    (short_key, "16 bytes, not 15"),
    (no_key, "No such file"),
    (missing, "1.ts: No such file"),
    (swapped, GARBLED),
    (dropped, GARBLED),
    (dropped_last, "samples before"),
    (repeated, GARBLED),
    (stale, "no playlist names this file"),
    (cut, "PKCS#7"),
    (half_padded, "PKCS#7"),
    (odd, "AES blocks"),
    (empty, "AES blocks"),
    (wrong_extinf, "EXTINF"),
    (wrong_last_extinf, "EXTINF"),
    (low_target, "target duration"),
    (no_end, "ENDLIST"),
    (wrong_sequence, "media sequence number 0"),
    (no_playlist, "EXTM3U"),
    (absolute, "no relative URI"),
]


@pytest.mark.parametrize(("damage", "what"), DAMAGE, ids=[d.__name__ for d, _ in DAMAGE])
def test_damage_fails(tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    verify([MEDIA / "plain.mp4"], playlist)
    damage(tmp_path)
    with pytest.raises(VerifyError, match=what) as raised:
        verify([MEDIA / "plain.mp4"], playlist)
    assert raised.value.where.startswith(str(tmp_path))


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_what_means_nothing_in_a_source_is_no_fault(tmp_path: Path, format: str) -> None:
    # A language of no letters, a frame of no bytes, and one that a composition offset delays.
    sound = synthetic.sound((0, 200), language="```")
    sound.samples[7] = replace(sound.samples[7], data=b"")
    sound.samples[20] = replace(sound.samples[20], offset=5 * 1024)
    source = tmp_path / "film.mp4"
    source.write_bytes(synthetic.movie(synthetic.pictures([50, 50]), sound))
    arguments = ["package", str(source), "-o", str(tmp_path / "out"), "--format", format]
    assert main(arguments) == 0
    assert verify([source], tmp_path / "out" / "index.m3u8").samples > 250


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_one_key_may_serve_all_renditions(tmp_path: Path, format: str) -> None:
    ladder = [str(MEDIA / name) for name in ("ladder_90.mp4", "ladder_180.mp4")]
    for number, sources in enumerate(([str(MEDIA / "plain.mp4")], ladder)):
        out = tmp_path / f"{number}"
        line = [*sources, "-o", str(out), "--format", format, "--encrypt", "aes-128"]
        assert main(["package", *line, "--key", "00" * 16]) == 0
        verify(sources, out / "index.m3u8")


def test_a_media_playlist_need_not_have_all_of_the_sources(tmp_path: Path) -> None:
    source = MEDIA / "audio_late.mp4"
    assert main(["package", str(source), "-o", str(tmp_path / "out"), "--format", "fmp4"]) == 0
    for name in ("v0", "a0"):
        playlist = tmp_path / "out" / name / "index.m3u8"
        assert len(verify([source], playlist).left_out) == 1
        spoil(playlist.parent / "0.m4s", -1000)
        with pytest.raises(VerifyError):
            verify([source], playlist)


def test_another_source_fails(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    with pytest.raises(VerifyError, match="differs from sample"):
        verify([MEDIA / "ntsc.mp4"], playlist)


def test_one_key_and_iv_for_two_resources_fails(tmp_path: Path) -> None:
    playlist = package(MEDIA / "audio_8k.m4a", tmp_path, fmp4=True)
    text = playlist.read_text().replace(f"{1000:032x}", f"{0:032x}")
    playlist.write_text(text)
    init = init_section(mp4.read(MEDIA / "audio_8k.m4a").tracks[0])
    (tmp_path / "init.mp4").write_bytes(encrypt(init, 0))
    with pytest.raises(VerifyError, match="has the key and IV of"):
        verify([MEDIA / "audio_8k.m4a"], playlist)


def test_shifted_sound_fails(tmp_path: Path) -> None:
    """The file is honest, the output's sound is 5 ms late."""
    clip = MEDIA / "plain.mp4"
    parts = segments_of(clip, Fraction(2))
    late = Fraction(5, 1000)

    def moved(unit: Unit) -> Unit:
        if unit.track.handler != "soun":
            return unit
        samples = [replace(s, pts=s.pts + late, dts=s.dts + late) for s in unit.track.samples]
        return replace(unit, track=replace(unit.track, samples=samples))

    playlist = package(clip, tmp_path, key=False)
    writer = TsWriter()
    for n, part in enumerate(parts):
        (tmp_path / f"{n}.ts").write_bytes(writer.segment([moved(unit) for unit in part]))
    with pytest.raises(VerifyError, match="shifted against each other"):
        verify([clip], playlist)
    verify([clip], playlist, lenient=True)


@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
def test_sound_in_the_wrong_segment_fails(tmp_path: Path, early: bool) -> None:
    clip = MEDIA / "plain.mp4"
    playlist = package(clip, tmp_path, key=False)
    parts = segments_of(clip, Fraction(2))
    giver, taker = (0, 1) if early else (1, 0)
    sounds = [unit for unit in parts[giver] if unit.track.handler == "soun"]
    moved = sounds[-9:] if early else sounds[:9]
    parts[giver] = [unit for unit in parts[giver] if unit not in moved]
    at = 1 if early else len(parts[taker])
    parts[taker][at:at] = moved
    # A second ahead: the clock has passed none of them.
    writer = TsWriter(90_000)
    for n, part in enumerate(parts):
        (tmp_path / f"{n}.ts").write_bytes(writer.segment(part))
    with pytest.raises(VerifyError, match="sound begins" if early else "past the segment's end"):
        verify([clip], playlist)


def rewrite(out: Path, change: Callable[[bytearray], None]) -> None:
    data = bytearray((out / "1.ts").read_bytes())
    change(data)
    (out / "1.ts").write_bytes(data)


def late_pcr(data: bytearray) -> None:
    """Takes three PCRs out of the middle, where they stand 40 ms apart."""
    clocks = [at for at in range(0, len(data), 188) if data[at + 3] & 0x20 and data[at + 5] & 0x10]
    for at in clocks[10:13]:
        data[at + 5] &= ~0x10
        data[at + 6 : at + 12] = b"\xff" * 6


def future_pcr(data: bytearray) -> None:
    """Moves all clocks of the segment on by 22 ms, so that pictures are due before them."""
    for at in range(376, len(data), 188):
        if data[at + 3] & 0x20 and data[at + 5] & 0x10:
            clock = int.from_bytes(data[at + 6 : at + 12], "big") + (1980 << 15)
            data[at + 6 : at + 12] = clock.to_bytes(6, "big")


def early_dts(data: bytearray) -> None:
    """Has the second picture that is decoded before it is shown decoded two ticks earlier."""
    begins = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40 and data[at + 3] & 0x10]
    heads = [at + 4 + (data[at + 3] >> 5 & 1) * (1 + data[at + 4]) for at in begins]
    at = [
        head for head in heads if data[head : head + 4] == b"\0\0\1\xe0" and data[head + 7] & 0x40
    ][1]
    data[at + 18] -= 4


def no_stuffing(data: bytearray) -> None:
    at = next(a for a in range(376, len(data), 188) if data[a + 3] & 0x20 and data[a + 4] > 20)
    data[at + 4 + data[at + 4]] = 0


def wrong_crc(data: bytearray) -> None:
    data[20] ^= 1


def wrong_counter(data: bytearray) -> None:
    data[188 * 5 + 3] ^= 1


def no_tables(data: bytearray) -> None:
    del data[:376]


def late_tables(data: bytearray) -> None:
    data[:] = data[376:] + data[:376]


def reserved_bits(data: bytearray) -> None:
    data[376 + 10] &= ~0x02


BREACHES: list[tuple[Callable[[bytearray], None], str]] = [
    (late_pcr, "PCR 160.0 ms after"),
    (early_dts, r"is decoded -0\.022 ms off"),
    (future_pcr, "before the PCR"),
    (no_stuffing, "stuffing"),
    (wrong_crc, "CRC"),
    (wrong_counter, "continuity"),
    (no_tables, "no packet with PID 0x0"),
    (late_tables, "begins with PAT and PMT"),
    (reserved_bits, "reserved bits"),
]


@pytest.mark.parametrize(("breach", "what"), BREACHES, ids=[b.__name__ for b, _ in BREACHES])
def test_a_breach_of_the_transport_fails(
    tmp_path: Path, breach: Callable[[bytearray], None], what: str
) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path, key=False)
    rewrite(tmp_path, breach)
    with pytest.raises(VerifyError, match=what):
        verify([MEDIA / "plain.mp4"], playlist)


def fmp4_rewrite(out: Path, find: bytes, at: int, new: bytes) -> None:
    """Writes `new` into segment 1, `at` bytes behind the first `find`."""
    data = bytearray((out / "1.m4s").read_bytes())
    place = data.index(find) + at
    data[place : place + len(new)] = new
    (out / "1.m4s").write_bytes(data)


def later_tfdt(out: Path) -> None:
    fmp4_rewrite(out, b"tfdt", 11, b"\xee")


def other_sequence(out: Path) -> None:
    fmp4_rewrite(out, b"mfhd", 8, struct.pack(">I", 9))


def gap_in_mdat(out: Path) -> None:
    fmp4_rewrite(out, b"trun", 12, b"\0\0\0\0")


def longer_mdat(out: Path) -> None:
    data = (out / "1.m4s").read_bytes()
    at = data.index(b"mdat") - 4
    size = int.from_bytes(data[at : at + 4], "big") + 1
    (out / "1.m4s").write_bytes(data[:at] + struct.pack(">I", size) + data[at + 4 :] + b"\0")


def trailing_bytes(out: Path) -> None:
    (out / "1.m4s").write_bytes((out / "1.m4s").read_bytes() + bytes(4))


def box_at_the_end(out: Path) -> None:
    (out / "1.m4s").write_bytes((out / "1.m4s").read_bytes() + b"\0\0\0\x08free")


def marked_as_key(out: Path) -> None:
    fmp4_rewrite(out, b"trun", 40, struct.pack(">I", 0x2000000))


def other_init(out: Path) -> None:
    (out / "new.mp4").write_bytes((out / "init.mp4").read_bytes())
    edit(out, "#EXTINF:2.000000,\n1.m4s", '#EXT-X-MAP:URI="new.mp4"\n#EXTINF:2.000000,\n1.m4s')


FRAGMENT_BREACHES: list[tuple[Callable[[Path], None], str]] = [
    (later_tfdt, "tfdt .* is due"),
    (other_sequence, "mfhd 9 follows 1"),
    (gap_in_mdat, "is in no sample|runs out"),
    (longer_mdat, "longer or shorter"),
    (trailing_bytes, "byte"),
    (box_at_the_end, "styp, moof, mdat"),
    (marked_as_key, "marked as a key frame"),
    (other_init, "EXT-X-DISCONTINUITY"),
]


@pytest.mark.parametrize(
    ("breach", "what"), FRAGMENT_BREACHES, ids=[b.__name__ for b, _ in FRAGMENT_BREACHES]
)
def test_a_breach_of_the_fragments_fails(
    tmp_path: Path, breach: Callable[[Path], None], what: str
) -> None:
    playlist = package(MEDIA / "ladder_90.mp4", tmp_path, fmp4=True, key=False)
    verify([MEDIA / "ladder_90.mp4"], playlist)
    breach(tmp_path)
    with pytest.raises(VerifyError, match=what):
        verify([MEDIA / "ladder_90.mp4"], playlist)


def test_independent_segments_begin_with_an_idr(tmp_path: Path) -> None:
    """open_gop's recovery points are sync samples, but no IDR pictures."""
    playlist = package(MEDIA / "open_gop.mp4", tmp_path, key=False)
    with pytest.raises(VerifyError, match="INDEPENDENT-SEGMENTS without an IDR"):
        verify([MEDIA / "open_gop.mp4"], playlist)
    edit(tmp_path, "#EXT-X-INDEPENDENT-SEGMENTS\n", "")
    verify([MEDIA / "open_gop.mp4"], playlist)


def test_two_periods_with_one_key_fail(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    (tmp_path / "1.key").write_bytes(KEY)
    new = '#EXT-X-KEY:METHOD=AES-128,URI="1.key"\n'
    edit(tmp_path, "#EXTINF:2.000000,\n2.ts", f"{new}#EXTINF:2.000000,\n2.ts")
    with pytest.raises(VerifyError, match="the same key as"):
        verify([MEDIA / "plain.mp4"], playlist)


def test_keys_elsewhere_are_found_by_name(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path / "out")
    (tmp_path / "keys").mkdir()
    (tmp_path / "out" / "0.key").rename(tmp_path / "keys" / "0.key")
    edit(tmp_path / "out", '"0.key"', '"https://keys.example/film/0.key?v=1"')
    assert verify([MEDIA / "plain.mp4"], playlist, keys=tmp_path / "keys").encrypted
    with pytest.raises(VerifyError, match=r"key https:\S+ lies elsewhere: --key-dir says where"):
        verify([MEDIA / "plain.mp4"], playlist)
    edit(tmp_path / "out", "film/0.key?v=1", "key?film=7&name=0.key")
    assert verify([MEDIA / "plain.mp4"], playlist, keys=tmp_path / "keys").encrypted
    edit(tmp_path / "out", "https://keys.example/key?film=7&name=0.key", "0.key")
    with pytest.raises(VerifyError, match=r"0\.key: No such file; .* --key-dir says which"):
        verify([MEDIA / "plain.mp4"], playlist)


@FORMS
def test_messages_give_the_films_time(tmp_path: Path, fmp4: bool) -> None:
    """Not the output's, which begins ten seconds later."""
    clip = MEDIA / ("audio_48k.m4a" if fmp4 else "intra.mp4")
    package(clip, tmp_path, fmp4=fmp4, key=False)
    segment = tmp_path / ("1.m4s" if fmp4 else "1.ts")
    data = segment.read_bytes()
    later = segments_of(clip, Fraction(2))[1][20:]
    unit = next(unit for unit in later if data.count(unit.data[8:40]) == 1)
    spoil(segment, data.index(unit.data[8:40]))
    with pytest.raises(VerifyError) as caught:
        verify([clip], tmp_path / "index.m3u8")
    found = re.search(r"\(at (\S+) s of the film\) differs from sample (\d+)", caught.value.what)
    assert found is not None, caught.value.what
    assert int(found[2]) == unit.index
    assert float(found[1]) == pytest.approx(float(unit.sample.pts), abs=2 / 90_000)


def test_what_is_no_playlist_is_called_so(tmp_path: Path) -> None:
    for name, data in {"film.mp4": (MEDIA / "plain.mp4").read_bytes(), "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(VerifyError) as caught:
            verify([MEDIA / "plain.mp4"], tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.what == "this is no playlist: it does not begin with #EXTM3U"
    (tmp_path / "text").write_text("no film at all")
    with pytest.raises(VerifyError, match=r"text: cannot be compared with: .* this is no MP4 file"):
        verify([tmp_path / "text"], tmp_path / "empty")


@pytest.mark.parametrize("ranges", [False, True])
def test_progress_ends_with_all_that_the_playlists_name(tmp_path: Path, ranges: bool) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    parts = [tmp_path / f"{n}.ts" for n in range(3)]
    sizes = [part.stat().st_size for part in parts]
    if ranges:
        (tmp_path / "all.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
        for n, part in enumerate(parts):
            extent = f"#EXT-X-BYTERANGE:{sizes[n]}@{sum(sizes[:n])}"
            edit(tmp_path, f"\n{n}.ts", f"\n{extent}\nall.ts")
            part.unlink()
        write(playlist, playlist.read_text().splitlines())
    said: list[tuple[int, int]] = []
    verify([MEDIA / "plain.mp4"], playlist, progress=lambda *both: said.append(both))
    assert said == [(sum(sizes[: n + 1]), sum(sizes)) for n in range(3)]


def test_a_report_counts_one_thing_as_one(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path / "many", every=Fraction(2))
    assert "3 segments in 1 playlist (" in str(verify([MEDIA / "plain.mp4"], playlist))
    playlist = package(MEDIA / "plain.mp4", tmp_path / "one", every=Fraction(9))
    assert "1 segment in 1 playlist (" in str(verify([MEDIA / "plain.mp4"], playlist))


def test_byte_ranges_are_read(tmp_path: Path) -> None:
    """Other packagers keep all segments in one file."""
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    whole = b""
    for n in range(3):
        part = (tmp_path / f"{n}.ts").read_bytes()
        edit(tmp_path, f"{n}.ts", f"#EXT-X-BYTERANGE:{len(part)}@{len(whole)}\nall.ts")
        whole += part
    (tmp_path / "all.ts").write_bytes(whole)
    assert verify([MEDIA / "plain.mp4"], playlist, lenient=True).samples == 433


def ladder(out: Path) -> tuple[list[Path], Path]:
    """Three renditions of pictures and one of sound, under a multivariant playlist."""
    names = ["ladder_audio.m4a", "ladder_90.mp4", "ladder_180.mp4", "ladder_270.mp4"]
    folders = [out / name.split(".")[0] for name in names]
    rates = []
    for name, folder in zip(names, folders, strict=True):
        parsed = playlists.parse(package(MEDIA / name, folder, fmp4=True, key=False).read_text())
        assert isinstance(parsed, playlists.MediaPlaylist)
        sizes = [(folder / segment.uri).stat().st_size for segment in parsed.segments]
        durations = [segment.duration_us for segment in parsed.segments]
        peak = planner.peak_bps(sizes, durations, parsed.target_duration)
        rates.append((peak, planner.average_bps(sizes, durations)))
    lines = ["#EXTM3U", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines.append('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="audio",CHANNELS="2",')
    lines[-1] += 'URI="ladder_audio/index.m3u8"'
    levels = ["64000b", "64000c", "640015"]
    shapes = ["160x90", "320x180", "480x270"]
    for n, (level, size) in enumerate(zip(levels, shapes, strict=True), 1):
        peak, average = (rates[0][i] + rates[n][i] for i in (0, 1))
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},AUDIO="
            f'"a",CODECS="avc1.{level},mp4a.40.2",RESOLUTION={size},FRAME-RATE=25.000'
        )
        lines.append(f"{folders[n].name}/index.m3u8")
    write(out / "index.m3u8", lines)
    return [MEDIA / name for name in names], out / "index.m3u8"


def test_a_ladder_passes_whole_and_fails_in_part(tmp_path: Path) -> None:
    sources, playlist = ladder(tmp_path)
    report = verify(sources, playlist)
    assert (report.playlists, report.samples) == (4, 3 * 200 + 346)
    text = playlist.read_text()
    playlist.write_text(text.replace("ladder_90/", "ladder_180/"))
    with pytest.raises(VerifyError, match=r"nothing of .*ladder_90"):
        verify(sources, playlist)
    playlist.write_text(text)
    edit(tmp_path / "ladder_90", "TARGETDURATION:2", "TARGETDURATION:3")
    with pytest.raises(VerifyError, match="target durations differ"):
        verify(sources, playlist)
    edit(tmp_path / "ladder_90", "TARGETDURATION:3", "TARGETDURATION:2")
    edit(tmp_path / "ladder_90", "2.m4s", "2.m4s\n#EXT-X-DISCONTINUITY")
    with pytest.raises(VerifyError, match=r"discontinuity sequence number 0 at .* a higher one"):
        verify(sources, playlist)
    edit(tmp_path / "ladder_90", "#EXT-X-DISCONTINUITY\n", "")
    # The numbers have to match, wherever they begin.
    for name in ("90", "180", "270", "audio"):
        folder = tmp_path / f"ladder_{name}"
        edit(folder, "SEQUENCE:0\n", "SEQUENCE:0\n#EXT-X-DISCONTINUITY-SEQUENCE:7\n")
    verify(sources, playlist)


def packaged(clip: Path, out: Path, format: str) -> Path:
    """The command's own output; returns the multivariant playlist."""
    options = ["-o", str(out), "--format", format, "--segment-duration", "2"]
    assert main(["package", str(clip), *options]) == 0
    verify([clip], out / "index.m3u8")
    return out / "index.m3u8"


def untold_change(out: Path) -> None:
    edit(out / "v0", "#EXT-X-DISCONTINUITY\n", "")


def change_inside(out: Path) -> None:
    two = [(out / "v0" / f"{n}.ts") for n in (1, 2)]
    two[0].write_bytes(two[0].read_bytes() + two[1].read_bytes())
    two[1].unlink()
    edit(out / "v0", "#EXTINF:2.000000,\n1.ts\n#EXT-X-DISCONTINUITY\n", "#EXTINF:4.000000,\n1.ts\n")
    edit(out / "v0", "#EXTINF:2.000000,\n2.ts\n", "")
    edit(out / "v0", "TARGETDURATION:2", "TARGETDURATION:4")


def higher_number(out: Path) -> None:
    edit(out / "a0", "#EXT-X-TARGET", "#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-TARGET")


def one_more(out: Path) -> None:
    edit(out / "a0", "#EXT-X-DISCONTINUITY\n", "#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY\n")


def one_late(out: Path) -> None:
    edit(out / "a0", "1.m4s\n#EXT-X-DISCONTINUITY\n", "1.m4s\n")
    edit(out / "a0", "2.m4s\n", "2.m4s\n#EXT-X-DISCONTINUITY\n")


def other_map(out: Path) -> None:
    edit(out / "a0", "init-1.mp4", "init.mp4")


@pytest.mark.parametrize(
    ("clip", "format", "damage", "what"),
    [
        ("two_sounds.mp4", "ts", untold_change, "another decoder configuration, and no EXT-X-DISC"),
        ("two_sounds.mp4", "ts", change_inside, "another decoder configuration, and no EXT-X-DISC"),
        (
            "two_sounds.mp4",
            "fmp4",
            higher_number,
            r"sequence number 0 .* a higher one from -0\.021",
        ),
        ("two_sounds.mp4", "fmp4", one_more, r"sequence number 1 .* a higher one from 3\.989"),
        (
            "two_entries.mp4",
            "fmp4",
            one_late,
            r"sequence number 0 at 5\.\d* s of the film, and .* from 4\.000",
        ),
        ("two_sounds.mp4", "fmp4", other_map, "another decoder configuration than the source's"),
    ],
)
def test_a_change_that_playlists_get_wrong_fails(
    tmp_path: Path, clip: str, format: str, damage: Callable[[Path], None], what: str
) -> None:
    out = tmp_path / "out"
    playlist = packaged(MEDIA / clip, out, format)
    damage(out)
    with pytest.raises(VerifyError, match=what):
        verify([MEDIA / clip], playlist)


def test_another_size_to_show_the_picture_at_fails(tmp_path: Path) -> None:
    clip = MEDIA / "anamorphic.mp4"
    playlist = packaged(clip, tmp_path / "out", "fmp4")
    init = tmp_path / "out" / "v0" / "init.mp4"
    good = init.read_bytes()
    sizes = good.index(b"tkhd") + 4 + 76
    for at in range(sizes, sizes + 8):
        spoil(init, at)
        with pytest.raises(VerifyError, match="tkhd"):
            verify([clip], playlist)
        init.write_bytes(good)
    verify([clip], playlist)


def test_lenient_takes_no_offence_at_another_style(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path)
    stale(tmp_path)
    wrong_extinf(tmp_path)
    assert verify([MEDIA / "plain.mp4"], playlist, lenient=True).samples == 433


def tables_stuffed_in_front(data: bytearray) -> None:
    """As some packagers do it: stuffing in an adaptation field, the section at the packet's end."""
    for at in (0, 188):
        table = data[at + 4 : at + 188]
        section = table[: 4 + (int.from_bytes(table[2:4], "big") & 0xFFF)]
        room = 183 - len(section)
        data[at + 3] |= 0x20
        data[at + 4 : at + 188] = bytes([room, 0]).ljust(room + 1, b"\xff") + section


def test_only_lenient_skips_an_adaptation_field_before_a_table(tmp_path: Path) -> None:
    playlist = package(MEDIA / "plain.mp4", tmp_path, key=False)
    rewrite(tmp_path, tables_stuffed_in_front)
    assert verify([MEDIA / "plain.mp4"], playlist, lenient=True).samples == 433
    with pytest.raises(VerifyError, match="adaptation field before the table"):
        verify([MEDIA / "plain.mp4"], playlist)


# Output of pystream


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ts", "fmp4"])
def test_damage_to_the_packaged_sample_fails(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    flags = ["--format", kind, "--encrypt", "aes-128"]
    assert main(["package", str(SAMPLE), "-o", str(out), *flags]) == 0
    report = verify([SAMPLE], out / "index.m3u8")
    assert report.encrypted
    assert report.samples == sum(len(track.samples) for track in mp4.read(SAMPLE).tracks)
    chance = random.Random(9)
    for file in sorted(f for f in out.rglob("*") if f.is_file() and f.suffix != ".m3u8"):
        good = file.read_bytes()
        for at in {0, len(good) - 1, *chance.sample(range(len(good)), 3)}:
            spoil(file, at, chance.randrange(8))
            with pytest.raises(VerifyError):
                verify([SAMPLE], out / "index.m3u8")
            file.write_bytes(good)
        file.unlink()
        with pytest.raises(VerifyError, match="No such file"):
            verify([SAMPLE], out / "index.m3u8")
        file.write_bytes(good)
    verify([SAMPLE], out / "index.m3u8")


# Of EXTINF's microseconds those that are less than a tick of a transport stream.
FINE = re.compile(rb"EXTINF:\d+\.\d{4}(\d\d)|FRAME-RATE=\d+\.\d\d(\d)")


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
def test_damage_to_any_byte_of_a_playlist_fails(tmp_path: Path, kind: str) -> None:
    clips = [MEDIA / "ladder_90.mp4", MEDIA / "audio_8k.m4a"]
    out = tmp_path / "out"
    flags = ["--format", kind, "--encrypt", "aes-128", "--segment-duration", "4"]
    assert main(["package", *map(str, clips), "-o", str(out), *flags]) == 0
    segments = [file for file in out.rglob("*.*") if file.stem.isdigit()]
    report = verify(clips, out / "index.m3u8")
    assert report.bytes == sum(file.stat().st_size for file in segments)
    chance = random.Random(12)
    for file in sorted(out.rglob("*.m3u8")):
        good = file.read_bytes()
        fine = {at for m in FINE.finditer(good) for group in (1, 2) for at in range(*m.span(group))}
        places = [at for at in range(len(good)) if at not in fine]
        for at in chance.sample(places, 40):
            spoil(file, at, chance.randrange(8))
            with pytest.raises(VerifyError):
                verify(clips, out / "index.m3u8")
            file.write_bytes(good)
    verify(clips, out / "index.m3u8")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("BANDWIDTH=", "BANDWIDTH=1", "BANDWIDTH is"),
        ("AVERAGE-BANDWIDTH=", "AVERAGE-BANDWIDTH=1", "AVERAGE-BANDWIDTH is"),
        ("avc1.64000b", "avc1.64000c", "CODECS is"),
        (",mp4a.40.2", "", "CODECS is"),
        ("RESOLUTION=160x90", "RESOLUTION=160x92", "RESOLUTION is"),
        ("FRAME-RATE=25.000", "FRAME-RATE=24.000", "FRAME-RATE is"),
        ('CHANNELS="1"', 'CHANNELS="2"', "CHANNELS is"),
        ('NAME="audio"', 'NAME="en"', "NAME is"),
        ('NAME="audio",', 'NAME="de",LANGUAGE="de",', "LANGUAGE is"),
        ("#EXT-X-INDEPENDENT-SEGMENTS\n", "", "in some of the playlists only"),
        ("#EXTM3U\n", "#EXTM3U\n#EXT-X-TRIFLE\n", "line 2 means nothing"),
    ],
)
def test_what_a_multivariant_playlist_says_is_worked_out_again(
    tmp_path: Path, old: str, new: str, what: str
) -> None:
    clips = [MEDIA / "ladder_90.mp4", MEDIA / "audio_8k.m4a"]
    arguments = ["package", *map(str, clips), "-o", str(tmp_path / "out"), "--format", "fmp4"]
    assert main(arguments) == 0
    edit(tmp_path / "out", old, new)
    with pytest.raises(VerifyError, match=what):
        verify(clips, tmp_path / "out" / "index.m3u8")


# Output of ffmpeg


def ffmpeg_hls(clip: Path, out: Path, *flags: str) -> Path:
    out.mkdir()
    (out / "0.key").write_bytes(KEY)
    (out / "info").write_text(f"0.key\n{out}/0.key\n{'07' * 16}\n")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(clip),
        "-c",
        "copy",
        "-f",
        "hls",
        "-hls_time",
        "2",
    ]
    command += ["-hls_playlist_type", "vod", *flags, str(out / "index.m3u8")]
    subprocess.run(command, check=True, cwd=out)
    return out / "index.m3u8"


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("name", ["plain.mp4", "fps_8.mp4", "open_gop.mp4", "aud_all.mp4"])
def test_ffmpegs_output_is_read_leniently(tmp_path: Path, name: str) -> None:
    clip = MEDIA / name
    kinds = {
        "ts": (),
        "aes": ("-hls_key_info_file", "info"),
        "fmp4": ("-hls_segment_type", "fmp4"),
    }
    count = sum(len(track.samples) for track in mp4.read(clip).tracks)
    for kind, flags in kinds.items():
        playlist = ffmpeg_hls(clip, tmp_path / kind, *flags)
        report = verify([clip], playlist, lenient=True)
        assert report.samples == count
        assert report.encrypted == (kind == "aes")
        segment = next(file for file in playlist.parent.iterdir() if file.stem == "index1")
        spoil(segment, segment.stat().st_size // 2)
        with pytest.raises(VerifyError):
            verify([clip], playlist, lenient=True)


# The oracles


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_the_mp4_oracle_agrees_with_ffprobe(clip: Path) -> None:
    command = ["ffprobe", "-v", "quiet", "-show_packets", "-show_streams", "-of", "json", str(clip)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    movie = mp4.read(clip)
    assert movie.truncated == (clip.stem == "fragmented_cut")
    assert movie.fragmented == clip.stem.startswith("fragmented")
    for stream, track in zip(told["streams"], movie.tracks, strict=True):
        base = Fraction(stream["time_base"])
        packets = [p for p in told["packets"] if p["stream_index"] == stream["index"]]
        theirs = [(int(p["pos"]), int(p["size"]), p["pts"], p["flags"][0] == "K") for p in packets]
        if clip.stem == "no_stss":
            # ffprobe looks into the pictures; the tables say that all are key frames.
            theirs = [(*told[:3], True) for told in theirs]
        ours = [(s.offset, s.size, s.pts / base, s.sync) for s in track.samples]
        if clip.stem == "fragmented_cut":
            # ffprobe goes on into the fragment that is not whole.
            theirs = theirs[: len(ours)]
        assert ours == theirs


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_the_verifier_and_the_oracle_walk_alike(clip: Path) -> None:
    with clip.open("rb", buffering=0) as file:
        mine = {track.id: track for track in read_source(clip, file)}
    for track in mp4.read(clip).tracks:
        if track.id not in mine:
            assert track.codecs[0] not in ("avc1", "avc3")
            continue
        walked = mine.pop(track.id)
        seen = zip(
            walked.offset.tolist(),
            walked.bytes.tolist(),
            [Fraction(int(pts), walked.scale) for pts in walked.pts],
            walked.sync.astype(bool).tolist(),
            walked.entry.tolist(),
            strict=True,
        )
        zero = track.samples[0].pts - Fraction(int(walked.pts[0]), walked.scale)
        assert list(seen) == [
            (s.offset, s.size, s.pts - zero, s.sync, s.entry) for s in track.samples
        ]
        assert walked.origin == pytest.approx(float(zero), abs=1e-9)
    assert not mine


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_boxes_print_what_they_read(clip: Path) -> None:
    data = clip.read_bytes()
    if clip.stem == "fragmented_cut":
        with pytest.raises(ValueError, match="does not end"):
            boxes.parse(data)
        return
    assert b"".join(bytes(box) for box in boxes.parse(data)) == data


def test_the_box_writer_writes_what_the_oracle_reads(tmp_path: Path) -> None:
    entry = boxes.aac_entry(b"\x11\x90", 48000, 2)
    samples = [boxes.Sample(bytes([i]) * (i + 1), 1024, 0, i % 5 == 0) for i in range(15)]
    track = boxes.Track("soun", 48000, [entry], samples, "deu", edits=[(100, -1), (320, 1024)])
    for bits in (0, 4, 8, 16):
        track.compact_sizes = bits
        track.samples = samples[:14] if bits == 4 else samples
        for wide in (False, True):
            path = tmp_path / "a.m4a"
            movie = boxes.Movie([track], moov_first=wide, offsets_64=wide, mdat_64=wide)
            path.write_bytes(bytes(movie))
            (read,) = mp4.read(path).tracks
            data = path.read_bytes()
            assert [data[s.offset :][: s.size] for s in read.samples] == [
                sample.data for sample in track.samples
            ]
            assert [s.sync for s in read.samples] == [s.sync for s in track.samples]
            assert read.samples[1].pts == Fraction(1, 10)
            assert (read.language, read.configs) == ("deu", [b"\x11\x90"])


def test_a_sparse_film_reads_as_it_was_meant(tmp_path: Path) -> None:
    (video, _) = mp4.read(MEDIA / "plain.mp4").tracks
    head = struct.pack(">6xH16xHHIIIH32xHh", 1, 256, 144, 0x480000, 0x480000, 0, 1, 0x18, -1)
    entry = boxes.Box(b"avc1", head, [boxes.Box(b"avcC", video.configs[0])])
    track = boxes.Track("vide", 12800, [entry], [], width=256, height=144)
    path = tmp_path / "film.mp4"
    size = boxes.write_sparse(path, track, 10_001, 48, [4000, 300, 200, 100, 90], 512)
    assert path.stat().st_size == size
    (read,) = mp4.read(path).tracks
    assert len(read.samples) == 10_001
    assert read.samples[-1].offset + read.samples[-1].size == size
    assert sorted(s.pts for s in read.samples)[:3] == [Fraction(n * 512, 12800) for n in (2, 3, 4)]
    keys = [sample for sample in read.samples if sample.sync]
    assert len(keys) == 209
    with path.open("rb") as file:
        for key in keys:
            file.seek(key.offset)
            assert file.read(5) == struct.pack(">IB", key.size - 4, 0x65)


def test_every_clip_is_made_by_the_script() -> None:
    text = (MEDIA / "make.py").read_text()
    assert all(f'"{clip.name}"' in text for clip in CLIPS)
    assert sum(clip.stat().st_size for clip in CLIPS if clip != SAMPLE) < 3_000_000


def without_count(data: bytes) -> bytes:
    at = data.rindex(b"stsd") + 8
    assert data[at : at + 4] == (1).to_bytes(4)
    return data[:at] + bytes(4) + data[at + 4 :]


def without_stsd(data: bytes) -> bytes:
    at = data.rindex(b"stsd")
    return data[:at] + b"free" + data[at + 4 :]


def with_a_first_picture_that_is_none(data: bytes) -> bytes:
    (video, _) = mp4.read(MEDIA / "audio_longer.mp4").tracks
    at = video.samples[0].offset
    return data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :]


@pytest.mark.parametrize("format", ["ts", "fmp4"])
@pytest.mark.parametrize("spoil", [without_count, without_stsd, with_a_first_picture_that_is_none])
def test_what_a_damaged_source_has_left_is_packaged_and_found(
    tmp_path: Path, format: str, spoil: Callable[[bytes], bytes]
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(spoil((MEDIA / "audio_longer.mp4").read_bytes()))
    packaged(clip, tmp_path / "out", format)
