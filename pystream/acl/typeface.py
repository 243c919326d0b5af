"""The letters of what is printed: IBM Plex, embedded, and texts broken into lines that fit.

IBM Plex Mono has a dot in its zero, and no two of its letters look alike: passwords are set in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO

from reportlab.pdfbase.pdfmetrics import getFont, registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont

TEXT, LETTERS = "pystream-text", "pystream-letters"
_FILES = {
    TEXT: ("fontpkg_ibm_plex_sans", "IBMPlexSans[wdth,wght].ttf"),
    LETTERS: ("fontpkg_ibm_plex_mono", "IBMPlexMono-Medium.ttf"),
}
LEADING = 1.2


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that fit where they belong, and the size of their letters in points."""

    lines: tuple[str, ...]
    size: float


def fitted(
    pieces: Sequence[str], font: str, width: float, sizes: Sequence[tuple[float, int]]
) -> Block | None:
    """The lines of a text, broken between pieces, in the first of the sizes, each with how many
    lines there may be, that fits. None where none does."""
    for size, most in sizes:
        lines = tuple(wrapped(pieces, font, size, width))
        if len(lines) <= most:
            return Block(lines, size)
    return None


def cut(text: str, width: float, sizes: Sequence[tuple[float, int]]) -> Block:
    """The lines of a text, or of as much of it as fits in the last one of the sizes."""
    whole = fitted(_words(text), TEXT, width, sizes)
    if whole is not None:
        return whole
    # The longest beginning that fits lies between these.
    fits, best = 0, Block(("…",), sizes[-1][0])
    over = len(text)
    while over - fits > 1:
        middle = (fits + over) // 2
        shorter = fitted(_words(f"{text[:middle].rstrip()}…"), TEXT, width, sizes[-1:])
        if shorter is None:
            over = middle
        else:
            fits, best = middle, shorter
    return best


def flowed(text: str, size: float, first: float, width: float) -> list[str]:
    """All of a text in lines, the first of which has another width than those below it, and may be empty."""
    pieces, line = _words(text), ""
    while pieces and _fits(line + pieces[0], TEXT, size, first):
        line += pieces.pop(0)
    return [line.rstrip(" "), *wrapped(pieces, TEXT, size, width)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^ ]+ ?| ", text)


def wrapped(pieces: Sequence[str], font: str, size: float, width: float) -> Iterator[str]:
    """Lines that end between pieces, or within one that is longer than a line."""
    line = ""
    for piece in pieces:
        for part in [piece] if _fits(piece, font, size, width) else list(piece):
            if line and not _fits(line + part, font, size, width):
                yield line.rstrip(" ")
                line = ""
            line += part
    if line:
        yield line.rstrip(" ")


def _fits(text: str, font: str, size: float, width: float) -> bool:
    length: float = stringWidth(text.rstrip(" "), font, size)
    return length <= width


@cache
def fonts() -> None:
    """Makes both known by their names. To be called before anything else here."""
    for name, (package, file) in _FILES.items():
        data = (resources.files(package) / "files" / file).read_bytes()
        registerFont(TTFont(name, BytesIO(data)))


def can_be_printed(password: str) -> bool:
    """Whether the letters of passwords have them all."""
    glyphs = getFont(LETTERS).face.charToGlyph
    return all(ord(letter) in glyphs for letter in password)


def printable(text: str, font: str) -> str:
    """The text with a question mark in the place of each sign that the font lacks."""
    glyphs = getFont(font).face.charToGlyph
    return "".join(sign if ord(sign) in glyphs else "?" for sign in text)
