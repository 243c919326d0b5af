"""An event that was attended, in real stores, for tests of what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pystream.acl.passwords import PasswordSettings
from pystream.acl.reports.making import Reporter
from pystream.acl.store import Store
from pystream.acl.store.attending import Batch
from pystream.acl.store.keystore import KeyStore
from pystream.acl.streams import Tenant
from pystream.acl.viewers import Session
from pystream.attendance import evidence
from pystream.attendance.evidence import Place
from pystream.attendance.programmes import Event, EventSettings
from pystream.attendance.purpose import VERSION
from tests.evidence import BERLIN, at, beacons, film
from tests.test_viewers import Stores

# Two days after the evening of 2026-03-10.
LATER = at("12:00", "2026-03-12") // 1000
WHO: dict[str, Any] = {"who": "eva", "now": LATER}
WINDOWS = ((at("18:00"), at("19:30")),)
BREAKS = ((at("18:45"), at("19:00")),)
ALL = at("17:50"), 105


class Audience(Stores):
    """A tenant in Berlin whose streams `film` and `course` are recorded, and an event over both."""

    def __init__(self, folder: Path, url: str, **event: Any) -> None:
        super().__init__(folder, url)
        settings = {"timezone": BERLIN, "attendance_purpose": VERSION, "display": "ACME GmbH"}
        self.store.set_tenant("acme", settings, **WHO)
        for name, title in (("film", "Saal A"), ("course", "Saal B")):
            self.store.set_stream("acme", name, {"attendance": True, "title": title}, **WHO)
        values: dict[str, Any] = {
            "title": "Herz 2026",
            "vnr": "0276090901234567890",
            "streams": ("film", "course"),
            "timezone": BERLIN,
            "windows": WINDOWS,
            "breaks": BREAKS,
        }
        self.store.events.add(self.acme, "herz", EventSettings(**values | event), **WHO)
        self.reporter = Reporter(self.store, self.keys)
        self._batch = 0

    @property
    def tenant(self) -> Tenant:
        return self.store.tenant("acme")

    @property
    def event(self) -> Event:
        return self.store.events.event(self.acme, "herz")

    def viewer(
        self, text: str, *watched: tuple[int, float], stream: str = "film", **settings: Any
    ) -> int:
        """A password, and for each (begin, minutes) a session that has watched a film so long."""
        found = self.issuer.find(self.acme, text)
        if found is None:
            entries = [(text, PasswordSettings(**settings))]
            ids = [self.ids["acme/film"], self.ids["acme/course"]]
            (id,) = self.issuer.add(self.acme, ids, entries, **WHO)
        else:
            id = found.id
        for begin, minutes in watched:
            self.watch(id, begin, minutes, stream)
        return id

    def watch(self, id: int, begin: int, minutes: float, stream: str) -> bytes:
        """Returns the session."""
        session = (self._batch + 1).to_bytes(16)
        place = self.acme, self.ids[f"acme/{stream}"], id
        self._tell(_watched(self.store, session, place, begin, minutes), begin)
        return session

    def say(self, session: bytes, begin: int, minutes: float, **said: Any) -> None:
        """What its player says, every ten seconds."""
        text = b""
        for each in beacons(begin, begin + round(minutes * 60_000), **said):
            values = {name: each[name] for name in "sn state playhead_ms rate hidden".split()}
            text += evidence.record(each["t"], session + evidence.beacon(values))
        self._tell(text, begin)

    def check(self, session: bytes, t: int, answered: int | None) -> None:
        """A presence check."""
        self._tell(evidence.record(t, session + evidence.check(answered)), t)

    def _tell(self, text: bytes, begin: int) -> None:
        self._batch += 1
        batch = Batch(1, self._batch, begin, begin + 1, 0, text)
        self.store.viewers.attendance.keep(self.keys, [batch], [], LATER)


def watch(
    store: Store,
    keys: KeyStore,
    number: int,
    place: tuple[int, int, int],
    begin: int,
    minutes: float,
) -> None:
    """Has a password watch a film so long, in a session of its own; `place`: tenant, stream and password."""
    text = _watched(store, number.to_bytes(16), place, begin, minutes)
    # No worker of a node has that number, and nothing more is to come.
    batch = Batch(2**40, number, begin, begin + 1, 0, text, last=True)
    store.viewers.attendance.keep(keys, [batch], [], LATER)


def _watched(
    store: Store, session: bytes, place: tuple[int, int, int], begin: int, minutes: float
) -> bytes:
    """Opens a session, and gives what a worker would tell of it."""
    tenant_id, stream_id, password_id = place
    opened = Session(
        id=session,
        tenant_id=tenant_id,
        stream_id=stream_id,
        password_id=password_id,
        opened_at=begin // 1000,
        expires=begin // 1000 + 10**6,
        idle_s=None,
    )
    store.viewers.keep([opened], {}, begin // 1000)
    text = b""
    first = begin % 86_400_000
    for each in film(begin, round(minutes * 60_000), first=first):
        tag = session + Place(stream_id, each["m0"], each["m1"], True, "v1").pack()
        text += evidence.record(each["t"], tag)
    return text
