"""Tables on a terminal."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal


_BETWEEN = 3
_LEAST = 6


def draw(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    """Columns are (title, `left` or `right`); the first one is what a row is about, and is not folded: where
    there is no room for that beside the others, they stand below it."""
    console, titles = Console(highlight=False), [title for title, _ in columns]
    longest = max((cell_len(row[0]) for row in (titles, *rows)), default=0)
    room = console.width - len(columns) * _BETWEEN - (len(columns) - 1) * _LEAST
    if longest > room:
        _list(console, titles, rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, (title, side) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(
            title,
            justify=justify,
            style="" if index else "bold cyan",
            overflow="fold",
            width=None if index else longest,
        )
    for row in rows:
        # What somebody typed in is no markup.
        table.add_row(*map(Text, row))
    console.print(table)


def _list(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for name, *values in rows:
        console.print(Text(name, style="bold cyan", overflow="fold"))
        line = Text(overflow="fold")
        for title, value in zip(titles[1:], values, strict=True):
            if not value:
                continue
            pair = Text.assemble("  ", (title, "dim"), f" {value}")
            if line and line.cell_len + pair.cell_len > console.width:
                console.print(line)
                line = Text(overflow="fold")
            line.append_text(pair)
        console.print(line)
        console.print()
