"""What the console says: in each language the same, and what the rooms below find wrong as well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from pystream.acl import sign_in
from pystream.acl.entrances.verifiers import KINDS, Verifier
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import Role
from pystream.acl.statements import KINDS as PAPERS
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.attendance.programmes import EventSettings
from pystream.attendance.purpose import VERSION
from pystream.errors import Said
from pystream.server.office.console.sentences import GERMAN, NAMES, tell
from pystream.server.office.console.texts import TEXTS
from tests.test_office_routes import MARK, House, house

__all__ = ["house"]

PACKAGE = Path(__file__).resolve().parent.parent / "pystream"
# What a tenant's people may see errors of. The stores' own machinery is their operator's affair.
SHOWN = (
    *("acl/passwords.py", "acl/password_csv.py", "acl/people.py"),
    *("acl/sign_in.py", "acl/streams.py", "acl/cards.py", "acl/traffic.py"),
    *("acl/reports/making.py", "acl/store/events.py", "acl/store/sealed_reports.py"),
    "acl/store/restricting.py",
    *("attendance/policies.py", "attendance/programmes.py", "server/office/reporting.py"),
    *("acl/entrances/conditions.py", "acl/entrances/verifiers.py"),
    *("acl/store/accounts.py", "acl/store/issuing.py", "acl/store/people.py"),
    *("acl/store/verifiers.py", "acl/store/viewers.py"),
    *("server/office/routing.py", "server/office/forms.py"),
    *(f"server/office/console/{each.name}" for each in PACKAGE.glob("server/office/console/*.py")),
)
ERRORS = ("InvalidValue", "NotFound", "Exists", "HttpError")
# By machines, or by who is no browser: tokens, the viewers of links, whoever derives ids.
NOT_IN_THE_CONSOLE = (
    *(
        "there is no identifier",
        "scopes: a token gives others",
        "expires: a token makes none",
        "one of these viewers",
    ),
    "there is no such tenant",
)


def calls(path: Path, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def said() -> Iterator[ast.Call]:
    for path in PACKAGE.rglob("*.py"):
        yield from calls(path, "Said")


def literal(node: ast.AST) -> str:
    """The fixed text of a text or an f-string."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(each.value) for each in parts if isinstance(each, ast.Constant))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("name", TEXTS["en"])
def test_both_languages_say_it(name: str) -> None:
    english, german = TEXTS["en"][name], TEXTS["de"][name]
    assert english.strip() and german.strip() and places(english) == places(german)


def test_every_sentence_is_said_in_german() -> None:
    """A new one fails this until it is."""
    used = {f"secret-{kind}" for kind in KINDS} - {"secret-jwks"}
    for call in said():
        key, *_ = call.args
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            continue
        used.add(key.value)
        german = GERMAN.get(key.value)
        assert german is not None, key.value
        assert places(german) <= {each.arg for each in call.keywords}, key.value
        for each in call.keywords:
            if each.arg == "of" and isinstance(each.value, ast.Constant):
                assert each.value.value in NAMES, each.value.value
    # `_range` of streams makes two.
    assert used | {"range", "range-or-none"} == set(GERMAN)


@pytest.mark.parametrize("name", SHOWN)
def test_no_error_of_the_consoles_reach_is_a_text_alone(name: str) -> None:
    for call in calls(PACKAGE / name, *ERRORS):
        for each in call.args:
            if isinstance(each, ast.Constant | ast.JoinedStr) and literal(each).strip():
                assert str(getattr(each, "value", "")).isdigit() or literal(each).startswith(
                    NOT_IN_THE_CONSOLE
                ), ast.unparse(call)


def test_each_setting_has_a_name_in_the_console() -> None:
    for kind in (StreamSettings, TenantSettings, PasswordSettings, Verifier):
        for each in fields(kind):
            if each.name not in ("is_test", *SWITCHES):
                assert NAMES[each.name] in TEXTS["en"], each.name
    assert set(NAMES.values()) <= TEXTS["en"].keys()


# They cannot be wrong.
SWITCHES = ("escape_early", "with_address", "bearer")


def test_a_sentence_names_what_the_console_calls_it_and_escapes_it() -> None:
    one = Said(
        "range-or-none", "from 1 to 9 are wanted, or none", of="max_devices", least=1, most=9
    )
    assert one == "max_devices: from 1 to 9 are wanted, or none"
    assert tell("en", one) == "Devices at a time with one password: from 1 to 9 are wanted, or none"
    assert tell("de", one).endswith("Passwort: von 1 bis 9 ist möglich, oder nichts")
    line = Said("line", f"line 3: {one}", line=3, problem=one)
    assert tell("de", line).startswith("Zeile 3: Geräte gleichzeitig")
    evil = Said("no-stream", "there is no stream <b>", name="<b>")
    assert "<b>" not in tell("de", evil) and "&lt;b&gt;" in tell("en", evil)
    assert tell("de", "the disk is <full>") == '<span lang="en">the disk is &lt;full&gt;</span>'


# Whole pages

LIST = "password;label;gültig bis;geräte\nx7Q2-9TRD-40PZ-LL1V-8M3N;a;morgen;viele\n\n;b\n"
WRONG: list[tuple[str, dict[str, str]]] = [
    ("streams/{mark}", {"max_devices": "x"}),
    (
        "streams/{mark}",
        {
            "title": "x" * 201,
            "access": "none",
            "max_devices": "101",
            "max_viewers": "0",
            "embed_origins": "ftp://a *",
            "networks": "192.0.2.1/24 ::ffff:192.0.2.0/120 hier",
            "countries": "Deutschland, DE",
            "countries_denied": "DE",
            "opens_at": "2031-05-01",
            "closes_at": "2030-05-01",
            "device_mode": "no",
            "encryption": "no",
        },
    ),
    ("streams/{mark}", {"opens_at": "morgen"}),
    ("streams", {"name": "Ein Film"}),
    ("streams", {"name": "film", "access": "open"}),
    ("streams", {"name": "film", "film.../x.mp4": "on"}),
    ("streams/{mark}/nothing", {}),
    ("passwords/new", {"stream": "{mark}", "count": "0"}),
    ("passwords/new", {"stream": "{mark}", "count": "1", "valid_until": "morgen"}),
    (
        "passwords/new",
        {"stream": "{mark}", "count": "1", "valid_from": "2031-05-02", "valid_until": "2031-05-01"},
    ),
    ("passwords/new", {"stream": "{mark}", "count": "1", "label": "x" * 201, "max_devices": "101"}),
    ("passwords/new", {"stream": "none", "count": "1"}),
    ("passwords/new", {"stream": "{mark}", "count": "1", "valid_until": "2001-05-01"}),
    ("passwords/import", {"stream": "{mark}", "list": LIST, "go": "yes"}),
    ("passwords/import", {"stream": "{mark}", "list": "passwort;kunde\nabc;1\n"}),
    ("passwords/import", {"stream": "{mark}", "list": ""}),
    ("passwords/import", {"stream": "{mark}", "list": "%PDF-1.7"}),
    ("passwords/import", {"stream": "{mark}", "list": "<!doctype html>"}),
    ("passwords/import", {"stream": "{mark}", "list": "a;b;c;d;e;f;g;h"}),
    ("passwords/import", {"stream": "{mark}", "list": "There is much in it.\nOr so it seems."}),
    ("passwords/cards", {"stream": "{mark}", "url": "ftp://x"}),
    ("events/-/new", {}),
    ("events/-/new", {"name": "x", "windows": "morgen", "breaks": "2031-05-16 19:00-18:00"}),
    (
        "events/-/new",
        {
            "name": "Ein Tag",
            "title": "Tag",
            "windows": "30.03.2031 02:30–03:30",
            "stream.{mark}": "on",
            "rounding": "floor45",
            "seal_after": "999",
            "threshold_pct": "viel",
        },
    ),
    ("events/{mark}-day", {"title": "", "windows": "16.05.2031 18:00-19:00", "seal_after": "1"}),
    (
        "events/{mark}-day",
        {
            "title": "x",
            "vnr": "9" * 41,
            "windows": "2031-05-16 18:00-19:00",
            "breaks": "2031-05-16 17:00-20:00",
            "rounding": "threshold_pct",
            "seal_after": "1",
            "least_minutes": "0",
            "stream.nothing": "on",
        },
    ),
    ("events/{mark}-day/seal", {"sure": "yes"}),
    ("events/{mark}-day/seal", {"sure": "yes", "reason": "x"}),
    ("events/nothing", {"title": "x"}),
    ("streams/{mark}/seal", {"sure": "yes", "day": "2031-05-01"}),
    ("streams/{mark}/seal", {"sure": "yes"}),
    ("events/{mark}-day/hold", {"until": "2031-05-16", "reason": "x"}),
    ("streams/{mark}/hold", {"day": "2031-05-01", "release": "yes", "sure": "yes"}),
    ("streams/{mark}/hold", {}),
    ("evidence", {}),
    ("verifiers/-/new", {"kind": "link", "name": "a b", "secret": "xyz"}),
    ("verifiers/-/new", {"kind": "jwks", "url": "x"}),
    ("verifiers/-/new", {"kind": "akamai", "secret": "xyz"}),
    ("verifiers/-/new", {"kind": "wowza", "secret": "x"}),
    ("verifiers/-/new", {"kind": "jwt", "secret": "x"}),
    ("verifiers/-/new", {"kind": "bunny", "secret": "ä"}),
    ("verifiers/-/new", {"kind": "question", "url": "https://a.example/", "secret": "x"}),
    ("verifiers/-/new", {"kind": "question", "url": "https://a.example/", "kept_s": "x"}),
    ("verifiers/-/new", {"kind": "question", "url": "https://a.example/", "seconds": "11"}),
    ("verifiers/nothing", {"action": "revoke"}),
    ("people", {"name": "Eva", "role": "dpo"}),
    ("people", {"name": "eva", "role": "dpo"}),
    ("people", {"name": "mia", "role": "no"}),
    ("people/nobody", {"action": "remove"}),
    ("people/eva", {"action": "remove", "sure": "yes"}),
    ("people/eva", {"action": "let-in"}),
    ("people/eva", {"action": "dance"}),
    ("tokens", {"name": "x"}),
    ("tokens", {"name": "evas", "scope.streams:read": "on"}),
    ("tokens", {"name": "x", "scope.streams:read": "on", "days": "7"}),
    ("tokens/nobody", {}),
    ("organisation", {"timezone": "Mars/Olympus", "display": "x" * 201, "notice": "x" * 4001}),
    ("password", {"old": "correct horse of acme", "new": "short", "again": "short"}),
    ("password", {"old": "correct horse of acme", "new": "eva" * 6, "again": "eva" * 6}),
    ("password", {"old": "wrong", "new": "x" * 12, "again": "x" * 12}),
    ("language", {"to": "fr"}),
    ("sign-in", {"tenant": "acme", "name": "eva", "password": "wrong"}),
]
MAIN = re.compile(r"<main.*</main>", re.DOTALL)


@pytest.mark.parametrize(("path", "form"), WRONG, ids=lambda each: str(each)[:40])
def test_what_is_wrong_is_told_in_german(house: House, path: str, form: dict[str, str]) -> None:
    body = {
        name.replace("{mark}", MARK): text.replace("{mark}", MARK) for name, text in form.items()
    }
    if path == "streams/{mark}":
        body = {"revision": "1"} | body
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    reply = house.ask("POST", f"/console/{path.replace('{mark}', MARK)}", body=body, **german)
    page = reply.body.decode()
    assert reply.status >= 400, page
    found = MAIN.search(page)
    # Each language is called in itself in the form of the cards.
    assert found and '<span lang="en"' not in found[0], found
    assert not re.search(r"\b(?:wanted|none of|there is|this is)\b", found[0]), found[0]


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "passwords?after=x", "traffic?month=x", "audit?before=x"),
        *("streams/zebra/report?day=x", "streams/zebra/report?day=1900-01-01"),
        *("events/zebra-day/report?version=x", "events/zebra-day/report?version=7"),
        *("events/zebra-day/report/doc", "events/nothing/report", "evidence/log"),
        *("streams/zebra/receipts/7", "streams/zebra/report/csv?version=1"),
        *("events/zebra-day/hold", "streams/zebra/hold?day=2031-05-01", "streams/zebra/hold"),
        "holds?after=x",
    ],
)
def test_what_cannot_be_shown_is_told_in_german(house: House, path: str) -> None:
    name, _, query = path.partition("?")
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    page = house.ask("GET", f"/console/{name}", query=query, **german).body.decode()
    assert "Das ging nicht" in page and 'lang="en"' not in MAIN.findall(page)[0]


def test_days_of_attendance_are_set_and_told_in_german(house: House) -> None:
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    form = {"display": "", "timezone": "UTC", "notice": ""}
    for days in ("2", "viele"):
        body = form | {"attendance_days": days}
        refused = house.ask("POST", "/console/organisation", body=body, **german)
        page = refused.body.decode()
        assert refused.status == 422 and f'value="{days}"' in page
        assert "Tage für Ereignisse der Anwesenheit: " in page
    body = form | {"attendance_days": " 5 ", "attendance_reports_days": ""}
    assert house.ask("POST", "/console/organisation", body=body, **german).status == 303
    settings = house.office.store.tenant("acme").settings
    assert (settings.attendance_days, settings.attendance_reports_days) == (5, None)
    # A form from before has no such field, and takes nothing away.
    assert house.ask("POST", "/console/organisation", body=form, **german).status == 303
    assert house.office.store.tenant("acme").settings.attendance_days == 5
    assert 'value="5"' in house.ask("GET", "/console/organisation", **german).body.decode()
    body = form | {"attendance_days": ""}
    assert house.ask("POST", "/console/organisation", body=body, **german).status == 303
    assert house.office.store.tenant("acme").settings.attendance_days is None


def test_papers_and_what_is_known_of_a_password_are_given(house: House) -> None:
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    page = house.ask("GET", "/console/organisation", **german).body.decode()
    for kind in PAPERS:
        path = f"/console/organisation/papers/{kind}"
        assert f'href="{path}"' in page
        got = house.ask("GET", path, **german)
        assert got.status == 200 and '<html lang="de">' in got.body.decode()
        assert ("Content-Disposition", f'attachment; filename="acme-{kind}-de.html"') in got.headers
    path = f"/console/passwords/{house.theirs}/data"
    assert f'href="{path}"' in house.ask("GET", "/console/passwords", **german).body.decode()
    got = house.ask("GET", path, **german)
    assert got.status == 200 and got.body.startswith(b"PK")


def test_what_is_known_of_a_password_is_restricted_in_a_form(house: House) -> None:
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    place = f"/console/passwords/{house.theirs}/restriction"
    listed = house.ask("GET", "/console/passwords", **german).body.decode()
    assert f'href="{place}"' in listed and "eingeschränkt</span>" not in listed
    assert 'name="lift"' not in house.ask("GET", place, **german).body.decode()
    reply = house.ask("POST", place, body={"reason": "sagt, der Abend stimmt nicht"}, **german)
    assert reply.status == 303 and ("Location", f"{place}?done=done_restrict") in reply.headers
    page = house.ask("GET", place, query="done=done_restrict", **german).body.decode()
    assert "sagt, der Abend stimmt nicht" in page and "Die Daten sind eingeschränkt." in page
    assert "eingeschränkt</span>" in house.ask("GET", "/console/passwords", **german).body.decode()
    body = {"sure": "yes", f"p{house.theirs}": "on"}
    refused = house.ask("POST", "/console/passwords/erase", body=body, **german)
    assert refused.status == 422 and "bis das aufgehoben ist" in refused.body.decode()
    said = house.ask("GET", "/console/audit", **german).body.decode()
    assert "Passwörter eingeschränkt" in said and "der Abend stimmt nicht" in said
    assert house.ask("POST", place, body={"lift": "yes"}, **german).status == 303
    assert house.ask("POST", place, body={"lift": "yes"}, **german).status == 404
    assert not house.office.store.viewers.restrictions.listed(house.office.store.tenant("acme").id)


def test_a_list_is_warned_of_before_it_is_imported(house: House) -> None:
    body = {"stream": MARK, "list": f"{generate()};a;;01.05.2001\n123456789\n{generate()}\n"}
    german: dict[str, Any] = {"session": "eva", "fields": {"accept_language": "de"}}
    page = house.ask("POST", "/console/passwords/import", body=body, **german).body.decode()
    over, guessed = re.findall(r'<div class="warning".*?</div>', page, re.DOTALL)
    assert "schon abgelaufen (1)" in over and "Zeile 1" in over and "Zeile 2" not in over
    assert "erratbar (1)" in guessed and "Zeile 2: es hat nur wenige Ziffern" in guessed


def test_films_are_a_tenants_own_and_of_its_folder(house: House, tmp_path: Path) -> None:
    for name in ("acme/deep/course.mp4", "acme/notes.txt", "other/theirs.mp4", "secret.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no film at all")
    (tmp_path / "acme" / "link.mp4").symlink_to(tmp_path / "other" / "theirs.mp4")
    before, office = house.rows(), house.office
    house.office = replace(office, films=str(tmp_path))
    try:
        page = house.ask("GET", "/console/streams", session="eva").body.decode()
        assert re.findall(r'name="film\.([^"]*)"', page) == ["deep/course.mp4"]
        for name in ("link.mp4", "../other/theirs.mp4", "../secret.mp4", f"{tmp_path}/secret.mp4"):
            body = {"name": "film", "access": "open", f"film.{name}": "on"}
            reply = house.ask("POST", "/console/streams", body=body, session="eva")
            assert reply.status == 422 and b"is not in your folder" in reply.body
        # It is looked at first; where the folder lies is not said.
        body = {"name": "film", "access": "open", "film.deep/course.mp4": "on"}
        reply = house.ask("POST", "/console/streams", body=body, session="eva")
        assert reply.status == 422 and str(tmp_path) not in reply.body.decode()
    finally:
        house.office = office
    assert house.rows() == before
    page = house.ask("GET", "/console/streams", session="eva").body.decode()
    assert "added by its operator" in page


def test_what_is_searched_for_is_in_no_address(house: House) -> None:
    (shown,) = house.office.issuer.shown(house.office.store.tenant("acme").id, [int(house.theirs)])
    asked = {"stream": MARK, "search": (shown.text or "").lower()}
    reply = house.ask("POST", "/console/passwords", body=asked, session="eva")
    assert reply.status == 200 and reply.body.decode().count("data-one") == 1
    page = house.ask(
        "GET", "/console/passwords", query=f"stream={MARK}", session="eva"
    ).body.decode()
    (search,) = re.findall(r'<form[^>]*role="search"[^>]*>', page)
    assert 'method="post"' in search
    # An address that has it all the same finds nothing by it.
    query = f"stream={MARK}&search=nothing"
    assert house.ask("GET", "/console/passwords", query=query, session="eva").body.count(
        b"data-one"
    ) == page.count("data-one")
    reply = house.ask("POST", "/console/passwords", body={"stream": MARK}, session="eva")
    assert ("Location", f"/console/passwords?stream={MARK}") in reply.headers


@pytest.mark.parametrize("at", [True, False])
def test_cards_with_a_wrong_address_leave_the_list_where_it_is(house: House, at: bool) -> None:
    body = {"stream": MARK, "url": "www.example.org", "at": str(int(house.now)) if at else ""}
    reply = house.ask("POST", "/console/passwords/cards", body=body, session="eva")
    page = reply.body.decode()
    assert reply.status == 422 and "an address is wanted" in page
    (shown,) = house.office.issuer.shown(house.office.store.tenant("acme").id, [int(house.theirs)])
    assert shown.text and shown.text in page
    assert 'action="/console/passwords/cards"' in page and 'value="www.example.org"' in page


def test_a_passwords_label_validity_and_devices_are_changed_in_a_form(house: House) -> None:
    tenant_id = house.office.store.tenant("acme").id
    place = f"/console/passwords/{house.theirs}"
    (before,) = house.office.issuer.shown(tenant_id, [int(house.theirs)])
    page = house.ask("GET", place, session="eva").body.decode()
    assert f'value="{MARK}"' in page and before.text and before.text in page
    form = {"label": "Ward <4>", "valid_until": "2032-01-31", "max_devices": "2"}
    reply = house.ask("POST", place, body=form, session="eva")
    assert ("Location", f"/console/passwords?stream={MARK}&done=saved") in reply.headers
    (after,) = house.office.issuer.shown(tenant_id, [int(house.theirs)])
    settings = replace(before.settings, label="Ward <4>", valid_until=1_959_206_400, max_devices=2)
    assert after.settings == settings and after.text == before.text
    page = house.ask("GET", place, session="eva").body.decode()
    assert 'value="2032-01-31"' in page and "Ward &lt;4&gt;" in page
    reply = house.ask("POST", place, body=form | {"valid_until": "2020-01-01"}, session="eva")
    assert reply.status == 422 and b"that is over" in reply.body and b"2020-01-01" in reply.body
    reply = house.ask("POST", place, body={"label": MARK}, session="eva")
    (after,) = house.office.issuer.shown(tenant_id, [int(house.theirs)])
    assert reply.status == 303 and after.settings == before.settings


@pytest.mark.parametrize(
    ("kind", "word"),
    [("link", "pystream-link-1"), ("jwt", "jti"), ("jwks", "jti"), ("question", "allow")],
)
def test_where_a_key_is_added_stands_what_the_site_does_with_it(
    house: House, kind: str, word: str
) -> None:
    for language in ("en", "de"):
        reply = house.ask(
            *("GET", "/console/verifiers/-/new"),
            query=f"kind={kind}",
            session="eva",
            fields={"accept_language": language},
        )
        assert word in reply.body.decode()


# The audit log

ENTRY = re.compile(r'<td data-name="(?:What|Was)">(.*?)</td>', re.DOTALL)
WHO = re.compile(r'<td data-name="(?:Who|Wer)">(.*?)</td>', re.DOTALL)


def recorded() -> set[str]:
    """What the stores put on record, by their source: `{name: (before, after)}`."""
    names = {
        each.name
        for kind in (StreamSettings, TenantSettings, EventSettings)
        for each in fields(kind)
    }
    names |= {f"password_{each.name}" for each in fields(PasswordSettings)} - {"password_label"}
    names |= {"password_label_changed", "passwords_shown", "stream_sessions_ended"}
    names |= {"attendance_shown", "attendance_signed", "attendance_receipts"}
    for name in (
        "__init__",
        "audit",
        "events",
        "notary",
        "people",
        "retaining",
        "verifiers",
        "viewers",
    ):
        tree = ast.parse((PACKAGE / "acl" / "store" / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                names |= {
                    str(key.value)
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant)
                    and isinstance(value, ast.Tuple)
                    and len(value.elts) == 2
                }
    return names


def test_the_log_has_a_name_for_all_that_goes_on_record() -> None:
    assert {"sessions_of_password_ended", "audit_entries_deleted"} <= recorded()
    for name in recorded() - {"download_source"}:
        assert f"of_{name}" in TEXTS["en"], name


def test_no_entry_of_the_log_is_blank_or_a_machines_word(tmp_path: Path) -> None:
    """Of each kind that there is, in both languages."""
    house = House(tmp_path)
    office = house.office
    store, people, viewers = office.store, office.store.people, office.store.viewers
    acme, now = store.tenant("acme"), house.now
    by: dict[str, Any] = {"who": "person:eva", "now": now}
    film = store.stream("acme", MARK)
    store.set_tenant("acme", {"display": "ACME", "max_rate_bps": 10**9, "notice": "x"}, **by)
    store.set_stream("acme", MARK, {"sources": ("/b.mp4",)}, **by)
    changes = {
        "title": "",
        "access": "external",
        "format": "fmp4",
        "segment_duration_ms": 4000,
        "encryption": "aes-128",
        "rotate_every": 10,
        "pace": None,
        "session_s": 600,
        "idle_s": 60,
        "max_devices": 2,
        "device_mode": "kick_oldest",
        "opens_at": now,
        "closes_at": now + 9,
        "networks": ("192.0.2.0/24",),
        "countries": ("DE",),
        "embed_origins": ("https://a.example",),
        "embed_lock": True,
        "allow_no_referrer": True,
        "max_viewers": 9,
        "download": True,
        "download_rate_bps": 10**6,
        "allow_unknown_country": True,
    }
    store.set_stream("acme", MARK, changes, **by)
    store.set_tenant("acme", {"attendance_purpose": VERSION}, **by)
    for switched in (True, False):
        store.set_stream("acme", MARK, {"attendance": switched}, **by)
    store.set_stream("acme", MARK, {"access": "open", "cache": "private"}, **by)
    (id,) = office.issuer.add(
        acme.id, [film.id], [(generate(), PasswordSettings())], who="token:site", now=now
    )
    label = {"label": "x", "valid_from": now, "valid_until": now + 9, "max_devices": 1}
    office.issuer.change(acme.id, [id], label, **by)
    office.issuer.rotate(acme.id, {id: [film.id]}, grace_s=5, **by)
    viewers.end_sessions(acme.id, film.id, **by)
    viewers.end_sessions_of(acme.id, id, **by)
    viewers.revoke(acme.id, [id], **by)
    office.issuer.erase(acme.id, [id], **by)
    keys = store.verifiers(office.keys)
    for kind, key in (("jwt", "A" * 43), ("akamai", "ab" * 32)):
        keys.add(acme.id, None, f"k-{kind}", Verifier(kind=kind, secret=key), **by)
        keys.revoke(acme.id, f"k-{kind}", **by)
    office.accounts.add(acme.id, "ina", Role.SUPPORT, **by)
    people.let_in(acme.id, "ina", 3600, **by)
    people.set_role(acme.id, "ina", Role.EDITOR, **by)
    ina = people.set_hash(acme.id, "ina", sign_in.hash_password("x" * 12), None, **by)
    secret = office.accounts.begin_totp(ina, now)
    office.accounts.finish_totp(ina, sign_in.totp(secret, now // 30), now)
    people.remove_totp(ina, **by)
    people.end_sessions(ina, **by)
    people.remove(acme.id, "ina", **by)
    people.revoke_token(acme.id, "evas", who="root", now=now)
    store.audit.record_view(acme.id, film.id, {"passwords_shown": 3}, **by)
    store.audit.record_view(acme.id, film.id, {"attendance_shown": 3}, **by)
    store.audit.forget(acme.id, now - 1, who="root", now=now)
    store.remove_stream("acme", MARK, **by)
    told = 0
    for language, names in TEXTS.items():
        asked: dict[str, Any] = {"session": "eva", "fields": {"accept_language": language}}
        page, following = "", ["", ""]
        while following:
            part = house.ask("GET", "/console/audit", query=following[-1], **asked).body.decode()
            following = re.findall(r'/console/audit\?(before=\d+)" rel="next"', part)
            page += part
        entries = [re.sub("<[^>]*>", " ", each) for each in ENTRY.findall(page)]
        assert len(entries) > 25 and all(each.strip() for each in entries)
        text = re.sub(r"\s+", " ", " ".join(entries))
        assert not re.search(r"\b[a-z]+_[a-z_]+\b|\bNone\b|\bTrue\b|: *(?:\(|$)|/b\.mp4", text), (
            text
        )
        assert names["of_sources"] in text and names["of_stream_sessions_ended"] in text
        assert names["kind_of_akamai"] + ", k-akamai" in text
        who = {each.strip() for each in WHO.findall(page)}
        assert {"eva", names["who_token"].format(name="site")} <= who
        assert names["who_server"].format(name="root") in who
        assert not any(":" in each for each in who)
        told += len(entries)
    house.close()
    assert told > 50


@pytest.mark.parametrize(
    ("language", "word"), [("en", "backup either once"), ("de", "Sicherung, sobald")]
)
def test_whoever_erases_is_told_of_backups(house: House, language: str, word: str) -> None:
    asked: dict[str, Any] = {"session": "eva", "fields": {"accept_language": language}}
    form = {"stream": MARK, f"p{house.theirs}": "on"}
    page = house.ask("POST", "/console/passwords/erase", body=form, **asked).body.decode()
    assert word in page
