"""MPEG-TS segments into units: packets, tables, PES packets, ADTS frames (ISO/IEC 13818-1).

What holds for each packet alone is checked in columns over a whole segment; continuity counters
and the 33-bit clock run on from segment to segment, until a discontinuity.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from pystream.packager.verify.compare import TICK, Unit
from pystream.packager.verify.elementary import RATES, split_annex_b
from pystream.packager.verify.report import MALFORMED, VerifyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

PCR_INTERVAL = 0.1  # ISO/IEC 13818-1 2.7.2
WRAP = 1 << 33


class Transport:
    """A transport stream, segment after segment; continuity runs on."""

    def __init__(self, lenient: bool) -> None:
        self.lenient = lenient
        self.counters: dict[int, int] = {}
        self.program: tuple[int, int, dict[int, int]] | None = None
        self.last_pcr: float | None = None
        self.clock: int | None = None

    def segment(self, where: str, data: bytes, discontinuity: bool) -> list[Unit]:
        import numpy as np

        def bad(packet: int, what: str) -> NoReturn:
            raise VerifyError(where, f"TS packet {packet} (byte {packet * 188}): {what}")

        if not data or len(data) % 188:
            raise VerifyError(where, f"{len(data)} bytes are no whole number of TS packets")
        if discontinuity:
            self.counters.clear()
            self.last_pcr = self.clock = None
        packets = np.frombuffer(data, np.uint8).reshape(-1, 188)
        control = packets[:, 3]
        adapted = (control & 0x20) != 0
        loaded = (control & 0x10) != 0
        field_len = np.where(adapted, packets[:, 4].astype(np.int64), -1)
        faults = {
            "no sync byte": packets[:, 0] != 0x47,
            "transport error indicator": (packets[:, 1] & 0x80) != 0,
            "scrambled": (control & 0xC0) != 0,
            "neither payload nor adaptation field": ~(adapted | loaded),
            "adaptation field length": adapted
            & np.where(loaded, field_len > 182, field_len != 183),
        }
        if not self.lenient:
            faults["transport priority"] = (packets[:, 1] & 0x20) != 0
        for what, wrong in faults.items():
            if wrong.any():
                bad(int(wrong.argmax()), what)
        pids = (packets[:, 1] & 0x1F).astype(np.int64) << 8 | packets[:, 2]
        starts = (packets[:, 1] & 0x40) != 0
        program_pid, pcr_pid, kinds = self.tables(where, packets, pids, starts)
        known = {0, program_pid, *kinds} | ({0x11, 0x1FFF} if self.lenient else set())
        for pid in np.unique(pids).tolist():
            mine = np.flatnonzero(pids == pid)
            if pid not in known and not (self.lenient and pid in self.others):
                bad(int(mine[0]), f"PID {pid:#x} is in no table")
            if pid == 0x1FFF:
                continue
            steps = np.cumsum(loaded[mine])
            counters = (control[mine] & 15).astype(np.int64)
            before = self.counters.get(pid, int(counters[0] - steps[0]))
            wrong = counters != (before + steps) % 16
            if wrong.any():
                bad(int(mine[wrong.argmax()]), f"continuity of PID {pid:#x} is broken")
            self.counters[pid] = int(counters[-1])
        clocks, random_access = self.adaptation(bad, packets, pids, field_len, pcr_pid)
        units: list[Unit] = []
        begun: list[tuple[int, float, int]] = []
        for pid, kind in kinds.items():
            mine = np.flatnonzero((pids == pid) & loaded)
            if not len(mine):
                continue
            if not starts[mine[0]]:
                bad(int(mine[0]), "a segment begins inside a PES packet")
            offsets = 5 + field_len[mine]
            body = packets[mine]
            flat = body[np.arange(188) >= offsets[:, None]].tobytes()
            places = np.cumsum(188 - offsets) - (188 - offsets)
            edges = [*places[starts[mine]].tolist(), len(flat)]
            first = mine[starts[mine]].tolist()
            for packet, begin, end in zip(first, edges, edges[1:], strict=False):
                try:
                    new = self.pes(pid, kind, flat[begin:end], packet in random_access)
                except MALFORMED as error:
                    bad(packet, str(error))
                begun.append((packet, new[0].dts, pid))
                units += new
        if not self.lenient:
            self.check_clock(bad, clocks, begun)
        return units

    def tables(
        self, where: str, packets: NDArray[np.uint8], pids: Column, starts: NDArray[np.bool_]
    ) -> tuple[int, int, dict[int, int]]:
        """PAT and PMT: (PMT's PID, PCR's PID, {PID: stream type}); the same all the time."""
        import numpy as np

        def sections(pid: int, table: int) -> bytes:
            mine = np.flatnonzero(pids == pid)
            if not len(mine):
                raise VerifyError(where, f"no packet with PID {pid:#x}")
            head = np.where(packets[mine, 3] & 0x20, 5 + packets[mine, 4].astype(np.int64), 4)
            if not self.lenient and (head != 4).any():
                raise VerifyError(where, f"an adaptation field before the table of PID {pid:#x}")
            # Others stuff their tables by an adaptation field instead of 0xff (2.4.3.5).
            found = {
                packets[i].tobytes()[at:]
                for i, at in zip(mine.tolist(), head.tolist(), strict=True)
            }
            if len(found) != 1 or not starts[mine].all():
                raise VerifyError(where, f"tables of PID {pid:#x} differ, or take two packets")
            return _section(where, found.pop(), table)

        pat = sections(0, 0)
        programs = [
            (number, pid & 0x1FFF)
            for number, pid in struct.iter_unpack(">HH", pat[8:])
            if number or not self.lenient
        ]
        if len(programs) != 1 or not programs[0][0]:
            raise VerifyError(where, f"the PAT has {len(programs)} programs, not one")
        program_pid = programs[0][1]
        pmt = sections(program_pid, 2)
        pcr_pid = int.from_bytes(pmt[8:10], "big") & 0x1FFF
        at = 12 + (int.from_bytes(pmt[10:12], "big") & 0xFFF)
        kinds: dict[int, int] = {}
        self.others: set[int] = set()
        while at < len(pmt):
            kind, pid, info = struct.unpack_from(">BHH", pmt, at)
            at += 5 + (info & 0xFFF)
            if kind in (0x1B, 0x0F):
                kinds[pid & 0x1FFF] = kind
            elif self.lenient:
                self.others.add(pid & 0x1FFF)
            else:
                raise VerifyError(where, f"stream type {kind:#x} in the PMT")
        if not self.lenient:
            if pids[:2].tolist() != [0, program_pid]:
                raise VerifyError(where, "a segment begins with PAT and PMT (RFC 8216 3.2)")
            if pcr_pid not in kinds:
                raise VerifyError(where, f"PCR PID {pcr_pid:#x} is no stream's")
        return program_pid, pcr_pid, kinds

    def adaptation(
        self,
        bad: Any,
        packets: NDArray[np.uint8],
        pids: Column,
        field_len: Column,
        pcr_pid: int,
    ) -> tuple[list[tuple[int, float]], set[int]]:
        """PCRs as (packet, seconds), and the packets that say random access (2.4.3.4)."""
        clocks = []
        random_access = set()
        for packet in (field_len > 0).nonzero()[0].tolist():
            fields = packets[packet, 5 : 5 + int(field_len[packet])].tobytes()
            flags = fields[0]
            at = 1
            if flags & 0x40:
                random_access.add(packet)
            if flags & 0x10:
                if len(fields) < 7:
                    bad(packet, "no room for the PCR")
                base, low = struct.unpack_from(">IH", fields, 1)
                at = 7
                if not self.lenient and (low & 0x7E00 != 0x7E00 or low & 0x1FF > 299):
                    bad(packet, "reserved bits or extension of the PCR")
                ticks = self.unwrap(base << 1 | low >> 15)
                if int(pids[packet]) == pcr_pid:
                    clocks.append((packet, (ticks * 300 + (low & 0x1FF)) / 27e6))
                elif not self.lenient:
                    bad(packet, "PCR outside the PCR PID")
            if not self.lenient:
                if flags & 0x2F:
                    bad(packet, f"adaptation field flags {flags:#04x}")
                if fields[at:].strip(b"\xff"):
                    bad(packet, "stuffing is not 0xff")
        return clocks, random_access

    def unwrap(self, value: int) -> int:
        """A 33-bit time near the last one, on a line without end (2.4.3.7)."""
        near = value if self.clock is None else self.clock
        self.clock = near + (value - near + WRAP // 2) % WRAP - WRAP // 2
        return self.clock

    def pes(self, pid: int, kind: int, data: bytes, random_access: bool) -> list[Unit]:
        """The access units of one PES packet (2.4.3.6)."""
        stream, length, marks, flags, header_len = struct.unpack_from(">IHBBB", data)
        wanted = 0x1E0 if kind == 0x1B else 0x1C0
        if stream & ~(0x0F if kind == 0x1B else 0x1F) != wanted:
            raise ValueError(f"PES start code {stream:#010x}")
        if length != len(data) - 6 and not (length == 0 and kind == 0x1B):
            raise ValueError(f"PES packet length {length}, {len(data) - 6} bytes are there")
        times = flags >> 6
        if marks & 0xC0 != 0x80 or times < 2:
            raise ValueError("PES header without a time stamp")
        if not self.lenient and (marks != 0x84 or flags & 0x3F or stream != wanted):
            raise ValueError(f"PES flags {marks:#04x} {flags:#04x}")
        pts = dts = self.unwrap(_stamp(data[9:14], times))
        used = 5
        if times == 3:
            dts = self.unwrap(_stamp(data[14:19], 1))
            used = 10
            if dts >= pts and not self.lenient:
                raise ValueError("a DTS that is not below the PTS")
        if header_len < used or data[9 + used : 9 + header_len].strip(b"\xff"):
            raise ValueError("PES header stuffing")
        body = data[9 + header_len :]
        if kind == 0x0F:
            return list(self.adts(pid, pts, body))
        if body.lstrip(b"\0")[:1] != b"\1" or body[:2] != b"\0\0":
            raise ValueError("no start code at the beginning of an access unit")
        nals = split_annex_b(body)
        unit = Unit(pid, "avc", pts * TICK, dts * TICK, b"", nals, b"", random_access, 0)
        if self.lenient:
            unit.key = None
            return [unit]
        kinds = [nal[0] & 31 for nal in nals]
        if nals[:1] != [b"\x09\xf0"] or 9 in kinds[1:]:
            raise ValueError("an access unit begins with its one delimiter")
        if 5 in kinds and not {7, 8} <= set(kinds[: kinds.index(5)]):
            raise ValueError("an IDR picture without parameter sets before it")
        return [unit]

    def adts(self, pid: int, pts: int, data: bytes) -> Iterator[Unit]:
        """Frames of a PES packet (ISO/IEC 14496-3 1.A.3); the time stamp is the first one's."""
        at = 0
        ticks = float(pts)
        while at < len(data):
            head = data[at : at + 7]
            if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
                raise ValueError("no ADTS header where a frame begins")
            length = int.from_bytes(head[3:6], "big") >> 5 & 0x1FFF
            skip = 7 if head[1] & 1 else 9
            if at + length > len(data) or length < skip or head[6] & 3:
                raise ValueError("an ADTS frame does not end in its PES packet")
            if not self.lenient and (
                head[2] & 2 or head[3] & 0x3C or head[5] & 0x1F != 0x1F or head[6] != 0xFC
            ):
                raise ValueError("ADTS header bits")
            rate = RATES[head[2] >> 2 & 15]
            config = bytes([head[2] >> 6, head[2] >> 2 & 15, (head[2] & 1) << 2 | head[3] >> 6])
            seconds = ticks * TICK
            frame = data[at + skip : at + length]
            slack = 0.001 if at else 0.0
            yield Unit(pid, "aac", seconds, seconds, frame, [], config, None, slack=slack)
            at += length
            ticks += 1024 * 90_000 / rate

    def check_clock(
        self, bad: Any, clocks: list[tuple[int, float]], begun: list[tuple[int, float, int]]
    ) -> None:
        """PCRs rise, stand at most 100 ms apart, and are never later than what follows them."""
        if not clocks:
            bad(0, "no PCR in the segment")
        for packet, clock in clocks:
            if self.last_pcr is not None:
                step = clock - self.last_pcr
                if not 0 <= step <= PCR_INTERVAL + 1e-6:
                    bad(packet, f"PCR {1000 * step:.1f} ms after the one before")
            self.last_pcr = clock
        remaining = iter(clocks)
        upcoming = next(remaining, None)
        now = float("-inf")
        for packet, dts, _ in sorted(begun):
            while upcoming is not None and upcoming[0] <= packet:
                now = upcoming[1]
                upcoming = next(remaining, None)
            if dts < now:
                bad(packet, f"due {1000 * (now - dts):.3f} ms before the PCR")


def _stamp(data: bytes, prefix: int) -> int:
    """A 33-bit time stamp with its prefix and marker bits."""
    value = int.from_bytes(data, "big")
    if value >> 36 != prefix or value & 0x100010001 != 0x100010001:
        raise ValueError("marker bits of a time stamp")
    return value >> 33 << 30 & 0x1C0000000 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF


def _section(where: str, payload: bytes, table: int) -> bytes:
    """A table section alone in its packet, without its CRC (2.4.4); the rest is 0xff."""
    size = int.from_bytes(payload[2:4], "big")
    end = 4 + (size & 0xFFF)
    section = payload[1:end]
    if payload[0] or payload[1] != table or size & 0xF000 != 0xB000 or end > len(payload):
        raise VerifyError(where, f"table {table} is malformed")
    if _crc32(section) or payload[end:].strip(b"\xff"):
        raise VerifyError(where, f"table {table}: wrong CRC or stuffing")
    return section[:-4]


def _crc32(data: bytes) -> int:
    """CRC_32 of Annex A; 0 over a section with its CRC."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if crc >> 31 else 0)
    return crc
