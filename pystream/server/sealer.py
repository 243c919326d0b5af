"""The writer seals reports by itself when their time has come (`pystream.acl.reports.due`), by the same
function as whoever else may, and once: a version that is there is left alone, a person's or another node's.

It looks for what is due every ten minutes. After an outage that may be much: so it seals for some seconds at
a time, a report in each transaction, and goes on a minute later. A report that cannot be sealed keeps no
other one waiting, and is tried again, ever less often.

Nothing is sealed without an anchor, nor of a log that was brought back before its next epoch has begun; and
it is as late as the earlier of the two clocks says, since nobody can take back what was sealed too early.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pystream.acl.reports.due import WHO, Finder
from pystream.acl.reports.making import Reporter, Wanted
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import Store
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.notary import Notary
from pystream.acl.store.sealed_reports import Subject
from pystream.attendance.programmes import Event
from pystream.errors import Exists, NotFound, Unattended
from pystream.server import log
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor

_FIND_SECONDS = 600.0
_PIECE_SECONDS = 20.0
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3600.0


class Sealer:
    """`signing` knows which logs may be signed; `count` is called with one of `gauges.SEALINGS`. `clock`
    gives Unix seconds, and `monotonic` those by which it waits."""

    def __init__(
        self,
        store: Store,
        keys: KeyStore,
        anchor: Anchor,
        signing: Checkpoints,
        count: Callable[[str], None] = lambda done: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._reporter = Reporter(store, keys)
        self._finder = Finder(store, keys)
        self._notary = Notary(store.database, keys)
        self._anchor = anchor
        self._signing = signing
        self._count = count
        self._clock = clock
        self._monotonic = monotonic
        self._waiting = deque[Wanted]()
        # When it was last looked for what is due: by `monotonic`, and by the clock.
        self._found: tuple[float, int] | None = None
        self._has_all = False
        # Whether something that was found is not sealed yet.
        self._has_missed = False
        # Of which nobody is in the report.
        self._unattended = set[Subject]()
        # How long the last pause was, and when it ends.
        self._pauses: dict[Subject, tuple[float, float]] = {}

    def look(self, rules: Rules, *, everything: bool = False) -> bool:
        """Seals what is due, or some of it; whether nothing is left that could be sealed now. `everything`:
        what has become due at any time is looked for once more, before that is said, and nothing is left that
        could not be sealed, either. Raises `StoreError` where it cannot be known what is due."""
        if everything and not self._anchor.offset:
            # What has become due nobody knows yet.
            return not self._notary.heads()
        # Without an anchor it is 1970.
        now, begun = min(int(self._clock()), self._anchor.now() // 1000), self._monotonic()
        self._find(rules, now, begun, everything=everything)
        is_sealed = False
        while self._waiting and (not is_sealed or self._monotonic() - begun < _PIECE_SECONDS):
            is_sealed = self._try(self._waiting.popleft(), now) or is_sealed
        if is_sealed:
            # What was signed is known beside the store before anybody is told.
            self._signing.look()
        return not self._waiting and not (everything and self._has_missed)

    def _find(self, rules: Rules, now: int, begun: float, *, everything: bool) -> None:
        self._has_all = self._has_all and everything
        is_asked, found, since = everything and not self._has_all, self._found, 0
        if found is not None and not is_asked:
            at, moment = found
            if self._waiting or begun - at < _FIND_SECONDS:
                return
            since = 0 if self._has_missed else moment - DAY_S
        if is_asked:
            self._unattended.clear()
        # Where this fails, it is looked for again.
        self._found = None
        due = self._finder.due(rules, now, since)
        self._waiting = deque(each for each in due if each.subject not in self._unattended)
        self._found, self._has_all, self._has_missed = (begun, now), everything, False

    def _try(self, wanted: Wanted, now: int) -> bool:
        """Whether that has cost anything."""
        subject = wanted.subject
        pause, end = self._pauses.get(subject, (0.0, 0.0))
        if self._monotonic() < end or not self._signing.may_sign(wanted.tenant.id):
            self._has_missed = True
            return False
        by = {"tenant": wanted.tenant.name, "of": wanted.of.name, "day": wanted.day}
        try:
            if not self._is_as_found(wanted):
                self._has_missed = True
                return False
            clock = self._anchor.state()
            version, _ = self._reporter.seal_now(
                wanted, self._notary, clock, who=WHO, now=now, by_itself=True
            )
        except Unattended:
            self._unattended.add(subject)
        except Exists:
            pass
        except Exception as error:
            # Whatever it is, the others are sealed.
            pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._pauses[subject] = pause, self._monotonic() + pause
            self._has_missed = True
            self._count("failed")
            log.warning("report-not-sealed", **by, **log.fault(error))
            return True
        else:
            self._count("sealed")
            log.info("report-sealed", **by, version=version.number)
        self._pauses.pop(subject, None)
        return True

    def _is_as_found(self, wanted: Wanted) -> bool:
        """Whether it is still what was found, and nobody has sealed it. What was changed is found again."""
        tenant, of = wanted.tenant, wanted.of
        try:
            if isinstance(of, Event):
                there = self._store.events.event(tenant.id, of.name) == of
            else:
                there = self._store.stream(tenant.name, of.name) == of
            there = there and self._store.tenant(tenant.name) == tenant
        except NotFound:
            return False
        return there and not self._reporter.sealed.sealed_at(tenant.id, [wanted.subject])
