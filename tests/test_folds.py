"""What is kept of a fold gives at any time the rows that a replay of all events gives."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, update

from pystream._core import Evidence
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import tables
from pystream.acl.store.attending import HOUR_MS, AttendanceStore
from pystream.acl.store.folds import HORIZON_MS
from pystream.acl.store.retaining import Retention
from pystream.attendance.evidence import (
    DOWNLOAD,
    PLAYLIST,
    Place,
    check,
    clock_step,
    outage,
    part,
    record,
)
from pystream.attendance.options import Options
from pystream.attendance.replay import computed
from tests.test_attending import Hall, T, hall
from tests.test_viewers import NOW

__all__ = ["hall"]

FILM = Options("file", timezone="Europe/Berlin")


def film(hall: Hall) -> tuple[Any, int, int]:
    return hall.keys, hall.acme, hall.ids["acme/film"]


def films(hall: Hall) -> tuple[Any, int, list[int]]:
    keys, tenant, stream = film(hall)
    return keys, tenant, [stream]


def looked(hall: Hall, options: Options = FILM) -> list[dict[str, Any]]:
    """What another process finds, which is what a replay finds, for all and for each alone."""
    found = AttendanceStore(hall.store.database).rows(*films(hall), options)
    assert found == computed(hall.attendance.events(*film(hall)), options)
    return found


def folds(hall: Hall) -> list[Any]:
    with hall.store.database.reading() as connection:
        table = tables.attendance_fold
        return list(connection.execute(select(table).order_by(table.c.password_id)))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_and_whenever_somebody_looks_it_is_what_a_replay_gives(
    hall: Hall, seed: int
) -> None:
    random = Random(seed)
    now, last_number, looks = T, 0, 0
    media = [0, 0]
    while looks < 12:
        text = b""
        for _ in range(random.randrange(6)):
            viewer = random.randrange(2)
            now += random.choice([0, 1, 500, 3000, 6000, 6000, 90_000])
            late = random.choice(
                [0] * 12 + [1, 4000, HORIZON_MS - 1, HORIZON_MS + 1, 40_000, HOUR_MS]
            )
            if random.random() < 0.1:
                media[viewer] = 6000 * random.randrange(300)
            m0 = media[viewer]
            media[viewer] += 6000
            segment = Place(
                hall.ids["acme/film"], m0, m0 + 6000, random.random() < 0.9, "v1"
            ).pack()
            halves = [part(bytes(16) + segment, "", 9, *span)[16:] for span in ((0, 5), (5, 9))]
            kinds = [[segment]] * 9 + [[DOWNLOAD], [PLAYLIST], halves]
            for place in random.choice(kinds):
                text += hall.record(viewer, now - late, place)
        incidents = []
        if random.random() < 0.1:
            incidents = [(now, outage(now - 5000, now)), (now, clock_step(now - 1, 2000))]
        last_number += 1
        batch = hall.told(records=text, number=last_number, since=now, until=now)
        hall.attendance.keep(hall.keys, [batch], incidents, NOW)
        if random.random() < 0.1:
            hall.attendance.seal(hall.keys, now // HOUR_MS * HOUR_MS, NOW)
        if random.random() < 0.4:
            looked(hall)
            looks += 1
    assert looked(hall) and len(folds(hall)) == 2


def test_a_look_reads_what_is_new_and_nothing_else(hall: Hall) -> None:
    segments = [(viewer, T + n * 6000) for n in range(20) for viewer in (0, 1)]
    hall.keep(hall.told(*segments))
    before = looked(hall)
    hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    # What was taken is never opened again.
    with hall.store.database.writing() as connection:
        connection.execute(update(tables.attendance_sealed).values(sealed_events=b""))
    rows = hall.attendance.rows(*films(hall), FILM)
    assert rows == before
    hall.keep(hall.told((0, T + 20 * 6000), number=2))
    rows = hall.attendance.rows(*films(hall), FILM)
    one, two = (str(id) for id in hall.passwords)
    access = {row["key"]: row["access_ms"] for row in rows}
    assert access == {one: 21 * 6000, two: 20 * 6000}
    (row,) = hall.attendance.rows(*films(hall), FILM, [hall.passwords[1]])
    assert row["key"] == two


@pytest.mark.parametrize("seed", range(3))
def test_of_a_span_it_is_what_its_events_give(
    hall: Hall, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the ms, though what is sealed is found by its hour; and of another span it is another. Also where
    there are more passwords than are looked at together."""
    monkeypatch.setattr("pystream.acl.store.folds._AT_ONCE", 1)
    random = Random(seed)
    since, until = T + 1_234_567, T + HOUR_MS + 2_345_678
    for number in range(1, 9):
        now = T + number * 900_000
        edges = [now, since - 1, since, until - 1, until]
        told = [(viewer, random.choice(edges)) for viewer in (0, 1) for _ in range(3)]
        text = b"".join(
            hall.record(
                viewer, t, Place(hall.ids["acme/film"], n * 6000, n * 6000 + 6000, True, "v").pack()
            )
            for n, (viewer, t) in enumerate(told, number * 6)
        )
        befell = [(t, outage(t - 5000, t)) for t in (since, until, until + 5000, now)]
        hall.attendance.keep(
            hall.keys,
            [hall.told(records=text, number=number, since=now, until=now)],
            befell,
            NOW,
        )
        if number % 3 == 0:
            hall.attendance.seal(hall.keys, now // HOUR_MS * HOUR_MS, NOW)
        evidence, ledger = Evidence(), FILM.ledger()
        every = "\n".join(hall.attendance.events(*film(hall))).encode()
        evidence.select(every, None, None, since, until)
        ledger.take(evidence)
        rows = hall.attendance.rows(*films(hall), FILM, since=since, until=until)
        assert rows == ledger.rows()
        looked(hall)


def test_other_options_are_another_fold(hall: Hall) -> None:
    hall.keep(hall.told(*((0, T + n * 6000) for n in range(9))))
    assert looked(hall)[0]["day"] != ""
    live = looked(hall, Options("live", timezone="Asia/Tokyo"))
    hall.keep(hall.told((0, T + 9 * 6000), number=2))
    assert looked(hall, Options("live", timezone="Asia/Tokyo")) != live
    assert looked(hall)


def test_streams_are_taken_together_and_a_late_check_is_taken_as_it_comes(hall: Hall) -> None:
    """Others of a viewer's events have an order; a check may come two minutes after what it is about, and
    nothing is made anew for it."""
    course = hall.ids["acme/course"]
    both = [hall.ids["acme/film"], course]
    options = Options("file", timezone="Europe/Berlin", verified=True, union=True)
    there = replace(hall.session(bytes([9]) * 16, hall.passwords[0]), stream_id=course)
    hall.store.viewers.keep([there], {}, NOW)
    segment = there.id + Place(course, 0, 6000, True, "v1").pack()
    hall.keep(
        hall.told(*((0, T + n * 6000) for n in range(40))),
        # At the same time as another of the film's, and so once.
        hall.told(number=2, records=record(T + 60_000 - 1000, segment)),
    )
    before = hall.attendance.rows(hall.keys, hall.acme, both, options)
    assert [row["stream"] for row in before] == ["course", "film", None]
    assert [row["access_ms"] for row in before] == [6000, 240_000, 240_000]
    hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    # What was taken is never opened again.
    with hall.store.database.writing() as connection:
        connection.execute(update(tables.attendance_sealed).values(sealed_events=b""))
    text = b"".join(hall.record(0, T + 60_000, check(each)) for each in (None, 119_000))
    hall.keep(hall.told((0, T + 40 * 6000), number=3), hall.told(number=4, records=text))
    _, row, union = hall.attendance.rows(hall.keys, hall.acme, both, options)
    assert (
        (row["checks_shown"], row["checks_answered"])
        == (1, 1)
        == (
            union["checks_shown"],
            union["checks_answered"],
        )
    )
    assert row["access_ms"] == before[1]["access_ms"] + 6000
    assert len(folds(hall)) == 1


def test_it_is_sealed_and_gone_with_its_password(hall: Hall) -> None:
    one, two = hall.passwords
    hall.keep(hall.told(*((viewer, T + n * 6000) for n in range(9) for viewer in (0, 1))))
    looked(hall)
    kept = folds(hall)
    assert [row.password_id for row in kept] == sorted(hall.passwords)
    # Words of two letters stand in what is random, too, now and then.
    assert not any(
        word in row.state for row in kept for word in (b"segment", b"film", *hall.sessions)
    )
    hall.issuer.erase(hall.acme, [one], who="eva", now=NOW)
    assert [row.password_id for row in folds(hall)] == [two]
    assert [row["key"] for row in looked(hall)] == [str(two)]
    # A look on its way while its password is erased leaves nothing.
    hall.store.viewers.revoke(hall.acme, [two], who="eva", now=NOW)
    hall.keep(hall.told((1, T + 9 * 6000), number=2))
    assert [row["key"] for row in looked(hall)] == [str(two)] and folds(hall) == []


def test_it_goes_with_the_first_events_whose_time_is_over(hall: Hall) -> None:
    later = T + 3 * DAY_S * 1000
    hall.keep(hall.told((0, T), (0, T + 6000), (0, later), (1, later)))
    hall.attendance.seal(hall.keys, later, NOW)
    assert len(looked(hall)) == 3
    Retention(hall.store.database, hall.keys, Rules(attendance=2)).run(T // 1000 + 2 * DAY_S + 7200)
    assert [row.password_id for row in folds(hall)] == [hall.passwords[1]]
    assert len(looked(hall)) == 2
    # Of one who was never seen again, all of it.
    Retention(hall.store.database, hall.keys, Rules(attendance=2)).run(T // 1000 + 9 * DAY_S)
    assert folds(hall) == [] and looked(hall) == []


def test_one_that_cannot_be_read_is_made_anew(hall: Hall) -> None:
    hall.keep(hall.told(*((0, T + n * 6000) for n in range(9))))
    before = looked(hall)
    # Its key went, as that of a password that is out of date, and its events have theirs.
    references = hall.store.viewers.references(hall.acme, hall.passwords[:1])
    hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    hall.keys.erase(hall.acme, references, NOW)
    assert looked(hall) == before
    assert json.loads(json.dumps(before))
