"""What was sent, and what was done: traffic by month, and the audit log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pystream.acl.audit import ALL_KINDS, OPERATORS, Entry, Kind
from pystream.acl.people import Actor
from pystream.acl.traffic import Traffic, month_of
from pystream.errors import Said
from pystream.server.http import HttpError
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_PAGE = 50
_NAMES = frozenset(("person", "token"))
_TIMES = frozenset(
    (
        "let_in_until",
        "removed_at",
        "report_held_until",
        "password_valid_from",
        "password_valid_until",
        "expires",
        "opens_at",
        "closes_at",
    )
)
# What values of these are called stands in `texts`, under a name that begins so.
_WORDS = {
    "access": "access_",
    "cache": "cache_",
    "device_mode": "",
    "encryption": "encryption_",
    "role": "role_",
    "signed_in": "with_",
    "sources": "is_",
}
# Their names say all.
_EVENTS = frozenset(
    (
        "password",
        "sessions_ended",
        "stream_sessions_ended",
        "sessions_of_password_ended",
        "password_label_changed",
    )
)
_COUNTERS = ("requests", "bytes", "aborted")


def traffic(office: Office, actor: Actor, request: Request) -> Reply:
    zone = office.store.tenant(actor.tenant).settings.timezone
    month = request.query.get("month") or month_of(office.now(), zone)
    rows = office.store.traffic(actor.tenant, month)
    values: dict[str, Any] = {
        "rows": rows,
        "month": month,
        "total": {name: sum(getattr(row, name) for row in rows) for name in _COUNTERS},
        "shares": _shares(rows),
        "zone": zone,
    }
    return pages.page(request, actor, "traffic.html", **values)


def _shares(rows: tuple[Traffic, ...]) -> list[tuple[str, int, int]]:
    """Each stream's name, bytes, and how many hundredths of the largest that is."""
    sums: dict[tuple[int, str], int] = {}
    for row in rows:
        key = row.stream_id, row.stream
        sums[key] = sums.get(key, 0) + row.bytes
    most = max(sums.values(), default=0) or 1
    largest = sorted(sums.items(), key=lambda item: -item[1])
    return [(name, count, round(100 * count / most)) for (_, name), count in largest]


def audit(office: Office, actor: Actor, request: Request) -> Reply:
    query = request.query
    chosen = query.get("kind", "")
    kinds = {Kind(chosen)} if chosen in set(Kind) else ALL_KINDS
    before = query.get("before", "")
    if before and not re.fullmatch(r"[1-9][0-9]{0,17}", before):
        raise HttpError(400, Said("malformed", "there is a number wanted in the address"))
    found = office.store.audit.entries(
        actor.tenant_id, kinds=kinds, before=int(before) if before else None, most=_PAGE + 1
    )
    values: dict[str, Any] = {
        "entries": found[:_PAGE],
        "next": found[_PAGE - 1].id if len(found) > _PAGE else None,
        "chosen": chosen,
        "kinds": list(Kind),
        "before": before,
        "zone": office.store.tenant(actor.tenant).settings.timezone,
        "told_of": _told_of,
        "times": _TIMES,
        "words": _WORDS,
        "events": _EVENTS,
    }
    return pages.page(request, actor, "audit.html", **values)


def _told_of(entry: Entry) -> Iterator[tuple[str, Any, Any]]:
    """What an entry is about: names, and each value that is another one now. Of what is new, those that are
    something; of what is the operator's, that it has changed."""
    is_new = all(old is None for old, _ in entry.values.values())
    for name, (old, new) in entry.values.items():
        if name in OPERATORS or (is_new and new in (None, "", (), False)):
            continue
        if name == "sessions_ended" and entry.stream is not None:
            yield "stream_sessions_ended", old, new
        elif name in _NAMES or old != new:
            yield name, old, new
    if any(
        entry.values[name][0] != entry.values[name][1] for name in OPERATORS & entry.values.keys()
    ):
        yield "sources", None, "new" if is_new else "changed"
