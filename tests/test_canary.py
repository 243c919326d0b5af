"""A whole run with a marked viewer; then every byte that pystream wrote is searched for the marks.

The marks are an address (as a proxy says it, and a real one of the loopback network), a kind of browser, a
query, passwords, and whatever lets a customer's people, programs and viewers in: tokens, what the API has
answered, authenticators, links, and what signs them. None may be anywhere, in no encoding and no plain
hash, except a password, a label or a viewer's name in what the tenant's own people have asked for, which is
listed here by name; and the store finds what has 80 random bits or more by a plain hash of it.

At last the tenant is deleted, and none of its names is in what the node has.

All of that is done with the store in SQLite and in PostgreSQL. Of the latter, its files are searched (tables,
indexes, statistics, write-ahead log), and what a dump of it says, since files may hold long values packed.
Deleted rows stay in them until they are vacuumed, so at last the dump alone is searched for names.

What is new and writes something belongs into `lived` or `worked`, and what shows passwords to the tenant
into `OWN_VIEW`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from pystream.acl import sign_in
from pystream.acl.entrances import links
from pystream.acl.passwords import generate
from pystream.acl.people import SCOPES
from pystream.acl.retention import DAY_S
from pystream.acl.statements import FORMATS as PAPER_FORMATS
from pystream.acl.statements import KINDS as PAPERS
from pystream.acl.statements import LANGUAGES, statement
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.acl.store.attending import Batch
from pystream.acl.store.incidents import IncidentStore
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.retaining import Retention
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.viewers import Session
from pystream.attendance.evidence import Place
from pystream.attendance.purpose import VERSION
from pystream.cli.report import _made
from pystream.server.keys import open_key_store
from pystream.server.office.routing import ROUTES
from pystream.server.settings import load
from tests import program, test_reports, test_statements, test_variants
from tests.free_ports import free_port
from tests.oracles import traces
from tests.oracles.traces import Secret, in_files
from tests.test_serve import SAMPLE, Node, environment, fetch, node_in
from tests.test_variants import Portal
from tests.waiting import PATIENCE, open_files, until

pytestmark = pytest.mark.slow

PROXIED = "2001:db8:4bad:cafe:83:97:42:1d"
LOOPBACK = "127.83.97.42"
BYSTANDER = "127.83.97.24"
AGENT = "Kanarienvogel/4711 (Markierung; rara avis)"
QUERY = "merkmal-der-anfrage-0815-wellensittich"
WRONG = "falsches Passwort eines Wellensittichs"

FORMATS = ("csv", "json", "xlsx", "pdf", "svg")
# What shows passwords to those who handed them out.
REPORTS = {f"{name}.{form}" for name in ("course", "event", "sealed") for form in FORMATS}
OWN_VIEW = {
    *("said/list.csv", "said/list.json", "said/viewers.json", "cards.pdf", "acme.zip"),
    *("said/token.txt", "said/person.json"),
    *REPORTS,
    *("first.json", "after.csv", "kept.zip", "gone.zip", "after.zip"),
}
# What the tenant has named: it is in the store until the tenant is deleted.
TITLE = "Balzverhalten des Wellensittichs, Teil 4711"
NOTICE = "Hinweis der Vogelwarte Kanaria-4711 an alle"
DISPLAY = "Vogelwarte Kanaria 4711 e. V."
PERSON = "vogelwartin-4711"
LABEL = "Etikett am Ring: Sittich 4711 gelb"
VIEWER = "sittich-4711-gelbgruen"
NAMES = [
    Secret(name, (text,))
    for name, text in (
        *(("title", TITLE), ("notice", NOTICE), ("display", DISPLAY), ("person", PERSON)),
        *(("label", LABEL), ("viewer", VIEWER)),
    )
]
# Of these the store has the SHA-256: 80 random bits or more, which nobody finds by trying.
BY_HASH = {"token", "token by the API", "session of the console", "code for recovery"}
STORES = {"pystream.db", "pystream.db-wal"}
POSTGRESQL = "postgresql/"
DUMP = f"{POSTGRESQL}dump.sql"


class Viewer:
    """Somebody with all the marks, behind a proxy or not."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        *,
        proxied: bool = True,
        marked: bool = True,
        **more: str,
    ) -> tuple[int, dict[str, str], bytes]:
        one = http.client.HTTPConnection(
            "127.0.0.1", self.node.port, timeout=60, source_address=(LOOPBACK, 0)
        )
        fields = {
            "User-Agent": AGENT,
            "Referer": f"https://example.org/?{QUERY}",
            "Cookie": f"id={QUERY}",
        }
        if proxied:
            fields["X-Forwarded-For"] = PROXIED
        if body is not None:
            fields["Content-Type"] = "application/json"
        target = path + ("&" if "?" in path else "?") + QUERY if marked else path
        with closing(one):
            one.request(method, target, body, fields | more)
            answer = one.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()

    def sign_in(self, text: str, **more: Any) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"password": text, **more}).encode()
        status, _, data = self.ask("/acme/course/session", "POST", body)
        return status, json.loads(data)

    def watch(self, visit: dict[str, Any]) -> str:
        """Playlists, a key, segments, a picture, the download; returns the path of a segment."""
        master = visit["master"]
        folder = master.rpartition("/")[0]
        playlist = f"{folder}/{self.got(master).decode().splitlines()[-1]}"
        lines = self.got(playlist).decode().splitlines()
        key = next(line for line in lines if line.startswith("#EXT-X-KEY")).split('"')[1]
        beside = playlist.rpartition("/")[0]
        assert len(self.got(f"{beside}/{key}")) == 16
        segments = [line for line in lines if line[:1] != "#"]
        for segment in segments[:2]:
            self.got(f"{beside}/{segment}")
        self.got(visit["frames"]["poster"] + "0.mp4")
        assert self.ask(visit["download"], Range="bytes=0-99")[0] == 206
        return f"{beside}/{segments[0]}"

    def got(self, path: str) -> bytes:
        status, _, data = self.ask(path)
        assert status == 200
        return data

    def send(self, data: bytes) -> None:
        """Bytes that are no request."""
        with socket.create_connection(
            ("127.0.0.1", self.node.port), 60, source_address=(LOOPBACK, 0)
        ) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while peer.recv(65536):
                    pass


def command(node: Node, name: str, *words: str, code: int = 0, given: str = "") -> bytes:
    """Runs a command where the node lies; what it says goes into files as well."""
    done = program.run_bytes(*words, cwd=node.folder, env=environment(), input=given.encode())
    assert done.returncode == code, done.stderr
    said = node.folder / "said"
    said.mkdir(exist_ok=True)
    (said / name).write_bytes(done.stdout)
    (said / f"{name}.err").write_bytes(done.stderr)
    return done.stdout


def lived(node: Node, portal: Portal, kept: str, erased: str, gone: str) -> list[Secret]:
    """Everything that a node does, with the marks in it; what people, programs and sites had in hand."""
    viewer = Viewer(node)
    held, session = worked(node, portal)
    passwords = "".join(f"{each}\n" for each in (kept, erased, gone))
    command(node, "import.txt", *"password import acme/course --list -".split(), given=passwords)
    looked(node, viewer, session, kept)
    for path in ("/", "/acme/course", "/acme/course/", "/acme/nothing/", f"/{QUERY}/{QUERY}/"):
        for proxied in (True, False):
            viewer.ask(path, proxied=proxied)
    viewer.ask("/.well-known/pystream-privacy.json?tenant=acme")
    for wrong in (WRONG, generate(), kept[:-1], f"{kept} {WRONG}", QUERY, PROXIED):
        assert viewer.sign_in(wrong)[0] == 403
    viewer.ask("/acme/course/session", "POST", f'{{"password": "{kept}"'.encode())
    viewer.ask("/acme/course/session", "POST", f"password={kept}".encode())
    viewer.ask(f"/acme/course/session?password={quote(kept)}", "PUT")
    viewer.send(f"GET /{QUERY} HTTP/9.9\r\nUser-Agent: {AGENT}\r\n\r\n".encode())
    viewer.send(f"{kept} {erased} {QUERY} {AGENT}\r\n\r\n".encode())
    forwarded: dict[str, Any] = {"X-Forwarded-For": f"{QUERY}, {PROXIED}"}
    viewer.ask("/acme/course/", "GET", **forwarded)
    viewer.ask("/acme/course/", "GET", Forwarded=f'for="{PROXIED}";by={QUERY};{QUERY}')
    visits = []
    for text in (kept, erased):
        status, visit = viewer.sign_in(text)
        assert status == 200
        segment = viewer.watch(visit)
        visits.append(visit)
    (workers,) = [node.processes()["worker"]]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not workers & node.processes()["worker"] and _answers(viewer, segment))
    for name in ("metrics", "readyz", "healthz", QUERY):
        (node.folder / f"admin-{'other' if name is QUERY else name}").write_bytes(
            _admin(node, name)
        )
    command(node, "top.json", "top", "--json", "--interval", "0.2")
    command(node, "list.csv", *"password list acme/course --csv".split())
    command(node, "list.json", *"password list acme --json".split())
    url = "https://video.example.org/acme/course/"
    command(node, "cards.txt", *f"password cards acme/course --url {url} -o cards.pdf".split())
    command(node, "revoke.txt", *"password revoke acme --list -".split(), given=erased)
    command(node, "erase.txt", *"password erase acme --list -".split(), given=erased)
    until(lambda: viewer.ask(visits[1]["master"])[0] == 403)
    assert viewer.sign_in(erased)[0] == 403
    command(node, "unknown.txt", *"password revoke acme --list -".split(), code=1, given=WRONG)
    words = f"tenant set acme --attendance-purpose {VERSION} --by eva"
    command(node, "accepted.txt", *words.split())
    command(node, "recorded.txt", *"stream set acme/course --attendance --by eva".split())

    def attended() -> object:
        viewer.watch(visits[0])
        words = "attendance show acme/course --json --by eva"
        return json.loads(command(node, "attendance.json", *words.split()))["rows"]

    until(attended)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    words = (
        f"attendance event add acme/herz --title Herz --stream course --window {today}T00:00/23:59"
    )
    command(node, "event.txt", *words.split())
    command(node, "evidence.jsonl", *"attendance export acme/course --by eva".split())
    command(node, "purpose.txt", *"attendance purpose --locale de".split())
    command(node, "acme.pub", *"attendance key acme".split())
    command(node, "checkpoint.txt", *"attendance checkpoint acme".split())
    command(node, "log.jsonl", *"attendance export acme --by eva".split())
    (row, *_) = json.loads((node.folder / "said" / "attendance.json").read_text())["rows"]
    words = f"attendance receipt acme/course {row['key']} -o receipt.json --by eva"
    command(node, "receipt.txt", *words.split())
    words = "attendance verify receipt.json --public-key said/acme.pub --evidence said/log.jsonl"
    command(node, "verified.txt", *words.split())
    certified(node, kept, gone)
    command(node, "changes.json", *"stream changes acme --json".split())
    command(node, "traffic.csv", *"traffic acme --format csv".split())
    command(node, "privacy.txt", *"tenant privacy acme --locale de".split())
    command(node, "plan.txt", "retention", "plan")
    command(node, "run.json", *"retention run --json".split())
    command(node, "proofs.txt", "retention", "proof")
    command(node, "status.json", *"keyring status --json".split())
    (node.folder / "vault").mkdir()
    command(node, "backup.txt", "keyring", "backup", "vault")
    command(node, "viewers.json", *"password list acme --viewers --json".split())
    command(node, "export.txt", *"tenant export acme -o acme.zip".split())
    return held


def certified(node: Node, kept: str, gone: str) -> None:
    """Two days ago, both have watched: reports of that in all formats, what is known of each, and papers; and
    one of them is erased, once no report is held any more that names it."""
    day = int(time.time()) // 86_400 - 2
    ids = [watched_before(node, day, text) for text in (kept, gone)]
    date = f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"
    window = f"{date}T12:00/12:10"
    words = f"attendance event add acme/balz --stream course --window {window} --title"
    command(node, "event.txt", *words.split(), TITLE)
    command(node, "first.txt", *"report acme/balz --seal -o first.json".split())
    command(node, "first.pub", *"attendance key acme".split())
    for form in FORMATS:
        for name, of in (
            *(("course", f"acme/course --day {date}"), ("event", "acme/balz")),
            ("sealed", "acme/balz --version 1"),
        ):
            command(node, f"{name}.txt", *f"report {of} -o {name}.{form} --by eva".split())
    for name, id in zip(("kept", "gone"), ids, strict=True):
        command(node, f"{name}.txt", *f"password data acme --id {id} -o {name}.zip".split())
    command(node, "versions.txt", *"report acme/balz --versions".split())
    hold = "report acme/balz --hold 2999-01-01 --reason Widerspruch"
    command(node, "hold.txt", *hold.split())
    command(node, "refused.txt", *"password erase acme --list -".split(), code=1, given=gone)
    command(node, "release.txt", *"report acme/balz --release".split())
    command(node, "gone.txt", *"password erase acme --list -".split(), given=gone)
    command(node, "after.txt", *"report acme/balz --version 1 -o after.csv".split())
    command(node, "after.txt", *f"password data acme --id {ids[1]} -o after.zip".split())
    words = "attendance verify first.json --public-key said/first.pub"
    command(node, "proven.txt", *words.split())
    for kind in PAPERS:
        for locale in LANGUAGES:
            words = f"privacy statement acme --kind {kind} --locale {locale}"
            command(node, f"{kind}-{locale}.md", *words.split())
            command(node, f"{kind}-{locale}.html", *words.split(), "--format", "html")


def watched_before(node: Node, day: int, text: str) -> int:
    """Ten minutes from noon on; returns the password's number."""
    with (
        Store.open(store_url(node)) as store,
        open_key_store(load(str(node.folder / "pystream.toml"), {}).keys, environment()) as keys,
    ):
        acme, film = store.tenant("acme").id, store.stream("acme", "course").id
        password = Issuer(store.viewers, keys).find(acme, text)
        assert password is not None
        begin = day * 86_400 + 43_200
        session = os.urandom(16)
        opened = Session(
            id=session,
            tenant_id=acme,
            stream_id=film,
            password_id=password.id,
            opened_at=begin,
            expires=begin + 3600,
            idle_s=None,
        )
        store.viewers.keep([opened], {}, begin)
        told = b""
        for n in range(100):
            tag = session + Place(film, n * 6000, (n + 1) * 6000, True, "v1").pack()
            told += struct.pack(">qH", (begin + 6 * n) * 1000, len(tag)) + tag
        worker = int.from_bytes(session[:7])
        batch = Batch(worker, 1, begin * 1000, begin * 1000, 0, told, last=True)
        assert store.viewers.attendance.keep(keys, [batch], [], begin).events == 100
        store.viewers.attendance.seal(keys, (day + 1) * 86_400_000, begin)
        return password.id


def worked(node: Node, portal: Portal) -> tuple[list[Secret], str]:
    """What a customer's people and programs do, and whom its site lets in; what they hold then, and a session
    of the console that goes on."""
    words = f"person add acme {PERSON} --role tenant-admin --json".split()
    first = json.loads(command(node, "person.json", *words))["password"]
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    token = command(node, "token.txt", *"token add acme site".split(), *scopes).decode().strip()
    people, session = _people(node, Viewer(node), first)
    held = [
        Secret("token", of_token(token)),
        *_programs(Viewer(node), token),
        *people,
        *_sites(Viewer(node), token, portal),
        Secret("first password of a person", (first,)),
    ]
    return held, session


NAMED = {
    "asset": "x",
    "event": "herz",
    "format": "csv",
    "kind": "link",
    "name": "7f",
    "paper": "notice",
    "place": "course",
    "stream": "course",
}
"""What stands in the paths of pages."""


def looked(node: Node, viewer: Viewer, session: str, kept: str) -> None:
    """Every page of the console, and what is typed there."""
    secret = sign_in.from_text(session)
    assert secret is not None
    fields: dict[str, Any] = {
        "Origin": f"http://127.0.0.1:{node.port}",
        "Cookie": f"pystream={session}; id={QUERY}",
    }
    pages = [each.path for each in ROUTES if each.method == "GET" and "/console" in each.path]
    with Store.open(store_url(node)) as store:
        ids = [each.password.id for each in store.viewers.passwords(store.tenant("acme").id)]
    for path in pages:
        for id in ids[:2]:
            place = path.format_map({**NAMED, "password": id})
            status, _, page = viewer.ask(place, proxied=False, **fields)
            assert status in (200, 303, 400, 404), (place, status, page)
    form = {"csrf": sign_in.csrf(secret), "stream": "course"}
    typed: tuple[tuple[str, dict[str, str]], ...] = (
        ("passwords", {"search": kept}),
        ("passwords", {"search": WRONG}),
        ("passwords", {"search": LABEL}),
        ("passwords/import", {"list": f"{kept};{LABEL}\n{WRONG};x;heute\n"}),
        ("passwords/cards", {"url": "https://tv.example.org/"}),
        ("passwords/cards", {f"p{ids[0]}": "on"}),
        (f"passwords/{ids[0]}", {"label": LABEL, "valid_until": WRONG}),
        ("streams/course", {"title": TITLE, "networks": PROXIED, "revision": "x"}),
    )
    form_type: dict[str, Any] = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, more in typed:
        status, _, page = viewer.ask(
            f"/console/{path}",
            "POST",
            urlencode(form | more).encode(),
            proxied=False,
            **form_type,
            **fields,
        )
        assert status in (200, 422), (path, status, page)


Forms = tuple[str | bytes, ...]


def of_token(text: str) -> Forms:
    """Of the API: all of it, and what of it is secret."""
    return text, text[4:47]


def of_authenticator(secret: bytes) -> Forms:
    return secret, base64.b32encode(secret).decode()


def of_recovery(code: str) -> Forms:
    plain = code.replace("-", "").upper()
    return code, plain, base64.b32decode(plain)


def of_session(text: str) -> Forms:
    """Base64url of 32 bytes."""
    return text, base64.urlsafe_b64decode(f"{text}=")


def of_hex(text: str) -> Forms:
    return text, bytes.fromhex(text)


def of_signed(text: str) -> Forms:
    """A link, or a token of a site or a CDN: all of it, and its signature."""
    return text, re.split(r"[.=]", text)[-1]


def asked(viewer: Viewer, token: str, path: str, method: str, body: Any, **more: Any) -> Any:
    """The API's answer."""
    status, _, data = viewer.ask(
        f"/api/v1{path}",
        method,
        None if body is None else json.dumps(body).encode(),
        proxied=False,
        marked=False,
        **_bearer(token, more),
    )
    assert status < 300, data
    return json.loads(data) if data else None


def _bearer(token: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"Authorization": f"Bearer {token}", **more}


def _programs(viewer: Viewer, token: str) -> list[Secret]:
    """A site makes passwords and a token, each once, and is refused for this and that."""
    once = {"Idempotency-Key": "wellensittich-einmal-4711"}
    body = {"streams": ["course"], "label": LABEL}
    item = asked(viewer, token, "/passwords", "POST", body, **once)["items"][0]
    made = item["password"]
    assert made == asked(viewer, token, "/passwords", "POST", body, **once)["items"][0]["password"]
    again = {"Idempotency-Key": "noch-einmal-4711"}
    new = {"name": "other", "scopes": ["streams:read"]}
    other = asked(viewer, token, "/tokens", "POST", new, **again)["token"]
    forged = sign_in.new_token()
    for shown, path, sent in (
        (forged, "/passwords", body),
        (f"{token}x", "/passwords", body),
        (token, f"/passwords?{QUERY}", body),
        (token, "/passwords", {**body, "label": WRONG + "\n"}),
        (token, f"/streams/{QUERY}", None),
        (other, "/passwords", body),
    ):
        viewer.ask(
            f"/api/v1{path}",
            "POST",
            json.dumps(sent).encode(),
            proxied=False,
            **_bearer(shown, once),
        )
    data = f"/passwords/{item['id']}/data"
    for path in (
        *("/passwords", "/passwords/export", "/audit", "/tokens", "/traffic", "/privacy"),
        *("/events", "/events/herz/report", "/events/herz/report/csv", "/streams/course/report"),
        *("/streams/course/evidence", "/attendance/log", "/attendance/checkpoints"),
        data,
    ):
        viewer.ask(f"/api/v1{path}", proxied=False, marked=False, Authorization=f"Bearer {token}")
    return [
        Secret("password by the API", traces.password(made)),
        Secret("token by the API", of_token(other)),
        Secret("forged token", of_token(forged)),
        Secret("idempotency key", (*once.values(), *again.values())),
    ]


def _people(node: Node, viewer: Viewer, first: str) -> tuple[list[Secret], str]:
    """Somebody signs in, takes another password, and has an authenticator from then on. Who that is stays
    signed in."""
    chosen, wrong = "Nymphensittich im Ahorn 0815", "Graupapagei in der Linde 0815"

    def sent(path: str, session: str = "", **form: str) -> tuple[int, str]:
        fields: dict[str, Any] = {"Content-Type": "application/x-www-form-urlencoded"}
        fields["Origin"] = f"http://127.0.0.1:{node.port}"
        if session:
            fields["Cookie"] = f"pystream={session}; id={QUERY}"
            secret = sign_in.from_text(session)
            assert secret is not None
            form["csrf"] = sign_in.csrf(secret)
        status, headers, _ = viewer.ask(
            path, "POST", urlencode(form).encode(), proxied=False, **fields
        )
        found = re.match(r"pystream=([\w-]{43})", headers.get("set-cookie", ""))
        return status, found[1] if found else ""

    def entered(password: str, code: str = "") -> tuple[int, str]:
        form = {"tenant": "acme", "name": PERSON, "password": password, "code": code}
        return sent("/console/sign-in", **form)

    assert entered(wrong)[0] == 403
    _, session = entered(first)
    assert sent("/console/password", session, old=first, new=chosen, again=chosen)[0] == 303
    now = int(time.time())
    with (
        Store.open(store_url(node)) as store,
        open_key_store(load(str(node.folder / "pystream.toml"), {}).keys, environment()) as keys,
    ):
        accounts = Accounts(store.people, keys)
        person = store.people.account(store.tenant("acme").id, PERSON).person
        secret = accounts.begin_totp(person, now)
        step = now // 30
        codes = accounts.finish_totp(person, sign_in.totp(secret, step), now)
    assert entered(chosen)[0] == 403
    status, session = entered(chosen, codes[0])
    assert status == 303 and viewer.ask(
        "/console/", proxied=False, Cookie=f"pystream={session}; id={QUERY}"
    )
    held = [
        Secret("password of a person", (chosen,)),
        Secret("wrong password of a person", (wrong,)),
        Secret("authenticator", of_authenticator(secret)),
        Secret("code for recovery", of_recovery(codes[1])),
        Secret("session of the console", of_session(session)),
    ]
    return held, session


def _sites(viewer: Viewer, token: str, portal: Portal) -> list[Secret]:
    """Viewers come in by a link, a token of the site's, one of a CDN, and one that the site is asked about;
    and some who may not."""

    def verifier(**body: str) -> Any:
        return asked(viewer, token, "/verifiers", "POST", body)["secret"]

    def entered(stream: str, **shown: str) -> int:
        body = json.dumps(shown).encode()
        return viewer.ask(f"/acme/{stream}/session", "POST", body)[0]

    linked = verifier(kind="link", stream="signed", name="7f")
    shared = verifier(kind="jwt", stream="external", name="hs")
    cdn = os.urandom(16).hex()
    salt = "salzig-4711-nymphensittich"
    verifier(kind="akamai", stream="cdn", name="ak", secret=cdn, salt=salt)
    link = links.sign(
        links.Link(
            tenant="acme",
            stream="signed",
            key="7f",
            expires=int(time.time()) + 3600,
            viewer=VIEWER,
        ),
        bytes.fromhex(linked),
    )
    assert entered("signed", link=link) == 200
    assert entered("signed", link=f"{link[:-1]}-") == 403
    viewer.ask(f"/acme/signed/?{link}", marked=False)
    assert viewer.ask(f"/acme/signed/master.m3u8?{link}", marked=False)[0] == 302
    jti = os.urandom(12).hex()
    jwt = test_variants.token(shared, "acme/external", "hs", sub=VIEWER, jti=jti)
    assert entered("external", token=jwt) == 200
    assert entered("external", token=jwt) == 403
    assert entered("external", token=test_variants.token("A" * 43, sub=VIEWER)) == 403
    # Akamai Auth Token 2.0: the salt is signed, and not shown.
    body = f"exp={int(time.time()) + 3600}~acl=/acme/cdn/*"
    mac = hmac.digest(bytes.fromhex(cdn), f"{body}~salt={salt}".encode(), "sha256").hex()
    akamai = f"{body}~hmac={mac}"
    shown: dict[str, Any] = {"hdnts": akamai, "Cookie": f"id={QUERY}; hdnts={akamai}"}
    assert entered("cdn", link=f"hdnts={akamai}") == 200
    assert viewer.ask("/acme/cdn/master.m3u8", "GET", None, **shown)[0] == 302
    assert viewer.ask(f"/acme/cdn/master.m3u8?hdnts={akamai}", marked=False)[0] == 302
    hook = verifier(kind="question", stream="asked", name="qu", url=portal.url("/may"))
    ticket, stranger = "eintrittskarte-4711-fuer-sittiche", "stranger: karte-0815-fuer-geier"
    portal.verdict = {"allow": True, "viewer": VIEWER}
    assert entered("asked", token=ticket) == 200
    assert entered("asked", token=stranger) == 403
    portal.verdict = None
    assert entered("asked", token=f"{ticket} noch einmal") == 503
    assert len(portal.asked) >= 3
    return [
        Secret("secret of questions", (hook, base64.b64decode(hook.removeprefix("whsec_")))),
        Secret("token that is asked about", (ticket, stranger)),
        Secret("secret of links", of_hex(linked)),
        Secret("link", of_signed(link)),
        Secret("secret of tokens", of_session(shared)),
        Secret("token of the site", (*of_signed(jwt), jti)),
        Secret("secret of the CDN", (*of_hex(cdn), salt)),
        Secret("token of the CDN", of_signed(akamai)),
    ]


def _answers(viewer: Viewer, path: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return viewer.ask(path)[0] == 200
    return False


def _admin(node: Node, name: str) -> bytes:
    port = int(node.folder.joinpath("admin-port").read_text())
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as one:
        one.request("GET", f"/{name}?{QUERY}", headers={"User-Agent": AGENT})
        return one.getresponse().read()


def store_url(node: Node) -> str:
    return load(str(node.folder / "pystream.toml"), {}).store.url


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("pg_ctlcluster"))]
)
def cluster(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The folder of a PostgreSQL of this test's own, None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    from tests import postgresql

    with postgresql.folder() as folder:
        postgresql.initialise(f"{folder}/data")
        with postgresql.serving(f"{folder}/data", folder):
            yield folder


def in_postgresql(cluster: str, secrets: list[Secret]) -> Iterator[tuple[str, str, str]]:
    """Traces in the files of a database, and in its write-ahead log."""
    from tests import postgresql

    postgresql.execute(postgresql.url(cluster), "CHECKPOINT")
    data = Path(cluster, "data")
    # That of template0 and template1 is nobody's.
    databases = sorted(data.glob("base/*"), key=lambda each: int(each.name))
    # By their numbers: what has a name is of the catalogue, and comes and goes.
    for path in (*sorted(databases[-1].glob("[0-9]*")), *sorted(data.glob("pg_wal/0*"))):
        # What has been made ready for later is zeros.
        found = set(traces.traces(path.read_bytes().rstrip(b"\0"), secrets))
        yield from ((f"{POSTGRESQL}{path.relative_to(data)}", *each) for each in sorted(found))


def in_dump(cluster: str, secrets: list[Secret]) -> Iterator[tuple[str, str, str]]:
    """Traces in what is in a database, in words."""
    from tests import postgresql

    dumped = postgresql.run("pg_dump", postgresql.url(cluster))
    yield from ((DUMP, *each) for each in sorted(set(traces.traces(dumped, secrets))))


@pytest.fixture
def portal() -> Iterator[Portal]:
    site = Portal()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def node(tmp_path: Path, cluster: str | None, portal: Portal) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        url = f"sqlite:///{tmp_path}/pystream.db"
        if cluster is not None:
            from tests import postgresql

            url = postgresql.url(cluster)
        admin = free_port()
        (tmp_path / "admin-port").write_text(str(admin))
        trusted = 'trusted_proxies = ["127.0.0.0/8"]'
        allowed = f'[outgoing]\nallow = ["127.0.0.0/8"]\nports = [{portal.server_port}]'
        logged = '[attendance]\nallow_unsynced = true\n[log]\nformat = "json"\naccess = true'
        made.settings(f"workers = 2\n{trusted}", f'{logged}\n{allowed}\n[store]\nurl = "{url}"\n')
        settings = tmp_path / "pystream.toml"
        settings.write_text(
            settings.read_text().replace("admin = []", f'admin = ["127.0.0.1:{admin}"]')
        )
        with Store.open(url) as store:
            settings_of = TenantSettings(notice=NOTICE, display=DISPLAY, attendance_purpose=VERSION)
            store.add_tenant("acme", settings_of, who="eva", now=0)
            film = StreamSettings(
                sources=(str(SAMPLE),),
                encryption="aes-128",
                segment_duration_ms=1000,
                pace=None,
                access="personal",
                download=True,
                title=TITLE,
            )
            store.add_stream("acme", "course", film, who="eva", now=0)
            for name, access in (
                *(("signed", "signed"), ("cdn", "signed")),
                *(("external", "external"), ("asked", "external")),
            ):
                opened = replace(film, access=access)
                store.add_stream("acme", name, opened, who="eva", now=0)
        made.start()
        made.hear("READY=1")
        yield made


def test_pain_75_nothing_that_was_written_holds_a_mark(
    node: Node, portal: Portal, cluster: str | None
) -> None:
    kept, erased, gone = generate(), generate(), generate()
    viewers = [
        Secret("address of a proxy's client", traces.address(PROXIED)),
        Secret("address of the connection", traces.address(LOOPBACK)),
        Secret("agent", (AGENT,)),
        Secret("query", (QUERY,)),
        Secret("wrong password", (WRONG,)),
    ]
    passwords = [
        Secret("password", traces.password(kept)),
        Secret("erased password", traces.password(erased)),
        Secret("password that was certified", traces.password(gone)),
    ]
    held = lived(node, portal, kept, erased, gone)
    named = [each for each in NAMES if each.name in ("label", "viewer")]
    secrets = viewers + passwords + held + named
    # With its write-ahead logs, and once more as it is after the end.
    found = set(in_files(node.folder, secrets))
    there = {each.name for each in node.folder.iterdir()}
    if cluster is None:
        assert {"pystream.db-wal", "keys.db", "log"} <= there
    else:
        assert {"keys.db", "log"} <= there and "pystream.db" not in there
        found |= {*in_postgresql(cluster, secrets), *in_dump(cluster, secrets)}
    leave(node, cluster)
    assert node.stop() == 0
    found |= set(in_files(node.folder, secrets))
    left = {each for each in found if each[0] not in OWN_VIEW}
    by_hash = {
        each
        for each in left
        if (each[0] in STORES or each[0].startswith(POSTGRESQL)) and each[1:] in HASHED
    }
    assert left - by_hash == set()
    # Nothing is looked for in vain: all of these are there by then.
    assert {secret for _, secret, _ in by_hash} == BY_HASH
    shown = {(file, secret) for file, secret, _ in found if file in OWN_VIEW}
    # The tenant sees what it handed out, and that is all that is in there; of what it erased, nothing
    # in what was made since.
    assert {secret for _, secret in shown} == {
        *("password", "erased password", "password by the API", "label", "viewer"),
        "password that was certified",
        *("token", "first password of a person"),
    }
    listed = {"said/list.csv", "said/list.json", "acme.zip"}
    # Paper has signs of a typeface of its own; the curve names nobody.
    told = {name for name in REPORTS if name.rpartition(".")[2] not in ("pdf", "svg")}
    certified = {*told, "first.json"}
    for secret, files in (
        ("password", {*listed, *certified, "after.csv", "kept.zip"}),
        ("password by the API", listed),
        ("label", listed),
        # In nothing that was made since it was erased.
        ("password that was certified", {*listed, *certified, "gone.zip"} - {"acme.zip"}),
    ):
        found_in = {file for file, each in shown if each == secret}
        assert found_in - {file for file in found_in if file.endswith(".pdf")} == files, secret
    assert {file for file, each in shown if each == "viewer"} == {"said/viewers.json", "acme.zip"}
    assert {file for file, each in shown if each == "token"} == {"said/token.txt"}
    assert ("acme.zip", "erased password") not in shown
    assert "request" in {json.loads(line)["event"] for line in node.said().splitlines()}
    with zipfile.ZipFile(node.folder / "acme.zip") as archive:
        assert kept in archive.read("data/password.jsonl").decode()


def test_who_is_slowed_refused_and_banned_is_written_nowhere_but_sealed(tmp_path: Path) -> None:
    """Neither on a disk nor in a log or a metric, nor as it is in the memory of all workers. Who is banned
    was part of an attack: sealed, there are those addresses and no others, until their time is over."""
    guard = """[guard]
exempt = []
others = "3 at once, 1 a minute"
errors = "3 at once, 1 a minute"
open_connections = 12
slowed = "2 at once, 1 a minute"
refused = "2 at once, 1 a minute"
[limits]
header_seconds = 0.05
[log]
format = "json"
access = true
"""
    secrets = [
        Secret("address of a proxy's client", traces.address(PROXIED)),
        Secret("address of the connection", traces.address(LOOPBACK)),
        Secret("address of a bystander", traces.address(BYSTANDER)),
    ]
    with node_in(tmp_path) as node:
        node.add_film()
        admin = free_port()
        node.settings('workers = 2\ntrusted_proxies = ["127.0.0.9"]', guard)
        node.start(PYSTREAM_SERVER_ADMIN=f"127.0.0.1:{admin}")
        node.hear("READY=1")

        def ask(source: str, path: str, **fields: str) -> int:
            connection = http.client.HTTPConnection(
                "127.0.0.1", node.port, timeout=PATIENCE, source_address=(source, 0)
            )
            with closing(connection), suppress(ConnectionResetError):
                connection.request("GET", path, headers=fields)
                return connection.getresponse().status
            return 0

        # One who begins a request and does not end it, and some who only stay.
        peers = [
            socket.create_connection(("127.0.0.1", node.port), PATIENCE, (LOOPBACK, 0))
            for _ in range(40)
        ]
        for peer in peers:
            with closing(peer), suppress(OSError):
                peer.sendall(b"GET / HT")
                peer.recv(1)
        assert ask(BYSTANDER, "/acme/film/") == 200 and ask(BYSTANDER, "/none") == 404
        found = [ask(LOOPBACK, "/acme/film/") for _ in range(12)]
        assert found[-1] == 0
        proxied = [ask("127.0.0.9", "/none", **{"X-Forwarded-For": PROXIED}) for _ in range(12)]
        assert {404, 503, 429} == set(proxied)
        until(lambda: node.events("source-banned") and node.events("source-refused"))
        with closing(http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE)) as asked:
            (tmp_path / "metrics").write_bytes(fetch(asked, "/metrics")[2])
        assert b'pystream_guarded_total{done="banned"} 0' not in (tmp_path / "metrics").read_bytes()
        shared = tmp_path / "shared"
        shared.mkdir()
        # The same of all workers.
        worker = min(node.processes()["worker"])
        for link, what in open_files(worker):
            if what.startswith("/memfd:pystream-gcra"):
                (shared / link.name).write_bytes(link.read_bytes().rstrip(b"\0"))
        assert list(shared.iterdir())
        assert set(in_files(tmp_path, secrets)) == set()
        until(lambda: recorded(node) == {LOOPBACK, PROXIED})
        assert node.stop() == 0
        assert set(in_files(tmp_path, secrets)) == set()
        assert recorded(node) == {LOOPBACK, PROXIED}
        assert recorded(node, days_later=8) == set()


def recorded(node: Node, days_later: int = 0) -> set[str]:
    """The sources that can be read with all keys, after as many days."""
    now = int(time.time()) + days_later * DAY_S
    settings = load(str(node.folder / "pystream.toml"), {})
    with (
        Store.open(settings.store.url, migrate=False) as store,
        open_key_store(settings.keys, {}, migrate=False) as keys,
    ):
        Retention(store.database, keys, settings.retention.rules).shred_incidents(now)
        incidents = IncidentStore(store.database, keys)
        return {
            event.source
            for each in incidents.listed()
            if each.shredded_at is None
            for event in incidents.events(each.id, who="eva", now=now)
        }


# A dump spells bytes.
HASHED = {(name, how) for name in BY_HASH for how in ("sha256 raw", "sha256")}


def leave(node: Node, cluster: str | None) -> None:
    """The end of the contract: of all that the tenant has named, nothing is left in what the node has, but
    in the archive that was made for the tenant, and in what commands have printed."""

    def named() -> set[tuple[str, str, str]]:
        found = {each for each in in_files(node.folder, NAMES) if each[0] not in OWN_VIEW}
        return found if cluster is None else {*found, *in_dump(cluster, NAMES)}

    before = {secret for file, secret, _ in named() if file in {*STORES, DUMP}}
    assert before == {"title", "notice", "display", "person"}
    words = "tenant delete acme --confirm acme --force -o proof.json".split()
    command(node, "delete.txt", *words)
    for _ in range(2):
        assert {each for each in named() if not each[0].startswith("said/")} == set()


# The search finds what is there

MARK = Secret("mark", ("Kanarienvogel-4711 gelb",))
PLAIN = MARK.forms[0].encode()  # type: ignore[union-attr]
LEAKS: dict[str, bytes] = {
    "utf-8": PLAIN,
    "upper case": PLAIN.upper(),
    "lower case": PLAIN.lower(),
    "utf-16": PLAIN.decode().encode("utf-16-le"),
    "utf-16, big-endian": PLAIN.decode().encode("utf-16-be"),
    "hex": PLAIN.hex().encode(),
    "hex, upper case": PLAIN.hex().upper().encode(),
    "percent": quote(PLAIN).encode(),
    "percent, all of it": "".join(f"%{byte:02X}" for byte in PLAIN).encode(),
    **{f"base64 {n}": base64.b64encode(b"x" * n + PLAIN + b"yz") for n in range(3)},
    **{f"base64url {n}": base64.urlsafe_b64encode(b"\xff" * n + PLAIN) for n in range(3)},
    **{
        f"{name}, {spelled}": spell(hashlib.new(name, PLAIN).digest())
        for name in ("md5", "sha1", "sha256", "blake2b", "blake2s")
        for spelled, spell in (
            ("raw", bytes),
            ("hex", lambda digest: digest.hex().encode()),
            ("base64", base64.b64encode),
        )
    },
    "blake2b, short": hashlib.blake2b(PLAIN, digest_size=16).digest(),
    "sha256 of lower case": hashlib.sha256(PLAIN.lower()).digest(),
}


def in_a_file(path: Path, leak: bytes) -> None:
    path.write_bytes(b"some log line " + leak + b"\n and another\n")


def in_gzip(path: Path, leak: bytes) -> None:
    path.write_bytes(gzip.compress(b"before " + leak + b" behind"))


def in_a_zip(path: Path, leak: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/x.json", b"before " + leak + b" behind")


def in_a_pdf(path: Path, leak: bytes) -> None:
    packed = base64.a85encode(zlib.compress(b"BT (" + leak + b") Tj ET"), adobe=True)[2:]
    path.write_bytes(
        b"%PDF-1.4\n1 0 obj\n<</Length 9>>\nstream\n" + packed + b"endstream\nendobj\n"
    )


def in_a_database(path: Path, leak: bytes) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x BLOB)")
        database.execute("INSERT INTO t VALUES (?)", (leak,))


def in_a_zip_of_zips(path: Path, leak: bytes) -> None:
    """As a workbook lies in an archive."""
    inner = path.with_suffix(".inner")
    in_a_zip(inner, leak)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.xlsx", inner.read_bytes())
    inner.unlink()


def in_a_line_of_json(path: Path, leak: bytes) -> None:
    """As a log of attendance is exported."""
    line = b'{"event":{"key":"' + leak + b'"},"salt":"00"}\n'
    path.write_bytes(b'{"checkpoint":"x"}\n' + line)


PLACES: list[Callable[[Path, bytes], None]] = [
    in_a_file,
    in_gzip,
    in_a_zip,
    in_a_zip_of_zips,
    in_a_line_of_json,
    in_a_pdf,
    in_a_database,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_found(
    tmp_path: Path, place: Callable[[Path, bytes], None], leak: str
) -> None:
    place(tmp_path / "planted", LEAKS[leak])
    assert {file for file, _, _ in in_files(tmp_path, [MARK])} == {"planted"}


KINDS: dict[str, Callable[[], Forms]] = {
    "token": lambda: of_token(sign_in.new_token()),
    "authenticator": lambda: of_authenticator(sign_in.new_totp_secret()),
    "recovery": lambda: of_recovery(sign_in.new_recovery_codes()[0]),
    "session": lambda: of_session(sign_in.as_text(sign_in.new_session())),
    "link's secret": lambda: of_hex(os.urandom(32).hex()),
    "link": lambda: of_signed(f"expires=1&key=7f&signature={sign_in.as_text(bytes(range(32)))}"),
    "JWT": lambda: of_signed(".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiI0NzExIn0", "c2ln" * 9])),
    "CDN token": lambda: of_signed(f"exp=1~acl=/acme/*~hmac={os.urandom(32).hex()}"),
    "password of a person": lambda: ("Nymphensittich im Ahorn 0815",),
    "idempotency key": lambda: ("wellensittich-einmal-4711",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_leak_of_each_kind_is_found(tmp_path: Path, kind: str) -> None:
    """Each form of it by itself, as it is and as programs like to write it."""
    forms = KINDS[kind]()
    secret = Secret(kind, forms)
    for form in forms:
        plain = form.encode() if isinstance(form, str) else form
        for leak in (
            *(plain, plain.hex().encode(), base64.b64encode(plain)),
            *(base64.urlsafe_b64encode(b"x" + plain), hashlib.sha256(plain).digest()),
            hashlib.sha256(plain).hexdigest().encode(),
        ):
            for place in (in_a_file, in_a_database):
                path = tmp_path / place.__name__
                place(path, leak)
                assert {file for file, _, _ in in_files(tmp_path, [secret])} == {path.name}
                path.unlink()


GARISH = Secret("garish", ('Kärntner "Gimpel" <4711> & Co.',))


@pytest.mark.parametrize("form", ["csv", "json", "xlsx", "pdf", "svg"])
def test_what_a_report_names_is_found_in_each_format(tmp_path: Path, form: str) -> None:
    """As label, title, and in words; also where it is escaped, or drawn."""
    (text,) = GARISH.forms
    report = test_reports.made(
        test_reports.ONE, title=text, passwords=test_reports.named(**{"1": ("000123", str(text))})
    )
    (tmp_path / f"report.{form}").write_bytes(_made(report, form, "de"))
    assert {file for file, _, _ in in_files(tmp_path, [GARISH])} == {f"report.{form}"}


@pytest.mark.parametrize("form", PAPER_FORMATS)
def test_what_a_paper_names_is_found_in_each_format(tmp_path: Path, form: str) -> None:
    (text,) = GARISH.forms
    tenant = test_statements.own(display=str(text))
    said = statement("notice", test_statements.facts(tenant=tenant), "de", form)
    (tmp_path / "notice").write_text(said)
    assert {file for file, _, _ in in_files(tmp_path, [GARISH])} == {"notice"}


def test_an_address_is_found_in_all_its_forms(tmp_path: Path) -> None:
    for number, text in enumerate((PROXIED, LOOPBACK)):
        secret = Secret("address", traces.address(text))
        packed = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
        forms = [text.encode(), packed.hex().encode(), str(int.from_bytes(packed)).encode()]
        for form in (*forms, hashlib.sha256(text.encode()).hexdigest().encode()):
            path = tmp_path / f"{number}"
            path.write_bytes(b"x" + form + b"x")
            assert {file for file, _, _ in in_files(tmp_path, [secret])} == {path.name}
            path.unlink()


def test_names_of_files_are_searched_and_what_holds_nothing_is_clean(tmp_path: Path) -> None:
    (tmp_path / "clean").write_bytes(os.urandom(100_000))
    assert list(in_files(tmp_path, [MARK])) == []
    (tmp_path / f"trace-of-{PLAIN.decode()}.log").touch()
    named = f"trace-of-{PLAIN.decode()}.log"
    assert {file for file, _, _ in in_files(tmp_path, [MARK])} == {named}
