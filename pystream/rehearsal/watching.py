"""What processes cost, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OURS = b"pystream.server\0"


def family(first: int) -> list[int]:
    """A process and its children, the first one first."""
    try:
        text = Path(f"/proc/{first}/task/{first}/children").read_text()
    except OSError:
        return [first]
    return [first, *map(int, text.split())]


def workers(family: list[int]) -> list[int]:
    """Those of a server's processes that serve: all but its first, and pystream's helpers."""
    commands = [(pid, _command(pid)) for pid in family[1:]]
    return [pid for pid, said in commands if _OURS not in said or _OURS + b"worker" in said]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def cpu(pid: int) -> float:
    """Processor seconds that it has used, in steps of 10 ms."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy() -> float:
    """Seconds in which processors of this machine had something to do since it began, all together; those too
    that it was not given where it is a virtual one."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def rss(pid: int) -> int:
    """Bytes of memory that it holds, those included that it shares with others."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def pss(pid: int) -> int:
    """Bytes of memory that it holds; of what it shares with others, its part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def tcp_memory() -> int:
    """Bytes that the kernel holds for all TCP sockets of the machine, of both sides."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * _PAGE
    return 0


def available_memory() -> int:
    """Bytes that new programs can have without swapping; 0 where that is not known."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def quota(proc: Path = Path("/proc/self")) -> float | None:
    """Processors' worth of time that this process and those it starts may take together, as a container's or
    CPUQuota= of systemd has it (cgroups(7)); None where there is no bound. `proc` is its place in proc(5)."""
    found = [most for mount, group in groups(proc) for most in _quotas(mount, group)]
    return min(found, default=None)


def groups(proc: Path = Path("/proc/self")) -> Iterator[tuple[Path, Path]]:
    """Where control groups of processor time are mounted, and which one a process is in there."""
    named = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
    for line in (proc / "mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        controller = "cpu" if kind == "cgroup" else ""
        if kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(",")):
            place = Path(mount.split()[4])
            for _, controllers, name in named:
                if controller in controllers.split(","):
                    yield place, place / name.strip("/")


def _quotas(mount: Path, group: Path) -> Iterator[float]:
    """Of a group and of all that it is in. A container may see its own as the uppermost."""
    for place in (group, *group.parents):
        if not place.is_relative_to(mount):
            return
        with suppress(OSError, ValueError):
            if (place / "cpu.max").exists():
                most, period = map(float, (place / "cpu.max").read_text().split())
            else:
                most = float((place / "cpu.cfs_quota_us").read_text())
                period = float((place / "cpu.cfs_period_us").read_text())
            if most > 0:
                yield most / period


def link_bps() -> int | None:
    """Bits a second of the fastest network card that is up; None where none says so, as virtual ones may
    not."""
    found: list[int] = []
    for card in Path("/sys/class/net").glob("*"):
        # What is no device is a bridge, a tunnel or the like.
        if not (card / "device").exists():
            continue
        try:
            if (card / "operstate").read_text().strip() == "up":
                found.append(int((card / "speed").read_text()) * 1_000_000)
        except (OSError, ValueError):
            continue
    return max((speed for speed in found if speed > 0), default=None)
