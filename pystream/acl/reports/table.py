"""CSV that a German Excel opens with a double click: UTF-8 with a byte order mark, semicolons, decimal
commas, lines that end as RFC 4180 has them; and no cell that it would run as a formula (CWE-1236)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from pystream.acl.password_csv import write_line
from pystream.acl.reports.grid import Grid, printed

BEGIN: Final = b"\xef\xbb\xbf"

_SEPARATOR = ";"
# A cell has one line, and nothing before what it begins with.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def csv(made: Grid) -> Iterator[bytes]:
    """The rows below their header; behind an empty line, what the report is and what its numbers mean."""
    titles = [column.title for column in made.columns]
    yield BEGIN + line(titles)
    for row in made.rows:
        cells = (
            printed(cell, column.kind, ",") for cell, column in zip(row, made.columns, strict=True)
        )
        yield line(cells)
    yield line([])
    for name, value in made.facts:
        yield line((name, value))
    for sentence in made.meanings:
        yield line((sentence,))


def line(cells: Iterable[str]) -> bytes:
    """A line of such a table."""
    return write_line((_CONTROL.sub(" ", cell).strip() for cell in cells), _SEPARATOR)
