"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import os
import random
import socket
from itertools import count
from pathlib import Path

# Whoever asks for any port gets one of the kernel's range (ip(7), ip_local_port_range), so a port of
# it that was free a moment ago may be somebody's by now. Those below it are nobody's, and of them
# each of the processes that test side by side has a share.
_FIRST = 20_000
_END = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_SHARE = range(_FIRST + _PROCESS, _END, _PROCESSES)
# Somebody else may run these tests, too.
_TURNS = count(random.randrange(len(_SHARE)))


def free_port(family: int = socket.AF_INET) -> int:
    """One that nobody listens on, and that is not given twice."""
    while True:
        port = _SHARE[next(_TURNS) % len(_SHARE)]
        try:
            socket.create_server(("", port), family=family).close()
        except OSError:
            continue
        return port
