"""A naive, strict MPEG-TS demuxer: one packet at a time, one fact at a time.

It reads what RFC 8216 3.2 allows in a segment: one program, H.264 and ADTS AAC, whole PES packets,
PAT and PMT first. Anything else raises TsError with the packet's number. Clauses are those of
ISO/IEC 13818-1 unless another standard is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

PACKET = 188
H264, AAC = 0x1B, 0x0F
RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


class TsError(ValueError):
    """The stream breaks a rule."""


@dataclass(frozen=True)
class Pes:
    """A PES packet: times in 90 kHz ticks, 33 bits as written; the packet it begins in."""

    pid: int
    pts: int
    dts: int
    data: bytes
    packet: int
    random_access: bool


@dataclass(frozen=True)
class Frame:
    """An ADTS frame without its header (ISO/IEC 14496-3 1.A)."""

    profile: int
    rate: int
    channels: int
    data: bytes


@dataclass
class Stream:
    """What some segments hold. `pcrs` are (packet, 27 MHz ticks). Counters run on across calls."""

    pmt_pid: int = 0
    pcr_pid: int = 0
    kinds: dict[int, int] = field(default_factory=dict)
    packets: int = 0
    pcrs: list[tuple[int, int]] = field(default_factory=list)
    pes: list[Pes] = field(default_factory=list)
    counters: dict[int, int] = field(default_factory=dict)

    def add(self, segment: bytes) -> None:
        """Reads one segment, which goes on where the last one ended."""
        if not segment or len(segment) % PACKET:
            raise TsError(f"{len(segment)} bytes are no whole number of packets")
        open_pes: dict[int, tuple[int, bool, bytearray]] = {}
        for at in range(0, len(segment), PACKET):
            first = at // PACKET
            pid, start, access, payload = self._packet(segment[at : at + PACKET])
            if (first == 0 and pid != 0) or (first == 1 and pid != self.pmt_pid):
                raise TsError(f"packet {self.packets}: a segment begins with PAT and PMT")
            if payload is None:
                pass
            elif pid == 0:
                self._pat(payload)
            elif pid == self.pmt_pid:
                self._pmt(payload)
            elif pid not in self.kinds:
                raise TsError(f"packet {self.packets}: PID {pid} is in no table")
            elif start:
                if pid in open_pes:
                    self._pes(pid, *open_pes.pop(pid))
                open_pes[pid] = (self.packets, access, bytearray(payload))
            elif pid in open_pes:
                open_pes[pid][2].extend(payload)
            else:
                raise TsError(f"packet {self.packets}: a segment begins inside a PES packet")
            self.packets += 1
        for pid, parts in open_pes.items():
            self._pes(pid, *parts)

    def _packet(self, packet: bytes) -> tuple[int, bool, bool, bytes | None]:
        """2.4.3.2 and 2.4.3.4: (PID, unit start, random access, payload)."""
        number = self.packets
        if packet[0] != 0x47:
            raise TsError(f"packet {number}: no sync byte")
        if packet[1] & 0xA0:
            raise TsError(f"packet {number}: error indicator or priority")
        if packet[3] & 0xC0:
            raise TsError(f"packet {number}: scrambled")
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        control, counter = packet[3] >> 4 & 3, packet[3] & 15
        if control == 0:
            raise TsError(f"packet {number}: reserved adaptation_field_control")
        if pid in self.counters and counter != (self.counters[pid] + (control & 1)) % 16:
            raise TsError(f"packet {number}: continuity of PID {pid}")
        self.counters[pid] = counter
        begin, access = 4, False
        if control & 2:
            length = packet[4]
            begin = 5 + length
            if (length > 182 and control == 3) or (length != 183 and control == 2):
                raise TsError(f"packet {number}: adaptation field of {length} bytes")
            if length:
                access = self._adaptation(pid, packet[5:begin])
        start = bool(packet[1] & 0x40)
        return pid, start, access, packet[begin:] if control & 1 else None

    def _adaptation(self, pid: int, fields: bytes) -> bool:
        flags, used = fields[0], 1
        if flags & 0x2F:
            raise TsError(f"packet {self.packets}: adaptation field flags {flags:#x}")
        if flags & 0x10:
            value = int.from_bytes(fields[1:7], "big")
            if value >> 9 & 0x3F != 0x3F:
                raise TsError(f"packet {self.packets}: reserved bits of the PCR")
            self.pcrs.append((self.packets, (value >> 15) * 300 + (value & 0x1FF)))
            used = 7
            if pid != self.pcr_pid:
                raise TsError(f"packet {self.packets}: PCR in PID {pid}")
        if any(byte != 0xFF for byte in fields[used:]):
            raise TsError(f"packet {self.packets}: stuffing")
        return bool(flags & 0x40)

    def _pat(self, payload: bytes) -> None:
        body = self._section(payload, 0)
        if len(body) != 4 or body[:2] == b"\0\0":
            raise TsError(f"packet {self.packets}: not one program")
        self.pmt_pid = int.from_bytes(body[2:], "big") & 0x1FFF

    def _pmt(self, payload: bytes) -> None:
        body = self._section(payload, 2)
        self.pcr_pid = int.from_bytes(body[:2], "big") & 0x1FFF
        at = 4 + (int.from_bytes(body[2:4], "big") & 0xFFF)
        kinds = {}
        while at < len(body):
            kind = body[at]
            if kind not in (H264, AAC):
                raise TsError(f"packet {self.packets}: stream type {kind:#x}")
            kinds[int.from_bytes(body[at + 1 : at + 3], "big") & 0x1FFF] = kind
            at += 5 + (int.from_bytes(body[at + 3 : at + 5], "big") & 0xFFF)
        if self.kinds and kinds != self.kinds:
            raise TsError(f"packet {self.packets}: the program changes")
        self.kinds = kinds

    def _section(self, payload: bytes, table: int) -> bytes:
        """2.4.4: what stands between the section's header and its CRC."""
        length = int.from_bytes(payload[2:4], "big") & 0xFFF
        section, rest = payload[1 : 4 + length], payload[4 + length :]
        if payload[0] or section[0] != table or section[1] & 0xF0 != 0xB0:
            raise TsError(f"packet {self.packets}: head of a section of table {table}")
        if section[5] & 0xC1 != 0xC1 or section[6:8] != b"\0\0":
            raise TsError(f"packet {self.packets}: a section that is not the only current one")
        if crc_32(section):
            raise TsError(f"packet {self.packets}: CRC")
        if any(byte != 0xFF for byte in rest):
            raise TsError(f"packet {self.packets}: stuffing after a section")
        return section[8:-4]

    def _pes(self, pid: int, packet: int, access: bool, data: bytearray) -> None:
        """2.4.3.6 and 2.4.3.7."""
        video = self.kinds[pid] == H264
        if data[:3] != b"\0\0\1" or data[3] & (0xF0 if video else 0xE0) != (
            0xE0 if video else 0xC0
        ):
            raise TsError(f"packet {packet}: PES start code {data[:4].hex()}")
        length = int.from_bytes(data[4:6], "big")
        if length != len(data) - 6 and not (video and length == 0):
            raise TsError(f"packet {packet}: PES packet length {length}")
        if data[6] & ~4 != 0x80 or data[7] not in (0x80, 0xC0):
            raise TsError(f"packet {packet}: PES flags {data[6:8].hex()}")
        pts = dts = time_stamp(packet, data[9:14], 3 if data[7] == 0xC0 else 2)
        used = 14
        if data[7] == 0xC0:
            dts = time_stamp(packet, data[14:19], 1)
            used = 19
        body = 9 + data[8]
        if body < used or any(byte != 0xFF for byte in data[used:body]):
            raise TsError(f"packet {packet}: PES header stuffing")
        self.pes.append(Pes(pid, pts, dts, bytes(data[body:]), packet, access))

    def of(self, kind: int) -> list[Pes]:
        """The PES packets of a stream type, in order."""
        return [pes for pes in self.pes if self.kinds[pes.pid] == kind]


def time_stamp(packet: int, data: bytearray, prefix: int) -> int:
    a, b, c, d, e = data
    if a >> 4 != prefix or not a & c & e & 1:
        raise TsError(f"packet {packet}: prefix or marker bits of a time stamp")
    return (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1


def crc_32(data: bytes) -> int:
    """Annex A, bit by bit; zero over a section that ends in its own CRC."""
    register = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = register >> 31 ^ byte >> bit & 1
            register = register << 1 & 0xFFFFFFFF
            if top:
                register ^= 0x04C11DB7
    return register


def access_unit(data: bytes) -> list[bytes]:
    """NAL units of a byte stream, without the zero bytes around them (ISO/IEC 14496-10 Annex B)."""
    head, *rest = data.split(b"\0\0\1")
    if head.strip(b"\0") or not rest:
        raise TsError("no start code at the beginning")
    return [unit.rstrip(b"\0") for unit in rest]


def adts_frames(data: bytes) -> Iterator[Frame]:
    """The frames that fill a PES packet (ISO/IEC 14496-3 1.A.3)."""
    while data:
        bits = int.from_bytes(data[:7], "big")
        if bits >> 44 != 0xFFF or bits >> 41 & 3 or not bits >> 40 & 1 or bits & 3:
            raise TsError(f"ADTS header {data[:7].hex()}")
        length = bits >> 13 & 0x1FFF
        if not 7 < length <= len(data):
            raise TsError(f"an ADTS frame of {length} bytes, {len(data)} are left")
        yield Frame(bits >> 38 & 3, RATES[bits >> 34 & 15], bits >> 30 & 7, data[7:length])
        data = data[length:]
