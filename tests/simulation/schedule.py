"""A schedule: who watches, what befalls the house, and when."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

import trio
import trio.testing

from pystream.acl.store.attending import HOUR_MS
from pystream.attendance import evidence
from pystream.attendance.evidence import Place, beacon, part
from pystream.attendance.options import Options
from tests.simulation import invariants
from tests.simulation.world import (
    SESSIONS,
    VIEWERS,
    Delivery,
    Finding,
    House,
    Watched,
    Worker,
    World,
    living_in,
)
from tests.test_attending import T

DAY_MS = 86_400_000
OPTIONS = Options("file", timezone="Europe/Berlin")
_SIZE = 100
# For so long all is well in the end: the dead are noticed by then.
_AFTERWARDS = 3.5
_SLOWEST_ACKNOWLEDGED = 1.5
_LONGEST = 100.0


class Fault(NamedTuple):
    at: float
    what: str
    value: float = 0.0
    length: float = 0.0


@dataclass
class Plan:
    """All that a seed decides before anything runs."""

    began: int
    length: float
    workers: int
    faults: list[Fault] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int) -> Plan:
        dice = random.Random(f"{seed}/plan")
        length = 1 + 1.8 * dice.random()
        # An hour, or a day, ends now and then.
        end = dice.choice((T + HOUR_MS, T + HOUR_MS, (T // DAY_MS + 1) * DAY_MS))
        began = dice.choice((T + 60_000, end - round(1000 * length * dice.random())))
        made = cls(began, length, dice.choice((1, 1, 2)))
        for _ in range(dice.choice((0, 1, 1, 2, 2, 3))):
            made.faults.append(made._fault(dice))
        for what, most in (("rows", 1), ("sign", 1)):
            made.faults += [
                Fault(length * dice.random(), what) for _ in range(dice.randint(0, most))
            ]
        if any(each.what == "backup" for each in made.faults):
            made.faults.append(
                Fault(length * (0.5 + dice.random()), "restore", dice.choice((0, 1)))
            )
        made.faults.sort()
        return made

    def _fault(self, dice: random.Random) -> Fault:
        what = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        value = {
            "step": dice.choice((-1, 1)) * dice.choice((900, 5000, 700_000)),
            "crash": dice.randrange(80),
            "crash all": dice.randrange(80),
            "slow": dice.choice((0.2, 1.0)),
        }.get(what, 0.0)
        return Fault(self.length * dice.random(), what, value, 0.3 + dice.random())


_WEIGHTS = {
    "kill worker": 4,
    "kill writer": 4,
    "power": 3,
    "crash": 5,
    "crash all": 5,
    "stop worker": 1,
    "cut": 3,
    "full": 2,
    "failing": 2,
    "lying": 1,
    "slow": 3,
    "step": 4,
    "backup": 3,
    "erase": 1,
}


class Outcome(NamedTuple):
    """What became of it; `digest` is of all that happened."""

    seed: int
    finding: str | None
    digest: str
    trace: list[str]


def run(house: House, seed: int) -> Outcome:
    """Runs a seed's schedule."""
    world, plan, finding = World(house, seed, OPTIONS), Plan.of(seed), None
    world.trace += [
        f"{plan.began} {plan.length:.3f} s, {plan.workers} workers",
        *map(str, plan.faults),
    ]
    house.let_go()
    house.disk.begin(house.files, random.Random(f"{seed}/disk"))
    with living_in(world):
        try:
            clock = trio.testing.MockClock(autojump_threshold=0)
            trio.run(_Schedule(world, plan).main, clock=clock)
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, Finding) else f" ({place.name}, {type(error).__name__})"
            finding = f"{error}{where}"
    world.trace.append(finding or "well")
    digest = sha256("\n".join(world.trace).encode()).hexdigest()
    return Outcome(seed, finding, digest, world.trace)


class _Schedule:
    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.dice = world.dice
        world.began = plan.began
        world.befell = {each.what for each in plan.faults}
        self.media = 0
        self.are_gone = trio.Event()
        self.backup: dict[str, bytes] = {}
        self.logs: dict[int, int] = {}

    async def main(self) -> None:
        """Raises `Finding`."""
        with trio.move_on_after(_LONGEST):
            await self._live()
            invariants.check(self.world)
            return
        raise Finding("it comes to no end")

    async def _live(self) -> None:
        world = self.world
        async with trio.open_nursery() as nursery:
            world.nursery = nursery
            world.boot()
            nursery.start_soon(world.keep_up, world.make_writer, world.write, world.stopping)
            for _ in range(self.plan.workers):
                nursery.start_soon(world.keep_up, world.make_worker, world.work, world.leaving)
            async with trio.open_nursery() as viewers:
                for viewer in range(VIEWERS):
                    viewers.start_soon(self.watch, viewer)
                async with trio.open_nursery() as faults:
                    for fault in self.plan.faults:
                        faults.start_soon(self.befall, fault)
                    await trio.sleep(self.plan.length)
                self.mend()
                self.are_gone.set()
            await self.end()

    def mend(self) -> None:
        disk = self.world.disk
        disk.full = disk.failing = disk.lying = False
        disk.crash_in = None
        self.world.slow = 0.0

    async def end(self) -> None:
        """All that was told is stored, the dead are noticed, and everybody goes."""
        world = self.world
        world.leaving.set()
        await world.is_up.wait()
        while world.writer is None or world.writer.dead:
            await trio.sleep(0.1)
        for each in world.workers:
            if not each.dead:
                await world.stop(each)
        if any(not each.ended_well for each in world.workers):
            await trio.sleep(_AFTERWARDS)
        world.stopping.set()

    # Viewers

    async def watch(self, viewer: int) -> None:
        async with trio.open_nursery() as nursery:
            while not self.are_gone.is_set():
                with trio.move_on_after(0.05 + 0.6 * self.dice.random()):
                    await self.are_gone.wait()
                fate = self.dice.random()
                if fate < 0.7:
                    self.show(nursery, viewer, 1)
                elif fate < 0.85:
                    self.show(nursery, viewer, self.dice.choice((2, 3)))
                else:
                    self.say(viewer)

    def worker(self) -> Worker | None:
        """One that is there, and records."""
        there = [each for each in self.world.workers if not each.dead and not each.is_leaving]
        found = self.dice.choice(there) if there else None
        return found if found is not None and found.teller.expects() else None

    def session(self, viewer: int) -> bytes:
        return self.world.house.hall.sessions[viewer * SESSIONS + self.world.boots % SESSIONS]

    def watched(self, viewer: int, **event: Any) -> Watched:
        hall = self.world.house.hall
        about = {"key": str(hall.passwords[viewer]), "stream": "film"}
        made = Watched(viewer, about | {"session": self.session(viewer).hex()} | event)
        self.world.watched.append(made)
        return made

    def show(self, nursery: trio.Nursery, viewer: int, count: int) -> None:
        """A segment, in so many parts, each of which comes from any worker."""
        workers = [each for each in (self.worker() for _ in range(count)) if each is not None]
        if len(workers) < count:
            return
        m0, m1 = self.media, self.media + 6000
        self.media += 6000
        place = Place(self.world.house.hall.ids["acme/film"], m0, m1, True, "v1").pack()
        watched = self.watched(viewer, kind="segment", m0=m0, m1=m1, primary=True, rendition="v1")
        tag = self.session(viewer) + place
        for n, worker in enumerate(workers):
            piece = tag
            if count > 1:
                first, end = _SIZE * n // count, _SIZE * (n + 1) // count
                piece = part(tag, "v", _SIZE, first, end)
            delivery = self.world.hand(worker)
            watched.parts.append(delivery)
            nursery.start_soon(self.acknowledge, delivery, piece)

    async def acknowledge(self, delivery: Delivery, tag: bytes) -> None:
        slow = self.dice.random() < 0.1
        await trio.sleep(self.dice.random() * (_SLOWEST_ACKNOWLEDGED if slow else 0.3))
        # Who leaves has closed its connections.
        if not delivery.worker.dead and not delivery.worker.is_leaving:
            delivery.acknowledged = trio.current_time()
            delivery.worker.acknowledged.append((delivery, evidence.record(delivery.at, tag)))

    def say(self, viewer: int) -> None:
        """The player says where it is."""
        worker = self.worker()
        if worker is None:
            return
        self.media += 6000
        said = {
            "hidden": False,
            "playhead_ms": self.media,
            "rate": 1.0,
            "sn": self.media,
            "state": "playing",
        }
        watched = self.watched(viewer, kind="beacon", **said)
        delivery = self.world.hand(worker)
        watched.parts.append(delivery)
        worker.acknowledged.append(
            (delivery, evidence.record(delivery.at, self.session(viewer) + beacon(said)))
        )

    # What befalls the house

    async def befall(self, fault: Fault) -> None:
        await trio.sleep(fault.at)
        world, disk = self.world, self.world.disk
        world.note("now", fault.what, fault.value or "")
        workers = [each for each in world.workers if not each.dead and not each.is_leaving]
        match fault.what:
            case "kill worker" if workers:
                world.kill(self.dice.choice(workers))
            case "kill writer" if world.writer is not None:
                world.kill(world.writer)
                world.house.let_go()
            case "stop worker" if workers:
                await world.stop(self.dice.choice(workers))
            case "cut" if workers:
                world.cut(self.dice.choice(workers))
            case "power" if world.is_up.is_set():
                world.lose_power()
            case "crash" | "crash all":
                disk.crash_in = int(fault.value)
                world.crash_takes_all = fault.what == "crash all"
            case "full" | "failing" | "lying":
                setattr(disk, fault.what, True)
                await trio.sleep(fault.length)
                setattr(disk, fault.what, False)
            case "slow":
                world.slow = fault.value
                await trio.sleep(fault.length)
                world.slow = 0.0
            case "step":
                world.step(round(fault.value))
            # With a change of which the disk had said that it failed, a copy of files is none of the store.
            case "backup" if not disk.has_refused:
                files = disk.read()
                self.backup = {name: files[name] for name in files if name.startswith("acl.db")}
                self.logs = world.logs()
                world.note("backup has", self.logs)
            case "restore" if self.backup and world.is_up.is_set():
                world.restore(self.backup, self.logs, after_power=bool(fault.value))
            case "rows" | "sign" | "erase":
                await world.in_office(fault.what)
