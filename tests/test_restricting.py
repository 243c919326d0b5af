"""What is restricted is kept, used nowhere, and as it was once that is lifted; all is proven as ever."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pystream.acl import counting
from pystream.acl.reports.files import made
from pystream.acl.reports.making import receipt
from pystream.acl.retention import DAY_S
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.password_data import PasswordData
from pystream.attendance.verification import NOT_AVAILABLE, RECOMPUTED
from pystream.errors import Incomplete, InvalidValue, NotFound, StoreError
from tests.audience import LATER, WHO, Audience
from tests.test_cli_store import done, here, refused, told
from tests.test_erasing import CLOCK, House, proven
from tests.test_reports import settle

__all__ = ["here"]

WHY = "says that the evening is wrong"


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    audience = Audience(tmp_path, url)
    yield House(audience)
    audience.close()


def restrict(house: House) -> None:
    house.of.store.viewers.restrictions.restrict(house.acme, house.goes, WHY, **WHO)


def lift(house: House) -> None:
    house.of.store.viewers.restrictions.lift(house.acme, house.goes, **WHO)


def rows(house: House) -> set[str]:
    """Whose attendance is shown."""
    film = house.of.store.stream("acme", "film")
    options = counting.of_stream(film, house.of.tenant)
    attendance = house.of.store.viewers.attendance
    found = attendance.rows(house.of.keys, house.acme, [film.id], options)
    return {row["key"] for row in found}


def test_it_is_in_no_report_list_receipt_or_export(house: House) -> None:
    both, one = {str(house.goes), str(house.stays)}, {str(house.stays)}
    of, film = house.of, house.of.store.stream("acme", "film")
    assert rows(house) == both
    restrict(house)
    assert rows(house) == one
    report = of.reporter.of_event(of.tenant, of.event, LATER)
    assert {row["key"] for row in report.rows} == set(report.about["awards"]) == one
    assert report.about["restricted"] == 1 and set(report.about["passwords"]) == one
    for day in (None, "2026-03-10"):
        report = of.reporter.of_stream(of.tenant, film, day, LATER)
        assert {row["key"] for row in report.rows} == one and report.about["restricted"] == 1
    assert of.reporter.of_stream(of.tenant, film, "2026-03-20", LATER).about["restricted"] == 0
    told_of = of.store.viewers.attendance.events(of.keys, house.acme, film.id)
    assert not [event for event in told_of if str(house.goes) in event]
    log = house.export()
    assert not [line for line in log if str(house.goes).encode() in line]
    assert [line for line in log if str(house.stays).encode() in line]
    with pytest.raises(InvalidValue, match="restricted"):
        receipt(of.store, house.notary, of.tenant, film, house.goes, None, CLOCK, LATER)
    receipt(of.store, house.notary, of.tenant, film, house.stays, None, CLOCK, LATER)
    lift(house)
    assert rows(house) == both and not of.store.viewers.restrictions.listed(house.acme)
    report = of.reporter.of_event(of.tenant, of.event, LATER)
    assert {row["key"] for row in report.rows} == both and report.about["restricted"] == 0
    receipt(of.store, house.notary, of.tenant, film, house.goes, None, CLOCK, LATER)


def test_a_sealed_report_is_shown_without_it_and_proven_as_ever(house: House) -> None:
    whole = house.sealed()
    assert whole.document is not None and whole.about["restricted"] == 0
    restrict(house)
    shown = house.sealed()
    assert {row["key"] for row in shown.rows} == {str(house.stays)}
    assert shown.document is None and shown.about["restricted"] == 1
    for shape in ("csv", "svg"):
        text = made(shown, shape, "en").decode("utf-8-sig")
        assert "geheim" not in text and "Meier" not in text
    with pytest.raises(Incomplete, match="restricted"):
        shown.json()
    # The file from before is proven, by what is still told of the log.
    verdict = proven(house, whole.document, house.export())
    of_row = dict(zip([row["key"] for row in whole.rows], verdict.proofs, strict=True))
    assert of_row == {str(house.stays): RECOMPUTED, str(house.goes): NOT_AVAILABLE}
    lift(house)
    assert house.sealed() == whole


def test_a_report_that_is_sealed_meanwhile_is_proven_before_and_after(house: House) -> None:
    """It says of whom it has no rows: so nothing is left out unseen."""
    restrict(house)
    report = house.seal("a break was longer")
    assert report.document is not None and report.scope.without == (str(house.goes),)
    assert {row["key"] for row in report.rows} == {str(house.stays)}
    assert set(proven(house, report.document, house.export()).proofs) == {RECOMPUTED}
    lift(house)
    assert set(proven(house, report.document, house.export()).proofs) == {RECOMPUTED}


def test_it_is_kept_whatever_is_old_and_wanted(house: House) -> None:
    of, viewers = house.of, house.of.store.viewers
    before = house.naming(house.goes)
    restrict(house)
    with pytest.raises(InvalidValue, match="restricted"):
        of.issuer.erase(house.acme, [house.stays, house.goes], **WHO)
    assert viewers.known(house.acme, [house.goes]) and rows(house) == {str(house.stays)}
    viewers.revoke(house.acme, [house.goes], **WHO)
    later = LATER + 4000 * DAY_S
    house.retention().run(later)
    # A report goes in its time, and what is told to workers.
    gone = {"attendance_part", "attendance_report_name", "ending"}
    kept = {name: count for name, count in house.naming(house.goes).items() if name not in gone}
    assert kept == {"restriction": 1} | {
        name: count for name, count in before.items() if name not in gone | {"restriction"}
    }
    lift(house)
    viewers.attendance.forget_parts(later * 1000)
    house.retention().run(later)
    assert not any(house.naming(house.goes).values())


def test_its_tenant_is_not_deleted(house: House) -> None:
    leaving = Leaving(house.of.store, house.of.keys)
    restrict(house)
    for force in (False, True):
        with pytest.raises(StoreError, match=r"of 'acme' is restricted \(1\)"):
            leaving.delete("acme", **WHO, force=force)
    lift(house)
    leaving.delete("acme", **WHO, force=True)


def test_who_asks_is_still_told_all(house: House) -> None:
    """Art. 15 GDPR, with that it is restricted."""
    restrict(house)
    export = PasswordData(house.of.store, house.of.keys).export
    data = export(house.of.tenant, house.goes, CLOCK, who="eva", now=LATER).data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        facts = json.loads(archive.read("data.json"))
        assert "receipts/film.json" in archive.namelist()
    assert facts["rows"] and facts["reports"][0]["rows"] and facts["events"]["available"]
    assert facts["password"]["restricted"]["reason"] == WHY


def test_it_is_on_record_with_its_reason_and_names_nobody(house: House) -> None:
    restrictions = house.of.store.viewers.restrictions
    for wrong in ("", " ", "x" * 501, "a\nb"):
        with pytest.raises(InvalidValue, match="reason"):
            restrictions.restrict(house.acme, house.goes, wrong, **WHO)
    for act in (
        lambda: restrictions.restrict(house.acme, 4711, WHY, **WHO),
        lambda: restrictions.lift(house.acme, house.goes, **WHO),
    ):
        with pytest.raises(NotFound):
            act()
    restrict(house)
    restrictions.restrict(house.acme, house.goes, "another", **WHO | {"now": LATER + 5})
    (held,) = restrictions.listed(house.acme).values()
    assert (held.reason, held.made_at) == ("another", WHO["now"])
    lift(house)
    entries = [entry.values for entry in house.of.store.audit.entries(house.acme)[:3]]
    assert entries == [
        {"restrictions_lifted": (None, 1)},
        {"passwords_restricted": (None, 1), "restriction_reason": (None, "another")},
        {"passwords_restricted": (None, 1), "restriction_reason": (None, WHY)},
    ]


@pytest.mark.slow
def test_the_command_line_restricts_lists_and_lifts(here: Path) -> None:
    audience = Audience(here, f"sqlite:///{here}/acl.db")
    house = House(audience)
    audience.close()
    settle(here)
    id = str(house.goes)
    this = ["password", "restrict", "acme", "--id", id]
    assert "or none of these" in refused(2, *this)
    assert "reason" in refused(2, *this, "--reason", " ")
    assert done(*this, "--reason", WHY) == f"{id}: restricted\n"
    (row,) = told("password", "restrict", "acme")["restricted"]
    assert (row["id"], row["reason"]) == (id, WHY)
    assert WHY in done("password", "restrict", "acme")
    assert "restricted" in refused(1, "password", "erase", "acme", "--id", id)
    shown = told("attendance", "show", "acme/film")["rows"]
    assert {each["key"] for each in shown} == {str(house.stays)}
    receipt_of = ["attendance", "receipt", "acme/film", id, "-o", "receipt.json"]
    assert "restricted" in refused(1, *receipt_of)
    assert done(*this, "--lift") == f"{id}: restricted no more\n"
    done(*receipt_of)
