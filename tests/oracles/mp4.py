"""A naive MP4 demuxer: what each track holds, sample by sample, as the standard's text says it.

An oracle for the Rust reader, so it shares nothing with it and keeps every table expanded.
Clauses are those of ISO/IEC 14496-12. Files that lie make it raise whatever Python raises.

Times are seconds on the presentation line (8.6.6): a leading empty edit moves a track later, the
first media edit's media_time becomes the edit's begin. No sample is hidden: `shown` says which
stretch of the line the edits present, and what lies outside is the reader's to judge.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from .boxes import Box, parse

NON_SYNC = 0x10000  # sample_is_non_sync_sample, 8.8.3.1


@dataclass(frozen=True)
class Sample:
    """Where a sample lies and when it is due. `dts`, `pts`, `duration` are seconds."""

    offset: int
    size: int
    dts: Fraction
    pts: Fraction
    duration: Fraction
    sync: bool
    entry: int


@dataclass
class Track:
    """One track. `codecs` and `configs` have a member for each sample entry: its four-character
    code, and the AVCDecoderConfigurationRecord or AudioSpecificConfig (empty for others)."""

    id: int
    handler: str
    timescale: int
    language: str
    codecs: list[str]
    configs: list[bytes]
    samples: list[Sample] = field(default_factory=list)
    shown: tuple[Fraction, Fraction | None] = (Fraction(0), None)


@dataclass
class Movie:
    """All tracks of a file. `truncated`: the last fragment is not whole and was left out."""

    tracks: list[Track]
    fragmented: bool
    truncated: bool


@dataclass
class Raw:
    """A sample in media ticks, before edits."""

    offset: int
    size: int
    dts: int
    delta: int
    duration: int
    sync: bool
    entry: int


def read(path: Path) -> Movie:
    """Reads a whole file's index."""
    with path.open("rb") as file:
        tops = top_level(file, path.stat().st_size)
        moov = next(parse(body)[0] for kind, _, body in tops if kind == b"moov")
        raws = {track_id(trak): table_samples(trak) for trak in moov.all("trak")}
        truncated = any(kind == b"cut!" for kind, _, _ in tops)
        fragmented = any(moov.all("mvex"))
        if fragmented:
            trexes = {t[0]: t for t in (u32s(b.head[4:]) for b in moov.all("mvex/trex"))}
            end = path.stat().st_size
            for kind, at, body in tops:
                if kind != b"moof":
                    continue
                found = fragment(parse(body)[0], at, trexes, raws)
                if any(raw.offset + raw.size > end for new in found.values() for raw in new):
                    truncated = True
                    break
                for number, new in found.items():
                    raws[number] += new
    tracks = [presented(trak, moov, raws[track_id(trak)]) for trak in moov.all("trak")]
    return Movie(tracks, fragmented, truncated)


def top_level(file: BinaryIO, end: int) -> list[tuple[bytes, int, bytes]]:
    """(type, offset, whole box) of the file's boxes; only moov and moof come with their bytes.

    A box that runs past the file's end closes the list under the type `cut!`, unless it is a mdat,
    whose samples tell for themselves whether they are there.
    """
    found = []
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, 8)
        if size == 0:
            size = end - at
        if at + size > end:
            found.append((b"cut!", at, b""))
            break
        file.seek(at)
        found.append((kind, at, file.read(size) if kind in (b"moov", b"moof") else b""))
        at += size
    return found


def u32s(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(data) // 4}I", data[: len(data) // 4 * 4])


def track_id(trak: Box) -> int:
    head = trak.get("tkhd").head
    return u32s(head)[5 if head[0] else 3]


def table_samples(trak: Box) -> list[Raw]:
    """The samples in stbl: 8.6.1 (times), 8.7.3 (sizes), 8.7.4 (chunks), 8.7.5 (offsets)."""
    stbl = trak.get("mdia/minf/stbl")
    sizes = sample_sizes(stbl)
    durations = [d for n, d in pairs(stbl.get("stts")) for _ in range(n)]
    deltas = [0] * len(sizes)
    for ctts in stbl.all("ctts"):
        # Version 0 is unsigned by the letter; muxers write signed values into it all the same.
        deltas = [d - (d >> 31 << 32) for n, d in pairs(ctts) for _ in range(n)]
    sync = {*range(1, len(sizes) + 1)}
    for stss in stbl.all("stss"):
        sync = set(u32s(stss.head[8:]))
    offsets: list[int] = []
    for box in stbl.all("stco"):
        offsets = list(u32s(box.head[8:]))
    for box in stbl.all("co64"):
        offsets = list(struct.unpack(f">{len(box.head) // 8 - 1}Q", box.head[8:]))
    rows = list(zip(*[iter(u32s(stbl.get("stsc").head[8:]))] * 3, strict=True))
    samples: list[Raw] = []
    dts = 0
    for chunk, at in enumerate(offsets, 1):
        row = [row for row in rows if row[0] <= chunk][-1] if len(rows) < 50 else find(rows, chunk)
        for _ in range(row[1]):
            n = len(samples)
            if n == len(sizes):
                break
            samples.append(
                Raw(at, sizes[n], dts, deltas[n], durations[n], n + 1 in sync, row[2] - 1)
            )
            at += sizes[n]
            dts += durations[n]
    return samples


def find(rows: list[tuple[int, ...]], chunk: int) -> tuple[int, ...]:
    """The stsc row that covers a chunk, by halving: films have thousands of rows and chunks."""
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rows[middle][0] <= chunk else (low, middle)
    return rows[low]


def pairs(box: Box) -> list[tuple[int, int]]:
    numbers = u32s(box.head[8:])
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def sample_sizes(stbl: Box) -> list[int]:
    for box in stbl.all("stsz"):
        _, same, count, *sizes = u32s(box.head)
        return [same] * count if same else sizes[:count]
    head = stbl.get("stz2").head
    bits, (count,), data = head[7], u32s(head[8:12]), head[12:]
    if bits == 4:
        return [n for byte in data for n in (byte >> 4, byte & 15)][:count]
    return list(struct.unpack_from(f">{count}{'BH'[bits == 16]}", data))


def fragment(
    moof: Box, at: int, trexes: dict[int, tuple[int, ...]], raws: dict[int, list[Raw]]
) -> dict[int, list[Raw]]:
    """The samples of one movie fragment (8.8.4 to 8.8.8), by track."""
    found: dict[int, list[Raw]] = {}
    data_end = at
    for traf in moof.all("traf"):
        head = traf.get("tfhd").head
        flags, fields = u32s(head)[0] & 0xFFFFFF, Fields(head[4:])
        number = fields.u32()
        _, entry, duration, size, sample_flags = trexes[number]
        # 8.8.7.1: explicit, or the moof's first byte, or (not the first traf) the end of the
        # data of the traf before.
        base = fields.u64() if flags & 1 else at if flags & 0x20000 or not found else data_end
        entry = fields.u32() if flags & 2 else entry
        duration = fields.u32() if flags & 8 else duration
        size = fields.u32() if flags & 0x10 else size
        sample_flags = fields.u32() if flags & 0x20 else sample_flags
        mine = found.setdefault(number, [])
        before = [*raws[number], *mine][-1:]
        dts = before[0].dts + before[0].duration if before else 0
        for tfdt in traf.all("tfdt"):
            dts = Fields(tfdt.head[4:]).u64() if tfdt.head[0] else u32s(tfdt.head)[1]
        place = base
        for trun in traf.all("trun"):
            version, run = trun.head[0], u32s(trun.head)[0]
            fields = Fields(trun.head[4:])
            count = fields.u32()
            if run & 1:
                place = base + fields.i32()
            first_flags = fields.u32() if run & 4 else None
            for k in range(count):
                length = fields.u32() if run & 0x100 else duration
                bytes_ = fields.u32() if run & 0x200 else size
                bits = fields.u32() if run & 0x400 else sample_flags
                if k == 0 and first_flags is not None:
                    bits = first_flags
                delta = 0
                if run & 0x800:
                    delta = fields.i32() if version else fields.u32()
                    delta -= delta >> 31 << 32 if delta > 0 else 0
                mine.append(Raw(place, bytes_, dts, delta, length, not bits & NON_SYNC, entry - 1))
                place += bytes_
                dts += length
        data_end = place
    return found


class Fields:
    """Reads integers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def u32(self) -> int:
        self.at += 4
        return int.from_bytes(self.data[self.at - 4 : self.at], "big")

    def i32(self) -> int:
        return struct.unpack(">i", struct.pack(">I", self.u32()))[0]  # type: ignore[no-any-return]

    def u64(self) -> int:
        return self.u32() << 32 | self.u32()


def presented(trak: Box, moov: Box, raws: list[Raw]) -> Track:
    """The track with its samples moved to the presentation line."""
    mvhd = moov.get("mvhd").head
    movie_scale = u32s(mvhd)[5 if mvhd[0] else 3]
    mdhd = trak.get("mdia/mdhd").head
    scale = u32s(mdhd)[5 if mdhd[0] else 3]
    packed = struct.unpack(">H", mdhd[-4:-2])[0]
    language = "".join(chr(0x60 + (packed >> shift & 31)) for shift in (10, 5, 0))
    delay, media_time, length = Fraction(0), 0, Fraction(0)
    for elst in trak.all("edts/elst"):
        row = ">QqHH" if elst.head[0] else ">IiHH"
        edits = list(struct.iter_unpack(row, elst.head[8:]))
        while edits and edits[0][1] == -1:
            delay += Fraction(edits.pop(0)[0], movie_scale)
        if edits:
            media_time = edits[0][1]
            length = sum((Fraction(edit[0], movie_scale) for edit in edits), Fraction(0))

    def seconds(ticks: int) -> Fraction:
        return Fraction(ticks - media_time, scale) + delay

    entries = trak.get("mdia/minf/stbl/stsd").children
    return Track(
        track_id(trak),
        trak.get("mdia/hdlr").head[8:12].decode(),
        scale,
        language,
        [entry.kind.decode("latin-1") for entry in entries],
        [config(entry) for entry in entries],
        [
            Sample(
                raw.offset,
                raw.size,
                seconds(raw.dts),
                seconds(raw.dts + raw.delta),
                Fraction(raw.duration, scale),
                raw.sync,
                raw.entry,
            )
            for raw in raws
        ],
        (delay, delay + length if length else None),
    )


def config(entry: Box) -> bytes:
    """The decoder configuration in a sample entry."""
    for child in [*entry.children, *entry.all("wave/esds")]:
        if child.kind in (b"avcC", b"hvcC"):
            return child.head
        if child.kind == b"esds":
            return audio_specific_config(child.head[4:])
    return b""


def audio_specific_config(data: bytes) -> bytes:
    """DecoderSpecificInfo inside the descriptors of ISO/IEC 14496-1 7.2.6."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], 0, at + 1
        while True:
            byte, at = data[at], at + 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 5:
            return data[at : at + size]
        # ES_Descriptor and DecoderConfigDescriptor hold the next descriptor after their fields.
        at += {3: 3, 4: 13}.get(tag, size)
    return b""
