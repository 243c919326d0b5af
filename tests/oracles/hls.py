"""The clips, what the naive demuxer says of them, and what a rendition holds when it is taken apart.

Everything here is exact: times are fractions of a second on the presentation line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate
from math import floor
from pathlib import Path

import pystream
from tests.oracles import boxes, mp4, ts

MEDIA = Path(__file__).parents[1] / "media"
CLIPS = sorted(path.name for path in MEDIA.iterdir() if path.suffix in (".mp4", ".m4a"))
LADDER = ("ladder_270.mp4", "ladder_180.mp4", "ladder_90.mp4", "ladder_audio.m4a")
START = 10
IDR, SPS, PPS, AUD = 5, 7, 8, 9


@cache
def data(name: str) -> bytes:
    return (MEDIA / name).read_bytes()


@cache
def oracle(name: str) -> mp4.Movie:
    return mp4.read(MEDIA / name)


@cache
def opened(name: str) -> pystream.Input:
    return pystream.open(MEDIA / name)


def planned(
    *names: str,
    format: str = "ts",
    seconds: float = 2,
    encryption: pystream.Aes128 | None = None,
    start_seconds: int = START,
) -> pystream.Presentation:
    return pystream.plan(
        [opened(name) for name in names],
        format=format,
        segment_duration=seconds,
        encryption=encryption,
        start_seconds=start_seconds,
    )


def track(name: str, kind: str) -> mp4.Track:
    """The first track of a handler, `vide` or `soun`, in a codec that is carried."""
    carried = {"vide": ("avc1", "avc3"), "soun": ("mp4a",)}[kind]
    return next(
        track
        for track in oracle(name).tracks
        if track.handler == kind and track.codecs[0] in carried
    )


def sample_bytes(name: str, sample: mp4.Sample) -> bytes:
    return data(name)[sample.offset : sample.offset + sample.size]


def carried(source: pystream.Input, name: str, kind: str) -> list[mp4.Sample]:
    """What the naive demuxer says of the samples that the reader means to carry."""
    wanted = {"vide": "video", "soun": "audio"}[kind]
    mine = next(track for track in source.tracks if track.kind == wanted)
    theirs = next(track for track in oracle(name).tracks if track.id == mine.id)
    return theirs.samples[slice(*mine.shown)]


def nals(sample: bytes, length_size: int = 4) -> list[bytes]:
    """The NAL units of a sample, without trailing zero bytes, which are no part of them."""
    found, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + length_size], "big")
        at += length_size
        found.append(sample[at : at + size].rstrip(b"\0"))
        at += size
    return found


def parameter_sets(avcc: bytes) -> list[bytes]:
    """SPS and PPS of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1)."""
    found, at = [], 6
    for mask, step in ((avcc[5] & 31, 0), (None, 1)):
        count = avcc[at] if mask is None else mask
        at += step
        for _ in range(count):
            size = int.from_bytes(avcc[at : at + 2], "big")
            found.append(avcc[at + 2 : at + 2 + size])
            at += 2 + size
    return found


def ticks_90k(time: Fraction, start_seconds: int = START) -> int:
    """A presentation time on the 90 kHz clock, rounded to the nearest tick."""
    return floor(time * 90_000 + Fraction(1, 2)) + start_seconds * 90_000


def segments(rendition: pystream.Rendition) -> list[bytes]:
    return [bytes(rendition.segment(n)) for n in range(len(rendition))]


def transport(rendition: pystream.Rendition) -> ts.Stream:
    """All segments, one after the other, through the strict demuxer."""
    stream = ts.Stream()
    for segment in segments(rendition):
        stream.add(segment)
    return stream


@dataclass
class Fragment:
    """One CMAF segment: its boxes, and its samples in ticks of the track's time scale."""

    top: list[boxes.Box]
    sequence: int
    begins: int
    samples: list[mp4.Raw]
    content: list[bytes]

    @property
    def ends(self) -> int:
        return self.begins + sum(sample.duration for sample in self.samples)

    @property
    def times(self) -> list[tuple[int, int]]:
        """(dts, pts) of each sample."""
        before = accumulate((s.duration for s in self.samples), initial=self.begins)
        return [(dts, dts + s.delta) for dts, s in zip(before, self.samples, strict=False)]


def fragment(init: bytes, segment: bytes) -> Fragment:
    moov = next(box for box in boxes.parse(init) if box.kind == b"moov")
    trexes = {t[0]: t for t in (mp4.u32s(b.head[4:]) for b in moov.all("mvex/trex"))}
    top = boxes.parse(segment)
    place = sum(len(bytes(box)) for box in top[: [box.kind for box in top].index(b"moof")])
    moof = next(box for box in top if box.kind == b"moof")
    raws: dict[int, list[mp4.Raw]] = {number: [] for number in trexes}
    (samples,) = mp4.fragment(moof, place, trexes, raws).values()
    tfdt = moof.get("traf/tfdt").head
    return Fragment(
        top,
        mp4.u32s(moof.get("mfhd").head)[1],
        int.from_bytes(tfdt[4:12], "big"),
        samples,
        [segment[raw.offset : raw.offset + raw.size] for raw in samples],
    )


def fragments(rendition: pystream.Rendition) -> Iterator[tuple[bytes, Fragment]]:
    """(initialization section, fragment) of each segment, as the playlist pairs them."""
    inits = dict(zip(init_uris(rendition), rendition.inits(), strict=True))
    playlist = rendition.playlist(3600, False)
    for n, entry in enumerate(playlist.segments):
        assert entry.map is not None
        init = inits[entry.map.uri]
        yield init, fragment(init, bytes(rendition.segment(n)))


def init_uris(rendition: pystream.Rendition) -> list[str]:
    return [rendition.init_uri(index) for index in range(len(rendition.inits()))]


def timescale(init: bytes) -> int:
    """Of the one track that an initialization section describes."""
    moov = next(box for box in boxes.parse(init) if box.kind == b"moov")
    return mp4.u32s(moov.get("trak/mdia/mdhd").head)[3]


def fourcc_paths(tree: list[boxes.Box], path: str = "") -> Iterator[str]:
    """The path of every box."""
    for box in tree:
        here = f"{path}/{box.kind.decode('latin-1')}".lstrip("/")
        yield here
        yield from fourcc_paths(box.children, here)
