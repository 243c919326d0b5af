"""The gate before every stream: when, from which site, network and country, whatever opens it.

Theory. What is asked stands in `pystream.acl.entrances.conditions`; here is how the answers are found
out. The address is the connection's, or what a trusted proxy says. The country is looked up in the
operator's own file. The site is that of the `Origin` header, where a page of another site asks, or of
`Referer`, where a browser plays by itself. Our own page runs in a frame of that site and asks from ours,
so it says in which it is, as far as it knows. All of that can be made up by whoever is no browser: what
keeps frames of other sites from showing the page is its policy (CSP `frame-ancestors`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pystream.acl.entrances.conditions import NONE, Conditions, embeds, verdict
from pystream.acl.entrances.countries import Countries
from pystream.acl.streams import Stream, conditions, is_elsewhere_alone, sites
from pystream.errors import InvalidValue, SettingsError
from pystream.server.http import HttpError, Request
from pystream.server.settings import Geo, Located


class Closed(HttpError):
    """Nobody is let in here and now. `kind` is for the page: `early`, `late`, `site`, `network` or
    `country`; `opens_at`, a fact: when it will be otherwise, if only time is in the way."""

    kind: str

    def __init__(self, kind: str, opens_at: int | None = None) -> None:
        self.kind = kind
        super().__init__(403, _REASONS[kind])
        if opens_at is not None:
            self.facts = {"opens_at": opens_at}


_FRAMES = frozenset(("iframe", "frame", "embed", "object"))
_KINDS = {"early": "early", "expired": "late", "origin": "site"}
_REASONS = {
    "early": "this film cannot be watched yet",
    "late": "this film cannot be watched any more",
    "site": "this film is shown on other sites only",
    "network": "this film cannot be watched from this network",
    "country": "this film cannot be watched from this country",
}


class Gate:
    """Of one worker. `clock` gives Unix seconds."""

    def __init__(self, geo: Geo | None = None, clock: Callable[[], float] = time.time) -> None:
        """Raises `SettingsError` where the database of countries cannot be used."""
        self._clock = clock
        self._countries: Countries | None = None
        self._test: Sequence[Located] = ()
        self._set(geo or Geo())

    def _set(self, geo: Geo) -> None:
        self._countries, self._test = countries_of(geo), geo.test

    def reload(self, geo: Geo) -> None:
        """Takes other settings. Raises `SettingsError`, and goes on with what it had."""
        self._set(geo)

    def check(self, stream: Stream, request: Request, said: str | None) -> None:
        """Raises `Closed`. `said`: the site in whose frame the page says it is."""
        settings = stream.settings
        asked = conditions(settings)
        if asked == NONE and not settings.embed_lock:
            return
        if settings.embed_lock and not sites(settings) and _site(request, said) is not None:
            raise Closed("site")
        self.ask(asked, request, said)

    def admits_page(self, stream: Stream, request: Request) -> None:
        """Raises `Closed` where the stream's own page could let in nobody, so that it asks for no password in
        vain: the stream has closed, or is shown on other sites alone, and the page in no frame (Fetch
        Metadata 2.1; where a browser does not say, the page finds out), or in one of a site that may not show
        it, of which the browser would show nothing."""
        settings = stream.settings
        if settings.closes_at is not None and settings.closes_at <= self._clock():
            raise Closed("late")
        alone = request.fields.sec_fetch_dest == "document"
        if is_elsewhere_alone(settings) and alone:
            raise Closed("site")
        around = _origin(request.fields.referer)
        if (
            request.fields.sec_fetch_dest not in _FRAMES
            or around is None
            or _is_ours(around, request)
        ):
            return
        if not embeds(settings.embed_origins, around):
            raise Closed("site")

    def opens_at(self, stream: Stream) -> int | None:
        """When a stream opens, if that is to come."""
        at = stream.settings.opens_at
        return at if at is not None and at > self._clock() else None

    def ask(self, asked: Conditions, request: Request, said: str | None) -> None:
        """The same of conditions that a link or a token has. Raises `Closed`."""
        if asked == NONE:
            return
        wants_country = asked.countries or asked.countries_denied
        found = verdict(
            asked,
            now=int(self._clock()),
            origin=_site(request, said),
            # Our own page in no frame is none that says nothing.
            referrer_origin=request.fields.origin or _origin(request.fields.referer),
            address=request.peer,
            country=self._country(request.peer) if wants_country else None,
        )
        if found is not None:
            raise Closed(_KINDS.get(found, found), asked.not_before if found == "early" else None)

    def _country(self, address: str) -> str | None:
        for each in self._test:
            if address in each.network:
                return each.country
        return None if self._countries is None else self._countries.country(address)


def countries_of(geo: Geo) -> Countries | None:
    """The database that the settings name. Raises `SettingsError` where it cannot be used."""
    try:
        return Countries(Path(geo.database)) if geo.database else None
    except InvalidValue as error:
        raise SettingsError(str(error), "", None, "geo.database") from None


def _site(request: Request, said: str | None) -> str | None:
    """The site that shows the stream, None for our own page in no frame, and for who says nothing."""
    origin = request.fields.origin
    if origin is None or origin == "null":
        origin = _origin(request.fields.referer)
    if origin is not None and not _is_ours(origin, request):
        return origin
    # What asks from nowhere (RFC 6454 7.3) is no page of ours.
    return said or (None if origin is not None else request.fields.origin)


def _origin(referer: str | None) -> str | None:
    """The origin of a Referer (RFC 9110 10.1.3)."""
    scheme, mark, rest = (referer or "").partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}" if mark else None


def _is_ours(origin: str, request: Request) -> bool:
    host = request.fields.host
    return host is not None and origin.partition("://")[2].lower() == host.lower()
