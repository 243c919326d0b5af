"""The writer signs what it has recorded: a checkpoint a day of each tenant's log that has grown."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from pystream.acl.store.notary import Notary
from pystream.server import log
from pystream.server.clock import Anchor

_LOOK_SECONDS = 30.0


class Checkpoints:
    """`clock` gives Unix seconds."""

    def __init__(
        self, notary: Notary, anchor: Anchor, clock: Callable[[], float] = time.time
    ) -> None:
        self._notary = notary
        self._anchor = anchor
        self._clock = clock

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            # Each step of it is a transaction: an end keeps nobody waiting.
            await trio.to_thread.run_sync(self.look, abandon_on_cancel=True)
            await trio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Signs what is due. Whatever fails, the writer goes on: what is not signed yet is signed later."""
        now = int(self._clock())
        try:
            for tenant_id in self._notary.due(now):
                self._sign(tenant_id, now)
        except Exception as error:
            log.lasting("store-unreachable", error)

    def _sign(self, tenant_id: int, now: int) -> None:
        try:
            self._notary.ensure_key(tenant_id, now)
            self._notary.checkpoint(tenant_id, self._anchor.state(), now)
        except Exception as error:
            # Of one tenant: others are not kept waiting.
            log.lasting("attendance-not-signed", error)
