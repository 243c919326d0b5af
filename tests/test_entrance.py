"""A worker's entrance, without a node: what it does with passwords that open nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
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
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.server import desk
from pystream.server.desk import Line
from pystream.server.entrance import TRIES, Entrance, Refused
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
            for name in ("film", "course"):
                film = StreamSettings(sources=("/film.mp4",), access="personal")
                self.store.add_stream(tenant, name, film, who="test", now=NOW)
        self.stream = self.store.stream("acme", "film")
        self.tries = _core.Gcra.create(1 << 20)
        self.listener = desk.listen()

    def close(self) -> None:
        self.store.close()
        self.keys.close()
        os.close(self.listener)
        os.close(self.tries)

    def issue(self, place: str = "acme/film", *, shared: bool = False, **settings: Any) -> str:
        stream, text = self.store.stream(*place.split("/")), generate()
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

    async def try_all(self, try_one: Callable[[Entrance, str, str], Any]) -> None:
        keyring = Keyring(self.keys.root())
        async with trio.open_nursery() as nursery:
            entrance = Entrance(
                self.store,
                self.keys.peppers(),
                Line(self.listener),
                _core.Gcra(os.dup(self.tries), keyring.table_secret()),
                keyring,
                Gate(),
                self.store.verifiers(self.keys),
                Handoffs(Outgoing(), nursery, 1),
                clock=lambda: NOW,
                monotonic=lambda: NOW * 1_000_000,
            )
            for name, text in [("warm", generate()), *self.wrong()]:
                await try_one(entrance, name, text)
            nursery.cancel_scope.cancel()

    async def refused(self, entrance: Entrance, text: str) -> Refused:
        request = Request(
            "POST", "/acme/film/session", body=json.dumps({"password": text}).encode()
        )
        request.peer = "192.0.2.7"
        with pytest.raises(Refused) as caught:
            await entrance.let_in(self.stream, request, "/acme/film/", "", 60)
        return caught.value


@contextmanager
def counted(house: House) -> Iterator[list[str]]:
    """What the database is asked, by any thread, and which of our functions this one calls."""
    found: list[str] = []

    def asked(_1: Any, _2: Any, statement: str, *_3: Any) -> None:
        found.append(statement)

    def called(frame: FrameType, what: str, _: Any) -> None:
        if what == "call" and frame.f_code.co_filename.startswith(OURS):
            found.append(f"{frame.f_code.co_filename}:{frame.f_code.co_firstlineno}")

    engine = house.store.database.engine
    event.listen(engine, "before_cursor_execute", asked)
    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)
        event.remove(engine, "before_cursor_execute", asked)


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    made = House(tmp_path, url)
    yield made
    made.close()


def test_whatever_is_wrong_takes_the_same_way_to_the_same_answer(house: House) -> None:
    """Counted: each statement and each call, in their order."""
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
