"""How attendance is counted: a ledger's options, by what tenants have set of their streams and events."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pystream.acl.streams import Stream, Tenant
from pystream.attendance.options import Options
from pystream.attendance.programmes import EventSettings


def of_stream(stream: Stream, tenant: Tenant) -> Options:
    """For the days of a stream."""
    return _options([stream], timezone=tenant.settings.timezone)


def of_event(event: EventSettings, streams: Collection[Stream]) -> Options:
    """For an event over these streams, which count together."""
    return replace(
        _options(
            streams,
            timezone=event.timezone,
            windows=event.windows,
            breaks=event.breaks,
            union=True,
        ),
        lookahead=None if event.lookahead_s is None else event.lookahead_s * 1000,
        bridge=event.bridge_ms,
        credit_outage=event.credit_outage,
    )


def _options(
    streams: Collection[Stream],
    *,
    timezone: str,
    windows: tuple[tuple[int, int], ...] = (),
    breaks: tuple[tuple[int, int], ...] = (),
    union: bool = False,
) -> Options:
    # What pages say counts where all of them say it, since of one that says nothing nothing would count. What
    # one of them wants visible, all have to have.
    verified = all(each.settings.beacons for each in streams)
    return Options(
        mode="file",
        target_duration=max(each.settings.segment_duration_ms for each in streams),
        timezone=timezone,
        windows=windows,
        breaks=breaks,
        verified=verified,
        require_visible=verified and any(each.settings.require_visible for each in streams),
        union=union,
    )
