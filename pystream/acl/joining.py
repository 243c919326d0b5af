"""Who is behind the passwords of a report: joined with the customer's own list, on the customer's machine.

The list has a column with passwords and one with EFN, the numbers that German physicians are credited by;
all its columns are kept. Passwords are the same where their canonical forms are. An EFN has 15 digits: 80276,
nine more, and the check digit of ISO/IEC 7812-1 Annex B (Luhn). What is none is refused, with its line and
column, and never mended: a number that a spreadsheet has shortened is lost, whatever it looks like.

Nothing gets lost between the two: whoever of the list has no attendance is in the result, and so is each
password of the report that is not in the list.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pystream.acl.passwords import canonical
from pystream.acl.reports import Report
from pystream.acl.reports.grid import Cell, Column, Grid, Kind, grid
from pystream.acl.reports.words import WORDS
from pystream.attendance.programmes import is_luhn
from pystream.errors import InvalidValue

MOST_BYTES: Final = 64 << 20
MATCHED, ABSENT, UNKNOWN = "matched", "absent", "unlisted"

_MOST_PROBLEMS = 50
_PREFIX = "80276"
_DIGITS = 15
_SEPARATORS = (";", "\t", ",")
_PASSWORDS = frozenset("password passwort kennwort secureid code zugangscode".split())
_NUMBERS = frozenset(("efn", "fortbildungsnummer", "einheitlichefortbildungsnummer", "efnnummer"))
# As Excel has it.
_SAYS_SEPARATOR = re.compile(r"sep=([,;\t])", re.IGNORECASE)
_ROUNDED = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")


@dataclass(frozen=True, slots=True)
class Person:
    """A line of the list. `cells` are all of it, with the EFN as it was checked."""

    line: int
    form: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class People:
    """A list that is sound. `password` and `efn` are the places of these columns."""

    columns: tuple[str, ...]
    password: int
    efn: int
    people: tuple[Person, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The result as a grid, and how many lines of it there are of each state."""

    grid: Grid
    counts: dict[str, int]


# EFN


def efn(text: str) -> str:
    """The EFN that a cell has. Raises `InvalidValue`, with what to do."""
    number = text.strip()
    again = "make the column text in the spreadsheet, and enter the number anew"
    if _ROUNDED.fullmatch(number):
        raise InvalidValue(
            f"a spreadsheet has shortened this number, and its digits are lost: {again}"
        )
    if re.fullmatch(r"\d+[.,]0+", number):
        raise InvalidValue(f"a spreadsheet has made a decimal number of it: {again}")
    if not (number.isascii() and number.isdigit()):
        raise InvalidValue("an EFN has digits and nothing else, not even blanks or hyphens")
    if number.startswith("0"):
        raise InvalidValue(f"an EFN has no zeros before it; it begins with {_PREFIX}")
    if len(number) != _DIGITS:
        raise InvalidValue(
            f"an EFN has {_DIGITS} digits, and this one {len(number)}: look it up again"
        )
    if not number.startswith(_PREFIX):
        raise InvalidValue(f"an EFN begins with {_PREFIX}: this is another number")
    if not is_luhn(number):
        raise InvalidValue("the check digit does not fit, so a digit is wrong: look it up again")
    return number


# The list


def read(data: bytes, password: str | None = None, number: str | None = None) -> People:
    """Reads a list with a header: UTF-8, with semicolons, tabs or commas. `password` and `number` name the
    columns, where they are not named so that they are found.

    Raises `InvalidValue` with all that is wrong, each with line and column.
    """
    text = _decoded(data)
    first, _, below = text.partition("\n")
    said = _SAYS_SEPARATOR.fullmatch(first.strip())
    separator = said[1] if said else max(_SEPARATORS, key=first.count)
    # The line stays, so that lines are counted as an editor does.
    rows = _rows(f"\n{below}" if said else text, separator)
    if not rows:
        raise InvalidValue("there is no line in the list")
    (_, titles), lines = rows[0], rows[1:]
    columns = tuple(title.strip() for title in titles)
    places = (
        _place(columns, password, _PASSWORDS, "password", "--password-column"),
        _place(columns, number, _NUMBERS, "EFN", "--efn-column"),
    )
    wrong: list[str] = []
    people = [
        person
        for line, cells in lines
        if (person := _person(line, cells, columns, places, wrong)) is not None
    ]
    seen: dict[str, int] = {}
    for person in people:
        if person.form in seen:
            wrong.append(
                f"line {person.line}, column {columns[places[0]]}: this is the password of line"
                f" {seen[person.form]} once more; each belongs to one person"
            )
        seen.setdefault(person.form, person.line)
    if wrong:
        more = len(wrong) - _MOST_PROBLEMS
        raise InvalidValue(*wrong[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else []))
    return People(columns, *places, tuple(people), tuple(_warnings(people, columns, places[1])))


def _decoded(data: bytes) -> str:
    save = 'a spreadsheet has to save it as "CSV UTF-8"'
    if len(data) > MOST_BYTES:
        raise InvalidValue(f"the list has more than {MOST_BYTES >> 20} MiB")
    if data.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        raise InvalidValue(f"this is a spreadsheet's own format: {save}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidValue(f"line {line}: this is not UTF-8: {save}") from None


def _rows(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its first line."""
    rows, before = [], 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((before + 1, cells))
            before = reader.line_num
    except csv.Error:
        raise InvalidValue(
            f"line {before + 1}: a quoted cell does not end, or goes on behind"
        ) from None
    return rows


def _place(
    columns: Sequence[str], named: str | None, known: frozenset[str], what: str, option: str
) -> int:
    wanted = known if named is None else {_plain(named)}
    found = [place for place, title in enumerate(columns) if _plain(title) in wanted]
    if len(found) == 1:
        return found[0]
    said = "no column" if not found else f"{len(found)} columns"
    listed = ", ".join(map(repr, columns))[:300]
    raise InvalidValue(
        f"line 1: there is {said} for {what} ({option} names one); there are {listed}"
    )


def _plain(title: str) -> str:
    return re.sub(r"[\W_]", "", title.casefold())


def _person(
    line: int,
    cells: list[str],
    columns: tuple[str, ...],
    places: tuple[int, int],
    wrong: list[str],
) -> Person | None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        wrong.append(f"line {line}: there are more cells than columns")
        return None
    cells = [*cells, *[""] * len(columns)][: len(columns)]
    before, form = len(wrong), ""
    for place, check in zip(places, (canonical, efn), strict=True):
        if place == places[1] and not cells[place].strip():
            continue
        try:
            value = check(_unescaped(cells[place]))
        except InvalidValue as error:
            wrong += [f"line {line}, column {columns[place]}: {each}" for each in error.problems]
            continue
        if place == places[1]:
            cells[place] = value
        else:
            form = value
    return Person(line, form, tuple(cells)) if len(wrong) == before else None


def _unescaped(cell: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from running it."""
    return cell[1:] if re.match(r"'[=+\-@\t\r']", cell) else cell


def _warnings(people: Sequence[Person], columns: Sequence[str], place: int) -> Iterator[str]:
    seen: dict[str, int] = {}
    for person in people:
        number = person.cells[place]
        if not number:
            yield f"line {person.line}, column {columns[place]}: there is no EFN"
        elif number in seen:
            yield (
                f"line {person.line}, column {columns[place]}: this is the EFN of line"
                f" {seen[number]} once more, with another password"
            )
        seen.setdefault(number, person.line)


# Together


def join(report: Report, people: People, locale: str) -> Joined:
    """Each line of the list with what the report has of its password, in its order; behind them what the
    report has of passwords that are not in it."""
    words, made = WORDS[locale], grid(report, locale)
    by_form: dict[str, list[list[Cell]]] = {}
    loose: list[list[Cell]] = []
    for line, row in zip(report.lines(), made.rows, strict=True):
        form = None if line.password is None else canonical(line.password)
        (loose if form is None else by_form.setdefault(form, [])).append(row)
    taken = made.columns[1:]
    counts = dict.fromkeys((MATCHED, ABSENT, UNKNOWN), 0)
    rows: list[list[Cell]] = []

    def add(cells: Sequence[Cell], state: str, row: Sequence[Cell]) -> None:
        counts[state] += 1
        rows.append([*cells, words[state], *row])

    for person in people.people:
        found = by_form.pop(person.form, [])
        for row in found:
            add(person.cells, MATCHED, row[1:])
        if not found:
            add(person.cells, ABSENT, [None] * len(taken))
    for row in (*(row for each in by_form.values() for row in each), *loose):
        cells: list[Cell] = [""] * len(people.columns)
        cells[people.password] = row[0]
        add(cells, UNKNOWN, row[1:])
    columns = [Column(title, Kind.TEXT) for title in people.columns]
    columns += [Column(words["state"], Kind.TEXT), *taken]
    return Joined(replace(made, columns=columns, rows=rows), counts)
