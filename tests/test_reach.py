"""How far a password may go in a film that cannot be skipped ahead: the rule, and what the store keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pystream import _core
from pystream.acl.reach import AHEAD_MS, Piece, Reach, advanced, wait_ms
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store.reaching import Place, ReachStore
from pystream.acl.store.retaining import Retention
from pystream.errors import InvalidValue, StoreError
from pystream.server.http import HttpError
from pystream.server.reaching import Ahead, Book, Earnings, Reached, Reaching
from tests.test_attending import Hall
from tests.test_viewers import NOW

D = 6000
T = NOW * 1000


def piece(n: int, *, counts: bool = True) -> Piece:
    return Piece(n * D, (n + 1) * D, D, counts)


def fetched(reach: Reach, now: int, *numbers: int) -> Reach:
    for n in numbers:
        assert wait_ms(reach, piece(n), now) == 0, n
        reach = advanced(reach, piece(n), now)
    return reach


def test_a_minute_goes_at_once_and_the_rest_as_it_plays() -> None:
    begun = fetched(Reach(), T, *range(10))
    assert begun == Reach(60_000, T + 60_000) and begun.earned(T) == 0
    assert wait_ms(begun, piece(10), T) == D and wait_ms(begun, piece(11), T) == 2 * D
    assert wait_ms(begun, piece(13), T) is None and wait_ms(begun, piece(100), T) is None
    # What was had goes again, at any time, of any rendition.
    assert [wait_ms(begun, piece(n, counts=n > 3), T) for n in range(10)] == [0] * 10
    assert wait_ms(begun, piece(10), T + D) == 0
    assert (
        advanced(begun, piece(4), T) is begun
        and advanced(begun, piece(10, counts=False), T) is begun
    )


def test_who_rests_has_earned_no_more_than_was_had() -> None:
    begun = fetched(Reach(), T, 0, 1, 2)
    assert [begun.earned(T + each) for each in (0, 5000, 18_000, 10**9)] == [
        0,
        5000,
        18_000,
        18_000,
    ]
    # Then there is another minute, from there.
    later = fetched(begun, T + 10**9, *range(3, 13))
    assert later.media_ms == 78_000 and later.earned(T + 10**9) == 18_000
    assert wait_ms(later, piece(13), T + 10**9) == D


def test_what_was_lost_or_comes_out_of_order_is_no_skip_but_costs_its_time() -> None:
    reach = fetched(Reach(), T, 1, 0, 3, 2, 6)
    assert reach.media_ms == 7 * D and reach.played_at == T + 7 * D
    # Three of them are: what comes behind is none that could have been watched.
    assert advanced(reach, piece(10), T) is reach
    assert wait_ms(reach, piece(9), T) == 0


def test_where_the_clock_was_set_back_nobody_waits_for_it() -> None:
    begun = fetched(Reach(), T, *range(10))
    assert wait_ms(begun, piece(10), T - 10**9) == D
    again = advanced(begun, piece(10), T - 10**9 + D)
    assert again.played_at == T - 10**9 + D + 66_000


def test_of_two_that_are_known_the_further_one_counts() -> None:
    one, two = Reach(12_000, T), Reach(6000, T + 50)
    assert one.further(two) is one and two.further(one) is one


@given(
    longest=st.integers(1, 3_600_000),
    pause=st.integers(0, 10**7),
    steps=st.lists(st.integers(0, 5), max_size=40),
)
def test_what_comes_next_is_always_due_some_time(
    longest: int, pause: int, steps: list[int]
) -> None:
    """Who takes piece after piece, and waits as long as is said, is never refused, and has it all."""
    reach, now, m0 = Reach(), T, 0
    for step in steps:
        next = Piece(m0, m0 + max(1, longest - step * longest // 6), longest, counts=True)
        wait = wait_ms(reach, next, now)
        assert wait is not None and wait <= max(AHEAD_MS, 3 * longest)
        now += wait
        assert wait_ms(reach, next, now) == 0
        reach, m0 = advanced(reach, next, now), next.m1
        assert reach.media_ms == m0
        now += pause * step


@given(
    asked=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 20_000), st.booleans()), max_size=200
    )
)
def test_whatever_is_asked_for_nothing_comes_before_its_time(
    asked: list[tuple[int, int, bool]],
) -> None:
    reach, now, most = Reach(), T, 0
    for n, later, counts in asked:
        now += later
        if wait_ms(reach, piece(n, counts=counts), now) == 0:
            reach = advanced(reach, piece(n, counts=counts), now)
            most = max(most, piece(n).m1)
        assert most <= now - T + AHEAD_MS
        assert reach.earned(now) <= min(now - T, reach.media_ms)


@pytest.fixture
def hall(tmp_path: Path, url: str) -> Iterator[Hall]:
    made = Hall(tmp_path, url)
    yield made
    made.close()


def test_the_store_keeps_the_furthest_of_each_password_until_it_goes(hall: Hall) -> None:
    film, reach = hall.ids["acme/film"], hall.store.viewers.reach
    one, two = hall.passwords
    assert reach.find(film, one) == Reach()
    reach.keep(
        {(film, one): Reach(6000, T), (film, two): Reach(12_000, T + 5), (film, 4711): Reach(1, 1)}
    )
    reach.keep({(film, one): Reach(18_000, T + 9), (film, two): Reach(6000, T + 99)})
    assert (reach.find(film, one), reach.find(film, two)) == (
        Reach(18_000, T + 9),
        Reach(12_000, T + 5),
    )
    hall.issuer.erase(hall.acme, [one], who="eva", now=NOW)
    # Somebody was just about to store it.
    reach.keep({(film, one): Reach(24_000, T + 9)})
    assert reach.find(film, one) == Reach() and reach.find(film, two).media_ms == 12_000
    engine = Retention(hall.store.database, hall.keys, Rules(attendance=2))
    early, late = NOW + 2 * DAY_S, NOW + 2 * DAY_S + 7200
    assert engine.plan(early)["attendance"].total() == 0  # type: ignore[index]
    assert engine.plan(late)["attendance"].total() == 1  # type: ignore[index]
    engine.run(late)
    assert reach.find(film, two) == Reach()


def test_a_password_that_goes_takes_it_along(hall: Hall) -> None:
    film, reach = hall.ids["acme/film"], hall.store.viewers.reach
    (gone,) = hall.add("gone", valid_until=NOW + 5)
    reach.keep({(film, gone): Reach(6000, (NOW + 600 * DAY_S) * 1000)})
    Retention(hall.store.database, hall.keys, Rules()).run(NOW + 400 * DAY_S)
    assert reach.find(film, gone) == Reach()


def test_it_is_of_personal_streams_with_attendance_and_without_a_download(hall: Hall) -> None:
    store, by = hall.store, {"who": "eva", "now": NOW}
    store.set_stream("acme", "film", {"no_skip": True}, **by)  # type: ignore[arg-type]
    for changes, why in (
        ({"attendance": False}, "attendance has to be recorded"),
        ({"access": "signed"}, "an access of 'personal'"),
        ({"download": True}, "exclude each other"),
    ):
        with pytest.raises(InvalidValue, match=f"no_skip: .*{why}"):
            store.set_stream("acme", "film", changes, **by)  # type: ignore[arg-type]
    store.set_stream("acme", "film", {"no_skip": False, "attendance": False}, **by)  # type: ignore[arg-type]


class Minute:
    """A writer's book and a worker's view of it, with one session, by a clock that is set."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.now = float(NOW)
        self.film, self.id = hall.ids["acme/film"], hall.sessions[0]
        self.sessions = _core.Sessions(_core.Sessions.create(4))
        self.sessions.open(
            self.id, self.film, NOW, expires=NOW + 10**6, idle_s=0, holder=hall.passwords[0]
        )
        self.asked: list[Reaching] = []
        self.is_there = True
        self.book = self.new_book()

    def new_book(self) -> Book:
        """That of a writer in the place of one that was killed."""
        return Book(self.sessions, self.hall.store.viewers.reach, lambda: self.now)

    def worker(self) -> Earnings:
        return Earnings(self.sessions, self._ask, lambda: self.now)

    async def _ask(self, ask: Reaching) -> Reached | None:
        self.asked.append(ask)
        return await self.book.answer(ask) if self.is_there else None


def test_a_writer_that_was_killed_knows_from_workers_what_it_had_not_stored(hall: Hall) -> None:
    async def main() -> None:
        minute = Minute(hall)
        worker = minute.worker()
        for n in range(5):
            assert await worker.ask(minute.id, piece(n)) == 0
        await minute.book.flush()
        for n in range(5, 10):
            assert await worker.ask(minute.id, piece(n)) == 0
        minute.book, minute.now = minute.new_book(), minute.now + 6
        assert await worker.ask(minute.id, piece(10)) == 0
        assert await minute.worker().earned(minute.id) == 6
        # Who asks another worker after that waits as long as he would have.
        assert await minute.worker().ask(minute.id, piece(11)) == 6

    trio.run(main)


def test_what_was_had_costs_no_question_and_goes_without_the_writer(hall: Hall) -> None:
    async def main() -> None:
        minute = Minute(hall)
        worker = minute.worker()
        assert await worker.ask(minute.id, piece(0)) == 0 and len(minute.asked) == 1
        assert await worker.ask(minute.id, piece(0)) == 0
        # Within the look-ahead, what counts nothing needs no counting.
        assert await worker.ask(minute.id, piece(3, counts=False)) == 0 and len(minute.asked) == 1
        minute.is_there = False
        assert await worker.ask(minute.id, piece(0)) == 0
        for n in (1, 30):
            with pytest.raises(HttpError, match="503"):
                await worker.ask(minute.id, piece(n))
        minute.is_there = True
        assert await worker.ask(minute.id, piece(1)) == 0
        with pytest.raises(Ahead) as refused:
            await worker.ask(minute.id, piece(30))
        assert refused.value.status == 403 and refused.value.facts == {"reached": 0}
        with pytest.raises(HttpError, match="403"):
            await worker.ask(bytes(16), piece(0))

    trio.run(main)


def test_what_could_not_be_stored_is_stored_with_the_next(hall: Hall) -> None:
    class Full(ReachStore):
        """On a disk that is full for once."""

        is_full = True

        def keep(self, reaches: Mapping[Place, Reach]) -> None:
            if self.is_full:
                self.is_full = False
                raise StoreError("the disk is full")
            super().keep(reaches)

    async def main() -> None:
        minute = Minute(hall)
        minute.book = Book(minute.sessions, Full(hall.store.database), lambda: minute.now)
        assert await minute.worker().ask(minute.id, piece(0)) == 0
        for kept in (0, D):
            await minute.book.flush()
            assert hall.store.viewers.reach.find(minute.film, hall.passwords[0]).media_ms == kept

    trio.run(main)
