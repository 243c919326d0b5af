"""The sources, read anew in plain Python: what each sample is, where it lies, when it is shown.

The sample table's run lengths are unrolled into columns, one element a sample; fragments append to
them. Edit lists give the presentation line that tracks share, and where it may begin and end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_END, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pystream.packager.verify.boxes import Box, to_signed
from pystream.packager.verify.elementary import (
    RATES,
    adts_fields,
    descriptors,
    esds_fields,
    is_entry,
    picture_shape,
    split_nals,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.int64]


@dataclass(slots=True)
class Entry:
    """A sample entry: its fields, its boxes, and the decoder configuration among them."""

    kind: str
    code: str
    fields: bytes
    boxes: list[tuple[bytes, bytes]]
    config: bytes
    nal_size: int = 4
    parameter_sets: frozenset[bytes] = frozenset()

    @property
    def width(self) -> int:
        return int.from_bytes(self.fields[24:26], "big")

    @property
    def height(self) -> int:
        return int.from_bytes(self.fields[26:28], "big")

    def _shape(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        if self.config[5] & 31:
            return picture_shape(self.config[8 : 8 + int.from_bytes(self.config[6:8], "big")])
        return None

    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        shape = self._shape()
        return shape[0] if shape else (self.width, self.height)

    def pixel_aspect(self) -> tuple[int, int]:
        """Width and height of a pixel: as pasp has them (12.1.4.2), or else the first sequence
        parameter set."""
        found = [struct.unpack(">II", data) for kind, data in self.boxes if kind == b"pasp"]
        shape = self._shape()
        if not found and shape:
            found = [shape[1]]
        return (found[0][0], found[0][1]) if found and all(found[0]) else (1, 1)

    def agrees(self, config: bytes) -> bool:
        """Whether a packaged configuration is this one. NAL lengths may have been widened; an ADTS
        header says profile, rate and channels only."""
        if self.kind == "avc":
            widened = self.config[:4] + b"\xff" + self.config[5:]
            return config in (self.config, widened)
        return config == self.config or (len(config) == 3 and config == adts_fields(self.config))

    def equals(self, source: Entry, sound: bool) -> bool:
        """Whether this entry of an init section says what the source's says."""
        if sound:
            _, rate, channels = adts_fields(source.config)
            rates = {
                0,
                *(RATES[i] << 16 for i in (rate, rate - 3) if 0 <= i < 13 and RATES[i] < 65536),
            }
            plains = [
                struct.pack(">6xH8xHHHHI", 1, count, 16, 0, 0, rate)
                for rate in rates
                for count in {2, channels, channels + (channels == 7)}
            ]
            alone = [(kind, data) for kind, data in self.boxes if kind != b"esds"]
            esds = [data for kind, data in self.boxes if kind == b"esds"]
            return (
                self.fields in [*plains, source.fields]
                and all(box in source.boxes for box in alone)
                and esds == [esds_fields(source.config)]
            )
        size = self.fields[24:28]
        plain = struct.pack(">6xH16x4sIIIH32xHh", 1, size, 0x480000, 0x480000, 0, 1, 0x18, -1)
        alone = [(kind, data) for kind, data in self.boxes if kind != b"avcC"]
        return (
            self.fields == plain
            and (self.code == source.code or (self.code == "avc3" and not source.parameter_sets))
            and len(alone) == len(self.boxes) - 1
            and all(box in source.boxes for box in alone)
        )


class Track:
    """A source track: columns of its samples, in media ticks."""

    def __init__(self, path: Path, file: FileIO, trak: Box, movie_scale: int) -> None:
        self.path = path
        self.file = file
        self.id = track_id(trak)
        self.kind = codec(trak)
        self.scale = timescale(trak)
        self.entries = read_entries(trak)
        self.matrix = trak.get("tkhd").data[-44:-8]
        (self.language,) = struct.unpack(">H", trak.get("mdia/mdhd").data[-4:-2])
        self.begin, self.finish, media_time = 0.0, float("inf"), 0
        for elst in trak.all("edts/elst"):
            edits = list(struct.iter_unpack(">QqI" if elst.data[0] else ">IiI", elst.data[8:]))
            while edits and edits[0][1] == -1:
                self.begin += edits.pop(0)[0] / movie_scale
            length = sum(edit[0] for edit in edits) / movie_scale
            if edits:
                media_time = edits[0][1]
            if length:
                self.finish = self.begin + length - 1 / movie_scale - 1e-6
        self.origin = self.begin - media_time / self.scale
        self.offset: Column
        self.bytes: Column
        self.dts: Column
        self.pts: Column
        self.ticks: Column
        self.sync: Column
        self.entry: Column
        self.starts = [0]

    @property
    def count(self) -> int:
        return len(self.offset)

    def language_code(self) -> str:
        """Three letters of ISO 639-2 (ISO/IEC 14496-12 8.4.2.3), `und` for what is none."""
        code = "".join(chr(0x60 + (self.language >> shift & 31)) for shift in (10, 5, 0))
        return code if code.isalpha() else "und"

    def first_entry(self) -> int:
        """The first key frame that a decoder can really begin at, else the first key frame."""
        keys: list[int] = self.sync.nonzero()[0].tolist()
        for key in keys:
            if is_entry(split_nals(self.sample(key), self.entries[self.entry[key]].nal_size)):
                return key
        return keys[0] if keys else 0

    def seconds(self, ticks: int) -> float:
        """A media time on the presentation line."""
        return float(ticks) / self.scale + self.origin

    def duration(self, index: int) -> float:
        return float(self.ticks[index]) / self.scale

    def sample(self, index: int) -> bytes:
        return os.pread(self.file.fileno(), int(self.bytes[index]), int(self.offset[index]))

    def bound(self, first_picture: float | None) -> None:
        """Sets where the packaged track may begin and end.

        Pictures: at the first sample, at the first key frame, at the first one that keeps its
        word, or at one that all earlier samples precede outside the edit. Sound: after frames that
        are over when the edit begins, or that have begun when a later first picture is shown.
        """
        if not self.count:
            self.starts, self.ends = [], {0}
            return
        times = self.pts / self.scale + self.origin
        over = times + self.ticks / self.scale
        if self.kind == "avc":
            outside = int((over > self.begin + 1e-6).argmax())
            keys = self.sync[: outside + 1].nonzero()[0].tolist()
            self.starts = sorted(
                {0, *self.sync.nonzero()[0][:1].tolist(), self.first_entry(), *keys}
            )
        else:
            late = over > self.begin + 1e-6
            if first_picture is not None and first_picture > self.begin:
                late = times > first_picture - 1e-6
            heard = int(late.argmax()) if late.any() else 0
            self.starts = list(range(heard + 1))
        shown = (times < self.finish).nonzero()[0]
        last = int(shown[-1]) + 1 if len(shown) else 0
        self.ends = {*range(last, self.count + 1)}


def read_source(path: Path, file: FileIO) -> list[Track]:
    """The H.264 and AAC tracks of a progressive or fragmented file."""
    import numpy as np

    end = file.seek(0, SEEK_END)
    tops = list(_top_level(file, end))
    moov = next((box for box in tops if box.kind == b"moov"), None)
    if moov is None:
        raise ValueError("no moov: this is no MP4 file, or it is cut off")
    mvhd = moov.get("mvhd").numbers
    movie_scale = mvhd[5 if mvhd[0] >> 24 else 3]
    fragmented = bool(moov.all("mvex"))
    # What has no sample entries says not even what it holds.
    stsd = "mdia/minf/stbl/stsd"
    traks = {track_id(trak): trak for trak in moov.all("trak") if trak.all(stsd)}
    columns = {number: _table(trak) for number, trak in traks.items()}
    if fragmented:
        rows: dict[int, list[list[int]]] = {number: [] for number in traks}
        trexes = {box.numbers[1]: box.numbers for box in moov.all("mvex/trex")}
        clock = {number: int(c[5].sum()) for number, c in columns.items()}
        for moof in tops:
            if moof.kind == b"moof":
                new = _moof_rows(moof, trexes, clock)
                if any(row[0] + row[1] > end for mine in new.values() for row in mine):
                    break
                for number, mine in new.items():
                    rows[number] += mine
        for number, mine in rows.items():
            more = np.array(mine, np.int64).reshape(-1, 7).T
            columns[number] = np.concatenate([columns[number], more], axis=1)
    tracks = []
    for number, trak in traks.items():
        track = Track(path, file, trak, movie_scale)
        if track.kind in ("avc", "aac") and track.entries:
            (
                track.offset,
                track.bytes,
                track.dts,
                track.pts,
                track.sync,
                track.ticks,
                track.entry,
            ) = _carried(track.kind, columns[number])
            tracks.append(track)
    return tracks


def _carried(kind: str, rows: Any) -> Any:
    """A track's samples without those of no bytes, in which nothing is; sound's decoding times are
    its presentation times, and where these do not rise, the most frequent offset counts for all."""
    import numpy as np

    rows = rows[:, rows[1] > 0]
    if kind == "aac" and rows.shape[1]:
        dts, pts = rows[2], rows[3]
        if (np.diff(pts) <= 0).any():
            offsets, times = np.unique(pts - dts, return_counts=True)
            rows[3] = dts + offsets[times.argmax()]
        rows[2] = rows[3]
    return rows


def _top_level(file: FileIO, end: int) -> Iterator[Box]:
    """moov and moof of a file; its other boxes are passed over."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        size, kind, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        head = 8
        if size == 1:
            size, head = large, 16
        size = size or end - at
        if size < head or at + size > end:
            return
        if kind in (b"moov", b"moof"):
            file.seek(at + head)
            yield Box(kind, at + head - 8, file.read(size - head))
        at += size


def _table(trak: Box) -> Any:
    """The sample table as rows offset, size, dts, pts, sync, duration, entry."""
    import numpy as np

    stbl = trak.get("mdia/minf/stbl")

    def rows(name: str, width: int, dtype: str = ">u4") -> Any:
        found = stbl.all(name)
        data = found[0].data[8:] if found else b""
        cut = len(data) // (width * int(dtype[2:])) * width * int(dtype[2:])
        return np.frombuffer(data[:cut], dtype).astype(np.int64).reshape(-1, width)

    sizes = _sizes(stbl)
    count = len(sizes)
    counts, deltas = rows("stts", 2).T
    durations = np.repeat(deltas, counts)[:count]
    dts = np.cumsum(durations) - durations
    counts, offsets = rows("ctts", 2).T
    shifts = np.repeat(offsets - (offsets >> 31 << 32), counts)[:count]
    pts = dts + np.pad(shifts, (0, count - len(shifts)))
    sync = np.full(count, not stbl.all("stss"))
    sync[rows("stss", 1)[:, 0] - 1] = True
    chunks = rows("stco", 1)[:, 0] if stbl.all("stco") else rows("co64", 1, ">u8")[:, 0]
    first, per_chunk, entry = rows("stsc", 3).T
    spans = np.diff(np.append(first, len(chunks) + 1))
    in_chunk = np.repeat(per_chunk, spans)
    entries = np.repeat(np.repeat(entry, spans), in_chunk)[:count] - 1
    start = np.cumsum(in_chunk) - in_chunk
    before = np.cumsum(sizes) - sizes
    chunk_of = np.repeat(np.arange(len(chunks)), in_chunk)[:count]
    offset = chunks[chunk_of] + before - before[np.minimum(start, count - 1)][chunk_of]
    return np.array([offset, sizes, dts, pts, sync, durations, entries], np.int64)


def _sizes(stbl: Box) -> Any:
    import numpy as np

    for box in stbl.all("stsz"):
        _, same, count = box.numbers[:3]
        if same:
            return np.full(count, same, np.int64)
        return np.frombuffer(box.data, ">u4", count, 12).astype(np.int64)
    stz2 = stbl.get("stz2")
    bits, count = stz2.data[7], stz2.numbers[2]
    if bits == 4:
        packed = np.frombuffer(stz2.data, np.uint8, offset=12)
        return np.stack([packed >> 4, packed & 15], 1).reshape(-1)[:count].astype(np.int64)
    return np.frombuffer(stz2.data, ">u2" if bits == 16 else "u1", count, 12).astype(np.int64)


def _moof_rows(
    moof: Box, trexes: dict[int, tuple[int, ...]], clock: dict[int, int]
) -> dict[int, list[list[int]]]:
    """The samples of one movie fragment of a source, in `_table`'s order of columns."""
    found: dict[int, list[list[int]]] = {}
    data_end = moof.at
    for traf in moof.all("traf"):
        head = traf.get("tfhd").numbers
        flags, number = head[0] & 0xFFFFFF, head[1]
        values = iter(head[2:])
        # 8.8.7.1: without either flag a further traf goes on behind the one before.
        base = moof.at if flags & 0x20000 or not found else data_end
        if flags & 1:
            base = next(values) << 32 | next(values)
        _, _, entry, duration, size, marks = trexes[number]
        entry = next(values) if flags & 2 else entry
        duration = next(values) if flags & 8 else duration
        size = next(values) if flags & 0x10 else size
        marks = next(values) if flags & 0x20 else marks
        for tfdt in traf.all("tfdt"):
            n = tfdt.numbers
            clock[number] = n[1] << 32 | n[2] if n[0] >> 24 else n[1]
        at = base
        mine = found.setdefault(number, [])
        for trun in traf.all("trun"):
            fields = iter(trun.numbers)
            bits, count = next(fields), next(fields)
            if bits & 1:
                at = base + to_signed(next(fields))
            first = next(fields) if bits & 4 else None
            for index in range(count):
                length = next(fields) if bits & 0x100 else duration
                many = next(fields) if bits & 0x200 else size
                mark = next(fields) if bits & 0x400 else marks
                if index == 0 and first is not None:
                    mark = first
                shift = to_signed(next(fields)) if bits & 0x800 else 0
                dts = clock[number]
                key = int(not mark & 0x10000)
                mine.append([at, many, dts, dts + shift, key, length, entry - 1])
                at += many
                clock[number] += length
        data_end = at
    return found


def track_id(trak: Box) -> int:
    tkhd = trak.get("tkhd").numbers
    return tkhd[5 if tkhd[0] >> 24 else 3]


def timescale(trak: Box) -> int:
    mdhd = trak.get("mdia/mdhd").numbers
    return mdhd[5 if mdhd[0] >> 24 else 3]


def codec(trak: Box) -> str:
    entries = read_entries(trak)
    return entries[0].kind if entries else ""


def read_entries(trak: Box) -> list[Entry]:
    """The sample entries (8.5.2); `config` is empty for codecs that are not compared."""
    found = []
    stsd = trak.get("mdia/minf/stbl/stsd")
    for box in stsd.boxes(8)[: stsd.numbers[1]]:
        entry = Entry("", "", b"", [], b"")
        if box.kind in (b"avc1", b"avc3"):
            inner = box.boxes(78)
            config = next((child.data for child in inner if child.kind == b"avcC"), b"")
            sets = []
            at = 6
            for count in (config[5] & 31, None):
                if count is None:
                    count = config[at]
                    at += 1
                for _ in range(count):
                    end = at + 2 + int.from_bytes(config[at : at + 2], "big")
                    sets.append(config[at + 2 : end].rstrip(b"\0"))
                    at = end
            kinds = [(child.kind, child.data) for child in inner]
            size = (config[4] & 3) + 1
            code = box.kind.decode()
            entry = Entry("avc", code, box.data[:78], kinds, config, size, frozenset(sets))
        elif box.kind == b"mp4a":
            skip = 28 + {1: 16, 2: 36}.get(box.data[9], 0)
            inner = box.boxes(skip)
            inner += [child for wave in inner if wave.kind == b"wave" for child in wave.boxes()]
            esds = next((child.data for child in inner if child.kind == b"esds"), None)
            config = dict(descriptors(esds[4:])).get(5, b"") if esds else b""
            if config and esds and dict(descriptors(esds[4:]))[4][0] == 0x40:
                kinds = [(child.kind, child.data) for child in inner]
                entry = Entry("aac", "mp4a", box.data[:28], kinds, config)
        found.append(entry)
    return found
