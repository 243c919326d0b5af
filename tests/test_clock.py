"""The anchor of evidence, by clocks that are set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pystream.server.clock import STEP_MS, Anchor, boottime_ms, wall_ms

DAY_MS = 86_400_000


@dataclass
class Clocks:
    wall: int = 1_800_000_000_000
    boottime: int = 5000

    def pass_by(self, ms: int) -> None:
        self.wall += ms
        self.boottime += ms

    def anchor(self, fd: int) -> Anchor:
        return Anchor(fd, lambda: self.wall, lambda: self.boottime)


@pytest.fixture
def fd() -> Iterator[int]:
    made = Anchor.create()
    yield made
    os.close(made)


def test_all_processes_have_one_anchor_and_none_before_it_is_made(fd: int) -> None:
    clocks = Clocks()
    one, other = clocks.anchor(fd), clocks.anchor(fd)
    assert one.offset == other.offset == 0 and other.step() == 0
    one.make()
    clocks.pass_by(1234)
    assert other.now() == clocks.wall
    # Whatever is set afterwards.
    clocks.wall -= 600_000
    assert one.now() == other.now() == clocks.wall + 600_000


@pytest.mark.parametrize("set_by", [STEP_MS + 1, -600_000])
def test_a_step_is_told_once_and_changes_no_duration(fd: int, set_by: int) -> None:
    clocks = Clocks()
    anchor = clocks.anchor(fd)
    anchor.make()
    begin = anchor.now()
    clocks.wall += STEP_MS
    assert anchor.step() == 0, "as clocks deviate that are kept right"
    clocks.wall += set_by - STEP_MS
    clocks.pass_by(60_000)
    assert anchor.step() == set_by and anchor.due(watched=False) is None
    anchor.tell(set_by)
    assert anchor.step() == 0 and clocks.anchor(fd).due(watched=False) == set_by
    assert anchor.due(watched=True) is None
    assert anchor.now() - begin == 60_000
    # Set back, that is a step as well; and taken anew, it is right again.
    clocks.wall -= set_by
    assert anchor.step() == -set_by
    anchor.make()
    assert anchor.now() == clocks.wall and anchor.due(watched=False) is None and anchor.step() == 0


def test_it_is_due_with_each_day_whoever_watches(fd: int) -> None:
    clocks = Clocks(wall=DAY_MS * 20_000 + DAY_MS - 1000)
    anchor = clocks.anchor(fd)
    assert anchor.due(watched=True) is None, "there is none yet"
    anchor.make()
    clocks.wall += 700
    clocks.pass_by(999)
    assert anchor.due(watched=True) is None
    clocks.pass_by(1)
    assert anchor.due(watched=True) == 700
    anchor.make()
    assert anchor.due(watched=False) is None
    # Set back over midnight, the day begins once more.
    clocks.wall -= 600_000
    clocks.pass_by(DAY_MS - 700)
    assert anchor.due(watched=True) == -600_000
    anchor.make()
    clocks.pass_by(600_000 - 1)
    assert anchor.due(watched=True) is None
    clocks.pass_by(1)
    assert anchor.due(watched=True) == 0


def test_another_descriptor_is_no_anchor(fd: int) -> None:
    os.write(fd, b"more")
    with pytest.raises(ValueError, match="no anchor"):
        Anchor(fd).offset  # noqa: B018


def test_it_is_the_machines_clock(fd: int) -> None:
    anchor = Anchor(fd)
    before = wall_ms()
    anchor.make()
    assert before - 1 <= anchor.now() <= wall_ms() + 1
    assert abs(anchor.offset + boottime_ms() - wall_ms()) <= STEP_MS
