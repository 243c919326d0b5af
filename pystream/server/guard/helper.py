"""The helper: the one process that may change the kernel's rules (CAP_NET_ADMIN), and does nothing else.

It listens at a unix socket, hears one line a connection and answers with one:

    protect PORT... but PREFIX...    whose ports they are, and whom nothing limits
    mode normal|tight                how many SYNs a source may send
    ban PREFIX SECONDS               an address, a /24, a /64 or a /48; again: until then
    unban PREFIX|all
    stats                            what it counts, and what it was told, as JSON

and each is answered with `ok`, or with `error` and a sentence. It asks the kernel as which user the peer
runs, and hears none but root, itself, and the one whom it was started for.

What the kernel holds outlives the helper: bans until their end, limits until somebody removes them. One that
starts takes over what it finds, puts it in place anew, and looks each second whether it is still there, since
`nft flush ruleset`, as a reload of nftables.service has it, removes everybody's tables. One that is told to
end removes the table. Limits are tight for as long as the server says so again and again.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from typing import Any, Final

import trio

from pystream.errors import GuardError
from pystream.server import log, service
from pystream.server.guard import nftables
from pystream.server.guard.nftables import MODES, MOST_BANS, Kernel, Prefix, Protected
from pystream.server.listeners import listen_unix
from pystream.server.settings import Guard

MOST_BYTES: Final = 65_536
"""A line has."""
LONGEST_BAN_S: Final = 86_400
_MOST_PORTS, _MOST_EXEMPT = 256, 1024
_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
TIGHT_SECONDS: Final = 60.0
"""Until the limits are the normal ones again, if nobody says anything."""
_NUMBER = re.compile(r"[0-9]{1,9}")


class Refused(Exception):
    """What was asked for is not in the grammar, or more than there may be."""


class Rules:
    """What the kernel is to do, which is put there anew where it has got lost. `clock` gives seconds."""

    def __init__(self, kernel: Kernel, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._clock = clock
        self._protected = Protected()
        self._mode = "normal"
        self._tight_until = 0.0
        # Until when.
        self._bans: dict[Prefix, float] = {}

    def begin(self) -> None:
        """Takes over what an earlier one has left. Raises `GuardError`."""
        self._protected, self._mode, left = nftables.found(self._kernel)
        now = self._clock()
        self._tight_until = now + TIGHT_SECONDS
        self._bans = {prefix: now + seconds for prefix, seconds in left.items()}
        self._install()

    def end(self) -> None:
        """Removes all of it. Raises `GuardError`."""
        self._kernel.run(nftables.removed())

    def look(self) -> None:
        """To be called each second. Raises `GuardError`."""
        if self._mode == "tight" and self._clock() >= self._tight_until:
            self._switch("normal")
        if self._is_whole():
            return
        self._install()
        log.warning("guard-rules-mended", why="somebody has removed them")

    @staticmethod
    def _is_whole() -> bool:
        try:
            return nftables.rules() == nftables.RULES
        except OSError:
            return False

    def _install(self) -> None:
        now = self._clock()
        self._bans = {prefix: end for prefix, end in self._bans.items() if end > now}
        bans = {prefix: end - now for prefix, end in self._bans.items()}
        self._kernel.run(nftables.installed(self._protected, self._mode, bans))

    # What it is asked for

    def answer(self, line: str) -> str:
        """Does what a line says. Raises `Refused`, and `GuardError` where the kernel does not."""
        word, *words = line.split(" ")
        match word, words:
            case "protect", [*_]:
                self._protect(_protected(words))
            case "mode", [mode] if mode in MODES:
                self._tight_until = self._clock() + TIGHT_SECONDS
                self._switch(mode)
            case "ban", [prefix, seconds]:
                self._ban(_banned(prefix), _number(seconds, LONGEST_BAN_S))
            case "unban", ["all"]:
                self._unban_all()
            case "unban", [prefix]:
                self._unban(_banned(prefix))
            case "stats", []:
                return f"ok {json.dumps(self._stats())}"
            case _:
                raise Refused("this is no request")
        return "ok"

    def _protect(self, protected: Protected) -> None:
        before, self._protected = self._protected, protected
        try:
            self._install()
        except GuardError:
            self._protected = before
            raise

    def _switch(self, mode: str) -> None:
        if mode != self._mode:
            self._kernel.run(nftables.switched(mode))
            self._mode = mode

    def _ban(self, prefix: Prefix, seconds: int) -> None:
        now = self._clock()
        if len(self._bans) >= MOST_BANS and prefix not in self._bans:
            self._make_room(now)
        self._bans[prefix] = now + seconds
        try:
            self._kernel.run(nftables.banned(prefix, seconds))
        except GuardError:
            # Its table is gone, or full of what has ended.
            self._install()

    def _make_room(self, now: float) -> None:
        """For one more: what has ended goes, or else who would be free soonest."""
        ended = [prefix for prefix, end in self._bans.items() if end <= now]
        for prefix in ended:
            del self._bans[prefix]
        if not ended:
            self._unban(min(self._bans, key=self._bans.__getitem__))

    def _unban(self, prefix: Prefix) -> None:
        if self._bans.pop(prefix, 0.0) > self._clock():
            # The kernel's clock may have ended it a moment earlier.
            with suppress(GuardError):
                self._kernel.run(nftables.unbanned(prefix))

    def _unban_all(self) -> None:
        self._bans = {}
        try:
            self._kernel.run(nftables.freed())
        except GuardError:
            # Its table is gone.
            self._install()

    def _stats(self) -> dict[str, Any]:
        now = self._clock()
        try:
            counted = nftables.counters()
        except OSError:
            counted = {}
        return {
            "mode": self._mode,
            "protects": str(self._protected),
            "bans": sum(end > now for end in self._bans.values()),
            **counted,
        }


def _protected(words: list[str]) -> Protected:
    if "but" not in words:
        raise Refused("ports are wanted, `but`, and prefixes")
    at = words.index("but")
    ports, exempt = words[:at], words[at + 1 :]
    if len(ports) > _MOST_PORTS or len(exempt) > _MOST_EXEMPT:
        raise Refused(f"there may be {_MOST_PORTS} ports and {_MOST_EXEMPT} prefixes")
    numbers = [_number(port, 65_535) for port in ports]
    return Protected.of(numbers, [_prefix(each) for each in exempt])


def _banned(text: str) -> Prefix:
    prefix = _prefix(text)
    if not nftables.may_be_banned(prefix):
        raise Refused("an IPv4 address or /24, or an IPv6 /64 or /48 is wanted")
    return prefix


def _prefix(text: str) -> Prefix:
    # ipaddress takes anything for the zone of an IPv6 address (RFC 4007 11), and would hand it on.
    if "%" in text:
        raise Refused("this is no prefix")
    try:
        return ip_network(text)
    except ValueError:
        raise Refused("this is no prefix") from None


def _number(text: str, most: int) -> int:
    if not _NUMBER.fullmatch(text) or not 0 < int(text) <= most:
        raise Refused(f"a number from 1 to {most} is wanted")
    return int(text)


# The process


async def serve(
    rules: Rules,
    listener: socket.socket,
    user: str | None,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hears and answers until cancelled. `user`: by name or number, whom it hears besides root and
    itself."""

    async def hear(stream: trio.SocketStream) -> None:
        with trio.move_on_after(_PATIENCE_SECONDS), suppress(trio.BrokenResourceError):
            await stream.send_all(f"{await _answer(rules, stream, user)}\n".encode())

    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    await trio.serve_listeners(hear, listeners, task_status=task_status)


async def _answer(rules: Rules, stream: trio.SocketStream, user: str | None) -> str:
    # struct ucred, unix(7)
    ids = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    if not _may_ask(struct.unpack("=iII", ids)[1], user):
        refused = GuardError("a program asked that runs as another user than --user says")
        log.lasting("guard-peer-refused", refused)
        return "error this user may not ask"
    line = b""
    while not line.endswith(b"\n"):
        piece = await stream.receive_some(MOST_BYTES)
        line += piece
        if not piece or len(line) > MOST_BYTES:
            return "error a line is wanted"
    try:
        return rules.answer(line[:-1].decode("ascii", "replace"))
    except Refused as error:
        return f"error {error}"
    except GuardError as error:
        log.lasting("guard-rules-refused", error, say=log.error)
        return f"error {error}"


def _may_ask(uid: int, user: str | None) -> bool:
    """A user that systemd makes for a service is there while that runs: who it is, is asked each time."""
    if uid in (0, os.geteuid()):
        return True
    if user is None:
        return False
    try:
        return uid == (int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid)
    except KeyError:
        return False


def main(path: str | None, user: str | None) -> None:
    """The whole of the helper, until a signal ends it. Raises `GuardError` and `OSError`."""
    log.setup(role="guard")
    trio.run(_run, path or Guard().helper, user)


async def _run(path: str, user: str | None) -> None:
    rules = Rules(nftables.kernel())
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        rules.begin()
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        # Who may ask is the kernel's word, and not the file's.
        with listen_unix(path, 0o666) as listener:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, rules, listener, user)
                nursery.start_soon(_look_after, rules)
                log.info("guard-ready", at=path)
                service.notify("READY=1")
                async for _ in signals:
                    service.notify("STOPPING=1")
                    nursery.cancel_scope.cancel()
                    break
        with suppress(OSError):
            os.unlink(path)
        rules.end()
    log.info("guard-ended", why="its rules are removed, and bans have ended")


async def _look_after(rules: Rules) -> None:
    while True:
        try:
            rules.look()
        except GuardError as error:
            log.lasting("guard-rules-refused", error, say=log.error)
        await trio.sleep(_LOOK_SECONDS)
