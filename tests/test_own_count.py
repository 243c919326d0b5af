"""What viewers see of their own attendance: the report's number, and why it does not grow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pystream import _core
from pystream.acl.streams import Stream, StreamSettings
from pystream.attendance.options import Options
from pystream.attendance.own_count import Goal, told
from pystream.attendance.policies import Policy, award, least_s
from pystream.attendance.programmes import EventSettings
from pystream.server.http import HttpError
from pystream.server.own_count import Counting, Counts, Whose
from pystream.server.page.texts import TEXTS
from tests import test_evidence
from tests.audience import ALL, LATER, Audience
from tests.browser.chromium import Chromium, Page
from tests.evidence import at, film, replayed
from tests.test_admission import ASKS, address
from tests.test_beacons import PLAYS
from tests.test_evidence import SETTINGS
from tests.test_page import VIDEO, accessible
from tests.test_serve import node_in
from tests.test_viewers import NOW
from tests.waiting import until

ID = bytes(range(16))
EVENT = EventSettings(
    title="Herz",
    streams=("film",),
    timezone="Europe/Berlin",
    windows=((at("18:00"), at("18:45")), (at("19:00"), at("19:30"))),
    least_minutes=45,
)
GOAL = Goal.of(EVENT)


@pytest.mark.parametrize(
    ("policy", "programme_ms", "seconds"),
    [
        (Policy(rounding="floor45"), 5_400_000, 2700),
        (Policy(rounding="ama_quarter"), 5_400_000, 450),
        (Policy(rounding="threshold_pct", threshold_pct=80), 5_400_500, 4320),
        (Policy(rounding="floor45", threshold_pct=100), 1_800_000, 2700),
        (Policy(rounding="ama_quarter", least_minutes=60), 5_400_000, 3600),
        (Policy(rounding="threshold_pct", threshold_pct=1), 1000, 1),
        (Policy(rounding="floor45", least_minutes=10_080), 5_400_000, 604_800),
    ],
)
def test_what_is_needed_is_where_the_award_begins(
    policy: Policy, programme_ms: int, seconds: int
) -> None:
    assert least_s(policy, programme_ms) == seconds
    assert award(policy, seconds * 1000, programme_ms).certified
    assert not award(policy, seconds * 1000 - 1, programme_ms).certified


def row(begin: int, minutes: int) -> dict[str, Any]:
    """Of the programme, where a film was watched from `begin` on."""
    options = Options("file", timezone="Europe/Berlin", windows=EVENT.windows)
    (found,) = [
        each for each in replayed(film(begin, minutes * 60_000), options) if each["day"] is None
    ]
    return found


def test_it_is_told_why_it_does_not_count() -> None:
    begin = at("18:00")
    thirty = row(begin, 30)
    end = begin + 30 * 60_000
    going_on = told(thirty, GOAL, [], end - 1000)
    assert going_on == {
        "counted_ms": 1_800_000,
        "needed_ms": 2_700_000,
        "stopped_at": None,
        "why": None,
        "next": at("19:00"),
        "several": False,
        "outage": None,
    }
    silent = told(thirty, GOAL, [], end + 60_000)
    assert (silent["why"], silent["stopped_at"]) == ("silent", end)
    down = told(thirty, GOAL, [(end - 2000, end + 5000)], end + 60_000)
    assert (down["why"], down["stopped_at"]) == ("outage", end)
    assert down["outage"] == [end - 2000, end + 5000]
    # One from before anybody was there is nobody's.
    assert told(thirty, GOAL, [(begin - 9000, begin - 1)], end - 1)["outage"] is None
    pause = told(thirty, GOAL, [], at("18:50"))
    assert (pause["why"], pause["next"]) == ("outside", at("19:00"))
    over = told(thirty, GOAL, [], at("19:30"))
    assert (over["why"], over["next"]) == ("outside", None)
    nothing = told(None, GOAL, [], at("18:10"))
    assert (nothing["counted_ms"], nothing["why"], nothing["stopped_at"]) == (0, "silent", None)
    assert told(None, Goal(), [], at("18:10"))["needed_ms"] is None


@pytest.fixture
def audience(tmp_path: Path, url: str) -> Iterator[Audience]:
    opened = Audience(tmp_path, url)
    yield opened
    opened.close()


def test_it_is_the_reports_number_of_whoever_asks_alone(audience: Audience) -> None:
    audience.viewer("eins", (at("18:00"), 30))
    audience.viewer("eins", (at("18:20"), 60), stream="course")
    audience.viewer("zwei", ALL)
    audience.viewer("nie")
    keys = {text: audience.viewer(text) for text in ("eins", "zwei", "nie")}
    streams = [audience.store.stream("acme", name) for name in ("film", "course")]
    counting = Counting(audience.store, audience.keys)
    now = at("19:10")
    wanted = {Whose(each.id, keys[text]): each for each in streams for text in ("eins", "nie")}
    found = counting.counts(wanted, now)
    assert found.keys() == wanted.keys()
    report = audience.reporter.of_event(audience.tenant, audience.event, LATER)
    counted = {line.key: line.row["certifiable_ms"] for line in report.lines()}
    for whose, count in found.items():
        assert count["counted_ms"] == counted.get(str(whose.password_id), 0)
        # floor45, of an hour and a quarter.
        assert count["needed_ms"] == 2_700_000
    # From 18:00 to 19:20, without the break, on both streams at once for a time.
    assert found[Whose(streams[0].id, keys["eins"])]["counted_ms"] == (80 - 15) * 60_000
    assert found[Whose(streams[0].id, keys["eins"])]["several"]
    # On another day it is the day's of the stream, and nothing is asked for.
    later = counting.counts(
        {Whose(streams[0].id, keys["eins"]): streams[0]}, at("18:00", "2026-03-12")
    )
    assert [each["needed_ms"] for each in later.values()] == [None]
    assert [each["counted_ms"] for each in later.values()] == [0]
    # A stream that is nobody's any more costs nobody anything.
    audience.store.events.remove(audience.acme, "herz", who="eva", now=NOW)
    day = counting.counts({Whose(streams[0].id, keys["eins"]): streams[0]}, now)
    assert [each["counted_ms"] for each in day.values()] == [30 * 60_000]


def test_a_look_takes_what_is_new(audience: Audience) -> None:
    id = audience.viewer("eins", (at("18:00"), 10))
    film_ = audience.store.stream("acme", "film")
    counting, whose = Counting(audience.store, audience.keys), Whose(film_.id, id)
    now = at("18:11")
    assert counting.counts({whose: film_}, now)[whose]["counted_ms"] == 600_000
    audience.watch(id, at("18:10"), 5, "film")
    assert counting.counts({whose: film_}, now)[whose]["counted_ms"] == 900_000


class Asked:
    """A worker's counts, by trio's clock; what was computed, and how often."""

    def __init__(self, seconds: float = 0) -> None:
        sessions = _core.Sessions(_core.Sessions.create(2000))
        for n in range(1000):
            sessions.open(n.to_bytes(16), 3, NOW, expires=NOW + 10**6, idle_s=0, holder=n + 1)
        self.batches: list[set[Whose]] = []
        self.fails = False
        self.seconds = seconds
        self.counts = Counts(sessions, self._compute, lambda: NOW * 1000)
        self.stream = Stream(
            id=3,
            tenant_id=1,
            tenant="acme",
            name="film",
            settings=StreamSettings(sources=("/x.mp4",), own_count=True),
            created_at=0,
            removed_at=None,
            revision=1,
        )

    async def _compute(
        self, wanted: Mapping[Whose, Stream], now: int
    ) -> dict[Whose, dict[str, Any]]:
        if self.fails:
            raise OSError("the store is gone")
        self.batches.append(set(wanted))
        await trio.sleep(self.seconds)
        return {whose: {"counted_ms": whose.password_id} for whose in wanted}

    async def ask(self, n: int) -> dict[str, Any]:
        return await self.counts.ask(self.stream, n.to_bytes(16))


def test_all_who_ask_at_a_time_are_counted_together() -> None:
    trio.run(
        _all_who_ask_at_a_time_are_counted_together,
        clock=trio.testing.MockClock(autojump_threshold=0),
    )


async def _all_who_ask_at_a_time_are_counted_together() -> None:
    asked = Asked()
    found = list[dict[str, Any]]()

    async def ask(n: int) -> None:
        found.append(await asked.ask(n))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.counts.run)
        async with trio.open_nursery() as viewers:
            for n in range(1000):
                viewers.start_soon(ask, n)
        # Nobody has another's.
        assert sorted(each["counted_ms"] for each in found) == list(range(1, 1001))
        assert [len(each) for each in asked.batches] == [500, 500]
        # Whoever asks again and again is told what was computed.
        for _ in range(100):
            await asked.ask(7)
        assert len(asked.batches) == 2
        await trio.sleep(11)
        await asked.ask(7)
        assert [len(each) for each in asked.batches] == [500, 500, 1]
        with pytest.raises(HttpError) as gone:
            await asked.counts.ask(asked.stream, bytes([255]) * 16)
        assert gone.value.status == 403
        nursery.cancel_scope.cancel()


def test_it_takes_a_tenth_of_a_processor_at_most() -> None:
    trio.run(
        _it_takes_a_tenth_of_a_processor_at_most, clock=trio.testing.MockClock(autojump_threshold=0)
    )


async def _it_takes_a_tenth_of_a_processor_at_most() -> None:
    """Of a store that takes half a second for whatever it is asked, with somebody asking all the time."""
    asked = Asked(seconds=0.5)

    async def ask(n: int) -> None:
        # Never all at once.
        await trio.sleep(n / 10)
        while True:
            try:
                await asked.ask(n)
            except HttpError as error:
                assert (error.status, dict(error.headers)["Retry-After"]) == (503, "30")
            await trio.sleep(3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.counts.run)
        for n in range(100):
            nursery.start_soon(ask, n)
        await trio.sleep(100)
        assert 15 <= len(asked.batches) <= 100 / (0.5 * 10) + 1
        nursery.cancel_scope.cancel()


def test_what_fails_is_asked_for_again() -> None:
    trio.run(_what_fails_is_asked_for_again, clock=trio.testing.MockClock(autojump_threshold=0))


async def _what_fails_is_asked_for_again() -> None:
    asked = Asked()
    asked.fails = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.counts.run)
        with pytest.raises(HttpError) as late:
            await asked.ask(3)
        assert late.value.status == 503
        asked.fails = False
        assert await asked.ask(3) == {"counted_ms": 4}
        nursery.cancel_scope.cancel()


# On a real node, by the page.


@pytest.fixture
def house(tmp_path: Path) -> Iterator[test_evidence.Audience]:
    """With an event of an hour, half of which is over; what plays in a hidden page does not count."""
    with node_in(tmp_path) as node:
        node.settings("workers = 2", SETTINGS)
        made = test_evidence.Audience(node)
        minute = time.time_ns() // 60_000_000_000 * 60_000
        with made.store() as store:
            more = {"beacons": True, "require_visible": True, "own_count": True}
            store.set_stream("acme", "course", more, who="test", now=1)
            settings = EventSettings(
                title="Herz",
                streams=("course",),
                timezone="Europe/Berlin",
                windows=((minute - 30 * 60_000, minute + 30 * 60_000),),
            )
            store.events.add(store.tenant("acme").id, "herz", settings, who="test", now=1)
        node.start()
        node.hear("READY=1")
        yield made


def count_of(house: test_evidence.Audience, visit: dict[str, Any]) -> dict[str, Any]:
    status, headers, body = house.ask(visit["count"])
    assert (status, headers["cache-control"]) == (200, "private, no-store"), body
    assert headers["content-type"] == "application/json" and "set-cookie" not in headers
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.slow
def test_whoever_has_the_session_is_told_of_it_alone(house: test_evidence.Audience) -> None:
    one, other = (house.issue("acme/course") for _ in range(2))
    mine, theirs = (house.let_in("acme/course", each) for each in (one, other))
    assert mine["count_ms"] == 30_000 and mine["visible"] is True
    assert count_of(house, mine)["why"] == "silent"
    for n, path in enumerate(house.segments(mine)[:5]):
        assert house.ask(path)[0] == 200
        beat = {"sn": n, "state": "playing", "playhead_ms": n * 2000, "rate": 1, "hidden": False}
        assert house.ask(mine["beacon"], "POST", json.dumps(beat))[0] in (204, 429)
    until(lambda: count_of(house, mine)["counted_ms"] > 0)
    assert count_of(house, mine)["needed_ms"] == 2_700_000
    assert count_of(house, theirs)["counted_ms"] == 0
    # By the grant, and nothing else.
    forged = mine["count"].replace(mine["grant"], mine["grant"][:-4] + "AAAA")
    assert house.ask(forged)[0] == 403
    assert house.ask(mine["count"], "POST")[0] == 405
    house.revoke("acme", one)
    until(lambda: house.ask(mine["count"])[0] == 403)
    # Where nobody wants it, there is nothing.
    quiet = house.let_in("acme/quiet", house.issue("acme/quiet"))
    assert "count" not in quiet
    assert house.ask(quiet["master"].replace("master.m3u8", "count"))[0] == 404


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
def test_one_minute_is_said_as_several_are(texts: Mapping[str, str]) -> None:
    assert texts["own_day"].endswith(" {minutes} min")


def shown(page: Page, part: str) -> str:
    return str(page.js(f"document.getElementById('own-{part}').textContent"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "context", "counts", "paused"),
    [
        (
            "de-DE",
            {"colorScheme": "dark", "viewport": {"width": 1280, "height": 800}},
            "Bis jetzt zählen 0 von 45 Minuten",
            "zählt nichts: Der Film ist angehalten.",
        ),
        (
            "en-US",
            {"colorScheme": "light", "viewport": {"width": 390, "height": 844}},
            "Counts so far: 0 of 45 minutes",
            "the film is paused.",
        ),
    ],
    ids=["german, dark", "english, light, on a phone"],
)
def test_the_page_shows_it_and_says_why_it_stops(
    house: test_evidence.Audience,
    chromium: Chromium,
    locale: str,
    context: dict[str, Any],
    counts: str,
    paused: str,
) -> None:
    text = house.issue("acme/course")
    page = chromium.page(locale=locale, **context)
    page.goto(f"{address(house, 'acme/course')}#{text}")
    page.until(ASKS)
    # What is recorded is told before, and before that there is nothing to count.
    assert "zählt" not in page.js("document.body.innerText") and page.js(
        "document.querySelector('.notice').offsetHeight > 0 && !document.getElementById('own').offsetHeight"
    )
    page.press("Enter")
    page.until("document.getElementById('own').offsetHeight > 0")
    page.click("#start")
    page.until(PLAYS)
    page.until(f"document.getElementById('own-count').textContent === {json.dumps(counts)}")
    accessible(page)
    until(lambda: house.events() and house.events(kind="beacon"))
    page.press("k")
    page.until(f"{VIDEO}.paused")
    page.until(f"document.getElementById('own-why').textContent.endsWith({json.dumps(paused)})")
    accessible(page)
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    assert page.js("document.getElementById('own-why').getAttribute('role')") == "status"
    assert page.run("return (await context.cookies()).length") == 0
    assert page.seen("refused") == [] and page.seen("errors") == []
    page.close()
