"""Who may watch: the decisions on plain values, and what the two stores keep of passwords and sessions."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import sqlite3
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, make_url, update
from sqlalchemy import text as sql

from pystream.acl.entrances.verifiers import Brought, Verifier, new_secret, verify
from pystream.acl.entrances.verifiers import check as check_verifier
from pystream.acl.passwords import PasswordSettings, canonical, generate
from pystream.acl.sealing import MasterKeys, Peppers, Place, seal
from pystream.acl.store import Store, key_backups, tables
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore, RecordKey, Traces
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.viewers import NewPassword, ViewerStore
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.viewers import (
    DEVICE_MODES,
    End,
    Password,
    Refusal,
    Seen,
    Session,
    Spent,
    giving_way,
    grace_s,
    notice_version,
    opens,
    wait_s,
)
from pystream.errors import EntranceError, Exists, InvalidValue, NotFound, StoreError
from tests import postgresql
from tests.databases import Databases, Patterns, with_tables
from tests.test_people import moved
from tests.waiting import until

NOW = 1_936_699_200
MASTER = bytes(range(32))
PASSWORD = Password(
    id=1,
    tenant_id=1,
    streams=frozenset((7, 8)),
    shared=False,
    is_test=False,
    valid_from=None,
    valid_until=None,
    max_devices=None,
    created_at=0,
    revoked_at=None,
)


# Decisions


@pytest.mark.parametrize(
    ("changes", "access", "stream", "let_in"),
    [
        ({}, "personal", 7, True),
        ({}, "personal", 9, False),
        ({}, "shared", 7, False),
        ({"shared": True}, "shared", 7, True),
        ({"shared": True}, "personal", 7, False),
        ({"revoked_at": NOW - 1}, "personal", 7, False),
        ({"revoked_at": NOW + 1}, "personal", 7, False),
        ({"valid_from": NOW}, "personal", 7, True),
        ({"valid_from": NOW + 1}, "personal", 7, False),
        ({"valid_until": NOW + 1}, "personal", 7, True),
        ({"valid_until": NOW}, "personal", 7, False),
        ({"streams": frozenset()}, "personal", 7, False),
    ],
)
def test_what_a_password_opens(
    changes: dict[str, Any], access: str, stream: int, let_in: bool
) -> None:
    assert opens(replace(PASSWORD, **changes), access, stream, NOW) is let_in


def test_an_unknown_password_opens_nothing() -> None:
    for access in ("personal", "shared"):
        assert not opens(None, access, 0, 0)
        assert not opens(None, access, 7, NOW)


SEEN = st.builds(
    Seen,
    st.binary(min_size=16, max_size=16),
    opened_at=st.integers(0, 100),
    last_seen=st.integers(0, 200),
)


@given(
    st.lists(SEEN, max_size=6, unique_by=lambda seen: seen.id),
    st.integers(1, 5),
    st.sampled_from(DEVICE_MODES),
    st.integers(0, 60),
)
def test_who_gives_way(sessions: list[Seen], devices: int, mode: str, grace: int) -> None:
    """By the rule as it is told: one by one, an idle one before an active one."""
    now = 200
    there = list(sessions)
    gone: list[bytes] | None = []
    while gone is not None and len(there) >= devices:
        idle = [each for each in there if now - each.last_seen > grace]
        if idle:
            leaves = min(idle, key=lambda each: each.last_seen)
        elif mode == "kick_oldest":
            leaves = min(there, key=lambda each: each.opened_at)
        else:
            gone = None
            break
        there.remove(leaves)
        gone.append(leaves.id)
    found = giving_way(sessions, devices, mode, grace, now)
    assert found == (None if gone is None else tuple(gone))
    assert giving_way(sessions, None, mode, grace, now) == ()
    if found is None:
        wait = wait_s(sessions, devices, grace, now)
        assert giving_way(sessions, devices, mode, grace, now + wait - 1) is None
        assert giving_way(sessions, devices, mode, grace, now + wait) is not None


def test_the_grace_is_some_segments_and_not_too_short() -> None:
    assert [grace_s(ms) for ms in (100, 5000, 6000, 10_001)] == [15, 15, 18, 31]


def test_a_notice_has_a_version_of_its_own() -> None:
    assert notice_version("") is None
    assert notice_version("a") != notice_version("b")
    # sha256("abc"), FIPS 180-4
    assert notice_version("abc") == "ba7816bf8f01cfea"


# The stores


class Stores:
    """Both stores, two tenants with two streams each."""

    def __init__(self, folder: Path, url: str) -> None:
        self.open(folder, url)
        self.keys.set_up(bytes(32), NOW)
        self.ids = {}
        for tenant in ("acme", "other"):
            self.store.add_tenant(tenant, TenantSettings(), who="eva", now=NOW)
            for name in ("film", "course"):
                settings = StreamSettings(sources=("/a.mp4",), access="personal")
                made = self.store.add_stream(tenant, name, settings, who="eva", now=NOW)
                self.ids[f"{tenant}/{name}"] = made.id
        self.acme, self.other = (self.store.tenant(name).id for name in ("acme", "other"))

    def open(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.store = Store.open(url)
        self.keys = self.keys_of(folder)
        self.issuer = Issuer(self.store.viewers, self.keys)

    def copied(self, folder: Path, url: str) -> Self:
        """The same in a copy of the database, where these are closed."""
        for file in self.folder.iterdir():
            if file.name in ("keys.db", "erasures.txt"):
                shutil.copy(file, folder)
        twin = copy(self)
        twin.open(folder, url)
        return twin

    @staticmethod
    def keys_of(folder: Path) -> KeyStore:
        return KeyStore.open(
            str(folder / "keys.db"), lambda: MasterKeys((MASTER,)), str(folder / "erasures.txt")
        )

    def add(self, *texts: str, stream: str = "acme/film", **settings: Any) -> tuple[int, ...]:
        tenant = self.store.tenant(stream.partition("/")[0]).id
        entries = [(text, PasswordSettings(**settings)) for text in texts]
        return self.issuer.add(tenant, [self.ids[stream]], entries, who="eva", now=NOW)

    def close(self) -> None:
        self.keys.close()
        self.store.close()


def filled(folder: Path, url: str) -> Stores:
    made = Stores(folder, url)
    made.close()
    return made


@pytest.fixture
def url(databases: Databases, patterns: Patterns) -> str:
    """That of `stores`."""
    return databases.like(patterns.of(databases, filled).url)


@pytest.fixture
def stores(tmp_path: Path, url: str, databases: Databases, patterns: Patterns) -> Iterator[Stores]:
    made = patterns.of(databases, filled).known.copied(tmp_path, url)
    yield made
    made.close()


def test_a_password_is_found_as_it_may_be_typed(stores: Stores) -> None:
    text = generate()
    (id,) = stores.add(text, label="Saal 3", max_devices=2, valid_until=NOW + 9)
    for typed in (text, text.lower(), text.replace("-", " "), f" {text.replace('-', '')} "):
        found = stores.issuer.find(stores.acme, typed)
        assert found == replace(
            PASSWORD,
            id=id,
            tenant_id=stores.acme,
            streams=frozenset((stores.ids["acme/film"],)),
            max_devices=2,
            valid_until=NOW + 9,
            created_at=NOW,
        )
    assert stores.issuer.find(stores.acme, generate()) is None
    # Another tenant's is another one, though its text were the same.
    assert stores.issuer.find(stores.other, text) is None
    stores.add(text, stream="other/film")
    other = stores.issuer.find(stores.other, text)
    assert other is not None and other.id != id


def test_all_are_added_or_none(stores: Stores) -> None:
    kept, fresh = generate(), generate()
    stores.add(kept)
    for texts in ((fresh, kept), (fresh, fresh.lower())):
        with pytest.raises(Exists):
            stores.add(*texts)
    with pytest.raises(InvalidValue):
        stores.add(fresh, "\x00")
    with pytest.raises(NotFound):
        stores.issuer.add(
            stores.acme,
            [stores.ids["other/film"]],
            [(fresh, PasswordSettings())],
            who="eva",
            now=NOW,
        )
    assert stores.issuer.find(stores.acme, fresh) is None
    assert stores.keys.status().records == 1


def test_the_tenant_sees_what_it_handed_out_and_the_files_show_nothing(
    tmp_path: Path,
) -> None:
    stores = Stores(tmp_path, with_tables(str(tmp_path / "store.db")))
    texts = [generate() for _ in range(20)]
    stores.add(*texts, label="Frau Dr. Muster")
    shown = list(stores.issuer.listed(stores.acme))
    assert sorted(each.text or "" for each in shown) == sorted(texts)
    assert {each.label for each in shown} == {"Frau Dr. Muster"}
    assert [*stores.issuer.listed(stores.acme, stores.ids["acme/course"])] == []
    assert [*stores.issuer.listed(stores.other)] == []
    stores.close()
    data = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    for text in texts:
        for spelled in (text, text.lower(), text.replace("-", "").lower()):
            assert spelled.encode() not in data
    assert b"Muster" not in data
    assert "Muster" not in repr(shown) and texts[0] not in repr(shown)


def test_text_and_label_are_sealed_at_once(stores: Stores, tmp_path: Path) -> None:
    """A seal takes long: one for each password. Rows that have two are read, and changed, all the same."""
    text = generate()
    (id,) = stores.add(text, label="Saal 3")
    (row,) = stores.store.viewers.passwords(stores.acme, ids=[id])
    assert row.label is None
    key = stores.keys.record_key(stores.acme, row.reference)
    place = Place(stores.acme, "password", id, "text")
    older = {
        "sealed_text": seal(key, place, text.encode()),
        "sealed_label": seal(key, replace(place, column="label"), b"Saal 4"),
    }

    def said() -> tuple[str | None, str | None]:
        (shown,) = stores.issuer.shown(stores.acme, [id])
        name = f"{shown.label}.zip"
        Leaving(stores.store, stores.keys).export("acme", str(tmp_path / name), who="eva", now=NOW)
        with zipfile.ZipFile(tmp_path / name) as archive:
            exported = json.loads(archive.read("data/password.jsonl"))
            assert f"{text},{shown.label or ''}," in archive.read("passwords.csv").decode()
        assert (exported["text"], exported["label"] or "") == (shown.text, shown.label)
        return shown.text, shown.label

    assert said() == (text, "Saal 3")
    with stores.store.database.writing() as connection:
        column = tables.password.c.id
        connection.execute(update(tables.password).where(column == id).values(**older))
    assert said() == (text, "Saal 4")
    for label in ("Saal 5", None):
        stores.issuer.change(stores.acme, [id], {"label": label}, who="eva", now=NOW)
        assert said() == (text, label or "")
    (row,) = stores.store.viewers.passwords(stores.acme, ids=[id])
    assert row.label is None


def test_many_are_changed_at_once_and_others_write_while_they_are_sealed(
    stores: Stores, url: str
) -> None:
    """All of them, or none."""

    class Keys(KeyStore):
        def record_keys(self, *given: Any) -> dict[bytes, bytes]:
            beside.viewers.end_sessions(stores.acme, film, who="eva", now=NOW)
            return super().record_keys(*given)

    film, folder = stores.ids["acme/film"], stores.folder
    ids = stores.add(*(generate() for _ in range(3)), label="Saal 3")
    (foreign,) = stores.add(generate(), stream="other/film", label="Saal 3")
    by: dict[str, Any] = {"who": "eva", "now": NOW}
    with (
        Store.open(url) as beside,
        Keys.open(
            str(folder / "keys.db"), lambda: MasterKeys((MASTER,)), str(folder / "erasures.txt")
        ) as keys,
    ):
        issuer = Issuer(stores.store.viewers, keys)
        for these, wrong in (([*ids, foreign], {}), (ids, {"valid_from": 9, "valid_until": 9})):
            with pytest.raises((NotFound, InvalidValue)):
                issuer.change(stores.acme, these, {"label": "Saal 4", **wrong}, **by)
        assert {each.label for each in stores.issuer.listed(stores.acme)} == {"Saal 3"}
        issuer.change(stores.acme, ids, {"label": "Saal 5", "max_devices": 2}, **by)
    shown = list(stores.issuer.listed(stores.acme))
    assert {(each.label, each.password.max_devices) for each in shown} == {("Saal 5", 2)}
    (other,) = stores.issuer.listed(stores.other)
    assert (other.label, other.password.max_devices) == ("Saal 3", None)


def rotate(stores: Stores, id: int, stream: str = "acme/film", grace_s: int = 0) -> None:
    opened = {id: [stores.ids[stream]]}
    stores.issuer.rotate(stores.acme, opened, grace_s=grace_s, who="eva", now=NOW)


@pytest.mark.parametrize(
    ("stream", "grace_s", "missing"),
    [("acme/film", 0, "ending"), ("other/film", 0, None), ("other/film", 60, None)],
    ids=["old", "new", "new, with grace"],
)
def test_a_password_is_replaced_or_stays(
    stores: Stores, stream: str, grace_s: int, missing: str | None
) -> None:
    """Whether it is the old one of which that fails, or the new one."""
    (id,) = stores.add("SecureID 4711 Q")

    def left() -> tuple[Any, ...]:
        shown = list(stores.issuer.listed(stores.acme))
        entries = stores.store.audit.entries(stores.acme)
        return shown, entries, stores.keys.status().records

    def rename(name: str, other: str) -> None:
        with stores.store.database.writing() as connection:
            connection.execute(sql(f"ALTER TABLE {name} RENAME TO {other}"))

    before = left()
    if missing:
        rename(missing, "away")
    with pytest.raises(StoreError if missing else NotFound):
        rotate(stores, id, stream, grace_s)
    if missing:
        rename("away", missing)
    assert left() == before and not stores.store.viewers.endings(0)


@pytest.mark.parametrize(
    ("grace_s", "valid_until", "left"),
    [(0, None, None), (60, None, NOW + 60), (60, NOW + 600, NOW + 60), (600, NOW + 60, NOW + 59)],
)
def test_of_many_who_replace_a_password_at_once_one_does(
    stores: Stores, grace_s: int, valid_until: int | None, left: int | None
) -> None:
    (id,) = stores.add("SecureID 4711 Q", valid_until=valid_until)
    with ThreadPoolExecutor(4) as pool:
        with stores.store.database.writing() as connection:
            take_turn(connection)
            tries = [pool.submit(rotate, stores, id, grace_s=grace_s) for _ in range(4)]
            # All have found it valid.
            until(lambda: stores.keys.status().records == 5)
        errors = [each.exception() for each in tries]
    assert errors.count(None) == 1
    assert {type(each) for each in errors if each is not None} == {InvalidValue}
    old, new = stores.issuer.shown(stores.acme, [id]), list(stores.issuer.listed(stores.acme))
    assert len(new) == 2 and stores.keys.status().records == 2
    assert old[0].password.revoked_at == (None if grace_s else NOW)
    assert old[0].password.valid_until == left
    assert {each.password.valid_until for each in new} == {left, valid_until}


def two_of_acme(stores: Stores) -> dict[int, list[int]]:
    """Passwords with the streams that they open."""
    (first,) = stores.add("SecureID 4711 Q", label="Saal 1")
    (second,) = stores.add("SecureID 4712 Q", label="Saal 2", stream="acme/course")
    return {second: [stores.ids["acme/course"]], first: [stores.ids["acme/film"]]}


def test_each_of_several_is_replaced_as_it_was(stores: Stores) -> None:
    opened = two_of_acme(stores)
    made = stores.issuer.rotate(stores.acme, opened, grace_s=0, who="eva", now=NOW)
    for (id, text), label, streams in zip(made, ("Saal 2", "Saal 1"), opened.values(), strict=True):
        (shown,) = stores.issuer.shown(stores.acme, [id])
        assert (shown.text, shown.label) == (text, label)
        assert shown.password.streams == frozenset(streams)
    entries = [dict(each.values) for each in stores.store.audit.entries(stores.acme, most=3)]
    assert entries[2] == {"passwords_revoked": (None, 2)}


@pytest.mark.parametrize("grace_s", [0, 60])
def test_where_one_of_several_is_revoked_meanwhile_none_is_replaced(
    stores: Stores, grace_s: int
) -> None:
    opened = two_of_acme(stores)
    gone, kept = opened

    class Slow(ViewerStore):
        def replace(self, *given: Any, **more: Any) -> None:
            super().revoke(stores.acme, [gone], who="max", now=NOW)
            super().replace(*given, **more)

    issuer = Issuer(Slow(stores.store.database), stores.keys)
    with pytest.raises(InvalidValue):
        issuer.rotate(stores.acme, opened, grace_s=grace_s, who="eva", now=NOW)
    assert len(list(stores.issuer.listed(stores.acme))) == stores.keys.status().records == 2
    (shown,) = stores.issuer.shown(stores.acme, [kept])
    assert (shown.password.revoked_at, shown.password.valid_until) == (None, None)


def test_what_was_made_in_one_second_is_found_again(stores: Stores) -> None:
    film, course = stores.ids["acme/film"], stores.ids["acme/course"]
    texts = [generate() for _ in range(3)]
    stores.add(*texts, label="Hall 1")
    stores.add(generate(), stream="acme/course")
    later = [(generate(), PasswordSettings())]
    stores.issuer.add(stores.acme, [film], later, who="eva", now=NOW + 1)
    found = stores.issuer.made(stores.acme, film, NOW, 10)
    assert sorted(each.text or "" for each in found) == sorted(texts)
    assert len(stores.issuer.made(stores.acme, film, NOW, 2)) == 2
    assert [each.text for each in stores.issuer.made(stores.acme, film, NOW + 1, 10)] == [
        later[0][0]
    ]
    assert stores.issuer.made(stores.acme, course, NOW + 1, 10) == []
    assert stores.issuer.made(stores.other, film, NOW, 10) == []


def test_what_nobody_does_is_not_done(stores: Stores) -> None:
    """All that is changed of passwords is on record, under a name."""
    (id,) = stores.add("SecureID 4711 Q")
    before = list(stores.issuer.listed(stores.acme)), stores.keys.status().records
    viewers, film = stores.store.viewers, stores.ids["acme/film"]
    by: dict[str, Any] = {"who": "", "now": NOW}
    for act in (
        lambda: stores.issuer.add(stores.acme, [film], [(generate(), PasswordSettings())], **by),
        lambda: stores.issuer.change(stores.acme, [id], {"max_devices": 1}, **by),
        lambda: stores.issuer.erase(stores.acme, [id], **by),
        lambda: viewers.revoke(stores.acme, [id], **by),
        lambda: viewers.end_sessions(stores.acme, film, **by),
        lambda: viewers.end_sessions_of(stores.acme, id, **by),
    ):
        with pytest.raises(InvalidValue, match="has to be said"):
            act()
    after = list(stores.issuer.listed(stores.acme)), stores.keys.status().records
    assert after == before and not viewers.endings(0)


def test_revoked_is_revoked_once_and_of_ones_own_alone(stores: Stores) -> None:
    ids = stores.add(*(generate() for _ in range(3)))
    viewers = stores.store.viewers
    assert viewers.revoke(stores.other, ids, who="eve", now=NOW) == 0
    assert viewers.endings(0) == ()
    assert viewers.revoke(stores.acme, ids[:2], who="eva", now=NOW + 5) == 2
    assert viewers.revoke(stores.acme, ids, who="eva", now=NOW + 6) == 1
    ended = viewers.endings(0)
    assert [(each.password_id, each.at, each.reason) for each in ended] == [
        *((id, NOW + 5, End.REVOKED) for id in sorted(ids[:2])),
        (ids[2], NOW + 6, End.REVOKED),
    ]
    assert viewers.endings(ended[1].id) == ended[2:]
    assert {each.password.revoked_at for each in stores.issuer.listed(stores.acme)} == {
        NOW + 5,
        NOW + 6,
    }


def test_erased_is_gone_for_good(tmp_path: Path) -> None:
    stores = Stores(tmp_path, with_tables(str(tmp_path / "store.db")))
    gone, kept = generate(), generate()
    (id,) = stores.add(gone, label="weg")
    stores.add(kept, label="da")
    before = (tmp_path / "store.db").read_bytes() + (tmp_path / "store.db-wal").read_bytes()
    lookup = dict(raw(tmp_path, "SELECT id, lookup FROM password"))[id]
    assert lookup in before
    with pytest.raises(NotFound):
        # Not this tenant's: nothing happens.
        stores.keys.erase(stores.other, stores.store.viewers.references(stores.acme, [id]), NOW)
    assert stores.issuer.erase(stores.other, [id], who="eve", now=NOW) == 0
    assert stores.issuer.find(stores.acme, gone) is not None
    assert stores.issuer.erase(stores.acme, [id], who="eva", now=NOW) == 1
    assert stores.issuer.find(stores.acme, gone) is None
    shown = {each.password.id: each for each in stores.issuer.listed(stores.acme)}
    assert (shown.pop(id).text, len(shown)) == (None, 1)
    assert next(iter(shown.values())).text == kept
    assert dict(raw(tmp_path, "SELECT id, lookup FROM password"))[id] != lookup
    assert [each.password_id for each in stores.store.viewers.endings(0)] == [id]
    stores.close()


@pytest.mark.parametrize("is_stored", [False, True])
def test_what_was_stored_keeps_its_key_though_its_line_ended_then(
    stores: Stores, is_stored: bool
) -> None:
    """Whoever made something is told that it failed, since the database ended as it stored that, or before
    it did. What is there can be read, and where there is nothing, there is no key."""
    database = stores.store.database
    link = Verifier(kind="link", secret="ab" * 32)
    verifiers = stores.store.verifiers(stores.keys)
    # Their numbers are taken first.
    with line_ends(database, 2, is_stored):
        stores.add("SecureID 4711 Q", label="da")
    with line_ends(database, 2, is_stored):
        stores.issuer.named(stores.acme, ["4711"], NOW)
    with line_ends(database, 1, is_stored):
        verifiers.add(stores.acme, None, "7f", link, who="eva", now=NOW)
    shown = [*stores.issuer.listed(stores.acme), *stores.issuer.listed(stores.acme, named=True)]
    assert [(each.text, each.label) for each in shown] == (
        [("SecureID 4711 Q", "da"), ("4711", "")] if is_stored else []
    )
    assert [each.verifier for each in verifiers.listed(stores.acme)] == [link] * is_stored
    assert stores.keys.held(stores.acme)[1] == 3 * is_stored


def test_a_key_that_is_made_while_its_tenant_goes_goes_with_it(stores: Stores) -> None:
    """By an import that was under way, for one: its tenant's key is there again by then."""
    stores.add("SecureID 4711 Q")
    before = stores.keys.erase_tenant

    def erase_tenant(tenant_id: int, now: int) -> Traces:
        traces = before(tenant_id, now)
        stores.keys.erase_tenant = before  # type: ignore[method-assign]
        stores.keys.add_record_keys(tenant_id, 1, now)
        return traces

    stores.keys.erase_tenant = erase_tenant  # type: ignore[method-assign]
    Leaving(stores.store, stores.keys).delete("acme", who="eva", now=NOW, force=True)
    assert stores.keys.held(stores.acme) == (0, 0)


@contextmanager
def line_ends(database: Database, at: int, is_stored: bool) -> Iterator[None]:
    """The line to a database ends as that commits what the block writes for the `at`-th time: once it is
    stored, or before."""
    left = [at]

    def ends(connection: Any) -> None:
        if connection.get_execution_options().get("pystream_writes"):
            left[0] -= 1
            if left[0] == 0:
                if is_stored:
                    connection.connection.dbapi_connection.commit()
                raise StoreError("the line ended")

    event.listen(database.engine, "commit", ends)
    with pytest.raises(StoreError, match="the line ended"):
        yield
    event.remove(database.engine, "commit", ends)


def test_what_has_no_key_any_more_is_erased_all_the_same(stores: Stores, tmp_path: Path) -> None:
    """An older key store was brought back. In a newer backup the key still is, and stays in it."""
    vault = str(tmp_path)
    (kept,) = stores.add("SecureID 4711 Q")
    older = key_backups.backup(stores.keys, vault, NOW)
    ids = stores.add("another 4711 Q", "a third 4711 Q")
    newer = key_backups.backup(stores.keys, vault, NOW + 1)
    assert restore(stores, older, replace=True).lost == 2
    assert stores.issuer.erase(stores.acme, [kept, *ids], who="eva", now=NOW + 2) == 3
    assert stores.issuer.there(stores.acme, ["SecureID 4711 Q", "another 4711 Q"]) == []
    assert restore(stores, newer).erased == 3
    shown = stores.issuer.shown(stores.acme, [kept, *ids])
    assert {each.text for each in shown} == {None}
    assert {each.state(NOW + 2) for each in shown} == {"erased"}
    # What is another tenant's stays its own, also where nobody minds what is missing.
    (foreign,) = stores.add("SecureID 4711 Q", stream="other/film")
    references = stores.store.viewers.references(stores.other, [foreign])
    stores.keys.erase(stores.acme, references, NOW, missing_ok=True)
    assert len(stores.keys.record_keys(stores.other, references)) == 1


def restore(stores: Stores, path: str, **options: Any) -> key_backups.Restored:
    keys, erasures = (str(stores.folder / name) for name in ("keys.db", "erasures.txt"))
    given: dict[str, Any] = {"listed_since": 0} | options
    return key_backups.restore(path, keys, lambda: MasterKeys((MASTER,)), erasures, **given)


def raw(folder: Path, query: str) -> list[Any]:
    with sqlite3.connect(folder / "store.db") as connection:
        return connection.execute(query).fetchall()


def test_the_pepper_is_changed_and_everybody_is_found_meanwhile(stores: Stores) -> None:
    texts = [generate() for _ in range(5)]
    stores.add(*texts[:3])
    (erased,) = stores.add(texts[3])
    stores.issuer.erase(stores.acme, [erased], who="eva", now=NOW)
    old = stores.keys.peppers()
    steps = []

    def reindex(peppers: Any) -> int:
        """Two at a time; whoever signs in meanwhile is found."""
        done = stores.issuer.reindex(peppers, 2)
        steps.append(done)
        for text in texts[:3]:
            assert stores.issuer.find(stores.acme, text) is not None
        return done

    new = stores.keys.rotate_pepper(reindex, NOW)
    assert steps == [2, 2, 0]
    assert new.newest != old.newest and len(new.indexes(1, b"x")) == 1
    for text in texts[:3]:
        assert stores.issuer.find(stores.acme, text) is not None
    assert stores.issuer.find(stores.acme, texts[3]) is None


def test_the_pepper_is_changed_when_seconds_have_more_than_31_bits(stores: Stores) -> None:
    """From 2038 on, or by a clock that is ahead: what comes later is later still."""
    stores.add("SecureID 4711 Q")
    late = stores.keys.rotate_pepper(stores.issuer.reindex, 2**31 + 7).newest.generation
    assert late == 2**31 + 7
    stores.add("another 4711 Q")
    assert stores.keys.rotate_pepper(stores.issuer.reindex, NOW).newest.generation == late + 1
    for text in ("SecureID 4711 Q", "another 4711 Q"):
        assert stores.issuer.find(stores.acme, text) is not None


def test_what_is_added_while_the_pepper_is_changed_is_there_once(stores: Stores) -> None:
    old = stores.issuer.named(stores.acme, ["4711"], NOW)
    stores.add("SecureID 4711 Q")
    stores.keys.begin_pepper(NOW)
    with pytest.raises(Exists):
        stores.add("another 4711 Q", "SecureID 4711 Q")
    assert stores.issuer.find(stores.acme, "another 4711 Q") is None
    assert len(stores.add("SecureID 4711 Q", stream="other/film")) == 1
    assert stores.issuer.named(stores.acme, ["4711"], NOW + 9) == old
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW)
    with pytest.raises(Exists):
        stores.add("SecureID 4711 Q")


def test_what_came_twice_while_the_pepper_was_changed_does_not_stop_that(stores: Stores) -> None:
    """Somebody who did not know of the new pepper yet added it once more."""
    viewers, twice = stores.store.viewers, list[int]()
    (late,) = stores.add("SecureID 4711 Q")
    row = raw_password(stores, late)
    both = stores.keys.begin_pepper(NOW)
    index = both.newest.index(stores.acme, canonical("SecureID 4711 Q").encode())
    newer = replace(row, id=late + 1, pepper=both.newest.generation, lookup=index)
    viewers.add_passwords(stores.acme, [stores.ids["acme/film"]], [newer], who="eva", now=NOW)

    def reindex(peppers: Peppers) -> int:
        return stores.issuer.reindex(peppers, twice=twice.append)

    assert len(stores.keys.rotate_pepper(reindex, NOW).active) == 1
    assert twice == [late]
    found = stores.issuer.find(stores.acme, "SecureID 4711 Q")
    assert found is not None and found.id == newer.id


def test_of_two_of_one_text_the_one_that_stays_is_found(stores: Stores) -> None:
    """While the pepper is changed, both are there: what was taken back lets nobody in by the other's streams,
    nor does one lend the other its own."""
    text, viewers = "SecureID 4711 Q", stores.store.viewers
    (late,) = stores.add(text, stream="acme/course")
    both = stores.keys.begin_pepper(NOW)
    index = both.newest.index(stores.acme, canonical(text).encode())
    for id in (late - 1, late + 1):
        # Whichever of the two the database has first.
        newer = replace(
            raw_password(stores, late),
            id=id,
            reference=id.to_bytes(16),
            pepper=both.newest.generation,
            lookup=index,
        )
        viewers.add_passwords(stores.acme, [stores.ids["acme/film"]], [newer], who="eva", now=NOW)
        found = stores.issuer.find(stores.acme, text)
        assert found is not None and (found.id, found.streams) == (
            id,
            frozenset([stores.ids["acme/film"]]),
        )
        viewers.revoke(stores.acme, [id], who="eva", now=NOW)
        found = stores.issuer.find(stores.acme, text)
        assert found is not None and (found.id, found.revoked_at) == (id, NOW)
        assert not any(opens(found, "personal", each, NOW) for each in stores.ids.values())
        viewers.forget_lookups(stores.acme, [id], who="eva", now=NOW)


def test_what_is_stored_after_the_pepper_was_changed_is_found(stores: Stores, url: str) -> None:
    """It was indexed before that: an import takes its time."""

    class Slow(ViewerStore):
        def add_passwords(self, *given: Any, **more: Any) -> None:
            stores.keys.rotate_pepper(stores.issuer.reindex, NOW)
            super().add_passwords(*given, **more)

        def add_named(self, *given: Any) -> frozenset[bytes]:
            stores.keys.rotate_pepper(stores.issuer.reindex, NOW)
            return super().add_named(*given)

    texts = ["SecureID 4711 Q", "another 4711 Q"]
    with Store.open(url) as beside:
        slow = Issuer(Slow(beside.database), stores.keys)
        entries = [(text, PasswordSettings()) for text in texts]
        film = stores.ids["acme/film"]
        ids = slow.add(stores.acme, [film], entries, who="eva", now=NOW)
        named = slow.named(stores.acme, ["4711"], NOW)
    found = [stores.issuer.find(stores.acme, text) for text in texts]
    assert [each and each.id for each in found] == [*ids]
    assert named["4711"] == stores.issuer.find_named(stores.acme, "4711")
    assert len(stores.keys.peppers().active) == 1
    assert not stores.issuer.reindex(stores.keys.peppers())


def test_keys_from_before_a_rotation_find_the_passwords_again(
    stores: Stores, tmp_path: Path
) -> None:
    texts = ["SecureID 4711 Q", "another 4711 Q"]
    ids = stores.add(*texts)
    named = stores.issuer.named(stores.acme, ["4711"], NOW)
    stores.add("a third 4711 Q", stream="other/film")
    path = key_backups.backup(stores.keys, str(tmp_path), NOW)
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 5)
    assert restore(stores, path).lost == 0
    assert stores.issuer.find(stores.acme, texts[0]) is None
    assert stores.issuer.reindex_lost() == 4
    found = [stores.issuer.find(stores.acme, text) for text in texts]
    assert [each and each.id for each in found] == [*ids]
    assert stores.issuer.find_named(stores.acme, "4711") == named["4711"]
    assert stores.issuer.there(stores.other, ["a third 4711 Q"]) == [0]
    with pytest.raises(Exists):
        stores.add(texts[0])
    assert stores.issuer.reindex_lost() == 0


def test_keys_from_a_rotation_that_was_under_way_find_the_passwords_again(
    stores: Stores, tmp_path: Path
) -> None:
    """What was added since is indexed by one of its two peppers, and found as it is."""
    old, new = stores.add("SecureID 4711 Q", "another 4711 Q")
    path = key_backups.backup(stores.keys, str(tmp_path), NOW)
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 5)
    restore(stores, path)
    stores.keys.begin_pepper(NOW + 10)
    stores.issuer.reindex_lost()
    path = key_backups.backup(stores.keys, str(tmp_path), NOW + 10)
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 10)
    stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 15)
    restore(stores, path)
    twice = list[int]()
    (again,) = stores.add("SecureID 4711 Q")
    assert stores.issuer.reindex_lost(twice=twice.append) == 2
    assert twice == [old]
    for text, id in (("SecureID 4711 Q", again), ("another 4711 Q", new)):
        found = stores.issuer.find(stores.acme, text)
        assert found is not None and found.id == id
    assert len(stores.keys.peppers().active) == 2
    assert stores.issuer.reindex_lost() == 0


def test_a_store_from_before_a_rotation_finds_its_passwords_again(stores: Stores, url: str) -> None:
    (id,) = stores.add("SecureID 4711 Q")
    stores.store.close()
    with Store.open(copied(stores, url)) as back:
        issuer = Issuer(back.viewers, stores.keys)
        stores.keys.rotate_pepper(stores.issuer.reindex, NOW + 5)
        assert stores.issuer.find(stores.acme, "SecureID 4711 Q") is not None
        assert issuer.find(stores.acme, "SecureID 4711 Q") is None
        assert issuer.reindex_lost() == 1
        found = issuer.find(stores.acme, "SecureID 4711 Q")
        assert found is not None and found.id == id


def copied(stores: Stores, url: str) -> str:
    """A backup of the store as it is."""
    if url.startswith("sqlite"):
        path = stores.folder / "copy.db"
        path.touch()
        stores.store.database.copy_to(str(path))
        return str(path)
    folder, name = make_url(url).query["host"], make_url(url).database
    assert isinstance(folder, str)
    postgresql.execute(postgresql.url(folder), f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    return postgresql.url(folder, f"{name}_copy")


def test_what_is_erased_while_it_is_indexed_anew_is_not_found_by_that(
    stores: Stores, url: str
) -> None:
    """Whoever has its text may not even learn that it was there."""
    text = "SecureID 4711 Q"
    (gone,), (kept,) = stores.add(text), stores.add("another 4711 Q")

    class Overtaken(ViewerStore):
        def reindex(self, *given: Any) -> frozenset[int]:
            stores.issuer.erase(stores.acme, [gone], who="eva", now=NOW)
            return super().reindex(*given)

    with Store.open(url) as beside:
        late = Issuer(Overtaken(beside.database), stores.keys)
        assert late.reindex(stores.keys.begin_pepper(NOW)) == 2
        assert stores.issuer.there(stores.acme, [text]) == []
        stores.keys.rotate_pepper(stores.issuer.reindex, NOW)
    assert stores.issuer.there(stores.acme, [text, "another 4711 Q"]) == [1]
    found = stores.issuer.find(stores.acme, "another 4711 Q")
    assert found is not None and found.id == kept


def raw_password(stores: Stores, id: int) -> NewPassword:
    (found,) = stores.store.viewers.passwords(stores.acme, ids=[id])
    return NewPassword(
        id=id,
        reference=found.reference,
        pepper=0,
        lookup=b"",
        sealed_text=found.text,
    )


def test_sessions_are_kept_once_and_end_once(stores: Stores) -> None:
    viewers = stores.store.viewers
    (password,) = stores.add(generate())
    film = stores.ids["acme/film"]
    sessions = [
        Session(
            id=bytes([n]) * 16,
            tenant_id=stores.acme,
            stream_id=film,
            password_id=password if n % 2 else None,
            opened_at=NOW + n,
            expires=NOW + 100 + n,
            idle_s=60 if n else None,
            notice="ba7816bf8f01cfea",
        )
        for n in range(4)
    ]
    viewers.keep(sessions[:2], {}, NOW)
    viewers.keep(sessions, {sessions[0].id: End.KICKED}, NOW)
    viewers.keep([], {sessions[0].id: End.CLOSED, b"x" * 16: End.CLOSED}, NOW)
    assert viewers.sessions(NOW) == tuple(sessions[1:])
    assert viewers.sessions(NOW + 101) == tuple(sessions[2:])
    viewers.end_sessions(stores.acme, film, who="eva", now=NOW)
    assert [(each.stream_id, each.reason) for each in viewers.endings(0)] == [(film, End.CLOSED)]
    with pytest.raises(NotFound):
        viewers.end_sessions(stores.other, film, who="eve", now=NOW)


@pytest.mark.slow
def test_lists_are_read_page_by_page(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pystream.acl.store.issuing._PAGE", 7)
    texts = [generate() for _ in range(20)]
    stores.add(*texts)
    assert [each.text for each in stores.issuer.listed(stores.acme)] == texts


def test_lists_are_in_the_order_in_which_passwords_were_made(stores: Stores) -> None:
    """Whatever their ids, of which no two neighbours say anything, and whatever the clock said."""
    film, course = stores.ids["acme/film"], stores.ids["acme/course"]
    texts = [generate() for _ in range(30)]
    first = stores.add(*texts[:12], label="Hall 1")
    stores.add(*texts[12:20], stream="acme/course")
    stores.add("of another tenant", stream="other/film")
    both = [(text, PasswordSettings()) for text in texts[20:]]
    stores.issuer.add(stores.acme, [film, course], both, who="eva", now=NOW - 1)
    assert list(first) != sorted(first)

    def paged(stream: int | None, most: int, at: int | None = None) -> list[str | None]:
        found: list[str | None] = []
        after = 0
        while True:
            if at is None:
                page = stores.issuer.page(stores.acme, stream, after=after, most=most)
            else:
                assert stream is not None
                page = stores.issuer.made(stores.acme, stream, at, most, after=after)
            if not page:
                return found
            found += [each.text for each in page]
            after = page[-1].number

    for most in (1, 7, 100):
        assert paged(None, most) == texts
        assert paged(film, most) == texts[:12] + texts[20:]
        assert paged(course, most) == texts[12:]
        assert paged(course, most, NOW - 1) == texts[20:]
        assert paged(course, most, NOW) == texts[12:20]
    picked = [first[5], first[2], first[9]]
    shown = [each.text for each in stores.issuer.shown(stores.acme, picked)]
    assert shown == [texts[2], texts[5], texts[9]]
    # What was not added leaves a gap, and no trace.
    with pytest.raises(Exists):
        stores.add("a new one", texts[3])
    stores.add("the last one")
    assert paged(film, 7) == [*texts[:12], *texts[20:], "the last one"]
    named = [stores.issuer.named(stores.acme, [name], NOW)[name].id for name in "cab"]
    listed = stores.issuer.listed(stores.acme, named=True)
    assert [each.password.id for each in listed] == named


def test_older_passwords_are_numbered_in_the_order_in_which_they_were_stored(
    stores: Stores, url: str
) -> None:
    """In a store of a revision that had no numbers."""
    texts = [generate() for _ in range(20)]
    stores.add(*texts)
    named = stores.issuer.named(stores.acme, ["4711"], NOW)["4711"].id
    stores.store.close()
    moved(url, "0011", down=True)
    stores.store = Store.open(url)
    issuer = Issuer(stores.store.viewers, stores.keys)
    assert [each.text for each in issuer.listed(stores.acme)] == texts
    (viewer,) = issuer.listed(stores.acme, named=True)
    assert (viewer.password.id, viewer.number) == (named, 21)
    film = stores.ids["acme/film"]
    assert [each.text for each in issuer.page(stores.acme, film, after=15)] == texts[15:]
    issuer.add(stores.acme, [film], [("the last", PasswordSettings())], who="eva", now=NOW)
    assert [each.number for each in issuer.page(stores.acme, film, after=19)] == [20, 22]


@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
def test_no_page_of_a_list_looks_at_all_of_a_tenant(stores: Stores) -> None:
    """A million passwords are listed a page at a time, each from where the one before has ended. (What
    PostgreSQL does depends on how much there is.)"""
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "FROM password" in statement and "LIMIT" in statement:
            rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            asked.extend(row[3] for row in rows)

    film = stores.ids["acme/film"]
    ids = stores.add(*[generate() for _ in range(3)])
    event.listen(stores.store.database.engine, "before_cursor_execute", note)
    viewers = stores.store.viewers
    for plan, of in (
        (["ix_password_number (tenant_id=? AND named=? AND number>?)"], {}),
        (
            [
                "ix_admission_number (stream_id=? AND number>?)",
                "sqlite_autoindex_password_1 (id=?)",
            ],
            {"stream_id": film},
        ),
        (
            [
                "ix_password_created_at (tenant_id=? AND created_at=? AND number>?)",
                "sqlite_autoindex_admission_1 (stream_id=? AND password_id=?)",
            ],
            {"stream_id": film, "made_at": NOW},
        ),
        (["sqlite_autoindex_password_1 (id=?)"], {"ids": ids}),
    ):
        asked.clear()
        viewers.passwords(stores.acme, after=1, **of)
        steps = [each for each in asked if "ORDER BY" not in each]
        assert [each.partition("INDEX ")[2] for each in steps] == plan
        assert "ids" in of or steps == asked


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
def test_a_long_list_that_has_just_come_is_not_read_whole_for_each_who_comes_in(
    stores: Stores,
) -> None:
    """PostgreSQL keeps the plan of what is asked often, and where there are few passwords that is to look at
    all of them: it would do so until it has counted the new ones, a minute or two after they came."""
    database, viewers = stores.store.database, stores.store.viewers
    film = stores.ids["acme/film"]

    def come_in(text: str) -> None:
        (_, lookup), *_ = stores.keys.peppers().indexes(stores.acme, canonical(text).encode())
        found = viewers.find(stores.acme, [lookup])
        assert found is not None
        session = Session(
            id=secrets.token_bytes(16),
            tenant_id=stores.acme,
            stream_id=film,
            password_id=found.id,
            opened_at=NOW,
            expires=NOW + 60,
            idle_s=None,
            notice=None,
            holder=None,
        )
        assert viewers.keep([session], {}, NOW) == {}

    def looked_at_all() -> int:
        with database.reading() as connection:
            connection.execute(sql("SELECT pg_stat_force_next_flush()"))
        with database.reading() as connection:
            counted = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'password'"
            return int(connection.execute(sql(counted)).scalar_one())

    text = generate()
    stores.add(text, *[generate() for _ in range(60)])
    postgresql.execute(stores.url, "ANALYZE")
    for _ in range(20):
        come_in(text)
    stores.add(*[generate() for _ in range(3000)])
    before = looked_at_all()
    for _ in range(20):
        come_in(text)
    assert looked_at_all() == before


def test_who_looks_for_lost_passwords_looks_at_none_that_is_found(stores: Stores) -> None:
    """Each minute, also just after a long list was imported, of which PostgreSQL has no statistics yet."""
    database = stores.store.database
    postgresql = database.path is None
    explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
    plans: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "FROM password" in statement and not statement.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql(explain + statement, values)
            plans.append(" ".join(str(row[-1]) for row in rows))

    stores.add(*[generate() for _ in range(1500)])
    if postgresql:
        with database.writing() as connection:
            # As if nobody had ever counted them.
            connection.exec_driver_sql("ALTER TABLE password SET (autovacuum_enabled = off)")
            gone = "DELETE FROM pg_statistic WHERE starelid = 'password'::regclass"
            connection.exec_driver_sql(gone)
    event.listen(database.engine, "before_cursor_execute", note)
    peppers = [stores.keys.peppers().newest.generation]
    # Few, beside those that there are, as 5000 are beside a million.
    assert stores.store.viewers.indexed_otherwise(peppers, 10) == ()
    assert len(plans) == 2 and all("ix_password_pepper" in each for each in plans)


def test_lost_passwords_are_found_on_each_side_of_the_peppers_that_there_are(
    stores: Stores,
) -> None:
    ids = stores.add(*[generate() for _ in range(7)])
    column = tables.password.c
    with stores.store.database.writing() as connection:
        for pepper, id in enumerate(ids, 1):
            values = {"pepper": pepper}
            connection.execute(update(tables.password).where(column.id == id).values(values))

    def lost(*peppers: int, most: int = 100) -> list[int]:
        found = stores.store.viewers.indexed_otherwise(peppers, most)
        return [ids.index(each.password.id) + 1 for each in found]

    assert lost(2, 4, 5) == [1, 3, 6, 7]
    assert lost(4) == [1, 2, 3, 5, 6, 7] and lost(7, 1) == [2, 3, 4, 5, 6]
    assert [lost(2, 4, 5, most=most) for most in range(1, 5)] == [
        [1],
        [1, 3],
        [1, 3, 6],
        [1, 3, 6, 7],
    ]
    assert lost(*range(1, 8)) == []


# Whom links and tokens name, and how they are checked


def test_a_viewer_of_links_is_one_however_often_it_comes(stores: Stores) -> None:
    found = stores.issuer.named(stores.acme, ["4711", "auth0|x", "4711"], NOW)
    assert set(found) == {"4711", "auth0|x"}
    assert stores.issuer.named(stores.acme, ["4711"], NOW + 9)["4711"] == found["4711"]
    assert stores.issuer.find_named(stores.acme, "4711") == found["4711"]
    assert found["4711"].named and not found["4711"].streams
    # Another tenant's of the same name is somebody else, and a password of the same text another thing.
    assert stores.issuer.named(stores.other, ["4711"], NOW)["4711"].id != found["4711"].id
    stores.add("4711-4711")
    assert stores.issuer.find(stores.acme, "auth0|x") is None
    assert stores.issuer.find_named(stores.acme, "4711-4711") is None
    assert [each.text for each in stores.issuer.listed(stores.acme)] == ["4711-4711"]
    listed = {each.text for each in stores.issuer.listed(stores.acme, named=True)}
    assert listed == {"4711", "auth0|x"}
    assert not opens(found["4711"], "personal", stores.ids["acme/film"], NOW)

    def reindex(peppers: Peppers) -> int:
        return stores.issuer.reindex(peppers, 1)

    stores.keys.rotate_pepper(reindex, NOW)
    assert stores.issuer.find_named(stores.acme, "4711") == found["4711"]
    stores.issuer.erase(stores.acme, [found["4711"].id], who="eva", now=NOW)
    assert stores.issuer.find_named(stores.acme, "4711") is None


def test_two_nodes_name_the_same_viewers_at_once(stores: Stores) -> None:
    class Slower(KeyStore):
        """The other node is faster with one of the names."""

        def add_record_keys(self, *wanted: Any) -> tuple[RecordKey, ...]:
            first.extend(stores.issuer.named(stores.acme, ["b"], NOW).values())
            return super().add_record_keys(*wanted)

    first: list[Password] = []
    folder = stores.folder
    keys = Slower.open(
        str(folder / "keys.db"), lambda: MasterKeys((MASTER,)), str(folder / "erasures.txt")
    )
    found = Issuer(stores.store.viewers, keys).named(stores.acme, ["a", "b", "c"], NOW)
    keys.close()
    assert set(found) == {"a", "b", "c"}
    assert [found["b"]] == first
    assert stores.issuer.named(stores.acme, ["a", "b", "c"], NOW) == found
    # What each of them was sealed with is there.
    listed = stores.issuer.listed(stores.acme, named=True)
    assert {each.text for each in listed} == {"a", "b", "c"}


def test_a_token_is_spent_for_one_session(stores: Stores) -> None:
    viewers = stores.store.viewers

    def session(number: int) -> Session:
        return Session(
            id=bytes([number]) * 16,
            tenant_id=stores.acme,
            stream_id=stores.ids["acme/film"],
            password_id=None,
            holder=2**62,
            opened_at=NOW,
            expires=NOW + 60,
            idle_s=None,
        )

    def spent(number: int, tenant: int | None = None) -> Spent:
        id = tenant or stores.acme
        return Spent(tenant_id=id, token=b"t" * 16, session=bytes([number]) * 16, expires=NOW + 9)

    assert viewers.keep([session(1)], {}, NOW, [spent(1)]) == {}
    # Said twice, it is kept once; said for another session, that is not kept.
    assert viewers.keep([session(1)], {}, NOW, [spent(1)]) == {}
    lost = viewers.keep([session(2), session(3)], {}, NOW, [spent(2)])
    assert lost == {bytes([2]) * 16: Refusal.SPENT}
    assert [each.id[0] for each in viewers.sessions(NOW)] == [1, 3]
    assert {each.holder for each in viewers.sessions(NOW)} == {2**62}
    # Another tenant's token is another one.
    assert viewers.keep([session(4)], {}, NOW, [spent(4, stores.other)]) == {}
    place = stores.acme, b"t" * 16
    assert viewers.spent([place, (stores.acme, b"u" * 16)]) == {place: bytes([1]) * 16}
    viewers.forget_spent(NOW + 8)
    assert viewers.spent([place])
    viewers.forget_spent(NOW + 9)
    assert not viewers.spent([place])


def test_a_content_path_is_one_streams(stores: Stores) -> None:
    verifiers, film = stores.store.verifiers(stores.keys), stores.ids["acme/film"]
    verifier = Verifier(kind="wowza", secret="mySharedSecret", content="vod/free")
    with pytest.raises(InvalidValue, match="name the stream"):
        verifiers.add(stores.acme, None, "key", verifier, who="eva", now=NOW)
    verifiers.add(stores.acme, film, "key", verifier, who="eva", now=NOW)
    end = f"wowzatokenendtime={NOW + 60}"
    mac = hashlib.sha256(f"vod/free?{verifier.secret}&{end}".encode()).digest()
    query = f"{end}&wowzatokenhash={urlsafe_b64encode(mac).decode()}"

    def opens_with(name: str) -> bool:
        active = verifiers.active(stores.acme, stores.ids[f"acme/{name}"], "signed")
        brought = Brought(path=f"/acme/{name}/", query=query)
        try:
            entry = verify(active, brought, tenant="acme", stream=name, now=NOW)
        except EntranceError:
            return False
        return entry.expires == NOW + 60

    assert opens_with("film") and not opens_with("course")


def test_verifiers_are_sealed_and_a_tenants_own(stores: Stores) -> None:
    verifiers = stores.store.verifiers(stores.keys)
    film, course = stores.ids["acme/film"], stores.ids["acme/course"]

    def add(name: str, stream: int | None = None, tenant: int | None = None, **given: Any) -> Any:
        verifier = Verifier(**given)
        id = tenant or stores.acme
        return verifiers.add(id, stream, name, verifier, who="eva", now=NOW)

    secret, url = new_secret("link"), "https://login.example.org/keys?of=acme"
    add("one", kind="link", secret=secret)
    add("site", kind="jwks", url=url)
    (found,) = verifiers.active(stores.acme, film, "signed")
    assert found.verifier == Verifier(kind="link", secret=secret)
    (found,) = verifiers.active(stores.acme, film, "external")
    assert found.verifier == Verifier(kind="jwks", url=url)
    with pytest.raises(Exists):
        add("one", kind="bunny", secret="x", stream=course)
    with pytest.raises(InvalidValue, match="of the kind link, and all have to be of one"):
        add("two", kind="akamai", secret="00ff")
    add("two", kind="link", secret=new_secret("link"))
    with pytest.raises(InvalidValue, match="2 active ones already, one and two"):
        add("three", kind="link", secret=new_secret("link"))
    add("own", kind="akamai", secret="00ff", salt="s", stream=course)
    assert [each.name for each in verifiers.active(stores.acme, course, "signed")] == ["own"]
    assert {each.name for each in verifiers.active(stores.acme, film, "signed")} == {"one", "two"}
    # A second reader, who has opened none yet.
    fresh = stores.store.verifiers(stores.keys)
    assert fresh.active(stores.acme, course, "signed") == verifiers.active(
        stores.acme, course, "signed"
    )
    assert verifiers.active(stores.other, film, "signed") == verifiers.listed(stores.other) == ()
    with pytest.raises(NotFound):
        verifiers.revoke(stores.other, "one", who="eva", now=NOW)
    with pytest.raises(NotFound):
        add("x", stores.ids["other/film"], kind="link", secret=secret)
    revoked = verifiers.revoke(stores.acme, "one", who="eva", now=NOW + 1)
    assert (revoked.revoked_at, revoked.verifier) == (NOW + 1, None)
    assert [each.name for each in fresh.active(stores.acme, film, "signed")] == ["two"]
    add("one", kind="link", secret=new_secret("link"))
    found_entries = stores.store.audit.entries(stores.acme)
    what = [entry.values for entry in found_entries if entry.stream is None]
    assert {"verifier_revoked": (None, "link one")} in what
    assert secret not in str(what) and secret not in repr(verifiers.listed(stores.acme))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"kind": "hls"}, "kind: 'hls' is none of link, akamai"),
        ({"kind": "link"}, "secret: 64 hexadecimal digits"),
        ({"kind": "link", "secret": "x" * 64}, "secret: 64 hexadecimal digits"),
        ({"kind": "link", "secret": "0" * 64, "salt": "x"}, "salt: link has no use for it"),
        ({"kind": "akamai", "secret": "abc"}, "secret: an Akamai key is an even number"),
        ({"kind": "akamai", "secret": "ab", "algorithm": "sha3"}, "the algorithm is one of"),
        ({"kind": "akamai", "secret": "ab", "token_name": "a=b"}, "name begins with a letter"),
        ({"kind": "bunny"}, "a token authentication key is wanted"),
        ({"kind": "wowza", "secret": "short"}, "8 letters and digits"),
        ({"kind": "jwt", "secret": "c2hvcnQ"}, "base64url of 32 bytes"),
        ({"kind": "jwks"}, "url: one like"),
        ({"kind": "jwks", "url": "ftp://x"}, "url: one like"),
        ({"kind": "jwks", "url": "https://x", "secret": "s"}, "secret: jwks has no use for it"),
        ({"kind": "question", "url": "https://x"}, "whsec_ and base64 of 24 to 64"),
        ({"kind": "question", "url": "https://x", "secret": "a b", "bearer": True}, "bearer"),
        (
            {"kind": "question", "url": "https://x", "secret": "ab", "bearer": True, "seconds": 0},
            "seconds: more than 0",
        ),
    ],
)
def test_a_verifier_that_cannot_be_is_told(given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_verifier("7f", Verifier(**given))
    assert len(caught.value.problems) == 1
    assert wrong in caught.value.problems[0]


def test_a_fresh_secret_fits_its_kind() -> None:
    for kind in ("link", "akamai", "bunny", "wowza", "jwt"):
        check_verifier("7f", Verifier(kind=kind, secret=new_secret(kind)))
    question = Verifier(kind="question", secret=new_secret("question"), url="https://x")
    check_verifier("7f", question)
    assert new_secret("jwks") == ""
    with pytest.raises(InvalidValue, match="name: 1 to 16"):
        check_verifier("a name", question)


def test_whoever_follows_endings_misses_none(stores: Stores, url: str) -> None:
    """What was read is told by its number: none may come to light after one of a higher number."""
    first, second, third = stores.add(*(generate() for _ in range(3)))
    film = stores.ids["acme/film"]
    seen: list[int] = []
    with Store.open(url) as beside, ThreadPoolExecutor() as pool:

        def follow() -> None:
            seen.extend(each.id for each in beside.viewers.endings(max(seen, default=0)))

        with stores.store.together():
            stores.store.viewers.revoke(stores.acme, [first], who="eva", now=NOW)
            viewers = beside.viewers
            by: dict[str, Any] = {"who": "eva", "now": NOW}
            changes: list[Future[Any]] = [
                pool.submit(partial(viewers.revoke, stores.acme, [second], **by)),
                pool.submit(partial(viewers.end_sessions, stores.acme, film, **by)),
                pool.submit(partial(viewers.end_sessions_of, stores.acme, third, **by)),
            ]
            until(lambda: waiting(url) + sum(each.done() for each in changes) == len(changes))
            follow()
        for change in changes:
            change.result()
        follow()
        assert seen == [each.id for each in beside.viewers.endings(0)]
        assert len(seen) == 1 + len(changes)


def waiting(url: str) -> int:
    """How many transactions wait for another one."""
    if url.startswith("sqlite"):
        # They cannot be counted; none of them ever sees half of another.
        return 3
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with engine.connect() as connection:
        found = connection.scalar(sql(f"{query} AND datname = current_database()"))
    engine.dispose()
    return int(found or 0)
