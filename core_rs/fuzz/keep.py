"""Keeps what a run found: `python core_rs/fuzz/keep.py FOUND CORPUS [MOST]`.

FOUND is what `-set_cover_merge=1` wrote: inputs that together reach all that was reached. The
smallest of them, MOST at most and up to a budget of bytes, go to CORPUS. There the ones with a name
of their own stay (`fix-...`: once did harm; `edge-...`: made by hand); a fuzzer's are a hash's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BYTES = 300_000
HASH = re.compile("[0-9a-f]{40}")


def main(found: str, corpus: str, most: str = "250") -> None:
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if HASH.fullmatch(old.name):
            old.unlink()
    left, kept = BYTES, 0
    by_size = sorted(Path(found).iterdir(), key=lambda path: (path.stat().st_size, path.name))
    for path in by_size[: int(most)]:
        left -= path.stat().st_size
        if left < 0:
            break
        (folder / path.name).write_bytes(path.read_bytes())
        kept += 1
    print(f"{corpus}: {kept} of {len(by_size)} inputs")


if __name__ == "__main__":
    main(*sys.argv[1:])
