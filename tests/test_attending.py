"""Evidence in the store: each batch once, sealed when its hour is over, gone for good when it is erased."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from pystream._core import canonical_events
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import tables
from pystream.acl.store.attending import HOUR_MS, AttendanceStore, Batch
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.parts import united
from pystream.acl.store.retaining import Retention
from pystream.acl.streams import StreamSettings
from pystream.acl.viewers import Session
from pystream.attendance.evidence import (
    DOWNLOAD,
    KEY,
    LONGEST_MS,
    PLAYLIST,
    Pieces,
    Place,
    clock_step,
    outage,
    part,
    places,
    records,
)
from pystream.attendance.purpose import VERSION
from pystream.errors import InvalidValue
from tests.test_viewers import NOW, Stores, line_ends

MIGRATIONS = str(Path(tables.__file__).parent / "migrations")

T = NOW * 1000 // HOUR_MS * HOUR_MS
WHO: dict[str, Any] = {"who": "eva", "now": NOW}


class Hall(Stores):
    """A stream whose attendance is recorded, and two viewers."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.store.set_tenant("acme", {"attendance_purpose": VERSION}, **WHO)
        self.store.set_stream("acme", "film", {"attendance": True}, **WHO)
        self.attendance = self.store.viewers.attendance
        self.passwords = self.add("one", "two")
        (self.shared,) = self.issuer.add(
            self.acme, [self.ids["acme/film"]], [("all", self.settings())], shared=True, **WHO
        )
        self.sessions = [bytes([n]) * 16 for n in (1, 2, 3)]
        opened = [
            self.session(id, password)
            for id, password in zip(self.sessions, (*self.passwords, self.shared), strict=True)
        ]
        self.store.viewers.keep(opened, {}, NOW)

    @staticmethod
    def settings() -> Any:
        from pystream.acl.passwords import PasswordSettings

        return PasswordSettings()

    def session(self, id: bytes, password: int) -> Session:
        return Session(
            id=id,
            tenant_id=self.acme,
            stream_id=self.ids["acme/film"],
            password_id=password,
            opened_at=NOW,
            expires=NOW + 10**6,
            idle_s=None,
        )

    def told(self, *delivered: tuple[int, int], **more: Any) -> Batch:
        """A batch of segments of six seconds, each by viewer and instant."""
        text = b"".join(self.record(viewer, t, self.place(t)) for viewer, t in delivered)
        batch = Batch(worker=7, number=1, since=T, until=T, offset=1000, records=text)
        return replace(batch, **more)

    def place(self, t: int) -> bytes:
        return Place(self.ids["acme/film"], t - T, t - T + 6000, True, "v1").pack()

    def record(self, viewer: int, t: int, place: bytes) -> bytes:
        """As a worker's meter has it, whose clock is a second behind."""
        tag = self.sessions[viewer] + place
        return struct.pack(">qH", t - 1000, len(tag)) + tag

    def parts(
        self, viewer: int, *spans: tuple[int, int, int], etag: str = "v", **more: Any
    ) -> Batch:
        """A batch of parts of one segment of a hundred bytes: each from where to where, and when."""
        tag = self.sessions[viewer] + self.place(T)
        text = b""
        for first, end, t in spans:
            text += self.record(viewer, t, part(tag, etag, 100, first, end)[16:])
        return self.told(records=text, **more)

    def keep(self, *batches: Batch) -> int:
        return self.attendance.keep(self.keys, batches, [], NOW).events

    def events(self) -> list[dict[str, Any]]:
        found = self.attendance.events(self.keys, self.acme, self.ids["acme/film"])
        return [json.loads(line) for line in found]

    def instants(self) -> list[int]:
        return sorted(each["t"] for each in self.events() if each["kind"] == "segment")

    def leaves(self) -> list[bytes]:
        table = tables.attendance_leaf
        with self.store.database.reading() as connection:
            rows = connection.execute(select(table).order_by(table.c.log_id, table.c.first)).all()
        hashes = b"".join(row.hashes for row in rows)
        assert all(row.first * 32 <= len(hashes) for row in rows)
        return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]

    def open_rows(self) -> int:
        with self.store.database.reading() as connection:
            return len(connection.execute(select(tables.attendance_journal)).all())


@pytest.fixture
def hall(tmp_path: Path, url: str) -> Iterator[Hall]:
    made = Hall(tmp_path, url)
    yield made
    made.close()


def test_a_batch_that_comes_again_adds_nothing(hall: Hall) -> None:
    first = hall.told((0, T), (1, T + 5))
    assert hall.keep(first) == 2 and hall.keep(first) == 0
    # With others, in any order, over another writer, and after its worker has said that it was the last.
    second = hall.told((0, T + 6000), number=2)
    assert hall.keep(second, first) == 1
    last = hall.told((0, T + 12_000), number=3, last=True)
    assert hall.keep(last) == 1 and hall.keep(last, second, first) == 0
    assert hall.attendance.cursors() == {}
    # Nor after it was given up, and is back.
    goes_on = hall.told((1, T + 18_000), number=4)
    assert hall.keep(goes_on) == 1 and hall.attendance.give_up({7: T + 1}, NOW) == 1
    assert hall.attendance.give_up({7: T + 1}, NOW) == 0
    assert hall.keep(goes_on) == 0
    assert hall.keep(hall.told((1, T + 24_000), number=5)) == 1
    # Another worker has numbers of its own.
    assert hall.keep(hall.told((1, T + 30_000), worker=8)) == 1
    assert hall.instants() == [T, T + 5, *(T + n * 6000 for n in range(1, 6))]


def test_what_a_worker_gave_up_before_its_first_word_was_stored_is_an_outage(hall: Hall) -> None:
    def outages() -> list[tuple[int, int]]:
        return [(each["t0"], each["t1"]) for each in hall.events() if each["kind"] == "outage"]

    third = hall.told((0, T + 3000), number=3, since=T + 2000, until=T + 4000)
    hall.attendance.keep(hall.keys, [third], [], NOW, begun={7: T - 500})
    assert outages() == [(T - 500, T + 2000)]
    # One that has told before, long ago, and has something to tell again.
    again = replace(third, worker=8, number=9)
    hall.attendance.keep(hall.keys, [again], [], NOW, begun={8: T + 3500})
    # And one that tells from the beginning.
    first = replace(third, worker=9, number=1)
    hall.attendance.keep(hall.keys, [first], [], NOW, begun={9: T + 1000})
    assert len(outages()) == 1


def test_one_that_many_share_and_one_that_nobody_knows_are_nobodys_attendance(hall: Hall) -> None:
    hall.sessions.append(b"x" * 16)
    assert hall.keep(hall.told((2, T), (3, T), (0, T))) == 1
    assert [each["key"] for each in hall.events()] == [str(hall.passwords[0])]


def test_what_comes_of_a_deleted_tenant_keeps_nothing_else_back(hall: Hall) -> None:
    assert hall.keep(hall.told((0, T), number=1)) == 1
    late = hall.told((0, T + 1), number=2)
    Leaving(hall.store, hall.keys).delete("acme", force=True, **WHO)
    assert hall.keep(late) == 0
    assert hall.keep(late, hall.told((1, T + 2), number=3)) == 0


def test_what_cannot_be_read_is_an_outage_and_all_else_is_kept(hall: Hall) -> None:
    good = hall.record(0, T, hall.place(T))
    broken = [
        b"x",
        good + b"x",
        hall.record(0, T + 1, b"\xff"),
        hall.record(0, T + 1, b"\2more"),
        hall.record(0, T + 1, hall.place(T)[:-3]),
        hall.record(0, T + 1, part(bytes(16) + hall.place(T), "", 100, 50, 51)[16:40]),
        hall.record(0, T + 1, part(bytes(16) + hall.place(T), "", 50, 50, 51)[16:]),
    ]
    batches = [
        hall.told(number=n, records=text, since=T + n * 1000, until=T + n * 1000 + 500)
        for n, text in enumerate(broken, 1)
    ]
    other = hall.told((1, T), number=8, since=T + 8000, until=T + 8000)
    kept = hall.attendance.keep(hall.keys, [*batches, other], [], NOW)
    assert (kept.events, kept.unreadable) == (2, 7)
    outages = [(each["t0"], each["t1"]) for each in hall.events() if each["kind"] == "outage"]
    assert outages == [(each.since, each.until) for each in batches]
    # Told again, it is known.
    assert hall.attendance.keep(hall.keys, [*batches, other], [], NOW) == (0, 0)


def test_a_segment_in_parts_counts_once_when_all_of_it_is_there(hall: Hall) -> None:
    first = hall.parts(0, (0, 40, T), (60, 100, T + 9))
    assert hall.keep(first) == 0 and hall.keep(first) == 0
    # Another writer, and another worker whose clock's part came a moment before.
    again = AttendanceStore(hall.store.database)
    rest = hall.parts(0, (30, 60, T + 5), worker=8)
    assert again.keep(hall.keys, [rest], [], NOW).events == 1
    (event,) = hall.events()
    assert (event["kind"], event["t"], event["m0"], event["m1"]) == ("segment", T + 9, 0, 6000)
    assert hall.keep(hall.parts(0, (40, 60, T + 20), number=2)) == 0, "of a new one, it is a part"
    assert hall.keep(hall.parts(0, (0, 40, T + 30), (60, 100, T + 31), number=3)) == 1
    assert hall.instants() == [T + 9, T + 31]
    # Twice in one batch.
    twice = [(0, 50, T + 40), (50, 100, T + 41), (0, 50, T + 42), (50, 100, T + 43)]
    assert hall.keep(hall.parts(0, *twice, number=4)) == 2


def test_parts_of_two_viewers_or_of_other_bytes_are_no_segment(hall: Hall) -> None:
    assert hall.keep(hall.parts(0, (0, 50, T))) == 0
    assert hall.keep(hall.parts(1, (50, 100, T), number=2)) == 0
    assert hall.keep(hall.parts(0, (50, 100, T), number=3, etag="w")) == 0
    # What many share is nobody's, in parts as well.
    assert hall.keep(hall.parts(2, (0, 50, T), (50, 100, T), number=4)) == 0
    assert hall.keep(hall.parts(0, (50, 100, T), number=5)) == 1


def test_parts_that_are_forgotten_are_missing(hall: Hall) -> None:
    hall.keep(hall.parts(0, (0, 50, T)))
    hall.attendance.forget_parts(T)
    assert hall.keep(hall.parts(0, (50, 60, T + 1), number=2)) == 0
    hall.attendance.forget_parts(T + 2)
    assert hall.keep(hall.parts(0, (60, 100, T + 2), number=3)) == 0
    hall.issuer.erase(hall.acme, [hall.passwords[0]], **WHO)
    with hall.store.database.reading() as connection:
        assert connection.execute(select(tables.attendance_part)).all() == []


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), max_size=200))
def test_spans_are_what_was_put_in_and_never_more(pieces: list[tuple[int, int]]) -> None:
    spans: list[tuple[int, int]] = []
    put = set[int]()
    for first, length in pieces:
        spans = united([*spans, (first, first + length)])
        put |= set(range(first, first + length))
        assert len(spans) <= 64 and all(a[1] < b[0] for a, b in pairwise(spans))
    held = {byte for first, end in spans for byte in range(first, end)}
    assert held <= put
    if len(pieces) <= 64:
        assert held == put


def test_what_is_missing_of_a_worker_is_an_outage(hall: Hall) -> None:
    hall.keep(hall.told((0, T), until=T + 500))
    # It had to give up three batches.
    hall.keep(hall.told((0, T + 6000), number=5, since=T + 2000, until=T + 2500))
    assert hall.attendance.give_up({7: T + 9000, 99: T}, NOW) == 1
    outages = [(each["t0"], each["t1"]) for each in hall.events() if each["kind"] == "outage"]
    # Of a worker that lives, nothing else is missing; of the other, what nobody had acknowledged yet.
    assert outages == [(T + 500, T + 2000), (T + 2500 - 5000, T + 9000)]
    # Nobody else is told, who has nothing recorded.
    found = hall.attendance.events(hall.keys, hall.other, hall.ids["other/film"])
    assert list(found) == []


def test_a_step_of_the_clock_is_on_record(hall: Hall) -> None:
    hall.attendance.keep(
        hall.keys, [hall.told((0, T))], [(T + 1, clock_step(T + 1, -600_000))], NOW
    )
    assert {"kind": "clock", "t": T + 1, "step_ms": -600_000} in hall.events()


def test_hours_that_are_over_are_sealed_and_read_as_before(hall: Hall) -> None:
    hall.keep(hall.told((0, T - 1), (1, T - 2), (0, T), (0, T + HOUR_MS - 1), (1, T + HOUR_MS)))
    hall.attendance.give_up({7: T + 1}, NOW)
    before, leaves = hall.events(), hall.leaves()
    assert len(leaves) == 6 and hall.open_rows() == 5
    assert hall.attendance.seal(hall.keys, T + HOUR_MS, NOW) == 4
    assert hall.open_rows() == 1
    table = tables.attendance_sealed
    with hall.store.database.reading() as connection:
        rows = connection.execute(select(table)).all()
    groups = {(row.password_id, row.hour - T // HOUR_MS) for row in rows}
    one, two = hall.passwords
    assert groups == {(one, -1), (one, 0), (two, -1)} and len(rows) == 3
    assert len({row.reference for row in rows}) == 3
    assert not any(b"segment" in row.sealed_events for row in rows)

    def order(event: dict[str, Any]) -> str:
        return json.dumps(event, sort_keys=True)

    assert sorted(hall.events(), key=order) == sorted(before, key=order)
    assert hall.attendance.seal(hall.keys, T + HOUR_MS, NOW) == 0
    # Between two instants, of what is sealed as well.
    some = hall.attendance.events(hall.keys, hall.acme, hall.ids["acme/film"], T - 1, T + 1)
    kept = [json.loads(line) for line in some]
    assert sorted(e["t"] for e in kept if e["kind"] == "segment") == [T - 1, T]
    assert hall.leaves() == leaves


@pytest.mark.parametrize("is_stored", [False, True])
def test_what_was_sealed_is_read_though_the_line_ended_then(hall: Hall, is_stored: bool) -> None:
    hall.keep(hall.told((0, T), (1, T)))
    before, held = hall.events(), hall.keys.held(hall.acme)[1]
    with line_ends(hall.store.database, 1, is_stored):
        hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    assert hall.open_rows() == (0 if is_stored else 2)
    assert sorted(map(str, hall.events())) == sorted(map(str, before))
    assert hall.keys.held(hall.acme)[1] == held + (2 if is_stored else 0)


def test_a_journal_of_an_earlier_program_is_read_on(hall: Hall) -> None:
    """As it lay before it had shards, and from here on."""
    hall.keep(hall.told((0, T), (1, T), (0, T + HOUR_MS)))
    before = hall.events()
    for revision in ("0022", "head"):
        with hall.store.database.writing() as connection:
            config = Config()
            config.set_main_option("script_location", MIGRATIONS)
            config.attributes["connection"] = connection
            (command.upgrade if revision == "head" else command.downgrade)(config, revision)
    assert sorted(map(str, hall.events())) == sorted(map(str, before))
    with hall.store.database.reading() as connection:
        rows = connection.execute(select(tables.attendance_journal)).all()
    assert [row.shard for row in rows] == [tables.shard(row.password_id) for row in rows]
    assert hall.attendance.seal(hall.keys, T + HOUR_MS, NOW) == 2
    assert sorted(map(str, hall.events())) == sorted(map(str, before))


def test_leaves_are_hashes_of_what_is_read(hall: Hall) -> None:
    hall.keep(hall.told((0, T), (1, T)))
    table = tables.attendance_journal
    with hall.store.database.reading() as connection:
        rows = connection.execute(select(table).order_by(table.c.number)).all()
    assert [row.number for row in rows] == [0, 1]
    assert len({row.salt for row in rows}) == 2
    assert hall.leaves() == [sha256(b"\0" + row.salt + row.event.encode()).digest() for row in rows]


def test_an_erased_password_has_watched_nothing(hall: Hall) -> None:
    one, two = hall.passwords
    hall.keep(hall.told((0, T), (1, T), (0, T + HOUR_MS), (1, T + HOUR_MS)))
    hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    leaves = hall.leaves()
    (reference,) = hall.attendance.references(hall.acme, [one])
    hall.issuer.erase(hall.acme, [one], **WHO)
    assert hall.keys.record_keys(hall.acme, [reference]) == {}
    assert hall.attendance.references(hall.acme, [one]) == ()
    assert {each["key"] for each in hall.events()} == {str(two)}
    assert hall.leaves() == leaves
    # What was on its way then is not kept.
    late = hall.told((0, T + HOUR_MS + 6000), (1, T + HOUR_MS + 6000), number=2)
    assert hall.keep(late) == 1
    assert hall.open_rows() == 2
    held = hall.keys.held(hall.acme)[1]
    assert hall.attendance.seal(hall.keys, T + 2 * HOUR_MS, NOW) == 2
    assert {each["key"] for each in hall.events()} == {str(two)} and hall.open_rows() == 0
    assert hall.keys.held(hall.acme)[1] == held + 1
    # Of one that is only revoked, it is.
    hall.store.viewers.revoke(hall.acme, [two], **WHO)
    assert hall.keep(hall.told((1, T + HOUR_MS + 12_000), number=3)) == 1


def test_what_is_sealed_while_its_password_is_erased_is_not_kept(hall: Hall) -> None:
    one, two = hall.passwords
    hall.keep(hall.told((0, T), (1, T)))
    # As if whoever erases had come no further yet.
    found = hall.store.viewers.references(hall.acme, [one])
    hall.keys.erase(hall.acme, found, NOW)
    assert hall.attendance.seal(hall.keys, T + HOUR_MS, NOW) == 2
    assert {each["key"] for each in hall.events()} == {str(two)} and hall.open_rows() == 0


def test_events_go_when_their_time_is_over_and_leaves_stay(hall: Hall) -> None:
    hall.keep(hall.told((0, T), (1, T + HOUR_MS)))
    hall.attendance.seal(hall.keys, T + HOUR_MS, NOW)
    engine = Retention(hall.store.database, hall.keys, Rules(attendance=2))
    (reference,) = hall.attendance.references(hall.acme, [hall.passwords[0]])
    end = T // 1000 + 2 * DAY_S
    assert engine.plan(end)["attendance"].total() == 0  # type: ignore[index]
    assert engine.plan(end + 7200)["attendance"].total() == 2  # type: ignore[index]
    engine.run(end + 7200)
    assert hall.instants() == [] and hall.open_rows() == 0 and len(hall.leaves()) == 2
    assert hall.keys.record_keys(hall.acme, [reference]) == {}


def test_attendance_is_of_streams_with_passwords_whose_tenant_has_accepted_it(hall: Hall) -> None:
    store = hall.store
    for access in ("open", "shared"):
        with pytest.raises(InvalidValue, match="'personal', 'signed' or 'external'"):
            store.set_stream("acme", "film", {"access": access}, **WHO)
    with pytest.raises(InvalidValue, match="a cache hands out"):
        store.set_stream(
            "acme", "film", {"cache": "shared", "encryption": "aes-128", "pace": None}, **WHO
        )
    with pytest.raises(InvalidValue, match="has not accepted"):
        store.set_stream("other", "film", {"attendance": True}, **WHO)
    with pytest.raises(InvalidValue, match="has not accepted"):
        settings = StreamSettings(sources=("/a.mp4",), access="signed", attendance=True)
        store.add_stream("other", "new", settings, **WHO)
    with pytest.raises(InvalidValue, match=VERSION):
        store.set_tenant("other", {"attendance_purpose": "0815"}, **WHO)
    # Who takes it back can change anything else.
    store.set_tenant("acme", {"attendance_purpose": ""}, **WHO)
    store.set_stream("acme", "film", {"title": "x"}, **WHO)


def test_places_lie_side_by_side_and_none_is_longer_than_may_be() -> None:
    found = [Place.unpack(each) for each in places(3, "v1", [6_006_000, 500, 1], primary=True)]
    assert found[0] == (3, 0, 6006, True, "v1")
    assert [(each.m0, each.m1) for each in found[1:]] == [(6006, 6007), (6006, 6007)]
    (long,) = places(3, "v1", [3_600_000_000], primary=False)
    assert Place.unpack(long) == (3, 0, LONGEST_MS, False, "v1")


@pytest.mark.parametrize("cut", range(1, 27))
def test_records_that_are_cut_are_none(cut: int) -> None:
    whole = struct.pack(">qH", 5, 17) + bytes(17)
    assert [each.t for each in records(whole * 2)] == [5, 5]
    with pytest.raises(ValueError, match="this is no record"):
        list(records(whole + whole[:cut]))


@pytest.mark.parametrize("name", ["film", 'Fílm "eins"\\\n\x1f\x7f 😀'])
def test_events_are_put_together_in_the_one_spelling_that_the_log_hashes(name: str) -> None:
    place = Place(7, 6000, 12_006, True, name).pack()
    head, tail = Pieces.of_key(name), Pieces.of_session(bytes(range(16)), name)
    event = f"{head}{Pieces.of_place(place)}{tail}1773162000000}}"
    told = [event, outage(5, 6), clock_step(7, -600)]
    told += [f"{head}{Pieces.of_place(each)}{tail}5}}" for each in (KEY, PLAYLIST, DOWNLOAD)]
    assert canonical_events("\n".join(told).encode()) == [each.encode() for each in told]
