"""fMP4 segments into units, and each byte of the init section that they need.

A fragment's samples lie in its mdat without gaps (ISO/IEC 14496-12 8.8). What an init section holds
is fixed by the standard, by pystream's choice where the standard leaves one, or by the source.
"""

from __future__ import annotations

import struct

from pystream.packager.verify.boxes import Box, read_boxes, to_signed
from pystream.packager.verify.compare import Stream, Unit
from pystream.packager.verify.elementary import split_nals
from pystream.packager.verify.report import MALFORMED, VerifyError
from pystream.packager.verify.source import (
    Entry,
    Track,
    codec,
    read_entries,
    timescale,
    track_id,
)

# What pystream writes where the standard leaves a choice.
_FTYP = b"iso6\0\0\0\0iso6cmfcmp41"
# Sample flags (8.8.3.1): depends on no other sample; depends on others and is no sync sample.
_SYNC, _NO_SYNC = 0x02000000, 0x01010000
_STYP = b"msdh\0\0\0\0msdhcmfs"
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


class Fragments:
    """An init section and the media segments that follow it."""

    def __init__(self, where: str, data: bytes, lenient: bool) -> None:
        self.where = where
        self.lenient = lenient
        self.sequence = 0
        self.next_dts: dict[int, int] = {}
        self.data = data
        try:
            self.tops = read_boxes(data)
            moov = next((box for box in self.tops if box.kind == b"moov"), None)
            if moov is None:
                raise ValueError("no moov in the init section")
            self.moov = moov
            self.trexes = {box.numbers[1]: box.numbers for box in moov.all("mvex/trex")}
            self.traks = {track_id(trak): trak for trak in moov.all("trak")}
            self.shapes = {
                number: (codec(trak), timescale(trak), read_entries(trak)[0])
                for number, trak in self.traks.items()
            }
        except MALFORMED as error:
            raise VerifyError(where, f"init section: {error}") from error

    def go_on(self, before: Fragments) -> None:
        """Takes over from the init section that held until now."""
        self.sequence = before.sequence
        self.next_dts = before.next_dts

    def segment(self, where: str, data: bytes, discontinuity: bool) -> list[Unit]:
        try:
            return self.units(data, discontinuity)
        except MALFORMED as error:
            raise VerifyError(where, str(error)) from error

    def units(self, data: bytes, discontinuity: bool) -> list[Unit]:
        tops = read_boxes(data)
        if not self.lenient and [box.kind for box in tops] != [b"styp", b"moof", b"mdat"]:
            raise ValueError("a segment is styp, moof, mdat")
        if not self.lenient:
            _fills(tops, data)
        units: list[Unit] = []
        if discontinuity and self.lenient:
            self.next_dts.clear()
        for moof, mdat in zip(tops, tops[1:], strict=False):
            if not self.lenient and moof.kind == b"styp" and moof.data != _STYP:
                raise ValueError("brands of the segment")
            if moof.kind != b"moof":
                continue
            if mdat.kind != b"mdat":
                raise ValueError("no mdat after a moof")
            pieces: list[tuple[int, int]] = []
            (_, sequence) = moof.get("mfhd").numbers
            if not self.lenient and sequence != self.sequence + 1 and self.sequence:
                raise ValueError(f"mfhd {sequence} follows {self.sequence}")
            self.sequence = sequence
            for traf in moof.all("traf"):
                units += self.run(traf, moof.at, data, pieces)
            # Every byte of the mdat belongs to one sample.
            at = mdat.at + 8
            for begin, end in sorted(pieces):
                if begin != at and not self.lenient:
                    raise ValueError(f"byte {at} of the mdat is in no sample, or in two")
                at = end
            if at != mdat.at + 8 + len(mdat.data) and not self.lenient:
                raise ValueError("the mdat is longer or shorter than its samples")
            if not self.lenient:
                self.strict_moof(moof)
        return units

    def strict_moof(self, moof: Box) -> None:
        if [box.kind for box in moof.boxes()][:1] != [b"mfhd"] or moof.get("mfhd").numbers[0]:
            raise ValueError("a moof begins with mfhd")
        for box in moof.boxes()[1:]:
            kinds = [inner.kind for inner in box.boxes()]
            if box.kind != b"traf" or kinds[:2] != [b"tfhd", b"tfdt"] or {*kinds[2:]} != {b"trun"}:
                raise ValueError(f"unexpected box in {box.kind.decode('latin-1')}")

    def run(
        self, traf: Box, moof_at: int, data: bytes, pieces: list[tuple[int, int]]
    ) -> list[Unit]:
        """The samples of one track's fragment (8.8.7, 8.8.8, 8.8.12)."""
        units = []
        head = traf.get("tfhd").numbers
        flags, number = head[0], head[1]
        if not self.lenient and flags & ~0x3A != 0x020000:
            raise ValueError(f"tfhd flags {flags:#x}")
        values = iter(head[2:])
        base = moof_at
        if flags & 1:
            base = next(values) << 32 | next(values)
            base = moof_at if self.lenient else base
        _, _, description, duration, size, sample_flags = self.trexes[number]
        description = next(values) if flags & 2 else description
        duration = next(values) if flags & 8 else duration
        size = next(values) if flags & 0x10 else size
        sample_flags = next(values) if flags & 0x20 else sample_flags
        if next(values, None) is not None or description != 1:
            raise ValueError("tfhd does not end where it should")
        kind, scale, entry = self.shapes[number]
        tfdt = traf.get("tfdt").numbers
        dts = tfdt[1] << 32 | tfdt[2] if tfdt[0] >> 24 else tfdt[1]
        if not self.lenient and tfdt[0] not in (0, 1 << 24):
            raise ValueError("version and flags of tfdt")
        if not self.lenient and dts != self.next_dts.get(number, dts):
            raise ValueError(f"tfdt {dts} of track {number}, {self.next_dts[number]} is due")
        at = base
        for trun in traf.all("trun"):
            fields = iter(trun.numbers)
            bits = next(fields)
            signed = bits >> 24
            if not self.lenient and (signed > 1 or bits & 0xFFF0FA):
                raise ValueError("version and flags of trun")
            count = next(fields)
            if bits & 1:
                at = base + to_signed(next(fields))
            first_flags = next(fields) if bits & 4 else None
            for index in range(count):
                length = next(fields) if bits & 0x100 else duration
                many = next(fields) if bits & 0x200 else size
                mark = next(fields) if bits & 0x400 else sample_flags
                if index == 0 and first_flags is not None:
                    mark = first_flags
                offset = 0
                if bits & 0x800:
                    offset = next(fields)
                    offset = to_signed(offset) if signed else offset
                if at < 0 or at + many > len(data):
                    raise ValueError(f"a sample at byte {at} runs out of the segment")
                sample = data[at : at + many]
                pieces.append((at, at + many))
                at += many
                nals = split_nals(sample, entry.nal_size) if kind == "avc" else []
                if not self.lenient and mark not in (_SYNC, _NO_SYNC):
                    raise ValueError(f"sample flags {mark:#x}")
                key = not mark & 0x10000 if kind == "avc" else None
                if kind in ("avc", "aac"):
                    units.append(
                        Unit(
                            number,
                            kind,
                            (dts + offset) / scale,
                            dts / scale,
                            sample,
                            nals,
                            b"" if self.lenient else entry.config,
                            None if self.lenient else key,
                            entry.nal_size,
                        )
                    )
                dts += length
            if next(fields, None) is not None:
                raise ValueError("trun does not end where it should")
        self.next_dts[number] = dts
        return units

    def check_init(self, streams: dict[int, Stream]) -> None:
        """Every byte of the init section: fixed by the standard, or the source's."""
        try:
            if [box.kind for box in self.tops] != [b"ftyp", b"moov"]:
                raise ValueError("an init section is ftyp, moov")
            _fills(self.tops, self.data)
            if self.tops[0].data != _FTYP:
                raise ValueError("brands")
            if set(self.traks) != set(streams):
                raise ValueError(f"tracks {sorted(self.traks)}, samples of {sorted(streams)}")
            why = _movie_fault(self.moov)
            for number, stream in streams.items():
                sources = [candidate.track for candidate in stream.candidates]
                faults = [_trak_fault(self.traks[number], source) for source in sources]
                why = why or ("" if "" in faults else faults[0])
            if why:
                raise ValueError(why)
        except MALFORMED as error:
            raise VerifyError(self.where, f"init section: {error}") from error


def _fills(boxes: list[Box], data: bytes) -> None:
    """Raises where zero bytes follow the last box, which `read_boxes` lets pass as QuickTime's."""
    end = boxes[-1].at + 8 + len(boxes[-1].data)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the last box")


def _movie_fault(moov: Box) -> str:
    """What is wrong with the boxes of moov that belong to no track."""
    kinds = [box.kind for box in moov.boxes()]
    traks = kinds.count(b"trak")
    if kinds != [b"mvhd", *[b"trak"] * traks, b"mvex"]:
        return f"moov holds {kinds}"
    ids = [track_id(trak) for trak in moov.all("trak")]
    rest = struct.pack(">IH10x", 0x10000, 0x100) + _MATRIX + struct.pack(">24xI", max(ids) + 1)
    if moov.get("mvhd").data not in [
        struct.pack(">IIIII", 0, 0, 0, timescale(trak), 0) + rest for trak in moov.all("trak")
    ]:
        return "mvhd"
    trexes = moov.all("mvex/trex")
    if len(moov.get("mvex").boxes()) != len(trexes) or len(trexes) != traks:
        return "mvex"
    for trex, number in zip(trexes, ids, strict=True):
        if trex.numbers[:3] != (0, number, 1) or len(trex.data) != 24:
            return "trex"
        if any(trex.numbers[3:]):
            return "trex defaults"
    return ""


def _shown_size(entry: Entry, wide: int, high: int) -> tuple[int, int]:
    """Width and height at which to show pictures of such pixels, 16.16 fixed-point (8.3.2.3)."""
    width = (entry.width * wide * 0x20000 + high) // (2 * high)
    return (width if 0 < width < 1 << 32 else entry.width << 16), entry.height << 16


def _trak_fault(trak: Box, source: Track) -> str:
    """What in a track of the init section is neither fixed nor the source's."""
    sound = source.kind == "aac"
    number, scale = track_id(trak), timescale(trak)
    entry = read_entries(trak)[0]
    theirs = [mine for mine in source.entries if mine.agrees(entry.config)]
    if not theirs:
        return "decoder configuration"
    # The picture's size stands twice in the section, so damage to either shows.
    sizes = {(0, 0)} if sound else {_shown_size(entry, *mine.pixel_aspect()) for mine in theirs}
    head = struct.pack(">IIIIII8xHHHH", 7, 0, 0, number, 0, 0, 0, 0, sound << 8, 0)
    tails = [struct.pack(">II", *size) for size in sizes]
    fixed = {
        "mdia/minf/dinf/dref": struct.pack(">IIIII", 0, 1, 12, 0x75726C20, 1),
        "mdia/minf/stbl/stts": bytes(8),
        "mdia/minf/stbl/stsc": bytes(8),
        "mdia/minf/stbl/stco": bytes(8),
        "mdia/minf/stbl/stsz": bytes(12),
        "mdia/minf/" + ("smhd" if sound else "vmhd"): bytes(8) if sound else b"\0\0\0\1" + bytes(8),
    }
    wanted = {
        "": "tkhd mdia",
        "mdia": "mdhd hdlr minf",
        "mdia/minf": ("smhd" if sound else "vmhd") + " dinf stbl",
        "mdia/minf/dinf": "dref",
        "mdia/minf/stbl": "stsd stts stsc stsz stco",
    }
    if trak.get("tkhd").data not in [
        head + matrix + tail for matrix in (_MATRIX, source.matrix) for tail in tails
    ]:
        return "tkhd"
    for path, names in wanted.items():
        box = trak.get(path) if path else trak
        if sorted(inner.kind.decode("latin-1") for inner in box.boxes()) != sorted(names.split()):
            return f"boxes in trak/{path}"
    for path, data in fixed.items():
        if trak.get(path).data != data:
            return path
    languages = {source.language, 0x55C4}
    if trak.get("mdia/mdhd").data not in {
        struct.pack(">IIIIIHH", 0, 0, 0, scale, 0, language, 0) for language in languages
    }:
        return "mdhd"
    handler = b"soun" if sound else b"vide"
    name = b"audio\0" if sound else b"video\0"
    if trak.get("mdia/hdlr").data != bytes(8) + handler + bytes(12) + name:
        return "hdlr"
    stsd = trak.get("mdia/minf/stbl/stsd")
    if stsd.data[:8] != b"\0\0\0\0\0\0\0\1" or len(stsd.boxes(8)) != 1:
        return "stsd"
    if not any(entry.equals(mine, sound) for mine in theirs):
        return "sample entry"
    return ""
