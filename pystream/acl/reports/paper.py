"""The list that goes to the chamber: A4, a line and a bar of time for each password.

The bar spans the programme, day beside day: pale is the programme, dark is when the password was online in
it, grey when it was so in a break. Of a stream it spans what anybody has watched, and all of it is dark.
A sealed report is in the file, too, as it was signed. Nothing in it depends on when, where or by whom it was
printed: the same report is the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from fractions import Fraction
from io import BytesIO
from itertools import accumulate
from typing import Any, Final

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFStream, PDFString
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from pystream.acl.reports import Line, Report
from pystream.acl.reports.grid import Kind, facts, printed, totals
from pystream.acl.reports.timeline import timeline
from pystream.acl.reports.words import WORDS, civil, clock, definitions, left_out, notes
from pystream.acl.typeface import LETTERS, TEXT, cut, flowed, fonts, printable
from pystream.attendance.programmes import zone

_WIDTH, _HEIGHT = A4
_LEFT: Final[float] = 15 * mm
_RIGHT: Final[float] = _WIDTH - 15 * mm
_TOP: Final[float] = _HEIGHT - 14 * mm
_BOTTOM: Final[float] = 16 * mm
_BLACK, _GREY, _PALE, _RULE, _DARK, _BETWEEN = 0.0, 0.38, 0.87, 0.75, 0.2, 0.66
_LINE = 21.0
# Of a password, as many letters as fit beside the times stand in a line, and the others below it.
_NAME, _NAME_LETTERS, _NAME_LINE = 8.0, 64, 9.5
# What stands beside a password, and goes on below it where that is not enough.
_BESIDE, _FURTHER = 6.5, 8.0
_BAR_LEFT: Final[float] = _LEFT
_BAR_RIGHT: Final[float] = _LEFT + 112 * mm
_BAR = 5.0
_DAY_GAP = 4.0
_SMALL, _LABEL_GAP = 6.0, 4.0
# From the right edge: points, certifiable, online.
_WORTH, _CERTIFIABLE, _ONLINE = _RIGHT, _RIGHT - 17 * mm, _RIGHT - 42 * mm
_HOUR_MS: Final = 3_600_000


def pdf(report: Report, locale: str) -> bytes:
    """The list of a report."""
    fonts()
    file = BytesIO()
    canvas = Canvas(file, pagesize=A4, pageCompression=1, invariant=1, lang=locale)
    words = WORDS[locale]
    canvas.setTitle(f"{words['list']}: {report.about['title']}")
    canvas.setAuthor("")
    canvas.setSubject("")
    canvas.setCreator("pystream")
    canvas.setProducer("pystream")
    # Made when the report was, so that the same report is the same bytes.
    made = datetime.fromisoformat(report.about["made_at"]).astimezone(UTC)
    canvas.setDateFormatter(lambda *_: f"D:{made:%Y%m%d%H%M%S}+00'00'")
    _List(canvas, report, locale).draw()
    if report.document is not None:
        _attach(canvas, f"{report.about['name']}-{report.version}.json", report.document)
    canvas.save()
    return file.getvalue()


def _attach(canvas: Canvas, name: str, data: bytes) -> None:
    """Embeds a file (ISO 32000-1 7.11.4): what was signed goes along with what is read of it."""
    document = canvas._doc
    # PDFName leaves a solidus as it is, which would begin another name (7.3.5).
    about = {"Type": PDFName("EmbeddedFile"), "Subtype": "/application#2Fjson"}
    stream = PDFStream(PDFDictionary(about | {"Params": PDFDictionary({"Size": len(data)})}), data)
    file = {
        "Type": PDFName("Filespec"),
        "F": PDFString(name),
        "UF": PDFString(name),
        "EF": PDFDictionary({"F": document.Reference(stream)}),
    }
    listed = [PDFString(name), document.Reference(PDFDictionary(file))]
    files = PDFDictionary({"Names": PDFArray(listed)})
    document.Catalog.Names = PDFDictionary({"EmbeddedFiles": files})


class _List:
    def __init__(self, canvas: Canvas, report: Report, locale: str) -> None:
        self._canvas = canvas
        self._report = report
        self._locale = locale
        self._words = WORDS[locale]
        self._lines = report.lines()
        self._axis = _Axis(report, self._lines)
        self._page = 0

    def draw(self) -> None:
        """All pages, counted first, since each says how many there are."""
        pages = list(self._pages())
        for number, (lines, has_end) in enumerate(pages, 1):
            top = self._head(number == 1)
            if lines:
                top = self._titles(top)
            for line in lines:
                self._line(line, top)
                top -= self._height(line)
            if has_end:
                self._end(top)
            said = self._words["page"].format(number, len(pages))
            self._text(said, _RIGHT, 9 * mm, size=7, grey=_GREY, side="right")
            self._text(self._foot(), _LEFT, 9 * mm, size=7, grey=_GREY)
            self._canvas.showPage()

    def _pages(self) -> list[tuple[list[Line], bool]]:
        """The lines of each page, and whether it ends with what they mean."""
        found: list[tuple[list[Line], bool]] = []
        left = list(self._lines)
        end_room = self._end_height()
        while True:
            first = not found
            room = _TOP - self._head_height(first) - 26 - _BOTTOM
            bottoms = list(accumulate(map(self._height, left)))
            if (bottoms[-1] if bottoms else 0.0) + end_room <= room:
                return [*found, (left, True)]
            # What they mean is on a page with one line at least, if there is any.
            fit = max(1, bisect_right(bottoms, room))
            take = min(fit, len(left) - 1) if len(left) <= fit else fit
            found.append((left[:take], False))
            left = left[take:]

    # The head of a page

    def _facts(self, first: bool) -> list[tuple[str, list[str]]]:
        """By name, each in lines; pages behind the first have those that say what it is."""
        said = facts(self._report, self._locale)[1:]
        if not first:
            keep = ("vnr", "zone", "version", "root")
            said = [each for each in said if each[0] in {self._words[name] for name in keep}]
        width = _RIGHT - _LEFT - 38 * mm
        return [
            (name, list(cut(printable(value, TEXT), width, ((8, 4), (7, 8))).lines))
            for name, value in said
        ]

    def _head_height(self, first: bool) -> float:
        height = 30.0 if first else 22.0
        return height + sum(10.5 * len(lines) for _, lines in self._facts(first)) + 8

    def _head(self, first: bool) -> float:
        """Draws it; returns the height below."""
        title = printable(self._report.about["title"], TEXT)
        size = 15 if first else 10
        self._text(self._words["list"], _LEFT, _TOP - 4, size=8, grey=_GREY)
        block = cut(title, _RIGHT - _LEFT, ((size, 1), (size - 3, 1)))
        self._text(block.lines[0], _LEFT, _TOP - (22 if first else 16), size=block.size)
        top = _TOP - (30 if first else 22)
        for name, lines in self._facts(first):
            self._text(name, _LEFT, top - 8, size=8, grey=_GREY)
            for line in lines:
                self._text(line, _LEFT + 38 * mm, top - 8, size=8)
                top -= 10.5
        return top - 8

    def _titles(self, top: float) -> float:
        """The names of the columns, and the hours above the bars; returns the height below."""
        words, about = self._words, self._report.about
        self._text(words["password"], _LEFT, top - 8, size=7, grey=_GREY)
        self._text(words["online"], _ONLINE, top - 8, size=7, grey=_GREY, side="right")
        said = words["certifiable"]
        self._text(said, _CERTIFIABLE, top - 8, size=7, grey=_GREY, side="right")
        worth = about["policy"]
        if worth is not None:
            name = "certified" if worth["rounding"] == "threshold_pct" else "points"
            self._text(words[name], _WORTH, top - 8, size=7, grey=_GREY, side="right")
        for at, label in self._axis.labels(self._locale):
            self._text(label, at, top - 18, size=_SMALL, grey=_GREY)
        self._rule(top - 21)
        return top - 24

    # A password

    def _height(self, line: Line) -> float:
        names, beside = len(self._name(line)), len(self._beside(line))
        return _LINE + _NAME_LINE * (names - 1) + _FURTHER * (beside - 1)

    def _name(self, line: Line) -> list[str]:
        """As it is printed, in lines."""
        said = line.password if line.password is not None else self._words["erased"]
        name = printable(said, LETTERS)
        begins = range(0, max(1, len(name)), _NAME_LETTERS)
        return [name[begin : begin + _NAME_LETTERS] for begin in begins]

    def _beside(self, line: Line) -> list[str]:
        """What there is to say of a password, in lines: the first is behind its name, others below it."""
        row = line.row
        said = [
            line.label,
            *self._said_by_player(row),
            *notes(row, self._locale, is_test=line.is_test),
            *([] if line.password is not None else [f"#{line.key}"]),
        ]
        if not self._report.is_of_event and row["day"] is not None:
            said.insert(0, civil(datetime.fromisoformat(row["day"]).date(), self._locale))
        text = printable("  ".join(filter(None, said)), TEXT)
        room = _ONLINE - 40 - (_LEFT + _width_of(self._name(line)[-1]))
        return flowed(text, _BESIDE, max(0, room), _RIGHT - _LEFT)

    def _line(self, line: Line, top: float) -> None:
        row, about = line.row, self._report.about
        names, base = self._name(line), top - 8.5
        last = base - _NAME_LINE * (len(names) - 1)
        for n, name in enumerate(names):
            self._text(name, _LEFT, base - n * _NAME_LINE, size=_NAME, font=LETTERS)
        beside = self._beside(line)
        self._text(beside[0], _LEFT + _width_of(names[-1]), last, size=_BESIDE, grey=_GREY)
        for n, further in enumerate(beside[1:], 1):
            self._text(further, _LEFT, last - n * _FURTHER, size=_BESIDE, grey=_GREY)
        self._text(clock(line.online_ms), _ONLINE, base, size=8, side="right")
        self._text(clock(row["certifiable_ms"]), _CERTIFIABLE, base, size=8, side="right")
        worth = about["policy"]
        if worth is not None:
            said = self._words["yes" if line.certified else "no"]
            if worth["rounding"] != "threshold_pct":
                point = "," if self._locale == "de" else "."
                said = printed(Fraction(line.points or "0"), Kind.DECIMAL, point)
            self._text(said, _WORTH, base, size=8, side="right")
        bottom = top - self._height(line)
        self._bar(line, bottom + 4)
        self._rule(bottom + 2, 0.25)

    def _said_by_player(self, row: dict[str, Any]) -> list[str]:
        """How long it played by the player's word, and what that and all else is proven by."""
        if not self._report.options.verified:
            return []
        words = self._words
        said = f"{words['verified']} {clock(row['verified_ms'])}"
        return [said, f"{words['evidence']}: {words[row['evidence_grade']]}"]

    def _bar(self, line: Line, bottom: float) -> None:
        axis, canvas = self._axis, self._canvas
        for begin, end in axis.spans:
            canvas.setStrokeGray(_PALE)
            canvas.setLineWidth(0.5)
            canvas.line(axis.x(begin), bottom, axis.x(end), bottom)
        watched = [(begin, end) for begin, end in line.spans]
        inside = axis.line.inside(watched)
        for grey, spans in ((_PALE, axis.line.programme), (_BETWEEN, watched), (_DARK, inside)):
            canvas.setFillGray(grey)
            for begin, end in spans:
                for left, right in axis.parts(begin, end):
                    canvas.rect(left, bottom, max(right - left, 0.4), _BAR, stroke=0, fill=1)

    # The end

    def _meanings(self) -> list[str]:
        said = definitions(self._report.about, self._report.options, self._locale)
        if self._axis.line.programme:
            said.append(self._words["bar_means"])
        gone = left_out(self._report.about, self._locale)
        empty = [] if self._lines else [self._words["no_rows"]]
        found: list[str] = []
        for sentence in (*empty, totals(self._report, self._locale), *gone, *said):
            found += cut(sentence, _RIGHT - _LEFT, ((7, 6),)).lines
        return found

    def _end_height(self) -> float:
        return 12 + 9.5 * len(self._meanings())

    def _end(self, top: float) -> None:
        top -= 12
        for line in self._meanings():
            self._text(line, _LEFT, top, size=7, grey=_GREY)
            top -= 9.5

    def _foot(self) -> str:
        about = self._report.about
        return f"{about['tenant']}/{about['name']}, {about['definition']}"

    # Drawing

    def _text(
        self,
        text: str,
        at: float,
        base: float,
        *,
        size: float,
        grey: float = _BLACK,
        font: str = TEXT,
        side: str = "left",
    ) -> None:
        self._canvas.setFillGray(grey)
        self._canvas.setFont(font, size)
        (self._canvas.drawRightString if side == "right" else self._canvas.drawString)(
            at, base, text
        )

    def _rule(self, at: float, width: float = 0.5) -> None:
        self._canvas.setStrokeGray(_RULE)
        self._canvas.setLineWidth(width)
        self._canvas.line(_LEFT, at, _RIGHT, at)


def _width_of(name: str) -> float:
    """Of letters that are all of one width, and what is kept free behind them."""
    return len(name) * _NAME * 0.6 + 8


class _Axis:
    """Where an instant is on a bar. The days of a programme stand side by side, each as long as it lasts."""

    def __init__(self, report: Report, lines: list[Line]) -> None:
        self._timezone = report.options.timezone
        self.line = timeline(report, lines)
        self.spans = self.line.spans
        room = _BAR_RIGHT - _BAR_LEFT - _DAY_GAP * max(0, len(self.spans) - 1)
        self._scale = room / self.line.length

    def x(self, at: int) -> float:
        left = _BAR_LEFT
        for begin, end in self.spans:
            if at <= end:
                return left + max(0, at - begin) * self._scale
            left += (end - begin) * self._scale + _DAY_GAP
        return left - _DAY_GAP

    def parts(self, begin: int, end: int) -> list[tuple[float, float]]:
        """What is to be seen of a span."""
        return [
            (self._in(first, max(begin, first)), self._in(first, min(end, last)))
            for first, last in self.spans
            if begin < last and end > first
        ]

    def _in(self, first: int, at: int) -> float:
        """Within the span that begins at `first`: where one ends, another may begin."""
        left = _BAR_LEFT
        for begin, end in self.spans:
            if begin == first:
                return left + (at - begin) * self._scale
            left += (end - begin) * self._scale + _DAY_GAP
        raise ValueError("no such span")

    def labels(self, locale: str) -> list[tuple[float, str]]:
        """When each bar begins, and hours in it, as far as there is room."""
        there, found, free = zone(self._timezone), list[tuple[float, str]](), 0.0

        def add(left: float, label: str, end: float) -> None:
            nonlocal free
            right = left + stringWidth(label, TEXT, _SMALL)
            if left >= free and right <= end:
                found.append((left, label))
                free = right + _LABEL_GAP

        for begin, end in self.spans:
            at = datetime.fromtimestamp(begin / 1000, there)
            said = f"{at:%H:%M}"
            if len(self.spans) > 1:
                said = f"{at:%d.%m.} {said}" if locale == "de" else f"{at:%m-%d} {said}"
            last = self._in(begin, end)
            # The day is told, however short the bar is.
            add(self._in(begin, begin), said, _ONLINE)
            for hour in range(begin + -begin % _HOUR_MS, end, _HOUR_MS):
                clock_time = f"{datetime.fromtimestamp(hour / 1000, there):%H:%M}"
                add(self._in(begin, hour), clock_time, last)
        return found
