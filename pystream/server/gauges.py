"""What a node's processes count, in memory that all of them share.

Theory. The memory has a head, a base, and seats, all of aligned 64-bit cells; a seat belongs to one
worker for as long as that lives. Each cell has one writer: the head's are the supervisor's (the
writer's heartbeat aside), a seat's are its worker's. A cell is stored in one piece, so nobody locks
anything, and who reads gets numbers that are at most as old as the reading.

Counters only ever grow, also when a worker dies: after the kernel has said that it is dead, the
supervisor adds the seat's counters to the base and frees the seat. The head counts the beginnings
and ends of that; a reader who sees one in between reads again, so the sums never go backwards.

Behind each seat lie the viewers whom its worker has seen lately, 64 bits each: the stream's number,
31 bits of a hash of the session, keyed with a secret that is as old as the node and is written
nowhere, and whether it is an access for tests. A viewer whose connections reach two workers is one,
because both write the same 64 bits.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

from pystream.acl.incidents import Kind as Attack
from pystream.server.overload import Reason
from pystream.server.routes import Kind

KINDS: Final = (*(kind.value for kind in Kind), "none")
"""Of requests; `none` asked for nothing that there is."""
ENDS: Final = ("gone", "stalled", "failed", "silent", "cut")
"""Of answers under way that did not go out whole: the viewer left, or took nothing for too long, or the
bytes could not be made, or the storage that they are made from did not answer, or the node stopped and
its patience was over."""
UNACCEPTED: Final = ("limit", "descriptors", "memory")
"""Why connections were not accepted: there are as many as may be, or the system has nothing left."""
GUARDED: Final = ("slowed", "refused", "banned")
"""What was done about too many requests: told to come again, told so with the connection's end, and not
heard."""
ANCHORS: Final = ("site", "mail", "authority")
"""To whom the writer tells checkpoints: the tenant's site, the mail server, who stamps them with the time."""
SEALINGS: Final = ("sealed", "failed")
"""What becomes of it when the writer seals a report by itself."""
CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
LAG_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds of the lag histogram's classes; the last class has none."""
VIEWER_SECONDS: Final = 30.0
"""A viewer is one for this long after the last request, and for twice as long at most."""

_MOST_VIEWERS = 65_536
_GAUGES = (
    "connections",
    "answers",
    "window_bytes",
    "index_bytes",
    "delivery_beats",
    "reads",
    "reads_stuck",
    "lag_recent_us",
    "lag_p50_us",
    "lag_p99_us",
    "lag_max_us",
    "coming",
    "viewers",
)

_HEAD_CELLS = 64
_TEST = 1


class State(IntEnum):
    """Of a seat."""

    FREE = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class _Head(IntEnum):
    VERSION = 0
    SEATS = 1
    WORKERS = 2
    DRAINING = 3
    FOLDS = 4
    DEATHS = 5
    COMMITTED_MS = 6
    SECRET = 7  # two cells
    SYNS = 9  # as many as `Syns` has
    BANS = 20
    LIMITED = 21
    UNTOLD = 22  # as many as `ANCHORS`
    SEALINGS = 25  # as many as `SEALINGS`
    OPEN = 27  # of each kind of attack one, and behind them as many of `OPENED`


class Syns(NamedTuple):
    """What the supervisor knows of connections that the machine is asked for. `limits`: whether the helper
    sets any, which counts SYNs that `passed` and were `limited`, packets of `banned` sources, and `bans`
    now. The rest is the kernel's."""

    limits: int = 0
    flood: int = 0
    half_open: int = 0
    passed: int = 0
    limited: int = 0
    banned: int = 0
    bans: int = 0
    cookies_sent: int = 0
    cookies_returned: int = 0
    queue_full_drops: int = 0
    accept_overflows: int = 0


_UNTOLD: Final = slice(_Head.UNTOLD, _Head.UNTOLD + len(ANCHORS))
_SEALINGS: Final = slice(_Head.SEALINGS, _Head.SEALINGS + len(SEALINGS))
_ATTACKS: Final = tuple(Attack)
_OPENED: Final = _Head.OPEN + len(_ATTACKS)


class Attacks(NamedTuple):
    """What the writer knows of attacks: how many incidents are open now, and were opened since the node is
    there, by kind; and how many sources were limited for one."""

    open: Mapping[str, int]
    opened: Mapping[str, int]
    limited: int


_SYNS: Final = slice(_Head.SYNS, _Head.SYNS + len(Syns()))


class _Layout:
    """Where in a seat what is."""

    state, pid, worker = range(3)
    gauges: Final[dict[str, int]] = {name: 3 + at for at, name in enumerate(_GAUGES)}
    counters = requests = 3 + len(_GAUGES)
    refused = requests + len(KINDS) * len(CLASSES)
    lag = refused + len(Reason)
    lag_sum_us = lag + len(LAG_BOUNDS_S) + 1
    admitted = lag_sum_us + 1
    tests = admitted + 1
    handshakes = tests + 1
    makings = handshakes + 1
    broken_off = makings + 1
    unaccepted = broken_off + len(ENDS)
    guarded = unaccepted + len(UNACCEPTED)
    bans = guarded + len(GUARDED)
    cells = bans + 1
    gauges["handshakes"] = handshakes
    gauges["makings"] = makings


_SEAT_CELLS = -(-_Layout.cells // 8) * 8
# Of what the cells mean, so that a program never takes those of another one, with one kind more, for its own.
_PLACES = {name: at for name, at in vars(_Layout).items() if isinstance(at, int)}
_NAMES = (
    KINDS,
    CLASSES,
    [reason.value for reason in Reason],
    LAG_BOUNDS_S,
    ENDS,
    UNACCEPTED,
    GUARDED,
    ANCHORS,
    SEALINGS,
    _ATTACKS,
)
_VERSION = crc32(
    repr((_HEAD_CELLS, _MOST_VIEWERS, _GAUGES, _PLACES, _NAMES, Syns._fields)).encode()
)


class Totals(NamedTuple):
    """What all workers that ever were have counted. `requests` by (kind, class), `refused` by
    reason, `broken_off` by end, `unaccepted` by reason, `guarded` by what was done, `lag` by class of
    the histogram, its sum in seconds; `admitted` are viewers, without accesses for tests."""

    requests: Mapping[tuple[str, str], int]
    refused: Mapping[Reason, int]
    lag: tuple[int, ...]
    lag_sum: float
    admitted: int
    handshakes: int
    makings: int
    broken_off: Mapping[str, int]
    unaccepted: Mapping[str, int]
    guarded: Mapping[str, int]
    bans: int
    deaths: int


class Board:
    """The memory, attached by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._cells = memoryview(mmap.mmap(fd, 0)).cast("Q")
        self._head = self._cells[:_HEAD_CELLS]
        if self._head[_Head.VERSION] != _VERSION:
            raise ValueError("these are the gauges of another version")
        count = self._head[_Head.SEATS]
        base = _HEAD_CELLS + _SEAT_CELLS
        self._base = self._cells[_HEAD_CELLS:base]
        self.seats = tuple(
            Seat(self._cells, base + at * _SEAT_CELLS, base + count * _SEAT_CELLS, at)
            for at in range(count)
        )
        secret = self._head[_Head.SECRET : _Head.SECRET + 2]
        self.secret = bytes(secret)

    @classmethod
    def create(cls, workers: int) -> int:
        """The descriptor of a new board. It has seats for more workers than these: those of an old
        program end while those of a new one serve."""
        seats = max(32, 4 * workers)
        fd = os.memfd_create("pystream-gauges")
        cells = _HEAD_CELLS + (1 + seats) * _SEAT_CELLS + seats * _MOST_VIEWERS
        os.ftruncate(fd, cells * 8)
        with mmap.mmap(fd, _HEAD_CELLS * 8) as memory, memoryview(memory).cast("Q") as head:
            head[_Head.SEATS] = seats
            head[_Head.WORKERS] = workers
            head[_Head.SECRET : _Head.SECRET + 2] = memoryview(os.urandom(16)).cast("Q")
            head[_Head.VERSION] = _VERSION
        return fd

    # The supervisor's

    def take(self, worker: int) -> Seat:
        """A free seat, for the worker of that number. Raises `OSError` where all are
        taken: those of earlier programs have not ended yet."""
        for seat in self.seats:
            if seat.state is State.FREE:
                seat.begin(worker)
                return seat
        raise OSError(errno.EAGAIN, "all seats of the gauges are taken")

    def expect(self, workers: int) -> bool:
        """Says how many workers there shall be from now on; whether they have seats beside those
        that there are."""
        if 2 * workers > len(self.seats):
            return False
        self._head[_Head.WORKERS] = workers
        return True

    def bury(self, pid: int) -> None:
        """Adds up what a worker has counted that is dead, as the kernel says, and frees its seat."""
        for seat in self.seats:
            if seat.state is not State.FREE and seat.pid == pid:
                self._head[_Head.FOLDS] += 1
                if seat.state is not State.DRAINING:
                    self._head[_Head.DEATHS] += 1
                seat.fold(self._base)
                self._head[_Head.FOLDS] += 1

    def give_up(self, pid: int) -> None:
        """Counts a worker as dead that was killed, and cannot die yet: it waits in the kernel. Its seat is
        freed when it is buried."""
        for seat in self.seats:
            if seat.state is not State.FREE and seat.pid == pid:
                if seat.state is not State.DRAINING:
                    self._head[_Head.DEATHS] += 1
                seat.state = State.DRAINING
                for gauge in _GAUGES:
                    seat.set(gauge, 0)

    def drain(self) -> None:
        """The node is about to end."""
        self._head[_Head.DRAINING] = 1

    def set_syns(self, syns: Syns) -> None:
        self._head[_SYNS] = memoryview(array("Q", syns))

    # The writer's

    def committed(self, now: float) -> None:
        """`now`, of the monotonic clock, is when the store last took what was counted."""
        self._head[_Head.COMMITTED_MS] = int(now * 1000)

    def untold(self, anchor: str) -> None:
        """A checkpoint could not be told to one of `ANCHORS`, once."""
        self._head[_Head.UNTOLD + ANCHORS.index(anchor)] += 1

    def sealing(self, done: str) -> None:
        """A report was to be sealed, of which became one of `SEALINGS`."""
        self._head[_Head.SEALINGS + SEALINGS.index(done)] += 1

    def opened(self, attack: Attack) -> None:
        """An incident was opened."""
        self._head[_OPENED + _ATTACKS.index(attack)] += 1

    def set_open(self, attacks: Collection[Attack]) -> None:
        """Incidents of these kinds are open, and of no others."""
        for at, attack in enumerate(_ATTACKS):
            self._head[_Head.OPEN + at] = attack in attacks

    @property
    def writer(self) -> WriterSeat:
        return WriterSeat(self._head)

    # Anybody's

    @property
    def workers(self) -> int:
        """How many there shall be."""
        return self._head[_Head.WORKERS]

    @property
    def draining(self) -> bool:
        return bool(self._head[_Head.DRAINING])

    @property
    def commit_age(self) -> float:
        """Seconds since the store last took what was counted; since the machine's start where it
        never did."""
        return max(0.0, time.monotonic() - self._head[_Head.COMMITTED_MS] / 1000)

    def all_untold(self) -> Mapping[str, int]:
        """How often a checkpoint could not be told, by whom it was for."""
        return dict(zip(ANCHORS, self._head[_UNTOLD], strict=True))

    def all_sealings(self) -> Mapping[str, int]:
        """How often the writer has sealed a report by itself, and has failed to."""
        return dict(zip(SEALINGS, self._head[_SEALINGS], strict=True))

    def syns(self) -> Syns:
        return Syns(*self._head[_SYNS])

    def taken(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.state is not State.FREE]

    def sum(self, gauge: str) -> int:
        """Of all workers."""
        return sum(seat.get(gauge) for seat in self.seats)

    def most(self, gauge: str) -> int:
        """The worst of all workers."""
        return max((seat.get(gauge) for seat in self.seats), default=0)

    def admitted(self) -> int:
        """Who was let in, ever, accesses for tests as well."""
        base = self._base[_Layout.admitted] + self._base[_Layout.tests]
        return base + sum(seat.admitted for seat in self.seats)

    def bans(self) -> int:
        """How many sources were banned, ever."""
        return (
            self._head[_Head.BANS]
            + self._base[_Layout.bans]
            + sum(seat.bans for seat in self.seats)
        )

    def attacks(self) -> Attacks:
        now = self._head[_Head.OPEN : _OPENED]
        ever = self._head[_OPENED : _OPENED + len(_ATTACKS)]
        return Attacks(
            dict(zip(_ATTACKS, now, strict=True)),
            dict(zip(_ATTACKS, ever, strict=True)),
            self._head[_Head.LIMITED],
        )

    def totals(self) -> Totals:
        while True:
            before = self._head[_Head.FOLDS]
            sums = list(self._base)
            for seat in self.seats:
                sums = [a + b for a, b in zip(sums, seat.cells(), strict=True)]
            deaths = self._head[_Head.DEATHS]
            sums[_Layout.bans] += self._head[_Head.BANS]
            if before % 2 == 0 and self._head[_Head.FOLDS] == before:
                return _totals(sums, deaths)
            os.sched_yield()

    def viewers(self) -> Counter[int]:
        """How many each stream has, by its number; whoever two workers know counts once."""
        return Counter(entry >> 32 for entry in self._known() if not entry & _TEST)

    def places(self) -> Counter[int]:
        """How many places are taken of each stream: by its viewers, and by accesses for tests."""
        return Counter(entry >> 32 for entry in self._known())

    def _known(self) -> set[int]:
        return {entry for seat in self.seats for entry in seat.known()}

    def knows(self, entry: int) -> bool:
        """Whether some worker has seen a viewer lately."""
        return any(entry in seat.known() for seat in self.seats)


def _totals(sums: list[int], deaths: int) -> Totals:
    at = _Layout
    requests = {
        (kind, status): sums[at.requests + k * len(CLASSES) + s]
        for k, kind in enumerate(KINDS)
        for s, status in enumerate(CLASSES)
    }
    return Totals(
        requests,
        {reason: sums[at.refused + n] for n, reason in enumerate(Reason)},
        tuple(sums[at.lag : at.lag_sum_us]),
        sums[at.lag_sum_us] / 1e6,
        sums[at.admitted],
        sums[at.handshakes],
        sums[at.makings],
        {end: sums[at.broken_off + n] for n, end in enumerate(ENDS)},
        {reason: sums[at.unaccepted + n] for n, reason in enumerate(UNACCEPTED)},
        {what: sums[at.guarded + n] for n, what in enumerate(GUARDED)},
        sums[at.bans],
        deaths,
    )


_REQUEST_AT = {kind: _Layout.requests + n * len(CLASSES) for n, kind in enumerate(KINDS)}
_REFUSED_AT = {reason: _Layout.refused + n for n, reason in enumerate(Reason)}
_BROKEN_OFF_AT = {end: _Layout.broken_off + n for n, end in enumerate(ENDS)}
_UNACCEPTED_AT = {reason: _Layout.unaccepted + n for n, reason in enumerate(UNACCEPTED)}
_GUARDED_AT = {what: _Layout.guarded + n for n, what in enumerate(GUARDED)}


class Seat:
    """One worker's cells. Who does not own it reads it only."""

    def __init__(self, cells: memoryview[int], begin: int, viewers: int, number: int) -> None:
        self._cells = cells[begin : begin + _SEAT_CELLS]
        begin = viewers + number * _MOST_VIEWERS
        self._viewers = cells[begin : begin + _MOST_VIEWERS]
        self.number = number

    def begin(self, worker: int) -> None:
        self._cells[_Layout.worker] = worker
        self._cells[_Layout.pid] = 0
        self.state = State.STARTING

    def fold(self, base: memoryview[int]) -> None:
        """Adds the counters to `base`, and forgets everything."""
        for at in range(_Layout.counters, _Layout.cells):
            base[at] += self._cells[at]
        for at in range(_SEAT_CELLS):
            self._cells[at] = 0

    @property
    def state(self) -> State:
        return State(self._cells[_Layout.state])

    @state.setter
    def state(self, state: State) -> None:
        self._cells[_Layout.state] = state

    @property
    def pid(self) -> int:
        return self._cells[_Layout.pid]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._cells[_Layout.pid] = pid

    @property
    def worker(self) -> int:
        """The worker's number."""
        return self._cells[_Layout.worker]

    @property
    def beats(self) -> int:
        """Samples of how late the loop was: ten a second or more, as long as it goes round."""
        return sum(self._cells[_Layout.lag : _Layout.lag_sum_us])

    @property
    def bans(self) -> int:
        """Of sources, by this worker."""
        return self._cells[_Layout.bans]

    @property
    def admitted(self) -> int:
        return self._cells[_Layout.admitted] + self._cells[_Layout.tests]

    def cells(self) -> memoryview[int]:
        return self._cells

    def get(self, gauge: str) -> int:
        return self._cells[_Layout.gauges[gauge]]

    def set(self, gauge: str, value: int) -> None:
        self._cells[_Layout.gauges[gauge]] = value

    # Counters

    def request(self, kind: str, status: int) -> None:
        self._cells[_REQUEST_AT[kind] + status // 100 - 2] += 1

    def refuse(self, reason: Reason) -> None:
        self._cells[_REFUSED_AT[reason]] += 1

    def break_off(self, end: str) -> None:
        self._cells[_BROKEN_OFF_AT[end]] += 1

    def not_accept(self, reason: str) -> None:
        self._cells[_UNACCEPTED_AT[reason]] += 1

    def guard(self, what: str) -> None:
        self._cells[_GUARDED_AT[what]] += 1

    def ban(self) -> None:
        self._cells[_Layout.bans] += 1

    def admit(self, *, is_test: bool = False) -> None:
        self._cells[_Layout.tests if is_test else _Layout.admitted] += 1

    def lag(self, seconds: float) -> None:
        """A sample of how late the loop was."""
        self._cells[_Layout.lag + bisect_left(LAG_BOUNDS_S, seconds)] += 1
        self._cells[_Layout.lag_sum_us] += int(seconds * 1e6)

    # Viewers

    def known(self) -> list[int]:
        return self._viewers[: self.get("viewers")].tolist()

    def append(self, entry: int) -> None:
        count = self.get("viewers")
        if count < _MOST_VIEWERS:
            self._viewers[count] = entry
            self.set("viewers", count + 1)

    def replace(self, entries: list[int]) -> None:
        entries = entries[:_MOST_VIEWERS]
        self.set("viewers", 0)
        self._viewers[: len(entries)] = memoryview(array("Q", entries))
        self.set("viewers", len(entries))


class WriterSeat:
    """Where the writer counts what it has done about attacks."""

    def __init__(self, head: memoryview[int]) -> None:
        self._head = head

    def guard(self, what: str) -> None:
        """It refuses nobody by itself: workers count that."""

    def ban(self) -> None:
        self._head[_Head.BANS] += 1

    def limit(self) -> None:
        self._head[_Head.LIMITED] += 1


class Viewers:
    """The viewers whom one worker has seen lately. `now` is of any clock that only goes on.

    They lie in two dictionaries, of which the older is dropped every `VIEWER_SECONDS`: a request
    costs no clock and no look through all of them.
    """

    def __init__(self, seat: Seat, secret: bytes, now: float) -> None:
        self._seat = seat
        self._secret = secret
        self._turn = now + VIEWER_SECONDS
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def entry(self, stream_id: int, session: bytes, *, is_test: bool = False) -> int:
        """What stands for a viewer of a stream in the shared memory."""
        digest = blake2b(session, digest_size=4, key=self._secret).digest()
        return stream_id << 32 | int.from_bytes(digest, "little") & ~_TEST | is_test

    def __contains__(self, session: bytes) -> bool:
        return session in self._young or session in self._old

    def note(self, stream_id: int, session: bytes, *, is_test: bool = False) -> None:
        """A viewer is here."""
        if session in self._young:
            return
        entry = self._old.pop(session, None)
        if entry is None:
            entry = self.entry(stream_id, session, is_test=is_test)
            self._seat.append(entry)
        if len(self._young) < _MOST_VIEWERS:
            self._young[session] = entry

    def turn(self, now: float) -> None:
        """Forgets whoever was not seen for long enough. To be called every second or so."""
        if now < self._turn:
            return
        self._turn = now + VIEWER_SECONDS
        gone, self._old, self._young = self._old, self._young, {}
        if gone:
            self._seat.replace(list(self._old.values()))
