"""A whole run with a marked viewer; then every byte that pystream wrote is searched for the marks.

The marks are an address (as a proxy says it, and a real one of the loopback network), a kind of browser, a
query and two passwords. None may be anywhere, in no encoding and no plain hash, except a password in
what the tenant's own people have asked for, which is listed here by name.

What is new and writes something belongs into `lived`, and what shows passwords to the tenant into
`OWN_VIEW`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pystream.acl.passwords import generate
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from tests.free_ports import free_port
from tests.oracles import traces
from tests.oracles.traces import Secret, in_files
from tests.test_serve import SAMPLE, Node, environment, node_in, until

pytestmark = pytest.mark.slow

PROXIED = "2001:db8:4bad:cafe:83:97:42:1d"
LOOPBACK = "127.83.97.42"
AGENT = "Kanarienvogel/4711 (Markierung; rara avis)"
QUERY = "merkmal-der-anfrage-0815-wellensittich"
WRONG = "falsches Passwort eines Wellensittichs"

# What shows passwords to those who handed them out.
OWN_VIEW = {"said/list.csv", "said/list.json", "cards.pdf", "acme.zip"}


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
        marked = path + ("&" if "?" in path else "?") + QUERY
        with closing(one):
            one.request(method, marked, body, fields | more)
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
    done = subprocess.run(
        [sys.executable, "-m", "pystream", *words],
        cwd=node.folder,
        env=environment(),
        input=given.encode(),
        capture_output=True,
    )
    assert done.returncode == code, done.stderr
    said = node.folder / "said"
    said.mkdir(exist_ok=True)
    (said / name).write_bytes(done.stdout)
    (said / f"{name}.err").write_bytes(done.stderr)
    return done.stdout


def lived(node: Node, kept: str, erased: str) -> None:
    """Everything that a node does, with the marks in it."""
    viewer = Viewer(node)
    passwords = "".join(f"{each}\n" for each in (kept, erased))
    command(node, "import.txt", *"password import acme/course --list -".split(), given=passwords)
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
    command(node, "changes.json", *"stream changes acme --json".split())
    command(node, "traffic.csv", *"traffic acme --format csv".split())
    command(node, "privacy.txt", *"tenant privacy acme --locale de".split())
    command(node, "plan.txt", "retention", "plan")
    command(node, "run.json", *"retention run --json".split())
    command(node, "proofs.txt", "retention", "proof")
    command(node, "status.json", *"keyring status --json".split())
    (node.folder / "vault").mkdir()
    command(node, "backup.txt", "keyring", "backup", "vault")
    command(node, "export.txt", *"tenant export acme -o acme.zip".split())


def _answers(viewer: Viewer, path: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return viewer.ask(path)[0] == 200
    return False


def _admin(node: Node, name: str) -> bytes:
    port = int(node.folder.joinpath("admin-port").read_text())
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as one:
        one.request("GET", f"/{name}?{QUERY}", headers={"User-Agent": AGENT})
        return one.getresponse().read()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        admin = free_port()
        (tmp_path / "admin-port").write_text(str(admin))
        trusted = 'trusted_proxies = ["127.0.0.0/8"]'
        made.settings(f"workers = 2\n{trusted}", '[log]\nformat = "json"\naccess = true')
        settings = tmp_path / "pystream.toml"
        settings.write_text(
            settings.read_text().replace("admin = []", f'admin = ["127.0.0.1:{admin}"]')
        )
        with Store.open(str(tmp_path / "pystream.db")) as store:
            store.add_tenant("acme", TenantSettings(notice="Hinweis"), who="eva", now=0)
            film = StreamSettings(
                sources=(str(SAMPLE),),
                encryption="aes-128",
                segment_duration_ms=1000,
                pace=None,
                access="personal",
                download=True,
            )
            store.add_stream("acme", "course", film, who="eva", now=0)
        made.start()
        made.hear("READY=1")
        yield made


def test_nothing_that_was_written_holds_a_mark(node: Node) -> None:
    kept, erased = generate(), generate()
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
    ]
    lived(node, kept, erased)
    # With its write-ahead logs, and once more as it is after the end.
    found = set(in_files(node.folder, viewers + passwords))
    assert {"pystream.db-wal", "keys.db", "log"} <= {each.name for each in node.folder.iterdir()}
    assert node.stop() == 0
    found |= set(in_files(node.folder, viewers + passwords))
    assert {each for each in found if each[0] not in OWN_VIEW} == set()
    shown = {(file, secret) for file, secret, _ in found}
    # The tenant sees what it handed out, and that is all that is in there; of what it erased, nothing
    # in what was made since.
    assert {secret for _, secret in shown} == {"password", "erased password"}
    assert {file for file, secret in shown if secret == "password"} >= OWN_VIEW - {"cards.pdf"}
    assert ("acme.zip", "erased password") not in shown
    assert "request" in {json.loads(line)["event"] for line in node.said().splitlines()}
    with zipfile.ZipFile(node.folder / "acme.zip") as archive:
        assert kept in archive.read("data/password.jsonl").decode()


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


PLACES: list[Callable[[Path, bytes], None]] = [
    in_a_file,
    in_gzip,
    in_a_zip,
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
    assert len(list(in_files(tmp_path, [MARK]))) == 1
