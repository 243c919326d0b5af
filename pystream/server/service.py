"""What the node tells systemd (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time

import trio

from pystream.server import log

# What is said to the supervisor alone, and would confuse others.
_OURS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)


def notify(*lines: str) -> None:
    """Tells systemd, where it listens."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
            peer.sendto("\n".join(lines).encode(), "\0" + place[1:] if place[0] == "@" else place)
    except OSError as error:
        log.warning("systemd-not-told", **log.fault(error))


def notify_reloading() -> None:
    """READY=1 has to follow."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={now}")


async def keep_watchdog_quiet() -> None:
    """Tells twice in the time that systemd waits that this loop is alive (WatchdogSec=)."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    if interval <= 0 or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1")
        await trio.sleep(interval)


def environment() -> dict[str, str]:
    """The environment of processes that are none of systemd's business."""
    return {name: value for name, value in os.environ.items() if name not in _OURS}
