"""Attacks: what is noticed and what is not, what is kept of it for how long, and who may have it in hand."""

from __future__ import annotations

import io
import json
import random
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql
from sqlalchemy import update

from pystream.acl.evidence import KEY_NAME, package, pem, verify
from pystream.acl.incidents import LONGEST_S, Event, Incident, Kind, Scope
from pystream.acl.keys import Keyring
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import Store, key_backups, tables
from pystream.acl.store import incidents as storing
from pystream.acl.store.incidents import NODE, IncidentStore
from pystream.acl.store.retaining import Retention
from pystream.attendance.notes import SigningKey
from pystream.errors import (
    InvalidValue,
    MalformedDocument,
    NotFound,
    NotProven,
    StoreError,
)
from pystream.server.guard import signs as signing
from pystream.server.guard.detector import SIGNS, Detector, Finding
from pystream.server.guard.signs import Sign, Signs
from pystream.server.settings import Incidents, Network
from tests.oracles import traces
from tests.oracles.traces import Secret, in_files
from tests.test_viewers import NOW, Stores, raw, restore

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
    assert retention(stores).plan(late)["incidents"] == {NODE: 1}  # type: ignore[index]
    assert retention(stores).shred_incidents(late) == 1
    with pytest.raises(NotFound, match="shredded"):
        store.events(incident.id, who="eva", now=late)
    with pytest.raises(NotFound, match="shredded"):
        store.contents(incident.id, who="eva", now=late)
    found = store.incident(incident.id)
    assert (found.shredded_at, found.closed_at, found.events) == (late, late, 3)
    assert [each.action for each in store.custody(incident.id)] == ["opened", "shown", "shredded"]
    assert stores.keys.held(NODE)[1] == 0
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
        store.confirm_hold(incident.id, who="eva", now=NOW)
    asked = store.ask_to_hold(incident.id, until, "Az. 12 Js 345/31", who="eva", now=NOW)
    assert asked.hold is not None and not asked.hold.holds(NOW)
    assert store.old(late, late) == [incident.id]
    with pytest.raises(InvalidValue, match="another person"):
        store.confirm_hold(incident.id, who="eva", now=NOW)
    held = store.confirm_hold(incident.id, who="maria", now=NOW + 1)
    assert held.hold is not None and held.hold.holds(NOW + 2)
    assert retention(stores).shred_incidents(late) == 0
    assert len(store.events(incident.id, who="eva", now=late)) == 3
    # Another end wants both again.
    store.ask_to_hold(incident.id, until + 1, "longer", who="maria", now=NOW + 2)
    assert store.old(late, late) == [incident.id]
    store.confirm_hold(incident.id, who="eva", now=NOW + 3)
    assert store.old(until + 1, until) == [] and store.old(until + 2, until + 1) == [incident.id]
    store.release(incident.id, who="eva", now=NOW + 4)
    assert retention(stores).shred_incidents(late) == 1
    told = [(each.who, each.action) for each in store.custody(incident.id)]
    assert told == [
        *(("pystream", "opened"), ("eva", "hold asked for"), ("maria", "hold confirmed")),
        *(("eva", "shown"), ("maria", "hold asked for"), ("eva", "hold confirmed")),
        *(("eva", "hold ended"), ("pystream", "shredded")),
    ]


@pytest.mark.parametrize(
    ("until", "reason"), [(NOW, "x"), (NOW + 9, " "), (NOW + 9, "a\nb"), (NOW + 9, "x" * 501)]
)
def test_a_hold_has_a_reason_and_an_end(stores: Stores, until: int, reason: str) -> None:
    incident = attacked(stores)
    with pytest.raises(InvalidValue):
        kept(stores).ask_to_hold(incident.id, until, reason, who="eva", now=NOW)
    with pytest.raises(InvalidValue):
        kept(stores).release(incident.id, who="eva", now=NOW)


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
    from hashlib import sha256

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
    # As much as may be, and what leaks out in a minute.
    most = budget.at_once + int(60 * budget.a_second)
    for _ in range(60):
        watching.second({HALL: told(**{word: most // 60}), OTHER: told(**{word: 1})})
    assert watching.found == {}
    found = watching.second({HALL: told(**{word: budget.at_once}), OTHER: told(**{word: 1})})
    (finding,) = found
    assert (finding.kind, finding.scope, finding.offenders) == (kind, Scope.SOURCE, [HALL])
    assert finding.counts == {HALL: {word: budget.at_once}}
    # It takes part from now on, whatever it does; who does something else does not.
    assert watching.second({HALL: told(requests=5, right=1), OTHER: told(right=1)})[0].counts == {
        HALL: {"requests": 5, "right": 1}
    }
    # Until it is over.
    watching.detector.over(kind)
    assert watching.second({HALL: told(right=1)}) == []


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
    """A botnet tries 40 passwords each from 200 addresses; a viewer types four wrong ones."""
    watching = Watching()
    for _ in range(40):
        bots = {f"203.0.113.{n}": told(guesses=1) for n in range(200)}
        watching.second(bots | {HALL: told(guesses=1) if watching.clock.now < 1004 else told()})
    finding = watching.found[Kind.PASSWORDS]
    assert finding.scope is Scope.NODE and HALL not in finding.counts
    assert len(finding.counts) == 200
    assert finding.rule.startswith("wrong passwords") and finding.rule.endswith("times 5")


def test_what_is_usual_is_learned_and_is_no_attack() -> None:
    """A site whose viewers ask for much that is not there: ten a second by 200 viewers, for a day."""
    unused, watching = Watching(), Watching()
    crowd = {f"203.0.113.{n}": told(probes=1) for n in range(200)}
    for minute in range(24 * 60):
        watching.clock.now = 1000.0 + 60 * minute
        # Within what may be, until it is learned.
        few = {place: told(probes=1) for place in list(crowd)[: 10 + minute // 8]}
        watching.second(few)
    assert watching.found == {}
    for other in (watching, unused):
        for _ in range(17):
            other.second(crowd)
    assert unused.found[Kind.PROBING].scope is Scope.NODE
    assert watching.found == {}


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


def test_a_hall_that_was_told_a_wrong_password_is_no_attack() -> None:
    """All of 300 type it, and half of them once more."""
    watching = Watching()
    for second in range(60):
        watching.second({HALL: told(guesses=8 if second % 7 else 6)})
    assert watching.found == {}
    # What nobody types is one.
    watching.seconds(60, {HALL: told(guesses=20)})
    assert set(watching.found) == {Kind.PASSWORDS}


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
