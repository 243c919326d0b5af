"""The clock of evidence on a real node: whether the kernel's is synchronised, and what it says, is set here.

Nobody may set the machine's own, so a library that is loaded before libc answers for it: to
clock_gettime(2) for the wall clock, and to adjtimex(2), from a file that the test writes.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pystream.server.attending import Recorder
from pystream.server.clock import Anchor
from pystream.server.roll import Roll
from tests.test_attending import Hall, T, hall
from tests.test_clock import DAY_MS, Clocks
from tests.test_evidence import Audience
from tests.test_serve import BUSY, SERVE, environment, node_in
from tests.test_viewers import NOW
from tests.waiting import until

__all__ = ["hall"]

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile struct { int64_t set_by_ms, synchronised; } *told;

__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("CLOCK_OF_TEST"), O_RDONLY | O_CLOEXEC);
    told = mmap(0, sizeof *told, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    int code = syscall(SYS_clock_gettime, id, ts);
    if (!code && told && id == CLOCK_REALTIME) {
        int64_t ns = ts->tv_nsec + told->set_by_ms % 1000 * 1000000 + 1000000000;
        ts->tv_sec += told->set_by_ms / 1000 + ns / 1000000000 - 1;
        ts->tv_nsec = ns % 1000000000;
    }
    return code;
}

int adjtimex(void *timex) {
    if (told->synchronised == 2) {
        errno = EPERM;
        return -1;
    }
    return told->synchronised ? 0 : 5;
}
"""


class Machine:
    """What a node takes for the machine's clock. It may be set, and is synchronised or not."""

    def __init__(self, folder: Path) -> None:
        self.file, self.library = folder / "clock", folder / "clock.so"
        self.tell(0, synchronised=0)
        source = folder / "clock.c"
        source.write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source)]
        subprocess.run(command, check=True)

    def tell(self, set_by_ms: int, *, synchronised: int) -> None:
        """`synchronised`: 2 for a kernel that may not be asked."""
        fd = os.open(self.file, os.O_CREAT | os.O_WRONLY, 0o600)
        os.pwrite(fd, struct.pack("=qq", set_by_ms, synchronised), 0)
        os.close(fd)

    @contextmanager
    def node(self, folder: Path, more: str = "") -> Iterator[Audience]:
        with node_in(folder) as node:
            node.settings("workers = 1", BUSY + more)
            audience = Audience(node)
            node.start(LD_PRELOAD=str(self.library), CLOCK_OF_TEST=str(self.file))
            node.hear("READY=1")
            yield audience


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def is_recorded(audience: Audience, segment: str) -> bool:
    """Whether what is delivered is evidence."""
    return "x-accel-buffering" in audience.ask(segment, "HEAD")[1]


@pytest.mark.slow
def test_a_kernel_that_may_not_be_asked_is_told_of(tmp_path: Path, machine: Machine) -> None:
    """As in a unit with ProtectClock=yes: attendance would wait for ever."""
    machine.tell(0, synchronised=2)
    with machine.node(tmp_path) as audience:
        until(lambda: "adjtimex: Operation not permitted" in audience.node.said())
        assert audience.node.events("clock-says-nothing")


@pytest.mark.slow
def test_a_check_says_what_is_not_recorded(tmp_path: Path, machine: Machine) -> None:
    with node_in(tmp_path) as node:
        node.settings("workers = 1")
        Audience(node)

        def said() -> str:
            asked = environment() | {
                "LD_PRELOAD": str(machine.library),
                "CLOCK_OF_TEST": str(machine.file),
            }
            command = [*SERVE, "--check"]
            done = subprocess.run(
                command, cwd=tmp_path, env=asked, capture_output=True, text=True, check=True
            )
            return done.stdout + done.stderr

        assert "attendance of acme/" in said() and "unsynchronised" in said()
        machine.tell(0, synchronised=1)
        assert "attendance of" not in said()
        machine.tell(0, synchronised=0)
        node.settings("workers = 1", "[attendance]\nallow_unsynced = true")
        assert "attendance of" not in said()


@pytest.mark.slow
def test_nothing_is_recorded_until_the_clock_is_synchronised_and_steps_are_told(
    tmp_path: Path, machine: Machine
) -> None:
    with machine.node(tmp_path) as audience:
        segments = audience.segments(audience.let_in("acme/course", audience.issue("acme/course")))
        until(lambda: "clock-not-synchronised" in audience.node.said())
        assert audience.ask(segments[0])[0] == 200 and not is_recorded(audience, segments[0])
        machine.tell(0, synchronised=1)
        until(lambda: is_recorded(audience, segments[0]))
        until(lambda: "clock-synchronised" in audience.node.said())
        assert audience.ask(segments[1])[0] == 200
        until(lambda: audience.events())
        (first,) = audience.events()
        assert first["m0"] // 2000 == 1
        # Forward, as grants hold then as well. Evidence goes on as if nothing was, and says so.
        machine.tell(60_000, synchronised=0)
        assert audience.ask(segments[2])[0] == 200
        until(lambda: len(audience.events()) == 2)
        last = max(audience.events(), key=lambda each: each["m0"])
        assert 0 <= last["t"] - first["t"] < 60_000
        until(lambda: audience.events(kind="clock"))
        (step,) = audience.events(kind="clock")
        assert abs(step["step_ms"] - 60_000) < 1000 and first["t"] <= step["t"]
        assert "clock-was-set" in audience.node.said()
        until(lambda: audience.ask(segments[3])[0] == 200 and len(audience.events()) >= 3)
        assert len(audience.events(kind="clock")) == 1


@pytest.mark.slow
def test_who_allows_it_has_it_recorded_by_a_clock_that_is_not_synchronised(
    tmp_path: Path, machine: Machine
) -> None:
    with machine.node(tmp_path, "[attendance]\nallow_unsynced = true\n") as audience:
        segments = audience.segments(audience.let_in("acme/course", audience.issue("acme/course")))
        until(lambda: is_recorded(audience, segments[0]))
        assert audience.ask(segments[1])[0] == 200
        until(lambda: audience.events())
        said = [json.loads(line) for line in audience.node.said().splitlines()]
        assert [each["level"] for each in said if each["event"] == "clock-not-synchronised"] == [
            "warning"
        ]


class Writer:
    """The writer's look at clocks that the test sets."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.clocks = Clocks(wall=T, boottime=5000)
        self.anchor = self.clocks.anchor(Anchor.create())
        self.anchor.make()
        self.roll = Roll(Roll.create())
        self.is_trusted = True
        self.seconds = 0.0
        self.begin()

    def begin(self) -> None:
        self.recorder = Recorder(
            self.hall.store.viewers,
            self.hall.keys,
            self.anchor,
            self.roll,
            lambda: NOW,
            lambda: self.is_trusted,
            lambda: self.seconds,
        )

    def steps(self) -> list[dict[str, Any]]:
        return [each for each in self.hall.events() if each["kind"] == "clock"]

    def set_by(self, ms: int) -> None:
        self.clocks.wall += ms
        self.anchor.tell(ms)


def test_the_anchor_is_made_anew_when_nobody_watches(hall: Hall) -> None:
    writer = Writer(hall)
    writer.set_by(-600_000)
    hall.keep(hall.told((0, T)))
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall + 600_000, "somebody watches"
    hall.keep(hall.told((0, T + 6000), number=2, last=True))
    writer.is_trusted = False
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall + 600_000, "it is not right either"
    writer.is_trusted = True
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall
    # The step itself was told, and nobody has an interval across this.
    assert writer.steps() == []


def test_who_has_something_to_tell_and_has_not_told_it_yet_watches(hall: Hall) -> None:
    writer = Writer(hall)
    writer.roll.enter(7, writer.anchor.now())
    writer.set_by(-600_000)
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall + 600_000
    writer.roll.strike(7)
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall


@pytest.mark.parametrize(("tells_again", "ends"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("set_by", "is_told"), [(900, False), (-600_000, True), (600_000, True)])
def test_the_anchor_is_made_anew_with_the_day_and_who_watches_is_told(
    hall: Hall, set_by: int, is_told: bool, tells_again: bool, ends: bool
) -> None:
    writer = Writer(hall)
    hall.keep(hall.told((0, T)))
    writer.clocks.wall += set_by
    writer.clocks.pass_by(DAY_MS - writer.anchor.now() % DAY_MS - 1)
    writer.recorder.look()
    assert writer.anchor.now() == writer.clocks.wall - set_by
    hall.keep(hall.told((0, T + 6000), number=2, until=writer.anchor.now()))
    writer.clocks.pass_by(1)
    writer.recorder.look()
    now = writer.clocks.wall
    assert writer.anchor.now() == now
    assert writer.steps() == [{"kind": "clock", "t": now, "step_ms": set_by}] * is_told
    writer.recorder.look()
    assert len(writer.steps()) == is_told
    # Whoever is dead then was out by the one anchor's instants, or by the other's.
    if tells_again:
        hall.keep(hall.told((0, T + 12_000), number=3, since=now, until=now + 1))
    if ends:
        writer.begin()
    for _ in range(2):
        writer.clocks.pass_by(7000)
        writer.seconds += 7
        writer.recorder.look()
    (outage,) = [each for each in hall.events() if each["kind"] == "outage"]
    before = now - set_by
    assert outage["t0"] < (now if tells_again else min(before, now)) and outage["t1"] >= before
