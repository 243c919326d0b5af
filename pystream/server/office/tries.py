"""How often somebody may still try to sign in.

Tries are counted in memory that the supervisor keeps, by keyed hashes and nowhere else: one limit for all
workers, since they all ask the office; for two offices, while one takes over from another; and for one
that is started anew, so nobody gets fresh tries by having it die. When the node is started anew, all is
forgotten. (GCRA: each try moves a time on.)
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pystream import _core

_US = 1_000_000


class Tries:
    """`most` at once, and one more every `seconds`. A try is counted before it is known how it ends, so that
    a hundred at once are a hundred; one that was right is given back. Usable from several threads.

    `table` may be that of other tries as well, which have another name for what they are `of`. `clock` gives
    seconds, the same in all processes, and never steps back: a clock that is set would keep everybody out, or
    give them fresh tries.
    """

    def __init__(
        self,
        table: _core.Gcra,
        of: str,
        most: int,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._of = of
        self._emission_us = round(seconds * _US)
        self._burst_us = most * self._emission_us
        self._clock = clock

    def take(self, key: object, now: float) -> float:
        """0 where one may try, which is counted; else the seconds after which one may. `key`: whose try it
        is, texts and bytes; `now`: what the clock says."""
        named, now_us = self._named(key), int(now * _US)
        return self._table.check(named, now_us, self._emission_us, self._burst_us) / _US

    def give_back(self, key: object) -> None:
        self._table.give_back(self._named(key), int(self._clock() * _US), self._emission_us)

    def _named(self, key: object) -> bytes:
        return msgspec.msgpack.encode((self._of, key))
