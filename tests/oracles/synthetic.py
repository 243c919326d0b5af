"""Films that no encoder makes: tiny pictures and frames of sound, cut and joined as a test asks.

Pictures have one byte of slice, which no decoder could do anything with; sound is made of real
frames, one after the other, whatever their sample entry says.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from tests.oracles import boxes

SOUND_SCALE = 48_000
# AAC-LC, 48 kHz, two channels; 24 kHz, one channel (ISO/IEC 14496-3 1.6.2.1).
STEREO = boxes.aac_entry(bytes.fromhex("1190"), 48_000, 2)
MONO = boxes.aac_entry(bytes.fromhex("1308"), 24_000, 1)
LASTS = (1024, 2048)

_MEDIA = Path(__file__).parents[1] / "media"


def pictures(
    gops: list[int],
    fps: Fraction = Fraction(25),
    scale: int = 90_000,
    entries: list[int] | None = None,
) -> boxes.Track:
    """Tiny pictures with key frames at the begins of `gops`. `entries`: each GOP's sample entry, 0
    for 160x90, 1 for 320x180."""
    samples, total = [], Fraction(0)
    for number, gop in enumerate(gops):
        for i in range(gop):
            begin, end = round(total * scale), round((total + 1 / fps) * scale)
            head = b"\x65" if i == 0 else b"\x41"
            content = b"\0\0\0\2" + head + bytes([number & 0xFF | 1])
            entry = entries[number] if entries else 0
            samples.append(boxes.Sample(content, end - begin, 0, i == 0, entry))
            total += 1 / fps
    described = _avc_entries()[: 1 + max(entries or [0])]
    return boxes.Track("vide", scale, described, samples, width=160, height=90)


@cache
def _avc_entries() -> list[boxes.Box]:
    return [_entry(_MEDIA / f"ladder_{name}.mp4") for name in (90, 180)]


def _entry(path: Path) -> boxes.Box:
    moov = next(box for box in boxes.parse(path.read_bytes()) if box.kind == b"moov")
    return moov.get("trak/mdia/minf/stbl/stsd").children[0]


def alike(count: int, *contents: bytes, ticks: int = 3600, scale: int = 90_000) -> bytes:
    """A whole film of `count` pictures that repeat `contents`, all of one size, in tables of one
    row: each is a key frame by the file's word, and only the media take room."""
    shape = boxes.Track("vide", scale, _avc_entries()[:1], [boxes.Sample(b"", count * ticks)])
    ftyp = bytes(boxes.Box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"))

    def moov(place: int) -> bytes:
        tables = [
            boxes.stsd(shape.entries),
            boxes.table("stts", [(count, ticks)], "2I"),
            boxes.table("stsc", [(1, count, 1)], "3I"),
            boxes.full("stsz", struct.pack(">2I", len(contents[0]), count)),
            boxes.table("stco", [(place,)], "I"),
        ]
        trak = boxes.trak(1, shape, 1000, boxes.Box(b"stbl", b"", tables))
        return bytes(
            boxes.Box(b"moov", b"", [boxes.mvhd(1000, count * ticks * 1000 // scale, 2), trak])
        )

    place = len(ftyp) + len(moov(0)) + 8
    return ftyp + moov(place) + bytes(boxes.Box(b"mdat", b"".join(islice(cycle(contents), count))))


def sound(
    *runs: tuple[int, int],
    late: Fraction = Fraction(0),
    holes: dict[int, int] | None = None,
    language: str = "und",
    seed: int = 0,
    enabled: bool = True,
) -> boxes.Track:
    """Frames of sound in runs of (sample entry, how many): entry 0 is `STEREO`, 1 is `MONO`.

    `late`: seconds before the first frame, by an empty edit. `holes`: ticks of nothing after a
    frame. `seed`: sound of another seed has other bytes. `enabled`: as the track header says.
    """
    kinds = [entry for entry, count in runs for _ in range(count)]
    contents = islice(cycle(_frames()), seed, None)
    samples = [
        boxes.Sample(content, LASTS[kind] + (holes or {}).get(i, 0), entry=kind)
        for i, (kind, content) in enumerate(zip(kinds, contents, strict=False))
    ]
    made = boxes.Track("soun", SOUND_SCALE, [STEREO, MONO], samples, language, enabled=enabled)
    if late:
        made.edits = [(int(late * 1000), -1), (0, 0)]
    return made


@cache
def _frames() -> list[bytes]:
    """Frames of a clip, without the first ones, which are silent."""
    data = (_MEDIA / "audio_48k.m4a").read_bytes()
    stbl = next(box for box in boxes.parse(data) if box.kind == b"moov").get("trak/mdia/minf/stbl")
    at = int.from_bytes(stbl.get("stco").head[8:12], "big")
    found = []
    for i in range(12, len(stbl.get("stsz").head), 4):
        size = int.from_bytes(stbl.get("stsz").head[i : i + 4], "big")
        found.append(data[at : at + size])
        at += size
    return found[8:]


def movie(*tracks: boxes.Track) -> bytes:
    """The whole file."""
    return bytes(boxes.Movie(list(tracks)))
