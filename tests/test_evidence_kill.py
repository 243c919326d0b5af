"""Evidence where processes are killed in the middle of their work: what is lost, and that it is told.

A real node; viewers fetch each segment once, in one session after the other, so what is on record can be told
from what should be. A worker, all workers, the writer or a process of the database gets SIGKILL at a
random moment, while a segment is on its way from it to somebody, or for who is not a worker, to anybody.
From outside:

* A segment that was delivered more than six seconds before a kill is on record, and so is each other one
  unless it was a worker that was killed.
* What is not on record lies in an outage that is; and each kill that broke a delivery is one.
* Nothing is on record that nobody asked for, and nothing twice.
* The log is whole: each event has its number, the leaf there is its hash, and its root is what is signed.

One fault at a time: what was killed is back before the next. A worker may have said nothing yet by then.

`EVIDENCE_KILLS=50` has as many kills as that of each store; otherwise there are a few.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from pystream._core import Frontier
from pystream.acl.grants import Grants
from pystream.acl.keys import Keyring
from pystream.acl.sealing import Place, unseal
from pystream.acl.store import tables
from pystream.acl.store.notary import Notary
from pystream.attendance.checkpoint import Clock
from pystream.errors import StoreError
from tests.test_evidence import SETTINGS, Audience
from tests.test_kill import Victims, postgres, sqlite
from tests.test_serve import Busy, alive, node_in
from tests.waiting import pause, until

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("EVIDENCE_KILLS", "6"))
VIEWERS = 3
MOST_BETWEEN_MS = 3000
# What is handed over is told half a second later, and a peer has acknowledged it after five at most.
LOST_MS = 6000
# Between the clocks of two processes, cut to ms; and between handing over the last byte and noting when that
# was, where others have the processor: a viewer has read it by then.
SLACK_MS = 5
LATE_MS = 1000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Fetch(NamedTuple):
    """A request for a segment, and from when to when it was under way. `whole`: all of it came."""

    session: str
    number: int
    begun: int
    ended: int
    whole: bool

    def was_under_way(self, at: int) -> bool:
        return self.begun <= at <= self.ended


class Kill(NamedTuple):
    role: str
    at: int
    dead: int


class Fetchers(Busy):
    """A thread for each viewer, who comes in again and again, and fetches each segment once each time."""

    def __init__(self, audience: Audience) -> None:
        super().__init__(VIEWERS)
        self.audience = audience
        self.text = audience.issue("acme/course")
        with audience.keys() as keys:
            self.grants = Grants(*Keyring(keys.root()).grant_keys(int(time.time())))
        self.done: list[Fetch] = []
        self.failures: list[str] = []

    def work(self, number: int) -> None:
        try:
            while not self.stop.is_set():
                session, segments = self.come_in()
                for n, path in enumerate(segments):
                    if self.stop.is_set():
                        return
                    self.fetch(session, n, path)
        except Exception as error:
            self.failures.append(repr(error))

    def come_in(self) -> tuple[str, list[str]]:
        """Again where it breaks, or nobody can be let in just now."""
        while not self.stop.is_set():
            with suppress(OSError, http.client.HTTPException):
                status, visit = self.audience.sign_in("acme/course", self.text)
                if status == 200:
                    session = self.grants.session_of(visit["grant"]).hex()
                    return session, self.audience.segments(visit)
                assert (status, visit["kind"]) in ((503, "later"), (429, "later")), visit
            pause()
        return "", []

    def fetch(self, session: str, number: int, path: str) -> None:
        begun, whole = now_ms(), False
        # It breaks where a worker is killed.
        with (
            suppress(OSError, http.client.HTTPException),
            closing(
                http.client.HTTPConnection("127.0.0.1", self.audience.node.port, timeout=60)
            ) as peer,
        ):
            peer.request("GET", path)
            answer = peer.getresponse()
            whole = bool(answer.read()) and answer.status == 200
        self.done.append(Fetch(session, number, begun, now_ms(), whole))

    def go_on(self, count: int) -> None:
        """Until so many requests more are over."""
        wanted = len(self.done) + count
        until(lambda: len(self.done) >= wanted or self.failures)
        assert self.failures == []


def is_told(audience: Audience, since: int) -> bool:
    """Whether something is on record that was told after an instant."""
    cursor = tables.attendance_cursor.c
    with suppress(StoreError), audience.store() as store, store.database.reading() as connection:
        return bool(connection.scalars(select(cursor.worker).where(cursor.until > since)).all())
    return False


def kill(audience: Audience, victims: Victims, role: str, chance: random.Random) -> Kill:
    """Sends SIGKILL, and does what a service manager does; returns when all are there again."""
    at = now_ms()
    if role == "workers":
        pids = sorted(victims.node.processes()["worker"])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    else:
        pids = [victims.kill(role, chance)]
    until(lambda: not any(map(alive, pids)))
    dead = now_ms()
    if role == "database":
        victims.revive(role, pids[0])
    until(victims.whole)
    if not role.startswith("worker"):
        # What workers keep meanwhile is in nobody else's memory.
        until(lambda: is_told(audience, dead))
    return Kill(role, at, dead)


def strike(
    audience: Audience, victims: Victims, fetchers: Fetchers, roles: list[str]
) -> list[Kill]:
    """A kill of each role in turn, `KILLS` of them that met a delivery; others do not count."""
    chance, kills, counted = random.Random(12), list[Kill](), 0
    begun = now_ms()
    until(lambda: now_ms() > begun + LOST_MS + 1000)
    while counted < KILLS:
        moment = now_ms() + chance.randrange(MOST_BETWEEN_MS)
        until(lambda moment=moment: now_ms() >= moment)  # type: ignore[misc]
        since = max(0, len(fetchers.done) - VIEWERS)
        one = kill(audience, victims, roles[counted % len(roles)], chance)
        kills.append(one)
        # Those who were under way then are at their end.
        fetchers.go_on(2 * VIEWERS)
        counted += bool(met(one, fetchers.done[since:]))
    return kills


def met(kill: Kill, fetches: Iterable[Fetch]) -> list[Fetch]:
    """The deliveries that were under way then: of a worker those that broke."""
    is_worker = kill.role.startswith("worker")
    there = (each for each in fetches if each.begun <= kill.dead and kill.at <= each.ended)
    return [each for each in there if not (is_worker and each.whole)]


def check_log(audience: Audience) -> int:
    """Each leaf of the log is the hash of the event with its number; returns how many there are."""
    found: dict[int, bytes] = {}
    with audience.store() as store, audience.keys() as keys:
        tenant = store.tenant("acme").id
        with store.database.reading() as connection:
            (log,) = connection.execute(select(tables.attendance_log)).all()
            leaf = tables.attendance_leaf
            leaves = connection.execute(select(leaf).order_by(leaf.c.first)).all()
            for table in (tables.attendance_journal, tables.attendance_incident):
                for row in connection.execute(select(table)):
                    assert row.number not in found
                    found[row.number] = sha256(b"\0" + row.salt + row.event.encode()).digest()
            sealed = connection.execute(select(tables.attendance_sealed)).all()
        # Where an hour ends meanwhile.
        there = keys.record_keys(tenant, [row.reference for row in sealed])
        for row in sealed:
            place = Place(tenant, "attendance_sealed", row.id, "events")
            for line in unseal(there[row.reference], place, row.sealed_events).splitlines():
                number, salt, event = json.loads(line)
                assert number not in found
                found[number] = sha256(b"\0" + bytes.fromhex(salt) + event.encode()).digest()
    hashes = b"".join(row.hashes for row in leaves)
    assert len(hashes) == 32 * log.size and sorted(found) == list(range(log.size))
    assert hashes == b"".join(found[number] for number in range(log.size))
    frontier = Frontier()
    frontier.append(hashes)
    with audience.store() as store, audience.keys() as keys:
        signed = Notary(store.database, keys).checkpoint(tenant, Clock(True, 0), now_ms() // 1000)
    assert (signed.size, signed.root) == (len(found), frontier.root())
    return len(found)


@pytest.mark.parametrize(
    ("database", "roles"),
    [
        (sqlite, ["worker", "writer", "workers"]),
        pytest.param(
            postgres,
            ["worker", "database", "writer", "workers"],
            marks=pytest.mark.needs("pg_ctlcluster"),
        ),
    ],
    ids=["sqlite", "postgresql"],
)
def test_what_is_killed_takes_little_along_and_that_is_told(
    tmp_path: Path, database: Any, roles: list[str]
) -> None:
    with ExitStack() as stack:
        settings, server = stack.enter_context(database(tmp_path))
        node = stack.enter_context(node_in(tmp_path))
        node.settings("workers = 2", SETTINGS + settings)
        audience = Audience(node)
        node.start()
        node.hear("READY=1")
        fetchers = Fetchers(audience)
        with fetchers:
            kills = strike(audience, Victims(audience, server), fetchers, roles)
        assert fetchers.failures == []
        done = {(each.session, each.number): each for each in fetchers.done}
        assert len(done) == len(fetchers.done)
        fatal = [each for each in kills if each.role.startswith("worker")]
        broke = [each for each in fatal if met(each, fetchers.done)]
        # The last dead is noticed, and all that is there was told.
        until(lambda: not untold(broke, audience))
        last = next(each for each in reversed(fetchers.done) if each.whole)
        until(lambda: (last.session, last.number) in on_record(audience))
        node.signal(signal.SIGTERM)
        assert node.process.wait(60) == 0
        found, outages = on_record(audience), audience.events(kind="outage")
        # Nothing twice, and nothing that nobody asked for, or at another time.
        assert set(found.values()) <= {1}, [each for each, times in found.items() if times > 1]
        assert found.keys() <= done.keys()
        for event in audience.events():
            asked = done[event["session"], event["m0"] // 2000]
            assert asked.begun - SLACK_MS <= event["t"] <= asked.ended + LATE_MS, (event, asked)
        lost = [each for place, each in done.items() if each.whole and place not in found]
        for fetch in lost:
            assert any(
                fetch.ended >= each.at - LOST_MS and fetch.begun <= each.dead for each in fatal
            ), (fetch, kills)
            assert any(
                each["t0"] - SLACK_MS <= fetch.ended and fetch.begun < each["t1"]
                for each in outages
            ), (fetch, outages)
        assert not untold(broke, audience)
        leaves = check_log(audience)
        assert "Traceback" not in node.said()
        by_role = dict(Counter(each.role for each in kills))
        whole = sum(each.whole for each in fetchers.done)
        print(
            f"{by_role}: {whole} delivered, {len(fetchers.done) - whole} broken, {len(lost)} lost,"
            f" {len(outages)} outages, {leaves} leaves"
        )


def on_record(audience: Audience) -> Counter[tuple[str, int]]:
    """How often each segment is, by session and number: each is of two seconds."""
    return Counter((each["session"], each["m0"] // 2000) for each in audience.events())


def untold(kills: Iterable[Kill], audience: Audience) -> list[Kill]:
    """Those of which no outage tells."""
    outages = audience.events(kind="outage")
    return [
        one
        for one in kills
        if not any(each["t0"] <= one.dead and each["t1"] > one.at for each in outages)
    ]
