"""`pystream rehearse`: a coming event, played beforehand on the operator's own host."""

from __future__ import annotations

import argparse
import os

from pystream.cli import _terminal
from pystream.cli._arguments import Parser, count, seconds
from pystream.cli._store import (
    EXIT_CODES,
    add_common,
    new_file,
    not_installed,
    open_store,
    place,
    show_table,
)
from pystream.errors import PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pystream.acl.streams import Stream, Tenant
    from pystream.rehearsal.limits import Facts, Stage
    from pystream.rehearsal.stage import Plan, Rehearsal
    from pystream.server.settings import Settings

_DESCRIPTION = """\
Plays an event before it comes: so many viewers watch the stream on this host,
each from an address of its own, and with a password where the stream asks for
one. Says what holds, which limit comes first, and what to change.

What they watch is a node of its own, with the settings and the stream of the
real one, in a network namespace of its own (198.18.0.0/15 of RFC 2544): no
packet leaves this machine, and nothing of the real node is touched. It takes
processors, though: rehearse when nobody watches.
"""

_EPILOG = """\
Played are a quarter of the viewers, half of them, and all, until a stage does
not hold: somebody is refused, broken off, or has to wait. What a viewer costs
is taken from the stages that held; with the limits that are set, that says how
many there may be. Where a stream's access is signed or external, viewers
come with passwords instead, and conditions (hours, networks, countries, sites)
are left out.

Attackers are in another namespace, and know no address but the node's. KINDS:
  syn           5,000 SYNs a second from addresses that are made up, limited as
                they are here: by a helper where `pystream guard` runs, and by
                cookies alone where it does not
  http          64 connections from 16 addresses that ask without a pause
  guessing      passwords are guessed, from thousands of addresses
  slow-headers  1,000 connections whose requests never end
  slow-reading  1,000 connections that take nothing of what they ask for
  churn         a connection for each request, 64 at a time
  addresses     the same, each from another one of four million addresses

Settings and store are those of --config, else of the file that PYSTREAM_CONFIG
names, else of ./pystream.toml or /etc/pystream/pystream.toml.

{codes}
examples:
  pystream rehearse acme/congress --viewers 800 -o congress.html
  pystream rehearse acme/congress --viewers 300 --addresses 1 --together
  pystream rehearse acme/congress --viewers 800 --attack syn,http
"""

_CODES = EXIT_CODES.replace("0  done\n", "0  done, also where they do not hold (holds, in JSON)\n")

_PROCESSORS = "a list like 0-3,7 of processors of this machine is wanted"
# Around what was foreseen, the end is looked for in such steps, and no further than this.
_STEP = 1.05
_FURTHEST = 10
_MOST = 64_000


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "rehearse",
        usage="TENANT/STREAM --viewers N [--seconds S] [--together]\n"
        "         [--addresses N] [--attack KINDS] [--until-it-breaks]\n"
        "         [--players-on LIST] [-o FILE [--overwrite]]\n"
        "         [--config FILE] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(codes=_CODES),
    )
    add = parser.add_argument
    add("stream", metavar="TENANT/STREAM", type=place, help="the stream")
    add("--viewers", metavar="N", type=count, required=True, help="how many are to come")
    add("--seconds", metavar="S", type=seconds, default=20.0, help="of each stage (20)")
    add(
        "--together",
        action="store_true",
        help="all begin with the film, at once (otherwise spread over it, which costs a node more)",
    )
    add(
        "--addresses",
        metavar="N",
        type=count,
        help="from how many addresses they come: 1 is a hall behind one router (otherwise, each has one)",
    )
    add(
        "--until-it-breaks",
        action="store_true",
        help="look for how many are too many, around what is foreseen",
    )
    add(
        "--players-on",
        metavar="LIST",
        type=_processors,
        default=(),
        help="processors for the viewers alone, as 0-3,7; the node has the others",
    )
    add(
        "--attack",
        metavar="KINDS",
        type=_attacks,
        default=(),
        help="play all of them once more while somebody attacks; kinds (below) with commas between them",
    )
    add("-o", "--output", metavar="FILE", help="write a page with all of it, as HTML")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    add_common(parser, changes=False, keys=True)
    options = parser.parse(arguments)
    if options.viewers > _MOST:
        parser.error(f"argument --viewers: there are addresses for {_MOST:,} at most")
    options.store = None
    # Told before it is played, which takes its time.
    if options.output is not None and not options.overwrite and os.path.lexists(options.output):
        raise PystreamError(f"{options.output}: it is there already; --overwrite replaces it")
    if options.output is not None:
        folder = os.path.dirname(options.output) or "."
        if not os.path.isdir(folder):
            raise PystreamError(f"{folder}: there is no such folder")
    try:
        from pystream.rehearsal.stage import Rehearsal
        from pystream.server import settings
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    path = options.config or settings.find(os.environ)
    found = settings.load(path, os.environ)
    with open_store(options) as store:
        tenant, stream = store.tenant(options.stream[0]), store.stream(*options.stream)
    plan = _plan(options, path, found, tenant, stream)
    with Rehearsal(plan) as rehearsal:
        told = _rehearse(options, rehearsal, _facts(options, found, tenant, stream))
    told |= {"stream": f"{stream.tenant}/{stream.name}", "left_out": _left_out(stream)}
    done = ""
    if options.output is not None:
        from pystream.rehearsal import page

        with new_file(options.output, replace=options.overwrite) as file:
            file.write(page.of(told).encode())
        done = f"{options.output} is written. "
    with _terminal.output(done):
        if options.json:
            _terminal.print_json(told)
        else:
            _show(told)
    return 0


def _plan(
    options: argparse.Namespace,
    path: str | None,
    settings: Settings,
    tenant: Tenant,
    stream: Stream,
) -> Plan:
    from dataclasses import asdict, replace

    from pystream.rehearsal.stage import Plan

    given = stream.settings
    access = "personal" if given.access in ("signed", "external") else given.access
    wanted = replace(
        given,
        access=access,
        opens_at=None,
        closes_at=None,
        networks=(),
        countries=(),
        countries_denied=(),
        embed_lock=False,
    )
    # Nobody outside is told of checkpoints.
    alone = replace(tenant.settings, checkpoint_url="", checkpoint_mail="", checkpoint_cosigner="")
    return Plan(
        settings=path,
        tenant=stream.tenant,
        tenant_settings=asdict(alone),
        stream=stream.name,
        stream_settings=asdict(wanted),
        seconds=options.seconds,
        addresses=options.addresses,
        # Nobody may begin in the middle where nothing can be skipped.
        together=options.together or given.no_skip,
        players_on=options.players_on,
        has_helper=os.path.exists(settings.guard.helper),
    )


def _left_out(stream: Stream) -> list[str]:
    """What of the stream's settings was not rehearsed."""
    settings = stream.settings
    found = []
    if settings.access in ("signed", "external"):
        found.append(f"viewers came with passwords, and not by links or tokens ({settings.access})")
    if settings.opens_at is not None or settings.closes_at is not None:
        found.append("its opening hours")
    if settings.networks or settings.countries or settings.countries_denied:
        found.append("the networks and countries that it is bound to")
    if settings.embed_lock:
        found.append("its embedding lock")
    return found


def _facts(
    options: argparse.Namespace, settings: Settings, tenant: Tenant, stream: Stream
) -> Facts:
    from pystream.rehearsal import watching
    from pystream.rehearsal.limits import Facts
    from pystream.server import descriptors
    from pystream.server.workers import SESSIONS

    processors = os.sched_getaffinity(0) - set(options.players_on)
    workers = settings.server.workers or len(processors)
    most = min(len(processors), workers)
    connections = descriptors.most_connections(settings, workers, descriptors.allowed())
    guarded = settings.guard.http == "on"
    return Facts(
        processors=min(most, watching.quota() or most),
        workers=workers,
        memory=watching.available_memory(),
        link_bps=watching.link_bps(),
        egress_bps=settings.overload.egress_bps or None,
        tenant_bps=tenant.settings.max_rate_bps,
        connections=connections * workers,
        node_viewers=settings.overload.max_viewers or None,
        stream_viewers=stream.settings.max_viewers,
        # Half of them are one tenant's where it is alone; an open stream has none.
        places=None if stream.settings.access == "open" else SESSIONS // 2,
        from_one_source=settings.guard.open_connections if guarded else None,
    )


def _rehearse(options: argparse.Namespace, rehearsal: Rehearsal, facts: Facts) -> dict[str, Any]:
    """What is told: plain values."""
    from dataclasses import asdict

    from pystream.rehearsal.limits import by_itself, limits

    stages: list[Stage] = []

    def play(viewers: int, attacks: Sequence[str] = ()) -> bool:
        under = f", under attack ({', '.join(attacks)})" if attacks else ""
        _progress(options, f"{_terminal.counted(viewers, 'viewer')}, {options.seconds:g} s{under}")
        stages.append(rehearsal.play(viewers, attacks))
        return stages[-1].holds

    wanted = options.viewers
    counts = sorted({max(1, wanted // 4), max(1, wanted // 2), wanted})
    holds = all(play(viewers) for viewers in counts)
    well = [stage for stage in stages if stage.holds]
    # Where not even a few are served, what they cost is told of those.
    last, idle = (well or stages)[-1], by_itself(well)
    found = limits(facts, last, idle) if last.media else []
    foreseen = next((each.viewers for each in found if not each.of_source), None)
    if options.until_it_breaks and foreseen is not None:
        # Where not all of them hold, it breaks somewhere below.
        most = min(wanted * _FURTHEST, _MOST) if holds else stages[-1].viewers - 1
        held = max((each.viewers for each in well), default=0)
        more = max(round(foreseen / _STEP**4), round(held * _STEP), held + 1)
        while more <= most and play(more):
            # A twentieth of a few is nobody.
            more = max(round(more * _STEP), more + 1)
    alone = tuple(stages)
    attacked = play(wanted, options.attack) if holds and options.attack else None
    return {
        "viewers": wanted,
        "holds": holds,
        "holds_under_attack": attacked,
        "breaks": min((each.viewers for each in alone if not each.holds), default=None),
        "held": max((each.viewers for each in alone if each.holds), default=0),
        "foreseen": foreseen,
        "limits": [asdict(limit) for limit in found],
        "stages": [_told(stage) for stage in stages],
        "facts": asdict(facts),
        "processor": _processor(),
    }


def _told(stage: Stage) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(stage) | {"holds": stage.holds, "is_the_nodes": stage.is_the_nodes}


def _progress(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        _terminal.complain("pystream rehearse", text)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = (line for line in file if line.startswith("model name"))
        return next(lines, ":").partition(":")[2].strip()


def _show(told: dict[str, Any]) -> None:
    from pystream.rehearsal import page

    print(page.verdict(told))
    print()
    columns = [("limit", "left"), ("viewers", "right"), ("", "left")]
    rows = [
        [each["name"], f"{each['viewers']:,}", "measured" if each["measured"] else "set"]
        for each in told["limits"]
    ]
    show_table(columns, rows)
    for each in told["limits"][:1]:
        print(f"\n{each['name']}: {each['why']}.\nTo change: {each['change']}.")
    if told["left_out"]:
        print(f"\nNot rehearsed: {'; '.join(told['left_out'])}.")


def _attacks(text: str) -> tuple[str, ...]:
    from pystream.rehearsal.attackers import KINDS

    found = tuple(dict.fromkeys(text.split(",")))
    if not set(found) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"kinds are {', '.join(KINDS)}")
    return found


def _processors(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise argparse.ArgumentTypeError(_PROCESSORS)
        found |= {*range(int(first), int(last or first) + 1)}
    there = os.sched_getaffinity(0)
    if not found < there:
        raise argparse.ArgumentTypeError(f"{_PROCESSORS}, and one has to be left for the node")
    return tuple(sorted(found))
