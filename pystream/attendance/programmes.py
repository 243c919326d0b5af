"""An event of a tenant's: a programme that people attend, over several streams and days.

Windows and breaks are written as the clock on the wall has them, and kept as instants (ms since 1970) with
the zone that they were written in: an event stays where it is when the tenant moves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from io import BytesIO
from zoneinfo import ZoneInfo

from pystream.attendance import policies
from pystream.attendance.options import zone_file
from pystream.attendance.policies import Policy
from pystream.errors import InvalidValue, Said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Spans = tuple[tuple[int, int], ...]

SEAL_AFTER_S = 86400
"""Evidence may come late: until then a report is provisional."""

_MOST_SPANS = 200
_MOST_STREAMS = 100
_LONGEST_SEAL_AFTER_S = 14 * 86400
# What players are known to buffer at most; and less than a segment, usually: one that was missed is a hole.
_LONGEST_LOOKAHEAD_S = 600
_LONGEST_BRIDGE_MS = 5000
# Instants of the ledger, and so of windows.
_LAST_MS = 4_102_444_800_000
_VNR = re.compile(r"276[0-9]{16}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CIVIL = r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)"
_SPAN = re.compile(rf"{_CIVIL}/(?:{_CIVIL}|(\d\d:\d\d(?::\d\d)?))", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """What can be changed about an event.

    `title`: its name for people. `vnr`: the chamber's number. `streams`: names of the tenant's streams.
    `timezone`: whose days and clock are meant. `windows`, `breaks`: the programme, in ms since 1970.
    `rounding`, `threshold_pct`, `least_minutes`: as `Policy` has them. `seal_after_s`: seconds behind the
    end of its last day before which no report is sealed. `lookahead_s`: so far ahead of its delivery film
    counts, and `bridge_ms`: holes of so many ms are none; None: as `attendance-v1` has it for films.
    `credit_outage`: reports say as well how much of an outage lay within somebody's attendance.
    """

    title: str
    streams: tuple[str, ...]
    timezone: str
    windows: Spans
    breaks: Spans = ()
    vnr: str = ""
    rounding: str = policies.ROUNDINGS[0]
    threshold_pct: int | None = None
    least_minutes: int | None = None
    seal_after_s: int = SEAL_AFTER_S
    lookahead_s: int | None = None
    bridge_ms: int | None = None
    credit_outage: bool = False

    @property
    def policy(self) -> Policy:
        return Policy(
            rounding=self.rounding,
            threshold_pct=self.threshold_pct,
            least_minutes=self.least_minutes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event that a tenant has. `created_at` is in Unix seconds."""

    id: int
    tenant_id: int
    name: str
    settings: EventSettings = field(repr=False)
    created_at: int


def problems(settings: EventSettings) -> tuple[str, ...]:
    """Everything that is wrong, a sentence each; nothing where all is well."""
    return tuple(_problems(settings))


def check(settings: EventSettings) -> None:
    """Raises `InvalidValue` with all that is wrong."""
    wrong = problems(settings)
    if wrong:
        raise InvalidValue(*wrong)


def check_name(name: str) -> None:
    """Raises `InvalidValue` where no event can have that name."""
    if not _SLUG.fullmatch(name):
        raise InvalidValue(
            Said(
                "slug",
                f"{name!r} is no event name: 1 to 63 small letters, digits and hyphens are, with no hyphen"
                " first",
                name=name,
            )
        )


def is_vnr(text: str) -> bool:
    """Whether it can be the number that a German chamber of physicians has given an event: 19 digits
    (glossary of eiv-fobi.de). That the last one is a check digit by Luhn's formula, and the first ones 276,
    Germany, is said nowhere, but true of the numbers that are published for tests. Other chambers have
    others."""
    return bool(_VNR.fullmatch(text)) and is_luhn(text)


def is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 Annex B: from the right, each second digit counts twice, as the sum of its own."""
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits)))
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def _problems(settings: EventSettings) -> Iterator[str]:
    title, vnr = settings.title, settings.vnr
    if not title.strip() or len(title) > 200 or not title.isprintable():
        text = "from 1 to 200 characters are wanted, and no line ends"
        yield Said("text-wanted", text, of="title", most=200)
    if len(vnr) > 40 or not vnr.isprintable():
        text = "at most 40 characters are wanted, and no line ends"
        yield Said("text", text, of="vnr", most=40)
    if not 1 <= len(settings.streams) <= _MOST_STREAMS:
        yield _range("streams", 1, _MOST_STREAMS)
    if len(set(settings.streams)) < len(settings.streams):
        yield Said("twice", "one is named twice", of="streams")
    try:
        zone(settings.timezone)
    except InvalidValue:
        text = f"{settings.timezone!r} is no time zone; they are named as in Europe/Berlin"
        yield Said("time-zone", text, of="timezone", value=settings.timezone)
    yield from _of_programme(settings)
    yield from policies.problems(settings.policy)
    if not 0 <= settings.seal_after_s <= _LONGEST_SEAL_AFTER_S:
        yield _range("seal_after_s", 0, _LONGEST_SEAL_AFTER_S)
    for name, value, least, most in (
        ("lookahead_s", settings.lookahead_s, 1, _LONGEST_LOOKAHEAD_S),
        ("bridge_ms", settings.bridge_ms, 0, _LONGEST_BRIDGE_MS),
    ):
        if value is not None and not least <= value <= most:
            text = f"from {least} to {most} are wanted, or none"
            yield Said("range-or-none", text, of=name, least=least, most=most)


def _of_programme(settings: EventSettings) -> Iterator[str]:
    sound = True
    for name, spans in (("windows", settings.windows), ("breaks", settings.breaks)):
        least = 1 if name == "windows" else 0
        if not least <= len(spans) <= _MOST_SPANS:
            sound = False
            yield _range(name, least, _MOST_SPANS)
        if not all(0 <= begin < end <= _LAST_MS for begin, end in spans):
            sound = False
            text = "each has to end after it begins, from 1970 to 2099"
            yield Said("span-order", text, of=name)
    if sound and programme_ms(settings.windows, settings.breaks) < 1000:
        yield Said("breaks-all", "they leave nothing of the windows", of="breaks")


def _range(name: str, least: int, most: int) -> Said:
    text = f"from {least} to {most} are wanted"
    return Said("range", text, of=name, least=least, most=most)


# The programme


def programme(windows: Sequence[tuple[int, int]], breaks: Sequence[tuple[int, int]]) -> Spans:
    """All windows united, minus all breaks, ascending."""
    found: list[tuple[int, int]] = []
    for begin, end in united(windows):
        for from_, to in united(breaks):
            if begin < from_ < end:
                found.append((begin, from_))
            if from_ < end and to > begin:
                begin = min(to, end)
        if begin < end:
            found.append((begin, end))
    return tuple(found)


def programme_ms(windows: Sequence[tuple[int, int]], breaks: Sequence[tuple[int, int]]) -> int:
    """How long it is."""
    return sum(end - begin for begin, end in programme(windows, breaks))


def united(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The instants of all of these, ascending, not touching."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


# Civil times


@cache
def zone(name: str) -> ZoneInfo:
    """Of the package, as the ledger has it. Raises `InvalidValue`."""
    return ZoneInfo.from_file(BytesIO(zone_file(name)), key=name)


def span(text: str, timezone: str) -> tuple[int, int]:
    """FROM/TO as the clock there has it, as in 2026-03-10T18:00/19:30 or, over midnight, with both dates.

    Where the clock is set back an hour comes twice: FROM is the first of these, TO the second, so that
    nobody loses anything. Raises `InvalidValue`, for times too that the clock leaves out.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise _no_span()
    day, begin, other_day, end, short_end = found.groups()
    there = zone(timezone)
    first = _instant(day, begin, there, fold=0)
    last = _instant(other_day or day, end or short_end, there, fold=1)
    if first >= last:
        text = "FROM has to be before TO; a TO of another day has its date"
        raise InvalidValue(Said("span-backwards", text))
    return first, last


def _instant(day: str, clock: str, there: ZoneInfo, *, fold: int) -> int:
    try:
        local = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=there, fold=fold)
        seconds = local.timestamp()
    except (ValueError, OverflowError):
        raise _no_span() from None
    if datetime.fromtimestamp(seconds, there).replace(tzinfo=None) != local.replace(tzinfo=None):
        text = f"{day} {clock} is none in {there}: the clock is set forward then"
        raise InvalidValue(Said("clock-skips", text, value=f"{day} {clock}"))
    return round(seconds * 1000)


def _no_span() -> InvalidValue:
    return InvalidValue(Said("span", "FROM/TO is wanted, as in 2026-03-10T18:00/19:30"))


def written(span: tuple[int, int], timezone: str) -> str:
    """A span as `span` reads it, save for an hour that comes twice."""
    begin, end = (datetime.fromtimestamp(ms / 1000, zone(timezone)) for ms in span)
    first, last = (
        each.strftime("%Y-%m-%dT%H:%M:%S" if each.second else "%Y-%m-%dT%H:%M")
        for each in (begin, end)
    )
    return f"{first}/{last.partition('T')[2] if begin.date() == end.date() else last}"


def days(spans: Sequence[tuple[int, int]], timezone: str) -> tuple[str, ...]:
    """The civil days that spans touch."""
    there, found = zone(timezone), set[date]()
    for begin, end in spans:
        day = datetime.fromtimestamp(begin / 1000, there).date()
        last = datetime.fromtimestamp((end - 1) / 1000, there).date()
        while day <= last:
            found.add(day)
            day += timedelta(days=1)
    return tuple(day.isoformat() for day in sorted(found))


def midnights(first: str, last: str, timezone: str) -> tuple[int, int]:
    """From the first instant of a civil day to the first one behind another, in ms."""
    there = zone(timezone)
    return _first_of(date.fromisoformat(first), there), _first_of(
        date.fromisoformat(last) + timedelta(days=1), there
    )


def _first_of(day: date, there: ZoneInfo) -> int:
    """Where clocks are set at midnight a day begins later, or its midnight comes twice."""
    naive = datetime(day.year, day.month, day.day)
    seconds = round(naive.replace(tzinfo=there).timestamp())
    if datetime.fromtimestamp(seconds, there).replace(tzinfo=None) == naive:
        return seconds * 1000
    # In the gap: the first instant of the day is the one at which the clock is set.
    low, high = seconds - 4 * 3600, seconds + 4 * 3600
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, there).date() < day:
            low = middle
        else:
            high = middle
    return high * 1000
