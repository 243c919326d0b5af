"""From a playlist to its segments: files, keys, decryption, and what holds across playlists.

Each media playlist is taken apart by itself. Only all of them together show that no source's track
is missing, that streams keep their distance in time, and that no file is left over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from io import FileIO
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pystream import playlist as m3u8
from pystream.packager.verify.claims import Claims, Facts
from pystream.packager.verify.compare import CHANGE_TOLERANCE, LEAD_TOLERANCE, Stream, Timeline
from pystream.packager.verify.fragments import Fragments
from pystream.packager.verify.report import MALFORMED, Report, VerifyError
from pystream.packager.verify.source import Track, read_source
from pystream.packager.verify.transport import Transport


class Check:
    """One run: what is known across playlists."""

    def __init__(
        self,
        lenient: bool,
        keys: Path | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.keys = keys
        self.progress = progress
        self.checked = self.total = 0
        self.lenient = lenient
        self.report = Report()
        self.tracks: list[Track] = []
        self.used_ivs: dict[tuple[bytes, bytes], str] = {}
        self.seen: set[Path] = set()
        self.streams: list[Stream] = []
        self.secrets: dict[tuple[Path, bytes], Path] = {}
        self.targets: set[int] = set()
        self.timelines: list[Timeline] = []
        self.facts: list[Facts] = []
        self.texts: list[tuple[Path, str, str]] = []

    def source(self, path: Path, file: FileIO) -> None:
        try:
            self.tracks += read_source(path, file)
        except MALFORMED as error:
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
        named, media, independent = [path], [parsed], False
        if isinstance(parsed, m3u8.MultivariantPlaylist):
            uris = [variant.uri for variant in parsed.variants]
            uris += [rendition.uri for rendition in parsed.renditions if rendition.uri]
            named = [self.beside(path, uri) for uri in dict.fromkeys(uris)]
            media = [self.parse(inner) for inner in named]
            independent = parsed.independent_segments
        for inner, playlist in zip(named, media, strict=True):
            if isinstance(playlist, m3u8.MultivariantPlaylist):
                raise VerifyError(str(inner), "a variant's playlist is multivariant")
            self.total += sum(self.size(inner, segment) for segment in playlist.segments)
        for inner, playlist in zip(named, media, strict=True):
            self.media(inner, playlist, independent)
        lacking = self.coverage()
        whole = lacking is None
        # A media playlist may be one of several, without all that the sources have.
        if lacking and isinstance(parsed, m3u8.MultivariantPlaylist):
            raise VerifyError(str(path), f"nothing of {lacking.path}, track {lacking.id}")
        if not self.lenient:
            self.one_shift(path)
            self.same_numbers()
            if whole:
                self.begins()
                self.target(path)
            if isinstance(parsed, m3u8.MultivariantPlaylist):
                self.claims(path, parsed, dict.fromkeys(uris), media)
            self.print()
            for file in sorted(path.parent.rglob("*")):
                if file.is_file() and file.resolve() not in self.seen:
                    raise VerifyError(str(file), "no playlist names this file")
        return self.report

    def parse(self, path: Path) -> Any:
        # Before all of it is read: it may be a film.
        if self.read(path, (7, 0)) != b"#EXTM3U":
            raise VerifyError(str(path), "this is no playlist: it does not begin with #EXTM3U")
        try:
            text = self.read(path).decode()
            playlist = m3u8.parse(text)
        except ValueError as error:
            raise VerifyError(str(path), str(error)) from error
        self.texts.append((path, text, playlist.text()))
        return playlist

    def size(self, playlist: Path, segment: Any) -> int:
        """A segment's bytes, as far as the playlist and the file's size tell: for progress only."""
        if segment.byterange is not None:
            return int(segment.byterange[0])
        try:
            return os.stat(self.beside(playlist, segment.uri)).st_size
        except OSError:
            return 0

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
        if playlist.media_sequence and not self.lenient:
            raise VerifyError(str(path), "the first of all segments has media sequence number 0")
        demuxer: Transport | Fragments | None = None
        inits: list[Fragments] = []
        last_map = None
        independent |= playlist.independent_segments
        streams: dict[int, Stream] = {}
        timeline = Timeline(str(path))
        self.timelines.append(timeline)
        facts = Facts(playlist.segments[0].map is not None)
        self.facts.append(facts)
        discontinuities = playlist.discontinuity_sequence
        for number, segment in enumerate(playlist.segments):
            discontinuities += segment.discontinuity
            file = self.beside(path, segment.uri)
            where = str(file)
            sequence = playlist.media_sequence + number
            data = self.resource(path, file, segment.byterange, segment.key, sequence)
            if segment.map is None:
                if demuxer is None:
                    demuxer = Transport(self.lenient)
            elif demuxer is None or segment.map != last_map:
                init = self.beside(path, segment.map.uri)
                if last_map and last_map.uri != segment.map.uri and not segment.discontinuity:
                    raise VerifyError(where, "another EXT-X-MAP without EXT-X-DISCONTINUITY")
                last_map = segment.map
                content = self.resource(path, init, last_map.byterange, last_map.key, 0)
                inits.append(Fragments(str(init), content, self.lenient))
                if isinstance(demuxer, Fragments):
                    inits[-1].go_on(demuxer)
                demuxer = inits[-1]
            units = demuxer.segment(where, data, segment.discontinuity > 0)
            for unit in units:
                stream = streams.get(unit.stream)
                if stream is None:
                    stream = streams[unit.stream] = Stream(unit.kind, self.tracks, self.lenient)
                stream.feed(where, unit, discontinuities)
            facts.sizes.append(self.size(path, segment))
            facts.durations_us.append(segment.duration_us)
            decoded = [unit.dts for unit in units if unit.kind == "avc"]
            if decoded:
                facts.decoded.append((decoded[0], decoded[-1], len(decoded)))
            timeline.segment(where, segment.duration_us / 1e6, discontinuities, units)
            if not self.lenient:
                pictures = [unit for unit in units if unit.kind == "avc"]
                if independent and pictures and not pictures[0].idr:
                    raise VerifyError(where, "claims EXT-X-INDEPENDENT-SEGMENTS without an IDR")
            self.report.segments += 1
            size = self.size(path, segment)
            self.report.bytes += size
            self.checked += size
            if self.progress is not None:
                self.progress(self.checked, self.total)
        for stream in streams.values():
            stream.finish(str(path))
            self.report.samples += stream.count
        for fragments in [] if self.lenient else inits:
            fragments.check_init(streams)
        self.streams += streams.values()
        facts.streams += streams.values()
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
        elsewhere = ":" in uri or uri.startswith("/")
        if self.keys is not None and (elsewhere or not path.is_file()):
            # The name ends the path, or the query (https://host/keys?name=v0-0.key).
            of_path, of_all = (
                self.keys / unquote(re.split("[/=]", part)[-1]) for part in (uri.split("?")[0], uri)
            )
            path = of_all if of_all.is_file() else of_path
        elif elsewhere:
            what = f"its key {uri} lies elsewhere: --key-dir says where its file is"
            raise VerifyError(str(playlist), what)
        elif not path.exists():
            what = "No such file; where keys lie in another folder, --key-dir says which"
            raise VerifyError(str(path), what)
        secret = self.read(path)
        if len(secret) != 16:
            raise VerifyError(str(path), f"a key has 16 bytes, not {len(secret)}")
        # One key may serve all renditions: that no IV comes again under it is seen by each resource.
        other = self.secrets.setdefault((playlist, secret), path)
        if other != path and not self.lenient:
            raise VerifyError(str(path), f"holds the same key as {other}")
        return secret

    # What only all playlists together show

    def coverage(self) -> Track | None:
        """Each source that has pictures is seen, each source that has sound is heard; else a track of
        one that is not."""
        found = {id(c.track) for stream in self.streams for c in stream.candidates}
        for track in self.tracks:
            if id(track) in found or not track.count:
                continue
            self.report.left_out.append(f"{track.path.name} track {track.id} ({track.kind})")
            same = [t for t in self.tracks if (t.path, t.kind) == (track.path, track.kind)]
            if not any(id(t) in found for t in same):
                return track
        return None

    def claims(self, path: Path, parsed: Any, uris: Iterable[str], media: list[Any]) -> None:
        """What the multivariant playlist says of the others is so."""
        if any(one.independent_segments != parsed.independent_segments for one in media):
            what = "EXT-X-INDEPENDENT-SEGMENTS stands in some of the playlists only"
            raise VerifyError(str(path), what)
        facts = dict(zip(uris, self.facts, strict=True))
        Claims(str(path), parsed, facts, *self.targets).check()

    def print(self) -> None:
        """All that stands in a playlist means something: nothing is lost when it is printed again."""
        for path, text, again in self.texts:
            lines = enumerate(zip_longest(text.splitlines(True), again.splitlines(True)), 1)
            for number, (line, wanted) in lines:
                if line != wanted:
                    what = f"line {number} means nothing, does not stand where it belongs, or"
                    what += " says it otherwise than package does"
                    raise VerifyError(str(path), what)

    def target(self, path: Path) -> None:
        """One EXT-X-TARGETDURATION for all, as the longest segment asks for it (RFC 8216 4.3.3.1)."""
        if len(self.targets) > 1:
            raise VerifyError(str(path), f"target durations differ: {sorted(self.targets)}")
        longest = max(max(facts.durations_us) for facts in self.facts)
        wanted = max(1, (longest + 500_000) // 1_000_000)
        if self.targets != {wanted}:
            what = f"EXT-X-TARGETDURATION is {self.targets.pop()}, the longest segment asks for {wanted}"
            raise VerifyError(str(path), what)

    def same_numbers(self) -> None:
        """Matching content has matching discontinuity sequence numbers (RFC 8216 6.2.4)."""
        near = CHANGE_TOLERANCE + max(timeline.frame for timeline in self.timelines)
        shift = self.streams[0].candidates[0].shift
        for other in self.timelines:
            begins: dict[int, float] = {}
            for number, _, first, _ in other.spans:
                begins.setdefault(number, first)
            for mine in self.timelines:
                for number, where, _, last in mine.spans:
                    later = [begin for theirs, begin in begins.items() if theirs > number]
                    if later and last > later[0] + near:
                        raise VerifyError(
                            where,
                            f"discontinuity sequence number {number} at {last - shift:.3f} s of the film,"
                            f" and a higher one from {later[0] - shift:.3f} s on in {other.where}",
                        )

    def begins(self) -> None:
        """Late sound counts from time 0 on: the first picture's, or the first sound's of sound alone."""
        firsts = [t.first_picture for t in self.timelines if t.first_picture is not None]
        zero = min(firsts or [timeline.earliest for timeline in self.timelines])
        near = LEAD_TOLERANCE + max(timeline.frame for timeline in self.timelines)
        for timeline in self.timelines:
            assert timeline.begin is not None
            late = timeline.begin - min(timeline.earliest, zero)
            if abs(late) > near:
                raise VerifyError(
                    timeline.where,
                    f"its first EXTINF begins {late:.3f} s after the first picture, or its own media",
                )

    def one_shift(self, path: Path) -> None:
        """All streams keep the sources' distance in time: their shifts are the same."""
        for shift in (candidate.shift for candidate in self.streams[0].candidates):
            if all(stream.may_shift(shift) for stream in self.streams):
                return
        shifts = sorted({round(s.candidates[0].shift * 1000, 3) for s in self.streams})
        raise VerifyError(str(path), f"streams are shifted against each other (ms): {shifts}")
