"""Evidence where processes are killed in the middle of their work: what is lost, and that it is told.

A real node; viewers fetch segments one after the other, and a worker, all workers, the writer or a process of
the database gets SIGKILL at a random moment, while a segment is on its way to somebody. From outside:

* A segment that was delivered more than six seconds before a kill is on record, and so is each other one
  unless it was a worker that was killed.
* What is not on record lies in an outage that is.
* Nothing is on record that nobody asked for, and nothing twice.
* The log is whole: each event has its number, and the leaf there is its hash.

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
from contextlib import ExitStack, closing, suppress
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from pystream.acl.sealing import Place, unseal
from pystream.acl.store import tables
from pystream.errors import StoreError
from tests.test_evidence import SETTINGS, Audience
from tests.test_kill import Victims, postgres, sqlite
from tests.test_serve import Busy, alive, node_in
from tests.waiting import until

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("EVIDENCE_KILLS", "6"))
VIEWERS = 3
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

    key: str
    number: int
    begun: int
    ended: int
    whole: bool

    def has(self, event: dict[str, Any]) -> bool:
        t: int = event["t"]
        return self.begun - SLACK_MS <= t <= self.ended + LATE_MS


class Kill(NamedTuple):
    role: str
    at: int
    dead: int


class Fetchers(Busy):
    """A thread for each viewer, who fetches one segment after the other, over and over."""

    def __init__(self, audience: Audience) -> None:
        super().__init__(VIEWERS)
        texts = [audience.issue("acme/course") for _ in range(VIEWERS)]
        self.port = audience.node.port
        self.segments = [audience.segments(audience.let_in("acme/course", each)) for each in texts]
        self.keys = [audience.key_of(each) for each in texts]
        self.done: list[Fetch] = []

    def work(self, number: int) -> None:
        segments, key = self.segments[number], self.keys[number]
        for n in cycle(range(len(segments))):
            if self.stop.is_set():
                return
            begun, whole = now_ms(), False
            # It breaks where a worker is killed.
            with (
                suppress(OSError, http.client.HTTPException),
                closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as peer,
            ):
                peer.request("GET", segments[n])
                answer = peer.getresponse()
                whole = bool(answer.read()) and answer.status == 200
            self.done.append(Fetch(key, n, begun, now_ms(), whole))

    def go_on(self, count: int) -> None:
        """Until so many requests more are over."""
        wanted = len(self.done) + count
        until(lambda: len(self.done) >= wanted)

    def were_under_way(self, at: int, since: int) -> bool:
        """Whether somebody was being answered then, of those who had not ended when `since` had."""
        return any(each.begun <= at <= each.ended for each in self.done[since:])


def is_well(audience: Audience, since: int) -> bool:
    """Whether both workers have something on record that they told after an instant."""
    cursor = tables.attendance_cursor.c
    with suppress(StoreError), audience.store() as store, store.database.reading() as connection:
        told = connection.scalars(select(cursor.worker).where(cursor.until > since, ~cursor.over))
        return len(told.all()) == 2
    return False


def kill(audience: Audience, victims: Victims, role: str, chance: random.Random) -> Kill:
    """Sends SIGKILL, and does what a service manager does; returns when all are at work again: of a worker
    that has never said that it is there, nobody knows that it was."""
    pids = []
    if role == "workers":
        pids = sorted(victims.node.processes()["worker"])
        at = now_ms()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    else:
        at = now_ms()
        pids = [victims.kill(role, chance)]
    until(lambda: not any(map(alive, pids)))
    dead = now_ms()
    if role == "database":
        victims.revive(role, pids[0])
    until(victims.whole)
    until(lambda: is_well(audience, dead))
    return Kill(role, at, dead)


def strike(
    audience: Audience, victims: Victims, fetchers: Fetchers, roles: list[str]
) -> list[Kill]:
    """A kill of each role in turn, `KILLS` of them; one that met nobody does not count."""
    chance, kills, counted = random.Random(12), list[Kill](), 0
    begun = now_ms()
    until(lambda: now_ms() > begun + LOST_MS + 1000)
    while counted < KILLS:
        fetchers.go_on(chance.randrange(1, 60))
        since = len(fetchers.done)
        one = kill(audience, victims, roles[counted % len(roles)], chance)
        kills.append(one)
        # Those who were under way then are at their end.
        fetchers.go_on(2 * VIEWERS)
        counted += fetchers.were_under_way(one.at, since)
    return kills


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
        with Fetchers(audience) as fetchers:
            kills = strike(audience, Victims(audience, server), fetchers, roles)
        fatal = [each for each in kills if each.role.startswith("worker")]
        # The last dead is noticed, and all that is there was told.
        until(lambda: any(each["t1"] > fatal[-1].at for each in audience.events(kind="outage")))
        last = [each for each in fetchers.done if each.whole][-1]
        until(lambda: any(last.has(each) for each in audience.events()))
        node.signal(signal.SIGTERM)
        assert node.process.wait(60) == 0
        events, outages = audience.events(), audience.events(kind="outage")
        told = Counter[Fetch]()
        by_segment: dict[tuple[str, int], list[Fetch]] = {}
        for fetch in fetchers.done:
            by_segment.setdefault((fetch.key, fetch.number), []).append(fetch)
        for event in sorted(events, key=lambda each: each["t"]):
            own = by_segment[event["key"], event["m0"] // 2000]
            asked = next(
                (each for each in reversed(own) if each.has(event) and not told[each]), None
            )
            near = sorted(own, key=lambda each: abs(each.ended - event["t"]))[:2]
            assert asked is not None, (event["t"], near, kills)
            told[asked] += 1
        lost = [each for each in fetchers.done if each.whole and not told[each]]
        for fetch in lost:
            assert any(
                fetch.ended >= each.at - LOST_MS and fetch.begun <= each.dead for each in fatal
            ), (fetch, kills)
            assert any(
                each["t0"] - SLACK_MS <= fetch.ended and fetch.begun < each["t1"]
                for each in outages
            ), (fetch, outages)
        for one in fatal:
            assert any(each["t0"] <= one.dead and each["t1"] > one.at for each in outages), one
        leaves = check_log(audience)
        assert "Traceback" not in node.said()
        by_role = dict(Counter(each.role for each in kills))
        whole = sum(each.whole for each in fetchers.done)
        print(f"{by_role}: {whole} delivered, {len(lost)} lost, {leaves} leaves")
