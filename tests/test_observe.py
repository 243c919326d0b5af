"""What a node tells of itself: gauges, metrics, health, events, and never who its viewers are."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream import _core
from pystream.errors import SourceError
from tests import copies
from tests.free_ports import free_port

trio = pytest.importorskip("trio")

from trio.testing import MockClock, wait_all_tasks_blocked  # noqa: E402

from pystream.acl.store import Store  # noqa: E402
from pystream.acl.streams import StreamSettings, TenantSettings  # noqa: E402
from pystream.server import gauges, log, metrics  # noqa: E402
from pystream.server.admin import Admin  # noqa: E402
from pystream.server.answers import Answer  # noqa: E402
from pystream.server.gauges import (  # noqa: E402
    VIEWER_SECONDS,
    Board,
    State,
    Viewers,
)
from pystream.server.http import Request  # noqa: E402
from pystream.server.observer import Observer  # noqa: E402
from pystream.server.overload import Reason  # noqa: E402
from tests.waiting import pause  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / "tests" / "media"
CANARY = "c4n4ry"


def board(workers: int = 1) -> Board:
    fd = Board.create(workers)
    try:
        return Board(fd)
    finally:
        os.close(fd)


# Gauges


def test_what_a_dead_worker_has_counted_stays() -> None:
    node = board(2)
    first, second = node.take(0), node.take(1)
    first.pid, second.pid = 101, 102
    for seat in (first, second):
        seat.state = State.SERVING
        seat.request("segment", 206)
        seat.request("none", 404)
        seat.refuse(Reason.LAG)
        seat.admit()
        seat.lag(0.3)
        seat.set("connections", 7)
    before = node.totals()
    assert before.requests["segment", "2xx"] == 2 == before.requests["none", "4xx"]
    assert (before.refused[Reason.LAG], before.admitted, sum(before.lag)) == (2, 2, 2)
    node.bury(101)
    assert node.totals() == before._replace(deaths=1)
    assert (node.sum("connections"), first.state) == (7, State.FREE)
    # One that was told to end is no accident.
    second.state = State.DRAINING
    node.bury(102)
    assert node.totals() == before._replace(deaths=1)
    successor = node.take(0)
    successor.request("segment", 200)
    assert node.totals().requests["segment", "2xx"] == 3


@pytest.mark.slow
def test_sums_never_go_backwards_while_workers_die() -> None:
    node, done = board(), threading.Event()
    went_back = []
    # The last seat is the one that is read longest after the sums of the dead.
    for _ in node.seats[1:]:
        node.take(0)

    def watch() -> None:
        last = 0
        while not done.is_set():
            now = node.totals().admitted
            if now < last:
                went_back.append((last, now))
            last = now

    switching = sys.getswitchinterval()
    watcher = threading.Thread(target=watch)
    try:
        sys.setswitchinterval(1e-6)
        watcher.start()
        for n in range(1, 150):
            seat = node.take(0)
            seat.pid = n
            for _ in range(20):
                seat.admit()
            node.bury(n)
    finally:
        done.set()
        watcher.join()
        sys.setswitchinterval(switching)
    assert went_back == []
    assert node.totals().admitted == 20 * 149


def test_seats_suffice_for_two_programs() -> None:
    node = board(3)
    taken = [node.take(n % 3) for n in range(6)]
    assert len({seat.number for seat in taken}) == 6
    with pytest.raises(OSError, match="all seats"):
        for _ in node.seats:
            node.take(0)
    assert node.expect(5) and node.workers == 5
    assert not node.expect(len(node.seats))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('for kind in Kind), "none")', 'for kind in Kind), "none", "more")'),
        ('"gone", "stalled"', '"stalled", "gone"'),
        ('    "answers",\n    "window_bytes"', '    "window_bytes",\n    "answers"'),
    ],
    ids=["a kind more", "the same in another order", "gauges in another order"],
)
def test_those_of_a_program_that_counts_otherwise_are_not_read(before: str, after: str) -> None:
    source = Path(gauges.__file__).read_text()
    assert source.count(before) == 1
    other = ModuleType("other_gauges")
    sys.modules[other.__name__] = other
    exec(source.replace(before, after), vars(other))
    del sys.modules[other.__name__]
    with pytest.raises(ValueError, match="another version"):
        Board(other.Board.create(1))
    Board(Board.create(1))


def test_processes_share_them() -> None:
    fd = Board.create(1)
    node = Board(fd)
    node.take(5)
    code = (
        "import sys; from pystream.server.gauges import Board\n"
        "seat = Board(int(sys.argv[1])).seats[0]\n"
        "seat.request('key', 200); seat.set('answers', 2**40); print(seat.worker)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fd)], pass_fds=(fd,), check=True, capture_output=True
    )
    os.close(fd)
    assert done.stdout == b"5\n"
    assert node.sum("answers") == 2**40 and node.totals().requests["key", "2xx"] == 1


def test_viewers_are_counted_once_and_forgotten() -> None:
    node = board(2)
    one, other = (Viewers(node.take(n), node.secret, 0.0) for n in range(2))
    for n in range(100):
        one.note(1, n.to_bytes(8))
        other.note(1, n.to_bytes(8))
    other.note(2, b"another.")
    assert node.viewers() == {1: 100, 2: 1}
    for at in range(1, int(VIEWER_SECONDS), 5):
        one.turn(at)
        other.turn(at)
    one.turn(VIEWER_SECONDS)
    other.turn(VIEWER_SECONDS)
    one.note(1, (7).to_bytes(8))
    assert node.viewers() == {1: 100, 2: 1}
    one.turn(2 * VIEWER_SECONDS)
    other.turn(2 * VIEWER_SECONDS)
    assert node.viewers() == {1: 1}


def test_no_session_lies_in_the_shared_memory() -> None:
    fd = Board.create(1)
    node = Board(fd)
    Viewers(node.take(0), node.secret, 0.0).note(7, b"s3ssi0n!")
    held = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    assert node.viewers() == {7: 1}
    assert b"s3ss" not in held and b"i0n!" not in held


def test_the_meter_is_read_so_that_nothing_counts_twice() -> None:
    meter = _core.Meter(_core.Meter.create(1024))
    reading = _core.Reading()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted = listener.accept()[0]
        accepted.setblocking(False)
    line = _core.Line(accepted.detach(), meter)

    def send(stream: int, body: bytes) -> None:
        assert line.respond(b"", body, (stream, 2)) is None
        assert peer.recv(100, socket.MSG_WAITALL if len(body) == 100 else 0)
        while not line.settle():
            pause()

    with peer:
        send(3, bytes(100))
        assert reading.changes(meter) == [(3, 2, 1, 100, 0)]
        assert reading.changes(meter) == []
        send(3, bytes(50))
        send(4, bytes(7))
        assert sorted(reading.changes(meter)) == [(3, 2, 1, 50, 0), (4, 2, 1, 7, 0)]
        # Whoever reads it for the first time is told everything.
        assert sorted(_core.Reading().changes(meter)) == [(3, 2, 2, 150, 0), (4, 2, 1, 7, 0)]


def test_a_loop_that_stands_still_is_late_for_all_who_would_have_woken() -> None:
    node = board()
    seat = node.take(0)
    clock = MockClock()

    async def main() -> None:
        observer = Observer(seat, dict)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer.run)
            await wait_all_tasks_blocked()
            # Every second it tells what it has felt: not in the moment that is looked at.
            for seconds in [0.01] * 60 + [0.31] + [0.01] * 12:
                clock.jump(seconds)
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)
    lag = node.totals().lag
    assert sum(lag) >= 100 and sum(lag[-5:]) >= 20
    assert seat.get("lag_max_us") == pytest.approx(300_000, abs=1000)
    assert seat.get("lag_p50_us") <= 1000
    assert 150_000 <= seat.get("lag_recent_us") <= 300_000


def test_nobody_connected_is_looked_after_less_often_and_a_standstill_shows_all_the_same() -> None:
    node = board()
    seat = node.take(0)
    clock = MockClock()
    here = 0

    def samples() -> int:
        return sum(node.totals().lag)

    async def main() -> None:
        nonlocal here
        observer = Observer(seat, dict, busy=lambda: here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer.run)
            await wait_all_tasks_blocked()

            async def pass_time(seconds: float) -> None:
                for _ in range(round(seconds * 100)):
                    clock.jump(0.01)
                    await wait_all_tasks_blocked()

            await pass_time(3)
            idle = samples()
            assert 25 <= idle <= 31
            here = 1
            # Whoever has just come waits for no more than the sleep that was begun.
            await pass_time(0.11)
            before = samples()
            await pass_time(3)
            assert 270 <= samples() - before <= 301
            here = 0
            # What was felt busily is forgotten when ten seconds are over, and not after 1,000 samples.
            clock.jump(0.5)
            await wait_all_tasks_blocked()
            await pass_time(9)
            assert seat.get("lag_max_us") > 300_000
            await pass_time(2)
            assert seat.get("lag_max_us") < 100_000
            clock.jump(0.5)
            await wait_all_tasks_blocked()
            await pass_time(1)
            assert seat.get("lag_recent_us") > 200_000
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


# Metrics

LABELS = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(), max_size=3)


@given(st.lists(st.tuples(LABELS, st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_any_label_is_read_as_it_was_written(samples: list[tuple[dict[str, str], float]]) -> None:
    family = metrics.Family("some_metric", "gauge", "Help.", [("", *each) for each in samples])
    text = metrics.exposition([family])
    assert metrics.parse(text) == {"some_metric": [(dict(a), b) for a, b in samples]}
    outside = pytest.importorskip("prometheus_client.parser")
    (found,) = outside.text_string_to_metric_families(text)
    assert [(each.labels, each.value) for each in found.samples] == samples


def everything() -> str:
    """The metrics of a node on which all there is has happened."""
    node = board()
    seat = node.take(0)
    seat.pid = os.getpid()
    seat.state = State.SERVING
    viewers = Viewers(seat, node.secret, 0.0)
    viewers.note(1, b"12345678")
    # Of a test, no number says anything.
    viewers.note(1, b"87654321", is_test=True)
    seat.admit(is_test=True)
    seat.lag(0.004)
    streams = metrics.Streams({1: ("acme", "film"), 2: ("acme", "film")})
    streams.add([(1, 2, 3, 1000, 1), (2, 2, 1, 500, 0), (9, 1, 1, 50, 0)], 2.0)
    return metrics.exposition(
        metrics.families(node, streams, 0, 0, True, metrics.Cached(3, 1, 0, 5))
    )


def test_the_exposition_is_what_prometheus_reads() -> None:
    outside = pytest.importorskip("prometheus_client.parser")
    text = everything()
    families = {family.name: family for family in outside.text_string_to_metric_families(text)}
    assert all(family.documentation for family in families.values())
    assert families["pystream_requests"].type == "counter"
    lag = families["pystream_loop_lag_seconds"]
    buckets = [each.value for each in lag.samples if each.name.endswith("_bucket")]
    assert lag.type == "histogram" and buckets == sorted(buckets) and buckets[-1] == 1
    # A stream that was removed and made anew is one: no two samples have the same labels.
    keys = [
        (each.name, *sorted(each.labels.items()))
        for family in families.values()
        for each in family.samples
    ]
    assert len(keys) == len(set(keys))
    sent = {
        (each.labels["tenant"], each.labels["stream"]): each.value
        for each in families["pystream_stream_bytes"].samples
    }
    assert sent == {("acme", "film"): 1500, ("", "9"): 50}
    for name, value in (("viewers", 1), ("stream_viewers", 1), ("admitted", 0)):
        assert [each.value for each in families[f"pystream_{name}"].samples] == [value]


def test_labels_are_of_the_operator_and_not_of_viewers() -> None:
    labels = {
        label
        for samples in metrics.parse(everything()).values()
        for each, _ in samples
        for label in each
    }
    assert labels == {
        *("version", "kind", "status", "reason", "done", "le", "worker", "draining", "quantile"),
        *("tenant", "stream", "to"),
    }


def test_reports_that_the_writer_seals_are_counted() -> None:
    node = board()
    for done in ("sealed", "failed", "sealed"):
        node.sealing(done)
    assert node.all_sealings() == {"sealed": 2, "failed": 1}
    assert node.all_untold() == {"site": 0, "mail": 0, "authority": 0}
    attacks = node.attacks()
    assert not any((*attacks.open.values(), *attacks.opened.values()))
    families = metrics.families(node, metrics.Streams({}), 0, 0, True, metrics.Cached())
    said = metrics.exposition(families)
    assert 'pystream_report_sealings_total{done="sealed"} 2' in said


def test_the_dashboard_asks_for_what_there_is() -> None:
    path = ROOT / "pystream" / "server" / "grafana.json"
    dashboard = json.loads(path.read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    expressions += [
        each["query"]["query"]
        for each in dashboard["templating"]["list"]
        if each["type"] == "query"
    ]
    known = set(metrics.parse(everything()))
    asked = {name for each in expressions for name in re.findall(r"pystream_\w+", each)}
    assert len(expressions) > 10 and asked <= known
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


# Health


def get(admin: Admin, path: str, method: str = "GET") -> Answer:
    async def ask() -> Answer:
        return await admin.answer(Request(method, path))

    found: Answer = trio.run(ask)
    return found


def admin_of(node: Board, limits: int | None = None) -> Admin:
    table = _core.Gcra.create(1 << 16) if limits is None else limits
    return Admin(node, _core.Meter(_core.Meter.create(1024)), [_core.Gcra(table, bytes(16))])


def test_ready_is_who_serves_and_stores() -> None:
    node = board(2)
    admin = admin_of(node)
    seats = [node.take(n) for n in range(2)]

    def wrong() -> list[str]:
        answer = get(admin, "/readyz")
        assert isinstance(answer.body, bytes)
        lines = answer.body.decode().splitlines()
        assert answer.status == (200 if lines == ["ready"] else 503)
        assert get(admin, "/healthz").status == 200
        return lines

    assert len(wrong()) == 3
    seats[0].state = State.SERVING
    assert "1 of 2 workers serve" in wrong()
    seats[1].state = State.SERVING
    node.committed(time.monotonic())
    assert wrong() == ["the store cannot be read"]
    admin.store_reachable = True
    assert wrong() == ["ready"]
    node.committed(time.monotonic() - 11)
    (line,) = wrong()
    assert line.startswith("nothing metered was stored")
    node.committed(time.monotonic())
    node.drain()
    assert wrong() == ["the node is about to end"]


def test_the_admin_listener_has_three_pages() -> None:
    admin = admin_of(board())
    answer = get(admin, "/metrics")
    assert ("Content-Type", "text/plain; version=0.0.4; charset=utf-8") in answer.headers
    assert get(admin, "/other").status == 404
    assert get(admin, "/metrics", "POST").status == 405


# Events


def test_a_table_of_limits_that_is_too_small_is_an_alarm() -> None:
    # As large as eight keys.
    fd = _core.Gcra.create(64)
    admin, name = admin_of(board(), os.dup(fd)), "pystream_limits_displaced_total"
    table = _core.Gcra(fd, bytes(range(16)))

    def displaced() -> float:
        ((_, count),) = metrics.parse(admin.metrics())[name]
        return count

    for key in range(8):
        assert table.check(bytes([key]), 1_000_000, 1_000_000, 1_000_000) == 0
    assert displaced() == 0
    for key in range(8, 11):
        assert table.check(bytes([key]), 1_000_000, 1_000_000, 1_000_000) == 0
    assert displaced() == 3
    assert table.counters() == (11, 0, 3)


def said(
    capfd: pytest.CaptureFixture[str], style: str, say: Callable[[], None], level: str = "info"
) -> str:
    before = sys.excepthook
    try:
        log.setup(style, level, role="worker", worker=3)
        say()
    finally:
        sys.excepthook = before
        logging.getLogger("pystream").setLevel(logging.INFO)
    return capfd.readouterr().err


def test_events_are_json_lines(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "json", lambda: log.warning("store-unreachable", error='no "file"\nthere'))
    (line,) = text.splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warning",
        "event": "store-unreachable",
        "role": "worker",
        "worker": 3,
        "error": 'no "file"\nthere',
    }


def test_events_are_words_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    text = said(capfd, "text", lambda: log.error("process-ended", code=-9, why="a b\n", none=None))
    (line,) = text.splitlines()
    assert line.partition(" ")[2] == (
        'error: process-ended role=worker worker=3 code=-9 why="a b\\n"'
    )


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_what_is_below_the_level_is_not_said(capfd: pytest.CaptureFixture[str], level: str) -> None:
    says = {"info": log.info, "warning": log.warning, "error": log.error}

    def say() -> None:
        for each in says.values():
            each("it")

    text = said(capfd, "json", say, level)
    told = [json.loads(line)["level"] for line in text.splitlines()]
    assert told == list(says)[list(says).index(level) :]


def test_an_error_that_nobody_expected_is_told_without_its_message() -> None:
    def raised(error: Exception) -> dict[str, Any]:
        try:
            raise error
        except Exception as caught:
            return dict(log.fault(caught))

    told = raised(ValueError(f"/t/{CANARY}/"))
    assert told["error"] == "ValueError" and CANARY not in str(told)
    assert re.fullmatch(r"test_observe\.py:\d+", told["at"][-1])
    assert raised(SourceError("film.mp4: it shrank")) == {"error": "film.mp4: it shrank"}


def test_what_a_library_complains_of_is_told_without_its_message(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def complain() -> None:
        try:
            raise ValueError(CANARY)
        except ValueError:
            logging.getLogger("sqlalchemy.pool").exception("of %s", CANARY)
        logging.getLogger("httpcore2").warning(CANARY)
        logging.getLogger("httpcore2").info(CANARY)

    error, warning = map(json.loads, said(capfd, "json", complain).splitlines())
    assert (error["event"], error["library"]) == ("library-complains", "sqlalchemy.pool")
    assert error["error"] == "ValueError" and error["at"][-1].startswith("test_observe.py:")
    assert (warning["event"], warning["library"]) == ("library-complains", "httpcore2")
    assert CANARY not in json.dumps([error, warning])


def test_bytes_that_cannot_be_made_are_told_of_once_a_minute_and_film(
    capfd: pytest.CaptureFixture[str],
) -> None:
    node, now = board(), [0.0]
    observer = Observer(node.take(0), dict, clock=lambda: now[0])
    log.setup("json")

    def fail(name: str, *, kind: str = "segment", end: str = "failed") -> list[str]:
        request = Request("GET", f"/t/{CANARY}/acme/{name}/1/v0/0.ts", CANARY)
        request.kind, request.place = kind, ("acme", name)
        why = "film.mp4: it ends early" if end in ("failed", "silent") else None
        observer.broke_off(request, end, why)
        told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        assert all(each["reason"] == "film.mp4: it ends early" for each in told)
        assert CANARY not in json.dumps(told)
        return [f"{each['event']} {each['stream']}" for each in told]

    assert fail("film") == ["segment-failed acme/film"]
    assert fail("film") == fail("film") == []
    assert fail("other") == ["segment-failed acme/other"]
    assert fail("film", kind="download") == ["download-failed acme/film"]
    assert fail("third", end="gone") == fail("third", end="stalled") == []
    assert fail("third", end="silent") == ["segment-failed acme/third"]
    now[0] = 59.9
    assert fail("film") == []
    now[0] = 60.0
    assert fail("film") == ["segment-failed acme/film"]
    assert fail("third", end="cut") == []
    ends = {"gone": 1, "stalled": 1, "failed": 7, "silent": 1, "cut": 1}
    assert node.totals().broken_off == ends
    told = metrics.exposition(
        metrics.families(node, metrics.Streams(), 0, 0, True, metrics.Cached())
    )
    assert 'pystream_broken_off_total{reason="failed"} 7' in told


# A whole node


class Node:
    """A running node, with a port for viewers and one for the admin."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port, self.admin = free_port(), free_port()
        self.environment = {
            **os.environ,
            "PYSTREAM_STORE_URL": f"sqlite:///{folder}/store.db",
            "PYSTREAM_MASTER_KEY": "ab" * 32,
            "PYSTREAM_SERVER_LISTEN": f"127.0.0.1:{self.port}",
            "PYSTREAM_SERVER_ADMIN": f"127.0.0.1:{self.admin}",
            "PYSTREAM_SERVER_WORKERS": "2",
            "PYSTREAM_SERVER_TRUSTED_PROXIES": "127.0.0.0/8",
            **environment,
        }
        film = StreamSettings(sources=(str(MEDIA / "plain.mp4"),), segment_duration_ms=1000)
        gone = StreamSettings(sources=("/nowhere/film.mp4",))
        with Store.open(self.environment["PYSTREAM_STORE_URL"]) as store:
            store.add_tenant("acme", TenantSettings(), who="test", now=0)
            store.add_stream("acme", "film", film, who="test", now=0)
            store.add_stream("acme", "gone", gone, who="test", now=0)
        self.errors = folder / "errors"
        with open(self.errors, "wb") as errors:
            self.process = copies.Popen(
                copies.SERVE,
                cwd=folder,
                env=self.environment,
                stdout=errors,
                stderr=errors,
            )

    def get(self, path: str, **headers: str) -> tuple[int, str, bytes]:
        """Status, Location, body."""
        return self._get(self.port, path, headers)

    def ask(self, path: str) -> tuple[int, bytes]:
        """What the admin listener says."""
        status, _, body = self._get(self.admin, path, {})
        return status, body

    def _get(self, port: int, path: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Location", ""), answer.read()
        finally:
            connection.close()

    def until(self, wanted: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if wanted():
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < deadline and self.process.poll() is None, self.said()
            pause()

    def ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def metrics(self) -> metrics.Samples:
        return metrics.parse(self.ask("/metrics")[1].decode())

    def sum(self, name: str, **wanted: str) -> float:
        found = self.metrics().get(name, [])
        return sum(value for labels, value in found if wanted.items() <= labels.items())

    def child(self, role: str) -> int:
        """A process of the node by its role."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            pids = [int(word) for word in file.read().split()]
        for pid in pids:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if f"pystream.server\0{role}\0".encode() in file.read():
                    return pid
        raise LookupError(role)

    def said(self) -> str:
        return self.errors.read_text()


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Node]:
    node = Node(folder, **environment)
    try:
        node.until(node.ready)
        yield node
    finally:
        node.process.terminate()
        try:
            node.process.wait(60)
        finally:
            node.process.kill()


@pytest.mark.slow
def test_connections_for_which_no_descriptor_is_left_are_counted_and_said_once(
    tmp_path: Path,
) -> None:
    name = "pystream_connections_not_accepted_total"
    # More come than one worker has room for, and there is no other that could take them.
    with running(tmp_path, PYSTREAM_SERVER_WORKERS="1") as node, ExitStack() as peers:
        worker = node.child("worker")
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{worker}/fd"))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 3, limits[1]))
        place = "127.0.0.1", node.port
        waiting: list[socket.socket] = []

        def one_more_is_one_too_many() -> bool:
            waiting.append(peers.enter_context(socket.create_connection(place)))
            return node.sum(name) > 1

        node.until(one_more_is_one_too_many)
        assert node.said().count('"connections-not-accepted"') == 1
        assert "LimitNOFILE" in node.said()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        # Nobody was turned away: they were waiting.
        for peer in waiting:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 404"


def test_connections_above_the_limit_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    node = board(1)
    log.setup("json")
    observer = Observer(node.take(0), dict)
    for error in (None, None, OSError(errno.EMFILE, "x"), OSError(errno.ENOMEM, "x")):
        observer.not_accepted(error)
    assert node.totals().unaccepted == {"limit": 2, "descriptors": 1, "memory": 1}
    assert capsys.readouterr().err.count("connections-not-accepted") == 3


def test_a_worker_that_cannot_die_counts_no_more_and_once() -> None:
    node = board(2)
    seat, other = node.take(0), node.take(1)
    seat.pid, seat.state = 77, State.SERVING
    other.pid, other.state = 78, State.SERVING
    seat.set("answers", 5)
    seat.admit()
    node.give_up(77)
    assert (node.sum("answers"), node.totals().deaths, node.admitted()) == (0, 1, 1)
    assert [each.state for each in node.taken()] == [State.DRAINING, State.SERVING]
    node.bury(77)
    assert (node.totals().deaths, node.admitted()) == (1, 1)
    assert node.taken() == [other]


@pytest.mark.slow
def test_nobody_is_named_in_events_or_metrics(tmp_path: Path) -> None:
    """Whatever a peer sends, and whatever goes wrong meanwhile, nothing of it is told."""
    with running(tmp_path, PYSTREAM_LOG_ACCESS="true") as node:
        named = {
            "X_Forwarded_For": f"198.51.100.77, {CANARY}",
            "Authorization": f"Basic {CANARY}",
            "Referer": f"https://{CANARY}.example/",
            "User_Agent": CANARY,
            "Origin": f"https://{CANARY}.example",
        }
        _, master, _ = node.get(f"/acme/film/master.m3u8?{CANARY}=1", **named)
        grant = master.split("/")[2]
        for path in (
            master,
            f"{master}?password={CANARY}",
            master.replace(grant, CANARY),
            f"/acme/{CANARY}/master.m3u8",
            f"/{CANARY}/film/master.m3u8",
            f"/t/{grant}/acme/film/{CANARY}/v0/0.ts",
            f"/{CANARY}/%00",
        ):
            node.get(path, **named)
        _, gone, _ = node.get("/acme/gone/master.m3u8", **named)
        assert node.get(gone, **named)[0] == 503
        with socket.create_connection(("127.0.0.1", node.port)) as peer:
            peer.sendall(f"{CANARY} {CANARY}\r\n\r\n".encode())
            assert peer.recv(100).startswith(b"HTTP/1.1 400")
        node.until(lambda: node.said().count('"request"') >= 11)
        os.kill(node.child("worker"), signal.SIGKILL)
        node.until(lambda: node.sum("pystream_worker_deaths_total") == 1 and node.ready())
        told = node.ask("/metrics")[1].decode()
        node.process.terminate()
        assert node.process.wait(60) == 0
        events = [json.loads(line) for line in node.said().splitlines()]
    for text in (told, json.dumps(events)):
        for secret in (CANARY, grant, gone.split("/")[2], "198.51.100.77"):
            assert secret not in text
    # Where it listens is the operator's own to know.
    said = [event for event in events if event["event"] != "serving"]
    assert "127.0.0.1" not in told + json.dumps(said)
    assert {"request", "film-unavailable", "process-ended"} <= {each["event"] for each in events}
    requests = [each for each in events if each["event"] == "request"]
    assert len(requests) == 11
    (played,) = [
        each for each in requests if each["kind"] == "entrance" and each["stream"] == "acme/film"
    ]
    assert (played["status"], played["whole"]) == (302, True)
    assert {each["stream"] for each in requests} == {"acme/film", "acme/gone", None}


@pytest.mark.slow
def test_a_node_counts_on_whoever_dies(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        _, master, _ = node.get("/acme/film/master.m3u8")
        playlist = urljoin(master, node.get(master)[2].decode().splitlines()[-1])
        lines = node.get(playlist)[2].decode().splitlines()
        uris = [line for line in lines if line and line[0] != "#"]
        bodies = [node.get(urljoin(playlist, uri))[2] for uri in uris]
        name = "pystream_stream_bytes_total"
        node.until(lambda: node.sum(name, kind="segment") > sum(map(len, bodies)))
        counted = node.sum(name, kind="segment")
        assert counted < sum(map(len, bodies)) + 1000 * len(bodies)
        assert node.sum("pystream_requests_total", kind="segment", status="2xx") == len(uris)
        assert node.sum("pystream_stream_viewers", tenant="acme", stream="film") == 1
        assert node.sum("pystream_admitted_total") == 1
        assert node.sum("pystream_cache_misses_total") > 0
        node.until(lambda: node.sum("pystream_makings_total") == len(uris))
        for role in ("worker", "worker", "writer", "admin"):
            os.kill(node.child(role), signal.SIGKILL)
            node.until(node.ready)
            assert node.sum("pystream_requests_total", kind="segment", status="2xx") == len(uris)
        assert node.sum(name, kind="segment") == counted
        assert node.sum("pystream_meter_lost_total") == 0
        # Another program goes on counting, and its predecessor's workers are no accidents.
        node.process.send_signal(signal.SIGUSR2)
        node.until(lambda: "program-replaced" in node.said())
        node.until(lambda: node.sum("pystream_worker_connections", draining="1") == 0)
        node.until(node.ready)
        assert node.sum("pystream_worker_deaths_total") == 2
        node.get(playlist)
        assert node.sum("pystream_requests_total", kind="playlist", status="2xx") == 2
        assert node.sum("pystream_requests_total", kind="segment", status="2xx") == len(uris)
        assert node.sum(name, kind="segment") == counted


@pytest.mark.slow
def test_health_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        workers = {node.child("worker")}
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert node.ask("/healthz")[0] == 200
            assert node.ask("/metrics")[0] == 200
            writer = node.child("writer")
            os.kill(writer, signal.SIGSTOP)
            workers.add(writer)
            node.until(lambda: node.ask("/readyz")[0] == 503)
            assert b"nothing metered was stored" in node.ask("/readyz")[1]
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        node.until(node.ready)
