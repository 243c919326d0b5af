"""The office's process: answers what workers hand on, in threads, until it is told to stop.

Few things run at a time: `_LIGHT` that mostly wait for the store, and `_HEAVY` that take a processor or
tens of megabytes each. A tenant has at most half of these places, and so has a network from which somebody
comes who is nobody yet: the others of either wait for their own kind's end, and take their turn with
everybody else's then. Who comes when more than `_WAITING` wait, or `_WAITING_OF_ONE` of one's own, is told
to come again.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from pystream.acl.store import Store
from pystream.errors import StoreError
from pystream.server import child, log
from pystream.server.gauges import Board
from pystream.server.http import HttpError
from pystream.server.keys import open_key_store
from pystream.server.office import line, routing
from pystream.server.office.values import Asked, Office, Reply
from pystream.server.settings import Settings

_LIGHT = 8
_HEAVY = 2
_WAITING = 64
_WAITING_OF_ONE = 16
# Look-ups of who asks, before that one's turn.
_LOOKUPS = 4
_RECORD_SECONDS = 5.0


class Counter:
    """Answers, each in a thread."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._light = trio.CapacityLimiter(_LIGHT)
        self._heavy = trio.CapacityLimiter(_HEAVY)
        self._lookups = trio.CapacityLimiter(_LOOKUPS)
        self._shares: dict[tuple[bool, Hashable], trio.CapacityLimiter] = {}

    async def answer(self, asked: Asked) -> Reply:
        heavy = False
        # Where there is no such route, the reply says so.
        with suppress(HttpError):
            heavy = routing.find(asked.method, asked.path).route.heavy
        limiter = self._heavy if heavy else self._light
        if limiter.statistics().tasks_waiting >= _WAITING:
            return routing.busy(asked)
        try:
            whose = await trio.to_thread.run_sync(
                routing.whose_share, self._office, asked, limiter=self._lookups
            )
            async with self._turn(heavy, whose) as is_ours:
                if not is_ours:
                    return routing.busy(asked)
                return await trio.to_thread.run_sync(
                    routing.answer, self._office, asked, limiter=limiter
                )
        except Exception as error:
            # Where even a refusal cannot be told, it costs this request alone.
            log.error("bug", kind="office", **log.fault(error))
            return Reply(500, [("Cache-Control", "no-store")])

    @asynccontextmanager
    async def _turn(self, heavy: bool, whose: Hashable) -> AsyncIterator[bool]:
        """One of somebody's places, once there is one; False where too many wait for these."""
        most = (_HEAVY if heavy else _LIGHT) // 2
        own = self._shares.setdefault((heavy, whose), trio.CapacityLimiter(most))
        if own.statistics().tasks_waiting >= _WAITING_OF_ONE:
            yield False
            return
        try:
            async with own:
                yield True
        finally:
            state = own.statistics()
            if not state.borrowed_tokens and not state.tasks_waiting:
                self._shares.pop((heavy, whose), None)


async def serve(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop, and what is under way is answered."""
    settings: Settings = node["settings"]
    store = Store.open(settings.store.url, migrate=False)
    keys = open_key_store(settings.keys, os.environ, migrate=False)
    console, now = settings.console, [settings]
    office = Office.of(
        store,
        keys,
        films=console.films or None,
        requests_per_minute=console.requests_per_minute,
        viewers=Board(node["gauges"]).viewers,
        knows_countries=lambda: now[0].geo.knows_countries,
        outgoing=lambda: now[0].outgoing,
        tries=node["tries_of_people"],
        practice=lambda: now[0].practice,
    )
    counter = Counter(office)
    accepting = trio.CancelScope()

    async def take(stream: trio.SocketStream) -> None:
        await line.take(stream, counter.answer)

    async def follow_supervisor() -> None:
        async for changed in child.new_settings():
            now[0] = changed
            child.tell(node, child.RELOADED)
        accepting.cancel()

    def record_failures(leaving: bool) -> None:
        try:
            office.accounts.failures.write(office.now(), leaving=leaving)
        except StoreError as error:
            log.warning("failures-not-recorded", **log.fault(error))

    async def keep_record() -> None:
        while True:
            await trio.sleep(_RECORD_SECONDS)
            await trio.to_thread.run_sync(record_failures, False)

    with trio.open_signal_receiver(*child.SIGNALS) as signals:
        child.accept_signals()
        async with trio.open_nursery() as helpers:

            async def follow_signals() -> None:
                async for number in signals:
                    if number == signal.SIGTERM:
                        accepting.cancel()

            listener = trio.SocketListener(
                trio.socket.from_stdlib_socket(socket.socket(fileno=node["office"]))
            )
            helpers.start_soon(follow_supervisor)
            helpers.start_soon(follow_signals)
            helpers.start_soon(keep_record)
            child.tell(node, child.READY)
            async with trio.open_nursery() as answering:
                with accepting:
                    await trio.serve_listeners(take, [listener], handler_nursery=answering)
            helpers.cancel_scope.cancel()
    record_failures(leaving=True)


def main() -> None:
    """The whole of this process."""
    child.run(serve)
