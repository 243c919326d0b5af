"""What the writer does by itself: reports are sealed when that is due, what is old is deleted once a day, no
erased key stays in a log, and every password is found.

Nodes that share a store ask it when the last run was, so one of them runs. Two at a time do no harm:
what one has deleted, the other does not find.

What is deleted is in no report that is sealed later: so whoever deletes seals first (`sealer`), and where
that takes its time, or fails, waits for some hours, and not without end.

What is sealed of attacks' sources goes within a minute after its time is over.

Whoever erases a key empties the key store's write-ahead log, in which it still stands; where somebody
reads an older moment just then, that cannot be. So the writer does it again, once a minute, as long
as there is something in it.

Passwords are looked up by a pepper, which is in the key store. Where one of the two stores was brought back
from before the pepper was changed, nobody would find them: they are indexed anew, before anybody is let in
and once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import trio

from pystream.acl.proofs import Proof
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore, Traces
from pystream.acl.store.retaining import Retention
from pystream.server import log
from pystream.server.sealer import Sealer
from pystream.server.settings import RetentionSettings

_LOOK_SECONDS = 60.0
# Minutes in a row after which somebody has to see who reads the key store for so long.
_PATIENCE = 60
# And those for which what is old waits for reports.
_UNSEALED_LOOKS = 360


class Upkeep:
    """`settings` may be changed while it runs. `clock` gives Unix seconds."""

    def __init__(
        self,
        store: Store,
        keys: KeyStore,
        settings: RetentionSettings,
        clock: Callable[[], float] = time.time,
        sealer: Sealer | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self.settings = settings
        self._clock = clock
        self._sealer = sealer
        self._is_sealed = sealer is None
        self._unsealed = 0
        self._unscrubbed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled. It has started once every password is found."""
        await self._do("reindex", self._reindex)
        task_status.started()
        while True:
            await trio.sleep(_LOOK_SECONDS)
            await self._do("reindex", self._reindex)
            await self._do("incidents", self._shred)
            await self._do("reports", self._seal)
            await self._do("retention", self._retain)
            await self._do("scrub", self._scrub)

    async def _do(self, name: str, task: Callable[[], None]) -> None:
        try:
            # Each step of it is a transaction: an end keeps nobody waiting.
            await trio.to_thread.run_sync(task, abandon_on_cancel=True)
        except Exception as error:
            # Whatever it is, who watches goes on, and it is tried again.
            log.error("upkeep-failed", task=name, **log.fault(error))

    def _reindex(self) -> None:
        doubles: list[int] = []
        count = Issuer(self._store.viewers, self._keys).reindex_lost(twice=doubles.append)
        if count:
            log.warning("passwords-indexed", passwords=count, doubles=len(doubles))

    def _retention(self) -> Retention:
        rules, folder = self.settings.rules, self.settings.key_backups_folder
        return Retention(self._store.database, self._keys, rules, folder)

    def _shred(self) -> None:
        count = self._retention().shred_incidents(int(self._clock()))
        if count:
            log.info("incidents-shredded", incidents=count)

    def _seal(self) -> None:
        if self._sealer is None:
            return
        # Whatever happens, it is not done before it is.
        self._is_sealed = False
        is_due = self._retention().is_due(int(self._clock()))
        self._unsealed += is_due
        if self._sealer.look(self.settings.rules, everything=is_due) and is_due:
            self._is_sealed, self._unsealed = True, 0

    def _retain(self) -> None:
        now = int(self._clock())
        retention = self._retention()
        may_run = self._is_sealed or self._unsealed >= _UNSEALED_LOOKS
        if may_run and retention.is_due(now):
            log.info("retention-run", **_said(retention.run(now)))

    def _scrub(self) -> None:
        if self._keys.scrub() is not Traces.LOG:
            self._unscrubbed = 0
            return
        self._unscrubbed += 1
        if self._unscrubbed % _PATIENCE == 0:
            log.warning("erased-keys-in-log", minutes=self._unscrubbed)


def _said(proof: Proof) -> dict[str, Any]:
    """Counts of what was deleted, and the proof's digest."""
    return {**proof.document["counts"], "proof": proof.digest}
