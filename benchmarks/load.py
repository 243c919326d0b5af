"""`python -m benchmarks.load`: viewers who play, and connections that ask without a pause.

What viewers do is told by `pystream.rehearsal.players`: --ahead, --slow, --fast, --start-buffer and
--stall are theirs.

With --connections there are no viewers. Each connection asks for the next one of the addresses as
soon as it has the last, which is how many requests, or bytes, a server can do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from pystream.rehearsal.players import BROWSER, Playing, Tally, play
from pystream.rehearsal.wire import (
    Broken,
    Connection,
    Loop,
    Target,
    Task,
    clock,
    raise_descriptor_limit,
    request,
    trusting,
)

GZIP = b"Accept-Encoding: gzip, deflate, br, zstd\r\n"

_GRACE_SECONDS = 20.0
_OPENING_SECONDS = 300.0


# Asking without a pause.


@dataclass(frozen=True, slots=True)
class Asking:
    """How connections behave. `fresh`: each request has a connection of its own; `resume`: whose
    handshake is short, with the ticket that the one before it was given."""

    connections: int
    seconds: float
    fields: bytes = BROWSER
    fresh: bool = False
    resume: bool = False
    requests: int | None = None


def ask(urls: Sequence[str], asking: Asking) -> Tally:
    """All connections, in this thread. Each begins at another one of the addresses."""
    loop, tally = Loop(), Tally()
    target = Target.of(urlsplit(urls[0]))
    tls = trusting() if target.secure else None
    requests = [request(url, asking.fields) for url in urls]
    for n in range(asking.connections):
        shift = n * len(requests) // asking.connections
        mine = requests[shift:] + requests[:shift]
        loop.start(_ask(Connection(loop, target, tls), mine, asking, tally, loop))
    left = loop.run(asking.seconds, _GRACE_SECONDS)
    if left:
        tally.errors["unanswered at the end"] += left
    return tally


def _ask(
    connection: Connection, requests: list[bytes], asking: Asking, tally: Tally, loop: Loop
) -> Task[None]:
    number = 0
    try:
        while not loop.ending and number != asking.requests:
            if connection.fileno() < 0:
                yield from connection.open()
                tally.handshakes += 1
                tally.resumed += connection.resumed
                tally.ciphers[connection.cipher] += 1
            response = yield from connection.fetch(requests[number % len(requests)])
            number += 1
            if response.status != 200:
                tally.errors[f"status {response.status}"] += 1
            tally.add("request", response)
            if asking.fresh:
                if asking.resume:
                    connection.keep_session()
                connection.close()
    except Broken as broken:
        tally.errors[str(broken)] += 1
    finally:
        connection.close()


@contextlib.contextmanager
def holding(url: str, count: int) -> Iterator[int]:
    """`count` connections that have asked once and are silent now; how many of them are open."""
    raise_descriptor_limit()
    loop = Loop()
    target = Target.of(urlsplit(url))
    tls = trusting() if target.secure else None
    connections = [Connection(loop, target, tls) for _ in range(count)]
    line = request(url, BROWSER)

    def some(mine: list[Connection]) -> Task[None]:
        for connection in mine:
            with contextlib.suppress(Broken):
                yield from connection.fetch(line)

    for n in range(50):
        loop.start(some(connections[n::50]))
    loop.run(_OPENING_SECONDS, 0.0)
    try:
        yield sum(connection.fileno() >= 0 for connection in connections)
    finally:
        for connection in connections:
            connection.close()


# What it was like.


def summary(tally: Tally, seconds: float, cpu: float) -> dict[str, Any]:
    """Plain values: counts, bytes, and times in seconds."""
    requests = sum(tally.requests.values())
    return {
        "seconds": seconds,
        "own_cpu": cpu,
        "requests": requests,
        "requests_by_kind": dict(tally.requests),
        "bytes": sum(tally.nbytes.values()),
        "bytes_by_kind": dict(tally.nbytes),
        "errors": dict(tally.errors),
        "first_byte": distribution(tally.first_bytes),
        "whole": distribution(tally.wholes),
        "start": distribution(tally.starts),
        "late": len(tally.late),
        "late_seconds": distribution(tally.late),
        "rebuffering": sum(tally.late),
        "stalled": tally.stalled,
        "cut_off": tally.cut_off,
        "handshakes": tally.handshakes,
        "resumed": tally.resumed,
        "ciphers": dict(tally.ciphers),
    }


def distribution(values: list[float]) -> dict[str, float] | None:
    """Median, 99th percentile, most."""
    if not values:
        return None
    if len(values) == 1:
        values = values * 2
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}


def show(found: dict[str, Any]) -> None:
    """For people."""
    seconds = found["seconds"]
    print(f"{found['requests']:,} requests, {found['requests'] / seconds:,.0f} a second")
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found["bytes_by_kind"].items())
    print(f"{found['bytes']:,} bytes ({kinds}), {found['bytes'] / seconds / 1e9:.3f} GB a second")
    for name in ("first_byte", "whole", "start"):
        if times := found[name]:
            cells = ", ".join(f"{key} {value * 1e3:.2f} ms" for key, value in times.items())
            print(f"{name.replace('_', ' ')}: {cells}")
    if found["start"]:
        print(f"late: {found['late']}, waited for {found['rebuffering']:.2f} s together")
        print(f"stalled: {found['stalled']}, of which cut off {found['cut_off']}")
    if found["ciphers"]:
        shaken = f"handshakes: {found['handshakes']}, of which resumed {found['resumed']}"
        print(shaken, "; ".join(name for name in found["ciphers"] if name))
    for kind, count in found["errors"].items():
        print(f"error: {kind}: {count}")
    print(f"this program: {found['own_cpu'] / seconds:.0%} of a processor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where something was wrong: an error, or a late segment."""
    options = _parser().parse_args(arguments)
    raise_descriptor_limit()
    begun, cpu = clock(), time.process_time()
    if options.connections:
        fields = BROWSER + (GZIP if options.gzip else b"")
        asking = Asking(options.connections, options.seconds, fields, options.fresh, options.resume)
        tally = ask(options.url, asking)
    else:
        playing = Playing(
            options.viewers,
            options.seconds,
            options.together,
            options.slow,
            options.fast,
            options.stall / 100,
            options.start_buffer,
            options.ahead,
            options.ramp,
            options.receive_buffer,
            options.seed,
        )
        tally = play(options.url[0], playing)
    found = summary(tally, clock() - begun, time.process_time() - cpu)
    if options.json:
        print(json.dumps(found))
    else:
        show(found)
    return int(bool(found["errors"] or found["late"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__.split("\n", 1)[1] if __doc__ else None,
        epilog="@FILE takes arguments from a file, one a line.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    add = parser.add_argument
    usual = Playing(100, 60.0)
    add("url", nargs="+", metavar="URL", help="of a playlist; with --connections of anything")
    add("--seconds", type=float, default=60.0, metavar="S", help="how long (default: 60)")
    add("--json", action="store_true", help="print one JSON object")
    viewers = parser.add_argument_group("viewers")
    add = viewers.add_argument
    add("--viewers", type=int, default=usual.viewers, metavar="N", help="how many (default: 100)")
    add(
        "--together",
        action="store_true",
        help="all begin with the first segment, at once (default: spread over the film)",
    )
    add("--ramp", type=float, default=usual.ramp, metavar="S", help="within which they begin (6)")
    add("--slow", type=float, default=usual.slow, metavar="X", help="times the bit rate (1.2)")
    add("--fast", type=float, default=usual.fast, metavar="X", help="times the bit rate (3)")
    add("--stall", type=float, default=5.0, metavar="PERCENT", help="who stop reading (5)")
    add(
        "--start-buffer",
        type=float,
        default=usual.start_buffer,
        metavar="S",
        help="between asking for the first segment and showing it (6)",
    )
    add("--ahead", type=float, default=usual.ahead, metavar="S", help="fetched at most (30)")
    add(
        "--receive-buffer",
        type=int,
        default=usual.buffer,
        metavar="BYTES",
        help="of each socket, so that what is not read stays with the server (131072)",
    )
    add("--seed", type=int, default=usual.seed, help="of whatever is by chance (1)")
    asking = parser.add_argument_group("without a pause")
    add = asking.add_argument
    add("--connections", type=int, default=0, metavar="N", help="how many")
    add("--gzip", action="store_true", help="accept what is compressed")
    add("--fresh", action="store_true", help="a new connection for each request")
    add("--resume", action="store_true", help="with --fresh: by the ticket of the last one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
