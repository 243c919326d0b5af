"""Whether one more viewer can be let in.

Those who are inside go on in any case: what is full closes its door, and never the mouths of those
who have a place. A viewer comes in by an address that hands out a grant, or with a grant of his own
that nobody here has seen lately, at the multivariant playlist; only there a verdict is asked for.

A newcomer takes a while to show in what is sent. Until then he is reckoned with as much as others
get, so that a thousand who come within a second are not all let in because nobody has got anything.

A late loop speaks against newcomers only while the node has work: ten answers under way, or as much
to send as ten newcomers take. A processor sends many times that, so a node with less to do is late
because of something else on its machine, and turning viewers away would help nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NEWCOMER_SECONDS = 5.0
"""How long a newcomer is reckoned with; also over how many seconds rates are measured."""
_NEWCOMER_BPS = 4_000_000
"""What a newcomer is expected to take where there are too few others to go by."""
_LEAST_BPS = 500_000
_ENOUGH = 10
_WORK_BPS = _ENOUGH * _NEWCOMER_BPS
_RETRY_SECONDS = (5, 15)


class Reason(Enum):
    """Why one more viewer is too many."""

    EGRESS = "egress"
    IN_FLIGHT = "bytes_in_flight"
    LAG = "loop_lag"
    VIEWERS = "viewers"
    STREAM_VIEWERS = "stream_viewers"
    TENANT_RATE = "tenant_rate"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must not be passed; 0 and None are no bound. Rates in bits a second."""

    egress_bps: int = 0
    bytes_in_flight: int = 0
    loop_lag_ms: int = 0
    max_viewers: int = 0
    stream_viewers: int | None = None
    tenant_bps: int | None = None

    @property
    def ask_for_viewers(self) -> bool:
        """Whether it matters how many viewers there are."""
        counts = self.stream_viewers, self.tenant_bps
        return bool(self.egress_bps or self.max_viewers) or counts != (None, None)


@dataclass(frozen=True, slots=True)
class Load:
    """How it is. `newcomers` were let in lately and may not show yet in the rates; those of the
    tenant are among them. `answers` are under way."""

    egress_bps: float = 0
    bytes_in_flight: int = 0
    loop_lag_ms: float = 0
    viewers: int = 0
    newcomers: int = 0
    stream_viewers: int = 0
    tenant_bps: float = 0
    tenant_newcomers: int = 0
    answers: int = 0


def verdict(load: Load, bounds: Bounds) -> Reason | None:
    """Why nobody more can be let in, or None where somebody can."""
    settled = load.viewers - load.newcomers
    each = max(_LEAST_BPS, load.egress_bps / settled) if settled >= _ENOUGH else _NEWCOMER_BPS
    expected = load.egress_bps + each * load.newcomers
    if bounds.egress_bps and expected >= bounds.egress_bps:
        return Reason.EGRESS
    if bounds.bytes_in_flight and load.bytes_in_flight >= bounds.bytes_in_flight:
        return Reason.IN_FLIGHT
    has_work = expected >= _WORK_BPS or load.answers >= _ENOUGH
    if bounds.loop_lag_ms and has_work and load.loop_lag_ms >= bounds.loop_lag_ms:
        return Reason.LAG
    if bounds.max_viewers and load.viewers >= bounds.max_viewers:
        return Reason.VIEWERS
    if bounds.stream_viewers is not None and load.stream_viewers >= bounds.stream_viewers:
        return Reason.STREAM_VIEWERS
    expected = load.tenant_bps + each * load.tenant_newcomers
    if bounds.tenant_bps is not None and expected >= bounds.tenant_bps:
        return Reason.TENANT_RATE
    return None


def retry_after(chance: float) -> int:
    """Seconds after which to come again, spread out so that all who were turned away do not come at
    once. `chance` is from 0 to 1, and not 1."""
    least, most = _RETRY_SECONDS
    return least + int(chance * (most - least + 1))
