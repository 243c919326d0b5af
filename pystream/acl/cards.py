"""Access cards: what a viewer gets on paper, ten on a page of A4 to be cut apart.

A card says where to go and what to type, and has both in a QR code, `URL#password`. Browsers keep a
fragment (RFC 3986 3.5) to themselves, so the password is in no request and no log; the page takes it
from there.

Everything is drawn as text and shapes, not as a picture. The password's typeface, IBM Plex Mono, has
a dot in its zero, and no two of its letters look alike. Nothing in the file depends on when, where
or by whom it was made: the same cards are the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from io import BytesIO
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from pystream.acl import qr
from pystream.acl.passwords import MOST_LABEL_CHARACTERS, canonical
from pystream.acl.streams import time_zone
from pystream.acl.typeface import (
    LEADING,
    LETTERS,
    TEXT,
    Block,
    can_be_printed,
    cut,
    fitted,
    fonts,
    wrapped,
)
from pystream.errors import InvalidValue, Said

LOCALES: Final = ("de", "en")
# A hundred of them take about a fifth of a second of a processor's time.
MOST_CARDS: Final = 2000

_COLUMNS, _ROWS = 2, 5
_WIDTH, _HEIGHT = 95 * mm, 55 * mm
_LEFT, _BOTTOM = (A4[0] - _COLUMNS * _WIDTH) / 2, (A4[1] - _ROWS * _HEIGHT) / 2
_PADDING = 5 * mm
_CODE = 27 * mm
# Of the lowest line.
_BASE = 4 * mm
_GAP = 5 * mm
# The column beside the code.
_TEXT_WIDTH = _WIDTH - 2 * _PADDING - _GAP - _CODE

_BLACK, _GREY, _LIGHT = 0.0, 0.38, 0.7

# Those of a code of 27 mm are 0.37 mm, four dots of a printer with 300 to an inch.
_MOST_MODULES = 73

_TEXTS = {
    "de": {
        "document": "Zugangskarten",
        "open": "Adresse öffnen",
        "enter": "Passwort eingeben",
        "scan": "oder hier scannen",
        "until": "Gültig bis {}",
        "through": "Gültig bis einschließlich {}",
        "test": "Testzugang",
        "forgiving": "Groß oder klein, mit oder ohne Striche: alles gilt.",
        "page": "Seite {} von {}",
    },
    "en": {
        "document": "Access cards",
        "open": "Open this address",
        "enter": "Enter the password",
        "scan": "or scan this",
        "until": "Valid until {}",
        "through": "Valid through {}",
        "test": "Test access",
        "forgiving": "Upper or lower case, with hyphens or without: all are right.",
        "page": "Page {} of {}",
    },
}
_MONTHS = (
    "January February March April May June July August September October November December".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is on a card.

    `url`: where the film is, without a fragment. `password`: as the customer knows it. `title`: the
    film's. `label`: the customer's note. `valid_until`: Unix seconds; None: no end is printed. `test`: it
    is said before the label, since whoever is handed such a card is in no list of those who attended.
    """

    url: str
    password: str = field(repr=False)
    title: str
    label: str = field(default="", repr=False)
    valid_until: int | None = None
    test: bool = False


def cards(sheet: Sequence[Card], *, locale: str, timezone: str) -> bytes:
    """A PDF with the cards in their order, by rows. `locale` is `de` or `en`; `timezone` is the one
    that times are given in, as in `Europe/Berlin`.

    Raises `InvalidValue` for a card that cannot be printed, with its number, for no cards or more
    than `MOST_CARDS`, and for an unknown locale or time zone.
    """
    if locale not in LOCALES:
        text = f"{locale!r} is none of {', '.join(LOCALES)}"
        raise InvalidValue(Said("one-of", text, of="locale", value=locale))
    zone = time_zone(timezone)
    fonts()
    file = BytesIO()
    canvas = Canvas(file, pagesize=A4, pageCompression=1, invariant=1, lang=locale)
    words = _TEXTS[locale]
    canvas.setTitle(words["document"])
    canvas.setAuthor("")
    canvas.setSubject("")
    canvas.setCreator("pystream")
    canvas.setProducer("pystream")
    drawn = _checked(sheet, locale, zone)
    on_a_page = _COLUMNS * _ROWS
    pages = -(-len(drawn) // on_a_page)
    for page in range(pages):
        _draw_marks(canvas)
        _draw_line(
            canvas,
            words["page"].format(page + 1, pages),
            _LEFT + _WIDTH / 2,
            _BOTTOM / 2,
            size=7,
            grey=_GREY,
            centred=True,
        )
        for place, card in enumerate(drawn[page * on_a_page : (page + 1) * on_a_page]):
            row, column = divmod(place, _COLUMNS)
            canvas.saveState()
            canvas.translate(_LEFT + column * _WIDTH, _BOTTOM + (_ROWS - 1 - row) * _HEIGHT)
            _draw_card(canvas, card, words)
            canvas.restoreState()
        canvas.showPage()
    canvas.save()
    return file.getvalue()


# What is drawn, before it is


@dataclass(frozen=True, slots=True)
class _Drawn:
    url: str
    link: str
    title: Block
    label: Block
    address: Block
    password: Block
    validity: str
    modules: Sequence[str]


def _checked(sheet: Sequence[Card], locale: str, zone: tzinfo) -> list[_Drawn]:
    drawn: list[_Drawn] = []
    if not 1 <= len(sheet) <= MOST_CARDS:
        text = f"from 1 to {MOST_CARDS:,} cards can be printed at a time"
        raise InvalidValue(Said("cards", text, most=MOST_CARDS))
    # Of all cards it is one, nearly always, and is said once.
    wrong = [
        problem for url in dict.fromkeys(card.url for card in sheet) for problem in _of_url(url)
    ]
    for number, card in enumerate(sheet, 1):
        if wrong and any(_of_url(card.url)):
            continue
        try:
            drawn.append(_laid_out(card, locale, zone))
        except InvalidValue as error:
            wrong += [
                Said("card", f"{problem}", of=f"card {number}", number=number, problem=problem)
                for problem in error.problems
            ]
    if wrong:
        raise InvalidValue(*wrong)
    return drawn


_URL = re.compile(r"https?://[!-~]+")


def _of_url(url: str) -> Iterator[str]:
    """What is wrong with it."""
    if not _URL.fullmatch(url) or "#" in url:
        text = "an address is wanted as in https://www.example.org/a/b, in ASCII"
        yield Said("card-address", text, of="url")
    elif _address(url.removeprefix("https://")) is None:
        yield Said("card-address-long", "it is too long for a card", of="url")


def _laid_out(card: Card, locale: str, zone: tzinfo) -> _Drawn:
    for name, text in (("title", card.title), ("label", card.label)):
        if len(text) > MOST_LABEL_CHARACTERS or not text.isprintable():
            said = f"at most {MOST_LABEL_CHARACTERS} characters are wanted"
            raise InvalidValue(Said("text", said, of=name, most=MOST_LABEL_CHARACTERS))
    canonical(card.password)
    if not can_be_printed(card.password):
        text = "it has a character that the cards' typeface lacks"
        raise InvalidValue(Said("card-typeface", text, of="password"))
    fragment = _fragment(card.password)
    address = _address(card.url.removeprefix("https://"))
    assert address is not None
    return _Drawn(
        url=card.url,
        link=f"{card.url}#{fragment}",
        title=cut(card.title, _WIDTH - 2 * _PADDING, ((12, 2), (10, 2), (8, 3), (7, 3))),
        label=cut(_label(card, locale), _WIDTH - 2 * _PADDING, ((7, 1),)),
        address=address,
        password=_password(card.password),
        validity=_validity(card.valid_until, locale, zone),
        modules=_modules(f"{card.url}#", fragment),
    )


def _label(card: Card, locale: str) -> str:
    said = (_TEXTS[locale]["test"] if card.test else "", card.label)
    return " · ".join(filter(None, said))


def _address(text: str) -> Block | None:
    # In one line, where that can be read: nobody knows whether a line end is a blank.
    sizes = ((9, 1), (8, 1), (7, 1), (9, 2), (7, 3), (6, 3))
    return fitted(re.findall(r"[^/]+/?|/", text), TEXT, _TEXT_WIDTH, sizes)


def _password(text: str) -> Block:
    """In lines that end between groups, or, where they are too long for that, anywhere.

    A password that has no hyphens or blanks of its own gets blanks: nobody copies ten digits in one
    go, and no blank counts that is typed.
    """
    if text.isalnum() and len(text) > 6:
        groups = [f"{text[at : at + 4]} " for at in range(0, len(text), 4)]
    else:
        groups = re.findall(r"[^- ]+[- ]?|[- ]", text)
    whole = fitted(groups, LETTERS, _TEXT_WIDTH, ((12, 2), (10, 2), (8, 3), (6, 4)))
    # The typeface has letters of one width: 128 of them are four lines.
    return whole or Block(tuple(wrapped(list(text), LETTERS, 6, _TEXT_WIDTH)), 6)


def _fragment(password: str) -> str:
    """RFC 3986 3.5, with everything encoded that some script may read otherwise than as itself."""
    plain = _UNRESERVED.match
    return "".join(chr(byte) if plain(chr(byte)) else f"%{byte:02X}" for byte in password.encode())


_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def _validity(until: int | None, locale: str, zone: tzinfo) -> str:
    if until is None:
        return ""
    words = _TEXTS[locale]
    moment = datetime.fromtimestamp(until, zone)
    if (moment.hour, moment.minute, moment.second) == (0, 0, 0):
        # Until midnight is to the end of the day before, which is what people say.
        return words["through"].format(_date(moment - timedelta(days=1), locale))
    time = f"{moment:%H:%M}" + (" Uhr" if locale == "de" else "")
    return words["until"].format(f"{_date(moment, locale)}, {time} ({str(zone).replace('_', ' ')})")


def _date(moment: datetime, locale: str) -> str:
    if locale == "de":
        return f"{moment:%d.%m.%Y}"
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def _modules(address: str, fragment: str) -> Sequence[str]:
    """The rows of a QR code, 1 where it is dark (ISO/IEC 18004).

    Two segments, since capitals and digits alone take less room, and so the modules get larger.
    """
    rows = qr.rows(address, fragment)
    if len(rows) > _MOST_MODULES:
        text = "it is too long for a QR code that can be read from a card"
        raise InvalidValue(Said("card-address-long", text, of="url"))
    return rows


def qr_svg(text: str) -> bytes:
    """A QR code of a text, as an SVG that is black on white whatever lies below, with its quiet zone
    of four modules (ISO/IEC 18004 6.3.8)."""
    rows = qr.rows(text)
    path = "".join(
        f"M{x + 4} {y + 4}h1v1h-1z"
        for y, row in enumerate(rows)
        for x, module in enumerate(row)
        if module == "1"
    )
    side = len(rows) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}"'
        f' shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/>'
        f'<path d="{path}"/></svg>'
    ).encode()


# Drawing. The origin of a card is its lower left corner.


def _draw_card(canvas: Canvas, card: _Drawn, words: dict[str, str]) -> None:
    left, right = _PADDING, _WIDTH - _PADDING
    top = _draw_block(canvas, card.title, TEXT, left, _HEIGHT - _PADDING + 2)
    _draw_block(canvas, card.label, TEXT, left, top - 2, _GREY)
    _draw_line(canvas, words["open"], left, 93.5, size=6.5, grey=_GREY)
    _draw_block(canvas, card.address, TEXT, left, 91.5)
    _draw_line(canvas, words["enter"], left, 60, size=6.5, grey=_GREY)
    _draw_block(canvas, card.password, LETTERS, left, 58.5)
    _draw_line(canvas, words["forgiving"], left, 22, size=5.5, grey=_GREY)
    _draw_line(canvas, card.validity, left, _BASE, size=7)
    _draw_code(canvas, card.modules, right - _CODE, 22)
    _draw_line(canvas, words["scan"], right - _CODE / 2, _BASE, size=6.5, grey=_GREY, centred=True)
    canvas.linkURL(card.url, (left, 65, left + _TEXT_WIDTH, 91), relative=1)
    canvas.linkURL(card.link, (right - _CODE, 22, right, 22 + _CODE), relative=1)


def _draw_block(
    canvas: Canvas, block: Block, font: str, left: float, top: float, grey: float = _BLACK
) -> float:
    """Draws lines from a height on downwards; returns the height below them."""
    for line in block.lines:
        top -= block.size * LEADING
        # A fifth of the leading, and the letters that reach below their line.
        _draw_line(
            canvas, line, left, top + 0.25 * block.size, size=block.size, grey=grey, font=font
        )
    return top


def _draw_line(
    canvas: Canvas,
    text: str,
    left: float,
    base: float,
    *,
    size: float,
    grey: float = _BLACK,
    font: str = TEXT,
    centred: bool = False,
) -> None:
    canvas.setFillGray(grey)
    canvas.setFont(font, size)
    (canvas.drawCentredString if centred else canvas.drawString)(left, base, text)


def _draw_code(canvas: Canvas, modules: Sequence[str], left: float, bottom: float) -> None:
    """Dark modules that touch are one shape, or there would be seams. The quiet zone of four modules
    (ISO/IEC 18004 6.3.8) is the card's own white: there is more of it on each side."""
    size = _CODE / len(modules)
    canvas.saveState()
    canvas.translate(left, bottom)
    canvas.scale(size, size)
    canvas.setFillGray(_BLACK)
    # By hand: reportlab's own path formats each number as a fraction, which takes longer than the rest.
    for row, cells in enumerate(reversed(modules)):
        for run in re.finditer("1+", cells):
            canvas.addLiteral(f"{run.start()} {row} {len(run[0])} 1 re")
    canvas.addLiteral("f")
    canvas.restoreState()


def _draw_marks(canvas: Canvas) -> None:
    """Where to cut: short lines outside the cards, crosses where four of them meet."""
    canvas.setStrokeGray(_LIGHT)
    canvas.setLineWidth(0.4)
    columns = [_LEFT + column * _WIDTH for column in range(_COLUMNS + 1)]
    rows = [_BOTTOM + row * _HEIGHT for row in range(_ROWS + 1)]
    near, far, arm = 1.5 * mm, 6 * mm, 1.5 * mm
    lines = [
        (x, y, x, y + sign * (far - near))
        for x in columns
        for y, sign in ((rows[0] - near, -1), (rows[-1] + near, 1))
    ]
    lines += [
        (x, y, x + sign * (far - near), y)
        for y in rows
        for x, sign in ((columns[0] - near, -1), (columns[-1] + near, 1))
    ]
    for x in columns[1:-1]:
        for y in rows[1:-1]:
            lines += [(x - arm, y, x + arm, y), (x, y - arm, x, y + arm)]
    canvas.lines(lines)
