"""What is lost where processes are killed in the middle of their work: nothing.

A real node; viewers watch, others come in, and passwords are revoked all the time, while a worker, the
writer or a process of the database gets SIGKILL at a random moment. From outside it has to look so:

* A viewer who may watch is answered. Only where a worker is killed do the connections break that it
  had, and each of them once: whoever connects again is answered, by its successor if need be.
* Who may come in does, or is told to come again (503), and that only from a kill of the writer or the
  database on until its successor has let somebody in.
* A session that was opened stays open, over the node's own end as well.
* A password that was revoked lets nobody in, and what it had let in ends, for good.
* A password has never more sessions at a time than it may have devices.

A kill counts only if what was killed was just asked for something.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from pystream.acl.passwords import generate
from pystream.errors import StoreError
from tests.test_admission import House
from tests.test_serve import BUSY, Busy, alive, node_in
from tests.waiting import PATIENCE, pause, until

pytestmark = pytest.mark.slow

WATCHERS, COMERS, CHASERS, RACERS = 2, 1, 1, 2
NEVER = float("inf")


@dataclass
class Kill:
    """`dead`: when it was seen to be. `over`: when its successor had let somebody in. `met`: requests
    that were under way when it was sent, of those that need who was killed."""

    role: str
    begun: float
    dead: float = NEVER
    over: float = NEVER
    met: int = 0


@dataclass
class Doomed:
    """A password that is revoked while others come in with it."""

    text: str
    masters: list[str] = field(default_factory=list)
    leaving: bool = False
    revoked: bool = False
    turned_away: list[str] = field(default_factory=list)


@dataclass
class Race:
    """A password for one device, and what it has let in."""

    place: str
    text: str
    masters: list[str] = field(default_factory=list)


class Trial:
    """What all threads know."""

    def __init__(self, house: House, restart: Callable[[], None] | None = None) -> None:
        self.house = house
        self.random = random.Random(11)
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.kills: list[Kill] = []
        self.done: Counter[str] = Counter()
        # Grants' playlists: of those who may watch, and of those who may not any more.
        self.open: list[str] = []
        self.closed: list[str] = []
        self.doomed = Doomed(house.issue("acme/course"))
        self.races = self.new_races()

    def new_races(self) -> list[Race]:
        places = ("acme/one", "acme/kick")
        return [Race(place, self.issue(place)) for place in places]

    def issue(self, place: str) -> str:
        """A new password, as soon as the database takes it."""
        text: str = self.stored(lambda: self.house.issue(place, text=generate()))
        return text

    def stored(self, change: Callable[[], Any]) -> Any:
        while True:
            begun = time.monotonic()
            try:
                return change()
            except StoreError as error:
                if not self.is_away(begun, {"database"}):
                    self.failures.append(repr(error))
                    raise

    def look(self, device: Device) -> None:
        """Asks for something that was found before: it has to be as it was."""
        known, wanted = self.random.choice(((self.open, "open"), (self.closed, "revoked")))
        if known:
            found = device.standing(self.random.choice(known))
            assert found == wanted, f"what was {wanted} is {found}"

    def is_away(self, begun: float, roles: set[str]) -> bool:
        """Whether one of these was, at some time since then."""
        return any(kill.role in roles and begun <= kill.over for kill in self.kills)

    def broke(self, since: float) -> bool:
        """Whether a worker was killed that may have had a connection which was well then."""
        return any(kill.role == "worker" and since <= kill.dead for kill in self.kills)

    def ended(self, kind: str, begun: float, *, broken: bool = False) -> None:
        """A request is over, `kind` for whom it was."""
        for kill in self.kills[-2:]:
            needed = broken if kill.role == "worker" else kind == "session"
            if begun <= kill.begun and needed:
                kill.met += 1
        self.done[threading.current_thread().name] += 1


class Device:
    """A viewer's: it has one connection, and asks again where that breaks."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", trial.house.node.port, timeout=PATIENCE
        )
        # When the connection was seen to be well.
        self._well = 0.0

    def ask(self, path: str, body: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Raises `AssertionError` where nobody answers, and no kill is why."""
        while True:
            begun = time.monotonic()
            if self._connection.sock is None:
                self._well = begun
            kind = "film" if body is None else "session"
            try:
                self._send(path, body)
                answer = self._connection.getresponse()
                status, data = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                assert self._trial.broke(self._well), f"{path}: {error!r}"
                self._trial.ended(kind, begun, broken=True)
                continue
            # What came may have lain there for a while.
            self._well = begun
            self._trial.ended(kind, begun)
            return status, data

    def _send(self, path: str, body: dict[str, str] | None) -> None:
        if body is None:
            self._connection.request("GET", path)
        else:
            fields = {"Content-Type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), fields)

    def sign_in(self, place: str, text: str, **more: str) -> tuple[int, dict[str, Any]]:
        """What is answered by who can answer."""
        while True:
            begun = time.monotonic()
            status, data = self.ask(f"/{place}/session", {"password": text, **more})
            found = json.loads(data)
            if status != 503:
                return status, found
            away = self._trial.is_away(begun, {"writer", "database"})
            assert found["kind"] == "later" and away, found

    def let_in(self, place: str, text: str) -> str:
        status, visit = self.sign_in(place, text)
        assert status == 200, visit
        return str(visit["master"])

    def standing(self, master: str) -> str:
        """`open`, or what the viewer is told."""
        status, data = self.ask(master)
        if status == 200:
            return "open"
        assert status == 403, (status, data)
        return str(json.loads(data)["kind"])

    def get(self, path: str) -> bytes:
        status, data = self.ask(path)
        assert status == 200, (status, data)
        return data

    def close(self) -> None:
        self._connection.close()


class Crowd(Busy):
    """Threads that each are a device. What one of them finds wrong ends the trial."""

    def __init__(self, trial: Trial, count: int) -> None:
        super().__init__(count)
        self.trial = trial
        self.stop = trial.stop

    def work(self, number: int) -> None:
        device = Device(self.trial)
        try:
            for _ in self.live(device):
                if self.stop.is_set():
                    break
        except Exception as error:
            self.trial.failures.append(f"{type(self).__name__}: {error!r}")
        finally:
            device.close()

    @abstractmethod
    def live(self, device: Device) -> Iterator[None]:
        """Gives way after each thing that it does."""


class Watchers(Crowd):
    """They play the film to its end, and again."""

    def live(self, device: Device) -> Iterator[None]:
        master = device.let_in("acme/course", self.trial.issue("acme/course"))
        self.trial.open.append(master)
        while True:
            playlist = urljoin(master, device.get(master).decode().splitlines()[-1])
            for line in device.get(playlist).decode().splitlines():
                named = line.split('"')[1] if line.startswith("#EXT-X-KEY") else line
                if named[:1] != "#":
                    assert device.get(urljoin(playlist, named))
                    yield


class Comers(Crowd):
    """They come in, and see whether it opens."""

    def live(self, device: Device) -> Iterator[None]:
        text = self.trial.issue("acme/course")
        while True:
            master = device.let_in("acme/course", text)
            device.get(master)
            self.trial.open.append(master)
            yield


class Chasers(Crowd):
    """They come in with a password that is about to be revoked, until it is."""

    def live(self, device: Device) -> Iterator[None]:
        while True:
            doomed = self.trial.doomed
            was_revoked = doomed.revoked
            status, found = device.sign_in("acme/course", doomed.text)
            if status == 200:
                assert not was_revoked, "a password that was revoked let somebody in"
                doomed.masters.append(found["master"])
                yield
                continue
            assert (status, found["kind"]) == (403, "password"), found
            assert doomed.leaving, "a password that was not revoked let nobody in"
            doomed.turned_away.append("")
            while self.trial.doomed is doomed:
                self.trial.look(device)
                yield


class Revokers(Crowd):
    """Alone, it revokes one password after the other, and sees that each is at its end."""

    def live(self, device: Device) -> Iterator[None]:
        trial = self.trial
        while True:
            doomed = trial.doomed
            wanted = trial.random.randrange(1, 6)
            while len(doomed.masters) < wanted:
                trial.look(device)
                yield
            doomed.leaving = True
            trial.stored(partial(trial.house.revoke, "acme", doomed.text))
            doomed.revoked = True
            while len(doomed.turned_away) < CHASERS:
                trial.look(device)
                yield
            for master in doomed.masters:
                while device.standing(master) == "open":
                    yield
                trial.closed.append(master)
            trial.doomed = Doomed(trial.issue("acme/course"))


class Racers(Crowd):
    """They come in with passwords that are for one device; sometimes as the one that was in before."""

    def live(self, device: Device) -> Iterator[None]:
        before: dict[str, str] = {}
        while True:
            race = self.trial.random.choice(self.trial.races)
            more = self.trial.random.choice(({}, {"replaces": before.get(race.text, "none")}))
            status, found = device.sign_in(race.place, race.text, **more)
            if status == 200:
                race.masters.append(found["master"])
                before[race.text] = found["grant"]
            elif (status, found["kind"]) != (429, "later"):
                # Nobody may come in too often; that is over with the next passwords.
                assert (status, found["kind"], race.place) == (409, "devices", "acme/one"), found
            yield


# Who is killed


class Victims:
    """The node's processes and the database's."""

    def __init__(self, house: House, database: Any = None) -> None:
        self.node = house.node
        self.database = database

    def kill(self, role: str, chance: random.Random) -> int:
        """Sends SIGKILL to one; returns its number."""
        pid: int
        if role == "database":
            # The first one, of which all others end, and one of those that serve, of which the first one
            # ends the rest.
            serving = self.database.processes().get("pystream", [])
            pid = chance.choice([self.database.process.pid, *serving[:1]])
        else:
            pid = chance.choice(sorted(self.node.processes()[role]))
        os.kill(pid, signal.SIGKILL)
        return pid

    def revive(self, role: str, pid: int) -> None:
        """Does what a service manager does."""
        if role == "database" and pid == self.database.process.pid:
            self.database.end(signal.SIGKILL)
            until(self._database_starts)

    def _database_starts(self) -> bool:
        # Those that the first one has left let go of its memory when they have noticed.
        with suppress(AssertionError):
            self.database.start()
            return True
        return False

    def whole(self) -> bool:
        found = self.node.processes()
        return len(found["worker"]) == 2 and len(found["writer"]) == 1


@contextmanager
def sqlite(folder: Path) -> Iterator[tuple[str, Any]]:
    yield "", None


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, Any]]:
    from tests import postgresql

    with postgresql.folder() as place:
        postgresql.initialise(f"{place}/data")
        server = postgresql.Server(f"{place}/data", place)
        server.start()
        try:
            yield f'[store]\nurl = "{postgresql.url(place)}"\n', server
        finally:
            server.end()


@pytest.mark.parametrize(
    ("database", "kills"),
    [
        (sqlite, {"worker": 10, "writer": 10}),
        pytest.param(
            postgres,
            {"worker": 10, "writer": 10, "database": 10},
            marks=pytest.mark.needs("pg_ctlcluster"),
        ),
    ],
    ids=["sqlite", "postgresql"],
)
def test_nothing_is_lost_of_what_is_killed(
    tmp_path: Path, database: Any, kills: dict[str, int]
) -> None:
    with ExitStack() as stack:
        settings, server = stack.enter_context(database(tmp_path))
        node = stack.enter_context(node_in(tmp_path))
        node.settings("workers = 2", BUSY + settings)
        house = House(node)
        node.start()
        node.hear("READY=1")
        trial = Trial(house)
        asked = Device(trial)
        stack.callback(asked.close)
        with ExitStack() as crowd:
            crowd.callback(trial.stop.set)
            for kind, count in (
                *((Watchers, WATCHERS), (Comers, COMERS), (Chasers, CHASERS)),
                *((Revokers, 1), (Racers, RACERS)),
            ):
                crowd.enter_context(kind(trial, count))
            met = strike(trial, Victims(house, server), kills, asked)
        assert trial.failures == []
        assert met == kills and sum(kill.met > 0 for kill in trial.kills) == sum(kills.values())
        assert len(trial.closed) >= sum(kills.values())
        assert {asked.standing(master) for master in trial.open} == {"open"}
        assert {asked.standing(master) for master in trial.closed} == {"revoked"}
        one_device(trial.races, asked)
        # What the memory knew, the store knows.
        node.signal(signal.SIGKILL)
        node.process.wait()
        node.start()
        node.hear("READY=1")
        again = Device(trial)
        stack.callback(again.close)
        assert {again.standing(master) for master in trial.open} == {"open"}
        assert {again.standing(master) for master in trial.closed} == {"over"}
        one_device(trial.races, again)
        assert "Traceback" not in node.said()


def strike(trial: Trial, victims: Victims, kills: dict[str, int], asked: Device) -> dict[str, int]:
    """Kills so many of each, in a random order; returns how many of each were asked for something."""
    left, met = Counter(kills), Counter[str]()
    password = trial.issue("acme/course")
    finished: list[Race] = []
    while left.total():
        answered(trial, asked, trial.random.randrange(1, 40))
        role = trial.random.choice(sorted(left.elements()))
        kill = Kill(role, time.monotonic())
        trial.kills.append(kill)
        pid = victims.kill(role, trial.random)
        while alive(pid):
            pause()
        kill.dead = time.monotonic()
        victims.revive(role, pid)
        asked.let_in("acme/course", password)
        until(lambda: victims.whole() or trial.failures)
        kill.over = time.monotonic()
        go_on(trial, asked)
        if kill.met:
            left[role] -= 1
            left += Counter()
            met[role] += 1
        finished += trial.races
        trial.races = trial.new_races()
        one_device(finished[-2:], asked)
    trial.races = finished
    return dict(met)


def answered(trial: Trial, asked: Device, requests: int) -> None:
    """Until so many requests more were."""
    wanted = trial.done.total() + requests
    while trial.done.total() < wanted and not trial.failures:
        trial.look(asked)


def go_on(trial: Trial, asked: Device) -> None:
    """Until each thread has been answered, and a password has come to its end."""
    before, closed = trial.done.copy(), len(trial.closed)

    def have_gone_on() -> bool:
        trial.look(asked)
        return len(trial.closed) > closed and all(trial.done[n] > before[n] for n in before)

    until(lambda: trial.failures or have_gone_on())
    assert trial.failures == []


def one_device(races: list[Race], asked: Device) -> None:
    for race in races:
        standing = [asked.standing(master) for master in list(race.masters)]
        assert standing.count("open") <= 1, race.place
