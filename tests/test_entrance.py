"""A worker's entrance, without a node: what it does with passwords that open nothing."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
import trio.testing
from sqlalchemy import event

import pystream
from pystream import _core
from pystream.acl.keys import Keyring
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.prepared import Prepared
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.server import desk, workers
from pystream.server.desk import Desk, Line
from pystream.server.entrance import (
    CROWD,
    CROWD_A_MINUTE,
    SIGN_INS,
    SIGN_INS_A_MINUTE,
    TRIES,
    Admission,
    Entrance,
    Refused,
)
from pystream.server.gate import Gate
from pystream.server.handoffs import Handoffs
from pystream.server.http import Request
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.settings import Keys, Outgoing

NOW = 1_800_000_000
OURS = str(Path(pystream.__file__).parent)


class House:
    """Two tenants' streams, and passwords that are wrong in all ways there are."""

    def __init__(self, folder: Path, url: str) -> None:
        keys = Keys(
            master_key_file=f"{folder}/key",
            store=f"sqlite:///{folder}/keys.db",
            erasures=f"{folder}/erasures",
        )
        ensure_keys(keys, {}, NOW)
        self.keys = open_key_store(keys, {}, migrate=False)
        self.store = Store.open(url)
        self.issuer = Issuer(self.store.viewers, self.keys)
        for tenant in ("acme", "other"):
            self.store.add_tenant(tenant, TenantSettings(), who="test", now=NOW)
            for name, access in (("film", "personal"), ("course", "personal"), ("all", "shared")):
                film = StreamSettings(sources=("/film.mp4",), access=access)
                self.store.add_stream(tenant, name, film, who="test", now=NOW)
        self.streams = {f"{each.tenant}/{each.name}": each for each in self.store.streams()}
        self.stream = self.streams["acme/film"]
        self.now = NOW
        self.tries = _core.Gcra.create(1 << 20)
        self.listener = desk.listen()

    def close(self) -> None:
        self.store.close()
        self.keys.close()
        os.close(self.listener)
        os.close(self.tries)

    def issue(self, place: str = "acme/film", *, shared: bool = False, **settings: Any) -> str:
        stream, text = self.streams[place], generate()
        entries = [(text, PasswordSettings(**settings))]
        tenant = stream.tenant_id
        (id,) = self.issuer.add(tenant, [stream.id], entries, who="test", now=NOW, shared=shared)
        self.ids = tenant, [id]
        return text

    def wrong(self) -> Iterator[tuple[str, str]]:
        yield "unknown", generate()
        yield "over", self.issue(valid_until=NOW)
        yield "early", self.issue(valid_from=NOW + 1)
        yield "another stream's", self.issue("acme/course")
        yield "another tenant's", self.issue("other/film")
        yield "shared", self.issue(shared=True)
        text = self.issue()
        self.store.viewers.revoke(*self.ids, who="test", now=NOW)
        yield "revoked", text
        text = self.issue()
        self.issuer.erase(*self.ids, who="test", now=NOW)
        yield "erased", text

    def entrance(self, nursery: trio.Nursery, line: Line) -> Entrance:
        keyring = Keyring(self.keys.root())
        return Entrance(
            self.store,
            self.keys.peppers(),
            line,
            _core.Gcra(os.dup(self.tries), keyring.table_secret()),
            keyring,
            Gate(),
            self.store.verifiers(self.keys),
            Handoffs(Outgoing(), nursery, 1),
            clock=lambda: self.now,
            monotonic=lambda: self.now * 1_000_000,
        )

    async def with_a_desk(self, come: Callable[[Entrance], Awaitable[None]]) -> None:
        """Who is right comes in."""
        table, line = _core.Sessions(_core.Sessions.create(1024)), Line(self.listener)
        deciding = Desk(table, self.store, self.issuer, lambda: self.now)
        async with trio.open_nursery() as nursery:
            await nursery.start(deciding.run, socket.socket(fileno=os.dup(self.listener)))
            nursery.start_soon(line.run)
            await come(self.entrance(nursery, line))
            nursery.cancel_scope.cancel()

    async def try_all(self, try_one: Callable[[Entrance, str, str], Any]) -> None:
        async with trio.open_nursery() as nursery:
            entrance = self.entrance(nursery, Line(self.listener))
            for name, text in [("warm", generate()), *self.wrong()]:
                await try_one(entrance, name, text)
            nursery.cancel_scope.cancel()

    async def refused(self, entrance: Entrance, text: str) -> Refused:
        with pytest.raises(Refused) as caught:
            await self.let_in(entrance, text)
        return caught.value

    async def let_in(
        self,
        entrance: Entrance,
        text: str,
        place: str = "acme/film",
        *,
        peer: str = "192.0.2.7",
        replaces: bytes = b"",
    ) -> Admission:
        body = json.dumps({"password": text}).encode()
        request = Request("POST", f"/{place}/session", body=body)
        request.peer = peer
        return await entrance.let_in(self.streams[place], request, f"/{place}/", "", 60, replaces)


@contextmanager
def counted(house: House) -> Iterator[list[str]]:
    """What the database is asked, by any thread, and which of our lines this one takes."""
    found: list[str] = []

    def asked(_1: Any, _2: Any, statement: str, *_3: Any) -> None:
        found.append(statement)

    def taken(frame: FrameType, what: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if what == "line":
            found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return taken

    # Which SQLAlchemy tells nobody of.
    rows = Prepared.rows

    def prepared(self: Prepared, connection: Any, values: Any) -> Any:
        found.append(self._text(connection)[0])
        return rows(self, connection, values)

    engine = house.store.database.engine
    event.listen(engine, "before_cursor_execute", asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prepared, "rows", prepared)
        sys.settrace(taken)
        try:
            yield found
        finally:
            sys.settrace(None)
            event.remove(engine, "before_cursor_execute", asked)


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    made = House(tmp_path, url)
    yield made
    made.close()


def test_whatever_is_wrong_takes_the_same_way_to_the_same_answer(house: House) -> None:
    """Counted: each statement and each line, in their order."""
    ways: dict[str, list[str]] = {}
    answers: dict[str, Any] = {}

    async def try_one(entrance: Entrance, name: str, text: str) -> None:
        with counted(house) as way:
            refused = await house.refused(entrance, text)
        ways[name] = way
        answers[name] = refused.status, refused.kind, refused.reason, refused.headers

    trio.run(house.try_all, try_one)
    ways.pop("warm")
    assert len(ways) == 8
    assert len({json.dumps(answer) for answer in answers.values()}) == 1
    (way,) = {json.dumps(way) for way in ways.values()}
    statements = [each for each in json.loads(way) if not each.startswith(OURS)]
    assert sum("SELECT" in each for each in statements) == 1
    assert len(json.loads(way)) > len(statements) + 5


def test_each_of_them_is_one_of_the_tries(house: House) -> None:
    kinds: list[str] = []

    async def try_often(entrance: Entrance, name: str, text: str) -> None:
        kinds.append((await house.refused(entrance, text)).kind)
        if name == "erased":
            guess = partial(house.refused, entrance, "a guess")
            kinds.extend([(await guess()).kind for _ in range(TRIES)])
            # What only looks as if it was made here is a guess, too.
            assert (await house.refused(entrance, "0" * 28)).kind == "tries"
            assert (await house.refused(entrance, generate())).kind == "password"

    trio.run(house.try_all, try_often)
    # The nine that were generated count, and so the guesses end earlier.
    assert kinds == ["password"] * TRIES + ["tries"] * 9


def test_as_many_guesses_at_once_are_no_more_than_one_after_the_other(house: House) -> None:
    """The store answers nobody before all who may be looked at are."""
    kinds: list[str] = []

    def wait_for_all(*_: Any) -> None:
        trio.from_thread.run(trio.testing.wait_all_tasks_blocked)

    async def try_at_once(entrance: Entrance, name: str, text: str) -> None:
        async def guess() -> None:
            kinds.append((await house.refused(entrance, "a guess")).kind)

        if name == "warm":
            event.listen(house.store.database.engine, "before_cursor_execute", wait_for_all)
            async with trio.open_nursery() as nursery:
                for _ in range(TRIES + 40):
                    nursery.start_soon(guess)
            event.remove(house.store.database.engine, "before_cursor_execute", wait_for_all)

    trio.run(house.try_all, try_at_once)
    assert (kinds.count("password"), kinds.count("tries")) == (TRIES, 40)


def test_a_crowd_that_is_right_uses_up_no_tries(house: House) -> None:
    """All with one password of the customer's own, at once; the writer is not there."""
    text = "all together 4711 Q"
    entries = [(text, PasswordSettings())]
    house.issuer.add(house.stream.tenant_id, [house.stream.id], entries, who="test", now=NOW)
    kinds: list[str] = []

    async def come_at_once(entrance: Entrance, name: str, _: str) -> None:
        async def come() -> None:
            kinds.append((await house.refused(entrance, text)).kind)

        if name == "warm":
            async with trio.open_nursery() as nursery:
                for _one in range(TRIES + 40):
                    nursery.start_soon(come)

    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(house.try_all, come_at_once, clock=clock)
    assert kinds == ["later"] * (TRIES + 40)


def test_who_is_right_comes_in_as_often_as_anybody_needs(house: House) -> None:
    """A viewer whose page is loaded again and again, by a program."""
    mine, neighbour = house.issue(max_devices=1), house.issue(max_devices=1)

    async def come(entrance: Entrance) -> None:
        async def again(times: int, last: Admission) -> Admission:
            for _ in range(times):
                last = await house.let_in(entrance, mine, replaces=last.session)
            return last

        async def refused(peer: str) -> Refused:
            with pytest.raises(Refused) as caught:
                await house.let_in(entrance, mine, peer=peer, replaces=last.session)
            return caught.value

        last = await house.let_in(entrance, mine)
        # On another device, while the first one plays: that is no sign-in.
        for _ in range(2 * SIGN_INS):
            assert (await house.refused(entrance, mine)).kind == "devices"
        last = await again(SIGN_INS - 1, last)
        # From wherever.
        for peer in ("192.0.2.7", "198.51.100.7", "2001:db8::7"):
            late = await refused(peer)
            assert (late.status, late.kind) == (429, "later")
            assert dict(late.headers)["Retry-After"] == str(60 // SIGN_INS_A_MINUTE)
        await house.let_in(entrance, neighbour)
        house.now += 60
        last = await again(SIGN_INS_A_MINUTE, last)
        assert (await refused("192.0.2.7")).kind == "later"

    trio.run(house.with_a_desk, come)


def test_what_many_watch_with_lets_a_crowd_in(house: House) -> None:
    """Three hundred of one hospital with the password of a stream, and a lecture hall with one of theirs."""
    all_of_them = house.issue("acme/all", shared=True)
    hall = house.issue(max_devices=100)

    async def come(entrance: Entrance) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(house.let_in, entrance, all_of_them, "acme/all")
            for number in range(100):
                peer = f"198.51.{number}.7"
                nursery.start_soon(partial(house.let_in, entrance, hall, peer=peer))

    trio.run(house.with_a_desk, come)


def test_a_crowd_is_let_in_and_fills_no_tenant_s_half_of_the_table() -> None:
    assert CROWD >= 10_000
    idle = StreamSettings(sources=("/film.mp4",)).idle_s or 0
    assert CROWD + idle // 60 * CROWD_A_MINUTE < workers.SESSIONS // 2
