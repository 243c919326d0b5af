"""No skipping ahead: who may have which segment now, agreed on by all workers of a node.

What is decided, and why that is enough, is in `pystream.acl.reach`. Here is where it is known. The writer
has the reach of each password that watches in a book, takes it from the store when it is asked for first,
and stores what has changed twice a second. A worker asks it for each segment that was not had before, over
the desk's line; what it was told it remembers, so all that was had before goes without a question.

What it remembers it tells with the next question, and the further one counts: so a writer that was killed
knows from the workers what it had not stored yet. Where the writer is not there, what is known to be earned
goes all the same, and whoever wants more is told to come again.

Counted is what was asked for to its end, and not what was delivered, which is known only later: whatever
happens to a worker or a connection, no film is withheld from who was sent what comes before. It is never
less than what evidence has, and costs the same time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
import trio

from pystream import _core
from pystream.acl.grants import SESSION_LENGTH
from pystream.acl.reach import Piece, Reach, advanced, wait_ms
from pystream.acl.store.reaching import Place, ReachStore
from pystream.server import log
from pystream.server.http import HttpError

_KEEP_SECONDS = 0.5
# Who asks for nothing for so long is looked up anew. Nobody is more than that ahead of the clock.
_IDLE_MS = 600_000
_SWEEP_SECONDS = 60.0
_REMEMBERED = 20_000
_SKIPS: Final = -1
_REASON = "this part of the film comes later: it cannot be skipped ahead"


class Reaching(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Asks for a piece of a film, for a session. `media_ms` and `played_at` are the reach that the worker
    knows of."""

    number: int
    session: Annotated[bytes, msgspec.Meta(min_length=SESSION_LENGTH, max_length=SESSION_LENGTH)]
    m0: int
    m1: int
    longest: int
    counts: bool
    media_ms: int = 0
    played_at: int = 0


class Reached(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The answer to the request of that number: how far the password has come, and after how many ms the
    piece may go, 0 for now, below 0 for one that nobody has earned. `unavailable`: nobody knows just now."""

    number: int
    media_ms: int = 0
    played_at: int = 0
    wait_ms: int = 0
    unavailable: bool = False


class Ahead(HttpError):
    """Nobody skips ahead. `reached`, a fact: the second of the film up to which the viewer has come."""

    kind = "ahead"

    def __init__(self, reached: float) -> None:
        super().__init__(403, _REASON)
        self.facts = {"reached": reached}


class Book:
    """The writer's. `table` says whose a session is; `clock` gives Unix seconds."""

    def __init__(
        self, table: _core.Sessions, store: ReachStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._known: dict[Place, Reach] = {}
        self._changed: set[Place] = set()

    async def answer(self, ask: Reaching) -> Reached:
        """Counts the piece, if it may go now."""
        found = self._table.get(ask.session)
        if found is None:
            return Reached(ask.number, unavailable=True)
        place = found.stream, found.holder
        if place not in self._known:
            try:
                stored = await trio.to_thread.run_sync(self._store.find, *place)
            except Exception as error:
                # Whatever it is, the writer goes on.
                log.lasting("store-unreachable", error)
                return Reached(ask.number, unavailable=True)
            # Another one may have been quicker.
            self._known.setdefault(place, stored)
        now = int(self._clock() * 1000)
        known = self._known[place]
        reach = known.further(Reach(ask.media_ms, ask.played_at))
        piece = Piece(ask.m0, ask.m1, ask.longest, ask.counts)
        wait = wait_ms(reach, piece, now)
        if wait == 0:
            reach = advanced(reach, piece, now)
        if reach != known:
            self._known[place] = reach
            self._changed.add(place)
        return Reached(
            ask.number, reach.media_ms, reach.played_at, _SKIPS if wait is None else wait
        )

    async def run(self) -> None:
        """Stores what has changed, and forgets who is gone, until it is cancelled."""
        swept = trio.current_time()
        while True:
            await trio.sleep(_KEEP_SECONDS)
            await self.flush()
            if trio.current_time() - swept >= _SWEEP_SECONDS:
                swept = trio.current_time()
                self._sweep()

    async def flush(self) -> None:
        """Stores what has changed. What cannot be stored is stored with the next."""
        changed, self._changed = self._changed, set()
        if not changed:
            return
        try:
            values = {place: self._known[place] for place in changed}
            await trio.to_thread.run_sync(self._store.keep, values)
        except Exception as error:
            # As above.
            log.lasting("store-unreachable", error)
            self._changed |= changed

    def _sweep(self) -> None:
        before = int(self._clock() * 1000) - _IDLE_MS
        self._known = {
            place: reach
            for place, reach in self._known.items()
            if place in self._changed or reach.played_at >= before
        }


class Earnings:
    """A worker's. `ask` puts a question to the book: None where it is not to be reached. `clock` gives Unix
    seconds."""

    def __init__(
        self,
        sessions: _core.Sessions,
        ask: Callable[[Reaching], Awaitable[Reached | None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._ask = ask
        self._clock = clock
        self._known: dict[Place, Reach] = {}

    async def ask(self, session: bytes, piece: Piece) -> float:
        """0 where the piece may go, and is counted; else the seconds after which it might. Raises `Ahead`,
        and `HttpError` where nobody knows."""
        found = self._sessions.get(session)
        if found is None:
            raise HttpError(403, "this visit is over: come in anew")
        place = found.stream, found.holder
        known = self._known.get(place, Reach())
        now = int(self._clock() * 1000)
        if not (piece.counts and piece.m1 > known.media_ms) and wait_ms(known, piece, now) == 0:
            return 0.0
        known, wait = await self._asked(place, session, piece)
        if wait < 0:
            raise Ahead(known.earned(now) / 1000)
        return wait / 1000

    async def earned(self, session: bytes) -> float:
        """The second of the film up to which the session's viewer has come. Raises `HttpError`."""
        found = self._sessions.get(session)
        if found is None:
            raise HttpError(403, "this visit is over: come in anew")
        nothing = Piece(0, 0, 0, counts=False)
        known, _ = await self._asked((found.stream, found.holder), session, nothing)
        return known.earned(int(self._clock() * 1000)) / 1000

    async def _asked(self, place: Place, session: bytes, piece: Piece) -> tuple[Reach, int]:
        known = self._known.get(place, Reach())
        told = await self._ask(
            Reaching(
                0,
                session,
                piece.m0,
                piece.m1,
                piece.longest,
                piece.counts,
                known.media_ms,
                known.played_at,
            )
        )
        if told is None or told.unavailable:
            after = ("Retry-After", "2")
            raise HttpError(503, "it is not known just now how far this film was watched", (after,))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        # Others may have been answered meanwhile.
        reach = self._known.get(place, Reach()).further(Reach(told.media_ms, told.played_at))
        self._known[place] = reach
        return reach, told.wait_ms
