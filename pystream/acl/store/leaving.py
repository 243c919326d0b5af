"""What a tenant takes along, and the end: export, and deletion with proof (Art. 28(3)(g) GDPR).

**An export** is a zip archive (APPNOTE 6.3.3, deflated) for the tenant alone:

| member              | what                                                                        |
| ------------------- | --------------------------------------------------------------------------- |
| `manifest.json`     | format, tenant, time; of each member SHA-256, bytes, lines; what is left out |
| `README.txt`        | what is in it, in words                                                      |
| `data/TABLE.jsonl`  | all rows of a table, a JSON object a line, by their numbers                  |
| `passwords.csv`     | passwords that can be read, as `pystream password import` takes them         |
| `traffic.csv`       | what was sent, by hour and stream                                            |

Numbers are those of the store. Times end in `_at`, `_from`, `_until`, or are `at` and `expires`: Unix
seconds; `used_on` is days and `hour` hours since 1970, in UTC. Bytes are hexadecimal digits. What is
sealed comes opened, under its name without `sealed_`; it is null where its key was destroyed.

**Deletion.** First the tenant's streams are removed, which workers follow, unless something of it is held
or restricted; then its key is destroyed, so whatever ends the rest, nothing can be read; then rows go, some
thousand in a transaction; the last transaction takes what has come meanwhile, the tenant itself and all
numbers that name it, and leaves the proof. Called again after an interruption, deletion goes on, and its
proof counts what was left.

What this does not reach: films are the tenant's own files. Backups of the main store hold sealed texts
that nothing opens once the backups of the key store are gone, and settings and traffic until they are
gone themselves.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final

from sqlalchemy import Connection, RowMapping, Table, and_, delete, select, update

from pystream.acl.password_csv import Row, write_csv
from pystream.acl.passwords import PasswordSettings
from pystream.acl.proofs import Names, Proof
from pystream.acl.sealing import Place, unseal
from pystream.acl.store import Store, audit, tables
from pystream.acl.store.inventory import (
    INVENTORY,
    SEALED,
    counted,
    delete_some,
    of_tenants,
    owner,
    unreferenced,
)
from pystream.acl.store.keystore import KeyStore, Traces
from pystream.acl.store.retaining import add_proof, take_turn
from pystream.acl.streams import Tenant
from pystream.acl.viewers import without_label
from pystream.errors import StoreError

EXPORT_FORMAT: Final = "pystream export 1"
DELETION: Final = "tenant"
"""The kind of proof that a deletion leaves."""

_AT_ONCE = 2000
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: rows by table, and how many passwords cannot be read any more."""

    rows: Mapping[str, int]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion: its proof, whose it was, and where bytes of the destroyed keys still are."""

    proof: Proof
    names: Names
    traces: Traces


class Leaving:
    """Export and deletion of tenants. Methods raise `NotFound` for an unknown tenant, and `StoreError`,
    `SealError` and `MasterKeyError` as the two stores do."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._database = store.database
        self._keys = keys

    # Export

    def export(
        self, name: str, path: str, *, who: str, now: int, replace: bool = False
    ) -> Exported:
        """Writes everything of a tenant's into a new archive, for its owner's eyes only; that it was
        made is on record. What is at `path` is replaced, where that is wanted; else it raises
        `FileExistsError`."""
        tenant = self._store.tenant(name)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        if not replace:
            # Taken at once, so that nobody else's file is what the rename replaces.
            os.close(os.open(path, flags, 0o600))
        unfinished = f"{path}.unfinished"
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        try:
            with open(os.open(unfinished, flags, 0o600), "wb") as file:
                exported = self._write(tenant, file, now)
                file.flush()
                os.fsync(file.fileno())
            # On record before anybody can see it, and where nobody can, not at all.
            what = {"passwords_shown": exported.rows["password"]}
            self._store.audit.record_view(tenant.id, None, what, who=who, now=now)
            os.rename(unfinished, path)
        except BaseException:
            for useless in (unfinished,) if replace else (unfinished, path):
                with suppress(FileNotFoundError):
                    os.unlink(useless)
            raise
        return exported

    def _write(self, tenant: Tenant, file: IO[bytes], now: int) -> Exported:
        members: dict[str, dict[str, Any]] = {}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

            def add(name: str, lines: Iterator[bytes]) -> int:
                said = _add(archive, name, lines, now)
                members[name] = said
                return int(said["lines"])

            with self._database.reading() as connection:
                rows = {
                    table.name: add(
                        f"data/{table.name}.jsonl", self._lines(connection, table, tenant)
                    )
                    for table in reversed(of_tenants())
                }
                shown = _Passwords()
                add("passwords.csv", self._passwords(connection, tenant, shown))
                add("traffic.csv", _traffic(connection, tenant))
            add("README.txt", iter([_README.encode()]))
            manifest = _manifest(tenant, members, now)
            _add(archive, "manifest.json", iter([manifest]), now)
        return Exported(rows, shown.unreadable)

    def _lines(self, connection: Connection, table: Table, tenant: Tenant) -> Iterator[bytes]:
        for each in self._rows(connection, table, tenant):
            yield json.dumps(each, ensure_ascii=False).encode() + b"\n"

    def _rows(
        self, connection: Connection, table: Table, tenant: Tenant
    ) -> Iterator[dict[str, Any]]:
        """All rows as they are exported, opened where they are sealed."""
        held = INVENTORY[table.name]
        wanted = select(table).where(owner(table) == tenant.id)
        order = [table.c.number] if table is tables.password else table.primary_key.columns
        found = connection.execute(wanted.order_by(*order)).mappings()
        for page in found.partitions(_PAGE):
            keys: Mapping[bytes, bytes] = {}
            if "reference" in table.c:
                references = [row["reference"] for row in page if row["reference"] is not None]
                keys = self._keys.record_keys(tenant.id, references)
            for row in page:
                yield _opened(table, row, tenant, keys, held.without)

    def _passwords(
        self, connection: Connection, tenant: Tenant, shown: _Passwords
    ) -> Iterator[bytes]:
        def rows() -> Iterator[Row]:
            for each in self._rows(connection, tables.password, tenant):
                if each["text"] is None:
                    shown.unreadable += 1
                elif each["revoked_at"] is None and not each["named"]:
                    yield Row(
                        each["text"],
                        PasswordSettings(
                            label=each["label"] or "",
                            valid_from=each["valid_from"],
                            valid_until=each["valid_until"],
                            max_devices=each["max_devices"],
                            is_test=each["is_test"],
                        ),
                    )

        yield from write_csv(rows(), timezone=tenant.settings.timezone)

    # Deletion

    def delete(self, name: str, *, who: str, now: int, force: bool = False) -> Deleted:
        """Deletes a tenant and everything of it for good.

        Raises `StoreError` where it has streams that are not removed, unless `force` is set; and, whatever
        is set, as long as one of its sealed reports is held, or the data of a password restricted.
        """
        tenant = self._close(name, now, force)
        own, records = self._keys.held(tenant.id)
        traces = self._keys.erase_tenant(tenant.id, now)
        counts: Counter[str] = Counter()
        for table in of_tenants():
            # The audit log goes as a whole.
            if table not in (tables.tenant, tables.audit):
                counts[table.name] += self._empty(table, tenant)
        names = Names.of(name, who)
        document = {
            "kind": DELETION,
            "at": now,
            "tenant_id": tenant.id,
            "keys": {"tenant_key": own, "record_key": records},
            "commitment": names.commitment(),
        }
        proof = self._finish(tenant, document, counts, now)
        # Of whoever has added a password after the key was gone, and before the tenant was.
        if any(self._keys.held(tenant.id)):
            traces = self._keys.erase_tenant(tenant.id, now)
        if self._database.path is not None:
            self._database.checkpoint()
        return Deleted(proof, names, traces)

    def _check_not_held(self, tenant: Tenant, now: int) -> None:
        hold, report = tables.attendance_hold.c, tables.attendance_report.c
        event, stream = tables.attendance_event.c, tables.stream.c
        wanted = (
            select(hold.until, hold.reason, event.name, stream.name.label("stream"), hold.subject)
            .join_from(
                tables.attendance_hold, tables.attendance_report, report.subject == hold.subject
            )
            .outerjoin(tables.attendance_event, event.id == report.event_id)
            .outerjoin(tables.stream, stream.id == report.stream_id)
            .where(hold.tenant_id == tenant.id, hold.until > now)
            .order_by(hold.until.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            held = connection.execute(wanted).one_or_none()
        if held is None:
            return
        of = f"{tenant.name}/{held.name or held.stream}"
        day = "" if held.name else f" --day {held.subject.rpartition(' ')[2]}"
        raise StoreError(
            f"the report of {of} is held until {_moment(held.until)}: {held.reason}. When nobody wants it"
            f" any more, `pystream report {of}{day} --release` ends that; nothing was deleted"
        )

    def _close(self, name: str, now: int, force: bool) -> Tenant:
        """Removes what is still served, and ends who watches; from here on nobody keeps anything of the
        tenant's. Whoever holds or restricts something meanwhile has done so, or comes too late."""
        with self._database.together():
            with self._database.writing() as connection:
                take_turn(connection)
            tenant = self._store.tenant(name)
            self._check_none_kept(tenant, now)
            if not force:
                self._check_none_served(tenant)
            self._end(tenant, now)
        return tenant

    def _check_none_kept(self, tenant: Tenant, now: int) -> None:
        self._check_not_held(tenant, now)
        if restricted := self._store.viewers.restrictions.listed(tenant.id):
            raise StoreError(
                f"the data of some passwords of {tenant.name!r} is restricted ({len(restricted)}): it is kept"
                f" until that is lifted (pystream password restrict {tenant.name} lists them); nothing was"
                " deleted"
            )

    def _check_none_served(self, tenant: Tenant) -> None:
        streams = self._store.streams(tenant.name)
        if streams:
            raise StoreError(
                f"tenant {tenant.name!r} has streams that are served, {streams[0].name!r} among them: remove"
                " them first (pystream stream remove), or force it; nothing was deleted"
            )

    def _end(self, tenant: Tenant, now: int) -> None:
        stream = tables.stream.c
        there = and_(stream.tenant_id == tenant.id, stream.removed_at.is_(None))
        with self._database.writing() as connection:
            own = tables.tenant.c.id == tenant.id
            connection.execute(update(tables.tenant).where(own).values(deleted_at=now))
            value = tables.revision.c.value
            connection.execute(update(tables.revision).values({value: value + 1}))
            revision = connection.scalar(select(value))
            closed = update(tables.stream).where(there)
            connection.execute(closed.values(removed_at=now, revision=revision))

    def _empty(self, table: Table, tenant: Tenant) -> int:
        """Deletes the rows that nothing names; what is named by then goes at last."""
        where = and_(owner(table) == tenant.id, unreferenced(table))
        count = 0
        while True:
            with self._database.writing() as connection:
                gone = delete_some(connection, table, where, _AT_ONCE).total()
            if not gone:
                return count
            count += gone

    def _finish(
        self, tenant: Tenant, document: dict[str, Any], counts: Counter[str], now: int
    ) -> Proof:
        with self._database.writing() as connection:
            take_turn(connection)
            for table in of_tenants():
                where = owner(table) == tenant.id
                counts[table.name] += counted(connection, table, where).total()
                if table is tables.audit:
                    audit.erase(connection, tenant.id)
                else:
                    connection.execute(delete(table).where(where))
            value = tables.revision.c.value
            connection.execute(update(tables.revision).values({value: value + 1}))
            return add_proof(connection, document | {"counts": dict(counts)}, now)


@dataclass
class _Passwords:
    unreadable: int = 0


def _opened(
    table: Table,
    row: RowMapping,
    tenant: Tenant,
    keys: Mapping[bytes, bytes],
    without: Mapping[str, str],
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name in without:
            continue
        if isinstance(value, dict):
            value = {each: value[each] for each in value if f"{name}.{each}" not in without}
        if name.startswith(SEALED):
            plain = name.removeprefix(SEALED)
            key = keys.get(row["reference"])
            place = Place(tenant.id, table.name, row["id"], plain)
            readable = key is not None and value is not None
            shown[plain] = unseal(key, place, value).decode() if readable and key else None
        else:
            shown[name] = value.hex() if isinstance(value, bytes) else value
    if table is tables.password and shown["text"] is not None:
        shown["text"], label = without_label(shown["text"])
        shown["label"] = shown["label"] or label or None
    return shown


def _traffic(connection: Connection, tenant: Tenant) -> Iterator[bytes]:
    columns = ("hour", "stream_id", "kind", "requests", "bytes", "aborted")
    table = tables.traffic
    wanted = select(*(table.c[name] for name in columns)).where(table.c.tenant_id == tenant.id)
    yield _csv_line(("time", *columns))
    for row in connection.execute(wanted.order_by(*table.primary_key.columns)):
        yield _csv_line((_moment(row.hour * 3600), *row))


def _csv_line(cells: tuple[Any, ...]) -> bytes:
    # RFC 4180 2
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _add(archive: zipfile.ZipFile, name: str, lines: Iterator[bytes], now: int) -> dict[str, Any]:
    """Writes a member; returns what the manifest says of it."""
    made = datetime.fromtimestamp(now, UTC)
    member = zipfile.ZipInfo(name, (max(1980, made.year), *made.timetuple()[1:6]))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o600 << 16
    digest, size, count = hashlib.sha256(), 0, 0
    with archive.open(member, "w", force_zip64=True) as file:
        for line in lines:
            file.write(line)
            digest.update(line)
            size += len(line)
            count += 1
    return {"sha256": digest.hexdigest(), "bytes": size, "lines": count}


def _manifest(tenant: Tenant, members: Mapping[str, Mapping[str, Any]], now: int) -> bytes:
    facts = {
        "format": EXPORT_FORMAT,
        "tenant": {"id": tenant.id, "name": tenant.name},
        "made_at": _moment(now),
        "members": members,
        "left_out": {name: dict(held.without) for name, held in INVENTORY.items() if held.without},
    }
    return json.dumps(facts, indent=2).encode() + b"\n"


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


_README = """\
Everything that pystream holds of a tenant, of one moment.

manifest.json      the tenant, the time; SHA-256, bytes and rows of each file
data/TABLE.jsonl   all rows of a table, a JSON object a line, in UTF-8
passwords.csv      passwords that are not revoked, as they can be imported
                   again (pystream password import); data/password.jsonl says
                   which are shared
traffic.csv        what was sent, by hour and stream

Numbers (id, stream_id, password_id) are the same in all files. Times are Unix
seconds: "at", "expires", and whatever ends in _at, _from or _until; of attendance, "t",
"played_at", windows and breaks are in milliseconds. "hour" is hours and
"used_on" days since 1970, in UTC; of months long ago, one hour has the sum.
"kind" of traffic: 1 playlists, 2 segments, 3 keys, 4 downloads. Bytes are
written as hexadecimal digits. "text" and "label" of a password are null where it was
erased. The films themselves are files of yours, and not in here; where they
lie on the server is its operator's affair, and left out ("left_out" of
manifest.json tells what else is, and why).

Who holds these passwords may watch: keep this archive as you keep them.
"""
