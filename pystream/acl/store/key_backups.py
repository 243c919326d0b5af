"""Backups of a key store in SQLite, and the way back.

A backup is two files with mode 0600: `keys-20310515T120000Z.db`, a whole key store of one moment
(VACUUM INTO: nothing that was deleted is in it), and `.json` of the same name, its manifest, which
comes last: without it, the backup was never finished. The keys in it are wrapped, so a backup is worth
nothing without the master key of its time; keep the two apart.

What is erased can be read as long as a backup from before is there and is not opened by pystream. So
a customer's notice names a number of days, and `prune` deletes what is older: with a backup each day,
nothing is older than the days and one.

A key store in PostgreSQL is backed up by PostgreSQL's own means (pg_basebackup and the archive of its
log, or pg_dump), and the same number of days holds for all of that. Whatever was brought back, the
erasure list is applied when the first node opens it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pystream.acl.sealing import MasterKeys
from pystream.acl.store.database import Database
from pystream.acl.store.erasures import ErasureList
from pystream.acl.store.keystore import SCHEMA, KeyStore, Status
from pystream.errors import (
    Exists,
    InvalidValue,
    MasterKeyError,
    NotFound,
    SealError,
    StoreError,
)

_NAME: Final = re.compile(r"keys-(\d{8}T\d{6}Z)\.(?:db|json)(?:\.unfinished)?")
_TIME = "%Y%m%dT%H%M%SZ"
_DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back: of when it is, how many record keys there are now, how many keys
    the erasure list took out of the backup, and how many were lost that only the old store had."""

    made_at: int
    records: int
    erased: int
    lost: int


def backup(store: KeyStore, folder: str, now: int) -> str:
    """Write a backup into a folder; returns the path of its database.

    Raises `InvalidValue` for a key store in PostgreSQL, `Exists` where there is one of this second,
    and `StoreError`.
    """
    if store.database.path is None:
        raise InvalidValue(
            "the key store is in PostgreSQL, and its backups are PostgreSQL's: pg_basebackup with"
            " the archive of its log, or pg_dump. Keep each of them as long as the customers'"
            " notices name, and no longer; the erasure list is applied when pystream opens the"
            " key store again"
        )
    if not os.path.isdir(folder):
        raise _no_folder(folder)
    path = os.path.join(folder, f"keys-{datetime.fromtimestamp(now, UTC):{_TIME}}.db")
    if os.path.lexists(path):
        raise Exists(f"{path}: there is a backup of this second already")
    try:
        _write(store, path, now)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error
    return path


def prune(folder: str, days: int, now: int) -> tuple[str, ...]:
    """Delete the backups in a folder that are older than so many days, by their names; returns their
    databases' paths. Other files stay. Raises `StoreError`."""
    gone = older(folder, days, now)
    try:
        for path in gone:
            os.unlink(path)
        _sync(folder)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}") from error
    return tuple(path for path in gone if path.endswith(".db"))


def older(folder: str, days: int, now: int) -> tuple[str, ...]:
    """The files of backups in a folder that are older than so many days. Raises `StoreError`."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        raise _no_folder(folder) from None
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}") from error
    return tuple(
        os.path.join(folder, name)
        for name in names
        if (found := _NAME.fullmatch(name)) and _seconds(found[1]) <= now - days * _DAY_S
    )


def _no_folder(folder: str) -> StoreError:
    return StoreError(
        f"{folder}: there is no such folder; backups want one that only their owner can read:"
        f" mkdir -m 700 {shlex.quote(folder)}"
    )


def restore(
    path: str,
    url: str,
    masters: Callable[[], MasterKeys],
    erasures: str,
    *,
    listed_since: int,
    replace: bool = False,
    unlisted: bool = False,
) -> Restored:
    """Bring a backup back into the key store at `url`, without what has been erased since.

    The erasure list is applied in memory; then one transaction replaces all that the key store
    holds, so that it may be open meanwhile. Record keys that only the key store has are lost: that
    is refused with `Exists`, unless `replace` is set. Where the list is missing, and the key store is
    another one or new, nobody knows what was erased since: that is refused with `NotFound`, unless
    `unlisted` is set. So is a backup from before `listed_since`, in Unix seconds: what was erased before
    that is off both lists by now.

    Raises `InvalidValue` for a key store in PostgreSQL, `MasterKeyError` where the master key of the
    backup's time is missing, and `StoreError` where the backup is damaged.
    """
    made_at = _check_manifest(path)
    if made_at < listed_since and not unlisted:
        raise NotFound(
            f"{path}: this backup is older than the erasure list goes back (retention.erasures_days), and"
            " what was erased soon after it would come back: take a newer one. Where there is none, or"
            " nothing was erased for so long, give --without-list"
        )
    live = _prepared(url)
    listed = ErasureList(erasures)
    before = listed.read()
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None)) as copy,
        closing(sqlite3.connect(live, timeout=10, isolation_level=None)) as old,
    ):
        try:
            _read(path, copy)
            _check_masters(path, copy, masters())
            if not (unlisted or os.path.lexists(erasures) or _same_root(copy, old, masters())):
                raise NotFound(
                    f"{erasures}: the erasure list is not there, and what was erased since this backup"
                    " would come back: put the list back first. Where it is lost for good, or nothing"
                    " was ever erased, give --without-list"
                )
            entries = {**_entries(copy), **_entries(old), **before}
            listed.add({key: day for key, day in entries.items() if key not in before})
            erased = _take_out(copy, entries)
            lost = len(_references(old) - _references(copy) - set(entries))
            if lost and not replace:
                raise Exists(
                    f"{live}: {lost} of its record keys are not in the backup, and what they seal"
                    " would be lost"
                )
            copy.backup(old)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: this backup cannot be brought back: {error}") from error
    with KeyStore.open(url, masters, erasures) as store:
        store.scrub()
        return Restored(made_at, store.status().records, erased, lost)


# Making one


def _write(store: KeyStore, path: str, now: int) -> None:
    unfinished = f"{path}.unfinished"
    with suppress(FileNotFoundError):
        os.unlink(unfinished)
    # SQLite takes an empty file as it is, mode and all.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        store.database.copy_to(unfinished)
        _sync(unfinished)
        with open(unfinished, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.rename(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise
    _write_manifest(_manifest_of(path), _manifest(store.status(), digest, now))
    _sync(os.path.dirname(path) or ".")


def _manifest(status: Status, digest: str, now: int) -> dict[str, Any]:
    return {
        "made_at": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "sha256": digest,
        "schema": SCHEMA.head,
        "root": status.root,
        "master_keys": [name for name, count in status.masters.items() if count],
    }


def _write_manifest(path: str, facts: Mapping[str, Any]) -> None:
    unfinished = f"{path}.unfinished"
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC
    with open(os.open(unfinished, flags, 0o600), "w") as file:
        json.dump(facts, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, path)


def _manifest_of(path: str) -> str:
    return f"{path.removesuffix('.db')}.json"


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())


def _sync(path: str) -> None:
    """A file or a folder."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# The way back


def _check_manifest(path: str) -> int:
    """When the backup was made. Raises `StoreError` where the file is not what was written then."""
    manifest = _manifest_of(path)
    if not os.path.lexists(path):
        raise StoreError(f"{path}: {os.strerror(errno.ENOENT)}")
    if not os.path.lexists(manifest):
        raise StoreError(
            f"{manifest}: the manifest of this backup is missing: it was made together with the .db,"
            " and belongs beside it, under the same name"
        )
    try:
        with open(manifest, "rb") as file:
            facts = json.load(file)
        made_at, wanted = datetime.fromisoformat(facts["made_at"]), facts["sha256"]
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError):
        raise StoreError(f"{manifest}: this is no manifest of a backup") from None
    if found != wanted:
        raise StoreError(f"{path}: the file is not what its manifest says: take another backup")
    return int(made_at.timestamp())


def _prepared(url: str) -> str:
    """The path of a key store in SQLite, with tables."""
    if url.startswith("postgresql"):
        raise InvalidValue("the key store is in PostgreSQL: bring it back with PostgreSQL's means")
    try:
        database = Database(url, migrate=True, schema=SCHEMA)
    except StoreError as error:
        raise StoreError(
            f"{error}. To restore over it, stop the server and move the file away, and those of the"
            " same name with -wal and -shm"
        ) from error
    database.engine.dispose()
    assert database.path is not None
    return database.path


def _read(path: str, copy: sqlite3.Connection) -> None:
    # Nothing is made beside the backup, which may be where nobody can write.
    name = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(name, uri=True)) as source:
        source.backup(copy)
    if copy.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
        raise StoreError(f"{path}: the backup is damaged: take another one")
    (revision,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    if revision != SCHEMA.head:
        raise StoreError(
            f"{path}: the backup is of revision {revision}, and this pystream brings back"
            f" {SCHEMA.head}: use the pystream that made it"
        )


def _check_masters(path: str, copy: sqlite3.Connection, masters: MasterKeys) -> None:
    tables = ("root", "pepper", "tenant_key")
    names = {name for each in tables for (name,) in copy.execute(f"SELECT master FROM {each}")}
    if missing := sorted(names - set(masters.names)):
        raise MasterKeyError(
            f"{path}: the backup was made under the master key {', '.join(missing)}, and there are"
            f" {', '.join(masters.names)} only: bring the old master key back, as a line behind"
            " the newest"
        )
    for wrapped, name in copy.execute("SELECT wrapped, master FROM root"):
        masters.unwrap(name, wrapped, "root")


def _same_root(copy: sqlite3.Connection, old: sqlite3.Connection, masters: MasterKeys) -> bool:
    """Whether the key store is the one that was backed up: it lists by itself what was erased."""
    wanted = "SELECT master, wrapped FROM root"
    try:
        kept, live = (
            {masters.unwrap(*row, "root") for row in each.execute(wanted)} for each in (copy, old)
        )
    except (MasterKeyError, SealError):
        return False
    return kept == live


def _entries(connection: sqlite3.Connection) -> dict[bytes, int]:
    return dict(connection.execute("SELECT reference, day FROM erasure"))


def _references(connection: sqlite3.Connection) -> set[bytes]:
    return {reference for (reference,) in connection.execute("SELECT reference FROM record_key")}


def _take_out(copy: sqlite3.Connection, entries: Mapping[bytes, int]) -> int:
    """Deletes what was erased; returns how many keys these were."""
    before = copy.total_changes
    copy.execute("BEGIN")
    copy.executemany(
        "DELETE FROM record_key WHERE reference = ?1 OR tenant_id IN"
        " (SELECT tenant_id FROM tenant_key WHERE reference = ?1)",
        [(reference,) for reference in entries],
    )
    copy.executemany(
        "DELETE FROM tenant_key WHERE reference = ?", [(reference,) for reference in entries]
    )
    erased = copy.total_changes - before
    copy.executemany(
        "INSERT OR IGNORE INTO erasure (reference, day) VALUES (?, ?)", entries.items()
    )
    copy.execute("COMMIT")
    # Without the free space in which the deleted keys were.
    copy.execute("VACUUM")
    return erased
