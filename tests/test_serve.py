"""`pystream serve`: a node of real processes, as systemd, an operator and viewers meet it."""

from __future__ import annotations

import ctypes
import errno
import http.client
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import pytest
import trio

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.errors import SettingsError
from pystream.server import descriptors, listeners
from pystream.server.check import check
from pystream.server.edge import lifetime
from pystream.server.gauges import Board, State
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.listeners import Place
from pystream.server.settings import Listen, Settings, Tls, load, parse
from pystream.server.workers import Supervisor
from tests import copies, program
from tests.databases import with_tables
from tests.free_ports import free_port
from tests.test_connections import certificate, over_tls, trusting
from tests.waiting import PATIENCE, open_files, state, until

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "pystream" / "cli" / "sample.mp4"
UNITS = ROOT / "pystream" / "server" / "systemd"
SERVE = [sys.executable, "-m", "pystream", "serve"]
# Where newcomers must not be turned away because the machine is busy with something else.
BUSY = "[overload]\nloop_lag_ms = 60_000\n"

pytestmark = pytest.mark.slow


def environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYSTREAM_")}
    return ours | more


class Node:
    """A node in a folder of its own, with one film, and the socket on which it tells systemd."""

    def __init__(self, folder: Path, command: Sequence[str] = SERVE) -> None:
        self.folder = folder
        self.command = [*command]
        self.port = free_port()
        self.log = folder / "log"
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.settimeout(PATIENCE)
        self.settings()

    def settings(self, server: str = "", rest: str = "") -> None:
        """Writes the settings' file anew."""
        listen = "" if "listen" in server else f'listen = ["127.0.0.1:{self.port}"]\n'
        workers = "" if "workers" in server else "workers = 1\n"
        # As many as any machine lets a process have.
        most = "" if "max_connections" in server else "max_connections = 500\n"
        text = f"[server]\nadmin = []\n{listen}{workers}{most}{server}\n{rest}"
        (self.folder / "pystream.toml").write_text(text)

    def add_film(self, segment_duration_ms: int = 1000) -> None:
        with Store.open(with_tables(str(self.folder / "pystream.db"))) as store:
            store.add_tenant("acme", TenantSettings(), who="test", now=0)
            film = StreamSettings(
                sources=(str(SAMPLE),),
                segment_duration_ms=segment_duration_ms,
                encryption="aes-128",
                pace=None,
            )
            store.add_stream("acme", "film", film, who="test", now=0)

    def start(self, *arguments: str, **more: str) -> None:
        with open(self.log, "ab") as log:
            self.process: subprocess.Popen[bytes] = copies.Popen(
                [*self.command, *arguments],
                cwd=self.folder,
                env=environment(NOTIFY_SOCKET=str(self.folder / "notify"), **more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def hear(self, wanted: str) -> list[str]:
        """What systemd is told, up to a message that has a line `wanted`."""
        heard: list[str] = []
        while not any(wanted in each.split("\n") for each in heard[-1:]):
            try:
                heard.append(self.told.recv(4096).decode())
            except TimeoutError:
                raise AssertionError(self.said()) from None
        return heard

    def said(self) -> str:
        return self.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was said of one kind; commands' own words aside, all of it are JSON lines, of which
        the last one may be under way."""
        lines = self.said().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line[0] == "{" and line[-1] == "\n"]
        return [each for each in found if each["event"] == name]

    def processes(self) -> dict[str, set[int]]:
        """The node's processes by their role."""
        pid = self.process.pid
        found: dict[str, set[int]] = {"worker": set(), "writer": set()}
        # A trial is a thread's, proc_pid_task(5).
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        for child in [each for thread in threads for each in _read(thread).split()]:
            with suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                role = words[-2].decode() if len(words) > 1 else ""
                found.setdefault(role, set()).add(int(child))
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            return fetch(connection, path)

    def ask_slowly(self, path: str, fields: str = "") -> socket.socket:
        """Whoever has asked, and for whom far less than a segment of a whole film fits on the way."""
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(PATIENCE)
        peer.connect(("127.0.0.1", self.port))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
        return peer

    def film(self, stream: str = "film") -> str:
        """The path of a segment, found as a player does."""
        _, headers, _ = self.get(f"/acme/{stream}/master.m3u8")
        path = headers["location"]
        for _ in range(2):
            _, _, text = self.get(path)
            path = urljoin(
                path, next(x for x in text.decode().splitlines() if x[:1] not in ("", "#"))
            )
        return path

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def fetch(connection: http.client.HTTPConnection, path: str) -> tuple[int, dict[str, str], bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, fields, answer.read()


def _read(thread: Path) -> str:
    """Nothing where it has ended."""
    with suppress(OSError):
        return thread.read_text()
    return ""


def executed(pid: int) -> bool:
    """Whether a new process is past its fork: PF_FORKNOEXEC (include/linux/sched.h) of `flags`, proc(5)."""
    flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    return not flags & 0x40


@contextmanager
def node_in(folder: Path, command: Sequence[str] = copies.SERVE) -> Iterator[Node]:
    """For tests of something else than how processes start."""
    node = Node(folder, command)
    with ended(node):
        yield node


@contextmanager
def ended(node: Node) -> Iterator[None]:
    """Nothing of it is left then."""
    try:
        yield
    finally:
        if hasattr(node, "process"):
            # There may be none left.
            with suppress(OSError):
                for pids in node.processes().values():
                    for pid in pids:
                        os.kill(pid, signal.SIGKILL)
            node.process.kill()
            node.process.wait()
        node.told.close()


@pytest.fixture
def command() -> Sequence[str]:
    """What tests of starts and ends are about: each process starts Python."""
    return SERVE


# Theirs is something else.
copied = pytest.mark.parametrize("command", [copies.SERVE], ids=["copied"])


@pytest.fixture
def node(tmp_path: Path, command: Sequence[str]) -> Iterator[Node]:
    with node_in(tmp_path, command) as made:
        yield made


class Busy(ABC):
    """Threads that do the same over and over, until they are told to stop."""

    def __init__(self, count: int) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self.work, args=(n,)) for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    @abstractmethod
    def work(self, number: int) -> None:
        """What thread `number` does."""


class Viewers(Busy):
    """They fetch a path, on connections that they keep."""

    def __init__(self, node: Node, path: str, count: int = 4) -> None:
        super().__init__(count)
        self.node = node
        self.path = path
        self.expected = len(node.get(path)[2])
        self.done = 0
        self.failures: list[str] = []

    def work(self, number: int) -> None:
        while not self.stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=PATIENCE)
            with closing(connection):
                with_close = False
                while not with_close and not self.stop.is_set():
                    try:
                        status, headers, body = fetch(connection, self.path)
                    except (OSError, http.client.HTTPException) as error:
                        self.failures.append(repr(error))
                        break
                    if (status, len(body)) != (200, self.expected):
                        self.failures.append(f"{status}, {len(body)} bytes")
                    with_close = headers.get("connection") == "close"
                    self.done += 1

    def go_on(self) -> None:
        """Until each has been served some more."""
        wanted = self.done + 30
        until(lambda: self.done >= wanted or self.failures)
        assert self.failures == []


# Start and end


def test_a_first_start_makes_what_is_missing_and_serves(node: Node) -> None:
    node.start()
    node.hear("READY=1")
    assert stat.S_IMODE((node.folder / "pystream.key").stat().st_mode) == 0o600
    assert node.get("/acme/film/master.m3u8")[0] == 404
    node.add_film()
    until(lambda: node.get("/acme/film/master.m3u8")[0] == 302)
    assert len(node.get(node.film())[2]) > 10_000
    assert node.stop() == 0
    assert any("STOPPING=1" in each for each in node.hear("STOPPING=1"))
    assert "Traceback" not in node.said()
    with pytest.raises(ConnectionRefusedError):
        node.get("/")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('[store]\nurl = "sqlite:////nowhere/at/all.db"', "/nowhere/at/all.db"),
        ('[keys]\nmaster_key_file = "bad.key"', "bad.key"),
        (
            '[tls]\nlisten = ["127.0.0.1:1"]\n[[tls.certificates]]\ncertificate = "x.pem"\nkey = "x"',
            "x.pem: No such file",
        ),
    ],
)
def test_what_cannot_start_says_so_in_a_line_and_ends(node: Node, settings: str, said: str) -> None:
    (node.folder / "bad.key").write_text("secret?")
    settings = settings.replace("127.0.0.1:1", f"127.0.0.1:{free_port()}")
    node.settings(rest=settings)
    node.start()
    assert node.process.wait(PATIENCE) == 1
    assert said in node.said() and "Traceback" not in node.said()
    assert "secret?" not in node.said()


def test_a_place_that_somebody_has_is_refused(node: Node) -> None:
    for shared in (0, 1):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            other.bind(("127.0.0.1", node.port))
            other.listen()
            node.start()
            assert node.process.wait(PATIENCE) == 1
    line = f"pystream serve: server.listen: 127.0.0.1:{node.port}: somebody listens there already\n"
    assert node.said() == line * 2


def test_an_end_is_graceful_and_a_second_signal_ends_at_once(node: Node) -> None:
    node.add_film(segment_duration_ms=3_600_000)
    node.start()
    node.hear("READY=1")
    path = node.film()
    whole = len(node.get(path)[2])
    with socket.socket() as slow, socket.socket() as stalled:
        for peer in (slow, stalled):
            # Far less than a segment fits on the way.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.settimeout(PATIENCE)
            peer.connect(("127.0.0.1", node.port))
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        first = slow.recv(1000)
        stalled.recv(1000)
        node.signal(signal.SIGTERM)
        node.hear("STOPPING=1")
        # It takes nobody more, and goes on for those who read.
        until(lambda: refused(node.port))
        with slow.makefile("rb") as file:
            got = first + file.read()
        assert len(got.partition(b"\r\n\r\n")[2]) == whole
        assert node.process.poll() is None
        node.signal(signal.SIGTERM)
        assert node.process.wait(PATIENCE) == 0
    assert "Traceback" not in node.said()


def test_an_end_is_as_patient_as_the_settings_say(node: Node) -> None:
    node.settings("grace_seconds = 0.5")
    node.add_film(segment_duration_ms=3_600_000)
    node.start()
    node.hear("READY=1")
    path = node.film()
    sent = sent_for(node, path)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.settimeout(PATIENCE)
        stalled.connect(("127.0.0.1", node.port))
        stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        stalled.recv(1000)
        node.signal(signal.SIGTERM)
        # systemd is asked for that, and for the time in which all is written down.
        assert "EXTEND_TIMEOUT_USEC=15500000" in node.hear("STOPPING=1")[-1].split("\n")
        assert node.process.wait(PATIENCE) == 0
    (cut,) = node.events("answers-cut")
    assert (cut["after_seconds"], cut["workers"]) == (0.5, 1)
    assert node.events("workers-killed") == []
    with Store.open(str(node.folder / "pystream.db")) as store:
        rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
    (row,) = [row for row in rows if row.kind.name == "SEGMENT"]
    assert (row.requests, row.aborted) == (2, 1) and row.bytes >= sent


@pytest.mark.needs("unshare")
def test_a_full_disk_under_the_store_stops_no_film_and_costs_no_count(node: Node) -> None:
    disk = node.folder / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=8m none {disk}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine allows no mount")
    node.add_film()
    node.settings(rest='[store]\nurl = "sqlite:///disk/pystream.db"\n')
    node.command = ["unshare", "-m", "sh", "-ec", f'{mount}; mv pystream.db disk; exec "$@"', "sh"]
    node.command += SERVE
    node.start()
    node.hear("READY=1")
    path = node.film()
    size, asked = len(node.get(path)[2]), 1
    # As the node sees it.
    disk = Path(f"/proc/{node.process.pid}/root{disk}")
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    # Some seconds' worth, in which it is tried again and again.
    while not node.events("traffic-not-stored") or asked < 2000:
        status, _, body = node.get(path)
        asked += 1
        assert (status, len(body)) == (200, size)
    (told,) = node.events("traffic-not-stored")
    assert "the disk is full" in told["error"]
    filler.unlink()

    inside = ["nsenter", "-m", f"--wd={node.folder}", "-t", str(node.process.pid)]

    def booked() -> Any:
        command = [*inside, sys.executable, "-m", "pystream", "traffic", "acme", "--json"]
        done = subprocess.run(command, capture_output=True, env=environment(), check=True)
        rows = json.loads(done.stdout)["rows"]
        return [(row["requests"], row["bytes"]) for row in rows if row["kind"] == "segment"]

    until(lambda: booked() and booked()[0][0] == asked)
    assert booked()[0][1] >= asked * size
    assert node.stop() == 0


def test_what_a_terminal_sends_to_all_is_the_supervisors_affair(node: Node) -> None:
    node.start()
    until(lambda: node.processes()["writer"])
    for pid in node.processes()["writer"]:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    node.hear("READY=1")
    for pids in node.processes().values():
        for pid in pids:
            os.kill(pid, signal.SIGINT)
    assert node.get("/")[0] == 404
    node.signal(signal.SIGINT)
    assert node.process.wait(PATIENCE) == 0
    events = [json.loads(line)["event"] for line in node.said().splitlines()]
    assert events == ["starting", "syns-observed", "serving", "stopping", "stopped"]


def refused(port: int) -> bool:
    with socket.socket() as peer:
        peer.settimeout(PATIENCE)
        return peer.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_nothing_outlives_a_supervisor_that_is_killed(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    pids = set().union(*node.processes().values())
    assert len(pids) == 3
    node.process.kill()
    until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("end", ["kill", "terminate all"])
def test_what_is_under_way_is_booked_whoever_ends_before_it(node: Node, end: str) -> None:
    node.add_film(segment_duration_ms=3_600_000)
    node.start()
    node.hear("READY=1")
    with node.ask_slowly(node.film(), "Connection: close\r\n") as slow:
        got = len(slow.recv(1000))
        pids = set().union(*node.processes().values())
        if end == "kill":
            node.process.kill()
        else:
            for pid in [node.process.pid, *pids]:
                os.kill(pid, signal.SIGTERM)
        until(lambda: refused(node.port))
        with slow.makefile("rb") as file:
            got += len(file.read())
    until(lambda: not any(alive(pid) for pid in pids))
    with Store.open(str(node.folder / "pystream.db")) as store:
        rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
    (row,) = [row for row in rows if row.kind.name == "SEGMENT"]
    assert (row.requests, row.bytes, row.aborted) == (1, got, 0)


def test_what_no_store_takes_at_the_end_is_told(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    sent_for(node, path)
    store = node.folder / "pystream.db"

    def booked() -> Any:
        with Store.open(str(store)) as opened:
            rows = opened.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
            return [row.requests for row in rows if row.kind.name == "SEGMENT"]

    until(lambda: booked() == [1])
    with closing(sqlite3.connect(store, PATIENCE)) as spoiled:
        spoiled.execute("ALTER TABLE traffic RENAME TO elsewhere")
    sent = sum(sent_for(node, path) for _ in range(3))
    assert node.stop() == 0
    (lost,) = node.events("traffic-lost")
    assert (lost["level"], lost["requests"], lost["bytes"]) == ("error", 3, sent)


@pytest.mark.parametrize("last_word", ["close", "half a close"])
def test_what_a_peer_takes_after_its_last_word_is_booked(node: Node, last_word: str) -> None:
    node.add_film(segment_duration_ms=6000)
    node.start()
    node.hear("READY=1")
    path = node.film()

    def booked() -> Any:
        with Store.open(str(node.folder / "pystream.db")) as store:
            rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
        return [(r.requests, r.bytes, r.aborted) for r in rows if r.kind.name == "SEGMENT"]

    with socket.socket() as slow:
        # Far less than a segment fits there.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE)
        slow.connect(("127.0.0.1", node.port))
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode()
        slow.sendall(request + b"\r\n")
        answers = slow.makefile("rb")
        got = b"".join(iter(answers.readline, b"\r\n"))
        length = int(re.findall(rb"Content-Length: (\d+)", got)[0])
        first = len(got) + 2 + len(answers.read(length))
        # Of who has read that much, the kernel takes the next one whole.
        slow.sendall(request + (b"Connection: close\r\n\r\n" if last_word == "close" else b"\r\n"))
        if last_word == "half a close":
            slow.shutdown(socket.SHUT_WR)
        begun = time.monotonic()
        # Longer than anybody is waited for who has all that was sent.
        until(lambda: booked() and booked()[0][0] == 2 and time.monotonic() > begun + 4)
        rest = len(answers.read())
        answers.close()
    until(lambda: booked() == [(2, first + rest, 0)])


def alive(pid: int) -> bool:
    return state(pid) not in ("", "Z")


def test_a_copy_is_what_a_start_gives(tmp_path: Path) -> None:
    """What other tests have in place of starts (`copies.py`)."""

    def processes(folder: Path, command: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        folder.mkdir()
        with node_in(folder, command) as node:
            node.settings("workers = 2", BUSY)
            node.start()
            node.hear("READY=1")
            supervisor = str(node.process.pid)
            for role in ("office", "worker", "writer"):
                for pid in node.processes()[role]:
                    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                    status = Path(f"/proc/{pid}/status").read_text()
                    kept = re.findall(r"^(?:Name|Umask|Sig(?:Blk|Ign|Cgt)):\t(.*)$", status, re.M)
                    parent = re.findall(r"^PPid:\t(.*)$", status, re.M) == [supervisor]
                    files = sorted({file for _, file in open_files(pid) if "/memfd" in file})
                    yield role, [*words[1:], *kept, str(parent), *files]
            assert node.stop() == 0

    copied = sorted(processes(tmp_path / "copies", copies.SERVE))
    assert copied == sorted(processes(tmp_path / "starts", SERVE))
    assert [role for role, _ in copied] == ["office", "worker", "worker", "writer"]


# Those who keep others waiting


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Enough for this process and, as they get what it has, for the node's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


HALVES = [
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nHost: x",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
]
# RFC 8446 5.1 and 4: of a ClientHello of 508 bytes, so many.
TLS_HALVES = [
    b"",
    b"\x16",
    b"\x16\x03\x01\x02\x00",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@copied
@pytest.mark.needs("openssl")
def test_a_thousand_half_requests_keep_nobody_waiting_and_end(
    node: Node, many_descriptors: None
) -> None:
    shown, tls_port = certificate(node.folder, "a.example"), free_port()
    tls = f'[tls]\nlisten = ["127.0.0.1:{tls_port}"]\n[[tls.certificates]]\n'
    tls += f'certificate = "{shown.certificate}"\nkey = "{shown.key}"\n'
    node.settings(
        "max_connections = 3000\n",
        rest=BUSY + tls + "[limits]\nheader_seconds = 3\nbody_seconds = 3\nidle_seconds = 3\n",
    )
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    processes = node.processes()
    (worker,) = processes["worker"]
    with ExitStack() as open_ones:
        with Viewers(node, path) as viewers:
            viewers.go_on()
            before = held(worker)
            peers = []
            for number in range(1000):
                port, halves = ((node.port, HALVES), (tls_port, TLS_HALVES))[number % 2]
                peer = socket.create_connection(("127.0.0.1", port), PATIENCE)
                peers.append(open_ones.enter_context(peer))
                peer.sendall(halves[number // 2 % len(halves)])
            viewers.go_on()
            for peer in peers:
                # Nothing was answered, and it is over.
                assert peer.recv(1) == b""
            viewers.go_on()
        assert viewers.failures == []
    assert held(worker) < before + 5_000_000
    assert node.processes() == processes
    events = [json.loads(line)["event"] for line in node.said().splitlines()]
    assert events == ["starting", "syns-observed", "serving"]


@copied
def test_what_is_said_in_requests_is_not_kept(node: Node) -> None:
    node.add_film()
    with Store.open(str(node.folder / "pystream.db")) as store:
        open_to_all = StreamSettings(sources=(str(SAMPLE),), origins=("*",))
        store.add_stream("acme", "open", open_to_all, who="test", now=0)
    node.settings(rest=BUSY)
    node.start()
    node.hear("READY=1")
    (worker,) = node.processes()["worker"]
    master = node.get("/acme/open/master.m3u8")[1]["location"]
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE)
    before = 0

    def ask(method: str, number: int, origin: str) -> str | None:
        names = ("Origin", "Accept-Encoding", "Accept-Language", "If-None-Match")
        said = dict.fromkeys(names, f"gzip, {number} {'x' * 800}")
        connection.request(method, master, headers=said | {"Origin": origin})
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300
        return answer.headers["Access-Control-Allow-Origin"]

    with closing(connection):
        for number in range(700):
            if number == 100:
                before = held(worker)
            for method in ("OPTIONS", "GET"):
                # RFC 6454 7.1: an origin is a scheme, a host and a port.
                site = f"https://{number}.example:8443"
                assert ask(method, number, site) == site
                assert ask(method, number, f"https://{number}.{'x' * 12_000}") is None
    assert held(worker) < before + 5_000_000


def held(pid: int) -> int:
    """Bytes of its own that a process holds: the node's tables are of a fixed size."""
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


# Workers


def test_a_killed_worker_loses_nobody_in_its_queue(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    whole = node.get(path)[2]
    (worker,) = node.processes()["worker"]
    os.kill(worker, signal.SIGSTOP)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    waiting = [socket.create_connection(("127.0.0.1", node.port), PATIENCE) for _ in range(50)]
    for peer in waiting:
        peer.sendall(request)
    os.kill(worker, signal.SIGKILL)
    for peer in waiting:
        with peer, peer.makefile("rb") as file:
            assert file.read().endswith(whole)
    (end,) = node.events("process-ended")
    assert (end["process"], end["number"], end["code"]) == ("worker", 0, -9)
    (successor,) = node.processes()["worker"]
    assert successor != worker


def test_a_worker_that_hangs_has_a_successor(node: Node) -> None:
    node.settings("workers = 2\n")
    node.add_film()
    node.start()
    node.hear("READY=1")
    before = node.processes()["worker"]
    hangs = min(before)
    os.kill(hangs, signal.SIGSTOP)
    until(lambda: hangs not in node.processes()["worker"] and len(node.processes()["worker"]) == 2)
    # The other one was never in doubt.
    assert before - {hangs} < node.processes()["worker"]
    (event,) = node.events("worker-hangs")
    (end,) = node.events("process-ended")
    assert end["number"] == event["number"] and end["code"] == -signal.SIGKILL


def test_a_worker_whose_sending_thread_hangs_has_a_successor(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    (worker,) = node.processes()["worker"]
    with stopped_thread(worker, "delivery"):
        # The loop goes on, and answers what it can alone.
        assert node.get("/acme/film/master.m3u8")[0] == 302
        # Nobody waits until it is dead, which it cannot be as long as its thread is held.
        until(lambda: node.events("worker-hangs"))
        until(lambda: node.processes()["worker"] - {worker})
        assert len(node.get(path)[2]) > 10_000
        assert not node.events("process-ended")
    (event,) = node.events("worker-hangs")
    assert event["where"] == "delivery"
    until(lambda: node.events("process-ended"))
    (end,) = node.events("process-ended")
    assert end["code"] == -signal.SIGKILL


@contextmanager
def stopped_thread(process: int, name: str) -> Iterator[None]:
    """Has one thread of a process stand still, as a disk does that does not answer (ptrace(2))."""
    seize, interrupt, detach, clones_too = 0x4206, 0x4207, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    tasks = Path(f"/proc/{process}/task").iterdir()
    (thread,) = (int(task.name) for task in tasks if (task / "comm").read_text() == f"{name}\n")
    if libc.ptrace(seize, thread, None, None) != 0:
        pytest.skip(f"no thread can be stopped here: {os.strerror(ctypes.get_errno())}")
    libc.ptrace(interrupt, thread, None, None)
    os.waitpid(thread, clones_too)
    try:
        yield
    finally:
        # Whoever watches a thread that was killed has to bury it, before its process is gone.
        libc.ptrace(detach, thread, None, None)
        with suppress(ChildProcessError):
            os.waitpid(thread, clones_too)


@pytest.mark.parametrize("scarce", ["descriptors", "seats"])
def test_a_successor_that_cannot_be_started_now_is_started_later(node: Node, scarce: str) -> None:
    node.settings("workers = 2\n")
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    before = node.processes()["worker"]
    with ExitStack() as plenty:
        if scarce == "descriptors":
            supervisor = node.process.pid
            limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
            plenty.callback(resource.prlimit, supervisor, resource.RLIMIT_NOFILE, limits)
            resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (8, limits[1]))
            # Nor is there one for settings, or for what systemd has to hear.
            node.signal(signal.SIGHUP)
            until(lambda: len(node.events("systemd-not-told")) == 2)
            assert node.events("settings-refused")
        else:
            board = Board(shared_memory(node, "gauges"))
            seats = [each for each in board.seats if each.state in (State.FREE, State.SERVING)]
            for seat in seats:
                # Of a worker that is none of this node's, so that none is freed when one dies.
                seat.pid, seat.state = 0, State.DRAINING
            for seat in seats:
                plenty.callback(setattr, seat, "state", State.FREE)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(node.events("process-not-started")) > 1)
    until(lambda: len(node.processes()["worker"]) == 2)
    assert len(node.get(path)[2]) > 10_000
    assert node.processes()["worker"] > before - {min(before)}
    assert node.stop() == 0
    assert "Traceback" not in node.said()


def shared_memory(node: Node, name: str) -> int:
    """A descriptor of what the node's processes share under a name. Raises `LookupError`."""
    for link in shared_memories(node, name):
        return os.open(link, os.O_RDWR)
    raise LookupError(f"the supervisor has no {name}")


def shared_memories(node: Node, name: str) -> Iterator[Path]:
    for link, what in open_files(node.process.pid):
        if f"memfd:pystream-{name}" in what:
            yield link


@copied
def test_the_writer_has_a_successor_and_nothing_is_counted_twice(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    sent = sum(sent_for(node, path) for _ in range(5))
    (writer,) = node.processes()["writer"]
    os.kill(writer, signal.SIGKILL)
    sent += sum(sent_for(node, path) for _ in range(5))
    until(lambda: node.processes()["writer"] - {writer})
    assert node.stop() == 0
    with Store.open(str(node.folder / "pystream.db")) as store:
        month = time.strftime("%Y-%m", time.gmtime())
        rows = store.traffic("acme", month)
        (row,) = [row for row in rows if row.kind.name == "SEGMENT"]
    assert (row.requests, row.bytes) == (10, sent)


def sent_for(node: Node, path: str) -> int:
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with peer.makefile("rb") as file:
            return len(file.read())


class Sums(Busy):
    """They fetch a path, and count each byte that they get."""

    def __init__(self, node: Node, path: str, count: int = 4) -> None:
        super().__init__(count)
        self.request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.port = node.port
        self.got = [0] * count
        self.by_tenth = Counter[int]()
        self._lock = threading.Lock()

    def work(self, number: int) -> None:
        while not self.stop.is_set():
            with (
                suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", self.port), PATIENCE) as peer,
            ):
                while not self.stop.is_set() and self._whole(peer, number):
                    pass
                # What is on its way is acknowledged: it counts.
                peer.shutdown(socket.SHUT_WR)
                while self._take(peer, number):
                    pass

    def _whole(self, peer: socket.socket, number: int) -> bool:
        peer.sendall(self.request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += (piece := self._take(peer, number))
            if not piece:
                return False
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(re.findall(rb"Content-Length: (\d+)", head)[0]) - len(body)
        while left:
            piece = self._take(peer, number)
            if not piece:
                return False
            left -= len(piece)
        return True

    def _take(self, peer: socket.socket, number: int) -> bytes:
        piece = peer.recv(65536)
        self.got[number] += len(piece)
        with self._lock:
            self.by_tenth[int(time.monotonic() * 10)] += len(piece)
        return piece

    def go_on(self) -> None:
        """Until as much again has come, in three times the second that may be lost."""
        wanted, tenths = 2 * sum(self.got) + 1_000_000, len(self.by_tenth) + 33
        until(lambda: sum(self.got) > wanted and len(self.by_tenth) >= tenths)

    def most_in_a_second(self) -> int:
        """Of all seconds, wherever one begins, to a tenth."""
        with self._lock:
            tenths = dict(self.by_tenth)
        return max(sum(tenths.get(first + n, 0) for n in range(11)) for first in tenths)


@copied
def test_what_viewers_got_is_booked_but_for_a_second_whoever_is_killed(node: Node) -> None:
    node.settings("workers = 2\n")
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    with Sums(node, path) as sums:
        sums.go_on()
        (writer,) = node.processes()["writer"]
        os.kill(writer, signal.SIGKILL)
        sums.go_on()
        os.kill(min(node.processes()["worker"]), signal.SIGKILL)
        sums.go_on()
    assert node.stop() == 0
    with Store.open(str(node.folder / "pystream.db")) as store:
        rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
    (booked,) = [row.bytes for row in rows if row.kind.name == "SEGMENT"]
    got = sum(sums.got)
    assert got - sums.most_in_a_second() <= booked <= got


@copied
@pytest.mark.needs("openssl")
def test_what_was_sent_over_tls_is_booked_whole_also_where_the_peer_closes_at_once(
    node: Node,
) -> None:
    """Who closes when it has the last byte, as curl does, answers TLS's last word with a reset."""
    own, port, count = certificate(node.folder, "a.example"), free_port(), 40
    shown = '[[tls.certificates]]\ncertificate = "a.example.pem"\nkey = "a.example.key"\n'
    node.settings("workers = 1", f'[tls]\nlisten = ["127.0.0.1:{port}"]\n{shown}')
    node.add_film()
    node.start()
    node.hear("READY=1")
    path, sent = node.film(), 0
    for _ in range(count):
        with over_tls(port, trusting(own), "a.example") as peer:
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(peer)
            answer.begin()
            # Read by its length, so what is behind it is never read.
            sent += len(answer.read())
    assert node.stop() == 0
    with Store.open(str(node.folder / "pystream.db")) as store:
        rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
    (row,) = [row for row in rows if row.kind.name == "SEGMENT"]
    assert (row.requests, row.aborted) == (count, 0)
    assert row.bytes > sent


@copied
def test_the_switch_is_flipped_on_a_node_that_runs_and_it_is_known_by_whom(node: Node) -> None:
    def pystream(*arguments: str) -> str:
        done = program.run(*arguments, cwd=node.folder, env=environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    node.add_film()
    node.start()
    node.hear("READY=1")
    before = node.processes()
    playing = node.film()
    place = "/acme/film/download.mp4"
    assert node.get(place)[0] == 404
    begin = int(time.time())
    pystream("stream", "set", "acme/film", "--download", "--by", "eva")
    until(lambda: node.get(place)[0] == 302)
    mine = node.get(place)[1]["location"]
    _, headers, body = node.get(mine)
    assert "attachment" in headers["content-disposition"]
    (node.folder / "download.mp4").write_bytes(body)
    assert json.loads(pystream("probe", "download.mp4", "--json"))
    assert node.get(playing)[0] == 200
    pystream("stream", "set", "acme/film", "--no-download", "--by", "adam")
    until(lambda: node.get(mine)[0] == 404)
    # As of what was never there.
    for gone in (mine, place):
        nothing = node.get(gone.replace("download", "nothing"))
        assert node.get(gone)[::2] == nothing[::2] and set(node.get(gone)[1]) == set(nothing[1])
    assert node.get(playing)[0] == 200
    assert node.processes() == before
    now, last = json.loads(pystream("audit", "acme", "--json"))["entries"][:2]
    for entry, who, on in ((now, "adam", False), (last, "eva", True)):
        assert (entry["who"], entry["stream"]) == (who, "film"), entry
        assert entry["values"]["download"] == {"old": not on, "new": on}
        at = datetime.fromisoformat(entry["at"]).timestamp()
        assert begin <= at <= time.time()


# Overload


class Stalled:
    """Viewers of a film whose one segment is longer than what fits on the way, of whom each has a copy of
    his own and reads nothing of it until he is told to."""

    def __init__(self, node: Node, count: int) -> None:
        self.paths = [node.film() for _ in range(count)]
        # As long as everybody's, whose bytes are his own.
        self.lengths = [len(node.get(path)[2]) for path in self.paths]
        self.peers = [node.ask_slowly(path, "Connection: close\r\n") for path in self.paths]

    def read_one(self) -> tuple[int, bytes]:
        """What one of them gets who goes on."""
        with self.peers.pop() as peer:
            answer = http.client.HTTPResponse(peer)
            answer.begin()
            return answer.status, answer.read()

    def leave(self) -> None:
        while self.peers:
            self.peers.pop().close()


def crowded(node: Node, overload: str) -> Stalled:
    node.settings(rest=f"[overload]\n{overload}\n")
    node.add_film(segment_duration_ms=3_600_000)
    with Store.open(str(node.folder / "pystream.db")) as store:
        one_s_own = {"encryption": "aes-128-per-viewer"}
        store.set_stream("acme", "film", one_s_own, who="test", now=0)
    node.start()
    node.hear("READY=1")
    return Stalled(node, 12)


def turned_away(node: Node, reason: str, stalled: Stalled) -> None:
    """Newcomers are, and who is inside gets all that he asks for."""
    until(lambda: node.get("/acme/film/master.m3u8")[0] == 503)
    status, headers, _ = node.get("/acme/film/master.m3u8")
    assert status == 503 and 5 <= int(headers["retry-after"]) <= 15
    (told,) = node.events("newcomers-refused")
    assert (told["reason"], told["answers"]) == (reason, 12)
    status, headers, body = node.get(stalled.paths[0])
    assert (status, len(body)) == (200, stalled.lengths[0])
    status, body = stalled.read_one()
    assert (status, len(body)) == (200, stalled.lengths[-1])


def test_too_much_on_the_way_keeps_newcomers_out_and_nobody_else(node: Node) -> None:
    stalled = crowded(node, "bytes_in_flight = 1_048_576\nloop_lag_ms = 60_000")
    turned_away(node, "bytes_in_flight", stalled)
    stalled.leave()
    until(lambda: node.get("/acme/film/master.m3u8")[0] == 302)


def test_a_late_loop_keeps_newcomers_out_and_nobody_else(node: Node) -> None:
    stalled = crowded(node, "loop_lag_ms = 300")
    (worker,) = node.processes()["worker"]
    until(lambda: node.get("/acme/film/master.m3u8")[0] == 302)
    os.kill(worker, signal.SIGSTOP)
    # That takes longer than a loop may be late.
    checked(node)
    os.kill(worker, signal.SIGCONT)
    turned_away(node, "loop_lag", stalled)
    # With as much to do as before.
    until(lambda: node.get("/acme/film/master.m3u8")[0] == 302)
    stalled.leave()


# Reload and replacement


@copied
@pytest.mark.needs("openssl")
def test_a_reload_takes_certificates_and_says_what_it_cannot_change(node: Node) -> None:
    first, second = certificate(node.folder, "a.example"), certificate(node.folder, "b.example")
    tls_port = free_port()
    tls = f'[tls]\nlisten = ["127.0.0.1:{tls_port}"]\nhsts_seconds = 60\n'
    shown = '[[tls.certificates]]\ncertificate = "{0}.pem"\nkey = "{0}.key"\n'
    node.settings("workers = 2", tls + shown.format("a.example"))
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    before = node.processes()

    # Tickets of one worker are good for the other: of 16 connections, both get some.
    context = trusting(first)
    with over_tls(tls_port, context, "a.example") as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        with peer.makefile("rb") as file:
            assert b"\r\nStrict-Transport-Security: max-age=60\r\n" in file.read()
        session = peer.session
    for _ in range(16):
        with over_tls(tls_port, context, "a.example", session=session) as peer:
            assert peer.session_reused

    with Viewers(node, path) as viewers:
        viewers.go_on()
        node.settings('workers = 3\npath_prefix = "/x"', tls + shown.format("b.example"))
        node.signal(signal.SIGHUP)
        heard = node.hear("READY=1")
        assert heard[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
        viewers.go_on()
    assert viewers.failures == []
    with over_tls(tls_port, trusting(second), "b.example"):
        pass
    unchanged = {each["key"] for each in node.events("setting-needs-sigusr2-or-restart")}
    assert unchanged == {"server.workers", "server.path_prefix"}
    assert node.processes() == before

    # What is wrong changes nothing, and is said.
    for wrong in ("[server]\nworkers = -1", '[tls]\nlisten = ["127.0.0.1:1"]'):
        (node.folder / "pystream.toml").write_text(wrong)
        node.signal(signal.SIGHUP)
        node.hear("READY=1")
    # Nor is a part of it taken: a worker that comes later has to start.
    for rest in (shown.format("missing"), shown.format("b.example") + '[geo]\ndatabase = "x.mmdb"'):
        node.settings("workers = 2", tls + rest)
        node.signal(signal.SIGHUP)
        node.hear("READY=1")
    assert len(node.events("settings-refused")) == 4
    assert {each["role"] for each in node.events("settings-refused")} == {"supervisor"}
    with over_tls(tls_port, trusting(second), "b.example"):
        pass

    # A worker that comes later has the settings that are in force.
    for worker in node.processes()["worker"]:
        os.kill(worker, signal.SIGKILL)
    with over_tls(tls_port, trusting(second), "b.example"):
        pass
    assert node.get(path)[0] == 200


def test_settings_are_told_whatever_their_length(node: Node) -> None:
    def settings(request_line: int, networks: int) -> None:
        proxies = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(networks)]
        limits = f"[limits]\nrequest_line = {request_line}"
        node.settings(f"workers = 2\ntrusted_proxies = {json.dumps(proxies)}", limits)

    def statuses() -> set[int]:
        return {node.get("/" + 1500 * "x")[0] for _ in range(16)}

    settings(1024, 1)
    node.add_film()
    node.start()
    node.hear("READY=1")
    before = node.processes()
    assert statuses() == {414}
    # A pipe holds 64 KB (pipe(7)).
    for networks in (12_000, 6_000):
        for request_line, status in ((2048, 404), (1024, 414)):
            settings(request_line, networks)
            node.signal(signal.SIGHUP)
            node.hear("READY=1")
            assert statuses() == {status}
    assert node.processes() == before and not node.events("process-not-told")
    # Whoever comes later has them, too.
    for worker in before["worker"]:
        os.kill(worker, signal.SIGKILL)
    assert statuses() == {414}


@copied
@pytest.mark.needs("openssl", "curl")
def test_curl_finds_the_way_to_https(node: Node) -> None:
    certificate(node.folder, "film.example")
    tls_port = free_port()
    node.settings(
        rest=f'[tls]\nlisten = ["127.0.0.1:{tls_port}"]\nredirect = true\nhsts_seconds = 60\n'
        '[[tls.certificates]]\ncertificate = "film.example.pem"\nkey = "film.example.key"\n'
    )
    node.add_film()
    node.start()
    node.hear("READY=1")
    command = [
        "curl",
        "-sSL",
        "--cacert",
        "film.example.pem",
        "-w",
        "\n%{num_redirects} %{url_effective}",
    ]
    for port in (node.port, tls_port):
        command += ["--resolve", f"film.example:{port}:127.0.0.1"]
    command += [f"http://film.example:{node.port}/acme/film/master.m3u8?a=%20b"]
    done = subprocess.run(command, cwd=node.folder, capture_output=True, text=True, check=True)
    playlist, _, end = done.stdout.rpartition("\n")
    assert playlist.startswith("#EXTM3U\n")
    # To HTTPS, and to a grant.
    assert re.fullmatch(rf"2 https://film\.example:{tls_port}/t/[^/]+/acme/film/master\.m3u8", end)


def test_the_program_is_replaced_and_no_viewer_notices(node: Node) -> None:
    node.settings("workers = 2")
    node.add_film()
    node.start()
    node.hear("READY=1")
    before = node.processes()
    with Viewers(node, node.film()) as viewers:
        viewers.go_on()
        # Another number of workers, and one more place.
        node.settings(f'listen = ["127.0.0.1:{node.port}", "unix:{node.folder}/http"]')
        node.signal(signal.SIGUSR2)
        assert node.hear("READY=1")[-1] == f"READY=1\nMAINPID={node.process.pid}"
        viewers.go_on()
        until(lambda: not any(alive(pid) for pids in before.values() for pid in pids))
        viewers.go_on()
        after = node.processes()
        assert len(after["worker"]) == 1 and not after["worker"] & before["worker"]
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{node.folder}/http")
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv(65536).startswith(b"HTTP/1.1 404 ")
        # And once more, by the program that took over.
        node.settings()
        node.signal(signal.SIGUSR2)
        node.hear("READY=1")
        assert not (node.folder / "http").exists()
        viewers.go_on()
    assert viewers.failures == []
    assert len(node.events("program-replaced")) == 2
    assert node.stop() == 0
    assert "Traceback" not in node.said()


def test_settings_that_come_while_the_program_is_replaced_are_read(node: Node) -> None:
    node.settings()
    node.start()
    node.hear("READY=1")
    node.signal(signal.SIGUSR2)
    until(lambda: node.events("replacing-program"))
    # Who asks for it meanwhile is told so.
    node.signal(signal.SIGUSR2)
    until(lambda: node.events("replacing-program-already"))

    def replaced() -> bool:
        node.signal(signal.SIGHUP)
        return bool(node.events("program-replaced"))

    until(replaced)
    until(lambda: node.events("settings-read"))
    assert node.events("settings-not-read") == []
    # It is still found by its name.
    assert Path(f"/proc/{node.process.pid}/comm").read_text() == "pystream\n"
    assert node.stop() == 0
    assert node.events("stopped")


def test_what_a_new_program_cannot_read_of_the_old_ones_memory_it_makes_anew(node: Node) -> None:
    node.settings("workers = 2")
    node.add_film()
    node.start()
    node.hear("READY=1")
    path = node.film()
    # As another version of the program would have written it. Pages 0 and 1: the lock, and what it is.
    places = {"meter": 4104, "gcra": 4104, "cache": 4104, "sessions": 4104, "gauges": 0}
    for name, at in places.items():
        for link in shared_memories(node, name):
            fd = os.open(link, os.O_RDWR)
            os.pwrite(fd, (99).to_bytes(8, sys.byteorder), at)
            os.close(fd)
    with Viewers(node, path) as viewers:
        viewers.go_on()
        node.signal(signal.SIGUSR2)
        node.hear("READY=1")
        viewers.go_on()
    assert viewers.failures == []
    assert len(node.events("program-replaced")) == 1
    # Said by the trial, and by the program itself.
    told = Counter(each["what"] for each in node.events("memory-made-anew"))
    names = ("meter", "gauges", "pace", "tries", "tries_of_people", "guard", "sessions", "cache")
    assert told == dict.fromkeys(names, 2)
    until(lambda: {len(pids) for pids in node.processes().values()} == {1, 2})
    assert node.stop() == 0
    assert "Traceback" not in node.said()
    # Nothing that was sent meanwhile is lost, whoever has counted it.
    with Store.open(str(node.folder / "pystream.db")) as store:
        rows = store.traffic("acme", time.strftime("%Y-%m", time.gmtime()))
    (row,) = [row for row in rows if row.kind.name == "SEGMENT"]
    assert row.requests == viewers.done + 1


def test_a_cache_and_a_unix_socket_are_as_the_new_settings_say(node: Node) -> None:
    def configure(segment_bytes: int, mode: int) -> None:
        listen = f'listen = ["127.0.0.1:{node.port}", "unix:{node.folder}/http"]'
        cache = f"[cache]\nsegment_bytes = {segment_bytes}"
        node.settings(f"{listen}\nsocket_mode = 0o{mode:o}", cache)

    def room() -> int:
        return _core.Cache(shared_memory(node, "cache"), 0).size

    def mode() -> int:
        return stat.S_IMODE((node.folder / "http").stat().st_mode)

    node.add_film()
    configure(4 << 20, 0o600)
    node.start()
    node.hear("READY=1")
    assert (room(), mode()) == (4 << 20, 0o600)
    with Viewers(node, node.film()) as viewers:
        viewers.go_on()
        configure(8 << 20, 0o660)
        node.signal(signal.SIGHUP)
        node.hear("READY=1")
        told = {each["key"] for each in node.events("setting-needs-sigusr2-or-restart")}
        assert told == {"cache.segment_bytes", "server.socket_mode"}
        assert (room(), mode()) == (4 << 20, 0o600)
        node.signal(signal.SIGUSR2)
        node.hear("READY=1")
        assert (room(), mode()) == (8 << 20, 0o660)
        viewers.go_on()
        configure(0, 0o660)
        node.signal(signal.SIGUSR2)
        node.hear("READY=1")
        with pytest.raises(LookupError):
            room()
        viewers.go_on()
    assert viewers.failures == []
    assert node.stop() == 0


def test_a_program_that_does_not_start_replaces_nothing(node: Node) -> None:
    node.add_film()
    node.start()
    node.hear("READY=1")
    before = node.processes()
    with Viewers(node, node.film()) as viewers:
        for wrong in (
            "[server]\nworkers = -1",
            f'[server]\nlisten = ["127.0.0.1:{node.port}"]\n[keys]\nmaster_key_file = "/nowhere/key"',
            f'[server]\nlisten = ["unix:{node.log}"]',
        ):
            (node.folder / "pystream.toml").write_text(wrong)
            node.signal(signal.SIGUSR2)
            node.hear("READY=1")
            viewers.go_on()
    assert viewers.failures == []
    told = node.events("program-not-replaced")
    assert [each["exit_code"] for each in told] == [1, 1, 1]
    # One of its own processes has said it, as an event; the others it has said itself.
    assert "workers" in told[0]["error"] and node.log.name in told[2]["error"]
    events = [json.loads(line) for line in node.said().splitlines()]
    assert "error" not in told[1] and "/nowhere/key" in events[events.index(told[1]) - 1]["error"]
    assert node.processes()["worker"] == before["worker"]
    assert node.stop() == 0


def test_a_new_program_that_is_killed_is_told_with_the_signal(node: Node) -> None:
    node.start()
    node.hear("READY=1")
    node.signal(signal.SIGUSR2)
    until(lambda: node.processes().get("serve"))
    (trial,) = node.processes()["serve"]
    os.kill(trial, signal.SIGKILL)
    node.hear("READY=1")
    (event,) = node.events("program-not-replaced")
    assert event["signal"] == "SIGKILL" and "exit_code" not in event
    assert node.stop() == 0


_TALKS = """
import os
os.write(2, b'{"event": "begins"}\\n')
os.write(2, b"not \\xff text\\n")
try:
    for _ in range(3000):
        os.write(2, b'{"event": "goes-on", "more": "' + b"x" * 990 + b'"}\\n')
except OSError:
    pass
os._exit(3)
"""


def test_a_new_program_that_talks_without_end_is_heard_for_a_while(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever it says, and where nobody hears it, the old one goes on."""
    supervisor = Supervisor(Settings(), None, [sys.executable, "-S", "-c", _TALKS])
    fault = trio.run(supervisor._try_new_program)
    assert fault["exit_code"] == 3 and fault["error"].startswith(
        "not \N{REPLACEMENT CHARACTER} text"
    )
    said = capfd.readouterr().err
    assert said.startswith('{"event": "begins"}\n{"event": "goes-on"') and len(said) <= 1 << 20
    # A full disk.
    with suppress(OSError), open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert trio.run(supervisor._try_new_program) == fault
        monkeypatch.undo()


def test_a_stop_meanwhile_is_no_fault_of_the_new_program(node: Node) -> None:
    node.add_film(segment_duration_ms=3_600_000)
    node.start()
    node.hear("READY=1")
    # So the node does not end before the trial does.
    with node.ask_slowly(node.film()) as slow:
        slow.recv(1000)
        node.signal(signal.SIGUSR2)
        until(lambda: node.processes().get("serve"))
        (trial,) = node.processes()["serve"]
        # Until then it is the node's own program, which waits for it.
        until(lambda: executed(trial))
        os.kill(trial, signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        node.hear("STOPPING=1")
        os.kill(trial, signal.SIGKILL)
        until(lambda: node.events("program-not-replaced"))
    assert node.process.wait(PATIENCE) == 0
    (event,) = node.events("program-not-replaced")
    assert (event["level"], event["why"]) == ("warning", "the node stops")


# Places


@copied
def test_unix_sockets(node: Node) -> None:
    path = node.folder / "http"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    node.settings(f'listen = ["unix:{path}"]\nsocket_mode = 0o600')
    node.start()
    node.hear("READY=1")
    for _ in range(2):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv(65536).startswith(b"HTTP/1.1 404 ")
        # What a careless script has removed, the next program has again.
        path.unlink()
        node.signal(signal.SIGUSR2)
        node.hear("READY=1")
    second = subprocess.run(
        SERVE, cwd=node.folder, env=environment(), capture_output=True, text=True
    )
    assert (second.returncode, "somebody listens there already" in second.stderr) == (1, True)
    assert node.stop() == 0
    assert not path.exists()
    path.write_text("precious")
    third = subprocess.run(
        SERVE, cwd=node.folder, env=environment(), capture_output=True, text=True
    )
    assert (third.returncode, "it is no socket" in third.stderr) == (1, True)
    assert path.read_text() == "precious"


@copied
def test_every_address_of_the_machine(node: Node) -> None:
    node.settings(f'listen = ["*:{node.port}"]')
    node.start()
    node.hear("READY=1")
    hosts = ["127.0.0.1"]
    with suppress(OSError):
        free_port(socket.AF_INET6)
        hosts.append("::1")
    for host in hosts:
        with closing(http.client.HTTPConnection(host, node.port, timeout=PATIENCE)) as connection:
            assert fetch(connection, "/")[0] == 404


@pytest.mark.parametrize("sockets", [(7,), (7, 8), (7, 8, 9, 10)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_socket_has_a_worker_and_every_worker_a_socket(
    sockets: tuple[int, ...], count: int
) -> None:
    place = Place("http", "", sockets)
    shares = [place.share(n, count) for n in range(count)]
    assert all(shares) and set().union(*shares) == set(sockets)


# Behind a proxy


@copied
@pytest.mark.needs("nginx")
def test_nginx_as_the_example_has_it(node: Node) -> None:
    port, here = free_port(), node.folder
    example = (UNITS.parent / "nginx.example.conf").read_text()
    text = example.replace("unix:/run/pystream.sock", f"unix:{here}/http")
    temporary = "".join(
        f"{name}_temp_path {here}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (here / "nginx.conf").write_text(
        f"{user}daemon off; pid {here}/nginx.pid; events {{}}\n"
        f"http {{ access_log {here}/access.log; error_log {here}/error.log; {temporary}"
        f" server {{ listen 127.0.0.1:{port};\n{text} }} }}\n"
    )
    # What the example says of the settings.
    wanted = re.search(r"\[server\]\n((?:# .*\n)+)", text)
    assert wanted is not None
    node.settings(re.sub(r"^#", "", wanted[1], flags=re.M))
    node.add_film()
    node.start("--workers", "1")
    node.hear("READY=1")
    proxy = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(here / "nginx.conf")])
    try:
        until(lambda: not refused(port))
        node.port = port
        # Nobody is believed who says where he comes from; nginx knows.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with closing(connection):
            connection.request("GET", "/video/acme/film/", headers={"Forwarded": "for=nonsense"})
            answer = connection.getresponse()
            page = answer.read().decode()
            assert answer.status == 200
            for asset in re.findall(r'"(\.\./[^"]+)"', page):
                assert fetch(connection, urljoin("/video/acme/film/", asset))[0] == 200
        _, headers, _ = node.get("/video/acme/film/master.m3u8")
        path = headers["location"]
        assert path.startswith("/video/t/")
        for _ in range(2):
            lines = node.get(path)[2].decode().splitlines()
            path = urljoin(path, next(line for line in lines if line[:1] not in ("", "#")))
        status, headers, body = node.get(path)
        assert status == 200 and len(body) == int(headers["content-length"]) > 50_000
        status, _, body = node.get("/.well-known/pystream-privacy.json?tenant=acme")
        assert status == 200 and json.loads(body)["format"] == "pystream-privacy 1"
        assert node.stop() == 0
        for gone in (path, "/.well-known/pystream-privacy.json"):
            assert node.get(gone)[0] == 502
    finally:
        proxy.terminate()
        proxy.wait()
    # Neither who was there, nor what lets in.
    kept = [(here / name).read_text() for name in ("access.log", "error.log")]
    assert kept[0] == "" and path.split("/")[3] not in kept[1] and "client:" not in kept[1]


# systemd


@pytest.mark.needs("systemd-socket-activate")
def test_systemd_opens_the_sockets(node: Node) -> None:
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{node.port}", "--fdname=http"]
    # Everything else is taken away from what it starts.
    variables = [f"-ENOTIFY_SOCKET={node.folder}/notify"]
    variables += [f"-E{name}" for name in ("PATH", "PYTHONPATH") if name in os.environ]
    node.settings(f'listen = ["127.0.0.1:{free_port()}"]')
    with open(node.log, "ab") as log:
        node.process = subprocess.Popen(
            [*command, *variables, *SERVE],
            cwd=node.folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )
    elsewhere = (node.folder / "pystream.toml").read_text()
    node.settings()
    place = f"note: server.listen: 127.0.0.1:{node.port}"
    until(lambda: f"{place}: systemd has it, process {node.process.pid}" in checked(node)[2])
    assert checked(node)[:2] == (0, [])
    (node.folder / "pystream.toml").write_text(elsewhere)
    # The connection that wakes it is the first that it serves.
    assert node.get("/")[0] == 404
    node.hear("READY=1")
    (serving,) = node.events("serving")
    assert serving["at"] == [f"http 127.0.0.1:{node.port}"]
    node.signal(signal.SIGUSR2)
    node.hear("READY=1")
    assert len(node.events("program-replaced")) == 1
    assert node.get("/")[0] == 404
    assert node.stop() == 0


@pytest.mark.needs("systemd-socket-activate")
def test_systemd_opens_a_socket_for_a_proxy_on_the_same_machine(node: Node) -> None:
    place = str(node.folder / "http")
    variables = [f"-ENOTIFY_SOCKET={node.folder}/notify"]
    variables += [f"-E{name}" for name in ("PATH", "PYTHONPATH") if name in os.environ]
    # Neither is opened what the settings name of this kind, nor is anybody else believed.
    node.settings('listen = ["unix:/nowhere/http"]\ntrusted_proxies = ["unix"]')
    with open(node.log, "ab") as log:
        node.process = subprocess.Popen(
            ["systemd-socket-activate", f"--listen={place}", "--fdname=http", *variables, *SERVE],
            cwd=node.folder,
            env=environment(),
            stdout=log,
            stderr=log,
        )

    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as peer, suppress(OSError):
            return peer.connect_ex(place) == 0
        return False

    until(listens)

    def status(field: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(place)
            peer.settimeout(PATIENCE)
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
            return peer.recv(12)

    assert status(b"X-Forwarded-For: 192.0.2.1") == b"HTTP/1.1 404"
    # It is looked at.
    assert status(b"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2") == b"HTTP/1.1 400"
    assert node.stop() == 0


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("web", "a socket is called 'web'; FileDescriptorName= has to be http, https or admin"),
        ("", "a socket is called ''"),
        ("http", "the socket 'http' is no listening stream"),
    ],
)
def test_sockets_that_nobody_can_use_are_refused(node: Node, names: str, said: str) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        if names != "http":
            given.listen()
        # The number of the process has to be known to it before it starts: as execve keeps it.
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
            "os.execv(sys.executable, [sys.executable, '-m', 'pystream', 'serve'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(given.fileno())],
            cwd=node.folder,
            env=environment(LISTEN_FDS="1", LISTEN_FDNAMES=names),
            pass_fds=(given.fileno(),),
            capture_output=True,
            text=True,
        )
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_the_watchdog_hears_from_it(node: Node) -> None:
    node.start(WATCHDOG_USEC="200000")
    node.hear("READY=1")
    for _ in range(3):
        node.hear("WATCHDOG=1")


def unit(name: str, folder: Path) -> Path:
    """A unit, with a program that this machine has."""
    text = re.sub(
        r"^(ExecStart|ExecStopPost)=\S+",
        rf"\1={sys.executable}",
        (UNITS / name).read_text(),
        flags=re.M,
    )
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    names = sorted(path.name for path in UNITS.iterdir())
    assert names == [
        *("pystream-guard.service", "pystream-https.socket"),
        *("pystream.service", "pystream.socket"),
    ]
    units = [str(unit(name, tmp_path)) for name in names]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "pystream" in line]
    assert (done.returncode, ours) == (0, [])
    # With what its comment says for nginx.
    text = (UNITS / "pystream.socket").read_text()
    for setting in ("ListenStream=/run/pystream.sock", "SocketUser=root", "SocketMode=0600"):
        assert setting.partition("=")[0] in text.partition("[Unit]")[0]
        text = text.replace("ListenStream=80\n", "") + f"[Socket]\n{setting}\n"
    (tmp_path / "pystream.socket").write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", units[3]], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "pystream" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.needs("systemd-analyze")
def test_the_service_is_confined(tmp_path: Path) -> None:
    service = unit("pystream.service", tmp_path)
    # 1.7 of 10: what remains is that it talks to the network, and asks what the clock is worth. That it may
    # not set it is another line of the judge's, and holds.
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=17", str(service)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"✓ CapabilityBoundingSet=~CAP_SYS_TIME ", done.stdout)


@pytest.mark.needs("systemd-analyze")
def test_the_helper_is_confined_more(tmp_path: Path) -> None:
    service = unit("pystream-guard.service", tmp_path)
    # 1.1 of 10: what remains is the one capability, netlink, and the unix socket.
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=11", str(service)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    bounding = re.findall(r"✗ CapabilityBoundingSet=~(\S+)", done.stdout)
    assert bounding == ["CAP_NET_ADMIN"]


@pytest.mark.needs("systemd-analyze")
def test_the_service_may_ask_the_kernel_whether_its_clock_is_right(tmp_path: Path) -> None:
    """systemd.exec(5): each further line allows more, or with `~` less; a set is named by its `@`. Without
    these calls no clock is ever right, and no attendance recorded."""

    def calls(names: Sequence[str]) -> set[str]:
        sets = [name for name in names if name.startswith("@")]
        found = {name for name in names if name not in sets}
        for name in sets:
            command = ["systemd-analyze", "syscall-filter", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            lines = [line.strip() for line in done.stdout.splitlines()[1:]]
            found |= calls([line for line in lines if line and not line.startswith("#")])
        return found

    text, allowed = (UNITS / "pystream.service").read_text(), set[str]()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
        named = calls(line.removeprefix("~").split())
        allowed = allowed - named if line.startswith("~") else allowed | named
    assert {"adjtimex", "clock_adjtime"} <= allowed and "clock_settime" not in allowed
    assert "ProtectClock=yes" not in text.splitlines()


# --check


def checked(node: Node, *arguments: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [*SERVE, "--check", *arguments],
        cwd=node.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.splitlines(), done.stdout


def test_a_check_for_programs_has_one_form_whatever_is_wrong(node: Node) -> None:
    (node.folder / "pystream.toml").write_text("[server]\nworkers = -1\nwokers = 1\n")
    code, lines, text = checked(node, "--json")
    found = json.loads(text)
    assert (code, lines, found["notes"]) == (1, [], [])
    assert [each.split(": ")[1] for each in found["wrong"]] == ["server.workers", "server.wokers"]
    code, lines, text = checked(node, "--json", "--config", "missing.toml")
    (wrong,) = json.loads(text)["wrong"]
    assert (code, lines) == (1, []) and wrong.startswith("missing.toml: ")


@pytest.mark.needs("openssl")
def test_a_check_says_when_certificates_expire(tmp_path: Path) -> None:
    shown = certificate(tmp_path, "a.example")
    command = ["openssl", "x509", "-noout", "-dates", "-in", shown.certificate]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    dates = [line.partition("=")[2] for line in told.splitlines()]
    begins, ends = (
        datetime.strptime(date, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC) for date in dates
    )
    settings = Settings(tls=Tls(certificates=(shown,)))

    def said(now: datetime) -> tuple[list[str], list[str]]:
        found = check(settings, {}, now)
        return tuple(  # type: ignore[return-value]
            [line for line in lines if line.startswith(f"tls.certificates: {shown.certificate}")]
            for lines in (found.wrong, found.notes)
        )

    second, day = timedelta(seconds=1), timedelta(days=1)
    for good in (begins, begins + 8 * day, ends - 21 * day):
        assert said(good) == ([], [])
    ((wrong,), notes) = said(begins - second)
    assert f"does not hold before {begins:%Y-%m-%d %H:%M} UTC" in wrong and not notes
    for soon in (ends - 21 * day + second, ends):
        (wrongs, (note,)) = said(soon)
        assert f"expires on {ends:%Y-%m-%d %H:%M} UTC" in note and not wrongs
    ((wrong,), notes) = said(ends + second)
    assert "has expired" in wrong and not notes


@pytest.mark.parametrize(
    ("der", "year"),
    [
        (b"\x17\r491231235959Z", 2049),
        (b"\x17\r500101000000Z", 1950),
        (b"\x18\x0f20500101000000Z", 2050),
    ],
)
def test_years_of_certificates_are_those_of_the_standard(der: bytes, year: int) -> None:
    validity = bytes([0x30, 2 * len(der)]) + 2 * der
    signed = b"\x02\x01\x01" + b"\x30\x00" * 2 + validity
    whole = bytes([0x30, len(signed)]) + signed
    body = b64encode(bytes([0x30, len(whole)]) + whole)
    pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"
    assert [each.year for each in lifetime(pem)] == [year, year]


@pytest.mark.needs("openssl")
def test_a_check_says_all_that_is_wrong(node: Node, tmp_path: Path) -> None:
    certificate(tmp_path, "a.example")
    certificate(tmp_path, "b.example")
    node.add_film()
    with Store.open(str(tmp_path / "pystream.db")) as store:
        gone = StreamSettings(sources=("/nowhere/film.mp4",))
        store.add_stream("acme", "gone", gone, who="test", now=0)
    with closing(sqlite3.connect(tmp_path / "pystream.db")) as store_by_hand, store_by_hand:
        store_by_hand.execute("UPDATE stream SET pace = 0.5 WHERE name = 'gone'")
    (tmp_path / "pystream.key").write_text("ab" * 32)
    (tmp_path / "pystream.key").chmod(0o644)
    (tmp_path / "file").touch()
    pairs = (("a", "a"), ("a", "b"), ("missing", "a"))
    tls = "".join(
        f'[[tls.certificates]]\ncertificate = "{one}.example.pem"\nkey = "{two}.example.key"\n'
        for one, two in pairs
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node.settings(
            f'listen = ["127.0.0.1:{port}", "unix:{tmp_path}/file"]',
            f'{tls}[geo]\ndatabase = "missing.mmdb"\n',
        )
        code, lines, _ = checked(node)
        assert json.loads(checked(node, "--json")[2])["wrong"] == [
            line.removeprefix("pystream serve: ") for line in lines
        ]
    comm = re.escape(Path("/proc/self/comm").read_text().strip())
    wanted = [
        r"tls.certificates: .*b\.example\.key: the private key is not that of .*a\.example\.pem",
        r"tls.certificates: .*missing\.example\.pem: No such file",
        r"geo.database: .*/missing\.mmdb: No such file",
        r"keys.master_key_file: .*pystream\.key: others than its owner .* chmod 600",
        r"acme/gone: pace: from 1 to 1000.*",
        rf"server.listen: 127\.0\.0\.1:{port}: {comm} listens there already, process {os.getpid()}",
        r"server.listen: unix:.*/file: there is a file, and it is no socket",
    ]
    assert code == 1 and len(lines) == len(wanted)
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.match(f"pystream serve: {pattern}", line), line


def test_a_check_looks_at_films_and_none_keeps_the_others_from_being_shown(
    node: Node, tmp_path: Path
) -> None:
    node.add_film()
    (tmp_path / "text.mp4").write_text("no film at all\n" * 9)
    os.mkfifo(tmp_path / "pipe.mp4")
    media = ROOT / "tests" / "media"
    films: dict[str, tuple[str | Path, ...]] = {
        "folder": (tmp_path,),
        "gone": ("/nowhere/film.mp4",),
        "ladder": (media / "ladder_90.mp4", media / "misaligned.mp4"),
        "pipe": (tmp_path / "pipe.mp4",),
        "text": (tmp_path / "text.mp4",),
    }
    with Store.open(str(tmp_path / "pystream.db")) as store:
        for name, sources in films.items():
            film = StreamSettings(sources=tuple(map(str, sources)), segment_duration_ms=2000)
            store.add_stream("acme", name, film, who="test", now=0)
        store.set_stream("acme", "film", {"countries": ("DE",)}, who="test", now=0)
    code, lines, said = checked(node)
    assert "note: acme/film is bound to countries, and geo.database names nothing" in said
    with Store.open(str(tmp_path / "pystream.db")) as store:
        store.set_stream("acme", "film", {"countries": ()}, who="test", now=0)
    code, lines, said = checked(node)
    assert (code, lines) == (0, [])
    assert said.endswith("\nNothing speaks against serving, but 5 films cannot be shown.\n")
    for wanted in (
        r"acme/folder cannot be shown: .*: this is no regular file",
        r"acme/gone cannot be shown: /nowhere/film\.mp4: No such file or directory",
        r"acme/ladder cannot be shown: .*key frame.*",
        r"acme/pipe cannot be shown: .*: this is no regular file",
        rf"acme/text cannot be shown: {tmp_path}/text\.mp4: .*",
    ):
        assert re.search(f"^note: {wanted}$", said, re.M), said
    assert "acme/film " not in said
    settings = load(str(tmp_path / "pystream.toml"), {})
    (note,) = [each for each in check(settings, {}, film_seconds=0).notes if "acme/" in each]
    assert note == ("after 0 s of looking at films, 6 of 6 were not looked at, from acme/film on")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://9.9.9.9:444/", "outgoing.ports has to have port 444, or the URL another"),
        (
            "https://10.0.0.7/",
            "this is no public address; only the operator can allow it (outgoing.allow)",
        ),
        ("http://log.example/", "the URL has to begin with https:// for this address"),
        ("https://log.example/", None),
    ],
)
def test_a_check_says_that_a_url_is_never_called(node: Node, url: str, said: str | None) -> None:
    node.settings("", f'[incidents]\nwebhook = "{url}"\n')
    code, lines, told = checked(node)
    (found,) = re.findall("^note: incidents.webhook: (.*)$", told, re.M) or [None]
    host = url.split("/")[2].partition(":")[0]
    lost = "Until then nobody is told of incidents there"
    assert (code, lines, found) == (0, [], said and f"{host}: {said}. {lost}")


def test_a_check_says_that_everybody_is_a_proxy(node: Node) -> None:
    node.settings('trusted_proxies = ["10.0.0.0/8", "::/0", "unix"]\n')
    code, lines, told = checked(node)
    (found,) = re.findall("^note: server.trusted_proxies: (.*)$", told, re.M)
    assert (code, lines) == (0, []) and found.startswith("::/0 is everybody: ")


def test_more_workers_than_there_may_be_are_the_command_lines_fault() -> None:
    words = [*SERVE, "--check", "--workers"]
    found = subprocess.run([*words, "1025"], capture_output=True, text=True, check=False)
    said = (
        "pystream serve: argument --workers: a whole number up to 1,024 is wanted (pystream serve"
    )
    assert (found.returncode, found.stderr) == (2, f"{said} --help)\n")


def test_a_check_finds_nothing_where_all_is_well(node: Node) -> None:
    node.add_film()
    places = [f"127.0.0.1:{node.port}", f"unix:{node.folder}/http"]
    vault = '[retention]\nkey_backups_folder = "vault"\n'
    node.settings(f"listen = {json.dumps(places)}\n", vault)
    code, lines, said = checked(node)
    assert (code, lines) == (0, []) and said.endswith("\nNothing speaks against serving.\n")
    folder = node.folder / "vault"
    assert f"note: retention.key_backups_folder: {folder}: there is no such folder" in said
    folder.mkdir()
    assert "key_backups_folder" not in checked(node)[2]
    assert not (node.folder / "pystream.key").exists()
    node.start()
    node.hear("READY=1")
    # None that the server would make could open what was sealed with the one that is gone.
    (node.folder / "pystream.key").rename(node.folder / "away")
    code, _, said = checked(node)
    assert code == 1 and "serve makes it" not in said
    (node.folder / "away").rename(node.folder / "pystream.key")
    # Beside the running node, too, whose places these are.
    code, lines, said = checked(node)
    assert (code, lines) == (0, [])
    for place in places:
        assert f"note: server.listen: {place}: a node has it, process {node.process.pid}; " in said
    # But a new place has to be free, or the program is not replaced.
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        node.settings(f"listen = {json.dumps([*places, at])}\n", vault)
        node.signal(signal.SIGUSR2)
        until(lambda: node.events("program-not-replaced"))
    name = Path("/proc/self/comm").read_text().strip()
    assert (
        f"server.listen: {at}: {name} listens there already, process {os.getpid()}" in node.said()
    )
    (node.folder / "pystream.toml").write_text("[server]\nworker = 1\n")
    code, lines, _ = checked(node)
    assert code == 1
    assert lines == [
        "pystream serve: pystream.toml:2: server.worker: there is no such key; is workers meant?"
    ]


@pytest.mark.needs("prlimit")
def test_a_node_takes_all_descriptors_that_it_may_have_and_says_what_is_missing(node: Node) -> None:
    node.settings("max_connections = 10_000_000\n")
    node.add_film()
    code, lines, said = checked(node)
    assert (code, lines) == (0, []) and ": 10000000 connections, " in said
    # As a shell or a container has it.
    node.command = ["prlimit", "--nofile=256:", *node.command]
    node.start()
    node.hear("READY=1")
    (worker,) = node.processes()["worker"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (hard, hard)
    (missing,) = node.events("descriptors-do-not-suffice")
    assert missing["why"] in said
    # What fits is no matter of words.
    node.settings("max_connections = 10\n")
    assert "connections" not in checked(node)[2]
    node.signal(signal.SIGHUP)
    until(lambda: node.events("settings-read"))
    assert len(node.events("descriptors-do-not-suffice")) == 1


@pytest.mark.parametrize(
    ("wanted", "workers", "limit", "taken", "told"),
    [
        # What fits.
        (20_000, 2, 20_000, 10_000, False),
        (500, 1, 1024, 500, False),
        # The usual number is nobody's wish: as many as fit do as well, unless they are few.
        (20_000, 1, 20_000, 18_808, False),
        (20_000, 2, 4096, 2904, False),
        (20_000, 2, 1024, 576, False),
        (20_000, 1, 1024, 576, True),
        (20_000, 1, 64, 1, True),
        # What somebody wants and cannot have.
        (20_001, 1, 20_000, 18_808, True),
        (19_999, 1, 20_000, 18_808, True),
        (3000, 1, 1024, 576, True),
    ],
)
def test_a_warning_of_descriptors_is_neither_noise_nor_missing(
    wanted: int, workers: int, limit: int, taken: int, told: bool
) -> None:
    settings = parse(f"[server]\nmax_connections = {wanted}", "x", {})
    assert descriptors.most_connections(settings, workers, limit) == taken
    said = descriptors.missing(settings, workers, limit)
    assert (said is not None) == told
    if said is not None:
        # Who does as it says hears nothing any more.
        room = int(said.rpartition("to ")[2].partition(" or")[0])
        fits = parse(f"[server]\nmax_connections = {max(1, room)}", "x", {})
        assert descriptors.missing(fits, workers, limit) is None or limit == 64


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("mode", [0o555, None])
def test_a_check_says_that_a_folder_cannot_be_written(node: Node, mode: int | None) -> None:
    state = node.folder / "state"
    reason = "there is no such folder"
    if mode is not None:
        state.mkdir(mode)
        reason = "Permission denied: this user may not write in that folder"
    rest = '[store]\nurl = "sqlite:///state/a.db"\n[keys]\nmaster_key_file = "state/a.key"'
    node.settings(rest=rest)
    # Root may write everywhere, but for this capability (capabilities(7)).
    held_back = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*(held_back if os.geteuid() == 0 else ()), *SERVE, "--check"]
    done = subprocess.run(
        command, cwd=node.folder, env=environment(), capture_output=True, text=True
    )
    if mode is not None:
        state.chmod(0o700)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            f"pystream serve: keys.master_key_file: {state}/a.key cannot be made: {reason}",
            f"pystream serve: store.url: {state}/a.db cannot be made: {reason}",
        ],
    )


def test_all_places_that_are_taken_are_named(node: Node) -> None:
    node.add_film()
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
        node.settings(f"listen = {json.dumps(places)}")
        node.start()
        assert node.process.wait(PATIENCE) == 1
    assert node.said().splitlines() == [
        f"pystream serve: server.listen: {place}: somebody listens there already"
        for place in places
    ]


def test_a_check_says_whose_a_place_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = f"{tmp_path}/a/http"
    listen = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); u = socket.socket(1)"
    listen += "; u.bind(sys.argv[1]); u.listen(); print(s.getsockname()[1], flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", listen, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        name = Path(f"/proc/{other.pid}/comm").read_text().strip()
        for place in (f"127.0.0.1:{port}", f"*:{port}", f"unix:{path}"):
            with pytest.raises(SettingsError) as wrong:
                listeners.try_place(listeners.HTTP, Listen(place))
            told = f"server.listen: {place}: {name} listens there already, process {other.pid}"
            assert str(wrong.value) == told
        other.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_check_by_another_user_says_who_can_tell(node: Node) -> None:
    node.start()
    node.hear("READY=1")
    place = f"127.0.0.1:{node.port}"
    heard, say = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            # Of root's processes, others see no descriptors.
            os.setresuid(65534, 65534, 65534)
            listeners.try_place(listeners.HTTP, Listen(place))
        except SettingsError as error:
            os.write(say, str(error).encode())
        finally:
            os._exit(0)
    os.close(say)
    with open(heard, encoding="utf-8") as told_by_child:
        told = told_by_child.read()
    os.waitpid(pid, 0)
    assert told == (
        f"server.listen: {place}: a process of root listens there already; if that is the"
        " node, or systemd for it, check it as root"
    )


def test_a_check_says_who_else_may_read_what_was_brought_back(node: Node) -> None:
    node.add_film()
    path = node.folder / "pystream.db"
    assert "others than its owner" not in checked(node)[2]
    path.chmod(0o644)
    code, _, said = checked(node)
    assert code == 0 and "mode 644" in said and "chmod 600" in said


def test_a_check_wants_a_store_that_is_up_to_date(node: Node) -> None:
    store, key = node.folder / "pystream.db", node.folder / "pystream.key"
    code, lines, said = checked(node)
    assert (code, lines) == (0, [])
    assert f"note: store.url: {store} does not exist yet; pystream serve makes it\n" in said
    wanted = f"{key} does not exist yet; pystream serve makes it: keep a copy of it"
    assert f"note: keys.master_key_file: {wanted}\n" in said
    assert not store.exists() and not key.exists()
    sqlite3.connect(store).close()
    code, (line,), _ = checked(node)
    assert code == 1 and line.startswith("pystream serve: store.url: ")


def test_a_check_opens_the_key_store(node: Node) -> None:
    ensure_keys(load(str(node.folder / "pystream.toml"), {}).keys, {}, 0)
    assert checked(node)[:2] == (0, [])
    master = node.folder / "pystream.key"
    master.write_text("ab" * 32)
    code, (line,), _ = checked(node)
    assert code == 1 and line.startswith(f"pystream serve: keys.store: {node.folder}/keys.db: ")
    assert "bring the old master key back" in line and "abab" not in line
    # A key store whose master key was lost is no new node's.
    master.unlink()
    code, (line,), _ = checked(node)
    assert code == 1 and f"{master}: the master key is missing" in line


def test_keys_of_a_store_that_is_not_there_get_no_new_one(node: Node) -> None:
    """As where a disk is not mounted, or things are brought back in the wrong order."""
    keys = load(str(node.folder / "pystream.toml"), {}).keys
    ensure_keys(keys, {}, 0)
    # A key store that has none of a tenant's is a new node's, as it was a moment before.
    assert checked(node)[:2] == (0, [])
    with open_key_store(keys, {}) as opened:
        opened.add_record_keys(1, 1, 0)
    code, (line,), _ = checked(node)
    assert code == 1 and line.startswith("pystream serve: store.url: there is no store at ")
    assert "has keys of a store that was here (tenants: 1): bring that store back" in line
    store = node.folder / "pystream.db"
    for _ in range(2):
        node.start()
        assert node.process.wait(PATIENCE) == 1
        assert "bring that store back" in node.said() and not store.exists()
    with Store.open(str(store)):
        pass
    assert checked(node)[:2] == (0, [])


@pytest.mark.parametrize("arguments", ["--workers -1", "--workers x", "--json", "--chek", "more"])
def test_a_wrong_command_line_is_2(node: Node, arguments: str) -> None:
    done = subprocess.run(
        [*SERVE, *arguments.split()], cwd=node.folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pystream serve: ")


def test_workers_of_the_command_line_come_before_the_settings(node: Node) -> None:
    node.start("--workers", "2")
    node.hear("READY=1")
    assert len(node.processes()["worker"]) == 2


def test_help_tells_all() -> None:
    text = subprocess.run([*SERVE, "--help"], capture_output=True, text=True, check=True).stdout
    for word in (
        *("--config", "--workers", "--check", "--json", "HUP", "USR2", "exit codes:"),
        *("HTTPS:", "[tls]", "certificates", "server.trusted_proxies"),
    ):
        assert word in text
    places = re.findall(r"^ *(/\S+)$", text, re.M)
    assert [Path(place) for place in places] == [
        UNITS.parent.resolve() / "nginx.example.conf",
        UNITS.resolve(),
        UNITS.parent.resolve() / "pystream.example.toml",
    ]
    assert max(len(line) for line in text.splitlines() if line.strip() not in places) <= 80


def test_modules_are_none_of_the_garbage_collectors_work() -> None:
    """Neither while they are loaded, nor for as long as the process lives. The admin listener's stand for
    those of all processes."""
    program = (
        "import gc, pystream.server.admin as admin\n"
        "from pystream.server.__main__ import main\n"
        "admin.main = lambda: print(gc.isenabled(), gc.get_freeze_count() > 20_000, len(gc.get_objects()))\n"
        "main('admin')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    enabled, frozen, rest = done.stdout.split()
    assert (enabled, frozen) == ("True", "True")
    assert int(rest) < 1_000
