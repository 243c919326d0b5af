"""The process that tells how the node is: /healthz, /readyz, /metrics, and /guard for people.

It is a process of its own, so that it answers however busy workers are, and so that whatever is
wrong with it or with the store costs no viewer anything. It reads what others have written into
shared memory, and asks nobody.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from pystream import _core
from pystream.acl.incidents import Incident
from pystream.acl.retention import Rules
from pystream.acl.store import Store
from pystream.acl.store.incidents import IncidentList
from pystream.errors import PystreamError
from pystream.server import child, log
from pystream.server.answers import Answer, failure
from pystream.server.connections import Connections, Limits
from pystream.server.gauges import GUARDED, Board, State
from pystream.server.http import HttpError, MethodNotAllowed, Request
from pystream.server.listeners import ADMIN
from pystream.server.metrics import CONTENT_TYPE, Cached, Streams, exposition, families
from pystream.server.settings import Settings
from pystream.server.timeline import SHOWN, Counts, Timeline, headers

_SAMPLE_SECONDS = 1.0
_COMMIT_SECONDS = 10.0
_CONNECTIONS = 64
_NO_STORE = ("Cache-Control", "no-store")


class Admin:
    """Answers about a node."""

    def __init__(
        self,
        board: Board,
        meter: _core.Meter,
        limits: Sequence[_core.Gcra],
        cache: _core.Cache | None = None,
    ) -> None:
        self._board = board
        self._meter = meter
        self._limits = limits
        self._cache = cache
        self._reading = _core.Reading()
        self._streams = Streams()
        self._sampled = time.monotonic()
        self._timeline = Timeline()
        self._incidents: tuple[Incident, ...] = ()
        self.incidents_days = Rules().incidents
        self.store_reachable = False

    async def answer(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return failure(MethodNotAllowed("GET", "HEAD"))
        if request.path == "/healthz":
            return _text(200, "up\n")
        if request.path == "/readyz":
            wrong = self.wrong()
            return _text(503, "\n".join((*wrong, ""))) if wrong else _text(200, "ready\n")
        if request.path == "/metrics":
            return _text(200, self.metrics(), CONTENT_TYPE)
        if request.path == "/guard":
            page = self._timeline.page(self._incidents, self.incidents_days, int(time.time()))
            body = page.encode()
            fields = [*headers().items(), _NO_STORE, ("Content-Length", str(len(body)))]
            return Answer(200, fields, body, len(body))
        return failure(HttpError(404, "here are /healthz, /readyz, /metrics and /guard"))

    def wrong(self) -> list[str]:
        """Why nobody should be sent here now, a line each; nothing where all is well."""
        board = self._board
        found = []
        if board.draining:
            found.append("the node is about to end")
        serving = sum(seat.state is State.SERVING for seat in board.seats)
        if serving < board.workers:
            found.append(f"{serving} of {board.workers} workers serve")
        if not self.store_reachable:
            found.append("the store cannot be read")
        if board.commit_age > _COMMIT_SECONDS:
            found.append(f"nothing metered was stored for {_COMMIT_SECONDS:.0f} s or more")
        return found

    def metrics(self) -> str:
        cached = Cached() if self._cache is None else Cached(*self._cache.counters())
        displaced = sum(table.counters()[2] for table in self._limits)
        found = families(
            self._board,
            self._streams,
            self._meter.lost(),
            displaced,
            self.store_reachable,
            cached,
        )
        return exposition(found)

    def sample(self) -> None:
        """Reads the meter, as is to be done about every second."""
        now = time.monotonic()
        seconds = max(1e-3, now - self._sampled)
        self._sampled = now
        self._streams.add(self._reading.changes(self._meter), seconds)
        totals, attacks = self._board.totals(), self._board.attacks()
        counts = Counts(
            sum(totals.requests.values()),
            sum(totals.guarded[done] for done in GUARDED if done != "banned"),
            totals.guarded["banned"],
            totals.bans,
            attacks.limited,
            self._board.sum("connections"),
            frozenset(kind for kind, is_open in attacks.open.items() if is_open),
        )
        self._timeline.add(int(time.time()), counts)

    def look(self, store: Store | None, url: str, revision: int) -> tuple[Store | None, int]:
        """Asks the store what streams are called, if anything has changed since `revision`."""
        try:
            store = store or Store.open(url, migrate=False)
            now = store.revision()
            if now != revision:
                found = store.changed_since(revision)
                names = {each.id: (each.tenant, each.name) for each in found.streams}
                self._streams.names = self._streams.names | names
            self._incidents = IncidentList(store.database).listed(SHOWN)
            self.store_reachable = True
            return store, now
        except PystreamError as error:
            log.lasting("store-unreachable", error)
            self.store_reachable = False
            return store, revision

    async def run(self, url: str) -> None:
        """Keeps itself informed until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, url)
            while True:
                self.sample()
                await trio.sleep(_SAMPLE_SECONDS)

    async def _follow(self, url: str) -> None:
        store, revision = None, -1
        while True:
            store, revision = await trio.to_thread.run_sync(
                self.look, store, url, revision, abandon_on_cancel=True
            )
            await trio.sleep(_SAMPLE_SECONDS)


def _text(status: int, text: str, kind: str = "text/plain; charset=utf-8") -> Answer:
    body = text.encode()
    headers = [("Content-Type", kind), _NO_STORE, ("Content-Length", str(len(body)))]
    return Answer(status, headers, body, len(body))


async def serve(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop, as it does when no worker is left."""
    settings: Settings = node["settings"]
    meter = _core.Meter(node["meter"])
    cache = None
    if "cache" in node:
        # One that was made for fewer processes is read by none of the new ones.
        with suppress(ValueError):
            cache = _core.Cache(node["cache"], node["seat"])
    # Counted are all keys; to look for one takes the secret.
    limits = [_core.Gcra(node[name], bytes(16)) for name in ("pace", "guard")]
    admin = Admin(Board(node["gauges"]), meter, limits, cache)
    admin.incidents_days = settings.retention.incidents_days
    connections = Connections(
        admin.answer, _core.Delivery(64 * 1024, 10_000), meter, Limits(connections=_CONNECTIONS)
    )

    async def follow_supervisor() -> None:
        async for settings in child.new_settings():
            admin.incidents_days = settings.retention.incidents_days
            child.tell(node, child.RELOADED)
        nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(*child.SIGNALS) as signals:
        child.accept_signals()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.run, settings.store.url)
            sockets = [socket.socket(fileno=fd) for fd in node[ADMIN]]
            await nursery.start(connections.run, sockets)
            child.tell(node, child.READY)
            nursery.start_soon(follow_supervisor)
            async for number in signals:
                if number == signal.SIGTERM:
                    nursery.cancel_scope.cancel()


def main() -> None:
    """The whole of this process."""
    child.run(serve)
