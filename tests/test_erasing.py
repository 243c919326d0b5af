"""What is recorded of attendance goes in time and with its password, wherever it lies; the rest is proven as
before. On real stores of both kinds."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from pystream.acl.reach import Reach
from pystream.acl.reports import Report
from pystream.acl.retention import DAY_S, Rules
from pystream.acl.store import tables
from pystream.acl.store.attending import HOUR_MS, Batch
from pystream.acl.store.notary import Notary
from pystream.acl.store.retaining import Retention
from pystream.acl.store.sealed_reports import Subject
from pystream.acl.traffic import Kind, Metered
from pystream.attendance.checkpoint import Clock
from pystream.attendance.documents import Scope
from pystream.attendance.evidence import Place, part
from pystream.attendance.options import Options
from pystream.attendance.verification import verify
from pystream.errors import InvalidValue, NotFound, StoreError
from tests.audience import ALL, LATER, WHO, Audience
from tests.databases import with_tables
from tests.evidence import BERLIN, at
from tests.test_cli_store import done, here, refused, told
from tests.test_reports import settle
from tests.test_viewers import line_ends

__all__ = ["here"]

CLOCK = Clock(True, 5)
EVENING_H = at("18:00") // HOUR_MS


@pytest.fixture
def audience(tmp_path: Path, url: str) -> Iterator[Audience]:
    opened = Audience(tmp_path, url)
    yield opened
    opened.close()


class House:
    """Two who have watched, with all that is kept of them: sealed events and open ones, parts, folds, how far
    they came, sessions, and a sealed report."""

    def __init__(self, audience: Audience) -> None:
        self.of, self.acme = audience, audience.acme
        self.notary = Notary(audience.store.database, audience.keys)
        self.stays = audience.viewer("bleibt", ALL, label="Saal 1")
        self.goes = audience.viewer("geheim", ALL, label="Dr. Meier")
        audience.store.viewers.attendance.seal(audience.keys, at("19:00"), LATER)
        for number, id in enumerate((self.stays, self.goes), 1):
            self.more(number, id)
        self.key = self.notary.ensure_key(self.acme, LATER)
        self.subject = Subject(event_id=audience.event.id)
        self.report = self.seal()

    def more(self, number: int, id: int) -> None:
        audience, t = self.of, at("19:20")
        film = audience.ids["acme/film"]
        audience.store.viewers.reach.keep({(film, id): Reach(6000, t)})
        half = part(number.to_bytes(16) + Place(film, 0, 6000, True, "v1").pack(), "", 100, 0, 50)
        record = struct.pack(">qH", t, len(half)) + half
        batch = Batch(9, number, t, t, 0, record)
        audience.store.viewers.attendance.keep(audience.keys, [batch], [], LATER)
        audience.store.viewers.attendance.rows(audience.keys, self.acme, [film], self.options)

    @property
    def options(self) -> Options:
        return Options("file", target_duration=6000, timezone=BERLIN)

    def seal(self, reason: str = "", now: int = LATER) -> Report:
        audience = self.of
        _, report = audience.reporter.seal(
            self.subject,
            lambda: audience.reporter.of_event(audience.tenant, audience.event, now, whole=True),
            lambda: self.notary.checkpoint(self.acme, CLOCK, now).note,
            self.notary.signing_key(self.acme),
            reason,
            tenant=audience.tenant,
            who="eva",
            now=now,
        )
        return report

    def sealed(self) -> Report:
        return self.of.reporter.version(self.of.tenant, self.subject, 1)

    def receipt(self, id: int) -> bytes:
        film = self.of.store.stream("acme", "film")
        return self.notary.receipt(film, id, self.options, Scope(("film",)), CLOCK, LATER)

    def export(self) -> list[bytes]:
        return list(self.notary.export(self.notary.checkpoint(self.acme, CLOCK, LATER)))

    def naming(self, id: int) -> dict[str, int]:
        """Rows that name a password, by table."""
        with self.of.store.database.reading() as connection:
            return {
                table.name: len(
                    connection.execute(
                        select(table).where(
                            (table.c.id if table is tables.password else table.c.password_id) == id
                        )
                    ).all()
                )
                for table in NAMING
            }

    def retention(self, **days: int) -> Retention:
        return Retention(self.of.store.database, self.of.keys, Rules(**days))


NAMING = [
    table
    for table in tables.metadata.sorted_tables
    if "password_id" in table.c or table is tables.password
]
# What is left of a password that was erased: numbers, and texts whose key is destroyed.
LEFT = {"password", "admission", "ending", "attendance_report_name"}


@pytest.fixture
def house(audience: Audience) -> House:
    return House(audience)


def proven(house: House, document: bytes | None, export: list[bytes] | None = None) -> Any:
    assert document is not None
    lines = None if export is None else io.BytesIO(b"".join(export))
    return verify(document, [house.key], lines)


# A password


def test_who_erases_a_password_erases_it_everywhere(house: House) -> None:
    """T28 of attendance-v1. Each table that can name a password has something of it before."""
    film = house.of.ids["acme/film"]
    house.of.store.add_traffic([Metered(1, film, EVENING_H, Kind.SEGMENT, 9, 900, 0)], LATER)
    sums = house.of.store.traffic("acme", "2026-03")
    before, others = house.naming(house.goes), house.naming(house.stays)
    assert all(count for name, count in before.items() if name not in ("ending", "restriction")), (
        before
    )
    receipts = {id: house.receipt(id) for id in (house.stays, house.goes)}
    references = house.of.store.viewers.references(house.acme, [house.goes])
    assert house.of.issuer.erase(house.acme, [house.goes], **WHO) == 1
    left = {name for name, count in house.naming(house.goes).items() if count}
    assert left == LEFT
    assert house.naming(house.stays) == others
    assert house.of.store.traffic("acme", "2026-03") == sums != ()
    assert house.of.keys.record_keys(house.acme, references) == {}
    with pytest.raises(NotFound, match="or not any more"):
        house.receipt(house.goes)
    # Whatever was handed out before is proven as ever; and what is made from now on is, too.
    for text in receipts.values():
        proven(house, text)
    assert house.receipt(house.stays) == receipts[house.stays]
    gone = proven(house, house.report.document, house.export())
    assert gone.gone > 0
    assert {
        row["key"]: proof for row, proof in zip(gone.document.rows, gone.proofs, strict=True)
    } == {
        str(house.stays): "recomputed",
        str(house.goes): "not available",
    }
    names = {line.key: line.name for line in house.sealed().lines()}
    assert names == {str(house.stays): "bleibt", str(house.goes): f"#{house.goes}"}
    # Erased once more, there is nothing more of it to erase.
    house.of.issuer.erase(house.acme, [house.goes], **WHO)
    assert {name for name, count in house.naming(house.goes).items() if count} == LEFT


def test_a_report_that_is_held_keeps_what_it_names(house: House) -> None:
    sealed, until = house.of.reporter.sealed, LATER + 10 * DAY_S
    by = {**WHO}
    for wrong in ({"reason": " "}, {"reason": "a\nb"}, {"until": LATER}):
        given: dict[str, Any] = {"until": until, "reason": "x", **wrong}
        with pytest.raises(InvalidValue):
            sealed.hold(house.acme, house.subject, **given, **by)
    with pytest.raises(NotFound):
        sealed.hold(house.acme, Subject(event_id=99), until, "x", **by)
    sealed.hold(house.acme, house.subject, until, "die Kammer prüft", **by)
    assert sealed.held(house.acme, house.subject, until - 1) is not None
    assert sealed.held(house.acme, house.subject, until) is None
    before = house.naming(house.goes)
    free = house.of.viewer("frei")
    with pytest.raises(InvalidValue, match=r"before 2026-03-22: die Kammer prüft"):
        house.of.issuer.erase(house.acme, [free, house.goes], **by)
    assert house.naming(house.goes) == before
    assert house.of.issuer.find(house.acme, "frei") is not None
    # Not older than its time, and held.
    late = LATER + 9 * DAY_S
    retention = house.retention(attendance_reports=5)
    assert not retention.plan(late)["attendance_reports"]  # type: ignore[index]
    retention.run(late)
    assert house.sealed().document == house.report.document
    sealed.release(house.acme, house.subject, **by)
    with pytest.raises(NotFound):
        sealed.release(house.acme, house.subject, **by)
    house.of.issuer.erase(house.acme, [house.goes], **by)
    assert "geheim" not in str(house.sealed().lines())
    said = [entry.values for entry in house.of.store.audit.entries(house.acme)]
    assert {"report_released": (None, True), "report_of": (None, "herz")} in said
    held = {"report_held": (None, "die Kammer prüft"), "report_held_until": (None, until)}
    assert held | {"report_of": (None, "herz")} in said


# Retention


def counts(found: Any, house: House) -> dict[str, int]:
    """What is old of a tenant's attendance."""
    of = {
        str(data): found[data][house.acme] for data in found if str(data).startswith("attendance")
    }
    return {name: count for name, count in of.items() if count}


def deleted(proof: Any) -> dict[str, int]:
    return {n: c for n, c in proof.document["counts"].items() if c and n.startswith("attendance")}


def test_each_class_goes_in_its_time_and_the_log_is_proven(house: House) -> None:
    """A dry run says the same as the run and its proof."""
    assert house.of.store.viewers.attendance.seal(house.of.keys, at("23:00"), LATER)
    first = (EVENING_H + 32 * 24) * 3600
    for now, wanted in (
        (first - 1, {}),
        # The hour from 17:00, in which both came; intervals go with the first of their events.
        (first, {"attendance": 2, "attendance_intervals": 2}),
        # Two hours more of each, and how far each came.
        (first + 9 * 3600, {"attendance": 6}),
        (LATER + 2192 * DAY_S, {}),
        (LATER + 2192 * DAY_S + 1, {"attendance_reports": 1}),
    ):
        retention = house.retention()
        assert counts(retention.plan(now), house) == wanted, now
        assert counts(retention.plan(now), house) == wanted
        assert deleted(retention.run(now)) == wanted
    # Of all that was recorded there are hashes, and what was handed out is proven by them.
    verdict = proven(house, house.report.document, house.export())
    assert set(verdict.proofs) == {"not available"} and verdict.gone == verdict.leaves
    with pytest.raises(NotFound):
        house.sealed()
    with house.of.store.database.reading() as connection:
        for table in (tables.attendance_report, tables.attendance_report_name):
            assert connection.execute(select(table)).all() == []


def test_a_tenant_has_days_of_its_own(house: House) -> None:
    house.of.store.set_tenant("acme", {"attendance_days": 5, "attendance_reports_days": 3}, **WHO)
    house.of.store.set_tenant("other", {"attendance_days": 90}, **WHO)
    now = LATER + 4 * DAY_S
    retention = house.retention()
    assert counts(retention.plan(now), house)["attendance_reports"] == 1
    assert counts(retention.plan(now), house)["attendance"] > 0
    proof = retention.run(now)
    assert proof.document["own_days"] == {
        str(house.acme): {"attendance": 5, "attendance_reports": 3},
        str(house.of.other): {"attendance": 90},
    }
    assert proof.document["days"]["attendance"] == 32
    assert house.naming(house.stays)["attendance_sealed"] == 0
    assert counts(retention.plan(now), house) == {}
    for wrong in (2, 0, 40_000):
        with pytest.raises(InvalidValue, match="from 3 to 36525 days are wanted, or none"):
            house.of.store.set_tenant("acme", {"attendance_days": wrong}, **WHO)


def test_all_versions_of_a_report_go_together(house: House) -> None:
    """When the last one is old: none is taken out of a chain."""
    later = LATER + 100 * DAY_S
    house.seal("Korrektur", later)
    retention = house.retention(attendance_reports=90, attendance=3000)
    assert counts(retention.plan(later + 90 * DAY_S), house) == {}
    assert counts(retention.plan(later + 90 * DAY_S + 1), house) == {"attendance_reports": 2}
    assert deleted(retention.run(later + 90 * DAY_S + 1)) == {"attendance_reports": 2}
    assert house.of.reporter.sealed.versions(house.acme, house.subject) == ()


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_report_that_was_sealed_is_read_though_the_line_ended_then(
    house: House, is_stored: bool
) -> None:
    sealed, keys = house.of.reporter.sealed, house.of.keys
    held = keys.held(house.acme)[1]
    before = sealed.document(house.acme, house.subject, 1)
    with line_ends(house.of.store.database, 1, is_stored):
        sealed.add(house.acme, house.subject, lambda *_: before.document, "Korrektur", **WHO)
    assert len(sealed.versions(house.acme, house.subject)) == 1 + is_stored
    assert keys.held(house.acme)[1] == held + is_stored
    for version in range(1, 2 + is_stored):
        assert sealed.document(house.acme, house.subject, version) == before
    # Whoever asks for one whose key is gone is told so, and by no name of the key.
    with house.of.store.database.reading() as connection:
        references = connection.scalars(select(tables.attendance_report.c.reference)).all()
    keys.erase(house.acme, references, LATER)
    with pytest.raises(NotFound, match=r"^version 1 of this report was erased$"):
        sealed.document(house.acme, house.subject, 1)


def test_a_report_names_passwords_that_are_gone_until_it_goes(house: House) -> None:
    """A list for the chamber without them is none. Nothing else of them is left, and they can still be
    erased."""
    viewers, acme = house.of.store.viewers, house.acme
    ids = [house.stays, house.goes]
    references = viewers.references(acme, ids)
    viewers.revoke(acme, ids, **WHO)
    viewers.attendance.forget_parts(LATER * 1000)
    now = LATER + 91 * DAY_S
    proof = house.retention().run(now)
    assert proof.document["counts"]["revoked_passwords"] == 2
    left = {name for name, count in house.naming(house.goes).items() if count}
    assert left == {"attendance_report_name"}
    assert house.sealed().document == house.report.document
    assert viewers.known(acme, ids) == set(ids)
    assert house.of.issuer.erase(acme, [house.goes], who="eva", now=now) == 1
    names = {line.name for line in house.sealed().lines()}
    assert names == {"bleibt", f"#{house.goes}"}
    assert len(house.of.keys.record_keys(acme, references)) == 1
    house.retention().run(LATER + 2193 * DAY_S)
    assert house.of.keys.record_keys(acme, references) == {}


def test_a_report_that_goes_leaves_the_passwords_that_are_there(house: House) -> None:
    references = house.of.store.viewers.references(house.acme, [house.stays])
    assert deleted(house.retention(attendance_reports=3).run(LATER + 4 * DAY_S)) == {
        "attendance_reports": 1
    }
    assert len(house.of.keys.record_keys(house.acme, references)) == 1
    assert house.of.issuer.find(house.acme, "bleibt") is not None


def test_no_report_is_sealed_that_names_who_is_about_to_go(house: House) -> None:
    """Retention has claimed it, and is about to destroy its key."""
    with house.of.store.database.writing() as connection:
        claimed = tables.password.c.id == house.goes
        connection.execute(update(tables.password).where(claimed).values(revoked_at=0))
    with pytest.raises(StoreError, match="erased meanwhile"):
        house.seal("Korrektur")
    assert len(house.of.reporter.sealed.versions(house.acme, house.subject)) == 1


# From outside


@pytest.mark.slow
def test_the_commands(here: Path) -> None:
    audience = Audience(here, with_tables(f"sqlite:///{here}/acl.db"))
    goes = str(House(audience).goes)
    audience.close()
    settle(here)
    erase = ("password", "erase", "acme", "--id", goes)
    report = ("report", "acme/herz")
    refused(2, *report, "--hold", "2999-01-01")
    refused(2, *report, "--hold", "gestern", "--reason", "x")
    past = refused(2, *report, "--hold", "2020-01-01", "--reason", "x")
    assert "--hold: this is not in the future" in past
    held = told(*report, "--hold", "2999-01-01", "--reason", "Widerspruch der Kammer")["held"]
    assert held == {"until": "2999-01-01T23:00:00Z", "reason": "Widerspruch der Kammer"}
    assert told(*report, "--versions")["held"] == held
    assert "held until 2999-01-01" in done(*report, "--versions")
    assert "before 2999-01-01: Widerspruch der Kammer" in refused(1, *erase)
    assert "held no more" in done(*report, "--release")
    assert told(*report, "--versions")["held"] is None
    assert done(*erase) == "1 password erased\n"
    days = ("--attendance-days", "5", "--attendance-reports-days", "1000")
    made = told("tenant", "set", "acme", *days)
    assert (made["attendance_days"], made["attendance_reports_days"]) == (5, 1000)
    assert "from 3 to" in refused(2, "tenant", "set", "acme", "--attendance-days", "2")
    plan = told("retention", "plan")
    assert plan["days"]["attendance_reports"] == 2192 and plan["counts"]["attendance"] > 0
    kept = told("tenant", "privacy", "acme")["kept"]
    shown = {each["class"]: each["days"] for each in kept}
    assert shown["attendance"] == shown["attendance_intervals"] == 5
    assert shown["attendance_reports"] == 1000
    proof = told("retention", "run")["document"]
    assert proof["counts"]["attendance"] == plan["counts"]["attendance"]
    assert list(proof["own_days"].values()) == [{"attendance": 5, "attendance_reports": 1000}]
    assert told("tenant", "set", "acme", "--attendance-days", "none")["attendance_days"] is None
