"""A worker's entrance: from what a viewer shows to a session.

A password is looked for by its keyed hash, in a thread that reads the store; whether it opens the
stream is decided on plain values (`pystream.acl.viewers`), in one way whatever is wrong; and the
node's one writer opens the session (`desk`).

**Guessing.** Wrong tries are counted by stream and address prefix (IPv4 /24, IPv6 /48), in shared
memory, for all workers together, and nowhere else; right ones are not counted. Where a prefix has
used up its tries, nothing typed there is looked at any more for a while, except passwords that were
made here: nobody guesses one of 130 bits, so those who share a network with somebody who tries are
not locked out. A slip in such a password shows by its check characters, and is no try.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Callable
from math import ceil
from typing import Final
from urllib.parse import parse_qs

import trio

from pystream import _core
from pystream.acl import passwords
from pystream.acl.grants import SESSION_LENGTH
from pystream.acl.sealing import Peppers
from pystream.acl.store import Store
from pystream.acl.streams import Stream
from pystream.acl.viewers import Password, Refusal, grace_s, notice_version, opens
from pystream.errors import InvalidValue, StoreError
from pystream.server import log
from pystream.server.desk import Line, Open
from pystream.server.http import HttpError, Request

TRIES: Final = 120
"""Wrong tries at a time from one prefix at one stream: several for each tenth of 300 people."""
TRIES_A_MINUTE: Final = 20

_FORM = "application/x-www-form-urlencoded"
_WRONG = "this password does not open this film"
_MISTYPED = "this password has a slip in it"
_IN_USE = "this password is in use on as many devices as it may be"
_TOO_MANY = "too many wrong passwords came from this network: wait a little"
_LATER = "nobody can be let in at present"
_US = 1_000_000


class Refused(HttpError):
    """Nobody is let in. `kind` is for the page, which says it in the viewer's words: `password`,
    `mistyped`, `devices`, `tries` or `later`."""

    kind: str

    def __init__(self, status: int, kind: str, reason: str, wait: float | None = None) -> None:
        after = () if wait is None else (("Retry-After", str(max(1, ceil(wait)))),)
        super().__init__(status, reason, after)
        self.kind = kind


class Entrance:
    """One worker's. `peppers` are those of all look-ups that the store may hold; `tries` is the
    node's table. `clock` gives Unix seconds, `monotonic` microseconds, the same in all processes."""

    def __init__(
        self,
        store: Store,
        peppers: Peppers,
        line: Line,
        tries: _core.Gcra,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000,
    ) -> None:
        self.peppers = peppers
        self._store = store
        self._line = line
        self._tries = tries
        self._clock = clock
        self._monotonic = monotonic

    async def let_in(
        self,
        stream: Stream,
        request: Request,
        notice: str,
        lifetime: int,
        replaces: bytes = b"",
    ) -> bytes:
        """The session of whoever shows the right password: its 16 bytes, which the desk has opened
        for `lifetime` seconds. `notice` is what the page said. Raises `HttpError`."""
        found = await self._password(stream, request)
        settings = stream.settings
        now = int(self._clock())
        devices = found.max_devices if found.max_devices is not None else settings.max_devices
        ask = Open(
            number=0,
            id=os.urandom(SESSION_LENGTH),
            tenant_id=stream.tenant_id,
            stream_id=stream.id,
            holder=found.id,
            expires=now + lifetime,
            idle_s=settings.idle_s,
            devices=None if found.shared else devices,
            mode=settings.device_mode,
            grace_s=grace_s(settings.segment_duration_ms),
            replaces=replaces,
            notice=notice_version(notice),
        )
        answered = await self._line.open(ask)
        if answered.refusal is Refusal.DEVICES:
            raise Refused(409, "devices", _IN_USE, ask.grace_s)
        if answered.unavailable:
            raise Refused(503, "later", _LATER, 2)
        return ask.id

    async def _password(self, stream: Stream, request: Request) -> Password:
        typed = _typed(request)
        try:
            form = passwords.canonical(typed)
        except InvalidValue:
            # Nobody has one like it, and nothing is learned from that.
            raise Refused(403, "password", _WRONG) from None
        if passwords.mistyped(form):
            raise Refused(403, "mistyped", _MISTYPED)
        place = _place(stream, request.peer)
        wait = 0 if passwords.is_written(form) else self._throttled(place)
        if wait:
            raise Refused(429, "tries", _TOO_MANY, wait / _US)
        indexes = self.peppers.indexes(stream.tenant_id, form.encode())
        lookups = [index for _, index in indexes]
        try:
            found = await trio.to_thread.run_sync(
                self._store.viewers.find, stream.tenant_id, lookups
            )
        except StoreError as error:
            log.error("store-unreachable", **log.fault(error))
            raise Refused(503, "later", _LATER, 2) from None
        if not opens(found, stream.settings.access, stream.id, int(self._clock())):
            self._count(place)
            raise Refused(403, "password", _WRONG)
        assert found is not None
        return found

    def _throttled(self, place: bytes) -> int:
        """Microseconds to wait before this network may try again."""
        return self._tries.peek(place, self._monotonic(), _EMISSION_US, _BURST_US)

    def _count(self, place: bytes) -> None:
        self._tries.check(place, self._monotonic(), _EMISSION_US, _BURST_US)


_EMISSION_US = 60 * _US // TRIES_A_MINUTE
_BURST_US = TRIES * _EMISSION_US


def _place(stream: Stream, peer: str) -> bytes:
    """What tries are counted under: the stream, and the network of the address."""
    return b"try" + stream.id.to_bytes(4) + network_of(peer)


def network_of(peer: str) -> bytes:
    """The network that an address is of, IPv4 /24 or IPv6 /48: all that is kept to count tries by."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        # Whoever comes by a unix socket is one and the same.
        return peer.encode()
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return address.packed[:6]
        address = address.ipv4_mapped
    return address.packed[:3]


def _typed(request: Request) -> str:
    """The password of a form or of JSON. Raises `HttpError` where there is none."""
    kind = (request.fields.content_type or "").partition(";")[0].strip().lower()
    try:
        if kind == _FORM:
            fields = parse_qs(request.body.decode(), strict_parsing=True, max_num_fields=8)
            (text,) = fields["password"]
            return text
        asked = json.loads(request.body)
        text = asked["password"]
        if isinstance(text, str):
            return text
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise HttpError(400, 'a password is wanted: {"password": "..."}, or a form with that field')
