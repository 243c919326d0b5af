"""What a tenant sets of `attendance-v1`: the options of a ledger, and how they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

from pystream._core import Ledger
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

_SECONDS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?")
_INSTANT = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,3}))?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_SPAN = re.compile(f"{_INSTANT}/{_INSTANT}")
_EPOCH = datetime(1970, 1, 1)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Options:
    """All options; durations and instants are ms. Where None is the default, the mode says what it is.

    Raises `InvalidValue` where they do not go together.
    """

    mode: Literal["live", "file"]
    target_duration: int = 6000
    lookahead: int | None = None
    bridge: int | None = None
    timezone: str = "UTC"
    windows: tuple[tuple[int, int], ...] = ()
    breaks: tuple[tuple[int, int], ...] = ()
    verified: bool = False
    require_visible: bool = False
    live_only: int | None = None
    credit_outage: bool = False
    union: bool = False

    def __post_init__(self) -> None:
        problems = [
            text
            for is_so, text in (
                (self.target_duration <= 0, "the target duration has to be above 0"),
                (self.breaks and not self.windows, "breaks need a window"),
                (self.require_visible and not self.verified, "require-visible needs verified"),
                (self.live_only is not None and self.mode != "live", "live-only needs live"),
            )
            if is_so
        ]
        if problems:
            raise InvalidValue(*problems)

    def resolved(self) -> Options:
        """The same, with what the mode says where something was left open."""
        lookahead = self.target_duration if self.mode == "live" else 60_000
        return replace(
            self,
            lookahead=lookahead if self.lookahead is None else self.lookahead,
            # Holes are whole ms, so half a ms is too short for any.
            bridge=self.target_duration // 2 if self.bridge is None else self.bridge,
        )

    def ledger(self) -> Ledger:
        """An empty ledger of these options."""
        whole = self.resolved()
        assert whole.lookahead is not None and whole.bridge is not None
        return Ledger(
            live=self.mode == "live",
            target_duration=self.target_duration,
            lookahead=whole.lookahead,
            bridge=whole.bridge,
            zone=zone_file(self.timezone),
            windows=self.windows,
            breaks=self.breaks,
            live_only=self.live_only,
            verified=self.verified,
            require_visible=self.require_visible,
            credit_outage=self.credit_outage,
            union=self.union,
        )


def milliseconds(text: str) -> int:
    """Of seconds: one to nine digits, then optionally a point and one to three. Raises `InvalidValue`."""
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise InvalidValue("seconds are wanted, as in 6 or 1.001")
    whole, fraction = found.groups()
    return int(whole) * 1000 + int((fraction or "").ljust(3, "0"))


def span(text: str) -> tuple[int, int]:
    """FROM/TO, each an RFC 3339 time with up to three digits of a second. Raises `InvalidValue`."""
    found = _SPAN.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        begin, end = _instant(*found.groups()[:10]), _instant(*found.groups()[10:])
    except ValueError:
        raise InvalidValue("FROM/TO is wanted, both as in 2026-03-10T18:00:00+01:00") from None
    if begin >= end:
        raise InvalidValue("FROM has to be before TO")
    return begin, end


def _instant(*groups: str | None) -> int:
    *clock, fraction, sign, hours, minutes = groups
    year, month, day, hour, minute, second = (int(part or "") for part in clock)
    local = (datetime(year, month, day, hour, minute, second) - _EPOCH) // _MS
    offset = (int(hours or "0") * 60 + int(minutes or "0")) * 60_000
    return local + int((fraction or "").ljust(3, "0")) - (-offset if sign == "-" else offset)


@cache
def zones() -> frozenset[str]:
    """The zones and links of the time zone database."""
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())


def zones_version() -> str:
    """Which release of the time zone database this is, as its package has it."""
    from importlib.metadata import version

    return version("tzdata")


def zone_file(name: str) -> bytes:
    """The file of a zone, from the package and not from the machine: a report is the same everywhere.

    Raises `InvalidValue` where there is none of exactly that name.
    """
    if name not in zones():
        raise InvalidValue("a time zone is wanted, as in Europe/Berlin")
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
