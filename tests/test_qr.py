"""QR codes, against reportlab's encoder, which weighs nothing here, and against the rules of ISO/IEC 18004 as
they read, module by module."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from reportlab.graphics.barcode.qrencoder import QRCode, QRErrorCorrectLevel

from pystream.acl import qr

TEXTS = [
    ("1",),
    ("HTTPS://A.DE/",),
    ("https://live.example.org/kongress/#", "9R2K-4QWX-7M1T-0XKD-93TP-11ZB-PV5E"),
    ("https://live.example.org/kongress/#", "0012345678"),
    ("https://live.example.org/kongress/#", "a%20b_c"),
    *((f"https://a.de/{'p' * length}#", "X" * (3 * length)) for length in range(1, 100, 7)),
    ("ä" * 300,),
]


def encoded(texts: Sequence[str], mask: int) -> list[str]:
    """What reportlab makes of it under a mask."""
    code = QRCode(None, QRErrorCorrectLevel.M)
    for text in texts:
        code.addData(text)
    code.version = code.calculate_version()
    code.makeImpl(False, mask)
    return ["".join("01"[dark] for dark in row) for row in code.modules]


def penalty(rows: Sequence[str]) -> int:
    """ISO/IEC 18004 7.8.3.1."""
    lost, size = 0, len(rows)
    for lines in (rows, ["".join(column) for column in zip(*rows, strict=True)]):
        for line in lines:
            lost += sum(len(run[0]) - 2 for run in re.finditer("0{5,}|1{5,}", line))
            for pattern in ("10111010000", "00001011101"):
                lost += 40 * sum(line.startswith(pattern, at) for at in range(size))
    for upper, lower in zip(rows, rows[1:], strict=False):
        for at in range(size - 1):
            block = upper[at : at + 2] + lower[at : at + 2]
            lost += 3 * (block in ("0000", "1111"))
    dark = "".join(rows).count("1")
    return lost + 10 * (abs(100 * dark // size**2 - 50) // 5)


@pytest.mark.parametrize("texts", TEXTS, ids=range(len(TEXTS)))
def test_a_code_is_reportlab_s_under_the_mask_that_costs_least(texts: tuple[str, ...]) -> None:
    masked = [encoded(texts, mask) for mask in range(8)]
    best = min(masked, key=penalty)
    assert qr.rows(*texts) == best


def test_what_no_code_has_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too long for a QR code"):
        qr.rows("ä" * 1200)
