"""The whole job into a folder in memory, as `pystream package` does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pystream
from benchmarks.conftest import Measure
from pystream.packager import folder as output


def package(
    sources: list[Path], target: Path, format: str, encrypt: bool, jobs: int | None = None
) -> int:
    encryption = pystream.Aes128() if encrypt else None
    presentation = pystream.plan(map(pystream.open, sources), format=format, encryption=encryption)
    return output.write(presentation, target, jobs=jobs)


def measure(throughput: Measure, target: Path, sources: list[Path], *options: object) -> None:
    """Each round writes into a folder that is not there yet, and is removed afterwards, uncounted."""

    def fresh() -> None:
        shutil.rmtree(target, ignore_errors=True)

    nbytes = sum(path.stat().st_size for path in sources)
    written = throughput(
        nbytes, package, sources, target, *options, setup=fresh, rounds=5, warmup_rounds=1
    )
    assert written == sum(path.stat().st_size for path in target.rglob("*") if is_media(path))


def is_media(path: Path) -> bool:
    return path.suffix in (".ts", ".m4s")


@pytest.mark.parametrize("encrypt", [False, True], ids=["clear", "aes"])
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_film(throughput: Measure, folder: Path, film: Path, format: str, encrypt: bool) -> None:
    measure(throughput, folder / "out", [film], format, encrypt)


def test_film_one_thread(throughput: Measure, folder: Path, film: Path) -> None:
    measure(throughput, folder / "out", [film], "ts", True, 1)


def test_long_film(throughput: Measure, folder: Path, long: Path) -> None:
    measure(throughput, folder / "out", [long], "ts", False)


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_ladder(throughput: Measure, folder: Path, ladder: list[Path], format: str) -> None:
    measure(throughput, folder / "out", ladder, format, True)


def test_clip(throughput: Measure, folder: Path, clip: Path) -> None:
    measure(throughput, folder / "out", [clip], "ts", True)
