"""What the suites share: which inputs, and speed in GB/s beside pytest-benchmark's times.

Nothing here asserts a time. `pytest benchmarks --benchmark-disable`, or `PYSTREAM_BENCH_SMALL=1`,
runs everything once on the project's own clips: that shows in seconds that it works, and needs no
ffmpeg.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks import inputs

T = TypeVar("T")
Measure = Callable[..., Any]


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest) -> bool:
    disabled = request.config.getoption("benchmark_disable", False)
    return bool(disabled or os.environ.get("PYSTREAM_BENCH_SMALL"))


@pytest.fixture(scope="session")
def film(small: bool) -> Path:
    return _ready(inputs.film, small)


@pytest.fixture(scope="session")
def long(small: bool) -> Path:
    return _ready(inputs.long, small)


@pytest.fixture(scope="session")
def ladder(small: bool) -> list[Path]:
    return _ready(inputs.ladder, small)


@pytest.fixture(scope="session")
def clip(small: bool) -> Path:
    return _ready(inputs.clip, small)


def _ready(make: Callable[[bool], T], small: bool) -> T:
    try:
        return make(small)
    except inputs.MissingTool as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, since disks are not what is measured."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="pystream-bench-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def throughput(benchmark: Any) -> Measure:
    """`throughput(nbytes, function, *args)` measures `function`, which handles `nbytes` a call."""

    def measure(nbytes: int, function: Callable[..., T], *args: Any, **pedantic: Any) -> T:
        benchmark.extra_info["bytes"] = nbytes
        result: T
        if pedantic:
            result = benchmark.pedantic(function, args=args, **pedantic)
        else:
            result = benchmark(function, *args)
        return result

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    done = [bench for bench in getattr(session, "benchmarks", []) if bench.extra_info.get("bytes")]
    if not done:
        return
    terminalreporter.section("GB/s, by median and by fastest round")
    for bench in done:
        nbytes = bench.extra_info["bytes"]
        median, best = (nbytes / seconds / 1e9 for seconds in (bench.stats.median, bench.stats.min))
        terminalreporter.write_line(f"{bench.name:45} {median:8.2f} {best:8.2f}")
