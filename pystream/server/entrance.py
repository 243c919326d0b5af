"""A worker's entrance: from what a viewer shows to a session.

A password is looked for by its keyed hash, in a thread that reads the store; whether it opens the
stream is decided on plain values (`pystream.acl.viewers`), in one way whatever is wrong. A link is
checked with the keys that the tenant has now (`pystream.acl.entrances.verifiers`), and a token as its
site wants it (`handoffs`). Whatever it was, the node's one writer opens the session (`desk`).

Devices are counted for a holder: the password, or the viewer whom a link or a token names. Where it
names nobody, the link itself is the holder, by a number that is made of it.

**Guessing.** Wrong tries are counted by stream and address prefix (IPv4 /24, IPv6 /48), in shared
memory, for all workers together, and nowhere else. A try is counted before it is looked at, so that a
thousand at once are no more than one after the other; a right one is given back, and few of one place
are looked at in a worker at a time, so that a crowd with right ones does not use them up. Where a prefix has
used up its tries, no password typed there is looked at any more for a while, except passwords that were
made here: nobody guesses one of 130 bits, so those who share a network with somebody who tries are
not locked out. Their form alone is not enough: 28 zeros have it. A slip in such a password shows by its
check characters, and is no try.

What is signed cannot be guessed either: a link or a token that is right opens the stream however many
were wrong, and those that are wrong are counted. A site that is asked costs something, though, and has few
calls at a time: so a token counts as a try before its site is asked, and is given back unless the site
says no, or takes all the time that it has. One network has at most half of those calls; the others of it
wait.

**Who is right, again and again.** A session costs a place in the node's table and a row in the store, so
sign-ins are counted as well. What has a number of devices is counted wherever it is shown, as whoever
comes in again takes a place of his own. What has none, such as a shared password, is counted by network:
so wide that no crowd meets it, and so that one network does not fill its tenant's half of the table
before the first of its sessions are over. Who is refused, or finds nobody who opens it, has not come in.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from typing import Final, NamedTuple, TypeVar
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import trio

from pystream import _core
from pystream.acl import passwords
from pystream.acl.entrances import Entry
from pystream.acl.entrances.conditions import NONE, Conditions
from pystream.acl.entrances.verifiers import Brought, Configured, verify
from pystream.acl.grants import SESSION_LENGTH
from pystream.acl.keys import Keyring
from pystream.acl.sealing import Peppers
from pystream.acl.store import Store
from pystream.acl.store.verifiers import Verifiers
from pystream.acl.streams import Stream
from pystream.acl.viewers import Password, Refusal, grace_s, notice_version, opens
from pystream.attendance.purpose import in_language
from pystream.errors import EntranceError, InvalidValue, PystreamError, StoreError
from pystream.server import log
from pystream.server.desk import Line, Open
from pystream.server.gate import Gate
from pystream.server.handoffs import Handoffs, Unavailable
from pystream.server.http import HttpError, Request
from pystream.server.page.texts import language

T = TypeVar("T")

TRIES: Final = 120
"""Wrong tries at a time from one prefix at one stream: several for each tenth of 300 people."""
TRIES_A_MINUTE: Final = 20
SIGN_INS: Final = 30
SIGN_INS_A_MINUTE: Final = 10
"""With one password, link or token that has a number of devices: three times as many as that at a time, and
as many in a minute, where that is more."""
CROWD: Final = 20_000
CROWD_A_MINUTE: Final = 120
"""With one that has none, from one network: within the four hours after which a session that nobody asks for
is over, unless the stream has it otherwise, three quarters of what a tenant may have open."""
# Of one network at one stream, in one worker.
_AT_ONCE: Final = 16

_FORM = "application/x-www-form-urlencoded"
_WRONG = "this password does not open this film"
_MISTYPED = "this password has a slip in it"
_IN_USE = "this password is in use on as many devices as it may be"
_TOO_MANY = "too many wrong tries came from this network: wait a little"
_LATER = "nobody can be let in at present"
_OFTEN = "what opens this film was used too often in the last minutes: wait a little"
_UNREAD = "the notice that was shown is not the one that stands now: show this one"
_REVOKED = "this viewer is not let in any more"
_LINKS = {
    "expired": ("link_over", "this link is over: ask for a new one"),
    "early": ("link_early", "this link does not open the film yet"),
    "replayed": ("link_used", "this link was good for once: ask for a new one"),
    "missing": ("link_missing", "this film opens with a link of the site that offers it"),
}
_LINK = ("link", "this link does not open this film")
# What was right once, or will be, was not made up.
_HONEST = ("expired", "early", "replayed", "missing")
_US = 1_000_000
_SILENT_SECONDS = 60.0


class Refused(HttpError):
    """Nobody is let in. `kind` is for the page, which says it in the viewer's words: `password`,
    `mistyped`, `devices`, `tries`, `revoked`, `later`, `notice`, or of links and tokens `link`, `link_over`,
    `link_early`, `link_used` and `link_missing`."""

    kind: str

    def __init__(self, status: int, kind: str, reason: str, wait: float | None = None) -> None:
        after = () if wait is None else (("Retry-After", str(max(1, ceil(wait)))),)
        super().__init__(status, reason, after)
        self.kind = kind


class Unread(Refused):
    """The tenant's notice is another one than the page has shown; the new one is told, to be shown, in the
    language of who asks, where that is said."""

    def __init__(self, notice: str, accept_language: str | None) -> None:
        super().__init__(409, "notice", _UNREAD)
        shown = in_language(notice, language(accept_language)) if accept_language else notice
        self.facts = {"notice": shown, "notice_version": notice_version(notice)}


class Admission(NamedTuple):
    """A session that was opened, 16 bytes, and when it ends. `counted`: others have to wait for its place.
    `is_test`: it is in no sum of viewers."""

    session: bytes
    expires: int
    counted: bool
    is_test: bool = False


class _Bearer(NamedTuple):
    """Who shows what opens the stream. `mark` stands for the link, where nobody is named; `token` for a
    token that is good for once, until `token_expires`. `ends`: after how many seconds the site wants the
    session to end."""

    password: Password | None = None
    viewer: str | None = None
    mark: bytes = b""
    max_devices: int | None = None
    conditions: Conditions = NONE
    token: bytes = b""
    token_expires: int = 0
    ends: int | None = None


class _Count(NamedTuple):
    """What something is counted under, and how often it may be: at a time, and again in a minute."""

    key: bytes
    most: int
    a_minute: int

    @property
    def emission_us(self) -> int:
        return 60 * _US // self.a_minute

    @property
    def burst_us(self) -> int:
        return self.most * self.emission_us


class Entrance:
    """One worker's. `peppers` are those of all look-ups that the store may hold; `tries` is the
    node's table. `clock` gives Unix seconds, `monotonic` microseconds, the same in all processes."""

    def __init__(
        self,
        store: Store,
        peppers: Peppers,
        line: Line,
        tries: _core.Gcra,
        keyring: Keyring,
        gate: Gate,
        verifiers: Verifiers,
        handoffs: Handoffs,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000,
    ) -> None:
        self.peppers = peppers
        self._store = store
        self._line = line
        self._tries = tries
        self._keyring = keyring
        self._gate = gate
        self._verifiers = verifiers
        self._handoffs = handoffs
        self._silent_until: dict[int, float] = {}
        self._turns: WeakValueDictionary[bytes, trio.Semaphore] = WeakValueDictionary()
        self._asking: WeakValueDictionary[bytes, trio.Semaphore] = WeakValueDictionary()
        self._clock = clock
        self._monotonic = monotonic

    async def let_in(
        self,
        stream: Stream,
        request: Request,
        path: str,
        notice: str,
        lifetime: int,
        replaces: bytes = b"",
    ) -> Admission:
        """A session for whoever shows what opens the stream, which the desk has opened for `lifetime`
        seconds at most. `path`: of the page or the playlist that was asked for, as a link is for it.
        `notice` is what the tenant tells viewers first; who says which version of it was shown has that kept
        with the session, and who says another one is told this one before anything else is looked at. Raises
        `HttpError`."""
        shown = said(request).get("notice")
        if shown is not None and shown != (notice_version(notice) or ""):
            raise Unread(notice, request.fields.accept_language)
        bearer = await self._bearer(stream, request, path)
        self._gate.ask(bearer.conditions, request, said(request).get("site"))
        ask = self._asked(stream, bearer, shown or None, lifetime, replaces)
        sign_in = _sign_in(ask, bearer, request.peer)
        wait = self._count(sign_in)
        if wait:
            raise Refused(429, "later", _OFTEN, wait / _US)
        answered = await self._line.open(ask)
        if answered.unavailable or answered.refusal is not None:
            self._give_back(sign_in)
        match answered.refusal:
            case Refusal.DEVICES:
                raise Refused(409, "devices", _IN_USE, answered.wait_s)
            case Refusal.PASSWORD:
                raise Refused(403, "password", _WRONG)
            case Refusal.REVOKED:
                raise Refused(403, "revoked", _REVOKED)
            case Refusal.SPENT:
                raise _refused_link(EntranceError("replayed"))
        if answered.unavailable:
            raise Refused(503, "later", _LATER, 2)
        is_test = bearer.password is not None and bearer.password.is_test
        return Admission(ask.id, ask.expires, ask.devices is not None, is_test)

    def leave(self, session: bytes) -> None:
        """Nobody watches with this session any more: its place is for whoever comes next, unless it asks for
        something again."""
        self._line.leave(session)

    def _asked(
        self,
        stream: Stream,
        bearer: _Bearer,
        notice: str | None,
        lifetime: int,
        replaces: bytes,
    ) -> Open:
        settings, password = stream.settings, bearer.password
        devices = bearer.max_devices if bearer.max_devices is not None else settings.max_devices
        by_link = password is None and bearer.viewer is None and devices is not None
        holder = None if password is None else password.id
        return Open(
            number=0,
            id=os.urandom(SESSION_LENGTH),
            tenant_id=stream.tenant_id,
            stream_id=stream.id,
            holder=_number(bearer.mark) if by_link else holder,
            expires=int(self._clock()) + min(lifetime, bearer.ends or lifetime),
            idle_s=settings.idle_s,
            devices=None if password is not None and password.shared else devices,
            mode=settings.device_mode,
            grace_s=grace_s(settings.segment_duration_ms),
            replaces=replaces,
            notice=notice,
            by_link=by_link,
            viewer=bearer.viewer,
            token=bearer.token,
            token_expires=bearer.token_expires,
        )

    async def _bearer(self, stream: Stream, request: Request, path: str) -> _Bearer:
        if stream.settings.access in ("shared", "personal"):
            password = await self._password(stream, request)
            return _Bearer(password, max_devices=password.max_devices)
        try:
            if stream.settings.access == "signed":
                find = partial(self._link, stream, request, path)
                place = _place(stream, request.peer)
                return self._of_link(stream, await self._counted(place, find))
            return await self._of_token(stream, request)
        except EntranceError as error:
            raise _refused_link(error) from None

    async def _configured(self, stream: Stream) -> tuple[Configured, ...]:
        access = stream.settings.access
        find = partial(self._verifiers.active, stream.tenant_id, stream.id, access)
        try:
            found = await trio.to_thread.run_sync(find)
        except PystreamError as error:
            log.error("verifiers-unreachable", **log.fault(error))
            raise Refused(503, "later", _LATER, 2) from None
        now = trio.current_time()
        # Anybody can ask, again and again.
        if not found and now >= self._silent_until.get(stream.id, now):
            self._silent_until[stream.id] = now + _SILENT_SECONDS
            log.warning("stream-without-verifier", stream=f"{stream.tenant}/{stream.name}")
        return found

    async def _link(self, stream: Stream, request: Request, path: str) -> Entry:
        brought = Brought(
            path=path,
            query=said(request).get("link", request.query).removeprefix("?"),
            cookies=request.fields.cookie or "",
            header=request.fields.hdnts,
            address=request.peer,
        )
        configured = await self._configured(stream)
        now = int(self._clock())
        return verify(configured, brought, tenant=stream.tenant, stream=stream.name, now=now)

    def _of_link(self, stream: Stream, entry: Entry) -> _Bearer:
        return _Bearer(
            viewer=entry.viewer,
            mark=self._mark(stream, "holder", entry.mark),
            max_devices=entry.max_devices,
            conditions=entry.conditions,
        )

    async def _of_token(self, stream: Stream, request: Request) -> _Bearer:
        token = said(request).get("token", "")
        if not token:
            raise EntranceError("missing")
        configured = await self._configured(stream)
        ask = partial(self._handoffs.ask, stream, configured, token, request.peer)
        costs = any(each.kind == "question" for each in configured)
        count = self._in_turn if costs else self._counted
        found = await count(_place(stream, request.peer), ask)
        return _Bearer(
            viewer=found.viewer,
            mark=self._mark(stream, "holder", token),
            max_devices=found.max_devices,
            token=self._mark(stream, "jti", found.once) if found.once else b"",
            token_expires=found.once_until,
            ends=found.ends,
        )

    def _mark(self, stream: Stream, use: str, token: str) -> bytes:
        return self._keyring.token_mark(stream.tenant_id, use, token)

    async def _password(self, stream: Stream, request: Request) -> Password:
        typed = said(request).get("password")
        if typed is None:
            raise HttpError(
                400, 'a password is wanted: {"password": "..."}, or a form with that field'
            )
        try:
            form = passwords.canonical(typed)
        except InvalidValue:
            # Nobody has one like it, and nothing is learned from that.
            raise Refused(403, "password", _WRONG) from None
        if passwords.mistyped(form):
            raise Refused(403, "mistyped", _MISTYPED)
        place = _place(stream, request.peer)
        if passwords.is_beyond_guessing(form):
            found = await self._found(stream, form)
            if found is None:
                self._count(_tries(place))
        else:
            turns = self._turns.setdefault(place, trio.Semaphore(_AT_ONCE))
            async with turns:
                found = await self._tried(stream, form, place)
        if found is None:
            raise Refused(403, "password", _WRONG)
        return found

    async def _tried(self, stream: Stream, form: str, place: bytes) -> Password | None:
        """What was found, as a try that is given back if it was none."""
        self._try(place)
        try:
            found = await self._found(stream, form)
        except Refused:
            self._give_back(_tries(place))
            raise
        if found is not None:
            self._give_back(_tries(place))
        return found

    async def _found(self, stream: Stream, form: str) -> Password | None:
        """The password of that form, if it opens the stream now."""
        indexes = self.peppers.indexes(stream.tenant_id, form.encode())
        lookups = [index for _, index in indexes]
        try:
            found = await trio.to_thread.run_sync(
                self._store.viewers.find, stream.tenant_id, lookups
            )
        except StoreError as error:
            log.lasting("store-unreachable", error)
            raise Refused(503, "later", _LATER, 2) from None
        is_right = opens(found, stream.settings.access, stream.id, int(self._clock()))
        return found if is_right else None

    async def _counted(self, place: bytes, check: Callable[[], Awaitable[T]]) -> T:
        """What comes of a check that costs nobody anything."""
        try:
            return await check()
        except EntranceError as error:
            if error.reason not in _HONEST:
                self._try(place)
            raise

    async def _in_turn(self, place: bytes, ask: Callable[[], Awaitable[T]]) -> T:
        """What comes of asking a site."""
        turns = self._asking.setdefault(place, trio.Semaphore(self._handoffs.share))
        async with turns:
            self._try(place)
            try:
                found = await ask()
            except Unavailable as error:
                if not error.slow:
                    self._give_back(_tries(place))
                raise
            self._give_back(_tries(place))
            return found

    def _try(self, place: bytes) -> None:
        """Counts a try. Raises `Refused` where there is none left."""
        wait = self._count(_tries(place))
        if wait:
            raise Refused(429, "tries", _TOO_MANY, wait / _US)

    def _count(self, counted: _Count) -> int:
        """0, or the microseconds to wait before it may be once more."""
        return self._tries.check(
            counted.key, self._monotonic(), counted.emission_us, counted.burst_us
        )

    def _give_back(self, counted: _Count) -> None:
        self._tries.give_back(counted.key, self._monotonic(), counted.emission_us)


def _sign_in(ask: Open, bearer: _Bearer, peer: str) -> _Count:
    """What a sign-in is counted under."""
    if bearer.password is not None:
        who = b"password" + bearer.password.id.to_bytes(8)
    elif bearer.viewer is not None:
        who = b"viewer" + ask.tenant_id.to_bytes(8) + bearer.viewer.encode()
    else:
        who = b"mark" + bearer.mark
    if ask.devices is None:
        return _Count(who + b"\0" + network_of(peer), CROWD, CROWD_A_MINUTE)
    most, a_minute = max(SIGN_INS, 3 * ask.devices), max(SIGN_INS_A_MINUTE, ask.devices)
    return _Count(who, most, a_minute)


def _tries(place: bytes) -> _Count:
    return _Count(place, TRIES, TRIES_A_MINUTE)


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


def _number(mark: bytes) -> int:
    """What a mark is in the table of sessions: never 0, and in 63 bits, as the store has numbers."""
    return (int.from_bytes(mark[:8]) >> 1) or 1


def _refused_link(error: EntranceError) -> Refused:
    return Refused(403, *_LINKS.get(error.reason, _LINK))


def said(request: Request) -> dict[str, str]:
    """What whoever wants to come in says in a request's body, a form or a JSON object: its members that
    are text. What is neither says nothing."""
    kind = (request.fields.content_type or "").partition(";")[0].strip().lower()
    try:
        if kind == _FORM:
            fields = parse_qs(request.body.decode(), strict_parsing=True, max_num_fields=8)
            return {name: values[0] for name, values in fields.items() if len(values) == 1}
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}
