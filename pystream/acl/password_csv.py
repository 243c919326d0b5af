"""Lists of viewer passwords as CSV: what a customer imports, and what is exported.

**Read** is UTF-8, with or without a byte order mark, by RFC 4180 but for two things: the separator
is a comma, a semicolon or a tab, whichever fits the first lines best (or what a first line `sep=;`
says, as Excel has it), and no cell has a line end in it, quoted or not: a quote that somebody forgot
must not swallow the lines behind it. Blank lines do not count.

The first line is a header if it names a column of passwords, in English or German, in any order of
columns, or has no digit in it and a name that lists of people have (`Vorname`, `E-Mail`). Without a
header the columns are those of `COLUMNS`, in that order, and the last ones may be missing. Where there are
several, the first one has to look like passwords: most of it has a digit in it and is no e-mail address, and
it does not number the lines. A column of another name is refused: what a list has beside the passwords,
names for one, is not for this server.

What is clearly no such list is refused as a whole, with a word on what is wanted: files of other kinds
(a PDF, a spreadsheet's own format, a page), more columns than there are, and, without a header,
sentences. Whoever has passwords of several words names the column.

Cells are text, so a password of digits keeps its zeros. A time is a date (2031-05-01 or 01.05.2031)
with a time of day behind it or none (08:30), in the customer's time zone unless it says how far from
UTC it is. Until a date without a time of day is until its end.

**Written** is what can be read again, and nothing is changed by that. Cells that a spreadsheet would
run as a formula (CWE-1236: they begin with = + - @, their full-width forms, a tab or a line end) get
an apostrophe before them, as do those that begin with an apostrophe. Reading takes it away, where
one of these follows.

No problem that is told has a password in it, only its line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from pystream.acl.passwords import (
    OVER,
    Guessable,
    PasswordSettings,
    guessable,
    guessable_together,
    importable,
    is_over,
    problems,
)
from pystream.acl.streams import time_zone
from pystream.errors import InvalidValue, Said

# What an export is headed with, and the order without a header.
COLUMNS: Final = ("password", "label", "valid from", "valid until", "max devices", "test")
MOST_ROWS: Final = 1_000_000
# Six cells, the longest a label of 200 characters, all escaped and quoted, fit several times over.
MOST_LINE: Final = 4096
MOST_BYTES: Final = 512 << 20

_NAMES = {
    "password": "password passwort kennwort secureid code id schlüssel schluessel key",
    "label": "label bezeichnung beschriftung notiz note etikett",
    "valid from": "validfrom gültigab gueltigab gültigvon gueltigvon von from",
    "valid until": "validuntil validto gültigbis gueltigbis bis until",
    "max devices": "maxdevices devices geräte geraete maxgeräte maxgeraete",
    "test": "test testzugang testaccess istest",
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names.split()}
# Headings of what is never in such a list, without which a header would be taken for a password.
_FOREIGN = frozenset(
    "name vorname nachname familienname firstname lastname surname givenname fullname anrede salutation"
    " email mail emailadresse mailadresse emailaddress telefon telefonnummer phone mobil mobile handy"
    " adresse anschrift address straße strasse street plz postleitzahl zip postcode ort stadt city"
    " geburtsdatum geburtstag birthday birthdate dateofbirth efn lanr firma company klinik hospital"
    " abteilung department benutzer benutzername username teilnehmer teilnehmerin participant"
    " nr nummer number lfdnr".split()
)
_SEPARATORS = ("\t", ";", ",")
# A separator that no line has.
_NO_SEPARATOR = "\x1f"
_SAMPLE = 100


T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong, or noteworthy, in a line of a file. Lines count from 1."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPassword:
    """A line of an import. `password` is as the customer knows it, `form` its canonical form;
    `guessable` says why it can be guessed, if it can."""

    line: int
    password: str = field(repr=False)
    form: str = field(repr=False)
    settings: PasswordSettings
    guessable: Guessable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPasswords:
    """What a file has: the lines that are sound, and all that is wrong with the others. A file with
    problems is not to be imported, not even in part: who corrects it would import the rest twice.
    `headings`: what the file calls columns that it names otherwise."""

    passwords: tuple[ImportedPassword, ...]
    problems: tuple[Problem, ...]
    headings: Mapping[str, str] = field(default_factory=dict)

    def warnings(self, now: int) -> Iterator[Problem]:
        """What can be guessed, and what is over already, by the line. `now`: in Unix seconds."""
        for each in self.passwords:
            if is_over(each.settings, now):
                yield Problem(each.line, _in_headings(self.headings, OVER))
            if each.guessable is not None:
                yield Problem(each.line, f"the password can be guessed: {each.guessable.value}")


class Row(NamedTuple):
    """A password to export."""

    password: str
    settings: PasswordSettings

    def __repr__(self) -> str:
        return f"Row({self.settings!r})"


# Reading


def read_csv(data: bytes, *, timezone: str = "UTC") -> ImportedPasswords:
    """Read a list of passwords; see above. `timezone` is the customer's, as in `Europe/Berlin`.

    Whatever the bytes are, the answer tells it. Raises `InvalidValue` for an unknown time zone.
    """
    zone = time_zone(timezone)
    found: list[Problem] = []
    known: dict[str, tuple[int, str]] = {}
    rows: list[tuple[int, str, str, PasswordSettings]] = []
    headings: dict[str, str] = {}
    for line, cells in _table(data, found, headings):
        try:
            password, form, settings = _row(cells, zone)
            _check_new(password, form, known)
        except InvalidValue as error:
            said = (_in_headings(headings, problem) for problem in error.problems)
            found.extend(Problem(line, problem) for problem in said)
            continue
        known[form] = (line, password)
        rows.append((line, password, form, settings))
    if not rows and not found:
        found.append(Problem(1, Said("list-empty", "there is no password in the file")))
    together = guessable_together([password for _, password, _, _ in rows])
    passwords = (
        ImportedPassword(
            line=line,
            password=password,
            form=form,
            settings=settings,
            guessable=guessable(password) or together.get(place),
        )
        for place, (line, password, form, settings) in enumerate(rows)
    )
    return ImportedPasswords(
        passwords=tuple(passwords), problems=tuple(sorted(found)), headings=headings
    )


def read_column(
    data: bytes, name: str | None = None
) -> tuple[list[tuple[int, str]], list[Problem]]:
    """The cells of one column that are not empty, with their lines, and what is wrong in the file.

    `name` is the column's in the first line, whatever its case. None: there is no header, and each
    line is one cell.
    """
    found: list[Problem] = []
    lines = _lines(data, found)
    if name is None:
        if lines and any(separator in lines[0][1] for separator in _SEPARATORS):
            found.append(Problem(lines[0][0], "there are several columns, and one has to be named"))
        return [(line, text.strip()) for line, text in lines], found
    wanted = _plain(name)
    for separator in (*_SEPARATORS, _NO_SEPARATOR):
        cells = [_plain(cell) for cell in _split(lines[0][1], separator) or ()] if lines else []
        if cells.count(wanted) == 1:
            place = cells.index(wanted)
            rows = _cells(lines[1:], separator, found)
            # A line may be shorter than the first one.
            texts = [(line, "".join(row[place : place + 1]).strip()) for line, row in rows]
            return [(line, text) for line, text in texts if text], found
    found.append(Problem(1, "the first line does not name that column, or does so twice"))
    return [], found


def _table(
    data: bytes, found: list[Problem], headings: dict[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Each line's cells by their columns, without the empty ones; lines of these alone are none. Columns
    that the file names otherwise are put into `headings`, with how."""
    kind = _other_kind(data)
    if kind is not None:
        text = f"this is {kind}, no list: {_WANTED}"
        found.append(Problem(1, Said("no-list", text, kind=kind)))
        return
    lines = _lines(data, found)
    separator = _separator(lines)
    if lines and _SAYS_SEPARATOR.fullmatch(lines[0][1]):
        del lines[0]
    columns: tuple[str, ...] = COLUMNS
    first = _split(lines[0][1], separator) or [] if lines else []
    header = _header(first)
    if header is not None:
        line = lines.pop(0)[0]
        columns = header
        headings |= {
            column: f"'{heading.strip()}'"
            for column, heading in zip(columns, first, strict=False)
            if heading.strip().casefold() != column
        }
        wrong = _wrong_header(columns)
        if wrong:
            found.append(Problem(line, wrong))
            return
    elif no_list := _without_header(lines, separator):
        found.append(Problem(lines[0][0], no_list))
        return
    for line, cells in _cells(lines, separator, found):
        if any(cells[len(columns) :]):
            found.append(Problem(line, Said("cells", _TOO_MANY)))
            continue
        filled = {column: cell for column, cell in zip(columns, cells, strict=False) if cell}
        if filled:
            yield line, filled


# What other files begin with, by their formats' own definitions, and what they are called.
_BEGINNINGS = (
    (re.compile(rb"%PDF-"), Said("kind-pdf", "a PDF")),
    (
        re.compile(rb"PK\x03\x04|\xd0\xcf\x11\xe0"),
        Said("kind-sheet", "a file of a spreadsheet, a text processor or an archive"),
    ),
    (re.compile(rb"\{\\rtf"), Said("kind-text", "a document of a text processor")),
    (
        re.compile(rb"<(!--|(!doctype|\?xml|html|head|body|table|div|svg)\b)", re.IGNORECASE),
        Said("kind-page", "a page in HTML or XML"),
    ),
    (re.compile(rb"[\[{]\s*[\"\[{]"), Said("kind-json", "JSON")),
    # A control character or two may be a slip in a line; UTF-16 is told apart by its mark.
    (
        re.compile(rb"(?!\xff\xfe|\xfe\xff)([^\x00-\x08\x0e-\x1b]*[\x00-\x08\x0e-\x1b]){4}"),
        Said("kind-binary", "no text"),
    ),
)
_LOOKED_AT = 4096


def _other_kind(data: bytes) -> Said | None:
    """Of what kind a file is that has no list in it."""
    begin = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for pattern, kind in _BEGINNINGS if pattern.match(begin)), None)


def _without_header(lines: list[tuple[int, str]], separator: str) -> Said | None:
    """Why lines that nothing names are no list, if most of those looked at are not such as in one."""
    sample = [_split(text, separator) or [""] for _, text in lines[:_SAMPLE]]
    columns = Counter(len(cells) for cells in sample if any(cells[len(COLUMNS) :]))
    if 2 * columns.total() > len(sample):
        many = columns.most_common(1)[0][0]
        return Said("columns-many", f"there are {many} columns: {_WANTED}", count=many)
    if _is_second(sample):
        text = f"the first column does not look like passwords, and there are several: {_WANTED}"
        return Said("list-unnamed", text)
    sentences = sum(len(_WORD.findall(cells[0])) >= _LEAST_WORDS for cells in sample)
    if 2 * sentences > len(sample):
        text = f"this is running text, and no column is named: {_WANTED}"
        return Said("no-list-text", text)
    return None


def _is_second(sample: list[list[str]]) -> bool:
    """Whether of several columns that nothing names the first one has other things than passwords."""
    rows = [cells for cells in sample if any(cells[1:])]
    if 2 * len(rows) <= len(sample):
        return False
    first = [cells[0].strip() for cells in rows]
    if 2 * sum(bool(_OPAQUE.fullmatch(cell)) for cell in first) <= len(rows):
        return True
    # As a list counts its lines: from 1, or beside what looks like a password.
    numbers = [int(cell) for cell in first if _NUMBER.fullmatch(cell)]
    if len(numbers) < max(2, len(rows)) or any(b != a + 1 for a, b in pairwise(numbers)):
        return False
    better = sum(any(map(_BETTER.fullmatch, cells[1:])) for cells in rows)
    return numbers[0] <= 1 or 2 * better > len(rows)


_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_OPAQUE = re.compile(r"(?=.*\d)[^@]+")
_BETTER = re.compile(r"(?=.*\d)(?=.*[^\W\d_])[^\s@]{6,}")
_WORD = re.compile(r"(?<!\S)[^\W\d_]{2,}[.,;:!?]?(?!\S)")
_LEAST_WORDS = 3
_WANTED = (
    "what is wanted is a CSV with a password a line, and of the columns"
    f" {', '.join(COLUMNS)} those that you need, named in the first line or in this order"
)
_TOO_MANY = "there are more cells than columns; a cell with a separator in it has to be quoted"
_SAYS_SEPARATOR = re.compile(r"sep=([,;\t])", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\n|\r")


def _lines(data: bytes, found: list[Problem]) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    if len(data) > MOST_BYTES:
        text = f"the file has more than {MOST_BYTES >> 20} MiB"
        found.append(Problem(1, Said("list-large", text, most=MOST_BYTES >> 20)))
        return []
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        found.append(Problem(1, Said("not-utf-8", f"the file is UTF-16: {_SAVE}")))
        return []
    lines: list[tuple[int, str]] = []
    text = data.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(_LINE_END.split(text), 1):
        if not line or line.isspace():
            continue
        if len(lines) > MOST_ROWS:
            text = f"the file has more than {MOST_ROWS:,} passwords"
            found.append(Problem(number, Said("list-long", text, most=MOST_ROWS)))
            break
        if len(line) > MOST_LINE:
            said = f"the line has more than {MOST_LINE:,} characters"
            found.append(Problem(number, Said("line-long", said, most=MOST_LINE)))
        elif _ESCAPED_BYTE.search(line):
            found.append(Problem(number, Said("not-utf-8", f"the line is not UTF-8: {_SAVE}")))
        else:
            lines.append((number, line))
    return lines


_SAVE = 'a spreadsheet has to save it as "CSV UTF-8"'
_ESCAPED_BYTE = re.compile(r"[\udc80-\udcff]")


def _cells(
    lines: Iterable[tuple[int, str]], separator: str, found: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    for line, text in lines:
        cells = _split(text, separator)
        if cells is None:
            said = "a quoted cell does not end, or goes on behind its quote"
            found.append(Problem(line, Said("quotes", said)))
        else:
            yield line, cells


def _split(text: str, separator: str) -> list[str] | None:
    """The cells of a line; None where its quotes are wrong."""
    if '"' not in text:
        cells = text.split(separator)
    else:
        try:
            (cells,) = csv.reader([text], delimiter=separator, strict=True)
        except csv.Error:
            return None
    return [_unescaped(cell) for cell in cells]


def _separator(lines: list[tuple[int, str]]) -> str:
    if not lines:
        return _NO_SEPARATOR
    said = _SAYS_SEPARATOR.fullmatch(lines[0][1])
    if said:
        return said[1]
    first = lines[0][1]
    headed = [each for each in _SEPARATORS if len(_header(_split(first, each) or []) or ()) > 1]
    if headed:
        return headed[0]
    if _header(_split(first, _NO_SEPARATOR) or []):
        return _NO_SEPARATOR
    sample = [text for _, text in lines[:_SAMPLE]]
    return max((*_SEPARATORS, _NO_SEPARATOR), key=lambda each: _fitness(each, sample))


def _fitness(separator: str, sample: list[str]) -> int:
    """How many lines have as many cells as most have, if that is more than one."""
    counts = Counter(len(_split(text, separator) or ()) for text in sample)
    return max((lines for cells, lines in counts.items() if cells > 1), default=0)


def _header(cells: list[str]) -> tuple[str, ...] | None:
    """The columns that a line names, by their own names where they are known ones; None where it is
    no header."""
    columns = tuple(_COLUMN_OF.get(_plain(cell), cell.strip()) for cell in cells)
    while columns and not columns[-1]:
        columns = columns[:-1]
    named = "password" in columns or all(column in COLUMNS for column in columns)
    if not named and not any(map(str.isdigit, "".join(cells))):
        named = any(_plain(cell) in _FOREIGN for cell in cells)
    return columns if columns and named else None


def _wrong_header(columns: tuple[str, ...]) -> Said | None:
    if "password" not in columns:
        return Said("no-column", "no column is named password")
    for column, times in Counter(columns).items():
        if column not in COLUMNS:
            text = f"there is no column {column[:40]!r} in such a list, only {', '.join(COLUMNS)}"
            return Said("column", text, name=column[:40])
        if times > 1:
            return Said("column-twice", f"there are two columns for {column}", name=column)
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _check_new(password: str, form: str, known: dict[str, tuple[int, str]]) -> None:
    if form not in known:
        return
    line, other = known[form]
    if password == other:
        text = f"the password is that of line {line} once more"
        raise InvalidValue(Said("line-again", text, line=line))
    raise InvalidValue(
        Said(
            "line-alike",
            f"the password is too much like that of line {line}: case, blanks, hyphens, O for 0, and"
            " I and L for 1 make no difference",
            line=line,
        )
    )


def _row(cells: dict[str, str], zone: tzinfo) -> tuple[str, str, PasswordSettings]:
    """A password, its canonical form, and its settings. Raises `InvalidValue` with all that is
    wrong."""
    password = cells.get("password", "").strip()
    form = ""
    wrong: list[str] = []
    try:
        form = importable(password)
    except InvalidValue as error:
        wrong += error.problems

    def read(column: str, parse: Callable[[str], T]) -> T | None:
        text = cells.get(column, "").strip()
        try:
            return parse(text) if text else None
        except InvalidValue as error:
            wrong.extend(_of(column, each) for each in error.problems)
        return None

    settings = PasswordSettings(
        label=cells.get("label", ""),
        valid_from=read("valid from", lambda text: _moment(text, zone, end=False)),
        valid_until=read("valid until", lambda text: _moment(text, zone, end=True)),
        max_devices=read("max devices", _count),
        is_test=read("test", _answer) or False,
    )
    wrong += problems(settings)
    if wrong:
        raise InvalidValue(*wrong)
    return password, form, settings


_MOMENT = re.compile(
    r"(?:(?P<y>\d{4})-(?P<m>\d\d?)-(?P<d>\d\d?)|(?P<D>\d\d?)\.(?P<M>\d\d?)\.(?P<Y>\d{4}))"
    r"(?:(?:T|,? )(?P<time>\d\d?:\d\d(?::\d\d)?)(?P<zone>Z|[+-]\d\d:\d\d(?::\d\d)?)?)?",
    re.ASCII,
)


def moment(text: str, timezone: str, *, end: bool) -> int:
    """Unix seconds of a time, written as in a list; `end` for one until which something is valid.
    Raises `InvalidValue`."""
    return _moment(text, time_zone(timezone), end=end)


def _moment(text: str, zone: tzinfo, *, end: bool) -> int:
    """Unix seconds of what is written; without a time, of the day's begin or end. Raises
    `InvalidValue`."""
    found = _MOMENT.fullmatch(text)
    if not found:
        raise InvalidValue(_no_time())
    year, month, day = found["y"] or found["Y"], found["m"] or found["M"], found["d"] or found["D"]
    time = f"{found['time'] or '0:00':0>5}"
    written = f"{year}-{month:0>2}-{day:0>2}T{time:0>5}{found['zone'] or ''}"
    try:
        moment = datetime.fromisoformat(written)
        if end and not found["time"]:
            moment += timedelta(days=1)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidValue(_no_time()) from None


def _no_time() -> Said:
    return Said(
        "date",
        "no date; one is written as 2031-05-01 or 01.05.2031, with a time as 2031-05-01 18:00",
    )


def _in_headings(headings: Mapping[str, str], problem: str) -> str:
    """What is wrong, with columns called as the file calls them."""

    def heading(name: str) -> str:
        column = name.replace("_", " ")
        return headings.get(column, column) if column in COLUMNS else name

    if not isinstance(problem, Said):
        return problem
    text = problem.removeprefix(f"{problem.of}: ").replace("valid_from", heading("valid_from"))
    return Said(problem.key, text, of=heading(problem.of), **problem.values)


def _of(column: str, problem: str) -> str:
    """What is wrong, and in which column."""
    if isinstance(problem, Said):
        return Said(problem.key, problem, of=column, **problem.values)
    return f"{column}: {problem}"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidValue(Said("number", "a whole number is wanted"))
    return int(text)


_ANSWERS = {
    **dict.fromkeys("yes ja y j true wahr 1 x test".split(), True),
    **dict.fromkeys("no nein n false falsch 0 -".split(), False),
}


def _answer(text: str) -> bool:
    try:
        return _ANSWERS[text.casefold()]
    except KeyError:
        raise InvalidValue(Said("yes-no", "yes or no is wanted")) from None


# Writing


def write_csv(
    rows: Iterable[Row], *, timezone: str = "UTC", separator: str = ","
) -> Iterator[bytes]:
    """A list that `read_csv` reads back without a change, as pieces of UTF-8: a byte order mark,
    which spreadsheets want, and lines that end as RFC 4180 has them. `timezone` is the one that
    times are written in, as `written` has them. `separator` may be `;`, which a German
    Excel wants. Raises `InvalidValue` for an unknown time zone."""
    zone = time_zone(timezone)
    yield b"\xef\xbb\xbf" + write_line(COLUMNS, separator)
    for password, settings in rows:
        yield write_line(
            (
                password,
                settings.label,
                _written(settings.valid_from, zone, end=False),
                _written(settings.valid_until, zone, end=True),
                "" if settings.max_devices is None else str(settings.max_devices),
                "yes" if settings.is_test else "",
            ),
            separator,
        )


def write_line(cells: Iterable[str], separator: str = ",") -> bytes:
    """A line of CSV, without formulas."""
    return f"{separator.join(map(_cell, cells))}\r\n".encode()


def written(moment: int | None, timezone: str, *, end: bool) -> str:
    """A time as people type it, so that `moment` gives it back: a date alone where a day begins, or,
    with `end`, ends; else with the time and how far from UTC that is. Nothing for None. Raises
    `InvalidValue` for an unknown time zone."""
    return _written(moment, time_zone(timezone), end=end)


def _written(moment: int | None, zone: tzinfo, *, end: bool) -> str:
    if moment is None:
        return ""
    there = datetime.fromtimestamp(moment, zone)
    day = (there - timedelta(days=end)).date().isoformat()
    # Where clocks are set at midnight, a day has two of them, or begins later.
    if (there.hour, there.minute, there.second) == (0, 0, 0) and _moment(
        day, zone, end=end
    ) == moment:
        return day
    return there.isoformat(" ", "auto" if there.second else "minutes")


_RUNS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_APOSTROPHE = "'"
# Any separator, since a spreadsheet may take another one than was written.
_QUOTED = re.compile(r'[",;\t]')


def _cell(text: str) -> str:
    if text and (text[0] in _RUNS or text[0] == _APOSTROPHE):
        text = _APOSTROPHE + text
    if _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _unescaped(cell: str) -> str:
    if cell[:1] == _APOSTROPHE and (cell[1:2] in _RUNS or cell[1:2] == _APOSTROPHE):
        return cell[1:]
    return cell
