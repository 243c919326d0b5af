"""What processes cost, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
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
