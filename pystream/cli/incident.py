"""`pystream incident`: attacks on the node, and what was recorded of their sources."""

from __future__ import annotations

import argparse

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser
from pystream.cli._leaving import settings_of
from pystream.errors import InvalidValue, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pystream.acl.incidents import Custody, Event, Incident
    from pystream.acl.store.incidents import IncidentStore
    from pystream.attendance.notes import SigningKey

_HELP = f"""\
usage: pystream incident list [--open]
       pystream incident show ID [--sources]
       pystream incident export ID -o FILE
       pystream incident hold ID --until DATE --reason TEXT
       pystream incident hold ID --release --reason TEXT
       pystream incident hold ID --confirm | --withdraw
       pystream incident close ID
       pystream incident key
       pystream incident verify FILE --public-key FILE
       pystream incident ACTION --help

A running server notices when it is attacked, and opens an incident. From then
on, and of sources that take part alone, it keeps addresses, times and counts:
sealed under a key of the incident's own, which is destroyed after as many days
as retention.incidents_days says. It closes by itself.

actions:
  list    list incidents, the newest first, without sources
  show    show one, and with --sources who took part; that is on its record
  export  write a signed package for the authorities; that is on its record
  hold    keep the sources longer, or end that: one person asks, another one
          confirms
  close   close one that is open
  key     print the key that packages are verified with
  verify  check that a package is as it was signed

Who is never counted, limited or banned is in the settings, guard.exempt. What
follows from an attack is there, too: incidents.mode, which is on, dry-run or
off.

{_store.EXIT_CODES}
examples:
  pystream incident list
  pystream incident export 7 -o incident-7.zip
  pystream incident hold 7 --until 2031-12-31 --reason "Az. 12 Js 345/31"
  pystream incident hold 7 --confirm --by maria
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {
        "list": _list,
        "show": _show,
        "export": _export,
        "hold": _hold,
        "close": _close,
        "key": _key,
        "verify": _verify,
    }
    return _store.dispatch("incident", _HELP, actions, arguments)


def _list(words: list[str]) -> int:
    parser = _parser("list", "[--open]", "Lists incidents, the newest first.", changes=False)
    parser.add_argument("--open", action="store_true", help="only those that are not over")
    options = parser.parse(words)
    with _incidents(options) as store:
        found = store.listed(open_only=options.open)
    days = _days(options)
    if options.json:
        _store.print_json({"incidents": [_facts(each, days) for each in found]})
        return 0
    columns = [
        *(("id", "right"), ("kind", "left"), ("opened", "left"), ("closed", "left")),
        *(("sources", "right"), ("events", "right"), ("addresses", "left")),
    ]
    _store.show_table(columns, [_row(each, days) for each in found])
    return 0


def _show(words: list[str]) -> int:
    parser = _parser(
        "show",
        "ID [--sources]",
        "Shows an incident and who has had it in hand; with --sources, who took part in\n"
        "it, which goes onto its record.",
        changes=True,
    )
    _add_id(parser)
    parser.add_argument("--sources", action="store_true", help="addresses, times and counts, too")
    options = parser.parse(words)
    events: list[Event] = []
    with _incidents(options) as store:
        if options.sources:
            events = store.events(options.id, who=_store.who(options), now=_store.now())
        incident, custody = store.incident(options.id), store.custody(options.id)
    known = _facts(incident, _days(options))
    facts = known | {"custody": [_entry(each) for each in custody]}
    if options.sources:
        facts |= {"by_source": _by_source(events)}
    if options.json:
        _store.print_json(facts)
        return 0
    for name, value in known.items():
        if value is not None and not isinstance(value, dict):
            print(f"{name.replace('_', ' '):13} {_store.plain(value)}")
    if incident.hold is not None or incident.asked is not None:
        print(f"{'hold':13} {_told(incident)}")
    print()
    columns = [("when", "left"), ("who", "left"), ("what", "left"), ("detail", "left")]
    rows = [[_store.moment(each.at), each.who, each.action, each.detail] for each in custody]
    _store.show_table(columns, rows)
    if options.sources:
        print()
        _show_sources(events)
    return 0


def _export(words: list[str]) -> int:
    parser = _parser(
        "export",
        "ID -o FILE [--overwrite]",
        "Writes what is known of an incident as a zip archive: events, their hashes, who\n"
        "has had them in hand, and a signature. README.txt in it says how it is verified\n"
        "with sha256sum and openssl. Sources of SYNs are marked as not authenticated:\n"
        "they may be made up.",
        changes=True,
    )
    _add_id(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        from hashlib import sha256

        from pystream.acl.evidence import package
        from pystream.acl.store.incidents import IncidentStore

        incidents = IncidentStore(store.database, keys)
        # What cannot be written shall not be on record as exported.
        with _store.new_file(options.output, replace=options.overwrite) as file:
            who, now = _store.who(options), _store.now()
            data = package(incidents.contents(options.id, who=who, now=now), _signer(keys.root()))
            file.write(data)
    facts = {"id": options.id, "file": options.output, "sha256": sha256(data).hexdigest()}
    line = (
        f"{options.output}: incident {options.id}, {len(data):,} bytes, SHA-256 {facts['sha256']}"
    )
    _store.report(options, facts, line)
    return 0


def _hold(words: list[str]) -> int:
    parser = _parser(
        "hold",
        "ID --until DATE --reason TEXT\n         | --release --reason TEXT | --confirm | --withdraw",
        "Keeps an incident's sources beyond their days. One person asks for it, with a\n"
        "reason and an end, 366 days ahead at most; it holds from when another one has\n"
        "confirmed it. Another end wants both again, and until then the hold that is\n"
        "there stands. That a hold ends at once wants both as well: what is past its\n"
        "days is destroyed within a minute then. Whatever was asked for last, --confirm\n"
        "confirms and --withdraw takes back.",
        changes=True,
    )
    _add_id(parser)
    add = parser.add_argument
    add("--until", type=_day, metavar="DATE", help="its last day (UTC), as in 2031-12-31")
    add("--reason", metavar="TEXT", help="what for: a case number, say")
    add("--confirm", action="store_true", help="as the second person")
    add("--release", action="store_true", help="ask that it end at once")
    add("--withdraw", action="store_true", help="take back what was asked for")
    options = parser.parse(words)
    ways = (options.until is not None, options.release, options.confirm, options.withdraw)
    if ways.count(True) != 1:
        parser.error("one of --until, --release, --confirm and --withdraw is wanted")
    if (options.reason is not None) != (options.until is not None or options.release):
        parser.error("--reason goes with --until or --release, and these want it")
    try:
        with _incidents(options) as store:
            by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
            if options.confirm:
                found = store.confirm(options.id, **by)
            elif options.withdraw:
                found = store.withdraw(options.id, **by)
            elif options.release:
                found = store.ask_to_release(options.id, options.reason, **by)
            else:
                found = store.ask_to_hold(options.id, options.until, options.reason, **by)
    except InvalidValue as error:
        return _store.wrong_values(parser, error)
    _store.report(options, found.facts(), f"incident {found.id}: {_told(found)}")
    return 0


def _close(words: list[str]) -> int:
    parser = _parser(
        "close",
        "ID",
        "Closes an incident. A server that is still attacked opens another one. Bans end\n"
        "by themselves; whom guard.exempt names is free at once.",
        changes=True,
    )
    _add_id(parser)
    options = parser.parse(words)
    with _incidents(options) as store:
        by = _store.who(options)
        found = store.close(options.id, "by hand", who=by, now=_store.now())
    _store.report(options, found.facts(), f"incident {found.id} is closed")
    return 0


def _key(words: list[str]) -> int:
    parser = _parser(
        "key",
        "[--pem]",
        "Prints the key with which packages of this node are verified. Give it to whoever\n"
        "gets them by another way than the package.",
        changes=False,
    )
    parser.add_argument("--pem", action="store_true", help="as openssl reads it")
    options = parser.parse(words)
    with _store.both_stores(options) as (_, keys):
        key = _signer(keys.root()).verifier
    from pystream.acl.evidence import pem

    text = pem(key).decode()
    shown = text if options.pem else f"{key}\n"
    if options.json:
        _store.print_json({"key": str(key), "pem": text})
    else:
        print(shown, end="")
    return 0


def _verify(words: list[str]) -> int:
    parser = Parser(
        "incident verify",
        usage="FILE --public-key FILE [--json]",
        description="Checks that a package is as it was signed: its files, the chain of events, and\n"
        "that of who has had them in hand. It needs no server and no store.",
        epilog=_store.EXIT_CODES,
    )
    parser.add_argument("file", metavar="FILE", help="the package")
    parser.add_argument(
        "--public-key", required=True, metavar="FILE", help="as `pystream incident key` prints it"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(words)
    from pystream.acl.evidence import verify
    from pystream.attendance.notes import read_verifier_keys

    try:
        keys = read_verifier_keys(options.public_key)
    except InvalidValue as error:
        raise PystreamError(
            f"{options.public_key}: {error}: what `pystream incident key` prints without --pem is"
            " wanted, which is key.vkey in a package"
        ) from None
    if not keys:
        raise PystreamError(f"{options.public_key}: there is no key in it")
    with open(options.file, "rb") as file:
        data = file.read()
    try:
        proven = verify(data, keys)
    except PystreamError as error:
        raise PystreamError(f"{options.file}: {error}") from None
    facts = {"ok": True, "events": proven.events, "entries": proven.entries, **proven.facts}
    line = (
        f"{options.file}: incident {proven.facts['id']} ({proven.facts['kind']}) is as it was signed:"
        f" {_terminal.counted(proven.events, 'event')}, {proven.entries} entries of custody"
    )
    _store.report(options, facts, line)
    return 0


# What they share


class _incidents:
    """The incidents of the stores that the settings name."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._stores = _store.both_stores(options)

    def __enter__(self) -> IncidentStore:
        store, keys = self._stores.__enter__()
        from pystream.acl.store.incidents import IncidentStore

        return IncidentStore(store.database, keys)

    def __exit__(self, *error: Any) -> None:
        self._stores.__exit__(*error)


def _parser(action: str, usage: str, description: str, *, changes: bool) -> Parser:
    by = "[--by NAME] " if changes else ""
    parser = Parser(
        f"incident {action}",
        usage=f"{usage}\n         {by}[--config FILE] [--json]",
        description=description,
        epilog=_store.EXIT_CODES,
    )
    _store.add_common(parser, changes=changes, keys=True)
    return parser


def _add_id(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", type=_id, help="as `pystream incident list` has it")


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError("a number is wanted, as `pystream incident list` has it")
    return int(text)


def _day(text: str) -> int:
    from datetime import UTC, datetime

    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError("a date like 2031-12-31 is wanted") from None
    return int(day.timestamp()) + 86_400


def _signer(root: bytes) -> SigningKey:
    from pystream.acl.evidence import KEY_NAME
    from pystream.acl.keys import Keyring
    from pystream.attendance.notes import SigningKey

    return SigningKey(KEY_NAME, Keyring(root).incident_key())


def _days(options: argparse.Namespace) -> int:
    """For how many the settings have addresses kept."""
    return settings_of(options).retention.incidents_days


def _facts(incident: Incident, days: int) -> dict[str, Any]:
    return incident.facts() | {"kept_until": _store.moment_or_none(incident.kept_until(days))}


def _row(incident: Incident, days: int) -> list[str]:
    closed = incident.closed_at
    return [
        str(incident.id),
        f"{incident.kind} (dry run)" if incident.dry_run else str(incident.kind),
        _store.moment(incident.opened_at),
        "open" if closed is None else _store.moment(closed),
        f"{incident.sources:,}",
        f"{incident.events:,}",
        _kept(incident, days),
    ]


def _kept(incident: Incident, days: int) -> str:
    until = incident.kept_until(days)
    if incident.shredded_at is not None or until is None:
        return f"destroyed {_store.moment_or_none(incident.shredded_at)}"
    held = incident.hold is not None or incident.asked is not None
    return f"until {_store.moment(until)}{f'; {_told(incident)}' if held else ''}"


def _told(incident: Incident) -> str:
    hold, asked = incident.hold, incident.asked
    told = []
    if hold is not None:
        until = _store.moment_or_none(hold.until)
        told.append(f"held until {until} by {hold.by} and {hold.confirmed_by}")
    if asked is not None:
        wish = "end that" if asked.until is None else f"hold it until {_store.moment(asked.until)}"
        told.append(f"{asked.by} asks to {wish}: not confirmed yet")
    return "; ".join(told) or "not held"


def _entry(custody: Custody) -> dict[str, Any]:
    from pystream.acl.incidents import entry_of

    return {**entry_of(custody), "at": _store.moment(custody.at), "digest": custody.digest}


def _by_source(events: list[Event]) -> list[dict[str, Any]]:
    return [
        {
            "source": source,
            "authenticated": authenticated,
            "begun": _store.moment(begun),
            "ended": _store.moment(ended),
            "counts": counts,
            "done": done,
        }
        for source, authenticated, begun, ended, counts, done in _summed(events)
    ]


def _summed(events: list[Event]) -> Iterator[tuple[str, bool, int, int, dict[str, int], list[str]]]:
    """By source, the busiest first."""
    from collections import Counter

    found: dict[tuple[str, bool], list[Event]] = {}
    for each in events:
        found.setdefault((each.source, each.authenticated), []).append(each)
    summed = []
    for (source, authenticated), these in found.items():
        counts: Counter[str] = Counter()
        for each in these:
            counts.update(each.counts)
        times = min(each.begun for each in these), max(each.ended for each in these)
        done = [each.done for each in these if each.done]
        summed.append((source, authenticated, *times, dict(counts), done))
    yield from sorted(summed, key=lambda each: -sum(each[4].values()))


def _show_sources(events: list[Event]) -> None:
    columns = [
        *(("source", "left"), ("shaken hands", "left"), ("first", "left"), ("last", "left")),
        *(("counts", "left"), ("done", "left")),
    ]
    rows = [
        [
            source,
            "yes" if authenticated else "no: may be made up",
            _store.moment(begun),
            _store.moment(ended),
            ", ".join(f"{name} {count}" for name, count in sorted(counts.items())),
            ", ".join(done),
        ]
        for source, authenticated, begun, ended, counts, done in _summed(events)
    ]
    _store.show_table(columns, rows)
