"""Which tables hold something of a tenant's, and what becomes of it.

Whatever has a tenant's number in it is in this table: a new one has to be put here, so that it is
exported, deleted at the end of a contract, and kept for a stated time. Deletion does not rest on that
alone: it takes every table of the metadata that has the column.

By convention, a table with a column `reference` has a record key each row, and its columns `sealed_X`
are sealed under it for the place of that row, column `X`: so they can be opened for their owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    func,
    select,
    true,
)

from pystream.acl.audit import OPERATORS
from pystream.acl.retention import DataClass
from pystream.acl.store import tables

SEALED: Final = "sealed_"


@dataclass(frozen=True, slots=True)
class Held:
    """How a table's rows are kept. `without`: columns that an export leaves out, and why; of those that
    are objects, `column.name` is what is left out of them."""

    data: tuple[DataClass, ...]
    without: Mapping[str, str] = field(default_factory=dict)


_OF_THE_NODE = "of use to the node alone"
_OF_THE_OPERATOR = "where films lie on the server"
_A_SECRET = "a secret of whoever signs in"
INVENTORY: Final[Mapping[str, Held]] = {
    "tenant": Held((DataClass.SETTINGS,)),
    "stream": Held(
        (DataClass.SETTINGS, DataClass.REMOVED_STREAMS),
        dict.fromkeys(sorted(OPERATORS), _OF_THE_OPERATOR),
    ),
    "audit": Held(
        (DataClass.AUDIT,),
        {f"what.{name}": _OF_THE_OPERATOR for name in sorted(OPERATORS)},
    ),
    "traffic": Held((DataClass.TRAFFIC, DataClass.TRAFFIC_HOURS)),
    "password": Held(
        (
            *(DataClass.PASSWORDS, DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS),
            DataClass.NAMED_VIEWERS,
        ),
        dict.fromkeys(("reference", "pepper", "lookup"), _OF_THE_NODE),
    ),
    "admission": Held(
        (DataClass.PASSWORDS, DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS)
    ),
    "restriction": Held((DataClass.PASSWORDS,)),
    "session": Held((DataClass.SESSIONS,)),
    "ending": Held((DataClass.ENDINGS,)),
    "person": Held(
        (DataClass.PEOPLE,),
        {
            **dict.fromkeys(("hash", "sealed_totp"), _A_SECRET),
            **dict.fromkeys(("reference", "totp_step"), _OF_THE_NODE),
        },
    ),
    "verifier": Held(
        (DataClass.SETTINGS,),
        {"reference": _OF_THE_NODE, "sealed": "a secret of the tenant's site"},
    ),
    "spent": Held((DataClass.SPENT_TOKENS,), {"token": _OF_THE_NODE}),
    "kept_answer": Held(
        (DataClass.KEPT_ANSWERS,),
        {
            **dict.fromkeys(("digest", "reference", "fingerprint"), _OF_THE_NODE),
            "sealed": "an answer of the API, which may have a token in it",
        },
    ),
    "attendance_log": Held((DataClass.ATTENDANCE_LOG,), {"frontier": _OF_THE_NODE}),
    "attendance_leaf": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_journal": Held((DataClass.ATTENDANCE,)),
    "attendance_fold": Held(
        (DataClass.ATTENDANCE_INTERVALS,),
        {"state": "what `pystream attendance show` computes from the events"},
    ),
    "attendance_part": Held((DataClass.ATTENDANCE,)),
    "attendance_sealed": Held((DataClass.ATTENDANCE,), {"reference": _OF_THE_NODE}),
    "attendance_incident": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_reach": Held((DataClass.ATTENDANCE,)),
    "attendance_key": Held(
        (DataClass.ATTENDANCE_LOG,),
        {
            "reference": _OF_THE_NODE,
            "sealed_seed": "what signs; `public` proves what it has signed",
        },
    ),
    "attendance_subtree": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_checkpoint": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_cosignature": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_delivery": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_mailed": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_timestamp": Held((DataClass.ATTENDANCE_LOG,)),
    "attendance_event": Held((DataClass.SETTINGS,)),
    "attendance_event_stream": Held((DataClass.SETTINGS,)),
    **dict.fromkeys(
        ("attendance_report", "attendance_report_name"),
        Held(
            (DataClass.ATTENDANCE_REPORTS, DataClass.ATTENDANCE_DAILY_REPORTS),
            {"reference": _OF_THE_NODE},
        ),
    ),
    "attendance_hold": Held((DataClass.ATTENDANCE_REPORTS,)),
    "recovery_code": Held((DataClass.PEOPLE,), {"digest": _A_SECRET}),
    "console_session": Held((DataClass.CONSOLE_SESSIONS,), {"digest": _A_SECRET}),
    "token": Held((DataClass.TOKENS, DataClass.EXPIRED_TOKENS), {"digest": _A_SECRET}),
}


def owner(table: Table) -> Column[Any]:
    """The column with the tenant's number."""
    found: Column[Any] = table.c.id if table is tables.tenant else table.c.tenant_id
    return found


def of_tenants() -> list[Table]:
    """All tables with something of a tenant's: who refers to another one comes before it. What lets
    go of the audit log is empty outside of a transaction."""
    return [
        table
        for table in reversed(tables.metadata.sorted_tables)
        if table is tables.tenant or ("tenant_id" in table.c and table is not tables.audit_release)
    ]


def unreferenced(table: Table) -> ColumnElement[bool]:
    """Of rows that no row of a tenant's names."""
    named = [
        ~select(true()).where(foreign.parent == foreign.column).correlate(table).exists()
        for other in of_tenants()
        for foreign in other.foreign_keys
        if foreign.column.table is table
    ]
    return and_(true(), *named)


def counted(connection: Connection, table: Table, where: ColumnElement[bool]) -> Counter[int]:
    """How many rows there are, by tenant."""
    column = owner(table)
    rows = connection.execute(select(column, func.count()).where(where).group_by(column))
    found: dict[int, int] = dict(rows.all())
    return Counter(found)


def delete_some(
    connection: Connection, table: Table, where: ColumnElement[bool], most: int
) -> Counter[int]:
    """Deletes as many rows as `most`; returns how many, by tenant."""
    keys = list(table.primary_key.columns)
    wanted = select(*keys, owner(table).label("owner_")).where(where).limit(most)
    rows = connection.execute(wanted).mappings().all()
    if rows:
        this = [key == bindparam(f"this_{key.name}") for key in keys]
        each = [{f"this_{key.name}": row[key.name] for key in keys} for row in rows]
        connection.execute(delete(table).where(*this), each)
    return Counter(row["owner_"] for row in rows)


def delete_naming(
    connection: Connection, table: Table, column: str, ids: Collection[int]
) -> Counter[int]:
    """Deletes the rows that name one of these; returns how many, by tenant."""
    where = table.c[column].in_(ids)
    found = counted(connection, table, where)
    if found:
        connection.execute(delete(table).where(where))
    return found
