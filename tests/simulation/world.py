"""A house whose clocks, dice, lines and disk are one seed's; and its processes."""

from __future__ import annotations

import os
import random
import secrets
import socket
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import trio
import trio.testing
from sqlalchemy import select
from trio._core import _run as scheduler

from pystream.acl.sealing import MasterKeys
from pystream.acl.store import Store, erasures, folds, keystore, notary, tables
from pystream.acl.store.attending import AttendanceStore
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.notary import Notary
from pystream.attendance.checkpoint import Clock
from pystream.attendance.options import Options
from pystream.errors import PystreamError
from pystream.server import attending, checkpoints, heads, log
from pystream.server.attending import Recorder, Teller
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.outgoing import Reply
from pystream.server.roll import Roll
from pystream.server.settings import Settings
from tests.simulation.disk import Disk
from tests.test_attending import WHO, Hall, T
from tests.test_viewers import MASTER

# What takes minutes otherwise.
SHORTER: tuple[tuple[Any, str, float], ...] = (
    (attending, "_SEAL_AFTER_MS", 400),
    (attending, "_SEAL_SECONDS", 1.6),
    (attending, "_IDLE_SECONDS", 1.5),
    (attending, "_BEAT_SECONDS", 0.5),
    (attending, "_SILENT_SECONDS", 1.3),
    (attending, "_LOOK_SECONDS", 0.6),
    (attending, "_MOST_BATCHES", 2),
    (checkpoints, "_LOOK_SECONDS", 2.0),
    (folds, "HORIZON_MS", 400),
    (notary, "DAY_S", 1),
)
VIEWERS = 2
# Of each viewer, one after the other: a table of sessions is lost with the power.
SESSIONS = 4

_RUNNING: ContextVar[Process] = ContextVar("process")


class House:
    """What all schedules of a process begin with: a tenant with two viewers, in a folder of the disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        with steady(random.Random(0)):
            self.hall = Hall(disk.folder, f"sqlite:///{disk.folder}/acl.db")
            hall = self.hall
            hall.sessions = [
                bytes([16 * v + n + 16]) * 16 for v in range(VIEWERS) for n in range(SESSIONS)
            ]
            opened = [
                hall.session(id, hall.passwords[n // SESSIONS])
                for n, id in enumerate(hall.sessions)
            ]
            hall.store.viewers.keep(opened, {}, T // 1000)
            change = {"checkpoint_url": "https://acme.example/checkpoints"}
            hall.store.set_tenant("acme", change, **WHO)
            self.key = Notary(hall.store.database, hall.keys).ensure_key(hall.acme, T // 1000)
        self.let_go()
        self.files = disk.read()
        # A teller wants a socket's name, which is not used here.
        with socket.socket(socket.AF_UNIX) as some:
            self.listener = some.detach()
        self.anchor = Anchor.create()
        self.roll = Roll.create()

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[House]:
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            disk = Disk(Path(folder).resolve())
            with disk.below_sqlite():
                house = cls(disk)
                try:
                    yield house
                finally:
                    house.let_go()
                    os.close(house.listener)
                    os.close(house.anchor)
                    os.close(house.roll)

    def let_go(self) -> None:
        """Nobody has a database open."""
        for each in (self.hall.store, self.hall.keys):
            each.database.engine.dispose()

    def keys(self) -> KeyStore:
        """As a process opens it that begins."""
        kept, masters = self.hall.keys.database, MasterKeys((MASTER,))
        with patch.object(keystore, "Database", lambda *_, **__: kept):
            return KeyStore.open("", lambda: masters, str(self.disk.folder / "erasures.txt"))


@contextmanager
def steady(dice: random.Random) -> Iterator[None]:
    """What is random is the dice's."""
    with (
        patch.object(secrets, "token_bytes", dice.randbytes),
        patch.object(secrets, "randbelow", dice.randrange),
        patch.object(secrets, "randbits", dice.getrandbits),
        patch.object(os, "urandom", dice.randbytes),
    ):
        yield


class Finding(Exception):
    """Something that may never be."""


@dataclass(eq=False)
class Process:
    """One that can be killed; `lines` are the ends of lines that are its own."""

    role: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    lines: list[trio.StapledStream[Any, Any]] = field(default_factory=list)
    dead: bool = False

    def die(self) -> None:
        self.dead = True
        self.scope.cancel()
        for line in self.lines:
            line.send_stream.close()
            line.receive_stream.close()


@dataclass(eq=False)
class Delivery:
    """What a worker handed to a viewer at an instant of `CLOCK_BOOTTIME`. Once it was acknowledged, it is in
    the batch with that number, and `t` is its instant on record."""

    worker: Worker
    moment: float
    at: int
    number: int | None = None
    t: int = 0
    acknowledged: float | None = None


@dataclass(eq=False)
class Watched:
    """What a viewer was shown: as it stands in an event, and all that has to be delivered for it."""

    viewer: int
    event: dict[str, Any]
    parts: list[Delivery] = field(default_factory=list)


class Worker(Process):
    """With a meter that viewers fill."""

    def __init__(self, world: World) -> None:
        super().__init__("worker")
        self.world = world
        self.teller = _Teller(self)
        self.acknowledged: list[tuple[Delivery, bytes]] = []
        self.stored = 0
        self.is_leaving = self.ended_well = False
        self.died: float | None = None
        # The anchor's, when it ended.
        self.offset = 0

    def delivered(self) -> bytes:
        """As `_core.Meter` has it."""
        told, self.acknowledged = self.acknowledged, []
        for delivery, _ in told:
            delivery.number = self.teller.next_number
            delivery.t = delivery.at + self.world.anchor.offset
        return b"".join(record for _, record in told)

    def die(self) -> None:
        self.offset = self.world.anchor.offset
        super().die()


class _Teller(Teller):
    def __init__(self, worker: Worker) -> None:
        world = worker.world
        super().__init__(world.house.listener, worker, world.anchor, world.roll)  # type: ignore[arg-type]
        self._of = worker
        self._waiting = _Waiting()

    @property
    def next_number(self) -> int:
        return self._number + 1

    @property
    def name(self) -> int:
        return self._worker

    @property
    def given_up(self) -> set[int]:
        assert isinstance(self._waiting, _Waiting)
        return self._waiting.given_up

    @property
    def stored(self) -> int:
        """The last batch that is stored, as the writer has said."""
        assert isinstance(self._waiting, _Waiting)
        return self._waiting.stored

    async def _line(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return self._of.world.connect(self._of)


class _Waiting(deque[Any]):
    """Knows which batches were dropped because there were too many."""

    def __init__(self) -> None:
        super().__init__()
        self.given_up = set[int]()
        self.stored = 0

    def popleft(self) -> Any:
        told = super().popleft()
        if len(self) < attending._MOST_BATCHES:
            self.stored = told.number
        else:
            self.given_up.add(told.number)
        return told


class _Lines(trio.abc.Listener[Any]):
    """Those that wait for a writer; the supervisor has them, so they outlive it."""

    def __init__(self, world: World, writer: Process) -> None:
        self._world, self._writer = world, writer

    async def accept(self) -> trio.StapledStream[Any, Any]:
        while not self._world.backlog:
            await self._world.has_backlog.wait()
        line = self._world.backlog.popleft()
        self._writer.lines.append(line)
        await trio.lowlevel.checkpoint()
        return line

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Said(NamedTuple):
    """A note that the tenant has, and who had it from where."""

    note: str
    by: str


class World:
    """One schedule's."""

    nursery: trio.Nursery

    def __init__(self, house: House, seed: int, options: Options) -> None:
        self.options = options
        self.house, self.disk, self.seed = house, house.disk, seed
        self.dice = random.Random(f"{seed}/run")
        self.trace: list[str] = []
        self.said: list[Said] = []
        self.errors: list[str] = []
        self.watched: list[Watched] = []
        self.workers: list[Worker] = []
        self.writer: Process | None = None
        self.backlog = deque[trio.StapledStream[Any, Any]]()
        self.has_backlog = trio.Event()
        self.is_up = trio.Event()
        self.boots = 0
        # For workers, and for the writer.
        self.leaving = trio.Event()
        self.stopping = trio.Event()
        self.slow = 0.0
        self.crash_takes_all = False
        self.has_lost_power = self.has_lost_dropped = False
        # Faults that the plan has.
        self.befell = set[str]()
        # How often a backup was brought back, and had less than was known beside it.
        self.restored = self.forgotten = 0
        self._keys: KeyStore | None = None
        # Of these viewers it was asked for, and of these it was said to be done.
        self.erased = set[int]()
        self.erased_well = set[int]()
        self.steps: list[tuple[float, int]] = []
        # Clocks: ms since 1970 in the beginning, what somebody set the wall clock by, and when the machine
        # was switched on.
        self.began = T
        self.set_by = 0
        self.booted = 0.0
        self.roll = Roll(house.roll)
        self.anchor = Anchor(house.anchor, self.wall, self.boottime, lambda: Clock(True, 5))

    @property
    def has_forgotten(self) -> bool:
        """Whether the store may be as it was before: one that was brought back, or that a disk had only said
        to have when the power failed."""
        return bool(self.restored or (self.disk.lies and self.has_lost_power))

    @property
    def may_have_forgotten(self) -> bool:
        """The same, or a sync of the store had failed, and somebody took over who found what was written in
        the system's memory, and not on the disk when the power failed: that is told as well."""
        return self.has_forgotten or self.has_lost_dropped

    # Clocks

    def wall(self) -> int:
        return self.began + self.set_by + round(trio.current_time() * 1000)

    def boottime(self) -> int:
        return round((trio.current_time() - self.booted) * 1000) + 5000

    def seconds(self) -> float:
        return self.wall() / 1000

    def note(self, *what: object) -> None:
        line = " ".join((f"{trio.current_time():8.3f}", *map(str, what)))
        # Of all that is told, the folder alone is another one each time.
        self.trace.append(line.replace(f"{self.disk.folder}/", ""))

    def keys(self) -> KeyStore:
        """Those of the console, which is there all the time."""
        if self._keys is None:
            self._keys = self.house.keys()
        return self._keys

    # Lines

    def connect(self, worker: Worker) -> trio.abc.Stream:
        mine, other = trio.testing.memory_stream_pair()
        if worker.dead:
            raise OSError("the process is dead")
        worker.lines.append(mine)
        self.backlog.append(other)
        self.has_backlog.set()
        self.has_backlog = trio.Event()
        return mine

    def cut(self, worker: Worker) -> None:
        """What is on its way arrives, and no answer."""
        for line in worker.lines:
            line.receive_stream.put_eof()
        worker.lines.clear()

    # Processes

    async def in_thread(self, work: Callable[..., Any], *args: Any, **_: Any) -> Any:
        """In the place of a thread: at once, though on a slow disk it takes a while before and after."""
        process, found = _RUNNING.get(), None
        error: Exception | None = None
        await self.wait_for_disk()
        await self.survive(process)
        try:
            found = work(*args)
        except Exception as raised:
            error = raised
        if self.disk.is_crashed:
            self.crash(process)
        await self.survive(process)
        await self.wait_for_disk()
        if error is not None:
            raise error
        return found

    async def survive(self, process: Process) -> None:
        """Who is dead does nothing more, and hears of nothing."""
        if process.dead:
            await trio.sleep_forever()

    async def wait_for_disk(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.slow:
            await trio.sleep(self.dice.random() * self.slow)

    def crash(self, process: Process) -> None:
        """It died while it wrote, or all did."""
        self.note("crash in", process.role, "power" if self.crash_takes_all else "")
        if self.crash_takes_all:
            self.lose_power()
        else:
            self.kill(process)
            self.house.let_go()
            self.disk.revive()

    def kill(self, process: Process) -> None:
        if process.dead:
            return
        self.note("killed", process.role)
        if isinstance(process, Worker):
            process.stored = process.teller.stored
            process.died = trio.current_time()
        process.die()

    def lose_power(self) -> None:
        self.note("power fails")
        self.has_lost_power = True
        self.has_lost_dropped |= self.disk.has_dropped
        self._go_down()
        self.disk.lose_power()

    def restore(self, files: dict[str, bytes], logs: dict[int, int], *, after_power: bool) -> None:
        """The store is as it was, with logs of these sizes; what lies beside it is as it is, or as the power
        has left it."""
        self.note("restore", "after the power has failed" if after_power else "")
        self._go_down()
        if after_power:
            self.disk.lose_power()
        known = heads.Heads(str(self.disk.folder)).read().get(self.house.hall.acme)
        if known is not None:
            had = max(logs.items(), default=(0, 0))
            self.forgotten += (known.epoch, known.size) > had and bool(logs or known.signed)
        self.restored += 1
        self.disk.bring_back(files)
        self.disk.revive()

    def _go_down(self) -> None:
        for each in (*self.workers, self.writer):
            if each is not None:
                self.kill(each)
        self.disk.is_crashed = True
        self.house.let_go()
        self.backlog.clear()
        self.is_up = trio.Event()
        self.nursery.start_soon(self._come_back)

    async def _come_back(self) -> None:
        await trio.sleep(0.1 + self.dice.random() / 2)
        self.boot()

    def boot(self) -> None:
        self.boots += 1
        self.booted = trio.current_time()
        # What the supervisor keeps in memory.
        os.pwrite(self.house.anchor, bytes(24), 0)
        os.pwrite(self.house.roll, bytes(os.fstat(self.house.roll).st_size), 0)
        self.anchor.make()
        self.is_up.set()

    async def keep_up(
        self,
        make: Callable[[], Process],
        run: Callable[[Any], Awaitable[None]],
        end: trio.Event,
    ) -> None:
        """As the supervisor does: whatever ends is begun again, a moment later."""
        while not end.is_set():
            await self.is_up.wait()
            if end.is_set():
                break
            process = make()
            _RUNNING.set(process)
            try:
                with process.scope:
                    await run(process)
            except* PystreamError as errors:
                # It could not begin.
                if not process.dead:
                    self.note(process.role, "ended:", errors.exceptions[0])
                    self.kill(process)
            except* (trio.ClosedResourceError, trio.BrokenResourceError):
                if not process.dead:
                    raise
            if process.dead:
                await trio.sleep(0.05 + self.dice.random() / 2)

    async def in_office(self, what: str) -> None:
        """What the console does meanwhile, in a process of its own."""
        if not self.is_up.is_set():
            return
        process = Process("office")
        _RUNNING.set(process)
        with process.scope:
            try:
                await trio.to_thread.run_sync(getattr(self, f"_{what}"))
            except PystreamError as error:
                self.note(what, error)

    def _rows(self) -> None:
        hall, keys = self.house.hall, self.keys()
        store = AttendanceStore(hall.store.database)
        store.rows(keys, hall.acme, [hall.ids["acme/film"]], self.options)

    def _sign(self) -> None:
        hall = self.house.hall
        notary = Notary(hall.store.database, self.keys())
        signed = notary.checkpoint(hall.acme, self.anchor.state(), int(self.seconds()))
        self.said.append(Said(signed.note, "office"))

    def _erase(self) -> None:
        hall = self.house.hall
        self.erased.add(0)
        issuer = Issuer(Store(hall.store.database).viewers, self.keys())
        issuer.erase(hall.acme, [hall.passwords[0]], who="eva", now=int(self.seconds()))
        self.erased_well.add(0)

    def logs(self) -> dict[int, int]:
        """How long each log is."""
        log = tables.attendance_log.c
        with self.house.hall.store.database.reading() as connection:
            return dict(connection.execute(select(log.epoch, log.size)).all())

    def make_writer(self) -> Process:
        self.writer = Process("writer")
        return self.writer

    async def write(self, process: Process) -> None:
        """As `writer.write` does."""
        made: list[tuple[Recorder, Checkpoints]] = []

        def begin() -> None:
            store, keys = Store(self.house.hall.store.database), self.house.keys()
            signing = Checkpoints(
                store,
                Notary(store.database, keys),
                self.anchor,
                Settings(),
                heads.Heads(str(self.disk.folder)),
                self.seconds,
                lambda _: _Site(self),  # type: ignore[arg-type,return-value]
                monotonic=trio.current_time,
            )
            signing.look()
            recorder = Recorder(
                store.viewers,
                keys,
                self.anchor,
                self.roll,
                self.seconds,
                lambda: True,
                trio.current_time,
                settle=signing.settle,
            )
            made.append((recorder, signing))

        await trio.to_thread.run_sync(begin)
        ((recorder, signing),) = made
        async with trio.open_nursery() as nursery:
            await nursery.start(recorder.serve, _Lines(self, process))
            nursery.start_soon(signing.run)
            await self.stopping.wait()
            await recorder.flush()
            nursery.cancel_scope.cancel()

    def make_worker(self) -> Worker:
        worker = Worker(self)
        self.workers.append(worker)
        return worker

    async def work(self, worker: Worker) -> None:
        await worker.teller.run()

    def hand(self, worker: Worker) -> Delivery:
        at = self.boottime()
        return Delivery(worker, trio.current_time(), at, t=at + self.anchor.offset)

    def step(self, ms: int) -> None:
        """Somebody sets the wall clock."""
        self.set_by += ms
        self.steps.append((trio.current_time(), ms))

    async def stop(self, worker: Worker) -> None:
        """As one does that is told to end."""
        worker.is_leaving = True
        await worker.teller.finish()
        if not worker.dead:
            worker.stored = worker.teller.stored
            worker.ended_well = not worker.teller._waiting
            worker.die()


class _Site:
    """The tenant's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.settings = None

    async def call(self, tenant: str, url: str, *, body: bytes, **_: Any) -> Reply:
        self._world.said.append(Said(body.decode(), "site"))
        await trio.lowlevel.checkpoint()
        return Reply((), b"")


@contextmanager
def living_in(world: World) -> Iterator[None]:
    """All that is not the schedule's is set aside."""

    def lasting(event: str, error: BaseException, *_: Any, **__: Any) -> None:
        world.note(event, type(error).__name__, str(error)[:200])
        world.errors.append(f"{event} {type(error).__name__}: {error}")

    def say(event: str, **fields: Any) -> None:
        world.note(event, *(f"{name}={value}" for name, value in fields.items()))

    system = world.disk.system()
    with ExitStack() as stack:
        stack.enter_context(steady(random.Random(f"{world.seed}/secrets")))
        for module, name, value in SHORTER:
            stack.enter_context(patch.object(module, name, value))
        for module, name, new in (
            (trio.to_thread, "run_sync", world.in_thread),
            (erasures, "os", system),
            (heads, "os", system),
            (log, "lasting", lasting),
            (log, "info", say),
            (log, "warning", say),
            (log, "error", say),
            (scheduler, "_r", random.Random(f"{world.seed}/tasks")),
            (scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        ):
            stack.enter_context(patch.object(module, name, new))
        yield
