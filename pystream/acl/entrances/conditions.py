"""What a stream may ask besides who somebody is: when, from which site, network and country.

Theory. These are gates of different strength. A time window is exact. A network is as good as the
address, so the caller has to know whose address it is (behind a proxy: not the proxy's). A country
is a guess from that address, wrong for VPNs, and unknown for some. An embedding site is soft: the
browser says where a page is embedded, and other programs say what they like or nothing at all, as
native players, televisions and casting devices do. None of them replaces a password.

A condition that is not set lets everybody through. One that is set and cannot be decided refuses,
unless it says otherwise (`allow_no_referrer`, `allow_unknown_country`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from pystream.errors import Said

MOST_ORIGINS: Final = 64
MOST_NETWORKS: Final = 256

# RFC 6454 6.2, as browsers write it: small letters, punycode, a port only if it is not the scheme's.
_HOST = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_ORIGIN = re.compile(rf"https?://(?:{_HOST}|\[[0-9a-f:.]+\])(?::[1-9][0-9]{{0,4}})?")
# One label below the asterisk would be a whole top-level domain.
_PATTERN = re.compile(
    rf"https?://(?:\*\.[a-z0-9_-]+\.{_HOST}|{_HOST}|\[[0-9a-f:.]+\])(?::[1-9][0-9]{{0,4}})?"
)
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443")
# ISO 3166-1 alpha-2
_COUNTRY = re.compile(r"[A-Z]{2}")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """`not_before` and `expires`: Unix seconds; the second is the first at which it is over.
    `origins`: sites whose pages may embed the stream, as in `https://www.example.org`, or
    `https://*.example.org` for all names below that one. `allow_no_referrer`: whether to let in who
    does not say where it comes from. `networks`: as in `192.0.2.0/24` or `2001:db8::/32`.
    `countries`: those that may (empty: all), `countries_denied`: those that may not, both as in `DE`.
    `allow_unknown_country`: whether to let in whose country is not known.
    """

    not_before: int | None = None
    expires: int | None = None
    origins: tuple[str, ...] = ()
    allow_no_referrer: bool = False
    networks: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    countries_denied: tuple[str, ...] = ()
    allow_unknown_country: bool = False


NONE: Final = Conditions()


def verdict(
    conditions: Conditions,
    *,
    now: int,
    origin: str | None,
    referrer_origin: str | None,
    address: str | None,
    country: str | None,
) -> str | None:
    """Why not: `early`, `expired`, `origin`, `network` or `country`; None where nothing speaks against.

    `origin` is the Origin header, and `referrer_origin` the origin of the Referer header (RFC 9110
    10.1.3), each None where there was none. `origin` counts where both are there; `null` (RFC 6454 7.3)
    says nothing. `address` is the viewer's, as text, and `country` what was looked up for it.
    Expects conditions without `problems`.
    """
    if conditions.not_before is not None and now < conditions.not_before:
        return "early"
    if conditions.expires is not None and now >= conditions.expires:
        return "expired"
    if conditions.origins and not _embedded(conditions, origin, referrer_origin):
        return "origin"
    if conditions.networks and not _inside(conditions.networks, address):
        return "network"
    if conditions.countries or conditions.countries_denied:
        return _country(conditions, country)
    return None


def _embedded(conditions: Conditions, origin: str | None, referrer_origin: str | None) -> bool:
    named = next((one for one in (origin, referrer_origin) if one and one != "null"), None)
    if named is None:
        return conditions.allow_no_referrer
    return embeds(conditions.origins, named)


def embeds(patterns: Collection[str], origin: str) -> bool:
    """Whether a site of that origin is one of those that may embed, as in `Conditions`."""
    named = origin.lower()
    return bool(_ORIGIN.fullmatch(named)) and any(_matches(each, named) for each in patterns)


def _matches(pattern: str, origin: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return origin == pattern
    # No label of an origin is empty, so something stands for the asterisk.
    return origin.startswith(before) and origin.endswith(after)


def _inside(networks: tuple[str, ...], text: str | None) -> bool:
    found = address(text)
    if found is None:
        return False
    bits = int(found)
    return any(bits >> host == prefix for host, prefix in _prefixes(networks, found.version))


def _country(conditions: Conditions, country: str | None) -> str | None:
    if country is None:
        return None if conditions.allow_unknown_country else "country"
    if country in conditions.countries_denied:
        return "country"
    return None if not conditions.countries or country in conditions.countries else "country"


def address(text: str | None) -> Address | None:
    """The address, or None for what is none. An IPv4 address that came over an IPv6 socket
    (RFC 4291 2.5.5.2) is the IPv4 address."""
    if text is None:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


# The conditions of a stream are the same for all its viewers, and parsing them costs more than asking.
@lru_cache(maxsize=1024)
def _prefixes(networks: tuple[str, ...], version: int) -> tuple[tuple[int, int], ...]:
    """Of the networks of that version, how many bits their hosts have, and the bits before those."""
    parsed = [network for network in map(ip_network, networks) if network.version == version]
    hosts = [network.max_prefixlen - network.prefixlen for network in parsed]
    return tuple(
        (host, int(network.network_address) >> host)
        for host, network in zip(hosts, parsed, strict=True)
    )


def problems(conditions: Conditions) -> tuple[Said, ...]:
    """Everything that is wrong, a sentence each; nothing where all is well."""
    return tuple(_problems(conditions))


def _problems(conditions: Conditions) -> Iterator[Said]:
    begin, end = conditions.not_before, conditions.expires
    if begin is not None and end is not None and end <= begin:
        yield Said("never-open", "it is over before it begins", of="expires")
    if len(conditions.origins) > MOST_ORIGINS:
        yield _too_many("origins", MOST_ORIGINS)
    for origin in conditions.origins:
        yield from _of_origin(origin)
    if len(conditions.networks) > MOST_NETWORKS:
        yield _too_many("networks", MOST_NETWORKS)
    for network in conditions.networks:
        yield from _of_network(network)
    for name, countries in (
        ("countries", conditions.countries),
        ("countries_denied", conditions.countries_denied),
    ):
        for country in countries:
            if not _COUNTRY.fullmatch(country):
                text = f"{country!r} is no country; one is written as DE (ISO 3166-1)"
                yield Said("no-country", text, of=name, value=country)
    for country in sorted(set(conditions.countries) & set(conditions.countries_denied)):
        text = f"{country!r} is both let in and kept out"
        yield Said("in-and-out", text, of="countries", value=country)


def _of_origin(origin: str) -> Iterator[Said]:
    if not _PATTERN.fullmatch(origin):
        yield Said(
            "no-origin",
            f"{origin!r} is no origin; one is written as https://www.example.org, in small"
            " letters, or as https://*.example.org for all names below it",
            of="origins",
            value=origin,
        )
    elif _DEFAULT_PORT.fullmatch(origin):
        yield Said(
            "usual-port",
            f"{origin!r} names the port that its scheme has anyway; leave it out",
            of="origins",
            value=origin,
        )


def _of_network(network: str) -> Iterator[Said]:
    try:
        parsed = ip_network(network)
    except ValueError:
        try:
            meant = ip_network(network, strict=False)
        except ValueError:
            text = f"{network!r} is no network; one is written as 192.0.2.0/24"
            yield Said("no-network", text, of="networks", value=network)
        else:
            text = f"{network!r} is an address inside of {meant}; write that, or one address"
            yield Said("inside", text, of="networks", value=network, meant=str(meant))
        return
    if isinstance(parsed, IPv6Network) and parsed.network_address.ipv4_mapped is not None:
        text = f"{network!r} holds IPv4 addresses; write it as an IPv4 network"
        yield Said("mapped", text, of="networks", value=network)


def _too_many(name: str, most: int) -> Said:
    return Said("too-many", f"no more than {most} are wanted", of=name, most=most)
