"""XLSX: a sheet with the rows, and one with what they are and mean.

Text is written as text and never looked at: a password of digits keeps its zeros, and what looks like a
formula or an address is none.
"""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO

from xlsxwriter import Workbook

from pystream.acl.reports.grid import Cell, Column, Grid, Kind
from pystream.acl.reports.words import WORDS

_DAY_S = 86_400
_WIDTHS = {Kind.TEXT: 22, Kind.COUNT: 14, Kind.DECIMAL: 12, Kind.TIME: 13}
_WIDE = 60


def xlsx(made: Grid) -> bytes:
    """A workbook. The same grid is the same bytes."""
    words = WORDS[made.locale]
    file = BytesIO()
    book = Workbook(
        file,
        {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
        },
    )
    # Excel knows no zones.
    created = made.made_at.replace(tzinfo=None)
    book.set_properties({"title": words["report"], "created": created})
    head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
    formats = {
        Kind.TEXT: book.add_format({"num_format": "@", "valign": "top"}),
        Kind.COUNT: book.add_format({"num_format": "0", "valign": "top"}),
        # Of a whole number, "0.##" would leave the decimal comma: 15,
        Kind.DECIMAL: book.add_format({"num_format": "General", "valign": "top"}),
        Kind.TIME: book.add_format({"num_format": "[h]:mm:ss", "valign": "top"}),
    }
    sheet = book.add_worksheet(words["list"])
    sheet.freeze_panes(1, 1)
    sheet.repeat_rows(0)
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    for place, column in enumerate(made.columns):
        is_wide = column.title == words["notes"]
        width = _WIDE if is_wide else _WIDTHS[column.kind]
        sheet.set_column(place, place, width, formats[column.kind])
        sheet.write_string(0, place, column.title, head)
    for number, row in enumerate(made.rows, 1):
        for place, (cell, column) in enumerate(zip(row, made.columns, strict=True)):
            if column.kind is Kind.TEXT:
                sheet.write_string(number, place, str(cell or ""), formats[Kind.TEXT])
            elif cell is not None:
                # Cut off to seconds, as everywhere else: Excel would round.
                sheet.write_number(number, place, _number(cell, column), formats[column.kind])
    if made.rows:
        sheet.autofilter(0, 0, len(made.rows), len(made.columns) - 1)
    about = book.add_worksheet(words["report"])
    wrapped = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
    about.set_column(0, 0, 26)
    about.set_column(1, 1, 90)
    for number, (name, value) in enumerate(made.facts):
        about.write_string(number, 0, name, head)
        about.write_string(number, 1, value, wrapped)
    below = len(made.facts) + 1
    for number, sentence in enumerate(made.meanings, below):
        about.write_string(number, 1, sentence, wrapped)
    book.close()
    return file.getvalue()


def _number(cell: Cell, column: Column) -> float:
    value = float(cell) if isinstance(cell, Fraction) else int(cell or 0)
    return value // 1000 / _DAY_S if column.kind is Kind.TIME else value
