"""`pystream traffic`: what was sent in a month."""

from __future__ import annotations

import sys

from pystream.cli import _store
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pystream.acl.traffic import Traffic

_DESCRIPTION = """\
Says what a tenant's viewers were sent in a month, by stream and kind: playlist,
segment, key, download. Bytes are those that reached the viewer, headers and
all; aborted are requests whose viewer left before the end.

Months are those of the tenant's time zone. Traffic is counted by the hour of
UTC: an hour belongs to the month in which it begins. Streams that were removed
are among the rest.
"""

_EPILOG = f"""\
CSV has the columns tenant, month, stream, stream_id, kind, requests, bytes,
aborted, and no totals. JSON has tenant, month, timezone, rows and total.

{_store.EXIT_CODES}
examples:
  pystream traffic acme
  pystream traffic acme --month 2031-05 --format csv > acme-2031-05.csv
"""

_COUNTERS = ("requests", "bytes", "aborted")


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "traffic",
        usage="TENANT [--month YYYY-MM] [--format table|csv|json]\n"
        "         [--config FILE | --store URL] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("tenant", metavar="TENANT", help="whose streams")
    add("--month", metavar="YYYY-MM", help="which month (default: this one)")
    add(
        "--format",
        choices=("table", "csv", "json"),
        metavar="table|csv|json",
        help="of the result (default: table)",
    )
    _store.add_common(parser, changes=False)
    options = parser.parse(arguments)
    shape = options.format or ("json" if options.json else "table")
    if options.json and shape != "json":
        parser.error("--json and another --format exclude each other")
    try:
        from pystream.acl.traffic import month_of

        with _store.open_store(options) as store:
            zone = store.tenant(options.tenant).settings.timezone
            month = options.month or month_of(_store.now(), zone)
            rows = store.traffic(options.tenant, month)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    if shape == "json":
        _store.print_json(_facts(options.tenant, month, zone, rows))
    elif shape == "csv":
        _print_csv(options.tenant, month, rows)
    else:
        _show(rows)
    return 0


def _facts(tenant: str, month: str, zone: str, rows: Sequence[Traffic]) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "month": month,
        "timezone": zone,
        "rows": [
            {
                "stream": row.stream,
                "stream_id": str(row.stream_id),
                "kind": row.kind.name.lower(),
                **{name: getattr(row, name) for name in _COUNTERS},
            }
            for row in rows
        ],
        "total": _total(rows),
    }


def _total(rows: Sequence[Traffic]) -> dict[str, int]:
    return {name: sum(getattr(row, name) for row in rows) for name in _COUNTERS}


def _print_csv(tenant: str, month: str, rows: Sequence[Traffic]) -> None:
    import csv

    # RFC 4180 2
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(("tenant", "month", "stream", "stream_id", "kind", *_COUNTERS))
    for row in rows:
        counts = (getattr(row, name) for name in _COUNTERS)
        writer.writerow((tenant, month, row.stream, row.stream_id, row.kind.name.lower(), *counts))


def _show(rows: Sequence[Traffic]) -> None:
    columns = [("stream", "left"), ("kind", "left"), *((name, "right") for name in _COUNTERS)]
    lines = [
        [row.stream, row.kind.name.lower(), *(f"{getattr(row, name):,}" for name in _COUNTERS)]
        for row in rows
    ]
    lines.append(["total", "", *(f"{count:,}" for count in _total(rows).values())])
    _store.show_table(columns, lines)
