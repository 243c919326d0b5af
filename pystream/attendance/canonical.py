"""JSON whose every value has one spelling (RFC 8785), and JSON that strangers have written.

What is signed is the one spelling; a document may be written in any other.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from math import isfinite

from pystream.errors import MalformedDocument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a double holds exactly; RFC 8785 has no other integers.
LARGEST = 2**53 - 1
_REPR = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:e([+-][0-9]+))?")


def encode(value: Any) -> bytes:
    """The one spelling of None, booleans, integers, finite doubles, text, lists and dicts of these.

    `ValueError` for what has none.
    """
    try:
        return _encode(value).encode()
    except RecursionError:
        raise ValueError("this is nested too deep") from None


def _encode(value: Any) -> str:
    # Section 3.2.2.2: Python's own escapes, as it writes JSON that is not all ASCII.
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError("an integer is beyond 2^53 - 1")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_encode, value))}]"
    if isinstance(value, dict):
        # Section 3.2.3: in the order of UTF-16 code units.
        is_ascii = all(map(str.isascii, value))
        names = sorted(value, key=None if is_ascii else _units)
        members = (f"{encode_basestring(name)}:{_encode(value[name])}" for name in names)
        return f"{{{','.join(members)}}}"
    raise ValueError(f"{type(value).__name__} is nothing of JSON")


def _units(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """As ECMAScript prints a double (section 7.1.12.1 of it): the digits that Python finds too, the shortest
    that are read as the same double, with the point elsewhere."""
    if not isfinite(value):
        raise ValueError("JSON has no such number")
    found = _REPR.fullmatch(repr(value))
    assert found is not None
    sign, whole, fraction, power = found.groups(default="")
    written = whole + fraction
    digits = written.lstrip("0")
    if not digits.strip("0"):
        return "0"
    # The value is 0.digits times 10 to the n.
    n = len(whole) + int(power or "0") - (len(written) - len(digits))
    digits = digits.rstrip("0")
    k = len(digits)
    if k <= n <= 21:
        return f"{sign}{digits}{'0' * (n - k)}"
    if 0 < n <= 21:
        return f"{sign}{digits[:n]}.{digits[n:]}"
    if -6 < n <= 0:
        return f"{sign}0.{'0' * -n}{digits}"
    mantissa = digits if k == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{n - 1:+}"


def decode(text: bytes) -> Any:
    """A value of JSON as somebody has written it.

    Raises `MalformedDocument` for what is no JSON, and for what two readers may read as two things: names
    twice, numbers that are no doubles, halves of surrogate pairs.
    """
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_double,
            parse_constant=_constant,
        )
        # Halves of surrogate pairs are in no UTF-8.
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise MalformedDocument(f"line {error.lineno}: this is not JSON") from None
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise MalformedDocument(f"line {line}: this is not UTF-8") from None
    except UnicodeEncodeError:
        raise MalformedDocument("a text has half of a surrogate pair") from None
    except RecursionError:
        raise MalformedDocument("this is nested too deep") from None
    except ValueError as error:
        raise MalformedDocument(str(error)) from None
    return value


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) < len(members):
        raise ValueError("a name stands in one object twice")
    return made


def _integer(digits: str) -> int:
    # int() takes its time with long ones.
    value = int(digits[:18])
    if len(digits) > 17 or abs(value) > LARGEST:
        raise ValueError("an integer is beyond 2^53 - 1")
    return value


def _double(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError("a number is beyond all doubles")
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
