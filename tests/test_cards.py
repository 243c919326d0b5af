"""Access cards: pages are drawn by PDFium, and read as a phone and as a person read them."""

from __future__ import annotations

import re
import resource
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
import zxingcpp
from PIL import ImageDraw
from PIL.Image import Image, new

from pystream.acl.cards import MOST_CARDS, Card, cards, qr_svg
from pystream.acl.passwords import canonical, derive, generate
from pystream.errors import InvalidValue, Said
from pystream.server.office import printing

URL = "https://live.example.org/kongress/herz-2031/"
# A page in points, and the cards' places on it: 95 x 55 mm, two columns, five rows.
WIDTH, HEIGHT = 595.28, 841.89
CARD_WIDTH, CARD_HEIGHT = 95 / 25.4 * 72, 55 / 25.4 * 72
LEFT, TOP = (WIDTH - 2 * CARD_WIDTH) / 2, (HEIGHT - 5 * CARD_HEIGHT) / 2

QR = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)

pytestmark = pytest.mark.slow


def printed(*sheet: Card, locale: str = "de", timezone: str = "Europe/Berlin") -> bytes:
    return cards(sheet, locale=locale, timezone=timezone)


def card(**changes: object) -> Card:
    values: dict[str, object] = {
        "url": URL,
        "password": derive(bytes(16), "1"),
        "title": "Herz 2031",
    }
    return Card(**values | changes)  # type: ignore[arg-type]


def pictures(pdf: bytes, dots_an_inch: int = 300) -> list[Image]:
    return [page.render(scale=dots_an_inch / 72).to_pil() for page in pypdfium2.PdfDocument(pdf)]


def place_of(number: int) -> tuple[float, float]:
    """The upper left corner of a card on its page, in points from the page's own."""
    row, column = divmod(number % 10, 2)
    return LEFT + column * CARD_WIDTH, TOP + row * CARD_HEIGHT


def codes(pdf: bytes) -> list[str]:
    """What a reader finds in the QR code of each card, and nothing else on the pages."""
    found = []
    for picture in pictures(pdf):
        points = 72 / 300
        on_page = {}
        for code in zxingcpp.read_barcodes(picture, formats=QR):
            corners = code.position
            # Neither turned nor mirrored, which not every reader forgives.
            assert corners.top_left.x < corners.top_right.x
            assert corners.top_left.y < corners.bottom_left.y
            x, y = code.position.top_left.x * points, code.position.top_left.y * points
            on_page[int((y - TOP) / CARD_HEIGHT), int((x - LEFT) / CARD_WIDTH)] = code.text
        found += [on_page[place] for place in sorted(on_page)]
    return found


def text(pdf: bytes, number: int = 0) -> str:
    """The text of one card, in lines as they are drawn."""
    left, top = place_of(number)
    page = pypdfium2.PdfDocument(pdf)[number // 10].get_textpage()
    found: str = page.get_text_bounded(
        left, HEIGHT - top - CARD_HEIGHT, left + CARD_WIDTH, HEIGHT - top
    )
    # PDFium joins what a hyphen at a line's end divides, and marks that.
    return found.replace("\ufffe", "-").replace("\x02", "-")


def flat(found: str) -> str:
    return "".join(found.split())


def test_the_code_is_the_address_and_the_password_as_a_fragment() -> None:
    sheet = [card(password=generate()) for _ in range(13)]
    assert codes(printed(*sheet)) == [f"{URL}#{each.password}" for each in sheet]


@pytest.mark.parametrize(
    ("password", "fragment"),
    [
        ("0012345", "0012345"),
        ("a b", "a%20b"),
        ("a#b?c%d+e&f=g/h", "a%23b%3Fc%25d%2Be%26f%3Dg%2Fh"),
        ("Äß", "%C3%84%C3%9F"),
        ("A.b_c-d~e", "A.b_c-d~e"),
        ("<'\"\\>", "%3C%27%22%5C%3E"),
    ],
)
def test_a_fragment_is_what_every_script_reads_alike(password: str, fragment: str) -> None:
    assert codes(printed(card(password=password))) == [f"{URL}#{fragment}"]


def test_a_card_of_an_access_for_tests_says_so() -> None:
    pdf = printed(card(), card(test=True), card(test=True, label="Tisch 12"))
    assert "Testzugang" not in text(pdf)
    assert "Testzugang\r" in text(pdf, 1) and "Testzugang · Tisch 12\r" in text(pdf, 2)
    assert "Test access" in text(printed(card(test=True, label=LONG), locale="en"))


def test_codes_of_all_lengths_can_be_read() -> None:
    sheet = [
        card(url=f"https://a.de/{'p' * (length // 2)}", password="x" * length)
        for length in range(1, 128, 9)
    ]
    assert codes(printed(*sheet)) == [f"{each.url}#{each.password}" for each in sheet]


def test_a_card_says_where_to_go_and_what_to_type() -> None:
    password = derive(bytes(16), "1")
    until = round(datetime(2031, 5, 31, 18, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    pdf = printed(
        card(),
        card(title="Ärztinnen & Übergrößen", label="Tisch 12, Ğülşen Łoś", valid_until=until),
    )
    one, other = text(pdf), text(pdf, 1)
    for found in (one, other):
        assert "Adresse öffnen" in found and "live.example.org/kongress/herz-2031/" in found
        assert "Passwort eingeben" in found and password in flat(found)
        assert "oder hier scannen" in found
    assert "Herz 2031" in one and "Gültig" not in one
    assert "Ärztinnen & Übergrößen" in other and "Tisch 12, Ğülşen Łoś" in other
    assert "Gültig bis 31.05.2031, 18:00 Uhr (Europe/Berlin)" in other
    english = text(printed(card(valid_until=until), locale="en", timezone="America/New_York"))
    assert "Open this address" in english and "Enter the password" in english
    assert "Valid until 31 May 2031, 12:00 (America/New York)" in english


def test_midnight_is_the_end_of_the_day_before() -> None:
    midnight = round(datetime(2031, 6, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    assert "Gültig bis einschließlich 31.05.2031" in text(printed(card(valid_until=midnight)))
    english = text(printed(card(valid_until=midnight), locale="en"))
    assert "Valid through 31 May 2031" in english
    elsewhere = text(printed(card(valid_until=midnight), timezone="UTC"))
    assert "Gültig bis 31.05.2031, 22:00 Uhr (UTC)" in elsewhere


@pytest.mark.parametrize(
    ("password", "shown"),
    [
        ("0012345678", "0012 3456 78"),
        ("001234", "001234"),
        ("Secure-ID 7", "Secure-ID 7"),
        ("abcdefgh_1", "abcdefgh_1"),
    ],
)
def test_a_password_is_in_groups(password: str, shown: str) -> None:
    assert shown in text(printed(card(password=password))).splitlines()
    assert canonical(shown) == canonical(password)


LONG = "Übergrößenträger und Straßenverkehrsmedizin im Überblick für Ärztinnen und Ärzte, Teil 3: "


@pytest.mark.parametrize(
    "changes",
    [
        {"title": (LONG * 3)[:199].rstrip()},
        {"title": "W" * 200, "label": "W" * 200},
        {"title": "", "label": ""},
        {"title": "g" * 90, "label": LONG, "password": "W" * 128, "valid_until": 1_936_699_200},
        {"password": ("aB3_" * 32)},
        {"password": ("abcdefghijklmnopqrst-" * 6)},
        {"password": "Ä" * 20},
        {
            "url": "https://video.universitaetsklinikum-musterstadt.example.org/fortbildung/kardio/kongress-2031/"
        },
        {"url": "https://" + "w" * 90 + ".example/"},
        {"label": "Tisch 12", "title": LONG, "valid_until": 1_936_699_261},
    ],
    ids=range(10),
)
def test_everything_fits_on_its_card(changes: dict[str, object]) -> None:
    """Neither text nor code leaves the card by less than 3 mm, and neither covers the other."""
    crowded = card(**changes)
    pdf = printed(*[crowded] * 10)
    assert codes(pdf) == codes(printed(crowded)) * 10
    page = pypdfium2.PdfDocument(pdf)[0]
    letters = page.get_textpage()
    margin = 3 / 25.4 * 72
    boxes = [letters.get_charbox(at) for at in range(letters.count_chars())]
    drawn = [box for box in boxes if box[2] > box[0] and box[3] > TOP]
    lines: dict[int, list[tuple[float, float, float, float]]] = {}
    for left, bottom, right, top in drawn:
        column, row = (left - LEFT) // CARD_WIDTH, (HEIGHT - top - TOP) // CARD_HEIGHT
        x, y = LEFT + column * CARD_WIDTH, TOP + row * CARD_HEIGHT
        assert left >= x + margin and right <= x + CARD_WIDTH - margin
        assert HEIGHT - top >= y + margin and HEIGHT - bottom <= y + CARD_HEIGHT - margin
        # The code is 27 mm wide, 5 mm from the right, and reaches from 22 points on upwards.
        code = x + CARD_WIDTH - 32 / 25.4 * 72
        if right > code - 6:
            above = HEIGHT - bottom < y + CARD_HEIGHT - 22 - 27 / 25.4 * 72
            assert above or HEIGHT - top > y + CARD_HEIGHT - 22
        lines.setdefault(round(row), []).append((left, bottom, right, top))
    assert set(lines) == set(range(5))
    if "password" in changes:
        assert flat(str(changes["password"])) in flat(text(pdf))
    if len(str(changes.get("title"))) == 199:
        assert flat(str(changes["title"])) in flat(text(pdf))


def overlaps(boxes: Sequence[tuple[float, float, float, float]]) -> bool:
    """Whether a letter covers much of another one's box."""
    for at, (left, bottom, right, top) in enumerate(boxes):
        for other in boxes[at + 1 :]:
            wide = min(right, other[2]) - max(left, other[0])
            high = min(top, other[3]) - max(bottom, other[1])
            if wide > 1 and high > 1:
                return True
    return False


def test_no_line_runs_into_another() -> None:
    fullest = card(
        title=LONG * 2,
        label=LONG,
        url="https://video.universitaetsklinikum-musterstadt.example.org/fortbildung/kardio/kongress-2031/",
        password="aB3_" * 32,
        valid_until=1_936_699_261,
    )
    letters = pypdfium2.PdfDocument(printed(fullest))[0].get_textpage()
    boxes = [letters.get_charbox(at) for at in range(letters.count_chars())]
    assert len(boxes) > 400
    assert not overlaps([box for box in boxes if box[2] > box[0]])


def test_the_same_cards_are_the_same_bytes() -> None:
    sheet = [card(password=derive(bytes(16), str(n)), valid_until=1_936_699_200) for n in range(11)]
    pdf = printed(*sheet)
    assert printed(*sheet) == pdf
    assert printed(*sheet[1:]) != pdf
    # A file tells neither who made it nor when nor where.
    told = pypdfium2.PdfDocument(pdf).get_metadata_dict()
    assert told["Title"] == "Zugangskarten"
    assert told["Producer"] == told["Creator"] == "pystream"
    assert not told["Author"]
    assert "2000" in told["CreationDate"]


def test_pages_are_a4_and_have_marks_to_cut_along() -> None:
    document = pypdfium2.PdfDocument(printed(*[card()] * 21))
    assert len(document) == 3
    for number, page in enumerate(document):
        assert page.get_size() == pytest.approx((WIDTH, HEIGHT), abs=0.1)
        picture = page.render(scale=4).to_pil().convert("L")
        for row in range(6):
            y = round((TOP + row * CARD_HEIGHT) * 4)
            for x in (LEFT - 10, WIDTH - LEFT + 10):
                spot = picture.crop((round(x * 4), y - 3, round(x * 4) + 1, y + 4))
                assert spot.getextrema()[0] < 220
        assert f"Seite {number + 1} von 3" in page.get_textpage().get_text_range()


def test_links_lead_where_the_card_says() -> None:
    pdf = printed(card(password="0012345"))
    assert pdf.count(b"/URI (") == 2
    assert f"/URI ({URL})".encode() in pdf and f"/URI ({URL}#0012345)".encode() in pdf


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "ftp://a.de/"}, "url: an address is wanted"),
        ({"url": "https://a.de/#x"}, "url: an address is wanted"),
        ({"url": "https://ä.de/"}, "url: an address is wanted"),
        ({"url": "https://a.de/a b"}, "url: an address is wanted"),
        ({"url": "https://a.de/" + "x" * 300}, "url: it is too long for a card"),
        (
            {"password": "\u00e4" * 128, "url": "https://a.de/"},
            "card 2: url: it is too long for a QR",
        ),
        ({"password": " - "}, "card 2: there is no password"),
        ({"password": "x" * 129}, "card 2: a password has at most 128"),
        ({"password": "田中"}, "card 2: password: it has a character that"),
        ({"title": "x" * 201}, "card 2: title: at most 200"),
        ({"title": "a\nb"}, "card 2: title: at most 200"),
        ({"label": "a\x00"}, "card 2: label: at most 200"),
    ],
)
def test_what_cannot_be_printed(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        printed(card(), card(**changes))
    (problem,) = caught.value.problems
    assert problem.startswith(said)
    assert str(changes.get("password", "???")) not in problem


def test_all_that_cannot_be_printed_is_said() -> None:
    with pytest.raises(InvalidValue) as caught:
        printed(card(title="\n"), card(), card(url="x"))
    # An address is that of all cards.
    assert [problem[:7] for problem in caught.value.problems] == ["url: an", "card 1:"]
    with pytest.raises(InvalidValue) as caught:
        printed(*[card(url="x")] * 3, card(url="y"), card())
    assert len(caught.value.problems) == 2
    for sheet in ([], [card()] * (MOST_CARDS + 1)):
        with pytest.raises(InvalidValue, match="from 1 to 2,000 cards"):
            printed(*sheet)
    with pytest.raises(InvalidValue, match="'fr' is none of de, en"):
        printed(card(), locale="fr")
    with pytest.raises(InvalidValue, match="'Mars/North' is no time zone"):
        printed(card(), timezone="Mars/North")


def test_a_card_shows_no_password_by_accident() -> None:
    assert "0012345" not in repr(card(password="0012345", label="0012345"))


# What is shown on a page


@pytest.mark.parametrize(
    "text", ["a", "otpauth://totp/acme:eva?secret=" + "A7" * 16 + "&issuer=acme", "ä" * 300]
)
def test_a_code_on_a_page_is_read_by_others(text: str) -> None:
    assert zxingcpp.read_barcodes(drawn(qr_svg(text)), formats=QR)[0].text == text


def drawn(svg: bytes, scale: int = 6) -> Image:
    """The picture: squares of one unit, black, on white."""
    found = re.search(rb'viewBox="0 0 (\d+) \1"', svg)
    assert found and svg.count(b"<path") == 2
    side = int(found[1])
    picture = new("L", (side * scale, side * scale), 255)
    pen = ImageDraw.Draw(picture)
    for x, y in re.findall(rb"M(\d+) (\d+)h1v1h-1z", svg):
        left, top = int(x) * scale, int(y) * scale
        # The quiet zone stays free (ISO/IEC 18004 6.3.8).
        assert 4 <= int(x) < side - 4 and 4 <= int(y) < side - 4
        pen.rectangle((left, top, left + scale - 1, top + scale - 1), 0)
    return picture


# In a process of their own


def test_the_office_has_them_printed_by_another_process() -> None:
    sheet = [
        Card(url="https://tv.example/kurs/", password=generate(), title="Ärzte & Co. \u2013 1")
    ]
    about = {"locale": "de", "timezone": "Europe/Berlin"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert printing.printed(sheet, **about) == cards(sheet, **about)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    cases: list[tuple[list[Card], dict[str, str]]] = [
        ([], about),
        (sheet, {**about, "locale": "fr"}),
        (sheet, {**about, "timezone": "Berlin"}),
        ([*sheet, replace(sheet[0], url="ftp://x")], about),
        ([replace(sheet[0], url=f"{URL}#x")], about),
    ]
    for wrong, more in cases:
        with pytest.raises(InvalidValue) as here:
            cards(wrong, **more)
        with pytest.raises(InvalidValue) as there:
            printing.printed(wrong, **more)
        assert told(there.value) == told(here.value)


def told(error: InvalidValue) -> list[object]:
    """What is said, and what it takes to say it in another language."""
    return [
        (str(each), *((each.key, each.of, dict(each.values)) if isinstance(each, Said) else ()))
        for each in error.problems
    ]
