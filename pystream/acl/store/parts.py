"""Segments that are fetched in parts: when all of one is there.

Players that ask for ranges may ask over several connections, and so several workers. So parts are put
together where all of them are told, and in the transaction that stores the batch which told them: whatever
is killed, none counts twice. A segment counts when the parts that one session has of the same bytes are all
of it, at the instant of the last of them; then they are forgotten, so that each further one needs all of it
once more.

What is forgotten earlier: parts of which none has come for an hour, and of a segment in more than
`_MOST_SPANS` stretches the shortest. A segment is then not there though it was delivered, and never the other
way.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from pystream.acl.store import tables
from pystream.attendance.evidence import Part

_MOST_SPANS = 64
_AT_ONCE = 500
_SPAN = struct.Struct(">QQ")

Spans = list[tuple[int, int]]


class Told(NamedTuple):
    """A part that was delivered. `t` is in ms since 1970."""

    tenant_id: int
    password_id: int
    session: bytes
    t: int
    part: Part


def completed(connection: Connection, told: Sequence[Told]) -> Iterator[Told]:
    """Takes parts; gives for each segment that is whole now its last part, with the instant of that."""
    by_segment = defaultdict[tuple[bytes, bytes], list[Told]](list)
    for each in told:
        by_segment[each.session, each.part.of].append(each)
    known = _known(connection, sorted({session for session, _ in by_segment}))
    column = tables.attendance_part.c
    for (session, of), some in by_segment.items():
        t, spans = known.get((session, of), (0, []))
        for each in sorted(some, key=lambda each: each.t):
            t, spans = max(t, each.t), united([*spans, (each.part.first, each.part.end)])
            if spans == [(0, each.part.size)]:
                yield each._replace(t=t)
                t, spans = 0, []
        these = column.session == session, column.of == of
        connection.execute(delete(tables.attendance_part).where(*these))
        if spans:
            row = {
                "session": session,
                "of": of,
                "tenant_id": some[0].tenant_id,
                "password_id": some[0].password_id,
                "t": t,
                "spans": b"".join(_SPAN.pack(*span) for span in spans),
            }
            connection.execute(insert(tables.attendance_part).values(row))


def _known(
    connection: Connection, sessions: Sequence[bytes]
) -> dict[tuple[bytes, bytes], tuple[int, Spans]]:
    table = tables.attendance_part
    found: dict[tuple[bytes, bytes], tuple[int, Spans]] = {}
    for begin in range(0, len(sessions), _AT_ONCE):
        wanted = select(table).where(table.c.session.in_(sessions[begin : begin + _AT_ONCE]))
        for row in connection.execute(wanted).mappings():
            found[row["session"], row["of"]] = row["t"], list(_SPAN.iter_unpack(row["spans"]))
    return found


def united(spans: Spans) -> Spans:
    """The same bytes in as few spans as may be, in their order, and of more than `_MOST_SPANS` the
    longest."""
    found: Spans = []
    for first, end in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((first, end))
    if len(found) > _MOST_SPANS:
        longest = sorted(found, key=lambda span: span[0] - span[1])
        found = sorted(longest[:_MOST_SPANS])
    return found
