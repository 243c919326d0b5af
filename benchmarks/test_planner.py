"""Planning: where segments begin, how long they are, and the playlists."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

import pystream
from pystream import _segmenter


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_plan_long_film(benchmark: Any, long: Path, format: str) -> None:
    film = pystream.open(long)
    assert benchmark(pystream.plan, [film], format=format).renditions


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_plan_ladder(benchmark: Any, ladder: list[Path], small: bool, format: str) -> None:
    rungs = [pystream.open(path) for path in ladder]
    assert len(benchmark(pystream.plan, rungs, format=format).renditions) == 5 - small


def test_playlist_text(benchmark: Any, long: Path) -> None:
    presentation = pystream.plan([pystream.open(long)], encryption=pystream.Aes128(rotate_every=10))
    rendition = presentation.renditions[0]

    def text() -> str:
        return presentation.media_playlist(rendition).text()

    assert benchmark(text).count("#EXTINF") == len(rendition)


def test_cuts(benchmark: Any, small: bool) -> None:
    """The bare loop over a key frame each second for as many seconds."""
    count = 1_000 if small else 1_000_000
    times = array("q", range(0, count * 90_000, 90_000))
    forced, out = bytearray(count), array("q", bytes(8 * count))
    found = benchmark(_segmenter.cuts, times, forced, 90_000, 6_000_000, count * 90_000, out)
    assert found == -(-count // 6)
