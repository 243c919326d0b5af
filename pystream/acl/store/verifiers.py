"""Verifiers in the store: what a customer has configured is sealed on its way in, and opened for the
workers, who ask each time somebody comes; so a key that was revoked is at its end at once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import Any

from sqlalchemy import RowMapping, Select, insert, or_, select, update

from pystream.acl.audit import check_who
from pystream.acl.entrances.verifiers import (
    EXTERNAL,
    MOST_ACTIVE,
    SIGNED,
    Configured,
    Verifier,
    check,
)
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import tables
from pystream.acl.store.answers import AnswerStore
from pystream.acl.store.audit import record
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.errors import Exists, InvalidValue, NotFound, Said

_ACCESSES = (SIGNED, EXTERNAL)


class Verifiers:
    """The verifiers of an opened store. Methods raise `StoreError`, `SealError` and `MasterKeyError` as
    the two stores do. Usable from several threads."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._database = database
        self._keys = keys
        # What is stored under an id never changes, but for its end.
        self._opened: dict[int, Verifier] = {}

    def add(
        self,
        tenant_id: int,
        stream_id: int | None,
        name: str,
        verifier: Verifier,
        *,
        who: str,
        now: int,
    ) -> Configured:
        """Adds a verifier, or one more key to it.

        Raises `InvalidValue` where it cannot be used, names one stream's content path for all streams,
        is of another kind than the one there, or would be one too many; `Exists` where the tenant has an
        active key of that name; `NotFound` for a stream that is not the tenant's.
        """
        check(name, verifier)
        if verifier.content and stream_id is None:
            # It stands for the stream in what is signed: whatever opens one would open each.
            why = "one stream's content path is none of all streams: name the stream"
            raise InvalidValue(Said("content-all", why, of="content"))
        check_who(who)
        id = secrets.randbelow(2**63 - 1) + 1
        (key,) = self._keys.add_record_keys(tenant_id, 1, now)
        text = json.dumps(asdict(verifier)).encode()
        row = {
            "id": id,
            "tenant_id": tenant_id,
            "stream_id": stream_id,
            "name": name,
            "kind": verifier.kind,
            "reference": key.reference,
            "sealed": seal(key.key, Place(tenant_id, "verifier", id, "sealed"), text),
            "created_at": now,
        }
        made, stored = [key.reference], partial(self._references, tenant_id, id)
        with self._keys.storing(self._database, tenant_id, made, stored, now) as connection:
            _check_stream(connection, tenant_id, stream_id)
            there = connection.execute(_active(tenant_id)).mappings().all()
            _check_room(there, row)
            connection.execute(insert(tables.verifier).values(row))
            what = {"verifier_added": (None, f"{verifier.kind} {name}")}
            record(connection, tenant_id, who, now, what, stream_id)
        return _configured({**row, "revoked_at": None}, verifier)

    def _references(self, tenant_id: int, id: int) -> set[bytes]:
        """That of a verifier's key, if it is stored."""
        column = tables.verifier.c
        wanted = select(column.reference).where(column.tenant_id == tenant_id, column.id == id)
        with self._database.reading() as connection:
            return set(connection.scalars(wanted))

    def listed(self, tenant_id: int) -> tuple[Configured, ...]:
        """All of a tenant's, the oldest first, the ones that were revoked too."""
        column = tables.verifier.c
        wanted = select(tables.verifier).where(column.tenant_id == tenant_id)
        return self._read(tenant_id, wanted.order_by(column.created_at, column.id))

    def active(self, tenant_id: int, stream_id: int, access: str) -> tuple[Configured, ...]:
        """Those that open a stream of that access, the newest first: its own, or else the tenant's."""
        column = tables.verifier.c
        kinds = SIGNED if access == "signed" else EXTERNAL
        wanted = _active(tenant_id).where(
            column.kind.in_(kinds), or_(column.stream_id == stream_id, column.stream_id.is_(None))
        )
        found = self._read(tenant_id, wanted.order_by(column.created_at.desc(), column.id))
        own = tuple(each for each in found if each.stream_id is not None)
        return own or found

    def revoke(self, tenant_id: int, name: str, *, who: str, now: int) -> Configured:
        """Revokes the active key of a name, and destroys what it was sealed with. What the API keeps of its
        answers may hold its secret: nobody reads these again either. Raises `NotFound`."""
        check_who(who)
        answers = AnswerStore(self._database).references(tenant_id)
        column = tables.verifier.c
        with self._database.writing() as connection:
            take_turn(connection)
            wanted = _active(tenant_id).where(column.name == name)
            row = connection.execute(wanted).mappings().one_or_none()
            if row is None:
                text = f"the tenant has no active key {name!r}"
                raise NotFound(Said("no-verifier", text, name=name))
            change = update(tables.verifier).where(column.id == row["id"])
            connection.execute(change.values(revoked_at=now))
            what = {"verifier_revoked": (None, f"{row['kind']} {name}")}
            record(connection, tenant_id, who, now, what, row["stream_id"])
        self._opened.pop(row["id"], None)
        self._keys.erase(tenant_id, [row["reference"], *answers], now, missing_ok=True)
        return _configured({**row, "revoked_at": now}, None)

    def _read(self, tenant_id: int, wanted: Select[Any]) -> tuple[Configured, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(wanted).mappings().all()
        unknown = [row for row in rows if row["id"] not in self._opened]
        if unknown:
            keys = self._keys.record_keys(tenant_id, [row["reference"] for row in unknown])
            for row in unknown:
                if row["reference"] in keys:
                    self._opened[row["id"]] = _unsealed(row, keys[row["reference"]])
        return tuple(_configured(row, self._opened.get(row["id"])) for row in rows)


def _active(tenant_id: int) -> Select[Any]:
    column = tables.verifier.c
    return select(tables.verifier).where(column.tenant_id == tenant_id, column.revoked_at.is_(None))


def _check_stream(connection: Any, tenant_id: int, stream_id: int | None) -> None:
    if stream_id is None:
        return
    column = tables.stream.c
    there = select(column.id).where(
        column.tenant_id == tenant_id, column.id == stream_id, column.removed_at.is_(None)
    )
    if connection.scalar(there) is None:
        text = "this stream is not there, or not this tenant's"
        raise NotFound(Said("no-streams", text))


def _check_room(there: Sequence[RowMapping], new: dict[str, Any]) -> None:
    if any(row["name"] == new["name"] for row in there):
        text = f"the tenant has an active key {new['name']!r} already"
        raise Exists(Said("verifier-there", text, name=new["name"]))
    (kinds,) = (kinds for kinds in _ACCESSES if new["kind"] in kinds)
    beside = [row for row in there if row["stream_id"] == new["stream_id"] and row["kind"] in kinds]
    others = {row["kind"] for row in beside} - {new["kind"]}
    if others:
        kind = others.pop()
        raise InvalidValue(
            Said(
                "other-kind",
                f"the active ones here are of the kind {kind}, and all have to be of one:"
                " revoke them first",
                of="kind",
                kind=kind,
            )
        )
    if len(beside) >= MOST_ACTIVE:
        names = " and ".join(sorted(row["name"] for row in beside))
        text = f"there are {MOST_ACTIVE} active ones already, {names}: revoke one first"
        raise InvalidValue(Said("two-active", text, most=MOST_ACTIVE, names=names))


def _unsealed(row: RowMapping, key: bytes) -> Verifier:
    place = Place(row["tenant_id"], "verifier", row["id"], "sealed")
    said = json.loads(unseal(key, place, row["sealed"]))
    known = {each.name for each in fields(Verifier)}
    return Verifier(**{name: value for name, value in said.items() if name in known})


def _configured(row: Any, verifier: Verifier | None) -> Configured:
    names = ("id", "tenant_id", "stream_id", "name", "kind", "created_at", "revoked_at")
    return Configured(**{name: row[name] for name in names}, verifier=verifier)
