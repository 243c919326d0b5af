"""`pystream top`: what it makes of metrics, and how it shows them in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any, ClassVar

import pytest

from pystream.cli.top import facts

pytest.importorskip("trio")

from pystream.server.metrics import Samples, parse

BEFORE = """\
pystream_info{version="1.2.3"} 1
pystream_workers_wanted 2
pystream_workers_serving 1
pystream_draining 0
pystream_store_reachable 1
pystream_viewers 41
pystream_requests_total{kind="segment",status="2xx"} 1000
pystream_requests_total{kind="entrance",status="5xx"} 10
pystream_refused_total{reason="egress"} 4
pystream_refused_total{reason="loop_lag"} 1
pystream_worker_connections{worker="0",draining="0"} 30
pystream_worker_connections{worker="1",draining="1"} 3
pystream_worker_loop_lag_seconds{worker="0",draining="0",quantile="0.5"} 0.001
pystream_worker_loop_lag_seconds{worker="0",draining="0",quantile="0.99"} 0.0035
pystream_worker_loop_lag_seconds{worker="0",draining="0",quantile="1"} 0.2
pystream_cache_hits_total 10
pystream_cache_misses_total 10
pystream_stream_viewers{tenant="acme",stream="talk"} 40
pystream_stream_viewers{tenant="acme",stream="film"} 1
pystream_stream_requests_total{tenant="acme",stream="film",kind="segment"} 500
pystream_stream_bytes_total{tenant="acme",stream="film",kind="segment"} 1000000
pystream_stream_bytes_total{tenant="acme",stream="film",kind="key"} 160
pystream_stream_aborted_total{tenant="acme",stream="film",kind="segment"} 2
"""
AFTER = (
    BEFORE.replace('status="2xx"} 1000', 'status="2xx"} 1100')
    .replace('status="5xx"} 10', 'status="5xx"} 20')
    .replace('reason="egress"} 4', 'reason="egress"} 10')
    .replace('kind="segment"} 1000000', 'kind="segment"} 3000000')
    .replace('kind="segment"} 500', 'kind="segment"} 550')
    .replace('kind="key"} 160', 'kind="key"} 320')
    .replace("hits_total 10", "hits_total 40")
    .replace("misses_total 10", "misses_total 20")
)


def test_rates_are_what_lies_between_two_readings() -> None:
    found = facts(parse(BEFORE), parse(AFTER), 2.0)
    assert (found["version"], found["viewers"], found["connections"]) == ("1.2.3", 41, 33)
    assert (found["workers_serving"], found["workers_wanted"]) == (1, 2)
    assert found["requests_per_second"] == 55
    assert (found["refused_per_second"], found["errors_per_second"]) == (3, 2)
    assert found["refused_by_reason"] == {"egress": 3}
    assert found["bits_per_second"] == 8 * 2_000_160 / 2
    assert (found["lag_p99_ms"], found["lag_max_ms"]) == (3.5, 200)
    busiest, other = found["streams"]
    assert (busiest["tenant"], busiest["stream"], busiest["viewers"]) == ("acme", "film", 1)
    assert busiest["bits_per_second"] == found["bits_per_second"]
    assert busiest["requests_per_second"] == 25 and busiest["aborted_per_second"] == 0
    assert (other["stream"], other["viewers"], other["bits_per_second"]) == ("talk", 40, 0)
    assert found["cache_hit_share"] == 0.75
    assert [each["draining"] for each in found["workers"]] == [False, True]


def test_counters_that_began_anew_are_no_rate() -> None:
    found = facts(parse(AFTER), parse(BEFORE), 2.0)
    assert found["requests_per_second"] == found["bits_per_second"] == 0
    assert found["streams"][0]["requests_per_second"] == 0


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """Where a listener gives both readings in turn."""

    class Handler(BaseHTTPRequestHandler):
        texts: ClassVar[list[str]] = [BEFORE, AFTER]

        def do_GET(self) -> None:
            text = self.texts.pop(0)
            self.texts.append(text)
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def top(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pystream", "top", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_who_is_turned_away_is_told_in_its_help() -> None:
    said = top("--help").stdout
    assert "Turned away are newcomers who were asked to come again" in said and "/guard" in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.slow
def test_once_as_text_and_as_json(admin: str) -> None:
    done = top("--admin", admin, "--interval", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"viewers", "workers", "streams", "bits_per_second"} <= set(found)
    done = top("--admin", admin, "--interval", "0.2", "--once")
    assert done.returncode == 0 and done.stderr == ""
    head, *lines = done.stdout.splitlines()
    assert head.startswith("pystream 1.2.3 · 1 of 2 workers · 41 viewers · ")
    assert "lag 3.5 ms" in head
    assert re.search(r" · [\d.]+ turned away/s · full: egress", head)
    assert any(line.split()[:2] == ["acme/film", "1"] for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--admin", "nonsense"), 2, "argument --admin"),
        (("--interval", "0"), 2, "from 0.2 to 60"),
        (("--admin", "unix:/nowhere/admin"), 1, "unix:/nowhere/admin: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = top("--once", *arguments)
    assert done.returncode == code and said in done.stderr and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_nobody_there_and_somebody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        place = f"127.0.0.1:{one.getsockname()[1]}"

        def answer() -> None:
            peer, _ = one.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = top("--once", "--admin", place)
        thread.join()
        assert done.returncode == 1 and "is no pystream" in done.stderr
    done = top("--once", "--admin", place)
    assert done.returncode == 1 and "Connection refused: is a node running" in done.stderr


class Terminal:
    """A terminal of so many columns and rows, in which a command runs."""

    def __init__(self, columns: int, rows: int, *arguments: str) -> None:
        self._fd, inner = pty.openpty()
        ioctl(inner, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # These speak for the terminal of whoever runs the tests.
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pystream", "top", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=kept | {"TERM": "xterm-256color"},
        )
        os.close(inner)
        self._seen = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    @property
    def text(self) -> str:
        return self._seen.decode(errors="replace")

    def until(self, wanted: str) -> None:
        deadline = time.monotonic() + 60
        while not re.search(wanted, self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self._fd], [], [], 0.1)[0]:
                self._seen += os.read(self._fd, 65536)

    def press(self, key: str) -> None:
        os.write(self._fd, key.encode())

    def end(self) -> int:
        deadline = time.monotonic() + 60
        try:
            while select.select([self._fd], [], [], 60)[0]:
                assert time.monotonic() < deadline
                self._seen += os.read(self._fd, 65536)
        except OSError:
            pass  # nobody has the terminal open any more
        return self.process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 110])
def test_live_in_a_terminal(admin: str, columns: int) -> None:
    with Terminal(columns, 30, "--admin", admin, "--interval", "0.2") as terminal:
        terminal.until("Mbit/s at most")
        terminal.press("x")
        terminal.until(r"acme/film")
        terminal.press("q")
        assert terminal.end() == 0
    # The alternate screen is entered and left, and the cursor is back.
    assert "\x1b[?1049h" in terminal.text and "\x1b[?1049l" in terminal.text
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    pictures = terminal.text.replace("\x1b[H", "\n")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", pictures)
    assert "1 of 2 workers serving" in shown and "q leaves" in shown
    assert [line for line in shown.splitlines() if len(line.rstrip()) > columns] == []


@pytest.mark.slow
def test_ctrl_c_leaves_the_terminal_as_it_was(admin: str) -> None:
    with Terminal(80, 24, "--admin", admin) as terminal:
        terminal.until("q leaves")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    assert "\x1b[?1049l" in terminal.text


def test_it_reads_what_the_node_writes(tmp_path: Path) -> None:
    """Every metric that it looks for is one that there is."""
    from tests.test_observe import everything

    found: Samples = parse(everything())
    told = facts(found, found, 1.0)
    assert (told["viewers"], told["workers_serving"], told["workers_wanted"]) == (1, 1, 1)
    (worker,) = told["workers"]
    assert worker["resident_bytes"] > 0
    assert [each["stream"] for each in told["streams"]] == ["film", "9"]
