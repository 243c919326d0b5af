"""`pystream attendance join`: who is behind the passwords of a report, on the customer's own machine."""

from __future__ import annotations

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, add_locale, path
from pystream.errors import InvalidValue, MalformedDocument, NotProven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pystream.acl.reports.grid import Grid

_DESCRIPTION = """\
Puts persons and EFN to the passwords of a report. It needs no server and no
store, and nothing of it leaves this machine: run it where your list is, and
never where the films are served.

REPORT is the JSON of `pystream report`, sealed or provisional. LIST is a CSV in
UTF-8 with a header: a column of passwords, one of EFN, and whatever else you
need; all columns are kept. OUT is a CSV as a German Excel opens it, or an XLSX.
"""

_EPILOG = """\
Passwords are compared as viewers may type them: case, blanks, hyphens, O for 0,
and I and L for 1 make no difference. An EFN has 15 digits, begins with 80276
and ends with a check digit. Where one is wrong, or a spreadsheet has shortened
it (8,02761E+14), nothing is written: standard error names line and column of
each, and what to do. A line without EFN is kept, with a warning.

Nothing gets lost: who of the list has no attendance is in OUT, and so is, at
its end, each password of the report that is not in the list. Counts are on
standard error.

With --public-key a sealed report is verified first, by the keys in FILE
(pystream attendance verify).

exit codes:
  0  OUT is written; there may be warnings, and passwords without a person
  1  REPORT or LIST is at fault, and nothing is written; lines on standard
     error say where, and what to do
  2  the command line is wrong, or a file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

example:
  pystream attendance join heart-2031.json doctors.csv -o heart-2031-efn.xlsx
"""


def run(words: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "attendance join",
        usage="REPORT LIST.csv -o OUT [--overwrite]\n"
        "         [--password-column NAME] [--efn-column NAME]\n"
        "         [--public-key FILE] [--locale de|en] [--json]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("report", metavar="REPORT", type=path, help="the JSON of a report")
    add("list", metavar="LIST.csv", type=path, help="your list")
    add("-o", "--output", required=True, metavar="OUT", type=path, help="OUT.csv or OUT.xlsx")
    add("--overwrite", action="store_true", help="replace OUT where it is there")
    add("--password-column", metavar="NAME", help="of LIST, where it is not found by its name")
    add("--efn-column", metavar="NAME", help="the same of the EFN")
    add(
        "--public-key",
        type=path,
        metavar="FILE",
        help="the keys that a sealed report is trusted by",
    )
    add_locale(parser)
    add("--json", action="store_true", help="print the counts as one JSON object")
    options = parser.parse(words)
    ending = options.output.rpartition(".")[2].lower()
    if ending not in ("csv", "xlsx"):
        parser.error("OUT has to end with .csv or .xlsx")
    from pystream.acl import joining
    from pystream.acl.reports import of_document
    from pystream.attendance import documents

    try:
        with open(options.report, "rb") as file:
            text = file.read(documents.LONGEST + 1)
        with open(options.list, "rb") as file:
            data = file.read(joining.MOST_BYTES + 1)
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    try:
        report = of_document(text)
        if options.public_key is not None:
            _prove(parser, text, options.public_key)
    except (MalformedDocument, NotProven) as error:
        _terminal.complain(parser.prog, f"{options.report}: {error}")
        return 1
    try:
        people = joining.read(data, options.password_column, options.efn_column)
    except InvalidValue as error:
        for problem in error.problems:
            _terminal.complain(parser.prog, f"{options.list}: {problem}")
        return 1
    joined = joining.join(report, people, options.locale)
    made = _made(joined.grid, ending)
    with _store.new_file(options.output, replace=options.overwrite) as output:
        output.write(made)
    for warning in people.warnings:
        _terminal.complain(parser.prog, f"warning: {options.list}: {warning}")
    counts = joined.counts
    if counts[joining.UNKNOWN]:
        said = _terminal.counted(counts[joining.UNKNOWN], "line")
        _terminal.complain(
            parser.prog,
            f"warning: {said} of the report have no person: their passwords are not in the list",
        )
    state = "provisional" if report.version is None else f"version {report.version}"
    facts = {"file": options.output, "version": report.version, **counts}
    _store.report(
        options,
        facts,
        f"{options.output}: {counts[joining.MATCHED]:,} matched, {counts[joining.ABSENT]:,} without"
        f" attendance, {counts[joining.UNKNOWN]:,} not in the list ({state})",
    )
    return 0


def _prove(parser: Parser, text: bytes, file: str) -> None:
    """Raises `MalformedDocument` and `NotProven`; exits with 2 where there are no keys in the file."""
    from pystream.attendance import notes
    from pystream.attendance.verification import verify

    try:
        keys = notes.read_verifier_keys(file)
    except InvalidValue as error:
        parser.error(f"--public-key: {error}")
    except OSError as error:
        parser.error(f"--public-key: {_terminal.sentence(error)}")
    verify(text, keys)


def _made(grid: Grid, ending: str) -> bytes:
    if ending == "csv":
        from pystream.acl.reports.table import csv

        return b"".join(csv(grid))
    try:
        from pystream.acl.reports.sheet import xlsx
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    return xlsx(grid)
