"""The node: a supervisor that keeps listeners, shared memory and processes alive.

The supervisor opens the sockets once and keeps them for as long as the node lives; workers inherit
them. So a worker that dies loses none of the connections that wait in its queue: its successor has
the same socket.

Signals: TERM and INT end gracefully, the second one at once; HUP has settings and certificates read
again; USR2 replaces the program by the one that is installed now.

**How the program is replaced.** A trial comes first: the new program starts beside the old one, with
sockets of its own for nobody, reads what it would be left, brings the store up to date, starts a
writer and a worker, and ends. If anything of that fails, the old program goes on as it was, with the
store as the new one has it: that alone is not taken back. Then the supervisor executes the new
program in its own process, whose number systemd knows, and leaves to it all descriptors and children
(`_HANDOVER`). Shared memory that the new program cannot read, or that the settings want in another
size, it makes anew; old processes keep what they have. The new supervisor starts new processes, and
only when all of them serve has the old ones finish. Until then, both accept from the same sockets.
Signals are blocked in between, and come afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import trio

from pystream import _core
from pystream.errors import SettingsError
from pystream.server import child as children
from pystream.server import descriptors, desk, listeners, log, service, shelf
from pystream.server.clock import Anchor, synchronised
from pystream.server.edge import edge_of
from pystream.server.gate import countries_of
from pystream.server.gauges import Board, Seat, State
from pystream.server.guard.limiter import TABLE_BYTES as GUARD_BYTES
from pystream.server.guard.syn import Watch as SynWatch
from pystream.server.listeners import ADMIN, HTTP, HTTPS, Place
from pystream.server.roll import Roll
from pystream.server.settings import (
    Settings,
    load,
    needing_new_processes,
    to_json,
    with_changes,
)

_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""mallopt(3), where nobody has said otherwise: windows that are free are kept for the next ones. By
default they go back to the system, and each new one costs page faults."""
_HANDOVER = "PYSTREAM_HANDOVER"
"""The environment variable by which a supervisor leaves everything to the next program."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
_METER_ROWS = 65_536
# Slots of half a million buckets and notes.
_PACE_BYTES = 4 << 20
# Of streams that are not open: 8 MiB.
SESSIONS = 131_072
_TRIES_BYTES = 1 << 20
_SEATS_A_PROCESS = 4
# The writer, who answers for the node, and the office.
_OTHER_PROCESSES = 3
_RESTART_SECONDS = 0.2
_RESTART_MOST_SECONDS = 10.0
# What systemd waits longer than that (sd_notify(3), EXTEND_TIMEOUT_USEC): the rest is written down.
_LAST_SECONDS = 15.0
# What a process takes to die that can.
_DEATH_SECONDS = 2.0
_RELOAD_SECONDS = 10.0
_TRIAL_SECONDS = 60.0
# Bytes of what a new program says before it is one: who says more is not heard, and costs no memory.
_MOST_SAID = 1 << 20
_LOOK_SECONDS = 1.0
# Looks in a row at which a worker's loop, or the thread that sends, has not gone round: it hangs, and
# will not notice itself.
_STANDSTILLS = 10


@dataclass
class _Child:
    """A process. `seat`: a number that no other living process of the node has. `control`: where
    the supervisor writes to it. `process`: None for one that an earlier program started. `leaving`:
    it was told to finish, or nobody waits for it. `killed`: it was sent SIGKILL, of which it may not die:
    who waits for a file system that does not answer stays in the kernel."""

    role: str
    index: int
    seat: int
    pid: int
    control: int
    process: subprocess.Popen[bytes] | None = None
    was_ready: bool = False
    reloaded: trio.Event = field(default_factory=trio.Event)
    leaving: bool = False
    killed: bool = False
    unsaid: bytes = b""

    def kill(self) -> None:
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        if self.process is not None:
            return self.process.poll()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    async def tell(self, settings: Settings) -> None:
        """Returns when it has taken them. A pipe holds less than settings may be long; what was called off
        in the middle of a line goes on with it the next time."""
        self.reloaded = trio.Event()
        self.unsaid += f"{to_json(settings)}\n".encode()
        try:
            while self.unsaid:
                try:
                    self.unsaid = self.unsaid[os.write(self.control, self.unsaid) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.control)
        except (BrokenPipeError, trio.ClosedResourceError):
            return  # it is dying
        await self.reloaded.wait()

    def let_go(self) -> None:
        """Has it finish in its own time."""
        self.leaving = True
        self.hang_up()

    def hang_up(self) -> None:
        if self.control >= 0:
            trio.lowlevel.notify_closing(self.control)
            os.close(self.control)
        self.control = -1


def supervise(
    settings: Settings,
    config: str | None,
    seconds: float | None = None,
    command: Sequence[str] | None = None,
    announce: Callable[[], None] | None = None,
) -> int:
    """Run a node until a signal ends it, or it has served for `seconds`; returns the exit code.

    `config` is the settings' file, read again when a signal asks for it. `command` starts the
    program that replaces this one; without it, none does. `announce` says that it serves, where
    that is not to be an event of the log.

    Raises `SettingsError` where it cannot listen, or cannot use its certificates.
    """
    log.setup(settings.log.format, settings.log.level, role="supervisor")
    descriptors.raise_limit()
    _be_called("pystream")
    return trio.run(Supervisor(settings, config, command, announce).run, seconds)


def _be_called(name: str) -> None:
    """Under what the process is found (proc(5), comm): a program that was replaced would have the
    interpreter's name."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name)


class Supervisor:
    """Starts, watches and ends the processes of a node."""

    def __init__(
        self,
        settings: Settings,
        config: str | None,
        command: Sequence[str] | None = None,
        announce: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self._config = config
        self._command = command
        self._announce = announce or self._say_where
        self._count = settings.server.workers or len(os.sched_getaffinity(0))
        self._places: tuple[Place, ...] = ()
        self._shelf = shelf.Shelf()
        self._memory: dict[str, int] = {}
        self._children: dict[int, _Child] = {}
        self._serving: dict[tuple[str, int], trio.Event] = {}
        self._failures: dict[tuple[str, int], int] = {}
        self._took_over = False
        self._trial = False
        self._ready = trio.Event()
        self._changing = trio.Lock()
        self._replacing = False
        self._stopping = False
        self._code = 0

    async def run(self, seconds: float | None = None) -> int:
        """Until a signal ends it, or it has served for `seconds`; returns the exit code."""
        self._open()
        if self._tells() and not self._took_over:
            log.info("starting", version=_core.VERSION)
        self._say_what_is_missing()
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._start_all, seconds)
                nursery.start_soon(service.keep_watchdog_quiet)
                nursery.start_soon(self._shelf.run, self._memory["shelf"])
                nursery.start_soon(self._watch)
                nursery.start_soon(self._anchor)
                async for number in signals:
                    if number == signal.SIGCHLD:
                        if self._reap():
                            break
                    elif number == signal.SIGHUP:
                        nursery.start_soon(self._reload)
                    elif number == signal.SIGUSR2:
                        nursery.start_soon(self._replace)
                    elif self._stopping:
                        self._kill_all()
                    else:
                        self._stop()
                nursery.cancel_scope.cancel()
        if self._tells():
            log.info("stopped")
        return self._code

    def _say_what_is_missing(self) -> None:
        missing = descriptors.missing(self.settings, self._count, descriptors.allowed())
        if missing is not None and not self._trial:
            log.warning("descriptors-do-not-suffice", why=missing)

    # Sockets and shared memory

    def _open(self) -> None:
        handed: dict[str, Any] = json.loads(os.environ.pop(_HANDOVER, "{}"))
        self._trial = handed.get("trial", False)
        earlier = tuple(
            Place(each["kind"], each["where"], tuple(each["sockets"]))
            for each in handed.get("places", ())
        )
        before = {each["pid"]: _Child(**each) for each in handed.get("children", ())}
        memory = _readable(handed.get("memory", {}))
        if self._trial:
            # It serves nobody, and all this is the old one's.
            self._count = 1
            listeners.try_new(self.settings, earlier)
            for fd in memory.values():
                os.close(fd)
        elif handed:
            self._took_over = True
            self._memory, self._children = memory, before
        else:
            earlier = listeners.inherited(os.environ, os.getpid())
        if not self._trial:
            self._places = self._open_places(earlier)
        if "meter" not in self._memory:
            self._memory["meter"] = _core.Meter.create(_METER_ROWS)
        self._board = self._attach_board()
        self._syns = SynWatch(self.settings, lambda: self._places, self._board, self._tells)
        if "pace" not in self._memory:
            self._memory["pace"] = _core.Gcra.create(_PACE_BYTES)
        self._segments = self._attach_cache()
        if "sessions" not in self._memory:
            self._memory["sessions"] = _core.Sessions.create(SESSIONS)
        if "tries" not in self._memory:
            self._memory["tries"] = _core.Gcra.create(_TRIES_BYTES)
        if "guard" not in self._memory:
            self._memory["guard"] = _core.Gcra.create(GUARD_BYTES)
        if "tries_of_people" not in self._memory:
            self._memory["tries_of_people"] = _core.Gcra.create(_TRIES_BYTES)
        if "desk" not in self._memory:
            self._memory["desk"] = desk.listen()
        if "office" not in self._memory:
            self._memory["office"] = desk.listen("office")
        if "attendance" not in self._memory:
            self._memory["attendance"] = desk.listen("attendance")
        if "signs" not in self._memory:
            self._memory["signs"] = desk.listen("signs")
        if "anchor" not in self._memory:
            self._memory["anchor"] = Anchor.create()
        if "roll" not in self._memory:
            self._memory["roll"] = Roll.create()
        if "shelf" not in self._memory:
            self._memory["shelf"] = shelf.listen()
        if "films" in handed and not self._trial:
            with open(handed["films"], "rb") as left:
                left.seek(0)
                self._shelf.take_over(left.read())
        if "ticket_secret" not in self._memory:
            self._memory["ticket_secret"] = _sealed_memory(secrets.token_bytes(_SECRET_BYTES))
        for fd in self._descriptors():
            os.set_inheritable(fd, False)
        if not self._took_over:
            # What of other files is wrong is said once, not by each worker.
            self._try_files(self.settings)

    def _attach_board(self) -> Board:
        """The gauges, those of an earlier program where they have room for this one's workers."""
        if "gauges" in self._memory:
            board = Board(self._memory["gauges"])
            if board.expect(self._count):
                return board
            os.close(self._memory["gauges"])
        self._memory["gauges"] = Board.create(self._count)
        return Board(self._memory["gauges"])

    def _attach_cache(self) -> _core.Cache | None:
        """The segment cache, of which this process takes nothing: that of an earlier program where it is
        as large as the settings say, and has room for this one's processes."""
        blocks = self.settings.cache.segment_bytes // _core.CACHE_BLOCK
        # Workers of two programs live side by side during an upgrade, and of two settings.
        seats = min(_SEATS_A_PROCESS * (self._count + _OTHER_PROCESSES), _core.CACHE_SEATS)
        if "cache" in self._memory:
            cache = _core.Cache(os.dup(self._memory["cache"]), 0)
            if cache.size == blocks * _core.CACHE_BLOCK and cache.seats >= seats:
                return cache
            os.close(self._memory.pop("cache"))
        if not blocks:
            return None
        self._memory["cache"] = _core.Cache.create(blocks * _core.CACHE_BLOCK, seats)
        return _core.Cache(os.dup(self._memory["cache"]), 0)

    def _open_places(self, earlier: tuple[Place, ...]) -> tuple[Place, ...]:
        try:
            return listeners.open_all(self.settings, self._count, earlier)
        except SettingsError as error:
            if not self._took_over:
                raise
            # Taken since the trial. Viewers are worth more than that.
            log.error("listens-where-it-did", **log.fault(error))
            return earlier

    def _descriptors(self) -> list[int]:
        """All that the next program gets."""
        sockets = [fd for place in self._places for fd in place.sockets]
        controls = [child.control for child in self._children.values() if child.control >= 0]
        return [*sockets, *self._memory.values(), *controls, *self._shelf.descriptors()]

    # Processes

    async def _start_all(self, seconds: float | None) -> None:
        """The writer first: it brings the store up to date for the others."""
        before = list(self._children.values())
        if not self._trial:
            await self._nursery.start(self._syns.run)
        self._start("writer", 0)
        await self._serving["writer", 0].wait()
        if any(place.kind == ADMIN for place in self._places):
            self._start("admin", 0)
        if self.settings.console.enabled:
            self._start("office", 0)
        for index in range(self._count):
            self._start("worker", index)
        for index in range(self._count):
            await self._serving["worker", index].wait()
        if self.settings.console.enabled:
            await self._serving["office", 0].wait()
        for child in before:
            if child.role != "writer":
                child.let_go()
        self._let_writers_go()
        if self._took_over:
            log.info("program-replaced")
        elif not self._trial:
            self._announce()
        self._ready.set()
        service.notify("READY=1", f"MAINPID={os.getpid()}")
        if self._trial:
            self._stop()
        elif seconds is not None:
            await trio.sleep(seconds)
            self._stop()

    def _say_where(self) -> None:
        log.info(
            "serving",
            at=[f"{place.kind} {listeners.address(place)}" for place in self._places],
            workers=self._count,
            settings=self._config or "defaults",
        )

    def _start(self, role: str, index: int) -> None:
        """Starts a process; later, where the machine has nothing left for it now."""
        serving = self._serving.setdefault((role, index), trio.Event())
        if self._stopping:
            return
        gauges = None
        try:
            gauges = self._board.take(index) if role == "worker" else None
            self._spawn(role, index, gauges)
        except OSError as error:
            if gauges is not None:
                gauges.state = State.FREE
            log.error("process-not-started", process=role, number=index, **log.fault(error))
            self._try_again(role, index, served=serving.is_set())

    def _spawn(self, role: str, index: int, gauges: Seat | None) -> None:
        """Raises `OSError`, and leaves nothing behind then."""
        taken = {child.seat for child in self._children.values()}
        seat = next(n for n in range(len(taken) + 1) if n not in taken)
        sockets = {
            kind: [
                fd
                for place in self._places
                if place.kind == kind and role == by
                for fd in place.share(index, self._count if role == "worker" else 1)
            ]
            for kind, by in ((HTTP, "worker"), (HTTPS, "worker"), (ADMIN, "admin"))
        }
        with ExitStack() as ours, ExitStack() as theirs:
            ready, told = _pipe(ours, theirs)
            heard, control = _pipe(theirs, ours)
            inherited = {
                *(fd for each in sockets.values() for fd in each),
                *self._memory.values(),
                told,
            }
            with _blocked(children.SIGNALS):
                process = subprocess.Popen(
                    [sys.executable, "-m", "pystream.server", role],
                    stdin=heard,
                    pass_fds=tuple(inherited),
                    env=_ALLOCATOR | service.environment(),
                )
            ours.pop_all()
        if gauges is not None:
            gauges.pid = process.pid
        child = _Child(role, index, seat, process.pid, control, process)
        self._children[process.pid] = child
        self._nursery.start_soon(self._hear, child, ready)
        node = {
            "role": role,
            "index": index,
            "seat": seat,
            "workers": self._count,
            "ready": told,
            "gauges_seat": gauges and gauges.number,
            "https_port": listeners.port_of(self._places, HTTPS),
            "ports": sorted(
                listeners.ports(each for each in self._places if each.kind in (HTTP, HTTPS))
            ),
            "settings": to_json(self.settings),
            **self._memory,
            **sockets,
        }
        with suppress(BrokenPipeError):  # it has ended already, which is noticed soon
            os.write(control, f"{json.dumps(node)}\n".encode())
        os.set_blocking(control, False)

    async def _hear(self, child: _Child, ready: int) -> None:
        """A process that serves says so; one that died says nothing."""
        async with trio.lowlevel.FdStream(ready) as stream:
            async for piece in stream:
                if children.READY in piece:
                    child.was_ready = True
                    self._failures.pop((child.role, child.index), None)
                    self._serving[child.role, child.index].set()
                if children.RELOADED in piece:
                    child.reloaded.set()
        child.reloaded.set()

    def _reap(self) -> bool:
        """Buries who died, and has successors started; whether nobody is left, as was asked for."""
        for pid, child in list(self._children.items()):
            code = child.ended()
            if code is None:
                continue
            del self._children[pid]
            if self._segments is not None and child.seat < self._segments.seats:
                # It was waited for, so nobody writes any more to what it was making.
                self._segments.reap(child.seat)
            self._board.bury(pid)
            child.hang_up()
            if not self._stopping and not child.leaving:
                self._succeed(child, code)
            elif not self._stopping and child.killed:
                self._say_ended(child, code)
        self._let_writers_go()
        if self._stopping and not any(c.role == "worker" for c in self._children.values()):
            # What the last workers have counted is there to be written.
            self._let_others_end()
        return self._stopping and not self._children

    def _let_writers_go(self) -> None:
        """An earlier program's writer is needed for as long as its workers count: what they share may
        be no more what this one's processes do."""
        before = [child for child in self._children.values() if child.process is None]
        if not any(child.role == "worker" for child in before):
            for child in before:
                if child.role == "writer" and not child.leaving:
                    child.let_go()

    def _succeed(self, child: _Child, code: int) -> None:
        if child.process is None:
            # The new program's processes are about to take over.
            return
        if self._try_again(child.role, child.index, served=child.was_ready):
            self._say_ended(child, code)

    @staticmethod
    def _say_ended(child: _Child, code: int) -> None:
        log.error("process-ended", process=child.role, number=child.index, code=code)

    def _try_again(self, role: str, index: int, *, served: bool) -> bool:
        """Has a process started once more, after a while; whether it shall be."""
        if not (self._ready.is_set() or self._took_over or served):
            # It was said why. A node that never served does not hide it by trying again.
            self._code = 1
            self._stop()
            return False
        failures = self._failures[role, index] = self._failures.get((role, index), -1) + 1
        # One that dies at once would do so again, and again.
        wait = min(_RESTART_SECONDS * 2**failures, _RESTART_MOST_SECONDS)
        self._nursery.start_soon(self._start_later, role, index, wait)
        return True

    async def _watch(self) -> None:
        """Kills workers that hang: they live, so the kernel says nothing, and keep connections that
        nobody serves. Looks are counted and not time, of which some passes while a machine sleeps.

        What the thread does that sends is told by the loop, so it is judged while that goes round."""
        beats = dict[int, tuple[int, int, int, int]]()
        while True:
            await trio.sleep(_LOOK_SECONDS)
            seen, beats = beats, {}
            for seat in self._board.taken():
                child = self._children.get(seat.pid)
                if child is None or child.killed or seat.state is State.STARTING:
                    continue
                before, stood, sent_before, unsent = seen.get(seat.pid, (-1, 0, -1, 0))
                now, sent = seat.beats, seat.get("delivery_beats")
                if now == before:
                    stood += 1
                else:
                    stood, unsent = 0, unsent + 1 if sent == sent_before else 0
                hangs = _STANDSTILLS in (stood, unsent)
                beats[seat.pid] = now, stood, sent, unsent
                if hangs:
                    where = "loop" if stood else "delivery"
                    seconds = _STANDSTILLS * _LOOK_SECONDS
                    log.error("worker-hangs", number=child.index, where=where, seconds=seconds)
                    self._give_up(child)

    async def _anchor(self) -> None:
        """Takes the anchor of evidence, once the clock is right or need not be."""
        anchor = Anchor(self._memory["anchor"])
        has_waited = False
        while not anchor.offset:
            if synchronised():
                anchor.make()
                if has_waited:
                    log.info("clock-synchronised", why="attendance is recorded from now on")
            elif self.settings.attendance.allow_unsynced:
                log.warning("clock-not-synchronised", why="allow_unsynced: evidence is recorded")
                anchor.make()
            else:
                has_waited = True
                await trio.sleep(_LOOK_SECONDS)

    def _give_up(self, child: _Child) -> None:
        """Kills a worker that hangs. A successor does not wait until it is dead: that may take as long as
        a file system takes to answer."""
        child.kill()
        self._board.give_up(child.pid)
        if child.process is not None and not (self._stopping or child.leaving):
            child.leaving = True
            self._try_again(child.role, child.index, served=child.was_ready)

    async def _start_later(self, role: str, index: int, wait: float) -> None:
        await trio.sleep(wait)
        self._start(role, index)

    def _kill_all(self) -> None:
        for child in self._children.values():
            child.kill()

    def _stop(self) -> None:
        if self._stopping:
            return
        grace = self.settings.server.grace_seconds
        timeout = round((grace + _LAST_SECONDS) * 1e6)
        service.notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={timeout}")
        self._stopping = True
        if self._tells():
            log.info("stopping")
        self._board.drain()
        # Nobody shall wait in a queue that no worker will look at.
        for place in self._places:
            listeners.close(place)
        self._places = ()
        for child in self._children.values():
            if child.role == "worker":
                os.kill(child.pid, signal.SIGTERM)
        self._nursery.start_soon(self._lose_patience, grace)
        # Where nobody is left, nobody's end will say so.
        os.kill(os.getpid(), signal.SIGCHLD)

    def _tells(self) -> bool:
        """Whether its life is to be events of the log: neither a trial's nor a demo's is."""
        return not self._trial and self._announce == self._say_where

    async def _lose_patience(self, grace: float) -> None:
        await trio.sleep(grace)
        workers = self._workers()
        log.warning("answers-cut", after_seconds=grace, workers=len(workers))
        for worker in workers:
            # It counts what it breaks off, and ends.
            os.kill(worker.pid, children.CUT)
        await trio.sleep(_DEATH_SECONDS)
        if workers := self._workers():
            # One hangs, or waits for a file.
            log.warning("workers-killed", workers=len(workers))
            for worker in workers:
                worker.kill()
            await trio.sleep(_DEATH_SECONDS)
        # The others write down what these have counted; that takes no time, if the store is well.
        self._let_others_end()
        await trio.sleep(_LAST_SECONDS / 2)
        self._kill_all()
        await trio.sleep(_DEATH_SECONDS)
        left = [f"{child.role} {child.index}" for child in self._children.values()]
        log.error(
            "processes-left", processes=left, why="they wait for a file system that does not answer"
        )
        self._code = 1
        self._nursery.cancel_scope.cancel()

    def _workers(self) -> list[_Child]:
        return [child for child in self._children.values() if child.role == "worker"]

    def _let_others_end(self) -> None:
        for child in self._children.values():
            if child.role != "worker":
                os.kill(child.pid, signal.SIGTERM)

    # Change

    async def _reload(self) -> None:
        """New settings for all processes; what is wrong leaves everything as it was."""
        # What is asked for while it starts is done then; a program that takes over reads them itself.
        await self._ready.wait()
        async with self._changing:
            if self._stopping:
                log.warning("settings-not-read", why="the node stops")
                return
            service.notify_reloading()
            try:
                after = load(self._config, os.environ)
                self._try_files(after)
            except (SettingsError, OSError) as error:
                log.error("settings-refused", **log.fault(error))
            else:
                for key in needing_new_processes(self.settings, after):
                    log.warning("setting-needs-sigusr2-or-restart", key=key)
                self.settings = with_changes(self.settings, after)
                self._say_what_is_missing()
                self._syns.reload(self.settings)
                await self._spread()
                log.info("settings-read")
            service.notify("READY=1")

    def _try_files(self, settings: Settings) -> None:
        """Raises `SettingsError` where a file that the settings name cannot be used: no worker that comes
        later could start with it."""
        edge_of(settings, self._ticket_secret(), None)
        countries_of(settings.geo)

    async def _spread(self) -> None:
        # An earlier program's have nobody who hears them any more.
        told = [child for child in self._children.values() if child.process and not child.leaving]
        with trio.move_on_after(_RELOAD_SECONDS) as limit:
            async with trio.open_nursery() as nursery:
                for child in told:
                    nursery.start_soon(child.tell, self.settings)
        if limit.cancelled_caught:
            for child in told:
                if not child.reloaded.is_set():
                    log.warning("process-not-told", process=child.role, number=child.index)

    async def _replace(self) -> None:
        """Executes the program anew, once that has shown that it can start."""
        if self._replacing:
            # Whoever takes over knows nothing of it.
            log.info(
                "replacing-program-already", why="one SIGUSR2 is enough; send it again afterwards"
            )
            return
        self._replacing = True
        try:
            await self._replace_in_turn()
        finally:
            self._replacing = False

    async def _replace_in_turn(self) -> None:
        if self._changing.locked():
            log.info("replacing-program-later", why="settings are being read")
        async with self._changing:
            if self._command is None or not self._ready.is_set() or self._stopping:
                log.warning("program-not-replaced", why="this node cannot be, or not now")
                return
            log.info("replacing-program")
            service.notify_reloading()
            fault = await self._try_new_program()
            if not fault and not self._stopping:
                fault = self._execute()
            self._say_not_replaced(fault)

    def _say_not_replaced(self, fault: dict[str, Any]) -> None:
        if self._stopping:
            log.warning("program-not-replaced", why="the node stops")
            return
        why = "the new one does not start; the old one goes on"
        log.error("program-not-replaced", why=why, **fault)
        service.notify("READY=1")

    async def _try_new_program(self) -> dict[str, Any]:
        """What is wrong with it: how it has ended and what it says of that, or why it never began. Nothing
        where it can start."""
        said = _bounded_memory(_MOST_SAID)
        try:
            fault = await self._end_of_new_program(said)
            # By its place: where the program was killed, processes of its own may still write.
            text = os.pread(said, _MOST_SAID, 0).rstrip(b"\0").decode(errors="replace")
        finally:
            os.close(said)
        why = log.relay(text)
        return fault | {"error": why} if fault and why else fault

    async def _end_of_new_program(self, stderr: int) -> dict[str, Any]:
        assert self._command is not None
        with trio.move_on_after(_TRIAL_SECONDS):
            try:
                done = await trio.run_process(
                    self._command,
                    env=service.environment() | {_HANDOVER: json.dumps(self._handed(trial=True))},
                    stdin=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=tuple(self._memory.values()),
                    check=False,
                    deliver_cancel=_kill,
                )
            except OSError as error:
                return {"program": self._command[0], **log.fault(error)}
            if done.returncode < 0:
                return {"signal": signal.Signals(-done.returncode).name}
            return {"exit_code": done.returncode} if done.returncode else {}
        return {"silent_seconds": _TRIAL_SECONDS}

    def _handed(self, *, trial: bool) -> dict[str, Any]:
        names = ("role", "index", "seat", "pid", "control", "leaving")
        return {
            "trial": trial,
            "places": [asdict(place) for place in self._places],
            "memory": self._memory,
            "children": [
                {name: getattr(child, name) for name in names} for child in self._children.values()
            ],
        }

    def _execute(self) -> dict[str, Any]:
        """Returns only where it fails, with what is wrong."""
        assert self._command is not None
        sys.stdout.flush()
        films = _sealed_memory(self._shelf.left())
        descriptors = [*self._descriptors(), films]
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for fd in descriptors:
                os.set_inheritable(fd, True)
            handed = self._handed(trial=False) | {"films": films}
            environment = os.environ | {_HANDOVER: json.dumps(handed)}
            os.execve(self._command[0], list(self._command), environment)
        except OSError as error:
            for fd in descriptors:
                os.set_inheritable(fd, False)
            os.close(films)
            return {"program": self._command[0], **log.fault(error)}
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _ticket_secret(self) -> bytes:
        return _secret(self._memory["ticket_secret"])


_SECRET_BYTES = 32


async def _kill(process: trio.Process) -> None:
    """Its own processes see that it is gone, and end."""
    process.kill()


def _readable(memory: dict[str, int]) -> dict[str, int]:
    """What this program can read of the memory that an earlier one shared; the rest is closed."""
    attach: dict[str, Callable[[int], object]] = {
        "meter": lambda fd: _core.Meter(os.dup(fd)),
        "gauges": Board,
        "pace": lambda fd: _core.Gcra(os.dup(fd), bytes(16)),
        "tries": lambda fd: _core.Gcra(os.dup(fd), bytes(16)),
        "tries_of_people": lambda fd: _core.Gcra(os.dup(fd), bytes(16)),
        "guard": lambda fd: _core.Gcra(os.dup(fd), bytes(16)),
        "sessions": lambda fd: _core.Sessions(os.dup(fd)),
        "desk": os.fstat,
        "office": os.fstat,
        "attendance": os.fstat,
        "signs": os.fstat,
        "anchor": lambda fd: Anchor(fd).offset,
        "roll": Roll,
        "shelf": os.fstat,
        "cache": lambda fd: _core.Cache(os.dup(fd), 0),
        "ticket_secret": _secret,
    }
    found = {}
    for name, fd in memory.items():
        try:
            attach[name](fd)
        except (KeyError, ValueError) as error:
            log.warning("memory-made-anew", what=name, **log.fault(error))
            os.close(fd)
        else:
            found[name] = fd
    return found


def _secret(fd: int) -> bytes:
    """Raises `ValueError`."""
    secret = os.pread(fd, _SECRET_BYTES + 1, 0)
    if len(secret) != _SECRET_BYTES:
        raise ValueError("this is no secret")
    return secret


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Both ends of a pipe, closed with whoever has them. Raises `OSError`."""
    ends = os.pipe()
    for owner, end in zip((reader, writer), ends, strict=True):
        owner.callback(os.close, end)
    return ends


def _bounded_memory(size: int) -> int:
    """The descriptor of memory that so many bytes can be written to, and reads as zeros before."""
    fd = os.memfd_create("pystream", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def _sealed_memory(data: bytes) -> int:
    """The descriptor of memory that holds `data` and never anything else."""
    fd = os.memfd_create("pystream", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@contextmanager
def _blocked(numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """What a process starts with is blocked until it is ready for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
