"""The key store: wrapped keys, in a database of their own.

It is apart from the main store so that backups of the two can live for different times: a record is
erased by deleting its key here, and a backup of the main store that still has the record has noise.
How keys wrap one another stands in `pystream.acl.sealing`; each method here is one transaction.

**Erasing.** First the key's random reference goes onto the erasure list outside of the database and
is on the disk (`erasures`). Then one transaction deletes the key, which SQLite overwrites in the
file (`secure_delete`), and notes the reference. Then the write-ahead log, where the key still stands,
is emptied into the file. Who opens a key store applies the list first: a backup that is brought back
holds erased keys until then. Backups themselves are deleted after as many days as the customers'
notice names (`key_backups.prune`).

What this cannot reach are copies that a file system, a solid-state disk or PostgreSQL keep below: on
PostgreSQL, a deleted row is in its page until VACUUM FULL, and in its log for as long as that is
kept. They are noise as soon as the tenant's key, and then the master key, were rotated and the old
master key was taken out of its file.

**Rotating.** Each kind of key has its old and its new generation open side by side, and each step is
a transaction that leaves all keys readable. Whatever ends a rotation, calling it again goes on.

| what       | how                                                                             |
| master key | a new one is put in front of the old ones; one transaction wraps all anew        |
| tenant key | a new generation is added; record keys are wrapped anew, batch by batch; the old goes |
| pepper     | a new one is added; passwords are indexed anew, batch by batch; the old one goes |

The main store notes with each index the generation of its pepper. An index whose generation is not the
newest is made anew from the sealed password, whenever it is found: the old pepper is not needed for
that, only for finding the password until then.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, Self, TypeVar

from sqlalchemy import (
    Connection,
    RowMapping,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from pystream.acl import sealing
from pystream.acl.sealing import MasterKeys, Pepper, Peppers
from pystream.acl.store import key_tables as tables
from pystream.acl.store.database import Database, Schema, take_turn
from pystream.acl.store.erasures import ErasureList
from pystream.acl.store.prepared import for_both
from pystream.errors import MasterKeyError, NoStore, NotFound, StoreError

SCHEMA: Final = Schema(tables.HEAD, "key_migrations", "key store")

_REFERENCE_LENGTH = 16
# Record keys that one query asks for, and that one step of a rotation wraps anew.
_BATCH = 500
_DAY_S = 86400
_REVISION = for_both(select(tables.revision.c.value))
# All that is wrapped under a master key, and what names a row of it.
_UNDER_MASTER: dict[str, tuple[Table, tuple[str, ...]]] = {
    "root": (tables.root, ()),
    "pepper": (tables.pepper, ("generation",)),
    "tenant": (tables.tenant_key, ("tenant_id", "generation")),
}

_Item = TypeVar("_Item")


class Traces(Enum):
    """Where the bytes of a deleted key still are."""

    NONE = "none"
    """Not in the database's files."""
    LOG = "log"
    """In SQLite's write-ahead log, since somebody reads an older moment: `scrub` later, which a running
    node does."""
    SERVER = "server"
    """Wherever PostgreSQL keeps them, until VACUUM FULL and the end of its log."""


@dataclass(frozen=True, slots=True)
class RecordKey:
    """A record's key, 32 bytes, and the reference by which the record finds it, 16 bytes."""

    reference: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"<pystream.acl.store.keystore.RecordKey {self.reference.hex()}>"


@dataclass(frozen=True, slots=True)
class Status:
    """What a key store holds.

    `root` is a name of the root, 16 hexadecimal digits, None where there is none; `masters` has the
    names of the master keys, the newest first, with how many keys each has wrapped; `rotating` the
    tenants whose keys have two generations.
    """

    revision: int
    root: str | None
    masters: Mapping[str, int]
    peppers: tuple[int, ...]
    tenants: int
    rotating: tuple[int, ...]
    records: int
    erasures: int


class KeyStore:
    """An opened key store. Usable from several threads; a process that forks opens its own.

    It asks `masters` for the master keys again whenever it wraps, and where it meets a key that a
    newer one wrapped: a rotation needs no process to start again.
    """

    def __init__(
        self,
        database: Database,
        masters: Callable[[], MasterKeys],
        loaded: MasterKeys,
        erasures: ErasureList,
    ) -> None:
        self.database = database
        self._load = masters
        self._masters = loaded
        self._erasures = erasures

    @classmethod
    def open(
        cls,
        url: str,
        masters: Callable[[], MasterKeys],
        erasures: str,
        *,
        migrate: bool = True,
    ) -> Self:
        """Open a key store; unless `migrate` is False, make or renew its tables and apply the
        erasure list, which is the file `erasures`.

        Raises `InvalidValue` for a wrong URL, `MasterKeyError` where the master keys do not open
        what is there, and `StoreError`. So does every method, where it cannot read or write.
        """
        # First, so that no database is left open where there are none.
        loaded = masters()
        database = Database(url, migrate=migrate, schema=SCHEMA)
        store = cls(database, masters, loaded, ErasureList(erasures))
        try:
            if migrate:
                listed = store._erasures.read()
                store.apply_erasures(listed)
                store._list_erasures(listed)
            with store._reading() as connection:
                store._root(connection)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        self.database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Root and pepper

    def set_up(self, root: bytes, now: int) -> None:
        """Make what a key store has from its first day, where it is missing: the root, which is the
        given one then, and the first pepper."""
        with self._writing() as connection:
            if self._root(connection) is None:
                row = {"id": 1, "made_at": now, **self._wrapped(root, "root")}
                connection.execute(insert(tables.root).values(row))
                _grow(connection)
            if not self._peppers(connection):
                self._add_pepper(connection, now)

    def root(self) -> bytes:
        """32 bytes, from which `Keyring` derives. Raises `NoStore` before `set_up`."""
        with self._reading() as connection:
            root = self._root(connection)
        if root is None:
            raise self._not_set_up()
        return root

    def revision(self) -> int:
        """A number that grows whenever root, peppers or tenants' keys change."""
        with self._named(), self.database.asking() as connection:
            return _revision(connection)

    def peppers(self) -> Peppers:
        """The active peppers. Raises `NoStore` before `set_up`."""
        with self._reading() as connection:
            found = self._peppers(connection)
        if not found:
            raise self._not_set_up()
        return Peppers.of(*found)

    def _not_set_up(self) -> NoStore:
        return NoStore(
            f"{self.database.name}: there are no keys yet: the server makes them at its first start"
        )

    def begin_pepper(self, now: int) -> Peppers:
        """Add a pepper, unless there are two: then a rotation goes on that had begun."""
        with self._writing() as connection:
            if len(self._peppers(connection)) < 2:
                self._add_pepper(connection, now)
            return Peppers.of(*self._peppers(connection))

    def finish_pepper(self) -> Peppers:
        """Delete all peppers but the newest."""
        with self._writing() as connection:
            newest = Peppers.of(*self._peppers(connection)).newest
            old = tables.pepper.c.generation != newest.generation
            if connection.execute(delete(tables.pepper).where(old)).rowcount:
                _grow(connection)
        self.scrub()
        return Peppers.of(newest)

    def rotate_pepper(self, reindex: Callable[[Peppers], int], now: int) -> Peppers:
        """Change the pepper.

        `reindex` is called until it returns 0. Each call is a transaction of the main store: it
        takes a batch of passwords whose index is not of the newest generation, unseals them,
        indexes them with `peppers.newest`, and returns how many these were.
        """
        peppers = self.begin_pepper(now)
        while reindex(peppers):
            pass
        return self.finish_pepper()

    # Record keys

    def add_record_keys(self, tenant_id: int, count: int, now: int) -> tuple[RecordKey, ...]:
        """Make keys for a tenant's records, and the tenant's own with the first ones."""
        made = tuple(
            RecordKey(secrets.token_bytes(_REFERENCE_LENGTH), sealing.new_key())
            for _ in range(count)
        )
        with self._writing() as connection:
            generation, tenant_key = self._newest_tenant_key(connection, tenant_id, now)
            rows = [
                {
                    "reference": each.reference,
                    "tenant_id": tenant_id,
                    "generation": generation,
                    "wrapped": sealing.wrap_record_key(
                        tenant_key, tenant_id, each.reference, each.key
                    ),
                }
                for each in made
            ]
            if rows:
                connection.execute(insert(tables.record_key), rows)
        return made

    def record_key(self, tenant_id: int, reference: bytes) -> bytes:
        """Raises `NotFound` where there is none, or no more, and `SealError`."""
        found = self.record_keys(tenant_id, (reference,))
        if reference not in found:
            raise NotFound(_no_key(tenant_id, reference))
        return found[reference]

    def record_keys(self, tenant_id: int, references: Collection[bytes]) -> dict[bytes, bytes]:
        """The keys, by reference, of those records of a tenant that have one. Raises `SealError`."""
        record = tables.record_key.c
        found = {}
        with self._reading() as connection:
            tenant_keys = self._tenant_keys(connection, tenant_id)
            for batch in _batches(references):
                wanted = select(tables.record_key).where(
                    record.tenant_id == tenant_id, record.reference.in_(batch)
                )
                for row in connection.execute(wanted).mappings():
                    found[row["reference"]] = _unwrapped(tenant_keys, row)
        return found

    # Erasing

    def erase(
        self,
        tenant_id: int,
        references: Collection[bytes],
        now: int,
        *,
        missing_ok: bool = False,
    ) -> Traces:
        """Delete keys of a tenant's records for good, and say what is left of them.

        Those that were erased before are no error. Raises `NotFound` for any other, unless
        `missing_ok` is set, and erases none then. With it, keys that are nowhere go onto the erasure
        list as well: a backup may have them.
        """
        wanted = set(references)
        with self._reading() as connection:
            there = _there(connection, tenant_id, wanted)
            unknown = wanted - there - _erased(connection, wanted)
            nowhere = unknown - _there(connection, None, unknown)
        if unknown and not missing_ok:
            raise NotFound(_no_key(tenant_id, min(unknown)))
        return self._erase(there | nowhere, now)

    def unmake(
        self,
        tenant_id: int,
        made: Collection[bytes],
        there: Callable[[], Collection[bytes]],
        now: int,
    ) -> None:
        """Erases keys that were made for what an error has kept from being stored, for `Database.undoing`:
        all but those that are `there`, as it may have come after that was stored, with the end of a line.
        Where nobody can tell, they stay: a key that opens nothing does no harm."""
        try:
            useless = set(made) - set(there())
        except StoreError:
            return
        if useless:
            self.erase(tenant_id, useless, now)

    @contextmanager
    def storing(
        self,
        database: Database,
        tenant_id: int,
        made: Collection[bytes],
        there: Callable[[], Collection[bytes]],
        now: int,
    ) -> Iterator[Connection]:
        """A transaction that takes its turn in a database, and stores what keys were `made` for: they are
        unmade where it is not kept."""
        unmake = partial(self.unmake, tenant_id, made, there, now)
        with database.undoing(unmake), database.writing() as connection:
            take_turn(connection)
            yield connection

    def erase_tenant(self, tenant_id: int, now: int) -> Traces:
        """Delete a tenant's key, and those of all its records, for good. No key is no error."""
        keys = tables.tenant_key.c
        with self._reading() as connection:
            wanted = select(keys.reference).where(keys.tenant_id == tenant_id).distinct()
            there = set(connection.scalars(wanted))
        return self._erase(there, now)

    def apply_erasures(self, erasures: Mapping[bytes, int]) -> int:
        """Delete what an erasure list names, and note it in the database's own; returns how many
        keys were still there. `erasures` has days since 1970 by reference."""
        with self._reading() as connection:
            known = set(connection.scalars(select(tables.erasure.c.reference)))
            back = _erased_and_there(connection)
        wanted = {each: day for each, day in erasures.items() if each not in known or each in back}
        if not wanted:
            return 0
        with self._writing() as connection:
            count = _delete(connection, wanted)
        self.scrub()
        return count

    def held(self, tenant_id: int) -> tuple[int, int]:
        """How many keys of its own, and of its records, a tenant has."""
        found = []
        with self._reading() as connection:
            for table in (tables.tenant_key, tables.record_key):
                wanted = select(func.count()).where(table.c.tenant_id == tenant_id)
                found.append(int(connection.execute(wanted).scalar_one()))
        own, records = found
        return own, records

    def old_erasures(self, day: int) -> int:
        """How many entries of the erasure list are from before a day, counted from 1970."""
        wanted = select(func.count()).where(tables.erasure.c.day < day)
        with self._reading() as connection:
            return int(connection.execute(wanted).scalar_one())

    def forget_erasures(self, day: int) -> int:
        """Take entries from before a day, counted from 1970, off both erasure lists; returns how many
        these were. No backup may be left that has their keys."""
        with self._writing() as connection:
            old = delete(tables.erasure).where(tables.erasure.c.day < day)
            count = connection.execute(old).rowcount
        self._erasures.forget(day)
        return count

    def scrub(self) -> Traces:
        """Empty SQLite's write-ahead log, in which deleted keys are until then."""
        if self.database.path is None:
            return Traces.SERVER
        return Traces.NONE if self.database.checkpoint() else Traces.LOG

    # Rotating

    def rotate_master(self) -> int:
        """Wrap anew under the newest master key whatever another one wrapped; returns how many keys
        these were."""
        count = 0
        with self._writing() as connection:
            self._masters = self._load()
            for kind, (table, names) in _UNDER_MASTER.items():
                old = select(table).where(table.c.master != self._masters.newest)
                for row in connection.execute(old).mappings().all():
                    what = (kind, *(row[name] for name in names))
                    again = self._wrapped(self._unwrap(row, *what), *what)
                    same = [table.c[name] == row[name] for name in names]
                    connection.execute(update(table).where(*same).values(again))
                    count += 1
            if count:
                _grow(connection)
        self.scrub()
        return count

    def rotate_tenant(self, tenant_id: int, now: int, batch: int = _BATCH) -> int:
        """Give a tenant a new key, wrap its record keys anew under it, `batch` of them in a
        transaction, and delete the old one; returns how many record keys these were. Raises
        `NotFound` where the tenant has none."""
        with self._writing() as connection:
            keys = self._tenant_keys(connection, tenant_id)
            if not keys:
                raise NotFound(
                    f"tenant {tenant_id} has no key yet: it gets one with its first record"
                )
            if len(keys) == 1:
                self._add_tenant_key(connection, tenant_id, now)
        count = 0
        while more := self._rewrap(tenant_id, batch):
            count += more
        self.scrub()
        return count

    def _rewrap(self, tenant_id: int, batch: int) -> int:
        """Some record keys of the old generation; with the last one, the old tenant key goes."""
        keys, record = tables.tenant_key.c, tables.record_key.c
        with self._writing() as connection:
            tenant_keys = self._tenant_keys(connection, tenant_id)
            if not tenant_keys:
                # The tenant was deleted meanwhile, and its record keys with it.
                return 0
            newest = max(tenant_keys)
            old = (record.tenant_id == tenant_id, record.generation != newest)
            wanted = select(tables.record_key).where(*old).limit(batch)
            again = [
                {
                    "of": row["reference"],
                    "wrapped": sealing.wrap_record_key(
                        tenant_keys[newest],
                        tenant_id,
                        row["reference"],
                        _unwrapped(tenant_keys, row),
                    ),
                }
                for row in connection.execute(wanted).mappings()
            ]
            if again:
                change = update(tables.record_key).where(record.reference == bindparam("of"))
                connection.execute(change.values(generation=newest), again)
            if len(again) < batch:
                spent = (keys.tenant_id == tenant_id, keys.generation != newest)
                connection.execute(delete(tables.tenant_key).where(*spent))
                _grow(connection)
            return len(again)

    def status(self) -> Status:
        keys = tables.tenant_key.c
        self._masters = self._load()
        with self._reading() as connection:
            root = self._root(connection)
            masters = dict.fromkeys(self._masters.names, 0)
            for table, _ in _UNDER_MASTER.values():
                counts = select(table.c.master, func.count()).group_by(table.c.master)
                for name, count in connection.execute(counts):
                    masters[name] = masters.get(name, 0) + count
            generations = select(keys.tenant_id, func.count()).group_by(keys.tenant_id)
            rows = connection.execute(generations.order_by(keys.tenant_id))
            tenants: dict[int, int] = dict(rows.all())
            return Status(
                revision=_revision(connection),
                root=None if root is None else root_name(root),
                masters=masters,
                peppers=tuple(each.generation for each in self._peppers(connection)),
                tenants=len(tenants),
                rotating=tuple(tenant for tenant, count in tenants.items() if count > 1),
                records=_count(connection, tables.record_key),
                erasures=_count(connection, tables.erasure),
            )

    # Transactions

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._named(), self.database.reading() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._named(), self.database.writing() as connection:
            # Waits for whoever writes now; SQLite's transaction has waited by itself.
            connection.execute(select(tables.revision.c.value).with_for_update())
            yield connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except MasterKeyError as error:
            raise MasterKeyError(f"{self.database.name}: {error}") from None

    # Wrapping

    def _wrapped(self, key: bytes, *what: str | int) -> dict[str, object]:
        # In the transaction that writes: an old master key whose rotation has ended wraps nothing.
        self._masters = self._load()
        return {"master": self._masters.newest, "wrapped": self._masters.wrap(key, *what)}

    def _unwrap(self, row: RowMapping, *what: str | int) -> bytes:
        if row["master"] not in self._masters.names:
            self._masters = self._load()
        return self._masters.unwrap(row["master"], row["wrapped"], *what)

    def _root(self, connection: Connection) -> bytes | None:
        row = connection.execute(select(tables.root)).mappings().one_or_none()
        return None if row is None else self._unwrap(row, "root")

    def _peppers(self, connection: Connection) -> list[Pepper]:
        rows = connection.execute(select(tables.pepper).order_by(tables.pepper.c.generation))
        return [
            Pepper(row["generation"], self._unwrap(row, "pepper", row["generation"]))
            for row in rows.mappings()
        ]

    def _add_pepper(self, connection: Connection, now: int) -> None:
        generation = max([now, *(each.generation + 1 for each in self._peppers(connection))])
        wrapped = self._wrapped(sealing.new_key(), "pepper", generation)
        row = {"generation": generation, "made_at": now, **wrapped}
        connection.execute(insert(tables.pepper).values(row))
        _grow(connection)

    def _tenant_keys(self, connection: Connection, tenant_id: int) -> dict[int, bytes]:
        """By generation."""
        of_tenant = tables.tenant_key.c.tenant_id == tenant_id
        rows = connection.execute(select(tables.tenant_key).where(of_tenant)).mappings()
        return {
            row["generation"]: self._unwrap(row, "tenant", tenant_id, row["generation"])
            for row in rows
        }

    def _newest_tenant_key(
        self, connection: Connection, tenant_id: int, now: int
    ) -> tuple[int, bytes]:
        if not (keys := self._tenant_keys(connection, tenant_id)):
            self._add_tenant_key(connection, tenant_id, now)
            keys = self._tenant_keys(connection, tenant_id)
        return max(keys.items())

    def _add_tenant_key(self, connection: Connection, tenant_id: int, now: int) -> None:
        keys = tables.tenant_key.c
        last = connection.execute(
            select(keys.generation, keys.reference)
            .where(keys.tenant_id == tenant_id)
            .order_by(keys.generation.desc())
            .limit(1)
        ).one_or_none()
        before, reference = last or (0, secrets.token_bytes(_REFERENCE_LENGTH))
        row = {
            "tenant_id": tenant_id,
            "generation": before + 1,
            "reference": reference,
            "made_at": now,
            **self._wrapped(sealing.new_key(), "tenant", tenant_id, before + 1),
        }
        connection.execute(insert(tables.tenant_key).values(row))
        _grow(connection)

    # The two erasure lists

    def _erase(self, references: Collection[bytes], now: int) -> Traces:
        entries = dict.fromkeys(references, now // _DAY_S)
        if entries:
            self._erasures.add(entries)
            with self._writing() as connection:
                _delete(connection, entries)
        return self.scrub()

    def _list_erasures(self, listed: Mapping[bytes, int]) -> None:
        """What the database's list has and the file has not: of a file that is new, or of erasures
        by another node."""
        with self._reading() as connection:
            rows = connection.execute(select(tables.erasure)).all()
        self._erasures.add({key: day for key, day in rows if key not in listed})


def root_name(root: bytes) -> str:
    """16 hexadecimal digits, from which nothing can be learned of the root."""
    return hmac.digest(root, b"pystream root name 1", "sha256")[:8].hex()


def _unwrapped(tenant_keys: Mapping[int, bytes], row: RowMapping) -> bytes:
    tenant_key = tenant_keys[row["generation"]]
    return sealing.unwrap_record_key(tenant_key, row["tenant_id"], row["reference"], row["wrapped"])


def _no_key(tenant_id: int, reference: bytes) -> str:
    return f"tenant {tenant_id} has no key {reference.hex()}, or it was erased"


def _there(
    connection: Connection, tenant_id: int | None, references: Iterable[bytes]
) -> set[bytes]:
    """Those that are references of keys; with a tenant's id, of its record keys."""
    record = tables.record_key.c
    found: set[bytes] = set()
    for batch in _batches(references):
        wanted = select(record.reference).where(record.reference.in_(batch))
        if tenant_id is not None:
            found.update(connection.scalars(wanted.where(record.tenant_id == tenant_id)))
            continue
        tenants = tables.tenant_key.c.reference
        found.update(connection.scalars(wanted))
        found.update(connection.scalars(select(tenants).where(tenants.in_(batch))))
    return found


def _erased(connection: Connection, references: Iterable[bytes]) -> set[bytes]:
    """Those that are on the database's list."""
    listed = tables.erasure.c.reference
    found: set[bytes] = set()
    for batch in _batches(references):
        found.update(connection.scalars(select(listed).where(listed.in_(batch))))
    return found


def _erased_and_there(connection: Connection) -> set[bytes]:
    """References of keys that are on the database's own list: somebody has brought their table back alone."""
    listed = select(tables.erasure.c.reference)
    return {
        each
        for reference in (tables.record_key.c.reference, tables.tenant_key.c.reference)
        for each in connection.scalars(select(reference).where(reference.in_(listed)))
    }


def _delete(connection: Connection, entries: Mapping[bytes, int]) -> int:
    """Deletes keys and puts them on the database's list; returns how many keys there were."""
    keys, record = tables.tenant_key.c, tables.record_key.c
    count = 0
    for batch in _batches(entries):
        owners = list(connection.scalars(select(keys.tenant_id).where(keys.reference.in_(batch))))
        # One after the other, by an index each: for both at once PostgreSQL would look at all keys.
        gone = [record.reference.in_(batch)]
        if owners:
            gone.append(record.tenant_id.in_(owners))
        for these in gone:
            count += connection.execute(delete(tables.record_key).where(these)).rowcount
        named = delete(tables.tenant_key).where(keys.reference.in_(batch))
        tenants = connection.execute(named).rowcount
        if tenants:
            _grow(connection)
        count += tenants
    new = set(entries) - _erased(connection, entries)
    if new:
        rows = [{"reference": each, "day": entries[each]} for each in new]
        connection.execute(insert(tables.erasure), rows)
    return count


def _revision(connection: Connection) -> int:
    ((found,),) = _REVISION.rows(connection, {})
    return int(found)


def _grow(connection: Connection) -> None:
    value = tables.revision.c.value
    connection.execute(update(tables.revision).values({value: value + 1}))


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _batches(items: Iterable[_Item]) -> Iterator[Sequence[_Item]]:
    listed = list(items)
    for begin in range(0, len(listed), _BATCH):
        yield listed[begin : begin + _BATCH]
