"""Calls of the node to customers' sites: `Client`, and for what it calls, `Keysets` and `Questions`.

Theory. A tenant enters a URL, and the node, which stands inside somebody's network, calls it: so the
URL must not lead inside (server-side request forgery). What a name means is not known before it is
resolved, and may be another thing the next time (DNS rebinding). So each call resolves once, judges
every address that came of it, and connects to just those; TLS still asks for the name. Connections
are not kept: none outlives the check that allowed it.

httpcore2 speaks HTTP here, the layer on which httpx2 stands. It knows no redirects, cookies, proxies,
environment, credentials or content codings, all of which would have to be switched off above it, and
lets one say how it connects.

Nothing that a site sends is more than a claim: sizes, times and counts are bounded, and whatever
goes wrong is an `OutgoingError`. No message, log line or repr holds an address, a path, a query, a
token or a viewer's id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import httpcore2
import idna
import msgspec
import trio

from pystream.errors import OutgoingError
from pystream.server.settings import Outgoing

T = TypeVar("T")
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
Headers: TypeAlias = tuple[tuple[str, str], ...]

# At DEBUG it would tell addresses and headers, whatever level the root logger has.
logging.getLogger("httpcore2").setLevel(logging.WARNING)


# Which addresses are public

# https://www.iana.org/assignments/iana-ipv4-special-registry (RFC 6890), and multicast (RFC 5771).
# `ipaddress.is_global` changed with Python's releases, and calls multicast global.
_SPECIAL_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            # Looks public, and is the host's own service on every virtual machine of Azure's.
            "168.63.129.16/32",
        ),
    )
)
# RFC 4291 2.4: global unicast. All else (mapped, compatible, local, multicast) is not public.
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
# https://www.iana.org/assignments/iana-ipv6-special-registry: protocols, among them Teredo, which
# carries IPv4 addresses; documentation, twice; 6to4, which carries them too, and is given up (RFC 7526).
_SPECIAL_6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
# RFC 6052 2.1: how a host without IPv4 reaches an IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address may be anybody's on the Internet; `ValueError` where it is none. One
    that carries an IPv4 address (mapped, NAT64) is as public as that one; other forms never are."""
    return _is_public(_meant(address))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    return address in _GLOBAL_6 and not any(address in network for network in _SPECIAL_6)


def _meant(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that packets to this one reach."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


# URLs

_LONGEST_URL = 2048
# RFC 3986 3, and less: no userinfo, no fragment, no zone, no escapes in the host, no backslash.
_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[^\x00-\x20\x7f/?#@:\\%\[\]]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)
_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be called. `host` is a name in ASCII (RFC 5890 A-labels), or an IP address."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """What a URL says: `http` or `https`, a host, and nothing that would be left out of a request.

    Raises `OutgoingError` (`url`).
    """
    found = _URL.fullmatch(url) if len(url) <= _LONGEST_URL else None
    if found is None:
        raise OutgoingError(
            "url",
            f"a URL like https://login.example.org/path is wanted, of at most {_LONGEST_URL}"
            " characters, with neither user nor fragment",
        )
    scheme = found["scheme"].lower()
    port = int(found["port"] or {"http": 80, "https": 443}[scheme])
    if not 0 < port < 65536:
        raise OutgoingError("url", "the URL's port has to be from 1 to 65535")
    try:
        host = _literal(found["literal"]) if found["literal"] else _name(found["name"])
    except ValueError:
        raise OutgoingError("url", "the URL's host is neither a name nor an IP address") from None
    path = found["path"]
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")


def _literal(text: str) -> str:
    return str(ipaddress.IPv6Address(text))


def _name(text: str) -> str:
    """Raises `ValueError`, as `idna.IDNAError` is one."""
    # UTS 46 4, as browsers do, where there is something to encode.
    ascii = text if text.isascii() else idna.encode(text, uts46=True, std3_rules=True).decode()
    # A dot at the end is none in a certificate, nor in SNI (RFC 6066 3).
    name = ascii.lower().removesuffix(".")
    # 127.1, 0x7f000001 and 2130706433 are addresses to a resolver (inet_aton(3)), so they are no
    # names; four decimal numbers are the one spelling (WHATWG URL, "ends in a number").
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(name))
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError("no name")
    return name


def check_url(url: str, settings: Outgoing) -> None:
    """Raises `OutgoingError` for a URL that could never be called as the node is set. What a name leads to is
    judged at each call."""
    target = parse_url(url)
    if _is_address(target.host):
        _judge(settings, target, _meant(target.host))
    elif target.scheme == "http" and not settings.allow:
        raise _wants_https(target)
    _check_port(settings, target)


def _check_port(settings: Outgoing, target: Target) -> None:
    if target.port not in settings.ports:
        raise OutgoingError(
            "url",
            f"{target.host}: outgoing.ports has to have port {target.port}, or the URL another",
        )


def _judge(
    settings: Outgoing, target: Target, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    allowed = any(str(address) in network for network in settings.allow)
    public = _is_public(address)
    if not public and not allowed:
        raise OutgoingError(
            "forbidden",
            f"{target.host}: this is no public address; only the operator can allow it"
            " (outgoing.allow)",
        )
    if target.scheme == "http" and (public or not allowed):
        raise _wants_https(target)


def _wants_https(target: Target) -> OutgoingError:
    return OutgoingError(
        "forbidden", f"{target.host}: the URL has to begin with https:// for this address"
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# The client


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was wanted: header fields as they came, and the whole body."""

    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """A field's values, joined (RFC 9110 5.3)."""
        return ", ".join(value for each, value in self.headers if each.lower() == name)


class Client:
    """Calls URLs that tenants have entered.

    `settings` may be replaced while it runs. `calls` and `tenant_calls` go on at a time, in all and
    for one tenant; others wait. `tls` is the context that checks
    certificates, by default with the machine's authorities. `resolve` gives the addresses of a name
    and a port, as text; it may raise `OSError`.
    """

    def __init__(
        self,
        settings: Outgoing,
        *,
        calls: int = 256,
        tenant_calls: int = 32,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self.settings = settings
        self._tls = tls or ssl.create_default_context()
        self._all = trio.CapacityLimiter(calls)
        self._tenant_calls = tenant_calls
        self._tenants: dict[str, trio.CapacityLimiter] = {}
        # Threads that a slow name server holds are none of those that others work in.
        self._lookups = trio.CapacityLimiter(16)
        self._resolve = resolve or self._look_up

    async def call(
        self,
        tenant: str,
        url: str,
        *,
        seconds: float,
        most: int,
        body: bytes | None = None,
        headers: Headers = (),
        gate: Callable[[], None] = lambda: None,
        any_success: bool = False,
    ) -> Reply:
        """GET, or POST where there is a body. It waits at most so many seconds for its turn, and
        takes at most as many as a whole then; the answer has at most so many bytes. `gate` is
        called once the call has its turn, and may raise.

        Raises `OutgoingError`, also where the answer's status is not 200. `any_success`: whoever is
        told something may also answer with another status that is 2xx, such as 204, no content.
        """
        target = parse_url(url)
        _check_port(self.settings, target)
        waiting = True
        with trio.move_on_after(seconds) as scope:
            async with self._turn(tenant):
                waiting = False
                # A site is never blamed for the time that others took.
                scope.deadline = trio.current_time() + seconds
                gate()
                addresses = await self._checked(target)
                sent = (("Host", target.authority), *_ALWAYS, *headers)
                return await self._exchange(
                    target, addresses, seconds / 2, most, body, sent, any_success
                )
        if waiting:
            raise OutgoingError(
                "busy", f"{target.host}: too many calls are on their way: try again in a moment"
            )
        raise OutgoingError(
            "slow", f"{target.host}: the whole answer has to be there within {seconds:g} s"
        )

    @asynccontextmanager
    async def _turn(self, tenant: str) -> AsyncIterator[None]:
        own = self._tenants.setdefault(tenant, trio.CapacityLimiter(self._tenant_calls))
        try:
            async with own, self._all:
                yield
        finally:
            state = own.statistics()
            if not state.borrowed_tokens and not state.tasks_waiting:
                self._tenants.pop(tenant, None)

    async def _checked(self, target: Target) -> list[str]:
        """The addresses to connect to, all of which may be reached."""
        host, port = target.host, target.port
        try:
            if _is_address(host):
                found: Sequence[str] = [host]
            else:
                found = await self._resolve(host, port)
        except OSError:
            found = ()
        if not found:
            raise OutgoingError("unresolved", f"{host}: this name has no address in the DNS")
        # One that may not be reached spoils the name: that is no mistake that a public site makes.
        for address in found:
            _judge(self.settings, target, _meant(address))
        return list(dict.fromkeys(found))[:_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await trio.to_thread.run_sync(
            look_up, abandon_on_cancel=True, limiter=self._lookups
        )
        return [str(place[0]) for *_, place in found]

    async def _exchange(
        self,
        target: Target,
        addresses: Sequence[str],
        connect_seconds: float,
        most: int,
        body: bytes | None,
        headers: Headers,
        any_success: bool,
    ) -> Reply:
        network = _Pinned(addresses)
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        connection = httpcore2.AsyncHTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=network
        )
        asked = connection.stream(
            "GET" if body is None else "POST",
            url,
            headers=headers,
            content=body,
            extensions={"timeout": {"connect": connect_seconds}},
        )
        try:
            async with asked as response:
                # RFC 9110 15.3: what was sent has come through.
                success = 200 <= response.status < 300
                if not (success if any_success else response.status == 200):
                    raise _unwanted(target.host, response.status)
                received = tuple(
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in response.headers
                )
                reply = Reply(received, await _read(target.host, response, most))
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
        ) as error:
            raise _explained(target.host, error) from None
        finally:
            network.close()
        if reply.header("content-encoding").lower() not in ("", "identity"):
            raise OutgoingError("answer", f"{target.host}: the answer is compressed, unasked")
        return reply


# A name has rarely more, and each takes its part of the time.
_ADDRESSES = 4
_ALWAYS: Headers = (
    ("User-Agent", "pystream"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


# RFC 9110 15.5: who asks is not known, may not, or asks for what is not there.
_REFUSALS = (401, 403, 404)
# RFC 9110 15.5.9, RFC 6585 4: the site has no time; nothing is wrong with what was sent.
_OVERLOADED = (408, 429)


def _unwanted(host: str, status: int) -> OutgoingError:
    if 300 <= status < 400:
        reason = f"it redirects ({status}), which is not followed: enter the URL it leads to"
        return OutgoingError("answer", f"{host}: {reason}")
    kind = "answer"
    if status in _REFUSALS:
        kind = "refused"
    elif 400 <= status < 500 and status not in _OVERLOADED:
        kind = "rejected"
    return OutgoingError(kind, f"{host}: the answer has status {status}, and 200 is wanted")


def _explained(host: str, error: Exception) -> OutgoingError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message
            return OutgoingError(
                "tls", f"{host}: its certificate does not prove the name: {reason}"
            )
        if isinstance(cause, ssl.SSLError):
            return OutgoingError("tls", f"{host}: TLS 1.2 or later could not be agreed upon")
        cause = cause.__cause__
    if isinstance(error, httpcore2.ProtocolError):
        return OutgoingError("answer", f"{host}: the answer is no HTTP/1.1, or broke off")
    if isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout):
        return OutgoingError("unreachable", f"{host}: nobody accepts the connection")
    return OutgoingError("unreachable", f"{host}: the connection broke")


async def _read(host: str, response: httpcore2.Response, most: int) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > most:
                raise OutgoingError("answer", f"{host}: the answer has more than {most} bytes")
    return bytes(body)


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked, one after the other, whatever the name is."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._opened: list[httpcore2.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError()
        share = None if timeout is None else timeout / len(self._addresses)
        for address in self._addresses:
            try:
                stream = await httpcore2.TrioBackend().connect_tcp(address, port, share)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                self._opened.append(stream)
                return stream
        raise failure

    def close(self) -> None:
        """httpcore2 closes what it has, but not the socket of a TLS handshake that is cancelled."""
        for stream in self._opened:
            stream.get_extra_info("socket").close()


# What many wait for, and what is kept of it


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self._over = trio.Event()
        self._result: list[T] = []
        self._error: Exception | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> None:
        try:
            self._result.append(await work())
        except Exception as error:
            # It is for those who wait: a nursery that fell with it would take the others along.
            self._error = error
        finally:
            self._over.set()

    async def landed(self) -> T:
        await self._over.wait()
        if self._result:
            return self._result[0]
        if isinstance(self._error, OutgoingError):
            # Each has an exception of its own: a traceback grows with every task that raises it.
            raise OutgoingError(self._error.kind, str(self._error))
        if self._error is not None:
            raise RuntimeError("a call could not be made") from self._error
        raise OutgoingError("busy", "the node is stopping")


class _Flights(Generic[T]):
    """Work that is done once for all who want the same at the same moment, in a nursery: whoever
    leaves ends it for nobody else."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._going: dict[Hashable, _Flight[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._going

    def begin(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> _Flight[T]:
        """The flight that does it; `work` is not begun where one is on its way."""
        flight = self._going.get(key)
        if flight is None:
            flight = self._going[key] = _Flight()
            self._nursery.start_soon(self._run, key, flight, work)
        return flight

    async def _run(
        self, key: Hashable, flight: _Flight[T], work: Callable[[], Awaitable[T]]
    ) -> None:
        try:
            await flight.run(work)
        finally:
            del self._going[key]


class _Bounded(Generic[T]):
    """Values by keys, which cost at most so much together: what was not used for longest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._total = 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: T, cost: int) -> None:
        self.drop(key)
        self._values[key] = (value, cost)
        self._total += cost
        while self._total > self._most:
            _, (_, freed) = self._values.popitem(last=False)
            self._total -= freed

    def drop(self, key: Hashable) -> None:
        if key in self._values:
            self._total -= self._values.pop(key)[1]


# JWKS

_KEYSET_SECONDS = 5.0
_KEYSET_BYTES = 256 * 1024
_KEYSET_KEYS = 100
_ENTRY_BYTES = 1024
_SHORTEST_S, _USUAL_S, _LONGEST_S = 60.0, 3600.0, 86400.0
_STALE_S = 6 * 3600.0
_REFETCH_S = 60.0
_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0


class _Keyset(msgspec.Struct):
    """RFC 7517 5."""

    keys: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=_KEYSET_KEYS)]


@dataclass(slots=True)
class _Known:
    """What is known of a URL's keys. Times are the clock's of the loop."""

    jwks: dict[str, Any] | None = None
    received: int = 0
    refresh_at: float = 0.0
    ends: float = 0.0
    tried: float = float("-inf")
    failures: int = 0
    retry_at: float = float("-inf")
    failure: tuple[str, str] = ("", "")

    def has(self, kid: str) -> bool:
        keys = [] if self.jwks is None else self.jwks["keys"]
        return any(key.get("kid") == kid for key in keys)


class Keysets:
    """The keys with which customers' sites sign their tokens (RFC 7517), by URL.

    A set is kept for as long as its Cache-Control says (`max-age`; an hour where it says nothing),
    but a minute at least and a day at most, and is fetched again in the background when a fifth of
    that is left. While the site fails, a set is good for six hours more, and the site is asked again
    after 5 s, then after twice as long each time, up to a minute. All sets together, as they were
    received, take at most `kept_bytes`; those not used for longest go.
    """

    def __init__(
        self, client: Client, nursery: trio.Nursery, *, kept_bytes: int = 16 * 2**20
    ) -> None:
        self._client = client
        self._flights = _Flights[None](nursery)
        self._known = _Bounded[_Known](kept_bytes)

    async def get(self, tenant: str, url: str, kid: str | None = None) -> dict[str, Any]:
        """A tenant's key set at a URL, `{"keys": [...]}`, not to be changed. Where `kid` is given
        and the set has no such key, it is fetched once more, but not within a minute of the last
        time; whether it is there then is for the caller to see. Symmetric keys are left out: whoever
        can read the URL could sign with them.

        Raises `OutgoingError` where there is no set, nor an old one that is still good.
        """
        known = self._known.get((tenant, url)) or _Known()
        now = trio.current_time()
        flying = (tenant, url) in self._flights
        may_try = now >= known.retry_at or flying
        if known.jwks is None or now >= known.ends:
            if may_try:
                known = await self._fetched(tenant, url, known)
        elif kid is not None and not known.has(kid):
            if flying or (may_try and now >= known.tried + _REFETCH_S):
                known = await self._fetched(tenant, url, known)
        elif may_try and now >= known.refresh_at:
            self._begin(tenant, url, known)
        if known.jwks is None or trio.current_time() >= known.ends + _STALE_S:
            raise OutgoingError(*known.failure)
        return known.jwks

    def _begin(self, tenant: str, url: str, known: _Known) -> _Flight[None]:
        work = partial(self._fetch, tenant, url, known)
        return self._flights.begin((tenant, url), work)

    async def _fetched(self, tenant: str, url: str, known: _Known) -> _Known:
        try:
            await self._begin(tenant, url, known).landed()
        except OutgoingError as error:
            # As somebody else may have begun it, and it may be forgotten already.
            known.failure = (error.kind, str(error))
        return self._known.get((tenant, url)) or known

    async def _fetch(self, tenant: str, url: str, known: _Known) -> None:
        known.tried = trio.current_time()
        try:
            reply = await self._client.call(
                tenant, url, seconds=_KEYSET_SECONDS, most=_KEYSET_BYTES
            )
            known.jwks = _read_keyset(parse_url(url).host, reply.body)
        except OutgoingError as error:
            known.failure = (error.kind, str(error))
            if error.fault != "node":
                known.failures += 1
                known.retry_at = trio.current_time() + _pause(known.failures)
            raise
        else:
            lifetime = _lifetime(reply)
            known.ends = trio.current_time() + lifetime
            known.refresh_at = known.ends - lifetime / 5
            known.failures, known.retry_at = 0, float("-inf")
            known.received = len(reply.body)
        finally:
            cost = known.received + len(url) + _ENTRY_BYTES
            self._known.put((tenant, url), known, cost)


def _pause(failures: int) -> float:
    return min(_LONGEST_PAUSE_S, _PAUSE_S * (1 << min(failures - 1, 10)))


def _read_keyset(host: str, body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body, type=_Keyset)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise OutgoingError(
            "answer", f"{host}: the answer is no JSON Web Key Set, or has over {_KEYSET_KEYS} keys"
        ) from None
    return {"keys": [key for key in found.keys if key.get("kty") != "oct"]}


def _lifetime(reply: Reply) -> float:
    """Seconds for which a set is kept (RFC 9111 4.2)."""
    said = reply.header("cache-control").lower()
    if re.search(r"(?:^|[\s,])no-(?:store|cache)\b", said):
        return _SHORTEST_S
    found = re.search(r'(?:^|[\s,])max-age="?([0-9]{1,10})', said)
    if found is None:
        return _USUAL_S
    age = re.fullmatch(r"[0-9]{1,10}", reply.header("age"))
    left = int(found[1]) - (int(age[0]) if age else 0)
    return min(_LONGEST_S, max(_SHORTEST_S, float(left)))


# Questions

_VERDICT_BYTES = 16 * 1024
_KEPT_YES_S, _KEPT_NO_S = 60.0, 5.0
_BREAKERS_BYTES = 2**20
_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Question:
    """May somebody watch? `stream` is its name as the tenant knows it. The viewer is known by the
    `token` that the site gave him, or as `viewer`, an opaque id. `address` is sent only where the
    operator has switched that on, and as much of it (`outgoing.viewer_address`)."""

    tenant: str
    stream: str
    token: str = field(default="", repr=False)
    viewer: str = field(default="", repr=False)
    address: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.token and not self.viewer:
            raise ValueError("a question names the viewer, by a token or an id")


OpaqueId: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"\A[^\x00-\x1f\x7f-\x9f]+\Z")
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The site's answer. `viewer` is an opaque id of 1 to 128 characters, `expires_in` the seconds
    from now for which it holds, `max_devices` from 1; None where the site does not say."""

    allow: bool
    viewer: OpaqueId | None = field(default=None, repr=False)
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    max_devices: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None


@dataclass(slots=True)
class _Breaker:
    """Failures in a row, when the last pause began, and when the site may be asked again."""

    failures: int = 0
    since: float = float("-inf")
    until: float = float("-inf")


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> Headers:
    """The header fields that prove who asks, and when (Standard Webhooks 1.0.0):

        webhook-id: what names the question; none comes twice
        webhook-timestamp: Unix seconds
        webhook-signature: v1,BASE64(HMAC-SHA256(key, id "." timestamp "." body))

    with one signature for each key, separated by spaces, so that a key can be replaced. Whoever
    checks computes the HMAC over the body's bytes as they came, compares in constant time, and
    refuses what is older than five minutes. A key has 24 to 64 random bytes; the customer is given
    it as `whsec_` and its base64.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    made = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(f"v1,{each}" for each in made)),
    )


class Questions:
    """Asks a customer's endpoint whether somebody may watch.

    The endpoint gets a POST with a JSON object: `tenant`, `stream`, and `token` or `viewer`, and
    `address` where the operator wants that; signed as `sign` says. It answers with status 200 and a
    JSON object, within `outgoing.answer_seconds` of being asked (which may be as long after the
    viewer came, where too many questions are on their way):

        {"allow": true, "viewer": "an opaque id", "expires_in": 3600, "max_devices": 2}

    of which only `allow` has to be there; other members are not read. Status 401, 403 or 404 is a no as
    well, whatever comes with it. Nothing else is: a site that fails has not answered, and that is an
    `OutgoingError`, upon which nobody comes in.

    A yes is kept for a minute, or as long as the caller says, but no longer than it holds; a no for
    five seconds at most. Both take at most `kept_bytes`, and those not used for longest go. A question
    that is being asked is not asked again meanwhile. After five failures in a row an endpoint is left
    alone for 5 s; one question is let through then, and if it fails, the next pause is twice as long,
    up to a minute. An answer with a status of 4xx is no failure (save 408 and 429), as it may be the
    token's fault, and anybody can show one. `clock` gives Unix time.
    """

    def __init__(
        self,
        client: Client,
        nursery: trio.Nursery,
        *,
        kept_bytes: int = 8 * 2**20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._clock = clock
        self._flights = _Flights[Verdict](nursery)
        self._kept = _Bounded[tuple[Verdict, float, float]](kept_bytes)
        self._breakers = _Bounded[_Breaker](_BREAKERS_BYTES)

    async def ask(
        self,
        url: str,
        keys: Sequence[bytes],
        question: Question,
        *,
        bearer: str = "",
        seconds: float | None = None,
        kept_s: float = _KEPT_YES_S,
    ) -> Verdict:
        """The verdict of the endpoint, or the one it gave a moment ago. `keys` sign, the newest
        first; or `bearer` is sent as a token (RFC 6750 2.1). `seconds`: within which it has to answer,
        None for `outgoing.answer_seconds`; `kept_s`: for how long a yes is kept. Raises
        `OutgoingError`."""
        try:
            body = self._body(question)
        except UnicodeEncodeError:
            # Half a surrogate pair is in no token or id that a site could have given.
            return Verdict(allow=False)
        # What is kept tells nobody the token.
        key = hashlib.sha256(b"\0".join((url.encode("utf-8", "replace"), body))).digest()
        kept = self._kept.get(key)
        if kept is not None:
            verdict, since, ends = kept
            now = trio.current_time()
            if now < ends:
                return _aged(verdict, now - since)
        self._refuse_while_paused(question.tenant, url)
        proof = partial(_proof, keys, bearer, body)
        allowed = self._client.settings.answer_seconds if seconds is None else seconds
        work = partial(self._ask, url, proof, question.tenant, body, key, allowed, kept_s)
        return await self._flights.begin(key, work).landed()

    def _body(self, question: Question) -> bytes:
        said = {
            "tenant": question.tenant,
            "stream": question.stream,
            "token": question.token,
            "viewer": question.viewer,
            "address": _told(question.address, self._client.settings.viewer_address),
        }
        return msgspec.json.encode({name: value for name, value in said.items() if value})

    async def _ask(
        self,
        url: str,
        proof: Callable[[int], Headers],
        tenant: str,
        body: bytes,
        key: bytes,
        seconds: float,
        kept_s: float,
    ) -> Verdict:
        began = trio.current_time()
        signed = proof(int(self._clock()))
        try:
            reply = await self._client.call(
                tenant,
                url,
                seconds=seconds,
                most=_VERDICT_BYTES,
                body=body,
                headers=(("Content-Type", "application/json"), *signed),
                gate=partial(self._enter, tenant, url, seconds),
            )
            verdict = _read_verdict(parse_url(url).host, reply.body)
        except OutgoingError as error:
            if error.kind == "rejected":
                self._breakers.drop((tenant, url))
            elif error.kind not in ("busy", "paused", "refused"):
                self._failed(tenant, url, began)
            if error.kind != "refused":
                raise
            verdict = Verdict(allow=False)
        self._breakers.drop((tenant, url))
        self._keep(key, verdict, kept_s)
        return verdict

    def _keep(self, key: bytes, verdict: Verdict, kept_s: float) -> None:
        now = trio.current_time()
        seconds = kept_s if verdict.allow else min(kept_s, _KEPT_NO_S)
        if verdict.expires_in is not None:
            seconds = min(seconds, float(verdict.expires_in))
        cost = _ENTRY_BYTES + 4 * len(verdict.viewer or "")
        self._kept.put(key, (verdict, now, now + seconds), cost)

    def _refuse_while_paused(self, tenant: str, url: str) -> None:
        breaker = self._breakers.get((tenant, url))
        if breaker is not None and trio.current_time() < breaker.until:
            host = parse_url(url).host
            raise OutgoingError("paused", f"{host}: it keeps failing, and is asked again later")

    def _enter(self, tenant: str, url: str, seconds: float) -> None:
        """A question has its turn. The first one after a pause finds out how the endpoint is."""
        self._refuse_while_paused(tenant, url)
        breaker = self._breakers.get((tenant, url))
        if breaker is not None and breaker.failures >= _FAILURES:
            breaker.until = trio.current_time() + seconds

    def _failed(self, tenant: str, url: str, began: float) -> None:
        breaker = self._breakers.get((tenant, url)) or _Breaker()
        # Those that were on their way when a pause began say nothing new.
        if began < breaker.since:
            return
        breaker.failures += 1
        if breaker.failures >= _FAILURES:
            breaker.since = trio.current_time()
            breaker.until = breaker.since + _pause(breaker.failures - _FAILURES + 1)
        self._breakers.put((tenant, url), breaker, _ENTRY_BYTES + len(url))


def _proof(keys: Sequence[bytes], bearer: str, body: bytes, now: int) -> Headers:
    if bearer:
        return (("Authorization", f"Bearer {bearer}"),)
    return sign(keys, f"msg_{secrets.token_urlsafe(16)}", now, body)


def _told(address: str, how: bool | Literal["truncated"]) -> str:
    """As much of a viewer's address as the operator wants told; truncated, it is that of the network, and
    nothing where there is none, as at a unix socket."""
    if how != "truncated":
        return address if how else ""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    bits = 24 if found.version == 4 else 48
    return str(ipaddress.ip_network((found, bits), strict=False).network_address)


def _aged(verdict: Verdict, seconds: float) -> Verdict:
    if verdict.expires_in is None:
        return verdict
    return replace(verdict, expires_in=max(1, verdict.expires_in - int(seconds)))


def _read_verdict(host: str, body: bytes) -> Verdict:
    try:
        return msgspec.json.decode(body, type=Verdict)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise OutgoingError(
            "answer", f'{host}: the answer is no JSON object like {{"allow": true}}'
        ) from None
