"""Attacks, in the writer: what workers have seen is judged, something is done about it, and it is kept.

The one process that writes hears all workers, and looks once a second. What breaks a rule (`detector`) opens
an incident; then sources that take part in it, and nobody else, are kept with times and counts, sealed
(`acl.store.incidents`). Who breaks a rule by itself has no budget left for a while, and the next time it is
banned, in the table of all workers (`limiter`), which end its connections within a second. A ban is given to
the kernel's helper as well, where there is one, for the same time. SYNs alone limit and ban nobody.

Nothing of it is done silently: it is in the log, in the metrics and told to the operator's webhook, without
any address.

Where the store cannot be written, nothing is kept; what is done about an attack is done all the same, and the
log and the metrics tell of it.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import trio

from pystream import _core
from pystream.acl.incidents import Event, Incident, Kind, moment
from pystream.acl.store.incidents import IncidentStore
from pystream.errors import GuardError, OutgoingError, PystreamError
from pystream.server import log
from pystream.server.desk import is_ours, messages
from pystream.server.gauges import Board
from pystream.server.guard import kernel
from pystream.server.guard.client import Helper, source
from pystream.server.guard.detector import Detector, Finding
from pystream.server.guard.limiter import Limiter
from pystream.server.guard.signs import LONGEST_MESSAGE, Told
from pystream.server.settings import UNIX, Outgoing, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.server.outgoing import Client

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
# Events of a source are put together for so long.
FLUSH_SECONDS: Final = 5.0
# Half-open connections that are looked at, and events that wait for the store.
_MOST_HALF_OPEN, _MOST_WAITING = 10_000, 20_000
# Of an incident, as far as they are told apart when they are counted.
_MOST_ADDRESSES = 200_000
_PRIVATE_TABLE_BYTES = 1 << 20
_WEBHOOK_SECONDS = 10.0
_WEBHOOK_PAUSES = (0.0, 5.0, 60.0)
_MOST_CALLS = 64
# Bans of an incident are told of so seldom.
_QUIET_SECONDS = 60.0
_TOLD = msgspec.msgpack.Decoder(Told)


class _Current:
    """An incident that is open, and what of it is not stored yet: by address, from when on and what."""

    def __init__(self, incident: Incident | None) -> None:
        self.incident = incident
        self.addresses = set[str]()
        self.waiting: dict[str, tuple[int, Counter[str], list[str]]] = {}
        self.done = Counter[str]()
        self.told_at = float("-inf")
        # Whether something was heard of it that is not stored yet, and whether it was opened here and the
        # operator not yet told.
        self.goes_on = self.is_new = False


class Incidents:
    """`guard` is the descriptor of the node's table of limits, `secret` the node's, `ports` those of its
    listeners. `clock` gives Unix seconds; `client` makes what calls the webhook."""

    def __init__(
        self,
        settings: Settings,
        store: IncidentStore,
        board: Board,
        guard: int,
        secret: bytes,
        ports: Collection[int],
        clock: Callable[[], float] = time.time,
        client: Callable[[Outgoing], Client] | None = None,
    ) -> None:
        self._store = store
        self._board = board
        self._guard, self._secret = guard, secret
        self._ports = frozenset(ports)
        self._clock = clock
        self._make_client = client or _client
        self._client: Client | None = None
        self._calls, self._to_call = trio.open_memory_channel[tuple[str, bytes]](_MOST_CALLS)
        self._current: dict[Kind, _Current] = {}
        # Those that could not be opened: what is done about them is told.
        self._unkept: dict[Kind, _Current] = {}
        self._bans: list[tuple[str, int]] = []
        # What would be done is decided in a table of its own.
        self._own_table = _core.Gcra.create(_PRIVATE_TABLE_BYTES)
        self._detector = Detector(settings.incidents, ())
        self._flushed = float("-inf")
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Takes other settings. What was counted stays."""
        self.settings = settings
        exempt = (*settings.guard.exempt, *settings.server.trusted_proxies)
        self._detector.settings = settings.incidents
        self._detector.exempt = exempt
        self._acts = settings.incidents.mode == "on" and settings.guard.http == "on"
        table = self._guard if self._acts else self._own_table
        writer = self._board.writer
        self._limiter = Limiter(
            settings.guard,
            settings.server.trusted_proxies,
            table,
            self._secret,
            self._board,
            writer if self._acts else _Nobody(),
        )
        self._helper = Helper(settings.guard.helper)

    async def run(
        self,
        listener: socket.socket,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until it is cancelled."""
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(trio.serve_listeners, self._hear, [listening])
            nursery.start_soon(self._tell_operator)
            task_status.started()
            while True:
                await trio.sleep(LOOK_SECONDS)
                try:
                    await self.look()
                except Exception as error:
                    # Whatever it is, who watches goes on.
                    log.lasting("incidents-not-kept", error, say=log.error)

    async def _hear(self, stream: trio.SocketStream) -> None:
        # To a socket others may come.
        if not is_ours(stream.socket._sock):  # type: ignore[attr-defined]
            return
        try:
            async for message in messages(stream, LONGEST_MESSAGE):
                told = _TOLD.decode(message)
                if self.settings.incidents.mode != "off":
                    self._detector.hear(told.sources)
                self._bans += told.bans
        except (trio.BrokenResourceError, msgspec.DecodeError) as error:
            log.lasting("signs-not-heard", error)

    async def look(self) -> None:
        """To be called once a second."""
        self._limiter.renew()
        bans, self._bans = self._bans, []
        # What is found from then on is another one's, and is kept.
        await self._drop_closed()
        if self.settings.incidents.mode != "off":
            syns = self._board.syns()
            half_open = self._half_open() if syns.flood else ()
            for finding in self._detector.look(bool(syns.flood), half_open):
                await self.take(finding, dict(bans))
        for address, seconds in bans:
            await self._ban_in_kernel(address, seconds)
        if self.settings.guard.http != "on":
            await self._free_in_kernel()
        now = trio.current_time()
        if now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            await self.flush()
            await self._close_quiet()

    def _half_open(self) -> list[str]:
        with suppress(OSError):
            return kernel.half_open_peers(self._ports, _MOST_HALF_OPEN)
        return []

    # An attack

    async def take(self, finding: Finding, bans: Mapping[str, int] = {}) -> None:
        """Keeps what was found, and does something about it; `bans` are those of workers."""
        current = await self._incident(finding)
        now = int(self._clock())
        current.goes_on = True
        for address, counts in finding.counts.items():
            self._wait(current, address, counts, now)
        for address, seconds in bans.items():
            if address in finding.counts:
                self._wait(current, address, {}, now, self._would(f"banned for {seconds} s"))
                current.done["banned"] += 1
        if finding.kind not in (Kind.SYN, Kind.FLOOD):
            # Who does not listen to refusals is banned by whoever refuses.
            for address in finding.offenders:
                await self._escalate(current, address, now)
        if current.incident is not None and current.is_new:
            current.is_new = False
            self._call("incident-opened", self._known(current, current.incident))
        self._tell_done(current, finding.kind)

    async def _incident(self, finding: Finding) -> _Current:
        """The one that is open, or is opened now; one that nobody will keep, where that cannot be."""
        current = self._current.get(finding.kind)
        if current is not None:
            return current
        try:
            return await self._open(finding)
        except PystreamError as error:
            log.lasting("incidents-not-kept", error, say=log.error)
            return self._unkept.setdefault(finding.kind, _Current(None))

    async def _open(self, finding: Finding) -> _Current:
        rule, scope = finding.rule, finding.scope
        now, dry_run = int(self._clock()), not self._acts
        opened = partial(self._store.open, finding.kind, rule, scope, dry_run=dry_run, now=now)
        incident = await trio.to_thread.run_sync(opened)
        current = self._current[finding.kind] = _Current(incident)
        self._unkept.pop(finding.kind, None)
        self._board.set_open(self._current)
        if incident.opened_at < now:
            # Another node is attacked in the same way, or an earlier writer has opened it.
            return current
        self._board.opened(finding.kind)
        log.warning(
            "incident-opened",
            id=incident.id,
            kind=str(finding.kind),
            rule=rule,
            scope=str(scope),
            **self._dry(),
        )
        current.is_new = True
        return current

    def _wait(
        self,
        current: _Current,
        address: str,
        counts: Mapping[str, int],
        now: int,
        done: str = "",
    ) -> None:
        if current.incident is None:
            return
        if len(current.addresses) < _MOST_ADDRESSES:
            current.addresses.add(address)
        if address not in current.waiting and len(current.waiting) >= _MOST_WAITING:
            return
        _, known, doings = current.waiting.setdefault(address, (now, Counter(), []))
        known.update(counts)
        if done:
            doings.append(done)

    async def _escalate(self, current: _Current, address: str, now: int) -> None:
        """Limits a source, or bans it the next time."""
        done = self._limiter.offend(address)
        if done is None:
            return
        what, seconds = done
        self._wait(current, address, {}, now, self._would(f"{what} for {seconds} s"))
        current.done[what] += 1
        if not self._acts:
            return
        if what == "banned":
            await self._ban_in_kernel(address, seconds)
        else:
            self._board.writer.limit()

    @staticmethod
    def _known(current: _Current, incident: Incident) -> Incident:
        """With what is not stored yet."""
        return replace(
            incident,
            sources=max(incident.sources, len(current.addresses)),
            events=incident.events + len(current.waiting),
        )

    def _would(self, what: str) -> str:
        return what if self._acts else f"would be {what}"

    def _dry(self) -> dict[str, bool]:
        return {} if self._acts else {"dry_run": True}

    def _tell_done(self, current: _Current, kind: Kind) -> None:
        """Of limits and bans, how many there were: at once, and then once a minute."""
        now = trio.current_time()
        if not current.done or now - current.told_at < _QUIET_SECONDS:
            return
        done, current.done = current.done, Counter()
        current.told_at = now
        counts = {"limited": done["limited"], "banned": done["banned"]}
        incident = current.incident
        id = None if incident is None else incident.id
        log.warning("attackers-stopped", id=id, kind=str(kind), **counts, **self._dry())
        if incident is not None:
            self._call("attackers-stopped", self._known(current, incident), **counts)

    async def _ban_in_kernel(self, address: str, seconds: int) -> None:
        """Where there is a helper. The kernel ends the ban by itself, when it ends here."""
        if not seconds or address == UNIX or not self._board.syns().limits:
            return
        try:
            await self._helper.ban(source(address), seconds)
        except (GuardError, ValueError) as error:
            log.lasting("kernel-ban-not-set", error)

    async def _free_in_kernel(self) -> None:
        """Ends what an earlier setting has begun: nobody is shut out any more."""
        if not self._board.syns().bans:
            return
        try:
            await self._helper.unban_all()
        except GuardError as error:
            log.lasting("kernel-bans-not-ended", error)

    # The store

    async def flush(self) -> None:
        """Stores what waits. Where that fails, it waits on."""
        now = int(self._clock())
        for kind, current in list(self._current.items()):
            waiting, current.waiting = current.waiting, {}
            if current.incident is None or not (waiting or current.goes_on):
                continue
            authenticated = kind is not Kind.SYN
            events = [
                Event(address, authenticated, begun, now, dict(counts), ", ".join(doings))
                for address, (begun, counts, doings) in waiting.items()
            ]
            add = partial(
                self._store.add,
                current.incident.id,
                events,
                sources=len(current.addresses),
                now=now,
            )
            try:
                current.incident = await trio.to_thread.run_sync(add)
                current.goes_on = False
            except PystreamError as error:
                current.waiting = waiting | current.waiting
                log.lasting("incidents-not-kept", error, say=log.error)

    async def _close_quiet(self) -> None:
        """Closes what is over, also what an earlier writer has left open."""
        quiet = round(self.settings.incidents.quiet_seconds)
        close = partial(self._store.close_quiet, quiet, int(self._clock()))
        for incident in await trio.to_thread.run_sync(close):
            log.info(
                "incident-closed",
                id=incident.id,
                kind=str(incident.kind),
                sources=incident.sources,
                events=incident.events,
            )
            self._call("incident-closed", incident)
        await self._drop_closed()

    async def _drop_closed(self) -> None:
        """Drops what is closed, be it by somebody. Where the store cannot say, it goes on."""
        if self._current:
            listed = partial(self._store.listed, open_only=True)
            try:
                there = {each.id for each in await trio.to_thread.run_sync(listed)}
            except PystreamError as error:
                log.lasting("incidents-not-kept", error, say=log.error)
                return
            for kind, current in list(self._current.items()):
                if current.incident is not None and current.incident.id not in there:
                    del self._current[kind]
                    self._detector.over(kind)
        self._board.set_open(self._current)

    # The webhook

    def _call(self, event: str, incident: Incident, **more: Any) -> None:
        url = self.settings.incidents.webhook
        if not url:
            return
        facts, kept = incident.facts(), incident.kept_until(self.settings.retention.incidents_days)
        del facts["hold"], facts["asked"]
        facts["kept_until"] = None if kept is None else moment(kept)
        at = moment(int(self._clock()))
        told = {"event": event, "at": at, "node": socket.gethostname(), "incident": facts, **more}
        body = json.dumps(told).encode()
        # Where so much waits already, the log and the metrics have to do.
        with suppress(trio.WouldBlock):
            self._calls.send_nowait((url, body))

    async def _tell_operator(self) -> None:
        """One after the other, as it came about."""
        async for url, body in self._to_call:
            for pause in _WEBHOOK_PAUSES:
                await trio.sleep(pause)
                try:
                    if self._client is None:
                        make = partial(self._make_client, self.settings.outgoing)
                        self._client = await trio.to_thread.run_sync(make)
                    self._client.settings = self.settings.outgoing
                    await self._client.call(
                        "operator",
                        url,
                        seconds=_WEBHOOK_SECONDS,
                        most=65_536,
                        body=body,
                        headers=(("Content-Type", "application/json"),),
                        any_success=True,
                    )
                except OutgoingError as error:
                    log.lasting("webhook-not-called", error)
                else:
                    break


class _Nobody:
    """Who counts nothing of what is not done."""

    def guard(self, what: str) -> None: ...

    def ban(self) -> None: ...


def _client(settings: Outgoing) -> Client:
    # It takes its time, and most nodes call nobody.
    from pystream.server.outgoing import Client

    return Client(settings)
