"""Makes the seeds of the fuzz targets from the committed clips: `python core_rs/fuzz/seeds.py`.

They go to core_rs/fuzz/seeds/TARGET, which is not committed. Of fragmented clips the first fragment
is enough, and large clips are left out.
"""

from __future__ import annotations

import struct
from pathlib import Path

HERE = Path(__file__).parent
CLIPS = HERE.parents[1] / "tests" / "media"
LARGEST = 70_000


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
    for target, files in seeds.items():
        folder = HERE / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        print(f"{target}: {len(files)} seeds, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
