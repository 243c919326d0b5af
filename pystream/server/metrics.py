"""The node in numbers, as Prometheus reads them (text exposition format 0.0.4).

No label tells a viewer. Those of workers are their numbers, and tenant and stream are names that
the operator gave. All that ends in `_total` only grows for as long as the node lives; per stream,
for as long as the process does that answers here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pystream
from pystream.acl.traffic import Kind as Booked
from pystream.server.gauges import LAG_BOUNDS_S, Attacks, Board, State, Syns

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = os.sysconf("SC_PAGE_SIZE")

Place = tuple[str, str]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all of its samples. `type` is `counter`, `gauge` or `histogram`; a sample is
    (what the name ends in, labels, value)."""

    name: str
    type: str
    help: str
    samples: list[tuple[str, Labels, float]]


@dataclass
class Streams:
    """What the meter has counted since this process began, by stream and kind, and bits a second.

    `names` are (tenant, stream) by the stream's number; those that were removed stay known.
    """

    names: dict[int, Place] = field(default_factory=dict)
    sums: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    rates: Counter[int] = field(default_factory=Counter)

    def add(self, changes: Iterable[tuple[int, int, int, int, int]], seconds: float) -> None:
        """Counts what is new after `seconds`, as `_core.Reading` tells it."""
        self.rates = Counter({stream: 0 for stream, _ in self.sums})
        for stream, kind, requests, sent, aborted in changes:
            sums = self.sums.setdefault((stream, kind), [0, 0, 0])
            for n, more in enumerate((requests, sent, aborted)):
                sums[n] += more
            self.rates[stream] += round(8 * sent / seconds)

    def place(self, number: int) -> Place:
        return self.names.get(number, ("", f"{number}"))


class Cached(NamedTuple):
    """What the segment cache of all workers has counted, and the bytes in it."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    bytes: int = 0


def families(
    board: Board,
    streams: Streams,
    lost: int,
    displaced: int,
    store_reachable: bool,
    cached: Cached,
) -> Iterator[Family]:
    """Everything there is to tell. `lost`: what the meter had no row for; `displaced`: what the tables of
    limits had no place for."""
    yield _gauge("pystream_info", "The program.", 1, version=pystream.__version__)
    yield from _node(board, streams, store_reachable)
    yield from _alarms(lost, displaced)
    yield from _requests(board)
    yield from _attacks(board.attacks())
    yield from _syns(board.syns())
    yield Family(
        "pystream_checkpoints_untold_total",
        "counter",
        "Tries to tell a checkpoint of attendance, each of which comes again, by whom it was for.",
        [("", {"to": anchor}, count) for anchor, count in board.all_untold().items()],
    )
    yield Family(
        "pystream_report_sealings_total",
        "counter",
        "Reports of attendance that the writer has sealed by itself, and tries that come again.",
        [("", {"done": done}, count) for done, count in board.all_sealings().items()],
    )
    yield from _cache(cached)
    yield from _workers(board)
    yield from _streams(board, streams)


def _gauge(name: str, help: str, value: float, **labels: str) -> Family:
    return Family(name, "gauge", help, [("", labels, value)])


def _node(board: Board, streams: Streams, store_reachable: bool) -> Iterator[Family]:
    ready = sum(seat.state is State.SERVING for seat in board.seats)
    viewers = board.viewers().total()
    rate = streams.rates.total()
    yield _gauge("pystream_workers_wanted", "Workers that there shall be.", board.workers)
    yield _gauge("pystream_workers_serving", "Workers that accept connections.", ready)
    yield _gauge("pystream_draining", "Whether the node is about to end.", board.draining)
    yield _gauge(
        "pystream_viewers",
        "Sessions seen within the last minute, without those for tests.",
        viewers,
    )
    yield _gauge("pystream_egress_bits_per_second", "Acknowledged by viewers, now.", rate)
    yield _gauge(
        "pystream_store_reachable", "Whether the store answered when last asked.", store_reachable
    )
    age = board.commit_age
    yield _gauge("pystream_commit_age_seconds", "Since the store last took what was metered.", age)


def _alarms(lost: int, displaced: int) -> Iterator[Family]:
    """What stays 0 where memory is large enough."""
    for name, help, count in (
        ("meter_lost", "Bookings that found no row: not in the traffic.", lost),
        (
            "limits_displaced",
            "Limits still in use whose place another took: as long as it grows, limits are looser.",
            displaced,
        ),
    ):
        yield Family(f"pystream_{name}_total", "counter", help, [("", {}, count)])


def _requests(board: Board) -> Iterator[Family]:
    totals = board.totals()
    yield Family(
        "pystream_requests_total",
        "counter",
        "Requests that were answered, by what they asked for and the class of the status.",
        [
            ("", {"kind": kind, "status": status}, count)
            for (kind, status), count in totals.requests.items()
        ],
    )
    yield Family(
        "pystream_refused_total",
        "counter",
        "Newcomers who were asked to come again, by what was full.",
        [("", {"reason": reason.value}, count) for reason, count in totals.refused.items()],
    )
    yield Family(
        "pystream_broken_off_total",
        "counter",
        "Answers under way that did not go out whole: the viewer went, or took nothing, or the bytes "
        "could not be made, or storage did not answer, or the node stopped.",
        [("", {"reason": end}, count) for end, count in totals.broken_off.items()],
    )
    yield Family(
        "pystream_connections_not_accepted_total",
        "counter",
        "Connections that were closed at once, for there are as many as may be; or attempts to accept "
        "some for which the system had no descriptor, or no memory, left.",
        [("", {"reason": reason}, count) for reason, count in totals.unaccepted.items()],
    )
    yield Family(
        "pystream_guarded_total",
        "counter",
        "Requests, or connections, of which too many came: told to come again, told so as the connection "
        "ended, or not heard since their source is banned.",
        [("", {"done": done}, count) for done, count in totals.guarded.items()],
    )
    for name, help, count in (
        ("bans", "Sources that were banned, each time one was.", totals.bans),
        ("admitted", "Viewers who were let in, without those for tests.", totals.admitted),
        ("handshakes", "TLS connections that were established.", totals.handshakes),
        (
            "makings",
            "Segments that were begun to be made, for one viewer or for many.",
            totals.makings,
        ),
        ("worker_deaths", "Workers that ended without being told to.", totals.deaths),
    ):
        yield Family(f"pystream_{name}_total", "counter", help, [("", {}, count)])
    yield _lag(totals.lag, totals.lag_sum)


def _attacks(attacks: Attacks) -> Iterator[Family]:
    yield Family(
        "pystream_incidents_open",
        "gauge",
        "Attacks that are going on, by their kind.",
        [("", {"kind": kind}, count) for kind, count in attacks.open.items()],
    )
    yield Family(
        "pystream_incidents_total",
        "counter",
        "Attacks that were noticed, by their kind.",
        [("", {"kind": kind}, count) for kind, count in attacks.opened.items()],
    )
    yield Family(
        "pystream_limited_total",
        "counter",
        "Sources that had no budget left for a while, as they were part of an attack.",
        [("", {}, attacks.limited)],
    )


def _syns(syns: Syns) -> Iterator[Family]:
    yield _gauge(
        "pystream_syns_are_limited", "Whether the kernel limits SYNs by their sources.", syns.limits
    )
    yield _gauge(
        "pystream_syn_flood", "Whether limits of SYNs are tight, as there is a flood.", syns.flood
    )
    yield _gauge(
        "pystream_half_open", "Connections whose peer has not answered yet.", syns.half_open
    )
    yield _gauge("pystream_kernel_bans", "Sources that the kernel drops now.", syns.bans)
    for name, help, samples in (
        (
            "syns",
            "SYNs to the server's ports, by what the kernel's limits did, since they were set.",
            {"passed": syns.passed, "limited": syns.limited},
        ),
        (
            "syn_cookies",
            "Of the machine: connections that were asked for when as many were half open as may be, "
            "and those of them that came about.",
            {"sent": syns.cookies_sent, "returned": syns.cookies_returned},
        ),
    ):
        yield Family(
            f"pystream_{name}_total",
            "counter",
            help,
            [("", {"done": done}, count) for done, count in samples.items()],
        )
    for name, help, count in (
        ("banned_packets", "Packets of sources that the kernel drops.", syns.banned),
        (
            "syns_without_room",
            "Of the machine: SYNs that were not answered, as too many are half open, and cookies off.",
            syns.queue_full_drops,
        ),
        (
            "accept_overflows",
            "Of the machine: connections that nobody accepted in time.",
            syns.accept_overflows,
        ),
    ):
        yield Family(f"pystream_{name}_total", "counter", help, [("", {}, count)])


def _cache(cached: Cached) -> Iterator[Family]:
    for name, help, count in (
        ("hits", "Segments that were there, or on their way.", cached.hits),
        ("misses", "Segments that were not.", cached.misses),
        ("evictions", "Segments that made room for others.", cached.evictions),
    ):
        yield Family(f"pystream_cache_{name}_total", "counter", help, [("", {}, count)])
    yield _gauge("pystream_cache_bytes", "Bytes of segments in the cache.", cached.bytes)


def _lag(counts: tuple[int, ...], sum: float) -> Family:
    samples: list[tuple[str, Labels, float]] = []
    below = 0
    for bound, count in zip((*map(str, LAG_BOUNDS_S), "+Inf"), counts, strict=True):
        below += count
        samples.append(("_bucket", {"le": bound}, below))
    samples += [("_sum", {}, sum), ("_count", {}, below)]
    help = (
        "How late workers' loops were, sampled every 10 ms; every 100 ms where nobody is connected."
    )
    return Family("pystream_loop_lag_seconds", "histogram", help, samples)


_OF_WORKERS = {
    "connections": "Connections that are open.",
    "answers": "Answers under way.",
    "window_bytes": "Bytes made and not yet taken by sockets.",
    "index_bytes": "Bytes of films' indexes.",
    "reads": "Windows of answers that wait for storage.",
    "reads_stuck": "Threads that wait for storage which did not answer in time.",
}
_LAGS = {"0.5": "lag_p50_us", "0.99": "lag_p99_us", "1": "lag_max_us"}


def _workers(board: Board) -> Iterator[Family]:
    """By worker. Of an upgrade's two that have one number, the old one is draining."""
    seats = [
        (seat, {"worker": str(seat.worker), "draining": str(int(seat.state is State.DRAINING))})
        for seat in board.taken()
    ]
    for gauge, help in _OF_WORKERS.items():
        samples = [("", labels, seat.get(gauge)) for seat, labels in seats]
        yield Family(f"pystream_worker_{gauge}", "gauge", help, list(samples))
    yield Family(
        "pystream_worker_loop_lag_seconds",
        "gauge",
        "How late the worker's loop was within the last ten seconds, by quantile.",
        [
            ("", {**labels, "quantile": quantile}, seat.get(gauge) / 1e6)
            for seat, labels in seats
            for quantile, gauge in _LAGS.items()
        ],
    )
    yield Family(
        "pystream_worker_resident_bytes",
        "gauge",
        "Memory that the worker has, shared memory that it has touched among it.",
        [("", labels, _resident(seat.pid)) for seat, labels in seats],
    )


def _resident(pid: int) -> int:
    """proc_pid_statm(5): the second number is pages in memory."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _streams(board: Board, streams: Streams) -> Iterator[Family]:
    sums: dict[tuple[Place, int], list[int]] = {}
    # One that was removed and made anew has another number, and the same name.
    for (number, kind), counts in streams.sums.items():
        found = sums.setdefault((streams.place(number), kind), [0, 0, 0])
        for n, count in enumerate(counts):
            found[n] += count
    for n, (name, help) in enumerate(
        (
            ("requests", "Requests that are metered, by stream and kind."),
            ("bytes", "Bytes that viewers have acknowledged, headers and all."),
            ("aborted", "Answers that did not reach the viewer whole."),
        )
    ):
        samples = [
            ("", {**_named(place), "kind": Booked(kind).name.lower()}, float(counts[n]))
            for (place, kind), counts in sums.items()
        ]
        yield Family(f"pystream_stream_{name}_total", "counter", help, list(samples))
    for name, help, numbers in (
        (
            "viewers",
            "Sessions seen within the last minute, without those for tests.",
            board.viewers(),
        ),
        ("bits_per_second", "Acknowledged by viewers, now.", streams.rates),
    ):
        by_name = Counter[Place]()
        for number, value in numbers.items():
            by_name[streams.place(number)] += value
        listed = [("", _named(place), float(value)) for place, value in by_name.items()]
        yield Family(f"pystream_stream_{name}", "gauge", help, list(listed))


def _named(place: Place) -> dict[str, str]:
    tenant, stream = place
    return {"tenant": tenant, "stream": stream}


def exposition(found: Iterable[Family]) -> str:
    """The text that Prometheus reads."""
    lines = []
    for family in found:
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for suffix, labels, value in family.samples:
            inner = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
            braces = f"{{{inner}}}" if inner else ""
            lines.append(f"{family.name}{suffix}{braces} {_number(value)}")
    return "\n".join((*lines, ""))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_UNESCAPED = {r"\\": "\\", r"\n": "\n", r"\"": '"'}

Samples = dict[str, list[tuple[dict[str, str], float]]]


def parse(text: str) -> Samples:
    """Samples by name out of such a text, each with its labels. ValueError where it is none."""
    samples: Samples = {}
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        if found is None:
            raise ValueError("a line is no sample")
        name, inner, value = found.groups()
        labels = {
            label: re.sub(r"\\.", lambda escape: _UNESCAPED[escape[0]], given)
            for label, given in _LABEL.findall(inner or "")
        }
        samples.setdefault(name, []).append((labels, float(value)))
    return samples
