"""The writer's desk: two of them on one socket, as they are while the program is replaced, of which one
decides; and what it makes of what changes meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from sqlalchemy import delete, select, text

from pystream import _core
from pystream.acl.grants import SKEW_S
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.store import Store, tables
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.viewers import ViewerStore
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.viewers import End, Ending, Password, Refusal, Session
from pystream.server import desk, log
from pystream.server.desk import Answered, Desk, Line, Open
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.reaching import Reaching
from pystream.server.settings import Keys
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

NOW = 1_800_000_000
# What the writer does with its desk, and nothing else of it.
WRITER = """
import os, socket, sys, trio
from pystream import _core
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.server.desk import Desk
from pystream.server.keys import open_key_store
from pystream.server.settings import Keys

folder, url, listener, table = *sys.argv[1:3], *map(int, sys.argv[3:])
keys = Keys(master_key_file=folder + "/key", store="sqlite:///" + folder + "/keys.db",
            erasures=folder + "/erasures")

async def main():
    store = Store.open(url)
    issuer = Issuer(store.viewers, open_key_store(keys, {}, migrate=False))
    desk = Desk(_core.Sessions(table), store, issuer, lambda: 1_800_000_000)
    async with trio.open_nursery() as nursery:
        await nursery.start(desk.run, socket.socket(fileno=listener))
        os.write(1, b"up")
        await trio.sleep_forever()

trio.run(main)
"""


@contextmanager
def writer(folder: Path, url: str, listener: int, table: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, url, str(listener), str(table)],
        pass_fds=(listener, table),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.read(2) == b"up"
        try:
            yield process
        finally:
            process.kill()


class House:
    """What a desk works with: the two stores, its socket and the table. `stream` is a film's, `theirs` one
    of another tenant's."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.keys = Keys(
            master_key_file=f"{folder}/key",
            store=f"sqlite:///{folder}/keys.db",
            erasures=f"{folder}/erasures",
        )
        ensure_keys(self.keys, {}, NOW)
        self.store = Store.open(url)
        self.issuer = Issuer(self.store.viewers, open_key_store(self.keys, {}, migrate=False))
        film = StreamSettings(sources=("/film.mp4",))
        for tenant in ("acme", "other"):
            self.store.add_tenant(tenant, TenantSettings(), who="test", now=NOW)
        self.stream = self.store.add_stream("acme", "film", film, who="test", now=NOW)
        self.theirs = self.store.add_stream("other", "film", film, who="test", now=NOW)
        self.listener = desk.listen()
        self.memory = _core.Sessions.create(256)
        self.table = _core.Sessions(os.dup(self.memory))

    def has_room_for(self, sessions: int) -> None:
        """Another table, as a node that was started anew has."""
        os.close(self.memory)
        self.memory = _core.Sessions.create(sessions)
        self.table = _core.Sessions(os.dup(self.memory))

    def writer(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return writer(self.folder, self.url, self.listener, self.memory)

    @contextmanager
    def no_sessions_written(self) -> Iterator[None]:
        """Whoever writes sessions waits."""
        with self.store.database.writing() as connection:
            if self.url.startswith("postgresql"):
                connection.execute(text("LOCK TABLE session IN EXCLUSIVE MODE"))
            yield

    def password(self) -> int:
        entries = [(generate(), PasswordSettings())]
        tenant, streams = self.stream.tenant_id, [self.stream.id]
        return self.issuer.add(tenant, streams, entries, who="test", now=NOW)[0]

    def ask(self, **more: Any) -> Open:
        """One device more of somebody, where two may be."""
        wanted: dict[str, Any] = {
            "tenant_id": self.stream.tenant_id,
            "stream_id": self.stream.id,
            "holder": None,
            "devices": 2,
            "mode": "reject_new",
            **more,
        }
        return Open(
            number=0,
            id=os.urandom(16),
            expires=NOW + 3600,
            idle_s=None,
            grace_s=15,
            token_expires=NOW + 60,
            **wanted,
        )

    def ask_for_theirs(self) -> Open:
        """Somebody comes to the other tenant's."""
        return self.ask(tenant_id=self.theirs.tenant_id, stream_id=self.theirs.id, devices=None)

    def answers(self, *asked: Open) -> list[str]:
        """What is answered to these, one after the other: `open`, `unavailable`, or why not."""
        found: list[str] = []

        async def ask_all() -> None:
            line = Line(self.listener)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.run)
                for each in asked:
                    answered = await line.open(each)
                    let_in = "unavailable" if answered.unavailable else "open"
                    found.append(str(answered.refusal or let_in))
                nursery.cancel_scope.cancel()

        trio.run(ask_all)
        return found


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    made = House(tmp_path, url)
    yield made
    made.store.close()
    for fd in (made.listener, made.memory):
        os.close(fd)


def test_of_two_desks_one_decides(house: House) -> None:
    async def asked_at_once(viewer: str, token: bytes = b"") -> Counter[str]:
        """Sixteen workers' lines, each with a session of its own for the same viewer."""
        answers: list[Answered] = []

        async def one(line: Line) -> None:
            answers.append(await line.open(house.ask(viewer=viewer, token=token)))

        lines = [Line(house.listener) for _ in range(16)]
        async with trio.open_nursery() as keeping:
            for line in lines:
                keeping.start_soon(line.run)
            async with trio.open_nursery() as asking:
                for line in lines:
                    asking.start_soon(one, line)
            keeping.cancel_scope.cancel()
        return Counter(answer.refusal or "open" for answer in answers)

    with house.writer() as first, house.writer():
        assert trio.run(asked_at_once, "4711") == {"open": 2, "devices": 14}
        assert trio.run(asked_at_once, "4712", b"t" * 16) == {"open": 1, "spent": 15}
        first.kill()
        first.wait()
        # The second has read what the first has decided.
        assert trio.run(asked_at_once, "4711") == {"devices": 16}
        assert trio.run(asked_at_once, "4713") == {"open": 2, "devices": 14}
        assert trio.run(asked_at_once, "4714", b"t" * 16) == {"spent": 16}


def test_a_session_that_was_left_gives_way_until_it_asks_again(house: House) -> None:
    holder, stranger = house.password(), house.password()
    first, second, third = (house.ask(holder=holder, devices=1) for _ in range(3))
    theirs = house.ask(holder=stranger, devices=1)

    async def some_leave() -> list[str | int]:
        line, found = Line(house.listener), list[str | int]()

        async def told(ask: Open) -> None:
            answered = await line.open(ask)
            found.append(answered.wait_s or "open")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            for each in (first, theirs, second):
                await told(each)
            for left in (os.urandom(16), theirs.id):
                line.leave(left)
            await told(second)
            line.leave(first.id)
            await told(second)
            # It is another one's place now, and a page that comes back has it as before.
            line.leave(first.id)
            await told(third)
            line.leave(second.id)
            # What comes on a line is heard in its order, so then the desk has heard that.
            await told(theirs)
            house.table.check(second.id, house.stream.id, NOW + 1)
            await told(third)
            nursery.cancel_scope.cancel()
        return found

    with house.writer():
        said = trio.run(some_leave)
    assert said == ["open", "open", 16, 16, "open", 16, "open", 17]
    assert house.table.check(first.id, house.stream.id, NOW) == End.KICKED
    for open_still in (second, theirs):
        assert house.table.check(open_still.id, house.stream.id, NOW) == _core.Sessions.OPEN


class Watched:
    """A table that notes what it was asked."""

    def __init__(self, table: _core.Sessions) -> None:
        self._table = table
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._table, name)

    def __len__(self) -> int:
        return len(self._table)


def asked_of(house: House, watched: Watched, *asked: Open) -> None:
    """Has a desk in this process open sessions, all at a time. Between its decisions, others note their
    turns."""

    async def turns() -> None:
        while True:
            watched.asked.append("turn")
            await trio.lowlevel.checkpoint()

    async def ask_all() -> None:
        table: Any = watched
        deciding = Desk(table, house.store, house.issuer, lambda: NOW)
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:
            await nursery.start(deciding.run, socket.socket(fileno=os.dup(house.listener)))
            watched.asked.clear()
            async with trio.open_nursery() as asking:
                for each in asked:
                    asking.start_soon(line.open, each)
                # Only now is anything sent.
                nursery.start_soon(turns)
                nursery.start_soon(line.run)
            nursery.cancel_scope.cancel()

    trio.run(ask_all)


def test_one_more_costs_the_same_however_many_share_a_password(house: House) -> None:
    holder = house.password()

    def gets() -> int:
        watched = Watched(house.table)
        asked_of(house, watched, house.ask(holder=holder, devices=None))
        return watched.asked.count("get")

    def let_in(count: int) -> None:
        for _ in range(count):
            house.table.open(
                os.urandom(16), house.stream.id, NOW, expires=NOW + 60, idle_s=0, holder=holder
            )

    let_in(5)
    few = gets()
    let_in(200)
    assert gets() == few > 0


def test_others_get_their_turn_while_a_crowd_comes_in(house: House) -> None:
    holder, watched = house.password(), Watched(house.table)
    asked_of(house, watched, *(house.ask(holder=holder, devices=None) for _ in range(20)))
    done = [each for each in watched.asked if each in ("open", "turn")]
    assert done.count("open") == 20
    # Two may follow one another: each had its turn in its own round.
    assert ["open"] * 3 not in [done[n : n + 3] for n in range(len(done))]


def test_an_ask_that_cannot_be_decided_costs_itself_alone(house: House) -> None:
    found: list[bool] = []

    async def ask_both() -> None:
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            for ask in (msgspec.structs.replace(house.ask(), id=b"short"), house.ask()):
                found.append((await line.open(ask)).unavailable)
            nursery.cancel_scope.cancel()

    with house.writer():
        trio.run(ask_both)
    assert found == [True, False]


def test_what_a_database_cannot_hold_costs_itself_alone(house: House) -> None:
    """It is no error of the store's: SQLite's module finds that a number is too large before."""
    holder = house.password()
    first = house.ask(holder=holder, devices=1, mode="kick_oldest")
    second = house.ask(holder=holder, devices=1, mode="kick_oldest")
    large = msgspec.structs.replace(second, token=b"t" * 16, token_expires=2**63)
    found: list[bool] = []

    async def ask_them() -> None:
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            for ask in (first, large, house.ask()):
                found.append((await line.open(ask)).unavailable)
            nursery.cancel_scope.cancel()

    with house.writer() as its:
        trio.run(ask_them)
        assert its.poll() is None
    assert found == [False, True, False]
    assert house.table.get(large.id) is None
    # Who gave way in memory has done so in the store, by now.
    ended = [each.id for each in house.store.viewers.sessions(NOW)]
    assert first.id not in ended and len(ended) == 1


def test_who_takes_no_answers_keeps_none_from_others(house: House) -> None:
    """As many as fill what the kernel holds for a process that hangs."""
    ask, count = house.ask(), 2000
    with socket.socket(fileno=os.dup(house.listener)) as named:
        name = named.getsockname()

    async def send_them() -> None:
        peer = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await peer.connect(name)
        async with trio.SocketStream(peer) as hanging:
            for number in range(1, count + 1):
                asked = msgspec.msgpack.encode(msgspec.structs.replace(ask, number=number))
                await hanging.send_all(len(asked).to_bytes(4) + asked)
            line = Line(house.listener)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.run)
                for _ in range(3):
                    found.append((await line.open(house.ask())).unavailable)
                nursery.cancel_scope.cancel()

    found: list[bool] = []
    with house.writer():
        trio.run(send_them)
    assert found == [False] * 3


class Stumbling(ViewerStore):
    """One of which each method fails once, by what is no error of the store's."""

    def __init__(self, house: House) -> None:
        super().__init__(house.store.database)
        self.failed: list[str] = []

    def _stumble(self, name: str) -> None:
        if name not in self.failed:
            self.failed.append(name)
            raise OverflowError

    def endings(self, after: int) -> tuple[Ending, ...]:
        # A desk that cannot begin is no desk.
        if self.failed:
            self._stumble("endings")
        return super().endings(after)

    def forget_spent(self, now: int) -> None:
        self._stumble("forget_spent")
        super().forget_spent(now)


@contextmanager
def desk_of(house: House, now: Callable[[], float]) -> Iterator[None]:
    """A desk in a thread of this process."""
    stopping = threading.Event()

    async def main() -> None:
        deciding = Desk(house.table, house.store, house.issuer, now)
        async with trio.open_nursery() as nursery:
            await nursery.start(deciding.run, socket.socket(fileno=os.dup(house.listener)))
            await trio.to_thread.run_sync(stopping.wait)
            nursery.cancel_scope.cancel()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trio.run, main)
        try:
            yield
        finally:
            stopping.set()
        running.result()


def test_whatever_fails_beside_the_decisions_is_no_end_of_the_desk(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that cannot be started, a number that is too large: no error of the store's."""
    monkeypatch.setattr(desk, "_SWEEP_SECONDS", 0.01)
    viewers = house.store.viewers = Stumbling(house)
    ask = house.ask(holder=house.password())
    with desk_of(house, lambda: NOW):
        until(lambda: "forget_spent" in viewers.failed)
        until(lambda: "endings" in viewers.failed)
        assert house.answers(ask) == ["open"]
        viewers.revoke(house.stream.tenant_id, [ask.holder or 0], who="test", now=NOW)
        until(lambda: house.table.check(ask.id, house.stream.id, NOW) == End.REVOKED)


class Forgetting(ViewerStore):
    """One that counts how often it has forgotten tokens."""

    times = 0

    def forget_spent(self, now: int) -> None:
        super().forget_spent(now)
        self.times += 1


def test_a_token_is_remembered_for_as_long_as_somebody_may_wait_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is as far ahead as another node's may be, and with an answer that took its time."""
    monkeypatch.setattr(desk, "_SWEEP_SECONDS", 0.01)
    viewers = house.store.viewers = Forgetting(house.store.database)
    now, token = [NOW], b"t" * 16

    def swept_at(moment: int) -> None:
        now[0] = moment
        # One may have read the clock before.
        enough = viewers.times + 2
        until(lambda: viewers.times >= enough)

    with desk_of(house, lambda: now[0]):
        first = house.ask(token=token)
        assert house.answers(first) == ["open"]
        swept_at(first.token_expires + 15 + SKEW_S - 1)
        assert house.answers(house.ask(token=token)) == ["spent"]
        swept_at(first.token_expires + 15 + SKEW_S)
        assert viewers.spent([(house.stream.tenant_id, token)]) == {}


@pytest.mark.parametrize("named", [True, False], ids=["a password", "nobody"])
def test_what_was_idle_has_ended_in_the_store_as_well(
    house: House, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Else it is open again when the node is started anew."""
    monkeypatch.setattr(desk, "_SWEEP_SECONDS", 0.01)
    now = [NOW]
    holder = house.password() if named else None
    ask = msgspec.structs.replace(house.ask(holder=holder, devices=None), idle_s=60)

    def reasons() -> list[int | None]:
        with house.store.database.reading() as connection:
            return list(connection.scalars(select(tables.session.c.end_reason)))

    with desk_of(house, lambda: now[0]):
        assert house.answers(ask) == ["open"]
        assert reasons() == [None]
        now[0] += 61
        until(lambda: reasons() == [End.IDLE])
    house.table = _core.Sessions(_core.Sessions.create(256))
    with desk_of(house, lambda: NOW + 62):
        assert house.table.check(ask.id, house.stream.id, NOW + 62) == 0


class Forgetful(Issuer):
    """One whose viewers are removed once just after they were looked up, as retention does."""

    def __init__(self, house: House) -> None:
        super().__init__(house.store.viewers, open_key_store(house.keys, {}, migrate=False))
        self._database = house.store.database
        self.looked_up: list[int] = []

    def named(self, *asked: Any) -> dict[str, Password]:
        found = super().named(*asked)
        if not self.looked_up:
            with self._database.writing() as connection:
                gone = tables.password.c.named
                connection.execute(delete(tables.password).where(gone))
        self.looked_up += [each.id for each in found.values()]
        return found


def test_a_viewer_who_is_forgotten_while_coming_in_comes_in(house: House) -> None:
    issuer, answers = Forgetful(house), list[Answered]()
    asked = [house.ask(viewer="4711"), house.ask()]

    async def main() -> None:
        deciding = Desk(house.table, house.store, issuer, lambda: NOW)
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:
            await nursery.start(deciding.run, socket.socket(fileno=os.dup(house.listener)))
            nursery.start_soon(line.run)
            for ask in asked:
                answers.append(await line.open(ask))
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert [(each.refusal, each.unavailable) for each in answers] == [(None, False)] * 2
    kept = {each.id: each.password_id for each in house.store.viewers.sessions(NOW)}
    assert kept == {asked[0].id: issuer.looked_up[1], asked[1].id: None}
    assert len(set(issuer.looked_up)) == len(issuer.looked_up) == 2


def test_what_was_revoked_while_its_viewer_waited_lets_nobody_in(house: House) -> None:
    """A worker has found it in the store, and asks for the session afterwards."""
    tenant = house.stream.tenant_id
    before, at_once, later, other = (house.password() for _ in range(4))
    house.store.viewers.revoke(tenant, [before], who="test", now=NOW - 60)
    with house.writer():
        house.store.viewers.revoke(tenant, [at_once], who="test", now=NOW)
        asked = [house.ask(holder=id) for id in (before, at_once, later, other)]
        assert house.answers(*asked) == ["password", "password", "open", "open"]
        # By a clock that is behind this one, or before the second that the session was opened in.
        house.store.viewers.revoke(tenant, [later], who="test", now=NOW - 1)
        until(lambda: house.table.check(asked[2].id, house.stream.id, NOW) == End.REVOKED)
        # What only ended may begin again.
        house.store.viewers.end_sessions_of(tenant, other, who="test", now=NOW - 1)
        once_more = house.password()
        assert house.answers(house.ask(holder=once_more)) == ["open"]
        house.store.viewers.revoke(tenant, [once_more], who="test", now=NOW)
        until(lambda: not any(found.holder == once_more for found in standing(house)))
        assert [found.holder for found in standing(house)] == [other]


def standing(house: House) -> list[_core.Session]:
    return [each for each in house.table.entries() if each.standing == _core.Sessions.OPEN]


class Gated(ViewerStore):
    """One that notes how many sessions it is to store at a time, and does it once it may."""

    def __init__(self, house: House) -> None:
        super().__init__(house.store.database)
        self.asked: list[int] = []
        self.may = threading.Event()

    def keep(self, opened: Collection[Session], *more: Any) -> dict[bytes, Refusal]:
        self.asked.append(len(opened))
        assert self.may.wait(PATIENCE)
        return super().keep(opened, *more)


def test_nobody_is_told_before_the_store_has_it_and_a_crowd_is_stored_at_once(house: House) -> None:
    """A group commit waits for the disk alone: whoever comes while it writes is in the next one."""
    viewers = house.store.viewers = Gated(house)
    crowd = [house.ask(devices=None) for _ in range(40)]
    told: list[bytes] = []
    before: list[Any] = []

    async def ask(line: Line, each: Open) -> None:
        assert not (await line.open(each)).unavailable
        told.append(each.id)

    async def come() -> None:
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            async with trio.open_nursery() as asking:
                asking.start_soon(ask, line, crowd[0])
                await trio.to_thread.run_sync(until, lambda: viewers.asked)
                for each in crowd[1:]:
                    asking.start_soon(ask, line, each)
                await trio.testing.wait_all_tasks_blocked()
                # What comes on a line is heard, and answered, in its order: all from before is there then.
                await line.reach(Reaching(0, os.urandom(16), 0, 1, 1, False))
                before.extend((list(told), list(viewers.asked)))
                viewers.may.set()
            nursery.cancel_scope.cancel()

    with desk_of(house, lambda: NOW):
        try:
            trio.run(come)
        finally:
            viewers.may.set()
    assert before == [[], [1]] and viewers.asked == [1, len(crowd) - 1]
    kept = {each.id for each in viewers.sessions(NOW)}
    assert kept == set(told) == {each.id for each in crowd}


def test_no_session_of_the_last_second_is_lost_where_the_writer_is_killed(house: House) -> None:
    """A second is what a group commit may take. None takes it from those who were told that they are in."""
    told: list[bytes] = []

    async def come(killed: subprocess.Popen[bytes]) -> None:
        line = Line(house.listener)
        async with trio.open_nursery() as nursery:

            async def one_after_the_other() -> None:
                while True:
                    ask = house.ask(devices=None)
                    assert not (await line.open(ask)).unavailable
                    told.append(ask.id)

            nursery.start_soon(line.run)
            for _ in range(4):
                nursery.start_soon(one_after_the_other)
            await trio.to_thread.run_sync(until, lambda: len(told) >= 50)
            killed.kill()
            await trio.to_thread.run_sync(killed.wait)
            nursery.cancel_scope.cancel()

    with house.writer() as its:
        trio.run(come, its)
    assert set(told) <= {each.id for each in house.store.viewers.sessions(NOW)}


def test_what_ended_before_a_writer_was_killed_does_not_begin_again(house: House) -> None:
    """It ends in memory before it does in the store."""
    holder = house.password()
    first = house.ask(holder=holder, devices=1, mode="kick_oldest")
    second = house.ask(holder=holder, devices=1, mode="kick_oldest")
    with house.writer() as killed:
        assert house.answers(first) == ["open"]
        with ThreadPoolExecutor() as pool:
            with house.no_sessions_written():
                asking = pool.submit(house.answers, second)
                until(lambda: house.table.check(first.id, house.stream.id, NOW) == End.KICKED)
                killed.kill()
                killed.wait()
            with house.writer():
                assert asking.result() == ["open"]
                until(
                    lambda: [each.id for each in house.store.viewers.sessions(NOW)] == [second.id]
                )


def test_what_ended_before_it_was_asked_for_again_does_not_begin_again(house: House) -> None:
    """A writer is killed before it has written a session, and its successor ends that for another one."""
    holder = house.password()
    first = house.ask(holder=holder, devices=1, mode="kick_oldest")
    second = house.ask(holder=holder, devices=1, mode="kick_oldest")
    # What the one that was killed has left.
    lifetime = {"expires": first.expires, "idle_s": 0}
    house.table.open(first.id, house.stream.id, NOW, **lifetime, holder=holder)
    with house.writer():
        # The first one's worker is late.
        assert house.answers(second, first) == ["open", "open"]
        assert house.table.check(first.id, house.stream.id, NOW) == End.KICKED
        assert [each.id for each in house.store.viewers.sessions(NOW)] == [second.id]


def test_who_comes_in_again_and_again_keeps_nobody_out(house: House) -> None:
    """With one password for one device: each time, a session ends that nobody needs to know of any more."""
    house.has_room_for(16)
    film, holder = house.stream.id, house.password()
    mine, theirs = [house.ask(holder=holder, devices=1)], house.ask_for_theirs()

    def come_again(times: int) -> list[Open]:
        for _ in range(times):
            mine.append(house.ask(holder=holder, devices=1, replaces=mine[-1].id))
        return mine[-times:]

    with house.writer():
        assert house.answers(mine[0]) == ["open"]
        assert house.answers(*come_again(40), theirs) == ["open"] * 41
    # A new writer has the same table.
    with house.writer():
        assert house.answers(*come_again(40), house.ask_for_theirs()) == ["open"] * 41
    standing = [house.table.check(each.id, film, NOW) for each in mine]
    # Those that ended last are told why: the table had room for them.
    assert set(standing[-12:-1]) == {End.CLOSED} and standing[-1] == _core.Sessions.OPEN
    assert set(standing[:60]) == {_core.Sessions.UNKNOWN}
    assert house.table.check(theirs.id, house.theirs.id, NOW) == _core.Sessions.OPEN
    # Nor does one of them begin again.
    house.has_room_for(256)
    with house.writer():
        stands = [house.table.check(each.id, film, NOW) for each in mine]
        assert stands == [_core.Sessions.UNKNOWN] * 80 + [_core.Sessions.OPEN]


def test_what_has_ended_in_memory_alone_is_not_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer that is killed before it has written that would have it open again. Who finds no room is
    told, and the operator once."""
    monkeypatch.setattr(log, "_told", {})
    house.has_room_for(4)
    holder = house.password()
    first, *more = (house.ask(holder=holder, devices=1, mode="kick_oldest") for _ in range(6))
    deciding = Desk(house.table, house.store, house.issuer, lambda: NOW)

    async def answers(*asked: Open) -> list[bool]:
        """Of all of them together."""
        told = await deciding._answers([(ask, lambda _: None) for ask in asked])
        assert [each.refusal for each, _ in told] == [None] * len(asked)
        return [not each.unavailable for each, _ in told]

    assert trio.run(answers, first, house.ask_for_theirs(), house.ask_for_theirs()) == [True] * 3
    assert trio.run(answers, *more[:4]) == [True, False, False, False]
    assert [each.message for each in caplog.records] == ["session-table-full"]
    assert house.table.check(first.id, house.stream.id, NOW) == End.KICKED
    assert trio.run(answers, more[4]) == [True]
    assert house.table.check(first.id, house.stream.id, NOW) == _core.Sessions.UNKNOWN


def test_no_tenant_has_more_of_the_table_than_it_leaves(house: House) -> None:
    """Passwords and links without a number of devices: all that they have opened goes on. One tenant has
    half, two leave room for a third."""
    house.has_room_for(16)

    def crowd(count: int) -> list[Open]:
        return [house.ask(devices=None) for _ in range(count)]

    first = crowd(9)
    with house.writer():
        assert house.answers(*first) == ["open"] * 8 + ["unavailable"]
    with house.writer():
        theirs = [house.ask_for_theirs() for _ in range(5)]
        assert house.answers(*crowd(2), *theirs) == [
            *["unavailable"] * 2,
            *["open"] * 4,
            "unavailable",
        ]
        third = house.store.add_tenant("third", TenantSettings(), who="test", now=NOW).id
        film = house.store.add_stream(
            "third", "film", StreamSettings(sources=("/film.mp4",)), who="test", now=NOW
        ).id
        of_third = [house.ask(tenant_id=third, stream_id=film, devices=None) for _ in range(3)]
        assert house.answers(*of_third) == ["open"] * 2 + ["unavailable"]
        # All of them are sent out, and come in anew at once.
        viewers = house.store.viewers
        viewers.end_sessions(house.stream.tenant_id, house.stream.id, who="test", now=NOW)
        until(lambda: house.table.check(first[7].id, house.stream.id, NOW) == End.CLOSED)
        assert house.answers(*crowd(6)) == ["open"] * 5 + ["unavailable"]
    assert house.table.check(theirs[0].id, house.theirs.id, NOW) == _core.Sessions.OPEN


def test_whoever_comes_in_for_another_needs_no_more_of_the_table(house: House) -> None:
    """A tenant has half of it when another one comes, and may have a third of it from then on: whoever has
    a place there keeps it over a reload, and may go on on another device."""
    house.has_room_for(16)
    mine = {"holder": house.password(), "devices": 1, "mode": "kick_oldest"}
    first, reloaded = house.ask(**mine), house.ask(**mine)
    reloaded = msgspec.structs.replace(reloaded, replaces=first.id)
    elsewhere = house.ask(**mine)
    with house.writer():
        assert house.answers(first, *(house.ask(devices=None) for _ in range(7))) == ["open"] * 8
        assert house.answers(*(house.ask_for_theirs() for _ in range(4))) == ["open"] * 4
        assert house.answers(house.ask(devices=None)) == ["unavailable"]
        assert house.answers(reloaded, elsewhere) == ["open", "open"]
        assert house.answers(house.ask(devices=None)) == ["unavailable"]

    def standing(ask: Open) -> int:
        return house.table.check(ask.id, house.stream.id, NOW)

    ends = [standing(each) for each in (first, reloaded, elsewhere)]
    assert ends == [End.CLOSED, End.KICKED, _core.Sessions.OPEN]
