"""Attacks: what is noticed and what is not, what is kept of it for how long, and who may have it in hand."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import trio
from sqlalchemy import text as sql
from sqlalchemy import update

from pystream import _core, server
from pystream.acl.evidence import KEY_NAME, package, pem, verify
from pystream.acl.incidents import LONGEST_S, Event, Incident, Kind, Scope, moment
from pystream.acl.keys import Keyring
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import Store, key_backups, tables
from pystream.acl.store import incidents as storing
from pystream.acl.store.incidents import NODE as OF_THE_NODE
from pystream.acl.store.incidents import IncidentStore
from pystream.acl.store.keystore import root_name
from pystream.acl.store.retaining import Retention
from pystream.acl.streams import StreamSettings
from pystream.attendance.notes import SigningKey
from pystream.errors import (
    InvalidValue,
    MalformedDocument,
    NotFound,
    NotProven,
    StoreError,
)
from pystream.rehearsal.attackers import NODE
from pystream.rehearsal.players import Playing, Visitor
from pystream.server.desk import listen
from pystream.server.gauges import Board
from pystream.server.guard import detector as detecting
from pystream.server.guard import signs as signing
from pystream.server.guard.detector import SIGNS, Detector, Finding
from pystream.server.guard.incidents import FLUSH_SECONDS
from pystream.server.guard.incidents import Incidents as Noticed
from pystream.server.guard.signs import Sign, Signs
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.outgoing import Client
from pystream.server.settings import Incidents, Network, Outgoing, Settings, load
from pystream.server.timeline import Counts, Timeline, headers
from tests import program
from tests.browser.chromium import Chromium
from tests.free_ports import free_port
from tests.lab import Lab, lab
from tests.oracles import traces
from tests.oracles.traces import Secret, in_files
from tests.test_cli_store import done, here, refused
from tests.test_cli_store import told as cli
from tests.test_guard_helper import ban, guarding
from tests.test_outgoing import LOOPBACK, Authority, Names, Site, jumping, run, running
from tests.test_serve import BUSY, SAMPLE, SERVE, Node, environment, fetch, node_in
from tests.test_syn import PORT, serving
from tests.test_viewers import NOW, Stores, raw, restore
from tests.waiting import PATIENCE, until

__all__ = ["here"]

SOURCE = "2001:db8:4bad:cafe:83:97:42:1d"
OTHER = "198.51.100.97"
SIGNER = SigningKey(KEY_NAME, bytes(range(32)))


# What is kept


@pytest.fixture
def stores(tmp_path: Path, url: str) -> Iterator[Stores]:
    made = Stores(tmp_path, url)
    yield made
    made.close()


def kept(stores: Stores) -> IncidentStore:
    return IncidentStore(stores.store.database, stores.keys)


def opened(stores: Stores, kind: Kind = Kind.PASSWORDS, now: int = NOW) -> Incident:
    return kept(stores).open(kind, "too many", Scope.SOURCE, dry_run=False, now=now)


def event(source: str = SOURCE, begun: int = NOW, **counts: int) -> Event:
    return Event(source, True, begun, begun + 9, counts or {"guesses": 7})


def attacked(stores: Stores) -> Incident:
    """An incident with two batches."""
    incident = opened(stores)
    store = kept(stores)
    store.add(incident.id, [event(), event(OTHER)], sources=2, now=NOW + 9)
    return store.add(incident.id, [event(begun=NOW + 10, guesses=3)], sources=2, now=NOW + 19)


def test_an_incident_is_opened_once_and_has_its_events(stores: Stores) -> None:
    store, incident = kept(stores), attacked(stores)
    assert opened(stores, now=NOW + 20).id == incident.id
    assert opened(stores, Kind.KEYS).id != incident.id
    assert (incident.sources, incident.events, incident.left_out) == (2, 3, 0)
    assert (incident.opened_at, incident.last_at, incident.closed_at) == (NOW, NOW + 19, None)
    events = store.events(incident.id, who="eva", now=NOW + 30)
    assert [(each.source, each.counts) for each in events] == [
        (SOURCE, {"guesses": 7}),
        (OTHER, {"guesses": 7}),
        (SOURCE, {"guesses": 3}),
    ]
    told = [(each.who, each.action, each.at) for each in store.custody(incident.id)]
    assert told == [("pystream", "opened", NOW), ("eva", "shown", NOW + 30)]
    with pytest.raises(NotFound):
        store.incident(4711)


def test_it_closes_when_nothing_is_heard_and_after_a_day(stores: Stores) -> None:
    store, quiet = kept(stores), attacked(stores)
    assert store.close_quiet(600, NOW + 19 + 599) == ()
    assert [each.id for each in store.close_quiet(600, NOW + 19 + 600)] == [quiet.id]
    assert store.add(quiet.id, [event()], sources=3, now=NOW + 700).events == 3
    again = opened(stores, now=NOW + 700)
    assert again.id != quiet.id
    later = NOW + 700 + LONGEST_S
    store.add(again.id, [event(begun=later - 1)], sources=1, now=later - 1)
    assert store.close_quiet(600, later - 1) == ()
    assert [each.id for each in store.close_quiet(600, later)] == [again.id]
    assert store.listed(open_only=True) == ()
    assert [each.id for each in store.listed()] == [again.id, quiet.id]


def test_there_is_an_end_to_what_is_kept(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_EVENTS", 3)
    store, incident = kept(stores), opened(stores)
    for _ in range(2):
        incident = store.add(incident.id, [event(), event(OTHER)], sources=2, now=NOW)
    assert (incident.events, incident.left_out) == (3, 1)
    assert len(store.events(incident.id, who="eva", now=NOW)) == 3


def test_no_source_can_be_read_without_the_key(stores: Stores) -> None:
    incident = attacked(stores)
    package(kept(stores).contents(incident.id, who="eva", now=NOW), SIGNER)
    marks = [Secret(each, traces.address(each)) for each in (SOURCE, OTHER)]
    assert list(in_files(stores.folder, marks)) == []
    with stores.store.database.reading() as connection:
        rows = str(connection.execute(sql("SELECT * FROM incident_event")).all())
        rows += str(connection.execute(sql("SELECT * FROM incident_custody")).all())
    assert SOURCE not in rows and OTHER not in rows


def test_what_was_sealed_is_not_changed(stores: Stores) -> None:
    attacked(stores)
    for table, column in (("incident_event", "digest"), ("incident_custody", "who")):
        with pytest.raises(StoreError), stores.store.database.writing() as connection:
            connection.execute(update(tables.metadata.tables[table]).values({column: "x"}))


# Shredding


def retention(stores: Stores, backups: str = "", **days: int) -> Retention:
    return Retention(stores.store.database, stores.keys, Rules(**days), backups)


def test_sources_are_shredded_in_time_and_the_record_stays(stores: Stores) -> None:
    store, incident = kept(stores), attacked(stores)
    assert retention(stores).shred_incidents(NOW + 7 * DAY_S) == 0
    assert len(store.events(incident.id, who="eva", now=NOW)) == 3
    late = NOW + 7 * DAY_S + 1
    assert retention(stores).plan(late)["incidents"] == {OF_THE_NODE: 1}  # type: ignore[index]
    assert retention(stores).shred_incidents(late) == 1
    with pytest.raises(NotFound, match="shredded"):
        store.events(incident.id, who="eva", now=late)
    with pytest.raises(NotFound, match="shredded"):
        store.contents(incident.id, who="eva", now=late)
    found = store.incident(incident.id)
    assert (found.shredded_at, found.closed_at, found.events) == (late, late, 3)
    assert [each.action for each in store.custody(incident.id)] == ["opened", "shown", "shredded"]
    assert stores.keys.held(OF_THE_NODE)[1] == 0
    assert retention(stores).shred_incidents(late) == 0
    # As long as the audit log.
    assert retention(stores).run(NOW + 1096 * DAY_S).document["counts"]["incident_records"] == 0
    gone = retention(stores).run(NOW + 1096 * DAY_S + 1).document["counts"]
    assert gone["incident_records"] == 1 and store.listed() == ()


def test_days_are_a_setting_and_a_run_shreds(stores: Stores) -> None:
    attacked(stores)
    late = NOW + 2 * DAY_S + 1
    proof = retention(stores, incidents=2).run(late)
    assert (proof.document["counts"]["incidents"], proof.document["days"]["incidents"]) == (1, 2)


def test_a_backup_does_not_bring_shredded_sources_back(tmp_path: Path) -> None:
    """Both stores are copied while the incident is there, and brought back after it was shredded: the list of
    erasures, which is in no backup, has its key."""
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    incident = attacked(stores)
    copy = tmp_path / "copy.db"
    copy.touch()
    stores.store.database.copy_to(str(copy))
    (tmp_path / "vault").mkdir()
    saved = key_backups.backup(stores.keys, str(tmp_path / "vault"), NOW)
    retention(stores).shred_incidents(NOW + 8 * DAY_S)
    stores.store.close()
    (tmp_path / "store.db").write_bytes(copy.read_bytes())
    stores.store = Store.open(str(tmp_path / "store.db"))
    assert restore(stores, saved, replace=True).erased == 1
    assert len(raw(tmp_path, "SELECT * FROM incident_event")) == 2
    with pytest.raises(NotFound, match="key"):
        kept(stores).events(incident.id, who="eva", now=NOW + 9 * DAY_S)
    # The next run finds it, and deletes what cannot be read.
    assert retention(stores).shred_incidents(NOW + 9 * DAY_S) == 1
    assert raw(tmp_path, "SELECT * FROM incident_event") == []
    stores.close()


# Two persons


def test_a_hold_wants_two_persons(stores: Stores) -> None:
    store, incident = kept(stores), attacked(stores)
    until, late = NOW + 30 * DAY_S, NOW + 8 * DAY_S
    with pytest.raises(InvalidValue, match="nobody has asked"):
        store.confirm(incident.id, who="eva", now=NOW)
    asked = store.ask_to_hold(incident.id, until, "Az. 12 Js 345/31", who="eva", now=NOW)
    assert asked.hold is None and asked.asked is not None and not asked.asked.holds(NOW)
    assert store.old(late, late) == [incident.id]
    with pytest.raises(InvalidValue, match="another person"):
        store.confirm(incident.id, who="eva", now=NOW)
    held = store.confirm(incident.id, who="maria", now=NOW + 1)
    assert held.hold is not None and held.hold.holds(NOW + 2)
    assert retention(stores).shred_incidents(late) == 0
    assert len(store.events(incident.id, who="eva", now=late)) == 3
    # Another end wants both again, and until then the one that is there stands.
    store.ask_to_hold(incident.id, until - 1, "shorter", who="maria", now=NOW + 2)
    assert store.old(until, until - 1) == []
    back = store.withdraw(incident.id, who="maria", now=NOW + 2)
    assert back.asked is None and back.hold == held.hold
    store.ask_to_hold(incident.id, until + 1, "longer", who="maria", now=NOW + 2)
    store.confirm(incident.id, who="eva", now=NOW + 3)
    assert store.old(until + 1, until) == [] and store.old(until + 2, until + 1) == [incident.id]
    # Nobody alone ends it, or could have evidence destroyed.
    with pytest.raises(InvalidValue, match="reason"):
        store.ask_to_release(incident.id, " ", who="eva", now=NOW + 4)
    ending = store.ask_to_release(incident.id, "closed", who="eva", now=NOW + 4)
    assert ending.hold is not None and ending.asked is not None and ending.asked.until is None
    assert retention(stores).shred_incidents(late) == 0
    with pytest.raises(InvalidValue, match="another person"):
        store.confirm(incident.id, who="eva", now=NOW + 4)
    assert store.withdraw(incident.id, who="eva", now=NOW + 5).hold == ending.hold
    store.ask_to_release(incident.id, "closed indeed", who="maria", now=NOW + 6)
    ended = store.confirm(incident.id, who="eva", now=NOW + 7)
    assert ended.hold is None and ended.asked is None
    with pytest.raises(InvalidValue, match="is not held"):
        store.ask_to_release(incident.id, "again", who="eva", now=NOW + 8)
    assert retention(stores).shred_incidents(late) == 1
    told = [(each.who, each.action) for each in store.custody(incident.id)]
    assert told == [
        *(("pystream", "opened"), ("eva", "hold asked for"), ("maria", "hold confirmed")),
        *(("eva", "shown"), ("maria", "hold asked for"), ("maria", "hold not asked for")),
        *(("maria", "hold asked for"), ("eva", "hold confirmed")),
        *(("eva", "end asked for"), ("eva", "end not asked for")),
        *(("maria", "end asked for"), ("eva", "hold ended"), ("pystream", "shredded")),
    ]
    reason = store.custody(incident.id)[1].detail
    assert reason == f"Az. 12 Js 345/31 (until {moment(until)})"
    assert store.custody(incident.id)[8].detail == "closed"


def test_an_incident_says_when_its_sources_are_destroyed(stores: Stores) -> None:
    store, incident = kept(stores), attacked(stores)
    assert incident.kept_until(7) == NOW + 7 * DAY_S
    # Asked for is not held.
    asked = store.ask_to_hold(incident.id, NOW + 30 * DAY_S, "case", who="eva", now=NOW)
    assert asked.kept_until(7) == NOW + 7 * DAY_S
    held = store.confirm(incident.id, who="maria", now=NOW)
    assert (held.kept_until(7), held.kept_until(99)) == (NOW + 30 * DAY_S, NOW + 99 * DAY_S)
    # By then they are there, and a second later they are not.
    assert retention(stores).shred_incidents(NOW + 30 * DAY_S - 1) == 0
    assert retention(stores).shred_incidents(NOW + 30 * DAY_S) == 1
    assert store.incident(incident.id).kept_until(7) is None


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        *((NOW, "x"), (NOW + 9, " "), (NOW + 9, "a\nb"), (NOW + 9, "x" * 501)),
        # Two persons may ask for another year when this one is over.
        (NOW + 366 * DAY_S + 1, "x"),
    ],
)
def test_a_hold_has_a_reason_and_an_end(stores: Stores, until: int, reason: str) -> None:
    incident = attacked(stores)
    with pytest.raises(InvalidValue):
        kept(stores).ask_to_hold(incident.id, until, reason, who="eva", now=NOW)
    for refuse in (kept(stores).withdraw, kept(stores).confirm):
        with pytest.raises(InvalidValue):
            refuse(incident.id, who="eva", now=NOW)
    kept(stores).ask_to_hold(incident.id, NOW + 366 * DAY_S, "x" * 500, who="eva", now=NOW)


def test_nobody_confirms_a_hold_of_what_is_being_destroyed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and by who is killed in the midst of it: what was begun is brought to its end."""
    store, incident = kept(stores), attacked(stores)
    late = NOW + 7 * DAY_S + 1
    store.ask_to_hold(incident.id, late + 99, "case", who="eva", now=NOW)

    def killed(*_: Any, **__: Any) -> None:
        with pytest.raises(NotFound, match="shredded"):
            store.confirm(incident.id, who="maria", now=late)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stores.keys, "erase", killed)
        store.shred(late, late)
    assert stores.keys.held(OF_THE_NODE)[1] == 1
    assert store.shred(late, late) == 1 and store.old(late, late) == []
    assert stores.keys.held(OF_THE_NODE)[1] == 0
    assert [each.action for each in store.custody(incident.id)][-1] == "shredded"


def test_what_is_shredded_cannot_be_held(stores: Stores) -> None:
    store, incident = kept(stores), attacked(stores)
    late = NOW + 8 * DAY_S
    retention(stores).shred_incidents(late)
    with pytest.raises(NotFound, match="shredded"):
        store.ask_to_hold(incident.id, late + 9, "too late", who="eva", now=late)


# The package


def exported(stores: Stores, kind: Kind = Kind.PASSWORDS) -> bytes:
    store = kept(stores)
    incident = attacked(stores) if kind is Kind.PASSWORDS else opened(stores, kind)
    if kind is Kind.SYN:
        syn = Event(OTHER, False, NOW, NOW + 1, {"syns": 5})
        store.add(incident.id, [syn], sources=1, now=NOW)
    return package(store.contents(incident.id, who="eva", now=NOW + 60), SIGNER)


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def test_a_package_has_events_custody_and_proof(stores: Stores) -> None:
    data = exported(stores)
    files, proven = files_of(data), verify(data, [SIGNER.verifier])
    assert (proven.events, proven.entries, proven.facts["sources"]) == (3, 2, 2)
    lines = files["events.csv"].decode().splitlines()
    assert lines[0] == "begun,ended,source,authenticated,guesses,done"
    assert lines[1] == f"2031-05-16T12:00:00Z,2031-05-16T12:00:09Z,{SOURCE},yes,7,"
    custody = [json.loads(line) for line in files["custody.jsonl"].splitlines()]
    assert [each["action"] for each in custody] == ["opened", "exported"]
    assert SOURCE.encode() not in files["incident.json"] + files["custody.jsonl"]


def test_who_sent_a_syn_is_told_to_have_answered_nothing(stores: Stores) -> None:
    data = exported(stores, Kind.SYN)
    files = files_of(data)
    assert f"{OTHER},no,5," in files["events.csv"].decode()
    (line,) = files["events.jsonl"].splitlines()
    assert json.loads(line)["events"][0]["authenticated"] is False
    assert verify(data, [SIGNER.verifier]).facts["authenticated"] is False
    assert "anybody can write any address" in files["README.txt"].decode().lower()


CHANGES: dict[str, Any] = {
    "an event less": lambda files: {**files, "events.jsonl": files["events.jsonl"].split(b"\n")[0]},
    "another source": lambda files: {
        **files,
        "events.jsonl": files["events.jsonl"].replace(OTHER.encode(), b"198.51.100.98"),
    },
    "another custody": lambda files: {
        **files,
        "custody.jsonl": files["custody.jsonl"].replace(b"eva", b"ada"),
    },
    "a file more": lambda files: {**files, "more.txt": b"x"},
    "a file less": lambda files: {n: data for n, data in files.items() if n != "events.csv"},
    "another signature": lambda files: {**files, "SHA256SUMS.sig": bytes(64)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_package_that_was_changed_is_not_proven(tmp_path: Path, change: str) -> None:
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    files = files_of(exported(stores))
    verify(packed(files), [SIGNER.verifier])
    with pytest.raises(NotProven):
        verify(packed(CHANGES[change](files)), [SIGNER.verifier])
    stores.close()


def resigned(files: dict[str, bytes]) -> bytes:
    """As whoever has the key could sign anything."""
    there = {name: data for name, data in files.items() if not name.startswith("SHA256SUMS")}
    sums = "".join(f"{sha256(data).hexdigest()}  {n}\n" for n, data in there.items()).encode()
    return packed({**there, "SHA256SUMS": sums, "SHA256SUMS.sig": SIGNER.sign(sums)})


@pytest.mark.parametrize("change", ["an event less", "another source", "another custody"])
def test_chains_hold_even_against_who_signs(tmp_path: Path, change: str) -> None:
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    files = files_of(exported(stores))
    verify(resigned(files), [SIGNER.verifier])
    with pytest.raises(NotProven):
        verify(resigned(CHANGES[change](files)), [SIGNER.verifier])
    stores.close()


@pytest.mark.parametrize("where", ["before", "between", "behind", "as a comment", "twice"])
def test_a_package_has_nothing_beside_its_files(tmp_path: Path, where: str) -> None:
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    data = exported(stores)
    stores.close()
    verify(data, [SIGNER.verifier])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        begin = archive.start_dir
    spoiled = {
        "before": b"x" + data,
        "between": data[:begin]
        + b"x"
        + data[begin:-6]
        + (begin + 1).to_bytes(4, "little")
        + bytes(2),
        "behind": data + b"x",
        "as a comment": data[:-2] + b"\1\0x",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = io.BytesIO(data)
        with zipfile.ZipFile(made, "a") as archive:
            archive.writestr("README.txt", archive.read("README.txt"))
    spoiled["twice"] = made.getvalue()
    with pytest.raises(MalformedDocument):
        verify(spoiled[where], [SIGNER.verifier])


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), b"x" * 100])
def test_what_is_no_package_is_told(data: bytes) -> None:
    with pytest.raises((MalformedDocument, NotProven)):
        verify(data, [SIGNER.verifier])


@pytest.mark.needs("openssl", "sha256sum")
def test_others_programs_verify_it(stores: Stores) -> None:
    folder = stores.folder / "package"
    folder.mkdir()
    with zipfile.ZipFile(io.BytesIO(exported(stores))) as archive:
        archive.extractall(folder)
    readme = (folder / "README.txt").read_text()
    commands = [line.split() for line in readme.splitlines() if line.startswith("  ")]
    assert [words[0] for words in commands if words[0] in ("sha256sum", "openssl")] == [
        "sha256sum",
        "openssl",
    ]
    for words in commands:
        if words[0] in ("sha256sum", "openssl"):
            subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (folder / "events.csv").write_text("other")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            ["sha256sum", "-c", "SHA256SUMS"], cwd=folder, check=True, capture_output=True
        )
    assert (folder / "key.pem").read_bytes() == pem(SIGNER.verifier)


def test_the_nodes_key_stays_the_same() -> None:
    """HMAC-SHA256 of the label and 0x01, by RFC 5869 2.3; computed with openssl."""
    expected = "6bd3fbe88e74307f238908f52ff0787ef3908c6e64974570f7dc3cb5d45f7e1e"
    assert Keyring(bytes(range(32))).incident_key().hex() == expected


# What is noticed


class Clock:
    """Seconds of a test, which moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


HALL = "198.51.100.7"


def told(**counts: int) -> list[int]:
    return [counts.get(sign.word, 0) for sign in Sign]


class Watching:
    """A detector by the usual settings, which looks once a second."""

    def __init__(self, exempt: tuple[Network, ...] = ()) -> None:
        self.clock = Clock()
        self.detector = Detector(Incidents(), exempt, self.clock)
        self.found: dict[Kind, Finding] = {}

    def second(self, sources: dict[str, list[int]], **syns: Any) -> list[Finding]:
        self.detector.hear(list(sources.items()))
        found = self.detector.look(**syns)
        self.found |= {each.kind: each for each in found}
        self.clock.now += 1
        return found

    def seconds(self, count: int, sources: dict[str, list[int]]) -> None:
        for _ in range(count):
            self.second(sources)


@pytest.mark.parametrize("kind", SIGNS)
def test_a_source_that_goes_on_is_noticed_and_its_neighbour_is_not(kind: Kind) -> None:
    watching, word = Watching(), SIGNS[kind].word
    budget = getattr(Incidents(), kind)
    # As much as may be, and as much as leaks out.
    watching.second({HALL: told(**{word: budget.at_once}), OTHER: told(**{word: 1})})
    for _ in range(60):
        watching.second({HALL: told(**{word: int(budget.a_second)})})
    assert watching.found == {}
    much = 2 * budget.at_once
    (finding,) = watching.second({HALL: told(**{word: much}), OTHER: told(**{word: 1})})
    assert (finding.kind, finding.scope, finding.offenders) == (kind, Scope.SOURCE, [HALL])
    assert finding.counts == {HALL: {word: much}}
    # It takes part from now on, whatever it does; who does something else does not.
    assert watching.second({HALL: told(requests=5, right=1), OTHER: told(right=1)})[0].counts == {
        HALL: {"requests": 5, "right": 1}
    }
    # Until it is over.
    watching.detector.over(kind)
    assert watching.second({HALL: told(right=1)}) == []
    # Who does alone what all together may not has broken its own rule still.
    (finding,) = watching.second({OTHER: told(**{word: 6 * budget.at_once})})
    assert finding.scope is Scope.SOURCE and finding.rule.endswith(f"more than {budget}")


def test_an_ipv6_source_is_its_64_and_is_told_by_its_addresses() -> None:
    watching = Watching()
    one, other, far = "2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:2::1"
    (finding,) = watching.second(
        {one: told(probes=400), other: told(probes=400), far: told(probes=400)}
    )
    assert set(finding.counts) == {one, other} and len(finding.offenders) == 1


def test_whom_the_settings_name_is_never_counted() -> None:
    watching = Watching(exempt=(Network("198.51.100.0/24"),))
    assert watching.second({HALL: told(probes=9999)}, flood=True, half_open=[HALL]) != []
    watching.second({}, flood=True, half_open=[HALL, "203.0.113.9"])
    found = watching.second({HALL: told(probes=9999)}, flood=True, half_open=[HALL, "203.0.113.9"])
    assert [(each.kind, each.counts) for each in found] == [
        (Kind.SYN, {"203.0.113.9": {"half_open": 1}})
    ]


def test_many_together_are_noticed_of_whom_none_does_too_much() -> None:
    """A botnet tries 50 passwords each from 200 addresses; a viewer types four wrong ones."""
    watching = Watching()
    for _ in range(50):
        bots = {f"203.0.113.{n}": told(guesses=1) for n in range(200)}
        watching.second(bots | {HALL: told(guesses=1) if watching.clock.now < 1004 else told()})
    finding = watching.found[Kind.PASSWORDS]
    assert finding.scope is Scope.NODE and HALL not in finding.counts
    assert len(finding.counts) == 200
    assert finding.rule.startswith("wrong passwords") and finding.rule.endswith("times 5")


def test_what_is_usual_is_learned_and_is_no_attack() -> None:
    """A site whose viewers ask for what is not there: four times a second for a day, as its page is so, and
    then thirty times, as a film begins."""
    unused, watching = Watching(), Watching()
    crowd = [f"203.0.113.{n}" for n in range(200)]
    for minute in range(24 * 60):
        watching.clock.now = 1000.0 + 60 * minute
        watching.second({place: told(probes=2) for place in crowd[:120]})
    assert watching.found == {}
    for other in (watching, unused):
        for second in range(400):
            begin = second * 30 % 200
            other.second({place: told(probes=1) for place in (crowd * 2)[begin : begin + 30]})
    assert watching.found == {}
    assert unused.found[Kind.PROBING].scope is Scope.NODE


def test_a_lecture_hall_is_no_attack_whatever_it_types() -> None:
    """300 behind one address: a third type two wrong passwords before the right one."""
    watching, source = Watching(), random.Random(7)
    for second in range(120):
        counts = Counter[str]()
        for viewer in range(300):
            if second == int(viewer / 300 * 60):
                counts["guesses"] += 2 * (source.random() < 0.3)
                counts["right"] += 1
                counts["probes"] += 2
            counts["requests"] += 1
        watching.second({HALL: told(**counts)})
    assert watching.found == {}


def test_who_is_right_in_the_end_guesses_nothing() -> None:
    """A thousand behind one address, each of whom slips twice."""
    watching = Watching()
    for _ in range(50):
        watching.second({HALL: told(guesses=40, right=20)})
    assert watching.found == {}
    # As many wrong ones, and hardly any that is right.
    watching.seconds(50, {OTHER: told(guesses=40, right=1)})
    assert set(watching.found) == {Kind.PASSWORDS}


def test_a_hall_that_was_told_a_wrong_password_is_no_attack() -> None:
    """All of 300 type it, and half of them once more."""
    watching = Watching()
    for second in range(60):
        watching.second({HALL: told(guesses=8 if second % 7 else 6)})
    assert watching.found == {}
    # What nobody types is one.
    watching.seconds(60, {HALL: told(guesses=20)})
    assert set(watching.found) == {Kind.PASSWORDS}


def test_a_flood_of_new_sources_hides_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "_MOST_SOURCES", 10)
    watching = Watching()
    watching.second({HALL: told(probes=550)})
    for n in range(9):
        watching.second({f"203.0.113.{20 * n + k}": told(probes=1) for k in range(20)})
        assert len(watching.detector._sources) <= 10
    (finding,) = watching.second({HALL: told(probes=100)})
    assert finding.offenders == [HALL]


def test_what_is_heard_before_a_late_look_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "_MOST_HEARD", 10)
    detector = Watching().detector
    detector.hear([(HALL, told(probes=400))])
    for n in range(9):
        detector.hear([(f"2001:db8::{n}:{k}", told(probes=90)) for k in range(20)])
    detector.hear([(HALL, told(probes=400))])
    (finding,) = detector.look()
    assert len(finding.counts) == 10 and finding.counts[HALL] == {"probes": 800}
    # The next look has room again.
    detector.hear([(OTHER, told(probes=800))])
    assert detector.look()[0].offenders == [OTHER]


def test_syns_are_told_of_who_did_not_answer_at_two_looks() -> None:
    watching = Watching()
    assert watching.second({}, flood=False, half_open=[HALL]) == []
    (first,) = watching.second({}, flood=True, half_open=[OTHER])
    assert first.counts == {} and first.offenders == []
    (again,) = watching.second({}, flood=True, half_open=[OTHER, HALL])
    assert (again.kind, again.scope) == (Kind.SYN, Scope.NODE)
    assert again.counts == {OTHER: {"half_open": 1}} and again.offenders == []


# What a worker counts


SESSION = bytes(16)


def fetched(signs: Signs, clock: Clock, numbers: Iterable[int], seconds: float) -> int:
    """Seconds of film that were too many, of segments of six seconds each; `seconds` pass between two."""
    for number in numbers:
        signs.segment(HALL, SESSION, "v", number, 6.0)
        clock.now += seconds
    taken = signs.take()
    return 0 if taken is None else taken.sources[0][1][Sign.FETCHED]


def test_a_film_that_is_fetched_far_faster_than_it_plays() -> None:
    clock = Clock()
    assert fetched(Signs(clock), clock, range(1200), 0.1) > 2000
    # In several at a time, which come in disorder.
    order = [n ^ 3 for n in range(1200)]
    assert fetched(Signs(clock), clock, order, 0.1) > 1500


@pytest.mark.parametrize(
    ("numbers", "seconds"),
    [
        # Who plays, and reads ten minutes ahead at first.
        ([*range(100)], 0.01),
        ([*range(1200)], 6.0),
        # At twice the speed.
        ([*range(1200)], 3.0),
        # The same ones again and again, as a player in trouble does.
        ([1, 2, 3] * 400, 0.1),
        # Who zaps: six segments here, six there, twice a second, for five minutes.
        ([9000 * k % 1201 + n for k in range(600) for n in range(6)], 0.08),
    ],
    ids=["ahead", "plays", "fast", "again", "zaps"],
)
def test_who_plays_or_zaps_fetches_nothing_too_fast(numbers: list[int], seconds: float) -> None:
    clock = Clock()
    assert fetched(Signs(clock), clock, numbers, seconds) == 0


def test_keys_without_their_segments() -> None:
    clock = Clock()
    signs = Signs(clock)
    # Who zaps for a minute, and has segments of a CDN: two keys a second.
    for _ in range(60):
        signs.key(HALL, SESSION)
        signs.key(HALL, SESSION)
        clock.now += 1
    assert signs.take() is None
    # Who plays has a key for each segment.
    for number in range(500):
        signs.segment(HALL, SESSION, "v", number, 2.0)
        signs.key(HALL, SESSION)
        clock.now += 0.2
    assert signs.take() is None
    clock.now += 60
    for _ in range(620):
        signs.key(HALL, SESSION)
    taken = signs.take()
    assert taken is not None and taken.sources[0][1][Sign.KEYS] == 500


def test_who_does_nothing_of_the_kind_is_not_told_of() -> None:
    signs = Signs(Clock())
    signs.note(HALL, Sign.REQUESTS)
    signs.note(OTHER, Sign.REQUESTS)
    signs.note(OTHER, Sign.GUESSES)
    signs.banned(SOURCE, 60)
    taken = signs.take()
    assert taken is not None and taken.bans == [(SOURCE, 60)]
    assert taken.sources == [(OTHER, told(requests=1, guesses=1)), (SOURCE, told(strikes=20))]
    assert signs.take() is None


def test_there_is_an_end_to_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_MOST_COUNTED", 50)
    monkeypatch.setattr(signing, "_MOST_TOLD", 5)
    signs = Signs(Clock())
    for n in range(99):
        signs.note(f"198.51.100.{n}", Sign.GUESSES, n + 1)
    taken = signs.take()
    assert taken is not None
    assert [source for source, _ in taken.sources] == [f"198.51.100.{n}" for n in range(49, 44, -1)]


# The real server

ATTACKED = """[guard]
exempt = []
playlists = "30 at once, 1 a minute"
slowed = "2 at once, 1 a minute"
refused = "2 at once, 1 a minute"
ban_seconds = 1
[limits]
header_seconds = 0.05
[incidents]
passwords = "5 at once, 1 a minute"
keys = "5 at once, 1 a minute"
scraping = "30 at once, 1 a minute"
probing = "5 at once, 1 a minute"
slow = "3 at once, 1 a minute"
"""
VIEWER = "127.0.0.9"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path, SERVE) as made:
        made.add_film()
        yield made


def begin(node: Node, rest: str, server: str = "workers = 2\n", **more: str) -> None:
    node.settings(server, rest + BUSY)
    node.start(**more)
    node.hear("READY=1")


def asking(node: Node, source: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(
        "127.0.0.1", node.port, timeout=PATIENCE, source_address=(source, 0)
    )


def asked(node: Node, source: str, path: str, body: dict[str, str] | None = None) -> int:
    """The status; 0 where the connection was reset."""
    connection = asking(node, source)
    with closing(connection):
        try:
            if body is None:
                connection.request("GET", path)
            else:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body), headers)
            return connection.getresponse().status
        except ConnectionResetError:
            return 0


@contextmanager
def recorded(node: Node) -> Iterator[IncidentStore]:
    """What the node has recorded, as its operator may see it."""
    settings = load(str(node.folder / "pystream.toml"), {})
    with (
        Store.open(settings.store.url, migrate=False) as store,
        open_key_store(settings.keys, {}, migrate=False) as keys,
    ):
        yield IncidentStore(store.database, keys)


def listed(node: Node) -> tuple[Incident, ...]:
    with recorded(node) as store:
        return store.listed()


def kinds(node: Node) -> set[Kind]:
    """Of what something is recorded."""
    return {each.kind for each in listed(node) if each.events}


def sources(node: Node) -> dict[Kind, set[str]]:
    """Who is recorded, by kind."""
    with recorded(node) as store:
        return {
            each.kind: {event.source for event in store.events(each.id, who="eva", now=0)}
            for each in store.listed()
        }


def playlist(node: Node, source: str, stream: str = "film") -> tuple[str, list[str]]:
    """The path of a media playlist, and its lines, as a player finds them."""
    connection = asking(node, source)
    with closing(connection):
        path = fetch(connection, f"/acme/{stream}/master.m3u8")[1]["location"]
        for _ in range(2):
            lines = fetch(connection, path)[2].decode().splitlines()
            found = [line for line in lines if line[:1] not in ("", "#")]
            if not found[0].endswith(".m3u8"):
                break
            path = urljoin(path, found[0])
    return path, lines


def guesses(node: Node, source: str) -> None:
    for n in range(8):
        asked(node, source, "/acme/course/session", {"password": f"wrong-{n}"})


def scrapes_keys(node: Node, source: str) -> None:
    path, lines = playlist(node, source)
    key = next(line for line in lines if line.startswith("#EXT-X-KEY")).split('"')[1]
    connection = asking(node, source)
    with closing(connection):
        for _ in range(140):
            assert fetch(connection, urljoin(path, key))[0] == 200


def scrapes(node: Node, source: str) -> None:
    path, lines = playlist(node, source, "long")
    connection = asking(node, source)
    with closing(connection):
        for line in (line for line in lines if line[:1] not in ("", "#")):
            status, _, _ = fetch(connection, urljoin(path, line))
            if status != 200:
                break


def probes(node: Node, source: str) -> None:
    for n in range(8):
        asked(node, source, f"/wp-admin/{n}.php")


def floods(node: Node, source: str) -> None:
    for _ in range(50):
        asked(node, source, "/t/made-up/acme/film/master.m3u8")


def dawdles(node: Node, source: str) -> None:
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", node.port), PATIENCE, (source, 0)) as peer:
            peer.sendall(b"GET / HT")
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""


ATTACKS: dict[Kind, tuple[str, Any]] = {
    Kind.PASSWORDS: ("127.0.0.21", guesses),
    Kind.KEYS: ("127.0.0.22", scrapes_keys),
    Kind.SCRAPING: ("127.0.0.23", scrapes),
    Kind.PROBING: ("127.0.0.24", probes),
    Kind.FLOOD: ("127.0.0.25", floods),
    Kind.SLOW: ("127.0.0.26", dawdles),
}


def add_streams(node: Node) -> None:
    """One with passwords, and a film of 40 minutes, a picture in two seconds; before the node starts: to ask
    for what is not there yet is probing."""
    film = node.folder / "long.mp4"
    command = "ffmpeg -v error -f lavfi -i testsrc=size=32x32:rate=1/2 -t 2400 -g 3 -y"
    subprocess.run([*command.split(), str(film)], check=True, stdin=subprocess.DEVNULL)
    with Store.open(str(node.folder / "pystream.db")) as store:
        open_settings = StreamSettings(sources=(str(film),), pace=None)
        store.add_stream("acme", "long", open_settings, who="test", now=0)
        settings = StreamSettings(sources=(str(SAMPLE),), access="personal", pace=None)
        store.add_stream("acme", "course", settings, who="test", now=0)


def new_password(node: Node) -> str:
    done = program.run("password", "add", "acme/course", cwd=node.folder, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def lives(node: Node, password: str) -> None:
    """Who comes in after two slips, watches, and looks for something that is not there."""
    for typed in ("wrong", "wrong again"):
        assert asked(node, VIEWER, "/acme/course/session", {"password": typed}) == 403
    assert asked(node, VIEWER, "/acme/course/session", {"password": password}) == 200
    path, lines = playlist(node, VIEWER)
    for line in [line for line in lines if line[:1] not in ("", "#")][:5]:
        assert asked(node, VIEWER, urljoin(path, line)) == 200
    assert asked(node, VIEWER, "/apple-touch-icon.png") == 404


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_each_kind_of_attack_is_an_incident_of_its_own(node: Node) -> None:
    metrics_port = free_port()
    add_streams(node)
    begin(node, ATTACKED, PYSTREAM_SERVER_ADMIN=f"127.0.0.1:{metrics_port}")
    password = new_password(node)
    lives(node, password)
    for source, attack in ATTACKS.values():
        attack(node, source)
    wanted = {kind: {source} for kind, (source, _) in ATTACKS.items()}
    until(lambda: kinds(node) == set(wanted))
    lives(node, password)
    events = node.events("incident-opened")
    assert Counter(each["kind"] for each in events) == Counter(map(str, ATTACKS))
    assert "127.0.0.2" not in node.said() and VIEWER not in node.said()
    with closing(http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=PATIENCE)) as admin:

        def told(path: str) -> str:
            return fetch(admin, path)[2].decode()

        # The page has what the store has, which it asks about once a second.
        until(lambda: all(kind in told("/guard") for kind in ATTACKS))
        text, page = told("/metrics"), told("/guard")
    for kind in ATTACKS:
        assert f'pystream_incidents_open{{kind="{kind}"}} 1\n' in text
    assert "127.0.0.2" not in text and "127.0.0.2" not in page
    assert 'pystream_incidents_total{kind="syn"} 0\n' in text
    assert sources(node) == wanted
    # What is on the disk names nobody.
    assert node.stop() == 0
    marks = [Secret(each, traces.address(each)) for each, _ in ATTACKS.values()]
    marks.append(Secret(VIEWER, traces.address(VIEWER)))
    found = {file for file, _, _ in in_files(node.folder, marks)}
    assert found == set()


def new_passwords(node: Node, count: int) -> list[str]:
    words = ("password", "add", "acme/course", "--count", str(count), "--json")
    done = program.run(*words, cwd=node.folder, env=environment())
    assert done.returncode == 0, done.stderr
    return [each["password"] for each in json.loads(done.stdout)["passwords"]]


def zaps(node: Node, source: str) -> None:
    """Six segments here, six there, with their key, as fast as the node answers."""
    path, lines = playlist(node, source, "long")
    segments = [line for line in lines if line[:1] not in ("", "#")]
    connection = asking(node, source)
    with closing(connection):
        for turn in range(60):
            assert fetch(connection, path)[0] == 200
            at = 9000 * turn % (len(segments) - 6)
            for line in segments[at : at + 6]:
                assert fetch(connection, urljoin(path, line))[0] == 200


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_a_full_hall_and_one_who_zaps_are_no_attack_of_a_real_node(node: Node) -> None:
    """300 behind one address, by the usual budgets: a tenth type two wrong passwords, and all come at once
    and play; another one zaps. What is an attack is noticed after that, so all else has been judged."""
    add_streams(node)
    begin(node, "[guard]\nexempt = []\n")
    hall, zapper = "127.0.0.30", "127.0.0.31"
    passwords = new_passwords(node, 300)
    for number, password in enumerate(passwords[::10]):
        for typed in (f"{number}", f"{password[:-1]}"):
            assert asked(node, hall, "/acme/course/session", {"password": typed}) == 403
    plan = {
        "url": f"http://127.0.0.1:{node.port}/acme/course/master.m3u8",
        "visitors": [Visitor(password, hall) for password in passwords],
        "playing": asdict(Playing(len(passwords), 4.0, together=True, stall=0.0)),
        "processors": (),
    }
    command = [sys.executable, "-m", "pystream.rehearsal.players"]
    done = subprocess.run(
        command, input=json.dumps(plan), check=True, capture_output=True, text=True
    )
    met = json.loads(done.stdout)
    assert met["errors"] == {} and met["requests"]["session"] == 300, met
    zaps(node, zapper)
    assert node.events("source-slowed") == node.events("source-banned") == []
    for n in range(700):
        assert asked(node, "127.0.0.24", f"/wp-admin/{n}.php") in (404, 503)
    until(lambda: kinds(node))
    assert sources(node) == {Kind.PROBING: {"127.0.0.24"}}
    assert [each["kind"] for each in node.events("incident-opened")] == ["probing"]


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_who_goes_on_is_limited_then_banned_and_loses_what_is_open(node: Node) -> None:
    add_streams(node)
    begin(node, ATTACKED.replace('slowed = "2', 'slowed = "900'))
    source = "127.0.0.21"

    def tried() -> int:
        return asked(node, source, "/acme/course/session", {"password": "wrong"})

    with closing(asking(node, source)) as idle, closing(asking(node, VIEWER)) as other:
        assert fetch(idle, "/acme/film/")[0] == fetch(other, "/acme/film/")[0] == 200
        until(lambda: tried() == 503)
        assert idle.sock is not None and other.sock is not None
        # Its budget is there again after a second; then it is found out again.
        until(lambda: tried() == 0)
        assert idle.sock.recv(1) == b""
        assert fetch(other, "/acme/film/")[0] == 200
    # It is over by itself.
    until(lambda: asked(node, source, "/acme/film/") == 200)
    assert node.stop() == 0
    done = doings(node)
    assert done >= {"limited for 1 s", "banned for 1 s"}
    # On a slow machine what it has said comes to be heard after its ban, which begins anew.
    assert done - {"limited for 1 s"} <= {"banned for 1 s", "banned for 2 s", "banned for 4 s"}
    (told,) = node.events("attackers-stopped")
    assert (told["kind"], told["limited"], told["banned"]) == ("passwords", 1, 0)


def doings(node: Node) -> set[str]:
    """What was done about those who are recorded."""
    with recorded(node) as store:
        events = [
            event for each in store.listed() for event in store.events(each.id, who="eva", now=0)
        ]
    return {done for event in events for done in event.done.split(", ") if done}


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_a_dry_run_records_what_it_would_do_and_does_nothing(node: Node) -> None:
    add_streams(node)
    dry = ATTACKED.replace("[incidents]", '[incidents]\nmode = "dry-run"')
    # Nothing else may end a connection here, however late the machine is.
    patient = dry.replace("header_seconds = 0.05", "header_seconds = 60")
    unlimited = "".join(f'{sort} = "off"\n' for sort in ("errors", "connections", "passwords"))
    begin(node, patient.replace("[guard]\n", f"[guard]\n{unlimited}"))
    source = "127.0.0.21"

    def goes_on() -> bool:
        guesses(node, source)
        assert asked(node, source, "/acme/film/") == 200
        return any(each.events >= 3 for each in listed(node))

    until(goes_on)
    assert node.stop() == 0
    found = doings(node)
    assert found >= {"would be limited for 1 s", "would be banned for 1 s"}
    assert all(each.startswith("would be ") for each in found)
    assert [(each.kind, each.dry_run) for each in listed(node)] == [(Kind.PASSWORDS, True)]
    assert node.events("incident-opened")[0]["dry_run"] is True


@pytest.mark.slow
def test_an_incident_closes_by_itself_and_off_is_off(node: Node) -> None:
    begin(node, ATTACKED.replace("[incidents]", "[incidents]\nquiet_seconds = 1"))
    probes(node, "127.0.0.24")
    until(lambda: node.events("incident-closed"))
    (closed,) = node.events("incident-closed")
    assert (closed["kind"], closed["sources"]) == ("probing", 1)
    with recorded(node) as store:
        (incident,) = store.listed()
        assert incident.closed_at is not None
    node.settings("workers = 2\n", ATTACKED.replace("[incidents]", '[incidents]\nmode = "off"'))
    node.signal(signal.SIGHUP)
    node.hear("READY=1")
    probes(node, "127.0.0.24")
    probes(node, "127.0.0.25")
    # Whatever was seen is judged by then: the next second's look is told by the writer's commits.
    node.settings("workers = 2\n", ATTACKED)
    node.signal(signal.SIGHUP)
    node.hear("READY=1")
    probes(node, "127.0.0.27")
    until(lambda: len(node.events("incident-opened")) == 2)
    until(lambda: all(each.events for each in listed(node)))
    assert "127.0.0.25" not in set().union(*sources(node).values())


@pytest.mark.slow
def test_whom_the_settings_name_attacks_nobody(node: Node) -> None:
    begin(node, ATTACKED.replace("exempt = []", 'exempt = ["127.0.0.24"]'))
    probes(node, "127.0.0.24")
    probes(node, "127.0.0.27")
    until(lambda: kinds(node))
    assert sources(node) == {Kind.PROBING: {"127.0.0.27"}}


@pytest.mark.slow
@pytest.mark.needs("openssl")
def test_the_operators_webhook_is_told_without_an_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    # Many who take such calls have nothing to say (RFC 9110 15.3.5).
    site = Site(b"HTTP/1.1 204 No Content\r\n\r\n", authority.site("DNS:login.example"))
    tls = authority.trusted()
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    board, table = Board(Board.create(1)), _core.Gcra.create(1 << 20)

    def client(settings: Outgoing) -> Client:
        return Client(settings, tls=tls, resolve=Names(["127.0.0.1"]))

    async def main() -> None:
        async with running(site) as nursery:
            settings = Settings(
                incidents=Incidents(webhook=site.url, quiet_seconds=60),
                outgoing=Outgoing(allow=LOOPBACK, ports=(site.port,)),
            )
            kept_, clock = kept(stores), trio.current_time
            incidents = Noticed(settings, kept_, board, table, bytes(32), [], clock, client)
            listener = listen("signs")
            await nursery.start(incidents.run, socket.socket(fileno=os.dup(listener)))
            signs = Signs(clock)
            nursery.start_soon(signing.tell, signs, listener)
            signs.note(HALL, Sign.PROBES, 700)
            while len(site.requests) < 3:
                await trio.sleep(1)

    run(main, jumping())
    bodies = [json.loads(each.body) for each in site.requests]
    assert [each["event"] for each in bodies] == [
        *("incident-opened", "attackers-stopped", "incident-closed"),
    ]
    assert {each["incident"]["kind"] for each in bodies} == {"probing"}
    assert (bodies[1]["limited"], bodies[1]["banned"]) == (1, 0)
    # As many as are known of when it is told, be they stored or not.
    assert [each["incident"]["events"] for each in bodies] == [1, 1, 1]
    assert [each["incident"]["sources"] for each in bodies] == [1, 1, 1]
    assert {each["node"] for each in bodies} == {socket.gethostname()}
    begun, _, over = (datetime.fromisoformat(each["at"]).timestamp() for each in bodies)
    assert over - begun >= 60
    opened_at, gone_at = (bodies[0]["incident"][name] for name in ("opened_at", "kept_until"))
    days = datetime.fromisoformat(gone_at) - datetime.fromisoformat(opened_at)
    assert days.days == 7 and bodies[0]["at"] >= opened_at
    # What of it is described, and nothing else.
    shown = (Path(server.__file__).parent / "pystream.example.toml").read_text()
    shown = shown.partition("# A URL that is told of incidents")[2].partition("webhook =")[0]
    words = set(re.findall(r"[a-z_]+", shown))
    for each in bodies:
        assert each.keys() | each["incident"].keys() <= words
        assert each["event"] in shown
    assert all(HALL.encode() not in each.body for each in site.requests)
    assert site.requests[0].headers["content-type"] == "application/json"
    stores.close()


STOPPED = "attackers-stopped"


@pytest.mark.slow
def test_where_nothing_can_be_kept_attackers_are_stopped_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    with stores.store.database.writing() as connection:
        connection.execute(sql("DROP TABLE incident"))
    board, table = Board(Board.create(1)), _core.Gcra.create(1 << 20)

    async def main() -> None:
        settings = Settings()
        noticed = Noticed(settings, kept(stores), board, table, bytes(32), [])
        finding = Finding(Kind.PROBING, "too many", Scope.SOURCE, [HALL], {HALL: {"probes": 9}})
        for _ in range(2):
            await noticed.take(finding)

    run(main)
    assert (board.attacks().limited, board.bans()) == (1, 1)
    assert "incidents-not-kept" in caplog.text
    (said,) = (vars(each)["fields"] for each in caplog.records if each.getMessage() == STOPPED)
    assert said == {"id": None, "kind": "probing", "limited": 1, "banned": 0}
    stores.close()


def test_what_is_found_once_an_incident_was_closed_is_another_ones(tmp_path: Path) -> None:
    stores = Stores(tmp_path, f"sqlite:///{tmp_path}/store.db")
    board, table = Board(Board.create(1)), _core.Gcra.create(1 << 20)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            kept_, clock = kept(stores), trio.current_time
            noticed = Noticed(Settings(), kept_, board, table, bytes(32), [], clock)
            listener = listen("signs")
            await nursery.start(noticed.run, socket.socket(fileno=os.dup(listener)))
            signs = Signs(clock)
            nursery.start_soon(signing.tell, signs, listener)
            signs.note(SOURCE, Sign.PROBES, 700)
            while not (there := kept_.listed()) or not there[0].events:
                await trio.sleep(1)
            kept_.close(there[0].id, now=int(clock()))
            # Before anything is stored again.
            signs.note(HALL, Sign.PROBES, 700)
            await trio.sleep(2 * FLUSH_SECONDS)
            nursery.cancel_scope.cancel()

    run(main, jumping())
    found = kept(stores)
    assert [
        [event.source for event in found.events(each.id, who="eva", now=0)]
        for each in found.listed()
    ] == [[HALL], [SOURCE]]
    stores.close()


# The operator's page


def hours() -> Timeline:
    """Two hours and more, with a flood in the midst of them."""
    timeline, requests, refused, bans = Timeline(), 0, 0, 0
    for second in range(9000):
        attacked = 6000 <= second < 6600
        requests += 400 if attacked else 40
        refused += 300 * attacked
        bans += attacked and second % 60 == 0
        kinds_open = frozenset({"flood"}) if attacked else frozenset()
        timeline.add(NOW + second, Counts(requests, refused, 7, bans, 3, 120, kinds_open))
    return timeline


def test_the_page_has_two_hours_of_load_refusals_bans_and_incidents(stores: Stores) -> None:
    incident = attacked(stores)
    held = kept(stores)
    held.ask_to_hold(incident.id, NOW + 99, "case", who="eva", now=NOW)
    held.confirm(incident.id, who="maria", now=NOW)
    # The hold is over; they are there for their days.
    page = hours().page(held.listed(), 7, NOW + 9000)
    assert "1 incident is open: passwords" in page
    assert f">sealed until {moment(NOW + 7 * DAY_S)}<" in page
    assert f">held until {moment(NOW + 99)}<" in hours().page(held.listed(), 0, NOW + 98)
    retention(stores).shred_incidents(NOW + 8 * DAY_S)
    page = hours().page(held.listed(), 7, NOW + 9000)
    assert f">destroyed {moment(NOW + 8 * DAY_S)}<" in page
    incident = opened(stores)
    page = hours().page(held.listed(), 7, NOW + 9000)
    charts = page.split("<section")
    (load,) = [each for each in charts if "Requests a second" in each]
    points = re.findall(r"([\d.]+),([\d.]+)", load.partition("polyline")[2])
    assert len(points) == 719 and 0 <= float(points[0][0]) < 2 and points[-1][0] == "719.0"
    # Forty of at most five hundred.
    heights = Counter(float(y) for _, y in points)
    assert heights[20.0] == 59 and heights[92.0] == 719 - 59 - 2
    (bands,) = [each for each in charts if "<h2>Incidents" in each]
    ((x, width),) = re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', bands)
    # Ten minutes, forty minutes ago.
    assert abs(float(width) - 60) < 2 and abs(float(x) + float(width) - 480) < 2
    assert SOURCE not in page and OTHER not in page
    calm = Timeline().page((), 7, NOW)
    assert "No incident is open" in calm and "None so far." in calm


def test_the_page_may_do_nothing_but_show_itself() -> None:
    page, policy = Timeline().page((), 7, NOW), headers()["Content-Security-Policy"]
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    assert "<script" not in page and "style=" not in page and "http://" not in page


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(node: Node, chromium: Chromium, width: int, scheme: str) -> None:
    admin = free_port()
    begin(node, ATTACKED, PYSTREAM_SERVER_ADMIN=f"127.0.0.1:{admin}")
    probes(node, "127.0.0.24")
    until(lambda: kinds(node))
    page = chromium.page(colorScheme=scheme, viewport={"width": width, "height": 900})
    page.goto(f"http://127.0.0.1:{admin}/guard")
    page.run("await page.waitForSelector('.attacked', { timeout: values.ms })", ms=PATIENCE * 1000)
    assert page.js("document.documentElement.scrollWidth") <= width
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark is (scheme == "dark")
    text = page.js("document.body.innerText")
    assert "1 incident is open: probing" in text and "127.0.0" not in text
    assert page.seen("errors") == page.seen("refused") == []
    page.close()


# In namespaces

TOOLS = ("unshare", "nsenter", "setpriv", "ip", "nft")


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    with lab() as made:
        yield made


# Asks until it is not answered any more, from an address of its own.
ASKS = f"""
import http.client
from contextlib import suppress
try:
    for _ in range(99):
        one = http.client.HTTPConnection("{NODE[4]}", {PORT}, 9, source_address=("198.19.0.77", 0))
        one.request("GET", "/")
        one.getresponse().read()
        one.close()
except OSError:
    print("true")
"""
LADDER = """others = "3 at once, 1 a minute"
slowed = "2 at once, 1 a minute"
refused = "2 at once, 1 a minute"
ban_seconds = 30
"""


@pytest.mark.slow
@pytest.mark.xdist_group("floods")
@pytest.mark.needs(*TOOLS)
def test_a_ban_is_the_kernels_as_well_for_as_long(machine: Lab, tmp_path: Path) -> None:
    with guarding(machine, tmp_path) as guard, serving(machine, tmp_path, LADDER) as node:
        until(lambda: node.metric("syns_are_limited") == 1)
        assert machine.python(machine.field, ASKS) is True
        until(lambda: set(guard.elements("ban4")) == {"198.19.0.77"})
        assert guard.elements("ban4")["198.19.0.77"]["timeout"] == 30
        assert node.come(4, 2) == 2
        until(lambda: kinds(node))
        assert sources(node) == {Kind.FLOOD: {"198.19.0.77"}}
        # It ends there when it ends here.
        until(lambda: not guard.elements("ban4"))
        until(lambda: guard.stats()["bans"] == 0)
        # Or when nobody is to be refused any more.
        guard.ask(ban("198.19.0.78", 86_400))
        node.configure(LADDER + 'http = "dry-run"\n')
        node.signal(signal.SIGHUP)
        until(lambda: not guard.elements("ban4"))
        assert guard.stats()["bans"] == 0
        assert "198.19" not in node.said() + guard.log.read_text()


@pytest.mark.slow
@pytest.mark.xdist_group("floods")
@pytest.mark.needs(*TOOLS)
def test_a_flood_of_syns_is_recorded_as_not_authenticated_and_bans_nobody(tmp_path: Path) -> None:
    with lab() as machine, guarding(machine, tmp_path) as guard, serving(machine, tmp_path) as node:
        until(lambda: node.metric("syns_are_limited") == 1)
        assert node.attacked("sixteen")[0] == 84
        until(lambda: kinds(node))
        found = sources(node)
        assert set(found) == {Kind.SYN}
        assert found[Kind.SYN] <= {f"198.18.64.{n}" for n in range(1, 17)}
        assert guard.stats()["bans"] == node.metric("bans_total") == 0
        assert node.metric('incidents_open{kind="syn"}') == 1
        with recorded(node) as store:
            (incident,) = store.listed()
            events = store.events(incident.id, who="eva", now=NOW)
            data = package(store.contents(incident.id, who="eva", now=NOW), SIGNER)
        assert not any(each.authenticated for each in events)
        assert ",yes," not in files_of(data)["events.csv"].decode()
        assert "198.18.64" not in node.said()


# By the command line


def recorded_here(here: Path) -> int:
    """The number of an incident of now, in the stores of a folder."""
    settings = load(str(here / "pystream.toml"), {})
    ensure_keys(settings.keys, {}, 0)
    with (
        Store.open(settings.store.url) as store,
        open_key_store(settings.keys, {}) as keys,
    ):
        store.claim(root_name(keys.root()))
        incidents, now = IncidentStore(store.database, keys), int(time.time())
        made = incidents.open(Kind.PASSWORDS, "too many", Scope.SOURCE, dry_run=False, now=now)
        incidents.add(made.id, [event(begun=now), event(OTHER, now)], sources=2, now=now)
    return made.id


@pytest.mark.slow
def test_help_tells_all_and_fits_a_terminal() -> None:
    for page in ("", "list", "show", "export", "hold", "close", "key", "verify"):
        words = ["incident", page] if page else ["incident"]
        text = done(*words, "--help", env=os.environ | {"COLUMNS": "200"})
        assert text.startswith(f"usage: pystream {' '.join(words)} ")
        assert "exit codes:" in text
        assert max(map(len, text.splitlines())) <= 80, page


@pytest.mark.slow
def test_an_incident_by_the_command_line(here: Path) -> None:
    id = str(recorded_here(here))
    (listed,) = cli("incident", "list", "--open")["incidents"]
    assert (listed["id"], listed["kind"], listed["sources"]) == (int(id), "passwords", 2)
    assert SOURCE not in done("incident", "list") + done("incident", "show", id)
    shown = done("incident", "show", id, "--sources", "--by", "eva")
    assert SOURCE in shown and "guesses 7" in shown
    found = cli("incident", "show", id, "--sources", "--by", "eva")
    assert {each["source"] for each in found["by_source"]} == {SOURCE, OTHER}
    assert done("incident", "close", id, "--by", "eva") == f"incident {id} is closed\n"
    assert cli("incident", "list", "--open") == {"incidents": []}
    # Held by two.
    hold = ("incident", "hold", id)
    refused(2, *hold, "--confirm", "--by", "maria")
    refused(2, *hold, "--until", "2999-01-01")
    refused(2, *hold, "--until", "2001-01-01", "--reason", "x")
    assert "366 days" in refused(2, *hold, "--until", "2999-01-01", "--reason", "x")
    today = datetime.now(UTC)
    goes = f"{datetime.fromisoformat(listed['opened_at']) + timedelta(7):%Y-%m-%dT%H:%M:%SZ}"
    assert listed["kept_until"] == goes and f"until {goes}\n" in done("incident", "list")
    assert f"kept until    {goes}\n" in done("incident", "show", id)
    last, until = today + timedelta(300), f"{today + timedelta(301):%Y-%m-%dT00:00:00Z}"
    day = f"{last:%Y-%m-%d}"
    done(*hold, "--until", day, "--reason", "Az. 12 Js 345/31", "--by", "eva")
    assert "another person" in refused(2, *hold, "--confirm", "--by", "eva")
    assert cli(*hold, "--confirm", "--by", "maria")["hold"] == {
        "until": until,
        "reason": "Az. 12 Js 345/31",
        "by": "eva",
        "confirmed_by": "maria",
    }
    assert f"until {until}; held until {until} by eva and maria\n" in done("incident", "list")
    assert cli("incident", "show", id)["kept_until"] == until
    # Exported, and verified elsewhere.
    (here / "key.vkey").write_text(done("incident", "key"))
    made = cli("incident", "export", id, "-o", "out.zip", "--by", "eva")
    assert made["sha256"] == sha256((here / "out.zip").read_bytes()).hexdigest()
    assert (here / "out.zip").stat().st_mode & 0o777 == 0o600
    refused(1, "incident", "export", id, "-o", "out.zip")
    verified = cli("incident", "verify", "out.zip", "--public-key", "key.vkey")
    assert (verified["ok"], verified["events"], verified["kind"]) == (True, 2, "passwords")
    actions = [each["action"] for each in cli("incident", "show", id)["custody"]]
    assert actions == [
        *("opened", "shown", "shown", "closed", "hold asked for", "hold confirmed", "exported"),
    ]
    (here / "other.vkey").write_text(f"{SIGNER.verifier}\n")
    assert "none of these keys" in refused(
        1, "incident", "verify", "out.zip", "--public-key", "other.vkey"
    )
    for wanted in ("key.pem", "out.zip"):
        (here / "key.pem").write_text(done("incident", "key", "--pem"))
        said = refused(1, "incident", "verify", "out.zip", "--public-key", wanted)
        assert f"{wanted}: " in said and "`pystream incident key` prints without --pem" in said
    refused(2, *hold, "--release", "--by", "eva")
    refused(2, *hold, "--confirm", "--reason", "x", "--by", "eva")
    said = done(*hold, "--release", "--reason", "closed", "--by", "eva")
    assert "eva asks to end that: not confirmed yet" in said
    assert done(*hold, "--withdraw", "--by", "eva").endswith(" by eva and maria\n")
    done(*hold, "--release", "--reason", "closed", "--by", "maria")
    assert done(*hold, "--confirm", "--by", "eva") == f"incident {id}: not held\n"
    assert "no incident 99" in refused(1, "incident", "show", "99")
