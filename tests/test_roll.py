"""The roll of workers that are about to have something to tell."""

from __future__ import annotations

import os

import pytest

from pystream.server.clock import Anchor
from pystream.server.roll import Roll


def test_who_is_on_it_is_there_for_all_until_struck_out() -> None:
    fd = Roll.create()
    worker, writer = Roll(os.dup(fd)), Roll(fd)
    assert writer.entries() == {}
    worker.enter(7, 1000)
    worker.enter(2**62 - 1, 2000)
    # Again after a time without anything to tell: it is the later one that counts.
    worker.enter(7, 3000)
    assert writer.entries() == {7: 3000, 2**62 - 1: 2000}
    writer.strike(7)
    writer.strike(8)
    worker.enter(9, 4000)
    assert worker.entries() == {9: 4000, 2**62 - 1: 2000}


def test_one_that_is_full_takes_nobody_and_harms_nobody() -> None:
    roll = Roll(Roll.create())
    for worker in range(1, 600):
        roll.enter(worker, worker)
    assert roll.entries() == {worker: worker for worker in range(1, 513)}
    roll.strike(5)
    roll.enter(600, 1)
    assert roll.entries()[600] == 1 and len(roll.entries()) == 512


def test_something_else_is_none() -> None:
    with pytest.raises(ValueError, match="roll"):
        Roll(Anchor.create())
