"""All that is known of one password: complete, of nobody else's, on record, and honest about what is gone."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pystream.acl.retention import DAY_S
from pystream.acl.store import tables
from pystream.acl.store.password_data import GONE, PasswordData
from pystream.errors import NotFound
from tests.audience import LATER, WHO, Audience
from tests.databases import with_tables
from tests.test_cli_store import done, here, refused, told
from tests.test_erasing import CLOCK, House, proven
from tests.test_reports import settle

__all__ = ["here"]


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    audience = Audience(tmp_path, url)
    yield House(audience)
    audience.close()


def exported(house: House, id: int, now: int = LATER) -> dict[str, bytes]:
    data = PasswordData(house.of.store, house.of.keys)
    made = data.export(house.of.tenant, id, CLOCK, who="eva", now=now)
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def lines(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_it_has_all_that_is_known_and_nothing_of_others(house: House) -> None:
    members = exported(house, house.goes)
    assert set(members) == {
        *("README.txt", "data.json", "attendance.csv", "sessions.csv", "events.jsonl"),
        "receipts/film.json",
    }
    facts = json.loads(members["data.json"])
    assert facts["password"]["password"] == "geheim" and facts["password"]["label"] == "Dr. Meier"
    assert facts["password"]["streams"] == ["course", "film"]
    assert facts["password"]["state"] == "valid" and facts["tenant"]["display"] == "ACME GmbH"
    (session,) = facts["sessions"]
    assert (session["stream"], session["end_reason"]) == ("film", None)
    assert lines(members["sessions.csv"])[0]["id"] == session["id"]
    assert facts["reached"] == [{"stream": "film", "media_ms": 6000, "at": "2026-03-10T18:20:00Z"}]
    (row,) = facts["rows"]
    assert (row["stream"], row["day"], row["access_ms"]) == ("film", "2026-03-10", 6_300_000)
    (line,) = lines(members["attendance.csv"])
    assert line["access_ms"] == "6300000" and line["day"] == "2026-03-10"
    # Each event is what its leaf is the hash of.
    with house.of.store.database.reading() as connection:
        leaf = tables.attendance_leaf.c
        every = b"".join(connection.scalars(select(leaf.hashes).order_by(leaf.first)))
    events = [json.loads(each) for each in members["events.jsonl"].splitlines()]
    assert {each["event"]["key"] for each in events} == {str(house.goes)}
    assert len(events) == facts["events"]["available"] == 1050
    for each, text in zip(events, members["events.jsonl"].splitlines(), strict=True):
        spelt = text.partition(b'"event":')[2][:-1]
        hash = sha256(b"\0" + bytes.fromhex(each["salt"]) + spelt).digest()
        assert every[32 * each["at"] :][:32] == hash and each["epoch"] == 1
    assert proven(house, members["receipts/film.json"]).document.receipt.key == str(house.goes)
    (report,) = facts["reports"]
    assert (report["name"], report["version"], report["award"]["points"]) == ("herz", 1, "1")
    assert report["password"] == "geheim" and {each["key"] for each in report["rows"]} == {
        str(house.goes)
    }
    assert {each["evidence"] for each in report["rows"]} == {"recomputed"}
    assert facts["events"]["rows_of_reports_not_available"] == 0
    whole = b"".join(members.values())
    for foreign in ("bleibt", "Saal 1", str(house.stays)):
        assert foreign.encode() not in whole
    assert house.of.store.audit.entries(house.acme)[0].values == {
        "password_data_exported": (None, 1)
    }


def test_what_is_gone_is_told_with_its_count(house: House) -> None:
    """Deleted in time, then erased, then deleted with its row: each time less is left."""
    total = len(house.report.rows) // 2
    house.of.store.viewers.attendance.forget_parts(LATER * 1000)
    house.retention().run(LATER + 40 * DAY_S)
    members = exported(house, house.goes, LATER + 40 * DAY_S)
    facts = json.loads(members["data.json"])
    assert facts["events"] == {"available": 0, "rows_of_reports_not_available": total}
    assert facts["rows"] == facts["reached"] == [] and members["events.jsonl"] == b""
    assert {each["evidence"] for each in facts["reports"][0]["rows"]} == {GONE}
    assert not [name for name in members if name.startswith("receipts/")]
    assert facts["password"]["password"] == "geheim" and lines(members["attendance.csv"]) == []
    house.of.issuer.erase(house.acme, [house.goes], **WHO)
    facts = json.loads(exported(house, house.goes)["data.json"])
    assert facts["password"]["password"] == facts["password"]["label"] == GONE
    assert facts["password"]["state"] == "erased" and facts["sessions"] == []
    assert [each["password"] for each in facts["reports"]] == [GONE]
    assert "geheim" not in str(facts) and "Meier" not in str(facts)
    house.retention(revoked_passwords=50).run(LATER + 60 * DAY_S)
    facts = json.loads(exported(house, house.goes, LATER + 60 * DAY_S)["data.json"])
    assert facts["password"] == {
        "id": str(house.goes),
        "state": "deleted",
        "password": GONE,
        "label": GONE,
    }
    assert len(facts["reports"]) == 1


def test_nobody_gets_what_is_another_tenants(house: House) -> None:
    data = PasswordData(house.of.store, house.of.keys)
    with pytest.raises(NotFound):
        data.export(house.of.store.tenant("other"), house.goes, CLOCK, **WHO)
    assert "exported" not in str(house.of.store.audit.entries(house.of.other))
    with pytest.raises(NotFound):
        exported(house, 4711)


def test_it_has_the_names_of_viewers_whom_links_name(house: House) -> None:
    id = house.of.issuer.named(house.acme, ["sittich-4711"], LATER)["sittich-4711"].id
    password = json.loads(exported(house, id)["data.json"])["password"]
    assert password["password"] == "sittich-4711" and password["named_by_the_site"] is True


@pytest.mark.slow
def test_the_command(here: Path) -> None:
    audience = Audience(here, with_tables(f"sqlite:///{here}/acl.db"))
    house = House(audience)
    goes, stays = str(house.goes), str(house.stays)
    audience.close()
    settle(here)
    words: tuple[Any, ...] = ("password", "data", "acme", "--id", goes, "-o", "data.zip")
    assert told(*words) == {
        "file": "data.zip",
        "events": 1050,
        "rows_of_reports_not_available": 0,
    }
    assert (here / "data.zip").stat().st_mode & 0o777 == 0o600
    assert zipfile.is_zipfile(here / "data.zip")
    assert "--overwrite" in refused(1, *words)
    assert done(*words, "--overwrite") == "data.zip: 1,050 events\n"
    both = ("password", "data", "acme", "--id", goes, stays, "-o", "two.zip")
    assert "one password is wanted" in refused(1, *both) and not (here / "two.zip").exists()
    done("password", "erase", "acme", "--id", goes)
    assert "0 events, " in done(*words, "--overwrite")
    said = [str(each) for each in told("audit", "acme")["entries"]]
    assert sum("password_data_exported" in each for each in said) == 3
