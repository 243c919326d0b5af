"""Opening inputs: from a file, and from memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pystream


def test_open_film(benchmark: Any, film: Path) -> None:
    assert benchmark(pystream.open, film).tracks


def test_open_long_film(benchmark: Any, long: Path) -> None:
    assert benchmark(pystream.open, long).tracks


def test_open_long_film_from_memory(benchmark: Any, long: Path) -> None:
    assert benchmark(pystream.open, long.read_bytes()).tracks


def test_columns(benchmark: Any, long: Path) -> None:
    """Times and sizes of all samples of the first track, unpacked."""
    track = pystream.open(long).tracks[0]

    def columns() -> int:
        first, end = track.shown
        return len(track.pts(first, end)) + len(track.sizes(first, end))

    assert benchmark(columns) >= track.sample_count
