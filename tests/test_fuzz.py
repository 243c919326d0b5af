"""What fuzzing the planner kept, once more and without a fuzzer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.planner import LOOKS, Draw, planned

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
KEPT = sorted(CORPUS.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS[:8], ids=lambda look: look.__name__)
def test_the_kept_inputs_are_planned_as_naively(look: object) -> None:
    inputs = [path for path in KEPT if LOOKS[path.read_bytes()[0] % len(LOOKS)] is look]
    assert len(inputs) >= 5
    for path in inputs:
        try:
            planned(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} is not survived") from error


def test_any_bytes_are_drawn_from() -> None:
    """After the last byte come zeros, so a short input is an input too."""
    assert [Draw(b"\x02\xff\x7f").int64(), Draw(b"\x08\x01").int64()] == [2**15 - 1, 1]
    for look in range(len(LOOKS)):
        planned(bytes([look]))
    for seed in range(40):
        planned(random.Random(seed).randbytes(seed))
