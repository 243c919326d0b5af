"""Sealed reports of attendance: numbered versions of a subject, which are only ever added.

A document is kept as it was signed, sealed under a key of its own: what it says of passwords is nobody's
but the tenant's. Each version names the one before it by its hash, within what is signed, so none can be
taken away from between two others unnoticed. Triggers of the database refuse to change one.

**Names** are kept apart from it: what the document calls a password is sealed under that password's own key.
Who erases a password erases its name here, too. From then on the version shows the password as erased, and
cannot be put together as it was signed; the files that were handed out before can be proven as ever.

**A hold** keeps all versions of a report as they are, until a time and for a reason, as long as a law or a
chamber wants them: the passwords that they name cannot be erased, and retention passes them by.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, select

from pystream.acl.passwords import problems_of_moment
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import audit, tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.restricting import check_stays
from pystream.attendance.canonical import decode, encode
from pystream.errors import Exists, InvalidValue, NotFound, Said, StoreError

_TABLE, _NAMES = "attendance_report", "attendance_report_name"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """What a report is of: an event, or a civil day of a stream."""

    event_id: int | None = None
    stream_id: int | None = None
    day: str | None = None

    def __str__(self) -> str:
        if self.event_id is not None:
            return f"event {self.event_id}"
        return f"stream {self.stream_id} {self.day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A sealed version. `digest`: SHA-256 of its document. `reason`: why there is another one than the
    first. `made_at` is in Unix seconds."""

    number: int
    reason: str
    digest: str
    made_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why a report is kept as it is, and until when, in Unix seconds."""

    until: int
    reason: str
    made_at: int


class Sealed(NamedTuple):
    """That there are versions of a report: of which event, or of which stream, by its name; how many, and
    when the last one was made."""

    subject: Subject
    name: str
    versions: int
    sealed_at: int
    hold: Hold | None


class Kept(NamedTuple):
    """A document; `is_whole`: as it was signed, with all names."""

    document: bytes
    is_whole: bool


class SealedReports:
    """The part of the two stores that has sealed reports. Methods raise `StoreError` as the stores do."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._database = database
        self._keys = keys

    def versions(self, tenant_id: int, subject: Subject) -> tuple[Version, ...]:
        """All there are, the first one first."""
        report = tables.attendance_report
        wanted = select(report).where(
            report.c.tenant_id == tenant_id, report.c.subject == str(subject)
        )
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(report.c.version)).mappings()
            return tuple(map(_version, rows))

    def sealed_at(self, tenant_id: int, subjects: Collection[Subject]) -> dict[Subject, int]:
        """When the last version of each of these was made, in Unix seconds; without those that have none."""
        report, named = tables.attendance_report.c, {str(each): each for each in subjects}
        texts, found = sorted(named), dict[Subject, int]()
        with self._database.reading() as connection:
            for begin in range(0, len(texts), _AT_ONCE):
                some = report.subject.in_(texts[begin : begin + _AT_ONCE])
                wanted = select(report.subject, func.max(report.made_at))
                wanted = wanted.where(report.tenant_id == tenant_id, some).group_by(report.subject)
                found |= {named[text]: at for text, at in connection.execute(wanted).all()}
        return found

    def document(self, tenant_id: int, subject: Subject, number: int) -> Kept:
        """Raises `NotFound`, and `StoreError` where it is not what was signed."""
        report = tables.attendance_report
        wanted = select(report).where(
            report.c.tenant_id == tenant_id,
            report.c.subject == str(subject),
            report.c.version == number,
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
            names = [] if row is None else _names(connection, row["id"])
        if row is None:
            said = f"there is no version {number} of this report"
            raise NotFound(Said("no-version", said, number=number))
        key = self._keys.record_keys(tenant_id, [row["reference"]]).get(row["reference"])
        if key is None:
            raise NotFound(
                Said("version-erased", f"version {number} of this report was erased", number=number)
            )
        place = Place(tenant_id, _TABLE, row["id"], "document")
        value = decode(unseal(key, place, row["sealed_document"]))
        passwords = value["about"]["passwords"]
        there = self._keys.record_keys(tenant_id, [each["reference"] for each in names])
        for each in names:
            if each["reference"] in there:
                place = Place(tenant_id, _NAMES, each["id"], "name")
                name = decode(unseal(there[each["reference"]], place, each["sealed_name"]))
                passwords[str(each["password_id"])] |= name
        text = encode(value) + b"\n"
        is_whole = sha256(text).hexdigest() == row["digest"]
        if not is_whole and len(there) == len({each["reference"] for each in names}):
            raise StoreError(f"version {number} of this report is not what was signed")
        return Kept(text, is_whole)

    def add(
        self,
        tenant_id: int,
        subject: Subject,
        make: Callable[[int, str | None], bytes],
        reason: str = "",
        *,
        who: str,
        now: int,
        by_itself: bool = False,
    ) -> tuple[Version, bytes]:
        """Seals another version: `make` is given its number and the hash of the one before, and signs the
        document. `by_itself`: nobody has asked for it.

        Raises `InvalidValue` for a correction without a reason, or for a reason of a first version, and
        `NotFound` where what it is of is not the tenant's; by itself, `Exists` where there is one, and
        `NotFound` for a tenant that is being deleted.
        """
        if len(reason) > 500 or not reason.isprintable():
            text = "at most 500 characters are wanted, and no line ends"
            raise InvalidValue(Said("text", text, of="reason", most=500))
        report = tables.attendance_report
        (key,) = self._keys.add_record_keys(tenant_id, 1, now)
        id = secrets.randbelow(2**63 - 1) + 1
        made, stored = [key.reference], partial(self._references, tenant_id, id)
        with self._keys.storing(self._database, tenant_id, made, stored, now) as connection:
            _check_owner(connection, tenant_id, subject)
            if by_itself:
                check_stays(connection, tenant_id)
            wanted = select(report.c.version, report.c.digest).where(
                report.c.tenant_id == tenant_id, report.c.subject == str(subject)
            )
            last = connection.execute(wanted.order_by(report.c.version.desc()).limit(1)).first()
            number, previous = (last.version + 1, last.digest) if last else (1, None)
            if by_itself and last:
                raise Exists(_wrong_reason(number))
            if (number > 1) is not bool(reason.strip()):
                raise InvalidValue(_wrong_reason(number))
            document = make(number, previous)
            digest = sha256(document).hexdigest()
            bare, names = _parted(document)
            row = {
                "id": id,
                "tenant_id": tenant_id,
                "subject": str(subject),
                "event_id": subject.event_id,
                "stream_id": subject.stream_id,
                "version": number,
                "reason": reason,
                "digest": digest,
                "made_at": now,
                "by_itself": by_itself,
                "reference": key.reference,
                "sealed_document": seal(key.key, Place(tenant_id, _TABLE, id, "document"), bare),
            }
            connection.execute(insert(report).values(row))
            self._add_names(connection, tenant_id, id, names)
            said: dict[str, tuple[None, Any]] = {"report_sealed": (None, number)}
            if by_itself:
                # Nobody knows it otherwise.
                said |= _told_of(connection, subject)
            audit.record(connection, tenant_id, who, now, said, subject.stream_id)
        return Version(number=number, reason=reason, digest=digest, made_at=now), document

    def _references(self, tenant_id: int, id: int) -> set[bytes]:
        """That of a version's key, if it is stored."""
        report = tables.attendance_report.c
        wanted = select(report.reference).where(report.tenant_id == tenant_id, report.id == id)
        with self._database.reading() as connection:
            return set(connection.scalars(wanted))

    # Holds

    def hold(
        self, tenant_id: int, subject: Subject, until: int, reason: str, *, who: str, now: int
    ) -> Hold:
        """Keeps all versions as they are; a hold that is there is replaced. Raises `InvalidValue` for one
        that is over or has no reason, and `NotFound` where nothing is sealed."""
        if wrong := list(_wrong_hold(until, reason, now)):
            raise InvalidValue(*wrong)
        table, report = tables.attendance_hold, tables.attendance_report.c
        with self._database.writing() as connection:
            # Whoever erases or deletes what is old has done so, or finds it held.
            take_turn(connection)
            check_stays(connection, tenant_id)
            sealed = report.tenant_id == tenant_id, report.subject == str(subject)
            if connection.scalar(select(report.id).where(*sealed).limit(1)) is None:
                text = "no version of this report is sealed: there is nothing to hold"
                raise NotFound(Said("not-sealed", text))
            connection.execute(delete(table).where(table.c.subject == str(subject)))
            held: dict[str, Any] = {"until": until, "reason": reason, "made_at": now}
            about = {"subject": str(subject), "tenant_id": tenant_id}
            connection.execute(insert(table).values(about | held))
            what = {"report_held": (None, reason), "report_held_until": (None, until)}
            what |= _told_of(connection, subject)
            audit.record(connection, tenant_id, who, now, what, subject.stream_id)
        return Hold(**held)

    def release(self, tenant_id: int, subject: Subject, *, who: str, now: int) -> None:
        """Ends a hold. Raises `NotFound` where there is none."""
        table = tables.attendance_hold
        these = table.c.tenant_id == tenant_id, table.c.subject == str(subject)
        with self._database.writing() as connection:
            take_turn(connection)
            if not connection.execute(delete(table).where(*these)).rowcount:
                raise NotFound(Said("not-held", "this report is not held"))
            what = {"report_released": (None, True)} | _told_of(connection, subject)
            audit.record(connection, tenant_id, who, now, what, subject.stream_id)

    def held(self, tenant_id: int, subject: Subject, now: int) -> Hold | None:
        """The hold of a report that is not over."""
        hold = tables.attendance_hold.c
        wanted = select(hold.until, hold.reason, hold.made_at).where(
            hold.tenant_id == tenant_id, hold.subject == str(subject), hold.until > now
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else Hold(**row)

    def listed(self, tenant_id: int, now: int, *, skip: int, most: int) -> tuple[Sealed, ...]:
        """Of which events and days of streams there are versions, the latest first; not of streams that
        were removed."""
        report, hold = tables.attendance_report.c, tables.attendance_hold.c
        event, stream = tables.attendance_event, tables.stream
        last = func.max(report.made_at)
        name = func.coalesce(event.c.name, stream.c.name)
        wanted = (
            select(report.subject, report.event_id, report.stream_id, func.count(), last, name)
            .add_columns(hold.until, hold.reason, hold.made_at)
            .outerjoin(event, event.c.id == report.event_id)
            .outerjoin(stream, stream.c.id == report.stream_id)
            .outerjoin(
                tables.attendance_hold, and_(hold.subject == report.subject, hold.until > now)
            )
            .where(report.tenant_id == tenant_id, stream.c.removed_at.is_(None))
            .group_by(report.subject, report.event_id, report.stream_id)
            .group_by(event.c.name, stream.c.name, hold.until, hold.reason, hold.made_at)
            .order_by(last.desc(), report.subject)
            .offset(skip)
            .limit(most)
        )
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
        return tuple(
            Sealed(
                Subject(event_id, stream_id, None if event_id else text.rpartition(" ")[2]),
                *(name, count, at),
                None if until is None else Hold(until=until, reason=reason, made_at=made_at),
            )
            for text, event_id, stream_id, count, at, name, until, reason, made_at in rows
        )

    def _add_names(
        self, connection: Connection, tenant_id: int, report_id: int, names: dict[int, Any]
    ) -> None:
        password = tables.password.c
        ids, found = sorted(names), dict[int, bytes]()
        for begin in range(0, len(ids), _AT_ONCE):
            some = password.id.in_(ids[begin : begin + _AT_ONCE])
            # One whose time was over when it was revoked is about to go (`retaining`).
            wanted = select(password.id, password.reference).where(
                password.tenant_id == tenant_id,
                some,
                password.revoked_at.is_(None) | (password.revoked_at > 0),
            )
            found |= {row.id: row.reference for row in connection.execute(wanted)}
        keys = self._keys.record_keys(tenant_id, list(found.values()))
        if any(found.get(id) not in keys for id in ids):
            raise StoreError("a password was erased meanwhile; try again")
        rows = []
        for password_id in ids:
            id = secrets.randbelow(2**63 - 1) + 1
            place = Place(tenant_id, _NAMES, id, "name")
            reference = found[password_id]
            rows.append(
                {
                    "id": id,
                    "tenant_id": tenant_id,
                    "report_id": report_id,
                    "password_id": password_id,
                    "reference": reference,
                    "sealed_name": seal(keys[reference], place, encode(names[password_id])),
                }
            )
        if rows:
            connection.execute(insert(tables.attendance_report_name), rows)


def _wrong_hold(until: int, reason: str, now: int) -> Iterator[Said]:
    if not reason.strip() or len(reason) > 500 or not reason.isprintable():
        text = "1 to 500 characters are wanted, and no line ends"
        yield Said("text-wanted", text, of="reason", most=500)
    if until <= now:
        yield Said("past", "this is not in the future", of="until")
    else:
        yield from problems_of_moment("until", until)


def _told_of(connection: Connection, subject: Subject) -> dict[str, tuple[None, str]]:
    """What the audit log says of a report beside the stream: the event's name, or the day."""
    event, name = tables.attendance_event.c, subject.day
    if subject.event_id is not None:
        name = connection.scalar(select(event.name).where(event.id == subject.event_id))
    return {"report_of": (None, str(name))}


def _wrong_reason(number: int) -> Said:
    if number == 1:
        return Said("reason-none", "a first version corrects nothing", of="reason")
    text = f"version {number - 1} is sealed already; a correction wants one"
    return Said("reason-wanted", text, of="reason", number=number - 1)


def _parted(document: bytes) -> tuple[bytes, dict[int, Any]]:
    """A document without the names in it, and these by the passwords' numbers."""
    value, names = decode(document), dict[int, Any]()
    for key, known in value["about"]["passwords"].items():
        if known["password"] is not None:
            names[int(key)] = {name: known[name] for name in ("label", "password")}
            known |= {"label": "", "password": None}
    return encode(value) + b"\n", names


def _names(connection: Connection, report_id: int) -> list[RowMapping]:
    name = tables.attendance_report_name
    wanted = select(name).where(name.c.report_id == report_id).order_by(name.c.id)
    return list(connection.execute(wanted).mappings())


def _check_owner(connection: Connection, tenant_id: int, subject: Subject) -> None:
    for table, id in (
        (tables.attendance_event, subject.event_id),
        (tables.stream, subject.stream_id),
    ):
        if id is not None:
            owner = select(table.c.id).where(table.c.id == id, table.c.tenant_id == tenant_id)
            if connection.scalar(owner) is None:
                raise NotFound(Said("nothing", "what the report is of is not there"))


def _version(row: RowMapping) -> Version:
    return Version(
        number=row["version"],
        reason=row["reason"],
        digest=row["digest"],
        made_at=row["made_at"],
    )
