"""Makes the seeds of the fuzz targets from the committed clips: `python core_rs/fuzz/seeds.py`.

They go to core_rs/fuzz/seeds/TARGET, which is not committed. Of fragmented clips the first fragment
is enough, and large clips are left out. The demuxer and the muxers also get short films: the first
samples of each clip, written anew in every layout that a table has. What is small is changed often.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIPS = ROOT / "tests" / "media"
LARGEST = 70_000
sys.path.insert(0, str(ROOT))

from tests.media.make import load  # noqa: E402
from tests.oracles.boxes import Movie, Sample  # noqa: E402


def top(data: bytes) -> list[tuple[bytes, int, int]]:
    """`(type, start, end)` of the boxes at the top level."""
    found, at = [], 0
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        if size == 1:
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size < 8:
            break
        found.append((data[at + 4 : at + 8], at, min(at + size, len(data))))
        at += size
    return found


def short() -> Iterator[tuple[str, Movie]]:
    """Films of a few kilobytes, and what only made-up samples show."""
    for clip in sorted(CLIPS.glob("*.m[p4][4a]")):
        try:
            tracks = load(clip)
        except ValueError:
            # Edits in 64 bits, which `load` does not read.
            continue
        tracks = [track for track in tracks if track.samples]
        cut = [replace(track, samples=track.samples[:12], chunk=5) for track in tracks]
        if cut:
            yield f"short-{clip.stem}", Movie(cut)
    (video,) = load(CLIPS / "ladder_90.mp4")
    (audio,) = load(CLIPS / "ladder_audio.m4a")
    # An odd number of pictures of 7 bytes: the last 4-bit size stands alone in its byte.
    tiny = [
        Sample(
            struct.pack(">I", 3) + bytes([0x41 if i % 3 else 0x65, i, 1]),
            3600,
            i % 2 * 3600,
            i % 3 == 0,
        )
        for i in range(7)
    ]
    sound = replace(audio, samples=audio.samples[:15], chunk=4)
    for bits in (4, 8, 16):
        pictures = replace(video, samples=tiny, compact_sizes=bits, edits=[])
        yield f"tiny-{bits}", Movie([pictures, sound], moov_first=bits != 8, offsets_64=bits == 16)
    # Another configuration with each key frame, and with each frame of sound.
    shapes = [load(CLIPS / f"{name}.mp4")[0].entries[0] for name in ("ladder_90", "anamorphic")]
    rates = [load(CLIPS / f"{name}.m4a")[0].entries[0] for name in ("ladder_audio", "audio_8k")]
    pictures = [replace(sample, entry=i // 3 % 2) for i, sample in enumerate(tiny)]
    frames = [replace(sample, entry=i % 2) for i, sample in enumerate(sound.samples)]
    changing = [
        replace(video, entries=shapes, samples=pictures, edits=[]),
        replace(sound, entries=rates, samples=frames),
    ]
    yield "changes", Movie(changing)
    # A picture that is longer than what the muxers read at once.
    large = Sample(struct.pack(">I", 45_001) + b"\x65" + bytes(range(1, 251)) * 180, 3600)
    yield "large", Movie([replace(video, samples=[large, *tiny[1:3]], edits=[])])


def main() -> None:
    seeds: dict[str, dict[str, bytes]] = {"boxes": {}, "demux": {}, "mux": {}}
    for clip in sorted(CLIPS.glob("*.m[p4][4a]")):
        data = clip.read_bytes()
        boxes = top(data)
        for number, (kind, start, end) in enumerate(boxes):
            if kind == b"moov":
                seeds["boxes"][f"{clip.stem}.moov"] = b"\0" + data[start + 8 : end]
            if kind == b"moof" and number < 8:
                seeds["boxes"][f"{clip.stem}.moof{number}"] = b"\1" + data[start + 8 : end]
                traf = data.index(b"traf", start) + 4
                seeds["boxes"][f"{clip.stem}.traf{number}"] = b"\3" + data[traf:end]
        fragments = [start for kind, start, _ in boxes if kind == b"moof"]
        if len(fragments) > 1:
            data = data[: fragments[1]]
            seeds["boxes"][f"{clip.stem}.fragments"] = b"\2" + data[fragments[0] :]
        if len(data) <= LARGEST:
            seeds["demux"][clip.stem] = data
            for plan in range(3):
                tail = bytes([plan, 3, plan, plan & 1, 0, 0, 0, 0]) + (plan + 1).to_bytes(8, "big")
                seeds["mux"][f"{clip.stem}.{plan}"] = data + tail
    for name, movie in short():
        data = bytes(movie)
        moov = next((start, end) for kind, start, end in top(data) if kind == b"moov")
        seeds["boxes"][name] = b"\0" + data[moov[0] + 8 : moov[1]]
        seeds["demux"][name] = data
        # Media in another file: one of the data references is not to this one.
        here, elsewhere = b"url \0\0\0\1", b"alis\0\0\0\0"
        seeds["demux"][f"{name}.elsewhere"] = data.replace(here, elsewhere, 1)
        for plan in range(6):
            tail = bytes([plan, plan, plan // 2, plan & 1, 0, 0, 0, 0]) + (plan + 1).to_bytes(
                8, "big"
            )
            seeds["mux"][f"{name}.{plan}"] = data + tail
    for target, files in seeds.items():
        folder = HERE / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        print(f"{target}: {len(files)} seeds, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
