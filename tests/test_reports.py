"""Reports of attendance: what they count, every format, and sealed versions."""

from __future__ import annotations

import csv as reading
import ctypes
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image
from sqlalchemy import delete, select, update

from pystream.acl.passwords import PasswordSettings
from pystream.acl.reports import Report, of_document
from pystream.acl.reports.curve import curves, svg
from pystream.acl.reports.grid import Kind, facts, grid, printed, share, totals
from pystream.acl.reports.making import Wanted, check_over
from pystream.acl.reports.paper import pdf
from pystream.acl.reports.sheet import xlsx
from pystream.acl.reports.table import csv
from pystream.acl.reports.words import WORDS, definitions, notes
from pystream.acl.store import tables
from pystream.acl.store.notary import Notary
from pystream.acl.store.sealed_reports import Subject, Version
from pystream.attendance import documents, evidence
from pystream.attendance.checkpoint import Clock
from pystream.attendance.documents import Scope
from pystream.attendance.nodes import Node
from pystream.attendance.options import Options, zones_version
from pystream.attendance.verification import verify
from pystream.errors import (
    InvalidValue,
    MalformedDocument,
    NotFound,
    NotProven,
    PystreamError,
    SealError,
    StoreError,
    TooEarly,
)
from tests.audience import ALL, BREAKS, LATER, WHO, WINDOWS, Audience
from tests.databases import with_tables
from tests.evidence import BERLIN, at, live, replayed
from tests.oracles.attendance import Event
from tests.proofs import KEY, Log, leaves
from tests.test_cli_store import done, here, refused, told
from tests.test_viewers import MASTER

__all__ = ["here"]

LOCALES = ("de", "en")
BEGIN, END = at("17:50"), at("19:35")


def about(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "kind": "event",
        "name": "herz",
        "title": "Herz 2026",
        "vnr": "0276090901234567890",
        "organiser": "ACME GmbH",
        "tenant": "acme",
        "streams": {"Y": "Saal A"},
        "definition": "attendance-v1",
        "made_at": "2026-03-12T11:00:00Z",
        "pause_visible": "no",
        "policy": {"rounding": "floor45", "threshold_pct": None, "least_minutes": None},
        "programme_ms": 4_500_000,
        "passwords": {},
        "awards": {},
        "version": None,
        "reason": "",
        "previous": None,
    }
    return values | changes


def made(events: list[Event], **changes: Any) -> Report:
    """A report of an evening, without a store."""
    options = Options("live", timezone=BERLIN, windows=WINDOWS, breaks=BREAKS, union=True)
    rows = replayed(events, options)
    return Report(rows, options, Scope(days=("2026-03-10",)), about(**changes), zones_version())


def named(**passwords: tuple[str | None, str]) -> dict[str, Any]:
    return {
        key: {"password": password, "label": label, "test": False}
        for key, (password, label) in passwords.items()
    }


ONE = live(BEGIN, END, key="1")
EVENING = made(
    ONE,
    passwords=named(**{"1": ("000123", "=2+2")}),
    awards={"1": {"certified": True, "points": "1"}},
)


# What they count


@pytest.fixture
def audience(tmp_path: Path, url: str) -> Iterator[Audience]:
    opened = Audience(tmp_path, url)
    yield opened
    opened.close()


def test_an_event_is_united_over_its_streams(audience: Audience) -> None:
    """T20, from delivered segments to the point; and parallel streams count once."""
    audience.viewer("eins", ALL)
    audience.viewer("zwei", (at("18:00"), 30))
    audience.viewer("zwei", (at("18:00"), 45), stream="course", label="Saal 2")
    audience.viewer("nie")
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    one, two = report.lines()
    assert (one.name, one.online_ms, one.row["certifiable_ms"]) == ("eins", 6_300_000, 4_500_000)
    assert (one.points, one.certified) == ("1", True)
    # Not 75 minutes: both streams at once are one.
    assert (two.online_ms, two.row["certifiable_ms"], two.points) == (2_700_000, 2_700_000, "1")
    assert two.row["max_devices"] == 2 and two.row["flags"] == ["overlap"]
    assert report.scope.days == ("2026-03-10",) and report.version is None
    assert report.about["passwords"][two.key]["label"] == ""
    # What any other day has is none of it.
    audience.watch(int(one.key), at("18:00", "2026-03-15"), 60, "film")
    again = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert again.rows == report.rows


def test_who_looks_reads_what_is_new_and_what_is_sealed_is_computed_again(
    audience: Audience,
) -> None:
    reporter, film = audience.reporter, audience.store.stream("acme", "film")
    id = audience.viewer("eins", ALL)
    audience.viewer("zwei", (at("18:00"), 45), stream="course")
    audience.store.viewers.attendance.seal(audience.keys, at("23:00"), LATER)
    of = [
        *(Wanted(audience.tenant, audience.event), Wanted(audience.tenant, film)),
        Wanted(audience.tenant, film, "2026-03-10"),
    ]
    whole = [reporter.provisional(each, LATER, whole=True) for each in of]
    assert [reporter.provisional(each, LATER) for each in of] == whole
    # What was looked at is not opened again, and one minute more is.
    with audience.store.database.writing() as connection:
        connection.execute(update(tables.attendance_sealed).values(sealed_events=b""))
    assert [reporter.provisional(each, LATER) for each in of] == whole
    audience.watch(id, at("19:40"), 1, "film")
    more = reporter.provisional(of[0], LATER)
    (before, after) = (
        next(line for line in each.lines() if line.key == str(id)) for each in (whole[0], more)
    )
    assert after.online_ms == before.online_ms + 60_000
    with pytest.raises(SealError):
        reporter.seal_now(
            of[0], Notary(audience.store.database, audience.keys), Clock(True, 5), **WHO
        )


def test_how_an_event_is_counted_is_its_own_and_said_in_the_report(audience: Audience) -> None:
    """Look-ahead, bridge and outages: as they are set, in what is signed, and under a hash."""
    begin, end = at("18:09:30"), at("18:12")
    audience.viewer("eins", (at("18:00"), 10), (end, 10))
    audience.store.viewers.attendance.keep(
        audience.keys, [], [(begin, evidence.outage(begin, end))], LATER
    )

    def report() -> Report:
        return audience.reporter.of_event(audience.tenant, audience.event, LATER)

    usual = report()
    (line,) = usual.lines()
    assert usual.options.resolved().lookahead == 60_000
    assert line.row["outage_credit_ms"] == 0
    assert notes(line.row, "en")[-1].endswith("which is not credited")
    counted: dict[str, Any] = {"lookahead_s": 6, "bridge_ms": 0, "credit_outage": True}
    audience.store.events.set(audience.acme, "herz", counted, **WHO)
    own = report()
    (line,) = own.lines()
    options = own.options
    assert (options.lookahead, options.bridge, options.credit_outage) == (6000, 0, True)
    # Of five segments that come at once only one plays in six seconds, of either session.
    assert line.row["access_ms"] == usual.lines()[0].row["access_ms"] - 2 * 24_000
    # What an outage has cost is said, and in no other number.
    assert line.row["outage_credit_ms"] > 100_000
    assert any("is credited apart" in each for each in notes(line.row, "en"))
    assert any("gesondert gutgeschrieben" in each for each in notes(line.row, "de"))
    for locale, wanted in (("en", "6 s ahead at most"), ("de", "höchstens 6 s im Voraus")):
        said = " ".join(definitions(own.about, own.options, locale))
        assert wanted in said and "0 s" in said and "outage credit" in said
    # The hash is of how it was counted and what that is worth, and of nothing else.
    hashes = [each.about["policy_hash"] for each in (usual, own)]
    assert len(set(hashes)) == 2 and all(len(each) == 64 for each in hashes)
    later = {"windows": ((at("18:00"), at("19:00")),), "breaks": (), "title": "Herz 2027"}
    audience.store.events.set(audience.acme, "herz", later, **WHO)
    assert report().about["policy_hash"] == hashes[1]
    audience.store.events.set(audience.acme, "herz", {"threshold_pct": 80}, **WHO)
    assert report().about["policy_hash"] not in hashes
    assert own.about["policy_hash"] in dict(facts(own, "en")).values()


def test_a_hash_of_another_policy_is_found_out(audience: Audience) -> None:
    audience.viewer("eins", ALL)
    log = Log(leaves(events_of(audience)))
    _, report = seal(audience, log=log)
    rows, options, scope = report.rows, report.options, report.scope
    for changes, is_right in (({}, True), ({"policy_hash": 64 * "0"}, False)):
        about = report.about | changes
        signed = documents.report(rows, options, scope, log.checkpoint(), KEY, about)
        if is_right:
            verify(signed, [KEY.verifier], io.BytesIO(log.export()))
        else:
            with pytest.raises(NotProven, match="counted by another policy"):
                verify(signed, [KEY.verifier])


def test_what_stands_before_each_node_and_how_right_its_clock_was_is_told(
    audience: Audience,
) -> None:
    audience.viewer("eins", ALL)
    note, evening = audience.store.viewers.attendance.note_node, at("18:00") // 1000
    note(16 * b"a", Node("http", is_synchronised=True, clock_error_ms=3), evening)
    note(16 * b"a", Node("none", is_synchronised=True, clock_error_ms=12), evening + 60)
    for name, error in ((b"b", 500), (b"c", 900)):
        note(16 * name, Node("none", is_synchronised=False, clock_error_ms=error), evening)
    # Of another day.
    note(16 * b"d", Node("tcp", is_synchronised=True, clock_error_ms=1), evening + 5 * 86_400)
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert report.about["nodes"] == [
        {"clock_error_ms": 12, "clock_synchronised": True, "proxy": "http"},
        {"clock_error_ms": 500, "clock_synchronised": False, "proxy": "none"},
        {"clock_error_ms": 900, "clock_synchronised": False, "proxy": "none"},
    ]
    assert dict(facts(report, "en"))["Servers"] == (
        "1 behind an HTTP proxy, clock synchronised, wrong by at most 12 ms;"
        " 2 that viewers reach directly, clock not synchronised, wrong by at most 900 ms"
    )
    assert "hinter einem HTTP-Proxy" in dict(facts(report, "de"))["Server"]
    _, sealed = seal(audience)
    assert sealed.about["nodes"] == report.about["nodes"]
    # A stream's days say it as well, and of days on which nobody has recorded there is nothing to say.
    stream = audience.store.stream("acme", "film")
    for day, count in (("2026-03-10", 3), ("2026-03-12", 0)):
        found = audience.reporter.of_stream(audience.tenant, stream, day, LATER)
        assert len(found.about["nodes"]) == count
    for wrong in ({"proxy": "x"}, {"clock_error_ms": "1"}, {"clock_synchronised": 1}):
        nodes = [report.about["nodes"][0] | wrong]
        text = documents.provisional(
            report.rows, report.options, report.scope, report.about | {"nodes": nodes}
        )
        with pytest.raises(MalformedDocument, match="about"):
            of_document(text)


def test_a_stream_is_reported_by_day(audience: Audience) -> None:
    key = str(audience.viewer("eins", (at("23:30"), 60), label="Saal"))
    film = audience.store.stream("acme", "film")
    days = audience.reporter.of_stream(audience.tenant, film, None, LATER)
    assert [(each.row["day"], each.online_ms) for each in days.lines()] == [
        ("2026-03-10", 1_800_000),
        ("2026-03-11", 1_800_000),
    ]
    (line,) = audience.reporter.of_stream(audience.tenant, film, "2026-03-11", LATER).lines()
    # Who came in the evening before is counted from midnight on.
    assert (line.key, line.label, line.online_ms) == (key, "Saal", 1_800_000)
    assert line.points is None and line.certified is None
    assert totals(days, "de") == "Summe ohne Testzugänge: 1 Passwort"
    assert totals(days, "en") == "Total without tests: 1 password"
    none = audience.reporter.of_stream(audience.tenant, film, "2026-03-09", LATER)
    assert none.lines() == []


def test_what_was_erased_is_not_named_and_tests_are_in_no_sum(audience: Audience) -> None:
    audience.viewer("kammer", ALL, is_test=True)
    gone = audience.viewer("weg", (at("18:00"), 60))
    audience.viewer("da", (at("18:00"), 60))
    # Its events are not sealed yet in this store, so they would go with it: the name alone is taken.
    audience.keys.erase(
        audience.acme, audience.store.viewers.references(audience.acme, [gone]), LATER
    )
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    names = [line.name for line in report.lines()]
    assert names == [f"#{gone}", "da", "kammer"]
    assert totals(report, "de") == "Summe ohne Testzugänge: 2 Passwörter, 2 bestätigt"
    (kammer,) = [row for row in grid(report, "de").rows if row[0] == "kammer"]
    assert "Testzugang" in str(kammer)
    assert "gelöscht" in str(grid(report, "de").rows[0])


# What players say


def told_by_players(audience: Audience, **settings: Any) -> dict[str, Any]:
    """Three who have had all of the film: one whose player says so, one that nobody hears of, and one whose
    page was hidden for half of the programme; by key."""
    for name in ("film", "course"):
        audience.store.set_stream("acme", name, {"beacons": True, **settings}, **WHO)
    begin, minutes = ALL
    ids = {text: audience.viewer(text) for text in ("spricht", "stumm", "verdeckt")}
    for text, id in ids.items():
        session = audience.watch(id, begin, minutes, "film")
        if text != "stumm":
            audience.say(session, begin, 55)
            hidden = text == "verdeckt"
            said = {"sn": 10_000, "playhead": 55 * 60_000, "hidden": hidden}
            audience.say(session, begin + 55 * 60_000, 50, **said)
        if text == "spricht":
            audience.check(session, begin + 30 * 60_000, 5000)
    return {str(id): text for text, id in ids.items()}


def test_where_players_speak_only_that_counts_and_it_is_told(audience: Audience) -> None:
    names = told_by_players(audience)
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert (report.options.verified, report.options.require_visible) == (True, False)
    assert report.about["pause_visible"] == "yes"
    lines = {names[line.key]: line for line in report.lines()}
    assert {name: line.row["certifiable_ms"] // 1000 for name, line in lines.items()} == {
        "spricht": 4500,
        "stumm": 0,
        "verdeckt": 4500,
    }
    assert {name: line.row["evidence_grade"] for name, line in lines.items()} == {
        "spricht": "player+checks",
        "stumm": "delivered",
        "verdeckt": "player",
    }
    assert lines["stumm"].online_ms == 6_300_000 and lines["stumm"].points == "0"
    head, *rows = cells(report)
    shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)}
    assert shown["spricht"]["Laut Player"] == "1:15:00"
    assert (
        shown["spricht"]["Laut Player (s)"] == "4500" and shown["stumm"]["Laut Player (s)"] == "0"
    )
    assert shown["spricht"]["Nachweis"] == "Auslieferung, Player und Anwesenheitsabfragen"
    assert "Laut Player ist" in str(rows) and "Eine Pause" not in str(rows)
    (titles, *cells_), _ = sheet(xlsx(grid(report, "de")))
    assert ("s", "Laut Player") in titles and len(cells_[0]) == len(titles)
    (paper,), _ = opened(report)
    assert "Laut Player 1:15:00" in paper and "Auslieferung und Player" in paper
    assert "Laut Player ist" in paper
    # In what is not signed, too, nothing is left out.
    provisional = json.loads(report.json())
    assert provisional["options"]["verified"] and "verified_ms" in provisional["rows"][0]
    provisional["rows"][0]["verified_ms"] = None
    with pytest.raises(MalformedDocument, match="what players have said"):
        of_document(json.dumps(provisional).encode())


def test_hidden_pages_count_where_nobody_minds(audience: Audience) -> None:
    names = told_by_players(audience, require_visible=True)
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert report.options.require_visible
    counted = {names[line.key]: line.row["certifiable_ms"] // 1000 for line in report.lines()}
    # Visible up to 18:45, when the break begins.
    assert counted == {"spricht": 4500, "stumm": 0, "verdeckt": 2700}
    assert "nicht verdeckt" in str(grid(report, "de").meanings)
    film = audience.store.stream("acme", "film")
    day = audience.reporter.of_stream(audience.tenant, film, "2026-03-10", LATER)
    assert day.options.require_visible and day.about["pause_visible"] == "yes"
    # Of a stream whose page says nothing, nothing would count.
    audience.store.set_stream("acme", "course", {"require_visible": False, "beacons": False}, **WHO)
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert (report.options.verified, report.options.require_visible) == (False, False)
    assert {line.row["certifiable_ms"] for line in report.lines()} == {4_500_000}
    assert "Laut Player" not in [column.title for column in grid(report, "de").columns]


def test_what_players_said_is_proven_with_the_rest(audience: Audience) -> None:
    told_by_players(audience, require_visible=True)
    log = Log(leaves(events_of(audience)))
    _, report = seal(audience, log=log)
    assert report.document is not None
    signed = json.loads(report.document)["options"]
    assert signed["verified"] and signed["require_visible"]
    verdict = verify(report.document, [KEY.verifier], io.BytesIO(log.export()))
    assert set(verdict.proofs) == {"recomputed"}
    for name in (b"verified", b"require_visible"):
        forged = report.document.replace(b'"%s":true' % name, b'"%s":false' % name)
        with pytest.raises((NotProven, MalformedDocument)):
            verify(forged, [KEY.verifier])
    # Who hears nothing of beacons makes other rows: they are bound to the log.
    deaf = Log(leaves([each for each in events_of(audience) if each["kind"] != "beacon"]))
    with pytest.raises(NotProven):
        verify(report.document, [KEY.verifier], io.BytesIO(deaf.export()))


# CSV


def cells(report: Report, locale: str = "de") -> list[list[str]]:
    data = b"".join(csv(grid(report, locale)))
    assert data.startswith(b"\xef\xbb\xbf") and data.replace(b"\r\n", b"").count(b"\n") == 0
    return list(reading.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=";"))


def test_csv_as_a_german_excel_opens_it() -> None:
    report = replace(EVENING, about=EVENING.about | {"programme_ms": 5_400_000})
    head, row, *rest = cells(report)
    shown = dict(zip(head, row, strict=True))
    assert shown["Passwort"] == "000123" and shown["Bezeichnung"] == "'=2+2"
    assert shown["Online"] == "1:45:00" and shown["Online (s)"] == "6300"
    assert shown["Anrechenbar"] == "1:15:00" and shown["Anteil (%)"] == "83,3"
    assert shown["Punkte"] == "1" and shown["Bestätigt"] == "ja"
    said = "\n".join(";".join(line) for line in rest)
    for word in (BERLIN, zones_version(), "attendance-v1", "0276090901234567890", "vorläufig"):
        assert word in said
    assert "Online ist" in said and "Anrechenbar ist" in said and "Eine Pause" in said
    assert cells(EVENING, "en")[0][0] == "Password"


DANGEROUS = st.sampled_from("=+-@\t\r\n＝＋－＠'") | st.sampled_from(["", "a", ";", '"'])
EVIL = st.builds(str.__add__, DANGEROUS, st.text("=+-@\t\r\n;\"'ab1,", max_size=6))


@given(EVIL, EVIL, EVIL)
def test_no_cell_is_a_formula(password: str, label: str, title: str) -> None:
    """Whatever a password, a label or a title begins with (CWE-1236)."""
    report = replace(
        EVENING, about=about(passwords=named(**{"1": (password, label)}), title=title, vnr=label)
    )
    for locale in LOCALES:
        rows = cells(report, locale)
        for row in rows:
            for cell in row:
                assert cell[:1] not in set("=+-@\t\r\n＝＋－＠"), cell
        # Nothing is lost by that but line ends, and nothing runs into the next cell.
        assert len(rows[0]) == len(rows[1])
        for cell, written in zip(rows[1], (password, label), strict=False):
            plain = re.sub(r"[\t\r\n]+", " ", written).strip()
            assert cell in (plain, f"'{plain}")


# XLSX

NS = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def sheet(data: bytes, number: int = 1) -> tuple[list[list[tuple[str, str]]], str]:
    """The cells as (type, value), and the sheet's own text."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        shared = [
            "".join(part.text or "" for part in each.iter(f"{{{NS['m']}}}t"))
            for each in ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        ]
        text = archive.read(f"xl/worksheets/sheet{number}.xml").decode()
    found = []
    for row in ElementTree.fromstring(text).iter(f"{{{NS['m']}}}row"):
        line = []
        for cell in row:
            kind, value = cell.get("t", "n"), cell.findtext("m:v", "", NS)
            line.append((kind, shared[int(value)] if kind == "s" else value))
        found.append(line)
    return found, text


@given(EVIL.filter(lambda text: "\r" not in text))
@settings(max_examples=25, deadline=None)
def test_text_in_xlsx_is_text(label: str) -> None:
    report = replace(EVENING, about=about(passwords=named(**{"1": ("000123", label)})))
    rows, text = sheet(xlsx(grid(report, "de")))
    assert "<f>" not in text and "hyperlink" not in text
    assert rows[1][0] == ("s", "000123")
    assert rows[1][1] == ("s", label) or (label == "" and rows[1][1][1] == "")


def test_numbers_in_xlsx_are_numbers() -> None:
    data = xlsx(grid(EVENING, "de"))
    (head, row), text = sheet(data)
    shown = dict(zip((title for _, title in head), row, strict=True))
    assert shown["Online"][0] == "n" and round(float(shown["Online"][1]) * 86_400) == 6300
    assert shown["Online (s)"] == ("n", "6300") and shown["Punkte"] == ("n", "1")
    facts, _ = sheet(data, 2)
    assert ("s", "0276090901234567890") in facts[1]
    assert "Online ist" in str(facts) and "frozen" in text
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # Which Excel would show as "1,".
        assert b"0.##" not in archive.read("xl/styles.xml")
    assert xlsx(grid(EVENING, "de")) == data


# PDF


def opened(report: Report, locale: str = "de") -> tuple[list[str], list[Image]]:
    """The text of each page, and its picture."""
    document = pypdfium2.PdfDocument(pdf(report, locale))
    texts = [page.get_textpage().get_text_range() for page in document]
    return texts, [page.render(scale=2).to_pil() for page in document]


def sealed(report: Report, events: list[Event], **said: Any) -> Report:
    """The same, signed, as it is read again."""
    from pystream.attendance import documents

    note = Log.of(events).checkpoint()
    values = report.about | {"version": 1} | said
    return of_document(
        documents.report(report.rows, report.options, report.scope, note, KEY, values)
    )


@pytest.mark.slow
def test_the_list_on_paper_has_all_that_it_needs_on_each_page() -> None:
    keys = [str(number) for number in range(100, 160)]
    events = [event for key in keys for event in live(at("18:00"), at("18:10"), key=key)]
    events += live(BEGIN, END, key="7")
    passwords = named(**{key: (f"wort-{key}", "Klinik") for key in (*keys, "7")})
    awards = {
        key: {"certified": key == "7", "points": "1" if key == "7" else "0"} for key in passwords
    }
    report = sealed(made(events, passwords=passwords, awards=awards), events)
    for locale in LOCALES:
        words = WORDS[locale]
        texts, _ = opened(report, locale)
        assert len(texts) > 1
        for number, text in enumerate(texts, 1):
            assert words["page"].format(number, len(texts)) in text
            for needed in (*("Herz 2026", "0276090901234567890", BERLIN), words["version"]):
                assert needed in text
            assert report.checkpoint is not None and report.checkpoint.root.hex() in text
        whole = "\n".join(texts)
        assert all(whole.count(f"wort-{key}\r") + whole.count(f"wort-{key} ") for key in keys)
        assert words["sealed"].format(number=1) in texts[0]
        assert "attendance-v1" in texts[-1] and "Klinik" in texts[0]
    data = pdf(report, "de")
    assert data == pdf(report, "de")
    document = pypdfium2.PdfDocument(data)
    fonts = {
        bool(pypdfium2.raw.FPDFFont_GetIsEmbedded(pypdfium2.raw.FPDFTextObj_GetFont(each.raw)))
        for page in document
        for each in page.get_objects([pypdfium2.raw.FPDF_PAGEOBJ_TEXT])
    }
    assert fonts == {True}
    # What was signed goes along.
    (attached,) = [document.get_attachment(n) for n in range(document.count_attachments())]
    assert attached.get_name() == "herz-1.json"
    assert bytes(attached.get_data()) == report.document
    # ISO 32000-1 7.3.5: a solidus within a name is written as #2F.
    assert b"/Subtype /application#2Fjson /Type /EmbeddedFile" in data
    assert pypdfium2.PdfDocument(pdf(EVENING, "de")).count_attachments() == 0


def test_a_pdf_is_of_when_its_report_is() -> None:
    told = pypdfium2.PdfDocument(pdf(EVENING, "de")).get_metadata_dict()
    made = datetime.fromisoformat(EVENING.about["made_at"])
    assert told["CreationDate"] == told["ModDate"] == f"D:{made:%Y%m%d%H%M%S}+00'00'"
    assert pdf(EVENING, "de") == pdf(EVENING, "de")


@pytest.mark.slow
def test_a_bar_shows_when_somebody_was_there() -> None:
    """18:00-18:30 of a programme from 18:00 to 19:30 with a break at 18:45."""
    events = live(at("18:00"), at("18:30"), key="1") + live(at("18:50"), at("19:10"), key="1")
    report = made(events, passwords=named(**{"1": ("wort", "")}))
    _, (page,) = opened(report)
    grey = page.convert("L")
    # The bar is the only row of pixels that is dark at its left end and pale at its right.
    left, length = 15 / 25.4 * 144, 112 / 25.4 * 144

    def shades(y: int) -> list[int]:
        return [
            int(grey.getpixel((round(left + length * minute / 90), y)))  # type: ignore[arg-type]
            for minute in (2, 28, 33, 43, 47, 52, 58, 62, 68, 72, 88)
        ]

    dark, pale, none, between = 51, 222, 255, 168
    wanted = [dark, dark, pale, pale, none, between, between, dark, dark, pale, pale]
    assert any(
        all(abs(got - shade) < 12 for got, shade in zip(shades(y), wanted, strict=True))
        for y in range(page.height)
    )


@pytest.mark.slow
def test_what_stands_beside_a_password_goes_on_below_it() -> None:
    """However long both are, all of it is there, in letters that can be read, within the page, and nothing is
    over anything else."""
    label = " ".join(f"Wort{number:02}" for number in range(30))
    keys = [str(number) for number in range(1, 60)]
    events = [event for key in keys for event in live(at("18:00"), at("18:10"), key=key)]
    given = {
        key: ("W" * (128 if key == "2" else 12), "kurz" if key in ("1", "3") else label)
        for key in keys
    }
    report = made(events, passwords=named(**given))
    texts, pages = opened(report)
    whole = re.sub(r"\s+", " ", " ".join(texts))
    assert whole.count(label) == len(keys) - 2 and "…" not in whole
    assert whole.count("W" * 64) == 2
    assert len(pages) > 2
    size = ctypes.c_float()
    for page in pypdfium2.PdfDocument(pdf(report, "de")):
        ends: dict[float, float] = {}
        listed = list(page.get_objects([pypdfium2.raw.FPDF_PAGEOBJ_TEXT]))
        for each in listed:
            assert pypdfium2.raw.FPDFTextObj_GetFontSize(each.raw, size) and size.value >= 6
        bounds = sorted((each.get_bounds() for each in listed), key=lambda each: each[0])
        for left, bottom, right, _ in bounds:
            assert right <= 595 - 42 and left > ends.get(round(bottom), 0) and bottom > 20
            ends[round(bottom)] = right


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, 3, 9, 14])
def test_times_above_the_bars_do_not_run_into_each_other(hours: int) -> None:
    """Of one day, and of three."""
    for days in (("10",), ("10", "11", "12")):
        windows = tuple(
            (at("08:30", f"2026-03-{day}"), at("08:30", f"2026-03-{day}") + hours * 3_600_000)
            for day in days
        )
        options = Options("live", timezone=BERLIN, windows=windows, union=True)
        report = replace(EVENING, options=options)
        document = pypdfium2.PdfDocument(pdf(report, "de"))
        ends: dict[float, float] = {}
        for each in document[0].get_objects([pypdfium2.raw.FPDF_PAGEOBJ_TEXT]):
            left, bottom, right, top = each.get_bounds()
            # Of their size, and their line.
            if top - bottom < 5 and left < 400 and right - left < 60:
                line = round(bottom)
                assert left > ends.get(line, 0), (hours, days)
                ends[line] = right
        assert ends


@pytest.mark.slow
def test_paper_takes_whatever_there_is() -> None:
    long = {"password": "W" * 128, "label": "x" * 200, "test": True}
    for passwords in (
        {"1": long},
        named(**{"1": ("密码", "ملصق")}),
        named(**{"1": (None, "")}),
        {},
    ):
        texts, _ = opened(replace(EVENING, about=about(passwords=passwords, title="T" * 200)))
        assert len(texts) == 1 and "1:15:00" in texts[0]
    texts, _ = opened(made([]))
    assert WORDS["de"]["no_rows"] in texts[0]
    days = replace(EVENING, about=about(kind="stream", policy=None), options=Options("live"))
    days = replace(days, rows=[row for row in EVENING.rows if row["stream"] and row["day"]])
    assert "10.03.2026" in opened(days)[0][0]


# The audience


def bars(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Kind and height of each bar, by the panel's title."""
    root = ElementTree.fromstring(svg(report, "de"))
    name = "{http://www.w3.org/2000/svg}"
    return {
        panel.findtext(f"{name}text") or "": [
            (str(each.get("class")), str(each.get("height"))) for each in panel.iter(f"{name}rect")
        ]
        for panel in root.findall(f"{name}g")
    }


@pytest.mark.parametrize("count", range(1, 8))
def test_few_viewers_are_not_counted(count: int) -> None:
    events = [event for n in range(count) for event in live(BEGIN, END, key=str(n))]
    report = made(events, passwords=named(**{str(n): ("x", "") for n in range(count)}))
    (found,) = bars(report).values()
    told = svg(report, "de").decode()
    if count < 5:
        assert {kind for kind, _ in found} == {"few"} and "&lt; 5" in told
        (alone,) = bars(made(ONE, passwords=named(**{"1": ("x", "")}))).values()
        # One or four: there is no difference.
        assert found == alone
    else:
        assert {kind for kind, _ in found} == {"bar"} and f": {count}<" in told
    (curve,) = curves(report)
    assert all(bar.many in (None, count) for bar in curve.bars)


def test_tests_and_names_are_in_no_curve() -> None:
    events = [event for n in range(6) for event in live(BEGIN, END, key=str(n))]
    passwords = {
        str(n): {"password": f"geheim-{n}", "label": "Dr. Meier", "test": n < 2} for n in range(6)
    }
    report = made(events, passwords=passwords, title="<b>&Herz", streams={"Y": "<i>A"})
    told = svg(report, "de").decode()
    assert "geheim" not in told and "Meier" not in told and "<b>" not in told and "<i>" not in told
    assert {kind for each in bars(report).values() for kind, _ in each} == {"few"}
    assert ElementTree.fromstring(svg(made([]), "en")).tag.endswith("svg")
    assert "prefers-color-scheme:dark" in told


# Numbers as text


@pytest.mark.parametrize(
    ("ms", "of", "text"),
    [
        (4_500_000, 4_500_000, "100"),
        (4_499_999, 4_500_000, "99,9"),
        (0, 1000, "0"),
        (1000, 3000, "33,3"),
    ],
)
def test_nobody_has_a_share_that_was_not_reached(ms: int, of: int, text: str) -> None:
    assert printed(share(ms, of), Kind.DECIMAL, ",") == text
    assert printed(Fraction(5, 4), Kind.DECIMAL, ",") == "1,25"


def test_every_flag_is_told_in_words() -> None:
    row = dict(EVENING.rows[0]) | {"outage_ms": 90_000, "max_devices": 3}
    flags = "bulk_fetch clock_step deep_buffer downloaded outage overlap restored".split()
    from pystream.acl.reports.words import notes

    for locale in LOCALES:
        said = notes(row | {"flags": flags}, locale)
        assert len(said) == len(flags) and not set(said) & set(flags)
        assert "0:01:30" in said[4] and "3" in said[5]
    assert WORDS["de"].keys() == WORDS["en"].keys()


# Sealed


def events_of(audience: Audience) -> list[Event]:
    told = [
        json.loads(line)
        for name in ("film", "course")
        for line in audience.store.viewers.attendance.events(
            audience.keys, audience.acme, audience.ids[f"acme/{name}"]
        )
    ]
    return sorted(told, key=lambda event: int(event.get("t", event.get("t1"))))


def seal(audience: Audience, reason: str = "", log: Log | None = None) -> tuple[Version, Report]:
    noted = Log.of(events_of(audience)) if log is None else log

    def make() -> Report:
        return audience.reporter.of_event(audience.tenant, audience.event, LATER, whole=True)

    subject = Subject(event_id=audience.event.id)
    return audience.reporter.seal(
        subject, make, noted.checkpoint, KEY, reason, tenant=audience.tenant, **WHO
    )


def test_a_sealed_report_is_proven_by_the_log(audience: Audience) -> None:
    audience.viewer("eins", ALL)
    audience.viewer("zwei", (at("18:10"), 60), stream="course")
    log = Log(leaves(events_of(audience)))
    version, report = seal(audience, log=log)
    assert (version.number, version.reason, report.version) == (1, "", 1)
    assert report.document is not None
    verdict = verify(report.document, [KEY.verifier], io.BytesIO(log.export()))
    assert set(verdict.proofs) == {"recomputed"} and len(verdict.proofs) == len(report.rows)
    assert report.json() == report.document and [each.name for each in report.lines()] == [
        "eins",
        "zwei",
    ]
    # One word of it, and it is none.
    for old, new in ((b"Herz 2026", b"Herz 2027"), (b'"points":"1"', b'"points":"2"')):
        with pytest.raises(NotProven):
            verify(report.document.replace(old, new), [KEY.verifier])
    provisional = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    assert json.loads(provisional.json())["format"] == "pystream attendance provisional report 1"
    assert of_document(provisional.json()).json() == provisional.json()


def test_a_correction_is_another_version_with_a_reason(audience: Audience) -> None:
    audience.viewer("eins", ALL)
    first, one = seal(audience)
    with pytest.raises(InvalidValue, match="reason"):
        seal(audience)
    audience.store.events.set(audience.acme, "herz", {"vnr": "neu"}, **WHO)
    second, two = seal(audience, "VNR war falsch")
    assert (second.number, two.about["previous"], two.about["reason"]) == (
        2,
        first.digest,
        "VNR war falsch",
    )
    reporter, subject = audience.reporter, Subject(event_id=audience.event.id)
    assert reporter.sealed.versions(audience.acme, subject) == (first, second)
    # The first one stays as it was signed.
    assert reporter.version(audience.tenant, subject, 1).document == one.document
    assert reporter.version(audience.tenant, subject, 2).about["vnr"] == "neu"
    for number in (0, 3):
        with pytest.raises(NotFound):
            reporter.version(audience.tenant, subject, number)
    assert audience.store.audit.entries(audience.acme, most=1)[0].values == {
        "report_sealed": (None, 2)
    }
    with pytest.raises(StoreError, match="sealed reports"):
        audience.store.events.remove(audience.acme, "herz", **WHO)
    other = Subject(event_id=audience.event.id)
    with pytest.raises(NotFound):
        reporter.sealed.add(audience.other, other, lambda *_: b"", **WHO)


def test_no_version_is_ever_changed(audience: Audience) -> None:
    audience.viewer("eins", ALL)
    seal(audience)
    table, database = tables.attendance_report, audience.store.database
    with database.reading() as connection:
        before = connection.execute(select(table)).all()
    for changes in ({"version": 2}, {"sealed_document": b"x"}, {"reason": "x"}):
        with pytest.raises(StoreError), database.writing() as connection:
            connection.execute(update(table).values(changes))
    with database.reading() as connection:
        assert connection.execute(select(table)).all() == before
    # What is kept is sealed: neither a password nor a time can be read.
    assert b"eins" not in before[0].sealed_document and b"rows" not in before[0].sealed_document
    # A tenant that leaves takes them along.
    with database.writing() as connection:
        connection.execute(delete(tables.attendance_report_name))
        connection.execute(delete(table))


def test_who_erases_a_password_erases_it_in_sealed_reports(audience: Audience) -> None:
    """What was handed out is proven as ever; what is kept does not know it any more."""
    audience.viewer("bleibt", ALL, label="Saal 1")
    gone = audience.viewer("geheim", ALL, label="Dr. Meier")
    _, report = seal(audience)
    assert report.document is not None
    subject = Subject(event_id=audience.event.id)
    again = audience.reporter.version(audience.tenant, subject, 1)
    assert again.document == report.document and "Dr. Meier" in str(again.lines())
    audience.issuer.erase(audience.acme, [gone], **WHO)
    again = audience.reporter.version(audience.tenant, subject, 1)
    assert "geheim" not in str(again) and "Meier" not in str(again)
    assert [(line.name, line.points) for line in again.lines()] == [
        (f"#{gone}", "1"),
        ("bleibt", "1"),
    ]
    assert "gelöscht" in str(grid(again, "de").rows) and pdf(again, "de")
    with pytest.raises(PystreamError, match="erased since"):
        again.json()
    assert verify(report.document, [KEY.verifier]).document.rows == report.rows
    # Nothing of it is left in the file, or can be opened.
    with audience.store.database.reading() as connection:
        rows = connection.execute(select(tables.attendance_report_name)).mappings().all()
    references = [row["reference"] for row in rows]
    assert len(rows) == 2 and len(audience.keys.record_keys(audience.acme, references)) == 1
    # A name that was changed by hand is no erasure.
    with audience.store.database.writing() as connection:
        connection.execute(delete(tables.attendance_report_name))
    with pytest.raises(StoreError, match="not what was signed"):
        audience.reporter.version(audience.tenant, subject, 1)


def test_what_comes_in_while_it_is_sealed_is_waited_for(audience: Audience) -> None:
    id = audience.viewer("eins", ALL)
    subject = Subject(event_id=audience.event.id)
    log = Log.of(events_of(audience))
    count = 0

    def make() -> Report:
        return audience.reporter.of_event(audience.tenant, audience.event, LATER, whole=True)

    def sealing(restless: int) -> Version:
        nonlocal count
        count = 0

        def checkpoint() -> str:
            nonlocal count
            count += 1
            if count <= restless:
                audience.watch(id, at("18:00") + 6000 * count, 1, "course")
            return log.checkpoint()

        reporter = audience.reporter
        return reporter.seal(subject, make, checkpoint, KEY, tenant=audience.tenant, **WHO)[0]

    with pytest.raises(StoreError, match="still coming in"):
        sealing(9)
    assert audience.reporter.sealed.versions(audience.acme, subject) == ()
    assert sealing(1).number == 1 and count == 2


def test_a_report_is_sealed_when_its_days_are_over(audience: Audience) -> None:
    audience.viewer("eins", ALL)
    film, over = audience.store.stream("acme", "film"), at("00:00", "2026-03-11") // 1000
    evening = Wanted(audience.tenant, audience.event)
    for wanted in (evening, Wanted(audience.tenant, film, "2026-03-10")):
        check_over(wanted, over + 86_400)
        with pytest.raises(TooEarly, match="2026-03-11 23:00 UTC") as early:
            check_over(wanted, over + 86_399)
        assert early.value.since == over + 86_400
    audience.store.events.set(audience.acme, "herz", {"seal_after_s": 60}, **WHO)
    check_over(Wanted(audience.tenant, audience.event), over + 60)
    with pytest.raises(InvalidValue, match="day"):
        check_over(Wanted(audience.tenant, film), LATER)
    for day in ("1969-12-31", "2100-01-01", "x"):
        with pytest.raises(InvalidValue, match="day"):
            Wanted(audience.tenant, film, day)


def test_of_what_was_erased_the_report_says_how_much(audience: Audience) -> None:
    """What was watched with it is in no row, which a reader would not see otherwise."""
    made: dict[str, Any] = {"who": "eva", "now": at("12:00", "2026-03-01") // 1000}
    entries = [(text, PasswordSettings()) for text in ("bleibt", "weg", "nie", "vorher")]
    both = [audience.ids["acme/film"], audience.ids["acme/course"]]
    _, *gone, before = audience.issuer.add(audience.acme, both, entries, **made)
    for text in ("bleibt", "weg"):
        audience.viewer(text, ALL)
    audience.issuer.erase(audience.acme, [before], **made)
    for count, word in ((0, ""), (1, "1 Passwort"), (2, "2 Passwörter")):
        report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
        assert report.about["erased"] == count and len(report.lines()) == (1 if count else 2)
        text = b"".join(csv(grid(report, "de"))).decode()
        assert ("gelöscht: Was" in text) is bool(count) and word in text
        assert ("gelöscht" in " ".join(opened(report)[0])) is bool(count)
        assert of_document(report.json()).about["erased"] == count
        if count < len(gone):
            audience.issuer.erase(audience.acme, [gone[count]], **WHO)
    # Of a day on which it was not there yet, or not any more, it is not said.
    film = audience.store.stream("acme", "film")
    for day, count in (("2026-03-10", 2), ("2026-03-14", 0), ("2026-02-27", 0)):
        report = audience.reporter.of_stream(audience.tenant, film, day, LATER)
        assert report.about["erased"] == count, day


# From outside


def settle(here: Path) -> None:
    """Settings that name the stores of an audience."""
    key = here / "pystream.key"
    key.write_text(MASTER.hex())
    key.chmod(0o600)
    (here / "pystream.toml").write_text(
        "[store]\nurl = 'sqlite:///acl.db'\n"
        "[keys]\nmaster_key_file = 'pystream.key'\nstore = 'keys.db'\nerasures = 'erasures.txt'\n"
    )


@pytest.mark.slow
def test_the_command(here: Path) -> None:
    audience = Audience(here, with_tables(f"sqlite:///{here}/acl.db"))
    audience.viewer("000123", ALL, label="=2+2")
    audience.viewer("zwei", (at("18:10"), 60), stream="course")
    seal(audience)
    audience.close()
    settle(here)
    table = done("report", "acme/herz")
    assert re.search(r"000123 .*1:45:00 .*1:15:00 .* ja", table) and "vorläufig" in table
    assert "Veranstaltung: Herz 2026" in table and "Online ist" in table
    for ending, begin in (
        *(("csv", b"\xef\xbb\xbf"), ("json", b"{"), ("xlsx", b"PK")),
        *(("pdf", b"%PDF"), ("svg", b"<svg")),
    ):
        file = here / f"herz.{ending}"
        assert "2 lines, provisional" in done("report", "acme/herz", "-o", file)
        assert file.read_bytes().startswith(begin) and file.stat().st_mode & 0o777 == 0o600
        assert "--overwrite" in refused(1, "report", "acme/herz", "-o", file)
    assert done("report", "acme/herz", "--format", "csv").startswith("\ufeffPasswort;")
    (version,) = told("report", "acme/herz", "--versions")["versions"]
    signed = told("report", "acme/herz", "--version", "1")
    assert signed["about"]["version"] == version["version"] == 1 and "signature" in signed
    day = ("report", "acme/film", "--day", "2026-03-10")
    assert "000123" in done(*day, "--locale", "en") and "zwei" not in done(*day)
    assert told(*day, "--versions") == {"held": None, "versions": []}
    assert "no version 2" in refused(1, "report", "acme/herz", "--version", "2")
    assert "no event and no stream" in refused(1, "report", "acme/nichts")
    for wrong in (
        ("acme",),
        ("acme/herz", "-o", "herz.doc"),
        ("acme/film", "--versions"),
        ("acme/herz", "--day", "gestern"),
        ("acme/herz", "--format", "table", "-o", "x"),
    ):
        refused(2, "report", *wrong)
    views = [each for each in told("audit", "acme")["entries"] if "attendance_shown" in str(each)]
    # Each view and each export, and none of what was refused.
    assert len(views) == 1 + 5 + 1 + 1 + 2
    text = done("report", "--help")
    assert max(map(len, text.splitlines())) <= 80 and "exit codes:" in text


@pytest.mark.slow
def test_what_is_sealed_is_proven_elsewhere_by_a_public_key(here: Path) -> None:
    """Events, report, correction, and both of them verified against the exported log."""
    audience = Audience(here, with_tables(f"sqlite:///{here}/acl.db"), threshold_pct=80)
    audience.viewer("eins", ALL)
    audience.viewer("zwei", (at("18:10"), 60), stream="course")
    tomorrow = LATER + 5 * 10**8
    to_come = ((tomorrow * 1000, (tomorrow + 3600) * 1000),)
    later = replace(audience.event.settings, windows=to_come, breaks=())
    audience.store.events.add(audience.acme, "later", later, **WHO)
    audience.close()
    settle(here)
    report = ("report", "acme/herz")
    assert "2 lines, version 1" in done(*report, "--seal", "-o", "one.pdf")
    assert "Fassung: 1, versiegelt" in done(*report, "--version", "1")
    assert "wants one" in refused(2, *report, "--seal")
    done("attendance", "event", "set", "acme/herz", "--threshold-pct", "70")
    done(*report, "--seal", "--reason", "70 % waren vereinbart", "-o", "two.json")
    done(*report, "--version", "1", "-o", "one.json")
    for name, command in (("acme.pub", "key"), ("log.jsonl", "export")):
        (here / name).write_text(done("attendance", command, "acme"))
    facts = []
    for name in ("one.json", "two.json"):
        proof = ("--public-key", "acme.pub", "--evidence", "log.jsonl")
        facts.append(told("attendance", "verify", name, *proof))
    assert [each["about"]["version"] for each in facts] == [1, 2]
    said = done("attendance", "verify", "two.json", "--public-key", "acme.pub")
    assert said.splitlines()[0] == "valid        the report of acme/herz, version 2"
    assert {row["proof"] for each in facts for row in each["rows"]} == {"recomputed"}
    first, second = facts
    assert first["about"]["policy"]["threshold_pct"] == 80
    assert second["about"]["reason"] == "70 % waren vereinbart"
    text = (here / "two.json").read_text().replace('"threshold_pct":70', '"threshold_pct":10')
    (here / "two.json").write_text(text)
    refused(1, "attendance", "verify", "two.json", "--public-key", "acme.pub")
    listed = told(*report, "--versions")["versions"]
    assert [each["reason"] for each in listed] == ["", "70 % waren vereinbart"]
    assert "can be sealed from" in refused(1, "report", "acme/later", "--seal")
    for wrong in (("--reason", "x"), ("--seal", "--version", "1")):
        refused(2, *report, *wrong)
    refused(2, "report", "acme/film", "--seal")
    day = ("report", "acme/film", "--day", "2026-03-10")
    assert "1 line, version 1" in done(*day, "--seal", "-o", "day.csv")


def test_formats_load_what_they_need_alone() -> None:
    import subprocess

    code = "import sys, pystream.cli.report, pystream.acl.reports.table; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"reportlab", "xlsxwriter"} & set(ran.stdout.split())
