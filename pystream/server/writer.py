"""The node's one writer: what the meter has counted goes into the store, a second later at most.

The meter lies in memory that the supervisor keeps, so whatever dies, a worker or the writer itself,
loses nothing: its successor reads on. The store notes with each sum how far the meter was read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import trio

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.traffic import Metered
from pystream.errors import StoreError
from pystream.server.settings import load
from pystream.server.workers import NODE

_COMMIT_SECONDS = 0.5


def commit(meter: _core.Meter, store: Store, now: int) -> None:
    """Adds what was counted since the last time, and frees rows whose hour is over.

    Raises `StoreError`; nothing is lost then.
    """
    rows = meter.rows()
    metered = [
        Metered(incarnation, stream, hour, kind, *counts)
        for stream, hour, kind, incarnation, counts in rows
    ]
    left_out = store.add_traffic(metered, now)
    if left_out:
        print(
            f"pystream: {len(left_out)} rows of the meter fit no stream",
            file=sys.stderr,
            flush=True,
        )
    # Of an hour that has just ended, something may still be booked.
    over = [n for n, row in enumerate(rows) if row[1] < now // 3600 - 1]
    retired = [metered[n] for n in over if meter.retire(rows[n])]
    if retired:
        store.forget(retired, now)


async def write(node: dict[str, Any]) -> None:
    """Until the supervisor says to stop."""
    settings = load(node["config"], os.environ)
    store = Store.open(settings.store.url)
    meter = _core.Meter(node["meter"])
    os.write(node["ready"], b"1")
    stopped = False
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        while not stopped:
            with trio.move_on_after(_COMMIT_SECONDS):
                stopped = await signals.__anext__() == signal.SIGTERM
            try:
                await trio.to_thread.run_sync(commit, meter, store, int(time.time()))
            except StoreError as error:
                print(f"pystream: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    trio.run(write, json.loads(os.environ[NODE]))
