"""What a tenant and a stream are, and which settings go together.

Settings are plain values. That they are sound is asked of them (`problems`) and not assumed: a row
that somebody changed by hand must cost its own stream, and none beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, tzinfo
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from pystream.acl.addresses import is_mail_address
from pystream.acl.entrances.conditions import Conditions
from pystream.acl.entrances.conditions import problems as problems_of_conditions
from pystream.acl.grants import LONGEST_S
from pystream.acl.passwords import problems_of_moment
from pystream.acl.retention import LEAST_ATTENDANCE_DAYS, MOST_DAYS, OF_TENANTS, Rules
from pystream.acl.viewers import DEVICE_MODES
from pystream.attendance import purpose
from pystream.errors import InvalidValue, Said

# First path elements that are the server's own.
RESERVED_TENANTS: Final = frozenset(("t", "s", "api", "console"))

FORMATS: Final = ("ts", "fmp4")
ENCRYPTIONS: Final = ("none", "aes-128", "aes-128-per-viewer")
CACHES: Final = ("private", "shared")
ACCESS: Final = ("open", "shared", "personal", "signed", "external")

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# RFC 6454 6.2: scheme, host, and a port if it is not the scheme's own. No path, no user.
_ORIGIN = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_HTTPS = re.compile(r"https://[!-~]{1,2040}")
_MOST_SOURCES = 32
_MOST_ORIGINS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """What can be changed about a tenant.

    `display`: the name for people; empty: the tenant's own. `timezone`: where the tenant's months
    and days begin, as in `Europe/Berlin`. `max_rate_bps`: bits a second of all viewers of all streams
    together, past which nobody more is let in; None: no limit. `notice`: what viewers are told before
    anything is recorded, plain text with empty lines between paragraphs. `attendance_purpose`: the
    version of the purpose text that the tenant has accepted, without which no attendance is recorded;
    empty: none.
    `checkpoint_url`: where checkpoints of the log of attendance are sent, https, and `checkpoint_mail`: the
    same by mail; `checkpoint_cosigner`: the key, as text, of who cosigns them for the tenant; empty:
    nobody. `attendance_days`: days for which events of attendance are kept; `attendance_reports_days`: the
    same of its sealed reports, and `attendance_daily_reports_days`: of those of a day that the server has
    sealed by itself; None: as the node has it.
    """

    display: str = ""
    timezone: str = "UTC"
    max_rate_bps: int | None = None
    notice: str = ""
    attendance_purpose: str = ""
    checkpoint_url: str = ""
    checkpoint_mail: str = ""
    checkpoint_cosigner: str = ""
    attendance_days: int | None = None
    attendance_reports_days: int | None = None
    attendance_daily_reports_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer, who owns streams. `created_at` is in Unix seconds."""

    id: int
    name: str
    settings: TenantSettings
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What can be changed about a stream.

    `sources`: absolute paths of MP4 files, which make one presentation.
    `encryption`: `none`, `aes-128`, or `aes-128-per-viewer`, where each grant has keys of its own.
    `rotate_every`: segments after which a fresh key begins; None: never.
    `cache`: `private`, or `shared`, where encrypted media lies outside the grants for a CDN.
    `pace`: how many times faster than it plays a stream leaves the server; None: as fast as it can.
    `download`: whether the film can be had as one MP4. `download_source`: which of several sources
    that is. `download_rate_bps`: bits a second of one download; None: no limit.
    `origins`: web sites whose scripts may fetch the stream (CORS). `embed_origins`: those that may
    show its page in a frame (CSP `frame-ancestors`). Each is an origin, or `*` alone for all.
    `max_viewers`: how many may watch at a time; None: no limit.
    `session_s`: seconds after which a viewer has to come in anew, or an hour more than the film lasts
    where that is longer. `idle_s`: seconds without a request
    after which a session of a stream that is not open ends; None: never.
    `max_devices`: how many may watch with one password at a time, where the password says nothing
    itself; None: any number. `device_mode`: `reject_new` refuses one more, `kick_oldest` ends the
    session that was opened first.
    `opens_at`, `closes_at`: Unix seconds between which it can be watched; None: no bound. `networks`:
    those that viewers may come from (empty: all). `countries`: the same of countries, and
    `countries_denied`: those that they may not come from; `allow_unknown_country`: whether to let in
    whose country is not known. `embed_lock`: it is shown on the sites of `embed_origins` and `origins`
    alone, and where there are none, on its own page and in no frame; `allow_no_referrer`: and by players
    that name no site, as apps and television sets do.
    `attendance`: how long each password has watched is recorded, as `attendance-v1` has it.
    `no_skip`: with each password, no more of the film can be had than could have been watched so far.
    `beacons`: the page says what it plays, which narrows attendance; `require_visible`: what plays in a
    page that is hidden does not count either. `check_minutes`: minutes in each of which it asks once
    whether somebody is there; None: never. `own_count`: each viewer sees on the page how much of the own
    attendance counts so far.
    """

    sources: tuple[str, ...]
    title: str = ""
    format: str = "ts"
    segment_duration_ms: int = 6000
    access: str = "open"
    encryption: str = "none"
    rotate_every: int | None = None
    cache: str = "private"
    pace: float | None = 2.0
    download: bool = False
    download_source: str | None = None
    download_rate_bps: int | None = None
    origins: tuple[str, ...] = ()
    embed_origins: tuple[str, ...] = ()
    max_viewers: int | None = None
    session_s: int = 6 * 3600
    idle_s: int | None = 4 * 3600
    max_devices: int | None = None
    device_mode: str = "reject_new"
    opens_at: int | None = None
    closes_at: int | None = None
    networks: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    countries_denied: tuple[str, ...] = ()
    allow_unknown_country: bool = False
    embed_lock: bool = False
    allow_no_referrer: bool = False
    attendance: bool = False
    no_skip: bool = False
    beacons: bool = False
    require_visible: bool = False
    check_minutes: int | None = None
    own_count: bool = False


MAXIMUM: Final[Mapping[str, Any]] = {
    "access": "personal",
    "encryption": "aes-128-per-viewer",
    "cache": "private",
    "pace": 2.0,
    "max_devices": 1,
    "embed_lock": True,
    "download": False,
}
"""All that protects a film, as settings: a password for each viewer, keys of each viewer's own, kept by no
cache, sent no faster than a player needs, on one device, on the sites that are named alone, and in no file
that could be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A film of a tenant's.

    `id` fits in 32 bits and never comes again, not even for a stream of the same name. `revision` is
    the store's at the time when the stream was last changed: other settings, another number.
    """

    id: int
    tenant_id: int
    tenant: str
    name: str
    settings: StreamSettings
    created_at: int
    removed_at: int | None
    revision: int


Settings = TypeVar("Settings", TenantSettings, StreamSettings)


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some of them changed. Raises `InvalidValue` for one that does not exist."""
    known = {field.name for field in fields(settings)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise InvalidValue(
            *(Said("no-setting", f"there is no setting {name!r}", name=name) for name in unknown)
        )
    return replace(settings, **changes)


def check(settings: TenantSettings | StreamSettings) -> None:
    """Raises `InvalidValue` with all that is wrong with what somebody wants. A country that was one when
    it was chosen is no fault of what is stored: it is found here alone."""
    wrong = list(problems(settings))
    if isinstance(settings, StreamSettings):
        wrong += _unknown_countries(settings)
    if wrong:
        raise InvalidValue(*wrong)


def bound_to_countries(settings: StreamSettings) -> tuple[str, ...]:
    """The settings that bind a stream to countries, by name."""
    return tuple(name for name in ("countries", "countries_denied") if getattr(settings, name))


def check_countries(before: StreamSettings | None, wanted: StreamSettings) -> None:
    """For a node that can look up no countries: raises `InvalidValue` where a stream is newly bound to some.
    `before`: what it was, None where it is new."""
    new = [
        name
        for name in bound_to_countries(wanted)
        if before is None or getattr(before, name) != getattr(wanted, name)
    ]
    if new:
        text = (
            "this server cannot tell countries, so nobody would be let in: its operator has to name a"
            " database of them first (geo.database)"
        )
        raise InvalidValue(*(Said("no-geo", text, of=name) for name in new))


def problems(settings: TenantSettings | StreamSettings) -> tuple[str, ...]:
    """Everything that is wrong, a sentence each; nothing where all is well."""
    found = _of_tenant if isinstance(settings, TenantSettings) else _of_stream
    return tuple(found(settings))  # type: ignore[arg-type]


def time_zone(name: str) -> tzinfo:
    """The time zone of a name as in `Europe/Berlin`. Raises `InvalidValue` where there is none."""
    if name == "UTC":
        # Known without tables of zones, which not every machine has.
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise InvalidValue(
            Said(
                "time-zone",
                f"{name!r} is no time zone that this machine knows; they are named as in"
                " Europe/Berlin",
                of="timezone",
                value=name,
            )
        ) from None


def check_tenant_name(name: str) -> None:
    """Raises `InvalidValue` where no tenant can have that name."""
    _check_slug("tenant", name)
    if name in RESERVED_TENANTS:
        raise InvalidValue(
            Said(
                "reserved",
                f"no tenant can be named {name!r}: such paths are the server's own",
                name=name,
            )
        )


def check_stream_name(name: str) -> None:
    """Raises `InvalidValue` where no stream can have that name."""
    _check_slug("stream", name)


def _check_slug(what: str, name: str) -> None:
    if not _SLUG.fullmatch(name):
        raise InvalidValue(
            Said(
                "slug",
                f"{name!r} is no {what} name: 1 to 63 small letters, digits and hyphens are, with no"
                " hyphen first",
                name=name,
            )
        )


def _of_tenant(settings: TenantSettings) -> Iterator[str]:
    yield from _text("display", settings.display)
    try:
        time_zone(settings.timezone)
    except InvalidValue as error:
        yield from error.problems
    yield from _at_least("max_rate_bps", settings.max_rate_bps, 1000)
    notice = settings.notice
    if len(notice) > 4000 or not all(c.isprintable() or c == "\n" for c in notice):
        yield Said("notice", "at most 4000 characters of plain text are wanted", of="notice")
    if settings.attendance_purpose not in ("", purpose.VERSION):
        yield Said(
            "purpose",
            f"{purpose.VERSION} is wanted, the version of the text that was read, or nothing",
            of="attendance_purpose",
        )
    if settings.checkpoint_url and not _HTTPS.fullmatch(settings.checkpoint_url):
        yield Said(
            "url",
            "an https address like https://login.example.org/checkpoints is wanted",
            of="checkpoint_url",
        )
    if settings.checkpoint_mail and not is_mail_address(settings.checkpoint_mail):
        yield Said(
            "mail-address",
            "one like attendance@example.org is wanted",
            of="checkpoint_mail",
        )
    if settings.checkpoint_cosigner and not _is_cosigner(settings.checkpoint_cosigner):
        yield Said(
            "cosigner",
            "the public key of a cosigner is wanted, as `pystream attendance cosign --new-key` writes it",
            of="checkpoint_cosigner",
        )
    for data in OF_TENANTS:
        days = getattr(settings, f"{data}_days")
        if days is not None and not LEAST_ATTENDANCE_DAYS <= days <= MOST_DAYS:
            yield _range(f"{data}_days", LEAST_ATTENDANCE_DAYS, MOST_DAYS, "days are", ", or none")


def _is_cosigner(text: str) -> bool:
    # Keys want a library that whoever has none of them need not wait for.
    from pystream.attendance.notes import VerifierKey

    try:
        return VerifierKey.parse(text).cosigns
    except InvalidValue:
        return False


def _of_stream(settings: StreamSettings) -> Iterator[str]:
    yield from _text("title", settings.title)
    yield from _of_sources(settings.sources)
    yield from _one_of("format", settings.format, FORMATS)
    yield from _one_of("access", settings.access, ACCESS)
    yield from _one_of("encryption", settings.encryption, ENCRYPTIONS)
    yield from _one_of("cache", settings.cache, CACHES)
    if not 100 <= settings.segment_duration_ms <= 3_600_000:
        yield _range("segment_duration_ms", 100, 3_600_000)
    yield from _at_least("rotate_every", settings.rotate_every, 1)
    if settings.rotate_every is not None and settings.encryption == "none":
        yield Said(
            "no-keys", "there are no keys to rotate with encryption 'none'", of="rotate_every"
        )
    if settings.pace is not None and not 1 <= settings.pace <= 1000:
        yield Said(
            "range-or-none",
            "from 1 to 1000 times real time is wanted, or off: below 1 nothing would play",
            of="pace",
            least=1,
            most=1000,
        )
    yield from _of_download(settings)
    yield from _of_origins("origins", settings.origins)
    yield from _of_origins("embed_origins", settings.embed_origins)
    yield from _at_least("max_viewers", settings.max_viewers, 1)
    yield from _of_sessions(settings)
    yield from _of_conditions(settings)
    yield from _of_attendance(settings)
    if settings.cache == "shared":
        yield from _of_shared_cache(settings)


def _of_sessions(settings: StreamSettings) -> Iterator[str]:
    yield from _one_of("device_mode", settings.device_mode, DEVICE_MODES)
    if not 60 <= settings.session_s <= LONGEST_S:
        yield _range("session_s", 60, LONGEST_S, "seconds are")
    if settings.idle_s is not None and not 60 <= settings.idle_s <= LONGEST_S:
        yield _range("idle_s", 60, LONGEST_S, "seconds are", ", or none")
    if settings.max_devices is not None and not 1 <= settings.max_devices <= 100:
        yield _range("max_devices", 1, 100, "are", ", or none")


def _of_attendance(settings: StreamSettings) -> Iterator[str]:
    yield from _of_no_skip(settings)
    yield from _of_beacons(settings)
    if not settings.attendance:
        return
    if settings.access in ("open", "shared"):
        yield Said(
            "attendance-access",
            "attendance is of one password or viewer: an access of 'personal', 'signed' or 'external' is"
            " wanted. Of others there are sums by stream and hour, as traffic has them",
            of="attendance",
        )
    if settings.cache == "shared":
        yield Said(
            "attendance-cache",
            "what a cache hands out nobody sees: attendance and 'shared' exclude each other",
            of="attendance",
        )


def _of_no_skip(settings: StreamSettings) -> Iterator[str]:
    if not settings.no_skip:
        return
    if settings.access != "personal":
        yield Said(
            "no-skip-access",
            "how far somebody has come is of one password, on all devices: an access of 'personal' is"
            " wanted",
            of="no_skip",
        )
    elif not settings.attendance:
        yield Said(
            "no-skip-attendance",
            "how far each password has come is kept for it: attendance has to be recorded as well",
            of="no_skip",
        )
    if settings.download:
        yield Said(
            "no-skip-download",
            "who has the film as one file goes anywhere in it: this and a download exclude each other",
            of="no_skip",
        )


def _of_beacons(settings: StreamSettings) -> Iterator[str]:
    if settings.beacons and not settings.attendance:
        yield Said(
            "beacons-attendance",
            "what players say narrows attendance, which has to be recorded for that",
            of="beacons",
        )
    if settings.require_visible and not settings.beacons:
        yield Said(
            "visible-beacons",
            "only the page can say whether it is hidden: beacons are wanted",
            of="require_visible",
        )
    if settings.own_count and not settings.attendance:
        yield Said(
            "own-count-attendance",
            "only what is recorded can be shown: attendance has to be recorded as well",
            of="own_count",
        )
    minutes = settings.check_minutes
    if minutes is None:
        return
    if not 5 <= minutes <= 240:
        yield _range("check_minutes", 5, 240, "minutes are", ", or none")
    if not settings.beacons:
        yield Said(
            "checks-beacons",
            "the page that asks has to say as well what it plays: beacons are wanted",
            of="check_minutes",
        )


def rules_of(rules: Rules, settings: TenantSettings) -> Rules:
    """A node's days, with those that a tenant has of its own."""
    own = {str(data): getattr(settings, f"{data}_days") for data in OF_TENANTS}
    return replace(rules, **{name: days for name, days in own.items() if days is not None})


def records_attendance(stream: Stream, tenant: Tenant | None) -> bool:
    """Whether who watches is recorded: the stream says so, and its tenant has accepted the purpose."""
    accepted = tenant is not None and tenant.settings.attendance_purpose != ""
    return stream.settings.attendance and accepted


def conditions(settings: StreamSettings) -> Conditions:
    """What a stream asks of whoever wants to watch, besides who it is."""
    locked_to = sites(settings) if settings.embed_lock else ()
    return Conditions(
        not_before=settings.opens_at,
        expires=settings.closes_at,
        origins=locked_to,
        allow_no_referrer=bool(locked_to) and settings.allow_no_referrer,
        networks=settings.networks,
        countries=settings.countries,
        countries_denied=settings.countries_denied,
        allow_unknown_country=settings.allow_unknown_country,
    )


def sites(settings: StreamSettings) -> tuple[str, ...]:
    """The web sites that may show a stream, by its page or by a player of their own."""
    return tuple(dict.fromkeys((*settings.embed_origins, *settings.origins)))


def is_elsewhere_alone(settings: StreamSettings) -> bool:
    """Whether a stream's own page shows it in frames of other sites only, and is no place to go to."""
    return settings.embed_lock and bool(sites(settings))


def _of_conditions(settings: StreamSettings) -> Iterator[str]:
    for name in ("opens_at", "closes_at"):
        yield from problems_of_moment(name, getattr(settings, name))
    if settings.embed_lock and "*" in sites(settings):
        yield Said(
            "lock-all", "'*' lets every site show it, so there is nothing to lock", of="embed_lock"
        )
        return
    for problem in problems_of_conditions(conditions(settings)):
        text = problem.removeprefix(f"{problem.of}: ")
        yield Said(problem.key, text, of=_SETTING_OF.get(problem.of, problem.of), **problem.values)


def _unknown_countries(settings: StreamSettings) -> Iterator[Said]:
    for name in bound_to_countries(settings):
        for country in getattr(settings, name):
            # Of another form, the conditions have said so.
            if re.fullmatch("[A-Z]{2}", country) and country not in _countries():
                text = f"{country!r} is no country; one is written as DE (ISO 3166-1)"
                yield Said("no-country", text, of=name, value=country)


@cache
def _countries() -> frozenset[str]:
    """ISO 3166-1's, as the time zone database keeps them, and Kosovo: XK is no code of that standard,
    but what databases of addresses call it."""
    text = files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(("XK", *(line.partition("\t")[0] for line in lines)))


_SETTING_OF = {"expires": "closes_at", "origins": "embed_origins"}


def _of_shared_cache(settings: StreamSettings) -> Iterator[str]:
    """What a CDN hands out, it hands out to anybody, as often and as fast as they ask."""
    if settings.encryption == "aes-128-per-viewer":
        yield Said(
            "cache-keys",
            "'shared' and per-viewer keys exclude each other: no two viewers' bytes are the same",
            of="cache",
        )
    if settings.encryption == "none" and settings.access != "open":
        yield Said(
            "cache-clear",
            "'shared' hands media to anybody, so that of a stream that is not open has to be"
            " encrypted",
            of="cache",
        )
    elif settings.encryption == "none" and conditions(settings) != Conditions(
        allow_unknown_country=settings.allow_unknown_country
    ):
        yield Said(
            "cache-bound",
            "'shared' hands media to anybody at any time, so what is bound to a time, a network, a"
            " country or a site has to be encrypted",
            of="cache",
        )
    if settings.pace is not None:
        yield Said(
            "cache-pace",
            "'shared' and a pace exclude each other: a cache keeps none (pace off)",
            of="cache",
        )


def _of_sources(sources: tuple[str, ...]) -> Iterator[str]:
    if not 1 <= len(sources) <= _MOST_SOURCES:
        yield _range("sources", 1, _MOST_SOURCES, "are")
    if len(set(sources)) < len(sources):
        yield Said("twice", "one is named twice", of="sources")
    for source in sources:
        if not source.startswith("/") or not source.isprintable() or len(source) > 4096:
            yield Said("no-path", f"{source!r} is no absolute path", of="sources")


def _of_download(settings: StreamSettings) -> Iterator[str]:
    yield from _at_least("download_rate_bps", settings.download_rate_bps, 1000)
    named = settings.download_source
    if named is not None and named not in settings.sources:
        yield Said("no-source", f"{named!r} is none of the stream's sources", of="download_source")
    if settings.download and named is None and len(settings.sources) > 1:
        yield Said(
            "which-source",
            "the stream has several sources, so download_source has to name one of them",
            of="download",
        )


def _of_origins(name: str, origins: tuple[str, ...]) -> Iterator[str]:
    if len(origins) > _MOST_ORIGINS:
        yield Said(
            "too-many", f"no more than {_MOST_ORIGINS} are wanted", of=name, most=_MOST_ORIGINS
        )
    if "*" in origins and len(origins) > 1:
        yield Said("all-alone", "'*' stands for all origins, and alone", of=name)
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            yield Said(
                "no-origin",
                f"{origin!r} is no origin; one is written as https://www.example.org",
                of=name,
                value=origin,
            )


def _text(name: str, value: str) -> Iterator[str]:
    if len(value) > 200 or not value.isprintable():
        yield Said("text", "at most 200 characters are wanted, and no line ends", of=name, most=200)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> Iterator[str]:
    if value not in known:
        yield Said("one-of", f"{value!r} is none of {', '.join(known)}", of=name, value=value)


def _at_least(name: str, value: int | None, least: int) -> Iterator[str]:
    if value is not None and not least <= value <= 10**15:
        yield Said("at-least", f"{least} or more is wanted, or none", of=name, least=least)


def _range(name: str, least: int, most: int, are: str = "is", or_none: str = "") -> Said:
    key = "range-or-none" if or_none else "range"
    text = f"from {least} to {most} {are} wanted{or_none}"
    return Said(key, text, of=name, least=least, most=most)
