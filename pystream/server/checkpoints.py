"""The writer signs what it has recorded: a checkpoint a day of each tenant's log that has grown. It sends the
newest to the tenant's site, where there is one (`checkpoint_url`): the note is the body of a POST. An answer
with status 200 has taken it, and may be the note cosigned, which is kept if it is the tenant's cosigner's.
What fails is tried again, ever less often.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import trio

from pystream.acl.store import Store
from pystream.acl.store.notary import Notary, Signed
from pystream.attendance import notes
from pystream.errors import InvalidValue, MalformedDocument, NotFound, NotProven, OutgoingError
from pystream.server import log
from pystream.server.clock import Anchor
from pystream.server.settings import Outgoing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.server.outgoing import Client

_LOOK_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3600.0


class Checkpoints:
    """`settings` may be changed while it runs. `clock` gives Unix seconds; `client` makes what calls
    sites."""

    def __init__(
        self,
        store: Store,
        notary: Notary,
        anchor: Anchor,
        settings: Outgoing,
        clock: Callable[[], float] = time.time,
        client: Callable[[Outgoing], Client] | None = None,
    ) -> None:
        self._store = store
        self._notary = notary
        self._anchor = anchor
        self.settings = settings
        self._clock = clock
        self._make_client = client or _client
        self._client: Client | None = None
        # By checkpoint: how long the last pause was, and when it ends.
        self._pauses: dict[int, tuple[float, float]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            # Each step of it is a transaction: an end keeps nobody waiting.
            await trio.to_thread.run_sync(self.look, abandon_on_cancel=True)
            await self.deliver()
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

    async def deliver(self) -> None:
        """Sends what is to be sent, and was not tried a moment ago."""
        try:
            found = await trio.to_thread.run_sync(self._notary.undelivered)
        except Exception as error:
            log.lasting("store-unreachable", error)
            return
        now = trio.current_time()
        # What was sent, or is not the newest any more, is forgotten.
        self._pauses = {each.id: self._pauses.get(each.id, (0.0, now)) for _, each in found}
        async with trio.open_nursery() as nursery:
            for tenant, signed in found:
                if self._pauses[signed.id][1] <= now:
                    nursery.start_soon(self._send, tenant, signed)

    async def _send(self, name: str, signed: Signed) -> None:
        pause = min(
            max(2 * self._pauses[signed.id][0], _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS
        )
        self._pauses[signed.id] = pause, trio.current_time() + pause
        try:
            tenant = await trio.to_thread.run_sync(self._store.tenant, name)
            if self._client is None:
                self._client = await trio.to_thread.run_sync(self._make_client, self.settings)
            self._client.settings = self.settings
            reply = await self._client.call(
                name,
                tenant.settings.checkpoint_url,
                seconds=_ANSWER_SECONDS,
                most=notes.LONGEST,
                body=signed.note.encode(),
                headers=(("Content-Type", "text/plain; charset=utf-8"),),
            )
            await trio.to_thread.run_sync(self._taken, name, signed, reply.body)
        except OutgoingError as error:
            log.warning("checkpoint-not-sent", tenant=name, **log.fault(error))
        except Exception as error:
            log.lasting("store-unreachable", error)

    def _taken(self, name: str, signed: Signed, answer: bytes) -> None:
        now = int(self._clock())
        with suppress(NotFound):
            self._notary.delivered(signed.tenant_id, signed.id, now)
        if not answer.strip():
            return
        try:
            text = answer.decode("utf-8", "replace")
            self._notary.cosign(self._store.tenant(name), text, now)
        except (InvalidValue, MalformedDocument, NotFound, NotProven) as error:
            log.warning("checkpoint-not-cosigned", tenant=name, **log.fault(error))


def _client(settings: Outgoing) -> Client:
    # It takes its time, and most nodes call nobody.
    from pystream.server.outgoing import Client

    return Client(settings)
