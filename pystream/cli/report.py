"""`pystream report`: who has attended an event, or watched a stream."""

from __future__ import annotations

import argparse
import sys

from pystream.cli import _proving, _store, _terminal
from pystream.cli._arguments import Parser, count, path
from pystream.errors import InvalidValue, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pystream.acl.reports import Report
    from pystream.acl.reports.making import Reporter
    from pystream.acl.store import Store
    from pystream.acl.store.notary import Notary
    from pystream.acl.store.sealed_reports import Subject, Version
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
  pdf    the list for the chamber, with a bar of time for each password
  svg    the audience of each stream over time: sums, none below five
Without --format, FILE ends with it. Words are German, unless --locale says en.

A report is provisional, of now, until --seal signs it, with a checkpoint of the
log behind it: at the earliest a day after its last day is over, or when its
event says so, since evidence may come late. A sealed version never changes;
another one corrects it, and needs a --reason. --version shows a sealed one,
--versions which there are. That a report was looked at is on record, in any
format, and so is that it was sealed.

The stores are those of the settings: --config, else the file that
PYSTREAM_CONFIG names, else ./pystream.toml or /etc/pystream/pystream.toml.

{_store.EXIT_CODES}
examples:
  pystream report acme/heart-2031
  pystream report acme/heart-2031 --seal -o heart-2031.pdf
  pystream report acme/launch --day 2031-05-01 --format csv -o launch.csv
"""

_FORMATS = ("table", "csv", "json", "xlsx", "pdf", "svg")
_FILES_ONLY = ("xlsx", "pdf")


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "report",
        usage="TENANT/EVENT|TENANT/STREAM [--day YYYY-MM-DD]\n"
        "         [--format FORMAT] [-o FILE [--force]] [--locale de|en]\n"
        "         [--seal [--reason TEXT] | --version N | --versions]\n"
        "         [--by NAME] [--config FILE] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("place", type=_store.place, metavar="NAME", help="TENANT/EVENT or TENANT/STREAM")
    add("--day", type=_proving.day, metavar="YYYY-MM-DD", help="of a stream: only this day")
    add("--format", choices=_FORMATS, metavar="FORMAT", help="as below")
    add("-o", "--output", type=path, metavar="FILE", help="write it there")
    add("--force", action="store_true", help="replace FILE where it is there")
    add("--locale", choices=("de", "en"), default="de", help="the language (default: de)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seal", action="store_true", help="sign it, as the next version")
    add("--reason", default="", metavar="TEXT", help="why a sealed version is corrected")
    which.add_argument("--version", type=count, metavar="N", help="a sealed version")
    which.add_argument("--versions", action="store_true", help="list the sealed versions")
    _store.add_common(parser, changes=True, keys=True)
    options = parser.parse(arguments)
    shape = _shape(parser, options)
    with _store.both_stores(options) as (store, keys):
        from pystream.acl.reports.making import Reporter
        from pystream.acl.store.notary import Notary

        reporter = Reporter(store, keys)
        asked = _Asked(parser, options, store, reporter, Notary(store.database, keys))
        if options.versions:
            return _list(options, asked.versions())
        try:
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
        with _store.new_file(options.output, replace=options.force) as file:
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
    if options.reason and not options.seal:
        parser.error("--reason is of a correction that is sealed (--seal)")
    if options.versions and (options.output or options.format):
        parser.error("--versions lists, and shows nothing else")
    return str(shape)


class _Asked:
    """What a report is wanted of. Raises `NotFound`."""

    def __init__(
        self,
        parser: Parser,
        options: argparse.Namespace,
        store: Store,
        reporter: Reporter,
        notary: Notary,
    ) -> None:
        tenant, name = options.place
        self.tenant: Tenant = store.tenant(tenant)
        self._parser = parser
        self._options = options
        self._reporter = reporter
        self._notary = notary
        self._event: Event | None = None
        self._stream: Stream | None = None
        if options.day is None:
            names = {each.name: each for each in store.events.listed(self.tenant.id)}
            self._event = names.get(name)
        if self._event is None:
            try:
                self._stream = store.stream(tenant, name)
            except NotFound:
                if options.day is not None:
                    raise
                raise NotFound(f"there is no event and no stream {tenant}/{name}") from None

    @property
    def stream_id(self) -> int | None:
        """None where it is an event."""
        return None if self._stream is None else self._stream.id

    def report(self) -> Report:
        number = self._options.version
        if number is not None:
            return self._reporter.version(self.tenant, self.subject(), number)
        return self._sealed() if self._options.seal else self._provisional()

    def _provisional(self) -> Report:
        if self._event is not None:
            return self._reporter.of_event(self.tenant, self._event, _store.now())
        assert self._stream is not None
        day = self._options.day
        return self._reporter.of_stream(self.tenant, self._stream, day, _store.now())

    def _sealed(self) -> Report:
        from pystream.acl.reports.making import check_over
        from pystream.attendance.programmes import SEAL_AFTER_S
        from pystream.server.clock import kernel

        now, subject, event = _store.now(), self.subject(), self._event
        after = SEAL_AFTER_S if event is None else event.settings.seal_after_s
        check_over(self._provisional(), after, now)
        self._notary.ensure_key(self.tenant.id, now)
        _, report = self._reporter.seal(
            subject,
            self._provisional,
            lambda: self._notary.checkpoint(self.tenant.id, kernel(), now).note,
            self._notary.signing_key(self.tenant.id),
            self._options.reason,
            tenant=self.tenant,
            who=_store.who(self._options),
            now=now,
        )
        return report

    def versions(self) -> tuple[Version, ...]:
        return self._reporter.sealed.versions(self.tenant.id, self.subject())

    def subject(self) -> Subject:
        from pystream.acl.store.sealed_reports import Subject

        if self._event is not None:
            return Subject(event_id=self._event.id)
        if self._options.day is None:
            self._parser.error("sealed versions are of an event, or of a day of a stream (--day)")
        return Subject(stream_id=self.stream_id, day=self._options.day)


def _list(options: argparse.Namespace, versions: Sequence[Version]) -> int:
    if options.json:
        _store.print_json(
            {
                "versions": [
                    {
                        "version": each.number,
                        "sealed_at": _store.moment(each.made_at),
                        "reason": each.reason,
                        "sha256": each.digest,
                    }
                    for each in versions
                ]
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
    return 0


def _made(report: Report, shape: str, locale: str) -> bytes:
    """The file. The modules of formats are loaded here, each where it is wanted."""
    from pystream.acl.reports.grid import grid

    if shape == "csv":
        from pystream.acl.reports.table import csv

        return b"".join(csv(grid(report, locale)))
    if shape == "svg":
        from pystream.acl.reports.curve import svg

        return svg(report, locale)
    if shape == "json":
        return report.json()
    try:
        if shape == "pdf":
            from pystream.acl.reports.paper import pdf

            return pdf(report, locale)
        from pystream.acl.reports.sheet import xlsx

        return xlsx(grid(report, locale))
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
