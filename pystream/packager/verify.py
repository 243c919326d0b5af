"""Checks packaged output from outside: decrypt, parse, compare with the source, byte for byte.

Nothing of the code under test is used but the playlist parser. The sources' sample tables, the
transport stream and the fragments are read here a second time, the sources without what the
packager knows about them. So one damaged byte, a wrong key, a missing or misplaced segment is
found, and a bug that the reader and the muxers share is not repeated.

Theory. Each elementary stream of each playlist is a sequence of access units. A source track is a
candidate for it as long as every unit equals the track's next sample; a stream without candidates
is wrong, and so is one whose candidates end too early. Times may differ from the source's by one
shift, the same for all streams. What muxing may add is listed in `_same_nals`; what packaging may
leave out at either end of a track in `_Track.starts` and `_Track.ends`.

`lenient` is for the output of other packagers: decryption, parsing and equal samples, no more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import SEEK_END, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from pystream import playlist as m3u8
from pystream.errors import PystreamError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

TICK = 1 / 90_000
# A time stamp is rounded to a tick once in the stream's first unit and once in this one.
TIME_TOLERANCE = 1.01 * TICK
# Two streams, each rounded so.
SHIFT_TOLERANCE = 2.02 * TICK
# What EXTINF, in microseconds, may miss by where a segment begins with a picture.
EXTINF_TOLERANCE = 0.001
PCR_INTERVAL = 0.1  # ISO/IEC 13818-1 2.7.2
WRAP = 1 << 33
# What reading bytes that are not what they should be raises here.
_MALFORMED = (ValueError, IndexError, KeyError, StopIteration, struct.error)


class VerifyError(PystreamError):
    """Output that is not what its sources ask for. `where`: the file or playlist; `what`: why."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


@dataclass
class Report:
    """What was checked. `seconds` is the media's length; `left_out` names source tracks that are
    in no playlist."""

    playlists: int = 0
    segments: int = 0
    bytes: int = 0
    samples: int = 0
    seconds: float = 0.0
    encrypted: bool = False
    left_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        how = "AES-128" if self.encrypted else "not encrypted"
        text = (
            f"{self.segments:,} segments in {self.playlists} playlists ({self.bytes:,} bytes, "
            f"{how}, {self.seconds:.3f} s): all {self.samples:,} samples equal the source's"
        )
        if self.left_out:
            text += f"\nnot in the output: {', '.join(self.left_out)}"
        return text


def verify(
    sources: Sequence[str | Path],
    playlist: str | Path,
    *,
    keys: str | Path | None = None,
    lenient: bool = False,
) -> Report:
    """Checks a multivariant or media playlist, and all it names, against the source files.

    `keys` is the folder of key files whose URIs lead elsewhere; a key is looked up there by its
    URI's last part. Raises VerifyError at the first fault, OSError where a source cannot be read.
    """
    with ExitStack() as files:
        check = _Check(lenient, Path(keys) if keys is not None else None)
        for source in map(Path, sources):
            check.source(source, files.enter_context(source.open("rb", buffering=0)))
        return check.run(Path(playlist))


class _Check:
    """One run: what is known across playlists."""

    def __init__(self, lenient: bool, keys: Path | None) -> None:
        self.keys = keys
        self.lenient = lenient
        self.report = Report()
        self.tracks: list[_Track] = []
        self.used_ivs: dict[tuple[bytes, bytes], str] = {}
        self.seen: set[Path] = set()
        self.streams: list[_Stream] = []
        self.secrets: dict[bytes, Path] = {}
        self.targets: set[int] = set()
        self.breaks: set[int] = set()

    def source(self, path: Path, file: FileIO) -> None:
        try:
            self.tracks += _read_source(path, file)
        except _MALFORMED as error:
            raise VerifyError(str(path), f"cannot be compared with: {error}") from error

    def run(self, path: Path) -> Report:
        entries = [
            track.seconds(track.pts[track.first_entry()])
            for track in self.tracks
            if track.kind == "avc" and track.count
        ]
        for track in self.tracks:
            track.bound(max(entries, default=None))
        parsed = self.parse(path)
        if isinstance(parsed, m3u8.MultivariantPlaylist):
            uris = [variant.uri for variant in parsed.variants]
            uris += [rendition.uri for rendition in parsed.renditions if rendition.uri]
            for uri in dict.fromkeys(uris):
                inner = self.beside(path, uri)
                media = self.parse(inner)
                if isinstance(media, m3u8.MultivariantPlaylist):
                    raise VerifyError(str(inner), "a variant's playlist is multivariant")
                self.media(inner, media, parsed.independent_segments)
        else:
            self.media(path, parsed, False)
        self.coverage(path)
        if not self.lenient:
            self.one_shift(path)
            if len(self.targets) > 1:
                raise VerifyError(str(path), f"target durations differ: {sorted(self.targets)}")
            if len(self.breaks) > 1:
                raise VerifyError(str(path), "playlists differ in their EXT-X-DISCONTINUITY tags")
            for file in sorted(path.parent.rglob("*")):
                if file.is_file() and file.resolve() not in self.seen:
                    raise VerifyError(str(file), "no playlist names this file")
        return self.report

    def parse(self, path: Path) -> Any:
        try:
            text = self.read(path).decode()
            return m3u8.parse(text)
        except ValueError as error:
            raise VerifyError(str(path), str(error)) from error

    def read(self, path: Path, extent: tuple[int, int] | None = None) -> bytes:
        """A file's bytes, or `length, offset` of them."""
        self.seen.add(path.resolve())
        try:
            with path.open("rb") as file:
                length, offset = extent or (-1, 0)
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise VerifyError(str(path), error.strerror or str(error)) from error

    def beside(self, path: Path, uri: str) -> Path:
        if ":" in uri.split("/", 1)[0] or uri.startswith("/"):
            raise VerifyError(str(path), f"{uri} is no relative URI")
        return path.parent / unquote(uri.split("?", 1)[0])

    # Media playlists

    def media(self, path: Path, playlist: Any, independent: bool) -> None:
        self.report.playlists += 1
        self.targets.add(playlist.target_duration)
        if not playlist.end:
            raise VerifyError(str(path), "no EXT-X-ENDLIST")
        if not playlist.segments:
            raise VerifyError(str(path), "no segments")
        demuxer: _Transport | _Fragments | None = None
        inits: list[_Fragments] = []
        last_map = None
        independent |= playlist.independent_segments
        self.breaks.add(sum(segment.discontinuity for segment in playlist.segments))
        streams: dict[int, _Stream] = {}
        timeline = _Timeline(str(path))
        for number, segment in enumerate(playlist.segments):
            file = self.beside(path, segment.uri)
            where = str(file)
            sequence = playlist.media_sequence + number
            data = self.resource(path, file, segment.byterange, segment.key, sequence)
            if segment.map is None:
                if demuxer is None:
                    demuxer = _Transport(self.lenient)
            elif demuxer is None or segment.map != last_map:
                init = self.beside(path, segment.map.uri)
                if last_map and last_map.uri != segment.map.uri and not segment.discontinuity:
                    raise VerifyError(where, "another EXT-X-MAP without EXT-X-DISCONTINUITY")
                last_map = segment.map
                content = self.resource(path, init, last_map.byterange, last_map.key, 0)
                inits.append(_Fragments(str(init), content, self.lenient))
                if isinstance(demuxer, _Fragments):
                    inits[-1].go_on(demuxer)
                demuxer = inits[-1]
            units = demuxer.segment(where, data, segment.discontinuity)
            for unit in units:
                stream = streams.get(unit.stream)
                if stream is None:
                    stream = streams[unit.stream] = _Stream(unit.kind, self.tracks, self.lenient)
                stream.feed(where, unit)
            timeline.segment(where, segment.duration_us / 1e6, units)
            if not self.lenient:
                pictures = [unit for unit in units if unit.kind == "avc"]
                if independent and pictures and not pictures[0].idr:
                    raise VerifyError(where, "claims EXT-X-INDEPENDENT-SEGMENTS without an IDR")
            self.report.segments += 1
            self.report.bytes += len(data)
        for stream in streams.values():
            stream.finish(str(path))
            self.report.samples += stream.count
        for fragments in [] if self.lenient else inits:
            fragments.check_init(streams)
        self.streams += streams.values()
        ends = [stream.end for stream in streams.values()]
        if not self.lenient:
            timeline.finish(ends)
        self.report.seconds = max(self.report.seconds, timeline.length)

    def resource(
        self, playlist: Path, file: Path, extent: tuple[int, int] | None, key: Any, sequence: int
    ) -> bytes:
        """A segment or an init section, decrypted where a key holds (RFC 8216 4.3.2.4, 5.2)."""
        data = self.read(file, extent)
        if key is None:
            return data
        from Crypto.Cipher import AES

        self.report.encrypted = True
        secret = self.key(playlist, key.uri)
        iv = key.iv if key.iv is not None else sequence.to_bytes(16, "big")
        other = self.used_ivs.setdefault((secret, iv), str(file))
        if other != str(file) and not self.lenient:
            raise VerifyError(str(file), f"has the key and IV of {other}")
        if not data or len(data) % 16:
            raise VerifyError(str(file), f"{len(data)} bytes are no whole number of AES blocks")
        plain: bytes = AES.new(secret, AES.MODE_CBC, iv).decrypt(data)
        pad = plain[-1]
        if not 1 <= pad <= 16 or plain[-pad:] != bytes([pad]) * pad:
            raise VerifyError(str(file), "no PKCS#7 padding at the end: wrong key or IV, or damage")
        return plain[:-pad]

    def key(self, playlist: Path, uri: str) -> bytes:
        path = playlist.parent / unquote(uri.split("?", 1)[0])
        if self.keys is not None and not (":" not in uri and path.is_file()):
            path = self.keys / unquote(uri.split("?", 1)[0]).rsplit("/", 1)[-1]
        secret = self.read(path)
        if len(secret) != 16:
            raise VerifyError(str(path), f"a key has 16 bytes, not {len(secret)}")
        if self.secrets.setdefault(secret, path) != path and not self.lenient:
            raise VerifyError(str(path), f"holds the same key as {self.secrets[secret]}")
        return secret

    # What only all playlists together show

    def coverage(self, path: Path) -> None:
        """Each source that has pictures must be seen, each source that has sound be heard."""
        found = {id(c.track) for stream in self.streams for c in stream.candidates}
        for track in self.tracks:
            if id(track) in found or not track.count:
                continue
            self.report.left_out.append(f"{track.path.name} track {track.id} ({track.kind})")
            same = [t for t in self.tracks if (t.path, t.kind) == (track.path, track.kind)]
            if not any(id(t) in found for t in same):
                raise VerifyError(str(path), f"nothing of {track.path}, track {track.id}")

    def one_shift(self, path: Path) -> None:
        """All streams keep the sources' distance in time: their shifts are the same."""
        for shift in (candidate.shift for candidate in self.streams[0].candidates):
            if all(stream.may_shift(shift) for stream in self.streams):
                return
        shifts = sorted({round(s.candidates[0].shift * 1000, 3) for s in self.streams})
        raise VerifyError(str(path), f"streams are shifted against each other (ms): {shifts}")


# Comparing


@dataclass(slots=True)
class _Unit:
    """An access unit, or an AAC frame. `nals` for pictures, `data` for what a source sample holds
    as it is; `config` is the fragment's decoder configuration or the frame's ADTS header."""

    stream: int
    kind: str
    pts: float
    dts: float
    data: bytes
    nals: list[bytes]
    config: bytes
    key: bool | None
    nal_size: int = 4
    # How far its time may be off because no time stamp says it.
    slack: float = 0.0

    @property
    def idr(self) -> bool:
        return any(nal[0] & 31 == 5 for nal in self.nals if nal)


@dataclass(slots=True)
class _Candidate:
    track: _Track
    next: int
    shift: float = 0.0


class _Stream:
    """One elementary stream of one playlist, and the source tracks that it may be."""

    def __init__(self, kind: str, tracks: list[_Track], lenient: bool) -> None:
        self.kind = kind
        self.lenient = lenient
        self.count = 0
        self.end = 0.0
        self.last_dts = float("-inf")
        self.candidates = [
            _Candidate(track, start)
            for track in tracks
            if track.kind == kind
            for start in track.starts
        ]

    def feed(self, where: str, unit: _Unit) -> None:
        name = f"{self.kind} sample {self.count}"
        if not self.candidates:
            raise VerifyError(where, f"{name}: no source has such a track")
        # Sound may share a time stamp, where two frames of the source do.
        if unit.dts < self.last_dts or (unit.dts == self.last_dts and self.kind == "avc"):
            raise VerifyError(where, f"{name}: decoding times do not rise")
        self.last_dts = unit.dts
        left = []
        why = ""
        for candidate in self.candidates:
            why = self.fault(candidate, unit)
            if not why:
                candidate.next += 1
                left.append(candidate)
        if not left:
            raise VerifyError(where, f"{name} at {unit.pts:.6f} s {why}")
        self.candidates = left
        track = left[0].track
        self.end = max(self.end, unit.pts + track.duration(left[0].next - 1))
        self.count += 1

    def fault(self, candidate: _Candidate, unit: _Unit) -> str:
        """Why the unit is not the candidate's next sample, or an empty string."""
        track, index = candidate.track, candidate.next
        if index >= track.count:
            return f"comes after the last sample of {track.path.name}"
        shift = unit.pts - track.seconds(track.pts[index])
        if self.count == 0:
            candidate.shift = shift
        elif not self.lenient and abs(shift - candidate.shift) > TIME_TOLERANCE + unit.slack:
            return (
                f"is {1000 * (shift - candidate.shift):.3f} ms off (sample {index} of the source)"
            )
        entry = track.entries[track.entry[index]]
        sample = track.sample(index)
        if self.kind == "aac":
            same = sample == unit.data
        else:
            same = (sample == unit.data and unit.nal_size == entry.nal_size) or _same_nals(
                unit.nals, _nals(sample, entry.nal_size), entry.parameter_sets
            )
        if not same:
            return f"differs from sample {index} of {track.path.name}"
        if self.lenient:
            return ""
        if unit.config and not entry.agrees(unit.config):
            return "stands under another decoder configuration than the source's"
        if unit.key is not None and unit.key not in (bool(track.sync[index]), unit.idr):
            return "is marked as a key frame and is none, or the other way round"
        return ""

    def finish(self, where: str) -> None:
        done = [c for c in self.candidates if c.next in c.track.ends]
        if not done:
            first = self.candidates[0]
            raise VerifyError(
                where,
                f"the {self.kind} stream ends {first.track.count - first.next} samples before "
                f"{first.track.path.name} does",
            )
        self.candidates = done

    def may_shift(self, shift: float) -> bool:
        return any(abs(c.shift - shift) <= SHIFT_TOLERANCE for c in self.candidates)


def _same_nals(out: list[bytes], source: list[bytes], parameter_sets: frozenset[bytes]) -> bool:
    """Whether the packaged NAL units are the source's, but for what muxing adds and takes away.

    That is access unit delimiters, and the parameter sets of the sample entry, which a transport
    stream needs in the stream itself (RFC 8216 3.2).
    """
    if out == source:
        return True

    def free(nal: bytes) -> bool:
        return nal[0] & 31 == 9 or nal in parameter_sets

    at = 0
    for nal in out:
        while at < len(source) and source[at] != nal and free(source[at]):
            at += 1
        if at < len(source) and source[at] == nal:
            at += 1
        elif not free(nal):
            return False
    return all(free(nal) for nal in source[at:])


def _nals(sample: bytes, size: int) -> list[bytes]:
    """The NAL units of a length-prefixed sample, split as `_annex_b` would split them."""
    found = []
    at = 0
    while at < len(sample):
        length = int.from_bytes(sample[at : at + size], "big")
        at += size
        if at + length > len(sample):
            return [sample]
        found += _annex_b(sample[at : at + length])
        at += length
    return found


def _is_entry(nals: list[bytes]) -> bool:
    """An IDR picture, or one with a recovery point message (ISO/IEC 14496-10 D.1.7)."""
    for nal in nals:
        if nal[0] & 31 == 5:
            return True
        at = 1
        while nal[0] & 31 == 6 and at + 1 < len(nal) and nal[at] != 0x80:
            if nal[at] == 6:
                return True
            # Types and sizes of 255 and more do not come before a recovery point in practice.
            at += 2 + nal[at + 1]
    return False


def _annex_b(data: bytes) -> list[bytes]:
    """NAL units between start codes, without the zero bytes that may follow one (Annex B.1)."""
    return [nal for piece in data.split(b"\0\0\1") if (nal := piece.rstrip(b"\0"))]


class _Timeline:
    """EXTINF against the time stamps: segments begin where the sums say."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.begin: float | None = None
        self.length = 0.0
        self.faults: list[tuple[str, str]] = []
        self.frame = 0.0
        self.late_sound: tuple[str, str] | None = None

    def segment(self, where: str, duration: float, units: list[_Unit]) -> None:
        if not units:
            raise VerifyError(where, "holds no samples")
        pictures = [unit.pts for unit in units if unit.kind == "avc"]
        sounds = [unit.pts for unit in units if unit.kind == "aac"]
        if len(sounds) > 1:
            self.frame = max(self.frame, sounds[1] - sounds[0])
        starts = [pictures[0], min(pictures)] if pictures else [sounds[0]]
        tolerance = EXTINF_TOLERANCE + (0 if pictures else self.frame)
        if self.begin is None:
            # A video's first segment may hold pictures of before the edit that starts it.
            self.begin = starts[-1]
        off = min((start - self.begin - self.length for start in starts), key=abs)
        if abs(off) > tolerance:
            text = f"begins {1000 * off:.3f} ms off the sum of the EXTINFs before it"
            self.faults.append((where, text))
        early = self.begin + self.length - sounds[0] if sounds and self.length else 0.0
        if early > self.frame + EXTINF_TOLERANCE:
            self.faults.append((where, f"sound begins {1000 * early:.3f} ms before the segment"))
        self.length += duration
        if self.late_sound:
            self.faults.append(self.late_sound)
        self.late_sound = None
        over = sounds[-1] - self.begin - self.length if sounds else 0.0
        if over > self.frame + EXTINF_TOLERANCE:
            # Sound may outlast the last segment's pictures; what that means, `finish` judges.
            self.late_sound = (where, f"sound runs {1000 * over:.3f} ms past the segment's end")

    def finish(self, ends: list[float]) -> None:
        if self.faults:
            raise VerifyError(*self.faults[0])
        assert self.begin is not None
        end = self.begin + self.length
        slack = EXTINF_TOLERANCE + self.frame
        if not min(ends) - slack <= end <= max(ends) + slack:
            span = max(ends) - self.begin
            raise VerifyError(
                self.where, f"EXTINFs sum to {self.length:.6f} s, the media is {span:.6f} s long"
            )


# MPEG-TS (ISO/IEC 13818-1)


class _Transport:
    """A transport stream, segment after segment; continuity runs on."""

    def __init__(self, lenient: bool) -> None:
        self.lenient = lenient
        self.counters: dict[int, int] = {}
        self.program: tuple[int, int, dict[int, int]] | None = None
        self.last_pcr: float | None = None
        self.clock: int | None = None

    def segment(self, where: str, data: bytes, discontinuity: bool) -> list[_Unit]:
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
        units: list[_Unit] = []
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
                except _MALFORMED as error:
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
            found = {packets[i].tobytes()[4:] for i in mine.tolist()}
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

    def pes(self, pid: int, kind: int, data: bytes, random_access: bool) -> list[_Unit]:
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
        nals = _annex_b(body)
        unit = _Unit(pid, "avc", pts * TICK, dts * TICK, b"", nals, b"", random_access, 0)
        if self.lenient:
            unit.key = None
            return [unit]
        kinds = [nal[0] & 31 for nal in nals]
        if nals[:1] != [b"\x09\xf0"] or 9 in kinds[1:]:
            raise ValueError("an access unit begins with its one delimiter")
        if 5 in kinds and not {7, 8} <= set(kinds[: kinds.index(5)]):
            raise ValueError("an IDR picture without parameter sets before it")
        return [unit]

    def adts(self, pid: int, pts: int, data: bytes) -> Iterator[_Unit]:
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
            rate = _RATES[head[2] >> 2 & 15]
            config = bytes([head[2] >> 6, head[2] >> 2 & 15, (head[2] & 1) << 2 | head[3] >> 6])
            seconds = ticks * TICK
            frame = data[at + skip : at + length]
            slack = 0.001 if at else 0.0
            yield _Unit(pid, "aac", seconds, seconds, frame, [], config, None, slack=slack)
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


_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]


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


# Boxes and fragments (ISO/IEC 14496-12)


@dataclass(slots=True)
class _Box:
    kind: bytes
    at: int
    data: bytes

    def boxes(self, skip: int = 0) -> list[_Box]:
        return _boxes(self.data[skip:], self.at + 8 + skip)

    def get(self, path: str, skip: int = 0) -> _Box:
        found = self.all(path, skip)
        if not found:
            raise ValueError(f"no {path} in {self.kind.decode('latin-1')}")
        return found[0]

    def all(self, path: str, skip: int = 0) -> list[_Box]:
        first, _, rest = path.partition("/")
        mine = [box for box in self.boxes(skip) if box.kind == first.encode()]
        return [inner for box in mine for inner in box.all(rest)] if rest else mine

    @property
    def numbers(self) -> tuple[int, ...]:
        """The fields as 32-bit integers, version and flags first."""
        return struct.unpack(f">{len(self.data) // 4}I", self.data[: len(self.data) // 4 * 4])


def _boxes(data: bytes, base: int = 0) -> list[_Box]:
    found = []
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        size = size or len(data) - at
        if size < head or at + size > len(data):
            raise ValueError(f"box {kind!r} at byte {base + at} runs out of its parent")
        found.append(_Box(kind, base + at + head - 8, data[at + head : at + size]))
        at += size
    if data[at:].strip(b"\0"):
        raise ValueError(f"{len(data) - at} bytes after the last box, at byte {base + at}")
    return found


class _Fragments:
    """An init section and the media segments that follow it."""

    def __init__(self, where: str, data: bytes, lenient: bool) -> None:
        self.where = where
        self.lenient = lenient
        self.sequence = 0
        self.next_dts: dict[int, int] = {}
        self.data = data
        try:
            self.tops = _boxes(data)
            moov = next((box for box in self.tops if box.kind == b"moov"), None)
            if moov is None:
                raise ValueError("no moov in the init section")
            self.moov = moov
            self.trexes = {box.numbers[1]: box.numbers for box in moov.all("mvex/trex")}
            self.traks = {_track_id(trak): trak for trak in moov.all("trak")}
            self.shapes = {
                number: (_kind(trak), _timescale(trak), _entries(trak)[0])
                for number, trak in self.traks.items()
            }
        except _MALFORMED as error:
            raise VerifyError(where, f"init section: {error}") from error

    def go_on(self, before: _Fragments) -> None:
        """Takes over from the init section that held until now."""
        self.sequence = before.sequence
        self.next_dts = before.next_dts

    def segment(self, where: str, data: bytes, discontinuity: bool) -> list[_Unit]:
        try:
            return self.units(data, discontinuity)
        except _MALFORMED as error:
            raise VerifyError(where, str(error)) from error

    def units(self, data: bytes, discontinuity: bool) -> list[_Unit]:
        tops = _boxes(data)
        if not self.lenient and [box.kind for box in tops] != [b"styp", b"moof", b"mdat"]:
            raise ValueError("a segment is styp, moof, mdat")
        if not self.lenient:
            _fills(tops, data)
        units: list[_Unit] = []
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

    def strict_moof(self, moof: _Box) -> None:
        if [box.kind for box in moof.boxes()][:1] != [b"mfhd"] or moof.get("mfhd").numbers[0]:
            raise ValueError("a moof begins with mfhd")
        for box in moof.boxes()[1:]:
            kinds = [inner.kind for inner in box.boxes()]
            if box.kind != b"traf" or kinds[:2] != [b"tfhd", b"tfdt"] or {*kinds[2:]} != {b"trun"}:
                raise ValueError(f"unexpected box in {box.kind.decode('latin-1')}")

    def run(
        self, traf: _Box, moof_at: int, data: bytes, pieces: list[tuple[int, int]]
    ) -> list[_Unit]:
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
                at = base + _signed(next(fields))
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
                    offset = _signed(offset) if signed else offset
                if at < 0 or at + many > len(data):
                    raise ValueError(f"a sample at byte {at} runs out of the segment")
                sample = data[at : at + many]
                pieces.append((at, at + many))
                at += many
                nals = _nals(sample, entry.nal_size) if kind == "avc" else []
                if not self.lenient and mark not in (_SYNC, _NO_SYNC):
                    raise ValueError(f"sample flags {mark:#x}")
                key = not mark & 0x10000 if kind == "avc" else None
                if kind in ("avc", "aac"):
                    units.append(
                        _Unit(
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

    def check_init(self, streams: dict[int, _Stream]) -> None:
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
        except _MALFORMED as error:
            raise VerifyError(self.where, f"init section: {error}") from error


# What pystream writes where the standard leaves a choice.
_FTYP = b"iso6\0\0\0\0iso6cmfcmp41"
# Sample flags (8.8.3.1): depends on no other sample; depends on others and is no sync sample.
_SYNC, _NO_SYNC = 0x02000000, 0x01010000
_STYP = b"msdh\0\0\0\0msdhcmfs"
_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _fills(boxes: list[_Box], data: bytes) -> None:
    """Raises where zero bytes follow the last box, which `_boxes` lets pass as QuickTime's."""
    end = boxes[-1].at + 8 + len(boxes[-1].data)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the last box")


def _movie_fault(moov: _Box) -> str:
    """What is wrong with the boxes of moov that belong to no track."""
    kinds = [box.kind for box in moov.boxes()]
    traks = kinds.count(b"trak")
    if kinds != [b"mvhd", *[b"trak"] * traks, b"mvex"]:
        return f"moov holds {kinds}"
    ids = [_track_id(trak) for trak in moov.all("trak")]
    rest = struct.pack(">IH10x", 0x10000, 0x100) + _MATRIX + struct.pack(">24xI", max(ids) + 1)
    if moov.get("mvhd").data not in [
        struct.pack(">IIIII", 0, 0, 0, _timescale(trak), 0) + rest for trak in moov.all("trak")
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


def _trak_fault(trak: _Box, source: _Track) -> str:
    """What in a track of the init section is neither fixed nor the source's."""
    sound = source.kind == "aac"
    number, scale = _track_id(trak), _timescale(trak)
    entry = _entries(trak)[0]
    theirs = [mine for mine in source.entries if mine.agrees(entry.config)]
    if not theirs:
        return "decoder configuration"
    # The picture's size stands twice in the section, so damage to either shows.
    size = (0, 0) if sound else (entry.width << 16, entry.height << 16)
    head = struct.pack(">IIIIII8xHHHH", 7, 0, 0, number, 0, 0, 0, 0, sound << 8, 0)
    tail = struct.pack(">II", *size)
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
    if trak.get("tkhd").data not in [head + matrix + tail for matrix in (_MATRIX, source.matrix)]:
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


def _signed(value: int) -> int:
    return value - (value >> 31 << 32)


# Sources


@dataclass(slots=True)
class _Entry:
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

    def agrees(self, config: bytes) -> bool:
        """Whether a packaged configuration is this one. NAL lengths may have been widened; an ADTS
        header says profile, rate and channels only."""
        if self.kind == "avc":
            widened = self.config[:4] + b"\xff" + self.config[5:]
            return config in (self.config, widened)
        return config == self.config or (len(config) == 3 and config == _adts_fields(self.config))

    def equals(self, source: _Entry, sound: bool) -> bool:
        """Whether this entry of an init section says what the source's says."""
        if sound:
            _, rate, channels = _adts_fields(source.config)
            rates = {
                0,
                *(_RATES[i] << 16 for i in (rate, rate - 3) if 0 <= i < 13 and _RATES[i] < 65536),
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
                and esds == [_esds(source.config)]
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


class _Track:
    """A source track: columns of its samples, in media ticks."""

    def __init__(self, path: Path, file: FileIO, trak: _Box, movie_scale: int) -> None:
        self.path = path
        self.file = file
        self.id = _track_id(trak)
        self.kind = _kind(trak)
        self.scale = _timescale(trak)
        self.entries = _entries(trak)
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

    def first_entry(self) -> int:
        """The first key frame that a decoder can really begin at, else the first key frame."""
        keys: list[int] = self.sync.nonzero()[0].tolist()
        for key in keys:
            if _is_entry(_nals(self.sample(key), self.entries[self.entry[key]].nal_size)):
                return key
        return keys[0] if keys else 0

    def seconds(self, ticks: int) -> float:
        """A media time on the presentation line."""
        return float(ticks) / self.scale + self.origin

    def duration(self, index: int) -> float:
        return float(self.ticks[index]) / self.scale

    def sample(self, index: int) -> bytes:
        self.file.seek(int(self.offset[index]))
        return self.file.read(int(self.bytes[index]))

    def bound(self, first_picture: float | None) -> None:
        """Sets where the packaged track may begin and end.

        Pictures: at the first sample, at the first key frame, at the first one that keeps its
        word, or at one that all earlier samples precede outside the edit. Sound: after frames that
        are over when the edit begins, or when the first picture is shown.
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
            limit = max(self.begin, self.begin if first_picture is None else first_picture)
            late = over > limit + 1e-6
            heard = int(late.argmax()) if late.any() else 0
            self.starts = list(range(heard + 1))
        shown = (times < self.finish).nonzero()[0]
        last = int(shown[-1]) + 1 if len(shown) else 0
        self.ends = {*range(last, self.count + 1)}


def _read_source(path: Path, file: FileIO) -> list[_Track]:
    """The H.264 and AAC tracks of a progressive or fragmented file."""
    import numpy as np

    end = file.seek(0, SEEK_END)
    tops = list(_top_level(file, end))
    moov = next((box for box in tops if box.kind == b"moov"), None)
    if moov is None:
        raise ValueError("no moov")
    mvhd = moov.get("mvhd").numbers
    movie_scale = mvhd[5 if mvhd[0] >> 24 else 3]
    fragmented = bool(moov.all("mvex"))
    traks = {_track_id(trak): trak for trak in moov.all("trak")}
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
        track = _Track(path, file, trak, movie_scale)
        if track.kind in ("avc", "aac"):
            (
                track.offset,
                track.bytes,
                track.dts,
                track.pts,
                track.sync,
                track.ticks,
                track.entry,
            ) = columns[number]
            tracks.append(track)
    return tracks


def _top_level(file: FileIO, end: int) -> Iterator[_Box]:
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
            yield _Box(kind, at + head - 8, file.read(size - head))
        at += size


def _table(trak: _Box) -> Any:
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


def _sizes(stbl: _Box) -> Any:
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
    moof: _Box, trexes: dict[int, tuple[int, ...]], clock: dict[int, int]
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
                at = base + _signed(next(fields))
            first = next(fields) if bits & 4 else None
            for index in range(count):
                length = next(fields) if bits & 0x100 else duration
                many = next(fields) if bits & 0x200 else size
                mark = next(fields) if bits & 0x400 else marks
                if index == 0 and first is not None:
                    mark = first
                shift = _signed(next(fields)) if bits & 0x800 else 0
                dts = clock[number]
                key = int(not mark & 0x10000)
                mine.append([at, many, dts, dts + shift, key, length, entry - 1])
                at += many
                clock[number] += length
        data_end = at
    return found


def _track_id(trak: _Box) -> int:
    tkhd = trak.get("tkhd").numbers
    return tkhd[5 if tkhd[0] >> 24 else 3]


def _timescale(trak: _Box) -> int:
    mdhd = trak.get("mdia/mdhd").numbers
    return mdhd[5 if mdhd[0] >> 24 else 3]


def _kind(trak: _Box) -> str:
    entries = _entries(trak)
    return entries[0].kind if entries else ""


def _entries(trak: _Box) -> list[_Entry]:
    """The sample entries (8.5.2); `config` is empty for codecs that are not compared."""
    found = []
    for box in trak.get("mdia/minf/stbl/stsd").boxes(8):
        entry = _Entry("", "", b"", [], b"")
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
            entry = _Entry("avc", code, box.data[:78], kinds, config, size, frozenset(sets))
        elif box.kind == b"mp4a":
            skip = 28 + {1: 16, 2: 36}.get(box.data[9], 0)
            inner = box.boxes(skip)
            inner += [child for wave in inner if wave.kind == b"wave" for child in wave.boxes()]
            esds = next((child.data for child in inner if child.kind == b"esds"), None)
            config = dict(_descriptors(esds[4:])).get(5, b"") if esds else b""
            if config and esds and dict(_descriptors(esds[4:]))[4][0] == 0x40:
                kinds = [(child.kind, child.data) for child in inner]
                entry = _Entry("aac", "mp4a", box.data[:28], kinds, config)
        found.append(entry)
    return found


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, fields) of ISO/IEC 14496-1 descriptors, the nested ones after their parent's."""
    at = 0
    while at < len(data):
        tag, size = data[at], 0
        at += 1
        while True:
            size = size << 7 | data[at] & 0x7F
            at += 1
            if not data[at - 1] & 0x80:
                break
        own = {3: 3, 4: 13}.get(tag, size)
        yield tag, data[at : at + own]
        at += own


def _esds(config: bytes) -> bytes:
    """An esds box's fields around an AudioSpecificConfig, as short as they can be."""

    def descriptor(tag: int, body: bytes) -> bytes:
        size = len(body)
        more = [size & 0x7F]
        while size := size >> 7:
            more.insert(0, size & 0x7F | 0x80)
        return bytes([tag, *more]) + body

    decoder = descriptor(4, b"\x40\x15" + bytes(11) + descriptor(5, config))
    return bytes(4) + descriptor(3, bytes(3) + decoder + descriptor(6, b"\2"))


def _adts_fields(config: bytes) -> bytes:
    """Profile, rate index and channels of an AudioSpecificConfig's core (14496-3 1.6.2.1)."""
    bits = int.from_bytes(config.ljust(12, b"\0")[:12], "big")
    at = 96

    def take(count: int) -> int:
        nonlocal at
        at -= count
        return bits >> at & (1 << count) - 1

    kind = take(5)
    if kind == 31:
        kind = 32 + take(6)
    rate = take(4)
    if rate == 15:
        rate = _RATES.index(take(24))
    channels = take(4)
    if kind in (5, 29):
        if take(4) == 15:
            take(24)
        kind = take(5)
    return bytes([kind - 1 & 255, rate, channels])
