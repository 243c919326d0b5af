"""The API, on both databases: what it takes, gives and refuses, and what is done once."""

from __future__ import annotations

import csv
import hmac
import io
import json
import re
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pypdfium2
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pystream.acl.entrances import links
from pystream.acl.entrances.verifiers import Verifier
from pystream.acl.people import SCOPES, Right
from pystream.acl.sealing import MasterKeys
from pystream.acl.statements import KINDS as KINDS_OF_PAPERS
from pystream.acl.store import Store, issuing
from pystream.acl.store.issuing import Issuer, Shown
from pystream.acl.store.keystore import KeyStore
from pystream.acl.streams import MAXIMUM, StreamSettings, TenantSettings
from pystream.acl.viewers import End
from pystream.attendance.purpose import VERSION as PURPOSE
from pystream.errors import StoreError
from pystream.server.office import once, quotas, routing
from pystream.server.office.api import operations, streams
from pystream.server.office.api.document import document
from pystream.server.office.api.operations import Operation
from pystream.server.office.counter import Counter
from pystream.server.office.problems import KINDS, Refusal
from pystream.server.office.routing import ROUTES
from pystream.server.office.values import Asked, Office
from pystream.server.settings import Network, Outgoing
from tests.test_serve import SAMPLE

pytestmark = pytest.mark.slow

NOW = 1_936_699_200
HOST = "video.example.org"


class Got:
    """An answer."""

    def __init__(self, reply: Any) -> None:
        self.status: int = reply.status
        self.headers = dict(reply.headers)
        assert len(self.headers) == len(reply.headers), "a field comes twice"
        self.body: bytes = reply.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Of a problem; it is looked at as a whole."""
        problem = self.json
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.headers["Cache-Control"] == "no-store"
        kind = problem["type"].rpartition("/")[2]
        assert problem["type"] == f"/api/v1/problems/{kind}"
        assert problem["title"] == KINDS[kind].title and problem["detail"]
        assert problem["status"] == self.status == KINDS[kind].status
        return str(kind)

    @property
    def places(self) -> list[Any]:
        """What is at fault of a request."""
        return [
            error.get("pointer") or error.get("parameter") or error.get("header") or error["line"]
            for error in self.json.get("errors", [])
        ]


class House:
    """An office of two tenants, and the folder of their films."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.open(url)
        self.keys.set_up(bytes(32), NOW)
        self.tokens: dict[str, str] = {}
        for tenant in ("acme", "other"):
            zone = TenantSettings(timezone="Europe/Berlin")
            id = self.store.add_tenant(tenant, zone, who="test", now=NOW).id
            self.tokens[tenant] = self.office.accounts.add_token(
                id, "all", SCOPES, None, who="test", now=NOW
            )[1]
            (folder / "films" / tenant).mkdir(parents=True)
            (folder / "films" / tenant / f"{tenant}.mp4").hardlink_to(SAMPLE)
        for name, access in (("course", "personal"), ("talk", "shared"), ("open", "open")):
            film = StreamSettings(sources=(str(SAMPLE),), access=access)
            self.store.add_stream("acme", name, film, who="test", now=NOW)

    def open(self, url: str) -> None:
        self.url = url
        self.store = Store.open(url)
        self.keys = KeyStore.open(
            f"sqlite:///{self.folder}/keys.db",
            lambda: MasterKeys([bytes(range(32))]),
            str(self.folder / "erasures"),
        )
        self.office = Office.of(
            self.store, self.keys, lambda: self.now, films=str(self.folder / "films")
        )

    def close(self) -> None:
        self.store.close()
        self.keys.close()

    def ask(
        self, method: str, path: str, body: Any = None, *, of: str = "acme", **fields: str
    ) -> Got:
        """`of`: whose token is shown. A body that is no bytes is sent as JSON."""
        return Got(routing.answer(self.office, self.asked(method, path, body, of=of, **fields)))

    def asked(
        self, method: str, path: str, body: Any = None, *, of: str = "acme", **fields: str
    ) -> Asked:
        where, _, query = path.partition("?")
        named = {"host": HOST, "authorization": f"Bearer {self.tokens.get(of, of)}"}
        if body is not None:
            named["content_type"] = "application/json"
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        return Asked(
            method, f"/api/v1{where}", query, named | fields, data, True, False, b"\x0a\0\0", ""
        )

    def make(self, count: int = 1, stream: str = "course", **more: Any) -> list[dict[str, Any]]:
        body = {"streams": [stream], "count": count, **more}
        got = self.ask("POST", "/passwords", body)
        assert got.status == 201, got.body
        items: list[dict[str, Any]] = got.json["items"]
        return items

    def recorded(self, what: str) -> list[Any]:
        """What is on record of something, the newest first, and who it was."""
        entries = self.store.audit.entries(self.store.tenant("acme").id, most=1000)
        assert {each.who for each in entries} <= {"token:all", "token:less", "test"}
        return [each.values[what][1] for each in entries if what in each.values]

    def endings(self) -> list[tuple[int | None, End]]:
        return [(each.password_id, each.reason) for each in self.store.viewers.endings(0)]


@pytest.fixture
def house(url: str, tmp_path: Path) -> Iterator[House]:
    made = House(url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[House]:
    """A house where the database does not matter."""
    made = House(f"sqlite:///{tmp_path}/store.db", tmp_path)
    yield made
    made.close()


# Streams


def test_streams_are_listed_by_pages(house: House) -> None:
    first = house.ask("GET", "/streams?limit=2")
    assert [each["name"] for each in first.json["items"]] == ["course", "open"]
    link = re.fullmatch(
        r'</api/v1(/streams\?limit=2&cursor=[\w-]+)>; rel="next"', first.headers["Link"]
    )
    assert link is not None and dict(parse_qsl(link[1]))["cursor"] == first.json["next"]
    last = house.ask("GET", link[1])
    assert [each["name"] for each in last.json["items"]] == ["talk"]
    assert last.json["next"] is None and "Link" not in last.headers
    assert house.ask("GET", "/streams", of="other").json == {"items": [], "next": None}


def test_a_stream_is_added_changed_and_removed(house: House) -> None:
    body = {"name": "new", "sources": ["acme.mp4"], "title": "Новый", "access": "personal"}
    added = house.ask("POST", "/streams", body)
    assert added.status == 201, added.body
    assert added.headers["Location"] == "/api/v1/streams/new"
    assert added.json["sources"] == ["acme.mp4"] and added.json["title"] == "Новый"
    assert house.store.stream("acme", "new").settings.sources[0].endswith("/films/acme/acme.mp4")
    tag = added.headers["ETag"]
    same = house.ask("GET", "/streams/new", if_none_match=tag)
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    changed = house.ask(
        "PATCH",
        "/streams/new",
        {
            "download": True,
            "max_devices": 1,
            "idle_s": None,
            "embed_origins": ["https://a.example"],
        },
        content_type="application/merge-patch+json",
        if_match=tag,
    )
    assert changed.status == 200, changed.body
    assert (changed.json["download"], changed.json["max_devices"]) == (True, 1)
    assert changed.json["idle_s"] is None and changed.json["title"] == "Новый"
    bound = {
        "opens_at": "2031-06-01T08:00:00+02:00",
        "countries": ["DE"],
        "networks": ["10.0.0.0/8"],
    }
    changed = house.ask("PATCH", "/streams/new", bound)
    assert changed.json["opens_at"] == "2031-06-01T06:00:00Z" and changed.json["countries"] == [
        "DE"
    ]
    assert house.store.stream("acme", "new").settings.opens_at == 1_938_060_000
    # Who has seen the first one alone changes and removes nothing.
    for method, sent in (("PATCH", {"title": "x"}), ("DELETE", None)):
        late = house.ask(method, "/streams/new", sent, if_match=tag)
        assert late.kind == "outdated"
    assert house.ask("GET", "/streams/new").json == changed.json
    gone = house.ask("DELETE", "/streams/new", if_match=changed.headers["ETag"])
    assert (gone.status, gone.body) == (204, b"")
    assert house.ask("GET", "/streams/new").kind == "not-found"
    assert house.ask("POST", "/streams", {**body, "name": "course"}).kind == "exists"


def test_of_two_changes_at_a_time_the_store_takes_one(house: House) -> None:
    """The stream changes between the look at If-Match and the writing."""
    tag = house.ask("GET", "/streams/course").headers["ETag"]
    before = house.store.set_stream
    try:

        def late(*arguments: Any, **more: Any) -> Any:
            before("acme", "course", {"title": "first"}, who="test", now=NOW)
            return before(*arguments, **more)

        house.store.set_stream = late  # type: ignore[method-assign]
        assert (
            house.ask("PATCH", "/streams/course", {"title": "x"}, if_match=tag).kind == "outdated"
        )
    finally:
        house.store.set_stream = before  # type: ignore[method-assign]
    assert house.ask("GET", "/streams/course").json["title"] == "first"


@pytest.mark.parametrize(
    "name",
    [
        *("other.mp4", "../other/other.mp4", "/etc/passwd", "a/../../other/other.mp4", ".", ""),
        *("link.mp4", "nul\0.mp4", "..", "folder", "x" * 1000),
    ],
)
def test_films_lie_in_the_tenants_own_folder(one: House, name: str) -> None:
    own = one.folder / "films" / "acme"
    (own / "link.mp4").symlink_to(one.folder / "films" / "other" / "other.mp4")
    (own / "folder").mkdir()
    body = {"name": "new", "sources": ["acme.mp4", name]}
    got = one.ask("POST", "/streams", body)
    assert got.kind == "invalid" and got.places == ["#/sources/1"]
    assert str(one.folder) not in got.body.decode()
    changed = one.ask("PATCH", "/streams/course", {"download_source": name})
    assert changed.kind == "invalid" and changed.places == ["#/download_source"]
    assert one.ask("GET", "/streams/new").status == 404


def test_no_error_tells_where_films_lie(one: House) -> None:
    got = one.ask("PATCH", "/streams/course", {"download_source": "acme.mp4"})
    assert got.kind == "invalid" and got.places == ["#/download_source"]
    assert "'acme.mp4' is none" in got.json["detail"] and str(one.folder) not in got.body.decode()


def test_what_cannot_be_packaged_is_refused(one: House) -> None:
    (one.folder / "films" / "acme" / "broken.mp4").write_bytes(b"no film")
    got = one.ask("POST", "/streams", {"name": "new", "sources": ["broken.mp4"]})
    assert got.kind == "invalid" and got.places == ["#/sources"]
    assert "broken.mp4" in got.json["detail"] and str(one.folder) not in got.body.decode()


def test_without_a_folder_of_films_no_stream_is_added(one: House) -> None:
    one.office = Office.of(one.store, one.keys, lambda: one.now)
    got = one.ask("POST", "/streams", {"name": "new", "sources": ["acme.mp4"]})
    assert got.kind == "forbidden" and "[console] films" in got.json["detail"]
    assert one.ask("GET", "/streams/course").json["sources"] is None


def test_the_api_has_every_setting_of_a_stream() -> None:
    """A new setting is told and can be changed, or it is named here."""
    known = set(StreamSettings.__slots__)
    assert known - set(streams.StreamView.__struct_fields__) == set()
    assert known - set(streams.StreamChange.__struct_fields__) == set()
    assert known - set(streams.NewStream.__struct_fields__) == set()


def test_a_stream_is_embedded(one: House) -> None:
    one.ask(
        "PATCH", "/streams/course", {"title": '"><script>', "embed_origins": ["https://a.example"]}
    )
    got = one.ask("GET", "/streams/course/embed").json
    assert got["url"] == f"https://{HOST}/acme/course/" and got["embed_origins"] == [
        "https://a.example"
    ]
    assert f'src="{got["url"]}"' in got["html"]
    assert 'title="&quot;&gt;&lt;script&gt;"' in got["html"]
    # Only what a fragment opens has a script that hands it on.
    assert got["html"].count("<script") == 1
    one.ask("PATCH", "/streams/course", {"access": "open"})
    assert "<script" not in one.ask("GET", "/streams/course/embed").json["html"]


# Passwords


def test_passwords_are_made_listed_and_read(house: House) -> None:
    label = "Gruppe Ä \U0001f600"
    made = house.make(
        5, label=label, valid_until="2031-06-01T00:00:00+02:00", max_devices=2, test=True
    )
    assert len({each["password"] for each in made}) == 5
    for each in made:
        assert re.fullmatch(r"[1-9]\d{0,18}", each["id"])
        assert re.fullmatch(r"([0-9A-Z]{4}-){6}[0-9A-Z]{4}", each["password"])
        told = (each["label"], each["streams"], each["state"], each["max_devices"], each["test"])
        assert told == (label, ["course"], "valid", 2, True)
        assert each["valid_until"] == "2031-05-31T22:00:00Z"
    assert house.recorded("passwords_added") == [5] and house.recorded("passwords_shown") == []
    found: list[Any] = []
    path: str | None = "/passwords?stream=course&limit=2"
    while path is not None:
        page = house.ask("GET", path)
        found += page.json["items"]
        link = re.search(r"</api/v1([^>]+)>", page.headers.get("Link", ""))
        path = link[1] if link else None
    assert sorted(found, key=lambda each: each["id"]) == sorted(made, key=lambda each: each["id"])
    assert house.recorded("passwords_shown") == [1, 2, 2]
    one = house.ask("GET", f"/passwords/{made[0]['id']}")
    assert one.json == made[0] and house.recorded("passwords_shown") == [1, 1, 2, 2]
    assert house.ask("GET", "/passwords?stream=talk").json["items"] == []
    # Another tenant reads none of them and ends none.
    for method, path, body in (
        ("GET", f"/passwords/{made[0]['id']}", None),
        ("POST", f"/passwords/{made[0]['id']}/rotate", {}),
        ("POST", f"/passwords/{made[0]['id']}/end-sessions", None),
    ):
        assert house.ask(method, path, body, of="other").kind == "not-found"
    for action in ("revoke", "erase"):
        ids = {"ids": [made[0]["id"]]}
        assert list(house.ask("POST", f"/passwords/{action}", ids, of="other").json.values()) == [0]
    assert house.ask("GET", f"/passwords/{made[0]['id']}").json == made[0]


def test_a_password_opens_streams_of_its_own_kind(one: House) -> None:
    body = {"streams": ["course", "talk", "nothing", "course"], "count": 1}
    got = one.ask("POST", "/passwords", body)
    assert got.kind == "invalid"
    assert got.places == ["#/streams/1", "#/streams/2", "#/streams"]
    assert one.make(stream="talk", shared=True)[0]["shared"] is True


def test_passwords_are_revoked_and_erased(house: House) -> None:
    made = house.make(3)
    ids = [each["id"] for each in made]
    assert house.ask("POST", "/passwords/revoke", {"ids": ids[:2]}).json == {"revoked": 2}
    assert house.ask("POST", "/passwords/revoke", {"ids": ids}).json == {"revoked": 1}
    assert [reason for _, reason in house.endings()] == [End.REVOKED] * 3
    sent = [ids[0], ids[0], "1234567890123456789"]
    assert house.ask("POST", "/passwords/erase", {"ids": sent}).json == {"erased": 1}
    assert house.recorded("passwords_erased") == [1]
    states = {each["id"]: each["state"] for each in house.ask("GET", "/passwords").json["items"]}
    assert [states[id] for id in ids] == ["erased", "revoked", "revoked"]
    gone = house.ask("GET", f"/passwords/{ids[0]}").json
    assert gone["password"] is None and gone["label"] is None
    for wrong in ("0", "-1", "1.0", "9" * 19, "x", str(2**63)):
        assert house.ask("GET", f"/passwords/{wrong}").kind == "not-found"
        got = house.ask("POST", "/passwords/revoke", {"ids": [ids[0], wrong]})
        assert got.kind == "invalid" and got.places == ["#/ids/1"]


def test_a_password_is_replaced(house: House) -> None:
    (old,) = house.make(1, label="Ward 3", max_devices=1)
    grace = house.ask("POST", f"/passwords/{old['id']}/rotate", {"grace_s": 600})
    assert grace.status == 201, grace.body
    new = grace.json
    assert grace.headers["Location"] == f"/api/v1/passwords/{new['id']}"
    assert new["password"] != old["password"] and new["id"] != old["id"]
    for name in ("label", "streams", "max_devices", "valid_until", "shared", "test", "state"):
        assert new[name] == old[name]
    before = house.ask("GET", f"/passwords/{old['id']}").json
    assert (before["state"], before["valid_until"]) == ("valid", "2031-05-16T12:10:00Z")
    assert house.endings() == []
    house.ask("POST", f"/passwords/{new['id']}/rotate", {})
    assert house.ask("GET", f"/passwords/{new['id']}").json["state"] == "revoked"
    assert house.endings() == [(int(new["id"]), End.REVOKED)]
    assert house.ask("POST", f"/passwords/{new['id']}/rotate", {}).kind == "invalid"


def test_a_passwords_label_validity_and_devices_are_changed(house: House) -> None:
    (old,) = house.make(1, label="Ward 3", max_devices=1, valid_until="2032-01-01T00:00:00Z")
    place = f"/passwords/{old['id']}"
    changes = {"label": "Ward 4", "valid_from": "2031-06-01T00:00:00+02:00", "max_devices": None}
    got = house.ask("PATCH", place, changes)
    assert got.status == 200, got.body
    told = {"label": "Ward 4", "valid_from": "2031-05-31T22:00:00Z", "max_devices": None}
    assert got.json == old | told | {"state": "to come"} == house.ask("GET", place).json
    assert house.ask("PATCH", place, {"valid_from": None}).json["state"] == "valid"
    # What is on record is no label; what stays as it was is not.
    assert house.recorded("password_label_changed") == [True]
    assert house.recorded("password_valid_from") == [None, 1_938_031_200]
    assert house.recorded("password_max_devices") == [None]
    assert house.ask("PATCH", place, {"label": "Ward 4", "max_devices": None}).status == 200
    assert house.recorded("password_label_changed") == [True]
    assert house.endings() == []
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"valid_from": "2032-02-01T00:00:00Z"}, "#/valid_until"),
        ({"valid_until": "2031-01-01T00:00:00Z"}, "#/valid_until"),
        ({"label": "a\nb"}, "#/label"),
        ({"max_devices": 0}, "#/max_devices"),
        ({"test": True}, "#/test"),
    ]
    for body, pointer in wrong:
        got = house.ask("PATCH", place, body)
        assert (got.kind, got.places) == ("invalid", [pointer])
    assert house.ask("GET", place).json == old | told | {"valid_from": None}
    assert house.ask("PATCH", place, {"label": None}).json["label"] == ""
    house.ask("POST", "/passwords/erase", {"ids": [old["id"]]})
    assert house.ask("PATCH", place, {"label": "back"}).kind == "invalid"
    assert house.ask("PATCH", "/passwords/1", {"label": "x"}).kind == "not-found"


def test_who_may_change_a_password_alone_is_told_neither_text_nor_label(house: House) -> None:
    (old,) = house.make(1, label="Ward 3")
    id = house.store.tenant("acme").id
    scopes = {Right.PASSWORDS_CHANGE}
    _, less = house.office.accounts.add_token(id, "less", scopes, None, who="test", now=NOW)
    place = f"/passwords/{old['id']}"
    assert house.ask("GET", place, of=less).kind == "insufficient-scope"
    seen = house.recorded("passwords_shown")
    unseen = {"password": None, "label": None}
    for body in ({}, {"max_devices": 2}, {"label": "Ward 4"}):
        got = house.ask("PATCH", place, body, of=less)
        assert got.status == 200 and got.json == {**got.json, **unseen}
    # Nobody has seen any, so that is what is on record; what was changed, was.
    assert house.recorded("passwords_shown") == seen
    changed = old | {"max_devices": 2, "label": "Ward 4"}
    assert house.ask("GET", place).json == changed
    made = house.ask("POST", f"{place}/rotate", {}, of=less).json
    assert made["label"] is None and made["password"] not in (None, old["password"])
    assert house.ask("GET", f"/passwords/{made['id']}").json == made | {"label": "Ward 4"}
    # What it makes itself, it knows.
    (own,) = house.ask("POST", "/passwords", {"streams": ["course"], "label": "own"}, of=less).json[
        "items"
    ]
    assert own["label"] == "own" and own["password"]


def test_sessions_end(house: House) -> None:
    (password,) = house.make()
    assert house.ask("POST", f"/passwords/{password['id']}/end-sessions").status == 204
    assert house.ask("POST", "/streams/course/end-sessions").status == 204
    assert house.endings() == [(int(password["id"]), End.CLOSED), (None, End.CLOSED)]
    assert house.ask("GET", f"/passwords/{password['id']}").json["state"] == "valid"


def test_passwords_are_imported(house: House) -> None:
    good = [
        {"password": "7Q4M-0XKD-93TP-11ZB-PV5E", "label": "1"},
        {"password": "00012345678", "valid_until": "2031-06-01T00:00:00Z"},
    ]
    body: dict[str, Any] = {"streams": ["course"], "passwords": good}
    checked = house.ask("POST", "/passwords/import?check=true", body)
    assert checked.json["count"] == 2 and checked.json["ids"] == []
    assert [each["index"] for each in checked.json["warnings"]] == [1]
    assert "guessed" in checked.json["warnings"][0]["detail"]
    assert house.ask("GET", "/passwords").json["items"] == []
    done = house.ask("POST", "/passwords/import", body)
    assert (done.json["count"], len(done.json["ids"])) == (2, 2)
    kept = house.ask("GET", f"/passwords/{done.json['ids'][1]}").json
    assert kept["password"] == "00012345678" and kept["valid_until"] == "2031-06-01T00:00:00Z"
    fresh = [{"password": "8Q4M-0XKD-93TP-11ZB-PV5E"}, *good[1:]]
    for path in ("/passwords/import", "/passwords/import?check=true"):
        got = house.ask("POST", path, {**body, "passwords": fresh})
        assert (got.kind, got.places) == ("exists", ["#/passwords/1/password"])
    for moment in ("2031-06-30", "2031-06-30T00:00:00", 5):
        got = house.ask("POST", "/passwords", {"streams": ["course"], "valid_until": moment})
        (error,) = got.json["errors"]
        assert error["pointer"] == "#/valid_until"
        assert error["detail"].endswith("from UTC, as 2031-06-30T23:59:59+02:00")
    over = [{"password": "9W4M-0XKD-93TP-11ZB-PV5E", "valid_until": "2031-05-16T12:00:00Z"}]
    query = "/passwords/import?check=true"
    warned = house.ask("POST", query, {**body, "passwords": over}).json["warnings"]
    assert warned == [
        {"detail": "valid_until: that is over; such a password opens nothing", "index": 0}
    ]
    late = {"streams": ["course"], "valid_until": "2031-05-16T12:00:00Z"}
    assert house.ask("POST", "/passwords", late).places == ["#/valid_until"]
    wrong = [
        *good[:1],
        {"password": "7q4m 0xkd 93tp 11zb pv5e"},
        {"password": " "},
        {"password": "a", "label": "x\n"},
    ]
    got = house.ask("POST", "/passwords/import", {**body, "passwords": wrong})
    assert got.kind == "invalid"
    assert got.places == [
        "#/passwords/1/password",
        "#/passwords/2/password",
        "#/passwords/3/label",
    ]
    # No error repeats a password.
    assert b"7q4m" not in got.body.lower()
    assert len(house.ask("GET", "/passwords").json["items"]) == 2


def test_a_csv_is_imported_and_exported_without_formulas(house: House) -> None:
    label = '=HYPERLINK("https://evil.example")'
    cell = label.replace('"', '""')
    text = "password;label;valid until\r\n"
    text += f'K7-Q2M9-XD4R-0001-ZPTV;"{cell}";01.06.2031\r\n'
    text += "+4W9Z-88QK-2MXV-7TRD;@SUM(1);\r\n"
    query = "?streams=course"
    done = house.ask(
        "POST", f"/passwords/import{query}", text.encode(), content_type="text/csv; charset=utf-8"
    )
    assert done.json["count"] == 2 and done.json["warnings"] == [], done.body
    old = text.replace("2031", "2030").replace("0001-ZPTV", "0002-ZPTV").replace("+4W9Z", "+5W9Z")
    path = f"/passwords/import{query}&check=true"
    warned = house.ask("POST", path, old.encode(), content_type="text/csv").json["warnings"]
    assert [each["line"] for each in warned] == [2] and "that is over" in warned[0]["detail"]
    exported = house.ask("GET", "/passwords/export?stream=course&separator=semicolon")
    assert exported.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert exported.headers["Content-Disposition"] == 'attachment; filename="passwords.csv"'
    rows = list(csv.reader(exported.body.decode("utf-8-sig").splitlines(), delimiter=";"))
    # CWE-1236
    assert not any(cell[:1] in tuple("=+-@\t\r") and cell for row in rows for cell in row)
    labels = sorted(row[1] for row in rows[1:])
    assert labels == ["'" + label, "'@SUM(1)"]
    assert "2031-06-01" in {row[3] for row in rows[1:]}
    assert house.recorded("passwords_shown") == [2]
    wrong = b"password\r\nabc\xff\r\nK7-Q2M9-XD4R-0001-AAAA\r\nk7q2m9xd4r0001aaaa\r\n"
    got = house.ask("POST", f"/passwords/import{query}", wrong, content_type="text/csv")
    assert got.kind == "invalid" and got.places == [2, 4]
    more = b"password\r\n8Q4M-0XKD-93TP-11ZB-PV5E\r\n+4w9z 88qk 2mxv 7trd\r\n"
    got = house.ask("POST", path, more, content_type="text/csv")
    assert (got.kind, got.places) == ("exists", [3])
    missing = house.ask("POST", "/passwords/import", text.encode(), content_type="text/csv")
    assert missing.kind == "invalid" and missing.places == ["streams"]


def test_more_than_one_transaction_takes_is_no_import(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = house.ask("GET", "/openapi.json").json
    passwords = told["components"]["schemas"]["Import"]["properties"]["passwords"]
    assert passwords["maxItems"] == issuing.MOST_AT_ONCE == 50_000
    described = told["paths"]["/api/v1/passwords/import"]["post"]["description"]
    assert "at most 50,000 passwords and 8 MB" in " ".join(described.split())
    monkeypatch.setattr(issuing, "MOST_AT_ONCE", 2)
    for check in ("true", "false"):
        path = f"/passwords/import?streams=course&check={check}"
        got = house.ask("POST", path, b"password\nkQ7ZpVnXmW\nWcTbRd7731\n8Q4M0XKD93\n", **CSV_BODY)
        assert got.kind == "invalid" and "at most 2 passwords are added at once" in str(got.json)
    got = house.ask("POST", path, b"password\nkQ7ZpVnXmW\nWcTbRd7731\n", **CSV_BODY)
    assert got.json["count"] == 2


CSV_BODY = {"content_type": "text/csv"}


def test_an_address_that_can_never_be_called_is_refused(house: House) -> None:
    for url, said in (
        ("http://login.example.org/x", "has to begin with https://"),
        ("https://login.example.org:0/x", "port has to be from 1 to 65535"),
        ("https://login.example.org:81/x", "outgoing.ports has to have port 81"),
        ("https://10.0.0.1/x", "no public address"),
    ):
        got = house.ask("POST", "/verifiers", {"kind": "question", "url": url})
        assert got.kind == "invalid" and said in str(got.json), got.body
    allowed = Outgoing(allow=(Network("10.0.0.0/8"),), ports=(80, 443))
    house.office = replace(house.office, outgoing=lambda: allowed)
    for url in ("http://10.0.0.1/x", "http://login.example.org/x"):
        got = house.ask("POST", "/verifiers", {"kind": "question", "url": url})
        assert got.status == 201, got.body


def test_cards_are_printed(one: House) -> None:
    made = one.make(12)
    one.ask("POST", "/passwords/revoke", {"ids": [made[0]["id"]]})
    one.make(1, stream="talk", shared=True)
    one.make(1, test=True)
    body = {"stream": "course", "locale": "de", "url": "https://akademie.example/kurs"}
    got = one.ask("POST", "/passwords/cards", body)
    assert got.headers["Content-Type"] == "application/pdf" and one.recorded("passwords_shown") == [
        12
    ]
    document = pypdfium2.PdfDocument(got.body)
    text = "".join(page.get_textpage().get_text_range() for page in document)
    assert len(document) == 2 and "akademie.example/kurs" in text
    # Whoever had it by mistake would be in no list of those who attended.
    assert text.count("Testzugang") == 1
    # A hyphen at the end of a line is told in some other way.
    plain = re.sub(r"\W", "", text)
    there = [each["password"].replace("-", "") in plain for each in made]
    assert there == [False] + [True] * 11
    some = one.ask("POST", "/passwords/cards", {"stream": "course", "ids": [made[3]["id"]]})
    document = pypdfium2.PdfDocument(some.body)
    assert f"{HOST}/acme/course" in document[0].get_textpage().get_text_range()
    for wrong in (
        {"stream": "course", "ids": [made[0]["id"]]},
        {"stream": "course", "locale": "fr"},
        {"stream": "course", "url": "javascript:alert(1)"},
    ):
        assert one.ask("POST", "/passwords/cards", wrong).kind == "invalid"
    # No card leads to a page that lets nobody in.
    one.ask("PATCH", "/streams/course", {"embed_origins": ["https://a.b"], "embed_lock": True})
    for wrong in ({}, {"url": f"https://{HOST}/acme/course/"}):
        refused = one.ask("POST", "/passwords/cards", {"stream": "course", **wrong})
        assert (refused.kind, refused.places) == ("invalid", ["#/url"])
    assert one.ask("POST", "/passwords/cards", body).status == 200


def test_of_more_passwords_than_cards_are_printed_of_the_others_stay_sealed(
    one: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million, it would take minutes to say that they are too many."""
    monkeypatch.setattr("pystream.acl.cards.MOST_CARDS", 3)
    monkeypatch.setattr("pystream.acl.store.issuing._PAGE", 2)
    one.make(9)
    before, opened = one.keys.record_keys, list[bytes]()

    def record_keys(tenant_id: int, references: Collection[bytes]) -> dict[bytes, bytes]:
        opened.extend(references)
        return before(tenant_id, references)

    one.keys.record_keys = record_keys  # type: ignore[method-assign]
    got = one.ask("POST", "/passwords/cards", {"stream": "course"})
    assert (got.kind, got.places) == ("invalid", ["#/ids"]) and "more than 3" in got.json["detail"]
    assert len(opened) == 4 and one.recorded("passwords_shown") == []


# The tenant, and what is on record


def test_the_tenant_is_read_and_changed(house: House) -> None:
    before = house.ask("GET", "/tenant").json
    assert (before["name"], before["notice"], before["notice_version"]) == ("acme", "", None)
    after = house.ask("PATCH", "/tenant", {"notice": "Wir zählen.\n\nNur Passwörter."}).json
    assert re.fullmatch(r"[0-9a-f]{16}", after["notice_version"])
    assert after["timezone"] == "Europe/Berlin"
    for wrong in (
        {"max_rate_bps": 1000},
        {"timezone": "Moon"},
        {"notice": "\x07"},
        {"notice": None},
    ):
        assert house.ask("PATCH", "/tenant", wrong).kind == "invalid"
    assert house.ask("GET", "/tenant").json == after
    assert house.ask("GET", "/tenant", of="other").json["notice"] == ""


def test_what_is_kept_is_told(one: House) -> None:
    one.ask("PATCH", "/tenant", {"notice": "Read this."})
    got = one.ask("GET", "/privacy").json
    assert got["document"]["format"] == "pystream-privacy 1"
    told = got["document"]["tenant"]
    assert (told["name"], told["notice_version"]) == (
        "acme",
        one.ask("GET", "/tenant").json["notice_version"],
    )
    assert {each["class"] for each in got["document"]["kept"]} >= {"sessions", "kept_answers"}
    assert set(got["notice"]) == {"de", "en"} and "keine Netzadresse" in got["notice"]["de"]


def test_traffic_and_audit(house: House) -> None:
    from pystream.acl.traffic import Kind, Metered

    id = house.store.stream("acme", "course").id
    rows = [
        Metered(7, id, NOW // 3600, Kind.SEGMENT, 3, 1000, 1),
        Metered(8, id, NOW // 3600, Kind.KEY, 2, 80, 0),
    ]
    house.store.add_traffic(rows, NOW)
    got = house.ask("GET", "/traffic").json
    assert (got["month"], got["timezone"]) == ("2031-05", "Europe/Berlin")
    assert got["total"] == {"requests": 5, "bytes": 1080, "aborted": 1}
    assert [each["kind"] for each in got["rows"]] == ["segment", "key"]
    assert house.ask("GET", "/traffic?month=2031-04").json["rows"] == []
    assert house.ask("GET", "/traffic", of="other").json["rows"] == []
    assert house.ask("GET", "/traffic?month=2031-13").places == ["month"]
    house.make(2, label="secret note")
    house.ask("GET", "/passwords")
    page = house.ask("GET", "/audit?limit=1")
    assert page.json["items"][0]["values"] == {"passwords_shown": {"old": None, "new": 2}}
    assert page.json["items"][0]["who"] == "token:all"
    following = house.ask("GET", f"/audit?limit=1&cursor={page.json['next']}").json["items"][0]
    assert following["values"] == {"passwords_added": {"old": None, "new": 2}}
    assert b"secret note" not in house.ask("GET", "/audit").body
    views = house.ask("GET", "/audit?kind=view").json["items"]
    assert [each["kind"] for each in views] == ["view"]
    about = house.ask("GET", "/audit?stream=talk").json["items"]
    assert {each["stream"] for each in about} == {"talk"}


# Tokens


def test_the_audit_log_tells_where_no_film_lies(one: House) -> None:
    """Where the operator keeps films is nothing of the tenant's; its own folder's names are."""
    elsewhere, own = str(SAMPLE), "acme.mp4"
    films = one.folder / "films"
    for path in (films / "other" / "other.mp4", films / "acme" / "acme.mp4"):
        settings = {"sources": (elsewhere, str(path)), "download_source": str(path)}
        one.store.set_stream("acme", "course", settings, who="test", now=NOW)
    one.ask("POST", "/streams", {"name": "new", "sources": [own], "download_source": own})
    got = one.ask("GET", "/audit?limit=1000")
    for path in (one.folder, SAMPLE.parent):
        assert str(path) not in got.body.decode()
    told = {
        name: [each["values"][name]["new"] for each in got.json["items"] if name in each["values"]]
        for name in ("sources", "download_source")
    }
    assert told["sources"] == [[own], None, None, None, None, None]
    assert told["download_source"] == [own, own, None, None, None, None]
    one.office = Office.of(one.store, one.keys, lambda: one.now)
    assert "acme.mp4" not in one.ask("GET", "/audit").body.decode()


def test_tokens_are_made_listed_and_revoked(house: House) -> None:
    body = {"name": "website", "scopes": ["streams:read"], "expires": "2031-05-17T12:00:00Z"}
    made = house.ask("POST", "/tokens", body)
    assert made.status == 201 and re.fullmatch(r"pst_\w{49}", made.json["token"])
    assert house.ask("GET", "/tenant", of=made.json["token"]).status == 200
    listed = house.ask("GET", "/tokens").json["items"]
    assert [each["name"] for each in listed] == ["all", "website"]
    assert "token" not in listed[1] and listed[1]["used_on"] == "2031-05-16"
    assert house.ask("POST", "/tokens", body).kind == "exists"
    house.now = NOW + 86_400
    assert house.ask("GET", "/streams", of=made.json["token"]).kind == "unauthorized"
    assert house.ask("DELETE", "/tokens/website", of="other").kind == "not-found"
    assert house.ask("DELETE", "/tokens/website").status == 204
    assert house.ask("DELETE", "/tokens/website").kind == "not-found"


def test_a_token_makes_none_that_may_more_or_lives_longer(one: House) -> None:
    id = one.store.tenant("acme").id
    scopes = frozenset((Right.TOKENS_CHANGE, Right.STREAMS_READ))
    _, text = one.office.accounts.add_token(id, "less", scopes, NOW + 100, who="test", now=NOW)
    soon, late = "2031-05-16T12:01:00Z", "2031-05-16T12:02:00Z"
    for wrong in (
        {"scopes": ["streams:read", "passwords:read"], "expires": soon},
        {"scopes": ["tokens:change"], "expires": soon},
        {"scopes": ["people:change"], "expires": soon},
        {"scopes": ["everything"], "expires": soon},
        {"scopes": ["streams:read"], "expires": late},
        {"scopes": ["streams:read"]},
    ):
        got = one.ask("POST", "/tokens", {"name": "more", **wrong}, of=text)
        assert got.kind == "invalid", wrong
        assert got.places in (["#/scopes"], ["#/expires"])
    right = {"name": "more", "scopes": ["streams:read"], "expires": soon}
    assert one.ask("POST", "/tokens", right, of=text).status == 201


def test_who_is_let_in(one: House) -> None:
    id = one.store.tenant("acme").id
    _, text = one.office.accounts.add_token(
        id, "less", {Right.STREAMS_READ}, None, who="test", now=NOW
    )
    got = one.ask("POST", "/passwords", {"streams": ["course"]}, of=text)
    assert got.kind == "insufficient-scope"
    challenge = got.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge and 'scope="passwords:change"' in challenge
    for field in ("", "Bearer", "Basic eDp5", f"Bearer {text}x", f"Bearer {text[:-1]}é"):
        refused = one.ask("GET", "/streams", authorization=field)
        assert refused.kind == "unauthorized"
        assert refused.headers["WWW-Authenticate"].startswith('Bearer realm="pystream"')
    assert one.ask("GET", "/streams", authorization=f"bearer {text}").status == 200


# What is read


@pytest.mark.parametrize(
    ("body", "kind", "places"),
    [
        (b"", "malformed", None),
        (b"{", "malformed", None),
        (b"\xff", "malformed", None),
        (b'{"streams": ["course"], "label": "\xff"}', "malformed", None),
        (b'{"streams": ["course"], "label": "\\ud800 "}', "malformed", None),
        (b'{"streams": ["course"], "count": NaN}', "malformed", None),
        (b'{"streams": ["course"], "count": 1e999}', "malformed", None),
        (b'{"streams": ["course"], "streams": ["talk"]}', "malformed", None),
        (b'{"streams": ["course"], "label": {"a": 1, "a": 2}}', "malformed", None),
        (b"[" * 60_000, "malformed", None),
        (b'{"a":' * 10_000, "malformed", None),
        (b"[]", "invalid", ["#"]),
        (b"null", "invalid", ["#"]),
        (b"{}", "invalid", ["#/streams"]),
        (b'{"streams": []}', "invalid", ["#/streams"]),
        (b'{"streams": ["course", 7]}', "invalid", ["#/streams/1"]),
        (b'{"streams": ["course"], "count": "3"}', "invalid", ["#/count"]),
        (b'{"streams": ["course"], "count": true}', "invalid", ["#/count"]),
        (b'{"streams": ["course"], "count": 0}', "invalid", ["#/count"]),
        (b'{"streams": ["course"], "count": 10001}', "invalid", ["#/count"]),
        (b'{"streams": ["course"], "count": 1' + b"0" * 4000 + b"}", "invalid", ["#/count"]),
        (b'{"streams": ["course"], "count": 1' + b"0" * 6000 + b"}", "malformed", None),
        (b'{"streams": ["course"], "nmae": 1, "a/b~": 2}', "invalid", ["#/a~1b~0", "#/nmae"]),
        (b'{"streams": ["course"], "valid_until": "2031-06-01"}', "invalid", ["#/valid_until"]),
        (
            b'{"streams": ["course"], "valid_until": "2031-06-01T00:00:00"}',
            "invalid",
            ["#/valid_until"],
        ),
        (b'{"streams": ["course"], "valid_until": 1936699200}', "invalid", ["#/valid_until"]),
        (
            b'{"streams": ["course"], "valid_until": "0001-01-01T00:00:00Z"}',
            "invalid",
            ["#/valid_until"],
        ),
        (
            b'{"streams": ["course"], "valid_from": "2031-06-01T00:00:00Z",'
            b' "valid_until": "2031-06-01T00:00:00Z"}',
            "invalid",
            ["#/valid_until"],
        ),
        (b'{"streams": ["course"], "label": "a\\u0000b"}', "invalid", ["#/label"]),
        (
            b'{"streams": 1, "count": "x", "label": 2}',
            "invalid",
            ["#/streams", "#/count", "#/label"],
        ),
    ],
)
def test_a_body_that_cannot_be(one: House, body: bytes, kind: str, places: Any) -> None:
    got = one.ask("POST", "/passwords", body)
    assert got.kind == kind, got.body
    assert places is None or got.places == places
    assert one.recorded("passwords_added") == []


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("/streams?limit=0", ["limit"]),
        ("/streams?limit=1001", ["limit"]),
        ("/streams?limit=ten", ["limit"]),
        ("/streams?cursor=!", ["cursor"]),
        ("/streams?cursor=YQ==", ["cursor"]),
        ("/streams?limti=1&x=2", ["limti", "x"]),
        ("/passwords?stream=%00", ["stream"]),
        ("/audit?stream=A", ["stream"]),
        ("/tenant?x=1", ["x"]),
    ],
)
def test_a_query_that_cannot_be(one: House, path: str, places: list[str]) -> None:
    got = one.ask("GET", path)
    assert got.kind == "malformed" and got.places == places
    assert one.ask("GET", "/streams?limit=1&limit=2").kind == "malformed"
    for path in (
        "/passwords?cursor=YQ",
        "/audit?cursor=MA",
        "/streams?cursor=YR",
        "/audit?cursor=Y",
    ):
        got = one.ask("GET", path)
        assert got.kind == "invalid" and got.places == ["cursor"]


def test_types_lengths_and_methods(one: House) -> None:
    body = json.dumps({"streams": ["course"]}).encode()
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "text/csv"):
        got = one.ask("POST", "/passwords", body, content_type=kind)
        assert got.kind == "media-type" and got.headers["Accept-Post"] == "application/json"
    got = one.ask("PATCH", "/streams/course", body, content_type="text/json")
    assert got.headers["Accept-Patch"] == "application/merge-patch+json, application/json"
    assert one.ask("POST", "/passwords", body + b" " * 65_536).kind == "too-long"
    for method, path, allowed in (
        ("DELETE", "/passwords", "GET, HEAD, POST"),
        ("PUT", "/streams/course", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/tenant", "GET, HEAD, PATCH"),
    ):
        got = one.ask(method, path)
        assert got.kind == "method-not-allowed" and got.headers["Allow"] == allowed
    assert one.ask("GET", "/nothing").kind == "not-found"
    for accept, status in (
        ("*/*", 200),
        ("application/json", 200),
        ("application/*;q=0.1", 200),
        ("text/html, application/json;q=0.2", 200),
        ("text/html", 406),
        ("application/json;q=0, */*", 406),
        ("application/problem+json", 406),
    ):
        assert one.ask("GET", "/streams", accept=accept).status == status, accept
    assert one.ask("GET", "/passwords/export", accept="application/json").kind == "not-acceptable"


@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["streams", "count", "label", "ids", "name", "scopes"]) | st.text(),
                inner,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    path=st.sampled_from(["/passwords", "/passwords/import", "/passwords/revoke", "/tokens"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_body_gives_an_answer_or_a_problem(one: House, body: bytes, path: str) -> None:
    one.now += 60
    got = one.ask("POST", path, body)
    assert got.status in (200, 201) or got.kind in ("malformed", "invalid", "exists")


def test_each_name_of_an_object_comes_once() -> None:
    assert operations.parsed(b'{"a": {"b": 1}, "c": [{"b": 2}]}') == {
        "a": {"b": 1},
        "c": [{"b": 2}],
    }
    for text in (b'{"a": 1, "a": 1}', b'{"a": 1, "\\u0061": 2}', b'[{"b": {"a": 1, "a": 2}}]'):
        with pytest.raises(Refusal, match="a name twice"):
            operations.parsed(text)


# Once


def test_what_is_sent_again_is_answered_as_before(house: House) -> None:
    body = {"streams": ["course"], "count": 3}
    first = house.ask("POST", "/passwords", body, idempotency_key="a-1")
    assert first.status == 201 and "Idempotent-Replayed" not in first.headers
    house.now += once.KEPT_S - 1
    again = house.ask("POST", "/passwords", body, idempotency_key='"a-1"')
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert house.recorded("passwords_added") == [3]
    for other in (
        house.ask("POST", "/passwords", {**body, "count": 4}, idempotency_key="a-1"),
        house.ask("PATCH", "/tenant", {"display": "x"}, idempotency_key="a-1"),
    ):
        assert other.kind == "key-reused" and other.places == ["Idempotency-Key"]
    # It is this token's own.
    id = house.store.tenant("acme").id
    _, text = house.office.accounts.add_token(id, "less", SCOPES, None, who="test", now=house.now)
    house.now += 1
    assert house.ask("POST", "/passwords", body, idempotency_key="a-1", of=text).json != first.json
    assert house.ask("POST", "/passwords", body, idempotency_key="a-1").json != first.json
    assert house.recorded("passwords_added") == [3, 3, 3]


def test_what_was_refused_may_be_mended(one: House) -> None:
    wrong = one.ask("POST", "/passwords", {"streams": ["nothing"]}, idempotency_key="k")
    assert wrong.kind == "invalid"
    assert one.ask("POST", "/passwords", {"streams": ["course"]}, idempotency_key="k").status == 201
    for key in ("", '"', "ä", "x" * 256, 'a"b', "a\\b", "a b"):
        got = one.ask("POST", "/passwords", {"streams": ["course"]}, idempotency_key=key)
        assert got.kind == "malformed" and got.places == ["Idempotency-Key"], key


def test_a_change_sent_again_does_not_undo_what_came_between(house: House) -> None:
    sent = {"title": "first"}
    tag = house.ask("GET", "/streams/course").headers["ETag"]
    first = house.ask("PATCH", "/streams/course", sent, idempotency_key="k", if_match=tag)
    house.ask("PATCH", "/streams/course", {"title": "second"})
    again = house.ask("PATCH", "/streams/course", sent, idempotency_key="k", if_match=tag)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["ETag"] == first.headers["ETag"]
    assert house.ask("GET", "/streams/course").json["title"] == "second"


def test_two_at_a_time_are_one(house: House) -> None:
    """While the first is under way, the second is told so; so is one at another office."""
    body = {"streams": ["course"]}
    elsewhere = Office.of(house.store, house.keys, lambda: house.now)
    told: list[str] = []
    before = house.office.issuer.add

    def slow(*arguments: Any, **more: Any) -> Any:
        told.append(house.ask("POST", "/passwords", body, idempotency_key="k").kind)
        return before(*arguments, **more)

    house.office.issuer.add = slow  # type: ignore[method-assign]
    assert house.ask("POST", "/passwords", body, idempotency_key="k").status == 201
    assert told == ["under-way"] and house.recorded("passwords_added") == [1]
    house.office = elsewhere
    assert (
        "Idempotent-Replayed" in house.ask("POST", "/passwords", body, idempotency_key="k").headers
    )


def test_another_offices_answer_undoes_this_ones(house: House) -> None:
    """Both were under way: one of them is kept, and only that one has made a password."""
    body = {"streams": ["course"]}
    first, second = house.office, Office.of(house.store, house.keys, lambda: house.now)
    answers = house.store.viewers.answers
    before = answers.find
    found: list[Any] = []

    def find(*arguments: Any) -> Any:
        # Looked before the other one had kept its own.
        nothing = before(*arguments)
        if not found:
            found.append(nothing)
            house.office = second
            assert house.ask("POST", "/passwords", body, idempotency_key="k").status == 201
            house.office = first
        return nothing

    answers.find = find  # type: ignore[assignment,method-assign]
    assert house.ask("POST", "/passwords", body, idempotency_key="k").kind == "under-way"
    answers.find = before  # type: ignore[method-assign]
    assert house.recorded("passwords_added") == [1]
    assert len(house.ask("GET", "/passwords").json["items"]) == 1
    # Nor is there a key but that of the password and that of the answer.
    assert house.keys.held(house.store.tenant("acme").id) == (1, 2)


@pytest.mark.parametrize("step", ["add", "seal", "keep", "commit"])
def test_a_crash_between_leaves_both_or_neither(house: House, step: str) -> None:
    """Whatever dies before the end, nothing was done; sent again, it is done once."""
    body = {"streams": ["course"], "count": 2}
    places: dict[str, tuple[Any, str]] = {
        "add": (house.store.viewers, "add_passwords"),
        "seal": (once, "seal"),
        "keep": (house.store.viewers.answers, "keep"),
        "commit": (house.office.once, "_tidy"),
    }
    where, name = places[step]
    before: Callable[..., Any] = getattr(where, name)

    def dies(*arguments: Any, **more: Any) -> Any:
        before(*arguments, **more)
        raise Died

    setattr(where, name, dies)
    died = house.ask("POST", "/passwords", body, idempotency_key="k")
    assert died.kind == "bug"
    setattr(where, name, before)
    done = step == "commit"
    assert house.recorded("passwords_added") == ([2] if done else [])
    house.close()
    house.open(house.url)
    again = house.ask("POST", "/passwords", body, idempotency_key="k")
    assert again.status == 201 and ("Idempotent-Replayed" in again.headers) == done
    assert house.recorded("passwords_added") == [2]
    listed = house.ask("GET", "/passwords").json["items"]
    assert sorted(each["id"] for each in listed) == sorted(e["id"] for e in again.json["items"])


class Died(Exception):
    """What stands for the end of a process."""


def test_all_that_is_known_of_a_password_is_given_to_who_may_erase_it(house: House) -> None:
    (made,) = house.make(label="Dr. Meier")
    path = f"/passwords/{made['id']}/data"
    got = house.ask("GET", path)
    assert (got.status, got.headers["Content-Type"]) == (200, "application/zip")
    assert f'filename="password-{made["id"]}.zip"' in got.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(got.body)) as archive:
        facts = json.loads(archive.read("data.json"))
    assert (facts["password"]["password"], facts["password"]["label"]) == (
        made["password"],
        "Dr. Meier",
    )
    assert house.recorded("password_data_exported") == [1]
    assert house.ask("GET", path, of="other").kind == "not-found"
    less = house.ask("POST", "/tokens", {"name": "less", "scopes": ["passwords:read"]}).json
    assert house.ask("GET", path, of=less["token"]).status == 403
    assert house.recorded("password_data_exported") == [1]


def test_the_data_of_a_password_is_restricted_and_that_lifted(house: House) -> None:
    (made,) = house.make()
    path, body = f"/passwords/{made['id']}/restriction", {"reason": "as asked for"}
    assert house.ask("GET", path).kind == house.ask("DELETE", path).kind == "not-found"
    for wrong in ({}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 501}):
        got = house.ask("PUT", path, wrong)
        assert (got.kind, got.places) == ("invalid", ["#/reason"]), got.json
    got = house.ask("PUT", path, body)
    assert got.status == 200 and got.json == house.ask("GET", path).json
    (listed,) = house.ask("GET", "/passwords/restricted").json["items"]
    assert listed == got.json | {"id": made["id"]} and listed["reason"] == "as asked for"
    assert house.ask("POST", "/passwords/erase", {"ids": [made["id"]]}).kind == "invalid"
    # Who may only read, or is of another tenant, has nothing to do with it.
    less = house.ask("POST", "/tokens", {"name": "less", "scopes": ["passwords:read"]}).json
    for method, sent in (("GET", None), ("PUT", body), ("DELETE", None)):
        assert house.ask(method, path, sent, of=less["token"]).status == 403
        assert house.ask(method, path, sent, of="other").kind == "not-found"
    assert house.ask("GET", "/passwords/restricted", of="other").json["items"] == []
    assert house.ask("DELETE", path).status == 204
    assert house.ask("POST", "/passwords/erase", {"ids": [made["id"]]}).status == 200
    assert house.recorded("passwords_restricted") == house.recorded("restrictions_lifted") == [1]


def test_the_days_of_attendance_are_the_tenants_own(house: House) -> None:
    assert house.ask("GET", "/tenant").json["attendance_days"] is None
    days = {"attendance_days": 5, "attendance_reports_days": 4000}
    days |= {"attendance_daily_reports_days": 400}
    assert house.ask("PATCH", "/tenant", days).json | days == house.ask("GET", "/tenant").json
    kept = house.ask("GET", "/privacy").json["document"]["kept"]
    shown = {each["class"]: each["days"] for each in kept}
    assert (shown["attendance"], shown["attendance_reports"]) == (5, 4000)
    assert shown["attendance_daily_reports"] == 400
    assert "nach 5 Tagen" in house.ask("GET", "/privacy").json["notice"]["de"]
    assert house.ask("PATCH", "/tenant", {"attendance_days": None}).json["attendance_days"] is None
    assert house.ask("PATCH", "/tenant", {"attendance_days": 2}).places == ["#/attendance_days"]


def test_papers_are_made_of_the_settings(house: House) -> None:
    for kind in KINDS_OF_PAPERS:
        for locale in ("de", "en"):
            got = house.ask("GET", f"/privacy/papers/{kind}?locale={locale}")
            assert (got.status, got.headers["Content-Type"]) == (
                200,
                "text/markdown; charset=utf-8",
            )
            assert got.body.startswith(b"# ")
    days = "| 32 Tage | Stunde des Ereignisses |"
    assert days not in house.ask("GET", "/privacy/papers/contract").body.decode()
    settings = {"attendance_purpose": PURPOSE}
    assert house.ask("PATCH", "/tenant", settings).status == 200
    assert house.ask("PATCH", "/streams/course", {"attendance": True}).status == 200
    assert days in house.ask("GET", "/privacy/papers/contract").body.decode()
    assert house.ask("GET", "/privacy/papers/poem").kind == "not-found"
    assert house.ask("GET", "/privacy/papers/notice?locale=fr").kind == "malformed"


def test_erasing_a_password_erases_the_answers_that_may_hold_it(house: House) -> None:
    body = {"streams": ["course"]}
    first = house.ask("POST", "/passwords", body, idempotency_key="k")
    assert house.ask("GET", "/tenant", of="other").status == 200
    id = first.json["items"][0]["id"]
    erased = house.ask("POST", "/passwords/erase", {"ids": [id]}, idempotency_key="e")
    assert erased.json == {"erased": 1}
    assert house.ask("POST", "/passwords", body, idempotency_key="k").kind == "answer-erased"
    again = house.ask("POST", "/passwords/erase", {"ids": [id]}, idempotency_key="e")
    assert again.body == erased.body and "Idempotent-Replayed" in again.headers
    assert house.recorded("passwords_added") == [1]


def test_kept_answers_are_sealed_and_go(one: House) -> None:
    body = {"streams": ["course"], "label": "a label to be found"}
    made = one.ask(
        "POST", "/passwords", body, idempotency_key="a key to be found".replace(" ", "-")
    )
    one.make()
    one.store.close()
    data = b"".join(path.read_bytes() for path in one.folder.glob("store.db*"))
    for text in (made.json["items"][0]["password"], "label to be found", "key-to-be-found"):
        assert text.encode() not in data and text.encode("utf-16-le") not in data
    one.open(one.url)
    id = one.store.tenant("acme").id
    (reference,) = one.store.viewers.answers.references(id)
    one.now += once.KEPT_S
    one.ask("POST", "/passwords", body, idempotency_key="another")
    (other,) = one.store.viewers.answers.references(id)
    assert other != reference
    assert set(one.keys.record_keys(id, [reference, other])) == {other}


def test_an_answer_is_kept_to_the_second(one: House) -> None:
    body = {"streams": ["course"]}
    first = one.ask("POST", "/passwords", body, idempotency_key="k")
    one.now += once.KEPT_S - 1
    again = one.ask("POST", "/passwords", body, idempotency_key="k")
    assert again.body == first.body and "Idempotent-Replayed" in again.headers
    one.now += 1
    other = one.ask("POST", "/passwords", body, idempotency_key="k")
    assert other.status == 201 and "Idempotent-Replayed" not in other.headers
    assert one.recorded("passwords_added") == [1, 1]


def test_a_transaction_of_several_steps_is_whole(house: House) -> None:
    with pytest.raises(Died), house.store.together():
        house.store.set_tenant("acme", {"display": "x"}, who="test", now=NOW)
        house.store.set_stream("acme", "course", {"title": "x"}, who="test", now=NOW)
        assert house.store.stream("acme", "course").settings.title == "x"
        raise Died
    assert house.store.stream("acme", "course").settings.title == ""
    assert house.store.tenant("acme").settings.display == ""
    with house.store.together():
        assert house.store.tenant("acme").settings.display == ""
        house.store.set_tenant("acme", {"display": "y"}, who="test", now=NOW)
    assert house.store.tenant("acme").settings.display == "y"
    # One within another is a part of it.
    with pytest.raises(Died), house.store.together():
        with house.store.together():
            house.store.set_tenant("acme", {"display": "z"}, who="test", now=NOW)
        assert house.store.tenant("acme").settings.display == "z"
        raise Died
    assert house.store.tenant("acme").settings.display == "y"
    with pytest.raises(StoreError), house.store.together():
        house.store.remove_tenant("acme")
    assert house.store.tenant("acme").settings.display == "y"


# Verifiers


def test_verifiers_are_added_listed_and_revoked(house: House) -> None:
    body = {"kind": "link", "stream": "course", "name": "one"}
    made = house.ask("POST", "/verifiers", body, idempotency_key="k")
    assert made.status == 201, made.body
    facts = {**made.json}
    secret = facts.pop("secret")
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    assert (facts["access"], facts["stream"], facts["of_tenant"]) == ("signed", "course", False)
    again = house.ask("POST", "/verifiers", body, idempotency_key="k")
    assert again.body == made.body and "Idempotent-Replayed" in again.headers
    keys = [{"url": "https://a.example/keys", "name": name} for name in ("two", "three")]
    for each in keys:
        house.now += 1
        whole = house.ask("POST", "/verifiers", {"kind": "jwks", **each}).json
        assert (whole["of_tenant"], whole["stream"], whole["secret"]) == (True, None, None)
        assert (whole["access"], "url" in whole) == ("external", False)
    # What the store opens is what workers go by.
    store, film = house.store, house.store.stream("acme", "course").id
    id = store.tenant("acme").id
    (active,) = store.verifiers(house.keys).active(id, film, "signed")
    assert active.verifier == Verifier(kind="link", secret=secret)
    house.ask("PATCH", "/streams/course", {"access": "signed"})
    first = house.ask("GET", "/verifiers?limit=2")
    assert first.json["items"][0] == facts and secret not in first.body.decode()
    last = house.ask("GET", f"/verifiers?limit=2&cursor={first.json['next']}").json
    told = [each["name"] for page in (first.json, last) for each in page["items"]]
    assert told == ["one", "two", "three"] and last["next"] is None
    assert house.ask("GET", "/verifiers", of="other").json == {"items": [], "next": None}
    assert house.ask("DELETE", "/verifiers/one", of="other").kind == "not-found"
    assert house.ask("DELETE", "/verifiers/one").status == 204
    assert house.ask("DELETE", "/verifiers/one").kind == "not-found"
    assert store.verifiers(house.keys).active(id, film, "signed") == ()
    # Its secret is nowhere any more, not in an answer that was kept either.
    assert house.ask("POST", "/verifiers", body, idempotency_key="k").kind == "answer-erased"
    revoked = house.ask("GET", "/verifiers").json["items"][0]
    assert revoked == {**facts, "revoked_at": "2031-05-16T12:00:02Z"}
    assert house.recorded("verifier_added")[-1] == "link one"
    assert house.recorded("verifier_revoked") == ["link one"]
    house.ask("DELETE", "/streams/course")
    removed = house.ask("GET", "/verifiers").json["items"][0]
    assert (removed["stream"], removed["of_tenant"]) == (None, False)


def test_the_document_says_how_a_site_signs(one: House) -> None:
    """By what stands there alone, a link is signed that opens."""
    told = one.ask("GET", "/openapi.json").json["paths"]["/api/v1/verifiers"]["post"]["description"]
    found = re.search(r"(?:^    \S+\n)+", told, re.M)
    assert found
    lines = [line.strip() for line in found[0].splitlines()]
    signature = hmac.digest(bytes(range(32)), "\n".join(lines).encode(), "sha256")
    text = urlsafe_b64encode(signature).decode().rstrip("=")
    assert text in told
    query = "&".join([*lines[2:], f"signature={text}"])
    link = links.verify(lines[1], query, {"7f": bytes(range(32))}, now=1_936_702_800)
    assert link.viewer == "4711"
    for claim in ("aud", "sub", "iat", "exp", "jti", "webhook-signature", "allow", "#token="):
        assert claim in told


def test_a_secret_that_the_site_has_already_is_not_said_back(one: House) -> None:
    theirs = {"kind": "akamai", "secret": "0a" * 16, "salt": "some salt", "token_name": "tok"}
    made = one.ask("POST", "/verifiers", theirs)
    assert made.status == 201 and made.json["secret"] is None
    assert "0a0a" not in made.body.decode() and re.fullmatch(r"[\w-]{1,16}", made.json["name"])
    (kept,) = one.store.verifiers(one.keys).listed(one.store.tenant("acme").id)
    assert kept.verifier == Verifier(**theirs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "kind", "places"),
    [
        ({"kind": "none"}, "invalid", ["#/kind"]),
        ({"kind": "link", "secret": "short"}, "invalid", ["#/secret"]),
        ({"kind": "link", "url": "https://a.example/"}, "invalid", ["#/url"]),
        ({"kind": "jwks"}, "invalid", ["#/url"]),
        ({"kind": "jwks", "url": "ftp://a.example/"}, "invalid", ["#/url"]),
        ({"kind": "jwks", "url": "https://a:b@a.example/"}, "invalid", ["#/url"]),
        (
            {"kind": "question", "url": "https://a.example/", "seconds": 11},
            "invalid",
            ["#/seconds"],
        ),
        ({"kind": "link", "name": "a b"}, "invalid", ["#/name"]),
        ({"kind": "link", "stream": "nothing"}, "not-found", []),
        ({"kind": "link", "secrets": "x"}, "invalid", ["#/secrets"]),
        ({"kind": "bunny"}, "invalid", ["#/kind"]),
        ({"kind": "wowza", "secret": "abcdefgh", "content": "vod/x"}, "invalid", ["#/content"]),
        ({"kind": "link", "name": "one"}, "exists", []),
    ],
)
def test_a_verifier_that_cannot_be(one: House, body: Any, kind: str, places: list[str]) -> None:
    assert one.ask("POST", "/verifiers", {"kind": "link", "name": "one"}).status == 201
    got = one.ask("POST", "/verifiers", body)
    assert got.kind == kind and got.places == places
    for secret in ("short", "a.example"):
        assert secret not in got.body.decode()
    assert len(one.ask("GET", "/verifiers").json["items"]) == 1


def test_a_server_that_knows_no_countries_binds_to_none(one: House) -> None:
    one.ask("PATCH", "/streams/course", {"countries": ["DE"]})
    one.office = replace(one.office, knows_countries=lambda: False)
    for name in ("countries", "countries_denied"):
        got = one.ask("PATCH", "/streams/open", {name: ["DE"]})
        assert (got.status, got.kind, got.places) == (422, "invalid", [f"#/{name}"])
        assert b"geo.database" in got.body
    body = {"name": "new", "sources": ["acme.mp4"], "countries": ["DE"]}
    assert one.ask("POST", "/streams", body).places == ["#/countries"]
    # What was so already keeps nobody from changing something else, or from giving it up.
    assert one.ask("PATCH", "/streams/course", {"title": "x"}).status == 200
    assert one.ask("PATCH", "/streams/course", {"countries": []}).status == 200


def test_all_that_protects_a_film_in_one_word(one: House) -> None:
    """As `pystream stream set --maximum` does."""
    got = one.ask("PATCH", "/streams/course", {"maximum": True, "max_devices": 2})
    assert got.status == 200, got.body
    wanted = {**MAXIMUM, "max_devices": 2}
    assert {name: got.json[name] for name in wanted} == wanted and "maximum" not in got.json
    same = one.ask("PATCH", "/streams/course", {"maximum": False})
    assert same.json == got.json
    body = {"name": "new", "sources": ["acme.mp4"], "maximum": True}
    made = one.ask("POST", "/streams", body).json
    assert {name: made[name] for name in MAXIMUM} == MAXIMUM
    one.ask("PATCH", "/streams/open", {"origins": ["*"]})
    refused = one.ask("PATCH", "/streams/open", {"maximum": True})
    assert refused.kind == "invalid" and refused.places == ["#/embed_lock"]


# How much


def test_a_token_has_a_budget(one: House) -> None:
    now = [0.0]
    one.office = Office.of(
        one.store, one.keys, lambda: one.now, monotonic=lambda: now[0], requests_per_minute=3
    )
    left = []
    for _ in range(3):
        got = one.ask("GET", "/tenant")
        assert got.headers["RateLimit-Policy"] == '"token";q=3;w=60'
        left.append(got.headers["RateLimit"])
    assert left == ['"token";r=2;t=20', '"token";r=1;t=40', '"token";r=0;t=60']
    refused = one.ask("GET", "/tenant")
    assert refused.kind == "too-many-requests" and refused.headers["Retry-After"] == "20"
    assert refused.headers["RateLimit"] == '"token";r=0;t=60'
    assert one.ask("GET", "/tenant", of="other").status == 200
    now[0] += 20
    assert one.ask("GET", "/nothing").kind == "not-found"
    assert one.ask("GET", "/tenant").headers["RateLimit"] == '"token";r=0;t=60'
    now[0] += 60
    assert one.ask("GET", "/streams?x=1").headers["RateLimit"] == '"token";r=2;t=20'


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_neither_keeps_out_nor_lets_in(one: House, hours: int) -> None:
    one.office = Office.of(
        one.store, one.keys, lambda: one.now, monotonic=lambda: 0.0, requests_per_minute=2
    )
    assert one.ask("GET", "/tenant").status == 200
    one.now += hours * 3600
    assert [one.ask("GET", "/tenant").status for _ in range(2)] == [200, 429]


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 50))
def test_in_any_minute_no_more_than_twice_the_budget(waits: list[int], most: int) -> None:
    """GCRA: a whole burst, and what came back meanwhile."""
    made, now, times = quotas.Quotas(most), 0, []
    for wait in waits:
        now += wait
        left = made.take(1, now)
        if not left.wait_s:
            times.append(now)
            assert 0 <= left.remaining < most
        assert 0 <= left.reset_s <= 60
    for begin in times:
        assert sum(1 for at in times if begin <= at < begin + 60) <= 2 * most


# The document


class Slow(Issuer):
    """One that does nothing for a tenant until it may."""

    def __init__(self, house: House, tenant: str) -> None:
        super().__init__(house.store.viewers, house.keys)
        self._slow = house.store.tenant(tenant).id
        self.may = threading.Event()
        self.waiting = 0

    def page(self, tenant_id: int, *more: Any, **named: Any) -> list[Shown]:
        self._wait(tenant_id)
        return super().page(tenant_id, *more, **named)

    def listed(self, tenant_id: int, *more: Any, **named: Any) -> Iterator[Shown]:
        self._wait(tenant_id)
        return super().listed(tenant_id, *more, **named)

    def _wait(self, tenant_id: int) -> None:
        if tenant_id == self._slow:
            self.waiting += 1
            self.may.wait()


@pytest.mark.parametrize(
    ("path", "most"), [("/passwords", 4), ("/passwords/export", 1)], ids=["light", "heavy"]
)
def test_one_tenant_leaves_places_to_the_others(one: House, path: str, most: int) -> None:
    """However many it asks for, and whoever it has wait for them."""
    slow = Slow(one, "acme")
    counter = Counter(replace(one.office, issuer=slow))
    statuses: list[int] = []

    async def ask(of: str) -> int:
        return (await counter.answer(one.asked("GET", path, of=of))).status

    async def asks() -> None:
        statuses.append(await ask("acme"))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            try:
                for _ in range(most + 16 + 3):
                    nursery.start_soon(asks)
                with trio.fail_after(60):
                    while slow.waiting < most or len(statuses) < 3:
                        await trio.sleep(0.01)
                    assert await ask("other") == 200
                assert slow.waiting == most and statuses == [503] * 3
            finally:
                slow.may.set()
        assert sorted(statuses) == [200] * (most + 16) + [503] * 3
        # Nobody is remembered who waits for nothing.
        assert not counter._shares

    trio.run(main)


def test_whoever_is_nobody_takes_the_places_of_a_network(one: House) -> None:
    def whose(asked: Asked) -> Hashable:
        return routing.whose_share(one.office, asked)

    acme, other = (one.store.tenant(name).id for name in ("acme", "other"))
    assert [whose(one.asked("GET", "/passwords", of=of)) for of in ("acme", "other")] == [
        acme,
        other,
    ]
    wrong = one.asked("GET", "/passwords", of="pst_wrong")
    sign_in = Asked("POST", "/console/sign-in", "", {}, b"", True, False, b"\x0a\0\1", "")
    assert [whose(wrong), whose(sign_in)] == [b"\x0a\0\0", b"\x0a\0\1"]


def test_the_document_has_every_route_and_no_other(one: House) -> None:
    got = one.ask("GET", "/openapi.json", authorization="")
    assert got.status == 200 and got.json["openapi"] == "3.1.1"
    told = {
        (method.upper(), path): each
        for path, methods in got.json["paths"].items()
        for method, each in methods.items()
    }
    routes = {(each.method, each.path): each for each in ROUTES if each.path.startswith("/api/v1/")}
    assert set(told) == set(routes)
    assert len({each["operationId"] for each in told.values()}) == len(told)
    for place, each in told.items():
        needs, handler = routes[place].needs, routes[place].handler
        assert isinstance(handler, Operation)
        if isinstance(needs, Right):
            assert each["security"] == [{"token": [str(needs)]}]
        assert each["summary"] and len(each["description"]) > 20
        assert set(re.findall(r"\{(\w+)\}", place[1])) == {
            parameter["name"] for parameter in each["parameters"] if parameter["in"] == "path"
        }
        assert str(handler.status) in each["responses"]
    below = document(ROUTES, "/video")
    assert below["servers"] == [{"url": "/video"}]


def test_examples_of_the_document_are_sound(one: House) -> None:
    examples = 0
    for path, methods in document(ROUTES, "")["paths"].items():
        for method, each in methods.items():
            for kind, content in each.get("requestBody", {}).get("content", {}).items():
                route = next(r for r in ROUTES if (r.method.lower(), r.path) == (method, path))
                assert isinstance(route.handler, Operation)
                type = route.handler.bodies[kind]
                if "example" in content:
                    examples += 1
                    assert type is not None
                    msgspec.convert(content["example"], type)
                else:
                    assert type is None or kind == "text/csv"
    assert examples >= 10


def test_every_problem_is_told_of(one: House) -> None:
    for name, kind in KINDS.items():
        got = one.ask("GET", f"/problems/{name}", authorization="").json
        assert (got["type"], got["status"]) == (f"/api/v1/problems/{name}", kind.status)
        assert got["advice"].endswith(".")
    assert one.ask("GET", "/problems/nothing", authorization="").kind == "not-found"
