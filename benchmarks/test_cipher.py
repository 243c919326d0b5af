"""AES-128-CBC: one stream beside OpenSSL's, and segments side by side.

The bare kernels are measured by `cargo run --release -p pystream-cipher --example throughput`, which
`benchmarks.peers` runs beside OpenSSL. Here the segments come from memory through the library, as a
server gets them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pystream
from benchmarks.conftest import Measure
from benchmarks.openssl import OpenSSL
from pystream import _core

SIZE = 1_500_000
KEY = bytes(range(16))
IV = bytes(range(16, 32))


@pytest.fixture(scope="module")
def rendition(film: Path) -> pystream.Rendition:
    # fMP4, for its muxing is little more than a copy; segments of one GOP, 1.5 MB.
    presentation = pystream.plan(
        [pystream.open(film.read_bytes(), film.name)],
        format="fmp4",
        segment_duration=1.5,
        encryption=pystream.Aes128(),
    )
    return presentation.renditions[0]


def test_one_stream(throughput: Measure) -> None:
    message = os.urandom(SIZE)
    out = throughput(SIZE, _core.encrypt, message, (KEY, IV))
    assert len(out) == SIZE // 16 * 16 + 16


def test_openssl_one_stream(throughput: Measure) -> None:
    try:
        openssl = OpenSSL()
    except OSError:
        pytest.skip("there is no libcrypto.so.3")
    message, out = os.urandom(SIZE), bytearray(SIZE + 16)
    length = throughput(SIZE, openssl.encrypt, message, out, KEY, IV)
    assert bytes(out[:length]) == _core.encrypt(message, (KEY, IV))


@pytest.mark.parametrize("count", [1, 8, 16])
def test_segments(throughput: Measure, rendition: pystream.Rendition, count: int) -> None:
    # The small input has too few.
    numbers = [n % len(rendition) for n in range(count)]
    nbytes = sum(rendition.length(n) for n in numbers)
    segments = throughput(nbytes, rendition.segments, numbers)
    assert [len(segment) for segment in segments] == [rendition.length(n) for n in numbers]
