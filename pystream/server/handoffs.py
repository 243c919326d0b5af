"""Tokens of a customer's own site: who is let in is decided there, and checked or asked here.

A token is a JSON Web Token, signed with a shared secret or by a key of a set that the site publishes; or
the site is asked about it. Whatever the site fails at lets nobody in.

What calls sites (`outgoing`) costs a third of a second to import, and most nodes never need it: so it
comes with the first token, in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import trio

from pystream.acl.entrances import SKEW_S
from pystream.acl.entrances.verifiers import (
    Configured,
    Verifier,
    opaque,
    shared_keys,
    signing_keys,
)
from pystream.acl.streams import Stream
from pystream.errors import EntranceError, OutgoingError
from pystream.server import log
from pystream.server.http import HttpError
from pystream.server.settings import Outgoing

if TYPE_CHECKING:
    from pystream.acl.entrances.jwt import Handoff
    from pystream.server.outgoing import Client, Keysets, Questions

CALLS: Final = 256
"""That are under way at a time, of all workers together."""
TENANT_CALLS: Final = 32
_SILENT_SECONDS = 60.0
_UNAVAILABLE = "the site that opens this film cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Whom a site lets in. `once`: what names a token that is good for once, and `once_until`, from when
    it could not be shown again anyway. `ends`: after how many seconds the visit has to end."""

    viewer: str | None = field(repr=False)
    max_devices: int | None = None
    once: str = field(default="", repr=False)
    once_until: int = 0
    ends: int | None = None


class Unavailable(HttpError):
    """The customer's site has given nothing that can be used. `slow`: it took all the time that it has."""

    kind = "later"

    def __init__(self, slow: bool) -> None:
        super().__init__(503, _UNAVAILABLE, (("Retry-After", "5"),))
        self.slow = slow


class Handoffs:
    """Of one of `workers` workers. `settings` may be replaced while it runs."""

    def __init__(
        self,
        settings: Outgoing,
        nursery: trio.Nursery,
        workers: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._nursery = nursery
        self._workers = workers
        self._clock = clock
        self._importing = trio.Lock()
        self._sites: tuple[Client, Keysets, Questions] | None = None
        self._silent_until: dict[int, float] = {}
        # Of one worker, and for one tenant.
        self._calls = -(-TENANT_CALLS // workers)

    @property
    def share(self) -> int:
        """How many of a tenant's calls one network may have at a time."""
        return -(-self._calls // 2)

    @property
    def settings(self) -> Outgoing:
        return self._settings

    @settings.setter
    def settings(self, settings: Outgoing) -> None:
        self._settings = settings
        if self._sites is not None:
            self._sites[0].settings = settings

    async def ask(
        self, stream: Stream, configured: Sequence[Configured], token: str, address: str
    ) -> Named:
        """Whom the token names, if it opens the stream. Raises `EntranceError`, and `Unavailable` where
        the site fails."""
        found = [each for each in configured if each.verifier is not None]
        if not found:
            raise EntranceError("unknown_key")
        try:
            if found[0].kind == "question":
                return await self._asked(stream, found, token, address)
            return await self._verified(stream, found, token)
        except OutgoingError as error:
            self._warn(stream, error)
            raise Unavailable(error.kind == "slow") from None

    def _warn(self, stream: Stream, error: OutgoingError) -> None:
        """Once a minute for a stream: anybody can show a token."""
        now = trio.current_time()
        if now >= self._silent_until.get(stream.id, now):
            # What is over is forgotten: streams come and go.
            known = {id: until for id, until in self._silent_until.items() if until > now}
            self._silent_until = known | {stream.id: now + _SILENT_SECONDS}
            log.warning(
                "site-unavailable", stream=f"{stream.tenant}/{stream.name}", **log.fault(error)
            )

    async def _modules(self) -> tuple[Client, Keysets, Questions]:
        async with self._importing:
            if self._sites is None:
                await trio.to_thread.run_sync(_import)
                from pystream.server.outgoing import Client, Keysets, Questions

                client = Client(
                    self._settings,
                    calls=-(-CALLS // self._workers),
                    tenant_calls=self._calls,
                )
                self._sites = (
                    client,
                    Keysets(client, self._nursery),
                    Questions(client, self._nursery, clock=self._clock),
                )
        return self._sites

    # Tokens that are signed

    async def _verified(self, stream: Stream, found: Sequence[Configured], token: str) -> Named:
        await self._modules()
        if found[0].kind == "jwt":
            handoff = self._check(stream, token, shared_keys(found), ("HS256",))
        else:
            handoff = await self._by_sets(stream, found, token)
        return Named(
            viewer=handoff.viewer,
            max_devices=handoff.max_devices,
            once=handoff.jti,
            once_until=handoff.expires + SKEW_S,
        )

    async def _by_sets(self, stream: Stream, found: Sequence[Configured], token: str) -> Handoff:
        """By the newest set that has the key. One that has it not may have been renewed since it was fetched;
        one that cannot be had keeps nobody out whose key is in the other."""
        _, keysets, _ = await self._modules()
        from pystream.acl.entrances.jwt import key_name

        name = key_name(token)
        failure: OutgoingError | None = None
        urls = [each.verifier.url for each in found if each.verifier is not None]
        for wanted in (None, name):
            for url in urls:
                try:
                    return self._check(stream, token, await keysets.get(stream.tenant, url, wanted))
                except OutgoingError as error:
                    failure = error
                except EntranceError as error:
                    if error.reason != "unknown_key":
                        raise
        raise failure or EntranceError("unknown_key", "kid")

    def _check(
        self,
        stream: Stream,
        token: str,
        jwks: Mapping[str, Any],
        algorithms: Sequence[str] | None = None,
    ) -> Handoff:
        from pystream.acl.entrances.jwt import ASYMMETRIC, verify

        return verify(
            token,
            jwks,
            tenant=stream.tenant,
            stream=stream.name,
            now=int(self._clock()),
            algorithms=algorithms or ASYMMETRIC,
        )

    # Questions

    async def _asked(
        self, stream: Stream, found: Sequence[Configured], token: str, address: str
    ) -> Named:
        _, _, questions = await self._modules()
        from pystream.server.outgoing import Question

        verifiers: list[Verifier] = [each.verifier for each in found if each.verifier is not None]
        newest = verifiers[0]
        same = [each for each in verifiers if each.url == newest.url]
        question = Question(tenant=stream.tenant, stream=stream.name, token=token, address=address)
        verdict = await questions.ask(
            newest.url,
            signing_keys(same),
            question,
            bearer=newest.secret if newest.bearer else "",
            seconds=newest.seconds,
            kept_s=newest.kept_s,
        )
        if not verdict.allow:
            raise EntranceError("elsewhere")
        if verdict.viewer is not None and not opaque(verdict.viewer):
            raise OutgoingError("answer", "the site names a viewer by what is no opaque name")
        return Named(
            viewer=verdict.viewer, max_devices=verdict.max_devices, ends=verdict.expires_in
        )


def _import() -> None:
    from pystream.acl.entrances import jwt  # noqa: F401
    from pystream.server import outgoing  # noqa: F401
