"""`pystream person`, `token` and `audit`: real commands on a real store."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from pystream.acl import sign_in
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.settings import load
from tests.test_cli_store import done, here, refused, told

__all__ = ["here"]

pytestmark = pytest.mark.slow

PASSWORD = "correct horse of acme"


@pytest.fixture
def acme(here: Path) -> Path:
    done("tenant", "add", "acme")
    return here


def test_people_are_added_and_let_in(acme: Path) -> None:
    first = done("person", "add", "acme", "eva", "--role", "tenant-admin").strip()
    assert re.fullmatch(r"([0-9A-Z]{4}-){6}[0-9A-Z]{4}", first)
    max = told("person", "add", "acme", "max", "--role", "dpo")
    assert (max["role"], max["first_password"], max["code"]) == ("dpo", True, False)
    people = told("person", "list", "acme")["people"]
    assert [(each["name"], each["role"]) for each in people] == [
        ("eva", "tenant-admin"),
        ("max", "dpo"),
    ]
    assert "password" not in people[0]
    assert done("person", "list", "acme").split("\n")[1].split() == [
        *("eva", "tenant-admin", "no", "to", "be", "changed"),
    ]
    assert told("person", "role", "acme", "max", "tenant-editor")["role"] == "tenant-editor"
    assert "the last tenant-admin" in refused(2, "person", "role", "acme", "eva", "dpo")
    assert "the last tenant-admin" in refused(2, "person", "remove", "acme", "eva")
    assert "ROLE: one of tenant-admin" in refused(2, "person", "role", "acme", "eva", "root")
    assert "no person 'tom'" in refused(1, "person", "password", "acme", "tom")
    assert "a person 'eva' already" in refused(1, "person", "add", "acme", "eva", "--role", "dpo")
    assert "no name of a person" in refused(2, "person", "add", "acme", "E", "--role", "dpo")
    assert "--role" in refused(2, "person", "add", "acme", "tom")
    second = done("person", "password", "acme", "eva").strip()
    with Store.open(str(acme / "acl.db")) as store:
        tenant = store.tenant("acme").id
        hash = store.people.account(tenant, "eva").hash
    assert sign_in.verify(hash, second) and not sign_in.verify(hash, first)
    assert "max of acme is removed" in done("person", "remove", "acme", "max")
    assert "no tenant 'other'" in refused(1, "person", "list", "other")


def test_a_lost_authenticator_is_taken_away(acme: Path) -> None:
    first = told("person", "add", "acme", "eva", "--role", "tenant-admin")["password"]
    done("person", "add", "acme", "max", "--role", "tenant-admin")
    settings, now = load("pystream.toml", {}), int(time.time())
    ensure_keys(settings.keys, {}, now)
    with (
        Store.open(str(acme / "acl.db")) as store,
        open_key_store(settings.keys, {}, migrate=False) as keys,
    ):
        accounts = Accounts(store.people, keys)
        eva = accounts.sign_in("acme", "eva", first, "", now).person
        secret = accounts.begin_totp(eva, now)
        accounts.finish_totp(eva, sign_in.totp(secret, now // 30), now)
        assert told("person", "list", "acme")["people"][0]["code"] is True
        second = done("person", "password", "acme", "eva", "--without-code").strip()
        assert told("person", "list", "acme")["people"][0]["code"] is False
        eva = accounts.sign_in("acme", "eva", second, "", now).person
        accounts.begin_totp(eva, now)
        reference = store.people.account(eva.tenant_id, "eva").reference
        assert reference is not None
        done("person", "remove", "acme", "eva")
        assert keys.record_keys(eva.tenant_id, [reference]) == {}


def test_tokens_are_made_listed_and_revoked(acme: Path) -> None:
    scopes = ("--scope", "streams:read", "--scope", "passwords:change")
    text = done("token", "add", "acme", "site", *scopes).strip()
    assert sign_in.token_digest(text) is not None
    other = told("token", "add", "acme", "sums", "--scope", "traffic:read", "--days", "30")
    assert other["token"].startswith("pst_") and other["expires"] is not None
    late = ("token", "add", "acme", "late", "--scope", "streams:read", "--days", "99999999")
    assert "expires: a time" in refused(2, *late)
    listed = told("token", "list", "acme")["tokens"]
    assert [(each["name"], each["scopes"]) for each in listed] == [
        ("site", ["passwords:change", "streams:read"]),
        ("sums", ["traffic:read"]),
    ]
    assert text not in done("token", "list", "acme")
    assert "token site of acme is revoked" in done("token", "revoke", "acme", "site")
    assert "no token 'site'" in refused(1, "token", "revoke", "acme", "site")
    wrong = ("token", "add", "acme", "x", "--scope", "people:change")
    assert "--scope: one or several of" in refused(2, *wrong)
    assert "--days" in refused(2, "token", "add", "acme", "x", *scopes, "--days", "0")


def test_the_log_says_who_did_what(acme: Path) -> None:
    first = told("person", "add", "acme", "eva", "--role", "dpo", "--by", "Ina")["password"]
    text = done("token", "add", "acme", "site", "--scope", "streams:read").strip()
    entries = told("audit", "acme")["entries"]
    assert [list(each["values"]) for each in entries[:2]] == [
        ["token", "scopes"],
        ["person", "role"],
    ]
    assert entries[1]["who"] == "Ina" and entries[1]["kind"] == "change"
    assert [each["id"] for each in entries] == ["3", "2", "1"]
    assert told("audit", "acme", "--before", "2", "--limit", "5")["entries"] == entries[2:]
    assert told("audit", "acme", "--kind", "access")["entries"] == []
    table = done("audit", "acme").splitlines()
    assert len(table) == 4 and "person: eva, role: dpo" in table[2]
    done("person", "password", "acme", "eva")
    assert done("audit", "acme").splitlines()[1].endswith("  person: eva, a new password")
    everything = str(entries) + str(table)
    assert first not in everything and text not in everything
    assert "one of change, view, access" in refused(2, "audit", "acme", "--kind", "x")
    assert "no tenant 'other'" in refused(1, "audit", "other")


@pytest.mark.parametrize("command", ["person", "token", "audit"])
def test_help_fits_a_terminal(command: str) -> None:
    pages = {
        "person": ("add", "list", "role", "password", "remove"),
        "token": ("add", "list", "revoke"),
    }
    for action in ((), *((each,) for each in pages.get(command, ()))):
        text = done(command, *action, "--help")
        assert text.startswith("usage: pystream") and max(map(len, text.splitlines())) <= 80
