"""Evidence of a day, read and computed; and that `benchmarks.attendance` says what it measures."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import attendance
from pystream._core import Evidence
from pystream.attendance.options import Options

Rows = list[dict[str, Any]]


def replayed(lines: bytes, options: Options) -> Rows:
    evidence, ledger = Evidence(), options.ledger()
    evidence.read(lines)
    ledger.take(evidence)
    return ledger.rows()


def test_replay(throughput: Any, small: bool) -> None:
    viewers = 10 if small else 1000
    lines = "".join(attendance.day(viewers, 100)).encode()
    rows = throughput(len(lines), replayed, lines, Options(mode="live"))
    assert [row["access_ms"] for row in rows] == [600_000] * viewers


def test_reading(throughput: Any, small: bool) -> None:
    lines = "".join(attendance.day(10 if small else 1000, 100)).encode()
    throughput(len(lines), lambda: Evidence().read(lines))


def test_state(benchmark: Any, small: bool) -> None:
    """A ledger of a thousand viewers, stored."""
    evidence, ledger = Evidence(), Options(mode="live").ledger()
    evidence.read("".join(attendance.day(10 if small else 1000, 100)).encode())
    ledger.take(evidence)
    assert benchmark(ledger.store)


def test_all_of_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert attendance.main(["--small", "--turns", "1"]) == 0
    out = capsys.readouterr().out
    assert "10,000 viewers" in out and "at one instant" in out
    assert "a receipt of 600" in out
