"""How many viewers there may be: from what a stage has measured, and what settings say. Plain values.

A viewer costs processor time for each second of film that he is sent; so many of these seconds as a processor
can send in a second, so many viewers it has. Those who come read ahead, so while all of them come they take
more than they do later, which `rush` has: whoever is late then has to wait. What a node does by itself,
whoever watches, is told from that by stages with fewer and more of them. Connections are dealt out to workers
by chance, so one of them has more than the others: of n viewers, by a share that falls with the square root
of n. As soon as the busiest one has no time left, its viewers wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, sqrt
from statistics import mean

# Above this, waiting becomes noticeable; a queue grows without bound as its server gets busy.
_BUSY = 0.95
# Above this, viewers' programs are late themselves.
_CROWDED = 0.9
# Of what was used in a stage. More than that would be chance.
_MOST_BY_ITSELF = 0.5
# What has to be left for all else.
_MEMORY = 0.9
_CARD = 0.95
_CONNECTIONS_A_VIEWER = 2
"""Of browsers that speak HTTP/1.1: one for the film, and one for what goes beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """So many viewers who played for a while. `media`: seconds of film that came whole, of all viewers; `cpu`
    and `busiest`: processor seconds of all the node's processes and of its busiest worker; `idle`: bytes
    that its processes held before; `memory` and `tcp`: what they and the kernel held at most, above those
    before; `start`: seconds that 99 of 100 waited for their first segment at most. `reasons`: how often the
    node says that it has refused somebody, by why; `attacks`: what attackers met meanwhile, by kind. `rush`:
    seconds of film that each fetched in a second at first, when all came and read ahead; `crowd`: how much of
    the time of their processors the viewers' own programs had (1: all); `others`: how much of all the
    machine's had programs that have nothing to do with it."""

    viewers: int
    seconds: float
    media: float
    nbytes: int
    cpu: float
    busiest: float
    idle: int
    memory: int
    tcp: int
    late: int
    refused: int
    reasons: dict[str, int]
    errors: int
    attacks: dict[str, dict[str, int]]
    start: float
    rush: float
    crowd: float
    others: float

    @property
    def is_the_nodes(self) -> bool:
        """Whether what was met is the node's doing, and not that of viewers' programs without time."""
        return self.crowd < _CROWDED

    @property
    def holds(self) -> bool:
        """Nobody was refused or broken off, and no more than one of a thousand had to wait once."""
        return not self.refused and not self.errors and self.late * 1000 <= self.viewers

    @property
    def times(self) -> float:
        """How many times as much as in real time viewers take when they come."""
        return max(1.0, self.rush)

    def processors(self, idle: float = 0.0) -> float:
        """That one viewer takes who comes with all the others, where the node takes `idle` by itself."""
        return (self.cpu - idle * self.seconds) / self.media * self.times

    @property
    def bps(self) -> float:
        """Bits a second that one viewer takes who comes with all the others."""
        return 8 * self.nbytes / self.media * self.times


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of the machine and of settings; None: no bound. `processors`: that the node may use, be it a part of
    one; `places`: sessions
    that one tenant may have open; `from_one_source`: connections of one address."""

    processors: float
    workers: int
    memory: int
    link_bps: int | None
    egress_bps: int | None
    tenant_bps: int | None
    connections: int
    node_viewers: int | None
    stream_viewers: int | None
    places: int | None
    from_one_source: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`viewers`: at how many it is reached. `of_source`: it counts those behind one address alone. `measured`
    or set; `name`, `why` and `change` are for people."""

    name: str
    viewers: int
    why: str
    change: str
    measured: bool = False
    of_source: bool = False


def by_itself(stages: Sequence[Stage]) -> float:
    """How much of a processor a node takes in stages like these, whoever watches: what a line through them,
    of processor time over seconds of film, has where there is no film (least squares)."""
    if len(stages) < 2:
        return 0.0
    media, cpu = mean(each.media for each in stages), mean(each.cpu for each in stages)
    spread = sum((each.media - media) ** 2 for each in stages)
    if not spread:
        return 0.0
    slope = sum((each.media - media) * (each.cpu - cpu) for each in stages) / spread
    last = stages[-1]
    return min(max(0.0, cpu - slope * media), _MOST_BY_ITSELF * last.cpu) / last.seconds


def limits(facts: Facts, stage: Stage, idle: float = 0.0) -> list[Limit]:
    """All there are, the first to be reached first; those of one address last, as they bind nobody else.
    `idle`: how much of a processor the node takes by itself."""
    found = [*_measured(facts, stage, idle), *_set(facts, stage)]
    return sorted(found, key=lambda limit: (limit.of_source, limit.viewers))


def _measured(facts: Facts, stage: Stage, idle: float) -> Iterator[Limit]:
    yield Limit(
        name="processors",
        viewers=_of_processors(facts, stage, idle),
        why=f"a viewer takes {1000 * stage.processors(idle):.2f} thousandths of a processor{_ahead(stage)},"
        f" and the node {1000 * idle:.0f} by itself; workers of the node: {facts.workers}, processors for"
        f" them: {facts.processors:g}",
        change="more or faster processors; longer segments; no encryption of each viewer's own keys; a CDN in"
        " front",
        measured=True,
    )
    bytes_each = (stage.memory + stage.tcp) / stage.viewers
    if facts.memory and bytes_each > 0:
        yield Limit(
            name="memory",
            viewers=floor(_MEMORY * facts.memory / bytes_each),
            why=f"a viewer takes {bytes_each / 1e3:,.0f} kB in the node and in the kernel, of"
            f" {facts.memory / 1e9:.1f} GB that are free",
            change="more memory; net.ipv4.tcp_wmem with a smaller most",
            measured=True,
        )
    if facts.link_bps is not None:
        yield Limit(
            name="network card",
            viewers=floor(_CARD * facts.link_bps / stage.bps),
            why=f"a viewer takes {stage.bps / 1e6:.2f} Mbit/s{_ahead(stage)}, and the card has"
            f" {_rate(facts.link_bps)}; what is behind it is not known here",
            change="a faster card and line; a lower bit rate; a CDN in front",
            measured=True,
        )


def _of_processors(facts: Facts, stage: Stage, idle: float) -> int:
    each = stage.processors(idle)
    all_busy = max(0.0, _BUSY * facts.processors - idle) / each
    # How much more than its share the busiest worker had; its processor is full before the others are.
    uneven = max(0.0, stage.busiest * facts.workers / stage.cpu - 1) if stage.cpu else 0.0
    share = each / facts.workers
    viewers = all_busy
    for _ in range(32):
        more = uneven * sqrt(stage.viewers / max(viewers, 1.0))
        viewers = min(all_busy, _BUSY / (share * (1 + more)))
    return floor(viewers)


def _set(facts: Facts, stage: Stage) -> Iterator[Limit]:
    rates = (
        ("egress", facts.egress_bps, "overload.egress_bps"),
        ("rate of the tenant", facts.tenant_bps, "`pystream tenant set --max-rate`"),
    )
    for name, bound, setting in rates:
        if bound is not None:
            yield Limit(
                name=name,
                viewers=floor(bound / stage.bps),
                why=f"a viewer takes {stage.bps / 1e6:.2f} Mbit/s{_ahead(stage)}, and {setting} allows"
                f" {_rate(bound)}",
                change=setting,
            )
    yield Limit(
        name="connections",
        viewers=facts.connections // _CONNECTIONS_A_VIEWER,
        why=f"a browser has {_CONNECTIONS_A_VIEWER}, and the node takes {facts.connections:,}",
        change="server.max_connections, and the limit of open files that it needs",
    )
    counts = (
        ("viewers of the node", facts.node_viewers, "overload.max_viewers"),
        ("viewers of the stream", facts.stream_viewers, "`pystream stream set --max-viewers`"),
    )
    for name, most, setting in counts:
        if most is not None:
            yield Limit(name=name, viewers=most, why=f"{setting} allows {most:,}", change=setting)
    if facts.places is not None:
        yield Limit(
            name="sessions",
            viewers=facts.places,
            why=f"one tenant may have {facts.places:,} open",
            change="nothing: viewers of another tenant have room still",
        )
    if facts.from_one_source is not None:
        yield Limit(
            name="behind one address",
            viewers=facts.from_one_source // _CONNECTIONS_A_VIEWER,
            why=f"guard.open_connections allows {facts.from_one_source:,} of one source",
            change="guard.open_connections; guard.exempt for the hall's address",
            of_source=True,
        )


def _ahead(stage: Stage) -> str:
    """That of viewers who come over a longer time there may be more."""
    if stage.times < 1.05:
        return ""
    return f" as all come and read ahead, and {stage.times:.1f} times less later"


def _rate(bps: float) -> str:
    return f"{bps / 1e9:g} Gbit/s" if bps >= 1e9 else f"{bps / 1e6:g} Mbit/s"
