"""A report and the customer's own list: EFN that are none, passwords as they are typed, nothing lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.joining import ABSENT, MATCHED, UNKNOWN, efn, join, read
from pystream.acl.passwords import generate
from pystream.acl.reports import Report, of_document
from pystream.acl.reports.grid import grid
from pystream.attendance import documents
from pystream.attendance.notes import write_key
from pystream.errors import InvalidValue, MalformedDocument
from tests.evidence import at, live
from tests.program import run
from tests.proofs import KEY
from tests.test_cli_store import refused
from tests.test_reports import cells as cells_of
from tests.test_reports import made, named, sealed, sheet

BODIES = st.integers(0, 10**9 - 1).map("{:09}".format)


def luhn(digits: str) -> str:
    """The check digit behind these, as the standard's text has it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def number(body: str = "012345678") -> str:
    return f"80276{body}{luhn(f'80276{body}')}"


# EFN


def test_the_check_digit_by_a_known_number() -> None:
    assert luhn("7992739871") == "3"


@given(BODIES, st.integers(0, 14), st.integers(1, 9))
def test_an_efn_with_a_wrong_digit_is_none(body: str, place: int, by: int) -> None:
    right = number(body)
    assert efn(right) == efn(f" {right}\n") == right
    wrong = f"{right[:place]}{(int(right[place]) + by) % 10}{right[place + 1 :]}"
    with pytest.raises(InvalidValue):
        efn(wrong)


@given(BODIES, st.integers(5, 13))
def test_digits_that_changed_places_are_noticed(body: str, place: int) -> None:
    right = number(body)
    one, two = right[place], right[place + 1]
    swapped = f"{right[:place]}{two}{one}{right[place + 2 :]}"
    # 09 and 90 are the one pair that the standard's digit does not tell apart.
    if one != two and {one, two} != {"0", "9"}:
        with pytest.raises(InvalidValue):
            efn(swapped)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8,02761E+14", "shortened"),
        ("8.02761e+14", "shortened"),
        ("8E14", "shortened"),
        (f"{number()},00", "decimal"),
        (f"0{number()}", "zeros"),
        (f"00{number()[:13]}", "zeros"),
        (number()[:14], "15 digits, and this one 14"),
        (f"{number()}0", "15 digits, and this one 16"),
        ("8027 6012 3456 784", "not even blanks"),
        ("８０２７６０１２３４５６７８", "digits and nothing else"),
        ("A0276012345678", "digits and nothing else"),
        ("276080901234567", "begins with 80276"),
        (number()[:14] + str((int(number()[14]) + 1) % 10), "check digit"),
    ],
)
def test_what_is_no_efn_says_what_to_do(text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        efn(text)


# Lists

# As they are made. Tests have names, of which these are part, in each process the same.
ONE, TWO = "5005-P1YB-7PCM-WKW9-3YGA-4134-0GHN", "WF2C-BSF1-8BYA-JH9W-2YH9-4GHK-0G02"
THREE = "3WGG-R9T2-CPXW-VPE2-C5HP-9DWQ-AFJT"
FIRST, SECOND, THIRD = number(), number("111111111"), number("222222222")
LIST = f"Name;Passwort;EFN\nEva;{ONE};{FIRST}\nIna;{TWO.lower().replace('-', ' ')};{SECOND}\nMia;{THREE};\n"


def wrong(text: str, **named: Any) -> list[str]:
    with pytest.raises(InvalidValue) as caught:
        read(text.encode(), **named)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        LIST,
        f"\ufeff{LIST}",
        LIST.replace("\n", "\r\n"),
        LIST.replace(";", ","),
        LIST.replace(";", "\t"),
        f"sep=;\n{LIST}",
        f"\n{LIST}\n;;\n",
        LIST.replace("Passwort", "SecureID").replace("EFN", "Fortbildungs-Nummer"),
        LIST.replace("Eva", '"Eva"'),
    ],
)
def test_lists_as_spreadsheets_write_them(text: str) -> None:
    found = read(text.encode())
    assert [person.cells[found.efn] for person in found.people] == [FIRST, SECOND, ""]
    assert found.columns[0] == "Name" and len({person.form for person in found.people}) == 3
    (warning,) = found.warnings
    assert "there is no EFN" in warning and found.columns[found.efn] in warning


def test_what_is_wrong_is_told_with_line_and_column() -> None:
    text = LIST.replace(FIRST, "8,02761E+14").replace(SECOND, number()[:14])
    first, second = wrong(text)
    assert first.startswith("line 2, column EFN: a spreadsheet has shortened")
    assert second.startswith("line 3, column EFN: an EFN has 15 digits")
    # Rows of several lines are counted as an editor does.
    later = LIST.replace("Eva", '"Eva\nMaria"').replace(SECOND, "1")
    assert wrong(later)[0].startswith("line 4, column EFN")
    again = LIST.replace(THREE, ONE.lower())
    assert wrong(again) == [
        "line 4, column Passwort: this is the password of line 2 once more; each belongs to one person"
    ]
    assert "line 2, column Passwort" in wrong(LIST.replace(ONE, "-"))[0]
    assert wrong(f"{LIST}x;y;;z\n") == ["line 5: there are more cells than columns"]
    many = "Passwort;EFN\n" + "".join(f"p{n};1\n" for n in range(60))
    assert len(wrong(many)) == 51 and wrong(many)[-1] == "and 10 more"
    twice = read(LIST.replace(SECOND, FIRST).encode()).warnings
    assert "line 3" in twice[0] and "EFN of line 2 once more" in twice[0]


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        ("", {}, "no line"),
        ("Name;EFN\n", {}, "no column for password"),
        ("Passwort;Name\n", {}, "no column for EFN"),
        ("Passwort;Kennwort;EFN\n", {}, "2 columns for password"),
        ("a;EFN\n", {"password": "b"}, "no column for password"),
        ('Passwort;EFN\n"x;1\n', {}, "line 2: a quoted cell"),
    ],
)
def test_what_is_no_list(text: str, named: dict[str, str], said: str) -> None:
    assert said in wrong(text, **named)[0]
    for data, what in (
        (b"PK\x03\x04", "own format"),
        (b"Passwort;EFN\n\xe4;1", "line 2: this is not"),
    ):
        with pytest.raises(InvalidValue, match=what):
            read(data)


def test_columns_can_be_named() -> None:
    found = read(f"a;b\n{FIRST};x\n".encode(), "B", "A")
    assert (found.password, found.efn, found.people[0].cells) == (1, 0, (FIRST, "x"))


# Together


def report() -> Report:
    """Two who are in the list, one of them as it is typed, and one who is not."""
    stranger = generate()
    events = [event for key in "129" for event in live(at("18:00"), at("19:30"), key=key)]
    passwords = named(**{"1": (ONE, ""), "2": (TWO, "Saal"), "9": (stranger, "")})
    awards = {key: {"certified": True, "points": "1"} for key in passwords}
    return made(events, passwords=passwords, awards=awards)


@pytest.mark.parametrize("locale", ["de", "en"])
def test_nothing_gets_lost_on_either_side(locale: str) -> None:
    joined = join(report(), read(LIST.encode()), locale)
    assert joined.counts == {MATCHED: 2, ABSENT: 1, UNKNOWN: 1}
    titles = [column.title for column in joined.grid.columns]
    rows = [dict(zip(titles, row, strict=True)) for row in joined.grid.rows]
    assert [row["Name"] for row in rows] == ["Eva", "Ina", "Mia", ""]
    assert [row["EFN"] for row in rows] == [FIRST, SECOND, "", ""]
    points = "Punkte" if locale == "de" else "Points"
    assert [row[points] for row in rows] == [1, 1, None, 1]
    # The list's own spelling stays; of who is not in it, it is the report's.
    known = {line.password for line in report().lines()}
    assert rows[0]["Passwort"] == ONE and len(known) == 3 and rows[3]["Passwort"]


def test_who_was_erased_is_in_the_result() -> None:
    events = live(at("18:00"), at("19:30"), key="1")
    joined = join(made(events, passwords=named(**{"1": (None, "")})), read(LIST.encode()), "de")
    assert joined.counts == {MATCHED: 0, ABSENT: 3, UNKNOWN: 1}
    assert "gelöscht" in joined.grid.rows[-1] and "#1" in joined.grid.rows[-1]


PEOPLE = st.lists(st.sampled_from([generate() for _ in range(8)]), unique=True, max_size=6)


@given(PEOPLE, PEOPLE)
def test_every_line_and_every_password_is_there_once(listed: list[str], seen: list[str]) -> None:
    keys = {str(n): password for n, password in enumerate(seen)}
    events = [event for key in keys for event in live(at("18:00"), at("18:10"), key=key)]
    of = made(
        events, passwords={k: {"password": p, "label": "", "test": False} for k, p in keys.items()}
    )
    people = read("".join(["Passwort;EFN\n", *(f"{each.lower()};\n" for each in listed)]).encode())
    joined = join(of, people, "de")
    both = set(listed) & set(seen)
    assert joined.counts == {
        MATCHED: len(both),
        ABSENT: len(listed) - len(both),
        UNKNOWN: len(seen) - len(both),
    }
    assert len(joined.grid.rows) == len(set(listed) | set(seen))


# From outside


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    events = [event for key in "12" for event in live(at("18:00"), at("19:30"), key=key)]
    passwords = named(**{"1": (ONE, "=2+2"), "2": (generate(), "")})
    signed = sealed(made(events, passwords=passwords), events)
    assert signed.document is not None
    document, people = tmp_path / "herz.json", tmp_path / "list.csv"
    document.write_bytes(signed.document)
    people.write_text(LIST.replace("Mia", "=cmd()"))
    key, out = tmp_path / "acme.pub", tmp_path / "out.csv"
    write_key(key, KEY.verifier)
    command = ("attendance", "join", document, people, "-o")
    finished = run(*command, out, "--public-key", key)
    assert finished.returncode == 0
    assert "1 matched, 2 without attendance, 1 not in the list (version 1)" in finished.stdout
    assert "line 4, column EFN: there is no EFN" in finished.stderr
    assert "no person" in finished.stderr and out.stat().st_mode & 0o777 == 0o600
    assert out.read_bytes().startswith(b"\xef\xbb\xbfName;Passwort;EFN;Abgleich;")
    assert b"'=cmd()" in out.read_bytes() and b"'=2+2" in out.read_bytes()
    assert "--overwrite" in refused(1, *command, out)
    book = tmp_path / "out.xlsx"
    assert run(*command, book).returncode == 0
    rows, text = sheet(book.read_bytes())
    assert rows[1][2] == ("s", FIRST) and "<f>" not in text
    # A provisional one will do, one that was changed will not.
    document.write_bytes(made(events, passwords=passwords).json())
    assert "(provisional)" in run(*command, out, "--overwrite").stdout
    document.write_bytes(signed.document.replace(b"Herz 2026", b"Herz 2027"))
    assert "not signed" in refused(1, *command, tmp_path / "no.csv", "--public-key", key)
    people.write_text(LIST.replace(FIRST, "8,02761E+14"))
    assert "list.csv: line 2, column EFN" in refused(1, *command, tmp_path / "no.csv")
    assert not (tmp_path / "no.csv").exists()
    refused(2, *command, tmp_path / "out.doc")
    refused(2, "attendance", "join", tmp_path / "none.json", people, "-o", out)
    document.write_bytes(b"{}")
    assert "herz.json: " in refused(1, *command, tmp_path / "no.csv")


def test_it_needs_nothing_of_a_server() -> None:
    code = (
        "import sys, pystream.cli._joining, pystream.acl.joining, pystream.acl.reports.table;"
        " print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "reportlab", "trio", "msgspec", "xlsxwriter", "argon2", "joserfc"}
    assert not heavy & set(ran.stdout.split())


@given(st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3), st.lists))
def test_what_is_no_report_is_refused(value: Any) -> None:
    """Whatever stands where it should be otherwise."""
    right = report()
    for name in right.about:
        if value == right.about[name]:
            continue
        said = right.about | {name: value}
        try:
            read_again = of_document(
                documents.provisional(right.rows, right.options, right.scope, said)
            )
        except MalformedDocument:
            continue
        # What was let through can be shown.
        assert grid(read_again, "de").columns and cells_of(read_again)
