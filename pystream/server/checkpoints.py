"""The writer signs what it has recorded: a checkpoint a day of each tenant's log that has grown. It sends the
newest to the tenant's site, where there is one (`checkpoint_url`): the note is the body of a POST. An answer
with status 200 has taken it, and may be the note cosigned, which is kept if it is the tenant's cosigner's.
By mail it goes as a file to an address (`checkpoint_mail`), where the operator has named a mail server. An
authority stamps it with the time, where the operator has named one. What fails is tried again, ever less
often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import TypeVar

import trio

from pystream.acl.store import Store
from pystream.acl.store.notary import Head, Notary, Signed
from pystream.attendance import notes
from pystream.attendance.checkpoint import Checkpoint
from pystream.errors import InvalidValue, MalformedDocument, NotFound, NotProven, OutgoingError
from pystream.server import log
from pystream.server.clock import Anchor
from pystream.server.heads import Heads
from pystream.server.settings import Outgoing, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.server.outgoing import Client

T = TypeVar("T")

_LOOK_SECONDS = 30.0
# For so long evidence waits for an epoch that cannot begin, whose workers keep it for an hour.
_UNSETTLED_SECONDS = 600.0
_ANSWER_SECONDS = 10.0
# A mail takes several answers.
_MAIL_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3600.0


_SUBJECT = "Attendance of {name}: checkpoint of {size} events / Teilnahme: Prüfpunkt"
_LETTER = """\
The file is a checkpoint of the log in which the attendance of {name}'s viewers is recorded. Keep it: with it,
nobody can change what was recorded before, unnoticed. `pystream attendance cosign` signs it for you, and
`pystream attendance verify --checkpoint` takes it. It names no viewer.

Die Datei ist ein Prüfpunkt des Protokolls, in dem die Teilnahme der Zuschauer von {name} aufgezeichnet ist.
Heben Sie ihn auf: Damit kann niemand unbemerkt ändern, was bis dahin aufgezeichnet wurde. `pystream
attendance cosign` zeichnet ihn für Sie gegen, und `pystream attendance verify --checkpoint` nimmt ihn an. Er
nennt keinen Zuschauer.
"""


class Checkpoints:
    """`settings` may be changed while it runs. `clock` gives Unix seconds; `client` makes what calls
    sites; `untold` is called with one of `gauges.ANCHORS` each time that one cannot be told."""

    def __init__(
        self,
        store: Store,
        notary: Notary,
        anchor: Anchor,
        settings: Settings,
        heads: Heads,
        clock: Callable[[], float] = time.time,
        client: Callable[[Outgoing], Client] | None = None,
        untold: Callable[[str], None] = lambda anchor: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._notary = notary
        self._anchor = anchor
        self.settings = settings
        self._heads = heads
        self._clock = clock
        self._make_client = client or _client
        self._client: Client | None = None
        self._untold = untold
        self._monotonic = monotonic
        self._looking = threading.Lock()
        # Since when a log that was brought back may have to become another one.
        self._unsettled_since: float | None = monotonic()
        # What was known of those that have: whatever becomes of what is written beside the store.
        self._begun: dict[int, Head] = {}
        # Logs that have to become others, and have not yet; None where nobody could look.
        self._forked: dict[int, Head] | None = None
        # What was written beside the store last.
        self._kept: dict[int, Head] = {}
        self._ways = {"site": self._send, "mail": self._mail, "authority": self._stamp}
        # By what is asked for and checkpoint: how long the last pause was, and when it ends.
        self._pauses: dict[tuple[str, int], tuple[float, float]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            # Each step of it is a transaction: an end keeps nobody waiting.
            await trio.to_thread.run_sync(self.look, abandon_on_cancel=True)
            await self.deliver()
            await trio.sleep(_LOOK_SECONDS)

    def look(self) -> bool:
        """Signs what is due, where nothing was lost of it; whether what is signed is known beside the store
        now. Whatever fails, the writer goes on: what is not signed yet is signed later."""
        now = int(self._clock())
        try:
            with self._looking:
                self._forked = forked = self._notice_restores(now)
                for tenant_id in self._notary.due(now):
                    if tenant_id not in forked:
                        self._sign(tenant_id, now)
                heads = self._notary.heads()
                self._heads.write(heads, forked)
                self._kept = {**heads, **forked}
        except Exception as error:
            log.lasting("attendance-not-signed", error)
            return False
        return True

    def may_sign(self, tenant_id: int) -> bool:
        """Whether a tenant's log goes on as it was signed, as far as a look has seen."""
        return self._forked is not None and tenant_id not in self._forked

    def settle(self) -> bool:
        """Whether events may be added to the logs: what were added to one that was brought back, before its
        next epoch has begun, nobody could prove. That is waited for, but not without end."""
        since = self._unsettled_since
        if since is None:
            return True
        self.look()
        return self._unsettled_since is None or self._monotonic() - since > _UNSETTLED_SECONDS

    def _notice_restores(self, now: int) -> dict[int, Head]:
        """A log that was longer is another one from here on. Returns what is known of those with which that
        has failed: nothing of them is signed."""
        known, failed = self._heads.read(), {}
        # A tenant that was deleted has none, and a log may have been brought back to before it began.
        heads = self._notary.heads(known)
        for tenant_id in sorted(known.keys() & heads.keys()):
            each = known[tenant_id]
            is_known = self._begun.get(tenant_id) == each
            if not is_known and self._is_lost(tenant_id, each, heads[tenant_id]):
                try:
                    self._begin(tenant_id, each, now)
                    self._begun[tenant_id] = each
                except Exception as error:
                    failed[tenant_id] = each
                    log.lasting("attendance-not-signed", error)
        if not failed:
            self._unsettled_since = None
        elif self._unsettled_since is None:
            self._unsettled_since = self._monotonic()
        return failed

    def _is_lost(self, tenant_id: int, known: Head, now: Head) -> bool:
        """Whether the store has had more of the log than it has now, or another one."""
        if not now.epoch:
            return known.signed is not None
        if (known.epoch, known.size) > (now.epoch, now.size):
            return True
        if known.signed is None or known.signed == now.signed:
            return False
        return not self._notary.has_signed(tenant_id, known.signed)

    def _begin(self, tenant_id: int, known: Head, now: int) -> None:
        last = None
        if known.signed is not None:
            last = Checkpoint("-", *known.signed, is_synchronised=True, clock_error_ms=0)
        self._notary.ensure_key(tenant_id, now)
        begun = self._notary.begin_epoch(tenant_id, self._anchor.state(), now, last, who="pystream")
        log.warning("store-was-restored", epoch=begun.epoch)

    def _sign(self, tenant_id: int, now: int) -> None:
        try:
            self._notary.ensure_key(tenant_id, now)
            self._notary.checkpoint(tenant_id, self._anchor.state(), now)
        except Exception as error:
            # Of one tenant: others are not kept waiting.
            log.lasting("attendance-not-signed", error)

    async def deliver(self) -> None:
        """Sends what is to be sent or stamped, and was not tried a moment ago. Nobody is told what is not
        known beside the store: or with a backup the house may forget what it has signed."""
        settings = self.settings.attendance
        try:
            found = [("site", *each) for each in await _in_thread(self._notary.undelivered)]
            if settings.mail_server:
                found += [("mail", *each) for each in await _in_thread(self._notary.unmailed)]
            if settings.timestamp_url:
                found += [("authority", *each) for each in await _in_thread(self._notary.unstamped)]
        except Exception as error:
            log.lasting("store-unreachable", error)
            return
        # The console, or a command, may have signed since the last look.
        if not all(self._is_kept(signed) for _, _, signed in found):
            await trio.to_thread.run_sync(self.look, abandon_on_cancel=True)
        now = trio.current_time()
        # What is done, or is not the newest any more, is forgotten.
        self._pauses = {
            (anchor, each.id): self._pauses.get((anchor, each.id), (0.0, now))
            for anchor, _, each in found
        }
        async with trio.open_nursery() as nursery:
            for anchor, tenant, signed in found:
                pause, end = self._pauses[anchor, signed.id]
                if end <= now and self._is_kept(signed):
                    pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
                    self._pauses[anchor, signed.id] = pause, now + pause
                    nursery.start_soon(self._try, anchor, tenant, signed)

    def _is_kept(self, signed: Signed) -> bool:
        """Whether a tenant's newest one is known beside the store."""
        head = self._kept.get(signed.tenant_id)
        return head is not None and head.signed == (signed.epoch, signed.size, signed.root)

    async def _try(self, anchor: str, tenant: str, signed: Signed) -> None:
        try:
            await self._ways[anchor](tenant, signed)
        except (OutgoingError, NotProven) as error:
            self._untold(anchor)
            log.warning("checkpoint-not-told", tenant=tenant, **log.fault(error))
        except Exception as error:
            # Whatever it is, it is tried again.
            self._untold(anchor)
            log.lasting("checkpoint-not-told", error)

    async def _send(self, name: str, signed: Signed) -> None:
        tenant = await _in_thread(partial(self._store.tenant, name))
        url, body = tenant.settings.checkpoint_url, signed.note.encode()
        answer = await self._call(name, url, body, "text/plain; charset=utf-8")
        await _in_thread(partial(self._taken, name, signed, answer))

    async def _mail(self, name: str, signed: Signed) -> None:
        mail = await _in_thread(_import_mail)
        tenant, now = await _in_thread(partial(self._store.tenant, name)), int(self._clock())
        letter = mail.Letter(
            to=tenant.settings.checkpoint_mail,
            subject=_SUBJECT.format(name=name, size=signed.size),
            text=_LETTER.format(name=name),
            name=f"{name}-{signed.epoch}-{signed.size}.txt",
            attached=signed.note.encode(),
            at=now,
        )
        send = partial(mail.send, letter, self.settings.attendance, _ANSWER_SECONDS)
        with trio.move_on_after(_MAIL_SECONDS) as scope:
            # Whoever is left alone with it may still send it: it has the same name when it comes again.
            await trio.to_thread.run_sync(send, abandon_on_cancel=True)
        if scope.cancelled_caught:
            raise OutgoingError("slow", "the mail server does not come to an end")
        mailed = partial(self._notary.mailed, signed.tenant_id, signed.id, now)
        with suppress(NotFound):
            await _in_thread(mailed)

    async def _stamp(self, name: str, signed: Signed) -> None:
        timestamps = await _in_thread(_import_timestamps)
        settings = self.settings.attendance
        roots = await trio.Path(settings.timestamp_certificates).read_bytes()
        question = timestamps.question(signed.bare)
        body, kind = question.as_bytes(), "application/timestamp-query"
        answer = await self._call(name, settings.timestamp_url, body, kind)
        at = timestamps.checked(question, answer, signed.bare, roots)
        stamped = partial(self._notary.stamped, signed.tenant_id, signed.id, at, answer)
        await _in_thread(stamped)

    async def _call(self, tenant: str, url: str, body: bytes, kind: str) -> bytes:
        if self._client is None:
            self._client = await _in_thread(partial(self._make_client, self.settings.outgoing))
        self._client.settings = self.settings.outgoing
        reply = await self._client.call(
            tenant,
            url,
            seconds=_ANSWER_SECONDS,
            most=notes.LONGEST,
            body=body,
            headers=(("Content-Type", kind),),
            any_success=True,
        )
        return reply.body

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


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)


def _import_mail() -> ModuleType:
    # Most nodes send none.
    from pystream.server import mail

    return mail


def _import_timestamps() -> ModuleType:
    # What it needs is an extra.
    from pystream.server import timestamps

    return timestamps


def _client(settings: Outgoing) -> Client:
    # It takes its time, and most nodes call nobody.
    from pystream.server.outgoing import Client

    return Client(settings)
