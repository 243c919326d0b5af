"""Events: what is attended, and what a time of it is worth."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.attendance.options import Options
from pystream.attendance.policies import ROUNDINGS, Award, Policy, award, decimal, problems
from pystream.attendance.programmes import (
    EventSettings,
    check_name,
    days,
    is_vnr,
    midnights,
    programme,
    programme_ms,
    span,
    written,
)
from pystream.attendance.programmes import problems as wrong_with
from pystream.errors import Exists, InvalidValue, NotFound
from tests.evidence import BERLIN, at, live, replayed
from tests.program import run
from tests.test_cli_store import done, here, refused, told
from tests.test_viewers import NOW, Stores, stores, url

__all__ = ["here", "stores", "url"]

WHO: dict[str, Any] = {"who": "eva", "now": NOW}
MINUTE = 60_000
EVENING = ((at("18:00"), at("19:30")),)
COFFEE = ((at("18:45"), at("19:00")),)
SETTINGS = EventSettings(
    title="Herz 2026",
    vnr="0276090901234567890",
    streams=("film",),
    timezone=BERLIN,
    windows=EVENING,
    breaks=COFFEE,
)


# What time is worth


def test_t20_is_one_point() -> None:
    """4,500 s of an evening of 75 minutes, by the ledger's own row."""
    options = Options("live", timezone=BERLIN, windows=EVENING, breaks=COFFEE)
    rows = replayed(live(at("17:50"), at("19:35")), options)
    (row,) = [row for row in rows if row["day"] is None]
    assert row["certifiable_ms"] == 4_500_000 == programme_ms(EVENING, COFFEE)
    assert award(Policy(), row["certifiable_ms"], programme_ms(EVENING, COFFEE)) == Award(
        True, Fraction(1)
    )


@pytest.mark.parametrize(
    ("rounding", "minutes", "points"),
    [
        ("floor45", 44.99, "0"),
        ("floor45", 45, "1"),
        ("floor45", 89.99, "1"),
        ("floor45", 90, "2"),
        ("ama_quarter", 7.49, "0"),
        ("ama_quarter", 7.5, "0.25"),
        ("ama_quarter", 22.49, "0.25"),
        ("ama_quarter", 22.5, "0.5"),
        ("ama_quarter", 52, "0.75"),
        ("ama_quarter", 60, "1"),
        ("ama_quarter", 75, "1.25"),
    ],
)
def test_worked_examples(rounding: str, minutes: float, points: str) -> None:
    got = award(Policy(rounding=rounding), round(minutes * MINUTE), 90 * MINUTE)
    assert got.points is not None and decimal(got.points) == points
    assert got.certified is (points != "0")


@pytest.mark.parametrize(
    ("policy", "minutes", "certified"),
    [
        (Policy(rounding="threshold_pct", threshold_pct=80), 72, True),
        (Policy(rounding="threshold_pct", threshold_pct=80), 71.98, False),
        (Policy(rounding="threshold_pct", threshold_pct=100), 90, True),
        (Policy(rounding="threshold_pct", threshold_pct=1), 0, False),
        (Policy(threshold_pct=80), 71, False),
        (Policy(threshold_pct=80), 72, True),
        (Policy(least_minutes=60), 59.9, False),
        (Policy(least_minutes=60), 60, True),
    ],
)
def test_thresholds(policy: Policy, minutes: float, certified: bool) -> None:
    got = award(policy, round(minutes * MINUTE), 90 * MINUTE)
    assert got.certified is certified
    if policy.rounding == "threshold_pct":
        assert got.points is None
    elif not certified:
        assert got.points == 0


POLICIES = st.builds(
    Policy,
    rounding=st.sampled_from(ROUNDINGS),
    threshold_pct=st.integers(1, 100),
    least_minutes=st.none() | st.integers(1, 300),
)
TIMES = st.integers(0, 10 * 60 * MINUTE)


@given(POLICIES, TIMES, TIMES, st.integers(1000, 10 * 60 * MINUTE))
def test_more_time_is_never_worth_less(policy: Policy, one: int, two: int, of: int) -> None:
    less, more = (award(policy, ms, of) for ms in sorted((one, two)))
    assert less.certified <= more.certified
    assert (less.points is None) == (more.points is None) == (policy.rounding == "threshold_pct")
    assert less.points is None or more.points is None or less.points <= more.points


@given(TIMES, st.integers(1000, 10 * 60 * MINUTE))
def test_points_are_within_their_rounding_of_the_time(ms: int, of: int) -> None:
    exact = Fraction(ms // 1000)
    full = award(Policy(), ms, of).points
    assert full is not None and 0 <= exact / 2700 - full < 1 and full.denominator == 1
    quarters = award(Policy(rounding="ama_quarter"), ms, of).points
    assert quarters is not None and abs(exact / 3600 - quarters) <= Fraction(1, 8)
    assert Fraction(decimal(quarters)) == quarters


def test_what_is_no_policy() -> None:
    wrong = [
        Policy(rounding="floor30"),
        Policy(rounding="threshold_pct"),
        Policy(threshold_pct=0),
        Policy(threshold_pct=101),
        Policy(least_minutes=0),
    ]
    for policy in wrong:
        assert list(problems(policy))
        with pytest.raises(InvalidValue):
            award(policy, 1, 1)


# The programme


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda each: (each[0], sum(each))),
    max_size=6,
)


@given(SPANS, SPANS)
def test_a_programme_is_all_windows_without_all_breaks(windows: Any, breaks: Any) -> None:
    def covered(spans: Any) -> set[int]:
        return {instant for begin, end in spans for instant in range(begin, end)}

    found = programme(windows, breaks)
    assert covered(found) == covered(windows) - covered(breaks)
    assert all(end < begin for (_, end), (begin, _) in zip(found, found[1:], strict=False))
    assert programme_ms(windows, breaks) == len(covered(found))


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-03-10T18:00/19:30", 1.5),
        ("2026-03-10 18:00:30/19:30:30", 1.5),
        ("2026-03-10T23:00/2026-03-11T00:30", 1.5),
        ("2026-03-29T01:30/03:30", 1),
        # What comes twice is meant whole.
        ("2026-10-25T02:00/03:00", 2),
        ("2026-10-25T02:30/02:45", 1.25),
    ],
)
def test_civil_times(text: str, hours: float) -> None:
    begin, end = span(text, BERLIN)
    assert end - begin == hours * 3_600_000
    local = datetime.fromtimestamp(begin / 1000, ZoneInfo(BERLIN))
    assert local.isoformat()[:16] == text[:16].replace(" ", "T")
    if "02:" not in text:
        assert span(written((begin, end), BERLIN), BERLIN) == (begin, end)


@pytest.mark.parametrize(
    "text",
    [
        *("", "today", "18:00/19:00", "2026-03-10T19:00/18:00", "2026-03-10T18:00/18:00"),
        *("2026-02-30T18:00/19:00", "2026-03-10T24:00/25:00", "2026-03-10T18:00Z/19:00Z"),
        "2026-03-29T02:30/03:30",
        "2026-03-10T18:00/2026-03-10",
    ],
)
def test_what_are_no_civil_times(text: str) -> None:
    with pytest.raises(InvalidValue):
        span(text, BERLIN)


def test_days_and_where_they_begin() -> None:
    assert days([span("2026-03-10T18:00/2026-03-12T00:00", BERLIN)], BERLIN) == (
        "2026-03-10",
        "2026-03-11",
    )
    for day, zone, hours in (
        ("2026-03-29", BERLIN, 23),
        ("2026-10-25", BERLIN, 25),
        ("2018-11-04", "America/Sao_Paulo", 23),
        ("2026-03-10", "UTC", 24),
    ):
        begin, end = midnights(day, day, zone)
        assert end - begin == hours * 3_600_000
        assert days([(begin, end)], zone) == (day,)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        # Of the chambers' server for tests.
        *((text, True) for text in ("2760012024200354002", "2760012024200355009")),
        *((text, False) for text in ("2760012024200354003", "2760012024200345002", "0276")),
        *((text, False) for text in ("27600120242003540020", "276001202420035400", "")),
        *((text, False) for text in ("2760012024200354002\n", "276001202420035400\u0662")),
    ],
)
def test_a_number_of_a_german_chamber_is_known_by_its_digits(text: str, fits: bool) -> None:
    assert is_vnr(text) is fits


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"title": " "}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"vnr": "1" * 41}, "vnr"),
        ({"streams": ()}, "streams"),
        ({"streams": ("a", "a")}, "twice"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"windows": ()}, "windows"),
        ({"windows": ((5, 5),)}, "windows"),
        ({"breaks": EVENING}, "leave nothing"),
        ({"rounding": "up"}, "rounding"),
        ({"seal_after_s": -1}, "seal_after_s"),
        ({"lookahead_s": 0}, "lookahead_s"),
        ({"lookahead_s": 601}, "lookahead_s"),
        ({"bridge_ms": -1}, "bridge_ms"),
        ({"bridge_ms": 5001}, "bridge_ms"),
    ],
)
def test_what_is_no_event(changes: dict[str, Any], said: str) -> None:
    assert wrong_with(SETTINGS) == ()
    assert said in "; ".join(wrong_with(replace(SETTINGS, **changes)))


# In the store


def test_events_are_added_changed_and_removed(stores: Stores) -> None:
    events, acme = stores.store.events, stores.acme
    made = events.add(acme, "herz", SETTINGS, **WHO)
    assert made.settings == SETTINGS and events.event(acme, "herz") == made
    assert events.stream_ids(acme, "herz") == (stores.ids["acme/film"],)
    with pytest.raises(Exists):
        events.add(acme, "herz", SETTINGS, **WHO)
    # Another tenant has names of its own.
    other = events.add(stores.other, "herz", SETTINGS, **WHO)
    changes: dict[str, Any] = {
        "streams": ("course", "film"),
        "breaks": (),
        "threshold_pct": 80,
    }
    changed = events.set(acme, "herz", changes, **WHO)
    assert changed.settings == replace(SETTINGS, **changes)
    assert events.set(acme, "herz", changes, **WHO) == changed
    entries = stores.store.audit.entries(acme, most=3)
    assert entries[0].values == {
        "event_changed": (None, "herz"),
        "streams": (("film",), ("course", "film")),
        "breaks": (("2026-03-10T18:45/19:00",), ()),
        "threshold_pct": (None, 80),
    }
    assert entries[1].values["event_added"] == (None, "herz")
    # A stream that was removed stays in its event, and comes into no other.
    stores.store.remove_stream("acme", "film", **WHO)
    assert events.set(acme, "herz", {"title": "Herz"}, **WHO).settings.streams == ("course", "film")
    again = {"streams": ("film",)}
    assert events.set(acme, "herz", again, **WHO).settings.streams == ("film",)
    with pytest.raises(NotFound):
        events.add(acme, "later", SETTINGS, **WHO)
    events.remove(acme, "herz", **WHO)
    assert events.listed(acme) == () and events.listed(stores.other) == (other,)
    assert stores.store.audit.entries(acme, most=1)[0].values == {"event_removed": (None, "herz")}


def test_what_cannot_be_stored_leaves_nothing(stores: Stores) -> None:
    events, acme = stores.store.events, stores.acme
    for name, settings, error in (
        ("Herz 2026", SETTINGS, InvalidValue),
        ("herz", replace(SETTINGS, title=""), InvalidValue),
        ("herz", replace(SETTINGS, streams=("film", "nothing")), NotFound),
    ):
        with pytest.raises(error):
            events.add(acme, name, settings, **WHO)
    with pytest.raises(InvalidValue):
        events.add(acme, "herz", SETTINGS, who="", now=NOW)
    assert events.listed(acme) == ()
    with pytest.raises(NotFound):
        events.set(acme, "herz", {"title": "x"}, **WHO)
    with pytest.raises(NotFound):
        events.remove(acme, "herz", **WHO)
    events.add(acme, "herz", SETTINGS, **WHO)
    for changes in ({"colour": "red"}, {"windows": ()}):
        with pytest.raises(InvalidValue):
            events.set(acme, "herz", changes, **WHO)
    assert events.event(acme, "herz").settings == SETTINGS
    with pytest.raises(InvalidValue):
        check_name("-x")


# From outside


@pytest.mark.slow
def test_the_command(here: Path) -> None:
    done("tenant", "add", "acme", "--timezone", BERLIN)
    (here / "a.mp4").write_bytes((Path(__file__).parent / "media" / "plain.mp4").read_bytes())
    done("stream", "add", "acme/film", "--source", here / "a.mp4")
    event = ("attendance", "event")
    words = ("--title", "Herz", "--stream", "film", "--window", "2026-03-10T18:00/19:30")
    added = run(*event, "add", "acme/herz", *words, "--vnr", "0276")
    assert added.returncode == 0 and "acme/herz is added" in added.stdout
    assert "warning: 0276 is kept, though a VNR of a German chamber has 19 digits" in added.stderr
    fitting = run(*event, "set", "acme/herz", "--vnr", "2760012024200354002")
    assert (fitting.returncode, fitting.stderr) == (0, "")
    assert "warning" in run(*event, "set", "acme/herz", "--vnr", "0276").stderr
    shown = told(*event, "show", "acme/herz")
    assert shown["vnr"] == "0276" and shown["programme_s"] == 5400 and shown["timezone"] == BERLIN
    assert told(*event, "set", "acme/herz", "--seal-after", "0s")["seal_after_s"] == 0
    # The zone that it was written in is the event's.
    done("tenant", "set", "acme", "--timezone", "UTC")
    more = (
        "--break",
        "2026-03-10T18:45/19:00",
        "--rounding",
        "threshold_pct",
        "--threshold-pct",
        "80",
    )
    changed = told(*event, "set", "acme/herz", *more, "--by", "eva")
    assert changed["programme_s"] == 4500 and changed["windows"] == ["2026-03-10T18:00/19:30"]
    assert told(*event, "set", "acme/herz", "--break", "none")["breaks"] == []
    assert [each["name"] for each in told(*event, "list", "acme")["events"]] == ["herz"]
    assert "2026-03-10T18:00/19:30" in done(*event, "list", "acme")
    assert "--title" in refused(2, *event, "add", "acme/neu", "--title", "x")
    assert "nothing to change" in refused(2, *event, "set", "acme/herz")
    wrong = ("--window", "2026-03-10T19:30/18:00")
    assert "set: --window 2026-03-10T19:30/18:00: FROM has to be before TO" in refused(
        2, *event, "set", "acme/herz", *wrong
    )
    wrong = ("--break", "2026-03-10T18:45/24:00")
    assert "set: --break 2026-03-10T18:45/24:00: FROM/TO is wanted" in refused(
        2, *event, "set", "acme/herz", *wrong
    )
    assert "no event" in refused(1, *event, "show", "acme/nothing")
    done(*event, "remove", "acme/herz")
    assert told(*event, "list", "acme") == {"events": []}
    on_record = json.dumps(told("audit", "acme"))
    assert "event_removed" in on_record and "eva" in on_record
    for action in ("", "add", "set", "list", "show", "remove"):
        text = done(*event, *action.split(), "--help")
        assert max(map(len, text.splitlines())) <= 80 and "exit codes:" in text
