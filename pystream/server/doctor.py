"""Whether a machine is set up for a node that may be attacked, and what would be better.

Nothing is made or changed: what should be otherwise is proposed, as lines of files. A setting that cannot be
seen from here is said to be unknown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from pystream.errors import GuardError
from pystream.server import descriptors
from pystream.server.guard import kernel, nftables
from pystream.server.guard.client import Helper, Stats
from pystream.server.listeners import BACKLOG
from pystream.server.settings import Settings

OK, NOTE, WRONG = "ok", "note", "wrong"
SYSCTL_FILE: Final = "/etc/sysctl.d/60-pystream.conf"
UNIT_FILE: Final = "/etc/systemd/system/pystream.service.d/limits.conf"
_COOKIES: Final = "net.ipv4.tcp_syncookies"
# Enough for the usual settings with a process for each of many processors.
_FILES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was looked at, and what was found: `ok`, a `note` or `wrong`. `line` in `file` would mend it."""

    what: str
    state: str
    said: str
    file: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to see. None is what cannot be; `unlimited` says why the helper does not answer, and
    `no_nftables` why it could not set rules from here."""

    cookies: int | None
    somaxconn: int | None
    syn_backlog: int | None
    files: int
    workers: int
    counters: bool
    half_open: bool
    helper: Stats | None
    unlimited: str
    no_nftables: str


def look(settings: Settings) -> Machine:
    """At the machine as it is."""
    helper, unlimited = None, ""
    try:
        helper = trio.run(Helper(settings.guard.helper).stats)
    except GuardError as error:
        unlimited = str(error)
    return Machine(
        cookies=kernel.setting(_COOKIES),
        somaxconn=kernel.setting("net.core.somaxconn"),
        syn_backlog=kernel.setting("net.ipv4.tcp_max_syn_backlog"),
        files=descriptors.allowed(),
        workers=settings.server.workers or len(os.sched_getaffinity(0)),
        counters=_works(kernel.read_counters),
        half_open=_works(lambda: kernel.half_open(())),
        helper=helper,
        unlimited=unlimited,
        no_nftables=_why_not(nftables.kernel),
    )


def _works(do: Callable[[], object]) -> bool:
    try:
        do()
    except OSError:
        return False
    return True


def _why_not(do: Callable[[], object]) -> str:
    try:
        do()
    except GuardError as error:
        return str(error)
    return ""


def findings(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """What to say of it."""
    yield _cookies(machine.cookies)
    yield _queue("accept queue", "net.core.somaxconn", machine.somaxconn)
    if machine.cookies == 0:
        yield _queue("SYN queue", "net.ipv4.tcp_max_syn_backlog", machine.syn_backlog)
    else:
        yield Finding("SYN queue", OK, "as long as the accept queue, where there are cookies")
    yield _files(settings, machine)
    yield _limits(settings, machine)
    yield _nftables(machine.no_nftables)
    for what, name, works in (
        ("kernel's counters", kernel.NETSTAT, machine.counters),
        ("half-open connections", "sock_diag of netlink", machine.half_open),
    ):
        said = "can be read" if works else f"{name} cannot be read, so fewer floods are noticed"
        yield Finding(what, OK if works else NOTE, said)


def _cookies(value: int | None) -> Finding:
    what = "SYN cookies"
    if value is None:
        return Finding(what, NOTE, f"{_COOKIES} cannot be seen from here")
    if value == 1:
        return Finding(what, OK, "on: a flood of SYNs keeps nobody out")
    line = f"{_COOKIES} = 1"
    if value == 0:
        return Finding(what, WRONG, "off: a flood of SYNs keeps newcomers out", SYSCTL_FILE, line)
    return Finding(
        what, NOTE, "sent always: on demand, connections keep all options", SYSCTL_FILE, line
    )


def _queue(what: str, name: str, value: int | None) -> Finding:
    if value is None:
        return Finding(what, NOTE, f"{name} cannot be seen from here")
    if value >= BACKLOG:
        return Finding(what, OK, f"{name} is {value:,}")
    said = f"{name} is {value:,}: listeners ask for room for {BACKLOG:,}"
    return Finding(what, NOTE, said, SYSCTL_FILE, f"{name} = {BACKLOG}")


def _files(settings: Settings, machine: Machine) -> Finding:
    missing = descriptors.missing(settings, machine.workers, machine.files)
    if missing is None:
        each = descriptors.most_connections(settings, machine.workers, machine.files)
        room = min(settings.server.max_connections, each * machine.workers)
        said = f"{machine.files:,} a process, from where this was started; connections: {room:,}"
        return Finding("open files", OK, said)
    return Finding("open files", WRONG, missing, UNIT_FILE, f"LimitNOFILE={_FILES}")


def _limits(settings: Settings, machine: Machine) -> Finding:
    what, syn = "limits of SYNs", settings.guard.syn
    if syn in ("off", "observe"):
        done = "floods are observed" if syn == "observe" else "floods are not looked for"
        return Finding(what, NOTE, f"none: guard.syn is {syn!r}, so {done}")
    if machine.helper is None:
        said = f"none, so floods are only observed; `pystream guard` sets them: {machine.unlimited}"
        return Finding(what, WRONG if syn == "nftables" else NOTE, said)
    told = machine.helper
    return Finding(
        what, OK, f"set by nftables, {told.mode}; sources that are banned: {told.bans:,}"
    )


def _nftables(why: str) -> Finding:
    if not why:
        return Finding("nftables", OK, "can be used by this user")
    return Finding("nftables", NOTE, f"cannot be used by this user: {why}")


def files(found: list[Finding]) -> dict[str, str]:
    """The texts that are proposed, by the files to put them in."""
    lines: dict[str, list[str]] = {}
    for each in found:
        if each.file:
            lines.setdefault(each.file, []).append(each.line)
    heads = {UNIT_FILE: "[Service]\n"}
    return {
        file: heads.get(file, "") + "".join(f"{line}\n" for line in told)
        for file, told in lines.items()
    }
