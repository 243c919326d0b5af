"""How reports are made of what two opened stores have, and sealed.

**Which evidence.** From a day before the first civil day to a day after the last one, so that who came in
before midnight is counted right; rows are those of the days, and of the programme. Both stand in the
document's scope: `verify` takes the same.

**At which cost.** Who looks pays for what is new since somebody last did (`folds`); what is sealed is
computed from all of its evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pystream._core import Evidence
from pystream.acl import counting
from pystream.acl.reports import Report, of_document
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer, Shown
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.notary import Notary
from pystream.acl.store.sealed_reports import SealedReports, Subject, Version
from pystream.acl.streams import Stream, Tenant
from pystream.attendance import documents
from pystream.attendance.checkpoint import Clock
from pystream.attendance.documents import Scope
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options, zones_version
from pystream.attendance.policies import award, decimal, digest
from pystream.attendance.programmes import SEAL_AFTER_S, Event, days, midnights, programme_ms
from pystream.errors import InvalidValue, Said, StoreError, TooEarly, Unattended

DEFINITION: Final = "attendance-v1"

_DAY_MS = 86_400_000
_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is wanted of: an event, a stream, or a civil day of it. Raises `InvalidValue` for a day
    that no evidence can be of."""

    tenant: Tenant
    of: Event | Stream
    day: str | None = None

    def __post_init__(self) -> None:
        if self.day is not None and not "1970-01-01" <= self.day <= "2099-12-30":
            text = "one from 1970 to 2099 is wanted, as in 2031-05-01"
            raise InvalidValue(Said("day", text, of="day"))

    @property
    def stream_id(self) -> int | None:
        """None of an event."""
        return None if isinstance(self.of, Event) else self.of.id

    @property
    def subject(self) -> Subject:
        """Of which there are sealed versions. Raises `InvalidValue` for all days of a stream at once."""
        if isinstance(self.of, Event):
            return Subject(event_id=self.of.id)
        if self.day is None:
            raise _no_day()
        return Subject(stream_id=self.of.id, day=self.day)

    @property
    def sealable_from(self) -> int:
        """The first moment at which a report of it can be sealed, in Unix seconds: until then evidence may
        come in. Raises `InvalidValue` as `subject` does."""
        if isinstance(self.of, Event):
            settings = self.of.settings
            touched = days(settings.windows, settings.timezone)
            return _over(touched[-1], settings.timezone) + settings.seal_after_s
        if self.day is None:
            raise _no_day()
        return _over(self.day, self.tenant.settings.timezone) + SEAL_AFTER_S


class Reporter:
    """Makes reports from two opened stores. Methods raise `StoreError` as these do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._keys = keys
        self.sealed = SealedReports(store.database, keys)

    def provisional(self, wanted: Wanted, now: int, *, whole: bool = False) -> Report:
        """By all that is known now; `whole`: computed from all of that, as what is sealed is."""
        if isinstance(wanted.of, Event):
            return self.of_event(wanted.tenant, wanted.of, now, whole=whole)
        return self.of_stream(wanted.tenant, wanted.of, wanted.day, now, whole=whole)

    def of_event(self, tenant: Tenant, event: Event, now: int, *, whole: bool = False) -> Report:
        """A provisional report, as above."""
        settings = event.settings
        streams = self._attended(tenant, event)
        options = counting.of_event(settings, streams)
        touched = days(settings.windows, settings.timezone)
        rows, scope = self._rows(tenant, streams, options, touched, whole=whole)
        programme = programme_ms(settings.windows, settings.breaks)
        policy = settings.policy
        awards = {}
        for row in rows:
            if row["stream"] is None and row["day"] is None:
                worth = award(policy, row["certifiable_ms"], programme)
                points = None if worth.points is None else decimal(worth.points)
                awards[row["key"]] = {"certified": worth.certified, "points": points}
        about = self._about(tenant, streams, rows, now, options, touched) | {
            "erased": self._erased(tenant, streams, touched, settings.timezone),
            "restricted": len(scope.without),
            "kind": "event",
            "name": event.name,
            "title": settings.title,
            "vnr": settings.vnr,
            "policy": {
                "rounding": policy.rounding,
                "threshold_pct": policy.threshold_pct,
                "least_minutes": policy.least_minutes,
            },
            "programme_ms": programme,
            "awards": awards,
        }
        about["policy_hash"] = digest(DEFINITION, options, about["policy"])
        return Report(rows, options, scope, about, zones_version())

    def of_stream(
        self, tenant: Tenant, stream: Stream, day: str | None, now: int, *, whole: bool = False
    ) -> Report:
        """A provisional report of a civil day, or of all that there is evidence of, as above."""
        options = counting.of_stream(stream, tenant)
        touched = None if day is None else (day,)
        rows, scope = self._rows(tenant, [stream], options, touched, whole=whole)
        about = self._about(tenant, [stream], rows, now, options, touched) | {
            "erased": self._erased(tenant, [stream], touched, options.timezone),
            "restricted": len(scope.without),
            "kind": "stream",
            "name": stream.name,
            "title": stream.settings.title or stream.name,
            "vnr": "",
            "policy": None,
            "programme_ms": None,
            "awards": {},
        }
        about["policy_hash"] = digest(DEFINITION, options, None)
        return Report(rows, options, scope, about, zones_version())

    def seal_now(
        self,
        wanted: Wanted,
        notary: Notary,
        clock: Clock,
        reason: str = "",
        *,
        who: str,
        now: int,
        by_itself: bool = False,
    ) -> tuple[Version, Report]:
        """Seals a provisional report, behind a checkpoint of now. Raises `TooEarly`, what `seal` raises, and
        `NotFound` where nothing was recorded yet."""
        subject = wanted.subject
        check_over(wanted, now)
        notary.ensure_key(wanted.tenant.id, now)
        return self.seal(
            subject,
            lambda: self.provisional(wanted, now, whole=True),
            lambda: notary.checkpoint(wanted.tenant.id, clock, now).note,
            notary.signing_key(wanted.tenant.id),
            reason,
            tenant=wanted.tenant,
            who=who,
            now=now,
            by_itself=by_itself,
        )

    def seal(
        self,
        subject: Subject,
        make: Callable[[], Report],
        checkpoint: Callable[[], str],
        key: SigningKey,
        reason: str = "",
        *,
        tenant: Tenant,
        who: str,
        now: int,
        by_itself: bool = False,
    ) -> tuple[Version, Report]:
        """Seals what `make` gives as the next version; a correction needs a reason. `checkpoint` gives a
        note of the log as it is then, and `key` is what its logs are signed with. `by_itself`: nobody has
        asked for it.

        Raises `InvalidValue`, and `StoreError` where evidence goes on coming in meanwhile; by itself,
        `Exists` where there is a version, and `Unattended` where nobody is in it.
        """
        # A row may rest on nothing that the checkpoint has not: so nothing has come in between.
        for _ in range(3):
            before = make()
            if by_itself and not before.rows:
                raise Unattended("nobody has attended it")
            note, report = checkpoint(), make()
            if before.rows == report.rows:
                break
        else:
            raise StoreError("evidence is still coming in; try again in a minute")

        def document(number: int, previous: str | None) -> bytes:
            said = report.about | {"version": number, "reason": reason, "previous": previous}
            return documents.report(report.rows, report.options, report.scope, note, key, said)

        version, text = self.sealed.add(
            tenant.id, subject, document, reason, who=who, now=now, by_itself=by_itself
        )
        return version, of_document(text)

    def version(self, tenant: Tenant, subject: Subject, number: int) -> Report:
        """A sealed one. Raises `NotFound`."""
        kept = self.sealed.document(tenant.id, subject, number)
        report = of_document(kept.document)
        report = report if kept.is_whole else replace(report, document=None)
        return report.without(
            {str(id) for id in self._store.viewers.restrictions.listed(tenant.id)}
        )

    # What there is

    def _attended(self, tenant: Tenant, event: Event) -> tuple[Stream, ...]:
        ids = self._store.events.stream_ids(tenant.id, event.name)
        return self._store.streams_of(tenant.id, ids)

    def _rows(
        self,
        tenant: Tenant,
        streams: Sequence[Stream],
        options: Options,
        touched: tuple[str, ...] | None,
        *,
        whole: bool,
    ) -> tuple[list[dict[str, Any]], Scope]:
        scope = Scope(streams=tuple(sorted({each.name for each in streams})))
        if touched is not None:
            begin, end = midnights(touched[0], touched[-1], options.timezone)
            begin, end = max(0, begin - _DAY_MS), min(documents.LAST, end + _DAY_MS)
            scope = replace(scope, begin=begin, end=end, days=touched)
        restricted = self._store.viewers.restrictions.recorded(
            tenant.id, [each.id for each in streams], scope.begin, scope.end
        )
        scope = replace(scope, without=tuple(sorted(map(str, restricted))))
        if whole:
            found = self._recomputed(streams, options, scope)
        else:
            # Of a stream that had the name before, nothing is meant.
            found = self._store.viewers.attendance.rows(
                self._keys,
                tenant.id,
                [each.id for each in streams],
                options,
                since=scope.begin,
                until=scope.end,
            )
        return [row for row in found if scope.has(row)], scope

    def _recomputed(
        self, streams: Sequence[Stream], options: Options, scope: Scope
    ) -> list[dict[str, Any]]:
        evidence, ledger = Evidence(), options.ledger()
        for stream in streams:
            told = self._store.viewers.attendance.events(
                self._keys, stream.tenant_id, stream.id, scope.begin, scope.end
            )
            for lines in _parts(told):
                evidence.select(lines, None, {stream.name}, scope.begin, scope.end)
        ledger.take(evidence)
        return ledger.rows()

    def _about(
        self,
        tenant: Tenant,
        streams: Sequence[Stream],
        rows: list[dict[str, Any]],
        now: int,
        options: Options,
        touched: tuple[str, ...] | None,
    ) -> dict[str, Any]:
        begin, end = _instants(touched, options.timezone)
        nodes = self._store.viewers.attendance.nodes(begin, end)
        return {
            "definition": DEFINITION,
            "made_at": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "organiser": tenant.settings.display or tenant.name,
            # Which of several has recorded what, nobody can tell any more: it is said of all.
            "nodes": [each.told() for each in nodes],
            "passwords": self._passwords(tenant, {row["key"] for row in rows}),
            # Where nothing but fetching tells of it, a live stream that is paused is fetched on.
            "pause_visible": "yes" if options.verified else "no",
            "previous": None,
            "reason": "",
            "streams": {each.name: each.settings.title or each.name for each in streams},
            "tenant": tenant.name,
            "version": None,
        }

    def _erased(
        self,
        tenant: Tenant,
        streams: Sequence[Stream],
        touched: tuple[str, ...] | None,
        timezone: str,
    ) -> int:
        """How many passwords of these streams were erased that may have been valid on these days: of what
        was watched with them nothing is left to count."""
        begin, end = _instants(touched, timezone)
        ids = [each.id for each in streams]
        return Issuer(self._store.viewers, self._keys).erased(
            tenant.id, ids, begin // 1000, end // 1000
        )

    def _passwords(self, tenant: Tenant, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        issuer = Issuer(self._store.viewers, self._keys)
        ids = [int(key) for key in keys]
        shown: list[Shown] = [
            *issuer.shown(tenant.id, ids),
            *issuer.shown(tenant.id, ids, named=True),
        ]
        return {
            str(each.password.id): {
                "password": each.text,
                "label": each.label or "",
                "test": each.password.is_test,
            }
            for each in shown
        }


def _parts(told: Iterator[str]) -> Iterator[bytes]:
    part: list[str] = []
    for line in told:
        part.append(line)
        if len(part) == _LINES:
            yield "\n".join(part).encode()
            part = []
    if part:
        yield "\n".join(part).encode()


def receipt(
    store: Store,
    notary: Notary,
    tenant: Tenant,
    stream: Stream,
    password_id: int,
    day: str | None,
    clock: Clock,
    now: int,
) -> bytes:
    """What a password has watched of a stream, or of it on a day, with proof. Raises `NotFound`, and
    `InvalidValue` for one whose data is restricted."""
    zone, scope = tenant.settings.timezone, Scope((stream.name,))
    if day is not None:
        scope = Scope((stream.name,), *midnights(day, day, zone), days=(day,))
    options = counting.of_stream(stream, tenant)
    store.viewers.restrictions.check_none(tenant.id, [password_id])
    # The node makes the key with the day's checkpoint, which may be still to come.
    notary.public_key(tenant, now)
    return notary.receipt(stream, password_id, options, scope, clock, now)


def check_over(wanted: Wanted, now: int) -> None:
    """Raises `TooEarly`, and `InvalidValue` for all days of a stream at once."""
    since = wanted.sealable_from
    if now < since:
        moment = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC"
        raise TooEarly(
            f"evidence may still come in: it can be sealed from {moment} on, and is provisional until then",
            since,
        )


def _instants(touched: tuple[str, ...] | None, timezone: str) -> tuple[int, int]:
    """From when on and before when civil days are, in ms; None: all that there are."""
    if touched is None:
        return 0, documents.LAST
    return midnights(touched[0], touched[-1], timezone)


def _over(day: str, timezone: str) -> int:
    """When a civil day is over, in Unix seconds."""
    return midnights(day, day, timezone)[1] // 1000


def _no_day() -> InvalidValue:
    text = "sealed versions are of an event, or of one day of a stream: name the day"
    return InvalidValue(Said("seal-day", text))
