"""Sealed reports of attendance: numbered versions of a subject, which are only ever added.

A document is kept as it was signed, sealed under a key of its own: what it says of passwords is nobody's
but the tenant's. Each version names the one before it by its hash, within what is signed, so none can be
taken away from between two others unnoticed. Triggers of the database refuse to change one.

**Names** are kept apart from it: what the document calls a password is sealed under that password's own key.
Who erases a password erases its name here, too. From then on the version shows the password as erased, and
cannot be put together as it was signed; the files that were handed out before can be proven as ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, insert, select

from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import audit, tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.attendance.canonical import decode, encode
from pystream.errors import InvalidValue, NotFound, StoreError

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
            raise NotFound(f"there is no version {number} of this report")
        key = self._keys.record_key(tenant_id, row["reference"])
        if key is None:
            raise NotFound(f"version {number} of this report was erased")
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
    ) -> tuple[Version, bytes]:
        """Seals another version: `make` is given its number and the hash of the one before, and signs the
        document.

        Raises `InvalidValue` for a correction without a reason, or for a reason of a first version, and
        `NotFound` where what it is of is not the tenant's.
        """
        if len(reason) > 500 or not reason.isprintable():
            raise InvalidValue("reason: at most 500 characters are wanted, and no line ends")
        report = tables.attendance_report
        (key,) = self._keys.add_record_keys(tenant_id, 1, now)
        try:
            with self._database.writing() as connection:
                take_turn(connection)
                _check_owner(connection, tenant_id, subject)
                wanted = select(report.c.version, report.c.digest).where(
                    report.c.tenant_id == tenant_id, report.c.subject == str(subject)
                )
                last = connection.execute(wanted.order_by(report.c.version.desc()).limit(1)).first()
                number, previous = (last.version + 1, last.digest) if last else (1, None)
                if (number > 1) is not bool(reason.strip()):
                    raise InvalidValue(
                        f"reason: version {number - 1} is sealed already; a correction wants one"
                        if number > 1
                        else "reason: a first version corrects nothing"
                    )
                document = make(number, previous)
                digest = sha256(document).hexdigest()
                bare, names = _parted(document)
                id = secrets.randbelow(2**63 - 1) + 1
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
                    "reference": key.reference,
                    "sealed_document": seal(
                        key.key, Place(tenant_id, _TABLE, id, "document"), bare
                    ),
                }
                connection.execute(insert(report).values(row))
                self._add_names(connection, tenant_id, id, names)
                said = {"report_sealed": (None, number)}
                audit.record(connection, tenant_id, who, now, said, subject.stream_id)
        except BaseException:
            self._keys.erase(tenant_id, [key.reference], now)
            raise
        made = Version(number=number, reason=reason, digest=digest, made_at=now)
        return made, document

    def _add_names(
        self, connection: Connection, tenant_id: int, report_id: int, names: dict[int, Any]
    ) -> None:
        password = tables.password.c
        ids, found = sorted(names), dict[int, bytes]()
        for begin in range(0, len(ids), _AT_ONCE):
            some = password.id.in_(ids[begin : begin + _AT_ONCE])
            wanted = select(password.id, password.reference).where(
                password.tenant_id == tenant_id, some
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
                raise NotFound("what the report is of is not there")


def _version(row: RowMapping) -> Version:
    return Version(
        number=row["version"],
        reason=row["reason"],
        digest=row["digest"],
        made_at=row["made_at"],
    )
