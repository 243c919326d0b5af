"""QR codes (ISO/IEC 18004) of error correction level M, hundreds in a second.

reportlab's encoder has the tables: what is where in a code of which size. It goes through a code module
by module, though, dozens of times, most of it to weigh the eight masks against each other. Here a code is
one number with a bit for each module, row by row. What codes of a size have in common is asked of
reportlab once, each mask already laid over it, so that a code is one XOR of that and its data; and what
the weighing looks for (7.8.3) is found in all places at once, by shifts: of one place for the next
column, of a row for the next row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, zip_longest
from operator import itemgetter
from typing import Any, Final

from reportlab.graphics.barcode.qrencoder import (
    EXP_TABLE,
    LOG_TABLE,
    QRCode,
    QRErrorCorrectLevel,
    QRRSBlock,
    QRUtil,
)

_LEVEL: Final = QRErrorCorrectLevel.M
_MASKS: Final = 8
# What readers may take for a finder (7.8.3.1, feature 3), with the light before or after it.
_LIKE_FINDERS: Final = ("10111010000", "00001011101")
_PADDING: Final = ("11101100", "00010001")


def rows(*texts: str) -> list[str]:
    """The rows of a code, 1 where it is dark. Each text is a segment of its own: digits, or capitals and
    digits, take less room among themselves. Raises `ValueError` for what no code has room for."""
    encoder = QRCode(None, _LEVEL)
    for text in texts:
        encoder.addData(text)
    version = encoder.calculate_version()
    frame = _frame(version)
    data = frame.placed(_codewords(encoder, version))
    best = min((base ^ data for base in frame.masked), key=frame.penalty)
    size = frame.size
    whole = f"{best:0{size * size}b}"[::-1]
    return [whole[at : at + size] for at in range(0, size * size, size)]


# What all codes of a version have in common


@dataclass(frozen=True, slots=True)
class _Frame:
    """`masked`: codes without data, under each mask. `arranged` has the bits of the codewords, and a 0
    behind them, in the order of the modules, the last one first."""

    size: int
    masked: Sequence[int]
    arranged: Callable[[str], Sequence[str]] = field(repr=False)

    def placed(self, codewords: bytes) -> int:
        bits = f"{int.from_bytes(codewords):0{8 * len(codewords)}b}0"
        return int("".join(self.arranged(bits)), 2)

    def penalty(self, code: int) -> int:
        """7.8.3.1: the less, the better readers cope with it."""
        size = self.size
        lost, same = 0, list[int]()
        for step in (1, size):
            alike = ~(code ^ code >> step) & self._that_have_a_next(step, 1)
            same.append(alike)
            # Five in a row are four that are like the next.
            run = alike & alike >> step
            run &= run >> 2 * step
            begins = run & ~(run << step)
            lost += run.bit_count() + 2 * begins.bit_count()
            lost += 40 * sum(
                self._found(code, step, pattern).bit_count() for pattern in _LIKE_FINDERS
            )
        across, down = same
        lost += 3 * (across & down & across >> size).bit_count()
        share = 100 * code.bit_count() // (size * size)
        return lost + 10 * (abs(share - 50) // 5)

    def _found(self, code: int, step: int, pattern: str) -> int:
        found = self._that_have_a_next(step, len(pattern) - 1)
        for at, module in enumerate(pattern):
            found &= (code if module == "1" else ~code) >> at * step
        return found

    def _that_have_a_next(self, step: int, count: int) -> int:
        return _with_room(self.size, step, count)


@cache
def _with_room(size: int, step: int, count: int) -> int:
    """All modules behind which there are so many more, in their row or their column."""
    if step > 1:
        return (1 << size * (size - count)) - 1
    row = (1 << size - count) - 1
    return sum(row << size * number for number in range(size))


@cache
def _frame(version: int) -> _Frame:
    masked = []
    for mask in range(_MASKS):
        encoder = QRCode(version, _LEVEL)
        encoder.dataCache = ()
        encoder.makeImpl(False, mask)
        cells = "".join("01"[dark] for row in encoder.modules for dark in row)
        masked.append(int(cells[::-1], 2))
    size = encoder.moduleCount
    places = {row * size + column: at for at, (column, row) in enumerate(encoder.dataPosIterator())}
    count = 8 * sum(block.totalCount for block in QRRSBlock.getRSBlocks(version, _LEVEL))
    # What is left over of the places stays 0, as what has no data at all.
    order = [min(places.get(at, count), count) for at in reversed(range(size * size))]
    return _Frame(size, masked, itemgetter(*order))


# The codewords


class _Bits:
    """What segments write themselves into."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def put(self, value: int, length: int) -> None:
        self._pieces.append(f"{value:0{length}b}")

    def padded(self, length: int) -> bytes:
        """As bytes (7.4.9, 7.4.10). Raises `ValueError` where there are more."""
        text = "".join(self._pieces)
        if len(text) > 8 * length:
            raise ValueError("the text is too long for a QR code")
        text = text[: 8 * length] + "0000"[: 8 * length - len(text)]
        text += "0" * (-len(text) % 8)
        missing = length - len(text) // 8
        text += "".join(_PADDING[at % 2] for at in range(missing))
        return int(text, 2).to_bytes(length)


def _codewords(encoder: Any, version: int) -> bytes:
    """Data and error correction, interleaved (7.6)."""
    blocks = QRRSBlock.getRSBlocks(version, _LEVEL)
    bits = _Bits()
    for segment in encoder.dataList:
        segment.write(bits, version)
    whole = bits.padded(sum(block.dataCount for block in blocks))
    data, correction, at = [], [], 0
    for block in blocks:
        some = whole[at : at + block.dataCount]
        at += block.dataCount
        data.append(some)
        correction.append(_remainder(some, block.totalCount - block.dataCount))
    return bytes(chain(_interleaved(data), _interleaved(correction)))


def _interleaved(blocks: Sequence[bytes]) -> Iterator[int]:
    for column in zip_longest(*blocks):
        yield from (each for each in column if each is not None)


def _remainder(data: bytes, length: int) -> bytes:
    """Of a division by the generator polynomial of Reed-Solomon (7.5.2)."""
    multiples, top = _multiples(length), 8 * (length - 1)
    rest, low = 0, (1 << top) - 1
    for byte in data:
        rest = (rest & low) << 8 ^ multiples[rest >> top ^ byte]
    return rest.to_bytes(length)


@cache
def _multiples(length: int) -> tuple[int, ...]:
    """The generator polynomial of that degree times each element of GF(256), without its leading term."""
    generator = QRUtil.getErrorCorrectPolynomial(length).num[1:]

    def times(factor: int) -> int:
        product = bytes(
            EXP_TABLE[(LOG_TABLE[factor] + LOG_TABLE[each]) % 255] if factor and each else 0
            for each in generator
        )
        return int.from_bytes(product)

    return tuple(times(factor) for factor in range(256))
