"""What is sealed of attendance, opened: the one way in which anybody reads it.

What is erased has no key any more, and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Row

from pystream.acl.sealing import Place, unseal
from pystream.acl.store.keystore import KeyStore

_Row: TypeAlias = Row[*tuple[Any, ...]]
# Keys that are asked for at once.
_AT_ONCE = 500


def opened(keys: KeyStore, tenant_id: int, rows: Sequence[_Row]) -> Iterator[tuple[_Row, bytes]]:
    """Rows of `attendance_sealed`, which have `id`, `reference` and `sealed_events`, in their order, each
    with its events as `evidence.unpacked` takes them."""
    for begin in range(0, len(rows), _AT_ONCE):
        page = rows[begin : begin + _AT_ONCE]
        there = keys.record_keys(tenant_id, [row.reference for row in page])
        for row in page:
            if row.reference in there:
                place = Place(tenant_id, "attendance_sealed", row.id, "events")
                yield row, unseal(there[row.reference], place, row.sealed_events)
