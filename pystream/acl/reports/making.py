"""How reports are made of what two opened stores have, and sealed.

**Which evidence.** From a day before the first civil day to a day after the last one, so that who came in
before midnight is counted right; rows are those of the days, and of the programme. Both stand in the
document's scope: `verify` takes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pystream._core import Evidence
from pystream.acl.reports import Report, of_document
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer, Shown
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.sealed_reports import SealedReports, Subject, Version
from pystream.acl.streams import Stream, Tenant
from pystream.attendance import documents
from pystream.attendance.documents import Scope
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options, zones_version
from pystream.attendance.policies import award, decimal
from pystream.attendance.programmes import Event, days, midnights, programme_ms
from pystream.errors import InvalidValue, PystreamError, StoreError

DEFINITION: Final = "attendance-v1"

_DAY_MS = 86_400_000
_LINES = 20_000


class Reporter:
    """Makes reports from two opened stores. Methods raise `StoreError` as these do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._keys = keys
        self.sealed = SealedReports(store.database, keys)

    def of_event(self, tenant: Tenant, event: Event, now: int) -> Report:
        """A provisional report, by all that is known now."""
        settings = event.settings
        streams = self._streams(tenant, self._store.events.stream_ids(tenant.id, event.name))
        options = Options(
            mode="file",
            target_duration=max(each.settings.segment_duration_ms for each in streams),
            timezone=settings.timezone,
            windows=settings.windows,
            breaks=settings.breaks,
            union=True,
        )
        touched = days(settings.windows, settings.timezone)
        rows, scope = self._rows(streams, options, touched)
        programme = programme_ms(settings.windows, settings.breaks)
        policy = settings.policy
        awards = {}
        for row in rows:
            if row["stream"] is None and row["day"] is None:
                worth = award(policy, row["certifiable_ms"], programme)
                points = None if worth.points is None else decimal(worth.points)
                awards[row["key"]] = {"certified": worth.certified, "points": points}
        about = self._about(tenant, streams, rows, now) | {
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
        return Report(rows, options, scope, about, zones_version())

    def of_stream(self, tenant: Tenant, stream: Stream, day: str | None, now: int) -> Report:
        """A provisional report of a civil day, or of all that there is evidence of."""
        options = Options(
            mode="file",
            target_duration=stream.settings.segment_duration_ms,
            timezone=tenant.settings.timezone,
        )
        rows, scope = self._rows([stream], options, None if day is None else (day,))
        about = self._about(tenant, [stream], rows, now) | {
            "kind": "stream",
            "name": stream.name,
            "title": stream.settings.title or stream.name,
            "vnr": "",
            "policy": None,
            "programme_ms": None,
            "awards": {},
        }
        return Report(rows, options, scope, about, zones_version())

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
    ) -> tuple[Version, Report]:
        """Seals what `make` gives as the next version; a correction needs a reason. `checkpoint` gives a
        note of the log as it is then, and `key` is what its logs are signed with.

        Raises `InvalidValue`, and `StoreError` where evidence goes on coming in meanwhile.
        """
        # A row may rest on nothing that the checkpoint has not: so nothing has come in between.
        for _ in range(3):
            before, note, report = make(), checkpoint(), make()
            if before.rows == report.rows:
                break
        else:
            raise StoreError("evidence is still coming in; try again in a minute")

        def document(number: int, previous: str | None) -> bytes:
            said = report.about | {"version": number, "reason": reason, "previous": previous}
            return documents.report(report.rows, report.options, report.scope, note, key, said)

        version, text = self.sealed.add(tenant.id, subject, document, reason, who=who, now=now)
        return version, of_document(text)

    def version(self, tenant: Tenant, subject: Subject, number: int) -> Report:
        """A sealed one. Raises `NotFound`."""
        kept = self.sealed.document(tenant.id, subject, number)
        report = of_document(kept.document)
        return report if kept.is_whole else replace(report, document=None)

    # What there is

    def _streams(self, tenant: Tenant, ids: Collection[int]) -> list[Stream]:
        known = {each.id: each for each in self._store.changed_since(0).streams}
        return [known[id] for id in sorted(ids) if known[id].tenant_id == tenant.id]

    def _rows(
        self, streams: list[Stream], options: Options, touched: tuple[str, ...] | None
    ) -> tuple[list[dict[str, Any]], Scope]:
        scope = Scope(streams=tuple(sorted({each.name for each in streams})))
        if touched is not None:
            begin, end = midnights(touched[0], touched[-1], options.timezone)
            begin, end = max(0, begin - _DAY_MS), min(documents.LAST, end + _DAY_MS)
            scope = replace(scope, begin=begin, end=end, days=touched)
        evidence, ledger = Evidence(), options.ledger()
        for stream in streams:
            # Of a stream that had the name before, nothing is meant.
            told = self._store.viewers.attendance.events(
                self._keys, stream.tenant_id, stream.id, scope.begin, scope.end
            )
            for lines in _parts(told):
                evidence.select(lines, None, {stream.name}, scope.begin, scope.end)
        ledger.take(evidence)
        return [row for row in ledger.rows() if scope.has(row)], scope

    def _about(
        self, tenant: Tenant, streams: list[Stream], rows: list[dict[str, Any]], now: int
    ) -> dict[str, Any]:
        return {
            "definition": DEFINITION,
            "made_at": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "organiser": tenant.settings.display or tenant.name,
            "passwords": self._passwords(tenant, {row["key"] for row in rows}),
            # Nothing but fetching tells of it: a live stream that is paused is fetched on.
            "pause_visible": "no",
            "previous": None,
            "reason": "",
            "streams": {each.name: each.settings.title or each.name for each in streams},
            "tenant": tenant.name,
            "version": None,
        }

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


def check_over(report: Report, seal_after_s: int, now: int) -> None:
    """Raises `PystreamError` where it is too early to seal it, and `InvalidValue` where it has no days."""
    touched = report.scope.days
    if touched is None:
        raise InvalidValue("a report is sealed of an event, or of one day of a stream (--day)")
    _, end = midnights(touched[-1], touched[-1], report.options.timezone)
    from_ = end // 1000 + seal_after_s
    if now < from_:
        moment = f"{datetime.fromtimestamp(from_, UTC):%Y-%m-%d %H:%M} UTC"
        raise PystreamError(
            f"evidence may still come in: it can be sealed from {moment} on, and is provisional until then"
        )
