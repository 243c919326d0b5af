"""What one tenant has is nothing of another's: every table with a tenant's number, every store method.

A new table or method fails here until it is covered: what it holds in `FILLED`, how a stranger calls it in
`CALLS`, or why nobody calls it for a tenant in `OF_ALL`.
"""

from __future__ import annotations

import inspect
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from pystream.acl.entrances.verifiers import Verifier
from pystream.acl.keys import Keyring
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import Person, Role
from pystream.acl.proofs import broken_at, certificate, wrong_with
from pystream.acl.reach import Reach
from pystream.acl.retention import DataClass
from pystream.acl.store import Store, key_tables, tables
from pystream.acl.store.answers import AnswerStore, KeptAnswer
from pystream.acl.store.attending import HOUR_MS, AttendanceStore, Batch
from pystream.acl.store.audit import AuditStore
from pystream.acl.store.events import EventStore
from pystream.acl.store.inventory import INVENTORY, SEALED, of_tenants, owner
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore, Traces
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.notary import Notary
from pystream.acl.store.password_data import PasswordData
from pystream.acl.store.people import PeopleStore
from pystream.acl.store.reaching import ReachStore
from pystream.acl.store.restricting import RestrictionStore
from pystream.acl.store.retaining import ProofLog
from pystream.acl.store.sealed_reports import SealedReports, Subject
from pystream.acl.store.verifiers import Verifiers
from pystream.acl.store.viewers import NewPassword, Replaced, ViewerStore
from pystream.acl.streams import StreamSettings, Tenant, TenantSettings
from pystream.acl.traffic import Kind, Metered
from pystream.acl.viewers import Session, Spent
from pystream.attendance.checkpoint import Clock, cosigned
from pystream.attendance.documents import Scope
from pystream.attendance.evidence import Place, part
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options
from pystream.attendance.programmes import EventSettings
from pystream.attendance.purpose import VERSION
from pystream.errors import InvalidValue, NotFound, Outdated, PystreamError, StoreError
from tests.databases import Databases, Patterns
from tests.test_viewers import NOW, Stores

HOUR = NOW // 3600
# When no report is held any more.
OVER = NOW + 100
MONTH = "2031-05"
CLOCK = Clock(True, 5)


class Full(Stores):
    """Both tenants have something in every table."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.texts: dict[str, str] = {}
        self.passwords: dict[str, int] = {}
        self.bystanders: dict[str, int] = {}
        for number, tenant in enumerate(("acme", "other"), 1):
            self.fill(tenant, number)

    def fill(self, tenant: str, number: int) -> None:
        id, film = self.store.tenant(tenant).id, self.ids[f"{tenant}/film"]
        text = self.texts[tenant] = generate()
        (password,) = self.add(text, stream=f"{tenant}/film", label=f"label of {tenant}")
        self.passwords[tenant] = password
        named = self.issuer.named(id, [f"viewer of {tenant}"], NOW)
        self.bystanders[tenant] = named[f"viewer of {tenant}"].id
        session = Session(
            id=bytes([number]) * 16,
            tenant_id=id,
            stream_id=film,
            password_id=password,
            opened_at=NOW,
            expires=NOW + 100,
            idle_s=None,
        )
        viewers = self.store.viewers
        viewers.keep([session], {}, NOW)
        viewers.end_sessions(id, film, who="eva", now=NOW)
        people = self.store.people
        person = people.add(id, "maria", Role.EDITOR, "a hash", None, who="eva", now=NOW)
        (key,) = self.keys.add_record_keys(id, 1, NOW)
        people.begin_totp(person, key.reference, b"sealed")
        people.finish_totp(person, key.reference, 1, [bytes([number]) * 32], who="eva", now=NOW)
        people.open_session(person, bytes([number]) * 32, NOW + 100, NOW)
        people.add_token(id, "site", bytes([number]) * 32, [], None, who="eva", now=NOW)
        verifiers = Verifiers(self.store.database, self.keys)
        verifiers.add(id, film, "k1", Verifier(kind="link", secret="ab" * 32), who="eva", now=NOW)
        spent = Spent(tenant_id=id, token=bytes([number]) * 16, session=session.id, expires=NOW + 9)
        viewers.keep([], {}, NOW, [spent])
        (key,) = self.keys.add_record_keys(id, 1, NOW)
        viewers.answers.keep(id, answer(bytes([number]) * 32, key.reference), NOW)
        self.attend(tenant, number, session.id)
        self.store.add_traffic([Metered(number, film, HOUR, Kind.SEGMENT, 1, 1000, 0)], NOW)

    def attend(self, tenant: str, number: int, session: bytes) -> None:
        """Something is sealed, something not yet, and an outage was in between."""
        by: dict[str, Any] = {"who": "eva", "now": NOW}
        self.store.set_tenant(tenant, {"attendance_purpose": VERSION}, **by)
        settings = {"attendance": True, "access": "personal"}
        self.store.set_stream(tenant, "film", settings, **by)
        attendance, now = self.store.viewers.attendance, NOW * 1000
        film = self.ids[f"{tenant}/film"]
        tag = session + Place(film, 0, 6000, True, "v1").pack()
        told = [(now - 2 * HOUR_MS, 1), (now, 2)]
        half = part(tag, "", 100, 0, 50)
        for t, batch in told:
            record = struct.pack(">qH", t, len(tag)) + tag
            attendance.keep(self.keys, [Batch(number, batch, t, t, 0, record)], [], NOW)
        record = struct.pack(">qH", now, len(half)) + half
        attendance.keep(self.keys, [Batch(number, 3, now, now, 0, record)], [], NOW)
        attendance.seal(self.keys, now - HOUR_MS, NOW)
        attendance.give_up({number: now + 1}, NOW)
        id, password = self.store.tenant(tenant).id, self.passwords[tenant]
        self.store.viewers.reach.keep({(film, password): Reach(6000, now)})
        notary(self).ensure_key(id, NOW)
        signed = notary(self).checkpoint(id, CLOCK, NOW)
        office = SigningKey(f"{tenant}/office", bytes(32), cosigns=True)
        key = {"checkpoint_cosigner": str(office.verifier)}
        acme = self.store.set_tenant(tenant, key, **by)
        notary(self).cosign(acme, cosigned(signed.note, office, NOW), NOW)
        notary(self).delivered(id, signed.id, NOW)
        notary(self).mailed(id, signed.id, NOW)
        notary(self).stamped(id, signed.id, NOW, f"stamp of {tenant}".encode())
        # Subtrees want 256 leaves.
        with self.store.database.writing() as connection:
            row = {"log_id": signed.log_id, "level": 1, "number": 9, "tenant_id": id}
            connection.execute(insert(tables.attendance_subtree).values(**row, hash=bytes(32)))
        made = self.store.events.add(id, f"of-{tenant}", event("film"), **by)
        of = Subject(event_id=made.id)
        reports(self).add(id, of, lambda *_: document(password), **by)
        reports(self).hold(id, of, OVER, "as the chamber wants", **by)
        self.store.viewers.restrictions.restrict(id, self.bystanders[tenant], "as asked for", **by)
        assert attendance.rows(self.keys, id, [film], Options("file"))

    def rows(self, tenant_id: int) -> dict[str, list[Any]]:
        """Everything of a tenant, table by table."""
        with self.store.database.reading() as connection:
            return {
                table.name: list(
                    map(
                        tuple,
                        connection.execute(
                            select(table)
                            .where(owner(table) == tenant_id)
                            .order_by(*table.primary_key.columns)
                        ),
                    )
                )
                for table in of_tenants()
            }

    def everything(self, tenant_id: int) -> tuple[Any, ...]:
        """With its keys."""
        return self.rows(tenant_id), self.keys.held(tenant_id)


def filled(folder: Path, url: str) -> Full:
    made = Full(folder, url)
    made.close()
    return made


@pytest.fixture
def full(tmp_path: Path, databases: Databases, patterns: Patterns) -> Iterator[Full]:
    pattern = patterns.of(databases, filled)
    made = pattern.known.copied(tmp_path, databases.like(pattern.url))
    yield made
    made.close()


# Tables

# What belongs to no tenant, and why that is so.
OF_THE_NODE = {
    "audit_release": "what lets go of the audit log, within a transaction",
    "revision": "a number that grows",
    "meter_cursor": "how far rows of the meter were read",
    "attendance_cursor": "how far workers have told what they delivered",
    "attendance_node": "how right the clock of each host was, and whether a proxy stood before it",
    "proof": "proofs of deletion: numbers and hashes, which are there to stay",
    "key_store": "the name of the root",
    "incident": "attacks on the node",
    "incident_event": "what is sealed of their sources",
    "incident_custody": "who of the operator's has had them in hand",
}


def test_every_table_is_a_tenants_or_the_nodes() -> None:
    """A new table is in the inventory of what tenants have, or here."""
    assert set(tables.metadata.tables) == set(INVENTORY) | set(OF_THE_NODE)
    assert not set(INVENTORY) & set(OF_THE_NODE)


def test_every_table_with_a_tenants_number_is_covered() -> None:
    """By export, deletion and retention."""
    with_tenant = {
        table.name
        for table in tables.metadata.tables.values()
        if table is tables.tenant or any("tenant" in column.name for column in table.columns)
    }
    # What lets go of the audit log has a row within a transaction only.
    with_tenant.remove("audit_release")
    assert with_tenant == set(INVENTORY) == {table.name for table in of_tenants()}
    for name, held in INVENTORY.items():
        table = tables.metadata.tables[name]
        assert held.data and set(held.data) <= set(DataClass), name
        left_out = {name.partition(".")[0] for name in held.without}
        assert left_out <= {column.name for column in table.columns}
        if any(column.name.startswith(SEALED) for column in table.columns):
            assert "reference" in table.c and "id" in table.c, name
    kept = {data for held in INVENTORY.values() for data in held.data}
    elsewhere = {DataClass.ERASURES, DataClass.KEY_BACKUPS, DataClass.PROOFS}
    elsewhere |= {DataClass.INCIDENTS, DataClass.INCIDENT_RECORDS}
    assert kept | elsewhere == set(DataClass)


def test_who_refers_to_a_table_comes_before_it() -> None:
    order = [table.name for table in of_tenants()]
    for table in of_tenants():
        for foreign in table.foreign_keys:
            assert order.index(table.name) <= order.index(foreign.column.table.name)


def test_the_run_of_these_tests_fills_every_table(full: Full) -> None:
    for tenant in (full.acme, full.other):
        assert all(full.rows(tenant).values()), full.rows(tenant)


# Methods

Call = Callable[[Full], Any]
WHO: dict[str, Any] = {"who": "eve", "now": NOW}
SETTINGS = StreamSettings(sources=("/b.mp4",))


def theirs(full: Full, name: str = "film") -> int:
    return full.ids[f"acme/{name}"]


def outages(full: Full, tenant_id: int) -> list[tuple[int, int]]:
    """By the tenant's own events."""
    told = full.store.viewers.attendance.events(full.keys, tenant_id, 0)
    found = [json.loads(each) for each in told]
    return [(each["t0"], each["t1"]) for each in found if each["kind"] == "outage"]


def new_password(full: Full) -> NewPassword:
    return NewPassword(id=7, reference=bytes(16), pepper=1, lookup=bytes(32), sealed_text=b"x")


def replace_theirs(full: Full) -> None:
    """At once, and with a grace."""
    streams = [full.ids["other/film"]]
    id, new = full.passwords["acme"], new_password(full)
    replaced = [Replaced(id=id, valid_until=None, stream_ids=streams, new=new)]
    with suppress(Outdated):
        full.store.viewers.replace(full.other, replaced, None, **WHO)
    full.store.viewers.replace(full.other, replaced, NOW + 60, **WHO)


# As `other`, with numbers and names of what is acme's.
CALLS: dict[type, dict[str, Call]] = {
    Store: {
        "tenant": lambda full: full.store.tenant("other").id == full.acme,
        "streams": lambda full: [
            s for s in full.store.streams("other") if s.tenant_id == full.acme
        ],
        "stream": lambda full: full.store.stream("other", "theirs"),
        "streams_of": lambda full: full.store.streams_of(full.other, [theirs(full)]),
        "changes": lambda full: [c for c in full.store.changes("other") if c.tenant == "acme"],
        "set_tenant": lambda full: full.store.set_tenant("other", {"display": "x"}, **WHO) and None,
        "remove_tenant": lambda full: full.store.remove_tenant("other"),
        "add_stream": lambda full: full.store.add_stream("other", "new", SETTINGS, **WHO) and None,
        "set_stream": lambda full: full.store.set_stream("other", "theirs", {"title": "x"}, **WHO),
        "remove_stream": lambda full: full.store.remove_stream("other", "theirs", **WHO),
        "traffic": lambda full: [
            t for t in full.store.traffic("other", MONTH) if t.stream_id == theirs(full)
        ],
    },
    ViewerStore: {
        "add_passwords": lambda full: full.store.viewers.add_passwords(
            full.other, [theirs(full)], [new_password(full)], **WHO
        ),
        "add_named": lambda full: (
            full.store.viewers.add_named(full.other, [new_password(full)], NOW)
            - {new_password(full).reference}
        ),
        "spent": lambda full: full.store.viewers.spent([(full.other, bytes([1]) * 16)]),
        "find": lambda full: full.store.viewers.find(
            full.other,
            [row[4] for row in full.rows(full.acme)["password"]],
        ),
        "there": lambda full: full.store.viewers.there(
            full.other,
            [row[4] for row in full.rows(full.acme)["password"]],
        ),
        "passwords": lambda full: full.store.viewers.passwords(full.other, theirs(full)),
        "revoke": lambda full: full.store.viewers.revoke(
            full.other, [full.passwords["acme"]], **WHO
        ),
        "references": lambda full: full.store.viewers.references(
            full.other, [full.passwords["acme"]]
        ),
        "ended": lambda full: full.store.viewers.ended(full.other, [theirs(full)], 0, NOW + 1),
        "forget_lookups": lambda full: full.store.viewers.forget_lookups(
            full.other, [full.passwords["acme"]], **WHO
        ),
        "end_sessions": lambda full: full.store.viewers.end_sessions(
            full.other, theirs(full), **WHO
        ),
        "end_sessions_of": lambda full: full.store.viewers.end_sessions_of(
            full.other, full.passwords["acme"], **WHO
        ),
        "set_passwords": lambda full: full.store.viewers.set_passwords(
            full.other, {full.passwords["acme"]: {"max_devices": 1}}, **WHO
        ),
        "has_entrance": lambda full: any(
            full.store.viewers.has_entrance(full.other, theirs(full), access, NOW)
            for access in ("personal", "shared", "signed", "external")
        ),
        "known": lambda full: full.store.viewers.known(full.other, [full.passwords["acme"]]),
        "give_up": lambda full: full.store.viewers.give_up(
            full.other, [full.passwords["acme"]], **WHO
        ),
        "forget_sessions": lambda full: full.store.viewers.forget_sessions(
            full.other, [full.passwords["acme"]]
        ),
        "replace": lambda full: replace_theirs(full),
    },
    AnswerStore: {
        "find": lambda full: full.store.viewers.answers.find(full.other, bytes([1]) * 32, NOW),
        "keep": lambda full: full.store.viewers.answers.keep(full.other, answer(b"n" * 32), NOW),
        "references": lambda full: set(answers_of(full, full.other)) & set(answers_of(full)),
        "forget": lambda full: full.store.viewers.answers.forget(full.other, answers_of(full)),
    },
    AttendanceStore: {
        "events": lambda full: [
            each
            for each in full.store.viewers.attendance.events(full.keys, full.other, theirs(full))
            # What befell the node is told to all who attend.
            if json.loads(each)["kind"] != "outage"
        ],
        "rows": lambda full: full.store.viewers.attendance.rows(
            full.keys, full.other, [theirs(full)], Options("file"), [full.passwords["acme"]]
        ),
        "first_sealed": lambda full: full.store.viewers.attendance.first_sealed(
            full.other, [theirs(full)], 0, 2**40
        ),
        "outages": lambda full: (
            set(full.store.viewers.attendance.outages(full.other, 0))
            - set(outages(full, full.other))
        ),
        "references": lambda full: full.store.viewers.attendance.references(
            full.other, [full.passwords["acme"]]
        ),
        "forget_open": lambda full: full.store.viewers.attendance.forget_open(
            full.other, [full.passwords["acme"]]
        ),
        "forget_sealed": lambda full: full.store.viewers.attendance.forget_sealed(
            full.other,
            full.store.viewers.attendance.references(full.acme, [full.passwords["acme"]]),
        ),
    },
    EventStore: {
        "listed": lambda full: [
            each for each in full.store.events.listed(full.other) if each.tenant_id == full.acme
        ],
        "event": lambda full: full.store.events.event(full.other, "of-acme"),
        "stream_ids": lambda full: full.store.events.stream_ids(full.other, "of-acme"),
        "add": lambda full: full.store.events.add(full.other, "new", event("theirs"), **WHO),
        "set": lambda full: full.store.events.set(
            full.other, "of-other", {"streams": ("theirs",)}, **WHO
        ),
        "remove": lambda full: full.store.events.remove(full.other, "of-acme", **WHO),
    },
    SealedReports: {
        "versions": lambda full: reports(full).versions(full.other, subject(full)),
        "document": lambda full: reports(full).document(full.other, subject(full), 1),
        "sealed_at": lambda full: reports(full).sealed_at(full.other, [subject(full)]),
        "add": lambda full: reports(full).add(
            full.other,
            subject(full),
            lambda *_: document(full.passwords["acme"]),
            "because",
            **WHO,
        ),
        "hold": lambda full: reports(full).hold(
            full.other, subject(full), NOW + 500, "theirs", **WHO
        ),
        "held": lambda full: reports(full).held(full.other, subject(full), NOW),
        "release": lambda full: reports(full).release(full.other, subject(full), **WHO),
        "listed": lambda full: [
            each
            for each in reports(full).listed(full.other, NOW, skip=0, most=10)
            if each.subject == subject(full)
        ],
    },
    ReachStore: {
        "forget": lambda full: full.store.viewers.reach.forget(
            full.other, [full.passwords["acme"]]
        ),
    },
    RestrictionStore: {
        "restrict": lambda full: full.store.viewers.restrictions.restrict(
            full.other, full.passwords["acme"], "theirs", **WHO
        ),
        "lift": lambda full: full.store.viewers.restrictions.lift(
            full.other, full.bystanders["acme"], **WHO
        ),
        "listed": lambda full: [
            id
            for id in full.store.viewers.restrictions.listed(full.other)
            if id == full.bystanders["acme"]
        ],
        "check_none": lambda full: full.store.viewers.restrictions.check_none(
            full.other, [full.bystanders["acme"]]
        ),
        "recorded": lambda full: full.store.viewers.restrictions.recorded(
            full.other, [theirs(full)], 0, NOW * 2000
        ),
    },
    Notary: {
        "ensure_key": lambda full: (
            notary(full).ensure_key(full.other, NOW) == notary(full).ensure_key(full.acme, NOW)
        ),
        "public_key": lambda full: (
            notary(full).public_key(full.store.tenant("other"), NOW)
            == notary(full).public_key(full.store.tenant("acme"), NOW)
        ),
        "signing_key": lambda full: (
            notary(full).signing_key(full.other) == notary(full).signing_key(full.acme)
        ),
        "checkpoint": lambda full: (
            notary(full).checkpoint(full.other, CLOCK, NOW).tenant_id == full.acme
        ),
        "checkpoints": lambda full: [
            each for each in notary(full).checkpoints(full.other) if each.tenant_id == full.acme
        ],
        "delivered": lambda full: notary(full).delivered(
            full.other, notary(full).checkpoints(full.acme)[0].id, NOW
        ),
        "mailed": lambda full: notary(full).mailed(
            full.other, notary(full).checkpoints(full.acme)[0].id, NOW
        ),
        "has_signed": lambda full: notary(full).has_signed(
            full.other, notary(full).heads()[full.acme].signed or (0, 0, b"")
        ),
        "stamped": lambda full: notary(full).stamped(
            full.other, notary(full).checkpoints(full.acme)[0].id, NOW, b"x"
        ),
        "timestamp": lambda full: notary(full).timestamp(full.other)[1] == b"stamp of acme",
        "begin_epoch": lambda full: (
            notary(full).begin_epoch(full.other, CLOCK, NOW, who="eve") and None
        ),
        "cosign": lambda full: notary(full).cosign(
            cosigning(full), notary(full).checkpoints(full.acme)[0].note, NOW
        ),
        "signed_over": lambda full: (
            notary(full).signed_over(full.other, 1, CLOCK, NOW).tenant_id == full.acme
        ),
        "export": lambda full: [
            line
            for line in notary(full).export(notary(full).checkpoint(full.other, CLOCK, NOW))
            if str(full.passwords["acme"]).encode() in line
        ],
        "receipt": lambda full: notary(full).receipt(
            full.store.stream("other", "film"),
            full.passwords["acme"],
            Options("file"),
            Scope(("film",)),
            CLOCK,
            NOW,
        ),
    },
    Verifiers: {
        "add": lambda full: verifiers(full).add(
            full.other, theirs(full), "k2", Verifier(kind="link", secret="cd" * 32), **WHO
        ),
        "listed": lambda full: [
            each for each in verifiers(full).listed(full.other) if each.stream_id == theirs(full)
        ],
        "active": lambda full: verifiers(full).active(full.other, theirs(full), "signed"),
        "revoke": lambda full: verifiers(full).revoke(full.other, "k1", **WHO) and None,
    },
    AuditStore: {
        "entries": lambda full: [
            e for e in full.store.audit.entries(full.other) if e.tenant == "acme"
        ],
        "record_view": lambda full: full.store.audit.record_view(
            full.other, theirs(full), {"x": 1}, **WHO
        ),
        "forget": lambda full: full.store.audit.forget(full.other, NOW + 1, **WHO) and None,
    },
    PeopleStore: {
        "add": lambda full: (
            full.store.people.add(full.other, "new", Role.EDITOR, "h", None, **WHO) and None
        ),
        "listed": lambda full: [
            each for each in full.store.people.listed(full.other) if each.tenant == "acme"
        ],
        "account": lambda full: full.store.people.account(full.other, "only-theirs"),
        "find": lambda full: full.store.people.find("other", "only-theirs"),
        "set_role": lambda full: full.store.people.set_role(
            full.other, "only-theirs", Role.REPORTER, **WHO
        ),
        "let_in": lambda full: full.store.people.let_in(full.other, "only-theirs", 60, **WHO),
        "set_hash": lambda full: full.store.people.set_hash(
            full.other, "only-theirs", "h", None, **WHO
        ),
        "remove": lambda full: full.store.people.remove(full.other, "only-theirs", **WHO),
        "renew_hash": lambda full: full.store.people.renew_hash(stranger(full), "a hash", "h"),
        "begin_totp": lambda full: full.store.people.begin_totp(stranger(full), b"x" * 16, b"x"),
        "finish_totp": lambda full: full.store.people.finish_totp(
            stranger(full), reference_of(full), 9, [b"y" * 32], **WHO
        ),
        "remove_totp": lambda full: full.store.people.remove_totp(stranger(full), **WHO),
        "record_failures": lambda full: full.store.people.record_failures(stranger(full), 3, NOW),
        "sessions": lambda full: full.store.people.sessions(stranger(full), 3600, NOW),
        "end_sessions": lambda full: full.store.people.end_sessions(stranger(full), **WHO),
        "add_token": lambda full: (
            full.store.people.add_token(full.other, "new", b"z" * 32, [], None, **WHO) and None
        ),
        "tokens": lambda full: [
            each for each in full.store.people.tokens(full.other) if each.tenant_id == full.acme
        ],
        "revoke_token": lambda full: full.store.people.revoke_token(
            full.other, "only-theirs", **WHO
        ),
    },
    Issuer: {
        "add": lambda full: full.issuer.add(
            full.other, [theirs(full)], [(generate(), PasswordSettings())], **WHO
        ),
        "listed": lambda full: [*full.issuer.listed(full.other, theirs(full))],
        "page": lambda full: full.issuer.page(full.other, theirs(full)),
        "made": lambda full: full.issuer.made(full.other, theirs(full), NOW, 10),
        "shown": lambda full: full.issuer.shown(full.other, [full.passwords["acme"]]),
        "change": lambda full: full.issuer.change(
            full.other, [full.passwords["acme"]], {"label": "x", "max_devices": 1}, **WHO
        ),
        "rotate": lambda full: full.issuer.rotate(
            full.other, {full.passwords["acme"]: [theirs(full)]}, grace_s=0, **WHO
        ),
        "find": lambda full: full.issuer.find(full.other, full.texts["acme"]),
        "there": lambda full: full.issuer.there(full.other, [full.texts["acme"]]),
        "find_named": lambda full: full.issuer.find_named(full.other, "viewer of acme"),
        "named": lambda full: full.issuer.named(full.other, ["viewer of acme"], NOW) and None,
        "erased": lambda full: full.issuer.erased(full.other, [theirs(full)], 0, NOW + 1),
        "erase": lambda full: full.issuer.erase(full.other, [full.passwords["acme"]], **WHO),
    },
    KeyStore: {
        "add_record_keys": lambda full: full.keys.add_record_keys(full.other, 1, NOW) and None,
        "record_key": lambda full: full.keys.record_key(full.other, reference(full)),
        "record_keys": lambda full: full.keys.record_keys(full.other, [reference(full)]),
        "erase": lambda full: full.keys.erase(full.other, [reference(full)], NOW),
        "unmake": lambda full: full.keys.unmake(full.other, [reference(full)], tuple, NOW),
        "storing": lambda full: not_stored(full),
        "erase_tenant": lambda full: full.keys.erase_tenant(full.other, NOW) and None,
        "held": lambda full: full.keys.held(0) == full.keys.held(full.acme),
        "rotate_tenant": lambda full: full.keys.rotate_tenant(full.other, NOW) and None,
    },
    PasswordData: {
        "export": lambda full: PasswordData(full.store, full.keys).export(
            full.store.tenant("other"), full.passwords["acme"], CLOCK, **WHO
        ),
    },
    Leaving: {
        "export": lambda full: exported(full, "other", full.texts["acme"], "label of acme"),
        "delete": lambda full: (
            unrestricted(full, "other").delete("other", force=True, **WHO) and None
        ),
    },
}
# What is asked by the node itself, or by its operator for all.
OF_ALL: dict[type, set[str]] = {
    Store: {
        *(
            "open",
            "close",
            "made",
            "database",
            "viewers",
            "people",
            "events",
            "audit",
            "revision",
            "snapshot",
            "changed_since",
        ),
        *("tenants", "add_tenant", "add_traffic", "forget"),
        *("claim", "adopt", "check_key_store", "verifiers", "together"),
    },
    Verifiers: set(),
    EventStore: set(),
    SealedReports: set(),
    Notary: {"due", "heads", "undelivered", "unmailed", "unstamped"},
    AnswerStore: {"expired"},
    AttendanceStore: {
        "keep",
        "cursors",
        "told_until",
        "stepped_back_from",
        "give_up",
        "seal",
        "old",
        "forget_cursors",
        "forget_parts",
        "note_node",
        "nodes",
    },
    ReachStore: {"find", "keep"},
    RestrictionStore: set(),
    ViewerStore: {
        *("attendance", "reach", "restrictions"),
        "answers",
        "keep",
        "forget_spent",
        "sessions",
        "endings",
        "indexed_otherwise",
        "reindex",
        "undoing",
    },
    Issuer: {"reindex", "reindex_lost"},
    AuditStore: set(),
    # By who holds the secret that a digest is of.
    PeopleStore: {"session", "open_session", "end_session", "token"},
    KeyStore: {
        *("open", "close", "database", "set_up", "root", "revision", "peppers", "begin_pepper"),
        *("finish_pepper", "rotate_pepper", "apply_erasures", "scrub", "rotate_master", "status"),
        *("old_erasures", "forget_erasures"),
    },
    PasswordData: set(),
    Leaving: set(),
}


def reference(full: Full) -> bytes:
    (found,) = full.store.viewers.references(full.acme, [full.passwords["acme"]])
    return found


def not_stored(full: Full) -> None:
    of = full.store.database, full.other, [reference(full)], tuple, NOW
    with full.keys.storing(*of):
        raise NotFound("what was to be stored")


def answers_of(full: Full, tenant_id: int = 0) -> tuple[bytes, ...]:
    return full.store.viewers.answers.references(tenant_id or full.acme)


def answer(digest: bytes, reference: bytes = bytes(16)) -> KeptAnswer:
    return KeptAnswer(
        digest=digest,
        reference=reference,
        fingerprint=bytes(32),
        sealed=b"sealed",
        expires=NOW + 100,
    )


def verifiers(full: Full) -> Verifiers:
    return Verifiers(full.store.database, full.keys)


def event(stream: str) -> EventSettings:
    windows = ((NOW * 1000, NOW * 1000 + HOUR_MS),)
    return EventSettings(title="Event", streams=(stream,), timezone="UTC", windows=windows)


def document(password: int) -> bytes:
    """What a sealed report has at least."""
    known = {"password": "a text", "label": "", "test": False}
    return json.dumps({"about": {"passwords": {str(password): known}}}).encode()


def reports(full: Full) -> SealedReports:
    return SealedReports(full.store.database, full.keys)


def subject(full: Full) -> Subject:
    return Subject(event_id=full.store.events.event(full.acme, "of-acme").id)


def notary(full: Stores) -> Notary:
    return Notary(full.store.database, full.keys)


def cosigning(full: Full) -> Tenant:
    """Other, whose cosigner is acme's."""
    key = str(SigningKey("acme/office", bytes(32), cosigns=True).verifier)
    return full.store.set_tenant("other", {"checkpoint_cosigner": key}, **WHO)


def stranger(full: Full) -> Person:
    """Somebody of acme's who says to be other's."""
    (person,) = [each for each in full.store.people.listed(full.acme) if each.name == "maria"]
    return replace(person, tenant_id=full.other, tenant="other")


def reference_of(full: Full) -> bytes | None:
    return full.store.people.account(full.acme, "maria").reference


def leaving(full: Full) -> Leaving:
    return Leaving(full.store, full.keys)


def unrestricted(full: Full, tenant: str) -> Leaving:
    """The same, where nobody's data of a tenant is restricted any more: it would not go."""
    restrictions = full.store.viewers.restrictions
    owner = full.acme if tenant == "acme" else full.other
    for id in restrictions.listed(owner):
        restrictions.lift(owner, id, **WHO)
    return leaving(full)


def exported(full: Full, tenant: str, *wanted: str) -> list[str]:
    """Which of the texts are in a tenant's export."""
    path = full.folder / f"{tenant}.zip"
    leaving(full).export(tenant, str(path), **WHO)
    with zipfile.ZipFile(path) as archive:
        data = b"".join(map(archive.read, archive.namelist())).decode()
    return [each for each in wanted if each in data]


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if name[0] != "_"}


@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
def test_every_method_of_a_store_is_covered(kind: type) -> None:
    assert public(kind) == set(CALLS[kind]) | (OF_ALL[kind] & public(kind))
    assert not set(CALLS[kind]) & OF_ALL[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, calls in CALLS.items() for name in calls],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_stranger_gets_nothing_and_changes_nothing(full: Full, kind: type, name: str) -> None:
    full.store.add_stream("acme", "theirs", SETTINGS, who="eva", now=NOW)
    people = full.store.people
    people.add(full.acme, "only-theirs", Role.SUPPORT, "h", None, who="eva", now=NOW)
    people.add_token(full.acme, "only-theirs", b"t" * 32, [], None, who="eva", now=NOW)
    before = full.everything(full.acme)
    try:
        got = CALLS[kind][name](full)
    except (NotFound, StoreError):
        got = None
    assert not got
    assert full.everything(full.acme) == before
    # They are there for whoever they belong to.
    assert full.issuer.find(full.acme, full.texts["acme"]) is not None
    assert [each.text for each in full.issuer.listed(full.acme)] == [full.texts["acme"]]


def test_who_was_erased_counts_for_the_own_tenant_alone(full: Full) -> None:
    full.issuer.erase(full.acme, [full.passwords["acme"]], **WHO | {"now": NOW + 101})
    asked = [theirs(full)], 0, NOW + 1
    assert full.issuer.erased(full.acme, *asked) == 1
    assert full.issuer.erased(full.other, *asked) == 0
    assert full.store.viewers.ended(full.other, *asked) == ()


# The end of a contract


def test_an_export_holds_everything_of_the_tenant(full: Full) -> None:
    path = full.folder / "acme.zip"
    (id,) = full.add("weg damit", stream="acme/course")
    full.issuer.erase(full.acme, [id], **WHO)
    rows = full.rows(full.acme)
    done = leaving(full).export("acme", str(path), who="eva", now=NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert done.rows == {name: len(found) for name, found in rows.items()}
    assert done.unreadable == 1
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        members = {name: archive.read(name) for name in archive.namelist()}
    assert set(members) == {*manifest["members"], "manifest.json"}
    for name, said in manifest["members"].items():
        assert said["sha256"] == sha256(members[name]).hexdigest()
        assert said["bytes"] == len(members[name])
    assert manifest["tenant"] == {"id": full.acme, "name": "acme"}
    for table in of_tenants():
        held = INVENTORY[table.name]
        lines = [json.loads(each) for each in members[f"data/{table.name}.jsonl"].splitlines()]
        assert len(lines) == len(rows[table.name])
        shown = {column.name for column in table.columns} - set(held.without)
        wanted = {name.removeprefix(SEALED) for name in shown}
        assert all(set(each) == wanted for each in lines)
        assert manifest["left_out"].get(table.name, {}) == held.without
    # Where the films lie is the operator's affair, also where it was changed.
    told = members["data/stream.jsonl"] + members["data/audit.jsonl"]
    assert b".mp4" not in told and b"sources" not in told and b"passwords_added" in told
    listed = [json.loads(each) for each in members["data/password.jsonl"].splitlines()]
    assert {each["text"] for each in listed} == {full.texts["acme"], None, "viewer of acme"}
    assert {each["label"] for each in listed} == {"label of acme", None}
    assert full.texts["acme"] in members["passwords.csv"].decode()
    # Nobody types the names of viewers, so they are no list to import.
    assert "viewer of" not in members["passwords.csv"].decode()
    assert members["traffic.csv"].decode().splitlines()[1] == (
        f"2031-05-16T12:00:00Z,{HOUR},{theirs(full)},2,1,1000,0"
    )
    assert full.texts["other"] not in str(members) and "other" not in str(members)
    # That it was made is on record.
    assert full.store.audit.entries(full.acme)[0].values == {"passwords_shown": (None, 3)}
    with pytest.raises(NotFound):
        leaving(full).export("nobody", str(full.folder / "nobody.zip"), who="eva", now=NOW)
    # What is there stays, unless it is to be replaced.
    path.write_bytes(b"precious")
    (full.folder / "link.zip").symlink_to(full.folder / "nowhere")
    for name in ("acme.zip", "link.zip"):
        with pytest.raises(FileExistsError):
            leaving(full).export("acme", str(full.folder / name), who="eva", now=NOW)
    assert path.read_bytes() == b"precious"
    # What cannot be put on record is not made, and takes nothing away.
    unseen = full.folder / "unseen.zip"
    for target, is_there in ((unseen, False), (path, True)):
        with pytest.raises(InvalidValue):
            leaving(full).export("acme", str(target), who="", now=NOW, replace=is_there)
    assert path.read_bytes() == b"precious" and not unseen.exists()
    leaving(full).export("acme", str(path), who="eva", now=NOW, replace=True)
    assert zipfile.is_zipfile(path)
    assert not [
        each for each in os.listdir(full.folder) if "unfinished" in each or "nobody" in each
    ]


def test_a_deleted_tenant_is_gone_and_proven(full: Full) -> None:
    other = full.everything(full.other)
    with pytest.raises(StoreError, match=r"of 'acme' is restricted \(1\)"):
        leaving(full).delete("acme", who="eva", now=OVER, force=True)
    goes = unrestricted(full, "acme")
    before = full.rows(full.acme)
    with pytest.raises(StoreError, match="streams that are served"):
        goes.delete("acme", who="eva", now=OVER)
    held = (
        r"of acme/of-acme is held until .*: as the chamber wants\. .* report acme/of-acme --release"
    )
    with pytest.raises(StoreError, match=held):
        goes.delete("acme", who="eva", now=OVER - 1, force=True)
    assert full.rows(full.acme) == before
    (kept,) = full.store.viewers.references(full.acme, [full.passwords["acme"]])
    acme = full.acme
    done = goes.delete("acme", who="eva", now=OVER, force=True)
    assert done.traces is Traces.NONE
    assert not any(full.rows(acme).values()) and full.keys.held(acme) == (0, 0)
    assert full.keys.record_keys(acme, [kept]) == {}
    assert full.everything(full.other) == other
    document = done.proof.document
    assert document["counts"] == {name: len(rows) for name, rows in before.items()}
    assert document["keys"] == {"tenant_key": 1, "record_key": 8}
    assert (document["tenant_id"], document["at"]) == (acme, OVER)
    assert ProofLog(full.store.database).all() == (done.proof,)
    key = Keyring(full.keys.root()).proof_key()
    printed = json.loads(json.dumps(certificate(done.proof, done.names, key)))
    assert list(wrong_with(printed, key)) == []
    assert printed["names"]["tenant"] == "acme" and printed["names"]["who"] == "eva"
    with full.store.database.reading() as connection:
        logged = str(connection.execute(select(tables.proof)).all())
    assert "acme" not in logged and "eva" not in logged
    with pytest.raises(NotFound):
        goes.delete("acme", who="eva", now=OVER)
    # Its number never comes again, so the name is another tenant's.
    assert full.store.add_tenant("acme", TenantSettings(), who="eva", now=NOW).id > acme
    again = goes.delete("acme", who="eva", now=OVER + 1)
    assert again.proof.document["previous"] == done.proof.digest
    assert broken_at(ProofLog(full.store.database).all()) is None


def test_nothing_in_either_store_is_a_deleted_tenants(full: Full) -> None:
    """Table by table, those that are thought to be the node's as well."""

    def whole() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for database, metadata in (
            (full.store.database, tables.metadata),
            (full.keys.database, key_tables.metadata),
        ):
            with database.reading() as connection:
                for name, table in metadata.tables.items():
                    rows = connection.execute(select(table)).mappings()
                    found[f"{metadata is tables.metadata} {name}"] = list(map(dict, rows))
        return found

    def naming(rows: list[Any]) -> list[Any]:
        return [
            row for row in rows if row.get("tenant_id") == full.acme or "acme" in str(row.values())
        ]

    before = {name: naming(rows) for name, rows in whole().items()}
    assert sum(map(bool, before.values())) >= len(INVENTORY) + 2
    full.issuer.named(full.acme, ["sent away"], NOW)
    full.store.viewers.revoke(full.acme, [full.passwords["acme"]], **WHO)
    verifiers(full).revoke(full.acme, "k1", **WHO)
    unrestricted(full, "acme").delete("acme", who="eva", now=OVER, force=True)
    after = {name: naming(rows) for name, rows in whole().items()}
    assert [name for name, rows in after.items() if rows] == []


def test_a_deletion_that_was_interrupted_goes_on(full: Full, monkeypatch: Any) -> None:
    """Wherever it ends, nothing can be read any more, and the next one leaves nothing."""
    steps = 0

    class Stopped(PystreamError):
        pass

    real = Leaving._empty

    def stopping(self: Leaving, *words: Any) -> int:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Stopped
        return real(self, *words)

    monkeypatch.setattr(Leaving, "_empty", stopping)
    with pytest.raises(Stopped):
        unrestricted(full, "acme").delete("acme", who="eva", now=OVER, force=True)
    assert full.keys.held(full.acme) == (0, 0)
    assert full.store.streams("acme") == () and ProofLog(full.store.database).all() == ()
    unrestricted(full, "acme").delete("acme", who="eva", now=OVER)
    assert not any(full.rows(full.acme).values())


def test_a_worker_serves_nothing_of_a_tenant_that_is_gone(full: Full) -> None:
    """Though it has not looked since the streams were removed."""
    worker = pytest.importorskip("pystream.server.worker")
    following = worker.Streams(full.store.snapshot())
    assert following.find("acme", "film") is not None
    unrestricted(full, "acme").delete("acme", who="eva", now=OVER, force=True)
    full.store.add_tenant("acme", TenantSettings(), who="eva", now=NOW)
    following.learn(full.store.changed_since(following.revision))
    assert following.find("acme", "film") is None
    assert following.find("other", "film") is not None


def test_what_is_still_counted_of_a_deleted_stream_is_left_out(full: Full) -> None:
    film = theirs(full)
    unrestricted(full, "acme").delete("acme", who="eva", now=OVER, force=True)
    row = Metered(77, film, HOUR, Kind.SEGMENT, 5, 5, 0)
    assert full.store.add_traffic([row], NOW) == (row,)
    with full.store.database.reading() as connection:
        counts = select(func.count()).select_from(tables.traffic)
        assert connection.scalar(counts.where(tables.traffic.c.stream_id == film)) == 0
