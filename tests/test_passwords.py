"""Viewer passwords: what is made, what may be typed, what can be guessed, and lists of them."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import unicodedata
from dataclasses import replace
from datetime import datetime
from itertools import combinations
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl import password_csv
from pystream.acl.password_csv import (
    COLUMNS,
    ImportedPasswords,
    Row,
    moment,
    read_column,
    read_csv,
    write_csv,
    write_line,
)
from pystream.acl.passwords import (
    OVER,
    Guessable,
    PasswordSettings,
    canonical,
    check,
    derive,
    generate,
    guessable,
    guessable_together,
    importable,
    is_beyond_guessing,
    mistyped,
    problems,
)
from pystream.errors import InvalidValue

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
WRITTEN = re.compile(rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{6}}")
SECRET = bytes(range(32))
NOW = 1_936_699_200


# What is made


def test_a_generated_password_is_130_random_bits_and_their_check() -> None:
    made = [generate() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(WRITTEN.fullmatch(each) for each in made)
    # Each of the 26 characters takes each value: 1000 draws miss one of 32 once in 10^12 passwords.
    for place in range(26):
        assert len({each.replace("-", "")[place] for each in made}) == 32
    assert not any(mistyped(canonical(each)) or guessable(each) for each in made)


def times(one: int, other: int) -> int:
    """Multiplication in GF(32) as at school: shift, add, and reduce by x^5 + x^2 + 1."""
    product = 0
    for bit in range(5):
        product ^= (one << bit) * (other >> bit & 1)
    for bit in range(9, 4, -1):
        if product >> bit & 1:
            product ^= 0b100101 << bit - 5
    return product


def value_at(point: int, values: list[int]) -> int:
    total = 0
    for value in values:
        total = times(total, point) ^ value
    return total


def test_the_check_is_the_code_that_is_documented() -> None:
    for _ in range(50):
        values = [ALPHABET.index(letter) for letter in generate().replace("-", "")]
        assert value_at(1, values) == value_at(2, values) == 0
        values[3] ^= 1
        assert mistyped("".join(ALPHABET[value] for value in values).lower())


def test_one_or_two_wrong_characters_are_noticed() -> None:
    right = canonical(generate())
    for place in range(28):
        for letter in set(ALPHABET.lower()) - {right[place]}:
            assert mistyped(right[:place] + letter + right[place + 1 :])
    for one, other in combinations(range(28), 2):
        swapped = list(right)
        swapped[one], swapped[other] = right[other], right[one]
        assert mistyped("".join(swapped)) == (right[one] != right[other])


@pytest.mark.slow
@given(st.randoms(use_true_random=False), st.sets(st.integers(0, 27), min_size=2, max_size=2))
def test_two_wrong_characters_are_noticed_anywhere(random: Random, places: set[int]) -> None:
    letters = list(canonical(derive(SECRET, "one")))
    for place in places:
        others = sorted(set(ALPHABET.lower()) - {letters[place]})
        letters[place] = random.choice(others)
    assert mistyped("".join(letters))


def test_what_is_not_of_the_written_form_is_not_mistyped() -> None:
    for text in ("0012345", "a" * 27, "a" * 29, "u" * 28, "a" * 27 + "ä"):
        assert not mistyped(canonical(text))
    assert mistyped("a" * 27 + "b")
    with pytest.raises(InvalidValue, match="wrong character"):
        importable("AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAB")
    assert importable(generate().lower()) and importable("00-1") == "001"


# What is derived


def written(bits: str) -> str:
    """Another way to write 26 groups of five bits: by text, and with the check looked for."""
    values = [int(bits[at : at + 5], 2) for at in range(0, 130, 5)]
    (found,) = (
        [*values, first, second]
        for first in range(32)
        for second in range(32)
        if value_at(1, [*values, first, second]) == value_at(2, [*values, first, second]) == 0
    )
    text = "".join(ALPHABET[value] for value in found)
    return "-".join(text[at : at + 4] for at in range(0, 28, 4))


@pytest.mark.needs("openssl")
@pytest.mark.slow
@pytest.mark.parametrize("identifier", ["802760901234567", "Müller, Hans", "0"])
def test_a_derived_password_is_what_openssl_says(identifier: str) -> None:
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{SECRET.hex()}"]
    said = subprocess.run(
        [*command, "-r"], input=identifier.encode(), capture_output=True, check=True
    )
    digest = said.stdout.split()[0].decode()
    assert derive(SECRET, identifier) == written(f"{int(digest, 16):0256b}"[:130])


def test_a_derived_password_never_changes() -> None:
    """printf 802760901234567 | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f"""
    assert derive(SECRET, "802760901234567") == "8D0Z-F9D9-YH04-64MC-ETSE-094K-11W8"


def test_an_identifier_is_the_same_however_its_accents_are_written() -> None:
    assert derive(SECRET, " Mu\u0308ller\n") == derive(SECRET, "Müller")
    different = ["1", "01", "1 ", "10", "a", "A", "1-0"]
    assert len({derive(SECRET, each) for each in different}) == len(different) - 1
    assert derive(SECRET, "1") != derive(bytes(32), "1")


def test_what_nothing_is_derived_from() -> None:
    with pytest.raises(ValueError, match="16 bytes or more"):
        derive(bytes(15), "1")
    with pytest.raises(InvalidValue, match="no identifier"):
        derive(SECRET, " \t")


# What may be typed


@pytest.mark.parametrize(
    ("typed", "form"),
    [
        ("0012345", "0012345"),
        ("  AbC-dEf\r\n", "abcdef"),
        ("OoIiLl", "001111"),
        ("a b\u00a0c\u2009d\u3000e", "abcde"),
        ("a-b\u2010c\u2011d\u2012e\u2013f\u2014g\u2212h\uff0di\u30fcj\ufe63k", "abcdefgh1jk"),
        ("\ufeffa\u200bb\u00adc\u200ed", "abcd"),
        ("\uff21\uff22\uff10\uff2f", "ab00"),
        ("Stra\u00dfe", "strasse"),
        ("\u00c4", "\u00e4"),
        ("A\u0308", "\u00e4"),
        ("a-\u0308", "\u00e4"),
        ("\u00f6", "\u00f6"),
        ("\ufb01x", "f1x"),
        ("a_b.c/d+e=", "a_b.c/d+e="),
        ("x" * 128, "x" * 128),
        ("\u7530\u4e2d", "\u7530\u4e2d"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_one_canonical_form(typed: str, form: str) -> None:
    assert canonical(typed) == form
    assert canonical(form) == form


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "no password"),
        (" - \u2014 \u200b", "no password"),
        ("x" * 129, "at most 128"),
        # One character that is eighteen.
        ("\ufdfa" * 10, "at most 128"),
        ("a\x00b", "no control"),
        ("a\tb", "no control"),
        ("a\nb", "no control"),
        ("a\u2028b", "no control"),
        ("a\x7fb", "no control"),
        ("a\ud800", "no control"),
        ("a\ue000", "no control"),
        ("a\U0003ffff", "no control"),
    ],
)
def test_what_no_password_can_be(typed: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said) as caught:
        canonical(typed)
    assert typed not in str(caught.value) or not typed


@pytest.mark.slow
@given(st.text(max_size=140))
def test_any_text_has_one_form_or_none(text: str) -> None:
    try:
        form = canonical(text)
    except InvalidValue:
        return
    assert 1 <= len(form) <= 128
    assert form.encode()
    assert canonical(form) == form == canonical(f" {form[0]}- {form[1:]}\n")
    assert not re.search(r"[\sA-ZoilOIL-]", form)
    if len(text) <= 120:
        assert canonical(unicodedata.normalize("NFD", text)) == form


@pytest.mark.slow
def test_the_form_of_a_form_is_itself_whatever_the_character() -> None:
    for code in range(0x110000):
        try:
            form = canonical(f"x{chr(code)}y")
        except InvalidValue:
            continue
        assert canonical(form) == form, hex(code)


@pytest.mark.slow
@given(st.integers(), st.randoms(use_true_random=False))
def test_a_password_is_typed_in_many_ways(number: int, random: Random) -> None:
    password = derive(SECRET, str(number))
    alike = {"0": "0oO\uff10", "1": "1iIlL\uff4c"}
    blanks = ["", "", " ", "-", " - ", "\u2013", "\u00a0", "\u200b"]
    typed = ""
    for letter in password.replace("-", ""):
        shapes = alike.get(letter, letter + letter.lower() + chr(ord(letter) + 0xFEE0))
        typed += random.choice(shapes) + random.choice(blanks)
    assert canonical(typed) == canonical(password)
    assert not mistyped(canonical(typed))


# What can be guessed

# 838382202 is the number of an example physician in the KBV's FHIR packages; the chamber 090 and the
# shape of the EFN are in the Bavarian chamber's answers to questions on training points.
GUESSABLE = [
    ("hans.mueller@example.org", Guessable.MAIL),
    ("802760901234567", Guessable.EFN),
    ("80 276 090 123456 7", Guessable.EFN),
    (
        "\uff18\uff10\uff12\uff17\uff16\uff10\uff19\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17",
        Guessable.EFN,
    ),
    ("838382202", Guessable.LANR),
    ("838383202", Guessable.DIGITS),
    ("12.03.1980", Guessable.DATE),
    ("1.3.80", Guessable.DATE),
    ("3/12/1980", Guessable.DATE),
    ("1980-03-12", Guessable.DATE),
    ("12031980", Guessable.DATE),
    ("19800312", Guessable.DATE),
    ("39801312", Guessable.HERE),
    ("398013123", Guessable.DIGITS),
    ("0001", Guessable.HERE),
    ("4711", Guessable.HERE),
    ("a1b2c", Guessable.HERE),
    ("a1x2c3", Guessable.SHORT),
    ("+49 (171) 123-4567", Guessable.DIGITS),
    ("1" * 19, Guessable.DIGITS),
    ("0000000000000000000000012345", Guessable.HERE),
    ("0" * 28, Guessable.HERE),
    ("0000-0000-0000-0000-0000-0000-a1b2", Guessable.HERE),
    ("Hans M\u00fcller", Guessable.WORDS),
    ("Kardiologenkongress", Guessable.WORDS),
    ("M\u00dcLLER-L\u00dcDENSCHEIDT", Guessable.WORDS),
    ("a1b2c3d4e5f60718"[:15], Guessable.SHORT),
    ("ABCD-EFGH-1234", Guessable.SHORT),
    ("pass!word?12", None),
    ("a1" * 16, Guessable.REPEATED),
    ("01" * 16, Guessable.REPEATED),
    ("a1b2c3d4e5f60718", None),
    ("98765432109876543210", None),
    ("QkX9-7fTz_p2LmVw81aBcd", None),
    ("QkXUfTzmpnWmVwGEaBcdeH", None),
    ("f" * 5 + "0123456789abcde", None),
]


@pytest.mark.parametrize(("text", "why"), GUESSABLE)
def test_what_can_be_guessed(text: str, why: Guessable | None) -> None:
    assert guessable(text) is why
    if why is not None:
        assert text not in why.value


def test_the_written_form_alone_is_not_beyond_guessing() -> None:
    """A customer's own numbers that fit the check characters, by chance or on purpose."""
    numbers = [written(f"{number:0130b}") for number in (0, 1, 4711, 2**40)]
    for each in numbers:
        assert not mistyped(canonical(each)) and not is_beyond_guessing(canonical(each))
        assert guessable(each) in (Guessable.HERE, Guessable.SHORT, Guessable.DIGITS)
    for each in ("1" * 28, "0000-0000-0000-0000-0000-0000-a1b2", "SecureID 4711 Q"):
        assert not is_beyond_guessing(canonical(each))
    assert all(is_beyond_guessing(canonical(generate())) for _ in range(2000))
    assert all(is_beyond_guessing(canonical(derive(SECRET, str(n)))) for n in range(2000))


@pytest.mark.slow
@given(st.text(max_size=130))
def test_of_any_password_it_is_said(text: str) -> None:
    try:
        canonical(text)
    except InvalidValue:
        with pytest.raises(InvalidValue):
            guessable(text)
        return
    why = guessable(text)
    assert why is None or why in Guessable


def test_sequences_are_seen_wherever_the_number_is() -> None:
    tail = "kQ7Zp2VnX4mW9cTb"
    for shape in ("{}-" + tail, tail + "-{}", "1-" + tail + "-{}-x", "{}" + tail + "99"):
        texts = [shape.format(number) for number in (5000, 7017, 7025, 7033, 9999)]
        found = guessable_together(texts)
        assert [at for at, why in found.items() if why is Guessable.SEQUENCE] == [1, 2, 3]
    assert guessable_together([f"{tail}{number:04}" for number in (99, 100)]).keys() == {0, 1}


@pytest.mark.slow
def test_a_common_beginning_or_end_is_nobodys_own() -> None:
    texts = [f"KONGRESS-MUENCHEN-2031-{letters}-HERZ" for letters in ("QXWZ", "VBNT", "PFGH")]
    assert guessable_together(texts) == dict.fromkeys(range(3), Guessable.ALIKE)
    own = [f"KONGRESS-2031-{derive(SECRET, name)}" for name in "abc"]
    assert guessable_together(own) == {}
    # Alone, nothing is told of the others.
    assert guessable_together(texts[:1]) == guessable_together([]) == {}
    assert guessable_together([generate() for _ in range(2000)]) == {}


# Settings


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (PasswordSettings(), ()),
        (PasswordSettings(label="Ä" * 200, valid_from=0, valid_until=1, max_devices=100), ()),
        (PasswordSettings(max_devices=1, is_test=True), ()),
        (PasswordSettings(label="x" * 201), ("label: at most 200",)),
        (PasswordSettings(label="a\nb"), ("label: at most 200",)),
        (PasswordSettings(valid_from=-1), ("valid_from: a time",)),
        (PasswordSettings(valid_until=10**12), ("valid_until: a time",)),
        (PasswordSettings(valid_from=5, valid_until=5), ("valid_until: it is not after",)),
        (PasswordSettings(max_devices=0), ("max_devices: from 1 to 100",)),
        (PasswordSettings(label="\t", max_devices=101), ("label:", "max_devices:")),
    ],
)
def test_settings_say_what_is_wrong(settings: PasswordSettings, wrong: tuple[str, ...]) -> None:
    found = problems(settings)
    assert len(found) == len(wrong)
    assert all(map(str.startswith, found, wrong))
    if wrong:
        with pytest.raises(InvalidValue) as caught:
            check(settings)
        assert caught.value.problems == found
    else:
        check(settings)


def test_what_is_printed_by_accident_shows_no_password() -> None:
    password, label = generate(), "Zimmer 12"
    settings = PasswordSettings(label=label)
    found = read_csv(b"".join(write_csv([Row(password, settings)])))
    shown = f"{found!r} {found.passwords[0]!r} {Row(password, settings)!r} {settings}"
    for secret in (password, canonical(password), label):
        assert secret not in shown


# Lists


def told(found: ImportedPasswords) -> list[str]:
    return list(map(str, found.problems))


def test_a_german_spreadsheet_is_read() -> None:
    text = (
        "Passwort;Bezeichnung;gültig ab;Gültig bis;max. Geräte;Testzugang;;\r\n"
        '0012345;"Müller; Hans";1.5.2031;31.05.2031;2;ja;;\r\n'
        "\r\n;;;;;;;\r\n"
        'Q7"Z;x;01.05.2031 08:30;2031-05-31T18:00:00;;nein\r\n'
    )
    for data in (text.encode(), text.encode("utf-8-sig"), text.replace("\r\n", "\n").encode()):
        found = read_csv(data.replace(b'Q7"Z', b'"Q7""Z"'), timezone="Europe/Berlin")
        assert told(found) == []
        one, other = found.passwords
        zone = ZoneInfo("Europe/Berlin")
        assert (one.line, one.password, one.form) == (2, "0012345", "0012345")
        assert one.settings == PasswordSettings(
            label="Müller; Hans",
            valid_from=round(datetime(2031, 5, 1, tzinfo=zone).timestamp()),
            valid_until=round(datetime(2031, 6, 1, tzinfo=zone).timestamp()),
            max_devices=2,
            is_test=True,
        )
        assert (other.line, other.password) == (5, 'Q7"Z')
        assert other.settings.valid_from == round(
            datetime(2031, 5, 1, 8, 30, tzinfo=zone).timestamp()
        )
        assert other.settings.valid_until == round(
            datetime(2031, 5, 31, 18, tzinfo=zone).timestamp()
        )
        assert not other.settings.is_test


@pytest.mark.parametrize(
    ("text", "passwords", "labels"),
    [
        ("007", ["007"], [""]),
        ("\ufeff007", ["007"], [""]),
        ("007,Bond\n008,", ["007", "008"], ["Bond", ""]),
        ("007;Bond, James\n008;M", ["007", "008"], ["Bond, James", "M"]),
        ("007\tBond; James, too\n008\tM", ["007", "008"], ["Bond; James, too", "M"]),
        ("sep=;\n0,7;B", ["0,7"], ["B"]),
        ("label,SecureID\nBond,007", ["007"], ["Bond"]),
        ("Kennwort\n0,0;7\n", ["0,0;7"], [""]),
        ("PASSWORD,Valid-Until,max_devices\n007,,", ["007"], [""]),
        (" 007 , Bond ", ["007"], [" Bond "]),
        ("1E5\n'=1\n'007\n''x", ["1E5", "=1", "'007", "'x"], [""] * 4),
    ],
)
def test_separators_and_headers(text: str, passwords: list[str], labels: list[str]) -> None:
    found = read_csv(text.encode())
    assert told(found) == []
    assert [each.password for each in found.passwords] == passwords
    assert [each.settings.label for each in found.passwords] == labels


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", ["line 1: there is no password in the file"]),
        (b"password,label\n\n", ["line 1: there is no password in the file"]),
        (b"label,valid from\nx,", ["line 1: no column is named password"]),
        (b"password,name\nx,y", ["line 1: there is no column 'name' in such a list"]),
        (b"Vorname;E-Mail\nAnna;anna@example.org", ["line 1: no column is named password"]),
        (b"E-Mail\nanna@example.org", ["line 1: no column is named password"]),
        (b"Bezeichnung,Lfd. Nr.\nx,1", ["line 1: no column is named password"]),
        (b"8,00E+13\n8.02761e+14;x", [f"line {line}: the password is a number" for line in (1, 2)]),
        (b"password,Passwort\nx,y", ["line 1: there are two columns for password"]),
        ("pässwort,1\n".encode("latin-1"), ["line 1: the line is not UTF-8"]),
        ("password\nx\n".encode("utf-16"), ["line 1: the file is UTF-16"]),
        (b"007\n008\n007", ["line 3: the password is that of line 1 once more"]),
        (b"AB-O1\nx\nab0l", ["line 3: the password is too much like that of line 1"]),
        (
            b"password,label\n,x\n-,y",
            ["line 2: there is no password", "line 3: there is no password"],
        ),
        (b'"007\n008\n', ["line 1: a quoted cell does not end"]),
        (b'"007"x\n008\n', ["line 1: a quoted cell does not end"]),
        (b"password,label\n1,2,3\n", ["line 2: there are more cells than columns"]),
        (b"a" * 5000, ["line 1: the line has more than 4,096 characters"]),
        (b"x" * 129, ["line 1: a password has at most 128 characters"]),
        (b"a\x00b", ["line 1: a password has no control characters"]),
        (b"AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAB", ["line 1: the password looks like one"]),
        (
            b"password,valid from,valid until,max devices,test\n,5/1/2031,2031-02-30,two,perhaps",
            [
                "line 2: max devices: a whole number is wanted",
                "line 2: test: yes or no is wanted",
                "line 2: there is no password",
                "line 2: valid from: no date",
                "line 2: valid until: no date",
            ],
        ),
        (b"password,max devices\nx,101", ["line 2: max devices: from 1 to 100"]),
        (
            b"password,valid from,valid until\nx,2031-05-02,2031-05-01",
            ["line 2: valid until: it is not after valid from, so"],
        ),
        # Who has other names for columns is told by these.
        (
            "Kennwort;Gültig ab;until;istest\nx;2031-05-02;2031-05-01\ny;;31.2.2031;vielleicht".encode(),
            [
                "line 2: 'until': it is not after 'Gültig ab', so",
                "line 3: 'istest': yes or no is wanted",
                "line 3: 'until': no date",
            ],
        ),
        (
            "Kennwort;Geräte;Notiz\nx;101;\ny;;a\x07".encode(),
            ["line 2: 'Geräte': from 1 to 100", "line 3: 'Notiz': at most 200 characters"],
        ),
        (b"password,valid until\nx,9999-12-31", ["line 2: valid until: "]),
    ],
)
def test_each_problem_has_its_line(data: bytes, said: list[str]) -> None:
    found = read_csv(data)
    assert len(told(found)) == len(said), told(found)
    assert all(map(str.startswith, told(found), said)), told(found)


PROSE = """\
Dear participants,
thank you for your interest in our course, which begins in May.
You will find the passwords for it enclosed in this letter.
With kind regards
"""
NO_LISTS = {
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "a PDF"),
    "sheet": (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "a file of a spreadsheet"),
    "old sheet": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of a spreadsheet"),
    "rtf": (b"{\\rtf1\\ansi hello}", "a document of a text processor"),
    "page": (b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html>\n<p>x</p>\n", "a page in HTML"),
    "xml": (b'<?xml version="1.0"?>\n<a/>\n', "a page in HTML or XML"),
    "comment": (b"<!-- saved -->", "a page in HTML"),
    "json": (b'[\n  {"password": "x"}\n]\n', "JSON"),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no text"),
    "columns": (f"{';'.join('abcdefghij')}\n".encode() * 40 + b"x\n", "there are 10 columns"),
    "prose": (PROSE.encode(), "this is running text"),
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_clearly_no_list_is_refused_with_a_word_on_what_is_wanted(name: str) -> None:
    data, said = NO_LISTS[name]
    found = read_csv(data)
    (problem,) = found.problems
    assert not found.passwords and said in problem.text
    assert "a CSV with a password a line" in problem.text and ", ".join(COLUMNS) in problem.text


@pytest.mark.parametrize(
    "text",
    [
        "Meier;7Q4M-0XKD-93TP\nMüller;8Q4M-0XKD-93TP\n",
        "Dr. Anna Meier,kQ7ZpVnXmW\nDr. Max Müller,WcTbRd7731\n",
        "anna1@example.org;kQ7ZpVnXmW\nmax2@example.org;WcTbRd7731\n",
        "Anna;Meier\nMax;Müller\n",
        "1;Meier\n2;Müller\n3;Schulz\n",
        "1;kQ7ZpVnXmW\n2;WcTbRd7731\n",
        "4711;kQ7ZpVnXmW\n4712;WcTbRd7731\n",
        "7;Meier;kQ7ZpVnXmW\n8;Müller;WcTbRd7731\n",
    ],
)
def test_columns_that_nothing_names_are_not_taken_for_passwords_that_they_are_not(
    text: str,
) -> None:
    found = read_csv(text.encode())
    (problem,) = found.problems
    assert not found.passwords and problem.line == 1
    assert problem.text.startswith("the first column does not look like passwords, and there are")
    assert "a CSV with a password a line" in problem.text
    assert "Meier" not in problem.text and "kQ7ZpVnXmW" not in problem.text
    # Who names them is believed; of another name there is none.
    named = f"label;password\n{text}".replace(",", ";").encode()
    assert [each.text for each in read_csv(named).problems if "does not look" in each.text] == []


@pytest.mark.parametrize(
    "text",
    [
        "kQ7ZpVnXmW;Meier\nWcTbRd7731;Müller\n",
        "7Q4M 0XKD 93TP;Saal 1\n8Q4M 0XKD 93TP;Saal 2\n",
        "004711;Meier\n004712;Müller\n",
        "100001;Saal 1\n100002;Saal 2\n",
        "4711;Gruppe7\n8123;Gruppe8\n",
        "kQ7ZpVnXmW;;2031-05-01\nWcTbRd7731;;2031-05-01\n",
        "otter\nlamp\n",
    ],
)
def test_what_may_be_passwords_needs_no_name(text: str) -> None:
    found = read_csv(text.encode())
    assert not found.problems and len(found.passwords) == 2


def test_what_only_looks_like_another_kind_is_a_list() -> None:
    """Odd passwords, labels in sentences, phrases that a header calls passwords."""
    texts = ["<Q7ZpVn>", "{kQ7ZpVnXm", "[abc]Q7Zp", "PKQ7ZpVnXm", "%PDQ7ZpVnXm"]
    phrases = ["otter walks over bridges", "seven green lamps sing"]
    assert not read_csv("\n".join(texts).encode()).problems
    labelled = [f"{text},a label of some words" for text in texts]
    assert not read_csv("\n".join(labelled).encode()).problems
    assert len(read_csv("\n".join(["password", *phrases]).encode()).passwords) == 2
    # A label may be any word.
    assert len(read_csv(b"kQ7ZpVnXmW;Name\nWcTbRd7731;Test\n").passwords) == 2
    # Groups are no words.
    assert not read_csv(b"AB12 CD34 EF56 GH78\nJK12 LM34 NP56 QR78\n").problems
    # One line with too much in it is that line's problem.
    (problem,) = read_csv(b"a,b,,,,,7\nkQ7ZpVnXmW\nWcTbRd7731\n").problems
    assert problem.text.startswith("there are more cells than columns")


def test_lines_are_counted_behind_what_is_wrong() -> None:
    found = read_csv(b'password,label\r\n"a\r\nb\n\n\xff\nc,d,e\nf,\r\nb\n')
    assert [problem.line for problem in found.problems] == [2, 5, 6, 8]
    assert [each.line for each in found.passwords] == [3, 7]


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert password_csv.MOST_ROWS == 1_000_000
    monkeypatch.setattr(password_csv, "MOST_ROWS", 2)
    assert told(read_csv(b"password\n1\n2\n")) == []
    assert told(read_csv(b"1\n2\n3\n4\n")) == ["line 4: the file has more than 2 passwords"]
    monkeypatch.setattr(password_csv, "MOST_BYTES", 1 << 20)
    assert told(read_csv(b"1\n" * (1 << 19 | 1))) == ["line 1: the file has more than 1 MiB"]


def test_what_is_over_already_is_warned_of() -> None:
    lines = [f"{generate()};{day}.05.2031" for day in (14, 15, 16)]
    found = read_csv("\n".join(["password;valid until", *lines]).encode())
    assert found.problems == ()
    # The 15th is over when the 16th begins.
    begin = 1_936_656_000
    for now, wanted in ((begin - 1, [2]), (begin, [2, 3]), (begin + 86_400, [2, 3, 4])):
        said = list(found.warnings(now))
        assert [each.line for each in said] == wanted
        assert {each.text for each in said} == {OVER.replace("valid_until", "valid until")}


def test_warnings_name_the_line_and_not_the_password() -> None:
    found = read_csv(b"password\n802760901234567\n" + generate().encode() + b"\nx7_1\nx7_2\n")
    assert [(each.line, each.guessable) for each in found.passwords] == [
        (2, Guessable.EFN),
        (3, None),
        (4, Guessable.HERE),
        (5, Guessable.HERE),
    ]
    said = list(map(str, found.warnings(0)))
    assert len(said) == 3 and said[0].startswith(
        "line 2: the password can be guessed: it is a German"
    )
    numbered = read_csv("".join(f"kQ7ZpVnXmWcTbRd{n}\n" for n in range(100, 103)).encode())
    assert {each.guessable for each in numbered.passwords} == {Guessable.SEQUENCE}


@pytest.mark.slow
@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_told(data: bytes) -> None:
    found = read_csv(data, timezone="Europe/Berlin")
    assert found.passwords or found.problems
    for each in found.passwords:
        assert canonical(each.password) == each.form
        assert problems(each.settings) == ()
    assert len({each.form for each in found.passwords}) == len(found.passwords)


@pytest.mark.slow
@given(st.lists(st.text("0123456789abcdefxyz", min_size=12, max_size=40), min_size=1, max_size=5))
def test_no_message_has_a_password_in_it(passwords: list[str]) -> None:
    lines = [f"{each},{each},{each},{each},{each},{each}" for each in passwords]
    lines += [f'"{passwords[0]}', f"{passwords[0]}\x00", f"{passwords[0]};" * 9]
    found = read_csv(
        "\n".join(["password,label,valid from,valid until,max devices,test", *lines]).encode()
    )
    text = " ".join([*told(found), *map(str, found.warnings(0))])
    assert found.problems
    assert not any(each in text for each in passwords)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InvalidValue, match="'Mars/North' is no time zone"):
        read_csv(b"x", timezone="Mars/North")
    with pytest.raises(InvalidValue, match=r"'\.\./etc' is no time zone"):
        list(write_csv([], timezone="../etc"))


PASSWORDS = (
    st.text(max_size=60)
    | st.text("=+-@'\"\t;, \uff1da1", max_size=12)
    | st.sampled_from(
        ["'=1", "''", "'", "-1+2", "0012", '"', "=cmd|' /C calc'!A0", "sep=;", "label"]
    )
)
SETTINGS = st.builds(
    PasswordSettings,
    label=st.text(max_size=40).filter(str.isprintable)
    | st.text("=+-@'\";, \uff1da1", max_size=12)
    | st.just("'=1"),
    valid_from=st.none() | st.integers(0, 2_000_000_000),
    valid_until=st.none() | st.integers(2_000_000_001, 250_000_000_000),
    max_devices=st.none() | st.integers(1, 100),
    is_test=st.booleans(),
)


@pytest.mark.slow
@given(
    rows=st.lists(st.tuples(PASSWORDS, SETTINGS), min_size=1, max_size=6),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Africa/Monrovia", "America/St_Johns"]),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_a_round_trip_changes_nothing(
    rows: list[tuple[str, PasswordSettings]], zone: str, separator: str
) -> None:
    known: dict[str, Row] = {}
    for password, settings in rows:
        try:
            known.setdefault(importable(password), Row(password.strip(), settings))
        except InvalidValue:
            continue
    data = b"".join(write_csv(known.values(), timezone=zone, separator=separator))
    assert data.startswith(b"\xef\xbb\xbfpassword") and data.endswith(b"\r\n")
    found = read_csv(data, timezone=zone)
    assert told(found) == ([] if known else ["line 1: there is no password in the file"])
    assert [Row(each.password, each.settings) for each in found.passwords] == list(known.values())
    # Another reader of CSV sees no formula in any cell, whichever separator it takes.
    text = data.decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
    assert len(cells) == len(COLUMNS) * (len(known) + 1)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")) for cell in cells)


@pytest.mark.parametrize(
    ("typed", "zone", "end", "shown"),
    [
        ("2031-06-30", "Europe/Berlin", True, "2031-06-30"),
        ("30.06.2031", "Europe/Berlin", True, "2031-06-30"),
        ("2031-06-30", "Europe/Berlin", False, "2031-06-30"),
        ("2031-06-30 18:00", "Europe/Berlin", True, "2031-06-30 18:00+02:00"),
        ("2031-12-30 18:00:01", "Europe/Berlin", False, "2031-12-30 18:00:01+01:00"),
        ("2031-06-30", "UTC", True, "2031-06-30"),
        # On that day, clocks go from midnight to one.
        ("2015-03-29", "Asia/Beirut", False, "2015-03-29 01:00+03:00"),
    ],
)
def test_a_time_is_shown_as_it_is_typed(typed: str, zone: str, end: bool, shown: str) -> None:
    at = moment(typed, zone, end=end)
    assert password_csv.written(at, zone, end=end) == shown
    assert moment(shown, zone, end=end) == at
    assert password_csv.written(None, zone, end=end) == ""


def test_formulas_are_written_as_text() -> None:
    cells = ["=1", "+1", "-1", "@x", "\t1", "\r1", "\n1", "\uff1d1", "'=1", "''", "a=1", "0012", ""]
    wanted = ["'=1", "'+1", "'-1", "'@x", '"\'\t1"', "'\r1", "'\n1", "'\uff1d1", "''=1", "'''"]
    assert write_line(cells) == (",".join([*wanted, "a=1", "0012", ""]) + "\r\n").encode()
    assert write_line(['a"b', "c,d", "e;f"], ";") == b'"a""b";"c,d";"e;f"\r\n'


def test_one_column_of_a_file() -> None:
    assert read_column(b"007\n\n 008 \n") == ([(1, "007"), (3, "008")], [])
    table = b"Name;EFN;x\nA;007;\nB;;\nC; 008 ;y\nD\n"
    assert read_column(table, "efn") == ([(2, "007"), (4, "008")], [])
    assert read_column(b'EFN\n"0,07"\n', "EFN") == ([(2, "0,07")], [])
    for data, name, said in (
        (table, "lanr", "line 1: the first line does not name that column"),
        (b"EFN,efn\n1,2\n", "EFN", "or does so twice"),
        (b"", "EFN", "does not name"),
        (b"a;b\n", None, "line 1: there are several columns"),
        (b'EFN;b\n"1;2\n', "EFN", "line 2: a quoted cell does not end"),
    ):
        _, wrong = read_column(data, name)
        assert said in str(wrong[0])


@pytest.mark.slow
def test_ten_thousand_are_read_whole() -> None:
    rows = [
        Row(generate(), PasswordSettings(label=f"Platz {n}", max_devices=2)) for n in range(10_000)
    ]
    found = read_csv(b"".join(write_csv(rows)))
    assert [Row(each.password, each.settings) for each in found.passwords] == rows
    assert not any(each.guessable for each in found.passwords)
    assert told(found) == []
    again = [*rows[:3], replace_label(rows[1])]
    assert told(read_csv(b"".join(write_csv(again)))) == [
        "line 5: the password is that of line 3 once more"
    ]


def replace_label(row: Row) -> Row:
    return Row(row.password, replace(row.settings, label="again"))
