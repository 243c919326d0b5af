"""Answers that are kept, so that a request that is sent again gets the same one and does nothing twice.

An answer may hold passwords: it is sealed under a record key of its own. The row is written in the
transaction of what was asked for (`Store.together`), so there are both or neither, whatever dies.
Where the key is erased before the row goes, nobody reads the answer again, and the row still says that
there was one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from pystream.acl.store import tables
from pystream.acl.store.database import Database
from pystream.errors import Exists

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """`digest`: 32 bytes, by which it is found; `reference`: of its key in the key store; `fingerprint`:
    32 bytes, of the request; `expires`: the first second at which it counts no more."""

    digest: bytes
    reference: bytes
    fingerprint: bytes
    sealed: bytes = field(repr=False)
    expires: int


class AnswerStore:
    """The part of an opened store that keeps answers. Each method is one transaction; all raise
    `StoreError` as the store's own do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant_id: int, digest: bytes, now: int) -> KeptAnswer | None:
        """The tenant's answer of that digest, if it still counts."""
        column = tables.kept_answer.c
        where = column.tenant_id == tenant_id, column.digest == digest, column.expires > now
        with self._database.reading() as connection:
            row = connection.execute(select(tables.kept_answer).where(*where)).mappings().first()
        if row is None:
            return None
        return KeptAnswer(
            digest=row["digest"],
            reference=row["reference"],
            fingerprint=row["fingerprint"],
            sealed=row["sealed"],
            expires=row["expires"],
        )

    def keep(self, tenant_id: int, answer: KeptAnswer, now: int) -> None:
        """Raises `Exists` where the tenant has one of that digest: in a transaction of several steps,
        none of them is kept then."""
        column = tables.kept_answer.c
        row = {
            "tenant_id": tenant_id,
            "digest": answer.digest,
            "reference": answer.reference,
            "fingerprint": answer.fingerprint,
            "sealed": answer.sealed,
            "expires": answer.expires,
        }
        with self._database.writing() as connection:
            over = column.tenant_id == tenant_id, column.digest == answer.digest
            connection.execute(delete(tables.kept_answer).where(*over, column.expires <= now))
            try:
                connection.execute(insert(tables.kept_answer).values(row))
            except IntegrityError:
                raise Exists("this has been answered in the meantime") from None

    def references(self, tenant_id: int) -> tuple[bytes, ...]:
        """Of the keys of all answers that are kept of a tenant."""
        column = tables.kept_answer.c
        with self._database.reading() as connection:
            wanted = select(column.reference).where(column.tenant_id == tenant_id)
            return tuple(connection.scalars(wanted))

    def expired(self, now: int) -> Mapping[int, Collection[bytes]]:
        """References of the keys of answers that count no more, by tenant; some, where there are many.
        Their keys are to be erased, and then `forget` is called with them."""
        column = tables.kept_answer.c
        wanted = select(column.tenant_id, column.reference).where(column.expires <= now)
        found: defaultdict[int, list[bytes]] = defaultdict(list)
        with self._database.reading() as connection:
            for row in connection.execute(wanted.limit(_AT_ONCE)):
                found[row.tenant_id].append(row.reference)
        return found

    def forget(self, tenant_id: int, references: Collection[bytes]) -> None:
        """Deletes answers, by the references of their keys."""
        column = tables.kept_answer.c
        where = column.tenant_id == tenant_id, column.reference.in_(references)
        with self._database.writing() as connection:
            connection.execute(delete(tables.kept_answer).where(*where))
