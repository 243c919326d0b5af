"""Reports that the writer seals by itself: which, when, and once. On real stores of both kinds; no clock but
the test's."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select, text, update

from pystream.acl.reports.making import Wanted
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import Store, tables
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.notary import Notary
from pystream.acl.store.retaining import ProofLog, Retention
from pystream.acl.store.sealed_reports import SealedReports, Subject, Version
from pystream.attendance.checkpoint import Clock
from pystream.attendance.verification import verify
from pystream.errors import Exists, InvalidValue
from tests.audience import ALL, WHO, Audience, watch
from tests.databases import with_tables
from tests.evidence import at
from tests.program import run
from tests.test_admission import House
from tests.test_cli_store import done, here, refused, told
from tests.test_erasing_races import Interrupted, Other, before, once
from tests.test_reports import settle
from tests.test_serve import node_in
from tests.waiting import pause, until

pytest.importorskip("trio")

from pystream.server import heads
from pystream.server import upkeep as upkeep_module
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.gauges import Board
from pystream.server.heads import Heads
from pystream.server.sealer import Sealer
from pystream.server.settings import RetentionSettings, Settings
from pystream.server.upkeep import Upkeep

__all__ = ["here"]

RULES = Rules()
# The evening of the event and a day behind its end, and the same of two days before, on which there is none.
OVER, EARLIER = at("00:00", "2026-03-12") // 1000, at("00:00", "2026-03-10") // 1000
LATE = 3900


class Node:
    """A writer's sealer, whose clocks are the test's. They are behind the other things of the audience."""

    def __init__(self, folder: Path, store: Store, keys: KeyStore) -> None:
        self.now = self.wall = float(OVER)
        self.elapsed = 0.0
        self.each = 0.0
        self.board = Board(Board.create(1))
        self.anchor = Anchor(Anchor.create(), lambda: int(self.now * 1000), lambda: self.boottime)
        self.anchor.make()
        self.signing = Checkpoints(
            store,
            Notary(store.database, keys),
            self.anchor,
            Settings(),
            Heads(str(folder)),
            lambda: self.now,
        )
        self.signing.look()
        self.sealer = Sealer(
            store,
            keys,
            self.anchor,
            self.signing,
            self.board.sealing,
            lambda: self.wall,
            self.monotonic,
        )

    @property
    def boottime(self) -> int:
        return int(self.now * 1000) - 10**12

    def monotonic(self) -> float:
        self.elapsed += self.each
        return self.elapsed

    def look(self, now: float, rules: Rules = RULES, **asked: bool) -> bool:
        self.now = self.wall = float(now)
        self.elapsed += 600
        return self.sealer.look(rules, **asked)


class Hall(Audience):
    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.folder = folder
        self.node = self.another()

    def another(self) -> Node:
        """As a restart makes it, or another node."""
        return Node(self.folder, self.store, self.keys)

    def hours(self, until: int = at("00:00", "2026-06-01")) -> None:
        """What is recorded is sealed by the hour."""
        self.store.viewers.attendance.seal(self.keys, until, until // 1000)

    def sealed(self) -> list[tuple[str, int]]:
        """What there is: events, and streams by name and day, with the numbers of versions."""
        report, stream = tables.attendance_report.c, tables.stream.c
        wanted = select(report.subject, report.version, stream.name)
        wanted = wanted.outerjoin(tables.stream, stream.id == report.stream_id)
        with self.store.database.reading() as connection:
            rows = connection.execute(wanted).all()
        return sorted(
            ("event" if name is None else f"{name} {subject.split()[-1]}", version)
            for subject, version, name in rows
        )


@pytest.fixture
def hall(tmp_path: Path, url: str) -> Iterator[Hall]:
    opened = Hall(tmp_path, url)
    yield opened
    opened.close()


def test_a_report_is_sealed_when_its_time_has_come_and_once(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the event, and of a day of a stream that is in none; not of the day that is in the event."""
    caplog.set_level("INFO", "pystream")
    hall.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20), label="Saal 1")
    hall.viewer("zwei", (at("18:00"), 45), stream="course")
    hall.hours()
    node = hall.node
    assert node.look(EARLIER + LATE - 1) and hall.sealed() == []
    assert node.look(EARLIER + LATE) and hall.sealed() == [("film 2026-03-08", 1)]
    assert node.look(OVER + LATE - 1) and len(hall.sealed()) == 1
    assert node.look(OVER + LATE)
    everything = [("event", 1), ("film 2026-03-08", 1)]
    assert hall.sealed() == everything
    # Nobody seals it again: neither this process, nor the next one, nor another node.
    for other in (node, hall.another()):
        for later in (OVER + 3600, OVER + DAY_S, OVER + 20 * DAY_S):
            assert other.look(later, everything=True) and hall.sealed() == everything
    # It is what anybody would have sealed, and is proven as that is.
    subject = Subject(event_id=hall.event.id)
    report = hall.reporter.version(hall.tenant, subject, 1)
    wanted = Wanted(hall.tenant, hall.event)
    computed = hall.reporter.provisional(wanted, OVER, whole=True).rows
    assert report.rows == json.loads(json.dumps(computed))
    assert [line.name for line in report.lines()] == ["eins", "zwei"]
    notary = Notary(hall.store.database, hall.keys)
    export = notary.export(notary.checkpoint(hall.acme, Clock(True, 5), OVER))
    assert report.document is not None
    key = notary.ensure_key(hall.acme, OVER)
    verdict = verify(report.document, [key], io.BytesIO(b"".join(export)))
    assert set(verdict.proofs) == {"recomputed"}
    # Whoever wants another one corrects it.
    with pytest.raises(InvalidValue, match="reason"):
        hall.reporter.seal_now(wanted, notary, Clock(True, 5), who="eva", now=OVER + DAY_S)
    # On record, in the log, in the metrics.
    entries = hall.store.audit.entries(hall.acme)
    told = [each for each in entries if "report_sealed" in each.values]
    assert [(each.who, each.at, each.stream) for each in told] == [
        ("pystream", OVER + LATE, None),
        ("pystream", EARLIER + LATE, "film"),
    ]
    assert [dict(each.values) for each in told] == [
        {"report_sealed": (None, 1), "report_of": (None, "herz")},
        {"report_sealed": (None, 1), "report_of": (None, "2026-03-08")},
    ]
    said = [each for each in caplog.records if each.message == "report-sealed"]
    assert [each.__dict__["fields"] for each in said] == [
        {"tenant": "acme", "of": "film", "day": "2026-03-08", "version": 1},
        {"tenant": "acme", "of": "herz", "day": None, "version": 1},
    ]
    assert node.board.all_sealings() == {"sealed": 2, "failed": 0}


def test_what_nobody_attended_is_not_sealed(hall: Hall) -> None:
    """Nor computed again with each look: of what was erased, and of an hour that is of two days."""
    hall.store.set_tenant("acme", {"timezone": "Asia/Kolkata"}, **WHO)
    gone = hall.viewer("weg", ALL)
    # 00:15 there, in an hour of UTC that began on the day before.
    hall.viewer("spät", (at("19:45", "2026-03-20"), 5))
    hall.hours()
    hall.issuer.erase(hall.acme, [gone], **WHO)
    node, late = hall.node, at("12:00", "2026-03-22") // 1000
    assert node.look(late) and hall.sealed() == []
    table = tables.attendance_sealed
    with hall.store.database.writing() as connection:
        (kept,) = connection.execute(select(table.c.sealed_events)).all()
        connection.execute(update(table).values(sealed_events=b""))
    assert node.look(late + 600) and node.board.all_sealings() == {"sealed": 0, "failed": 0}
    # Who looks at everything computes it again, and knows that it could not.
    assert not node.look(late + 1200, everything=True)
    assert node.board.all_sealings() == {"sealed": 0, "failed": 1}
    with hall.store.database.writing() as connection:
        connection.execute(update(table).values(kept._mapping))
    assert node.look(late + DAY_S) and hall.sealed() == [("film 2026-03-21", 1)]


def test_what_nobody_watched_is_not_looked_at(hall: Hall) -> None:
    hall.hours()
    assert hall.node.look(OVER + 30 * DAY_S) and hall.sealed() == []
    assert hall.node.board.all_sealings() == {"sealed": 0, "failed": 0}


def test_who_seals_first_has_sealed_it(hall: Hall) -> None:
    """A person, while the writer computes; and then two nodes at a time."""
    hall.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20))
    hall.hours()
    notary, wanted = Notary(hall.store.database, hall.keys), Wanted(hall.tenant, hall.event)
    by: dict[str, Any] = {"who": "eva", "now": OVER + LATE}

    def person() -> None:
        hall.reporter.seal_now(wanted, notary, Clock(True, 5), **by)

    with before(is_computing, hall.store.database.engine, once(person)):
        assert hall.node.look(OVER + LATE)
    assert hall.sealed() == [("event", 1), ("film 2026-03-08", 1)]
    assert hall.node.board.all_sealings() == {"sealed": 1, "failed": 0}
    with pytest.raises(Exists):
        hall.reporter.seal_now(wanted, notary, Clock(True, 5), **by, by_itself=True)


def is_computing(statement: str) -> bool:
    return "FROM attendance_node" in statement


def test_two_nodes_seal_it_once(hall: Hall, tmp_path: Path, url: str) -> None:
    hall.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20), (at("18:00", "2026-03-07"), 20))
    hall.hours()
    others = [Other(tmp_path, url) for _ in range(2)]
    nodes = [Node(tmp_path, other.store, other.keys) for other in others]
    barrier = Barrier(2)

    def look(node: Node) -> bool:
        barrier.wait()
        return node.look(OVER + LATE)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(look, nodes))
    for other in others:
        other.close()
    assert hall.sealed() == [("event", 1), ("film 2026-03-07", 1), ("film 2026-03-08", 1)]
    counts = [node.board.all_sealings() for node in nodes]
    assert sum(each["sealed"] for each in counts) == 3
    assert sum(each["failed"] for each in counts) == 0


@pytest.mark.parametrize("where", ["INSERT INTO attendance_report ", "INSERT INTO audit"])
def test_what_ends_it_in_the_middle_leaves_nothing_and_it_is_tried_again(
    hall: Hall, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    hall.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20))
    hall.hours()
    node, keys = hall.node, hall.keys

    def stop() -> None:
        raise Interrupted

    held = key_count(keys)
    Notary(hall.store.database, keys).ensure_key(hall.acme, OVER)
    with before(lambda each: each.startswith(where), hall.store.database.engine, once(stop)):
        assert node.look(OVER + LATE)
    # The other one is sealed.
    assert hall.sealed() == [("film 2026-03-08", 1)] and key_count(keys) == held + 2
    (said,) = [each for each in caplog.records if each.message == "report-not-sealed"]
    fields = said.__dict__["fields"]
    assert (fields["tenant"], fields["of"], fields["error"]) == ("acme", "herz", "Interrupted")
    assert node.look(OVER + LATE + 600)
    assert hall.sealed() == [("event", 1), ("film 2026-03-08", 1)]
    assert node.board.all_sealings() == {"sealed": 2, "failed": 1}


def key_count(keys: KeyStore) -> int:
    from pystream.acl.store import key_tables

    with keys.database.reading() as connection:
        return len(connection.execute(select(key_tables.record_key.c.reference)).all())


def test_what_fails_is_tried_ever_less_often_and_until_it_is_done(hall: Hall) -> None:
    """Though it has been due for days by then."""
    hall.viewer("eins", (at("18:00", "2026-03-01"), 20))
    hall.hours()
    node, now = hall.node, OVER
    sealed = tables.attendance_sealed
    with hall.store.database.writing() as connection:
        (kept,) = connection.execute(select(sealed.c.id, sealed.c.sealed_events)).all()
        connection.execute(update(sealed).values(sealed_events=b"x" * 99))
    tries = []
    for _ in range(40):
        now += 600
        assert node.look(now)
        tries.append(node.board.all_sealings()["failed"])
    assert tries[0] == 1 and 6 <= tries[-1] <= 11, tries
    with hall.store.database.writing() as connection:
        connection.execute(update(sealed).values(sealed_events=kept.sealed_events))
    for _ in range(7):
        now += 600
        node.look(now)
    assert hall.sealed() == [("film 2026-03-01", 1)]


def test_after_an_outage_it_seals_piece_by_piece_before_anything_is_deleted(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are forty days old when the node is back. Reports are made first, some seconds at a time; then
    what is old goes."""
    import trio
    from trio.testing import MockClock

    caplog.set_level("INFO", "pystream")
    days = [f"2026-04-{day:02}" for day in range(1, 5)]
    hall.viewer("eins", *((at("18:00", day), 20) for day in days))
    hall.hours()
    node = hall.node
    node.now = node.wall = at("12:00", "2026-05-14") / 1000
    # Each time that it is asked: so one report is as long as a piece.
    node.each = 20.0
    upkeep = Upkeep(
        hall.store, hall.keys, RetentionSettings(), lambda: node.now, sealer=node.sealer
    )

    def is_over() -> bool:
        return any(each.message == "retention-run" for each in caplog.records)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upkeep.run)
            while not is_over():
                clock.jump(60)
                await trio.to_thread.run_sync(pause)
            nursery.cancel_scope.cancel()

    clock = MockClock()
    trio.run(main, clock=clock)
    assert hall.sealed() == [(f"film {day}", 1) for day in days]
    (proof,) = ProofLog(hall.store.database).all()
    assert proof.document["counts"]["attendance"] == len(days)
    said = [each.message for each in caplog.records]
    assert said.index("retention-run") > max(
        n for n, message in enumerate(said) if message == "report-sealed"
    )


def test_one_piece_is_some_seconds(hall: Hall) -> None:
    days = [f"2026-03-0{day}" for day in range(1, 4)]
    hall.viewer("eins", *((at("18:00", day), 20) for day in days))
    hall.hours()
    hall.node.each = 20.0
    for count in range(1, 4):
        assert hall.node.look(OVER) is (count == 3)
        assert len(hall.sealed()) == count


def test_what_is_deleted_does_not_wait_for_reports_without_end(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can know what is due, it is a matter of hours."""
    import trio
    from trio.testing import MockClock

    hall.hours()
    node = hall.node
    node.now = node.wall = float(OVER)
    monkeypatch.setattr(upkeep_module, "_UNSEALED_LOOKS", 5)
    asked: list[int] = []

    class Lost(Sealer):
        def look(self, rules: Rules, *, everything: bool = False) -> bool:
            asked.append(len(proofs.all()))
            raise OSError("the disk is gone")

    sealer = Lost(hall.store, hall.keys, node.anchor, node.signing)
    upkeep = Upkeep(hall.store, hall.keys, RetentionSettings(), lambda: node.now, sealer=sealer)
    proofs = ProofLog(hall.store.database)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upkeep.run)
            while not proofs.all() and len(asked) < 20:
                clock.jump(60)
                await trio.to_thread.run_sync(pause)
            nursery.cancel_scope.cancel()

    clock = MockClock()
    trio.run(main, clock=clock)
    assert proofs.all() and len(asked) >= 5 and not any(asked[:5])


WEEKS = "2026-03-10", "2026-04-20"


def course(hall: Hall) -> None:
    """An event of six weeks, with somebody who was there in the first and in the last."""
    windows = tuple((at("18:00", day), at("19:30", day)) for day in WEEKS)
    hall.store.events.set(hall.acme, "herz", {"windows": windows, "breaks": ()}, **WHO)
    hall.viewer("eins", *((at("18:00", day), 60) for day in WEEKS))
    hall.hours()


def look_and_clean(hall: Hall, day: int) -> None:
    """What the writer does so many days after the first of March."""
    now = at("12:00", "2026-03-01") // 1000 + day * DAY_S
    assert hall.node.look(now, everything=True)
    Retention(hall.store.database, hall.keys, RULES).run(now)


def test_what_is_longer_than_its_evidence_is_kept_is_not_sealed_by_itself(hall: Hall) -> None:
    """A course of six weeks: a report of it would say that nobody was there in the first one. The days of its
    streams are sealed by themselves, so that something stays."""
    course(hall)
    for day in range(12, 60):
        look_and_clean(hall, day)
    assert hall.sealed() == [(f"film {day}", 1) for day in WEEKS]
    assert hall.reporter.sealed.versions(hall.acme, Subject(event_id=hall.event.id)) == ()


def test_where_events_are_kept_for_longer_it_is(hall: Hall) -> None:
    hall.store.set_tenant("acme", {"attendance_days": 60}, **WHO)
    course(hall)
    for day in range(12, 60):
        look_and_clean(hall, day)
    assert hall.sealed() == [("event", 1)]


def test_what_an_event_does_not_say_is_sealed_by_itself(hall: Hall) -> None:
    """Another stream on its day; a day that it has got since it was sealed; a day of which it has half, as it
    is planned in another zone."""
    (other,) = [hall.ids["acme/course"]]
    assert other
    hall.store.events.set(hall.acme, "herz", {"streams": ("film",)}, **WHO)
    id = hall.viewer("eins", ALL)
    hall.watch(id, at("18:00"), 20, "course")
    hall.hours()
    assert hall.node.look(OVER + LATE)
    assert hall.sealed() == [("course 2026-03-10", 1), ("event", 1)]
    more = (*hall.event.settings.windows, (at("18:00", "2026-03-13"), at("19:00", "2026-03-13")))
    hall.store.events.set(hall.acme, "herz", {"windows": more}, **WHO)
    hall.watch(id, at("18:00", "2026-03-13"), 20, "film")
    hall.hours()
    assert hall.node.look(OVER + 3 * DAY_S + LATE)
    assert hall.sealed()[2:] == [("film 2026-03-13", 1)]
    # 02:00 there, on the day after.
    windows = ((at("18:00", "2026-03-16"), at("19:00", "2026-03-16")),)
    settings = replace(hall.event.settings, windows=windows, breaks=(), timezone="Asia/Tokyo")
    hall.store.events.add(hall.acme, "tokio", settings, **WHO)
    hall.watch(id, at("18:00", "2026-03-16"), 20, "film")
    hall.hours()
    assert hall.node.look(OVER + 7 * DAY_S + LATE)
    new = [("event", 1), ("film 2026-03-13", 1), ("film 2026-03-16", 1)]
    assert hall.sealed()[2:] == new


def test_what_is_gone_does_not_come_back_when_days_are_kept_for_longer(hall: Hall) -> None:
    """A course of six weeks, whose first one is gone when somebody thinks of it."""
    course(hall)
    for day in (12, 43, 44, 54):
        look_and_clean(hall, day)
        if day == 43:
            hall.store.set_tenant("acme", {"attendance_days": 90}, **WHO)
            hall.node = hall.another()
    assert hall.sealed() == [(f"film {day}", 1) for day in WEEKS]


def test_a_day_of_which_some_is_gone_is_not_sealed(hall: Hall) -> None:
    """It would say that nobody was there in the morning."""
    id = hall.viewer("eins", (at("10:00", "2026-03-08"), 20), (at("18:00", "2026-03-08"), 20))
    hall.watch(id, at("10:00", "2026-03-09"), 20, "film")
    hall.hours()
    now = at("12:00", "2026-03-13") // 1000
    Retention(hall.store.database, hall.keys, Rules(attendance=5)).run(now)
    assert hall.node.look(now, Rules(attendance=5)) and hall.sealed() == [("film 2026-03-09", 1)]


def test_a_day_of_which_nobody_wanted_a_report_is_kept_for_ninety_days(hall: Hall) -> None:
    """Events, and what a person has sealed or corrected, for six years, or as the tenant says."""
    days = [f"2026-03-0{day}" for day in (5, 6, 7)]
    hall.viewer("eins", ALL, *((at("18:00", day), 20) for day in days))
    hall.hours()
    notary, film = Notary(hall.store.database, hall.keys), hall.store.stream("acme", "film")

    def person(day: str, reason: str) -> None:
        wanted, by = Wanted(hall.tenant, film, day), {"who": "eva", "now": OVER}
        hall.reporter.seal_now(wanted, notary, Clock(True, 5), reason, **by)  # type: ignore[arg-type]

    person(days[0], "")
    assert hall.node.look(OVER + LATE)
    person(days[1], "a break was longer")
    kept = [("event", 1), (f"film {days[0]}", 1), (f"film {days[1]}", 1), (f"film {days[1]}", 2)]
    assert hall.sealed() == [*kept, (f"film {days[2]}", 1)]
    retention = Retention(hall.store.database, hall.keys, RULES)
    for now, goes in (
        (OVER + LATE + 90 * DAY_S, {}),
        (OVER + LATE + 90 * DAY_S + 1, {"attendance_daily_reports": 1}),
    ):
        plan = {name: count.total() for name, count in retention.plan(now).items() if count}
        assert {name: n for name, n in plan.items() if "reports" in name} == goes
        counts = retention.run(now).document["counts"]
        assert {name: n for name, n in counts.items() if n and "reports" in name} == goes
    assert hall.sealed() == kept
    assert hall.another().look(now, everything=True) and hall.sealed() == kept
    hall.store.set_tenant("acme", {"attendance_reports_days": 91}, **WHO)
    counts = retention.run(OVER + LATE + 91 * DAY_S + 1).document["counts"]
    assert counts["attendance_reports"] == 4 and hall.sealed() == []


def test_the_days_of_daily_reports_are_the_tenants_own(hall: Hall) -> None:
    hall.store.set_tenant("acme", {"attendance_daily_reports_days": 3}, **WHO)
    hall.viewer("eins", (at("18:00", "2026-03-08"), 20), (at("18:00", "2026-03-01"), 20))
    hall.hours()
    # What would be too old by now is not sealed.
    assert hall.node.look(OVER) and hall.sealed() == [("film 2026-03-08", 1)]
    Retention(hall.store.database, hall.keys, RULES).run(OVER + 3 * DAY_S + 1)
    assert hall.sealed() == []


def test_nothing_comes_back_that_was_deleted(hall: Hall) -> None:
    """Reports that go before what they follow from."""
    hall.viewer("eins", (at("18:00", "2026-03-08"), 20))
    hall.hours()
    rules = Rules(attendance_daily_reports=3)
    assert hall.node.look(EARLIER + 2 * DAY_S, rules) and len(hall.sealed()) == 1
    now = EARLIER + 6 * DAY_S
    Retention(hall.store.database, hall.keys, rules).run(now)
    assert hall.sealed() == []
    for node in (hall.node, hall.another()):
        assert node.look(now, rules, everything=True) and hall.sealed() == []


def test_nothing_is_sealed_by_a_clock_that_is_ahead_or_without_an_anchor(hall: Hall) -> None:
    hall.viewer("eins", ALL)
    hall.hours()
    node = hall.node
    node.now, node.wall = OVER - DAY_S, OVER + 9 * DAY_S
    assert node.sealer.look(RULES) and hall.sealed() == []
    node.now, node.wall = OVER + 9 * DAY_S, OVER - DAY_S
    node.elapsed += 600
    assert node.sealer.look(RULES) and hall.sealed() == []
    bare = Sealer(hall.store, hall.keys, Anchor(Anchor.create()), node.signing)
    assert bare.look(RULES) and hall.sealed() == []
    # Nor is anything deleted before that is known.
    assert not bare.look(RULES, everything=True)
    assert node.look(OVER + 9 * DAY_S) and hall.sealed() == [("event", 1)]


def test_nothing_is_sealed_of_a_log_that_was_brought_back_before_it_is_another(
    hall: Hall, tmp_path: Path
) -> None:
    """Or the house would have signed two pasts. What it has signed is known beside the store at once."""
    hall.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20))
    hall.hours()
    node = hall.node
    node.now = node.wall = float(EARLIER + LATE)
    assert node.look(EARLIER + LATE) and len(hall.sealed()) == 1
    (head,) = Heads(str(tmp_path)).read().values()
    newest = Notary(hall.store.database, hall.keys).checkpoints(hall.acme)[0]
    assert head.signed == (newest.epoch, newest.size, newest.root)
    # Nobody knows.
    (tmp_path / heads.NAME).write_text("{")
    node = hall.another()
    assert not node.signing.may_sign(hall.acme)
    assert node.look(OVER + LATE) and len(hall.sealed()) == 1
    # There was more than the store has.
    Heads(str(tmp_path)).write({hall.acme: replace(head, size=head.size + 9)}, {})
    with before(is_new_log, hall.store.database.engine, once(stopped)):
        node = hall.another()
    assert not node.signing.may_sign(hall.acme)
    assert node.look(OVER + LATE) and len(hall.sealed()) == 1
    assert node.signing.look() and node.signing.may_sign(hall.acme)
    assert node.look(OVER + 2 * DAY_S)
    assert hall.sealed() == [("event", 1), ("film 2026-03-08", 1)]


def is_new_log(statement: str) -> bool:
    return statement.startswith("INSERT INTO attendance_log")


def stopped() -> None:
    raise Interrupted


def test_of_a_tenant_that_is_being_deleted_nothing_is_sealed(hall: Hall) -> None:
    hall.viewer("eins", ALL)
    hall.hours()
    now = OVER + LATE
    with hall.store.database.writing() as connection:
        connection.execute(update(tables.tenant).values(deleted_at=now))
    assert hall.node.look(now) and hall.sealed() == []
    Leaving(hall.store, hall.keys).delete("acme", who="eva", now=now, force=True)
    assert hall.node.look(now + 600) and hall.sealed() == []


def test_a_password_that_is_restricted_is_in_no_report_and_the_others_are(hall: Hall) -> None:
    hall.viewer("eins", ALL)
    id = hall.viewer("zwei", ALL)
    hall.hours()
    hall.store.viewers.restrictions.restrict(hall.acme, id, "bestritten", **WHO)
    assert hall.node.look(OVER + LATE)
    report = hall.reporter.version(hall.tenant, Subject(event_id=hall.event.id), 1)
    assert [line.name for line in report.lines()] == ["eins"] and report.about["restricted"] == 1


def test_what_was_changed_since_it_was_found_is_not_sealed_as_it_was(hall: Hall) -> None:
    """Of two that are due the first one takes so long that the other has another day by then."""
    id = hall.viewer("eins", ALL)
    hall.watch(id, at("18:00", "2026-03-09"), 20, "film")
    hall.hours()
    windows = ((at("18:00", "2026-03-09"), at("19:00", "2026-03-09")),)
    settings = replace(hall.event.settings, windows=windows, breaks=())
    hall.store.events.add(hall.acme, "vorabend", settings, **WHO)

    def move() -> None:
        later = ((at("18:00", "2026-03-30"), at("19:00", "2026-03-30")),)
        hall.store.events.set(hall.acme, "vorabend", {"windows": later}, **WHO)

    node = hall.node
    with before(is_computing, hall.store.database.engine, once(move)):
        assert node.look(OVER + LATE)
    assert [name for name, _ in hall.sealed()] == ["event"]
    # Its old day is in no event any more.
    assert node.look(OVER + LATE + 600)
    assert hall.sealed() == [("event", 1), ("film 2026-03-09", 1)]


@pytest.mark.slow
def test_a_node_does_so(tmp_path: Path) -> None:
    """The whole of it, on the machine's clock: of a day that was over some days ago."""
    with node_in(tmp_path) as server:
        server.settings("workers = 1", "[attendance]\nallow_unsynced = true\n")
        house = House(server)
        server.start()
        server.hear("READY=1")
        password = house.issue("acme/course")
        begin = int(time.time()) // DAY_S * DAY_S - 4 * DAY_S + 12 * 3600
        with house.store() as store, house.keys() as keys:
            acme, course = store.tenant("acme").id, store.stream("acme", "course").id
            found = Issuer(store.viewers, keys).find(acme, password)
            assert found is not None
            watch(store, keys, 1, (acme, course, found.id), begin * 1000, 10)
            store.viewers.attendance.seal(keys, (begin + DAY_S) * 1000, begin + DAY_S)

        def versions() -> tuple[Version, ...]:
            day = time.strftime("%Y-%m-%d", time.gmtime(begin))
            with house.store() as store, house.keys() as keys:
                found = SealedReports(store.database, keys)
                return found.versions(acme, Subject(stream_id=course, day=day))

        until(lambda: '"retention-run"' in Path(server.log).read_text())
        said = Path(server.log).read_text()
        assert len(versions()) == 1 and said.count('"report-sealed"') == 1
        assert said.index('"report-sealed"') < said.index('"retention-run"')


@pytest.mark.slow
def test_who_deletes_by_command_seals_before(here: Path) -> None:
    audience = Audience(here, with_tables(f"sqlite:///{here}/acl.db"))
    audience.store.set_tenant("acme", {"attendance_daily_reports_days": 36_525}, **WHO)
    audience.viewer("eins", ALL, (at("18:00", "2026-03-08"), 20))
    until = at("00:00", "2026-06-01")
    audience.store.viewers.attendance.seal(audience.keys, until, until // 1000)
    with audience.store.database.writing() as connection:
        words = "BEFORE INSERT ON attendance_report BEGIN SELECT RAISE(ABORT, 'full'); END"
        connection.execute(text(f"CREATE TRIGGER none {words}"))
    settle(here)
    plan = told("retention", "plan")["counts"]
    assert plan["attendance"] > 0
    said = refused(1, "retention", "run")
    assert "nothing was deleted, since no report of acme/herz could be sealed: " in said
    assert told("retention", "plan")["counts"] == plan
    with audience.store.database.writing() as connection:
        connection.execute(text("DROP TRIGGER none"))
    audience.close()
    finished = run("retention", "run", "--json")
    sealed = ("acme/herz", "acme/film 2026-03-08")
    assert finished.stderr == "".join(f"sealed a report of {each}\n" for each in sealed)
    assert json.loads(finished.stdout)["document"]["counts"]["attendance"] == plan["attendance"]
    day = ("report", "acme/film", "--day", "2026-03-08")
    assert [each["version"] for each in told(*day, "--versions")["versions"]] == [1]
    assert len(told(*day, "--version", "1")["rows"]) == 1
    done("retention", "run")
