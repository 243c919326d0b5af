"""The node's one writer: what the meter has counted goes into the store, a second later at most. It
opens sessions (`desk`), stores what was delivered to whom (`attending`), signs it (`checkpoints`) and seals
reports of it (`sealer`), and deletes what is old (`upkeep`).

The meter lies in memory that the supervisor keeps, so whatever dies, a worker or the writer itself,
loses nothing: its successor reads on. The store notes with each sum how far the meter was read.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import trio

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.store.incidents import IncidentStore
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import root_name
from pystream.acl.store.notary import Notary
from pystream.acl.traffic import Metered
from pystream.errors import NoStore, StoreError
from pystream.server import child, log
from pystream.server.attending import Recorder
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor, synchronised
from pystream.server.desk import Desk
from pystream.server.gauges import Board
from pystream.server.guard.incidents import Incidents
from pystream.server.heads import Heads
from pystream.server.keys import ensure_keys, keys_of_another, open_key_store
from pystream.server.roll import Roll
from pystream.server.sealer import Sealer
from pystream.server.settings import Settings
from pystream.server.upkeep import Upkeep

_COMMIT_SECONDS = 0.5
# Looks, so many seconds apart, in which no worker's loop has gone round: there is none any more.
_LOOK_SECONDS = 0.5
_STANDSTILLS = 6

# Stream, hour, kind and incarnation; requests, bytes and aborted.
_Row = tuple[int, int, int, int, tuple[int, int, int]]


def commit(meter: _core.Meter, store: Store, now: int, told: set[int]) -> list[_Row]:
    """Adds what was counted since the last time, and frees rows whose hour is over; gives what was there.
    `told`: rows that something was said of, as of a stream that was deleted while it was watched.

    Raises `StoreError`; nothing is lost then.
    """
    rows = meter.rows()
    metered = [
        Metered(incarnation, stream, hour, kind, *counts)
        for stream, hour, kind, incarnation, counts in rows
    ]
    left_out = {row.incarnation for row in store.add_traffic(metered, now)}
    if left_out - told:
        log.warning("meter-rows-without-stream", rows=len(left_out))
    told.clear()
    told |= left_out
    # Of an hour that has just ended, something may still be booked.
    over = [n for n, row in enumerate(rows) if row[1] < now // 3600 - 1]
    retired = [metered[n] for n in over if meter.retire(rows[n])]
    if retired:
        store.forget(retired, now)
    return rows


def _beyond(booked: list[_Row], rows: list[_Row]) -> tuple[int, int]:
    """Requests and bytes in `rows` that were not there when it was `booked`."""
    before = {row[:4]: row[4] for row in booked}
    more = [(row[4], before.get(row[:4], (0, 0, 0))) for row in rows]
    requests, octets = (sum(now[n] - then[n] for now, then in more) for n in (0, 1))
    return requests, octets


def _store(settings: Settings) -> Store:
    """The store, made where there is none and no keys say that there was one."""
    try:
        return Store.open(settings.store.url, create=False)
    except NoStore as error:
        why = keys_of_another(settings.keys, os.environ)
        if why is not None:
            raise StoreError(f"{error}, and {why}") from None
    return Store.open(settings.store.url)


async def _workers_gone(board: Board) -> None:
    """Returns when no worker counts any more: nobody buries those of a supervisor that is gone."""
    beats, stood = list[int](), 0
    while (taken := board.taken()) and stood < _STANDSTILLS:
        now = [seat.beats for seat in taken]
        stood = stood + 1 if now == beats else 0
        beats = now
        await trio.sleep(_LOOK_SECONDS)


async def write(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop, or is gone and the workers, too, which finish what is under way.
    Makes what the node lacks at its first start."""
    supervisor = os.getppid()
    settings: Settings = node["settings"]
    store = _store(settings)
    ensure_keys(settings.keys, os.environ, int(time.time()))
    keys = open_key_store(settings.keys, os.environ, migrate=False)
    store.claim(root_name(keys.root()))
    anchor = Anchor(node["anchor"])
    notary = Notary(store.database, keys)
    heads = Heads(os.path.dirname(settings.keys.erasures))
    board = Board(node["gauges"])
    signing = Checkpoints(store, notary, anchor, settings, heads, untold=board.untold)
    sealer = Sealer(store, keys, anchor, signing, board.sealing)
    upkeep = Upkeep(store, keys, settings.retention, sealer=sealer)
    meter = _core.Meter(node["meter"])
    incidents = Incidents(
        settings,
        IncidentStore(store.database, keys),
        board,
        node["guard"],
        os.pread(node["ticket_secret"], 32, 0),
        node["ports"],
    )
    stopping = trio.Event()

    async def follow_supervisor() -> None:
        nonlocal settings
        async for settings in child.new_settings():
            upkeep.settings = settings.retention
            signing.settings = settings
            incidents.reload(settings)
            child.tell(node, child.RELOADED)
        # It closes what it has before it is known to be gone.
        await trio.sleep(_COMMIT_SECONDS)
        if os.getppid() != supervisor:
            await _workers_gone(board)
        stopping.set()

    async def follow_signals(signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGTERM:
                # Whoever sends it to all processes of a node at once sends it to workers, too.
                await _workers_gone(board)
                stopping.set()

    with trio.open_signal_receiver(*child.SIGNALS) as signals:
        child.accept_signals()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_supervisor)
            nursery.start_soon(follow_signals, signals)
            await nursery.start(upkeep.run)
            desk = Desk(_core.Sessions(node["sessions"]), store, Issuer(store.viewers, keys))
            await nursery.start(desk.run, socket.socket(fileno=node["desk"]))
            # Nothing is added to a log that was brought back before it is known to be that.
            await trio.to_thread.run_sync(signing.look)
            recorder = Recorder(
                store.viewers,
                keys,
                anchor,
                Roll(node["roll"]),
                is_trusted=lambda: settings.attendance.allow_unsynced or synchronised(),
                proxy=lambda: settings.server.proxy,
                settle=signing.settle,
            )
            await nursery.start(recorder.run, socket.socket(fileno=node["attendance"]))
            await nursery.start(incidents.run, socket.socket(fileno=node["signs"]))
            child.tell(node, child.READY)
            nursery.start_soon(signing.run)
            told = set[int]()
            booked = list[_Row]()

            async def book() -> bool:
                """Whether the store has all that was counted."""
                nonlocal booked
                try:
                    booked = await trio.to_thread.run_sync(
                        commit, meter, store, int(time.time()), told
                    )
                except StoreError as error:
                    log.lasting("traffic-not-stored", error, say=log.error)
                    return False
                board.committed(time.monotonic())
                return True

            while not stopping.is_set():
                await book()
                with trio.move_on_after(_COMMIT_SECONDS):
                    await stopping.wait()
            if not await book():
                # More than that, where this process never stored anything.
                requests, octets = _beyond(booked, meter.rows())
                log.error("traffic-lost", requests=requests, bytes=octets)
            await desk.flush()
            await recorder.flush()
            await incidents.flush()
            nursery.cancel_scope.cancel()


def main() -> None:
    """The whole of this process."""
    child.run(write)
