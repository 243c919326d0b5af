"""Events, reports, receipts and the log by the API, on both databases; and what is handed out is proven."""

from __future__ import annotations

import csv
import io
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from pystream.acl.people import SCOPES, of_token
from pystream.acl.reports.files import made
from pystream.attendance.checkpoint import cosigned
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.attendance.options import Options
from pystream.attendance.verification import verify
from pystream.server.office import printing, reporting, routing
from pystream.server.office.values import Asked, Office
from tests.audience import ALL, LATER, WHO, Audience
from tests.evidence import BERLIN, at, replayed
from tests.test_api import Got

pytestmark = pytest.mark.slow

DAY = "2026-03-10"
EVENT = {
    "name": "launch",
    "title": "Launch",
    "streams": ["film"],
    "windows": [{"begin": "2026-03-10T17:00:00Z", "end": "2026-03-10T19:30:00+01:00"}],
}


HOLDING = {"until": "2031-01-01T00:00:00+01:00", "reason": "die Kammer prüft"}


class House(Audience):
    """An office of an audience's stores, and a token of each tenant that may all."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.now = LATER
        self.office = Office.of(self.store, self.keys, lambda: self.now)
        self.tokens = {
            name: self.office.accounts.add_token(id, "all", SCOPES, None, **WHO)[1]
            for name, id in (("acme", self.acme), ("other", self.other))
        }

    def ask(
        self, method: str, path: str, body: Any = None, *, of: str = "acme", **fields: str
    ) -> Got:
        where, _, query = path.partition("?")
        named = {"authorization": f"Bearer {self.tokens[of]}", "content_type": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        asked = Asked(
            *(method, f"/api/v1{where}", query, named | fields, data, True, False, b"\x0a\0\0", "")
        )
        return Got(routing.answer(self.office, asked))

    def recorded(self, what: str) -> list[tuple[str | None, int]]:
        """What was seen of something, with the stream that it is of, the newest first."""
        entries = self.store.audit.entries(self.acme, most=1000)
        found = [each for each in entries if what in each.values]
        assert {each.who for each in found} <= {"token:all"}
        return [(each.stream, each.values[what][1]) for each in found]


@pytest.fixture
def house(url: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[House]:
    """A house where the database does not matter."""
    made = House(tmp_path, f"sqlite:///{tmp_path}/store.db")
    yield made
    made.close()


# Events


BEFORE: dict[str, Any] = {"lookahead_s": None, "bridge_ms": None, "credit_outage": False}


def test_events_are_added_changed_listed_and_removed(house: House) -> None:
    added = house.ask("POST", "/events", EVENT)
    assert added.status == 201 and added.headers["Location"] == "/api/v1/events/launch"
    assert added.json["timezone"] == BERLIN and added.json["programme_s"] == 5400
    # Told in the event's own zone, whichever they came in.
    assert added.json["windows"] == [
        {"begin": "2026-03-10T18:00:00+01:00", "end": "2026-03-10T19:30:00+01:00"}
    ]
    page = house.ask("GET", "/events?limit=1")
    assert [each["name"] for each in page.json["items"]] == ["herz"]
    page = house.ask("GET", f"/events?limit=1&cursor={page.json['next']}")
    assert page.json["items"] == [added.json] and page.json["next"] is None
    changes = {"rounding": "threshold_pct", "threshold_pct": 80, "streams": ["film", "course"]}
    changed = house.ask("PATCH", "/events/launch", changes)
    assert changed.json == added.json | changes | {"streams": ["course", "film"]}
    counted = {"lookahead_s": 30, "bridge_ms": 0, "credit_outage": True}
    changed = house.ask("PATCH", "/events/launch", counted)
    assert changed.json | counted == changed.json
    changed = house.ask("PATCH", "/events/launch", {"lookahead_s": None})
    assert (changed.json["lookahead_s"], changed.json["bridge_ms"]) == (None, 0)
    assert house.ask("GET", "/events/launch").json == changed.json
    assert house.ask("DELETE", "/events/launch").status == 204
    assert house.ask("GET", "/events/launch").kind == "not-found"
    told = [
        each.values for each in house.store.audit.entries(house.acme) if each.who == "token:all"
    ]
    assert [next(iter(each)) for each in told[:5]] == [
        "event_removed",
        *["event_changed"] * 3,
        "event_added",
    ]
    # By what reports are counted, each change is on record.
    assert told[2] == {
        "event_changed": (None, "launch"),
        **{name: (old, counted[name]) for name, old in BEFORE.items()},
    }


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"name": "Launch"}, ["#/name"]),
        ({"title": ""}, ["#/title"]),
        ({"title": "a\nb"}, ["#/title"]),
        ({"streams": ["nothing", "film"]}, ["#/streams/0"]),
        ({"streams": ["film", "film"]}, ["#/streams"]),
        ({"windows": []}, ["#/windows"]),
        ({"windows": [{"begin": "2026-03-10T18:00:00", "end": "x"}]}, ["#/windows/0/begin"]),
        (
            {"windows": [{"begin": "2026-03-10T18:00:00Z", "end": "2026-03-10T18:00:00Z"}]},
            ["#/windows"],
        ),
        ({"breaks": EVENT["windows"]}, ["#/breaks"]),
        ({"rounding": "up"}, ["#/rounding"]),
        ({"rounding": "threshold_pct"}, ["#/threshold_pct"]),
        ({"threshold_pct": 101}, ["#/threshold_pct"]),
        ({"seal_after_s": -1}, ["#/seal_after_s"]),
        ({"lookahead_s": 0}, ["#/lookahead_s"]),
        ({"bridge_ms": 5001}, ["#/bridge_ms"]),
        ({"credit_outage": None}, ["#/credit_outage"]),
        ({"zone": "UTC"}, ["#/zone"]),
    ],
)
def test_an_event_that_cannot_be(one: House, changes: dict[str, Any], places: list[str]) -> None:
    got = one.ask("POST", "/events", EVENT | changes)
    assert (got.kind, got.places) == ("invalid", places), got.json
    assert [each.name for each in one.store.events.listed(one.acme)] == ["herz"]
    if "name" not in changes:
        got = one.ask("PATCH", "/events/herz", changes)
        assert (got.kind, got.places) == ("invalid", places), got.json


def test_an_event_sent_again_is_added_once(one: House) -> None:
    first = one.ask("POST", "/events", EVENT, idempotency_key="k")
    again = one.ask("POST", "/events", EVENT, idempotency_key="k")
    assert again.json == first.json and again.headers["Idempotent-Replayed"] == "true"
    assert one.ask("POST", "/events", EVENT).kind == "exists"


def test_of_another_tenants_event_nothing_is_known(one: House) -> None:
    one.viewer("eins", ALL)
    seal(one)
    for method, path, body in (
        ("GET", "/events/herz", None),
        ("PATCH", "/events/herz", {"title": "mine"}),
        ("DELETE", "/events/herz", None),
        ("GET", "/events/herz/report", None),
        ("GET", "/events/herz/report?version=1", None),
        ("GET", "/events/herz/report/csv", None),
        ("GET", "/events/herz/versions", None),
        ("POST", "/events/herz/versions", {}),
        ("GET", "/events/herz/hold", None),
        ("PUT", "/events/herz/hold", HOLDING),
        ("DELETE", "/events/herz/hold", None),
    ):
        theirs = one.ask(method, path, body, of="other")
        nobodys = one.ask(method, path.replace("herz", "nichts"), body, of="other")
        assert theirs.kind == nobodys.kind == "not-found"
        assert theirs.json["detail"].replace("herz", "nichts") == nobodys.json["detail"]
    # Its stream of that name is another one.
    id = one.viewer("eins")
    assert one.ask("GET", "/streams/film/report", of="other").json["lines"] == []
    assert one.ask("GET", f"/streams/film/receipts/{id}", of="other").kind == "not-found"
    assert one.ask("GET", "/streams/film/evidence", of="other").body == b""


# Reports


def test_the_report_of_an_event_is_read(house: House) -> None:
    house.viewer("eins", ALL, label="=Saal")
    house.viewer("kammer", ALL, is_test=True)
    for number in range(5):
        house.viewer(f"viele {number}", (at("18:00"), 60), stream="course")
    got = house.ask("GET", "/events/herz/report")
    report = got.json
    assert (report["kind"], report["version"], report["definition"]) == (
        "event",
        None,
        "attendance-v1",
    )
    assert report["days"] == [DAY] and report["programme_s"] == 4500
    assert report["totals"] == {"passwords": 6, "certified": 6, "erased": 0, "restricted": 0}
    line = report["lines"][0]
    assert (line["password"], line["label"], line["points"]) == ("eins", "=Saal", 1)
    assert (line["online_ms"], line["certifiable_ms"]) == (6_300_000, 4_500_000)
    assert line["online"] == [
        {"begin": "2026-03-10T17:50:00+01:00", "end": "2026-03-10T19:35:00+01:00"}
    ]
    assert [each["test"] for each in report["lines"]] == [False, True] + [False] * 5
    curves = {each["stream"]: each for each in report["curves"]}
    # Five are told, one is not: who examines is in no sum.
    assert {bar["passwords"] for bar in curves["course"]["bars"]} == {5}
    assert {bar["passwords"] for bar in curves["film"]["bars"]} == {None}
    assert house.recorded("attendance_shown") == [(None, 7)]


def test_the_report_of_a_stream_is_by_day(house: House) -> None:
    id = house.viewer("eins", (at("23:30"), 60))
    lines = house.ask("GET", "/streams/film/report").json["lines"]
    assert [(each["day"], each["online_ms"]) for each in lines] == [
        (DAY, 1_800_000),
        ("2026-03-11", 1_800_000),
    ]
    assert {each["id"] for each in lines} == {str(id)}
    one = house.ask("GET", "/streams/film/report?day=2026-03-11").json
    assert [each["day"] for each in one["lines"]] == one["days"] == ["2026-03-11"]
    assert one["lines"][0]["points"] is None and one["totals"]["certified"] is None
    assert house.recorded("attendance_shown") == [("film", 1), ("film", 2)]
    for day, kind in (("2026-3-1", "malformed"), ("0001-01-01", "invalid"), ("x", "malformed")):
        got = house.ask("GET", f"/streams/film/report?day={day}")
        assert (got.kind, got.places) == (kind, ["day"])
    # A version is of a day.
    assert house.ask("GET", "/streams/film/report?version=1").kind == "invalid"


KINDS = {
    "csv": ("text/csv; charset=utf-8", b"\xef\xbb\xbf"),
    "json": ("application/json", b"{"),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
    "pdf": ("application/pdf", b"%PDF"),
    "svg": ("image/svg+xml", b"<svg"),
}


def test_a_report_is_downloaded_in_each_format(one: House) -> None:
    one.viewer("000123", ALL, label="=2+2")
    one.viewer("@zwei", (at("18:00"), 60), label="=cmd|' /C calc'!A0")
    for place, name in (
        ("/events/herz", "herz"),
        (f"/streams/film?day={DAY}", f"film-{DAY}"),
    ):
        path, _, query = place.partition("?")
        for shape, (kind, begin) in KINDS.items():
            got = one.ask("GET", f"{path}/report/{shape}?{query}")
            assert got.status == 200 and got.body.startswith(begin)
            assert got.headers["Content-Type"] == kind
            assert got.headers["Content-Disposition"] == f'attachment; filename="{name}.{shape}"'
            assert "default-src 'none'" in got.headers["Content-Security-Policy"]
    assert [count for _, count in one.recorded("attendance_shown")] == [2] * 10
    # No cell is run as a formula (CWE-1236).
    text = one.ask("GET", "/events/herz/report/csv?locale=en").body.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    assert rows[0][0] == "Password" and rows[1][:2] == ["000123", "'=2+2"]
    assert rows[2][:2] == ["'@zwei", "'=cmd|' /C calc'!A0"]
    assert not [cell for row in rows for cell in row if cell[:1] in set("=+-@\t\r")]
    pages = pypdfium2.PdfDocument(one.ask("GET", "/events/herz/report/pdf?locale=en").body)
    assert "provisional, not sealed" in pages[0].get_textpage().get_text_range()
    # What is wrong is not on record as a view.
    before = one.recorded("attendance_shown")
    assert one.ask("GET", "/events/herz/report/doc").kind == "not-found"
    assert one.ask("GET", "/events/herz/report/pdf", accept="text/csv").kind == "not-acceptable"
    assert one.ask("GET", "/events/herz/report/pdf?version=1").kind == "not-found"
    assert one.ask("GET", "/events/herz/report/pdf?locale=fr").kind == "malformed"
    assert one.recorded("attendance_shown") == before


def test_what_takes_long_is_printed_by_another_process(one: House) -> None:
    one.viewer("eins", ALL)
    wanted = reporting.of_event(one.office, actor(one), "herz")
    report = reporting.report(one.office, actor(one), wanted)
    for shape in ("pdf", "xlsx"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert reporting.file(report, shape, "de") == made(report, shape, "de")
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    assert printing.reported(report, "csv", "en") == made(report, "csv", "en")


def actor(house: House) -> Any:
    found = house.office.accounts.token(house.tokens["acme"], house.now)
    assert found is not None
    return of_token(found)


# Sealed versions


def seal(house: House, reason: str = "") -> Any:
    got = house.ask("POST", "/events/herz/versions", {"reason": reason})
    assert got.status == 201, got.json
    return got.json


def test_a_sealed_report_is_proven_by_what_the_api_hands_out(house: House) -> None:
    house.viewer("eins", ALL)
    house.viewer("zwei", (at("18:10"), 60), stream="course")
    house.now = at("12:00", "2026-03-11") // 1000
    early = house.ask("POST", "/events/herz/versions", {})
    assert early.kind == "too-early" and "2026-03-11 23:00 UTC" in early.json["detail"]
    house.now = LATER
    first = seal(house)
    assert first["version"] == 1 and first["reason"] == ""
    again = house.ask("POST", "/events/herz/versions", {})
    assert (again.kind, again.places) == ("invalid", ["#/reason"])
    assert house.ask("PATCH", "/events/herz", {"vnr": "neu"}).status == 200
    second = seal(house, "VNR war falsch")
    listed = house.ask("GET", "/events/herz/versions").json["items"]
    assert listed == [first, second]
    assert house.ask("DELETE", "/events/herz").kind == "in-use"
    key = VerifierKey.parse(house.ask("GET", "/attendance/key").json["key"])
    log = house.ask("GET", "/attendance/log")
    assert log.headers["Content-Type"] == "application/jsonl"
    for number in (1, 2):
        got = house.ask("GET", f"/events/herz/report/json?version={number}")
        name = f'attachment; filename="herz-v{number}.json"'
        assert got.headers["Content-Disposition"] == name
        verdict = verify(got.body, [key], io.BytesIO(log.body))
        assert set(verdict.proofs) == {"recomputed"} and len(verdict.proofs) > 2
        assert verdict.document.about["version"] == number
        shown = house.ask("GET", f"/events/herz/report?version={number}").json
        assert shown["version"] == number and len(shown["lines"]) == 2
    assert shown["reason"] == "VNR war falsch" and shown["vnr"] == "neu"
    leaves = log.body.count(b"\n") - 1
    assert house.recorded("attendance_signed") == [(None, leaves)]
    assert house.recorded("report_sealed") == [(None, 2), (None, 1)]
    assert house.ask("GET", "/events/herz/report?version=3").kind == "not-found"


def test_of_a_version_with_an_erased_password_there_is_no_document(one: House) -> None:
    one.viewer("bleibt", ALL)
    gone = one.viewer("geheim", ALL, label="Dr. Meier")
    seal(one)
    one.issuer.erase(one.acme, [gone], **WHO)
    assert one.ask("GET", "/events/herz/report/json?version=1").kind == "erased"
    shown = one.ask("GET", "/events/herz/report?version=1")
    assert {each["password"] for each in shown.json["lines"]} == {"bleibt", None}
    for shape in ("csv", "pdf", "svg"):
        got = one.ask("GET", f"/events/herz/report/{shape}?version=1")
        assert got.status == 200 and b"Meier" not in got.body and b"geheim" not in got.body
    # Of now, its rows are gone, and the report says so.
    now = one.ask("GET", "/events/herz/report").json
    assert [each["password"] for each in now["lines"]] == ["bleibt"]
    assert now["totals"]["passwords"] == 1


def test_a_day_of_a_stream_is_sealed(one: House) -> None:
    one.viewer("eins", ALL)
    path = "/streams/film/versions"
    assert one.ask("POST", path, {"day": "2026-03-12"}).kind == "too-early"
    assert one.ask("POST", path, {}).places == ["#/day"]
    assert one.ask("POST", path, {"day": DAY, "reason": "x"}).places == ["#/reason"]
    made = one.ask("POST", path, {"day": DAY})
    assert made.status == 201 and made.json["version"] == 1
    assert one.ask("GET", f"{path}?day={DAY}").json["items"] == [made.json]
    assert one.ask("GET", f"{path}?day=2026-03-09").json["items"] == []
    got = one.ask("GET", f"/streams/film/report/csv?day={DAY}&version=1")
    assert f"film-{DAY}-v1.csv" in got.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("path", "query", "of"),
    [("/events/herz", "", "herz"), ("/streams/film", f"?day={DAY}", DAY)],
)
def test_a_sealed_report_is_held_and_released(house: House, path: str, query: str, of: str) -> None:
    place = f"{path}/hold{query}"
    id = house.viewer("eins", ALL)
    assert house.ask("GET", place).kind == "not-found"
    assert house.ask("PUT", place, HOLDING).kind == "not-found"
    sealing = {} if query == "" else {"day": DAY}
    assert house.ask("POST", f"{path}/versions", sealing).status == 201
    assert house.ask("GET", f"{path}/versions{query}").json["held"] is None
    held = house.ask("PUT", place, HOLDING)
    wanted = {"until": "2030-12-31T23:00:00Z", "reason": "die Kammer prüft"}
    assert held.status == 200 and held.json == wanted | {"since": "2026-03-12T11:00:00Z"}
    assert house.ask("GET", place).json == held.json
    assert house.ask("GET", f"{path}/versions{query}").json["held"] == held.json
    # Of another day, or of the event alone, nothing is held.
    assert house.ask("GET", "/streams/film/hold?day=2026-03-11").kind == "not-found"
    refused = house.ask("POST", "/passwords/erase", {"ids": [str(id)]})
    assert refused.kind == "invalid" and "2030-12-31: die Kammer" in refused.json["detail"]
    # Another hold takes its place.
    again = house.ask("PUT", place, HOLDING | {"reason": "ein Gericht"})
    assert house.ask("GET", place).json == again.json != held.json
    assert house.ask("DELETE", place).status == 204
    assert house.ask("GET", place).kind == house.ask("DELETE", place).kind == "not-found"
    assert house.ask("POST", "/passwords/erase", {"ids": [str(id)]}).status == 200
    stream = "film" if query else None
    entries = house.store.audit.entries(house.acme, most=1000)
    told = [each for each in entries if "report_of" in each.values]
    assert {(each.who, each.stream) for each in told} == {("token:all", stream)}
    assert [next(iter(each.values)) for each in told] == [
        *("report_released", "report_held", "report_held")
    ]
    assert {each.values["report_of"][1] for each in told} == {of}


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"until": "2026-03-12T12:00:00+01:00"}, ["#/until"]),
        ({"until": "2031-01-01"}, ["#/until"]),
        ({"until": "9999-12-31T23:59:59-23:00"}, ["#/until"]),
        ({"until": None, "reason": None}, ["#/reason", "#/until"]),
        ({"reason": ""}, ["#/reason"]),
        ({"reason": " "}, ["#/reason"]),
        ({"reason": "a\nb"}, ["#/reason"]),
        ({"reason": "x" * 501}, ["#/reason"]),
        ({"why": "x"}, ["#/why"]),
    ],
)
def test_a_hold_that_cannot_be(one: House, changes: dict[str, Any], places: list[str]) -> None:
    one.viewer("eins", ALL)
    seal(one)
    got = one.ask("PUT", "/events/herz/hold", HOLDING | changes)
    assert (got.kind, sorted(got.places)) == ("invalid", places), got.json
    assert one.ask("GET", "/events/herz/hold").kind == "not-found"
    other = one.ask("PUT", "/events/herz/hold", HOLDING, content_type="text/csv")
    assert other.kind == "media-type" and other.headers["Accept"] == "application/json"


def test_a_stream_stays_as_long_as_a_report_of_its_day_is_held(one: House) -> None:
    one.viewer("eins", ALL)
    assert one.ask("POST", "/streams/film/versions", {"day": DAY}).status == 201
    place = f"/streams/film/hold?day={DAY}"
    assert one.ask("PUT", place, HOLDING).status == 200
    stays = one.ask("DELETE", "/streams/film")
    assert stays.kind == "in-use"
    for said in (DAY, "2030-12-31 23:00 UTC", "die Kammer prüft", "--release"):
        assert said in stays.json["detail"]
    assert one.ask("GET", "/streams/film").status == 200
    # Another one's is none of its own.
    assert one.ask("DELETE", "/streams/course").status == 204
    assert one.ask("DELETE", place).status == 204
    assert one.ask("DELETE", "/streams/film").status == 204


def test_a_stream_goes_once_the_hold_is_over(one: House) -> None:
    one.viewer("eins", ALL)
    assert one.ask("POST", "/streams/film/versions", {"day": DAY}).status == 201
    place = f"/streams/film/hold?day={DAY}"
    assert one.ask("PUT", place, HOLDING | {"until": "2026-03-12T13:00:00+01:00"}).status == 200
    one.now += 3599
    assert one.ask("DELETE", "/streams/film").kind == "in-use"
    one.now += 1
    assert one.ask("GET", place).kind == one.ask("DELETE", place).kind == "not-found"
    assert one.ask("DELETE", "/streams/film").status == 204


def test_reports_that_are_sealed_are_listed_with_what_holds_them(house: House) -> None:
    house.viewer("eins", ALL)
    seal(house)
    seal(house, "VNR war falsch")
    house.now += 60
    for stream in ("film", "course"):
        assert house.ask("POST", f"/streams/{stream}/versions", {"day": DAY}).status == 201
        house.now += 60
    assert house.ask("PUT", "/events/herz/hold", HOLDING).status == 200

    def listed(skip: int = 0, most: int = 9) -> list[tuple[str, str | None, int, str | None]]:
        token = house.office.accounts.token(house.tokens["acme"], house.now)
        assert token is not None
        found = reporting.sealed(house.office, of_token(token), skip=skip, most=most)
        return [
            (each.name, each.subject.day, each.versions, each.hold.reason if each.hold else None)
            for each in found
        ]

    all = [
        *(("course", DAY, 1, None), ("film", DAY, 1, None)),
        ("herz", None, 2, "die Kammer prüft"),
    ]
    assert listed() == all
    assert listed(skip=1, most=1) == all[1:2]
    assert house.ask("DELETE", "/streams/film").status == 204
    assert listed() == [all[0], all[2]]


# Receipts and the log


def test_a_receipt_is_proven(house: House) -> None:
    id = house.viewer("eins", ALL, (at("18:00", "2026-03-11"), 10))
    never = house.viewer("nie")
    key = VerifierKey.parse(house.ask("GET", "/attendance/key").json["key"])
    for query, days in (("", 2), (f"?day={DAY}", 1)):
        got = house.ask("GET", f"/streams/film/receipts/{id}{query}")
        assert got.headers["Content-Type"] == "application/json"
        verdict = verify(got.body, [key])
        assert verdict.document.receipt is not None and verdict.document.receipt.key == str(id)
        assert len(verdict.document.rows) == days
    assert house.recorded("attendance_receipts") == [("film", 1)] * 2
    for path in (f"film/receipts/{never}", f"course/receipts/{id}", "film/receipts/7"):
        assert house.ask("GET", f"/streams/{path}").kind == "not-found"
    assert house.ask("GET", f"/streams/film/receipts/{id}?day=2026-03-01").kind == "not-found"
    assert house.recorded("attendance_receipts") == [("film", 1)] * 2


def test_evidence_is_exported_as_replay_reads_it(one: House) -> None:
    id = one.viewer("eins", ALL)
    got = one.ask("GET", f"/streams/film/evidence?day={DAY}")
    events = [json.loads(line) for line in got.body.splitlines()]
    assert len(events) == 1050 and got.headers["Content-Type"] == "application/jsonl"
    (row,) = replayed(events, Options("file", timezone=BERLIN))
    assert (row["key"], row["access_ms"]) == (str(id), 6_300_000)
    assert one.ask("GET", "/streams/film/evidence").body == got.body
    assert one.ask("GET", "/streams/film/evidence?day=2026-03-01").body == b""
    assert one.recorded("attendance_shown") == [("film", 0), ("film", 1050), ("film", 1050)]


def test_what_is_too_long_for_an_answer_is_refused(
    one: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.viewer("eins", ALL)
    one.ask("GET", "/attendance/key")
    for most, status in ((1050, 200), (1049, 422)):
        monkeypatch.setattr(reporting, "MOST_EVENTS", most)
        for path in ("/attendance/log", "/streams/film/evidence"):
            assert one.ask("GET", path).status == status, path
    assert one.recorded("attendance_signed") == [(None, 1050)]


def test_checkpoints_are_signed_listed_and_cosigned(house: House) -> None:
    assert house.ask("POST", "/attendance/checkpoints").kind == "not-found"
    assert house.ask("GET", "/attendance/checkpoints").json == {"items": [], "next": None}
    assert house.ask("GET", "/attendance/key", of="other").kind == "not-found"
    key = house.ask("GET", "/attendance/key").json["key"]
    made = []
    for clock in ("18:00", "19:00"):
        house.viewer("eins", (at(clock), 10))
        made.append(house.ask("POST", "/attendance/checkpoints").json)
    # One that is over nothing more is the same.
    assert house.ask("POST", "/attendance/checkpoints").json == made[1]
    assert [each["size"] for each in made] == [100, 200]
    first = house.ask("GET", "/attendance/checkpoints?limit=1")
    assert first.json["items"] == [made[1]]
    more = house.ask("GET", f"/attendance/checkpoints?limit=1&cursor={first.json['next']}")
    assert more.json == {"items": [made[0]], "next": None}
    assert key.partition("+")[0] in made[0]["note"]
    office = SigningKey.generate("acme.example/office", cosigns=True)
    note = cosigned(made[0]["note"], office, LATER)
    path = "/attendance/cosignatures"
    assert "no cosigner" in house.ask("POST", path, {"note": note}).json["detail"]
    house.ask("PATCH", "/tenant", {"checkpoint_cosigner": str(office.verifier)})
    for wrong in ("x", made[0]["note"], note.replace("\n100\n", "\n101\n")):
        got = house.ask("POST", path, {"note": wrong})
        assert (got.kind, got.places) == ("invalid", ["#/note"]), wrong
    assert house.ask("POST", path, {"note": note}).json["cosigners"] == ["acme.example/office"]
    listed = house.ask("GET", "/attendance/checkpoints").json["items"]
    assert [each["cosigners"] for each in listed] == [[], ["acme.example/office"]]
    assert house.ask("GET", "/attendance/timestamp").kind == "not-found"
