"""How many requests a token may send, told as draft-ietf-httpapi-ratelimit-headers has it.

In memory alone, by token: a budget of `most` requests fills up evenly within `_WINDOW_S` (GCRA), so that
a burst is let through and a loop that has run wild is not.
"""

from __future__ import annotations

from math import ceil
from threading import Lock
from typing import NamedTuple

_WINDOW_S = 60
_KEYS = 10_000


class Left(NamedTuple):
    """`remaining`: requests that may be sent at once; `reset_s`: until all may be again; `wait_s`: until
    the next one may be, 0 where this one was let through."""

    remaining: int
    reset_s: int
    wait_s: int


class Quotas:
    """Usable from several threads. `most` requests a minute, by a clock that never steps back."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._step = _WINDOW_S / most
        # By key, when its budget is full again.
        self._full: dict[int, float] = {}
        self._lock = Lock()

    @property
    def policy(self) -> tuple[str, str]:
        return "RateLimit-Policy", f'"token";q={self.most};w={_WINDOW_S}'

    def take(self, key: int, now: float) -> Left:
        with self._lock:
            if key not in self._full and len(self._full) >= _KEYS:
                self._full = {each: full for each, full in self._full.items() if full > now}
            full = max(self._full.get(key, now), now)
            wait = full + self._step - now - _WINDOW_S
            # Sums of steps are not exact to the last bit.
            if wait > 1e-6:
                return Left(0, ceil(full - now), ceil(wait))
            self._full[key] = full = full + self._step
        remaining = int((_WINDOW_S - (full - now)) / self._step + 1e-6)
        return Left(max(0, remaining), ceil(full - now), 0)


def fields(quotas: Quotas, left: Left) -> list[tuple[str, str]]:
    return [quotas.policy, ("RateLimit", f'"token";r={left.remaining};t={left.reset_s}')]
