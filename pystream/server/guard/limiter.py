"""Limits of requests: one of all workers, in shared memory, where no address is stored.

Theory. The rule is `core_rs/shm`'s `limiter`: a source (an IPv4 address, an IPv6 /64) has a budget for
each sort of request, and a wider one with the network around it. Over a budget it is asked to come again
(503, which players repeat; a 4xx they take for the end); who does not listen gets 429 and a closed
connection, and who does not listen to that is banned: connections are reset before anything is read.

An address comes first, and its grant only once that was verified: what is made up has no place in the
table but that of its address. What was refused as a mistake (400 to 499) is counted as an error of the
source as well, and those have a budget, too.

Keys are hashed with a secret of the node's memory that changes every day, so the table says of nobody that
he was here, not even to who has a copy of it.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from math import isqrt
from typing import Final, Protocol

from pystream import _core
from pystream.acl.streams import Stream
from pystream.server import log
from pystream.server.gauges import Board
from pystream.server.guard.signs import A_BAN, Sign, Signs
from pystream.server.http import HttpError
from pystream.server.routes import Kind
from pystream.server.settings import UNIX, Budget, Guard, Network

TABLE_BYTES: Final = 8 << 20
_US = 1_000_000
_DAY_S = 86_400
_QUIET_SECONDS = 60.0
# Who is asked to come again is told no time beyond this; a ban may well be over by then.
_LONGEST_WAIT_S = 600


class Sort(IntEnum):
    """Of requests, by their budgets."""

    PLAYLISTS = 0
    SEGMENTS = 1
    DOWNLOADS = 2
    PASSWORDS = 3
    OTHERS = 4
    ERRORS = 5
    CONNECTIONS = 6
    HANDSHAKES = 7


_SORTS: Final[dict[Kind | None, Sort]] = {
    Kind.MULTIVARIANT: Sort.PLAYLISTS,
    Kind.PLAYLIST: Sort.PLAYLISTS,
    Kind.INIT: Sort.SEGMENTS,
    Kind.SEGMENT: Sort.SEGMENTS,
    Kind.KEY: Sort.SEGMENTS,
    Kind.FRAME: Sort.SEGMENTS,
    Kind.DOWNLOAD: Sort.DOWNLOADS,
    Kind.SESSION: Sort.PASSWORDS,
}
# An attribute of an enumeration takes longer to find than a limit to check.
_OTHERS: Final = Sort.OTHERS
_SOFT: Final = _core.Limiter.SOFT
_LEVELS: Final = {
    _core.Limiter.SOFT: "slowed",
    _core.Limiter.HARD: "refused",
    _core.Limiter.BANNED: "banned",
    _core.Limiter.BEGAN: "banned",
}


Held = tuple[bytes, ...]
"""What a connection is counted under while it is open."""


class Tally(Protocol):
    """Where it is counted what is done."""

    def guard(self, what: str) -> None: ...

    def ban(self) -> None: ...


class Refusal(HttpError):
    """Too many requests, by a level of `_core.Limiter`. `closes`: the connection ends with it."""

    def __init__(self, level: int, wait_s: int) -> None:
        self.closes = level != _core.Limiter.SOFT
        status = 429 if self.closes else 503
        after = (("Retry-After", str(wait_s)),)
        super().__init__(status, "too many requests come from here: wait a little", after)


# Whoever asks too often is refused often. What is raised is made anew: it holds where that was.
_refusal = lru_cache(4 * _LONGEST_WAIT_S)(Refusal)


class Limiter:
    """One process's. `fd` is the node's table, `secret` the node's; `exempt` is who is never limited besides
    those whom the settings name: trusted proxies, which speak for others. `signs` is told who goes on though
    it was refused. `clock` gives microseconds, the same in all processes (those of CLOCK_MONOTONIC without
    it), and `wall` Unix seconds."""

    def __init__(
        self,
        settings: Guard,
        exempt: Iterable[Network],
        fd: int,
        secret: bytes,
        board: Board,
        seat: Tally,
        signs: Signs | None = None,
        clock: Callable[[], int] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._fd = fd
        self._node_secret = secret
        self._board = board
        self._seat = seat
        self._signs = signs or Signs()
        self._clock = clock
        self._wall = wall
        self._seen_bans = board.bans()
        # When something was said of those who were slowed down, refused or banned, in the last minute.
        self._told: dict[str, float] = {}
        # Connections of this worker, by source and by network.
        self._open = Counter[bytes]()
        self._table = _core.Gcra(os.dup(fd), bytes(16))
        self._displaced = self._table.counters()[2]
        self.reload(settings, exempt)

    def reload(self, settings: Guard, exempt: Iterable[Network]) -> None:
        """Takes other settings. What was counted stays."""
        self.settings = settings
        self._counts, self._acts = settings.http != "off", settings.http == "on"
        everybody = {str(network) for network in (*settings.exempt, *exempt)}
        self._exempt = [_network(text) for text in sorted(everybody - {UNIX})]
        self._exempt_networks = [Network(UNIX), *settings.exempt, *exempt]
        self._most_open = self._share(settings.open_connections)
        self._most_of_network = self._share(settings.open_connections * settings.network_times)
        self._attach()

    def _share(self, connections: int) -> int:
        """Of one worker. The kernel deals them out by chance, so a source that has as many as it may has more
        with some worker than with others: by four standard deviations once in 30,000 times."""
        share = -(-connections // max(1, self._board.workers))
        return min(connections, share + 4 * (isqrt(share) + 1))

    def _attach(self) -> None:
        settings = self.settings
        self._day = int(self._wall()) // _DAY_S
        times = settings.network_times
        self._limiter = _core.Limiter(
            os.dup(self._fd),
            (self._secret(self._day), self._secret(self._day - 1)),
            kinds=[
                (
                    _pair(source),
                    _pair(source, times),
                    _pair(getattr(settings, f"grant_{sort.name.lower()}", None)),
                    _pair(getattr(settings, f"tenant_{sort.name.lower()}", None)),
                )
                for sort, source in ((sort, getattr(settings, sort.name.lower())) for sort in Sort)
            ],
            offences=_pair(settings.slowed),
            strikes=_pair(settings.refused),
            bans_us=(round(settings.ban_seconds * _US), round(settings.longest_ban_seconds * _US)),
            exempt=self._exempt,
        )
        # Each request asks these two, so nothing stands between.
        self._arrive: Callable[[str, int], int] = self._limiter.arrive
        self._granted: Callable[[str, bytes, int, int], int] = self._limiter.granted
        if not self._counts:
            self._arrive = self._granted = _pass
        elif (clock := self._clock) is not None:
            limiter = self._limiter
            self._arrive = lambda address, sort: limiter.arrive(address, sort, clock())
            self._granted = lambda address, grant, tenant, sort: limiter.granted(
                address, grant, tenant, sort, clock()
            )

    def _secret(self, day: int) -> bytes:
        return blake2b(
            day.to_bytes(8, "big"), digest_size=16, key=self._node_secret, person=b"guard"
        ).digest()

    def tick(self) -> None:
        """To be called about every second: the secret changes with the day, what was said a minute ago may be
        said again, and whose place in the table another took is free of a limit that he had."""
        self.renew()
        if self._told:
            since = time.monotonic() - _QUIET_SECONDS
            self._told = {name: at for name, at in self._told.items() if at > since}
        before, self._displaced = self._displaced, self._table.counters()[2]
        if self._displaced != before and self._is_news("displaced"):
            log.warning("limits-displaced", count=self._displaced)

    def renew(self) -> None:
        """Takes the day's secret."""
        if int(self._wall()) // _DAY_S != self._day:
            self._attach()

    def arrive(self, address: str, kind: Kind | None) -> Refusal | None:
        """Counts a request; None where it may go on. A refusal that this gives is given again, and not to be
        raised."""
        sort = _SORTS.get(kind, _OTHERS)
        ruling = self._arrive(address, sort)
        if not ruling or (refused := self._refuse(ruling, sort, address)) is None:
            return None
        return _refusal(*refused)

    def erred(self, address: str) -> Refusal | None:
        """Counts a mistake; None where it may be told as it is."""
        refused = self._count(address, Sort.ERRORS)
        return None if refused is None else Refusal(*refused)

    def dawdled(self, address: str) -> None:
        """Counts a request that was begun and did not come to its end in time."""
        self._signs.note(address, Sign.SLOW)
        self.erred(address)

    def stalled(self, address: str) -> None:
        """Counts an answer that nobody took."""
        self._signs.note(address, Sign.SLOW)

    def _count(self, address: str, sort: Sort) -> tuple[int, int] | None:
        """Level and seconds of a refusal; None where there is none."""
        ruling = self._arrive(address, sort)
        return None if not ruling else self._refuse(ruling, sort, address)

    def granted(self, address: str, session: bytes, stream: Stream, kind: Kind) -> None:
        """Counts a request with a grant that is right. Raises `Refusal`."""
        sort = _SORTS.get(kind, _OTHERS)
        ruling = self._granted(address, session, stream.tenant_id, sort)
        if ruling and (refused := self._refuse(ruling, sort, address)) is not None:
            raise Refusal(*refused)

    # Connections.

    def connect(self, address: str) -> Held | None:
        """Counts a new connection: what it holds until it is given back, or None where nobody hears it."""
        if self._count(address, Sort.CONNECTIONS) is not None:
            return None
        if not self._counts or any(address in network for network in self._exempt_networks):
            return ()
        source, network = _places(address)
        here, around = self._open[source], self._open[network]
        if here >= self._most_open or around >= self._most_of_network:
            self._seat.guard("refused")
            self._tell("refused", Sort.CONNECTIONS)
            if self._acts:
                return None
        self._open[source], self._open[network] = here + 1, around + 1
        return source, network

    def give_back(self, held: Held) -> None:
        """A connection is no more."""
        for place in held:
            if self._open[place] > 1:
                self._open[place] -= 1
            else:
                del self._open[place]

    def shakes(self, address: str) -> bool:
        """Whether a connection may begin a TLS handshake, which counts it."""
        return self._count(address, Sort.HANDSHAKES) is None

    def _refuse(self, ruling: int, sort: Sort, address: str) -> tuple[int, int] | None:
        level, wait_us = ruling & 7, ruling >> 3
        name = _LEVELS[level]
        self._seat.guard(name)
        if level == _SOFT:
            # Who goes on asking shall cost little.
            if name not in self._told:
                self._tell(name, sort)
        elif level == _core.Limiter.BEGAN:
            seconds = round(wait_us / _US)
            self._seat.ban()
            if self._acts:
                self._signs.banned(address, seconds)
            else:
                self._signs.note(address, Sign.STRIKES, A_BAN)
            self._tell(name, sort, seconds)
        elif level == _core.Limiter.HARD:
            self._signs.note(address, Sign.STRIKES)
            self._tell(name, sort)
        if not self._acts:
            return None
        seconds = (wait_us + _US - 1) // _US or 1
        return level, seconds if seconds < _LONGEST_WAIT_S else _LONGEST_WAIT_S

    def _tell(self, name: str, sort: Sort, seconds: int | None = None) -> None:
        """Says so of nobody."""
        if self._is_news(name):
            more = {} if seconds is None else {"seconds": seconds}
            dry = {} if self._acts else {"dry_run": True}
            log.warning(f"source-{name}", requests=sort.name.lower(), **more, **dry)

    def _is_news(self, name: str) -> bool:
        """Once a minute."""
        if name in self._told:
            return False
        self._told[name] = time.monotonic()
        return True

    # Bans.

    def offend(self, address: str) -> tuple[str, int] | None:
        """Counts an attack that was found out otherwise, of who has shaken hands: what is done about it,
        `limited` or `banned`, and for how many seconds; None where it was done already, or is not to be."""
        ruling = self._limiter.offend(address, self._clock and self._clock())
        level, seconds = ruling & 7, round((ruling >> 3) / _US)
        if level == _core.Limiter.BEGAN:
            self._seat.ban()
            return "banned", seconds
        return ("limited", seconds) if level == _core.Limiter.SOFT else None

    def banned(self, address: str) -> bool:
        """Whether an address is shut out."""
        now = self._clock and self._clock()
        return self._acts and self._limiter.banned(address, now) > 0

    def turned_away(self, address: str) -> bool:
        """The same of who comes anew, which is a sign that it goes on."""
        if not self.banned(address):
            return False
        self._seat.guard("banned")
        self._signs.note(address, Sign.TURNED_AWAY)
        return True

    def news(self) -> bool:
        """Whether somebody was banned since the last call, by whichever worker."""
        before, self._seen_bans = self._seen_bans, self._board.bans()
        return self._seen_bans != before


def _pass(*_: object) -> int:
    """Of a request that nobody counts."""
    return 0


def _pair(budget: Budget | None, times: int = 1) -> tuple[int, int]:
    """At once, and the microseconds for one more."""
    if budget is None or budget.at_once == 0:
        return 0, 0
    return budget.at_once * times, max(1, round(_US / (budget.a_second * times)))


def _places(address: str) -> tuple[bytes, bytes]:
    """A source and the network around it, as the table has them."""
    if ":" in address:
        bits = socket.inet_pton(socket.AF_INET6, address)
        return bits[:8], bits[:6]
    bits = socket.inet_pton(socket.AF_INET, address)
    return bits, bits[:3]


def _network(text: str) -> tuple[str, int]:
    address, slash, bits = text.partition("/")
    return address, int(bits) if slash else 128
