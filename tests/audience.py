"""An event that was attended, in real stores, for tests of what is made of it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from pystream.acl.passwords import PasswordSettings
from pystream.acl.reports.making import Reporter
from pystream.acl.store.attending import Batch
from pystream.acl.streams import Tenant
from pystream.acl.viewers import Session
from pystream.attendance.evidence import Place
from pystream.attendance.programmes import Event, EventSettings
from pystream.attendance.purpose import VERSION
from tests.evidence import BERLIN, at, film
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

    def watch(self, id: int, begin: int, minutes: float, stream: str) -> None:
        self._batch += 1
        session, stream_id = self._batch.to_bytes(16), self.ids[f"acme/{stream}"]
        opened = Session(
            id=session,
            tenant_id=self.acme,
            stream_id=stream_id,
            password_id=id,
            opened_at=begin // 1000,
            expires=begin // 1000 + 10**6,
            idle_s=None,
        )
        self.store.viewers.keep([opened], {}, begin // 1000)
        text = b""
        first = begin % 86_400_000
        for each in film(begin, round(minutes * 60_000), first=first):
            tag = session + Place(stream_id, each["m0"], each["m1"], True, "v1").pack()
            text += struct.pack(">qH", each["t"], len(tag)) + tag
        batch = Batch(1, self._batch, begin, begin + 1, 0, text)
        self.store.viewers.attendance.keep(self.keys, [batch], [], LATER)
