"""When it is an attack: rules on counts, in memory alone.

Theory. For each kind of attack there is a sign that it consists of, and a budget: a leak, into which signs
of a source run, and which overflows where there are more than it lets out. That is the **fixed** baseline,
well above what 300 people behind one address do, or one who zaps; where a crowd does something wrong all at
once, a second look tells it from an attack: who guesses is right hardly ever, and a crowd mostly.

Many sources may do together what none does alone. So all of them have a leak as well, five times as wide. It
lets out eight times as much as is usual here, where that is more: what is usual is **learned**, a mean over
some hours of what was no attack.

A source is an IPv4 address or an IPv6 /64, as everywhere in the guard. Who breaks a rule takes part in an
incident of its kind from then on; of the many together, those do who have done, in the last ten minutes or
so, a twentieth of what one may do at once.

SYNs are counted by the kernel, which says when there is a flood (`syn`). Its sources are those that were half
open at two looks in a row: who answers is not, a second later.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Final

from pystream.acl.incidents import Kind, Scope
from pystream.server.guard.signs import Sign
from pystream.server.settings import Budget, Incidents, Network

NODE_TIMES: Final = 5
USUAL_TIMES: Final = 8
LEARNED_OVER_S: Final = 6 * 3600.0
"""The time over which what is usual follows what is."""
_MINUTE_S = 60.0
_LATELY_S = 600.0
# A right one makes up for so many wrong ones.
_WRONG_FOR_RIGHT = 4
_LEAST_SHARE = 20
_LEAST_TO_MATCH = 5.0
_MOST_SOURCES = 65_536
# Addresses that are heard of between two looks, which are further apart where the store takes its time.
_MOST_HEARD = 65_536
# Addresses in an incident: of the rest, it is not told who they are.
_MOST_MATCHED = 20_000

SIGNS: Final[Mapping[Kind, Sign]] = {
    Kind.FLOOD: Sign.STRIKES,
    Kind.PASSWORDS: Sign.GUESSES,
    Kind.KEYS: Sign.KEYS,
    Kind.SCRAPING: Sign.FETCHED,
    Kind.PROBING: Sign.PROBES,
    Kind.SLOW: Sign.SLOW,
}
_RULES: Final[Mapping[Kind, str]] = {
    Kind.FLOOD: "went on after connections were ended for too many requests",
    Kind.PASSWORDS: "wrong passwords, links or tokens",
    Kind.KEYS: "keys without their segments",
    Kind.SCRAPING: "seconds of film, fetched far faster than they play",
    Kind.PROBING: "requests for what has never been here",
    Kind.SLOW: "requests that did not come to their end, and answers that nobody took",
    Kind.SYN: "connections that were asked for and not answered, as the kernel counts them",
}


class Leak:
    """What runs in, and out again with time."""

    __slots__ = ("at", "level")

    def __init__(self) -> None:
        self.level = self.at = 0.0

    def add(self, count: float, a_second: float, now: float) -> float:
        """What is in it then."""
        self.level = max(0.0, self.level - (now - self.at) * a_second) + count
        self.at = now
        return self.level


@dataclass(slots=True)
class _Source:
    """What one source has done: by kind, in its leak and in the last minutes, and how many passwords of it
    were right."""

    leaks: dict[Kind, Leak] = field(default_factory=dict)
    lately: dict[Kind, Leak] = field(default_factory=dict)
    right: Leak = field(default_factory=Leak)

    def most(self, now: float) -> float:
        """What it has done most of lately, less the longer ago."""
        return max((leak.level / (1 + now - leak.at) for leak in self.lately.values()), default=0.0)


@dataclass(slots=True)
class _Node:
    """What all have done: in the leak, in the minute that is being counted, and a second as usual."""

    leak: Leak = field(default_factory=Leak)
    right: Leak = field(default_factory=Leak)
    minute: float = 0.0
    usual: float = 0.0


@dataclass(slots=True)
class Finding:
    """An attack, or more of one. `offenders` have broken the rule each by itself, since the last time that
    they were named; `counts` is what sources that take part have done, by address."""

    kind: Kind
    rule: str
    scope: Scope
    offenders: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


class Detector:
    """Of one node. `settings` and `exempt` may be changed; `clock` gives seconds."""

    def __init__(
        self,
        settings: Incidents,
        exempt: Iterable[Network],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.exempt = tuple(exempt)
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._node = {kind: _Node() for kind in SIGNS}
        self._minute = clock()
        # Those that take part in what is going on, by kind, and of each what it has done since the last look.
        self._matched: dict[Kind, set[str]] = {}
        self._heard: dict[str, dict[str, list[int]]] = {}
        self._addresses = 0
        self._half_open: set[str] = set()

    def hear(self, sources: Sequence[tuple[str, list[int]]]) -> None:
        """What a worker has counted."""
        for address, counts in sources:
            if any(address in network for network in self.exempt):
                continue
            place = place_of(address)
            known = self._heard.get(place, {}).get(address)
            if known is not None:
                counts = [a + b for a, b in zip(known, counts, strict=True)]
            elif self._addresses < _MOST_HEARD:
                self._addresses += 1
            else:
                continue
            self._heard.setdefault(place, {})[address] = counts

    def look(self, flood: bool = False, half_open: Iterable[str] = ()) -> list[Finding]:
        """What is an attack, of what was heard since the last time. `flood`: the kernel tells of one of SYNs,
        and `half_open` are addresses that have not answered yet."""
        now = self._clock()
        heard, self._heard, self._addresses = self._heard, {}, 0
        sums = {place: _sum(by_address.values()) for place, by_address in heard.items()}
        for place, counts in sums.items():
            self._count(place, counts, now)
        found = [self._judge(kind, sums, heard, now) for kind in SIGNS]
        found.append(self._judge_syns(flood, half_open))
        self._learn(now)
        self._forget(now)
        return [each for each in found if each is not None]

    def over(self, kind: Kind) -> None:
        """An incident is closed: who took part in it takes part in nothing."""
        self._matched.pop(kind, None)

    # Counting

    def _budget(self, kind: Kind) -> Budget:
        budget: Budget = getattr(self.settings, kind)
        return budget

    def _lets_out(self, kind: Kind) -> float:
        """What all together may do in a second."""
        usual = USUAL_TIMES * self._node[kind].usual
        return max(NODE_TIMES * self._budget(kind).a_second, usual)

    def _least(self, kind: Kind) -> float:
        """What takes part in what many do together."""
        return max(_LEAST_TO_MATCH, self._budget(kind).at_once / _LEAST_SHARE)

    def _count(self, place: str, counts: Sequence[int], now: float) -> None:
        source = self._sources.get(place)
        if source is None:
            source = self._sources[place] = _Source()
        wrong = self._budget(Kind.PASSWORDS).a_second
        source.right.add(counts[Sign.RIGHT], wrong, now)
        self._node[Kind.PASSWORDS].right.add(counts[Sign.RIGHT], wrong * NODE_TIMES, now)
        for kind, sign in SIGNS.items():
            if counts[sign]:
                a_second = self._budget(kind).a_second
                source.leaks.setdefault(kind, Leak()).add(counts[sign], a_second, now)
                slowly = self._least(kind) / _LATELY_S
                source.lately.setdefault(kind, Leak()).add(counts[sign], slowly, now)
                node = self._node[kind]
                node.leak.add(counts[sign], self._lets_out(kind), now)
                node.minute += counts[sign]

    def _learn(self, now: float) -> None:
        seconds = now - self._minute
        if seconds < _MINUTE_S:
            return
        self._minute = now
        share = 1 - exp(-seconds / LEARNED_OVER_S)
        for kind, node in self._node.items():
            if kind not in self._matched:
                node.usual += (node.minute / seconds - node.usual) * share
            node.minute = 0.0

    def _forget(self, now: float) -> None:
        """Those who have done least, where there are many: a flood of new sources hides nobody."""
        if len(self._sources) < _MOST_SOURCES:
            return
        least_first = sorted(self._sources, key=lambda place: self._sources[place].most(now))
        for place in least_first[: len(least_first) - _MOST_SOURCES // 2]:
            del self._sources[place]

    # Judging

    def _judge(
        self,
        kind: Kind,
        sums: Mapping[str, Sequence[int]],
        heard: Mapping[str, Mapping[str, list[int]]],
        now: float,
    ) -> Finding | None:
        budget, sign = self._budget(kind), SIGNS[kind]
        if not budget.at_once:
            return None
        doing = [place for place, counts in sums.items() if counts[sign]]
        broken = [place for place in doing if self._breaks(kind, place, budget.at_once)]
        together = self._together(kind, budget, now)
        matched = self._matched.get(kind, set())
        some = set(broken)
        if together:
            some |= {place for place in doing if self._takes_part(kind, place)}
        if some:
            matched = matched | set(list(some)[: max(0, _MOST_MATCHED - len(matched))])
            self._matched[kind] = matched
        taking_part = {place: heard[place] for place in matched & heard.keys()}
        if not taking_part:
            return None
        offenders = sorted(some)
        for place in offenders:
            # Who goes on is named again, when it has done as much once more.
            source = self._sources[place]
            source.leaks[kind].level = source.lately[kind].level = 0.0
        # Who has broken it alone has broken no wider one.
        of_all = together and not broken
        return Finding(
            kind,
            f"{_RULES[kind]}: more than {budget}{f', times {NODE_TIMES}' if of_all else ''}",
            Scope.NODE if of_all else Scope.SOURCE,
            [next(iter(heard[place])) for place in offenders],
            _told(taking_part),
        )

    def _breaks(self, kind: Kind, place: str, most: int) -> bool:
        source = self._sources.get(place)
        if source is None or source.leaks[kind].level <= most:
            return False
        return self._is_wrong(kind, source.leaks[kind], source.right)

    def _takes_part(self, kind: Kind, place: str) -> bool:
        source = self._sources.get(place)
        if source is None or source.lately[kind].level <= self._least(kind):
            return False
        return self._is_wrong(kind, source.lately[kind], source.right)

    @staticmethod
    def _is_wrong(kind: Kind, leak: Leak, right: Leak) -> bool:
        """A crowd is right mostly."""
        return kind is not Kind.PASSWORDS or leak.level > _WRONG_FOR_RIGHT * right.level

    def _together(self, kind: Kind, budget: Budget, now: float) -> bool:
        node = self._node[kind]
        level = node.leak.add(0, self._lets_out(kind), now)
        if level <= budget.at_once * NODE_TIMES:
            return False
        return self._is_wrong(kind, node.leak, node.right)

    def _judge_syns(self, flood: bool, half_open: Iterable[str]) -> Finding | None:
        before, self._half_open = self._half_open, set(half_open)
        if not flood:
            return None
        still = sorted(before & self._half_open)
        counts = {
            address: {"half_open": 1}
            for address in still
            if not any(address in network for network in self.exempt)
        }
        return Finding(Kind.SYN, _RULES[Kind.SYN], Scope.NODE, [], counts)


def place_of(address: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64."""
    if ":" not in address:
        return address
    return socket.inet_pton(socket.AF_INET6, address)[:8].hex()


def _sum(counts: Iterable[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*counts, strict=True)]


def _told(taking_part: Mapping[str, Mapping[str, list[int]]]) -> dict[str, dict[str, int]]:
    return {
        address: {sign.word: counts[sign] for sign in Sign if counts[sign]}
        for by_address in taking_part.values()
        for address, counts in by_address.items()
    }
