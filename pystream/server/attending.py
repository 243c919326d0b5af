"""Deliveries on their way from workers to the node's one writer, and into the store.

A worker (`Teller`) looks twice a second what its peers have acknowledged, numbers that as a batch, and keeps
it until the writer has said that it is stored: so the writer may die, and nothing is lost or there twice. The
writer (`Recorder`) stores in one transaction all that has come while the one before was written. Batches go
over a unix socket that the supervisor holds, as the desk's does; each message is its length in four bytes,
and then MessagePack.

A worker says that it is there as soon as it is asked for something that it will have to tell, and then
every second, until there was nothing for some time. One whose line is gone, or which another writer has left
behind, and that says nothing for some seconds, is dead: from some seconds before its last word, of which it
may not have known all yet, to the moment when that was noticed it was an outage, which everybody is told who
attends. One that dies before its first word is stored is known from the roll (`roll`).
"""

from __future__ import annotations

import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec
import trio

from pystream import _core
from pystream.acl.store.attending import HOUR_MS, Batch
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.viewers import ViewerStore
from pystream.attendance import evidence
from pystream.attendance.evidence import clock_step, outage
from pystream.attendance.nodes import Node
from pystream.errors import PystreamError, StoreError
from pystream.server import log
from pystream.server.clock import STEP_MS, Anchor, synchronised
from pystream.server.desk import framed, is_ours, messages
from pystream.server.roll import Roll

TELL_SECONDS = 0.5
_RETRY_SECONDS = 0.05
_NOT_YET = "until the kernel takes its clock for synchronised, no attendance is recorded"
# A worker that had something to tell says each second that it is there, for so long.
_BEAT_SECONDS = 1.0
_IDLE_SECONDS = 120.0
# What the writer has not taken by then is given up when a worker ends, or when there is more than that.
_FAREWELL_SECONDS = 5.0
_MOST_BATCHES = 7200
_LONGEST_MESSAGE = 64 << 20
# For so long nobody hears of a worker that is dead.
_SILENT_SECONDS = 6.0
_LOOK_SECONDS = 1.0
# How the node records is noted while somebody watches, for reports.
_NOTE_SECONDS = 60.0
# Events come this late at most, presence checks after the two minutes in which they may be answered: then
# their hour is over, and is sealed.
_SEAL_AFTER_MS = 180_000
_SEAL_SECONDS = 30.0
# A batch that was stored comes again no later than that.
_CURSOR_LIVES_MS = 24 * HOUR_MS


class Told(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A batch, as `Batch` has it."""

    worker: int
    number: int
    since: int
    until: int
    offset: int
    records: bytes
    last: bool


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All of a worker's batches up to that number are stored."""

    number: int


_TOLD = msgspec.msgpack.Decoder(Told)
_STORED = msgspec.msgpack.Decoder(Stored)
_ENCODER = msgspec.msgpack.Encoder()


class Teller:
    """A worker's side. `meter` is the one that its connections book in."""

    def __init__(self, listener: int, meter: _core.Meter, anchor: Anchor, roll: Roll) -> None:
        with socket.socket(fileno=socket.dup(listener)) as named:
            self._name = named.getsockname()
        self._meter = meter
        self._anchor = anchor
        self._roll = roll
        # Another worker is another number, also one in the place of this one.
        self._worker = secrets.randbelow(2**62 - 1) + 1
        self._number = 0
        self._until = 0
        self._waiting = deque[Told]()
        self._offset = 0
        self._last_heard = float("-inf")
        self._beat = float("-inf")
        self._is_known = False
        # Since when nothing is stored of what there was to tell; 0 for no such time.
        self._unheard_since = 0
        self._expected = trio.Event()
        self._said = bytearray()
        self._news = trio.Condition()

    def expects(self) -> bool:
        """Whether something that is delivered from here on is evidence: not before the clock is
        synchronised."""
        if not self._offset:
            self._offset = self._anchor.offset
        if not self._offset:
            log.lasting("clock-not-synchronised", PystreamError(_NOT_YET))
        if self._offset and not self._is_known and not self._expected.is_set():
            self._unheard_since = self._unheard_since or self._anchor.now()
            self._roll.enter(self._worker, self._unheard_since)
            self._expected.set()
        return self._offset != 0

    def say(self, session: bytes, place: bytes, t: int) -> None:
        """Tells what a session's player has said, beside what was delivered; `t` is in ms since 1970."""
        if self.expects():
            self._said += evidence.record(t - self._offset, session + place)

    async def run(self) -> None:
        """Tells until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            while True:
                try:
                    await self._talk()
                except* (OSError, trio.BrokenResourceError, msgspec.DecodeError) as broken:
                    # Both sides of the talk may notice it.
                    if self._waiting:
                        why = "the writer is not to be reached; what was told is told again"
                        fault = log.fault(broken.exceptions[0])
                        log.warning("attendance-line-broken", why=why, **fault)
                await trio.sleep(_RETRY_SECONDS)

    async def finish(self) -> None:
        """Tells what is left, where connections are closed by now."""
        await self._collect(last=True)
        with trio.move_on_after(_FAREWELL_SECONDS):
            async with self._news:
                while self._waiting:
                    await self._news.wait()
        if self._waiting:
            log.error("attendance-not-told", batches=len(self._waiting))

    async def _look(self) -> None:
        while True:
            await self._collect()
            with trio.move_on_after(TELL_SECONDS):
                await self._expected.wait()

    async def _collect(self, *, last: bool = False) -> None:
        until, records = self._anchor.now(), self._meter.delivered() + self._said
        self._said = bytearray()
        now = trio.current_time()
        is_news = bool(records) or self._expected.is_set()
        if is_news:
            self._last_heard = now
            self._expected = trio.Event()
        elif not self._is_known:
            return
        is_idle = last or now - self._last_heard > _IDLE_SECONDS
        if not is_news and not is_idle and now - self._beat < _BEAT_SECONDS:
            return
        self._beat = now
        self._is_known = not is_idle
        self._number += 1
        offset = self._anchor.offset
        since, self._until = self._until or until, until
        told = Told(self._worker, self._number, since, until, offset, records, is_idle)
        async with self._news:
            self._waiting.append(told)
            if len(self._waiting) > _MOST_BATCHES:
                # The next one's number says that something is missing.
                self._waiting.popleft()
                log.error("attendance-given-up", batches=1, why="nobody stores it for an hour")
            self._news.notify_all()

    async def _line(self) -> trio.abc.Stream:
        """To whoever is the writer now."""
        peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await peer.connect(self._name)
        if not is_ours(peer._sock):  # type: ignore[attr-defined]
            peer.close()
            raise OSError("the socket is another user's")
        return trio.SocketStream(peer)

    async def _talk(self) -> None:
        async with await self._line() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._send, stream)
            async for message in messages(stream):
                stored = _STORED.decode(message).number
                self._unheard_since = 0
                async with self._news:
                    while self._waiting and self._waiting[0].number <= stored:
                        self._waiting.popleft()
                    self._news.notify_all()
            nursery.cancel_scope.cancel()

    async def _send(self, stream: trio.abc.SendStream) -> None:
        sent = 0
        while True:
            async with self._news:
                while not (new := [each for each in self._waiting if each.number > sent]):
                    await self._news.wait()
            for told in new:
                await stream.send_all(framed(_ENCODER.encode(told)))
                sent = told.number


class Recorder:
    """The writer's side. `clock` gives seconds since 1970, for what is on record beside the evidence;
    `is_trusted`: whether the machine's clock is right enough to take the anchor from; `monotonic` gives
    seconds by which silence is measured; `proxy` says what stands in front of the node, one of `PROXIES`;
    `settle`: whether the logs are those that events may be added to."""

    def __init__(
        self,
        viewers: ViewerStore,
        keys: KeyStore,
        anchor: Anchor,
        roll: Roll,
        clock: Callable[[], float] = time.time,
        is_trusted: Callable[[], bool] = synchronised,
        monotonic: Callable[[], float] = time.monotonic,
        proxy: Callable[[], str] | None = None,
        settle: Callable[[], bool] = lambda: True,
    ) -> None:
        self._attendance = viewers.attendance
        self._keys = keys
        self._anchor = anchor
        self._roll = roll
        self._clock = clock
        self._is_trusted = is_trusted
        self._monotonic = monotonic
        self._proxy = proxy
        self._settle = settle
        self._noted = float("-inf")
        self._sealed_before = 0
        self._waiting: list[tuple[Batch, trio.abc.Stream, trio.Lock]] = []
        self._work = trio.Event()
        # Workers whose line is there, and since when nothing is known of others: their last batch,
        # when that was seen, and the instant of it.
        self._lines: dict[int, int] = {}
        self._silent: dict[int, tuple[int, float, int]] = {}

    async def run(
        self,
        listener: socket.socket,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Stores what workers tell until it is cancelled."""
        sockets = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await self.serve(sockets, task_status=task_status)

    async def serve(
        self,
        listener: trio.abc.Listener[Any],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """The same, whatever its lines are made of."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._seal)
            nursery.start_soon(trio.serve_listeners, self._hear, [listener])
            task_status.started()

    async def _hear(self, stream: trio.abc.Stream) -> None:
        # To a socket others may come.
        if isinstance(stream, trio.SocketStream) and not is_ours(stream.socket._sock):  # type: ignore[attr-defined]
            return
        sending, worker = trio.Lock(), None
        try:
            async for message in messages(stream, _LONGEST_MESSAGE):
                told = _TOLD.decode(message)
                if worker is None:
                    worker = told.worker
                    self._lines[worker] = self._lines.get(worker, 0) + 1
                batch = Batch(**msgspec.structs.asdict(told))
                self._waiting.append((batch, stream, sending))
                self._work.set()
        except (trio.BrokenResourceError, msgspec.DecodeError) as error:
            why = "a worker ended, or another program wrote to this node's socket"
            log.warning("attendance-line-broken", why=why, **log.fault(error))
        finally:
            if worker is not None:
                self._lines[worker] -= 1
                if not self._lines[worker]:
                    del self._lines[worker]

    async def _commit(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Stores what has come. Where that fails, it is tried again; nobody is told that it was stored."""
        told, self._waiting = self._waiting, []
        if not told:
            return
        try:
            await trio.to_thread.run_sync(self._keep, [batch for batch, *_ in told])
        except Exception as error:
            # Whatever it is, the next ones may be stored.
            log.lasting("attendance-not-stored", error)
            self._waiting = [*told, *self._waiting]
            await trio.sleep(_LOOK_SECONDS)
            self._work.set()
            return
        newest = {stream: (batch.number, lock) for batch, stream, lock in told}
        for stream, (number, lock) in newest.items():
            # Who is gone tells again by another line, or never more.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with lock:
                    await stream.send_all(framed(_ENCODER.encode(Stored(number))))

    def _keep(self, batches: list[Batch]) -> None:
        if not self._settle():
            raise StoreError("a log that was brought back cannot begin its next epoch yet")
        step, incidents = self._anchor.step(), []
        if step:
            t = self._anchor.now()
            incidents.append((t, clock_step(t, step)))
        begun, now = self._roll.entries(), int(self._clock())
        kept = self._attendance.keep(self._keys, batches, incidents, now, begun=begun)
        if kept.unreadable:
            why = "it is an outage on record; do all processes run one version?"
            log.error("attendance-unreadable", batches=kept.unreadable, why=why)
        if step:
            self._anchor.tell(step)
            log.warning("clock-was-set", by_ms=step)

    # What else there is to do

    async def _watch(self) -> None:
        while True:
            await trio.sleep(_LOOK_SECONDS)
            try:
                await trio.to_thread.run_sync(self.look)
            except Exception as error:
                # Whatever it is, the writer goes on, and looks again.
                log.lasting("store-unreachable", error)

    def look(self) -> None:
        """Gives up workers of which nothing is heard, and sees to the anchor."""
        if not self._settle():
            return
        cursors = self._attendance.cursors()
        self._look_for_the_dead(cursors)
        # One of whom nothing is stored yet has something to tell, too.
        is_watched = bool(cursors or self._roll.entries())
        self._note_node(is_watched=is_watched)
        self._look_at_the_clock(is_watched=is_watched)

    def _note_node(self, *, is_watched: bool) -> None:
        now = self._monotonic()
        if self._proxy is None or not is_watched or now - self._noted < _NOTE_SECONDS:
            return
        clock = self._anchor.state()
        node = Node(self._proxy(), clock.is_synchronised, clock.error_ms)
        self._attendance.note_node(_host(), node, int(self._clock()))
        self._noted = now

    def _look_for_the_dead(self, cursors: Mapping[int, int]) -> None:
        now = self._monotonic()
        before, self._silent = self._silent, {}
        unheard = self._unheard()
        for worker, batch in (dict.fromkeys(unheard, 0) | dict(cursors)).items():
            if worker in self._lines:
                continue
            seen = before.get(worker)
            if seen is None or seen[0] != batch:
                seen = batch, now, self._anchor.now()
            self._silent[worker] = seen
        dead = {
            worker: noticed
            for worker, (_, since, noticed) in self._silent.items()
            if now - since > _SILENT_SECONDS
        }
        now_s = int(self._clock())
        count = self._attendance.give_up(dead, now_s) if dead else 0
        silent = dead.keys() & unheard.keys()
        latest = self._attendance.stepped_back_from() if silent else 0
        for worker in silent:
            since = unheard[worker]
            span = since, max(dead[worker], since + 1, latest)
            self._attendance.keep(self._keys, [], [(since, outage(*span))], now_s)
            self._roll.strike(worker)
            count += 1
        if count:
            log.warning("attendance-outage", workers=count)

    def _unheard(self) -> dict[int, int]:
        """Workers on the roll of whom no word is stored from since they are."""
        entries = self._roll.entries()
        told = self._attendance.told_until(entries) if entries else {}
        for worker, since in entries.items():
            if told.get(worker, -1) >= since:
                self._roll.strike(worker)
        return {worker: since for worker, since in entries.items() if told.get(worker, -1) < since}

    def _look_at_the_clock(self, *, is_watched: bool) -> None:
        jump = self._anchor.due(watched=is_watched)
        if jump is None or not self._is_trusted():
            return
        if abs(jump) > STEP_MS and is_watched:
            # Who watches has an interval too long or too short there. Should the writer end before the anchor
            # is made, this is told twice.
            t = self._anchor.now() + jump
            told, now = [(t, clock_step(t, jump))], int(self._clock())
            came_to = self._anchor.now()
            self._attendance.keep(self._keys, [], told, now, jump=jump, came_to=came_to)
        self._anchor.make()
        if abs(jump) > STEP_MS:
            log.warning("clock-anchored-anew", by_ms=jump)

    async def _seal(self) -> None:
        while True:
            try:
                before = (self._anchor.now() - _SEAL_AFTER_MS) // HOUR_MS * HOUR_MS
                if before != self._sealed_before:
                    # What comes later than that is sealed with the next hour.
                    seal, now = self._attendance.seal, int(self._clock())
                    await trio.to_thread.run_sync(seal, self._keys, before, now)
                    self._sealed_before = before
                forget = self._attendance.forget_cursors
                await trio.to_thread.run_sync(forget, before - _CURSOR_LIVES_MS)
                forget = self._attendance.forget_parts
                await trio.to_thread.run_sync(forget, self._anchor.now() - HOUR_MS)
            except Exception as error:
                # Nor is that an end of the writer: what is not sealed yet stays in the journal.
                log.lasting("attendance-not-sealed", error)
            await trio.sleep(_SEAL_SECONDS)


def _host() -> bytes:
    """This host among those that share a store; what it is called is nobody else's to know."""
    return sha256(b"pystream node " + socket.gethostname().encode()).digest()[:16]
