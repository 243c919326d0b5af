"""Build, parse and rewrite ISO base media files, for tests that need a file no encoder makes.

Two layers. `Box` is a tree that prints the bytes it was read from, whatever it holds. `Movie` and
`Track` lay out a whole progressive file from samples and write its tables naively; what a table
may look like (64-bit offsets, compact sizes, signed offsets, no sync table) is an argument.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from sys import byteorder

CONTAINERS = frozenset(
    b"moov trak edts mdia minf dinf stbl mvex moof traf mfra wave sinf schi".split()
)
# Bytes of fields that stand before the child boxes (ISO/IEC 14496-12 8.5.2, 12.1.3, 12.2.3).
PREFIX = {b"stsd": 8, b"dref": 8}
PREFIX |= dict.fromkeys(b"avc1 avc3 encv hvc1 hev1 vp09 av01".split(), 78)
PREFIX |= dict.fromkeys([b"mp4a", b"enca", b"Opus", b"ac-3", b"ec-3", b".mp3"], 28)

MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@dataclass
class Box:
    """One box: its fields in `head`, its child boxes, if it may have any, in `children`.

    `tail` is what QuickTime writes to end a list of atoms: four zero bytes.
    """

    kind: bytes
    head: bytes = b""
    children: list[Box] = field(default_factory=list)
    large: bool = False
    tail: bytes = b""

    def __bytes__(self) -> bytes:
        body = self.head + b"".join(bytes(child) for child in self.children) + self.tail
        if self.large:
            return struct.pack(">I4sQ", 1, self.kind, len(body) + 16) + body
        return struct.pack(">I4s", len(body) + 8, self.kind) + body

    def all(self, path: str) -> Iterator[Box]:
        """Every descendant at `path`, such as ``"mdia/minf/stbl"``."""
        first, _, rest = path.partition("/")
        for child in self.children:
            if child.kind == first.encode():
                if rest:
                    yield from child.all(rest)
                else:
                    yield child

    def get(self, path: str) -> Box:
        """The first descendant at `path`."""
        return next(self.all(path))

    def drop(self, kind: bytes) -> None:
        """Removes the direct children of this kind."""
        self.children = [child for child in self.children if child.kind != kind]


def parse(data: bytes) -> list[Box]:
    """The boxes that fill `data`; raises ValueError where they do not."""
    boxes = []
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError(f"{len(data) - at} bytes are no box")
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        large = size == 1
        if large:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if size == 0 else at + size
        if not start <= end <= len(data):
            raise ValueError(f"{kind!r} at {at} does not end inside its parent")
        body = data[start:end]
        if kind in CONTAINERS or len(body) >= PREFIX.get(kind, 1 << 62):
            cut = PREFIX.get(kind, 0)
            if cut == 28 and len(body) > cut:
                # QuickTime's sound description, versions 1 and 2, has more fields.
                cut += {1: 16, 2: 36}.get(body[9], 0)
            stop = len(body) - 4 * (len(body) >= cut + 4 and body[-4:] == bytes(4))
            try:
                boxes.append(Box(kind, body[:cut], parse(body[cut:]), large))
            except ValueError:
                boxes.append(Box(kind, body[:cut], parse(body[cut:stop]), large, body[stop:]))
        else:
            boxes.append(Box(kind, body, [], large))
        at = end
    return boxes


def full(kind: str, fields: bytes = b"", *, version: int = 0, flags: int = 0) -> Box:
    """A full box (ISO/IEC 14496-12 4.2)."""
    return Box(kind.encode(), struct.pack(">I", version << 24 | flags) + fields)


def table(kind: str, rows: Sequence[Sequence[int]], row: str, *, version: int = 0) -> Box:
    """A full box that is a count and rows of integers, each packed by `row`."""
    packed = b"".join(struct.pack(">" + row, *values) for values in rows)
    return full(kind, struct.pack(">I", len(rows)) + packed, version=version)


def runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Run-length pairs (count, value), as stts and ctts keep them."""
    return [(len(list(group)), value) for value, group in groupby(values)]


@dataclass(frozen=True)
class Sample:
    """One sample to be written. `duration` and `offset` (pts - dts) in the track's ticks."""

    data: bytes
    duration: int
    offset: int = 0
    sync: bool = True
    entry: int = 0


@dataclass
class Track:
    """A track to be written. `entries` are whole sample entries, such as avc1 with its avcC."""

    handler: str
    timescale: int
    entries: list[Box]
    samples: list[Sample]
    language: str = "und"
    width: int = 0
    height: int = 0
    # (segment_duration in movie ticks, media_time in media ticks; -1 is an empty edit)
    edits: list[tuple[int, int]] = field(default_factory=list)
    chunk: int = 8
    signed_offsets: bool = False
    sync_table: bool = True
    # 0 writes stsz; 4, 8 or 16 writes stz2 with fields of so many bits.
    compact_sizes: int = 0
    # `track_enabled` (8.3.2.3).
    enabled: bool = True

    @property
    def duration(self) -> int:
        """Media ticks from the first sample's decoding to the last one's end."""
        return sum(sample.duration for sample in self.samples)


@dataclass
class Movie:
    """A progressive file: one chunk of each track in turn, then the next ones."""

    tracks: list[Track]
    timescale: int = 1000
    moov_first: bool = True
    offsets_64: bool = False
    mdat_64: bool = False
    before_mdat: list[Box] = field(default_factory=list)

    def __bytes__(self) -> bytes:
        head = bytes(Box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"))
        chunks = self._chunks()
        size = 16 if self.mdat_64 else 8
        between = b"".join(bytes(box) for box in self.before_mdat)
        moov_len = len(bytes(self._moov(chunks, 0))) if self.moov_first else 0
        base = len(head) + moov_len + len(between) + size
        moov = bytes(self._moov(chunks, base))
        data = b"".join(s.data for _, chunk in chunks for s in chunk)
        mdat = bytes(Box(b"mdat", data, large=self.mdat_64))
        if self.moov_first:
            return head + moov + between + mdat
        return head + between + mdat + moov

    def _chunks(self) -> list[tuple[int, list[Sample]]]:
        """(track, samples) in file order. A chunk holds samples of one entry only (8.7.4)."""
        queues: list[list[list[Sample]]] = []
        for track in self.tracks:
            queue: list[list[Sample]] = []
            for _, same in groupby(track.samples, key=lambda sample: sample.entry):
                group = list(same)
                queue += [group[i : i + track.chunk] for i in range(0, len(group), track.chunk)]
            queues.append(queue)
        longest = max(map(len, queues))
        return [(t, q[i]) for i in range(longest) for t, q in enumerate(queues) if i < len(q)]

    def _moov(self, chunks: list[tuple[int, list[Sample]]], base: int) -> Box:
        places: list[list[tuple[int, list[Sample]]]] = [[] for _ in self.tracks]
        for which, chunk in chunks:
            places[which].append((base, chunk))
            base += sum(len(sample.data) for sample in chunk)
        longest = max(t.duration * self.timescale // t.timescale for t in self.tracks)
        moov = Box(b"moov", b"", [mvhd(self.timescale, longest, len(self.tracks) + 1)])
        for i, (track, mine) in enumerate(zip(self.tracks, places, strict=True), 1):
            moov.children.append(self._trak(i, track, mine))
        return moov

    def _trak(self, number: int, track: Track, chunks: list[tuple[int, list[Sample]]]) -> Box:
        samples = track.samples
        sizes = [len(sample.data) for sample in samples]
        stbl = Box(b"stbl", b"", [stsd(track.entries)])
        stbl.children.append(table("stts", runs([s.duration for s in samples]), "2I"))
        if any(sample.offset for sample in samples):
            version, row = (1, "Ii") if track.signed_offsets else (0, "2I")
            shifts = runs([s.offset for s in samples])
            stbl.children.append(table("ctts", shifts, row, version=version))
        if track.sync_table and not all(sample.sync for sample in samples):
            numbers = [(i,) for i, sample in enumerate(samples, 1) if sample.sync]
            stbl.children.append(table("stss", numbers, "I"))
        if track.compact_sizes:
            stbl.children.append(stz2(sizes, track.compact_sizes))
        else:
            packed = struct.pack(f">{len(sizes)}I", *sizes)
            stbl.children.append(full("stsz", struct.pack(">2I", 0, len(sizes)) + packed))
        rows: list[tuple[int, int, int]] = []
        for chunk_number, (_, chunk) in enumerate(chunks, 1):
            shape = (len(chunk), chunk[0].entry + 1)
            if not rows or rows[-1][1:] != shape:
                rows.append((chunk_number, *shape))
        stbl.children.append(table("stsc", rows, "3I"))
        kind, row = ("co64", "Q") if self.offsets_64 else ("stco", "I")
        stbl.children.append(table(kind, [(offset,) for offset, _ in chunks], row))
        return trak(number, track, self.timescale, stbl)


def mvhd(timescale: int, duration: int, next_track: int) -> Box:
    """Movie header, version 1 where the duration asks for it."""
    version = int(duration >= 1 << 32)
    times = struct.pack(">QQIQ" if version else ">IIII", 0, 0, timescale, duration)
    rest = struct.pack(">IH10x", 0x10000, 0x100) + MATRIX + bytes(24)
    return full("mvhd", times + rest + struct.pack(">I", next_track), version=version)


def trak(number: int, track: Track, movie_timescale: int, stbl: Box) -> Box:
    """A track box around a ready sample table."""
    duration = track.duration
    shown = duration * movie_timescale // track.timescale
    version = int(max(duration, shown) >= 1 << 32)
    sound = track.handler == "soun"
    tkhd_times = struct.pack(">QQIIQ" if version else ">IIIII", 0, 0, number, 0, shown)
    tkhd_rest = struct.pack(">8xHHHH", 0, 0, 0x100 if sound else 0, 0) + MATRIX
    tkhd_rest += struct.pack(">II", track.width << 16, track.height << 16)
    times = struct.pack(
        ">QQIQ" if version else ">IIII", 0, 0, track.timescale, duration
    ) + struct.pack(">HH", language_code(track.language), 0)
    handler = struct.pack(">I4s12x", 0, track.handler.encode()) + b"\0"
    media_header = full("smhd", bytes(4)) if sound else full("vmhd", bytes(8), flags=1)
    url = full("url ", flags=1)
    dinf = Box(b"dinf", b"", [Box(b"dref", struct.pack(">II", 0, 1), [url])])
    minf = Box(b"minf", b"", [media_header, dinf, stbl])
    mdia = [full("mdhd", times, version=version), full("hdlr", handler), minf]
    children = [full("tkhd", tkhd_times + tkhd_rest, version=version, flags=2 | track.enabled)]
    if track.edits:
        rows = [(length, media, 1, 0) for length, media in track.edits]
        children.append(Box(b"edts", b"", [table("elst", rows, "QqHH", version=1)]))
    children.append(Box(b"mdia", b"", mdia))
    return Box(b"trak", b"", children)


def stsd(entries: Sequence[Box]) -> Box:
    """Sample descriptions."""
    return Box(b"stsd", struct.pack(">II", 0, len(entries)), list(entries))


def stz2(sizes: Sequence[int], bits: int) -> Box:
    """Compact sample sizes (8.7.3.3). Of two 4-bit sizes in a byte the first has the high half."""
    if max(sizes) >> bits:
        raise ValueError(f"a size does not fit {bits} bits")
    if bits == 4:
        padded = [*sizes, 0]
        packed = bytes(padded[i] << 4 | padded[i + 1] for i in range(0, len(sizes), 2))
    else:
        packed = struct.pack(f">{len(sizes)}{'BH'[bits == 16]}", *sizes)
    return full("stz2", struct.pack(">3xBI", bits, len(sizes)) + packed)


def language_code(language: str) -> int:
    """Three letters of ISO 639-2 in 15 bits (8.4.2)."""
    a, b, c = (ord(letter) - 0x60 for letter in language)
    return a << 10 | b << 5 | c


def aac_entry(config: bytes, rate: int, channels: int) -> Box:
    """An mp4a sample entry around an AudioSpecificConfig (ISO/IEC 14496-1 7.2.6)."""
    specific = bytes([5, len(config)]) + config
    decoder = struct.pack(">BB3xII", 0x40, 0x15, 0, 0) + specific
    es = struct.pack(">HB", 0, 0) + bytes([4, len(decoder)]) + decoder + b"\6\1\2"
    esds = full("esds", bytes([3, len(es)]) + es)
    head = struct.pack(">6xH8xHHHHI", 1, channels, 16, 0, 0, min(rate, 65535) << 16)
    return Box(b"mp4a", head, [esds])


def write_sparse(
    path: Path, track: Track, count: int, key_every: int, sizes: Sequence[int], fps_ticks: int
) -> int:
    """Writes a film of `count` pictures whose moov is real and whose mdat is a hole.

    Sizes repeat from `sizes`. Every `key_every`-th picture (a multiple of 4, the length of the
    pattern of composition offsets) is a key frame, and only there bytes are written: a NAL length
    and the header of an IDR slice. Chunks of 25 pictures, 64-bit offsets. Returns the file's size.
    Tables are built as arrays, so that two million samples take a second or two.
    """
    per_chunk = 25
    all_sizes = array("I", sizes) * (count // len(sizes) + 1)
    all_sizes = all_sizes[:count]
    head = bytes(Box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"))
    ctts = array("I", [1, 2 * fps_ticks, 1, 4 * fps_ticks, 1, fps_ticks, 1, fps_ticks])
    ctts *= count // 4 + 1
    ctts = ctts[: 2 * count]

    def big(values: array[int]) -> bytes:
        if byteorder == "little":
            values = values[:]
            values.byteswap()
        return values.tobytes()

    chunk_count = -(-count // per_chunk)
    offsets = array("Q", [0]) * chunk_count
    keys = array("I", range(1, count + 1, key_every))
    key_offsets: list[tuple[int, int]] = []

    def moov(base: int) -> bytes:
        at = base
        key_offsets.clear()
        for i, size in enumerate(all_sizes):
            if i % per_chunk == 0:
                offsets[i // per_chunk] = at
            if i % key_every == 0:
                key_offsets.append((at, size))
            at += size
        stsc_rows = [(1, per_chunk, 1)]
        if count % per_chunk:
            stsc_rows.append((chunk_count, count % per_chunk, 1))
        stbl = Box(
            b"stbl",
            b"",
            [
                stsd(track.entries),
                table("stts", [(count, fps_ticks)], "2I"),
                full("ctts", struct.pack(">I", count) + big(ctts)),
                full("stss", struct.pack(">I", len(keys)) + big(keys)),
                full("stsz", struct.pack(">2I", 0, count) + big(all_sizes)),
                table("stsc", stsc_rows, "3I"),
                full("co64", struct.pack(">I", chunk_count) + big(offsets)),
            ],
        )
        shape = Track(
            track.handler,
            track.timescale,
            track.entries,
            [Sample(b"", count * fps_ticks)],
            track.language,
            track.width,
            track.height,
        )
        length = count * fps_ticks * 1000 // track.timescale
        parts = [mvhd(1000, length, 2), trak(1, shape, 1000, stbl)]
        return bytes(Box(b"moov", b"", parts))

    moov_len = len(moov(0))
    base = len(head) + moov_len + 16
    total = base + sum(all_sizes)
    with path.open("wb") as file:
        file.write(head)
        file.write(moov(base))
        file.write(struct.pack(">I4sQ", 1, b"mdat", 16 + total - base))
        for at, size in key_offsets:
            file.seek(at)
            file.write(struct.pack(">IB", size - 4, 0x65))
        file.truncate(total)
    return total
