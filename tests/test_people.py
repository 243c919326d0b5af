"""People, their sessions, tokens and the audit log in the store: SQLite and PostgreSQL."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, delete, select, text
from sqlalchemy.exc import DBAPIError

from pystream.acl import sign_in
from pystream.acl.audit import Entry, Kind
from pystream.acl.people import RIGHTS, Actor, Person, Right, Role, of_person
from pystream.acl.sealing import MasterKeys
from pystream.acl.store import Store, key_tables, tables
from pystream.acl.store.accounts import Accounts
from pystream.acl.store.audit import AuditStore
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.people import PeopleStore
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.errors import Exists, InvalidValue, NotFound, SignInError, StoreError

NOW = 1_936_699_200
MASTER = bytes(range(32))
PASSWORD = "correct horse of acme"
# Hashed once: it takes its time.
HASH = sign_in.hash_password(PASSWORD)
FILM = StreamSettings(sources=("/film.mp4",))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        opened.add_tenant("acme", TenantSettings(), who="test", now=NOW)
        opened.add_tenant("other", TenantSettings(), who="test", now=NOW)
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    path = f"sqlite:///{tmp_path}/keys.db"
    with KeyStore.open(path, lambda: MasterKeys([MASTER]), str(tmp_path / "erasures")) as opened:
        opened.set_up(bytes(32), NOW)
        yield opened


@pytest.fixture
def accounts(store: Store, keys: KeyStore) -> Accounts:
    return Accounts(store.people, keys)


@pytest.fixture
def acme(store: Store) -> int:
    return store.tenant("acme").id


def add(store: Store, name: str = "eva", role: Role = Role.ADMIN, tenant: str = "acme") -> Person:
    id = store.tenant(tenant).id
    return store.people.add(id, name, role, HASH, None, who="test", now=NOW)


def raw(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def told(store: Store, tenant: str = "acme", **more: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Who, kind and values of the log, the newest first."""
    entries = store.audit.entries(store.tenant(tenant).id, **more)
    return [(each.who, each.kind.value, dict(each.values)) for each in entries]


# People


def test_people_are_added_listed_and_removed(store: Store, acme: int) -> None:
    eva, max = add(store), add(store, "max", Role.EDITOR)
    add(store, "eva", Role.EDITOR, "other")
    assert store.people.listed(acme) == (eva, max)
    assert (eva.name, eva.role, eva.tenant, eva.has_totp) == ("eva", Role.ADMIN, "acme", False)
    with pytest.raises(Exists, match="a person 'eva' already"):
        add(store)
    with pytest.raises(InvalidValue):
        add(store, "Eva")
    assert store.people.remove(acme, "max", who="test", now=NOW) is None
    with pytest.raises(NotFound, match="no person 'max'"):
        store.people.remove(acme, "max", who="test", now=NOW)
    assert store.people.listed(acme) == (eva,)
    gone = {"person": ("max", None), "role": ("tenant-editor", None)}
    assert told(store)[0] == ("test", "change", gone)


def test_the_last_admin_stays(store: Store, acme: int) -> None:
    add(store)
    add(store, "admin", tenant="other")
    for change in (
        lambda: store.people.remove(acme, "eva", who="test", now=NOW),
        lambda: store.people.set_role(acme, "eva", Role.DPO, who="test", now=NOW),
    ):
        with pytest.raises(InvalidValue, match="'eva' is the last tenant-admin"):
            change()
    add(store, "max")
    assert store.people.set_role(acme, "eva", Role.DPO, who="test", now=NOW).role is Role.DPO
    with pytest.raises(InvalidValue):
        store.people.remove(acme, "max", who="test", now=NOW)


def test_a_role_that_is_so_already_is_no_change(store: Store, acme: int) -> None:
    add(store)
    before = told(store)
    store.people.set_role(acme, "eva", Role.ADMIN, who="test", now=NOW)
    assert told(store) == before


def test_of_two_admins_who_go_at_once_one_stays(url: str, store: Store, acme: int) -> None:
    add(store)
    add(store, "max")

    def go(name: str) -> None:
        with Store.open(url) as own, suppress(InvalidValue):
            own.people.remove(acme, name, who="test", now=NOW)

    threads = [threading.Thread(target=go, args=(name,)) for name in ("eva", "max")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.people.listed(acme)) == 1


def test_a_support_comes_in_by_the_tenants_leave(
    store: Store, accounts: Accounts, acme: int
) -> None:
    add(store)
    add(store, "helper", Role.SUPPORT)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "helper", PASSWORD, "", NOW)
    store.people.let_in(acme, "helper", 3600, who="person:eva", now=NOW)
    opened = accounts.sign_in("acme", "helper", PASSWORD, "", NOW)
    assert of_person(opened.person, NOW).rights == RIGHTS[Role.SUPPORT]
    assert accounts.session(opened.secret, NOW + 1200) is not None
    # The leave ends while the session would go on.
    store.people.let_in(acme, "helper", 1800, who="person:eva", now=NOW)
    assert accounts.session(opened.secret, NOW + 1801) is None
    store.people.let_in(acme, "helper", 0, who="person:eva", now=NOW)
    assert accounts.session(opened.secret, NOW) is None
    with pytest.raises(InvalidValue, match="'eva' is no support"):
        store.people.let_in(acme, "eva", 3600, who="person:eva", now=NOW)
    assert told(store)[0][2]["let_in_until"] == (NOW + 1800, None)


def test_another_role_takes_a_leave_away(store: Store, acme: int) -> None:
    add(store, "helper", Role.SUPPORT)
    store.people.let_in(acme, "helper", 3600, who="person:eva", now=NOW)
    for role in (Role.EDITOR, Role.SUPPORT):
        after = store.people.set_role(acme, "helper", role, who="test", now=NOW)
    assert after.let_in_until is None


# Signing in


def test_who_signs_in_has_a_session_until_it_ends(store: Store, accounts: Accounts) -> None:
    eva = add(store)
    opened = accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert opened.person == eva and len(opened.secret) == 32
    assert accounts.session(opened.secret, NOW + 1799) == eva
    # Each use puts the idle end off; nothing puts off the hard one.
    times = range(NOW, NOW + sign_in.SESSION_LONGEST_S, 1700)
    assert all(accounts.session(opened.secret, each) for each in times)
    assert accounts.session(opened.secret, NOW + sign_in.SESSION_LONGEST_S) is None
    assert accounts.session(bytes(32), NOW) is None
    assert told(store)[0] == ("person:eva", "access", {"signed_in": (None, "password")})


def test_nothing_is_left_of_sessions_that_are_over_when_somebody_signs_in(
    store: Store, accounts: Accounts
) -> None:
    add(store)
    accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    over = NOW + sign_in.SESSION_LONGEST_S
    accounts.sign_in("acme", "eva", PASSWORD, "", over - 1)
    last = accounts.sign_in("acme", "eva", PASSWORD, "", over)
    digests = select(tables.console_session.c.digest)
    with store.database.reading() as connection:
        found = connection.scalars(digests.order_by(tables.console_session.c.expires)).all()
    assert len(found) == 2 and found[1] == sign_in.digest(last.secret)


def test_an_idle_session_is_over(store: Store, accounts: Accounts) -> None:
    add(store)
    opened = accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert accounts.session(opened.secret, NOW + sign_in.SESSION_IDLE_S) is None


def test_who_signs_out_is_out_there_alone(store: Store, accounts: Accounts) -> None:
    add(store)
    one, two = (accounts.sign_in("acme", "eva", PASSWORD, "", NOW).secret for _ in range(2))
    accounts.sign_out(one, NOW)
    accounts.sign_out(one, NOW)
    assert accounts.session(one, NOW) is None and accounts.session(two, NOW) is not None


def test_whoever_is_signed_in_sees_where_and_ends_it_everywhere(
    store: Store, accounts: Accounts
) -> None:
    eva, max = add(store), add(store, "max")
    first, second = (
        accounts.sign_in("acme", "eva", PASSWORD, "", NOW + at).secret for at in (0, 60)
    )
    other = accounts.sign_in("acme", "max", PASSWORD, "", NOW).secret
    assert accounts.sessions(eva, first, NOW + 60) == ((False, NOW + 60), (True, NOW))
    # One that was used goes to the front; one that was idle for too long is none.
    assert accounts.session(first, NOW + 120) is not None
    assert accounts.sessions(eva, first, NOW + 120) == ((True, NOW + 120), (False, NOW + 60))
    idle = NOW + 60 + sign_in.SESSION_IDLE_S
    assert accounts.sessions(eva, first, idle) == ((True, NOW + 120),)
    accounts.sign_out_everywhere(eva, NOW + 120)
    assert accounts.session(first, NOW + 120) is accounts.session(second, NOW + 120) is None
    assert accounts.sessions(eva, first, NOW + 120) == ()
    assert accounts.sessions(max, other, NOW + 120) == ((True, NOW),)
    ended = {"person": ("eva", "eva"), "sessions_ended": (None, True)}
    assert told(store)[0] == ("person:eva", "change", ended)


@pytest.mark.parametrize(
    ("tenant", "name", "password"),
    [
        ("acme", "eva", "wrong"),
        ("acme", "eva", ""),
        ("acme", "nobody", PASSWORD),
        ("other", "eva", PASSWORD),
        ("nobody", "eva", PASSWORD),
        ("", "", ""),
        ("acme' --", "eva", PASSWORD),
        ("acme", "eva", PASSWORD.upper()),
    ],
)
def test_who_is_wrong_gets_one_answer(
    store: Store, accounts: Accounts, tenant: str, name: str, password: str
) -> None:
    add(store)
    with pytest.raises(SignInError, match="name, password or code are wrong"):
        accounts.sign_in(tenant, name, password, "", NOW)
    assert all(kind != "access" for _, kind, _ in told(store))


def test_what_failed_is_on_record_once_an_hour(store: Store, accounts: Accounts, acme: int) -> None:
    eva = add(store)
    add(store, tenant="other")

    def fail(*times: int, name: str = "eva", tenant: str = "acme") -> None:
        for now in times:
            with pytest.raises(SignInError):
                accounts.sign_in(tenant, name, "typed into the wrong field", "", now)
            accounts.failures.write(now)

    def recorded(tenant: str = "acme") -> list[tuple[int, str, int]]:
        id = store.tenant(tenant).id
        entries = store.audit.entries(id, kinds={Kind.ACCESS})
        assert {name for each in entries for name in each.values} <= {"sign_ins_failed"}
        return [(each.at, each.who, each.values["sign_ins_failed"][1]) for each in entries]

    fail(NOW, name="nobody")
    fail(NOW, tenant="nowhere")
    fail(NOW, name="typed into the wrong field")
    assert recorded() == recorded("other") == []
    fail(*range(NOW, NOW + 5))
    assert recorded() == [(NOW, "person:eva", 1)]
    accounts.failures.write(NOW + 3599)
    assert len(recorded()) == 1
    accounts.failures.write(NOW + 3600)
    accounts.failures.write(NOW + 3600)
    assert recorded() == [(NOW + 3600, "person:eva", 4), (NOW, "person:eva", 1)]
    # Whoever is another tenant's has a sum of their own, and whatever is left is written at the end.
    fail(NOW + 3601, NOW + 3602)
    fail(NOW + 3602, tenant="other")
    assert recorded("other") == [(NOW + 3602, "person:eva", 1)]
    accounts.failures.write(NOW + 3603, leaving=True)
    assert recorded()[0] == (NOW + 3603, "person:eva", 2)
    # Of who is gone, there is nothing more to say.
    fail(NOW + 3604)
    add(store, "max")
    store.people.remove(acme, eva.name, who="max", now=NOW)
    accounts.failures.write(NOW + 3605, leaving=True)
    assert len(recorded()) == 3
    assert "typed" not in str(told(store)) + str(told(store, "other"))


def test_what_fails_to_be_written_is_written_later(store: Store, accounts: Accounts) -> None:
    add(store)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", "wrong", "", NOW)
    with store.database.writing() as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO away"))
    with pytest.raises(StoreError):
        accounts.failures.write(NOW)
    with store.database.writing() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO audit"))
    accounts.failures.write(NOW)
    assert told(store, kinds={Kind.ACCESS}) == [
        ("person:eva", "access", {"sign_ins_failed": (None, 1)})
    ]


def test_nobody_costs_what_somebody_costs(
    store: Store, accounts: Accounts, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: statements of both stores, and hashes."""
    add(store)
    counts: list[str] = []
    for kind in (PeopleStore, KeyStore):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if name in ("find", "record_keys", "open_session", "record_key"):
                monkeypatch.setattr(kind, name, counted(counts, name, method))
    monkeypatch.setattr(sign_in, "verify", counted(counts, "verify", sign_in.verify))
    seen = []
    for tenant, name in (("acme", "eva"), ("acme", "nobody"), ("nowhere", "nobody")):
        counts.clear()
        with pytest.raises(SignInError):
            accounts.sign_in(tenant, name, "wrong", "123456", NOW)
        seen.append(list(counts))
    assert seen[0] == seen[1] == seen[2] == ["find", "record_keys", "verify"]


def counted(counts: list[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        counts.append(name)
        return method(*arguments, **more)

    return call


def test_a_first_password_is_for_a_time_and_to_be_changed(
    store: Store, accounts: Accounts, acme: int
) -> None:
    person, first = accounts.add(acme, "eva", Role.ADMIN, who="test", now=NOW)
    assert person.must_change
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", first, "", NOW + sign_in.FIRST_PASSWORD_S)
    opened = accounts.sign_in("acme", "eva", first, "", NOW)
    # It is typed from paper.
    for typed in (first.lower(), first.replace("-", ""), f" {first.replace('-', ' ')}"):
        accounts.sign_in("acme", "eva", typed.replace("0", "o").replace("1", "l"), "", NOW)
    slip = ("B" if first[0] != "B" else "C") + first[1:]
    for wrong in (slip, first[:-1], f"{first}x"):
        with pytest.raises(SignInError):
            accounts.sign_in("acme", "eva", wrong, "", NOW)
    other = accounts.sign_in("acme", "eva", first, "", NOW)
    with pytest.raises(SignInError):
        accounts.change_password(person, "wrong", PASSWORD, opened.secret, NOW)
    for wrong in ("short", first):
        with pytest.raises(InvalidValue):
            accounts.change_password(person, first, wrong, opened.secret, NOW)
    accounts.change_password(person, first, PASSWORD, opened.secret, NOW)
    after = accounts.session(opened.secret, NOW)
    assert after is not None and not after.must_change
    assert accounts.session(other.secret, NOW) is None
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", first, "", NOW)
    again, second = accounts.reset(acme, "eva", who="test", now=NOW)
    assert again.must_change and accounts.session(opened.secret, NOW) is None
    accounts.sign_in("acme", "eva", second, "", NOW)
    log = str(told(store))
    assert first not in log and second not in log and PASSWORD not in log


def test_who_is_removed_is_out(store: Store, accounts: Accounts, acme: int) -> None:
    add(store)
    add(store, "max")
    opened = accounts.sign_in("acme", "max", PASSWORD, "", NOW)
    accounts.remove(acme, "max", who="test", now=NOW)
    assert accounts.session(opened.secret, NOW) is None
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "max", PASSWORD, "", NOW)


def test_parameters_that_grew_are_taken_over(store: Store, accounts: Accounts, acme: int) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    store.people.add(acme, "eva", Role.ADMIN, weak, None, who="test", now=NOW)
    opened = accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert not sign_in.is_outdated(store.people.account(acme, "eva").hash)
    assert accounts.session(opened.secret, NOW) is not None


# Authenticators


@pytest.fixture
def guarded(store: Store, accounts: Accounts) -> tuple[bytes, tuple[str, ...]]:
    """Eva's authenticator: its secret, and the codes for recovery. The step of NOW is used."""
    eva = add(store)
    secret = accounts.begin_totp(eva, NOW)
    return secret, accounts.finish_totp(eva, sign_in.totp(secret, NOW // 30), NOW)


def test_a_code_is_asked_for_once_its_owner_has_shown_one(store: Store, accounts: Accounts) -> None:
    eva = add(store)
    with pytest.raises(SignInError):
        accounts.finish_totp(eva, "123456", NOW)
    secret = accounts.begin_totp(eva, NOW)
    with pytest.raises(SignInError):
        accounts.finish_totp(eva, "000000", NOW)
    accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    # Begun anew, before it was finished.
    newer = accounts.begin_totp(eva, NOW)
    assert newer != secret
    accounts.finish_totp(eva, sign_in.totp(newer, NOW // 30), NOW)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    with pytest.raises(InvalidValue, match="an authenticator already"):
        accounts.begin_totp(eva, NOW)


def test_codes_for_recovery_are_made_once_for_an_authenticator(
    store: Store, accounts: Accounts, guarded: tuple[bytes, tuple[str, ...]]
) -> None:
    """Whoever finds a session open, and the phone beside it, takes over no second factor."""
    secret, recovery = guarded
    eva = store.people.account(store.tenant("acme").id, "eva").person
    later = NOW + 60
    for code in (sign_in.totp(secret, later // 30), "000000"):
        with pytest.raises(InvalidValue, match="an authenticator already"):
            accounts.finish_totp(eva, code, later)
    accounts.sign_in("acme", "eva", PASSWORD, recovery[0], later)


def test_an_authenticator_is_switched_on_as_it_was_when_its_code_was_shown(
    store: Store, accounts: Accounts, keys: KeyStore
) -> None:
    eva = add(store)
    secret = accounts.begin_totp(eva, NOW)
    finish = partial(store.people.finish_totp, eva, who="test", now=NOW)

    def waits() -> bytes | None:
        return store.people.account(eva.tenant_id, "eva").reference

    seen = waits()
    accounts.begin_totp(eva, NOW)
    # Nobody of another tenant has it.
    stranger = replace(eva, tenant_id=store.tenant("other").id)
    assert not store.people.begin_totp(stranger, bytes(16), secret)
    of_other = store.people.finish_totp
    assert not of_other(stranger, waits(), NOW // 30, [bytes(32)], who="test", now=NOW)
    # Another secret waits by now.
    assert not finish(seen, NOW // 30, [bytes(32)])
    seen = waits()
    assert finish(seen, NOW // 30, [bytes(32)])
    # It is in use by now, and neither replaced nor switched on again.
    assert not finish(seen, NOW // 30 + 1, [bytes([1]) * 32])
    assert not store.people.begin_totp(eva, bytes(16), secret)
    accounts.remove_totp(eva.tenant_id, "eva", who="test", now=NOW)
    # A code counts once, also for another secret (RFC 6238 5.2).
    accounts.begin_totp(eva, NOW)
    seen = waits()
    assert not finish(seen, NOW // 30, [bytes(32)])
    assert finish(seen, NOW // 30 + 1, [bytes(32)])


def test_each_code_lets_in_once(
    store: Store, accounts: Accounts, guarded: tuple[bytes, tuple[str, ...]]
) -> None:
    secret, recovery = guarded
    later = NOW + 60
    code = sign_in.totp(secret, later // 30)
    for wrong in ("", "000000", sign_in.totp(secret, NOW // 30)):
        with pytest.raises(SignInError):
            accounts.sign_in("acme", "eva", PASSWORD, wrong, later)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", "wrong", code, later)
    accounts.sign_in("acme", "eva", PASSWORD, code, later)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", PASSWORD, code, later)
    accounts.sign_in("acme", "eva", PASSWORD, recovery[0], later)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", PASSWORD, recovery[0], later)
    accounts.sign_in("acme", "eva", PASSWORD, recovery[1].upper(), later)
    how = [values["signed_in"][1] for _, _, values in told(store, kinds={Kind.ACCESS})]
    assert how == ["recovery code", "recovery code", "code"]


def test_of_many_who_show_one_code_one_comes_in(
    url: str, store: Store, keys: KeyStore, guarded: tuple[bytes, tuple[str, ...]]
) -> None:
    _, recovery = guarded
    eva = store.people.account(store.tenant("acme").id, "eva").person
    codes = {"step": NOW // 30 + 2, "code": sign_in.recovery_digest(recovery[0])}
    for name, value in codes.items():
        came_in: list[bool] = []

        def come(name: str = name, value: Any = value, came_in: list[bool] = came_in) -> None:
            with Store.open(url) as own:
                more = {name: value}
                digest = sign_in.digest(sign_in.new_session())
                came_in.append(own.people.open_session(eva, digest, NOW + 60, NOW, **more))

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(came_in) == [False] * 7 + [True]


@pytest.mark.parametrize("meanwhile", ["reset", "nothing", "guarded", "removed"])
def test_what_changes_while_a_password_is_checked_counts(
    store: Store, keys: KeyStore, meanwhile: str
) -> None:
    """Between the look at the hash and the session, some 50 ms of another thread's."""
    eva = add(store)

    class Interrupted(PeopleStore):
        def open_session(self, *given: Any, **more: Any) -> bool:
            people = Accounts(store.people, keys)
            if meanwhile == "reset":
                people.reset(eva.tenant_id, "eva", who="max", now=NOW)
            elif meanwhile == "removed":
                add(store, "max")
                people.remove(eva.tenant_id, "eva", who="max", now=NOW)
            elif meanwhile == "guarded":
                secret = people.begin_totp(eva, NOW)
                people.finish_totp(eva, sign_in.totp(secret, NOW // 30), NOW)
            return super().open_session(*given, **more)

    accounts = Accounts(Interrupted(store.database), keys)
    if meanwhile == "nothing":
        assert accounts.sign_in("acme", "eva", PASSWORD, "", NOW).person == eva
        store.people.renew_hash(eva, "another hash", "a newer one")
        accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
        return
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert store.people.sessions(eva, 60, NOW) == ()


@pytest.mark.parametrize("action", ["change_password", "give_up_totp"])
def test_who_changes_things_with_a_password_that_was_replaced_meanwhile_changes_nothing(
    store: Store, keys: KeyStore, action: str
) -> None:
    """Else whoever knows the old one, and has it changed again and again, outlasts a reset."""
    eva, usual = add(store), Accounts(store.people, keys)
    secret = usual.begin_totp(eva, NOW)
    usual.finish_totp(eva, sign_in.totp(secret, NOW // 30), NOW)
    eva = store.people.account(eva.tenant_id, "eva").person

    class Interrupted(PeopleStore):
        def set_hash(self, *given: Any, **more: Any) -> Person:
            usual.reset(eva.tenant_id, "eva", who="max", now=NOW)
            return super().set_hash(*given, **more)

        def remove_totp(self, *given: Any, **more: Any) -> None:
            usual.reset(eva.tenant_id, "eva", who="max", now=NOW)
            super().remove_totp(*given, **more)

    accounts = Accounts(Interrupted(store.database), keys)
    with pytest.raises(SignInError):
        if action == "change_password":
            accounts.change_password(eva, PASSWORD, "another horse of mine", bytes(32), NOW)
        else:
            accounts.give_up_totp(eva, PASSWORD, NOW)
    found = store.people.account(eva.tenant_id, "eva")
    assert found.person.must_change and found.person.has_totp
    assert not sign_in.verify(found.hash, "another horse of mine")


def test_a_lost_authenticator_is_taken_away(
    store: Store, accounts: Accounts, keys: KeyStore, acme: int,
    guarded: tuple[bytes, tuple[str, ...]],
) -> None:  # fmt: skip
    reference = store.people.account(acme, "eva").reference
    assert reference is not None
    accounts.remove_totp(acme, "eva", who="test", now=NOW)
    accounts.remove_totp(acme, "eva", who="test", now=NOW)
    assert keys.record_keys(acme, [reference]) == {}
    accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    with pytest.raises(SignInError):
        accounts.finish_totp(add(store, "max"), guarded[1][0], NOW)


def test_an_authenticator_whose_key_is_lost_is_taken_away(
    store: Store, accounts: Accounts, keys: KeyStore, acme: int,
    guarded: tuple[bytes, tuple[str, ...]],
) -> None:  # fmt: skip
    """The key store is from before it was set up."""
    reference = store.people.account(acme, "eva").reference
    with keys.database.writing() as connection:
        connection.execute(delete(key_tables.record_key))
    accounts.remove_totp(acme, "eva", who="test", now=NOW)
    accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert [each for (each,) in erased(keys)] == [reference]


def erased(keys: KeyStore) -> list[Any]:
    with keys.database.reading() as connection:
        return list(map(tuple, connection.execute(select(key_tables.erasure.c.reference))))


def test_an_authenticator_that_waits_is_shown_until_it_is_in_use_and_given_up_by_its_owner(
    store: Store, accounts: Accounts, keys: KeyStore, acme: int
) -> None:
    eva = add(store)
    assert accounts.begun_totp(eva) is None
    secret = accounts.begin_totp(eva, NOW)
    assert accounts.begun_totp(eva) == secret
    accounts.finish_totp(eva, sign_in.totp(secret, NOW // 30), NOW)
    assert accounts.begun_totp(eva) is None
    reference = store.people.account(acme, "eva").reference
    assert reference is not None
    with pytest.raises(SignInError):
        accounts.give_up_totp(eva, "wrong", NOW)
    with pytest.raises(SignInError):
        accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    accounts.give_up_totp(eva, PASSWORD, NOW)
    accounts.sign_in("acme", "eva", PASSWORD, "", NOW)
    assert keys.record_keys(acme, [reference]) == {}
    assert accounts.begun_totp(eva) is None


def test_without_its_key_no_code_is_right_and_recovery_still_is(
    store: Store, accounts: Accounts, keys: KeyStore, acme: int,
    guarded: tuple[bytes, tuple[str, ...]],
) -> None:  # fmt: skip
    secret, recovery = guarded
    reference = store.people.account(acme, "eva").reference
    assert reference is not None
    keys.erase(acme, [reference], NOW)
    later = NOW + 60
    for known in (secret, bytes(20)):
        with pytest.raises(SignInError):
            accounts.sign_in("acme", "eva", PASSWORD, sign_in.totp(known, later // 30), later)
    accounts.sign_in("acme", "eva", PASSWORD, recovery[0], later)


def test_whoever_goes_takes_the_secret_along(
    store: Store, accounts: Accounts, keys: KeyStore, acme: int,
    guarded: tuple[bytes, tuple[str, ...]],
) -> None:  # fmt: skip
    reference = store.people.account(acme, "eva").reference
    assert reference is not None
    add(store, "max")
    accounts.remove(acme, "eva", who="test", now=NOW)
    assert keys.record_keys(acme, [reference]) == {}


def test_the_database_alone_tells_no_secret(
    url: str, store: Store, accounts: Accounts, acme: int,
    guarded: tuple[bytes, tuple[str, ...]],
) -> None:  # fmt: skip
    secret, recovery = guarded
    opened = accounts.sign_in("acme", "eva", PASSWORD, recovery[0], NOW)
    _, token = accounts.add_token(acme, "site", [Right.STREAMS_READ], None, who="test", now=NOW)
    engine = raw(url)
    with engine.connect() as connection:
        rows = [
            row
            for table in tables.metadata.sorted_tables
            for row in connection.execute(table.select()).all()
        ]
    engine.dispose()
    held = repr(rows).encode()
    plain = [recovery[1].encode(), PASSWORD.encode(), token.encode(), token[4:20].encode()]
    for each in (*plain, secret, opened.secret):
        assert each not in held and repr(each)[2:-1].encode() not in held


# Tokens


def test_tokens_let_in_until_they_are_over(store: Store, accounts: Accounts, acme: int) -> None:
    scopes = [Right.STREAMS_READ, Right.PASSWORDS_CHANGE]
    token, text_ = accounts.add_token(acme, "site", scopes, NOW + 100, who="test", now=NOW)
    assert token.scopes == set(scopes) and token.used_on is None
    found = accounts.token(text_, NOW + 99)
    assert found == token
    assert accounts.token(text_, NOW + 100) is None and accounts.token("pst_", NOW) is None
    assert store.people.tokens(acme)[0].used_on == NOW // 86_400
    with pytest.raises(Exists):
        accounts.add_token(acme, "site", scopes, None, who="test", now=NOW)
    with pytest.raises(InvalidValue, match="not in the future"):
        accounts.add_token(acme, "old", scopes, NOW, who="test", now=NOW)
    # No list could show when that is.
    with pytest.raises(InvalidValue, match="expires: a time"):
        accounts.add_token(acme, "late", scopes, 10**13, who="test", now=NOW)
    other = store.tenant("other").id
    with pytest.raises(NotFound):
        store.people.revoke_token(other, "site", who="test", now=NOW)
    store.people.revoke_token(acme, "site", who="test", now=NOW)
    assert accounts.token(text_, NOW) is None and store.people.tokens(acme) == ()
    assert told(store)[0] == ("test", "change", {"token": ("site", None)})
    assert text_ not in str(told(store))


# Tenants


def test_another_tenant_finds_nobody(store: Store, accounts: Accounts) -> None:
    """Every method that names a tenant, asked with another one's number: nothing is found, and nothing
    of acme's is changed. A new method fails this until it has a case."""
    eva = add(store)
    helper = add(store, "helper", Role.SUPPORT)
    accounts.add_token(eva.tenant_id, "site", [Right.STREAMS_READ], None, who="test", now=NOW)
    other = store.tenant("other").id
    by: dict[str, Any] = {"who": "test", "now": NOW}
    people, audit = store.people, store.audit
    cases: dict[str, Callable[[], object]] = {
        "listed": lambda: people.listed(other) or missing(),
        "account": lambda: people.account(other, "eva"),
        "set_role": lambda: people.set_role(other, "eva", Role.DPO, **by),
        "let_in": lambda: people.let_in(other, "helper", 3600, **by),
        "set_hash": lambda: people.set_hash(other, "eva", "x", None, **by),
        "remove": lambda: people.remove(other, "helper", **by),
        "tokens": lambda: people.tokens(other) or missing(),
        "revoke_token": lambda: people.revoke_token(other, "site", **by),
        "entries": lambda: [e for e in audit.entries(other) if e.tenant != "other"] or missing(),
        "forget": lambda: audit.forget(other, 0, **by) or missing(),
    }
    # What adds something adds it to whom it names.
    adding = {"add", "add_token", "record_view"}
    named = {
        name
        for kind in (PeopleStore, AuditStore)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if "tenant_id" in inspect.signature(method).parameters
    }
    assert named == cases.keys() | adding
    before = told(store), people.listed(eva.tenant_id), people.tokens(eva.tenant_id)
    for ask in cases.values():
        with pytest.raises(NotFound):
            ask()
    assert before == (told(store), people.listed(eva.tenant_id), people.tokens(eva.tenant_id))
    assert helper in people.listed(eva.tenant_id)
    for name in ("add", "add_token"):
        rest = ("site", b"x" * 32, [], None) if name == "add_token" else ("x", Role.DPO, "x", None)
        with pytest.raises(NotFound, match="no such tenant"):
            getattr(people, name)(99, *rest, **by)


def missing() -> NoReturn:
    raise NotFound("nothing")


def test_a_tenant_with_people_stays(store: Store) -> None:
    add(store)
    with pytest.raises(StoreError, match="tenant 'acme' stays"):
        store.remove_tenant("acme")
    assert told(store)


# The audit log


def test_entries_come_in_pages_the_newest_first(store: Store, acme: int) -> None:
    store.add_stream("acme", "film", FILM, who="eva", now=NOW)
    stream = store.stream("acme", "film").id
    for count in range(5):
        what = {"passwords_shown": count}
        store.audit.record_view(acme, stream, what, who="person:eva", now=NOW + count)
    first = store.audit.entries(acme, most=3)
    assert [each.values["passwords_shown"][1] for each in first] == [4, 3, 2]
    second = store.audit.entries(acme, before=first[-1].id, most=3)
    assert [each.id for each in second] == sorted((each.id for each in second), reverse=True)
    assert {each.id for each in first}.isdisjoint(each.id for each in second)
    views = store.audit.entries(acme, kinds={Kind.VIEW}, stream="film")
    assert len(views) == 5 and all(each.stream == "film" for each in views)
    assert store.audit.entries(acme, stream="none") == ()
    # Who looked has changed nothing.
    assert all(
        isinstance(each, Entry) and each.kind is Kind.CHANGE for each in store.changes("acme")
    )


def test_the_log_only_grows(url: str, store: Store) -> None:
    before = told(store)
    attempts = [
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = 1",
        "UPDATE audit SET at = 0 WHERE id = 1",
    ]
    row = "(id, at, who, kind, tenant_id, what) VALUES (1, 0, 'x', 'change', 1, '{}')"
    if url.startswith("sqlite"):
        attempts += [f"INSERT OR REPLACE INTO audit {row}", f"REPLACE INTO audit {row}"]
    else:
        upsert = "ON CONFLICT (id) DO UPDATE SET who = 'x'"
        attempts += ["TRUNCATE audit", f"INSERT INTO audit {row} {upsert}"]
    engine = raw(url)
    for attempt in attempts:
        with pytest.raises(DBAPIError, match="the audit log only grows"), engine.begin() as one:
            one.execute(text(attempt))
    engine.dispose()
    assert told(store) == before


def test_what_is_old_enough_can_be_forgotten_and_that_is_on_record(
    url: str, store: Store, acme: int
) -> None:
    for at in (NOW - 10, NOW, NOW + 10):
        store.audit.record_view(acme, None, {"reports_shown": 1}, who="eva", now=at)
    other = told(store, "other")
    assert store.audit.forget(acme, NOW + 1, who="retention", now=NOW + 20) == 3
    assert [(kind, values) for _, kind, values in told(store)] == [
        ("change", {"audit_entries_deleted": (None, 3)}),
        ("view", {"reports_shown": (None, 1)}),
    ]
    assert told(store, "other") == other
    assert store.audit.forget(None, NOW + 11, who="retention", now=NOW + 30) == 2
    assert told(store, "other")[0][2] == {"audit_entries_deleted": (None, 1)}
    assert store.audit.forget(None, NOW, who="retention", now=NOW + 30) == 0
    # The door is shut again.
    engine = raw(url)
    with pytest.raises(DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text("DELETE FROM audit"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_release")).scalar() == 0
    engine.dispose()


def test_a_release_covers_what_it_names_alone(url: str, store: Store, acme: int) -> None:
    """Of another tenant, and of what is newer, nothing goes even where the statement says so."""
    engine = raw(url)
    for owner, older in ((acme, NOW), (store.tenant("other").id, NOW + 1)):
        release = f"INSERT INTO audit_release VALUES (1, {owner}, {older})"
        with pytest.raises(DBAPIError, match="only grows"), engine.begin() as connection:
            connection.execute(text(release))
            connection.execute(text(f"DELETE FROM audit WHERE tenant_id = {acme}"))
    engine.dispose()


def test_what_the_log_was_before_is_in_it(url: str) -> None:
    """A store of the revision before, with changes and views in its table of changes."""
    with Store.open(url) as store:
        store.add_tenant("acme", TenantSettings(), who="eva", now=NOW)
        before = store.changes("acme")
        moved(url, "0002", down=True)
    engine = raw(url)
    shown = json.dumps({"passwords_shown": [None, 12]})
    with engine.begin() as connection:
        row = f"VALUES ({NOW + 1}, 'max', 1, '{shown}')"
        connection.execute(text(f"INSERT INTO change (at, who, tenant_id, what) {row}"))
    engine.dispose()
    with Store.open(url) as store:
        assert store.changes("acme") == before
        assert told(store)[0] == ("max", "view", {"passwords_shown": (None, 12)})
        # Numbers go on where they were.
        store.set_tenant("acme", {"display": "ACME"}, who="eva", now=NOW + 2)
        ids = [each.id for each in store.audit.entries(store.tenant("acme").id)]
        assert ids == sorted(set(ids), reverse=True) and len(ids) == 3


def moved(url: str, revision: str, *, down: bool) -> None:
    engine = raw(url)
    with engine.begin() as connection:
        config = Config()
        folder = Path(tables.__file__).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
    engine.dispose()


def test_who_is_nobody_is_not_on_record(store: Store, acme: int) -> None:
    for who in ("", "x" * 201, "e\nva"):
        with pytest.raises(InvalidValue, match="has to be said"):
            store.audit.record_view(acme, None, {}, who=who, now=NOW)
        with pytest.raises(InvalidValue):
            store.people.add(acme, "eva", Role.DPO, HASH, None, who=who, now=NOW)


def test_nobody_is_an_actor_without_rights() -> None:
    from pystream.server.office.routing import NOBODY

    assert Actor(tenant_id=0, tenant="", who="nobody", rights=frozenset()) == NOBODY
