"""What statements are made of: a tenant's settings and its streams', and what of the node's is practised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pystream.acl.disclosure import Practice
from pystream.acl.streams import Stream, Tenant, records_attendance


@dataclass(frozen=True, slots=True)
class Facts:
    """`day`: of which it is true, as 2031-05-15. The practice has the tenant's own days."""

    tenant: Tenant
    streams: tuple[Stream, ...]
    practice: Practice
    day: str

    @property
    def name(self) -> str:
        return self.tenant.settings.display or self.tenant.name

    @property
    def recorded(self) -> tuple[Stream, ...]:
        """Streams whose attendance is recorded."""
        return tuple(each for each in self.streams if records_attendance(each, self.tenant))

    @property
    def with_beacons(self) -> tuple[Stream, ...]:
        return tuple(each for each in self.recorded if each.settings.beacons)

    @property
    def with_checks(self) -> tuple[Stream, ...]:
        return tuple(each for each in self.with_beacons if each.settings.check_minutes is not None)

    @property
    def without_skipping(self) -> tuple[Stream, ...]:
        return tuple(each for each in self.recorded if each.settings.no_skip)

    @property
    def downloaded(self) -> tuple[Stream, ...]:
        return tuple(each for each in self.streams if each.settings.download)

    @property
    def of_cdn(self) -> tuple[Stream, ...]:
        """Streams whose encrypted media caches may keep and hand out."""
        return tuple(each for each in self.streams if each.settings.cache == "shared")

    @property
    def placed(self) -> tuple[Stream, ...]:
        """Streams that are bound to networks or countries."""
        return tuple(
            each
            for each in self.streams
            if each.settings.networks or each.settings.countries or each.settings.countries_denied
        )

    def opened_by(self, *access: str) -> tuple[Stream, ...]:
        return tuple(each for each in self.streams if each.settings.access in access)


def titles(streams: Sequence[Stream], language: str) -> str:
    """Their titles, each in the quotation marks of the language."""
    before, after = ("„", "“") if language == "de" else ("“", "”")
    named = sorted(each.settings.title or each.name for each in streams)
    return ", ".join(f"{before}{name}{after}" for name in named)
