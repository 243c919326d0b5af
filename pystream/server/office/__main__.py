"""The office's process: answers what workers hand on, in threads, until it is told to stop.

Few things run at a time: `_LIGHT` that mostly wait for the store, and `_HEAVY` that take a processor or
tens of megabytes each. Who comes when more than `_WAITING` wait is told to come again.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import trio

from pystream.acl.disclosure import Practice
from pystream.acl.store import Store
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


class Counter:
    """Answers, each in a thread."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._light = trio.CapacityLimiter(_LIGHT)
        self._heavy = trio.CapacityLimiter(_HEAVY)

    async def answer(self, asked: Asked) -> Reply:
        limiter = self._light
        try:
            if routing.find(asked.method, asked.path).route.heavy:
                limiter = self._heavy
        except HttpError:
            pass  # The reply says so.
        if limiter.statistics().tasks_waiting >= _WAITING:
            return routing.busy(asked)
        try:
            return await trio.to_thread.run_sync(
                routing.answer, self._office, asked, limiter=limiter
            )
        except Exception as error:
            # Where even a refusal cannot be told, it costs this request alone.
            log.error("bug", kind="office", **log.fault(error))
            return Reply(500, [("Cache-Control", "no-store")])


async def serve(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop, and what is under way is answered."""
    settings: Settings = node["settings"]
    store = Store.open(settings.store.url, migrate=False)
    keys = open_key_store(settings.keys, os.environ, migrate=False)
    console, geo = settings.console, [settings.geo]
    office = Office.of(
        store,
        keys,
        films=console.films or None,
        requests_per_minute=console.requests_per_minute,
        viewers=Board(node["gauges"]).viewers,
        knows_countries=lambda: geo[0].knows_countries,
        tries=node["sign_in_tries"],
        practice=Practice(
            settings.retention.rules, settings.outgoing.viewer_address, settings.log.access
        ),
    )
    counter = Counter(office)
    accepting = trio.CancelScope()

    async def take(stream: trio.SocketStream) -> None:
        await line.take(stream, counter.answer)

    async def follow_supervisor() -> None:
        async for changed in child.new_settings():
            geo[0] = changed.geo
            child.tell(node, child.RELOADED)
        accepting.cancel()

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
            child.tell(node, child.READY)
            async with trio.open_nursery() as answering:
                with accepting:
                    await trio.serve_listeners(take, [listener], handler_nursery=answering)
            helpers.cancel_scope.cancel()


if __name__ == "__main__":
    child.run(serve)
