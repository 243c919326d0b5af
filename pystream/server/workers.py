"""The node: a supervisor that keeps listeners, shared memory and processes alive.

The supervisor opens the sockets once and keeps them for as long as the node lives; workers inherit
them. So a worker that dies loses none of the connections that wait in its queue: its successor has
the same socket. Each listening address has one socket a worker (SO_REUSEPORT), between which the
kernel shares connections out.

Signals: TERM and INT end gracefully, the second one at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import trio

from pystream import _core
from pystream.server.settings import Listen, Settings

NODE = "PYSTREAM_NODE"
"""The environment variable by which the supervisor tells a process what it is."""
_BACKLOG = 4096
_METER_ROWS = 65_536
_RESTART_SECONDS = 0.2
_RESTART_MOST_SECONDS = 10.0
_GRACE_SECONDS = 40.0


def listen(place: Listen, count: int) -> list[socket.socket]:
    """`count` sockets that listen on one place; a unix socket is one that all share.

    Raises `OSError`.
    """
    if place.path:
        if os.path.exists(place.path):
            os.unlink(place.path)
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(place.path)
        one.listen(_BACKLOG)
        return [one]
    host = None if place.host == "*" else place.host
    found = socket.getaddrinfo(host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made = []
    for family, kind, protocol, _, address in found:
        for _ in range(count):
            one = socket.socket(family, kind, protocol)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # Each family has sockets of its own, so no address comes in the clothes of the other.
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(_BACKLOG)
            made.append(one)
    return made


@dataclass
class _Child:
    role: str
    index: int
    started: float
    process: subprocess.Popen[bytes]
    ready: trio.Event = field(default_factory=trio.Event)


def supervise(settings: Settings, config: str | None, seconds: float | None = None) -> int:
    """Run a node until a signal ends it, or its time is over; returns the exit code.

    `config` is the settings' file, which the processes read too.
    """
    return trio.run(Supervisor(settings, config).run, seconds)


class Supervisor:
    """Starts, watches and ends the processes of a node."""

    def __init__(self, settings: Settings, config: str | None) -> None:
        self.settings = settings
        self._config = config
        self._children: dict[int, _Child] = {}
        self._stopping = False
        self._count = settings.server.workers or len(os.sched_getaffinity(0))
        self._sockets: list[list[int]] = []
        self._meter = -1

    async def run(self, seconds: float | None = None) -> int:
        """Until a signal ends it, or its time is over; returns the exit code."""
        self._open()
        names = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        with trio.open_signal_receiver(*names) as signals:
            async with trio.open_nursery() as nursery:
                for index in range(self._count):
                    self._start("worker", index, nursery)
                self._start("writer", 0, nursery)
                nursery.start_soon(self._tell_ready)
                if seconds is not None:
                    nursery.start_soon(self._end_after, seconds, nursery)
                async for number in signals:
                    if number == signal.SIGCHLD:
                        if self._reap(nursery):
                            break
                    elif self._stopping:
                        self._signal(signal.SIGKILL)
                    else:
                        self._stop(nursery)
                nursery.cancel_scope.cancel()
        return 0

    # Sockets and shared memory

    def _open(self) -> None:
        places = [*((place, "http") for place in self.settings.server.listen)]
        per_worker: list[list[int]] = [[] for _ in range(self._count)]
        for place, _ in places:
            made = listen(place, self._count)
            for n in range(max(len(made), self._count)):
                per_worker[n % self._count].append(
                    made[n % len(made)].detach() if len(made) > n else made[0].fileno()
                )
        self._sockets = per_worker
        self._meter = _core.Meter.create(_METER_ROWS)

    # Processes

    def _start(self, role: str, index: int, nursery: trio.Nursery) -> None:
        if self._stopping:
            return
        sockets = self._sockets[index] if role == "worker" else []
        ready, told = os.pipe()
        node = {
            "role": role,
            "index": index,
            "sockets": sockets,
            "meter": self._meter,
            "config": self._config,
            "ready": told,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", f"pystream.server.{role}"],
            stdin=subprocess.DEVNULL,
            pass_fds=(*sockets, self._meter, told),
            env={**os.environ, NODE: json.dumps(node)},
        )
        os.close(told)
        child = _Child(role, index, time.monotonic(), process)
        self._children[process.pid] = child
        nursery.start_soon(self._hear, child, ready)

    async def _hear(self, child: _Child, ready: int) -> None:
        """A process that serves says so by a byte; one that died says nothing."""
        async with trio.lowlevel.FdStream(ready) as stream:
            if await stream.receive_some(1):
                child.ready.set()

    async def _tell_ready(self) -> None:
        for child in list(self._children.values()):
            await child.ready.wait()
        notify("READY=1", f"MAINPID={os.getpid()}")

    def _reap(self, nursery: trio.Nursery) -> bool:
        """Buries who died, and has successors started; whether nobody is left, as was asked for."""
        for pid, child in list(self._children.items()):
            if child.process.poll() is None:
                continue
            del self._children[pid]
            if not self._stopping:
                lived = time.monotonic() - child.started
                # One that dies at once would do so again, and again.
                wait = _RESTART_SECONDS if lived > 1 else min(_RESTART_MOST_SECONDS, 1.0)
                print(
                    f"pystream: {child.role} {child.index} ended with {child.process.returncode};"
                    " another one takes its place",
                    file=sys.stderr,
                    flush=True,
                )
                nursery.start_soon(self._start_later, child.role, child.index, wait, nursery)
        return self._stopping and not self._children

    async def _start_later(self, role: str, index: int, wait: float, nursery: trio.Nursery) -> None:
        await trio.sleep(wait)
        self._start(role, index, nursery)

    def _signal(self, number: int) -> None:
        for pid in self._children:
            os.kill(pid, number)

    async def _end_after(self, seconds: float, nursery: trio.Nursery) -> None:
        await trio.sleep(seconds)
        self._stop(nursery)

    def _stop(self, nursery: trio.Nursery) -> None:
        notify("STOPPING=1")
        self._stopping = True
        self._signal(signal.SIGTERM)

        async def lose_patience() -> None:
            await trio.sleep(_GRACE_SECONDS)
            self._signal(signal.SIGKILL)

        nursery.start_soon(lose_patience)


def notify(*lines: str) -> None:
    """Tells systemd, where it listens (sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.sendto("\n".join(lines).encode(), "\0" + place[1:] if place[0] == "@" else place)
        except OSError as error:
            print(f"pystream: systemd cannot be told: {error}", file=sys.stderr, flush=True)
