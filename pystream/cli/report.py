"""`pystream report`: who has attended an event, or watched a stream."""

from __future__ import annotations

import argparse
import sys

from pystream.cli import _proving, _store, _terminal
from pystream.cli._arguments import Parser, add_locale, count, path
from pystream.errors import InvalidValue, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pystream.acl.reports import Report
    from pystream.acl.store import Store
    from pystream.acl.store.keystore import KeyStore
    from pystream.acl.store.sealed_reports import Hold, Version
    from pystream.acl.streams import Stream, Tenant
    from pystream.attendance.programmes import Event

_DESCRIPTION = """\
Says how long each password has attended an event, or watched a stream, by what
is recorded so far: two numbers, each as its report defines it.

  online       film was delivered and could be playing; several devices or
               streams at once count once
  certifiable  the lesser of that and of the media delivered, within the
               programme of an event; what is repeated counts once

A report of an event is united over its streams, and says what the time is
worth (pystream attendance event). One of a stream is by day. A NAME that both
have is the event's; with --day it is the stream's.
"""

_EPILOG = f"""\
formats:
  table  for the terminal (the default)
  csv    as a German Excel opens it: semicolons, decimal commas, no formulas.
         Excel takes the zeros from passwords of digits in it; xlsx keeps them
  xlsx   a workbook; passwords and labels are text
  json   all rows with their intervals, as attendance-v1 has them. Of a sealed
         report it is what was signed (pystream attendance verify)
  pdf    the list for the chamber, with a bar of time for each password; of a
         sealed report, what was signed is attached to it (the JSON)
  svg    the audience of each stream over time: sums, none below five
Without --format, FILE ends with it. Words are German, unless --locale says en.

A report is provisional, of now, until it is signed, with a checkpoint of the
log behind it: a day after its last day is over, or when its event says so,
since evidence may come late. The server does that by itself, an hour later and
once: of events, and of days of streams that are in none; what lasts longer than
its evidence is kept it leaves alone. --seal does it at once. A sealed version
never changes; another one corrects it, and needs a --reason. --version shows a
sealed one, --versions which there are. That a report was looked at is on
record, in any format, and so is that it was sealed.

Sealed versions are deleted when their time is over (`pystream retention`), and
lose the names of passwords that are erased. Where a law or a chamber wants them
for longer, --hold keeps all versions as they are up to and with DATE: until
then no password that they name can be erased. --release ends that.

The stores are those of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml.

{_store.EXIT_CODES}
examples:
  pystream report acme/heart-2031
  pystream report acme/heart-2031 --version 1 -o heart-2031.pdf
  pystream report acme/launch --day 2031-05-01 --format csv -o launch.csv
"""

_FORMATS = ("table", "csv", "json", "xlsx", "pdf", "svg")
_FILES_ONLY = ("xlsx", "pdf")


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "report",
        usage="TENANT/EVENT|TENANT/STREAM [--day YYYY-MM-DD]\n"
        "         [--format FORMAT] [-o FILE [--overwrite]] [--locale de|en]\n"
        "         [--seal [--reason TEXT] | --version N | --versions]\n"
        "         [--hold DATE --reason TEXT | --release]\n"
        "         [--by NAME] [--config FILE] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("place", type=_store.place, metavar="NAME", help="TENANT/EVENT or TENANT/STREAM")
    add("--day", type=_proving.day, metavar="YYYY-MM-DD", help="of a stream: only this day")
    add("--format", choices=_FORMATS, metavar="FORMAT", help="as below")
    add("-o", "--output", type=path, metavar="FILE", help="write it there")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    add_locale(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seal", action="store_true", help="sign it, as the next version")
    add("--reason", default="", metavar="TEXT", help="why a version is corrected, or held")
    which.add_argument("--version", type=count, metavar="N", help="a sealed version")
    which.add_argument("--versions", action="store_true", help="list the sealed versions")
    which.add_argument(
        "--hold", dest="until", metavar="DATE", help="keep the sealed versions until then"
    )
    which.add_argument("--release", action="store_true", help="hold them no more")
    _store.add_common(parser, changes=True, keys=True)
    options = parser.parse(arguments)
    shape = _shape(parser, options)
    with _store.both_stores(options) as (store, keys):
        try:
            asked = _Asked(options, store, keys)
            if options.versions:
                return _list(options, asked.versions(), asked.held())
            if options.until or options.release:
                return _hold(options, asked)
            report = asked.report()
        except InvalidValue as error:
            return _store.wrong_values(parser, error)
        # On record before anybody can see it, and where nobody can, not at all.
        what = {"attendance_shown": len(report.lines())}
        by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
        if options.output is None:
            store.audit.record_view(asked.tenant.id, asked.stream_id, what, **by)
            _print(report, shape, options.locale)
            return 0
        data = _made(report, shape, options.locale)
        with _store.new_file(options.output, replace=options.overwrite) as file:
            store.audit.record_view(asked.tenant.id, asked.stream_id, what, **by)
            file.write(data)
    facts = {"file": options.output, "format": shape, "version": report.version}
    if options.json:
        _store.print_json(facts)
    else:
        state = "provisional" if report.version is None else f"version {report.version}"
        print(f"{options.output}: {_terminal.counted(len(report.lines()), 'line')}, {state}")
    return 0


def _shape(parser: Parser, options: argparse.Namespace) -> str:
    """The format that is meant."""
    ending = (options.output or "").rpartition(".")[2].lower()
    shape = options.format
    if shape is None and options.output is None:
        shape = "json" if options.json else "table"
    elif shape is None:
        if ending not in _FORMATS[1:]:
            parser.error("--format is wanted, or a FILE that ends with it")
        shape = ending
    if options.json and options.output is None and shape != "json":
        parser.error("--json and another --format exclude each other")
    if shape == "table" and options.output is not None:
        parser.error("a table is for the terminal; FILE wants another --format")
    if options.output is None and shape in _FILES_ONLY and _terminal.is_terminal(sys.stdout):
        parser.error(f"{shape} is nothing for a terminal: -o FILE is wanted")
    if options.reason and not (options.seal or options.until):
        parser.error("--reason is of a correction that is sealed (--seal), or of --hold")
    if options.until and not options.reason:
        parser.error("--hold wants a --reason")
    if options.versions and (options.output or options.format):
        parser.error("--versions lists, and shows nothing else")
    if (options.until or options.release) and (options.output or options.format):
        parser.error("--hold and --release show nothing")
    return str(shape)


class _Asked:
    """What a report is wanted of. Raises `NotFound` and `InvalidValue`."""

    def __init__(self, options: argparse.Namespace, store: Store, keys: KeyStore) -> None:
        from pystream.acl.reports.making import Reporter, Wanted

        self._options = options
        self._store = store
        self._keys = keys
        self._reporter = Reporter(store, keys)
        tenant, name = options.place
        self.tenant: Tenant = store.tenant(tenant)
        self._wanted = Wanted(self.tenant, self._of(tenant, name), options.day)

    def _of(self, tenant: str, name: str) -> Event | Stream:
        if self._options.day is not None:
            return self._store.stream(tenant, name)
        names = {each.name: each for each in self._store.events.listed(self.tenant.id)}
        if name in names:
            return names[name]
        try:
            return self._store.stream(tenant, name)
        except NotFound:
            raise NotFound(f"there is no event and no stream {tenant}/{name}") from None

    @property
    def stream_id(self) -> int | None:
        """None where it is an event."""
        return self._wanted.stream_id

    def report(self) -> Report:
        number, now = self._options.version, _store.now()
        if number is not None:
            return self._reporter.version(self.tenant, self._wanted.subject, number)
        if not self._options.seal:
            return self._reporter.provisional(self._wanted, now)
        from pystream.acl.store.notary import Notary
        from pystream.server.clock import kernel

        notary = Notary(self._store.database, self._keys)
        reason, who = self._options.reason, _store.who(self._options)
        return self._reporter.seal_now(self._wanted, notary, kernel(), reason, who=who, now=now)[1]

    def versions(self) -> tuple[Version, ...]:
        return self._reporter.sealed.versions(self.tenant.id, self._wanted.subject)

    def held(self) -> Hold | None:
        return self._reporter.sealed.held(self.tenant.id, self._wanted.subject, _store.now())

    def hold(self, date: str, reason: str, **by: Any) -> Hold:
        from pystream.acl.password_csv import moment

        until = moment(date, self.tenant.settings.timezone, end=True)
        subject = self._wanted.subject
        return self._reporter.sealed.hold(self.tenant.id, subject, until, reason, **by)

    def release(self, **by: Any) -> None:
        self._reporter.sealed.release(self.tenant.id, self._wanted.subject, **by)


def _hold(options: argparse.Namespace, asked: _Asked) -> int:
    by: dict[str, Any] = {"who": _store.who(options), "now": _store.now()}
    name = "/".join(options.place)
    if options.release:
        asked.release(**by)
        _store.report(options, {"held": None}, f"{name}: held no more")
        return 0
    held = asked.hold(options.until, options.reason, **by)
    until = _store.moment(held.until)
    _store.report(options, {"held": _held(held)}, f"{name}: held until {until}")
    return 0


def _held(held: Hold | None) -> dict[str, str] | None:
    if held is None:
        return None
    return {"until": _store.moment(held.until), "reason": held.reason}


def _list(options: argparse.Namespace, versions: Sequence[Version], held: Hold | None) -> int:
    if options.json:
        _store.print_json(
            {
                "held": _held(held),
                "versions": [
                    {
                        "version": each.number,
                        "sealed_at": _store.moment(each.made_at),
                        "reason": each.reason,
                        "sha256": each.digest,
                    }
                    for each in versions
                ],
            }
        )
        return 0
    _store.show_table(
        [("version", "right"), ("sealed at", "left"), ("sha256", "left"), ("reason", "left")],
        [
            [str(each.number), _store.moment(each.made_at), each.digest, each.reason]
            for each in versions
        ],
    )
    if held is not None:
        print(f"\nheld until {_store.moment(held.until)}: {_plain(held.reason)}")
    return 0


def _made(report: Report, shape: str, locale: str) -> bytes:
    """The file."""
    from pystream.acl.reports.files import made

    try:
        return made(report, shape, locale)
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None


def _print(report: Report, shape: str, locale: str) -> None:
    if shape != "table":
        data = _made(report, shape, locale)
        with _terminal.output():
            sys.stdout.buffer.write(data)
        return
    from textwrap import fill

    from pystream.acl.reports.grid import Kind, grid, printed
    from pystream.acl.reports.words import WORDS

    made, usual = grid(report, locale), ("", "1", WORDS[locale]["delivered"])
    point = "," if locale == "de" else "."
    cells = [
        [
            _plain(printed(cell, column.kind, point))
            for cell, column in zip(row, made.columns, strict=True)
        ]
        for row in made.rows
    ]
    # Whole seconds and passwords' numbers are for machines; what is as usual takes no room.
    shown = [
        place
        for place, column in enumerate(made.columns[:-1])
        if "(s)" not in column.title
        and (
            column.kind in (Kind.TIME, Kind.DECIMAL)
            or place == 0
            or any(row[place] not in usual for row in cells)
        )
    ]
    columns = [
        (made.columns[n].title, "left" if made.columns[n].kind is Kind.TEXT else "right")
        for n in shown
    ]
    with _terminal.output():
        for name, value in made.facts:
            print(f"{name}: {_plain(value)}")
        print()
        _store.show_table(columns, [[row[n] for n in shown] for row in cells])
        print()
        for sentence in made.meanings:
            print(fill(sentence, 79))


def _plain(text: str) -> str:
    """Nothing that steers a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
