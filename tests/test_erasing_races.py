"""Who erases, and who keeps something from it at the same moment: one of the two comes first, and the other
is told. On real stores of both kinds, each opened twice; what a race hangs on is led."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, event, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import Store, database, tables
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.retaining import Retention
from pystream.errors import InvalidValue, NotFound, StoreError
from tests.audience import LATER, WHO, Audience
from tests.test_erasing import House
from tests.test_viewers import Stores

WHY = "says that the evening is wrong"
OLD = LATER + 4000 * DAY_S
UNTIL = OLD + 9 * DAY_S


class Other:
    """The same stores, opened by another process as it were."""

    def __init__(self, folder: Path, url: str) -> None:
        self.store = Store.open(url)
        self.keys = Stores.keys_of(folder)
        self.issuer = Issuer(self.store.viewers, self.keys)
        self.leaving = Leaving(self.store, self.keys)
        self.retention = Retention(self.store.database, self.keys, Rules())

    def close(self) -> None:
        self.keys.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    audience = Audience(tmp_path, url)
    yield House(audience)
    audience.close()


@pytest.fixture
def other(house: House, tmp_path: Path, url: str) -> Iterator[Other]:
    opened = Other(tmp_path, url)
    yield opened
    opened.close()


class Interrupted(Exception):
    """As if the machine had stopped there."""


def waits_its_turn(statement: str) -> bool:
    return statement == "BEGIN IMMEDIATE" or "FOR UPDATE" in statement


def destroys_keys(statement: str) -> bool:
    return statement.startswith("DELETE FROM record_key")


@contextmanager
def before(which: Callable[[str], bool], engine: Engine, then: Callable[[], Any]) -> Iterator[None]:
    """Has something happen before each statement of that kind."""

    def look(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if which(statement):
            then()

    turn = database._TURN

    class Turn:
        """The driver asks for it by itself, of which SQLAlchemy tells nothing."""

        @staticmethod
        def rows(connection: Connection, values: Any) -> Any:
            if connection.engine is engine:
                look(connection, None, turn._text(connection)[0])
            return turn.rows(connection, values)

    event.listen(engine, "before_cursor_execute", look)
    try:
        with patch.object(database, "_TURN", Turn):
            yield
    finally:
        event.remove(engine, "before_cursor_execute", look)


def once(then: Callable[[], Any]) -> Callable[[], None]:
    calls = iter([then])

    def first() -> None:
        for each in calls:
            each()

    return first


def restrict(house: House) -> None:
    house.of.store.viewers.restrictions.restrict(house.acme, house.goes, WHY, **WHO)


def hold(house: House) -> None:
    reports = house.of.reporter.sealed
    reports.hold(house.acme, house.subject, UNTIL, WHY, **WHO)


def lift(house: House) -> None:
    house.of.store.viewers.restrictions.lift(house.acme, house.goes, **WHO)


def release(house: House) -> None:
    house.of.reporter.sealed.release(house.acme, house.subject, **WHO)


KEPT = {"restricted": (restrict, lift), "held": (hold, release)}


def during(
    house: House, other: Other, keep: Callable[[House], None], end: Callable[[], Any]
) -> Future[Any]:
    """Something is being kept, and is not yet stored, when somebody who ends it comes so far that he has to
    wait for that; what became of the latter."""
    waits = threading.Event()
    with (
        ThreadPoolExecutor(1) as pool,
        before(waits_its_turn, other.store.database.engine, waits.set),
    ):
        with house.of.store.database.together():
            keep(house)
            ended = pool.submit(end)
            assert waits.wait(60)
        ended.exception()
    return ended


@pytest.mark.parametrize("how", KEPT)
def test_who_erases_sees_what_is_kept_meanwhile(house: House, other: Other, how: str) -> None:
    keep, let_go = KEPT[how]
    there = house.naming(house.goes)

    def erase() -> int:
        return other.issuer.erase(house.acme, [house.goes], **WHO)

    with pytest.raises(InvalidValue, match=how):
        during(house, other, keep, erase).result()
    (shown,) = house.of.issuer.shown(house.acme, [house.goes])
    assert shown.text == "geheim" and shown.password.revoked_at is None
    let_go(house)
    assert house.naming(house.goes) == there
    assert erase() == 1


def test_who_restricts_what_is_being_erased_is_told(house: House, other: Other) -> None:
    told = list[str]()

    def too_late() -> None:
        with pytest.raises(InvalidValue, match="was erased") as raised:
            restrict(house)
        told.append(str(raised.value))

    with before(waits_its_turn, other.keys.database.engine, once(too_late)):
        other.issuer.erase(house.acme, [house.goes], **WHO)
    assert told == ["the password was erased, and there is nothing of it to keep"]
    (shown,) = house.of.issuer.shown(house.acme, [house.goes])
    assert shown.text is None
    too_late()


def test_erasing_that_was_interrupted_goes_on_whatever_is_held_since(
    house: House, other: Other
) -> None:
    def stop() -> None:
        raise Interrupted

    with (
        before(waits_its_turn, other.keys.database.engine, stop),
        pytest.raises(Interrupted),
    ):
        other.issuer.erase(house.acme, [house.goes], **WHO)
    (shown,) = house.of.issuer.shown(house.acme, [house.goes])
    assert shown.text == "geheim" and shown.state(LATER) == "revoked"
    hold(house)
    with pytest.raises(InvalidValue, match="was erased"):
        restrict(house)
    with pytest.raises(InvalidValue, match="held"):
        other.issuer.erase(house.acme, [house.goes, house.stays], **WHO)
    assert other.issuer.erase(house.acme, [house.goes], **WHO) == 1
    (shown,) = house.of.issuer.shown(house.acme, [house.goes])
    assert shown.state(LATER) == "erased"


@pytest.mark.parametrize("how", KEPT)
def test_who_deletes_a_tenant_sees_what_is_kept_meanwhile(
    house: House, other: Other, how: str
) -> None:
    keep, let_go = KEPT[how]

    def delete() -> Any:
        return other.leaving.delete("acme", **WHO, force=True)

    with pytest.raises(StoreError, match=how):
        during(house, other, keep, delete).result()
    assert [each.name for each in house.of.store.streams("acme")] == ["course", "film"]
    (shown,) = house.of.issuer.shown(house.acme, [house.goes])
    assert shown.text == "geheim"
    let_go(house)
    delete()


@pytest.mark.parametrize("how", KEPT)
def test_of_a_tenant_that_is_being_deleted_nothing_is_kept(
    house: House, other: Other, how: str
) -> None:
    keep, _ = KEPT[how]
    told = list[str]()

    def too_late() -> None:
        with pytest.raises(NotFound) as raised:
            keep(house)
        told.append(str(raised.value))

    with before(waits_its_turn, other.keys.database.engine, once(too_late)):
        other.leaving.delete("acme", **WHO, force=True)
    assert told == ["the tenant is being deleted"]


@pytest.mark.parametrize("how", KEPT)
def test_what_is_old_is_kept_where_that_is_wanted_meanwhile(
    house: House, other: Other, how: str
) -> None:
    keep, _ = KEPT[how]
    there = house.naming(house.goes)
    during(house, other, keep, lambda: other.retention.run(OLD)).result()
    kept = house.naming(house.goes)
    for table in WHAT_IS_KEPT[how]:
        assert kept[table] == there[table] > 0
    if how == "held":
        assert house.sealed().document is not None


WHAT_IS_KEPT = {
    "held": ("attendance_report_name",),
    "restricted": ("attendance_sealed", "attendance_reach"),
}


def test_nobody_can_keep_what_is_old_while_its_keys_are_destroyed(
    house: House, other: Other
) -> None:
    others_wait = list[bool]()

    def look() -> None:
        others_wait.append(is_written(house.of.store))

    with before(destroys_keys, other.keys.database.engine, look):
        other.retention.run(OLD)
    # The report's, and those of events.
    assert len(others_wait) >= 2 and all(others_wait)
    assert not is_written(house.of.store)


def is_written(store: Store) -> bool:
    """Whether who wants to keep something has to wait."""
    engine = store.database.engine
    try:
        if engine.dialect.name == "sqlite":
            with closing(sqlite3.connect(store.database.path or "", timeout=0)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        else:
            with engine.connect() as connection:
                connection.execute(select(tables.revision).with_for_update(nowait=True))
    except (sqlite3.OperationalError, OperationalError):
        return True
    return False
