"""When SYNs are limited tightly: the supervisor looks at the kernel's counters and tells the helper.

Theory. A flood shows in what does not come back: cookies that were sent and not returned, connections that
stay half open, SYNs that found no room. A crowd that joins at once shows in none of these, however large,
since each of it answers within a round trip. So the limits are tight from the first second that shows a
flood, and normal again after half a minute in which nothing does, nor in what the tight limits keep out.

An attack's sources may be made up, so nobody is banned for it. Beside the limits, the kernel gives up sooner
on who does not answer (TCP_SYNCNT, tcp(7)), which any process may ask of its listeners: without the helper,
that and cookies are the whole defence.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

import trio

from pystream.errors import GuardError
from pystream.server import listeners, log
from pystream.server.gauges import Board, Syns
from pystream.server.guard import kernel
from pystream.server.guard.client import Helper, Stats
from pystream.server.guard.kernel import Counters
from pystream.server.guard.nftables import Protected
from pystream.server.listeners import HTTP, HTTPS, Place
from pystream.server.settings import Settings

LOOK_SECONDS: Final = 1.0
CALM_SECONDS: Final = 30.0
# A SYN-ACK is sent again so often, where it is not answered, and by default (tcp_synack_retries).
_RETRIES, _USUAL_RETRIES = 2, 5


class Look(NamedTuple):
    """A second: what did not come back in it, and how many are half open at its end. `limited` is what the
    meters have kept out, a second."""

    unreturned: float = 0.0
    no_room: float = 0.0
    half_open: int = 0
    limited: float = 0.0


_BEGINS: Final = Look(unreturned=100, no_room=100, half_open=1000, limited=float("inf"))
"""Any of these is a flood. Where an answer takes 100 ms, a crowd has a thousand half open if 10,000 join in a
second. Who is kept out by the normal limits alone does no harm, and may be a crowd."""
_LASTS: Final = Look(unreturned=20, no_room=20, half_open=250, limited=50)


class Switch:
    """Whether there is a flood."""

    def __init__(self, flood: bool = False, now: float = 0.0) -> None:
        self.flood = flood
        self._seen = now

    def look(self, seen: Look, now: float) -> bool:
        """What the last second says, at `now` of a clock in seconds."""
        if any(value >= bound for value, bound in zip(seen, _BEGINS, strict=True)):
            self.flood = True
        if any(value >= bound for value, bound in zip(seen, _LASTS, strict=True)):
            self._seen = now
        elif now - self._seen >= CALM_SECONDS:
            self.flood = False
        return self.flood


class Watch:
    """The supervisor's. `places` are those where it listens, none once it stops; `says` is whether its life
    is to be events of the log."""

    def __init__(
        self,
        settings: Settings,
        places: Callable[[], Iterable[Place]],
        board: Board,
        says: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._all_places = places
        self._ports = listeners.ports(self._places())
        self._board = board
        self._says = says
        self._clock = clock
        self._switch = Switch(bool(board.syns().flood), clock())
        self._began = clock()
        self._gives_up_sooner = self._switch.flood
        self._before: Counters | None = None
        self._limited_before = 0
        self._looked = clock()
        # Who sets limits, as it was last said.
        self._by = ""
        self.reload(settings)

    def _places(self) -> list[Place]:
        return [place for place in self._all_places() if place.kind in (HTTP, HTTPS)]

    def reload(self, settings: Settings) -> None:
        """Takes other settings."""
        guard = settings.guard
        self._wanted = guard.syn
        self._helper = Helper(guard.helper)
        exempt = (*guard.exempt, *settings.server.trusted_proxies)
        self._protected = Protected.of(
            self._ports, (each.network for each in exempt if each.network is not None)
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started once it has looked."""
        if (
            self._wanted != "off"
            and self._says()
            and kernel.setting("net.ipv4.tcp_syncookies") == 0
        ):
            log.error(
                "syn-cookies-off",
                why="a flood of SYNs would keep all newcomers out",
                remedy="sysctl -w net.ipv4.tcp_syncookies=1; `pystream doctor` has a file for it",
            )
        await self.look()
        task_status.started()
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """To be called each second."""
        if self._wanted in ("off", "observe") and self._by == "nftables":
            # It was otherwise until now.
            with suppress(GuardError):
                await self._helper.protect(Protected())
            self._by = ""
        if self._wanted == "off":
            self._give_up_sooner(False)
            self._board.set_syns(Syns())
            return
        told = await self._ask() if self._wanted != "observe" else None
        now = self._clock()
        seconds, self._looked = max(0.1, now - self._looked), now
        counted, half_open = self._read()
        before, self._before = self._before or counted, counted
        limited = told.limited if told else 0
        fresh, self._limited_before = limited - self._limited_before, limited
        unreturned = (counted.cookies_sent - before.cookies_sent) - (
            counted.cookies_returned - before.cookies_returned
        )
        seen = Look(
            unreturned / seconds,
            (counted.queue_full_drops - before.queue_full_drops) / seconds,
            half_open,
            max(0, fresh) / seconds,
        )
        was, flood = self._switch.flood, self._switch.look(seen, now)
        self._give_up_sooner(flood)
        self._board.set_syns(
            Syns(
                limits=told is not None,
                flood=flood,
                half_open=half_open,
                passed=told.passed if told else 0,
                limited=limited,
                banned=told.banned if told else 0,
                bans=told.bans if told else 0,
                **counted._asdict(),
            )
        )
        if told is not None:
            await self._tell(told, "tight" if flood else "normal")
        if flood != was:
            self._say(flood, seen, now)

    def _read(self) -> tuple[Counters, int]:
        """As far as this process may see them."""
        counted, half_open = self._before or Counters(), 0
        with suppress(OSError):
            counted = kernel.read_counters()
        with suppress(OSError):
            half_open = kernel.half_open(self._ports)
        return counted, half_open

    async def _ask(self) -> Stats | None:
        try:
            told = await self._helper.stats()
        except GuardError as error:
            self._say_by("kernel's cookies alone", error)
            return None
        self._say_by("nftables")
        return told

    async def _tell(self, told: Stats, mode: str) -> None:
        """Whatever it does not know. That limits are tight is said again and again: else they are not."""
        try:
            if told.protects != str(self._protected):
                await self._helper.protect(self._protected)
            if mode == "tight" or told.mode != mode:
                await self._helper.mode(mode)
        except GuardError as error:
            log.lasting("syn-limits-not-set", error, say=log.error)

    def _give_up_sooner(self, flood: bool) -> None:
        """On who does not answer, as long as there is a flood."""
        if flood == self._gives_up_sooner:
            return
        self._gives_up_sooner = flood
        retries = _RETRIES
        if not flood:
            retries = kernel.setting("net.ipv4.tcp_synack_retries") or _USUAL_RETRIES
        for one in listeners.internet_sockets(self._places()):
            with one:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, retries)

    def _say_by(self, by: str, error: GuardError | None = None) -> None:
        """Who sets limits, where that has changed."""
        if by == self._by or not self._says():
            return
        were_limited, self._by = self._by == "nftables", by
        if error is None:
            log.info("syns-limited", by=by)
        elif self._wanted == "nftables":
            log.error("syns-not-limited", **log.fault(error))
        else:
            # Where there has never been a helper, nothing is amiss.
            say = log.warning if were_limited else log.info
            say("syns-observed", why=str(error), remedy="`pystream guard` limits them")

    def _say(self, flood: bool, seen: Look, now: float) -> None:
        if flood:
            self._began = now
            log.warning(
                "syn-flood",
                unanswered_a_second=round(seen.unreturned + seen.no_room),
                half_open=seen.half_open,
                limits="tight" if self._by == "nftables" else "none",
            )
        else:
            log.info("syn-flood-over", seconds=round(now - self._began))
