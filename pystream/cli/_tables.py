"""Tables on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal


def draw(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> None:
    """Columns are (title, `left` or `right`); the first one is what a row is about."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, (title, side) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(
            title, justify=justify, style="" if index else "bold cyan", overflow="fold"
        )
    for row in rows:
        # What somebody typed in is no markup.
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
