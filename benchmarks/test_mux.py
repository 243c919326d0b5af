"""Muxing from memory to memory, by one thread: samples are in the cache of nobody, as in service."""

from __future__ import annotations

from pathlib import Path

import pytest

import pystream
from benchmarks.conftest import Measure


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_all_segments(throughput: Measure, film: Path, format: str) -> None:
    """Every segment of the film into one buffer."""
    presentation = pystream.plan([pystream.open(film.read_bytes(), film.name)], format=format)
    renditions = presentation.renditions
    buffer = bytearray(max(max(rendition.lengths()) for rendition in renditions))
    total = sum(sum(rendition.lengths()) for rendition in renditions)

    def mux() -> int:
        return sum(r.segment_into(n, buffer) for r in renditions for n in range(len(r)))

    assert throughput(total, mux) == total


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_one_segment(throughput: Measure, film: Path, format: str) -> None:
    """The same segment again and again, from an open file: what many viewers ask for at once."""
    presentation = pystream.plan([pystream.open(film)], format=format, segment_duration=1.5)
    rendition = presentation.renditions[0]
    segment = throughput(rendition.length(1), rendition.segment, 1)
    assert len(segment) == rendition.length(1)
