"""The retention engine: what is old goes, and a proof of it stays.

Each step is a transaction of some thousand rows, so nobody waits for long who wants to write
meanwhile. What can be kept from it, reports by a hold and events by a restriction, has its keys destroyed
within: who comes meanwhile is in time, or is told that it is gone. Whatever ends a run, the next one goes on
where it was: what is deleted is not found again.

**Months.** Hours of traffic that are old are summed up to one number a stream, month and kind. It
stands at the middle hour of the tenant's month, so that it stays in the month though the tenant takes
another time zone later. The sums of months are what they were.

**Passwords, and viewers whom links and tokens name.** First nobody can come in with one any more; then the
key is destroyed in the key store, outside of any transaction; then the row goes, and with it its sessions.
The key of one that a sealed report names stays as long as that report, and opens nothing else any more.
What is restricted (`restricting`) does not get old.

**Reports.** All versions of one go together, so that none is taken out of a chain, when the last of them is
old; one that is held does not. Those of a day that the server alone has sealed are of another class than
those that somebody has asked for. Keys go first, those of names included whose passwords are gone.

What is left in files after that: SQLite overwrites what is deleted (`secure_delete`), and its
write-ahead log is emptied at the end of a run.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from pystream.acl.proofs import Proof
from pystream.acl.retention import DAY_S, OF_TENANTS, OF_THE_CONTRACT, DataClass, Rules
from pystream.acl.store import key_backups, tables
from pystream.acl.store.answers import AnswerStore
from pystream.acl.store.attending import HOUR_MS, AttendanceStore
from pystream.acl.store.audit import AuditStore
from pystream.acl.store.database import Database
from pystream.acl.store.incidents import IncidentStore
from pystream.acl.store.inventory import counted, delete_naming, delete_some, unreferenced
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.restricting import is_restricted
from pystream.acl.traffic import hours_of, month_of
from pystream.errors import StoreError

RETENTION = "retention"
"""The kind of proof that a run leaves."""
EVERY_S = DAY_S

_AT_ONCE = 2000
# The setting, as messages name it.
_BACKUPS = "retention.key_backups_folder"
_PASSWORDS = (
    *(DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS),
    DataClass.NAMED_VIEWERS,
)
_REPORTS = (DataClass.ATTENDANCE_REPORTS, DataClass.ATTENDANCE_DAILY_REPORTS)
# What is of one hour each: its column, and how many of the column's unit an hour has.
_EVENTS = (
    (tables.attendance_sealed, "hour", 1),
    (tables.attendance_journal, "t", HOUR_MS),
    (tables.attendance_reach, "played_at", HOUR_MS),
)
_COUNTERS = ("requests", "bytes", "aborted")
# Of what belongs to no tenant.
_NOBODY = 0

Counts = dict[DataClass, Counter[int]]


@dataclass(frozen=True, slots=True)
class Cut:
    """Events of attendance from before these moments are gone, in Unix seconds: those of tenants who had days
    of their own, and of all others."""

    proof_id: int
    others: int
    own: Mapping[int, int]

    def of(self, tenant_id: int) -> int:
        return self.own.get(tenant_id, self.others)

    def covers(self, other: Cut) -> bool:
        """Whether whatever is gone by the other one is gone by this one."""
        tenants = self.own.keys() | other.own.keys()
        return self.others >= other.others and all(self.of(id) >= other.of(id) for id in tenants)


class ProofLog:
    """The log of proofs of deletion, in the main store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, document: Mapping[str, Any], now: int) -> Proof:
        with self._database.writing() as connection:
            return add_proof(connection, document, now)

    def all(self) -> tuple[Proof, ...]:
        """The oldest first."""
        wanted = select(tables.proof).order_by(tables.proof.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(wanted).mappings()
            return tuple(Proof(row["document"], row["digest"]) for row in rows)

    def cuts(self, after: int) -> Iterator[Cut]:
        """Of events of attendance, what runs of retention have taken whose proofs came after one, the oldest
        first."""
        proof, name = tables.proof.c, str(DataClass.ATTENDANCE)
        wanted = select(proof.id, proof.document).where(proof.kind == RETENTION, proof.id > after)
        with self._database.reading() as connection:
            for id, said in connection.execute(wanted.order_by(proof.id)):
                hour = said["at"] // 3600
                own = {
                    int(tenant): (hour - days[name] * 24) * 3600
                    for tenant, days in said.get("own_days", {}).items()
                    if name in days
                }
                yield Cut(id, (hour - said["days"].get(name, 0) * 24) * 3600, own)

    def last_at(self, kind: str) -> int | None:
        """When the last proof of a kind was made, in Unix seconds, as the clock was then: one that was ahead
        is put right by the next."""
        proof = tables.proof.c
        wanted = select(proof.at).where(proof.kind == kind).order_by(proof.id.desc()).limit(1)
        with self._database.reading() as connection:
            found: int | None = connection.scalar(wanted)
        return found


def add_proof(connection: Connection, document: Mapping[str, Any], now: int) -> Proof:
    """Puts a proof behind the last one, in a transaction that writes."""
    take_turn(connection)
    last = select(tables.proof.c.digest).order_by(tables.proof.c.id.desc()).limit(1)
    proof = Proof.of(document, connection.scalar(last))
    row = {"at": now, "kind": document["kind"], "document": dict(proof.document)}
    connection.execute(insert(tables.proof).values(row | {"digest": proof.digest}))
    return proof


def take_turn(connection: Connection) -> None:
    """Waits for whoever writes now; SQLite's transaction has waited by itself."""
    connection.execute(select(tables.revision.c.value).with_for_update())


@dataclass(frozen=True, slots=True)
class Retention:
    """The engine on the two stores. `backups`: the folder of the key store's backups, if there is one
    to look after. Methods raise `StoreError` as the stores do."""

    database: Database
    keys: KeyStore
    rules: Rules
    backups: str = ""

    def plan(self, now: int) -> Counts:
        """How much is old, by class and tenant; what belongs to no tenant is under 0."""
        found: Counts = {}
        with self.database.reading() as connection:
            for data, table, where in self._simple(now):
                found[data] = counted(connection, table, where)
            for data in _PASSWORDS:
                where = self._old_passwords(data, now)
                found[data] = counted(connection, tables.password, where)
            over = tables.kept_answer.c.expires <= now
            found[DataClass.KEPT_ANSWERS] = counted(connection, tables.kept_answer, over)
            found[DataClass.ATTENDANCE] = self._old_attendance(connection, now)
            fold = tables.attendance_fold
            found[DataClass.ATTENDANCE_INTERVALS] = counted(connection, fold, self._old_folds(now))
            for data in _REPORTS:
                where = self._old_reports(data, now)
                found[data] = counted(connection, tables.attendance_report, where)
            found[DataClass.AUDIT] = counted(connection, tables.audit, self._old_entries(now))
            found[DataClass.TRAFFIC_HOURS] = self._old_hours(connection, now)
            found[DataClass.PROOFS] = _nobodys(_count(connection, self._old_proofs(now)))
        incidents = IncidentStore(self.database, self.keys)
        shreds = incidents.old(self.rules.old_before(DataClass.INCIDENTS, now), now)
        found[DataClass.INCIDENTS] = _nobodys(len(shreds))
        gone = incidents.forgotten(self.rules.old_before(DataClass.INCIDENT_RECORDS, now))
        found[DataClass.INCIDENT_RECORDS] = _nobodys(len(gone))
        day = self.rules.old_before(DataClass.ERASURES, now) // DAY_S
        found[DataClass.ERASURES] = _nobodys(self.keys.old_erasures(day))
        if self.backups:
            try:
                old = key_backups.older(self.backups, self.rules.key_backups, now)
            except StoreError as error:
                raise StoreError(f"{_BACKUPS}: {error}") from error
            found[DataClass.KEY_BACKUPS] = _nobodys(sum(name.endswith(".db") for name in old))
        return found

    def run(self, now: int) -> Proof:
        """Deletes what is old, and puts the proof of it into the log. Where backups cannot be looked
        after, everything else is deleted, with a proof that does not name them; then it raises."""
        done: Counts = {data: Counter() for data in DataClass if data not in OF_THE_CONTRACT}
        # First: what they name is free then.
        for data in _REPORTS:
            done[data] += self._forget_reports(data, now)
        hold = tables.attendance_hold
        self._delete(hold, hold.c.until <= now)
        for data in _PASSWORDS:
            self._delete_passwords(data, now, done)
        answers = AnswerStore(self.database)
        while old := answers.expired(now):
            for tenant, references in old.items():
                self.keys.erase(tenant, references, now, missing_ok=True)
                answers.forget(tenant, references)
                done[DataClass.KEPT_ANSWERS][tenant] += len(references)
        self._forget_attendance(now, done)
        done[DataClass.INCIDENTS] = _nobodys(self.shred_incidents(now))
        done[DataClass.INCIDENT_RECORDS] = _nobodys(self._forget_incidents(now))
        done[DataClass.AUDIT] += self._forget_entries(now)
        for data, table, where in self._simple(now):
            done[data] += self._delete(table, where)
        done[DataClass.TRAFFIC_HOURS] += self._sum_up(now)
        with self.database.writing() as connection:
            gone = connection.execute(delete(tables.proof).where(self._old_proofs(now)))
            done[DataClass.PROOFS] = _nobodys(gone.rowcount)
        day = self.rules.old_before(DataClass.ERASURES, now) // DAY_S
        done[DataClass.ERASURES] = _nobodys(self.keys.forget_erasures(day))
        del done[DataClass.KEY_BACKUPS]
        failed: StoreError | None = None
        if self.backups:
            try:
                pruned = key_backups.prune(self.backups, self.rules.key_backups, now)
                done[DataClass.KEY_BACKUPS] = _nobodys(len(pruned))
            except StoreError as error:
                failed = error
        document = _document(done, self.rules, self._own_days(), now)
        proof = ProofLog(self.database).add(document, now)
        if self.database.path is not None:
            self.database.checkpoint()
        if failed is not None:
            raise StoreError(
                f"{_BACKUPS}: {failed}; all else that is old is deleted, with the proof {proof.digest}"
            ) from failed
        return proof

    def shred_incidents(self, now: int) -> int:
        """Destroys what is old of attacks' sources; returns of how many attacks that was."""
        before = self.rules.old_before(DataClass.INCIDENTS, now)
        return IncidentStore(self.database, self.keys).shred(before, now)

    def _forget_incidents(self, now: int) -> int:
        incidents = IncidentStore(self.database, self.keys)
        gone = incidents.forgotten(self.rules.old_before(DataClass.INCIDENT_RECORDS, now))
        incidents.forget(gone)
        return len(gone)

    def is_due(self, now: int) -> bool:
        """Whether the last run, of whichever node, was a day ago."""
        last = ProofLog(self.database).last_at(RETENTION)
        return last is None or not 0 <= now - last < EVERY_S

    # Rows that go by themselves

    def _simple(self, now: int) -> Iterator[tuple[DataClass, Table, ColumnElement[bool]]]:
        def before(data: DataClass) -> int:
            return self.rules.old_before(data, now)

        session, stream = tables.session.c, tables.stream.c
        ended = func.coalesce(session.ended_at, session.expires)
        over = and_(ended < before(DataClass.SESSIONS), ~is_restricted(session.password_id))
        yield DataClass.SESSIONS, tables.session, over
        yield DataClass.ENDINGS, tables.ending, tables.ending.c.at < before(DataClass.ENDINGS)
        hour = before(DataClass.TRAFFIC) // 3600
        yield DataClass.TRAFFIC, tables.traffic, tables.traffic.c.hour < hour
        over = tables.console_session.c.expires < before(DataClass.CONSOLE_SESSIONS)
        yield DataClass.CONSOLE_SESSIONS, tables.console_session, over
        over = tables.spent.c.expires < before(DataClass.SPENT_TOKENS)
        yield DataClass.SPENT_TOKENS, tables.spent, over
        over = tables.token.c.expires < before(DataClass.EXPIRED_TOKENS)
        yield DataClass.EXPIRED_TOKENS, tables.token, over
        removed = stream.removed_at < before(DataClass.REMOVED_STREAMS)
        yield DataClass.REMOVED_STREAMS, tables.stream, and_(removed, unreferenced(tables.stream))

    def _delete(self, table: Table, where: ColumnElement[bool]) -> Counter[int]:
        done: Counter[int] = Counter()
        while True:
            with self.database.writing() as connection:
                gone = delete_some(connection, table, where, _AT_ONCE)
            if not gone:
                return done
            done += gone

    def _old_entries(self, now: int) -> ColumnElement[bool]:
        return tables.audit.c.at < self.rules.old_before(DataClass.AUDIT, now)

    def _forget_entries(self, now: int) -> Counter[int]:
        with self.database.reading() as connection:
            found = counted(connection, tables.audit, self._old_entries(now))
        if found:
            before = self.rules.old_before(DataClass.AUDIT, now)
            AuditStore(self.database).forget(None, before, who=RETENTION, now=now)
        return found

    def _old_proofs(self, now: int) -> ColumnElement[bool]:
        return tables.proof.c.at < self.rules.old_before(DataClass.PROOFS, now)

    # Attendance

    def _own_days(self) -> dict[int, dict[str, int]]:
        """Of tenants who have days of their own: class by class."""
        tenant = tables.tenant.c
        columns = {str(data): tenant[f"{data}_days"] for data in OF_TENANTS}
        wanted = select(tenant.id, *columns.values()).order_by(tenant.id)
        with self.database.reading() as connection:
            rows = connection.execute(wanted.where(func.coalesce(*columns.values()).is_not(None)))
            return {
                id: {
                    name: value
                    for name, value in zip(columns, days, strict=True)
                    if value is not None
                }
                for id, *days in rows
            }

    def _days(self, data: DataClass, table: Table) -> ColumnElement[int]:
        """Those of the tenant that a row is of."""
        tenant = tables.tenant.c
        days = func.coalesce(tenant[f"{data}_days"], self.rules.days(data))
        own = select(cast(days, BigInteger)).where(tenant.id == table.c.tenant_id)
        return own.correlate(table).scalar_subquery()

    def _of_old_hour(self, table: Table, column: str, unit: int, now: int) -> ColumnElement[bool]:
        """Of events from before the hour in which they get old; `unit`: as many of the column's are an
        hour."""
        hour = now // 3600 - self._days(DataClass.ATTENDANCE, table) * 24
        return and_(table.c[column] < hour * unit, ~is_restricted(table.c.password_id))

    def _old_attendance(self, connection: Connection, now: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for table, column, unit in _EVENTS:
            found += counted(connection, table, self._of_old_hour(table, column, unit, now))
        return found

    def _old_folds(self, now: int) -> ColumnElement[bool]:
        """What is computed of events of which some are old: it is computed again of what is left."""
        fold = tables.attendance_fold
        old = [self._of_old_hour(fold, "t", HOUR_MS, now)]
        for table, column, unit in _EVENTS[:2]:
            is_old = self._of_old_hour(table, column, unit, now)
            old.append(fold.c.password_id.in_(select(table.c.password_id).where(is_old)))
        return or_(*old)

    def _forget_attendance(self, now: int, done: Counts) -> None:
        done[DataClass.ATTENDANCE_INTERVALS] += self._delete(
            tables.attendance_fold, self._old_folds(now)
        )
        sealed, *rest = _EVENTS
        # Those of the journal are of a node that has sealed nothing for so long.
        for table, column, unit in rest:
            where = self._of_old_hour(table, column, unit, now)
            done[DataClass.ATTENDANCE] += self._delete(table, where)
        attendance = AttendanceStore(self.database)
        while gone := self._forget_sealed(attendance, self._of_old_hour(*sealed, now), now):
            done[DataClass.ATTENDANCE] += gone
        # Of whoever has looked meanwhile.
        self._delete(tables.attendance_fold, self._old_folds(now))

    def _forget_sealed(
        self, attendance: AttendanceStore, where: ColumnElement[bool], now: int
    ) -> Counter[int]:
        """Some of the sealed events of which that is true."""
        gone: Counter[int] = Counter()
        with self.database.together():
            # Whoever restricts one of these meanwhile has done so, or comes too late.
            with self.database.writing() as connection:
                take_turn(connection)
            for tenant, references in attendance.old(where).items():
                self.keys.erase(tenant, references, now, missing_ok=True)
                attendance.forget_sealed(tenant, references)
                gone[tenant] += len(references)
        return gone

    # Reports

    def _old_reports(self, data: DataClass, now: int) -> ColumnElement[bool]:
        report, hold = tables.attendance_report, tables.attendance_hold.c
        other = report.alias()
        newest = (
            select(func.max(other.c.made_at))
            .where(other.c.subject == report.c.subject)
            .correlate(report)
            .scalar_subquery()
        )
        held = select(true()).where(hold.subject == report.c.subject, hold.until > now)
        asked = select(true()).where(other.c.subject == report.c.subject, ~other.c.by_itself)
        is_daily = and_(report.c.event_id.is_(None), ~asked.correlate(report).exists())
        is_meant = is_daily if data is DataClass.ATTENDANCE_DAILY_REPORTS else ~is_daily
        before = now - self._days(data, report) * DAY_S
        return and_(newest < before, is_meant, ~held.correlate(report).exists())

    def _forget_reports(self, data: DataClass, now: int) -> Counter[int]:
        done: Counter[int] = Counter()
        report, name = tables.attendance_report, tables.attendance_report_name
        wanted = select(report.c.id, report.c.tenant_id, report.c.reference)
        wanted = wanted.where(self._old_reports(data, now)).order_by(report.c.id).limit(_AT_ONCE)
        while True:
            # Whoever holds one of these meanwhile has done so, or finds it gone.
            with self.database.writing() as connection:
                take_turn(connection)
                old = connection.execute(wanted).all()
                names = _unused_names(connection, [row.id for row in old])
                if not old:
                    break
                for tenant in sorted({row.tenant_id for row in old}):
                    references = [row.reference for row in old if row.tenant_id == tenant]
                    self.keys.erase(tenant, [*references, *names[tenant]], now, missing_ok=True)
                ids = [row.id for row in old]
                delete_naming(connection, name, "report_id", ids)
                done += delete_naming(connection, report, "id", ids)
        return done

    # Passwords

    def _old_passwords(self, data: DataClass, now: int) -> ColumnElement[bool]:
        column, before = tables.password.c, self.rules.old_before(data, now)
        return and_(self._unused(data, before), ~is_restricted(column.id))

    def _unused(self, data: DataClass, before: int) -> ColumnElement[bool]:
        column = tables.password.c
        if data is DataClass.REVOKED_PASSWORDS:
            return column.revoked_at < before
        if data is DataClass.NAMED_VIEWERS:
            session = tables.session.c
            lately = func.coalesce(session.ended_at, session.expires) >= before
            seen = select(session.id).where(session.password_id == column.id, lately)
            new = or_(column.created_at >= before, seen.correlate(tables.password).exists())
            return and_(column.named, column.revoked_at.is_(None), ~new)
        return and_(column.revoked_at.is_(None), column.valid_until < before)

    def _delete_passwords(self, data: DataClass, now: int, done: Counts) -> None:
        column = tables.password.c
        wanted = (
            select(column.id, column.tenant_id, column.reference)
            .where(self._old_passwords(data, now))
            .limit(_AT_ONCE)
        )
        while True:
            with self.database.reading() as connection:
                old = connection.execute(wanted).all()
            if not old:
                return
            for tenant in sorted({row.tenant_id for row in old}):
                these = {row.id: row.reference for row in old if row.tenant_id == tenant}
                ids, named = self._claim(data, these, now)
                if ids:
                    # Meanwhile others write: keys are destroyed on the disk, which takes its time.
                    useless = [these[id] for id in sorted(ids - named)]
                    self.keys.erase(tenant, useless, now, missing_ok=True)
                    self._delete_claimed(data, ids, done)

    def _claim(self, data: DataClass, ids: Collection[int], now: int) -> tuple[set[int], set[int]]:
        """Takes passwords out of use that are old still; who has come in meanwhile stays. From here on, no
        session of theirs can be stored, no report sealed that names them, and nobody finds them. They were
        revoked so long ago that the next run goes on with them, whatever ends this one. Returns them, and
        which of them sealed reports name."""
        column = tables.password.c
        these = column.id.in_(ids)
        with self.database.writing() as connection:
            # Whoever seals a report meanwhile has done so, or finds them claimed.
            take_turn(connection)
            connection.execute(select(column.id).where(these).order_by(column.id).with_for_update())
            still = select(column.id).where(these, self._old_passwords(data, now))
            found = set(connection.scalars(still))
            if found:
                connection.execute(
                    update(tables.password)
                    .where(column.id == bindparam("gone"))
                    .values(revoked_at=0, lookup=bindparam("noise")),
                    [{"gone": id, "noise": secrets.token_bytes(32)} for id in sorted(found)],
                )
            return found, _named_in_reports(connection, found)

    def _delete_claimed(self, data: DataClass, ids: Collection[int], done: Counts) -> None:
        with self.database.writing() as connection:
            done[DataClass.SESSIONS] += delete_naming(
                connection, tables.session, "password_id", ids
            )
            done[DataClass.ENDINGS] += delete_naming(connection, tables.ending, "password_id", ids)
            delete_naming(connection, tables.admission, "password_id", ids)
            done[DataClass.ATTENDANCE] += delete_naming(
                connection, tables.attendance_reach, "password_id", ids
            )
            done[data] += delete_naming(connection, tables.password, "id", ids)

    # Traffic

    def _old_hours(self, connection: Connection, now: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for tenant, months in self._months(connection, now).items():
            for hours in months:
                where = _between(tenant, hours)
                found += counted(connection, tables.traffic, and_(where, _off_middle(hours)))
        return found

    def _sum_up(self, now: int) -> Counter[int]:
        done: Counter[int] = Counter()
        with self.database.reading() as connection:
            months = self._months(connection, now)
        for tenant, those in months.items():
            for hours in those:
                with self.database.writing() as connection:
                    done += _sum_up_month(connection, tenant, hours)
        return done

    def _months(self, connection: Connection, now: int) -> dict[int, list[range]]:
        """Months that are over for long enough and are not summed up yet, by tenant."""
        traffic = tables.traffic.c
        before = self.rules.old_before(DataClass.TRAFFIC_HOURS, now)
        found: dict[int, list[range]] = {}
        for tenant, zone in connection.execute(
            select(tables.tenant.c.id, tables.tenant.c.timezone)
        ).all():
            end = hours_of(month_of(before, zone), zone).start
            wanted = select(traffic.hour).where(traffic.tenant_id == tenant, traffic.hour < end)
            hours = connection.scalars(wanted.distinct())
            months = {month_of(hour * 3600, zone): hour for hour in hours if _is_off(hour, zone)}
            if months:
                found[tenant] = [hours_of(month, zone) for month in sorted(months)]
        return found


def _middle(hours: range) -> int:
    return (hours.start + hours.stop) // 2


def _is_off(hour: int, zone: str) -> bool:
    return hour != _middle(hours_of(month_of(hour * 3600, zone), zone))


def _between(tenant: int, hours: range) -> ColumnElement[bool]:
    traffic = tables.traffic.c
    return and_(traffic.tenant_id == tenant, traffic.hour >= hours.start, traffic.hour < hours.stop)


def _off_middle(hours: range) -> ColumnElement[bool]:
    return tables.traffic.c.hour != _middle(hours)


def _sum_up_month(connection: Connection, tenant: int, hours: range) -> Counter[int]:
    """Puts one number in the place of a month's; returns how many rows of hours are gone."""
    take_turn(connection)
    traffic, where = tables.traffic.c, _between(tenant, hours)
    gone = counted(connection, tables.traffic, and_(where, _off_middle(hours)))
    sums = (func.sum(traffic[name]).label(name) for name in _COUNTERS)
    wanted = select(traffic.stream_id, traffic.kind, *sums).where(where)
    grouped = connection.execute(wanted.group_by(traffic.stream_id, traffic.kind)).mappings().all()
    connection.execute(delete(tables.traffic).where(where))
    rows = [
        {
            "tenant_id": tenant,
            "stream_id": row["stream_id"],
            "hour": _middle(hours),
            "kind": row["kind"],
            # PostgreSQL adds integers up to a decimal.
            **{name: int(row[name]) for name in _COUNTERS},
        }
        for row in grouped
    ]
    if rows:
        connection.execute(insert(tables.traffic), rows)
    return gone


# Names in reports


def _named_in_reports(connection: Connection, ids: Collection[int]) -> set[int]:
    """Which of these passwords sealed reports name."""
    name = tables.attendance_report_name.c
    wanted = select(name.password_id).where(name.password_id.in_(ids)).distinct()
    return set(connection.scalars(wanted))


def _unused_names(
    connection: Connection, report_ids: Collection[int]
) -> defaultdict[int, set[bytes]]:
    """The references, by tenant, that nothing but the names in these reports has."""
    table, password = tables.attendance_report_name, tables.password
    name, other = table.c, table.alias().c
    elsewhere = select(true()).where(
        other.password_id == name.password_id, other.report_id.not_in(report_ids)
    )
    there = select(true()).where(password.c.id == name.password_id)
    wanted = select(name.tenant_id, name.reference).where(
        name.report_id.in_(report_ids),
        ~elsewhere.correlate(table).exists(),
        ~there.correlate(table).exists(),
    )
    found = defaultdict[int, set[bytes]](set)
    for row in connection.execute(wanted):
        found[row.tenant_id].add(row.reference)
    return found


# Counts


def _nobodys(count: int) -> Counter[int]:
    return Counter({_NOBODY: count} if count else {})


def _count(connection: Connection, where: ColumnElement[bool]) -> int:
    found = select(func.count()).select_from(tables.proof).where(where)
    return int(connection.execute(found).scalar_one())


def _document(
    done: Counts, rules: Rules, own: Mapping[int, Mapping[str, int]], now: int
) -> dict[str, Any]:
    tenants: dict[str, dict[str, int]] = {}
    for data, counts in done.items():
        for tenant, count in counts.items():
            if tenant != _NOBODY:
                tenants.setdefault(str(tenant), {})[data] = count
    return {
        "kind": RETENTION,
        "at": now,
        "days": {str(data): rules.days(data) for data in done},
        "own_days": {str(tenant): dict(days) for tenant, days in own.items()},
        "counts": {str(data): counts.total() for data, counts in done.items()},
        "tenants": tenants,
    }
