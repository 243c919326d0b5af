"""The HTTP protocol: requests per second of CPU time.

The clock is the process's own CPU time, so that a busy machine changes little. A call reads what
`extra_info["requests"]` says, and OPS counts calls.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks.load import GZIP
from pystream.rehearsal.players import BROWSER
from pystream.server import http

# What Chrome 140 sends when hls.js fetches a segment from another origin.
TARGET = b"/t/3q2-7wAAAAAqK0x1c2VyLWdyYW50LXNpZ25hdHVyZQ/acme/film/5f3c9a1e/v720/%d.ts"
FIELDS = b"Host: video.example.com\r\n" + BROWSER + GZIP
# Many at once, so that neither the clock's own time nor one lucky branch is measured.
COUNT = 960


def requests(extra: bytes = b"") -> list[bytes]:
    """Each for another segment. `extra` may hold the segment's number, as a Range would."""
    return [
        b"GET "
        + TARGET % number
        + b" HTTP/1.1\r\n"
        + FIELDS
        + extra.replace(b"#", b"%d" % number)
        + b"\r\n"
        for number in range(COUNT)
    ]


def read(pieces: list[bytes]) -> int:
    protocol = http.Protocol()
    count = 0
    for piece in pieces:
        count += len(protocol.feed(piece))
        while protocol.more:
            count += len(protocol.feed(b""))
    return count


CASES = {
    # As players send them: one at a time, and each differs in its target alone.
    "alone": requests(),
    # The worst of honest clients: no head says what the one before it said.
    "alone, all heads differ": requests(b"Range: bytes=#-\r\n"),
    "pipelined by 16": [b"".join(requests()[at : at + 16]) for at in range(0, COUNT, 16)],
    # Each a head that comes in three packets.
    "in three pieces": [
        piece for data in requests() for piece in (data[:20], data[20:400], data[400:])
    ],
    "POST with a body": [
        data.replace(b"GET", b"POST", 1)[:-2]
        + b"Content-Length: 20\r\n\r\n"
        + b"password=1234567890a"
        for data in requests()
    ],
}


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("case", CASES)
def test_feed(benchmark: Any, case: str) -> None:
    benchmark.extra_info["requests"] = COUNT
    assert benchmark(read, CASES[case]) == COUNT


@pytest.mark.benchmark(timer=time.process_time)
def test_response_head(benchmark: Any) -> None:
    fields = (
        ("Date", http.http_date(1_800_000_000)),
        ("Content-Type", "video/mp2t"),
        ("Content-Length", "1504000"),
        ("Cache-Control", "private, no-store"),
        ("Access-Control-Allow-Origin", "https://www.example.com"),
        ("Vary", "Origin"),
    )

    def heads() -> int:
        return sum(len(http.head(200, fields)) for _ in range(COUNT))

    benchmark.extra_info["requests"] = COUNT
    assert benchmark(heads) == COUNT * len(http.head(200, fields))


@pytest.mark.benchmark(timer=time.process_time)
def test_answers_to_fields(benchmark: Any) -> None:
    """Range, preconditions and Accept-Encoding of one request, as a playlist needs them."""
    fields = {b"if-none-match": '"5f3c9a1e"', b"range": "bytes=0-"}
    request = http.Request("GET", "/", fields=http.Fields(fields))

    def answers() -> int:
        count = 0
        for _ in range(COUNT):
            count += http.preconditions(request, '"5f3c9a1f"', None) is None
            http.ranges(request.fields.range, 22_500)
            http.accepts_gzip("gzip, deflate, br, zstd")
        return count

    benchmark.extra_info["requests"] = COUNT
    assert benchmark(answers) == COUNT
