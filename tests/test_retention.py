"""What is old goes, and nothing else; what stays of it is a proof. On real stores of both kinds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, update

from pystream.acl import proofs
from pystream.acl.passwords import generate
from pystream.acl.proofs import Names, Proof, broken_at, certificate, wrong_with
from pystream.acl.retention import (
    DAY_S,
    LEAST_PASSWORD_DAYS,
    OF_THE_CONTRACT,
    DataClass,
    Rules,
    problems,
)
from pystream.acl.sealing import MasterKeys
from pystream.acl.store import Store, key_backups, tables
from pystream.acl.store.answers import KeptAnswer
from pystream.acl.store.erasures import ErasureList
from pystream.acl.store.keystore import KeyStore, Traces
from pystream.acl.store.retaining import EVERY_S, ProofLog, Retention
from pystream.acl.traffic import Kind, Metered, hours_of
from pystream.acl.viewers import End, Refusal, Session
from pystream.errors import StoreError
from tests.databases import with_tables
from tests.test_viewers import MASTER, NOW, Stores, restore, stores, url
from tests.waiting import pause

__all__ = ["stores", "url"]

KEY = bytes(32)


def engine(stores: Stores, backups: str = "", **days: int) -> Retention:
    return Retention(stores.store.database, stores.keys, Rules(**days), backups)


def total(found: Any) -> dict[str, int]:
    """Counts above 0, by class."""
    return {str(data): n for data, counts in found.items() if (n := Counter(counts).total())}


def deleted(proof: Proof) -> dict[str, int]:
    return {data: n for data, n in proof.document["counts"].items() if n}


def session(stores: Stores, number: int, **more: Any) -> Session:
    given: dict[str, Any] = {
        "id": number.to_bytes(16),
        "tenant_id": stores.acme,
        "stream_id": stores.ids["acme/film"],
        "password_id": None,
        "opened_at": NOW,
        "expires": NOW + 100,
        "idle_s": None,
    }
    return Session(**{**given, **more})


# Rules


def test_every_class_has_days_or_is_kept_for_the_contract() -> None:
    rules = Rules()
    assert {data for data in DataClass if rules.days(data) is None} == OF_THE_CONTRACT
    for data in set(DataClass) - OF_THE_CONTRACT:
        assert rules.old_before(data, NOW) == NOW - (rules.days(data) or 0) * DAY_S
    for data in OF_THE_CONTRACT:
        with pytest.raises(ValueError, match=str(data)):
            rules.old_before(data, NOW)
    assert list(problems(rules)) == []


def test_rules_that_would_do_harm_are_told() -> None:
    """A session must not outlive its password's row, nor a backup its entry of the erasure list."""
    assert LEAST_PASSWORD_DAYS == 8
    short = Rules(revoked_passwords=7, expired_passwords=7)
    assert [data for data, _ in problems(short)] == ["expired_passwords", "revoked_passwords"]
    assert [data for data, _ in problems(Rules(erasures=30, key_backups=30))] == ["erasures"]


# What is old


def test_a_row_goes_when_it_is_old_and_not_before(stores: Stores) -> None:
    viewers, film = stores.store.viewers, stores.ids["acme/film"]
    viewers.keep([session(stores, 1), session(stores, 2, expires=NOW + 200)], {}, NOW)
    viewers.keep([session(stores, 3, expires=NOW + 9999)], {(3).to_bytes(16): End.CLOSED}, NOW + 50)
    viewers.end_sessions(stores.acme, film, who="eva", now=NOW)
    month = 30 * DAY_S
    for now, wanted in (
        (NOW + 8 * DAY_S, {}),
        (NOW + 8 * DAY_S + 1, {"endings": 1}),
        (NOW + month + 50, {}),
        # The one that was ended is counted from then.
        (NOW + month + 51, {"sessions": 1}),
        (NOW + month + 100, {}),
        (NOW + month + 101, {"sessions": 1}),
        (NOW + month + 201, {"sessions": 1}),
        (NOW + 1096 * DAY_S, {}),
        (NOW + 1096 * DAY_S + 1, {"audit": 7}),
    ):
        retention = engine(stores)
        assert total(retention.plan(now)) == wanted, now - NOW
        # To plan is to change nothing.
        assert total(retention.plan(now)) == wanted
        proof = retention.run(now)
        assert deleted(proof) == wanted
        assert total(retention.plan(now)) == {}
    assert viewers.endings(0) == () and viewers.sessions(NOW) == ()


def test_counts_are_told_by_tenant(stores: Stores) -> None:
    for name in ("acme", "other"):
        tenant, film = stores.store.tenant(name).id, stores.ids[f"{name}/film"]
        stores.store.viewers.end_sessions(tenant, film, who="eva", now=NOW)
    stores.store.viewers.end_sessions(stores.acme, stores.ids["acme/course"], who="e", now=NOW)
    document = engine(stores).run(NOW + 9 * DAY_S).document
    assert document["tenants"] == {
        str(stores.acme): {"endings": 2},
        str(stores.other): {"endings": 1},
    }
    assert document["days"]["endings"] == 8


def test_passwords_lose_their_keys_and_then_their_rows(stores: Stores) -> None:
    viewers = stores.store.viewers
    texts = [generate() for _ in range(4)]
    revoked, expired, kept = (
        stores.add(texts[0])[0],
        stores.add(texts[1], valid_until=NOW)[0],
        stores.add(texts[2], valid_until=NOW + 1000 * DAY_S)[0],
    )
    (foreign,) = stores.add(texts[3], stream="other/film")
    viewers.keep([session(stores, 1, password_id=expired, expires=NOW + 400 * DAY_S)], {}, NOW)
    viewers.revoke(stores.acme, [revoked], who="eva", now=NOW)
    references = viewers.references(stores.acme, [revoked, expired, kept])
    assert total(engine(stores).plan(NOW + 90 * DAY_S)) == {"endings": 1}
    assert deleted(engine(stores).run(NOW + 90 * DAY_S + 1)) == {
        "revoked_passwords": 1,
        "endings": 1,
    }
    assert deleted(engine(stores).run(NOW + 365 * DAY_S + 1)) == {
        "expired_passwords": 1,
        "sessions": 1,
    }
    assert len(references) == 3 and len(stores.keys.record_keys(stores.acme, references)) == 1
    assert [each.password.id for each in stores.issuer.listed(stores.acme)] == [kept]
    assert [each.text for each in stores.issuer.listed(stores.acme)] == [texts[2]]
    assert [each.password.id for each in stores.issuer.listed(stores.other)] == [foreign]
    assert stores.keys.status().erasures == 2


def test_a_named_viewer_goes_with_the_last_session(stores: Stores) -> None:
    """Viewers of links and tokens have no end of their own; a dry run says the same."""
    viewers, days = stores.store.viewers, 10
    named = stores.issuer.named(stores.acme, ["never", "once", "often", "here", "out"], NOW)
    foreign = stores.issuer.named(stores.other, ["once"], NOW)["once"]
    for number, (name, expires) in enumerate(
        (
            *(("once", NOW + 100), ("often", NOW + 100), ("often", NOW + 5 * DAY_S)),
            ("here", NOW + 30 * DAY_S),
        )
    ):
        each = session(stores, number, password_id=named[name].id, expires=expires)
        viewers.keep([each], {}, NOW)
    # Counted from when it ended, where that was before its hard end.
    viewers.keep([], {(2).to_bytes(16): End.CLOSED}, NOW + 3 * DAY_S)
    viewers.revoke(stores.acme, [named["out"].id], who="eva", now=NOW)
    references = {
        name: viewers.references(stores.acme, [each.id])[0] for name, each in named.items()
    }
    over = NOW + days * DAY_S
    for now, gone, counts in (
        (over, [], {}),
        # The other tenant's goes, too.
        (over + 1, ["never"], {"named_viewers": 2}),
        (over + 101, ["once"], {"named_viewers": 1, "sessions": 2}),
        (over + 3 * DAY_S, [], {}),
        (over + 3 * DAY_S + 1, ["often"], {"named_viewers": 1, "sessions": 1}),
    ):
        retention = engine(stores, sessions=days, revoked_passwords=100)
        planned = total(retention.plan(now))
        assert planned.pop("endings", 1) == 1 and planned == counts
        assert {**deleted(retention.run(now)), "endings": 1} == {**counts, "endings": 1}
        for name in gone:
            assert stores.keys.record_keys(stores.acme, [references[name]]) == {}
    left = {each.text for each in stores.issuer.listed(stores.acme, named=True)}
    assert left == {"here", "out"}
    assert foreign.id not in {e.password.id for e in stores.issuer.listed(stores.other, named=True)}
    # Who was sent away stays away for as long as that is kept.
    again = stores.issuer.named(stores.acme, ["once", "out"], NOW + 20 * DAY_S)
    assert again["once"].id != named["once"].id and again["once"].revoked_at is None
    assert again["out"].id == named["out"].id and again["out"].revoked_at == NOW


def test_a_named_viewer_who_comes_in_meanwhile_stays(stores: Stores) -> None:
    viewers, now = stores.store.viewers, NOW + 11 * DAY_S
    named = stores.issuer.named(stores.acme, ["back", "gone"], NOW)
    back, reads = named["back"], list[str]()

    def read(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("SELECT password.id, password.tenant_id, password.reference"):
            reads.append(statement)

    def come_in(_: Any) -> None:
        """Those who are old were read, which of three kinds of passwords is the last."""
        if len(reads) == 3:
            reads.clear()
            opened = session(stores, 1, password_id=back.id, opened_at=now, expires=now + 60)
            viewers.keep([opened], {}, now)

    database = stores.store.database.engine
    event.listen(database, "after_cursor_execute", read)
    event.listen(database, "commit", come_in)
    assert deleted(engine(stores, sessions=10).run(now)) == {"named_viewers": 1}
    event.remove(database, "commit", come_in)
    event.remove(database, "after_cursor_execute", read)
    assert stores.issuer.named(stores.acme, ["back"], now)["back"] == back
    (left,) = stores.issuer.listed(stores.acme, named=True)
    assert left.text == "back"


class Keys(KeyStore):
    """Somebody else does something while keys are destroyed."""

    meanwhile: Callable[[], object]

    def erase(self, *given: Any, **more: Any) -> Traces:
        self.meanwhile()
        return super().erase(*given, **more)


@pytest.fixture
def watched(stores: Stores) -> Iterator[Keys]:
    folder = stores.folder
    with Keys.open(
        str(folder / "keys.db"), lambda: MasterKeys((MASTER,)), str(folder / "erasures.txt")
    ) as keys:
        yield keys


def test_while_keys_are_destroyed_others_write(stores: Stores, watched: Keys, url: str) -> None:
    now, refused = NOW + 11 * DAY_S, list[Refusal]()
    old = [
        stores.issuer.named(tenant, ["4711"], NOW)["4711"] for tenant in (stores.acme, stores.other)
    ]
    with Store.open(url) as beside:

        def meanwhile() -> None:
            """Who comes in with what is about to go is sent away, as after it."""
            about = len(refused)
            opened = session(stores, about, password_id=old[about].id, expires=now + 60)
            refused.extend(beside.viewers.keep([opened], {}, now).values())
            beside.viewers.end_sessions(
                stores.acme, stores.ids["acme/film"], who="eva", now=now - about
            )

        watched.meanwhile = meanwhile
        retention = Retention(stores.store.database, watched, Rules(sessions=10))
        assert deleted(retention.run(now)) == {"named_viewers": 2}
    assert refused == [Refusal.REVOKED] * 2
    assert stores.store.viewers.sessions(now) == ()


def test_a_run_that_ends_while_keys_are_destroyed_goes_on_with_the_next(
    stores: Stores, watched: Keys
) -> None:
    now = NOW + 11 * DAY_S
    old = stores.issuer.named(stores.acme, ["4711"], NOW)["4711"]
    references = stores.store.viewers.references(stores.acme, [old.id])

    def meanwhile() -> None:
        raise StoreError("the disk is full")

    watched.meanwhile = meanwhile
    with pytest.raises(StoreError, match="the disk is full"):
        Retention(stores.store.database, watched, Rules(sessions=10)).run(now)
    # Nobody is kept out: it is somebody new.
    new = stores.issuer.named(stores.acme, ["4711"], now)["4711"]
    assert new.id != old.id and new.revoked_at is None
    assert deleted(engine(stores, sessions=10).run(now)) == {"revoked_passwords": 1}
    assert stores.keys.record_keys(stores.acme, references) == {}
    (left,) = stores.issuer.listed(stores.acme, named=True)
    assert left.password == new


def test_kept_answers_lose_their_keys_and_then_their_rows(stores: Stores) -> None:
    (key,) = stores.keys.add_record_keys(stores.acme, 1, NOW)
    kept = KeptAnswer(
        digest=bytes(32), reference=key.reference, fingerprint=b"", sealed=b"", expires=NOW + DAY_S
    )
    stores.store.viewers.answers.keep(stores.acme, kept, NOW)
    assert total(engine(stores).plan(NOW + DAY_S - 1)) == {}
    assert deleted(engine(stores).run(NOW + DAY_S)) == {"kept_answers": 1}
    assert stores.keys.record_keys(stores.acme, [key.reference]) == {}
    assert stores.store.viewers.answers.references(stores.acme) == ()


def test_what_was_erased_by_hand_long_ago_is_no_obstacle(stores: Stores) -> None:
    """Its entry of the erasure list may be gone before its row is."""
    (id,) = stores.add(generate())
    stores.issuer.erase(stores.acme, [id], who="eva", now=NOW)
    rules: dict[str, Any] = {"revoked_passwords": 600, "erasures": 400}
    assert deleted(engine(stores, **rules).run(NOW + 500 * DAY_S))["erasures"] == 1
    assert deleted(engine(stores, **rules).run(NOW + 601 * DAY_S)) == {"revoked_passwords": 1}


def test_months_are_summed_up_and_their_sums_stay(stores: Stores) -> None:
    store = stores.store
    store.set_tenant("acme", {"timezone": "Europe/Berlin"}, who="eva", now=NOW)
    film, course = stores.ids["acme/film"], stores.ids["acme/course"]
    months = ("2031-02", "2031-03", "2031-04")
    rows = [
        Metered(1000 * number + n, stream, hour, kind, n + 1, 10 * n, 1)
        for number, month in enumerate(months)
        for n, hour in enumerate(
            (*hours_of(month, "Europe/Berlin")[:5], hours_of(month, "Europe/Berlin")[-1])
        )
        for stream, kind in ((film, Kind.SEGMENT), (film, Kind.KEY), (course, Kind.SEGMENT))
        if not (n % 2 and stream == course)
    ]
    rows = [replace(row, incarnation=n + 1) for n, row in enumerate(rows)]
    store.add_traffic(rows, NOW)
    before = {month: store.traffic("acme", month) for month in months}
    now = hours_of("2031-03", "Europe/Berlin").stop * 3600 + 400 * DAY_S
    assert total(engine(stores).plan(now - 3600))["traffic_hours"] == 15
    assert total(engine(stores).plan(now))["traffic_hours"] == 30
    assert deleted(engine(stores).run(now))["traffic_hours"] == 30
    assert "traffic_hours" not in total(engine(stores).plan(now))
    for zone in ("Europe/Berlin", "UTC", "Pacific/Auckland", "America/Los_Angeles"):
        # One number lies in the middle, so it does not wander with the time zone.
        store.set_tenant("acme", {"timezone": zone}, who="eva", now=NOW)
        assert store.traffic("acme", months[0]) == before[months[0]]
    store.set_tenant("acme", {"timezone": "Europe/Berlin"}, who="eva", now=NOW)
    assert {month: store.traffic("acme", month) for month in months} == before
    # What is still counted for one of these hours is added, and summed up the next time.
    late = Metered(9999, film, hours_of("2031-02", "UTC")[7], Kind.KEY, 5, 50, 0)
    store.add_traffic([late], NOW)
    assert deleted(engine(stores).run(now))["traffic_hours"] == 1
    sums = {(each.stream, each.kind): each.requests for each in store.traffic("acme", "2031-02")}
    old = {(each.stream, each.kind): each.requests for each in before["2031-02"]}
    assert sums == old | {("film", Kind.KEY): old["film", Kind.KEY] + 5}
    for _ in range(2):
        gone = deleted(engine(stores, traffic=800).run(NOW + 900 * DAY_S)).get("traffic", 0)
        assert gone or store.traffic("acme", "2031-04") == ()


def test_a_removed_stream_goes_when_nothing_names_it(stores: Stores) -> None:
    store = stores.store
    store.remove_stream("acme", "film", who="eva", now=NOW)
    store.remove_stream("acme", "course", who="eva", now=NOW)
    store.add_traffic([Metered(1, stores.ids["acme/course"], NOW // 3600 + 1, 2, 1, 1, 0)], NOW)
    later = NOW + 1096 * DAY_S + 1
    assert total(engine(stores, audit=2000).plan(later)) == {"traffic_hours": 1}
    # Its changes go first, in the same run.
    assert deleted(engine(stores).run(later)) == {
        "audit": 8,
        "removed_streams": 1,
        "traffic_hours": 1,
    }
    assert [each.name for each in store.streams()] == ["course", "film"]


# The key store is in SQLite, whatever the store is in.
@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
def test_erasures_and_backups_go_and_no_other_file(stores: Stores, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    stores.add(*(generate() for _ in range(3)))
    ids = [each.password.id for each in stores.issuer.listed(stores.acme)]
    stores.issuer.erase(stores.acme, ids[:1], who="eva", now=NOW)
    stores.issuer.erase(stores.acme, ids[1:2], who="eva", now=NOW + DAY_S)
    for day in range(3):
        key_backups.backup(stores.keys, f"{tmp_path}/vault", NOW + day * DAY_S)
    (tmp_path / "vault" / "notes.txt").touch()
    days = {"revoked_passwords": 999, "key_backups": 10, "erasures": 20}
    retention = engine(stores, f"{tmp_path}/vault", **days)
    assert total(retention.plan(NOW + 11 * DAY_S)) == {"key_backups": 2, "endings": 2}
    assert deleted(retention.run(NOW + 11 * DAY_S))["key_backups"] == 2
    assert len(list((tmp_path / "vault").glob("keys-*"))) == 2
    assert (tmp_path / "vault" / "notes.txt").exists()
    assert deleted(retention.run(NOW + 21 * DAY_S)) == {"key_backups": 1, "erasures": 1}
    assert stores.keys.status().erasures == 1
    listed = ErasureList(str(tmp_path / "erasures.txt")).read()
    assert list(listed.values()) == [(NOW + DAY_S) // DAY_S]
    assert "key_backups" not in engine(stores).run(NOW).document["counts"]


def test_a_missing_folder_of_backups_keeps_nothing_else(stores: Stores, tmp_path: Path) -> None:
    folder = f"{tmp_path}/no such"
    retention, later = engine(stores, folder), NOW + 400 * DAY_S
    stores.add(generate())
    (shown,) = stores.issuer.listed(stores.acme)
    stores.store.viewers.revoke(stores.acme, [shown.password.id], who="eva", now=NOW)
    said = rf"^retention\.key_backups_folder: {folder}: there is no such.* mkdir -m 700 '{folder}'"
    with pytest.raises(StoreError, match=said):
        retention.plan(later)
    with pytest.raises(StoreError, match=f"{said}; all else that is old is deleted"):
        retention.run(later)
    assert not list(stores.issuer.listed(stores.acme)) and not retention.is_due(later)
    (proof,) = ProofLog(stores.store.database).all()
    assert (
        deleted(proof)["revoked_passwords"] == 1 and "key_backups" not in proof.document["counts"]
    )


def test_whoever_adds_an_erasure_while_old_ones_go_loses_none(tmp_path: Path) -> None:
    """One has the old file open, and waits for it, when the new one takes its place."""
    import fcntl
    import os
    import threading

    path = str(tmp_path / "erasures.txt")
    listed = ErasureList(path)
    listed.add({bytes(16): 10, b"n" * 16: 20})
    with open(path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        adding = threading.Thread(target=listed.add, args=({b"x" * 16: 30},))
        adding.start()
        while "FLOCK" not in Path("/proc/locks").read_text().split("->", 1)[-1]:
            pause()
        Path(f"{path}.new").write_bytes(Path(path).read_bytes())
        os.chmod(f"{path}.new", 0o600)
        os.rename(f"{path}.new", path)
    adding.join()
    assert set(listed.read()) == {bytes(16), b"n" * 16, b"x" * 16}
    listed.forget(20)
    assert listed.read() == {b"n" * 16: 20, b"x" * 16: 30}
    assert os.stat(path).st_mode & 0o777 == 0o600
    listed.forget(20)
    assert [each.name for each in tmp_path.iterdir()] == ["erasures.txt"]


def test_what_was_deleted_is_in_no_file(tmp_path: Path) -> None:
    stores = Stores(tmp_path, with_tables(f"sqlite:///{tmp_path}/store.db"))
    mark = b"a very old visit"
    viewers = stores.store.viewers
    viewers.keep([session(stores, 0, id=mark, tenant_id=stores.acme)], {}, NOW)

    def held() -> bool:
        return any(mark in each.read_bytes() for each in tmp_path.iterdir() if each.is_file())

    assert held()
    engine(stores).run(NOW + 60 * DAY_S)
    assert not held()
    stores.close()


# The log


def test_runs_are_proven_one_after_the_other(stores: Stores) -> None:
    log = ProofLog(stores.store.database)
    assert log.all() == () and engine(stores).is_due(NOW)
    made = [engine(stores).run(NOW + n * EVERY_S) for n in range(3)]
    assert log.all() == tuple(made)
    assert [each.document["previous"] for each in made] == [None, *(e.digest for e in made[:2])]
    assert broken_at(log.all()) is None
    assert not engine(stores).is_due(NOW + 3 * EVERY_S - 1)
    assert engine(stores).is_due(NOW + 3 * EVERY_S)
    assert engine(stores).is_due(NOW), "a clock that was wrong keeps it from no run"
    # Proofs are old one day, too; those that are left still hang together.
    last = engine(stores, proofs=10).run(NOW + 11 * DAY_S + 1)
    assert deleted(last) == {"proofs": 2}
    assert broken_at(log.all()) is None and len(log.all()) == 2


def test_a_clock_that_was_ahead_costs_one_run_more(stores: Stores) -> None:
    """Not one a minute, until it is as late as that clock said."""
    engine(stores).run(NOW + 300 * DAY_S)
    assert engine(stores).is_due(NOW)
    engine(stores).run(NOW)
    assert not engine(stores).is_due(NOW + EVERY_S - 1) and engine(stores).is_due(NOW + EVERY_S)


def test_a_log_that_was_changed_is_told() -> None:
    log: list[Proof] = []
    for n in range(4):
        log.append(Proof.of({"kind": "retention", "n": n}, log[-1].digest if log else None))
    assert broken_at(log) is None and broken_at(log[2:]) is None and broken_at([]) is None
    assert broken_at([log[0], log[2], log[3]]) == 1
    assert broken_at([log[1], log[0]]) == 1
    changed = Proof({**log[1].document, "n": 7}, log[1].digest)
    assert broken_at([log[0], changed, *log[2:]]) == 1
    again = Proof.of({"kind": "retention", "n": 7}, log[0].digest)
    assert broken_at([log[0], again, *log[2:]]) == 2


def test_what_is_printed_can_be_checked_and_tells_no_name_without(tmp_path: Path) -> None:
    names = Names.of("acme", "eva")
    document = {"kind": "tenant", "at": NOW, "commitment": names.commitment()}
    proof = Proof.of(document, None)
    printed = certificate(proof, names, KEY)
    assert list(wrong_with(printed, KEY)) == []
    assert "acme" not in str(proof.document) and "eva" not in str(proof.document)
    # The same names make another commitment each time.
    assert Names.of("acme", "eva").commitment() != names.commitment()
    for wrong, said in (
        (printed | {"document": {**printed["document"], "at": 0}}, "not the one that was signed"),
        (printed | {"names": {**printed["names"], "tenant": "other"}}, "names are not those"),
        (printed | {"names": None}, "names are not those"),
        (printed | {"signature": "0" * 64}, "not this node's"),
        (printed | {"digest": "0" * 64}, "not the one that was signed"),
    ):
        assert said in " ".join(wrong_with(wrong, KEY))
    assert "not this node's" in " ".join(wrong_with(printed, bytes([1]) * 32))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
PARTS = ("document", "digest", "signature", "names")


@given(JSON | st.fixed_dictionaries(dict.fromkeys(PARTS, JSON)))
def test_anything_else_is_no_proof(value: Any) -> None:
    assert list(wrong_with(value, KEY))


def test_a_digest_is_that_of_the_canonical_form() -> None:
    # sha256('{"a":1,"b":["\\u00e4"]}')
    import hashlib

    text = b'{"a":1,"b":["\\u00e4"]}'
    assert proofs.digest({"b": ["ä"], "a": 1}) == hashlib.sha256(text).hexdigest()


# By itself


def test_the_writer_runs_it_once_a_day_and_empties_the_log_of_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trio = pytest.importorskip("trio")
    from trio.testing import MockClock

    from pystream.server.settings import RetentionSettings
    from pystream.server.upkeep import Upkeep

    stores = Stores(tmp_path, with_tables(f"sqlite:///{tmp_path}/store.db"))
    (id,) = stores.add(generate())
    begin = NOW + 9 * DAY_S
    stores.store.viewers.end_sessions(stores.acme, stores.ids["acme/film"], who="e", now=NOW)
    clock = MockClock()
    start = clock.current_time()

    def now() -> float:
        return begin + clock.current_time() - start

    upkeep = Upkeep(stores.store, stores.keys, RetentionSettings(), now)
    log = ProofLog(stores.store.database)
    wal = tmp_path / "keys.db-wal"

    async def days(*ends: float) -> None:
        """So many days, with a look at each end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upkeep.run)
            for number, end in enumerate(ends):
                await asleep()
                clock.jump(end * DAY_S - (clock.current_time() - start))
                while len(log.all()) <= number or wal.stat().st_size:
                    await trio.lowlevel.checkpoint()
            await asleep()
            nursery.cancel_scope.cancel()

    async def asleep() -> None:
        """And not at work in its thread."""
        while trio.lowlevel.current_statistics().seconds_to_next_deadline == inf:
            await trio.lowlevel.checkpoint()

    with closing(sqlite3.connect(tmp_path / "keys.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM record_key").fetchall()
        references = stores.store.viewers.references(stores.acme, [id])
        assert stores.keys.erase(stores.acme, references, NOW) is Traces.LOG
        assert wal.stat().st_size
    caplog.set_level("INFO", "pystream")
    trio.run(days, 0.01, 1.02, 2.1, clock=clock)
    runs = [record for record in caplog.records if record.message == "retention-run"]
    assert len(runs) == len(log.all()) == 3
    said = [record.__dict__["fields"] for record in runs]
    assert said[0]["endings"] == 1 and said[1]["endings"] == 0
    assert [each["proof"] for each in said] == [each.digest for each in log.all()]
    assert [each.document["at"] - begin for each in log.all()] == [864, 88128, 181440]
    stores.close()


def test_whatever_fails_is_no_end_of_the_upkeep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A time zone that the machine knows no more is no error of the store's."""
    trio = pytest.importorskip("trio")
    from trio.testing import MockClock

    from pystream.server.settings import RetentionSettings
    from pystream.server.upkeep import Upkeep

    stores = Stores(tmp_path, with_tables(f"sqlite:///{tmp_path}/store.db"))
    upkeep = Upkeep(stores.store, stores.keys, RetentionSettings(), lambda: NOW)
    log = ProofLog(stores.store.database)

    def move_to(zone: str) -> None:
        with stores.store.database.writing() as connection:
            connection.execute(update(tables.tenant).values(timezone=zone))

    def has_failed() -> bool:
        return any(record.message == "upkeep-failed" for record in caplog.records)

    async def until_it(done: Callable[[], object]) -> None:
        while not done():
            clock.jump(60)
            await trio.to_thread.run_sync(pause)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upkeep.run)
            await until_it(has_failed)
            move_to("UTC")
            await until_it(log.all)
            nursery.cancel_scope.cancel()

    clock = MockClock()
    move_to("Atlantis/Poseidonis")
    trio.run(main, clock=clock)
    stores.close()


def test_passwords_are_found_again_before_anybody_is_let_in(
    stores: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trio = pytest.importorskip("trio")
    from pystream.server.settings import RetentionSettings
    from pystream.server.upkeep import Upkeep

    stores.add("SecureID 4711 Q")
    path = key_backups.backup(stores.keys, str(tmp_path), NOW)
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 5)
    restore(stores, path)
    upkeep = Upkeep(stores.store, stores.keys, RetentionSettings(), lambda: NOW)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(upkeep.run)
            assert stores.issuer.find(stores.acme, "SecureID 4711 Q") is not None
            nursery.cancel_scope.cancel()

    trio.run(main)
    (said,) = [each for each in caplog.records if each.message == "passwords-indexed"]
    assert said.__dict__["fields"] == {"passwords": 1, "doubles": 0}


def test_settings_name_every_rule() -> None:
    settings = pytest.importorskip("pystream.server.settings")
    assert settings.RetentionSettings().rules == Rules()
    days = {each.name: 20 + number for number, each in enumerate(fields(Rules))} | {"erasures": 99}
    given = "".join(f"{name}_days = {count}\n" for name, count in days.items())
    assert settings.parse(f"[retention]\n{given}", "x", {}).retention.rules == Rules(**days)
    with pytest.raises(settings.SettingsError, match="revoked_passwords_days"):
        settings.parse("[retention]\nrevoked_passwords_days = 7", "x", {})
