"""Keeps what a run found: `python core_rs/fuzz/keep.py TARGET FOLDER`.

FOLDER is what `-set_cover_merge=1` wrote: inputs that together reach all that was reached. The
smallest of them, up to a budget, go to core_rs/fuzz/corpus/TARGET beside the named ones (`fix-...`,
inputs that once did harm), which stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

BUDGET = 300_000


def main(target: str, folder: str) -> None:
    corpus = Path(__file__).parent / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for old in corpus.iterdir():
        if not old.name.startswith("fix-"):
            old.unlink()
    left, kept = BUDGET, 0
    for found in sorted(Path(folder).iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        left -= found.stat().st_size
        if left < 0:
            break
        (corpus / found.name).write_bytes(found.read_bytes())
        kept += 1
    print(f"{target}: {kept} inputs of {BUDGET - max(left, 0)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
