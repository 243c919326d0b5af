"""`pystream audit`: who did what at a tenant, and who saw what."""

from __future__ import annotations

import argparse

from pystream.cli import _store
from pystream.cli._arguments import Parser, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pystream.acl.audit import Entry

_DESCRIPTION = """\
Shows a tenant's audit log, the newest entries first: what was changed, who has
seen how many passwords, who has signed in, and how often that failed. The log
only grows; what passwords and reports say is not in it.
"""

_EPILOG = f"""\
`person:NAME` is somebody at the console, `token:NAME` a program at the API, all
else whoever gave a command.

{_store.WHERE}
{_store.EXIT_CODES}
examples:
  pystream audit acme
  pystream audit acme/course --kind view --json
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "audit",
        usage="TENANT[/STREAM] [--kind change|view|access]\n"
        "         [--before ID] [--limit N] [--config FILE | --store URL] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("name", metavar="TENANT[/STREAM]", help="the tenant, or one of its streams")
    add("--kind", type=_kind, metavar="KIND", help="only changes, views, or who came in")
    add("--before", type=count, metavar="ID", help="only what is older than that entry")
    add("--limit", type=count, default=100, metavar="N", help="how many (default: 100)")
    _store.add_common(parser, changes=False)
    options = parser.parse(arguments)
    from pystream.acl.audit import ALL_KINDS, Kind

    tenant, _, stream = options.name.partition("/")
    with _store.open_store(options) as store:
        entries = store.audit.entries(
            store.tenant(tenant).id,
            stream=stream or None,
            kinds=ALL_KINDS if options.kind is None else {Kind(options.kind)},
            before=options.before,
            most=options.limit,
        )
    if options.json:
        _store.print_json({"entries": [_facts(entry) for entry in entries]})
        return 0
    columns = [
        *(("id", "right"), ("when", "left"), ("who", "left"), ("kind", "left")),
        *(("where", "left"), ("what", "left")),
    ]
    _store.show_table(columns, [_row(entry) for entry in entries])
    return 0


def _kind(text: str) -> str:
    known = ("change", "view", "access")
    if text not in known:
        raise argparse.ArgumentTypeError(f"one of {', '.join(known)} is wanted")
    return text


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "at": _store.moment(entry.at),
        "who": entry.who,
        "kind": entry.kind,
        "tenant": entry.tenant,
        "stream": entry.stream,
        "values": {
            name: {"old": before, "new": after} for name, (before, after) in entry.values.items()
        },
    }


def _row(entry: Entry) -> list[str]:
    place = f"{entry.tenant}/{entry.stream}" if entry.stream else entry.tenant
    told = _store.told_of(entry.values)
    return [str(entry.id), _store.moment(entry.at), entry.who, entry.kind, place, told]
