"""The writer's desk: where workers have sessions opened and ended, over a unix socket.

One process a node decides who is let in, so that no two workers let in one device too many. A worker
makes the session's number up itself, and asks again with the same one where the writer was replaced
before it had answered: so nothing is opened twice. The answer comes when the session is on the disk.
Requests that arrive while the disk is written are decided and written together.

Beside that it says how far a password has come in a film that cannot be skipped ahead (`reaching`).

**Room.** The table has places for so many sessions. A tenant may have as many open as there are places
without an open one: half of them where it is alone, a third where two want all that they can have, and
there is always room for one more tenant (a dynamic threshold, as switches share buffers by it). What has
ended keeps its place until its hard end, so that whoever comes with it is told why; where the table is full
it is forgotten, the longest ended first, and unknown from then on, which lets nobody in either. Only what has
ended in the store as well is forgotten: a desk that starts anew opens what is in the store and not in the
table.

The desk also knows by which number a viewer goes whom a link or a token names, and which tokens that
are good for once were shown before: both are asked of the store, for all that is decided together.

While the program is replaced there are two writers for a while. Only one decides: who holds a lock
(fcntl(2), F_SETLK) on the socket, which the kernel takes from a process that ends. The other one
waits, and reads what there is when it has it.

The socket listens in the abstract namespace of Linux under a random name (unix(7)). The supervisor
holds it, so whoever asks while the writer is being replaced waits in its queue. Both ends look at
the other's user (SO_PEERCRED): anybody may connect to such a name, but is not listened to.

On the line, each message is its length in four bytes, big-endian, and then MessagePack.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, NamedTuple

import msgspec
import trio

from pystream import _core
from pystream.acl.grants import SESSION_LENGTH, SKEW_S
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.viewers import (
    End,
    Ending,
    Password,
    Refusal,
    Seen,
    Session,
    Spent,
    giving_way,
    wait_s,
)
from pystream.errors import TableFull
from pystream.server import log
from pystream.server.reaching import Book, Reached, Reaching

_BACKLOG = 1024
_LENGTH = struct.Struct(">I")
_LONGEST_MESSAGE = 4096
_PEERCRED = struct.Struct("iII")
_FOLLOW_SECONDS = 0.25
_SWEEP_SECONDS = 60.0
# Sessions that a sweep looks at before others get their turn.
_SWEPT_AT_ONCE = 256
_RETRY_SECONDS = 0.05
# The writer is back in a second or two. Viewers who wait longer than that are told to come again.
_PATIENCE_SECONDS = 15.0
# Players wait for a segment no longer.
_REACH_PATIENCE_SECONDS = 8.0
# A token that is good for once is remembered for so long after it can be shown: who showed it in time may
# have waited for the desk since, and the clock of another node, which forgets as well, may be ahead.
_REMEMBERED_S = int(_PATIENCE_SECONDS) + SKEW_S
_SHARE = "the viewers of one tenant have as much of the session table as is left, and none has more"
# Later than any time.
_NEVER = 2**62


class Open(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Asks for a session. `holder` is whom devices are counted for, or None: a password's id, or with
    `by_link` a number that was made of a link; `devices` how many sessions it may have at a time, None
    for any number. `replaces`: a session of the same holder that the new one takes the place of, or
    nothing. `viewer`: whom a link or a token names, who is the holder then. `token`: the mark of a token
    that is good for once, which nobody can show from `token_expires` on, or nothing."""

    number: int
    id: bytes
    tenant_id: int
    stream_id: int
    holder: int | None
    expires: int
    idle_s: int | None
    devices: int | None
    mode: str
    grace_s: int
    replaces: bytes = b""
    notice: str | None = None
    by_link: bool = False
    viewer: str | None = None
    token: bytes = b""
    token_expires: int = 0


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer to the request of that number: opened, or why not. `wait_s`: after how many seconds it may
    be otherwise, where time alone can help."""

    number: int
    refusal: Refusal | None = None
    unavailable: bool = False
    wait_s: int | None = None


class Left(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Nobody watches with this session any more, as its page says. There is no answer."""

    session: Annotated[bytes, msgspec.Meta(min_length=SESSION_LENGTH, max_length=SESSION_LENGTH)]


_ASKED = msgspec.msgpack.Decoder(Open | Left | Reaching)
_ANSWERED = msgspec.msgpack.Decoder(Answered | Reached)
_ENCODER = msgspec.msgpack.Encoder()


def listen(what: str = "desk") -> int:
    """A socket for the desk, or for another process, which the supervisor keeps."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"\0pystream-{what}-{secrets.token_hex(16)}".encode())
    listener.listen(_BACKLOG)
    return listener.detach()


def is_ours(peer: socket.socket) -> bool:
    """Whether the other end is a process of the same user."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    _, user, _ = _PEERCRED.unpack(raw)
    return bool(user == os.geteuid())


@dataclass
class _Known:
    """What the store says of those who ask: viewers by tenant and name, and for which sessions tokens
    were spent, by tenant and mark."""

    viewers: dict[tuple[int, str], Password] = field(default_factory=dict)
    spent: dict[tuple[int, bytes], bytes] = field(default_factory=dict)


class _Held(NamedTuple):
    opened: int
    tenant_id: int


class Desk:
    """The writer's side. `table` is the node's session table; `issuer` knows viewers by their names."""

    def __init__(
        self,
        table: _core.Sessions,
        store: Store,
        issuer: Issuer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._store = store
        self._issuer = issuer
        self._clock = clock
        self._book = Book(table, store.viewers.reach, clock)
        # What is open, by holder, or 0 where there is none, and how much of it is whose.
        self._held: dict[int, dict[bytes, _Held]] = {}
        self._open_of = Counter[int]()
        # What was left, and when it had asked for something last: in memory alone, as it is for a moment.
        self._left: dict[bytes, int] = {}
        self._opened: list[Session] = []
        self._spent: list[Spent] = []
        self._ended: dict[bytes, End] = {}
        # What has ended in the store, too, the longest ended first; the values say nothing.
        self._forgettable: dict[bytes, None] = {}
        self._waiting: list[tuple[Open, _Answer]] = []
        self._work = trio.Event()
        self._last_ending = 0

    async def run(
        self,
        listener: socket.socket,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answers workers until it is cancelled. Sessions that were open when the node ended are open
        again once this has started; where another process answers, it begins when that is gone."""
        if not _is_taken(listener):
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            while not _is_taken(listener):
                await trio.sleep(_RETRY_SECONDS)
        await self._restore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit)
            nursery.start_soon(self._follow)
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._book.run)
            serve = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            nursery.start_soon(trio.serve_listeners, partial(self._talk, nursery), [serve])
            task_status.started()

    async def flush(self) -> None:
        """Writes what is still to be written."""
        await self._keep()
        await self._book.flush()

    # Lines

    async def _talk(self, nursery: trio.Nursery, stream: trio.SocketStream) -> None:
        if not is_ours(stream.socket._sock):  # type: ignore[attr-defined]
            return
        out = _Out(stream, nursery)

        def answer(answered: Answered | Reached) -> None:
            # A worker that is gone asks again through its successor, or nobody wants it any more.
            with suppress(OSError):
                out.send(answered)

        try:
            async for message in messages(stream):
                asked = _ASKED.decode(message)
                if isinstance(asked, Left):
                    self._leave(asked.session)
                    continue
                if isinstance(asked, Reaching):
                    answer(await self._book.answer(asked))
                    continue
                self._waiting.append((asked, answer))
                self._work.set()
        except (trio.BrokenResourceError, msgspec.DecodeError) as error:
            # Neither ends the desk.
            why = "a worker ended, or another program wrote to this node's socket; nothing is lost"
            log.warning("desk-line-broken", why=why, **log.fault(error))

    def _leave(self, id: bytes) -> None:
        found = self._table.get(id)
        if found is not None:
            self._left[id] = found.last_seen

    # Decisions

    async def _commit(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            asked, self._waiting = self._waiting, []
            for answered, answer in await self._answers(asked):
                answer(answered)

    async def _answers(
        self, asked: Sequence[tuple[Open, _Answer]], *, again: bool = False
    ) -> list[tuple[Answered, _Answer]]:
        """What is answered to all of these; `again`: to those whose viewer was removed meanwhile."""
        try:
            known = await self._look_up([ask for ask, _ in asked])
        except Exception as error:
            # Whatever it is, the desk goes on, and so do those who have a session.
            log.error("viewers-not-looked-up", **log.fault(error))
            return [(Answered(ask.number, unavailable=True), answer) for ask, answer in asked]
        decided: list[tuple[Open, Answered, _Answer]] = []
        for ask, answer in asked:
            if decided:
                # A crowd keeps nobody waiting whose password was revoked.
                await trio.lowlevel.checkpoint()
            decided.append((ask, self._decided_alone(ask, known), answer))
        let_in = [ask for ask, each, _ in decided if each.refusal is None and not each.unavailable]
        lost = await self._keep(let_in)
        gone = [
            (ask, answer)
            for ask, _, answer in decided
            if lost and ask.viewer is not None and lost.get(ask.id) is Refusal.REVOKED
        ]
        if again or not gone:
            return [(self._kept(ask, each, lost), answer) for ask, each, answer in decided]
        # Revoked, or forgotten when nobody had come by that name for long: then there is a new one.
        left = {ask.id for ask, _ in gone}
        return [
            *((self._kept(ask, each, lost), to) for ask, each, to in decided if ask.id not in left),
            *await self._answers(gone, again=True),
        ]

    @staticmethod
    def _kept(ask: Open, answered: Answered, lost: dict[bytes, Refusal] | None) -> Answered:
        """The answer, once it is known what the store has kept."""
        if answered.refusal is not None:
            return answered
        if lost is None:
            return Answered(ask.number, unavailable=True)
        refusal = lost.get(ask.id)
        # As the worker would say it, had it looked a moment later.
        if refusal is Refusal.REVOKED and ask.viewer is None:
            refusal = Refusal.PASSWORD
        return answered if refusal is None else Answered(ask.number, refusal)

    async def _look_up(self, asked: Sequence[Open]) -> _Known:
        names = defaultdict[int, set[str]](set)
        for ask in asked:
            if ask.viewer is not None:
                names[ask.tenant_id].add(ask.viewer)
        tokens = [(ask.tenant_id, ask.token) for ask in asked if ask.token]
        if not names and not tokens:
            return _Known()
        now = int(self._clock())

        def ask_stores() -> _Known:
            viewers = {
                (tenant_id, name): password
                for tenant_id, some in names.items()
                for name, password in self._issuer.named(tenant_id, some, now).items()
            }
            return _Known(viewers, self._store.viewers.spent(tokens) if tokens else {})

        return await trio.to_thread.run_sync(ask_stores)

    def _decided_alone(self, ask: Open, known: _Known) -> Answered:
        """The decision. A fault in it costs this viewer alone, not all who wait with it."""
        try:
            return self._decided(ask, known)
        except Exception as error:
            log.error("session-not-decided", **log.fault(error))
            return Answered(ask.number, unavailable=True)

    def _decided(self, ask: Open, known: _Known) -> Answered:
        """Opens the session in memory, where nobody knows it yet, or says why not."""
        now = int(self._clock())
        holder = ask.holder
        if ask.viewer is not None:
            viewer = known.viewers[ask.tenant_id, ask.viewer]
            if viewer.revoked_at is not None:
                return Answered(ask.number, Refusal.REVOKED)
            holder = viewer.id
        # Who asks again with the session that it was spent for, was not answered the first time.
        if ask.token and known.spent.get((ask.tenant_id, ask.token), ask.id) != ask.id:
            return Answered(ask.number, Refusal.SPENT)
        held = self._held.setdefault(holder or 0, {})
        session = Session(
            id=ask.id,
            tenant_id=ask.tenant_id,
            stream_id=ask.stream_id,
            password_id=None if ask.by_link else holder,
            holder=holder if ask.by_link else None,
            opened_at=now,
            expires=ask.expires,
            idle_s=ask.idle_s,
            notice=ask.notice,
        )
        there = self._table.get(ask.id)
        if there is not None and there.standing != _core.Sessions.OPEN:
            # It ended before a writer had written that it was opened, and is written as that was.
            self._ended[ask.id] = End(there.standing)
        elif ask.id not in held and there is None:
            is_replaced = holder is not None and ask.replaces in held
            if is_replaced:
                self._end(ask.replaces, End.CLOSED)
                self._let_go(held, ask.replaces)
            seen = self._seen(ask, held)
            leaving = giving_way(seen, ask.devices, ask.mode, ask.grace_s, now)
            if leaving is None:
                wait = wait_s(seen, ask.devices or 1, ask.grace_s, now)
                return Answered(ask.number, Refusal.DEVICES, wait_s=wait)
            for id in leaving:
                self._end(id, End.KICKED)
                self._let_go(held, id)
            # Who comes in for another leaves as much to others as before, however little that is.
            is_one_more = not is_replaced and not leaving
            left = self._table.capacity - self._open_of.total()
            if is_one_more and self._open_of[ask.tenant_id] >= left:
                log.lasting("tenant-has-its-share-of-sessions", TableFull(_SHARE), say=log.error)
                return Answered(ask.number, unavailable=True)
            try:
                self._make_room()
                self._open(session, now)
            except TableFull as error:
                log.lasting("session-table-full", error, say=log.error)
                return Answered(ask.number, unavailable=True)
            self._hold(held, ask.id, _Held(now, ask.tenant_id))
        self._opened.append(session)
        if ask.token:
            known.spent[ask.tenant_id, ask.token] = ask.id
            self._spent.append(
                Spent(
                    tenant_id=ask.tenant_id,
                    token=ask.token,
                    session=ask.id,
                    expires=ask.token_expires,
                )
            )
        return Answered(ask.number)

    def _seen(self, ask: Open, held: dict[bytes, _Held]) -> list[Seen]:
        """Who has the places that one more asks for. Thousands may share a password that has no limit, so
        only where there is one are they looked at."""
        if ask.devices is None:
            return []
        self._drop_what_is_over(held, [*held])
        return [Seen(id, each.opened, self._last_seen(id)) for id, each in held.items()]

    def _hold(self, held: dict[bytes, _Held], id: bytes, opened: _Held) -> None:
        held[id] = opened
        self._open_of[opened.tenant_id] += 1

    def _let_go(self, held: dict[bytes, _Held], id: bytes) -> None:
        there = held.pop(id, None)
        if there is not None:
            self._open_of[there.tenant_id] -= 1

    def _make_room(self) -> None:
        """Forgets what has ended, where the table is full and there is such."""
        table = self._table
        while len(table) >= table.capacity and self._forgettable:
            id = next(iter(self._forgettable))
            del self._forgettable[id]
            found = table.get(id)
            if found is not None and found.standing != _core.Sessions.OPEN:
                table.forget(id)

    def _drop_what_is_over(self, held: dict[bytes, _Held], ids: Iterable[bytes]) -> None:
        """Of these sessions of a holder. What was idle has ended without a word: it is written as well, or
        it would be open again when the node is started anew."""
        now = int(self._clock())
        for id in ids:
            found = self._table.get(id)
            if found is None or found.standing != _core.Sessions.OPEN or found.expires <= now:
                self._let_go(held, id)
            if found is not None and found.standing == End.IDLE:
                self._ended[id] = End.IDLE

    def _last_seen(self, id: bytes) -> int:
        found = self._table.get(id)
        return 0 if found is None or self._is_left(found) else found.last_seen

    def _is_left(self, found: _core.Session) -> bool:
        return found.last_seen <= self._left.get(found.id, -1)

    def _end(self, id: bytes, reason: End) -> None:
        if self._table.end(id, reason):
            self._ended[id] = reason

    # What is written

    async def _keep(self, asked: Sequence[Open] = ()) -> dict[bytes, Refusal] | None:
        """Stores what was opened and ended; returns the sessions that were not kept, which are closed
        again. Where that fails, it is None, what these have opened is closed again, and what has ended
        is written with the next.

        Whatever fails is an answer to who asked, and no end of the desk: beside the store's own errors,
        values that a database cannot hold, a thread that cannot be started."""
        opened, self._opened = self._opened, []
        spent, self._spent = self._spent, []
        ended, self._ended = self._ended, {}
        if not opened and not ended:
            return {}
        now = int(self._clock())
        lost: dict[bytes, Refusal] | None = None
        try:
            lost = await trio.to_thread.run_sync(
                self._store.viewers.keep, opened, ended, now, spent
            )
        except Exception as error:
            log.lasting("sessions-not-stored", error, say=log.error)
        finally:
            if lost is None:
                self._ended = ended | self._ended
            else:
                self._forgettable |= dict.fromkeys(ended)
        for id in [ask.id for ask in asked] if lost is None else lost:
            self._close(id)
        return lost

    def _close(self, id: bytes) -> None:
        """What was opened, and nobody knows of."""
        found = self._table.get(id)
        self._table.forget(id)
        if found is not None:
            self._let_go(self._held.get(found.holder, {}), id)

    async def _restore(self) -> None:
        """The table lives as long as the node; the store outlives it."""
        now = int(self._clock())
        viewers = self._store.viewers
        stored = await trio.to_thread.run_sync(viewers.sessions, now)
        endings = await trio.to_thread.run_sync(viewers.endings, 0)
        # In the table, what is restored was opened now, and so after these.
        over = _Over(endings)
        for each in stored:
            found = self._table.get(each.id)
            if found is not None and found.standing != _core.Sessions.OPEN:
                # The one before was killed when it was about to write that.
                self._ended[each.id] = End(found.standing)
            elif found is None and not over.has(each):
                with suppress(TableFull):
                    self._open(each, now)
        tenants = {each.stream_id: each.tenant_id for each in stored}
        for entry in sorted(self._table.entries(), key=lambda entry: entry.last_seen):
            if entry.standing == _core.Sessions.OPEN:
                # One that is in no store, since the one before was killed, is nobody's.
                opened = _Held(entry.opened, tenants.get(entry.stream, 0))
                self._hold(self._held.setdefault(entry.holder, {}), entry.id, opened)
            elif entry.id not in self._ended and entry.standing != End.EXPIRED:
                self._forgettable[entry.id] = None
        for ending in endings:
            self._apply(ending)
            self._last_ending = ending.id
        if self._ended:
            self._work.set()

    def _open(self, session: Session, now: int) -> None:
        """Raises `TableFull`."""
        self._table.open(
            session.id,
            session.stream_id,
            now,
            expires=session.expires,
            idle_s=session.idle_s or 0,
            holder=session.password_id or session.holder or 0,
        )

    # What others have stored

    async def _follow(self) -> None:
        while True:
            await trio.sleep(_FOLLOW_SECONDS)
            try:
                await self._apply_endings()
            except Exception as error:
                # Whatever it is, the desk goes on, as in `_keep`.
                log.lasting("store-unreachable", error)

    async def _apply_endings(self) -> None:
        found = await trio.to_thread.run_sync(self._store.viewers.endings, self._last_ending)
        for ending in found:
            self._apply(ending)
            self._last_ending = ending.id
        if self._ended:
            self._work.set()

    def _apply(self, ending: Ending) -> None:
        if ending.password_id is not None:
            held = self._held.get(ending.password_id, {})
            over = [
                (ending.password_id, id)
                for id, each in held.items()
                if each.opened <= _until(ending)
            ]
        else:
            over = [
                (found.holder, found.id)
                for found in self._table.entries()
                if found.stream == ending.stream_id and found.opened <= ending.at
            ]
        for holder, id in over:
            self._end(id, ending.reason)
            self._let_go(self._held.get(holder, {}), id)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            now = int(self._clock())
            self._table.sweep(now)
            for held in list(self._held.values()):
                ids = [*held]
                for first in range(0, len(ids), _SWEPT_AT_ONCE):
                    self._drop_what_is_over(held, ids[first : first + _SWEPT_AT_ONCE])
                    await trio.lowlevel.checkpoint()
            if self._ended:
                self._work.set()
            self._held = {holder: held for holder, held in self._held.items() if held}
            ids = [*self._forgettable]
            for first in range(0, len(ids), _SWEPT_AT_ONCE):
                for id in ids[first : first + _SWEPT_AT_ONCE]:
                    if self._table.get(id) is None:
                        self._forgettable.pop(id, None)
                await trio.lowlevel.checkpoint()
            there = (self._table.get(id) for id in self._left)
            self._left = {
                found.id: found.last_seen
                for found in there
                if found is not None and self._is_left(found)
            }
            try:
                since = now - _REMEMBERED_S
                await trio.to_thread.run_sync(self._store.viewers.forget_spent, since)
            except Exception as error:
                log.lasting("store-unreachable", error)


_Answer = Callable[[Answered], None]


class _Out:
    """What goes out on a line: at once as far as the socket takes it, which costs no turn of the loop, and
    the rest when it takes more. A peer that hangs keeps nobody waiting."""

    def __init__(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        self._socket: socket.socket = stream.socket._sock  # type: ignore[attr-defined]
        self._nursery = nursery
        self._rest = bytearray()

    def send(self, message: Open | Answered | Left | Reaching | Reached) -> None:
        """Raises `OSError` where the line is broken."""
        data = framed(_ENCODER.encode(message))
        if not self._rest:
            with suppress(BlockingIOError):
                data = data[self._socket.send(data) :]
            if data:
                self._nursery.start_soon(self._go_on)
        self._rest += data

    async def _go_on(self) -> None:
        # Who reads from the line sees that it is broken.
        with suppress(OSError, trio.ClosedResourceError):
            while self._rest:
                await trio.lowlevel.wait_writable(self._socket)
                with suppress(BlockingIOError):
                    del self._rest[: self._socket.send(self._rest)]


def _is_taken(listener: socket.socket) -> bool:
    """Whether this process is the one that decides."""
    try:
        fcntl.lockf(listener, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _until(ending: Ending) -> int:
    """When a session was opened at the latest that is to end. What is revoked is so for good, whatever
    clocks say, and who came in at the same time has it no better."""
    return _NEVER if ending.reason is End.REVOKED else ending.at


class _Over:
    """Which stored sessions were to end."""

    def __init__(self, endings: Iterable[Ending]) -> None:
        self._passwords: dict[int, int] = {}
        self._streams: dict[int, int] = {}
        for ending in endings:
            if ending.password_id is not None:
                before = self._passwords.get(ending.password_id, -1)
                self._passwords[ending.password_id] = max(before, _until(ending))
            elif ending.stream_id is not None:
                self._streams[ending.stream_id] = ending.at

    def has(self, session: Session) -> bool:
        at = self._streams.get(session.stream_id, -1)
        if session.password_id is not None:
            at = max(at, self._passwords.get(session.password_id, -1))
        return session.opened_at <= at


class Line:
    """A worker's side: its line to the desk, made anew where it breaks."""

    def __init__(self, listener: int) -> None:
        with socket.socket(fileno=os.dup(listener)) as named:
            self._name = named.getsockname()
        self._numbers = iter(range(1, 2**62))
        self._waiting: dict[int, trio.MemorySendChannel[Answered | Reached]] = {}
        self._out: _Out | None = None

    async def run(self) -> None:
        """Keeps the line until it is cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    await self._listen(nursery)
                except (OSError, trio.BrokenResourceError, msgspec.DecodeError) as error:
                    why = "the writer is not to be reached; what was asked is asked again"
                    log.warning("desk-line-broken", why=why, **log.fault(error))
                # Who waits asks again.
                self._out = None
                waiting, self._waiting = self._waiting, {}
                for channel in waiting.values():
                    channel.close()
                await trio.sleep(_RETRY_SECONDS)

    async def _listen(self, nursery: trio.Nursery) -> None:
        peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await peer.connect(self._name)
        async with trio.SocketStream(peer) as stream:
            if not is_ours(peer._sock):  # type: ignore[attr-defined]
                raise OSError("the desk is another user's")
            self._out = _Out(stream, nursery)
            async for message in messages(stream):
                answered = _ANSWERED.decode(message)
                channel = self._waiting.pop(answered.number, None)
                if channel is not None:
                    channel.send_nowait(answered)

    async def open(self, ask: Open) -> Answered:
        """The desk's answer. A desk that is not there for some seconds is `unavailable`."""
        answered = await self._answered(ask, _PATIENCE_SECONDS)
        return (
            answered if isinstance(answered, Answered) else Answered(ask.number, unavailable=True)
        )

    async def reach(self, ask: Reaching) -> Reached | None:
        """The answer to it; None where the desk is not there for some seconds."""
        answered = await self._answered(ask, _REACH_PATIENCE_SECONDS)
        return answered if isinstance(answered, Reached) else None

    async def _answered(self, ask: Open | Reaching, patience: float) -> Answered | Reached | None:
        with trio.move_on_after(patience):
            while True:
                answered = await self._asked(ask)
                if answered is not None:
                    return answered
                await trio.sleep(_RETRY_SECONDS)
        return None

    def leave(self, session: bytes) -> None:
        """Tells the desk that a session was left. Where it is not there just now, nobody is told: then the
        place is free after the grace, as after a crash."""
        if self._out is not None:
            with suppress(OSError):
                self._out.send(Left(session))

    async def _asked(self, ask: Open | Reaching) -> Answered | Reached | None:
        if self._out is None:
            return None
        number = next(self._numbers)
        sending, receiving = trio.open_memory_channel[Answered | Reached](1)
        self._waiting[number] = sending
        try:
            self._out.send(msgspec.structs.replace(ask, number=number))
            return await receiving.receive()
        except (OSError, trio.EndOfChannel):
            return None
        finally:
            self._waiting.pop(number, None)


async def messages(
    stream: trio.abc.ReceiveStream, longest: int = _LONGEST_MESSAGE
) -> AsyncIterator[bytes]:
    """What comes on a line, message by message, until its end; none has more bytes than the `longest`.
    Raises `trio.BrokenResourceError`."""
    data = bytearray()
    async for piece in stream:
        data += piece
        while len(data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data)
            if length > longest:
                raise trio.BrokenResourceError("a message is too long")
            end = _LENGTH.size + length
            if len(data) < end:
                break
            yield bytes(data[_LENGTH.size : end])
            del data[:end]


def framed(message: bytes) -> bytes:
    """A message as it goes over a line."""
    return _LENGTH.pack(len(message)) + message
