"""A report as a grid of cells, which CSV, XLSX and the terminal print each in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from pystream.acl.reports import Line, Report
from pystream.acl.reports.words import (
    WORDS,
    civil,
    clock,
    definitions,
    left_out,
    moment,
    nodes,
    notes,
    policy,
    span,
)
from pystream.attendance.programmes import zone


class Kind(Enum):
    """What a column has: text that is never a number, whatever it looks like; whole numbers; decimals;
    milliseconds, printed as hours, minutes and seconds."""

    TEXT = "text"
    COUNT = "count"
    DECIMAL = "decimal"
    TIME = "time"


class Column(NamedTuple):
    title: str
    kind: Kind


Cell = str | int | Fraction | None


@dataclass(frozen=True, slots=True)
class Grid:
    """`facts` say what it is, by their names; `meanings` are sentences; `rows` have a cell a column.
    `made_at` is in UTC."""

    locale: str
    made_at: datetime
    facts: list[tuple[str, str]]
    meanings: list[str]
    columns: list[Column]
    rows: list[list[Cell]]


def grid(report: Report, locale: str) -> Grid:
    """All of a report. `locale` is `de` or `en`."""
    words, about = WORDS[locale], report.about
    lines = report.lines()
    worth = about["policy"]
    columns = [Column(words["password"], Kind.TEXT), Column(words["label"], Kind.TEXT)]
    if not report.is_of_event:
        columns.append(Column(words["day"], Kind.TEXT))
    columns += [
        Column(words["online"], Kind.TIME),
        Column(words["online_s"], Kind.COUNT),
    ]
    if report.options.verified:
        columns += [
            Column(words["verified"], Kind.TIME),
            Column(words["verified_s"], Kind.COUNT),
        ]
    columns += [
        Column(words["certifiable"], Kind.TIME),
        Column(words["certifiable_s"], Kind.COUNT),
    ]
    if worth is not None:
        columns.append(Column(words["share"], Kind.DECIMAL))
        if worth["rounding"] != "threshold_pct":
            columns.append(Column(words["points"], Kind.DECIMAL))
        columns.append(Column(words["certified"], Kind.TEXT))
    columns += [
        Column(words["devices"], Kind.COUNT),
        Column(words["evidence"], Kind.TEXT),
        Column(words["notes"], Kind.TEXT),
        Column(words["number"], Kind.TEXT),
    ]
    rows = [_row(report, line, locale) for line in lines]
    said = [totals(report, locale), *left_out(about, locale)]
    said += definitions(about, report.options, locale)
    made_at = datetime.fromisoformat(about["made_at"]).astimezone(UTC)
    return Grid(locale, made_at, facts(report, locale), said, columns, rows)


def _row(report: Report, line: Line, locale: str) -> list[Cell]:
    words, about, row = WORDS[locale], report.about, line.row
    cells: list[Cell] = [line.name if line.password is not None else words["erased"], line.label]
    if not report.is_of_event:
        cells.append(civil(date.fromisoformat(row["day"]), locale))
    online, certifiable = line.online_ms, row["certifiable_ms"]
    cells += [online, online // 1000]
    if report.options.verified:
        cells += [row["verified_ms"], row["verified_ms"] // 1000]
    cells += [certifiable, certifiable // 1000]
    worth = about["policy"]
    if worth is not None:
        cells.append(share(certifiable, about["programme_ms"]))
        if worth["rounding"] != "threshold_pct":
            cells.append(None if line.points is None else Fraction(line.points))
        cells.append(words["yes" if line.certified else "no"])
    said = "; ".join(notes(row, locale, is_test=line.is_test))
    return [*cells, row["max_devices"], words[row["evidence_grade"]], said, f"#{line.key}"]


def share(ms: int, programme_ms: int) -> Fraction:
    """Percent of a programme, cut off behind the first digit: nobody has 80 who has not reached it."""
    return Fraction(ms // 1000 * 1000 // (programme_ms // 1000), 10)


def facts(report: Report, locale: str) -> list[tuple[str, str]]:
    """What a report is, by the name of each: what heads a list on paper, too."""
    words, about, timezone = WORDS[locale], report.about, report.options.timezone
    number = report.version
    found = [
        (words["title" if report.is_of_event else "stream"], about["title"]),
        (words["vnr"], about["vnr"]),
        (words["organiser"], about["organiser"]),
    ]
    if report.is_of_event:
        found.append((words["streams"], ", ".join(about["streams"].values())))
    elif report.scope.days is not None:
        days = (civil(date.fromisoformat(day), locale) for day in report.scope.days)
        found.append((words["day"], ", ".join(days)))
    for name, spans in (("programme", report.options.windows), ("breaks", report.options.breaks)):
        said = ", ".join(span(*each, timezone, locale) for each in sorted(spans))
        found.append((words[name], said))
    made = datetime.fromisoformat(about["made_at"]).astimezone(zone(timezone))
    version = words["provisional"] if number is None else words["sealed"].format(number=number)
    found += [
        (words["zone"], f"{timezone} (tzdata {report.tzdata})"),
        (words["policy"], policy(about, locale)),
        (words["definition"], about["definition"]),
        (words["policy_hash"], about.get("policy_hash", "")),
        (words["nodes"], nodes(about, locale)),
        (words["version"], version),
        (words["reason"], about["reason"]),
        (words["made_at"], moment(made, locale)),
    ]
    checkpoint = report.checkpoint
    if checkpoint is not None:
        fine = words["clock_fine" if checkpoint.is_synchronised else "clock_lost"]
        size = words["log_size"].format(size=checkpoint.size)
        found += [
            (words["log"], f"{checkpoint.origin}, {size}"),
            (words["root"], checkpoint.root.hex()),
            (words["clock"], fine.format(ms=checkpoint.clock_error_ms)),
        ]
    return [(name, value) for name, value in found if value]


def totals(report: Report, locale: str) -> str:
    """How many there are and how many of them are certified, without tests."""
    words = WORDS[locale]
    counted = [line for line in report.lines() if not line.is_test]
    count = len({line.key for line in counted})
    said = words["viewer_one" if count == 1 else "viewers"].format(count=count)
    if report.about["policy"] is not None:
        certified = sum(line.certified is True for line in counted)
        said += f", {words['certified_of'].format(count=certified)}"
    return f"{words['total']}: {said}"


def printed(cell: Cell, kind: Kind, point: str = ".") -> str:
    """A cell as text; `point` stands before the digits of a fraction."""
    if cell is None:
        return ""
    if kind is Kind.TIME and isinstance(cell, int):
        return clock(cell)
    if isinstance(cell, Fraction):
        whole = f"{float(cell):.2f}".rstrip("0").rstrip(".")
        return whole.replace(".", point)
    return str(cell)
