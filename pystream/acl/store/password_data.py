"""All that is known of one password, for whoever holds it: Art. 15 and 20 GDPR.

The tenant alone knows who that is, so the tenant asks for it, and hands it on. It is a zip archive:

| member                 | what                                                                       |
| ---------------------- | -------------------------------------------------------------------------- |
| `data.json`            | all of it but the events, as below                                         |
| `attendance.csv`       | how long it has watched, by stream and day                                 |
| `sessions.csv`         | when somebody came in with it, and how that ended                          |
| `events.jsonl`         | what is recorded of it, an event a line, with salt and place in the log    |
| `receipts/STREAM.json` | the same of a stream, with proofs that anybody can verify                  |
| `README.txt`           | what is in it, in words                                                    |

`data.json` has the password's own facts, its streams, how far it came in films that cannot be skipped
ahead, its rows of attendance, and what sealed reports say of it.

**What is there no more.** Who erases, or lets time pass, leaves hashes in the log that are nobody's. What a
sealed report says of a password is compared with what its events say today, as `verify` does: a row that
they give again is `recomputed`, and one whose events are gone is `not available`; the latter are counted.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from pystream._core import Evidence
from pystream.acl import counting
from pystream.acl.password_csv import write_line
from pystream.acl.reports import Report, of_document
from pystream.acl.store import Store, tables
from pystream.acl.store.issuing import Issuer, Shown
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.notary import Notary
from pystream.acl.store.opened import opened
from pystream.acl.store.sealed_reports import SealedReports, Subject, Version
from pystream.acl.streams import Stream, Tenant
from pystream.acl.viewers import End
from pystream.attendance.canonical import encode
from pystream.attendance.checkpoint import Clock
from pystream.attendance.documents import Scope
from pystream.attendance.evidence import unpacked
from pystream.errors import NotFound, Said

FORMAT: Final = "pystream password data 1"
GONE: Final = "not available"
_FIRST = (1980, 1, 1, 0, 0, 0)
_TIMES = ("access_ms", "media_ms", "certifiable_ms", "verified_ms")


class Leaf(NamedTuple):
    """An event, and where it is: the epoch of its log, and its number there."""

    epoch: int
    number: int
    salt: bytes
    event: str


@dataclass(frozen=True, slots=True)
class Exported:
    """The archive; how many events it has, and of how many rows of reports there are none any more."""

    data: bytes
    events: int
    not_available: int


class PasswordData:
    """What two opened stores know of passwords. Methods raise `StoreError`, `SealError` and `MasterKeyError`
    as these do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._keys = keys

    def export(
        self, tenant: Tenant, password_id: int, clock: Clock, *, who: str, now: int
    ) -> Exported:
        """The archive of a password, or of a viewer whom links or tokens name; that it was made is on record.
        Raises `NotFound` for one that the tenant has not."""
        if password_id not in self._store.viewers.known(tenant.id, [password_id]):
            raise NotFound(Said("no-password", "there is no such password"))
        streams = self._streams(tenant)
        leaves = self._leaves(tenant, password_id)
        rows = self._rows(tenant, password_id, streams, leaves)
        reports = self._reports(tenant, password_id, leaves)
        with self._store.database.reading() as connection:
            sessions = _sessions(connection, tenant, password_id, streams)
            reached = _reached(connection, tenant, password_id, streams)
        gone = sum(each["evidence"] == GONE for report in reports for each in report["rows"])
        lines = [leaf for _, some in sorted(leaves.items()) for leaf in some]
        facts = {
            "format": FORMAT,
            "made_at": _moment(now),
            "tenant": {"name": tenant.name, "display": tenant.settings.display},
            "timezone": tenant.settings.timezone,
            "password": self._password(tenant, password_id, streams, now),
            "sessions": sessions,
            "reached": reached,
            "rows": rows,
            "reports": reports,
            "events": {"available": len(lines), "rows_of_reports_not_available": gone},
            "audit": "The audit log says who did what and of how many passwords, and names none.",
        }
        receipts = self._receipts(tenant, password_id, streams, leaves, clock, now)
        data = _archive(facts, lines, receipts)
        # On record before anybody can see it, and where nobody can, not at all.
        what = {"password_data_exported": 1}
        self._store.audit.record_view(tenant.id, None, what, who=who, now=now)
        return Exported(data, len(lines), gone)

    def _streams(self, tenant: Tenant) -> dict[int, Stream]:
        """All of a tenant's, those that were removed among them."""
        every = self._store.changed_since(0).streams
        return {each.id: each for each in every if each.tenant_id == tenant.id}

    def _password(
        self, tenant: Tenant, id: int, streams: Mapping[int, Stream], now: int
    ) -> dict[str, Any]:
        issuer = Issuer(self._store.viewers, self._keys)
        shown: list[Shown] = [
            *issuer.shown(tenant.id, [id]),
            *issuer.shown(tenant.id, [id], named=True),
        ]
        if not shown:
            # A sealed report names it alone.
            return {"id": str(id), "state": "deleted", "password": GONE, "label": GONE}
        (each,) = shown
        password, held = each.password, self._store.viewers.restrictions.listed(tenant.id).get(id)
        restricted = held and {"reason": held.reason, "since": _moment(held.made_at)}
        return {
            "id": str(id),
            "state": each.state(now),
            "restricted": restricted,
            "password": GONE if each.text is None else each.text,
            "label": GONE if each.label is None else each.label,
            "is_test": password.is_test,
            "shared": password.shared,
            "named_by_the_site": password.named,
            "streams": sorted(streams[id].name for id in password.streams if id in streams),
            "max_devices": password.max_devices,
            **{
                name: _moment(getattr(password, name))
                for name in ("valid_from", "valid_until", "created_at", "revoked_at")
            },
        }

    # Attendance

    def _leaves(self, tenant: Tenant, id: int) -> dict[int, list[Leaf]]:
        """Its events by stream, in their order."""
        journal, sealed, log = (
            tables.attendance_journal.c,
            tables.attendance_sealed.c,
            tables.attendance_log.c,
        )
        with self._store.database.reading() as connection:
            epochs: dict[int, int] = {
                row.id: row.epoch
                for row in connection.execute(
                    select(log.id, log.epoch).where(log.tenant_id == tenant.id)
                )
            }
            open_ = connection.execute(
                select(tables.attendance_journal)
                .where(journal.tenant_id == tenant.id, journal.password_id == id)
                .where(tables.in_shards([id]))
            ).all()
            closed = connection.execute(
                select(tables.attendance_sealed).where(
                    sealed.tenant_id == tenant.id, sealed.password_id == id
                )
            ).all()
        found = defaultdict[int, set[Leaf]](set)
        for row in open_:
            found[row.stream_id].add(Leaf(epochs[row.log_id], row.number, row.salt, row.event))
        for row, text in opened(self._keys, tenant.id, closed):
            found[row.stream_id] |= {Leaf(epochs[row.log_id], *line) for line in unpacked(text)}
        return {stream_id: sorted(some) for stream_id, some in found.items()}

    def _incidents(self, tenant: Tenant) -> list[str]:
        incident = tables.attendance_incident.c
        wanted = select(incident.event).where(incident.tenant_id == tenant.id)
        with self._store.database.reading() as connection:
            return list(connection.scalars(wanted))

    def _rows(
        self,
        tenant: Tenant,
        id: int,
        streams: Mapping[int, Stream],
        leaves: Mapping[int, list[Leaf]],
    ) -> list[dict[str, Any]]:
        """By stream and day, as `pystream attendance show` has them."""
        rows = []
        for stream_id in sorted(leaves.keys() & streams.keys()):
            options = counting.of_stream(streams[stream_id], tenant)
            attendance = self._store.viewers.attendance
            rows += attendance.rows(self._keys, tenant.id, [stream_id], options, [id])
        return rows

    def _reports(
        self, tenant: Tenant, id: int, leaves: Mapping[int, list[Leaf]]
    ) -> list[dict[str, Any]]:
        """What each sealed version says of it."""
        sealed = SealedReports(self._store.database, self._keys)
        incidents, found = self._incidents(tenant), []
        for subject in self._subjects(tenant, id):
            held = sealed.held(tenant.id, subject, 0)
            for version in sealed.versions(tenant.id, subject):
                kept = sealed.document(tenant.id, subject, version.number)
                report = of_document(kept.document)
                said = _said(report, version, str(id), leaves, incidents)
                if said is not None:
                    until = None if held is None else _moment(held.until)
                    found.append(said | {"held_until": until})
        return found

    def _subjects(self, tenant: Tenant, id: int) -> list[Subject]:
        report, name = tables.attendance_report.c, tables.attendance_report_name.c
        wanted = (
            select(report.subject, report.event_id, report.stream_id)
            .join(tables.attendance_report_name, name.report_id == report.id)
            .where(report.tenant_id == tenant.id, name.password_id == id)
            .distinct()
        )
        with self._store.database.reading() as connection:
            rows = connection.execute(wanted.order_by(report.subject)).all()
        return [
            Subject(event_id=row.event_id)
            if row.event_id is not None
            else Subject(stream_id=row.stream_id, day=row.subject.rpartition(" ")[2])
            for row in rows
        ]

    def _receipts(
        self,
        tenant: Tenant,
        id: int,
        streams: Mapping[int, Stream],
        leaves: Mapping[int, list[Leaf]],
        clock: Clock,
        now: int,
    ) -> dict[str, bytes]:
        """By the streams' names. Of a log that a restore has ended, nothing is proven any more."""
        notary, made = Notary(self._store.database, self._keys), {}
        for stream_id in sorted(leaves.keys() & streams.keys()):
            stream = streams[stream_id]
            scope, options = Scope((stream.name,)), counting.of_stream(stream, tenant)
            notary.ensure_key(tenant.id, now)
            try:
                text = notary.receipt(stream, id, options, scope, clock, now)
            except NotFound:
                continue
            # One that was removed may have had the name before.
            name = stream.name if stream.removed_at is None else f"{stream.name}-{stream.id}"
            made[name] = text
        return made


def _said(
    report: Report,
    version: Version,
    key: str,
    leaves: Mapping[int, list[Leaf]],
    incidents: list[str],
) -> dict[str, Any] | None:
    about, scope = report.about, report.scope
    said = [row for row in report.rows if row["key"] == key]
    if not said:
        return None
    evidence, ledger = Evidence(), report.options.ledger()
    lines = [*incidents, *(leaf.event for some in leaves.values() for leaf in some)]
    streams = None if scope.streams is None else set(scope.streams)
    evidence.select("\n".join(lines).encode(), key, streams, scope.begin, scope.end)
    ledger.take(evidence)
    again = {(row["stream"], row["day"]): encode(row) for row in ledger.rows()}
    known = about["passwords"].get(key, {})
    return {
        "kind": about["kind"],
        "name": about["name"],
        "title": about["title"],
        "vnr": about["vnr"],
        "version": version.number,
        "reason": version.reason,
        "sealed_at": _moment(version.made_at),
        "sha256": version.digest,
        "password": known.get("password") or GONE,
        "award": about["awards"].get(key),
        "rows": [
            row
            | {
                "evidence": "recomputed"
                if again.get((row["stream"], row["day"])) == encode(row)
                else GONE
            }
            for row in said
        ],
    }


def _sessions(
    connection: Connection, tenant: Tenant, id: int, streams: Mapping[int, Stream]
) -> list[dict[str, Any]]:
    session = tables.session.c
    wanted = select(tables.session).where(session.tenant_id == tenant.id, session.password_id == id)
    rows = connection.execute(wanted.order_by(session.opened_at, session.id)).all()
    return [
        {
            "id": row.id.hex(),
            "stream": streams[row.stream_id].name if row.stream_id in streams else GONE,
            "opened_at": _moment(row.opened_at),
            "expires": _moment(row.expires),
            "ended_at": _moment(row.ended_at),
            "end_reason": None if row.end_reason is None else End(row.end_reason).name.lower(),
            "notice": row.notice,
        }
        for row in rows
    ]


def _reached(
    connection: Connection, tenant: Tenant, id: int, streams: Mapping[int, Stream]
) -> list[dict[str, Any]]:
    reach = tables.attendance_reach.c
    wanted = select(tables.attendance_reach).where(
        reach.tenant_id == tenant.id, reach.password_id == id
    )
    return [
        {
            "stream": streams[row.stream_id].name if row.stream_id in streams else GONE,
            "media_ms": row.media_ms,
            "at": _moment(row.played_at // 1000),
        }
        for row in connection.execute(wanted.order_by(reach.stream_id))
    ]


# The archive


def _archive(
    facts: Mapping[str, Any], leaves: Iterable[Leaf], receipts: Mapping[str, bytes]
) -> bytes:
    events = (
        f'{{"epoch":{leaf.epoch},"at":{leaf.number},"salt":"{leaf.salt.hex()}","event":{leaf.event}}}\n'
        for leaf in leaves
    )
    members = {
        "README.txt": _README.encode(),
        "data.json": json.dumps(facts, ensure_ascii=False, indent=2).encode() + b"\n",
        "attendance.csv": _attendance(facts["rows"]),
        "sessions.csv": _table(_SESSION, facts["sessions"]),
        "events.jsonl": "".join(events).encode(),
        **{f"receipts/{name}.json": text for name, text in receipts.items()},
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, _FIRST)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o600 << 16
            archive.writestr(member, data)
    return file.getvalue()


_SESSION = ("stream", "opened_at", "ended_at", "end_reason", "expires", "notice", "id")


def _attendance(rows: Iterable[Mapping[str, Any]]) -> bytes:
    told = [row | {"flags": " ".join(row["flags"])} for row in map(dict, rows)]
    names = ("stream", "day", *_TIMES, "max_devices", "checks_shown", "checks_answered")
    return _table((*names, "evidence_grade", "flags"), told)


def _table(names: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> bytes:
    lines = [write_line(list(names))]
    for row in rows:
        lines.append(write_line(["" if row[name] is None else str(row[name]) for name in names]))
    return b"".join(lines)


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


_README = """\
All that is recorded of one password (Art. 15 and 20 GDPR), in UTF-8.
Alles, was zu einem Passwort gespeichert ist (Art. 15 und 20 DSGVO), in UTF-8.

data.json         the password, its sessions, how long it has watched, and what
                  sealed reports say of it; "not available": erased, or deleted
                  in time
                  das Passwort, seine Sitzungen, wie lange damit zugesehen wurde
                  und was versiegelte Berichte darüber sagen; "not available":
                  getilgt oder fristgemäß gelöscht
attendance.csv    how long, by stream and day, in milliseconds
                  wie lange, nach Stream und Tag, in Millisekunden
sessions.csv      when somebody came in with it, and how that ended
                  wann jemand damit gekommen ist und wie das endete
events.jsonl      each event that is recorded, with its place in the log of
                  attendance and the salt of its hash there
                  jedes aufgezeichnete Ereignis, mit seinem Platz im Protokoll
                  der Anwesenheit und dem Salz seines Hashwerts dort
receipts/         the same by stream, signed, with proofs: pystream attendance
                  verify FILE --public-key KEY
                  dasselbe nach Stream, signiert, mit Nachweisen

Times are in UTC; those of events in milliseconds since 1970. Who holds this
password knows whose it is: hand this archive to nobody else.
Zeiten sind in UTC; die der Ereignisse in Millisekunden seit 1970. Zu wem das
Passwort gehört, weiß, wer es ausgegeben hat: Geben Sie dieses Archiv nur der
Person, der es gehört.
"""
