"""What `benchmarks.guard` says of what it has measured."""

from __future__ import annotations

import os

import pytest

from benchmarks import guard


def test_all_of_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    few = ["--small", "--turns", "1", "--seconds", "0.2"]
    few += ["--server-core", cores[-1], "--client-core", cores[0]]
    assert guard.main(few) == 0
    out = capsys.readouterr().out
    for said in ("guard on", "1,000 sources", "100,000 sources", "a refusal", "who is banned"):
        assert said in out
    assert "not measured" not in out
