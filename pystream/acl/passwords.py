"""Viewer passwords: how one is made, what may be typed for it, and which ones can be guessed.

Nobody but the customer knows who holds a password. Some passwords are made here, others are a
customer's own opaque ids, and whoever types one does not know which kind it is. So there is one
canonical form for all of them, and two passwords are the same if their canonical forms are.

**What may be typed.** In the canonical form

* case is gone: it is folded as Unicode 3.13 D146 has it (NFKC_Casefold), so full-width letters are
  the plain ones, and it does not matter how an accent is written;
* blanks, hyphens, dashes, the minus sign, the sound mark that a Japanese keyboard has in the
  hyphen's place, and signs that nobody sees (general categories Zs, Pd, Cf) are gone;
* the letter O is the digit 0, and the letters I and L are the digit 1, whatever their case.

Everything else counts, leading zeros among it. Control characters, line ends and characters that
Unicode has not assigned (it may still fold those in some other way) are refused within a password;
around it, blanks and line ends are cut off. A password has at most 128 characters.

Two ids of a customer's may differ only by what is folded: `AB-O1` and `ab0l`. Nobody could tell them
apart on paper either, so a list that has both is refused (`pystream.acl.password_csv`). An id of 22
characters of base64, 128 bits, keeps about 110 of them.

**The written form** of passwords that are made here is 28 characters of Douglas Crockford's base 32,
which lacks I, L, O and U, in groups of four: 26 characters of 5 random bits each, 130 bits, and two
check characters. With the characters' values (their places in the alphabet) as elements of GF(32),
modulo x^5 + x^2 + 1, and as the coefficients of a polynomial, the first one's power the highest, the
28 are a multiple of (x - 1)(x - 2). That is a Reed-Solomon code of distance 3: any two wrong
characters are noticed, so any two that changed places, too; worse ones in 1023 of 1024 cases. It is
worth two characters, since most slips of whoever types from paper are told apart from guesses, on
the page and without asking the server, and count as none of the guesses that are throttled. To check
is to take each of the 28 characters through `_remainder`, which is four lines in any language.

What is of that length and alphabet and does not fit its check is a written form with a slip in it
(`mistyped`), and is no password of anybody: it is refused where passwords are imported.
"""

from __future__ import annotations

import hmac
import math
import re
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final

from pystream.errors import InvalidValue, Said

MOST_CHARACTERS: Final = 128
MOST_LABEL_CHARACTERS: Final = 200
MOST_DEVICES: Final = 100
# Secrets of fewer bytes are no key for HMAC-SHA256 that is worth the name.
LEAST_SECRET: Final = 16

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Of the canonical form's bytes: their values, or what is none.
_NO_VALUE = 255
_VALUES = bytes(
    value if value >= 0 else _NO_VALUE
    for value in map(_ALPHABET.lower().find, map(chr, range(256)))
)
_DATA = 26
_WRITTEN = 28
_GROUP = 4
# Multiplication by x in GF(32), modulo x^5 + x^2 + 1.
_DOUBLE = tuple(value << 1 ^ (0b100101 if value & 16 else 0) for value in range(32))

# Latest time that a date in any zone can be written for.
_LATEST = 250_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSettings:
    """What can be changed about a password.

    `label`: the customer's own note. `valid_from`, `valid_until`: Unix seconds, the second one is
    the first at which it is no longer valid; None: no limit. `max_devices`: how many may play at a
    time; None: as the stream has it. `is_test`: an access for the examining chamber, which is in no
    sum of viewers and no report's total. It takes a place, and what it is sent is traffic.
    """

    label: str = field(default="", repr=False)
    valid_from: int | None = None
    valid_until: int | None = None
    max_devices: int | None = None
    is_test: bool = False


THERE: Final = Said("password-there", "the tenant has this password already")
OVER: Final = Said("over", "that is over; such a password opens nothing", of="valid_until")


def is_over(settings: PasswordSettings, now: int) -> bool:
    """Whether a password of these settings is over before it was ever of use."""
    return settings.valid_until is not None and settings.valid_until <= now


def problems(settings: PasswordSettings) -> tuple[str, ...]:
    """Everything that is wrong, a sentence each; nothing where all is well."""
    return tuple(_of_settings(settings))


def check(settings: PasswordSettings) -> None:
    """Raises `InvalidValue` with all that is wrong."""
    wrong = problems(settings)
    if wrong:
        raise InvalidValue(*wrong)


def _of_settings(settings: PasswordSettings) -> Iterator[str]:
    if len(settings.label) > MOST_LABEL_CHARACTERS or not settings.label.isprintable():
        yield Said(
            "text",
            f"at most {MOST_LABEL_CHARACTERS} characters are wanted, and no line ends",
            of="label",
            most=MOST_LABEL_CHARACTERS,
        )
    begin, end = settings.valid_from, settings.valid_until
    for name, moment in (("valid_from", begin), ("valid_until", end)):
        yield from problems_of_moment(name, moment)
    if begin is not None and end is not None and begin >= end:
        yield Said(
            "never-valid",
            "it is not after valid_from, so the password would never be valid",
            of="valid_until",
        )
    if settings.max_devices is not None and not 1 <= settings.max_devices <= MOST_DEVICES:
        yield Said(
            "range-or-none",
            f"from 1 to {MOST_DEVICES} are wanted, or none",
            of="max_devices",
            least=1,
            most=MOST_DEVICES,
        )


def problems_of_moment(name: str, moment: int | None) -> Iterator[Said]:
    """What is wrong with a time: one that no list could show."""
    if moment is not None and not 0 <= moment <= _LATEST:
        yield Said("time", "a time from 1970 on is wanted, in Unix seconds, or none", of=name)


# Passwords that are made here


def generate() -> str:
    """A new password: 130 random bits in the written form."""
    return _written(secrets.randbits(5 * _DATA))


def derive(secret: bytes, identifier: str) -> str:
    """The opaque id of a customer's identifier, in the written form.

    It is HMAC-SHA256 (RFC 2104) under the customer's own secret, at least 16 bytes, of the
    identifier's UTF-8 (in NFC, without blanks around it), of which the first 130 bits are written.
    The same secret and identifier give the same id for ever, on every machine; without the secret
    nobody finds the id of an identifier or the other way round, however few identifiers there are.

    Raises `InvalidValue` for an identifier without characters, `ValueError` for a short secret.
    """
    if len(secret) < LEAST_SECRET:
        raise ValueError(f"a secret has {LEAST_SECRET} bytes or more")
    text = unicodedata.normalize("NFC", identifier.strip())
    if not text:
        raise InvalidValue("there is no identifier, only blanks")
    digest = hmac.digest(secret, text.encode("utf-8", "surrogatepass"), "sha256")
    return _written(int.from_bytes(digest) >> 256 - 5 * _DATA)


def _written(bits: int) -> str:
    values = [bits >> 5 * place & 31 for place in reversed(range(_DATA))]
    text = "".join(_ALPHABET[value] for value in (*values, *_remainder(values)))
    return _grouped(text)


def _grouped(text: str) -> str:
    return "-".join(text[at : at + _GROUP] for at in range(0, _WRITTEN, _GROUP))


def _remainder(values: Sequence[int]) -> tuple[int, int]:
    """What is left of a polynomial over GF(32), times x^2, after division by (x - 1)(x - 2): the
    check characters' values; zeros for a polynomial that has its check characters already."""
    first = second = 0
    for value in values:
        carry = value ^ first
        # (x - 1)(x - 2) is x^2 + 3x + 2: the sign is gone, and 1 + 2 is 3, where two is none.
        first, second = second ^ carry ^ _DOUBLE[carry], _DOUBLE[carry]
    return first, second


# What is typed


def canonical(text: str) -> str:
    """The one form of all that may be typed for a password, 1 to 128 characters; see above.

    Raises `InvalidValue` where no password can be typed so. The form of a form is itself.
    """
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise InvalidValue(_too_long())
    plain = text.isascii() and text.isprintable()
    form = text.translate(_ASCII) if plain else _folded(text)
    if not form:
        raise InvalidValue(
            Said("password-none", "there is no password, only blanks or hyphens at most")
        )
    if len(form) > MOST_CHARACTERS:
        raise InvalidValue(_too_long())
    return form


def _too_long() -> Said:
    return Said(
        "password-long",
        f"a password has at most {MOST_CHARACTERS} characters",
        most=MOST_CHARACTERS,
    )


def importable(text: str) -> str:
    """The canonical form of a password that a customer brings. Raises `InvalidValue` where it cannot
    be one, as `canonical` does, is a written form with a slip in it, or what a spreadsheet has left of
    a long number: several come out as the same then, and none as it was."""
    form = canonical(text)
    if _ROUNDED.fullmatch(unicodedata.normalize("NFKC", text).strip()):
        raise InvalidValue(
            Said(
                "password-rounded",
                "the password is a number that a spreadsheet has rounded; the column has to be text"
                " there before the numbers come into it",
            )
        )
    if mistyped(form):
        raise InvalidValue(
            Said(
                "password-mistyped",
                "the password looks like one that was made here, and has a wrong character in it",
            )
        )
    return form


def mistyped(form: str) -> bool:
    """Whether a canonical form is that of the written form with a slip in it: no password."""
    values = _values_of(form)
    return values is not None and _remainder(values) != (0, 0)


def as_written(text: str) -> str | None:
    """The written form of what was typed for one that is made here; None where it is none."""
    try:
        form = canonical(text)
    except InvalidValue:
        return None
    return _grouped(form.upper()) if is_written(form) else None


def is_written(form: str) -> bool:
    values = _values_of(form)
    return values is not None and _remainder(values) == (0, 0)


def is_beyond_guessing(form: str) -> bool:
    """Whether it is of the written form and, as far as it shows, of its 130 bits. A customer's own id may
    happen to have that form, as 28 zeros do, or be made to: what is left of it once its padding is gone
    has to be what nobody tries all of."""
    return (
        is_written(form)
        and not form.isdecimal()
        and not _repeats(form)
        and _conceivable_bits(_unpadded(form)) >= _LEAST_BITS
    )


def _values_of(form: str) -> bytes | None:
    if len(form) != _WRITTEN or not form.isascii():
        return None
    values = form.encode().translate(_VALUES)
    return None if _NO_VALUE in values else values


_LOOK_ALIKES = {"o": "0", "i": "1", "l": "1"}
_ASCII: dict[int, str | None] = {
    **{ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{
        ord(case(letter)): it
        for letter, it in _LOOK_ALIKES.items()
        for case in (str.lower, str.upper)
    },
    ord(" "): None,
    ord("-"): None,
}
_GONE = frozenset(("Zs", "Pd", "Cf"))
# MINUS SIGN is a symbol by its category, KATAKANA-HIRAGANA PROLONGED SOUND MARK a letter.
_DASHES = frozenset("\u2212\u30fc")
_REFUSED = frozenset(("Cc", "Cn", "Co", "Cs", "Zl", "Zp"))


def _folded(text: str) -> str:
    if any(unicodedata.category(each) in _REFUSED for each in text):
        raise InvalidValue(
            Said(
                "password-characters",
                "a password has no control characters and no line ends in it",
            )
        )
    # Unicode 3.13 D146. One round of folding and composing leaves what a second one changes.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    kept = (
        each for each in text if unicodedata.category(each) not in _GONE and each not in _DASHES
    )
    # What stood on both sides of a hyphen may compose now.
    return unicodedata.normalize("NFKC", "".join(kept)).translate(_ASCII)


# What can be guessed


class Guessable(Enum):
    """Why a password can be guessed. The value is a sentence for people."""

    MAIL = "it is an e-mail address, which others know"
    EFN = (
        "it is a German physician's training number (EFN), which others know; there are few enough"
        " to try them all"
    )
    LANR = "it is a German physician's number (LANR), which is printed on every prescription"
    DATE = "it is a date"
    HERE = (
        "it is so short that strangers find it by trying it here: the server slows them down, and does not"
        " keep them out"
    )
    DIGITS = "it has only digits, and fewer than 20 behind zeros at its front, so all can be tried"
    SHORT = "it is too short: all of its kind can be tried"
    REPEATED = "it repeats a few characters"
    WORDS = "it is made of letters alone, as words and names are"
    SEQUENCE = "it is one of a sequence, so whoever has one knows the next"
    ALIKE = "what tells it from the others of the list is too short: all can be tried"


# As many tries as nobody makes through a network, nor with a stolen index.
_LEAST_BITS = 64
_LEAST_DIGITS = 20
# Up to 8 digits, or 5 letters and digits: of some thousands of tries a day, and hundreds of passwords in a
# list, one finds its door within weeks.
_LEAST_BITS_HERE = 27
_LEAST_BITS_OF_REPEATED = 40
_MAIL = re.compile(r"\S+@\S+\.\S+")
# Profession (80 is a physician), country (ISO 3166), chamber, number, check digit by Luhn's formula.
# The check digit is not asked: it adds nothing that would have to be guessed.
_EFN = re.compile(r"8[0-9](276|040|756)[0-9]{10}")
_LANR = re.compile(r"[0-9]{9}")
_ROUNDED = re.compile(r"[0-9]([.,][0-9]+)?E\+[0-9]+", re.IGNORECASE)
_YEAR, _MONTH, _DAY = r"(19|20)[0-9]{2}", r"(0?[1-9]|1[0-2])", r"(0?[1-9]|[12][0-9]|3[01])"
_DATE = re.compile(
    rf"{_DAY}[./ -]{_MONTH}[./ -]({_YEAR}|[0-9]{{2}})|{_MONTH}/{_DAY}/{_YEAR}"
    rf"|{_YEAR}[./ -]{_MONTH}[./ -]{_DAY}"
    r"|(0[1-9]|[12][0-9]|3[01])(0[1-9]|1[0-2])(19|20)[0-9]{2}"
    r"|(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
)
_KINDS = (
    (re.compile(r"[0-9]*"), 10),
    (re.compile(r"[0-9a-f]*"), 16),
    # Of the letters, three are digits in the canonical form.
    (re.compile(r"[0-9a-z]*"), 33),
    (re.compile(r"[\x21-\x7e]*"), 65),
)
_ANY_KIND = 100


def guessable(text: str) -> Guessable | None:
    """Why a password can be guessed, as far as it shows; None for one that can not, it seems.

    A password that passes may still be somebody's number in a list that others have. Raises
    `InvalidValue` where it is no password.
    """
    form = canonical(text)
    if is_beyond_guessing(form):
        return None
    text = unicodedata.normalize("NFKC", text).strip()
    parts = re.findall(r"[^\W_]+", text)
    together = "".join(parts)
    if _MAIL.fullmatch(text):
        return Guessable.MAIL
    if together.isdecimal():
        return _guessable_digits(text, together)
    if together.isalpha() and all(map(_is_word, parts)):
        return Guessable.WORDS
    bits = _conceivable_bits(_unpadded(form))
    if bits < _LEAST_BITS:
        return Guessable.HERE if bits < _LEAST_BITS_HERE else Guessable.SHORT
    if _repeats(form):
        return Guessable.REPEATED
    return None


def guessable_together(texts: Sequence[str]) -> dict[int, Guessable]:
    """Which passwords of one list can be guessed from the others, by their places in it."""
    found = dict.fromkeys(_with_little_of_their_own(texts), Guessable.ALIKE)
    return found | dict.fromkeys(_in_sequence(texts), Guessable.SEQUENCE)


def _is_word(part: str) -> bool:
    # Random letters, in base64 for one, have both cases in any order.
    return part.islower() or part.isupper() or part.istitle()


def _guessable_digits(text: str, digits: str) -> Guessable | None:
    if _EFN.fullmatch(digits):
        return Guessable.EFN
    if _DATE.fullmatch(text):
        return Guessable.DATE
    if _LANR.fullmatch(digits) and _fits_lanr(digits):
        return Guessable.LANR
    own = len(_unpadded(digits))
    if own < _LEAST_DIGITS:
        return Guessable.HERE if own * math.log2(10) < _LEAST_BITS_HERE else Guessable.DIGITS
    if _repeats(digits):
        return Guessable.REPEATED
    return None


def _fits_lanr(digits: str) -> bool:
    """Six digits, times 4 and 9 by turns, and a seventh make a multiple of ten. Two more name the
    field. (Directive of the KBV on numbers of physicians, section 75(7) SGB V.)"""
    weighted = sum(int(digit) * (4, 9)[at % 2] for at, digit in enumerate(digits[:6]))
    return (weighted + int(digits[6])) % 10 == 0


def _unpadded(form: str) -> str:
    return form.lstrip("0")


def _repeats(form: str) -> bool:
    return len(form) * math.log2(len(set(form))) < _LEAST_BITS_OF_REPEATED


def _conceivable_bits(form: str) -> float:
    """The bits of a password that was picked at random from all of its length and kind."""
    size = next((size for kind, size in _KINDS if kind.fullmatch(form)), _ANY_KIND)
    return len(form) * math.log2(size)


# Lists of random ids begin alike with a character or two, if at all.
_LEAST_COMMON = 3
_NUMBER = re.compile(r"[0-9]+")
# Numbers with a check digit behind them are about ten apart, and some will be missing.
_NEAR = 100


def _with_little_of_their_own(texts: Sequence[str]) -> Iterator[int]:
    forms = [canonical(text) for text in texts]
    if len(forms) < 2:
        return
    begin = _common(min(forms), max(forms))
    backward = [form[begin:][::-1] for form in forms]
    end = _common(min(backward), max(backward))
    if begin + end < _LEAST_COMMON:
        return
    for place, rest in enumerate(backward):
        if _conceivable_bits(rest[end:]) < _LEAST_BITS:
            yield place


def _common(first: str, last: str) -> int:
    """How many characters all of a sorted list begin with, by its first and its last one."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(last)))


def _in_sequence(texts: Sequence[str]) -> Iterator[int]:
    """Places of passwords that are the same as another but for one number, which is near."""
    alike: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for place, text in enumerate(texts):
        numbers = list(_NUMBER.finditer(text))
        # The first and the last one; one alone is both.
        for number in numbers[:1] + numbers[1:][-1:]:
            rest = (text[: number.start()], text[number.end() :])
            alike[rest].append((int(number[0]), place))
    for counted in alike.values():
        counted.sort()
        for (one, place), (next_one, next_place) in pairwise(counted):
            if 0 < next_one - one <= _NEAR:
                yield place
                yield next_place
