"""Who gets what of the office: every route of the table, asked by those who may not.

Each route has a case here, which names something of the tenant `acme`. It is asked as nobody, and as a
person and a token of another tenant that may all there is. A route without a case fails.
"""

from __future__ import annotations

import html
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pypdfium2
import pytest

from pystream.acl import sign_in
from pystream.acl.cards import MOST_CARDS
from pystream.acl.entrances.verifiers import Verifier
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import RIGHTS, SCOPES, Right, Role
from pystream.acl.sealing import MasterKeys
from pystream.acl.store import Store
from pystream.acl.store.keystore import KeyStore
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.attendance.programmes import EventSettings
from pystream.server.office import routing
from pystream.server.office.console import passwords
from pystream.server.office.routing import ANYBODY, ROUTES, SIGNED_IN, Route
from pystream.server.office.values import Asked, Office, Reply
from tests.databases import with_tables

pytestmark = pytest.mark.slow

NOW = 1_936_699_200
MASTER = bytes(range(32))
# What acme has and other has not: wherever it shows, something is told to the wrong one.
MARK = "zebra"
FILM = StreamSettings(sources=(f"/media/{MARK}.mp4",), title=f"About a {MARK}", access="personal")


@dataclass(frozen=True)
class Case:
    """How a route is asked for something of acme's. `place`: what the path names; `body`: JSON for the
    API, a form for the console; `query`. `status`: what another tenant's person or token gets that has
    all rights: 404 for a thing of acme's; 200 or 303 where the route is about whoever asks."""

    status: int
    place: dict[str, str] = field(default_factory=dict)
    query: str = ""
    body: Any = None


EVENT = {
    "name": "new",
    "title": "New",
    "windows": [{"begin": "2031-05-16T18:00:00Z", "end": "2031-05-16T19:00:00Z"}],
}
HOLDING = {"until": "2032-01-01T00:00:00Z", "reason": "x"}
# What stands for the id of acme's password until that is known.
THEIRS = "1234567890123456789"
CASES = {
    ("GET", "/api/v1/openapi.json"): Case(200),
    ("GET", "/api/v1/problems/{problem}"): Case(200, {"problem": "exists"}),
    ("GET", "/api/v1/streams"): Case(200),
    ("POST", "/api/v1/streams"): Case(403, body={"name": "new", "sources": [f"{MARK}.mp4"]}),
    ("GET", "/api/v1/streams/{stream}"): Case(404, {"stream": MARK}),
    ("PATCH", "/api/v1/streams/{stream}"): Case(404, {"stream": MARK}, body={"download": True}),
    ("DELETE", "/api/v1/streams/{stream}"): Case(404, {"stream": MARK}),
    ("GET", "/api/v1/streams/{stream}/embed"): Case(404, {"stream": MARK}),
    ("POST", "/api/v1/streams/{stream}/end-sessions"): Case(404, {"stream": MARK}),
    ("GET", "/api/v1/streams/{stream}/report"): Case(404, {"stream": MARK}),
    ("GET", "/api/v1/streams/{stream}/report/{format}"): Case(
        404, {"stream": MARK, "format": "csv"}
    ),
    ("GET", "/api/v1/streams/{stream}/versions"): Case(
        404, {"stream": MARK}, query="day=2031-05-16"
    ),
    ("POST", "/api/v1/streams/{stream}/versions"): Case(
        404, {"stream": MARK}, body={"day": "2031-05-16"}
    ),
    ("GET", "/api/v1/streams/{stream}/hold"): Case(404, {"stream": MARK}, query="day=2031-05-16"),
    ("PUT", "/api/v1/streams/{stream}/hold"): Case(
        404, {"stream": MARK}, query="day=2031-05-16", body=HOLDING
    ),
    ("DELETE", "/api/v1/streams/{stream}/hold"): Case(
        404, {"stream": MARK}, query="day=2031-05-16"
    ),
    ("GET", "/api/v1/streams/{stream}/receipts/{password}"): Case(
        404, {"stream": MARK, "password": THEIRS}
    ),
    ("GET", "/api/v1/streams/{stream}/evidence"): Case(404, {"stream": MARK}),
    ("GET", "/api/v1/events"): Case(200),
    ("POST", "/api/v1/events"): Case(422, body={**EVENT, "streams": [MARK]}),
    ("GET", "/api/v1/events/{event}"): Case(404, {"event": f"{MARK}-day"}),
    ("PATCH", "/api/v1/events/{event}"): Case(
        404, {"event": f"{MARK}-day"}, body={"title": "mine"}
    ),
    ("DELETE", "/api/v1/events/{event}"): Case(404, {"event": f"{MARK}-day"}),
    ("GET", "/api/v1/events/{event}/report"): Case(404, {"event": f"{MARK}-day"}),
    ("GET", "/api/v1/events/{event}/report/{format}"): Case(
        404, {"event": f"{MARK}-day", "format": "json"}
    ),
    ("GET", "/api/v1/events/{event}/versions"): Case(404, {"event": f"{MARK}-day"}),
    ("POST", "/api/v1/events/{event}/versions"): Case(404, {"event": f"{MARK}-day"}, body={}),
    ("GET", "/api/v1/events/{event}/hold"): Case(404, {"event": f"{MARK}-day"}),
    ("PUT", "/api/v1/events/{event}/hold"): Case(404, {"event": f"{MARK}-day"}, body=HOLDING),
    ("DELETE", "/api/v1/events/{event}/hold"): Case(404, {"event": f"{MARK}-day"}),
    # Nothing is recorded of who asks.
    ("GET", "/api/v1/attendance/key"): Case(404),
    ("GET", "/api/v1/attendance/checkpoints"): Case(200),
    ("POST", "/api/v1/attendance/checkpoints"): Case(404),
    ("POST", "/api/v1/attendance/cosignatures"): Case(422, body={"note": MARK}),
    ("GET", "/api/v1/attendance/timestamp"): Case(404),
    ("GET", "/api/v1/attendance/log"): Case(404),
    ("GET", "/api/v1/passwords"): Case(200),
    ("POST", "/api/v1/passwords"): Case(422, body={"streams": [MARK]}),
    ("GET", "/api/v1/passwords/export"): Case(200),
    ("POST", "/api/v1/passwords/import"): Case(
        422, body={"streams": [MARK], "passwords": [{"password": "x7Q2-9TRD-40PZ-LL1V-8M3N"}]}
    ),
    ("POST", "/api/v1/passwords/cards"): Case(404, body={"stream": MARK}),
    ("POST", "/api/v1/passwords/revoke"): Case(200, body={"ids": [THEIRS]}),
    ("POST", "/api/v1/passwords/erase"): Case(200, body={"ids": [THEIRS]}),
    ("GET", "/api/v1/passwords/{password}"): Case(404, {"password": THEIRS}),
    ("GET", "/api/v1/passwords/{password}/data"): Case(404, {"password": THEIRS}),
    ("GET", "/api/v1/passwords/restricted"): Case(200),
    ("GET", "/api/v1/passwords/{password}/restriction"): Case(404, {"password": THEIRS}),
    ("PUT", "/api/v1/passwords/{password}/restriction"): Case(
        404, {"password": THEIRS}, body={"reason": "mine"}
    ),
    ("DELETE", "/api/v1/passwords/{password}/restriction"): Case(404, {"password": THEIRS}),
    ("PATCH", "/api/v1/passwords/{password}"): Case(
        404, {"password": THEIRS}, body={"label": "mine"}
    ),
    ("POST", "/api/v1/passwords/{password}/rotate"): Case(404, {"password": THEIRS}, body={}),
    ("POST", "/api/v1/passwords/{password}/end-sessions"): Case(404, {"password": THEIRS}),
    ("GET", "/api/v1/tenant"): Case(200),
    ("PATCH", "/api/v1/tenant"): Case(200, body={"display": "Others"}),
    ("GET", "/api/v1/privacy"): Case(200),
    ("GET", "/api/v1/privacy/papers/{paper}"): Case(404, {"paper": MARK}),
    ("GET", "/api/v1/traffic"): Case(200),
    ("GET", "/api/v1/audit"): Case(200, query=f"stream={MARK}"),
    ("GET", "/api/v1/tokens"): Case(200),
    ("POST", "/api/v1/tokens"): Case(201, body={"name": "new", "scopes": ["streams:read"]}),
    ("DELETE", "/api/v1/tokens/{name}"): Case(404, {"name": "evas"}),
    ("GET", "/api/v1/verifiers"): Case(200),
    ("POST", "/api/v1/verifiers"): Case(404, body={"kind": "link", "stream": MARK}),
    ("DELETE", "/api/v1/verifiers/{verifier}"): Case(404, {"verifier": f"{MARK}-key"}),
    ("GET", "/console/-/{asset}"): Case(404, {"asset": "nothing.css"}),
    ("GET", "/console/sign-in"): Case(303),
    ("POST", "/console/sign-in"): Case(
        403, body={"tenant": "acme", "name": "eva", "password": "not hers"}
    ),
    ("POST", "/console/sign-out"): Case(303, body={}),
    ("GET", "/console/password"): Case(200),
    ("POST", "/console/password"): Case(
        403, body={"old": "no", "new": "x" * 12, "again": "x" * 12}
    ),
    ("POST", "/console/language"): Case(303, body={"to": "de", "back": "/console/"}),
    ("GET", "/console"): Case(303),
    ("GET", "/console/"): Case(200),
    ("GET", "/console/streams/{stream}"): Case(404, {"stream": MARK}),
    ("GET", "/console/streams"): Case(200),
    ("POST", "/console/streams"): Case(422, body={"name": "new", f"film.{MARK}.mp4": "on"}),
    ("POST", "/console/streams/{stream}"): Case(404, {"stream": MARK}, body={"download": "on"}),
    ("POST", "/console/streams/{stream}/{action}"): Case(
        404, {"stream": MARK, "action": "remove"}, body={"sure": "yes"}
    ),
    ("GET", "/console/streams/{stream}/report"): Case(404, {"stream": MARK}),
    ("GET", "/console/streams/{stream}/report/{format}"): Case(
        404, {"stream": MARK, "format": "csv"}
    ),
    ("POST", "/console/streams/{stream}/seal"): Case(
        404, {"stream": MARK}, body={"day": "2031-05-16", "sure": "yes"}
    ),
    ("GET", "/console/streams/{stream}/hold"): Case(404, {"stream": MARK}, query="day=2031-05-16"),
    ("POST", "/console/streams/{stream}/hold"): Case(
        404, {"stream": MARK}, body={"day": "2031-05-16", "until": "2032-01-01", "reason": "x"}
    ),
    ("GET", "/console/streams/{stream}/receipts/{password}"): Case(
        404, {"stream": MARK, "password": THEIRS}
    ),
    ("GET", "/console/events"): Case(200),
    ("GET", "/console/events/-/new"): Case(200),
    ("POST", "/console/events/-/new"): Case(
        422,
        body={
            "name": "new",
            "title": "New",
            "windows": "2031-05-16 18:00-19:00",
            f"stream.{MARK}": "on",
            "rounding": "floor45",
            "seal_after": "1",
        },
    ),
    ("GET", "/console/events/{event}"): Case(404, {"event": f"{MARK}-day"}),
    ("POST", "/console/events/{event}"): Case(404, {"event": f"{MARK}-day"}, body={"title": "x"}),
    ("POST", "/console/events/{event}/remove"): Case(
        404, {"event": f"{MARK}-day"}, body={"sure": "yes"}
    ),
    ("GET", "/console/events/{event}/report"): Case(404, {"event": f"{MARK}-day"}),
    ("GET", "/console/events/{event}/report/{format}"): Case(
        404, {"event": f"{MARK}-day", "format": "pdf"}
    ),
    ("POST", "/console/events/{event}/seal"): Case(
        404, {"event": f"{MARK}-day"}, body={"sure": "yes"}
    ),
    ("GET", "/console/events/{event}/hold"): Case(404, {"event": f"{MARK}-day"}),
    ("POST", "/console/events/{event}/hold"): Case(
        404, {"event": f"{MARK}-day"}, body={"until": "2032-01-01", "reason": "x"}
    ),
    ("GET", "/console/holds"): Case(200),
    ("GET", "/console/evidence"): Case(200),
    ("POST", "/console/evidence"): Case(404, body={}),
    ("GET", "/console/evidence/log"): Case(404),
    ("GET", "/console/verifiers"): Case(200),
    ("GET", "/console/verifiers/-/new"): Case(200, query="kind=link"),
    ("POST", "/console/verifiers/-/new"): Case(404, body={"kind": "link", "stream": MARK}),
    ("POST", "/console/verifiers/{name}"): Case(
        404, {"name": f"{MARK}-key"}, body={"action": "revoke", "sure": "yes"}
    ),
    ("GET", "/console/passwords/export"): Case(404, query=f"stream={MARK}"),
    ("GET", "/console/passwords"): Case(404, query=f"stream={MARK}"),
    ("POST", "/console/passwords"): Case(404, body={"stream": MARK, "search": "x"}),
    ("GET", "/console/passwords/{password}"): Case(404, {"password": THEIRS}),
    ("GET", "/console/passwords/{password}/data"): Case(404, {"password": THEIRS}),
    ("GET", "/console/passwords/{password}/restriction"): Case(404, {"password": THEIRS}),
    ("POST", "/console/passwords/{password}/restriction"): Case(
        404, {"password": THEIRS}, body={"reason": "mine"}
    ),
    ("POST", "/console/passwords/{password}"): Case(404, {"password": THEIRS}, body={"label": "x"}),
    ("GET", "/console/passwords/new"): Case(200, query=f"stream={MARK}"),
    ("POST", "/console/passwords/new"): Case(404, body={"stream": MARK, "count": "1"}),
    ("GET", "/console/passwords/sheet"): Case(404, query=f"stream={MARK}&at={int(NOW)}"),
    ("POST", "/console/passwords/cards"): Case(404, body={"stream": MARK, "url": "https://x.org/"}),
    ("GET", "/console/passwords/import"): Case(200, query=f"stream={MARK}"),
    ("POST", "/console/passwords/import"): Case(
        404, body={"stream": MARK, "list": "x7Q2-9TRD-40PZ-LL1V-8M3N", "go": "yes"}
    ),
    ("POST", "/console/passwords/revoke"): Case(303, body={f"p{THEIRS}": "on", "sure": "yes"}),
    ("POST", "/console/passwords/rotate"): Case(422, body={f"p{THEIRS}": "on", "sure": "yes"}),
    ("POST", "/console/passwords/erase"): Case(303, body={f"p{THEIRS}": "on", "sure": "yes"}),
    ("GET", "/console/traffic"): Case(200),
    ("GET", "/console/audit"): Case(200),
    ("GET", "/console/people"): Case(200),
    ("POST", "/console/people"): Case(422, body={"name": "mia", "role": "nothing"}),
    ("POST", "/console/people/{name}"): Case(
        404, {"name": "eva"}, body={"action": "remove", "sure": "yes"}
    ),
    ("GET", "/console/tokens"): Case(200),
    ("POST", "/console/tokens"): Case(422, body={"name": "new"}),
    ("POST", "/console/tokens/{name}"): Case(404, {"name": "evas"}, body={"sure": "yes"}),
    ("GET", "/console/organisation"): Case(200),
    ("GET", "/console/organisation/papers/{paper}"): Case(404, {"paper": MARK}),
    ("POST", "/console/organisation"): Case(422, body={"timezone": "Nowhere/None"}),
    ("GET", "/console/account"): Case(200),
    ("POST", "/console/account/sign-out"): Case(303, body={}),
    ("GET", "/console/account/authenticator"): Case(303),
    ("POST", "/console/account/authenticator"): Case(303, body={"code": "000000"}),
    ("POST", "/console/account/authenticator/begin"): Case(303, body={}),
    ("POST", "/console/account/authenticator/remove"): Case(403, body={"password": "no"}),
}


class House:
    """An office with two tenants. `other` has nobody's name and nothing that acme has."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.path = folder / "store.db"
        store = Store.open(url or with_tables(str(self.path)))
        keys = KeyStore.open(
            f"sqlite:///{folder}/keys.db", lambda: MasterKeys([MASTER]), str(folder / "erasures")
        )
        keys.set_up(bytes(32), NOW)
        self.now = NOW
        self.office = Office.of(store, keys, lambda: self.now)
        self.tokens: dict[str, str] = {}
        self.sessions: dict[str, bytes] = {}
        for tenant, person in (("acme", "eva"), ("other", "otto")):
            id = store.add_tenant(tenant, TenantSettings(), who="test", now=NOW).id
            self.office.accounts.add(id, person, Role.ADMIN, who="test", now=NOW)
            hash = sign_in.hash_password(PASSWORDS[person])
            store.people.set_hash(id, person, hash, None, who="test", now=NOW)
            opened = self.office.accounts.sign_in(tenant, person, PASSWORDS[person], "", NOW)
            self.sessions[person] = opened.secret
            _, text = self.office.accounts.add_token(
                id, f"{person}s", SCOPES, None, who="test", now=NOW
            )
            self.tokens[person] = text
        acme = store.tenant("acme")
        stream = store.add_stream("acme", MARK, FILM, who=MARK, now=NOW)
        settings = PasswordSettings(label=MARK)
        (id,) = self.office.issuer.add(
            acme.id, [stream.id], [(generate(), settings)], who="test", now=NOW
        )
        self.theirs = str(id)
        window = (NOW * 1000, NOW * 1000 + 3_600_000)
        event = EventSettings(
            title=f"A {MARK}'s day", streams=(MARK,), timezone="UTC", windows=(window,)
        )
        store.events.add(acme.id, f"{MARK}-day", event, who="test", now=NOW)
        store.verifiers(keys).add(
            *(acme.id, stream.id, f"{MARK}-key", Verifier(kind="link", secret="ab" * 32)),
            who="test",
            now=NOW,
        )
        store.add_stream("other", "owl", StreamSettings(sources=("/owl.mp4",)), who="test", now=NOW)

    def ask(
        self, method: str, path: str, *, query: str = "", body: Any = None, **more: Any
    ) -> Reply:
        """A request over HTTPS. `token`, `session`: of whom; `origin` of a form is this site's own unless
        it is named."""
        fields = {"host": "video.example.org", "accept_language": "en"}
        is_api = path.startswith("/api/")
        secret = self.sessions.get(more.get("session", ""))
        data = b""
        if secret is not None:
            fields["cookie"] = f"a=b; __Host-pystream={sign_in.as_text(secret)}"
        if more.get("token"):
            fields["authorization"] = f"Bearer {self.tokens.get(more['token'], more['token'])}"
        if body is not None:
            kind = "application/json" if is_api else "application/x-www-form-urlencoded"
            fields["content_type"] = kind
            if not is_api and secret is not None:
                body = {"csrf": sign_in.csrf(secret)} | body
            data = (json.dumps(body) if is_api else urlencode(body)).encode()
        if method != "GET" and not is_api:
            fields["origin"] = "https://video.example.org"
        fields |= more.get("fields", {})
        path, data = (
            path.replace(THEIRS, self.theirs),
            data.replace(THEIRS.encode(), self.theirs.encode()),
        )
        secure, local = more.get("secure", True), more.get("local", False)
        network = more.get("network", b"\x0a\0\0")
        asked = Asked(method, path, query, fields, data, secure, local, network, "")
        return routing.answer(self.office, asked)

    def close(self) -> None:
        self.office.store.close()
        self.office.keys.close()

    def rows(self) -> dict[str, list[Any]]:
        """All that is stored of acme's, but for the day of a token's last use."""
        with closing(sqlite3.connect(self.path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            found = {}
            for (name,) in tables.fetchall():
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                if "tenant_id" in columns:
                    kept = ", ".join(f'"{each}"' for each in columns if each != "used_on")
                    wanted = f'SELECT {kept} FROM "{name}" WHERE tenant_id = 1'
                    found[name] = connection.execute(wanted).fetchall()
            return found


PASSWORDS = {"eva": "correct horse of acme", "otto": "another battery there"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("office"))
    yield made
    made.close()


def path_of(route: Route, case: Case) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: case.place[name[1]], route.path)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_every_route_has_a_case() -> None:
    assert {(route.method, route.path) for route in ROUTES} == set(CASES)
    assert len(CASES) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_nobody_gets_anything(route: Route, house: House) -> None:
    case = CASES[route.method, route.path]
    before = house.rows()
    path = path_of(route, case)
    forged = sign_in.as_text(bytes(32))
    wrong: dict[str, Any] = {"fields": {"cookie": f"__Host-pystream={forged}"}}
    if path.startswith("/api/"):
        wrong = {"token": "pst_" + "0" * 49}
    nobody: dict[str, Any] = {}
    for who in (nobody, wrong):
        reply = house.ask(route.method, path, query=case.query, body=case.body, **who)
        if route.needs is ANYBODY:
            assert reply.status in (200, 303, 403, 404)
        elif path.startswith("/api/"):
            assert reply.status == 401
            assert ("WWW-Authenticate", "Bearer realm=") in [(n, v[:13]) for n, v in reply.headers]
        else:
            assert reply.status == 303 and ("Location", "/console/sign-in") in reply.headers
        assert MARK.encode() not in reply.body
    assert house.rows() == before


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_another_tenant_gets_nothing(route: Route, house: House) -> None:
    case = CASES[route.method, route.path]
    before = house.rows()
    path = path_of(route, case)
    is_api = path.startswith("/api/")
    kept = house.sessions["otto"]
    who = {"token": "otto"} if is_api else {"session": "otto"}
    reply = house.ask(route.method, path, query=case.query, body=case.body, **who)
    assert reply.status == case.status, reply.body
    # What it has named itself may be said to it.
    assert MARK.encode() not in reply.body or case.status in (404, 422)
    assert house.rows() == before
    if house.ask("GET", "/console/", session="otto").status == 303:
        # It has signed itself out.
        opened = house.office.accounts.sign_in("other", "otto", PASSWORDS["otto"], "", house.now)
        house.sessions["otto"] = opened.secret
        assert opened.secret != kept


# What a path is of, where its first part does not say so itself.
OF = {"verifiers": "passwords", "organisation": "tenant", "attendance": "evidence"}
# Parts that want a right of their own, whatever the path is of.
OWN = {
    **dict.fromkeys(("report", "receipts", "versions"), "reports:read"),
    **dict.fromkeys(("erase", "data", "restriction", "restricted"), "passwords:erase"),
    **dict.fromkeys(("hold", "holds"), "reports:hold"),
    "evidence": "evidence:read",
    "seal": "reports:seal",
}
# Forms are of who may send them, and of people, tokens and papers nothing is read with less.
CHANGING = {
    *("/console/streams", "/console/events/-/new", "/console/verifiers/-/new"),
    *("/console/passwords/new", "/console/passwords/import", "/console/passwords/{password}"),
    *("/console/people", "/console/tokens", "/api/v1/tokens"),
    *("/console/organisation", "/console/organisation/papers/{paper}"),
}
OTHERWISE = {
    # What is sent here is a question, and what comes back is what was made before.
    **dict.fromkeys(
        ("/console/passwords", "/console/passwords/cards", "/api/v1/passwords/cards"),
        "passwords:read",
    ),
    **dict.fromkeys(
        ("/api/v1/streams/{stream}/versions", "/api/v1/events/{event}/versions"), "reports:seal"
    ),
    **dict.fromkeys(("/console/evidence", "/api/v1/attendance/checkpoints"), "reports:seal"),
    "/api/v1/attendance/cosignatures": "tenant:change",
}
EVERYBODY = ("openapi.json", "problems", "-", "sign-in", "language")
WHOEVER_IS_IN = ("", "privacy", "sign-out", "password", "account")


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_a_route_takes_the_right_that_its_path_says(route: Route) -> None:
    """Said here once more, by rules: whoever may read changes nothing, and each thing has a right of its
    own."""
    parts = route.path.removeprefix("/api/v1").removeprefix("/console").strip("/").split("/")
    if parts[0] in EVERYBODY:
        assert route.needs is ANYBODY
    elif parts[0] in WHOEVER_IS_IN or (route.method, route.path) == ("GET", "/api/v1/tenant"):
        assert route.needs is SIGNED_IN
    else:
        changes = route.method != "GET" or route.path in CHANGING
        right = f"{OF.get(parts[0], parts[0])}:{'change' if changes else 'read'}"
        right = next((OWN[part] for part in reversed(parts) if part in OWN), right)
        if route.method == "POST":
            right = OTHERWISE.get(route.path, right)
        assert route.needs == right


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_who_lacks_the_right_gets_nothing(route: Route, house: House) -> None:
    if not isinstance(route.needs, Right):
        assert route.needs in (ANYBODY, SIGNED_IN)
        return
    case = CASES[route.method, route.path]
    id = house.office.store.tenant("acme").id
    before = house.rows()
    people = house.office.store.people
    by: dict[str, Any] = {"who": "test", "now": house.now}
    asked = {"query": case.query, "body": case.body}
    if route.path.startswith("/api/"):
        rights = SCOPES - {route.needs}
        _, text = house.office.accounts.add_token(id, "less", rights, None, **by)
        reply = house.ask(route.method, path_of(route, case), token=text, **asked)
        people.revoke_token(id, "less", **by)
    else:
        lacking = [role for role in Role if route.needs not in RIGHTS[role]]
        if not lacking:
            # All who can sign in may that.
            return
        less = people.add(id, "less", lacking[0], "no hash", None, **by)
        house.sessions["less"] = sign_in.new_session()
        digest = sign_in.digest(house.sessions["less"])
        if lacking[0] is Role.SUPPORT:
            people.let_in(id, "less", 60, **by)
        people.open_session(less, digest, house.now + 60, house.now)
        reply = house.ask(route.method, path_of(route, case), session="less", **asked)
        people.remove(id, "less", **by)
    assert reply.status == 403 and MARK.encode() not in reply.body
    after = house.rows()
    after["audit"] = after["audit"][: len(before["audit"])]
    assert after == before


@pytest.mark.parametrize("route", [r for r in ROUTES if "{" in r.path], ids=named)
def test_what_names_nothing_is_told_so(route: Route, house: House) -> None:
    """Whatever stands in the path, who may do all there is gets an answer."""
    case, before = CASES[route.method, route.path], house.rows()
    is_api = route.path.startswith("/api/")
    who = {"token": "eva"} if is_api else {"session": "eva"}
    (last, *_) = re.findall(r"\{(\w+)\}", route.path)[::-1]
    known = case.place | {"stream": MARK} if "stream" in case.place else case.place
    for text in ("9" * 19, "9" * 30, "0", "-1", "\N{ARABIC-INDIC DIGIT THREE}", "a b", "x" * 300):
        path = path_of(route, Case(0, known | {last: text}))
        reply = house.ask(route.method, path, query=case.query, body=case.body, **who)
        assert 400 <= reply.status < 500, (text, reply.body)
    assert house.rows() == before


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_nothing_is_served_in_the_clear(route: Route, house: House) -> None:
    case = CASES[route.method, route.path]
    who = {"token": "eva"} if route.path.startswith("/api/") else {"session": "eva"}
    path = path_of(route, case)
    asked = {"query": case.query, "body": case.body, **who}
    reply = house.ask(route.method, path, secure=False, **asked)
    assert reply.status == 403 and MARK.encode() not in reply.body


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method != "GET"], ids=named)
def test_no_other_site_sends_a_form(route: Route, house: House) -> None:
    if route.path.startswith("/api/"):
        # No browser sends a bearer token by itself.
        return
    case = CASES[route.method, route.path]
    path, before = path_of(route, case), house.rows()
    for origin in ("https://evil.example", "null", "", "http://video.example.org"):
        fields = {"origin": origin}
        reply = house.ask(route.method, path, body=case.body, session="eva", fields=fields)
        assert reply.status == 403
    if route.path != "/console/sign-in":
        forged = {**case.body, "csrf": sign_in.csrf(house.sessions["otto"])}
        assert house.ask(route.method, path, body=forged, session="eva").status == 403
    assert house.rows() == before


def test_a_selection_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    house = House(tmp_path)
    acme, (stream,) = house.office.store.tenant("acme"), house.office.store.streams("acme")
    by: dict[str, Any] = {"who": "test", "now": NOW}
    entries = [(generate(), PasswordSettings()) for _ in range(2)]
    ids = house.office.issuer.add(acme.id, [stream.id], entries, **by)

    def rotate() -> int:
        form = {"sure": "yes", **{f"p{id}": "on" for id in ids}}
        return house.ask("POST", "/console/passwords/rotate", body=form, session="eva").status

    def valid() -> set[int]:
        shown = house.office.issuer.listed(acme.id)
        return {each.password.id for each in shown if each.state(NOW) == "valid"}

    before = valid()
    house.office.store.viewers.revoke(acme.id, [ids[1]], **by)
    assert rotate() == 422 and valid() == before - {ids[1]}
    ids = ids[:1]
    assert rotate() == 303 and ids[0] not in valid() and len(valid()) == len(before) - 1
    house.close()


def test_what_was_erased_is_shown_as_that_everywhere(tmp_path: Path) -> None:
    """Its row is in lists, with nothing in it but what it opened; not in a list that is imported again."""
    house = House(tmp_path)
    eva, token = {"session": "eva"}, {"token": "eva"}
    got = house.ask("POST", "/api/v1/passwords/erase", body={"ids": [house.theirs]}, **token)
    assert got.status == 200
    (item,) = json.loads(house.ask("GET", "/api/v1/passwords", **token).body)["items"]
    assert (item["id"], item["state"]) == (house.theirs, "erased")
    assert (item["password"], item["label"], item["streams"]) == (None, None, [MARK])
    shown = house.ask("GET", "/console/passwords", **eva).body.decode()
    (row,) = re.findall(r"<tr>\s*<td class=.tick.*?</tr>", shown, re.DOTALL)
    assert ">–</th>" in row and ">erased</span>" in row and " disabled>" in row
    # There is nothing of it to change or to keep.
    assert "/restriction" not in row and "/data" in row
    for path, who in (("/api/v1/passwords/export", token), ("/console/passwords/export", eva)):
        lines = house.ask("GET", path, **who).body.decode("utf-8-sig").splitlines()
        assert len(lines) == 1 and lines[0].startswith("password")
    path = f"/api/v1/passwords/{house.theirs}/restriction"
    got = house.ask("PUT", path, body={"reason": "x"}, **token)
    assert got.status == 422 and b"nothing of it to keep" in got.body
    house.close()


def test_a_long_list_is_shown_and_printed_page_by_page(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert passwords.MOST_AT_ONCE <= MOST_CARDS
    monkeypatch.setattr(passwords, "MOST_AT_ONCE", 3)
    house = House(tmp_path, url)
    acme, (stream,) = house.office.store.tenant("acme"), house.office.store.streams("acme")
    made = NOW + 1
    texts = {generate() for _ in range(7)}
    ids = house.office.issuer.add(
        *(acme.id, [stream.id], [(each, PasswordSettings()) for each in sorted(texts)]),
        who="test",
        now=made,
    )
    house.office.store.viewers.revoke(acme.id, [ids[0]], who="test", now=made)
    at, seen, cards = f"stream={MARK}&at={made}", list[set[str]](), list[int]()
    query: str | None = at
    while query:
        reply = house.ask("GET", "/console/passwords/sheet", query=query, session="eva")
        page = reply.body.decode()
        seen.append({each for each in texts if each in page})
        assert f"longer than 3 passwords. {len(seen[-1])} of them" in page
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
        form = {name: hidden[name] for name in ("stream", "at", "after")}
        form |= {"url": "https://video.example.org/", "locale": "en"}
        pdf = house.ask("POST", "/console/passwords/cards", body=form, session="eva")
        text = pypdfium2.PdfDocument(pdf.body)[0].get_textpage().get_text_range()
        words = re.sub(r"\W", "", text)
        cards.append(sum(each.replace("-", "") in words for each in seen[-1]))
        # Whatever is wrong is said on the page from which cards were asked for.
        wrong = house.ask(
            "POST", "/console/passwords/cards", body=form | {"url": ""}, session="eva"
        )
        assert wrong.status == 422 and all(each in wrong.body.decode() for each in seen[-1])
        found = re.search(r'sheet\?([^"]*)" rel="next"', page)
        query = found and html.unescape(found[1])
    assert [len(each) for each in seen] == [3, 3, 1] and set[str]().union(*seen) == texts
    # The one that was made first stands on the first page, and lets nobody in.
    assert cards == [2, 3, 1]
    house.close()


@pytest.mark.needs("pg_ctlcluster")
def test_a_store_that_is_away_is_named_to_nobody(tmp_path: Path) -> None:
    from tests import postgresql

    with postgresql.folder() as place:
        postgresql.initialise(f"{place}/data")
        with postgresql.serving(f"{place}/data", place):
            house = House(tmp_path, postgresql.url(place))
        form = {"tenant": "acme", "name": "eva", "password": PASSWORDS["eva"]}
        for reply in (
            house.ask("POST", "/console/sign-in", body=form),
            house.ask("GET", "/console/sign-in", session="eva"),
            house.ask("GET", "/console/", session="eva"),
            house.ask("GET", "/api/v1/streams", token="eva"),
        ):
            assert reply.status == 503 and dict(reply.headers)["Retry-After"] == "5"
            text = reply.body.decode()
            assert "the server needs is not at hand" in text
            assert place not in text and "postgresql" not in text and "connection" not in text
        house.close()


def test_a_key_store_that_was_emptied_is_named_to_nobody(tmp_path: Path) -> None:
    house = House(tmp_path)
    with closing(sqlite3.connect(tmp_path / "keys.db")) as by_hand, by_hand:
        by_hand.execute("DELETE FROM pepper")
    new = {"stream": MARK, "count": "1"}
    search = {"stream": MARK, "search": generate()}
    for reply in (
        house.ask("POST", "/console/passwords/new", body=new, session="eva"),
        house.ask("POST", "/console/passwords", body=search, session="eva"),
        house.ask("POST", "/api/v1/passwords", body={"streams": [MARK]}, token="eva"),
    ):
        text = reply.body.decode()
        assert reply.status == 503 and "the server needs is not at hand" in text
        assert "keys.db" not in text and "pepper" not in text
    house.close()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_neither_keeps_out_nor_gives_fresh_tries(
    tmp_path: Path, hours: int
) -> None:
    house = House(tmp_path)
    key = "acme", "eva", b"\x0a\0\0"
    while not house.office.tries.take(key, house.office.monotonic()):
        pass
    house.now += hours * 3600
    form = {"tenant": "acme", "name": "eva", "password": PASSWORDS["eva"]}
    reply = house.ask("POST", "/console/sign-in", body=form)
    assert reply.status == 429 and int(dict(reply.headers)["Retry-After"]) <= 60
    house.close()


def test_what_pages_say_to_a_browser(house: House) -> None:
    for path, session in (("/console/sign-in", ""), ("/console/", "eva"), ("/console/no", "")):
        reply = house.ask("GET", path, session=session)
        said = dict(reply.headers)
        policy = said["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and said["X-Frame-Options"] == "DENY"
        assert said["Cache-Control"] == "no-store" and said["Referrer-Policy"] == "same-origin"
        # Nothing is inline: no script or style with a body, no attribute that is one.
        text = reply.body.decode()
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", text)


def test_codes_are_counted_wherever_they_come_from(house: House) -> None:
    """Who knows the password, and has an address for each try. Who does not know it uses up none of them, and
    nobody learns from the answer which it was."""
    accounts = house.office.accounts
    eva = accounts.sign_in("acme", "eva", PASSWORDS["eva"], "", NOW).person
    secret = accounts.begin_totp(eva, NOW)
    accounts.finish_totp(eva, sign_in.totp(secret, NOW // 30), NOW)
    networks = iter(range(1, 256))

    def answer(code: str, password: str = PASSWORDS["eva"]) -> tuple[int, bytes]:
        form = {"tenant": "acme", "name": "eva", "password": password, "code": code}
        network = bytes((172, 16, next(networks)))
        reply = house.ask("POST", "/console/sign-in", body=form, network=network)
        return reply.status, reply.body

    def right() -> str:
        house.now += 30
        return sign_in.totp(secret, house.now // 30)

    for _ in range(12):
        assert answer(right())[0] == 303
        assert answer("000000", "wrong")[0] == 403
    wrong = answer("000000", "wrong")
    assert {answer("12345") for _ in range(10)} == {wrong}
    assert answer(right()) == wrong
    accounts.remove_totp(eva.tenant_id, "eva", who="test", now=house.now)
    house.now = NOW


def test_whoever_signs_in_gets_a_fresh_session(house: House) -> None:
    """Session fixation: a session that somebody has put into a browser is none of who signs in there."""
    form = {"tenant": "acme", "name": "eva", "password": PASSWORDS["eva"], "code": ""}
    planted = house.office.accounts.sign_in(
        "other", "otto", PASSWORDS["otto"], "", house.now
    ).secret
    made_up = bytes(range(32))
    for secret in (planted, made_up):
        house.sessions["browser"] = secret
        reply = house.ask("POST", "/console/sign-in", body=form, session="browser")
        assert reply.status == 303
        (cookie,) = [value for name, value in reply.headers if name == "Set-Cookie"]
        found = re.fullmatch(
            r"__Host-pystream=([\w-]{43}); Path=/; HttpOnly; SameSite=Strict; Secure", cookie
        )
        assert found
        own = sign_in.from_text(found[1])
        assert own not in (None, planted, made_up)
        assert own is not None and house.office.accounts.session(own, house.now) is not None
        # What was there opens nothing: not to who put it there, and not to who signed in.
        assert house.office.accounts.session(secret, house.now) is None
