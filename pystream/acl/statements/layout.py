"""A document of headings, paragraphs, lists and tables, said in one of two languages; and how it is written:
as Markdown (CommonMark, with tables as GitHub has them), as plain text, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import fill
from typing import Final, TypeAlias

LANGUAGES: Final = ("de", "en")
Said: TypeAlias = tuple[str, str]
"""The same in German and in English."""

_WIDTH = 79


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: the level of a heading (1, 2), or 0: a paragraph of one text, a list of several (`is_list`), or
    a table, whose first row is its head."""

    level: int = 0
    texts: tuple[str, ...] = ()
    is_list: bool = False
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(slots=True)
class Paper:
    """A document that is being written."""

    language: str
    blocks: list[Block] = field(default_factory=list)

    def of(self, said: Said) -> str:
        return said[LANGUAGES.index(self.language)]

    def head(self, said: Said, level: int = 2) -> None:
        self.blocks.append(Block(level, (self.of(said),)))

    def say(self, said: Said) -> None:
        self.blocks.append(Block(texts=(self.of(said),)))

    def list(self, items: Sequence[Said]) -> None:
        if items:
            self.blocks.append(Block(texts=tuple(map(self.of, items)), is_list=True))

    def table(self, head: Sequence[Said], rows: Sequence[Sequence[str]]) -> None:
        table = tuple(map(self.of, head)), *map(tuple, rows)
        self.blocks.append(Block(rows=table))


def markdown(paper: Paper) -> str:
    parts = []
    for block in paper.blocks:
        texts = [_plain(text) for text in block.texts]
        if block.rows:
            head, *rows = ([_plain(cell) for cell in row] for row in block.rows)
            parts.append("\n".join(map(_line, (head, ["---"] * len(head), *rows))))
        elif block.is_list:
            parts.append("\n".join(f"- {text}" for text in texts))
        else:
            parts.append(f"{'#' * block.level} {texts[0]}".lstrip())
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """What a tenant has named is no markup (CommonMark 2.4)."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}<>#|~" else sign for sign in text)


def text(paper: Paper) -> str:
    parts = []
    for block in paper.blocks:
        if block.rows:
            head, *rows = block.rows
            parts += [
                "\n".join(
                    _filled(f"{name}: {cell}", "  ") for name, cell in zip(head, row, strict=True)
                )
                for row in rows
            ]
        elif block.is_list:
            parts.append("\n".join(_filled(f"- {each}", "  ") for each in block.texts))
        elif block.level:
            title = _filled(block.texts[0], "")
            parts.append(f"{title}\n{'=-'[block.level - 1] * max(map(len, title.splitlines()))}")
        else:
            parts.append(_filled(block.texts[0], ""))
    return "\n\n".join(parts) + "\n"


def _filled(text: str, indent: str) -> str:
    return fill(text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def html(paper: Paper) -> str:
    """A page of its own, without a style."""
    title = escape(paper.blocks[0].texts[0])
    parts = [
        f'<!doctype html>\n<html lang="{paper.language}">\n<meta charset="utf-8">',
        f"<title>{title}</title>",
    ]
    for block in paper.blocks:
        texts = [escape(text) for text in block.texts]
        if block.rows:
            rows = [
                "".join(f"<{cell}>{escape(text)}</{cell}>" for text in row)
                for cell, row in zip(["th"] + ["td"] * len(block.rows), block.rows, strict=False)
            ]
            parts.append("<table>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>")
        elif block.is_list:
            parts.append("<ul>\n" + "\n".join(f"<li>{text}</li>" for text in texts) + "\n</ul>")
        else:
            name = f"h{block.level}" if block.level else "p"
            parts.append(f"<{name}>{texts[0]}</{name}>")
    return "\n".join(parts) + "\n</html>\n"


WRITERS: Final = {"md": markdown, "text": text, "html": html}
