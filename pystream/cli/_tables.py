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
    """Columns are (title, `left` or `right`); the first one is what a row is about."""
    console, titles = Console(highlight=False), [title for title, _ in columns]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    # What a row is about is not folded, as long as nothing of the others is cut off for that.
    longest = max((cell_len(row[0]) for row in (titles, *rows)), default=0)
    room = max(_LEAST, console.width - len(columns) * _BETWEEN - (len(columns) - 1) * _LEAST)
    for index, (title, side) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(
            title,
            justify=justify,
            style="" if index else "bold cyan",
            overflow="fold",
            width=None if index else min(longest, room),
        )
    for row in rows:
        # What somebody typed in is no markup.
        table.add_row(*map(Text, row))
    console.print(table)
