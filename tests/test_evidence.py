"""Evidence of attendance, from segments that real workers deliver to what the store has of them.

Whatever is killed, each delivery that is older than some seconds is there once, and what may be missing is an
outage on record.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from pystream.acl.store.issuing import Issuer
from pystream.acl.store.notary import Notary
from pystream.attendance.options import Options
from pystream.attendance.purpose import TOLD, VERSION
from pystream.attendance.replay import computed
from tests import program
from tests.oracles import attendance as oracle
from tests.test_admission import House
from tests.test_serve import BUSY, Busy, Node, environment, node_in
from tests.waiting import PATIENCE, everywhere, until

pytestmark = pytest.mark.slow

# What this machine's own clock says is of no matter here.
SETTINGS = BUSY + "[attendance]\nallow_unsynced = true\n"


class Audience(House):
    """A node of two workers with a stream whose attendance is recorded, and others."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        with self.store() as store:
            store.set_tenant("acme", {"attendance_purpose": VERSION}, who="test", now=1)
            store.set_stream("acme", "course", {"attendance": True}, who="test", now=1)
            self.add_stream(store, "acme", "quiet", access="personal")
            more = {"access": "personal", "attendance": True, "download": True}
            self.add_stream(store, "acme", "kept", **more)
            # Of one segment, which no kernel has room for.
            more = {"segment_duration_ms": 600_000, "access": "personal", "attendance": True}
            self.add_stream(store, "acme", "large", **more)

    def segments(self, visit: dict[str, Any]) -> list[str]:
        master = visit["master"]
        playlist = urljoin(master, self.ask(master)[2].decode().splitlines()[-1])
        lines = self.ask(playlist)[2].decode().splitlines()
        return [urljoin(playlist, line) for line in lines if line[:1] not in ("", "#")]

    def lines(self, place: str = "acme/course") -> list[str]:
        with self.store() as store, self.keys() as keys:
            stream = store.stream(*place.split("/"))
            found = store.viewers.attendance.events(keys, stream.tenant_id, stream.id)
            return list(found)

    def events(self, place: str = "acme/course", kind: str = "segment") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines(place)]
        return [each for each in found if each["kind"] == kind]

    def watched(self, place: str = "acme/course") -> Counter[tuple[str, int]]:
        """How often each segment is on record, by session and number: each is of two seconds."""
        return Counter((each["session"], each["m0"] // 2000) for each in self.events(place))

    def key_of(self, text: str) -> str:
        with self.store() as store, self.keys() as keys:
            found = Issuer(store.viewers, keys).find(store.tenant("acme").id, text)
            assert found is not None
            return str(found.id)


@pytest.fixture
def audience(tmp_path: Path) -> Iterator[Audience]:
    with node_in(tmp_path) as node:
        node.settings("workers = 2", SETTINGS)
        made = Audience(node)
        node.start()
        node.hear("READY=1")
        yield made


def ask(peer: socket.socket, path: str, method: str = "GET", more: str = "") -> None:
    peer.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())


def test_what_was_delivered_to_the_last_byte_is_on_record_and_nothing_else(
    audience: Audience,
) -> None:
    text = audience.issue("acme/course")
    visit = audience.let_in("acme/course", text)
    segments = audience.segments(visit)
    begun = time.time_ns() // 1_000_000
    assert audience.ask(segments[0], "HEAD")[0] == 200
    assert audience.ask(segments[1], Range="bytes=0-99")[0] == 206
    _, headers, _ = audience.ask(segments[2])
    assert headers["x-accel-buffering"] == "no" and "no-store" in headers["cache-control"]
    # The whole of it, said otherwise.
    assert audience.ask(segments[3], Range="bytes=0-")[0] == 206
    # Not modified: it has it, by its own word.
    assert audience.ask(segments[4], **{"If-None-Match": "*"})[0] == 304
    until(lambda: len(audience.events()) >= 2)
    first, second = sorted(audience.events(), key=lambda each: each["m0"])
    assert {key: first[key] for key in ("kind", "key", "stream", "primary")} == {
        "kind": "segment",
        "key": audience.key_of(text),
        "stream": "course",
        "primary": True,
    }
    assert (first["m0"] // 2000, second["m0"] // 2000) == (2, 3) and first["m1"] == second["m0"]
    assert begun <= first["t"] <= second["t"] <= time.time_ns() // 1_000_000
    # RFC 8785, as it was hashed.
    (line,) = (line for line in audience.lines() if json.loads(line) == first)
    assert line == json.dumps(first, sort_keys=True, separators=(",", ":"))


def test_a_segment_in_ranges_counts_when_all_of_it_was_delivered(audience: Audience) -> None:
    visits = [audience.let_in("acme/course", audience.issue("acme/course")) for _ in range(2)]
    (segments, others) = map(audience.segments, visits)
    size = int(audience.ask(segments[0], "HEAD")[1]["content-length"])
    third = size // 3

    def fetch(path: str, first: int, end: int) -> None:
        # A connection of its own, so either worker.
        assert audience.ask(path, Range=f"bytes={first}-{end - 1}")[0] == 206

    fetch(segments[0], 2 * third, size)
    fetch(segments[0], 0, third + 10)
    # The same of another viewer's, of another segment, and what is asked for and not sent.
    fetch(others[0], third, 2 * third)
    fetch(segments[1], third, 2 * third)
    audience.ask(segments[0], "HEAD", Range=f"bytes={third}-{2 * third}")
    for path in (segments[2], others[2]):
        assert audience.ask(path)[0] == 200
    until(lambda: len(audience.events()) == 2)
    begun = time.time_ns() // 1_000_000
    fetch(segments[0], third, 2 * third)
    until(lambda: len(audience.events()) == 3)
    whole = max(audience.events(), key=lambda each: each["t"])
    assert whole["m0"] == 0 and begun <= whole["t"] <= time.time_ns() // 1_000_000
    # Fetched again in part, it is no second one.
    fetch(segments[0], 0, third)
    assert audience.ask(segments[3])[0] == 200
    until(lambda: len(audience.events()) == 4)


def test_playlists_keys_and_downloads_are_on_record_and_earn_nothing(audience: Audience) -> None:
    visit = audience.let_in("acme/kept", audience.issue("acme/kept"))
    master = visit["master"]
    playlist = urljoin(master, audience.ask(master)[2].decode().splitlines()[-1])
    _, headers, text = audience.ask(playlist)
    assert headers["x-accel-buffering"] == "no"
    (key,) = set(re.findall('URI="([^"]+)"', text.decode()))
    for path in (playlist, urljoin(playlist, key), visit["download"]):
        assert audience.ask(path, "HEAD")[0] == 200
    assert len(audience.ask(urljoin(playlist, key))[2]) == 16
    assert audience.ask(playlist, **{"If-None-Match": headers["etag"]})[0] == 304
    # One that breaks off was begun as well.
    with socket.create_connection(("127.0.0.1", audience.node.port)) as peer:
        ask(peer, visit["download"])
        assert peer.recv(100)
    assert audience.ask(visit["download"], Range="bytes=0-99")[0] == 206

    def kinds() -> Counter[str]:
        return Counter(json.loads(line)["kind"] for line in audience.lines("acme/kept"))

    until(lambda: kinds() == {"playlist": 1, "key": 1, "download": 2})
    options = Options(mode="file", target_duration=1000)
    assert computed(audience.lines("acme/kept"), options) == []
    segments = audience.segments(visit)
    assert audience.ask(segments[0])[0] == 200
    until(lambda: kinds() == {"playlist": 2, "key": 1, "download": 2, "segment": 1})
    (row,) = json.loads(told(audience, "show", "acme/kept", "--json"))["rows"]
    assert row["flags"] == ["downloaded"] and 0 < row["access_ms"] <= 2000
    members = {"key", "kind", "session", "stream", "t"}
    for line in audience.lines("acme/kept"):
        event = json.loads(line)
        assert line == json.dumps(event, sort_keys=True, separators=(",", ":"))
        assert event["kind"] == "segment" or set(event) == members


def test_a_client_that_asks_without_end_does_not_fill_the_log(audience: Audience) -> None:
    """`attendance-v1`: what is equal in all fields is one event, whatever came between."""
    master = audience.let_in("acme/kept", audience.issue("acme/kept"))["master"]
    playlist = urljoin(master, audience.ask(master)[2].decode().splitlines()[-1])
    text, count = audience.ask(playlist)[2], 900
    (key,) = set(re.findall('URI="([^"]+)"', text.decode()))
    key = urljoin(playlist, key)
    asked = "".join(f"GET {each} HTTP/1.1\r\nHost: x\r\n\r\n" for each in (playlist, key)).encode()
    with (
        socket.create_connection(("127.0.0.1", audience.node.port), PATIENCE) as peer,
        peer.makefile("rb") as answers,
    ):
        for n in range(count):
            if n % 15 == 0:
                peer.sendall(15 * asked)
            for size in (len(text), 16):
                while answers.readline() not in (b"\r\n", b""):
                    pass
                assert len(answers.read(size)) == size

    def told_of() -> list[tuple[str, int]]:
        lines = map(json.loads, audience.lines("acme/kept"))
        return [(each["kind"], each["t"]) for each in lines]

    until(lambda: len(told_of()) > 60)
    found = told_of()
    assert len(found) == len(set(found)) < count, Counter(found).most_common(3)


def test_viewers_are_told_before_anything_is_recorded(audience: Audience) -> None:
    text = audience.issue("acme/course", "acme/quiet")

    def page(place: str, language: str = "de") -> str:
        return audience.ask(f"/{place}/", **{"Accept-Language": language})[2].decode()

    sentences = TOLD.split("\n\n")
    for language, own, other in (("de", *sentences), ("en", *reversed(sentences))):
        told = page("acme/course", language)
        assert f"<p>{own}</p>" in told and other not in told
        assert not any(each in page("acme/quiet", language) for each in sentences)
    # It is the notice that the page has shown, or is shown while it is open.
    status, problem = audience.sign_in("acme/course", text, notice="")
    assert (status, problem["kind"], problem["notice"]) == (409, "notice", TOLD)
    version = problem["notice_version"]
    assert f'data-notice="{version}"' in page("acme/course")
    assert audience.sign_in("acme/course", text, notice=version)[0] == 200
    with audience.store() as store:
        assert {each.notice for each in store.viewers.sessions(0)} == {version}
        store.set_tenant("acme", {"notice": "Ask ACME."}, who="test", now=2)
    # Beside what the tenant says.
    both = "<p>Ask ACME.</p>\n<p>Zu diesem Film"
    until(lambda: everywhere(lambda: both in page("acme/course")))
    assert "<p>Ask ACME.</p>" in page("acme/quiet") and sentences[0] not in page("acme/quiet")


def test_who_reads_half_nothing_or_resets_earns_nothing(audience: Audience) -> None:
    text = audience.issue("acme/course")
    visit = audience.let_in("acme/large", audience.issue("acme/large"))
    (segment,) = audience.segments(visit)
    size = int(audience.ask(segment, "HEAD")[1]["content-length"])
    peers = []
    for most in (0, size // 2):
        for reset in (False, True):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", audience.node.port))
            ask(peer, segment)
            got = 0
            while got < max(most, 1):
                got += len(peer.recv(min(65536, most - got or 1)))
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peers.append(peer)
    for peer in peers:
        peer.close()
    # What comes after them is on record, and they are not.
    visit = audience.let_in("acme/course", text)
    for path in audience.segments(visit)[:3]:
        assert audience.ask(path)[0] == 200
    assert audience.ask(segment)[0] == 200
    until(lambda: len(audience.events()) == 3 and audience.events("acme/large"))
    assert len(audience.events("acme/large")) == 1


def test_only_personal_streams_whose_tenant_wants_it_are_recorded(audience: Audience) -> None:
    shared, quiet = audience.issue("acme/shared", shared=True), audience.issue("acme/quiet")
    text = audience.issue("acme/course")
    for place, password in (("acme/shared", shared), ("acme/quiet", quiet), ("acme/course", text)):
        visit = audience.let_in(place, password)
        for path in audience.segments(visit)[:2]:
            assert audience.ask(path)[0] == 200
    until(lambda: len(audience.events()) == 2)
    assert audience.lines("acme/shared") == audience.lines("acme/quiet") == []
    # Of those, there is what traffic has.
    with audience.store() as store:
        store.set_tenant("acme", {"attendance_purpose": ""}, who="test", now=2)
    visit = audience.let_in("acme/course", text)
    segment = audience.segments(visit)[0]

    def is_over() -> bool:
        return "x-accel-buffering" not in audience.ask(segment, "HEAD")[1]

    until(lambda: all(is_over() for _ in range(24)))
    before = len(audience.events())
    assert audience.ask(segment)[0] == 200
    with audience.store() as store:
        store.set_tenant("acme", {"attendance_purpose": VERSION}, who="test", now=3)
    until(lambda: all(not is_over() for _ in range(24)))
    other = audience.segments(visit)[9]
    assert audience.ask(other)[0] == 200
    until(lambda: len(audience.events()) > before)
    assert len(audience.events()) == before + 1


def test_devices_and_workers_are_one_viewer_by_every_implementation(audience: Audience) -> None:
    text, other = audience.issue("acme/course"), audience.issue("acme/course")
    visits = [audience.let_in("acme/course", each) for each in (text, text, other)]
    wanted = 0
    for visit in visits:
        for path in audience.segments(visit)[:4]:
            # A connection of its own, so either worker.
            assert audience.ask(path)[0] == 200
            wanted += 1
    until(lambda: len(audience.events()) == wanted)
    lines = audience.lines()
    options = Options(mode="file", target_duration=1000, timezone="Europe/Berlin")
    rows = json.loads(json.dumps(computed(lines, options)))
    assert {row["key"] for row in rows} == {audience.key_of(text), audience.key_of(other)}
    assert len({each["session"] for each in audience.events()}) == 3
    setting = oracle.Setting(mode="file", td=1000, zone="Europe/Berlin")
    expected = oracle.replay([json.loads(line) for line in lines], setting)
    assert rows == json.loads(json.dumps(expected))


def attendance(audience: Audience, *words: str) -> subprocess.CompletedProcess[str]:
    folder, nothing = audience.node.folder, subprocess.DEVNULL
    return program.run("attendance", *words, cwd=folder, env=environment(), stdin=nothing)


def told(audience: Audience, *words: str) -> str:
    done = attendance(audience, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_exported_replays_to_what_is_shown(audience: Audience) -> None:
    with audience.store() as store:
        store.set_tenant("acme", {"timezone": "Asia/Tokyo"}, who="test", now=2)
    text, other = audience.issue("acme/course"), audience.issue("acme/course")
    for each in (text, other, other):
        for path in audience.segments(audience.let_in("acme/course", each))[:5]:
            assert audience.ask(path)[0] == 200
    until(lambda: len(audience.events()) == 15)
    shown = json.loads(told(audience, "show", "acme/course", "--json"))["rows"]
    assert {row["key"] for row in shown} == {audience.key_of(text), audience.key_of(other)}
    exported = told(audience, "export", "acme/course", "--by", "eva")
    (audience.node.folder / "events.jsonl").write_text(exported)
    options = "--mode file --target-duration 1 --timezone Asia/Tokyo --json".split()
    lines = told(audience, "replay", "events.jsonl", *options).splitlines()
    assert [json.loads(line) for line in lines] == shown
    # A day of the tenant's zone alone.
    (day,) = {row["day"] for row in shown}
    assert (
        json.loads(told(audience, "show", "acme/course", "--day", day, "--json"))["rows"] == shown
    )
    assert told(audience, "export", "acme/course", "--day", day) == exported
    assert told(audience, "export", "acme/course", "--day", "2031-05-01") == ""
    assert audience.key_of(text) in told(audience, "show", "acme/course")
    with audience.store() as store:
        seen = [each.values for each in store.audit.entries(store.tenant("acme").id)]
    assert {"attendance_shown": (None, 18)} in seen and {"attendance_shown": (None, 2)} in seen


# Deaths


class Watcher(Busy):
    """A thread for each password that fetches segments one after the other, over and over, and notes of each
    that it has whole which one that was and when."""

    def __init__(self, audience: Audience, texts: list[str]) -> None:
        super().__init__(len(texts))
        self.audience = audience
        self.segments = [audience.segments(audience.let_in("acme/course", each)) for each in texts]
        self.keys = [audience.key_of(each) for each in texts]
        self.got: list[tuple[str, int, int]] = []
        self.asked = 0

    def work(self, number: int) -> None:
        port = self.audience.node.port
        for n in cycle(range(len(self.segments[number]))):
            if self.stop.is_set():
                return
            self.asked += 1
            # It breaks where a worker is killed.
            with (
                suppress(OSError, http.client.HTTPException),
                closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
            ):
                connection.request("GET", self.segments[number][n])
                answer = connection.getresponse()
                if answer.status == 200 and answer.read():
                    self.got.append((self.keys[number], n, time.time_ns() // 1_000_000))

    def delivered(self, until_ms: int) -> Counter[tuple[str, int]]:
        """What was delivered whole before an instant, by key and number."""
        return Counter((key, n) for key, n, at in self.got if at < until_ms)


def recorded(audience: Audience) -> Counter[tuple[str, int]]:
    return Counter((each["key"], each["m0"] // 2000) for each in audience.events())


@pytest.mark.parametrize("role", ["worker", "workers", "writer"])
def test_who_is_killed_takes_no_delivery_along_that_is_some_seconds_old(
    audience: Audience, role: str
) -> None:
    with Watcher(audience, [audience.issue("acme/course") for _ in range(2)]) as watcher:
        until(lambda: len(audience.events()) > 30)
        found = audience.node.processes()
        killed = {
            "worker": sorted(found["worker"])[:1],
            "workers": sorted(found["worker"]),
            "writer": sorted(found["writer"]),
        }[role]
        until(lambda: watcher.got and time.time_ns() // 1_000_000 > watcher.got[0][2] + 7000)
        if role == "writer":
            # What it is told now, it takes along: some batches lie in its socket.
            os.kill(killed[0], signal.SIGSTOP)
            stopped = time.time_ns() // 1_000_000
            until(lambda: watcher.got[-1][2] > stopped + 3000)
        at = time.time_ns() // 1_000_000
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        # Others go on, or their successors do.
        got = len(watcher.got)
        until(lambda: len(watcher.got) > got + 30)
        if role == "writer":
            # It was nobody's outage: workers keep what they have to tell.
            until(lambda: watcher.delivered(at) <= recorded(audience))
        else:
            until(lambda: audience.events(kind="outage"))
    lost = watcher.delivered(at - 6000) - recorded(audience)
    assert not lost, lost
    # Once the last of them is there, nothing is there twice: no more than was asked for, and of what was
    # delivered afterwards all.
    last = watcher.got[-1][2]
    until(lambda: any(each["t"] >= last - 3000 for each in audience.events()))
    until(lambda: not (watcher.delivered(at - 6000) - recorded(audience)))
    assert sum(recorded(audience).values()) <= watcher.asked
    instants = Counter((e["session"], e["m0"], e["t"]) for e in audience.events())
    assert max(instants.values()) == 1
    outages = audience.events(kind="outage")
    if role == "writer":
        assert not outages
    else:
        assert all(each["t0"] <= at + 1000 and each["t1"] > at for each in outages), (at, outages)


def test_a_worker_that_dies_before_it_has_told_anything_is_an_outage(audience: Audience) -> None:
    master = audience.let_in("acme/course", audience.issue("acme/course"))["master"]
    playlist = urljoin(master, audience.ask(master)[2].decode().splitlines()[-1])

    def known() -> int:
        with audience.store() as store:
            return len(store.viewers.attendance.cursors())

    assert known() == 0
    # Nothing of this will be told.
    until(lambda: audience.ask(playlist, "HEAD")[0] == 200 and known() == 2)
    at = time.time_ns() // 1_000_000
    for pid in audience.node.processes()["worker"]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(audience.events(kind="outage")) == 2)
    outages = audience.events(kind="outage")
    assert all(each["t0"] <= at + 1000 and each["t1"] > at for each in outages), (at, outages)
    assert len(audience.lines()) == 2


def test_a_worker_that_dies_before_its_first_word_is_stored_is_an_outage(
    audience: Audience,
) -> None:
    """There is no writer that could store it."""
    node, master = (
        audience.node,
        audience.let_in("acme/course", audience.issue("acme/course"))["master"],
    )
    playlist = urljoin(master, audience.ask(master)[2].decode().splitlines()[-1])
    (writer,) = node.processes()["writer"]
    os.kill(writer, signal.SIGSTOP)
    begun = time.time_ns() // 1_000_000
    until(lambda: everywhere(lambda: audience.ask(playlist, "HEAD")[0] == 200))
    at = time.time_ns() // 1_000_000
    for pid in node.processes()["worker"]:
        os.kill(pid, signal.SIGKILL)
    os.kill(writer, signal.SIGKILL)
    until(lambda: len(audience.events(kind="outage")) == 2)
    outages = audience.events(kind="outage")
    assert all(begun - 5 <= each["t0"] <= at and each["t1"] > at for each in outages), (at, outages)
    # It is told once, and whoever lives is struck out by what is stored of it.
    until(lambda: everywhere(lambda: audience.ask(playlist)[0] == 200))

    def is_told() -> bool:
        # Those of one millisecond are one.
        audience.ask(playlist)
        return len(audience.events(kind="playlist")) >= 24

    until(is_told)
    assert len(audience.events(kind="outage")) == 2


def test_all_processes_killed_are_an_outage_for_the_next_node(audience: Audience) -> None:
    node = audience.node
    with Watcher(audience, [audience.issue("acme/course")]) as watcher:
        until(lambda: len(audience.events()) > 20)
        until(lambda: time.time_ns() // 1_000_000 > watcher.got[0][2] + 7000)
        at = time.time_ns() // 1_000_000
        pids = [pid for pids in node.processes().values() for pid in pids]
        for pid in [node.process.pid, *pids]:
            os.kill(pid, signal.SIGKILL)
        node.process.wait()
    assert not watcher.delivered(at - 6000) - recorded(audience)
    node.start()
    node.hear("READY=1")
    until(lambda: audience.events(kind="outage"))
    # One of each worker.
    outages = audience.events(kind="outage")
    assert all(at - 6000 < each["t0"] <= at + 1000 and each["t1"] > at for each in outages)


def test_a_node_that_is_stopped_leaves_nothing_untold(audience: Audience) -> None:
    node = audience.node
    visit = audience.let_in("acme/course", audience.issue("acme/course"))
    segments = audience.segments(visit)
    for path in segments:
        assert audience.ask(path)[0] == 200
    node.signal(signal.SIGTERM)
    assert node.process.wait(60) == 0
    assert len(audience.watched()) == len(segments)
    node.start()
    node.hear("READY=1")
    with audience.store() as store:
        assert store.viewers.attendance.cursors() == {}
    assert audience.events(kind="outage") == []


# Proofs


def test_the_whole_way_from_a_delivery_to_a_proof_elsewhere(
    audience: Audience, tmp_path: Path
) -> None:
    """The writer signs by itself; whoever has the public key needs nothing else."""
    one, two = (audience.issue("acme/course") for _ in range(2))
    for text, count in ((one, 6), (two, 4)):
        for path in audience.segments(audience.let_in("acme/course", text))[:count]:
            assert audience.ask(path)[0] == 200
    until(lambda: len(audience.events()) == 10)
    with audience.store() as store, audience.keys() as keys:
        acme, notary = store.tenant("acme"), Notary(store.database, keys)
        until(lambda: notary.checkpoints(acme.id) != ())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def kept(name: str, text: str) -> str:
        (elsewhere / name).write_text(text)
        return str(elsewhere / name)

    # The tenant makes a key, and cosigns.
    office = str(elsewhere / "office.key")
    vkey = told(audience, "cosign", "--key", office, "--new-key", "acme.example/office")
    with audience.store() as store:
        store.set_tenant("acme", {"checkpoint_cosigner": vkey.strip()}, who="eva", now=3)
    log_key = kept("acme.pub", told(audience, "key", "acme"))
    trusted = kept("trusted.pub", Path(log_key).read_text() + vkey)
    note = kept("note.txt", told(audience, "checkpoint", "acme"))
    signed = told(audience, "cosign", note, "--key", office, "--public-key", log_key)
    cosigned = kept("cosigned.txt", signed)
    assert told(audience, "checkpoint", "acme", "--cosigned", cosigned) == signed
    assert json.loads(told(audience, "checkpoint", "acme", "--json"))["cosigners"] == [
        "acme.example/office"
    ]
    assert told(audience, "checkpoint", "acme", "--list").count("acme.example/office") == 1
    # Receipts, and the log.
    receipts = {}
    for text, name in ((one, "one.json"), (two, "two.json")):
        receipts[text] = str(elsewhere / name)
        told(audience, "receipt", "acme/course", audience.key_of(text), "-o", receipts[text])
    export = kept("log.jsonl", told(audience, "export", "acme"))
    # Beside their segments each has fetched a playlist.
    for text, count in ((one, 7), (two, 5)):
        words = ["verify", receipts[text], "--public-key", trusted, "--json"]
        alone = json.loads(told(audience, *words))
        assert alone["events"] == count and alone["missing_cosigners"] == []
        assert {row["proof"] for row in alone["rows"]} == {"recomputed"}
        more = ("--evidence", export, "--checkpoint", cosigned)
        assert json.loads(told(audience, *words, *more))["leaves"] == 12
    # One event that is another.
    changed = json.loads(Path(receipts[one]).read_text())
    changed["events"][0]["event"]["t"] += 1
    forged = kept("forged.json", json.dumps(changed))
    done = attendance(audience, "verify", forged, "--public-key", trusted)
    assert (done.returncode, done.stdout) == (1, "") and "not valid" in done.stderr
    # One viewer that is nobody any more.
    with audience.store() as store, audience.keys() as keys:
        issuer = Issuer(store.viewers, keys)
        issuer.erase(acme.id, [int(audience.key_of(one))], who="eva", now=int(time.time()))
    export = kept("later.jsonl", told(audience, "export", "acme"))
    words = ["verify", receipts[two], "--public-key", trusted, "--evidence", export]
    later = json.loads(told(audience, *words, "--checkpoint", cosigned, "--json"))
    assert (later["leaves"], later["leaves_not_available"]) == (12, 7)
    with audience.store() as store:
        seen = [each.values for each in store.audit.entries(acme.id)]
    assert {"attendance_receipts": (None, 1)} in seen and {"attendance_signed": (None, 12)} in seen
    # A backup of the store was brought back, somebody says.
    done = attendance(audience, "checkpoint", "acme", "--timestamp", str(elsewhere / "x"))
    assert done.returncode == 1 and "no checkpoint has a time stamp" in done.stderr
    begun = json.loads(told(audience, "restored", "--json", "--by", "eva"))["begun"]
    assert begun["acme"]["epoch"] == 2 and "\nprevious 12 " in begun["acme"]["note"]
    assert told(audience, "restored", "acme", "--known", cosigned) == "acme: epoch 3\n"
    done = attendance(audience, "restored", "acme", "--known", export)
    assert done.returncode == 1 and "this is no signed note" in done.stderr
    assert json.loads(told(audience, *words, "--json"))["valid"]
